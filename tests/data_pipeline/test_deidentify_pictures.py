"""Burned-in text, and faces: what is blanked, what is untouched, and what stays unknown."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from data_pipeline.deidentify import Sealed
from data_pipeline.deidentify.faces import before_after, blank_face
from data_pipeline.deidentify.pixels import TesseractFinder, clean_pixels, looks_written
from spinemed.volume import Volume


class Nobody:
    """A finder that fails."""

    name = "broken"

    def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
        raise RuntimeError("failed")


class Stubborn:
    """A finder that always finds something."""

    name = "stubborn"

    def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
        return [(0, 5, 0, 5)]


@pytest.mark.parametrize(("finder", "status"), [(None, "unknown"), (Nobody(), "unknown"), (Stubborn(), "review")])
def test_pixels_are_not_clean_unless_somebody_looked_and_found_nothing(finder: object, status: str) -> None:
    result = clean_pixels(Sealed(np.full((20, 20), 9, np.uint8)), finder, id_="x")  # type: ignore[arg-type]
    assert result.record.status == status
    assert result.record.open_points


def burned(text: str) -> np.ndarray:
    noise = np.random.default_rng(1).normal(90, 12, (256, 256))
    y, x = np.mgrid[:256, :256]
    noise += 80 * np.exp(-((y - 128) ** 2 + (x - 128) ** 2) / 3000)
    picture = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    ImageDraw.Draw(picture).text((8, 10), text, fill=255, font=ImageFont.load_default(16))
    return np.asarray(picture)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_tesseract_finds_a_burned_in_name_and_leaves_a_plain_picture_alone() -> None:
    finder = TesseractFinder()
    result = clean_pixels(Sealed(burned("WEATHERBY JONATHAN")), finder, id_="x")
    assert result.record.status == "clean"
    assert result.pixels.open_for_deidentification()[12:24, 10:120].max() < 250
    plain = burned("")
    assert clean_pixels(Sealed(plain), finder, id_="y").boxes == ()


def test_letters_that_nobody_read_hold_a_picture_back(samples: Path) -> None:
    class Blind:
        name = "blind"

        def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
            return []

    assert clean_pixels(Sealed(burned("DELACROIX 8245026")), Blind(), id_="x").record.status == "review"
    assert clean_pixels(Sealed(burned("")), Blind(), id_="x").record.status == "clean"
    from spinemed.volume import read_nifti, slice_image

    volume = read_nifti(samples / "ct" / "tptbox_L3_crop" / "sub-ct_label-22_ct.nii.gz", unit="HU")
    layers = [slice_image(volume, "sagittal", index=k).pixels for k in range(0, 40, 8)]
    assert not any(looks_written(layer) for layer in layers)


@pytest.fixture(scope="module")
def head() -> tuple[Volume, Volume]:
    """A head of ellipsoids with nose, chin and neck, C1 to C4 in it; 3 mm voxels, RAS."""
    shape, step = (60, 76, 90), 3.0
    x, y, z = (np.indices(shape).astype(float) * step).tolist() and np.indices(shape).astype(float) * step
    x -= 90
    data = np.full(shape, -1000.0)
    skull = (x / 75) ** 2 + ((y - 105) / 88) ** 2 + ((z - 190) / 75) ** 2 < 1
    neck = (x / 50) ** 2 + ((y - 85) / 50) ** 2 < 1
    jaw = (abs(x) < 40) & (y > 100) & (y < 172) & (z > 105) & (z < 160)
    nose = (abs(x) < 12) & (y > 170) & (y < 205) & (z > 165) & (z < 195)
    data[skull | (neck & (z < 150)) | jaw | nose] = 40
    mask = np.zeros(shape, np.uint8)
    for label, low in ((1, 126), (2, 102), (3, 84), (4, 66)):
        body = (abs(x) < 15) & (y > 70) & (y < 95) & (z >= low) & (z < low + 18)
        mask[body] = label
        data[body] = 400
    affine = np.diag([step, step, step, 1.0])
    return Volume(data, affine, "HU"), Volume(mask, affine, "label")


def test_a_face_is_blanked_and_the_spine_untouched(head: tuple[Volume, Volume]) -> None:
    image, mask = head
    result = blank_face(image, mask, upper=(1, 2), protected=(1, 2, 3, 4), id_="h")
    assert result.record.status == "review"  # a person signs
    z = np.arange(90) * 3.0
    front_before = (image.data > -300)[25:35].any(axis=0)
    front_after = (result.volume.data > -300)[25:35].any(axis=0)
    face = (z > 110) & (z < 230)
    depth_before = np.array([np.nonzero(column)[0].max() for column in front_before.T[face]])
    depth_after = np.array([np.nonzero(column)[0].max() for column in front_after.T[face]])
    assert ((depth_before - depth_after) * 3.0 >= 15).all()
    spine = mask.data > 0
    assert np.array_equal(result.volume.data[spine], image.data[spine])
    behind = np.arange(76)[None, :, None] * 3.0 <= 95 + 9
    assert not (result.blanked & behind).any()
    assert not result.blanked[:, :, z < 84].any()  # the neck below the chin
    assert before_after(image, result.volume).shape == (90, 2 * (76 + 60))


def test_without_a_mask_nobody_knows_whether_a_face_is_in_view(head: tuple[Volume, Volume]) -> None:
    assert blank_face(head[0], None, upper=(1, 2), protected=(), id_="h").record.status == "unknown"


def test_a_lumbar_volume_needs_no_blanking(head: tuple[Volume, Volume]) -> None:
    image, mask = head
    lumbar = Volume(np.where(mask.data > 0, 22, 0).astype(np.uint8), mask.affine, "label")
    result = blank_face(image, lumbar, upper=(1, 2), protected=(22,), id_="l")
    assert result.record.status == "clean"
    assert np.array_equal(result.volume.data, image.data)


@pytest.mark.parametrize(
    ("part", "below"),
    [
        ("LSPINE t2 tse sag", True),
        ("CT SPINE LUMBAR", True),
        ("TSPINE thoracic spine", True),
        ("TSPINE C SPINE + T SPINE", False),
        ("TSPINE C-SPINE", False),
        ("THORAC C/T/L spine", False),
        ("CHEST C7-T12", False),
        ("CHEST skull to coccyx", False),
        ("LSPINE 颈椎", False),
        ("SPINE", False),
        ("", False),
    ],
)
def test_a_face_is_ruled_out_only_where_no_word_lies_above_the_shoulders(part: str, below: bool) -> None:
    from data_pipeline.deidentify.engine import _below_the_neck

    assert _below_the_neck(part) is below
