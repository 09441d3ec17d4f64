// The log of a job as it is written, and what is searched for in it.
(() => {
  "use strict";
  const MOST_LINES = 5000;
  const section = document.getElementById("log");
  const shown = document.getElementById("log-lines");
  const note = document.getElementById("log-note");
  const search = document.getElementById("log-search");
  let attempt = null;
  let offset = 0;
  let ended = false;
  let lines = [];
  let rest = "";
  let dropped = 0;

  function address() {
    const parts = ended || attempt === null ? "" : `?attempt=${attempt}&offset=${offset}`;
    return section.dataset.log + parts; // of a job that has ended: the whole of the last attempt, which may be a new one
  }

  function take(part) {
    const isNew = part.attempt !== attempt;
    if (ended && !isNew && part.is_last) return false;
    if (isNew || ended) {
      [lines, rest, dropped] = [[], "", 0];
    }
    [attempt, offset, ended] = [part.attempt, part.offset, part.is_last];
    const pieces = (rest + part.text).split("\n");
    rest = ended ? "" : pieces.pop();
    lines.push(...pieces);
    if (ended && lines.at(-1) === "") lines.pop();
    const tooMany = lines.length - MOST_LINES;
    if (tooMany > 0) {
      lines.splice(0, tooMany);
      dropped += tooMany;
    }
    draw();
    return part.text !== "" && !ended;
  }

  function draw() {
    const word = search.value.trim().toLowerCase();
    const found = word ? lines.filter((line) => line.toLowerCase().includes(word)) : lines;
    const isAtEnd = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 4;
    shown.textContent = found.join("\n");
    if (isAtEnd) shown.scrollTop = shown.scrollHeight;
    const words = [];
    if (word) words.push(`${found.length} of ${lines.length} lines hold “${search.value.trim()}”`);
    if (dropped) words.push(`the first ${dropped} lines are left out here`);
    if (!lines.length) words.push("It has said nothing yet.");
    note.textContent = words.join("; ");
    note.hidden = words.length === 0;
  }

  search.addEventListener("input", draw);
  draw();
  R2D2.poll(address, 2, take);
})();
