"""One predictions folder answered by several processes of this machine, or by the tasks of a Ray cluster.

Convention: every worker makes its own answerer (weights are loaded in each, a server is asked through a log file of the
worker's own) and calls :func:`~bench.runner.predict.predict_samples` with its name; blocks are claimed in the folder
(see `journal.py`), nothing is handed out here. So any number of workers gives the same bytes, and any number resumes
what any other left. Machines that share a folder need no cluster: `spinemed bench predict --worker NAME` on each.

A worker that dies takes nothing with it but the block it was at; it is replaced up to `DEATHS` times in all. After the
first error the others end their blocks and stop.

Trap: on a machine with several GPUs each worker of the local engine sees one of them, in turn; with Ray say how much
of a GPU a task takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from bench.runner.answerers import Answerer
from bench.runner.journal import blocks_done
from bench.runner.predict import Predictions, Stopped, predict_samples, read_predictions
from bench.samples import read_samples
from spinemed.errors import RunError, SpineMedError
from spinemed.records import Condition
from spinemed.tables import MANIFEST
from spinemed.workers import end_with_parent

__all__ = ["DEATHS", "Engine", "Work", "predict_together"]

Engine = Literal["local", "ray"]
DEATHS = 5
_LOOK_S = 0.05


@dataclass(frozen=True)
class Work:
    """What every worker does; it is pickled.

    Args:
        make: Called with the worker's name; gives the answerer for as long as it works.
        gpus_each: GPUs of this machine that each worker of the local engine sees, where there are more.
    """

    samples: Path
    out: Path
    name: str
    condition: Condition
    block_size: int
    order: Literal["shape", "picture"]
    make: Callable[[str], AbstractContextManager[Answerer]]
    gpus_each: int = 1

    def done_by(self, worker: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Answer blocks until all are answered.

        Raises:
            SpineMedError: As `predict_samples`.
        """
        with self.make(worker) as answerer:
            predict_samples(
                self.samples, answerer, self.out, name=self.name, condition=self.condition,
                block_size=self.block_size, order=self.order, worker=worker, stop=stop,
            )  # fmt: skip


def predict_together(
    work: Work,
    *,
    workers: int,
    engine: Engine = "local",
    address: str | None = None,
    gpus: float = 0.0,
    advance: Callable[[int], None] = lambda number: None,
) -> Predictions:
    """Answer with several workers; the same call, with any number of them, resumes it.

    Args:
        work: What is asked and who is asked.
        workers: How many.
        engine: `local` for processes here, `ray` for tasks of a cluster that sees the same folders.
        address: Of a running Ray cluster; without one Ray is started on this machine.
        gpus: GPUs that a Ray task takes.
        advance: Called with the number of samples that are now answered.

    Raises:
        SpineMedError: The first error of a worker, or too many of them died.
    """
    if engine == "local":
        _by_processes(work, workers, _Told(work, advance))
    else:
        _by_ray(work, workers, address, gpus)
    done = read_predictions(work.out)
    if engine == "ray":
        advance(len(done.by_sample))
    return done


class _Told:
    """Progress, read off the journals."""

    def __init__(self, work: Work, advance: Callable[[int], None]) -> None:
        self.total, self.size = len(read_samples(work.samples)[0]), work.block_size
        self.count, self.advance, self.before = blocks_done(work.out), advance, 0

    def look(self) -> None:
        now = min(self.total, self.count() * self.size)
        if now > self.before:
            self.advance(now - self.before)
            self.before = now


# --- processes of this machine ---------------------------------------------------------------------------------------


def _process(work: Work, number: int, stop: Any, errors: Any) -> None:
    end_with_parent()
    devices = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", _gpus()).split(",") if one]
    if len(devices) > work.gpus_each:
        first = number * work.gpus_each
        own = [devices[(first + step) % len(devices)] for step in range(work.gpus_each)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)
    try:
        work.done_by(f"w{number}", stop.is_set)
    except Stopped:
        return
    except SpineMedError as error:
        stop.set()
        errors.put(error)


def _gpus() -> str:
    """Numbers of the GPUs of this machine, without loading anything that would occupy one."""
    return ",".join(sorted((one.name[6:] for one in Path("/dev").glob("nvidia[0-9]*")), key=int))


def _by_processes(work: Work, workers: int, told: _Told) -> None:
    context = get_context("spawn")
    stop, errors = context.Event(), context.SimpleQueue()
    running = {}
    deaths, named = 0, 0
    try:
        for _ in range(workers):
            running[named] = _start(context, work, named, stop, errors)
            named += 1
        while running:
            time.sleep(_LOOK_S)
            told.look()
            for number, process in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[number]
                process.join()
                if process.exitcode and not stop.is_set():
                    deaths += 1
                    if process.exitcode > 0 or deaths > DEATHS:  # a fault of ours would only be met again
                        stop.set()
                    else:  # killed: under the same name its journal goes on
                        running[number] = _start(context, work, number, stop, errors)
    finally:
        stop.set()
        for process in running.values():
            process.join()
    if not errors.empty():
        raise errors.get()
    if not (work.out / MANIFEST).is_file():
        raise RunError(
            f"{deaths} workers died", field="--workers",
            cure="look for the kernel's out-of-memory killer and at what they wrote above; use fewer workers, and run "
            "the same command again",
        )  # fmt: skip
    told.look()


def _start(context: Any, work: Work, number: int, stop: Any, errors: Any) -> Any:
    process = context.Process(target=_process, args=(work, number, stop, errors))
    process.start()
    return process


# --- Ray -------------------------------------------------------------------------------------------------------------


def _task(work: Work, number: int) -> None:
    work.done_by(f"w{number}")


def _by_ray(work: Work, workers: int, address: str | None, gpus: float) -> None:
    from spinemed.cluster import start_ray

    ray = start_ray(workers, address)
    try:
        # An error of the work is an answer; the death of a worker is none, and Ray starts another one.
        task = ray.remote(_task).options(max_retries=DEATHS, retry_exceptions=False, num_cpus=1, num_gpus=gpus)
        running = [task.remote(work, number) for number in range(workers)]
        failure: SpineMedError | None = None
        while running:
            ended, running = ray.wait(running, num_returns=1)
            try:
                ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, SpineMedError):
                    raise
                failure = failure or error.cause
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                failure = failure or RunError(
                    f"a worker died {DEATHS + 1} times ({type(error).__name__})", field="--workers",
                    cure="look for the kernel's out-of-memory killer; use fewer workers",
                )  # fmt: skip
        if failure is not None:
            raise failure
    finally:
        ray.shutdown()
