"""A case withdrawn: its data removed, the releases that held it built again, and everything that saw it listed.

Convention: the case's folder and records leave the de-identified folder at once; a line without content goes into
`withdrawn.jsonl` beside it, and a later de-identification leaves the case out. Runs below the given folders are
searched: a release that held the case is built again from its own config, and checkpoints trained on it are named,
not deleted. So are request logs of those runs, which hold what a model was shown, and every other table with rows of
the case: corpora and drafts of runs that never came to a release, what a kill left behind, samples, exports.

Trap: weights cannot forget on request. What a checkpoint learned from a case stays in it: the list says which ones to
retire and train again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from data_pipeline.deidentify.status import DeidRecord
from data_pipeline.sources import read_sources, source_path
from spinemed.errors import ReadError, SourceError
from spinemed.records import Record, Sha256
from spinemed.tables import MANIFEST, parse_json, read_jsonl, read_manifest, read_records, write_jsonl, write_manifest

__all__ = ["WITHDRAWN", "Withdrawal", "Withdrawn", "find_checkpoints", "find_others", "find_releases", "withdraw_case"]

WITHDRAWN = "withdrawn.jsonl"
_CASE = re.compile(r"case-[0-9a-f]{12}")


class Withdrawn(Record):
    """One line of `withdrawn.jsonl`."""

    case_id: str
    """Pseudonym of the case."""
    reason: str = ""
    """Why it was withdrawn; names nobody."""


class _Group(Record):
    group_id: str


class Withdrawal(Record):
    """What a withdrawal did and found."""

    case_id: str
    """Pseudonym of the case."""
    removed_from: tuple[str, ...]
    """De-identified folders that held it."""
    releases: dict[str, Sha256] = Field(default_factory=dict)
    """Release folder -> its hash before, for each that held the case."""
    checkpoints: dict[str, Sha256] = Field(default_factory=dict)
    """Checkpoint folder -> hash of the release it was trained on."""
    others: tuple[str, ...] = ()
    """Folders outside these releases with tables that hold it: stages of runs, finished or not, samples, exports."""
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
    others = find_others(case_id, places, releases)
    for home in known:
        _remove(home, case_id, reason)
    return Withdrawal(
        case_id=case_id, removed_from=tuple(str(home) for home in known), releases=releases, checkpoints=checkpoints,
        others=others, logs=_logs({*releases, *others}),
    )  # fmt: skip


def _logs(folders: Iterable[str]) -> tuple[str, ...]:
    """Request logs of the runs that folders belong to (RUN/outputs/release, RUN/scratch/requests)."""
    homes = {home for folder in folders for home in Path(folder).parents if (home / "scratch" / "requests").is_dir()}
    found = (home / "scratch" / "requests" for home in sorted(homes))
    return tuple(str(folder) for folder in found if next(folder.rglob("*.jsonl"), None) is not None)


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


def find_others(case_id: str, places: Iterable[Path], releases: Iterable[str]) -> tuple[str, ...]:
    """Folders that hold rows of the case and are none of the releases, and what was made from these.

    Looked at are the groups (`group_id`) of every Parquet and Arrow table, also in hidden folders that a kill left
    behind; files of samples and verdicts; reviews in SQLite; and manifests that name a release by its hash. The stages
    of a run whose release is among them are not listed: they are made again with it.
    """
    known = {Path(release).resolve() for release in releases}
    again = {release.parent for release in known if (release.parent.parent / "config.yaml").is_file()}
    hashes = {read_manifest(release, "release")["sha256"] for release in known}
    found: set[Path] = set()
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else ():
            folder = file.parent.resolve()
            if not file.is_file() or folder in found or (known | again) & {folder, *folder.parents}:
                continue
            if file.suffix in (".parquet", ".arrow"):
                held = _table_holds(file, case_id)
            elif file.suffix == ".db":
                held = _review_holds(file, case_id)
            elif file.name in ("samples.jsonl", "verdicts.jsonl"):
                held = f':{case_id}"' in file.read_text(encoding="utf-8", errors="replace")
            else:
                held = file.name == MANIFEST and _made_from(file) in hashes
            if held:
                found.add(folder)
    return tuple(str(folder) for folder in sorted(found))


def _review_holds(file: Path, case_id: str) -> bool:
    """Whether a review in SQLite has items of the case; what it shows of them lies in blobs beside it."""
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT 1 FROM items WHERE group_id LIKE ? LIMIT 1", (f"%:{case_id}",))
            return found.fetchone() is not None
    except sqlite3.DatabaseError:  # another program's file, or no review
        return False


def _table_holds(file: Path, case_id: str) -> bool:
    """Whether a table has a row of the case. One that a kill cut short cannot be read, and is no finished copy."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".arrow":
            table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        else:
            names = pq.read_schema(file).names
            table = pq.read_table(file, columns=[name for name in ("group_id",) if name in names])
    except (pa.ArrowInvalid, OSError):
        return False
    if "group_id" not in table.column_names:
        return False
    return bool(pc.any(pc.ends_with(table["group_id"], f":{case_id}")).as_py())


def _made_from(manifest: Path) -> str:
    """Hash of the release that a folder says it was made from, if it is no checkpoint, which are listed apart."""
    try:
        facts = parse_json(manifest.read_bytes())
    except (OSError, ValueError):
        return ""
    if not isinstance(facts, dict) or facts.get("kind") in ("checkpoint", "adapter"):
        return ""
    return str(facts.get("release_sha256", ""))


def find_checkpoints(releases: set[Sha256], places: Iterable[Path]) -> dict[str, Sha256]:
    """Checkpoints and adapters whose manifest names one of the releases, and what was trained from those."""
    about: dict[str, tuple[str, set[str], str]] = {}
    for manifest in _manifests(places):
        try:
            facts = parse_json(manifest.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and facts.get("kind") in ("checkpoint", "adapter"):
            mixed = facts.get("releases")  # a stage of training may draw from several
            seen = {
                str(facts.get("release_sha256", "")),
                *(map(str, mixed.values()) if isinstance(mixed, dict) else ()),
            }
            about[str(manifest.parent)] = (str(facts.get("sha256", "")), seen, str(facts.get("base_sha256", "")))
    found = {folder: min(seen & releases) for folder, (_, seen, _) in about.items() if seen & releases}
    while True:  # a checkpoint made from one that saw the case has seen it too
        tainted = {about[folder][0]: found[folder] for folder in found}
        more = {f: tainted[base] for f, (_, _, base) in about.items() if f not in found and base in tainted}
        if not more:
            return dict(sorted(found.items()))
        found |= more


def _manifests(places: Iterable[Path]) -> list[Path]:
    return sorted({path.resolve() for place in places if place.is_dir() for path in place.rglob(MANIFEST)})
