"""The labeller's two networks: where vertebrae are and of what kind (coarse), and which voxels belong to one (fine).

Convention: both see CT in RAS+ orientation at an isotropic spacing of their own, as :func:`normalise` leaves it. A
model is a folder: `config.json` (a :class:`LabellerConfig`), `locator.safetensors`, `segmenter.safetensors` and
`about.json` (what it was trained on). No pickle is read.

The trap: a network is as good as what it saw. `about.json` says whether that were phantoms; every answer carries it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from spinemed.config import Config
from spinemed.errors import ModelError
from spinemed.labelling.assignment import Kind

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "KINDS",
    "LabellerConfig",
    "LocatorConfig",
    "SegmenterConfig",
    "build_locator",
    "build_segmenter",
    "load_networks",
    "normalise",
    "save_networks",
]

KINDS: tuple[Kind, ...] = tuple(Kind)
"""Order of the kinds in the locator's output; channel 0 is the heat map, channel 1 background, kinds from channel 2."""

_LOW_HU, _HIGH_HU = -200.0, 1000.0


class LocatorConfig(Config):
    """The coarse network."""

    spacing_mm: float = Field(default=4.0, gt=0.5, le=8)
    """Edge of its voxels."""
    channels: tuple[int, ...] = Field(default=(16, 32, 64, 64), min_length=2)
    """Feature maps per resolution: full, then halved each time. Multiples of 16 are fastest on a CPU."""
    heat_sigma_mm: float = Field(default=5.0, gt=0)
    """Width of the bump drawn at each body centre."""
    window_vox: tuple[int, int, int] = (48, 48, 64)
    """Sliding window: right, anterior, superior."""


class SegmenterConfig(Config):
    """The fine network: one vertebra at a time, told which by a bump at its centre."""

    spacing_mm: float = Field(default=2.0, gt=0.3, le=4)
    """Edge of its voxels."""
    channels: tuple[int, ...] = Field(default=(16, 32, 64), min_length=2)
    """Feature maps per resolution: full, then halved each time. Multiples of 16 are fastest on a CPU."""
    window_vox: tuple[int, int, int] = (56, 56, 40)
    """Size of the crop around a body centre: right, anterior, superior."""
    centre_back_mm: float = Field(default=18.0, ge=0)
    """How far behind the body centre the crop is centred, so that the spinous process fits."""
    hint_sigma_mm: float = Field(default=6.0, gt=0)
    """Width of the bump that names the vertebra."""


class LabellerConfig(Config):
    """Both networks."""

    locator: LocatorConfig = LocatorConfig()
    """Where vertebrae are, and of what kind."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """Which voxels belong to one."""


def normalise(hu: np.ndarray) -> np.ndarray:
    """Hounsfield units to about -1 … 1: clipped to -200 … 1000 HU, so that neither air nor metal decides. float32."""
    return ((np.clip(hu, _LOW_HU, _HIGH_HU) - 400.0) / 600.0).astype(np.float32)


def build_locator(config: LocatorConfig) -> nn.Module:
    """(B, 1, I, J, K) normalised CT → (B, 2 + kinds, I, J, K): heat, then logits of background and kinds.

    Window edges must be multiples of 2 to the number of halvings.

    Raises:
        ModelError: they are not.
    """
    _check_window("locator", config.window_vox, config.channels)
    from spinemed.labelling.unet import SpineUNet

    return SpineUNet(1, 2 + len(KINDS), config.channels)


def build_segmenter(config: SegmenterConfig) -> nn.Module:
    """(B, 2, I, J, K) normalised CT and hint → (B, 1, I, J, K) logit.

    Raises:
        ModelError: window edges are no multiples of 2 to the number of halvings.
    """
    _check_window("segmenter", config.window_vox, config.channels)
    from spinemed.labelling.unet import SpineUNet

    return SpineUNet(2, 1, config.channels)


def _check_window(name: str, window: tuple[int, ...], channels: tuple[int, ...]) -> None:
    factor = 2 ** (len(channels) - 1)
    if any(edge % factor for edge in window):
        raise ModelError(
            f"the window {window} cannot be halved {len(channels) - 1} times",
            field=f"{name}.window_vox",
            cure=f"use multiples of {factor}",
        )


def save_networks(
    folder: Path, config: LabellerConfig, locator: nn.Module, segmenter: nn.Module, about: dict[str, Any]
) -> None:
    """Write a model into an existing folder (atomic writing is the caller's, as a run's step does it)."""
    from safetensors.torch import save_file

    from spinemed.tables import write_json

    for name, network in (("locator", locator), ("segmenter", segmenter)):
        weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / "about.json", about)


def load_networks(
    folder: str | os.PathLike[str], device: Literal["cpu", "cuda"] = "cpu"
) -> tuple[LabellerConfig, nn.Module, nn.Module, dict[str, Any]]:
    """Read a model folder, networks in evaluation mode.

    Returns:
        Config, locator, segmenter and what the model says about its training.

    Raises:
        ModelError: a file is missing or does not fit the config.
    """
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    root = Path(folder)
    cure = "give the folder that `spinemed train labelling` wrote (RUN/outputs/model)"
    try:
        config = LabellerConfig.model_validate_json((root / "config.json").read_bytes())
        about = json.loads((root / "about.json").read_bytes())
    except OSError as error:
        raise ModelError("is no labeller: config.json or about.json is missing", file=root, cure=cure) from error
    except (ValidationError, ValueError) as error:
        raise ModelError("config.json or about.json is damaged", file=root, cure=cure) from error
    networks = []
    for name, network in (
        ("locator", build_locator(config.locator)),
        ("segmenter", build_segmenter(config.segmenter)),
    ):
        path = root / f"{name}.safetensors"
        try:
            network.load_state_dict(load_file(path, device=device))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError("is missing, damaged or of another config", file=path, cure=cure) from error
        networks.append(network.eval().to(device))
    return config, networks[0], networks[1], about
