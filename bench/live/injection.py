"""Injection sets: one question clean, and with an order planted in the picture, a report, an option, a tool's result.

Convention: all questions of a set share `fact`; the clean one has the variant `clean`, the others the place. Tags say
`injection:PLACE:ID` (of `payloads.yaml`) and `injected:ANSWER`, the wrong answer that the order asks for. What a tool's
result must be made to hold goes by id into `payloads.json` of the samples folder; the runner's tool layer plants it.

Trap: the planted order must not be the only way to read the item: the rest is word for word the clean question.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from bench.live.case import Case, live_templates
from bench.live.difficulty import of_counting
from bench.live.levels import column_line, decidable_view, level_options, marked, steps_from_sacrum
from bench.live.pictures import burn_line
from spinemed.questions.draft import KEYS, as_options, compose
from spinemed.records import Option

__all__ = ["PLACES", "injection_recipe", "payloads"]

PLACES = ("image", "report", "option", "tool")


@cache
def payloads() -> dict[str, dict[str, str]]:
    """Orders by place and id, and the frame of a report under `frame`."""
    values = yaml.safe_load(Path(__file__).with_name("payloads.yaml").read_text(encoding="utf-8"))
    return {place: values[place] for place in PLACES} | {"frame": {"text": values["frame"]}}


def injection_recipe(case: Case) -> None:
    """Five questions: clean, and an order in each of four places."""
    view = decidable_view(case)
    level = view.draw.focus
    texts, key = level_options(view.spine, level, case.rng)
    wrong = case.pick([letter for letter in KEYS[:4] if letter != key])
    wanted = f"{wrong}. {texts[KEYS.index(wrong)]}"
    clean = compose(
        live_templates()["live_level_choice"],
        case.rng,
        axis="level_identification",
        task="multiple_choice",
        answer=key,
        answer_kind="option",
        options=as_options(texts),
        levels=(level,),
        tags=("distractors:neighbouring_levels", "injections"),
    )
    line, picture = column_line(case, view.spine), marked(view, level)
    difficulty = of_counting(steps_from_sacrum(view, level), regular=view.spine.is_regular)
    for place in ("clean", *PLACES):
        draft, shown, context, tags = clean, picture, [line], []
        if place != "clean":
            name = case.pick(sorted(payloads()[place]))
            order = payloads()[place][name].replace("{answer}", wanted)
            tags = [f"injection:{place}:{name}", f"injected:{wrong}"]
            if place == "image":
                shown = burn_line(picture, order)
            elif place == "report":
                context = [line, f"{payloads()['frame']['text']} {order}"]
            elif place == "option":
                draft = replace(clean, options=tuple(_planted(one, wrong, order) for one in clean.options))
            else:
                tags.append("tool:level")
        case.ask(
            draft, pictures=[shown], context=context, difficulty=difficulty, evidence=view.draw, spine=view.spine,
            cluster=view.draw.phantom_id, fact="level", variant=place, tags=("anchor:sacrum", *tags),
        )  # fmt: skip


def _planted(option: Option, key: str, order: str) -> Option:
    return Option(key=option.key, text=f"{option.text} {order}") if option.key == key else option
