"""A folder of VerSe scans: which files belong to one case, and which release it is.

Convention: the two releases are told apart by their file names, never by a switch.

===========  ==========================================================================================================
`subject`    BIDS-like: `rawdata/sub-x/sub-x[_dir-..|_split-..]_ct.nii.gz`, `derivatives/sub-x/.._seg-vert_msk.nii.gz`
             and `.._seg-subreg_ctd.json`, at any depth (one split, or training, validation and test together)
`miccai`     `NAME.nii.gz`, `NAME_seg.nii.gz` and `NAME_iso-ctd.json` (2020) or `NAME_ctd.json` (2019), at any depth
`flat`       `CASE.nii.gz` is a mask each, as nnU-Net writes predictions; with `labelsTr` (`labelsTs`) below, its
             `imagesTr` (`imagesTs`) are the images; `CASE.json` holds centroids
===========  ==========================================================================================================

Series of one patient (`_split-` in the subject release, a second id in the MICCAI names: `verse400_verse090_CT-iso`)
are cases of their own that share `patient`; intervals and splits go by patient.

Trap: the releases hold the same scans with centroids in different coordinates. A folder that mixes them is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from spinemed.errors import ReadError
from spinemed.labelling.bodies import body_centroids
from spinemed.labelling.centroids import CentroidSet, read_centroids
from spinemed.labelling.masks import LabelMask

__all__ = ["Release", "VerseCase", "case_key", "read_case_centroids", "read_verse_folder"]

Release = Literal["subject", "miccai", "flat"]
_IMAGE, _MASK, _CENTROIDS = "image", "mask", "centroids"


@dataclass(frozen=True)
class VerseCase:
    """One scan and its files.

    Args:
        name: Unique in the folder: the file name without its endings, e.g. `sub-verse400_split-verse090`.
        patient: Cluster of intervals and splits, e.g. `sub-verse400`.
        image: The CT, if there is one.
        mask: The vertebra mask, if there is one.
        centroids: The centroid file; None where it is missing (see :func:`read_case_centroids`).
        release: How the files are named, and so how the centroids are to be read.
    """

    name: str
    patient: str
    image: Path | None
    mask: Path | None
    centroids: Path | None
    release: Release

    @property
    def flags(self) -> tuple[str, ...]:
        """What the case lacks, in words."""
        parts = ((self.image, "no image"), (self.mask, "no vertebra mask"), (self.centroids, "no centroid file"))
        return tuple(text for path, text in parts if path is None)


def read_verse_folder(folder: str | os.PathLike[str]) -> tuple[VerseCase, ...]:
    """All cases of a folder, by name. Only names are read, no file is opened.

    Raises:
        ReadError: no such folder, no case in it, both releases mixed, or two files for one part of a case.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError("no such folder", file=folder, cure="give the folder that holds the scans")
    files = sorted(path for path in root.rglob("*") if path.is_file() and _relevant(path, root))
    subject = [(path, match) for path in files if (match := _SUBJECT.match(path.name))]
    marked = [path for path in files if _MICCAI_MASK.search(path.name) or _MICCAI_CENTROIDS.search(path.name)]
    marked = [path for path in marked if not path.name.startswith("sub-")]  # other tools' files beside a BIDS folder
    if subject and marked:
        raise ReadError(
            f"mixes the subject-based release ({subject[0][0].name}) with the MICCAI release ({marked[0].name})",
            file=root,
            cure="give one release: they hold the same scans with centroids in different coordinates",
        )
    if subject:
        cases = _cases(((path, match["stem"], _SUBJECT_PARTS[match["what"]]) for path, match in subject), "subject")
    elif marked:
        cases = _cases((_miccai_part(path) for path in files), "miccai")
    else:
        cases = _cases(_flat_parts(files), "flat")
    if not cases:
        raise ReadError(
            "holds no scan, mask or centroid file",
            file=root,
            cure="give a VerSe folder (sub-*_ct.nii.gz with sub-*_seg-vert_msk.nii.gz, or *_seg.nii.gz), or masks",
        )
    return cases


def read_case_centroids(case: VerseCase, *, mask: LabelMask | None = None, derive: bool = False) -> CentroidSet:
    """The centroids of a case in world mm: from its file, or, on request, from its mask.

    Args:
        case: The case.
        mask: Its mask, if it was read already; spares reading it again.
        derive: Where the centroid file is missing, estimate the bodies' centroids from `mask`; the result says so in
            its flags.

    Raises:
        ReadError: the centroid file is missing and `derive` is not set, or it is damaged.
        VolumeError: the file does not belong to the scan, or there is neither mask nor image to place it in.
    """
    if case.centroids is not None:
        return read_centroids(case.centroids, image_or_mask=mask or case.mask or case.image)
    if not derive:
        raise ReadError(
            f"the case {case.name} has no centroid file",
            file=case.mask or case.image,
            cure="fetch it (*_ctd.json), or ask for centroids derived from the mask",
        )
    if mask is None:
        raise ReadError(
            f"the case {case.name} has neither a centroid file nor a mask to derive it from",
            file=case.image,
            cure="fetch one of them",
        )
    found = body_centroids(mask)
    return replace(found, flags=("no centroid file: derived from the mask (body estimate)", *found.flags))


# --- names -----------------------------------------------------------------------------------------------------------

_SUBJECT = re.compile(
    r"^(?P<stem>sub-[A-Za-z0-9]+(?:_(?!seg-)[A-Za-z0-9]+-[A-Za-z0-9-]+)*)"
    r"_(?P<what>ct|seg-vert_msk|seg-subreg_ctd|seg-vb_ctd)(?P<end>\.nii\.gz|\.nii|\.json)$"
)
_SUBJECT_PARTS = {"ct": _IMAGE, "seg-vert_msk": _MASK, "seg-subreg_ctd": _CENTROIDS, "seg-vb_ctd": _CENTROIDS}
_MICCAI_MASK = re.compile(r"_seg\.nii(\.gz)?$", re.IGNORECASE)
_MICCAI_CENTROIDS = re.compile(r"([_-]iso-ctd|_ctd)\.json$", re.IGNORECASE)
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_PATIENT = re.compile(r"^(?:sub-[A-Za-z0-9]+|(?:verse|gl)\d+)", re.IGNORECASE)
_NNUNET_IMAGE = re.compile(r"_0000$")
_NOT_CENTROIDS = {"dataset.json", "plans.json", "dataset_fingerprint.json", "predict_from_raw_data_args.json"}


def _relevant(path: Path, root: Path) -> bool:
    """A NIfTI file or a JSON file that may hold centroids, and not hidden."""
    if any(part.startswith(".") for part in path.relative_to(root).parts):
        return False
    name = path.name
    if name.endswith(".json"):
        return name not in _NOT_CENTROIDS and not name.endswith("_ct.json")  # sidecars of images are no centroids
    return bool(_NIFTI.search(name))


def _miccai_part(path: Path) -> tuple[Path, str, str]:
    name = path.name
    if match := _MICCAI_CENTROIDS.search(name):
        return path, name[: match.start()], _CENTROIDS
    if match := _MICCAI_MASK.search(name):
        return path, name[: match.start()], _MASK
    if name.endswith(".json"):
        return path, name.removesuffix(".json"), _CENTROIDS
    return path, _NIFTI.sub("", name), _IMAGE


def _flat_parts(files: Iterable[Path]) -> Iterable[tuple[Path, str, str]]:
    for path in files:
        stem = _NIFTI.sub("", path.name).removesuffix(".json")
        if path.name.endswith(".json"):
            yield path, stem, _CENTROIDS
        elif path.parent.name.lower().startswith("images") or _NNUNET_IMAGE.search(stem):
            yield path, _NNUNET_IMAGE.sub("", stem), _IMAGE
        else:
            yield path, stem, _MASK


def case_key(name: str) -> str:
    """The name as it is compared: without case, `-` as `_`. VerSe writes some names both ways within one case."""
    return name.lower().replace("-", "_")


def patient_of(stem: str) -> str:
    """The patient in a case name: its VerSe id or BIDS subject; the whole name where it has neither.

    Other names say nothing about patients: `case_001` and `case_002` must not become one cluster.
    """
    match = _PATIENT.match(stem)
    return stem[: match.end()] if match else stem


def _cases(parts: Iterable[tuple[Path, str, str]], release: Release) -> tuple[VerseCase, ...]:
    found: dict[str, dict[str, Path]] = {}
    stems: dict[tuple[str, str], str] = {}
    for path, stem, part in parts:
        key = case_key(stem)
        case = found.setdefault(key, {})
        if part in case:
            raise ReadError(
                f"a second {part} of the case {stem}; the first is {case[part]}",
                file=path,
                cure="keep one of the two, or give the folder of one split or data set",
            )
        case[part] = path
        stems[key, part] = stem
    cases = []
    for key, files in found.items():
        # JSON alone is no case in a flat folder: it may be anything.
        if release == "flat" and set(files) == {_CENTROIDS} and not _MICCAI_CENTROIDS.search(files[_CENTROIDS].name):
            continue
        # Where a case is spelt in two ways, the image decides its name.
        stem = next(stems[key, part] for part in (_IMAGE, _MASK, _CENTROIDS) if part in files)
        cases.append(
            VerseCase(stem, patient_of(stem), files.get(_IMAGE), files.get(_MASK), files.get(_CENTROIDS), release)
        )
    return tuple(sorted(cases, key=lambda case: case.name))
