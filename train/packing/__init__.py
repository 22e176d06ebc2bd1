"""Several samples in one row that do not see each other: planned from lengths, made on request, proven isolated.

Open `bins.py` for the plan, `collate.py` for the call shape, `isolation.py` for the guard.
"""

from train.packing.bins import Bins, plan_bins, plan_run
from train.packing.collate import PackedCall, PackedRows, call_of, collate_packed
from train.packing.isolation import Isolation, choose_call, measure_isolation, probe_rows
from train.packing.measured import MeasuredRows

__all__ = [
    "Bins",
    "Isolation",
    "MeasuredRows",
    "PackedCall",
    "PackedRows",
    "call_of",
    "choose_call",
    "collate_packed",
    "measure_isolation",
    "plan_bins",
    "plan_run",
    "probe_rows",
]
