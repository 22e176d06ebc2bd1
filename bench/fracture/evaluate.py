"""Predicted grades against read ones: every vertebra of the reference scored, none lost, the same bytes.

Convention: cases are matched by name (:mod:`bench.fracture.predictions`). What is written::

    OUT/scores.json     vertebrae, the summary with intervals, calibration, the settings
    OUT/report.html     the page, with everything inside it

What counts: a vertebra without a predicted grade (refused, not listed, no file, unusable file) is wrong, with its
outcome and reason; a graded level that the reference does not rate is counted as extra and scored nowhere, because
nobody knows.

Trap: grades are read by eye. The best that two readers agree is no 1.0, and grade 1 is the least certain of all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.faults import error_fields
from bench.fracture.aggregate import calibrate, summarise
from bench.fracture.predictions import PredictedGrade, Predictions, match_cases, read_predictions
from bench.fracture.records import (
    NEAR_POINTS,
    SCORES_FILE,
    CaseError,
    GradedPair,
    Outcome,
    Scores,
    Settings,
    write_scores,
)
from bench.fracture.reference import ReadGrade, Reference, read_reference
from spinemed import __version__
from spinemed.errors import ReadError, RecordError
from spinemed.measure import GENANT_BORDERS
from spinemed.run import alone_in, make_folder
from spinemed.tables import file_sha256, write_text

__all__ = ["REPORT_FILE", "evaluate_grades", "score_grades"]

REPORT_FILE = "report.html"
_SHOWN = 5


def evaluate_grades(
    reference: str | os.PathLike[str],
    prediction: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    name: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    published: bool = False,
) -> Scores:
    """Score a grader.

    Args:
        reference: File of read grades (:mod:`bench.fracture.reference`).
        prediction: Folder of `grades.json`, or a table (:mod:`bench.fracture.predictions`).
        out: Where `scores.json` and `report.html` go; nothing is written without it.
        settings: Split.
        name: Of the grader; the folder's name if not given.
        seed, resamples: Of the bootstrap over patients.
        published: Put the published tables on the page.

    Raises:
        ReadError: A file or folder is missing, the split is empty, or no prediction fits any case.
        RecordError: A table is wrong, or the reference is given as its own prediction.
        RunError: `out` cannot be made, or another process works in it.
    """
    settings, guess = settings or Settings(), Path(prediction)
    grades = read_reference(reference)
    predictions = read_predictions(guess)
    for file in set(predictions.files.values()):
        if file.samefile(reference):
            raise RecordError(
                "is the reference itself", file=file, field="--prediction", cure="give the grader's own grades"
            )
    if out is None:
        return _scored(reference, grades, guess, predictions, settings, name, seed, resamples)
    folder = make_folder(out)
    with alone_in(folder, "evaluating into this folder"):
        for written in (SCORES_FILE, REPORT_FILE):  # of an earlier run: they must not outlive this one's death
            (folder / written).unlink(missing_ok=True)
        scores = _scored(reference, grades, guess, predictions, settings, name, seed, resamples)
        from bench.fracture.report import report_page

        write_text(folder / REPORT_FILE, report_page(scores, published=published))
        write_scores(folder / SCORES_FILE, scores)
    return scores


def score_grades(
    grades: Sequence[ReadGrade], predictions: Predictions, cases: dict[str, str]
) -> tuple[list[GradedPair], dict[str, tuple[PredictedGrade, ...]]]:
    """Pair every read grade with what the grader says.

    Args:
        grades: The reference.
        predictions: The grader.
        cases: Reference case to prediction.

    Returns:
        The pairs, and by case the graded levels that the reference does not rate.
    """
    pairs = []
    for one in grades:
        owner = cases.get(one.case)
        said: PredictedGrade | None = None
        outcome: Outcome = "no prediction"
        reason = ""
        if owner in predictions.errors:
            outcome, reason = "unusable prediction", predictions.errors[owner].problem
        elif owner is not None:
            said = predictions.cases[owner].get(one.level)
            outcome = "not listed" if said is None else "refused" if said.grade is None else "graded"
            reason = "" if said is None else said.reason
        near = None if one.loss_percent is None else _near(one.loss_percent)
        pairs.append(
            GradedPair(
                case=one.case, patient=one.patient, level=one.level, split=one.split, grade=one.grade, shape=one.shape,
                loss_percent=one.loss_percent, near_border=near, mimic=one.mimic,
                neighbour_broken=one.neighbour_broken, outcome=outcome, predicted=said.grade if said else None,
                predicted_shape=said.shape if said else None,
                predicted_loss_percent=said.loss_percent if said else None,
                probabilities=said.probabilities if said and said.grade is not None else None,
                look_again=bool(said and said.look_again), reason=reason,
            )
        )  # fmt: skip
    rated = {(one.case, one.level) for one in grades}
    extra = {
        case: tuple(
            grade
            for level, grade in sorted(predictions.cases.get(owner, {}).items())
            if (case, level) not in rated and grade.grade is not None
        )
        for case, owner in sorted(cases.items())
    }
    return pairs, {case: found for case, found in extra.items() if found}


def _near(loss_percent: float) -> bool:
    return min(abs(loss_percent - border) for border in GENANT_BORDERS) <= NEAR_POINTS


def _scored(
    file: str | os.PathLike[str],
    reference: Reference,
    guess: Path,
    predictions: Predictions,
    settings: Settings,
    name: str | None,
    seed: int,
    resamples: int,
) -> Scores:
    # Matched over all splits: a prediction of another split is no stranger.
    cases, strangers = match_cases(reference.grades, predictions)
    grades = [one for one in reference.grades if settings.split in ("all", one.split)]
    if not grades:
        raise ReadError(
            f"holds no graded vertebra of the split {settings.split}", file=file, field="--split", cure="choose another"
        )
    pairs, extra = score_grades(grades, predictions, {one.case: cases[one.case] for one in grades if one.case in cases})
    scored = {one.case for one in grades}
    used = {owner: case for case, owner in cases.items() if case in scored}
    roots = {str(guess): "PREDICTION"}
    errors = [
        CaseError.model_validate({"case": used[owner], **error_fields(error, roots)})
        for owner, error in sorted(predictions.errors.items())
        if owner in used
    ]
    outcomes = Counter(pair.outcome for pair in pairs)
    counts = {
        "cases": len(scored), "patients": len({one.patient for one in grades}), "vertebrae": len(pairs),
        "fractured": sum(pair.grade >= 1 for pair in pairs),
        **{key.replace(" ", "_"): outcomes[key] for key in _OUTCOMES},
        "extra": sum(len(levels) for levels in extra.values()), "unmatched_predictions": len(strangers),
        "cases_without_prediction": len(scored - set(cases)), "not_rated": reference.not_rated,
        "shapes_not_read": reference.shapes_not_read,
    }  # fmt: skip
    return Scores(
        version=__version__,
        name=name or guess.resolve().name,
        settings=settings,
        seed=seed,
        resamples=resamples,
        reference_sha256=file_sha256(file),
        trained_on=tuple(sorted(predictions.trained_on)),
        counts=counts,
        summary=summarise(pairs, seed=seed, resamples=resamples),
        calibration=calibrate(pairs, seed=seed, resamples=resamples),
        vertebrae=tuple(pairs),
        errors=tuple(errors),
        unmatched_predictions=strangers,
        extra={case: tuple(one.level for one in found) for case, found in extra.items()},
        warnings=_warnings(pairs, strangers, counts),
    )


_OUTCOMES: tuple[Outcome, ...] = ("graded", "refused", "not listed", "no prediction", "unusable prediction")


def _warnings(pairs: Sequence[GradedPair], strangers: Sequence[str], counts: dict[str, int]) -> tuple[str, ...]:
    found = []
    if strangers:
        more = " ..." * (len(strangers) > _SHOWN)
        found.append(
            f"{len(strangers)} predictions belong to no case of the reference: {', '.join(strangers[:_SHOWN])}{more}"
        )
    for split in sorted({pair.split for pair in pairs}):
        own = [pair for pair in pairs if pair.split == split]
        if len(own) < len(pairs) and all(pair.outcome == "no prediction" for pair in own):
            found.append(
                f"no case of the split {split or 'without a name'} has a prediction: all {len(own)} vertebrae count as "
                "wrong; choose with --split"
            )
    if counts["shapes_not_read"]:
        found.append(f"{counts['shapes_not_read']} shapes are numbers whose code is not published; they are not scored")
    absent = [grade for grade in range(4) if not any(pair.grade == grade for pair in pairs)]
    if absent:
        found.append(f"the reference holds no grade {', '.join(map(str, absent))}: macro means run over the others")
    return tuple(found)
