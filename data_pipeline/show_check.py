"""What `spinemed data check RELEASE` prints: every count, what was followed through the splits, every leak.

Trap: a release without a leak of the kinds listed is not thereby free of any likeness; the page names the kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_pipeline.check_release import check_release

__all__ = ["print_check"]

_MOST = 50


def print_check(release: Path, benchmarks: Sequence[Path] = ()) -> bool:
    """Examine a release and print what was found.

    Returns:
        Whether it is whole and without a leak.

    Raises:
        ReadError, RecordError: See :func:`~data_pipeline.check_release.check_release`.
    """
    found = check_release(release, benchmarks)
    console = Console(soft_wrap=True)
    table = Table("count", "value", "rows", title="rows")
    for name, numbers in found.counts.items():
        for value, number in numbers.items():
            table.add_row(name, value, f"{number:,}")
    console.print(table)
    leaked = {kind: sum(leak.kind == kind for leak in found.leaks) for kind in found.examined}
    table = Table("kind", "followed", "in two splits", title="leakage")
    for kind, number in found.examined.items():
        table.add_row(kind, f"{number:,}", f"{leaked[kind]:,}")
    console.print(table)
    for fault in found.faults[:_MOST]:
        console.print(f"FAULT: {fault}", markup=False)
    for leak in found.leaks[:_MOST]:
        rows = " / ".join(f"{split} {name}" for split, name in leak.rows)
        console.print(f"LEAK ({leak.kind}): {leak.shared}: {rows}", markup=False)
    for name, things in (("faults", found.faults), ("leaks", found.leaks)):
        if len(things) > _MOST:
            console.print(f"... and {len(things) - _MOST:,} more {name}", markup=False)
    console.print(f"leaks: {len(found.leaks)}; faults: {len(found.faults)}", markup=False)
    return found.clean
