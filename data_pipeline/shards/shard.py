"""Shards: the unit of work, of memory and of resuming, whoever does the work.

Convention: a job is a name and a small payload; :func:`make_shard` turns it into a folder that appears whole or not at
all. The name holds the place of the shard in its stage and a hash of what it is made of, so a finished shard is never
made again, and what a shard holds depends on nothing but its payload: engine, number of workers and kills change no
byte. When all shards of a stage are there, :func:`join_tables` streams them into one file, one row group for each shard
of the next stage.

Trap: two workers may make the same shard at once (a killed run's worker that has not noticed yet, and its successor);
each fills a hidden folder of its own, the first to finish gives it the name, and both would have written the same.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from spinemed.errors import RunError
from spinemed.records import content_hash
from spinemed.tables import arrow_schema, atomic_write, parse_json, write_json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["FACTS", "Job", "Work", "facts_of", "job", "join_lines", "join_tables", "make_shard", "rechunked"]

FACTS = "facts.json"
Work = Callable[[Any, Path], dict[str, Any]]
"""Fills a folder from a payload and returns facts as plain JSON. Stands at the top of a module, to be pickled."""


@dataclass(frozen=True)
class Job:
    """One shard to be made.

    Attributes:
        home: Where the shards of its stage lie.
        name: Its folder's name: number and content id.
        size: How many items it is, for the progress bar.
        work: Makes it.
        payload: What it is made from; pickled, so it names records and files and holds none.
    """

    home: Path
    name: str
    size: int
    work: Work
    payload: Any

    @property
    def folder(self) -> Path:
        """Where it will lie."""
        return self.home / self.name


def job(home: Path, number: int, size: int, work: Work, payload: Any, identity: Any) -> Job:
    """A job named by its place and the hash of its identity (plain JSON; the stage's own key stands in `home`)."""
    return Job(home, f"{number:05d}-{content_hash(identity)[:12]}", size, work, payload)


def make_shard(task: Job) -> str:
    """Make a shard unless it is there; returns its name.

    Raises:
        SpineMedError: What the work raises; nothing is left behind.
    """
    if task.folder.is_dir():
        return task.name
    partial = Path(tempfile.mkdtemp(prefix=f".{task.name}.", dir=task.home))
    try:
        write_json(partial / FACTS, task.work(task.payload, partial))
        try:
            partial.rename(task.folder)
        except OSError as error:
            if not task.folder.is_dir():
                raise RunError(
                    f"cannot be given its name ({error.strerror})", file=task.folder, cure="check the disk"
                ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return task.name


def facts_of(folder: Path) -> dict[str, Any]:
    """What the work said about a shard."""
    return dict(parse_json((folder / FACTS).read_bytes()))


def join_tables(
    target: Path,
    model: type[BaseModel],
    files: Sequence[Path],
    *,
    rows: int,
    keep: Sequence[np.ndarray | None] | None = None,
    once: str | None = None,
) -> int:
    """Stream Parquet files into one, in their order, a given number of rows to a row group.

    Args:
        target: The file to write.
        model: The contract of the rows.
        files: What to join.
        rows: Rows of a row group; no more than these and one batch are in memory.
        keep: For each file a mask of the rows to keep, or None for all.
        once: A text column of which each value is written the first time only.

    Returns:
        How many rows were written.
    """
    import pyarrow.parquet as pq

    schema, written = arrow_schema(model), 0
    with atomic_write(target) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in rechunked(_tables(files, keep, once, min(rows, 1024)), rows):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
            written += table.num_rows
    return written


def _tables(
    files: Sequence[Path], keep: Sequence[np.ndarray | None] | None, once: str | None, batch: int
) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen: set[str] = set()
    for place, file in enumerate(files):
        mask, start = None if keep is None else keep[place], 0
        with pq.ParquetFile(file) as stream:
            for part in stream.iter_batches(batch_size=batch):
                table = pa.Table.from_batches([part])
                end = start + table.num_rows
                if mask is not None:
                    table = table.filter(pa.array(mask[start:end]))
                if once is not None:
                    table = _unseen(table, once, seen)
                start = end
                if table.num_rows:
                    yield table


def _unseen(table: pa.Table, column: str, seen: set[str]) -> pa.Table:
    import pyarrow as pa

    fresh = []
    for value in table[column].to_pylist():
        fresh.append(value not in seen)
        seen.add(value)
    return table if all(fresh) else table.filter(pa.array(fresh))


def rechunked(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of a given length, the last one shorter."""
    import pyarrow as pa

    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            count -= rows
            held = [whole.slice(rows)] if count else []
    if count:
        yield pa.concat_tables(held).combine_chunks()


def join_lines(target: Path, parts: Iterable[Path | bytes]) -> None:
    """Write files of lines, and lines in between, one after another."""
    with atomic_write(target) as stream:
        for part in parts:
            stream.write(part if isinstance(part, bytes) else part.read_bytes())
