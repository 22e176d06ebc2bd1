"""From heat map to row of vertebrae, and from claims to a mask: the parts that no training can be blamed for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinemed.errors import VolumeError
from spinemed.geometry import VoxelPoints, voxel_to_world
from spinemed.labelling.assignment import Kind
from spinemed.labelling.inference import Detection, _order, _peaks, canonical, crop_around, gap_weights, segment
from spinemed.labelling.jobs import read_ct
from spinemed.labelling.networks import KINDS, LabellerConfig
from spinemed.volume import Volume, reorient_volume, write_nifti

SPACING = 4.0
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])


def heat_of(*bumps: tuple[tuple[float, float, float], float]) -> np.ndarray:
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 24, 32)), indexing="ij"), -1)
    heat = np.zeros(axes.shape[:3], dtype=np.float32)
    for centre, height in bumps:
        heat = np.maximum(heat, height * np.exp(-0.5 * ((axes - centre) ** 2).sum(-1) / 1.25**2))
    return heat.astype(np.float32)


def kinds_of(heat: np.ndarray, kind: Kind) -> np.ndarray:
    maps = np.zeros((1 + len(KINDS), *heat.shape), dtype=np.float32)
    maps[1 + KINDS.index(kind)] = 1.0
    return maps


def found(kind: Kind, z: float, score: float) -> Detection:
    return Detection(np.array([0.0, 0.0, z]), score, {one: float(one is kind) for one in KINDS})


def test_a_bump_is_found_between_voxels() -> None:
    heat = heat_of(((10.3, 11.6, 15.2), 0.9))
    (one,) = _peaks(heat, kinds_of(heat, Kind.LUMBAR), AFFINE, SPACING)
    assert np.abs(one.centre_mm / SPACING - [10.3, 11.6, 15.2]).max() < 0.15
    assert one.kinds[Kind.LUMBAR] > 0.99


def test_side_by_side_is_one_vertebra_and_one_above_the_other_are_two() -> None:
    heat = heat_of(((8.0, 12.0, 10.0), 0.9), ((13.0, 12.0, 10.0), 0.7), ((8.0, 12.0, 14.0), 0.6))
    places = [one.centre_mm / SPACING for one in _peaks(heat, kinds_of(heat, Kind.RIBS), AFFINE, SPACING)]
    assert len(places) == 2
    assert {round(float(place[2])) for place in places} == {10, 14}


def test_there_is_one_sacrum_and_nothing_below_it() -> None:
    row = [
        found(Kind.LUMBAR, 60, 0.8),
        found(Kind.SACRUM, 20, 0.9),
        found(Kind.LUMBAR, -10, 0.8),
        found(Kind.SACRUM, 35, 0.4),
        found(Kind.RIBS, 90, 0.7),
    ]
    assert [detection.centre_mm[2] for detection in _order(row)] == [90, 60, 20]


def test_a_double_gap_is_one_missed_vertebra() -> None:
    z = np.array([0.0, 30, 60, 120, 150])
    weights = gap_weights(np.stack([0 * z, 0 * z, -z], axis=1))
    assert weights.shape == (4, 4)
    assert weights.argmax(axis=1).tolist() == [0, 0, 1, 0]
    assert np.allclose(np.exp(weights).sum(axis=1), 1.0)


@pytest.mark.parametrize("codes", ["RAS", "PIR", "LPI"])
def test_every_orientation_is_seen_alike(codes: str) -> None:
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = (5, -7, 11)
    volume = Volume(rng.normal(0, 100, (20, 18, 16)).astype(np.float32), affine, "HU")
    here, place = canonical(volume, 3.0)
    there, other = canonical(reorient_volume(volume, codes), 3.0)
    assert np.allclose(place, other)
    assert np.allclose(here, there, atol=1e-3)


def test_a_crop_beyond_the_edge_is_air() -> None:
    crop, start = crop_around(np.zeros((6, 6, 6), dtype=np.float32), np.array([0.0, 3.0, 3.0]), (4, 4, 4), 0.0)
    assert crop.shape == (4, 4, 4)
    assert (crop[start[0] * -1 :] == 0).all()
    assert (crop[: -start[0]] == -1).all()
    far, _ = crop_around(np.zeros((6, 6, 6), dtype=np.float32), np.array([50.0, 3.0, 3.0]), (4, 4, 4), 0.0)
    assert (far == -1).all()


class Claims(torch.nn.Module):
    """Claims every voxel within 10 mm of the hint's bump, the nearer the surer; and one far voxel."""

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        hint = pair[:, 1:]
        claim = torch.where(hint > 0.25, 2 * hint, -torch.ones_like(hint))
        claim[..., 0, 0, 0] = 5.0
        return claim


def test_each_voxel_goes_to_who_claims_it_most_and_islands_go_to_nobody() -> None:
    config = LabellerConfig.model_validate(
        {"segmenter": {"spacing_mm": 2.0, "window_vox": [16, 16, 16], "centre_back_mm": 0.0, "hint_sigma_mm": 6.0}}
    )
    affine = np.diag([-1.0, 1.0, -1.0, 1.0])  # not RAS
    image = Volume(np.full((40, 40, 60), 300, dtype=np.int16), affine, "HU")
    centres = voxel_to_world(VoxelPoints(np.array([[20.0, 20, 20], [20, 20, 34], [20, 20, 50]])), affine).values
    row = [Detection(centre, 1.0, dict.fromkeys(KINDS, 0.1)) for centre in centres]
    mask = segment(image, row, (20, 21, 0), Claims(), config).data
    assert mask[20, 20, 20] == 20
    assert mask[20, 20, 34] == 21
    assert 0 < abs(int((mask == 20).sum()) - int((mask == 21).sum())) + 1 < 400
    assert {int(value) for value in np.unique(mask)} == {0, 20, 21}
    border = [int(mask[20, 20, k]) for k in range(20, 35)]
    assert border == sorted(border), "20 above, 21 below, in one piece each"
    assert (np.abs(border.count(20) - border.count(21))) <= 1
    reach = np.argwhere(mask == 20) - [20, 20, 20]
    assert np.linalg.norm(reach, axis=1).max() < 14, "the far voxel is an island"


def test_values_that_are_no_hounsfield_units_are_refused(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    rng = np.random.default_rng(0)
    good = rng.normal(0, 100, (12, 12, 12)) + np.linspace(-300, 900, 12)
    for name, values, told in (
        ("shifted", good + 1024, "not in Hounsfield units"),
        ("mr", np.abs(good), "not in Hounsfield units"),
        ("unit", good / 2000, "not in Hounsfield units"),
    ):
        write_nifti(Volume(values.astype(np.float32), AFFINE, "a.u."), folder / f"{name}.nii.gz")
        with pytest.raises(VolumeError, match=told):
            read_ct(folder / f"{name}.nii.gz")
    write_nifti(Volume(good.astype(np.float32), AFFINE, "HU"), folder / "good.nii.gz")
    assert read_ct(folder / "good.nii.gz").unit == "HU"
