"""One budget for all workers of a machine: each keeps what it spent and reserved in a file that the others read.

Convention: a folder beside the request logs holds `base.json` (what the logs held when the run was opened, and what
finished clients spent since) and a small file for each client at work. A reservation is made under one lock, so spent
plus reserved of all of them never passes the budget. A client that died may have been charged for what it had under
way: its reservations count as spent until the run is opened again and reads them from the logs.

Trap: locks and clocks are those of one machine (or of a file system that locks for several). Where workers of many
machines share a run, give each machine's part of the budget, or let the server hold the limit.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinemed.chat.budget import Budget, Ledger
from spinemed.chat.log import RequestLog
from spinemed.chat.reply import Usage
from spinemed.tables import write_json

__all__ = ["SharedLedger", "open_ledger", "start_ledger"]

_FOLDER, _BASE, _LOCK = "ledger", "base.json", "lock"
_STATE = struct.Struct("<qdqd")
"""Spent tokens and money, reserved tokens and money."""
_POLL_S = 0.05


def start_ledger(requests: Path) -> None:
    """Sum up what the logs below a folder hold, once, when a run is opened and before any worker is at work.

    Args:
        requests: Holds a folder for each request log.
    """
    folder = requests / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.state"):
        file.unlink()
    tokens, money = 0, 0.0
    for home in sorted({file.parent for file in requests.glob("*/*.jsonl")}):
        with RequestLog(home, wait_s=60.0) as log:
            tokens += log.spent.tokens + log.lost_tokens
            money += log.spent.money + log.lost_money
    write_json(folder / _BASE, {"tokens": tokens, "money": money})


def open_ledger(budget: Budget, requests: Path, started: float) -> Ledger | None:
    """The ledger of one client among several; None where nothing is limited.

    Args:
        budget: The limits, of all together.
        requests: As for :func:`start_ledger`, which was called before where tokens or money are limited.
        started: When the run was opened, in seconds since the epoch.
    """
    if budget.tokens is None and budget.money is None:
        # Time needs no sums: each client knows when the run was opened.
        return None if budget.seconds is None else Ledger(budget, Usage(), 0, 0.0, started=started)
    return SharedLedger(budget, requests / _FOLDER, started)


class SharedLedger(Ledger):
    """What was spent and is reserved by all clients of a folder.

    Args:
        budget: The limits.
        folder: Of the ledger.
        started: When time began to count.
    """

    def __init__(self, budget: Budget, folder: Path, started: float) -> None:
        super().__init__(budget, Usage(), 0, 0.0, started=started)
        self.folder = folder
        self.path = folder / f"{uuid.uuid4().hex}.state"
        self._own = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._own, fcntl.LOCK_EX)
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mine = Usage()
        self._write()

    async def reserve(self, most: Usage) -> None:
        """Set aside the most that a request can cost, waiting for others where that helps.

        Raises:
            BudgetError: It does not fit in what is left.
        """
        while True:
            with self._alone():
                reserved_tokens, reserved_money = self._look()
                if self._fits(most, reserved_tokens, reserved_money):
                    self._check_time()
                    self.reserved_tokens += most.tokens
                    self.reserved_money += most.money
                    self._write()
                    return
                if not self._fits(most, 0, 0.0):
                    raise self._spent(most)
            await asyncio.sleep(_POLL_S)

    async def settle(self, most: Usage, used: Usage) -> None:
        """Replace a reservation by what was really used."""
        with self._alone():
            self.reserved_tokens -= most.tokens
            self.reserved_money = max(0.0, self.reserved_money - most.money)
            self._mine += used
            self._write()

    def close(self) -> None:
        """Hand what was spent over to the base."""
        if self._own < 0:
            return
        with self._alone():
            base = self._base()
            tokens = base["tokens"] + self._mine.tokens + self.reserved_tokens
            money = base["money"] + self._mine.money + self.reserved_money
            write_json(self.folder / _BASE, {"tokens": tokens, "money": money})
            self.path.unlink()
        os.close(self._own)
        os.close(self._lock)
        self._own = -1

    def abandon(self) -> None:
        """Let go without a word, as a process that is killed does: what was reserved counts as spent from now on."""
        if self._own >= 0:
            os.close(self._own)
            os.close(self._lock)
            self._own = -1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _base(self) -> dict[str, float]:
        return dict(json.loads((self.folder / _BASE).read_bytes()))

    def _look(self) -> tuple[int, float]:
        """Set `tokens` and `money` to what all have spent; returns what the living have reserved."""
        base = self._base()
        tokens, money = int(base["tokens"]), float(base["money"])
        reserved, purse = 0, 0.0
        for file in self.folder.glob("*.state"):
            state, alive = _read(file, own=file == self.path)
            tokens += state[0] + (0 if alive else state[2])
            money += state[1] + (0.0 if alive else state[3])
            reserved += state[2] if alive else 0
            purse += state[3] if alive else 0.0
        self.tokens, self.money = tokens, money
        return reserved, purse

    def _write(self) -> None:
        state = (self._mine.tokens, self._mine.money, self.reserved_tokens, self.reserved_money)
        os.pwrite(self._own, _STATE.pack(*state), 0)


def _read(file: Path, *, own: bool) -> tuple[tuple[int, float, int, float], bool]:
    """The state of one client and whether it lives: while it does, it holds a lock on its file."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(handle, _STATE.size, 0)
        alive = own
        if not own:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                alive = True
    finally:
        os.close(handle)
    return (_STATE.unpack(data) if len(data) == _STATE.size else (0, 0.0, 0, 0.0)), alive
