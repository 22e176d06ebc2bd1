"""Work spread over processes, results in the order of the work, and no process left behind.

Convention: workers are spawned, not forked, because Arrow's threads in the parent do not survive a fork.

Trap: a worker of a killed parent waits for work for ever, since it holds both ends of its queue; each worker therefore
watches its parent and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from spinemed.workers import end_with_parent

__all__ = ["map_in_order"]

W = TypeVar("W")
R = TypeVar("R")


def map_in_order(function: Callable[[W], R], work: Iterable[W], workers: int) -> Iterator[R]:
    """`map`, on several processes when `workers` is above 1. An error in a worker is raised here.

    Args:
        function: A module-level function.
        work: Its arguments; arguments and results are pickled.
        workers: Number of processes; 1 works in this one.
    """
    if workers <= 1:
        yield from map(function, work)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        yield from pool.map(function, work)
