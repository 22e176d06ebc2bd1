"""A progress bar that says what a run of requests is doing: done, under way, tokens, money, and what was not answered.

Convention: on standard error, like every bar of SpineMed.

Trap: it shows counts and never content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spinemed.chat.client import Chat, ChatClient

__all__ = ["show_progress"]


@contextmanager
def show_progress(chat: Chat, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar for the block; the value is what :meth:`Chat.ask` takes as `advance`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, state="")

        def advance(number: int) -> None:
            bar.update(task, advance=number, state=_state(chat))

        yield advance


def _state(chat: Chat) -> str:
    lost = sum(number for name, number in chat.counts.items() if name.startswith(("quarantined", "failed")))
    parts = [f"{lost} without an answer"] if lost else []
    if isinstance(chat, ChatClient):
        parts.insert(0, f"{chat.gate.in_flight}/{int(chat.gate.limit)} under way, {chat.ledger.tokens} tokens")
        if chat.ledger.money:
            parts.append(f"{chat.ledger.money:.2f} {chat.config.prices.currency}")
    return ", ".join(parts)
