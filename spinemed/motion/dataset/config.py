"""The config of a data set of simulated motion, and the list of clips that it means.

Convention: clip k of a config is the same on every machine and for any number of workers; clips are numbered subject by
subject, motion by motion. Splits are by subject. The trap: the split of a subject depends on how many subjects there
are, not only on its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from spinemed.config import Config
from spinemed.motion.generate.motions import MOTIONS
from spinemed.motion.generate.views import DetectorNoise
from spinemed.motion.rhythm import RHYTHMS

__all__ = ["CameraConfig", "PlannedClip", "SimulateConfig", "plan_clips"]


class CameraConfig(Config):
    """Which cameras look on."""

    kind: Literal["ring", "jittered", "random", "none"] = "ring"
    """ring: one studio for all clips; jittered: that ring, each camera displaced anew for each subject; random: cameras
    anywhere around, drawn for each clip; none: no views."""
    count: int = Field(default=4, ge=1, le=64)
    """Views of each clip."""

    @property
    def views(self) -> int:
        """How many views a clip has."""
        return 0 if self.kind == "none" else self.count


class SimulateConfig(Config):
    """A data set of natural motions."""

    subjects: int = Field(default=20, ge=1, le=9999)
    """How many bodies are drawn."""
    motions: tuple[str, ...] = ("gait", "bend", "side_bend", "lift", "twist", "sit", "slump", "reach", "look", "wander")
    """Which motions every subject performs."""
    clips_per_motion: int = Field(default=1, ge=1)
    """How often a subject performs each motion."""
    seconds: float = Field(default=6.0, gt=0, le=600)
    """Length of a clip."""
    rate_hz: float = Field(default=50.0, gt=0, le=1000)
    """Frames per second."""
    seed: int = Field(default=0, ge=0)
    """Of everything drawn."""
    val_share: float = Field(default=0.15, ge=0, lt=1)
    """Share of subjects for validation."""
    test_share: float = Field(default=0.15, ge=0, lt=1)
    """Share of subjects for the test."""
    cameras: CameraConfig = CameraConfig()
    """Where the virtual cameras stand and how they see."""
    detector: DetectorNoise | None = DetectorNoise()
    """Errors of a 2D detector; null leaves detections out."""
    rhythms: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(RHYTHMS, 1.0))
    """Weight of each packaged rhythm among subjects."""
    coupling: bool = True
    """Whether lateral bending turns segments axially too."""
    deviation_sd: float = Field(default=0.25, ge=0, le=1)
    """How much a subject's share of each level deviates from its rhythm: standard deviation of the logarithm."""
    wobble_factor: float = Field(default=0.15, ge=0, le=1)
    """Slow own motion of each level, in units of range / 6."""
    clips_per_shard: int = Field(default=50, ge=1)
    """Clips of one shard file, the unit of production and of resuming."""
    compression: Literal["none", "gzip"] = "none"
    """Of shards: gzip halves the files where there are no views, and is slower to write and read."""
    coco_every: int = Field(default=5, ge=1)
    """COCO files take every n-th frame."""

    @field_validator("motions")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in MOTIONS]
        if unknown or not value or len(set(value)) < len(value):
            raise ValueError(f"motions must be different names among {', '.join(MOTIONS)}")
        return value

    @field_validator("rhythms")
    @classmethod
    def _weighted(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in value if name not in RHYTHMS]
        if unknown or not sum(value.values()) > 0 or min(value.values()) < 0:
            raise ValueError(f"give weights of 0 and above for {', '.join(RHYTHMS)}")
        return value

    @model_validator(mode="after")
    def _shares(self) -> SimulateConfig:
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share leave no subject for training")
        if round(self.seconds * self.rate_hz) < 2:
            raise ValueError("seconds times rate_hz must give two frames or more")
        return self

    @property
    def frames(self) -> int:
        """Frames of each clip."""
        return round(self.seconds * self.rate_hz)

    @property
    def clips(self) -> int:
        """Clips of the data set."""
        return self.subjects * len(self.motions) * self.clips_per_motion

    @property
    def shards(self) -> int:
        """Shard files of the data set."""
        return -(-self.clips // self.clips_per_shard)


@dataclass(frozen=True)
class PlannedClip:
    """One clip to come: subject's number, motion, which of the subject's clips of that motion, split."""

    subject: int
    motion: str
    number: int
    split: str


def plan_clips(config: SimulateConfig, shard: int | None = None) -> list[PlannedClip]:
    """The clips of a data set, or of one of its shards, in order."""
    order = np.random.default_rng([3, config.seed]).permutation(config.subjects)
    test = round(config.test_share * config.subjects)
    val = round(config.val_share * config.subjects)
    split = np.full(config.subjects, "train", dtype=object)
    split[order[:test]] = "test"
    split[order[test : test + val]] = "val"
    numbers = range(config.clips)
    if shard is not None:
        numbers = numbers[shard * config.clips_per_shard : (shard + 1) * config.clips_per_shard]
    planned = []
    for k in numbers:
        rest, number = divmod(k, config.clips_per_motion)
        subject, motion = divmod(rest, len(config.motions))
        planned.append(PlannedClip(subject, config.motions[motion], number, str(split[subject])))
    return planned
