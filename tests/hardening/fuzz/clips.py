"""Motion: C3D, TRC, MOT, BVH, ASF and AMC, keypoints (NPY, NPZ, JSON, Parquet), camera calibrations.

Convention: C3D is changed where its own format counts: header words, parameter offsets and dimensions.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from engine import Input, Seed, Target
from mutate import Generator, any_bytes, any_json, any_text, damage_bytes, pick

# --- C3D -------------------------------------------------------------------------------------------------------------


def _parameter(group: int, name: bytes, kind: int, dims: tuple[int, ...], data: bytes) -> bytes:
    body = struct.pack("<bB", kind, len(dims)) + bytes(dims) + data + b"\x00"
    return struct.pack("<bb", len(name), group) + name + struct.pack("<H", 2 + len(body)) + body


def _group(number: int, name: bytes) -> bytes:
    return struct.pack("<bb", len(name), -number) + name + struct.pack("<H", 3) + b"\x00"


def small_c3d(markers: int = 4, frames: int = 6) -> bytes:
    """A whole C3D file of little-endian floats, written by hand."""
    labels = b"".join(f"M{n}".ljust(4).encode() for n in range(markers))
    blocks = (
        b"\x01\x50\x02\x54"
        + _group(1, b"POINT")
        + b"".join(
            (
                _parameter(1, b"USED", 2, (), struct.pack("<h", markers)),
                _parameter(1, b"FRAMES", 2, (), struct.pack("<h", frames)),
                _parameter(1, b"SCALE", 4, (), struct.pack("<f", -0.1)),
                _parameter(1, b"RATE", 4, (), struct.pack("<f", 50.0)),
                _parameter(1, b"DATA_START", 2, (), struct.pack("<h", 4)),
                _parameter(1, b"UNITS", -1, (2,), b"mm"),
                _parameter(1, b"LABELS", -1, (4, markers), labels),
            )
        )
        + _group(2, b"ANALOG")
        + _parameter(2, b"USED", 2, (), struct.pack("<h", 0))
        + b"\x00\x00"
    )
    blocks = blocks.ljust(1024, b"\x00")
    head = struct.pack("<BBHHHHHfHHf", 2, 0x50, markers, 0, 1, frames, 10, -0.1, 4, 0, 50.0).ljust(512, b"\x00")
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 900, (frames, markers, 3)), np.zeros((frames, markers, 1))], axis=2)
    return head + blocks + points.astype("<f4").tobytes()


def _c3d_seeds(samples: Path) -> list[Seed]:
    real = samples / "motion" / "pyomeca_box_lift" / "markers.c3d"
    return [Seed("small.c3d", small_c3d()), Seed("wide.c3d", small_c3d(9, 2)), Seed("real.c3d", real.read_bytes())]


_WORDS = (0, 1, 2, 4, 5, 255, 256, 32767, 32768, 65535)


def change_c3d(rng: Generator, seeds: list[Seed]) -> Input:
    """Header words, parameter blocks, or blind damage; the real file is rare because it is large."""
    seed = pick(rng, seeds[:2]) if rng.random() < 0.9 else seeds[2]
    way = rng.random()
    if way < 0.2:
        return any_bytes(rng, [seed])
    data, told = bytearray(seed.data), []
    start = (data[0] - 1) * 512
    for _ in range(int(rng.integers(1, 4))):
        if way < 0.5:  # the header: pointers, counts, frames, scale, rate
            place, value = 2 * int(rng.integers(0, 13)), int(pick(rng, _WORDS))
            data[place : place + 2] = struct.pack("<H", value)
            told.append(f"header word {place // 2 + 1} = {value}")
        elif way < 0.6:
            place = int(pick(rng, (12, 20)))
            value_ = float(pick(rng, (np.nan, np.inf, 0.0, -1e-45, 1e38, -1e38)))
            data[place : place + 4] = struct.pack("<f", value_)
            told.append(f"header float at {place} = {value_}")
        elif way < 0.85:  # the parameters
            place, value = start + int(rng.integers(0, 300)), int(pick(rng, (0, 1, 2, 4, 127, 128, 254, 255)))
            data[place] = value
            told.append(f"parameter byte {place - start} = {value}")
        else:
            part, done = damage_bytes(rng, bytes(data[start : start + 400]))
            data[start : start + 400] = part
            told.append(f"parameters: {done}")
    return Input(seed, bytes(data), "; ".join(told))


def _c3d(path: Path, given: Input) -> object:
    from spinemed.motion.io.c3d import read_c3d

    return read_c3d(path)


# --- text ------------------------------------------------------------------------------------------------------------

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 25 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 60 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.02
0 90 0 0 0 0 1 2 3
0 91 0 0 1 0 1 2 3
0 92 0 0 2 0 1 2 3
"""
ASF = """:version 1.10
:name spine
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
     name lowerback
     direction 0 1 0
     length 20
     axis 0 0 0 XYZ
     dof rx ry rz
     limits (-20.0 45.0)
            (-30.0 30.0)
            (-30.0 30.0)
  end
:hierarchy
  begin
    root lowerback
  end
"""
AMC = """#!OML:ASF x
:FULLY-SPECIFIED
:DEGREES
1
root 0 15 0 1 2 3
lowerback 1 2 3
2
root 0 16 0 1 2 3
lowerback 2 2 3
"""


def _lines(samples: Path, name: str, most: int) -> bytes:
    data = (samples / "motion" / "bmc_run" / name).read_bytes()
    return b"\n".join(data.splitlines()[:most]) + b"\n"


def _trc_seeds(samples: Path) -> list[Seed]:
    return [Seed("run.trc", _lines(samples, "motion_capture_run.trc", 12))]


def _mot_seeds(samples: Path) -> list[Seed]:
    whole = _lines(samples, "ik_output_run.mot", 20)
    rows = whole.split(b"endheader")[1].strip().count(b"\n")
    return [
        Seed(
            "run.mot",
            b"\n".join(b"nRows=%d" % rows if line.startswith(b"nRows") else line for line in whole.split(b"\n")),
        )
    ]


def _trc(path: Path, given: Input) -> object:
    from spinemed.motion.io.trc import read_trc

    return read_trc(path)


def _mot(path: Path, given: Input) -> object:
    from spinemed.motion.io.mot import read_mot

    return read_mot(path)


def _skeleton(path: Path, given: Input) -> object:
    from spinemed.motion.io.skeletons import read_amc, read_bvh

    if path.suffix == ".bvh":
        return read_bvh(path)
    other = path.with_suffix(".asf" if path.suffix == ".amc" else ".amc")
    other.write_text(ASF if other.suffix == ".asf" else AMC)
    return read_amc(path.with_suffix(".amc"), path.with_suffix(".asf"))


# --- keypoints -------------------------------------------------------------------------------------------------------


def _coco(frames: int = 3) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [
        {
            "image_id": n,
            "category_id": 1,
            "bbox": [1, 2, 30, 40],
            "keypoints": [float(v) for v in np.c_[rng.uniform(0, 99, (17, 2)), np.full(17, 0.9)].ravel()],
        }
        for n in range(frames)
    ]


def _keypoint_json(samples: Path) -> list[Seed]:
    coco = {
        "annotations": _coco(),
        "categories": [{"keypoints": [f"k{n}" for n in range(17)]}],
        "info": {"rate_hz": 30},
    }
    del coco["categories"]
    people = {"people": [{"pose_keypoints_2d": _coco(1)[0]["keypoints"]}]}
    return [
        Seed(f"{name}.json", json.dumps(value).encode())
        for name, value in (("coco", coco), ("alphapose", _coco()), ("openpose", people))
    ]


def _array_seeds(samples: Path) -> list[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    points = np.random.default_rng(0).uniform(0, 99, (4, 17, 3)).astype(np.float32)
    points[..., 2] = 0.5
    plain, packed, table = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(plain, points)
    np.savez_compressed(packed, keypoints=points[..., :2], confidence=points[..., 2], rate_hz=np.array(30.0))
    names = (
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    )
    columns = {f"{name}_{axis}": points[:, n, k] for n, name in enumerate(names) for k, axis in enumerate("xyc")}
    pq.write_table(pa.table(columns), table)
    return [Seed("p.npy", plain.getvalue()), Seed("p.npz", packed.getvalue()), Seed("p.parquet", table.getvalue())]


_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 17, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 17, 3), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 17, 3)",
    "{'descr': '<U99999999', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (4, 17, 3), }",
    "(" * 3000,
    "{'descr': '<c8', 'fortran_order': False, 'shape': (4, 17, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 17, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
)


def change_arrays(rng: Generator, seeds: list[Seed]) -> Input:
    """NPY headers, ZIP members, Parquet bytes."""
    seed = pick(rng, seeds)
    if seed.name.endswith("npz") and rng.random() < 0.6:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(seed.data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
            chosen = str(pick(rng, old.namelist()))
            how = f"{chosen} damaged"
            for name in old.namelist():
                data = old.read(name)
                if name == chosen:
                    data, how = _header(rng) if rng.random() < 0.5 else damage_bytes(rng, data)
                new.writestr(name, data)
            if rng.random() < 0.2:
                new.writestr(chosen, bytes(200_000_000) if rng.random() < 0.2 else b"twice")
                how += "; a member twice"
        return Input(seed, stream.getvalue(), how)
    if seed.name.endswith("npy") and rng.random() < 0.6:
        data, how = _header(rng)
        return Input(seed, data, how)
    return any_bytes(rng, [seed])


def _header(rng: Generator) -> tuple[bytes, str]:
    text = str(pick(rng, _HEADERS))
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + bytes(816), text[:60]


def _keypoints(path: Path, given: Input) -> object:
    from spinemed.motion.io.keypoints import read_keypoints

    return read_keypoints(path)


TARGETS = [
    Target("c3d", _c3d_seeds, change_c3d, _c3d),
    Target("trc", _trc_seeds, any_text, _trc),
    Target("mot", _mot_seeds, any_text, _mot),
    Target(
        "skeleton",
        lambda _: [Seed("s.bvh", BVH.encode()), Seed("s.amc", AMC.encode()), Seed("s.asf", ASF.encode())],
        any_text,
        _skeleton,
    ),
    Target("keypoints-json", _keypoint_json, any_json, _keypoints),
    Target("keypoints-arrays", _array_seeds, change_arrays, _keypoints),
]
