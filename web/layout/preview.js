// A form that is looked at while one types: what is wrong stands at its fields, and what it comes to below it. The server
// says all of it (web/preview.py), at the address data-check of the form.
//   form: with fields that have data-key; typed: gives what is sent; shown: called after what was told is shown.
// Gives `check`, which asks now, and `send`, which asks at another address; null: no answer, which is said, or another question came.
R2D2.preview = (form, typed, shown) => {
  "use strict";
  const TYPING_MS = 400;
  let timer = null;
  let asked = null;

  async function send(address) {
    clearTimeout(timer);
    asked?.abort();
    const own = (asked = new AbortController());
    try {
      const headers = { Accept: "application/json" };
      const answer = await fetch(address, { method: "POST", body: typed(), headers, signal: own.signal });
      if (own.signal.aborted) return null;
      if (answer.ok) return answer;
      const { message } = (await answer.json()).error;
      say(answer.status === 401 ? "You are logged out: log in in another tab, and type on." : `Not looked at: ${message}.`);
    } catch (error) {
      if (!own.signal.aborted) say("The server does not answer; nothing is lost, type on.");
    }
    return null;
  }

  async function check() {
    const answer = await send(form.getAttribute("data-check"));
    if (answer) show(await answer.json());
  }

  function say(text) {
    document.getElementById("sum").textContent = text;
  }

  function list(id, lines) {
    const place = document.getElementById(id);
    place.replaceChildren(
      ...lines.map((line) => {
        const item = document.createElement("li");
        item.textContent = line;
        return item;
      }),
    );
    place.hidden = !lines.length;
  }

  function show(told) {
    for (const input of form.querySelectorAll("[data-key]")) {
      const key = input.dataset.key;
      const field = input.closest(".field");
      const wrong = (told.faults[key] ?? []).join("; ");
      field.classList.toggle("faulty", !!wrong);
      field.classList.toggle("changed", told.changed.includes(key));
      mark(field, key, wrong);
    }
    list("general", told.general);
    list("warnings", told.warnings);
    for (const [id, lines] of Object.entries(told.lists)) list(id, lines);
    document.getElementById("command").textContent = told.command;
    document.getElementById("yaml").textContent = told.yaml || "# nothing";
    say(told.verdict);
    shown?.();
  }

  function mark(field, key, wrong) {
    let place = field.querySelector(".wrong, strong.fault");
    if (!place && wrong) {
      place = document.createElement("p");
      place.className = "about wrong fault";
      place.id = `wrong-${key}`;
      field.append(place);
      const box = field.querySelector("input, select");
      if (!box.hasAttribute("aria-describedby")) box.setAttribute("aria-describedby", place.id);
    }
    if (!place) return;
    place.textContent = wrong;
    place.hidden = !wrong;
    const input = field.querySelector("input, select");
    if (wrong) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    if (wrong) field.closest("details")?.setAttribute("open", "");
  }

  form.addEventListener("input", (event) => {
    if (event.target.type === "search" || event.target.tagName === "SELECT" || event.target.type === "checkbox") return;
    clearTimeout(timer);
    timer = setTimeout(check, TYPING_MS);
  });
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT" || event.target.type === "checkbox") check();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.type === "search") event.preventDefault();
  });
  return { check, send };
};
