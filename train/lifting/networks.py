"""The two lifters: a residual network on one frame, and dilated convolutions over time.

Convention: both map features [B, T, 114] to root-relative mm [B, T, 61, 3] (`inputs`), frame for frame. "simple" has
the shape of Martinez et al. 2017 (arXiv 1705.03098): a linear layer, then blocks of two linear layers with batch
normalisation, ReLU and dropout, added to their input. "temporal" follows Pavllo et al. 2019 (arXiv 1811.11742): blocks
of a dilated convolution of three frames and a pointwise one; ends of a clip are filled with their last frame. A model
is a folder: `config.json`, `lifter.safetensors`, `about.json`. No pickle is read.

The trap: features and answers are standardised inside the network by numbers of its training set, so weights must be
loaded together with these buffers; `load_lifter` does.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import nn

from spinemed.config import Config
from spinemed.errors import ModelError
from spinemed.tables import parse_json
from train.lifting.inputs import FEATURES, POINTS, ROOT, Material, flip_features, flip_points

__all__ = ["LifterConfig", "LifterNetwork", "apply_lifter", "build_lifter", "load_lifter", "save_lifter"]


class LifterConfig(Config):
    """A lifter's network."""

    kind: Literal["simple", "temporal"] = "simple"
    """One frame, or a stretch of time."""
    width: int = Field(default=1024, ge=8)
    """Channels."""
    blocks: int = Field(default=2, ge=1, le=8)
    """Residual blocks of the simple network."""
    dilations: tuple[int, ...] = (1, 3, 9)
    """One block of the temporal network each; with (1, 3, 9) an answer rests on 27 frames."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped in training."""

    @property
    def reach(self) -> int:
        """Frames on either side that an answer rests on."""
        return sum(self.dilations) if self.kind == "temporal" else 0


class _Flat(nn.Module):
    """Two linear layers, added to their input."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class _Dilated(nn.Module):
    """A convolution of three frames `dilation` apart and a pointwise one, added to their input; length is kept."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.layers = nn.Sequential(
            nn.Conv1d(width, width, 3, dilation=dilation),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, width, 1),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Padding of the "replicate" kind has no repeatable gradient on a GPU; copies of the end frames have.
        ends = [x[..., end].expand(-1, -1, self.dilation) for end in (slice(0, 1), slice(-1, None))]
        return x + self.layers(torch.cat([ends[0], x, ends[1]], dim=-1))


class LifterNetwork(nn.Module):
    """Features [B, T, 114] to root-relative mm [B, T, 61, 3]."""

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        width, out = config.width, 3 * len(POINTS)
        if config.kind == "simple":
            self.first: nn.Module = nn.Sequential(
                nn.Linear(FEATURES, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(config.dropout)
            )
            self.body = nn.Sequential(*(_Flat(width, config.dropout) for _ in range(config.blocks)))
            self.last: nn.Module = nn.Linear(width, out)
        else:
            self.first = nn.Sequential(nn.Conv1d(FEATURES, width, 1), nn.BatchNorm1d(width), nn.ReLU())
            self.body = nn.Sequential(*(_Dilated(width, step, config.dropout) for step in config.dilations))
            self.last = nn.Conv1d(width, out, 1)
        for name, size in (("in", FEATURES), ("out", out)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_sd", torch.ones(size))

    def standardise(self, material: Material) -> None:
        """Take means and standard deviations from the training set; what never varies is left as it is."""
        for name, values in (("in", material.features), ("out", material.targets.reshape(len(material), -1))):
            kept = values[material.usable].astype(np.float64)
            sd = kept.std(axis=0)
            self.get_buffer(f"{name}_mean").copy_(torch.from_numpy(kept.mean(axis=0)))
            self.get_buffer(f"{name}_sd").copy_(torch.from_numpy(np.where(sd > 1e-6, sd, 1.0)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        batch, frames = features.shape[:2]
        x = (features - self.get_buffer("in_mean")) / self.get_buffer("in_sd")
        if self.config.kind == "simple":
            y = self.last(self.body(self.first(x.flatten(0, 1))))
        else:
            y = self.last(self.body(self.first(x.transpose(1, 2)))).transpose(1, 2)
        y = y.reshape(batch, frames, -1) * self.get_buffer("out_sd") + self.get_buffer("out_mean")
        y = y.reshape(batch, frames, len(POINTS), 3)
        return y - y[..., ROOT : ROOT + 1, :]


def build_lifter(config: LifterConfig) -> LifterNetwork:
    """A network with random weights, drawn from torch's own generator."""
    return LifterNetwork(config)


def apply_lifter(
    network: LifterNetwork, features: NDArray[np.float32], bounds: NDArray[np.int64], *, flip: bool = True
) -> NDArray[np.float32]:
    """Answers [N, 61, 3] for frames of sequences that begin at `bounds`; with `flip`, the mean with the mirrored look.

    Frames that are not usable are answered too: the caller leaves them out.
    """
    network.eval()
    answers = np.empty((len(features), len(POINTS), 3), dtype=np.float32)

    def ask(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return network(torch.from_numpy(np.ascontiguousarray(part))[None])[0].numpy()

    edges = bounds.tolist() if network.config.kind == "temporal" else [*range(0, len(features), 4096), len(features)]
    with torch.no_grad():
        for low, high in pairwise(edges):
            if high == low:
                continue
            part = features[low:high]
            answers[low:high] = ask(part)
            if flip:
                answers[low:high] = (answers[low:high] + flip_points(ask(flip_features(part)))) / 2
    return answers


def save_lifter(folder: Path, network: LifterNetwork, about: dict[str, Any]) -> None:
    """Write a model into an existing folder (atomic writing is the caller's, as a run's step does it)."""
    from safetensors.torch import save_file

    from spinemed.tables import write_json

    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(weights, folder / "lifter.safetensors")
    write_json(folder / "config.json", network.config.model_dump(mode="json"))
    write_json(folder / "about.json", about)


def load_lifter(folder: str | os.PathLike[str]) -> tuple[LifterNetwork, dict[str, Any]]:
    """Read a model folder: the network in evaluation mode, and what it says about its training.

    Raises:
        ModelError: a file is missing, damaged or does not fit the config.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    root = Path(folder)
    cure = "give the folder that `spinemed train lifter` wrote (RUN/outputs/model)"
    try:
        config = LifterConfig.model_validate_json((root / "config.json").read_bytes())
        about = parse_json((root / "about.json").read_bytes())
    except OSError as error:
        raise ModelError("is no lifter: config.json or about.json is missing", file=root, cure=cure) from error
    except (ValidationError, ValueError) as error:
        raise ModelError("config.json or about.json is damaged", file=root, cure=cure) from error
    network = build_lifter(config)
    path = root / "lifter.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError("the weights are missing or damaged", file=path, cure=cure) from error
    except RuntimeError as error:
        raise ModelError("the weights do not fit config.json", file=path, cure=cure) from error
    return network.eval(), about
