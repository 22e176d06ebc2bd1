"""`compare`, `rank` and `power`: two systems, many systems, what gap a benchmark can show. Files alone, no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["compare", "power", "rank"]


def compare(
    first: Annotated[Path, typer.Argument(help="Predictions folder or predictions.jsonl of the first system.")],
    second: Annotated[Path, typer.Argument(help="Of the second system, on the same samples.")],
    samples: Annotated[Path, typer.Option(help="Samples folder that both answered.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write the comparison to.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap and tests.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
    by: Annotated[str, typer.Option(help="Rows: table, or kind (measurement, fracture, ...).")] = "table",
) -> None:
    """Compare two systems question by question: paired, clustered by spine, corrected over all rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.board.wording import p_text, points, points_interval
    from bench.spinebench.pair import compare_pair
    from spinemed.errors import ConfigError
    from spinemed.tables import write_json

    if by not in ("table", "kind"):
        raise ConfigError(f"{by!r} is no choice of rows", field="--by", cure="use table or kind")
    found = compare_pair(samples, first, second, seed=seed, resamples=resamples, by=by)  # type: ignore[arg-type]
    console = Console(highlight=False)
    table = Table(
        title=Text(f"{found['first']} minus {found['second']}, same questions: points, 95 % interval"),
        caption="Intervals and p resample spines, not questions; p corrected by Holm. Research use only.",
    )
    for name in ("", "n", "clusters", found["first"], found["second"], "difference", "p", "p (Holm)", "seen from"):
        first_column = {"min_width": 24, "overflow": "fold"} if not name else {"justify": "right"}
        table.add_column(Text(name), **first_column)
    for one in found["rows"]:
        table.add_row(
            one["row"],
            str(one["n"]),
            str(one["clusters"]),
            _percent(one["first_accuracy"]),
            _percent(one["second_accuracy"]),
            Text("-" if one["difference"] is None else f"{points(one['difference'])}\n{points_interval(one)}"),
            p_text(one["p_value"]),
            p_text(one["p_holm"]),
            "-" if one["gap"] is None else f"{100 * one['gap']:.1f}",
        )
    console.print(table)
    for name, calls in zip((found["first"], found["second"]), found["calls"], strict=True):
        if calls["condition"] == "tools":
            console.print(
                f"{name} called functions {calls['calls']} times, for {calls['samples_with_a_call']} questions; "
                f"{calls['refused_or_failed']} calls were refused or failed",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    if found["not_asked_of_both"]:
        console.print(f"{found['not_asked_of_both']} questions were not asked of both and are left out")
    console.print("'seen from': the smallest gap in points that a test of these questions sees with a power of 80 %.")
    if out is not None:
        write_json(out, found)
        console.print(f"written: {out}", markup=False, soft_wrap=True)


def rank(
    samples: Annotated[Path, typer.Option(help="Samples folder.")],
    predictions: Annotated[
        list[Path], typer.Option(help="Predictions folder or bare predictions.jsonl; repeat for each system.")
    ],
    out: Annotated[Path, typer.Option(help="Leaderboard folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap and tests.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read and judge.")] = 1,
) -> None:
    """Score and rank many systems on the same samples, with intervals of shares and of ranks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.spinebench.leaderboard import LEADERBOARD_FILE, rank_predictions

    found = rank_predictions(samples, predictions, out, seed=seed, resamples=resamples, workers=workers)
    console = Console(highlight=False)
    for row in found["rows"]:
        table = Table(title=Text(f"{row['key']}: {row['n']} questions of {row['clusters']} spines and documents"))
        for name in ("rank", "95 %", "", "% right", "95 %", "behind the leader", "p (Holm)"):
            table.add_column(name, justify="left" if not name else "right")
        order = sorted(range(len(found["systems"])), key=lambda at: (row["rank"][at] or len(row["rank"]) + 1, at))
        for at in order:
            place = row["rank"][at]
            table.add_row(
                "-" if place is None else str(place),
                _span(row["rank_low"][at], row["rank_high"][at], 0),
                Text(found["systems"][at]["name"]),
                _percent(row["value"][at]),
                _span(row["low"][at], row["high"][at], 1, 100),
                "" if row["difference"][at] is None else f"{100 * row['difference'][at]:+.1f}",
                "" if row["p_holm"][at] is None else f"{row['p_holm'][at]:.4f}",
            )
        console.print(table)
    console.print("References and systems that failed on over 2 % of the requests have no rank. Research use only.")
    console.print(f"written: {out / LEADERBOARD_FILE}", markup=False, soft_wrap=True)


def power(
    scores: Annotated[Path | None, typer.Option(help="Scores folder: the spread of its systems is used.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Samples folder, for a benchmark nobody answered yet.")] = None,
    icc: Annotated[
        float, typer.Option(min=0, max=1, help="With --samples: correlation of the questions of one spine.")
    ] = 0.1,
    share: Annotated[float, typer.Option(min=0.01, max=0.99, help="With --samples: expected share right.")] = 0.7,
    target: Annotated[float, typer.Option(min=0.5, max=0.999, help="Chance to see the gap.")] = 0.8,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Two-sided level of the test.")] = 0.05,
) -> None:
    """Say what gap between two systems each row of a benchmark can show."""
    from rich.console import Console
    from rich.table import Table

    from bench.spinebench.pair import power_of_samples, power_of_scores
    from spinemed.errors import ConfigError

    if (scores is None) == (samples is None):
        raise ConfigError("power needs one benchmark", field="--scores", cure="give either --scores or --samples")
    rows: list[tuple[str, dict[str, Any]]]
    if scores is not None:
        rows = power_of_scores(scores, power=target, alpha=alpha)
    else:
        assert samples is not None
        rows = power_of_samples(samples, icc=icc, share=share, power=target, alpha=alpha)
    console = Console(highlight=False)
    table = Table(title=f"Smallest gap in points seen with a power of {100 * target:.0f} %, two-sided {alpha:g}")
    for name in ("", "n", "clusters", "design effect", "effective n", "discordant", "paired", "unpaired"):
        first_column = {"min_width": 24, "overflow": "fold"} if not name else {"justify": "right"}
        table.add_column(name, **first_column)
    for key, one in rows:
        table.add_row(
            key, str(one["n"]), str(one["clusters"]), f"{one['design_effect']:.2f}", f"{one['effective_n']:.0f}",
            f"{100 * one['discordant']:.0f} %", _gap(one["paired_gap"]), _gap(one["unpaired_gap"]),
        )  # fmt: skip
    console.print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _span(low: float | None, high: float | None, digits: int, times: float = 1) -> str:
    return "-" if low is None or high is None else f"{times * low:.{digits}f} to {times * high:.{digits}f}"


def _gap(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"
