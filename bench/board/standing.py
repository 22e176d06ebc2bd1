"""Who is ranked with whom: contestants together, systems that learned from the questions' generator apart, others not.

Convention: a contestant answered the questions themselves (condition `full` or `tools`), is no majority or random
answer, had at least `RANKABLE` of its requests answered, and declares not to have seen the questions. A submission's
declaration belongs to the system whose model it names. Ranks and their intervals are made again within each group,
from the same bootstrap as everywhere; a run with `--limit` ranks nobody.

Trap: without the samples folder the clusters are not known here, so ranks are taken from the summary, where systems
that are not ranked or ranked apart here stand among the others; the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.spinebench.rows import table_rows
from bench.spinebench.summary import REFERENCES, is_reference, ranks_and_power
from bench.submission.declare import Declaration, families_of, same_generator
from spinemed.errors import RecordError
from spinemed.records import Sample, Score
from spinemed.statistics import Clusters, generator_for

__all__ = ["REFERENCES", "columns_of", "stand"]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One row for each axis: the whole one where there are several finest."""
    return [row for row in rows if row["whole_axis"] or sum(one["axis"] == row["axis"] for one in rows) == 1]


def stand(
    summary: Mapping[str, Any],
    declared: Sequence[Declaration],
    samples: Sequence[Sample] | None,
    scores: Mapping[str, Sequence[Score]],
) -> dict[str, Any]:
    """Groups of systems with ranks by axis.

    Args:
        summary: Of the scores folder.
        declared: Declarations of submissions, in any order.
        samples: The questions, where their folder is given.
        scores: By system, in the order of the samples; used with `samples` alone.

    Returns:
        `columns` (rows of the summary), `own` (whether ranks were made again by group), `limited`, and `groups`, each
        with `title`, `note`, `ranked` and `systems` (name, role, declared, why, cells: one of value, low, high, rank,
        rank_low, rank_high for each column).
    """
    columns = columns_of(summary["rows"])
    by_model = {one.model: one for one in declared}
    if len(by_model) != len(declared):
        twice = next(one.model for one in declared if sum(other.model == one.model for other in declared) > 1)
        raise RecordError(
            f"two submissions declare the model {twice!r}",
            field="--submission",
            cure="give each model's submission once",
        )
    limited = summary["samples"].get("limited")
    families = families_of(samples) if samples is not None else frozenset()
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for system in summary["systems"]:
        own = by_model.get(system["model"])
        key, why = _group(system, own, summary, limited, families)
        groups.setdefault(key, []).append({**system, "declared": own, "why": why})
    found = []
    for (place, title), systems in sorted(groups.items()):
        ranked = place < 2
        names = [system["name"] for system in systems]
        ranks = [_ranks(column, names, title, summary, samples, scores) if ranked else {} for column in columns]
        for system in systems:
            system["cells"] = [
                _cell(column["systems"][system["name"]], ranks[at].get(system["name"]))
                for at, column in enumerate(columns)
            ]
        systems.sort(key=lambda one: (one["cells"][0]["rank"] or len(systems) + 1 if one["cells"] else 0, one["name"]))
        found.append({"title": title, "ranked": ranked, "systems": systems})
    return {"columns": columns, "own": samples is not None, "limited": limited, "groups": found}


def _group(
    system: Mapping[str, Any],
    own: Declaration | None,
    summary: Mapping[str, Any],
    limited: Any,
    families: frozenset[str],
) -> tuple[tuple[int, str], str]:
    """Place and title of the group, and why the system is not ranked."""
    if is_reference(system["answerer"], system["condition"]):
        return (3, "References, not ranked"), ""
    reasons = []
    if limited:
        reasons.append(f"{limited['questions']} of {limited['of']} questions (--limit)")
    if own is not None and own.seen_questions:
        reasons.append("trained on the questions")
    if not all(row["systems"][system["name"]]["rankable"] for row in summary["rows"]):
        reasons.append("over 2 % of the requests failed at the provider")
    if reasons:
        return (2, "Not ranked"), "; ".join(reasons)
    shared = same_generator(own, families) if own is not None else []
    if shared:
        return (1, f"Ranked apart: trained on the generator of these questions ({', '.join(shared)})"), ""
    return (0, "Ranked"), ""


def _ranks(
    column: Mapping[str, Any],
    names: Sequence[str],
    title: str,
    summary: Mapping[str, Any],
    samples: Sequence[Sample] | None,
    scores: Mapping[str, Sequence[Score]],
) -> Mapping[str, Any]:
    if samples is None:
        found: Mapping[str, Any] = column["ranks"]
        return found
    (row,) = [one for one in table_rows(samples) if one.key == column["key"]]
    table = np.array([[float(scores[name][place].correct) for name in names] for place in row.members])
    clusters = Clusters.of([samples[place].cluster for place in row.members])
    rng = generator_for(summary["seed"], "board", title, row.key)
    again: Mapping[str, Any] = ranks_and_power(table, names, clusters, rng, summary["resamples"])["ranks"]
    return again


def _cell(own: Mapping[str, Any], rank: Mapping[str, Any] | None) -> dict[str, Any]:
    names = ("rank", "low", "high")
    return {
        **{name: own[name] for name in ("value", "low", "high")},
        **{f"rank{'_' * (name != 'rank')}{name * (name != 'rank')}": rank[name] if rank else None for name in names},
    }
