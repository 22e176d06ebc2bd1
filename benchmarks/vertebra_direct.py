"""The formulas of height loss and straightening evaluated directly: plain loops over layers, columns and samples.

Convention: written as the formulas read, with numpy for small vectors; what is no formula of ours (the spline through
the centres, telling a body from its arch, the fit of the reference's endplates) is shared with the library.

Trap: these are peers to be slow beside, and to be compared with: change them only where a formula is wrong.
"""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.geometry import WorldPoints
from spinemed.geometry.curve import Curve
from spinemed.labelling.bodies import body_centroids
from spinemed.labelling.masks import LabelMask
from spinemed.measure import Body, separate_body
from spinemed.vertebra.paper.straighten import CROP_SHAPE

__all__ = ["direct_paper_rhlv", "direct_paper_straighten", "direct_robust_rhlv", "direct_straighten"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


# --- height loss by the published rule --------------------------------------------------------------------------------


def direct_paper_rhlv(fake: Mask, real: Mask, threshold: float = 0.7) -> list[float]:
    """The published rule: whole, anterior, middle, posterior."""
    high, deep, wide = real.shape

    def column(mask: Mask, j: int, k: int) -> int:
        return sum(1 for i in range(high) if mask[i, j, k])

    layers, voxels, weighted = [], 0, 0
    for k in range(wide):
        count = int(real[:, :, k].sum())
        if count:
            layers.append(k)
            voxels, weighted = voxels + count, weighted + count * k
    centre, reach = int(weighted / voxels), (layers[-1] - layers[0]) // 5
    made: list[list[float]] = [[], [], [], []]
    own: list[list[float]] = [[], [], [], []]
    for k in range(max(0, centre - reach), centre + reach):
        f = [column(fake, j, k) for j in range(deep)]
        r = [column(real, j, k) for j in range(deep)]
        if not any(f) or not any(r):
            continue
        present = [j for j in range(deep) if f[j]]
        y0, span = present[0], present[-1] - present[0]
        a, b = int(y0 + span / 3), int(y0 + 2 * span / 3)
        parts = [range(deep), range(a), range(a, b), range(b, deep)]
        scales = []
        for part in parts:
            top_f, top_r = max((f[j] for j in part), default=0), max((r[j] for j in part), default=0)
            scales.append(top_r / (top_f + 1e-6) if top_r > top_f else 1.0)
        at_f = int(sum(j * h for j, h in enumerate(f)) / sum(f))
        at_r = int(sum(j * h for j, h in enumerate(r)) / sum(r))
        bar_f, bar_r = f[at_f] * scales[0] * threshold, r[at_r] * threshold
        for number, part in enumerate(parts):
            made[number] += [f[j] * scales[number] for j in part if f[j] * scales[number] > bar_f]
            own[number] += [float(r[j]) for j in part if r[j] > bar_r]
    means = [(sum(h) / len(h) if h else 0.0, sum(o) / len(o) if o else 0.0) for h, o in zip(made, own, strict=True)]
    return [(h - o) / (h + 1e-6) for h, o in means]


# --- height loss by ours ----------------------------------------------------------------------------------------------


def direct_field(mask: Mask, affine: Array) -> tuple[Array, Array]:
    """The mask cut to its voxels, padded by 3 and smoothed by a Gaussian of 0.6 voxels, and where it lies."""
    there = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    cut = mask[tuple(slice(int(t[0]), int(t[-1]) + 1) for t in there)]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ (np.array([t[0] for t in there]) - 3.0)
    values = np.pad(cut, 3).astype(np.float64)
    weights = [math.exp(-0.5 * (d / 0.6) ** 2) for d in range(-2, 3)]
    total = sum(weights)
    for axis in range(3):
        size, turned = values.shape[axis], np.moveaxis(values, axis, 0)
        out = np.zeros_like(turned)
        for i in range(turned.shape[0]):
            for j in range(turned.shape[1]):
                for k in range(turned.shape[2]):
                    # The padding is 3 wide and the window reaches 2, so that nothing lies beyond it.
                    out[i, j, k] = sum(
                        w / total * turned[i + d, j, k] for d, w in enumerate(weights, -2) if 0 <= i + d < size
                    )
        values = np.moveaxis(out, 0, axis)
    return values, moved


def direct_sample(values: Array, x: float, y: float, z: float) -> float:
    """Trilinear between the voxels, 0 outside."""
    a, b, c = values.shape
    if not (0 <= x <= a - 1 and 0 <= y <= b - 1 and 0 <= z <= c - 1):
        return 0.0
    i, j, k = min(int(x), a - 2), min(int(y), b - 2), min(int(z), c - 2)
    p, q, r = x - i, y - j, z - k
    total = 0.0
    for di, wi in ((0, 1 - p), (1, p)):
        for dj, wj in ((0, 1 - q), (1, q)):
            for dk, wk in ((0, 1 - r), (1, r)):
                total += wi * wj * wk * float(values[i + di, j + dj, k + dk])
    return total


def direct_profile(
    field: tuple[Array, Array], body: Body, half: float, back: float, front: float, height: float
) -> tuple[list[float], list[float]]:
    """Mean height over the band at each depth: outermost 0.5 levels along the reference's axis."""
    values, affine = field
    step = (1.0, 0.5, 0.25)
    across, along, levels = max(int(half), 1), int((front - back) / 0.5), int(1.8 * height / 0.25) + 1
    pull = np.linalg.inv(affine[:3, :3])
    origin = pull @ (body.frame.centre_mm - affine[:3, 3])
    turned = pull @ body.frame.axes.T
    places, found = [], []
    for n in range(along):
        y = back + step[1] / 2 + n * step[1]
        tall = []
        for m in range(-across, across + 1):
            x = m * step[0]
            column = []
            for level in range(levels):
                z = -0.9 * height + level * step[2]
                at = [origin[d] + turned[d, 0] * x + turned[d, 1] * y + turned[d, 2] * z for d in range(3)]
                column.append(direct_sample(values, at[0], at[1], at[2]))
            solid = [value >= 0.5 for value in column]
            if not any(solid) or solid[0] or solid[-1]:
                tall.append(math.nan)
                continue
            low, high = solid.index(True), levels - 1 - solid[::-1].index(True)
            over = (column[high] - 0.5) / max(column[high] - column[high + 1], 1e-6)
            under = (column[low] - 0.5) / max(column[low] - column[low - 1], 1e-6)
            tall.append(step[2] * (high - low + min(over, 1.0) + min(under, 1.0)))
        known = sorted(value for value in tall if not math.isnan(value))
        usual = statistics.median(known) if known else math.nan
        kept = [value for value in tall if not math.isnan(value) and abs(value - usual) <= 2.5]
        places.append(y)
        found.append(sum(kept) / len(kept) if 2 * len(kept) >= len(tall) else math.nan)
    return places, found


def direct_thirds(places: list[float], heights: list[float], back: float, front: float) -> list[float]:
    """Mean height of the anterior, middle and posterior third, the rounded ends filled by the slope."""
    result = []
    for low, high in ((2 / 3, 1.0), (1 / 3, 2 / 3), (0.0, 1 / 3)):
        part = [
            ((y - back) / (front - back), h)
            for y, h in zip(places, heights, strict=True)
            if max(low, 0.05) <= (y - back) / (front - back) < min(high, 0.95)
        ]
        mean_s, mean_h = sum(s for s, _ in part) / len(part), sum(h for _, h in part) / len(part)
        slope = sum((s - mean_s) * (h - mean_h) for s, h in part) / sum((s - mean_s) ** 2 for s, _ in part)
        result.append(mean_h + slope * ((low + high) / 2 - mean_s))
    return result


def direct_robust_rhlv(mask: Mask, affine: Array, reference: Body) -> list[float]:
    """Losses in percent of the anterior, middle and posterior third against a fitted reference."""
    back, front = reference.wall_mm
    half = 0.15 * reference.width_mm
    height = float(np.linalg.norm(reference.upper.centre_mm - reference.lower.centre_mm))
    theirs = np.asarray(reference.field_.values, np.float64), np.asarray(reference.field_.affine)
    places, before = direct_profile(theirs, reference, half, back, front, height)
    _, now = direct_profile(direct_field(mask, affine), reference, half, back, front, height)
    both = [i for i in range(len(places)) if not math.isnan(before[i]) and not math.isnan(now[i])]
    old = direct_thirds([places[i] for i in both], [before[i] for i in both], back, front)
    new = direct_thirds([places[i] for i in both], [now[i] for i in both], back, front)
    return [100.0 * (1.0 - b / a) for a, b in zip(old, new, strict=True)]


# --- straightening ----------------------------------------------------------------------------------------------------


def direct_nearest(
    volume: NDArray[Any], places: Array, steps: Array, middle: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """(N, *shape) nearest labels on planes, sample by sample."""
    out = np.zeros((len(places), *shape), np.uint8)
    last = [n - 1 for n in volume.shape]
    for n in range(len(places)):
        place, one, other = places[n].tolist(), steps[n, 0].tolist(), steps[n, 1].tolist()
        for i in range(shape[0]):
            for j in range(shape[1]):
                a, b = i - middle[0], j - middle[1]
                x = b * other[0] + a * one[0] + place[0]
                y = b * other[1] + a * one[1] + place[1]
                z = b * other[2] + a * one[2] + place[2]
                if 0 <= x <= last[0] and 0 <= y <= last[1] and 0 <= z <= last[2]:
                    out[n, i, j] = volume[math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)]
    return out


def direct_linear(
    volume: NDArray[Any], places: Array, steps: Array, middle: tuple[float, float], shape: tuple[int, int]
) -> Array:
    """(N, *shape) trilinear values on planes, sample by sample."""
    out = np.zeros((len(places), *shape))
    for n in range(len(places)):
        place, one, other = places[n].tolist(), steps[n, 0].tolist(), steps[n, 1].tolist()
        for i in range(shape[0]):
            for j in range(shape[1]):
                a, b = i - middle[0], j - middle[1]
                out[n, i, j] = direct_sample(
                    volume,
                    b * other[0] + a * one[0] + place[0],
                    b * other[1] + a * one[1] + place[1],
                    b * other[2] + a * one[2] + place[2],
                )
    return out


def direct_straighten(mask: LabelMask, levels: tuple[Level, ...]) -> dict[Level, tuple[Array, NDArray[np.uint8]]]:
    """Body and labels of each level's crop: planes every millimetre across the curve through the bodies."""
    shape, deep = (64, 64), 96
    middle = (31.5, 31.5)
    centres = dict(body_centroids(mask).items())
    last = max(np.unique(mask.data))
    upwards = [centres[level] for level in sorted(centres, reverse=True) if level in _whole(mask, last)]
    curve = Curve(WorldPoints(np.array(upwards)))
    found = {}
    for level in levels:
        number = LABEL_MAPS["verse"].to_label(level)
        at = float(curve.to_local(WorldPoints(centres[level][None])).values[0, 2])
        low = round(at - (deep - 1) / 2)
        along = np.arange(low, low + deep, dtype=np.float64)
        where, frames = curve.positions(along).values, curve.frames(along)
        frame = curve.frames([at])[0]
        box = tuple(slice(max(0, int(i.min()) - 1), int(i.max()) + 2) for i in np.nonzero(mask.data == number))
        affine = mask.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array([side.start for side in box])
        body = separate_body(mask.data[box] == number, affine, anterior_hint=frame[1], up_hint=frame[2])
        solid, own = np.pad(body.mask, 1).astype(np.float64), body.affine.copy()
        own[:3, 3] -= own[:3, :3] @ np.ones(3)
        parts = []
        for sampler, volume, grid in ((direct_linear, solid, own), (direct_nearest, mask.data, mask.affine)):
            pull = np.linalg.inv(grid[:3, :3])
            parts.append(sampler(volume, (where - grid[:3, 3]) @ pull.T, frames[:, :2] @ pull.T, middle, shape))
        found[level] = np.moveaxis(parts[0], 0, 2), np.moveaxis(parts[1], 0, 2).astype(np.uint8)
    return found


def _whole(mask: LabelMask, last: int) -> set[Level]:
    """Levels that no head or foot face of the volume cuts."""
    from spinemed.labelling.masks import labels_at_border

    cut = {label for label, side in labels_at_border(mask).items() if side in "IS"}
    verse = LABEL_MAPS["verse"]
    return {level for level in mask.levels if verse.to_label(level) not in cut and verse.to_label(level) <= last}


def direct_paper_straighten(data: NDArray[np.uint8], wanted: tuple[int, ...]) -> dict[int, NDArray[np.uint8]]:
    """The published rule on a mask that runs inferior, posterior, left at 1 mm."""
    centres = {label: np.array(np.nonzero(data == label)).mean(axis=1) for label in np.unique(data) if label}
    sizes = {label: int((data == label).sum()) for label in centres}
    order = sorted(centres)
    kept = [x for x in order if sizes[x] >= (8000 if x == order[-1] else 6000 if x == order[0] else 0)]
    line = [centres[label] for label in kept]
    for end, before, place in ((line[0], line[1], 0), (line[-1], line[-2], len(line) + 1)):
        line.insert(place, np.clip(end + 20 * (end - before) / np.linalg.norm(end - before), 0, data.shape))
    length = [0.0]
    for a, b in pairwise(line):
        length.append(length[-1] + float(np.linalg.norm(b - a)))
    slopes = np.gradient(np.array(line), axis=0)
    places, basis = [], []
    for n in range(math.ceil(length[-1])):
        piece = next(i for i in range(1, len(length)) if n <= length[i] or i == len(length) - 1)
        rest = n - length[piece - 1]
        reach = length[piece] - length[piece - 1]
        places.append((line[piece] - line[piece - 1]) / reach * rest + line[piece - 1])
        along = (slopes[piece] - slopes[piece - 1]) / reach * rest + slopes[piece - 1]
        along = along / np.linalg.norm(along)
        left = np.array([-along[2], 0.0, along[0]])
        left = left / np.linalg.norm(left)
        basis.append(np.stack([along, left, np.cross(left, along)], axis=-1))
    steps = np.array(basis)[:, :, [2, 1]].transpose(0, 2, 1)
    stack = direct_nearest(data, np.array(places), steps, (64.0, 64.0), (128, 128))
    for label in order:  # what lies behind the first row without the label on the midline is arch
        for row in range(64, 128):
            if not (stack[:, row, 64] == label).any():
                part = stack[:, row:]
                part[part == label] = 0
                break
    found = {}
    for label in wanted:
        centre = _paper_local(centres[label], np.array(places), np.array(basis))
        crop = np.zeros(CROP_SHAPE, np.uint8)
        source, target = [], []
        for size, at, n in zip(CROP_SHAPE, centre, stack.shape, strict=True):
            low, high = max(0, int(at - size // 2)), min(n, int(at + size // 2))
            start = (size - (high - low)) // 2
            source.append(slice(low, high))
            target.append(slice(start, start + high - low))
        crop[tuple(target)] = stack[tuple(source)]
        found[label] = crop
    return found


def _paper_local(point: Array, places: Array, basis: Array) -> Array:
    """A point in the stack: between the planes before and behind it."""
    inside = [basis[n].T @ (point - places[n]) for n in range(len(places))]
    signs = [n for n in range(len(places) - 1) if np.sign(inside[n][0]) != np.sign(inside[n + 1][0])]
    nearest = min(range(len(places)), key=lambda n: float(np.linalg.norm(point - places[n])))
    if signs:
        nearest = min(signs, key=lambda n: abs(n - nearest))
    walked = [0.0]
    for a, b in pairwise(places):
        walked.append(walked[-1] + float(np.linalg.norm(b - a)))
    near = sorted(range(max(0, nearest - 2), min(len(places), nearest + 2)), key=lambda n: inside[n][0])
    after = next((i for i in range(len(near)) if inside[near[i]][0] >= 0), len(near) - 1)
    after = min(max(after, 1), len(near) - 1)
    low, high = near[after - 1], near[after]
    first, second = (inside[n] + [walked[n], 64.0, 64.0] for n in (low, high))
    share = -inside[low][0] / (inside[high][0] - inside[low][0])
    return np.asarray(first + (second - first) * share)
