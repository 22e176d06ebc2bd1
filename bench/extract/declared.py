"""Where in a reply its answer stands: declarations, statements, and what is taken back.

Convention: a stretch ends with its sentence, or before a reason or a concession ("because ...", "although ..."), or
where the next declaration begins. Where nothing follows on the line, the next line is meant.

Trap: "B. L4" and "(B) L4": the full stop of a letter ends no sentence.
"""

from __future__ import annotations

import re

__all__ = ["CONDITIONAL", "declarations", "statements", "taken_back"]

CONDITIONAL = "\x00if"
"""Opens a stretch that was declared under a condition ("if the canal is narrow, the answer is B")."""
_DECLARATION = re.compile(
    r"(?:\b(?:(?:my|the)\s+)?(?:(?:final|correct|best|right|most\s+likely)\s+){0,2}(?:answer|ans|option|choice)\b\.?\s*"
    r"(?:(?:is|(?:should|must)\s+be)\b|:|=|\s[-–—]\s)+(?:\s*:)?"
    r"|(?:^|#)[ \t]*(?:(?:final|correct)\s+)?answer[ \t]*\n"
    r"|\bI(?:'d|'ll|\s+would|\s+will)?\s+(?:choose|select|pick|go\s+with|opt\s+for)\b"
    r"|(?:最终|正确|参考)?(?:答案|结论)\s*(?:应[该当]?)?\s*(?:是|为|:|=)+"
    r"|【(?:最终|正确)?答案】:?"
    r"|(?<![不可未挑待])(?<!不应)(?<!不能)选(?![项出用中取])择?:?)\s*",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(r"\\boxed\s{0,2}\{([^{}]{0,400})\}")
_TAGGED = re.compile(r"<answer>(.{0,2000}?)</answer>", re.IGNORECASE | re.DOTALL)
_KEYS = (
    r"(?:final[_ ]?)?answer|choice|option|prediction|label|result|level|vertebra|dis[ck]|levels|side|grade|"
    r"最终答案|答案|椎体|节段|椎间盘"
)
_JSON = re.compile(
    rf"[\"'](?:{_KEYS})[\"']\s{{0,3}}:\s{{0,3}}(?:\"(?P<double>[^\"]{{0,400}})\"|'(?P<single>[^']{{0,400}})'"
    rf"|\[(?P<list>[^\[\]]{{0,400}})\]|(?P<number>-?\d{{1,9}}(?:\.\d{{1,9}})?)(?![\d.]))",
    re.IGNORECASE,
)
_JSON_UNIT = re.compile(r"[\"'](?:unit|units|单位)[\"']\s{0,3}:\s{0,3}[\"']([^\"']{0,20})[\"']", re.IGNORECASE)
_AFFIRMED = re.compile(
    r"(?<![\w'-])\(?(?P<en>[A-H])\)?\s+(?:is|seems|must\s+be)\s+(?:the\s+)?(?:most\s+)?(?:correct|right|best)\b"
    r"|(?<![A-Za-z])(?P<zh>[A-H])\s?(?:选项|项)?(?:是|为)?(?:正确|对的)"
)
_STATEMENT = re.compile(
    r"(?:\b(?:marked|indicated|circled|ringed|highlighted|arrowed|labell?ed)\s+"
    r"(?:vertebral\s+body|vertebra|body|level|dis[ck]|structure)\s*(?:is\b|:|=)+"
    r"|(?:标记|圈出|箭头所指|所示|指示)的?(?:椎体|节段|椎间盘|椎骨)\s*(?:是|为|:|=)+)\s*",
    re.IGNORECASE,
)
_OTHER_CHOICE = re.compile(
    r"\b(?:second|third|next|other|alternative|wrong|incorrect)\s+(?:best\s+|most\s+likely\s+)?$", re.IGNORECASE
)
_CONDITION = re.compile(
    r"\b(?:if|unless|otherwise)\b(?!\s+(?:I|forced|pressed|asked)\b)[^.!?;。！？；\n]{0,120}$"
    r"|(?:如果|假如|倘若)[^。！？；\n]{0,60}$",
    re.IGNORECASE,
)
_ASKED = re.compile(r"吗\s*$")
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|[。！？；\n]")
_CLAUSE_END = re.compile(r"[.!?;,](?=\s|$)|[。！？；，\n]")
_LETTER_LEAD = re.compile(r"(?:either\s+)?\(?[A-Ha-h]\s?[.):][^\S\n]*")
_REASON = re.compile(
    r"[,;]?\s*\b(?:because|since|although|though|whereas|while|given\s+that)\b|[,，;；]?\s?(?:因为|由于|虽然|尽管)",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|hold\s+on|on\s+second\s+thought|(?<!is\s)(?<!are\s)(?<!with\s)(?<!shows\s)no),?(?=[\s:])"
    r"|更正|等等|不对|等一下",
    re.IGNORECASE,
)
"""Never the "no" of "there is no retropulsion"."""


def declarations(text: str, *, letters: bool) -> list[tuple[str, int]]:
    """What the reply declares as its answer, in its order: each stretch with the place where it ends.

    Args:
        text: The plain reply.
        letters: Whether options are asked for, so that "B is correct" declares B. Several letters called right in a
            row, with no other declaration behind them, are one stretch, which then holds several answers.
    """
    found: list[tuple[int, int, str, bool]] = []
    if "\\boxed" in text:
        found += [(match.start(), match.end(), match[1], False) for match in _BOXED.finditer(text)]
    if "<" in text:
        found += [(match.start(), match.end(), match[1], False) for match in _TAGGED.finditer(text)]
    if "{" in text:
        unit = _JSON_UNIT.search(text)
        for match in _JSON.finditer(text):
            value = next(part for part in match.groups() if part is not None).replace('"', "").replace("'", "")
            behind = f" {unit[1]}" if unit and match["number"] else ""
            found.append((match.start(), match.end(), value + behind, False))
    spoken = list(_DECLARATION.finditer(text))
    for number, match in enumerate(spoken):
        stop = spoken[number + 1].start() if number + 1 < len(spoken) else len(text)
        start = match.end()
        ahead = text[max(0, match.start() - 140) : match.start()]
        if _OTHER_CHOICE.search(ahead[-30:]):
            continue  # "second choice: C"
        letter = _LETTER_LEAD.match(text, start, stop)
        end = _SENTENCE_END.search(text, letter.end() if letter else start, stop)
        last = end.start() if end else stop
        reason = _REASON.search(text, start, last)
        if reason and reason.start() > start:
            last = reason.start()
        if _ASKED.search(text[start:last]):
            continue  # "答案是A吗？"
        stretch = text[start:last]
        found.append((match.start(), last, f"{CONDITIONAL} {stretch}" if _CONDITION.search(ahead) else stretch, False))
    if letters:
        found += [
            (match.start(), match.end(), match["en"] or match["zh"], True)
            for match in _AFFIRMED.finditer(text)
            if not any(start <= match.start() < end for start, end, _, _ in found)
        ]
    found.sort()
    merged: list[tuple[str, int, bool]] = []
    for _, close, stretch, affirmed in found:
        if affirmed and merged and merged[-1][2]:
            merged[-1] = (f"{merged[-1][0]}, {stretch}", close, True)
        elif stretch.strip():
            merged.append((stretch, close, affirmed))
    return [(stretch.strip(), close) for stretch, close, _ in merged]


def statements(text: str) -> list[str]:
    """What stands behind each "the marked vertebra is", to the end of the clause."""
    found = []
    for match in _STATEMENT.finditer(text):
        end = _CLAUSE_END.search(text, match.end())
        found.append(text[match.end() : end.start() if end else None])
    return [stretch for stretch in found if stretch.strip()]


def taken_back(text: str, place: int) -> str:
    """What follows a "wait" or "no" behind a place; empty where nothing is taken back."""
    match = _TAKEN_BACK.search(text, place)
    return text[match.end() :] if match else ""
