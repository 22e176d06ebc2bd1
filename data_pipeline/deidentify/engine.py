"""A hospital's export to a folder that holds nobody: clean notes and images, what is held back, and why.

Convention: `OUT/cases/CASE/` holds what is clean (`case.json`, `notes/`, `images/`), `OUT/held/` what a person must see
(readable by its owner only, and read by no reader), `OUT/deid.jsonl` one record for every text, header and picture,
`OUT/report.json` the counts. Sign-offs are lines of a JSONL file: they hold for exact bytes.

Trap: everything is held back unless its record says `clean`. A failure is counted as held and never quoted.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.deidentify.export import RawCase, read_export
from data_pipeline.deidentify.headers import clean_header, finish_header, quiet_pydicom
from data_pipeline.deidentify.identity import CaseIdentity, identity_from_header
from data_pipeline.deidentify.keys import DeidKey
from data_pipeline.deidentify.pixels import TextFinder, blank_boxes, clean_pixels
from data_pipeline.deidentify.status import DeidRecord, Sealed, SignOff, sign_off, text_hash
from data_pipeline.deidentify.text import Tags, deidentify_text
from spinemed.errors import ReadError, SourceError, SpineMedError
from spinemed.tables import atomic_folder, parse_json, write_json, write_jsonl, write_manifest

__all__ = ["age_band", "deidentify_export"]

_WITHDRAWN = "withdrawn.jsonl"
_IMAGES = frozenset({"CT", "MR", "CR", "DX"})
_BELOW_THE_NECK = ("LSPINE", "LUMBAR", "TSPINE", "THORAC", "SACR", "COCC", "PELVIS", "ABDOMEN", "CHEST", "LSSPINE")
_ABOVE = re.compile(
    r"CERV|HEAD|BRAIN|NECK|WHOLE|FULL|TOTAL|ENTIRE|SKULL|CRANI|FACE|FACIAL|ORBIT|SINUS|JAW|MANDIB|MAXILL|DENTAL|PITUIT|"
    r"(?<![A-Z])C[\W_]{0,3}SPINE|(?<![A-Z])C[\W_]+T(?![A-Z])|(?<![A-Z])CTL(?![A-Z])|(?<![A-Z])C[0-7](?!\d)|"
    r"[颈頸头頭颅顱脑腦面全]"
)
"""Whatever else a header says, a place above the shoulders may show a face."""
# What pydicom and its decoders raise on broken files. None of it may escape: such messages quote the values.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SpineMedError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass
class _Account:
    records: list[DeidRecord] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def age_band(age: int | None) -> str:
    """Ten years wide, open at 90; `unknown` without an age."""
    if age is None:
        return "unknown"
    return "90+" if age >= 90 else f"{age // 10 * 10}-{age // 10 * 10 + 9}"


def deidentify_export(
    export: Path,
    out: Path,
    key: DeidKey,
    *,
    site: str,
    finder: TextFinder | None,
    decisions: Iterable[SignOff] = (),
) -> dict[str, Any]:
    """De-identify all patients of an export.

    Args:
        export: As `export.py` says.
        out: Replaced as a whole when all is done.
        key: The project's key.
        site: Code of the site, e.g. `site-03`: no name.
        finder: Who looks for text in pictures; None holds every picture back.
        decisions: A person's sign-offs.

    Returns:
        Counts: patients, notes, images, kept and held, masked places by category.

    Raises:
        ReadError: There is no patient in the export.
    """
    signed = list(decisions)
    account = _Account()
    withdrawn = _withdrawn(out)
    seen: set[str] = set()
    with atomic_folder(out) as folder:
        held = folder / "held"
        held.mkdir(mode=0o700)
        for found in read_export(export):
            account.counts["patients"] += 1
            if isinstance(found, ReadError):
                account.counts["patients held: unreadable"] += 1
                continue
            name = key.pseudonym(found.patient.open_for_deidentification())
            if name in withdrawn:
                account.counts["patients left out: withdrawn"] += 1
                continue
            if name in seen:
                account.counts["patients held: their record number stands twice"] += 1
                continue
            seen.add(name)
            account.counts.update(f"files not read: {ending}" for ending in found.unread)
            _case(found, folder, key, site, finder, signed, account)
        write_jsonl(folder / "deid.jsonl", account.records)
        if withdrawn:
            (folder / _WITHDRAWN).write_bytes((out / _WITHDRAWN).read_bytes())
        report = {"counts": dict(sorted(account.counts.items())), "text_finder": getattr(finder, "name", "none")}
        write_json(folder / "report.json", report)
        write_manifest(folder, "deidentified")
    return report


def _withdrawn(out: Path) -> set[str]:
    """Pseudonyms that were withdrawn from what stands at `out`; they never come back under the same key."""
    file = out / _WITHDRAWN
    if not file.is_file():
        return set()
    return {str(parse_json(line)["case_id"]) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()}


def _case(
    raw: RawCase,
    folder: Path,
    key: DeidKey,
    site: str,
    finder: TextFinder | None,
    signed: list[SignOff],
    account: _Account,
) -> None:
    patient = raw.patient.open_for_deidentification()
    name = key.pseudonym(patient)
    tags = Tags(key.shift(patient))
    headers, identity = _headers(raw)
    home = folder / "cases" / name
    (home / "notes").mkdir(parents=True)
    first = min((note.day for note in raw.notes), default=None)
    events = []
    for number, note in enumerate(raw.notes):
        id_ = f"{name}/notes/{number:03d}"
        account.counts["notes"] += 1
        try:
            result = deidentify_text(note.text, identity, tags, id_=id_)
        except ValueError:
            account.counts["notes held: too long to search"] += 1
            continue
        account.counts.update({f"masked in notes: {category}": n for category, n in result.record.counts.items()})
        try:
            passed = sign_off(result.text, result.record, signed)
        except SourceError:
            account.counts["notes held"] += 1
            account.records.append(result.record)
            _hold(folder, f"{name}-note-{number:03d}.txt", result.text.encode())
            continue
        account.records.append(passed.record)
        account.counts["notes kept"] += 1
        (home / "notes" / f"{number:03d}.txt").write_text(passed.value, encoding="utf-8")
        assert first is not None
        events.append({"day": (note.day - first).days, "kind": note.kind, "note": f"notes/{number:03d}.txt"})
    images = _images(raw, headers, identity, name, home, key, finder, signed, account, folder)
    case = {
        "case_id": name, "site": site, "sex": raw.sex, "age_band": age_band(raw.age), "language": raw.language,
        "events": events, "images": images,
    }  # fmt: skip
    write_json(home / "case.json", case)


def _hold(folder: Path, name: str, content: bytes) -> None:
    handle = os.open(folder / "held" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)


def _headers(raw: RawCase) -> tuple[list[Any], CaseIdentity]:
    """The data sets of a case (None where one is damaged) and all values that its headers know."""
    from pydicom import dcmread

    identity, found = raw.identity, []
    with quiet_pydicom():
        for file in raw.images:
            try:
                dataset = dcmread(io.BytesIO(file.read_bytes()))
                identity = identity.joined(identity_from_header(dataset))
                found.append(dataset)
            except _DAMAGE:
                found.append(None)
    return found, identity


def _images(
    raw: RawCase,
    headers: list[Any],
    identity: CaseIdentity,
    name: str,
    home: Path,
    key: DeidKey,
    finder: TextFinder | None,
    signed: list[SignOff],
    account: _Account,
    folder: Path,
) -> list[str]:
    kept = []
    for number, dataset in enumerate(headers):
        id_ = f"{name}/images/{number:05d}"
        account.counts["images"] += 1
        try:
            why = _no_picture(dataset)
            content, records = (b"", []) if why else _one_image(dataset, identity, key, raw, finder, id_)
        except _DAMAGE:
            why = "damaged"
        if not why:
            try:
                cleared = [sign_off(None, record, signed).record for record in records]
                account.records += cleared
                (home / "images").mkdir(exist_ok=True)
                (home / "images" / f"{number:05d}.dcm").write_bytes(content)
                kept.append(f"images/{number:05d}.dcm")
                account.counts["images kept"] += 1
                continue
            except SourceError:
                account.records += records
                why = "; ".join(sorted({point for record in records for point in record.open_points}))
                _hold(folder, f"{name}-image-{number:05d}.dcm", content)
        account.counts[f"images held: {why}"] += 1
    return kept


def _no_picture(dataset: Any) -> str:
    """Why a data set is no image that may go on; empty for one that may."""
    if dataset is None or "PixelData" not in dataset:
        return "damaged, or no image"
    given = dataset.get("ImageType") or []
    kind = [str(part).strip().upper() for part in ([given] if isinstance(given, str) else given)]
    if str(dataset.get("Modality", "")) not in _IMAGES or "SECONDARY" in kind or "SCREEN SAVE" in kind:
        return "secondary capture, screen save or another object"
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        return "colour"
    return ""


def _one_image(
    dataset: Any, identity: CaseIdentity, key: DeidKey, raw: RawCase, finder: TextFinder | None, id_: str
) -> tuple[bytes, list[DeidRecord]]:
    """The cleaned file and the records of header, pixels and face."""
    from pydicom.uid import ExplicitVRLittleEndian

    from spinemed.volume.decode import stored_pixels

    with quiet_pydicom():
        part = " ".join(
            str(dataset.get(tag, "")) for tag in ("BodyPartExamined", "SeriesDescription", "StudyDescription")
        )
        header = clean_header(dataset, identity, key, raw.patient.open_for_deidentification(), id_=id_)
        stored = np.array(stored_pixels(dataset))
        planes = stored if stored.ndim == 3 else stored[None]
        records = [header]
        for frame, plane in enumerate(planes):
            result = clean_pixels(Sealed(_grey(plane)), finder, id_=id_ if len(planes) == 1 else f"{id_}#{frame}")
            blank_boxes(plane, list(result.boxes))
            records.append(result.record)
        dataset.PixelData = np.ascontiguousarray(stored).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if all(record.status == "clean" for record in records):
            finish_header(dataset)
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
    content = stream.getvalue()
    below = _below_the_neck(part)
    records.append(
        DeidRecord(
            id=id_,
            kind="face",
            status="clean" if below else "unknown",
            method="the header says it lies below the neck" if below else "nobody looked",
            result_sha256=text_hash(content.hex()),
            open_points=() if below else ("the head may be in view",),
        )
    )
    return content, records


def _below_the_neck(part: str) -> bool:
    """Whether the words of a header place an image below the neck, and none of them above."""
    words = part.upper()
    return any(word in re.sub(r"[\W_]+", "", words) for word in _BELOW_THE_NECK) and not _ABOVE.search(words)


def _grey(plane: Any) -> Any:
    low, high = np.percentile(plane, [0.5, 99.9])
    return np.round(255 * np.clip((plane - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)
