"""What can be wrong with a phantom spine: typed records, and pure functions that apply, draw and describe them.

Start with `records` (what was applied), then `effective` (what is drawn) and `describe` (what can be read where).
"""

from spinemed.phantom.pathology.effective import (
    EffectiveBody,
    EffectiveDisc,
    EndplatePlane,
    canal_narrowing,
    displacements,
    effective_bodies,
    effective_discs,
    foramen_narrowing,
    healthy_twin,
    without,
)
from spinemed.phantom.pathology.primitives import Primitive, extra_primitives

__all__ = [
    "EffectiveBody",
    "EffectiveDisc",
    "EndplatePlane",
    "Primitive",
    "canal_narrowing",
    "displacements",
    "effective_bodies",
    "effective_discs",
    "extra_primitives",
    "foramen_narrowing",
    "healthy_twin",
    "without",
]
