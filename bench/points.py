"""Points of several systems on the same cases, compared two by two.

Convention: the difference is first minus second over the cases that both were asked, clustered, Holm over all pairs.
Trap: a case whose provider failed is left out of a pair for both; `n` says how many are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, Protocol

from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, holm, paired_difference

__all__ = ["Pointed", "pairs_of_points", "pointed"]


class Pointed(NamedTuple):
    """Points of one case, from 0 to 1; None where nobody answered."""

    sample_id: str
    cluster: str
    points: float | None


class _Scored(Protocol):
    @property
    def sample_id(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def points(self) -> float: ...


def pointed(cases: Iterable[_Scored]) -> list[Pointed]:
    """Points of scored cases; a request that the provider failed was answered by nobody."""
    return [Pointed(one.sample_id, one.cluster, None if one.outcome == "api_error" else one.points) for one in cases]


def pairs_of_points(
    systems: Mapping[str, Sequence[Pointed]], *, seed: int, resamples: int, topic: str
) -> list[dict[str, Any]]:
    """Differences of all pairs of systems.

    Args:
        systems: For each system the same cases in the same order.
        seed: Of bootstrap and tests.
        resamples: Bootstrap samples.
        topic: Names the draws.
    """
    found: list[dict[str, Any]] = []
    for first, second in combinations(systems, 2):
        both = [
            (one.points, other.points, one.cluster)
            for one, other in zip(systems[first], systems[second], strict=True)
            if one.points is not None and other.points is not None
        ]
        if not both:
            continue
        result = paired_difference(
            [one for one, _, _ in both],
            [other for _, other, _ in both],
            Clusters.of([cluster for _, _, cluster in both]),
            generator_for(seed, f"{topic} pairs", first, second),
            resamples=resamples,
            fewest=FEWEST_RANKED,
        )
        found.append({"first": first, "second": second, **result.as_dict()})
    for pair, corrected in zip(found, holm([pair["p_value"] for pair in found]), strict=True):
        pair["p_holm"] = corrected
    return found
