"""What people decided: verdicts on instances, and clinicians' scores of models' outputs.

Convention: reviewers are pseudonyms; `audit_sha256` is the hash of the audit row that holds the decision, so that a
verdict can be looked up in the log of the review.

Trap: a verdict holds for the bytes it names (`instance_sha256`). An instance that changed since was not reviewed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spinemed.records.base import Record, Sha256
from spinemed.records.instances import Instance

__all__ = ["DIMENSIONS", "REPORT_SECTIONS", "SPINE_ERRORS", "ReaderScore", "ReviewVerdict"]

REPORT_SECTIONS: dict[str, tuple[str, ...]] = {
    "structured_imaging_report": ("imaging_report",),
    "ai_assisted_diagnosis": ("diagnosis",),
    "treatment_recommendation": ("patient_guidance", "evidence_based_treatment", "technical_feasibility"),
    "risk_and_prognosis": ("risk_prognosis",),
    "reasoning_and_disclaimer": ("coverage", "relevance", "granularity", "interpretability"),
}
"""The published ten dimensions of a report, each from 1 to 5, in five sections (the division is recalled, the names and
their number are published)."""
DIMENSIONS: tuple[str, ...] = tuple(name for names in REPORT_SECTIONS.values() for name in names)
"""The ten dimensions on which a report is judged, in the order of their sections."""
SPINE_ERRORS: tuple[str, ...] = ("wrong_level", "wrong_side", "wrong_grade", "missed", "invented", "unsafe")
"""The kinds of error that are counted in a report."""


class ReviewVerdict(Record):
    """What became of one instance after all reviews of it."""

    instance_id: str
    """The instance that was reviewed."""
    instance_sha256: Sha256
    """Of the version that was shown first."""
    decision: Literal["approved", "edited", "rejected"]
    """What the reviewers, or the adjudicator, decided."""
    purpose: Literal["benchmark", "training"]
    """What it was reviewed for: an item for a benchmark needs two reviewers who agree, or an adjudicator."""
    reviewers: tuple[str, ...]
    """Pseudonyms of those whose reviews count."""
    adjudicator: str | None = None
    """Pseudonym of who settled a disagreement; None where nobody had to."""
    instance: Instance | None = None
    """The edited version, where `decision` is `edited`."""
    reason: str = ""
    """Why it was rejected or edited, in the reviewers' words."""
    audit_sha256: Sha256
    """Hash of the line of the audit log that closed it."""

    @model_validator(mode="after")
    def _edited_has_version(self) -> ReviewVerdict:
        if (self.decision == "edited") != (self.instance is not None):
            raise ValueError("an edited verdict, and no other, holds the edited instance")
        if not self.reviewers:
            raise ValueError("reviewers is empty")
        return self


class ReaderScore(Record):
    """One reader's judgement of one output in a reader study."""

    case_id: str
    """Sample whose output was read; the cluster of intervals."""
    output_id: str
    """Of the text as it was shown; the same for all readers."""
    system: str
    """Who wrote it; hidden from the reader."""
    arm: Literal["model", "reference", "doctored"]
    """A doctored control holds a planted error that a reader should find."""
    reader: str
    """Pseudonym of the reader."""
    group: str
    """Group of readers that agreement is computed within and between, such as a specialty."""
    dimensions: dict[str, Annotated[int, Field(ge=1, le=5)]]
    """One score for each of `DIMENSIONS`."""
    errors: dict[str, Annotated[int, Field(ge=0)]]
    """Counts of `SPINE_ERRORS`; a kind that is absent was not found."""
    would_sign: bool
    """Whether the reader would sign the output as it stands."""
    comment: str = ""
    """The reader's remark."""

    @model_validator(mode="after")
    def _whole(self) -> ReaderScore:
        if set(self.dimensions) != set(DIMENSIONS):
            raise ValueError(f"dimensions must be {list(DIMENSIONS)}")
        unknown = sorted(set(self.errors) - set(SPINE_ERRORS))
        if unknown:
            raise ValueError(f"unknown error kinds {unknown}; known are {list(SPINE_ERRORS)}")
        return self
