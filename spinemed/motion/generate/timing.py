"""Courses over time: from posture to posture without jerks, and slow wobble.

Convention: seconds from the clip's start; a channel that no key names keeps its last value. Between keys a channel
follows the minimum-jerk polynomial 10 s^3 - 15 s^4 + 6 s^5 (Flash and Hogan 1985), so velocity and acceleration are
zero at keys. The trap: keys before the time 0 are allowed; a clip may begin in the midst of a motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Keys", "minimum_jerk", "wobble"]


def minimum_jerk(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 to 1 for s from 0 to 1, constant outside."""
    c = np.clip(s, 0.0, 1.0)
    return np.asarray(c * c * c * (10.0 + c * (6.0 * c - 15.0)))


class Keys:
    """Postures in order of time.

    Args:
        start_s: Time of the first posture, 0 or before.
        rest: Value of every channel at the start; other channels start at 0.
    """

    def __init__(self, start_s: float = 0.0, **rest: float) -> None:
        self.time_s = start_s
        self._start = start_s
        self._steps: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rest}
        self._first = dict(rest)

    def to(self, seconds: float, **targets: float) -> Keys:
        """Move the named channels to new values within the given time; returns itself."""
        for name, value in targets.items():
            self._first.setdefault(name, 0.0)
            self._steps.setdefault(name, []).append((self.time_s, self.time_s + seconds, value))
        self.time_s += seconds
        return self

    def hold(self, seconds: float) -> Keys:
        """Let time pass; returns itself."""
        self.time_s += seconds
        return self

    def value(self, name: str) -> float:
        """The channel's value at the end of what has been keyed."""
        steps = self._steps.get(name)
        return steps[-1][2] if steps else self._first.get(name, 0.0)

    def sample(self, t: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Every channel [T] at times [T]."""
        found = {}
        for name, steps in self._steps.items():
            course = np.full(len(t), self._first[name])
            before = self._first[name]
            for start, end, value in steps:
                course += (value - before) * minimum_jerk((t - start) / max(end - start, 1e-9))
                before = value
            found[name] = course
        return found


def wobble(
    rng: np.random.Generator, t: NDArray[np.float64], sd: NDArray[np.float64], low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """Slow random courses [T, n] of standard deviations [n]: three sines each, frequencies between the bounds."""
    course = np.zeros((len(t), len(sd)))
    for _ in range(3):
        pace = 2 * np.pi * rng.uniform(low_hz, high_hz, len(sd))
        course += np.sin(t[:, None] * pace + rng.uniform(0, 2 * np.pi, len(sd)))
    scaled: NDArray[np.float64] = course * (sd * np.sqrt(2.0 / 3.0))
    return scaled
