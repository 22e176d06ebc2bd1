"""A reply without its reasoning, markup and confidence: what is left is read.

Convention: `plain_text` gives None where the reasoning has no end. The channels of other templates are brought to
think tags first: what stands before the final channel is reasoning.

Trap: some templates open the reasoning inside the prompt, so that only its end stands in the reply; everything before
a lone closing tag is reasoning.
"""

from __future__ import annotations

import re

__all__ = ["plain_text", "take_confidence", "without_reasoning"]

_NAMES = r"think(?:ing)?|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think"
_TAG = re.compile(
    rf"(?P<close></(?:{_NAMES})>|◁/think▷|\[/THINK\]|<\|end_of_thought\|>|<unused95>)"
    rf"|<(?:{_NAMES})>|◁think▷|\[THINK\]|<\|begin_of_thought\|>|<unused94>",
    re.IGNORECASE,
)
_REASONING_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)[^<]{0,60}<\|message\|>")
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final[^<]{0,60}<\|message\|>")
_TOKEN = re.compile(r"<\|[a-z_0-9]{1,40}\|>")
_MARKUP = re.compile(r"\*\*|__|`|^[ \t]*#+[ \t]*|^[ \t]*>+[ \t]?(?![\s\d.])|\$", re.MULTILINE)
_LATEX_WORD = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|mathit|textrm|operatorname)\s*\{([^{}]{0,200})\}")
_LATEX_DEGREE = re.compile(r"\s?\^\s?\{?\s?\\circ\s?\}?")
_LATEX_REST = re.compile(r"\\[\[\]()]|\\[,;! ]|\\(?:quad|displaystyle)\b")
_SPACES = re.compile(r"[^\S\n]{2,}")
_LINES = re.compile(r"(?:[^\S\n]?\n){3,}")
_SUBSCRIPT = re.compile(r"(?<=[A-Za-z])_\{?(\d{1,2})\}?")
_WIDE = [*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B)]
_FOLD = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in _WIDE} | dict(zip("：（）＝％／［］‘’º˚−", ":()=%/[]''°°-", strict=True))
)


def plain_text(text: str) -> str | None:
    """The reply without reasoning and markup; None where the reasoning has no end."""
    if "<" in text or "◁" in text or "[" in text:
        kept = without_reasoning(text)
        if kept is None:
            return None
        text = kept
    text = text.translate(_FOLD)
    if "\\" in text:
        for _ in range(3):  # \textbf{(\text{A})}
            text = _LATEX_WORD.sub(r"\1", text)
        text = _LATEX_REST.sub(" ", _LATEX_DEGREE.sub("°", text).replace("\\%", "%"))
    text = _SUBSCRIPT.sub(r"\1", _MARKUP.sub("", text)).strip()
    # Runs of white space mean nothing, and patterns with several gaps in a row would take long over them.
    return _LINES.sub("\n\n", _SPACES.sub(" ", text))


def without_reasoning(text: str) -> str | None:
    """The reply without its reasoning, markup and all else kept; None where the reasoning has no end."""
    if "<|" in text:
        text = _FINAL_CHANNEL.sub("</think>", _REASONING_CHANNEL.sub("<think>", text))
    kept: list[str] = []
    depth = place = 0
    for tag in _TAG.finditer(text):
        if depth == 0:
            kept.append(text[place : tag.start()])
        if tag["close"]:
            kept = kept if depth else []
            depth = 0
        else:
            depth += 1
        place = tag.end()
    if depth:
        return None
    return _TOKEN.sub(" ", " ".join([*kept, text[place:]]))


_NUMBER = r"(?P<value>\d{1,3}(?:\.\d{1,4})?)\s{0,2}(?P<unit>%|percent\b|per\s?cent\b|/\s?10\b|/\s?100\b)?"
_WORDS = r"(?:very\s+)?(?:high|low|medium|moderate)\b"
_CONFIDENCES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"[\"']?\bconfidence\b[\"']?(?:\s+(?:level|score|rating))?\s{{0,2}}(?:is\b|of\b|:|=|\s){{0,4}}"
        rf"(?:{_NUMBER}|{_WORDS})",
        rf"{_NUMBER}\s{{0,2}}(?:sure|certain|confident|confidence)\b",
        rf"(?:置信度|可信度|把握|信心)(?:大?约?[为是]?|:|=|\s){{0,4}}{_NUMBER}",
        rf"{_NUMBER}的?(?:把握|置信度?|信心|确定)",
    )
)


def take_confidence(text: str) -> tuple[str, float | None]:
    """The text without its statements of confidence, and the confidence from 0 to 1; None where no number is sure.

    A percent sign or "/10" gives the scale. Without one a number with a decimal point up to 1 is a share, and a whole
    number from 2 to 100 is percent; 0 and 1 may be either and are not read. Two different statements are none.
    """
    if not _MAY_HOLD.search(text):
        return text, None
    found: set[float | None] = set()
    for pattern in _CONFIDENCES:

        def take(match: re.Match[str]) -> str:
            found.add(_share(match["value"], match["unit"]))
            return " "

        text = pattern.sub(take, text)
    return text, found.pop() if len(found) == 1 else None


_MAY_HOLD = re.compile(r"confiden|\bsure\b|certain|置信|可信|把握|信心|确定", re.IGNORECASE)


def _share(value: str | None, unit: str | None) -> float | None:
    if value is None:
        return None
    number, mark = float(value), (unit or "").replace(" ", "")
    if mark == "/10":
        share = number / 10
    elif mark:
        share = number / 100
    elif "." in value:
        share = number
    elif number >= 2:
        share = number / 100
    else:
        return None
    return round(share, 6) if share <= 1 else None
