// Measurement in the patient's millimetres: the maths of the viewer, without any drawing.
//
// Convention: points are [right, anterior, superior] in mm (RAS+), matrices are four rows of four numbers and lead from
// (row, column, layer) to such points. The definitions are those of spinemed/measure/endplates.py: inclination is
// positive where the front (sagittal) or the patient's right side (coronal) is higher; a slip is the posterior-inferior
// corner above, projected on the superior endplate below, in mm and in percent of that endplate.
//
// Trap: a click is a pixel, and a pixel need not be square nor lie in a world plane. Nothing here takes pixels but
// `toWorld`, and nothing but `toPixel` gives them.

export function subtract(a, b) {
  return [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
}

export function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function length(a) {
  return Math.hypot(a[0], a[1], a[2]);
}

// World point of (row, column, layer), fractions allowed.
export function toWorld(affine, row, column, layer) {
  return [0, 1, 2].map((axis) => affine[axis][0] * row + affine[axis][1] * column + affine[axis][2] * layer + affine[axis][3]);
}

// [row, column, layer] of a world point.
export function toPixel(affine, point) {
  const [a, b, c] = [0, 1, 2].map((column) => [affine[0][column], affine[1][column], affine[2][column]]);
  const d = subtract(point, [affine[0][3], affine[1][3], affine[2][3]]);
  const volume = dot(a, cross(b, c));
  return [dot(d, cross(b, c)) / volume, dot(d, cross(c, a)) / volume, dot(d, cross(a, b)) / volume];
}

// Sides of a pixel in mm: [down a row, along a column].
export function pixelSpacing(affine) {
  return [0, 1].map((column) => Math.hypot(affine[0][column], affine[1][column], affine[2][column]));
}

export function distanceMm(a, b) {
  return length(subtract(a, b));
}

// Angle at the middle point, 0 to 180 degrees; null where two points coincide.
export function angleDeg(a, vertex, b) {
  const u = subtract(a, vertex);
  const v = subtract(b, vertex);
  if (length(u) < 1e-9 || length(v) < 1e-9) return null;
  return (Math.atan2(length(cross(u, v)), dot(u, v)) * 180) / Math.PI;
}

// Inclination of the line through two rim points in the sagittal or coronal plane, within 90 degrees either way.
export function inclinationDeg(a, b, plane) {
  const axis = plane === "sagittal" ? 1 : 0;
  let across = a[axis] - b[axis];
  let up = a[2] - b[2];
  if (across < 0) {
    across = -across;
    up = -up;
  }
  if (Math.hypot(across, up) < 1e-9) return null;
  return (Math.atan2(up, across) * 180) / Math.PI;
}

// Upper minus lower inclination. Coronal: positive for a curve convex to the right. Sagittal: positive for lordosis.
export function cobbDeg(upperA, upperB, lowerA, lowerB, plane) {
  const upper = inclinationDeg(upperA, upperB, plane);
  const lower = inclinationDeg(lowerA, lowerB, plane);
  return upper === null || lower === null ? null : upper - lower;
}

// Angle between two lines whatever plane they lie in, 0 to 90 degrees: for a film without a stated orientation.
export function linesDeg(a, b, c, d) {
  const angle = angleDeg(a, b, [b[0] + d[0] - c[0], b[1] + d[1] - c[1], b[2] + d[2] - c[2]]);
  return angle === null ? null : Math.min(angle, 180 - angle);
}

// Slip of the upper vertebra on the lower one: {mm, percent}, positive to the front.
export function slip(cornerAbove, posteriorBelow, anteriorBelow) {
  const along = subtract(anteriorBelow, posteriorBelow);
  const size = length(along);
  if (size < 1e-9) return null;
  const mm = dot(subtract(cornerAbove, posteriorBelow), along) / size;
  return { mm, percent: (100 * mm) / size };
}

// World plane that a picture lies nearest to, by its normal; "axial" has no Cobb angle.
export function worldPlane(affine) {
  const [down, right] = [0, 1].map((column) => [affine[0][column], affine[1][column], affine[2][column]]);
  const normal = cross(down, right).map(Math.abs);
  const most = normal.indexOf(Math.max(...normal));
  return ["sagittal", "coronal", "axial"][most];
}

// Where another picture's layer cuts this one: two [row, column] points, or null where they do not meet.
// Both are {affine, shape: [rows, columns, layers], layer}. The line ends where the other picture ends.
export function crossReference(here, there) {
  const [rows, columns] = there.shape;
  const corners = [
    [-0.5, -0.5],
    [-0.5, columns - 0.5],
    [rows - 0.5, columns - 0.5],
    [rows - 0.5, -0.5],
  ].map(([row, column]) => toPixel(here.affine, toWorld(there.affine, row, column, there.layer)));
  const met = [];
  for (let i = 0; i < 4; i += 1) {
    const a = corners[i];
    const b = corners[(i + 1) % 4];
    const from = a[2] - here.layer;
    const to = b[2] - here.layer;
    if (from === to || from * to > 0) continue;
    const t = from / (from - to);
    met.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
  }
  for (let i = 1; i < met.length; i += 1) {
    if (Math.hypot(met[i][0] - met[0][0], met[i][1] - met[0][1]) > 1e-6) return [met[0], met[i]];
  }
  return null;
}

// Grey value 0 to 255 of a value in a window: DICOM PS3.3 C.11.2.1.3.2 (LINEAR_EXACT), rounded half up.
export function grey(value, level, width) {
  const scaled = ((value - (level - width / 2)) / width) * 255;
  return Math.floor(Math.min(255, Math.max(0, scaled)) + 0.5);
}

// What one set of clicks says: {text, values} or null while it is incomplete. `points` are world mm.
export function evaluate(kind, points, affine, oriented, mmKnown) {
  const unit = mmKnown ? "mm" : "px";
  const round = (value) => Math.round(value * 10) / 10;
  if (kind === "distance" && points.length === 2) {
    const mm = distanceMm(points[0], points[1]);
    return { text: `${mm.toFixed(1)} ${unit}`, values: { [`distance_${unit}`]: round(mm) } };
  }
  if (kind === "angle" && points.length === 3) {
    const angle = angleDeg(points[0], points[1], points[2]);
    return angle === null ? null : { text: `${angle.toFixed(1)}°`, values: { angle_deg: round(angle) } };
  }
  if (kind === "cobb" && points.length === 4) {
    const plane = oriented ? worldPlane(affine) : "axial";
    if (plane === "axial") {
      const angle = linesDeg(...points);
      return angle === null ? null : { text: `${angle.toFixed(1)}°`, values: { lines_deg: round(angle) } };
    }
    const cobb = cobbDeg(points[0], points[1], points[2], points[3], plane);
    if (cobb === null) return null;
    const positive = plane === "sagittal" ? "lordosis" : "convex right";
    const negative = plane === "sagittal" ? "kyphosis" : "convex left";
    const word = Math.abs(cobb) < 0.05 ? "" : ` ${cobb > 0 ? positive : negative}`;
    return { text: `Cobb ${Math.abs(cobb).toFixed(1)}°${word}`, values: { cobb_deg: round(cobb), plane } };
  }
  if (kind === "slip" && points.length === 3) {
    const found = slip(points[0], points[1], points[2]);
    if (found === null) return null;
    const text = `${found.mm.toFixed(1)} ${unit}, ${found.percent.toFixed(0)} %`;
    return { text, values: { [`slip_${unit}`]: round(found.mm), slip_percent: round(found.percent) } };
  }
  return null;
}

export const CLICKS = { distance: 2, angle: 3, cobb: 4, slip: 3 };
