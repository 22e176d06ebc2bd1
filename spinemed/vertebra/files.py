"""The scans that a command is given: which files belong together, and what has to hold before anything is measured.

Convention: one scan is a mask file, or a folder with one mask per structure (TotalSegmentator), with an image and a
body mask where there are any. A folder of scans is searched at any depth; a scan's name is its mask's file name without
`.nii.gz` and the endings that say "mask", and an image belongs to it if their names are equal as
:func:`spinemed.labelling.predictions.match_key` compares them. Nothing is matched by similarity.

The body mask may hold the vertebrae's own numbers, one number for all bodies, or TPTBox's and SPINEPS' subregions.

The trap: numbers of another tool can look like VerSe's. TotalSegmentator's lowest ones (25 sacrum ... 28 L4) name L6,
sacrum, coccyx and T13 here. So the places of the labels are held against their order, head to foot, and refused where
they contradict it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from spinemed.anatomy import Level, parse_level
from spinemed.errors import LevelError, ReadError, VolumeError
from spinemed.geometry import label_centroids_mm
from spinemed.labelling import read_label_mask
from spinemed.labelling.bodies import BODY_SUBREGIONS
from spinemed.labelling.jobs import read_ct
from spinemed.labelling.masks import COCCYX, SACRUM, LabelMask
from spinemed.labelling.predictions import match_key
from spinemed.records import content_hash
from spinemed.tables import file_sha256
from spinemed.volume import Volume, read_mask, read_nifti, require_same_grid

__all__ = ["Loaded", "Scan", "find_scans", "read_image", "read_scan", "scan_stem", "wanted_levels"]

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_MASK_ENDING = re.compile(r"(_seg-vert)?_(msk|mask|seg|dseg|labels?)$", re.IGNORECASE)
_OTHER_MASK = re.compile(r"_seg-(?!vert)[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*$", re.IGNORECASE)
_VERSE_MASK = re.compile(r"_seg-vert(_[A-Za-z0-9-]+)*_msk$", re.IGNORECASE)
_IMAGE = re.compile(r"_(ct|0000|t[12]w?|mr|image)$", re.IGNORECASE)
_STRUCTURE = re.compile(r"^vertebrae?_[CTL]\d{1,2}$", re.IGNORECASE)
_NEAREST_MM, _FARTHEST_MM = 8.0, 60.0
"""From one vertebra to the next: nearer than in an infant's neck, farther than in anybody's loin."""


@dataclass(frozen=True)
class Scan:
    """One scan and its files."""

    name: str
    mask: Path
    image: Path | None = None
    bodies: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files by what they are."""
        found = {"mask": self.mask, "image": self.image, "bodies": self.bodies}
        return {name: path for name, path in found.items() if path is not None}

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file; of a folder of masks, over the names and hashes of its files.

        Raises:
            ReadError: a file is missing or cannot be read.
        """
        return {name: _hash(path) for name, path in self.files.items()}


def _hash(path: Path) -> str:
    if path.is_dir():
        return content_hash({each.name: file_sha256(each) for each in sorted(path.iterdir()) if each.is_file()})
    return file_sha256(path)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A scan as read.

    Attributes:
        mask: Whole vertebrae, in VerSe's numbers.
        image: CT in Hounsfield units, or grey values ("a.u."); None without one.
        bodies: Bodies alone, in the same numbers; None without one.
        numbered: Whether the places of the labels allow their numbers.
        flags: What is doubtful about the files.
    """

    mask: LabelMask
    image: Volume | None = None
    bodies: LabelMask | None = None
    numbered: bool = True
    flags: tuple[str, ...] = field(default=())


def scan_stem(path: str | os.PathLike[str]) -> str:
    """The name of a scan: its mask's file name without `.nii.gz`, and without `_seg-vert_msk`, `_msk`, `_seg`, ..."""
    place = Path(path)
    if place.is_dir() and place.name.lower() in ("segmentations", "segmentation", "masks"):
        place = place.absolute().parent
    name = _NIFTI.sub("", place.name)
    return _MASK_ENDING.sub("", name) or name


def find_scans(
    mask: str | os.PathLike[str],
    image: str | os.PathLike[str] | None = None,
    bodies: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Scan, ...], bool]:
    """The scans of a place, and whether it is a folder of scans. No file is opened.

    Args:
        mask: A mask; a folder with `vertebrae_L1.nii.gz` and the like, which is one scan; or a folder of scans.
        image: The image, or a folder of them where `mask` is a folder of scans.
        bodies: Likewise the body masks.

    Raises:
        ReadError: nothing there, two files for one scan, or a folder of images none of which fits.
    """
    root = Path(mask)
    if root.is_file() or _is_structures(root):
        beside = {name: _single(path, f"--{name}") for name, path in (("image", image), ("bodies", bodies))}
        return (Scan(scan_stem(root), root, **beside),), False
    if not root.is_dir():
        raise ReadError("no such file or folder", file=root, field="--mask", cure="give a mask, or a folder of masks")
    masks = _by_key(_masks(root), root)
    images = {} if image is None else _matching(image, "--image", masks)
    parts = {} if bodies is None else _matching(bodies, "--subregions", masks)
    scans = [Scan(scan_stem(path), path, images.get(key), parts.get(key)) for key, path in masks.items()]
    return tuple(sorted(scans, key=lambda scan: scan.name)), True


def _single(path: str | os.PathLike[str] | None, option: str) -> Path | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise ReadError("is no file", file=path, field=option, cure="give the file of the same scan")
    return Path(path)


def _is_structures(folder: Path) -> bool:
    return folder.is_dir() and any(_STRUCTURE.match(_NIFTI.sub("", path.name)) for path in folder.iterdir())


def _nifti_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and _NIFTI.search(path.name)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _plain(path: Path) -> str:
    return _NIFTI.sub("", path.name)


def _masks(root: Path) -> list[Path]:
    """The masks of a folder: VerSe's names if there are any, else names that say "mask", else all that is no image."""
    structures = [path for path in sorted(root.rglob("*")) if path.is_dir() and _is_structures(path)]
    files = [path for path in _nifti_below(root) if path.parent not in structures]
    for rule in (_VERSE_MASK, _MASK_ENDING):
        named = [path for path in files if rule.search(_plain(path)) and not _is_body(path)]
        if named:
            return named + structures
    found = [path for path in files if not _IMAGE.search(_plain(path)) and not _is_body(path)] + structures
    if not found:
        raise ReadError("holds no mask", file=root, field="--mask", cure="give a folder with masks as .nii or .nii.gz")
    return found


def _is_body(path: Path) -> bool:
    name = _plain(path)
    return bool(_OTHER_MASK.search(name)) and not _VERSE_MASK.search(name)


def _is_image(path: Path) -> bool:
    name = _plain(path)
    return not _MASK_ENDING.search(name) and not _is_body(path) and not _STRUCTURE.match(name)


def _by_key(paths: Sequence[Path], root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        key = match_key(scan_stem(path))
        if key in found:
            raise ReadError(
                f"has the same scan's name as {found[key].relative_to(root)}", file=path,
                cure="rename one of the two, or give the folder of one of them",
            )  # fmt: skip
        found[key] = path
    return found


def _matching(place: str | os.PathLike[str], option: str, masks: dict[str, Path]) -> dict[str, Path]:
    """Images or body masks by the key of the scan that they belong to."""
    root = Path(place)
    if not root.is_dir():
        raise ReadError(
            "is no folder, but --mask is one", file=root, field=option, cure="give the folder of all of them"
        )
    taken = set(masks.values())
    files = [path for path in _nifti_below(root) if path not in taken]
    if option == "--image":
        files = [path for path in files if _is_image(path)]
    else:  # names that say so, or else all that are no image
        files = [path for path in files if _is_body(path)] or [
            path for path in files if not _IMAGE.search(_plain(path))
        ]
    found: dict[str, Path] = {}
    for path in files:
        name = _plain(path)
        key = match_key(_OTHER_MASK.sub("", name) if option == "--subregions" else name)
        if key not in masks:
            continue
        if key in found:
            raise ReadError(
                f"fits the same scan as {found[key].name}", file=path, field=option, cure="leave one of the two there"
            )
        found[key] = path
    if not found:
        raise ReadError(
            f"holds nothing for any of the {len(masks)} scans", file=root, field=option,
            cure=f"name the files after the scans, like {scan_stem(next(iter(masks.values())))}_ct.nii.gz",
        )  # fmt: skip
    return found


# --- reading ---------------------------------------------------------------------------------------------------------


def read_scan(scan: Scan, *, scheme: str = "verse", needs_ct: bool = False) -> Loaded:
    """Read the files of a scan and hold them against each other.

    Args:
        scan: The files.
        scheme: The numbering of the mask (:data:`spinemed.labelling.SCHEMES`).
        needs_ct: Whether an image has to be in Hounsfield units.

    Raises:
        ReadError, VolumeError: a file that cannot be used, other grids, labels out of order, an image of another unit
            where a CT is needed.
    """
    mask = read_label_mask(scan.mask, scheme=scheme)
    if not mask.levels:
        raise VolumeError(
            "holds no vertebra" + (f", only {len(mask.ignored)} other structures" if mask.ignored else ""),
            file=scan.mask, field="data", cure="check the file, and name its numbering with --scheme",
        )  # fmt: skip
    numbered, flags = _checked_order(mask)
    flags = (*mask.flags, *flags)
    image = None
    if scan.image is not None:
        image, told = read_image(scan.image, needs_ct=needs_ct)
        require_same_grid(image, mask.volume)
        flags = (*flags, *image.flags, *told)
    bodies = None
    if scan.bodies is not None:
        bodies, told = _read_bodies(scan.bodies, mask, scheme)
        flags = (*flags, *told)
    return Loaded(mask, image, bodies, numbered, flags)


def read_image(path: Path, *, needs_ct: bool = False) -> tuple[Volume, tuple[str, ...]]:
    """A CT in Hounsfield units, or, with a flag, grey values of anything else.

    Raises:
        ReadError, VolumeError: a file that cannot be read, values that are not finite, no CT where one is needed.
    """
    try:
        return read_ct(path), ()
    except VolumeError as error:
        if error.field != "values" or needs_ct:
            raise
        told = f"the image {error.problem}; its values are shown as they are, as MR or an unscaled CT, and not measured"
        return read_nifti(path), (told,)


def _read_bodies(path: Path, mask: LabelMask, scheme: str) -> tuple[LabelMask, tuple[str, ...]]:
    """The bodies with the vertebrae's numbers, whichever way the file tells them."""
    volume = read_mask(path)
    require_same_grid(mask.volume, volume)
    present = {int(label) for label in np.unique(volume.data) if label}
    if present & set(BODY_SUBREGIONS):
        inside = np.isin(volume.data, BODY_SUBREGIONS)
    elif len(present) == 1:
        inside = volume.data != 0
    elif present:
        own = read_label_mask(path, scheme=scheme)
        inside = own.data == mask.data
        apart = int(np.count_nonzero((own.data != 0) & ~inside))
        if apart > 0.1 * np.count_nonzero(own.data):
            raise VolumeError(
                f"{apart} of its voxels bear another number than the vertebra there", file=path, field="--subregions",
                cure="give the bodies in the numbers of the vertebra mask, or the subregions of SPINEPS or TPTBox",
            )  # fmt: skip
    else:
        inside = np.zeros(mask.shape, dtype=bool)
    data = np.where(inside, mask.data, 0).astype(np.uint8)
    if not data.any():
        raise VolumeError(
            "holds no body of a vertebra in the mask", file=path, field="--subregions",
            cure="give bodies in the vertebrae's numbers, one number for all, or subregions 49 and 50",
        )  # fmt: skip
    found = LabelMask(data, mask.affine, os.fspath(path), volume.sha256)
    lacking = [level for level in mask.levels if level.verse_label not in found.counts and level is not Level.C1]
    told = () if not lacking else ("no body in the body mask for " + ", ".join(map(str, lacking)),)
    return found, told


def _checked_order(mask: LabelMask) -> tuple[bool, tuple[str, ...]]:
    """Whether the labels' places allow their numbers, and what is said of it.

    Raises:
        VolumeError: the labels do not run down the spine.
    """
    rows = [(str(level), level.verse_label, level.ordinal) for level in mask.levels]
    last = max(Level.L6.ordinal, max(ordinal for _, _, ordinal in rows))
    for at, (name, label) in enumerate((("the sacrum", SACRUM), ("the coccyx", COCCYX)), 1):
        if label in mask.counts:
            rows.append((name, label, last + at))
    middles = label_centroids_mm(mask.data, mask.affine, [label for _, label, _ in rows])
    upwards, steps = [], []
    extra = Level.T13 in mask.levels
    for (name, label, place), (below, lower, next_place) in pairwise(rows):
        step = middles[lower] - middles[label]
        if step[2] > 0:
            upwards.append((name, below, lower in (SACRUM, COCCYX)))
        count = next_place - place
        if place < Level.T13.ordinal < next_place and not extra:
            count -= 1
        steps.append((name, below, float(np.linalg.norm(step)), count, lower in (SACRUM, COCCYX)))
    wrong = [pair for pair in upwards if pair[2]] or (upwards if 2 * len(upwards) > len(steps) else [])
    if wrong:
        name, below, _ = wrong[0]
        raise VolumeError(
            f"by its numbers {below} lies above {name}, which no spine has", file=mask.source or None, field="label",
            cure="name the numbering of the tool that wrote the mask with --scheme, or check the file's orientation",
        )  # fmt: skip
    odd = [
        f"{name} and {below} stand {reach:.0f} mm apart, {'too near' if reach < near else 'too far'} for their numbers"
        for name, below, reach, count, sacral in steps
        if not sacral and (reach < (near := _NEAREST_MM * count) or reach > _FARTHEST_MM * count)
    ]
    out_of_line = [f"by its numbers {below} lies above {name}" for name, below, _ in upwards]
    return not odd and not out_of_line, tuple(odd + out_of_line)


def wanted_levels(text: str | None) -> tuple[Level, ...] | None:
    """The vertebrae of `--labels`: VerSe's numbers ("18,19") or names ("T11,L2"); None for all.

    Raises:
        LevelError: a text that names no vertebra.
    """
    if text is None:
        return None
    found: list[Level] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        cure = "write VerSe's numbers (1-25, 28) or names, separated by commas: 18,19 or T11,L2"
        try:
            level = Level.from_verse(int(part)) if part.isdigit() else parse_level(part)
        except LevelError as error:
            raise LevelError(f"'{part}' names no vertebra ({error.problem})", field="--labels", cure=cure) from error
        if level not in found:
            found.append(level)
    if not found:
        raise LevelError("names no vertebra", field="--labels", cure="write 18,19 or T11,L2, or leave it out for all")
    return tuple(sorted(found))
