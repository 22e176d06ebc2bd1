"""Readers: one file per kind of source, each turning published bytes into corpus records.

Purpose: `read_source` opens a source by its kind. What is specific to a source ends here; everything after speaks in
the records of `spinemed/records/`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from data_pipeline.readers.reading import Drop, Reading, read_options
from spinemed.errors import SourceError
from spinemed.records import Source

__all__ = ["Drop", "Reading", "check_options", "read_source"]


_READERS = {
    "cnxml": ("cnxml", "read_cnxml", "CnxmlOptions"),
    "medquad": ("medquad", "read_medquad", "MedquadOptions"),
    "nifti": ("nifti", "read_nifti_source", "NiftiOptions"),
    "phantom": ("phantom", "read_phantoms", "PhantomOptions"),
    "pdf": ("pdf", "read_pdf", "PdfOptions"),
    "jats": ("jats", "read_jats", "JatsOptions"),
    "html": ("pages", "read_html", "PageOptions"),
    "markdown": ("pages", "read_markdown", "PageOptions"),
    "bank": ("bank", "read_bank", "BankOptions"),
    "dicom": ("dicom", "read_dicom", "DicomOptions"),
    "verse": ("verse", "read_verse", "VerseOptions"),
    "grades": ("grades", "read_grades", "GradeOptions"),
    "hospital": ("hospital", "read_hospital", "HospitalOptions"),
}
"""Kind of source -> module, function, options."""


def _reader(kind: str) -> tuple[Callable[[Source, Path], Reading], type[BaseModel]]:
    """The function that reads a kind of source, and the model of its options."""
    # Imported one by one: reading text must not pay for the imaging packages.
    module, function, options = _READERS[kind]
    found = importlib.import_module(f"data_pipeline.readers.{module}")
    return getattr(found, function), getattr(found, options)


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
