"""Scores that add points: what was read, what it is worth, what is missing, and which bands stay possible without it.

Convention: an input that nobody told is None, and never the same as "normal" or "intact": a score with a missing input
has no total but a lowest and a highest one, and every band between them stays possible. Points and bands are told
apart, because they often come from different papers; the band is what the papers state, not what should be done.

Trap: "not examinable" and "unknown" are answers of some scores with points of their own; write them out, do not pass
None for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spinemed.errors import ScoreError

__all__ = ["AdditiveScore", "Adjust", "Band", "Component", "ScoreResult"]


@dataclass(frozen=True)
class Band:
    """A stretch of totals and what the paper says of it.

    Attributes:
        lowest: First total of the band.
        highest: Last total of the band.
        name: Short name.
        statement: In plain words.
    """

    lowest: int
    highest: int
    name: str
    statement: str


@dataclass(frozen=True)
class Component:
    """One input of a score: its answer, and the points for it (None: not told)."""

    name: str
    answer: str | None
    points: int | None


@dataclass(frozen=True)
class ScoreResult:
    """What a score says.

    Attributes:
        score: Name and version of the score.
        code: The answers in the score's own shorthand, unknown ones as `?`.
        components: Every input, in the order of the score.
        lowest: Smallest total that the missing inputs allow.
        highest: Largest total that the missing inputs allow.
        bands: Bands that stay possible, from low to high; one when nothing that decides is missing.
        source: Where points and bands were published.
    """

    score: str
    code: str
    components: tuple[Component, ...]
    lowest: int
    highest: int
    bands: tuple[Band, ...]
    source: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Inputs that must be asked for."""
        return tuple(part.name for part in self.components if part.answer is None)

    @property
    def total(self) -> int | None:
        """The sum; None while an input is missing."""
        return None if self.missing else self.lowest

    @property
    def band(self) -> Band | None:
        """The band; None while a missing input could change it."""
        return self.bands[0] if len(self.bands) == 1 else None


Adjust = Callable[[Mapping[str, str | None], str, str], int | None]
"""(answers, item, answer) to points where they depend on other answers; None where the table holds."""


@dataclass(frozen=True)
class AdditiveScore:
    """A published score as a table.

    Attributes:
        name: Name and version.
        items: For each input its answers with their points.
        bands: Without gaps, from low to high; empty where none were published.
        source: Where it was published.
        applies_to: The patients and images it was made for.
        adjust: Points that depend on another answer.
    """

    name: str
    items: Mapping[str, Mapping[str, int]]
    bands: tuple[Band, ...]
    source: str
    applies_to: str
    adjust: Adjust | None = None

    def score(self, **answers: str | None) -> ScoreResult:
        """Add up.

        Args:
            answers: One per input by name; None or left out where it is not known.

        Raises:
            ScoreError: An input or an answer that the score does not have.
        """
        for name, answer in answers.items():
            if name not in self.items:
                raise ScoreError(
                    f"{self.name} has no input '{name}'", field=name, cure=f"its inputs are {', '.join(self.items)}"
                )
            if answer is not None and answer not in self.items[name]:
                raise ScoreError(
                    f"'{answer}' is no answer of {self.name}",
                    field=name,
                    cure=f"give one of {', '.join(self.items[name])}, or None where it is not known",
                )
        told = {name: answers.get(name) for name in self.items}
        missing = [name for name, answer in told.items() if answer is None]
        totals = [sum(self._points(full, name) for name in self.items) for full in self._completions(told, missing)]
        lowest, highest = min(totals), max(totals)
        return ScoreResult(
            score=self.name,
            code=" ".join(answer or "?" for answer in told.values()),
            components=tuple(
                Component(name, answer, None if answer is None else self._points(told, name))
                for name, answer in told.items()
            ),
            lowest=lowest,
            highest=highest,
            bands=tuple(band for band in self.bands if any(band.lowest <= t <= band.highest for t in set(totals))),
            source=self.source,
        )

    def _points(self, told: Mapping[str, str | None], name: str) -> int:
        answer = told[name]
        assert answer is not None
        changed = None if self.adjust is None else self.adjust(told, name, answer)
        return self.items[name][answer] if changed is None else changed

    def _completions(self, told: dict[str, str | None], missing: list[str]) -> list[dict[str, str | None]]:
        """Every way to fill in what is missing; scores have few inputs with few answers."""
        full = [told]
        for name in missing:
            full = [{**one, name: answer} for one in full for answer in self.items[name]]
        return full
