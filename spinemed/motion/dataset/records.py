"""The nouns of a data set of spine motion: one clip in memory, one row of its table.

Convention: millimetres, degrees and pixels as named; poses `q` in mm and radians in the order of `BodyModel.freedoms`;
angles in the order of `BodyModel.segments` (L5/S1 first, C0/1 last) and of `DIRECTIONS`; keypoints in the order of
`SPINETRACK_37`; centroids cranial to caudal, C1 to L5 (`LEVELS`).

The trap: `centroids_mm` runs from C1 down to L5, `angles_deg` from L5/S1 up to C0/1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from spinemed.anatomy import REGULAR
from spinemed.motion.cameras import Camera
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.motion.model import SCALE_GROUPS, BodyModel, model_of
from spinemed.motion.tables import MOBILE_SEGMENTS

__all__ = ["LEVELS", "SCHEMA", "SEGMENTS", "SPLITS", "ClipRow", "SimulatedClip"]

SCHEMA = "spinemed-motion-1"
"""Version of the layout of simulated data sets, written into each."""

SPLITS = ("train", "val", "test")
"""Splits of a data set; a subject stands in one."""

LEVELS = REGULAR.presacral
"""C1 ... L5: the order of `centroids_mm`."""

SEGMENTS = tuple(str(segment) for segment in MOBILE_SEGMENTS)
"""L5/S1 ... C0/1: the order of `angles_deg`."""


class ClipRow(BaseModel):
    """One row of `clips.parquet`: what rebuilds a clip's body, and where its frames lie.

    Attributes:
        clip_id, subject, motion, split: Names; splits are by subject.
        rate_hz: Frames per second.
        sex, stature_mm, pelvic_incidence_deg, age_years, kyphosis_deg, cervical_lordosis_deg, scale: The body;
            `scale` in the order of `SCALE_GROUPS`.
        rhythm: Which rhythm the regions shared their motion by.
        seed: Of the clip's own random numbers.
        shard: Number of the shard file; `first_row` and `frames` say which of its rows.
        cameras: How many views the clip has.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_id: str
    subject: str
    motion: str
    split: str
    rate_hz: float
    sex: str
    stature_mm: float
    pelvic_incidence_deg: float
    age_years: float
    kyphosis_deg: float
    cervical_lordosis_deg: float
    scale: tuple[float, ...]
    rhythm: str
    seed: int
    shard: int
    first_row: int
    """First of its frames in the shard."""
    frames: int
    """How many frames it has."""
    cameras: int


@dataclass(frozen=True, eq=False)
class SimulatedClip:
    """One clip of one subject, with everything that is known of it.

    Attributes:
        clip_id: Unique in its data set, such as "s0003_bend_001".
        subject: Such as "s0003"; splits are by subject.
        motion: "gait", "bend", ... (`spinemed.motion.generate.MOTIONS`).
        split: One of `SPLITS`.
        rate_hz: Frames per second.
        sex, stature_mm, pelvic_incidence_deg: The body, with `age_years`, `kyphosis_deg`, `cervical_lordosis_deg` and
            `scale`; `model()` builds it.
        rhythm: Which rhythm the regions shared their motion by; per-level residuals come on top.
        seed: Of the clip's own random numbers.
        q: [T, D] poses.
        angles_deg: [T, 25, 3] flexion, lateral bending, axial rotation.
        keypoints_mm: [T, 37, 3]; centroids_mm: [T, 24, 3].
        cameras: V views, may be empty.
        pixels: [V, T, 37, 2] exact projections, NaN behind a camera or outside its image; None without cameras.
        detected: [V, T, 37, 2] the same with a detector's noise, NaN where it saw nothing; `confidence` [V, T, 37].
    """

    clip_id: str
    subject: str
    motion: str
    split: str
    rate_hz: float
    sex: str
    stature_mm: float
    pelvic_incidence_deg: float
    rhythm: str
    seed: int
    q: NDArray[np.float64]
    angles_deg: NDArray[np.float32]
    keypoints_mm: NDArray[np.float32]
    centroids_mm: NDArray[np.float32]
    cameras: tuple[Camera, ...] = ()
    pixels: NDArray[np.float32] | None = None
    detected: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    age_years: float = 40.0
    kyphosis_deg: float = 35.0
    cervical_lordosis_deg: float = 15.0
    scale: tuple[float, ...] = (1.0,) * len(SCALE_GROUPS)

    def __post_init__(self) -> None:
        frames, views = len(self.q), len(self.cameras)
        points = len(SPINETRACK_37)
        wanted: dict[str, tuple[int, ...]] = {
            "angles_deg": (frames, len(SEGMENTS), len(DIRECTIONS)),
            "keypoints_mm": (frames, points, 3),
            "centroids_mm": (frames, len(LEVELS), 3),
            "pixels": (views, frames, points, 2),
            "detected": (views, frames, points, 2),
            "confidence": (views, frames, points),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise MotionError(
                    f"clip {self.clip_id}: {name} of shape {value.shape}, expected {shape}", field=name,
                    cure="give one entry per frame, in the order of the record",
                )  # fmt: skip
        if self.split not in SPLITS:
            raise MotionError(f"{self.split!r} is no split", field="split", cure=f"use one of {', '.join(SPLITS)}")
        if not self.rate_hz > 0:
            raise MotionError(f"{self.rate_hz} Hz is no rate", field="rate_hz", cure="give frames per second")

    @property
    def frames(self) -> int:
        """T."""
        return len(self.q)

    def model(self) -> BodyModel:
        """The body of the clip's subject."""
        return model_of(self)

    def row(self, shard: int, first_row: int) -> ClipRow:
        """The clip's row in the table, once its place in a shard is known."""
        own = {name: getattr(self, name) for name in ClipRow.model_fields if hasattr(self, name) and name != "cameras"}
        return ClipRow(**own, shard=shard, first_row=first_row, cameras=len(self.cameras))
