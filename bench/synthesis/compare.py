"""Several synthesisers on the same vertebrae: paired differences, clustered by patient, corrected over all tests.

Convention: the unit of a test is the vertebra; a difference is first minus second over the vertebrae in which both have
a value (:mod:`bench.paired`), over all vertebrae or group by group (`by`: grade, shape, neighbourhood, region, level,
split). The bias is compared by its size. Holm corrects over all pairs, quantities and groups of one comparison.

Trap: quantities that leave misses out compare what both made; rank by one that counts them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from bench import scorefiles
from bench.paired import paired_means, winner_of
from bench.synthesis.evaluate import GROUPS
from bench.synthesis.metrics import METRICS, metric
from bench.synthesis.records import Scores, VertebraScore, read_scores
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
    "loss_mae_capped",
    "loss_mae",
    "dice",
    "rhdr_percent",
    "same_grade",
    "ssim_target",
    "psnr_target_db",
)
"""What is tested unless something else is asked for, as far as all methods have it."""


class PairTest(Record):
    """Two methods in one quantity."""

    quantity: str
    """What is compared."""
    group: str
    """Which vertebrae: all, or those of one group."""
    first: str
    """The first of the two."""
    second: str
    """The second of the two."""
    n: int
    """Vertebrae that both have a value in."""
    unpaired: int
    """Vertebrae that only one of the two has a value in."""
    patients: int
    """How many patients or phantoms."""
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
    corrected_p: float | None = None
    """After Holm's correction over all tests of the file."""
    winner: str | None = None
    """The better one if the corrected p lies below alpha."""


class Comparison(Record):
    """What `spinemed synthesis compare` writes."""

    kind: Literal["synthesis comparison"] = "synthesis comparison"
    """What file or record this is."""
    names: tuple[str, ...]
    """The methods, in the order given."""
    by: str
    """What groups are made by."""
    vertebrae: int
    """How many vertebrae."""
    patients: int
    """How many patients or phantoms."""
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
    by: str = "all",
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """All pairs of methods in all quantities, tested.

    Args:
        entries: Scores by the method's name, two or more.
        quantities: Names of `METRICS`; `DEFAULT_QUANTITIES` unless given.
        by: Which groups are tested apart; "all" tests all vertebrae together.
        alpha: A win needs a corrected p below this.
        seed, resamples: Of intervals and tests.

    Raises:
        RecordError: Fewer than two methods, other vertebrae among them, an unknown group, or a quantity that one lacks.
    """
    _require_comparable(entries)
    keys = dict(GROUPS)
    if by not in keys:
        raise RecordError(f"'{by}' is no way to group", field="--by", cure=f"use one of {', '.join(keys)}")
    first = next(iter(entries.values()))
    groups: dict[str, set[str]] = {}
    for one in sorted(first.vertebrae, key=lambda each: each.level):
        group = keys[by](one)
        if group is not None:
            groups.setdefault(group, set()).add(_key(one))
    if not groups:
        raise RecordError(f"no vertebra belongs to a group by {by}", field="--by", cure="evaluate with --grades")
    tables = {
        name: {_key(one): one.values for one in scores.vertebrae if one.status != "unusable reference"}
        for name, scores in entries.items()
    }
    owners = {_key(one): one.patient for one in first.vertebrae}
    tests = [
        _pair(quantity, group, members, one, other, tables, owners, seed, resamples)
        for quantity in _chosen(quantities, tables)
        for group, members in groups.items()
        for one, other in combinations(entries, 2)
    ]
    corrected = holm([test.p for test in tests])
    return Comparison(
        names=tuple(entries), by=by, vertebrae=len(owners), patients=len(set(owners.values())), alpha=alpha, seed=seed,
        resamples=resamples, tests=tuple(_decided(test, p, alpha) for test, p in zip(tests, corrected, strict=True)),
    )  # fmt: skip


def _key(one: VertebraScore) -> str:
    return f"{one.case} {one.level}"


def _require_comparable(entries: Mapping[str, Scores]) -> None:
    if len(entries) < 2:
        raise RecordError("a comparison needs two or more methods", field="SCORES", cure="give another scores.json")
    (first, reference), *others = entries.items()

    def facts(scores: Scores) -> list[tuple[str, bool, int | None]]:
        return sorted((_key(one), one.hidden, one.grade) for one in scores.vertebrae)

    for name, scores in others:
        if facts(scores) != facts(reference):
            raise RecordError(
                f"'{name}' and '{first}' were not scored on the same vertebrae", field="vertebrae",
                cure="evaluate both against the same reference; absent syntheses count as misses there",
            )  # fmt: skip


def _chosen(quantities: Sequence[str] | None, tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    have = {name: {key for values in table.values() for key in values} for name, table in tables.items()}
    shared = set.intersection(*have.values())
    if quantities is None:
        return [name for name in DEFAULT_QUANTITIES if name in shared]
    for name in quantities:
        if name not in shared:
            known = [each.name for each in METRICS if each.name in shared]
            raise RecordError(
                f"'{name}' has no value in all methods", field="--quantities", cure=f"use some of {', '.join(known)}"
            )
    return list(dict.fromkeys(quantities))


def _pair(
    quantity: str,
    group: str,
    members: set[str],
    first: str,
    second: str,
    tables: Mapping[str, Mapping[str, Mapping[str, float]]],
    owners: Mapping[str, str],
    seed: int,
    resamples: int,
) -> PairTest:
    towards_zero = metric(quantity).better == "zero"
    one, other = (
        {
            key: abs(values[quantity]) if towards_zero else values[quantity]
            for key, values in tables[name].items()
            if key in members and quantity in values
        }
        for name in (first, second)
    )
    rng = generator_for(seed, "synthesis compare", quantity, group, first, second)
    pair = paired_means(one, other, owners, rng, resamples=resamples)
    return PairTest(
        quantity=quantity, group=group, first=first, second=second, n=pair.n, unpaired=pair.unpaired,
        patients=pair.clusters, first_mean=pair.first_mean, second_mean=pair.second_mean, difference=pair.difference,
        low=pair.low, high=pair.high, method=pair.method, p=pair.p,
    )  # fmt: skip


def _decided(test: PairTest, corrected: float | None, alpha: float) -> PairTest:
    better = metric(test.quantity).better
    winner = winner_of(test.first, test.second, test.difference, corrected, better=better, alpha=alpha)
    return test.model_copy(update={"corrected_p": corrected, "winner": winner})


def write_comparison(out: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write `comparison.json` and `comparison.html`.

    Raises:
        RunError: The folder cannot be made.
    """
    from bench.synthesis.report import comparison_page

    folder = make_folder(out)
    write_json(folder / COMPARISON_FILE, comparison.model_dump(mode="json"))
    write_text(folder / _PAGE_FILE, comparison_page(comparison))
