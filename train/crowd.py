"""The processes of one training: who prepares and keeps the run folder, and who only computes along.

Convention: the first process opens the run, prepares, and tells the others where what they learn from lies.

Trap: the others must meet the first one also when there is nothing to train, or it waits for them for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from spinemed.run import Run

__all__ = ["Crowd", "SilentRun"]


class SilentRun(Run):
    """The run as the other processes see it: the first one alone keeps journal and progress bar."""

    def journal(self, event: str, **facts: Any) -> None:
        """Nothing."""

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """No bar."""
        yield lambda count: None


class Crowd:
    """The processes that torchrun or accelerate started; alone without them."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.many = self.count > 1
        self.first = int(os.environ.get("RANK", "0")) == 0
        if self.many and not torch.distributed.is_initialized():
            from accelerate import PartialState

            # The others wait while the first one prepares hundreds of scans.
            PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2))

    def tell(self, what: tuple[str, str]) -> None:
        """The first process speaks to the others."""
        if self.many:
            torch.distributed.broadcast_object_list(list(what), src=0)

    def hear(self) -> tuple[str, str]:
        """What the first one says; waits for it."""
        heard = ["", ""]
        torch.distributed.broadcast_object_list(heard, src=0)
        return heard[0], heard[1]

    def meet(self) -> None:
        """Wait for all, and part."""
        if self.many:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
