"""How freedoms move in time: the prior that couples neighbouring frames.

Convention: a freedom p with unit u has the state [p/u, v dt/u]. Regional angles and limbs follow a stationary
Matern-3/2 process (Rasmussen and Williams 2006, ch. 4 and B.2): standard deviation u at every moment, memory 1/rate;
so the stated degrees are exactly the prior of one frame, however many frames there are. The pelvis is free to go
anywhere: an integrated Wiener process (Wahba 1978: the cubic smoothing spline), given by how much its velocity changes
in a tenth of a second. Residual modes forget exponentially (Ornstein-Uhlenbeck).

The trap: a prior that is repeated per frame as if frames were independent counts one belief many times and makes
intervals too narrow; here the coupling is part of the one prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import MotionError

__all__ = ["Dynamics", "Process", "discretise"]


@dataclass(frozen=True)
class Dynamics:
    """Time constants of the prior.

    Attributes:
        spine_rate_per_s, limb_rate_per_s: Rate of the Matern process; memory is 1/rate.
        residual_memory_s: How long a segment keeps what it does beside its region's rhythm.
        root_speed_change_mm_s: Change of the pelvis' velocity in 0.1 s, standard deviation.
        root_turn_change_deg_s: The same for its rotation.
    """

    spine_rate_per_s: float = 2.0
    limb_rate_per_s: float = 4.0
    residual_memory_s: float = 1.0
    root_speed_change_mm_s: float = 300.0
    root_turn_change_deg_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise MotionError(f"{value} is not positive", field=name, cure="give a positive number")


@dataclass(frozen=True)
class Process:
    """The discretised prior for one time step.

    Attributes:
        step: [P, 2, 2] F, the expected next state; `precision` [P, 2, 2] of what is added; `start` [P, 2, 2]
            precision of the first frame.
        rho: Correlation of residual modes from frame to frame.
    """

    step: NDArray[np.float64]
    precision: NDArray[np.float64]
    start: NDArray[np.float64]
    rho: float


def discretise(
    dynamics: Dynamics, dt_s: float, root_units: NDArray[np.float64], limb_count: int, spine_count: int
) -> Process:
    """The process over steps of dt for 6 freedoms of the pelvis (with units), then limbs, then regional angles."""
    step, precision, start = [], [], []
    changes = [dynamics.root_speed_change_mm_s] * 3 + [np.radians(dynamics.root_turn_change_deg_s)] * 3
    for unit, change in zip(root_units, changes, strict=True):
        strength = change**2 / 0.1 * dt_s**3 / unit**2
        step.append([[1.0, 1.0], [0.0, 1.0]])
        precision.append(np.array([[12.0, -6.0], [-6.0, 4.0]]) / strength)
        # A hundred units of place and thirty units per second: no belief worth the name.
        start.append(np.diag([1e-4, 1.0 / (30.0 * dt_s) ** 2]))
    for rate in [dynamics.limb_rate_per_s] * limb_count + [dynamics.spine_rate_per_s] * spine_count:
        a = rate * dt_s
        forward = np.exp(-a) * np.array([[1.0 + a, 1.0], [-(a**2), 1.0 - a]])
        stationary = np.diag([1.0, a**2])
        added = stationary - forward @ stationary @ forward.T
        step.append(forward.tolist())
        precision.append(np.linalg.inv((added + added.T) / 2))
        start.append(np.linalg.inv(stationary))
    rho = float(np.exp(-dt_s / dynamics.residual_memory_s))
    return Process(np.array(step), np.array(precision), np.array(start), rho)
