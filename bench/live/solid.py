"""Three-dimensional phantoms for questions: one spine as radiograph, CT slice and MR slice, with points to mark.

Convention: a `View` is one picture with the place of every landmark in it, what is in its field, and the structured
findings that it shows (`spinemed.phantom.pathology.describe`). Scenes are built once per posture; radiographs are
standing, slices supine. Slices are midsagittal, with the front on the left.

Trap: a single slice shows what it cuts. Spines for sagittal slices are drawn without scoliosis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case
from bench.live.pictures import evened, windowed
from spinemed.anatomy import Disc, Level, Spine
from spinemed.errors import SpineMedError
from spinemed.phantom.imaging.grid import Field, VoxelGrid
from spinemed.phantom.pathology.config import healthy_config
from spinemed.phantom.pathology.describe import describe
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.pathology.findings import SpineDescription
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine import Posture, SpineConfig, draw_spine
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.phantom.spine.truth import VertebraMarks, landmarks
from spinemed.phantom.views import field_of_view_of_points
from spinemed.volume import Volume

__all__ = ["Solid", "View", "draw_solid"]

Picture = NDArray[np.uint8]
Point = tuple[float, float]
Marks = dict[str, Point]
_ATTEMPTS = 2000
_CT_WINDOW = (-160.0, 640.0)


@dataclass
class View:
    """One picture of a spine.

    Attributes:
        picture: uint8 grey.
        points: By level: `body`, and `upper_` or `lower_` with `centre`, `anterior`, `posterior`, `left`, `right`.
        description: What the picture shows.
        spacing_mm: Of a pixel, in the plane of the spine.
        across: Which way one looks.
        faces: Where the front is in sagittal pictures.
    """

    picture: Picture
    points: dict[Level, Marks]
    description: SpineDescription
    spacing_mm: float
    across: Literal["sagittal", "frontal", "axial"]
    faces: Literal["left", "right"] = "left"

    @property
    def visible(self) -> tuple[Level, ...]:
        """Levels wholly in the field."""
        return self.description.field.levels

    def inside(self, at: Point, *, margin: float = 6.0) -> bool:
        """Whether a point lies well in the picture."""
        rows, columns = self.picture.shape[:2]
        return margin <= at[0] < columns - margin and margin <= at[1] < rows - margin

    def body(self, level: Level) -> Point:
        """The middle of a body (of S1: of its endplate)."""
        own = self.points[level]
        return own.get("body", own["upper_centre"])

    def disc(self, disc: Disc) -> Point:
        """The middle of a disc."""
        above, below = self.points[disc.upper]["lower_centre"], self.points[disc.lower]["upper_centre"]
        return (above[0] + below[0]) / 2, (above[1] + below[1]) / 2

    def reach_px(self, level: Level) -> float:
        """How far before its centre an arrow at a body must stop."""
        own, (x, _) = self.points[level], self.body(level)
        names = ("left", "right") if self.across == "frontal" else ("anterior", "posterior")
        found = [abs(own[f"{plate}_{name}"][0] - x) for plate in ("upper", "lower") for name in names
                 if f"{plate}_{name}" in own]  # fmt: skip
        return max(found, default=18.0) + 4.0

    @property
    def arrows_from_right(self) -> bool:
        """Arrows come from the front."""
        return self.faces == "right"


@dataclass
class Solid:
    """One spine and its pictures."""

    spine: SpinePhantom
    xray_mm: float
    slice_mm: float
    _scenes: dict[Posture, Scene] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The cluster of all questions on it."""
        return f"phantom3d-{self.spine.family}-{self.spine.seed}-{self.spine.index:03d}"

    @cached_property
    def column(self) -> Spine:
        """Its numbers of vertebrae."""
        return Spine(self.spine.thoracic, self.spine.lumbar)

    def scene(self, posture: Posture) -> Scene:
        """Its solids in a posture."""
        if posture not in self._scenes:
            self._scenes[posture] = build_scene(self.spine, posture)
        return self._scenes[posture]

    def radiograph(self, projection: Literal["lateral", "frontal"], region: Field = "lumbar") -> View:
        """A standing radiograph without any letter."""
        from spinemed.phantom.imaging.xray import render_xray

        scene = self.scene(Posture.STANDING)
        pixel = self.xray_mm * (1.6 if region == "full" else 1.0)
        made = render_xray(scene, projection=projection, field=region, pixel_mm=pixel)
        rows, columns = made.truth.shape
        hips = all(0 <= u < columns and 0 <= v < rows for u, v in made.truth.hips)
        field_ = field_of_view_of_points(scene, made.truth.visible, (), ribs=True, hips=hips)
        if field_ is None:
            raise SpineMedError("no vertebra is whole in the picture", field="field", cure="take a larger field")
        points = {Level(name): {key: (p[0], p[1]) for key, p in own.items()} for name, own in made.truth.points.items()}
        description = describe(self.spine, modality="XR", plane=projection, field=field_)
        return View(
            picture=evened((made.image >> 8).astype(np.uint8)),
            points=points,
            description=description,
            spacing_mm=pixel,
            across="frontal" if projection == "frontal" else "sagittal",
            faces="left" if projection == "frontal" else made.truth.look.faces,
        )

    def mr(self, sequence: Literal["T1", "T2"], region: Field = "lumbar") -> View:
        """The midsagittal slice of an MR, 4 mm thick."""
        from spinemed.phantom.imaging.mr import render_mr, sagittal_stack

        scene = self.scene(Posture.SUPINE)
        pixel = self.slice_mm * (1.6 if region == "full" else 1.0)
        grid = sagittal_stack(scene, region, pixel_mm=pixel, slice_mm=4.0, slices=1)
        made = render_mr(scene, sequence=sequence, grid=grid)
        field_ = field_of_view_of_points(scene, made.truth.visible, (), ribs=False, hips=False)
        if field_ is None:
            raise SpineMedError("no vertebra is whole in the picture", field="field", cure="take a larger field")
        description = describe(
            self.spine, modality="MR", sequences=("T1", "T2"), plane="sagittal", slice_thickness_mm=4.0, field=field_
        )
        signal = made.volume.data[0]
        high = float(np.percentile(signal, 99.3))
        return self._slice(signal, grid, windowed(signal, 0.0, high), description, pixel)

    def ct(self, region: Field = "lumbar") -> View:
        """The midsagittal slice of a CT, 1 mm thick."""
        from spinemed.phantom.imaging.ct import render_ct_slice
        from spinemed.phantom.imaging.mr import levels_inside, sagittal_stack

        scene = self.scene(Posture.SUPINE)
        pixel = self.slice_mm * (1.6 if region == "full" else 1.0)
        grid = sagittal_stack(scene, region, pixel_mm=pixel, slice_mm=1.0, slices=1)
        hu, _ = render_ct_slice(scene, grid)
        field_ = field_of_view_of_points(scene, levels_inside(scene, grid), (), ribs=False, hips=False)
        if field_ is None:
            raise SpineMedError("no vertebra is whole in the picture", field="field", cure="take a larger field")
        description = describe(self.spine, modality="CT", plane="sagittal", slice_thickness_mm=1.0, field=field_)
        return self._slice(hu[0], grid, windowed(hu[0], *_CT_WINDOW), description, pixel)

    def axial(self, disc: Disc) -> View:
        """A T2 slice along a disc: the patient's right is on the picture's left."""
        from spinemed.phantom.imaging.mr import axial_grid, render_mr

        scene = self.scene(Posture.SUPINE)
        grid = axial_grid(scene, disc, pixel_mm=0.5, slice_mm=4.0, slices=1, size_mm=120.0)
        made = render_mr(scene, sequence="T2", plane="axial", disc=disc, grid=grid)
        field_ = field_of_view_of_points(scene, made.truth.visible, (), ribs=False, hips=False, ends=False)
        assert field_ is not None
        description = describe(
            self.spine, modality="MR", sequences=("T2",), plane="axial", slice_thickness_mm=4.0, field=field_
        )
        signal = made.volume.data[:, :, 0].T
        picture = windowed(signal, 0.0, float(np.percentile(signal, 99.3)))
        return View(picture, {}, description, 0.5, "axial")

    def masks(self) -> dict[str, Volume]:
        """What tools may measure on: whole vertebrae and their bodies, 1 mm, VerSe's numbers, supine."""
        from spinemed.phantom.imaging.ct import render_ct

        made = render_ct(self.scene(Posture.SUPINE), field="lumbar", spacing_mm=1.0)
        return {"vertebrae": made.vertebrae, "bodies": made.bodies}

    def _slice(
        self, values: NDArray[Any], grid: VoxelGrid, grey: Picture, description: SpineDescription, pixel: float
    ) -> View:
        """A sagittal slice (A, S) turned so that the front is left and the head up."""
        picture = np.ascontiguousarray(grey.T[::-1, ::-1])
        inverse = np.linalg.inv(grid.affine)
        wide, high = values.shape

        def at(world: NDArray[np.float64]) -> Point:
            index = inverse[:3, :3] @ world + inverse[:3, 3]
            return float(wide - 1 - index[1]), float(high - 1 - index[2])

        posed = self.scene(Posture.SUPINE).posed
        points = {level: _plate_points(marks, at) for level, marks in landmarks(posed).items()}
        return View(picture, points, description, pixel, "sagittal")


def _plate_points(marks: VertebraMarks, at: Callable[[NDArray[np.float64]], Point]) -> Marks:
    own: Marks = {"canal": at(marks.canal_mm)}
    if marks.body_mm is not None:
        own["body"] = at(marks.body_mm)
    for name, plate in (("upper", marks.upper), ("lower", marks.lower)):
        if plate is not None:
            for corner in ("centre", "anterior", "posterior", "left", "right"):
                own[f"{name}_{corner}"] = at(getattr(plate, f"{corner}_mm"))
    return own


def draw_solid(
    case: Case,
    fits: Callable[[SpinePhantom], bool] = lambda _: True,
    *,
    pathology: dict[str, object] | None = None,
    **spine: Any,
) -> Solid:
    """The first spine of a case that fits.

    Args:
        case: Gives the seed and the family.
        fits: What the record must hold.
        pathology: Fields of `PathologyConfig` besides a healthy spine.
        spine: Fields of `SpineConfig`; regular columns without curves unless given.

    Raises:
        SpineMedError: None of many spines fits.
    """
    settings: dict[str, Any] = {"variant_shares": {}, "transition_share": 0.0, "rib_stub_share": 0.0}
    config = SpineConfig(family=case.config.family, **{**settings, "scoliosis_share": 0.0, **spine})
    wrong = healthy_config(**(pathology or {}))
    for attempt in range(_ATTEMPTS):
        drawn = draw_spine(case.phantom_seed, attempt, config)
        rng = np.random.default_rng(np.random.SeedSequence([case.phantom_seed, attempt, 17]))
        made = draw_pathologies(drawn, wrong, rng)
        if fits(made):
            return Solid(made, case.config.size.xray_mm, case.config.size.slice_mm)
    raise SpineMedError(
        f"none of {_ATTEMPTS} spines of case {case.number} fits recipe {case.recipe}",
        field="mix",
        cure="take another seed",
    )
