"""What markers tell about each level, and what they do not.

Convention: one row per segment and direction. `prior_sd_deg` is what is believed without any marker; `posterior_sd_deg`
what is left with them; `own_share` the part of the residual's variance (what a segment does beside its region's
rhythm) that the markers remove. A level whose own share is small follows the rhythm because the prior says so.

The trap: a small posterior of one level can come from the rhythm alone. Read `verdict`, which judges the level's own
motion: "identified" (own share above 0.75), "partly" (above 0.25), "not identifiable".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Segment
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.kinematics import marker_jacobian
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.reduction import reduce
from spinemed.motion.rhythm import REGIONS, Rhythm, build_rhythm

__all__ = ["LevelKnowledge", "identifiability", "posterior_rows"]


@dataclass(frozen=True)
class LevelKnowledge:
    """One level's angle in one direction: see the module's docstring."""

    segment: Segment
    direction: str
    prior_sd_deg: float
    posterior_sd_deg: float
    own_share: float
    verdict: str


def posterior_rows(model: BodyModel) -> NDArray[np.float64]:
    """[84, n_q] combinations whose variance a fit reports: 75 spine angles, then 9 regional sums.

    Regional sums run lumbar, thoracic, cervical, three directions each; regions by the upper vertebra.
    """
    rows = np.zeros((84, model.size))
    spine = model.spine.start
    rows[np.arange(75), spine + np.arange(75)] = 1.0
    for i, segment in enumerate(model.segments):
        for j in range(3):
            rows[75 + 3 * REGIONS.index(segment.region) + j, spine + 3 * i + j] = 1.0
    return rows


def identifiability(
    model: BodyModel,
    markers: MarkerSet,
    sigma_mm: float,
    rhythm: Rhythm | None = None,
    q: NDArray[np.float64] | None = None,
    frames: float = 1.0,
) -> list[LevelKnowledge]:
    """What markers of a standard deviation tell about each of the 75 angles.

    Args:
        model, markers: The subject.
        sigma_mm: Per axis.
        rhythm: Prior; None takes the default.
        q: [n] the pose; None is standing.
        frames: How many independent looks at the same pose.

    Raises:
        MotionError: if the standard deviation or the number of frames is not positive.
    """
    if not (sigma_mm > 0 and frames > 0):
        raise MotionError("noise and frames must be positive", field="sigma_mm", cure="give positive numbers")
    rhythm = rhythm or build_rhythm()
    full = reduce(model, rhythm, np.eye(75)).matrix()
    _, jacobian = marker_jacobian(model, model.zero() if q is None else np.atleast_2d(q), markers)
    seen = jacobian[0].reshape(-1, model.size) @ full
    information = seen.T @ seen * (frames / sigma_mm**2)
    prior = np.ones(full.shape[1])
    prior[:6] = 1e-6
    covariance = np.linalg.inv(information + np.diag(prior))
    angles = full[model.spine]
    posterior = np.sqrt(np.einsum("ij,jk,ik->i", angles, covariance, angles))
    own = 1.0 - np.diag(covariance)[-75:]
    found = []
    for i, segment in enumerate(model.segments):
        for j, direction in enumerate(DIRECTIONS):
            row = 3 * i + j
            share = float(np.clip(own[row], 0.0, 1.0))
            verdict = "identified" if share > 0.75 else "partly" if share > 0.25 else "not identifiable"
            found.append(
                LevelKnowledge(
                    segment, direction, float(np.degrees(rhythm.prior_sd_rad[row])), float(np.degrees(posterior[row])),
                    share, verdict,
                )
            )  # fmt: skip
    return found
