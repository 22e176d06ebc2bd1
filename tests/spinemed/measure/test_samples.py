"""Plausible on the bundled masks of real people. Bounds are wide: no one measured these by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Disc, Level
from spinemed.measure import SpineMeasurements, measure_masks
from spinemed.volume import Volume, read_mask

# Body heights of L1 to L5 in living adults: means of 24 to 31 mm, spread about 2 mm (Bonczar 2024, 18 CT series, and
# larger later ones), so 21 to 34 mm holds nearly everybody; endplates 28 to 46 mm deep, 38 to 60 mm wide; discs 4 to
# 15 mm high.
HEIGHT, DEPTH, WIDTH, DISC = (21, 34), (28, 46), (38, 60), (4, 15)


def check(measured: SpineMeasurements, levels: list[str]) -> None:
    for name in levels:
        found = measured.vertebra(Level(name))
        assert found is not None
        heights = found.heights_of_thirds
        assert heights is not None, found.flags
        assert found.upper is not None
        assert found.lower is not None
        for value in (heights.anterior_mm, heights.middle_mm, heights.posterior_mm):
            assert value is not None
            assert HEIGHT[0] < value < HEIGHT[1], (name, heights)
        for endplate in (found.upper, found.lower):
            assert endplate.depth_mm is not None
            assert endplate.width_mm is not None
            assert DEPTH[0] < endplate.depth_mm < DEPTH[1]
            assert WIDTH[0] < endplate.width_mm < WIDTH[1]


@pytest.fixture(scope="module")
def ct(samples: Path) -> SpineMeasurements:
    """3 mm CT: network masks, T12 to sacrum."""
    mask = read_mask(samples / "ct" / "totalsegmentator_lumbar" / "example_seg_fast_force_split.nii.gz")
    kept = np.where((mask.data >= 25) & (mask.data <= 33), mask.data, 0)
    return measure_masks(replace(mask, data=kept), label_map=LABEL_MAPS["totalsegmentator"], posture="supine")


@pytest.fixture(scope="module")
def mr(samples: Path) -> tuple[Volume, Volume]:
    """Sagittal MR 0.6 x 0.6 x 3.3 mm: vertebrae and bodies with VerSe numbers (its own numbers run 2 to 8)."""
    folder = samples / "masks" / "panoptica_spine"
    instances = read_mask(folder / "unmatched_instance" / "ref.nii.gz")
    parts = read_mask(folder / "semantic" / "ref.nii.gz")
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(("T11", "T12", "L1", "L2", "L3", "L4", "L5"), start=2):
        table[number] = Level(name).verse_label
    table[26] = 26
    vertebrae = replace(instances, data=table[instances.data])
    return vertebrae, replace(vertebrae, data=np.where(np.isin(parts.data, (26, 49, 50)), vertebrae.data, 0))


def test_lumbar_ct_is_plausible_and_says_that_it_is_coarse(ct: SpineMeasurements) -> None:
    check(ct, ["L1", "L2", "L3", "L4", "L5"])
    for name in ("L1", "L3", "L5"):
        found = ct.vertebra(Level(name))
        assert found is not None
        assert {"coarse", "estimated_body"} <= {flag.code for flag in found.flags}
        assert found.canal is not None
        assert 10 < found.canal.ap_mm < 22  # 15 mm on average; 3 mm voxels take or give 2
        assert 18 < found.canal.transverse_mm < 40
    lordosis = next(angle.angle_deg for angle in ct.angles if angle.name == "L1-S1")
    assert lordosis is not None
    assert 20 < lordosis < 80
    t12 = ct.vertebra(Level.T12)
    assert t12 is not None
    assert "cut" in {flag.code for flag in t12.flags}
    for name in ("L1/2", "L3/4", "L5/S1"):
        disc = ct.disc(Disc.from_text(name))
        assert disc is not None
        assert disc.mean_mm is not None
        assert DISC[0] < disc.mean_mm < DISC[1]


def test_a_body_cut_out_of_a_real_vertebra_measures_like_its_body_mask(mr: tuple[Volume, Volume]) -> None:
    whole, bodies = mr
    from_mask, from_whole = measure_masks(whole, bodies=bodies), measure_masks(whole)
    levels = ["T12", "L1", "L2", "L3", "L4", "L5"]
    check(from_mask, levels[1:])
    off, share = [], []
    for name in levels:
        one, other = from_mask.vertebra(Level(name)), from_whole.vertebra(Level(name))
        assert one is not None
        assert other is not None
        assert one.heights_at_rims is not None
        assert other.heights_at_rims is not None
        off += [
            abs(a - b)
            for a, b in zip(
                one.heights_at_rims.model_dump().values(), other.heights_at_rims.model_dump().values(), strict=True
            )
        ]
        assert one.body_volume_mm3 is not None
        assert other.body_volume_mm3 is not None
        share.append(other.body_volume_mm3 / one.body_volume_mm3 - 1)
    print(
        f"\nheights: mean {np.mean(off):.2f}, worst {np.max(off):.2f} mm; volume {100 * np.min(share):.1f} % at worst"
    )
    assert np.max(off) < 0.5
    assert np.min(share) > -0.06
    assert np.max(share) < 0.03
    assert {flag.code for flag in from_whole.vertebrae[0].flags} >= {"cut"}  # T11 ends one voxel below the edge


def test_one_vertebra_of_a_crop_is_measured_and_its_cut_neighbours_are_not(samples: Path) -> None:
    folder = samples / "ct" / "tptbox_L3_crop"
    mask = read_mask(folder / "sub-ct_seg-vert_label-22_msk.nii.gz")
    measured = measure_masks(mask, label_map=LABEL_MAPS["tptbox"])
    check(measured, ["L3"])
    for level in (Level.L2, Level.L4):
        found = measured.vertebra(level)
        assert found is not None
        assert found.heights_at_rims is None
        assert "cut" in {flag.code for flag in found.flags}
