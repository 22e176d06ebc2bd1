"""A folder of predictions against a folder of references: every case scored, none lost, the same bytes every time.

Convention: cases are matched by name (:mod:`spinemed.labelling`). What is written::

    OUT/scores.json     one record per vertebra and per case, the summary with intervals, the settings
    OUT/report.html     the page, with everything inside it
    OUT/cases/NAME.json what was scored per case, with the hash of all that went in: a killed run goes on from there

An error of one case is a record of that case and never stops the others. A missing prediction counts as missed; so does
one that cannot be used. Whoever asks for labelling needs reference centres: the data set's centroid files, or, if asked
for, the estimate on the reference masks, which is then the same estimate as on the predictions.

Trap: a case is skipped on resuming only if the bytes of its files, the settings and the scoring code are the same.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from bench.verse.aggregate import counts_of, summarise
from bench.verse.records import SCORES_FILE, CaseError, CaseResult, Scores, Settings, write_scores
from bench.verse.scoring import Inputs, as_error, score_case
from spinemed import __version__
from spinemed.anatomy import LabelMap
from spinemed.errors import ReadError, SpineMedError
from spinemed.labelling import (
    CentroidSet,
    LabelMask,
    Prediction,
    VerseCase,
    body_centroids,
    match_predictions,
    prediction_scheme,
    read_case_centroids,
    read_centroids,
    read_label_mask,
    read_verse_folder,
)
from spinemed.records import content_hash
from spinemed.run import alone_in, make_folder
from spinemed.tables import file_sha256, parse_json, write_text
from spinemed.workers import end_with_parent

__all__ = ["REPORT_FILE", "Job", "evaluate_case", "evaluate_folder", "read_inputs"]

REPORT_FILE = "report.html"
_CASES = "cases"


def evaluate_case(
    reference: LabelMask | str | os.PathLike[str],
    prediction: LabelMask | str | os.PathLike[str],
    *,
    centroids: CentroidSet | str | os.PathLike[str] | None = None,
    predicted_centroids: CentroidSet | str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    case: str = "case",
    patient: str | None = None,
) -> CaseResult:
    """Score one prediction.

    Args:
        reference: Mask, or its file.
        prediction: Mask, or its file.
        centroids: Reference centres (world mm) or a VerSe centroid file; estimated from the reference mask otherwise.
        predicted_centroids: Predicted centres; estimated from the predicted mask if not given.
        settings: How to score; strict by default.
        case: Name in the records.
        patient: Cluster in the records; the case's name if not given.

    Returns:
        `result.case` and `result.vertebrae`.

    Raises:
        ReadError, VolumeError: A file or mask cannot be used, or the two lie on different grids.
    """
    settings = settings or Settings()
    truth = reference if isinstance(reference, LabelMask) else _mask(reference, settings.reference_labels)
    guess = prediction if isinstance(prediction, LabelMask) else _mask(prediction, settings.labels)
    if settings.task == "segmentation":
        points = None
    elif centroids is None:
        points = body_centroids(truth)
    elif isinstance(centroids, CentroidSet):
        points = centroids
    else:
        points = read_centroids(centroids, image_or_mask=truth)
    guessed = predicted_centroids
    if guessed is not None and not isinstance(guessed, CentroidSet):
        guessed = read_centroids(guessed, image_or_mask=truth)
    result = score_case(Inputs(case, patient or case, truth, points, guess, guessed), settings)
    for error in result.case.errors:
        raise _again(error)
    return result


def _again(error: CaseError) -> SpineMedError:
    import spinemed.errors

    kind: type[SpineMedError] = getattr(spinemed.errors, error.kind)
    return kind(error.problem, file=error.file, field=error.field, cure=error.cure)


def _mask(path: str | os.PathLike[str], scheme: str | LabelMap) -> LabelMask:
    if scheme == "nnunet":
        scheme = prediction_scheme(Path(path).parent, scheme)
    return read_label_mask(path, scheme=scheme)


@dataclass(frozen=True)
class Job:
    """One case to score: its files and how. Travels to worker processes."""

    case: VerseCase
    prediction: Prediction | None
    reference_root: Path
    prediction_root: Path
    settings: Settings

    @property
    def files(self) -> dict[str, Path]:
        """The files that decide the scores."""
        wanted = {
            "reference mask": self.case.mask,
            "reference image": self.case.image if self.case.mask is None else None,
            "reference centres": self.case.centroids if self._labelling else None,
            "prediction mask": None if self.prediction is None else self.prediction.mask,
            "predicted centres": self.prediction.centroids if self.prediction is not None and self._labelling else None,
        }
        if self.settings.centroids == "mask":
            wanted["reference centres"] = None
        return {name: path for name, path in wanted.items() if path is not None}

    @property
    def roots(self) -> dict[str, str]:
        """How folders are written in records."""
        return {str(self.reference_root): "REFERENCE", str(self.prediction_root): "PREDICTION"}

    @property
    def _labelling(self) -> bool:
        return self.settings.task != "segmentation"


def read_inputs(job: Job) -> Inputs:
    """Read the files of one case; what cannot be read becomes an error of the case."""
    errors: list[CaseError] = []
    settings, case = job.settings, job.case
    reference = centroids = prediction = guessed = None
    try:
        if case.mask is None and settings.task != "labelling":
            raise ReadError(
                f"the case {case.name} has no vertebra mask",
                file=case.image or case.centroids,
                cure="fetch it, or evaluate labelling alone",
            )
        if case.mask is not None:
            reference = read_label_mask(case.mask, scheme=settings.reference_labels)
            if not reference.levels and settings.task != "labelling":
                reference = None
                raise ReadError("holds no vertebra", file=case.mask, cure="check the file and its label scheme")
    except SpineMedError as error:
        errors.append(as_error(error, "reference", roots=job.roots))
    usable = not errors
    if usable and settings.task != "segmentation":
        try:
            if settings.centroids == "mask" and reference is not None:
                centroids = body_centroids(reference)
            else:
                centroids = read_case_centroids(case, mask=reference)
        except SpineMedError as error:
            concerns = "everything" if settings.task == "labelling" else "labelling"
            errors.append(as_error(error, "reference", concerns=concerns, roots=job.roots))  # type: ignore[arg-type]
    if usable and job.prediction is not None:
        try:
            if job.prediction.mask is not None:
                scheme = prediction_scheme(job.prediction_root, settings.labels)
                prediction = read_label_mask(job.prediction.mask, scheme=scheme)
        except SpineMedError as error:
            errors.append(as_error(error, "prediction", roots=job.roots))
        try:
            if job.prediction.centroids is not None and centroids is not None:
                guessed = read_centroids(job.prediction.centroids, image_or_mask=reference or prediction or case.image)
        except SpineMedError as error:
            concerns = "everything" if settings.task == "labelling" else "labelling"
            errors.append(as_error(error, "prediction", concerns=concerns, roots=job.roots))  # type: ignore[arg-type]
    return Inputs(case.name, case.patient, reference, centroids, prediction, guessed, tuple(errors))


def score_job(job: Job, key: str) -> CaseResult:
    """Read and score one case."""
    result = score_case(read_inputs(job), job.settings, roots=job.roots)
    case = result.case.model_copy(
        update={
            "reference": _relative(job.case.mask, job.reference_root),
            "image": _relative(job.case.image, job.reference_root),
            "prediction": _relative(None if job.prediction is None else job.prediction.mask, job.prediction_root),
            "inputs_sha256": _hashes(job),
        }
    )
    return result.model_copy(update={"key": key, "case": case})


def _relative(path: Path | None, root: Path) -> str | None:
    return None if path is None else path.relative_to(root).as_posix()


def _hashes(job: Job) -> dict[str, str]:
    """SHA-256 of each file of a case; of a folder of masks, over the names and hashes in it."""
    found = {}
    for name, path in job.files.items():
        try:
            if path.is_dir():
                inside = {each.name: file_sha256(each) for each in sorted(path.iterdir()) if each.is_file()}
                found[name] = content_hash(inside)
            else:
                found[name] = file_sha256(path)
        except ReadError:
            found[name] = "unreadable"  # reading it to score it names the error, as one of this case alone
    return found


@cache
def _code_sha256() -> str:
    """Hash of the code that decides the scores, so that results of an older version are not taken for this one's."""
    import bench.verse
    import spinemed.labelling
    import spinemed.metrics

    digest = hashlib.sha256(__version__.encode())
    for package in (bench.verse, spinemed.labelling, spinemed.metrics):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(job: Job) -> str:
    return content_hash(
        {
            "code": _code_sha256(),
            "settings": job.settings.model_dump(mode="json"),
            "case": [job.case.name, job.case.patient],
            "files": _hashes(job),
            "scheme": _scheme_hash(job),
        }
    )


def _scheme_hash(job: Job) -> str | None:
    if job.settings.labels != "nnunet":
        return None
    return file_sha256(job.prediction_root / "dataset.json")


def evaluate_folder(
    reference: str | os.PathLike[str],
    prediction: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    name: str | None = None,
    workers: int = 1,
    seed: int = 0,
    resamples: int = 10_000,
    published: bool = False,
    page: bool = True,
    advance: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score every case of a reference folder.

    Args:
        reference: VerSe folder (either release), or a folder of masks.
        prediction: Masks or centroid files named after the cases.
        out: Where `scores.json`, `report.html` and the cases go; nothing is written without it.
        settings: How to score.
        name: Of the algorithm; the prediction folder's name if not given.
        workers: Processes. The result is the same for any number.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples.
        published: Put the published table on the page.
        page: Write `report.html`; drawing takes a second or two.
        advance: Called with (cases done, cases in all) as they are done.

    Returns:
        What `scores.json` holds. `scores.failed` are the cases that were not scored from both files as they are.

    Raises:
        ReadError: A folder is missing or holds no case, or no prediction fits any case.
        RunError: `out` cannot be made, or another process works in it.
    """
    settings = settings or Settings()
    truth, guess = Path(reference), Path(prediction)
    cases = _cases(truth, settings)
    predictions = match_predictions(guess, cases)
    if settings.labels == "nnunet":
        prediction_scheme(guess, settings.labels)  # a broken dataset.json is nobody's single case
    found = {each.case: each for each in predictions.found}
    jobs = [Job(case, found.get(case.name), truth, guess, settings) for case in cases]
    if out is None:
        results = list(_scored(jobs, None, workers, advance))
        return _assembled(results, predictions.surplus, guess, settings, name, seed, resamples)
    folder = make_folder(out)
    with alone_in(folder, "evaluating into this folder"):
        for written in (SCORES_FILE, REPORT_FILE):  # of an earlier run: they must not outlive this one's death
            (folder / written).unlink(missing_ok=True)
        results = list(_scored(jobs, folder / _CASES, workers, advance))
        scores = _assembled(results, predictions.surplus, guess, settings, name, seed, resamples)
        if page:
            _write_page(folder, scores, jobs, published)
        write_scores(folder / SCORES_FILE, scores)
    return scores


def _cases(root: Path, settings: Settings) -> list[VerseCase]:
    """The cases that have anything to score against; images alone are no reference.

    Raises:
        ReadError: There is none, or labelling is asked for and no case has centres.
    """
    cases = read_verse_folder(root)
    if all(case.mask is None and case.centroids is None for case in cases):
        raise ReadError(
            "holds neither masks nor centroid files", file=root, cure="give the folder with the derivatives as well"
        )
    wanted = settings.task != "segmentation" and settings.centroids == "file"
    if wanted and all(case.centroids is None for case in cases):
        raise ReadError(
            f"none of the {len(cases)} cases has a centroid file, so labels cannot be judged",
            file=root,
            cure="give --centroids mask to estimate body centres from the masks, or --task segmentation",
        )
    return list(cases)


def _scored(
    jobs: Sequence[Job], folder: Path | None, workers: int, advance: Callable[[int, int], None] | None
) -> Iterator[CaseResult]:
    """Results in the order of the jobs; kept ones are read back, new ones are kept."""
    results: dict[int, CaseResult] = {}
    pending: list[tuple[int, str]] = []
    names = _file_names(jobs)
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for stale in folder.iterdir():  # cases that are gone, and what a killed run was writing
            if stale.name not in names and stale.suffix in (".json", ".tmp"):
                stale.unlink()
    for number, job in enumerate(jobs):
        key = _key(job)
        kept = None if folder is None else _kept(folder / names[number], key)
        if kept is None:
            pending.append((number, key))
        else:
            results[number] = kept

    def done(number: int, result: CaseResult) -> None:
        results[number] = result
        if folder is not None:
            write_text(folder / names[number], result.model_dump_json(indent=1) + "\n")
        if advance is not None:
            advance(len(results), len(jobs))

    if advance is not None:
        advance(len(results), len(jobs))
    if workers > 1 and len(pending) > 1:
        # Fresh interpreters: forking after the libraries have started threads may hang.
        count = min(workers, len(pending))
        with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
            waiting = {pool.submit(score_job, jobs[number], key): number for number, key in pending}
            for future in as_completed(waiting):
                done(waiting[future], future.result())
    else:
        for number, key in pending:
            done(number, score_job(jobs[number], key))
    return iter([results[number] for number in range(len(jobs))])


def _file_names(jobs: Sequence[Job]) -> list[str]:
    """A file name per case. Names that differ only in what some file systems ignore get a number."""
    seen: Counter[str] = Counter()
    names = []
    for job in jobs:
        seen[job.case.name.lower()] += 1
        count = seen[job.case.name.lower()]
        names.append(f"{job.case.name}{f'.{count}' if count > 1 else ''}.json")
    return names


def _kept(path: Path, key: str) -> CaseResult | None:
    """What an earlier run kept for exactly this; None otherwise."""
    try:
        values = parse_json(path.read_bytes())
        result = CaseResult.model_validate(values)
    except (OSError, ValueError, ValidationError):
        return None  # absent, or of another version: scored again
    return result if result.key == key else None


def _assembled(
    results: Sequence[CaseResult],
    surplus: Sequence[Path],
    root: Path,
    settings: Settings,
    name: str | None,
    seed: int,
    resamples: int,
) -> Scores:
    cases = tuple(result.case for result in results)
    vertebrae = tuple(vertebra for result in results for vertebra in result.vertebrae)
    return Scores(
        version=__version__,
        name=name or root.resolve().name,
        settings=settings,
        seed=seed,
        resamples=resamples,
        warnings=tuple(_warnings(results, settings)),
        unmatched_predictions=tuple(sorted(path.relative_to(root).as_posix() for path in surplus)),
        counts=counts_of(cases, vertebrae),
        summary=summarise(cases, vertebrae, seed=seed, resamples=resamples),
        cases=cases,
        vertebrae=vertebrae,
    )


def _warnings(results: Sequence[CaseResult], settings: Settings) -> Iterator[str]:
    if settings.mode == "compat":
        yield (
            "Labels were judged by the published code's rule, defects included: use these numbers to compare with "
            "others made by that code, and strict mode to compare algorithms."
        )
        defects = Counter(
            warning.split(":", 1)[0] for result in results for warning in set(result.case.compat_warnings)
        )
        for defect, count in sorted(defects.items()):
            yield f"Known defect of the published rule, changing {count} of {len(results)} scans: {defect}."
    if settings.centroids == "mask" and settings.task != "segmentation":
        yield (
            "Reference centres were estimated from the reference masks, by the estimator that is used on predictions: "
            "localisation errors are smaller than against annotated centres."
        )
    if settings.resample:
        count = sum(result.case.resampled for result in results)
        yield f"{count} predictions on another grid were resampled onto the reference (nearest voxel)."


def _write_page(folder: Path, scores: Scores, jobs: Sequence[Job], published: bool) -> None:
    from bench.verse.report import report_page

    write_text(folder / REPORT_FILE, report_page(scores, {job.case.name: job for job in jobs}, published=published))
