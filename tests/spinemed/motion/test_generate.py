"""The generator of natural motions: same draw from the same seed, within limits, smooth, feet on the ground."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.motion import build_rhythm, sagittal_curves_deg
from spinemed.motion.cameras import camera_ring
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.generate import MOTIONS, DetectorNoise, draw_subject, generate_clip
from spinemed.motion.generate.legs import leg_sizes
from spinemed.motion.generate.norms import draw, norm
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.motion.kinematics import forward
from spinemed.motion.limits import excess_deg
from spinemed.motion.tables import read_table

SEED = 11


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_every_motion_is_within_limits_smooth_and_grounded(motion: str) -> None:
    for subject in range(2):
        clip = generate_clip(motion, seed=SEED, subject=subject, seconds=4.0)
        model = clip.model()
        assert np.isfinite(clip.q).all()
        assert excess_deg(model, clip.q).max() == 0.0
        # Spine and pelvis turn like a body, not like noise: angular acceleration in deg/s^2 (a quick glance is 2,000).
        turning = np.degrees(np.diff(clip.q[:, 3:81], 2, axis=0)) * clip.rate_hz**2
        assert np.abs(turning).max() < 2500
        # No point of the foot sinks into the ground, and there is always one on it.
        feet = clip.keypoints_mm[:, 20:26, 2]
        assert feet.min() > -8.0
        assert feet.min(axis=1).max() < 30.0
        # The head stays above the pelvis' height less what a deep bend takes.
        assert (clip.keypoints_mm[:, 17, 2] > 250.0).all()


@pytest.mark.parametrize("motion", ["bend", "lift", "twist", "sit"])
def test_planted_feet_stay_where_they_are(motion: str) -> None:
    clip = generate_clip(motion, seed=SEED, subject=1, seconds=4.0)
    toes = clip.keypoints_mm[:, 20:22].astype(np.float64)
    assert np.ptp(toes, axis=0).max() < 3.0
    # In a deep squat heels rise, because an ankle bends only so far; nothing else lifts them.
    heels = clip.keypoints_mm[:, 24:26].astype(np.float64)
    assert np.ptp(heels, axis=0).max() < (90.0 if motion == "lift" else 3.0)


def test_a_walking_foot_stands_still_while_it_carries() -> None:
    clip = generate_clip("gait", seed=SEED, subject=3, seconds=4.0)
    for toe, heel in ((21, 25), (20, 24)):
        flat = (clip.keypoints_mm[:, toe, 2] < 12.0) & (clip.keypoints_mm[:, heel, 2] < 26.0)
        speed = np.linalg.norm(np.diff(clip.keypoints_mm[:, toe].astype(np.float64), axis=0), axis=1) * clip.rate_hz
        standing = flat[1:] & flat[:-1]
        assert standing.mean() > 0.2
        assert np.median(speed[standing]) < 150.0
    moved = np.linalg.norm(np.diff(clip.q[:, :2], axis=0), axis=1).sum() / 4.0
    assert 700 < moved < 1900, f"walks at {moved:.0f} mm/s"


def test_the_same_seed_gives_the_same_clip_and_another_one_another() -> None:
    cameras = camera_ring(2)
    one, two = (
        generate_clip("lift", seed=SEED, subject=2, seconds=1.0, cameras=cameras, noise=DetectorNoise())
        for _ in range(2)
    )
    assert one.q.tobytes() == two.q.tobytes()
    assert one.detected is not None
    assert two.detected is not None
    assert one.detected.tobytes() == two.detected.tobytes()
    assert generate_clip("lift", seed=SEED, subject=2, seconds=1.0, number=1).q.tobytes() != one.q.tobytes()
    assert generate_clip("lift", seed=SEED + 1, subject=2, seconds=1.0).q.tobytes() != one.q.tobytes()


def test_labels_follow_from_the_poses() -> None:
    clip = generate_clip("bend", seed=SEED, subject=0, seconds=1.0, cameras=camera_ring(2))
    model = clip.model()
    np.testing.assert_allclose(clip.angles_deg, model.spine_angles_deg(clip.q), atol=1e-4)
    placed = forward(model, clip.q)
    l5 = placed.origins_mm[:, 1] + placed.rotations[:, 1] @ model.centroid_mm[0]
    np.testing.assert_allclose(clip.centroids_mm[:, -1], l5, atol=1e-3)
    nose = clip.keypoints_mm[:, SPINETRACK_37.index("nose")]
    assert clip.pixels is not None
    np.testing.assert_allclose(clip.pixels[1, :, 0], clip.cameras[1].project(nose), atol=0.05)


def test_motions_use_the_regions_they_are_named_for() -> None:
    def share(motion: str, region: slice, direction: int, subject: int) -> float:
        angles = generate_clip(motion, seed=SEED, subject=subject, seconds=6.0).angles_deg
        return float(np.ptp(angles[:, region, direction].sum(axis=1)))

    lumbar_part, thoracic, cervical = slice(0, 5), slice(5, 17), slice(17, 25)
    for subject in range(3):
        assert share("bend", lumbar_part, 0, subject) > 22
        assert share("side_bend", lumbar_part, 1, subject) > 8
        assert share("twist", thoracic, 2, subject) > 12
        assert share("look", cervical, 0, subject) + share("look", cervical, 2, subject) > 35
        assert 2 < share("gait", thoracic, 2, subject) < 30
        assert share("gait", lumbar_part, 0, subject) < 12


def test_lordosis_falls_when_sitting_down() -> None:
    falls = []
    for subject in range(4):
        clip = generate_clip("sit", seed=SEED, subject=subject, seconds=10.0)
        lordosis = sagittal_curves_deg(clip.model(), clip.q)["lordosis_l1_s1"]
        height = clip.q[:, 2]
        middle = (height.max() + height.min()) / 2
        up, down = height > middle + 0.45 * np.ptp(height), height < middle - 0.45 * np.ptp(height)
        falls.append(np.median(lordosis[up]) - np.median(lordosis[down]))
    assert all(fall > 5 for fall in falls)
    assert 10 < float(np.mean(falls)) < 40


def test_no_subject_follows_a_packaged_rhythm_exactly() -> None:
    """A fit that believes in a packaged rhythm must not find it in the data."""
    names = set()
    for number in range(6):
        subject = draw_subject(SEED, number)
        names.add(subject.rhythm)
        packaged = build_rhythm(subject.rhythm, coupling=True).shares
        np.testing.assert_allclose(np.abs(subject.shares).sum(axis=0), np.abs(packaged).sum(axis=0), rtol=1e-9)
        strong = packaged > 0.05
        off = np.abs(subject.shares[strong] / packaged[strong] - 1)
        assert 0.05 < np.median(off) < 0.6
    assert len(names) > 1
    assert draw_subject(SEED, 4) == draw_subject(SEED, 4)
    clip = generate_clip("bend", seed=SEED, subject=0, seconds=4.0)
    parts = clip.angles_deg[:, :5, DIRECTIONS.index("flexion")].astype(np.float64)
    deep = parts.sum(axis=1) > 15
    shares = parts[deep] / parts[deep].sum(axis=1, keepdims=True)
    assert shares.std(axis=0).max() > 0.002, "levels keep a fixed ratio: no motion of their own"


def test_draws_respect_the_table() -> None:
    rng = np.random.default_rng(0)
    for row in read_table("natural_motions"):
        assert row["mark"] in ("a", "b", "d"), row
        assert row["source"]
        mean, sd, low, high = norm(row["motion"], row["quantity"])
        assert low <= mean <= high
        assert sd > 0
    values = [draw(rng, "bend", "lumbar_flexion") for _ in range(200)]
    assert min(values) >= 34
    assert max(values) <= 62


def test_detector_errs_as_told_and_says_what_it_missed() -> None:
    noise = DetectorNoise(factor=0.08, outliers=0.0, missed=0.1, memory_s=0.1)
    clip = generate_clip("look", seed=SEED, subject=0, seconds=6.0, cameras=camera_ring(2), noise=noise)
    assert clip.pixels is not None
    assert clip.detected is not None
    assert clip.confidence is not None
    off = clip.detected - clip.pixels
    assert 0.06 < np.isnan(off).mean() < 0.14
    assert (clip.confidence[np.isnan(off[..., 0])] == 0).all()
    assert 1.5 < np.nanstd(off) < 8.0
    shoulder, nose = SPINETRACK_37.index("left_shoulder"), SPINETRACK_37.index("nose")
    assert np.nanstd(off[:, :, shoulder]) > 2 * np.nanstd(off[:, :, nose])


def test_legs_reach_their_feet() -> None:
    clip = generate_clip("twist", seed=SEED, subject=5, seconds=2.0)
    model = clip.model()
    sizes = leg_sizes(model)
    placed = forward(model, clip.q)
    hip, ankle = (placed.origins_mm[:, model.body(f"left_{part}")] for part in ("thigh", "foot"))
    knee = clip.q[:, model.freedom("left_shank.flexion")]
    np.testing.assert_allclose(np.linalg.norm(hip - ankle, axis=1), sizes.distance_mm(knee), atol=1e-6)
    np.testing.assert_allclose(ankle[:, 2], sizes.sole_mm, atol=1.0)


def test_unknown_motions_and_clips_without_frames_are_refused() -> None:
    with pytest.raises(MotionError, match="dance") as unknown:
        generate_clip("dance")
    assert "gait" in str(unknown.value)
    with pytest.raises(MotionError, match="1 frames"):
        generate_clip("gait", seconds=0.02)
