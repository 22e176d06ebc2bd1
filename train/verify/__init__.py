"""A training job looked through before its first step, so that it does not fail in its tenth hour.

Purpose: `job.py` is the whole look; `rows.py` names faults by file and line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.verify.job import Verified, verify
    from train.verify.rows import RowFault, RowFaults

__all__ = ["RowFault", "RowFaults", "Verified", "verify"]

__getattr__ = lazy_names(
    __name__,
    {
        "job": "Verified verify",
        "rows": "RowFault RowFaults",
    },
)
