"""Affines, orientation, grids, centroids and curves: exact where they claim it, loud where they cannot be."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinemed.errors import VolumeError
from spinemed.geometry import (
    Curve,
    CurvePoints,
    VoxelPoints,
    WorldPoints,
    axis_codes,
    check_affine,
    label_centroids_mm,
    polyline_length_mm,
    reorient,
    reorient_points,
    resample_to_grid,
    resample_to_spacing,
    voxel_spacing,
    voxel_to_world,
    world_to_voxel,
)

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
ORIENTATIONS = ["".join(choice) for order in permutations(("LR", "PA", "IS")) for choice in product(*order)]  # all 48


def rotation(angles_deg: tuple[float, float, float]) -> np.ndarray:
    a, b, c = np.radians(angles_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def oblique(spacing=(0.7, 1.5, 3.0), angles=(12.0, -7.0, 20.0), origin=(-40.0, 25.0, -300.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) * np.array(spacing)
    affine[:3, 3] = origin
    return affine


# --- affines and orientation ---------------------------------------------------------------------------------------


def test_spacing_of_an_oblique_grid_is_the_voxel_size_not_the_diagonal() -> None:
    assert voxel_spacing(oblique()) == pytest.approx((0.7, 1.5, 3.0))


def test_codes_agree_with_nibabel_on_all_orientations_and_tilts() -> None:
    import nibabel as nib

    rng = np.random.default_rng(7)
    for _ in range(200):
        data = np.zeros((3, 4, 5))
        affine = oblique(rng.uniform(0.3, 4, 3), rng.uniform(-25, 25, 3), rng.uniform(-200, 200, 3))
        _, turned = reorient(data, affine, ORIENTATIONS[rng.integers(48)])
        assert axis_codes(turned) == "".join(nib.aff2axcodes(turned))


def test_two_array_axes_never_share_a_body_direction() -> None:
    for angle in range(0, 360, 5):
        codes = axis_codes(oblique(angles=(float(angle), 44.0, 46.0)))
        assert len({{"L": "R", "P": "A", "I": "S"}.get(c, c) for c in codes}) == 3


@pytest.mark.parametrize("target", ORIENTATIONS)
def test_reorienting_moves_no_point_in_the_world(target: str) -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 1000, (4, 5, 6))
    affine = oblique()
    turned, turned_affine = reorient(data, affine, target)
    assert axis_codes(turned_affine) == target
    points = VoxelPoints(np.argwhere(data >= 0).astype(float))
    moved = reorient_points(points, data.shape, affine, target)
    inside = moved.values.astype(int)
    assert np.array_equal(moved.values, inside)
    assert np.array_equal(turned[tuple(inside.T)], data.ravel())
    np.testing.assert_allclose(
        voxel_to_world(moved, turned_affine).values, voxel_to_world(points, affine).values, atol=1e-10
    )


def test_a_centroid_follows_a_flip_without_the_one_voxel_error() -> None:
    mask = np.zeros((57, 20, 20), dtype=np.uint8)
    mask[27:30, 4:9, 6:10] = 1  # centre 28 on the first axis; size - c would give 29, right is 57 - 1 - 28 = 28
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    centre = VoxelPoints(np.argwhere(mask).mean(axis=0))
    turned, _ = reorient(mask, affine, "LPI")
    assert np.array_equal(
        reorient_points(centre, mask.shape, affine, "LPI").values[0], np.argwhere(turned).mean(axis=0)
    )


@pytest.mark.parametrize("wrong", ["RAX", "RRS", "RA", "RLS", ""])
def test_an_impossible_orientation_is_refused(wrong: str) -> None:
    with pytest.raises(VolumeError, match="no orientation"):
        reorient(np.zeros((2, 2, 2)), np.eye(4), wrong)


@pytest.mark.parametrize(
    ("affine", "complaint"),
    [
        (np.eye(3), "shape"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "do not span"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float), "do not span"),
        (np.eye(4) * 2, "last row"),
        ("RAS", "not a matrix"),
    ],
)
def test_an_unusable_affine_is_named_with_its_file(affine, complaint: str) -> None:
    with pytest.raises(VolumeError, match=complaint) as caught:
        check_affine(affine, file="scan.nii.gz")
    assert "scan.nii.gz" in str(caught.value)
    assert "Cure:" in str(caught.value)


def test_a_tiny_voxel_is_not_taken_for_a_singular_affine() -> None:
    check_affine(np.diag([1e-4, 1e-4, 1e-4, 1.0]))


def test_voxel_and_world_points_cannot_be_mixed() -> None:
    with pytest.raises(TypeError, match="VoxelPoints expected, found WorldPoints"):
        voxel_to_world(WorldPoints(np.zeros((1, 3))), np.eye(4))
    with pytest.raises(TypeError, match="WorldPoints expected, found VoxelPoints"):
        world_to_voxel(VoxelPoints(np.zeros((1, 3))), np.eye(4))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(VolumeError, match="not finite"):
        WorldPoints(np.array([[0.0, np.nan, 1.0]]))
    with pytest.raises(VolumeError, match="shape"):
        VoxelPoints(np.zeros((3, 2)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-500, 500)] * 3), min_size=1, max_size=5))
def test_voxel_to_world_and_back(rows: list[tuple[float, float, float]]) -> None:
    affine = oblique()
    points = VoxelPoints(np.array(rows))
    np.testing.assert_allclose(world_to_voxel(voxel_to_world(points, affine), affine).values, points.values, atol=1e-9)


# --- grids ---------------------------------------------------------------------------------------------------------


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """A field that is linear in world coordinates: trilinear interpolation must reproduce it."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return world @ np.array([0.5, -2.0, 3.0]) + 7


def test_linear_resampling_reproduces_a_linear_field_on_a_rotated_grid() -> None:
    affine = oblique()
    target = oblique(spacing=(1.0, 1.0, 1.0), angles=(0.0, 0.0, 0.0), origin=(-33.0, 40.0, -292.0))
    shape = (14, 14, 14)
    out = resample_to_grid(ramp((40, 30, 25), affine), affine, shape, target, order=1, fill=-9999.0)
    expected = ramp(shape, target)
    points = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    inside = world_to_voxel(voxel_to_world(VoxelPoints(points), target), affine).values
    well = ((inside >= 0) & (inside <= np.array([39, 29, 24]))).all(axis=1).reshape(shape)
    beyond = ((inside < -0.51) | (inside > np.array([39, 29, 24]) + 0.51)).any(axis=1).reshape(shape)
    assert 0.2 < well.mean() < 1
    assert beyond.any()
    np.testing.assert_allclose(out[well], expected[well], atol=1e-9)
    assert (out[beyond] == -9999.0).all()


def test_the_border_holds_its_value_for_half_a_voxel_and_no_further() -> None:
    data = np.array([10, 20], dtype=np.uint8).reshape(2, 1, 1)
    finer = np.diag([0.25, 1.0, 1.0, 1.0])
    finer[0, 3] = -1.0  # from index -1 to 2 in quarter steps
    out = resample_to_grid(data, np.eye(4), (13, 1, 1), finer, order=0, fill=0)
    assert out.dtype == np.uint8
    assert out.ravel().tolist() == [0, 0, 10, 10, 10, 10, 20, 20, 20, 20, 20, 0, 0]
    smooth = resample_to_grid(data, np.eye(4), (13, 1, 1), finer, order=1, fill=-1)
    assert smooth.ravel().tolist() == [-1, -1, 10, 10, 10, 12.5, 15, 17.5, 20, 20, 20, -1, -1]


def test_a_mask_keeps_its_labels_when_resampled_and_a_ct_fill_is_refused() -> None:
    rng = np.random.default_rng(1)
    mask = rng.choice(np.array([0, 7, 28], dtype=np.uint8), (12, 13, 14))
    out, affine = resample_to_spacing(mask, oblique(), 1.3, order=0, fill=0)
    assert out.dtype == np.uint8
    assert set(np.unique(out)) == {0, 7, 28}
    assert voxel_spacing(affine) == pytest.approx((1.3, 1.3, 1.3))
    with pytest.raises(VolumeError, match="fill value -1024"):
        resample_to_spacing(mask, oblique(), 1.3, order=0, fill=-1024)


def test_resampling_to_another_spacing_keeps_the_centre_of_the_field_of_view() -> None:
    data = np.zeros((10, 11, 12), dtype=np.float32)
    affine = oblique()
    out, new = resample_to_spacing(data, affine, (1.4, 1.0, 2.0), order=1, fill=0)
    assert out.shape == (5, 17, 18)
    old_centre = voxel_to_world(VoxelPoints((np.array(data.shape) - 1) / 2), affine).values
    new_centre = voxel_to_world(VoxelPoints((np.array(out.shape) - 1) / 2), new).values
    np.testing.assert_allclose(new_centre, old_centre, atol=1e-9)


def test_resampling_to_its_own_grid_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(6, 7, 8)).astype(np.float32)
    assert np.array_equal(resample_to_grid(data, oblique(), data.shape, oblique(), order=1, fill=0), data)
    flags = data > 0
    same = resample_to_grid(flags, oblique(), data.shape, oblique(), order=0, fill=0)
    assert same.dtype == bool
    assert np.array_equal(same, flags)


@pytest.mark.parametrize(
    ("spacing", "order", "complaint"), [(0.0, 1, "not positive"), (1e-5, 1, "larger spacing"), (1.0, 3, "order")]
)
def test_impossible_resampling_is_refused(spacing: float, order: int, complaint: str) -> None:
    with pytest.raises(VolumeError, match=complaint):
        resample_to_spacing(np.zeros((2, 2, 2)), np.eye(4), spacing, order=order, fill=0)


def test_centroids_of_analytic_blocks_in_world_mm() -> None:
    mask = np.zeros((20, 20, 20), dtype=np.int32)
    mask[2:5, 3, 4:8] = 22
    mask[10, 10, 10] = 28
    affine = oblique()
    found = label_centroids_mm(mask, affine)
    assert list(found) == [22, 28]
    np.testing.assert_allclose(found[22], affine[:3, :3] @ [3, 3, 5.5] + affine[:3, 3], atol=1e-9)
    assert list(label_centroids_mm(mask, affine, labels=[28, 5, 0])) == [28]
    assert label_centroids_mm(np.zeros((2, 2, 2), dtype=np.uint8), affine) == {}


def test_centroids_do_not_depend_on_the_orientation_of_a_real_mask() -> None:
    from spinemed.volume import read_mask

    mask = read_mask(SAMPLES / "ct/tptbox_L3_crop/sub-ct_seg-vert_label-22_msk.nii.gz")
    here = label_centroids_mm(mask.data, mask.affine)
    assert list(here) == [21, 22, 23]
    there = label_centroids_mm(*reorient(mask.data, mask.affine, "LAI"))
    for label in here:
        np.testing.assert_allclose(there[label], here[label], atol=1e-9)
    # L2, L3, L4 from head to foot: superior falls.
    assert here[21][2] > here[22][2] > here[23][2]


# --- curves --------------------------------------------------------------------------------------------------------


def arc_points(radius: float = 200.0, n: int = 25) -> WorldPoints:
    angle = np.linspace(-0.8, 0.8, n)
    return WorldPoints(np.column_stack([np.zeros(n), radius * (1 - np.cos(angle)), radius * np.sin(angle)]))


def lordotic_points() -> WorldPoints:
    z = np.linspace(-150, 150, 12)
    return WorldPoints(np.column_stack([4 * np.sin(z / 60), 25 * np.cos(z / 80), z]))


def test_the_length_of_an_arc_is_radius_times_angle() -> None:
    curve = Curve(arc_points())
    assert curve.length_mm == pytest.approx(200 * 1.6, abs=2e-2)
    assert polyline_length_mm(arc_points()) < curve.length_mm
    assert polyline_length_mm(WorldPoints(np.array([[0, 0, 0], [3, 4, 0], [3, 4, 12.0]]))) == 17.0


def test_two_points_give_a_straight_line_with_anatomical_frames() -> None:
    curve = Curve(WorldPoints(np.array([[0, 0, 0], [0, 0, 50.0]])))
    assert curve.length_mm == pytest.approx(50)
    np.testing.assert_allclose(curve.frames([0.0, 25.0])[1], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(curve.positions([-10.0, 60.0]).values, [[0, 0, -10], [0, 0, 60]], atol=1e-9)


def test_a_curve_passes_through_its_points_and_is_measured_by_arc_length() -> None:
    curve = Curve(lordotic_points())
    places = curve.to_local(lordotic_points()).values
    np.testing.assert_allclose(places[:, :2], 0, atol=1e-8)
    assert (np.diff(places[:, 2]) > 0).all()
    fine = np.linspace(0, curve.length_mm, 20001)
    steps = np.linalg.norm(np.diff(curve.positions(fine).values, axis=0), axis=1)
    np.testing.assert_allclose(steps, curve.length_mm / 20000, rtol=1e-5)


def test_frames_are_right_handed_and_keep_the_front_in_front() -> None:
    frames = Curve(lordotic_points()).frames(np.linspace(-20, 340, 50))
    np.testing.assert_allclose(
        np.einsum("nij,nkj->nik", frames, frames), np.broadcast_to(np.eye(3), frames.shape), atol=1e-12
    )
    assert (np.linalg.det(frames) > 0.999).all()
    assert (frames[:, 0, 0] > 0.9).all()  # right stays right on a curve that runs upwards
    assert (frames[:, 1, 1] > 0.9).all()


@pytest.mark.parametrize("upwards", [True, False])
def test_curve_local_to_world_and_back(upwards: bool) -> None:
    knots = lordotic_points().values
    curve = Curve(WorldPoints(knots if upwards else knots[::-1]))
    rng = np.random.default_rng(11)
    n = 2000
    local = CurvePoints(
        np.column_stack([rng.uniform(-40, 40, n), rng.uniform(-40, 40, n), rng.uniform(-30, curve.length_mm + 30, n)])
    )
    world = curve.to_world(local)
    np.testing.assert_allclose(curve.to_local(world).values, local.values, atol=1e-7)
    np.testing.assert_allclose(curve.to_world(curve.to_local(world)).values, world.values, atol=1e-7)


def test_straightening_keeps_distances_across_the_curve() -> None:
    curve = Curve(arc_points())
    ends = curve.to_world(CurvePoints(np.array([[-20.0, 0, 160], [20.0, 0, 160], [0, -15, 160], [0, 15, 160]]))).values
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(40)
    assert np.linalg.norm(ends[2] - ends[3]) == pytest.approx(30)


def test_a_place_without_a_single_foot_point_is_refused() -> None:
    curve = Curve(arc_points(radius=50.0))
    with pytest.raises(VolumeError, match="more than one foot"):
        curve.to_local(WorldPoints(np.array([[0.0, 90.0, 0.0]])))


@pytest.mark.parametrize(
    ("points", "complaint"),
    [([[0, 0, 0.0]], "at least two"), ([[0, 0, 0.0], [0, 0, 0.0], [0, 0, 9.0]], "coincide")],
)
def test_points_that_make_no_curve_are_refused(points: list[list[float]], complaint: str) -> None:
    with pytest.raises(VolumeError, match=complaint):
        Curve(WorldPoints(np.array(points)))


def test_a_curve_that_runs_front_to_back_has_no_anterior_side() -> None:
    with pytest.raises(VolumeError, match="front to back"):
        Curve(WorldPoints(np.array([[0, 0, 0], [0, 80.0, 1]]))).frames([10.0])
