"""Readers: one file per kind of source, each turning published bytes into corpus records.

Purpose: `read_source` opens a source by its kind. What is specific to a source ends here; everything after speaks in
the records of `spinemed/records.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from data_pipeline.readers.reading import Drop, Reading, read_options
from spinemed.errors import SourceError
from spinemed.records import Source

__all__ = ["Drop", "Reading", "check_options", "read_source"]


def _reader(kind: str) -> tuple[Callable[[Source, Path], Reading], type[BaseModel]]:
    """The function that reads a kind of source, and the model of its options."""
    # Imported one by one: reading text must not pay for the imaging packages.
    if kind == "cnxml":
        from data_pipeline.readers.cnxml import CnxmlOptions, read_cnxml

        return read_cnxml, CnxmlOptions
    if kind == "medquad":
        from data_pipeline.readers.medquad import MedquadOptions, read_medquad

        return read_medquad, MedquadOptions
    if kind == "nifti":
        from data_pipeline.readers.nifti import NiftiOptions, read_nifti_source

        return read_nifti_source, NiftiOptions
    from data_pipeline.readers.phantom import PhantomOptions, read_phantoms

    return read_phantoms, PhantomOptions


def check_options(sources: list[Source], sources_file: str | os.PathLike[str]) -> None:
    """Validate the options of all sources before anything is read or written.

    Raises:
        SourceError: A field is unknown, absent or impossible.
    """
    for source in sources:
        try:
            read_options(source, _reader(source.kind)[1])
        except SourceError as error:
            raise SourceError(error.problem, file=sources_file, field=error.field, cure=error.cure) from error


def read_source(source: Source, root: Path) -> Reading:
    """Read one source and check its account.

    Args:
        source: The entry of `sources.yaml`.
        root: Its file or folder.

    Raises:
        SpineMedError: Anything in it is wrong; see the readers.
    """
    reading = _reader(source.kind)[0](source, root)
    reading.check()
    return reading
