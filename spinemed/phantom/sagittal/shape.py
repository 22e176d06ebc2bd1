"""Where everything lies: from a drawn column to outlines in millimetres.

Convention: column coordinates in mm, x towards the back, y down, origin at the centre of the upper sacral endplate.
Each vertebra has a local frame (u towards the front, v towards the head) centred in its body. The column is built
upwards from the sacrum, so a change at one level moves what lies above it; fractures are therefore applied *in place*
afterwards, and only the two neighbours on either side follow the collapsed endplate. The trap: body outlines have
cut corners and waists, so an area or height measured on a mask is a little below the corner-to-corner truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spinemed.phantom.sagittal.records import FractureDraw, SacrumDraw, VertebraDraw

__all__ = ["Column", "body_outlines", "build_column", "place_sacrum", "sacrum_outline"]

#: Share of the height loss at the front wall, the centre and the back wall for each shape of fracture (Genant's types).
LOSS_PROFILE: dict[str, tuple[float, float, float]] = {
    "wedge": (1.0, 0.55, 0.05),
    "biconcave": (0.15, 1.0, 0.15),
    "crush": (1.0, 1.0, 0.92),
}
#: How far the first and second neighbour follow the collapsed endplate.
FOLLOW = (0.6, 0.3)
_T = np.array([1.0, 0.9, 0.6, 0.3, 0.0, -0.3, -0.6, -0.9, -1.0])  # stations along an endplate, front to back
_CURVE = np.stack([_T * (_T + 1) / 2, 1 - _T * _T, _T * (_T - 1) / 2])  # the quadratic through three heights
_WALL = np.array([0.5, 0.0, -0.5])  # stations down a wall


@dataclass(frozen=True)
class Column:
    """Placed vertebrae, cranial first, as arrays of n.

    Attributes:
        centre: Body centres (n, 2), mm.
        tilt: Inclination in radians, positive when the front edge is lower.
        healthy: Heights before any fracture (n, 3): front wall, centre, back wall, mm.
        loss: Height lost (n, 3), mm.
        share: Share of the loss taken from above (n,).
        depth, canal, waist, spur: (n,), mm.
    """

    centre: np.ndarray
    tilt: np.ndarray
    healthy: np.ndarray
    loss: np.ndarray
    share: np.ndarray
    depth: np.ndarray
    canal: np.ndarray
    waist: np.ndarray
    spur: np.ndarray

    @cached_property
    def front(self) -> np.ndarray:
        """Unit vectors towards the front (n, 2)."""
        return np.stack([-np.cos(self.tilt), np.sin(self.tilt)], axis=1)

    @cached_property
    def up(self) -> np.ndarray:
        """Unit vectors towards the head (n, 2)."""
        return np.stack([-np.sin(self.tilt), -np.cos(self.tilt)], axis=1)

    @cached_property
    def endplates(self) -> tuple[np.ndarray, np.ndarray]:
        """Upper and lower endplates, corner to corner, as local (u, v) points (n, 9, 2), front to back."""
        half, lost = self.healthy @ _CURVE / 2.0, self.loss @ _CURVE
        share = self.share[:, None]
        u = self.depth[:, None] / 2.0 * _T
        return np.stack([u, half - share * lost], axis=-1), np.stack([u, -half + (1.0 - share) * lost], axis=-1)

    def place(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Column coordinates (n, k, 2) of local points u, v (n, k)."""
        placed: np.ndarray = self.centre[:, None] + u[..., None] * self.front[:, None] + v[..., None] * self.up[:, None]
        return placed


def build_column(
    vertebrae: Sequence[VertebraDraw], sacral_tilt_deg: float, fractures: Iterable[FractureDraw] = ()
) -> Column:
    """Stack vertebrae on the sacrum, then apply fractures in place.

    Args:
        vertebrae: Cranial first, the last one standing on the sacrum.
        sacral_tilt_deg: Inclination of the upper sacral endplate.
        fractures: At most one per level.
    """
    field = np.array(
        [
            (
                v.anterior_mm, v.middle_mm, v.posterior_mm, v.depth_mm, np.radians(v.tilt_deg), v.canal_mm,
                v.waist_mm, v.spur_mm, v.disc_mm,
            )
            for v in vertebrae
        ]
    )  # fmt: skip
    healthy, tilt = field[:, :3], field[:, 4].copy()
    rim = (healthy[:, 0] + healthy[:, 2]) / 4.0  # half height, rim to rim, at mid-depth
    up = np.stack([-np.sin(tilt), -np.cos(tilt)], axis=1)
    below = np.vstack([up[1:], [[-np.sin(np.radians(sacral_tilt_deg)), -np.cos(np.radians(sacral_tilt_deg))]]])
    across = up + below
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    below_half = np.append(rim[1:], 0.0)[:, None]
    steps = below * below_half + across * field[:, 8:9] + up * rim[:, None]
    centre = np.cumsum(steps[::-1], axis=0)[::-1].copy()
    loss = np.zeros_like(healthy)
    share = np.full(len(vertebrae), 0.5)
    place_of = {v.level: i for i, v in enumerate(vertebrae)}
    for fracture in fractures:
        at = place_of[fracture.level]
        loss[at] = healthy[at] * fracture.height_loss * np.array(LOSS_PROFILE[fracture.kind])
        share[at] = fracture.superior_share
        _let_follow(centre, tilt, at, loss[at], float(share[at]), float(field[at, 3]))
    return Column(
        centre=centre,
        tilt=tilt,
        healthy=healthy,
        loss=loss,
        share=share,
        depth=field[:, 3],
        canal=field[:, 5],
        waist=field[:, 6],
        spur=field[:, 7],
    )


def _let_follow(
    centre: np.ndarray, tilt: np.ndarray, at: int, loss: np.ndarray, superior_share: float, depth: float
) -> None:
    """Move the neighbours after the rims of the collapsed endplates of body `at`, in place."""
    up = np.array([-np.sin(tilt[at]), -np.cos(tilt[at])])
    for direction, share in ((-1, superior_share), (1, 1.0 - superior_share)):
        sink = share * (loss[0] + loss[2]) / 2.0
        turn = np.arctan(share * (loss[0] - loss[2]) / depth)
        for rank, follow in enumerate(FOLLOW, start=1):
            other = at + direction * rank
            if 0 <= other < len(tilt):
                centre[other] += direction * follow * sink * up
                tilt[other] -= direction * follow * turn


def body_outlines(column: Column) -> np.ndarray:
    """Closed outlines of all bodies in column coordinates (n, 24, 2): upper endplate, back, lower endplate, front."""
    upper, lower = (x.copy() for x in column.endplates)
    cut = np.minimum(1.6, 0.08 * column.depth)
    for plate, sign in ((upper, -1.0), (lower, 1.0)):
        plate[:, 0, 1] += sign * cut
        plate[:, -1, 1] += sign * cut
        plate[:, 0, 0] += column.spur
    half_depth = column.depth[:, None] / 2.0
    bend = 1.0 - (2.0 * _WALL[None, :]) ** 2 * 0.6
    walls = []
    for end, sign in ((-1, -1.0), (0, 1.0)):
        top, bottom = upper[:, end, 1][:, None], lower[:, end, 1][:, None]
        v = (top + bottom) / 2 + _WALL[None, :] * (top - bottom) * 0.9
        walls.append(np.stack([sign * (half_depth - column.waist[:, None] * bend), v], axis=-1))
    local = np.concatenate([upper, walls[0], lower[:, ::-1], walls[1][:, ::-1]], axis=1)
    return column.place(local[..., 0], local[..., 1])


def place_sacrum(sacrum: SacrumDraw) -> tuple[np.ndarray, np.ndarray]:
    """Front and back borders of S1..S5 and the coccyx (k + 1, 2) each, from the upper sacral endplate downwards."""
    tilt = np.radians(np.asarray(sacrum.tilts_deg))
    down = np.stack([np.sin(tilt), np.cos(tilt)], axis=1)
    middle = np.vstack([[[0.0, 0.0]], np.cumsum(down * np.asarray(sacrum.lengths_mm)[:, None], axis=0)])
    border = np.concatenate([tilt[:1], (tilt[1:] + tilt[:-1]) / 2.0, tilt[-1:]])
    front = np.stack([-np.cos(border), np.sin(border)], axis=1)
    half = np.asarray(sacrum.depths_mm)[:, None] / 2.0
    return middle + half * front, middle - half * front


def sacrum_outline(front: np.ndarray, back: np.ndarray, first: int = 0, last: int = 5) -> np.ndarray:
    """Closed outline of the sacral parts between borders `first` and `last` (0 to 5: the whole sacrum)."""
    middle = (front[first] + back[first]) / 2.0
    across = front[first] - back[first]
    dip = np.array([-across[1], across[0]]) * 0.03  # the endplate is slightly hollow
    if dip[1] < 0:
        dip = -dip
    return np.concatenate([front[first : last + 1], back[first : last + 1][::-1], (middle + dip)[None]])
