"""Layers as they are hung: letters from the affine, values as stored, films at full depth, vendored bytes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from data_pipeline.review.viewer import layers
from data_pipeline.review.viewer.films import read_film
from data_pipeline.review.viewer.shelf import Shelf, nifti_of
from spinemed.errors import ReadError, VolumeError
from spinemed.geometry import reorient
from spinemed.resources import samples_dir
from spinemed.tables import file_sha256
from spinemed.volume import Volume, read_nifti, slice_image

ORIENTATIONS = ("RAS", "LPS", "PIR", "ASR", "IPL", "SLA", "LAS", "AIR")


def marked(codes: str) -> Volume:
    """A volume in which the patient's right, front and head corner is bright, stored in some orientation."""
    data = np.zeros((10, 12, 14), np.int16)
    data[8, 10, 11] = 1000
    data[1, 2, 3] = 200
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = (-5, 7, 20)
    turned, matrix = reorient(data, affine, codes)
    return Volume(np.ascontiguousarray(turned), matrix, "a.u.")


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize(
    ("plane", "edges"),
    [("axial", ("R", "L", "A", "P")), ("coronal", ("R", "L", "H", "F")), ("sagittal", ("A", "P", "H", "F"))],
)
def test_a_structure_lies_on_the_side_that_its_letter_names(
    codes: str, plane: layers.Plane, edges: tuple[str, str, str, str]
) -> None:
    volume = marked(codes)
    geometry = layers.plane_geometry(volume, plane)
    assert tuple(geometry.letters[side] for side in ("left", "right", "top", "bottom")) == edges
    rows, columns, count = geometry.shape
    held = layers.hold(volume)
    found = None
    for layer in range(count):
        values = np.frombuffer(layers.layer_bytes(held, plane, layer), "<i2").reshape(rows, columns)
        if values.max() == 1000:
            found = (*np.unravel_index(values.argmax(), values.shape), layer)
    assert found is not None
    row, column, layer = found
    # the bright voxel is right, in front and towards the head: left (or top) half of every picture
    assert row < rows / 2
    assert column < columns / 2
    world = geometry.affine @ [row, column, layer, 1.0]
    assert world[:3].tolist() == [8 * 1.0 - 5, 10 * 1.5 + 7, 11 * 2.0 + 20]


def test_an_oblique_edge_carries_two_letters_and_a_square_one_only_one() -> None:
    assert layers.direction_letters((1, 0, 0)) == "R"
    assert layers.direction_letters((0, -2, 0)) == "P"
    assert layers.direction_letters((0, 0, -3)) == "F"
    assert layers.direction_letters((1, 0.7, 0)) == "RA"
    assert layers.direction_letters((-0.5, 0, 1)) == "HL"
    assert layers.direction_letters((1, 0.1, 0.1)) == "R"
    with pytest.raises(VolumeError, match="without length"):
        layers.direction_letters((0, 0, 0))


@pytest.mark.parametrize("plane", list(layers.PLANES))
def test_pixels_are_those_of_the_slices_that_items_are_made_of(plane: layers.Plane) -> None:
    path = samples_dir() / "ct/tptbox_L3_crop/sub-ct_label-22_ct.nii.gz"
    volume = read_nifti(path, unit="HU")
    as_labels = Volume((volume.data.astype(np.int32) + 2000), volume.affine, "label")
    geometry = layers.plane_geometry(volume, plane)
    layer = geometry.shape[2] // 3
    world = geometry.affine @ [0, 0, layer, 1.0]
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    expected = slice_image(as_labels, plane, position_mm=float(world[axis]))
    values = np.frombuffer(layers.layer_bytes(layers.hold(volume), plane, layer), "<i2").reshape(geometry.shape[:2])
    assert np.array_equal(values.astype(np.int32) + 2000, expected.pixels)


def test_whole_numbers_are_sent_as_stored_and_others_say_their_step() -> None:
    whole = layers.hold(Volume(np.arange(-500, 500, dtype=np.float32).reshape(10, 10, 10), np.eye(4), "HU"))
    assert whole.exact
    assert whole.stored.dtype == np.int16
    rng = np.random.default_rng(5)
    values = rng.normal(0, 3000, (6, 7, 8))
    held = layers.hold(Volume(values, np.eye(4), "a.u."))
    assert not held.exact
    back = held.stored * held.slope + held.intercept
    assert np.abs(back - values).max() <= held.slope / 2 * 1.0001
    large = layers.hold(Volume(np.array([[[0, 65535]]], np.uint16), np.eye(4), "a.u."))
    assert large.exact
    assert large.stored.dtype == np.uint16


def test_presets_are_those_of_the_modality() -> None:
    ct = layers.hold(Volume(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4), "HU"))
    assert ct.windows["bone"] == (400, 1800)
    assert ct.windows["soft_tissue"] == (50, 400)
    assert "t2" not in ct.windows
    mr = layers.hold(Volume(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4), "a.u."))
    assert "bone" not in mr.windows
    assert mr.windows["t1"][1] < mr.windows["t2"][1] <= mr.windows["full"][1]


def test_a_layer_outside_the_volume_is_refused() -> None:
    held = layers.hold(marked("RAS"))
    with pytest.raises(VolumeError, match="no layer 14"):
        layers.layer_bytes(held, "axial", 14)
    with pytest.raises(VolumeError, match="unknown plane"):
        layers.layer_bytes(held, "oblique", 0)  # type: ignore[arg-type]


# --- films -----------------------------------------------------------------------------------------------------------


def film_file(path: Path, **changes: object) -> np.ndarray:
    """A DICOM film of 12 bits as a detector writes it; returns its pixels."""
    pixels = (np.arange(40 * 30, dtype=np.uint16) * 3).reshape(40, 30)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 40, 30, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME2", "DX"
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return pixels


def test_a_film_keeps_every_grey_value_and_takes_letters_from_its_own_orientation(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    pixels = film_file(path, PatientOrientation=["P", "F"], PixelSpacing=[0.2, 0.1])
    film = read_film(path)
    assert np.array_equal(np.frombuffer(film.layer(0), "<i2").reshape(40, 30), pixels)
    assert film.geometry.letters == {"left": "A", "right": "P", "top": "H", "bottom": "F"}
    assert film.mm_known
    assert np.allclose(np.linalg.norm(film.geometry.affine[:3, :2], axis=0), (0.2, 0.1))
    assert not film.flags


def test_a_flipped_film_has_flipped_letters(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    film_file(path, PatientOrientation=["R", "H"])
    film = read_film(path)
    assert film.geometry.letters == {"left": "L", "right": "R", "top": "F", "bottom": "H"}


def test_a_single_slice_is_placed_by_its_direction_cosines(tmp_path: Path) -> None:
    path = tmp_path / "slice.dcm"
    # sagittal: columns to the back (LPS +y), rows to the feet
    film_file(path, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], Modality="CT", RescaleSlope=1, RescaleIntercept=-1000)
    film = read_film(path)
    assert film.geometry.letters == {"left": "A", "right": "P", "top": "H", "bottom": "F"}
    assert np.frombuffer(film.layer(0), "<i2").min() == -1000


def test_what_a_film_does_not_state_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    film_file(path, ImagerPixelSpacing=[0.15, 0.15], PhotometricInterpretation="MONOCHROME1")
    film = read_film(path)
    assert set(film.geometry.letters.values()) == {""}
    assert not film.oriented
    assert film.inverted
    assert "lengths are those at the detector, larger than in the patient" in film.flags
    Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)).save(tmp_path / "film.png")
    png = read_film(tmp_path / "film.png")
    assert not png.mm_known
    assert np.frombuffer(png.layer(0), "<u2").max() == 59900
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(ReadError, match="not grey"):
        read_film(tmp_path / "colour.png")
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    with pytest.raises(ReadError, match="no DICOM picture"):
        read_film(tmp_path / "broken.dcm")


# --- bytes that are served -------------------------------------------------------------------------------------------


def test_a_volume_is_served_without_any_text_of_its_file(tmp_path: Path) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1.0]))
    image.set_sform(image.affine, code=1)
    image.header["descrip"] = b"MEIER^ANNA 1960-02-03"
    image.header["aux_file"] = b"meier.txt"
    image.header["intent_name"] = b"Meier"
    image.header["db_name"] = b"PACS 4711"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Anna Meier, born 1960"))
    path = tmp_path / "meier_anna.nii.gz"
    nib.save(image, path)
    held = Shelf().image(path, file_sha256(path), "MR")
    assert isinstance(held, layers.Held)
    made = nifti_of(held, tmp_path / "out")
    import gzip

    content = gzip.decompress(made.read_bytes())
    for word in (b"MEIER", b"meier", b"Meier", b"PACS", b"1960"):
        assert word not in content
        assert word not in made.read_bytes()
    again = read_nifti(made)
    assert np.array_equal(again.data, held.volume.data)
    assert np.allclose(again.affine, held.volume.affine)


def test_a_file_that_changed_since_the_import_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes((samples_dir() / "mr/tptbox_crop/sub-mri_label-6_T2w.nii.gz").read_bytes())
    with pytest.raises(ReadError, match="changed since it was imported"):
        Shelf().image(path, "0" * 64, "MR")


def test_the_shelf_lets_go_of_what_was_used_longest_ago(tmp_path: Path) -> None:
    shelf = Shelf(limit_bytes=1)
    paths = [
        samples_dir() / "mr/tptbox_crop/sub-mri_label-6_T2w.nii.gz",
        samples_dir() / "ct/tptbox_L3_crop/sub-ct_label-22_ct.nii.gz",
    ]
    first = shelf.image(paths[0], file_sha256(paths[0]), "MR")
    assert shelf.image(paths[0], file_sha256(paths[0]), "MR") is first
    shelf.image(paths[1], file_sha256(paths[1]), "CT")
    assert shelf.image(paths[0], file_sha256(paths[0]), "MR") is not first


def test_vendored_files_are_the_published_ones() -> None:
    import data_pipeline.review.viewer

    vendor = Path(data_pipeline.review.viewer.__file__).parent / "static" / "vendor"
    rows = re.findall(r"^\| `([^`]+)` .*`([^`]+)` \| `([0-9a-f]{64})` \|$", (vendor / "VENDOR.md").read_text(), re.M)
    assert {name for name, _, _ in rows} == {file.name for file in vendor.glob("*.js")}
    for name, licence, digest in rows:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
        assert "BSD 2-Clause" in (vendor / licence).read_text()
