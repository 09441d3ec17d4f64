// The form of a new training: what is wrong and what it comes to, while one types; a search; other fields where another
// network or dataset is chosen. The server says all of it.
(() => {
  "use strict";
  const form = document.getElementById("training"); // its field "dataset" hides what `form.dataset` is elsewhere
  const settings = document.getElementById("settings");
  const TYPING_MS = 400;
  let timer = null;
  let asked = null;

  // What was changed, and nothing else: what is proposed may differ for another dataset.
  function typed() {
    const sent = new FormData(form);
    for (const input of settings.querySelectorAll("[data-basis]")) {
      if (input.value === input.dataset.basis) sent.delete(input.name);
    }
    return new URLSearchParams(sent);
  }

  async function send(address) {
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

  async function refill() {
    clearTimeout(timer);
    const focused = document.activeElement?.id;
    const opened = [...settings.querySelectorAll("details[open]")].map((one) => one.dataset.section);
    const answer = await send(form.getAttribute("data-settings"));
    if (!answer) return;
    settings.innerHTML = await answer.text();
    for (const one of settings.querySelectorAll("details")) one.open ||= opened.includes(one.dataset.section);
    if (focused) document.getElementById(focused)?.focus();
    check();
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
    list("room", told.room);
    list("jobs", told.jobs);
    document.getElementById("command").textContent = told.command;
    document.getElementById("yaml").textContent = told.yaml || "# nothing";
    const count = Object.keys(told.faults).length + told.general.length;
    say(count ? `${count} to be mended.` : "Nothing stands in the way.");
    sums();
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
    if (event.target.id === "search") return search(event.target.value);
    if (event.target.tagName === "SELECT") return;
    clearTimeout(timer);
    timer = setTimeout(check, TYPING_MS);
  });
  form.addEventListener("change", (event) => {
    const name = event.target.name;
    if (name === "then_evaluate" && event.target.checked) form.elements.then_predict.checked = true;
    if (name === "then_predict" && !event.target.checked) form.elements.then_evaluate.checked = false;
    if (["dataset", "s.network.architecture", "preset", "start"].includes(name)) return refill();
    if (event.target.tagName === "SELECT" || event.target.type === "checkbox") check();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.id === "search") event.preventDefault();
  });
  sums();
})();
