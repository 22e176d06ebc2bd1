"""Questions on sides: with a letter, with the picture and its letter flipped, without a letter.

Convention: the question says that only a side letter decides. The letter stands on the side of the patient that it
names; a flipped picture carries it on the other side, so the answer stays. Without a letter the answer is "not
determinable", however the picture looks.

Trap: heart, liver and habit ("frontal films hang with the right on the left") would let a reader guess. A guess that is
right most of the time is what operates on the wrong side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case, live_templates
from bench.live.difficulty import of_measurement
from bench.live.levels import column_line
from bench.live.pictures import flip, side_letter
from bench.live.solid import Solid, View, draw_solid
from bench.live.solids import ANGLE_DEG
from spinemed.anatomy import Level
from spinemed.phantom.imaging.grid import Field
from spinemed.phantom.pathology.records import Herniation
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.questions import QuestionDraft
from spinemed.questions.draft import compose
from spinemed.records import NOT_DETERMINABLE

__all__ = ["lateral_herniation", "side_recipe", "sided"]

_SIDES = ("left", "right", NOT_DETERMINABLE)
_ZONES = ("central", "subarticular", "foraminal", "extraforaminal", NOT_DETERMINABLE)


def sided(picture: NDArray[np.uint8], letter: Literal["L", "R"], *, flipped: bool) -> NDArray[np.uint8]:
    """A frontal or axial picture with its letter; flipped, the letter goes along and stays upright."""
    on_left = (letter == "R") != flipped  # the patient's right is on the left unless flipped
    return side_letter(flip(picture) if flipped else picture, letter, on_left=on_left)


def side_recipe(case: Case) -> None:
    """Four questions: a side with a letter, flipped with it, without it; and the Cobb angle or the zone."""
    if case.coin():
        _curve(case)
    else:
        _herniation(case)


def _ask_sides(case: Case, solid: Solid, view: View, name: str, side: str, levels: tuple[Level, ...]) -> None:
    letter: Literal["L", "R"] = "L" if case.coin() else "R"
    common = {"evidence": solid.spine, "cluster": solid.name, "spine": solid.column, "difficulty": "medium",
              "fact": "side"}  # fmt: skip

    wording = int(case.rng.integers(2**31))  # one wording for all three

    def draft(answer: str) -> QuestionDraft:
        return compose(
            live_templates()[name],
            np.random.default_rng(wording),
            axis="pathology",
            task="category",
            answer=answer,
            answer_kind="category",
            categories=_SIDES,
            levels=levels,
        )

    case.ask(
        draft(side), pictures=[sided(view.picture, letter, flipped=False)], variant="base",
        tags=(f"side:{letter}",), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    case.ask(
        draft(side), pictures=[sided(view.picture, letter, flipped=True)], variant="flipped",
        tags=(f"side:{letter}", "flipped"), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    # Another fact: without the letter there is another answer, and half of these are flipped as well.
    plain = flip(view.picture) if case.coin() else view.picture
    case.ask(
        draft(NOT_DETERMINABLE), pictures=[plain], undecidable=True, tags=("side:none", "why:no_marker"),
        evidence=solid.spine, cluster=solid.name, difficulty="hard", spine=solid.column,
    )  # fmt: skip


def _curve(case: Case) -> None:
    solid = draw_solid(case, lambda one: len(one.scoliosis) == 1, scoliosis_share=1.0, cobb_deg=(15.0, 50.0))
    curve = solid.spine.scoliosis[0]
    fields: tuple[Field, ...] = ("lumbar", "thoracolumbar", "full")
    for field in fields:
        view = solid.radiograph("frontal", field)
        found = next(iter(view.description.of("scoliosis")))
        if found.status == "assessable" and found.numbered:
            break
    angle = found.amount("cobb")
    side = found.category.removeprefix("convex_")
    _ask_sides(case, solid, view, "live_convexity", side, ())
    draft = compose(
        live_templates()["live_cobb"],
        case.rng,
        axis="pathology",
        task="measurement",
        answer=f"{round(angle, 1):.10g}",
        answer_kind="number",
        values={"upper": curve.upper_end.value, "lower": curve.lower_end.value},
        levels=(curve.upper_end, curve.lower_end),
        tags=("tool:measure", "measure:cobb"),
    )
    case.ask(
        draft, pictures=[side_letter(view.picture, "R", on_left=True)], context=[column_line(case, solid.column)],
        unit="deg", tolerance=ANGLE_DEG, difficulty=of_measurement(angle, ANGLE_DEG), evidence=solid.spine,
        cluster=solid.name, spine=solid.column,
    )  # fmt: skip


def lateral_herniation(spine: SpinePhantom) -> Herniation | None:
    """A lumbar herniation to one side, large enough to be seen in one slice."""
    return next(
        (
            item for item in spine.pathologies
            if isinstance(item, Herniation) and item.side is not None and item.depth_mm >= 4.0
            and item.migration_mm == 0 and item.disc.upper >= Level.L1
        ),
        None,
    )  # fmt: skip


def _herniation(case: Case) -> None:
    solid = draw_solid(case, lambda one: lateral_herniation(one) is not None, pathology={"herniation_share": 1.0})
    found = lateral_herniation(solid.spine)
    assert found is not None
    assert found.side is not None
    view = solid.axial(found.disc)
    # An axial slice alone names no level, so these questions have none.
    _ask_sides(case, solid, view, "live_herniation_side", found.side, ())
    draft = compose(
        live_templates()["live_zone"],
        case.rng,
        axis="pathology",
        task="category",
        answer=found.zone,
        answer_kind="category",
        categories=_ZONES,
    )
    case.ask(
        draft, pictures=[sided(view.picture, "R", flipped=False)], difficulty="hard", evidence=solid.spine,
        cluster=solid.name, spine=solid.column, tags=("finding:herniation",),
    )  # fmt: skip
