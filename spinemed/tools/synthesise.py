"""`synthesise`: the healthy heights that a vertebra should have, with intervals, and what it has lost against them.

Convention: heights in mm and losses in percent by thirds of the depth, 95 % intervals. "level_curve" and "neighbours"
expect heights from the other bodies of the same spine and need no network; "model" makes the body with the synthesiser
that the operator named. Trap: an expectation is no finding, and all of it was measured on phantoms, not on patients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from spinemed.errors import SpineMedError, VolumeError
from spinemed.tools.desk import Answer, Arguments, Desk, Handle, LevelText, Scheme, Tool

if TYPE_CHECKING:
    from spinemed.labelling.masks import LabelMask
    from spinemed.vertebra.rhlv import HeightLoss

__all__ = ["TOOL", "SynthesiseArguments"]

PHANTOMS = "measured on phantoms, not on patients: in patients errors are larger"
_NORMAL_95 = 1.96
_TALLER_PERCENT = 25.0
_THIRDS = ("anterior", "middle", "posterior")

_Found = tuple["HeightLoss", tuple[float, float, float], str, tuple[str, ...], dict[str, Any]]


class SynthesiseArguments(Arguments):
    """A mask with several vertebrae, and the one to expect."""

    mask: Handle
    """Handle of a mask with several vertebrae."""
    level: LevelText
    """The vertebra to expect."""
    method: Literal["level_curve", "neighbours", "model"] = "level_curve"
    """Where the expected shape comes from."""
    scheme: Scheme = "verse"
    """Numbering of the mask."""
    sex: Literal["female", "male"] | None = None
    """Decides the norms of heights; None takes both."""


def run(arguments: SynthesiseArguments, desk: Desk) -> Answer:
    """Expect the healthy vertebra and read the patient's against it."""
    from spinemed.labelling import read_label_mask

    mask = read_label_mask(desk.fetch(arguments.mask, "mask"), scheme=arguments.scheme)
    if arguments.level not in mask.levels:
        raise SpineMedError(
            f"{arguments.level} is not in the mask", field="level",
            cure=f"use one of {', '.join(map(str, mask.levels))}",
        )  # fmt: skip
    loss, sd_mm, name, flags, more = _model(arguments, desk, mask) if arguments.method == "model" else _estimated(
        arguments, mask
    )  # fmt: skip
    told = [f"{name}: {PHANTOMS}", *mask.flags, *flags]
    told += [flag for flag in loss.flags if flag not in told]
    return Answer(
        {
            "level": str(arguments.level),
            "method": name,
            "reference": loss.reference,
            "gradable": loss.gradable,
            "layer_mm": round(loss.layer_mm, 3),
            "thirds": {
                third: _third(each, sd) for third, each, sd in zip(_THIRDS, loss.thirds, sd_mm, strict=True)
            },
            **more,
        },
        tuple(told),
    )  # fmt: skip


def _third(each: Any, sd_mm: float) -> dict[str, Any]:
    half = _NORMAL_95 * sd_mm
    interval = [round(each.reference_mm - half, 2), round(each.reference_mm + half, 2)] if sd_mm else None
    return {
        "height_mm": round(each.height_mm, 2),
        "healthy_mm": round(each.reference_mm, 2),
        "healthy_interval_mm": interval,
        "loss_percent": round(each.percent, 2),
        "loss_interval_percent": [round(each.low, 2), round(each.high, 2)],
    }


def _estimated(arguments: SynthesiseArguments, mask: LabelMask) -> _Found:
    from spinemed.vertebra.estimated import estimated_loss
    from spinemed.vertebra.reference import LevelCurve, NeighbourMean, ReferenceEstimator
    from spinemed.vertebra.spine import spine_bodies

    found, level = spine_bodies(mask), arguments.level
    if level not in found.bodies:
        why = found.left_out.get(level, "heights are known of T1 to L6 only")
        raise SpineMedError(f"{level} cannot be measured: {why}", field="level", cure="name another level")
    estimator: ReferenceEstimator = LevelCurve() if arguments.method == "level_curve" else NeighbourMean()
    loss, reference = estimated_loss(found.bodies[level], level, found.heights, estimator, sex=arguments.sex)
    more = {"used": [str(each) for each in reference.used], "reasons": list(reference.reasons)}
    return loss, reference.sd_mm, f"{reference.method} (no network)", (), more


def _model(arguments: SynthesiseArguments, desk: Desk, mask: LabelMask) -> _Found:
    from dataclasses import replace

    from spinemed.vertebra.straighten import straighten_spine
    from spinemed.vertebra.synthesis import read_synthesiser, synthesis_loss
    from spinemed.vertebra.synthesis.neighbours import CUT

    if desk.models.completer is None:
        raise SpineMedError(
            "this server has no synthesiser", field="method", cure="use level_curve or neighbours, or ask the operator"
        )
    synthesiser = read_synthesiser(desk.models.completer)
    if synthesiser.needs_image:
        raise SpineMedError(
            f"{synthesiser.name} needs a CT, and this tool is given masks", field="method",
            cure="use level_curve or neighbours, or ask the operator for a shape completer",
        )  # fmt: skip
    straight = straighten_spine(mask)  # all levels: they are each other's neighbours
    made = synthesiser.synthesise(straight, [arguments.level])[arguments.level]
    if CUT in made.crop.flags:
        raise VolumeError("the edge of the volume cuts the body", field="level", cure="give a larger field of view")
    loss, flags = synthesis_loss(straight, made), [*straight.flags, *made.flags]
    least = min(third.percent for third in loss.thirds)
    if least <= -_TALLER_PERCENT:
        flags.append(f"reference unreliable: the body is up to {-least:.0f} % taller than its twin")
        loss = replace(loss, reference="unreliable")
    if not any(made.sd_mm):
        flags.append("the interval covers reading the two bodies, not how far such a synthesis is off")
    return loss, made.sd_mm, made.made_by, tuple(flags), {}


TOOL = Tool(
    name="synthesise",
    description=(
        "Healthy heights that one vertebra should have, with 95 % intervals, and its height loss against them: "
        "expected from the same spine without a network, or from the operator's trained model. Measured on phantoms."
    ),
    arguments=SynthesiseArguments,
    run=run,
)
