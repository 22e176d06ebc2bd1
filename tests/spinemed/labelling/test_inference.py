"""From heat map to row of vertebrae, and from claims to a mask: the parts that no training can be blamed for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.geometry import VoxelPoints, voxel_to_world
from spinemed.labelling.assignment import AssignmentModel, Kind
from spinemed.labelling.gaps import gap_weights
from spinemed.labelling.grids import Grid, canonical, canonical_grids, crop_around
from spinemed.labelling.inference import (
    Detection,
    _order,
    _peaks,
    name_row,
    segment,
    tell_kinds,
)
from spinemed.labelling.jobs import read_ct
from spinemed.labelling.networks import KINDS, OFFSET_MM, NamerConfig, SegmenterConfig
from spinemed.volume import Volume, reorient_volume, write_nifti

SPACING = 4.0
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])


def heat_of(*bumps: tuple[tuple[float, float, float], float]) -> np.ndarray:
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 24, 32)), indexing="ij"), -1)
    heat = np.zeros(axes.shape[:3], dtype=np.float32)
    for centre, height in bumps:
        heat = np.maximum(heat, height * np.exp(-0.5 * ((axes - centre) ** 2).sum(-1) / 1.25**2))
    return heat.astype(np.float32)


def found(kind: Kind, z: float, score: float) -> Detection:
    return Detection(np.array([0.0, 0.0, z]), score, {one: float(one is kind) for one in KINDS})


def test_a_bump_is_found_between_voxels() -> None:
    heat = heat_of(((10.3, 11.6, 15.2), 0.9))
    ((centre, height),) = _peaks(heat, AFFINE, SPACING)
    assert np.abs(centre / SPACING - [10.3, 11.6, 15.2]).max() < 0.15
    assert 0.8 < height <= 0.9


def test_side_by_side_is_one_vertebra_and_one_above_the_other_are_two() -> None:
    heat = heat_of(((8.0, 12.0, 10.0), 0.9), ((13.0, 12.0, 10.0), 0.7), ((8.0, 12.0, 14.0), 0.6))
    places = [centre / SPACING for centre, _ in _peaks(heat, AFFINE, SPACING)]
    assert len(places) == 2
    assert {round(float(place[2])) for place in places} == {10, 14}


class BrightIsLumbar(torch.nn.Module):
    """No vertebra where the crop is dark; else lumbar where its right half is brighter, rib-bearing if not.

    It points to the middle of what is bright.
    """

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        out = torch.full((len(crops), 1 + len(KINDS) + 3), -9.0)
        for row, crop in enumerate(crops[:, 0]):
            bright = torch.argwhere(crop > 0).float()
            right = crop[4:].sum() > crop[:4].sum()
            out[row, 0 if not len(bright) else 1 + KINDS.index(Kind.LUMBAR if right else Kind.RIBS)] = 9.0
            out[row, -3:] = (bright.mean(dim=0) - 3.5) * SPACING / OFFSET_MM if len(bright) else 0.0
        return out


NAMER = NamerConfig(spacing_mm=SPACING, window_vox=(8, 8, 8))


def test_places_that_are_no_vertebra_are_left_out_and_both_sides_are_asked() -> None:
    hu = np.full((24, 16, 44), -500.0, dtype=np.float32)
    for z in (8, 32):
        hu[8:16, 4:12, z - 3 : z + 3] = 1000.0
    places = [(SPACING * np.array([11.5, 7.5, z]), 0.5) for z in (7.5, 19.0, 31.5)]
    row = tell_kinds(Grid(hu, AFFINE), places, BrightIsLumbar(), NAMER)
    assert [round(float(one.centre_mm[2] / SPACING), 1) for one in row] == [31.5, 7.5]
    assert all(sum(one.kinds.values()) == pytest.approx(1.0) for one in row)
    hu[8, 4:12, 5:11] = 300.0  # now the lower one is brighter to the right, and in the mirror to the left
    (_, one) = tell_kinds(Grid(hu, AFFINE), places, BrightIsLumbar(), NAMER)
    assert one.kinds[Kind.LUMBAR] == pytest.approx(one.kinds[Kind.RIBS]), "the mirrored crop says the opposite"
    assert tell_kinds(Grid(hu, AFFINE), [], BrightIsLumbar(), NAMER) == ()


class AllLumbar(BrightIsLumbar):
    """Sure of the kind of what is bright."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        out = super().forward(crops)
        out[:, 1 + KINDS.index(Kind.RIBS)] = -9.0
        out[out[:, 0] < 0, 1 + KINDS.index(Kind.LUMBAR)] = 9.0
        return out


class Torn(BrightIsLumbar):
    """Sure that what is bright is a vertebra, and of nothing else."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        out = super().forward(crops)
        out[out[:, 0] < 0, 1 + KINDS.index(Kind.RIBS) : 2 + KINDS.index(Kind.LUMBAR)] = 9.0
        return out


def test_a_gap_twice_as_wide_is_looked_at_again() -> None:
    hu = np.full((24, 16, 100), -500.0, dtype=np.float32)
    heights = (10, 26, 42, 58, 74, 90)
    for z in heights:
        hu[10:14, 6:10, z - 2 : z + 2] = 1000.0
    places = [(SPACING * np.array([11.5, 7.5, z - 0.5]), 0.5) for z in heights if z != 42]
    row = tell_kinds(Grid(hu, AFFINE), places, AllLumbar(), NAMER)
    assert [round(float(one.centre_mm[2] / SPACING), 1) for one in row] == [89.5, 73.5, 57.5, 41.5, 25.5, 9.5]
    hu[10:14, 6:10, 40:44] = -500.0
    assert len(tell_kinds(Grid(hu, AFFINE), places, AllLumbar(), NAMER)) == 5, "nothing is there"
    hu[10:14, 6:10, 40:44] = 1000.0
    unsure = tell_kinds(Grid(hu, AFFINE), places, Torn(), NAMER)
    assert len(unsure) == 5, "what was missed once must be sure the second time"


def test_places_that_point_to_one_centre_become_one_there() -> None:
    hu = np.full((24, 16, 40), -500.0, dtype=np.float32)
    hu[10:14, 6:10, 18:22] = 1000.0
    middle = SPACING * np.array([11.5, 7.5, 19.5])
    up = SPACING * np.array([0.0, 0.0, 1.0])
    near, far = middle + up, middle - 2 * up
    (one,) = tell_kinds(Grid(hu, AFFINE), [(near, 0.4), (far, 0.8)], BrightIsLumbar(), NAMER)
    assert one.score == 0.8, "the stronger one stands for both"
    assert np.abs(one.centre_mm - middle).max() < 1e-3, "a long way is gone whole"
    (one,) = tell_kinds(Grid(hu, AFFINE), [(near, 0.4)], BrightIsLumbar(), NAMER)
    assert np.abs(one.centre_mm - (middle + near) / 2).max() < 1e-3, "a short one by half"


def test_a_centre_out_of_view_is_not_named() -> None:
    hu = np.full((24, 16, 20), -500.0, dtype=np.float32)
    hu[8:16, 4:12, :2] = 1000.0  # the upper end of a body whose centre lies below the image

    class Below(BrightIsLumbar):
        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            out = super().forward(crops)
            out[:, -1] -= 2 * SPACING / OFFSET_MM
            return out

    places = [(SPACING * np.array([11.5, 7.5, 1.0]), 0.6)]
    assert len(tell_kinds(Grid(hu, AFFINE), places, BrightIsLumbar(), NAMER)) == 1
    assert tell_kinds(Grid(hu, AFFINE), places, Below(), NAMER) == ()


def test_a_body_at_the_end_of_the_image_may_be_of_any_kind() -> None:
    hu = np.full((24, 16, 40), -500.0, dtype=np.float32)
    for z in (2, 20):
        hu[10:14, 6:10, z - 2 : z + 2] = 1000.0
    places = [(SPACING * np.array([11.5, 7.5, z - 0.5]), 0.5) for z in (2, 20)]
    inner, outer = tell_kinds(Grid(hu, AFFINE), places, AllLumbar(), NAMER)
    assert inner.kinds[Kind.LUMBAR] > 0.99
    assert len(set(outer.kinds.values())) == 1, "cut, and told as lumbar all the same"


def test_there_is_one_sacrum_and_nothing_far_below_it() -> None:
    row = [
        found(Kind.LUMBAR, 60, 0.8),
        found(Kind.SACRUM, 20, 0.9),
        found(Kind.LUMBAR, 14, 0.5),  # a steep sacrum's landmark may lie higher than the last body
        found(Kind.LUMBAR, -10, 0.8),
        found(Kind.SACRUM, 35, 0.4),
        found(Kind.RIBS, 90, 0.7),
    ]
    assert [detection.centre_mm[2] for detection in _order(row)] == [90, 60, 14, 20]


def column(*gaps: float) -> np.ndarray:
    z = np.cumsum([0.0, *gaps])
    return np.stack([0 * z, 0 * z, -z], axis=1)


def test_a_double_gap_is_one_missed_vertebra() -> None:
    weights = gap_weights(column(30, 30, 60, 30))
    assert weights.shape == (5, 5, 4)
    assert [int(weights[at, at + 1].argmax()) for at in range(4)] == [0, 0, 1, 0]


def test_gaps_that_grow_and_the_one_below_c1_are_no_missed_vertebrae() -> None:
    centres = column(24, 13, 13, 14, 15, 16, 18, 20, 22, 23, 25, 28)
    kinds = [{Kind.C1: 1.0}, {Kind.C2: 1.0}, *({Kind.CERVICAL: 1.0} for _ in range(11))]
    assert gap_weights(centres)[0, 1].argmax() == 1, "alone, it is twice as wide as those below"
    told = gap_weights(centres, kinds)
    shares = [np.exp(told[at, at + 1] - np.logaddexp.reduce(told[at, at + 1])) for at in range(12)]
    assert min(share[0] for share in shares) > 0.9
    wide = column(24, 25, 13, 14, 15, 16, 18, 20, 22, 23, 25, 28)
    assert gap_weights(wide, kinds)[1, 2].argmax() == 1, "what parts C1 from C2 is no measure for the next gap"


def test_one_between_two_that_stand_as_usual_is_none() -> None:
    """Five lumbar vertebrae above a sacrum and a place between two of them that the namer is not quite sure of."""
    kinds = [Kind.RIBS, Kind.RIBS, *[Kind.LUMBAR] * 6, Kind.SACRUM]
    row = [found(kind, z, 0.9) for kind, z in zip(kinds, column(28, 32, 36, 36, 36, 18, 18, 36)[:, 2], strict=True)]
    doubtful = [*row[:6], replace(row[6], nothing=0.06), *row[7:]]
    named = name_row(doubtful, AssignmentModel(false=0.005))
    assert named.best.levels[6] is None
    assert named.columns[(12, 5)] > 0.9
    assert named.determinable
    even = column(28, 32, 36, 36, 36, 36, 36, 36)
    six = [replace(one, centre_mm=place) for one, place in zip(row, even, strict=True)]
    assert name_row(six, AssignmentModel(false=0.005)).best.levels[-2:] == (Level.L6, Level.S1)


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


def test_coarse_grids_lie_over_the_fine_one() -> None:
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in (40, 44, 48)), indexing="ij"), -1)
    ramp = (axes * [3.0, -2.0, 5.0]).sum(-1).astype(np.float32)  # a plane keeps its values at every spacing
    coarse, fine = canonical_grids(Volume(ramp, np.eye(4), "HU"), (4.0, 2.0))
    for grid, spacing in ((coarse, 4.0), (fine, 2.0)):
        assert np.allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), spacing)
        middle = np.array(grid.hu.shape) // 2
        world = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
        assert float(grid.hu[tuple(middle)]) == pytest.approx(float(world @ [3.0, -2.0, 5.0]), abs=0.5)


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
    config = SegmenterConfig(spacing_mm=2.0, window_vox=(16, 16, 16), centre_back_mm=0.0, hint_sigma_mm=6.0)
    affine = np.diag([-1.0, 1.0, -1.0, 1.0])  # not RAS
    image = Volume(np.full((40, 40, 60), 300, dtype=np.int16), affine, "HU")
    centres = voxel_to_world(VoxelPoints(np.array([[20.0, 20, 20], [20, 20, 34], [20, 20, 50]])), affine).values
    row = [Detection(centre, 1.0, dict.fromkeys(KINDS, 0.1)) for centre in centres]
    mask = segment(image, canonical(image, 2.0), row, (20, 21, 0), Claims(), config).data
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
