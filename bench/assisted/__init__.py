"""What tools add to a model: the same questions with and without them. See README.md in this folder."""

from __future__ import annotations

from bench.assisted.caller import RuleCaller
from bench.assisted.masks import degraded, write_masks
from bench.assisted.run import AssistedConfig, Gain, measure_gain

__all__ = ["AssistedConfig", "Gain", "RuleCaller", "degraded", "measure_gain", "write_masks"]
