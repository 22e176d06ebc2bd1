"""Sets of phantoms: the same bytes again, and a named error for what cannot be made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spinemed.errors import SpineMedError
from spinemed.phantom.case import CaseDraw, draw_case, write_case
from spinemed.phantom.make import make_phantoms
from spinemed.phantom.pathology.config import healthy_config
from spinemed.phantom.set_config import CtSettings, MrSettings, PhantomSetConfig, XraySettings
from spinemed.tables import read_jsonl
from spinemed.volume import read_nifti

JOB = PhantomSetConfig(
    count=1,
    seed=4,
    what=("ct", "xray", "mr"),
    ct=CtSettings(spacing_mm=(3.0, 3.0, 3.0)),
    xray=XraySettings(projections=("lateral",), pixel_mm=3.0),
    mr=MrSettings(sagittal_mm=(2.0, 4.0), slices=3, axial_discs=1, axial_slices=1, axial_mm=(2.0, 4.0)),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of the small job, made without interruption."""
    return make_phantoms(JOB, tmp_path_factory.mktemp("whole") / "run")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_line_of_spines_jsonl_makes_the_same_files_again(tmp_path: Path, whole: Path) -> None:
    made = content(whole)
    assert "contact_sheet.png" in made
    (draw,) = read_jsonl(whole / "spines.jsonl", CaseDraw)
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


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    job = JOB.model_copy(update={"count": 2})
    one, two = (make_phantoms(job, tmp_path / f"w{n}", workers=n) for n in (1, 2))
    assert content(one) == content(two)


def test_a_twin_is_the_same_person_before_on_the_same_voxels(tmp_path: Path) -> None:
    job = JOB.model_copy(
        update={"twins": True, "pathology": healthy_config(fracture_share=1.0, fracture_weights={"L2": 1.0})}
    )
    draw = draw_case(job, 0)
    images = write_case(job, draw, tmp_path)
    twin = f"{draw.case}twin"
    assert draw.twin == twin
    own, before = ([image for image in images if image.case == name] for name in (draw.case, twin))
    assert len(own) == len(before) == 4
    assert {image.twin_of for image in own} == {None}
    assert {image.twin_of for image in before} == {draw.case}
    for one, other in zip(own, before, strict=True):
        assert one.description is not None
        assert other.description is not None
        assert one.image.replace(draw.case, twin) == other.image
        assert one.description.of("fracture")
        assert not other.description.of("fracture")
        if one.image.endswith(".nii.gz"):
            broken, whole = (read_nifti(tmp_path / image.image) for image in (one, other))
            assert np.array_equal(broken.affine, whole.affine)
            assert broken.shape == whole.shape
            assert "acq-ax" in one.image or not np.array_equal(broken.data, whole.data)
            assert (
                np.abs(broken.data.astype(float) - whole.data) < 1
            ).mean() > 0.05  # the same noise where nothing moved


@pytest.mark.parametrize("place", ["xray", "mr"])
def test_a_run_killed_while_it_writes_a_case_goes_on_to_the_same_bytes(tmp_path: Path, whole: Path, place: str) -> None:
    """Killed between the pictures of a case: what is half there is made again."""
    killed = killed_run(JOB, tmp_path, lambda run: any((run / "outputs" / place).rglob("sub-*_*")))
    assert not list(killed.glob("scratch/*.json"))
    make_phantoms(JOB, killed)
    assert content(killed / "outputs") == content(whole)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    job = JOB.model_copy(update={"count": 2, "what": ("ct",)})
    killed = killed_run(job, tmp_path, lambda run: any(run.glob("scratch/*.json")))
    assert not (killed / "outputs" / "manifest.json").exists()
    make_phantoms(job, killed)
    make_phantoms(job, tmp_path / "whole")
    assert content(killed / "outputs") == content(tmp_path / "whole" / "outputs")


def killed_run(job: PhantomSetConfig, tmp_path: Path, now: Callable[[Path], bool]) -> Path:
    """A run in a child process, killed as soon as `now` holds of its folder."""
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
    while not now(killed) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    return killed
