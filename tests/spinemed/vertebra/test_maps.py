"""Height-loss maps: the loss stands where it is, in percent that a ruler would find, and the picture shows it."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spinemed.errors import VolumeError
from spinemed.measure import Body, body_field, fit_body
from spinemed.vertebra.maps import SCALE, colour_of, estimated_map, height_map, lateral_shape, map_png

Blocks = Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]]


def body_of(blocks: Blocks, lost: float = 0.0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    data, affine = blocks(labels=(20,), wedges={20: lost})
    front = np.arange(data.shape[1]) - 60 >= -16
    return (data == 20) & front[None, :, None], affine


@pytest.fixture(scope="module")
def healthy(blocks: Blocks) -> Body:
    return fit_body(*body_of(blocks))


def test_a_wedge_grows_to_the_front_and_is_level_across(blocks: Blocks, healthy: Body) -> None:
    found = height_map(body_field(*body_of(blocks, 0.4)), healthy)
    assert found.kind == "given"
    known = np.isfinite(found.loss_percent)
    world_y = np.broadcast_to(found.y_mm + healthy.frame.centre_mm[1], known.shape)
    wanted = 40 * np.clip((world_y + 16) / 32, 0, 1)
    assert known.sum() > 600
    assert np.abs(found.loss_percent - wanted)[known].mean() < 1.5
    assert found.thirds_percent() == pytest.approx((40 * 5 / 6, 20, 40 / 6), abs=3.0)  # half a voxel is 2 %
    assert np.nanstd(found.loss_percent[:, len(found.y_mm) // 2]) < 1.5


def test_the_same_body_has_lost_nothing_wherever_it_was_moved(blocks: Blocks, healthy: Body) -> None:
    mask, affine = body_of(blocks)
    turn = np.eye(4)
    turn[:3, :3] = [[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]]
    turn[:3, 3] = (5, -3, 20)
    found = height_map(body_field(mask, turn @ affine), healthy, motion=turn)
    assert np.abs(found.loss_percent[np.isfinite(found.loss_percent)]).max() < 2.0
    far = np.eye(4)
    far[:3, 3] = (80, 0, 0)
    with pytest.raises(VolumeError, match="do not lie on each other"):
        height_map(body_field(mask, affine), healthy, motion=far)


def test_expected_thirds_are_met_where_nothing_is_lost(blocks: Blocks, healthy: Body) -> None:
    thirds = healthy.heights_of_thirds_mm()
    found = estimated_map(healthy, thirds)
    assert found.kind == "estimated"
    assert np.abs(found.thirds_percent()).max() < 1.0
    tall = (thirds[0] / 0.7, thirds[1] / 0.8, thirds[2] / 0.9)
    assert estimated_map(healthy, tall).thirds_percent() == pytest.approx((30, 20, 10), abs=1.5)


def test_the_shape_across_comes_from_the_other_bodies(blocks: Blocks, healthy: Body) -> None:
    assert lateral_shape([healthy]) is None
    shape = lateral_shape([healthy, healthy, fit_body(*body_of(blocks, 0.5))])
    assert shape is not None
    assert shape.shape == (21, 11)
    assert np.abs(shape[2:-2, 1:-1] - 1).max() < 0.05  # flat endplates are level across
    hollow = np.tile((1 + 0.2 * np.linspace(-1, 1, 21) ** 2)[:, None], (1, 11))
    found = estimated_map(healthy, healthy.heights_of_thirds_mm(), hollow)
    middle = found.loss_percent[:, len(found.y_mm) // 2]
    beside = np.abs(found.x_mm) > 0.8 * healthy.width_mm / 2
    assert np.nanmean(middle[beside]) > 9
    assert abs(np.nanmean(middle[np.abs(found.x_mm) < 3])) < 1.5


def test_the_picture_hangs_like_an_axial_slice(blocks: Blocks, healthy: Body) -> None:
    found = height_map(body_field(*body_of(blocks, 0.6)), healthy)
    png = map_png(found)
    assert png == map_png(found)
    assert len(png) < 40_000
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    high, wide = pixels.shape[:2]
    front, back = pixels[int(0.3 * high), wide // 2].sum(), pixels[int(0.72 * high), wide // 2].sum()
    assert front < back - 100  # darker in front, where more is lost
    assert (pixels[0, 0] == 255).all()


def test_one_sided_loss_shows_on_its_side(blocks: Blocks, healthy: Body) -> None:
    mask, affine = body_of(blocks)
    right = (np.arange(mask.shape[0]) - 30 > 5)[:, None, None]
    top = np.argwhere(mask)[:, 2].max()
    mask = mask & ~(right & (np.arange(mask.shape[2]) > top - 10))
    found = height_map(body_field(mask, affine), healthy)
    assert np.nanmean(found.loss_percent[found.x_mm > 9]) > 35
    assert np.nanmean(found.loss_percent[found.x_mm < 0]) < 2
    pixels = np.asarray(Image.open(io.BytesIO(map_png(found)))).astype(int)
    wide = pixels.shape[1]
    row = pixels[pixels.shape[0] // 2 + 3].sum(axis=1)
    assert row[int(0.25 * wide)] < row[int(0.75 * wide)] - 150  # the patient's right hangs on the left


def test_colours_are_told_apart_without_hue() -> None:
    losses = np.linspace(0, 60, 31)
    colours = colour_of(losses).astype(float)
    light = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) < 0).all()
    gains = colour_of(np.linspace(0, -20, 11)).astype(float)
    assert (np.diff(gains @ [0.2126, 0.7152, 0.0722]) < 0).all()
    assert (gains[3:, 2] > gains[3:, 0] + 20).all()  # blue where the losses are orange
    assert (colours[5:20, 0] > colours[5:20, 2] + 20).all()
    assert SCALE[0][0] == -20
    assert (colour_of(200.0) == colour_of(60.0)).all()
