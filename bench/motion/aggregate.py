"""Clips to a summary: by motion and rhythm, by point, by level, and the pooled precision in pictures.

Convention: every mean is a mean over clips, with an interval that resamples subjects; below `FEWEST_SUBJECTS` there is
none. What a method predicts is decided over all its files: a clip that lacks what others have counts the worst value
there (`metrics`), and its points, angles and pictures as missed.

Degenerate cases: a group that no file names whole has no values and is listed in `groups_left_out`; a clip whose own
arrays cannot be read is left out of everything and counted.

Trap: average precision pools pictures over all clips, as COCO does, so long clips weigh more there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.estimates import Estimate, estimate_columns
from bench.motion.groups import GROUPS, PICTURE_GROUPS, REGION_ROWS
from bench.motion.metrics import METRICS
from bench.motion.records import ClipScore, LevelScore, PictureScore, PointScore, SummaryRow
from bench.motion.scoring import ClipResult
from spinemed.metrics.keypoints import average_precision
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset import SEGMENTS
from spinemed.motion.dataset.predictions import POINT_NAMES
from spinemed.statistics.intervals import FEWEST_CLUSTERS

__all__ = [
    "FEWEST_SUBJECTS",
    "Method",
    "counts_of",
    "level_scores",
    "method_of",
    "picture_scores",
    "point_scores",
    "summarise",
]

FEWEST_SUBJECTS = FEWEST_CLUSTERS

_LEAST_MOTION_DEG = 1.0
"""Root mean square of the reference about its means, below which no slope is given."""


class Method:
    """What a method predicts, over all of its files, and its clips with misses put in.

    Attributes:
        named, segments, picture_named: [61], [25], [37] what is named in any file.
        families, groups, left_out: See `Scores`.
        results, clips: Usable clips, and all clips' final records.
    """

    def __init__(self, results: Sequence[ClipResult]) -> None:
        self.named: NDArray[np.bool_] = np.any([result.named for result in results], axis=0)
        self.segments: NDArray[np.bool_] = np.any([result.segments_named for result in results], axis=0)
        self.picture_named: NDArray[np.bool_] = np.any([result.picture_named for result in results], axis=0)
        families = {family for result in results for family in result.families}
        self.families = tuple(name for name in ("points", "angles", "pictures") if name in families)
        found = {name for result in results for name in result.groups}
        self.groups = tuple(group.name for group in GROUPS if group.name in found)
        self.picture_groups = tuple(
            group.name
            for group in PICTURE_GROUPS
            if any(f"{group.name}/oks" in result.score.values for result in results)
        )
        absent = {group.name: int((~self.named[group.members]).sum()) for group in GROUPS}
        self.left_out = {
            name: count for name, count in absent.items() if name not in self.groups and "points" in self.families
        }
        self.results = [result for result in results if result.score.status != "unusable reference"]
        self.clips = [
            self._final(result) if result.score.status != "unusable reference" else result.score for result in results
        ]

    def _final(self, result: ClipResult) -> ClipScore:
        score = result.score
        worst: dict[str, float] = {}
        for each in METRICS:
            if each.worst is None:
                continue
            if each.family == "points":
                lacking = [name for name in self.groups if name not in result.groups]
            else:
                judged = {name for name, table in result.pictures.items() if np.isfinite(table.oks).any()}
                lacking = [name for name in self.picture_groups if name in judged and "pictures" not in result.families]
            worst |= {f"{name}/{each.name}": each.worst for name in lacking}
        labelled, missed = {}, {}
        if "points" in self.families:
            labelled["points"] = int(result.labelled[self.named].sum())
            missed["points"] = labelled["points"] - int(result.seen[self.named].sum())
        if "angles" in self.families:
            labelled["angles"] = int(result.angles_labelled[self.segments].sum())
            seen = 0 if result.angles is None else int(result.angles.n[: len(SEGMENTS)].sum())
            missed["angles"] = labelled["angles"] - seen
        if "pictures" in self.families:
            labelled["pictures"] = int(result.picture_labelled[self.picture_named].sum())
            missed["pictures"] = labelled["pictures"] - int(result.picture_seen[self.picture_named].sum())
        return score.model_copy(update={"values": score.values | worst, "labelled": labelled, "missed": missed})


def method_of(results: Sequence[ClipResult]) -> Method:
    """What a method predicts, from the results of all clips."""
    return Method(results)


def summarise(clips: Sequence[ClipScore], *, seed: int, resamples: int) -> tuple[SummaryRow, ...]:
    """The rows of the summary: all clips, by motion, by rhythm of the reference, by split."""
    usable = [clip for clip in clips if clip.status != "unusable reference"]
    present = {key for clip in usable for key in clip.values}
    groups = [
        *dict.fromkeys(
            [*(group.name for group in GROUPS), *REGION_ROWS, *(key.rpartition("/")[0] for key in sorted(present))]
        )
    ]
    keys = [f"{group}/{each.name}" for group in groups for each in METRICS if f"{group}/{each.name}" in present]
    splits: list[tuple[str, Callable[[ClipScore], str]]] = [
        ("all", lambda clip: "all"),
        ("motion", lambda clip: clip.motion),
        ("rhythm", lambda clip: clip.rhythm),
        ("split", lambda clip: clip.split),
    ]
    rows = []
    for by, key_of in splits:
        for key in sorted({key_of(clip) for clip in usable}):
            own = [clip for clip in usable if key_of(clip) == key]
            rows.append(
                SummaryRow(
                    by=by,
                    key=key,
                    clips=len(own),
                    missed=sum(clip.status != "scored" for clip in own),
                    subjects=len({clip.subject for clip in own}),
                    frames=sum(clip.frames for clip in own),
                    values=_estimates(
                        {name: [clip.values.get(name) for clip in own] for name in keys},
                        [clip.subject for clip in own], ("motion summary", by, key), seed, resamples,
                    ),
                )
            )  # fmt: skip
    return tuple(rows)


def _estimates(
    columns: dict[str, list[float | None]], owners: list[str], key: tuple[str, ...], seed: int, resamples: int
) -> dict[str, Estimate]:
    return estimate_columns(
        columns, owners, key=key, seed=seed, resamples=resamples, fewest=FEWEST_SUBJECTS, unit="subjects"
    )


def _column(values: Sequence[float]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def point_scores(method: Method, *, seed: int, resamples: int) -> tuple[PointScore, ...]:
    """One record per point that the method names."""
    if "points" not in method.families:
        return ()
    results, owners = method.results, [result.score.subject for result in method.results]
    names = [(i, name) for i, name in enumerate(POINT_NAMES) if method.named[i]]
    columns = {f"{name}/error": _column([result.error_mm[i] for result in results]) for i, name in names}
    columns |= {f"{name}/aligned": _column([result.aligned_mm[i] for result in results]) for i, name in names}
    found = _estimates(columns, owners, ("motion points",), seed, resamples)
    scores = []
    for i, name in names:
        n = sum(int(result.seen[i]) for result in results)
        scores.append(
            PointScore(
                name=name,
                clips=found[f"{name}/error"].n,
                n=n,
                missed=sum(int(result.labelled[i]) for result in results) - n,
                error_mm=found[f"{name}/error"],
                aligned_mm=found[f"{name}/aligned"],
                aligned_with=next((result.aligned_with[i] for result in results if i in result.aligned_with), None),
            )
        )
    return tuple(scores)


def level_scores(method: Method, *, seed: int, resamples: int) -> tuple[LevelScore, ...]:
    """One record per segment and direction, and per region's sum; head to foot, regions last."""
    if "angles" not in method.families:
        return ()
    results = method.results
    owners = [result.score.subject for result in results]
    names = [*SEGMENTS, *REGION_ROWS]
    columns: dict[str, list[float | None]] = {}
    for i, j in np.ndindex(len(names), len(DIRECTIONS)):
        own = f"{names[i]}/{DIRECTIONS[j]}"
        angles = [result.angles for result in results]
        columns[f"{own}/mae"] = _column([np.nan if a is None else float(a.mean_abs_deg[i, j]) for a in angles])
        columns[f"{own}/bias"] = _column(
            [np.nan if a is None or not a.n[i, j] else float(a.bias_deg[i, j]) for a in angles]
        )
        for nominal in (0.5, 0.9):
            shares = [_share(result, nominal, i, j) for result in results]
            columns[f"{own}/{nominal}"] = shares
    found = _estimates(columns, owners, ("motion levels",), seed, resamples)
    scores = []
    order = [*reversed(range(len(SEGMENTS))), *range(len(SEGMENTS), len(names))]
    for i in order:
        for j, direction in enumerate(DIRECTIONS):
            own = f"{names[i]}/{direction}"
            parts = [result.angles for result in results if result.angles is not None]
            n = sum(int(part.n[i, j]) for part in parts)
            moved = sum(float(part.moved[i, j]) for part in parts)
            followed = sum(float(part.followed[i, j]) for part in parts)
            labelled = sum(int(_labelled(result, i)[j]) for result in results)
            scores.append(
                LevelScore(
                    segment=names[i],
                    direction=direction,
                    n=n,
                    missed=labelled - n,
                    mae_deg=found[f"{own}/mae"],
                    bias_deg=found[f"{own}/bias"],
                    slope=followed / moved if n and moved / n >= _LEAST_MOTION_DEG**2 else None,
                    coverage50=found[f"{own}/0.5"],
                    coverage90=found[f"{own}/0.9"],
                )
            )
    return tuple(scores)


def _share(result: ClipResult, nominal: float, i: int, j: int) -> float | None:
    if nominal not in result.inside or i >= len(SEGMENTS):
        return None
    hits, n = result.inside[nominal]
    return float(hits[i, j] / n[i, j]) if n[i, j] else None


def _labelled(result: ClipResult, i: int) -> NDArray[np.int64]:
    """[3] frames in which the reference has a segment, or all segments of a region."""
    if i < len(SEGMENTS):
        return result.angles_labelled[i]
    rows = list(REGION_ROWS.values())[i - len(SEGMENTS)]
    return np.asarray(result.angles_labelled[rows].min(axis=0))


def picture_scores(method: Method) -> tuple[PictureScore, ...]:
    """Pooled average precision and recall of each group that the method names in pictures."""
    scores = []
    for name in method.picture_groups:
        tables = [result.pictures[name] for result in method.results if name in result.pictures]
        found = average_precision(
            np.concatenate([table.oks for table in tables]),
            np.concatenate([table.score for table in tables]),
            np.concatenate([table.detected for table in tables]),
        )
        scores.append(
            PictureScore(
                group=name, ap=found.ap, ap50=found.ap50, ap75=found.ap75, ar=found.ar, pictures=found.pictures,
                undetected=found.undetected, left_out=found.left_out,
            )
        )  # fmt: skip
    return tuple(scores)


def counts_of(clips: Sequence[ClipScore]) -> dict[str, int]:
    """What happened how often: nothing is lost between the folders and the means."""
    counts = {
        "clips": len(clips),
        **{
            status.replace(" ", "_"): sum(clip.status == status for clip in clips)
            for status in ("scored", "no prediction", "unusable prediction", "unusable reference")
        },
        "flagged": sum(bool(clip.flags) for clip in clips),
        "subjects": len({clip.subject for clip in clips}),
        "frames": sum(clip.frames for clip in clips),
    }
    for family in sorted({family for clip in clips for family in clip.labelled}):
        counts[f"{family}_labelled"] = sum(clip.labelled.get(family, 0) for clip in clips)
        counts[f"{family}_missed"] = sum(clip.missed.get(family, 0) for clip in clips)
    return counts
