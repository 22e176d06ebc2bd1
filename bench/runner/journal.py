"""The journal of a predictions folder: which blocks are answered, by how many processes it may be.

Convention: a process alone writes `.journal.jsonl` and holds the folder. Several share it: each writes a journal of its
own, `.journal-NAME.jsonl`, and claims a block before it asks by a lock on one byte of `.claims`, which the system lets
go of when the process dies, however it dies. All journals are read, so one process goes on where five stopped, and
five where one did.

Trap: locks on bytes reach other machines where the file system carries them (NFS 4, Lustre with `flock`). Where it does
not, two machines ask the same blocks; the first journal by name then counts, and nothing is lost but the time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from spinemed.errors import RunError
from spinemed.records import Prediction, Record, Sha256
from spinemed.run import LOCK, alone_in
from spinemed.tables import MANIFEST, read_jsonl

__all__ = ["Journal", "another_job", "blocks_done", "refuse_strangers", "together_in"]

_ALONE = ".journal.jsonl"
_CLAIMS = ".claims"
_FINISH = ".finish"


class _Block(Record):
    """One line: all replies of one block, or the header of a run (block -1)."""

    plan_sha256: Sha256
    block: int
    predictions: tuple[Prediction, ...]


def _is_journal(name: str) -> bool:
    """Whether a file of a predictions folder is the runner's own, and not part of the result."""
    return name in (LOCK, _CLAIMS, _FINISH) or (name.startswith(".journal") and name.endswith(".jsonl"))


def another_job(folder: Path) -> RunError:
    """The error for a folder that another job began."""
    return RunError(
        "holds the predictions of another model, condition, block size or samples folder",
        file=folder,
        cure="give another --out, or delete this folder to ask again",
    )


def refuse_strangers(folder: Path) -> None:
    """Files of somebody else would enter the manifest as if they had been answered here.

    Raises:
        RunError: The folder holds such files and no journal.
    """
    if not folder.is_dir() or (folder / MANIFEST).is_file() or any(folder.glob(".journal*.jsonl")):
        return
    strangers = sorted(path.name for path in folder.iterdir() if not _is_journal(path.name))
    if strangers:
        raise RunError(
            f"holds files that are no predictions ({', '.join(strangers[:3])})", file=folder, cure="give another --out"
        )


@contextmanager
def together_in(folder: Path, worker: str | None) -> Iterator[None]:
    """Hold a predictions folder alone, or (`worker` is a name) together with others that have names.

    Raises:
        RunError: Somebody is in it who works alone.
    """
    if worker is None:
        with alone_in(folder, "answering into this folder"):
            yield
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                "another process is answering into this folder alone", file=folder, cure="wait for it to end"
            ) from error
        yield
    finally:
        os.close(lock)


class Journal:
    """The blocks of one job. Use it as a context manager, inside :func:`together_in`.

    Args:
        folder: Predictions folder.
        plan: Hash of the job.
        worker: This process's name among several; None works alone.

    Raises:
        RunError: The folder belongs to another job, or a worker of this name is at work.
    """

    def __init__(self, folder: Path, plan: str, worker: str | None = None) -> None:
        self.folder, self.plan, self.worker = folder, plan, worker
        self.done: set[int] = set()
        self._read: dict[Path, int] = {}
        self._path = folder / (_ALONE if worker is None else f".journal-{worker}.jsonl")
        self._own: IO[bytes] | None = None
        self._claims = -1

    def __enter__(self) -> Journal:
        self.refresh()  # a stranger's journal is refused before anything is made
        self._own = open(self._path, "ab")
        try:
            fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._own.close()
            raise RunError(
                f"a worker called {self.worker} is at work", file=self.folder, cure="give each worker a name of its own"
            ) from error
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):  # a kill tore the last line: the next one must stand on a line of its own
            os.truncate(self._path, whole)
        if not whole:
            self.append(-1, ())
        if self.worker is not None:
            self._claims = os.open(self.folder / _CLAIMS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()
        if self._claims >= 0:
            os.close(self._claims)

    def refresh(self) -> None:
        """Look what others have answered meanwhile."""
        for path in self.folder.glob(".journal*.jsonl"):
            start = self._read.get(path, 0)
            if path.stat().st_size <= start:
                continue
            with open(path, "rb") as stream:
                stream.seek(start)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    found = json.loads(line)
                    if found.get("plan_sha256") != self.plan:
                        raise another_job(self.folder)
                    if found["block"] >= 0:
                        self.done.add(found["block"])
                    start += len(line)
            self._read[path] = start

    def claim(self, block: int) -> bool:
        """Take a block, unless it is answered or another process has it."""
        if block in self.done:
            return False
        if self._claims < 0:
            return True
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, block)
        except OSError:
            return False
        self.refresh()  # whoever had it may have ended between our last look and the lock
        return block not in self.done

    def append(self, block: int, predictions: tuple[Prediction, ...]) -> None:
        """Keep the replies of a block, forced to disk."""
        assert self._own is not None
        line = _Block(plan_sha256=self.plan, block=block, predictions=predictions)
        self._own.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n")
        self._own.flush()
        os.fsync(self._own.fileno())
        if block >= 0:
            self.done.add(block)

    def predictions(self) -> list[Prediction]:
        """All replies, by sample."""
        found: dict[int, tuple[Prediction, ...]] = {}
        for path in sorted(self.folder.glob(".journal*.jsonl")):
            for line in read_jsonl(path, _Block, torn_tail=True):
                if line.block >= 0:
                    found.setdefault(line.block, line.predictions)
        return sorted((one for block in found.values() for one in block), key=lambda one: one.sample_id)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """One process at a time, the others wait."""
        if self.worker is None:
            yield
            return
        with open(self.folder / _FINISH, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def blocks_done(folder: Path) -> Callable[[], int]:
    """A counter of the blocks that stand in the journals of a folder; each look reads what is new."""
    read: dict[Path, int] = {}
    done: set[int] = set()

    def count() -> int:
        for path in folder.glob(".journal*.jsonl"):
            with open(path, "rb") as stream:
                stream.seek(read.get(path, 0))
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    read[path] = read.get(path, 0) + len(line)
                    done.add(json.loads(line)["block"])
        return len(done - {-1})

    return count
