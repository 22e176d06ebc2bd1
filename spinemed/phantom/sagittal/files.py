"""Phantoms on disk: images and masks as PNG, draws and truths as JSON lines.

Convention: a folder holds `images/ID.png`, `masks/ID.png` (VerSe labels as grey values), `draws.jsonl` (one
`PhantomDraw` a line: all that is needed to make the rest again) and `truths.jsonl`. The folder appears under its name
only when it is whole. The trap: a mask PNG looks black in a viewer, since labels are small numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spinemed.errors import ReadError, RecordError, RunError
from spinemed.marks import write_png
from spinemed.phantom.sagittal.records import PhantomDraw, PhantomImage
from spinemed.phantom.sagittal.render import render_phantom
from spinemed.tables import atomic_folder

__all__ = ["read_draws", "truth_record", "write_phantoms"]


def truth_record(draw: PhantomDraw, rendered: PhantomImage) -> dict[str, Any]:
    """The truth of one rendered phantom as plain values: what is in the image and where."""
    return {
        "id": draw.phantom_id,
        "view": draw.view,
        "modality": draw.look.modality,
        "focus": draw.focus.value,
        "spacing_mm": rendered.spacing_mm,
        "anchors": list(rendered.anchors),
        "numbering_determinable": rendered.numbering_determinable,
        "vertebrae": [asdict(x) for x in rendered.vertebrae],
    }


def write_phantoms(
    draws: Iterable[PhantomDraw], out: str | os.PathLike[str], *, done: Callable[[int], None] | None = None
) -> int:
    """Render draws into the new folder `out`.

    Args:
        draws: What to render; one is held at a time.
        out: The folder; it must not exist yet.
        done: Called with 1 after each phantom, for a progress display.

    Returns:
        How many were written.

    Raises:
        RunError: `out` exists.
        ReadError: Its parent folder does not exist.
    """
    out = Path(out)
    if out.exists():
        raise RunError("exists already", file=out, cure="name a new folder, or remove this one first")
    if not out.absolute().parent.is_dir():
        raise ReadError("is no folder", file=out.absolute().parent, cure="make it first")
    count = 0
    with atomic_folder(out) as part:
        for name in ("images", "masks"):
            (part / name).mkdir()
        with (
            (part / "draws.jsonl").open("w", encoding="utf-8") as records,
            (part / "truths.jsonl").open("w", encoding="utf-8") as truths,
        ):
            for draw in draws:
                rendered = render_phantom(draw)
                write_png(part / "images" / f"{draw.phantom_id}.png", rendered.image)
                write_png(part / "masks" / f"{draw.phantom_id}.png", rendered.levels)
                records.write(draw.model_dump_json() + "\n")
                truths.write(json.dumps(truth_record(draw, rendered)) + "\n")
                count += 1
                if done is not None:
                    done(1)
            for stream in (records, truths):
                stream.flush()
                os.fsync(stream.fileno())
    return count


def read_draws(path: str | os.PathLike[str]) -> Iterator[PhantomDraw]:
    """The draws of a `draws.jsonl`, one at a time.

    Raises:
        ReadError: The file is missing or no text.
        RecordError: A line is no draw; names file, line and field.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                yield _read_draw(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(
            f"cannot be read as text ({type(error).__name__})", file=path, cure="name a draws.jsonl"
        ) from error


def _read_draw(line: str, path: str | os.PathLike[str], number: int) -> PhantomDraw:
    try:
        return PhantomDraw.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordError(
            f"is no phantom draw ({first['msg']})",
            file=path,
            line=number,
            field=".".join(map(str, first["loc"])) or None,
            cure="write the file again with `spinemed phantom draw`",
        ) from error
