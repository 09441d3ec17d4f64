// The form of a new training: a search; other fields where another network or dataset is chosen; what layout/preview.js does.
(() => {
  "use strict";
  const form = document.getElementById("training"); // its field "dataset" hides what `form.dataset` is elsewhere
  const settings = document.getElementById("settings");
  const REFILLS = ["dataset", "s.network.architecture", "preset", "start"];

  // What was changed, and nothing else: what is proposed may differ for another dataset.
  function typed() {
    const sent = new FormData(form);
    for (const input of settings.querySelectorAll("[data-basis]")) {
      if (input.value === input.dataset.basis) sent.delete(input.name);
    }
    return new URLSearchParams(sent);
  }

  async function refill() {
    const focused = document.activeElement?.id;
    const opened = [...settings.querySelectorAll("details[open]")].map((one) => one.dataset.section);
    const answer = await preview.send(form.getAttribute("data-settings"));
    if (!answer) return;
    settings.innerHTML = await answer.text();
    for (const one of settings.querySelectorAll("details")) one.open ||= opened.includes(one.dataset.section);
    if (focused) document.getElementById(focused)?.focus();
    preview.check();
  }

  // How many settings of a section were changed.
  function sums() {
    for (const section of settings.querySelectorAll("details.section")) {
      const count = section.querySelectorAll(".setting.changed").length;
      section.querySelector(".count").textContent = count ? `${count} changed` : "";
    }
  }

  function search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const section of settings.querySelectorAll("details.section")) {
      let inside = 0;
      for (const one of section.querySelectorAll(".setting")) {
        const fits = words.every((word) => one.dataset.words.includes(word));
        one.hidden = !fits;
        inside += fits;
      }
      section.hidden = !inside;
      if (words.length) section.open = inside > 0;
      found += inside;
    }
    const said = found === 1 ? "1 setting" : `${found} settings`;
    document.getElementById("found").textContent = words.length ? (found ? said : "No setting has these words.") : "";
  }

  form.addEventListener("input", (event) => {
    if (event.target.id === "search") search(event.target.value);
  });
  // What is evaluated is predicted before.
  form.addEventListener("change", ({ target }) => {
    if (target.name === "then_evaluate" && target.checked) form.elements.then_predict.checked = true;
    if (target.name === "then_predict" && !target.checked) form.elements.then_evaluate.checked = false;
  });
  const preview = R2D2.preview(form, typed, sums);
  form.addEventListener("change", ({ target }) => {
    if (REFILLS.includes(target.name)) refill(); // in the place of what was asked just now
  });
  sums();
  if (form.hasAttribute("data-unchecked")) preview.check(); // the page is there sooner than the engine has looked
})();
