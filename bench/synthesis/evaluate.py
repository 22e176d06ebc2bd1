"""A folder of syntheses against healthy vertebrae: every vertebra of the reference scored, none lost, the same bytes.

Convention: vertebrae are matched by case and label (:mod:`bench.synthesis.files`). What is written::

    OUT/scores.json     one record per vertebra, the summary with intervals
    OUT/report.html     the page, with everything inside it

What counts: a vertebra without a synthesis, or with one that cannot be used, has the worst value in every quantity that
has one (Dice 0, RHDR 100 %, PSNR 0 dB, height loss error 50 points ...), and none elsewhere; a vertebra whose reference
cannot be read is left out and counted; a synthesis that the reference does not hold is listed as extra and scored
nowhere, because nothing says what is right there. Whether a method makes pictures is decided over all its files.

Trap: scores are of bodies that were hidden, or of phantoms. They say how well a healthy shape is guessed, not how well
fractures are found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.estimates import estimate_columns
from bench.faults import error_fields
from bench.fracture.reference import ReadGrade, read_reference
from bench.synthesis.files import Key, VertebraFiles, find_bodies
from bench.synthesis.metrics import METRICS
from bench.synthesis.records import SCORES_FILE, Scores, Status, SummaryRow, VertebraError, VertebraScore, write_scores
from bench.synthesis.scoring import judge, read_healthy, worst_values
from spinemed import __version__
from spinemed.errors import ReadError, RecordError, SpineMedError
from spinemed.labelling.dataset import patient_of
from spinemed.run import alone_in, make_folder
from spinemed.statistics.intervals import FEWEST_CLUSTERS
from spinemed.tables import parse_json, write_text

__all__ = ["FEWEST_PATIENTS", "GROUPS", "REPORT_FILE", "evaluate_folder", "files_of"]

REPORT_FILE = "report.html"
FEWEST_PATIENTS = FEWEST_CLUSTERS
_GRADES = "grades.csv"
_SHOWN = 5

GROUPS: tuple[tuple[str, Callable[[VertebraScore], str | None]], ...] = (
    ("all", lambda one: "all"),
    ("split", lambda one: one.split or None),
    ("grade", lambda one: None if one.grade is None else str(one.grade)),
    ("shape", lambda one: one.shape if one.grade and one.shape != "none" else None),
    ("neighbourhood", lambda one: _NEIGHBOURS.get(one.neighbour_broken)),
    ("region", lambda one: str(one.level.region)),
    ("level", lambda one: str(one.level)),
)
_NEIGHBOURS: dict[bool | None, str] = {True: "beside a fracture", False: "not beside one"}


def files_of(reference: Path, prediction: Path) -> tuple[dict[Key, VertebraFiles], dict[Key, VertebraFiles]]:
    """The vertebrae of both folders.

    Raises:
        ReadError: a folder is missing or empty, or the two share no vertebra.
        RecordError: two files for one part of one vertebra, or one file for both.
    """
    healthy = find_bodies(reference, ("vb", "body"), ("ct",), "--reference")
    # A crop as it is (`_vb`, `_ct`) that lies beside the syntheses is none, and would score as a perfect one.
    made = find_bodies(prediction, ("body",), ("synthetic-ct",), "--prediction")
    if not set(healthy) & set(made):
        (case, level), (other, another) = next(iter(healthy)), next(iter(made))
        raise ReadError(
            f"holds {len(made)} bodies, such as {other} {another}, and none of the reference's {len(healthy)}, such as "
            f"{case} {level}", file=prediction, field="--prediction", cure="name both alike: CASE_LABEL_...",
        )  # fmt: skip
    for key, files in made.items():
        if key in healthy and files.body.samefile(healthy[key].body):
            raise RecordError(
                "stands for the healthy body and for its synthesis", file=files.body, field="--reference",
                cure="give the healthy bodies as CASE_LABEL_vb.nii.gz",
            )  # fmt: skip
    return healthy, made


def evaluate_folder(
    reference: str | os.PathLike[str],
    prediction: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    grades: str | os.PathLike[str] | None = None,
    name: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    published: bool = False,
    page: bool = True,
    advance: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score a synthesiser.

    Args:
        reference: Folder of healthy vertebrae.
        prediction: Folder of syntheses.
        out: Where `scores.json` and `report.html` go; nothing is written without it.
        grades: File of grades; `grades.csv` of the reference folder if it is there and nothing is given.
        name: Of the method; the prediction folder's name if not given.
        seed, resamples: Of the bootstrap over patients.
        published: Put the published tables on the page.
        page: Write `report.html`; drawing takes some seconds.
        advance: Called with (vertebrae done, vertebrae in all).

    Raises:
        ReadError: A folder is missing or empty, or the two share no vertebra.
        RecordError: Two files for one part of a vertebra, or grades that cannot be used.
        RunError: `out` cannot be made, or another process works in it.
    """
    root, guess = Path(reference), Path(prediction)
    healthy, made = files_of(root, guess)
    table = Path(grades) if grades is not None else root / _GRADES
    known = {}
    if grades is not None or table.is_file():
        known = {(one.case, one.level): one for one in read_reference(table).grades}
    if out is None:
        return _scored(root, guess, healthy, made, known, name, seed, resamples, advance)
    folder = make_folder(out)
    with alone_in(folder, "evaluating into this folder"):
        for written in (SCORES_FILE, REPORT_FILE):  # of an earlier run: they must not outlive this one's death
            (folder / written).unlink(missing_ok=True)
        scores = _scored(root, guess, healthy, made, known, name, seed, resamples, advance)
        if page:
            from bench.synthesis.report import report_page

            write_text(folder / REPORT_FILE, report_page(scores, healthy, made, published=published))
        write_scores(folder / SCORES_FILE, scores)
    return scores


def _scored(
    root: Path,
    guess: Path,
    healthy: dict[Key, VertebraFiles],
    made: dict[Key, VertebraFiles],
    known: dict[Key, ReadGrade],
    name: str | None,
    seed: int,
    resamples: int,
    advance: Callable[[int, int], None] | None,
) -> Scores:
    roots = {str(root): "REFERENCE", str(guess): "PREDICTION"}
    with_image = any(made[key].image is not None and healthy[key].image is not None for key in healthy if key in made)
    vertebrae = []
    for done, (key, files) in enumerate(healthy.items(), 1):
        one = _base(key, files, known.get(key))
        vertebrae.append(_vertebra(one, files, made.get(key), with_image, roots))
        if advance is not None:
            advance(done, len(healthy))
    extra = tuple(f"{case} {level}" for case, level in made if (case, level) not in healthy)
    status = [one.status for one in vertebrae]
    counts = {
        "vertebrae": len(vertebrae), "patients": len({one.patient for one in vertebrae}),
        **{each.replace(" ", "_"): status.count(each) for each in _STATUS}, "extra": len(extra),
        "resampled": sum(one.resampled for one in vertebrae),
        "loss_not_measured": sum(error.part == "height loss" for one in vertebrae for error in one.errors),
        "hidden": sum(one.hidden for one in vertebrae),
    }  # fmt: skip
    return Scores(
        version=__version__,
        name=name or guess.resolve().name,
        made_by=_made_by(guess),
        seed=seed,
        resamples=resamples,
        families=("body", "loss", "image") if with_image else ("body", "loss"),
        counts=counts,
        summary=_summary(vertebrae, seed, resamples),
        vertebrae=tuple(vertebrae),
        extra=extra,
        warnings=_warnings(counts, extra, known, healthy, with_image),
    )


_STATUS: tuple[Status, ...] = ("scored", "no prediction", "unusable prediction", "unusable reference")


def _base(key: Key, files: VertebraFiles, read: ReadGrade | None) -> VertebraScore:
    case, level = key
    return VertebraScore(
        case=case, patient=read.patient if read else patient_of(case), level=level, status="scored",
        hidden=files.now is None, grade=read.grade if read else None, shape=read.shape if read else None,
        split=read.split if read else "", neighbour_broken=read.neighbour_broken if read else None,
    )  # fmt: skip


def _vertebra(
    one: VertebraScore, files: VertebraFiles, guess: VertebraFiles | None, with_image: bool, roots: dict[str, str]
) -> VertebraScore:
    def failed(status: str, part: str, error: SpineMedError | None, values: dict[str, float]) -> VertebraScore:
        errors = () if error is None else (_error(part, error, roots),)
        return one.model_copy(update={"status": status, "errors": errors, "values": values})

    try:
        healthy = read_healthy(files)
    except SpineMedError as error:
        return failed("unusable reference", "reference", error, {})
    families = ["body"]
    if healthy.truth is not None:
        families.append("loss")
    if with_image and healthy.image is not None:
        families.append("image")
    if guess is None:
        return failed("no prediction", "prediction", None, worst_values(tuple(families)))
    try:
        judged = judge(healthy, guess, with_image=with_image, roots=roots)
    except SpineMedError as error:
        return failed("unusable prediction", "prediction", error, worst_values(tuple(families)))
    why = () if healthy.why is None else (_error("height loss", healthy.why, roots),)
    return one.model_copy(
        update={
            "values": {each.name: judged.values[each.name] for each in METRICS if each.name in judged.values},
            "truth": healthy.truth, "found": judged.found, "layers": judged.layers, "resampled": judged.resampled,
            "errors": (*why, *judged.errors), "prediction_sha256": judged.sha256,
        }
    )  # fmt: skip


def _error(part: str, error: SpineMedError, roots: dict[str, str]) -> VertebraError:
    return VertebraError.model_validate({"part": part, **error_fields(error, roots)})


def _summary(vertebrae: Sequence[VertebraScore], seed: int, resamples: int) -> tuple[SummaryRow, ...]:
    usable = sorted(
        (one for one in vertebrae if one.status != "unusable reference"), key=lambda one: (one.level, one.case)
    )
    shares = {each.name for each in METRICS if each.unit == "%"}
    rows = []
    for by, key_of in GROUPS:
        groups: dict[str, list[VertebraScore]] = {}
        for one in usable:
            group = key_of(one)
            if group is not None:
                groups.setdefault(group, []).append(one)
        for group in groups if by in ("level", "region") else sorted(groups):
            own = groups[group]
            columns = {each.name: [one.values.get(each.name) for one in own] for each in METRICS}
            present = {name: column for name, column in columns.items() if any(v is not None for v in column)}
            rows.append(
                SummaryRow(
                    by=by, key=group, vertebrae=len(own), missed=sum(one.status != "scored" for one in own),
                    patients=len({one.patient for one in own}),
                    values=estimate_columns(
                        present, [one.patient for one in own], key=("synthesis summary", by, group), seed=seed,
                        shares=shares, resamples=resamples, fewest=FEWEST_PATIENTS, unit="patients",
                    ),
                )
            )  # fmt: skip
    return tuple(rows)


def _made_by(folder: Path) -> tuple[str, ...]:
    """What the files beside the syntheses say of their maker."""
    found = set()
    for path in sorted(folder.rglob("*_synthesis.json")):
        try:
            values = parse_json(path.read_bytes())
        except (OSError, ValueError):
            continue  # not needed for any score
        if isinstance(values, dict) and isinstance(values.get("made_by"), str):
            found.add(values["made_by"])
    return tuple(sorted(found))


def _warnings(
    counts: dict[str, int],
    extra: Sequence[str],
    known: dict[Key, ReadGrade],
    healthy: dict[Key, VertebraFiles],
    with_image: bool,
) -> tuple[str, ...]:
    found = []
    if extra:
        more = " ..." * (len(extra) > _SHOWN)
        found.append(f"{len(extra)} syntheses are of no vertebra of the reference: {', '.join(extra[:_SHOWN])}{more}")
    if known:
        lacking = [key for key in healthy if key not in known]
        if lacking:
            found.append(f"{len(lacking)} vertebrae have no grade and are in no group by grade, shape or neighbours")
    else:
        found.append("no grades were given: there are no groups by grade, shape or neighbours")
    if counts["resampled"]:
        found.append(f"{counts['resampled']} syntheses lay on another grid and were brought on to the reference's")
    if counts["loss_not_measured"]:
        found.append(f"height loss could not be measured on {counts['loss_not_measured']} vertebrae")
    if not with_image:
        found.append("the method makes no pictures that the reference has: PSNR and SSIM are not scored")
    return tuple(found)
