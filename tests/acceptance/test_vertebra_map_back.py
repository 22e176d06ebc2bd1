"""The way back into the patient: crops of CT, MR and masks, straight or oblique, fine or coarse, and synthetic bodies.

For every vertebra that the volume holds whole: its body, told from the arch in the patient, is straightened and mapped
back; its overlap with itself (Dice) is taken, and every voxel counted that the map sets farther than one voxel from the
body's own. Mask and image that went in must be the same afterwards. Phantoms for the ground they cover, and the real
files that are bundled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.cli import main
from spinemed.errors import VolumeError
from spinemed.labelling.masks import LabelMask, labels_at_border, read_label_mask
from spinemed.measure import separate_body
from spinemed.phantom.imaging.ct import render_ct
from spinemed.phantom.imaging.grid import VoxelGrid, field_grid
from spinemed.phantom.imaging.tissues import render_tissues
from spinemed.phantom.pathology.config import healthy_config
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.statistics import generator_for
from spinemed.vertebra.straighten import StraightCrop, Straightened, straighten_spine
from spinemed.volume import Volume, read_mask, read_nifti, reorient_volume, resample_like, write_nifti

pytestmark = pytest.mark.acceptance

ISSUE = "Vertebra"
COMMAND = "pytest -m acceptance tests/acceptance/test_vertebra_map_back.py"
SEED, SPINES = 771, 4
LEAST_DICE = 0.95
CODES = ("RAS", "LPI", "PIR", "AIL", "SRP", "ILA")
Record = Callable[..., None]
Found = list[dict[str, Any]]


def scene_of(index: int, *, scoliosis: bool = False) -> Scene:
    share = {"scoliosis_share": 1.0} if scoliosis else {}
    config = SpineConfig(family="ab"[index % 2], variant_shares={}, transition_share=0.0, **share)  # type: ignore[arg-type]
    wanted = healthy_config(fracture_share=1.0, fracture_adjacent_share=0.5, fracture_multiple_share=0.3)
    return build_scene(
        draw_pathologies(draw_spine(SEED, index, config), wanted, generator_for(SEED, str(index), "fractures"))
    )


def grid_of(scene: Scene, spacing: Any = 1.0, codes: str = "RAS") -> VoxelGrid:
    return field_grid(scene, "thoracolumbar", spacing_mm=spacing, codes=codes, width_mm=100.0)


def mask_of(scene: Scene, spacing: Any = 1.0, codes: str = "RAS", grid: VoxelGrid | None = None) -> LabelMask:
    grid = grid_of(scene, spacing, codes) if grid is None else grid
    return LabelMask(render_tissues(scene, grid).vertebrae, grid.affine)


def oblique(mask: LabelMask, degrees: float) -> LabelMask:
    """The mask on a grid turned about all three axes, nearest voxel."""
    turn = np.eye(4)
    for axis in range(3):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(4)
        a, b = [k for k in range(3) if k != axis]
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        turn = turn @ one
    middle = mask.affine @ [*(np.array(mask.shape) - 1) / 2, 1]
    shape = tuple(int(n) for n in np.ceil(1.35 * np.array(mask.shape) * np.array(mask.spacing_mm)))
    affine = turn.copy()
    affine[:3, 3] = middle[:3] - turn[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Volume(np.zeros(shape, np.uint8), affine, "label")
    moved = resample_like(mask.volume, grid, fill=0)
    return LabelMask(np.asarray(moved.data), affine)


def body_in_patient(mask: LabelMask, straight: Straightened, crop: StraightCrop) -> NDArray[np.bool_]:
    """The body as it is told from the arch, on the patient's grid; the whole label where it is not told."""
    solid = mask.data == crop.level.verse_label
    if any("whole label" in flag for flag in crop.flags):
        return np.asarray(solid)
    along = crop.start[2] + straight.spacing_mm * (crop.body.shape[2] - 1) / 2
    frame = straight.curve.frames([along])[0]
    cut = separate_body(solid, mask.affine, anterior_hint=frame[1], up_hint=frame[2])
    first = np.round(np.linalg.solve(mask.affine[:3, :3], cut.affine[:3, 3] - mask.affine[:3, 3])).astype(int)
    out = np.zeros(mask.shape, dtype=bool)
    out[tuple(slice(a, a + n) for a, n in zip(first, cut.mask.shape, strict=True))] = cut.mask
    return out


def there_and_back(
    mask: LabelMask, image: Volume | None = None, *, spacing_mm: float = 1.0
) -> Iterator[dict[str, Any]]:
    """One row per whole vertebra."""
    before = hashlib.sha256(np.ascontiguousarray(mask.data)).hexdigest()
    cut = {label for label, side in labels_at_border(mask).items() if side in "IS"}
    straight = straighten_spine(mask, image=image, spacing_mm=spacing_mm)
    for level, crop in straight.crops.items():
        if LABEL_MAPS["verse"].to_label(level) in cut:
            continue
        own = body_in_patient(mask, straight, crop)
        values, box = straight.to_patient(crop, crop.body, mask.volume)
        mapped = np.zeros(mask.shape, dtype=bool)
        mapped[box] = values >= 0.5
        stray = mapped & ~binary_dilation(own, structure=np.ones((3, 3, 3), bool))
        dice = 2 * (own & mapped).sum() / (own.sum() + mapped.sum())
        yield {
            "level": str(level), "dice": float(dice), "outside": int(stray.sum()),
            "kept": hashlib.sha256(np.ascontiguousarray(mask.data)).hexdigest() == before,
        }  # fmt: skip


def said(record: Record, order: int, name: str, rows: Found, note: str) -> None:
    dice = np.array([row["dice"] for row in rows])
    changed = sum(row["outside"] for row in rows)
    met = bool(len(rows) and dice.min() >= LEAST_DICE and changed == 0 and all(row["kept"] for row in rows))
    record(
        ISSUE, order, f"inverse map, {name}", asked=f"Dice ≥ {LEAST_DICE:g}, no voxel outside",
        measured=f"{len(rows)} bodies: Dice {dice.min():.3f} to {dice.max():.3f}, median {np.median(dice):.3f}; "
        f"{changed} voxels set outside, mask unchanged", met=met, command=COMMAND, note=note,
    )  # fmt: skip
    assert met


PHANTOMS = "phantom spines with one to three fractures, seed 771, crops of 1 mm"


def test_masks_of_one_millimetre(record: Record) -> None:
    rows = [row for index in range(SPINES) for row in there_and_back(mask_of(scene_of(index)))]
    said(record, 20, "masks, 1 mm isotropic", rows, PHANTOMS)


def test_any_orientation_and_one_answer(record: Record) -> None:
    mask = mask_of(scene_of(0))
    rows: Found = []
    bodies: list[NDArray[np.bool_]] = []
    for codes in CODES:
        turned = reorient_volume(mask.volume, codes)
        other = LabelMask(np.asarray(turned.data), turned.affine)
        rows += list(there_and_back(other))
        bodies.append(straighten_spine(other, [Level.L1]).crops[Level.L1].body >= 0.5)
    same = min(2 * (bodies[0] & body).sum() / (bodies[0].sum() + body.sum()) for body in bodies)
    said(record, 21, f"masks in {len(CODES)} orientations", rows, f"{PHANTOMS}; crops of L1 agree: Dice ≥ {same:.4f}")
    assert same > 0.995


def test_oblique_grids(record: Record) -> None:
    rows = [
        row
        for index, degrees in ((0, 8.0), (1, 15.0), (2, 20.0))
        for row in there_and_back(oblique(mask_of(scene_of(index)), degrees))
    ]
    said(record, 22, "masks on oblique grids (8, 15, 20° about three axes)", rows, PHANTOMS)


def test_anisotropic_grids(record: Record) -> None:
    rows: Found = []
    for index, spacing in ((0, (0.5, 0.5, 1.5)), (1, (2.0, 0.8, 0.8)), (2, (0.7, 0.7, 2.5)), (3, (3.3, 0.6, 0.6))):
        rows += list(there_and_back(mask_of(scene_of(index), spacing), spacing_mm=0.8))
    note = (
        "0.5 x 0.5 x 1.5, 2 x 0.8 x 0.8, 0.7 x 0.7 x 2.5 and 3.3 x 0.6 x 0.6 mm (right, anterior, up), crops of 0.8 mm"
    )
    said(record, 23, "masks of anisotropic voxels", rows, f"{note}; {PHANTOMS}")


def test_scoliotic_spines(record: Record) -> None:
    rows = [row for index in range(SPINES) for row in there_and_back(mask_of(scene_of(index, scoliosis=True)))]
    said(record, 24, "masks of scoliotic spines", rows, PHANTOMS)


def test_one_vertebra_alone(record: Record) -> None:
    rows: Found = []
    for index in range(2):
        mask = mask_of(scene_of(index))
        for level in mask.levels:
            label = level.verse_label
            if labels_at_border(mask).get(label, "") in ("I", "S"):
                continue
            alone = LabelMask(np.where(mask.data == label, mask.data, 0).astype(np.uint8), mask.affine)
            rows += list(there_and_back(alone))
    said(record, 25, "a single vertebra in the mask", rows, f"{PHANTOMS}; the curve is the scanner's axis, flagged")


def test_ct_rides_along(record: Record) -> None:
    rows: Found = []
    errors = []
    for index in range(2):
        scene = scene_of(index)
        grid = grid_of(scene)
        shown = render_ct(scene, grid=grid)
        mask = LabelMask(np.asarray(shown.vertebrae.data), grid.affine)
        before = np.array(shown.volume.data)
        rows += list(there_and_back(mask, shown.volume))
        assert (before == shown.volume.data).all()
        straight = straighten_spine(mask, image=shown.volume)
        errors += [image_error(straight, crop, shown.volume) for crop in straight.crops.values() if not crop.flags]
    said(
        record, 26, "CT with mask", rows,
        f"{PHANTOMS}; HU back in the patient's body against the original: median absolute error "
        f"{np.median(errors):.0f} HU (two interpolations of noisy voxels)",
    )  # fmt: skip


def image_error(straight: Straightened, crop: StraightCrop, image: Volume) -> float:
    """Median absolute difference deep in the body, image units."""
    assert crop.image is not None
    above = crop.image + 2000.0  # 0 is nothing to the way back
    deep = np.where(binary_erosion(crop.body >= 0.5, iterations=3), above, 0.0).astype(np.float32)
    values, box = straight.to_patient(crop, deep, image)
    inside, _ = straight.to_patient(crop, (deep > 0).astype(np.float32), image)
    there = inside > 0.999
    return float(np.median(np.abs(np.asarray(image.data[box], dtype=float)[there] - (values[there] - 2000.0))))


def test_real_files(record: Record, samples: Path) -> None:
    rows: Found = []
    mask = read_label_mask(samples / "masks" / "healthivert_0007" / "0007_msk.nii.gz")
    rows += list(there_and_back(mask))
    folder = samples / "ct" / "totalsegmentator_lumbar"
    mask = read_label_mask(folder / "example_seg_fast_force_split.nii.gz", scheme="totalsegmentator")
    rows += list(there_and_back(mask, read_nifti(folder / "example_ct.nii.gz", unit="HU"), spacing_mm=1.5))
    folder = samples / "ct" / "tptbox_L3_crop"
    mask = read_label_mask(folder / "sub-ct_seg-vert_label-22_msk.nii.gz", scheme="tptbox")
    rows += list(there_and_back(mask, read_nifti(folder / "sub-ct_label-22_ct.nii.gz", unit="HU")))
    said(
        record, 27, "real masks and CT", rows,
        "bundled: the published patient (1 mm), TotalSegmentator's example (3 mm, its own mask), a crop of L3 (1.5 mm)",
    )  # fmt: skip


def test_real_mr(record: Record, samples: Path) -> None:
    folder = samples / "mr" / "tptbox_crop"
    raw = read_mask(folder / "sub-mri_seg-vert_label-6_msk.nii.gz")
    # Its numbers count vertebrae in the crop, not levels: as such they serve to tell three vertebrae apart.
    mask = LabelMask(np.where(raw.data <= 28, raw.data, 0).astype(np.uint8), raw.affine)
    rows = list(there_and_back(mask, read_nifti(folder / "sub-mri_label-6_T2w.nii.gz")))
    said(record, 28, "real MR with mask", rows, "bundled T2-weighted crop of 1.5 mm; whole vertebrae in it")


def test_restored_bodies_are_layers_of_their_own(record: Record, work: Path, samples: Path) -> None:
    layers = counted = written = 0
    overlaps: list[float] = []
    masks = [mask_of(scene_of(index)) for index in range(SPINES)]
    # Many sunk bodies close together: synthetic ones reach into neighbours here.
    masks.append(read_label_mask(samples / "masks" / "healthivert_0007" / "0007_msk.nii.gz"))
    for index, mask in enumerate(masks):
        place = work / "vertebra-map-back" / f"{index}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / "spine_msk.nii.gz"
        write_nifti(mask.volume, path)
        before = path.read_bytes()
        whole = [level for level in mask.levels if labels_at_border(mask).get(level.verse_label, "") not in ("I", "S")]
        labels = ",".join(str(level.verse_label) for level in whole)
        arguments = ["--mask", str(path), "--model", "neighbours", "--labels", labels, "--out", str(place / "out")]
        with pytest.raises(SystemExit) as end:
            main(["vertebra", "synthesise", *arguments])
        assert end.value.code == 0
        written += path.read_bytes() != before
        made = json.loads((place / "out" / "spine_synthesis.json").read_bytes())
        voxel = abs(float(np.linalg.det(mask.affine[:3, :3])))
        for body in made["bodies"]:
            layer = read_mask(place / "out" / body["files"]["overlay"])
            if layer.shape != mask.shape or not np.allclose(layer.affine, mask.affine, atol=1e-3):
                raise VolumeError("the overlay lies on another grid")
            there = layer.data != 0
            for level in mask.levels:
                if level.verse_label != body["label"]:
                    taken = float((there & (mask.data == level.verse_label)).sum()) * voxel
                    counted += abs(taken - body["overlap_mm3"].get(str(level), 0.0)) > 0.5
                    overlaps.append(taken)
            layers += 1
    record(
        ISSUE, 29, "height-restored bodies as overlays", asked="overlap counted, never written over a neighbour",
        measured=f"{layers} overlays: {sum(each > 0 for each in overlaps)} touch a neighbour (largest "
        f"{max(overlaps):.0f} mm³), {counted} counts differ from the voxels, {written} masks changed",
        met=counted == 0 and written == 0, command=COMMAND,
        note=f"mean of neighbours, through the command; {PHANTOMS}; and the published patient",
    )  # fmt: skip
    assert layers > 20
    assert counted == 0
    assert written == 0
