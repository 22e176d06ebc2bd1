"""Centroids measured on masks: how near the body estimate comes to the true body, on real masks and on made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.labelling import LabelMask, body_centroids, read_label_mask, whole_centroids
from spinemed.volume import Volume, read_mask, reorient_volume

PAIRS = {
    "CT": (
        "ct/tptbox_L3_crop/sub-ct_seg-vert_label-22_msk.nii.gz",
        "ct/tptbox_L3_crop/sub-ct_seg-subreg_label-22_msk.nii.gz",
    ),
    "MR": (
        "mr/tptbox_crop/sub-mri_seg-vert_label-6_msk.nii.gz",
        "mr/tptbox_crop/sub-mri_seg-subreg_label-6_msk.nii.gz",
    ),
    "lumbar MR": ("masks/panoptica_spine/unmatched_instance/ref.nii.gz", "masks/panoptica_spine/semantic/ref.nii.gz"),
}


def errors(samples: Path, pair: str) -> tuple[list[float], list[float]]:
    """Distance (mm) of the body estimate and of the whole vertebra's centre to the body in the subregion mask."""
    vertebrae, parts = PAIRS[pair]
    mask, subregions = read_label_mask(samples / vertebrae, scheme="spineps"), read_mask(samples / parts)
    truth = body_centroids(mask, subregions)
    assert truth.flags == ()
    found, whole = body_centroids(mask), whole_centroids(mask)
    assert found.levels == truth.levels == mask.levels
    return (
        [float(np.linalg.norm(found[level] - point)) for level, point in truth.items()],
        [float(np.linalg.norm(whole[level] - point)) for level, point in truth.items()],
    )


@pytest.mark.parametrize(("pair", "worst_mm"), [("CT", 1.2), ("MR", 0.9), ("lumbar MR", 0.9)])
def test_the_estimate_is_near_the_body_of_real_vertebrae(samples: Path, pair: str, worst_mm: float) -> None:
    """Thirteen vertebrae, some of them cut by the crop. The centre of the whole vertebra is 5 to 17 mm away."""
    estimate, whole = errors(samples, pair)
    assert max(estimate) < worst_mm
    assert min(whole) > 4.5


def vertebra(*, height: float = 26.0, spacing: float = 1.0, arch: bool = True) -> LabelMask:
    """A lumbar-like vertebra: an elliptic body 45 x 34 mm at the origin, pedicles, lamina and a spinous process."""
    size = np.array([80, 110, 60]) / spacing
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-40, -75, -30)
    x, y, z = np.meshgrid(*(np.arange(int(n)) * spacing + o for n, o in zip(size, affine[:3, 3])), indexing="ij")
    body = (x / 22.5) ** 2 + (y / 17) ** 2 <= 1
    body &= np.abs(z) <= height / 2
    if arch:
        body |= (np.abs(np.abs(x) - 14) < 4.5) & (y < 0) & (y > -32) & (np.abs(z - 4) < 6)  # pedicles
        body |= (np.abs(x) < 18) & (np.abs(y + 34) < 4) & (np.abs(z) < 10)  # lamina
        body |= (np.abs(x) < 3.5) & (y < -34) & (y > -70) & (np.abs(z + 4) < 9)  # spinous process
        body |= (np.abs(x) < 38) & (np.abs(y + 20) < 4) & (np.abs(z - 3) < 5)  # transverse processes
    return LabelMask(np.asfortranarray(body.astype(np.uint8) * 22), affine)


@pytest.mark.parametrize(("height", "worst_mm"), [(26.0, 0.8), (20.0, 1.0), (15.0, 4.0)])
@pytest.mark.parametrize("spacing", [1.0, 0.7])
def test_the_estimate_on_a_made_vertebra_whole_and_crushed(height: float, worst_mm: float, spacing: float) -> None:
    """A body crushed to 15 mm is hardly thicker than its pedicles: the estimate moves towards them by up to 4 mm."""
    mask = vertebra(height=height, spacing=spacing)
    assert np.linalg.norm(body_centroids(mask)[Level.L3]) < worst_mm
    assert np.linalg.norm(whole_centroids(mask)[Level.L3]) > 5.0


def test_in_the_neck_the_body_is_taken_and_not_the_thicker_articular_masses() -> None:
    affine = np.eye(4)
    affine[:3, 3] = (-35, -45, -15)
    x, y, z = np.meshgrid(np.arange(70) - 35.0, np.arange(60) - 45.0, np.arange(30) - 15.0, indexing="ij")
    bone = (x / 9) ** 2 + (y / 7.5) ** 2 <= 1
    bone &= np.abs(z) <= 6.5  # a body of 18 x 15 x 13 mm
    bone |= (np.abs(x) - 17) ** 2 + (y + 15) ** 2 + z**2 <= 7.3**2  # articular masses
    bone |= (np.abs(np.abs(x) - 10) < 5) & (np.abs(y + 7) < 6) & (np.abs(z) < 3)  # pedicles
    bone |= (np.abs(x) < 18) & (np.abs(y + 25) < 3) & (np.abs(z) < 5)  # lamina
    mask = LabelMask(np.asfortranarray(bone.astype(np.uint8) * 4), affine)
    assert np.linalg.norm(body_centroids(mask)[Level.C4]) < 1.5
    turned = reorient_volume(mask.volume, "PIR")
    other = LabelMask(np.asarray(turned.data), turned.affine)
    np.testing.assert_allclose(body_centroids(other)[Level.C4], body_centroids(mask)[Level.C4], atol=1e-9)


def test_an_island_moves_nothing() -> None:
    mask = vertebra()
    data = np.array(mask.data)
    data[1:5, 1:5, 1:4] = 22
    island = LabelMask(data, mask.affine)
    np.testing.assert_allclose(body_centroids(island).points.values, body_centroids(mask).points.values, atol=1e-9)


def test_the_estimate_does_not_depend_on_the_orientation() -> None:
    mask = vertebra()
    turned = reorient_volume(mask.volume, "PIR")
    other = LabelMask(np.asarray(turned.data), turned.affine)
    np.testing.assert_allclose(body_centroids(other).points.values, body_centroids(mask).points.values, atol=1e-9)


def test_the_atlas_has_no_body_and_gets_the_centre_of_its_ring() -> None:
    data = np.zeros((60, 60, 20), np.uint8, order="F")
    x, y = np.meshgrid(np.arange(60) - 30, np.arange(60) - 30, indexing="ij")
    data[(x**2 + y**2 < 25**2) & (x**2 + y**2 > 16**2), 5:15] = 1
    mask = LabelMask(data, np.eye(4))
    np.testing.assert_allclose(body_centroids(mask)[Level.C1], (30.0, 30.0, 9.5), atol=1e-9)


def test_sacrum_and_coccyx_are_no_vertebrae_and_an_empty_mask_has_none() -> None:
    data = np.zeros((10, 10, 10), np.uint8, order="F")
    empty = body_centroids(LabelMask(data.copy(), np.eye(4)))
    assert (len(empty), empty.points.values.shape) == (0, (0, 3))
    data[1:4], data[5:8] = 26, 27
    assert len(body_centroids(LabelMask(data, np.eye(4)))) == len(whole_centroids(LabelMask(data, np.eye(4)))) == 0


def test_a_vertebra_without_body_in_the_subregions_is_estimated_and_flagged() -> None:
    mask = vertebra()
    nothing = Volume(np.zeros(mask.shape, np.uint8), mask.affine, "label")
    found = body_centroids(mask, nothing)
    assert found.flags == ("L3: no body in the subregions, estimated from the shape",)
    elsewhere = Volume(np.zeros(mask.shape, np.uint8), mask.affine @ np.diag([2.0, 1, 1, 1]), "label")
    with pytest.raises(VolumeError, match="another grid"):
        body_centroids(mask, elsewhere)
