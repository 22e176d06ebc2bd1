"""Every quantity of the synthesis benchmark: its name, unit, direction, and what a missing synthesis counts as.

Convention: `worst` is what a vertebra counts as whose synthesis is missing or unusable; None: it has no value there,
and the row says on how many the mean rests. Quantities of pictures exist for a method that makes any picture;
a vertebra whose picture is missing then counts as the worst.

- Dice 2|A∩B|/(|A|+|B|), IoU |A∩B|/|A∪B| and the volume's error are of whole bodies in 3D.
- RHDR (:func:`spinemed.metrics.pictures.rhdr`), PSNR and SSIM are means over sagittal layers: those of the middle four
  fifths of the healthy body's width in which it covers more than 400 mm². Pictures are cut to -300 to 800 HU, with a
  range of 1100. "Target": the rows from the body's lowest to its highest in that layer, all columns. The published code
  takes each slice's own range instead. PSNR of equal pictures counts as `PSNR_CAP_DB`.
- Loss errors are in points (percent of the healthy height): the robust height loss of the body as it is, measured
  against the synthesis, minus the same against the healthy body. Capped: each third at most `CAP_POINTS`, which a
  missing or unmeasurable synthesis counts as.
- `same_grade`: both losses lead to the same Genant grade.

Trap: rank by a quantity that has a `worst`; the others can be made better by leaving out what is hard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

__all__ = ["CAP_POINTS", "METRICS", "PSNR_CAP_DB", "Metric", "metric"]

CAP_POINTS = 50.0
PSNR_CAP_DB = 100.0
_HEIGHT, _POINTS = "% of the height", "points"


@dataclass(frozen=True)
class Metric:
    """One quantity."""

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher", "zero"]
    family: Literal["body", "image", "loss"]
    worst: float | None = None


METRICS = (
    Metric("dice", "Dice", "", "higher", "body", 0.0),
    Metric("iou", "IoU", "", "higher", "body", 0.0),
    Metric("rhdr_percent", "RHDR", _HEIGHT, "lower", "body", 100.0),
    Metric("volume_error_percent", "error of the volume", "% of the volume", "lower", "body", 100.0),
    Metric("psnr_db", "PSNR, whole slices", "dB", "higher", "image", 0.0),
    Metric("psnr_target_db", "PSNR, target rows", "dB", "higher", "image", 0.0),
    Metric("ssim", "SSIM, whole slices", "", "higher", "image", 0.0),
    Metric("ssim_target", "SSIM, target rows", "", "higher", "image", 0.0),
    Metric("loss_mae_capped", "height loss error, capped, misses counted", _POINTS, "lower", "loss", CAP_POINTS),
    Metric("loss_mae", "height loss error, mean of thirds", _POINTS, "lower", "loss"),
    Metric("loss_bias", "height loss bias, mean of thirds", _POINTS, "zero", "loss"),
    Metric("loss_anterior", "height loss error, anterior", _POINTS, "lower", "loss"),
    Metric("loss_middle", "height loss error, middle", _POINTS, "lower", "loss"),
    Metric("loss_posterior", "height loss error, posterior", _POINTS, "lower", "loss"),
    Metric("same_grade", "same Genant grade", "%", "higher", "loss", 0.0),
)
"""Every quantity, in the order of tables."""


@cache
def _by_name() -> dict[str, Metric]:
    return {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """A quantity by name. A KeyError if there is none."""
    return _by_name()[name]
