"""MONAI's metrics on crops that the caller makes, one label at a time; single precision.

Its HD95 is the larger of the two directed percentiles, its symmetric average surface distance pools both directions.
"""

from __future__ import annotations

import monai
import numpy as np
import torch
from child import Scores, serve
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
from scipy import ndimage

torch.set_num_threads(1)


def score(reference, prediction, spacing_mm) -> Scores:  # noqa: D103
    boxes, others = ndimage.find_objects(reference), ndimage.find_objects(prediction)
    scores = {}
    for label, (box, other) in enumerate(zip(boxes, others), start=1):
        if box is None or other is None:
            continue
        both = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, other))
        a, b = (torch.from_numpy(np.ascontiguousarray(v[both] == label))[None, None] for v in (reference, prediction))
        asked = {"include_background": True, "spacing": list(spacing_mm)}
        scores[label] = {
            "dice": float(compute_dice(b, a)),
            "hd_mm": float(compute_hausdorff_distance(b, a, **asked)),
            "hd95_max_mm": float(compute_hausdorff_distance(b, a, percentile=95, **asked)),
            "assd_mm": float(compute_average_surface_distance(b, a, symmetric=True, **asked)),
        }
    return scores


if __name__ == "__main__":
    serve("MONAI", monai.__version__, score)
