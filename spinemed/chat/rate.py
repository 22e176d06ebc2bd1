"""How many requests are under way at once: more while the server answers, half as many when it says no.

Convention: additive increase, multiplicative decrease, as in TCP congestion control (Jacobson 1988; Chiu and Jain
1989): the limit doubles each round trip until the first refusal, then grows by one each round trip; 429, 503 and
timeouts halve it. Requests that were sent before a halving do not halve again. `Retry-After` closes the gate until it
has passed.

Trap: the limit grows only while it is what holds requests back, or an idle client would arrive at its most by itself.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
from collections import deque

__all__ = ["Gate", "retry_after"]


class Gate:
    """Lets requests through, up to an adaptive limit.

    Args:
        start: How many at first.
        most: Never more than this.
    """

    def __init__(self, start: int, most: int) -> None:
        self.limit = float(min(start, most))
        self.most = most
        self.in_flight = 0
        self.halvings = 0
        self._threshold = float(most)
        self._closed_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._opening: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Wait for a place. Returns the ticket to hand back."""
        loop = asyncio.get_running_loop()
        if not self._waiting and self.in_flight < int(self.limit) and loop.time() >= self._closed_until:
            self.in_flight += 1
            return self.halvings
        place = loop.create_future()
        self._waiting.append(place)
        self._let_in()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise
        return self.halvings

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._let_in()

    def succeeded(self) -> None:
        """A reply came: allow more, if the limit was what held others back."""
        if self.in_flight + 1 >= int(self.limit):
            step = 1.0 if self.limit < self._threshold else 1.0 / self.limit
            self.limit = min(float(self.most), self.limit + step)

    def refused(self, ticket: int, wait_s: float = 0.0) -> None:
        """The server is overloaded: halve, once for all that was under way, and stay closed for `wait_s`."""
        loop = asyncio.get_running_loop()
        if ticket == self.halvings:
            self.halvings += 1
            self.limit = max(1.0, self.limit / 2)
            self._threshold = self.limit
        self._closed_until = max(self._closed_until, loop.time() + wait_s)

    def _let_in(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._closed_until:
            if self._waiting and (self._opening is None or self._opening.cancelled()):
                self._opening = loop.call_at(self._closed_until, self._open)
            return
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def _open(self) -> None:
        self._opening = None
        self._let_in()


def retry_after(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3): a number, or a date.

    Returns:
        None where the header is absent or unreadable; never negative.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
