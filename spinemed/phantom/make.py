"""`make_phantoms`: a set of phantoms as a run folder, made by several processes and gone on with after a kill.

Convention: `OUT/outputs/` holds `ct/`, `xray/`, `mr/` (see `case`), `spines.jsonl` (one `CaseDraw` a line: all that is
needed to make a case again), `descriptions.jsonl` (one `ImageDescription` a line; an image in which no vertebra is
whole says so there and is counted in the manifest as undescribed), `contact_sheet.png`, and `manifest.json`, written
last. A finished case leaves a note in `OUT/scratch/`; a case without one is made again, to the same bytes.

The trap: all of it is computed. Phantoms are no patients, and shares are no prevalences.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from spinemed.errors import RunError
from spinemed.phantom.case import CaseDraw, ImageDescription, draw_case, write_case
from spinemed.phantom.set_config import PhantomSetConfig
from spinemed.records import Record
from spinemed.run import Run, open_run
from spinemed.tables import MANIFEST, read_manifest, write_jsonl, write_manifest, write_text
from spinemed.workers import worked_off

__all__ = ["KIND", "make_phantoms"]

KIND = "phantom_set"


class CaseNote(Record):
    """A finished case."""

    draw: CaseDraw
    """Everything that was drawn for it."""
    images: tuple[ImageDescription, ...]
    """What is true of each image."""
    files: dict[str, int]
    """Path below the outputs, and its size."""


def make_phantoms(config: PhantomSetConfig, out: str | os.PathLike[str], *, workers: int = 1) -> Path:
    """Make a set, or go on with one.

    Args:
        config: The set.
        out: The run folder.
        workers: Processes; the outputs do not depend on how many.

    Returns:
        The outputs' folder.

    Raises:
        RunError: the folder belongs to another config or command, or is in use; no worker is asked for.
    """
    if workers < 1:
        raise RunError(f"{workers} workers make nothing", field="--workers", cure="give 1 or more")
    with open_run(out, command="phantom make", config=config) as run:
        if (run.outputs / MANIFEST).is_file():
            read_manifest(run.outputs, KIND)
            return run.outputs
        run.scratch.mkdir(exist_ok=True)
        for torn in [*run.outputs.rglob(".*.tmp"), *run.scratch.glob(".*.tmp")]:
            torn.unlink()
        missing = [index for index in range(config.count) if not _finished(run, index)]
        with run.progress("phantoms", config.count) as advance:
            advance(config.count - len(missing))
            text = config.model_dump_json()
            jobs = ((text, str(run.outputs), str(_note(run, index)), index) for index in missing)
            for _ in worked_off(_make, jobs, workers):
                advance(1)
        _conclude(run, config)
    return run.outputs


def _note(run: Run, index: int) -> Path:
    return run.scratch / f"{index:07d}.json"


def _finished(run: Run, index: int) -> bool:
    path = _note(run, index)
    if not path.is_file():
        return False
    note = CaseNote.model_validate_json(path.read_bytes())
    return all(
        (run.outputs / name).is_file() and (run.outputs / name).stat().st_size == size
        for name, size in note.files.items()
    )


def _make(job: tuple[str, str, str, int]) -> int:
    """One case, its note last."""
    text, outputs, note, index = job
    config = PhantomSetConfig.model_validate_json(text)
    draw = draw_case(config, index)
    folder = Path(outputs)
    images = write_case(config, draw, folder)
    names = {draw.case, *([draw.twin] if draw.twin else [])}
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for name in sorted(names)
        for place in ("ct/rawdata", "ct/derivatives", "xray", "mr")
        for path in sorted((folder / place / f"sub-{name}").glob("*"))
        if not path.name.startswith(".")
    }
    write_text(note, CaseNote(draw=draw, images=tuple(images), files=files).model_dump_json())
    return index


def _conclude(run: Run, config: PhantomSetConfig) -> None:
    """What belongs to the whole set, read from the notes one by one."""

    from spinemed.marks import write_png
    from spinemed.phantom.imaging.sheet import SHEET_CASES, contact_sheet

    def notes() -> Iterator[CaseNote]:
        for index in range(config.count):
            yield CaseNote.model_validate_json(_note(run, index).read_bytes())

    write_jsonl(run.outputs / "spines.jsonl", (note.draw for note in notes()))
    images = write_jsonl(run.outputs / "descriptions.jsonl", (image for note in notes() for image in note.images))
    shown = [note.draw.case for note in islice(notes(), SHEET_CASES)]
    write_png(run.outputs / "contact_sheet.png", contact_sheet(run.outputs, shown, config.what))
    write_manifest(
        run.outputs,
        KIND,
        cases=config.count,
        images=images,
        undescribed=sum(image.description is None for note in notes() for image in note.images),
        note="procedural phantoms, no patients; research use only",
    )
