"""Reference of the file formats: tables of every record class, a valid example of each, and their JSON Schemas.

Convention: hand-written pages under `docs/formats/` say what a file is for and where it lies; a line
`<!-- records: Source PatientBasis -->` in them is replaced by the tables of those classes.

Trap: examples are validated while the site is built, so a record whose rules change must have its example changed too.
"""

from __future__ import annotations

import json
import re
from typing import Any

from example_records import examples
from fields import class_part
from links import ROOT
from pydantic import BaseModel

import spinemed.records as contracts
from spinemed.documentation import field_texts
from spinemed.records import Record, Sparse

_MACRO = re.compile(r"^<!-- records: ([\w ]+) -->$", re.MULTILINE)


def record_classes() -> list[type[Record]]:
    """Every record class that `spinemed.records` makes public, the bases left out."""
    found = [getattr(contracts, name) for name in contracts.__all__]
    return [one for one in found if isinstance(one, type) and issubclass(one, Record) and one not in (Record, Sparse)]


def record_places() -> dict[type[BaseModel], str]:
    """Each record class with the page that holds its table."""
    by_name = {one.__name__: one for one in record_classes()}
    places: dict[type[BaseModel], str] = {}
    for page in sorted((ROOT / "docs" / "formats").glob("*.md")):
        for match in _MACRO.finditer(page.read_text(encoding="utf-8")):
            for name in match[1].split():
                places[by_name[name]] = f"formats/{page.name}"
    return places


def expand(markdown: str, here: str, places: dict[type[BaseModel], str]) -> str:
    """A page with its macros replaced by tables, examples and links to schemas."""
    by_name = {one.__name__: one for one in record_classes()}
    valid = examples()

    def tables(match: re.Match[str]) -> str:
        parts = []
        for name in match[1].split():
            model = by_name[name]
            shown = valid[name]
            parts.append(class_part(model, places, here, shown))
            body = json.dumps(shown, indent=2, ensure_ascii=False)
            parts.append(f'??? example "A whole {name} as JSON"\n\n    ```json\n{_indented(body)}\n    ```\n')
            parts.append(f"JSON Schema: [{name}.json](../schemas/{name}.json)\n")
        return "\n".join(parts)

    return _MACRO.sub(tables, markdown)


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


def schemas() -> dict[str, str]:
    """The JSON Schema of each record, with the fields' texts as descriptions: path in the site to text."""
    found = {}
    for model in record_classes():
        schema = model.model_json_schema()
        _describe(schema, model)
        for name, inner in schema.get("$defs", {}).items():
            other = getattr(contracts, name, None)
            if isinstance(other, type) and issubclass(other, BaseModel):
                _describe(inner, other)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        found[f"schemas/{model.__name__}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    texts = field_texts(model)
    for name, field in schema.get("properties", {}).items():
        if texts.get(name) and "description" not in field:
            field["description"] = texts[name]
