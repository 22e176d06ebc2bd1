"""Which pathologies can stand together in one spine, and which contradict each other.

Convention: `validate_pathologies` raises a `RecordError` that names the record by its position (`pathologies[3]`), what
it contradicts and what to change. A record that is wrong by itself (a side on a central herniation) is already refused
by its own model.

The trap: combinations are refused not only because anatomy forbids them (a herniated disc inside a block vertebra) but
also where they would make a stated number untrue: a Schmorl node in a fractured endplate would change the height loss
that the fracture states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from spinemed.anatomy import Disc, Level, Region
from spinemed.errors import RecordError, SpineMedError
from spinemed.phantom.pathology.effective import (
    caudal_endplate_depth_mm,
    check_levels,
    effective_bodies,
)
from spinemed.phantom.pathology.grades import endplate_circumference_mm, lee_foraminal_grade, schizas_grade
from spinemed.phantom.pathology.mimics import SCHEUERMANN_LEAST_RUN, mimic_levels
from spinemed.phantom.pathology.records import (
    Cage,
    CanalStenosis,
    DiscDegeneration,
    ForaminalStenosis,
    Fracture,
    Herniation,
    Lesion,
    Mimic,
    ModicChange,
    Osteophyte,
    Pathology,
    SchmorlNode,
    Screws,
    Slip,
)

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import BodyShape, SpinePhantom, Vertebra

__all__ = ["BULGE_LEAST_SHARE", "SHAPE_ONLY", "fracture_shape", "validate_pathologies"]

BULGE_LEAST_SHARE = 0.25
"""Share of the disc's circumference above which displacement is a bulge (2014 nomenclature)."""
SHAPE_ONLY = frozenset({"physiological_wedging", "short_height"})
"""Mimics that a fracture may befall: they change the healthy heights and leave the endplates alone."""
_PEDICLE_SHARE = 0.9
_COLLAPSED_PERCENT = 40.0
_NORMAL_PERCENT = 10.0


def validate_pathologies(spine: SpinePhantom) -> None:
    """Refuse pathologies that contradict the spine or each other.

    Raises:
        RecordError: naming the record, the contradiction and the cure.
        SpineMedError: a level or disc that the spine does not have.
    """
    check_levels(spine)
    vertebrae = {vertebra.level: vertebra for vertebra in spine.vertebrae}
    for index, item in enumerate(spine.pathologies):
        for problem, cure in _alone(item, spine, vertebrae):
            raise RecordError(problem, field=f"pathologies[{index}]", cure=cure)
        for other in range(index):
            clash = _together(spine.pathologies[other], item) or _together(item, spine.pathologies[other])
            if clash:
                raise RecordError(
                    f"{clash} (with pathologies[{other}])", field=f"pathologies[{index}]", cure="remove one of the two"
                )
    _scheuermann_runs(spine)
    effective_bodies(spine)  # a fracture that leaves no bone is refused where it is applied


Problem = tuple[str, str]


def _alone(item: Pathology, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    """What is wrong with one record in this spine: problem and cure."""
    level = getattr(item, "level", None)
    if level is not None and (level not in vertebrae or vertebrae[level].body is None):
        yield f"a {item.kind} of {level}, which has no body here", "use a vertebra from C2 to the last lumbar one"
        return
    check: Callable[..., Iterator[Problem]] | None = _CHECKS.get(item.kind)
    if check is not None:
        yield from check(item, spine, vertebrae)


def _fracture(item: Fracture, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    front, middle, back = item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent
    if item.level == Level.C2:
        yield "a compression fracture of C2", "use C3 or below; the axis breaks otherwise"
    if item.shape != fracture_shape(front, middle, back):
        yield (
            f"losses of {front:g}, {middle:g} and {back:g} % (front, middle, back) are no {item.shape}",
            f"call it {fracture_shape(front, middle, back)} or change the losses",
        )
    if item.retropulsion_mm > 0.7 * vertebrae[item.level].arch.canal_depth_mm:
        yield f"retropulsion of {item.retropulsion_mm:g} mm fills the canal", "keep it within 70 % of the canal's depth"


def fracture_shape(anterior: float, middle: float, posterior: float) -> str:
    """Shape of a fracture from its losses at any size, so that mild ones have a shape too.

    Above 20 % it is Genant's (`spinemed.measure.grades.genant_shape`); below, the same rule at the scale of the losses:
    crush where the posterior wall has lost at least half of the largest loss, else wedge or biconcave.
    """
    from spinemed.measure.grades import genant_shape

    shape = genant_shape((anterior, middle, posterior))
    if shape != "none":
        return shape
    if posterior > 0 and posterior >= 0.5 * max(anterior, middle):
        return "crush"
    return "wedge" if anterior >= middle else "biconcave"


def _disc_degeneration(item: DiscDegeneration, *_: object) -> Iterator[Problem]:
    if item.pfirrmann <= 2 and item.height_loss_percent > _NORMAL_PERCENT:
        yield (
            f"a grade {item.pfirrmann} disc that lost {item.height_loss_percent:g} % of its height",
            f"keep the loss within {_NORMAL_PERCENT:g} %: grades I and II have normal height",
        )
    if item.pfirrmann == 5 and item.height_loss_percent < _COLLAPSED_PERCENT:
        yield "a grade 5 disc that has not collapsed", f"give a loss of at least {_COLLAPSED_PERCENT:g} %"


def _herniation(item: Herniation, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    upper = vertebrae[item.disc.upper]
    body = _body(upper)
    around = endplate_circumference_mm(body.lower_width_mm, body.lower_depth_mm)
    share = item.base_mm / around
    if item.type == "bulge" and share <= BULGE_LEAST_SHARE:
        yield f"a bulge over {share:.0%} of the circumference", "a bulge takes more than a quarter; widen its base"
    if item.type != "bulge" and share > BULGE_LEAST_SHARE:
        yield f"a {item.type} over {share:.0%} of the circumference", "above a quarter it is a bulge; narrow its base"
    if item.type == "protrusion" and item.depth_mm > item.base_mm:
        yield "a protrusion that is deeper than its base is wide", "widen the base or call it an extrusion"
    if item.depth_mm > 0.8 * upper.arch.canal_depth_mm:
        yield f"a depth of {item.depth_mm:g} mm leaves no canal", "keep it within 80 % of the canal's depth"
    if abs(item.migration_mm) > body.height_mm:
        yield f"a migration of {item.migration_mm:g} mm reaches the next disc", "keep it within one vertebral height"
    least = next(shape.middle_height_mm for shape in spine.discs if shape.disc == item.disc) / 2 + 2.0
    if item.type == "sequestration" and abs(item.migration_mm) < least:
        yield "a sequestration that lies at its disc", f"give it a migration of {least:.1f} mm or more"


def _canal(item: CanalStenosis, *_: object) -> Iterator[Problem]:
    if item.disc.region is not Region.LUMBAR:
        yield f"a Schizas grade at {item.disc}", "use a lumbar disc: the scheme is for the lumbar canal"
    grade = schizas_grade(item.area_loss_percent)
    if grade != item.schizas:
        yield f"Schizas {item.schizas} at an area loss of {item.area_loss_percent:g} %", f"call it {grade}"


def _foramen(item: ForaminalStenosis, *_: object) -> Iterator[Problem]:
    if item.disc.region is not Region.LUMBAR:
        yield f"a Lee grade at {item.disc}", "use a lumbar disc: the scheme is for lumbar foramina"
    grade = lee_foraminal_grade(item.area_loss_percent)
    if grade != item.lee:
        yield f"Lee {item.lee} at an area loss of {item.area_loss_percent:g} %", f"call it {grade}"


def _modic(item: ModicChange, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    if item.height_mm > 0.6 * _body(vertebrae[item.disc.upper]).height_mm:
        yield f"a Modic change {item.height_mm:g} mm high fills the body", "keep it within 60 % of the body's height"


def _schmorl(item: SchmorlNode, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    body = _body(vertebrae[item.level])
    if item.depth_mm > 0.4 * body.height_mm:
        yield f"a pit {item.depth_mm:g} mm deep", "keep it within 40 % of the body's height"
    share = 2 * item.radius_mm / min(body.upper_depth_mm, body.lower_depth_mm)
    if share + math.hypot(item.x_share, item.y_share) > 1.0:
        yield "the pit reaches over the endplate's rim", "bring it nearer to the centre or make it smaller"


def _osteophyte(item: Osteophyte, *_: object) -> Iterator[Problem]:
    if item.length_mm > 15:
        yield f"a spur {item.length_mm:g} mm long", "keep it within 15 mm"


def _lesion(item: Lesion, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    body = _body(vertebrae[item.level])
    if 2 * item.radius_mm > body.height_mm:
        yield f"a lesion of {2 * item.radius_mm:g} mm across", "keep it within the body's height"


def _slip(item: Slip, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    if item.percent == 0:
        yield "a slip of 0 %", "leave it out"
    if item.direction == "posterior" and item.type == "isthmic":
        yield "an isthmic slip to the back", "a defect of the pars lets the body slip forwards"
    if item.direction == "posterior" and item.percent > 50:
        disc = next(shape.disc for shape in spine.discs if shape.disc.upper == item.level)
        length = item.percent / 100 * caudal_endplate_depth_mm(spine, disc)
        yield f"a posterior slip of {length:.0f} mm runs into the arch", "keep posterior slips within 50 %"
    if item.type == "degenerative" and item.percent > 50:
        yield f"a degenerative slip of {item.percent:g} %", "above 50 % the arch must be broken: use isthmic"


def _screws(item: Screws, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    order = [*vertebrae, Level.S1]
    places = [order.index(level) for level in item.levels]
    if any(below != above + 1 for above, below in pairwise(places)):
        yield "screws over levels that are not neighbours", "name neighbouring levels from head to foot"
    for level in item.levels:
        if level < Level.C7:
            yield f"pedicle screws in {level}", "use C7 to S1"
        elif level is not Level.S1:
            pedicle = vertebrae[level].arch.pedicle_width_mm
            if item.diameter_mm > _PEDICLE_SHARE * pedicle:
                yield (
                    f"a screw of {item.diameter_mm:g} mm in a pedicle {pedicle:.1f} mm wide at {level}",
                    f"keep it within {_PEDICLE_SHARE:.0%} of the pedicle",
                )


def _mimic(item: Mimic, spine: SpinePhantom, vertebrae: dict[Level, Vertebra]) -> Iterator[Problem]:
    allowed = sorted(mimic_levels(item.type))
    if item.level not in allowed:
        yield f"a {item.type} at {item.level}", f"use {allowed[0]} to {allowed[-1]}"
    elif item.type == "block_vertebra" and not any(shape.disc.upper == item.level for shape in spine.discs[:-1]):
        yield f"a block vertebra of {item.level} with the sacrum", "that is a transitional vertebra, not a block"


_CHECKS: dict[str, Callable[..., Iterator[Problem]]] = {
    "fracture": _fracture,
    "disc_degeneration": _disc_degeneration,
    "herniation": _herniation,
    "canal_stenosis": _canal,
    "foraminal_stenosis": _foramen,
    "modic": _modic,
    "schmorl": _schmorl,
    "osteophyte": _osteophyte,
    "lesion": _lesion,
    "slip": _slip,
    "screws": _screws,
    "mimic": _mimic,
}


# --- pairs -----------------------------------------------------------------------------------------------------------


def _together(one: Pathology, other: Pathology) -> str:
    """Why two records cannot stand together, seen from the first; empty where they can."""
    level, disc = getattr(other, "level", None), getattr(other, "disc", None)
    if isinstance(one, Fracture):
        if isinstance(other, Fracture) and other.level == one.level:
            return f"two fractures of {one.level}"
        if isinstance(other, SchmorlNode) and level == one.level:
            return f"a Schmorl node in the fractured {one.level} would change its stated height loss"
        if isinstance(other, Mimic) and level == one.level and other.type not in SHAPE_ONLY:
            return f"a {other.type} of the fractured {one.level} would change its stated height loss"
    if isinstance(one, Mimic):
        if isinstance(other, Mimic) and other.level == one.level:
            return f"two mimics at {one.level}"
        if one.type == "block_vertebra":
            return _inside_block(one, other)
    replaced = Herniation | DiscDegeneration | ModicChange | Cage
    if isinstance(one, Cage) and isinstance(other, replaced) and disc == one.disc:
        return f"a {other.kind} of {one.disc}, whose disc a cage replaces"
    if isinstance(one, Screws) and isinstance(other, Screws) and set(one.levels) & set(other.levels):
        return "two constructs share a level"
    if isinstance(one, Slip) and isinstance(other, Slip) and other.level == one.level:
        return f"two slips of {one.level}"
    if (
        isinstance(one, DiscDegeneration | CanalStenosis | ModicChange)
        and type(other) is type(one)
        and disc == one.disc
    ):
        return f"two records of {one.kind} at {one.disc}"
    same = isinstance(other, ForaminalStenosis) and getattr(one, "side", None) == other.side
    if isinstance(one, ForaminalStenosis) and same and disc == one.disc:
        return f"two grades of the {one.side} foramen at {one.disc}"
    return ""


def _inside_block(block: Mimic, other: Pathology) -> str:
    disc: Disc | None = getattr(other, "disc", None)
    if disc is not None and disc.upper == block.level:
        return f"a {other.kind} of {disc}, which is fused in a block vertebra"
    if isinstance(other, Slip) and other.level == block.level:
        return f"a slip of {block.level}, which is fused with the next vertebra"
    return ""


def _scheuermann_runs(spine: SpinePhantom) -> None:
    found = {
        item.level: index
        for index, item in enumerate(spine.pathologies)
        if isinstance(item, Mimic) and item.type == "scheuermann"
    }
    order = [vertebra.level for vertebra in spine.vertebrae]
    run: list[Level] = []
    for level in [*order, None]:
        if level in found:
            assert level is not None
            run.append(level)
            continue
        if 0 < len(run) < SCHEUERMANN_LEAST_RUN:
            raise RecordError(
                f"Scheuermann wedging of {len(run)} neighbouring vertebrae",
                field=f"pathologies[{found[run[0]]}]",
                cure=f"it takes {SCHEUERMANN_LEAST_RUN} neighbours (Sørensen); add some or remove it",
            )
        run = []


def _body(vertebra: Vertebra) -> BodyShape:
    if vertebra.body is None:
        raise SpineMedError(f"{vertebra.level} has no body", field="level", cure="use C2 or below")
    return vertebra.body
