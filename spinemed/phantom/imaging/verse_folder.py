"""`write_verse_case`: a phantom CT as a case of a folder in VerSe's layout.

Convention, as in the VerSe 2019/2020 subject-based release: `rawdata/sub-<id>/sub-<id>_ct.nii.gz`,
`derivatives/sub-<id>/sub-<id>_seg-vert_msk.nii.gz` (uint8) and `..._seg-subreg_ctd.json` with the axis directions and
the centroid of each vertebral body in voxels of the image, one decimal.

The trap: VerSe annotates only what is wholly in view. A vertebra cut by the border is background in the mask and absent
from the centroids, although its bone is in the image; `keep_cut` keeps it in the mask.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from spinemed.anatomy import LABEL_MAPS
from spinemed.errors import SpineMedError
from spinemed.labelling.centroids import CentroidSet, write_centroids
from spinemed.phantom.imaging.ct import CtPhantom
from spinemed.tables import write_text
from spinemed.volume import Volume, write_nifti

__all__ = ["verse_mask", "write_verse_case"]

_NAME = re.compile(r"^[A-Za-z0-9]+$")


def verse_mask(phantom: CtPhantom, *, keep_cut: bool = False, sacrum: bool = False) -> Volume:
    """The vertebra mask by VerSe's rule, uint8.

    Args:
        phantom: The rendering.
        keep_cut: Keep vertebrae that the border cuts.
        sacrum: Keep the sacrum as 26 (and the coccyx as 27); VerSe has neither.
    """
    labels = LABEL_MAPS["verse"]
    kept = {labels.to_label(level) for level in phantom.truth.visible}
    if keep_cut:
        kept |= {labels.to_label(level) for level in phantom.truth.cut}
    if sacrum:
        kept |= {26, 27}
    table = np.zeros(256, dtype=np.uint8)
    for number in kept:
        table[number] = number
    return Volume(table[phantom.vertebrae.data], phantom.vertebrae.affine, "label")


def write_verse_case(
    phantom: CtPhantom,
    folder: str | os.PathLike[str],
    case: str,
    *,
    keep_cut: bool = False,
    sacrum: bool = False,
) -> dict[str, Path]:
    """Write image, mask, centroids and the record of one phantom; each file whole or not at all.

    Args:
        phantom: The rendering.
        folder: The dataset's folder; made if it is missing.
        case: Letters and digits; files are named `sub-<case>_...`.
        keep_cut, sacrum: As in `verse_mask`.

    Returns:
        The files written: "ct", "mask", "subregions", "centroids", "record".

    Raises:
        SpineMedError: a case name with other signs than letters and digits.
    """
    if not _NAME.match(case):
        raise SpineMedError(f"'{case}' is no BIDS subject", field="case", cure="use letters and digits only")
    root, name = Path(folder), f"sub-{case}"
    raw, derived = root / "rawdata" / name, root / "derivatives" / name
    for place in (raw, derived):
        place.mkdir(parents=True, exist_ok=True)
    files = {
        "ct": raw / f"{name}_ct.nii.gz",
        "mask": derived / f"{name}_seg-vert_msk.nii.gz",
        "subregions": derived / f"{name}_seg-subreg_msk.nii.gz",
        "centroids": derived / f"{name}_seg-subreg_ctd.json",
        "record": derived / f"{name}_phantom.json",
    }
    mask = verse_mask(phantom, keep_cut=keep_cut, sacrum=sacrum)
    parts = Volume(np.where(mask.data > 0, phantom.subregions.data, 0).astype(np.uint8), mask.affine, "label")
    write_nifti(phantom.volume, files["ct"])
    write_nifti(mask, files["mask"])
    write_nifti(parts, files["subregions"])
    write_centroids(files["centroids"], CentroidSet.of(dict(phantom.centroids)), phantom.volume, decimals=1)
    truth = phantom.truth
    note = {
        "note": "procedural phantom, no patient; research use only",
        "posture": phantom.scene.posture,
        "visible": [str(level) for level in truth.visible],
        "cut": [str(level) for level in truth.cut],
        "sacrum_cut": truth.sacrum_cut,
        "noise_seed": truth.noise_seed,
        "look": truth.look.model_dump(mode="json"),
        "spine": phantom.scene.spine.model_dump(mode="json"),
    }
    write_text(files["record"], json.dumps(note, sort_keys=True) + "\n")
    return files
