"""Predictions of any tool beside the cases of a reference: matched by name.

Convention: a prediction belongs to a case if their names are equal once letter case, `-` against `_`, a leading `sub-`
and the endings that tools add are taken off. Nothing is matched by similarity: a file that fits no case is listed in
`surplus`, a case without a file in `missing`.

What is found, at any depth of the folder:

- `CASE.nii.gz` with all labels: nnU-Net, TotalSegmentator `--ml`, the challenge's submissions;
- `CASE_seg-vert_msk.nii.gz`: VerSe layout and SPINEPS, whose `seg-spine` and `seg-subreg` masks are left alone;
- `CASE/vertebrae_L1.nii.gz` ... or `CASE/segmentations/vertebrae_L1.nii.gz`: TotalSegmentator, one mask a structure;
- `CASE/segmentation.nii.gz` and the like, named after their folder;
- `CASE_seg-subreg_ctd.json`, `CASE_ctd.json`, `CASE_poi.json`, `CASE.json` (the first of them): centroids, used before
  those measured on a mask.

Trap: an image lying beside its mask (`CASE_ct.nii.gz`) has the name of the case too; it is taken for a prediction only
if there is nothing better, and then fails as a mask by its values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinemed.anatomy import LabelMap
from spinemed.errors import ReadError
from spinemed.labelling.dataset import VerseCase, case_key
from spinemed.labelling.masks import read_nnunet_labels

__all__ = ["Prediction", "Predictions", "match_key", "match_predictions", "prediction_scheme"]

_ENDING = re.compile(
    r"(?:(_mod_ct)?(_seg_(vert|spine|subreg|vb))?_(msk|ctd|poi)|_iso_ctd|_dseg|_seg|_mask|_labels?|_preds?"
    r"|_predictions?|_totalseg(mentator)?|_0000|_ct)$"
)
_STRUCTURE = re.compile(r"^vertebrae?_[CTL]\d{1,2}\.nii(\.gz)?$", re.IGNORECASE)
_GENERIC = {"segmentation", "segmentations", "vertebrae", "seg", "mask", "pred", "prediction", "labels"}
_OTHER_MASKS = re.compile(r"_seg-(?!vert)[A-Za-z0-9]+(_[A-Za-z0-9-]+)?_msk$|_unc$|_logit|_softmax|_snp$", re.IGNORECASE)
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_NAMED_MASK = re.compile(r"(_seg-vert_msk|_seg|_msk|_mask|_dseg)$", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(_ct|_0000)$", re.IGNORECASE)


@dataclass(frozen=True)
class Prediction:
    """The files that a tool wrote for one case.

    Args:
        case: Name of the reference case.
        mask: File with all labels, or folder with one mask a structure; None if only centroids were written.
        centroids: VerSe centroid file, if there is one.
    """

    case: str
    mask: Path | None
    centroids: Path | None


@dataclass(frozen=True)
class Predictions:
    """A prediction folder against the cases of a reference.

    Args:
        found: One entry per case that has a prediction, in the order of the cases.
        missing: Names of the cases without one. They count as empty predictions, never as absent cases.
        surplus: Files that fit no case.
    """

    found: tuple[Prediction, ...]
    missing: tuple[str, ...]
    surplus: tuple[Path, ...]

    def of(self, case: str) -> Prediction | None:
        """The prediction of a case, by its name; None if there is none."""
        return next((prediction for prediction in self.found if prediction.case == case), None)


def match_key(name: str) -> str:
    """The name of a case or of a file (without `.nii.gz`, `.json`) as it is compared."""
    key = case_key(name).removeprefix("sub_")
    while (match := _ENDING.search(key)) and match.start() > 0:
        key = key[: match.start()]
    return key


def match_predictions(folder: str | os.PathLike[str], cases: Sequence[VerseCase]) -> Predictions:
    """Find the prediction of each case in a folder. Only names are read, no file is opened.

    Raises:
        ReadError: no such folder, no prediction at all, two equally good files for one case, or two cases whose names
            differ only in what is not compared.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError("no such folder", file=folder, cure="give the folder that holds the predictions")
    keys: dict[str, str] = {}
    for case in cases:
        key = match_key(case.name)
        if key in keys:
            raise ReadError(
                f"the cases {keys[key]} and {case.name} have the same name for predictions",
                file=case.mask or case.image,
                cure="give the folder of one data set, or rename one of the two",
            )
        keys[key] = case.name
    masks: dict[str, list[tuple[int, Path]]] = {}
    centroids: dict[str, list[tuple[int, Path]]] = {}
    surplus: list[Path] = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        placed = _place(path, root)
        if placed is None:
            continue
        name, rank, place = placed
        if match_key(name) not in keys:
            surplus.append(place)
            continue
        owner = keys[match_key(name)]
        pool = centroids if path.name.endswith(".json") else masks
        if (rank, place) not in pool.setdefault(owner, []):
            pool[owner].append((rank, place))
    found = []
    for name in keys.values():
        if name in masks or name in centroids:
            found.append(Prediction(name, _best(masks.get(name, []), name), _best(centroids.get(name, []), name)))
    if cases and not found:
        seen = f", for instance {surplus[0].name}" if surplus else ""
        raise ReadError(
            f"holds no prediction for any of the {len(cases)} cases ({len(surplus)} files fit none{seen})",
            file=root,
            cure=f"name the predictions after the cases, like {cases[0].name}.nii.gz",
        )
    missing = tuple(case.name for case in cases if case.name not in {prediction.case for prediction in found})
    return Predictions(tuple(found), missing, tuple(dict.fromkeys(surplus)))


def prediction_scheme(folder: str | os.PathLike[str], scheme: str) -> str | LabelMap:
    """The scheme for `read_label_mask`: `nnunet` is read from the `dataset.json` in the folder, others stay names.

    Raises:
        ReadError, LevelError: the `dataset.json` is missing or names no vertebrae.
    """
    return read_nnunet_labels(Path(folder) / "dataset.json") if scheme == "nnunet" else scheme


def _place(path: Path, root: Path) -> tuple[str, int, Path] | None:
    """Name of the case a file may belong to, its rank (lower is better) and the path to read; None if it is neither."""
    if path.name.endswith(".json"):
        stem = path.name.removesuffix(".json")
        for rank, ending in enumerate(("_seg-subreg_ctd", "ctd", "_poi")):
            if stem.endswith(ending):
                return stem, rank, path
        # A plain CASE.json is centroids only where it is named exactly as the case; other JSON files are reports.
        return (stem, 3, path) if _ENDING.search(case_key(stem)) is None and stem not in _REPORTS else None
    if not _NIFTI.search(path.name):
        return None
    if _STRUCTURE.match(path.name):
        holder = path.parent
        named = holder.parent if holder.name.lower() in _GENERIC and holder != root else holder
        return named.name, 0, holder
    stem = _NIFTI.sub("", path.name)
    if _OTHER_MASKS.search(stem):
        return None
    if _is_structure_sibling(path):
        return None
    if stem.lower() in _GENERIC:
        return path.parent.name, 1, path
    return stem, 0 if _NAMED_MASK.search(stem) else 2 if _IMAGE_NAME.search(stem) else 1, path


_REPORTS = {"dataset", "plans", "dataset_fingerprint", "predict_from_raw_data_args", "run", "manifest", "statistics"}


def _is_structure_sibling(path: Path) -> bool:
    """Another organ in a folder of one mask a structure: read, or left out, with the folder."""
    return any(_STRUCTURE.match(other) for other in os.listdir(path.parent))


def _best(candidates: list[tuple[int, Path]], case: str) -> Path | None:
    if not candidates:
        return None
    rank = min(rank for rank, _ in candidates)
    best = [path for r, path in candidates if r == rank]
    if len(best) > 1:
        raise ReadError(
            f"a second prediction for the case {case}; the first is {best[0]}",
            file=best[1],
            cure="keep one prediction per case in the folder",
        )
    return best[0]
