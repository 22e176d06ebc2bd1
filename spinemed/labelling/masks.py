"""Vertebra masks of any known tool, in VerSe's numbers: `LabelMask`, `read_label_mask`.

Convention: `LabelMask.data` is uint8 with VerSe's labels (1-25, 26 sacrum, 27 coccyx, 28 T13; 0 is background), in the
axis order and memory order of the file. The numbers of other tools are translated on reading, through the label maps of
:mod:`spinemed.anatomy`; what is no vertebra (organs, discs, end-plates) becomes background and is counted in `ignored`.

The schemes:

======================  ===============================================================================================
`verse`                 VerSe 2019/2020, and phantoms
`tptbox`, `spineps`     SPINEPS and TPTBox: as VerSe, 26 is S1 and 29-33 are S2-S6 (all become 26); ribs are
                        40-55, discs 100 + level, end-plates 200 + level
`totalsegmentator`      TotalSegmentator, task `total`, one file for all; or a folder of `vertebrae_L1.nii.gz`, ...
`totalsegmentator_v3`   its task `total_v3`, which has L6 at 26
`vertebrae_pp`          its task `vertebrae_pp`: 1-24 are C1-L5
a :class:`LabelMap`     any other numbering, such as one read from an nnU-Net `dataset.json`
======================  ===============================================================================================

Trap: a mask that was resampled with fill -1024, saved as float, or holds probabilities looks like a mask. Values that
are not integers, are negative, or name nothing in the scheme are refused with their number and an example.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, LabelMap, Level, Region
from spinemed.errors import LevelError, ReadError, VolumeError
from spinemed.tables import parse_json
from spinemed.volume import Volume, read_mask, require_same_grid

__all__ = [
    "COCCYX",
    "SACRUM",
    "SCHEMES",
    "LabelMask",
    "label_counts",
    "labels_at_border",
    "read_label_mask",
    "read_nnunet_labels",
    "vertebra_of_label",
]

SACRUM = 26
COCCYX = 27
_LARGEST = 28

_VERTEBRAE = (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)

# Labels of each tool that are known and are no vertebra. Every other number is refused.
_TOTAL_OTHERS = (*range(1, 25), *range(51, 118))
_TPTBOX_OTHERS = (*range(40, 56), *range(101, 134), *range(201, 234))  # ribs, discs, end-plates


@dataclass(frozen=True)
class _Scheme:
    table: LabelMap
    others: frozenset[int] = frozenset()
    sacral: frozenset[int] = frozenset()
    """Pieces of the sacrum that no `Level` names."""


_SCHEMES: Mapping[str, _Scheme] = {
    "verse": _Scheme(LABEL_MAPS["verse"]),
    "tptbox": _Scheme(LABEL_MAPS["tptbox"], frozenset(_TPTBOX_OTHERS), frozenset([33])),
    "spineps": _Scheme(LABEL_MAPS["tptbox"], frozenset(_TPTBOX_OTHERS), frozenset([33])),
    "totalsegmentator": _Scheme(LABEL_MAPS["totalsegmentator"], frozenset(_TOTAL_OTHERS)),
    "totalsegmentator_v3": _Scheme(LABEL_MAPS["totalsegmentator_v3"], frozenset(_TOTAL_OTHERS)),
    "vertebrae_pp": _Scheme(
        LabelMap(
            "vertebrae_pp", {level: number for level, number in LABEL_MAPS["verse"].labels.items() if number <= 24}
        )
    ),
}
SCHEMES: tuple[str, ...] = tuple(_SCHEMES)
"""Names that `read_label_mask` knows."""


@dataclass(frozen=True, eq=False)
class LabelMask:
    """A mask of vertebrae in VerSe's numbers.

    Args:
        data: (I, J, K) uint8, read-only; 0 background, otherwise VerSe labels up to 28. Files give Fortran order.
        affine: 4×4 voxel-to-world matrix, RAS+ mm.
        source: File or folder it was read from; "" if it was computed.
        sha256: Hash of the bytes read; "" if it was computed, or for a folder.
        scheme: The numbering it was read in.
        counts: Voxels of each VerSe label present, ascending.
        ignored: Voxels of each label of the source that is known and no vertebra (organs, discs, end-plates).
        flags: Sentences about doubtful things.

    Raises:
        VolumeError: not three-dimensional, not uint8, or a label above 28.
    """

    data: NDArray[np.uint8]
    affine: NDArray[np.float64]
    source: str = ""
    sha256: str = ""
    scheme: str = "verse"
    counts: Mapping[int, int] = field(default_factory=dict)
    ignored: Mapping[int, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8:
            raise VolumeError(
                f"a label mask is uint8, found {self.data.dtype}",
                file=self.source or None,
                cure="read it with read_label_mask, or pass data.astype(np.uint8)",
            )
        volume = Volume(self.data, self.affine, "label", self.source)  # the checks of shape and affine
        object.__setattr__(self, "data", volume.data)
        object.__setattr__(self, "affine", volume.affine)
        if not self.counts:
            object.__setattr__(self, "counts", label_counts(volume.data))
        beyond = [label for label in self.counts if label > _LARGEST]
        if beyond:
            raise VolumeError(
                f"the label {beyond[0]} is no VerSe label",
                file=self.source or None,
                cure="use 1-28, or name the scheme",
            )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel sizes in mm along each array axis."""
        return self.volume.spacing_mm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        return self.volume.shape

    @property
    def levels(self) -> tuple[Level, ...]:
        """The vertebrae present (C1 to L6), head to foot; without sacrum and coccyx."""
        found = (vertebra_of_label(label) for label in self.counts)
        return tuple(sorted(level for level in found if level is not None))

    @property
    def has_sacrum(self) -> bool:
        """Whether any sacral voxel is labelled."""
        return SACRUM in self.counts

    @property
    def volume(self) -> Volume:
        """The same data and affine as a :class:`Volume`, to compare grids, reorient or resample."""
        return Volume(self.data, self.affine, "label", self.source, self.sha256, {"flags": self.flags})


def vertebra_of_label(label: int) -> Level | None:
    """The vertebra (C1 to L6, T13) of a VerSe label; None for background, sacrum, coccyx and unknown numbers."""
    return _VERTEBRA_OF_LABEL.get(int(label))


_VERTEBRA_OF_LABEL = {
    number: level for level, number in LABEL_MAPS["verse"].labels.items() if level.region in _VERTEBRAE
}


def label_counts(data: NDArray[np.uint8]) -> dict[int, int]:
    """Voxels of each label that occurs, without background, ascending."""
    # In memory order, without a copy: counting does not depend on the order.
    flat = data.ravel(order="K")
    found = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, 1 << 20):  # bincount widens its input to 64 bits: in pieces, and foreground only
        piece = flat[start : start + (1 << 20)]
        found += np.bincount(piece[piece != 0], minlength=256)
    return {label: int(found[label]) for label in range(1, 256) if found[label]}


def read_label_mask(path: str | os.PathLike[str], *, scheme: str | LabelMap = "verse") -> LabelMask:
    """Read a vertebra mask: one NIfTI file with all labels, or a folder with one mask per structure.

    Args:
        path: `.nii` or `.nii.gz`; or a folder holding `vertebrae_C1.nii.gz` ... (TotalSegmentator), where the level is
            read from the file name and `scheme` is not used.
        scheme: Name of the numbering, see the module docstring, or a label map.

    Raises:
        ReadError: missing, truncated, not NIfTI; a folder without vertebra masks.
        VolumeError: values that are not finite, not integers, negative, or unknown in the scheme; masks of one folder
            on different grids or claiming the same voxels.
    """
    if Path(path).is_dir():
        return _read_structures(Path(path))
    chosen = _scheme(scheme)
    volume = read_mask(path)
    kind = volume.data.dtype
    if kind == np.uint8:
        counts = label_counts(volume.data)
    else:
        labels, voxels = np.unique(volume.data.ravel(order="K"), return_counts=True)
        counts = {int(label): int(n) for label, n in zip(labels, voxels, strict=True) if label}
    moves, ignored = _translate(counts, chosen, path)
    data = volume.data
    if any(old != new for old, new in moves.items()) or kind != np.uint8:
        data = _renumbered(data, moves)
        counts = label_counts(data)
    return LabelMask(
        data,
        volume.affine,
        os.fspath(path),
        volume.sha256,
        chosen.table.name,
        counts,
        ignored,
        volume.flags,
    )


def read_nnunet_labels(path: str | os.PathLike[str]) -> LabelMap:
    """The label map in an nnU-Net `dataset.json`, from the names of its labels (`L1`, `vertebrae_L1`, `sacrum`).

    Raises:
        ReadError: missing, no JSON, or without labels.
        LevelError: a name that is no vertebra, sacrum or coccyx, or that occurs twice.
    """
    cure = "give nnU-Net's dataset.json, whose `labels` name each number"
    try:
        content = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure=cure) from error
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=path, cure=cure) from error
    named = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named:
        raise ReadError("names no labels", file=path, field="labels", cure=cure)
    levels: dict[Level, int] = {}
    regions: dict[int, Region] = {}
    for key, value in named.items():
        # nnU-Net v2 writes name: number, v1 number: name.
        name, number = (value, key) if str(key).isdecimal() else (key, value)
        if not str(number).isdecimal() or len(str(number)) > 9:
            raise ReadError(f"the label of '{name}' is no number ({number!r})", file=path, field="labels", cure=cure)
        if int(number) == 0:
            continue
        level, region = _structure(str(name))
        if region is not None:
            regions[int(number)] = region
        elif level is not None and level not in levels:
            levels[level] = int(number)
        else:
            raise LevelError(
                f"'{name}' is {'given twice' if level else 'no vertebra'}",
                file=path,
                field="labels",
                cure="name labels like C1, T12, L5, T13, sacrum, or translate the masks to VerSe's numbers",
            )
    return LabelMap("dataset.json", levels, regions)


def _scheme(scheme: str | LabelMap) -> _Scheme:
    if isinstance(scheme, LabelMap):
        return _Scheme(scheme)
    if scheme not in _SCHEMES:
        raise VolumeError(f"unknown label scheme '{scheme}'", field="scheme", cure=f"use one of {', '.join(SCHEMES)}")
    return _SCHEMES[scheme]


def _translate(
    counts: Mapping[int, int], scheme: _Scheme, path: str | os.PathLike[str]
) -> tuple[dict[int, int], dict[int, int]]:
    """Old to VerSe label for what is a vertebra, sacrum or coccyx; voxels of what is known and neither.

    Raises:
        VolumeError: a label that the scheme does not know.
    """
    moves: dict[int, int] = {}
    ignored: dict[int, int] = {}
    for label, voxels in counts.items():
        if label in scheme.others:
            ignored[label] = voxels
            moves[label] = 0
        elif label in scheme.sacral:
            moves[label] = SACRUM
        elif label in scheme.table.regions:
            moves[label] = SACRUM if scheme.table.regions[label] is Region.SACRAL else COCCYX
        else:
            try:
                moves[label] = scheme.table.to_level(label).verse_label
            except LevelError as error:
                raise VolumeError(
                    f"the label {label} ({voxels} voxels) names nothing in the scheme '{scheme.table.name}'",
                    file=path,
                    field="data",
                    cure=f"{error.cure}; name the scheme of the tool that wrote the mask: {', '.join(SCHEMES)}",
                ) from error
    return moves, ignored


def _renumbered(data: NDArray[Any], moves: Mapping[int, int]) -> NDArray[np.uint8]:
    """The data in VerSe's numbers and the same memory order."""
    table = np.zeros(max(moves, default=0) + 1, dtype=np.uint8)
    for old, new in moves.items():
        table[old] = new
    flat = data.ravel(order="K")
    order = "F" if data.flags.f_contiguous else "C"
    if not (data.flags.f_contiguous or data.flags.c_contiguous):
        flat = data.ravel(order="C")
    renamed: NDArray[np.uint8] = table[flat].reshape(data.shape, order=order)
    return renamed


# --- one mask per structure ------------------------------------------------------------------------------------------

_NAME = re.compile(r"^(?:vertebrae?[_-]?)?([CTL]\d{1,2})$", re.IGNORECASE)


def _structure(name: str) -> tuple[Level | None, Region | None]:
    """The level or the whole region that a structure's name stands for; neither for an organ."""
    text = name.strip()
    if text.lower() in ("sacrum", "vertebrae_s1", "s1"):
        return None, Region.SACRAL
    if text.lower() in ("coccyx", "cocc"):
        return Level.COCCYX, None
    match = _NAME.match(text)
    if match is None:
        return None, None
    found = next((level for level in Level if level.value == match[1].upper()), None)
    return (found, None) if found in _VERTEBRA_OF_LABEL.values() else (None, None)


def _read_structures(folder: Path) -> LabelMask:
    """One mask per structure, as TotalSegmentator writes them, joined."""
    found: list[tuple[Path, int]] = []
    others = 0
    for file in sorted(path for path in folder.iterdir() if path.name.endswith((".nii.gz", ".nii"))):
        level, region = _structure(file.name.removesuffix(".gz").removesuffix(".nii"))
        if level is not None:
            found.append((file, level.verse_label))
        elif region is not None:
            found.append((file, SACRUM))
        else:
            others += 1
    if not any(label in _VERTEBRA_OF_LABEL for _, label in found):
        raise ReadError(
            f"holds no mask of a vertebra ({others} other NIfTI files)",
            file=folder,
            cure="give a folder with vertebrae_C1.nii.gz ... vertebrae_L5.nii.gz, or one file with all labels",
        )
    first = read_mask(found[0][0])
    joined = np.zeros(first.shape, dtype=np.uint8, order="F")
    flags: list[str] = []
    for file, label in found:
        volume = read_mask(file)
        require_same_grid(first, volume)
        here = volume.data != 0
        taken = here & (joined != 0) & (joined != label)
        if taken.any():
            other = int(joined[taken][0])
            raise VolumeError(
                f"{int(taken.sum())} voxels also belong to label {other} of another file",
                file=file,
                cure="use masks that do not overlap, or one file with all labels",
            )
        joined[here] = label
        flags += [f"{file.name}: {flag}" for flag in volume.flags]
    if others:
        flags.append(f"{others} masks of other structures in the folder were not read")
    return LabelMask(joined, first.affine, os.fspath(folder), "", "structures", {}, {}, tuple(flags))


def labels_at_border(mask: LabelMask, labels: Collection[int] | None = None) -> dict[int, str]:
    """Labels that touch a face of the volume, with the body direction of the first such face (L, R, P, A, I or S).

    A vertebra that touches the upper or lower face is cut by the field of view: what is outside is unknown.
    """
    opposite = dict(zip("LRPAIS", "RLAPSI", strict=True))
    wanted = None if labels is None else set(labels)
    found: dict[int, str] = {}
    for axis, code in enumerate(mask.volume.codes):
        for place, side in ((-1, code), (0, opposite[code])):
            for label in label_counts(np.moveaxis(mask.data, axis, 0)[place]):
                # Head and foot faces tell more than lateral ones: they decide whether a vertebra is cut.
                if (wanted is None or label in wanted) and (label not in found or side in "IS"):
                    found[label] = side
    return dict(sorted(found.items()))
