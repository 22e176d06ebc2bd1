"""`sources.yaml` read and guarded: nothing enters the pipeline without a known licence and a stated use.

Convention: one file lists all sources; a path is relative to that file. Every refusal names the file, the line, the
field and the cure, and the first one stops the build before anything is written.

Trap: a licence that allows a use does not oblige it. `allowed_use` is the user's own statement and may be narrower than
the licence, never wider.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spinemed.config import load_yaml, resolve_path
from spinemed.errors import ReadError, SourceError
from spinemed.records import Source
from spinemed.tables import file_sha256

__all__ = ["Licence", "known_licences", "read_sources", "source_path", "verify_hashes"]

_TABLE = Path(__file__).with_name("licences.yaml")


@dataclass(frozen=True)
class Licence:
    """One row of the licence table."""

    spdx: str
    allows: tuple[str, ...]
    credit: bool


@functools.cache
def known_licences() -> dict[str, Licence]:
    """The licence table, by SPDX identifier."""
    rows = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return {spdx: Licence(spdx, tuple(row["allows"]), bool(row["credit"])) for spdx, row in rows.items()}


def source_path(sources_file: str | os.PathLike[str], source: Source) -> Path:
    """The folder or file of a source; the folder of `sources.yaml` itself for phantoms."""
    return resolve_path(sources_file, source.path or ".")


def read_sources(path: str | os.PathLike[str]) -> list[Source]:
    """Read, validate and hash-check all sources.

    Raises:
        ReadError: The file is missing.
        ConfigError: It is no YAML or a key stands twice.
        SourceError: A source may not be used; the message names line, field and cure.
    """
    values, lines = load_yaml(path)
    entries = values.get("sources") if isinstance(values, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SourceError("holds no list of sources", file=path, field="sources", cure="write `sources:` and a list")
    strangers = sorted(set(values) - {"sources"})
    if strangers:
        raise SourceError(
            "is no known field", file=path, line=lines.get((strangers[0],)), field=strangers[0], cure="remove it"
        )
    sources: list[Source] = []
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries):
        place = _Place(path, lines, number)
        source = _read_one(entry, place)
        if source.id in seen:
            raise place.fault("id", f"'{source.id}' stands twice, first as source {seen[source.id] + 1}", "rename one")
        seen[source.id] = number
        _check_path(source, place)
        sources.append(source)
    return sources


def verify_hashes(sources_file: str | os.PathLike[str], source: Source) -> None:
    """Hash the listed files again.

    Raises:
        SourceError: A file is missing or its bytes differ from the listed hash.
    """
    _, lines = load_yaml(sources_file)
    root = source_path(sources_file, source)
    for name, expected in source.sha256.items():
        line = next((at for place, at in lines.items() if place[-2:] == ("sha256", name)), None)
        field = f"sources.{source.id}.sha256.{name}"
        try:
            found = file_sha256(root / name if root.is_dir() else root)
        except ReadError as error:
            raise SourceError(
                f"lists a file that cannot be read: {root / name}",
                file=sources_file,
                line=line,
                field=field,
                cure="check `path` and the file name",
            ) from error
        if found != expected:
            raise SourceError(
                f"the bytes of {root / name} have the hash {found}, expected {expected}",
                file=sources_file,
                line=line,
                field=field,
                cure="fetch the file again, or list the new hash after checking what changed",
            )


class _Place:
    """Where an entry stands, for messages."""

    def __init__(self, file: str | os.PathLike[str], lines: dict[tuple[str | int, ...], int], number: int) -> None:
        self.file, self.lines, self.number = file, lines, number

    def fault(self, field: str, problem: str, cure: str) -> SourceError:
        parts: tuple[str | int, ...] = ("sources", self.number, *(p for p in field.split(".") if p))
        line = next((self.lines[parts[:n]] for n in range(len(parts), 0, -1) if parts[:n] in self.lines), None)
        name = ".".join(map(str, parts))
        return SourceError(problem, file=self.file, line=line, field=name, cure=cure)


def _read_one(entry: Any, place: _Place) -> Source:
    if not isinstance(entry, dict):
        raise place.fault("", "is no mapping of fields", "write `- id: ...` and the fields beneath")
    _check_licence(entry, place)
    try:
        source = Source.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), list(Source.model_fields), n=1)
            cure = f"did you mean '{near[0]}'?" if near else f"known fields are {', '.join(Source.model_fields)}"
            raise place.fault(field, "is no known field", cure) from error
        problem = "is required and absent" if first["type"] == "missing" else f"{first['msg']}, got {first['input']!r}"
        raise place.fault(field, problem, "see the fields of Source in spinemed/records/") from error
    if source.origin == "real" and source.kind == "phantom":
        raise place.fault("origin", "is 'real' for a phantom", "write `origin: phantom`; phantoms are never patients")
    if source.origin == "phantom" and source.kind not in ("phantom", "hospital", "nifti"):
        raise place.fault(
            "origin",
            f"is 'phantom' for kind '{source.kind}', which reads files",
            "write `origin: real`, or leave it out",
        )
    if source.kind == "hospital" and source.patients is None:
        raise place.fault(
            "patients", "is absent for hospital cases", "state approval or waiver, agreement and retention_until"
        )
    if source.patients is not None and source.patients.retention_until < datetime.date.today().isoformat():
        raise place.fault(
            "patients.retention_until", "lies in the past", "withdraw the cases, or state the agreement that extends it"
        )
    if (source.kind == "hospital" or source.patients is not None) and source.egress != "local":
        raise place.fault("egress", f"is '{source.egress}' for patients' data", "write `egress: local`")
    if (
        source.origin == "real"
        and source.kind in ("nifti", "verse", "dicom", "hospital")
        and not (source.legal_basis or "").strip()
    ):
        raise place.fault(
            "legal_basis", "is absent for images of people", "state the approval, waiver or public release"
        )
    if source.egress == "listed" and not source.egress_hosts:
        raise place.fault(
            "egress_hosts", "is empty while egress is 'listed'", "list the hosts, or write `egress: local`"
        )
    return source


def _check_licence(entry: dict[str, Any], place: _Place) -> None:
    known = known_licences()
    spdx = entry.get("licence")
    if spdx in (None, ""):
        raise place.fault("licence", "is absent: a source without a licence is not used", "add its SPDX identifier")
    if not isinstance(spdx, str) or spdx not in known:
        near = difflib.get_close_matches(str(spdx), list(known), n=1, cutoff=0.7)
        raise place.fault(
            "licence",
            f"'{spdx}' is not in the table of known licences",
            f"did you mean '{near[0]}'?"
            if near
            else "find out the licence and give its SPDX identifier, such as CC-BY-4.0, or leave the source out",
        )
    licence = known[spdx]
    uses = entry.get("allowed_use")
    if not isinstance(uses, list) or not uses:
        raise place.fault(
            "allowed_use",
            "is absent: nothing may be done with this source",
            f"add a list out of {list(licence.allows)}",
        )
    wider = [str(use) for use in uses if use not in licence.allows]
    if wider:
        raise place.fault(
            "allowed_use",
            f"asks for {', '.join(wider)}, which {spdx} does not grant (it grants {', '.join(licence.allows)})",
            "remove that use",
        )
    if licence.credit and not entry.get("attribution") and entry.get("kind") != "phantom":
        raise place.fault("attribution", f"is absent, and {spdx} asks for credit", "add the credit line of the source")


def _check_path(source: Source, place: _Place) -> None:
    if source.kind == "phantom":
        if source.path is not None:
            raise place.fault("path", "is given for a phantom, which has no file", "remove it")
        return
    if not source.path:
        raise place.fault("path", "is absent", "give the file or folder of the source")
    root = source_path(place.file, source)
    if not os.path.exists(root):  # false, too, for what is no name of a file
        raise place.fault("path", f"does not exist: {root}", "check the path; it is relative to this file")
