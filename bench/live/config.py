"""`LiveConfig`: one YAML for a set of fresh questions.

Convention: `mix` gives the share of questions by recipe (`plan`); recipes of undecidable questions fill what
`undecidable_share` leaves open, in equal parts. Whatever rounding leaves goes to single questions, so that the count
and the undecidable share are exact.

Trap: family "a" is the one that training data are drawn from; questions from it are for practice and are tagged
`practice`, and a model that was trained on the generator may not be ranked with the others.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from spinemed.config import Config

__all__ = ["RECIPES_OF_MIX", "LiveConfig", "LiveSize"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]

RECIPES_OF_MIX: dict[str, float] = {
    "level": 0.17, "level_full": 0.06, "fracture": 0.09, "height": 0.09, "side": 0.08, "slip": 0.05, "disc": 0.07,
    "lesion": 0.03, "alignment": 0.05, "planning": 0.09, "planning_image": 0.05,
    "consistency": 0.07, "consistency_finding": 0.03,
    "injection": 0.05, "real": 0.01,
}  # fmt: skip
"""Share of all questions by recipe; the rest are the undecidable ones."""
_ASKED_FOR = frozenset({"volume"})
"""Recipes that a mix may name and the usual one does not hold, so that its sets keep their bytes."""


class LiveSize(Config):
    """How large pictures are."""

    flat_px: Annotated[int, Field(ge=128, le=1024)] = 448
    """Height and width of two-dimensional phantoms."""
    xray_mm: Annotated[float, Field(ge=0.4, le=3.0)] = 0.8
    """Pixel of radiographs of a region; whole spines have 1.6 times this."""
    slice_mm: Annotated[float, Field(ge=0.4, le=2.0)] = 0.8
    """Pixel of CT and MR slices; whole spines have 1.6 times this."""


class LiveConfig(Config):
    """A set of questions made from phantoms, masks and published rules."""

    count: Annotated[int, Field(ge=20, le=10_000_000)] = 500
    """How many questions."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed is another set: nothing of it can be known before."""
    family: Literal["a", "b"] = "b"
    """Generator family of all phantoms; "b" is never trained on."""
    undecidable_share: Share = 0.15
    """Share of questions that nobody can decide, by construction."""
    real: bool = True
    """Ask also about the bundled real images whose levels an expert's mask gives."""
    volumes: bool = True
    """Write masks of slipped spines beside the samples, for models that may call `measure`."""
    mix: dict[str, Share] = Field(default_factory=lambda: dict(RECIPES_OF_MIX))
    """Share of all questions by recipe; one that is left out is not asked. `volume`, fracture and measurement on named
    vertebrae with a mask for tools, is asked only when it is named here."""
    size: LiveSize = LiveSize()
    """Bounds on pictures and phantoms, for smaller sets."""

    @field_validator("mix")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        if strange := sorted(set(value) - set(RECIPES_OF_MIX) - _ASKED_FOR):
            raise ValueError(
                f"no recipe is called {', '.join(strange)}; there are {', '.join([*RECIPES_OF_MIX, *_ASKED_FOR])}"
            )
        return value

    @field_validator("undecidable_share")
    @classmethod
    def _room(cls, value: float) -> float:
        if value > 0.9:
            raise ValueError("leaves no room for questions that can be decided; use 0.9 or less")
        return value
