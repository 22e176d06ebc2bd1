"""Readers: one file per kind of source, each turning published bytes into corpus records.

Purpose: `read_source` opens a source by its kind. What is specific to a source ends here; everything after speaks in
the records of `spinemed/records.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_pipeline.readers.reading import Drop, Reading
from spinemed.records import Source

__all__ = ["Drop", "Reading", "read_source"]


def _reader(kind: str) -> Callable[[Source, Path], Reading]:
    # Imported one by one: reading text must not pay for the imaging packages.
    if kind == "cnxml":
        from data_pipeline.readers.cnxml import read_cnxml

        return read_cnxml
    if kind == "medquad":
        from data_pipeline.readers.medquad import read_medquad

        return read_medquad
    if kind == "nifti":
        from data_pipeline.readers.nifti import read_nifti_source

        return read_nifti_source
    from data_pipeline.readers.phantom import read_phantoms

    return read_phantoms


def read_source(source: Source, root: Path) -> Reading:
    """Read one source and check its account.

    Args:
        source: The entry of `sources.yaml`.
        root: Its file or folder.

    Raises:
        SpineMedError: Anything in it is wrong; see the readers.
    """
    reading = _reader(source.kind)(source, root)
    reading.check()
    return reading
