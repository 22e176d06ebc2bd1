"""Phantom spines as studies: drawn by seed and index, rendered, marked with exact truth.

Convention: the draw is the provenance; a picture is rebuilt from it byte for byte. `group_id` is the phantom spine.

Trap: a phantom is no patient. `origin: phantom` and the caveat travel with every item made from it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_pipeline.readers.reading import Reading, read_options, short_id
from spinemed.anatomy import Level, Region, Spine, number_view
from spinemed.marks import png_bytes
from spinemed.phantom import PhantomConfig, PhantomDraw, PhantomImage, draw_phantom, render_phantom
from spinemed.records import Finding, ImageBlob, LevelMark, Source, Study

__all__ = ["PhantomOptions", "phantom_focus", "read_phantoms", "render_phantom_picture"]

_CAVEAT = "computed phantom, not a patient"


class PhantomOptions(BaseModel):
    """Options of a `phantom` source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1)
    """How many spines."""
    seed: int = Field(ge=0)
    """Seed of the draws; give training and test sources different seeds."""
    first_index: int = Field(default=0, ge=0)
    """Index of the first spine."""
    phantom: PhantomConfig = PhantomConfig()
    """What kind of spines."""


def read_phantoms(source: Source, root: Path) -> Reading:
    """Draw and render all spines of a source. `root` is not used: a phantom has no file.

    Raises:
        SourceError: The options are wrong.
        ConfigError: No field of view of the wanted height can show the wanted levels.
    """
    options = read_options(source, PhantomOptions)
    reading = Reading(source.id)
    for index in range(options.first_index, options.first_index + options.count):
        draw = draw_phantom(options.seed, index, options.phantom)
        image = render_phantom(draw)
        data = png_bytes(image.image)
        blob = ImageBlob(
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=data,
            format="png",
            width_px=image.image.shape[1],
            height_px=image.image.shape[0],
        )
        reading.images.append(blob)
        reading.studies.append(_study(source, draw, image, blob))
        reading.keep("study")
    return reading


def _study(source: Source, draw: PhantomDraw, image: PhantomImage, blob: ImageBlob) -> Study:
    spine = Spine.of(draw.levels)
    visible = [truth.level for truth in image.vertebrae]
    if not image.numbering_determinable:  # the sacrum's first piece may peep in without settling anything
        visible = [level for level in visible if level.region is not Region.SACRAL]
    view = number_view(visible, spine)
    decided = set() if not image.numbering_determinable else set(visible) - set(view.undecided)
    bodies = [truth for truth in image.vertebrae if truth.level.region is not Region.SACRAL]
    height, width = image.image.shape
    marks = tuple(
        LevelMark(
            level=truth.level if truth.level in decided else None,
            x_px=round(truth.centre_px[0], 2),
            y_px=round(truth.centre_px[1], 2),
            fully_visible=truth.fully_visible,
        )
        for truth in bodies
        if 0 <= truth.centre_px[0] < width and 0 <= truth.centre_px[1] < height
    )
    modality = _modality(draw.look.modality)
    findings = [
        Finding(kind="modality", value=modality),
        Finding(kind="plane", value=draw.view),
        Finding(kind="level_count", value=f"{spine.thoracic} thoracic, {spine.lumbar} lumbar"),
    ]
    findings += [
        Finding(
            kind="fracture",
            level=truth.level,
            value=truth.fracture or "none",
            amount=round(100 * truth.height_loss, 1),
            unit="percent of the healthy height",
        )
        for truth in bodies
        if truth.fully_visible
    ]
    return Study(
        id=short_id("study", source.id, blob.sha256, draw.phantom_id),
        source_id=source.id,
        group_id=draw.phantom_id,
        origin="phantom",
        modality=modality,
        plane=draw.view,
        image_sha256=blob.sha256,
        width_px=width,
        height_px=height,
        spacing_mm=image.spacing_mm,
        marks=marks,
        numbering_determinable=bool(decided),
        findings=tuple(findings),
        truth="phantom",
        provenance=json.dumps({"reader": "phantom", "draw": draw.model_dump(mode="json")}, sort_keys=True),
        caveats=(_CAVEAT,),
    )


def _modality(look: str) -> Any:
    return {"mr": "MR", "ct": "CT", "xr": "XR"}[look[:2]]


def phantom_focus(provenance: dict[str, Any]) -> Level:
    """The level that the draw chose to be asked about."""
    return Level(provenance["draw"]["focus"])


def render_phantom_picture(provenance: dict[str, Any]) -> bytes:
    """Render the picture again from the draw: the same bytes when the code is the same."""
    return png_bytes(render_phantom(PhantomDraw.model_validate(provenance["draw"])).image)
