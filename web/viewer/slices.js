// Slices of a case: pictures that the server draws, laid over each other here, all of a slice at once.
(() => {
  "use strict";
  const root = document.getElementById("slices");
  const addresses = JSON.parse(root.dataset.addresses);
  const one = (id) => document.getElementById(id);
  const [view, canvas, at, plane, channel, low, high] = ["view", "slice", "at", "plane", "channel", "low", "high"].map(one);
  const context = canvas.getContext("2d");
  const layers = [...root.querySelectorAll("[data-layer]")];
  const KEPT = 200; // pictures
  const kept = new Map();
  const places = {}; // the slice that is looked at, of each plane
  let info = null;
  let wanted = 0; // number of the latest wish

  async function picture(address) {
    const known = kept.get(address);
    if (known) return known;
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`The server answered with ${answer.status}: reload the page.`);
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const bitmap = await createImageBitmap(await answer.blob(), options);
    kept.set(address, bitmap);
    if (kept.size > KEPT) {
      const [oldest] = kept.keys();
      kept.get(oldest).close();
      kept.delete(oldest);
    }
    return bitmap;
  }

  function address(name, words) {
    const url = new URL(addresses[name], location);
    for (const [key, value] of Object.entries(words)) url.searchParams.set(key, value);
    return url.href;
  }

  const planeNow = () => info.planes.find((known) => known.name === plane.value);

  function parts(slice) {
    const cut = { plane: plane.value, at: slice };
    const window = { low: low.value, high: high.value, channel: channel?.value ?? 0 };
    const found = [{ address: address("slice", { ...cut, ...window }), opacity: 1 }];
    for (const field of layers.filter((field) => info.layers.includes(field.dataset.layer))) {
      if (!field.querySelector(".shown").checked) continue;
      const outline = field.querySelector(".outline").checked ? 1 : 0;
      const words = { ...cut, layer: field.dataset.layer, outline };
      found.push({ address: address("labels", words), opacity: field.querySelector(".opacity").value / 100 });
    }
    return found;
  }

  async function draw() {
    const own = ++wanted;
    const shown = planeNow();
    const slice = Number(at.value);
    places[shown.name] = slice;
    one("place").textContent = `${slice + 1} of ${shown.slices}`;
    const found = parts(slice);
    let bitmaps;
    try {
      bitmaps = await Promise.all(found.map((part) => picture(part.address)));
    } catch (error) {
      if (own === wanted) say(error.message);
      return;
    }
    if (own !== wanted) return;
    if (canvas.width !== shown.columns || canvas.height !== shown.rows) {
      canvas.width = shown.columns;
      canvas.height = shown.rows;
    }
    context.globalAlpha = 1;
    context.clearRect(0, 0, canvas.width, canvas.height);
    bitmaps.forEach((bitmap, place) => {
      context.globalAlpha = found[place].opacity;
      context.drawImage(bitmap, 0, 0);
    });
    fit(shown);
    const layered = info.layers.length ? `, with ${info.layers.join(" and ")}` : "";
    canvas.setAttribute("aria-label", `${shown.name} slice ${slice + 1} of ${shown.slices}${layered}`);
    root.dataset.drawn = `${shown.name} ${slice}`;
    for (const next of [slice + 1, slice - 1]) {
      if (next >= 0 && next < shown.slices) parts(next).forEach((part) => picture(part.address).catch(() => {}));
    }
  }

  // As large as there is room for, with its sides as long as in the patient.
  function fit(shown) {
    const width = shown.columns * shown.column_mm;
    const height = shown.rows * shown.row_mm;
    const room = Math.max(view.clientWidth - 56, 80);
    const scale = Math.min(room / width, (innerHeight * 0.7) / height);
    canvas.style.width = `${width * scale}px`;
    canvas.style.height = `${height * scale}px`;
  }

  function choosePlane() {
    const shown = planeNow();
    at.max = shown.slices - 1;
    at.value = places[shown.name] ?? info.begin[shown.name];
    const [left, right, top, bottom] = shown.edges;
    for (const [side, letter] of Object.entries({ left, right, top, bottom })) {
      view.querySelector(`.edge.${side}`).textContent = letter;
    }
    draw();
  }

  function go(steps) {
    at.value = Number(at.value) + steps;
    draw();
  }

  const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9 };
  view.addEventListener("keydown", (event) => {
    const steps = KEYS[event.key];
    if (!steps || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(steps);
  });
  view.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey) return;
      event.preventDefault();
      go(event.deltaY < 0 ? 1 : -1);
    },
    { passive: false },
  );

  function say(text) {
    const notice = document.createElement("p");
    notice.className = "notice warning";
    notice.textContent = text;
    one("notes").append(notice);
  }

  async function begin() {
    one("reading").hidden = false;
    let answer;
    try {
      answer = await fetch(address("info", { channel: channel?.value ?? 0 }), { headers: { "HX-Request": "true" } });
    } catch {
      one("reading").textContent = "No connection to the server: reload the page.";
      return;
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      one("reading").textContent = `This case cannot be shown: ${content.error?.message ?? answer.status}`;
      one("reading").className = "notice fault";
      return;
    }
    info = content;
    one("notes").replaceChildren();
    info.notes.forEach(say);
    const before = plane.value;
    plane.replaceChildren(...info.planes.map(({ name }) => new Option(name, name)));
    plane.value = info.planes.some(({ name }) => name === before) ? before : info.plane;
    [low.value, high.value] = info.window.map((value) => Number(value.toPrecision(4)));
    for (const control of [at, plane, low, high]) control.disabled = false;
    layers.forEach((field) => (field.disabled = !info.layers.includes(field.dataset.layer)));
    plane.closest(".field").hidden = info.planes.length < 2;
    one("reading").hidden = true;
    view.hidden = false;
    choosePlane();
  }

  at.addEventListener("input", draw);
  plane.addEventListener("change", choosePlane);
  channel?.addEventListener("change", begin);
  for (const control of [low, high]) control.addEventListener("change", draw);
  for (const field of layers) field.addEventListener("input", draw);
  addEventListener("resize", () => info && fit(planeNow()));
  begin();
})();
