"""The whole report on an installation, as one value that prints and exports.

Convention: `Report.facts()` is plain JSON with stable names. The trap: a report tells of this process's environment,
so a service under another user may see other things.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spinemed import __version__
from spinemed.doctor.machine import Machine, look_at_machine
from spinemed.doctor.parts import (
    Distribution,
    Extra,
    Program,
    Resource,
    examine_extras,
    examine_programs,
    examine_required,
    examine_resources,
)
from spinemed.doctor.problems import Problem, find_problems
from spinemed.resources import resource_root

__all__ = ["Report", "examine"]


@dataclass(frozen=True)
class Report:
    """What was found."""

    python: str
    spinemed: str
    installed_as: str
    """`checkout` or `wheel`."""
    machine: Machine
    required: list[Distribution]
    extras: list[Extra]
    programs: list[Program]
    resources: list[Resource]
    problems: list[Problem]

    @property
    def works(self) -> bool:
        """Nothing required is broken."""
        return all(problem.weight != "error" for problem in self.problems)

    def facts(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = asdict(self) | {"works": self.works}
        for extra, told in zip(self.extras, found["extras"], strict=True):
            told["complete"] = extra.complete
        return found


def examine(runs: Path = Path("runs")) -> Report:
    """Look at everything once; `runs` is where run folders are made.

    Raises:
        ReadError: SpineMed's own metadata is not there.
    """
    machine, required, resources = look_at_machine(runs), examine_required(), examine_resources()
    return Report(
        python=platform.python_version(),
        spinemed=__version__,
        installed_as="checkout" if (resource_root() / "pyproject.toml").is_file() else "wheel",
        machine=machine,
        required=required,
        extras=examine_extras(),
        programs=examine_programs(),
        resources=resources,
        problems=find_problems(machine, required, resources),
    )
