"""The healthy reference from the same spine: robust where neighbours are broken, and unreliable where it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError, VolumeError
from spinemed.measure import Body, fit_body, measure_masks
from spinemed.vertebra.estimated import estimated_loss, thirds_along_mm
from spinemed.vertebra.norms import norm_thirds_mm
from spinemed.vertebra.reference import BodyHeights, LevelCurve, NeighbourMean, _Course, _reasons, spine_heights
from spinemed.volume import Volume

SPAN = [Level(name) for name in ("T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4")]


def spine(seed: int = 0, scale: float = 1.08, scatter: float = 0.02) -> dict[Level, BodyHeights]:
    """A person's bodies: the norm times a factor, each vertebra with a scatter of its own."""
    rng = np.random.default_rng(seed)
    made = {}
    for level in SPAN:
        thirds = norm_thirds_mm(level) * scale * np.exp(rng.normal(0, scatter) + rng.normal(0, scatter / 3, 3))
        made[level] = BodyHeights(level, *map(float, thirds))
    return made


def broken(body: BodyHeights, loss: tuple[float, float, float]) -> BodyHeights:
    thirds = [height * (1 - percent / 100) for height, percent in zip(body.thirds, loss, strict=True)]
    return replace(body, anterior_mm=thirds[0], middle_mm=thirds[1], posterior_mm=thirds[2])


def off_percent(estimator: LevelCurve | NeighbourMean, level: Level, bodies: dict[Level, BodyHeights]) -> float:
    """Mean error over the thirds, against the body as it was."""
    found = estimator.estimate(level, list(bodies.values()))
    whole = spine()[level].thirds
    return float(np.abs(np.array(found.thirds) / whole - 1).mean() * 100)


def test_a_healthy_spine_expects_its_own_heights() -> None:
    bodies = spine()
    for level in SPAN:
        found = LevelCurve().estimate(level, list(bodies.values()))
        assert found.state == "estimated", found.reasons
        assert found.thirds == pytest.approx(bodies[level].thirds, rel=0.06)
        assert level not in found.used


@pytest.mark.parametrize("loss", [(45.0, 25.0, 3.0), (10.0, 40.0, 5.0), (40.0, 40.0, 40.0)])
def test_broken_neighbours_pull_the_mean_but_not_the_curve(loss: tuple[float, float, float]) -> None:
    bodies = spine()
    for level in (Level.T12, Level.L2):
        bodies[level] = broken(bodies[level], loss)
    curve, mean = (off_percent(one, Level.L1, bodies) for one in (LevelCurve(), NeighbourMean()))
    assert curve < 5
    assert mean > 2 * curve
    assert {Level.T12, Level.L2}.isdisjoint(LevelCurve().estimate(Level.L1, list(bodies.values())).used) or loss[2] < 20


@pytest.mark.parametrize("loss", [(45.0, 25.0, 5.0), (15.0, 40.0, 8.0), (45.0, 45.0, 42.0)])
def test_a_broken_target_does_not_lower_its_own_reference(loss: tuple[float, float, float]) -> None:
    bodies = spine()
    bodies[Level.L1] = broken(bodies[Level.L1], loss)
    assert off_percent(LevelCurve(), Level.L1, bodies) < 5


def test_a_whole_posterior_wall_sharpens_the_reference() -> None:
    bodies = list(spine().values())
    with_wall, without = (LevelCurve(own_posterior=own).estimate(Level.L1, bodies) for own in (True, False))
    assert max(with_wall.sd_mm) < 0.8 * max(without.sd_mm)


def test_where_to_distrust_the_reference() -> None:
    bodies = spine()
    some = list(bodies.values())
    assert LevelCurve().estimate(Level.L1, some, numbered=False).state == "unreliable"
    few = LevelCurve().estimate(Level.L1, [bodies[Level.T12], bodies[Level.L2], bodies[Level.L1]])
    assert few.state == "unreliable"
    assert any("usable" in reason for reason in few.reasons)
    far = LevelCurve().estimate(Level.L4, [bodies[level] for level in SPAN[:6]])
    assert any("within 3 levels" in reason for reason in far.reasons)
    crushed = (38.0, 40.0, 36.0)
    for most in (range(10), range(3, 9), (0, 2, 3, 5, 6, 8, 9)):
        sunk = {level: broken(body, crushed) if n in most else body for n, (level, body) in enumerate(bodies.items())}
        found = LevelCurve().estimate(Level.L4, list(sunk.values()))
        assert found.state == "unreliable" or found.thirds == pytest.approx(bodies[Level.L4].thirds, rel=0.1), most
    sunk = {level: broken(body, (25.0, 25.0, 24.0)) for level, body in bodies.items() if level is not Level.L4}
    alone = LevelCurve().estimate(Level.L4, [*sunk.values(), bodies[Level.L4]])
    assert any("taller" in reason for reason in alone.reasons)
    one = NeighbourMean().estimate(Level.T6, some)
    assert (one.state, one.used) == ("unreliable", (Level.T7,))


def test_three_bodies_half_believed_are_not_told_as_three() -> None:
    course = _Course(0.0, 0.03, np.array([1.0, 1.0, 0.9]), np.zeros(3))
    (reason,) = _reasons(course, np.array([-1.0, 1.0, 2.0]), 0.02, True, 0.0)
    assert reason == "3 usable bodies that count as 2.9, fewer than 3"


def test_the_mean_of_neighbours_is_their_mean() -> None:
    bodies = spine()
    found = NeighbourMean().estimate(Level.L1, list(bodies.values()))
    wanted = np.mean([bodies[Level.T12].thirds, bodies[Level.L2].thirds], axis=0)
    assert found.thirds == pytest.approx(tuple(wanted))
    skipped = [body for level, body in bodies.items() if level is not Level.L2]
    found = NeighbourMean().estimate(Level.L1, skipped)
    wanted = (2 * np.array(bodies[Level.T12].thirds) + np.array(bodies[Level.L3].thirds)) / 3
    assert found.thirds == pytest.approx(tuple(wanted))


def test_the_sex_shifts_little_when_the_spine_tells_the_size() -> None:
    bodies = list(spine().values())
    asked = [LevelCurve().estimate(Level.L1, bodies, sex=sex).thirds for sex in (None, "female", "male")]
    assert np.ptp(np.array(asked), axis=0).max() < 1.0


def test_bad_input_is_named() -> None:
    bodies = list(spine().values())
    with pytest.raises(LevelError, match="no norm"):
        LevelCurve().estimate(Level.C5, bodies)
    with pytest.raises(LevelError, match="twice"):
        LevelCurve().estimate(Level.L1, [*bodies, bodies[0]])
    with pytest.raises(VolumeError, match="no other body"):
        LevelCurve().estimate(Level.L1, [body for body in bodies if body.level is Level.L1])


# --- the axis ---------------------------------------------------------------------------------------------------------


def wedge_body(loss: tuple[float, float], upper_share: float = 1.0) -> tuple[Body, NDArray[np.bool_]]:
    """A block 44 x 32 x 27 mm, lower by `loss` percent (front, back), the upper endplate bearing a share."""
    shape = (54, 42, 40)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) - np.array([27, 21, 20])
    x, y, z = np.moveaxis(index, -1, 0)
    fall = 27 * (loss[1] + (loss[0] - loss[1]) * (y + 16) / 32) / 100
    inside = (x / 22) ** 4 + (y / 16) ** 4 <= 1
    mask = inside & (z <= 13.5 - upper_share * fall) & (z >= -13.5 + (1 - upper_share) * fall)
    affine = np.eye(4)
    return fit_body(mask, affine), mask


def test_heights_along_the_healthy_axis_and_not_along_the_tilted_one() -> None:
    body, _ = wedge_body((60.0, 0.0))
    lost_deg = np.degrees(np.arctan(27 * 0.6 / 32))
    wanted = [27 * (1 - 0.6 * share) for share in (5 / 6, 1 / 2, 1 / 6)]
    healthy, own = thirds_along_mm(body, lost_deg / 2), thirds_along_mm(body)
    assert own == pytest.approx(body.heights_of_thirds_mm(), abs=0.15)
    assert np.abs(np.array(healthy) - wanted).max() < 0.5
    assert np.abs(np.array(own) - wanted).max() > 0.8


@pytest.mark.parametrize("upper_share", [1.0, 0.6])
def test_losses_of_a_wedge_against_estimated_heights(upper_share: float) -> None:
    whole, _ = wedge_body((0.0, 0.0))
    scale = np.array(whole.heights_of_thirds_mm()) / norm_thirds_mm(Level.L2)
    others = [BodyHeights(level, *map(float, norm_thirds_mm(level) * scale)) for level in SPAN if level is not Level.L2]
    body, _ = wedge_body((42.0, 4.0), upper_share)
    loss, reference = estimated_loss(body, Level.L2, others, LevelCurve())
    for third, true in zip(loss.thirds, (4 + 38 * 5 / 6, 23.0, 4 + 38 / 6), strict=True):
        assert third.percent == pytest.approx(true, abs=3.5)
        assert third.low < true < third.high
    assert (loss.reference, reference.method) == ("estimated", "level curve")


def test_a_measured_spine_gives_its_whole_bodies_and_says_what_it_leaves_out() -> None:
    data = np.zeros((56, 44, 150), np.uint8)
    _, mask = wedge_body((0.0, 0.0))
    for n, label in enumerate((22, 21, 20)):
        data[1:55, 1:43, 1 + 36 * n : 41 + 36 * n][mask] = label
    data[1:55, 1:43, 125:][mask[:, :, :25]] = 19
    data = data[:, :, :149]
    volume = Volume(data, np.eye(4), "label")
    kept, dropped = spine_heights(measure_masks(volume, bodies=volume))
    assert [each.level for each in kept] == [Level.L1, Level.L2, Level.L3]
    assert kept[0].thirds == pytest.approx((27, 27, 27), abs=0.6)
    assert list(dropped) == [Level.T12]
