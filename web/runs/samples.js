// Sample predictions of a training: pictures that the server draws, of the epoch that is chosen. At the latest one it
// stays at the latest.
(() => {
  "use strict";
  const section = document.getElementById("samples");
  const one = (name) => document.getElementById(`samples-${name}`);
  const [note, shown, slider, place, channel] = ["note", "shown", "epoch", "place", "channel"].map(one);
  let found = { epochs: [] };
  let made = null; // what the figures were made of
  let epoch = null; // that is looked at; none: the latest

  const at = () => {
    const known = found.epochs.findIndex((each) => each.epoch >= epoch);
    return epoch === null || known < 0 ? found.epochs.length - 1 : known;
  };

  function makeFigures() {
    const figures = found.slices.map((title) => {
      const figure = document.getElementById("sample").content.cloneNode(true);
      figure.querySelector("figcaption").textContent = title;
      return figure;
    });
    one("slices").replaceChildren(...figures);
    one("labels").replaceChildren(...Object.entries(found.labels).map(labelled));
    channel.replaceChildren(...found.channels.map((name, number) => new Option(name, number)));
    channel.closest(".field").hidden = found.channels.length < 2;
  }

  function labelled([name, colour]) {
    const item = document.createElement("li");
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ width: 14, height: 14, "aria-hidden": true })) mark.setAttribute(key, value);
    for (const [key, value] of Object.entries({ width: 14, height: 14, rx: 3, fill: colour })) square.setAttribute(key, value);
    mark.append(square);
    item.append(mark, ` ${name}`);
    return item;
  }

  function draw() {
    const now = found.epochs[at()];
    const words = [String(now.epoch)];
    if (now.dice !== null) words.push(`validation Dice ${now.dice.toFixed(3)}`);
    if (now.epoch === found.best) words.push("the best");
    place.textContent = words.join(", ");
    slider.max = found.epochs.length - 1;
    slider.value = at();
    slider.setAttribute("aria-valuetext", place.textContent);
    [...one("slices").children].forEach((figure, number) => {
      for (const image of figure.querySelectorAll("img")) {
        const { layer } = image.dataset;
        const query = new URLSearchParams({ channel: channel.value || 0, ...(layer === "prediction" && { epoch: now.epoch }) });
        const address = `${section.dataset.samples}/${number}/${layer}.png?${query}`;
        if (image.getAttribute("src") !== address) image.src = address; // the one before stays until this one is there
        image.alt = `Slice ${number + 1} of ${found.slices.length}: ${layer}${layer === "prediction" ? ` after epoch ${now.epoch}` : ""}`;
      }
    });
    section.dataset.drawn = now.epoch;
  }

  function take(content) {
    found = content;
    shown.hidden = found.epochs.length === 0;
    note.textContent = found.note || "Label maps of a few validation slices, after each epoch.";
    if (shown.hidden) return;
    const ofWhat = JSON.stringify([found.slices, found.labels, found.channels]);
    if (ofWhat !== made) makeFigures();
    made = ofWhat;
    draw();
  }

  function go(number) {
    epoch = number >= found.epochs.length - 1 ? null : found.epochs[number].epoch;
    draw();
  }

  slider.addEventListener("input", () => go(Number(slider.value)));
  channel.addEventListener("change", draw);
  for (const button of section.querySelectorAll("[data-go]")) {
    button.addEventListener("click", () => {
      const best = found.epochs.findIndex((each) => each.epoch === found.best);
      const last = found.epochs.length - 1;
      go({ first: 0, best: best < 0 ? last : best, latest: last }[button.dataset.go]);
    });
  }
  R2D2.poll(() => section.dataset.samples, 2, take);
})();
