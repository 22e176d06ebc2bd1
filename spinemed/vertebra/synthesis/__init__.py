"""Vertebrae as they should be: two training-free baselines, a shape completer and a generator behind one interface."""

from spinemed.vertebra.synthesis.interface import (
    Overlay,
    Synthesis,
    Synthesiser,
    read_synthesiser,
    synthesis_loss,
    synthesis_overlay,
)
from spinemed.vertebra.synthesis.neighbours import NeighbourShape

__all__ = [
    "NeighbourShape",
    "Overlay",
    "Synthesis",
    "Synthesiser",
    "read_synthesiser",
    "synthesis_loss",
    "synthesis_overlay",
]
