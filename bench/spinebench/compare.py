"""The subject against every other system, question by question.

Convention: a comparison is the paired difference subject minus reference with a cluster bootstrap interval and a
cluster sign-flip p value, on three sets of questions:

- all questions of the row;
- `on_reference_parsed`: those whose reply the reference gave in a readable form. A base model that answers in prose
  loses much for its form; here it does not, while an unreadable reply of the subject still counts as wrong;
- `on_both_parsed`: those that both gave in a readable form.

Questions on which a request of either system failed (`api_error`) are in none of them; n tells.

p values are corrected by Holm over all comparisons on all questions of one summary.

Trap: the restricted sets are chosen by the replies, so they answer another question; the row over all questions is
the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spinebench.rows import TableRow
from spinemed.records import Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, holm, mcnemar_exact, paired_difference

__all__ = ["compare_systems"]


def compare_systems(
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    subject: str,
    rows: Sequence[TableRow],
    *,
    blind: frozenset[str],
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """All comparisons of one subject, row by row.

    Args:
        samples: The samples, in the order of the score lists.
        scores: For each system its scores, one per sample.
        subject: The system that is compared with all others.
        rows: The table rows.
        blind: Blind controls of the subject. Without a picture they are asked the very same question as the subject, so
            rows of text questions are not compared with them, and no test is spent there.
        seed: Seed of the run.
        resamples: Bootstrap samples.
    """
    found = []
    for row in rows:
        for reference in scores:
            if reference == subject or (row.modality == "text" and reference in blind):
                continue
            first = [scores[subject][place] for place in row.members]
            second = [scores[reference][place] for place in row.members]
            clusters = [samples[place].cluster for place in row.members]
            second_read = np.array([score.outcome == "parsed" for score in second])
            both_read = second_read & np.array([score.outcome == "parsed" for score in first])
            key = (row.key, subject, reference)
            found.append(
                {
                    "row": row.key,
                    "subject": subject,
                    "reference": reference,
                    **_paired(first, second, clusters, None, seed, (*key, "all"), resamples),
                    "on_reference_parsed": _paired(
                        first, second, clusters, second_read, seed, (*key, "reference"), resamples
                    ),
                    "on_both_parsed": _paired(first, second, clusters, both_read, seed, (*key, "both"), resamples),
                }
            )
    for comparison, corrected in zip(found, holm([comparison["p_value"] for comparison in found])):
        comparison["p_holm"] = corrected
    return found


def _paired(
    first: Sequence[Score],
    second: Sequence[Score],
    clusters: Sequence[str],
    keep: NDArray[np.bool_] | None,
    seed: int,
    key: tuple[str, ...],
    resamples: int,
) -> dict[str, Any]:
    known = np.array([score.outcome != "api_error" for score in first], dtype=bool)
    known &= np.array([score.outcome != "api_error" for score in second], dtype=bool)
    places = np.flatnonzero(known if keep is None else known & keep).tolist()
    left = [float(first[place].correct) for place in places]
    right = [float(second[place].correct) for place in places]
    grouping = Clusters.of([clusters[place] for place in places])
    result = paired_difference(
        left, right, grouping, generator_for(seed, "paired", *key), resamples=resamples, fewest=FEWEST_RANKED
    )
    facts = result.as_dict()
    facts["subject_accuracy"] = float(np.mean(left)) if left else None
    facts["reference_accuracy"] = float(np.mean(right)) if right else None
    # Only where no two questions share a spine is the unclustered test the same test.
    facts["mcnemar_p"] = mcnemar_exact(left, right, grouping) if left and grouping.single else None
    return facts
