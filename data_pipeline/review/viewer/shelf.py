"""Volumes held ready in memory, and de-identified NIfTI files made of them.

Convention: a volume is found by the hash of its file; the bytes on disk must have that hash. The shelf keeps the most
recently used ones up to a limit and is shared by all threads of the server. What a browser gets as NIfTI is written
anew from voxels and affine: no free text, no extension and no name of the original file can come along.

Trap: the limit counts what is held, not what is being read. Reading is serialised for that reason.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from data_pipeline.review.viewer.corrections import Labelling
from data_pipeline.review.viewer.films import Film, is_film, read_film
from data_pipeline.review.viewer.layers import Held, hold
from spinemed.errors import ReadError, VolumeError
from spinemed.labelling import LabelMask, read_label_mask
from spinemed.volume import read_nifti, write_nifti

__all__ = ["LARGEST_NIFTI", "Shelf", "nifti_of"]

LARGEST_NIFTI = 256 << 20
"""Voxel bytes above which a volume is shown by layers only: a browser holds it several times over."""

_LABELLINGS = 64


class Shelf:
    """The volumes of a server process.

    Args:
        limit_bytes: Memory for voxels.
    """

    def __init__(self, limit_bytes: int = 1 << 30) -> None:
        self.limit = limit_bytes
        self._kept: OrderedDict[str, Held | Film | LabelMask] = OrderedDict()
        self._labellings: OrderedDict[str, Labelling] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, path: Path, sha256: str, modality: str) -> Held | Film:
        """A volume or film.

        Raises:
            ReadError: the file is missing, damaged, or its bytes have changed.
            VolumeError: it cannot be used.
        """
        with self._lock:
            found = self._kept.get(sha256)
            if found is None:
                found = read_film(path) if is_film(path) else _volume(path, modality)
                read = found.held.volume.sha256 if isinstance(found, Film) else found.volume.sha256
                _same(read, sha256)
                self._keep(sha256, found)
            self._kept.move_to_end(sha256)
        if isinstance(found, LabelMask):
            raise ReadError("is a mask, not a picture", field="image", cure="import the run again")
        return found

    def mask(self, path: Path, sha256: str, scheme: str) -> LabelMask:
        """A mask of vertebrae in VerSe's numbers.

        Raises:
            ReadError: the file is missing, damaged, its bytes have changed, or the scheme is unknown.
            VolumeError: a label that the scheme does not know.
        """
        key = f"{scheme}:{sha256}"
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = read_label_mask(path, scheme=scheme)
                _same(found.sha256, sha256)
                self._keep(key, found)
            self._kept.move_to_end(key)
        assert isinstance(found, LabelMask)
        return found

    def labelling(self, key: str, make: Callable[[], Labelling]) -> Labelling:
        """A mask's imported labelling, whose body centroids take a second to estimate: made once, kept for 64 masks."""
        with self._lock:
            found = self._labellings.get(key)
            if found is None:
                found = self._labellings[key] = make()
                while len(self._labellings) > _LABELLINGS:
                    self._labellings.popitem(last=False)
            self._labellings.move_to_end(key)
            return found

    def _keep(self, key: str, thing: Held | Film | LabelMask) -> None:
        self._kept[key] = thing
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > self.limit:
            self._kept.popitem(last=False)


def nifti_of(held: Held, folder: Path) -> Path:
    """A de-identified NIfTI file of a volume, made once and kept by hash.

    Raises:
        VolumeError: the volume is larger than :data:`LARGEST_NIFTI`.
    """
    if held.volume.data.nbytes > LARGEST_NIFTI:
        raise VolumeError("the volume is too large for a browser", field="volume", cure="scroll through its layers")
    made = folder / f"{held.volume.sha256}.nii.gz"
    if not made.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_nifti(held.volume, made)
    return made


def _volume(path: Path, modality: str) -> Held:
    return hold(read_nifti(path, unit="HU" if modality == "CT" else "a.u."))


def _same(found: str, expected: str) -> None:
    if found != expected:
        raise ReadError("the file has changed since it was imported", field="sha256", cure="import the run again")


def _size(thing: Held | Film | LabelMask) -> int:
    if isinstance(thing, LabelMask):
        return thing.data.nbytes
    return (thing.held if isinstance(thing, Film) else thing).size_bytes
