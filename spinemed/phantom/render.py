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
from spinemed.phantom.raster import fill_polygon
from spinemed.phantom.records import PhantomDraw, PhantomImage, VertebraTruth, genant_grade
from spinemed.phantom.scene import Scene

__all__ = ["render_phantom"]

_SCALE = 2


def render_phantom(draw: PhantomDraw, *, discs: bool = False) -> PhantomImage:
    """Render a draw: the image, the exact level mask and the truth of every vertebra in view.

    Args:
        draw: The record; the same record gives the same bytes.
        discs: Also rasterise the discs.
    """
    scene = Scene(draw)
    canvas = _paint_lateral(scene) if draw.view == "lateral" else _paint_sagittal(scene)
    levels = np.zeros(draw.size_px, np.uint8)
    for vertebra, outline in zip(draw.vertebrae, scene.bodies):
        fill_polygon(levels, outline, vertebra.level.verse_label)
    fill_polygon(levels, scene.sacrum, Level.S1.verse_label)
    disc_mask = None
    if discs:
        disc_mask = np.zeros(draw.size_px, np.uint8)
        for vertebra, outline in zip(draw.vertebrae, scene.discs):
            fill_polygon(disc_mask, outline, vertebra.level.verse_label)
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
    draw, column = scene.draw, scene.column
    rows, columns = draw.size_px
    limit = np.array([columns - 0.5, rows - 0.5])
    front, back = scene.sacral_borders
    sacral = np.stack([front[0], back[0], back[1], front[1]])
    left = 1.0 - column.loss / column.healthy
    fracture_of = {x.level: x for x in draw.fractures}
    spacing = draw.spacing_mm
    found = []
    for i, vertebra in enumerate(draw.vertebrae):
        outline = scene.bodies[i]
        low, high = outline.min(axis=0), outline.max(axis=0)
        if (high < -0.5).any() or (low > limit).any():
            continue
        corners = scene.corners[i]
        fracture = fracture_of.get(vertebra.level)
        found.append(
            VertebraTruth(
                level=vertebra.level,
                centre_px=_pair(corners.mean(axis=0)),
                corners_px=tuple(_pair(x) for x in corners),
                heights_mm=_triple(column.healthy[i] - column.loss[i]),
                healthy_heights_mm=_triple(column.healthy[i]),
                height_loss=float(1.0 - left[i].min()),
                fracture=fracture.kind if fracture else None,
                genant=genant_grade(fracture.height_loss) if fracture else 0,
                fully_visible=bool((low >= -0.5).all() and (high <= limit).all()),
            )
        )
    low, high = sacral.min(axis=0), sacral.max(axis=0)
    if not ((high < -0.5).any() or (low > limit).any()):
        sides = np.linalg.norm(sacral[[0, 1]] - sacral[[3, 2]], axis=1) * spacing
        heights = (float(sides[0]), float(sides.mean()), float(sides[1]))
        found.append(
            VertebraTruth(
                level=Level.S1,
                centre_px=_pair(sacral.mean(axis=0)),
                corners_px=tuple(_pair(x) for x in sacral),
                heights_mm=heights,
                healthy_heights_mm=heights,
                height_loss=0.0,
                fracture=None,
                genant=0,
                fully_visible=bool((low >= -0.5).all() and (high <= limit).all()),
            )
        )
    return tuple(found)


def _pair(point: np.ndarray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


class _Brush:
    """Paints polygons given in output pixels on an 8-bit canvas of `_SCALE` times the size."""

    def __init__(self, size_px: tuple[int, int], tone: float = 0.0) -> None:
        self.image = Image.new("L", (size_px[1] * _SCALE, size_px[0] * _SCALE), round(tone))
        self._pen = ImageDraw.Draw(self.image)

    def fill(self, points: np.ndarray, tone: float) -> None:
        self._pen.polygon(_canvas(points).ravel().tolist(), fill=round(tone))

    def line(self, points: np.ndarray, tone: float, width_px: float) -> None:
        self._pen.line(_canvas(points).ravel().tolist(), fill=round(tone), width=max(1, round(width_px * _SCALE)))

    def ellipse(self, centre: np.ndarray, half: np.ndarray, tone: float) -> None:
        low, high = _canvas(centre - half), _canvas(centre + half)
        self._pen.ellipse([*low.tolist(), *high.tolist()], fill=round(tone))

    def array(self) -> np.ndarray:
        return np.asarray(self.image.reduce(_SCALE), dtype=np.float32)


def _canvas(points: np.ndarray) -> np.ndarray:
    return (points + 0.5) * _SCALE - 0.5


def _shrunk(outlines: np.ndarray, rim_px: float) -> np.ndarray:
    """Outlines (n, k, 2) drawn in by about `rim_px` on every side."""
    centre = outlines.mean(axis=-2, keepdims=True)
    reach = outlines - centre
    half = np.abs(reach).max(axis=-2, keepdims=True)
    return centre + reach * np.clip(1.0 - rim_px / np.maximum(half, 1e-6), 0.2, 1.0)


def _in_view(scene: Scene) -> list[int]:
    low, high = scene.bodies.min(axis=1), scene.bodies.max(axis=1)
    rows = scene.draw.size_px[0]
    reach = 40.0 / scene.draw.spacing_mm
    return [int(i) for i in np.flatnonzero((high[:, 1] > -reach) & (low[:, 1] < rows + reach))]


def _paint_sagittal(scene: Scene) -> np.ndarray:
    draw, tone = scene.draw, scene.draw.look.tones
    mm = 1.0 / draw.spacing_mm
    brush = _Brush(draw.size_px, tone["air"])
    front, back = scene.skin
    way = -1.0 if draw.mirrored else 1.0
    fat_front, fat_back = (x * mm * way for x in draw.surround.fat_mm)
    brush.fill(np.concatenate([front, back[::-1]]), tone["fat"])
    inner_front, inner_back = front + np.array([fat_front, 0.0]), back - np.array([fat_back, 0.0])
    brush.fill(np.concatenate([inner_front, inner_back[::-1]]), tone["organ"])
    for x, y, half_x, half_y, offset in draw.surround.organs:
        centre = scene.to_px(np.array([x, y]))
        gas = draw.look.modality.startswith("ct") and offset > 0.75
        value = tone["air"] + 6 if gas else np.clip(tone["organ"] + offset * tone["contrast"], 0, 255)
        brush.ellipse(centre, np.array([half_x, half_y]) * mm, value)
    canal_front, canal_back = scene.back_walls, scene.canal_back
    count = len(draw.vertebrae)
    brush.fill(np.concatenate([canal_back[: 2 * count], inner_back[:count][::-1]]), tone["muscle"])
    if scene.vessel is not None:
        brush.fill(scene.vessel, tone["vessel"])
    seen = _in_view(scene)
    rim = 1.3 * mm
    # Interspinous ligament, then the processes over it.
    spinous = scene.spinous
    ligament = np.concatenate([canal_back[1 : 2 * count : 2], spinous[:, 3][::-1]])
    brush.fill(ligament, tone["ligament"])
    inner_spinous = _shrunk(spinous, rim)
    for i in seen:
        brush.fill(spinous[i], tone["rim"])
        brush.fill(inner_spinous[i], tone["spinous"])
    brush.fill(scene.sacral_crest, tone["rim"])
    brush.fill(_shrunk(scene.sacral_crest, rim), tone["spinous"])
    _paint_canal(brush, scene, canal_front, canal_back)
    discs = scene.discs
    nuclei = _shrunk(discs, 0.0)
    centre = discs.mean(axis=1, keepdims=True)
    nuclei = centre + (discs - centre) * 0.62
    bodies, inner = scene.bodies, _shrunk(scene.bodies, rim)
    for i in seen:
        wet = draw.vertebrae[i].disc_signal
        brush.fill(discs[i], tone["annulus"])
        brush.fill(nuclei[i], wet * tone["nucleus"] + (1.0 - wet) * tone["worn"])
    for i in seen:
        brush.fill(bodies[i], tone["rim"])
        brush.fill(inner[i], tone["bone"])
        vein = (bodies[i, 9:12].mean(axis=0) * 0.86 + centre[i, 0] * 0.0) + 0.14 * bodies[i].mean(axis=0)
        brush.ellipse(vein, np.array([2.6, 1.3]) * mm, tone["vein"])
    _paint_sacrum(brush, scene, rim)
    return brush.array()


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
    for i in range(6):
        brush.fill(inner[i], tone["bone"])
    # The remnant of the S1/S2 disc does not reach the borders.
    for i, reach in ((1, 0.34), (2, 0.22)):
        middle, half = (front[i] + back[i]) / 2.0, (back[i] - front[i]) * reach
        brush.line(np.stack([middle - half, middle + half]), tone["annulus"], 1.8 / scene.draw.spacing_mm)


def _paint_lateral(scene: Scene) -> np.ndarray:
    """A projected look: soft tissue, lungs, ribs, bodies with dense rims, arches, iliac wing, all added up."""
    draw, tone = scene.draw, scene.draw.look.tones
    mm = 1.0 / draw.spacing_mm
    seen = _in_view(scene)
    front, back = scene.skin
    soft = _Brush(draw.size_px)
    soft.fill(np.concatenate([front, back[::-1]]), tone["tissue"])
    bodies = scene.bodies
    at = {v.level: i for i, v in enumerate(draw.vertebrae)}
    dome = bodies[at.get(Level.T11, 0)].mean(axis=0)
    way = -1.0 if draw.mirrored else 1.0
    lung = np.array([[30.0, 12.0], [5.0, -8.0], [-40.0, -28.0], [-90.0, -18.0], [-140.0, 10.0]]) * mm * [way, 1.0]
    lung = np.concatenate([dome + lung, [[dome[0] - 140.0 * mm * way, -40.0], [dome[0] + 30.0 * mm * way, -40.0]]])
    soft.fill(lung, max(tone["tissue"] - tone["lung"], 0.0))
    for x, y, half_x, half_y, offset in draw.surround.organs:
        if offset > 0.35:
            gas = max(tone["tissue"] - tone["gas"] * offset, 0.0)
            soft.ellipse(scene.to_px(np.array([x, y])), np.array([half_x, half_y]) * 0.7 * mm, gas)
    small = soft.image.reduce(4).filter(ImageFilter.GaussianBlur(6.0 * mm * _SCALE / 4.0))
    total = small.resize(soft.image.size, Image.Resampling.BILINEAR)
    bone = _Brush(draw.size_px)
    inner = _shrunk(bodies, 1.5 * mm)
    for i in seen:
        bone.fill(bodies[i], tone["rim"])
        bone.fill(inner[i], tone["bone"])
    sacral = scene.sacrum
    bone.fill(sacral, tone["rim"] * 0.8)
    bone.fill(_shrunk(sacral, 1.8 * mm), tone["bone"] * 0.9)
    arch = _Brush(draw.size_px)
    for i in seen:
        arch.fill(scene.spinous[i], tone["spinous"])
        outline, wall = bodies[i], scene.canal_back[2 * i : 2 * i + 2]
        upper = outline[8] * 0.85 + outline[16] * 0.15
        pedicle = np.stack([upper, wall[0] * 0.9 + wall[1] * 0.1, wall[0] * 0.55 + wall[1] * 0.45,
                            outline[8] * 0.5 + outline[12] * 0.5])  # fmt: skip
        arch.fill(pedicle, tone["arch"])
        facet = np.stack([wall[0] * 1.25 - wall[1] * 0.25, wall[1] * 1.3 - wall[0] * 0.3])
        arch.line(facet, tone["arch"], 8.0 * mm)
    total = ImageChops.add(ImageChops.add(total, bone.image), arch.image)
    if not draw.sacrum_cropped:
        total = ImageChops.add(total, _ribs_and_wing(scene, mm, way))
    return np.asarray(total.reduce(_SCALE), dtype=np.float32)


def _ribs_and_wing(scene: Scene, mm: float, way: float) -> Image.Image:
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
    for i, vertebra in enumerate(draw.vertebrae):
        if vertebra.level.name[0] != "T" or vertebra.level in (Level.T1, Level.T2):
            continue
        short = {Level.T12: 0.45, Level.T13: 0.4, Level.T11: 0.75}.get(vertebra.level, 1.0)
        start = scene.healthy.centre[i] + np.array([scene.healthy.depth[i] * 0.62, -3.0])
        for brush, shift in ((layer, 0.0), (other, draw.surround.rib_shift_mm)):
            course = np.array([[0.0, 0.0], [14.0, 6.0], [8.0, 20.0], [-30.0, 46.0], [-80.0, 78.0]])
            course = course * [1.0, 1.0] * short
            brush.line(scene.to_px(start + course + [shift * 0.4, shift]), tone["rib"], 6.0 * mm)
    return ImageChops.add(layer.image, other.image).filter(ImageFilter.GaussianBlur(0.6 * _SCALE))


def _expose(canvas: np.ndarray, draw: PhantomDraw) -> np.ndarray:
    """Texture, bias field, gamma, blur and noise, in that order; grey values as uint8."""
    look = draw.look
    rows, columns = canvas.shape
    rng = np.random.default_rng(look.noise_seed)
    coarse = rng.standard_normal((max(rows // 6, 2), max(columns // 6, 2)), dtype=np.float32)
    fine = rng.standard_normal((max(rows // 2, 2), max(columns // 2, 2)), dtype=np.float32)
    texture = sum(
        np.asarray(Image.fromarray(x).resize((columns, rows), Image.Resampling.BICUBIC)) * weight
        for x, weight in ((coarse, 0.6), (fine, 1.0))
    )
    x = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None, :]
    y = np.linspace(-1.0, 1.0, rows, dtype=np.float32)[:, None]
    if draw.mirrored:
        x = -x
    a, b, c, d = look.bias
    value = canvas * (1.0 + look.texture * texture) * (1.0 + a * x + b * y + c * x * x + d * y * y)
    value = np.clip(value, 0.0, 255.0) / 255.0
    value = 255.0 * value**look.gamma
    if look.blur_px > 0.05:
        picture = Image.fromarray(value.astype(np.uint8)).filter(ImageFilter.GaussianBlur(look.blur_px))
        value = np.asarray(picture, dtype=np.float32)
    noise = rng.standard_normal((rows, columns), dtype=np.float32) * look.noise
    if look.modality == "xray":  # counting noise is largest where little passes; here: relative to brightness
        noise *= np.sqrt(0.25 + value / 160.0)
    elif look.modality.startswith("mr"):
        value = np.hypot(value + noise, rng.standard_normal((rows, columns), dtype=np.float32) * look.noise)
        noise = np.zeros_like(value)
    return np.clip(np.rint(value + noise), 0.0, 255.0).astype(np.uint8)
