"""Which layouts are known, and the one way from files to a samples folder.

Convention: `--path` names the tables, `--images` the folder of pictures (unless given: `images` beside the first table,
or beside its folder). A licence that a data set states is recorded by itself; another is given by the caller.

Trap: a licence of `NOASSERTION` means that no source read here states one; ask before you publish anything made of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.importers.gather import Gathered, write_questions
from bench.importers.grades import gather_rsna, gather_spider
from bench.importers.medxpertqa import gather_medxpertqa
from bench.importers.spinebench2510 import gather_spinebench2510
from bench.importers.vqamed import gather_vqamed
from spinemed.errors import ConfigError, ReadError

__all__ = ["KINDS", "Kind", "import_questions"]


@dataclass(frozen=True)
class Kind:
    """One layout."""

    gather: Callable[[list[Path], Path, Gathered], None]
    licence: str
    source: str


KINDS = {
    "spinebench2510": Kind(gather_spinebench2510, "NOASSERTION", "arXiv 2510.12267"),
    "medxpertqa": Kind(gather_medxpertqa, "MIT", "MedXpertQA, subset MM (arXiv 2501.18362)"),
    "vqamed": Kind(gather_vqamed, "NOASSERTION", "VQA-Med, ImageCLEF 2019"),
    "spider": Kind(gather_spider, "CC-BY-4.0", "SPIDER (doi 10.5281/zenodo.10159290)"),
    "rsna": Kind(gather_rsna, "LicenseRef-RSNA-2024-competition-terms", "RSNA 2024 Lumbar Spine Degenerative"),
}
"""Sets of other groups that can be read, by the name given to `spinemed bench import`."""


def import_questions(
    kind: str,
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """Write a samples folder from a data set's files.

    Args:
        kind: One of `KINDS`.
        paths: Its tables.
        out: Samples folder to write.
        images: Folder of its pictures.
        licence: SPDX identifier instead of the known one.

    Returns:
        The manifest of the samples folder; `left_out` counts dropped rows by reason.

    Raises:
        ConfigError: There is no such kind.
        ReadError: A file, column or picture is missing or of another layout.
        RecordError: A row makes no question, or no row does.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no known layout", field="--kind", cure=f"use one of {', '.join(KINDS)}")
    files = [Path(path) for path in paths]
    if not files:
        raise ConfigError("no table is given", field="--path", cure="name the data set's table")
    for file in files:
        if not file.is_file():
            raise ReadError("no such file", file=file, cure="name the table itself, not its folder")
    chosen = Path(images) if images is not None else _beside(files[0])
    own = KINDS[kind]
    found = Gathered(kind, licence or own.licence, own.source, files=list(files))
    own.gather(files, chosen, found)
    return write_questions(found, out)


def _beside(table: Path) -> Path:
    near, above = table.parent / "images", table.parent.parent / "images"
    return near if near.is_dir() or not above.is_dir() else above
