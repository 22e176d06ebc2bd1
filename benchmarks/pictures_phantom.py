"""Ten pairs of phantom and real CT side by side, each at the same voxel size, window and place. Look at them.

    python benchmarks/pictures_phantom.py        # writes benchmarks/pictures/phantom_pairs.png

Convention: above the phantom, below the real CT of `samples/ct`; ten different phantoms, the first ten of one seed with
24 presacral vertebrae, none chosen by its looks. The trap: likeness to the eye is no evidence that what was learned on
one holds on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from spinemed.anatomy import Level
from spinemed.geometry import WorldPoints, world_to_voxel
from spinemed.labelling import body_centroids, read_label_mask
from spinemed.phantom.imaging.ct import render_ct
from spinemed.phantom.spine import draw_spine
from spinemed.resources import samples_dir
from spinemed.volume import Volume, read_nifti, reorient_volume

OUT = Path(__file__).resolve().parent / "pictures" / "phantom_pairs.png"
SEED = 2026
WINDOW_HU = (-250, 750)
CT = samples_dir() / "ct"


@dataclass(frozen=True)
class Pair:
    """One place to look at: a plane through a body's centre, moved by millimetres, and the half edges shown."""

    plane: str
    level: Level
    offset_mm: float
    half_mm: tuple[float, float]
    crop: bool = False


PAIRS = (
    Pair("sagittal", Level.L3, 0, (75, 100)),
    Pair("sagittal", Level.L3, 14, (75, 100)),
    Pair("sagittal", Level.L3, -14, (75, 100)),
    Pair("coronal", Level.L3, 0, (75, 100)),
    Pair("coronal", Level.L3, -38, (75, 100)),
    Pair("axial", Level.L1, 0, (75, 75)),
    Pair("axial", Level.L2, 0, (75, 75)),
    Pair("axial", Level.L3, 0, (75, 75)),
    Pair("axial", Level.L4, 0, (75, 75)),
    Pair("axial", Level.L3, 0, (50, 50), crop=True),
)


def cut(volume: Volume, centre_mm: np.ndarray, pair: Pair) -> np.ndarray:
    """The picture of a pair as (rows, columns), hung as radiologists hang it."""
    axis, across, up = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1)}[pair.plane]
    point = centre_mm.copy()
    point[axis] += pair.offset_mm
    if pair.plane != "axial":
        point[1] -= 0 if pair.plane == "coronal" else 15
    else:
        point[1] -= 20
    at = np.round(world_to_voxel(WorldPoints(point[None]), volume.affine).values[0]).astype(int)
    plane = np.take(volume.data, at[axis], axis=axis)
    spacing = volume.spacing_mm
    columns, rows = (across, up)
    half = [int(pair.half_mm[0] / spacing[columns]), int(pair.half_mm[1] / spacing[rows])]
    padded = np.pad(plane.astype(float), [(half[0], half[0]), (half[1], half[1])], constant_values=-1000)
    block = padded[at[columns] : at[columns] + 2 * half[0] + 1, at[rows] : at[rows] + 2 * half[1] + 1]
    # The patient's right on the left of coronal and axial pictures, the front on the left of sagittal ones.
    return block[::-1].T[::-1]


def main() -> None:
    """Draw the page."""
    lumbar = CT / "totalsegmentator_lumbar"
    mask = read_label_mask(lumbar / "example_seg_fast_force_split.nii.gz", scheme="totalsegmentator")
    bodies = body_centroids(mask)
    whole = reorient_volume(read_nifti(lumbar / "example_ct.nii.gz", unit="HU"), "RAS")
    piece = reorient_volume(read_nifti(CT / "tptbox_L3_crop" / "sub-ct_label-22_ct.nii.gz", unit="HU"), "RAS")
    middle = (np.array(piece.shape) - 1) / 2
    regular = (spine for spine in (draw_spine(SEED, k) for k in count()) if (spine.thoracic, spine.lumbar) == (12, 5))
    figure, axes = plt.subplots(4, 5, figsize=(15, 15.5), layout="constrained")
    figure.set_facecolor("white")
    cells = axes.reshape(2, 2, 5).transpose(0, 2, 1).reshape(10, 2)
    for pair, spine, (above, below) in zip(PAIRS, islice(regular, 10), cells, strict=True):
        real = piece if pair.crop else whole
        centre = piece.affine[:3, :3] @ middle + piece.affine[:3, 3] if pair.crop else bodies[pair.level]
        if pair.crop:
            own = read_label_mask(CT / "tptbox_L3_crop" / "sub-ct_seg-vert_label-22_msk.nii.gz", scheme="tptbox")
            centre = body_centroids(own)[Level.L3]
        phantom = render_ct(spine, spacing_mm=real.spacing_mm, codes="RAS", field="lumbar", noise_seed=spine.index)
        for axis, volume, point, who in (
            (above, phantom.volume, np.asarray(phantom.centroids[pair.level]), "phantom"),
            (below, real, np.asarray(centre), "real CT"),
        ):
            picture = cut(volume, np.array(point, dtype=float), pair)
            axis.imshow(picture, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], interpolation="nearest")
            axis.set_title(f"{who}: {pair.plane}, {pair.level} {pair.offset_mm:+g} mm", fontsize=9)
            axis.axis("off")
    figure.suptitle(
        "Phantoms (rows 1 and 3) above real CT (rows 2 and 4), same voxel size and window "
        f"({WINDOW_HU[0]} to {WINDOW_HU[1]} HU). Phantoms are computed; they are no patients.\n"
        "Real CT: TotalSegmentator's reference CT (3 mm, one patient), last pair: TPTBox's crop around L3 (1.5 mm); "
        "both Apache-2.0, samples/SOURCES.md.",
        fontsize=11,
    )
    figure.savefig(OUT, dpi=75, metadata={"Software": None})


if __name__ == "__main__":
    main()
