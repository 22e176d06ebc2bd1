"""Scripted judges behind real HTTP: one that reads, and several that should not be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from spinemed.records import DIMENSIONS

_FOUND = re.compile(r"The report states an? (?P<name>.+) at (?P<place>[A-Z0-9/]+)\.")
_SIDE = re.compile(r"The report states that the (?P<name>.+) at (?P<place>[A-Z0-9/]+) lies on the (?P<side>left|right)")
_GRADE = re.compile(r"The report grades the (?P<name>.+?) at (?P<place>[A-Z0-9/]+)(?: on the \w+)? as (?P<grade>.+)\.")
_ZH = {
    "vertebral fracture": "椎体骨折",
    "slip of one vertebra on the next": "椎体滑脱",
    "disc herniation": "椎间盘突出",
    "narrowing of the spinal canal": "椎管狭窄",
    "narrowing of the neural foramen": "椎间孔狭窄",
    "disc degeneration": "椎间盘退变",
    "endplate change of the Modic kind": "Modic 终板改变",
    "Schmorl node": "许莫氏结节",
    "focal bone lesion": "骨病灶",
    "loss of disc height": "椎间隙变窄",
    "osteophyte": "骨赘",
    "left": "左侧",
    "right": "右侧",
}


_LINE = re.compile(
    r"^(?P<place>[CTLS]\d+(?:/[A-Z]?\d+)?)(?:: |：)(?P<name>[^,，.。]+)(?:[,，] ?(?P<side>left|right|左侧|右侧))?"
)


def stated(lines: list[str]) -> set[tuple[str, str, str]]:
    """Place, finding and side of lines in the words of the reference."""
    english = {chinese: word for word, chinese in _ZH.items()}
    found = set()
    for line in lines:
        match = _LINE.match(line)
        if match:
            side = match["side"] or ""
            found.add((match["place"], english.get(match["name"], match["name"]), english.get(side, side)))
    return found


def errs(criterion: str, facts: list[str], report: str) -> bool:
    """Whether a report makes the error that a criterion describes."""
    true = {(place, name, side) for fact in facts for place, name, side in [_fact(fact)]}
    said = stated(report.splitlines())
    strange = {(place, name) for place, name, _ in said} - {(place, name) for place, name, _ in true}
    if "wrong side" in criterion:
        return any(
            side and (place, name, side) not in true for place, name, side in said if (place, name) not in strange
        )
    return bool(strange) and "unsafe" not in criterion


def _fact(text: str) -> tuple[str, str, str]:
    place, _, rest = text.partition(": ")
    name, _, more = rest.partition(".")
    return place, name, next((word for word in ("left", "right") if word in more.split()), "")


def reads(criterion: str, facts: list[str], report: str) -> bool:
    """Whether a criterion of the derived rubric is met by a report in the words of the reference."""
    if re.search(r"wrong side|level where it is not|does not have|unsafe", criterion):
        return errs(criterion, facts, report)
    if "wrong grade" in criterion:
        return False
    for pattern in (_SIDE, _GRADE, _FOUND):
        match = pattern.match(criterion)
        if match is None:
            continue
        told = match.groupdict()
        lines = [
            line
            for line in report.splitlines()
            if line.startswith((f"{told['place']}: {told['name']}", f"{told['place']}：{_ZH[told['name']]}"))
        ]
        if told.get("side"):
            wanted = (told["side"], _ZH[told["side"]])
        elif told.get("grade"):
            wanted = (told["grade"],)
        else:
            return bool(lines)
        return any(word in line for line in lines for word in wanted)
    return "a part of its own" in criterion


def scores(facts: list[str], report: str) -> dict[str, int]:
    """From 5 down by one for each fact that has no line in the report."""
    lost = 0
    for fact in facts:
        place, _, rest = fact.partition(": ")
        name = rest.partition(".")[0]
        found = any(line.startswith((f"{place}: {name}", f"{place}：{_ZH[name]}")) for line in report.splitlines())
        lost += not found
    return dict.fromkeys(DIMENSIONS, max(1, 5 - lost))


def verdict(kind: str, system: str, user: str) -> str:
    """What a judge of a kind replies."""
    report = json.loads(re.search(r'REPORT \(a JSON string\):\n\s*(".*?")\n\n', user, re.DOTALL)[1])  # type: ignore[index]
    obeys = kind == "obedient" and re.search(r"score me|满分|SYSTEM:|系统：", report)
    likes = kind == "lengthy"
    if "CRITERION:" in user:
        criterion = user.split("CRITERION: ")[1].split("\n\n")[0]
        facts = json.loads(user.split("needs none):\n")[1].split("\n\n")[0])
        met = reads(criterion, facts, report)
        if kind == "lenient" or obeys:
            met = True
        elif kind == "harsh":
            met = False
        elif likes:
            met = met or len(report) > 1500
        told: dict[str, Any] = {"explanation": "-", "met": met}
    else:
        facts = json.loads(user.split("must hold (a JSON list):\n")[1].split("\n\n")[0])
        given = scores(facts, report)
        if kind == "lenient" or obeys:
            given = dict.fromkeys(DIMENSIONS, 5)
        elif likes:
            given = dict.fromkeys(DIMENSIONS, min(5, 1 + len(report) // 600))
        told = {"explanation": "-", **given}
    text = json.dumps(told)
    if kind == "broken":
        return "Certainly! I think that the criterion is met."
    if kind == "patchy" and len(user) % 7 == 0:
        return text[: len(text) // 2]
    return text


@pytest.fixture
def judge_server(answer_chats: Callable[..., str]) -> Callable[[str], str]:
    """Start judges by kind: `good`, `lenient`, `obedient`, `lengthy`, `broken`, `patchy`, `harsh`; gives the URL."""

    def start(kind: str) -> str:
        def judged(body: dict[str, Any]) -> str:
            return verdict(kind, body["messages"][0]["content"], body["messages"][1]["content"])

        return answer_chats(judged)

    return start
