"""Which family a model belongs to, by its name, and which judges count.

Convention: a judge of the family of a contestant, a draft writer or a reviser is shown and never counts: models prefer
their own kind. A name that two families claim, or none, has no family until somebody declares it.

Trap: a name says what its owner wants it to say. A model that was tuned from other weights belongs to their family;
declare it where its name hides that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from spinemed.config import Config, load_config
from spinemed.errors import ConfigError

__all__ = ["family_of"]


class _Families(Config):
    families: dict[str, tuple[str, ...]]
    """Names by which each family of models is recognised."""


@cache
def _families() -> dict[str, tuple[str, ...]]:
    return load_config(str(files("bench.judges").joinpath("families.yaml")), _Families).families


def family_of(model: str, declared: Mapping[str, str] | None = None) -> str:
    """The family of a model.

    Args:
        model: Its name, with or without owner and revision.
        declared: Families by model name, which win over the table.

    Raises:
        ConfigError: No family, or several, and none declared.
    """
    if declared and model in declared:
        return declared[model]
    name = model.partition("@")[0]
    if declared and name in declared:
        return declared[name]
    found = sorted(
        family
        for family, patterns in _families().items()
        if any(re.search(pattern, name, re.IGNORECASE) for pattern in patterns)
    )
    if len(found) == 1:
        return found[0]
    what = "belongs to no known family" if not found else f"could be of the families {', '.join(found)}"
    raise ConfigError(
        f"'{model}' {what}, so nobody can tell which judges may judge it",
        field="families",
        cure="declare it: `families: {" + model + ": NAME}`, or --family for the model that is asked",
    )
