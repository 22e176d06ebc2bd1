"""Grey values, texture, noise and blur: how a scene looks, by modality and generator family.

Convention: tones are grey values 0 to 255 after windowing, one per tissue; for radiographs one gain per projected
layer. They are display values, chosen to resemble windowed images, and stand for no physical quantity. The trap:
family "b" shares no modality with family "a" except the radiograph, whose gains differ; it exists to test a shift of
look, and results on it must be reported apart.
"""

from __future__ import annotations

import numpy as np

from spinemed.phantom.sagittal.records import LookDraw, PhantomConfig, View

__all__ = ["TONES", "draw_look"]

#: Tissue tones of slices.
TONES: dict[str, dict[str, float]] = {
    "mr_t2": {
        "air": 4, "fat": 190, "organ": 70, "muscle": 62, "bone": 112, "rim": 30, "annulus": 32, "nucleus": 165,
        "worn": 48, "csf": 225, "cord": 105, "cauda": 160, "epidural": 165, "ligament": 42, "vessel": 16,
        "spinous": 118, "contrast": 34, "vein": 165,
    },
    "mr_t1": {
        "air": 4, "fat": 215, "organ": 92, "muscle": 84, "bone": 142, "rim": 38, "annulus": 66, "nucleus": 84,
        "worn": 62, "csf": 38, "cord": 98, "cauda": 62, "epidural": 195, "ligament": 48, "vessel": 18,
        "spinous": 150, "contrast": 30, "vein": 175,
    },
    "ct": {
        "air": 0, "fat": 52, "organ": 96, "muscle": 100, "bone": 150, "rim": 222, "annulus": 108, "nucleus": 102,
        "worn": 100, "csf": 84, "cord": 94, "cauda": 90, "epidural": 58, "ligament": 84, "vessel": 106,
        "spinous": 168, "contrast": 16, "vein": 128,
    },
    "mr_stir": {
        "air": 4, "fat": 24, "organ": 62, "muscle": 58, "bone": 60, "rim": 20, "annulus": 26, "nucleus": 150,
        "worn": 42, "csf": 235, "cord": 96, "cauda": 165, "epidural": 28, "ligament": 24, "vessel": 14,
        "spinous": 44, "contrast": 30, "vein": 110,
    },
    "ct_bone": {
        "air": 0, "fat": 28, "organ": 46, "muscle": 48, "bone": 96, "rim": 205, "annulus": 52, "nucleus": 50,
        "worn": 49, "csf": 44, "cord": 47, "cauda": 46, "epidural": 30, "ligament": 42, "vessel": 49,
        "spinous": 120, "contrast": 6, "vein": 76,
    },
}  # fmt: skip

#: Layer gains of radiographs.
_GAINS: dict[str, dict[str, float]] = {
    "a": {
        "tissue": 78, "lung": 46, "bone": 58, "rim": 105, "arch": 46, "spinous": 34, "rib": 26, "iliac": 30, "gas": 26,
    },
    "b": {
        "tissue": 120, "lung": 70, "bone": 38, "rim": 74, "arch": 34, "spinous": 20, "rib": 30, "iliac": 38, "gas": 34,
    },
}  # fmt: skip

_MODALITIES = {"a": ("mr_t2", "mr_t1", "ct"), "b": ("mr_stir", "ct_bone")}


def draw_look(rng: np.random.Generator, config: PhantomConfig, view: View) -> LookDraw:
    """Draw modality, tones and image quality for one phantom."""
    modality = "xray"
    if view == "sagittal":
        choices = _MODALITIES[config.family]
        modality = choices[int(rng.integers(len(choices)))]
    base = _GAINS[config.family] if modality == "xray" else TONES[modality]
    spread = rng.normal(1.0, 0.08, len(base))
    tones = {name: round(float(np.clip(tone * s, 0.0, 255.0)), 2) for (name, tone), s in zip(base.items(), spread)}
    noise, blur = float(rng.uniform(2.0, 9.0)), float(rng.uniform(0.15, 0.6))
    if modality == "mr_t2" or modality == "mr_t1" or modality == "mr_stir":
        # A surface coil lies under the back: brighter there, falling off to the front.
        bias = (float(rng.uniform(0.0, 0.55)), float(rng.normal(0.0, 0.08)), 0.0, float(rng.uniform(-0.35, 0.0)))
    else:
        bias = (float(rng.normal(0.0, 0.04)), float(rng.normal(0.0, 0.05)), 0.0, 0.0)
    return LookDraw(
        modality=modality,
        tones=tones,
        texture=round(float(rng.uniform(0.03, 0.11)), 4),
        noise=round(noise * config.noise, 3),
        blur_px=round(blur * config.noise * config.size_px[0] / 128.0, 3),
        bias=(round(bias[0], 4), round(bias[1], 4), bias[2], round(bias[3], 4)),
        gamma=round(float(rng.uniform(0.85, 1.15)), 3),
        noise_seed=int(rng.integers(2**32)),
    )
