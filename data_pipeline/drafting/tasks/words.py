"""Wordings of the rule writer for its four tasks: one YAML file for each task and language, read once, hashed.

Convention: a file maps a phrase's name to its wordings, all of which say the same; one is drawn. `$name` is replaced
by a value, in one pass and without evaluating anything.

Trap: the hash covers the whole file and that of the shared phrases, because both shape what is written.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_pipeline.writers.schemas import Language, TaskName
from spinemed.errors import ConfigError
from spinemed.questions import Template

__all__ = ["TEMPLATES", "Words", "load_words", "ruled_templates", "template_of"]

TEMPLATES = Path(__file__).with_name("templates")
"""Folder of the wordings, one YAML file for each task and language."""
_FIELD = re.compile(r"\$([a-z_]+)")
_HAN_GAP = re.compile(r"(?<=[\u4e00-\u9fff]) +(?=[\u4e00-\u9fff])")
"""Blanks that a filled term leaves between Chinese signs."""
_TASKS: tuple[TaskName, ...] = ("multiple_choice", "open", "consultation", "report")
_LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """The phrases of one task in one language."""

    task: TaskName
    language: Language
    phrases: Mapping[str, tuple[str, ...]]
    terms: Mapping[str, str]
    """Fixed terms: `shape.wedge`, `modality.MR`, ..."""
    ask: str
    sha256: str

    def say(self, name: str, rng: np.random.Generator, /, **values: object) -> str:
        """One wording of a phrase, filled.

        Raises:
            ConfigError: The phrase does not exist or names a value that is not given.
        """
        wordings = self.phrases.get(name)
        if not wordings:
            field = f"{self.task}.{self.language}"
            raise ConfigError(f"has no phrase '{name}'", file=TEMPLATES, field=field, cure="add it")
        text = wordings[int(rng.integers(len(wordings)))] if len(wordings) > 1 else wordings[0]

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise ConfigError(
                    f"the phrase '{name}' asks for ${match[1]}, which it is not given", file=TEMPLATES,
                    field=f"{self.task}.{self.language}", cure=f"use one of: {', '.join(sorted(values)) or 'nothing'}",
                )  # fmt: skip
            return str(values[match[1]])

        filled = _FIELD.sub(value, text)
        return _HAN_GAP.sub("", filled) if self.language == "zh" else filled

    def term(self, group: str, name: str) -> str | None:
        """The word for a coded value, or None where there is none."""
        return self.terms.get(f"{group}.{name}")

    def join(self, sentences: list[str]) -> str:
        """Sentences as one paragraph."""
        return ("" if self.language == "zh" else " ").join(sentence for sentence in sentences if sentence)

    def listed(self, names: list[str]) -> str:
        """Names in a row."""
        return ("、" if self.language == "zh" else ", ").join(names)


def template_of(task: TaskName, language: Language) -> str:
    """Name of the template under which such an item is composed and checked."""
    return f"ruled_{task}_{language}"


@functools.cache
def load_words(task: TaskName, language: Language, folder: Path = TEMPLATES) -> Words:
    """The wordings of a task in a language, with the phrases that all tasks share.

    Raises:
        ConfigError: A file is missing, no YAML, or holds something that is no list of texts.
    """
    shared, _, before = _read(folder / f"shared.{language}.yaml")
    own, ask, after = _read(folder / f"{task}.{language}.yaml")
    twice = sorted(set(shared["phrases"]) & set(own["phrases"]))
    if twice:
        file = folder / f"{task}.{language}.yaml"
        raise ConfigError(f"says again what shared.{language}.yaml says", file=file, field=twice[0], cure="remove one")
    digest = hashlib.sha256(f"{before}{after}".encode()).hexdigest()
    return Words(task, language, shared["phrases"] | own["phrases"], shared["terms"] | own["terms"], ask, digest)


def _read(file: Path) -> tuple[dict[str, dict[str, Any]], str, str]:
    try:
        data = file.read_bytes()
        values = yaml.safe_load(data)
        phrases = {name: tuple(texts) for name, texts in values["phrases"].items()}
        groups = values.get("terms", {}).items()
        terms = {f"{group}.{name}": text for group, names in groups for name, text in names.items()}
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"holds no wordings ({error})", file=file, cure="see the other files") from error
    wrong = [name for name, texts in phrases.items() if not texts or not all(isinstance(text, str) for text in texts)]
    if wrong or not all(isinstance(text, str) for text in terms.values()):
        raise ConfigError("holds something that is no text", file=file, field=", ".join(wrong), cure="quote it")
    return {"phrases": phrases, "terms": terms}, values.get("ask", ""), hashlib.sha256(data).hexdigest()


def ruled_templates() -> dict[str, Template]:
    """For each task and language, the frame around what the rule writer wrote."""
    found = {}
    for task in _TASKS:
        for language in _LANGUAGES:
            words = load_words(task, language)
            name = template_of(task, language)
            found[name] = Template(name, ("$question",), words.ask, "", words.sha256)
    return found
