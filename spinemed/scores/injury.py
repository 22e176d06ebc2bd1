"""Injuries, tumours and osteoporotic fractures: scores that add points.

Sources, and what is left out because it could not be confirmed:

- TLICS: Lee, Vaccaro et al. 2005 (table 1 of PMC2779435). Only the worst morphology is scored.
- TL AOSIS: points after Kepler 2016 (PMC4868575) and PMC9210250; bands after Vaccaro 2016, Eur Spine J 25:1087.
- SLIC: Vaccaro 2007. Sources differ on the extra point for ongoing cord compression: with any deficit, or with an
  incomplete one only; `SLIC` takes the first, `SLIC_INCOMPLETE_ONLY` the second.
- SINS: Fisher 2010. Exactly 50 % collapse is not defined there; the answers are worded so that a reader decides.
- OF score: the AO Spine-DGOU card (pain from VAS 5), which calls itself not validated; grades after Schnake 2018.

Trap: the statements are the papers'. They say which treatment a paper links to a total, not what a patient needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from spinemed.anatomy import Level
from spinemed.scores.additive import AdditiveScore, Adjust, Band

__all__ = ["OF_SCORE", "SINS", "SLIC", "SLIC_INCOMPLETE_ONLY", "TLICS", "TL_AOSIS", "of_grade", "sins_location"]

_FAR = 99
_WALL_EDGE = 0.2  # share of the posterior wall from which an OF2 is an OF3; exactly 1/5 is left open by the sources


def _bands(*edges: tuple[int, str, str]) -> tuple[Band, ...]:
    """Bands from their upper edges; the first is open below and the last above."""
    lowest, found = -_FAR, []
    for highest, name, statement in edges:
        found.append(Band(lowest, highest, name, statement))
        lowest = highest + 1
    return tuple(found)


_FOUR_IS_OPEN = _bands(
    (3, "non-operative", "0 to 3: non-operative treatment"),
    (4, "either", "4: non-operative or operative treatment"),
    (_FAR, "operative", "5 and more: operative treatment"),
)
"""What the papers of TLICS and SLIC both say."""

TLICS = AdditiveScore(
    name="TLICS 2005",
    items={
        "morphology": {"none": 0, "compression": 1, "burst": 2, "translation_rotation": 3, "distraction": 4},
        "ligaments": {"intact": 0, "indeterminate": 2, "injured": 3},
        "neurology": {"intact": 0, "nerve_root": 2, "complete": 2, "incomplete": 3, "cauda_equina": 3},
    },
    bands=_FOUR_IS_OPEN,
    source="Lee et al. 2005, table 1 (PMC2779435)",
    applies_to="thoracolumbar injuries of adults; the posterior ligaments need MR or clear CT signs",
)
"""Points of the Thoracolumbar Injury Classification and Severity Score."""

TL_AOSIS = AdditiveScore(
    name="TL AOSIS 2016",
    items={
        "morphology": {"A0": 0, "A1": 1, "A2": 2, "A3": 3, "A4": 5, "B1": 5, "B2": 6, "B3": 7, "C": 8},
        # NX is "cannot be examined" and has points; it is not the same as not told.
        "neurology": {"N0": 0, "N1": 1, "N2": 2, "N3": 4, "N4": 4, "NX": 3},
        "modifier": {"none": 0, "M1": 1, "M2": 0},
    },
    bands=_bands(
        (3, "conservative", "0 to 3: trial of conservative care"),
        (5, "either", "4 or 5: conservative care or surgery"),
        (_FAR, "surgery", "6 and more: surgery"),
    ),
    source="points: Kepler et al. 2016 (PMC4868575), PMC9210250; bands: Vaccaro et al. 2016, Eur Spine J 25:1087",
    applies_to="thoracolumbar injuries of adults, classified after AO Spine",
)
"""Points of the Thoracolumbar AOSpine Injury Score."""


def _compression(*deficits: str) -> Adjust:
    """The point for ongoing cord compression, which counts with these deficits only."""

    def points(told: Mapping[str, str | None], item: str, answer: str) -> int | None:
        if item != "ongoing_compression" or answer == "no":
            return None
        return int(told["neurology"] in deficits)

    return points


SLIC = AdditiveScore(
    name="SLIC 2007",
    items={
        "morphology": {"none": 0, "compression": 1, "burst": 2, "distraction": 3, "translation_rotation": 4},
        "discoligamentous": {"intact": 0, "indeterminate": 1, "disrupted": 2},
        "neurology": {"intact": 0, "nerve_root": 1, "complete": 2, "incomplete": 3},
        "ongoing_compression": {"no": 0, "yes": 1},
    },
    bands=_FOUR_IS_OPEN,
    source="Vaccaro et al. 2007; the extra point with any deficit under ongoing cord compression",
    applies_to="injuries from C3 to C7 of adults",
    adjust=_compression("nerve_root", "complete", "incomplete"),
)
"""Points of the Subaxial Injury Classification."""

SLIC_INCOMPLETE_ONLY = replace(
    SLIC,
    name="SLIC 2007 (extra point with incomplete deficits only)",
    source="Vaccaro et al. 2007; the extra point with incomplete deficits only",
    adjust=_compression("incomplete"),
)
"""SLIC where ongoing compression counts with incomplete deficits alone."""

SINS = AdditiveScore(
    name="SINS 2010",
    items={
        "location": {"junctional": 3, "mobile": 2, "semi_rigid": 1, "rigid": 0},
        # Mechanical pain is asked of the patient; no image shows it.
        "pain": {"mechanical": 3, "occasional_non_mechanical": 1, "none": 0},
        "lesion": {"lytic": 2, "mixed": 1, "blastic": 0},
        "alignment": {"subluxation_translation": 4, "new_deformity": 2, "normal": 0},
        "body": {"collapse_above_half": 3, "collapse_below_half": 2, "above_half_involved": 1, "none": 0},
        "posterolateral": {"bilateral": 3, "unilateral": 1, "none": 0},
    },
    bands=_bands(
        (6, "stable", "0 to 6: stable"),
        (12, "indeterminate", "7 to 12: potentially unstable; from 7 on a surgeon's opinion"),
        (_FAR, "unstable", "13 to 18: unstable; a surgeon's opinion"),
    ),
    source="Fisher et al. 2010",
    applies_to="spinal metastases of adults; one of six inputs, pain, cannot be read from images",
)
"""Points of the Spinal Instability Neoplastic Score."""


_LOCATIONS: dict[str, tuple[str, ...]] = {
    "junctional": ("C0", "C1", "C2", "C7", "T1", "T2", "T11", "T12", "L1", "L5", "S1"),
    "mobile": ("C3", "C4", "C5", "C6", "L2", "L3", "L4"),
    "semi_rigid": tuple(f"T{number}" for number in range(3, 11)),
    "rigid": ("S2", "S3", "S4", "S5"),
}


def sins_location(level: Level) -> str | None:
    """The location that SINS gives a level; None for T13, L6 and the coccyx, which it does not place.

    Source: Fisher et al. 2010. S1 counts with the junction L5-S1.
    """
    return next((name for name, levels in _LOCATIONS.items() if level.value in levels), None)


OF_SCORE = AdditiveScore(
    name="OF score (AO Spine-DGOU card)",
    items={
        "of_grade": {f"OF{grade}": 2 * grade for grade in range(1, 6)},
        # "unknown" is an answer of the card, worth nothing; None still means that nobody asked.
        "bone_density": {"t_below_minus_3": 1, "t_minus_3_or_above": 0, "unknown": 0},
        "progression": {"yes": 1, "no": -1, "unknown": 0},
        "pain": {"vas_5_or_more": 1, "vas_below_5": -1, "unknown": 0},
        "neurology": {"deficit": 2, "none": 0, "unknown": 0},
        "mobilised": {"no": 1, "yes": -1, "unknown": 0},
        "health": {"no_risk": 0, "one_risk": -1, "two_or_more_risks": -2, "unknown": 0},
    },
    bands=_bands(
        (5, "conservative", "up to 5: conservative treatment"),
        (6, "either", "6: conservative or operative treatment"),
        (_FAR, "surgery", "7 and more: operative treatment"),
    ),
    source="AO Spine-DGOU card, which says that the score is not validated; grades: Schnake et al. 2018",
    applies_to="osteoporotic fractures of the thoracolumbar spine",
)
"""Points of the OF score for osteoporotic fractures."""

Endplates = Literal["none", "one", "both"]


def of_grade(
    *,
    tension_band_failed: bool | None,
    endplates: Endplates | None,
    frame_lost: bool | None,
    posterior_wall_share: float | None,
    oedema: bool | None = None,
) -> str | None:
    """The AO Spine-DGOU grade of an osteoporotic fracture, decided from the top down as the card asks.

    Args:
        tension_band_failed: Distraction, rotation or translation.
        endplates: Which endplates are broken.
        frame_lost: Both walls broken, collapse or pincer.
        posterior_wall_share: Share of the posterior wall that is involved, 0 to 1. Exactly 1/5 counts as OF3, which the
            sources leave open.
        oedema: Signal of oedema without deformity (MR); only it makes an OF1.

    Returns:
        `OF1` to `OF5`; None where what is not told decides.

    Source: Schnake et al. 2018.
    """
    if tension_band_failed is None:
        return None
    if tension_band_failed:
        return "OF5"
    if endplates == "both" or frame_lost:
        return "OF4"
    if endplates is None or frame_lost is None:
        return None
    if endplates == "one":
        if posterior_wall_share is None:
            return None
        return "OF2" if posterior_wall_share < _WALL_EDGE else "OF3"
    return "OF1" if oedema else None
