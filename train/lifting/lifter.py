"""Train a monocular lifter on a data set of simulated motion, beside the baselines that it must beat.

Convention: learns from the split "train" without the held-out motions, chooses the regression's penalty on "val", and
reports on "test": other subjects doing the motions it knows, and other subjects doing motions it never saw. What was
simulated (`scratch/data`), the baselines, the model and the report are kept, so a killed run goes on and ends with the
same bytes. Training itself is :func:`train.trainer.fit`.

The trap: training and test share cameras, generator and noise. The report says how well a lifter learns the simulated
world, and nothing of a person before another camera.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn
from torch.utils.data import Dataset

from spinemed.config import Config, ConfigPath
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.config import SimulateConfig
from spinemed.motion.dataset.produce import simulate
from spinemed.motion.dataset.read import read_dataset
from spinemed.motion.dataset.records import SimulatedClip
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.statistics import generator_for
from spinemed.tables import file_sha256, write_json
from train.lifting.baselines import fit_linear, lay_in, load_baselines, rest_body, save_baselines, similar_to_truth
from train.lifting.inputs import Material, flip_features, flip_points, gather
from train.lifting.networks import LifterConfig, LifterNetwork, apply_lifter, build_lifter, load_lifter, save_lifter
from train.lifting.pose_prior import fit_pose_prior, save_pose_prior
from train.lifting.scores import compare, score
from train.trainer import Schedule, fit, set_determinism

__all__ = ["LifterJob", "run_lifter"]


class LifterJob(Config):
    """`spinemed train lifter`."""

    data: ConfigPath | None = None
    """Folder of a data set that `spinemed motion simulate` wrote, with cameras."""
    simulate: SimulateConfig | None = None
    """Instead of `data`: a data set that the run simulates first."""
    hold_out_motions: tuple[str, ...] = ()
    """Motions that are not learned from; the report judges them apart."""
    source: Literal["detected", "exact"] = "detected"
    """Whether it learns from pixels with a detector's noise or from exact projections."""
    network: LifterConfig = LifterConfig()
    """Which lifter."""
    schedule: Schedule
    """Training. A row is a frame, for the temporal lifter a stretch of `window` frames."""
    window: int = Field(default=81, ge=3)
    """Frames of a stretch."""
    flip: bool = True
    """Whether the mirrored person is learned from as well, and asked in answering."""
    linear_offsets: tuple[int, ...] = (-12, -9, -6, -3, 0, 3, 6, 9, 12)
    """Frames that the regression over time sees; that on one frame is always made."""
    prior_components: int = Field(default=24, ge=1)
    """Gaussians of the prior that refines 2D keypoints."""
    seed: int = 0
    """Of weights, order and the baselines' draws."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch. Results repeat for the same number only."""

    @model_validator(mode="after")
    def _has_data(self) -> LifterJob:
        if (self.data is None) == (self.simulate is None):
            raise ValueError("must name either a data set (data) or one to make (simulate)")
        return self


def run_lifter(config: LifterJob, out: str | os.PathLike[str]) -> Path:
    """Train; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The model folder, `out/outputs/model`; beside it `baselines/` and `report/report.json`.

    Raises:
        ReadError, MotionError, RunError: the data set is unusable, or the run folder belongs to something else.
    """
    with open_run(out, command="train lifter", config=config) as run:
        folder = _data(config, run)
        key = {
            "config": content_hash(config.model_dump(mode="json", exclude={"data"})),
            "data": _fingerprint(folder),
        }
        clips = _Clips(folder, config)
        baselines = run.step("baselines", key=key, work=lambda into: _make_baselines(config, clips, into))
        model = run.step(
            "model", key=key, work=lambda into: _train(config, clips, run, into, content_hash(key)), kind="lifter"
        )
        run.step("report", key=key, work=lambda into: _report(config, clips, baselines, model, into))
        return model


def _data(config: LifterJob, run: Run) -> Path:
    """The data set's folder; one that is to be simulated and is not there yet is made."""
    if config.simulate is None:
        assert config.data is not None
        return config.data
    folder = run.scratch / "data" / content_hash(config.simulate)[:16]
    start = time.monotonic()
    simulate(config.simulate, folder, workers=config.threads)
    run.journal("simulated", clips=config.simulate.clips, seconds=round(time.monotonic() - start, 3))
    return folder


def _fingerprint(folder: Path) -> str:
    """Hash of everything in a data set that a lifter reads.

    Raises:
        ReadError: it is no finished data set.
    """
    read_dataset(folder)
    files = [folder / "dataset.json", folder / "clips.parquet", *sorted((folder / "shards").glob("*.h5"))]
    return content_hash([file_sha256(path) for path in files])


class _Clips:
    """The data set's clips by split; material is made once and kept."""

    def __init__(self, folder: Path, config: LifterJob) -> None:
        self.data = read_dataset(folder)
        if tuple(self.data.info.get("keypoints", ())) != SPINETRACK_37:
            raise MotionError(
                "holds other keypoints than SpineTrack's 37", file=folder, field="keypoints", cure="simulate it again"
            )
        self.config = config
        self.folder = folder
        self._made: dict[tuple[str, str], Material] = {}

    def of(self, split: str, *, held_out: bool = False) -> Iterator[SimulatedClip]:
        """Clips of a split; held-out motions only where asked for."""
        for clip in self.data.iterate(split):
            if held_out or clip.motion not in self.config.hold_out_motions:
                yield clip

    def material(self, split: str, source: str) -> Material:
        """Of "train" and "val" without held-out motions, of "test" with them.

        Raises:
            MotionError: nothing there, or of no use.
        """
        if (split, source) not in self._made:
            try:
                self._made[split, source] = gather(self.of(split, held_out=split == "test"), source=source)
            except MotionError as error:
                raise MotionError(
                    f"split {split!r}: {error.problem}", file=self.folder, field=error.field, cure=error.cure
                ) from error
        return self._made[split, source]


def _make_baselines(config: LifterJob, clips: _Clips, into: Path) -> dict[str, Any]:
    learned, judged = clips.material("train", config.source), clips.material("val", config.source)
    subjects = {clip.subject: (clip.sex, clip.stature_mm) for clip in clips.of("train")}
    body = rest_body([subjects[name] for name in sorted(subjects)])
    linear = {
        "linear": fit_linear(learned, judged),
        "linear_window": fit_linear(learned, judged, config.linear_offsets),
    }
    save_baselines(into, body, linear)
    if config.source == "detected":
        save_pose_prior(into, fit_pose_prior(clips.of("train"), config.prior_components, seed=config.seed))
    return {"penalties": {name: own.penalty for name, own in linear.items()}}


class _Frames(Dataset[int]):
    """Which rows a run learns from, in order: all of them once, drawn anew each time round."""

    def __init__(self, rows: NDArray[np.int64], length: int, seed: int, flip: bool) -> None:
        rng = generator_for(seed, "lifter", "order")
        rounds = -(-length // len(rows))
        self.order = np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:length]
        self.turned = rng.random(length) < (0.5 if flip else 0.0)
        self.place = rng.random(length)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> int:
        return number


class _Batches:
    """Row numbers to tensors: single frames, or stretches of a sequence."""

    def __init__(self, material: Material, frames: _Frames, window: int) -> None:
        self.material, self.frames, self.window = material, frames, window

    def __call__(self, numbers: list[int]) -> dict[str, torch.Tensor]:
        """Features [B, W, 114], targets [B, W, 61, 3], weight [B, W]; past a sequence's end its last frame, unpaid."""
        own, chosen = self.material, np.asarray(numbers)
        rows = self.frames.order[chosen]
        if self.window == 1:
            at, paid = rows[:, None], np.ones((len(rows), 1), dtype=bool)
        else:
            low, high = own.bounds[rows], own.bounds[rows + 1]
            spare = np.maximum(high - low - self.window, 0)
            start = low + np.minimum((self.frames.place[chosen] * (spare + 1)).astype(np.int64), spare)
            at = start[:, None] + np.arange(self.window)
            paid = at < high[:, None]
            at = np.minimum(at, high[:, None] - 1)
        features, targets = own.features[at], own.targets[at]
        turned = self.frames.turned[chosen]
        features[turned], targets[turned] = flip_features(features[turned]), flip_points(targets[turned])
        weight = (paid & own.usable[at]).astype(np.float32)
        return {
            "features": torch.from_numpy(features), "targets": torch.from_numpy(targets),
            "weight": torch.from_numpy(weight),
        }  # fmt: skip


class _Lifting(nn.Module):
    """The network with its loss: the mean distance of 61 points, in decimetres."""

    def __init__(self, network: LifterNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        away = (self.network(features) - targets).square().sum(dim=-1).add(1e-6).sqrt().mean(dim=-1)
        return {"loss": (away * weight).sum() / weight.sum().clamp(min=1.0) / 100.0}


def _train(config: LifterJob, clips: _Clips, run: Run, into: Path, digest: str) -> dict[str, Any]:
    material = clips.material("train", config.source)
    set_determinism(config.seed, config.threads)
    network = build_lifter(config.network)
    network.standardise(material)
    length = config.schedule.steps * config.schedule.batch_size * config.schedule.accumulation
    if config.network.kind == "simple":
        window, rows = 1, np.flatnonzero(material.usable)
    else:
        # A sequence counts as often as it holds whole windows, so that long clips are not seen less.
        window = config.window
        rows = np.repeat(np.arange(len(material.clips)), np.maximum(np.diff(material.bounds) // window, 1))
    frames = _Frames(rows, length, config.seed, config.flip)
    start, burnt = time.monotonic(), time.process_time()
    losses = fit(
        run, "lifter", model=_Lifting(network), data=frames, collate=_Batches(material, frames, window),
        schedule=config.schedule, seed=config.seed, key=digest, loss=None,
    )  # fmt: skip
    run.journal(
        "trained", stage="lifter", seconds=round(time.monotonic() - start, 3),
        core_seconds=round(time.process_time() - burnt, 3),
    )  # fmt: skip
    facts = {
        **losses,
        "frames": int(material.usable.sum()),
        "sequences": len(material.clips),
        "subjects": len(set(material.subjects)),
        "motions": sorted(set(material.motions)),
        "source": config.source,
        "flip": config.flip,
        "parameters": sum(weight.numel() for weight in network.parameters()),
    }
    note = "Research use only. Learned on simulated motion; no evidence about people."
    save_lifter(into, network, {**facts, "note": note})
    return facts


def _report(config: LifterJob, clips: _Clips, baselines: Path, model: Path, into: Path) -> dict[str, Any]:
    """Errors on the test split, subjects and motions held out, for detections and for exact pixels."""
    torch.set_num_threads(config.threads)
    network, _ = load_lifter(model)
    body, linear = load_baselines(baselines)
    tables: dict[str, Any] = {}
    for source in dict.fromkeys((config.source, "exact")):
        material = clips.material("test", source)
        answers: dict[str, NDArray[np.floating]] = {
            "lifter": apply_lifter(network, material.features, material.bounds, flip=config.flip),
            "linear": linear["linear"](material.features, material.bounds),
            "linear_window": linear["linear_window"](material.features, material.bounds),
            "rest": lay_in(body, material.features),
            "rest_told_the_truth": similar_to_truth(body, material.targets),
        }
        scores = {name: score(material, own) for name, own in answers.items()}
        unseen = np.isin(material.motions, config.hold_out_motions)
        groups = {"held_out_subjects": np.flatnonzero(~unseen), "held_out_motions": np.flatnonzero(unseen)}
        for motion in sorted(set(material.motions)):
            groups[f"motion_{motion}"] = np.flatnonzero(np.asarray(material.motions) == motion)
        for name, group in groups.items():
            if len(group):
                tables[f"{source}/{name}"] = compare(material, scores, first="lifter", seed=config.seed, group=group)
    write_json(into / "report.json", {"hold_out_motions": list(config.hold_out_motions), "tables": tables})
    return {"tables": sorted(tables)}
