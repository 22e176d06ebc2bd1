"""`CaseConfig`: how the chain on one patient is set; what the patient's files are stands on the command line.

Convention: every field has a value in `configs/case.yaml`; the command line names image, mask, models and output.

Trap: `phantom` is a list of settings of `spinemed phantom make`. They are part of a phantom's truth: another list makes
another phantom of the same seed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spinemed.config import Config, ConfigPath

__all__ = ["AskedItems", "CaseConfig", "CaseRun", "ReportItems"]


class AskedItems(Config):
    """How many questions of each kind are drafted on the picture; a kind that the record does not hold gives none."""

    vertebra: int = Field(default=2, ge=0, le=30)
    """Which vertebra is marked?"""
    disc: int = Field(default=1, ge=0, le=30)
    """Which disc is marked?"""
    edge: int = Field(default=2, ge=0, le=2)
    """Which is the lowest, which the highest vertebra wholly in view?"""
    count: int = Field(default=2, ge=0, le=4)
    """How many vertebrae of a region are wholly in view?"""
    column: int = Field(default=0, ge=0, le=1)
    """How many vertebrae does this spine have above the sacrum?"""
    fracture: int = Field(default=2, ge=0, le=30)
    """Which fracture shape does the marked vertebra show?"""
    pfirrmann: int = Field(default=1, ge=0, le=30)
    """Which Pfirrmann grade? A CT cannot show one, and the right answer says so."""
    modic: int = Field(default=0, ge=0, le=1)
    """Which Modic type? A CT cannot show one."""
    fixation: int = Field(default=0, ge=0, le=30)
    """Which levels does a short-segment fixation of a fracture span?"""
    healthy_share: float = Field(default=0.5, ge=0, le=1)
    """Share of fracture questions that ask about a vertebra without one."""


class ReportItems(Config):
    """What the rule writer writes on the study as a whole."""

    multiple_choice: int = Field(default=2, ge=0, le=3)
    """Multiple-choice questions on what the record states."""
    open: int = Field(default=0, ge=0, le=3)
    """Open questions; no rule scores them."""
    consultation: int = Field(default=0, ge=0, le=1)
    """A conversation that asks for red flags before it advises."""


class CaseConfig(Config):
    """The chain on one patient."""

    seed: int = Field(default=0, ge=0)
    """Of the choice of questions and wordings, and of resampling."""
    spacing_mm: float = Field(default=1.0, gt=0, le=5)
    """Voxel edge of the straightened crops."""
    canvas_px: int = Field(default=192, ge=64, le=1024)
    """Edge of the picture that questions are asked about."""
    asked: AskedItems = AskedItems()
    """Questions on the picture."""
    written: ReportItems = ReportItems()
    """Questions and texts on the study; the report in six parts is always written."""
    languages: Annotated[tuple[Literal["en", "zh"], ...], Field(min_length=1)] = ("en",)
    """Languages of questions and report; the page shows the first."""
    model: ConfigPath
    """Checkpoint that answers when neither a model nor a server is named."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply of a checkpoint."""
    server_tokens: int = Field(default=512, ge=32)
    """Longest reply of a served model, calls of tools included."""
    tool_rounds: int = Field(default=6, ge=1, le=64)
    """Turns in which a served model may call tools."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of `bench score`; of one spine no interval is given."""
    licence: str = "LicenseRef-Own-Data"
    """SPDX identifier of the CT, for the corpus that the questions are drafted from."""
    legal_basis: str = "looked at on this machine by the one who ran the command; nothing leaves it"
    """What the CT of a person may be looked at for."""
    phantom: list[str] = [
        "pathology.fracture_share=1",
        "pathology.fracture_multiple_share=0.6",
        "undecidable_share=0",
        "ct.sacrum=true",
        "ct.keep_cut=true",
    ]
    """Settings of a phantom made by `--phantom`, `field=value` of `spinemed phantom make`."""
    phantom_spacing_mm: float = Field(default=1.0, ge=0.5, le=3)
    """Voxel edge of its CT."""
    phantom_field: Literal["full", "thoracolumbar", "lumbar"] = "lumbar"
    """What its CT shows."""


class CaseRun(Config):
    """What makes one run of the chain: settings, and the inputs by hash."""

    case: CaseConfig
    """How the chain is set."""
    inputs: dict[str, str] = {}
    """Hashes of image and mask, folders of models; no name of a patient's file."""
