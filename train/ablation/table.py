"""The paired table of an ablation: each arm against the reference arm, question by question.

Convention: a question's score is its share of right answers over an arm's seeds, so an arm is one column of numbers
between 0 and 1 however many seeds it has. A difference is arm minus reference; its interval and test resample and flip
whole patients or phantoms (:func:`spinemed.statistics.paired_difference`); p values are corrected by Holm.

Trap: the interval speaks of other patients, not of other trainings. What another seed changes is the column beside it:
lowest and highest share of right answers over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinemed.errors import RecordError
from spinemed.records import Sample, Score
from spinemed.statistics import Clusters, generator_for, holm, paired_difference

__all__ = ["make_table", "table_text"]


def make_table(
    samples: Sequence[Sample],
    systems: Mapping[str, Sequence[Mapping[str, Score]]],
    *,
    reference: str,
    seed: int,
    resamples: int,
    facts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """All rows of the table as plain values.

    Args:
        samples: The questions.
        systems: For each arm the scores of each of its trainings, by sample id.
        reference: The arm that all others are compared with.
        seed: Of bootstrap and tests.
        resamples: Of each.
        facts: Rows, passes, steps and tokens of each arm.

    Raises:
        RecordError: A training has no score for a question.
    """
    clusters = Clusters.of([sample.cluster for sample in samples])
    shares = {arm: _shares(samples, trainings, arm) for arm, trainings in systems.items()}
    rows: list[dict[str, Any]] = []
    for arm, share in shares.items():
        mean = share.mean(axis=0)
        row: dict[str, Any] = {
            "arm": arm,
            **facts[arm],
            "seeds": len(share),
            "correct": float(share.mean()),
            "lowest_seed": float(share.mean(axis=1).min()),
            "highest_seed": float(share.mean(axis=1).max()),
            "unreadable": float(np.mean([_unread(samples, training) for training in systems[arm]])),
        }
        if arm != reference:
            found = paired_difference(
                mean, shares[reference].mean(axis=0), clusters, generator_for(seed, "ablation", arm),
                resamples=resamples,
            )  # fmt: skip
            row |= {
                "difference": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value,
                "method": found.method,
            }  # fmt: skip
        rows.append(row)
    for row, corrected in zip(rows, holm([row.get("p_value") for row in rows]), strict=True):
        if "p_value" in row:
            row["p_holm"] = corrected
    origins = sorted({sample.origin for sample in samples})
    return {
        "reference": reference, "questions": len(samples), "clusters": clusters.count, "origins": origins, "rows": rows,
    }  # fmt: skip


def _shares(samples: Sequence[Sample], trainings: Sequence[Mapping[str, Score]], arm: str) -> np.ndarray:
    """(trainings, questions) 1 where right."""
    for training in trainings:
        absent = next((sample.id for sample in samples if sample.id not in training), None)
        if absent is not None:
            raise RecordError(
                f"a training of arm {arm} has no score for {absent}", field="scores", cure="score the predictions again"
            )
    return np.array([[float(training[sample.id].correct) for sample in samples] for training in trainings])


def _unread(samples: Sequence[Sample], training: Mapping[str, Score]) -> float:
    return float(np.mean([training[sample.id].outcome != "parsed" for sample in samples]))


def table_text(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    seeds, reference = table["seeds"], table["reference"]
    what = "phantoms only" if table["origins"] == ["phantom"] else " and ".join(table["origins"])
    lines = [
        "# Ablation of the training data",
        "",
        f"{table['questions']} questions on {table['clusters']} patients, phantoms or documents ({what}); every arm",
        f"was trained for {table['tokens']:,} input tokens with the seeds {', '.join(map(str, seeds))}.",
        f"Right: share of questions, with the lowest and highest seed. Difference: arm minus {reference}, paired by",
        "question, clustered, with a 95 % interval; p corrected by Holm over all arms. ",
        "",
        "For research use only. What was learned or measured on phantoms says nothing about patients.",
        "",
        "| arm | rows | changed | passes | steps | right | over seeds | unreadable | difference | 95 % | p (Holm) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        spread = f"{row['lowest_seed']:.1%} to {row['highest_seed']:.1%}" if row["seeds"] > 1 else ""
        cells = ["", "", ""]
        if "difference" in row:
            bounds = "" if row["low"] is None else f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
            p = "" if row["p_holm"] is None else f"{row['p_holm']:.4f}" if row["p_holm"] >= 1e-4 else "< 0.0001"
            cells = [f"{100 * row['difference']:+.1f}", bounds or row["method"], p]
        changed = "" if row["rows_changed"] is None else str(row["rows_changed"])
        lines.append(
            f"| {row['arm']} | {row['rows']} | {changed} | {row['passes']} | {row['steps']} | {row['correct']:.1%} | "
            f"{spread} | {row['unreadable']:.1%} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"
