"""Consistency sets: one fact, asked in many ways. Whoever knows it answers all alike.

Convention: all questions of a set share `fact` and name the way in `variant`: `base` (lateral radiograph), `ap`, `ct`,
`t1`, `t2`, `reworded`, `zh`, `cropped` (one vertebra fewer at the top, the sacrum still in view), `marker` (a ring
instead of an arrow), `hint` (somebody is certain of a neighbour; the wrong level stands in the tag `hinted:`),
`from_sacrum` and `from_c2` (the same whole-column picture, counted both ways). The truth is one and the same level.

A second kind of set asks for the shape of a fracture in nine of these ways.

Trap: a crop that takes the anchor away would change the truth; the crop here keeps it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case, live_templates, shared_templates
from bench.live.difficulty import of_counting
from bench.live.levels import ask_level, column_line
from bench.live.pictures import crop_rows, ring
from bench.live.solid import View, draw_solid
from bench.live.solids import with_arrow
from spinemed.anatomy import Level
from spinemed.phantom.pathology.records import Fracture
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.questions import neighbouring_levels
from spinemed.questions.draft import compose
from spinemed.questions.pathology import FRACTURE_SHAPES

__all__ = ["VARIANTS_OF_A_FACT", "VARIANTS_OF_A_FINDING", "consistency_recipe", "finding_recipe"]

VARIANTS_OF_A_FACT = (
    "base", "ap", "ct", "t1", "t2", "reworded", "zh", "cropped", "marker", "hint", "from_sacrum", "from_c2",
)  # fmt: skip
VARIANTS_OF_A_FINDING = ("base", "ct", "t1", "t2", "reworded", "zh", "cropped", "marker", "hint")
_LEVELS = (Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)


def _without_the_top(view: View, level: Level) -> NDArray[np.uint8]:
    """The picture without its highest whole vertebra, cut through the disc below it."""
    top = min(one for one in view.visible if one < Level.S1)
    points = view.points[top]
    cut = max(points[f"lower_{name}"][1] for name in ("anterior", "posterior")) + 1.0
    above_mark = view.points[level]["upper_centre"][1] - 2.0
    return crop_rows(with_arrow(view, level).picture, round(max(min(cut, above_mark), 1.0)))


def consistency_recipe(case: Case) -> None:
    """Twelve questions on one marked vertebra."""
    solid = draw_solid(case, pathology={"degeneration": 0.8})
    lateral, frontal = solid.radiograph("lateral"), solid.radiograph("frontal")
    t1, t2, ct, whole = solid.mr("T1"), solid.mr("T2"), solid.ct(), solid.mr("T2", "full")
    views = (lateral, frontal, t1, t2, ct, whole)
    shared = [level for level in _LEVELS if all(level in view.visible for view in views)]
    # The crop takes the highest vertebra away, so that one is never the fact.
    shared = [level for level in shared if all(level > min(view.visible) for view in views)]
    level = shared[int(case.rng.integers(len(shared)))]
    line = column_line(case, solid.column)
    chinese = live_templates()["live_zh_column"].question(
        0, {"thoracic": str(solid.column.thoracic), "lumbar": str(solid.column.lumbar)}
    )
    wrong = neighbouring_levels(solid.column, level, 1, case.rng)[0]
    template = live_templates()["live_hint"]
    hint = template.question(int(case.rng.integers(len(template.wordings))), {"level": wrong.value})
    cropped = _without_the_top(lateral, level)
    ringed = ring(lateral.picture, lateral.body(level), 0.8 * lateral.reach_px(level))
    plans = {
        "base": ("marked_vertebra", with_arrow(lateral, level).picture, [line]),
        "ap": ("marked_vertebra", with_arrow(frontal, level).picture, [line]),
        "ct": ("marked_vertebra", with_arrow(ct, level).picture, [line]),
        "t1": ("marked_vertebra", with_arrow(t1, level).picture, [line]),
        "t2": ("marked_vertebra", with_arrow(t2, level).picture, [line]),
        "reworded": ("live_reworded", with_arrow(lateral, level).picture, [line]),
        "zh": ("live_zh", with_arrow(lateral, level).picture, [chinese]),
        "cropped": ("marked_vertebra", cropped, [line]),
        "marker": ("marked_vertebra", ringed, [line]),
        "hint": ("marked_vertebra", with_arrow(lateral, level).picture, [line, hint]),
        "from_sacrum": ("live_from_sacrum", with_arrow(whole, level).picture, [line]),
        "from_c2": ("live_from_c2", with_arrow(whole, level).picture, [line]),
    }
    steps = solid.column.distance(level, Level.S1)
    wording = int(case.rng.integers(2**31))  # one wording for all, so that only the variant differs
    for variant in VARIANTS_OF_A_FACT:
        name, picture, context = plans[variant]
        tags = [f"hinted:{wrong}"] if variant == "hint" else []
        case.ask(
            ask_level(level, np.random.default_rng(wording), name=name), pictures=[picture], context=context,
            difficulty=of_counting(steps), evidence=solid.spine, cluster=solid.name, spine=solid.column,
            fact="level", variant=variant, language="zh" if variant == "zh" else "en",
            tags=("consistency", "anchor:C2" if variant == "from_c2" else "anchor:sacrum", *tags),
        )  # fmt: skip


def finding_recipe(case: Case) -> None:
    """Nine questions on the shape of one fracture."""

    def fracture(spine: SpinePhantom) -> Fracture | None:
        found = [item for item in spine.pathologies if isinstance(item, Fracture)]
        return found[0] if len(found) == 1 and Level.L1 <= found[0].level <= Level.L4 else None

    severity = {"moderate": 0.5, "severe": 0.5}
    solid = draw_solid(
        case,
        lambda one: fracture(one) is not None,
        pathology={"fracture_share": 1.0, "fracture_adjacent_share": 0.0, "fracture_multiple_share": 0.0,
                   "severity_weights": severity},
    )  # fmt: skip
    broken = fracture(solid.spine)
    assert broken is not None
    level = broken.level
    lateral, t1, t2, ct = solid.radiograph("lateral"), solid.mr("T1"), solid.mr("T2"), solid.ct()
    pointed = with_arrow(lateral, level).picture
    ringed = ring(lateral.picture, lateral.body(level), 0.8 * lateral.reach_px(level))
    wrong = case.pick([shape for shape in FRACTURE_SHAPES[1:] if shape != broken.shape])
    template = live_templates()["live_finding_hint"]
    hint = template.question(int(case.rng.integers(len(template.wordings))), {"shape": wrong})
    plans: dict[str, tuple[str, NDArray[np.uint8], list[str]]] = {
        "base": ("fracture_shape", pointed, []),
        "ct": ("fracture_shape", with_arrow(ct, level).picture, []),
        "t1": ("fracture_shape", with_arrow(t1, level).picture, []),
        "t2": ("fracture_shape", with_arrow(t2, level).picture, []),
        "reworded": ("live_finding_reworded", pointed, []),
        "zh": ("live_finding_zh", pointed, []),
        "cropped": ("fracture_shape", _without_the_top(lateral, level), []),
        "marker": ("fracture_shape", ringed, []),
        "hint": ("fracture_shape", pointed, [hint]),
    }
    wording = int(case.rng.integers(2**31))
    loss = max(broken.anterior_loss_percent, broken.middle_loss_percent, broken.posterior_loss_percent)
    for variant in VARIANTS_OF_A_FINDING:
        name, picture, context = plans[variant]
        draft = compose(
            (shared_templates() if name in shared_templates() else live_templates())[name],
            np.random.default_rng(wording),
            axis="pathology",
            task="category",
            answer=broken.shape,
            answer_kind="category",
            categories=FRACTURE_SHAPES,
            levels=(level,),
        )
        tags = [f"hinted:{wrong}"] if variant == "hint" else []
        case.ask(
            draft, pictures=[picture], context=context, difficulty="easy" if loss >= 40 else "medium",
            evidence=solid.spine, cluster=solid.name, spine=solid.column, fact="shape", variant=variant,
            language="zh" if variant == "zh" else "en", tags=("consistency", "finding:fracture", *tags),
        )  # fmt: skip
