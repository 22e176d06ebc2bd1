"""What a person sees of a held result: text with its masked stretches, header tags, pictures, views of a head.

Convention: "after" is the held file; "before" is the original where the site named it. Values of the original are told
as their length alone until they are asked for. Pictures are drawn here, in 8 bits, with the blanked boxes outlined.

Trap: the held file must be the one that the record speaks of. Texts and whole files are compared with the record's hash
and a difference is said; what a person would sign for is these bytes and no others.
"""

from __future__ import annotations

import datetime
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.deidentify.headers import quiet_pydicom
from data_pipeline.deidentify.identity import CaseIdentity
from data_pipeline.deidentify.status import Sealed, text_hash
from data_pipeline.deidentify.text import Tags, deidentify_text
from spinemed.errors import ReadError
from spinemed.marks import png_bytes

__all__ = [
    "Stretch",
    "TagRow",
    "changed_boxes",
    "grey_picture",
    "header_rows",
    "held_file",
    "matches_record",
    "read_held",
    "stack_views",
    "stretches",
]

_MASKED = re.compile(r"\[[A-Z][A-Z_ -]{0,30}(?:-\d+)?\]|\b90\+")
_MOST_BYTES = 512 << 20
_LONGEST = 200
_MOST_BOXES = 200


@dataclass(frozen=True)
class Stretch:
    """A piece of a text: as it was, a stand-in for what was masked, or a word that looks like a name."""

    text: str
    kind: Literal["plain", "masked", "doubtful"]


@dataclass(frozen=True)
class TagRow:
    """One element of a header, before and after."""

    tag: str
    name: str
    before: str
    after: str
    change: Literal["kept", "changed", "removed", "added", "unknown"]


def held_file(folder: str, held_name: str) -> Path:
    """The file of a result within `held/`.

    Raises:
        ReadError: there is none, it lies elsewhere, or is larger than 512 MiB.
    """
    held = Path(folder) / "held"
    path = held / held_name
    if not held_name or path.parent != held or path.is_symlink() or not path.is_file():
        raise ReadError("the held file is not there", field="held", cure="import the quarantine again")
    if path.stat().st_size > _MOST_BYTES:
        raise ReadError("the held file is too large", field="held", cure="look at it where it lies")
    return path


def read_held(path: Path) -> str | Any:
    """A held note as text, or a held image as data set.

    Raises:
        ReadError: neither a text nor a DICOM file.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    content = path.read_bytes()
    try:
        if path.suffix == ".txt":
            return content.decode("utf-8")
        with quiet_pydicom():
            return dcmread(io.BytesIO(content))
    except (InvalidDicomError, UnicodeDecodeError, OSError, ValueError, KeyError, AttributeError) as error:
        # No detail of the original message: it may quote what stands in the file.
        raise ReadError("the held file cannot be read", field="held", cure="de-identify the export again") from error


def matches_record(path: Path, kind: str, result_sha256: str) -> bool | None:
    """Whether the held file is the one the record names; None where the hash is of a part that is not compared here."""
    if kind == "text":
        return text_hash(path.read_text(encoding="utf-8")) == result_sha256
    if kind == "face" and path.suffix == ".dcm":
        return text_hash(path.read_bytes().hex()) == result_sha256
    return None


def stretches(text: str) -> list[Stretch]:
    """A masked text in pieces: stand-ins, and the words for which it was held back."""
    again = deidentify_text(Sealed(text), CaseIdentity(), Tags(datetime.timedelta(0)), id_="shown")
    doubtful = []
    for start, end in again.doubtful:
        # What the second look masked (an age told as 90+) has another length: back to the places of this text.
        shift = sum(m.end - m.start - (m.out_end - m.out_start) for m in again.masked if m.out_end <= start)
        if text[start + shift : end + shift] == again.text[start:end]:
            doubtful.append((start + shift, end + shift))
    marks = [(*match.span(), "masked") for match in _MASKED.finditer(text)]
    marks += [(start, end, "doubtful") for start, end in doubtful]
    pieces: list[Stretch] = []
    at = 0
    for start, end, kind in sorted(marks):
        if start < at:
            continue
        if start > at:
            pieces.append(Stretch(text[at:start], "plain"))
        pieces.append(Stretch(text[start:end], kind))  # type: ignore[arg-type]
        at = end
    if at < len(text):
        pieces.append(Stretch(text[at:], "plain"))
    return pieces


def header_rows(after: Any, before: Any | None, *, reveal: bool) -> list[TagRow]:
    """The elements of a header, before and after, by tag; nested ones under their sequence, pixels left out.

    Args:
        after: The cleaned data set.
        before: The original; None where it is not known.
        reveal: Whether the original's values are told; otherwise how long they are.
    """
    with quiet_pydicom():
        new = _elements(after)
        old = None if before is None else _elements(before)
    rows = []
    for key in sorted({*new, *(old or {})}):
        name = (new.get(key) or (old or {})[key])[0]
        value = new[key][1] if key in new else ""
        if old is None:
            rows.append(TagRow(key, name, "", value, "unknown"))
            continue
        was = old[key][1] if key in old else ""
        change: Literal["kept", "changed", "removed", "added"]
        change = "added" if key not in old else "removed" if key not in new else "kept" if was == value else "changed"
        rows.append(TagRow(key, name, was if reveal or change == "kept" else _hidden(was), value, change))
    return rows


def changed_boxes(before: NDArray[Any], after: NDArray[Any]) -> list[tuple[int, int, int, int]]:
    """Where two pictures differ: first and last row, first and last column (the last ones excluded)."""
    from scipy.ndimage import find_objects, label

    if before.shape != after.shape:
        return []
    pieces, _ = label(before != after, structure=np.ones((3, 3), int))
    found = [place for place in find_objects(pieces) if place is not None]
    # A blanked box over noise leaves equal pixels inside it: pieces that overlap or touch are one box.
    boxes = [(place[0].start, place[0].stop, place[1].start, place[1].stop) for place in found]
    return _joined(boxes)[:_MOST_BOXES]


def grey_picture(pixels: NDArray[Any], boxes: list[tuple[int, int, int, int]] | None = None) -> bytes:
    """A picture as 8-bit PNG, its percentiles 0.5 to 99.9 as black and white, boxes outlined in yellow."""
    low, high = (float(value) for value in np.percentile(pixels, [0.5, 99.9]))
    grey = np.round(255 * np.clip((pixels - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)
    if not boxes:
        return png_bytes(grey)
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    for row0, row1, column0, column1 in boxes:
        edge = np.zeros(grey.shape, bool)
        edge[max(0, row0 - 2) : row1 + 2, max(0, column0 - 2) : column1 + 2] = True
        edge[max(0, row0 - 1) : row1 + 1, max(0, column0 - 1) : column1 + 1] = False
        colour[edge] = (255, 225, 30)
    return png_bytes(colour)


def stack_views(stack: NDArray[Any]) -> bytes:
    """A stack of frames for the question whether somebody can be recognised, as one 8-bit PNG.

    Upper row: the middle layer along each axis. Lower row: the surface as seen from both ends of the two axes within a
    frame, near parts bright: a face shows itself from one of them, however the stack is turned.

    Args:
        stack: (frames, rows, columns).
    """
    low, high = (float(value) for value in np.percentile(stack, [0.5, 99.9]))
    grey = np.clip((stack - low) / max(high - low, 1e-9), 0, 1)
    middles = [np.take(grey, stack.shape[axis] // 2, axis=axis) for axis in range(3)]
    tissue = grey > 0.12
    surfaces = []
    for axis in (1, 2):
        for seen in (tissue, np.flip(tissue, axis)):
            first = np.where(seen.any(axis=axis), seen.argmax(axis=axis), stack.shape[axis])
            surfaces.append(1 - first / stack.shape[axis])
    return png_bytes(np.round(255 * np.vstack(_rows(middles, surfaces))).astype(np.uint8))


def _rows(*rows: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Panels side by side, rows padded with black to one width."""
    lines = []
    for panels in rows:
        tall = max(panel.shape[0] for panel in panels)
        lines.append(np.hstack([np.pad(panel, ((0, tall - panel.shape[0]), (0, 2))) for panel in panels]))
    wide = max(line.shape[1] for line in lines)
    return [np.pad(line, ((0, 2), (0, wide - line.shape[1]))) for line in lines]


def _joined(boxes: list[tuple[int, int, int, int]], gap: int = 3) -> list[tuple[int, int, int, int]]:
    left = list(boxes[: 4 * _MOST_BOXES])
    done: list[tuple[int, int, int, int]] = []
    while left:
        one = left.pop()
        near = [
            other
            for other in left
            if other[0] <= one[1] + gap and one[0] <= other[1] + gap and other[2] <= one[3] + gap
            and one[2] <= other[3] + gap
        ]  # fmt: skip
        if not near:
            done.append(one)
            continue
        left = [other for other in left if other not in near]
        every = [one, *near]
        left.append(
            (min(b[0] for b in every), max(b[1] for b in every), min(b[2] for b in every), max(b[3] for b in every))
        )
    return sorted(done)


def _elements(dataset: Any, above: str = "") -> dict[str, tuple[str, str]]:
    """Tag path to name and value."""
    found: dict[str, tuple[str, str]] = {}
    for element in dataset:
        key = f"{above}({element.tag.group:04X},{element.tag.element:04X})"
        if element.VR == "SQ":
            for number, item in enumerate(element.value or ()):
                found |= _elements(item, f"{key}[{number}]")
            continue
        if element.VR in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
            size = len(element.value or b"") if isinstance(element.value, bytes) else 0
            found[key] = (element.name, f"{size} bytes")
            continue
        value = "" if element.value is None else str(element.value)
        found[key] = (element.name, value if len(value) <= _LONGEST else f"{value[:_LONGEST]}… ({len(value)} signs)")
    return found


def _hidden(value: str) -> str:
    return f"{'•' * min(len(value), 8)} ({len(value)})" if value else ""
