"""Which cases a set has: so many of each recipe that count and undecidable share are exact.

Convention: every recipe gives a fixed number of questions that can be decided and a fixed number that cannot. Copies
follow the config's mix (largest remainders), what is left over goes to recipes of one question. The order of cases is
drawn, so that the first questions of a set are a mixture too.

Trap: the numbers of a recipe are a promise; `make` refuses a case that breaks it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.live.case import Case
from bench.live.config import LiveConfig
from spinemed.errors import ConfigError

__all__ = ["RECIPES", "Recipe", "plan_cases", "undecidable_count"]

_LEAST_FOR_REAL = 100
_TOPIC = 0x914A


@dataclass(frozen=True)
class Recipe:
    """A kind of case.

    Attributes:
        module, function: Where it is made; imported when it is first needed.
        decidable, undecidable: How many questions it gives of each kind.
    """

    module: str
    function: str
    decidable: int
    undecidable: int = 0

    def make(self) -> Callable[[Case], None]:
        """The function that asks the questions."""
        found: Callable[[Case], None] = getattr(importlib.import_module(f"bench.live.{self.module}"), self.function)
        return found


RECIPES: dict[str, Recipe] = {
    "level": Recipe("levels", "level_recipe", 3),
    "level_full": Recipe("solids", "full_recipe", 2),
    "fracture": Recipe("findings", "fracture_recipe", 2),
    "height": Recipe("findings", "height_recipe", 2),
    "side": Recipe("sides", "side_recipe", 3, 1),
    "slip": Recipe("solids", "slip_recipe", 2),
    "disc": Recipe("solids", "disc_recipe", 2),
    "lesion": Recipe("solids", "lesion_recipe", 1),
    "alignment": Recipe("solids", "alignment_recipe", 2),
    "planning": Recipe("planning", "planning_recipe", 1),
    "planning_image": Recipe("planning", "planning_image_recipe", 1),
    "consistency": Recipe("consistency", "consistency_recipe", 12),
    "consistency_finding": Recipe("consistency", "finding_recipe", 9),
    "injection": Recipe("injection", "injection_recipe", 5),
    "volume": Recipe("volumes", "volume_recipe", 4),
    "real": Recipe("real", "real_recipe", 4, 2),
    "no_field": Recipe("levels", "no_field_recipe", 0, 1),
    "transitional": Recipe("levels", "transitional_recipe", 0, 1),
    "no_scale": Recipe("findings", "no_scale_recipe", 0, 1),
    "modality": Recipe("solids", "modality_recipe", 0, 1),
    "missing": Recipe("planning", "missing_recipe", 0, 1),
}
"""How questions are made, by name; a config's `mix` gives each a share."""
_SINGLE = ("lesion", "planning_image", "planning")
_OPEN = ("no_field", "transitional", "no_scale", "modality", "missing")


def undecidable_count(config: LiveConfig) -> int:
    """How many questions of a set nobody can decide: the share, rounded half up."""
    return int(config.count * config.undecidable_share + 0.5)


def plan_cases(config: LiveConfig) -> list[str]:
    """The recipe of each case, in order.

    Raises:
        ConfigError: The mix gives nothing to ask.
    """
    open_ = undecidable_count(config)
    decided = config.count - open_
    mix = {name: share for name, share in config.mix.items() if share > 0}
    if not config.real or config.count < _LEAST_FOR_REAL:
        mix.pop("real", None)
    if not mix:
        raise ConfigError("asks for nothing", field="mix", cure="give a recipe a share above 0")
    copies, left = _shared_out(mix, decided)
    # Recipes that bring undecidable questions along give way where there are too many of them.
    while (brought := sum(count * RECIPES[name].undecidable for name, count in copies.items())) > open_:
        name = next(name for name in ("real", "side") if copies.get(name))
        copies[name] -= 1
        left += RECIPES[name].decidable
    singles = [name for name in _SINGLE if name in mix] or ["planning"]
    for place in range(left):
        name = singles[place % len(singles)]
        copies[name] = copies.get(name, 0) + 1
    for place in range(open_ - brought):
        name = _OPEN[place % len(_OPEN)]
        copies[name] = copies.get(name, 0) + 1
    listed = [name for name in RECIPES for _ in range(copies.get(name, 0))]
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, _TOPIC]))
    return [listed[int(k)] for k in rng.permutation(len(listed))]


def _shared_out(mix: dict[str, float], decided: int) -> tuple[dict[str, int], int]:
    """Copies of each recipe by largest remainder, never more questions than `decided`; and what is left over."""
    total = sum(mix.values())
    wanted = {name: share / total * decided / RECIPES[name].decidable for name, share in mix.items()}
    if "real" in wanted:
        wanted["real"] = 1.0  # there is one set of real images
    copies = {name: int(value) for name, value in wanted.items()}
    left = decided - sum(count * RECIPES[name].decidable for name, count in copies.items())
    while left < 0:  # the one case of real images did not fit into a small share
        copies["real"], left = 0, left + RECIPES["real"].decidable
    for name in sorted(wanted, key=lambda one: (copies[one] - wanted[one], one)):
        if name != "real" and wanted[name] > copies[name] and RECIPES[name].decidable <= left:
            copies[name] += 1
            left -= RECIPES[name].decidable
    return copies, left
