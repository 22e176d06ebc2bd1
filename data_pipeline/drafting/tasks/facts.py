"""What a study's record states, sorted for wording: levels in view, fractures, other findings, what nobody can see.

Convention: only what the record states and the picture's numbering allows; a body without a name stays without one.
Genant's grade is given for T4 to L4 alone (Genant 1993, J Bone Miner Res 8:1137) and never within five points of a
border (20, 25, 40 %), because readers differ by more than that.

Trap: a study without a statement on fractures is no study without fractures; :attr:`Facts.fractures_stated` tells them
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinemed.anatomy import Level
from spinemed.measure.grades import GENANT_BORDERS, genant_grade
from spinemed.records import Finding, Study

__all__ = ["Facts", "Fracture", "facts_of"]

_EDGE_POINTS = 5.0
_TOLD_ELSEWHERE = frozenset(
    ("fracture", "modality", "plane", "vertebra", "level_count", "thoracic_count", "lumbar_count", "presacral_count")
)


@dataclass(frozen=True)
class Fracture:
    """One vertebra with its stated shape."""

    level: Level | None
    shape: str
    loss_percent: float | None

    @property
    def grade(self) -> int | None:
        """Genant's grade, where it is defined and not at a border."""
        if self.level is None or self.loss_percent is None or not Level.T4 <= self.level <= Level.L4:
            return None
        if min(abs(self.loss_percent - border) for border in GENANT_BORDERS) < _EDGE_POINTS:
            return None
        return genant_grade(self.loss_percent)


@dataclass(frozen=True)
class Facts:
    """What may be said about one study."""

    study: Study
    whole: tuple[Level, ...]
    """Named vertebrae wholly in the picture, from the head down."""
    bodies: int
    """Vertebral bodies wholly in the picture, named or not."""
    fractures: tuple[Fracture, ...]
    intact: tuple[Level, ...]
    """Vertebrae that the record states to be without fracture."""
    fractures_stated: bool
    others: tuple[Finding, ...]
    """Findings of other kinds about one vertebra or disc."""

    @property
    def named(self) -> bool:
        """Whether levels may be named."""
        return self.study.numbering_determinable and bool(self.whole)

    @property
    def cervical(self) -> bool:
        """Whether a cervical vertebra is in view."""
        return any(level <= Level.C7 for level in self.whole)


def facts_of(study: Study) -> Facts:
    """Sort a study's record."""
    known = study.numbering_determinable
    stated = [finding for finding in study.findings if finding.kind == "fracture"]
    told = [finding for finding in stated if finding.level is not None and known]
    whole = [mark for mark in study.marks if mark.fully_visible]
    return Facts(
        study=study,
        whole=tuple(mark.level for mark in whole if mark.level is not None and known),
        bodies=len(whole),
        fractures=tuple(
            Fracture(finding.level if known else None, finding.value, finding.amount)
            for finding in stated
            if finding.value != "none"
        ),
        intact=tuple(finding.level for finding in told if finding.value == "none" and finding.level is not None),
        fractures_stated=bool(stated),
        others=tuple(
            finding
            for finding in study.findings
            if finding.kind not in _TOLD_ELSEWHERE and (known or (finding.level is None and finding.disc is None))
        ),
    )
