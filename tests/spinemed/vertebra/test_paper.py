"""The published rules of HealthiVert-GAN: its own straightened results, and its height loss computed in plain loops."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.vertebra.paper import paper_centroids, paper_rhlv, paper_straighten
from spinemed.volume import Volume, read_mask, reorient_volume

FOLDER = Path(__file__).resolve().parents[3] / "samples" / "masks" / "healthivert_0007"
# SHA-256 of the published crops' voxels as uint8 (18 and 20 are too large to bundle as well).
PUBLISHED = {
    18: "167b6e015e3032674c7bc85e212be5e479b0ee8a6780399e02b616023749c12a",
    19: "fe42bd6d7e2744a9700b7941cecae4b585614c8e8f8e5c6bd673c820e0be37db",
    20: "a6126872665c61bfa7388b2142ebc06c597da473a60ef22ac5e0a5de711f4f82",
}


def sha256(labels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def mask() -> Volume:
    return read_mask(FOLDER / "0007_msk.nii.gz")


def test_the_published_patient_straightens_voxel_for_voxel(mask: Volume) -> None:
    crops = paper_straighten(mask, [18, 19, 20])
    published = np.asarray(nib.load(FOLDER / "straightened" / "0007_19.nii.gz").dataobj)
    assert np.array_equal(crops[19].labels, published)
    for label, told in PUBLISHED.items():
        assert sha256(crops[label].labels) == told


def test_orientation_and_image_ride_along(mask: Volume) -> None:
    # A picture that is 1000 HU in the mask and -1000 outside: windowed it is 255 and 0.
    image = Volume(np.where(mask.data > 0, 1000, -1000).astype(np.int16), mask.affine, "HU")
    turned = [reorient_volume(volume, "RAS") for volume in (mask, image)]
    crop = paper_straighten(turned[0], [19], image=turned[1])[19]
    assert sha256(crop.labels) == PUBLISHED[19]
    assert crop.image is not None
    bone = crop.image[crop.labels > 0]
    assert np.mean(bone > 127) > 0.97
    # Deep inside the target the straightened space and the patient agree to within the bend of one vertebra.
    where = np.argwhere(crop.labels == 19).mean(axis=0)
    world = crop.affine[:3, :3] @ where + crop.affine[:3, 3]
    body = mask.affine @ np.append(np.argwhere(mask.data == 19).mean(axis=0), 1)
    assert np.linalg.norm(world - body[:3]) < 20


def test_small_vertebrae_at_the_ends_are_no_centres(mask: Volume) -> None:
    assert sorted(paper_centroids(mask)) == list(range(17, 25))  # 16 has 66 voxels
    with pytest.raises(VolumeError, match="label 16 has no centre"):
        paper_straighten(mask, [16])


def test_one_vertebra_is_not_straightened(mask: Volume) -> None:
    alone = Volume(np.where(mask.data == 20, mask.data, 0).astype(np.uint8), mask.affine, "label")
    crop = paper_straighten(alone)[20]
    assert 0 < (crop.labels == 20).sum() <= (alone.data == 20).sum()


def test_bad_masks_are_named(mask: Volume) -> None:
    empty = Volume(np.zeros((40, 40, 40), np.uint8), np.eye(4), "label")
    with pytest.raises(VolumeError, match="empty"):
        paper_straighten(empty)
    wide = Volume(np.full((4, 4, 4), 300, np.int16), np.eye(4), "label")
    with pytest.raises(VolumeError, match="300"):
        paper_straighten(wide)
    other = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4), "HU")
    with pytest.raises(VolumeError):
        paper_straighten(mask, [19], image=other)


def direct_rhlv(fake: NDArray[np.bool_], real: NDArray[np.bool_], threshold: float = 0.7) -> list[float]:
    """The rule in plain loops over layers and columns, written from its description."""
    _, deep, wide = real.shape
    layers = [k for k in range(wide) if real[:, :, k].any()]
    voxels = [k for k in range(wide) for _ in range(int(real[:, :, k].sum()))]
    centre, reach = int(sum(voxels) / len(voxels)), (layers[-1] - layers[0]) // 5
    made: list[list[float]] = [[], [], [], []]
    own: list[list[float]] = [[], [], [], []]
    for k in range(max(0, centre - reach), centre + reach):
        if not fake[:, :, k].any() or not real[:, :, k].any():
            continue
        f = [int(fake[:, j, k].sum()) for j in range(deep)]
        r = [int(real[:, j, k].sum()) for j in range(deep)]
        present = [j for j in range(deep) if f[j]]
        y0, span = present[0], present[-1] - present[0]
        a, b = int(y0 + span / 3), int(y0 + 2 * span / 3)
        parts = [range(deep), range(a), range(a, b), range(b, deep)]

        def middle(heights: list[int]) -> int:
            total = sum(j * h for j, h in enumerate(heights))
            return heights[int(total / sum(heights))]

        def scale(part: range, f: list[int] = f, r: list[int] = r) -> float:
            top_f, top_r = max((f[j] for j in part), default=0), max((r[j] for j in part), default=0)
            return top_r / (top_f + 1e-6) if top_r > top_f else 1.0

        bar_f, bar_r = middle(f) * scale(parts[0]) * threshold, middle(r) * threshold
        for number, part in enumerate(parts):
            factor = scale(part)
            made[number] += [f[j] * factor for j in part if f[j] * factor > bar_f]
            own[number] += [float(r[j]) for j in part if r[j] > bar_r]
    result = []
    for number in range(4):
        h = sum(made[number]) / len(made[number]) if made[number] else 0.0
        o = sum(own[number]) / len(own[number]) if own[number] else 0.0
        result.append((h - o) / (h + 1e-6))
    return result


def test_height_loss_equals_the_formula_in_plain_loops(mask: Volume) -> None:
    rng = np.random.default_rng(5)
    crop = paper_straighten(mask, [20])[20].labels == 20
    pairs = [(np.roll(crop, 3, axis=0) | crop, crop), (crop, np.roll(crop, 2, axis=1)), (crop[::2], crop[1::2])]
    for _ in range(30):
        shape = tuple(int(n) for n in rng.integers(6, 24, 3))
        pairs.append((rng.random(shape) < rng.uniform(0.02, 0.9), rng.random(shape) < rng.uniform(0.02, 0.9)))
    for fake, real in pairs:
        got = paper_rhlv(fake, real)
        wanted = direct_rhlv(fake, real)
        assert [got.whole, got.anterior, got.middle, got.posterior] == pytest.approx(wanted, abs=1e-9)


def test_a_reference_too_short_reads_as_no_loss() -> None:
    # The published clamp: it hides a bad reference. Kept in paper mode, and the reason not to measure with it.
    body = np.zeros((40, 30, 20), bool)
    body[8:32, 3:27, 2:18] = True
    short = body.copy()
    short[27:] = False
    told = paper_rhlv(short, body)
    assert abs(told.whole) < 1e-3
    tall = np.zeros_like(body)
    tall[5:35, 3:27, 2:18] = True
    assert paper_rhlv(tall, body).whole == pytest.approx(0.2, abs=1e-6)


def test_masks_must_share_a_grid() -> None:
    with pytest.raises(VolumeError, match="shapes"):
        paper_rhlv(np.ones((2, 2, 2)), np.ones((2, 2, 3)))
    with pytest.raises(VolumeError, match="empty"):
        paper_rhlv(np.ones((2, 2, 2)), np.zeros((2, 2, 2)))
