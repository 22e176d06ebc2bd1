"""Every quantity of the motion benchmark: its name, unit, direction, and what a missed clip counts as.

Convention: a value is named "group/quantity", such as "spine/p_mpjpe_mm". Shares are given as shares and shown in
percent. `worst` is what a clip counts as whose prediction is missing or unusable; None: such a clip has no value there,
and the row says how many clips the mean rests on.

Trap: rank by a quantity that has a `worst`; the others can be made better by leaving out what is hard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from spinemed.metrics.motion import CAP_MM

__all__ = ["METRICS", "Metric", "metric", "split_key"]


@dataclass(frozen=True)
class Metric:
    """One quantity."""

    name: str
    title: str
    unit: str
    better: str
    """"lower", "higher", or "nominal" where a stated value is to be met."""
    family: str
    """"points", "pictures", "angles" or "lengths"."""
    worst: float | None = None


METRICS = (
    Metric("mpjpe_mm", "MPJPE in the world", "mm", "lower", "points"),
    Metric("mpjpe_capped_mm", f"MPJPE, at most {CAP_MM:g} mm, misses counted", "mm", "lower", "points", CAP_MM),
    Metric("root_mpjpe_mm", "MPJPE, root-relative", "mm", "lower", "points"),
    Metric("n_mpjpe_mm", "N-MPJPE (root and scale)", "mm", "lower", "points"),
    Metric("p_mpjpe_mm", "P-MPJPE (similarity)", "mm", "lower", "points"),
    Metric("pck50", "points within 50 mm", "%", "higher", "points", 0.0),
    Metric("pck150", "points within 150 mm", "%", "higher", "points", 0.0),
    Metric("auc150", "AUC, norm 150 mm (at most 0.95)", "", "higher", "points", 0.0),
    Metric("acceleration_m_s2", "acceleration error", "m/s²", "lower", "points"),
    Metric("jerk_m_s3", "jerk error", "m/s³", "lower", "points"),
    Metric("length_cv_percent", "variation of lengths over time", "% of the length", "lower", "lengths"),
    Metric("length_cv_reference_percent", "the same in the reference", "% of the length", "lower", "lengths"),
    Metric("angle_mae_deg", "angle error, all directions", "°", "lower", "angles"),
    Metric("flexion_mae_deg", "angle error, flexion", "°", "lower", "angles"),
    Metric("lateral_bending_mae_deg", "angle error, lateral bending", "°", "lower", "angles"),
    Metric("axial_rotation_mae_deg", "angle error, axial rotation", "°", "lower", "angles"),
    Metric("coverage50", "truth in the 50 % interval", "%", "nominal", "angles"),
    Metric("coverage90", "truth in the 90 % interval", "%", "nominal", "angles"),
    Metric("beyond_limits", "frames beyond a range of motion", "%", "lower", "angles"),
    Metric("beyond_limits_reference", "the same in the reference", "%", "lower", "angles"),
    Metric("picture_error_px", "mean distance in pictures", "px", "lower", "pictures"),
    Metric("oks", "mean OKS", "", "higher", "pictures", 0.0),
    Metric("auc30", "AUC, norm 30 px (at most 0.95)", "", "higher", "pictures", 0.0),
)


@cache
def _by_name() -> dict[str, Metric]:
    return {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """A quantity by its name."""
    return _by_name()[name]


def split_key(key: str) -> tuple[str, Metric]:
    """Group and quantity of "group/quantity"."""
    group, _, name = key.rpartition("/")
    return group, metric(name)
