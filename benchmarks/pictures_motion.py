"""The table of signs as a picture: what a positive angle of the spine looks like, from right, behind and above.

    python benchmarks/pictures_motion.py        # writes benchmarks/pictures/motion_signs.png

Convention: the model at rest in grey; in colour the same body with every lumbar and thoracic level turned the positive
way, by a share of its own limit. The trap: the picture shows signs, no usual motion.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spinemed.anatomy import Region
from spinemed.motion import build_model
from spinemed.motion.conventions import DIRECTIONS, SIGNS
from spinemed.motion.draw import COLOURS, draw_spine, headed_blocks, save_figure
from spinemed.motion.scene import Scene

OUT = Path(__file__).resolve().parent / "pictures" / "motion_signs.png"
SHARE = {"flexion": 0.55, "lateral_bending": 0.45, "axial_rotation": 0.6}
VIEWS = {"flexion": ("right", 1, 2), "lateral_bending": ("behind", 0, 2), "axial_rotation": ("above", 0, 1)}
TITLES = {"right": "seen from the right", "behind": "seen from behind", "above": "seen from above"}
AXES = {"right": ("anterior →", "up →"), "behind": ("right →", "up →"), "above": ("right →", "anterior →")}
OPENSIM = {"flexion": "−Flex_Ext", "lateral_bending": "+Lat_Bending", "axial_rotation": "+axial_rotation"}


def turned(direction: str) -> Scene:
    """Two frames: rest, and every level but the neck's turned the positive way."""
    model = build_model()
    q = model.zero(2)
    for number, freedom in enumerate(model.freedoms):
        if freedom.direction == direction and freedom.region is not Region.CERVICAL:
            q[1, number] = np.radians(SHARE[direction] * freedom.upper_deg)
    return Scene(direction, "", model, q, 1.0)


def draw() -> Figure:
    """The three panels."""
    figure = Figure(figsize=(11.0, 4.9), layout="constrained")
    for axes, direction in zip(figure.subplots(1, 3), DIRECTIONS, strict=True):
        view, across, up = VIEWS[direction]
        scene = turned(direction)
        blocks, _ = headed_blocks(scene, np.array([0, 1]))
        regions = [vertebra.level.region.value for vertebra in scene.model.vertebrae]
        draw_spine(axes, blocks[0], regions, view, colour="#b9c2cc", alpha=0.45)
        draw_spine(axes, blocks[1], regions, view)
        flat = blocks.reshape(-1, 3)[:, [across, up]]
        if view == "above":
            flat = np.vstack([flat, flat.max(axis=0) + np.array([0.0, 110.0])])  # room for the nose
        low, high = flat.min(axis=0) - 40, flat.max(axis=0) + 40
        middle, reach = (low + high) / 2, max(high - low) / 2
        axes.set(
            xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal",
            xticks=[], yticks=[], xlabel=AXES[view][0], ylabel=AXES[view][1],
        )  # fmt: skip
        if view == "above":
            for block, colour in zip(blocks, ("#8b96a3", COLOURS["cervical"]), strict=True):
                start = block[-1, :8].mean(axis=0)[:2]  # C1
                nose = start + 130.0 * (block[-1, [0, 3]].mean(axis=0) - block[-1, [1, 2]].mean(axis=0))[:2] / 11.0
                axes.annotate("", nose, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
                axes.text(*nose, "nose", color=colour, fontsize=9, ha="center", va="bottom")
        name = direction.replace("_", " ").capitalize()
        axis, sign, where = SIGNS[direction]
        about = f"about {'−' if sign < 0 else '+'}{axis}; OpenSim {OPENSIM[direction]}"
        axes.set_title(f"{name} positive: {where}\n{TITLES[view]}\n{about}", fontsize=10)
    shown = {**COLOURS, "rest": "#b9c2cc"}
    handles = [Patch(color=colour, label=name) for name, colour in shown.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), fontsize=9, frameon=False)
    return figure


if __name__ == "__main__":
    save_figure(draw(), OUT, dpi=90)
    print(OUT.name)
