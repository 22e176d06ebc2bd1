"""The full figures of grading: rules on measured losses against the paper's machine, other rules, and the ceiling.

The same rows as in `test_vertebra_measure.py` (its fixtures are loaded from there). What learns is graded by nested
cross-validation over whole phantoms; nothing of it is shipped.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.measure import GENANT_BORDERS, genant_grade, genant_shape
from spinemed.statistics import Interval
from spinemed.vertebra.scores import GradeScores, grade_scores
from spinemed.vertebra.trained import CrossValidated, Model, cross_validated

pytestmark = pytest.mark.acceptance

COMMAND = "pytest -m acceptance tests/acceptance/test_vertebra_grades.py"
Array = NDArray[np.float64]
Rows = list[dict[str, Any]]
Note = Callable[..., None]
Grades = list[int | None]
BORDER_POINTS = 2.0
BORDERS = "Genant's borders on RHLV, paper mode with the twin as synthesis"
REPEATS = 500


def _measure() -> ModuleType:
    path = Path(__file__).with_name("test_vertebra_measure.py")
    spec = importlib.util.spec_from_file_location("vertebra_measure_figures", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["vertebra_measure_figures"] = found
    spec.loader.exec_module(found)
    return found


measure = _measure()
made, rows, FULL = measure.made, measure.rows, measure.FULL
NOT_PATIENTS = measure.NOT_PATIENTS
ONLY = "phantom masks: measurement, not reading, and not comparable with the 0.723 published on CT of patients; "


@pytest.fixture(scope="session")
def note(record: Callable[..., None]) -> Note:
    """Record a figure of the full run; only print one of a smaller run."""

    def say(order: int, name: str, **facts: Any) -> None:
        sys.stdout.write(f"{order} {name} | {facts['asked']} | {facts['measured']} | {facts['met']}\n")
        if measure.count() >= FULL:
            record(measure.ISSUE, order, name, command=COMMAND, **facts)

    return say


@pytest.fixture(scope="session")
def kept(rows: Callable[[str], Rows]) -> Rows:
    found: Rows = measure.measured(rows("upright"))
    return found


def genant(rows: Rows) -> list[int]:
    return [int(genant_grade(*row["true"])) for row in rows]


def patients(rows: Rows) -> list[str]:
    return [str(row["phantom"]) for row in rows]


def features(row: dict[str, Any], name: str) -> list[float] | None:
    """Losses in percent that a machine learns from; None where the row has none."""
    if name in ("oracle", "estimated"):
        return [each[0] for each in (row["oracle"] if name == "oracle" else row["curve"]["loss"])]
    if row["paper"] is None:
        return None
    told: list[float] = row["paper"]["copy"] if name == "copy" else row["paper"]["twin"]
    told = told + row["paper"]["coronal"] if name == "2.5D" else told
    return told if measure.sensible(told) else None


def learned(rows: Rows, name: str, model: Model) -> tuple[Grades, CrossValidated, list[int]]:
    """Grades by nested cross-validation, None without features; and which rows they are of."""
    usable = [number for number, row in enumerate(rows) if features(row, name) is not None]
    kept = [rows[number] for number in usable]
    values = np.array([features(row, name) for row in kept])
    found = cross_validated(values, genant(kept), patients(kept), model, seed=measure.HELD_OUT)
    grades: Grades = [None] * len(rows)
    for number, grade in zip(usable, found.grades, strict=True):
        grades[number] = int(grade)
    return grades, found, usable


def ceiling(rows: Rows, losses: Array) -> tuple[float, float]:
    """Macro-F1 and kappa to be expected of Genant's rule where true losses carry errors as measured.

    The errors of whole and of fractured vertebrae, all three thirds together, are dealt anew among their own kind.
    """
    true = np.array([row["true"] for row in rows])
    errors = losses - true
    broken = true.max(axis=1) > 0
    rng = np.random.default_rng(measure.HELD_OUT)
    truth = genant(rows)
    table = np.zeros((4, 4))
    found = []
    for _ in range(REPEATS):
        told = true.copy()
        for part in (np.flatnonzero(broken), np.flatnonzero(~broken)):
            told[part] += errors[rng.choice(part, len(part))]
        given = [genant_grade(*row) for row in told]
        table[:] = 0
        np.add.at(table, (np.array(truth), np.array(given)), 1)
        found.append(_quick(table))
    mean = np.mean(found, axis=0)
    return float(mean[0]), float(mean[1])


def _quick(table: Array) -> tuple[float, float]:
    """Macro-F1 and quadratic kappa of a (4, 4) table."""
    hit, sums = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    cost = (np.arange(4)[:, None] - np.arange(4)[None, :]) ** 2.0
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    f1 = np.divide(2 * hit, sums, out=np.zeros(4), where=sums > 0)
    return float(f1.mean()), float(1 - (cost * table).sum() / (cost * chance).sum())


def said(found: Interval) -> str:
    if found.value is None:
        return "–"
    return f"{found.value:.3f}" + ("" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]")


def words(scores: GradeScores, true: Sequence[int], given: Grades, near: NDArray[np.bool_]) -> str:
    right = np.array([a == b for a, b in zip(true, given, strict=True)])
    none = sum(each is None for each in given)
    return (
        f"macro-F1 {said(scores.macro_f1)}, quadratic kappa {said(scores.kappa)}; F1 of grades 0 to 3 "
        f"{', '.join(said(each) for each in scores.f1)}; within {BORDER_POINTS:g} points of a border "
        f"{right[near].sum()} of {near.sum()} right, elsewhere {right[~near].sum()} of {(~near).sum()}; "
        f"{len(given)} vertebrae, {scores.kappa.clusters} phantoms, {none} without a grade; "
        f"rows true 0-3, columns given 0-3 and none {[list(row) for row in scores.table]}"
    )


def test_grades(kept: Rows, rows: Callable[[str], Rows], note: Note) -> None:
    true, names = genant(kept), patients(kept)
    near = np.array([min(abs(max(row["true"]) - border) for border in GENANT_BORDERS) <= BORDER_POINTS for row in kept])
    machines = {
        "linear balanced SVM on three RHLV, paper mode with the twin as synthesis": ("twin", "svm"),
        "linear balanced SVM on six RHLV (2.5D), paper mode with the twin as synthesis": ("2.5D", "svm"),
        "linear balanced SVM on three RHLV, paper mode with a copy of the neighbour": ("copy", "svm"),
        "linear balanced SVM on three robust losses, oracle reference": ("oracle", "svm"),
        "linear balanced SVM on three robust losses, estimated reference": ("estimated", "svm"),
        "ordinal model on three robust losses, oracle reference": ("oracle", "ordinal"),
        "ordinal model on three robust losses, estimated reference": ("estimated", "ordinal"),
    }
    given: dict[str, Grades] = {
        "rules, oracle reference": [row["oracle_grade"] for row in kept],
        "rules, estimated reference": [row["curve"]["grade"] for row in kept],
        "Genant's borders, mean of neighbours": [
            int(genant_grade(*(each[0] for each in row["mean"]["loss"]))) for row in kept
        ],
        BORDERS: [None if row["paper"] is None else int(genant_grade(*row["paper"]["twin"])) for row in kept],
        "own ratio, as TotalSegmentator's spine report": [int(genant_grade(row["own_ratio"])) for row in kept],
    }
    costs = {}
    for name, (source, model) in machines.items():
        grades, found, _ = learned(kept, source, model)  # type: ignore[arg-type]
        given[name], costs[name] = grades, found.costs
    bounds = {"rules, oracle reference": (0.80, 0.92), "rules, estimated reference": (0.65, 0.85)}
    best = {
        "rules, oracle reference": ceiling(kept, np.array([features(row, "oracle") for row in kept])),
        "rules, estimated reference": ceiling(kept, np.array([features(row, "estimated") for row in kept])),
    }
    left = sum("left_out" in row for row in rows("upright"))
    scores = {
        name: grade_scores(true, grades, names, np.random.default_rng(measure.HELD_OUT))
        for name, grades in given.items()
    }
    for order, (name, grades) in enumerate(given.items(), start=50):
        own, bound = scores[name], bounds.get(name)
        f1, kappa = own.macro_f1.value or 0.0, own.kappa.value or 0.0
        asked, met = "reported", None
        if bound:
            asked = f"macro-F1 ≥ {bound[0]:.2f}, quadratic kappa ≥ {bound[1]:.2f}"
            met = f1 >= bound[0] and kappa >= bound[1]
        limit = f"; ceiling at the measured error {best[name][0]:.3f} and {best[name][1]:.3f}" if name in best else ""
        cost = f"; C {', '.join(f'{each:g}' for each in costs[name])}" if name in costs else ""
        note(
            order, f"Genant grade from 1 mm masks: {name}", asked=asked, met=met,
            measured=words(own, true, grades, near) + limit + cost,
            note=ONLY + (f"nested cross-validation over phantoms; {NOT_PATIENTS}" if name in machines else
                         f"{left} vertebrae not measurable; {NOT_PATIENTS}"),
        )  # fmt: skip
    paper = {name: scores[name] for name in given if "paper mode" in name and "SVM" in name}
    rival = {**paper, "own ratio": scores["own ratio, as TotalSegmentator's spine report"]}
    beaten = {}
    for order, name in ((70, "rules, oracle reference"), (71, "rules, estimated reference")):
        mine = scores[name]
        above = {
            other: (mine.macro_f1.value or 0) > (its.macro_f1.value or 0)
            and (mine.kappa.value or 0) > (its.kappa.value or 0)
            for other, its in rival.items()
        }
        note(
            order, f"grades by {name} against paper mode and the own-ratio rule",
            asked="above both in macro-F1 and kappa", met=all(above.values()),
            measured=f"{mine.macro_f1.value:.3f} and {mine.kappa.value:.3f} against "
            + "; ".join(f"{its.macro_f1.value:.3f} and {its.kappa.value:.3f} ({it})" for it, its in rival.items()),
            note=ONLY + "paper mode (its machine) is given the healthy twin itself as its synthesis, unless a copy is "
            "named; not among the rivals: Genant's borders on the RHLV of the twin, "
            f"{said(scores[BORDERS].macro_f1)} and {said(scores[BORDERS].kappa)}",
        )  # fmt: skip
        beaten[name] = above
    if measure.count() >= FULL:
        assert all(all(each.values()) for each in beaten.values()), beaten
        assert len(kept) >= 400
        assert len(set(names)) >= 80
        for name, (least_f1, least_kappa) in bounds.items():
            assert (scores[name].macro_f1.value or 0) >= least_f1
            assert (scores[name].kappa.value or 0) >= least_kappa


def test_probabilities_and_shapes(kept: Rows, note: Note) -> None:
    graded = [row for row in kept if row["curve"]["probabilities"] is not None]
    true = np.array(genant(graded))
    shares = {"rules (interval of the largest loss)": np.array([row["curve"]["probabilities"] for row in graded])}
    for model in ("svm", "ordinal"):
        _, found, _ = learned(graded, "estimated", model)
        shares[f"{model}, nested cross-validation"] = found.probabilities
    said_of = []
    for name, each in shares.items():
        brier = float(((each - np.eye(4)[true]) ** 2).sum(axis=1).mean())
        sure, right = each.max(axis=1), each.argmax(axis=1) == true
        bins = np.clip((sure * 5).astype(int), 0, 4)
        off = sum(abs(sure[bins == n].sum() - right[bins == n].sum()) for n in range(5)) / len(true)
        said_of.append(
            f"{name}: Brier {brier:.3f}, calibration error {off:.3f}, most probable right {right.mean():.3f}"
        )
    told = np.array([row["curve"]["grade"] for row in graded])
    again = np.array([row["curve"]["look_again"] for row in graded])
    wrong = told != true
    note(
        72, "probability of each grade, and the flag to look again (estimated reference)", asked="reported", met=None,
        measured=f"{'; '.join(said_of)}; flagged {again.mean():.3f}, "
        f"of wrong grades {again[wrong].sum()} of {wrong.sum()}",
        note="calibration error: share off over five equal bins of the highest probability; " + NOT_PATIENTS,
    )  # fmt: skip
    broken = [row for row in graded if max(row["true"]) >= GENANT_BORDERS[0]]
    same = [genant_shape([each[0] for each in row["curve"]["loss"]]) == genant_shape(row["true"]) for row in broken]
    note(
        73, "shape (wedge, biconcave, crush) of fractures from 20 % (estimated reference)", asked="reported", met=None,
        measured=f"{sum(same)} of {len(same)} as drawn", note=NOT_PATIENTS,
    )  # fmt: skip
    assert len(graded) > 0


def test_what_stands_beside_a_grade(kept: Rows, note: Note) -> None:
    more = [row["more"] for row in kept if "more" in row]
    both = [each for each in more if each["before"] is not None]
    gain = np.array([
        [each["now"]["kyphosis"] - each["before"]["kyphosis"], each["kyphosis_gain_deg"]]
        for each in both
        if each["kyphosis_gain_deg"] is not None and None not in (each["now"]["kyphosis"], each["before"]["kyphosis"])
    ])  # fmt: skip
    wall = np.array([
        [each["now"]["retropulsion"] - each["before"]["retropulsion"], each["retropulsion_mm"]]
        for each in both
        if None not in (each["now"]["retropulsion"], each["before"]["retropulsion"])
    ])  # fmt: skip
    canal = np.array([
        [each["now"]["canal"] - each["before"]["canal"], 100 * each["retropulsion_mm"] / each["canal_mm"]]
        for each in both
        if None not in (each["now"]["canal"], each["before"]["canal"])
    ])  # fmt: skip
    healthy = [each["before"] for each in both]
    parts = []
    for name, pairs, unit in (
        ("local kyphosis", gain, "°"),
        ("retropulsion", wall, " mm"),
        ("canal compromise", canal, " points"),
    ):
        off = pairs[:, 0] - pairs[:, 1]
        parts.append(
            f"{name} off by {off.mean():+.1f}, absolute {np.abs(off).mean():.1f}{unit} ({len(pairs)} fractures)"
        )
    burst = wall[wall[:, 1] > 0]
    depth = [each["retropulsion"] for each in healthy if each["retropulsion"] is not None]
    narrow = [each["canal"] for each in healthy if each["canal"] is not None]
    note(
        74, "what stands beside a grade: gain over the healthy twin against what was drawn", asked="reported", met=None,
        measured=f"{'; '.join(parts)}; of {len(burst)} burst walls {np.abs(burst[:, 0] - burst[:, 1]).mean():.1f} mm; "
        f"healthy walls stand {np.mean(depth):+.1f} ± {np.std(depth):.1f} mm off the neighbours' line, healthy canals "
        f"{np.mean(narrow):+.0f} ± {np.std(narrow):.0f} % off the neighbours' mean",
        note="the drawn bulge stands on a waisted wall and passes the line of the corners by less; a wedge's tilt "
        "moves the wall as well; " + NOT_PATIENTS,
    )  # fmt: skip
    assert np.abs(gain[:, 0] - gain[:, 1]).mean() < 5
    assert np.abs(wall[:, 0] - wall[:, 1]).mean() < 2


@pytest.fixture(scope="session")
def mimic_rows(made: ModuleType, root: Path, work: Path) -> Rows:
    """Vertebrae of phantoms with mimics and no fracture."""
    seed = measure.HELD_OUT if measure.count() >= FULL else measure.TUNING
    folder = work / f"vertebra-{seed}-{made.fingerprint(root)}" / "mimics"
    found: Rows = made.resumed(folder, made.mimic_rows_of, seed, "", max(7, measure.count() * 7 // 22))
    return found


def test_mimics_are_not_told_from_fractures_by_height(
    mimic_rows: Rows,
    kept: Rows,
    made: ModuleType,
    note: Note,
) -> None:
    graded = [row for row in mimic_rows if row["grade"] is not None]
    found = []
    for kind in (*made.MIMICS, None):
        own = [row for row in graded if row["mimic"] == kind]
        called = [row for row in own if row["grade"] >= 1]
        found.append(f"{(kind or 'no mimic').replace('_', ' ')} {len(called)} of {len(own)}{beside(called)}")
    real = [{**row["more"]["now"], "grade": row["curve"]["grade"]} for row in kept if "more" in row]
    called = [row for row in real if (row["grade"] or 0) >= 1]
    plain = [row["grade"] >= 1 for row in graded if row["mimic"] is None]
    note(
        75, "grade 1 or more where nothing is broken (estimated reference)", asked="reported", met=None,
        measured=f"{'; '.join(found)}; {len(mimic_rows) - len(graded)} without a grade; for comparison "
        f"{len(called)} true fractures{beside(called)}",
        note="height loss alone is not a fracture: mimics are wedged or short by design; " + NOT_PATIENTS,
    )  # fmt: skip
    assert np.mean(plain) < 0.05


def beside(rows: Sequence[dict[str, Any]]) -> str:
    """Medians of what stands beside these grades."""
    parts = []
    for name, words, unit in (
        ("wedge", "wedge", "°"), ("kyphosis", "local kyphosis", "°"), ("retropulsion", "wall", " mm"),
        ("canal", "canal", " %"),
    ):  # fmt: skip
        known = [row[name] for row in rows if row[name] is not None]
        if known:
            parts.append(f"{words} {np.median(known):.1f}{unit}")
    return f" (median {', '.join(parts)})" if parts else ""
