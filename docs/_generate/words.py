"""Types, defaults and values in the words of a table cell.

Convention: a cell is Markdown on one line, with `|` and `<` made harmless. Types are told as a reader of JSON or YAML
meets them: text, whole number, list of ..., a link to another record's table.
"""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    bytes: "bytes",
    dict: "map",
    list: "list",
    Path: "path",
    type(None): "null",
    Any: "any",
}
ANATOMY = {
    "Level": "level, like `L3`",
    "Disc": "disc, like `L4/5`",
    "LevelRange": "range of levels, like `T12-L2`",
}
_ROLE = re.compile(r":(?:py:)?(?:class|func|mod|meth|attr|data|exc|obj|const):`~?([^`]+)`")
_HASH = r"^[0-9a-f]{64}$"


def plain_roles(text: str) -> str:
    """Sphinx's roles, such as a function named in a docstring, as plain code."""
    return _ROLE.sub(r"`\1`", text)


def cell(text: str) -> str:
    """Text made harmless for a cell of a Markdown table or a paragraph."""
    parts = plain_roles(text).replace("\n", " ").split("`")
    for place in range(0, len(parts), 2):  # outside of code
        parts[place] = parts[place].replace("&", "&amp;").replace("<", "&lt;").replace("*", "\\*")
    return "`".join(parts).replace("|", "\\|").strip()


def code(text: str) -> str:
    """Text as code in a table's cell; a bar inside is kept."""
    safe = (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace("|", "&#124;")
        .replace("*", "&#42;")
        .replace("[", "&#91;")
    )
    return f"<code>{safe}</code>"


def type_words(annotation: Any, metadata: tuple[Any, ...], link: Callable[[type[BaseModel]], str]) -> str:
    """A field's type in words.

    Args:
        annotation: The type as pydantic holds it.
        metadata: Its constraints.
        link: Gives a link to the table of a record or config class.
    """
    limits = _limits(metadata)
    if limits == "hash":
        return "SHA-256 (64 hex digits)"
    return _bare(annotation, link) + (f", {limits}" if limits else "")


def _bare(annotation: Any, link: Callable[[type[BaseModel]], str]) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_words(arguments[0], tuple(arguments[1:]), link)
    if origin is typing.Literal:
        return " · ".join(code("null" if value is None else json.dumps(value)) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_bare(one, link) for one in arguments)
    if origin in (tuple, list, set, frozenset):
        inner = [one for one in arguments if one is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments:
            return f"list of {len(inner)}: " + ", ".join(_bare(one, link) for one in inner)
        if len(inner) == 1 and typing.get_origin(inner[0]) is typing.Literal:
            return "list of any of " + _bare(inner[0], link)
        return "list of " + " or ".join(_bare(one, link) for one in inner)
    if origin is dict:
        return f"map of {_bare(arguments[0], link)} to {_bare(arguments[1], link)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return link(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and annotation.__name__ not in ANATOMY:
        return " · ".join(code(json.dumps(one.value)) for one in annotation)
    if getattr(annotation, "__name__", "") in ANATOMY:
        return ANATOMY[annotation.__name__]
    return PLAIN.get(annotation, code(getattr(annotation, "__name__", str(annotation))))


def _limits(metadata: tuple[Any, ...]) -> str:
    found = []
    for one in metadata:
        if isinstance(one, FieldInfo):
            found.append(_limits(tuple(one.metadata)))
        elif isinstance(one, StringConstraints):
            if one.pattern == _HASH:
                return "hash"
            if one.pattern:
                found.append("like " + code(str(one.pattern)))
            if one.min_length:
                found.append("not empty" if one.min_length == 1 else f"at least {one.min_length} signs")
        elif isinstance(one, annotated_types.MinLen):
            found.append(f"at least {one.min_length}")
        elif isinstance(one, annotated_types.MaxLen):
            found.append(f"at most {one.max_length}")
        else:
            for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
                value = getattr(one, name, None)
                if value is not None:
                    found.append(f"{sign} {value:g}".replace("<", "&lt;"))
            pattern = getattr(one, "pattern", None)
            if isinstance(pattern, str):
                if pattern == _HASH:
                    return "hash"
                found.append("like " + code(pattern))
    return ", ".join(one for one in found if one)


def default_words(field: FieldInfo) -> str:
    """`required`, or the value that stands where nothing is written."""
    if field.is_required():
        return "**required**"
    value = field.default
    if value is PydanticUndefined:
        made: Any = field.default_factory() if field.default_factory else None  # type: ignore[call-arg]
        value = made
    return value_words(value)


def value_words(value: Any, longest: int = 90) -> str:
    """A value as YAML and JSON write it, shortened where it is long."""
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_defaults=True)
        return "its own defaults" if not given else value_words(given, longest)
    if value is None:
        return "null"
    if value == "":
        return "empty"
    if isinstance(value, (tuple, list, dict, set, frozenset)) and not value:
        return "empty"
    text = value if isinstance(value, str) and "\n" not in value else json.dumps(_jsonable(value), ensure_ascii=False)
    return code(text if len(text) <= longest else text[: longest - 1] + "…")


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(_jsonable(key)): _jsonable(one) for key, one in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_jsonable(one) for one in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
