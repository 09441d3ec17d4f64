// Further settings of a preparation: shown where a word of the search stands in their name or meaning.
(() => {
  "use strict";
  const search = document.getElementById("search");
  const settings = [...document.querySelectorAll("#others .setting")];
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const setting of settings) setting.hidden = !words.every((word) => setting.dataset.words.includes(word));
    const count = settings.filter((setting) => !setting.hidden).length;
    document.getElementById("matches").textContent = words.length ? `${count} of ${settings.length}` : "";
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
})();
