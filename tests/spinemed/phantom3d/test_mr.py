"""Phantom MR: contrasts in the order that Pfirrmann's grades and Modic's types are defined by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from spinemed.anatomy import LABEL_MAPS, Disc, Level
from spinemed.errors import VolumeError
from spinemed.phantom.imaging.mr import MrLook, MrPhantom, MrSequence, mr_look_of, mr_signals, render_mr
from spinemed.phantom.pathology.records import DiscDegeneration, ModicChange, Screws
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.spine.draw import draw_spine

QUIET = MrLook(noise_sd=0.0, bias=0.0, blur_mm=0.0, texture_sd=0.0)
DISC = Disc(Level.L4, Level.L5)


def stack(*pathologies: object, sequence: MrSequence = "T2", slices: int = 3) -> MrPhantom:
    spine = draw_spine(1, 5).model_copy(update={"pathologies": pathologies})
    return render_mr(spine, sequence=sequence, look=QUIET, pixel_mm=1.5, slices=slices)


def mean(made: MrPhantom, tissue: Tissue) -> float:
    inside = made.tissue.data == tissue
    assert inside.sum() > 20
    return float(made.volume.data[inside].mean())


def test_fluid_is_bright_on_t2_and_dark_on_t1() -> None:
    t1, t2 = stack(sequence="T1"), stack()
    assert mean(t2, Tissue.CSF) > 2 * mean(t2, Tissue.TRABECULAR)
    assert mean(t1, Tissue.CSF) < 0.7 * mean(t1, Tissue.TRABECULAR)
    assert t1.vertebrae.data.shape == t2.vertebrae.data.shape
    assert np.array_equal(t1.vertebrae.data, t2.vertebrae.data)


def test_table_falls_with_the_grade_and_types_modic_changes() -> None:
    table = mr_signals()
    grades = [table[f"nucleus_{grade}"].T2 for grade in range(1, 6)]
    assert grades == sorted(grades, reverse=True)
    for marrow in (table["marrow_25"], table["marrow_85"]):
        one, two, three = (table[f"modic_{kind}"] for kind in (1, 2, 3))
        assert one.T1 < marrow.T1 < two.T1 and three.T1 < marrow.T1  # noqa: PT018
        assert one.T2 > marrow.T2 and two.T2 > marrow.T2 > three.T2  # noqa: PT018


def test_an_axial_stack_needs_its_disc_and_is_centred_on_it() -> None:
    spine = draw_spine(1, 5)
    with pytest.raises(VolumeError):
        render_mr(spine, sequence="T2", plane="axial")
    made = render_mr(spine, sequence="T2", plane="axial", disc=DISC, pixel_mm=1.5, slices=1)
    assert np.unique(made.discs.data).tolist() == [0, 123]
    assert made.truth.visible == (Level.L4, Level.L5)


def test_nucleus_darkens_with_the_pfirrmann_grade() -> None:
    shown = []
    for grade in (1, 2, 3, 4, 5):
        made = stack(DiscDegeneration(disc=DISC, pfirrmann=grade))
        shown.append(float(np.percentile(made.volume.data[made.discs.data == 123], 90)))
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > 3 * shown[-1]


@pytest.mark.parametrize(
    ("kind", "tissue", "t1", "t2"),
    [(1, Tissue.MODIC_1, -1, 1), (2, Tissue.MODIC_2, 1, 1), (3, Tissue.MODIC_3, -1, -1)],
)
def test_modic_types_differ_from_marrow_as_defined(kind: int, tissue: Tissue, t1: int, t2: int) -> None:
    change = ModicChange.model_validate({"disc": DISC, "type": kind, "height_mm": 8.0})
    sequences: tuple[MrSequence, MrSequence] = ("T1", "T2")
    for sequence, sign in zip(sequences, (t1, t2), strict=True):
        made = stack(change, sequence=sequence)
        assert sign * (mean(made, tissue) - mean(made, Tissue.TRABECULAR)) > 30


def test_noise_is_rician() -> None:
    """Without signal it is Rayleigh's (mean 1.253 sd, spread 0.655 sd); far above the noise it is Gaussian."""
    noisy = QUIET.model_copy(update={"noise_sd": 30.0})
    made = render_mr(draw_spine(1, 5), sequence="T2", look=noisy, pixel_mm=1.5, slices=3)
    clean = stack()
    air = made.tissue.data == Tissue.AIR
    assert air.sum() > 500
    nothing = made.volume.data[air & (clean.volume.data == 0)].astype(float)
    assert nothing.mean() == pytest.approx(30.0 * np.sqrt(np.pi / 2), rel=0.05)
    assert nothing.std() == pytest.approx(30.0 * np.sqrt(2 - np.pi / 2), rel=0.05)
    bright = clean.volume.data > 600
    assert bright.sum() > 500
    difference = made.volume.data[bright].astype(float) - clean.volume.data[bright]
    assert difference.std() == pytest.approx(30.0, rel=0.08)
    assert abs(difference.mean()) < 5.0


def test_the_coil_field_falls_from_the_back_to_the_front_and_changes_no_mask() -> None:
    even = stack()
    field = QUIET.model_copy(update={"bias": 0.3})
    made = render_mr(draw_spine(1, 5), sequence="T2", look=field, pixel_mm=1.5, slices=3)
    assert np.array_equal(made.vertebrae.data, even.vertebrae.data)
    bright = even.volume.data > 200
    share = np.where(bright, made.volume.data / np.maximum(even.volume.data, 1), np.nan)
    ends = np.flatnonzero(bright.any(axis=(0, 2)))  # from back to front
    assert np.nanmean(share[:, ends[:10]]) > np.nanmean(share[:, ends[-10:]]) + 0.25
    smooth = np.abs(np.diff(share, axis=1))
    assert np.nanmax(smooth) < 0.05


def test_metal_leaves_a_void_around_it_and_nothing_further_away() -> None:
    screws = Screws(levels=(Level.L4, Level.L5))
    with_metal, without = stack(screws, slices=11), stack(slices=11)
    metal = with_metal.tissue.data == Tissue.METAL
    assert metal.any()
    assert with_metal.volume.data[metal].max() <= 1
    away = distance_transform_edt(~metal, sampling=with_metal.volume.spacing_mm)
    near, far = (away > 0) & (away < 3.0), away > 12.0
    assert with_metal.volume.data[near].max() <= 1
    assert without.volume.data[near].mean() > 50
    # Beside the void a slice may hold metal off its middle, where the map of tissues shows none.
    assert (with_metal.volume.data[far] == without.volume.data[far]).mean() > 0.99


def test_family_b_is_another_scanner_and_the_same_person() -> None:
    spine = draw_spine(1, 5)
    one, other = (
        render_mr(spine, sequence="T2", look=mr_look_of(family), pixel_mm=1.5, slices=3, noise_seed=1)
        for family in ("a", "b")
    )
    assert np.array_equal(one.vertebrae.data, other.vertebrae.data)
    ratio = [mean(made, Tissue.FAT) / mean(made, Tissue.TRABECULAR) for made in (one, other)]
    assert ratio[1] < 0.85 * ratio[0]


def test_hidden_levels_lose_their_signal_and_others_keep_it() -> None:
    spine = draw_spine(1, 5)
    seen = stack()
    made = render_mr(spine, sequence="T2", look=QUIET, pixel_mm=1.5, slices=3, hidden=(Level.L4,))
    assert made.truth.hidden == (Level.L4,)
    assert np.array_equal(made.vertebrae.data, seen.vertebrae.data)
    kept = {}
    for level in (Level.L1, Level.L4):
        inside = (made.vertebrae.data == LABEL_MAPS["verse"].to_label(level)) & (made.tissue.data == Tissue.TRABECULAR)
        own = made.scene.posed.frame(level).origin_mm
        index = np.argwhere(inside)
        body = np.linalg.norm(index @ made.volume.affine[:3, :3].T + made.volume.affine[:3, 3] - own, axis=1) < 15.0
        chosen = tuple(index[body].T)
        kept[level] = made.volume.data[chosen].mean() / seen.volume.data[chosen].mean()
    assert kept[Level.L4] < 0.1
    assert kept[Level.L1] > 0.95
