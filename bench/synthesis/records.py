"""What `scores.json` of the synthesis benchmark holds: one record per vertebra of the reference, and a summary.

Convention: a value that does not exist is absent; a vertebra without a usable synthesis holds the worst value wherever
there is one (:mod:`bench.synthesis.metrics`). Nothing holds a clock time or an absolute path: equal inputs give equal
bytes.

Trap: `truth` are losses against the healthy body, measured by the same rule as `found`; for phantoms they are not the
parameters of the fracture.
"""

from __future__ import annotations

import os
from typing import Literal

from bench.estimates import Estimate
from bench.faults import FoundError
from bench.scorefiles import SCORES_FILE, find_row, read_scores_file
from spinemed.anatomy import Level
from spinemed.records import Record
from spinemed.tables import write_json

__all__ = [
    "SCORES_FILE",
    "Scores",
    "Status",
    "SummaryRow",
    "VertebraError",
    "VertebraScore",
    "read_scores",
    "write_scores",
]

Status = Literal["scored", "no prediction", "unusable prediction", "unusable reference"]
Thirds = tuple[float, float, float]


class VertebraError(FoundError):
    """Why a vertebra, or a part of it, could not be scored."""

    part: Literal["reference", "prediction", "height loss"]
    """Which part it is."""


class VertebraScore(Record):
    """One vertebra of the reference."""

    case: str
    """Name of the scan."""
    patient: str
    """Patient or phantom: the cluster that intervals resample."""
    level: Level
    """Which vertebra."""
    status: Status
    """What became of it."""
    hidden: bool
    """Whether the reference is the body itself, hidden and made again; else the body as it is was given apart."""
    grade: int | None = None
    """As it was read, or for phantoms as it was made; None where nothing says."""
    shape: str | None = None
    """Shape of the fracture after Genant."""
    split: str = ""
    """Split of the data set that it belongs to; empty where none is stated."""
    neighbour_broken: bool | None = None
    """Whether the vertebra above or below is fractured."""
    values: dict[str, float] = {}
    """Its quantities by name."""
    truth: Thirds | None = None
    """Height loss against the healthy body in percent: anterior, middle, posterior."""
    found: Thirds | None = None
    """The same against the synthesis."""
    layers: int = 0
    """Sagittal layers that RHDR, PSNR and SSIM rest on."""
    resampled: bool = False
    """The synthesis lay on another grid and was brought on to the reference's (trilinear, surface at 0.5)."""
    errors: tuple[VertebraError, ...] = ()
    """Why it, or a part of it, could not be scored."""
    prediction_sha256: str | None = None
    """Hash of the file that was scored."""


class SummaryRow(Record):
    """All quantities over some vertebrae."""

    by: str
    """What the group is made by."""
    key: str
    """Which group."""
    vertebrae: int
    """How many vertebrae."""
    missed: int
    """Without a usable synthesis."""
    patients: int
    """How many patients or phantoms."""
    values: dict[str, Estimate]
    """Quantities by name."""


class Scores(Record):
    """`scores.json`."""

    kind: Literal["synthesis scores"] = "synthesis scores"
    """What file or record this is."""
    version: str
    """Of SpineMed."""
    name: str
    """Name of the method."""
    made_by: tuple[str, ...] = ()
    """What the synthesiser says of itself, from its own files."""
    seed: int
    """Of the resampling."""
    resamples: int
    """Bootstrap resamples of each interval."""
    families: tuple[str, ...]
    """body, loss, and image where the method makes pictures that the reference has too."""
    counts: dict[str, int]
    """What happened how often."""
    summary: tuple[SummaryRow, ...]
    """All quantities by group."""
    vertebrae: tuple[VertebraScore, ...]
    """One entry a vertebra of the reference."""
    extra: tuple[str, ...] = ()
    """Syntheses of vertebrae that the reference does not hold: counted, not scored."""
    warnings: tuple[str, ...] = ()
    """What a reader of the numbers must know."""

    @property
    def failed(self) -> list[VertebraScore]:
        """Vertebrae that were not scored from both files."""
        return [one for one in self.vertebrae if one.status != "scored"]

    def row(self, by: str = "all", key: str = "all") -> SummaryRow:
        """A row of the summary.

        Raises:
            KeyError: There is none.
        """
        return find_row(self.summary, by, key)


def write_scores(path: str | os.PathLike[str], scores: Scores) -> None:
    """Write `scores.json`, whole or not at all."""
    write_json(path, scores.model_dump(mode="json"))


def read_scores(path: str | os.PathLike[str]) -> Scores:
    """Read a `scores.json`, or the folder it lies in.

    Raises:
        ReadError: There is none, or it is no JSON.
        RecordError: It is not what `spinemed synthesis evaluate` of this version writes.
    """
    return read_scores_file(path, Scores, "spinemed synthesis evaluate")
