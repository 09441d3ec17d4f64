// The curves of a training, drawn as they grow. A stretch of steps that is dragged over is looked at more closely.
(() => {
  "use strict";
  const HEIGHT = 220;
  const section = document.getElementById("curves");
  const note = document.getElementById("curves-note");
  const whole = document.getElementById("whole");
  const probe = document.createElement("span");
  probe.hidden = true;
  section.append(probe);
  const charts = new Map();
  let range = null; // steps that are looked at; none: all
  let marks = [];
  let seen = null; // what was drawn last
  let machines = null; // likewise, of hosts and workers
  const worker = document.getElementById("shares-of");

  function colour(name, share = 100) {
    probe.style.color = share === 100 ? `var(${name})` : `color-mix(in srgb, var(${name}) ${share}%, transparent)`;
    return getComputedStyle(probe).color;
  }

  const isPlain = (value) => value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6);
  const compact = (value) =>
    value === null || value === undefined ? "–" : isPlain(value) ? String(Number(value.toPrecision(4))) : Number(value.toPrecision(3)).toExponential();

  function axis(values) {
    return {
      stroke: () => colour("--muted"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1 },
      font: "12px system-ui, sans-serif",
      size: values ? 64 : 36,
      ...(values && { values: (_, splits) => splits.map(compact) }),
    };
  }

  function line(label, series, more = {}) {
    return { label, stroke: () => colour(series), width: 2, spanGaps: true, value: (_, value) => compact(value), points: { show: false }, ...more };
  }

  // What happened at a step: a dashed line.
  function drawMarks(chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.strokeStyle = colour("--warning");
    ctx.setLineDash([4, 4]);
    for (const mark of marks) {
      const at = chart.valToPos(mark.step, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function make(name, series, bands = [], y = null) {
    const box = document.getElementById(`chart-${name}`);
    charts.get(name)?.plot.destroy();
    box.textContent = "";
    const plot = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height: HEIGHT,
        scales: { x: { time: false }, ...(y && { y: { range: y } }) },
        axes: [axis(false), axis(true)],
        cursor: { sync: { key: "steps" }, drag: { x: true, y: false, setScale: false } },
        legend: { live: true },
        series: [{ label: "step" }, ...series],
        bands,
        hooks: { draw: [drawMarks], setSelect: [look] },
      },
      [[], ...series.map(() => [])],
      box,
    );
    charts.set(name, { plot, box, count: series.length });
    return charts.get(name);
  }

  function look(chart) {
    if (chart.select.width < 5) return;
    const [first, last] = [chart.posToVal(chart.select.left, "x"), chart.posToVal(chart.select.left + chart.select.width, "x")];
    chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    range = { first: Math.max(Math.floor(first), 0), last: Math.ceil(last) };
    whole.hidden = false;
    ask();
  }

  function set(name, data, words) {
    const { plot, box } = charts.get(name);
    plot.setData(data, false);
    const [first, last] = range ? [range.first, range.last] : [0, seen?.last_step ?? data[0].at(-1) ?? 1];
    plot.batch(() => {
      plot.setScale("x", { min: first, max: Math.max(last, first + 1) });
    });
    box.setAttribute("aria-label", words);
  }

  const last = (values) => values.findLast((value) => value !== null);

  // The band goes from the least to the largest value; over it lies the mean, and the epochs' mean as points.
  function drawLoss(found) {
    const { steps, epochs } = found;
    const at = new Map(epochs.step.map((step, index) => [step, epochs.loss[index]]));
    const x = [...new Set([...steps.step, ...epochs.step.filter(isLookedAt)])].sort((a, b) => a - b);
    const index = new Map(steps.step.map((step, place) => [step, place]));
    const column = (values) => x.map((step) => (index.has(step) ? values[index.get(step)] : null));
    if (!charts.has("loss")) {
      const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false }, value: (_, value) => compact(value) };
      make(
        "loss",
        [
          { label: "largest", ...edge },
          { label: "least", ...edge },
          line("mean", "--series-1"),
          line("epoch", "--series-2", { width: 0, points: { show: true, size: 6, stroke: () => colour("--series-2"), fill: () => colour("--series-2") } }),
        ],
        [{ series: [1, 2], fill: () => colour("--series-1", 22) }],
      );
    }
    const ofEpochs = x.map((step) => at.get(step) ?? null);
    const data = [x, column(steps.loss.largest), column(steps.loss.least), column(steps.loss.mean), ofEpochs];
    set("loss", data, `Loss: ${compact(last(steps.loss.mean))} at step ${found.last_step}`);
  }

  function drawDice(found) {
    const { epochs } = found;
    const labels = Object.keys(epochs.dice_per_label);
    const wanted = 1 + labels.length;
    if (charts.get("dice")?.count !== wanted) {
      const own = labels.map((label, at) => line(label, `--series-${(at % 5) + 2}`, { width: 1.5 }));
      make("dice", [line("mean", "--series-1", { width: 2.5, points: { show: true, size: 5 } }), ...own]);
    }
    const keep = epochs.step.map(isLookedAt);
    const column = (values) => values.filter((_, at) => keep[at]);
    const data = [epochs.step, epochs.dice, ...labels.map((label) => epochs.dice_per_label[label])].map(column);
    const words = last(epochs.dice) === undefined ? "nothing yet" : `${compact(last(epochs.dice))} after epoch ${epochs.epoch.at(-1)}`;
    set("dice", data, `Validation Dice: ${words}`);
  }

  function drawStep(found, name, label, title) {
    if (!charts.has(name)) make(name, [line(label, "--series-1")]);
    const values = found.steps[name].mean;
    set(name, [found.steps.step, values], `${title}: ${compact(last(values))} at step ${found.last_step}`);
  }

  // What hosts and workers did meanwhile: a line for each, over the same steps.
  function drawMachines(found) {
    machines = found;
    const { shares, ...others } = found;
    if (shares) drawShares(shares.workers);
    for (const [name, { step, lines, left_out: more, told }] of Object.entries(others)) {
      const box = document.getElementById(`chart-${name}`);
      const about = box.closest("figure").querySelector(".muted");
      about.dataset.about ??= about.textContent;
      about.textContent = about.dataset.about + (more ? `; ${more} more are not drawn` : "") + (told ? `. ${told}` : "");
      const labels = Object.keys(lines);
      box.closest("figure").hidden = false;
      if (charts.get(name)?.labels !== labels.join()) {
        make(name, labels.map((label, at) => line(label, `--series-${(at % 6) + 1}`, { width: 1.5 })));
        charts.get(name).labels = labels.join();
      }
      const words = labels.map((label) => `${label} ${compact(last(lines[label]))}`).join(", ");
      set(name, [step, ...Object.values(lines)], `${box.closest("figure").querySelector("strong").textContent}: ${words}`);
    }
    return false;
  }

  // The shares of one worker's time, each on top of the ones before: the areas are drawn from the highest to the lowest.
  function drawShares(workers) {
    const names = Object.keys(workers);
    if (names.join() !== worker.dataset.names) {
      const chosen = worker.value;
      worker.replaceChildren(...names.map((name) => new Option(name)));
      worker.dataset.names = names.join();
      if (names.includes(chosen)) worker.value = chosen;
    }
    worker.closest(".field").hidden = names.length < 2;
    worker.closest("figure").hidden = false;
    const { step, ...shares } = workers[worker.value];
    const labels = Object.keys(shares);
    if (charts.get("shares")?.labels !== labels.join()) {
      const own = (label) => (plot, sum, series, index) => compact(index === null ? undefined : charts.get("shares").shares[label][index]);
      const paths = uPlot.paths.stepped({ align: -1 }); // a value is of the stretch that ends there
      const area = (label, at) => line(label, `--series-${at + 1}`, { width: 1, value: own(label), paths, fill: () => colour(`--series-${at + 1}`) });
      make("shares", labels.map(area).reverse(), [], [0, 100]);
      charts.get("shares").labels = labels.join();
    }
    charts.get("shares").shares = shares;
    const below = step.map(() => 0);
    const sums = labels.map((label) => shares[label].map((share, at) => (below[at] += share)));
    const words = labels.map((label) => `${label} ${compact(shares[label].at(-1))} %`).join(", ");
    set("shares", [step, ...sums.reverse()], `What the time of ${worker.value} goes into: ${words}, at step ${compact(step.at(-1))}`);
  }

  worker.addEventListener("change", () => drawShares(machines.shares.workers));

  const isLookedAt = (step) => range === null || (step >= range.first && step <= range.last);

  function take(found) {
    if (!found.steps || !found.steps.step.length) return found.is_behind === true;
    seen = found;
    marks = found.marks.filter((mark) => mark.kind === "request" || mark.kind === "restart");
    drawDice(found);
    drawLoss(found);
    drawStep(found, "learning_rate", "learning rate", "Learning rate");
    drawStep(found, "images_per_second", "images/s", "Images per second");
    const words = range ? `Steps ${range.first} to ${range.last}.` : `${found.last_step} steps. Drag over a stretch to look closer.`;
    note.textContent = found.is_behind ? `${words} More is being read …` : words;
    return found.is_behind;
  }

  function query() {
    const most = Math.min(Math.max(Math.round(section.clientWidth), 200), 1600);
    const words = range ? `&first=${range.first}&last=${range.last}` : "";
    return `?most=${most}${words}`;
  }

  // The width of a chart is that of its figure, whose size does not depend on it.
  new ResizeObserver(() => {
    for (const { plot, box } of charts.values()) plot.setSize({ width: Math.max(box.clientWidth, 200), height: HEIGHT });
  }).observe(section);

  whole.addEventListener("click", () => {
    range = null;
    whole.hidden = true;
    ask();
  });
  document.addEventListener("theme", () => {
    for (const { plot } of charts.values()) plot.destroy();
    charts.clear();
    if (seen) take(seen);
    if (machines) drawMachines(machines);
  });
  const askCurves = R2D2.poll(() => section.dataset.curves + query(), 2, take);
  const askMachines = R2D2.poll(() => section.dataset.machines + query(), 5, drawMachines);
  const ask = () => {
    askCurves();
    askMachines();
  };
})();
