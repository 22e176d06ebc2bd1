"""YAML configs read into pydantic models, with every fault named by line.

Convention: a job's config is a subclass of :class:`Config`; unknown keys are refused with the nearest known name, and
all faults of a file are reported together. Values of type :data:`ConfigPath` are taken relative to the config file.

Trap: YAML reads `no`, `1e-4` and `012` in ways people do not expect; `1e-4` is accepted as a number here, the rest is
left to the field's type to refuse.
"""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from spinemed.errors import ConfigError, ReadError

__all__ = ["Config", "ConfigFaults", "ConfigPath", "dump_config", "load_config", "load_yaml", "resolve_path"]

Path_ = tuple[str | int, ...]


class Config(BaseModel):
    """Base of all job configs: frozen, no unknown fields, the text under a field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, protected_namespaces=()
    )


def _beside_config(value: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return value if folder is None else resolve_path(folder / "config", value)


ConfigPath = Annotated[Path, AfterValidator(_beside_config)]
"""A path in a config: relative to the config file, absolute once loaded."""

C = TypeVar("C", bound=BaseModel)


class ConfigFaults(ConfigError):
    """All faults of one config, one line each. `faults` holds them singly."""

    def __init__(self, faults: Sequence[ConfigError]) -> None:
        self.faults = list(faults)
        super().__init__(f"{len(self.faults)} faults")

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    def __reduce__(self) -> tuple[object, ...]:
        return (ConfigFaults, (self.faults,))


_MOST_PLACES = 100_000
"""Keys and items of one file: the longest list of sources that was seen has a thousandth of it."""


_SECRET = re.compile(r"key|token|password|secret|credential", re.IGNORECASE)
_USER_IN_URL = re.compile(r"://[^\s/@'\"]*@")


class _Loader(yaml.SafeLoader):
    """Safe YAML; scientific notation without a dot is a number, as everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def resolve_path(config_path: str | os.PathLike[str], value: str | os.PathLike[str]) -> Path:
    """A path from a config, relative to the folder of the config file, made absolute."""
    return Path(os.path.normpath(Path(config_path).resolve().parent / value))


def load_yaml(path: str | os.PathLike[str]) -> tuple[Any, dict[Path_, int]]:
    """Read a YAML file.

    Returns:
        The plain value, and the line (from 1) of each key and item by its path.

    Raises:
        ReadError: The file is missing.
        ConfigError: It is no YAML, or a key stands twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(
            f"cannot be read as text ({type(error).__name__})", file=path, cure="check the path of the config"
        ) from error
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines: dict[Path_, int] = {}
        if node is not None:
            _index(node, (), lines, path)
        return yaml.load(text, Loader=_Loader), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(
            f"is not YAML ({error.problem})", file=path, line=line, cure="mend the indentation or quoting here"
        ) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # The last two come from PyYAML's constructors, where a tag stands on a value that is none of its kind.
        raise ConfigError(f"is not YAML ({error})", file=path, cure="mend the file") from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", file=path, cure="write it with fewer levels") from error


def _index(
    node: yaml.Node, at: Path_, lines: dict[Path_, int], path: str | os.PathLike[str], above: tuple[yaml.Node, ...] = ()
) -> None:
    if len(lines) > _MOST_PLACES:
        # A few aliases of aliases can stand for more values than any memory holds.
        raise ConfigError(
            f"holds more than {_MOST_PLACES} values, aliases written out", file=path, line=node.start_mark.line + 1,
            cure="write fewer aliases (*name)",
        )  # fmt: skip
    if node in above:
        raise ConfigError(
            "holds itself", file=path, line=node.start_mark.line + 1, cure="remove the alias (*name) inside its anchor"
        )
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(
                    "a list or mapping stands where a field name belongs", file=path, line=line, cure="write a name"
                )
            if key.value in seen:
                raise ConfigError(
                    f"stands twice, first on line {seen[key.value]}",
                    file=path,
                    line=line,
                    field=".".join(map(str, (*at, key.value))),
                    cure="remove one of the two",
                )
            seen[key.value] = line
            lines[(*at, key.value)] = line
            _index(value, (*at, key.value), lines, path, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[(*at, number)] = value.start_mark.line + 1
            _index(value, (*at, number), lines, path, above)


def load_config(path: str | os.PathLike[str], model: type[C], overrides: Iterable[str] = ()) -> C:
    """Read and validate a config.

    Args:
        path: The YAML file.
        model: The config class of the job.
        overrides: `a.b=3` assignments, values written as YAML; they win over the file.

    Raises:
        ReadError: The file is missing.
        ConfigError: Anything in it is wrong; all faults are listed, one line each.
    """
    values, lines = load_yaml(path)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError("holds no mapping of fields", file=path, cure="write `field: value` lines")
    given = [_override(values, override) for override in overrides]
    try:
        return model.model_validate(values, context={"folder": Path(path).resolve().parent})
    except ValidationError as error:
        faults = [_fault(model, fault, path, lines, given) for fault in error.errors()]
        raise (faults[0] if len(faults) == 1 else ConfigFaults(faults)) from error


def _override(values: dict[str, Any], override: str) -> Path_:
    """Set one value; returns the place of its field."""
    name, sign, text = override.partition("=")
    if not sign or not name:
        raise ConfigError(f"'{override}' is no assignment", field="--set", cure="write it as field.subfield=value")
    target: Any = values
    parts = name.split(".")
    for part in parts[:-1]:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
            continue
        if not isinstance(target, dict):
            raise ConfigError(f"'{name}' goes into a value that has no fields", field="--set", cure="check the name")
        target = target.setdefault(part, {})
    if not isinstance(target, dict):
        raise ConfigError(f"'{name}' goes into a value that has no fields", field="--set", cure="check the name")
    try:
        target[parts[-1]] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{text}' is no YAML value", field=f"--set {name}", cure="quote it") from error
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _fault(
    model: type[BaseModel],
    fault: Any,
    file: str | os.PathLike[str],
    lines: dict[Path_, int],
    given: Sequence[Path_],
) -> ConfigError:
    place: Path_ = tuple(fault["loc"])
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    field = ".".join(map(str, place)) or None
    path: str | os.PathLike[str] | None = file
    if any(place[: len(own)] == own for own in given):
        # The value came from the command line: the line in the file holds another one, or none.
        path, line, field = None, None, f"--set {field}"
    if fault["type"] == "extra_forbidden":
        names = _known_names(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), names, n=1)
        cure = f"did you mean '{near[0]}'?" if near else "known fields are " + ", ".join(sorted(names))
        return ConfigError("is no known field", file=path, line=line, field=field, cure=cure)
    if fault["type"] == "missing":
        return ConfigError("is required and absent", file=path, line=line, field=field, cure="add it")
    message = fault["msg"].removeprefix("Value error, ")
    got = _shown(fault.get("input"), place)
    return ConfigError(f"{message}{got}", file=path, line=line, field=field, cure="write a value of that kind")


def _shown(value: Any, place: Path_) -> str:
    """What was found, for a message: no block of fields, which may hold a secret, and no secret itself."""
    if isinstance(value, dict) or _SECRET.search(".".join(map(str, place))):
        return ""
    got = _USER_IN_URL.sub("://...@", repr(value))
    return f", got {got if len(got) <= 60 else got[:57] + '...'}"


def _known_names(model: Any, place: Path_) -> list[str]:
    for part in place:
        model = _inner(model, part)
        if model is None:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _inner(model: Any, part: str | int) -> Any:
    """The class behind one step of a fault's location: a field, a list item, a union's member."""
    if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(part)
        return None if field is None else _unwrap(field.annotation)
    return model


def _unwrap(annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _unwrap(arguments[0])
    if origin in (typing.Union, types.UnionType, list, tuple, dict):
        for argument in reversed(arguments):
            inner = _unwrap(argument)
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                return inner
        return None
    return annotation


def dump_config(config: BaseModel) -> str:
    """A config as YAML, fields in the order of the class: what a run folder keeps as `config.yaml`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
