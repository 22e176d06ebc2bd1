"""Fracture and measurement questions on spines whose mask is at hand: what a model with tools can be asked.

Convention: the vertebra is named in words, not marked in the picture, because no tool reads an arrow; with and without
tools the words and the picture are the same. `volumes/CLUSTER/vertebrae.nii.gz` holds the vertebrae that are whole in
the view, 1 mm, VerSe's numbers: exact, so what a tool reads from it is an upper bound (`bench/assisted` blurs it).
True heights and angles follow the definitions of `spinemed.measure`, computed from surfaces, not from voxels.

Trap: a fracture moves its own endplates, so an angle is asked between healthy end vertebrae alone.
"""

from __future__ import annotations

import numpy as np

from bench.live.case import Case, live_templates
from bench.live.difficulty import of_grade, of_measurement
from bench.live.levels import column_line
from bench.live.solid import Solid, draw_solid
from spinemed.anatomy import Level, Spine
from spinemed.measure.grades import genant_grade
from spinemed.phantom.pathology.records import Fracture
from spinemed.phantom.spine import Posture
from spinemed.phantom.spine.pose import pose_spine
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.questions.draft import compose
from spinemed.questions.pathology import FRACTURE_SHAPES
from spinemed.records import NOT_DETERMINABLE
from spinemed.volume import Volume

__all__ = ["MASK_NAME", "volume_recipe", "whole_vertebrae"]

MASK_NAME = "vertebrae.nii.gz"
_ASKED = (Level.L1, Level.L2, Level.L3, Level.L4)
_UPPER = (Level.T12, Level.L1, Level.L2)
_BORDERS = (20.0, 25.0, 40.0)
_CLEAR, _LOSS_POINTS, _ANGLE_DEG = 2.0, 5.0, 5.0
_SEVERITY = ("mild", "moderate", "severe")
_MARGIN = 4


def _broken(spine: SpinePhantom) -> Fracture | None:
    """The fracture that is asked about: alone between T12 and L5."""
    near = [item for item in spine.pathologies if isinstance(item, Fracture) and item.level >= Level.T12]
    return near[0] if len(near) == 1 and near[0].level in _ASKED else None


def _own_loss(item: Fracture) -> float:
    return max(item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent)


Truth = dict[tuple[str, str], float]


def _truth(spine: SpinePhantom) -> Truth:
    """True values of a spine that lies, by quantity and place."""
    from spinemed.phantom.agreement.truth import true_values

    return {(one.quantity, one.place): one.value for one in true_values(pose_spine(spine, Posture.SUPINE))}


def _seen_loss(truth: Truth, level: Level) -> float:
    """Largest loss of a third against the mean of both neighbours, percent; columns are regular."""
    losses = []
    for part in ("anterior", "middle", "posterior"):
        above, own, below = (truth[(f"height_{part}_third", Spine().shift(level, n).value)] for n in (-1, 0, 1))
        losses.append(100.0 * (1.0 - own / ((above + below) / 2)))
    return max(losses)


def _fitting(case: Case) -> tuple[Solid, Fracture, Truth]:
    severity = case.pick(_SEVERITY)
    weights = {name: float(name == severity) for name in _SEVERITY}
    found: dict[int, Truth] = {}

    def fits(spine: SpinePhantom) -> bool:
        item = _broken(spine)
        if item is None or any(abs(_own_loss(item) - border) < _CLEAR for border in _BORDERS):
            return False
        found[spine.index] = _truth(spine)
        seen = _seen_loss(found[spine.index], item.level)
        return genant_grade(seen) == genant_grade(_own_loss(item)) and all(
            abs(seen - border) >= _CLEAR for border in _BORDERS
        )

    solid = draw_solid(case, fits, pathology={"fracture_share": 1.0, "severity_weights": weights})
    item = _broken(solid.spine)
    assert item is not None
    return solid, item, found[solid.spine.index]


def whole_vertebrae(solid: Solid) -> Volume:
    """The mask of the presacral vertebrae that a lumbar view holds whole, cut to them; 1 mm, VerSe's numbers."""
    from spinemed.phantom.imaging.grid import field_grid
    from spinemed.phantom.imaging.tissues import render_tissues

    scene = solid.scene(Posture.SUPINE)
    made = render_tissues(scene, field_grid(scene, "lumbar", spacing_mm=1.0))
    labels = made.vertebrae
    edge = {int(n) for axis in range(3) for end in (0, -1) for n in np.unique(np.take(labels, end, axis=axis))}
    numbers = [int(n) for n in np.unique(labels) if n and int(n) not in edge and int(n) < Level.S1.verse_label]
    kept = np.where(np.isin(labels, numbers), labels, 0).astype(np.uint8)
    box = tuple(slice(max(int(at.min()) - _MARGIN, 0), int(at.max()) + 1 + _MARGIN) for at in np.nonzero(kept))
    affine = np.array(made.grid.affine)
    affine[:3, 3] += affine[:3, :3] @ [one.start for one in box]
    return Volume(np.ascontiguousarray(kept[box]), affine, "label")


def volume_recipe(case: Case) -> None:
    """Four questions on one spine: shape and grade of a named vertebra, its height loss, an angle."""
    solid, item, truth = _fitting(case)
    seen = _seen_loss(truth, item.level)
    view = solid.ct()
    if case.config.volumes:
        case.volumes = {f"volumes/{solid.name}/{MASK_NAME}": whole_vertebrae(solid)}
    tags = ("volume",) if case.volumes else ()
    common = {
        "evidence": solid.spine, "cluster": solid.name, "spine": solid.column, "pictures": [view.picture],
        "context": [column_line(case, solid.column)],
    }  # fmt: skip
    healthy = [level for level in _ASKED if level is not item.level]
    difficulty = of_grade(seen, _BORDERS, width=5.0) if seen < 40 else "easy"
    # One of the two fracture questions may be about a healthy vertebra, so that "none" and "0" are answers, too.
    apart = healthy[int(case.rng.integers(len(healthy)))]
    about = int(case.rng.integers(4))
    for place, (name, categories, broken, none, scale) in enumerate(
        (
            ("live_named_shape", FRACTURE_SHAPES, item.shape, "none", "tool:grade"),
            ("live_named_genant", ("0", "1", "2", "3", NOT_DETERMINABLE), str(genant_grade(seen)), "0", "scale:genant"),
        )
    ):
        level, answer = (apart, none) if about == place else (item.level, broken)
        draft = compose(
            live_templates()[name], case.rng, axis="pathology", task="category", answer=answer,
            answer_kind="category", categories=categories, values={"level": level.value}, levels=(level,),
            tags=("finding:fracture", scale),
        )  # fmt: skip
        case.ask(draft, difficulty=difficulty, tags=tags, **common)  # type: ignore[arg-type]
    draft = compose(
        live_templates()["live_named_loss"], case.rng, axis="pathology", task="measurement",
        answer=f"{round(seen, 1):.10g}", answer_kind="number", values={"level": item.level.value}, levels=(item.level,),
        tags=("tool:measure", "measure:height_loss"),
    )  # fmt: skip
    case.ask(
        draft, unit="percent", tolerance=_LOSS_POINTS, difficulty=of_measurement(seen, _LOSS_POINTS), tags=tags,
        **common,  # type: ignore[arg-type]
    )  # fmt: skip
    ends = [level for level in _UPPER if level is not item.level]
    upper = ends[int(case.rng.integers(len(ends)))]
    inclined = [truth[("upper_sagittal_inclination", upper.value)], truth[("lower_sagittal_inclination", "L5")]]
    angle = abs(inclined[0] - inclined[1])
    draft = compose(
        live_templates()["live_named_angle"], case.rng, axis="pathology", task="measurement",
        answer=f"{round(angle, 1):.10g}", answer_kind="number", values={"upper": upper.value, "lower": Level.L5.value},
        levels=(upper, Level.L5), tags=("tool:measure", "measure:angle"),
    )  # fmt: skip
    case.ask(
        draft, unit="deg", tolerance=_ANGLE_DEG, difficulty=of_measurement(angle, _ANGLE_DEG), tags=tags,
        **common,  # type: ignore[arg-type]
    )  # fmt: skip
