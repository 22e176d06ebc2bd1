"""Train the vertebra labeller: where vertebrae are, what kind each is, which voxels belong to it; a network for each.

Convention: it learns from folders in VerSe's layout, from phantoms that the run renders itself, or from both. What was
rendered (`scratch/phantoms`), prepared (`outputs/prepared`) and trained (checkpoints) is kept, so that a killed run
goes on and ends with the same bytes. Training itself is :func:`train.trainer.fit`; started by torchrun or accelerate,
every process trains on its share of each batch, and the first one writes.

Trap: VerSe leaves the sacrum (26) unlabelled. Without it the lower anchor cannot be learned, and `about.json`
says in how many cases it was seen; phantoms carry it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.utils.data import Dataset

from spinemed.config import Config, ConfigPath
from spinemed.labelling.dataset import VerseCase, read_verse_folder
from spinemed.labelling.masks import SACRUM
from spinemed.labelling.networks import (
    LabellerConfig,
    LocatorConfig,
    NamerConfig,
    Networks,
    SegmenterConfig,
    build_locator,
    build_namer,
    build_segmenter,
    save_networks,
)
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.tables import file_sha256
from train.crowd import Crowd, SilentRun
from train.labelling.crops import LocatorCrops, NamerCrops, SegmenterCrops, load_cases, prepare_cases
from train.labelling.phantom_scans import PhantomScans, make_phantom_scans
from train.trainer import Schedule, claim_checkpoints, fit, set_determinism

__all__ = ["LabellingConfig", "run_labelling"]

_CUTTERS = 1
"""Processes that cut crops beside the one that trains. Cut in turn with training, they left a third of two cores idle.
Crop k is always the same crop: the number changes no weight."""


class LabellingConfig(Config):
    """`spinemed train labelling`."""

    data: tuple[ConfigPath, ...] = ()
    """Folders in VerSe's layout, each with CT, masks and centroids."""
    phantoms: tuple[PhantomScans, ...] = ()
    """Sets of phantom CTs, rendered by the run itself."""
    origin: str = Field(min_length=1)
    """What the data are, in a few words ("phantoms, family a"); stands wherever the model answers."""
    networks: LabellerConfig = LabellerConfig()
    """All networks."""
    locator: Schedule
    """Training of the coarse network."""
    namer: Schedule
    """Training of the network that tells kinds."""
    segmenter: Schedule
    """Training of the fine network."""
    jitter_mm: float = Field(default=3.0, ge=0)
    """Spread of the error put on the centres that the second and third network get, per axis: a little more than what
    the locator leaves."""
    seed: int = 0
    """Of weights and crops."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch. Results repeat for the same number only."""

    @model_validator(mode="after")
    def _has_data(self) -> LabellingConfig:
        if not self.data and not self.phantoms:
            raise ValueError("names neither folders (data) nor phantoms to learn from")
        return self


def run_labelling(config: LabellingConfig, out: str | os.PathLike[str]) -> Path:
    """Train the networks; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The model folder, `out/outputs/model`.

    Raises:
        ReadError, VolumeError, RunError: a case cannot be read, or the run folder belongs to something else.
    """
    crowd = Crowd()
    if not crowd.first:
        place, key = crowd.hear()
        if place:  # else the model is there already
            _fit(config, SilentRun(Path(out)), Path(place), key)
        crowd.meet()
        return Path(out) / "outputs" / "model"
    with open_run(out, command="train labelling", config=config) as run:
        cases = [case for folder in _folders(config, run) for case in read_verse_folder(folder)]
        keys = _keys(config, cases)

        def prepare(folder: Path) -> dict[str, Any]:
            with run.progress("prepared", len(cases)) as advance:
                return prepare_cases(cases, _spacings(config), folder, advance)

        prepared = run.step("prepared", key=keys["prepared"], work=prepare)
        told = False

        def train(folder: Path) -> dict[str, Any]:
            nonlocal told
            digest = content_hash(keys["model"])
            for stage in ("locator", "namer", "segmenter"):
                claim_checkpoints(run, stage, digest)
            crowd.tell((str(prepared), digest))
            told = True
            networks, facts = _fit(config, run, prepared, digest)
            save_networks(folder, config.networks, networks, _about(config, keys, facts))
            return facts

        model = run.step("model", key=keys["model"], work=train, kind="labeller")
        if not told:
            crowd.tell(("", ""))
        crowd.meet()
        return model


def _folders(config: LabellingConfig, run: Run) -> list[Path]:
    """The data's folders; phantoms that are not there yet are rendered."""
    folders = list(config.data)
    for phantoms in config.phantoms:
        folder = run.scratch / "phantoms" / content_hash(phantoms)[:16]
        start = time.monotonic()
        with run.progress("phantoms", phantoms.count) as advance:
            folders.append(make_phantom_scans(phantoms, folder, advance=advance))
        run.journal("phantoms", count=phantoms.count, seconds=round(time.monotonic() - start, 3))
    return folders


def _keys(config: LabellingConfig, cases: Sequence[VerseCase]) -> dict[str, dict[str, Any]]:
    """What the two steps depend on."""
    hashes = {
        case.name: [file_sha256(path) for path in (case.image, case.mask, case.centroids) if path is not None]
        for case in cases
    }
    model = {"config": content_hash(config.model_dump(mode="json", exclude={"data"})), "cases": hashes}
    return {"prepared": {"cases": hashes, "spacings_mm": _spacings(config)}, "model": model}


def _spacings(config: LabellingConfig) -> tuple[float, float, float]:
    told = config.networks
    return told.locator.spacing_mm, told.namer.spacing_mm, told.segmenter.spacing_mm


class _Locating(nn.Module):
    """The coarse network with its loss: squared error of the heat map, cross-entropy of bone against the rest."""

    def __init__(self, config: LocatorConfig) -> None:
        super().__init__()
        self.network = build_locator(config)

    def forward(self, pixels: torch.Tensor, heat: torch.Tensor, bone: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.network(pixels).float()
        near = ((out[:, 0] - heat) ** 2 * (1 + 20 * heat)).mean()
        return {"loss": 10 * near + nn.functional.binary_cross_entropy_with_logits(out[:, 1], bone)}


class _Naming(nn.Module):
    """The network that tells kinds with its loss: cross-entropy of kinds, absolute error of the offset."""

    def __init__(self, config: NamerConfig) -> None:
        super().__init__()
        self.network = build_namer(config)

    def forward(self, pixels: torch.Tensor, kind: torch.Tensor, offset: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.network(pixels).float()
        kinds = out.shape[1] - 3
        off = (out[:, kinds:] - offset).abs().sum(dim=1)[kind > 0].sum() / len(kind)
        return {"loss": nn.functional.cross_entropy(out[:, :kinds], kind) + off}


class _Segmenting(nn.Module):
    """The fine network with its loss: Dice and cross-entropy in equal parts."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        from monai.losses import DiceCELoss

        self.network = build_segmenter(config)
        self.loss = DiceCELoss(sigmoid=True)

    def forward(self, pixels: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.loss(self.network(pixels).float(), target)}


def _fit(config: LabellingConfig, run: Run, prepared: Path, digest: str) -> tuple[Networks, dict[str, Any]]:
    """The networks, trained, and how their losses went."""
    told, seed = config.networks, config.seed
    facts: dict[str, Any] = {}

    def train(stage: str, schedule: Schedule, build: Callable[[], tuple[nn.Module, Dataset[Any]]]) -> nn.Module:
        set_determinism(seed, config.threads)
        model, crops = build()
        start = time.monotonic()
        facts[stage] = fit(
            run, stage, model=model, data=crops, collate=_collate, schedule=schedule, seed=seed, key=digest, loss=None,
            workers=_CUTTERS,
        )  # fmt: skip
        run.journal("trained", stage=stage, seconds=round(time.monotonic() - start, 3))
        return model.get_submodule("network")

    def locating() -> tuple[nn.Module, Dataset[Any]]:
        cases = load_cases(prepared, 0)
        facts["cases"] = len(cases)
        facts["cases_with_sacrum"] = sum(bool((case.numbers == SACRUM).any()) for case in cases)
        return _Locating(told.locator), LocatorCrops(cases, told.locator, _length(config.locator), seed)

    def naming() -> tuple[nn.Module, Dataset[Any]]:
        count = _length(config.namer)
        crops = NamerCrops(load_cases(prepared, 1), told.namer, count, seed, config.jitter_mm)
        return _Naming(told.namer), crops

    def segmenting() -> tuple[nn.Module, Dataset[Any]]:
        count = _length(config.segmenter)
        crops = SegmenterCrops(load_cases(prepared, 2), told.segmenter, count, seed, config.jitter_mm)
        return _Segmenting(told.segmenter), crops

    locator = train("locator", config.locator, locating)
    namer = train("namer", config.namer, naming)
    return Networks(locator, namer, train("segmenter", config.segmenter, segmenting)), facts


def _about(config: LabellingConfig, keys: dict[str, dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """What the model says about itself wherever it answers."""
    return {
        "origin": config.origin,
        "cases": facts["cases"],
        "cases_with_sacrum": facts["cases_with_sacrum"],
        "phantom_sets": [phantoms.model_dump(mode="json") for phantoms in config.phantoms],
        "folders": len(config.data),
        "data_sha256": content_hash(keys["model"]["cases"]),
        "note": "Research use only. What was learned from phantoms is no evidence about patients.",
    }


def _collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _length(schedule: Schedule) -> int:
    """Crops that all processes see together."""
    return schedule.steps * schedule.batch_size * schedule.accumulation * int(os.environ.get("WORLD_SIZE", "1"))
