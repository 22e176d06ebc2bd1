"""Dense warm-up: teach a vision encoder, from masks, which vertebra every patch shows and what a mark points at.

Convention: targets lie on the grid of merged tokens, in the order in which the encoder emits them: rows of tokens, and
inside a token its patches row by row. A patch belongs to the body that covers most of its labelled pixels, when any
body covers at least a quarter of it.

Trap: answers alone teach a small encoder nothing in minutes; 64 tokens share one signal. Masks give each token its
own. The heads made here are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from train.base.phantoms import SHAPES, UNNUMBERED, Example

__all__ = ["DenseBatch", "DenseModel", "dense_targets", "patch_labels"]

CLASSES = UNNUMBERED + 1
_IGNORE = -100


def patch_labels(labels: np.ndarray, patch: int, merge: int) -> np.ndarray:
    """Class of each patch, in token order.

    Args:
        labels: (H, W) classes, 0 for background.
        patch: Patch edge in pixels.
        merge: Patches per token edge.

    Returns:
        int64 (tokens, merge * merge).
    """
    rows, columns = labels.shape[0] // patch, labels.shape[1] // patch
    blocks = labels.reshape(rows, patch, columns, patch).transpose(0, 2, 1, 3).reshape(rows * columns, patch * patch)
    counts = np.zeros((len(blocks), CLASSES), dtype=np.int64)
    np.add.at(counts, (np.arange(len(blocks))[:, None], blocks), 1)
    counts[:, 0] = 0
    best = counts.argmax(1)
    best[counts.max(1) * 4 < patch * patch] = 0
    grid = best.reshape(rows // merge, merge, columns // merge, merge).transpose(0, 2, 1, 3)
    return np.asarray(grid.reshape(-1, merge * merge))


def near_mark(shape: tuple[int, int], centre: tuple[float, float], edge: int) -> np.ndarray:
    """Which tokens touch the neighbourhood of a mark: centres within one token edge of it. bool (tokens,)."""
    y = np.arange(shape[0] // edge)[:, None] * edge + edge / 2 - 0.5
    x = np.arange(shape[1] // edge)[None, :] * edge + edge / 2 - 0.5
    return np.asarray((np.maximum(np.abs(x - centre[0]), np.abs(y - centre[1])) <= edge).reshape(-1))


@dataclass(frozen=True)
class DenseBatch:
    """Targets of a batch.

    Attributes:
        patches: (tokens, merge^2) class of each patch.
        fractures: (tokens, merge^2) shape of the body on each patch, -100 on background.
        level, shape, losses: Per token, of the marked body; -100 or NaN away from the mark.
    """

    patches: torch.Tensor
    fractures: torch.Tensor
    level: torch.Tensor
    shape: torch.Tensor
    losses: torch.Tensor


def dense_targets(examples: Sequence[Example], patch: int, merge: int) -> DenseBatch:
    """Targets of several examples, one after the other."""
    patches, fractures, level, shape, losses = [], [], [], [], []
    for example in examples:
        patches.append(patch_labels(example.labels, patch, merge))
        fractures.append(np.where(patches[-1] > 0, patch_labels(example.shapes, patch, merge), _IGNORE))
        near = near_mark(example.labels.shape[:2], example.centre, patch * merge)
        level.append(np.where(near, example.label, _IGNORE))
        shape.append(np.where(near, example.shape, _IGNORE))
        losses.append(np.where(near[:, None], np.asarray(example.losses)[None, :], np.nan))
    return DenseBatch(
        torch.from_numpy(np.concatenate(patches)),
        torch.from_numpy(np.concatenate(fractures)),
        torch.from_numpy(np.concatenate(level)),
        torch.from_numpy(np.concatenate(shape)),
        torch.from_numpy(np.concatenate(losses)).float(),
    )


class DenseModel(nn.Module):
    """A vision encoder with heads for the dense targets.

    Args:
        visual: Encoder called with pixel values and grid, giving `pooler_output` (tokens, width).
        width: Width of its tokens.
        merge: Patches per token edge.
    """

    def __init__(self, visual: nn.Module, width: int, merge: int) -> None:
        super().__init__()
        self.visual = visual
        self.patches = nn.Linear(width, merge * merge * CLASSES)
        self.fractures = nn.Linear(width, merge * merge * len(SHAPES))
        self.mark = nn.Linear(width, CLASSES + len(SHAPES) + 3)
        for head in (self.patches, self.fractures, self.mark):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward(
        self,
        pixel_values: torch.Tensor,
        image_grid_thw: torch.Tensor,
        patches: torch.Tensor,
        fractures: torch.Tensor,
        level: torch.Tensor,
        shape: torch.Tensor,
        losses: torch.Tensor,
    ) -> dict[str, Any]:
        """Loss and its parts. Background and bodies weigh the same, whatever their areas."""
        tokens = self.visual(pixel_values, image_grid_thw).pooler_output
        each = nn.functional.cross_entropy(
            self.patches(tokens).view(-1, CLASSES), patches.reshape(-1), reduction="none"
        )
        body = patches.reshape(-1) > 0
        on_patches = each[body].mean() + each[~body].mean()
        shown = fractures.reshape(-1)
        each = nn.functional.cross_entropy(
            self.fractures(tokens).view(-1, len(SHAPES)), shown, reduction="none", ignore_index=_IGNORE
        )
        # Healthy bodies are many; each fracture shape counts as much as all of them. An absent one counts nothing.
        on_fractures = sum(
            (each[shown == kind].sum() / (shown == kind).sum().clamp(min=1) for kind in range(len(SHAPES))),
            start=tokens.new_zeros(()),
        ) / len(SHAPES)
        marked = self.mark(tokens[level != _IGNORE])
        names, shapes, sizes = marked.split((CLASSES, len(SHAPES), 3), dim=1)
        target = level[level != _IGNORE]
        on_level = nn.functional.cross_entropy(names, target)
        on_shape = nn.functional.cross_entropy(shapes, shape[shape != _IGNORE])
        on_sizes = nn.functional.smooth_l1_loss(sizes, losses[level != _IGNORE], beta=0.1)
        return {
            "loss": on_patches + on_level + 2.0 * (on_shape + on_sizes + on_fractures),
            "level_right": (names.argmax(1) == target).float().mean(),
            "patch_right": (self.patches(tokens).view(-1, CLASSES).argmax(1) == patches.reshape(-1))[body]
            .float()
            .mean(),
            "shape_right": (shapes.argmax(1) == shape[shape != _IGNORE]).float().mean(),
        }
