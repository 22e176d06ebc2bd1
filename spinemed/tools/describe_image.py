"""`describe_image`: grid and values of one image, or the levels that a mask holds.

Convention: voxel sizes in mm; axes as the letters towards which they run. Trap: the file does not say whether values
are Hounsfield units, so they are told without a unit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from spinemed.tools.desk import Answer, Arguments, Desk, Handle, Scheme, Tool

__all__ = ["TOOL", "DescribeArguments"]


class DescribeArguments(Arguments):
    """An image, and whether to read it as a mask of vertebrae."""

    handle: Handle
    """Handle of an image, from list_images."""
    read_as: Annotated[Literal["image", "mask"], Field(description="mask: count its vertebrae.")] = "image"
    scheme: Scheme = "verse"
    """Numbering of the mask."""


def run(arguments: DescribeArguments, desk: Desk) -> Answer:
    """Describe one image."""
    path = desk.fetch(arguments.handle, "handle")
    return _mask(path, arguments.scheme) if arguments.read_as == "mask" else _image(path)


def _image(path: Any) -> Answer:
    import nibabel as nib
    import numpy as np

    from spinemed.volume import read_nifti

    volume = read_nifti(path)
    values = np.asarray(volume.data)
    finite = values[np.isfinite(values)]
    flags = list(volume.meta.get("flags", ()))
    if finite.size < values.size:
        flags.append(f"{values.size - finite.size} values are not finite")
    shares = (0, 1, 50, 99, 100)
    percentiles = np.percentile(finite, shares) if finite.size else [None] * len(shares)
    return Answer(
        {
            "shape": volume.shape,
            "spacing_mm": [round(each, 4) for each in volume.spacing_mm],
            "axes": "".join(nib.aff2axcodes(volume.affine)),
            "percentiles": {
                str(share): None if value is None else round(float(value), 3)
                for share, value in zip(shares, percentiles)
            },
            "unit_of_values": "not told by the file",
        },
        tuple(flags),
    )


def _mask(path: Any, scheme: str) -> Answer:
    import nibabel as nib

    from spinemed.labelling import labels_at_border, read_label_mask, vertebra_of_label

    mask = read_label_mask(path, scheme=scheme)
    cut = labels_at_border(mask)
    return Answer(
        {
            "shape": mask.shape,
            "spacing_mm": [round(each, 4) for each in mask.spacing_mm],
            "axes": "".join(nib.aff2axcodes(mask.affine)),
            "levels": [str(level) for level in mask.levels],
            "sacrum": mask.has_sacrum,
            "voxels": {str(vertebra_of_label(label) or f"label {label}"): n for label, n in mask.counts.items()},
            "cut_by_the_edge": [str(vertebra_of_label(label) or f"label {label}") for label in cut],
            "voxels_of_no_vertebra": sum(mask.ignored.values()),
        },
        mask.flags,
    )


TOOL = Tool(
    name="describe_image",
    description="Describe one image: grid, axes, percentiles of its values; or, read as a mask, the levels it holds.",
    arguments=DescribeArguments,
    run=run,
)
