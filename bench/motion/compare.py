"""Several methods on the same clips: paired differences, clustered by subject, corrected over all tests.

Convention: the unit of a test is the clip; a difference is first minus second in the quantity's own unit, over the
clips in which both have a value. Its interval resamples subjects, its p value tosses the sign of whole subjects, and
Holm corrects over all pairs and quantities of one comparison. Nominal quantities (coverage) are compared by their
distance from the nominal share.

Trap: a quantity that leaves misses out is compared on the clips that both have, and `unpaired` counts the others. Such
a quantity can be won by leaving out what is hard; one with misses counted cannot.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from bench import scorefiles
from bench.motion.metrics import METRICS, Metric, split_key
from bench.motion.records import Scores, read_scores
from bench.paired import paired_means, winner_of
from spinemed.errors import RecordError
from spinemed.records import Record
from spinemed.run import make_folder
from spinemed.statistics import generator_for, holm
from spinemed.tables import write_json, write_text

__all__ = [
    "COMPARISON_FILE",
    "DEFAULT_QUANTITIES",
    "Comparison",
    "PairTest",
    "compare_scores",
    "read_entries",
    "write_comparison",
]

COMPARISON_FILE = "comparison.json"
_PAGE_FILE = "comparison.html"

DEFAULT_QUANTITIES = (
    "all/mpjpe_capped_mm", "spine/mpjpe_capped_mm", "spine/root_mpjpe_mm", "spine/p_mpjpe_mm",
    "simspine_15/root_mpjpe_mm", "vertebrae/mpjpe_capped_mm", "vertebrae/p_mpjpe_mm", "spine/acceleration_m_s2",
    "all/angle_mae_deg", "lumbar/flexion_mae_deg", "all/coverage90", "body/oks", "spine/oks",
)  # fmt: skip
"""What is tested unless something else is asked for, as far as all methods have it."""


class PairTest(Record):
    """Two methods in one quantity."""

    quantity: str
    """What is compared."""
    first: str
    """The first of the two."""
    second: str
    """The second of the two."""
    n: int
    """Clips that both have a value in."""
    unpaired: int
    """Clips that only one of the two has a value in."""
    subjects: int
    """How many subjects."""
    first_mean: float | None
    """Mean of the first."""
    second_mean: float | None
    """Mean of the second."""
    difference: float | None
    """First minus second, in the quantity's own unit."""
    low: float | None
    """Lower bound of the 95 % interval."""
    high: float | None
    """Upper bound of the 95 % interval."""
    method: str
    """How the interval was made, or why there is none."""
    p: float | None
    """Of the paired test, before correction."""
    corrected_p: float | None
    """After Holm's correction over all tests of the file."""
    winner: str | None
    """The better one if the corrected p lies below alpha."""


class Comparison(Record):
    """What `spinemed motion compare` writes."""

    kind: Literal["motion comparison"] = "motion comparison"
    """What file or record this is."""
    names: tuple[str, ...]
    """The methods, in the order given."""
    origin: str
    """What the reference is, in words; a simulated one says so."""
    clips: int
    """How many clips."""
    subjects: int
    """How many subjects."""
    alpha: float
    """A test counts where its corrected p lies below it."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    tests: tuple[PairTest, ...]
    """All pairs in all quantities."""


def read_entries(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Scores]:
    """Scores by the method's name; methods of one name are told apart by their folder.

    Raises:
        ReadError, RecordError: A file cannot be used, or one is given twice.
    """
    return scorefiles.read_entries(paths, read_scores)


def compare_scores(
    entries: Mapping[str, Scores],
    *,
    quantities: Sequence[str] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """All pairs of methods in all quantities, tested.

    Args:
        entries: Scores by the method's name, two or more.
        quantities: Such as "spine/p_mpjpe_mm"; `DEFAULT_QUANTITIES` unless given.
        alpha: A win needs a corrected p below this.
        seed, resamples: Of intervals and tests.

    Raises:
        RecordError: Fewer than two methods, other clips or settings among them, or a quantity that one lacks.
    """
    _require_comparable(entries)
    tables = {
        name: {clip.clip: clip.values for clip in scores.clips if clip.status != "unusable reference"}
        for name, scores in entries.items()
    }
    have = {name: {key for values in table.values() for key in values} for name, table in tables.items()}
    chosen = _chosen(quantities, have)
    first = next(iter(entries.values()))
    subject = {clip.clip: clip.subject for clip in first.clips}
    tests = [
        _pair(key, one, other, tables, subject, seed, resamples)
        for key in chosen
        for one, other in combinations(entries, 2)
    ]
    corrected = holm([test.p for test in tests])
    return Comparison(
        names=tuple(entries),
        origin=first.origin,
        clips=len(first.clips),
        subjects=len(set(subject.values())),
        alpha=alpha,
        seed=seed,
        resamples=resamples,
        tests=tuple(_decided(test, p, alpha) for test, p in zip(tests, corrected, strict=True)),
    )


def _require_comparable(entries: Mapping[str, Scores]) -> None:
    if len(entries) < 2:
        raise RecordError("a comparison needs two or more methods", field="SCORES", cure="give another scores.json")
    (first, reference), *others = entries.items()
    for name, scores in others:
        if scores.reference_sha256 != reference.reference_sha256 or {clip.clip for clip in scores.clips} != {
            clip.clip for clip in reference.clips
        }:
            raise RecordError(
                f"'{name}' and '{first}' were not scored on the same clips of the same data set", field="clips",
                cure="evaluate both against the same reference and split; absent predictions count as misses there",
            )  # fmt: skip
        if scores.settings != reference.settings:
            raise RecordError(
                f"'{name}' and '{first}' were scored with other settings", field="settings",
                cure="evaluate both with the same options",
            )  # fmt: skip


def _chosen(quantities: Sequence[str] | None, have: Mapping[str, set[str]]) -> list[str]:
    shared = set.intersection(*have.values())
    if quantities is None:
        found = [key for key in DEFAULT_QUANTITIES if key in shared]
        if not found:
            raise RecordError(
                "the methods share no quantity that is tested by default", field="--quantities",
                cure=f"name some that all have, such as {', '.join(sorted(shared)[:4]) or 'none here'}",
            )  # fmt: skip
        return found
    known = {each.name for each in METRICS}
    for key in quantities:
        lacking = [name for name, keys in have.items() if key not in keys]
        if key.rpartition("/")[2] not in known or lacking:
            raise RecordError(
                f"{key!r} has no value in {', '.join(lacking) or 'any method'}", field="--quantities",
                cure=f"use group/quantity among {', '.join(sorted(shared)[:6])} ...",
            )  # fmt: skip
    return list(dict.fromkeys(quantities))


def _merit(found: Metric, value: float) -> float:
    """What is compared: the value, or for a nominal quantity its distance from the nominal share."""
    return abs(value - int(found.name[-2:]) / 100) if found.better == "nominal" else value


def _pair(
    key: str,
    first: str,
    second: str,
    tables: Mapping[str, Mapping[str, Mapping[str, float]]],
    subject: Mapping[str, str],
    seed: int,
    resamples: int,
) -> PairTest:
    found = split_key(key)[1]
    one, other = (
        {clip: _merit(found, values[key]) for clip, values in tables[name].items() if key in values}
        for name in (first, second)
    )
    rng = generator_for(seed, "motion compare", key, first, second)
    pair = paired_means(one, other, subject, rng, resamples=resamples)
    return PairTest(
        quantity=key, first=first, second=second, n=pair.n, unpaired=pair.unpaired, subjects=pair.clusters,
        first_mean=pair.first_mean, second_mean=pair.second_mean, difference=pair.difference, low=pair.low,
        high=pair.high, method=pair.method, p=pair.p, corrected_p=None, winner=None,
    )  # fmt: skip


def _decided(test: PairTest, corrected: float | None, alpha: float) -> PairTest:
    better = split_key(test.quantity)[1].better
    winner = winner_of(test.first, test.second, test.difference, corrected, better=better, alpha=alpha)
    return test.model_copy(update={"corrected_p": corrected, "winner": winner})


def write_comparison(out: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write `comparison.json` and `comparison.html`.

    Raises:
        RunError: The folder cannot be made.
    """
    from bench.motion.report import comparison_page

    folder = make_folder(out)
    write_json(folder / COMPARISON_FILE, comparison.model_dump(mode="json"))
    write_text(folder / _PAGE_FILE, comparison_page(comparison))
