"""A spine laid straight, and back again: nothing may move, whatever the orientation, spacing or bend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.geometry import WorldPoints
from spinemed.geometry.curve import Curve, CurvePoints
from spinemed.labelling.masks import LabelMask, read_label_mask
from spinemed.measure import separate_body
from spinemed.vertebra.straighten import StraightCrop, Straightened, straighten_spine
from spinemed.volume import Volume, reorient_volume, resample_like

FOLDER = Path(__file__).resolve().parents[3] / "samples" / "masks" / "healthivert_0007"


@pytest.fixture(scope="module")
def mask() -> LabelMask:
    return read_label_mask(FOLDER / "0007_msk.nii.gz")


@pytest.fixture(scope="module")
def straight(mask: LabelMask) -> Straightened:
    return straighten_spine(mask, [Level.T12, Level.L2, Level.L5])


def body_in_patient(mask: LabelMask, straight: Straightened, crop: StraightCrop) -> NDArray[np.bool_]:
    """The body as it was told from the arch, on the patient's grid."""
    up = straight.curve.frames([crop.start[2] + 48])[0]
    cut = separate_body(mask.data == crop.level.verse_label, mask.affine, anterior_hint=up[1], up_hint=up[2])
    first = np.round(np.linalg.solve(mask.affine[:3, :3], cut.affine[:3, 3] - mask.affine[:3, 3])).astype(int)
    out = np.zeros(mask.shape, dtype=bool)
    out[tuple(slice(a, a + n) for a, n in zip(first, cut.mask.shape, strict=True))] = cut.mask
    return out


def test_an_unchanged_body_comes_back_to_its_place(mask: LabelMask, straight: Straightened) -> None:
    for crop in straight.crops.values():
        values, box = straight.to_patient(crop, crop.body, mask.volume)
        back = np.zeros(mask.shape, dtype=bool)
        back[box] = values > 0.5
        before = body_in_patient(mask, straight, crop)
        dice = 2 * (back & before).sum() / (back.sum() + before.sum())
        assert dice >= 0.95, (crop.level, dice)
        # Nothing outside the body's own surroundings is touched.
        assert not (back & ~_grown(before)).any()


def _grown(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(body, iterations=2))


def test_crops_stand_upright_with_true_lengths(straight: Straightened) -> None:
    for crop in straight.crops.values():
        inside = np.argwhere(crop.body > 0.5)
        centre = inside.mean(axis=0)
        assert np.abs(centre[:2] - (np.array(crop.body.shape[:2]) - 1) / 2).max() < 6
        # The affine is exact at the centre: two ways to the world agree there, and 20 mm off by little.
        for offset, bound in ((0.0, 0.6), (10.0, 2.0)):
            index = centre + np.array([0, 0, offset])
            bent = straight.to_world(crop, index[None]).values[0]
            rigid = crop.affine[:3, :3] @ index + crop.affine[:3, 3]
            assert np.linalg.norm(bent - rigid) < bound
        assert np.linalg.norm(crop.affine[:3, :3], axis=0) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR"])
def test_orientation_changes_nothing(mask: LabelMask, straight: Straightened, codes: str) -> None:
    turned = reorient_volume(mask.volume, codes)
    other = straighten_spine(LabelMask(np.asarray(turned.data), turned.affine), [Level.L2])
    one, two = straight.crops[Level.L2], other.crops[Level.L2]
    assert np.abs(one.affine - two.affine).max() < 0.1
    dice = 2 * ((one.body > 0.5) & (two.body > 0.5)).sum() / ((one.body > 0.5).sum() + (two.body > 0.5).sum())
    assert dice > 0.995


def test_anisotropic_masks_and_images(mask: LabelMask, straight: Straightened) -> None:
    affine = mask.affine @ np.diag([1.0, 1.0, 3.0, 1.0])
    thick = resample_like(mask.volume, Volume(np.zeros((280, 180, 60), np.uint8), affine, "label"), fill=0)
    image = Volume(np.where(thick.data > 0, 400, 0).astype(np.float32), thick.affine, "HU")
    told = straighten_spine(LabelMask(np.asarray(thick.data), thick.affine), [Level.L2], image=image)
    crop = told.crops[Level.L2]
    assert crop.image is not None
    assert crop.image[crop.body > 0.9].mean() > 380
    fine = straight.crops[Level.L2]
    assert (crop.body > 0.5).sum() == pytest.approx((fine.body > 0.5).sum(), rel=0.08)


def test_one_vertebra_alone_is_flagged(mask: LabelMask) -> None:
    alone = LabelMask(np.where(mask.data == 21, mask.data, 0).astype(np.uint8), mask.affine)
    told = straighten_spine(alone)
    assert "straight line" in told.flags[0]
    assert (told.crops[Level.L2].body > 0.5).sum() > 10_000


def test_cut_vertebrae_say_so(mask: LabelMask) -> None:
    crop = straighten_spine(mask, [Level.T10]).crops[Level.T10]
    assert any("cut" in flag for flag in crop.flags)


def test_bad_requests_are_named(mask: LabelMask, straight: Straightened) -> None:
    with pytest.raises(VolumeError, match="C7 is not in the mask"):
        straighten_spine(mask, [Level.C7])
    with pytest.raises(VolumeError, match="no vertebra"):
        straighten_spine(LabelMask(np.zeros((9, 9, 9), np.uint8), np.eye(4)))
    with pytest.raises(VolumeError, match="grid"):
        straighten_spine(mask, image=Volume(np.zeros((9, 9, 9), np.int16), np.eye(4), "HU"))
    with pytest.raises(VolumeError, match="spacing"):
        straighten_spine(mask, spacing_mm=0.01)
    crop = straight.crops[Level.L2]
    with pytest.raises(VolumeError, match="nothing to bring back"):
        straight.to_patient(crop, np.zeros_like(crop.body), mask.volume)


def test_a_sharp_kyphosis_has_its_way_back_beside_the_vertebra() -> None:
    # Seven middles on an arc of 55 mm radius: places 60 mm behind the curve have several feet, the bodies have one.
    angles = np.radians(np.linspace(-75, 75, 7))
    curve = Curve(WorldPoints(np.stack([np.zeros(7), 55 * np.cos(angles), 55 * np.sin(angles)], axis=1)))
    local = CurvePoints(np.random.default_rng(4).uniform((-20, -20, 40), (20, 20, 90), (500, 3)))
    world = curve.to_world(local)
    guess = local.values[:, 2] + np.random.default_rng(5).uniform(-12, 12, 500)
    assert np.abs(curve.to_local_near(world, guess).values - local.values).max() < 1e-6
    assert curve.spread(local).min() > 0
    with pytest.raises(VolumeError, match="more than one foot"):
        curve.to_local(WorldPoints(np.array([[0.0, 0.0, 0.0]])))
    assert curve.spread(CurvePoints(np.array([[0.0, -60.0, curve.length_mm / 2]])))[0] <= 0
