"""The pages of an evaluation and of a comparison: static HTML files that need nothing but a browser.

Convention: every number is read from the scores and only formatted here; plots and strips are PNG inside the page. No
clock time and no absolute path, so equal files give equal bytes.

Trap: clip names and error texts come from files: they reach the page through the template's escaping only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.estimates import Estimate
from bench.motion import wording
from bench.motion.aggregate import FEWEST_SUBJECTS, Method
from bench.motion.compare import Comparison
from bench.motion.groups import LENGTHS, REGION_ROWS
from bench.motion.metrics import METRICS, metric, split_key
from bench.motion.pictures import angle_strip, clip_strip
from bench.motion.plots import coverage_plot, levels_plot, points_plot
from bench.motion.published import motion_tables, own_values
from bench.motion.records import ClipScore, Scores
from bench.motion.scoring import spread_angles, spread_points
from bench.pages import inside, p_text, page_environment
from bench.published import page_tables
from bench.wording import cell
from spinemed.errors import SpineMedError
from spinemed.metrics.motion import CAP_MM
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset import MotionDataset
from spinemed.motion.dataset.predictions import prediction_file, read_prediction
from spinemed.motion.joints import LIMIT_FACTOR

__all__ = ["WORST", "comparison_page", "report_page"]

WORST = 6
_WORST_BY = (
    "spine/mpjpe_capped_mm", "simspine_15/mpjpe_capped_mm", "vertebrae/mpjpe_capped_mm", "body/mpjpe_capped_mm",
    "all/angle_mae_deg",
)  # fmt: skip
_CARDS = (
    ("spine/mpjpe_mm", "mean distance of spine keypoints in the world"),
    ("spine/p_mpjpe_mm", "the same after the best similarity of each frame"),
    ("vertebrae/mpjpe_mm", "mean distance of vertebral centroids"),
    ("all/angle_mae_deg", "mean absolute error of 25 segments in 3 directions"),
    ("lumbar/flexion_mae_deg", "mean error of one lumbar segment's flexion"),
    ("all/coverage90", "of true angles lie in the stated 90 % interval; 90 is right"),
    ("spine/oks", "object keypoint similarity of the spine in pictures"),
)
_DISTANCES = ("mpjpe_mm", "mpjpe_capped_mm", "root_mpjpe_mm", "n_mpjpe_mm", "p_mpjpe_mm")
_SHARES = ("pck50", "pck150", "auc150", "acceleration_m_s2", "jerk_m_s3")
_ANGLE_COLUMNS = ("angle_mae_deg", "flexion_mae_deg", "lateral_bending_mae_deg", "axial_rotation_mae_deg", "coverage50",
                  "coverage90")  # fmt: skip
_PICTURE_COLUMNS = ("picture_error_px", "oks", "auc30")
_STRATA = ("spine/mpjpe_capped_mm", "spine/p_mpjpe_mm", "vertebrae/mpjpe_capped_mm", "all/angle_mae_deg",
           "lumbar/flexion_mae_deg", "all/coverage90", "spine/oks")  # fmt: skip
_ERRORS = 60


def report_page(
    scores: Scores, method: Method, dataset: MotionDataset, predictions: Path, *, published: bool = False
) -> str:
    """The page of one evaluation.

    Args:
        scores: What was scored.
        method: The results behind it.
        dataset: The reference, for the strips of the worst clips.
        predictions: Folder of the predictions.
        published: Show the published tables.
    """
    values = scores.row().values if scores.summary else {}
    worst, worst_by = _worst(scores, dataset, predictions)
    plots = {
        "levels": inside(levels_plot(scores.levels)) if _any(scores, "mae_deg") else None,
        "coverage": inside(coverage_plot(scores.levels)) if _any(scores, "coverage90") else None,
        "points": inside(points_plot(scores.points)) if any(one.error_mm.n for one in scores.points) else None,
    }
    lengths = ("length_cv_percent", "length_cv_reference_percent")
    limits = ("beyond_limits", "beyond_limits_reference")
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("motion.html.j2")
        .render(
            title="Spine motion",
            scores=scores,
            c=scores.counts,
            failed=scores.failed[:_ERRORS],
            failed_left=max(0, len(scores.failed) - _ERRORS),
            flagged=[clip for clip in scores.clips if clip.flags][:_ERRORS],
            lost=wording.family_words(scores.counts),
            cards=_cards(values),
            tables=[
                _table("Distances of points", "group", values, scores.groups, _DISTANCES, "points"),
                _table("Points within reach, and their smoothness", "group", values, scores.groups, _SHARES, "points"),
                _table("Angles, by region", "segments", values, ("all", *REGION_ROWS), _ANGLE_COLUMNS, "angles"),
                _table("Places in pictures", "group", values, method.picture_groups, _PICTURE_COLUMNS, "pictures"),
                _table("Lengths that should not change", "lengths", values, tuple(LENGTHS), lengths, "lengths"),
                _table("Ranges of motion", "segments", values, ("all",), limits, "angles"),
            ],
            pictures=[
                [wording.group_title(one.group), *(_number(v) for v in (one.ap, one.ap50, one.ap75, one.ar)),
                 one.pictures, one.undetected, one.left_out]
                for one in scores.pictures
            ],
            strata=_strata(scores, values),
            plots=plots,
            regions=_regions(scores),
            levels=_levels(scores),
            points=_points(scores),
            worst=worst,
            worst_by=worst_by,
            published=page_tables(motion_tables(), own_values(scores)) if published else None,
            fewest=FEWEST_SUBJECTS,
            cap_mm=f"{CAP_MM:g}",
            limit_factor=f"{LIMIT_FACTOR:g}",
        )
    )  # fmt: skip


def _any(scores: Scores, name: str) -> bool:
    return any(getattr(one, name).n for one in scores.levels)


def _number(found: float | None) -> str:
    return wording.DASH if found is None else f"{found:.3f}"


def _cell(name: str, one: Estimate | None) -> dict[str, str]:
    return cell(one, metric(name).unit)


def _cards(values: dict[str, Estimate]) -> list[dict[str, str]]:
    cards = []
    for key, words in _CARDS:
        if key in values and values[key].value is not None:
            group, one = split_key(key)
            cards.append(
                {
                    "title": f"{wording.group_title(group, one.family)}: {one.title}",
                    "value": wording.value(one.name, values[key].value),
                    "unit": one.unit,
                    "interval": wording.interval(one.name, values[key]),
                    "words": words,
                }
            )
    return cards[:6]


def _table(
    title: str, head: str, values: dict[str, Estimate], groups: tuple[str, ...], names: tuple[str, ...], family: str
) -> dict[str, Any]:
    shown = [name for name in names if any(f"{group}/{name}" in values for group in groups)]
    by_name = {each.name: each for each in METRICS}
    rows = []
    for group in groups:
        own = {name: values[f"{group}/{name}"] for name in shown if f"{group}/{name}" in values}
        if own:
            n = max(one.n for one in own.values())
            cells = [_cell(name, own.get(name)) for name in shown]
            for name, cell in zip(shown, cells, strict=True):
                if name in own and own[name].n < n:  # a mean that leaves misses out says on what it rests
                    cell["bounds"] = ", ".join(filter(None, [cell["bounds"], f"{own[name].n} clips"]))
            rows.append({"title": wording.group_title(group, family), "key": group, "cells": cells, "n": n})
    return {"title": title, "head": head, "columns": [wording.titled(by_name[name]) for name in shown], "rows": rows}


def _strata(scores: Scores, values: dict[str, Estimate]) -> dict[str, Any]:
    keys = [key for key in _STRATA if key in values]
    groups = []
    for by in ("motion", "rhythm", "split"):
        rows = [row for row in scores.summary if row.by == by]
        if len(rows) > 1:
            cells = [
                {
                    "key": row.key, "clips": row.clips, "missed": row.missed, "subjects": row.subjects,
                    "cells": [_cell(split_key(key)[1].name, row.values.get(key)) for key in keys],
                }
                for row in rows
            ]  # fmt: skip
            groups.append({"title": by, "rows": cells})
    return {"columns": [wording.key_title(key) for key in keys], "groups": groups}


def _regions(scores: Scores) -> list[dict[str, Any]]:
    rows = []
    for one in scores.levels:
        if one.segment in REGION_ROWS:
            rows.append(
                {
                    "name": f"{one.segment}, {one.direction.replace('_', ' ')}",
                    "mae": _cell("angle_mae_deg", one.mae_deg), "bias": _cell("angle_mae_deg", one.bias_deg),
                    "slope": wording.DASH if one.slope is None else f"{one.slope:.3f}",
                }
            )  # fmt: skip
    return rows


def _levels(scores: Scores) -> list[dict[str, Any]]:
    """One line per segment: three directions side by side."""
    found: dict[str, dict[str, Any]] = {}
    for one in scores.levels:
        if one.segment in REGION_ROWS:
            continue
        line = found.setdefault(one.segment, {"segment": one.segment, "missed": 0, "cells": []})
        line["missed"] += one.missed
        line["cells"] += [
            _cell("angle_mae_deg", one.mae_deg), _cell("angle_mae_deg", one.bias_deg),
            {"value": wording.DASH if one.slope is None else f"{one.slope:.2f}", "bounds": ""},
            _cell("coverage90", one.coverage90),
        ]  # fmt: skip
    assert all(len(line["cells"]) == 4 * len(DIRECTIONS) for line in found.values())
    return list(found.values())


def _points(scores: Scores) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name, "n": one.n, "missed": one.missed, "error": _cell("mpjpe_mm", one.error_mm),
            "aligned": _cell("p_mpjpe_mm", one.aligned_mm), "aligned_with": one.aligned_with or wording.DASH,
        }
        for one in scores.points
    ]  # fmt: skip


def _worst(scores: Scores, dataset: MotionDataset, predictions: Path) -> tuple[list[dict[str, Any]], str]:
    """The worst scored clips with their strips, and what they are worst by."""
    scored = [clip for clip in scores.clips if clip.status == "scored"]
    key = next((name for name in _WORST_BY if any(name in clip.values for clip in scored)), None)
    if key is None:
        return [], ""
    ranked = sorted((clip for clip in scored if key in clip.values), key=lambda clip: (-clip.values[key], clip.clip))
    return [_strip(clip, dataset, predictions) for clip in ranked[:WORST]], wording.key_title(key)


def _strip(clip: ClipScore, dataset: MotionDataset, predictions: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "clip": clip.clip, "words": wording.clip_words(clip), "picture": None, "why": "",
        "notes": "; ".join(flag.text for flag in clip.flags),
    }  # fmt: skip
    try:
        reference = dataset.clip(clip.clip)
        prediction = read_prediction(prediction_file(predictions, clip.clip))
    except SpineMedError as error:
        return found | {"why": f"The strip cannot be drawn: {error.problem}"}
    if prediction.points_mm is not None:
        return found | {"picture": inside(clip_strip(reference, spread_points(prediction)), 110)}
    return found | {"picture": inside(angle_strip(reference, spread_angles(prediction, "angles_deg")), 110)}


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison of several methods."""
    tests = []
    for test in comparison.tests:
        name = split_key(test.quantity)[1].name
        bounds = (
            test.method
            if test.low is None or test.high is None
            else f"{wording.value(name, test.low)} to {wording.value(name, test.high)}"
        )
        tests.append(
            {
                **test.model_dump(), "title": wording.key_title(test.quantity), "bounds": bounds,
                "first_text": wording.value(name, test.first_mean),
                "second_text": wording.value(name, test.second_mean),
                "difference_text": wording.value(name, test.difference),
                "p_texts": [wording.DASH if p is None else p_text(p) for p in (test.p, test.corrected_p)],
            }
        )  # fmt: skip
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("comparison.html.j2")
        .render(title="Comparison of methods", comparison=comparison, tests=tests)
    )
