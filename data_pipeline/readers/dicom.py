"""DICOM folders: series sorted by geometry, multi-frame objects taken apart, radiographs; up to 25 slices of a volume.

Convention: a series is its files in one folder. CT and MR become volumes (`spinemed.volume`), of which slices are
chosen (`data_pipeline.slices`); CR and DX are one picture each. Compressed images go through pydicom's decoders.
Everything is parsed in the sandbox; a broken series is one `series` that failed.

Trap: only de-identified files are read. A folder is taken when its `deid.jsonl` holds a clean record for every file (as
`spinemed data deidentify` writes it), or when the entry states `published: true` with its legal basis.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field

from data_pipeline.readers.dicom_frames import read_frames
from data_pipeline.readers.files import FileOptions, pack, unpack
from data_pipeline.readers.reading import Reading, read_options, short_id
from data_pipeline.sandbox import Answer, Limits, Rejection, run_limited
from data_pipeline.slices import MOST_SLICES, SliceChoice, choose_slices, read_choices
from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import MissingPartError, ReadError, SourceError, VolumeError
from spinemed.geometry import label_centroids_mm
from spinemed.marks import png_bytes
from spinemed.records import Finding, ImageBlob, Source, Study
from spinemed.tables import file_sha256
from spinemed.volume import Volume, percentile_window, read_dicom_series, read_mask, slice_image, to_uint8
from spinemed.volume.dicom import damage

__all__ = ["DicomOptions", "list_series", "parse_series", "read_dicom", "render_dicom_picture"]

_VOLUMES, _PLAIN = ("CT", "MR"), ("CR", "DX")
_CANVAS = 512
_MASK = "mask.nii.gz"
"""Beside a series: vertebrae in VerSe's numbers, on any grid; slices then follow the levels."""


class DicomOptions(FileOptions):
    """Options of a `dicom` source."""

    published: bool = False
    """The files were de-identified by whoever published them; `legal_basis` says where."""
    most_slices: int = Field(default=MOST_SLICES, ge=1, le=MOST_SLICES)
    """Of one volume."""
    wall_s: float = 300.0
    """Longest time that reading one file may take."""
    cpu_s: float = 200.0
    """Longest processor time of it."""
    memory_mib: int = 2048
    """Most memory of it."""


def read_dicom(source: Source, root: Path) -> Reading:
    """Read all series beneath a folder.

    Raises:
        SourceError: The files are neither de-identified here nor published as such.
        ReadError: There is no file, or a de-identified one was changed.
    """
    options = read_options(source, DicomOptions)
    if not options.published:
        _require_clean(source, root)
        # `held/` lies beside the cases: what a person must still see is never read.
        return read_series(source, root, options.limits, options.most_slices, under=root / "cases")
    if not (source.legal_basis or "").strip():
        raise SourceError(
            "is absent, though `published: true` is stated", field=f"sources.{source.id}.legal_basis",
            cure="name the publication that released the files",
        )  # fmt: skip
    return read_series(source, root, options.limits, options.most_slices)


def read_series(
    source: Source, root: Path, limits: Limits, most: int, group: str = "", under: Path | None = None
) -> Reading:
    """Read all series of a source that may be read, or of one folder of it.

    Args:
        source: The entry of `sources.yaml`.
        root: The source's folder: provenance is relative to it.
        limits: For each series.
        most: Slices of one volume.
        group: Stands for the patient; by default a hash of the identity.
        under: Read only what lies in this folder.

    Raises:
        ReadError: There is no file.
    """
    reading = Reading(source.id)
    folders = sorted({path.parent for path in (under or root).rglob("*") if path.is_file()})
    if not folders:
        raise ReadError("holds no file", file=root, cure="check `path`")
    facts = source.model_dump(mode="json")
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        if not folder.resolve().is_relative_to(root.resolve()):
            reading.drop("series", name, "leads out of the source")
            continue
        roomy = limits.for_folder(folder)
        listed = run_limited("data_pipeline.readers.dicom:list_series", {"folder": str(folder)}, roomy)
        if isinstance(listed, Rejection):
            reading.drop("series", name, listed.reason, listed.note, failed=True)
            continue
        for file, reason in listed[0]["left_out"]:
            if file in (_MASK, "slices.yaml"):
                continue
            reading.drop("file", f"{name}/{file}", reason, failed=reason == "damaged DICOM file")
        for uid, kind in listed[0]["series"]:
            values = {
                "root": str(root),
                "folder": name,
                "uid": uid,
                "kind": kind,
                "source": facts,
                "most": most,
                "group": group,
            }
            answer = run_limited("data_pipeline.readers.dicom:parse_series", values, roomy)
            item = f"{name}#{uid[-12:]}"
            if isinstance(answer, Rejection):
                reading.drop("series", item, answer.reason, answer.note, failed=True)
                continue
            reading.add(unpack(source.id, answer))
            reading.keep("series")
    return reading


def _require_clean(source: Source, root: Path) -> None:
    from data_pipeline.deidentify import DeidRecord, require_cleared
    from spinemed.tables import read_jsonl, read_manifest

    table = root / "deid.jsonl"
    if not table.is_file():
        raise SourceError(
            "holds DICOM files without de-identification records", file=root, field=f"sources.{source.id}",
            cure="run `spinemed data deidentify` on it, or state `published: true` and the legal basis",
        )  # fmt: skip
    records = list(read_jsonl(table, DeidRecord))
    cases = root / "cases"
    # Whatever its name, a file is an image until it is known to be something else.
    images = [p for p in sorted(cases.rglob("*")) if p.is_file() and not _beside(p.relative_to(cases))]
    wanted = [p.relative_to(cases).with_suffix("").as_posix() for p in images]
    others = [p for p in root.rglob("*.dcm") if not p.is_relative_to(cases) and not p.is_relative_to(root / "held")]
    if others or not wanted:
        raise SourceError(
            "holds DICOM files outside `cases/`",
            file=root,
            field=f"sources.{source.id}",
            cure="give the folder that `spinemed data deidentify` wrote",
        )
    require_cleared(wanted, [record.model_copy(update={"id": record.id.split("#")[0]}) for record in records])
    read_manifest(root, "deidentified", verify=True)


def _beside(path: Path) -> bool:
    """Whether a file of a case, by its place, is none of its images."""
    return path.name in ("case.json", "slices.yaml", _MASK) or (path.parent.name == "notes" and path.suffix == ".txt")


def list_series(folder: str) -> Answer:
    """Series of a folder by (UID, `volume`, `frames` or `plain`), and the files left out; runs in the sandbox."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    series: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    for file in sorted(path for path in Path(folder).iterdir() if path.is_file()):
        try:
            header = dcmread(file, stop_before_pixels=True, force=False)
            uid, modality = str(header.get("SeriesInstanceUID", "")), str(header.get("Modality", ""))
            frames = int(header.get("NumberOfFrames", 1) or 1)
        except InvalidDicomError:
            left_out.append((file.name, "not DICOM"))
            continue
        except damage():
            left_out.append((file.name, "damaged DICOM file"))
            continue
        kind = "frames" if frames > 1 else "volume" if modality in _VOLUMES else "plain" if modality in _PLAIN else ""
        if not kind or "Rows" not in header:
            left_out.append((file.name, "no CT, MR or radiograph"))
        elif series.setdefault(uid, kind) != kind:
            left_out.append((file.name, "another kind of image in one series"))
    return {"series": sorted(series.items()), "left_out": left_out}, []


def parse_series(root: str, folder: str, uid: str, kind: str, source: dict[str, Any], most: int, group: str) -> Answer:
    """Read one series and cut its slices; runs in the sandbox.

    Raises:
        ReadError, VolumeError: It cannot be read as one volume or picture.
    """
    entry = Source.model_validate(source)
    reading = Reading(entry.id)
    home = Path(root) / folder
    try:
        if kind == "plain":
            _radiographs(entry, home, folder, uid, reading, group)
        else:
            _volume(entry, home, folder, uid, kind, reading, most, group)
    except MissingPartError as error:
        raise ReadError("is compressed by a method whose decoder is not installed", cure=error.cure) from error
    return pack(reading)


def _load(home: Path, uid: str, kind: str) -> Volume:
    return read_frames(home, uid) if kind == "frames" else read_dicom_series(home, series_uid=uid)


def _volume(
    entry: Source, home: Path, folder: str, uid: str, kind: str, reading: Reading, most: int, group: str
) -> None:
    volume = _load(home, uid, kind)
    modality = cast(Literal["CT", "MR"], str(volume.meta["modality"]))
    patient = group or _patient(home, uid)
    edited, mask = home / "slices.yaml", home / _MASK
    levels = _levels(mask) if mask.is_file() else {}
    choices = read_choices(edited, volume) if edited.is_file() else choose_slices(volume, levels, most=most)
    for choice in choices:
        facts = _provenance(folder, uid, kind, volume.sha256, modality)
        if levels:
            facts["mask"] = {"file": f"{folder}/{_MASK}", "sha256": file_sha256(mask)}
        facts["choice"] = choice.model_dump(mode="json")
        data, side, size = _cut(volume, choice)
        _add_study(entry, reading, data, size, side, modality, choice.plane, patient, facts, volume.flags)


def _levels(path: Path) -> dict[Level, np.ndarray]:
    """Centre of each vertebra of a mask in VerSe's numbers, world mm: it only guides where slices are taken."""
    mask = read_mask(path)
    table = LABEL_MAPS["verse"]
    centres = label_centroids_mm(mask.data, mask.affine)
    return {table.to_level(label): centre for label, centre in centres.items() if label in table.labels.values()}


def _provenance(folder: str, uid: str, kind: str, sha256: str, modality: str) -> dict[str, Any]:
    return {
        "reader": "dicom", "image": {"file": folder, "sha256": sha256, "series": uid, "kind": kind}, "mask": None,
        "bodies": None, "disc_points": None, "modality": modality,
    }  # fmt: skip


def _cut(volume: Volume, choice: SliceChoice) -> tuple[bytes, float, tuple[int, int]]:
    native = slice_image(volume, choice.plane, index=choice.index)
    longest = max(native.pixels.shape) * native.pixel_mm
    side = max(native.pixel_mm, longest / _CANVAS)
    shown = native if side == native.pixel_mm else slice_image(volume, choice.plane, index=choice.index, pixel_mm=side)
    return png_bytes(shown.pixels), shown.pixel_mm, (shown.pixels.shape[0], shown.pixels.shape[1])


def _add_study(
    entry: Source,
    reading: Reading,
    data: bytes,
    size: tuple[int, int],
    side: float,
    modality: Literal["CT", "MR", "XR"],
    plane: Literal["sagittal", "coronal", "axial", "lateral"],
    patient: str,
    facts: dict[str, Any],
    flags: tuple[str, ...],
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    text = json.dumps(facts, sort_keys=True)
    reading.images.append(ImageBlob(sha256=digest, bytes=data, format="png", width_px=size[1], height_px=size[0]))
    reading.studies.append(
        Study(
            id=short_id("study", entry.id, digest, text),
            source_id=entry.id,
            group_id=f"{entry.id}:{patient}",
            origin=entry.origin,
            modality=modality,
            plane=plane,
            image_sha256=digest,
            width_px=size[1],
            height_px=size[0],
            spacing_mm=round(side, 6),
            marks=(),
            numbering_determinable=False,
            findings=(Finding(kind="modality", value=modality), Finding(kind="plane", value=plane)),
            truth="none",
            provenance=text,
            caveats=(*flags, "no levels are marked: the numbering is not stated"),
        )
    )
    reading.keep("study")


def _patient(home: Path, uid: str) -> str:
    """A stand-in for the patient: a hash, because a published identifier may still be one."""
    from pydicom import dcmread

    for file in sorted(path for path in home.iterdir() if path.is_file()):
        content = file.read_bytes()[:132]
        if content[128:] != b"DICM":
            continue
        header = dcmread(file, stop_before_pixels=True)
        if str(header.get("SeriesInstanceUID", "")) == uid:
            return short_id("patient", str(header.get("PatientID", "")), str(header.get("StudyInstanceUID", ""))[:64])
    return short_id("patient", uid)


def _radiographs(entry: Source, home: Path, folder: str, uid: str, reading: Reading, group: str) -> None:
    from pydicom import dcmread

    for file in sorted(path for path in home.iterdir() if path.is_file()):
        content = file.read_bytes()
        if content[128:132] != b"DICM":
            continue
        header = dcmread(file)
        if str(header.get("SeriesInstanceUID", "")) != uid or "PixelData" not in header:
            continue
        spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
        view = str(header.get("ViewPosition", "") or "").upper()
        plane = "lateral" if view in ("LL", "RL", "LATERAL", "LLAT") else "coronal" if view in ("AP", "PA") else ""
        item = f"{folder}/{file.name}"
        if not plane:
            reading.drop("picture", item, "the view (AP or lateral) is not stated")
            continue
        if not spacing or len(spacing) != 2 or abs(float(spacing[0]) - float(spacing[1])) > 1e-3:
            reading.drop("picture", item, "no square pixel spacing is stated")
            continue
        data, side, size = _radiograph(header, float(spacing[0]))
        facts = _provenance(folder, uid, "plain", hashlib.sha256(content).hexdigest(), "XR")
        facts["image"]["name"] = file.name
        _add_study(
            entry, reading, data, size, side, "XR", cast(Literal["lateral", "coronal"], plane), group or
            _patient(home, uid), facts, (),
        )  # fmt: skip


def _radiograph(header: Any, spacing: float) -> tuple[bytes, float, tuple[int, int]]:
    values = np.asarray(header.pixel_array, dtype=np.float32)
    if values.ndim != 2:
        raise VolumeError("a radiograph with several frames or colours", cure="export single grey images")
    grey = to_uint8(values, percentile_window(values))
    if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        grey = np.asarray(255 - grey, dtype=np.uint8)
    step = max(1, -(-max(grey.shape) // _CANVAS))
    rows, columns = (grey.shape[0] // step) * step, (grey.shape[1] // step) * step
    mean = grey[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    small = np.floor(mean + 0.5).astype(np.uint8)
    return png_bytes(small), spacing * step, (small.shape[0], small.shape[1])


def render_dicom_picture(root: Path, provenance: dict[str, Any]) -> bytes:
    """Make the picture of a study again from its provenance.

    Raises:
        ReadError: The series is missing or its bytes have changed.
    """
    facts = provenance["image"]
    home = root / facts["file"]
    changed = ReadError("differs from the hash in the study's provenance", file=home, cure="fetch the files again")
    try:
        if facts["kind"] == "plain":
            from pydicom import dcmread

            content = (home / facts["name"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != facts["sha256"]:
                raise changed
            header = dcmread(home / facts["name"])
            spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
            return _radiograph(header, float(spacing[0]))[0]
        volume = _load(home, facts["series"], facts["kind"])
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=home, cure="fetch the files again") from error
    if volume.sha256 != facts["sha256"]:
        raise changed
    return _cut(volume, SliceChoice.model_validate(provenance["choice"]))[0]
