"""Requests to ask the servers of all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from spinemed.chat import ChatRequest, Decoding, Schema
from spinemed.records import Message


class Answer(BaseModel):
    """What the tests ask for."""

    model_config = ConfigDict(extra="forbid")
    verdict: str = Field(max_length=40)
    grade: int = Field(ge=1, le=5)
    notes: list[Annotated[str, Field(max_length=40)]] = Field(max_length=3)


@pytest.fixture(scope="session")
def request_for() -> Callable[..., ChatRequest]:
    """A request with some words and, unless told otherwise, a schema."""

    def make(words: str, *, schema: bool = True, max_tokens: int = 200, **more: Any) -> ChatRequest:
        messages = (Message(role="system", content="You grade discs."), Message(role="user", content=words))
        wanted = Schema(Answer) if schema else None
        return ChatRequest(messages, schema=wanted, decoding=Decoding(max_tokens=max_tokens), **more)

    return make
