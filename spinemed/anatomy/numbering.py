"""Whether a field of view decides the names of the vertebrae in it.

An anchor is something one may start counting from: C2 (or C0 or C1), the last rib (only if ribs are imaged, and only
with the vertebra below it in view), or the sacrum. Without an anchor the names are not determinable, however sharp the
image. Landmarks such as the renal artery, the aortic bifurcation or the conus are unreliable and count as none; a
lumbar image alone misnumbers about one patient in seven (Tokgoz 2014, PMC3955794).

The trap: an anchor fixes less than it seems. Whoever counts up from the last rib or the sacrum supposes twelve thoracic
vertebrae, because C2 is out of view. In a patient with T13, L6 or a missing vertebra the supposed name may be wrong,
and then the truth of that image is "not determinable" too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from spinemed.anatomy.levels import Level
from spinemed.anatomy.spine import REGULAR, CountingConvention, Spine
from spinemed.errors import LevelError

__all__ = ["Numbering", "determinable", "number_view"]


@dataclass(frozen=True)
class Numbering:
    """What a careful reader can name in one field of view.

    Attributes:
        visible: The levels in view, by the patient's own names, head to foot.
        anchors: What one may count from, the patient's own convention first.
        readings: For each anchor, from own name to the name the reader arrives at; empty where that count runs out of
            names.
        undecided: The visible levels whose own name the reader does not arrive at with certainty; all of them when
            there is no anchor.
    """

    visible: tuple[Level, ...]
    anchors: tuple[CountingConvention, ...]
    readings: dict[CountingConvention, dict[Level, Level]] = field(hash=False)
    undecided: tuple[Level, ...]

    @property
    def determinable(self) -> bool:
        """Whether every visible level has a decided name."""
        return not self.undecided

    @property
    def counted(self) -> CountingConvention | None:
        """The anchor to state beside an answer ("counted from the sacrum"), or None without one."""
        return self.anchors[0] if self.anchors else None


def number_view(visible: Iterable[Level], spine: Spine = REGULAR, *, ribs_visible: bool = False) -> Numbering:
    """What the field of view decides.

    If the anchor of the spine's own convention is in view, only that count matters; otherwise the counts from all other
    anchors in view must agree with the spine's own names.

    Args:
        visible: Levels in view, by the spine's own names, in any order, without gaps.
        spine: The patient's column.
        ribs_visible: Whether the image shows if a vertebra bears ribs (a narrow sagittal MR does not).

    Raises:
        LevelError: if a level is not in this spine, or the view has a gap (count each part on its own).
    """
    seen = frozenset(visible)
    shown = tuple(sorted(seen, key=spine.index))
    for upper, lower in pairwise(shown):
        if not spine.adjacent(upper, lower):
            raise LevelError(
                f"the view has a gap between {upper} and {lower}", field="visible", cure="number each part on its own"
            )
    anchors = _anchors(seen, spine, ribs_visible)
    readings = {anchor: _read_from(anchor, shown, spine, ribs_visible) for anchor in anchors}
    decisive = [spine.convention] if spine.convention in anchors else anchors
    undecided = tuple(
        level for level in shown if not decisive or any(readings[anchor].get(level) is not level for anchor in decisive)
    )
    return Numbering(shown, tuple(anchors), readings, undecided)


def determinable(visible: Iterable[Level], spine: Spine = REGULAR, *, ribs_visible: bool = False) -> bool:
    """Whether the field of view decides the name of every level in it; see `number_view`."""
    return number_view(visible, spine, ribs_visible=ribs_visible).determinable


def _anchors(seen: frozenset[Level], spine: Spine, ribs_visible: bool) -> list[CountingConvention]:
    found = []
    if seen & {Level.C0, Level.C1, Level.C2}:
        found.append(CountingConvention.FROM_C2)
    last_rib = spine.levels[Level.C7.ordinal + spine.ribs]
    if ribs_visible and {last_rib, spine.shift(last_rib, 1)} <= seen:
        found.append(CountingConvention.FROM_LAST_RIB)
    if seen & {Level.S1, Level.S2, Level.S3, Level.S4, Level.S5, Level.COCCYX}:
        found.append(CountingConvention.FROM_SACRUM)
    found.sort(key=lambda anchor: anchor is not spine.convention)
    return found


def _read_from(
    anchor: CountingConvention, shown: tuple[Level, ...], spine: Spine, ribs_visible: bool
) -> dict[Level, Level]:
    """From own names to the names reached by counting from one anchor."""
    try:
        renamed = spine.under(anchor)
    except LevelError:
        return {}
    names = dict(zip(spine.levels, renamed.levels))
    thorax_counted = bool({Level.C0, Level.C1, Level.C2} & set(shown)) or (
        ribs_visible and {Level.C7, Level.T1} <= set(shown)
    )
    if thorax_counted:
        return {level: names[level] for level in shown}
    # The top of the thorax is out of view: the reader supposes twelve thoracic vertebrae and counts upwards.
    moved = REGULAR.thoracic - renamed.thoracic
    return {
        level: names[level] if names[level] >= Level.L1 else REGULAR.levels[spine.index(level) + moved]
        for level in shown
    }
