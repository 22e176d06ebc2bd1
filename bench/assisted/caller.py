"""A caller by rule: reads the words of a question, calls the tool that settles it, answers in the form asked.

Convention: it is given the body of a chat completion and gives the choice, as a served model would. It never sees a
truth, a tag or a file. A question is settled by: `list_images` → `grade` (shape, Genant grade) or `measure` (height
loss against the neighbours, sagittal angle) on the only mask → the answer. Without functions, and where a tool did not
settle the question, `unaided` answers: a fixed guess, or a checkpoint.

Trap: this is no model. It shows that the road works and what the tools can give to a caller who makes no mistake in
calling; it says nothing of whether a language model would call them so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spinemed.anatomy import Level, Spine, find_levels, resolve
from spinemed.errors import SpineMedError

__all__ = ["RuleCaller", "Words", "guess", "question_of"]

Body = dict[str, Any]
_COLUMN = re.compile(r"(\d+) thoracic and (\d+) lumbar")
_PARTS = ("anterior", "middle", "posterior")
_GUESSES = (
    (re.compile(r"genant", re.IGNORECASE), "2"),
    (re.compile(r"fracture shape", re.IGNORECASE), "wedge"),
    (re.compile(r"in percent|how many percent", re.IGNORECASE), "30"),
    (re.compile(r"angle", re.IGNORECASE), "40"),
)
"""What is common in clinics, set before any question was seen."""


def question_of(body: Body) -> str:
    """The words of the first turn."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


@dataclass(frozen=True)
class Words:
    """What a model said; `finished` is False where it ran into its limit, which the client then counts as truncated."""

    text: str
    finished: bool = True


def guess(body: Body) -> str:
    """A fixed answer by the form of the question; "not determinable" where none is known."""
    words = question_of(body)
    return next((answer for pattern, answer in _GUESSES if pattern.search(words)), "not determinable")


@dataclass(frozen=True)
class RuleCaller:
    """Answers chat completions by rule.

    Attributes:
        unaided: Answers where no tool is offered or none settles the question.
        calls: False for one who never calls.
    """

    unaided: Callable[[Body], str | Words] = guess
    calls: bool = True

    def reply(self, body: Body) -> dict[str, Any]:
        """The choice of a completion: words, or calls of functions."""
        if not self.calls or not body.get("tools"):
            return _said(self.unaided(body))
        told = _results(body)
        allowed = body.get("tool_choice", "auto") != "none"
        wanted = _wanted(question_of(body))
        if wanted is None:
            return _said(self.unaided(body))
        if not told:
            return _called("list_images", {}, 0) if allowed else _said(self.unaided(body))
        if len(told) == 1 and allowed:
            images = (told[0].get("result") or {}).get("images", [])
            masks = [one["handle"] for one in images if one.get("values") == "integer"]
            if len(masks) == 1:
                name, arguments = wanted.call
                return _called(name, {"mask": masks[0], **arguments}, 1)
        answer = wanted.read(told[-1].get("result") or {}) if len(told) > 1 else None
        return _said(self.unaided(body) if answer is None else answer)


@dataclass(frozen=True)
class _Wanted:
    """What to call, and how its result is read."""

    call: tuple[str, dict[str, Any]]
    read: Callable[[dict[str, Any]], str | None]


def _wanted(words: str) -> _Wanted | None:
    """The call that settles a question; None where no tool does."""
    line = next((one for one in words.splitlines() if "?" in one or one.startswith("Measure")), "")
    levels = [level for each in find_levels(line) if (level := resolve(each.reading, Level)) is not None]
    low = line.lower()
    if ("genant" in low or "fracture shape" in low) and len(levels) == 1:
        name = "grade" if "genant" in low else "shape"
        return _Wanted(("grade", {}), lambda result: _graded(result, levels[0], name))
    if "lower than its two neighbours" in low and len(levels) == 1:
        column = _COLUMN.search(words)
        spine = Spine(int(column[1]), int(column[2])) if column else Spine()
        try:
            beside = (spine.shift(levels[0], -1), spine.shift(levels[0], 1))
        except SpineMedError:
            return None
        three = (beside[0], levels[0], beside[1])
        arguments: dict[str, Any] = {"levels": [str(level) for level in three], "posture": "supine"}
        return _Wanted(("measure", arguments), lambda result: _loss(result, three))
    if "sagittal angle" in low and len(levels) == 2:
        ends = {"upper": str(levels[0]), "lower": str(levels[1]), "plane": "sagittal"}
        angle: dict[str, Any] = {"levels": [str(level) for level in levels], "cobb": [ends], "posture": "supine"}
        return _Wanted(("measure", angle), _angle)
    return None


def _graded(result: dict[str, Any], level: Level, name: str) -> str | None:
    for one in result.get("vertebrae", []):
        if one["level"] == str(level) and one.get(name) is not None:
            return str(one[name])
    return None


def _loss(result: dict[str, Any], levels: tuple[Level, Level, Level]) -> str | None:
    held = {one["level"]: one["heights_mm"] for one in result.get("vertebrae", [])}
    above, own, below = (held.get(str(level)) for level in levels)
    if not above or not own or not below:
        return None
    losses = [
        100.0 * (1.0 - own[part] / ((above[part] + below[part]) / 2))
        for part in _PARTS
        if own[part] is not None and above[part] and below[part]
    ]
    return f"{max(losses):.1f}" if losses else None


def _angle(result: dict[str, Any]) -> str | None:
    found = [one["angle_deg"] for one in result.get("cobb", [])]
    return f"{abs(found[0]):.1f}" if found and found[0] is not None else None


def _results(body: Body) -> list[dict[str, Any]]:
    """What the tools said so far."""
    return [json.loads(turn["content"]) for turn in body["messages"] if turn["role"] == "tool"]


def _said(said: str | Words) -> dict[str, Any]:
    words = Words(said) if isinstance(said, str) else said
    reason = "stop" if words.finished else "length"
    return {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": words.text}}


def _called(name: str, arguments: dict[str, Any], number: int) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments, sort_keys=True)}
    call = {"id": f"call-{number}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"index": 0, "finish_reason": "tool_calls", "message": message}
