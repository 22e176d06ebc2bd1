"""TotalSegmentator and SPINEPS as labellers: run as the commands a user has installed, read as the files they write.

Convention: a tool is called with a list of arguments, never through a shell, once per scan, in a folder of its own; its
masks are read by :func:`spinemed.labelling.masks.read_label_mask` in the tool's own scheme and written as
`spinemed label run` writes (see :mod:`spinemed.labelling.jobs`). Bodies' centres are measured on the masks.

Trap: such a tool names what it sees and gives no probability: none stands in the report, and `determinable` only means
that the tool did not decline.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spinemed.errors import ConfigError, MissingPartError, ModelError
from spinemed.geometry import WorldPoints, world_to_voxel
from spinemed.labelling.bodies import body_centroids
from spinemed.labelling.centroids import CentroidSet, write_centroids
from spinemed.labelling.dataset import VerseCase
from spinemed.labelling.jobs import (
    FoundVertebra,
    LabelReport,
    LabelSummary,
    read_ct,
    rounded_triple,
    run_over,
    scan_name,
)
from spinemed.labelling.masks import COCCYX, SACRUM, read_label_mask
from spinemed.labelling.predictions import match_predictions
from spinemed.volume import Volume, read_nifti, require_same_grid, write_nifti

__all__ = ["TOOLS", "Tool", "label_external"]

_INPUT = "_ct.nii.gz"


@dataclass(frozen=True)
class Tool:
    """One external labeller.

    Args:
        command: Its executable, looked up on the PATH.
        package: The distribution that brings it.
        scheme: The numbering of its masks.
        arguments: (image, folder for its output) → arguments.
    """

    command: str
    package: str
    scheme: str
    arguments: Callable[[Path, Path], list[str]]


def _plain(image: Path) -> str:
    """The case's name in letters and digits: the tools take `_` and `-` apart, each in its own way."""
    return re.sub("[^A-Za-z0-9]", "", scan_name(image)) or "scan"


def _totalsegmentator(image: Path, folder: Path) -> list[str]:
    # One file with all labels; the structures of its task "total" other than vertebrae are left out on reading.
    return ["-i", os.fspath(image), "-o", os.fspath(folder / f"{_plain(image)}.nii.gz"), "--ml", "--task", "total"]


def _spineps(image: Path, folder: Path) -> list[str]:
    # SPINEPS writes beside its input and wants a BIDS name: the input is put into the folder under one.
    linked = folder / f"sub-{_plain(image)}{_INPUT}"
    if image.name.lower().endswith(".gz"):
        linked.symlink_to(image)
    else:
        write_nifti(read_nifti(image, unit="HU"), linked)
    return [
        "sample", "-i", os.fspath(linked), "-model_semantic", "ct", "-model_instance", "instance",
        "-ignore_bids_filter", "-ignore_inference_compatibility",
    ]  # fmt: skip


TOOLS: dict[str, Tool] = {
    "totalsegmentator": Tool("TotalSegmentator", "TotalSegmentator", "totalsegmentator", _totalsegmentator),
    "spineps": Tool("spineps", "spineps", "spineps", _spineps),
}
"""Known tools by the name given to `--tool`. Arguments as documented by TotalSegmentator 2 and SPINEPS 2."""


def label_external(
    tool: str,
    scans: Sequence[Path],
    out: str | os.PathLike[str],
    *,
    arguments: Sequence[str] = (),
    advance: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda line: None,
) -> LabelSummary:
    """Label scans with an external tool; a scan that fails is named and the others go on.

    Args:
        tool: A name of :data:`TOOLS`.
        scans: CT files.
        out: Folder to write; scans it holds already are kept.
        arguments: Passed on to the tool after ours, which it therefore may override.
        advance: Called with 1 after each scan.
        say: Takes one line per scan that failed.

    Raises:
        ConfigError: no such tool.
        MissingPartError: its command is not on the PATH.
    """
    if tool not in TOOLS:
        raise ConfigError(f"'{tool}' is no tool that can be called", field="--tool", cure=f"use {' or '.join(TOOLS)}")
    chosen = TOOLS[tool]
    executable = shutil.which(chosen.command)
    if executable is None:
        raise MissingPartError(f"`--tool {tool}`, which runs the command '{chosen.command}',", chosen.package)
    identity = {"tool": tool, "arguments": list(arguments)}

    def work(path: Path, sha256: str) -> LabelReport:
        image = read_ct(path)
        with tempfile.TemporaryDirectory(prefix="spinemed-label-") as holder:
            folder = Path(holder) / "output"
            folder.mkdir()
            command = [executable, *chosen.arguments(path.resolve(), folder), *arguments]
            _call(chosen, command, folder, path)
            return _take_over(chosen, tool, path, sha256, image, folder, Path(out))

    return run_over(scans, out, identity, work, advance=advance, say=say)


def _call(tool: Tool, command: list[str], folder: Path, image: Path) -> None:
    """Run the tool to its end.

    Raises:
        ModelError: it cannot be started or ends with an error; its last line is quoted.
    """
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
    except OSError as error:
        raise ModelError(
            f"cannot be started ({error.strerror})", file=command[0], cure=f"install {tool.package} again"
        ) from error
    if ended.returncode != 0:
        lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        said = lines[-1][:300] if lines else "it said nothing"
        raise ModelError(
            f"{tool.command} ended with exit code {ended.returncode}: {said}",
            file=image,
            cure=f"run it by hand on this file: {' '.join(command[1:])}",
        )


def _take_over(tool: Tool, name: str, path: Path, sha256: str, image: Volume, folder: Path, out: Path) -> LabelReport:
    """Read the tool's mask and write it as our own are written.

    Raises:
        ModelError: it wrote no mask.
        ReadError, VolumeError: it wrote one on another grid or with unknown labels.
    """
    case = scan_name(path)
    written = [file for file in folder.rglob("*.nii*") if file.is_file() and not file.name.endswith(_INPUT)]
    mask_file = None
    if written:
        known = VerseCase(_plain(path), case, path, None, None, "flat")
        mask_file = match_predictions(folder, [known]).found[0].mask
    if mask_file is None or mask_file.name.endswith(_INPUT):
        raise ModelError(
            f"{tool.command} ended well and wrote no mask", file=path, cure="see what it writes when run by hand"
        )
    mask = read_label_mask(mask_file, scheme=tool.scheme)
    require_same_grid(image, mask.volume)
    centroids = body_centroids(mask)
    out.mkdir(parents=True, exist_ok=True)
    kept = np.where(np.isin(mask.data, (SACRUM, COCCYX)), 0, mask.data).astype(np.uint8)
    write_nifti(Volume(kept, image.affine, "label"), out / f"{case}_seg-vert_msk.nii.gz")
    write_centroids(out / f"{case}_seg-subreg_ctd.json", centroids, image)
    return _report(name, tool, path, sha256, image, centroids)


def _report(name: str, tool: Tool, path: Path, sha256: str, image: Volume, centroids: CentroidSet) -> LabelReport:
    vertebrae = tuple(
        FoundVertebra(
            number=level.verse_label,
            level=level,
            likeliest=level,
            centre_mm=rounded_triple(point),
            voxel=rounded_triple(world_to_voxel(WorldPoints(point[None]), image.affine).values[0]),
        )
        for level, point in centroids.items()
    )
    return LabelReport(
        case=scan_name(path),
        image=path.name,
        image_sha256=sha256,
        determinable=bool(vertebrae),
        likeliest_written=False,
        vertebrae=vertebrae,
        model={
            "tool": name,
            "command": tool.command,
            "note": f"names as {tool.command} gave them, without probabilities; cite its authors and heed its licence",
        },
    )
