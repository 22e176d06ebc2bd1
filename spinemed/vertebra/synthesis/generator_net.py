"""Networks of the slice generator: coarse to fine, with height restoration (SHRM) and healthy-vertebra guidance (HGAM).

After HealthiVert-GAN (Zhang 2025, arXiv 2503.05990), built anew: one generator for sagittal and coronal slices (told
which), norms instead of spectral norms in it, soft outputs throughout so that every loss reaches it, and a contextual
attention whose keys are weighed sample by sample, so that no slice is filled through another one's hole.

Convention: a slice is (across, along), the spine upwards along the last axis; HU from -300 to 800 are -1 to 1
(:func:`to_unit`). The target lies within a band of 40 mm across the middle, which is blanked whatever its height was.
Heights are millimetres.

The trap: attention maps are 1 where to look and 0 where a fracture shows: the inverse of a Grad-CAM++ map of the class
"fractured".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn
from torch.nn.functional import normalize, pad, softmax

from spinemed.config import Config

__all__ = [
    "FractureClassifier",
    "Generator",
    "GeneratorConfig",
    "GeneratorNets",
    "PatchDiscriminator",
    "band_of",
    "from_unit",
    "healthy_attention",
    "to_unit",
]

_LOW_HU, _HIGH_HU = -300.0, 800.0
_FADED = 0.02  # what is left of a key that the attention map rules out
_SHARP = 10.0  # softmax scale of the contextual attention, as in Yu 2018 (arXiv 1801.07892)


class GeneratorConfig(Config):
    """The slice generator's networks and slices."""

    spacing_mm: float = Field(default=4 / 3, gt=0.4, le=3)
    """Edge of a slice's pixels."""
    slice_vox: tuple[int, int] = (48, 72)
    """Pixels across and along the spine."""
    band_mm: float = Field(default=40.0, gt=10)
    """Height of the band that hides the target."""
    width: int = Field(default=16, ge=4)
    """Feature maps at full resolution; doubled at each halving."""
    discriminator_width: int = Field(default=16, ge=4)
    """Feature maps of the discriminators' first layer."""
    classifier_width: int = Field(default=16, ge=4)
    """Feature maps of the first layer of the classifier whose attention guides."""
    slices_per_plane: int = Field(default=6, ge=1)
    """Slices of each plane kept of every target for training."""

    @model_validator(mode="after")
    def _fits(self) -> GeneratorConfig:
        if any(edge % 8 for edge in self.slice_vox):
            raise ValueError(f"slices of {self.slice_vox} pixels cannot be halved three times; use multiples of 8")
        if self.band_vox > self.slice_vox[1] - 16:
            raise ValueError("the band leaves less than 8 pixels of the neighbours on each side")
        return self

    @property
    def band_vox(self) -> int:
        """Height of the band in pixels, even."""
        return 2 * round(self.band_mm / self.spacing_mm / 2)


def to_unit(hu: NDArray[Any]) -> NDArray[np.float32]:
    """HU to -1 … 1, clipped to -300 … 800."""
    middle, half = (_LOW_HU + _HIGH_HU) / 2, (_HIGH_HU - _LOW_HU) / 2
    scaled: NDArray[np.float32] = ((np.clip(hu, _LOW_HU, _HIGH_HU) - middle) / half).astype(np.float32)
    return scaled


def from_unit(values: NDArray[Any]) -> NDArray[np.float32]:
    """-1 … 1 to HU."""
    middle, half = (_LOW_HU + _HIGH_HU) / 2, (_HIGH_HU - _LOW_HU) / 2
    return (np.asarray(values, np.float32) * half + middle).astype(np.float32)


def band_of(config: GeneratorConfig) -> NDArray[np.bool_]:
    """(along,) True in the band."""
    along = config.slice_vox[1]
    first = (along - config.band_vox) // 2
    rows = np.zeros(along, dtype=bool)
    rows[first : first + config.band_vox] = True
    return rows


def _block(inside: int, outside: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    groups = next(n for n in (8, 4, 2, 1) if outside % n == 0)
    reach = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, reach, dilation), nn.GroupNorm(groups, outside), nn.ELU()
    )


def _up(values: torch.Tensor) -> torch.Tensor:
    """Each pixel four times. Torch's own has no gradient on GPUs that repeats."""
    count, channels, height, width = values.shape
    grown = values[:, :, :, None, :, None].expand(count, channels, height, 2, width, 2)
    return grown.reshape(count, channels, 2 * height, 2 * width)


class _HeightHead(nn.Module):
    """SHRM: the height of the healthy vertebra from features, 0 to the band's height in mm."""

    def __init__(self, inside: int, band_mm: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * inside, inside), nn.ELU(), nn.Linear(inside, 1))
        self.band_mm = band_mm

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        height: torch.Tensor = self.band_mm * torch.sigmoid(self.layers(pooled))[:, 0]
        return height


class _Coarse(nn.Module):
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        w = config.width
        self.down = nn.Sequential(
            _block(4, w, kernel=5), _block(w, 2 * w, stride=2), _block(2 * w, 4 * w, stride=2), _block(4 * w, 4 * w)
        )
        self.wide = nn.Sequential(*(_block(4 * w, 4 * w, dilation=rate) for rate in (2, 4, 8)))
        self.height = _HeightHead(4 * w, config.band_mm)
        self.at_half = _block(4 * w + 1, 2 * w)
        self.at_full = _block(2 * w + 1, w)
        self.image = nn.Conv2d(w, 1, 3, 1, 1)
        self.near = nn.Conv2d(w, 1, 3, 1, 1)

    def forward(self, inputs: torch.Tensor, attention: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        deep = self.wide(self.down(inputs))
        half = self.at_half(torch.cat([_up(deep), attention[:, :, ::2, ::2]], dim=1))
        full = self.at_full(torch.cat([_up(half), attention], dim=1))
        return torch.tanh(self.image(full)), torch.sigmoid(self.near(full)), self.height(deep)


class _ContextualAttention(nn.Module):
    """Fill places from others that look alike (Yu 2018), keys outside the hole only, weighed sample by sample."""

    def forward(self, features: torch.Tensor, open_: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) features and (B, 1, H, W) weight of each place as a key, 0 to 1."""
        count, channels, height, width = features.shape
        around = pad(features, (1, 1, 1, 1))
        patches = torch.cat(
            [around[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)], dim=1
        ).flatten(2)
        unit = normalize(patches, dim=1)
        alike = unit.transpose(1, 2) @ unit * _SHARP
        weighed = alike + torch.log(open_.flatten(2).clamp(min=1e-6))
        taken = softmax(weighed, dim=2) @ features.flatten(2).transpose(1, 2)
        return taken.transpose(1, 2).reshape(count, channels, height, width)


class _Fine(nn.Module):
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        w = config.width
        self.down = nn.Sequential(
            _block(5, w, kernel=5), _block(w, 2 * w, stride=2), _block(2 * w, 4 * w, stride=2), _block(4 * w, 4 * w)
        )
        self.wide = nn.Sequential(*(_block(4 * w, 4 * w, dilation=rate) for rate in (2, 4, 8)))
        self.before = _block(4 * w, 4 * w)
        self.attend = _ContextualAttention()
        self.after = _block(4 * w, 4 * w)
        self.join = _block(8 * w, 4 * w)
        self.height = _HeightHead(4 * w, config.band_mm)
        self.at_half = _block(4 * w, 2 * w)
        self.at_full = _block(2 * w, w)
        self.image = nn.Conv2d(w + 1, 1, 3, 1, 1)
        self.body = nn.Conv2d(w + 1, 1, 3, 1, 1)

    def forward(
        self, inputs: torch.Tensor, coarse: torch.Tensor, open_: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        deep = self.down(inputs)
        keys = open_[:, :, ::4, ::4]
        joined = self.join(torch.cat([self.wide(deep), self.after(self.attend(self.before(deep), keys))], dim=1))
        full = torch.cat([self.at_full(_up(self.at_half(_up(joined)))), coarse], dim=1)
        return torch.tanh(self.image(full)), torch.sigmoid(self.body(full)), self.height(joined)


class Generator(nn.Module):
    """Coarse to fine; see the module docstring."""

    band: torch.Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.register_buffer("band", torch.from_numpy(band_of(config).astype(np.float32))[None, None, None])
        self.coarse, self.fine = _Coarse(config), _Fine(config)

    def forward(
        self, masked: torch.Tensor, ratio: torch.Tensor, plane: torch.Tensor, attention: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Fill the band.

        Args:
            masked: (B, 1, across, along) slices, -1 to 1; what stands in the band is not read.
            ratio: (B,) how far a slice lies from the vertebra's middle, 0 to 1.
            plane: (B,) 0 sagittal, 1 coronal.
            attention: (B, 1, across, along) 1 where to look, 0 where a fracture shows.

        Returns:
            Coarse image and share of healthy neighbours, fine image and share of the target, (B, 1, across, along)
            each; coarse and fine height, (B,) mm.
        """
        hole = self.band.expand_as(masked)
        seen = masked * (1 - hole)
        where = ratio[:, None, None, None].expand_as(masked)
        which = plane[:, None, None, None].expand_as(masked)
        coarse, near, coarse_height = self.coarse(torch.cat([seen, hole, where, which], dim=1), attention)
        filled = seen + coarse * hole
        # A hole is no key at all, and what a fracture shows in nearly none.
        open_ = (1 - hole) * (_FADED + (1 - _FADED) * attention)
        image, body, height = self.fine(torch.cat([filled, near, hole, where, which], dim=1), coarse, open_)
        return coarse, near, image, body * hole, coarse_height, height


class PatchDiscriminator(nn.Module):
    """Real or made, patch by patch: three halvings, spectral norms (Miyato 2018, arXiv 1802.05957)."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        from torch.nn.utils.parametrizations import spectral_norm

        sizes = (inside, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(4 * width, 1, 3, 1, 1)))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(B, inside, across, along) to (B, 1, across / 8, along / 8) logits."""
        out: torch.Tensor = self.layers(values)
        return out


class FractureClassifier(nn.Module):
    """Whether a slice shows a fractured neighbour: (B, 1, across, along) to (B, 2) logits."""

    LAYER = "features.9"
    """Where Grad-CAM++ looks."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        w = config.classifier_width
        self.features = nn.Sequential(
            *_block(1, w), *_block(w, 2 * w, stride=2), *_block(2 * w, 4 * w, stride=2),
            *_block(4 * w, 4 * w),
        )  # fmt: skip
        self.answer = nn.Linear(4 * w, 2)

    def forward(self, masked: torch.Tensor) -> torch.Tensor:
        """Logits of "none" and "fractured"."""
        pooled = self.features(masked).mean(dim=(2, 3))
        out: torch.Tensor = self.answer(pooled)
        return out


@dataclass
class GeneratorNets:
    """A generator and the classifier that guides it."""

    generator: Generator
    classifier: FractureClassifier


def healthy_attention(classifier: FractureClassifier, masked: torch.Tensor) -> torch.Tensor:
    """(B, 1, across, along) 1 where to look: one less Grad-CAM++ of the class "fractured", each slice by itself.

    Source: Chattopadhay 2018 (arXiv 1710.11063), as MONAI computes it. A map is stretched to its own largest value, and
    faded by the probability of a fracture: a slice without one is looked at everywhere.
    """
    from monai.visualize import GradCAMpp
    from monai.visualize.class_activation_maps import ModelWithHooks

    class EachByItself(ModelWithHooks):  # type: ignore[misc]
        """MONAI multiplies gradients by the scores of a batch along the wrong axis; here each sample has its own."""

        def class_score(self, logits: torch.Tensor, class_idx: int) -> torch.Tensor:
            return logits[:, class_idx].view(-1, 1, 1, 1)

    classifier.eval()
    hooked = EachByItself(classifier, classifier.LAYER, register_forward=True, register_backward=True)
    with torch.enable_grad():
        # Without MONAI's own stretching, which turns maps upside down and goes slice by slice.
        maps = GradCAMpp(nn_module=hooked, target_layers=classifier.LAYER, postprocessing=_as_it_is)(
            x=masked.detach().clone(), class_idx=1
        )
    _let_go(classifier)
    with torch.no_grad():
        broken = softmax(classifier(masked), dim=1)[:, 1]
        highest = maps.amax(dim=(2, 3), keepdim=True)
        stretched = torch.where(highest > 0, maps / highest.clamp(min=1e-12), torch.zeros_like(maps))
        return (1.0 - stretched * broken[:, None, None, None]).detach()


def _as_it_is(maps: torch.Tensor) -> torch.Tensor:
    return maps.detach()


def _let_go(network: nn.Module) -> None:
    """Take MONAI's hooks off again: it leaves them, and each would keep a batch."""
    for part in network.modules():
        part._forward_hooks.clear()
        part._backward_hooks.clear()
        part._backward_pre_hooks.clear()
    network.zero_grad(set_to_none=True)
