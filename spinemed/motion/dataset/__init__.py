"""Data sets of spine motion on disk: a folder of shards, one table of clips, and the formats that others read.

Open `records` first, then `produce` and `read`.
"""

from spinemed.motion.dataset.read import MotionDataset, read_dataset
from spinemed.motion.dataset.records import LEVELS, SCHEMA, SEGMENTS, SPLITS, ClipRow, SimulatedClip

__all__ = [
    "LEVELS", "SCHEMA", "SEGMENTS", "SPLITS", "ClipRow", "MotionDataset", "SimulatedClip", "read_dataset",
]  # fmt: skip
