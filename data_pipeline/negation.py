"""Which stretches of a text deny what they name: "no fracture or stenosis", "骨折未见", in English and Chinese.

Convention: a trigger denies what follows it (or stands before it, as in "fracture was excluded") up to the end of its
clause; a comma ends the clause unless an "or" or "nor" further on makes a list of it. The idea of triggers and scopes
is that of Chapman et al., "A simple algorithm for identifying negated findings", J Biomed Inform 2001; triggers,
scopes and the Chinese part are our own.

Trap: a doubt is no denial: "fracture cannot be excluded", "不能排除骨折" name the fracture, as does "no change of the
fracture". Such phrases are taken out before triggers are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["denied_spans"]

_SENTENCE = re.compile(r"[.;!?:](?=\s|$)|[。；！？]|\n")
_DOUBT = re.compile(
    r"\b(?:(?:can|could|may|might)(?:not| not)(?: be)?|not(?: be)?|never(?: be)?|hard to|difficult to|unable to) "
    r"(?:(?:fully|entirely|safely|reliably|completely) )?(?:exclude|rule|ruled|excluded)(?:d)?(?: out)?"
    r"|\bno (?:\w+ )?(?:change|changes|increase|progress|progression|improvement|worsening|healing|doubt|relief)\b"
    r"|\bwithout (?:change|improvement|healing|relief|treatment|surgery|delay|doubt)\b"
    r"|\bnot (?:only|necessarily|just|always|yet healed|healed|uncommon|unusual|rare)\b"
    r"|\bno (?:less|more|fewer|longer) than\b"
    r"|(?:不能|无法|难以|不可|尚未|未)(?:完全)?(?:排除|除外)|不除外|无(?:明显)?(?:变化|改变|进展|好转|缓解)"
    r"|不仅|不但|不只|无论|无法|无需|无效|无菌|无痛|非手术|非特异|非甾体|未愈合|未治疗",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"\b(?:no|without|negative for|absence of|free (?:of|from)|rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)"
    r"|den(?:y|ies|ied)|not|n't|neither|nor|never|lack(?:s|ed|ing)?|rather than|instead of|unlikely|cannot)\b|n['’]t\b"
    r"|未见|未发现|未显示|未提示|未及|未累及|未出现|没有|否认|排除|除外|不伴|不存在|不支持|不是|并非|而非|无",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\b(?:is|are|was|were|been|be|being) (?:\w+ )?(?:ruled out|excluded|absent|negative(?! for)|unlikely|denied)\b"
    r"|\b(?:is|are|was|were|been|be|being) not (?:\w+ )?(?:seen|present|found|identified|evident|demonstrated|visible"
    r"|detected|shown|confirmed|noted|there)\b"
    r"|(?:未见|阴性|不明显|不存在|已排除|被排除|可排除|予以排除|可除外)(?=[^\w]|$)",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(?:but|however|although|though|except|aside from|apart from|yet|nevertheless|whereas|while|because|since"
    r"|secondary to|due to|with|there (?:is|are)|shows?|reveals?|demonstrates?|suggests?|remains?|consistent with)\b"
    r"|但|然而|不过|伴有|可见|提示|考虑|符合|显示",
    re.IGNORECASE,
)
_LIST = re.compile(r"\b(?:or|nor)\b|或", re.IGNORECASE)
_COMMA = re.compile(r"[,，]")


def denied_spans(text: str) -> list[tuple[int, int]]:
    """Starts and ends of the stretches whose findings are denied."""
    return [span for start, end in _sentences(text) for span in _denied(text[start:end], start)]


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _SENTENCE.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _denied(sentence: str, offset: int) -> Iterator[tuple[int, int]]:
    bare = _DOUBT.sub(lambda match: " " * len(match[0]), sentence)
    for match in _AFTER.finditer(bare):
        yield offset + _clause_start(bare, match.start()), offset + match.start()
    bare = _AFTER.sub(lambda match: " " * len(match[0]), bare)
    for match in _BEFORE.finditer(bare):
        yield offset + match.end(), offset + _clause_end(bare, match.end())


def _clause_start(sentence: str, place: int) -> int:
    """Where the clause begins that ends at `place`: after the last comma or turn before it."""
    starts = [0]
    starts += [match.end() for pattern in (_COMMA, _TURN) for match in pattern.finditer(sentence, 0, place)]
    return max(starts)


def _clause_end(sentence: str, place: int) -> int:
    """Where the clause ends that begins at `place`."""
    turn = _TURN.search(sentence, place)
    end = turn.start() if turn else len(sentence)
    comma = _COMMA.search(sentence, place, end)
    if comma is None:
        return end
    # "no fracture, dislocation or stenosis" is a list; "no fracture, severe stenosis" is not.
    joined = list(_LIST.finditer(sentence, comma.end(), end))
    if not joined:
        return comma.start()
    later = _COMMA.search(sentence, joined[-1].end(), end)
    return later.start() if later else end
