"""The interface's words: one catalogue file per language and part, looked up by key.

Convention: `catalogue/en.yaml` and `zh.yaml` hold nested keys, spoken of with points (`queue.title`); values may hold
`{name}` fields. Each part of the application (viewer, agreement, readers, deid) may bring its own catalogue folder.

Trap: a key missing in one language is an error when the server starts, not an English word on a Chinese page.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from spinemed.errors import ConfigError

__all__ = ["LANGUAGES", "Wording", "read_catalogues"]

LANGUAGES: dict[str, str] = {"en": "English", "zh": "中文"}


class Wording:
    """The words of one language; called with a key and the values of its fields."""

    def __init__(self, language: str, words: dict[str, str]) -> None:
        self.language = language
        self.words = words

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key.

        Raises:
            KeyError: No catalogue has the key: an error in a template.
        """
        text = self.words[key]
        return text.format(**values) if values else text

    def known(self, key: str, otherwise: str) -> str:
        """The text of a key that data chose (a task's name), or the data's own word."""
        return self.words.get(key, otherwise)


def _flat(tree: dict[str, Any], above: str, file: Path) -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            out |= _flat(value, f"{key}.", file)
        elif isinstance(value, str):
            out[key] = value
        else:
            raise ConfigError(
                f"is {type(value).__name__}, expected a text", file=file, field=key, cure="put it in quotes"
            )
    return out


def read_catalogues(folders: Iterable[Path]) -> dict[str, Wording]:
    """Read the catalogues of all parts and check that each language says the same keys.

    Raises:
        ConfigError: A file is no catalogue, two parts use one key, or a language lacks one.
    """
    all_words: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    for folder in folders:
        for language, words in all_words.items():
            file = folder / f"{language}.yaml"
            if not file.is_file():
                raise ConfigError("is missing", file=file, cure="translate the other language's file")
            # Texts only: the keys `on`, `yes` and `no` are words here, not truth values.
            tree = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
            if not isinstance(tree, dict):
                raise ConfigError("is no mapping of keys to texts", file=file)
            for key, text in _flat(tree, "", file).items():
                if key in words:
                    raise ConfigError("stands in two catalogues", file=file, field=key, cure="rename one")
                words[key] = text
    every = set().union(*all_words.values())
    for language, words in all_words.items():
        missing = sorted(every - set(words))
        if missing:
            raise ConfigError(f"the {language} catalogue lacks it", field=missing[0], cure="add the text")
    return {language: Wording(language, words) for language, words in all_words.items()}
