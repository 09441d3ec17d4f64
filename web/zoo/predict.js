// Scans that are dropped or chosen: sent file by file, folder by folder, before the form itself.
(() => {
  "use strict";
  const form = document.getElementById("predict");
  if (!form) return;
  const drop = document.getElementById("drop");
  const status = document.getElementById("chosen");
  const bar = document.getElementById("sent");
  const leave = document.getElementById("leave");
  const word = form.elements.csrf_token.value;
  let chosen = []; // {file, group}: the group is the number of a folder, 0 of loose files
  let sending = null;

  function size(bytes) {
    return bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  }

  function say(text, isFault) {
    status.textContent = text;
    status.classList.toggle("fault", !!isFault);
  }

  function take(found) {
    chosen = found;
    const bytes = found.reduce((sum, one) => sum + one.file.size, 0);
    if (!found.length) return say("Nothing chosen.");
    const first = found.slice(0, 3).map((one) => one.file.name).join(", ");
    say(`${found.length === 1 ? "1 file" : `${found.length} files`}, ${size(bytes)}: ${first}${found.length > 3 ? " …" : ""}`);
  }

  // Files by their folders, each with a number of its own; hidden files are left out.
  function grouped(files) {
    const numbers = new Map([["", 0]]);
    const found = [];
    for (const [path, file] of files) {
      const parts = path.split("/");
      if (parts.some((part) => part.startsWith("."))) continue;
      const folder = parts.slice(0, -1).join("/");
      if (!numbers.has(folder)) numbers.set(folder, numbers.size);
      found.push({ file, group: numbers.get(folder) });
    }
    return found;
  }

  for (const id of ["files", "folder"]) {
    const input = document.getElementById(id);
    input.addEventListener("change", () => take(grouped([...input.files].map((f) => [f.webkitRelativePath || f.name, f]))));
  }

  async function walk(entry, path, found) {
    if (entry.isFile) {
      found.push([`${path}${entry.name}`, await new Promise((done, fail) => entry.file(done, fail))]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const one of some) await walk(one, `${path}${entry.name}/`, found);
    }
  }

  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    if (entries.length) for (const entry of entries) await walk(entry, "", found);
    else for (const file of event.dataTransfer.files) found.push([file.name, file]);
    take(grouped(found));
  });

  async function asked(address, options) {
    const headers = { "X-CSRFToken": word, Accept: "application/json", ...options.headers };
    const answer = await fetch(address, { method: "POST", signal: sending.signal, ...options, headers });
    if (answer.ok) return answer.json();
    let message = "the server refused it";
    try {
      message = (await answer.json()).error.message;
    } catch {
      // no words of ours
    }
    throw new Error(message);
  }

  async function send() {
    const upload = await asked(form.getAttribute("data-uploads"), {});
    const total = chosen.reduce((sum, one) => sum + one.file.size, 0) || 1;
    let sent = 0;
    bar.hidden = false;
    try {
      for (const [number, { file, group }] of chosen.entries()) {
        if (file.size > Number(form.getAttribute("data-most"))) throw new Error(`${file.name} is too large: ${size(file.size)}`);
        say(`Sending ${number + 1} of ${chosen.length}: ${file.name}`);
        const query = new URLSearchParams({ group, name: file.name });
        const headers = { "Content-Type": "application/octet-stream" };
        await asked(`${upload.file}?${query}`, { body: file, headers });
        sent += file.size;
        bar.value = sent / total;
      }
    } catch (error) {
      sending = new AbortController();
      asked(upload.drop, {}).catch(() => {}); // it goes after its term else
      throw error;
    }
    form.elements.upload.value = upload.id;
  }

  form.addEventListener("submit", async (event) => {
    if (!chosen.length || form.elements.upload.value) return;
    event.preventDefault();
    const button = form.querySelector("button.main");
    sending = new AbortController();
    button.disabled = true;
    leave.hidden = false;
    try {
      await send();
      form.submit();
    } catch (error) {
      say(error.name === "AbortError" ? "Stopped; nothing stays on the server." : `Not sent: ${error.message}`, true);
      button.disabled = false;
      bar.hidden = true;
    } finally {
      leave.hidden = true;
    }
  });
  leave.addEventListener("click", () => sending?.abort());
})();
