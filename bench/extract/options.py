"""The option that a reply chooses: by its letter, or by the exact text of one option.

Convention: letters are A to H. In a declared stretch any letter that stands alone counts; elsewhere only one that is
marked as an option ("(B)", "option B", "B. L4", a line of its own). Letters that are only denied ("A is wrong", "not
B") do not count. Letter and text must agree.

Trap: a list of letters ("A, B and D") must never be read as its first letter.
"""

from __future__ import annotations

import re
import unicodedata

from bench.extract.doubt import UNDECIDED_VALUE, UNSURE, Doubt, before, is_denied
from bench.extract.question import Question

__all__ = ["read_option", "says_undecided"]

_LONE = re.compile(r"\W*(?:option\s+|choice\s+|选项)?([A-Ha-h])(?:选项|项)?\W*", re.IGNORECASE)
_JOIN = r"\s*(?:,|、|/|&|\bor\b|\band\b|和|或|及|与)\s*(?:(?:and|or)\s+)?(?:option\s+)?"
_ZH_ALONE = r"(?<![A-Za-z0-9'-])\(?[A-H]\)?(?![A-Za-z0-9'])"
_LIST = re.compile(rf"{_ZH_ALONE}(?:{_JOIN}\(?[A-H]\)?(?![A-Za-z0-9'])){{1,7}}")
_WRONG = (
    r"(?:选项|项)?\s*(?:(?:is|are|was|were|seems?|都|均|也|是)\s*)?(?:(?:clearly|obviously|all|also|both|therefore)\s+)?"
    r"(?:incorrect|wrong|false|not(?!\s+\(?[A-H](?![A-Za-z0-9]))|unlikely|excluded|eliminated|ruled\s+out|isn't|aren't|doesn't|do\s+not|does\s+not|"
    r"错误|错|不正确|不对|不符|不选|不是(?!\s*\(?[A-H](?![A-Za-z0-9]))|可?排除)"
)
_DENIED_BEHIND = re.compile(rf"{_ZH_ALONE}(?:{_JOIN}\(?[A-H]\)?(?![A-Za-z0-9'])){{0,7}}\s*[:-]?\s*{_WRONG}")
_DENIED_AHEAD = re.compile(
    r"(?:\b(?:not|neither|nor|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing)\s+out|eliminat(?:e|es|ed|ing)|rather\s+than|"
    r"instead\s+of|than)|n't|不是|不应?选|排除|并非|而非)\s*(?:option\s+|options\s+|the\s+|choose\s+)*"
    rf"\(?[A-H]\)?(?![A-Za-z0-9'])(?:{_JOIN}\(?[A-H]\)?(?![A-Za-z0-9'])){{0,7}}",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"\(?([A-H])(?:\s*[.):、,]\s*|\s+[-–—]\s+|(?=\s+(?:because|since)\b|\s+is\s+(?:the\s+)?(?:correct|right|best)\b))"
)
"""A letter that opens a reply and stands for an option: "B. L4", "B - L4", "B because ...", never "A vertebra"."""
_SMALL_LEAD = re.compile(r"\(?([a-h])[.):]\s")
_LINE_LEAD = re.compile(r"^[^\S\n]*(?:[-*•]\s)?\(?([A-H])[.):]\s", re.MULTILINE)
_LONE_LINE = re.compile(r"^[^\S\n]*\(?([A-H])\)?[^\S\n]*[.。]?[^\S\n]*$", re.MULTILINE)
_MARKED = (
    re.compile(r"[(\[]([A-H])[)\]]"),
    re.compile(r"(?:\b(?i:or|either)|或)\s*\(?([A-H])(?![A-Za-z0-9'])"),
    re.compile(r"(?<![A-Za-z0-9'-])([A-H])\)?\s*(?:or\b|或)"),
    re.compile(r"(?<!不)[是为]\s?\(?([A-H])(?![A-Za-z0-9])"),
    re.compile(r"(?i:\b(?:option|choice|answer(?:\s+is)?)|选项?)\s*\(?([A-H])(?![A-Za-z0-9])"),
    re.compile(r"\b(?:but|rather)\s+\(?([A-H])\)?(?=\s*(?:[.,;:!?]|$))", re.IGNORECASE),
    re.compile(
        r"(?i:\b(?:think|believe|guess|say|probably|likely|it's|it\s+is|must\s+be))\s+(?i:it'?s\s+)?\(?([B-H])\)?"
        r"(?=\s*(?:[.,;:!?]|$))"
    ),
)
_ANY = re.compile(r"(?<![A-Za-z0-9'-])([A-H])(?![A-Za-z0-9'])")
_ARTICLE = re.compile(r"\s+[a-z]")


def says_undecided(text: str) -> bool:
    """Whether a text says that the question cannot be decided."""
    return bool(UNDECIDED_VALUE.search(text) or UNSURE.search(text))


def read_option(stretch: str, question: Question, *, declared: bool) -> set[str]:
    """Every option that a stretch chooses.

    Raises:
        Doubt: A list of letters, a letter that is no option, or only denials.
    """
    keys = {option.key for option in question.options}
    body = stretch.strip()
    lone = _LONE.fullmatch(body)
    if lone:
        return _known({lone[1].upper()}, keys)
    body, denied = _without_denied(body)
    several = _LIST.search(body)
    if several:
        raise Doubt(f"several letters: {several[0].strip()}")
    lead = _LEAD.match(body)
    letters: set[str] = set()
    text_at = 0
    if lead:
        letters.add(lead[1])
        text_at = lead.end()
    elif declared and (small := _SMALL_LEAD.match(body)):
        letters.add(small[1].upper())
        text_at = small.end()
    else:
        lines = {found[1] for found in _LONE_LINE.finditer(body)}
        if len(lines) == 1:  # a line that is a letter is the answer, whatever the explanation around it names
            return _known(lines, keys)
        letters |= lines
    leads = {found[1] for found in _LINE_LEAD.finditer(body)}
    first_line = _LONE_LINE.match(body)
    if not declared and first_line and not leads - {first_line[1]}:
        return _known({first_line[1]}, keys)
    letters |= leads
    for pattern in _MARKED:
        letters |= {found[1] for found in pattern.finditer(body)}
    if declared:
        for found in _ANY.finditer(body):
            if found[1] != "A" or not _ARTICLE.match(body, found.end()):
                letters.add(found[1])
    texts, text_denied = _option_texts(body[text_at:], question)
    _known(letters, keys)
    if (denied or text_denied) and not letters and not texts:
        raise Doubt("only says what it is not")
    if len(letters) == 1 and texts and texts != letters:
        raise Doubt(f"'{next(iter(letters))}' and the text of another option")
    return letters | texts


def _known(letters: set[str], keys: set[str]) -> set[str]:
    if letters - keys:
        raise Doubt(f"'{', '.join(sorted(letters - keys))}' is no option")
    return letters


def _without_denied(body: str) -> tuple[str, bool]:
    kept, count = _DENIED_BEHIND.subn(" ", body)
    kept, more = _DENIED_AHEAD.subn(" ", kept)
    return kept.strip() if count + more else body, bool(count + more)


def _option_texts(body: str, question: Question) -> tuple[set[str], bool]:
    """Options whose exact text (letter case and spacing apart) is the reply, or is what a sentence of it says.

    "The level is L4." says L4; "disc hernia" does not say "disc", and "L4 is degenerated" does not say "L4".
    """
    whole = _words(body)
    hits: list[tuple[int, int, str]] = []
    for option in question.options:
        wanted = _words(option.text)
        start = whole.find(wanted) if wanted else -1
        while start >= 0:
            end = start + len(wanted)
            if _OPENS.search(before(whole, start)) and _CLOSES.match(whole, end):
                hits.append((start, end, option.key))
            start = whole.find(wanted, start + 1)
    found, denied = set(), False
    for start, _, key in outermost(hits):
        if is_denied(whole, start):
            denied = True
        else:
            found.add(key)
    return found, denied


def _words(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.split()).casefold().strip(" .,;:!?\"'。；，")


_OPENS = re.compile(
    r"(?:^|[.,;:()\"'=。，；：是为或和及与]|\b(?:is|are|be|the|an?|either|both|but|not|no|or|and|shows|choose|select|pick))\s*$"
)
_CLOSES = re.compile(
    r"\s*(?:$|[.,;:)!?\"'。，；或和及与]|(?:is|are)\s+(?:the\s+)?(?:correct|right|best)\b|(?:but|or|and|not)\b)"
)


def outermost(hits: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Matches that do not lie inside a longer one: "disc" within "disc herniation" was not said."""
    kept: list[tuple[int, int, str]] = []
    reach = -1
    for hit in sorted(set(hits), key=lambda hit: (hit[0], -hit[1])):
        # Sorted by start, a match lies inside an earlier, longer one exactly if it ends no further than the reach.
        if hit[1] > reach or (kept and kept[-1][:2] == hit[:2]):
            kept.append(hit)
        reach = max(reach, hit[1])
    return kept
