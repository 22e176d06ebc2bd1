"""A patient as ordered slices: places from geometry, the same words for training and answering, nothing left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinemed.errors import VolumeError
from spinemed.records import Message
from spinemed.vlm.series import captioned, place_of, plane_of, series_turn, slices_of, within_budget
from spinemed.volume import Volume, read_mask, read_nifti


def _thick(codes: str = "RAS") -> Volume:
    """Twelve sagittal layers 4 mm apart, each one grey value."""
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-22.0, -10.0, 50.0)
    data = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 24, 30))
    if codes == "LAS":  # the same layers counted from the other side
        affine[0, 0], affine[0, 3] = -4.0, 22.0
        data = data[::-1]
    return Volume(np.ascontiguousarray(data), affine)


@pytest.fixture(scope="module")
def ct(samples: Path) -> Volume:
    return read_nifti(samples / "ct" / "totalsegmentator_lumbar" / "example_ct.nii.gz", unit="HU")


@pytest.fixture(scope="module")
def mr(samples: Path) -> Volume:
    return read_nifti(samples / "mr" / "sct_t2_lumbar" / "t2_lumbar.nii.gz")


def test_slices_stand_in_the_patients_order_however_the_file_counts_them() -> None:
    one, other = slices_of(_thick(), sequence="T2w"), slices_of(_thick("LAS"), sequence="T2w")
    assert plane_of(_thick()) == "sagittal"
    for made in (one, other):
        assert [slice_.place.position_mm for slice_ in made] == [22.0 - 4.0 * step for step in range(12)]
        assert [slice_.place.number for slice_ in made] == list(range(1, 13))
    for left, right in zip(one, other, strict=True):
        with Image.open(io.BytesIO(left.png)) as first, Image.open(io.BytesIO(right.png)) as second:
            assert np.array_equal(np.asarray(first), np.asarray(second))
    assert one[0].png == slices_of(_thick(), sequence="T2w")[0].png


def test_places_of_real_series_follow_their_affine(ct: Volume, mr: Volume) -> None:
    for volume, plane, axis in ((ct, "axial", 2), (ct, "coronal", 1), (mr, "sagittal", 0)):
        made = slices_of(volume, plane, sequence="x")  # type: ignore[arg-type]
        assert len(made) == 25
        first, last = (float(volume.affine[axis] @ _corner(axis, k)) for k in (0, volume.shape[axis] - 1))
        ends = sorted((first, last))
        assert [made[-1].place.position_mm, made[0].place.position_mm] == pytest.approx(ends, abs=0.06)
        assert made[0].place.whole == volume.shape[axis]
        gaps = -np.diff([one.place.position_mm for one in made])
        assert gaps.mean() == pytest.approx(made[0].place.apart_mm, abs=0.01)
        assert gaps.min() > 0


def _corner(axis: int, index: int) -> np.ndarray:
    point = np.array([0.0, 0.0, 0.0, 1.0])
    point[axis] = index
    return point


def test_series_have_ids_of_their_own(ct: Volume, mr: Volume) -> None:
    kinds = ((ct, "axial", "CT"), (ct, "sagittal", "CT"), (mr, "sagittal", "T2w"), (mr, "sagittal", "T1w"))
    ids = {slices_of(one, plane, sequence=name, most=1)[0].place.series for one, plane, name in kinds}  # type: ignore[arg-type]
    assert len(ids) == 4


def test_the_prompt_names_series_plane_sequence_and_every_position(ct: Volume, mr: Volume) -> None:
    turn, pictures = series_turn(
        [slices_of(mr, sequence="T2w", most=3), slices_of(ct, "axial", sequence="CT", most=2)], "Which disc is narrow?"
    )
    assert turn.content == "<image>\n" * 5 + "Which disc is narrow?"
    (worded,) = captioned([turn], pictures)
    lines = worded.content.split("\n")
    first = place_of(pictures[0])
    assert first is not None
    assert lines[0] == f"Series A (id {first.series}): T2w, sagittal, 3 of 38 slices, about 18.5 mm apart"
    assert lines[1:4] == ["R 24.8 mm: <image>", "R 5.8 mm: <image>", "L 12.2 mm: <image>"]
    assert lines[4].startswith("Series B (id ")
    assert "CT, axial, 2 of 112 slices" in lines[4]
    assert lines[5] == "S 427.3 mm: <image>"
    assert lines[-1] == "Which disc is narrow?"


def test_pictures_without_a_place_are_left_alone() -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    turns = [Message(role="user", content="<image>\nWhat is this?"), Message(role="assistant", content="A slice.")]
    assert captioned(turns, [stream.getvalue()]) == tuple(turns)
    assert captioned(turns, [b"no picture"]) == tuple(turns)
    (known,) = slices_of(_thick(), sequence="T2w", most=1)
    mixed = [Message(role="user", content="<image><image> compare")]
    (worded,) = captioned(mixed, [stream.getvalue(), known.png])
    assert worded.content.startswith("<image>Series A (id ")


def test_an_oblique_plane_is_said_to_be_oblique() -> None:
    turn = np.deg2rad(20)
    turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([4, 1, 1])
    made = slices_of(Volume(np.zeros((5, 20, 20)), affine), sequence="T1w")
    message, pictures = series_turn([made], "?")
    assert "sagittal, oblique by 20 degrees, 5 of 5 slices" in captioned([message], pictures)[0].content


def test_a_budget_lowers_pictures_to_a_floor_and_leaves_none_out(mr: Volume) -> None:
    large, small = slices_of(mr, sequence="T2w", most=6), slices_of(_thick(), sequence="T1w")
    whole = sum(one.width_px * one.height_px for one in (*large, *small))
    assert within_budget([large, small], pixels=whole, floor_pixels=100) == (large, small)
    lowered = within_budget([large, small], pixels=whole // 3, floor_pixels=100)
    assert [len(slices) for slices in lowered] == [6, 12]
    assert lowered[1] == small  # already smaller than what the large ones come down to
    assert whole // 4 < sum(one.width_px * one.height_px for slices in lowered for one in slices) <= whole // 3
    assert [place_of(one.png) for one in lowered[0]] == [one.place for one in large]
    with pytest.raises(VolumeError, match="at the floor"):
        within_budget([large, small], pixels=whole // 3, floor_pixels=40_000)


def test_masks_and_unknown_planes_are_refused(samples: Path) -> None:
    mask = read_mask(samples / "ct" / "totalsegmentator_lumbar" / "example_seg_fast_force_split.nii.gz")
    with pytest.raises(VolumeError, match="mask"):
        slices_of(mask, sequence="CT")
    with pytest.raises(VolumeError, match="plane"):
        slices_of(_thick(), "oblique", sequence="CT")  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match="most"):
        slices_of(_thick(), sequence="CT", most=0)


def test_training_and_answering_see_the_same_prompt(samples: Path, mr: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    from spinemed.vlm.answer import Reply, Request, VlmAnswerer
    from spinemed.vlm.layout import Encoded, Layout
    from spinemed.vlm.load import load_pair

    model, processor = load_pair(samples / "nano_base")
    turn, pictures = series_turn([slices_of(mr, sequence="T2w", most=3)], "Which disc is narrow?")
    asked: list[Encoded] = []

    def catch(self: VlmAnswerer, items: list[Encoded]) -> list[Reply]:
        asked.extend(items)
        return [Reply("")] * len(items)

    monkeypatch.setattr(VlmAnswerer, "_generate", catch)
    VlmAnswerer(model, processor).answer([Request((turn,), pictures)])
    worded = captioned([turn, Message(role="assistant", content="L4/5")], pictures)
    trained = Layout(processor, max_tokens=2000).encode(worded, pictures, training=True)
    assert isinstance(trained, Encoded)
    prompt = trained.input_ids[: trained.length - trained.answer_tokens]
    assert prompt.tolist() == asked[0].input_ids.tolist()
    assert "sagittal, 3 of 38 slices" in processor.tokenizer.decode(prompt)
