"""Subjects: whose body moves, and how that body shares motion among its levels.

Convention: a subject follows from the data set's seed and its number alone, whatever else is produced. Rhythm and
per-level deviations are the subject's: its shares are a packaged rhythm times exp(normal), so no subject moves exactly
as the prior of a fit believes. The trap: sizes and proportions are drawn, not those of measured people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.generate.norms import draw
from spinemed.motion.model import SCALE_GROUPS, BodyModel, model_of
from spinemed.motion.rhythm import RHYTHMS, Rhythm, build_rhythm
from spinemed.motion.tables import read_table

__all__ = ["Subject", "draw_subject"]

# Numbers a seed sequence apart: subjects must not share random numbers with clips.
SUBJECT_STREAM, CLIP_STREAM = 1, 2


@dataclass(frozen=True)
class Subject:
    """One body and its manner of moving.

    Attributes:
        name: "s0003".
        sex, stature_mm, pelvic_incidence_deg, age_years, kyphosis_deg, cervical_lordosis_deg, scale: The body.
        rhythm: Name of the packaged rhythm that its shares deviate from.
        coupling: Whether bending turns its segments too (`rhythm.build_rhythm`).
        deviation: [75] factors on the shares.
        wobble_factor: Standard deviation of each level's slow own motion, in units of range / 6.
    """

    name: str
    sex: str
    stature_mm: float
    pelvic_incidence_deg: float
    age_years: float
    kyphosis_deg: float
    cervical_lordosis_deg: float
    scale: tuple[float, ...]
    rhythm: str
    coupling: bool
    deviation: tuple[float, ...]
    wobble_factor: float

    @cached_property
    def model(self) -> BodyModel:
        """The body."""
        return model_of(self)

    @cached_property
    def prior(self) -> Rhythm:
        """The packaged rhythm."""
        return build_rhythm(self.rhythm, coupling=self.coupling)

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """[75, 9] the subject's own shares; those of a region and direction still sum to what the rhythm's do."""
        given = self.prior.shares
        own = given * np.asarray(self.deviation)[:, None]
        total, now = np.abs(given).sum(axis=0), np.abs(own).sum(axis=0)
        return np.asarray(own * (total / np.maximum(now, 1e-12)))


def draw_subject(
    seed: int,
    number: int,
    *,
    rhythms: Mapping[str, float] | None = None,
    coupling: bool = True,
    deviation_sd: float = 0.25,
    wobble_factor: float = 0.15,
) -> Subject:
    """Subject `number` of a seed.

    Args:
        seed: Of the data set.
        number: From 0.
        rhythms: Weight of each packaged rhythm; None takes all equally.
        coupling: Whether bending turns segments too.
        deviation_sd: Standard deviation of the logarithm of each level's factor.
        wobble_factor: See `Subject`.
    """
    rng = np.random.default_rng([SUBJECT_STREAM, seed, number])
    weights = dict(rhythms) if rhythms else dict.fromkeys(RHYTHMS, 1.0)
    names = sorted(weights)
    parts = np.array([weights[name] for name in names], dtype=np.float64)
    sex = "female" if rng.random() < 0.5 else "male"
    mean = next(float(row["stature_mm"]) for row in read_table("sexes") if row["sex"] == sex)
    return Subject(
        name=f"s{number:04d}",
        sex=sex,
        stature_mm=round(mean + draw(rng, "subject", f"stature_sd_{sex}"), 1),
        pelvic_incidence_deg=round(draw(rng, "subject", "pelvic_incidence"), 2),
        age_years=round(draw(rng, "subject", "age"), 1),
        kyphosis_deg=round(draw(rng, "subject", "kyphosis"), 2),
        cervical_lordosis_deg=round(draw(rng, "subject", "cervical_lordosis"), 2),
        scale=tuple(round(draw(rng, "subject", "proportion"), 4) for _ in SCALE_GROUPS),
        rhythm=names[int(rng.choice(len(names), p=parts / parts.sum()))],
        coupling=coupling,
        deviation=tuple(np.exp(rng.normal(0.0, deviation_sd, 75)).tolist()),
        wobble_factor=wobble_factor,
    )
