// One picture pane: a layer of a series at full depth on a canvas, its window, its letters, names and measurements.
//
// Convention: the server sends 16-bit values; the window is applied here, so dragging it asks nobody. All drawing goes
// through `place` and `locate`, which change between canvas points and (row, column); pixels that are not square are
// stretched to their true shape.
//
// Trap: layers arrive out of order when one scrolls fast. A pane draws a layer only if it is still the one asked for.

import { CLICKS, evaluate, grey, pixelSpacing, toPixel, toWorld, crossReference } from "./measure.js";

const KEPT_LAYERS = 64;
const NEAR_MM = 12;

export class Pane {
  constructor(canvas, messages, changed) {
    this.canvas = canvas;
    this.messages = messages;
    this.changed = changed;
    this.series = null;
    this.plane = null;
    this.layer = 0;
    this.window = [0, 1];
    this.zoom = 1;
    this.pan = [0, 0];
    this.values = null;
    this.picture = document.createElement("canvas");
    this.kept = new Map();
    this.marks = [];
    this.open = null;
    this.references = [];
    this.selected = null;
    this.showNames = true;
    this.failure = "";
  }

  get geometry() {
    return this.series.planes[this.plane];
  }

  get view() {
    return { affine: this.geometry.affine, shape: this.geometry.shape, layer: this.layer };
  }

  show(series, plane) {
    this.series = series;
    this.kept.clear();
    this.open = null;
    this.window = [...(series.windows[series.preset] || series.windows.full)];
    this.turn(plane in series.planes ? plane : Object.keys(series.planes)[0]);
  }

  turn(plane) {
    this.plane = plane;
    this.kept.clear();
    this.zoom = 1;
    this.pan = [0, 0];
    this.open = null;
    const start = this.series.start && this.series.start[plane];
    this.scrollTo(start === undefined ? Math.floor(this.geometry.shape[2] / 2) : start);
  }

  reset(preset) {
    const named = this.series.windows[preset] || this.series.windows.full;
    this.window = [...named];
    this.zoom = 1;
    this.pan = [0, 0];
    this.draw();
  }

  preset(name) {
    if (!(name in this.series.windows)) return false;
    this.window = [...this.series.windows[name]];
    this.draw();
    return true;
  }

  scroll(steps) {
    this.scrollTo(this.layer + steps);
  }

  async scrollTo(layer) {
    const count = this.geometry.shape[2];
    this.layer = Math.min(count - 1, Math.max(0, layer));
    this.open = null;
    const [wanted, plane, series] = [this.layer, this.plane, this.series];
    const values = await this.fetchLayer(wanted);
    if (this.layer !== wanted || this.plane !== plane || this.series !== series) return;
    this.values = values;
    this.draw();
    this.changed(this);
    for (const step of [1, -1]) {
      const next = wanted + step;
      if (next >= 0 && next < count) this.fetchLayer(next);
    }
  }

  // Promise of a layer's 16-bit values; null if the server refused, with the reason shown in the pane.
  fetchLayer(layer) {
    if (this.kept.has(layer)) return this.kept.get(layer);
    const address = `${this.series.address}/layers/${this.plane}/${layer}`;
    const kind = this.series.kind === "int16" ? Int16Array : Uint16Array;
    const promise = fetch(address, { credentials: "same-origin" })
      .then((answer) => {
        if (!answer.ok) throw new Error(`${answer.status}`);
        return answer.arrayBuffer();
      })
      .then((buffer) => new kind(buffer))
      .catch((error) => {
        this.kept.delete(layer);
        this.failure = `${this.messages.failed} (${error.message})`;
        return null;
      });
    this.kept.set(layer, promise);
    if (this.kept.size > KEPT_LAYERS) this.kept.delete(this.kept.keys().next().value);
    return promise;
  }

  goTo(point) {
    const layer = Math.round(toPixel(this.geometry.affine, point)[2]);
    if (layer >= 0 && layer < this.geometry.shape[2]) this.scrollTo(layer);
  }

  // --- between canvas and picture ---

  get frame() {
    const [rows, columns] = this.geometry.shape;
    const [tall, wide] = pixelSpacing(this.geometry.affine);
    const scale = Math.min(this.canvas.width / (columns * wide), this.canvas.height / (rows * tall)) * this.zoom;
    const [x, y] = [scale * wide, scale * tall];
    return {
      x,
      y,
      left: (this.canvas.width - columns * x) / 2 + this.pan[0],
      top: (this.canvas.height - rows * y) / 2 + this.pan[1],
    };
  }

  // Canvas point of (row, column); a pixel's centre lies half a pixel inside its corner.
  place(row, column) {
    const f = this.frame;
    return [f.left + (column + 0.5) * f.x, f.top + (row + 0.5) * f.y];
  }

  locate(x, y) {
    const f = this.frame;
    return [(y - f.top) / f.y - 0.5, (x - f.left) / f.x - 0.5];
  }

  world(x, y) {
    const [row, column] = this.locate(x, y);
    return toWorld(this.geometry.affine, row, column, this.layer);
  }

  valueAt(x, y) {
    if (!this.values) return null;
    const [rows, columns] = this.geometry.shape;
    const [row, column] = this.locate(x, y).map(Math.round);
    if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
    return this.values[row * columns + column] * this.series.slope + this.series.intercept;
  }

  // --- drawing ---

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.max(64, Math.round(box.width * ratio)), Math.max(64, Math.round(box.height * ratio))];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.ratio = ratio;
    this.draw();
  }

  draw() {
    if (!this.series || !this.plane) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.values) this.drawPicture(context);
    this.text = Math.round(14 * (this.ratio || 1));
    context.font = `600 ${this.text}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    this.drawReferences(context);
    if (this.showNames) this.drawNames(context);
    this.drawMarks(context);
    this.drawLetters(context);
    this.drawCorners(context);
  }

  drawPicture(context) {
    const [rows, columns] = this.geometry.shape;
    this.picture.width = columns;
    this.picture.height = rows;
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const [level, width] = this.window;
    const { slope, intercept, inverted } = this.series;
    const table = this.table(level, width, slope, intercept, inverted);
    const shift = this.series.kind === "int16" ? 32768 : 0;
    for (let i = 0; i < this.values.length; i += 1) pixels[i] = table[this.values[i] + shift];
    this.picture.getContext("2d").putImageData(image, 0, 0);
    const f = this.frame;
    context.imageSmoothingEnabled = f.x < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, f.left, f.top, columns * f.x, rows * f.y);
  }

  // Colour of each of the 65,536 stored values.
  table(level, width, slope, intercept, inverted) {
    const key = `${level}/${width}/${this.series.handle}`;
    if (this.tableKey === key) return this.tableOf;
    const shift = this.series.kind === "int16" ? 32768 : 0;
    const table = new Uint32Array(65536);
    for (let i = 0; i < 65536; i += 1) {
      const shade = grey((i - shift) * slope + intercept, level, Math.max(width, 1e-9));
      const shown = inverted ? 255 - shade : shade;
      table[i] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
    }
    this.tableKey = key;
    this.tableOf = table;
    return table;
  }

  write(context, words, x, y, colour, align) {
    context.textAlign = align || "center";
    context.lineWidth = Math.max(3, this.text / 4);
    context.strokeStyle = "rgba(0,0,0,0.85)";
    context.lineJoin = "round";
    context.strokeText(words, x, y);
    context.fillStyle = colour;
    context.fillText(words, x, y);
  }

  drawLetters(context) {
    const { left, right, top, bottom } = this.geometry.letters;
    const [w, h, t] = [this.canvas.width, this.canvas.height, this.text];
    context.font = `700 ${Math.round(t * 1.25)}px system-ui, sans-serif`;
    this.write(context, left, t * 1.1, h / 2, "#ffe08a");
    this.write(context, right, w - t * 1.1, h / 2, "#ffe08a");
    this.write(context, top, w / 2, t, "#ffe08a");
    this.write(context, bottom, w / 2, h - t, "#ffe08a");
    context.font = `600 ${t}px system-ui, sans-serif`;
  }

  drawCorners(context) {
    const [w, h, t] = [this.canvas.width, this.canvas.height, this.text];
    const small = Math.round(t * 0.85);
    context.font = `500 ${small}px system-ui, sans-serif`;
    const [level, width] = this.window;
    const digits = width < 10 ? 2 : 0;
    const unit = this.series.unit === "HU" ? " HU" : "";
    this.write(context, `${this.series.title}`, t / 2, small, "#e6edf3", "left");
    const count = this.geometry.shape[2];
    if (count > 1) this.write(context, `${this.messages[this.plane]} ${this.layer + 1}/${count}`, t / 2, small * 2.3, "#e6edf3", "left");
    this.write(context, `WL ${level.toFixed(digits)}  WW ${width.toFixed(digits)}${unit}`, t / 2, h - small, "#e6edf3", "left");
    if (this.failure) this.write(context, this.failure, w / 2, h / 2 + 2 * t, "#ffb4a8");
    this.drawScale(context, w, h, small);
    context.font = `600 ${t}px system-ui, sans-serif`;
  }

  // A bar of a round length, so that sizes are seen before anything is measured.
  drawScale(context, w, h, small) {
    if (!this.series.mm_known) return;
    const perMm = this.frame.x / pixelSpacing(this.geometry.affine)[1];
    const size = [100, 50, 20, 10, 5].find((mm) => mm * perMm < w / 4) || 5;
    const [x, y] = [w - small, h - small * 1.2];
    context.strokeStyle = "#e6edf3";
    context.lineWidth = Math.max(2, small / 7);
    context.beginPath();
    context.moveTo(x - size * perMm, y);
    context.lineTo(x, y);
    context.stroke();
    this.write(context, `${size} mm`, x, y - small * 0.9, "#e6edf3", "right");
  }

  names() {
    if (!this.series.levels || this.geometry.shape[2] === 1) return [];
    const affine = this.geometry.affine;
    const step = Math.hypot(affine[0][2], affine[1][2], affine[2][2]);
    return this.series.levels
      .map((entry) => ({ ...entry, at: toPixel(affine, entry.point_mm) }))
      .filter((entry) => Math.abs(entry.at[2] - this.layer) * step <= Math.max(NEAR_MM, step / 2));
  }

  drawNames(context) {
    for (const entry of this.names()) {
      const [x, y] = this.place(entry.at[0], entry.at[1]);
      const chosen = entry.level === this.selected;
      context.beginPath();
      context.arc(x, y, this.text * (chosen ? 0.35 : 0.22), 0, 2 * Math.PI);
      context.fillStyle = chosen ? "#ffb000" : "#7fd4ff";
      context.fill();
      context.strokeStyle = "#000";
      context.lineWidth = 1.5;
      context.stroke();
      this.write(context, entry.cut ? `(${entry.level})` : entry.level, x + this.text * 0.6, y, chosen ? "#ffb000" : "#7fd4ff", "left");
    }
  }

  drawReferences(context) {
    context.setLineDash([8, 6]);
    context.lineWidth = Math.max(1.5, this.text / 9);
    context.strokeStyle = "#ffb000";
    for (const other of this.references) {
      const line = crossReference(this.view, other);
      if (!line) continue;
      context.beginPath();
      context.moveTo(...this.place(...line[0]));
      context.lineTo(...this.place(...line[1]));
      context.stroke();
    }
    context.setLineDash([]);
  }

  drawMarks(context) {
    const here = this.marks.filter((mark) => mark.handle === this.series.handle && mark.plane === this.plane && mark.layer === this.layer);
    for (const mark of [...here, ...(this.open ? [this.open] : [])]) {
      const points = mark.points.map((point) => toPixel(this.geometry.affine, point)).map(([r, c]) => this.place(r, c));
      context.strokeStyle = "#9dff8f";
      context.fillStyle = "#9dff8f";
      context.lineWidth = Math.max(1.5, this.text / 8);
      const pairs = mark.kind === "cobb" ? [[0, 1], [2, 3]] : mark.kind === "slip" ? [[1, 2]] : [[0, 1], [1, 2]];
      for (const [a, b] of pairs) {
        if (!points[a] || !points[b]) continue;
        context.beginPath();
        context.moveTo(...points[a]);
        context.lineTo(...points[b]);
        context.stroke();
      }
      for (const [x, y] of points) {
        context.beginPath();
        context.arc(x, y, this.text / 5, 0, 2 * Math.PI);
        context.fill();
      }
      if (mark.text) {
        // Below the lowest point, and within the picture: a number that runs out of sight is none.
        const [x] = points[points.length - 1];
        const y = Math.max(...points.map((point) => point[1])) + 1.2 * this.text;
        const wide = context.measureText(mark.text).width;
        const at = Math.max(this.text, Math.min(x + this.text * 0.6, this.canvas.width - wide - 2.4 * this.text));
        this.write(context, mark.text, at, Math.min(this.canvas.height - 2.4 * this.text, y), "#9dff8f", "left");
      }
    }
  }

  // --- measuring ---

  // Adds a click; returns the finished mark, or null while points are missing.
  click(kind, x, y) {
    if (!this.open || this.open.kind !== kind) {
      this.open = { kind, handle: this.series.handle, sha256: this.series.sha256, plane: this.plane, layer: this.layer, points: [] };
    }
    this.open.points.push(this.world(x, y));
    if (this.open.points.length < CLICKS[kind]) {
      this.draw();
      return null;
    }
    const series = this.series;
    const result = evaluate(kind, this.open.points, this.geometry.affine, series.oriented, series.mm_known);
    const mark = this.open;
    this.open = null;
    if (result === null) {
      this.draw();
      return null;
    }
    Object.assign(mark, result);
    this.marks.push(mark);
    this.draw();
    return mark;
  }

  nearestName(x, y) {
    let best = null;
    for (const entry of this.names()) {
      const [a, b] = this.place(entry.at[0], entry.at[1]);
      const far = Math.min(Math.hypot(a - x, b - y), Math.hypot(a + this.text - x, b - y));
      if (far < this.text * 1.4 && (!best || far < best.far)) best = { far, level: entry.level };
    }
    return best && best.level;
  }
}
