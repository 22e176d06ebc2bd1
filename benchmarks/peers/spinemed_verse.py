"""SpineMed's own fused comparison, as a child like the peers."""

from __future__ import annotations

from child import Scores, serve

import spinemed
from spinemed.metrics import compare_labels

NAMES = ("dice", "hd_mm", "hd95_pooled_mm", "hd95_max_mm", "assd_mm", "masd_mm", "surface_dice")


def score(reference, prediction, spacing_mm) -> Scores:  # noqa: D103
    found = compare_labels(reference, prediction, spacing_mm).per_label
    return {
        label: {name: getattr(item, name) for name in NAMES} for label, item in found.items() if item.status == "scored"
    }


if __name__ == "__main__":
    serve("spinemed", spinemed.__version__, score)
