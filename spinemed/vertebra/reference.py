"""How high a vertebra should be, from the other bodies of the same spine: masks only, nothing trained.

Two estimators behind one interface (:class:`ReferenceEstimator`): :class:`LevelCurve`, and :class:`NeighbourMean`, the
plain mean of the two neighbours that it has to beat.

The level curve. Every measured body gives three numbers: the logarithm of its posterior height over the level's norm,
and those of its anterior and of its middle height over its posterior one, again over the norm's. Along a healthy spine
each is smooth. A Gaussian process over the levels (a person's offset, a slow part, and a part of the single vertebra)
predicts them at the target, which is left out; so near bodies weigh most. It is made robust, and from below: fractures
only shrink, so a body that lies under what all others say loses its weight soon (1.5 sd), one above late (3 sd). A
wedged neighbour's anterior height drops out that way, while its posterior one, believed less, still counts.

The target's own posterior height helps: of a wedge or biconcave fracture it has hardly sunk, and anterior and posterior
height of one body go together far more closely than two bodies do. It enters as what is left of a healthy height after
a fall that is mostly small, grows with the body's own deformity, and may be large (crush). Depth and width do not
enter: on phantoms, whose single vertebrae scatter in each size apart, they told nothing of heights.

The standard deviations below were set on healthy phantoms (seed 601, families a and b), not on patients.

The trap: phantoms are drawn from the very table that gives the norm, so that errors measured on them are a lower bound
of those in patients. And a spine in which most bodies have sunk alike looks healthy to itself, unless it lies far below
the norm or one of them is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError, VolumeError
from spinemed.measure import Body
from spinemed.measure.records import SpineMeasurements
from spinemed.vertebra.norms import NORM_LEVELS, Sex, norm_thirds_mm
from spinemed.vertebra.rhlv import Quality

__all__ = ["BodyHeights", "LevelCurve", "NeighbourMean", "Reference", "ReferenceEstimator", "spine_heights"]

Array = NDArray[np.float64]

_LEAST_BODIES = 3.0
"""Bodies, counted by weight, without which no curve is believed."""
_LARGEST_SD = 0.06
"""Of a relative height: beyond it the 95 % interval of a loss is wider than 12 points to each side."""
_FARTHEST = 3
"""Levels to the nearest body that still counts."""
_LEAST_TRUSTED = 0.5
"""Weight from which a body counts as whole."""
_MANY_ABOVE = 2
"""Bodies too tall for the course, from which on the course is not believed."""
_FARTHEST_OFF = 0.3
"""Logarithm of a person's heights over the norm: tables of adults disagree by a quarter, people by another tenth."""
_TALLER_SD = 3.5
"""How far a body may stand above its own reference before that is not believed."""
_NEIGHBOUR_SD = 0.045
"""Relative scatter of a healthy body about the mean of its healthy neighbours, all thirds."""


@dataclass(frozen=True)
class BodyHeights:
    """Heights of one body's thirds along its own axis, mm, and the sd of reading them from its mask."""

    level: Level
    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    reading_sd_mm: float = 0.2

    @property
    def thirds(self) -> tuple[float, float, float]:
        """Anterior, middle, posterior."""
        return self.anterior_mm, self.middle_mm, self.posterior_mm

    @classmethod
    def of(cls, level: Level, body: Body) -> BodyHeights:
        """The heights of a fitted body.

        Raises:
            VolumeError: a third has no height.
        """
        return cls(level, *_positive(level, body.heights_of_thirds_mm()), _reading_sd(body.resolution_mm))


def _reading_sd(layer_mm: float) -> float:
    return 0.2 * layer_mm


def _positive(level: Level, heights: tuple[float, float, float]) -> tuple[float, float, float]:
    if not all(np.isfinite(height) and height > 0 for height in heights):
        raise VolumeError(f"{level} has no height in every third", field="mask", cure="use a whole body's mask")
    return heights


def spine_heights(found: SpineMeasurements) -> tuple[list[BodyHeights], dict[Level, str]]:
    """The bodies of a measured spine that can tell of others, and why the rest cannot.

    Cut bodies, bodies in several parts and bodies without all three heights tell nothing.

    Returns:
        Bodies from T1 to L6, head to foot; and a reason by level for each one left out.
    """
    kept: list[BodyHeights] = []
    dropped: dict[Level, str] = {}
    for vertebra in found.vertebrae:
        if vertebra.level not in NORM_LEVELS:
            continue
        bad = next((flag for flag in vertebra.flags if flag.code in ("cut", "several_parts")), None)
        heights = vertebra.heights_of_thirds
        values = None if heights is None else (heights.anterior_mm, heights.middle_mm, heights.posterior_mm)
        if bad is not None:
            dropped[vertebra.level] = bad.text
        elif values is None or not all(value is not None and value > 0 for value in values):
            dropped[vertebra.level] = "; ".join(flag.text for flag in vertebra.flags) or "no height of every third"
        else:
            anterior, middle, posterior = (float(value or 0) for value in values)
            layer = vertebra.resolution_mm or 1.0
            kept.append(BodyHeights(vertebra.level, anterior, middle, posterior, _reading_sd(layer)))
    return kept, dropped


@dataclass(frozen=True)
class Reference:
    """What the thirds of a body should measure along the healthy body's own axis.

    Attributes:
        level: Which body.
        anterior_mm, middle_mm, posterior_mm: Expected heights.
        sd_mm: Their standard deviations, same order.
        state: "estimated" or "unreliable".
        method: Which estimator.
        reasons: Why it is unreliable, or what limits it.
        used: Bodies that carry it.
    """

    level: Level
    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    sd_mm: tuple[float, float, float]
    state: Quality
    method: str
    reasons: tuple[str, ...] = ()
    used: tuple[Level, ...] = ()

    @property
    def thirds(self) -> tuple[float, float, float]:
        """Anterior, middle, posterior."""
        return self.anterior_mm, self.middle_mm, self.posterior_mm


def _reference(
    level: Level, heights: Array, sd: Array, method: str, reasons: tuple[str, ...], used: tuple[Level, ...]
) -> Reference:
    anterior, middle, posterior = (float(height) for height in heights)
    spread = (float(sd[0]), float(sd[1]), float(sd[2]))
    state: Quality = "unreliable" if reasons else "estimated"
    return Reference(level, anterior, middle, posterior, spread, state, method, reasons, used)


class ReferenceEstimator(Protocol):
    """Expected heights of one body from the others of its spine."""

    @property
    def name(self) -> str:
        """What the reference says it was made by."""

    def estimate(
        self, level: Level, spine: Sequence[BodyHeights], *, sex: Sex | None = None, numbered: bool = True
    ) -> Reference:
        """The reference of a level.

        Args:
            level: The target; its own entry in `spine` is never taken for another body's.
            spine: All measured bodies.
            sex: Of the patient, None if not known.
            numbered: Whether the levels are certain; if not, the reference is unreliable.

        Raises:
            LevelError: a level above T1 or below L6, or one that occurs twice.
            VolumeError: no other body.
        """


@dataclass(frozen=True)
class NeighbourMean:
    """The mean of the nearest body above and the nearest below, by distance; the one there is at an end of the spine.

    Source: the visual rule of Genant 1993 (J Bone Miner Res 8:1137), which reads a body against its neighbours.
    """

    name: str = "mean of neighbours"

    def estimate(
        self, level: Level, spine: Sequence[BodyHeights], *, sex: Sex | None = None, numbered: bool = True
    ) -> Reference:
        """See :class:`ReferenceEstimator`; the sex is not used."""
        _, others = _split(level, spine)
        place = _places(level, others)
        above = [(at, each) for at, each in zip(place, others, strict=True) if at < 0]
        below = [(at, each) for at, each in zip(place, others, strict=True) if at > 0]
        ends = [max(above, key=lambda pair: pair[0])] if above else []
        ends += [min(below, key=lambda pair: pair[0])] if below else []
        shares = [1.0 / abs(at) for at, _ in ends]
        heights = np.average([each.thirds for _, each in ends], axis=0, weights=shares)
        reasons = [] if numbered else ["the levels are not certain"]
        if len(ends) == 1:
            reasons.append("one neighbour only")
        if max(abs(at) for at, _ in ends) > _FARTHEST:
            reasons.append(f"no body within {_FARTHEST} levels")
        used = tuple(each.level for _, each in ends)
        return _reference(level, heights, _NEIGHBOUR_SD * heights, self.name, tuple(reasons), used)


@dataclass(frozen=True)
class _Part:
    """Standard deviations of one of the three numbers: of a person, of the slow course, of a single vertebra."""

    person: float
    slow: float
    single: float

    def covariance(self, a: Array, b: Array) -> Array:
        """Between places, without the single vertebra's part."""
        return self.person**2 + self.slow**2 * np.exp(-np.abs(a[:, None] - b[None, :]) / _RANGE)


_RANGE = 5.0  # levels over which the slow part fades
_LEVEL = _Part(0.08, 0.03, 0.030)
_FRONT = _Part(0.015, 0.008, 0.016)
_MIDDLE = _Part(0.015, 0.008, 0.016)
_SAG = (0.006, 0.20)  # fall of a posterior wall: its mean, and what it grows by with the body's own deformity
_CRUSH_SHARE = 0.12  # bodies whose posterior wall may have lost up to 60 %


@dataclass(frozen=True)
class LevelCurve:
    """The robust course of heights over the levels of a spine; see the module docstring.

    Attributes:
        name: As the reference gives it.
        own_posterior: Whether the target's own posterior height counts.
    """

    name: str = "level curve"
    own_posterior: bool = True

    def estimate(
        self, level: Level, spine: Sequence[BodyHeights], *, sex: Sex | None = None, numbered: bool = True
    ) -> Reference:
        """See :class:`ReferenceEstimator`."""
        target, others = _split(level, spine)
        place = _places(level, others)
        numbers, reading = _numbers(others, sex)
        here = np.zeros(1)
        front = _curve(place, numbers[1], reading[1], _FRONT, here)
        middle = _curve(place, numbers[2], reading[2], _MIDDLE, here)
        # A deformed body's posterior wall has sunk a little itself: corrected, and believed less.
        bent = np.maximum(0.0, np.maximum(front.below, middle.below))
        sag = np.where(bent > 2 * _FRONT.single, _SAG[1] * bent, 0.0)
        height = _curve(place, numbers[0] + sag, np.hypot(reading[0], sag), _LEVEL, here)
        mean, variance = height.mean, height.sd**2
        taller = 0.0
        if target is not None:
            (own,), (error,) = (each.T for each in _numbers([target], sex))
            taller = float((own[0] - mean) / np.hypot(height.sd, error[0]))
        if self.own_posterior and target is not None:
            own_bent = max(0.0, front.mean - own[1], middle.mean - own[2])
            mean, variance = _with_own(mean, variance, float(own[0]), float(error[0]), own_bent)
        norm = norm_thirds_mm(level, sex)
        logs = np.array([mean + front.mean, mean + middle.mean, mean])
        spread = np.sqrt([variance + front.sd**2, variance + middle.sd**2, variance])
        heights = norm * np.exp(logs)
        used = tuple(
            each.level for each, weight in zip(others, height.weights, strict=True) if weight >= _LEAST_TRUSTED
        )
        reasons = _reasons(height, place, float(spread.max()), numbered, taller)
        return _reference(level, heights, heights * spread, self.name, reasons, used)


def _reasons(height: _Course, place: Array, spread: float, numbered: bool, taller: float) -> tuple[str, ...]:
    found, weights = [], height.weights
    trusted = weights >= _LEAST_TRUSTED
    if not numbered:
        found.append("the levels are not certain")
    if weights.sum() < _LEAST_BODIES:
        partly = f" that count as {np.floor(10 * weights.sum()) / 10:.1f}" if trusted.sum() >= _LEAST_BODIES else ""
        found.append(f"{int(trusted.sum())} usable bodies{partly}, fewer than {_LEAST_BODIES:.0f}")
    if not trusted.any() or np.abs(place[trusted]).min() > _FARTHEST:
        found.append(f"no usable body within {_FARTHEST} levels")
    if 2 * trusted.sum() < len(trusted):
        found.append("the bodies disagree: most lie below the course of the others")
    above = int(np.count_nonzero(~trusted & (height.below < 0)))
    if above >= _MANY_ABOVE:  # nothing grows: the course itself may be that of broken bodies
        found.append(f"the bodies disagree: {above} lie above the course of the others")
    if taller > _TALLER_SD:
        found.append("the body itself is taller than the others lead to expect")
    if abs(height.mean) > _FARTHEST_OFF:
        found.append(
            f"the course lies {100 * np.expm1(height.mean):+.0f} % off the norm: sunk bodies, a child, or units"
        )
    if spread > _LARGEST_SD:
        found.append(f"the expected height is uncertain by {100 * spread:.0f} % (one sd)")
    return tuple(found)


@dataclass(frozen=True)
class _Course:
    """A predicted number, its sd for a single vertebra, and by body: weight, and how far it lies below the others."""

    mean: float
    sd: float
    weights: Array
    below: Array


def _curve(place: Array, values: Array, reading: Array, part: _Part, here: Array) -> _Course:
    """Gaussian process regression with one-sided weights, predicted at a place.

    Leave-one-out predictions in closed form: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning,
    eq. 5.12. The weights are re-estimated until they rest; the start is the upper half of the bodies.
    """
    noise = part.single**2 + reading**2
    kernel = part.covariance(place, place)
    weights = _weights((values - np.quantile(values, 0.6)) / (2 * part.single + 0.5 * part.slow))
    below = np.zeros(len(values))
    for _ in range(30):
        inverse = np.linalg.inv(kernel + np.diag(noise / weights))
        own = np.diag(inverse)
        rest = inverse @ values / own  # value less the prediction from the others
        spread = np.sqrt(np.maximum(1.0 / own - noise / weights, 0.0) + noise)
        before, weights, below = weights, _weights(rest / spread), -rest
        if np.abs(weights - before).max() < 1e-4:
            break
        weights = (weights + before) / 2
    inverse = np.linalg.inv(kernel + np.diag(noise / weights))
    reach = part.covariance(here, place)[0]
    mean = float(reach @ inverse @ values)
    variance = part.person**2 + part.slow**2 - float(reach @ inverse @ reach) + part.single**2
    return _Course(mean, float(np.sqrt(variance)), weights, below)


def _weights(z: Array) -> Array:
    """1 near the course; from 1.5 sd below it, and from 3 sd above, falling with the fourth power."""
    over = np.maximum(np.where(z < 0, -z / 1.5, z / 3.0), 1.0)
    return np.maximum(over**-4.0, 1e-4)


def _with_own(mean: float, variance: float, own: float, error: float, bent: float) -> tuple[float, float]:
    """Mean and variance of the healthy posterior height (logarithm) once the body's own one is known.

    The body's own height is the healthy one less a fall u. Prior of u: with 1 - `_CRUSH_SHARE` exponential, with
    `_CRUSH_SHARE` even over 0 to 60 % of the height. By sums over a grid.
    """
    spread = float(np.sqrt(variance))
    grid = np.linspace(mean - 5 * spread, mean + 5 * spread, 401)
    prior = np.exp(-0.5 * ((grid - mean) / spread) ** 2)
    typical = _SAG[0] + _SAG[1] * bent
    falls = -np.log1p(-np.linspace(0.0, 0.6, 241))
    loss = -np.expm1(-falls)
    density = (1 - _CRUSH_SHARE) * np.exp(-loss / typical) / typical + _CRUSH_SHARE / 0.6
    steps = np.full(len(loss), loss[1])
    steps[0] /= 2  # the exponential is steep at no fall: its first cell is half a cell
    sigma = float(np.hypot(error, 0.006))
    gap = (grid[:, None] - own - falls[None, :]) / sigma
    posterior = prior * (np.exp(-0.5 * gap**2) @ (density * steps))
    total = float(posterior.sum())
    if total <= 0.0:  # far above anything expected: the body itself is the best witness
        return own, variance
    centre = float(posterior @ grid) / total
    return centre, float(posterior @ (grid - centre) ** 2) / total


def _numbers(bodies: Sequence[BodyHeights], sex: Sex | None) -> tuple[Array, Array]:
    """(3, N) posterior over norm, anterior over posterior, middle over posterior (logarithms), and reading sd."""
    ratio = np.log([np.array(each.thirds) / norm_thirds_mm(each.level, sex) for each in bodies]).T
    share = np.array([each.reading_sd_mm / np.array(each.thirds) for each in bodies]).T
    both = np.hypot(share[:2], share[2])
    return (
        np.stack([ratio[2], ratio[0] - ratio[2], ratio[1] - ratio[2]]),
        np.stack([share[2], both[0], both[1]]),
    )


def _split(level: Level, spine: Sequence[BodyHeights]) -> tuple[BodyHeights | None, list[BodyHeights]]:
    if level not in NORM_LEVELS:
        raise LevelError(f"{level} has no norm of its heights", field="level", cure="use a level from T1 to L6")
    named = [each.level for each in spine]
    if len(set(named)) < len(named):
        raise LevelError("a level occurs twice", field="spine", cure="give every body once, under its own level")
    target = next((each for each in spine if each.level is level), None)
    others = [each for each in spine if each.level is not level and each.level in NORM_LEVELS]
    if not others:
        raise VolumeError(
            f"no other body tells what {level} should be", field="spine", cure="give a mask with several vertebrae"
        )
    return target, sorted(others, key=lambda each: each.level.ordinal)


def _places(level: Level, others: Sequence[BodyHeights]) -> Array:
    """Levels from the target to each body, down the spine; T13 counts only where it is."""
    extra = level is Level.T13 or any(each.level is Level.T13 for each in others)

    def at(one: Level) -> int:
        return one.ordinal - (1 if one >= Level.L1 and not extra else 0)

    return np.array([float(at(each.level) - at(level)) for each in others])
