"""Who makes the shards: this process, a pool of processes on this machine, or the tasks of a Ray cluster.

Convention: all of them call :func:`data_pipeline.shards.shard.make_shard` on the same jobs; an engine only says where.
What comes out is the same to the byte. A worker that dies takes nothing with it but the shard it was at, which another
one takes up again. After the first error nothing more is handed out; what is under way is awaited, for it may have
been paid for.

Trap: a Ray cluster of several machines needs the run folder on a file system that all of them see, under one path.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, Self

from data_pipeline.shards.shard import Job, make_shard
from spinemed.cluster import start_ray
from spinemed.errors import ConfigError, RunError, SpineMedError
from spinemed.workers import end_with_parent

__all__ = ["Crew", "Engine"]

Engine = Literal["local", "ray"]
"""Where shards are worked on: processes of this machine, or a Ray cluster."""
_DEATHS = 5
"""Workers of one stage that may die before it is given up: a job that kills whoever takes it would go on for ever."""


class Crew:
    """Workers for all stages of one run. Use it as a context manager.

    Args:
        engine: `local` or `ray`.
        workers: Processes; with `local` and 1 the work is done here. With `ray`, tasks under way at once.
        address: Of a running Ray cluster (`auto`, or host and port); without one Ray is started on this machine.

    Raises:
        ConfigError: An address is given for another engine.
    """

    def __init__(self, engine: Engine = "local", workers: int = 1, address: str | None = None) -> None:
        if address is not None and engine != "ray":
            raise ConfigError("is for Ray clusters", field="--address", cure="add --engine ray, or leave it out")
        self.engine, self.workers, self.address = engine, max(1, workers), address
        self._pool: ProcessPoolExecutor | None = None
        self._ray: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def make(self, jobs: Sequence[Job], advance: Callable[[int], None] = lambda number: None) -> list[Path]:
        """Make all shards that are not there yet.

        Args:
            jobs: All of one home.
            advance: Called with the size of each shard when it is there.

        Returns:
            The folders, in the order of the jobs.

        Raises:
            SpineMedError: The first error of a worker, or too many workers died.
        """
        for home in {job.home for job in jobs}:
            _tidy(home, {job.name for job in jobs if job.home == home})
        waiting = []
        for job in jobs:
            if job.folder.is_dir():
                advance(job.size)
            else:
                waiting.append(job)
        if waiting and self.engine == "ray":
            done = self._by_ray(waiting)
        elif len(waiting) > 1 and self.workers > 1:
            done = self._by_pool(waiting)
        else:
            done = (job for job in waiting if make_shard(job))
        for job in done:
            advance(job.size)
        return [job.folder for job in jobs]

    # --- processes of this machine -----------------------------------------------------------------------------------

    def _by_pool(self, jobs: list[Job]) -> Iterator[Job]:
        left, deaths = {job.name: job for job in jobs}, 0
        while left:
            try:
                for job in self._pool_round(list(left.values())):
                    del left[job.name]
                    yield job
            except BrokenProcessPool as error:
                deaths += 1
                if self._pool is not None:
                    self._pool.shutdown(cancel_futures=True)
                    self._pool = None
                if deaths > _DEATHS:
                    raise _given_up(deaths) from error

    def _pool_round(self, jobs: list[Job]) -> Iterator[Job]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=end_with_parent)
        source = iter(jobs)
        running: dict[Future[str], Job] = {}
        failure: BaseException | None = None
        while True:
            # A little ahead of the workers, so that none waits.
            while failure is None and len(running) < 2 * self.workers and (job := next(source, None)) is not None:
                running[self._pool.submit(make_shard, job)] = job
            if not running:
                break
            for future in wait_for(running, return_when=FIRST_COMPLETED).done:
                job, error = running.pop(future), future.exception()
                if error is None:
                    yield job
                elif failure is None or isinstance(failure, BrokenProcessPool):
                    failure = error
            if failure is not None:
                for future in [one for one in running if one.cancel()]:
                    del running[future]
        if failure is not None:
            raise failure

    # --- Ray ---------------------------------------------------------------------------------------------------------

    def _by_ray(self, jobs: list[Job]) -> Iterator[Job]:
        ray = self._start_ray()
        # An error of the work is an answer; the death of a worker is none, and Ray gives the shard to another one.
        task = ray.remote(make_shard).options(max_retries=_DEATHS, retry_exceptions=False, num_cpus=1)
        source = iter(jobs)
        running: dict[Any, Job] = {}
        failure: SpineMedError | None = None
        while True:
            while failure is None and len(running) < self.workers and (job := next(source, None)) is not None:
                running[task.remote(job)] = job
            if not running:
                break
            ended, _ = ray.wait(list(running), num_returns=1)
            for reference in ended:
                job = running.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    if not isinstance(error.cause, SpineMedError):
                        raise
                    failure = failure or error.cause
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    failure = failure or _given_up(_DEATHS + 1)
                else:
                    yield job
        if failure is not None:
            raise failure

    def _start_ray(self) -> Any:
        if self._ray is not None:
            return self._ray
        self._ray = start_ray(self.workers, self.address)
        return self._ray


def _given_up(deaths: int) -> RunError:
    return RunError(
        f"{deaths} workers were killed", field="--workers",
        cure="look for the kernel's out-of-memory killer; use fewer workers or smaller shards (shard_items), and run "
        "the same command again",
    )  # fmt: skip


def _tidy(home: Path, wanted: set[str]) -> None:
    """Make the home of a stage; remove what killed workers left in it, and shards of other contents."""
    home.mkdir(parents=True, exist_ok=True)
    for path in home.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path, ignore_errors=True)  # a worker that has not noticed its end may be writing there
