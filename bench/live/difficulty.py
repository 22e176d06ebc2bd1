"""How hard a question is, by rules that anyone can check: no model was asked.

- Naming a level: the steps from the anchor in the picture to it. Up to 2 easy, up to 5 medium, more hard; one harder in
  a column with an unusual number of vertebrae.
- A graded finding: the distance of its amount from the nearest border of a grade, as a share of the width of the
  narrower grade beside it. Half and more easy, a quarter and more medium, else hard.
- A measurement: its amount over the tolerance. 6 and more easy, 3 and more medium, else hard.
- A rule: inputs that must be put together. Up to 2 easy, up to 4 medium, more hard; one harder where one is read from a
  picture.
- A question that cannot be decided is hard: nothing in it says so.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Difficulty", "of_counting", "of_grade", "of_measurement", "of_rule"]

Difficulty = Literal["easy", "medium", "hard"]
_ORDER: tuple[Difficulty, ...] = ("easy", "medium", "hard")


def _at(place: int) -> Difficulty:
    return _ORDER[min(max(place, 0), 2)]


def of_counting(steps: int, *, regular: bool = True) -> Difficulty:
    """Of naming what lies `steps` from the nearest anchor."""
    return _at((0 if steps <= 2 else 1 if steps <= 5 else 2) + (not regular))


def of_grade(amount: float, borders: tuple[float, ...], *, width: float) -> Difficulty:
    """Of grading an amount; `width` is that of the narrower grade beside the nearest border."""
    share = min(abs(amount - border) for border in borders) / width
    return _at(0 if share >= 0.5 else 1 if share >= 0.25 else 2)


def of_measurement(amount: float, tolerance: float) -> Difficulty:
    """Of measuring an amount."""
    times = abs(amount) / tolerance
    return _at(0 if times >= 6 else 1 if times >= 3 else 2)


def of_rule(inputs: int, *, from_picture: bool = False) -> Difficulty:
    """Of applying a rule with so many inputs."""
    return _at((0 if inputs <= 2 else 1 if inputs <= 4 else 2) + from_picture)
