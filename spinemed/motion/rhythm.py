"""How the motion of a region is shared by its segments: the rhythm prior, 9 freedoms with shrunken residuals.

Convention: spine angles are 75 numbers (25 segments caudal to cranial, three directions each), angle = shares x
regional angle + residual. One regional angle per region (lumbar, thoracic, cervical) and direction, in radians; shares
of a region sum to 1, so a regional angle is the sum over its segments. A region is named after the upper vertebra:
T12/L1 is thoracic, C7/T1 and C0/1 cervical.

Default shares are ROM_level / sum(ROM). The published sets "eos" and "couplers" run in *opposite* directions along the
lumbar spine, so no result may be called a validation of a rhythm that the prior contains.

The trap: a set that lacks segments (eos has none for C0-C2, couplers only the lumbar ones and T12/L1) leaves these to
the default, in proportion; `Rhythm.note` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Region, Segment
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.joints import segment_ranges
from spinemed.motion.tables import MOBILE_SEGMENTS, read_table

__all__ = ["REGIONS", "RHYTHMS", "Rhythm", "build_rhythm", "custom_rhythm"]

REGIONS = (Region.LUMBAR, Region.THORACIC, Region.CERVICAL)

RHYTHMS = ("rom", "eos", "couplers")
"""Names of the packaged sets; "rom" is ROM_level / sum(ROM) of the region."""

# A residual of ROM/6 puts the whole range within three standard deviations on either side.
_RESIDUAL_PART = 6.0


@dataclass(frozen=True)
class Rhythm:
    """A prior of spine angles: q_spine = shares z + residual.

    Attributes:
        name: Of the set.
        shares: [75, 9]; columns are `columns`.
        columns: (region, direction) of the nine regional angles.
        regional_sd_rad: [9] prior standard deviation of z: half of the larger one-sided regional range.
        residual_sd_rad: [75] prior standard deviation of what each segment does beside its share: range / 6.
        note: What was filled from the default.
    """

    name: str
    shares: NDArray[np.float64]
    columns: tuple[tuple[Region, str], ...]
    regional_sd_rad: NDArray[np.float64]
    residual_sd_rad: NDArray[np.float64]
    note: str = ""

    @property
    def prior_sd_rad(self) -> NDArray[np.float64]:
        """[75] prior standard deviation of each angle, residual and share together."""
        return np.sqrt(self.residual_sd_rad**2 + (self.shares**2) @ self.regional_sd_rad**2)

    def angles_deg(self, regional_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Angles [..., 25, 3] in degrees of regional angles [..., 9] in degrees, without residual."""
        flat = np.asarray(regional_deg, dtype=np.float64) @ self.shares.T
        return flat.reshape(*flat.shape[:-1], len(MOBILE_SEGMENTS), len(DIRECTIONS))

    def column(self, region: Region, direction: str) -> int:
        """The place of a regional angle."""
        return self.columns.index((region, direction))


def build_rhythm(name: str = "rom", *, coupling: bool = False, residual_factor: float = 1.0) -> Rhythm:
    """A packaged rhythm.

    Args:
        name: One of `RHYTHMS`.
        coupling: Whether lateral bending turns the segments axially by `tables/coupling.csv` (literature summary,
            mark b: neck to the same side, lumbar to the other side, small and of uncertain size).
        residual_factor: Times the residual standard deviation; 1 is range / 6.

    Raises:
        MotionError: for an unknown set or a factor that is not positive.
    """
    if name not in RHYTHMS:
        raise MotionError(f"{name!r} is no rhythm", field="rhythm", cure=f"use one of {', '.join(RHYTHMS)}")
    published: dict[str, dict[Segment, float]] = {direction: {} for direction in DIRECTIONS}
    regions: dict[str, dict[Segment, Region]] = {direction: {} for direction in DIRECTIONS}
    for row in read_table("rhythms"):
        if row["rhythm"] == name:
            segment = Segment.from_text(row["segment"])
            published[row["direction"]][segment] = float(row["share"])
            regions[row["direction"]][segment] = Region(row["region"])
    note = "" if name == "rom" else "segments that the set lacks follow the default shares"
    return _assemble(name, published, regions, coupling, residual_factor, note)


def custom_rhythm(name: str, shares: dict[str, dict[Segment, float]], *, residual_factor: float = 1.0) -> Rhythm:
    """A rhythm of one's own: per direction, the relative share of each segment; what is absent takes the default.

    Raises:
        MotionError: for an unknown direction, a negative share, or a factor that is not positive.
    """
    full = {direction: dict(shares.get(direction, {})) for direction in DIRECTIONS}
    for direction, given in shares.items():
        if direction not in DIRECTIONS or any(not value >= 0 for value in given.values()):
            raise MotionError(
                f"shares of {direction!r} are unusable", field="shares",
                cure=f"give shares of 0 and above for {', '.join(DIRECTIONS)}",
            )  # fmt: skip
    return _assemble(name, full, {direction: {} for direction in DIRECTIONS}, False, residual_factor, "")


def _assemble(
    name: str,
    published: dict[str, dict[Segment, float]],
    regions: dict[str, dict[Segment, Region]],
    coupling: bool,
    residual_factor: float,
    note: str,
) -> Rhythm:
    if not residual_factor > 0:
        raise MotionError(f"{residual_factor} is not positive", field="residual_factor", cure="give a positive number")
    ranges = segment_ranges()
    columns = tuple((region, direction) for region in REGIONS for direction in DIRECTIONS)
    shares = np.zeros((3 * len(MOBILE_SEGMENTS), len(columns)))
    regional = np.zeros(len(columns))
    for j, (region, direction) in enumerate(columns):
        of = regions[direction]
        own = [segment for segment in MOBILE_SEGMENTS if of.get(segment, segment.region) is region]
        default = {segment: ranges[segment].whole(direction) for segment in own}
        default = {segment: value / sum(default.values()) for segment, value in default.items()}
        given = {segment: published[direction][segment] for segment in own if segment in published[direction]}
        left = sum(value for segment, value in default.items() if segment not in given)
        spread = (1.0 - left) / sum(given.values()) if given else 0.0
        for segment in own:
            value = given[segment] * spread if segment in given else default[segment]
            shares[_row(segment, direction), j] = value
        lows = sum(ranges[segment].ends(direction)[0] for segment in own)
        highs = sum(ranges[segment].ends(direction)[1] for segment in own)
        regional[j] = np.radians(max(-lows, highs) / 2)
    if coupling:
        for row in read_table("coupling"):
            segment = Segment.from_text(row["segment"])
            lateral = shares[_row(segment, "lateral_bending")]
            shares[_row(segment, "axial_rotation")] += float(row["axial_per_lateral"]) * lateral
    residual = np.radians(
        [ranges[segment].whole(direction) / _RESIDUAL_PART for segment in MOBILE_SEGMENTS for direction in DIRECTIONS]
    )
    return Rhythm(name, shares, columns, regional, residual * residual_factor, note)


def _row(segment: Segment, direction: str) -> int:
    return 3 * MOBILE_SEGMENTS.index(segment) + DIRECTIONS.index(direction)
