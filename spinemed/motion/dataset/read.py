"""`read_dataset`: a folder of simulated motion, clip by clip.

Convention: `clips` is the table (one row per clip), `clip(id)` one clip whole, `iterate` all of a split in order, one
in memory at a time. The trap: the table's column `cameras` counts views; the cameras themselves come with the clip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinemed.errors import ReadError
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.records import SCHEMA, SPLITS, ClipRow, SimulatedClip
from spinemed.motion.dataset.shards import open_shard, read_clip, shard_path
from spinemed.tables import parse_json, read_records

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLIPS", "INFO", "MotionDataset", "read_dataset"]

INFO, CLIPS = "dataset.json", "clips.parquet"


class MotionDataset:
    """A finished data set. Use `read_dataset`.

    Attributes:
        folder: Where it lies.
        info: What `dataset.json` says: names, units, config, counts.
        rows: The table's rows, in order.
    """

    def __init__(self, folder: Path, info: dict[str, Any], rows: list[ClipRow]) -> None:
        self.folder, self.info, self.rows = folder, info, rows
        self._place: dict[str, int] = {row.clip_id: k for k, row in enumerate(rows)}
        self._first: dict[int, int] = {}
        for k, row in enumerate(rows):
            self._first.setdefault(row.shard, k)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def clips(self) -> pd.DataFrame:
        """The table: one row per clip."""
        import pandas as pd

        return pd.DataFrame([row.model_dump() for row in self.rows], columns=list(ClipRow.model_fields))

    def clip(self, clip_id: str) -> SimulatedClip:
        """One clip.

        Raises:
            MotionError: the data set has no such clip.
            ReadError: its shard is missing or damaged.
        """
        if clip_id not in self._place:
            raise MotionError(
                f"has no clip {clip_id!r}", file=self.folder, field="clip_id",
                cure=f"use a name of {CLIPS}, such as {self.rows[0].clip_id}" if self.rows else "simulate some",
            )  # fmt: skip
        place = self._place[clip_id]
        row = self.rows[place]
        with open_shard(shard_path(self.folder, row.shard)) as file:
            return read_clip(file, row, place - self._first[row.shard])

    def iterate(self, split: str | None = None) -> Iterator[SimulatedClip]:
        """All clips, or those of one split, in order; one in memory at a time.

        Raises:
            MotionError: an unknown split.
            ReadError: a shard is missing or damaged.
        """
        if split is not None and split not in SPLITS:
            raise MotionError(f"{split!r} is no split", field="split", cure=f"use one of {', '.join(SPLITS)}")
        for number, first in self._first.items():
            own = [row for row in self.rows[first:] if row.shard == number]
            if not any(split in (None, row.split) for row in own):
                continue
            with open_shard(shard_path(self.folder, number)) as file:
                for place, row in enumerate(own):
                    if split in (None, row.split):
                        yield read_clip(file, row, place)


def read_dataset(folder: str | os.PathLike[str]) -> MotionDataset:
    """Open a finished data set.

    Raises:
        ReadError: no finished data set of this schema.
        RecordError: a row of the table breaks its contract.
    """
    root = Path(folder)
    path = root / INFO
    try:
        info = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(
            f"holds no {INFO}, so it is no finished data set of motion", file=root,
            cure="run `spinemed motion simulate` with it as --out; it goes on where it stopped",
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read as JSON ({error})", file=path, cure="delete it and simulate again") from error
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        found = info.get("schema") if isinstance(info, dict) else None
        raise ReadError(
            f"is of schema {found!r}, expected {SCHEMA!r}", file=path, field="schema", cure="simulate again"
        )
    return MotionDataset(root, info, list(read_records(root / CLIPS, ClipRow)))
