// Levels put right in place: steps are collected, tried on the server, shown on the picture, and saved as one version.
//
// Convention: the server holds the rules; a step it refuses is taken back and its reason is shown. Saving needs a
// reason and sends all steps at once, with the number of the version that they start from.
//
// Trap: names on the picture while steps are waiting are a proposal, and the status line says so.

import { make } from "./viewer.js";

export function levelTools(viewer) {
  const words = viewer.words;
  const box = make("fieldset", { class: "viewer-levels", hidden: true });
  const chosen = make("select", { "aria-label": words.vertebra, "data-level": "old", onchange: () => select(chosen.value) });
  const wanted = make("select", { "aria-label": words.new_name, "data-level": "new" });
  const steps = make("ol", { class: "viewer-steps" });
  const reason = make("input", { type: "text", maxlength: "500", "aria-label": words.reason, placeholder: words.reason, "data-level": "reason" });
  const button = (act, label, run) => make("button", { type: "button", "data-level-act": act, onclick: run }, label);
  let pending = [];
  let saved = null;

  const series = () => viewer.pane.series;

  function fill() {
    const levels = series().levels || [];
    const keep = chosen.value;
    chosen.textContent = "";
    for (const entry of levels) chosen.append(make("option", { value: entry.level }, entry.level));
    if (levels.some((entry) => entry.level === keep)) chosen.value = keep;
    else if (levels.length) wanted.value = chosen.value;
    steps.textContent = "";
    for (const step of pending) steps.append(make("li", {}, step.words));
    const waiting = pending.length > 0;
    box.querySelectorAll('[data-level-act="undo"], [data-level-act="save"]').forEach((each) => (each.disabled = !waiting));
  }

  function select(level) {
    chosen.value = level;
    wanted.value = level;
    viewer.panes.forEach((pane) => {
      pane.selected = level;
      pane.draw();
    });
    const entry = (series().levels || []).find((each) => each.level === level);
    if (entry) viewer.panes.forEach((pane) => pane.series === series() && pane !== viewer.pane && pane.goTo(entry.point_mm));
  }

  async function send(address, body) {
    const answer = await fetch(address, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": viewer.host.dataset.csrf },
      body: JSON.stringify(body),
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.problem || told.detail || `${words.failed} (${answer.status})`);
    return told;
  }

  // The chosen bone stays chosen under its new name: steps change names, never the order of the bones.
  function names(levels) {
    const place = (series().levels || []).findIndex((entry) => entry.level === chosen.value);
    series().levels = levels;
    fill();
    if (place >= 0 && levels[place]) chosen.value = levels[place].level;
    viewer.panes.forEach((pane) => {
      if (pane.selected) pane.selected = chosen.value;
      pane.draw();
    });
  }

  async function attempt(step) {
    const operations = [...pending.map((each) => each.operation), step];
    try {
      if (!pending.length) saved = series().levels;
      const told = await send(`${series().address}/levels/preview`, { operations, base: series().version });
      pending = operations.map((operation, place) => ({ operation, words: told.steps[place] }));
      names(told.levels);
      viewer.say(words.proposal);
    } catch (error) {
      viewer.say(error.message);
    }
  }

  async function undo() {
    pending.pop();
    if (!pending.length) {
      names(saved);
      viewer.say("");
      return;
    }
    const last = pending.pop();
    await attempt(last.operation);
  }

  async function save() {
    if (!reason.value.trim()) {
      viewer.say(words.reason_needed);
      reason.focus();
      return;
    }
    try {
      const body = { operations: pending.map((each) => each.operation), base: series().version, reason: reason.value.trim(), token: token() };
      const told = await send(`${series().address}/levels`, body);
      series().version = told.version;
      pending = [];
      reason.value = "";
      names(told.levels);
      viewer.say(`${words.saved} ${told.version}. ${words.reopened}: ${told.reopened}`);
    } catch (error) {
      viewer.say(error.message);
    }
  }

  function token() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (value) => value.toString(16).padStart(2, "0")).join("");
  }

  function move() {
    const level = chosen.value;
    viewer.say(`${words.click_body} ${level}`);
    viewer.moving = (point) => {
      viewer.moving = null;
      attempt({ kind: "move", level, point_mm: point.map((value) => Math.round(value * 1000) / 1000) });
      return true;
    };
  }

  for (const level of viewer.facts.all_levels) wanted.append(make("option", { value: level }, level));
  box.append(
    make("legend", {}, words.levels),
    make("label", {}, `${words.vertebra} `, chosen),
    make("label", {}, `${words.new_name} `, wanted),
    button("rename", words.rename, () => attempt({ kind: "rename", old: chosen.value, new: wanted.value })),
    button("up", words.shift_up, () => attempt({ kind: "shift", steps: -1 })),
    button("down", words.shift_down, () => attempt({ kind: "shift", steps: 1 })),
    button("T13", words.is_t13, () => attempt({ kind: "mark", what: "T13", level: chosen.value })),
    button("L6", words.is_l6, () => attempt({ kind: "mark", what: "L6", level: chosen.value })),
    button("no_T12", words.no_t12, () => attempt({ kind: "mark", what: "no_T12", level: chosen.value })),
    button("move", words.move, move),
    steps,
    reason,
    button("undo", words.undo, undo),
    button("save", words.save_levels, save),
  );
  viewer.host.append(box);
  viewer.select = (level) => select(level);
  viewer.levelsChanged = () => {
    const can = viewer.facts.can_correct && series().can_correct;
    box.hidden = !can;
    if (can) fill();
  };
}
