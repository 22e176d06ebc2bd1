"""The prior: rhythms, processes in time, and that the compiled recursion is the inverse it claims to be."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.anatomy import Region
from spinemed.motion import (
    BodyModel,
    Dynamics,
    FitOptions,
    MotionError,
    Rhythm,
    build_model,
    build_rhythm,
    custom_rhythm,
    fit_motion,
    keypoint_markers,
    marker_points,
)
from spinemed.motion.dynamics import discretise
from spinemed.motion.linear import backward, covariance_step, eliminate, invert
from spinemed.motion.posterior import posterior_rows
from spinemed.motion.reduction import ROOT_UNITS, choose_modes, reduce
from spinemed.motion.rhythm import RHYTHMS
from spinemed.motion.tables import read_table
from spinemed.motion.tiles import padded


@pytest.mark.parametrize("name", RHYTHMS)
def test_shares_of_a_region_sum_to_one(name: str) -> None:
    rhythm = build_rhythm(name)
    np.testing.assert_allclose(rhythm.shares.sum(axis=0), 1.0)
    assert (rhythm.shares >= 0).all()
    assert ((rhythm.shares > 0).sum(axis=1) == 1).all(), "each angle belongs to one region"


def test_default_shares_are_the_ranges_and_published_sets_run_against_each_other() -> None:
    default, eos, couplers = (build_rhythm(name) for name in RHYTHMS)
    lumbar = default.column(Region.LUMBAR, "flexion")
    np.testing.assert_allclose(default.shares[0:15:3, lumbar], np.array([17, 16, 15, 14, 12]) / 74)
    assert eos.shares[0, lumbar] < eos.shares[12, lumbar]
    assert couplers.shares[3, lumbar] > couplers.shares[12, lumbar]
    assert eos.note
    assert not default.note


def test_coupling_turns_the_neck_to_the_side_it_bends_to() -> None:
    free, coupled = build_rhythm(), build_rhythm(coupling=True)
    bend = np.zeros(9)
    bend[coupled.column(Region.CERVICAL, "lateral_bending")] = 30.0
    assert (free.angles_deg(bend)[..., 2] == 0).all()
    turned = coupled.angles_deg(bend)[..., 2]
    # Right bend is positive and a turn to the right negative: the same side.
    assert turned.sum() < -3
    assert turned.min() > -0.75 * coupled.angles_deg(bend)[..., 1].max()


def test_a_rhythm_of_ones_own_is_used() -> None:
    segments = build_model(limbs=False).segments
    own = custom_rhythm("own", {"flexion": {segments[0]: 3.0, segments[1]: 1.0}})
    lumbar = own.column(Region.LUMBAR, "flexion")
    assert own.shares[0, lumbar] == pytest.approx(3 * own.shares[3, lumbar])
    assert own.shares[:, lumbar].sum() == pytest.approx(1)
    with pytest.raises(MotionError):
        custom_rhythm("own", {"flexion": {segments[0]: -1.0}})
    with pytest.raises(MotionError):
        build_rhythm(residual_factor=0)


def test_every_row_of_every_table_names_source_and_mark() -> None:
    for name in ("vertebrae", "range_of_motion", "rhythms", "alignment", "coupling", "limbs", "limb_motions", "sexes"):
        for row in read_table(name):
            assert row["source"]
            assert set(row["mark"]) <= set("abd/")


def test_processes_keep_their_stated_spread() -> None:
    process = discretise(Dynamics(), 0.02, ROOT_UNITS, 24, 9)
    for i in range(6, 39):
        stationary = np.linalg.inv(process.start[i])
        later = process.step[i] @ stationary @ process.step[i].T + np.linalg.inv(process.precision[i])
        np.testing.assert_allclose(later, stationary, rtol=1e-6, atol=1e-12)
        assert stationary[0, 0] == pytest.approx(1.0)
    with pytest.raises(MotionError, match="residual_memory_s"):
        Dynamics(residual_memory_s=0)


def test_the_recursion_is_the_inverse_of_the_banded_matrix() -> None:
    rng = np.random.default_rng(0)
    frames, places, modes = 6, 3, 5
    n = 2 * places + modes
    side = padded(n)
    assert side > n, "the padding is tested as well"
    coupling = rng.normal(size=(places, 2, 2))
    rho = np.full(modes, -0.7)
    dense_c = np.zeros((n, n))
    for i in range(places):
        pair = [i, places + modes + i]
        dense_c[np.ix_(pair, pair)] = coupling[i]
    dense_c[range(places, places + modes), range(places, places + modes)] = rho
    whole = np.zeros((frames * n, frames * n))
    blocks, loads = np.empty((frames, n, n)), rng.normal(size=(frames, n))
    for t in range(frames):
        half = rng.normal(size=(n, 2 * n))
        blocks[t] = half @ half.T + 4 * np.eye(n)
        whole[t * n : t * n + n, t * n : t * n + n] = blocks[t]
        if t:
            whole[t * n : t * n + n, (t - 1) * n : t * n] = dense_c
            whole[(t - 1) * n : t * n, t * n : t * n + n] = dense_c.T
    expected, solution = np.linalg.inv(whole), np.linalg.solve(whole, loads.ravel()).reshape(frames, n)
    s, y, x = np.tile(np.eye(side), (frames, 1, 1)), loads.copy(), np.empty((frames, n))
    s[:, :n, :n] = blocks
    z, r, u = np.empty((side, side)), np.zeros((side, side)), np.empty((2, n))
    w, swept = np.empty((8, side)), np.empty((8, side))
    for t in range(frames):
        if t:
            eliminate(coupling, rho, s[t - 1], y[t - 1], s[t], y[t], z, r, u)
        assert invert(s[t], w, swept)
    backward(coupling, rho, s, y, x)
    np.testing.assert_allclose(x, solution, atol=1e-10)
    covariance = s[-1].copy()
    turned = np.ascontiguousarray(coupling.transpose(0, 2, 1))
    for t in range(frames - 1, -1, -1):
        if t < frames - 1:
            covariance_step(turned, rho, s[t], covariance, np.empty((side, side)), z, r)
        np.testing.assert_allclose(covariance[:n, :n], expected[t * n : t * n + n, t * n : t * n + n], atol=1e-10)
    assert not invert(-np.eye(side), w, swept), "what is not positive definite is said"


def test_modes_split_what_is_seen_from_what_is_not() -> None:
    model = build_model(limbs=False)
    markers, rhythm = keypoint_markers(model), build_rhythm()
    weight = np.broadcast_to(np.eye(3) / 100.0, (1, len(markers), 3, 3))
    modes = choose_modes(model, rhythm, markers, model.zero(), weight, 100)
    reduction = reduce(model, rhythm, modes)
    assert 10 < reduction.modes < 75
    seen = reduction.dense[:, 9:]
    total = (seen**2).sum(axis=1) + (reduction.unseen**2).sum(axis=1)
    np.testing.assert_allclose(total, rhythm.residual_sd_rad**2)
    rows = posterior_rows(model)
    assert rows.shape == (84, model.size)
    np.testing.assert_allclose(rows[75, model.spine][:15:3], 1.0)


def draw_residual(rhythm: Rhythm, frames: int, dt_s: float, rng: np.random.Generator) -> np.ndarray:
    """What each segment does beside its region's rhythm, [frames, 75] in rad, as the fit believes."""
    rho = discretise(Dynamics(), dt_s, ROOT_UNITS, 0, 9).rho
    own = np.zeros((frames, 75))
    own[0] = rng.normal(size=75)
    for t in range(1, frames):
        own[t] = rho * own[t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=75)
    return own * rhythm.residual_sd_rad


def draw_from_prior(model: BodyModel, rhythm: Rhythm, frames: int, dt_s: float, rng: np.random.Generator) -> np.ndarray:
    """A clip whose spine follows exactly the process that the fit believes in."""
    process = discretise(Dynamics(), dt_s, ROOT_UNITS, 0, 9)
    regional = np.zeros((frames, 9))
    for j in range(9):
        state = np.linalg.cholesky(np.linalg.inv(process.start[6 + j])) @ rng.normal(size=2)
        root = np.linalg.cholesky(np.linalg.inv(process.precision[6 + j]))
        for t in range(frames):
            regional[t, j] = state[0]
            state = process.step[6 + j] @ state + root @ rng.normal(size=2)
    q = model.zero(frames)
    q[:, model.spine] = (regional * rhythm.regional_sd_rad) @ rhythm.shares.T + draw_residual(rhythm, frames, dt_s, rng)
    t = np.arange(frames) * dt_s
    q[:, 1], q[:, 3], q[:, 5] = 800 * t, 0.4 * np.sin(t), 0.2 * np.sin(1.3 * t)
    return q


def test_intervals_cover_where_generator_and_prior_agree() -> None:
    model, rhythm = build_model(limbs=False, limit_factor=20.0), build_rhythm()
    markers = keypoint_markers(model)
    inside = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        q = draw_from_prior(model, rhythm, 200, 0.02, rng)
        seen = marker_points(model, q, markers) + rng.normal(scale=10.0, size=(200, len(markers), 3))
        fit = fit_motion(
            seen, model, markers.names, rate_hz=50, options=FitOptions(sigma_mm=10.0, scale="none", rhythm=rhythm)
        )
        assert fit.angle_sd_deg is not None
        inside.append((np.abs(fit.angles_deg - model.spine_angles_deg(q)) < 1.645 * fit.angle_sd_deg).mean())
    assert 0.85 <= np.mean(inside) <= 0.95
