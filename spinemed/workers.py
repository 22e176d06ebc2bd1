"""Work for several processes: handed out a little ahead, and over when the process that asked for it is gone.

Convention: fresh interpreters (spawn), because forking after libraries have started threads may hang; what a job is and
who does it are pickled, so both stand at the top of a module.

The trap: answers come in the order in which jobs end, not in which they were given.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

__all__ = ["end_with_parent", "worked_off"]

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def worked_off(work: Callable[[Job], Answer], jobs: Iterator[Job], workers: int) -> Iterator[Answer]:
    """Answers to jobs as they are done; a few more are handed out than there are workers, however many there are.

    Args:
        work: Does one job.
        jobs: Taken one by one.
        workers: Processes; with 1 the jobs are done here.
    """
    if workers == 1:
        for job in jobs:
            yield work(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        open_jobs: set[Future[Answer]] = {pool.submit(work, job) for job in islice(jobs, 2 * workers)}
        while open_jobs:
            ended, open_jobs = wait_for(open_jobs, return_when=FIRST_COMPLETED)
            for one in ended:
                open_jobs |= {pool.submit(work, job) for job in islice(jobs, 1)}
                yield one.result()


def end_with_parent() -> None:
    """Let a worker end when the process that started it is gone.

    A killed parent tells its workers nothing: they would wait for ever, or write into a folder that another run holds.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
