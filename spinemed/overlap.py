"""What two sets of questions share: words, pictures, sources. It keeps a benchmark out of what a model learns from.

Convention: a text is compared by its letters and digits alone, so that case, spacing and punctuation hide no copy. A
token is a word, or one Chinese character; a gram is a run of tokens, hashed to 64 bits: 13 words, and 13 characters of
a text that is mostly Chinese (as in Brown et al., "Language models are few-shot learners", 2020, appendix C, which
also leaves out runs that many texts share). A picture is compared by its decoded pixels and by how it looks (pHash and
dHash of 64 bits, by the imagehash package).

Trap: questions of one template share their wording. No run goes over the end of a line, and runs that stand in ten or
more held-out questions are the benchmark's wording, not its content, and are left out; so is what the caller names. A
text whose lines are all shorter than one run is compared whole, and only where no picture belongs to it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spinemed.errors import ReadError
from spinemed.records import IMAGE_PLACEHOLDER, Message, ReleaseRow, Sample
from spinemed.tables import MANIFEST, read_jsonl, read_manifest, read_records

__all__ = [
    "GRAM",
    "HeldOut",
    "HeldOutItem",
    "Look",
    "PictureHit",
    "TextHit",
    "compared_text",
    "gram_hashes",
    "is_chinese",
    "letters",
    "look_and_thumbnail",
    "look_of",
    "read_held_out",
    "tokens",
]

GRAM = 13
"""Tokens of a run that two texts may not share."""
COMMON = 10
"""Held-out questions that share a run from which on it is wording."""
_FLAT = 2.0
"""Standard deviation of grey values (of 255) below which a picture is one colour."""
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_MULTIPLIER = 0x9E3779B97F4A7C15
_CACHED_TOKENS = 1 << 20
_token_hashes: dict[str, int] = {}


def letters(text: str) -> str:
    """Letters and digits of a text, lower case, runs of anything else as one space."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def tokens(text: str) -> list[str]:
    """Words of a text in lower case; each Chinese character is one."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def _hashed(found: list[str]) -> list[int]:
    if len(_token_hashes) > _CACHED_TOKENS:
        _token_hashes.clear()
    known = _token_hashes
    out = []
    for token in found:
        value = known.get(token)
        if value is None:
            value = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")
            known[token] = value
        out.append(value)
    return out


def is_chinese(found: Sequence[str]) -> bool:
    """Whether at least half of the tokens are Chinese characters."""
    return 2 * sum("\u3400" <= token <= "\ufaff" for token in found) >= len(found) > 0


def gram_hashes(
    tokenised: Sequence[Sequence[str]], *, words: int = GRAM, characters: int = GRAM, whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of tokens of many texts at once.

    Args:
        tokenised: :func:`tokens` of each text.
        words: Length of a run.
        characters: Length of a run in texts that are mostly Chinese.
        whole: Whether a text shorter than one run counts as one run by itself; else it has none.

    Returns:
        Hashes (uint64) of all texts behind one another, in their order and with repeats, and where each text starts:
        those of text `i` are `hashes[starts[i]:starts[i + 1]]`.
    """
    lengths = np.array([len(found) for found in tokenised], dtype=np.int64)
    ends = np.cumsum(lengths)
    flat = np.array(_hashed([token for found in tokenised for token in found]), dtype=np.uint64)
    sizes = np.array([characters if is_chinese(found) else words for found in tokenised], dtype=np.int64)
    if whole:
        sizes = np.minimum(sizes, np.maximum(lengths, 1))
    counts = np.maximum(lengths - sizes + 1, 0)
    starts = np.concatenate([[0], np.cumsum(counts)])
    # Place of each run's first token, and how many tokens it has.
    first = np.arange(starts[-1]) + np.repeat(ends - lengths - starts[:-1], counts)
    size = np.repeat(sizes, counts)
    hashes = size.astype(np.uint64)
    power = 1
    for step in range(int(sizes.max(initial=0))):
        power = power * _MULTIPLIER % 2**64
        part = flat[np.minimum(first + step, len(flat) - 1)] if len(flat) else flat
        hashes += np.where(step < size, part * np.uint64(power), np.uint64(0))
    return _mixed(hashes), starts


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread over all bits: the finisher of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


# --- pictures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What a picture is compared by."""

    pixels: str
    """SHA-256 of size and decoded pixels: equal for a picture saved again without loss."""
    phash: int
    dhash: int
    flat: bool
    """Nearly one colour: its perceptual hashes mean nothing."""

    def near(self, other: Look, bits: int) -> bool:
        """Whether both perceptual hashes differ in at most `bits` of 64 bits."""
        if self.flat or other.flat:
            return False
        return (self.phash ^ other.phash).bit_count() <= bits and (self.dhash ^ other.dhash).bit_count() <= bits


def look_of(data: bytes) -> Look:
    """Decode a picture and hash it.

    Raises:
        ReadError: The bytes are no picture that can be decoded.
    """
    return look_and_thumbnail(data)[0]


def look_and_thumbnail(data: bytes) -> tuple[Look, np.ndarray]:
    """The hashes of a picture, and its grey values in 16 x 16 (float16, mean 0, deviation 1, rows behind one another).

    Raises:
        ReadError: The bytes are no picture that can be decoded.
    """
    import imagehash
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            deep = opened.mode.startswith(("I", "F"))
            clear = "transparency" in opened.info or "A" in opened.getbands()
            picture = opened.convert("F" if deep else "RGBA" if clear else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise ReadError(f"is no picture ({type(error).__name__})", cure="remove it, or save it as PNG") from error
    pixels = hashlib.sha256(f"{picture.mode} {picture.width} {picture.height}\0".encode() + picture.tobytes())
    if deep:  # imagehash works on eight bits
        values = np.asarray(picture)
        low, high = float(values.min()), float(values.max())
        grey = Image.fromarray(np.uint8(np.round((values - low) * (255 / max(high - low, 1e-9)))))
    else:
        grey = picture.convert("L")
    small = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), dtype=np.float64).ravel()
    flat = float(np.asarray(grey, dtype=np.float32).std()) < _FLAT or float(small.std()) == 0.0
    look = Look(pixels.hexdigest(), _bits(imagehash.phash(grey)), _bits(imagehash.dhash(grey)), flat)
    return look, ((small - small.mean()) / max(float(small.std()), 1e-9)).astype(np.float16)


def _bits(found: Any) -> int:
    return int.from_bytes(np.packbits(found.hash.ravel()).tobytes(), "big")


# --- held-out questions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOutItem:
    """One question of a benchmark, with what must not be learned from."""

    id: str
    text: str
    """Question, options and answer in words."""
    pictures: tuple[bytes, ...] = ()
    sources: tuple[str, ...] = ()
    """Patients, phantoms, documents: whatever it was made from."""


@dataclass(frozen=True)
class TextHit:
    """A text that shares words with a held-out question."""

    held_out: str
    """`benchmark/id`; of several the one that shares most."""
    shared: int
    """Runs that both have; 0 where neither has a run and both are equal as a whole."""
    share: float
    """Of the runs of the held-out question."""


@dataclass(frozen=True)
class PictureHit:
    """A picture that is a held-out one, or looks like it."""

    held_out: str
    exact: bool
    bits: int
    """Largest difference of the two perceptual hashes, of 64."""


@dataclass
class HeldOut:
    """An index over the held-out questions of one or several benchmarks: 8 bytes for each run of words.

    Fill it with :meth:`add`, then ask. What is asked about is never kept, so a training set of any size can be
    streamed past it.
    """

    gram: int = GRAM
    picture_bits: int = 3
    ignore: tuple[str, ...] = ()
    """Texts whose runs are nobody's content: wordings of templates, notes."""
    names: list[str] = field(default_factory=list)
    common_grams: int = 0
    """Runs left out because ten or more held-out questions share them."""
    _parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _wholes: dict[str, str] = field(default_factory=dict)
    _sources: dict[str, str] = field(default_factory=dict)
    _pixels: dict[str, str] = field(default_factory=dict)
    _looks: list[tuple[Look, str]] = field(default_factory=list)
    _index: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    _columns: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, benchmark: str, items: Iterable[HeldOutItem]) -> int:
        """Take in a benchmark's questions; returns how many."""
        before = len(self.names)
        batch: list[HeldOutItem] = []
        for item in items:
            batch.append(item)
            if len(batch) == 1024:
                self._add(benchmark, batch)
                batch = []
        self._add(benchmark, batch)
        self._index = self._columns = None
        return len(self.names) - before

    def _add(self, benchmark: str, batch: list[HeldOutItem]) -> None:
        found, hashes, starts = self._runs([item.text for item in batch])
        owner = np.repeat(np.arange(len(self.names), len(self.names) + len(batch)), np.diff(starts))
        self._parts.append((hashes, owner))
        for item, said, runs in zip(batch, found, np.diff(starts).tolist()):
            name = f"{benchmark}/{item.id}"
            self.names.append(name)
            if said and not runs and not item.pictures:
                self._wholes.setdefault(" ".join(said), name)
            for source in item.sources:
                self._sources.setdefault(source, name)
            for data in item.pictures:
                look = look_of(data)
                if look.pixels not in self._pixels:
                    self._pixels[look.pixels] = name
                    self._looks.append((look, name))

    def _runs(self, texts: Sequence[str]) -> tuple[list[list[str]], np.ndarray, np.ndarray]:
        """Tokens of each text, hashes of its runs, and where each text's begin. No run goes over the end of a line:
        a passage, the question on it and the options stand on lines of their own, in any company."""
        lines = [[tokens(line) for line in text.split("\n")] for text in texts]
        hashes, starts = gram_hashes([line for some in lines for line in some], words=self.gram, characters=self.gram)
        firsts = np.concatenate([[0], np.cumsum([len(some) for some in lines])]).astype(np.int64)
        return [[token for line in some for token in line] for some in lines], hashes, starts[firsts]

    def _built(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs in order, whose they are, and how many runs each question has."""
        if self._index is None:
            grams = np.concatenate([part for part, _ in self._parts] or [np.zeros(0, np.uint64)])
            owner = np.concatenate([part for _, part in self._parts] or [np.zeros(0, np.int64)])
            order = np.lexsort((owner, grams))
            grams, owner = grams[order], owner[order]
            fresh = np.ones(len(grams), dtype=bool)
            fresh[1:] = (grams[1:] != grams[:-1]) | (owner[1:] != owner[:-1])
            grams, owner = grams[fresh], owner[fresh]
            unique, counts = np.unique(grams, return_counts=True)
            _, wording, _ = self._runs(self.ignore)
            left_out = (counts >= COMMON) | np.isin(unique, wording)
            self.common_grams = int(np.count_nonzero(counts >= COMMON))
            kept = ~np.repeat(left_out, counts)
            grams, owner = grams[kept], owner[kept]
            self._index = (grams, owner, np.bincount(owner, minlength=len(self.names)))
        return self._index

    def texts(self, texts: Sequence[str], pictured: Sequence[bool] | None = None) -> list[TextHit | None]:
        """For each text the held-out question that shares most of its words with it, or None.

        Args:
            texts: What a model would learn from.
            pictured: Whether a picture belongs to the text; such a text is not compared as a whole.
        """
        grams, owner, size = self._built()
        found, hashes, starts = self._runs(texts)
        at = np.searchsorted(grams, hashes)
        known = np.zeros(len(hashes), dtype=bool)
        inside = at < len(grams)
        known[inside] = grams[at[inside]] == hashes[inside]
        # How many of the runs before each place are known: a text has one where the sum rises.
        before = np.concatenate([[0], np.cumsum(known)])
        hits: list[TextHit | None] = []
        for number, said in enumerate(found):
            start, end = int(starts[number]), int(starts[number + 1])
            if before[end] > before[start]:
                wanted = np.unique(hashes[start:end][known[start:end]])
                low, high = np.searchsorted(grams, wanted), np.searchsorted(grams, wanted, side="right")
                owners = Counter(int(owner[place]) for a, b in zip(low, high) for place in range(int(a), int(b)))
                best = min(owners, key=lambda one: (-owners[one], one))
                hits.append(TextHit(self.names[best], owners[best], owners[best] / int(size[best])))
            elif start == end and not (pictured and pictured[number]) and " ".join(said) in self._wholes:
                hits.append(TextHit(self._wholes[" ".join(said)], 0, 1.0))
            else:
                hits.append(None)
        return hits

    def picture(self, look: Look) -> PictureHit | None:
        """The held-out picture that a picture is or looks like, or None."""
        if look.pixels in self._pixels:
            return PictureHit(self._pixels[look.pixels], True, 0)
        if look.flat or not self._looks:
            return None
        phash, dhash, flat = self._seen()
        bits = np.maximum(
            np.bitwise_count(phash ^ np.uint64(look.phash)), np.bitwise_count(dhash ^ np.uint64(look.dhash))
        ).astype(np.int64)
        bits[flat] = 65
        best = int(np.argmin(bits))
        if bits[best] > self.picture_bits:
            return None
        return PictureHit(self._looks[best][1], False, int(bits[best]))

    def _seen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The perceptual hashes of all held-out pictures, and which of them mean nothing."""
        if self._columns is None:
            looks = [look for look, _ in self._looks]
            self._columns = (
                np.array([look.phash for look in looks], dtype=np.uint64),
                np.array([look.dhash for look in looks], dtype=np.uint64),
                np.array([look.flat for look in looks], dtype=bool),
            )
        return self._columns

    def source(self, sources: Iterable[str]) -> tuple[str, str] | None:
        """The first of the sources that a held-out question has too, and that question; or None."""
        return next(((name, self._sources[name]) for name in sources if name in self._sources), None)


def read_held_out(folder: str | os.PathLike[str]) -> Iterator[HeldOutItem]:
    """The questions of a samples folder, or of the test split of a release, one at a time.

    Raises:
        ReadError: The folder is neither, or is incomplete.
        RecordError: A row breaks its contract.
    """
    root = Path(folder)
    if (root / "samples.jsonl").is_file():
        read_manifest(root, "samples")
        for sample in read_jsonl(root / "samples.jsonl", Sample):
            text = compared_text(sample.messages, sample.answer_kind, sample.answer)
            pictures = tuple(_file(root / path) for path in sample.images)
            yield HeldOutItem(sample.id, text, pictures, (sample.cluster,))
    elif (root / MANIFEST).is_file():
        read_manifest(root, "release")
        for row in read_records(root / "data" / "test.parquet", ReleaseRow):
            text = compared_text(row.messages[:-1], row.answer_kind, row.answer)
            pictures = tuple(image.bytes for image in row.images)
            sources = (row.group_id, *row.evidence_ids)
            yield HeldOutItem(row.id, text, pictures, sources)
    else:
        raise ReadError(
            "is no benchmark: it holds neither samples.jsonl nor the manifest of a release",
            file=root,
            cure="give a folder written by `spinemed bench samples`, or a release",
        )


def compared_text(asked: Iterable[Message], answer_kind: str, answer: str) -> str:
    """What a question says, held out or learned from: both sides must be put together alike, for a short text is
    compared as a whole.

    Args:
        asked: The turns before the answer; what the system says is left out.
        answer_kind: The answer counts where it is words; a letter, a level or a category is said by many.
        answer: The last turn.
    """
    said = [message.content.replace(IMAGE_PLACEHOLDER, " ") for message in asked if message.role != "system"]
    return "\n".join([*said, *([answer] if answer_kind == "text" else [])])


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="write the samples again") from error
