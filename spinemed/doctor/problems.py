"""Standing problems of an installation, each with its cure: what breaks later, or makes everything slow.

Convention: a problem is an *error* when something required is broken (exit code 1), else a *warning*. Every problem
has a cure that can be typed or done.

Trap: the command line itself sets OMP_WAIT_POLICY and GOMP_SPINCOUNT when they are unset, so only values that somebody
set on purpose are seen here.
"""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from spinemed.cli import applications_in_the_way
from spinemed.doctor.machine import Machine
from spinemed.doctor.parts import NAME, Distribution, Resource
from spinemed.resources import resource_root

__all__ = ["PACKAGES", "Problem", "find_problems", "of_environment", "of_extensions", "of_machine"]

PACKAGES = ("spinemed", "data_pipeline", "train", "bench")
"""Top-level packages of this project."""
LEAST_MEMORY_GIB = 4.0
"""The quickstart's peak, with room to spare."""
LEAST_DISK_GIB = 5.0
"""The quickstart writes a tenth of it; a training of a real model far more."""
STALE_S = 600.0
"""Compiling takes half a minute; an older lock belongs to nobody."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Problem:
    """One thing to mend."""

    weight: Literal["error", "warning"]
    what: str
    cure: str


def of_packages(required: list[Distribution]) -> Iterator[Problem]:
    """Required packages that are absent or out of range."""
    for found in required:
        if not found.fits:
            state = "is not installed" if found.installed is None else f"is {found.installed}"
            yield Problem(
                "error", f"{found.name} {state}; wanted: {found.wanted or 'any version'}",
                f'pip install "{found.name}{found.wanted}"',
            )  # fmt: skip


def of_resources(resources: list[Resource]) -> Iterator[Problem]:
    """Bundled folders that are absent or changed."""
    checkout = (resource_root() / "pyproject.toml").is_file()
    for resource in resources:
        for fault in resource.faults:
            yield Problem(
                "error", fault,
                f"git checkout -- {resource.name}" if checkout else "pip install --force-reinstall --no-deps spinemed",
            )  # fmt: skip


def of_files(here: Path) -> Iterator[Problem]:
    """Files that hide a package of ours, now or when Python is started in this folder."""
    for file in applications_in_the_way():
        yield Problem("error", f"{file} is found instead of SpineMed's own package", "rename or move that file")
    home = Path(__file__).resolve().parents[2]
    if here.resolve() == home:
        return
    for name in PACKAGES:
        for place in (here / f"{name}.py", here / name):
            if place.is_file() or (place / "__init__.py").is_file():
                yield Problem(
                    "warning",
                    f"{place.name} in this folder would be taken for SpineMed's own by `python -m spinemed` here",
                    "rename it, or start jobs as `spinemed ...` or from another folder",
                )


def of_metadata() -> Iterator[Problem]:
    """A checkout whose installed metadata is older than its pyproject.toml."""
    file = resource_root() / "pyproject.toml"
    if not file.is_file():
        return
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    commands = {entry.name for entry in metadata.entry_points(group="spinemed.commands")}
    extras = set(metadata.metadata(NAME).get_all("Provides-Extra") or [])
    stale = [f"command {name}" for name in project["entry-points"]["spinemed.commands"] if name not in commands]
    stale += [f"extra {name}" for name in project["optional-dependencies"] if name not in extras]
    if stale:
        yield Problem(
            "warning", f"this checkout was installed before pyproject.toml changed: no {', no '.join(stale)}",
            "pip install -e .",
        )  # fmt: skip


def of_extensions(folder: Path, now: float) -> Iterator[Problem]:
    """Locks that a killed compilation of DeepSpeed's or torch's own kernels left behind: later jobs wait for them."""
    for lock in sorted(folder.glob("*/*/lock")):
        if now - lock.stat().st_mtime > STALE_S:
            yield Problem(
                "warning",
                f"a killed compilation left the lock of {lock.parent.name} in torch's folder of extensions: jobs with "
                "DeepSpeed wait for it without end",
                f"rm -r {_at_home(lock.parent)}",
            )


def _extensions() -> Path:
    """Where torch keeps what it compiled."""
    told = os.environ.get("TORCH_EXTENSIONS_DIR")
    return Path(told) if told else Path.home() / ".cache" / "torch_extensions"


def _at_home(path: Path) -> str:
    """A path for the eye, without the user's name."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def of_torch(machine: Machine) -> Iterator[Problem]:
    """Builds of torch that do not fit the machine, and a torchvision that does not fit torch."""
    torch = machine.torch
    if torch is None:
        return  # reported as a missing package
    if torch.cuda and not machine.gpus:
        yield Problem(
            "warning", f"torch is a build for CUDA {torch.cuda}, and no NVIDIA GPU is seen: several GB for nothing",
            "on a CPU machine, install a CPU build of torch>=2.8,<2.14 before SpineMed; on a GPU machine, mend the "
            "driver (nvidia-smi must list the GPU)",
        )  # fmt: skip
    if machine.gpus and not torch.cuda:
        yield Problem(
            "warning", "there is a GPU, but torch is a CPU build: training and answering will not use it",
            "install a CUDA build of torch>=2.8,<2.14",
        )  # fmt: skip
    if machine.gpus and torch.cuda and machine.driver_cuda:
        have, want = machine.driver_cuda.split(".")[0], torch.cuda.split(".")[0]
        if have.isdigit() and want.isdigit() and int(have) < int(want):
            yield Problem(
                "warning", f"torch is a build for CUDA {torch.cuda}, the driver runs {machine.driver_cuda} at most",
                "update the GPU's driver, or install a build of torch for an older CUDA",
            )  # fmt: skip
    try:
        lines = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return
    for wanted in map(Requirement, lines):
        if wanted.name == "torch" and not wanted.specifier.contains(torch.version.split("+")[0], prereleases=True):
            yield Problem(
                "warning", f"torchvision wants torch{wanted.specifier}, here is {torch.version}: transformers imports "
                "it where it finds it, and may fail", "pip uninstall torchvision  # SpineMed never needs it",
            )  # fmt: skip


def of_machine(machine: Machine) -> Iterator[Problem]:
    """Too little memory or disk."""
    memory = min((size for size in (machine.memory_gib, machine.memory_limit_gib) if size), default=None)
    if memory is not None and memory < LEAST_MEMORY_GIB:
        yield Problem(
            "warning", f"{memory:.1f} GiB of memory; the quickstart is made for {LEAST_MEMORY_GIB:.0f}",
            "give the machine or container more memory, or run `spinemed quickstart --smoke`",
        )  # fmt: skip
    if machine.disk_free_gib is not None and machine.disk_free_gib < LEAST_DISK_GIB:
        yield Problem(
            "warning", f"{machine.disk_free_gib:.1f} GiB free where runs go", "make room, or give another --out"
        )


def of_environment(machine: Machine, environment: Mapping[str, str]) -> Iterator[Problem]:
    """Thread settings that make everything slow. Values are printed only where they are plain words or numbers."""
    policy = environment.get("OMP_WAIT_POLICY", "")
    if policy.upper() == "ACTIVE":
        yield Problem(
            "warning", "OMP_WAIT_POLICY=ACTIVE: waiting threads keep their cores, on shared cores a job takes many "
            "times as long", "unset OMP_WAIT_POLICY  # spinemed then sets PASSIVE",
        )  # fmt: skip
    spin = environment.get("GOMP_SPINCOUNT", "")
    if spin.lower() == "infinity" or (spin.isdigit() and int(spin) > 0):
        yield Problem(
            "warning", f"GOMP_SPINCOUNT={spin}: waiting threads keep their cores, on shared cores a job takes many "
            "times as long", "unset GOMP_SPINCOUNT  # spinemed then sets 0",
        )  # fmt: skip
    allowed = max(1, int(machine.cores_allowed))
    for name in THREADS:
        value = environment.get(name, "")
        if re.fullmatch(r"\d{1,5}", value) and int(value) > allowed:
            yield Problem(
                "warning", f"{name}={value}, but this process may use {allowed} cores", f"export {name}={allowed}"
            )
    if machine.cores >= 2 * machine.cores_allowed and not environment.get("OMP_NUM_THREADS"):
        yield Problem(
            "warning", f"{machine.cores} cores are seen and {machine.cores_allowed:g} may be used: libraries start a "
            "thread for each one seen", f"export OMP_NUM_THREADS={allowed}",
        )  # fmt: skip


def find_problems(machine: Machine, required: list[Distribution], resources: list[Resource]) -> list[Problem]:
    """Everything that stands in the way, errors first."""
    found = [
        *of_packages(required), *of_resources(resources), *of_files(Path.cwd()), *of_metadata(), *of_torch(machine),
        *of_extensions(_extensions(), time.time()), *of_machine(machine), *of_environment(machine, os.environ),
    ]  # fmt: skip
    return sorted(found, key=lambda problem: problem.weight != "error")
