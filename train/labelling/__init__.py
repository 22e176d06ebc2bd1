"""The trainer of the vertebra labeller; its networks and inference live in `spinemed.labelling`.

Purpose: `labeller.py` is the job of `spinemed train labelling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.labelling.labeller import LabellingConfig, run_labelling
    from train.labelling.phantom_scans import PhantomScans, make_phantom_scans

__all__ = ["LabellingConfig", "PhantomScans", "make_phantom_scans", "run_labelling"]

__getattr__ = lazy_names(
    __name__,
    {
        "labeller": "LabellingConfig run_labelling",
        "phantom_scans": "PhantomScans make_phantom_scans",
    },
)
