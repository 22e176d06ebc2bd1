"""A case withdrawn: its data removed, the releases that held it built again, and everything that saw it listed.

Convention: the case's folder and records leave the de-identified folder at once; a line without content goes into
`withdrawn.jsonl` beside it, and a later de-identification leaves the case out. Runs below the given folders are
searched: a release that held the case is built again from its own config, and checkpoints trained on it are named,
not deleted. Request logs of those runs are named, too: they hold what a model was shown, by hash and not by case.

Trap: weights cannot forget on request. What a checkpoint learned from a case stays in it: the list says which ones to
retire and train again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from data_pipeline.deidentify.status import DeidRecord
from data_pipeline.sources import read_sources, source_path
from spinemed.errors import ReadError, SourceError
from spinemed.records import Record, Sha256
from spinemed.tables import MANIFEST, read_jsonl, read_manifest, read_records, write_jsonl, write_manifest

__all__ = ["WITHDRAWN", "Withdrawal", "Withdrawn", "find_checkpoints", "find_releases", "withdraw_case"]

WITHDRAWN = "withdrawn.jsonl"
_CASE = re.compile(r"case-[0-9a-f]{12}")


class Withdrawn(Record):
    """One line of `withdrawn.jsonl`."""

    case_id: str
    reason: str = ""


class _Group(Record):
    group_id: str


class Withdrawal(Record):
    """What a withdrawal did and found."""

    case_id: str
    removed_from: tuple[str, ...]
    """De-identified folders that held it."""
    releases: dict[str, Sha256] = Field(default_factory=dict)
    """Release folder -> its hash before, for each that held the case."""
    checkpoints: dict[str, Sha256] = Field(default_factory=dict)
    """Checkpoint folder -> hash of the release it was trained on."""
    logs: tuple[str, ...] = ()
    """Request logs of the runs that held it: what a model was shown of the case stands there."""


def withdraw_case(case_id: str, sources_file: Path, searched: Iterable[Path], *, reason: str = "") -> Withdrawal:
    """Remove a case and find what held it. Releases are rebuilt by the caller (`spinemed data withdraw`).

    Args:
        case_id: The pseudonym.
        sources_file: Lists the hospital sources.
        searched: Folders below which runs, releases and checkpoints lie.
        reason: A word for the record, e.g. `consent withdrawn`; no names.

    Raises:
        SourceError: No hospital source holds or held the case, or it is no pseudonym.
        ReadError: A folder of the case cannot be removed; the case is listed as withdrawn all the same.
    """
    homes = [source_path(sources_file, source) for source in read_sources(sources_file) if source.kind == "hospital"]
    # An empty name is the folder of all cases: only a whole pseudonym names one.
    named = _CASE.fullmatch(case_id) is not None
    known = [h for h in homes if named and ((h / "cases" / case_id).is_dir() or case_id in _withdrawn(h))]
    if not known:
        raise SourceError(
            f"no hospital source holds the case '{case_id}'", file=sources_file, field="CASE",
            cure="give a pseudonym as `cases/` lists them",
        )  # fmt: skip
    places = list(searched)
    releases = find_releases(case_id, places)
    checkpoints = find_checkpoints(set(releases.values()), places)
    for home in known:
        _remove(home, case_id, reason)
    return Withdrawal(
        case_id=case_id, removed_from=tuple(str(home) for home in known), releases=releases, checkpoints=checkpoints,
        logs=_logs(releases),
    )  # fmt: skip


def _logs(releases: Iterable[str]) -> tuple[str, ...]:
    """Request logs beside releases (RUN/outputs/release, RUN/scratch/requests)."""
    folders = (Path(release).parent.parent / "scratch" / "requests" for release in releases)
    return tuple(str(folder) for folder in folders if next(folder.rglob("*.jsonl"), None) is not None)


def _withdrawn(home: Path) -> set[str]:
    file = home / WITHDRAWN
    return {line.case_id for line in read_jsonl(file, Withdrawn)} if file.is_file() else set()


def _remove(home: Path, case_id: str, reason: str) -> None:
    """The line first, then the data, then the manifest: a kill in between leaves a case that is listed as withdrawn."""
    file = home / WITHDRAWN
    lines = list(read_jsonl(file, Withdrawn)) if file.is_file() else []
    if case_id not in {line.case_id for line in lines}:
        write_jsonl(file, [*lines, Withdrawn(case_id=case_id, reason=reason)])
    folder = home / "cases" / case_id
    try:
        if folder.exists():
            shutil.rmtree(folder)
        for held in (home / "held").glob(f"{case_id}-*"):
            held.unlink()
    except OSError as error:
        raise ReadError(
            f"cannot be removed ({error.strerror})", file=folder, cure="mend its permissions and withdraw it again"
        ) from error
    records = [r for r in read_jsonl(home / "deid.jsonl", DeidRecord) if not r.id.startswith(f"{case_id}/")]
    write_jsonl(home / "deid.jsonl", records)
    (home / MANIFEST).unlink(missing_ok=True)
    write_manifest(home, "deidentified")


def find_releases(case_id: str, places: Iterable[Path]) -> dict[str, Sha256]:
    """Releases with a row of the case, by folder, with their hash."""
    found: dict[str, Sha256] = {}
    for manifest in _manifests(places):
        try:
            facts = read_manifest(manifest.parent, "release")
        except ReadError:
            continue
        for file in sorted((manifest.parent / "data").glob("*.parquet")):
            rows = read_records(file, _Group, columns=["group_id"])
            if any(row.group_id.endswith(f":{case_id}") for row in rows):
                found[str(manifest.parent)] = facts["sha256"]
                break
    return found


def find_checkpoints(releases: set[Sha256], places: Iterable[Path]) -> dict[str, Sha256]:
    """Checkpoints and adapters whose manifest names one of the releases, and what was trained from those."""
    about: dict[str, tuple[str, str, str]] = {}
    for manifest in _manifests(places):
        try:
            facts = json.loads(manifest.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and facts.get("kind") in ("checkpoint", "adapter"):
            about[str(manifest.parent)] = (
                str(facts.get("sha256", "")), str(facts.get("release_sha256", "")), str(facts.get("base_sha256", ""))
            )  # fmt: skip
    found = {folder: release for folder, (_, release, _) in about.items() if release in releases}
    while True:  # a checkpoint made from one that saw the case has seen it too
        tainted = {about[folder][0]: found[folder] for folder in found}
        more = {f: tainted[base] for f, (_, _, base) in about.items() if f not in found and base in tainted}
        if not more:
            return dict(sorted(found.items()))
        found |= more


def _manifests(places: Iterable[Path]) -> list[Path]:
    return sorted({path.resolve() for place in places if place.is_dir() for path in place.rglob(MANIFEST)})
