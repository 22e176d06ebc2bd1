"""The network of the shape completer: neighbours' shapes and the course of heights in, the expected shape out.

Shapes are written as deviations from the healthy mean of their level, in a basis of principal components, both kept in
the network as buffers that training sets once. A linear map and a small perceptron beside it predict the target's
components; three more outputs correct the expected heights of the thirds, as factors near 1. Both start at nothing: an
untrained completer answers with the mean shape of the level at the heights that the level curve expects.

The trap: means and basis belong to the bodies that were trained on; weights without them are no model, so they are
saved and loaded together.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import nn

from spinemed.config import Config
from spinemed.vertebra.norms import NORM_LEVELS
from spinemed.vertebra.synthesis.shape import LENGTH
from spinemed.vertebra.synthesis.spine_shapes import SLOTS

__all__ = ["CompleterConfig", "CompleterNet"]


class CompleterConfig(Config):
    """The shape completer's network."""

    components: int = Field(default=40, ge=2, le=200)
    """Principal components of a shape."""
    hidden: int = Field(default=192, ge=8)
    """Width of the perceptron's two layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of its inner numbers left out in training."""


class CompleterNet(nn.Module):
    """See the module docstring."""

    mean: torch.Tensor
    basis: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: CompleterConfig) -> None:
        super().__init__()
        k, levels = config.components, len(NORM_LEVELS)
        self.register_buffer("mean", torch.zeros(levels, LENGTH))
        self.register_buffer("basis", torch.zeros(LENGTH, k))
        self.register_buffer("scale", torch.ones(k))
        width = len(SLOTS) * (k + 3 + 1) + 6 + levels
        self.linear = nn.Linear(width, k + 3)
        self.deep = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, k + 3),
        )  # fmt: skip
        for last in (self.linear, self.deep[-1]):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        shapes: torch.Tensor,
        thirds: torch.Tensor,
        levels: torch.Tensor,
        course: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Expected shape and heights.

        Args:
            shapes: (B, 6, LENGTH) mm, 0 in an empty slot.
            thirds: (B, 6, 3) mm, 0 there.
            levels: (B, 6) place among the levels, -1 there.
            course: (B, 6) expected thirds and their sd, mm.
            target: (B,) place of the target's level.

        Returns:
            (B, LENGTH) shape, mm, and (B, 3) thirds, mm.
        """
        there = (levels >= 0).unsqueeze(-1).to(shapes.dtype)
        means = self.mean[levels.clamp(min=0)]
        scores = (shapes - means) @ self.basis / self.scale * there
        expected = course[:, :3]
        # A neighbour's heights against those expected of the target: far below 0 for a broken one.
        ratio = torch.log(thirds.clamp(min=1.0) / expected.unsqueeze(1)) * there * 5.0
        spread = course[:, 3:] / expected
        one_hot = nn.functional.one_hot(target, len(NORM_LEVELS)).to(shapes.dtype)
        size = torch.log(expected / 20.0) * 3.0
        features = torch.cat(
            [scores.flatten(1), ratio.flatten(1), there.flatten(1), size, spread * 10.0, one_hot], dim=1
        )
        out = self.linear(features) + self.deep(features)
        k = self.scale.shape[0]
        shape = self.mean[target] + (out[:, :k] * self.scale) @ self.basis.T
        heights = expected * torch.exp(0.1 * out[:, k:])
        return shape, heights

    def set_space(self, mean: Any, basis: Any, scale: Any) -> None:
        """Set level means (levels, LENGTH), basis (LENGTH, k) and scale (k)."""
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float32))
        self.basis.copy_(torch.as_tensor(basis, dtype=torch.float32))
        self.scale.copy_(torch.as_tensor(scale, dtype=torch.float32))
