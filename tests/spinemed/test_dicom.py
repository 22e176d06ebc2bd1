"""DICOM series written from the bundled scans and read back: same Hounsfield units, same places; gaps are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from spinemed.errors import MissingPartError, ReadError, SpineMedError, VolumeError
from spinemed.volume import Volume, read_dicom_series, read_nifti, reorient_volume, require_same_grid

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SERIES = "1.2.826.0.1.3680043.8.498.1"
# Turned about all three axes, as an angulated lumbar stack is; right-handed.
TURN = np.linalg.qr(np.array([[0.97, 0.10, -0.20], [-0.05, 0.98, 0.15], [0.22, -0.13, 0.96]]))[0]
TURN = TURN * np.sign(np.diag(TURN))


def crop() -> Volume:
    """A part of the real CT, small enough to write slice by slice."""
    whole = reorient_volume(read_nifti(SAMPLES / "ct/totalsegmentator_lumbar/example_ct.nii.gz", unit="HU"), "LPS")
    part = whole.data[30:70, 20:75, 40:52]
    affine = whole.affine.copy()
    affine[:3, 3] = whole.affine[:3, :3] @ [30, 20, 40] + whole.affine[:3, 3]
    return Volume(part, affine, "HU")


def placed(volume: Volume, spacing: tuple[float, float, float]) -> Volume:
    """The same voxels on an oblique grid."""
    affine = np.eye(4)
    affine[:3, :3] = LPS[:3, :3] @ TURN * np.array(spacing)
    affine[:3, 3] = [-31.5, 88.25, -640.75]
    return Volume(volume.data, affine, volume.unit)


def ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.9f}"[:16]


def write_series(
    folder: Path,
    volume: Volume,
    *,
    slope: float = 1,
    intercept: float = -2000,
    change: Callable[[int, Dataset], Dataset | None] | None = None,
) -> None:
    """Write a volume as single-frame CT images, with shuffled instance numbers and file names.

    `change` may edit slice k, or drop it by returning None.
    """
    folder.mkdir(exist_ok=True)
    affine = LPS @ volume.affine
    row, column, _ = (affine[:3, a] / np.linalg.norm(affine[:3, a]) for a in range(3))
    order = np.random.default_rng(4).permutation(volume.shape[2])
    for k in range(volume.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{k + 1}"
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = f"{SERIES}.{k + 1}"
        image.SeriesInstanceUID = SERIES
        image.Modality = "CT"
        image.InstanceNumber = int(order[k]) + 1
        image.ImageOrientationPatient = [ds(v) for v in (*row, *column)]
        image.ImagePositionPatient = [ds(v) for v in affine[:3, 2] * k + affine[:3, 3]]
        image.PixelSpacing = [ds(volume.spacing_mm[1]), ds(volume.spacing_mm[0])]
        image.SliceThickness = ds(volume.spacing_mm[2])
        image.Rows, image.Columns = volume.shape[1], volume.shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = ds(slope), ds(intercept), "HU"
        stored = np.rint((volume.data[:, :, k].T.astype(float) - intercept) / slope)
        image.PixelData = stored.astype("<u2").tobytes()
        wanted = image if change is None else change(k, image)
        if wanted is not None:
            wanted.save_as(folder / f"im{order[k]:03d}.dcm", enforce_file_format=True)


def test_an_oblique_series_with_shuffled_numbers_gives_back_its_voxels_and_places(tmp_path: Path) -> None:
    volume = placed(crop(), (0.7, 0.9, 2.5))
    write_series(tmp_path / "ct", volume)
    again = read_dicom_series(tmp_path / "ct")
    assert again.unit == "HU"
    assert again.data.dtype == np.int16
    assert np.array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-6)
    assert again.flags == ()
    assert again.meta["modality"] == "CT"


def test_the_real_ct_keeps_its_grid_through_dicom(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", crop())
    again = read_dicom_series(tmp_path / "ct")
    require_same_grid(crop(), again)
    assert np.array_equal(again.data, crop().data)


def test_a_fractional_slope_gives_fractional_units(tmp_path: Path) -> None:
    volume = Volume(crop().data * 0.5, crop().affine, "a.u.")
    write_series(tmp_path / "s", volume, slope=0.5, intercept=-1000.5)
    again = read_dicom_series(tmp_path / "s")
    assert again.data.dtype == np.float32
    np.testing.assert_allclose(again.data, np.rint((volume.data + 1000.5) / 0.5) * 0.5 - 1000.5, atol=1e-3)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def own_scale(k: int, image: Dataset) -> Dataset:
        image.RescaleIntercept = str(-2000 + 10 * k)
        return image

    write_series(tmp_path / "s", crop(), change=own_scale)
    again = read_dicom_series(tmp_path / "s")
    expected = crop().data + 10 * np.arange(crop().shape[2])
    assert np.array_equal(again.data, expected)


def test_a_left_handed_stack_is_the_same_body(tmp_path: Path) -> None:
    backwards = Volume(
        crop().data[:, :, ::-1],
        crop().affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 11], [0, 0, 0, 1]]),
        "HU",
    )
    write_series(tmp_path / "s", backwards)
    again = read_dicom_series(tmp_path / "s")
    require_same_grid(crop(), again)
    assert np.array_equal(again.data, crop().data)


def test_a_tilted_gantry_is_exact_and_flagged(tmp_path: Path) -> None:
    tilted = crop().affine.copy()
    tilted[1, 2] += 0.5  # slices step 0.5 mm forward per 3 mm upwards
    volume = Volume(crop().data, tilted, "HU")
    write_series(tmp_path / "s", volume)
    again = read_dicom_series(tmp_path / "s")
    np.testing.assert_allclose(again.affine, tilted, atol=1e-6)
    assert any("gantry tilt" in flag for flag in again.flags)


def test_values_meant_to_be_shown_inverted_are_flagged(tmp_path: Path) -> None:
    def inverted(modality: str) -> Callable[[int, Dataset], Dataset]:
        def change(k: int, image: Dataset) -> Dataset:
            image.Modality, image.PhotometricInterpretation = modality, "MONOCHROME1"
            return image

        return change

    write_series(tmp_path / "ct", crop(), change=inverted("CT"))
    write_series(tmp_path / "mr", crop(), change=inverted("MR"))
    assert read_dicom_series(tmp_path / "ct").flags == ()  # Hounsfield units are shown by their value
    assert "MONOCHROME1" in read_dicom_series(tmp_path / "mr").flags[0]


def test_rle_compressed_slices_are_decoded(tmp_path: Path) -> None:
    def squeeze(_: int, image: Dataset) -> Dataset:
        image.compress(RLELossless)
        return image

    write_series(tmp_path / "s", crop(), change=squeeze)
    assert np.array_equal(read_dicom_series(tmp_path / "s").data, crop().data)


@pytest.mark.parametrize(("syntax", "package"), [(JPEGLSLossless, "pyjpegls"), (JPEGLosslessSV1, "python-gdcm")])
def test_a_missing_decoder_is_named_with_its_install_line(
    tmp_path: Path, syntax: str, package: str, monkeypatch
) -> None:
    def relabel(_: int, image: Dataset) -> Dataset:
        image.file_meta.TransferSyntaxUID = syntax
        from pydicom.encaps import encapsulate

        image.PixelData = encapsulate([b"\x00" * 16])
        image["PixelData"].VR = "OB"
        return image

    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    write_series(tmp_path / "s", crop(), change=relabel)
    with pytest.raises(MissingPartError, match=f"pip install {package}"):
        read_dicom_series(tmp_path / "s")


def drop(*which: int) -> Callable[[int, Dataset], Dataset | None]:
    return lambda k, image: None if k in which else image


def edit(which: int, **values: object) -> Callable[[int, Dataset], Dataset]:
    def change(k: int, image: Dataset) -> Dataset:
        for name, value in values.items() if k == which else ():
            if value is None:
                delattr(image, name)
            else:
                setattr(image, name, value)
        return image

    return change


def shift(which: int, by_mm: tuple[float, float, float]) -> Callable[[int, Dataset], Dataset]:
    def change(k: int, image: Dataset) -> Dataset:
        if k == which:
            image.ImagePositionPatient = [ds(float(v) + d) for v, d in zip(image.ImagePositionPatient, by_mm)]
        return image

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (drop(5), "1 slice\\(s\\) missing: 6.000 mm"),
        (drop(5, 6, 7), "3 slice\\(s\\) missing"),
        (shift(4, (0, 0, 0.8)), "uneven slices"),
        (shift(4, (0, 0, 3.0)), "at the same place as"),
        (shift(4, (20.0, 0, 0)), "20.00 mm off the line"),
        (edit(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "another image orientation"),
        (edit(3, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "perpendicular"),
        (edit(3, PixelSpacing=[1, 1]), "pixel spacing"),
        (edit(3, Rows=10), "10x40 pixels against"),
        (edit(3, SeriesInstanceUID="1.2.3"), "2 series"),
        (edit(3, NumberOfFrames=4), "multi-frame"),
        (edit(3, PhotometricInterpretation="RGB"), "colour"),
        (edit(3, PixelSpacing=[0, 0]), "not positive"),
    ],
)
def test_a_series_that_makes_no_regular_stack_is_refused(tmp_path: Path, change, complaint: str) -> None:
    write_series(tmp_path / "s", crop(), change=change)
    with pytest.raises(VolumeError, match=complaint) as caught:
        read_dicom_series(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)
    assert "Cure:" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "PixelData"]
)
def test_a_missing_attribute_is_named(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / "s", crop(), change=edit(3, **{name: None}))
    with pytest.raises(ReadError, match=f"field '{name}'") as caught:
        read_dicom_series(tmp_path / "s")
    assert caught.value.file is not None
    assert caught.value.file.endswith(".dcm")


def test_one_of_several_series_can_be_named(tmp_path: Path) -> None:
    write_series(
        tmp_path / "s", crop(), change=lambda k, image: edit(k, SeriesInstanceUID="1.2.3")(k, image) if k < 4 else image
    )
    assert read_dicom_series(tmp_path / "s", series_uid="1.2.3").shape[2] == 4
    assert read_dicom_series(tmp_path / "s", series_uid=SERIES).shape[2] == 8
    with pytest.raises(VolumeError, match="no image of the series 9"):
        read_dicom_series(tmp_path / "s", series_uid="9")


def test_other_files_are_left_out_and_counted_and_a_false_dcm_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_series(folder, crop())
    (folder / "notes.txt").write_text("seen by X")
    report = dcmread(folder / "im003.dcm")
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = BasicTextSRStorage
    del report.Rows, report.PixelData
    report.save_as(folder / "report")
    volume = read_dicom_series(folder)
    assert volume.meta["left_out"] == {"not DICOM": 1, "DICOM without an image": 1}
    assert volume.sha256 == read_dicom_series(folder).sha256
    (folder / "broken.dcm").write_bytes(b"\x00" * 300)
    with pytest.raises(ReadError, match=r"broken\.dcm: not a DICOM file"):
        read_dicom_series(folder)


def test_a_cut_file_is_named_at_every_cut(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_series(folder, crop())
    victim = folder / "im003.dcm"
    content = victim.read_bytes()
    for keep in (0, 100, 140, 400, 700, 1000, len(content) // 2, len(content) - 3):
        victim.write_bytes(content[:keep])
        with pytest.raises(SpineMedError, match=r"im003\.dcm"):
            read_dicom_series(folder)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns about odd values before it gives up on them
def test_damaged_headers_never_end_in_a_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_series(folder, crop(), change=drop(*range(3, 12)))
    victim = sorted(folder.iterdir())[1]
    content = victim.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        noisy = bytearray(content)
        for place in rng.integers(132, 1200, rng.integers(1, 5)):
            noisy[place] = rng.integers(256)
        victim.write_bytes(noisy)
        try:
            read_dicom_series(folder)
        except SpineMedError:
            refused += 1
    assert refused > 50


def test_a_single_slice_needs_its_thickness(tmp_path: Path) -> None:
    write_series(tmp_path / "s", crop(), change=drop(*range(1, 12)))
    volume = read_dicom_series(tmp_path / "s")
    assert volume.spacing_mm == pytest.approx((3, 3, 3))
    assert volume.flags == ("a single slice; its depth is taken from SliceThickness",)
    write_series(tmp_path / "t", crop(), change=lambda k, i: edit(0, SliceThickness=None)(k, i) if k == 0 else None)
    with pytest.raises(VolumeError, match="without a thickness"):
        read_dicom_series(tmp_path / "t")


def test_a_stated_spacing_that_contradicts_the_positions_is_flagged(tmp_path: Path) -> None:
    def state(k: int, image: Dataset) -> Dataset | None:
        image.SpacingBetweenSlices = "3"
        return image if k % 2 == 0 else None  # every other slice was lost

    write_series(tmp_path / "s", crop(), change=state)
    volume = read_dicom_series(tmp_path / "s")
    assert volume.flags == ("SpacingBetweenSlices says 3 mm, the positions say 6 mm; the positions were used",)


def test_an_absent_or_empty_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such folder"):
        read_dicom_series(tmp_path / "absent")
    with pytest.raises(VolumeError, match="no DICOM image"):
        read_dicom_series(tmp_path)
