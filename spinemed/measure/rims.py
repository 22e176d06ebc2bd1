"""Where an endplate's rim lies: its surface carried to the corners, and the body's walls carried to its surface.

On a mask no voxel says "corner": corners are rounded by the voxels (and by nature), and a wall that is waisted reaches
its full width only there. Both surfaces are therefore fitted where they are seen well and carried on until they meet:

- the **surface** of an endplate as a smooth profile from back to front with a bow and a tilt across (`fit_surface`);
- the **walls** in sections that run with the endplates, from the lower one (t = 0) to the upper one (t = 1), as a
  parabola in t and across, carried on to t = 0 and 1 (`find_edges`). How hollow a wall is, a small body's few outlines
  tell badly; what is usual counts as so many outlines more.

The endplate's line is the one that joins its front and back corner in the midsagittal plane, as it is drawn by hand on
a lateral view (Cobb 1948; six points of Genant 1993), for whole, hollow and broken endplates alike.

Convention: body coordinates in mm; v runs from -1 at the posterior to +1 at the anterior edge of an endplate, u from
-1 to +1 across its width. The trap: a parabola knows no osteophyte; a spur is an outlier and does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.measure.field import BodyFrame, Field, outlines, robust_fit

__all__ = ["Edges", "Surface", "find_edges", "fit_surface"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_KNOTS = 9
_NODES = np.linspace(-1.0, 1.0, _KNOTS)
_STIFF, _FLEXIBLE = 1e4, 10.0  # weight of the profile's third difference, for 300 columns
_BROKEN_VOXELS = 0.2  # a flexible profile is believed where it differs from the stiff one by more than this
_INSET_MM = 1.2  # nearer to the wall a corner is rounded by the voxels
_ACROSS = 0.6  # share of the half width in which a surface is fitted: uncinate lips lie beyond
_ACROSS_BROKEN = 0.85  # the same for a broken endplate, of which more has to be seen
_CLEAR = (0.70, 0.88)  # v between which a broken endplate is carried on to its corners
_CARRIED_MM = 0.6
_OVAL = 0.88  # u² + v² up to this: beyond it a body with rounded corners has no endplate
_LEAST_VOXELS = 1.0  # sections nearer than this to an endplate show its rounded corner
_DEGREE = {"front": 2, "side": 4}  # of the outline seen from above
_SECTIONS = 24
_NEAR_MM = 2.5  # of the midsagittal plane: where its wall is seen
_OUTER = 80.0  # percentile of the outlines of a section
_NEAREST = 2  # sections, from the endplate inwards
_FLARE_MM = {"front": 0.8, "back": 1.0, "side": 2.0}
"""A wall is carried on by no more, and by less where voxels are coarse: front corners are rounded and bear spurs, hind
ones are sharp, and sides flare most."""
_WAIST, _WAIST_SD = 0.11, 0.035  # share of the half size by which walls are usually waisted, and how that varies
_OUTLINE_MM = 0.9  # error that an outline counts with on 1 mm voxels: 0.29, and neighbours err alike
_MARGIN_MM = 8.0  # how far outside the known walls they are sought
_MIDDLE = 0.5  # share of the half depth in which side walls are read
_MIDLINE = 0.35  # share of the half width in which front and back wall are read


@dataclass(frozen=True)
class Edges:
    """Where the walls reach an endplate, body coordinates, mm: y in the midsagittal plane; x at the widest row."""

    back: float
    front: float
    left: float
    right: float
    row: float
    """y of the widest row."""


@dataclass(frozen=True, eq=False)
class Surface:
    """An endplate: z = profile(v) + tilt·u + bow(v)·u².

    Attributes:
        edges: The edges that u and v refer to.
        profile_mm: (9,) z in the midsagittal plane at v = -1 ... 1.
        tilt_mm: How much higher the right edge is than the middle.
        bow_mm: (9,) How much higher both edges are than the middle at v = -1 ... 1.
        rest_mm: (N, 3) x, y and what is left over of a broken endplate there, whose steps are steeper than the profile;
            no rows for a whole one.
    """

    edges: Edges
    profile_mm: Array
    tilt_mm: float
    bow_mm: Array
    rest_mm: Array

    def height(self, x: Array, y: Array) -> Array:
        """z at places in body coordinates; beyond the rim the profile keeps its last value."""
        u, v = _shares(x, y, self.edges)
        u, v = np.clip(u, -1.1, 1.1), np.clip(v, -1.0, 1.0)
        across: Array = self.tilt_mm * u + np.interp(v, _NODES, self.bow_mm) * u**2
        z = np.interp(v, _NODES, self.profile_mm) + across
        if len(self.rest_mm):
            from scipy.spatial import cKDTree

            _, nearest = cKDTree(self.rest_mm[:, :2]).query(np.stack([x, y], axis=-1), k=4)
            z = z + self.rest_mm[nearest, 2].mean(axis=-1)
        return z

    @property
    def corners_mm(self) -> tuple[float, float]:
        """z of the back and the front corner.

        Of a whole endplate the ends of its parabola. A broken one is carried on from where it is seen clear of the
        rounded corner, along its own slope there and by no more than 0.6 mm.
        """
        if not len(self.rest_mm):
            return float(self.profile_mm[0]), float(self.profile_mm[-1])
        found = []
        for sign in (-1.0, 1.0):
            inner, outer = np.interp([sign * _CLEAR[0], sign * _CLEAR[1]], _NODES, self.profile_mm)
            carried = (outer - inner) * (1.0 - _CLEAR[1]) / (_CLEAR[1] - _CLEAR[0])
            found.append(float(outer + np.clip(carried, -_CARRIED_MM, _CARRIED_MM)))
        return found[0], found[1]

    def plane(self, lateral: float) -> Array:
        """(3,) The plane z = p0 + p1 x + p2 y through front and back corner, with the slope `lateral` across."""
        x = (self.edges.left + self.edges.right) / 2  # u is 0 there
        back, front = self.corners_mm
        slope = (front - back) / (self.edges.front - self.edges.back)
        return np.array([front - slope * self.edges.front - lateral * x, lateral, slope])


def _shares(x: Array, y: Array, edges: Edges) -> tuple[Array, Array]:
    half = (edges.right - edges.left) / 2
    depth = (edges.front - edges.back) / 2
    return (x - (edges.left + edges.right) / 2) / half, (y - (edges.front + edges.back) / 2) / depth


def fit_surface(x: Array, y: Array, z: Array, edges: Edges, voxel_mm: float) -> Surface:
    """The surface through columns.

    The profile is a penalised spline (Eilers and Marx 1996, Stat Sci 11:89) of nine knots with a penalty on third
    differences: stiff it is a parabola, which averages over the steps that voxel layers make in an endplate that lies
    along them. A broken endplate is no parabola; where a flexible fit differs from the stiff one by more than such
    steps can make it, the flexible one is taken, with a bow across that changes from back to front.

    Args:
        x, y, z: (N,) Columns of the body and where they meet the endplate, body coordinates.
        edges: Its walls, as far as they are known.
        voxel_mm: Distance of the voxel layers along the columns.

    Raises:
        VolumeError: too few columns.
    """
    u, v = _shares(x, y, edges)
    inset = 1.0 - _INSET_MM * max(voxel_mm, 1.0) / ((edges.front - edges.back) / 2)
    there = (np.abs(v) <= max(inset, 0.5)) & (u**2 + v**2 <= _OVAL) & np.isfinite(z)
    use = there & (np.abs(u) <= _ACROSS)
    if use.sum() < 2 * _KNOTS:
        raise VolumeError("too few columns cross the body", field="mask", cure="use a mask of finer spacing")
    plain = [_fitted(u[use], v[use], z[use], weight, bows=False) for weight in (_STIFF, _FLEXIBLE)]
    apart = (plain[0] - plain[1])[1 : _KNOTS - 1]
    if float(np.sqrt(np.mean(apart**2))) <= _BROKEN_VOXELS * voxel_mm:
        found, bows = plain[0], plain[0][_KNOTS + 1] + plain[0][_KNOTS + 2] * (1.0 - _NODES**2)
        return Surface(edges, found[:_KNOTS], float(found[_KNOTS]), bows, np.zeros((0, 3)))
    use = there & (np.abs(u) <= _ACROSS_BROKEN)
    found = _fitted(u[use], v[use], z[use], _FLEXIBLE, bows=True)
    smooth = Surface(edges, found[:_KNOTS], float(found[_KNOTS]), found[_KNOTS + 1 :], np.zeros((0, 3)))
    rest = np.stack([x[use], y[use], z[use] - smooth.height(x[use], y[use])], axis=1)
    return replace(smooth, rest_mm=rest)


def _fitted(u: Array, v: Array, z: Array, weight: float, *, bows: bool) -> Array:
    """Profile (9,), tilt, and the bow across: two numbers, or nine from back to front."""
    hats = np.clip(1.0 - np.abs(v[:, None] - _NODES) * (_KNOTS - 1) / 2, 0.0, None)
    across = hats * u[:, None] ** 2 if bows else np.stack([u**2, u**2 * (1.0 - v**2)], axis=1)
    design = np.concatenate([hats, u[:, None], across], axis=1)
    third = np.diff(np.eye(_KNOTS), 3, axis=0) * np.sqrt(weight * len(z) / 300)
    bend = np.zeros((len(third), design.shape[1]))
    bend[:, :_KNOTS] = third
    if bows:  # the bow is known in the middle of the depth only, and kept from there
        even = np.zeros((_KNOTS - 1, design.shape[1]))
        even[:, _KNOTS + 1 :] = np.diff(np.eye(_KNOTS), 1, axis=0) * np.sqrt(weight * len(z) / 300)
        bend = np.concatenate([bend, even])
    return robust_fit(design, z, bend)


def find_edges(field: Field, frame: BodyFrame, upper: Surface, lower: Surface, half: Array) -> tuple[Edges, Edges]:
    """Where the four walls reach the upper and the lower endplate.

    Args:
        field, frame: The body.
        upper, lower: Its endplates' surfaces, as far as they are known.
        half: (2,) About half of its width and depth.

    Raises:
        VolumeError: the sections have no outline.
    """
    plates = (lower.edges, upper.edges)
    x_middle = sum(edge.left + edge.right for edge in plates) / 4
    y_middle = sum(edge.front + edge.back for edge in plates) / 4

    def half_width(t: Array) -> Array:
        return _between(t, [(edge.right - edge.left) / 2 for edge in plates])

    def half_depth(t: Array) -> Array:
        return _between(t, [(edge.front - edge.back) / 2 for edge in plates])

    shape = _Shape(half_depth, half_width, max(np.floor(_MIDLINE * half[0]), 2.0), _DEGREE["front"])
    front, back = _walls(
        lambda along, across: (x_middle + across, y_middle + along),
        field,
        frame,
        upper,
        lower,
        shape,
        (_FLARE_MM["front"], _FLARE_MM["back"]),
    )

    def waisted(t: Array) -> Array:
        return np.maximum(shape.terms(t, np.zeros(len(t))) @ (front.terms - back.terms) / 2, 2.0)

    side = _Shape(half_width, waisted, max(np.floor(_MIDDLE * half[1]), 2.0), _DEGREE["side"])
    sides = _walls(
        lambda along, across: (x_middle + along, y_middle + across),
        field,
        frame,
        upper,
        lower,
        side,
        (_FLARE_MM["side"],) * 2,
    )
    fine = np.linspace(-side.reach, side.reach, 8 * int(side.reach) + 1)
    result = []
    for end in (1.0, 0.0):
        here = side.terms(np.full(len(fine), end), fine)
        row = float(fine[int(np.argmax(here @ (sides[0].terms - sides[1].terms)))])
        result.append(
            Edges(
                back.end(end, 0.0, near_mm=_NEAR_MM) + y_middle,
                front.end(end, 0.0, near_mm=_NEAR_MM) + y_middle,
                sides[1].end(end, row, near_mm=np.inf) + x_middle,
                sides[0].end(end, row, near_mm=np.inf) + x_middle,
                row + y_middle,
            )
        )
        if result[-1].front - result[-1].back < 4.0 or result[-1].right - result[-1].left < 4.0:
            raise VolumeError("the endplate has no outline", field="mask", cure="check that the mask is one body")
    return result[0], result[1]


@dataclass(frozen=True)
class _Shape:
    """The family of walls: half size · (1 - waist · 4t(1 - t)) · (1 + a polynomial of the place across).

    Attributes:
        lead: Half size along, as a function of t, without the waist.
        breadth: Half size across, in shares of which places across are counted.
        reach: How far across the wall is read, mm.
        degree: Of the polynomial.
    """

    lead: Callable[[Array], Array]
    breadth: Callable[[Array], Array]
    reach: float
    degree: int

    def terms(self, t: Array, across: Array) -> Array:
        """(N, M) Terms at heights t and places across."""
        lead, place = self.lead(t), across / self.breadth(t)
        lead = lead / float(self.lead(np.array([0.5]))[0])
        return np.stack(
            [np.ones_like(t), t, 4.0 * t * (1.0 - t) * lead, *(lead * place ** (n + 1) for n in range(self.degree))],
            axis=1,
        )


@dataclass(frozen=True, eq=False)
class _Wall:
    """A fitted wall and the outlines (T, A) it was fitted to; `direction` +1 or -1 is outwards.

    `flare_mm` is how far it may be carried on beyond where it was seen.
    """

    shape: _Shape
    terms: Array
    t: Array
    across: Array
    edge: Array
    direction: int
    flare_mm: float

    def end(self, t: float, across: float, *, near_mm: float) -> float:
        """Where the wall reaches the endplate at t = 0 or 1, at a place across.

        It is carried on by no more than `flare_mm` beyond the two sections next to the endplate, as seen no farther
        than `near_mm` from the place.
        """
        fitted = float((self.shape.terms(np.array([t]), np.array([across])) @ self.terms)[0])
        near = self.direction * self.edge[np.abs(self.t - t) <= 0.5][:, np.abs(self.across - across) <= near_mm]
        near = near if t < 0.5 else near[::-1]  # from the endplate inwards
        rows = [np.percentile(row[np.isfinite(row)], _OUTER) for row in near if 2 * np.isfinite(row).sum() >= len(row)]
        if not rows:
            return fitted
        seen = float(max(rows[:_NEAREST]))
        return self.direction * min(self.direction * fitted, seen + self.flare_mm)


def _between(t: Array, ends: list[float]) -> Array:
    return ends[0] + (ends[1] - ends[0]) * t


def _walls(
    place: Callable[[Array, Array], tuple[Array, Array]],
    field: Field,
    frame: BodyFrame,
    upper: Surface,
    lower: Surface,
    shape: _Shape,
    flare: tuple[float, float],
) -> tuple[_Wall, _Wall]:
    """The two walls at the ends of lines: `place` gives x and y of a place along and across."""
    t = (np.arange(_SECTIONS) + 0.5) / _SECTIONS
    size = float(shape.lead(np.array([0.0, 1.0])).max()) + _MARGIN_MM
    pull = np.linalg.inv(field.affine[:3, :3]) @ frame.axes.T
    outwards = np.diff(np.stack(place(np.array([0.0, 1.0]), np.zeros(2))), axis=1)[:, 0]  # (2,) in x and y
    voxels = [1.0 / float(np.linalg.norm(way)) for way in (pull[:, :2] @ outwards, pull[:, 2])]
    least_mm = _LEAST_VOXELS * max(*voxels, 1.0)
    along = np.arange(-size, size + 0.5, 0.5)
    across = np.arange(-shape.reach, shape.reach + 1.0)
    x, y = place(*np.meshgrid(along, across, indexing="ij"))
    bottom = lower.height(x, y)
    tall = np.maximum(upper.height(x, y) - bottom, 1e-3)
    z = bottom[..., None] + tall[..., None] * t
    points = np.stack([np.broadcast_to(x[..., None], z.shape), np.broadcast_to(y[..., None], z.shape), z], axis=-1)
    values = field.at(frame.to_world(points))
    found = []
    for direction, most in zip((+1, -1), flare, strict=True):
        edge = outlines(values.reshape(len(along), -1), along, direction).reshape(len(across), len(t)).T
        there = np.clip(np.searchsorted(along, np.nan_to_num(edge)), 0, len(along) - 1)
        deep = np.minimum(t, 1.0 - t)[:, None] * tall[there, np.arange(len(across))]
        found.append(
            _wall(
                t, across, np.where(deep >= least_mm, edge, np.nan), edge, shape, direction, most / least_mm, least_mm
            )
        )
    return found[0], found[1]


def _wall(
    t: Array,
    across: Array,
    edge: Array,
    anywhere: Array,
    shape: _Shape,
    direction: int,
    flare: float,
    voxel_mm: float,
) -> _Wall:
    """A wall by least squares on the outlines of sections: `edge` (T, A) those that count, `anywhere` all."""
    gt, ga = np.meshgrid(t, across, indexing="ij")
    if np.isfinite(edge).sum() < 12:  # crushed flat: what there is, as a straight wall
        edge = np.where(np.abs(gt - 0.5) < 0.26, anywhere, np.nan)
    known = np.isfinite(edge)
    if known.sum() < 8:
        raise VolumeError("the endplate has no outline", field="mask", cure="check that the mask is one body")
    terms = shape.terms(gt[known], ga[known])
    keep = np.ones(terms.shape[1], dtype=bool)
    keep[1:3] = np.ptp(gt[known]) > 0.4
    solution = np.zeros(len(keep))
    half = float(shape.lead(np.array([0.5]))[0])
    if keep[2]:  # a few outlines of a small body cannot tell its waist: what is usual counts as well
        solution[2] = -direction * _WAIST * half
    draw = np.zeros((1, len(keep)))
    draw[0, 2] = _OUTLINE_MM * voxel_mm / (_WAIST_SD * half)
    solution[keep] += robust_fit(terms[:, keep], edge[known] - terms @ solution, draw[:, keep])
    return _Wall(shape, solution, t, across, edge, direction, flare)
