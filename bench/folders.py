"""A folder that appears whole or not at all.

Convention: the work is done in a hidden folder beside the target, which takes the target's name at the end; on an
error it is removed, and what stood at the target stays.

Trap: the hidden folder of a killed process stays behind; the next run removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinemed.errors import ReadError
from spinemed.run import make_folder
from spinemed.tables import MANIFEST, atomic_folder, read_manifest

__all__ = ["whole_folder"]


@contextmanager
def whole_folder(target: str | os.PathLike[str], kind: str) -> Iterator[Path]:
    """An empty folder that becomes `target` when the block ends without an error.

    Args:
        target: Absent, empty, or a finished folder of the same kind, which is then replaced.
        kind: The kind in the manifest of an earlier folder.

    Raises:
        ReadError: The target holds something else.
    """
    root = Path(os.path.abspath(target))  # "." has no name to put a hidden folder beside
    if root.is_file():
        raise ReadError("is a file, expected a folder", file=root, cure="give another --out")
    if (root / MANIFEST).is_file():
        read_manifest(root, kind)
    elif root.exists() and any(root.iterdir()):
        raise ReadError(f"holds files that are no {kind}", file=root, cure="give another --out")
    make_folder(root.parent)
    with atomic_folder(root) as partial:
        yield partial
