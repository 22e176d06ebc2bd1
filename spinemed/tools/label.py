"""`label`: which vertebrae are where, by the operator's trained labeller on a CT, or by the numbers of a given mask.

Convention: body centres in world millimetres (RAS+). A name stands only where the numbering is determinable; from a
mask that is decided by its field of view, whatever numbers it holds. Trap: the labeller's probabilities were learned
from its training data, which may be phantoms; the reply carries what it was trained on.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from spinemed.errors import SpineMedError
from spinemed.tools.desk import Answer, Arguments, Desk, Handle, Scheme, Tool

__all__ = ["TOOL", "LabelArguments"]


class LabelArguments(Arguments):
    """A CT to label, or a mask that holds labels already."""

    image: Annotated[str | None, Field(max_length=64, description="Handle of a CT.")] = None
    mask: Handle | None = None
    """Handle of a mask that holds labels already."""
    scheme: Scheme = "verse"
    """Numbering of the mask."""

    @model_validator(mode="after")
    def _one(self) -> LabelArguments:
        if (self.image is None) == (self.mask is None):
            raise ValueError("give either image or mask")
        return self


def run(arguments: LabelArguments, desk: Desk) -> Answer:
    """Name the vertebrae."""
    return _of_mask(arguments, desk) if arguments.mask is not None else _of_image(arguments, desk)


def _of_mask(arguments: LabelArguments, desk: Desk) -> Answer:
    from spinemed.labelling import body_centroids, read_label_mask
    from spinemed.labelling.facts import decided_levels, facts_from_mask

    mask = read_label_mask(desk.fetch(arguments.mask or "", "mask"), scheme=arguments.scheme)
    decided = decided_levels(mask.levels, sacrum_in_view=mask.has_sacrum, ribs_visible=True)
    centres = body_centroids(mask)
    doubtful = [str(level) for level in mask.levels if level not in decided]
    flags = ["names are decided as for a CT in which ribs can be seen; a mask does not show them", *mask.flags]
    if doubtful:
        flags.insert(0, f"name not determinable from this field of view: {', '.join(doubtful)} by the mask's numbers")
    vertebrae = [
        {
            "level": str(level) if level in decided else "not determinable",
            "level_by_mask": str(level),
            "centre_mm": [round(float(x), 2) for x in point],
        }
        for level, point in centres.items()
    ]
    facts = [fact.model_dump(mode="json", exclude_none=True) for fact in facts_from_mask(mask)]
    return Answer({"source": "mask", "vertebrae": vertebrae, "facts": facts}, tuple(flags))


def _of_image(arguments: LabelArguments, desk: Desk) -> Answer:
    from spinemed.labelling.inference import Labeller
    from spinemed.labelling.jobs import NOTE, read_ct

    if desk.models.labeller is None:
        raise SpineMedError("this server has no labeller", field="image", cure="give a mask, or ask the operator")
    labeller = Labeller(desk.models.labeller)
    found = labeller.label(read_ct(desk.fetch(arguments.image or "", "image")))
    flags = [NOTE]
    if not found.detections:
        flags.insert(0, "no vertebra was found")
    elif not found.determinable:
        flags.insert(0, "the numbering is not determinable: vertebrae are counted from the top, not named")
    names = found.assignments.best.levels if found.assignments is not None else ()
    vertebrae: list[dict[str, Any]] = [
        {
            "level": "not determinable" if level is None else str(level),
            "likeliest": None if likeliest is None else str(likeliest),
            "centre_mm": [round(float(x), 2) for x in detection.centre_mm],
        }
        for detection, level, likeliest in zip(found.detections, found.levels, names, strict=True)
    ]
    namings = found.assignments.namings if found.assignments is not None else ()
    return Answer(
        {
            "source": "labeller",
            "trained_on": found.about.get("origin", "not told"),
            "determinable": found.determinable,
            "probability_of_likeliest": round(namings[0].probability, 4) if namings else None,
            "vertebrae": vertebrae,
        },
        tuple(flags),
    )


TOOL = Tool(
    name="label",
    description=(
        "Which vertebrae a CT shows and where, by the operator's trained labeller; or names and centres of a given "
        "mask, with what its field of view decides. Says not determinable rather than guess."
    ),
    arguments=LabelArguments,
    run=run,
    needs="labeller",
)
