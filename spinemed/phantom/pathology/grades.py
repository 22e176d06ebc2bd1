"""Grading definitions as pure functions, and what each kind of image can show of them.

Convention: a grade is returned only from the inputs that define it. Where an image cannot show a finding,
:func:`assessable` says so with the reason, and no grade is given. Genant's and Meyerding's rules live in
`spinemed.measure.grades`. Borders that the literature leaves open are named constants.

- **Pfirrmann** (Spine 2001;26:1873): I-V from structure, border of nucleus and annulus, and height, on sagittal T2.
- **Modic** (Radiology 1988;166:193): 1-3 from T1 and T2 together; neither alone, nor STIR alone, can tell.
- **Disc displacement**, nomenclature 2.0 (Fardon, Spine J 2014;14:2525): from arc, base, dome and continuity; zones.
- **Central stenosis**: Schizas A-D (Spine 2010;35:1919); **foraminal stenosis**: Lee 0-3 (AJR 2010;194:1095); both
  mapped to the three grades of the RSNA 2024 lumbar set (normal_mild, moderate, severe).

The trap: Schizas and Lee grade what is *left* around the roots, not millimetres. A phantom knows the share of the area
that it took away; `SCHIZAS_BORDERS`, `LEE_BORDERS` and `RECESS_BORDERS` tie the two together and are this project's own
convention (Schizas after the thirds of Lurie 2008), not a published threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from spinemed.errors import SpineMedError

__all__ = [
    "ASSESSABLE",
    "LEE_BORDERS",
    "NOT_ASSESSABLE",
    "RECESS_BORDERS",
    "SCHIZAS_BORDERS",
    "Assessability",
    "DiscDisplacement",
    "FindingKind",
    "Modality",
    "Plane",
    "RsnaGrade",
    "SagittalZone",
    "Sequence",
    "Signal",
    "Zone",
    "assessable",
    "axial_zone",
    "disc_displacement",
    "endplate_circumference_mm",
    "lee_foraminal_grade",
    "migration_zone",
    "modic_type",
    "pfirrmann_grade",
    "rsna_canal_grade",
    "rsna_foraminal_grade",
    "rsna_subarticular_grade",
    "schizas_grade",
]

NOT_ASSESSABLE = "not assessable"
"""Canonical answer where a modality, sequence, plane or slice cannot show what is asked."""

Modality = Literal["CT", "MR", "XR"]
Sequence = Literal["T1", "T2", "STIR"]
Plane = Literal["volume", "sagittal", "coronal", "axial", "lateral", "frontal"]
"""Slices' plane; "volume": reformatted in any plane; "lateral" and "frontal" are projections."""
Signal = Literal["low", "intermediate", "high"]
SchizasGrade = Literal["A", "B", "C", "D"]
LeeGrade = Literal[0, 1, 2, 3]
RsnaGrade = Literal["normal_mild", "moderate", "severe"]
DiscDisplacement = Literal["normal", "bulge", "protrusion", "extrusion", "sequestration"]
Zone = Literal["central", "subarticular", "foraminal", "extraforaminal"]
SagittalZone = Literal["disc", "infrapedicular", "pedicular", "suprapedicular"]
FindingKind = Literal[
    "fracture",
    "slip",
    "disc_degeneration",
    "disc_height",
    "herniation",
    "canal_stenosis",
    "foraminal_stenosis",
    "modic",
    "schmorl",
    "osteophyte",
    "lesion",
    "screws",
    "cage",
    "mimic",
    "scoliosis",
    "transition",
    "alignment",
    "pelvic",
]

SCHIZAS_BORDERS = (100 / 3, 200 / 3, 85.0)
"""Percent of the sac's area lost: up to the first is A, up to the second B, up to the third C, above D."""
LEE_BORDERS = (20.0, 50.0, 75.0)
"""Percent of the foramen's area lost: below the first is 0, below the second 1, below the third 2, from there on 3."""
RECESS_BORDERS = (20.0, 40.0)
"""Percent of the canal's depth that a displaced disc fills in the lateral recess: below the first it is normal_mild,
below the second moderate, from there on severe."""
_FOCAL_DEG = {2014: 90.0, 2001: 180.0}
"""Displacement over more than this arc is a bulge: a quarter of the circumference (2014), half of it (2001)."""


def _percent(value: float, name: str) -> float:
    if not (math.isfinite(value) and 0 <= value <= 100):
        raise SpineMedError(f"{value} is no percentage of an area", field=name, cure="give 0 to 100")
    return float(value)


def _length(value: float, name: str) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise SpineMedError(f"{value} mm is no length", field=name, cure="give a length in mm")
    return float(value)


# --- discs -----------------------------------------------------------------------------------------------------------


def pfirrmann_grade(
    *,
    sequences: Iterable[str],
    structure: Literal["homogeneous_bright", "inhomogeneous", "gray", "gray_to_black", "black"],
    distinction: Literal["clear", "unclear", "lost"],
    collapsed: bool = False,
) -> Literal[1, 2, 3, 4, 5]:
    """Pfirrmann grade of a disc on sagittal T2.

    I homogeneous and bright, nucleus clear; II inhomogeneous (with or without a band), clear; III gray, unclear; IV
    gray to black, lost; V black, lost, disc space collapsed. Source: Pfirrmann 2001.

    Raises:
        SpineMedError: no T2 among the sequences, or a combination that the scheme does not have.
    """
    if "T2" not in set(sequences):
        raise SpineMedError("a Pfirrmann grade is read from T2 only", field="sequences", cure=f"say '{NOT_ASSESSABLE}'")
    table: dict[tuple[str, str, bool], Literal[1, 2, 3, 4, 5]] = {
        ("homogeneous_bright", "clear", False): 1,
        ("inhomogeneous", "clear", False): 2,
        ("gray", "unclear", False): 3,
        ("gray_to_black", "lost", False): 4,
        ("gray", "lost", False): 4,
        ("black", "lost", False): 4,
        ("black", "lost", True): 5,
    }
    try:
        return table[structure, distinction, collapsed]
    except KeyError:
        height = "collapsed" if collapsed else "not collapsed"
        raise SpineMedError(
            f"{structure} with a border that is {distinction}, {height}, is no Pfirrmann grade",
            field="structure",
            cure="read structure, border and height again",
        ) from None


def modic_type(t1: Signal | None, t2: Signal | None) -> Literal[0, 1, 2, 3]:
    """Modic type of an endplate's marrow against normal marrow: T1 low and T2 high 1, T1 high 2, both low 3, else 0.

    Source: Modic 1988. Type 2 has intermediate or high T2.

    Raises:
        SpineMedError: one of the two sequences is missing (None), or a pair that no type has.
    """
    if t1 is None or t2 is None:
        raise SpineMedError("a Modic type needs T1 and T2", field="sequences", cure=f"say '{NOT_ASSESSABLE}'")
    pairs: dict[tuple[Signal, Signal], Literal[0, 1, 2, 3]] = {
        ("intermediate", "intermediate"): 0,
        ("low", "high"): 1,
        ("high", "intermediate"): 2,
        ("high", "high"): 2,
        ("low", "low"): 3,
    }
    if (t1, t2) not in pairs:
        raise SpineMedError(
            f"T1 {t1} with T2 {t2} is no Modic type",
            field="t1",
            cure="read both against the same level's normal marrow",
        )
    return pairs[t1, t2]


def endplate_circumference_mm(width_mm: float, depth_mm: float) -> float:
    """Circumference of an elliptic endplate (Ramanujan 1914, first formula; below 0.1 % off for discs)."""
    a, b = _length(width_mm, "width_mm") / 2, _length(depth_mm, "depth_mm") / 2
    return math.pi * (3 * (a + b) - math.sqrt((3 * a + b) * (a + 3 * b)))


def disc_displacement(
    *,
    arc_deg: float,
    base_mm: float,
    dome_mm: float,
    continuous: bool = True,
    beyond_disc_level: bool = False,
    edition: Literal[2014, 2001] = 2014,
) -> DiscDisplacement:
    """What displaced disc material is called.

    Above a quarter of the circumference (90°) it is a bulge and no herniation; below, it is focal: a sequestration
    where it has lost continuity with the disc, an extrusion where its dome is wider than its base in any plane or it
    reaches beyond the level of the endplates, a protrusion otherwise. Source: Fardon 2014; the 2001 edition set the
    border of a bulge at half of the circumference. Exactly a quarter is focal.

    Args:
        arc_deg: Share of the circumference that is displaced, 0 to 360.
        base_mm: Width at the disc's own outline.
        dome_mm: Greatest width beyond it, in the same plane.
        continuous: Whether the piece still hangs together with the disc.
        beyond_disc_level: Whether it has moved above or below the disc space.
        edition: Which nomenclature.

    Raises:
        SpineMedError: an arc outside 0-360° or lengths that are none.
    """
    if not (math.isfinite(arc_deg) and 0 <= arc_deg <= 360):
        raise SpineMedError(f"an arc of {arc_deg}°", field="arc_deg", cure="give 0 to 360°")
    base, dome = _length(base_mm, "base_mm"), _length(dome_mm, "dome_mm")
    if not continuous:
        return "sequestration"
    if arc_deg == 0 or dome == 0:
        return "normal"
    if arc_deg > _FOCAL_DEG[edition]:
        return "bulge"
    return "extrusion" if dome > base or beyond_disc_level else "protrusion"


def axial_zone(x_mm: float, *, facet_mm: float, pedicle_inner_mm: float, pedicle_outer_mm: float) -> Zone:
    """Zone of a displacement on axial images by its distance from the midline.

    Central up to the medial edge of the facet, subarticular up to the medial and foraminal up to the lateral edge of
    the pedicle, extraforaminal beyond. Source: Fardon 2014. A border belongs to the inner zone.

    Raises:
        SpineMedError: borders that do not rise from the midline outwards.
    """
    if not 0 < facet_mm < pedicle_inner_mm < pedicle_outer_mm:
        raise SpineMedError(
            f"borders {facet_mm}, {pedicle_inner_mm}, {pedicle_outer_mm} mm do not rise",
            field="facet_mm",
            cure="give distances from the midline: facet, inner and outer edge of the pedicle",
        )
    distance = abs(x_mm)
    if distance <= facet_mm:
        return "central"
    if distance <= pedicle_inner_mm:
        return "subarticular"
    return "foraminal" if distance <= pedicle_outer_mm else "extraforaminal"


def migration_zone(
    migration_mm: float, *, disc_height_mm: float, pedicle_below_endplate_mm: float, pedicle_height_mm: float
) -> SagittalZone:
    """Zone of a migrated fragment on sagittal images: at the disc, or by the pedicle of the vertebra it moved to.

    Downwards (negative) the order is suprapedicular, pedicular, infrapedicular of the vertebra below; upwards
    infrapedicular, pedicular, suprapedicular of the vertebra above. Source: Fardon 2014.

    Args:
        migration_mm: From the disc's middle, cranial positive.
        disc_height_mm: Of the disc space.
        pedicle_below_endplate_mm: From the endplate next to the disc to the pedicle's nearer edge.
        pedicle_height_mm: Of that pedicle.
    """
    beyond = abs(migration_mm) - disc_height_mm / 2
    if beyond <= 0:
        return "disc"
    if beyond <= pedicle_below_endplate_mm:
        return "infrapedicular" if migration_mm > 0 else "suprapedicular"
    if beyond <= pedicle_below_endplate_mm + pedicle_height_mm:
        return "pedicular"
    return "suprapedicular" if migration_mm > 0 else "infrapedicular"


# --- stenosis --------------------------------------------------------------------------------------------------------


def schizas_grade(area_loss_percent: float) -> SchizasGrade:
    """Schizas grade that a phantom shows at a loss of sac area (`SCHIZAS_BORDERS`; see the module's trap).

    Raises:
        SpineMedError: not 0 to 100.
    """
    loss = _percent(area_loss_percent, "area_loss_percent")
    grades: tuple[SchizasGrade, ...] = ("A", "B", "C", "D")
    return grades[sum(loss > border for border in SCHIZAS_BORDERS)]


def lee_foraminal_grade(area_loss_percent: float) -> LeeGrade:
    """Lee grade that a phantom shows at a loss of foraminal area (`LEE_BORDERS`; see the module's trap).

    Raises:
        SpineMedError: not 0 to 100.
    """
    loss = _percent(area_loss_percent, "area_loss_percent")
    grades: tuple[LeeGrade, ...] = (0, 1, 2, 3)
    return grades[sum(loss >= border for border in LEE_BORDERS)]


def rsna_canal_grade(schizas: SchizasGrade) -> RsnaGrade:
    """RSNA 2024 grade of central stenosis: A normal_mild, B moderate, C and D severe."""
    grades: dict[SchizasGrade, RsnaGrade] = {"A": "normal_mild", "B": "moderate", "C": "severe", "D": "severe"}
    return grades[schizas]


def rsna_foraminal_grade(lee: LeeGrade) -> RsnaGrade:
    """RSNA 2024 grade of foraminal narrowing: Lee 0 and 1 normal_mild, 2 moderate, 3 severe."""
    grades: dict[LeeGrade, RsnaGrade] = {0: "normal_mild", 1: "normal_mild", 2: "moderate", 3: "severe"}
    return grades[lee]


def rsna_subarticular_grade(recess_loss_percent: float) -> RsnaGrade:
    """RSNA 2024 grade of subarticular stenosis that a phantom shows (`RECESS_BORDERS`; see the module's trap).

    Raises:
        SpineMedError: not 0 to 100.
    """
    loss = _percent(recess_loss_percent, "recess_loss_percent")
    grades: tuple[RsnaGrade, ...] = ("normal_mild", "moderate", "severe")
    return grades[sum(loss >= border for border in RECESS_BORDERS)]


# --- what an image can show ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assessability:
    """Whether an image can show a finding; truth value as `possible`."""

    possible: bool
    reason: str = ""
    """Why not; empty where it is possible."""

    def __bool__(self) -> bool:
        return self.possible


ASSESSABLE = Assessability(True)
_FROM_THE_SIDE = ("volume", "sagittal", "lateral")
_FROM_THE_FRONT = ("volume", "coronal", "frontal")
_LENGTH_AXIS: dict[FindingKind, str] = {"fracture": "z", "slip": "y", "disc_height": "z", "schmorl": "z", "mimic": "z"}
"""Along which axis of the patient a finding's size is measured."""
_SLICE_AXIS = {"volume": "z", "axial": "z", "coronal": "y", "sagittal": "x"}
"""Across which axis slices are thick; a volume is taken to be acquired in axial slices."""


def assessable(
    kind: FindingKind,
    *,
    modality: Modality,
    sequences: Iterable[str] = (),
    plane: Plane = "volume",
    slice_thickness_mm: float | None = None,
    size_mm: float | None = None,
    subtype: str | None = None,
) -> Assessability:
    """Whether an image can carry a grade or measurement of a kind, and if not, why.

    A length is readable to about one slice: where a finding is measured across the slices, one that is smaller than
    their thickness is not assessable. A loss of 5 % of a 27 mm body (1.4 mm) cannot be read from 3 mm axial CT; it can
    from sagittal MR of the same thickness, whose slices are thick from side to side.

    Args:
        kind: What is asked for.
        modality: "CT", "MR" or "XR".
        sequences: Of an MR.
        plane: Of the slices, or the projection.
        slice_thickness_mm: None where unknown or not applicable; nothing is refused on its account then.
        size_mm: The finding's own size along its axis (height lost, slip, depth of a pit).
        subtype: Of lesions "lytic" or "blastic", of cages "peek" or "titanium", of osteophytes "anterior" or a side.

    Raises:
        SpineMedError: MR without sequences, or sequences for another modality.
    """
    shown = frozenset(sequences)
    if (modality == "MR") != bool(shown):
        raise SpineMedError(
            "an MR needs its sequences" if modality == "MR" else f"{modality} has no sequences",
            field="sequences",
            cure="name T1, T2, STIR for MR and nothing else",
        )
    for reason in (
        _modality_reason(kind, modality, shown, subtype),
        _plane_reason(kind, modality, plane, subtype),
        _slice_reason(kind, plane, slice_thickness_mm, size_mm),
    ):
        if reason:
            return Assessability(False, reason)
    return ASSESSABLE


def _modality_reason(kind: FindingKind, modality: Modality, shown: frozenset[str], subtype: str | None) -> str:
    if kind == "disc_degeneration" and "T2" not in shown:
        return "the Pfirrmann grade is read from T2 only"
    if kind == "modic" and not {"T1", "T2"} <= shown:
        return "the Modic type needs T1 and T2"
    if kind == "canal_stenosis" and "T2" not in shown:
        return "the Schizas grade is read from axial T2 only"
    if kind == "foraminal_stenosis" and not shown & {"T1", "T2"}:
        return "the Lee grade is read from sagittal T1 or T2 only"
    if kind == "herniation" and modality == "XR":
        return "a radiograph does not show the disc"
    if kind == "lesion" and modality == "XR" and subtype == "lytic":
        return "a radiograph shows a lytic lesion only after a third to a half of the mineral is lost"
    if kind == "cage" and modality == "XR" and subtype == "peek":
        return "PEEK is radiolucent"
    return ""


def _plane_reason(kind: FindingKind, modality: Modality, plane: Plane, subtype: str | None) -> str:
    if kind == "canal_stenosis" and plane not in ("volume", "axial"):
        return "the Schizas grade is read from axial T2 only"
    if kind == "foraminal_stenosis" and plane not in ("volume", "sagittal"):
        return "the Lee grade is read from sagittal T1 or T2 only"
    if kind == "disc_degeneration" and plane not in ("volume", "sagittal"):
        return "the Pfirrmann grade is read from sagittal T2"
    if (
        kind in ("fracture", "slip", "mimic", "modic", "disc_height", "alignment", "pelvic")
        and plane not in _FROM_THE_SIDE
    ):
        return f"not seen from the side on {plane} images"
    if kind == "scoliosis" and plane not in _FROM_THE_FRONT:
        return f"not seen from the front on {plane} images"
    if kind == "transition" and plane not in (*_FROM_THE_FRONT, "axial"):
        return f"the transverse processes are not seen on {plane} images"
    if kind == "osteophyte" and subtype == "anterior" and plane in ("frontal", "coronal"):
        return f"an anterior spur is not seen on {plane} images"
    if kind == "osteophyte" and subtype in ("left", "right") and plane in ("lateral", "sagittal"):
        return f"a lateral spur is not seen on {plane} images"
    if kind == "schmorl" and modality == "XR" and plane != "lateral":
        return "a pit of the endplate is not seen on a frontal radiograph"
    return ""


def _slice_reason(kind: FindingKind, plane: Plane, thickness_mm: float | None, size_mm: float | None) -> str:
    if thickness_mm is None or size_mm is None or kind not in _LENGTH_AXIS:
        return ""
    _length(thickness_mm, "slice_thickness_mm")
    if _SLICE_AXIS.get(plane) == _LENGTH_AXIS[kind] and abs(size_mm) < thickness_mm:
        return f"{abs(size_mm):.1f} mm cannot be read from slices {thickness_mm:g} mm thick"
    return ""
