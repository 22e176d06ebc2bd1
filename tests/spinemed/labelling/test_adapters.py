"""External labellers through their only contract, files: a stand-in executable writes what the tools write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import ConfigError, MissingPartError, ReadError
from spinemed.labelling import read_centroids, read_label_mask
from spinemed.labelling.adapters import label_external
from spinemed.labelling.jobs import find_scans, scan_name
from spinemed.volume import Volume, write_nifti

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LEVELS = (Level.L3, Level.L4, Level.L5)

STAND_IN = """#!{python}
import json, os, sys
import nibabel
from pathlib import Path

arguments = sys.argv[1:]
Path({seen!r}).write_text(json.dumps(arguments))
image = Path(arguments[arguments.index("-i") + 1])
if "broken" in image.name:
    print("CUDA is on fire", file=sys.stderr)
    sys.exit(3)
if "silent" in image.name:
    sys.exit(0)
mask = nibabel.load({mask!r})
{write}
"""
TOTAL = 'nibabel.save(mask, arguments[arguments.index("-o") + 1])'
SPINEPS = """
out = image.parent / "derivatives_seg"
out.mkdir()
stem = image.name.removesuffix("_ct.nii.gz")
nibabel.save(mask, out / (stem + "_mod-ct_seg-vert_msk.nii.gz"))
nibabel.save(mask, out / (stem + "_mod-ct_seg-spine_msk.nii.gz"))
"""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    values = np.linspace(-400, 900, 40 * 40 * 48).reshape(40, 40, 48).astype(np.int16)
    for name in ("case-1_x; rm -rf nothing_ct", "broken", "silent"):
        write_nifti(Volume(values, AFFINE, "HU"), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], Path]:
    """Put a stand-in for a tool on the PATH; gives the file with the arguments it was called with."""

    def make(command: str, scheme: str, write: str) -> Path:
        data = np.zeros((40, 40, 48), dtype=np.uint8)
        for step, level in enumerate(LEVELS):
            data[12:28, 14:30, 34 - 14 * step : 44 - 14 * step] = LABEL_MAPS[scheme].to_label(level)
        mask, seen, home = tmp_path / "answer.nii.gz", tmp_path / "seen.json", tmp_path / "bin"
        write_nifti(Volume(data, AFFINE, "label"), mask)
        home.mkdir()
        text = STAND_IN.format(python=sys.executable, seen=str(seen), mask=str(mask), write=write)
        (home / command).write_text(text)
        (home / command).chmod(0o755)
        monkeypatch.setenv("PATH", str(home))
        return seen

    return make


@pytest.mark.parametrize(
    ("tool", "command", "scheme", "write"),
    [
        ("totalsegmentator", "TotalSegmentator", "totalsegmentator", TOTAL),
        ("spineps", "spineps", "tptbox", SPINEPS),
    ],
)
def test_an_external_tool_is_called_and_read(
    tool: str, command: str, scheme: str, write: str, scans: Path, install: Callable[..., Path], tmp_path: Path
) -> None:
    seen, out, lines = install(command, scheme, write), tmp_path / "out", list[str]()
    files = find_scans(scans)
    told = label_external(tool, files, out, arguments=["--device", "cpu"], say=lines.append)
    name = scan_name(scans / "case-1_x; rm -rf nothing_ct.nii.gz")
    assert told.done == (name,)
    assert json.loads(seen.read_text())[-2:] == ["--device", "cpu"]
    mask = read_label_mask(out / f"{name}_seg-vert_msk.nii.gz")
    assert mask.levels == LEVELS
    points = read_centroids(out / f"{name}_seg-subreg_ctd.json", image_or_mask=mask)
    assert np.abs(points[Level.L4] - [39.0, 43.0, 49.0]).max() < 2.5
    report = json.loads((out / f"{name}_labels.json").read_bytes())
    assert [one["probability"] for one in report["vertebrae"]] == [None] * 3
    assert report["model"]["tool"] == tool
    assert [path.name for path, _ in told.failed] == ["broken.nii.gz", "silent.nii.gz"]
    assert "exit code 3: CUDA is on fire" in lines[0]
    assert "wrote no mask" in lines[1]
    assert label_external(tool, files, out, arguments=["--device", "cpu"]).kept == (name,)
    assert label_external(tool, files, out).done == (name,), "other arguments are another answer"


def test_a_tool_that_is_not_there_is_named(
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spinemed: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingPartError, match="TotalSegmentator") as caught:
        label_external("totalsegmentator", find_scans(scans), tmp_path / "out")
    assert caught.value.cure == "pip install TotalSegmentator"
    with pytest.raises(ConfigError, match="totalsegmentator or spineps"):
        label_external("nnunet", find_scans(scans), tmp_path / "out")
    done = spinemed("label", "external", scans, "--tool", "spineps", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "pip install spineps" in done.stderr
    assert not (tmp_path / "out").exists()


def test_scans_are_told_from_masks_and_namesakes_refused(scans: Path, tmp_path: Path) -> None:
    (scans / "case_seg-vert_msk.nii.gz").write_bytes(b"")
    assert [scan_name(path) for path in find_scans(scans)] == ["broken", "case-1_x; rm -rf nothing", "silent"]
    (scans / "broken_0000.nii.gz").write_bytes(b"")
    with pytest.raises(ReadError, match="same name"):
        find_scans(scans)
    with pytest.raises(ReadError, match="no such file"):
        find_scans(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="no NIfTI"):
        find_scans(tmp_path / "empty")
