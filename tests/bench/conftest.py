"""A small release with every kind of question, and its samples folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinemed.records import Message, Option, PackedImage, ReleaseRow, content_hash
from spinemed.tables import write_manifest, write_records

LEVELS = ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")


def picture(seed: int) -> PackedImage:
    """A small grey picture with a ring, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 200, (48, 32), dtype=np.uint8)
    pixels[seed % 40 : seed % 40 + 6, 10:22] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    data = stream.getvalue()
    return PackedImage(bytes=data, path=f"{hashlib.sha256(data).hexdigest()}.png")


def row(name: str, question: str, answer: str, kind: str, **more: Any) -> ReleaseRow:
    """One release row; a picture is made for each placeholder unless given."""
    facts: dict[str, Any] = {
        "split": "test",
        "axis": "level_identification",
        "task": "level",
        "language": "en",
        "options": (),
        "categories": (),
        "levels": (),
        "origin": "phantom",
        "source_id": "phantoms",
        "group_id": f"group-{name}",
        "licence": "Apache-2.0",
        "attribution": "",
        "evidence_ids": ("e",),
        "tags": (),
        "images": tuple(picture(int(content_hash(name)[:6], 16) + n) for n in range(question.count("<image>"))),
    }
    facts |= more
    return ReleaseRow(
        id=name,
        messages=(Message(role="user", content=question), Message(role="assistant", content=answer)),
        answer=answer,
        answer_kind=kind,
        instance_sha256=content_hash(name),
        **facts,
    )


def rows(split: str, spines: int, *, salt: str = "") -> list[ReleaseRow]:
    """Level, category and construct questions on phantom spines, and real text questions."""
    made = []
    for number in range(spines):
        spine = f"{split}{salt}-spine-{number:03d}"
        level = LEVELS[number % len(LEVELS)]
        own = {"split": split, "group_id": spine}
        made.append(row(f"{spine}-level", "<image>Which vertebra is marked?", level, "level", **own))
        category = ("none", "wedge", "crush")[number % 3]
        made.append(
            row(
                f"{spine}-path",
                "<image>Is the marked vertebra fractured? none, wedge or crush.",
                category,
                "category",
                axis="pathology",
                task="category",
                categories=("none", "wedge", "crush"),
                **own,
            )
        )
        if number % 2 == 0:
            made.append(
                row(
                    f"{spine}-plan",
                    f"Fracture of L1, phantom {split} {salt}{number}. One level above and one below?",
                    "T12-L2",
                    "levels",
                    axis="surgical_planning",
                    task="construct",
                    **own,
                )
            )
            made.append(
                row(
                    f"{spine}-text",
                    f"Which is right about {split} {salt}{number}?\nA. this\nB. that\nC. neither",
                    "ABC"[number % 3],
                    "option",
                    axis="pathology",
                    task="multiple_choice",
                    options=tuple(Option(key=key, text=text) for key, text in zip("ABC", ("this", "that", "neither"))),
                    origin="real",
                    source_id="medquad",
                    tags=("truth:expert_mask",),
                    **own,
                )
            )
    return made


@pytest.fixture(scope="session")
def make_row() -> Callable[..., ReleaseRow]:
    return row


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[ReleaseRow]]:
    return rows


@pytest.fixture(scope="session")
def write_release() -> Callable[..., Path]:
    """Write a release folder from its rows by split."""

    def write(folder: Path, **splits: list[ReleaseRow]) -> Path:
        for split in ("train", "validation", "test"):
            write_records(folder / "data" / f"{split}.parquet", ReleaseRow, splits.get(split, []))
        write_manifest(folder, "release")
        return folder

    return write


@pytest.fixture(scope="session")
def samples_folder(tmp_path_factory: pytest.TempPathFactory, write_release: Callable[..., Path]) -> Path:
    """Samples of 40 held-out spines."""
    from bench.samples import write_samples

    folder = tmp_path_factory.mktemp("bench")
    release = write_release(folder / "release", train=rows("train", 6), test=rows("test", 40))
    write_samples(release, folder / "samples")
    return folder / "samples"
