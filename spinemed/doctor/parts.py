"""Installed distributions against the package's own metadata, extras, programs beside Python, configs and samples.

Convention: what is wanted is read from the installed metadata (`Requires-Dist`), so the page cannot differ from what
pip resolves. An extra is there when everything it names is there in its range; extras within extras are followed.

Trap: what an extra or program is good for stands in tables below; a test holds that no extra of `pyproject.toml` is
missing from them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spinemed.errors import ReadError
from spinemed.resources import configs_dir, resource_root, samples_dir

__all__ = [
    "EXTRAS",
    "PROGRAMS",
    "Distribution",
    "Extra",
    "Program",
    "Resource",
    "examine_extras",
    "examine_programs",
    "examine_required",
    "examine_resources",
    "install_line",
]

NAME = "spinemed"

EXTRAS = {
    "deepspeed": "training with ZeRO on several GPUs",
    "vllm": "answers by vLLM in this process; an environment of its own, for it wants older packages than SpineMed",
    "ray": "data generation and evaluation on several machines (--engine ray)",
    "review": "the web application for clinicians (spinemed review)",
    "tools": "tools for language models over the Model Context Protocol (spinemed tools serve)",
    "engines": "questions asked by inspect_ai, and VLMEvalKit's tables read back",
    "docs": "the documentation as a site",
    "dev": "format, lint and type checks",
    "test": "the tests",
}
"""What each extra is good for."""


@dataclass(frozen=True)
class Wanted:
    """A program outside Python, or a package that is no extra."""

    name: str
    commands: tuple[str, ...]
    """Any one of these on the PATH is enough."""
    needed_for: str
    install: str
    distribution: str | None = None
    """Or this distribution in this environment."""


PROGRAMS = (
    Wanted("git", ("git",), "the commit that a run records, in a checkout", "apt-get install git"),
    Wanted("make", ("make",), "make quickstart, make test, make peer, in a checkout", "apt-get install make"),
    Wanted(
        "Tesseract", ("tesseract",), "finding burned-in text (spinemed data deidentify)",
        "apt-get install tesseract-ocr tesseract-ocr-chi-sim",
    ),
    Wanted(
        "Chromium", ("chromium", "chromium-browser", "google-chrome"), "tests in a browser and pictures of pages",
        "apt-get install chromium",
    ),
    Wanted(
        "PostgreSQL", ("postgres", "psql", "initdb", "pg_config"),
        "a server for many reviewers at once; one elsewhere, or SQLite, will do", "apt-get install postgresql",
    ),
    Wanted(
        "TotalSegmentator", ("TotalSegmentator",), "vertebrae outlined by it (spinemed label external)",
        "pip install TotalSegmentator  # in an environment of its own, on the PATH", "TotalSegmentator",
    ),
    Wanted(
        "CUDA compiler", ("nvcc",), "DeepSpeed's own kernels, compiled at first use",
        "install NVIDIA's CUDA toolkit of torch's CUDA version",
    ),
    Wanted(
        "NCCL", (), "training on several GPUs; comes with a CUDA build of torch", "install a CUDA build of torch",
        "nvidia-nccl-cu*",
    ),
    Wanted(
        "FlashAttention", (), "packed training on a GPU at full speed; without it PyTorch's own attention is used",
        "pip install flash-attn --no-build-isolation", "flash-attn",
    ),
    Wanted("bitsandbytes", (), "method qlora", "pip install bitsandbytes", "bitsandbytes"),
    Wanted("Weights & Biases", (), "logs.wandb_project in a config", "pip install wandb", "wandb"),
)  # fmt: skip
"""What is called when it is there, and never installed by SpineMed."""


@dataclass(frozen=True)
class Distribution:
    """One package that SpineMed names."""

    name: str
    wanted: str
    """Version range, empty where any will do."""
    installed: str | None
    fits: bool


@dataclass(frozen=True)
class Extra:
    """One optional part."""

    name: str
    needed_for: str
    missing: tuple[str, ...]
    """Requirements that are absent or out of range."""
    install: str

    @property
    def complete(self) -> bool:
        """Everything it names is installed."""
        return not self.missing


@dataclass(frozen=True)
class Program:
    """One program or package that SpineMed calls when it is there."""

    name: str
    needed_for: str
    there: bool
    install: str


@dataclass(frozen=True)
class Resource:
    """A bundled folder."""

    name: str
    files: int
    sha256: str | None
    """Of the list of its files and their hashes, so that two installations can be compared."""
    faults: tuple[str, ...]


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(NAME) or []]


def _of_extra(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}) and wanted.marker.evaluate(
        {"extra": extra}
    )  # fmt: skip


def look_up(wanted: Requirement) -> Distribution:
    """One requirement against what is installed."""
    try:
        found: str | None = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        found = None
    fits = found is not None and wanted.specifier.contains(found, prereleases=True)
    return Distribution(wanted.name, str(wanted.specifier), found, fits)


def examine_required() -> list[Distribution]:
    """Everything that SpineMed needs, by name.

    Raises:
        ReadError: SpineMed's own metadata is not there.
    """
    try:
        lines = _requirements()
    except metadata.PackageNotFoundError as error:
        raise ReadError(
            "SpineMed's own metadata is missing, so it was copied and not installed", cure="pip install -e ."
        ) from error
    needed = [wanted for wanted in lines if wanted.marker is None or wanted.marker.evaluate({"extra": ""})]
    return sorted((look_up(wanted) for wanted in needed), key=lambda found: found.name.lower())


def install_line(extra: str) -> str:
    """What brings an extra: from the checkout when this is one, else by name."""
    target = "." if (resource_root() / "pyproject.toml").is_file() else NAME
    return f'pip install {"-e " if target == "." else ""}"{target}[{extra}]"'


def examine_extras() -> list[Extra]:
    """Every extra of the installed metadata."""
    lines = _requirements()

    def of(extra: str, seen: frozenset[str]) -> list[Requirement]:
        found = []
        for wanted in (line for line in lines if _of_extra(line, extra)):
            if canonicalize_name(wanted.name) == NAME:
                found += [each for other in sorted(wanted.extras - seen) for each in of(other, seen | {other})]
            else:
                found.append(wanted)
        return found

    extras = []
    for name in metadata.metadata(NAME).get_all("Provides-Extra") or []:
        looked = [look_up(wanted) for wanted in of(name, frozenset({name}))]
        missing = dict.fromkeys(f"{each.name}{each.wanted}" for each in looked if not each.fits)
        extras.append(Extra(name, EXTRAS.get(name, "not said"), tuple(missing), install_line(name)))
    return sorted(extras, key=lambda extra: extra.name)


def _installed(pattern: str) -> bool:
    if not pattern.endswith("*"):
        return look_up(Requirement(pattern)).installed is not None
    start = canonicalize_name(pattern[:-1])
    return any(
        canonicalize_name(found.name or "").startswith(start) for found in metadata.distributions() if found.name
    )


def examine_programs() -> list[Program]:
    """Every program of :data:`PROGRAMS`, there or not."""
    return [
        Program(
            wanted.name,
            wanted.needed_for,
            any(shutil.which(command) for command in wanted.commands)
            or (wanted.distribution is not None and _installed(wanted.distribution)),
            wanted.install,
        )
        for wanted in PROGRAMS
    ]


def _digest(folder: Path, files: list[Path]) -> tuple[str, dict[str, str]]:
    hashes = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256("".join(f"{sha}  {name}\n" for name, sha in hashes.items()).encode()).hexdigest(), hashes


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def _examine_configs() -> Resource:
    folder = configs_dir()
    files, faults = _files(folder), []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in files:
        if file.suffix == ".yaml":
            try:
                yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
            except (yaml.YAMLError, UnicodeDecodeError):
                faults.append(f"configs/{file.relative_to(folder).as_posix()} is no YAML")
    if not any(file.name == "quickstart.yaml" for file in files):
        faults.append("configs/quickstart.yaml is missing")
    return Resource("configs", len(files), _digest(folder, files)[0], tuple(faults))


def _examine_samples() -> Resource:
    """Every file that `SOURCES.md` lists is there with the listed hash."""
    folder = samples_dir()
    files = _files(folder)
    total, hashes = _digest(folder, files)
    sources = folder / "SOURCES.md"
    listed = dict(
        re.findall(
            r"^\| `([^`]+)` \|.*?`([0-9a-f]{64})`",
            sources.read_text(encoding="utf-8") if sources.is_file() else "",
            re.MULTILINE,
        )
    )
    faults = [] if listed else ["samples/SOURCES.md is missing or lists no file"]
    for name, sha256 in sorted(listed.items()):
        if name not in hashes:
            faults.append(f"samples/{name} is missing")
        elif hashes[name] != sha256:
            faults.append(f"samples/{name} differs from the file that SOURCES.md lists")
    return Resource("samples", len(files), total, tuple(faults))


def examine_resources() -> list[Resource]:
    """Configs and samples: found, and intact."""
    found = []
    for name, examine in (("configs", _examine_configs), ("samples", _examine_samples)):
        try:
            found.append(examine())
        except ReadError as error:
            found.append(Resource(name, 0, None, (f"{name}: {error.problem}",)))
    return found
