// The curves of several runs over each other (layout/overlaid.html); those that still run are followed.
(() => {
  "use strict";
  const place = document.getElementById("compared");
  if (!place || !window.uPlot) return;

  const runs = [];
  const legend = place.querySelector(".legend");
  const said = document.getElementById("curves-said");
  const along = place.querySelector("[name=along]");
  const label = place.querySelector("[name=label]");
  const charts = new Map();
  const HEIGHT = 240;
  const OF_EPOCHS = ["dice"];
  const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

  const colour = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    place.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };

  // Learning rates are small: to four digits, whatever their size.
  const isPlain = (value) => value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6);
  const compact = (value) => (isPlain(value) ? String(Number(value.toPrecision(4))) : Number(value.toPrecision(3)).toExponential());

  // What of a run a chart shows: [x, y], by epochs or steps.
  function points(run, key) {
    const { curves } = run;
    if (!curves?.steps) return [[], []];
    const perEpoch = curves.steps_per_epoch || 1;
    const x = (step) => (along.value === "epoch" ? step / perEpoch : step);
    if (key === "dice") {
      const values = label.value ? curves.epochs.dice_per_label[label.value] : curves.epochs.dice;
      return [curves.epochs.step.map(x), values ?? curves.epochs.step.map(() => null)];
    }
    return [curves.steps.step.map(x), curves.steps[key].mean];
  }

  function data(key) {
    const tables = runs.map((run) => points(run, key));
    const filled = tables.map((table) => (table[0].length ? table : [[0], [null]]));
    return uPlot.join(filled);
  }

  function make(key) {
    const figure = document.querySelector(`#chart-${key} .chart`);
    const ink = colour("--muted");
    const line = colour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const isShort = OF_EPOCHS.includes(key) && runs.every((run) => points(run, key)[0].length <= 30);
    const whole = along.value === "epoch" ? { incrs: WHOLE } : {};
    const series = runs.map((run, at) => ({
      label: `${run.called} ${run.name}`.trim(),
      stroke: colour(`--series-${(at % 6) + 1}`),
      width: 2,
      dash: at >= 6 ? [6, 4] : undefined,
      spanGaps: true,
      points: { show: isShort, size: 5 },
      value: (_, value) => (value === null ? "–" : compact(value)),
    }));
    charts.get(key)?.destroy();
    const made = new uPlot(
      {
        width: figure.clientWidth,
        height: HEIGHT,
        cursor: { sync: { key: "compared" }, drag: { x: true, y: false } },
        legend: { live: true, isolate: true },
        scales: { x: { time: false } },
        axes: [{ ...axis, ...whole }, { ...axis, size: 64, values: (_, splits) => splits.map(compact) }],
        series: [{ label: along.value === "epoch" ? "Epoch" : "Step", value: (_, value) => (value === null ? "–" : Number(value.toPrecision(6)).toString()) }, ...series],
      },
      data(key),
      figure,
    );
    charts.set(key, made);
  }

  function draw() {
    if (!runs.length) return;
    for (const figure of place.querySelectorAll("figure")) make(figure.id.replace("chart-", ""));
    const without = runs.filter((run) => run.curves && !run.curves.epochs?.epoch.length).map((run) => run.called);
    const waiting = runs.filter((run) => !run.curves || run.curves.is_behind).map((run) => run.called);
    said.textContent = [
      waiting.length ? `Being read: ${waiting.join(", ")}.` : "",
      without.length ? `No epoch has ended yet in ${without.join(", ")}.` : "",
    ].join(" ");
  }

  // One drawing for what comes within the same moment.
  let asked = false;
  function soon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  }

  function labels() {
    const all = [...new Set(runs.flatMap((run) => Object.keys(run.curves?.epochs?.dice_per_label ?? {})))];
    const known = [...label.options].map((option) => option.value);
    for (const name of all.filter((one) => !known.includes(one))) label.add(new Option(name, name));
  }

  function sample(at) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS(svg.namespaceURI, "line");
    for (const [name, value] of Object.entries({ width: 24, height: 12, "aria-hidden": "true", focusable: "false" })) svg.setAttribute(name, value);
    for (const [name, value] of Object.entries({ x1: 0, x2: 24, y1: 6, y2: 6 })) line.setAttribute(name, value);
    line.setAttribute("class", `series-${(at % 6) + 1}${at >= 6 ? " dashed" : ""}`);
    svg.append(line);
    return svg;
  }

  function add(run) {
    const called = document.createElement(run.page ? "a" : "span");
    called.textContent = run.called;
    if (run.page) called.href = run.page;
    const entry = document.createElement("li");
    entry.append(sample(runs.length), " ", called, " ", run.name);
    legend.append(entry);
    runs.push(run);
    R2D2.poll(
      () => run.url,
      run.isActive ? 3 : 0,
      (curves) => {
        run.curves = curves;
        labels();
        soon();
        return curves.is_behind;
      },
    );
  }

  function addNew(listed) {
    for (const run of listed) if (!runs.some((one) => one.url === run.url)) add(run);
    if (!runs.length) said.textContent = "The curves begin with the first run.";
  }

  addNew(JSON.parse(place.dataset.runs));
  if (place.dataset.more) R2D2.poll(() => place.dataset.more, 5, (told) => addNew(told.runs));
  along.addEventListener("change", soon);
  label.addEventListener("change", soon);
  document.addEventListener("theme", soon);
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    soon();
  }).observe(place);
})();
