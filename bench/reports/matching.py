"""Claims of a report against the facts of its case: what is found, where side or grade are wrong, what is invented.

Convention: a fact is found by a claim of the same finding at the same place. A claim of the same finding at a place
that has none, beside a fact that nothing found, is a wrong level, once for the two; what is left over of the facts is
missed, what is left over of the claims is invented. A fact that is stated and denied at the same place counts as
missed: a reader cannot rely on it. Facts that are true and not needed excuse a claim and are never missed.

Trap: a claim without a place finds nothing and invents nothing; it is counted as `unplaced`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bench.reports.reading import Claim
from spinemed.anatomy import Disc, Level
from spinemed.records import CaseFact, Record

__all__ = ["FactVerdict", "Matched", "match_claims"]


class FactVerdict(Record):
    """What became of one needed fact."""

    fact_id: str
    """The fact."""
    topic: str
    """Kind of finding."""
    found: bool
    """Whether the report states it at its place."""
    side: str | None = None
    """`right`, `wrong` or `unstated`; None where the fact has no side or was not found."""
    grade: str | None = None
    """The same of the grade."""


class Matched(Record):
    """A report against its facts."""

    facts: tuple[FactVerdict, ...]
    """One entry a needed fact."""
    errors: dict[str, int]
    """Counts of wrong_level, wrong_side, wrong_grade, missed and invented."""
    invented: tuple[str, ...]
    """What was claimed where it is not, as `finding@place`."""
    moved: tuple[str, ...]
    """Wrong levels, as `finding@true>claimed`."""
    unplaced: int
    """Statements of a finding without a place."""


def _place(fact: CaseFact) -> Level | Disc | None:
    return fact.disc or fact.level


def _value(grade: str) -> str:
    """The sign of a grade like `Genant 2`."""
    return grade.rsplit(" ", 1)[-1]


def match_claims(facts: Iterable[CaseFact], claims: Sequence[Claim]) -> Matched:
    """Match a report's claims with the facts of its case that have a place."""
    known = [fact for fact in facts if fact.topic and _place(fact) is not None]
    stated: dict[tuple[str, object], list[Claim]] = {}
    denied: set[tuple[str, object]] = set()
    unplaced = 0
    for claim in claims:
        if claim.place is None:
            unplaced += claim.present
        elif claim.present:
            stated.setdefault((claim.finding, claim.place), []).append(claim)
        else:
            denied.add((claim.finding, claim.place))
    verdicts, errors = [], dict.fromkeys(("wrong_level", "wrong_side", "wrong_grade", "missed", "invented"), 0)
    lost: list[CaseFact] = []
    places = {(fact.topic, _place(fact)) for fact in known}
    for fact in known:
        key = (fact.topic, _place(fact))
        found = [] if key in denied else stated.get(key, [])
        others = {one.side for one in known if (one.topic, _place(one)) == key and one.side} - {fact.side}
        verdict = _verdict(fact, found, others)
        if fact.needed:
            verdicts.append(verdict)
            if not verdict.found:
                lost.append(fact)
        errors["wrong_side"] += verdict.side == "wrong"
        errors["wrong_grade"] += verdict.grade == "wrong"
    strange = [key for key in stated if key not in places]
    moved = []
    for fact in lost:
        here = _place(fact)
        near = [key for key in strange if key[0] == fact.topic]
        if (fact.topic, here) in denied or (fact.topic, here) in stated or not near:
            errors["missed"] += 1
            continue
        closest = min(near, key=lambda key: (_distance(here, key[1]), str(key[1])))
        strange.remove(closest)
        moved.append(f"{fact.topic}@{here}>{closest[1]}")
        errors["wrong_level"] += 1
    errors["invented"] = len(strange)
    return Matched(
        facts=tuple(verdicts),
        errors=errors,
        invented=tuple(sorted(f"{name}@{place}" for name, place in strange)),
        moved=tuple(sorted(moved)),
        unplaced=unplaced,
    )


def _verdict(fact: CaseFact, found: list[Claim], others: Collection[str | None]) -> FactVerdict:
    side: str | None = None
    own = found
    if fact.side and found:
        own = [claim for claim in found if claim.side == fact.side]
        strange = [claim for claim in found if claim.side not in (None, fact.side) and claim.side not in others]
        if strange:
            side, own = "wrong", own or strange
        elif own:
            side = "right"
        else:
            own = [claim for claim in found if claim.side is None]
            side = "unstated" if own else None
    if not own:
        return FactVerdict(fact_id=fact.id, topic=fact.topic, found=False)
    grade: str | None = None
    if fact.grade:
        said = {claim.grade for claim in own if claim.grade is not None}
        grade = "unstated" if not said else "right" if said == {_value(fact.grade)} else "wrong"
    return FactVerdict(fact_id=fact.id, topic=fact.topic, found=True, side=side, grade=grade)


def _distance(here: Level | Disc | None, there: object) -> int:
    first = here.upper if isinstance(here, Disc) else here
    second = there.upper if isinstance(there, Disc) else there
    if not isinstance(first, Level) or not isinstance(second, Level):
        return len(Level)
    return abs(first.ordinal - second.ordinal)
