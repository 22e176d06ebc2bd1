"""Every row of a release looked at before a long job: what is wrong with it, named by file and line.

Convention: a line is the row's number in its Parquet file, counted from 1. A fault must be mended before training; a
note (a row that will be left out, a level that no spine has in a free text) is only shown. Nothing stops at the first.

The overlap with a benchmark is looked for by row id, by patient or phantom (`group_id`), by the bytes and pixels of
pictures, and for questions without a picture by their letters and digits alone, so that case, spacing and punctuation
hide no copy. What only resembles (a picture that looks alike, a run of 13 words, see :mod:`spinemed.overlap`) is noted.

Trap: a picture that opens can still be cut short. A header says nothing of it; the end mark of JPEG and PNG does, and
decoding says more. `pixels=False` looks at headers and end marks only. Where a JPEG's scan stops early and its end mark
is kept, the decoder fills the rest with grey and says nothing: only the hash that the picture is named by tells.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from spinemed.anatomy.mentions import scan
from spinemed.errors import ReadError, RecordError
from spinemed.overlap import HeldOut, Look, letters, look_of, read_held_out
from spinemed.records import Message, ReleaseRow, Sample
from spinemed.tables import read_jsonl, read_manifest
from spinemed.vlm.series import captioned

__all__ = [
    "Benchmark",
    "CheckedRow",
    "PictureCheck",
    "Reason",
    "RowFault",
    "RowFaults",
    "check_release",
    "read_benchmark",
]

Reason = Literal[
    "schema", "unknown_role", "empty_answer", "wrong_level", "missing_image", "corrupt_image", "hash", "leak",
    "too_long", "control_token", "unknown_level", "repeated_id", "resembles",
]  # fmt: skip

NOTES: frozenset[str] = frozenset({"too_long", "control_token", "unknown_level", "resembles"})
"""Reasons that leave a row out, or are only worth a look; all others must be mended."""

_CURES: dict[str, str] = {
    "schema": "mend this row to match the ReleaseRow contract, or release again",
    "unknown_role": "write system, user or assistant",
    "empty_answer": "give the row an answer, or leave it out of the release",
    "wrong_level": "write a vertebra like L3, a disc like L4/5 or a range like T12-L2",
    "missing_image": "give one picture for each <image> of the user turns, or release again",
    "corrupt_image": "make the picture again and release again",
    "hash": "release again: the picture's bytes are not those that were released",
    "leak": "take the row out of the release, or the question out of the benchmark",
    "too_long": "raise max_tokens, or let min_pixels lower its pictures; it is left out otherwise",
    "control_token": "take the token out of the text; the row is left out otherwise",
    "unknown_level": "look at the text: no spine has this level",
    "resembles": "look at both: a copy belongs out of the release; what merely looks alike may stay",
    "repeated_id": "give every row an id of its own",
}


@dataclass(frozen=True)
class RowFault:
    """What is wrong with one row."""

    file: Path
    line: int
    reason: Reason
    detail: str

    @property
    def is_note(self) -> bool:
        """Whether training can start nevertheless."""
        return self.reason in NOTES

    def error(self) -> RecordError:
        """As an error that names file, line and cure."""
        return RecordError(
            f"{self.reason.replace('_', ' ')}: {self.detail}", file=self.file, line=self.line, cure=_CURES[self.reason]
        )


class RowFaults(RecordError):
    """All faults of the rows of a job, one line each, in the order of files and lines."""

    shown = 50

    def __init__(self, faults: Sequence[RowFault]) -> None:
        self.faults = list(faults)
        super().__init__(f"{len(self.faults)} rows cannot be trained on")

    def __str__(self) -> str:
        lines = [str(fault.error()) for fault in self.faults[: self.shown]]
        left = len(self.faults) - self.shown
        return "\n".join(lines + ([f"and {left} more"] if left > 0 else []))

    def __reduce__(self) -> tuple[object, ...]:
        return (RowFaults, (self.faults,))


@dataclass
class Benchmark:
    """What no training row may share."""

    ids: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    """Each maps to the id of a sample that has it."""
    held_out: HeldOut = field(default_factory=HeldOut)
    """The same questions, for likeness."""

    def likeness(self, text: str, looks: Sequence[Look]) -> tuple[Reason, str] | None:
        """What a row resembles, and whether that is a leak; None when nothing."""
        if not self.ids:
            return None
        for look in looks:
            if (hit := self.held_out.picture(look)) is not None:
                if hit.exact:
                    return "leak", f"a picture has the pixels of that of sample {hit.held_out}"
                return "resembles", f"a picture looks like that of sample {hit.held_out} ({hit.bits} of 64 bits differ)"
        (found,) = self.held_out.texts([text], [bool(looks)])
        if found is None or not found.shared:
            return None
        return (
            "resembles",
            f"it shares {found.shared} runs of 13 words ({found.share:.0%}) with sample {found.held_out}",
        )

    def leak(self, row_id: str, group: str, pictures: Iterable[str], question: str) -> str | None:
        """What a row shares with the benchmark; None when nothing."""
        if row_id in self.ids:
            return f"its id is the benchmark's sample {row_id}"
        if group in self.groups:
            return (
                f"its group {group} (patient, phantom or document) is also asked about by sample {self.groups[group]}"
            )
        for picture in pictures:
            if picture in self.pictures:
                return f"its picture {picture[:12]} is shown by sample {self.pictures[picture]}"
        found = self.questions.get(letters(question)) if question else None
        return None if found is None else f"its question is asked by sample {found}"


@dataclass(frozen=True)
class CheckedRow:
    """A sound row."""

    line: int
    id: str
    messages: tuple[Message, ...]
    sizes: tuple[tuple[int, int], ...]
    """Width and height of its pictures."""
    pictures: tuple[str, ...]
    """Their hashes."""
    images: tuple[bytes, ...]
    """Their bytes."""
    axis: str
    task: str
    language: str
    tags: tuple[str, ...]


class PictureCheck:
    """Pictures looked at once each, however many questions share them.

    Args:
        pixels: Decode them; otherwise headers and end marks are looked at.
        looks: Keep how each looks, for comparison with a benchmark; needs `pixels`.
    """

    def __init__(self, *, pixels: bool, looks: bool = False) -> None:
        self.pixels, self.looks = pixels, looks and pixels
        self._known: dict[str, tuple[int, int] | str] = {}
        self._seen: dict[str, Look] = {}

    def __call__(self, digest: str, data: bytes) -> tuple[int, int] | str:
        """Width and height, or what is wrong."""
        if digest not in self._known:
            self._known[digest] = self._look(data)
            if self.looks and not isinstance(self._known[digest], str):
                self._seen[digest] = look_of(data)
        return self._known[digest]

    def look(self, digest: str) -> Look | None:
        """How a picture looks that was checked before; None where looks are not kept."""
        return self._seen.get(digest)

    def __len__(self) -> int:
        return len(self._known)

    def _look(self, data: bytes) -> tuple[int, int] | str:
        from PIL import Image

        if not data:
            return "it has no bytes"
        try:
            with Image.open(io.BytesIO(data)) as picture:
                size, kind = picture.size, picture.format
                if self.pixels:
                    picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return " ".join(str(error).split())[:120] or type(error).__name__
        end = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "")
        if end is not None and end not in data[-64:]:
            return f"it ends before its end mark ({kind}, {len(data)} bytes)"
        return size


def read_benchmark(folders: Iterable[Path]) -> Benchmark:
    """What the samples of these folders show and ask.

    Raises:
        ReadError, RecordError: A folder holds no finished samples.
    """
    found = Benchmark()
    for folder in folders:
        read_manifest(folder, "samples")
        found.held_out.add(folder.name, read_held_out(folder))
        for sample in read_jsonl(folder / "samples.jsonl", Sample):
            found.ids[sample.id] = sample.id
            found.groups.setdefault(sample.cluster, sample.id)
            for image in sample.images:
                found.pictures.setdefault(Path(image).stem, sample.id)
            if not sample.images:
                asked = " ".join(message.content for message in sample.messages if message.role == "user")
                found.questions.setdefault(letters(asked), sample.id)
    return found


def check_release(
    release: Path, split: str, *, pictures: PictureCheck, benchmark: Benchmark, seen: set[str]
) -> Iterator[CheckedRow | RowFault]:
    """Every row of a split, as sound or as at fault; a row that is only noted comes as both.

    Args:
        release: Release folder; its files are hashed against its manifest first.
        split: E.g. `train`.
        pictures: Shared by all releases of a job.
        benchmark: From :func:`read_benchmark`.
        seen: Row ids met so far, over all releases; grows.

    Raises:
        ReadError: The folder is no complete release, or its file is truncated or changed.
        RecordError: A column is absent.
    """
    read_manifest(release, "release", verify=True)
    file = release / "data" / f"{split}.parquet"
    for line, values in enumerate(_raw_rows(file), 1):
        try:
            row = ReleaseRow.model_validate(values)
        except ValidationError as error:
            yield _contract_fault(error, file, line)
            continue
        faults = list(_look(row, file, line, pictures, benchmark, seen))
        yield from faults
        if all(fault.is_note for fault in faults):
            digests = tuple(_digest(image.bytes) for image in row.images)
            sizes = [pictures(digest, image.bytes) for digest, image in zip(digests, row.images, strict=True)]
            sound = tuple(size for size in sizes if not isinstance(size, str))
            shown = tuple(image.bytes for image in row.images)
            worded = captioned(row.messages, shown)
            yield CheckedRow(line, row.id, worded, sound, digests, shown, row.axis, row.task, row.language, row.tags)


def _raw_rows(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise ReadError("no such file", file=file, cure="check the split's name and the release")
    try:
        stream = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ReadError(f"is not a complete Parquet file ({_first(error)})", file=file, cure="release again") from error
    with stream:
        absent = set(ReleaseRow.model_fields) - set(stream.schema_arrow.names)
        if absent:
            raise RecordError(f"lacks the columns {sorted(absent)}", file=file, cure="release again")
        try:
            for part in stream.iter_batches(batch_size=64):
                yield from part.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise ReadError(
                f"is not a complete Parquet file ({_first(error)})", file=file, cure="release again"
            ) from error


def _contract_fault(error: ValidationError, file: Path, line: int) -> RowFault:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    said = first["msg"].removeprefix("Value error, ")
    detail = f"{'.'.join(place)}: {said}" if place else said
    if place and not isinstance(first.get("input"), dict):
        detail += f" (got {str(first.get('input'))[:60]!r})"
    reason: Reason = "schema"
    if "role" in place:
        reason = "unknown_role"
    elif (
        place[:1] == ["levels"] or "neither a vertebra" in said or "neither a disc" in said or "neither a range" in said
    ):
        reason = "wrong_level"
    elif "answer is empty" in said:
        reason = "empty_answer"
    elif "placeholders for" in said or place[:1] == ["images"]:
        reason = "missing_image"
    return RowFault(file, line, reason, detail)


def _look(
    row: ReleaseRow, file: Path, line: int, check: PictureCheck, benchmark: Benchmark, seen: set[str]
) -> Iterator[RowFault]:
    if row.id in seen:
        yield RowFault(file, line, "repeated_id", f"the id {row.id} stands in an earlier row")
    seen.add(row.id)
    if not row.messages[-1].content.strip():
        yield RowFault(file, line, "empty_answer", f"row {row.id} is answered with spaces only")
    digests = []
    for number, image in enumerate(row.images, 1):
        digest = _digest(image.bytes)
        digests.append(digest)
        if not image.bytes:
            yield RowFault(file, line, "missing_image", f"picture {number} of row {row.id} has no bytes")
            continue
        looked = check(digest, image.bytes)
        if isinstance(looked, str):
            yield RowFault(file, line, "corrupt_image", f"picture {number} of row {row.id}: {looked}")
        elif not Path(image.path).name.startswith(digest):
            named = f"{Path(image.path).name[:12]} and has the hash {digest[:12]}"
            yield RowFault(file, line, "hash", f"picture {number} of row {row.id} is named {named}")
    asked = "" if row.images else " ".join(turn.content for turn in row.messages[:-1] if turn.role == "user")
    if shared := benchmark.leak(row.id, row.group_id, digests, asked):
        yield RowFault(file, line, "leak", shared)
    else:
        looks = [look for look in map(check.look, digests) if look is not None]
        spoken = "\n".join(turn.content for turn in row.messages if turn.role != "system")
        if alike := benchmark.likeness(spoken, looks):
            yield RowFault(file, line, *alike)
    said = " ".join(turn.content for turn in row.messages if turn.role == "assistant")
    if wrong := next(
        (found.why for found in scan(said) if found.reading is None and "is no vertebra;" in found.why), ""
    ):
        yield RowFault(file, line, "unknown_level", f"an answer of row {row.id}: {wrong}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:120]
