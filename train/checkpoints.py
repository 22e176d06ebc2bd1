"""Checkpoints of a stage that is under way: complete or not there, and whose.

Convention: they lie in the run's scratch folder, `scratch/STAGE/checkpoint-N`. `complete.json` is written last, once
every process has written its part, and names every file with its size: a folder without it, or with a file that is not
as long as it says, was left by a kill and is removed. `key` beside them is the hash of everything that went in.

Trap: under ZeRO each process keeps its own share of the optimiser, so such a checkpoint goes on with as many processes
as wrote it. Under DDP, or alone, any number will do.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from spinemed.errors import RunError
from spinemed.run import Run
from spinemed.tables import parse_json, write_json, write_text

__all__ = ["COMPLETE", "check_world", "claim_checkpoints", "mark_complete", "newest_checkpoint"]

COMPLETE = "complete.json"


def mark_complete(folder: Path, step: int, **facts: Any) -> None:
    """Write the completion mark. Every process must have finished writing."""
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    sizes.pop(COMPLETE, None)
    write_json(folder / COMPLETE, {"step": step, "bytes": sizes, **facts})


def newest_checkpoint(folder: Path, *, clean: bool = True) -> Path | None:
    """The newest complete checkpoint; half-written ones, left by a kill, are removed.

    Args:
        folder: Of one stage.
        clean: Whether to remove; of several processes one may.
    """
    complete: list[tuple[int, Path]] = []
    for path in sorted(folder.glob("checkpoint-*")):
        try:
            mark = parse_json((path / COMPLETE).read_bytes())
            whole = all((path / name).stat().st_size == size for name, size in mark["bytes"].items())
        except (OSError, ValueError, KeyError):
            whole = False
        if whole:
            complete.append((int(mark["step"]), path))
        elif clean:
            shutil.rmtree(path)
    return max(complete)[1] if complete else None


def claim_checkpoints(run: Run, stage: str, key: str) -> Path:
    """The folder of a stage's checkpoints, with none in it but complete ones made under this key.

    Where several processes train, the first one calls this before the others start.
    """
    folder = run.scratch / stage
    claim = folder / "key"
    if not claim.is_file() or claim.read_text(encoding="ascii") != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(claim, key)
    newest_checkpoint(folder)
    return folder


def check_world(checkpoint: Path, *, world: int, zero: int) -> None:
    """Refuse to go on where the optimiser's shares do not fit.

    Args:
        checkpoint: A complete one.
        world: Processes now.
        zero: ZeRO stage now; 0 without.

    Raises:
        RunError: It was written under ZeRO by another number of processes, or with and without ZeRO.
    """
    mark = parse_json((checkpoint / COMPLETE).read_bytes())
    before, kind = int(mark.get("world", 1)), int(mark.get("zero", 0))
    if kind == zero and (not zero or before == world):
        return
    was = f"{before} processes under ZeRO-{kind}" if kind else f"{before} processes without ZeRO"
    raise RunError(
        f"was written by {was}, and {world} go on{f' under ZeRO-{zero}' if zero else ' without ZeRO'}",
        file=checkpoint,
        cure=f"start {before} processes again, or delete the stage's folder in scratch/ to begin the stage anew",
    )
