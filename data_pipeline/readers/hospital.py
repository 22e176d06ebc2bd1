"""Hospital cases: the folder that `spinemed data deidentify` wrote, as timelines with an id for every sentence.

Convention: a case is one document: an event a section (`day 3: imaging_report`, days counted from the first note), a
sentence a span with the address `event 2 sentence 5`. Its images become studies of the same group through the DICOM
reader, in the sandbox. The case's own record (`Case`) ties events to spans and studies.

Trap: nothing is taken on trust. A note enters only when a clean record names the hash of exactly its words, an image
only when header, pixels and face are clean; the folder's manifest is checked byte by byte first. `held/` is never read.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_pipeline.deidentify.export import NOTE_KINDS
from data_pipeline.deidentify.status import DeidRecord, text_hash
from data_pipeline.readers.dicom import read_series
from data_pipeline.readers.documents import add_document
from data_pipeline.readers.files import FileOptions
from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.slices import MOST_SLICES
from spinemed.errors import SourceError
from spinemed.records import Case, CaseEvent, Source, content_hash
from spinemed.tables import parse_json, read_jsonl, read_manifest

__all__ = ["HospitalOptions", "read_hospital", "sentences"]

_CASE = re.compile(r"case-[0-9a-f]{12}")
_ENDS = re.compile(r"(?<=[。！？；])|(?<=[.!?])\s+(?=[A-Z\[\u4e00-\u9fff])|\n+")
_ABBREVIATION = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|No|vs|approx|Fig|e\.g|i\.e|St|cf)\.$")


class HospitalOptions(FileOptions):
    """Options of a `hospital` source."""

    most_slices: int = Field(default=MOST_SLICES, ge=0, le=MOST_SLICES)
    """Of one volume; 0 reads no images."""
    wall_s: float = 300.0
    """Longest time that reading one case may take."""
    cpu_s: float = 200.0
    """Longest processor time of it."""
    memory_mib: int = 2048
    """Most memory of it."""


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    day: int = Field(ge=0)
    """Days from the first note."""
    kind: str
    """What kind of event it was."""
    note: str
    """File of its note."""


class _CaseFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    case_id: str
    """Pseudonym."""
    site: str
    """Code of the hospital."""
    sex: str
    """As recorded."""
    age_band: str
    """Ten years wide."""
    language: str
    """Of the notes."""
    events: list[_Event]
    """What happened, in the order of days."""
    images: list[str]
    """Files of its images."""


def read_hospital(source: Source, root: Path) -> Reading:
    """Read all cases of a de-identified folder.

    Raises:
        ReadError: It is no finished folder of `spinemed data deidentify`, or a file of it was changed.
        SourceError: It has no record of what was cleared.
    """
    options = read_options(source, HospitalOptions)
    read_manifest(root, "deidentified", verify=True)
    table = root / "deid.jsonl"
    if not table.is_file():
        raise SourceError("holds no de-identification records", file=root, cure="run `spinemed data deidentify` again")
    records: dict[str, list[DeidRecord]] = {}
    for record in read_jsonl(table, DeidRecord):
        records.setdefault(record.id.split("#")[0], []).append(record)
    reading = Reading(source.id)
    for folder in sorted(path for path in (root / "cases").glob("*") if path.is_dir()):
        if not _CASE.fullmatch(folder.name):
            reading.drop("case", "a folder", "its name is no pseudonym")
            continue
        _case(source, root, folder, records, options, reading)
    return reading


def _case(
    source: Source,
    root: Path,
    folder: Path,
    records: dict[str, list[DeidRecord]],
    options: HospitalOptions,
    reading: Reading,
) -> None:
    name = folder.name
    try:
        facts = _CaseFile.model_validate(parse_json((folder / "case.json").read_bytes()))
    except (OSError, ValueError, ValidationError):
        reading.drop("case", name, "case.json is missing or broken", failed=True)
        return
    data = (folder / "case.json").read_bytes()
    blocks = Blocks(short_id("doc", source.id, name, content_hash(facts.model_dump(mode="json"))))
    blocks.add("heading", f"Case {name}: sex {facts.sex}, age {facts.age_band}", "case", "case")
    events: list[CaseEvent] = []
    cleared: list[str] = []
    for number, event in enumerate(facts.events):
        item = f"{name}/{event.note}"
        text = _cleared_text(folder, event.note, records.get(f"{name}/{event.note.removesuffix('.txt')}", []))
        cleared += [] if text is None else [text_hash(text)]
        if text is None or event.kind not in NOTE_KINDS:
            reading.drop("note", item, "no clean record of these words", failed=True)
            continue
        section = f"day {event.day}: {event.kind}"
        blocks.add("heading", section, section, f"event {number}")
        ids = [
            blocks.add("paragraph", words, section, f"event {number} sentence {k}")
            for k, words in enumerate(sentences(text))
        ]
        events.append(
            CaseEvent(day=event.day, kind=event.kind, span_ids=tuple(span for span in ids if span is not None))  # type: ignore[arg-type]
        )
        reading.keep("note")
    studies = _images(source, root, folder, facts, records, options, reading)
    if not events and not studies:
        reading.drop("case", name, "nothing of it is clean")
        return
    if studies:
        found = (r for image in facts.images for r in records[f"{name}/{image.removesuffix('.dcm')}"])
        cleared += [record.result_sha256 for record in found]
        events.append(CaseEvent(day=None, kind="imaging", study_ids=tuple(studies)))
    add_document(reading, source, blocks, f"cases/{name}/case.json", data, f"Case {name}")
    document = reading.documents[-1].model_copy(update={"group_id": f"{source.id}:{name}"})
    reading.documents[-1] = document
    reading.cases.append(
        Case(
            id=name,
            source_id=source.id,
            group_id=document.group_id,
            document_id=document.id,
            site=facts.site,
            sex=facts.sex,  # type: ignore[arg-type]
            age_band=facts.age_band,
            language=document.language,
            events=tuple(events),
            cleared=tuple(cleared),
        )
    )
    reading.keep("case")


def _cleared_text(folder: Path, note: str, records: list[DeidRecord]) -> str | None:
    path = folder / note
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    held = [r for r in records if r.kind == "text" and r.status == "clean" and r.result_sha256 == text_hash(text)]
    return text if held else None


def _images(
    source: Source,
    root: Path,
    folder: Path,
    facts: _CaseFile,
    records: dict[str, list[DeidRecord]],
    options: HospitalOptions,
    reading: Reading,
) -> list[str]:
    if not facts.images or options.most_slices == 0:
        return []
    unclear = 0
    for image in facts.images:
        found = records.get(f"{folder.name}/{image.removesuffix('.dcm')}", [])
        kinds = {record.kind for record in found if record.status == "clean"}
        unclear += not (kinds >= {"header", "pixels", "face"} and all(r.status == "clean" for r in found))
    listed = {(folder / image).resolve() for image in facts.images}
    files = (path for path in (folder / "images").rglob("*") if path.is_file())
    present = {path.resolve() for path in files if path.name not in ("slices.yaml", "mask.nii.gz")}
    if unclear or present - listed:
        reading.drop("image folder", folder.name, "not every file has clean records", failed=True)
        return []
    part = read_series(source, root, options.limits, options.most_slices, group=folder.name, under=folder / "images")
    reading.add(part)
    return [study.id for study in part.studies]


def sentences(text: str) -> list[str]:
    """Sentences of an English or Chinese note; abbreviations and decimals do not end one."""
    out: list[str] = []
    for piece in (part.strip() for part in _ENDS.split(text) if part and part.strip()):
        if out and _ABBREVIATION.search(out[-1]):
            out[-1] = f"{out[-1]} {piece}"
        else:
            out.append(piece)
    return out
