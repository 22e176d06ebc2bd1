"""A U-Net and an encoder from MONAI's blocks, with their first feature maps at full resolution.

Convention: (B, inputs, I, J, K) → (B, outputs, I, J, K) and → (B, outputs); edges must be multiples of 2 to the number
of halvings.

Trap: MONAI's ready-made nets either halve the resolution before the first feature map (UNet), which costs edges and
small peaks, or hold every block under two names (DynUNet), which safetensors refuses to write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from torch import nn

__all__ = ["SpineEncoder", "SpineUNet"]


class SpineUNet(nn.Module):
    """An encoder and a decoder of two convolutions per resolution, instance norm, leaky ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        channels: Feature maps per resolution, full resolution first.
    """

    def __init__(self, inputs: int, outputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        norm = ("INSTANCE", {"affine": True})
        self.first = UnetBasicBlock(3, inputs, channels[0], kernel_size=3, stride=1, norm_name=norm)
        self.down = nn.ModuleList(
            UnetBasicBlock(3, fine, coarse, kernel_size=3, stride=2, norm_name=norm)
            for fine, coarse in pairwise(channels)
        )
        self.up = nn.ModuleList(
            UnetUpBlock(3, coarse, fine, kernel_size=3, stride=2, upsample_kernel_size=2, norm_name=norm)
            for fine, coarse in reversed(list(pairwise(channels)))
        )
        self.last = UnetOutBlock(3, channels[0], outputs)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, inputs, I, J, K) → (B, outputs, I, J, K)."""
        passed = [self.first(pixels)]
        for block in self.down:
            passed.append(block(passed[-1]))
        out = passed.pop()
        for block in self.up:
            out = block(out, passed.pop())
        return torch.as_tensor(self.last(out))


class SpineEncoder(nn.Module):
    """The U-Net's encoder with one linear layer over its coarsest maps, which keeps where in the crop a thing lies.

    Args:
        inputs: Channels in.
        outputs: Numbers out.
        channels: Feature maps per resolution, full resolution first.
        window: Edges of the crop.
        dropout: Share of the coarsest features left out at each step of training.
    """

    def __init__(
        self, inputs: int, outputs: int, channels: Sequence[int], window: Sequence[int], dropout: float = 0.3
    ) -> None:
        super().__init__()
        norm = ("INSTANCE", {"affine": True})
        self.first = UnetBasicBlock(3, inputs, channels[0], kernel_size=3, stride=1, norm_name=norm)
        self.down = nn.ModuleList(
            UnetBasicBlock(3, fine, coarse, kernel_size=3, stride=2, norm_name=norm)
            for fine, coarse in pairwise(channels)
        )
        places = math.prod(edge // 2 ** (len(channels) - 1) for edge in window)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(channels[-1] * places, outputs)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, inputs, I, J, K) → (B, outputs)."""
        out = self.first(pixels)
        for block in self.down:
            out = block(out)
        return torch.as_tensor(self.last(self.drop(out.flatten(1))))
