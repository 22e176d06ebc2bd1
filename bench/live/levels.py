"""Questions on levels: name it, count, point at it; and those that no count can decide.

Convention: beside every picture that has no C2 the patient's numbers of thoracic and lumbar vertebrae are stated, so
that counting up from the sacrum decides each name, also with T13, L6 or four lumbar vertebrae. Without the sacrum the
same statement decides nothing ("not determinable"), and so does a sacrum where the numbers are disputed.

Trap: a question that cannot be decided must not look like one: both kinds have the same wordings, the same
statement beside them and the same way to say "not determinable". Marks carry numbers, options letters: were both
letters, options that are moved on would change the meaning of "B".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case, levels_of, live_templates, shared_templates
from bench.live.difficulty import Difficulty, of_counting
from bench.live.flat import FlatView, draw_flat
from bench.live.pictures import arrow, number, ring
from spinemed.anatomy import Level, Spine
from spinemed.phantom.sagittal.records import Variant
from spinemed.questions import QuestionDraft, disc_text
from spinemed.questions.counting import VIEW_COUNTS
from spinemed.questions.draft import KEYS, as_options, compose
from spinemed.records import NOT_DETERMINABLE

__all__ = [
    "VARIANTS",
    "ask_level",
    "column_line",
    "decidable_view",
    "level_options",
    "level_recipe",
    "marked",
    "no_field_recipe",
    "roomy",
    "steps_from_sacrum",
    "transitional_recipe",
]

Picture = NDArray[np.uint8]
VARIANTS: dict[Variant, float] = {"L6": 0.12, "four_lumbar": 0.08, "T13": 0.06, "no_T12": 0.05}
"""Shares of transitional columns: far more than there are, because a count must be tried on them."""
_ROOM_PX = 26.0


def column_line(case: Case, spine: Spine) -> str:
    """What is known of the patient's column, as a line of the question."""
    template = live_templates()["live_column"]
    wording = int(case.rng.integers(len(template.wordings)))
    return template.question(wording, {"thoracic": str(spine.thoracic), "lumbar": str(spine.lumbar)})


def marked(view: FlatView, level: Level, *, style: str = "arrow") -> Picture:
    """The picture with a mark at a body."""
    at = view.at(level).centre_px
    if style == "ring":
        return ring(view.image.image, at, 0.9 * view.reach_px(level))
    return arrow(view.image.image, at, view.reach_px(level), from_right=view.draw.mirrored)


def decidable_view(case: Case, *, least: int = 6) -> FlatView:
    """A picture with the sacrum, and room for marks before enough vertebrae."""

    def fits(view: FlatView) -> bool:
        return view.sacrum_seen and len(view.whole) >= least and roomy(view, view.draw.focus)

    return draw_flat(
        case, fits, variant_shares=VARIANTS, sacrum_cropped_share=0.0, mirrored_share=0.3, fracture_share=0.2
    )


def roomy(view: FlatView, level: Level) -> bool:
    """Whether there is room for a mark before a body in view."""
    return any(x.level is level for x in view.whole) and view.room_before_px(level) > _ROOM_PX


def steps_from_sacrum(view: FlatView, level: Level) -> int:
    """How many vertebrae up from the sacrum."""
    return view.spine.distance(level, Level.S1)


def level_options(spine: Spine, answer: Level, rng: np.random.Generator) -> tuple[list[str], str]:
    """Four neighbouring levels in column order, then the way out; and the answer's key.

    The answer's place among the four is drawn: with the nearest neighbours on both sides it would always stand in the
    middle.
    """
    place = spine.index(answer)
    highest, lowest = max(place - 3, spine.index(Level.C3)), min(place, spine.index(Level.S1) - 3)
    first = int(rng.integers(highest, lowest + 1))
    offered = spine.levels[first : first + 4]
    texts = [level.value for level in offered]
    return [*texts, live_templates()["option_cannot"].question(0, {})], KEYS[offered.index(answer)]


def ask_level(answer: Level | None, rng: np.random.Generator, *, name: str = "marked_vertebra") -> QuestionDraft:
    """The draft "which vertebra is marked?"; None: nobody can say."""
    templates = shared_templates() if name in shared_templates() else live_templates()
    return compose(
        templates[name],
        rng,
        axis="level_identification",
        task="level",
        answer=NOT_DETERMINABLE if answer is None else answer.value,
        answer_kind="level",
        levels=levels_of(answer),
    )


def _ask_disc(view: FlatView, case: Case, *, known: bool) -> tuple[QuestionDraft, Picture]:
    names = [x.level for x in view.whole]
    at = names.index(view.draw.focus)
    upper, lower = (names[at], names[at + 1]) if at + 1 < len(names) else (names[at - 1], names[at])
    text = disc_text(upper, lower)
    assert text is not None
    draft = compose(
        shared_templates()["marked_disc"],
        case.rng,
        axis="level_identification",
        task="level",
        answer=text if known else NOT_DETERMINABLE,
        answer_kind="disc",
        levels=(upper, lower) if known else (),
    )
    reach = max(view.reach_px(upper), view.reach_px(lower))
    picture = arrow(view.image.image, view.disc_point(upper, lower), reach, from_right=view.draw.mirrored)
    return draft, picture


def _ask_point(view: FlatView, case: Case, *, known: bool) -> tuple[QuestionDraft, Picture] | None:
    """Which of four numbers lies on a level? The numbers stand on four neighbours, not in their order."""
    names = [x.level for x in view.whole if roomy(view, x.level)]
    if view.draw.focus not in names or len(names) < 4:
        return None
    at = names.index(view.draw.focus)
    first = min(max(at - int(case.rng.integers(0, 4)), 0), len(names) - 4)
    chosen = names[first : first + 4]
    order = [chosen[int(k)] for k in case.rng.permutation(4)]
    picture = view.image.image
    for place, level in enumerate(order, 1):
        x, y = view.at(level).centre_px
        away = (view.reach_px(level) + 12.0) * (1 if view.draw.mirrored else -1)
        picture = number(picture, (x + away, y), str(place))
    texts = [f"mark {place}" for place in range(1, 5)] + [live_templates()["option_cannot"].question(0, {})]
    draft = compose(
        live_templates()["live_point"],
        case.rng,
        axis="level_identification",
        task="multiple_choice",
        answer=KEYS[order.index(view.draw.focus)] if known else KEYS[4],
        answer_kind="option",
        options=as_options(texts),
        values={"level": view.draw.focus.value},
        levels=tuple(sorted(chosen)) if known else (),
        tags=("distractors:neighbouring_levels",),
    )
    return draft, picture


def _ask_choice(view: FlatView, case: Case, *, known: bool) -> tuple[QuestionDraft, Picture]:
    level = view.draw.focus
    texts, key = level_options(view.spine, level, case.rng)
    draft = compose(
        live_templates()["live_level_choice"],
        case.rng,
        axis="level_identification",
        task="multiple_choice",
        answer=key if known else KEYS[4],
        answer_kind="option",
        options=as_options(texts),
        levels=(level,) if known else (),
        tags=("distractors:neighbouring_levels",),
    )
    return draft, marked(view, level)


def _ask_count(view: FlatView, case: Case) -> tuple[QuestionDraft, Picture]:
    draft = compose(
        live_templates()["live_count"],
        case.rng,
        axis="level_identification",
        task="category",
        answer=str(len(view.whole)),
        answer_kind="category",
        categories=VIEW_COUNTS,
    )
    return draft, view.image.image


def _difficulty(view: FlatView) -> Difficulty:
    return of_counting(steps_from_sacrum(view, view.draw.focus), regular=view.spine.is_regular)


def level_recipe(case: Case) -> None:
    """Three questions on one picture in which every level can be named: three of five kinds."""
    view = decidable_view(case)
    line = column_line(case, view.spine)
    common = {"evidence": view.draw, "spine": view.spine, "cluster": view.draw.phantom_id}
    kinds = ["vertebra", "disc", "point", "choice", "count"]
    asked = 0
    for place in case.rng.permutation(len(kinds)):
        kind = kinds[int(place)]
        made: tuple[QuestionDraft, Picture] | None
        if kind == "vertebra":
            made = ask_level(view.draw.focus, case.rng), marked(view, view.draw.focus)
        elif kind == "disc":
            made = _ask_disc(view, case, known=True)
        elif kind == "point":
            made = _ask_point(view, case, known=True)
        elif kind == "choice":
            made = _ask_choice(view, case, known=True)
        else:
            made = _ask_count(view, case)
        if made is None:
            continue
        draft, picture = made
        tools = ("tool:level",) if draft.answer_kind in ("level", "disc") else ()
        difficulty: Difficulty = "medium" if kind == "count" else _difficulty(view)
        context = [] if kind == "count" else [line]
        case.ask(
            draft,
            pictures=[picture],
            context=context,
            difficulty=difficulty,
            tags=("anchor:sacrum", *tools),
            **common,  # type: ignore[arg-type]
        )
        asked += 1
        if asked == 3:
            return


def _ask_unknown(case: Case, view: FlatView, line: str, tags: tuple[str, ...]) -> None:
    made = None
    # As often as among those that can be decided: a kind that is mostly undecidable would give itself away.
    kind = case.pick(("vertebra", "vertebra", "disc", "disc", "point", "choice"))
    if kind == "disc":
        made = _ask_disc(view, case, known=False)
    elif kind == "point":
        made = _ask_point(view, case, known=False)
    elif kind == "choice":
        made = _ask_choice(view, case, known=False)
    if made is None:
        made = ask_level(None, case.rng), marked(view, view.draw.focus)
    draft, picture = made
    case.ask(
        draft, pictures=[picture], context=[line], difficulty="hard", undecidable=True, evidence=view.draw,
        cluster=view.draw.phantom_id, spine=view.spine, tags=tags,
    )  # fmt: skip


def no_field_recipe(case: Case) -> None:
    """One question on a field of view with nothing to count from."""
    view = draw_flat(
        case,
        lambda one: not one.sacrum_seen and roomy(one, one.draw.focus) and len(one.whole) >= 4,
        variant_shares=VARIANTS, sacrum_cropped_share=1.0, mirrored_share=0.3, fracture_share=0.2,
    )  # fmt: skip
    _ask_unknown(case, view, column_line(case, view.spine), ("anchor:none", "why:no_anchor"))


def transitional_recipe(case: Case) -> None:
    """One question on a picture with the sacrum, of a patient whose number of vertebrae is disputed."""
    view = draw_flat(
        case,
        lambda one: one.sacrum_seen and roomy(one, one.draw.focus) and len(one.whole) >= 4,
        variant_shares=dict.fromkeys(VARIANTS, 0.25), sacrum_cropped_share=0.0, mirrored_share=0.3,
    )  # fmt: skip
    template = live_templates()["live_column_disputed"]
    line = template.question(int(case.rng.integers(len(template.wordings))), {})
    _ask_unknown(case, view, line, ("anchor:disputed", "why:transitional"))
