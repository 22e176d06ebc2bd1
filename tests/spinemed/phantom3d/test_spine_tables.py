"""The tables carry a source and a mark in every cell, and tell what they do not hold."""

from __future__ import annotations

import pytest

from spinemed.anatomy import Level
from spinemed.errors import RecordError
from spinemed.phantom.tables import morphometry as tables
from spinemed.phantom.tables.morphometry import alignment, morphometry, size, trabecular_hu


def test_every_cell_says_where_its_number_is_from() -> None:
    cells = morphometry()
    assert len(cells) > 700
    for cell in cells:
        assert cell.source, cell
        assert cell.sd_source, cell
        assert cell.unit in ("mm", "deg", "1"), cell
        assert cell.mark != "derived" or cell.note or "ratio" in cell.quantity, f"{cell}: how was it derived?"


def test_every_vertebra_has_the_sizes_that_a_phantom_needs() -> None:
    names = "canal_width canal_depth pedicle_width pedicle_height lamina_thickness lamina_height spinous_length"
    names += " spinous_height spinous_droop transverse_span transverse_thickness transverse_sweep facet_size"
    body = (
        "upper_width upper_depth lower_width lower_depth anterior_height posterior_height upper_concavity disc_height"
    )
    for level in Level:
        if Level.C1 <= level <= Level.L6:
            wanted = names.split() + (body.split() if level is not Level.C1 else [])
            for name in wanted:
                for sex in ("female", "male"):
                    assert size(name, level, sex).mean != 0 or "sweep" in name  # type: ignore[arg-type]


def test_heights_are_those_of_the_living_where_a_table_of_the_living_exists() -> None:
    assert size("anterior_height", Level.L3, "female").mean == 30.4
    assert size("posterior_height", Level.T11, "male").mean == 28.0
    compared = [c for c in morphometry() if c.use == "compare" and c.quantity == "posterior_height"]
    dry = {c.level: c.mean for c in compared if "Panjabi" in c.source}
    for level, value in dry.items():
        living = (size("posterior_height", level, "female").mean + size("posterior_height", level, "male").mean) / 2
        assert 1.08 < living / value < 1.35, level


def test_a_pooled_cell_is_the_mean_of_both_sexes_and_men_are_larger() -> None:
    pooled = next(c for c in morphometry() if (c.quantity, c.level, c.use) == ("upper_depth", Level.T7, "draw"))
    female, male = size("upper_depth", Level.T7, "female").mean, size("upper_depth", Level.T7, "male").mean
    assert pooled.sex == "both"
    assert (female + male) / 2 == pytest.approx(pooled.mean)
    assert male > female


def test_published_numbers_stand_in_the_tables() -> None:
    assert size("upper_width", Level.L1, "male").mean == 44.1
    assert (alignment("pelvic_incidence").mean, alignment("pelvic_incidence").sd) == (49.3, 9.5)
    assert (alignment("lordosis_t12_s1", "standing").mean, alignment("lordosis_t12_s1", "standing").sd) == (49.8, 11.2)
    assert (alignment("lordosis_t12_s1", "supine").mean, alignment("lordosis_t12_s1", "supine").sd) == (36.8, 13.2)
    assert trabecular_hu("female", 25).mean == 250
    assert trabecular_hu("male", 85).mean == 85
    assert trabecular_hu("male", 99) == trabecular_hu("male", 85)


def test_a_cell_that_no_table_holds_is_named() -> None:
    with pytest.raises(RecordError, match="disc_height of C1"):
        size("disc_height", Level.C1, "female")
    with pytest.raises(RecordError, match="shoe_size of a person"):
        size("shoe_size", None, "male")
    with pytest.raises(RecordError, match=r"alignment\.csv.*no cell for t1_slope, supine"):
        alignment("t1_slope", "supine")


def test_a_damaged_table_is_refused_with_its_line(tmp_path, monkeypatch) -> None:
    text = (tables._FOLDER / "morphometry.csv").read_text(encoding="utf-8").splitlines()
    text[3] = text[3].replace(",recalled,", ",guessed,", 1).replace(",derived,", ",guessed,", 1)
    (tmp_path / "morphometry.csv").write_text("\n".join(text), encoding="utf-8")
    monkeypatch.setattr(tables, "_FOLDER", tmp_path)
    with pytest.raises(RecordError, match=r"morphometry\.csv:4.*'guessed' is none of"):
        morphometry.__wrapped__()
