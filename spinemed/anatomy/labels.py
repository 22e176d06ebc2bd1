"""Label maps: which number a segmentation uses for which level.

============================  ============================================================================
`LABEL_MAPS["verse"]`         VerSe 2019/2020: 1-7 C1-C7, 8-19 T1-T12, 20-25 L1-L6, 26 sacrum, 27 coccyx,
                              28 T13
`LABEL_MAPS["tptbox"]`        SPINEPS and TPTBox: as VerSe, but 26 is S1 alone, and 29-32 are S2-S5
`..["totalsegmentator"]`      TotalSegmentator v2, task `total`: 25 sacrum, 26 S1, 27-31 L5-L1,
                              32-43 T12-T1, 44-50 C7-C1
`..["totalsegmentator_v3"]`   TotalSegmentator, task `total_v3`: the same, but 26 is L6 and S1 has no label
============================  ============================================================================

Sources: VerSe data description (doi 10.1038/s41597-021-01060-0); `vert_constants.py` of TPTBox; `map_to_binary.py` of
TotalSegmentator. TPTBox also knows a label 33 (a sixth sacral piece); no `Level` names it, so it is left out here and
refused on reading.

The trap: one number means different things. 26 is the whole sacrum, S1 or L6; 28 is T13 or L4; the order of the numbers
is head to foot nowhere, not even in VerSe. Labels of a whole region (`regions`) are never turned into a single level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from spinemed.anatomy.levels import Level, Region
from spinemed.errors import LevelError

__all__ = ["LABEL_MAPS", "LabelMap"]


@dataclass(frozen=True)
class LabelMap:
    """The vertebra labels of one segmentation format, both ways.

    Attributes:
        name: The key in `LABEL_MAPS`.
        labels: Label of each level that has one of its own; no label twice.
        regions: Labels that stand for a whole region, such as VerSe 26 for the sacrum.

    Raises:
        LevelError: if a label is given twice or is not positive (0 is background).
    """

    name: str
    labels: Mapping[Level, int] = field(hash=False)
    regions: Mapping[int, Region] = field(hash=False, default_factory=dict)

    def __post_init__(self) -> None:
        taken = [*self.labels.values(), *self.regions]
        if len(set(taken)) != len(taken) or any(label < 1 for label in taken):
            raise LevelError(
                f"label map '{self.name}' uses a label twice or below 1",
                field="labels",
                cure="give every level its own label above 0",
            )
        # Shared between callers: a map that one of them edits would mislabel for all.
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))
        object.__setattr__(self, "regions", MappingProxyType(dict(self.regions)))
        object.__setattr__(self, "_levels_by_label", {label: level for level, label in self.labels.items()})

    def __reduce__(self) -> tuple[object, ...]:
        return (LabelMap, (self.name, dict(self.labels), dict(self.regions)))

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that have a label of their own, head to foot."""
        return tuple(sorted(self.labels))

    def to_level(self, label: int) -> Level:
        """The level of a label.

        Raises:
            LevelError: for a label of a whole region, or one this map does not know; names the nearest legal ones.
        """
        level = self._levels_by_label.get(label)  # type: ignore[attr-defined]
        if isinstance(level, Level):
            return level
        if label in self.regions:
            raise LevelError(
                f"label {label} of the map '{self.name}' is the whole {self.regions[label]} region, not one level",
                field="label",
                cure=f"use to_region({label}), or a map that labels the vertebrae of that region one by one",
            )
        raise LevelError(
            f"label {label!r} is no vertebra in the map '{self.name}'",
            field="label",
            cure=f"nearest legal labels: {self._nearest(label)}; or choose another of {', '.join(LABEL_MAPS)}",
        )

    def to_region(self, label: int) -> Region:
        """The region of a label, also where the label is a whole region.

        Raises:
            LevelError: for a label this map does not know.
        """
        return self.regions[label] if label in self.regions else self.to_level(label).region

    def to_label(self, level: Level) -> int:
        """The label of a level.

        Raises:
            LevelError: if this map has no label for it alone; names the region's label if there is one.
        """
        if level in self.labels:
            return self.labels[level]
        whole = [label for label, region in self.regions.items() if region is level.region]
        near = sorted(self.levels, key=lambda other: abs(other.ordinal - level.ordinal))[:2]
        cure = f"nearest levels it labels: {', '.join(near)}"
        if whole:
            cure = f"label {whole[0]} stands for the whole {level.region} region; {cure}"
        raise LevelError(f"the map '{self.name}' has no label for {level} alone", field="level", cure=cure)

    def _nearest(self, label: object) -> str:
        legal = sorted([*self.labels.values(), *self.regions])
        if not isinstance(label, int):
            return f"{legal[0]} to {legal[-1]}"
        near = sorted(sorted(legal, key=lambda other: abs(other - label))[:3])
        return ", ".join(f"{other} ({self._name(other)})" for other in near)

    def _name(self, label: int) -> str:
        return f"{self.regions[label]} region" if label in self.regions else str(self.to_level(label))


_VERSE: dict[Level, int] = {
    level: level.verse_label for level in Level if level is not Level.C0 and level.region is not Region.SACRAL
}
_TOTAL: dict[Level, int] = {
    level: 50 - index for index, level in enumerate((*Region.CERVICAL.levels[1:], *Region.THORACIC.levels[:12]))
}
_TOTAL |= {level: 31 - index for index, level in enumerate(Region.LUMBAR.levels[:5])}

LABEL_MAPS: Mapping[str, LabelMap] = MappingProxyType(
    {
        each.name: each
        for each in (
            LabelMap("verse", _VERSE, {26: Region.SACRAL}),
            LabelMap(
                "tptbox",
                _VERSE | {Level.S1: 26, Level.S2: 29, Level.S3: 30, Level.S4: 31, Level.S5: 32},
            ),
            LabelMap("totalsegmentator", _TOTAL | {Level.S1: 26}, {25: Region.SACRAL}),
            LabelMap("totalsegmentator_v3", _TOTAL | {Level.L6: 26}, {25: Region.SACRAL}),
        )
    }
)
"""Every label map by name."""
