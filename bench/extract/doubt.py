"""What all readers share: doubt, denial, abstention and refusal.

Convention: a reader gives the set of answers that a stretch of text holds; it raises `Doubt` where the text gives an
answer that cannot be taken at its word.

Trap: "not sure" hedges an answer that stands beside it, and abstains where none does; "cannot be determined" beside an
answer contradicts it.
"""

from __future__ import annotations

import re

__all__ = ["REFUSAL", "UNDECIDED", "UNDECIDED_VALUE", "UNSURE", "Doubt", "before", "is_denied"]


class Doubt(Exception):
    """The text says too much, or says it in a way that is no answer."""


_VERBS = r"determined?|told|tell|identif(?:y|ied)|decided?|established|inferred|judged"
_UNDECIDED = (
    r"\b(?:not\s+(?:determinable{0})|(?:can\s?not|can't|could\s+not|couldn't)\s+(?:be\s+)?"
    r"(?:reliably\s+|confidently\s+|definitively\s+|be\s+)?(?:" + _VERBS + r"{1})|undeterminable|indeterminable"
    r"|indeterminate|undetermined|(?:unable|impossible|not\s+possible)\s+to\s+(?:reliably\s+)?"
    r"(?:determine|tell|say|identify|decide{2}))\b"
    r"|(?:无法|不能|不可|难以)(?:准确|可靠)?(?:确定|判断|判定|辨别{3})"
)


def _undecided(*words: str) -> re.Pattern[str]:
    return re.compile(
        _UNDECIDED.replace("{0}", words[0]).replace("{1}", words[1]).replace("{2}", words[2]).replace("{3}", words[3]),
        re.IGNORECASE,
    )


UNDECIDED = _undecided("", "", "", "")
"""The question cannot be decided: levels."""
UNDECIDED_VALUE = _undecided("|assessable|measurable", "|measured|assessed", "|measure", "|测量|评估")
"""The question cannot be decided: grades, sides, numbers and options, which may also not be assessable."""
UNSURE = re.compile(
    r"\bI\s+(?:don't|do\s+not)\s+know\b|\bnot\s+sure\b|\bunsure\b|^\W*unknown\W*$|不确定|不知道|不清楚", re.IGNORECASE
)
REFUSAL = re.compile(
    r"\bI(?:'m|\s+am)\s+(?:sorry|unable|not\s+able)|\bI\s+(?:can(?:no|')t(?!\s+be\s+(?:sure|certain))|can\s+not|won't|will\s+not|must\s+decline)\b"
    r"|\bas\s+an\s+AI\b|抱歉|对不起|作为(?:一个|一名)?人工智能|我(?:无法|不能)(?:提供|回答|协助|帮助|查看)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|no|never|without|isn't|cannot|excludes?|excluding|rather\s+than|instead\s+of|neither|nor)|n't|不是|并非|而非|"
    r"没有|无|排除|不选)\s*(?:(?:a|an|the|at|any|on|in|be|been|grade|option|evidence\s+of|signs?\s+of)\s+)*$",
    re.IGNORECASE,
)


def before(stretch: str, place: int) -> str:
    """The words just before a place; bounded, so that a long reply costs no more than a short one."""
    return stretch[max(0, place - 60) : place]


_DENIED_BEHIND = re.compile(
    r"\s*(?:vertebra|level|椎体|椎间盘)?\s*(?:(?:(?:is|was|are|were)\s+)?(?:clearly\s+)?(?:not\b(?!\s+(?:only|just))|wrong\b|"
    r"incorrect\b)|(?:is|was|are|were|can\s+be|could\s+be)\s+(?:excluded|ruled\s+out|unlikely)\b|isn't\b|wasn't\b|"
    r"(?:并?不是|不对|错误|可?排除|不正确))",
    re.IGNORECASE,
)


def is_denied(stretch: str, start: int, end: int | None = None) -> bool:
    """Whether what stands at a place is only denied ("not L3", "neither A"; with its end also "L4 is wrong")."""
    if _DENIED.search(before(stretch, start)):
        return True
    if end is None:
        return False
    behind = _DENIED_BEHIND.match(stretch, end)
    # "L4, not L3" denies L3; "L4 is not L3" says nothing good of L4 either.
    return behind is not None and not stretch[end:].lstrip().startswith(",")
