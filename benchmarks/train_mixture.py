"""The rows that training speed is measured on: kinds, shares, lengths and pictures, drawn from one seed.

Convention: lengths are in words, of which most are one token. `paper` takes the kinds in the shares that SpineMed-450k
has them; their lengths and pictures are ours. `long` gives the long kinds more, as a last stage of training would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("multiple choice", "open question", "consultation", "report")
MIXTURES = {"long": (0.50, 0.38, 0.08, 0.04), "paper": (249 / 447.9, 197 / 447.9, 1.1 / 447.9, 0.82 / 447.9)}
QUESTION = ((60, 140), (15, 50), (250, 600), (60, 120))
"""Words of the question, drawn evenly between these."""
SIDES = (224, 280, 336, 448, 560)
"""Edges of pictures in pixels, drawn evenly; 28 px are one token."""
WITH_PICTURE = 0.4
"""Share of rows with one picture; reports have three to six. Three rows share a picture, as a spine's questions do."""


@dataclass(frozen=True)
class Drawn:
    """One row: its kind, words of question and answer, and its pictures by number."""

    kind: str
    question: int
    answer: int
    pictures: tuple[int, ...]


def draw_rows(count: int, mixture: str, seed: int) -> tuple[list[Drawn], list[tuple[int, int]]]:
    """Rows, and height and width in pixels of each picture."""
    rng = np.random.default_rng(seed)
    sizes: list[tuple[int, int]] = []
    uses: list[int] = []

    def picture() -> int:
        usable = [number for number, used in enumerate(uses) if used < 3]
        if usable and rng.random() < 2 / 3:
            number = int(rng.choice(usable))
            uses[number] += 1
            return number
        sizes.append((int(rng.choice(SIDES)), int(rng.choice(SIDES))))
        uses.append(1)
        return len(sizes) - 1

    # Shares are kept exactly, as far as whole rows allow; only the order and the lengths are drawn.
    shares = np.cumsum(MIXTURES[mixture]) / sum(MIXTURES[mixture])
    kinds = np.searchsorted(np.round(shares * count), np.arange(count), side="right")
    rows = []
    for kind in rng.permutation(kinds).tolist():
        if kind == 0:
            answer = int(rng.integers(1, 3)) if rng.random() < 0.5 else int(rng.integers(5, 40))
        elif kind == 1:
            answer = int(np.clip(rng.lognormal(np.log(70), 0.6), 15, 300))
        else:
            answer = int(rng.integers(*((80, 250), (300, 700))[kind - 2]))
        pictures: tuple[int, ...] = ()
        if kind == 3:
            pictures = tuple(picture() for _ in range(int(rng.integers(3, 7))))
        elif rng.random() < WITH_PICTURE:
            pictures = (picture(),)
        rows.append(Drawn(KINDS[kind], int(rng.integers(*QUESTION[kind])), answer, pictures))
    return rows, sizes
