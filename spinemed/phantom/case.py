"""One case of a set: drawn as one line, then rendered and written in each kind of image that was asked for.

Convention: `draw_case` makes the `CaseDraw`; `write_case` needs nothing but that line and the set's config, so any case
can be made again. Files under the set's outputs::

    ct/rawdata, ct/derivatives       VerSe's layout (`spinemed.phantom.imaging.verse_folder`)
    xray/sub-ID/                     16-bit PNG and a JSON of its truth per projection
    mr/sub-ID/                       NIfTI per stack (`acq-sag`, `acq-axL4L5`) and sequence, with masks per stack

The trap: a twin is a case of its own with the id of its spine and "twin"; whoever splits a set must keep both together.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from spinemed.anatomy import Level
from spinemed.phantom.pathology import healthy_twin
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.pathology.findings import FieldOfView, SpineDescription
from spinemed.phantom.pathology.grades import Modality, Plane, Sequence
from spinemed.phantom.set_config import PhantomSetConfig, What
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import Posture, SpinePhantom
from spinemed.phantom.views import ViewDraw, draw_views
from spinemed.records import Record

if TYPE_CHECKING:
    from spinemed.phantom.imaging.ct import CtPhantom
    from spinemed.phantom.shape.scene import Scene

__all__ = ["CaseDraw", "ImageDescription", "case_id", "draw_case", "posture_of", "write_case"]

_TOPIC = 41


class CaseDraw(Record):
    """Everything that was drawn for one case."""

    case: str
    """Name of the case."""
    seed: int
    """Seed of noise, texture and markers."""
    spine: SpinePhantom
    """The spine that was drawn."""
    views: tuple[ViewDraw, ...]
    """What each kind of image covers."""
    twin: str | None = None
    """Id of the healthy twin that is rendered beside it."""


class ImageDescription(Record):
    """What is true of one image and can be seen in it."""

    case: str
    """Name of the case."""
    image: str
    """Path below the set's outputs. T1 and T2 of an MR stack are described together, under the last one's path."""
    view: Literal["whole", "no_anchor", "artefact", "level_outside"]
    """Which view of the spine it is: whole, or one that leaves something undecided."""
    twin_of: str | None = None
    """For a healthy twin, the image whose spine it is without fractures."""
    description: SpineDescription | None = None
    """None where no level is whole in the image: nothing there can be named or graded."""
    reason: str = ""
    """Why there is no description."""

    @model_validator(mode="after")
    def _described_or_why(self) -> ImageDescription:
        if (self.description is None) != bool(self.reason):
            raise ValueError("a reason is given where there is no description, and only there")
        return self


def case_id(config: PhantomSetConfig, index: int) -> str:
    """BIDS subject of a case: letters and digits."""
    return f"phantom{config.seed}{config.drawn_spine.family}{index:05d}"


def draw_case(config: PhantomSetConfig, index: int) -> CaseDraw:
    """Draw case `index` of a set; it does not depend on how many are drawn."""
    rng = [
        np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(index, _TOPIC, topic)))
        for topic in range(3)
    ]
    spine = draw_pathologies(draw_spine(config.seed, index, config.drawn_spine), config.pathology, rng[0])
    broken = any(item.kind == "fracture" for item in spine.pathologies)
    name = case_id(config, index)
    return CaseDraw(
        case=name,
        seed=int(rng[2].integers(0, 2**31)),
        spine=spine,
        views=draw_views(spine, config.what, config.field, config.undecidable_share, rng[1]),
        twin=f"{name}twin" if config.twins and broken else None,
    )


def posture_of(config: PhantomSetConfig, what: What) -> Posture:
    """How the person is imaged."""
    if config.posture == "usual":
        return Posture.STANDING if what == "xray" else Posture.SUPINE
    return Posture(config.posture)


def write_case(config: PhantomSetConfig, draw: CaseDraw, folder: Path) -> list[ImageDescription]:
    """Render and write every image of a case below `folder`; returns what is true of each.

    The twin is rendered on the same voxels with the same noise.
    """
    from spinemed.phantom.shape.scene import build_scene

    found: list[ImageDescription] = []
    scenes: dict[tuple[str, Posture], Scene] = {}
    spines: list[tuple[str, str | None, SpinePhantom]] = [(draw.case, None, draw.spine)]
    if draw.twin is not None:
        spines.append((draw.twin, draw.case, healthy_twin(draw.spine)))
    for view in draw.views:
        posture = posture_of(config, view.what)
        for name, _, spine in spines:
            if (name, posture) not in scenes:
                scenes[name, posture] = build_scene(spine, posture)
        both = [(name, twin_of, scenes[name, posture]) for name, twin_of, _ in spines]
        found += _WRITERS[view.what](config, draw, view, both, folder)
    return found


def _write_ct(
    config: PhantomSetConfig, draw: CaseDraw, view: ViewDraw, scenes: list[tuple[str, str | None, Scene]], folder: Path
) -> list[ImageDescription]:
    from spinemed.phantom.imaging.ct import look_of, render_ct
    from spinemed.phantom.imaging.grid import field_grid
    from spinemed.phantom.imaging.verse_folder import write_verse_case
    from spinemed.phantom.views import box_grid, field_of_view

    job = config.ct
    first = scenes[0][2]
    if view.levels:
        grid = box_grid(_stretch(scenes, view.levels), job.spacing_mm, job.codes)
    else:
        grid = field_grid(first, config.field, spacing_mm=job.spacing_mm, codes=job.codes)
    look = look_of(draw.spine.family, job.kernel).model_copy(update={"streaks": job.streaks})
    found = []
    for name, twin_of, scene in scenes:
        made = render_ct(scene, grid=grid, look=look, noise_seed=draw.seed)
        made = _with_artefact(made, first, view.artefact_levels, draw.seed)
        files = write_verse_case(made, folder / "ct", name, keep_cut=job.keep_cut, sacrum=job.sacrum)
        field = field_of_view(scene, grid, made.truth.visible, view.artefact_levels)
        image = files["ct"].relative_to(folder).as_posix()
        found.append(
            _described(
                (name, twin_of, scene), image, view, field, modality="CT", slice_thickness_mm=max(job.spacing_mm)
            )
        )
    return found


def _stretch(
    scenes: list[tuple[str, str | None, Scene]], levels: tuple[Level, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box of a stretch in the spine and its twin: a twin without fractures stands taller."""
    from spinemed.phantom.views import stretch_box

    low, high = zip(*(stretch_box(scene, levels) for _, _, scene in scenes), strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def _described(
    case: tuple[str, str | None, Scene],
    image: str,
    view: ViewDraw,
    field: FieldOfView | None,
    *,
    modality: Modality,
    plane: Plane | None = None,
    sequences: tuple[Sequence, ...] = (),
    slice_thickness_mm: float | None = None,
) -> ImageDescription:
    """What is true of one image, or that nothing in it is whole."""
    from spinemed.phantom.pathology.describe import describe

    name, twin_of, scene = case
    if field is None:
        return ImageDescription(
            case=name, image=image, view=view.kind, twin_of=twin_of, reason="no vertebra is whole in the image"
        )
    found = describe(
        scene.spine,
        modality=modality,
        sequences=sequences,
        plane=plane,
        slice_thickness_mm=slice_thickness_mm,
        field=field,
        posture=scene.posture.value,
    )
    return ImageDescription(case=name, image=image, view=view.kind, twin_of=twin_of, description=found)


def _with_artefact(made: CtPhantom, scene: Scene, hidden: tuple[Level, ...], seed: int) -> CtPhantom:
    from dataclasses import replace

    from spinemed.phantom.imaging.artefacts import starve_band
    from spinemed.phantom.views import z_range
    from spinemed.volume import Volume

    if not hidden:
        return made
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(9,)))
    hu = starve_band(made.volume.data, made.volume.affine, z_range(scene, hidden), rng)
    return replace(made, volume=Volume(hu, made.volume.affine, "HU"))


def _write_xray(
    config: PhantomSetConfig, draw: CaseDraw, view: ViewDraw, scenes: list[tuple[str, str | None, Scene]], folder: Path
) -> list[ImageDescription]:
    from PIL import Image

    from spinemed.phantom.imaging.xray import render_xray
    from spinemed.phantom.views import field_of_view_of_points
    from spinemed.tables import write_bytes, write_text

    job = config.xray
    box = _stretch(scenes, view.levels) if view.levels else None
    found = []
    for number, projection in enumerate(job.projections):
        rng = np.random.default_rng(np.random.SeedSequence(draw.seed, spawn_key=(11, number)))
        side: Literal["L", "R"] = "R" if rng.random() < 0.5 else "L"
        marker = side if rng.random() < job.marker_share else None
        text = job.text if rng.random() < job.text_share else None
        noise_seed = int(rng.integers(0, 2**31))
        for name, twin_of, scene in scenes:
            made = render_xray(
                scene,
                projection=projection,
                field=config.field,
                pixel_mm=job.pixel_mm,
                marker=marker,
                text=text,
                box_mm=box,
                hidden=view.artefact_levels,
                noise_seed=noise_seed,
            )
            place = folder / "xray" / f"sub-{name}"
            place.mkdir(parents=True, exist_ok=True)
            picture = BytesIO()
            Image.fromarray(made.image).save(picture, format="PNG")
            image = place / f"sub-{name}_{projection}_xray.png"
            write_text(place / f"sub-{name}_{projection}_truth.json", made.truth.model_dump_json() + "\n")
            write_bytes(image, picture.getvalue())
            rows, columns = made.truth.shape
            hips = all(0 <= u <= columns - 1 and 0 <= v <= rows - 1 for u, v in made.truth.hips)
            field = field_of_view_of_points(scene, made.truth.visible, view.artefact_levels, ribs=True, hips=hips)
            found.append(
                _described(
                    (name, twin_of, scene),
                    image.relative_to(folder).as_posix(),
                    view,
                    field,
                    modality="XR",
                    plane=projection,
                )
            )
    return found


def _write_mr(
    config: PhantomSetConfig, draw: CaseDraw, view: ViewDraw, scenes: list[tuple[str, str | None, Scene]], folder: Path
) -> list[ImageDescription]:
    from spinemed.phantom.imaging.mr import axial_grid, levels_inside, render_mr, sagittal_stack
    from spinemed.phantom.views import field_of_view_of_points, shows_an_end
    from spinemed.tables import write_json
    from spinemed.volume import write_nifti

    job = config.mr
    first = scenes[0][2]
    box = _stretch(scenes, view.levels) if view.levels else None
    pixel, thick = job.sagittal_mm
    sagittal = sagittal_stack(first, config.field, pixel_mm=pixel, slice_mm=thick, slices=job.slices, box_mm=box)
    found = []
    for name, twin_of, scene in scenes:
        place = folder / "mr" / f"sub-{name}"
        place.mkdir(parents=True, exist_ok=True)
        shown = levels_inside(scene, sagittal)
        discs = [d.disc for d in scene.discs if d.disc.upper in shown and d.disc.lower in shown]
        stacks = [(None, sagittal)] + [
            (disc, axial_grid(scene, disc, pixel_mm=job.axial_mm[0], slice_mm=job.axial_mm[1], slices=job.axial_slices))
            for disc in (discs[-job.axial_discs :] if job.axial_discs else [])
        ]
        for disc, grid in stacks:
            stem = f"sub-{name}_acq-{'sag' if disc is None else f'ax{disc.upper}{disc.lower}'}"
            plane: Literal["sagittal", "axial"] = "sagittal" if disc is None else "axial"
            for sequence in job.sequences:
                made = render_mr(
                    scene,
                    sequence=sequence,
                    plane=plane,
                    disc=disc,
                    grid=grid,
                    hidden=view.artefact_levels,
                    noise_seed=draw.seed,
                )
                write_nifti(made.volume, place / f"{stem}_{sequence}w.nii.gz")
            for part, mask in (("vert", made.vertebrae), ("disc", made.discs), ("canal", made.canal)):
                write_nifti(mask, place / f"{stem}_seg-{part}_msk.nii.gz")
            truth = made.truth
            write_json(
                place / f"{stem}_truth.json",
                {
                    "note": "procedural phantom, no patient; research use only",
                    "plane": plane,
                    "posture": scene.posture.value,
                    "sequences": list(job.sequences),
                    "visible": [str(level) for level in truth.visible],
                    "hidden": [str(level) for level in truth.hidden],
                    "noise_seed": truth.noise_seed,
                    "look": truth.look.model_dump(mode="json"),
                },
            )
            field = field_of_view_of_points(
                scene, truth.visible, view.artefact_levels, ribs=False, hips=False,
                ends=disc is None or shows_an_end(made),
            )  # fmt: skip
            found.append(
                _described(
                    (name, twin_of, scene),
                    f"mr/sub-{name}/{stem}_{job.sequences[-1]}w.nii.gz",
                    view,
                    field,
                    modality="MR",
                    sequences=job.sequences,
                    plane=plane,
                    slice_thickness_mm=grid.spacing_mm[0 if disc is None else 2],
                )
            )
    return found


_Writer = Callable[
    [PhantomSetConfig, CaseDraw, ViewDraw, "list[tuple[str, str | None, Scene]]", Path], list[ImageDescription]
]
_WRITERS: dict[What, _Writer] = {"ct": _write_ct, "xray": _write_xray, "mr": _write_mr}
