"""DeepMind's surface-distance: surface elements weighted by area, on a grid between the voxels; it crops itself."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import surface_distance as sd
from child import Scores, serve


def score(reference, prediction, spacing_mm) -> Scores:  # noqa: D103
    counts = (np.bincount(v.reshape(-1), minlength=256) for v in (reference, prediction))
    scores = {}
    for label in np.flatnonzero(np.logical_and(*counts))[1:].tolist():
        a, b = reference == label, prediction == label
        found = sd.compute_surface_distances(a, b, spacing_mm)
        scores[label] = {
            "dice": float(sd.compute_dice_coefficient(a, b)),
            "hd_mm": float(sd.compute_robust_hausdorff(found, 100)),
            "hd95_max_mm": float(sd.compute_robust_hausdorff(found, 95)),
            "masd_mm": float(np.mean(sd.compute_average_surface_distance(found))),
            "surface_dice": float(sd.compute_surface_dice_at_tolerance(found, 1.0)),
        }
    return scores


if __name__ == "__main__":
    serve("surface-distance", version("surface-distance"), score)
