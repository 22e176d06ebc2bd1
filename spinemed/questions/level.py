"""Questions of the axis "level identification": marked vertebra, marked disc, picture edge, neighbours in a column.

Convention: where the picture cannot decide the numbering, the answer is :data:`NOT_DETERMINABLE`, whatever the mask
says. Source: the rule of anatomy that a count needs an anchor (C2, last rib or sacrum) in the field of view.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from spinemed.anatomy import Level, Spine
from spinemed.questions.columns import disc_text, neighbour
from spinemed.questions.distractors import neighbouring_levels
from spinemed.questions.draft import KEYS, QuestionDraft, as_options, compose
from spinemed.questions.templates import Template
from spinemed.records import NOT_DETERMINABLE, Study

__all__ = ["disc_question", "edge_question", "neighbour_question", "vertebra_question"]


def vertebra_question(
    study: Study, mark: int, templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft:
    """Which vertebra is marked? `mark` is an index into `study.marks`."""
    level = study.marks[mark].level if study.numbering_determinable else None
    return compose(
        templates["marked_vertebra"],
        rng,
        axis="level_identification",
        task="level",
        answer=NOT_DETERMINABLE if level is None else level.value,
        answer_kind="level",
        levels=() if level is None else (level,),
    )


def disc_question(
    study: Study, upper: int, templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft | None:
    """Which disc is marked? The disc below `study.marks[upper]`; None where two marks have no disc between them."""
    if upper + 1 >= len(study.marks):
        return None
    above, below = study.marks[upper].level, study.marks[upper + 1].level
    known = study.numbering_determinable and above is not None and below is not None
    text = NOT_DETERMINABLE
    levels: tuple[Level, ...] = ()
    if known:
        assert above is not None
        assert below is not None
        found = disc_text(above, below)
        if found is None:
            return None
        text, levels = found, (above, below)
    return compose(
        templates["marked_disc"],
        rng,
        axis="level_identification",
        task="level",
        answer=text,
        answer_kind="disc",
        levels=levels,
    )


def edge_question(
    study: Study, edge: Literal["highest", "lowest"], templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft | None:
    """Which is the highest or lowest vertebra in view?

    None when the picture decides some names, but not that of the vertebra at this edge: the next one that has a name is
    not the highest or lowest.
    """
    marks = [mark for mark in study.marks if mark.fully_visible]
    level = None
    if study.numbering_determinable:
        level = marks[0 if edge == "highest" else -1].level if marks else None
        if level is None:
            return None
    return compose(
        templates["edge_vertebra"],
        rng,
        axis="level_identification",
        task="level",
        answer=NOT_DETERMINABLE if level is None else level.value,
        answer_kind="level",
        levels=() if level is None else (level,),
        values={"edge": edge},
    )


def neighbour_question(
    spine: Spine,
    level: Level,
    direction: Literal["above", "below"],
    templates: dict[str, Template],
    rng: np.random.Generator,
    *,
    choices: bool = False,
) -> QuestionDraft | None:
    """Which vertebra lies directly above or below? With `choices`, four neighbouring levels are offered.

    None at the ends of the spine.
    """
    answer = neighbour(spine, level, -1 if direction == "above" else 1)
    if answer is None:
        return None
    values = {
        "level": level.value,
        "direction": direction,
        "thoracic": str(spine.thoracic),
        "lumbar": str(spine.lumbar),
    }
    common: dict[str, Any] = {"axis": "level_identification", "values": values, "levels": (level, answer)}
    if not choices:
        return compose(templates["neighbour"], rng, task="level", answer=answer.value, answer_kind="level", **common)
    offered = sorted([answer, *neighbouring_levels(spine, answer, 3, rng, without=(level,))])
    return compose(
        templates["neighbour_choice"],
        rng,
        task="multiple_choice",
        answer=KEYS[offered.index(answer)],
        answer_kind="option",
        options=as_options([offer.value for offer in offered]),
        **common,
    )
