"""The originals of what was de-identified, for the comparison before and after: found again, never copied.

Convention: a site may name, in `quarantine.json` of the data folder, the export and the key file that belong to a
folder of de-identified results. A record names a pseudonym and a number; with the key every patient's pseudonym is
made anew until it fits, so no table of who is who is ever written. Without that file only the results are shown.

Trap: everything here is protected information. It stays `Sealed` until a page that a data manager asked for, and the
log holds that it was asked for.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from data_pipeline.deidentify.export import RawCase, read_export
from data_pipeline.deidentify.headers import quiet_pydicom
from data_pipeline.deidentify.keys import read_key
from data_pipeline.deidentify.status import Sealed
from spinemed.errors import ReadError, SpineMedError
from spinemed.tables import parse_json, write_json

__all__ = ["QUARANTINE", "find_original", "name_originals"]

QUARANTINE = "quarantine.json"
_RECORD = re.compile(r"^([A-Za-z0-9_.-]{1,100})/(notes|images)/(\d{3,8})(?:#\d{1,6})?$")
_MOST_BYTES = 512 << 20


def name_originals(data: Path, folder: Path, export: Path, key: Path) -> None:
    """State where the originals of a folder of results lie; the files themselves are not touched.

    Raises:
        ReadError: the export or the key file is not there.
    """
    for path, what in ((export, "export"), (key, "key")):
        if not path.exists():
            raise ReadError("is not there", field=what, cure="give the folder and the key that were used")
    known = _known(data)
    known[str(folder.resolve())] = {"export": str(export.resolve()), "key": str(key.resolve())}
    write_json(data / QUARANTINE, known)


def find_original(data: Path, folder: str, record_id: str) -> Sealed[str] | Sealed[Any] | None:
    """The original text or DICOM data set of a record; None where it is not known or cannot be read.

    Args:
        data: The review's data folder.
        folder: Of the results.
        record_id: `PSEUDONYM/notes/000` or `PSEUDONYM/images/00000`.
    """
    place = _known(data).get(folder)
    match = _RECORD.match(record_id)
    if place is None or match is None:
        return None
    name, kind, number = match[1], match[2], int(match[3])
    try:
        raw = _patient(Path(place["export"]), Path(place["key"]), name)
    except SpineMedError:
        return None
    if raw is None:
        return None
    if kind == "notes":
        return raw.notes[number].text if number < len(raw.notes) else None
    return _dataset(raw.images[number]) if number < len(raw.images) else None


def _known(data: Path) -> dict[str, dict[str, str]]:
    file = data / QUARANTINE
    if not file.is_file():
        return {}
    try:
        found = parse_json(file.read_bytes())
    except ValueError as error:
        raise ReadError("is no JSON", file=QUARANTINE, cure="name the originals again") from error
    return {str(key): dict(value) for key, value in found.items()}


def _patient(export: Path, key_file: Path, name: str) -> RawCase | None:
    key = read_key(key_file)
    for case in read_export(export):
        if isinstance(case, RawCase) and key.pseudonym(case.patient.open_for_deidentification()) == name:
            return case
    return None


def _dataset(path: Path) -> Sealed[Any] | None:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    if path.stat().st_size > _MOST_BYTES:
        return None
    try:
        with quiet_pydicom():
            return Sealed(dcmread(io.BytesIO(path.read_bytes())))
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError):
        return None
