"""Steps between names, names that may follow each other, and the numberings that a crop admits.

Convention: steps are counted in the spine of the reference. A prediction may name a level that this spine lacks (L6,
T13, T12 where it is missing); then the steps are those of the nearest spine that has both.

Trap: numbers of levels are no numbers. T11 to L1 is two steps in most patients and one where T12 is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from spinemed.anatomy import Level, Spine, number_view
from spinemed.errors import LevelError
from spinemed.geometry import WorldPoints
from spinemed.labelling import CentroidSet

__all__ = ["admissible_numberings", "column_of", "is_possible_neighbour", "renamed", "steps_between"]

_SPINES = tuple(Spine(thoracic, lumbar) for thoracic in (12, 11, 13) for lumbar in (5, 6, 4))
_SACRAL = (Level.S1, Level.S2, Level.S3, Level.S4, Level.S5)


def column_of(named: Sequence[Level]) -> Spine:
    """The spine of a reference; where its labels contradict each other (T13 without T12), the one that holds them."""
    try:
        return Spine.of(named)
    except LevelError:
        return Spine(13 if Level.T13 in named else 12, 6 if Level.L6 in named else 5)


def steps_between(named: Sequence[Level], true: Level, called: Level) -> int:
    """Steps from the true to the called level, positive towards the feet.

    Args:
        named: All levels of the reference, which tell whether its spine has a T13 or L6 or lacks T12.
        true: A level of the reference.
        called: Any level.
    """
    own = column_of(named)
    spines = [own, *sorted(_SPINES, key=lambda spine: _unlikeness(spine, own))]
    spine = next(spine for spine in spines if true in spine and called in spine)
    return spine.offset(true, called)


def _unlikeness(one: Spine, other: Spine) -> int:
    return abs(one.thoracic - other.thoracic) + abs(one.lumbar - other.lumbar)


def is_possible_neighbour(spine: Spine, level: Level, other: Level, *, below: bool) -> bool:
    """Whether `other` may be the next vertebra above or below `level`, in this spine or in any other.

    What lies beyond the field of view may be irregular: above L1 may come T11, T12 or T13.
    """
    step = 1 if below else -1
    return any(level in each and other in each and each.offset(level, other) == step for each in (spine, *_SPINES))


def renamed(centroids: CentroidSet, names: Mapping[Level, Level]) -> CentroidSet:
    """The same centroids under other names."""
    moved = {names.get(level, level): point for level, point in centroids.items()}
    if not moved:
        return centroids
    levels = tuple(sorted(moved))
    return replace(centroids, levels=levels, points=WorldPoints(np.array([moved[level] for level in levels])))


def admissible_numberings(
    levels: Sequence[Level],
    *,
    sacrum_in_view: bool = False,
    ribs_visible: bool = True,
    most_steps: int = 1,
) -> tuple[dict[Level, Level], ...]:
    """The numberings that a field of view admits, each from own level to admitted name; the first is its own.

    With an anchor in view (C2, the last rib with the vertebra below it, the sacrum) there is one. Without, the whole
    view may be named up to `most_steps` levels higher or lower in any spine, as long as the names follow each other
    and, where ribs can be seen, no vertebra changes between thoracic and lumbar, or cervical and thoracic.

    Args:
        levels: The vertebrae in view, by the reference's names.
        sacrum_in_view: Whether the sacrum can be seen (VerSe does not label it).
        ribs_visible: Whether the image shows ribs: a CT does.
        most_steps: How far the name may be off.
    """
    own = {level: level for level in sorted(levels)}
    if not own:
        return (own,)
    spine = column_of([*own, *([Level.S1] if sacrum_in_view and max(own) >= Level.L4 else [])])
    try:
        view = number_view([*own, *(_SACRAL[:1] if sacrum_in_view else ())], spine, ribs_visible=ribs_visible)
        decided = bool(view.anchors)
    except LevelError:  # a gap between the vertebrae: each part would have to be judged alone, so nothing is admitted
        return (own,)
    if decided:
        return (own,)
    found = [own]
    for steps in range(-most_steps, most_steps + 1):
        for each in (spine, *_SPINES):
            names = _shifted(tuple(own), each, steps)
            if names is None or names in found or names == own:
                continue
            if ribs_visible and any(a.region is not b.region for a, b in names.items()):
                continue
            found.append(names)
    return tuple(found)


def _shifted(levels: tuple[Level, ...], spine: Spine, steps: int) -> dict[Level, Level] | None:
    """Names `steps` lower in a spine that holds them all, or None."""
    if any(level not in spine for level in levels):
        return None
    try:
        names = {level: spine.shift(level, steps) for level in levels}
    except LevelError:
        return None
    presacral = spine.presacral
    return names if all(name in presacral for name in names.values()) else None
