// The volume of a case in three planes and in space, by NiiVue, in the scan's own grid: nothing is turned or resampled.
(() => {
  "use strict";
  const root = document.getElementById("volume");
  const addresses = JSON.parse(root.dataset.addresses);
  const one = (id) => document.getElementById(id);
  const [canvas, view, reading, voxels, location_] = ["space", "view", "reading", "voxels", "location"].map(one);
  const fields = [...root.querySelectorAll("[data-layer]")];
  const OPACITY_OF = (field) => field.querySelector(".opacity").value / 100;
  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.9, 0.75, 0.3, 0.7],
    crosshairWidth: 0.3,
    crosshairWidthUnit: "percent",
    dragAndDropEnabled: false,
    isNearestInterpolation: true,
    isRadiologicalConvention: true,
    isSliceMM: false,
    sagittalNoseLeft: true,
    loadingText: "",
    logLevel: "error",
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    viewModeHotKey: "",
    multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
  });
  let info = null;

  // The colour of each label, and no colour for what is none.
  function colours() {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const { name, value, colour } of info.labels) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      for (const [key, part] of Object.entries({ R: red, G: green, B: blue, A: 255, I: value, labels: name })) {
        map[key].push(part);
      }
    }
    return map;
  }

  function say(text) {
    const notice = document.createElement("p");
    notice.className = "notice warning";
    notice.textContent = text;
    one("notes").append(notice);
  }

  function shown() {
    return fields.filter((field) => info.layers.includes(field.dataset.layer));
  }

  async function load(isWhole) {
    reading.hidden = false;
    reading.textContent = "Loading the volume …";
    delete root.dataset.drawn;
    const files = ["scan", ...shown().map((field) => field.dataset.layer)].map((layer) => {
      const url = new URL(addresses[layer], location);
      if (isWhole) url.searchParams.set("whole", 1);
      return { url: url.href, name: `${layer}.nii.gz`, colormap: "gray", opacity: 1 };
    });
    await viewer.loadVolumes(files);
    shown().forEach((field, place) => {
      viewer.volumes[place + 1].setColormapLabel(colours());
      viewer.volumes[place + 1].opacity = OPACITY_OF(field);
    });
    viewer.updateGLVolume();
    const few = info.steps.some((step) => step > 1) && !isWhole;
    const size = info.shape.map((length, axis) => (few ? Math.ceil(length / info.steps[axis]) : length));
    voxels.hidden = !info.steps.some((step) => step > 1);
    voxels.querySelector("p").textContent = few
      ? `Shown are ${size.join(" × ")} of ${info.shape.join(" × ")} voxels: the scan is large. Slices show all.`
      : `Shown are all ${size.join(" × ")} voxels.`;
    voxels.querySelector("button").hidden = !few;
    reading.hidden = true;
    root.dataset.drawn = isWhole ? "whole" : "first";
  }

  function fail(text) {
    reading.hidden = false;
    reading.className = "notice fault";
    reading.textContent = text;
  }

  async function begin() {
    let answer;
    try {
      answer = await fetch(addresses.info, { headers: { "HX-Request": "true" } });
    } catch {
      return fail("No connection to the server: reload the page.");
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) return fail(`This case cannot be shown: ${content.error?.message ?? answer.status}`);
    info = content;
    info.notes.forEach(say);
    try {
      await viewer.attachToCanvas(canvas);
      await load(false);
    } catch (error) {
      return fail(`The volume cannot be drawn here (${error.message}): the page Slices needs no WebGL.`);
    }
    view.disabled = false;
    shown().forEach((field) => (field.disabled = false));
    choose();
  }

  function choose() {
    const types = niivue.SLICE_TYPE;
    viewer.setSliceType(types[view.value.toUpperCase()]);
  }

  viewer.onLocationChange = ({ string }) => (location_.textContent = string || "\u00a0");
  view.addEventListener("change", choose);
  for (const field of fields) {
    field.addEventListener("input", () => {
      viewer.setOpacity(1 + shown().indexOf(field), OPACITY_OF(field));
    });
  }
  voxels.querySelector("button").addEventListener("click", (event) => {
    event.target.disabled = true;
    load(true).catch((error) => fail(`All voxels are too many for this browser (${error.message}).`));
  });
  window.R2D2.viewer = viewer; // for whoever looks from the browser's console, and for tests
  begin();
})();
