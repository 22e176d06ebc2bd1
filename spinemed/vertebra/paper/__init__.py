"""HealthiVert-GAN's own measurements, to the letter: straightening and relative height loss (RHLV).

Everything here repeats the published rules, with their clamps and shortcuts, so that results can be compared with those
published. `spinemed.vertebra.rhlv` measures; this compares.
"""

from spinemed.vertebra.paper.rhlv import PaperRhlv, paper_rhlv
from spinemed.vertebra.paper.straighten import (
    PaperCrop,
    paper_centroids,
    paper_straighten,
)

__all__ = ["PaperCrop", "PaperRhlv", "paper_centroids", "paper_rhlv", "paper_straighten"]
