"""Published clinical rules as pure functions: what was read in, a total or type and what the paper says of it out.

Open first: `additive.py` (how points, missing inputs and bands meet), then `injury.py` and `deformity.py`.
"""

from spinemed.scores.additive import AdditiveScore, Band, Component, ScoreResult
from spinemed.scores.deformity import LenkeCurve, LenkeResult, SchwabResult, lenke, srs_schwab
from spinemed.scores.injury import OF_SCORE, SINS, SLIC, SLIC_INCOMPLETE_ONLY, TL_AOSIS, TLICS, of_grade, sins_location

__all__ = [
    "OF_SCORE",
    "SINS",
    "SLIC",
    "SLIC_INCOMPLETE_ONLY",
    "TLICS",
    "TL_AOSIS",
    "AdditiveScore",
    "Band",
    "Component",
    "LenkeCurve",
    "LenkeResult",
    "SchwabResult",
    "ScoreResult",
    "lenke",
    "of_grade",
    "sins_location",
    "srs_schwab",
]
