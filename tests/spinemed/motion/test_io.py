"""Motion files: what is written is read back, the bundled clips are people, and what is wrong is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from spinemed.errors import SpineMedError
from spinemed.motion.io.c3d import read_c3d
from spinemed.motion.io.mot import read_mot, write_mot
from spinemed.motion.io.skeletons import read_amc, read_bvh
from spinemed.motion.io.trc import read_trc, write_trc
from spinemed.resources import samples_dir

MOTION = samples_dir() / "motion"
RUN_TRC = MOTION / "bmc_run" / "motion_capture_run.trc"
RUN_MOT = MOTION / "bmc_run" / "ik_output_run.mot"
LIFT = MOTION / "pyomeca_box_lift" / "markers.c3d"
SERVE = MOTION / "ktk_tennis_serve" / "kinematics_tennis_serve.c3d"

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 50 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT Head
    {
      OFFSET 0 40 0
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 20 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.01
0 90 0 0 0 0 0 0 0 0 0 0
0 90 0 0 0 0 90 0 0 0 0 0
"""

ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name back
    direction 0 1 0
    length 9.0
    axis 0 0 0 XYZ
    dof rx ry rz
    limits (-180 180)
           (-180 180)
           (-180 180)
  end
:hierarchy
  begin
    root back
  end
"""


def test_the_bundled_clips_are_people_of_a_plausible_size() -> None:
    for clip in (read_trc(RUN_TRC), read_c3d(LIFT), read_c3d(SERVE)):
        assert clip.frames > 50
        assert 50 <= clip.rate_hz <= 400
        heights = clip.points_mm[..., 2]
        assert 500 < np.nanmax(heights) - np.nanmin(heights) < 3500
        assert set(clip.missing_share()) == set(clip.names)


def test_times_that_go_back_are_flagged(tmp_path: Path) -> None:
    path = tmp_path / "back.trc"
    write_trc(path, ["C7", "L1", "SACR"], np.random.default_rng(0).normal(1000, 300, (9, 3, 3)), 50.0)
    assert "time_goes_back" not in {flag.name for flag in read_trc(path).flags}
    path.write_text(path.read_text().replace("\t0.08000000\t", "\t0.02000000\t"))
    assert "time_goes_back" in {flag.name for flag in read_trc(path).flags}


def test_marker_clips_come_back_from_trc_in_any_unit(tmp_path: Path) -> None:
    clip = read_trc(RUN_TRC)
    for unit in ("m", "mm", "cm"):
        path = tmp_path / f"{unit}.trc"
        write_trc(path, clip.names, clip.points_mm, clip.rate_hz, unit=unit)
        again = read_trc(path)
        assert again.names == clip.names
        assert again.rate_hz == pytest.approx(clip.rate_hz)
        np.testing.assert_allclose(again.points_mm, clip.points_mm, atol=0.01)


def test_a_header_that_says_the_wrong_unit_is_flagged(tmp_path: Path) -> None:
    clip = read_trc(RUN_TRC)
    path = tmp_path / "lie.trc"
    write_trc(path, clip.names, clip.points_mm, clip.rate_hz, unit="m")
    lines = path.read_text().splitlines()
    lines[2] = "\t".join("mm" if word == "m" else word for word in lines[2].split("\t"))
    path.write_text("\n".join(lines) + "\n")
    again = read_trc(path)
    assert again.flags
    np.testing.assert_allclose(again.points_mm, clip.points_mm, atol=0.01)


def test_angles_come_back_from_mot_in_degrees_and_radians(tmp_path: Path) -> None:
    clip = read_mot(RUN_MOT)
    assert clip.degrees
    lumbar = clip.angle_deg("lumbar_extension")
    assert 0 < np.ptp(lumbar) < 90
    write_mot(tmp_path / "again.mot", clip.names, clip.values, clip.time_s)
    again = read_mot(tmp_path / "again.mot")
    np.testing.assert_allclose(again.values, clip.values, atol=1e-6)
    write_mot(tmp_path / "rad.mot", ["pelvis_tilt"], np.radians([[10.0], [20.0]]), [0.0, 0.1], degrees=False)
    turned = read_mot(tmp_path / "rad.mot")
    assert not turned.degrees
    np.testing.assert_allclose(turned.angle_deg("pelvis_tilt"), [10.0, 20.0], atol=1e-5)


def test_a_bvh_chain_stands_up_and_bends_where_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "chain.bvh"
    path.write_text(BVH)
    clip = read_bvh(path, unit="cm")
    at = {name: i for i, name in enumerate(clip.names)}
    assert clip.rate_hz == pytest.approx(100.0)
    head = clip.points_mm[:, at["Head"]] - clip.points_mm[:, at["Spine"]]
    np.testing.assert_allclose(head[0], [0, 0, 400], atol=1e-6)
    # A quarter turn about the file's z axis at the spine lays the head down; its distance stays.
    assert abs(head[1][2]) < 1e-6
    np.testing.assert_allclose(np.linalg.norm(head, axis=1), 400, atol=1e-6)
    assert any(flag.name == "unit_assumed" for flag in read_bvh(path).flags)


def test_an_amc_bone_has_its_length_in_millimetres(tmp_path: Path) -> None:
    (tmp_path / "who.asf").write_text(ASF)
    (tmp_path / "what.amc").write_text(":FULLY-SPECIFIED\n:DEGREES\n1\nroot 0 0 0 0 0 0\nback 0 0 0\n")
    clip = read_amc(tmp_path / "what.amc", tmp_path / "who.asf")
    lengths = np.linalg.norm(np.diff(clip.points_mm[0], axis=0), axis=1)
    assert lengths.max() == pytest.approx(9.0 / 0.45 * 25.4, rel=1e-6)


@pytest.mark.parametrize(
    ("source", "read"), [(RUN_TRC, read_trc), (RUN_MOT, read_mot), (LIFT, read_c3d)], ids=["trc", "mot", "c3d"]
)
def test_empty_absent_and_cut_files_are_named(source: Path, read, tmp_path: Path) -> None:
    with pytest.raises(SpineMedError, match=r"absent"):
        read(tmp_path / f"absent{source.suffix}")
    empty = tmp_path / f"empty{source.suffix}"
    empty.write_bytes(b"")
    with pytest.raises(SpineMedError, match=r"empty.*Cure"):
        read(empty)
    cut = tmp_path / f"cut{source.suffix}"
    shutil.copy(source, cut)
    content = source.read_bytes()
    cut.write_bytes(content[: len(content) // 2 + 7])
    said: list[str] = []
    try:
        said += [flag.name for flag in read(cut).flags]
    except SpineMedError as error:
        said.append(str(error))
    assert said


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    clip = read_trc(RUN_TRC)
    with pytest.raises(SpineMedError, match="use names among"):
        clip.select(["C99"])
    assert clip.select(clip.names[:2]).points_mm.shape[1] == 2
