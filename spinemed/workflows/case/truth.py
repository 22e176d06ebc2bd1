"""What is true of a computed spine, and how far the chain was off. A person's CT has no such file.

Convention: true losses are those drawn with the fracture, in percent of the healthy twin by thirds; true heights follow
the definitions of `spinemed.measure`, computed from surfaces (:mod:`spinemed.phantom.agreement.truth`). Vertebrae that
are whole in view count.

Trap: with the exact mask given, names are right by construction and are not scored; with a labeller's they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spinemed.anatomy import Level
from spinemed.labelling import read_label_mask
from spinemed.labelling.masks import vertebra_of_label
from spinemed.phantom.agreement.truth import true_values
from spinemed.phantom.spine import Posture
from spinemed.phantom.spine.pose import pose_spine
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.tables import parse_json, write_json
from spinemed.workflows.case.places import Places

__all__ = ["PARTS", "score_case", "write_truth"]

PARTS = ("anterior", "middle", "posterior")
"""Thirds of a body, front to back."""


def write_truth(places: Places) -> None:
    """Fractures, losses and heights of the phantom, by level."""
    line = parse_json((places.phantom / "outputs" / "spines.jsonl").read_text(encoding="utf-8").splitlines()[0])
    spine = SpinePhantom.model_validate(line["spine"])
    told = parse_json((places.phantom / "outputs" / "descriptions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    described = told["description"]
    heights: dict[str, dict[str, float]] = {}
    for each in true_values(pose_spine(spine, Posture.SUPINE)):
        part = each.quantity.removeprefix("height_").removesuffix("_third")
        if each.quantity == f"height_{part}_third" and part in PARTS:
            heights.setdefault(str(each.place), {})[part] = round(each.value, 3)
    fractures = {one["levels"][0]: one for one in described["findings"] if one["kind"] == "fracture"}
    vertebrae = []
    for level in described["field"]["levels"]:
        if Level(level) > Level.L6:
            continue
        fracture = fractures.get(level)
        losses = {} if fracture is None else {one["name"]: one["value"] for one in fracture["measurements"]}
        by_part = {part: float(losses.get(f"{part}_loss", 0.0)) for part in PARTS}
        vertebrae.append(
            {
                "level": level, "shape": "none" if fracture is None else fracture["category"],
                "grade": "0" if fracture is None else fracture["grade"], "loss_percent": max(by_part.values()),
                "losses_percent": by_part, "heights_mm": heights.get(level, {}),
            }
        )  # fmt: skip
    write_json(
        places.truth,
        {
            "origin": "phantom", "thoracic": described["thoracic"], "lumbar": described["lumbar"],
            "numbering_determinable": described["numbering_determinable"], "vertebrae": vertebrae,
        },
    )  # fmt: skip


def score_case(places: Places) -> None:
    """Names, losses, grades and heights of the chain beside the truth."""
    truth = {each["level"]: each for each in parse_json(places.truth.read_text(encoding="utf-8"))["vertebrae"]}
    graded = {each["level"]: each for each in parse_json(places.grades.read_text(encoding="utf-8"))["vertebrae"]}
    measured = {
        each["level"]: each["heights_mm"]
        for each in parse_json(places.measures.read_text(encoding="utf-8"))["result"]["vertebrae"]
        if each["heights_mm"]
    }
    losses, grades, heights = [], [], []
    for level, true in truth.items():
        found = graded.get(level)
        if found is not None:
            grades.append({"level": level, "true": true["grade"], "found": _text(found["grade"])})
            for part in PARTS:
                if found[part] is None:
                    continue
                percent, real = found[part]["percent"], true["losses_percent"][part]
                losses.append(
                    {"level": level, "part": part, "true": real, "found": percent, "low": found[part]["low"],
                     "high": found[part]["high"], "error_points": round(percent - real, 2)}
                )  # fmt: skip
        for part, height in (measured.get(level) or {}).items():
            real = true["heights_mm"].get(part)
            if real is not None and height is not None:
                heights.append(
                    {"level": level, "part": part, "true_mm": real, "found_mm": round(height, 3),
                     "error_mm": round(height - real, 3)}
                )  # fmt: skip
    told = [each for each in grades if each["found"] is not None]
    write_json(
        places.score,
        {
            "origin": "phantom",
            "levels": _levels(places, list(truth)),
            "losses": losses,
            "loss_error_points": _mean([abs(each["error_points"]) for each in losses]),
            "losses_in_interval": sum(each["low"] <= each["true"] <= each["high"] for each in losses),
            "grades": grades,
            "grades_right": sum(each["true"] == each["found"] for each in told),
            "grades_given": len(told),
            "heights": heights,
            "height_error_mm": _mean([abs(each["error_mm"]) for each in heights]),
        },
    )


def _text(grade: int | None) -> str | None:
    return None if grade is None else str(grade)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def _levels(places: Places, wanted: list[str]) -> dict[str, Any]:
    """Which name each true vertebra bears in the chain's mask, by the label of most of its voxels."""
    about = parse_json(places.about.read_text(encoding="utf-8"))
    if about["mask"] == "exact" and not places.labels.is_dir():
        return {"scored": False, "why": "the exact mask was given"}
    exact = next(iter(sorted((places.phantom / "outputs" / "ct").glob("derivatives/*/*_seg-vert_msk.nii.gz"))))
    truth, found = read_label_mask(exact), read_label_mask(places.mask)
    named = {}
    for label in truth.counts:
        level = str(vertebra_of_label(label))
        if level in wanted:
            votes = np.bincount(found.data[truth.data == label])
            best = int(votes.argmax())
            named[level] = str(vertebra_of_label(best)) if best else None
    return {"scored": True, "named": named, "right": sum(level == name for level, name in named.items())}
