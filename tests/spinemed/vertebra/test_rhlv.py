"""Height loss against a known truth: blocks with a cut top, in any pose and spacing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.vertebra.rhlv import COARSEST_MM, HeightLoss, height_loss, reading_sd_mm

Array = NDArray[np.float64]


def block(affine: Array, shape: tuple[int, int, int], turn: Array, loss: tuple[float, float]) -> NDArray[np.bool_]:
    """A body 44 x 32 x 26 mm at the origin; its top is lower by `loss` percent, (front, back), linear between."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    x, y, z = ((index @ affine[:3, :3].T + affine[:3, 3]) @ turn).T
    share = (y + 16) / 32
    top = 13 - 26 * (loss[1] + (loss[0] - loss[1]) * share) / 100
    return np.asarray(((x / 22) ** 4 + (y / 16) ** 4 <= 1) & (z >= -13) & (z <= top)).reshape(shape)


def rotation(x_deg: float, y_deg: float) -> Array:
    a, b = np.radians([x_deg, y_deg])
    one = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    two = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return one @ two


def measured(loss: tuple[float, float], turn: Array, spacing: tuple[float, float, float], **more: object) -> HeightLoss:
    shape = tuple(int(np.ceil(62 / side)) for side in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -31.0 + np.array([0.13, 0.41, 0.27])
    up, front = turn[:, 2], turn[:, 1]
    broken, whole = block(affine, shape, turn, loss), block(affine, shape, turn, (0.0, 0.0))
    return height_loss(broken, affine, whole, up_hint=up, anterior_hint=front, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [(0.0, 0.0), (45.0, 5.0), (30.0, 30.0), (5.0, 25.0)])
@pytest.mark.parametrize("turn", [(0.0, 0.0), (24.0, 13.0)])
def test_losses_by_third_are_those_of_the_block(loss: tuple[float, float], turn: tuple[float, float]) -> None:
    told = measured(loss, rotation(*turn), (1.0, 1.0, 1.0))
    front, back = loss
    wanted = [back + (front - back) * share for share in (5 / 6, 1 / 2, 1 / 6)]
    for third, true in zip(told.thirds, wanted, strict=True):
        assert third.percent == pytest.approx(true, abs=2.0)
        assert third.low < third.percent < third.high
        assert third.low <= true <= third.high
    assert told.largest.percent == max(third.percent for third in told.thirds)
    assert told.gradable


def test_a_taller_body_has_a_negative_loss() -> None:
    assert measured((-12.0, -12.0), np.eye(3), (1.0, 1.0, 1.0)).middle.percent == pytest.approx(-12, abs=2)


def test_thick_layers_widen_the_interval_and_forbid_a_grade() -> None:
    fine, coarse = (measured((40.0, 0.0), np.eye(3), (1.0, 1.0, side)) for side in (1.0, 3.0))
    assert not coarse.gradable
    assert any("too coarse" in flag for flag in coarse.flags)
    width = [told.middle.high - told.middle.low for told in (fine, coarse)]
    assert width[1] > 2.5 * width[0]
    assert coarse.layer_mm == pytest.approx(3.0, rel=0.01)
    assert fine.layer_mm < COARSEST_MM


def test_an_uncertain_reference_widens_the_interval() -> None:
    sure = measured((40.0, 0.0), np.eye(3), (1.0, 1.0, 1.0))
    doubtful = measured((40.0, 0.0), np.eye(3), (1.0, 1.0, 1.0), reference_sd_mm=(1.0, 1.0, 1.0), quality="estimated")
    assert doubtful.middle.high - doubtful.middle.low > 2 * (sure.middle.high - sure.middle.low)
    assert not measured((0.0, 0.0), np.eye(3), (1.0, 1.0, 1.0), quality="unreliable").gradable


def test_layers_across_the_axis_average_out() -> None:
    assert reading_sd_mm(1.0, 0.0) > 2 * reading_sd_mm(1.0, 30.0)
    assert reading_sd_mm(3.0, 0.0) == pytest.approx(3 * reading_sd_mm(1.0, 0.0))


def test_bad_input_is_named() -> None:
    empty = np.zeros((20, 20, 20), bool)
    with pytest.raises(VolumeError, match="empty"):
        height_loss(empty, np.eye(4), empty)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -31
    body = block(affine, (62, 62, 62), np.eye(3), (0.0, 0.0))
    far = affine.copy()
    far[:3, 3] += 200
    with pytest.raises(VolumeError, match="do not lie on each other"):
        height_loss(body, affine, body, far)
