"""Pictures that show the same are found however they were saved; slices and spines that merely resemble are not."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.unique.pictures import (
    DUPLICATE_IMAGES_FILE,
    DuplicateImageConfig,
    DuplicateImageRow,
    ImageKey,
    find_duplicate_images,
)
from spinemed.errors import ReadError, RecordError
from spinemed.overlap import look_of
from spinemed.tables import read_records


def picture(seed: int, size: int = 96) -> Image.Image:
    """Smooth blobs, as different from each other as two anatomies."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8))
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def key(data: bytes, group: str = "g") -> ImageKey:
    return ImageKey(hashlib.sha256(data).hexdigest(), data, group)


def rows(folder: Path) -> list[DuplicateImageRow]:
    return list(read_records(folder / DUPLICATE_IMAGES_FILE, DuplicateImageRow))


def test_pixels_count_not_files(tmp_path: Path) -> None:
    one = picture(1)
    files = [saved(one), saved(one, compress_level=0), saved(one.convert("RGB")), saved(one.convert("P"))]
    counts = find_duplicate_images(tmp_path, [key(data) for data in [*files, saved(picture(2))]])
    assert len({hashlib.sha256(data).digest() for data in files}) == 4
    assert (counts["pictures"], counts["exact"], counts["near"], counts["clusters"]) == (5, 3, 0, 1)
    assert sorted(row.kind for row in rows(tmp_path)) == ["exact", "exact", "exact", "first"]


def test_a_picture_saved_with_loss_or_in_another_size_is_alike(tmp_path: Path) -> None:
    one = picture(3)
    files = [saved(one), saved(one, "jpeg", quality=60), saved(one.resize((140, 140), Image.Resampling.BICUBIC))]
    find_duplicate_images(tmp_path, [key(data) for data in files])
    found = rows(tmp_path)
    assert len(found) == 3
    assert len({row.cluster for row in found}) == 1
    assert all(row.kind == "near" and row.bits <= 3 for row in found if row.sha256 != row.cluster)


@pytest.mark.parametrize("bits", [0, 3, 9])
def test_no_alike_pair_is_missed(tmp_path: Path, bits: int) -> None:
    """The index against all pairs, by hashes alone."""
    files = []
    for seed in range(60):
        image = picture(seed)
        files.append(saved(image))
        noise = np.random.default_rng(seed).normal(0, (seed + 1) / 2, (96, 96))
        files.append(saved(Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))))
    looks = {hashlib.sha256(data).hexdigest(): look_of(data) for data in files}
    names = sorted(looks)
    truth = {(a, b) for n, a in enumerate(names) for b in names[n + 1 :] if looks[a].near(looks[b], bits)}
    find_duplicate_images(tmp_path, [key(data) for data in files], DuplicateImageConfig(bits=bits, correlation=0.5))
    cluster = {row.sha256: row.cluster for row in rows(tmp_path)}
    assert len(truth) > 5
    assert all(a in cluster and cluster[a] == cluster[b] for a, b in truth)
    assert len(cluster) == len({name for pair in truth for name in pair})


def test_a_picture_of_two_patients_is_listed_for_both(tmp_path: Path) -> None:
    data, other = saved(picture(4)), saved(picture(5))
    counts = find_duplicate_images(tmp_path, [key(data, "one"), key(data, "two"), key(other, "one")])
    assert [(row.group_id, row.kind, row.crosses_groups) for row in rows(tmp_path)] == [
        ("one", "first", True), ("two", "first", True),
    ]  # fmt: skip
    assert (counts["pictures"], counts["clusters_across_groups"]) == (2, 1)


def test_pictures_of_one_colour_are_compared_by_pixels_alone(tmp_path: Path) -> None:
    black = [Image.new("L", (64, 64), 0), Image.new("L", (64, 64), 1), Image.new("L", (64, 65), 0)]
    counts = find_duplicate_images(tmp_path, [key(saved(image)) for image in black])
    assert (counts["flat"], rows(tmp_path)) == (3, [])


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    deep = np.asarray(picture(6), dtype=np.uint16) * 16
    assert look_of(saved(Image.fromarray(deep))).pixels != look_of(saved(Image.fromarray(deep + 1))).pixels
    assert look_of(saved(Image.fromarray(deep))).near(look_of(saved(Image.fromarray(deep + 1))), 0)


def test_what_is_no_picture_and_what_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is no picture"):
        find_duplicate_images(tmp_path, [key(b"no picture")])
    with pytest.raises(RecordError, match="stands twice in group g"):
        find_duplicate_images(tmp_path, [key(saved(picture(7)))] * 2)
    assert list(tmp_path.iterdir()) == []
