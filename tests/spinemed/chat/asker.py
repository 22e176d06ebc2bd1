"""A small program that asks: run by the tests as a child, so that it can be killed.

python asker.py URL LOG OUT NUMBER IN_FLIGHT
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from spinemed.chat import ChatClient, ChatRequest, RequestLog, Schema, ServerConfig
from spinemed.records import Message
from spinemed.tables import write_text


class Note(BaseModel):
    """A closed answer."""

    model_config = ConfigDict(extra="forbid")
    said: str = Field(max_length=60)
    ids: list[Annotated[str, Field(max_length=20)]] = Field(max_length=4)


def main(url: str, log: str, out: str, number: int, in_flight: int) -> None:
    """Ask, and write what came as one file."""
    config = ServerConfig(url=url, model="by-content", max_in_flight=in_flight, backoff_s=0.01)
    # Every eleventh gets a repair turn, others of every seventeenth never become an answer; by content, each time.
    marks = {0: " @@truncated:0@@", 5: " @@refusal:0@@"}
    requests = [
        ChatRequest(
            (Message(role="user", content=f"Question {n}{marks.get(n % 11 if n % 11 == 0 else n % 17, '')}"),),
            schema=Schema(Note),
        )
        for n in range(number)
    ]
    with RequestLog(log) as opened, ChatClient(config, opened) as chat:
        lines = [
            json.dumps([r.key, r.outcome, r.text, r.reason, r.repaired_from, r.keys, r.usage.tokens])
            for r in chat.ask(requests)
        ]
    write_text(Path(out), "\n".join(lines))


if __name__ == "__main__":
    # A job in a shell's background ignores SIGINT and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))  # type: ignore[arg-type]
