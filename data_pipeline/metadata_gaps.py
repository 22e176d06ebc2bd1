"""What went wrong or was left out on the road to a release, as its datasheet tells it: counts, never typed.

Convention: every number comes from the manifest of a finished stage of the same run, or from the report that
de-identification left beside a hospital's cases. "None" is printed where a stage counted nothing.

Trap: a share of failing drafts is a rate of the writer under these checks, not a rate of errors among released rows;
nobody has counted those unless reviews are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spinemed.anatomy import LEVELS, Level
from spinemed.tables import parse_json, read_manifest

__all__ = ["gaps", "levels_covered", "read_account"]

_DEIDENTIFIED = "report.json"


def read_account(
    folders: Mapping[str, Path], hospitals: Mapping[str, Path], left_out: Mapping[str, int]
) -> dict[str, Any]:
    """The counts of all stages before a release.

    Args:
        folders: Finished stages by kind: corpus, drafts, revised, unique.
        hospitals: De-identified folders by the id of their source.
        left_out: Revised rows that the release itself leaves out, by reason.

    Raises:
        ReadError: A stage is not finished.
    """
    account: dict[str, Any] = {name: read_manifest(path, name) for name, path in folders.items()}
    account["left_out"] = dict(sorted(left_out.items()))
    account["held"] = {}
    for name, place in sorted(hospitals.items()):
        report = place / _DEIDENTIFIED
        account["held"][name] = parse_json(report.read_bytes())["counts"] if report.is_file() else None
    return account


def gaps(account: Mapping[str, Any]) -> list[str]:
    """The lines of the section, in Markdown."""
    corpus, drafts, revised, unique = (account[name] for name in ("corpus", "drafts", "revised", "unique"))
    lines = [
        "| read from | what | found | kept | dropped | failed |",
        "|---|---|---|---|---|---|",
        *(line for told in corpus["sources"] for line in _read_lines(told)),
        "",
    ]
    for told in corpus["sources"]:
        reasons = [f"{kind}, {_list(found)}" for kind, found in sorted(told["reasons"].items()) if found]
        lines += [f"- **Not read from {told['source_id']}:** {'; '.join(reasons)}."] if reasons else []
    tried = sum(count["tried"] for count in drafts["counts"].values())
    kept = sum(count["kept"] for count in drafts["counts"].values())
    mended = revised["counts"]
    lines += [
        f"- **Drafts:** {tried} tried, {kept} kept, {tried - kept} dropped: {_list(drafts['drop_reasons']) or 'none'}.",
        f"- **Revision:** {mended['drafts']} looked at, {mended['kept']} kept, {mended['dropped']} dropped: "
        f"{_list(revised['drop_reasons']) or 'none'}.",
        f"- **Copies and overlap:** {unique['items']['in']} looked at, left out: "
        f"{_list(unique['items']['dropped']) or 'none'}; held out as a benchmark's: {unique['items']['held_out']}.",
        f"- **Left out of the release, reason by reason:** {_list(account['left_out']) or 'none'}.",
    ]
    for name, counts in account["held"].items():
        if counts is None:
            lines.append(f"- **Held back by de-identification of {name}:** not recorded beside its cases.")
            continue
        held = {what: number for what, number in counts.items() if "held" in what or "not read" in what}
        lines.append(f"- **Held back by de-identification of {name}:** {_list(held) or 'none'}.")
    if not account["held"]:
        lines.append("- **Held back by de-identification:** nothing came from a hospital.")
    lines += ["", "How often drafts failed a written criterion before they were mended or dropped:", ""]
    applied, failed = drafts["criteria_applied"], drafts["criteria_failed"]
    lines += ["| criterion | applied | failed | % |", "|---|---|---|---|"]
    for name, number in sorted(applied.items()):
        if number:
            lost = failed.get(name, 0)
            lines.append(f"| {name} | {number} | {lost} | {100 * lost / number:.1f} |")
    idle = [name for name, number in sorted(applied.items()) if not number]
    if idle:
        lines += ["", f"Criteria that said nothing about any row: {', '.join(idle)}."]
    return lines


def _read_lines(told: Mapping[str, Any]) -> Iterable[str]:
    for kind, unit in sorted(told["units"].items()):
        cells = " | ".join(str(unit[name]) for name in ("found", "kept", "dropped", "failed"))
        yield f"| {told['source_id']} | {kind} | {cells} |"


def levels_covered(counts: Mapping[str, int]) -> tuple[str, str]:
    """Rows by vertebra from head to foot, and the vertebrae that no row is about."""
    named = {Level(name): number for name, number in counts.items()}
    absent = [level.value for level in LEVELS if level not in named]
    return ", ".join(f"{level.value} {named[level]}" for level in sorted(named)) or "none", ", ".join(absent) or "none"


def _list(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
