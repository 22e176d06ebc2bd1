"""Phantom MR: contrasts in the order that Pfirrmann's grades and Modic's types are defined by."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.anatomy import Disc, Level
from spinemed.errors import VolumeError
from spinemed.phantom.imaging.mr import MrLook, MrPhantom, MrSequence, mr_signals, render_mr
from spinemed.phantom.pathology.records import DiscDegeneration, ModicChange
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.spine.draw import draw_spine

QUIET = MrLook(noise_sd=0.0, bias=0.0, blur_mm=0.0, texture_sd=0.0)
DISC = Disc(Level.L4, Level.L5)


def stack(*pathologies: object, sequence: MrSequence = "T2") -> MrPhantom:
    spine = draw_spine(1, 5).model_copy(update={"pathologies": pathologies})
    return render_mr(spine, sequence=sequence, look=QUIET, pixel_mm=1.5, slices=3)


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
