"""The labeller's three networks: where vertebrae are (coarse), what kind each is, and which voxels belong to it (fine).

Convention: all see CT in RAS+ orientation at an isotropic spacing of their own, as :func:`normalise` leaves it. A
model is a folder: `config.json` (a :class:`LabellerConfig`), `locator.safetensors`, `namer.safetensors`,
`segmenter.safetensors` and `about.json` (what it was trained on). No pickle is read.

The trap: a network is as good as what it saw. `about.json` says whether that were phantoms; every answer carries it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
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
    "OFFSET_MM",
    "LabellerConfig",
    "LocatorConfig",
    "NamerConfig",
    "Networks",
    "SegmenterConfig",
    "build_locator",
    "build_namer",
    "build_segmenter",
    "load_networks",
    "normalise",
    "save_networks",
]

KINDS: tuple[Kind, ...] = tuple(Kind)
"""Order of the kinds in the namer's output, from 1; 0 says that there is no vertebra at the crop's centre."""
OFFSET_MM = 10.0
"""The namer tells how far off the body centre lies in units of this, so that its numbers are about 1."""

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


class NamerConfig(Config):
    """The network that tells what kind of vertebra a place belongs to, and how far off its body centre lies."""

    spacing_mm: float = Field(default=3.0, gt=0.3, le=8)
    """Edge of its voxels."""
    channels: tuple[int, ...] = Field(default=(16, 32, 64, 64), min_length=2)
    """Feature maps per resolution: full, then halved each time. Multiples of 16 are fastest on a CPU."""
    window_vox: tuple[int, int, int] = (32, 32, 32)
    """Size of the crop around a body centre: right, anterior, superior. Ribs and two neighbours should fit."""


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
    """All networks."""

    locator: LocatorConfig = LocatorConfig()
    """Where vertebrae are."""
    namer: NamerConfig = NamerConfig()
    """What kind each is, and where exactly."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """Which voxels belong to one."""


@dataclass(frozen=True)
class Networks:
    """The three networks, by the names of their files."""

    locator: nn.Module
    namer: nn.Module
    segmenter: nn.Module


def normalise(hu: np.ndarray) -> np.ndarray:
    """Hounsfield units to about -1 … 1: clipped to -200 … 1000 HU, so that neither air nor metal decides. float32."""
    scaled: np.ndarray = ((np.clip(hu, _LOW_HU, _HIGH_HU) - 400.0) / 600.0).astype(np.float32)
    return scaled


def build_locator(config: LocatorConfig) -> nn.Module:
    """(B, 1, I, J, K) normalised CT → (B, 2, I, J, K): heat, and the logit of any vertebra or sacrum.

    Only the heat is used; the other channel is a dense target from which the network learns faster.

    Window edges must be multiples of 2 to the number of halvings.

    Raises:
        ModelError: they are not.
    """
    _check_window("locator", config.window_vox, config.channels)
    from spinemed.labelling.unet import SpineUNet

    return SpineUNet(1, 2, config.channels)


def build_namer(config: NamerConfig) -> nn.Module:
    """(B, 1, I, J, K) normalised CT around a body centre → (B, 1 + kinds + 3).

    Logits of "no vertebra" and of each kind, then the body centre's offset from the crop's centre (right, anterior,
    superior) in units of :data:`OFFSET_MM`.

    Raises:
        ModelError: window edges are no multiples of 2 to the number of halvings.
    """
    _check_window("namer", config.window_vox, config.channels)
    from spinemed.labelling.unet import SpineEncoder

    return SpineEncoder(1, 1 + len(KINDS) + 3, config.channels, config.window_vox)


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


def save_networks(folder: Path, config: LabellerConfig, networks: Networks, about: dict[str, Any]) -> None:
    """Write a model into an existing folder (atomic writing is the caller's, as a run's step does it)."""
    from safetensors.torch import save_file

    from spinemed.tables import write_json

    for name, network in vars(networks).items():
        weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / "about.json", about)


def load_networks(
    folder: str | os.PathLike[str], device: Literal["cpu", "cuda"] = "cpu"
) -> tuple[LabellerConfig, Networks, dict[str, Any]]:
    """Read a model folder, networks in evaluation mode.

    Returns:
        Config, networks and what the model says about its training.

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
    networks = Networks(build_locator(config.locator), build_namer(config.namer), build_segmenter(config.segmenter))
    for name, network in vars(networks).items():
        path = root / f"{name}.safetensors"
        try:
            network.load_state_dict(load_file(path, device=device))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError("is missing, damaged or of another config", file=path, cure=cure) from error
        network.eval().to(device)
    return config, networks, about
