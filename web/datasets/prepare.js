// The form of a preparation: further settings are shown where a word of the search stands in their name or meaning; what
// layout/preview.js does.
(() => {
  "use strict";
  const form = document.getElementById("preparation");
  const search = document.getElementById("search");
  const settings = [...document.querySelectorAll("#others .setting")];
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const setting of settings) setting.hidden = !words.every((word) => setting.dataset.words.includes(word));
    const count = settings.filter((setting) => !setting.hidden).length;
    document.getElementById("matches").textContent = words.length ? `${count} of ${settings.length}` : "";
  });
  R2D2.preview(form, () => new URLSearchParams(new FormData(form)));
})();
