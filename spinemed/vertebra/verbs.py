"""What `straighten`, `synthesise` and `rhlv` do with one scan: from files to files.

Convention: `<stem>_<label>_label.nii.gz` holds the labels of whole vertebrae (paper mode: arches taken off) on a crop,
`_vb` the target's body alone, `_ct` (or `_image`) the picture; `_body` a synthetic body on the crop and `_overlay` the
same in the patient's grid. Masks are uint8 with the vertebra's number in VerSe. A crop's affine is exact in the middle
of the body; `<stem>_straight.json` carries the curve for the rest.

The trap: an overlay is a layer of its own. Where it reaches into a neighbour that is counted (`overlap_mm3`), and the
patient's mask is never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import ReadError, SpineMedError, VolumeError
from spinemed.labelling.masks import LabelMask, vertebra_of_label
from spinemed.measure import body_field, fit_body, separate_body
from spinemed.records import content_hash
from spinemed.tables import file_sha256, write_bytes, write_text
from spinemed.vertebra.files import Scan, read_scan, scan_stem
from spinemed.vertebra.maps import height_map, map_png
from spinemed.vertebra.paper import paper_rhlv, paper_straighten
from spinemed.vertebra.records import (
    CropRecord,
    FileFact,
    LossFile,
    Mode,
    PaperLoss,
    RobustLoss,
    StraightFile,
    SynthesisFile,
    SyntheticBody,
    robust_loss,
)
from spinemed.vertebra.rhlv import HeightLoss, height_loss
from spinemed.vertebra.straighten import StraightCrop, Straightened, straighten_spine
from spinemed.vertebra.synthesis import Synthesis, Synthesiser, synthesis_loss, synthesis_overlay
from spinemed.vertebra.synthesis.neighbours import CUT
from spinemed.volume import Volume, read_mask, reorient_volume, require_same_grid, write_nifti

__all__ = ["label_of_file", "measure_pair", "measure_pairs", "read_model", "straighten_scan", "synthesise_scan"]

_LABEL = re.compile(r"_(\d{1,3})_(label|vb|body)$")
_VERSE = LABEL_MAPS["verse"]
_TALLER_PERCENT = 25.0
"""Nothing grows: a body so much above its twin anywhere was given a wrong one."""


def straighten_scan(
    scan: Scan,
    inputs: dict[str, FileFact],
    out: Path,
    *,
    mode: Mode = "robust",
    levels: Sequence[Level] | None = None,
    scheme: str = "verse",
    spacing_mm: float = 1.0,
) -> StraightFile:
    """Write the crops of one scan.

    Raises:
        ReadError, VolumeError: a file that cannot be used, a level that is not there, other grids.
    """
    loaded = read_scan(scan, scheme=scheme, needs_ct=mode == "paper")
    stem = scan.name
    if mode == "paper":
        labels = None if levels is None else [_VERSE.to_label(level) for level in levels]
        found = paper_straighten(loaded.mask.volume, labels, image=loaded.image)
        crops = tuple(
            _written(
                out, stem, label, None, crop.affine,
                {"label": Volume(crop.labels, crop.affine, "label"),
                 "ct": None if crop.image is None else Volume(crop.image, crop.affine, "a.u.")},
                (),
            )
            for label, crop in sorted(found.items())
        )  # fmt: skip
        report = StraightFile(
            case=stem, mode=mode, spacing_mm=1.0, curve_points_mm=None, curve_sha256=None, crops=crops, inputs=inputs,
            flags=loaded.flags,
        )  # fmt: skip
    else:
        straight = straighten_spine(loaded.mask, levels, image=loaded.image, spacing_mm=spacing_mm)
        picture = "ct" if loaded.image is None or loaded.image.unit == "HU" else "image"
        crops = tuple(_robust_crop(out, stem, level, crop, picture) for level, crop in sorted(straight.crops.items()))
        points = _points(straight)
        report = StraightFile(
            case=stem, mode=mode, spacing_mm=spacing_mm, curve_points_mm=points,
            curve_sha256=content_hash(list(points)), crops=crops, inputs=inputs,
            flags=(*loaded.flags, *straight.flags),
        )  # fmt: skip
    write_text(out / f"{stem}_straight.json", report.model_dump_json(indent=1) + "\n")
    return report


def _robust_crop(out: Path, stem: str, level: Level, crop: StraightCrop, picture: str) -> CropRecord:
    number = _VERSE.to_label(level)
    volumes: dict[str, Volume | None] = {
        "label": Volume(crop.labels, crop.affine, "label"),
        "vb": _body_volume(crop.body, crop, number),
    }
    if crop.image is not None:
        whole = np.rint(crop.image).astype(np.int16) if picture == "ct" else crop.image
        volumes[picture] = Volume(whole, crop.affine, "HU" if picture == "ct" else "a.u.")
    return _written(out, stem, number, crop.start, crop.affine, volumes, crop.flags)


def _body_volume(body: NDArray[np.float32], crop: StraightCrop, number: int) -> Volume:
    return Volume(np.where(body >= 0.5, number, 0).astype(np.uint8), crop.affine, "label")


def _written(
    out: Path,
    stem: str,
    number: int,
    start: NDArray[np.float64] | None,
    affine: NDArray[np.float64],
    volumes: dict[str, Volume | None],
    flags: tuple[str, ...],
) -> CropRecord:
    files = {}
    for what, volume in volumes.items():
        if volume is not None:
            files[what] = f"{stem}_{number}_{what}.nii.gz"
            write_nifti(volume, out / files[what])
    return CropRecord(
        level=vertebra_of_label(number), label=number, start_mm=None if start is None else _triple(start),
        affine=tuple(tuple(round(float(x), 6) for x in row) for row in affine), files=files, flags=flags,
    )  # fmt: skip


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (round(float(value), 6) for value in values)
    return a, b, c


def _points(straight: Straightened) -> tuple[tuple[float, float, float], ...]:
    return tuple(_triple(point) for point in straight.curve.points.values)


def read_model(text: str) -> tuple[Synthesiser, dict[str, Any]]:
    """The synthesiser that `--model` names, and what tells it from others: "neighbours", "upper", or a model folder.

    Raises:
        ModelError: a folder that holds no synthesiser.
    """
    from spinemed.vertebra.synthesis import NeighbourShape, read_synthesiser

    if text == "neighbours":
        return NeighbourShape("mean"), {"name": text}
    if text == "upper":
        return NeighbourShape("upper"), {"name": text}
    made = read_synthesiser(text)
    folder = Path(text)
    return made, {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def synthesise_scan(
    scan: Scan,
    inputs: dict[str, FileFact],
    out: Path,
    synthesiser: Synthesiser,
    *,
    levels: Sequence[Level] | None = None,
    scheme: str = "verse",
) -> SynthesisFile:
    """Write the synthetic bodies of one scan, on their crops and, as layers of their own, in the patient's grid.

    Raises:
        ReadError, VolumeError: a file that cannot be used, a level that is not there, no neighbour to learn from, no
            CT where the synthesiser needs one.
    """
    loaded = read_scan(scan, scheme=scheme, needs_ct=synthesiser.needs_image)
    if synthesiser.needs_image and loaded.image is None:
        raise VolumeError(
            f"{synthesiser.name} needs a CT", file=scan.mask, field="--image", cure="give the CT of the same scan"
        )
    straight = straighten_spine(loaded.mask, image=loaded.image)  # all levels: they are each other's neighbours
    made, lacking = _made(synthesiser, straight, levels)
    bodies = []
    for level, synthesis in sorted(made.items()):
        try:
            bodies.append(_synthetic(out, scan.name, straight, synthesis, loaded.mask))
        except VolumeError as error:
            lacking[level] = error
    if not bodies:
        raise next(iter(lacking.values()), None) or VolumeError(
            "holds no vertebra that this synthesiser makes", file=scan.mask, field="--mask",
            cure="give thoracic and lumbar vertebrae with whole bodies",
        )  # fmt: skip
    missing = tuple(f"{level} was not made: {error.problem}" for level, error in sorted(lacking.items()))
    report = SynthesisFile(
        case=scan.name, made_by=next(iter(made.values())).made_by, bodies=tuple(bodies), inputs=inputs,
        flags=(*loaded.flags, *straight.flags, *missing),
    )  # fmt: skip
    write_text(out / f"{scan.name}_synthesis.json", report.model_dump_json(indent=1) + "\n")
    return report


def _made(
    synthesiser: Synthesiser, straight: Straightened, levels: Sequence[Level] | None
) -> tuple[dict[Level, Synthesis], dict[Level, VolumeError]]:
    """All at once; or, where one cannot be made, those that can, and why the others cannot."""
    try:
        return synthesiser.synthesise(straight, levels), {}
    except VolumeError as error:
        wanted = list(straight.crops) if levels is None else list(levels)
        if len(wanted) < 2:
            raise
        made: dict[Level, Synthesis] = {}
        lacking: dict[Level, VolumeError] = {}
        for level in wanted:
            try:
                made |= synthesiser.synthesise(straight, [level])
            except VolumeError as own:
                lacking[level] = own
        if not made:
            raise error
        return made, lacking


def _synthetic(out: Path, stem: str, straight: Straightened, synthesis: Synthesis, mask: LabelMask) -> SyntheticBody:
    """Write one synthetic body and tell of it.

    Raises:
        VolumeError: it has no place in the patient's grid.
    """
    level, crop = synthesis.level, synthesis.crop
    number = _VERSE.to_label(level)
    overlay = synthesis_overlay(straight, synthesis, mask)
    flags = [*synthesis.flags]
    try:
        if CUT in crop.flags:  # what is left of a body measures how much was left
            raise VolumeError("the edge of the volume cuts the body", field="mask", cure="give a larger field of view")
        found = synthesis_loss(straight, synthesis)
        loss, doubts = _judged(found)
        flags += [flag for flag in (*found.flags, *doubts) if flag not in flags]
        if not any(synthesis.sd_mm):
            flags.append("the interval covers reading the two bodies, not how far such a synthesis is off")
    except VolumeError as error:
        loss = None
        flags.append(f"height loss not measured: {error.problem}")
    volumes: dict[str, Volume | None] = {
        "body": _body_volume(synthesis.body, crop, number),
        "overlay": Volume(np.asarray(overlay.on(mask.shape) * np.uint8(number)), mask.affine, "label"),
    }
    if synthesis.image is not None:
        volumes["synthetic-ct"] = Volume(np.rint(synthesis.image).astype(np.int16), crop.affine, "HU")
    written = _written(out, stem, number, crop.start, crop.affine, volumes, ())
    cube = straight.spacing_mm**3
    return SyntheticBody(
        level=level, label=number, files=written.files, loss=loss,
        volume_mm3=round(cube * float((synthesis.body >= 0.5).sum()), 1),
        patient_volume_mm3=round(cube * float((crop.body >= 0.5).sum()), 1),
        overlap_mm3={str(other): round(volume, 1) for other, volume in sorted(overlay.overlap_mm3.items())},
        flags=tuple(flags),
    )  # fmt: skip


def _judged(found: HeightLoss) -> tuple[RobustLoss, tuple[str, ...]]:
    """A loss for a file; not to be graded, with a flag, where the twin is far too low to be this body's."""
    loss, least = robust_loss(found), min(third.percent for third in found.thirds)
    if least > -_TALLER_PERCENT:
        return loss, ()
    flag = f"reference unreliable: the body is up to {-least:.0f} % taller than its twin, so the two do not fit"
    return loss.model_copy(update={"gradable": False, "reference": "unreliable"}), (flag,)


# --- rhlv ------------------------------------------------------------------------------------------------------------


def label_of_file(path: Path) -> int | None:
    """The label in the name of a crop (`<stem>_<label>_label.nii.gz`), if it bears one."""
    match = _LABEL.search(path.name.removesuffix(".gz").removesuffix(".nii"))
    return int(match[1]) if match else None


def measure_pair(
    mask: Path, synthetic: Path, label: int, *, mode: Mode = "robust", picture: Path | None = None
) -> LossFile:
    """One vertebra against its synthetic twin: two masks on one grid, in the patient or on a crop.

    A file of 0 and 1 is that vertebra's. With `picture` (robust mode) the height-loss map is written there as PNG.

    Raises:
        ReadError, VolumeError: a file that cannot be used, a label that does not occur, other grids, voxels that are
            not 1 mm (paper mode), two bodies that do not lie on each other.
    """
    own, other = read_mask(mask), read_mask(synthetic)
    require_same_grid(own, other)
    level = vertebra_of_label(label)
    solid, made = _chosen(own, label), _chosen(other, label)
    if not (solid & made).any():
        raise VolumeError(
            "the vertebra and its synthetic twin do not touch", file=synthetic, field="--synthetic",
            cure="give the twin that was made in this crop, or the overlay in the patient's grid",
        )  # fmt: skip
    facts = {
        "mask": FileFact(name=mask.name, sha256=own.sha256),
        "synthetic": FileFact(name=synthetic.name, sha256=other.sha256),
    }
    flags = [*own.flags, *other.flags]
    if np.array_equal(solid, made):
        flags.append("mask and twin hold the same body: that nothing is lost says nothing")
    if mode == "paper":
        paper = _paper(own, solid, made)
        flags.append("paper mode: shares as published; its scaling hides a synthetic body that is too short")
        return LossFile(
            case=scan_stem(mask), level=level, label=label, mode=mode, paper=paper, inputs=facts, flags=tuple(flags)
        )
    # On a crop the spine runs along the array's own axis, whichever way that points in the world.
    axes = reorient_volume(own, "RAS").affine[:3, :3]
    hints = {"anterior_hint": axes[:, 1], "up_hint": axes[:, 2]}
    (body, affine), told = _without_arch(solid, own.affine, hints)
    (twin, twin_affine), _ = _without_arch(made, other.affine, hints)
    healthy = fit_body(twin, twin_affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])
    loss = height_loss(body, affine, healthy)
    if picture is not None:
        write_bytes(picture, map_png(height_map(body_field(body, affine), healthy)))
    robust, doubts = _judged(loss)
    flags += [*told, *loss.flags, *doubts]
    return LossFile(
        case=scan_stem(mask), level=level, label=label, mode=mode, robust=robust, inputs=facts,
        flags=tuple(flags),
    )  # fmt: skip


def measure_pairs(
    masks: Path, synthetic: Path, label: int | None = None, *, mode: Mode = "robust"
) -> Iterator[LossFile | SpineMedError]:
    """Every pair of crops in two folders, in order; the fault instead of a loss where a pair cannot be measured.

    Raises:
        ReadError: No pair.
    """
    for own, twin, number in find_pairs(masks, synthetic, label):
        try:
            yield measure_pair(own, twin, number, mode=mode)
        except SpineMedError as error:
            yield error


def _chosen(volume: Volume, label: int) -> NDArray[np.bool_]:
    present = [int(each) for each in np.unique(volume.data) if each]
    if label in present:
        return np.asarray(volume.data == label)
    if len(present) == 1 and present[0] == 1:
        return np.asarray(volume.data != 0)
    raise VolumeError(
        f"the label {label} does not occur" + (f", only {', '.join(map(str, present[:12]))}" if present else ": all 0"),
        file=volume.source or None, field="--label", cure="give a label of the mask, or a mask of this vertebra alone",
    )  # fmt: skip


def _paper(volume: Volume, solid: NDArray[np.bool_], made: NDArray[np.bool_]) -> PaperLoss:
    if not np.allclose(volume.spacing_mm, 1.0, atol=0.01):
        raise VolumeError(
            f"voxels of {' x '.join(f'{size:.3g}' for size in volume.spacing_mm)} mm, where the published rule counts "
            "voxels of 1 mm",
            file=volume.source or None, field="--mode", cure="straighten with --mode paper first, or use --mode robust",
        )  # fmt: skip
    turned = [
        reorient_volume(Volume(part.astype(np.uint8), volume.affine, "label"), "IPL").data != 0
        for part in (made, solid)
    ]
    found = paper_rhlv(turned[0], turned[1])
    return PaperLoss(
        whole=found.whole, anterior=found.anterior, middle=found.middle, posterior=found.posterior,
        lowest_over_tallest=found.lowest_over_tallest,
    )  # fmt: skip


def _without_arch(
    solid: NDArray[np.bool_], affine: NDArray[np.float64], hints: dict[str, NDArray[np.float64]]
) -> tuple[tuple[NDArray[np.bool_], NDArray[np.float64]], tuple[str, ...]]:
    """The body alone; the whole where no arch is told from it, as in a mask of a body."""
    try:
        found = separate_body(solid, affine, **hints)
    except VolumeError as error:
        return (solid, affine), (f"the whole label was taken as body: {error.problem}",)
    return (found.mask, found.affine), ()


def find_pairs(masks: Path, synthetic: Path, label: int | None) -> list[tuple[Path, Path, int]]:
    """Pairs of crops in two folders: `<stem>_<label>_vb` (or `_label`) with `<stem>_<label>_body` or the same name.

    Args:
        masks: Folder of crops as they are.
        synthetic: Folder of their twins; may be the same one.
        label: Only this vertebra.

    Raises:
        ReadError: no such folder, no pair, or a crop without a twin.
    """
    for folder, option in ((masks, "--mask"), (synthetic, "--synthetic")):
        if not folder.is_dir():
            raise ReadError("is no folder", file=folder, field=option, cure="give two folders, or two files")
    apart = not masks.samefile(synthetic)  # in one folder a crop is no twin of its own
    found: dict[str, Path] = {}
    for ending in ("_label", "_vb"):  # a body alone is better than a whole label
        for path in sorted(masks.glob(f"*{ending}.nii*")):
            name = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(ending)
            if label is None or label_of_file(path) == label:
                found[name] = path
    pairs = []
    for name, own in sorted(found.items()):
        number = label_of_file(own)
        names = [f"{name}_body.nii.gz", f"{name}_body.nii", *([own.name] if apart else [])]
        twin = next((synthetic / each for each in names if (synthetic / each).is_file()), None)
        if number is None or twin is None:
            raise ReadError(
                f"no twin of it lies in {synthetic}", file=own, field="--synthetic",
                cure=f"make it with `spinemed vertebra synthesise`, as {name}_body.nii.gz",
            )  # fmt: skip
        pairs.append((own, twin, number))
    if not pairs:
        raise ReadError(
            "holds no crop" + ("" if label is None else f" of label {label}"), file=masks, field="--mask",
            cure="give a folder that `spinemed vertebra straighten` wrote",
        )  # fmt: skip
    return pairs
