"""Natural motions on the model: subjects, motions by published norms, and clips with exact labels and views.

Open `clips.generate_clip` first, then `motions` and `tables/natural_motions.csv`.
"""

from spinemed.motion.generate.clips import generate_clip
from spinemed.motion.generate.motions import MOTIONS
from spinemed.motion.generate.subjects import Subject, draw_subject
from spinemed.motion.generate.views import DetectorNoise, detect, draw_camera, studio, view

__all__ = [
    "MOTIONS", "DetectorNoise", "Subject", "detect", "draw_camera", "draw_subject", "generate_clip", "studio", "view",
]  # fmt: skip
