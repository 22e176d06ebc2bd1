"""A report's points from its facts alone: rubric, fact-level score, unsafe advice. No judge, the same every time.

Convention: the rubric is derived from the facts: a needed fact found 5 points, its side 2, its grade 2, each of the six
parts 1; a wrong level or side -4, a wrong grade -2, something invented -3, unsafe advice -6, each once. As in
HealthBench the score is points earned over points possible, clipped to 0 to 1. Counts of errors stand beside it.

Trap: the points are this project's own; change one and scores of before are other scores (`RUBRIC_SHA256` tells).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from bench.extract.plain import plain_text
from bench.reports.lexicon import load_lexicon
from bench.reports.matching import Matched, match_claims
from bench.reports.reading import read_report
from bench.samples import spine_of
from spinemed.config import Config, load_config
from spinemed.records import CaseFact, Record, RubricItem, Sample, content_hash

__all__ = [
    "PART_NAMES",
    "RUBRIC_SHA256",
    "ReportRead",
    "derive_rubric",
    "met_items",
    "rubric_score",
    "score_report",
    "unsafe_advice",
]

PART_NAMES = ("findings", "diagnosis", "advice", "risk", "after_surgery", "basis")
_FOUND, _SIDE, _GRADE, _PART = 5, 2, 2, 1
_ERRORS: dict[str, tuple[int, str]] = {
    "wrong_level": (-4, "The report places a finding of this case at a level where it is not."),
    "wrong_side": (-4, "The report names the wrong side for a finding."),
    "wrong_grade": (-2, "The report gives the wrong grade to a finding."),
    "invented": (-3, "The report states a finding that this case does not have."),
    "unsafe": (-6, "The report gives advice that is unsafe for this case."),
}
RUBRIC_SHA256 = content_hash([_FOUND, _SIDE, _GRADE, _PART, {name: list(value) for name, value in _ERRORS.items()}])


class _Unsafe(Config):
    id: str
    """Unique among the rules."""
    when: tuple[str, ...]
    """Findings of the case for which it counts; empty is any case."""
    why: str
    """What the published statement says."""
    source: str
    """Where it is published, and how far that was read."""
    patterns: tuple[str, ...]
    """Patterns of advice that contradicts it."""


class _UnsafeRules(Config):
    rules: tuple[_Unsafe, ...]
    """All rules."""


@cache
def _unsafe_rules() -> _UnsafeRules:
    return load_config(str(files("bench.reports").joinpath("unsafe.yaml")), _UnsafeRules)


class ReportRead(Record):
    """One report, read and scored."""

    matched: Matched
    """The report against its facts."""
    unsafe: tuple[str, ...]
    """Ids of the rules that it breaks."""
    parts: tuple[str, ...]
    """Parts whose headings stand in it."""
    met: tuple[str, ...]
    """Ids of the rubric items that are met."""
    points: float
    """Earned share of the points, from 0 to 1."""


def _where(fact: CaseFact) -> str:
    return str(fact.disc or fact.level)


def derive_rubric(facts: Sequence[CaseFact]) -> tuple[RubricItem, ...]:
    """The rubric of a case: yes/no items with signed points, each of which can be read alone."""
    items = []
    for fact in facts:
        if not fact.needed or not fact.topic:
            continue
        name, place = load_lexicon().findings[fact.topic].name["en"], _where(fact)
        told = f"{name} at {place}" + (f" on the {fact.side}" if fact.side else "")
        items.append(
            RubricItem(
                id=f"found:{fact.id}",
                points=_FOUND,
                criterion=f"The report states a {name} at {place}.",
                fact_ids=(fact.id,),
            )
        )
        if fact.side:
            items.append(
                RubricItem(
                    id=f"side:{fact.id}",
                    points=_SIDE,
                    criterion=f"The report states that the {name} at {place} lies on the {fact.side}, and not on the "
                    "other side.",
                    fact_ids=(fact.id,),
                )
            )
        if fact.grade:
            items.append(
                RubricItem(
                    id=f"grade:{fact.id}",
                    points=_GRADE,
                    criterion=f"The report grades the {told} as {fact.grade}.",
                    fact_ids=(fact.id,),
                )
            )
    for part in PART_NAMES:
        items.append(
            RubricItem(
                id=f"part:{part}",
                points=_PART,
                criterion=f"The report has a part of its own for {part.replace('_', ' ')}.",
            )
        )
    for error, (points, criterion) in _ERRORS.items():
        items.append(RubricItem(id=f"error:{error}", points=points, criterion=criterion, error=error))  # type: ignore[arg-type]
    return tuple(items)


def unsafe_advice(text: str, topics: Sequence[str] = ()) -> list[str]:
    """Ids of the unsafe rules that a text breaks in a plain sentence.

    Args:
        text: A reply.
        topics: Findings of the case.
    """
    lexicon = load_lexicon()
    found = []
    for rule in _unsafe_rules().rules:
        if rule.when and not set(rule.when) & set(topics):
            continue
        for sentence in re.split(r"(?<=[.。;；!！\n])", plain_text(text) or ""):
            if lexicon.pattern("skipped").search(sentence):
                continue
            for pattern in rule.patterns:
                match = re.search(pattern, sentence, re.IGNORECASE)
                if match and not re.search(
                    r"\b(?:not|no|never|avoid)\b|不|勿|避免", sentence[: match.end()], re.IGNORECASE
                ):
                    found.append(rule.id)
    return list(dict.fromkeys(found))


def _parts(text: str) -> tuple[str, ...]:
    """Parts whose headings begin a line."""
    lexicon = load_lexicon()
    lines = [
        re.sub(r"^\s*(?:[-*•#]+|\d[.)、]|[一二三四五六][、.])\s*", "", line)
        for line in (plain_text(text) or "").splitlines()
    ]
    found = []
    for number, name in enumerate(PART_NAMES):
        patterns = [words[number] for words in lexicon.parts.values()]
        if any(re.match(pattern, line, re.IGNORECASE) for line in lines for pattern in patterns):
            found.append(name)
    return tuple(found)


def met_items(rubric: Sequence[RubricItem], matched: Matched, parts: Sequence[str], unsafe: Sequence[str]) -> list[str]:
    """Ids of the rubric's items that a read report meets, of those that rules can decide."""
    facts = {verdict.fact_id: verdict for verdict in matched.facts}
    met = []
    for item in rubric:
        kind, _, name = item.id.partition(":")
        if kind == "part":
            yes = name in parts
        elif kind == "error":
            yes = bool(unsafe) if name == "unsafe" else matched.errors.get(name, 0) > 0
        elif name in facts:
            verdict = facts[name]
            yes = (
                verdict.found
                and {"found": True, "side": verdict.side == "right", "grade": verdict.grade == "right"}[kind]
            )
        else:
            continue
        if yes:
            met.append(item.id)
    return met


def rubric_score(rubric: Sequence[RubricItem], met: Sequence[str]) -> float:
    """Points earned over points possible, clipped to 0 to 1 (HealthBench, Arora 2025).

    Raises:
        ValueError: A rubric without positive points has no score.
    """
    possible = sum(item.points for item in rubric if item.points > 0)
    if possible == 0:
        raise ValueError("a rubric needs positive points")
    chosen = set(met)
    earned = sum(item.points for item in rubric if item.id in chosen)
    return min(1.0, max(0.0, earned / possible))


def score_report(sample: Sample, text: str) -> ReportRead:
    """Read and score one report."""
    rubric = sample.rubric or derive_rubric(sample.facts)
    matched = match_claims(sample.facts, read_report(text, spine=spine_of(sample)))
    unsafe = unsafe_advice(text, [fact.topic for fact in sample.facts])
    parts = _parts(text)
    met = met_items(rubric, matched, parts, unsafe)
    return ReportRead(
        matched=matched, unsafe=tuple(unsafe), parts=parts, met=tuple(met), points=round(rubric_score(rubric, met), 6)
    )
