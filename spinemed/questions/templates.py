"""Wording templates: YAML files beside this module, read once, hashed, filled without evaluating anything.

Convention: a template has several wordings, an `ask` line that states the form of the answer, and for quoted text a
`passage` line. `$name` is replaced in one pass, so a source text that holds `$name` stays as it is.

Trap: the hash covers the whole file, because a change to a neighbour may change which wording a seed picks.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from spinemed.errors import ConfigError
from spinemed.records import escape_placeholder

__all__ = ["Template", "load_templates"]

_FOLDER = Path(__file__).with_name("templates")
_FIELD = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True)
class Template:
    """One kind of question."""

    name: str
    wordings: tuple[str, ...]
    ask: str
    passage: str
    sha256: str
    """Hash of the file that holds it."""

    def fill(self, wording: int, values: Mapping[str, str]) -> str:
        """The question text: passage (if any), wording, form of the answer.

        `<image>` inside a value is escaped, so that source text never counts as a picture.

        Raises:
            ConfigError: The template names a value that is not given.
        """
        lines = [self._line(self.passage, values)] if self.passage else []
        lines.append(
            " ".join(part for part in (self._line(self.wordings[wording], values), self.ask_line(values)) if part)
        )
        return "\n".join(lines)

    def question(self, wording: int, values: Mapping[str, str]) -> str:
        """The wording alone, filled."""
        return self._line(self.wordings[wording], values)

    def ask_line(self, values: Mapping[str, str]) -> str:
        """The line that states the form of the answer, filled."""
        return self._line(self.ask, values)

    def _line(self, text: str, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ConfigError(
                    f"template '{self.name}' asks for ${match[1]}, which this question has not",
                    field=match[1],
                    cure=f"use one of: {', '.join(sorted(values))}",
                )
            return escape_placeholder(values[match[1]])

        return _FIELD.sub(value, text)


@functools.cache
def load_templates(folder: Path = _FOLDER) -> dict[str, Template]:
    """All templates of a folder, by name.

    Raises:
        ConfigError: A file is no YAML, a template lacks wordings, or a name stands twice.
    """
    found: dict[str, Template] = {}
    for file in sorted(folder.glob("*.yaml")):
        data = file.read_bytes()
        try:
            values = yaml.safe_load(data)
        except yaml.YAMLError as error:
            raise ConfigError(f"is not YAML ({error})", file=file, cure="mend it") from error
        digest = hashlib.sha256(data).hexdigest()
        for name, fields in values.items():
            strangers = set(fields) - {"wordings", "ask", "passage"}
            if strangers or not fields.get("wordings") or name in found:
                raise ConfigError(
                    f"template '{name}' has no wordings, stands twice or holds unknown fields {sorted(strangers)}",
                    file=file,
                    field=name,
                    cure="give `wordings`, `ask` and, for quoted text, `passage`",
                )
            found[name] = Template(name, tuple(fields["wordings"]), fields["ask"], fields.get("passage", ""), digest)
    return found
