"""`spinemed motion fit` and `view` as users run them: good clips give whole folders, bad ones an error or a flag."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from spinemed.cli import main
from spinemed.motion import BodyModel, build_model, keypoint_markers, laboratory_markers, marker_points
from spinemed.motion.cameras import camera_ring, project, write_calibration
from spinemed.motion.dataset.predictions import read_prediction
from spinemed.motion.fitting import read_clip_fit
from spinemed.motion.io.mot import read_mot
from spinemed.motion.io.trc import write_trc
from spinemed.motion.page import render_page
from spinemed.motion.scene import read_scene
from spinemed.motion.sources import MarkerNames, place_names, read_source

RATE = 50.0
LABORATORY = ("C7", "T4", "T10", "L1", "L3", "L5", "CLAV", "STRN", "LSHO", "RSHO", "LASI", "RASI", "LPSI", "RPSI")


def bending(model: BodyModel, frames: int = 60) -> np.ndarray:
    q = model.zero(frames)
    wave = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, frames))
    for segment in ("L5/S1", "L4/5", "L3/4", "L2/3", "L1/2"):
        q[:, model.freedom(f"{segment}.flexion")] = np.radians(7) * wave
    q[:, model.freedom("T8/9.axial_rotation")] = np.radians(4) * wave
    q[:, 1], q[:, 2], q[:, 3] = 8.0 * np.arange(frames), 950.0, 0.3
    return q


@pytest.fixture(scope="module")
def truth() -> tuple[BodyModel, np.ndarray]:
    model = build_model()
    return model, bending(model)


@pytest.fixture(scope="module")
def laboratory(truth: tuple[BodyModel, np.ndarray]) -> np.ndarray:
    return marker_points(truth[0], truth[1], laboratory_markers(truth[0], LABORATORY))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["motion", *map(str, arguments)])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]


def test_a_fit_writes_everything_it_promises_and_the_same_bytes_twice(
    truth: tuple[BodyModel, np.ndarray], laboratory: np.ndarray, tmp_path: Path, run: Run
) -> None:
    write_trc(tmp_path / "bend.trc", LABORATORY, laboratory, RATE)
    code, out, _ = run("fit", tmp_path / "bend.trc", "--out", tmp_path / "a", "--marker-sd", "0", "--sigma", "2")
    assert code == 0
    assert json.loads(out)["flags"] == []
    model, q = truth
    angles = pq.read_table(tmp_path / "a" / "angles.parquet")
    true = model.spine_angles_deg(q)[:, :5, 0].sum(axis=1)
    found = sum(angles[f"{s}.flexion_deg"].to_numpy() for s in ("L5/S1", "L4/5", "L3/4", "L2/3", "L1/2"))
    assert np.abs(found - true).max() < 3.0
    assert (angles["L4/5.flexion_sd_deg"].to_numpy() > 0).all()
    assert angles["lordosis_l1_s1_deg"].to_numpy().min() < angles["lordosis_l1_s1_deg"].to_numpy().max() - 25
    mot = read_mot(tmp_path / "a" / "angles.mot")
    np.testing.assert_allclose(mot.column("L4_L5_Flex_Ext"), -angles["L4/5.flexion_deg"].to_numpy(), atol=1e-6)
    prediction = read_prediction(tmp_path / "a" / "prediction" / "bend.npz")
    assert prediction.points_mm is not None
    assert prediction.points_mm.shape == (60, 61, 3)
    assert np.isfinite(prediction.points_mm).all()
    stored = read_clip_fit(tmp_path / "a")
    np.testing.assert_allclose(stored.points_mm, laboratory, atol=0.01)
    own = laboratory_markers(stored.model, ["C7"])
    assert np.linalg.norm(marker_points(stored.model, stored.q, own)[:, 0] - laboratory[:, 0], axis=-1).max() < 10
    report = json.loads((tmp_path / "a" / "fit.json").read_bytes())
    assert set(report["marker_rms_mm"]) == set(LABORATORY)
    run("fit", tmp_path / "bend.trc", "--out", tmp_path / "b", "--marker-sd", "0", "--sigma", "2")
    for file in sorted((tmp_path / "a").rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), file.name


def test_a_page_needs_nothing_else_and_a_strip_is_a_picture(laboratory: np.ndarray, tmp_path: Path, run: Run) -> None:
    write_trc(tmp_path / "<b>.trc", LABORATORY, laboratory, RATE)
    run("fit", tmp_path / "<b>.trc", "--out", tmp_path / "fit")
    code, out, _ = run("view", tmp_path / "fit", "--out", tmp_path / "p.html", "--strip", tmp_path / "s.png")
    assert code == 0
    assert json.loads(out)["frames"] == 60
    page = (tmp_path / "p.html").read_text()
    assert page == render_page(read_scene(tmp_path / "fit"), most_frames=1500), "equal scenes, equal pages"
    assert not [word for word in ("http://", "https://", "src=", "@import", "url(") if word in page]
    assert "<b>.trc" not in page
    assert "&lt;b&gt;" in page
    data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    assert data["frames"] == 60
    assert len(data["segments"]) == 25
    assert [curve["label"][:8] for curve in data["curves"]] == ["Lordosis", "Kyphosis", "Lordosis"]
    assert "one frame in 2 is shown" in render_page(read_scene(tmp_path / "fit"), most_frames=30)
    assert (tmp_path / "s.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    code, _, error = run("view", tmp_path / "fit")
    assert (code, "nothing to write" in error) == (2, True)
    (tmp_path / "fit" / "poses.npz").write_bytes(b"cut")
    code, _, error = run("view", tmp_path / "fit", "--out", tmp_path / "q.html")
    assert (code, "differs from its manifest" in error) == (2, True)
    code, _, error = run("view", tmp_path, "--out", tmp_path / "q.html")
    assert (code, "manifest.json" in error) == (2, True)


def test_a_simulated_clip_is_shown_as_such(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "set"
    code, _, error = run(
        "simulate",
        "--out",
        folder,
        "--subjects",
        1,
        "--motions",
        "bend,twist",
        "--clips",
        1,
        "--seconds",
        2,
        "--rate",
        20,
    )
    assert code == 0, error
    code, _, error = run("view", folder, "--out", tmp_path / "p.html")
    assert (code, "holds 2 clips" in error) == (2, True)
    code, _, error = run("view", folder, "--clip", "other", "--out", tmp_path / "p.html")
    assert (code, "holds no clip 'other'" in error) == (2, True)
    assert not (tmp_path / "p.html").exists()
    name = pq.read_table(folder / "clips.parquet")["clip_id"][0].as_py()
    code, out, _ = run("view", folder, "--clip", name, "--out", tmp_path / "p.html", "--strip", tmp_path / "s.png")
    assert code == 0
    assert json.loads(out)["clip"] == name
    page = (tmp_path / "p.html").read_text()
    assert "Nobody was measured." in page
    assert "Doubts" not in page


def test_joints_of_a_skeleton_take_the_names_of_a_plan(tmp_path: Path) -> None:
    text = "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n"
    for name, x, y in (("LeftUpLeg", 9, 0), ("RightUpLeg", -9, 0), ("Neck", 0, 50)):
        text += f"JOINT {name}\n{{\nOFFSET {x} {y} 0\nCHANNELS 0\nEnd Site\n{{\nOFFSET 0 30 0\n}}\n}}\n"
    (tmp_path / "a.bvh").write_text(text + "}\nMOTION\nFrames: 2\nFrame Time: 0.02\n0 90 0\n0 91 0\n")
    source = read_source(tmp_path / "a.bvh", unit="cm")
    plan = MarkerNames(rename={"LeftUpLeg": "LHJC", "RightUpLeg": "RHJC"}, clusters={"Neck": "C7"}, leave_out=["Hips"])
    placed = place_names(source, build_model(), plan)
    assert placed.markers.names == ("LHJC", "RHJC", "Neck")
    assert placed.sd_mm["Neck"] > placed.sd_mm["LHJC"]
    assert placed.left_out["Hips"] == "left out by the plan"
    assert placed.left_out["Neck_end"] == "no table knows the name"
    assert source.rate_hz == pytest.approx(50.0)


def test_cameras_with_a_calibration_are_fitted(truth: tuple[BodyModel, np.ndarray], tmp_path: Path, run: Run) -> None:
    model, q = truth
    cameras = camera_ring(3)
    write_calibration(tmp_path / "rig.toml", cameras)
    folder = tmp_path / "views"
    folder.mkdir()
    points = marker_points(model, q, keypoint_markers(model))
    pixels = project(cameras, points) + np.random.default_rng(0).normal(scale=1.0, size=(3, len(q), 37, 2))
    for camera, own in zip(cameras, pixels, strict=True):
        np.savez(folder / f"{camera.name}.npz", keypoints=own, confidence=np.ones(own.shape[:2]))
    code, _, error = run("fit", folder, "--cameras", tmp_path / "rig.toml", "--out", tmp_path / "fit")
    assert (code, "--rate" in error) == (2, True)
    code, out, _ = run("fit", folder, "--cameras", tmp_path / "rig.toml", "--rate", "50", "--out", tmp_path / "fit")
    assert code == 0
    assert json.loads(out)["markers"] == 37
    stored = read_clip_fit(tmp_path / "fit")
    own = keypoint_markers(stored.model)
    assert np.linalg.norm(marker_points(stored.model, stored.q, own) - points, axis=-1).mean() < 6.0
    one = tmp_path / "one.npz"
    np.savez(one, keypoints=pixels[0])
    code, _, error = run("fit", one, "--rate", "50", "--out", tmp_path / "x")
    assert (code, "1 camera cannot tell depth" in error) == (2, True)
    for camera in cameras[1:]:
        (folder / f"{camera.name}.npz").unlink()
    code, _, error = run("fit", folder, "--cameras", tmp_path / "rig.toml", "--rate", "50", "--out", tmp_path / "x")
    assert (code, "cam_02" in error) == (2, True)
    code, _, error = run("fit", folder, "--rate", "50", "--out", tmp_path / "x")
    assert (code, "calibration" in error) == (2, True)
    assert not (tmp_path / "x").exists(), "nothing half-written"


def test_bad_clips_are_a_named_error(laboratory: np.ndarray, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty.trc").write_bytes(b"")
    write_trc(tmp_path / "nan.trc", LABORATORY, laboratory * np.nan, RATE)
    write_trc(tmp_path / "mm.trc", LABORATORY, laboratory, RATE, unit="mm")
    write_trc(tmp_path / "m.trc", LABORATORY, laboratory, RATE, unit="m")
    write_trc(tmp_path / "few.trc", LABORATORY[:2], laboratory[:, :2], RATE)
    write_trc(tmp_path / "odd.trc", [f"m{k}" for k in range(14)], laboratory, RATE)
    far = laboratory.copy()
    far[3, 2, 0] = 1e300
    write_trc(tmp_path / "far.trc", LABORATORY, far, RATE, unit="mm")
    (tmp_path / "angles.mot").write_text("x\n")
    (tmp_path / "names.yaml").write_text("rename: {C8: C7}\n")
    (tmp_path / "typo.yaml").write_text("renmae: {}\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    out = ("--out", tmp_path / "x")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("empty.trc", *out), "is empty"),
        (("nan.trc", *out), "nothing is visible|no marker|NaN|visible"),
        (("mm.trc", "--unit", "m", *out), "times an adult's size"),
        (("m.trc", "--unit", "mm", *out), "look like m"),
        (("few.trc", *out), "2 of 2 markers"),
        (("odd.trc", *out), "0 of 14 markers are known"),
        (("absent.c3d", *out), "absent.c3d"),
        (("angles.mot", *out), "holds angles"),
        (("mm.trc", "--names", tmp_path / "names.yaml", *out), "no marker 'C8'"),
        (("mm.trc", "--names", tmp_path / "typo.yaml", *out), "renmae"),
        (("mm.trc", "--sex", "other", *out), "sex"),
        (("mm.trc", "--stature", "1.7", *out), "stature_mm"),
        (("mm.trc", "--rate", "25", *out), "rate_hz"),
        (("mm.trc", "--rate", "nan", *out), "rate_hz"),
        (("mm.trc", "--marker-sd", "nan", *out), "marker_sd_mm"),
        (("mm.trc", "--marker-sd", "-5", *out), "marker_sd_mm"),
        (("mm.trc", "--layout", "coco17", *out), "layout"),
        (("mm.trc", "--subject", "S01", *out), "subject"),
        (("mm.trc", "--skeleton", "bones.asf", *out), "skeleton"),
        (("far.trc", *out), "beyond 1e+09"),
        (("mm.trc", "--out", tmp_path / "mine"), "something else"),
    ]
    for arguments, words in cases:
        code, said, error = run("fit", tmp_path / str(arguments[0]), *arguments[1:])
        assert code == 2, arguments
        assert said == ""
        assert any(word in error for word in words.split("|")), error
        assert "Cure:" in error
        assert error.count("\n") == 1
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    assert not (tmp_path / "x").exists()


def test_doubtful_clips_are_flagged_on_the_fit(laboratory: np.ndarray, tmp_path: Path, run: Run) -> None:
    half = laboratory.copy()
    half[30:, 2:5] = np.nan
    other = [f"{'R' if n[0] == 'L' else 'L'}{n[1:]}" if n[1:] in ("SHO", "ASI", "PSI") else n for n in LABORATORY]
    lie = tmp_path / "lie.trc"
    write_trc(lie, LABORATORY, laboratory, RATE, unit="m")
    lines = lie.read_text().splitlines()
    lines[2] = "\t".join("mm" if word == "m" else word for word in lines[2].split("\t"))
    lie.write_text("\n".join(lines) + "\n")
    write_trc(tmp_path / "half.trc", LABORATORY, half, RATE)
    write_trc(tmp_path / "sides.trc", other, laboratory, RATE)
    write_trc(tmp_path / "strange.trc", [*LABORATORY[:-1], "HAT"], laboratory, RATE)
    for name, wanted in (
        ("half", {"markers_missing"}), ("sides", {"left_right_swapped", "sides_exchanged"}),
        ("lie", {"unit_mismatch"}), ("strange", {"markers_unused"}),
    ):  # fmt: skip
        code, out, error = run("fit", tmp_path / f"{name}.trc", "--out", tmp_path / name, "--no-posterior")
        assert code == 0
        assert set(json.loads(out)["flags"]) & wanted, (name, out)
        assert f"flag {next(iter(set(json.loads(out)['flags']) & wanted))}" in error
        report = json.loads((tmp_path / name / "fit.json").read_bytes())
        assert wanted & {flag["name"] for flag in report["flags"]}
        assert "Doubts" in render_page(read_scene(tmp_path / name))
