"""A folder of predictions against a data set of simulated motion: every clip scored, none lost, the same bytes.

Convention: clips are matched by name, `PRED/<clip_id>.npz`. What is written::

    OUT/scores.json     clips, points, levels, pictures, the summary with intervals, the settings
    OUT/report.html     the page, with everything inside it

An error of one clip is a record of that clip and never stops the others: a prediction that is absent or unusable counts
as missed, a clip of the reference that cannot be read is left out and counted. Nothing is written before all is scored;
a killed run is started again, at many thousand frames per second.

Trap: the reference is simulated. Scores say how well a method recovers the simulation, not how well it measures a
person.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench.motion.aggregate import (
    Method,
    counts_of,
    level_scores,
    method_of,
    picture_scores,
    point_scores,
    summarise,
)
from bench.motion.records import SCORES_FILE, ClipScore, Scores, Settings, write_scores
from bench.motion.scoring import ClipResult, clip_without_reference, score_clip
from spinemed import __version__
from spinemed.errors import ReadError, SpineMedError
from spinemed.motion.dataset import ClipRow, MotionDataset, read_dataset
from spinemed.run import alone_in, make_folder
from spinemed.tables import file_sha256, write_text

__all__ = ["REPORT_FILE", "evaluate_folder"]

REPORT_FILE = "report.html"
_SHOWN = 5


def evaluate_folder(
    reference: str | os.PathLike[str],
    prediction: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    name: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    published: bool = False,
    page: bool = True,
    advance: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score every clip of a data set.

    Args:
        reference: Folder of `spinemed motion simulate`.
        prediction: Folder with one NPZ per clip (`spinemed.motion.dataset.predictions`).
        out: Where `scores.json` and `report.html` go; nothing is written without it.
        settings: Split and norm factors.
        name: Of the method; the prediction folder's name if not given.
        seed, resamples: Of the bootstrap over subjects.
        published: Put the published tables on the page.
        page: Write `report.html`; drawing takes some seconds.
        advance: Called with (clips done, clips in all).

    Returns:
        What `scores.json` holds; `scores.failed` are the clips that were not scored from both files.

    Raises:
        ReadError: A folder is missing, the data set is not finished, or no prediction fits any clip.
        RunError: `out` cannot be made, or another process works in it.
    """
    settings = settings or Settings()
    dataset, guess = read_dataset(reference), Path(prediction)
    rows = [row for row in dataset.rows if settings.split in ("all", row.split)]
    if not rows:
        raise ReadError(
            f"holds no clip of split {settings.split}", file=dataset.folder, field="--split", cure="choose another"
        )
    surplus = _unmatched(guess, rows, dataset)
    if out is None:
        scores, _ = _evaluated(dataset, rows, guess, surplus, settings, name, seed, resamples, advance)
        return scores
    folder = make_folder(out)
    with alone_in(folder, "evaluating into this folder"):
        for written in (SCORES_FILE, REPORT_FILE):  # of an earlier run: they must not outlive this one's death
            (folder / written).unlink(missing_ok=True)
        scores, method = _evaluated(dataset, rows, guess, surplus, settings, name, seed, resamples, advance)
        if page:
            from bench.motion.report import report_page

            write_text(folder / REPORT_FILE, report_page(scores, method, dataset, guess, published=published))
        write_scores(folder / SCORES_FILE, scores)
    return scores


def _unmatched(folder: Path, rows: list[ClipRow], dataset: MotionDataset) -> tuple[str, ...]:
    """Names of prediction files that belong to no scored clip.

    Raises:
        ReadError: The folder is missing, or none of its files belongs to a clip.
    """
    if not folder.is_dir():
        raise ReadError("is no folder", file=folder, field="--prediction", cure="give a folder of NPZ files")
    found = sorted(path.stem for path in folder.glob("*.npz"))
    wanted = {row.clip_id for row in rows}
    if not wanted & set(found):
        known = {row.clip_id for row in dataset.rows} & set(found)
        raise ReadError(
            f"holds no NPZ named after one of the {len(rows)} clips, such as {rows[0].clip_id}.npz "
            f"({len(found)} others{f', {len(known)} of another split' if known else ''})",
            file=folder, field="--prediction",
            cure="choose the split they belong to (--split)" if known else "name each file after its clip",
        )  # fmt: skip
    return tuple(name for name in found if name not in wanted)


def _evaluated(
    dataset: MotionDataset,
    rows: list[ClipRow],
    guess: Path,
    surplus: tuple[str, ...],
    settings: Settings,
    name: str | None,
    seed: int,
    resamples: int,
    advance: Callable[[int, int], None] | None,
) -> tuple[Scores, Method]:
    roots = {str(dataset.folder): "REFERENCE", str(guess): "PREDICTION"}
    results: list[ClipResult] = []
    for done, row in enumerate(rows, 1):
        try:
            clip = dataset.clip(row.clip_id)
        except SpineMedError as error:
            results.append(clip_without_reference(row.model_dump(), error, roots))
        else:
            results.append(score_clip(clip, guess, settings, roots=roots))
        if advance is not None:
            advance(done, len(rows))
    method = method_of(results)
    scores = Scores(
        version=__version__,
        name=name or guess.resolve().name,
        settings=settings,
        seed=seed,
        resamples=resamples,
        origin="simulated motion of procedural bodies; no person was measured",
        reference_sha256={each: file_sha256(dataset.folder / each) for each in ("dataset.json", "clips.parquet")},
        families=method.families,
        groups=method.groups,
        groups_left_out=method.left_out,
        counts=counts_of(method.clips),
        summary=summarise(method.clips, seed=seed, resamples=resamples),
        points=point_scores(method, seed=seed, resamples=resamples),
        levels=level_scores(method, seed=seed, resamples=resamples),
        pictures=picture_scores(method),
        clips=tuple(method.clips),
        unmatched_predictions=surplus,
        warnings=_warnings(method, surplus),
    )
    return scores, method


def _warnings(method: Method, surplus: tuple[str, ...]) -> tuple[str, ...]:
    clips = method.clips
    found = []
    for split in sorted({clip.split for clip in clips}):
        own = [clip for clip in clips if clip.split == split]
        if all(clip.status == "no prediction" for clip in own) and len(own) < len(clips):
            found.append(
                f"no clip of the split {split} has a prediction: all {len(own)} count as missed; choose with --split"
            )
    flagged = [clip for clip in clips if clip.flags]
    if flagged:
        names = ", ".join(clip.clip for clip in flagged[:_SHOWN]) + (" ..." * (len(flagged) > _SHOWN))
        found.append(f"doubtful and scored as they are: {names} ({len(flagged)} in all)")
    for group, count in method.left_out.items():
        found.append(f"the group {group} is not scored: {count} of its points are never named")
    if surplus:
        found.append(
            f"{len(surplus)} prediction files belong to no scored clip: {', '.join(surplus[:_SHOWN])}"
            + (" ..." * (len(surplus) > _SHOWN))
        )
    if sum(_usable(clip) for clip in clips) == 0:
        found.append("no clip has a usable prediction")
    return tuple(found)


def _usable(clip: ClipScore) -> bool:
    return clip.status == "scored"
