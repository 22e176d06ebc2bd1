"""What is asked: a conversation, its pictures, how to decode, and the closed schema of the answer.

Convention: pictures are PNG or JPEG bytes in the order of the `<image>` placeholders, as everywhere in SpineMed. The
key of a request is the SHA-256 of its canonical content: the model's identity, roles and words, the hash of each
picture's bytes, decoding and schema. Spelling of JSON, base64 and headers never enters it.

Trap: the key holds nothing about where the request goes; `identity` of the model must change whenever its replies could
(another revision, another server version), or an old reply is taken for a new one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from spinemed.chat.egress import LOCAL, Egress
from spinemed.config import Config
from spinemed.errors import RecordError
from spinemed.records import IMAGE_PLACEHOLDER, Message, content_hash

__all__ = ["ChatRequest", "Decoding", "FunctionCall", "Schema", "ToolRound", "picture_type", "request_key"]


class Decoding(Config):
    """How the model chooses its words."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus of the distribution that is drawn from."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest reply; one that reaches it is not accepted."""
    seed: int | None = Field(default=0, ge=0)
    """Seed of the draw, where the server honours it."""


@dataclass(frozen=True)
class Schema:
    """A closed JSON schema, made from a pydantic model that also checks the reply.

    Args:
        model: A model with `extra="forbid"` whose texts and lists all have a largest length: an open schema invites
            endless whitespace and repetition under constrained decoding.

    Raises:
        ValueError: An object of the schema is open, or a text or list has no largest length.
    """

    model: type[BaseModel]

    def __post_init__(self) -> None:
        for place, part in _parts(self.json_schema):
            kind = part.get("type")
            if kind == "object" and part.get("additionalProperties") is not False:
                raise ValueError(f"{self.name}{place} is open: forbid extra fields")
            if kind == "string" and not {"maxLength", "enum", "const", "pattern"} & set(part):
                raise ValueError(f"{self.name}{place} is a text without max_length")
            if kind == "array" and "maxItems" not in part:
                raise ValueError(f"{self.name}{place} is a list without max_length")

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.__name__

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """The schema as sent."""
        return self.model.model_json_schema()

    @cached_property
    def sha256(self) -> str:
        """Hash of the schema as sent."""
        return content_hash(self.json_schema)

    @cached_property
    def text(self) -> str:
        """The schema as compact JSON."""
        return json.dumps(self.json_schema, ensure_ascii=False, separators=(",", ":"))

    def check(self, text: str) -> tuple[BaseModel | None, str]:
        """The parsed value, or None and the first fault: its field and what is wrong, never the value itself.

        Nothing is converted: the text "3" is no number.
        """
        try:
            return self.model.model_validate_json(text, strict=True), ""
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            return None, f"{'.'.join(map(str, first['loc'])) or self.name}: {first['msg']}"


def _parts(schema: Any, place: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every sub-schema with its place; the names of properties are not schemas."""
    if isinstance(schema, list):
        return [found for number, part in enumerate(schema) for found in _parts(part, f"{place}[{number}]")]
    if not isinstance(schema, dict):
        return []
    found = [(place, schema)]
    for name, part in schema.items():
        if name in ("properties", "$defs"):
            for inner, value in part.items():
                found += _parts(value, f"{place}.{inner}")
        elif name in ("items", "anyOf", "oneOf", "allOf", "prefixItems"):
            found += _parts(part, place)
    return found


@dataclass(frozen=True)
class FunctionCall:
    """A function that a model wants called."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it: data, to be checked by whoever runs it."""

    @property
    def content(self) -> dict[str, Any]:
        """As chat completions write it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class ToolRound:
    """One turn of a model that called functions, and what they gave."""

    text: str
    calls: tuple[FunctionCall, ...]
    results: tuple[str, ...]
    """One for each call, in order."""

    def content(self) -> list[dict[str, Any]]:
        """The turns in the layout of chat completions."""
        said = {"role": "assistant", "content": self.text or None, "tool_calls": [call.content for call in self.calls]}
        told = zip(self.calls, self.results, strict=True)
        return [said, *({"role": "tool", "tool_call_id": call.id, "content": result} for call, result in told)]


@dataclass(frozen=True)
class ChatRequest:
    """One request, complete.

    Args:
        messages: The conversation; it ends with a user turn.
        images: Picture bytes in the order of the placeholders in the user turns.
        decoding: How to choose words.
        schema: What the answer must be; None takes any text.
        egress: Where this content may be sent.
        tag: What it is for, in the log; no part of the key.
        verbatim: Whether line breaks around pictures are sent, too, as training laid them out; else they are left out.
        tools: Functions that may be called, each as the JSON of OpenAI's form; none takes words alone.
        rounds: What was called after the last turn, and what came of it.
        last_round: Whether no further call is allowed.

    Raises:
        RecordError: Placeholders and pictures differ in number, or the last turn is not the user's.
    """

    messages: tuple[Message, ...]
    images: tuple[bytes, ...] = ()
    decoding: Decoding = field(default_factory=Decoding)
    schema: Schema | None = None
    egress: Egress = LOCAL
    tag: str = ""
    verbatim: bool = False
    tools: tuple[str, ...] = ()
    rounds: tuple[ToolRound, ...] = ()
    last_round: bool = False

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise RecordError("a request ends with a user turn", field="messages", cure="add the question last")
        places = sum(turn.content.count(IMAGE_PLACEHOLDER) for turn in self.messages if turn.role == "user")
        if places != len(self.images):
            raise RecordError(
                f"{places} image placeholders for {len(self.images)} pictures",
                field="images",
                cure="escape placeholders in source texts, and give one picture for each of ours",
            )
        for image in self.images:
            picture_type(image)

    @cached_property
    def image_sha256(self) -> tuple[str, ...]:
        """Hash of each picture's bytes."""
        return tuple(hashlib.sha256(image).hexdigest() for image in self.images)

    def content(self, *, with_images: bool) -> list[dict[str, Any]]:
        """The turns in the layout of chat completions.

        Args:
            with_images: Pictures as data URLs; otherwise their hash stands there, which is what the log keeps.
        """
        waiting = iter(zip(self.images, self.image_sha256))
        turns: list[dict[str, Any]] = []
        for turn in self.messages:
            if turn.role != "user" or IMAGE_PLACEHOLDER not in turn.content:
                turns.append({"role": turn.role, "content": turn.content})
                continue
            parts: list[dict[str, Any]] = []
            for number, text in enumerate(turn.content.split(IMAGE_PLACEHOLDER)):
                if number:
                    image, digest = next(waiting)
                    url = f"sha256:{digest}"
                    if with_images:
                        url = f"data:{picture_type(image)};base64,{base64.b64encode(image).decode()}"
                    parts.append({"type": "image_url", "image_url": {"url": url}})
                kept = text if self.verbatim else text.strip("\n")
                if kept if self.verbatim else kept.strip():
                    parts.append({"type": "text", "text": kept})
            turns.append({"role": turn.role, "content": parts})
        return [*turns, *(turn for one in self.rounds for turn in one.content())]

    @cached_property
    def tools_sha256(self) -> str:
        """Hash of the functions as sent."""
        return content_hash([json.loads(tool) for tool in self.tools])

    def with_schema_written(self) -> ChatRequest:
        """The same request with its schema in the first turn, for models that nothing constrains."""
        if self.schema is None:
            return self
        rule = f"Reply with one JSON object that follows this JSON schema and nothing else:\n{self.schema.text}"
        first, *rest = self.messages
        if first.role == "system":
            return replace(self, messages=(Message(role="system", content=f"{first.content}\n\n{rule}"), *rest))
        return replace(self, messages=(Message(role="system", content=rule), *self.messages))

    def with_turns(self, *turns: Message) -> ChatRequest:
        """The same request with further turns."""
        return replace(self, messages=(*self.messages, *turns))


def picture_type(image: bytes) -> str:
    """Media type of picture bytes.

    Raises:
        RecordError: Neither PNG nor JPEG.
    """
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    raise RecordError("a picture is neither PNG nor JPEG", field="images", cure="convert it first")


def request_key(request: ChatRequest, identity: dict[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on.

    Args:
        request: What is asked.
        identity: The model: name, revision and whatever else its replies depend on. Plain JSON.
    """
    content: dict[str, Any] = {
        "model": identity,
        "messages": [[turn.role, turn.content] for turn in request.messages],
        "images": list(request.image_sha256),
        "decoding": request.decoding.model_dump(mode="json"),
        "schema": None if request.schema is None else request.schema.sha256,
    }
    if request.verbatim:
        content["verbatim"] = True
    if request.tools:
        content["tools"] = request.tools_sha256
        content["rounds"] = [one.content() for one in request.rounds]
        content["last_round"] = request.last_round
    return content_hash(content)
