"""Sets of phantoms: the same bytes again, and a named error for what cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinemed.errors import SpineMedError
from spinemed.phantom.case import CaseDraw, draw_case, write_case
from spinemed.phantom.make import make_phantoms
from spinemed.phantom.set_config import CtSettings, MrSettings, PhantomSetConfig, XraySettings
from spinemed.tables import read_jsonl

JOB = PhantomSetConfig(
    count=1,
    seed=4,
    what=("ct", "xray", "mr"),
    ct=CtSettings(spacing_mm=(3.0, 3.0, 3.0)),
    xray=XraySettings(projections=("lateral",), pixel_mm=3.0),
    mr=MrSettings(sagittal_mm=(2.0, 4.0), slices=3, axial_discs=1, axial_slices=1, axial_mm=(2.0, 4.0)),
)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_line_of_spines_jsonl_makes_the_same_files_again(tmp_path: Path) -> None:
    outputs = make_phantoms(JOB, tmp_path / "run")
    made = content(outputs)
    assert "contact_sheet.png" in made
    (draw,) = read_jsonl(outputs / "spines.jsonl", CaseDraw)
    assert draw == draw_case(JOB, 0)
    write_case(JOB, draw, tmp_path / "again")
    again = content(tmp_path / "again")
    assert {name.split("/")[0] for name in again} == {"ct", "xray", "mr"}
    assert all(made[name] == data for name, data in again.items())


def test_an_unknown_kind_of_image_is_named(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from spinemed.phantom.cli import app

    result = CliRunner().invoke(app, ["make", "--out", str(tmp_path / "x"), "--what", "ct,pet"])
    assert isinstance(result.exception, SpineMedError)
    assert "what" in str(result.exception)
    assert not (tmp_path / "x").exists()


def test_no_worker_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpineMedError):
        make_phantoms(JOB, tmp_path / "y", workers=0)
