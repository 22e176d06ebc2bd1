"""Consistency sets: one fact, asked in many ways. Whoever knows it answers all alike.

Convention: all questions of a set share `fact` and name the way in `variant`: `base` (lateral radiograph), `ap`, `ct`,
`t1`, `t2`, `reworded`, `zh`, `cropped` (one vertebra fewer at the top, the sacrum still in view), `marker` (a ring
instead of an arrow), `hint` (somebody is certain of a neighbour; the wrong level stands in the tag `hinted:`),
`from_sacrum` and `from_c2` (the same whole-column picture, counted both ways). The truth is one and the same level.

Trap: a crop that takes the anchor away would change the truth; the crop here keeps it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case, live_templates
from bench.live.difficulty import of_counting
from bench.live.levels import ask_level, column_line
from bench.live.pictures import crop_rows, ring
from bench.live.solid import View, draw_solid
from bench.live.solids import with_arrow
from spinemed.anatomy import Level
from spinemed.questions import neighbouring_levels

__all__ = ["VARIANTS_OF_A_FACT", "consistency_recipe"]

VARIANTS_OF_A_FACT = (
    "base", "ap", "ct", "t1", "t2", "reworded", "zh", "cropped", "marker", "hint", "from_sacrum", "from_c2",
)  # fmt: skip
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
