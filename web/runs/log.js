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

  // Once an attempt has ended, the last one is asked for, which may be another.
  function address() {
    const of = ended || attempt === null ? "" : `attempt=${attempt}&`;
    return `${section.dataset.log}?${of}offset=${offset}`;
  }

  function take(part) {
    if (attempt !== null && part.attempt !== attempt) {
      [attempt, offset, ended, lines, rest, dropped] = [part.attempt, 0, false, [], "", 0];
      draw();
      return true;
    }
    if (ended) return false;
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
