// What all pages do: times in the reader's zone, parts that stay true, a word where the connection is gone, questions.
(() => {
  "use strict";

  // ---- times -------------------------------------------------------------------------------------------------

  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  function localise(root) {
    const times = root.nodeType === Node.ELEMENT_NODE ? root.querySelectorAll("time[datetime]") : [];
    const own = root.parentElement?.closest("time[datetime]") ?? (root.matches?.("time[datetime]") ? root : null);
    for (const time of own ? [own, ...times] : times) {
      const at = new Date(time.dateTime);
      const text = Number.isNaN(at.getTime()) ? time.textContent : clock.format(at);
      if (time.textContent !== text) {
        time.title = time.dateTime;
        time.textContent = text;
      }
    }
  }

  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "characterData") localise(change.target);
      else change.addedNodes.forEach(localise);
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
  localise(document.body);

  // ---- the connection ----------------------------------------------------------------------------------------

  const banner = document.getElementById("connection");
  let lostAt = null;

  function told(status, message) {
    if (status === 401) {
      const back = encodeURIComponent(location.pathname + location.search);
      return show(`You are logged out. What you see is from ${since()}.`, `/login?next=${back}`, "Log in");
    }
    if (status >= 500 || status === 429) {
      return show(`${message || "The server cannot answer now."} What you see is from ${since()}; it goes on by itself.`);
    }
    lostAt = null;
    banner.hidden = true;
  }

  function lost() {
    show(`No connection to the server. What you see is from ${since()}; it goes on by itself. Jobs are not affected.`);
  }

  function since() {
    lostAt ??= new Date();
    return clock.format(lostAt);
  }

  function show(text, address, word) {
    if (banner.dataset.text !== text) {
      banner.dataset.text = text;
      banner.textContent = text;
      if (address) {
        const link = document.createElement("a");
        link.href = address;
        link.textContent = word;
        banner.append(" ", link);
      }
    }
    banner.hidden = false;
  }

  function messageOf(text) {
    try {
      const message = JSON.parse(text).error.message;
      return /[.!?]$/.test(message) ? message : `${message}.`;
    } catch {
      return "";
    }
  }

  // ---- parts that stay true: [data-live], see the macro `live` -------------------------------------------------

  const tags = new WeakMap();

  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement: part, request } = event.detail.ctx;
    if (!part.matches("[data-live]")) return;
    if (document.hidden) return event.preventDefault();
    const tag = tags.get(part);
    if (tag) request.headers["If-None-Match"] = tag;
  });

  document.addEventListener("htmx:after:request", (event) => {
    const { sourceElement: part, response, text } = event.detail.ctx;
    if (response.status === 200 && part.matches("[data-live]")) tags.set(part, response.headers.get("ETag"));
    told(response.status, response.status >= 400 ? messageOf(text) : "");
  });

  document.addEventListener("htmx:error", (event) => {
    if (event.detail.ctx?.response === undefined) lost();
  });

  // A script's own data: asked for every few seconds, and handed on where it has changed.
  //   address: gives the URL; seconds: between two, 0: it is all there at once; take: gets the JSON, and says true where more waits already.
  // Gives a function that asks now, as after a change of what is looked at.
  function poll(address, seconds, take) {
    let timer = null;
    let last = { url: null, tag: null };
    let running = null;

    async function ask() {
      clearTimeout(timer);
      if (document.hidden) return;
      running?.abort();
      const own = (running = new AbortController());
      let again = false;
      try {
        const url = address();
        const headers = { "HX-Request": "true" };
        if (url === last.url && last.tag) headers["If-None-Match"] = last.tag;
        const signal = AbortSignal.any([own.signal, AbortSignal.timeout(30000)]);
        const answer = await fetch(url, { headers, signal });
        const text = await answer.text();
        told(answer.status, answer.ok ? "" : messageOf(text));
        if (answer.status === 200) {
          last = { url, tag: answer.headers.get("ETag") };
          again = take(JSON.parse(text)) === true;
        }
      } catch (error) {
        if (own.signal.aborted) return; // another question was asked meanwhile
        if (error instanceof TypeError || error.name === "TimeoutError") lost();
        else throw error;
      } finally {
        if (!own.signal.aborted && (again || seconds)) timer = setTimeout(ask, again ? 0 : seconds * 1000);
      }
    }

    wakers.add(ask);
    ask();
    return ask;
  }

  const wakers = new Set();

  function wake() {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-live]")) part.dispatchEvent(new CustomEvent("wake"));
    for (const ask of wakers) ask();
  }

  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  addEventListener("offline", lost);

  // ---- questions before something is done: <button data-confirm="..."> ------------------------------------------

  const dialog = document.getElementById("confirmation");
  let asked = null;

  document.addEventListener(
    "submit",
    (event) => {
      const button = event.submitter;
      if (!button?.dataset.confirm || button === asked) {
        asked = null;
        return;
      }
      event.preventDefault();
      event.stopImmediatePropagation();
      dialog.querySelector("p").textContent = button.dataset.confirm;
      dialog.returnValue = "no";
      dialog.onclose = () => {
        if (dialog.returnValue !== "yes" || !button.isConnected) return;
        asked = button;
        button.form.requestSubmit(button);
      };
      dialog.showModal();
    },
    true,
  );
  for (const answer of dialog.querySelectorAll("button")) {
    answer.addEventListener("click", () => dialog.close(answer.value));
  }

  // A form that is on its way is not sent twice.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (event.defaultPrevented || !button || event.target.method === "get") return;
    setTimeout(() => (button.disabled = true));
    setTimeout(() => (button.disabled = false), 10000);
  });

  window.R2D2 = { poll };
})();
