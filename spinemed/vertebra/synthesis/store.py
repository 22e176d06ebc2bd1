"""A trained synthesiser as a folder: config, weights, and a card that says what it learned from.

Convention: `card.json` (kind, origin, note, what it was trained on, hashes of config and weights), `config.json`,
`*.safetensors`, and `*.onnx` for other programs. No pickle is read.

The trap: weights of another training with the same config load without complaint; so the card carries their hash, and
it is compared on reading.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from spinemed.errors import ModelError
from spinemed.tables import file_sha256, parse_json, write_json
from spinemed.vertebra.synthesis.interface import Synthesiser

__all__ = ["CARD", "CURE", "Card", "Kind", "load_synthesiser", "read_card", "write_card"]

Kind = Literal["completer", "generator"]
CARD = "card.json"
CURE = "give the folder that `spinemed train synthesis` wrote (RUN/outputs/model)"


class Card(BaseModel):
    """What a synthesiser says about itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Kind
    """Which synthesiser it is."""
    origin: str
    """What it was trained on, in a few words."""
    note: str
    """What a reader must know beside it."""
    files: dict[str, str]
    """SHA-256 of config and weights, by file name."""

    @property
    def name(self) -> str:
        """How a synthesis names its maker."""
        digest = next(value for key, value in sorted(self.files.items()) if key.endswith(".safetensors"))
        label = {"completer": "shape completer", "generator": "slice generator"}[self.kind]
        return f"{label} {digest[:8]} (trained on {self.origin})"


def write_card(folder: Path, kind: Kind, about: dict[str, Any]) -> None:
    """Write the card of a folder that holds config and weights already; `about` has `origin` and `note` at least."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".onnx", ".json"))
    files = {name: file_sha256(folder / name) for name in names if name != CARD}
    write_json(folder / CARD, {"kind": kind, **about, "files": files})


def read_card(folder: str | os.PathLike[str]) -> Card:
    """The card, after config and weights were compared with it.

    Raises:
        ModelError: no card, a damaged one, or files that are not those it was written for.
    """
    root = Path(folder)
    try:
        card = Card.model_validate(parse_json((root / CARD).read_bytes()))
    except OSError as error:
        raise ModelError("is no synthesiser: card.json is missing", file=root, cure=CURE) from error
    except (ValidationError, ValueError) as error:
        raise ModelError("is damaged", file=root / CARD, cure=CURE) from error
    if not any(name.endswith(".safetensors") for name in card.files):
        raise ModelError("names no weights", file=root / CARD, cure=CURE)
    for name, digest in card.files.items():
        path = root / Path(name).name
        if not path.is_file():
            raise ModelError("is missing", file=path, cure=CURE)
        if file_sha256(path) != digest:
            raise ModelError("is not the file that card.json was written for", file=path, cure=CURE)
    return card


def load_synthesiser(folder: str | os.PathLike[str]) -> Synthesiser:
    """A synthesiser of whichever kind the folder holds.

    Raises:
        ModelError: a file is missing, damaged, or does not fit the config.
    """
    card = read_card(folder)
    if card.kind == "completer":
        from spinemed.vertebra.synthesis.completer import load_completer

        return load_completer(Path(folder), card)
    from spinemed.vertebra.synthesis.generator import load_generator

    return load_generator(Path(folder), card)
