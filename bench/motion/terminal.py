"""The figures of an evaluation or a comparison in the terminal.

Convention: the same numbers in the same digits as on the page (:mod:`bench.motion.wording`).

Trap: clip names and errors come from files; they are printed as text, never as markup.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.motion import wording
from bench.motion.compare import Comparison
from bench.motion.metrics import split_key
from bench.motion.published import motion_tables, own_values
from bench.motion.records import Scores
from bench.pages import p_text
from bench.published import page_tables
from bench.terminal import print_line, print_published

__all__ = ["print_comparison", "print_scores"]

_SHOWN = (
    "all/mpjpe_mm", "all/mpjpe_capped_mm", "all/root_mpjpe_mm", "all/p_mpjpe_mm",
    "spine/mpjpe_mm", "spine/mpjpe_capped_mm", "spine/root_mpjpe_mm", "spine/n_mpjpe_mm", "spine/p_mpjpe_mm",
    "simspine_15/root_mpjpe_mm", "simspine_15/p_mpjpe_mm",
    "vertebrae/mpjpe_mm", "vertebrae/mpjpe_capped_mm", "vertebrae/p_mpjpe_mm", "spine/acceleration_m_s2",
    "rigid parts/length_cv_percent", "neighbouring vertebrae/length_cv_percent",
    "all/angle_mae_deg", "lumbar/flexion_mae_deg", "thoracic/flexion_mae_deg", "cervical/flexion_mae_deg",
    "all/coverage50", "all/coverage90", "all/beyond_limits", "all/oks", "body/oks", "spine/oks", "all/auc30",
)  # fmt: skip
_ERRORS = 20


def print_scores(scores: Scores, console: Console, *, published: bool = False) -> None:
    """The summary, errors and warnings of one evaluation."""
    counts = scores.counts
    print_line(
        console,
        f"{scores.name}: {counts['scored']} of {counts['clips']} clips scored, {counts['subjects']} subjects, "
        f"{counts['frames']} frames; {scores.origin}",
    )
    print_line(console, f"not predicted: {wording.family_words(counts)}")
    if scores.summary:
        values = scores.row().values
        table = Table(title="means over clips, 95 % intervals over subjects", title_justify="left")
        for header in ("quantity", "mean", "clips"):
            table.add_column(header, justify="left" if header == "quantity" else "right")
        for key in _SHOWN:
            if key in values:
                cell = wording.with_interval(split_key(key)[1].name, values[key])
                table.add_row(escape(wording.short_title(key)), cell, str(values[key].n))
        console.print(table)
    for one in scores.pictures:
        if one.ap is not None and one.ar is not None:
            print_line(
                console,
                f"{wording.group_title(one.group)}: AP {one.ap:.3f}, AR {one.ar:.3f} over {one.pictures} pictures",
            )
    for clip in scores.failed[:_ERRORS]:
        print_line(console, f"{clip.clip}: {clip.status}" + "".join(f": {e.kind}: {e.text}" for e in clip.errors))
    if len(scores.failed) > _ERRORS:
        print_line(console, f"{len(scores.failed) - _ERRORS} more clips were not scored; see scores.json")
    for clip in [each for each in scores.clips if each.flags][:_ERRORS]:
        print_line(console, f"{clip.clip}: doubtful: {'; '.join(flag.text for flag in clip.flags)}")
    for warning in scores.warnings:
        print_line(console, f"note: {warning}")
    if published:
        known = page_tables(motion_tables(), own_values(scores))
        print_published(console, known, f"{scores.name} (simulated data)", marked=False)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """All tests of a comparison."""
    two = len(comparison.names) == 2
    print_line(
        console,
        f"paired differences over {comparison.clips} clips of {comparison.subjects} subjects; {comparison.origin}",
    )
    table = Table(title=escape(" - ".join(comparison.names)) if two else "first - second", title_justify="left")
    pair = () if two else ("first", "second")
    for header in ("quantity", *pair, "difference", "95 % interval", "clips", "p (Holm)", "winner"):
        table.add_column(header, justify="left" if header in ("quantity", *pair, "winner") else "right")
    for test in comparison.tests:
        name = split_key(test.quantity)[1].name
        low, high = wording.value(name, test.low), wording.value(name, test.high)
        table.add_row(
            escape(test.quantity),
            *(() if two else (escape(test.first), escape(test.second))),
            wording.value(name, test.difference),
            test.method if test.low is None else f"{low} to {high}",
            f"{test.n}" + (f" (+{test.unpaired})" if test.unpaired else ""),
            wording.DASH if test.corrected_p is None else p_text(test.corrected_p),
            escape(test.winner or wording.DASH),
        )
    console.print(table)
    if any(test.unpaired for test in comparison.tests):
        print_line(console, "(+n): clips that only one of the two has a value in; they are in no difference")
