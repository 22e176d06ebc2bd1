"""A hospital's export as it comes: one folder per patient, or two CSV tables; everything sealed.

Convention, folders: `EXPORT/ANY/registration.csv` (a header and one row), notes as `DATE_KIND.txt`, DICOM files
anywhere beneath. Tables: `EXPORT/patients.csv` (one row a patient) and `EXPORT/notes.csv` (record_number, date, kind,
text). Dates are ISO. Kinds are those of `NOTE_KINDS`.

Trap: folder and file names of an export hold names and numbers. Errors therefore name a patient by place in the export
(`patient 3`), never by file.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data_pipeline.deidentify.identity import CaseIdentity, identity_from_row
from data_pipeline.deidentify.status import Sealed
from spinemed.errors import ReadError

__all__ = ["NOTE_KINDS", "RawCase", "RawNote", "read_export"]

NOTE_KINDS = ("history", "examination", "imaging_report", "operation_note", "follow_up", "laboratory", "discharge")
_RECORD = ("record_number", "mrn", "住院号", "病案号")
_IMAGES = (".dcm", ".ima", "")
_USUAL = frozenset(
    {".csv", ".doc", ".docx", ".htm", ".html", ".json", ".md", ".odt", ".pdf", ".rtf", ".txt", ".xls", ".xlsx", ".xml"}
    | {".avi", ".bmp", ".gif", ".jpeg", ".jpg", ".mp4", ".nii", ".png", ".tif", ".tiff", ".gz", ".hl7", ".zip"}
)
_MOST_BYTES = 8 << 20
_MOST_TABLE_BYTES = 256 << 20


@dataclass(frozen=True)
class RawNote:
    """One note, sealed, on its day."""

    day: datetime.date
    kind: str
    text: Sealed[str]


@dataclass(frozen=True)
class RawCase:
    """One patient of an export. Nothing of it may be shown."""

    place: int
    """Counted from 1 in the order of the export."""
    patient: Sealed[str]
    """What the pseudonym is made from: the record number."""
    identity: CaseIdentity
    sex: str
    age: int | None
    language: str
    notes: tuple[RawNote, ...]
    images: tuple[Path, ...]
    site: str = ""
    unread: tuple[str, ...] = ()
    """Endings of files in the patient's folder that are neither notes nor images: they stay where they are."""

    def __repr__(self) -> str:
        return f"<raw case {self.place}>"


def read_export(root: Path) -> Iterator[RawCase | ReadError]:
    """Read an export patient by patient; a patient who cannot be read is an error in the stream, not the end of it.

    Raises:
        ReadError: The folder holds neither `patients.csv` nor a folder with `registration.csv`.
    """
    if (root / "patients.csv").is_file():
        yield from _from_tables(root)
        return
    folders = sorted(path.parent for path in root.glob("*/registration.csv"))
    if not folders:
        raise ReadError(
            "holds no patient",
            file=root,
            cure="give a folder with patients.csv, or one folder a patient with registration.csv",
        )
    for place, folder in enumerate(folders, start=1):
        try:
            yield _from_folder(place, folder)
        except ReadError as error:
            yield error
        except (OSError, UnicodeDecodeError, csv.Error, ValueError):
            # `from None` and no detail: the original message quotes what stood in the file.
            yield _fault(place, "cannot be read", "registration.csv")


def _fault(place: int, problem: str, field: str) -> ReadError:
    where = f"patient {place}" if place else "the export"
    return ReadError(problem, file=where, field=field, cure="see the layout in data_pipeline/deidentify/export.py")


def _rows(path: Path, place: int) -> list[dict[str, str]]:
    try:
        data = path.read_bytes()
        if len(data) > _MOST_TABLE_BYTES:
            raise _fault(place, "is larger than 256 MiB", path.name)
        return [
            {str(key): value or "" for key, value in row.items() if key is not None}
            for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
        ]
    except (OSError, UnicodeDecodeError, csv.Error):
        # `from None` and no detail: the original message quotes what stood in the file.
        raise _fault(place, "is no readable UTF-8 table", path.name) from None


def _from_folder(place: int, folder: Path) -> RawCase:
    rows = _rows(folder / "registration.csv", place)
    if len(rows) != 1:
        raise _fault(place, f"has {len(rows)} rows, expected one", "registration.csv")
    notes = []
    for file in sorted(folder.glob("*.txt")):
        date, _, kind = file.stem.partition("_")
        if file.stat().st_size > _MOST_BYTES:
            raise _fault(place, "a note is larger than 8 MiB", "notes")
        notes.append(_note(place, date, kind, file.read_bytes().decode("utf-8-sig")))
    files = _files(place, folder)
    images = tuple(path for path in files if path.suffix.lower() in _IMAGES)
    known = {folder / "registration.csv", *folder.glob("*.txt")}
    unread = tuple(_ending(path) for path in files if path not in known and path not in images)
    return replace(_case(place, rows[0], notes, images), unread=unread)


def _ending(path: Path) -> str:
    """A file's ending if it is a usual one; anything else could be a name."""
    return path.suffix.lower() if path.suffix.lower() in _USUAL else "other"


def _from_tables(root: Path) -> Iterator[RawCase | ReadError]:
    rows = _rows(root / "patients.csv", 0)
    notes: dict[str, list[dict[str, str]]] = {}
    if (root / "notes.csv").is_file():
        for row in _rows(root / "notes.csv", 0):
            notes.setdefault(_record_of(row), []).append(row)
    for place, row in enumerate(rows, start=1):
        record = _record_of(row)
        try:
            # Without a number nothing is this patient's: notes without one could be anybody's.
            rows_of = notes.pop(record, []) if record else []
            own = [_note(place, n.get("date", ""), n.get("kind", ""), n.get("text", "")) for n in rows_of]
            folder = root / "dicom" / record
            # A record number that is a path must not lead out of the export.
            inside = bool(record) and folder.resolve().parent == (root / "dicom").resolve()
            images = _files(place, folder) if inside and folder.is_dir() else ()
            yield _case(place, row, own, images)
        except ReadError as error:
            yield error
    for place, _ in enumerate(notes, start=len(rows) + 1):
        yield _fault(place, "has notes and no row in patients.csv of its own", "record_number")


def _files(place: int, folder: Path) -> tuple[Path, ...]:
    """All files beneath a patient's folder; a link out of it leads to somebody else's."""
    files = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    if not all(path.resolve().is_relative_to(folder.resolve()) for path in files):
        raise _fault(place, "a link leads out of the patient's folder", "images")
    return files


def _record_of(row: dict[str, str]) -> str:
    """The record number of a row, whatever the case of its column's name; empty without one."""
    lower = {key.strip().lower(): value.strip() for key, value in row.items()}
    return next((lower[name] for name in _RECORD if lower.get(name)), "")


def _note(place: int, date: str, kind: str, text: str) -> RawNote:
    if kind not in NOTE_KINDS:
        raise _fault(place, f"a note of a kind that is none of {', '.join(NOTE_KINDS)}", "kind")
    try:
        day = datetime.date.fromisoformat(date.strip())
    except ValueError:
        raise _fault(place, "a note without an ISO date", "date") from None
    return RawNote(day, kind, Sealed(text))


def _case(place: int, row: dict[str, str], notes: list[RawNote], images: tuple[Path, ...]) -> RawCase:
    lower = {key.strip().lower(): value.strip() for key, value in row.items()}
    record = _record_of(row)
    if not record:
        raise _fault(place, "has no record number, which the pseudonym is made from", "record_number")
    age = lower.get("age") or lower.get("年龄") or ""
    language = (
        "zh"
        if any("\u4e00" <= sign <= "\u9fff" for note in notes for sign in note.text.open_for_deidentification())
        else "en"
    )
    return RawCase(
        place=place,
        patient=Sealed(record),
        identity=identity_from_row(row),
        sex={"m": "M", "male": "M", "男": "M", "f": "F", "female": "F", "女": "F"}.get(
            (lower.get("sex") or lower.get("性别") or "").lower(), "O"
        ),
        age=int(age) if age.isdecimal() and len(age) <= 3 else None,
        language=language,
        notes=tuple(sorted(notes, key=lambda note: (note.day, NOTE_KINDS.index(note.kind)))),
        images=images,
    )
