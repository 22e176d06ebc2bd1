"""Faults that damaged files once showed, one each: they are refused by name, and the process lives on."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spinemed.config import Config, load_config
from spinemed.errors import ConfigError, ReadError, SpineMedError
from spinemed.records import Finding
from spinemed.tables import parse_json, read_jsonl, read_manifest, read_records
from spinemed.volume import Volume, read_dicom_series, read_nifti, write_nifti


@pytest.fixture(scope="module")
def imaging() -> ModuleType:
    """The inputs of the fuzzer, made once."""
    folder = str(Path(__file__).parent / "fuzz")
    sys.path.insert(0, folder)
    try:
        import imaging  # type: ignore[import-not-found]
    finally:
        sys.path.remove(folder)
    return imaging


@pytest.fixture
def volume(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole NIfTI file."""
    file = tmp_path_factory.mktemp("whole") / "v.nii"
    write_nifti(Volume(np.zeros((5, 6, 7), dtype=np.int16), np.eye(4), "HU", "", "", {}), file)
    return file.read_bytes()


def named(caught: pytest.ExceptionInfo[SpineMedError], file: Path) -> None:
    assert str(file) in str(caught.value)
    assert caught.value.cure


def refusal(folder: Path) -> str:
    """Why a series is not read; empty where it is."""
    try:
        read_dicom_series(folder)
    except ReadError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), -1e30])
@pytest.mark.parametrize("packed", [False, True])
def test_nifti_whose_offset_is_no_number(offset: float, packed: bool, volume: bytes, tmp_path: Path) -> None:
    data = volume[:108] + struct.pack("<f", offset) + volume[112:]
    file = tmp_path / ("v.nii.gz" if packed else "v.nii")
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ReadError, match="vox_offset") as caught:
        read_nifti(file)
    named(caught, file)


def test_nifti_with_a_bomb_behind_it(volume: bytes, tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(80)) + packer.flush()
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(volume) + bomb)
    with pytest.raises(ReadError, match="follow the image"):
        read_nifti(tmp_path / "v.nii.gz")
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(volume + bytes(1000)))
    assert read_nifti(tmp_path / "v.nii.gz").shape == (5, 6, 7)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000])
def test_json_that_nests_without_end(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)
    file = tmp_path / "f.jsonl"
    file.write_text(text + "\n")
    with pytest.raises(ReadError, match="nested too deeply") as caught:
        list(read_jsonl(file, Finding))
    named(caught, file)


@pytest.mark.parametrize(
    "files",
    [{"/etc/passwd": {"sha256": "0", "bytes": 1}}, {"../x": {"sha256": "0", "bytes": 1}}, {"a": {}}, {"a": None},
     {"a" * 5000: {"sha256": "0", "bytes": 1}}],
)  # fmt: skip
def test_a_manifest_that_leads_elsewhere(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "corpus", "files": files}))
    with pytest.raises(ReadError, match="of this folder") as caught:
        read_manifest(tmp_path, "corpus")
    named(caught, tmp_path / "manifest.json")


class Small(Config):
    """Anything."""

    a: Any = None
    """Any value."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x0: &x0 [1,1,1,1,1,1,1,1,1]\n" + "".join(f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 9)}]\n"
         for n in range(1, 9)), "more than"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: !!float ''\n", "is not YAML"),
        ("a: !!timestamp 0\n", "is not YAML"),
        ("a: !!bool x\n", "is not YAML"),
    ],
    ids=["aliases of aliases", "deep", "no float", "no time", "no truth"],
)  # fmt: skip
def test_yaml_that_means_more_than_it_holds(text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=found) as caught:
        load_config(tmp_path / "c.yaml", Small)
    named(caught, tmp_path / "c.yaml")


def test_parquet_whose_text_is_none(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.nulls(2, pa.string()) for name in Finding.model_fields}
    columns["kind"] = pa.array([b"\xff\xfe", b"\xff"]).view(pa.string())
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    with pytest.raises(ReadError, match="Parquet") as caught:
        list(read_records(tmp_path / "f.parquet", Finding))
    named(caught, tmp_path / "f.parquet")


def test_dicom_pixels_that_end_the_process_that_decodes_them(imaging: ModuleType, tmp_path: Path) -> None:
    """A stray byte in a JPEG's table makes GDCM throw where nobody catches."""
    import pydicom
    from pydicom.encaps import encapsulate, generate_frames

    seeds = {seed.name: seed.data for seed in imaging._dicom_seeds(Path())}
    one = pydicom.dcmread(io.BytesIO(seeds["jpeg.dcm"]))
    frame = bytearray(next(generate_frames(one.PixelData, number_of_frames=1)))
    whole = bytes(frame)
    died = 0
    for place in range(2, len(frame), 7):
        frame = bytearray(whole)
        frame[place] ^= 0xFF
        one.PixelData = encapsulate([bytes(frame)])
        one["PixelData"].is_undefined_length = True
        one.save_as(tmp_path / "one.dcm", enforce_file_format=True)
        told = refusal(tmp_path)
        assert "one.dcm" in told or not told
        died += "ended the process" in told
    assert died, "none of these ends the decoder any more: the child process has lost its reason"
    (tmp_path / "one.dcm").write_bytes(seeds["jpeg.dcm"])
    assert read_dicom_series(tmp_path).shape == (16, 16, 1)


@pytest.mark.parametrize("name", ["jpeg", "lossless", "jls", "j2k", "rle"])
def test_the_child_decodes_what_pydicom_decodes(name: str, imaging: ModuleType) -> None:
    import pydicom

    from spinemed.volume.decode import stored_pixels

    data = {seed.name: seed.data for seed in imaging._dicom_seeds(Path())}[f"{name}.dcm"]
    one = pydicom.dcmread(io.BytesIO(data))
    found = stored_pixels(one)
    assert found.dtype == one.pixel_array.dtype
    np.testing.assert_array_equal(found, one.pixel_array)


def test_c3d_whose_numbers_are_text(tmp_path: Path, imaging: ModuleType) -> None:
    """ezc3d reads such a rate out of bounds and ends the process."""
    sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
    try:
        import clips  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    from spinemed.motion.io.c3d import read_c3d

    data = bytearray(clips.small_c3d())
    file = tmp_path / "m.c3d"
    file.write_bytes(data)
    assert read_c3d(file).points_mm.shape == (6, 4, 3)
    data[512 + 66] = 0xFF  # the type of POINT:RATE
    file.write_bytes(data)
    with pytest.raises(ReadError, match="RATE") as caught:
        read_c3d(file)
    named(caught, file)
    data[512 + 66], data[512 + 93] = 4, 254  # and a length that leads out of the section
    file.write_bytes(data)
    with pytest.raises(ReadError) as caught:
        read_c3d(file)
    named(caught, file)


def test_a_picture_of_a_page_whose_name_no_file_can_have(tmp_path: Path) -> None:
    from data_pipeline.readers.documents import file_beside

    (tmp_path / "g.png").write_bytes(b"x")
    assert file_beside(tmp_path, "g.png") == tmp_path / "g.png"
    for name in ("a" * 5000, "a\x00b", "../" * 9 + "etc/passwd", "/etc/passwd", ""):
        assert file_beside(tmp_path, name) is None


def test_a_job_that_takes_its_process_down_leaves_this_one() -> None:
    from spinemed.native import run_native

    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended the process"):
            run_native("os:_exit", b"no number, so the child ends with a fault")
        with pytest.raises(RuntimeError) as caught:  # the next one is done by a new child, which says why
            run_native("spinemed.motion.io.c3d:parse_c3d", b"/no/such/file.c3d")
        assert "ended the process" not in str(caught.value)
