"""One scan after another: what is done is kept, what fails is named, and the others go on.

Convention: a scan's files are made in a hidden folder, moved to their places together, and followed by
`OUT/cases/NAME.COMMAND.json` (:class:`CaseRecord`), which holds the hash of all that went in (files, settings, code)
and of all that came out. A scan whose record says the same is not done again; one that has changed, or that fails now,
loses the files of the earlier run.

The trap: two commands may share a folder, so each has records of its own; nothing that is not in a record is touched.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spinemed import __version__
from spinemed.errors import ReadError, SpineMedError
from spinemed.records import content_hash
from spinemed.run import alone_in, make_folder
from spinemed.tables import file_sha256, parse_json, write_text
from spinemed.vertebra.files import Scan
from spinemed.vertebra.records import CaseRecord, FileFact

__all__ = ["CASES", "Summary", "Work", "inputs_of", "run_scans"]

CASES = "cases"

Work = Callable[[Scan, dict[str, FileFact], Path], None]
"""Takes a scan, the hashes of its files and an empty folder, and writes everything into it."""


@dataclass(frozen=True)
class Summary:
    """Names of the scans done now and of those kept from an earlier run; and what failed."""

    done: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[tuple[str, SpineMedError], ...]


@cache
def _code_sha256() -> str:
    """Hash of the code that decides the results: those of an older version are not taken for this one's."""
    import spinemed.geometry
    import spinemed.labelling
    import spinemed.measure
    import spinemed.vertebra
    import spinemed.volume

    digest = hashlib.sha256(__version__.encode())
    for package in (spinemed.geometry, spinemed.labelling, spinemed.measure, spinemed.vertebra, spinemed.volume):
        root = Path(package.__path__[0])
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.j2"), *root.rglob("*.css")]):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def inputs_of(scan: Scan) -> dict[str, FileFact]:
    """Name and hash of each file of a scan.

    Raises:
        ReadError: a file is missing or cannot be read.
    """
    return {what: FileFact(name=scan.files[what].name, sha256=sha256) for what, sha256 in scan.hashes().items()}


def run_scans(
    scans: Sequence[Scan],
    out: Path,
    command: str,
    settings: Mapping[str, Any],
    work: Work,
    *,
    advance: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Do what is missing, scan by scan.

    Args:
        scans: The scans.
        out: Folder to write.
        command: Which verb; its records carry the name.
        settings: All that decides the results beside the files and the code.
        work: Does one scan.
        advance: Called with 1 after each scan.
        say: Takes one line per scan that failed.

    Raises:
        RunError: the folder cannot be made, or another process works in it.
    """
    folder = make_folder(out)
    done: list[str] = []
    kept: list[str] = []
    failed: list[tuple[str, SpineMedError]] = []
    with alone_in(folder, f"writing into this folder (spinemed vertebra {command})"):
        for scan in scans:
            record = folder / CASES / f"{scan.name}.{command}.json"
            inputs: dict[str, FileFact] = {}
            key = ""
            try:
                inputs = inputs_of(scan)
                facts = {name: fact.model_dump() for name, fact in inputs.items()}
                key = content_hash({"code": _code_sha256(), "settings": dict(settings), "files": facts})
                if _held(record, key, folder):
                    kept.append(scan.name)
                else:
                    _forget(record, folder)
                    written = _made(scan, inputs, folder, command, work)
                    _write(record, _record(scan, command, key, "done", inputs, files=written))
                    done.append(scan.name)
            except SpineMedError as error:
                failed.append((scan.name, error))
                said = {"error": str(error), "error_kind": type(error).__name__}
                _forget(record, folder)
                _write(record, _record(scan, command, key, "failed", inputs, **said))
                say(str(error))
            advance(1)
    return Summary(tuple(done), tuple(kept), tuple(failed))


def _made(scan: Scan, inputs: dict[str, FileFact], folder: Path, command: str, work: Work) -> dict[str, str]:
    """Hashes of what was written, by name."""
    staging = folder / f".{scan.name}.{command}.partial"
    shutil.rmtree(staging, ignore_errors=True)  # left by a kill
    staging.mkdir(parents=True)
    try:
        work(scan, inputs, staging)
        names = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        written = {name: file_sha256(staging / name) for name in names}
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return written


def _record(scan: Scan, command: str, key: str, status: str, inputs: dict[str, FileFact], **facts: Any) -> CaseRecord:
    values = {"case": scan.name, "command": command, "key": key, "status": status, "inputs": inputs, **facts}
    return CaseRecord.model_validate(values)


def _write(path: Path, record: CaseRecord) -> None:
    write_text(path, record.model_dump_json(indent=1) + "\n")


def _read(path: Path) -> CaseRecord | None:
    """The record of an earlier run; None if there is none, or one of another version."""
    try:
        return CaseRecord.model_validate(parse_json(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def _held(path: Path, key: str, folder: Path) -> bool:
    """Whether an earlier run did exactly this and its files are still what it wrote."""
    known = _read(path)
    if known is None or known.key != key or known.status != "done":
        return False
    try:
        return all(file_sha256(folder / name) == sha256 for name, sha256 in known.files.items())
    except ReadError:
        return False


def _forget(path: Path, folder: Path) -> None:
    """Remove what an earlier run of this command wrote for a scan, its record last."""
    known = _read(path)
    for name in known.files if known is not None else ():
        target = folder / name
        if target.resolve().is_relative_to(folder.resolve()):
            target.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
