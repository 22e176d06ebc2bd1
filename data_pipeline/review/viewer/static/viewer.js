// The viewer of the item screen: series side by side, presets, measuring, levels put right.
//
// Convention: the page holds one element with `data-viewer` (the address of the item's series) and `data-csrf`; all
// controls are made here. Words come from the server in the reader's language. Keys work while the viewer has the focus
// and are not passed on, so that the decision keys of the page stay what they are.
//
// Trap: measurements are kept on the server as they are made, the reader's own only; what the status line does not call
// failed is stored, and they count with the decision of this reader in this round.

import { Pane } from "./pane.js";
import { levelTools } from "./levels.js";
import { evaluate } from "./measure.js";
import { openNiivue, webgl2 } from "./niivue_pane.js";

const STYLE = new URL("./viewer.css", import.meta.url).href;
const TOOLS = ["distance", "angle", "cobb", "slip"];
const KEYS = { d: "distance", g: "angle", c: "cobb", l: "slip" };
const PRESETS = new Map([["b", "bone"], ["s", "soft_tissue"], ["1", "t1"], ["2", "t2"], ["f", "full"]]);

export function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

class Viewer {
  constructor(host, facts) {
    this.host = host;
    this.words = facts.words;
    this.facts = facts;
    this.tool = "window";
    this.panes = [];
    this.active = 0;
    this.linked = true;
    this.build();
  }

  get pane() {
    return this.panes[this.active];
  }

  build() {
    const words = this.words;
    this.host.textContent = "";
    this.host.classList.add("viewer");
    this.bar = make("div", { class: "viewer-bar", role: "toolbar", "aria-label": words.viewer });
    this.presets = make("span", { class: "viewer-group" });
    for (const [key, name] of PRESETS) {
      const label = `${words[name]} (${key})`;
      this.presets.append(make("button", { type: "button", "data-preset": name, title: label, onclick: () => this.preset(name) }, words[name]));
    }
    this.presets.append(make("button", { type: "button", "data-act": "reset", title: `${words.reset} (r)`, onclick: () => this.reset() }, words.reset));
    this.tools = make("span", { class: "viewer-group" });
    for (const name of ["window", ...TOOLS]) {
      this.tools.append(make("button", { type: "button", "data-tool": name, onclick: () => this.take(name) }, words[name]));
    }
    this.tools.append(make("button", { type: "button", "data-act": "remove", onclick: () => this.removeLast() }, words.remove));
    this.more = make("span", { class: "viewer-group" });
    this.more.append(make("button", { type: "button", "data-act": "link", "aria-pressed": "true", onclick: (event) => this.link(event.currentTarget) }, words.linked));
    this.more.append(make("button", { type: "button", "data-act": "names", "aria-pressed": "true", onclick: (event) => this.names(event.currentTarget) }, words.names));
    if (this.facts.series.some((series) => series.volume)) {
      this.more.append(make("button", { type: "button", "data-act": "volume", disabled: !webgl2(), title: webgl2() ? "" : words.no_webgl2, onclick: () => this.volume() }, words.volume));
    }
    this.bar.append(this.presets, this.tools, this.more);
    this.row = make("div", { class: "viewer-panes" });
    this.status = make("p", { class: "viewer-status", role: "status", "aria-live": "polite" });
    this.list = make("ul", { class: "viewer-marks" });
    this.stage = make("div", { class: "viewer-volume", hidden: true });
    this.host.append(this.bar, this.row, this.stage, this.status, this.list);
    const first = this.facts.series[0];
    const start = this.facts.series.length > 1
      ? [[this.facts.series[0], null], [this.facts.series[1], null]]
      : Object.keys(first.planes).length > 1 ? [[first, "sagittal"], [first, "axial"]] : [[first, null]];
    for (const [series, plane] of start) this.addPane(series, plane || Object.keys(series.planes)[0]);
    this.take("window");
    new ResizeObserver(() => this.panes.forEach((pane) => pane.resize())).observe(this.row);
    this.host.addEventListener("keydown", (event) => this.key(event));
    levelTools(this);
    this.activate(0);
    this.recall();
  }

  addPane(series, plane) {
    const number = this.panes.length;
    const canvas = make("canvas", { class: "viewer-canvas", tabindex: "0", role: "img", "aria-label": series.title });
    const pane = new Pane(canvas, this.words, (changed) => this.changed(changed));
    const choose = make("select", { "aria-label": this.words.series, onchange: (event) => this.choose(pane, event.target.value) });
    for (const each of this.facts.series) {
      for (const name of Object.keys(each.planes)) {
        const value = `${each.handle}/${name}`;
        choose.append(make("option", { value, selected: each === series && name === plane }, `${each.title} · ${this.words[name]}`));
      }
    }
    const facts = make("p", { class: "viewer-facts" });
    pane.facts = facts;
    this.row.append(make("figure", { class: "viewer-pane", "data-pane": String(number) }, choose, canvas, facts));
    this.panes.push(pane);
    this.listen(pane, number);
    pane.show(series, plane);
    this.tell(pane);
  }

  choose(pane, value) {
    const [handle, plane] = value.split("/");
    pane.show(this.facts.series.find((series) => series.handle === handle), plane);
    this.tell(pane);
    this.changed(pane);
  }

  // What the picture is, in one line beneath it: hash, spacing, depth, and every doubt about it.
  tell(pane) {
    const series = pane.series;
    const affine = pane.geometry.affine;
    const side = (column) => Math.hypot(affine[0][column], affine[1][column], affine[2][column]);
    const sizes = (pane.geometry.shape[2] > 1 ? [0, 1, 2] : [0, 1]).map((column) => side(column).toFixed(2));
    const spacing = series.mm_known ? `${sizes.join(" × ")} mm` : this.words.no_spacing;
    const depth = series.exact ? this.words.exact : `${this.words.steps} ${series.slope.toPrecision(3)}`;
    const truth = series.levels && series.levels.length ? ` · ${this.words.names}: ${series.levels_source}` : "";
    pane.facts.textContent = `${series.modality} · ${this.words.pixel} ${spacing} · ${depth} · SHA-256 ${series.sha256.slice(0, 16)}…${truth}`;
    pane.facts.title = series.sha256;
    const shared = this.facts.series.some((each) => each !== series && each.frame === series.frame);
    if (shared) pane.facts.append(make("strong", { class: "viewer-flag" }, ` ${this.words.one_exam}`));
    for (const flag of series.flags) pane.facts.append(make("strong", { class: "viewer-flag" }, ` ${flag}`));
  }

  changed(pane) {
    for (const each of this.panes) {
      if (each === pane) continue;
      each.references = this.linked && each.series && each.series.frame === pane.series.frame ? [pane.view] : [];
      each.draw();
    }
    if (this.panes.length > 1) {
      const other = this.panes.find((each) => each !== pane);
      pane.references = this.linked && other.series && other.plane && other.series.frame === pane.series.frame ? [other.view] : [];
      pane.draw();
    }
  }

  activate(number) {
    this.active = number;
    this.row.querySelectorAll("[data-pane]").forEach((figure, place) => figure.classList.toggle("active", place === number));
    this.presets.querySelectorAll("[data-preset]").forEach((button) => {
      button.disabled = !(button.dataset.preset in this.pane.series.windows);
    });
    if (this.levelsChanged) this.levelsChanged();
  }

  preset(name) {
    if (this.pane.preset(name)) this.say(`${this.words[name]}: WL ${this.pane.window[0]} WW ${this.pane.window[1]}`);
    else this.say(this.words.no_preset);
  }

  reset() {
    this.pane.reset(this.pane.series.preset);
    this.say(this.words.reset);
  }

  take(name) {
    this.tool = name;
    this.panes.forEach((pane) => (pane.open = null));
    this.tools.querySelectorAll("[data-tool]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tool === name)));
    this.host.dataset.tool = name;
    this.say(this.words[`${name}_how`]);
  }

  link(button) {
    this.linked = !this.linked;
    button.setAttribute("aria-pressed", String(this.linked));
    this.changed(this.pane);
  }

  names(button) {
    this.panes.forEach((pane) => (pane.showNames = !pane.showNames));
    button.setAttribute("aria-pressed", String(this.panes[0].showNames));
    this.panes.forEach((pane) => pane.draw());
  }

  async volume() {
    const open = this.stage.hidden;
    this.stage.hidden = !open;
    if (open) await openNiivue(this.stage, this.pane, this.words, (words) => this.say(words));
  }

  say(words) {
    this.status.textContent = words || "";
  }

  // --- pointer and keys ---

  point(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * pane.canvas.width) / box.width, ((event.clientY - box.top) * pane.canvas.height) / box.height];
  }

  listen(pane, number) {
    const canvas = pane.canvas;
    let drag = null;
    canvas.addEventListener("focus", () => this.activate(number));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) {
        pane.zoom = Math.min(16, Math.max(0.5, pane.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15)));
        pane.draw();
      } else pane.scroll(event.deltaY > 0 ? 1 : -1);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      this.activate(number);
      canvas.setPointerCapture(event.pointerId);
      drag = { at: [event.clientX, event.clientY], from: this.point(pane, event), moved: 0, rest: 0 };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) return this.hover(pane, event);
      const [dx, dy] = [event.clientX - drag.at[0], event.clientY - drag.at[1]];
      drag.at = [event.clientX, event.clientY];
      drag.moved += Math.abs(dx) + Math.abs(dy);
      if (event.buttons & 6 || (event.buttons & 1 && event.shiftKey)) {
        pane.pan = [pane.pan[0] + dx * (pane.ratio || 1), pane.pan[1] + dy * (pane.ratio || 1)];
        pane.draw();
      } else if (event.pointerType === "touch" && this.tool === "window") {
        drag.rest += dy;
        const steps = Math.trunc(drag.rest / 12);
        if (steps) pane.scroll(steps);
        drag.rest -= steps * 12;
      } else if (this.tool === "window") {
        const step = Math.max(pane.window[1], 1) / 300;
        pane.window = [pane.window[0] + dy * step, Math.max(step, pane.window[1] + dx * step)];
        pane.draw();
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!drag) return;
      const click = drag.moved < 6;
      const [x, y] = this.point(pane, event);
      drag = null;
      if (!click || event.button !== 0) return;
      if (this.moving && this.moving(pane.world(x, y))) return;
      if (TOOLS.includes(this.tool)) this.measured(pane, pane.click(this.tool, x, y));
      else {
        const name = pane.nearestName(x, y);
        if (name && this.select) this.select(name);
        else if (this.linked) {
          const point = pane.world(x, y);
          this.panes.filter((each) => each !== pane && each.series.frame === pane.series.frame).forEach((each) => each.goTo(point));
        }
      }
    });
    canvas.addEventListener("pointercancel", () => (drag = null));
  }

  hover(pane, event) {
    if (this.tool !== "window" || this.moving) return;
    const value = pane.valueAt(...this.point(pane, event));
    this.say(value === null ? "" : `${this.words.value} ${Math.round(value * 10) / 10}${pane.series.unit === "HU" ? " HU" : ""}`);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.panes.some((pane) => pane.canvas === event.target)) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e6, End: 1e6 };
    const key = event.key;
    if (key in steps) this.pane.scroll(steps[key]);
    else if (PRESETS.has(key)) this.preset(PRESETS.get(key));
    else if (key in KEYS) this.take(KEYS[key]);
    else if (key === "r") this.reset();
    else if (key === "w" || key === "Escape") this.take("window");
    else if (key === "Delete" || key === "Backspace") this.removeLast();
    else if (key === "+" || key === "-") {
      this.pane.zoom = Math.min(16, Math.max(0.5, this.pane.zoom * (key === "+" ? 1.25 : 0.8)));
      this.pane.draw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- measurements ---

  measured(pane, mark) {
    if (!mark) return;
    this.say(mark.text);
    this.keep();
  }

  removeLast() {
    const pane = this.pane;
    if (pane.open) pane.open = null;
    else pane.marks.pop();
    pane.draw();
    this.keep();
  }

  annotations() {
    return this.panes.flatMap((pane) => pane.marks).map((mark) => ({
      kind: mark.kind,
      handle: mark.handle,
      image_sha256: mark.sha256,
      plane: mark.plane,
      layer: mark.layer,
      points_mm: mark.points.map((point) => point.map((value) => Math.round(value * 1000) / 1000)),
      values: mark.values,
    }));
  }

  // Marks that this reader made before, on the panes that show their series and plane.
  recall() {
    for (const mark of this.facts.marks || []) {
      const series = this.facts.series.find((each) => each.handle === mark.handle);
      if (!series || !(mark.plane in series.planes)) continue;
      const found = evaluate(mark.kind, mark.points_mm, series.planes[mark.plane].affine, series.oriented, series.mm_known);
      const pane = this.panes.find((each) => each.series === series && each.plane === mark.plane) || this.panes[0];
      pane.marks.push({ kind: mark.kind, plane: mark.plane, layer: mark.layer, points: mark.points_mm, handle: mark.handle, sha256: mark.image_sha256, ...(found || { text: "", values: mark.values }) });
    }
    this.tellMarks();
    this.panes.forEach((pane) => pane.draw());
  }

  tellMarks() {
    this.list.textContent = "";
    for (const pane of this.panes) {
      for (const mark of pane.marks) this.list.append(make("li", {}, `${this.words[mark.kind]}: ${mark.text} (${this.words[mark.plane]} ${mark.layer + 1})`));
    }
  }

  keep() {
    this.tellMarks();
    clearTimeout(this.timer);
    if (this.facts.keep) this.timer = setTimeout(() => this.send(), 400);
  }

  async send() {
    try {
      const answer = await fetch(this.facts.keep, {
        method: "POST",
        credentials: "same-origin",
        keepalive: true,
        headers: { "Content-Type": "application/json", "X-CSRF-Token": this.host.dataset.csrf },
        body: JSON.stringify({ marks: this.annotations() }),
      });
      if (!answer.ok) throw new Error(String(answer.status));
      this.host.dataset.kept = String(this.annotations().length);
    } catch (error) {
      this.say(`${this.words.not_kept} (${error.message})`);
    }
  }
}

export async function start(host) {
  if (!document.querySelector(`link[href="${STYLE}"]`)) document.head.append(make("link", { rel: "stylesheet", href: STYLE }));
  const answer = await fetch(host.dataset.viewer, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (!answer.ok) {
    host.textContent = `${host.dataset.failed || "No picture"} (${answer.status})`;
    return null;
  }
  const facts = await answer.json();
  if (!facts.series.length) {
    host.hidden = true;
    return null;
  }
  const viewer = new Viewer(host, facts);
  host.viewer = viewer;
  host.dataset.ready = "true";
  return viewer;
}

document.querySelectorAll("[data-viewer]").forEach((host) => start(host));
document.addEventListener("htmx:afterSwap", (event) => {
  event.target.querySelectorAll("[data-viewer]:not([data-ready])").forEach((host) => start(host));
});
