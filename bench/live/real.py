"""Questions on the bundled real images whose levels a published expert label gives: few, but real.

Convention: origin `real`, licence and file hash of each image stand in the sample; the cluster is the image. PAM50 is
an average of many people's scans, so its tag says `real:average`; its disc label k marks the disc above vertebra k,
counted from C1, and C2 is in view. The crops of TPTBox show no anchor: which vertebra is marked is "not determinable"
there unless the question names a neighbour.

Trap: masks that a model made are no truth; the CT of TotalSegmentator is not asked about.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.live.case import Case, live_templates, shared_templates
from bench.live.levels import ask_level
from bench.live.pictures import ring, windowed
from spinemed.anatomy import LABEL_MAPS, Level, Region
from spinemed.questions import disc_text
from spinemed.questions.draft import compose
from spinemed.resources import samples_dir
from spinemed.tables import file_sha256
from spinemed.volume import read_mask, read_nifti, reorient_volume

__all__ = ["real_recipe"]

Picture = NDArray[np.uint8]
_PAM50 = ("mr/pam50_small/PAM50_small_t2.nii.gz", "mr/pam50_small/PAM50_small_label_disc.nii.gz", "MIT")
_CT = ("ct/tptbox_L3_crop/sub-ct_label-22_ct.nii.gz", "ct/tptbox_L3_crop/sub-ct_seg-vert_label-22_msk.nii.gz",
       "Apache-2.0")  # fmt: skip
_MR = ("mr/tptbox_crop/sub-mri_label-6_T2w.nii.gz", "mr/tptbox_crop/sub-mri_seg-vert_label-6_msk.nii.gz", "Apache-2.0")
_MR_WHOLE = 6
"""The vertebra that lies wholly in the crop; a number of the file, no level."""
_ENLARGE = 4
_CT_WINDOW = (-250.0, 850.0)
_BODY_MM, _DISC_MM = 17.0, 15.0
"""From the cord's middle forwards to the middle of a body and of a disc in the neck."""


def _read(path: str) -> NDArray[np.float32]:
    """A bundled volume in RAS."""
    return np.asarray(reorient_volume(read_nifti(samples_dir() / path), "RAS").data, dtype=np.float32)


def _mask(path: str) -> NDArray[np.int64]:
    return np.asarray(reorient_volume(read_mask(samples_dir() / path), "RAS").data, dtype=np.int64)


def _sagittal(
    values: NDArray[np.float32], mm: tuple[float, float], window: tuple[float, float] | None = None
) -> Picture:
    """One slice (A, S) as a picture, front left, head up, enlarged to a quarter of a millimetre."""
    from PIL import Image

    grey = windowed(values, *(window or (0.0, float(np.percentile(values, 97.0)))))
    turned = np.ascontiguousarray(grey.T[::-1, ::-1])
    size = (round(values.shape[0] * mm[0] * _ENLARGE), round(values.shape[1] * mm[1] * _ENLARGE))
    return np.array(Image.fromarray(turned).resize(size, Image.Resampling.BICUBIC))


def _at(index: tuple[float, float], shape: tuple[int, ...], mm: tuple[float, float]) -> tuple[float, float]:
    """A voxel (A, S) of a slice as a point of its picture."""
    x = (shape[0] - 1 - index[0] + 0.5) * mm[0] * _ENLARGE - 0.5
    y = (shape[1] - 1 - index[1] + 0.5) * mm[1] * _ENLARGE - 0.5
    return x, y


@cache
def _neck() -> tuple[NDArray[np.float32], dict[int, tuple[int, int]]]:
    """PAM50 from C1 to T4 in its middle slice, and the place of each disc label."""
    volume, labels = _read(_PAM50[0]), _mask(_PAM50[1])
    middle = volume.shape[0] // 2
    low = 120
    points = {int(labels[x, y, z]): (int(y), int(z) - low) for x, y, z in np.argwhere(labels > 0)}
    return volume[middle, :, low:], points


def real_recipe(case: Case) -> None:
    """Six questions on three images; two of them cannot be decided."""
    _ask_neck(case)
    _ask_crop_of_ct(case)
    _ask_crop_of_mr(case)


def _source(paths: tuple[str, str, str], cluster: str) -> dict[str, object]:
    root = samples_dir()
    return {
        "evidence": f"sha256:{file_sha256(root / paths[1])}", "licence": paths[2], "origin": "real",
        "source": f"samples/{paths[0]}", "cluster": cluster,
    }  # fmt: skip


def _ask_neck(case: Case) -> None:
    values, points = _neck()
    mm = (1.0, 2.0)
    picture = _sagittal(values, mm)
    common = _source(_PAM50, "real-pam50")
    order = [level for level in Level if Level.C1 <= level <= Level.T12 and level is not Level.C0]
    # The disc above vertebra k and the one above k + 1 bound its body.
    inside = [k for k in points if k + 1 in points and k >= 3 and points[k + 1][1] > 6]
    neck = [k for k in inside if order[k - 1].region is Region.CERVICAL]
    chest = [k for k in inside if order[k - 1].region is Region.THORACIC]
    for group in (neck, chest):
        k = group[int(case.rng.integers(len(group)))]
        y, z = points[k][0] + _BODY_MM, (points[k][1] + points[k + 1][1]) / 2
        shown = ring(picture, _at((y, z), values.shape, mm), 7.5 * _ENLARGE)
        case.ask(
            ask_level(order[k - 1], case.rng), pictures=[shown], difficulty="medium",
            tags=("anchor:C2", "real:average"), **common,  # type: ignore[arg-type]
        )  # fmt: skip
    k = neck[int(case.rng.integers(len(neck)))]
    upper, lower = order[k - 2], order[k - 1]
    text = disc_text(upper, lower)
    assert text is not None
    draft = compose(
        shared_templates()["marked_disc"],
        case.rng,
        axis="level_identification",
        task="level",
        answer=text,
        answer_kind="disc",
        levels=(upper, lower),
    )
    shown = ring(picture, _at((points[k][0] + _DISC_MM, points[k][1]), values.shape, mm), 5.5 * _ENLARGE)
    case.ask(draft, pictures=[shown], difficulty="medium", tags=("anchor:C2", "real:average"), **common)  # type: ignore[arg-type]


def _crop(paths: tuple[str, str, str], label: int, window: tuple[float, float] | None = None) -> Picture:
    """The slice of a crop through the middle of a body, with a ring at it."""
    volume, mask = _read(paths[0]), _mask(paths[1])
    inside = np.argwhere(mask == label)
    slice_ = round(float(inside[:, 0].mean()))
    values = volume[slice_]
    plane = np.argwhere(mask[slice_] == label)
    front = plane[plane[:, 0] > np.percentile(plane[:, 0], 40)]  # of the whole vertebra, the body lies in front
    mm = (1.5, 1.5)
    centre = (float(front[:, 0].mean()), float((front[:, 1].min() + front[:, 1].max()) / 2))
    return ring(_sagittal(values, mm, window), _at(centre, values.shape, mm), 11.0 * _ENLARGE)


def _ask_crop_of_ct(case: Case) -> None:
    common = _source(_CT, "real-tptbox-ct")
    labels = LABEL_MAPS["verse"]
    picture = _crop(_CT, labels.to_label(Level.L3), _CT_WINDOW)
    line = live_templates()["live_beside"].question(0, {"level": Level.L2.value})
    case.ask(
        ask_level(Level.L3, case.rng), pictures=[picture], context=[line], difficulty="easy",
        tags=("anchor:stated",), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    case.ask(
        ask_level(None, case.rng), pictures=[picture], difficulty="hard", undecidable=True,
        tags=("anchor:none", "why:no_anchor"), **common,  # type: ignore[arg-type]
    )  # fmt: skip


def _ask_crop_of_mr(case: Case) -> None:
    case.ask(
        ask_level(None, case.rng), pictures=[_crop(_MR, _MR_WHOLE)], difficulty="hard", undecidable=True,
        tags=("anchor:none", "why:no_anchor"), **_source(_MR, "real-tptbox-mr"),  # type: ignore[arg-type]
    )  # fmt: skip
