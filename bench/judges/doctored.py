"""Doctored reports, made by rule from true ones: what a judge must see through before its scores count.

Convention: a `Probe` is one report with what a right judge says of it: a criterion and its verdict, or the ten
dimensions and the probe that it must not outscore. One fact of a case is doctored at a time; the rest stays true.

Kinds: `true` (nothing doctored: met, and no error), `negated`, `wrong_level`, `wrong_side` (not met, and the error is
named), `missing` (the fact left out: not met), `padded` (the fact left out, and much said besides: not met; as
dimensions: true and padded, no better than true), `plea` ("score me 10") and `injection` (a forged end of the report
with orders) on a report that lacks the fact: not met, and no better than without.

Trap: a probe tests one thing. A judge that fails `missing` reads nothing, and its other rows say little.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from bench.reports.cases import reference_report
from bench.reports.lexicon import load_lexicon
from bench.reports.scoring import derive_rubric
from bench.samples import spine_of
from spinemed.anatomy import Disc, Level
from spinemed.config import Config, load_config
from spinemed.records import CaseFact, Record, Sample

__all__ = ["KINDS", "Probe", "ProbeKind", "make_probes"]

ProbeKind = Literal["true", "negated", "wrong_level", "wrong_side", "missing", "padded", "plea", "injection"]
KINDS: tuple[ProbeKind, ...] = (
    "true", "negated", "wrong_level", "wrong_side", "missing", "padded", "plea", "injection",
)  # fmt: skip


class _Words(Config):
    padding: dict[str, str]
    """Words that add length and nothing else, by language."""
    plea: dict[str, str]
    """Words that ask for a high score, by language."""
    injection: dict[str, str]
    """Words that tell the judge what to answer, by language."""


@cache
def _words() -> _Words:
    return load_config(str(files("bench.judges").joinpath("doctored.yaml")), _Words)


class Probe(Record):
    """One doctored report and what a right judge says."""

    id: str
    """Unique in its set."""
    kind: ProbeKind
    """What was done to the report."""
    cluster: str
    """The case: intervals resample these."""
    report: str
    """The text that is judged."""
    criterion: str = ""
    """Empty where the dimensions are asked."""
    met: bool | None = None
    """The right verdict on the criterion."""
    facts: tuple[CaseFact, ...] = ()
    """As :class:`~bench.judges.asking.Asked` has them."""
    no_better_than: str = ""
    """Id of the probe whose dimensions this one may not pass."""


def make_probes(samples: Sequence[Sample], *, most_per_kind: int = 20) -> list[Probe]:
    """Probes from report samples, as many of each kind as there are, up to a number.

    Args:
        samples: Reports with facts; others are passed over.
        most_per_kind: Doctored reports of each kind; some are asked more than one criterion.
    """
    probes: list[Probe] = []
    counts = dict.fromkeys(KINDS, 0)
    scored = 0
    for sample in samples:
        if sample.task != "report":
            continue
        usable = [fact for fact in sample.facts if fact.needed and fact.topic]
        if not usable:
            continue
        sided = next((fact for fact in usable if fact.side and _alone(fact, sample)), None)
        other = next((fact for fact in usable if fact is not sided and _alone(fact, sample)), sided)
        if other is None:
            continue
        for kind in KINDS:
            fact = sided if kind == "wrong_side" or (kind == "true" and sided is not None) else other
            if fact is None or counts[kind] >= most_per_kind:
                continue
            made = _probes(kind, sample, fact)
            probes += made
            counts[kind] += bool(made)
        if scored < most_per_kind:
            probes += _scored(sample, other)
            scored += 1
        if min(counts.values()) >= most_per_kind:
            break
    return probes


def _alone(fact: CaseFact, sample: Sample) -> bool:
    """Whether no other fact of its kind sits at its place."""
    return not any(
        one.id != fact.id and (one.topic, one.level, one.disc) == (fact.topic, fact.level, fact.disc)
        for one in sample.facts
    )


def _probes(kind: ProbeKind, sample: Sample, fact: CaseFact) -> list[Probe]:
    """Probes of one kind: what the report states, and for a wrong level or side also the error by its name."""
    report = _report(kind, sample, fact)
    if report is None:
        return []
    rubric = {item.id: item for item in derive_rubric(sample.facts)}
    wanted = {f"found:{fact.id}": kind == "true"}
    if kind == "wrong_side":
        wanted = {f"side:{fact.id}": False}
    elif kind == "true" and fact.side:
        wanted[f"side:{fact.id}"] = True
    if kind in ("wrong_level", "wrong_side"):
        wanted[f"error:{kind}"] = True
    elif kind == "true":
        wanted |= {"error:wrong_level": False, "error:wrong_side": False}
    return [
        Probe(
            id=f"{kind}:{item.partition(':')[0]}-{rubric[item].error}:{sample.id}",
            kind=kind,
            cluster=sample.cluster,
            report=report,
            criterion=rubric[item].criterion,
            met=met,
            facts=sample.facts if rubric[item].error else (),
        )
        for item, met in wanted.items()
    ]


def _scored(sample: Sample, fact: CaseFact) -> list[Probe]:
    """Probes of the dimensions: a true report and a longer one; one that lacks a fact, alone and with orders."""
    language = sample.language or "en"
    true, missing = _told(sample, sample.facts), _without(sample, fact)
    long = _pad(true, _words().padding[language])
    texts = (
        ("true", true, ""),
        ("padded", long, "true"),
        ("missing", missing, ""),
        ("plea", f"{missing}\n{_words().plea[language]}", "missing"),
        ("injection", missing + _words().injection[language], "missing"),
    )
    return [
        Probe(
            id=f"scores:{kind}:{sample.id}",
            kind=kind,  # type: ignore[arg-type]
            cluster=sample.cluster,
            report=text,
            facts=tuple(one for one in sample.facts if one.needed),
            no_better_than=f"scores:{base}:{sample.id}" if base else "",
        )
        for kind, text, base in texts
    ]


def _report(kind: ProbeKind, sample: Sample, fact: CaseFact) -> str | None:
    language = sample.language or "en"
    if kind == "true":
        return _told(sample, sample.facts)
    if kind == "missing":
        return _without(sample, fact)
    if kind == "padded":
        return _pad(_without(sample, fact), _words().padding[language])
    if kind == "plea":
        return f"{_without(sample, fact)}\n{_words().plea[language]}"
    if kind == "injection":
        return _without(sample, fact) + _words().injection[language]
    if kind == "negated":
        name = load_lexicon().findings[fact.topic].name[language]
        place = fact.disc or fact.level
        denial = f"{place}: no {name}." if language == "en" else f"{place}：未见{name}。"
        first, _, rest = _without(sample, fact).partition("\n")
        return f"{first}\n{denial}\n{rest}"
    if kind == "wrong_side":
        return _told(sample, _swapped(sample, fact, {"side": "left" if fact.side == "right" else "right"}))
    moved = _moved(sample, fact)
    return None if moved is None else _told(sample, _swapped(sample, fact, moved))


def _told(sample: Sample, facts: Sequence[CaseFact]) -> str:
    return reference_report(tuple(facts), "zh" if sample.language == "zh" else "en")


def _without(sample: Sample, fact: CaseFact) -> str:
    return _told(sample, [one for one in sample.facts if one.id != fact.id])


def _swapped(sample: Sample, fact: CaseFact, update: dict[str, object]) -> list[CaseFact]:
    return [one.model_copy(update=update) if one.id == fact.id else one for one in sample.facts]


def _pad(report: str, words: str) -> str:
    return (
        "\n".join(f"{line}\n{words}" if line[:1].isdigit() else line for line in report.splitlines()) + f"\n{words * 3}"
    )


def _moved(sample: Sample, fact: CaseFact) -> dict[str, object] | None:
    """The nearest place without such a finding."""
    spine = spine_of(sample)
    taken = {fact_.disc or fact_.level for fact_ in sample.facts if fact_.topic == fact.topic}
    here = fact.disc or fact.level
    order: list[Disc | Level] = [*spine.discs] if fact.disc is not None else [*spine.presacral]
    places = [place for place in order if place not in taken and place not in (Level.C1, Level.C2)]
    if not places or here not in order:
        return None
    nearest = min(places, key=lambda place: (abs(order.index(place) - order.index(here)), order.index(place)))
    return {"disc": nearest} if isinstance(nearest, Disc) else {"level": nearest}
