"""Volumes and pictures: NIfTI images and masks, DICOM series, PNG and JPEG.

Convention: the blind damage of `mutate` for a third of the inputs, the rest changes what the format gives a meaning:
header fields to extremes, lengths, transfer syntaxes, what stands behind a gzip file's end.
"""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from engine import Input, Seed, Target
from mutate import Generator, any_bytes, damage_bytes, pick

from spinemed.volume import Volume, read_dicom_series, read_mask, read_nifti, write_nifti

# --- NIfTI -----------------------------------------------------------------------------------------------------------

_FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim0": (40, "h"),
    "dim1": (42, "h"),
    "dim2": (44, "h"),
    "dim3": (46, "h"),
    "dim4": (48, "h"),
    "dim7": (54, "h"),
    "intent": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim0": (76, "f"),
    "pixdim1": (80, "f"),
    "pixdim2": (84, "f"),
    "pixdim3": (88, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "b"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "quatern_c": (260, "f"),
    "quatern_d": (264, "f"),
    "qoffset_x": (268, "f"),
    "srow_x0": (280, "f"),
    "srow_x3": (292, "f"),
    "srow_y1": (300, "f"),
    "srow_z2": (320, "f"),
    "magic": (344, "i"),
    "extension": (348, "i"),
}
_EXTREMES: dict[str, tuple[Any, ...]] = {
    "b": (0, 1, 3, 7, 63, -1, -128, 127),
    "h": (0, 1, -1, 2, 7, 8, 32767, -32768, 512, 128, 2304, 1792, 16, 64, 768),
    "i": (0, 1, -1, 348, 540, 2**31 - 1, -(2**31), 0x0031692E),
    "f": (
        0.0,
        -1.0,
        1e-45,
        1e-30,
        1e30,
        3e38,
        -3e38,
        float("nan"),
        float("inf"),
        float("-inf"),
        352.5,
        1.0,
        -352.0,
        0.5,
    ),
}


def _grid(kind: type, unit: Any, low: int, high: int) -> Volume:
    rng = np.random.default_rng(0)
    data = rng.integers(low, high, size=(9, 8, 7)).astype(kind)
    affine = np.array([[-0.9, 0.1, 0, 4], [0.1, 0.9, 0, -3], [0, 0, 2.5, 12], [0, 0, 0, 1.0]])
    return Volume(data, affine, unit, "", "", {})


def _nifti_seeds(samples: Path) -> list[Seed]:
    small = samples / "ct" / "tptbox_L3_crop" / "sub-ct_seg-vert_label-22_msk.nii.gz"
    found = [Seed(small.name, small.read_bytes())]
    with tempfile.TemporaryDirectory() as folder:
        for name, volume in (
            ("int16.nii", _grid(np.int16, "HU", -1000, 2000)),
            ("float32.nii.gz", _grid(np.float32, "a.u.", 0, 30)),
            ("mask.nii", _grid(np.uint8, "label", 0, 26)),
        ):
            write_nifti(volume, Path(folder) / name)
            found.append(Seed(name, (Path(folder) / name).read_bytes()))
    return [*found, Seed("two.nii", _nifti_2())]


def _nifti_2() -> bytes:
    import nibabel as nib

    volume = _grid(np.int16, "HU", 0, 100)
    image = nib.Nifti2Image(volume.data, volume.affine)
    image.set_sform(volume.affine, code=1)
    return bytes(image.to_bytes())


def change_nifti(rng: Generator, seeds: list[Seed]) -> Input:
    seed = pick(rng, seeds)
    way = rng.random()
    if way < 0.25:
        return any_bytes(rng, seeds)
    zipped = seed.data[:2] == b"\x1f\x8b"
    data, how = (gzip.decompress(seed.data) if zipped else seed.data), []
    if way < 0.85:
        for _ in range(int(rng.integers(1, 4))):
            name = str(pick(rng, list(_FIELDS)))
            place, kind = _FIELDS[name]
            value = pick(rng, _EXTREMES[kind])
            data = data[:place] + struct.pack("<" + kind, value) + data[place + struct.calcsize(kind) :]
            how.append(f"{name} = {value}")
        if rng.random() < 0.15:
            data = data[:40] + struct.pack("<8h", *(int(pick(rng, (7, 3, 32767, 1))) for _ in range(8))) + data[56:]
            how.append("all dims")
        if rng.random() < 0.1:
            data, how = data[:348], [*how, "nothing behind the header"]
    else:
        data, done = damage_bytes(rng, data)
        how.append(done)
    if not zipped:
        return Input(seed, data, "; ".join(how))
    packed = gzip.compress(data, mtime=0)
    end = rng.random()
    if end < 0.05:
        packed, how = packed + _bomb(int(pick(rng, (20, 90)))), [*how, "a gzip bomb behind"]
    elif end < 0.1:
        packed, how = packed + rng.bytes(50), [*how, "noise behind"]
    elif end < 0.15:
        packed, how = gzip.compress(data + bytes(3_000_000), mtime=0), [*how, "zeros behind"]
    elif end < 0.2:
        packed, how = gzip.compress(packed, mtime=0), [*how, "gzipped twice"]
    return Input(seed, packed, "; ".join(how))


_BOMBS: dict[int, bytes] = {}


def _bomb(mib: int) -> bytes:
    """A gzip member of zeros."""
    if mib not in _BOMBS:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        _BOMBS[mib] = b"".join(packer.compress(bytes(1 << 20)) for _ in range(mib)) + packer.flush()
    return _BOMBS[mib]


def _read_study(path: Path, given: Input) -> object:
    from data_pipeline.readers.nifti import parse_study

    return parse_study(
        source_entry("nifti"), str(path.parent), {"image": path.name, "modality": "CT", "group": "p", "truth": "none"}
    )


# --- DICOM -----------------------------------------------------------------------------------------------------------

_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.100",
    "9.9",
    "",
)
_EDITS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("Rows", (0, 1, 17, 65535)),
    ("Columns", (0, 1, 15, 65535)),
    ("BitsAllocated", (0, 1, 8, 12, 32, 64, 65535)),
    ("BitsStored", (0, 1, 17, 65535)),
    ("HighBit", (0, 99)),
    ("PixelRepresentation", (0, 1, 2, 65535)),
    ("SamplesPerPixel", (0, 1, 3, 65535)),
    ("PlanarConfiguration", (0, 1, 9)),
    ("NumberOfFrames", (0, 2, -1, 2**31 - 1)),
    ("PhotometricInterpretation", ("RGB", "YBR_FULL_422", "PALETTE COLOR", "", "MONOCHROME1", "X")),
    ("PixelSpacing", ([0, 0], [1e-30, 1e30], [-1, 1], [1])),
    ("RescaleSlope", (0, 1e30, -1e-30, 1e308)),
    ("RescaleIntercept", (1e30, -1e30)),
    ("ImagePositionPatient", ([0, 0], [1e30, 0, 0], [0, 0, 1e15])),
    ("ImageOrientationPatient", ([0] * 6, [1, 0, 0, 0, 1, 0], [1e30] * 6)),
    ("SliceThickness", (0, -1, 1e30)),
    ("SeriesInstanceUID", ("", "1.2", "x" * 64)),
    ("Modality", ("", "SR", "MR", "CR", "\x1b[2J")),
    ("SpecificCharacterSet", ("ISO 2022 IR 87", "nonsense", ["", "ISO 2022 IR 13"], "GB18030")),
    ("SpacingBetweenSlices", (0, -5, 1e30)),
    ("RescaleType", ("US", "")),
    ("SmallestImagePixelValue", (0,)),
)


def _slice(number: int, modality: str = "CT") -> Any:
    import pydicom
    from pydicom.dataset import FileMetaDataset

    one = pydicom.Dataset()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2" if modality == "CT" else "1.2.840.10008.5.1.4.1.1.4"
    one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID = f"1.2.3.{number + 1}", "1.2.3", "1.2"
    one.Modality, one.PatientName, one.PatientID = modality, "A^B", "p"
    one.Rows, one.Columns, one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 16, 16, 15
    one.PixelRepresentation, one.SamplesPerPixel, one.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    one.PixelSpacing, one.ImageOrientationPatient = [0.8, 0.8], [1, 0, 0, 0, 1, 0]
    one.ImagePositionPatient, one.SliceThickness = [-5, -6, 2.0 * number], 2
    one.RescaleSlope, one.RescaleIntercept = 1, -1024
    one.PixelData = np.random.default_rng(number).integers(0, 2000, size=(16, 16)).astype("<i2").tobytes()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = (
        one.SOPClassUID,
        one.SOPInstanceUID,
    )
    return one


def _saved(one: Any) -> bytes:
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _dicom_seeds(samples: Path) -> list[Seed]:
    return [Seed(f"{name}.dcm", _saved(one), "alone" if name == "alone" else "") for name, one in _dicom_slices()]


def _dicom_slices() -> list[tuple[str, Any]]:
    import pydicom
    from PIL import Image
    from pydicom.encaps import encapsulate

    found: list[tuple[str, Any]] = [("middle", _slice(1)), ("alone", _slice(1, "MR"))]
    packed = _slice(1)
    packed.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    found.append(("rle", packed))
    eight = _slice(1, "MR")
    eight.BitsAllocated = eight.BitsStored = 8
    eight.HighBit, eight.PixelRepresentation = 7, 0
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 255, size=(16, 16)).astype(np.uint8)).save(stream, "JPEG")
    eight.PixelData = encapsulate([stream.getvalue()])
    eight["PixelData"].is_undefined_length = True
    eight.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    found.append(("jpeg", eight))
    for name, syntax in (
        ("lossless", "JPEGLosslessProcess14_1"),
        ("jls", "JPEGLSLossless"),
        ("j2k", "JPEG2000Lossless"),
    ):
        found.append((name, pydicom.dcmread(io.BytesIO(_by_gdcm(_saved(_slice(1)), syntax)))))
    deflated = _slice(1)
    deflated.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    found.append(("deflated", deflated))
    return found


def _by_gdcm(data: bytes, syntax: str) -> bytes:
    """Compressed by GDCM, which has the two JPEGs that pydicom cannot write."""
    import gdcm  # type: ignore[import-untyped, import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        raw, made = Path(folder) / "raw.dcm", Path(folder) / "made.dcm"
        raw.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(raw))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(made))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return made.read_bytes()


def change_dicom(rng: Generator, seeds: list[Seed]) -> Input:
    import pydicom

    way = rng.random()
    seed = pick(rng, seeds)
    if way < 0.05:
        return _nested(rng, seed)
    if way < 0.3:
        return any_bytes(rng, seeds)
    if way < 0.5:  # behind the preamble and the file's own header, where the pixels or the sequences are
        start = int(rng.integers(132, len(seed.data)))
        tail, how = damage_bytes(rng, seed.data[start:])
        return Input(seed, seed.data[:start] + tail, f"behind {start}: {how}")
    one, how_ = pydicom.dcmread(io.BytesIO(seed.data)), []
    for _ in range(int(rng.integers(1, 4))):
        edit = rng.random()
        if edit < 0.6:
            name, values = pick(rng, _EDITS)
            try:
                setattr(one, name, pick(rng, values))
            except (TypeError, ValueError, OverflowError):
                continue
            how_.append(f"{name} changed")
        elif edit < 0.75:
            name = str(pick(rng, [element.keyword for element in one if element.keyword]))
            delattr(one, name) if name in one else None
            how_.append(f"{name} removed")
        elif edit < 0.85:
            one.file_meta.TransferSyntaxUID = pick(rng, _SYNTAXES)
            how_.append(f"syntax {one.file_meta.TransferSyntaxUID}")
        elif "PixelData" in one:
            data, done = damage_bytes(rng, one.PixelData)
            one["PixelData"]._value = data
            how_.append(f"pixels: {done}")
    stream = io.BytesIO()
    try:
        pydicom.dcmwrite(
            stream, one, enforce_file_format=False, force_encoding=True, implicit_vr=False, little_endian=True
        )
    except Exception:  # pydicom itself will not write this one: damage the bytes instead
        return any_bytes(rng, seeds)
    return Input(seed, stream.getvalue(), "; ".join(how_) or "written again")


def _nested(rng: Generator, seed: Seed) -> Input:
    """Sequences within sequences in front of everything else, written by hand: pydicom takes for ever over them."""
    depth = int(pick(rng, (3, 100, 400, 5000)))
    start = 144 + struct.unpack("<I", seed.data[140:144])[0]
    opened = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    end = closed * depth if rng.random() < 0.7 else b""
    return Input(seed, seed.data[:start] + opened * depth + end + seed.data[start:], f"{depth} nested sequences")


def _read_dicom(path: Path, given: Input) -> object:
    if given.seed.tag != "alone" and given.seed.name in ("middle.dcm", "rle.dcm", "j2k.dcm", "lossless.dcm", "jls.dcm"):
        for number in (0, 2):
            (path.parent / f"{number}.dcm").write_bytes(_NEIGHBOURS[number])
    return read_dicom_series(path.parent)


def _parse_dicom(path: Path, given: Input) -> object:
    from data_pipeline.readers.dicom import list_series, parse_series

    listed = list_series(folder=str(path.parent))
    for file, reason in listed[0]["left_out"]:
        from spinemed.errors import ReadError

        raise ReadError(reason, file=path.parent / file, cure="counted as a file that failed")
    answers = []
    for uid, kind in listed[0]["series"]:
        answers.append(
            parse_series(
                root=str(path.parent.parent),
                folder=path.parent.name,
                uid=uid,
                kind=kind,
                source=source_entry("dicom"),
                most=3,
                group="",
            )
        )
    return answers


_NEIGHBOURS: dict[int, bytes] = {}


def source_entry(kind: str) -> dict[str, Any]:
    """An entry of `sources.yaml` as the readers' child processes are given it."""
    from spinemed.records import Source

    entry = Source(
        id="fuzz", kind=kind, path="x", licence="CC-BY-4.0", allowed_use=("train",), legal_basis="made by a test"
    )
    return entry.model_dump(mode="json")


def _dicom_seeds_with_neighbours(samples: Path) -> list[Seed]:
    _NEIGHBOURS.update({number: _saved(_slice(number)) for number in (0, 2)})
    return _dicom_seeds(samples)


# --- pictures --------------------------------------------------------------------------------------------------------


def _picture_seeds(samples: Path) -> list[Seed]:
    from PIL import Image, PngImagePlugin

    found = []
    grey = Image.fromarray(np.random.default_rng(1).integers(0, 255, size=(24, 20)).astype(np.uint8))
    told = PngImagePlugin.PngInfo()
    told.add_text("note", "a" * 40, zip=True)
    for name, picture, options in (
        ("grey.png", grey, {"pnginfo": told}),
        ("colour.png", grey.convert("RGB"), {}),
        ("some.jpg", grey, {}),
        ("progressive.jpg", grey.convert("RGB"), {"progressive": True}),
        ("palette.png", grey.convert("P"), {}),
    ):
        stream = io.BytesIO()
        picture.save(stream, "JPEG" if name.endswith("jpg") else "PNG", **options)
        found.append(Seed(name, stream.getvalue()))
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def change_picture(rng: Generator, seeds: list[Seed]) -> Input:
    seed, way = pick(rng, seeds), rng.random()
    if way < 0.5 or not seed.name.endswith("png"):
        return any_bytes(rng, seeds)
    chunks, place = [], 8
    while place + 8 <= len(seed.data):
        size = struct.unpack(">I", seed.data[place : place + 4])[0]
        chunks.append((seed.data[place + 4 : place + 8], seed.data[place + 8 : place + 8 + size]))
        place += size + 12
    at = int(rng.integers(len(chunks)))
    kind, data = chunks[at]
    edit = int(rng.integers(6))
    if edit == 0:
        data, how = damage_bytes(rng, data)
        chunks[at] = (kind, data)
    elif edit == 1:
        chunks.insert(at, chunks[int(rng.integers(len(chunks)))])
        how = "a chunk repeated"
    elif edit == 2:
        chunks.pop(at)
        how = f"{kind!r} removed"
    elif edit == 3:
        wide, high = (int(pick(rng, (0, 1, 20, 8000, 60000, 2**31 - 1))) for _ in range(2))
        chunks[0] = (b"IHDR", struct.pack(">II", wide, high) + chunks[0][1][8:])
        how = f"{wide} x {high}"
    elif edit == 4:
        packed = zlib.compress(bytes(int(pick(rng, (1000, 3_000_000, 100_000_000)))))
        chunks.insert(1, (b"zTXt", b"bomb\x00\x00" + packed))
        how = "text that unpacks to much"
    else:
        chunks[at] = (rng.bytes(4), data)
        how = "a chunk's kind changed"
    return Input(seed, seed.data[:8] + b"".join(_chunk(*chunk) for chunk in chunks), how)


def _read_picture(path: Path, given: Input) -> object:
    from data_pipeline.readers.documents import check_picture

    return check_picture(path.read_bytes(), path.name)


def _read_image(path: Path, given: Input) -> object:
    from spinemed.vlm.layout import open_picture, picture_size

    data = path.read_bytes()
    return picture_size(data, path.name), open_picture(data, path.name)


TARGETS = [
    Target("nifti", _nifti_seeds, change_nifti, lambda path, _: read_nifti(path)),
    Target(
        "mask", lambda s: [x for x in _nifti_seeds(s) if "m" in x.name], change_nifti, lambda path, _: read_mask(path)
    ),
    Target("dicom", _dicom_seeds_with_neighbours, change_dicom, _read_dicom),
    Target("dicom-source", _dicom_seeds_with_neighbours, change_dicom, _parse_dicom, sandboxed=True),
    Target("nifti-source", lambda s: _nifti_seeds(s)[1:3], change_nifti, _read_study, sandboxed=True),
    Target("picture-source", _picture_seeds, change_picture, _read_picture),
    Target("picture", _picture_seeds, change_picture, _read_image),
]
