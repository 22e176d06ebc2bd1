"""The protocol between the runner and whatever answers.

Convention: an answerer sees a conversation and the bytes of its pictures, never the truth. It returns one reply per
request, in order, and says what became of a request instead of raising: `refused`, `truncated`, `timed_out`, `failed`
and `api_error` are outcomes, counted apart from wrong answers. A mendable fault of the whole answerer (no such
checkpoint) is raised.

Trap: `identity` goes into every request hash and decides what a resumed run may keep, so it must change whenever the
replies could.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spinemed.records import Message, Outcome, ToolCall

__all__ = ["Answerer", "Reply", "Request"]


@dataclass(frozen=True)
class Request:
    """One question as sent: the conversation and the pictures in the order of their placeholders."""

    sample_id: str
    messages: tuple[Message, ...]
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What came back: the words, or why there are none."""

    text: str = ""
    outcome: Outcome = "answered"
    detail: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Functions that were called on the way, in their order."""


class Answerer(Protocol):
    """Anything that can be asked."""

    @property
    def kind(self) -> str:
        """`local`, `server`, `vllm`, `majority`, `random` or `scripted`; decides the role in comparisons."""

    @property
    def model(self) -> str:
        """Name that goes into each prediction; two different models never share it."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the replies depend on besides the request: weights by hash, generation settings, seed. Plain JSON."""

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order."""
