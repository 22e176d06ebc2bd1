"""How consultations are held: the settings of `spinemed bench consult`.

Trap: another limit of turns, or other decoding, is another job; it needs a run folder of its own.
"""

from __future__ import annotations

from pydantic import Field

from spinemed.chat.request import Decoding
from spinemed.config import Config

__all__ = ["ConsultConfig"]


class ConsultConfig(Config):
    """How consultations are held."""

    seed: int = Field(default=0, ge=0)
    """Of the cases, the bootstrap and the tests."""
    draws: int = Field(default=2, ge=1)
    """Cases of each template, where no folder of cases is given."""
    turns: int = Field(default=10, ge=1)
    """Most turns of the physician."""
    block_size: int = Field(default=16, ge=1)
    """Conversations that go on together; a killed run repeats at most so many."""
    decoding: Decoding = Decoding(max_tokens=512)
    """How a model chooses its words."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap samples."""
