"""What the keys of a run hash: the files of its sources, the code and lists that shape the data, library versions.

Convention: hashes of bytes by relative path, so that another place of the checkout or of the sources is the same key.

Trap: what a stage uses of the library and stands neither in a whole room nor in the list below is in no key; a build
made before it changed would be taken for finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import spinemed
from data_pipeline.sources import source_path
from spinemed.records import Source
from spinemed.tables import file_sha256

__all__ = ["code_files", "code_sha256", "fingerprint", "folder_sha256", "shaping_versions", "source_keys"]

_PACKAGES = (
    "numpy", "pyarrow", "pillow", "imagehash", "lxml", "nibabel", "pdfplumber", "pydicom", "pypdfium2", "rensa",
    "scipy",
)  # fmt: skip
"""Packages that read sources or decide which rows are alike."""
_ROOMS = ("anatomy", "chat", "geometry", "phantom", "questions", "records", "volume")
_FILES = (
    "marks.py", "overlap.py", "tables.py", "labelling/bodies.py", "labelling/centroids.py",
    "labelling/dataset.py", "labelling/facts.py", "labelling/masks.py", "measure/grades.py",
)  # fmt: skip
"""Of the library: what the stages use besides whole rooms."""
_PATTERNS = ("*.py", "*.txt", "*.csv", "licences.yaml", "terms.yaml")
"""Code, and the tables and lists that it reads; templates, criteria and prompts stand in the keys by themselves."""


def fingerprint(root: Path) -> dict[str, str]:
    """Hash of every file of a source, by path relative to it."""
    files = [root] if root.is_file() else [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix() if path != root else path.name: file_sha256(path) for path in files}


def source_keys(sources_file: Path, sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Declaration and files of each source; phantoms are made of their declaration alone."""
    return [
        {
            "source": source.model_dump(mode="json"),
            "files": {} if source.kind == "phantom" else fingerprint(source_path(sources_file, source)),
        }
        for source in sources
    ]


def folder_sha256(folder: Path, pattern: str = "*.yaml") -> str:
    """Hash of the files of a folder that fit a pattern, with their relative paths."""
    return _sha256_of((file.relative_to(folder), file) for file in sorted(folder.rglob(pattern)))


def shaping_versions() -> dict[str, str]:
    """Versions of the packages that shape the data: another one may read a page or a picture otherwise."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def code_files() -> list[Path]:
    """The files whose bytes shape the data besides sources and settings: code, lists of unsafe words and injections,
    licences, the phantoms' tables. The pages of the review are none of them: no stage uses them, and a build must not
    be made again because a page changed."""
    own, home = Path(__file__).parents[1], Path(spinemed.__file__).parent
    rooms = [own, *(home / name for name in _ROOMS)]
    found = {file for room in rooms for pattern in _PATTERNS for file in room.rglob(pattern)}
    pages = own / "review"
    return [*sorted(file for file in found if not file.is_relative_to(pages)), *(home / name for name in _FILES)]


def code_sha256() -> str:
    """Hash of what shapes the data, so that a build made by other code or lists is never taken for finished."""
    homes = (Path(__file__).parents[2], Path(spinemed.__file__).parent.parent)
    return _sha256_of(
        (file.relative_to(next(home for home in homes if file.is_relative_to(home))), file) for file in code_files()
    )


def _sha256_of(files: Iterable[tuple[Path, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in files:
        digest.update(name.as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
