"""Metrics of images and masks, used by training and by the benchmarks.

Convention: functions take arrays and physical spacing, and return frozen dataclasses; nothing is NaN, and an empty case
is named in a `status` instead of a number. Paths, grids and level names are the callers'.

The trap: a mean over labels must count the missed ones; :meth:`LabelComparison.mean` does.
"""

from spinemed.metrics.segmentation import (
    DISTANCES,
    OVERLAPS,
    LabelComparison,
    LabelScore,
    MetricMean,
    Status,
    compare_labels,
)

__all__ = ["DISTANCES", "OVERLAPS", "LabelComparison", "LabelScore", "MetricMean", "Status", "compare_labels"]
