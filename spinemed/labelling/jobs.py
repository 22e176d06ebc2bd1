"""Label files: one CT or a folder of them to masks, centroids and an account of the naming, file by file.

Convention: for a scan named CASE the folder holds `CASE_seg-vert_msk.nii.gz` (VerSe's numbers, on the CT's grid),
`CASE_seg-subreg_ctd.json` (body centres, VerSe's subject-based kind) and `CASE_labels.json` (:class:`LabelReport`),
which is written last: a scan with a report of the same bytes under the same model is not done again. Equal inputs give
equal bytes.

Trap: where the numbering cannot be decided no VerSe names are written, for a number would be a guess. The mask is then
`CASE_seg-instances_msk.nii.gz` with 1 … n from the top, and the namings stand with their probabilities in the report.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from spinemed import __version__
from spinemed.anatomy import Level
from spinemed.errors import ReadError, SpineMedError, VolumeError
from spinemed.geometry import WorldPoints, world_to_voxel
from spinemed.labelling.assignment import CLASSES, Kind
from spinemed.labelling.centroids import CentroidSet, write_centroids
from spinemed.labelling.inference import Labeller, LabelResult
from spinemed.records import Record
from spinemed.tables import file_sha256, parse_json, write_json
from spinemed.volume import Volume, read_nifti, write_nifti

__all__ = [
    "NOTE",
    "REPORT_ENDING",
    "FoundVertebra",
    "LabelReport",
    "LabelSummary",
    "NamingReport",
    "find_scans",
    "label_files",
    "read_ct",
    "report_of",
    "rounded_triple",
    "run_over",
    "scan_name",
]

NOTE = "Research use only; no diagnosis. What was learned from phantoms is no evidence about patients."
REPORT_ENDING = "_labels.json"
_MASK_ENDING, _INSTANCES_ENDING = "_seg-vert_msk.nii.gz", "_seg-instances_msk.nii.gz"
_CENTROIDS_ENDING = "_seg-subreg_ctd.json"
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_NO_IMAGE = re.compile(r"(_msk|_mask|_seg|_dseg|_labels?)\.nii(\.gz)?$", re.IGNORECASE)
_CT_ENDING = re.compile(r"_(ct|0000)$", re.IGNORECASE)
_LOWEST_BONE_HU, _FAT_HU = 150.0, -30.0


class FoundVertebra(Record):
    """One detection. What only our own labeller knows is None (or empty) where another tool was called."""

    number: int
    """In the mask; 0 where it was left out (the sacrum, a false detection)."""
    level: Level | None
    """None where the numbering was not decided or the detection is taken as false."""
    likeliest: Level | None
    """The level of the likeliest naming, decided or not."""
    probability: float | None = None
    """Posterior of `likeliest`, or that the detection is false where that is None."""
    false: float | None = None
    """Posterior that this is no vertebra."""
    centre_mm: tuple[float, float, float]
    """World RAS+."""
    voxel: tuple[float, float, float]
    """Indices in the image's arrays."""
    score: float | None = None
    """Height of the heat map: learned confidence, no probability."""
    kinds: dict[Kind, float] = Field(default_factory=dict)
    """What was seen, without counting."""


class NamingReport(Record):
    """One way to name the row."""

    levels: tuple[Level | None, ...]
    """Names of the row, head to foot; None where one has none."""
    probability: float
    """Of this naming among those looked at."""
    thoracic: int
    """Thoracic vertebrae of the spine under this naming."""
    lumbar: int
    """Lumbar vertebrae of the spine under this naming."""
    missed: tuple[Level, ...]
    """Levels between the first and the last that no detection bears."""


class LabelReport(Record):
    """What was said about one scan, and by which model."""

    case: str
    """Name of the scan."""
    image: str
    """File name."""
    image_sha256: str
    """Hash of the image."""
    determinable: bool
    """Whether one naming reached the bound below."""
    bound: float | None = None
    """Posterior that a naming must reach to be given as the answer."""
    likeliest_written: bool
    """Whether the likeliest names were written although the numbering was not decided, because that was asked for."""
    vertebrae: tuple[FoundVertebra, ...]
    """Head to foot."""
    namings: tuple[NamingReport, ...] = ()
    """Likeliest first; the first is the answer where the numbering is determinable, the others its alternatives."""
    columns: dict[str, float] = Field(default_factory=dict)
    """Posterior of the number of thoracic and lumbar vertebrae, as "12+5"."""
    model: dict[str, Any]
    """What the model says about its training, and the hash of its files."""
    spinemed: str = __version__
    """Version of SpineMed."""
    note: str = NOTE
    """What a reader must know beside it."""


@dataclass(frozen=True)
class LabelSummary:
    """What became of the files of a job.

    Args:
        done: Scans labelled now.
        kept: Scans that were there already.
        undecided: Of both, those whose numbering is not determinable.
        failed: File and error of those that could not be labelled.
    """

    done: tuple[str, ...]
    kept: tuple[str, ...]
    undecided: tuple[str, ...]
    failed: tuple[tuple[Path, SpineMedError], ...]


def find_scans(place: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The CT files of a place: a file itself, or every NIfTI file below a folder that is not named as a mask.

    Raises:
        ReadError: nothing there, or two scans that would write under the same name.
    """
    root = Path(place)
    if root.is_file():
        return (root,)
    if not root.is_dir():
        raise ReadError("no such file or folder", file=root, cure="give a CT as NIfTI, or a folder of them")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and _NIFTI.search(path.name)
        and not _NO_IMAGE.search(path.name)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not found:
        raise ReadError("holds no NIfTI image", file=root, cure="give a folder with CT as .nii or .nii.gz")
    names: dict[str, Path] = {}
    for path in found:
        if scan_name(path) in names:
            raise ReadError(
                f"would be written under the same name as {names[scan_name(path)]}",
                file=path,
                cure="rename one of the two, or give the folder of one of them",
            )
        names[scan_name(path)] = path
    return tuple(found)


def scan_name(path: Path) -> str:
    """The case's name: the file's without `.nii.gz` and the endings `_ct` and `_0000`."""
    return _CT_ENDING.sub("", _NIFTI.sub("", path.name))


def read_ct(path: str | os.PathLike[str]) -> Volume:
    """A CT from NIfTI, in Hounsfield units.

    NIfTI has no field for the unit, so the values must look the part: fat or air below -30 HU and bone above 150 HU
    occur in every CT of a spine.

    Raises:
        ReadError: missing, cut short, no NIfTI.
        VolumeError: values that cannot be Hounsfield units.
    """
    volume = read_nifti(path, unit="HU")
    values = np.asarray(volume.data).ravel(order="K")[:: max(1, volume.data.size // 2_000_000)]
    if not np.isfinite(values).all():
        raise VolumeError("holds values that are not finite", file=path, cure="write the image again without NaN")
    low, high = float(np.quantile(values, 0.002)), float(values.max())
    if low > _FAT_HU or high < _LOWEST_BONE_HU:
        raise VolumeError(
            f"is not in Hounsfield units: values from {low:g} to {high:g}, where a CT of a spine has fat or air below "
            f"{_FAT_HU:g} and bone above {_LOWEST_BONE_HU:g}",
            file=path,
            field="values",
            cure="convert the DICOM series again with its rescale slope and intercept; MR cannot be labelled",
        )
    return volume


def label_files(
    scans: Sequence[Path],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    likeliest: bool = False,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda line: None,
) -> LabelSummary:
    """Label scans one by one; a scan that fails is named and the others go on.

    Args:
        scans: CT files.
        model: A model folder.
        out: Folder to write; scans it holds already are kept.
        likeliest: Write the likeliest names also where the numbering is not decided. The report says so.
        device: "cpu" or "cuda".
        advance: Called with 1 after each scan.
        say: Takes one line per scan that failed.

    Raises:
        ModelError: the model cannot be loaded.
    """
    if device not in ("cpu", "cuda"):
        raise VolumeError(f"'{device}' is no device", field="--device", cure="use cpu or cuda")
    labeller = Labeller(model, device="cuda" if device == "cuda" else "cpu")
    about = {**labeller.about, "sha256": _model_hash(model)}
    identity = {"model": about["sha256"], "likeliest": likeliest}

    def work(path: Path, sha256: str) -> LabelReport:
        image = read_ct(path)
        result = labeller.label(image, likeliest=likeliest)
        report = report_of(path, sha256, image, result, about, labeller.model.determinable_at)
        _write(Path(out), report, image, result)
        return report

    return run_over(scans, out, identity, work, advance=advance, say=say)


def run_over(
    scans: Iterable[Path],
    out: str | os.PathLike[str],
    identity: dict[str, Any],
    work: Callable[[Path, str], LabelReport],
    *,
    advance: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda line: None,
) -> LabelSummary:
    """Do what is missing, scan by scan. `work` gets a file and its hash, writes all but the report and returns it."""
    done, kept, undecided = [], [], []
    failed: list[tuple[Path, SpineMedError]] = []
    for path in scans:
        try:
            name, sha256 = scan_name(path), file_sha256(path)
            target = Path(out) / f"{name}{REPORT_ENDING}"
            held = _held(target, sha256, identity)
            if held is None:
                report = work(path, sha256)
                write_json(target, {"made_with": identity, **report.model_dump(mode="json")})
                done.append(name)
                if not report.determinable:
                    undecided.append(name)
            else:
                kept.append(name)
                if not held["determinable"]:
                    undecided.append(name)
        except SpineMedError as error:
            failed.append((path, error))
            say(str(error))
        advance(1)
    return LabelSummary(tuple(done), tuple(kept), tuple(undecided), tuple(failed))


def _held(target: Path, sha256: str, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The report of an earlier run, if it is of the same bytes and the same model."""
    try:
        told = parse_json(target.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ReadError("is no report of this program", file=target, cure="remove it, or give another --out") from error
    same = isinstance(told, dict) and told.get("image_sha256") == sha256 and told.get("made_with") == identity
    return told if same else None


def _model_hash(folder: str | os.PathLike[str]) -> str:
    from spinemed.records import content_hash

    files = ("config.json", "about.json", "locator.safetensors", "namer.safetensors", "segmenter.safetensors")
    return content_hash({name: file_sha256(Path(folder) / name) for name in files})


def report_of(
    path: Path, sha256: str, image: Volume, result: LabelResult, about: dict[str, Any], bound: float
) -> LabelReport:
    """The account of one scan; numbers are rounded so that the last digits of another machine do not show."""
    assignments = result.assignments
    found = []
    for at, (detection, level, number) in enumerate(zip(result.detections, result.levels, result.numbers, strict=True)):
        assert assignments is not None  # made whenever there is a detection
        likeliest = assignments.best.levels[at]
        row = assignments.marginals[at]
        share = float(row[CLASSES.index(likeliest)]) if likeliest is not None else float(assignments.spurious[at])
        voxel = world_to_voxel(WorldPoints(detection.centre_mm[None]), image.affine).values[0]
        found.append(
            FoundVertebra(
                number=number,
                level=level,
                probability=_rounded(share, 6),
                likeliest=likeliest,
                false=_rounded(max(0.0, float(assignments.spurious[at])), 6),
                centre_mm=rounded_triple(detection.centre_mm),
                voxel=rounded_triple(voxel),
                score=_rounded(detection.score, 4),
                kinds={kind: _rounded(value, 4) for kind, value in detection.kinds.items()},
            )
        )
    namings = tuple(
        NamingReport(
            levels=naming.levels,
            probability=_rounded(naming.probability, 6),
            thoracic=naming.spine.thoracic,
            lumbar=naming.spine.lumbar,
            missed=naming.missed,
        )
        for naming in (assignments.namings if assignments is not None else ())
    )
    columns = assignments.columns if assignments is not None else {}
    return LabelReport(
        case=scan_name(path),
        image=path.name,
        image_sha256=sha256,
        determinable=result.determinable,
        bound=bound,
        likeliest_written=bool(result.detections) and result.named and not result.determinable,
        vertebrae=tuple(found),
        namings=namings,
        columns={f"{thoracic}+{lumbar}": _rounded(p, 6) for (thoracic, lumbar), p in sorted(columns.items())},
        model=about,
    )


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits) + 0.0


def rounded_triple(values: np.ndarray) -> tuple[float, float, float]:
    """Three numbers to 0.01, for a report."""
    a, b, c = (_rounded(value, 2) for value in values)
    return a, b, c


def _write(out: Path, report: LabelReport, image: Volume, result: LabelResult) -> None:
    """Mask and centroids; what an earlier run left under the other name is removed first."""
    out.mkdir(parents=True, exist_ok=True)
    for ending in (_MASK_ENDING, _INSTANCES_ENDING, _CENTROIDS_ENDING, REPORT_ENDING):
        (out / f"{report.case}{ending}").unlink(missing_ok=True)
    if not result.named:
        write_nifti(result.mask, out / f"{report.case}{_INSTANCES_ENDING}")
        return
    write_nifti(result.mask, out / f"{report.case}{_MASK_ENDING}")
    points = {
        level: detection.centre_mm
        for level, detection, number in zip(
            result.assignments.best.levels if result.assignments else (),
            result.detections,
            result.numbers,
            strict=True,
        )
        if level is not None and number
    }
    write_centroids(out / f"{report.case}{_CENTROIDS_ENDING}", CentroidSet.of(points), image)
