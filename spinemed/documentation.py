"""What the house says of itself: the text under each field of a config or record class, the commands of its pages.

Convention: a field of a pydantic class is documented by the string that stands directly under it (an attribute
docstring), with its unit where the name does not say it. `Field(description=...)` and, for classes of many short
fields, an `Attributes:` section of the class docstring count as well. Both the documentation's schema tables and the
test that no field is undocumented read them through this module.

Trap: only configs hand these texts to pydantic (`use_attribute_docstrings`); a record's text is in its source alone,
so that the JSON schemas sent to language models, and every hash of them, do not change with a sentence.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

__all__ = ["BashBlock", "FieldText", "bash_blocks", "field_texts", "models_within", "texts_in_source"]


@dataclass(frozen=True)
class FieldText:
    """One field as written: its class, line and text.

    Attributes:
        owner: Qualified name of the class in its module.
        name: The field.
        line: Line in the file, from 1.
        text: What stands under it, on one line; empty where nothing does.
    """

    owner: str
    name: str
    line: int
    text: str


def texts_in_source(source: str) -> list[FieldText]:
    """Every annotated attribute of every class in a module's source, with the text under it.

    Class variables, private names and `model_config` are no fields and are left out.
    """
    found: list[FieldText] = []
    _collect(ast.parse(source).body, "", found)
    return found


def _collect(body: list[ast.stmt], outside: str, found: list[FieldText]) -> None:
    for node in body:
        if not isinstance(node, ast.ClassDef):
            continue
        owner = f"{outside}{node.name}"
        listed = _listed(ast.get_docstring(node) or "")
        for place, statement in enumerate(node.body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            name = statement.target.id
            if name.startswith("_") or name == "model_config" or "ClassVar" in ast.dump(statement.annotation):
                continue
            below = node.body[place + 1] if place + 1 < len(node.body) else None
            text = _plain_string(below) or _description(statement) or listed.get(name, "")
            found.append(FieldText(owner, name, statement.lineno, " ".join(text.split())))
        _collect(node.body, f"{owner}.", found)


def _listed(docstring: str) -> dict[str, str]:
    """The entries of an `Attributes:` section: `name: text` or `name, name: text`, continued by deeper lines."""
    texts: dict[str, str] = {}
    names: list[str] = []
    inside, indent = False, 0
    for line in docstring.splitlines():
        if line.strip() == "Attributes:":
            inside, indent = True, len(line) - len(line.lstrip()) + 4
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth < indent:
                break
            entry = re.match(r"([a-z_]\w*(?:, [a-z_]\w*)*): +(.*)", line.strip(), re.IGNORECASE)
            if depth == indent and entry:
                names = entry[1].split(", ")
                texts.update(dict.fromkeys(names, entry[2]))
            else:
                texts.update({name: f"{texts[name]} {line.strip()}" for name in names})
    return texts


def _plain_string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _description(statement: ast.AnnAssign) -> str:
    """The `description=` of a `Field(...)` in the annotation or the default."""
    for part in (statement.annotation, statement.value):
        for node in ast.walk(part) if part is not None else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
                for keyword in node.keywords:
                    if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
    return ""


@functools.cache
def _module_texts(file: str) -> dict[tuple[str, str], str]:
    source = Path(file).read_text(encoding="utf-8")
    return {(field.owner, field.name): field.text for field in texts_in_source(source)}


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The text of each field of a class, inherited ones included, in the order of its fields.

    A field that a subclass narrows without a word keeps the text of the class above. Fields without any are empty.
    """
    texts = {}
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split())
        for owner in model.__mro__:
            if text:
                break
            module = sys.modules.get(owner.__module__)
            if not issubclass(owner, BaseModel) or owner is BaseModel or module is None:
                continue
            try:
                file = inspect.getsourcefile(module)
            except TypeError:  # a module without a file, such as an interactive session
                continue
            if file is not None:
                text = _module_texts(file).get((owner.__qualname__, name), "")
        texts[name] = text
    return texts


def models_within(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A class and all model classes that its fields lead to, each once, in the order in which they are met."""
    waiting, seen = [model], {model}
    while waiting:
        one = waiting.pop(0)
        yield one
        for field in one.model_fields.values():
            for inner in _classes(field.annotation):
                if inner not in seen:
                    seen.add(inner)
                    waiting.append(inner)


def _classes(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from _classes(argument)


@dataclass(frozen=True)
class BashBlock:
    """One ```` ```bash ```` block of a page.

    Attributes:
        line: Line of its first command in the page, from 1.
        text: What stands in it.
    """

    line: int
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments, continued lines joined."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        bare = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines()]
        return [line for line in bare if line]

    @property
    def takes_minutes(self) -> bool:
        """Whether a comment in it says so, as in `# about ten minutes`."""
        return re.search(r"#.*\bminutes?\b", self.text) is not None

    @property
    def installs(self) -> bool:
        """Whether it makes an environment or calls make, which a test of the checkout cannot do from inside."""
        return any(re.match(r"make |pip |python3? -m venv", line) for line in self.commands)


def bash_blocks(page: str) -> list[BashBlock]:
    """The bash blocks of a page in Markdown: what a reader may paste as it stands. Other fences are no commands."""
    found = []
    for match in re.finditer(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        found.append(BashBlock(page[: match.start(1)].count("\n") + 1, match[1]))
    return found
