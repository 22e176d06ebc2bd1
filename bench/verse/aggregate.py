"""Vertebra records to a summary: pooled, by scan, level, region, field of view, anomaly and place in the volume.

Convention: every row carries its n, its patients and its misses. Intervals resample patients, never vertebrae or scans
(:mod:`spinemed.statistics`), and are left out below :data:`FEWEST_PATIENTS` patients, with `method` saying so. Pooled
means, means of scan means and means per level answer different questions and differ; all three are published.

Degenerate cases: a group without a vertebra has no row; a quantity without a value in a group (matched-only distances
where all is missed) has n = 0 and value None; a case whose reference cannot be used has no vertebrae here and is
counted in `counts_of`.

Trap: a case whose prediction is absent or unusable stays in every mean, as misses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from bench.estimates import Estimate, estimate_columns
from bench.verse.metrics import METRICS
from bench.verse.records import CaseScore, SummaryRow, VertebraScore

__all__ = ["FEWEST_PATIENTS", "counts_of", "scan_means", "summarise"]

FEWEST_PATIENTS = 20
"""Below this a bootstrap over patients is too coarse to be printed as an interval."""

_PER_SCAN = ("precision", "f1", "official_dice")
"""Quantities that exist per scan only."""


def scan_means(vertebrae: Iterable[VertebraScore]) -> dict[str, float]:
    """Means of every quantity over the vertebrae of one scan; a quantity without a value is absent."""
    kept = list(vertebrae)
    means = {}
    for each in METRICS:
        values = [value for vertebra in kept if (value := each.read(vertebra)) is not None]
        if values:
            means[each.name] = fmean(values)
    return means


def summarise(
    cases: Sequence[CaseScore], vertebrae: Sequence[VertebraScore], *, seed: int = 0, resamples: int = 10_000
) -> tuple[SummaryRow, ...]:
    """All rows of a summary.

    Args:
        cases: The scans.
        vertebrae: Their vertebrae.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples.
    """
    view = {case.case: case.field_of_view for case in cases}
    rows = [_pooled("vertebra", "all", vertebrae, seed, resamples), _by_scan(cases, vertebrae, seed, resamples)]
    splits: tuple[tuple[str, Callable[[VertebraScore], Sequence[str]]], ...] = (
        ("region", lambda vertebra: (vertebra.region.value,)),
        ("field of view", lambda vertebra: (view[vertebra.case],)),
        ("anomaly", lambda vertebra: ("any", *vertebra.anomaly) if vertebra.anomaly else ("none",)),
        ("place", lambda vertebra: ("cut by the volume" if vertebra.at_edge else "whole in the volume",)),
        ("level", lambda vertebra: (vertebra.level.value,)),
    )
    ordinal = {vertebra.level.value: vertebra.level.ordinal for vertebra in vertebrae}
    ordinal |= {vertebra.region.value: vertebra.region.ordinal for vertebra in vertebrae}
    ordinal |= {"none": -2, "any": -1}
    for by, keys_of in splits:
        groups: dict[str, list[VertebraScore]] = {}
        for vertebra in vertebrae:
            for key in keys_of(vertebra):
                groups.setdefault(key, []).append(vertebra)
        rows += [
            _pooled(by, key, groups[key], seed, resamples)
            for key in sorted(groups, key=lambda key: (ordinal.get(key, 0), key))
        ]
    return tuple(row for row in rows if row.vertebrae)


def _pooled(by: str, key: str, vertebrae: Sequence[VertebraScore], seed: int, resamples: int) -> SummaryRow:
    patients = [vertebra.patient for vertebra in vertebrae]
    columns = {each.name: [each.read(vertebra) for vertebra in vertebrae] for each in METRICS}
    return SummaryRow(
        by=by,
        key=key,
        vertebrae=len(vertebrae),
        missed=sum(vertebra.outcome != "matched" for vertebra in vertebrae),
        scans=len({vertebra.case for vertebra in vertebrae}),
        patients=len(set(patients)),
        values=_estimates(
            columns, patients, shares={"identified", "identified_admissible"}, seed=(seed, by, key), resamples=resamples
        ),
    )


def _by_scan(cases: Sequence[CaseScore], vertebrae: Sequence[VertebraScore], seed: int, resamples: int) -> SummaryRow:
    with_vertebrae = {vertebra.case for vertebra in vertebrae}
    kept = [case for case in cases if case.case in with_vertebrae]
    columns: dict[str, list[float | None]] = {
        each.name: [case.means.get(each.name) for case in kept] for each in METRICS
    }
    for name in _PER_SCAN:
        columns[name] = [getattr(case, name) for case in kept]
    patients = [case.patient for case in kept]
    return SummaryRow(
        by="scan",
        key="all",
        vertebrae=len(vertebrae),
        missed=sum(vertebra.outcome != "matched" for vertebra in vertebrae),
        scans=len(kept),
        patients=len(set(patients)),
        values=_estimates(columns, patients, shares=set(), seed=(seed, "scan", "all"), resamples=resamples),
    )


def _estimates(
    columns: dict[str, list[float | None]],
    patients: Sequence[str],
    *,
    shares: set[str],
    seed: tuple[int, str, str],
    resamples: int,
) -> dict[str, Estimate]:
    """All quantities of one group. Those with values for the same vertebrae share their bootstrap draws."""
    return estimate_columns(
        columns,
        patients,
        key=("verse summary", *seed[1:]),
        seed=seed[0],
        shares=shares,
        resamples=resamples,
        fewest=FEWEST_PATIENTS,
        unit="patients",
    )


def counts_of(cases: Sequence[CaseScore], vertebrae: Sequence[VertebraScore]) -> dict[str, int]:
    """What happened how often, over all cases: nothing is lost between the folders and the means."""
    return {
        "cases": len(cases),
        **{
            status.replace(" ", "_"): sum(case.status == status for case in cases)
            for status in ("scored", "no prediction", "unusable prediction", "unusable reference")
        },
        "cases_with_errors": sum(bool(case.errors) for case in cases),
        "reoriented": sum(case.reoriented for case in cases),
        "resampled": sum(case.resampled for case in cases),
        "patients": len({case.patient for case in cases}),
        "vertebrae": len(vertebrae),
        "vertebrae_matched": sum(vertebra.outcome == "matched" for vertebra in vertebrae),
        "vertebrae_missed": sum(vertebra.outcome != "matched" for vertebra in vertebrae),
        "vertebrae_with_labels": sum(vertebra.identified is not None for vertebra in vertebrae),
        "identified": sum(bool(vertebra.identified) for vertebra in vertebrae),
        "predicted": sum(case.predicted or 0 for case in cases),
        "wrong_levels": sum(len(case.wrong_levels) for case in cases),
        "wrong_outlines": sum(len(case.wrong_outlines) for case in cases),
        "shifted_scans": sum(case.shift is not None for case in cases),
        "extra": sum(not extra.excuse for case in cases for extra in case.extra),
        "extra_excused": sum(bool(extra.excuse) for case in cases for extra in case.extra),
    }
