"""A folder that appears whole or not at all.

Convention: the work is done in a hidden folder beside the target, which takes the target's name at the end; on an
error it is removed, and what stood at the target stays.

Trap: the hidden folder of a killed process stays behind; the next run removes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinemed.errors import ReadError
from spinemed.tables import MANIFEST, read_manifest

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
    root = Path(target)
    if root.is_file():
        raise ReadError("is a file, expected a folder", file=root, cure="give another --out")
    if (root / MANIFEST).is_file():
        read_manifest(root, kind)
    elif root.exists() and any(root.iterdir()):
        raise ReadError(f"holds files that are no {kind}", file=root, cure="give another --out")
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if root.exists():
        shutil.rmtree(root)
    partial.replace(root)
