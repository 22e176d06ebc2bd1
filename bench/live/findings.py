"""Questions on fractures and sizes in two-dimensional phantoms: shape, grade, place, height loss, canal depth.

Convention: a grade is asked only where the loss before the fracture and the loss against the neighbours give the same
grade, both at least a point from every border. Millimetres are asked with a scale bar in the picture; without one they
are "not determinable".

Trap: a bar must not be missing in undecidable pictures alone; half of the height questions, which are in percent, come
without one too.
"""

from __future__ import annotations

from typing import Any

from bench.live.case import Case, live_templates, shared_templates
from bench.live.difficulty import of_grade, of_measurement
from bench.live.flat import FlatView, draw_flat
from bench.live.levels import marked, roomy
from bench.live.pictures import number, scale_bar
from spinemed.anatomy import Level
from spinemed.measure.grades import genant_grade
from spinemed.phantom.sagittal.records import VertebraTruth
from spinemed.questions import QuestionDraft
from spinemed.questions.draft import KEYS, as_options, compose
from spinemed.questions.pathology import FRACTURE_SHAPES
from spinemed.records import NOT_DETERMINABLE

__all__ = [
    "CANAL_MM",
    "LOSS_POINTS",
    "fracture_of",
    "fracture_recipe",
    "height_recipe",
    "height_view",
    "no_scale_recipe",
]

LOSS_POINTS = 5.0
CANAL_MM = 1.5
_BORDERS = (20.0, 25.0, 40.0)
_LOSS_OF_GRADE = {1: (0.21, 0.24), 2: (0.26, 0.39), 3: (0.41, 0.6)}
_GENANT = (Level.T4, Level.L4)
_LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)
_CLOSE: dict[str, Any] = {"field_mm": (265.0, 330.0), "focus_levels": _LEVELS, "fracture_levels": _LEVELS}
"""A lumbar field, in which a body is large enough to be measured."""


def fracture_of(view: FlatView) -> VertebraTruth | None:
    """A fracture that can be marked and measured against two healthy neighbours."""
    for one in view.whole:
        if (
            one.fracture
            and roomy(view, one.level)
            and view.seen_loss_percent(one.level) is not None
            and view.healthy_neighbours(one.level)
            and _GENANT[0] <= one.level <= _GENANT[1]
        ):
            return one
    return None


def _clear(view: FlatView) -> bool:
    """Whether the fracture has the same grade by both references, away from the borders."""
    one = fracture_of(view)
    if one is None:
        return False
    seen, own = view.seen_loss_percent(one.level), 100 * one.height_loss
    assert seen is not None
    return genant_grade(seen) == genant_grade(own) > 0 and all(
        abs(value - border) >= 1.0 for value in (seen, own) for border in _BORDERS
    )


def fracture_recipe(case: Case) -> None:
    """Two questions: the shape of a marked vertebra (sometimes a healthy one), and its grade or which one it is."""
    # Each grade as likely; the fracture that is asked about is found by the picture, so its grade is checked too.
    grade = int(case.rng.integers(1, 4))
    view = draw_flat(
        case,
        lambda one: _clear(one) and (found := fracture_of(one)) is not None and found.genant == grade,
        fracture_share=1.0,
        height_loss=_LOSS_OF_GRADE[grade],
        sacrum_cropped_share=0.0,
        mirrored_share=0.3,
        **_CLOSE,
    )
    broken = fracture_of(view)
    assert broken is not None
    seen = view.seen_loss_percent(broken.level)
    assert seen is not None
    # A healthy body that differs from its neighbours by little, so that "none" is what a reader sees.
    level, shape = broken.level, broken.fracture or "none"
    if case.coin(0.3):
        near = [
            x.level for x in view.whole
            if x.fracture is None and roomy(view, x.level) and abs(view.seen_loss_percent(x.level) or 99.0) < 10.0
        ]  # fmt: skip
        if near:
            level, shape = near[int(case.rng.integers(len(near)))], "none"
    difficulty = of_grade(seen, _BORDERS, width=5.0) if seen < 40 else "easy"
    common = {"evidence": view.draw, "cluster": view.draw.phantom_id, "spine": view.spine, "difficulty": difficulty}
    draft = compose(
        shared_templates()["fracture_shape"],
        case.rng,
        axis="pathology",
        task="category",
        answer=shape,
        answer_kind="category",
        categories=FRACTURE_SHAPES,
        levels=(level,),
    )
    case.ask(draft, pictures=[marked(view, level)], tags=("finding:fracture",), **common)  # type: ignore[arg-type]
    if case.coin():
        case.ask(
            _grade(case, view, broken),
            pictures=[marked(view, broken.level)],
            tags=("finding:fracture",),
            **common,  # type: ignore[arg-type]
        )
    else:
        _ask_where(case, view, broken, common)


def _grade(case: Case, view: FlatView, one: VertebraTruth) -> QuestionDraft:
    return compose(
        live_templates()["live_genant"],
        case.rng,
        axis="pathology",
        task="category",
        answer=str(one.genant),
        answer_kind="category",
        categories=("0", "1", "2", "3", NOT_DETERMINABLE),
        levels=(one.level,),
        tags=("scale:genant", "tool:grade"),
    )


def _ask_where(case: Case, view: FlatView, one: VertebraTruth, common: dict[str, object]) -> None:
    """Which of the numbered neighbours is the fractured one?"""
    names = [x.level for x in view.whole if roomy(view, x.level)]
    at = names.index(one.level)
    first = min(max(at - int(case.rng.integers(0, 4)), 0), max(len(names) - 4, 0))
    chosen = names[first : first + 4]
    order = [chosen[int(k)] for k in case.rng.permutation(len(chosen))]
    picture = view.image.image
    for place, level in enumerate(order, 1):
        x, y = view.at(level).centre_px
        away = (view.reach_px(level) + 12.0) * (1 if view.draw.mirrored else -1)
        picture = number(picture, (x + away, y), str(place))
    draft = compose(
        live_templates()["live_fracture_where"],
        case.rng,
        axis="pathology",
        task="multiple_choice",
        answer=KEYS[order.index(one.level)],
        answer_kind="option",
        options=as_options([f"mark {place}" for place in range(1, len(order) + 1)]),
        levels=(one.level,),
        tags=("distractors:neighbouring_levels", "finding:fracture"),
    )
    case.ask(draft, pictures=[picture], **common)  # type: ignore[arg-type]


def height_view(case: Case) -> FlatView:
    """A lumbar slice with a fracture between two healthy neighbours."""
    return draw_flat(
        case,
        lambda one: fracture_of(one) is not None,
        fracture_share=1.0,
        height_loss=(0.12, 0.6),
        sacrum_cropped_share=0.0,
        mirrored_share=0.3,
        lateral_share=0.0,
        **_CLOSE,
    )


def height_recipe(case: Case) -> None:
    """Two measurements on one spine: height loss against the neighbours, and canal depth with a scale bar."""
    view = height_view(case)
    broken = fracture_of(view)
    assert broken is not None
    seen = view.seen_loss_percent(broken.level)
    assert seen is not None
    draft = compose(
        live_templates()["live_height_loss"],
        case.rng,
        axis="pathology",
        task="measurement",
        answer=f"{round(seen, 1):.10g}",
        answer_kind="number",
        levels=(broken.level,),
        tags=("tool:measure", "measure:height_loss"),
    )
    picture = marked(view, broken.level)
    if case.coin():
        picture = scale_bar(picture, view.draw.spacing_mm)
    common = {"evidence": view.draw, "cluster": view.draw.phantom_id, "spine": view.spine}
    case.ask(
        draft, pictures=[picture], unit="percent", tolerance=LOSS_POINTS,
        difficulty=of_measurement(seen, LOSS_POINTS), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    level = _canal_level(case, view)
    draft = _canal(case, view, level, known=True)
    picture = scale_bar(marked(view, level), view.draw.spacing_mm)
    case.ask(
        draft, pictures=[picture], unit="mm", tolerance=CANAL_MM,
        difficulty=of_measurement(float(draft.answer), CANAL_MM), **common,  # type: ignore[arg-type]
    )  # fmt: skip


def _canal_level(case: Case, view: FlatView) -> Level:
    names = [x.level for x in view.whole if x.fracture is None and roomy(view, x.level)]
    return names[int(case.rng.integers(len(names)))]


def _canal(case: Case, view: FlatView, level: Level, *, known: bool) -> QuestionDraft:
    depth = next(x.canal_mm for x in view.draw.vertebrae if x.level is level)
    return compose(
        live_templates()["live_canal"],
        case.rng,
        axis="pathology",
        task="measurement",
        answer=f"{round(depth, 1):.10g}" if known else NOT_DETERMINABLE,
        answer_kind="number",
        levels=(level,) if known else (),
        tags=("tool:measure", "measure:canal"),
    )


def no_scale_recipe(case: Case) -> None:
    """One question in millimetres on a picture without any scale."""
    view = draw_flat(
        case,
        lambda one: any(x.fracture is None and roomy(one, x.level) for x in one.whole),
        fracture_share=0.3, sacrum_cropped_share=0.0, mirrored_share=0.3, lateral_share=0.0, **_CLOSE,
    )  # fmt: skip
    level = _canal_level(case, view)
    case.ask(
        _canal(case, view, level, known=False), pictures=[marked(view, level)], unit="mm", tolerance=CANAL_MM,
        difficulty="hard", undecidable=True, evidence=view.draw, cluster=view.draw.phantom_id,
        spine=view.spine, tags=("why:no_scale",),
    )  # fmt: skip
