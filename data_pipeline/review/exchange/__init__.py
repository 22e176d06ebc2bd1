"""Files in and out of a review: a run's items and pictures in; verdicts, approvals, sign-offs and the log out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.review.exchange.held import import_held
    from data_pipeline.review.exchange.label_studio import export_tasks, import_annotations
    from data_pipeline.review.exchange.loading import NewItem, load_items
    from data_pipeline.review.exchange.runs import import_run
    from data_pipeline.review.exchange.verdicts import export_review, state_faults

__all__ = [
    "NewItem",
    "export_review",
    "export_tasks",
    "import_annotations",
    "import_held",
    "import_run",
    "load_items",
    "state_faults",
]

__getattr__ = lazy_names(
    __name__,
    {
        "held": "import_held",
        "label_studio": "export_tasks import_annotations",
        "loading": "NewItem load_items",
        "runs": "import_run",
        "verdicts": "export_review state_faults",
    },
)
