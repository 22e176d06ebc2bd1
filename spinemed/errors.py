"""Every error that a user of SpineMed can meet, drawn once.

::

    SpineMedError                 something the user can mend; printed as one line, exit code 2
     ├─ ConfigError               a YAML config is wrong: unknown field, wrong type, impossible value
     ├─ SourceError               a source may not be used: no licence, no allowed use, wrong hash
     ├─ RecordError               a file that crosses a package boundary breaks its contract
     ├─ ReadError                 an input file is missing, truncated or not what its name says
     ├─ VolumeError               an image or mask is unusable: other grid, no affine, no orientation
     ├─ LevelError                a text names no vertebral level, or names several
     ├─ RunError                  a run folder is locked, belongs to another config, or is damaged
     ├─ MetricError               two inputs cannot be compared: other shapes, labels that are none, bad spacing
     ├─ ScoreError                a clinical score has no such input, or a value outside what it is defined for
     ├─ ModelError                a checkpoint cannot be loaded or does not fit its processor
     ├─ ChatError                 a language model cannot be asked; with EgressError (a host that a source does not
     │                            permit) and BudgetError in `spinemed.chat.errors`
     └─ MissingPartError          an optional package is not installed

Anything else that escapes is a bug of ours and keeps its traceback.

The message order is fixed: where (file, line, field), what was found against what was expected, and
the cure, so that one line is enough to mend the input.
"""

from __future__ import annotations

import os

__all__ = [
    "ConfigError",
    "LevelError",
    "MetricError",
    "MissingPartError",
    "ModelError",
    "ReadError",
    "RecordError",
    "RunError",
    "ScoreError",
    "SourceError",
    "SpineMedError",
    "VolumeError",
]

EXIT_CODE = 2


class SpineMedError(Exception):
    """Base of all errors that a user can mend.

    Args:
        problem: What was found, against what was expected. One sentence without a full stop.
        file: The file at fault.
        line: Its line, counted from 1.
        field: The field, column, option or tag at fault.
        cure: What to do about it, as an instruction.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | os.PathLike[str] | None = None,
        line: int | None = None,
        field: str | None = None,
        cure: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else os.fspath(file)
        self.line = line
        self.field = field
        self.cure = cure
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where = self.file if self.line is None else f"{self.file}:{self.line}"
        if self.field is not None:
            where = f"{where}: field '{self.field}'" if where else f"field '{self.field}'"
        text = f"{where}: {self.problem}" if where else self.problem
        text = " ".join(text.split())
        if self.cure:
            text = f"{text.rstrip('.')}. Cure: {' '.join(self.cure.split())}"
        # A file name or a value may be hostile: what would steer the terminal is shown as an escape instead.
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel back from worker processes: keep the keyword fields across pickling.
        return (_rebuild, (type(self), self.problem, self.file, self.line, self.field, self.cure))


def _rebuild(
    kind: type[SpineMedError],
    problem: str,
    file: str | None,
    line: int | None,
    field: str | None,
    cure: str | None,
) -> SpineMedError:
    return kind(problem, file=file, line=line, field=field, cure=cure)


class ConfigError(SpineMedError):
    """A config file or override is wrong. Met on `spinemed ... --config FILE`."""


class SourceError(SpineMedError):
    """A source may not be used: licence, allowed use, legal basis or hash. Met in `spinemed data`."""


class RecordError(SpineMedError):
    """A record breaks the contract of `spinemed/records/`. Met when a stage reads another's files."""


class ReadError(SpineMedError):
    """An input file is missing, truncated, or not of the kind its name says. Met in every reader."""


class VolumeError(SpineMedError):
    """An image volume or mask is unusable: grid, affine, orientation, data type. Met in readers and tools."""


class LevelError(SpineMedError):
    """A text names no vertebral level, or more than one reading is possible. Met where levels are parsed."""


class RunError(SpineMedError):
    """A run folder is locked, damaged or belongs to another config. Met when a run is started or resumed."""


class MetricError(SpineMedError):
    """Two inputs of a metric cannot be compared: shapes, labels, spacing. Met in evaluation and in training."""


class ScoreError(SpineMedError):
    """A clinical score has no such input or answer, or a value lies outside what it is defined for."""


class ModelError(SpineMedError):
    """A checkpoint or processor cannot be loaded or used. Met in training and answering."""


class MissingPartError(SpineMedError):
    """An optional part is not installed. The cure is the install line.

    Args:
        feature: What the user asked for.
        package: The distribution that is missing.
        extra: The SpineMed extra that brings it, if one does.
    """

    def __init__(
        self,
        feature: str,
        package: str | None = None,
        extra: str | None = None,
        **where: str | int | None,
    ) -> None:
        if package is None:  # rebuilt after pickling: `feature` is the whole problem
            super().__init__(feature, **where)  # type: ignore[arg-type]
            return
        install = f'pip install "spinemed[{extra}]"' if extra else f"pip install {package}"
        where["cure"] = install
        super().__init__(f"{feature} needs the package '{package}', which is not installed", **where)  # type: ignore[arg-type]
