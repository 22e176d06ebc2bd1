"""What came back, judged: an answer that keeps its schema, or a named reason why it is none.

Convention: :func:`judge` is pure; it reads the body of a logged exchange and nothing else, so a resumed run judges as
the first one did. A reply is `answered`; or `quarantined`, when the model answered but not as asked, also after its one
repair turn; or `failed`, when no reply came. Reasons are a closed list, so that reports can count them.

Trap: constrained decoding promises a schema and still gives endless whitespace, truncated JSON, or JSON that a server
never checked. Everything is checked again here, and `finish_reason=length` is never an answer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from spinemed.chat.request import ChatRequest, FunctionCall
from spinemed.records import Message, escape_placeholder

__all__ = ["REPAIRABLE", "Judged", "Reason", "Reply", "Usage", "judge", "repair_of", "usage_of"]

Reason = Literal[
    "",
    # The model's: quarantined.
    "length",
    "whitespace_loop",
    "empty",
    "not_json",
    "wrong_schema",
    "refused",
    # The server's, about this request: quarantined.
    "rejected",
    "malformed_reply",
    # No reply: failed.
    "timed_out",
    "connection",
    "server_error",
    "overloaded",
    "redirected",
    "reply_too_large",
]

REPAIRABLE = frozenset({"length", "whitespace_loop", "empty", "not_json", "wrong_schema"})
"""What one more turn may mend."""

_WHITESPACE_LOOP = re.compile(r"\s{100}")
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_LONGEST_ECHO = 4000
_MOST_COUNTED = 10**12  # no server spends more tokens on one request: beyond it, the count is nonsense
_QUESTION = (
    "Your reply could not be used: {reason}; {detail}. Reply again to the request above with one JSON object that "
    "follows its schema and nothing else, without line breaks, as short as it can be."
)


@dataclass(frozen=True)
class Usage:
    """What requests cost, repair turn included. Money by the price table of the time when they were sent."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            round(self.money + other.money, 9),
        )

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Judged:
    """One exchange, judged."""

    text: str = ""
    value: BaseModel | None = None
    reason: Reason = ""
    detail: str = ""
    calls: tuple[FunctionCall, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What became of one request. Nothing in it depends on when or in which order replies arrived."""

    key: str
    """Hash of the request."""
    outcome: Literal["answered", "quarantined", "failed"]
    text: str = ""
    value: BaseModel | None = None
    """The parsed answer, where a schema was asked for."""
    reason: Reason = ""
    """Of the last reply, where it is no answer."""
    detail: str = ""
    usage: Usage = Usage()
    repaired_from: Reason = ""
    """Why the first reply was no answer, where there was a second turn."""
    keys: tuple[str, ...] = ()
    """All exchanges in the log that this reply rests on."""
    calls: tuple[FunctionCall, ...] = ()
    """Functions that the model wants called instead of an answer; only where the request offers some."""


def judge(request: ChatRequest, exchange: dict[str, Any]) -> Judged:
    """Judge a logged exchange: status and body of a reply.

    Args:
        request: What was asked.
        exchange: `status` and `reply` as logged.
    """
    status, body = int(exchange["status"]), str(exchange["reply"])
    if status != 200:
        return Judged(reason="rejected", detail=f"status {status}: {shorten(body)}")
    try:
        choice = json.loads(body)["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return Judged(reason="malformed_reply", detail=f"no chat completion ({type(error).__name__})")
    # Half of a surrogate pair is no character: no table and no page could hold it.
    text = text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
    if refusal or finish == "content_filter":
        return Judged(text, reason="refused", detail="the model or its filter declined")
    loop = _WHITESPACE_LOOP.search(text)
    if finish == "length":
        if loop:
            return Judged(text, reason="whitespace_loop", detail="endless whitespace up to the token limit")
        return Judged(text, reason="length", detail=f"reached the limit of {request.decoding.max_tokens} tokens")
    if request.tools and not request.last_round and message.get("tool_calls"):
        calls = _calls(message["tool_calls"])
        if calls is None:
            return Judged(text, reason="malformed_reply", detail="a call of a function without a name or arguments")
        return Judged(text, calls=calls)
    if not text.strip():
        return Judged(text, reason="whitespace_loop" if loop else "empty", detail="no words")
    if request.schema is None:
        return Judged(text)
    fenced = _FENCE.match(text)
    plain = fenced[1] if fenced else text
    try:
        json.loads(plain, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        fault = "endless whitespace" if loop else f"is no JSON ({shorten(str(error), 120)})"
        return Judged(text, reason="whitespace_loop" if loop else "not_json", detail=fault)
    parsed, fault = request.schema.check(plain)
    if parsed is None:
        return Judged(text, reason="wrong_schema", detail=fault)
    return Judged(text, value=parsed)


def _calls(told: Any) -> tuple[FunctionCall, ...] | None:
    """The calls of a message; None where one has no name, or its arguments are no text."""
    found = []
    for number, one in enumerate(told if isinstance(told, list) else [None]):
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return None
        arguments = function.get("arguments")
        arguments = json.dumps(arguments, sort_keys=True) if isinstance(arguments, dict) else arguments or "{}"
        if not isinstance(arguments, str):
            return None
        name, written = (part.encode("utf-8", "replace").decode() for part in (function["name"], arguments))
        found.append(FunctionCall(str(one.get("id") or f"call_{number}"), name, written))
    return tuple(found)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names stand once; with twins, what was meant would be a guess."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def repair_of(request: ChatRequest, judged: Judged) -> ChatRequest | None:
    """The one further turn that may mend a reply, or None where none would.

    Only requests with a schema have one. The model's own words are shown to it again only where they end; a loop would
    only teach it to go on.
    """
    if request.schema is None or judged.reason not in REPAIRABLE:
        return None
    echo = "(no usable reply)"
    if judged.reason in ("not_json", "wrong_schema") and len(judged.text) <= _LONGEST_ECHO:
        echo = judged.text
    question = _QUESTION.format(reason=judged.reason.replace("_", " "), detail=judged.detail)
    return request.with_turns(
        Message(role="assistant", content=escape_placeholder(echo)),
        Message(role="user", content=escape_placeholder(question)),
    )


def usage_of(body: str) -> tuple[int, int] | None:
    """Prompt and completion tokens as the server counted them; None where it does not say."""
    try:
        usage = json.loads(body)["usage"]
        found = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    return found if min(found) >= 0 and max(found) <= _MOST_COUNTED else None


def shorten(text: str, most: int = 300) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"
