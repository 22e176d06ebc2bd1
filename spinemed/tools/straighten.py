"""`straighten`: vertebrae laid upright along the curve of their spine, as numbers: heights, grid, and the way back.

Convention: heights in mm are means over thirds of the depth, measured in the patient, because straightening changes
lengths off the curve. Dice compares the body with itself after it went to the straight crop and back. Trap: nothing is
written, so there is no crop to look at; `spinemed vertebra straighten` writes crops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from spinemed.tools.desk import Answer, Arguments, Desk, Handle, LevelText, Scheme, Tool

if TYPE_CHECKING:
    from spinemed.labelling.masks import LabelMask
    from spinemed.measure.parts import Part
    from spinemed.vertebra.straighten import StraightCrop, Straightened

__all__ = ["TOOL", "StraightenArguments"]

_LEAST_DICE = 0.95


class StraightenArguments(Arguments):
    """A mask of whole vertebrae and what to lay straight."""

    mask: Handle
    """Handle of the mask of whole vertebrae."""
    levels: Annotated[tuple[LevelText, ...], Field(max_length=30, description="Vertebrae; all if left out.")] = ()
    scheme: Scheme = "verse"
    """Numbering of the mask."""
    spacing_mm: Annotated[float, Field(ge=0.5, le=3.0, description="Edge of the crops' voxels.")] = 1.0


def run(arguments: StraightenArguments, desk: Desk) -> Answer:
    """Straighten, and tell how well each body found its way back."""
    from spinemed.labelling import read_label_mask
    from spinemed.measure.parts import parts_of
    from spinemed.vertebra.straighten import straighten_spine

    mask = read_label_mask(desk.fetch(arguments.mask, "mask"), scheme=arguments.scheme)
    found = straighten_spine(mask, arguments.levels or None, spacing_mm=arguments.spacing_mm)
    parts = parts_of(mask.volume)
    result = {
        "units": {"heights_mm": "mean heights of thirds of the depth in the patient, mm"},
        "crop_spacing_mm": found.spacing_mm,
        "mask_spacing_mm": [round(each, 4) for each in mask.spacing_mm],
        "curve_points_mm": [[round(float(x), 2) for x in point] for point in found.curve.points.values],
        "vertebrae": [
            _vertebra(mask, found, crop, parts[level.verse_label]) for level, crop in sorted(found.crops.items())
        ],
    }
    return Answer(result, (*mask.flags, *found.flags))


def _vertebra(mask: LabelMask, found: Straightened, crop: StraightCrop, part: Part) -> dict[str, Any]:
    import numpy as np

    from spinemed.errors import VolumeError
    from spinemed.measure import fit_body, separate_body
    from spinemed.vertebra.rhlv import coarse_flags, layers_along

    frame = found.curve.frames([crop.start[2] + found.spacing_mm * (crop.body.shape[2] - 1) / 2])[0]
    hints = {"anterior_hint": frame[1], "up_hint": frame[2]}
    flags, solid, affine = list(crop.flags), part.mask, part.affine
    heights = layer = dice = None
    try:
        apart = separate_body(part.mask, part.affine, **hints)
    except VolumeError:  # straightening took the whole label too, and its flag says so
        pass
    else:
        solid, affine = apart.mask, apart.affine
    try:
        body = fit_body(solid, affine, **hints)
        heights = dict(
            zip(("anterior", "middle", "posterior"), (round(x, 2) for x in body.heights_of_thirds_mm()), strict=True)
        )
        layer, _ = layers_along(np.asarray(affine), body.frame.axes[2])
        flags += coarse_flags(layer)
    except VolumeError as error:
        flags.append(f"heights not measured: {error.problem}")
    try:
        values, box = found.to_patient(crop, crop.body, mask.volume)
        own = np.rint(np.linalg.solve(mask.affine[:3, :3], np.asarray(affine)[:3, 3] - mask.affine[:3, 3])).astype(int)
        places = np.argwhere(solid) + own - [side.start for side in box]
        inside = places[((places >= 0) & (places < values.shape)).all(axis=1)]
        back = values > 0.5
        dice = round(2 * int(back[tuple(inside.T)].sum()) / (int(back.sum()) + len(places)), 4)
        if dice < _LEAST_DICE:
            flags.append(f"way back: Dice {dice:.3f}, below {_LEAST_DICE}")
    except VolumeError as error:
        flags.append(f"no way back: {error.problem}")
    return {
        "level": str(crop.level),
        "flags": flags,
        "heights_mm": heights,
        "layer_mm": None if layer is None else round(float(layer), 3),
        "crop_shape": list(crop.body.shape),
        "body_volume_mm3": round(found.spacing_mm**3 * int((crop.body >= 0.5).sum()), 1),
        "dice_of_way_back": dice,
    }


TOOL = Tool(
    name="straighten",
    description=(
        "Lay vertebrae of a mask upright along their spine's curve: heights by thirds in mm, grid of the crop, Dice of "
        "the body after the way there and back, flags. Numbers only, no picture."
    ),
    arguments=StraightenArguments,
    run=run,
)
