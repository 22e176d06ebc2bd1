"""The published SpineBench figures, recomputed from whole counts: which of them add up, and which do not.

Convention: a row adds up when every printed percentage is a whole count of its questions (two decimals), the average
of questions follows from text and picture counts, and the total is the item-weighted mean of questions and reports to
one unit of the last digit printed (its inputs are printed rounded). Where a total does not follow, it is tried as a
plain mean of the two columns, and the finding says so.

Trap: a percentage that is a whole count of two different totals proves nothing; the split of 294 and 193 is the only
one for which nearly all printed columns are whole counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.published import Published, PublishedRow, published_tables
from bench.spinebench.total import item_weighted_total, plain_mean

__all__ = ["IMAGE_ITEMS", "REPORT_ITEMS", "TEXT_ITEMS", "RowCheck", "check_row", "published_spinebench"]

TEXT_ITEMS, IMAGE_ITEMS, REPORT_ITEMS = 294, 193, 87
_ITEMS = {"text": TEXT_ITEMS, "image": IMAGE_ITEMS, "qa": TEXT_ITEMS + IMAGE_ITEMS}
_HALF = 0.005 + 1e-9


def published_spinebench() -> Published:
    """The tables with their source."""
    return published_tables(Path(__file__).with_name("published.yaml"))


@dataclass(frozen=True)
class RowCheck:
    """What recomputing one row gave."""

    name: str
    qa: float | None
    """Percent right of all questions, from the counts where they are known, else as printed."""
    total: float | None
    """Item-weighted total of `qa` and the printed report score."""
    faults: tuple[str, ...]
    """What does not add up; empty where all does."""


def check_row(row: PublishedRow) -> RowCheck:
    """Recompute one published row."""
    values = row.values
    faults = []
    for column, items in _ITEMS.items():
        printed, correct = values.get(column), values.get(f"{column}_correct")
        if printed is not None and not _is_share(printed, items):
            faults.append(f"{column} {printed:.2f} is no whole count of {items}{_other_share(printed, column)}")
        elif printed is not None and correct is not None and not _near(100 * correct / items, printed):
            faults.append(
                f"{column} {printed:.2f} is printed for {correct:.0f} of {items} = {100 * correct / items:.2f}"
            )
    text, image = values.get("text_correct"), values.get("image_correct")
    qa = values.get("qa")
    if text is not None and image is not None:
        joined = 100 * (text + image) / _ITEMS["qa"]
        if qa is not None and not _near(joined, qa) and values.get("qa_correct") != text + image:
            faults.append(f"qa {qa:.2f} is printed for {text:.0f} + {image:.0f} right = {joined:.2f}")
        qa = joined
    elif values.get("qa_correct") is not None:
        qa = 100 * values["qa_correct"] / _ITEMS["qa"]
    report, printed_total = values.get("report"), values.get("total")
    total = None
    if qa is not None and report is not None:
        total = item_weighted_total({"qa": qa, "report": report}, {"qa": _ITEMS["qa"], "report": REPORT_ITEMS})
    if total is not None and printed_total is not None and abs(total - printed_total) > 0.01 + _HALF:
        mean = plain_mean({"qa": values["qa"], "report": report})
        plain = " (the plain mean of questions and reports)" if mean is not None and _near(mean, printed_total) else ""
        faults.append(f"total {printed_total:.2f} is printed where the items weigh {total:.2f}{plain}")
    return RowCheck(row.name, qa, total, tuple(faults))


def _near(value: float, printed: float) -> bool:
    return abs(value - printed) <= _HALF


def _is_share(printed: float, items: int) -> bool:
    return _near(100 * round(printed * items / 100) / items, printed)


def _other_share(printed: float, column: str) -> str:
    fitting = [name for name, items in _ITEMS.items() if name != column and _is_share(printed, items)]
    return f", but one of {' and '.join(f'{_ITEMS[name]} ({name})' for name in fitting)}" if fitting else ""
