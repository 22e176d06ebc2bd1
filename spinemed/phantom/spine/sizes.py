"""Sizes of one person's vertebrae, discs, sacrum and pelvis, correlated as in a body.

Convention: every size is its table's mean for the sex times exp(relative sd × z). z is made of three standard normal
parts: one of the person for the kind of size (itself correlated with body size), one of the person for that kind in the
region, and one of the single vertebra. Families differ in how much each part weighs, and in proportions that no table
holds (waist, sweep, droop).

The trap: anterior and posterior height are not drawn apart. Their mean is drawn, and the wedge between them; two
heights with noise of their own would give wedges of ten degrees.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.phantom.spine.records import Family
from spinemed.phantom.tables.morphometry import size

__all__ = ["FAMILIES", "FamilyTraits", "Sizes", "draw_sizes", "height_difference_mm"]

Array = NDArray[np.float64]
SexName = Literal["female", "male"]

_KINDS: dict[str, str] = {
    "anterior_height": "height",
    "posterior_height": "height",
    "dens_height": "height",
    "upper_width": "width",
    "lower_width": "width",
    "upper_depth": "depth",
    "lower_depth": "depth",
    "canal_width": "canal_width",
    "canal_depth": "canal_depth",
    "pedicle_width": "pedicle",
    "pedicle_height": "pedicle",
    "lamina_thickness": "lamina",
    "lamina_height": "lamina",
    "spinous_length": "process",
    "spinous_height": "process",
    "transverse_span": "process",
    "transverse_thickness": "process",
    "facet_size": "facet",
    "upper_concavity": "concavity",
    "lower_concavity": "concavity",
    "disc_height": "disc",
}
_ANGLES = ("spinous_droop", "transverse_sweep", "trabecular_ratio")
_BODY = {  # correlation of a kind's person-wide part with body size
    "height": 0.8,
    "width": 0.75,
    "depth": 0.75,
    "canal_width": 0.35,
    "canal_depth": 0.25,
    "pedicle": 0.5,
    "lamina": 0.5,
    "process": 0.7,
    "facet": 0.6,
    "concavity": 0.1,
    "disc": 0.45,
}
_NAMES = tuple(_BODY)
_REGIONS = (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)
_CLIP = 2.6  # standard deviations: beyond lie no healthy people


class FamilyTraits(NamedTuple):
    """What sets one family of generators apart."""

    person: float
    """Weight of the person's part of a size; squares of the three weights sum to one."""
    region: float
    single: float
    height_single: float
    """Weight of the single vertebra's part of its height: neighbours are alike."""
    waist: tuple[float, float]
    """Mean and sd of the waist."""
    lamina: float
    """Factor on lamina thickness, undone on its height."""
    droop_deg: float
    """Added to the spinous processes' droop in the thorax."""
    sweep_deg: float
    """Added to the transverse processes' sweep in the thorax."""
    concavity_tie: float
    """Correlation between the depths of a vertebra's two endplates."""
    body_share: float
    """Share of a person's departure from the mean curve that bodies bear; discs bear the rest."""
    double_share: float
    """Share of scolioses that have two curves."""
    rotation_per_cobb: float
    disc_share: float
    """Share of a scoliosis that thoracic discs bear."""
    apex_sharpness: float
    """How much of a coronal curve lies beside its apex."""


FAMILIES: dict[Family, FamilyTraits] = {
    "a": FamilyTraits(0.75, 0.45, 0.48, 0.33, (0.905, 0.015), 1.03, 0.0, 0.0, 0.7, 0.22, 0.35, 0.40, 0.45, 1.0),
    "b": FamilyTraits(0.55, 0.60, 0.58, 0.42, (0.855, 0.025), 0.97, -6.0, -7.0, 0.2, 0.12, 0.65, 0.65, 0.70, 2.0),
}


class Sizes(NamedTuple):
    """Drawn sizes, (n,) arrays over the vertebrae C1 … the last lumbar one; NaN where a vertebra has no such part."""

    values: dict[str, Array]
    wedge_deg: Array
    """Mean wedge of each body for this person's depths, before the curve is drawn."""
    body: float
    """Standard normal body size."""
    height: float
    """Standard normal of the heights' person-wide part."""


class _Table(NamedTuple):
    means: dict[str, Array]
    sds: dict[str, Array]
    wedge_deg: Array


@cache
def _table(levels: tuple[Level, ...], sex: SexName) -> _Table:
    means: dict[str, Array] = {}
    sds: dict[str, Array] = {}
    for name in (*_KINDS, *_ANGLES):
        cells = [size(name, level, sex) if _has(name, level) else None for level in levels]
        means[name] = np.array([math.nan if cell is None else cell.mean for cell in cells])
        sds[name] = np.array([math.nan if cell is None else cell.sd for cell in cells])
    wedge = np.zeros(len(levels))
    for i, level in enumerate(levels):
        if level is Level.C1:
            continue
        ahead, behind = means["anterior_height"][i], means["posterior_height"][i]
        if level >= Level.T11:  # the published ratio splits the mean of both heights better than quantised medians
            ratio, mean = size("wedge_ratio", level, sex).mean, (ahead + behind) / 2
            ahead, behind = 2 * mean * ratio / (1 + ratio), 2 * mean / (1 + ratio)
        means["anterior_height"][i], means["posterior_height"][i] = ahead, behind
        wedge[i] = _wedge_deg(ahead - behind, means["upper_depth"][i], means["lower_depth"][i])
    return _Table(means, sds, wedge)


def _has(name: str, level: Level) -> bool:
    if name == "dens_height":
        return level is Level.C2
    if level is Level.C1:
        return name not in (
            "anterior_height",
            "posterior_height",
            "upper_width",
            "lower_width",
            "upper_depth",
            "lower_depth",
            "upper_concavity",
            "lower_concavity",
            "disc_height",
        )
    return True


def _wedge_deg(difference_mm: float, upper_depth_mm: float, lower_depth_mm: float) -> float:
    half = difference_mm / 2
    return math.degrees(math.atan(half / upper_depth_mm) + math.atan(half / lower_depth_mm))


def height_difference_mm(wedge_deg: Array, upper_depth_mm: Array, lower_depth_mm: Array) -> Array:
    """Anterior less posterior height of a body whose two endplates enclose a wedge.

    Each endplate bears half the difference, so that its slope is difference / (2 × its depth); the wedge is the sum of
    both slopes' angles. With t = tan(wedge) the difference d solves (d/2)(1/u + 1/l) = t (1 - d²/(4 u l)).
    """
    slope = np.tan(np.radians(wedge_deg))
    inverse = 1 / upper_depth_mm + 1 / lower_depth_mm
    squared = slope / (upper_depth_mm * lower_depth_mm)
    # The root near zero of squared·h² + inverse·h - slope = 0, in the form that stays exact for small wedges.
    half = 2 * slope / (inverse + np.sqrt(inverse**2 + 4 * squared * slope))
    result: Array = 2 * half
    return result


def draw_sizes(rng: np.random.Generator, levels: tuple[Level, ...], sex: SexName, traits: FamilyTraits) -> Sizes:
    """Sizes of all vertebrae of a person, and of the disc below each.

    Args:
        rng: Source of chance; the number of draws depends on the number of vertebrae only.
        levels: C1 … the last lumbar vertebra.
        sex: Which cells to draw from.
        traits: Of the family.
    """
    table = _table(levels, sex)
    n, kinds = len(levels), len(_NAMES)
    body = float(np.clip(rng.standard_normal(), -_CLIP, _CLIP))
    own = rng.standard_normal(kinds)
    by_region = rng.standard_normal((kinds, len(_REGIONS)))
    single = rng.standard_normal((kinds, n))
    extra = rng.standard_normal((len(_KINDS), n))
    region = np.array([_REGIONS.index(level.region) for level in levels])
    scores: dict[str, Array] = {}
    for k, kind in enumerate(_NAMES):
        tie = _BODY[kind]
        person = tie * body + math.sqrt(1 - tie * tie) * own[k]
        own[k] = person
        weight = traits.height_single if kind == "height" else traits.single
        rest = math.sqrt((1 - weight * weight) / (traits.person**2 + traits.region**2))
        scores[kind] = rest * (traits.person * person + traits.region * by_region[k, region]) + weight * single[k]
    values: dict[str, Array] = {}
    for i, (name, kind) in enumerate(_KINDS.items()):
        # Two measures of one kind on one vertebra (upper and lower width …) share most of their scatter.
        tie = traits.concavity_tie if kind == "concavity" else 0.9
        z = tie * scores[kind] + math.sqrt(1 - tie * tie) * extra[i]
        if kind == "height":
            z = scores[kind]
        relative = table.sds[name] / table.means[name]
        values[name] = table.means[name] * np.exp(relative * np.clip(z, -_CLIP, _CLIP) - relative**2 / 2)
    values["lamina_thickness"] = values["lamina_thickness"] * traits.lamina
    values["lamina_height"] = values["lamina_height"] / traits.lamina
    thorax = (region == 1).astype(float)
    for name, shift in (("spinous_droop", traits.droop_deg), ("transverse_sweep", traits.sweep_deg)):
        person, singles = rng.standard_normal(), rng.standard_normal(n)
        values[name] = table.means[name] + shift * thorax + table.sds[name] * (0.7 * person + 0.5 * singles)
    values["trabecular_ratio"] = table.means["trabecular_ratio"] + table.sds["trabecular_ratio"] * rng.standard_normal(
        n
    )
    values["waist"] = np.clip(rng.normal(traits.waist[0], traits.waist[1], n), 0.75, 0.97)
    return Sizes(values, table.wedge_deg, body, float(own[_NAMES.index("height")]))
