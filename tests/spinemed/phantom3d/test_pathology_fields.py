"""A fracture takes away exactly the height that its record states."""

from itertools import product

import numpy as np
import pytest

from spinemed.errors import SpineMedError
from spinemed.phantom.pathology.fields import (
    THIRDS,
    band_mean,
    bowl,
    bump,
    concavity_profile,
    fracture_offsets,
    healthy_height,
    node_uv,
    retropulsion_profile,
)
from spinemed.phantom.spine.records import BodyShape

SHAPE = BodyShape(
    upper_width_mm=40,
    upper_depth_mm=30,
    lower_width_mm=42,
    lower_depth_mm=31,
    anterior_height_mm=25,
    posterior_height_mm=28,
    upper_concavity_mm=2.2,
    lower_concavity_mm=1.5,
    lateral_wedge_deg=4.0,
)


def fine_heights(upper: np.ndarray, lower: np.ndarray, count: int = 601) -> tuple[np.ndarray, ...]:
    """u, v, healthy and fractured height on a mesh of our own, interpolated without the module's quadrature."""
    line = np.linspace(-1, 1, count)
    nodes = np.linspace(-1, 1, 33)

    def onto(grid: np.ndarray) -> np.ndarray:
        rows = np.array([np.interp(line, nodes, row) for row in grid])
        return np.array([np.interp(line, nodes, column) for column in rows.T]).T

    v, u = np.meshgrid(line, line, indexing="ij")
    tilt = np.tan(np.radians(SHAPE.lateral_wedge_deg)) * 20.5 * u
    healthy = 26.5 - 1.5 * v + tilt - 3.7 * (1 - u**2) * (1 - v**2)
    return u, v, healthy, healthy + onto(upper) - onto(lower)


@pytest.mark.parametrize(
    "losses", [(40, 25, 5), (15, 45, 10), (60, 60, 60), (70, 0, 0), (0, 70, 0), (20, 35, 55), (70, 40, 0), (0, 0, 0)]
)
def test_each_third_loses_what_is_stated(losses):
    u, v, healthy, fractured = fine_heights(*fracture_offsets(SHAPE, *losses, 0.8))
    inside = np.abs(u) ** 2.5 + np.abs(v) ** 2.5 <= 1
    for third, loss in zip((v > 1 / 3, np.abs(v) < 1 / 3, v < -1 / 3), losses):
        for region in (third & (np.abs(u) < 1 / 3), third & inside):
            found = 100 * (1 - fractured[region].mean() / healthy[region].mean())
            assert found == pytest.approx(loss, abs=0.2)
    assert fractured.min() > 1.0
    assert (healthy - fractured).min() > -0.2  # no place grows to make up a mean


def test_every_stated_loss_can_be_drawn():
    healthy = healthy_height(SHAPE, *node_uv())
    for losses in product((0.0, 20.0, 45.0, 70.0), repeat=3):
        upper, lower = fracture_offsets(SHAPE, *losses, 0.5)
        for (third, _, _), loss in zip(THIRDS, losses[::-1]):
            lost = 100 * band_mean(lower - upper, third) / band_mean(healthy, third)
            assert lost == pytest.approx(loss, abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_upper_endplate_bears_its_share(share):
    upper, lower = fracture_offsets(SHAPE, 40, 30, 10, share)
    assert (upper <= 0).all()
    assert (lower >= 0).all()
    np.testing.assert_allclose(-upper, share * (lower - upper), atol=1e-5)


def test_the_field_has_no_steps():
    upper, _ = fracture_offsets(SHAPE, 40, 25, 5, 1.0)
    assert np.abs(np.diff(upper, axis=0)).max() < 2.5  # mm from node to node, about 1 mm apart


@pytest.mark.parametrize(("losses", "share"), [((71, 0, 0), 0.5), ((10, -1, 0), 0.5), ((10, 10, 10), 1.2)])
def test_impossible_losses_are_refused(losses, share):
    with pytest.raises(SpineMedError, match="use 0 to"):
        fracture_offsets(SHAPE, *losses, share)


def test_healthy_heights_are_those_of_the_record():
    assert healthy_height(SHAPE, 0, 1) == pytest.approx(25)
    assert healthy_height(SHAPE, 0, -1) == pytest.approx(28)
    assert healthy_height(SHAPE, 0, 0) == pytest.approx(26.5 - 3.7)
    assert concavity_profile(1.0, 0.0) == 0


def test_profiles_reach_their_amount_and_end_softly():
    assert bump(0, 0, 0.5, 0.5).max() == 1
    assert bowl(0, 0, 0.5, 0.5)[0].max() == 0
    assert retropulsion_profile(0, 0.6) == 1
    assert retropulsion_profile(0, -0.6, upper=False) == 1
    assert retropulsion_profile(0.7, 0.6) == 0


def test_a_third_must_be_named():
    with pytest.raises(SpineMedError, match="anterior, middle or posterior"):
        band_mean(np.zeros((33, 33)), "front")
    with pytest.raises(SpineMedError, match="33"):
        band_mean(np.zeros((3, 3)), "middle")
