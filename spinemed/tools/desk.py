"""What a tool is and what it is given: arguments, a desk with its files, limits.

Convention: a tool is a module with one pydantic model of its arguments, one function `(arguments, desk) -> Answer` and
one `TOOL`. It imports what is heavy inside that function, because listing the tools must be quick.

Trap: levels come from a model as text. They are read with SpineMed's own reader in :data:`LevelText`, and what is
ambiguous is refused with the field's name, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from spinemed.anatomy import Disc, Level, parse_disc, parse_level
from spinemed.errors import SpineMedError
from spinemed.tools.folder import ImageFolder
from spinemed.tools.reply import InputFact

__all__ = ["Answer", "Arguments", "Desk", "DiscText", "Handle", "LevelText", "Limits", "Models", "Scheme", "Tool"]


class Arguments(BaseModel):
    """Base of all arguments: frozen, and a field that a tool does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _level(value: Any) -> Any:
    return _parsed(value, parse_level)


def _disc(value: Any) -> Any:
    return _parsed(value, parse_disc)


def _parsed(value: Any, parse: Callable[[str], Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except SpineMedError as error:
        raise ValueError(f"{error.problem}; {error.cure}") from error


LevelText = Annotated[Level, BeforeValidator(_level)]
"""A vertebra as people write it."""
DiscText = Annotated[Disc, BeforeValidator(_disc)]
"""A disc as people write it."""
Handle = Annotated[str, Field(description="Handle of an image, from list_images.", max_length=64)]
Scheme = Annotated[str, Field(description="Numbering of the mask.", max_length=40)]


@dataclass(frozen=True)
class Limits:
    """What one call may use.

    Attributes:
        seconds: Deadline of a call; its process is killed then.
        memory_bytes: Address space of that process.
        file_bytes, voxels: Of one image.
        argument_bytes: Of the arguments as JSON.
        reply_bytes: Of the reply as JSON.
        files: Images listed below the root.
    """

    seconds: float = 120.0
    memory_bytes: int = 16 << 30
    file_bytes: int = 512 << 20
    voxels: int = 600_000_000
    argument_bytes: int = 64 << 10
    reply_bytes: int = 256 << 10
    files: int = 10_000


@dataclass(frozen=True)
class Models:
    """Folders of trained models that the operator names; a language model never names one.

    Attributes:
        completer: A synthesiser of `spinemed train synthesis` that needs no image; for `synthesise`.
        labeller: A labeller of `spinemed train labelling`; without one `label` is not offered.
    """

    completer: str | None = None
    labeller: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a tool found, with the flags that limit all of it."""

    result: dict[str, Any]
    flags: tuple[str, ...] = ()


@dataclass
class Desk:
    """The files of one call.

    Attributes:
        folder: The images; None where the operator gave none.
        work: A private folder for copies, gone after the call.
        limits: See :class:`Limits`.
        names: Whether file names may be told; they often hold a patient's.
        inputs: What was read.
        models: Folders that the operator named.
    """

    folder: ImageFolder | None
    work: Path
    limits: Limits
    names: bool = False
    inputs: list[InputFact] = field(default_factory=list)
    models: Models = Models()

    @property
    def images(self) -> ImageFolder:
        """The folder.

        Raises:
            SpineMedError: The operator gave none.
        """
        if self.folder is None:
            raise SpineMedError(
                "this server has no images", field="handle", cure="ask the operator to start it with --root"
            )
        return self.folder

    def fetch(self, handle: str, field: str) -> Path:
        """A private copy of an image, named after its handle; its hash is kept for the reply.

        Raises:
            SpineMedError: No such handle, no NIfTI file, or too large.
        """
        place = self.images.place(handle, field)
        target = self.work / (handle + (".nii.gz" if place.relative.endswith(".gz") else ".nii"))
        if not target.exists():
            self.inputs.append(
                self.images.copy(
                    place, target, most_bytes=self.limits.file_bytes, most_voxels=self.limits.voxels, field=field
                )
            )
        return target


@dataclass(frozen=True)
class Tool:
    """One tool: name, what it says of itself, arguments, function, and the model without which it is not offered."""

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Any, Desk], Answer]
    needs: str = ""
