// Light or dark, before anything is drawn: as the system says, or as was chosen here.
(() => {
  "use strict";
  const CHOICES = ["system", "light", "dark"];
  const root = document.documentElement;

  function chosen() {
    try {
      const kept = localStorage.getItem("theme");
      return CHOICES.includes(kept) ? kept : "system";
    } catch {
      return "system"; // a browser that keeps nothing
    }
  }

  function choose(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("theme"));
  }

  choose(chosen());
  addEventListener("storage", () => choose(chosen()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => choose(chosen()));
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const boxes = document.querySelectorAll("input[name=theme]"); // of the page Account
    const say = () => {
      button.textContent = `Theme: ${chosen()}`;
      for (const box of boxes) box.checked = box.value === chosen();
    };
    const keep = (theme) => {
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // it holds until the page is left
      }
      choose(theme);
      say();
    };
    button.hidden = false;
    button.addEventListener("click", () => keep(CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length]));
    for (const box of boxes) box.addEventListener("change", () => keep(box.value));
    say();
  });
})();
