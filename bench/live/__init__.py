"""SpineBench-Live: unlimited fresh questions with exact truth, made from phantoms, masks and published rules.

Open first: `plan.py` (which recipes there are), then a recipe (`levels.py`), then `make.py`.
"""

from bench.live.config import LiveConfig, LiveSize
from bench.live.make import make_case, make_live
from bench.live.plan import RECIPES, plan_cases, undecidable_count

__all__ = ["RECIPES", "LiveConfig", "LiveSize", "make_case", "make_live", "plan_cases", "undecidable_count"]
