"""Paint a drawn phantom and state its truth.

Convention: the picture is painted at twice the size and averaged down, the masks are rasterised at full exactness from
the same outlines (`raster`). Radiograph-like views add projected layers instead of painting tissue over tissue.
The trap: texture and noise come from `look.noise_seed` alone and multiply what is painted, so that two draws which
differ in one fracture differ in pixels only around it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from spinemed.anatomy import Level
from spinemed.phantom.sagittal.raster import fill_polygons
from spinemed.phantom.sagittal.records import PhantomDraw, PhantomImage, VertebraTruth
from spinemed.phantom.sagittal.scene import Scene

__all__ = ["render_phantom"]

_SCALE = 2
#: Course of a rib in the projection, mm from the back of its vertebra: out behind, then down and forwards.
_RIB = np.array(
    [[0, 0], [9, 0], [17, 3], [21, 9], [19, 17], [10, 26], [-8, 37], [-30, 48], [-56, 59], [-84, 68], [-108, 73]]
) * np.array([1.0, 0.9])


def render_phantom(draw: PhantomDraw, *, discs: bool = False) -> PhantomImage:
    """Render a draw: the image, the exact level mask and the truth of every vertebra in view.

    Args:
        draw: The record; the same record gives the same bytes.
        discs: Also rasterise the discs.
    """
    scene = Scene(draw)
    canvas = _paint_lateral(scene) if draw.view == "lateral" else _paint_sagittal(scene)
    levels = np.zeros(draw.size_px, np.uint8)
    seen = scene.in_view
    labels = [draw.vertebrae[i].level.verse_label for i in seen]
    fill_polygons(levels, scene.bodies[seen], labels)
    fill_polygons(levels, scene.sacrum[None], [Level.S1.verse_label])
    disc_mask = None
    if discs:
        disc_mask = np.zeros(draw.size_px, np.uint8)
        fill_polygons(disc_mask, scene.discs[seen], labels)
        disc_mask[levels > 0] = 0
    truth = _truth(scene)
    sacrum_seen = any(x.level is Level.S1 and x.fully_visible for x in truth)
    return PhantomImage(
        image=_expose(canvas, draw),
        levels=levels,
        discs=disc_mask,
        vertebrae=truth,
        spacing_mm=draw.spacing_mm,
        anchors=("sacrum",) if sacrum_seen and draw.variant == "normal" else (),
    )


def _truth(scene: Scene) -> tuple[VertebraTruth, ...]:
    draw, column, seen = scene.draw, scene.column, scene.in_view
    rows, columns = draw.size_px
    front, back = scene.sacral_borders
    sacral = np.stack([front[0], back[0], back[1], front[1]])
    low = np.vstack([scene.bodies[seen].min(axis=1), sacral.min(axis=0)])
    high = np.vstack([scene.bodies[seen].max(axis=1), sacral.max(axis=0)])
    limit = np.array([columns - 0.5, rows - 0.5])
    touches = np.all((high >= -0.5) & (low <= limit), axis=1)
    inside = np.all((low >= -0.5) & (high <= limit), axis=1)
    corners = np.concatenate([scene.corners[seen], sacral[None]])
    centres = corners.mean(axis=1).tolist()
    healthy, imaged = column.healthy[seen], (column.healthy - column.loss)[seen]
    losses = [*(1.0 - (imaged / healthy).min(axis=1)).tolist(), 0.0]
    sides = (np.linalg.norm(sacral[:2] - sacral[:1:-1], axis=1) * draw.spacing_mm).tolist()
    of_s1 = [[sides[0], sum(sides) / 2.0, sides[1]]]
    heights, own = np.vstack([imaged, of_s1]).tolist(), np.vstack([healthy, of_s1]).tolist()
    fracture_of = {x.level: x for x in draw.fractures}
    found = []
    for k, level in enumerate([*(draw.vertebrae[i].level for i in seen), Level.S1]):
        if not touches[k]:
            continue
        fracture = fracture_of.get(level)
        found.append(
            VertebraTruth(
                level=level,
                centre_px=tuple(centres[k]),
                corners_px=tuple(map(tuple, corners[k].tolist())),
                heights_mm=tuple(heights[k]),
                healthy_heights_mm=tuple(own[k]),
                height_loss=losses[k],
                fracture=fracture.kind if fracture else None,
                genant=fracture.genant if fracture else 0,
                fully_visible=bool(inside[k]),
            )
        )
    return tuple(found)


class _Brush:
    """Paints polygons given in output pixels on an 8-bit canvas of `_SCALE` times the size."""

    def __init__(self, size_px: tuple[int, int], tone: float = 0.0) -> None:
        self.image = Image.new("L", (size_px[1] * _SCALE, size_px[0] * _SCALE), round(tone))
        self._pen = ImageDraw.Draw(self.image)

    def fill(self, points: np.ndarray, tone: float) -> None:
        self._pen.polygon(_canvas(points).ravel().tolist(), fill=round(tone))

    def fill_all(self, outlines: np.ndarray, tone: float) -> None:
        for points in _canvas(outlines).reshape(len(outlines), -1).tolist():
            self._pen.polygon(points, fill=round(tone))

    def line(self, points: np.ndarray, tone: float, width_px: float) -> None:
        self._pen.line(_canvas(points).ravel().tolist(), fill=round(tone), width=max(1, round(width_px * _SCALE)))

    def ellipse(self, box: list[float], tone: float) -> None:
        self._pen.ellipse(box, fill=round(tone))

    def array(self) -> np.ndarray:
        return np.asarray(self.image.reduce(_SCALE), dtype=np.float32)


def _canvas(points: np.ndarray) -> np.ndarray:
    return (points + 0.5) * _SCALE - 0.5


def _boxes(centres: np.ndarray, half: np.ndarray) -> list[list[float]]:
    """Canvas boxes (left, top, right, bottom) of ellipses with centres (n, 2) and half axes (n, 2) or (2,)."""
    boxes: list[list[float]] = np.concatenate([_canvas(centres - half), _canvas(centres + half)], axis=1).tolist()
    return boxes


def _scaled(outlines: np.ndarray, factor: float) -> np.ndarray:
    """Outlines (n, k, 2) scaled about their centres."""
    centre = outlines.mean(axis=-2, keepdims=True)
    scaled: np.ndarray = centre + (outlines - centre) * factor
    return scaled


def _shrunk(outlines: np.ndarray, rim_px: float) -> np.ndarray:
    """Outlines (n, k, 2) drawn in by about `rim_px` on every side."""
    centre = outlines.mean(axis=-2, keepdims=True)
    reach = outlines - centre
    half = np.abs(reach).max(axis=-2, keepdims=True)
    drawn: np.ndarray = centre + reach * np.clip(1.0 - rim_px / np.maximum(half, 1e-6), 0.2, 1.0)
    return drawn


def _paint_sagittal(scene: Scene) -> np.ndarray:
    draw, tone = scene.draw, scene.draw.look.tones
    mm = 1.0 / draw.spacing_mm
    brush = _Brush(draw.size_px, tone["air"])
    front, back = (scene.to_px(x) for x in scene.skin_mm)
    way = -1.0 if draw.mirrored else 1.0
    fat_front, fat_back = (x * mm * way for x in draw.surround.fat_mm)
    brush.fill(np.concatenate([front, back[::-1]]), tone["fat"])
    inner_front, inner_back = front + np.array([fat_front, 0.0]), back - np.array([fat_back, 0.0])
    brush.fill(np.concatenate([inner_front, inner_back[::-1]]), tone["organ"])
    _paint_organs(brush, scene, mm)
    canal_front, canal_back = scene.back_walls, scene.canal_back
    count = len(draw.vertebrae)
    brush.fill(np.concatenate([canal_back[: 2 * count], inner_back[:count][::-1]]), tone["muscle"])
    if scene.vessel is not None:
        brush.fill(scene.vessel, tone["vessel"])
    seen = scene.in_view
    rim = 1.3 * mm
    # Interspinous ligament, then the processes over it.
    spinous = scene.spinous
    ligament = np.concatenate([canal_back[1 : 2 * count : 2], spinous[:, 3][::-1]])
    brush.fill(ligament, tone["ligament"])
    brush.fill_all(spinous[seen], tone["rim"])
    brush.fill_all(_shrunk(spinous[seen], rim), tone["spinous"])
    brush.fill(scene.sacral_crest, tone["rim"])
    brush.fill(_shrunk(scene.sacral_crest, rim), tone["spinous"])
    _paint_canal(brush, scene, canal_front, canal_back)
    discs, bodies = scene.discs[seen], scene.bodies[seen]
    brush.fill_all(discs, tone["annulus"])
    for i, nucleus in zip(seen, _scaled(discs, 0.62)):
        wet = draw.vertebrae[i].disc_signal
        brush.fill(nucleus, wet * tone["nucleus"] + (1.0 - wet) * tone["worn"])
    brush.fill_all(bodies, tone["rim"])
    brush.fill_all(_shrunk(bodies, rim), tone["bone"])
    veins = 0.86 * bodies[:, 9:12].mean(axis=1) + 0.14 * bodies.mean(axis=1)
    for box in _boxes(veins, np.array([2.6, 1.3]) * mm):
        brush.ellipse(box, tone["vein"])
    _paint_sacrum(brush, scene, rim)
    return brush.array()


def _paint_organs(brush: _Brush, scene: Scene, mm: float) -> None:
    """Lung above the diaphragm, organs and gas before the column."""
    draw, tone = scene.draw, scene.draw.look.tones
    organs = np.array(draw.surround.organs)
    centres, room = scene.before_column(organs[:, 0], organs[:, 1])
    half_x = np.minimum(organs[:, 2], np.minimum(organs[:, 0], 1.0 - organs[:, 0]) * room)
    half = np.stack([np.maximum(half_x, 2.0), organs[:, 3]], axis=1) * mm
    for box, offset in zip(_boxes(centres, half), organs[:, 4].tolist()):
        if draw.look.modality.startswith("ct") and offset > 0.8:
            value = tone["air"] + 6.0
        elif offset < -0.4:  # fat between the bowel loops
            value = 0.6 * tone["organ"] + 0.4 * tone["fat"]
        else:
            value = tone["organ"] + offset * tone["contrast"]
        brush.ellipse(box, min(max(value, 0.0), 255.0))
    brush.fill(scene.lung, tone["air"] + 8.0)


def _paint_canal(brush: _Brush, scene: Scene, front: np.ndarray, back: np.ndarray) -> None:
    """Epidural fat, thecal sac to S2, cord to the conus, cauda equina below."""
    draw, tone = scene.draw, scene.draw.look.tones
    brush.fill(np.concatenate([front, back[::-1]]), tone["epidural"])
    sac = slice(0, len(front) - 2)
    sac_front = front[sac] + 0.08 * (back[sac] - front[sac])
    sac_back = front[sac] + 0.84 * (back[sac] - front[sac])
    brush.fill(np.concatenate([sac_front, sac_back[::-1]]), tone["csf"])
    place = np.arange(len(front)) / 2.0
    conus = draw.surround.conus
    width = 7.0 / draw.spacing_mm * np.clip((conus - place) / 1.5, 0.0, 1.0)
    axis = back - front
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    middle = front + 0.5 * (back - front)
    cord = place < conus
    if cord.sum() > 1:
        half = (width[cord] / 2.0)[:, None] * axis[cord]
        brush.fill(np.concatenate([middle[cord] - half, (middle[cord] + half)[::-1]]), tone["cord"])
    tail = (place > conus - 1.0) & (place < len(front) / 2.0 - 1.5)
    if tail.sum() > 1:
        roots = front[tail] + 0.66 * (back[tail] - front[tail])
        brush.line(roots, tone["cauda"], 3.0 / draw.spacing_mm)


def _paint_sacrum(brush: _Brush, scene: Scene, rim: float) -> None:
    tone = scene.draw.look.tones
    front, back = scene.sacral_borders
    parts = np.stack([np.stack([front[i], back[i], back[i + 1], front[i + 1]]) for i in range(6)])
    brush.fill(scene.coccyx, tone["rim"])
    brush.fill(scene.sacrum, tone["rim"])
    inner = _shrunk(parts, rim * 0.8)
    brush.fill_all(inner, tone["bone"])
    # The remnant of the S1/S2 disc does not reach the borders.
    for i, reach in ((1, 0.34), (2, 0.22)):
        middle, half = (front[i] + back[i]) / 2.0, (back[i] - front[i]) * reach
        brush.line(np.stack([middle - half, middle + half]), tone["annulus"], 1.8 / scene.draw.spacing_mm)


def _paint_lateral(scene: Scene) -> np.ndarray:
    """A projected look: soft tissue, lungs, ribs, bodies with dense rims, arches, iliac wing, all added up."""
    draw, tone = scene.draw, scene.draw.look.tones
    mm = 1.0 / draw.spacing_mm
    seen = scene.in_view
    front, back = (scene.to_px(x) for x in scene.skin_mm)
    soft = _Brush(draw.size_px)
    soft.fill(np.concatenate([front, back[::-1]]), tone["tissue"])
    soft.fill(scene.lung, max(tone["tissue"] - tone["lung"], 0.0))
    organs = np.array([x for x in draw.surround.organs[1:] if x[4] > 0.35]).reshape(-1, 5)
    centres, _ = scene.before_column(organs[:, 0], organs[:, 1])
    for box, offset in zip(_boxes(centres, organs[:, 2:4] * 0.7 * mm), organs[:, 4].tolist()):
        soft.ellipse(box, max(tone["tissue"] - tone["gas"] * offset, 0.0))
    bodies = scene.bodies
    small = soft.image.reduce(8).filter(ImageFilter.GaussianBlur(6.0 * mm * _SCALE / 8.0))
    total = small.resize(soft.image.size, Image.Resampling.BILINEAR)
    bone = _Brush(draw.size_px)
    bone.fill_all(bodies[seen], tone["rim"])
    bone.fill_all(_shrunk(bodies[seen], 1.5 * mm), tone["bone"])
    sacral = scene.sacrum
    bone.fill(sacral, tone["rim"] * 0.8)
    bone.fill(_shrunk(sacral, 1.8 * mm), tone["bone"] * 0.9)
    arch = _Brush(draw.size_px)
    arch.fill_all(scene.spinous[seen], tone["spinous"])
    for i in seen:
        outline, wall = bodies[i], scene.canal_back[2 * i : 2 * i + 2]
        upper = outline[8] * 0.85 + outline[16] * 0.15
        pedicle = np.stack([upper, wall[0] * 0.9 + wall[1] * 0.1, wall[0] * 0.55 + wall[1] * 0.45,
                            outline[8] * 0.5 + outline[12] * 0.5])  # fmt: skip
        arch.fill(pedicle, tone["arch"])
        facet = np.stack([wall[0] * 1.25 - wall[1] * 0.25, wall[1] * 1.3 - wall[0] * 0.3])
        arch.line(facet, tone["arch"], 8.0 * mm)
    total = ImageChops.add(ImageChops.add(total, bone.image), arch.image)
    total = total.reduce(_SCALE)
    if not draw.sacrum_cropped:
        total = ImageChops.add(total, _ribs_and_wing(scene, mm))
    return np.asarray(total, dtype=np.float32)


def _ribs_and_wing(scene: Scene, mm: float) -> Image.Image:
    """Ribs down to the twelfth and the iliac wing: both would settle the numbering, so cropped fields lack them."""
    draw, tone = scene.draw, scene.draw.look.tones
    layer = _Brush(draw.size_px)
    other = _Brush(draw.size_px)
    wing_top, lean = draw.surround.iliac
    wing = np.array([[34.0, 4.0], [18.0, 0.0], [-16.0, 3.0], [-34.0, 16.0], [-38.0, 46.0], [-20.0, 92.0],
                     [12.0, 110.0], [30.0, 70.0], [42.0, 30.0]])  # fmt: skip
    wing[:, 1] += wing_top + lean * wing[:, 0]
    outline = scene.to_px(wing - [16.0, 0.0])
    layer.fill(outline, tone["iliac"])
    layer.line(np.concatenate([outline, outline[:1]]), tone["iliac"] * 1.6, 2.2 * mm)
    _, room = scene.before_column(np.zeros(len(draw.vertebrae)), scene.healthy.centre[:, 1])
    for i in scene.in_view:
        vertebra = draw.vertebrae[i]
        if not Level.T3 <= vertebra.level <= Level.T13:
            continue
        short = {Level.T12: 0.45, Level.T13: 0.4, Level.T11: 0.75}.get(vertebra.level, 1.0)
        start = scene.healthy.centre[i] + np.array([scene.healthy.depth[i] * 0.62, -3.0])
        for brush, shift in ((layer, 0.0), (other, draw.surround.rib_shift_mm)):
            course = _RIB * (short * min(1.0, room[i] / 110.0))
            brush.line(scene.to_px(start + course + [shift * 0.4, shift]), tone["rib"], 6.0 * mm)
    both = ImageChops.add(layer.image, other.image).reduce(_SCALE)
    return both.filter(ImageFilter.GaussianBlur(1.9 * mm))


def _resized(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _expose(canvas: np.ndarray, draw: PhantomDraw) -> np.ndarray:
    """Texture, bias field, gamma, blur and noise, in that order; grey values as uint8."""
    look = draw.look
    rows, columns = canvas.shape
    rng = np.random.default_rng(look.noise_seed)
    coarse = rng.standard_normal((max(rows // 6, 2), max(columns // 6, 2)), dtype=np.float32)
    fine = rng.standard_normal((max(rows // 2, 2), max(columns // 2, 2)), dtype=np.float32)
    fine += 0.6 * _resized(coarse, fine.shape)
    texture = _resized(fine, canvas.shape)
    x = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, rows, dtype=np.float32)[:, None]
    if draw.mirrored:
        x = -x
    a, b, c, d = look.bias
    value = canvas * (1.0 + look.texture * texture) * (1.0 + a * x + b * y + c * x * x + d * y * y)
    table = 255.0 * (np.arange(1024, dtype=np.float32) / 1023.0) ** look.gamma
    value = table[np.clip(value * (1023.0 / 255.0), 0.0, 1023.0).astype(np.int32)]
    if look.blur_px > 0.05:
        picture = Image.fromarray(value.astype(np.uint8)).filter(ImageFilter.GaussianBlur(look.blur_px))
        value = np.asarray(picture, dtype=np.float32)
    noise = rng.standard_normal((rows, columns), dtype=np.float32) * look.noise
    if look.modality == "xray":  # counting noise is largest where little passes; here: relative to brightness
        noise *= np.sqrt(0.25 + value / 160.0)
    elif look.modality.startswith("mr"):
        value = np.hypot(value + noise, rng.standard_normal((rows, columns), dtype=np.float32) * look.noise)
        noise = np.zeros_like(value)
    pixels: np.ndarray = np.clip(np.rint(value + noise), 0.0, 255.0).astype(np.uint8)
    return pixels
