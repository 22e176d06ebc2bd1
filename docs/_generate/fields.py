"""Tables of the fields of a record or config class: name, type, what stands when it is absent, meaning, example.

Convention: the meaning is the text under the field in the source (`spinemed.documentation`); nothing is typed twice.

Trap: a class may be reached from two pages; its table stands where it was asked for first and is linked from the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from words import ANATOMY, cell, code, default_words, type_words, value_words

from spinemed.documentation import field_texts, models_within


def anchor_of(model: type[BaseModel]) -> str:
    """The anchor of a class's table. Two config classes may share a name, so the module is a part of it."""
    return f"{model.__module__}.{model.__qualname__}".lower().replace(".", "-").replace("_", "-")


def sentence(model: type[BaseModel]) -> str:
    """The docstring of a class as paragraphs."""
    own = inspect.getdoc(model) if "__doc__" in vars(model) else ""
    return "\n\n".join(cell(part) for part in (own or "").split("\n\n") if part.strip())


def field_table(
    model: type[BaseModel], places: Mapping[type[BaseModel], str], here: str, example: Mapping[str, Any] | None = None
) -> str:
    """The table of one class.

    Args:
        model: A pydantic class.
        places: The page that holds each class's table, relative to the site.
        here: The page that is being written, in the same way; links to its own tables need no file.
        example: A valid record as JSON; adds a column with each field's value in it.
    """

    def link(other: type[BaseModel]) -> str:
        if other.__name__ in ANATOMY:
            return ANATOMY[other.__name__]
        place = places.get(other)
        if place is None:
            return code(other.__name__)
        return f"[{other.__name__}]({'' if place == here else _relative(place, here)}#{anchor_of(other)})"

    texts = field_texts(model)
    head = ["field", "type", "default", "meaning"] + (["example"] if example is not None else [])
    rows = [head, ["---"] * len(head)]
    for name, field in model.model_fields.items():
        row = [
            f"<code>{name}</code>",
            type_words(field.annotation, tuple(field.metadata), link),
            default_words(field),
            cell(texts[name]),
        ]
        if example is not None:
            row.append(value_words(example[name], 60) if name in example else "–")
        rows.append(row)
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f'<div class="fields" markdown>\n\n{body}\n\n</div>\n'


def class_part(
    model: type[BaseModel],
    places: Mapping[type[BaseModel], str],
    here: str,
    example: Mapping[str, Any] | None = None,
    level: int = 3,
) -> str:
    """Heading, docstring and table of one class."""
    heading = f"{'#' * level} {model.__name__} {{ #{anchor_of(model)} }}"
    return f"{heading}\n\n{sentence(model)}\n\n{field_table(model, places, here, example)}"


def reached(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """The classes and all that their fields lead to, each once, values of anatomy left out."""
    found: dict[type[BaseModel], None] = {}
    for model in models:
        found.update(dict.fromkeys(one for one in models_within(model) if one.__name__ not in ANATOMY))
    return list(found)


def _relative(place: str, here: str) -> str:
    import posixpath

    return posixpath.relpath(place, posixpath.dirname(here) or ".")
