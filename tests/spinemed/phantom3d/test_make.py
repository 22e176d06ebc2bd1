"""Sets of phantoms: the same bytes again, and a named error for what cannot be made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    job = JOB.model_copy(update={"count": 3, "what": ("ct",)})
    config = tmp_path / "set.json"
    config.write_text(job.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from spinemed.phantom.make import make_phantoms; "
        "from spinemed.phantom.set_config import PhantomSetConfig; "
        "make_phantoms(PhantomSetConfig.model_validate_json(Path(sys.argv[1]).read_bytes()), sys.argv[2])"
    )
    killed = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", code, str(config), str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(killed.glob("scratch/*.json")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (killed / "outputs" / "manifest.json").exists()
    make_phantoms(job, killed)
    make_phantoms(job, tmp_path / "whole")
    assert content(killed / "outputs") == content(tmp_path / "whole" / "outputs")
