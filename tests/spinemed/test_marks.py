"""Marks: visible, where they were asked for, hiding nothing, and the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinemed.errors import VolumeError
from spinemed.marks import COLOURS, Mark, apply_mark, make_mark, mark_point, png_bytes, write_png


def _grey(side: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


@pytest.mark.parametrize("side", [64, 128, 448, 1024])
@pytest.mark.parametrize("style", ["ring", "arrow"])
def test_a_mark_is_seen_at_every_size_and_does_not_cover_its_point(side: int, style: str) -> None:
    image = _grey(side)
    x, y = side * 0.6, side * 0.45
    marked = mark_point(image, (x, y), style=style)  # type: ignore[arg-type]
    assert marked.shape == (side, side, 3)
    assert marked.dtype == np.uint8
    changed = (marked != image[..., None]).any(axis=2)
    assert 0.003 < changed.mean() < 0.03
    rows, columns = np.nonzero(changed)
    distance = np.hypot(columns - x, rows - y) / side
    assert distance.min() > 0.03, "the mark covers what it points at"
    assert distance.min() < 0.08, "the mark does not reach what it points at"
    if style == "ring":
        assert columns.mean() == pytest.approx(x, abs=0.6)
        assert rows.mean() == pytest.approx(y, abs=0.6)
        assert distance.max() < 0.09
    pure = (marked == np.array(COLOURS["red"])).all(axis=2)
    assert pure.any()
    assert changed.sum() > pure.sum(), "the edge is not smooth"


def test_an_arrow_comes_from_where_its_angle_says() -> None:
    image = np.zeros((200, 200), np.uint8)
    for angle, side in ((0.0, (-1, 0)), (90.0, (0, -1)), (180.0, (1, 0))):
        mark = make_mark(image.shape, (100, 100), style="arrow", colour="cyan", angle_deg=angle)
        rows, columns = np.nonzero(apply_mark(image, mark).any(axis=2))
        offset = np.array([columns.mean() - 100, rows.mean() - 100])
        assert np.allclose(np.sign(np.rint(offset / 5)), side), angle


def test_the_record_of_a_mark_draws_the_same_bytes() -> None:
    image = _grey()
    mark = make_mark(image.shape, (40.5, 61.2), style="arrow", colour=(0, 200, 9), angle_deg=45)
    again = Mark.model_validate_json(mark.model_dump_json())
    assert apply_mark(image, mark).tobytes() == apply_mark(image, again).tobytes()
    assert apply_mark(image, make_mark(image.shape, (40, 61))).tobytes() == mark_point(image, (40, 61)).tobytes()


def test_an_rgb_image_keeps_its_colours_and_the_input_is_left_alone() -> None:
    image = np.stack([_grey(), _grey() // 2, _grey() // 3], axis=2)
    before = image.copy()
    marked = mark_point(image, (64, 64), colour="yellow")
    assert np.array_equal(image, before)
    assert np.array_equal(marked[:20], image[:20])


def test_a_mark_at_the_border_is_cut_and_one_outside_is_refused() -> None:
    image = _grey()
    assert mark_point(image, (0, 0)).shape == (128, 128, 3)
    assert mark_point(image, (127.4, 127.4), style="arrow").shape == (128, 128, 3)
    for point in ((128, 5), (5, 128), (-1, 5), (float("nan"), 5)):
        with pytest.raises(VolumeError, match=r"lies outside the image of 128 x 128 pixels. Cure:"):
            mark_point(image, point)
    with pytest.raises(VolumeError, match="lies outside"):
        apply_mark(image[:50], make_mark(image.shape, (20, 100)))


def test_what_cannot_be_marked_is_refused_in_one_line() -> None:
    with pytest.raises(VolumeError, match="got float64 .*Cure: window the image"):
        mark_point(np.zeros((8, 8)), (1, 1))
    with pytest.raises(VolumeError, match="got uint8"):
        mark_point(np.zeros((8, 8, 4), np.uint8), (1, 1))
    with pytest.raises(VolumeError, match="no style of mark"):
        mark_point(_grey(), (1, 1), style="star")  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match="no known colour"):
        mark_point(_grey(), (1, 1), colour="mauve")


def test_png_bytes_are_deterministic_lossless_and_without_metadata(tmp_path: Path) -> None:
    for array in (_grey(), mark_point(_grey(), (30, 30)), _grey()[:, ::2]):
        data = png_bytes(array)
        assert data == png_bytes(array.copy())
        picture = Image.open(io.BytesIO(data))
        assert np.array_equal(np.asarray(picture), array)
        assert not picture.info
        assert write_png(tmp_path / "x.png", array).read_bytes() == data
    assert [x.name for x in tmp_path.iterdir()] == ["x.png"]
    assert write_png(tmp_path / "new" / "x.png", _grey()).read_bytes() == png_bytes(_grey())
    with pytest.raises(VolumeError):
        png_bytes(np.zeros((4, 4), np.int16))
