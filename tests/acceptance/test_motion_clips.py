"""The recorded clips (run, tennis serve, box lift) fitted by the command, and bad versions of one of them.

People were measured here, by markers on their skin; nobody's vertebrae were. The run comes with joint angles that
others found with OpenSim on a body whose thorax is one rigid piece on one lumbar joint: they are a second opinion on
the trunk, no truth, and nothing on single levels.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spinemed.motion import forward, trunk_angles_deg
from spinemed.motion.fitting import StoredFit, read_clip_fit
from spinemed.motion.io.mot import read_mot
from spinemed.motion.io.trc import read_trc, write_trc
from spinemed.motion.rotations import xyz_angles

pytestmark = pytest.mark.acceptance

ISSUE = "Motion"
COMMAND = "pytest -m acceptance tests/acceptance/test_motion_clips.py"
CLIPS = {
    "run": ("motion/bmc_run/motion_capture_run.trc", ("--names", "configs/motion_run_markers.yaml")),
    "tennis serve": ("motion/ktk_tennis_serve/kinematics_tennis_serve.c3d", ()),
    "box lift": ("motion/pyomeca_box_lift/markers.c3d", ()),
}
DIRECTIONS = ("flexion", "bending", "rotation")
Record = Callable[..., None]


def fitted(root: Path, out: Path, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "spinemed", "motion", "fit", str(source), "--out", str(out), *options]
    return subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(work: Path) -> Path:
    out = work / "motion_clips"
    out.mkdir(parents=True, exist_ok=True)
    return out


@pytest.fixture(scope="module")
def shipped(samples: Path) -> np.ndarray:
    """[122, 3] the shipped angles of the lumbar joint with our signs."""
    clip = read_mot(samples / "motion" / "bmc_run" / "ik_output_run.mot")
    return np.stack(
        [-clip.angle_deg("lumbar_extension"), clip.angle_deg("lumbar_bending"), clip.angle_deg("lumbar_rotation")],
        axis=1,
    )


def ribcage_deg(fit: StoredFit) -> np.ndarray:
    """Thorax against pelvis [T, 3] from rest, the thorax being the mean rotation of T1 to T12: no shoulder girdles."""
    levels = [fit.model.body(f"T{number}") for number in range(1, 13)]
    rest = forward(fit.model, fit.model.zero()).rotations[0, levels]
    placed = forward(fit.model, fit.q).rotations
    turns = np.einsum("tji,tbjk,blk->til", placed[:, 0], placed[:, levels], rest)
    left, _, right = np.linalg.svd(turns)
    return np.degrees(xyz_angles(left @ right)) * np.array([-1.0, 1.0, 1.0])


def compared(found: np.ndarray, shipped: np.ndarray) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Correlation, mean difference and standard deviation of the difference; rows are matched by their times."""
    found = found[: len(shipped)]
    r = [float(np.corrcoef(found[:, k], shipped[:, k])[0, 1]) for k in range(3)]
    return r, (found - shipped).mean(axis=0), (found - shipped).std(axis=0)


@pytest.mark.parametrize(("number", "name"), list(enumerate(CLIPS)), ids=[*CLIPS])
def test_a_recorded_clip_is_fitted(
    number: int, name: str, root: Path, samples: Path, folder: Path, record: Record
) -> None:
    path, options = CLIPS[name]
    out = folder / name.replace(" ", "_")
    done = fitted(root, out, samples / path, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "fit.json").read_bytes())
    rms = {key: value for key, value in report["marker_rms_mm"].items() if value is not None}
    listed = ", ".join(f"{key} {value:.1f}" for key, value in sorted(rms.items(), key=lambda item: -item[1]))
    left = report["markers_left_out"]
    never = sum(reason == "never seen" for reason in left.values())
    flags = "; ".join(
        flag["message"] if flag["name"] == "labels_exchanged" else flag["name"].replace("_", " ")
        for flag in report["flags"]
    )
    met = report["search"]["converged"] and report["search"]["beyond_limit_share"] == 0
    record(
        ISSUE, 40 + number, f"recorded clip fitted: {name}", asked="marker RMS stated per marker",
        measured=f"all {report['rms_mm']:.1f} mm; {listed}",
        met=met, command=COMMAND,
        note=f"{report['frames']} frames at {report['rate_hz']:g} Hz, {len(rms)} of {len(rms) + len(left)} markers "
        f"used ({never} of the others never seen, {len(left) - never} with no known place); distances in space; "
        f"markers may sit 20 mm (clusters 100 mm) off their table. Flags: {flags}",
    )  # fmt: skip
    assert met
    assert report["rms_mm"] < 12.0


def test_the_run_agrees_with_the_angles_shipped_beside_it(
    root: Path, samples: Path, folder: Path, shipped: np.ndarray, record: Record
) -> None:
    path, options = CLIPS["run"]
    out = folder / "run"
    assert fitted(root, out, samples / path, *options).returncode == 0
    fit = read_clip_fit(out)
    assert fit.q.shape[0] == 123
    assert len(shipped) == 122
    wide = np.ptp(shipped, axis=0) > 5.0
    assert wide.all()
    r, offset, spread = compared(trunk_angles_deg(fit.model, fit.q), shipped)
    met = min(r) >= 0.95
    text = "; ".join(
        f"{d}: r {r[k]:.3f}, offset {offset[k]:+.1f}°, SD of difference {spread[k]:.1f}°, shipped range "
        f"{np.ptp(shipped[:, k]):.0f}°"
        for k, d in enumerate(DIRECTIONS)
    )
    record(
        ISSUE, 43, "the run: thorax against pelvis, beside the lumbar joint of the OpenSim angles shipped with it",
        asked="r ≥ 0.95 where its range exceeds 5°, offset stated", measured=text, met=met, command=COMMAND,
        note="both thoraxes as one rigid body (C7, breastbone, acromia); 122 rows against 123 frames, matched by their "
        "times; the offset is that of two bodies' resting postures; a second opinion, no truth; other choices give "
        "flexion from 0.92 to 0.96, see the next line",
    )  # fmt: skip
    other, _, _ = compared(ribcage_deg(fit), shipped)
    lumbar = fit.model.spine_angles_deg(fit.q)[:, :5].sum(axis=1)
    levels, _, _ = compared(lumbar, shipped)
    lines = [
        "thorax as T1 to T12 without shoulders r " + ", ".join(f"{value:.3f}" for value in other),
        "sum of the five lumbar levels r " + ", ".join(f"{value:.3f}" for value in levels)
        + " with ranges " + ", ".join(f"{value:.0f}°" for value in np.ptp(lumbar, axis=0)),
    ]  # fmt: skip
    for title, more in (
        ("noise 3 mm", ("--sigma", "3")), ("noise 10 mm", ("--sigma", "10")),
        ("markers within 10 mm", ("--marker-sd", "10")),
        ("female body", ("--sex", "female")),
    ):  # fmt: skip
        varied = folder / "run_varied"
        assert fitted(root, varied, samples / path, *options, "--no-posterior", *more).returncode == 0
        again = read_clip_fit(varied)
        values, _, _ = compared(trunk_angles_deg(again.model, again.q), shipped)
        lines.append(f"{title} r " + ", ".join(f"{value:.3f}" for value in values))
    bare = folder / "run_bare"
    assert fitted(root, bare, samples / path, "--no-posterior").returncode == 0
    again = read_clip_fit(bare)
    values, _, _ = compared(trunk_angles_deg(again.model, again.q), shipped)
    lines.append(f"without the clusters on thighs, shanks and arms ({len(again.names)} markers) r "
                 + ", ".join(f"{value:.3f}" for value in values))  # fmt: skip
    record(
        ISSUE, 44, "the run: how far that agreement hangs on choices (r of flexion, bending, rotation)",
        asked="reported", measured="; ".join(lines), met=None, command=COMMAND,
        note="the clusters were taken up after a first fit without them stayed below 0.95 in flexion; the shipped "
        "joint holds thoracic motion too, so the lumbar sum is not its like: lumbar levels can rotate a few degrees, "
        "it rotates 51°",
    )  # fmt: skip
    assert met


def test_bad_versions_of_the_run_are_refused_or_flagged(
    root: Path, samples: Path, folder: Path, record: Record
) -> None:
    clip = read_trc(samples / CLIPS["run"][0])
    seen = [name for name, share in clip.missing_share().items() if share < 0.5]
    clip = clip.select(seen)
    bad = folder / "bad"
    bad.mkdir(exist_ok=True)
    half = clip.points_mm.copy()
    at = {name: number for number, name in enumerate(clip.names)}
    half[len(half) // 2 :, [at[name] for name in ("C7", "LASI", "RPSI")]] = np.nan
    turned = [
        f"{'R' if n[0] == 'L' else 'L'}{n[1:]}" if f"{'R' if n[0] == 'L' else 'L'}{n[1:]}" in at else n for n in seen
    ]
    write_trc(bad / "half.trc", seen, half, clip.rate_hz, unit="mm")
    write_trc(bad / "sides.trc", turned, clip.points_mm, clip.rate_hz, unit="mm")
    write_trc(bad / "run.trc", seen, clip.points_mm, clip.rate_hz, unit="mm")
    write_trc(bad / "nan.trc", seen, clip.points_mm * np.nan, clip.rate_hz, unit="mm")
    (bad / "empty.trc").write_bytes(b"")
    lie = (bad / "run.trc").read_text().splitlines()
    lie[2] = "\t".join("m" if word == "mm" else word for word in lie[2].split("\t"))
    (bad / "lie.trc").write_text("\n".join(lie) + "\n")
    np.savez(bad / "camera.npz", keypoints=np.random.default_rng(0).uniform(0, 900, (30, 37, 2)))
    cases: dict[str, tuple[str, tuple[str, ...]]] = {
        "three markers missing for half": ("half.trc", ()), "left and right exchanged": ("sides.trc", ()),
        "mm declared as m": ("run.trc", ("--unit", "m")), "mm under a header that says m": ("lie.trc", ()),
        "one camera": ("camera.npz", ("--rate", "30")), "empty": ("empty.trc", ()), "all NaN": ("nan.trc", ()),
    }  # fmt: skip
    wanted = {
        "three markers missing for half": "markers_missing", "left and right exchanged": "exchanged|swapped",
        "mm declared as m": "Cure", "mm under a header that says m": "unit_mismatch", "one camera": "Cure",
        "empty": "Cure", "all NaN": "Cure",
    }  # fmt: skip
    lines = []
    for title, (file, options) in cases.items():
        out = bad / "out"
        done = fitted(root, out, bad / file, "--no-posterior", *options)
        said = done.stderr.strip().splitlines()
        assert any(word in done.stderr for word in wanted[title].split("|")), (title, done.stderr)
        if done.returncode == 0:
            flags = json.loads(done.stdout)["flags"]
            lines.append(f"{title}: fitted, flagged {', '.join(flags)}")
            assert flags
        else:
            assert done.returncode == 2
            assert len(said) == 1
            problem = said[0].split(": ", 2)[-1].split(". Cure")[0]
            lines.append(f"{title}: refused ({problem})")
    record(
        ISSUE, 45, "bad versions of the recorded run through the command", asked="a named error or a flagged fit",
        measured="; ".join(lines), met=True, command=COMMAND,
    )  # fmt: skip
