"""A folder of images that may be read and nothing else: handles instead of paths, symbolic links refused.

Convention: a handle is 16 hexadecimal digits, made of the place of a file below the root; it stays the same as long as
the file keeps its place. Only `.nii` and `.nii.gz` have one. Hidden files and links have none and are counted.

Trap: between the listing and the reading a folder could be exchanged for a link. So every part of a path is opened
anew without following links, and a tool works on a private copy of what was opened.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spinemed.errors import ReadError, VolumeError
from spinemed.tools.reply import InputFact

__all__ = ["Header", "ImageFolder", "Place", "read_header"]

_HANDLE = re.compile(r"[0-9a-f]{16}")
_CHUNK = 1 << 20
_HEAD = 540  # bytes of a NIfTI-2 header, the longer of the two
_FLOATING = {16, 32, 64, 128, 1536, 1792, 2048, 2304}  # NIfTI's codes of floating, complex and colour types


@dataclass(frozen=True)
class Header:
    """What the head of a NIfTI file claims: voxels along each axis, their size in its unit, and the kind of values."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    values: str

    @property
    def voxels(self) -> int:
        """Number of voxels claimed."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Place:
    """One file: its handle, the handle that files of its folder share, and its place below the root."""

    handle: str
    group: str
    relative: str
    bytes: int


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class ImageFolder:
    """The images below one folder.

    Args:
        root: The folder; given by the operator, so it may itself be reached through a link.
        most: So many files at most are listed.

    Raises:
        ReadError: There is no such folder.
    """

    def __init__(self, root: str | os.PathLike[str], *, most: int = 10_000) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise ReadError("is no folder", file=root, field="--root", cure="name a folder that holds images")
        self.most = most
        self.left_out: Counter[str] = Counter()
        """Why files have no handle, counted by the last :meth:`places`."""

    def places(self) -> list[Place]:
        """All images with their handles, sorted by their place."""
        self.left_out = Counter()
        found: list[Place] = []
        for place in self._walk(self.root, ""):
            if len(found) == self.most:
                self.left_out[f"beyond the first {self.most} files"] += 1
                break
            found.append(place)
        return found

    def _walk(self, folder: Path, below: str) -> Iterator[Place]:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            self.left_out["folder not readable"] += 1
            return
        for entry in entries:
            relative = f"{below}{entry.name}"
            if entry.name.startswith("."):
                self.left_out["hidden"] += 1
            elif entry.is_symlink():
                self.left_out["symbolic link"] += 1
            elif entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), f"{relative}/")
            elif not entry.is_file(follow_symlinks=False) or not entry.name.endswith((".nii", ".nii.gz")):
                self.left_out["no NIfTI file"] += 1
            else:
                size = entry.stat(follow_symlinks=False).st_size
                yield Place(_digest(relative), _digest(below), relative, size)

    def place(self, handle: str, field: str = "handle") -> Place:
        """The file of a handle.

        Raises:
            ReadError: No file has this handle, or it is no handle.
        """
        if _HANDLE.fullmatch(handle):
            for place in self.places():
                if place.handle == handle:
                    return place
        shown = handle if len(handle) <= 40 else f"{handle[:40]}..."
        raise ReadError(f"no image has the handle {shown!r}", field=field, cure="take a handle from list_images")

    def descriptor(self, place: Place) -> int:
        """A descriptor of the file, opened without following any link below the root; the caller closes it.

        Raises:
            ReadError: A part of the path is a link or gone, or it is no regular file.
        """
        *folders, name = place.relative.split("/")
        on_the_way: list[int] = []
        try:
            on_the_way.append(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY))
            for part in folders:
                on_the_way.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=on_the_way[-1]))
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=on_the_way[-1])
        except OSError as error:
            raise ReadError(
                f"the image {place.handle} cannot be opened", cure="take a handle from list_images"
            ) from error
        finally:
            for each in on_the_way:
                os.close(each)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise ReadError(f"the image {place.handle} is no regular file", cure="take a handle from list_images")
        return opened

    def header(self, place: Place) -> Header:
        """The head of a file, read without its voxels.

        Raises:
            ReadError: The file cannot be opened, or is no NIfTI file.
        """
        with os.fdopen(self.descriptor(place), "rb") as stream:
            try:
                if place.relative.endswith(".gz"):
                    with gzip.open(stream) as unpacked:
                        head = unpacked.read(_HEAD)
                else:
                    head = stream.read(_HEAD)
            except (OSError, EOFError, zlib.error) as error:
                raise ReadError(f"the image {place.handle} is damaged", cure="take another image") from error
        found = read_header(head)
        if found is None:
            raise ReadError(f"the image {place.handle} is no NIfTI file", cure="take another image")
        return found

    def copy(self, place: Place, target: Path, *, most_bytes: int, most_voxels: int, field: str) -> InputFact:
        """Copy a file to a private place and hash it.

        Raises:
            ReadError: It cannot be opened, or is no NIfTI file.
            VolumeError: It is larger than allowed.
        """
        voxels = self.header(place).voxels
        hashed, size = hashlib.sha256(), 0
        with os.fdopen(self.descriptor(place), "rb") as stream, target.open("xb") as out:
            while piece := stream.read(_CHUNK):
                size += len(piece)
                if size > most_bytes:
                    break
                hashed.update(piece)
                out.write(piece)
        if size > most_bytes or voxels > most_voxels:
            raise VolumeError(
                f"the image {place.handle} is larger than {most_bytes} bytes or {most_voxels} voxels",
                field=field,
                cure="take a smaller image, or ask the operator to crop it",
            )
        return InputFact(handle=place.handle, sha256=hashed.hexdigest(), bytes=size)


def read_header(head: bytes) -> Header | None:
    """Shape, spacing and kind of values from the first bytes of a NIfTI-1 or NIfTI-2 file; None if it is neither.

    Source: nifti1.h and nifti2.h (offsets of dim, datatype and pixdim).
    """
    for order in "<>":
        for size, dim, kind, pixdim in ((348, "40s8h", "70sh", "76s8f"), (540, "16s8q", "12sh", "104s8d")):
            if len(head) < size or struct.unpack_from(f"{order}i", head)[0] != size:
                continue
            axes = struct.unpack_from(order + dim, head)[1:]
            if not 1 <= axes[0] <= 7 or min(axes[1 : axes[0] + 1]) < 1:
                return None
            code = struct.unpack_from(order + kind, head)[1]
            steps = struct.unpack_from(order + pixdim, head)[2 : axes[0] + 2]
            if not all(map(math.isfinite, steps)):
                return None
            values = "floating" if code in _FLOATING else "integer"
            return Header(tuple(axes[1 : axes[0] + 1]), tuple(round(float(step), 4) for step in steps), values)
    return None
