"""Text burned into a picture: found by a text finder, blanked in the stored values, and looked for again.

Convention: a finder answers boxes (row0, row1, column0, column1) on 8-bit grey pixels. What it finds is blanked to the
picture's darkest value with a margin; then the finder looks again, and only a picture without any finding is `clean`.
What is read badly beside a word that is read well belongs to it.

Trap: without a finder nobody has looked. The status is then `unknown` and the picture stays sealed; a header flag that
says "no burned-in annotation" proves nothing.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline.deidentify.status import DeidRecord, Sealed, Status, array_hash

__all__ = [
    "Box",
    "PixelResult",
    "TesseractFinder",
    "TextFinder",
    "blank_boxes",
    "clean_pixels",
    "default_finder",
    "looks_written",
]

Box = tuple[int, int, int, int]
"""First and last row, first and last column; the last ones excluded."""
_PASSES = 3
_LETTERS = 5
"""Fewer strokes in a row may be anatomy."""


class TextFinder(Protocol):
    """Something that finds text in a picture."""

    @property
    def name(self) -> str:
        """With its version, for the record."""
        ...

    def find(self, pixels: NDArray[np.uint8]) -> list[Box]:
        """Boxes around everything that looks like text, on (H, W) grey pixels.

        Raises:
            RuntimeError: It could not look; the message holds nothing of the picture.
        """
        ...


class TesseractFinder:
    """The `tesseract` command, as a child process with a time limit.

    Args:
        languages: Its language packs, e.g. `eng+chi_sim`; those that are not installed are left out.
        confidence: Least confidence, 0 to 100, of a word of three and more signs.
        seconds: Time limit for one look.
    """

    def __init__(self, *, languages: str = "eng+chi_sim", confidence: float = 55.0, seconds: float = 60.0) -> None:
        found = shutil.which("tesseract")
        if found is None:
            raise RuntimeError("the command 'tesseract' is not on the PATH")
        self._command, self._confidence, self._seconds = found, confidence, seconds
        listed = self._run(["--list-langs"], b"").decode("utf-8", "replace").split()
        self._languages = "+".join(name for name in languages.split("+") if name in listed)
        if not self._languages:
            raise RuntimeError(f"tesseract has none of the languages {languages}")
        version = self._run(["--version"], b"").decode("utf-8", "replace").split("\n", 1)[0]
        self.name = f"{version} ({self._languages})"

    def _run(self, arguments: list[str], data: bytes) -> bytes:
        try:
            done = subprocess.run(
                [self._command, *arguments],
                input=data,
                capture_output=True,
                timeout=self._seconds,
                check=True,
                env={"OMP_THREAD_LIMIT": "1", "PATH": "/usr/bin:/bin:/usr/local/bin"},
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"tesseract took longer than {self._seconds:g} s") from error
        except (subprocess.CalledProcessError, OSError) as error:
            raise RuntimeError("tesseract failed") from error
        return done.stdout

    def find(self, pixels: NDArray[np.uint8]) -> list[Box]:
        """Words on the picture, and on what is saturated in it; small pictures at twice their size."""
        from PIL import Image

        scale = 2 if max(pixels.shape) < 1000 else 1
        # Annotations are written in the brightest grey there is: alone, they read well on any noise.
        saturated = np.where(pixels >= 0.97 * max(int(pixels.max()), 1), 0, 255).astype(np.uint8)
        boxes: list[Box] = []
        for view in (pixels, saturated):
            picture = Image.fromarray(np.ascontiguousarray(view))
            picture = picture.resize((pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.BICUBIC)
            stream = io.BytesIO()
            picture.save(stream, "PNG", compress_level=1)
            arguments = ["stdin", "stdout", "-l", self._languages, "--psm", "11", "tsv"]
            boxes += self._boxes(self._run(arguments, stream.getvalue()).decode("utf-8", "replace"), scale)
        return boxes

    def _boxes(self, table: str, scale: int) -> list[Box]:
        sure: list[Box] = []
        weak: list[Box] = []
        for line in table.splitlines()[1:]:
            fields = line.split("\t")
            if len(fields) < 12 or fields[0] != "5":
                continue
            left, top, width, height = (int(value) for value in fields[6:10])
            signs = sum(sign.isalnum() for sign in fields[11])
            box = (top // scale, -(-(top + height) // scale), left // scale, -(-(left + width) // scale))
            confidence = float(fields[10])
            if confidence >= (self._confidence if signs > 2 else 85) and signs > 1:
                sure.append(box)
            elif signs:
                weak.append(box)
        # What is read badly beside a word that is read well belongs to its line.
        return sure + [box for box in weak if any(_beside(box, other) for other in sure)]


def _beside(box: Box, other: Box, *, reach: int = 3) -> bool:
    height = other[1] - other[0]
    overlap = min(box[1], other[1]) - max(box[0], other[0])
    apart = max(box[2] - other[3], other[2] - box[3])
    return overlap > height // 3 and apart < reach * height


def default_finder() -> TextFinder | None:
    """Tesseract where it is installed, else nobody."""
    try:
        return TesseractFinder()
    except RuntimeError:
        return None


def blank_boxes(pixels: NDArray[Any], boxes: list[Box]) -> None:
    """Set the boxes to the picture's smallest value, in place; also works on stored values.

    A box grows by a quarter of its height up and down and by its height to the sides, for letters that were not read.
    """
    dark = pixels.min() if pixels.size else 0
    for row0, row1, column0, column1 in boxes:
        tall = row1 - row0
        rows = slice(max(0, row0 - 2 - tall // 4), row1 + 2 + tall // 4)
        pixels[rows, max(0, column0 - 2 - tall) : column1 + 2 + tall] = dark


@dataclass(frozen=True)
class PixelResult:
    """A picture without the text that was found, and how far that can be trusted."""

    pixels: Sealed[NDArray[np.uint8]]
    record: DeidRecord
    boxes: tuple[Box, ...]


def _strokes(pixels: NDArray[np.uint8]) -> list[Box]:
    """Small connected pieces near the picture's brightest grey, of a letter's proportions."""
    from scipy.ndimage import find_objects, label

    bright = pixels >= 0.8 * max(int(pixels.max()), 1)
    if bright.mean() > 0.2:
        return []  # a white background, or a picture without contrast
    pieces, _ = label(bright, structure=np.ones((3, 3), int))
    boxes = []
    for place in find_objects(pieces):
        tall, wide = place[0].stop - place[0].start, place[1].stop - place[1].start
        if 4 <= tall <= 48 and wide <= 1.8 * tall:
            boxes.append((place[0].start, place[0].stop, place[1].start, place[1].stop))
    return boxes


def _line_mates(found: list[Box], strokes: list[Box]) -> list[Box]:
    """Strokes on a line with what was read, each within four heights of the last: the rest of the line."""
    line, grown = list(found), True
    left = [stroke for stroke in strokes if stroke not in line]
    while grown:
        more = [stroke for stroke in left if any(_beside(stroke, other, reach=4) for other in line)]
        grown, line, left = bool(more), line + more, [stroke for stroke in left if stroke not in more]
    return line[len(found) :]


def looks_written(pixels: NDArray[np.uint8]) -> bool:
    """Whether a row of small strokes near the picture's brightest grey is left: letters that nobody could read.

    Annotations are written in one constant grey, the brightest; anatomy seldom ends exactly there in five pieces of one
    height side by side. A second opinion, not a reader: it can only hold a picture back.
    """
    boxes = _strokes(pixels)
    boxes.sort(key=lambda box: box[2])
    for row0, row1, _, right in boxes:
        tall, count, edge = row1 - row0, 1, right
        for other in boxes:
            alike = abs(other[0] - row0) <= max(2, tall // 3) and abs(other[1] - row1) <= max(2, tall // 3)
            if alike and edge - 1 <= other[2] <= edge + 1.5 * tall:
                count, edge = count + 1, other[3]
        if count >= _LETTERS:
            return True
    return False


def clean_pixels(sealed: Sealed[NDArray[np.uint8]], finder: TextFinder | None, *, id_: str) -> PixelResult:
    """Find burned-in text, blank it, and look again.

    Args:
        sealed: (H, W) grey pixels.
        finder: Who looks; None where nobody can.
        id_: Id for the record.

    Returns:
        Status `clean` when the last look found nothing; `review` when text, or strokes that look like letters, are
        left; `unknown` when nobody could look.
    """
    pixels = sealed.open_for_deidentification().copy()
    boxes: list[Box] = []
    status: Status = "unknown"
    why: tuple[str, ...] = ("no text finder",)
    if finder is not None:
        try:
            for _ in range(_PASSES):
                found = finder.find(pixels)
                if not found:
                    status, why = "clean", ()
                    break
                found += _line_mates(found, _strokes(pixels))
                boxes += found
                blank_boxes(pixels, found)
            else:
                left = finder.find(pixels)
                status, why = ("review", ("text left after blanking",)) if left else ("clean", ())
        except RuntimeError:
            status, why = "unknown", ("the text finder failed",)
        if status == "clean" and looks_written(pixels):
            status, why = "review", ("strokes that look like letters",)
    record = DeidRecord(
        id=id_,
        kind="pixels",
        status=status,
        method="nobody looked" if finder is None else finder.name,
        result_sha256=array_hash(pixels),
        counts={"boxes": len(boxes)} if boxes else {},
        open_points=why,
    )
    return PixelResult(Sealed(pixels), record, tuple(boxes))
