"""VerSe and its likes: every scan of a folder with its vertebra mask, as sagittal pictures.

Convention: files are told apart by their names (`spinemed.labelling.dataset` knows both releases); each case is read as
the `nifti` reader reads a listed one, with VerSe's numbers. Series of one patient share a group.

Trap: scans with `-gl` in the name are CC BY-NC-ND in the first release. They are left out unless the entry's own
licence is that one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import Field

from data_pipeline.readers.files import FileOptions
from data_pipeline.readers.nifti import NiftiStudy, read_nifti_source
from data_pipeline.readers.reading import Reading, read_options
from spinemed.errors import SpineMedError
from spinemed.labelling.dataset import read_verse_folder
from spinemed.records import Source

__all__ = ["VerseOptions", "read_verse"]


class VerseOptions(FileOptions):
    """Options of a `verse` source."""

    cpu_s: float = 600.0
    """Processor time a scan may take."""
    wall_s: float = 900.0
    """Time a scan may take."""
    memory_mib: int = 8192
    """Memory the parser may take on top of eight times the file."""
    layers: int = Field(default=1, ge=1, le=25)
    """How many neighbouring sagittal layers become pictures."""
    canvas_px: int = Field(default=256, ge=32, le=2048)
    """Edge of the square picture."""
    mask_facts: bool = False
    """State what the mask decides of counts and numbering anomalies."""


def read_verse(source: Source, root: Path) -> Reading:
    """Read all cases of a folder; a broken one is counted, the rest is read.

    Raises:
        ReadError: No case is found.
    """
    options = read_options(source, VerseOptions)
    reading = Reading(source.id)
    for case in read_verse_folder(root):
        if "-gl" in case.name and "ND" not in source.licence:
            reading.drop("scan", case.name, "published under CC BY-NC-ND")
            continue
        if case.image is None or case.mask is None:
            reading.drop("scan", case.name, "; ".join(case.flags))
            continue
        study = NiftiStudy(
            image=case.image.relative_to(root).as_posix(),
            mask=case.mask.relative_to(root).as_posix(),
            label_map="verse",
            modality="CT",
            group=case.patient,
            truth="expert_mask",
            layers=options.layers,
            canvas_px=options.canvas_px,
            mask_facts=options.mask_facts,
        )
        limits = options.limits.for_file(case.image)
        one = source.model_copy(
            update={"options": {"studies": [study.model_dump(mode="json")], "limits": asdict(limits)}}
        )
        try:
            reading.add(read_nifti_source(one, root))
        except SpineMedError as error:
            reading.drop("scan", case.name, "broken file", error.problem, failed=True)
            continue
        reading.keep("scan")
    return reading
