"""The phantoms on which agreement is shown: healthy, curved, slipped, broken, and lying askew in the scanner.

Convention: drawn by fixed seeds, so that the same case is the same spine; family "a" and "b" take turns, and so do the
sexes. A fracture's losses are laid out evenly from 5 to 60 %, not drawn, so that every shape has mild and severe ones.
The trap: the case says what is in the spine; what is in view is the grid's doing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spinemed.anatomy import Level
from spinemed.phantom.imaging.grid import Field
from spinemed.phantom.pathology.records import Fracture, Pathology, Slip
from spinemed.phantom.pathology.validate import fracture_shape, validate_pathologies
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import Family, Sex, SpinePhantom

__all__ = ["Case", "agreement_cases"]

_SEED = 31
_FAMILIES: tuple[Family, Family] = ("a", "b")
_SEXES = (Sex.FEMALE, Sex.MALE)
_BROKEN = (Level.L1, Level.T12, Level.T8, Level.L2, Level.T11, Level.L3, Level.T7, Level.L4)


class Case(NamedTuple):
    """One phantom to measure."""

    name: str
    group: str
    spine: SpinePhantom
    field: Field
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


def agreement_cases(
    healthy: int = 20, curved: int = 8, slipped: int = 8, broken: int = 16, tilted: int = 8
) -> list[Case]:
    """The cases, by how many of each group.

    Args:
        healthy: Full spines without anything, both sexes and families in turn.
        curved: Full spines with a scoliosis of 10 to 45 degrees.
        slipped: Lumbar spines with a slip of L3, L4 or L5, mostly to the front, 5 to 60 %.
        broken: Spines with a fracture of each shape in turn, 5 to 60 %; every fourth with a broken neighbour.
        tilted: Lumbar spines on a grid that is turned by up to 20 degrees about all axes.
    """
    cases = [Case(f"healthy {n}", "healthy", _spine(n), "full") for n in range(healthy)]
    cases += [Case(f"curved {n}", "curved", _spine(100 + n, scoliosis=1.0), "full") for n in range(curved)]
    for n in range(slipped):
        cases.append(Case(f"slipped {n}", "slipped", _with(_spine(200 + n), _slip(n, slipped)), "lumbar"))
    for n in range(broken):
        healthy_spine = _spine(300 + n)
        items = _fractures(healthy_spine, n, broken)
        field: Field = "lumbar" if items[-1].level >= Level.L2 else "thoracolumbar"
        cases.append(Case(f"broken {n}", "broken", _with(healthy_spine, *items), field))
    for n in range(tilted):
        rng = np.random.default_rng([_SEED, n])
        x, y, z = (float(angle) for angle in rng.uniform(-20, 20, size=3).round(1))
        cases.append(Case(f"tilted {n}", "tilted", _spine(400 + n), "lumbar", (x, y, z)))
    return cases


def _spine(index: int, scoliosis: float = 0.0) -> SpinePhantom:
    config = SpineConfig(
        family=_FAMILIES[index % 2],
        sex=_SEXES[(index // 2) % 2],
        variant_shares={},
        transition_share=0.0,
        scoliosis_share=scoliosis,
    )
    return draw_spine(_SEED, index, config)


def _with(spine: SpinePhantom, *items: Pathology) -> SpinePhantom:
    changed = spine.model_copy(update={"pathologies": tuple(items)})
    validate_pathologies(changed)
    return changed


def _slip(n: int, count: int) -> Slip:
    percent = round(float(np.linspace(5, 60, max(count, 2))[n]), 1)
    back = n % 4 == 3 and percent <= 50
    return Slip(
        level=(Level.L5, Level.L4, Level.L3)[n % 3],
        percent=percent,
        direction="posterior" if back else "anterior",
        type="degenerative" if back or percent <= 30 else "isthmic",
    )


def _fractures(spine: SpinePhantom, n: int, count: int) -> list[Fracture]:
    worst = float(np.linspace(5, 60, max(count, 2))[n])
    level = _BROKEN[n % len(_BROKEN)]
    found = [_fracture(level, n % 3, worst, 0.5 + 0.1 * (n % 6))]
    if n % 4 == 3:
        levels = [vertebra.level for vertebra in spine.vertebrae]
        found.append(_fracture(levels[levels.index(level) + 1], (n + 1) % 3, 0.6 * worst, 0.9))
    return found


def _fracture(level: Level, shape: int, worst: float, upper_share: float) -> Fracture:
    shares = ((1.0, 0.6, 0.1), (0.5, 1.0, 0.2), (1.0, 0.95, 0.85))[shape]
    front, middle, back = (round(share * worst, 1) for share in shares)
    return Fracture(
        level=level,
        shape=fracture_shape(front, middle, back),  # type: ignore[arg-type]
        anterior_loss_percent=front,
        middle_loss_percent=middle,
        posterior_loss_percent=back,
        upper_share=round(upper_share, 2),
    )
