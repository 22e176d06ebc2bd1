"""`render_xray`: a lateral or frontal radiograph of a phantom by projection through its volume.

Convention: pixel (u, v) counts columns to the right and rows downwards, pixel centres at integers. Lateral: the left
side is against the detector and the patient faces the picture's left or right as the look says. Frontal: beam from
front to back, the patient's right on the picture's left. Bright means attenuating. `pixel_mm` is the pixel size in the
plane through the spine; structures nearer to the source appear larger (divergent beam).

Intensity is the primary (Beer-Lambert, `projection`) plus scatter, a share of the smoothed primary; then come quantum
noise, the detector's blur, the logarithm and a display curve with detail enhancement.

The trap: angles on a divergent lateral radiograph of a curved spine differ by up to a degree from those of the
geometry; `XrayTruth.alignment` is the geometry's.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.phantom.imaging.grid import Field, field_grid
from spinemed.phantom.imaging.projection import RayGeometry, attenuation_per_cm, line_integrals
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.records import Posture, SpinePhantom
from spinemed.phantom.spine.truth import alignment_truth, landmarks
from spinemed.records import Record

__all__ = [
    "Projection",
    "XrayLook",
    "XrayPhantom",
    "XrayTruth",
    "render_xray",
    "xray_look_of",
]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Projection = Literal["lateral", "frontal"]
Point = tuple[float, float]

_DEPTH = {"lateral": (0, 1), "frontal": (1, 0)}
"""World axis along the ray, and the one across the picture."""


class XrayLook(Record):
    """Beam, detector and processing."""

    energy_kev: float = Limits(default=70.0, ge=40, le=100)
    """Effective energy of the beam."""
    beam: Literal["divergent", "parallel"] = "divergent"
    """Whether rays spread from the focus or run parallel."""
    source_mm: float = Limits(default=1050.0, ge=500)
    """From the focus to the plane through the spine; full-spine pictures use 1.6 times this."""
    scatter_share: float = Limits(default=0.35, ge=0)
    """Scatter behind the grid over primary, where both are smooth."""
    scatter_mm: float = Limits(default=30.0, gt=0)
    """How far scatter is smeared."""
    quanta_per_mm2: float = Limits(default=2.5e6, gt=0)
    """On the detector without a patient."""
    blur_mm: float = Limits(default=0.35, ge=0)
    """Standard deviation of the detector's point spread."""
    base_share: float = Limits(default=0.32, gt=0, le=1)
    """How much of the slow changes of density the processing leaves."""
    base_mm: float = Limits(default=28.0, gt=0)
    """What counts as a slow change of density."""
    detail_gain: float = Limits(default=1.6, gt=0)
    """Factor on fine detail."""
    gamma: float = Limits(default=1.0, gt=0)
    """Curve of the displayed picture; 1 is straight."""
    window_percent: tuple[float, float] = (1.0, 99.7)
    """Percentiles of the processed picture that become black and white."""
    faces: Literal["left", "right"] = "left"
    """Side of the picture that a lateral view's front faces."""
    gas_pockets: int = Limits(default=9, ge=0)
    """Bowel gas in front of the lumbar spine."""


_LOOKS = {
    "a": XrayLook(),
    "b": XrayLook(
        energy_kev=58.0, source_mm=1400.0, scatter_share=0.6, scatter_mm=45.0, quanta_per_mm2=6e6, blur_mm=0.55,
        base_share=0.45, base_mm=40.0, detail_gain=1.3, gamma=1.15, window_percent=(2.0, 99.8), faces="right",
        gas_pockets=5,
    ),
}  # fmt: skip


def xray_look_of(family: str) -> XrayLook:
    """The look of a generator family: "b" has another beam, more scatter, and gentler processing."""
    return _LOOKS[family]


class XrayTruth(Record):
    """What is true of a radiograph. Points are (column, row) in pixels, `None` where a vertebra has no such point."""

    projection: Projection
    """Lateral or frontal."""
    posture: Posture
    """Lying or standing."""
    look: XrayLook
    """Beam, detector and processing."""
    pixel_mm: float
    """In the plane through the spine."""
    shape: tuple[int, int]
    """Rows and columns."""
    source_mm: float | None
    """From the focus to the plane through the spine; None for a parallel beam."""
    visible: tuple[Level, ...]
    """Levels whose body corners all lie in the picture, head to foot; S1 where its upper endplate does."""
    points: dict[str, dict[str, Point]]
    """By level: `body`, `canal`, `spinous_tip`, and `upper_` or `lower_` with `centre`, `anterior`, `posterior`, `left`
    and `right`."""
    hips: tuple[Point, Point]
    """Femoral heads, right and left."""
    alignment: dict[str, float]
    """Angles in degrees and lengths in mm of the posed spine, by `spinemed.phantom.spine.truth`."""
    cobb: tuple[dict[str, float | str], ...]
    """Coronal curves: end vertebrae, angle in degrees, convex side."""
    marker: str | None = None
    """Side marker that is burned in; None where there is none."""
    marker_at: Point | None = None
    """Where it stands."""
    text: str | None = None
    """Line of text that is burned in; None where there is none."""
    hidden: tuple[Level, ...] = ()
    """Levels behind an overlying object."""
    noise_seed: int
    """Of quanta and noise."""


@dataclass(frozen=True, eq=False)
class XrayPhantom:
    """A radiograph.

    Attributes:
        image: uint16 (rows, columns), as displayed.
        attenuation: float32 (rows, columns): line integral of the primary, without noise.
        truth: What is true of it.
        scene: What it was rendered from.
    """

    image: NDArray[np.uint16]
    attenuation: Picture
    truth: XrayTruth
    scene: Scene


def render_xray(
    spine: SpinePhantom | Scene,
    *,
    projection: Projection = "lateral",
    field: Field = "lumbar",
    level: Level | None = None,
    pixel_mm: float = 0.8,
    posture: Posture = Posture.STANDING,
    look: XrayLook | None = None,
    marker: Literal["L", "R"] | None = None,
    text: str | None = None,
    box_mm: tuple[Array, Array] | None = None,
    hidden: tuple[Level, ...] = (),
    noise_seed: int | None = None,
) -> XrayPhantom:
    """Render a radiograph.

    Args:
        spine: The record, or a scene built from it (then `posture` is the scene's).
        projection: "lateral" or "frontal".
        field: Field of view (`field_grid`); `level` names the one for field "level".
        pixel_mm: In the plane through the spine.
        posture: Radiographs of the spine are taken standing.
        look: Beam, detector and processing; by default that of the spine's family.
        marker: Letter of the side, burned in: on a frontal picture at that side of the patient, on a lateral one in
            front of the patient.
        text: A line burned in at the top, on the other side than the marker.
        box_mm: World box (low, high) to show instead of the field.
        hidden: Levels over which an opaque object lies.
        noise_seed: Of noise, gas and the object; by default from the record's seed and index.

    Raises:
        VolumeError: an unknown projection or field, or a bad pixel size.
    """
    if projection not in _DEPTH:
        raise VolumeError(f"unknown projection '{projection}'", field="projection", cure="use lateral or frontal")
    if not pixel_mm > 0:
        raise VolumeError(f"a pixel of {pixel_mm} mm", field="pixel_mm", cure="give millimetres > 0")
    scene = spine if isinstance(spine, Scene) else build_scene(spine, posture)
    record = scene.spine
    chosen = xray_look_of(record.family) if look is None else look
    if noise_seed is None:
        noise_seed = int(np.random.SeedSequence([record.seed, record.index, 5]).generate_state(1)[0])
    rng = np.random.default_rng(noise_seed)
    geometry = _geometry(scene, projection, field, level, pixel_mm, chosen, box_mm)
    path = line_integrals(scene, geometry, chosen.energy_kev)
    _subtract_gas(path, scene, geometry, chosen, rng)
    shown = _hide(path, scene, geometry, hidden, rng) if hidden else path
    picture = _display(_exposed(shown, chosen, pixel_mm, rng), path > 1.0, chosen, pixel_mm)
    truth = _truth(scene, projection, geometry, chosen, hidden, noise_seed)
    picture, truth = _burn_in(picture, truth, marker, text)
    return XrayPhantom(np.rint(picture * 65535).astype(np.uint16), path, truth, scene)


def _geometry(
    scene: Scene,
    projection: Projection,
    field: Field,
    level: Level | None,
    pixel_mm: float,
    look: XrayLook,
    box_mm: tuple[Array, Array] | None,
) -> RayGeometry:
    if box_mm is None:
        grid = field_grid(scene, field, spacing_mm=4.0, codes="RAS", level=level)
        low = grid.affine[:3, 3] - 2.0
        high = low + 4.0 * np.array(grid.shape)
        wide = {"full": 360.0, "cervical": 170.0, "level": 150.0}.get(field, 260.0)
        if projection == "lateral":
            middle = (low[1] + high[1]) / 2
            low[1], high[1] = min(low[1], middle - 90.0), max(high[1], middle + 90.0)
        low[0], high[0] = (low[0] + high[0] - wide) / 2, (low[0] + high[0] + wide) / 2
        low[2], high[2] = low[2] - 10.0, high[2] + 12.0
    else:
        low, high = np.array(box_mm[0]) - 8.0, np.array(box_mm[1]) + 8.0
    depth, across = _DEPTH[projection]
    turn = -1.0 if projection == "frontal" or look.faces == "left" else 1.0
    columns = max(16, round(float(high[across] - low[across]) / pixel_mm))
    rows = max(16, round(float(high[2] - low[2]) / pixel_mm))
    if rows * columns > 1 << 25:
        raise VolumeError(f"a picture of {rows} x {columns} pixels", field="pixel_mm", cure="use larger pixels")
    inside = [s.origin for s in scene.stations if low[2] <= s.origin[2] <= high[2]] or [scene.posed.sacrum.origin_mm]
    source = None if look.beam == "parallel" else look.source_mm * (1.6 if field == "full" else 1.0)
    return RayGeometry(
        depth=depth,
        across=across,
        turn=turn,
        plane_mm=float(np.mean([point[depth] for point in inside])),
        source_mm=source,
        centre=(float(low[across] + high[across]) / 2, float(low[2] + high[2]) / 2),
        pixel_mm=pixel_mm,
        shape=(rows, columns),
    )


def _subtract_gas(path: Picture, scene: Scene, geometry: RayGeometry, look: XrayLook, rng: np.random.Generator) -> None:
    """Bowel gas: ellipsoids without attenuation in front of the lumbar spine, never deeper than what is there."""
    water, _ = attenuation_per_cm(look.energy_kev)
    base = scene.posed.sacrum.origin_mm
    rows, columns = np.mgrid[: geometry.shape[0], : geometry.shape[1]].astype(np.float32)
    for _ in range(look.gas_pockets):
        place = base + np.array([rng.normal(0, 55.0), rng.uniform(55.0, 110.0), rng.uniform(-60.0, 170.0)])
        u, v = geometry.project(place)[0]
        radius = np.abs(rng.normal(0, 1, 3)) * 7.0 + 7.0
        a, b = radius[0] / geometry.pixel_mm, radius[1] / geometry.pixel_mm
        ripple = 1.0 + 0.15 * np.sin(3 * np.arctan2(rows - v, columns - u) + rng.uniform(0, 6.28))
        inside = 1.0 - (((columns - u) / a) ** 2 + ((rows - v) / b) ** 2) / ripple
        chord = 0.13 * radius[2] * np.clip(inside, 0.0, None) ** 0.7 * water
        np.maximum(path - chord.astype(np.float32), 0.35 * path, out=path)


def _hide(
    path: Picture, scene: Scene, geometry: RayGeometry, hidden: tuple[Level, ...], rng: np.random.Generator
) -> Picture:
    """An opaque object over some levels, such as the frame of a brace left on."""
    import cv2

    points = []
    for level, marks in landmarks(scene.posed).items():
        if level in hidden:
            points.append(marks.canal_mm)
            for plate in (marks.upper, marks.lower):
                if plate is not None:
                    points += [plate.anterior_mm, plate.posterior_mm, plate.left_mm, plate.right_mm]
    pixels = geometry.project(np.array(points))
    centre, half = (pixels.max(axis=0) + pixels.min(axis=0)) / 2, np.ptp(pixels, axis=0) / 2 + 10.0 / geometry.pixel_mm
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + centre + rng.normal(0, 1.5, (4, 2))
    plate_mask = np.zeros(path.shape, dtype=np.float32)
    cv2.fillPoly(plate_mask, [np.rint(corners).astype(np.int32)], 1.0)
    return np.asarray(path + 9.0 * cv2.GaussianBlur(plate_mask, (0, 0), 1.0), dtype=np.float32)


def _exposed(path: Picture, look: XrayLook, pixel_mm: float, rng: np.random.Generator) -> Picture:
    """What the detector reads, as a logarithm: primary, scatter, quantum noise, blur."""
    import cv2

    primary = np.exp(-path)
    smooth = cv2.GaussianBlur(path, (0, 0), look.scatter_mm / pixel_mm, borderType=cv2.BORDER_REPLICATE)
    intensity = primary + look.scatter_share * np.exp(-smooth)
    quanta = intensity * (look.quanta_per_mm2 * pixel_mm * pixel_mm)
    quanta += np.sqrt(quanta) * rng.standard_normal(path.shape, dtype=np.float32)
    if look.blur_mm / pixel_mm > 0.15:
        quanta = cv2.GaussianBlur(quanta, (0, 0), look.blur_mm / pixel_mm, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(-np.log(np.maximum(quanta, 1.0)), dtype=np.float32)


def _display(density: Picture, body: NDArray[np.bool_], look: XrayLook, pixel_mm: float) -> Picture:
    """0 to 1: slow changes held back, details raised, percentiles of the body to black and white, a soft shoulder."""
    import cv2

    base = cv2.GaussianBlur(density, (0, 0), look.base_mm / pixel_mm, borderType=cv2.BORDER_REPLICATE)
    even = look.base_share * base + look.detail_gain * (density - base)
    inside = even[body] if body.any() else even
    low, high = np.percentile(inside[::3], look.window_percent)
    t = np.clip((even - low) / max(float(high - low), 1e-6), -0.1, 1.15)
    curve = 1.0 / (1.0 + np.exp(-4.2 * (t - 0.52)))
    bottom, top = 1.0 / (1.0 + math.exp(4.2 * 0.52)), 1.0 / (1.0 + math.exp(-4.2 * 0.5))
    return np.asarray(np.clip((curve - bottom) / (top - bottom), 0.0, 1.0) ** look.gamma, dtype=np.float32)


def _truth(
    scene: Scene,
    projection: Projection,
    geometry: RayGeometry,
    look: XrayLook,
    hidden: tuple[Level, ...],
    noise_seed: int,
) -> XrayTruth:
    marks = landmarks(scene.posed)
    points: dict[str, dict[str, Point]] = {}
    visible: list[Level] = []
    rows, columns = geometry.shape

    def at(world: Array) -> Point:
        u, v = geometry.project(world)[0]
        return round(float(u), 3), round(float(v), 3)

    for level in [*(v.level for v in scene.spine.vertebrae), Level.S1]:
        mark = marks[level]
        own = {"canal": at(mark.canal_mm)}
        if mark.body_mm is not None:
            own["body"] = at(mark.body_mm)
        if mark.spinous_tip_mm is not None:
            own["spinous_tip"] = at(mark.spinous_tip_mm)
        for name, plate in (("upper", mark.upper), ("lower", mark.lower)):
            if plate is not None:
                for corner in ("centre", "anterior", "posterior", "left", "right"):
                    own[f"{name}_{corner}"] = at(getattr(plate, f"{corner}_mm"))
        points[level.value] = own
        asked = [p for name, p in own.items() if name[:5] in ("upper", "lower")] or [own["canal"]]
        if all(0 <= u <= columns - 1 and 0 <= v <= rows - 1 for u, v in asked):
            visible.append(level)
    found = asdict(alignment_truth(scene.posed))
    cobb = tuple(
        {**one, "upper_end": str(one["upper_end"]), "lower_end": str(one["lower_end"])} for one in found.pop("cobbs")
    )
    found.pop("posture")
    return XrayTruth(
        projection=projection,
        posture=scene.posture,
        look=look,
        pixel_mm=geometry.pixel_mm,
        shape=geometry.shape,
        source_mm=geometry.source_mm,
        visible=tuple(visible),
        points=points,
        hips=(at(scene.posed.hips_mm[0]), at(scene.posed.hips_mm[1])),
        alignment={name: round(float(value), 4) for name, value in found.items()},
        cobb=cobb,
        hidden=hidden,
        noise_seed=noise_seed,
    )


def _burn_in(picture: Picture, truth: XrayTruth, marker: str | None, text: str | None) -> tuple[Picture, XrayTruth]:
    """Letters as they stand on films: white, at the top; the side marker on its own side of the patient."""
    if marker is None and text is None:
        return picture, truth
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = picture.shape
    layer = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(layer)
    size = max(12, round(0.055 * min(rows, columns)))
    if truth.projection == "frontal":
        on_left = marker == "R"  # the patient's right is on the picture's left
    else:
        on_left = truth.look.faces == "left"
    edge = round(0.05 * columns)
    update: dict[str, object] = {}
    if marker is not None:
        u, v = (edge if on_left else columns - 1 - edge), round(0.06 * rows)
        pen.text((u, v), marker, fill=255, font=ImageFont.load_default(size), anchor="lt" if on_left else "rt")
        update |= {"marker": marker, "marker_at": (float(u), float(v))}
    if text is not None:
        u = columns - 1 - edge if on_left else edge
        font = ImageFont.load_default(max(11, size // 2))
        pen.text((u, round(0.02 * rows)), text, fill=255, font=font, anchor="rt" if on_left else "lt")
        update["text"] = text
    ink = np.asarray(layer, dtype=np.float32) / 255
    return np.maximum(picture, ink), truth.model_copy(update=update)
