"""What is asked of an installed wheel, from a place where no checkout can be seen; loaded by two tests.

Convention: an `Installed` is a Python whose SpineMed came from a wheel. Each walk below runs one room's commands as a
newcomer would, on the samples that travelled inside the wheel, raises AssertionError with the command's own words where
it fails, and returns a line about what came out.

Trap: a folder named PYTHONPATH, or the current folder, would let the checkout in; both are taken away here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("spinemed", "data_pipeline", "train", "bench")
RESOURCES = ("configs", "samples")

PREDICT = """
import sys
import numpy as np
from spinemed.motion.dataset import read_dataset
from spinemed.motion.dataset.predictions import POINT_NAMES, MotionPrediction, write_prediction

data = read_dataset(sys.argv[1])
for row in data.rows:
    clip = data.clip(row.clip_id)
    points = np.concatenate([clip.keypoints_mm, clip.centroids_mm], axis=1).astype(float) + 10.0
    write_prediction(sys.argv[2], row.clip_id, MotionPrediction(names=POINT_NAMES, points_mm=points))
"""

BLOCKS = """
import sys
import nibabel
import numpy as np

mask = np.zeros((14, 14, 24), np.uint8)
mask[4:10, 4:10, 3:9], mask[4:10, 4:10, 13:19] = 20, 21
nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), sys.argv[1])
"""


@dataclass(frozen=True)
class Installed:
    """A Python with SpineMed from a wheel, and an empty folder to work in."""

    python: Path
    folder: Path
    compiled: bool = True
    """False runs Numba's kernels as plain Python: a fresh installation compiles for half a minute."""

    @property
    def environment(self) -> dict[str, str]:
        """Ours without what leads to the checkout or to another environment."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        kept["PATH"] = os.pathsep.join([str(self.python.parent), kept.get("PATH", "")])
        if not self.compiled:
            kept["NUMBA_DISABLE_JIT"] = "1"
        return kept

    def run(self, *arguments: str, said: str = "", expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run this Python; AssertionError with the end of its words where the exit code is another."""
        done = subprocess.run(
            [str(self.python), *arguments], cwd=self.folder, env=self.environment, input=said,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{arguments}: exit code {done.returncode}\n{done.stderr[-3000:]}"
        return done

    def spinemed(self, *arguments: str, said: str = "", expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `spinemed ...`."""
        return self.run("-m", "spinemed", *arguments, said=said, expect=expect)

    @property
    def samples(self) -> Path:
        """The samples inside the installed wheel."""
        code = "from spinemed.resources import samples_dir; print(samples_dir())"
        return Path(self.run("-c", code).stdout.strip())


def build_wheel(source: Path, out: Path) -> Path:
    """The wheel of a source tree, made without a network."""
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-2000:]
    return next(out.glob("*.whl"))


def files_lost(source: Path, wheel: Path) -> tuple[list[str], dict[str, int]]:
    """Files of the packages, `configs/` and `samples/` that the wheel lacks or holds with other bytes; and how many
    were compared, by ending."""
    wanted = {
        str(path.relative_to(source)): path
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {
        f"spinemed/_resources/{path.relative_to(source)}": path
        for name in RESOURCES
        for path in (source / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    lost, compared = [], dict[str, int]()
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
        for name, path in sorted(wanted.items()):
            compared[path.suffix] = compared.get(path.suffix, 0) + 1
            if name not in there:
                lost.append(f"{name} is not in the wheel")
            elif archive.read(name) != path.read_bytes():
                lost.append(f"{name} has other bytes in the wheel")
    return lost, compared


def walk_quickstart(installed: Installed) -> str:
    """Sources to a scored page, at its smallest; leaves `quick/`."""
    installed.spinemed("quickstart", "--smoke", "--out", "quick")
    page = (installed.folder / "quick" / "board.html").read_text(encoding="utf-8")
    assert "research use only" in page.lower()
    assert (installed.folder / "quick" / "data" / "outputs" / "release" / "manifest.json").is_file()
    return "board.html and a release"


def walk_review(installed: Installed) -> str:
    """A user is added to the quickstart's run, the server answers with its login page, and stops when it is told to."""
    reviewer = ("review", "user", "add", "r-01", "--role", "reviewer", "--group", "A", "--run", "quick/data")
    installed.spinemed(*reviewer, said="a-long-enough-word-for-a-test-7\n")
    with open(installed.folder / "serve.log", "wb") as log:
        server = subprocess.Popen(
            [str(installed.python), "-m", "spinemed", "review", "serve", "quick/data", "--port", "0"],
            cwd=installed.folder, env=installed.environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        try:
            address = next((line.strip() for line in server.stdout if line.startswith("http://127.0.0.1:")), None)
            assert address is not None, (installed.folder / "serve.log").read_text()[-3000:]
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(address, timeout=60) as answer:  # anybody unknown is sent to the login page
                page, landed = answer.read().decode("utf-8"), answer.geturl()
            style = next(part.split('"')[0] for part in page.split('href="')[1:] if ".css" in part.split('"')[0])
            with opener.open(address.rstrip("/") + "/" + style.lstrip("/"), timeout=60) as answer:
                assert answer.status == 200, "the page's style sheet did not travel"
        finally:
            server.terminate()
            code = server.wait(60)
            server.stdout.close()
    assert "login" in landed
    assert 'type="password"' in page
    # It closes down on SIGTERM and passes the signal on, as a supervisor expects; its log then holds nothing.
    assert code == -signal.SIGTERM
    assert (installed.folder / "serve.log").read_text() == ""
    return "login page served, then stopped"


def walk_verse(installed: Installed) -> str:
    """A bundled mask against itself; two small blocks instead, where kernels are not compiled."""
    for side in ("reference", "prediction"):
        (installed.folder / side).mkdir()
        if installed.compiled:
            mask = installed.samples / "masks" / "healthivert_0007" / "0007_msk.nii.gz"
            (installed.folder / side / "case.nii.gz").write_bytes(mask.read_bytes())
        else:
            installed.run("-c", BLOCKS, f"{side}/case.nii.gz")
    installed.spinemed(
        "verse", "evaluate", "--reference", "reference", "--prediction", "prediction", "--task", "segmentation",
        "--resamples", "100", "--out", "verse",
    )  # fmt: skip
    assert (installed.folder / "verse" / "scores.json").is_file()
    page = (installed.folder / "verse" / "report.html").read_text(encoding="utf-8")
    assert "1.000" in page
    return "a mask scored against itself"


def walk_vertebra(installed: Installed) -> str:
    """The bundled spine's vertebrae graded."""
    mask = installed.samples / "masks" / "healthivert_0007" / "0007_msk.nii.gz"
    installed.spinemed("vertebra", "grade", "--mask", str(mask), "--out", "grades")
    grades = json.loads((installed.folder / "grades" / "grades.json").read_bytes())
    assert grades
    assert (installed.folder / "grades" / "report.html").is_file()
    return "grades.json and report.html"


def walk_motion(installed: Installed) -> str:
    """One short simulated bend, and a prediction that is 10 mm off along each axis, scored."""
    installed.spinemed(
        "motion", "simulate", "--subjects", "1", "--motions", "bend", "--clips", "1", "--seconds", "0.3",
        "--rate", "10", "--out", "motion",
    )  # fmt: skip
    installed.run("-c", PREDICT, "motion", "predicted")
    installed.spinemed(
        "motion", "evaluate", "--reference", "motion", "--prediction", "predicted", "--resamples", "100",
        "--out", "moved",
    )  # fmt: skip
    scores = (installed.folder / "moved" / "scores.json").read_text(encoding="utf-8")
    assert "mpjpe_mm" in scores
    return "a clip simulated and scored"


def walk_doctor(installed: Installed) -> str:
    """The installation looked at by itself: a wheel, whose files are all there."""
    facts = json.loads(installed.spinemed("doctor", "--json").stdout)
    assert facts["installed_as"] == "wheel", facts["installed_as"]
    broken = [found["name"] for found in facts["required"] if not found["fits"]]
    assert broken == []
    assert [resource for resource in facts["resources"] if resource["faults"]] == []
    return f"{len(facts['required'])} required packages fit"


WALKS = {
    "quickstart": walk_quickstart,
    "review": walk_review,
    "verse": walk_verse,
    "vertebra": walk_vertebra,
    "motion": walk_motion,
    "doctor": walk_doctor,
}
"""Each room's walk, in an order that works: review looks at what the quickstart made."""
