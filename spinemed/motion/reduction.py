"""From 105 freedoms to the state that is solved for: pelvis, nine regional angles, limbs, and the residual modes that
the markers can see at all.

Convention: a state's places and modes are in units of their prior standard deviation (the pelvis: 100 mm, 0.5 rad).
Residuals of the 75 spine angles are whitened by their prior and turned onto the eigenvectors of the markers' mean
information; a mode whose information, summed over the frames that share its memory, is below `NEGLIGIBLE` is left at
its prior: zero, with its full prior variance in every interval.

The trap: dropped modes are not certain, they are unknown. `Reduction.unseen_variance` must be added to each variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.joints import ROOT_MOTIONS
from spinemed.motion.kinematics import marker_jacobian
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.rhythm import Rhythm

__all__ = ["NEGLIGIBLE", "ROOT_UNITS", "Reduction", "choose_modes", "reduce"]

ROOT_UNITS = np.array([100.0] * 3 + [0.5] * 3)

NEGLIGIBLE = 0.1
"""Information (in prior units) below which a mode is left at its prior: so much of its variance is given away."""


@dataclass(frozen=True)
class Reduction:
    """How a state's places and modes make freedoms.

    Attributes:
        single: [n_q] column of a place, or -1 for the spine; `unit` [n_q] its unit.
        dense: [75, 9 + k] spine angles of regional angles and modes, in rad: the last 9 places and the modes.
        places: P = 6 + limbs + 9; `modes` k.
        unseen: [75, 75 - k] what the dropped modes would do, in rad per prior standard deviation.
    """

    single: NDArray[np.int64]
    unit: NDArray[np.float64]
    dense: NDArray[np.float64]
    places: int
    unseen: NDArray[np.float64]

    @property
    def modes(self) -> int:
        """Number of residual modes kept."""
        columns: int = self.dense.shape[1] - 9
        return columns

    @property
    def limbs(self) -> int:
        """Number of limb freedoms."""
        return self.places - 15

    def matrix(self) -> NDArray[np.float64]:
        """[n_q, P + k]: derivative of the freedoms by places and modes."""
        full = np.zeros((len(self.single), self.places + self.modes))
        spine = np.flatnonzero(self.single < 0)
        ones = np.flatnonzero(self.single >= 0)
        full[ones, self.single[ones]] = self.unit[ones]
        full[spine, self.places - 9 :] = self.dense
        return full

    def unseen_variance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """[f] variance that the dropped modes add to rows [f, 75] of spine angles, in rad^2."""
        return np.asarray(((rows @ self.unseen) ** 2).sum(axis=1))


def reduce(model: BodyModel, rhythm: Rhythm, modes: NDArray[np.float64]) -> Reduction:
    """The reduction of a model for a rhythm, keeping the whitened residual directions `modes` [75, k]."""
    root, spine = len(ROOT_MOTIONS), model.spine
    limbs = model.size - spine.stop
    single = np.full(model.size, -1, dtype=np.int64)
    single[:root] = np.arange(root)
    single[spine.stop :] = root + np.arange(limbs)
    unit = np.ones(model.size)
    unit[:root] = ROOT_UNITS
    unit[spine.stop :] = np.radians([freedom.prior_sd_deg for freedom in model.freedoms[spine.stop :]])
    residual = rhythm.residual_sd_rad[:, None]
    dense = np.hstack([rhythm.shares * rhythm.regional_sd_rad, residual * modes])
    left = np.linalg.qr(np.hstack([modes, np.eye(modes.shape[0])]))[0][:, modes.shape[1] :]
    return Reduction(single, unit, np.ascontiguousarray(dense), root + 9 + limbs, residual * left)


def choose_modes(
    model: BodyModel,
    rhythm: Rhythm,
    markers: MarkerSet,
    q: NDArray[np.float64],
    weight: NDArray[np.float64],
    shared_frames: float,
    most: int = 75,
) -> NDArray[np.float64]:
    """Whitened residual directions [75, k] that markers see in poses q [F, n], most informative first.

    Args:
        weight: [F, K, 3, 3] inverse covariances in 1/mm^2, zero where a marker is missing.
        shared_frames: Over how many frames a residual stays the same.
        most: Upper bound of k.
    """
    _, jacobian = marker_jacobian(model, q, markers)
    spine = jacobian[..., model.spine] * rhythm.residual_sd_rad
    information = np.einsum("fkin,fkij,fkjm->nm", spine, weight, spine, optimize=True) / len(q)
    values, vectors = np.linalg.eigh((information + information.T) / 2)
    keep = np.flatnonzero(values * max(shared_frames, 1.0) > NEGLIGIBLE)[::-1][:most]
    return np.ascontiguousarray(vectors[:, keep])
