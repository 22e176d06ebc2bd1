"""`draw_pathologies`: put drawn pathologies into a healthy spine.

Convention: parameters are drawn first and applied later; the result is the same `SpinePhantom` with `pathologies`
filled, in the order of `ORDER`, every number rounded to a tenth so that a record reads well and round-trips. The same
spine, config and generator state give the same record.

The trap: what is drawn first takes its place. A block vertebra leaves no disc to herniate, a cage no disc to wear, a
construct no level to fracture; later draws choose among what is left, and where nothing is left they are omitted. The
shares of the config are therefore upper bounds for later kinds, by a little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np

from spinemed.anatomy import Disc, Level, Region
from spinemed.errors import RecordError
from spinemed.phantom.pathology.config import HERNIATION_WEIGHTS, PRIORS, SEVERITY_BANDS, PathologyConfig, disc_wear
from spinemed.phantom.pathology.grades import (
    Zone,
    endplate_circumference_mm,
    lee_foraminal_grade,
    schizas_grade,
)
from spinemed.phantom.pathology.mimics import SCHEUERMANN_LEAST_RUN, MimicType, mimic_levels
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
    Side,
    Slip,
)
from spinemed.phantom.pathology.validate import SHAPE_ONLY, fracture_shape, validate_pathologies

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import BodyShape, SpinePhantom, Vertebra

__all__ = ["ORDER", "draw_pathologies"]

ORDER = (
    "mimic",
    "surgery",
    "slip",
    "herniation",
    "fracture",
    "disc_degeneration",
    "canal_stenosis",
    "foraminal_stenosis",
    "modic",
    "schmorl",
    "osteophyte",
    "lesion",
)
"""What is drawn before what."""
T = TypeVar("T")
_LEAST_SCREW_MM = 3.5
_SIDES: tuple[Side, Side] = ("left", "right")
_HEIGHT_LOSS = {1: (0.0, 0.0), 2: (0.0, 5.0), 3: (2.0, 15.0), 4: (15.0, 45.0), 5: (50.0, 75.0)}
"""Range of the height a disc has lost, in percent, by Pfirrmann grade: I and II normal, III at most slightly less."""


def draw_pathologies(spine: SpinePhantom, config: PathologyConfig, rng: np.random.Generator) -> SpinePhantom:
    """The spine with drawn pathologies; parameters differ between the families "a" and "b" of the spine.

    Args:
        spine: A spine without pathologies.
        config: Shares and weights.
        rng: The only source of randomness.

    Raises:
        RecordError: the spine already has pathologies.
    """
    if spine.pathologies:
        raise RecordError(
            f"the spine already has {len(spine.pathologies)} pathologies",
            field="pathologies",
            cure="draw into a healthy spine, or into its healthy_twin",
        )
    drawn = spine.model_copy(update={"pathologies": _Draw(spine, config, rng).all()})
    validate_pathologies(drawn)
    return drawn


class _Draw:
    """One draw: what is there so far, and what it occupies."""

    def __init__(self, spine: SpinePhantom, config: PathologyConfig, rng: np.random.Generator) -> None:
        self.spine, self.config, self.rng = spine, config, rng
        self.priors = PRIORS[spine.family]
        self.vertebrae: dict[Level, Vertebra] = {v.level: v for v in spine.vertebrae}
        self.levels = [v.level for v in spine.vertebrae if v.body is not None]
        self.discs = [shape.disc for shape in spine.discs]
        self.found: list[Pathology] = []
        self.broken: set[Level] = set()  # fractured
        self.reshaped: set[Level] = set()  # a mimic that a fracture would contradict
        self.mimicked: set[Level] = set()
        self.instrumented: set[Level] = set()
        self.gone: set[Disc] = set()  # fused or replaced
        self.grade: dict[Disc, int] = {}
        self.least: dict[Disc, int] = {}

    def all(self) -> tuple[Pathology, ...]:
        for name in ORDER:
            getattr(self, f"_{name}")()
        return tuple(self.found)

    # --- chance ---

    def happens(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        """A number to a tenth; the lower bound where the range is empty."""
        return round(float(self.rng.uniform(low, max(low, high))), 1)

    def pick(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        share = None if weights is None else np.asarray(weights, dtype=float) / float(np.sum(weights))
        return items[int(self.rng.choice(len(items), p=share))]

    def body(self, level: Level) -> BodyShape:
        return cast("BodyShape", self.vertebrae[level].body)

    # --- kinds, in the order of ORDER ---

    def _mimic(self) -> None:
        for kind in sorted(self.config.mimic_shares):
            if not self.happens(self.config.mimic_shares[kind]):
                continue
            allowed = mimic_levels(kind)
            free = [level for level in self.levels if level in allowed and level not in self.mimicked]
            if kind == "block_vertebra":
                free = [level for level in free if level is not self.levels[-1]]
            if kind == "physiological_wedging":
                free = [level for level in free if level >= Level.T11]
            count = SCHEUERMANN_LEAST_RUN + int(self.rng.integers(0, 2)) if kind == "scheuermann" else 1
            runs = [run for run in self._runs(count) if set(run) <= set(free)]
            if not runs:
                continue
            for level in self.pick(runs):
                self._add_mimic(kind, level)

    def _runs(self, count: int) -> list[list[Level]]:
        """Every stretch of so many neighbouring levels."""
        return [self.levels[at : at + count] for at in range(len(self.levels) - count + 1)]

    def _add_mimic(self, kind: MimicType, level: Level) -> None:
        self.found.append(Mimic(level=level, type=kind, amount=round(float(self.rng.random()), 2)))
        self.mimicked.add(level)
        if kind not in SHAPE_ONLY:
            self.reshaped.add(level)
        if kind == "block_vertebra":
            below = self.levels[self.levels.index(level) + 1]
            self.mimicked.add(below)
            self.reshaped.add(below)
            self.gone.update(disc for disc in self.discs if disc.upper == level)

    def _surgery(self) -> None:
        if not self.happens(self.config.surgery_share):
            return
        count = int(self.pick((2, 3, 4), (0.6, 0.3, 0.1)))
        order = [*self.levels, Level.S1]
        runs = [order[at : at + count] for at in range(len(order) - count + 1)]
        runs = [run for run in runs if run[0] >= Level.T10 and not set(run) & self.reshaped]
        if not runs:
            return
        run = self.pick(runs, [4.0 if level[-1] >= Level.L5 else 1.0 for level in runs])
        widest = min(0.8 * self.vertebrae[x].arch.pedicle_width_mm for x in run if x in self.vertebrae)
        if widest < _LEAST_SCREW_MM:
            return
        diameter = math.floor(10 * min(widest, self.between(5.5, 7.0))) / 10
        self.found.append(Screws(levels=tuple(run), diameter_mm=diameter, length_mm=self.between(38, 50)))
        self.instrumented.update(run)
        for disc in self.discs:
            if disc.upper in run and disc.lower in run and disc not in self.gone and self.happens(0.65):
                self.found.append(Cage(disc=disc, material=self.pick(("titanium", "peek"))))
                self.gone.add(disc)

    def _slip(self) -> None:
        if not self.happens(self.config.slip_share):
            return
        free = [d.upper for d in self.discs if d not in self.gone and d.upper >= Level.L1]
        if not free:
            return
        last = self.levels[-1]
        before = self.levels[-2]
        kind: Literal["degenerative", "isthmic"]
        if self.happens(self.config.posterior_slip_share):
            level, kind, percent = self.pick(free), "degenerative", self.between(4, 20)
            direction: Literal["anterior", "posterior"] = "posterior"
        else:
            direction = "anterior"
            kind = "isthmic" if self.happens(self.priors.isthmic_share) else "degenerative"
            weight = {last: 6.0, before: 1.5} if kind == "isthmic" else {last: 0.8, before: 6.0}
            level = self.pick(free, [weight.get(x, 0.15) for x in free])
            if kind == "isthmic":
                low, high = self.pick(
                    ((6, 25), (26, 50), (51, 75), (76, 100), (101, 115)), (0.58, 0.26, 0.1, 0.04, 0.02)
                )
                percent = self.between(low, high)
            else:
                percent = self.between(*self.priors.degenerative_slip)
        self.found.append(Slip(level=level, percent=percent, direction=direction, type=kind))
        self.least[next(disc for disc in self.discs if disc.upper == level)] = 3

    def _herniation(self) -> None:
        if not self.happens(self.config.herniation_share):
            return
        free = [d for d in self.discs if d not in self.gone and d.upper in HERNIATION_WEIGHTS]
        for _ in range(int(self.pick((1, 2, 3), (0.6, 0.3, 0.1)))):
            if not free:
                return
            disc = self.pick(free, [HERNIATION_WEIGHTS[d.upper] for d in free])
            free.remove(disc)
            self.found.append(self._displacement(disc))
            self.least[disc] = max(self.least.get(disc, 1), 2 if self.happens(0.3) else 3)

    def _displacement(self, disc: Disc) -> Herniation:
        body, canal = self.body(disc.upper), self.vertebrae[disc.upper].arch.canal_depth_mm
        around = endplate_circumference_mm(body.lower_width_mm, body.lower_depth_mm)
        kinds: tuple[Literal["bulge", "protrusion", "extrusion", "sequestration"], ...] = (
            "bulge",
            "protrusion",
            "extrusion",
            "sequestration",
        )
        kind = self.pick(kinds, (0.35, 0.35, 0.22, 0.08))
        if kind == "bulge":
            base = self.between(0.3 * around, 0.9 * around)
            return Herniation(disc=disc, type="bulge", zone="central", depth_mm=self.between(1.5, 3.5), base_mm=base)
        zones: tuple[Zone, ...] = ("central", "subarticular", "foraminal", "extraforaminal")
        zone = self.pick(zones, (0.35, 0.4, 0.18, 0.07))
        side = None if zone == "central" else self.pick(_SIDES)
        share = (0.15, 0.35) if kind == "protrusion" else (0.28, 0.6)
        depth = max(self.between(share[0] * canal, share[1] * canal), 1.5)
        wide = self.between(1.3, 2.6) if kind == "protrusion" else self.between(0.5, 0.95)
        base = round(min(max(wide * depth, 2.0), 0.2 * around), 1)
        migration = 0.0
        if kind == "extrusion" and self.happens(0.6):
            migration = self.between(2.0, 0.35 * body.height_mm)
        elif kind == "sequestration":
            disc_height = next(shape.middle_height_mm for shape in self.spine.discs if shape.disc == disc)
            migration = self.between(disc_height / 2 + 3.0, min(disc_height / 2 + 12.0, 0.95 * body.height_mm))
        if migration and self.happens(0.65):
            migration = -migration
        return Herniation(
            disc=disc, type=kind, zone=zone, side=side, depth_mm=depth, base_mm=base, migration_mm=migration
        )

    def _fracture(self) -> None:
        if not self.happens(self.config.fracture_share):
            return
        first = self._fracture_at(self._fracturable())
        if first is None:
            return
        if self.happens(self.config.fracture_adjacent_share):
            for _ in range(2 if self.happens(0.3) else 1):
                at = [self.levels.index(level) for level in self.broken]
                beside = [self.levels[i] for i in {max(at) + 1, min(at) - 1} if 0 <= i < len(self.levels)]
                self._fracture_at([level for level in self._fracturable() if level in beside])
        elif self.happens(self.config.fracture_multiple_share):
            near = {i + step for i in map(self.levels.index, self.broken) for step in (-1, 1)}
            self._fracture_at([level for level in self._fracturable() if self.levels.index(level) not in near])

    def _fracturable(self) -> list[Level]:
        """Levels that may still break, head to foot."""
        taken = self.broken | self.reshaped | self.instrumented
        weights = self.config.fracture_weights
        return [level for level in self.levels if weights.get(level, 0) > 0 and level not in taken]

    def _fracture_at(self, free: list[Level]) -> Level | None:
        if not free:
            return None
        level = self.pick(free, [self.config.fracture_weights[x] for x in free])
        bands = sorted(self.config.severity_weights)
        band = self.pick(bands, [self.config.severity_weights[x] for x in bands])
        worst = self.between(*SEVERITY_BANDS[band])
        losses = self._losses(worst)
        canal = self.vertebrae[level].arch.canal_depth_mm
        bursting = (losses[2] >= 20 or worst >= 40) and self.happens(self.priors.retropulsion_share)
        self.found.append(
            Fracture(
                level=level,
                shape=cast("Any", fracture_shape(*losses)),
                anterior_loss_percent=losses[0],
                middle_loss_percent=losses[1],
                posterior_loss_percent=losses[2],
                upper_share=round(float(self.rng.uniform(*self.priors.upper_share)), 2),
                retropulsion_mm=self.between(1.0, 0.35 * canal) if bursting else 0.0,
            )
        )
        self.broken.add(level)
        return level

    def _losses(self, worst: float) -> tuple[float, float, float]:
        """Anterior, middle and posterior loss with the given largest one; the posterior wall holds unless crushed."""
        shape = self.pick(("wedge", "biconcave", "crush"), self.priors.shapes)
        holds = min(19.5, 0.45 * worst)
        if shape == "wedge":
            back = min(self.between(*(share * worst for share in self.priors.wedge_back)), holds)
            return worst, self.between(*(share * worst for share in self.priors.wedge_middle)), round(back, 1)
        if shape == "biconcave":
            back = min(self.between(0.1 * worst, 0.4 * worst), holds)
            return self.between(0.3 * worst, 0.75 * worst), worst, round(back, 1)
        back = max(self.between(0.75 * worst, 0.98 * worst), 20.0 if worst >= 20.0 else 0.0)
        return worst, self.between(0.9 * worst, worst), round(back, 1)

    def _disc_degeneration(self) -> None:
        scale, age = self.config.degeneration, self.spine.person.age_years
        for disc in self.discs:
            wear = (age - 18) / 72 * self.priors.wear_slope + disc_wear(disc.upper, lumbosacral=disc is self.discs[-1])
            noise = self.rng.normal(0, self.priors.wear_noise)
            grade = int(np.clip(math.floor(1.5 + scale * wear + min(scale, 1.0) * noise), 1, 5))
            grade = max(grade, self.least.get(disc, 1))
            loss = self.between(*_HEIGHT_LOSS[grade])
            if disc in self.gone:
                continue
            self.grade[disc] = grade
            if grade > 1:
                self.found.append(DiscDegeneration(disc=disc, pfirrmann=cast("Any", grade), height_loss_percent=loss))

    def _worn(self, region: Region | None = None) -> list[Disc]:
        """Discs of grade 3 or worse, head to foot."""
        return [d for d, grade in self.grade.items() if grade >= 3 and (region is None or d.region is region)]

    def _some_worn(self, share: float, most: int, region: Region | None = None) -> list[Disc]:
        if not self.happens(share):
            return []
        worn = self._worn(region)
        count = min(len(worn), int(self.rng.integers(1, most + 1)))
        return sorted(worn[int(i)] for i in self.rng.choice(len(worn), count, replace=False)) if count else []

    def _canal_stenosis(self) -> None:
        for disc in self._some_worn(self.config.canal_stenosis_share, 3, Region.LUMBAR):
            loss = self.between(15, 95)
            self.found.append(CanalStenosis(disc=disc, schizas=schizas_grade(loss), area_loss_percent=loss))

    def _foraminal_stenosis(self) -> None:
        for disc in self._some_worn(self.config.foraminal_stenosis_share, 3, Region.LUMBAR):
            sides = _SIDES if self.happens(0.4) else (self.pick(_SIDES),)
            for side in sides:
                loss = self.between(10, 92)
                lee = lee_foraminal_grade(loss)
                self.found.append(ForaminalStenosis(disc=disc, side=side, lee=lee, area_loss_percent=loss))

    def _modic(self) -> None:
        for disc in self._some_worn(self.config.modic_share, 2):
            height = self.between(3.0, 0.4 * self.body(disc.upper).height_mm)
            kind = self.pick((1, 2, 3), (0.25, 0.6, 0.15))
            self.found.append(ModicChange(disc=disc, type=cast("Any", kind), height_mm=height))

    def _schmorl(self) -> None:
        if not self.happens(self.config.schmorl_share):
            return
        taken = self.broken | self.reshaped | self.instrumented
        free = [x for x in self.levels if Level.T7 <= x <= Level.L4 and x not in taken]
        for _ in range(min(len(free), int(self.rng.integers(1, 4)))):
            level = self.pick(free)
            free.remove(level)
            body = self.body(level)
            reach = min(body.upper_depth_mm, body.lower_depth_mm)
            self.found.append(
                SchmorlNode(
                    level=level,
                    endplate=self.pick(("upper", "lower")),
                    depth_mm=self.between(2.0, 0.22 * body.height_mm),
                    radius_mm=self.between(3.0, 0.2 * reach),
                    x_share=round(float(self.rng.uniform(-0.3, 0.3)), 2),
                    y_share=round(float(self.rng.uniform(-0.35, 0.25)), 2),
                )
            )

    def _osteophyte(self) -> None:
        if not self.happens(self.config.osteophyte_share):
            return
        first, more = self.priors.spur_mm
        places: list[tuple[Literal["anterior", "left", "right"], float]] = [
            ("anterior", 0.6),
            ("left", 0.25),
            ("right", 0.25),
        ]
        for disc in self._worn():
            for where, share in places:
                if not self.happens(share):
                    continue
                usual = first + more * (self.grade[disc] - 3)
                for level, endplate in ((disc.upper, "lower"), (disc.lower, "upper")):
                    length = self.between(0.6 * usual, 1.4 * usual)
                    if level in self.vertebrae:
                        side = cast("Literal['upper', 'lower']", endplate)
                        self.found.append(Osteophyte(level=level, endplate=side, where=where, length_mm=length))

    def _lesion(self) -> None:
        if not self.happens(self.config.lesion_share):
            return
        free = [level for level in self.levels if level >= Level.T1 and level not in self.broken | self.instrumented]
        kind: Literal["lytic", "blastic"] = self.pick(("lytic", "blastic"), (0.6, 0.4))
        for _ in range(min(len(free), int(self.rng.integers(1, 4)))):
            level = self.pick(free)
            free.remove(level)
            low, high = (share * self.body(level).height_mm for share in self.priors.lesion_share)
            x, y, z = (round(float(v), 2) for v in self.rng.uniform(-0.5, 0.5, 3))
            radius = math.floor(10 * min(self.between(low, high), 0.5 * self.body(level).height_mm)) / 10
            self.found.append(Lesion(level=level, type=kind, radius_mm=radius, x_share=x, y_share=y, z_share=z))
