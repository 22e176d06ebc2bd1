"""An answerer that follows a script: for tests, and for replies that were collected elsewhere.

Convention: the script maps a sample id to a reply text or to a :class:`~bench.runner.answerers.Reply` with another
outcome (refused, timed_out, failed). What the script does not name is answered with `default`.

Trap: a scripted system is not a model; its `kind` says so on the board.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.runner.answerers import Reply, Request
from spinemed.records import content_hash

__all__ = ["ScriptedAnswerer"]


class ScriptedAnswerer:
    """Replies from a table.

    Args:
        script: Reply by sample id.
        default: Reply for all other samples.
        name: Goes into `model`.
        seconds: Time each request takes, to make a slow answerer.
    """

    kind = "scripted"

    def __init__(
        self,
        script: Mapping[str, str | Reply],
        *,
        default: str | Reply = "",
        name: str = "scripted",
        seconds: float = 0.0,
    ) -> None:
        self.model = name
        self.asked: list[Request] = []
        """Every request so far, as received."""
        self._script = dict(script)
        self._default = default
        self._seconds = seconds

    @property
    def identity(self) -> dict[str, Any]:
        """Hash of the whole script."""
        plain = {name: _plain(reply) for name, reply in self._script.items()}
        return {"script_sha256": content_hash({"replies": plain, "default": _plain(self._default)})}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The script's reply for each request."""
        replies = []
        for request in requests:
            self.asked.append(request)
            if self._seconds:
                time.sleep(self._seconds)
            reply = self._script.get(request.sample_id, self._default)
            replies.append(reply if isinstance(reply, Reply) else Reply(reply))
        return replies


def _plain(reply: str | Reply) -> list[str]:
    return ["answered", reply, ""] if isinstance(reply, str) else [reply.outcome, reply.text, reply.detail]
