// Keyboard, source highlighting and the few things a form cannot do alone. No framework; works on what the server sent.
// Convention: an element with data-key="a" is pressed by that key. Keys are silent while somebody types in a field.
// Trap: htmx replaces parts of the page, so nothing is bound to an element: all handlers sit on the document.
"use strict";

(() => {
  const typing = (element) => element && (element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName));
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const visible = (element) => element.offsetParent !== null && !element.disabled;

  // --- sources -------------------------------------------------------------------------------------------------------
  const light = (places) => {
    all(".lit").forEach((element) => element.classList.remove("lit"));
    let first = null;
    for (const place of places) {
      for (const element of all(`[data-source="${place}"]`)) {
        element.classList.add("lit");
        first = first || element;
      }
    }
    if (first) first.scrollIntoView({ block: "nearest" });
    document.dispatchEvent(new CustomEvent("review:lit", { detail: { sources: places } })); // the viewers listen
  };

  const choose = (sentence) => {
    all(".sentence.chosen").forEach((element) => element.classList.remove("chosen"));
    if (!sentence) return;
    sentence.classList.add("chosen");
    sentence.scrollIntoView({ block: "nearest" });
    for (const field of all("input[name=place]")) field.value = sentence.dataset.place;
    for (const place of all("[data-chosen-text]")) place.textContent = sentence.textContent.trim();
    light((sentence.dataset.ties || "").split(" ").filter(Boolean));
  };

  const step = (by) => {
    const every = all(".sentence");
    if (!every.length) return;
    const now = every.findIndex((element) => element.classList.contains("chosen"));
    choose(every[now < 0 ? (by > 0 ? 0 : every.length - 1) : Math.min(every.length - 1, Math.max(0, now + by))]);
  };

  // --- drawers: parts of the page that a key opens -------------------------------------------------------------------
  const open = (id) => {
    for (const other of all(".drawer")) other.hidden = other.id !== id;
    const drawer = document.getElementById(id);
    if (!drawer) return;
    drawer.hidden = false;
    const field = drawer.querySelector("[data-first]") || drawer.querySelector("textarea, select, input:not([type=hidden])");
    if (field) field.focus();
    drawer.scrollIntoView({ block: "nearest" });
  };

  const leave = () => {
    if (typing(document.activeElement)) document.activeElement.blur();
    for (const drawer of all(".drawer")) drawer.hidden = true;
    light([]);
    choose(null);
  };

  document.addEventListener("click", (event) => {
    const focus = event.target.closest("[data-focus]");
    if (focus) return document.getElementById(focus.dataset.focus).focus();
    const opener = event.target.closest("[data-open]");
    if (opener) {
      if (opener.dataset.open === "flag" && !document.querySelector(".sentence.chosen")) step(1);
      open(opener.dataset.open);
      return;
    }
    if (event.target.closest("[data-leave]")) return leave();
    const helper = event.target.closest("[data-help]");
    if (helper) return document.getElementById("keys").showModal();
    const cite = event.target.closest("[data-cite]");
    if (cite) return light([cite.dataset.cite]);
    const sentence = event.target.closest(".sentence");
    if (sentence) return choose(sentence);
    const source = event.target.closest("[data-source]");
    if (source) return light([source.dataset.source]);
  });

  document.addEventListener("keydown", (event) => {
    const field = document.activeElement;
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) return leave();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const form = field && field.closest("form");
      if (form) {
        event.preventDefault();
        form.requestSubmit(form.querySelector("[data-send]") || undefined);
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || typing(field) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") return document.getElementById("keys").showModal();
    if (event.key === "[" || event.key === "]") return step(event.key === "]" ? 1 : -1);
    if (/^[1-9]$/.test(event.key) && document.querySelector(`[data-source="${event.key - 1}"]`)) return light([String(event.key - 1)]);
    const target = all(`[data-key="${CSS.escape(event.key)}"]`).find(visible);
    if (target) {
      event.preventDefault();
      target.click();
    }
  });

  // --- forms: one press, one decision --------------------------------------------------------------------------------
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method === "dialog") return;
    if (event.target.dataset.sent) return event.preventDefault();
    if (event.target.hasAttribute("hx-post") && !event.target.hasAttribute("hx-trigger")) return; // htmx sends it
    event.target.dataset.sent = "1";
  });
  // Seconds that the page was looked at: time in a hidden tab does not count.
  let looked = 0;
  let since = document.hidden ? null : performance.now();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && since !== null) looked += performance.now() - since;
    since = document.hidden ? null : performance.now();
  });
  const seconds = () => ((looked + (since === null ? 0 : performance.now() - since)) / 1000).toFixed(1);
  // One reason field serves several forms.
  document.addEventListener("submit", () => all("input[data-copy]").forEach((field) => { field.value = document.getElementById(field.dataset.copy).value; }), true);
  document.addEventListener("submit", () => all("input[name=seconds]").forEach((field) => { field.value = seconds(); }), true);
  window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));

  // --- flags came back: mark the sentences they stand on, close the drawer ------------------------------------------
  document.addEventListener("htmx:afterSettle", () => {
    const flags = document.getElementById("flags");
    if (!flags) return;
    const places = flags.dataset.flagged.split(" ");
    for (const sentence of all(".sentence")) sentence.classList.toggle("flagged", places.includes(sentence.dataset.place));
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && event.target.id === "flag-form") leave();
  });

  // --- a session that ended while a page stood open, a server that cannot be reached ---------------------------------
  const say = (key) => {
    for (const place of all("[data-says]")) place.textContent = place.dataset[key] || "";
  };
  document.addEventListener("htmx:responseError", () => say("failed"));
  document.addEventListener("htmx:sendError", () => say("offline"));
  document.addEventListener("htmx:beforeRequest", () => say("saving"));
})();
