"""The shape completer: the expected body of every vertebra from the bodies above and below it; masks only.

What comes out of the network (:mod:`completer_net`) is a shape in its own frame and the heights of its thirds. The
shape's endplates are set to those heights, and the body is seated where the patient's lies: on its middle across, with
its axis turned back by what the wedge lost (as :mod:`spinemed.vertebra.estimated` reads heights), and three quarters of
the restored height above the patient's endplates, since upper endplates break more often.

Convention: the target's body decides where the synthesis lies, never how high it is.

The trap: seated on a body that is crushed beyond a clear frame, the axis is that of the curve, and a flag says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import ModelError, VolumeError
from spinemed.measure import fit_body
from spinemed.measure.field import BodyFrame
from spinemed.vertebra.estimated import UPPER_SHARE
from spinemed.vertebra.norms import NORM_LEVELS
from spinemed.vertebra.straighten import StraightCrop, Straightened
from spinemed.vertebra.synthesis.interface import UNRELIABLE, Synthesis, wanted_levels
from spinemed.vertebra.synthesis.neighbours import centre_of
from spinemed.vertebra.synthesis.shape import draw_shape, heights_of_shape, set_heights, shape_walls
from spinemed.vertebra.synthesis.spine_shapes import Context, context_of, describe_spine, fit_crop
from spinemed.vertebra.synthesis.store import CURE, Card

if TYPE_CHECKING:
    from spinemed.vertebra.synthesis.completer_net import CompleterNet

__all__ = ["ShapeCompleter", "batch_of", "load_completer", "seat_shape"]

Array = NDArray[np.float64]

_MOST_REDRAWN = 0.1  # a drawn body farther off its own vector than this was not read well


@dataclass(frozen=True, eq=False)
class ShapeCompleter:
    """A trained completer.

    Attributes:
        net: Its network, in evaluation mode.
        name: What it is and learned from.
        sd_share: Standard deviation of expected heights as shares of them, anterior, middle, posterior: as measured on
            validation spines.
        needs_image: False; masks suffice.
    """

    net: CompleterNet
    name: str
    sd_share: tuple[float, float, float]
    needs_image: bool = False

    def synthesise(self, straight: Straightened, levels: Sequence[Level] | None = None) -> dict[Level, Synthesis]:
        """See :class:`~spinemed.vertebra.synthesis.interface.Synthesiser`; without `levels`, all from T1 to L6.

        Raises:
            LevelError: a wanted level above T1 or below L6.
            VolumeError: as the protocol says.
        """
        wanted = wanted_levels(straight, levels)
        if levels is None:
            wanted = [level for level in wanted if level in NORM_LEVELS]
        spine = describe_spine(straight)
        contexts = [context_of(spine, level) for level in wanted]
        if not contexts:
            return {}
        shapes, thirds = self.expect(contexts)
        return {
            context.level: self._made(straight.crops[context.level], context, shape, heights)
            for context, shape, heights in zip(contexts, shapes, thirds, strict=True)
        }

    def expect(self, contexts: Sequence[Context]) -> tuple[NDArray[np.float32], Array]:
        """(N, LENGTH) expected shapes and (N, 3) heights of thirds, mm."""
        import torch

        with torch.inference_mode():
            shapes, thirds = self.net(*(torch.from_numpy(each) for each in batch_of(contexts).values()))
        return shapes.numpy(), thirds.numpy().astype(np.float64)

    def _made(self, crop: StraightCrop, context: Context, shape: NDArray[np.float32], thirds: Array) -> Synthesis:
        wanted = (float(thirds[0]), float(thirds[1]), float(thirds[2]))
        whole = set_heights(shape, wanted)
        frame, flags = seat_shape(crop, whole)
        flags = (*crop.flags, *flags)
        if context.reference.state == "unreliable":
            flags = (f"{UNRELIABLE}: " + "; ".join(context.reference.reasons), *flags)
        body = draw_shape(whole, frame, crop.affine, crop.body.shape)
        # Heights of a vector and of the body that is drawn from it differ by tenths: drawn once more with the rest.
        axes = frame.axes
        drawn = fit_body(body >= 0.5, crop.affine, anterior_hint=axes[1], up_hint=axes[2]).heights_of_thirds_mm()
        once, again = np.array(heights_of_shape(whole)), np.array(wanted) / np.array(drawn)
        if np.isfinite(again).all() and np.abs(again - 1).max() < _MOST_REDRAWN:
            told = once * again
            whole = set_heights(whole, (float(told[0]), float(told[1]), float(told[2])))
            body = draw_shape(whole, frame, crop.affine, crop.body.shape)
        spread = np.array(self.sd_share) * thirds
        sd = (float(spread[0]), float(spread[1]), float(spread[2]))
        return Synthesis(context.level, crop, body, None, flags, self.name, sd)


def batch_of(contexts: Sequence[Context]) -> dict[str, NDArray[Any]]:
    """The network's inputs, in its order."""
    return {
        "shapes": np.stack([each.shapes for each in contexts]),
        "thirds": np.stack([each.thirds for each in contexts]),
        "levels": np.stack([each.levels for each in contexts]),
        "course": np.stack([each.course for each in contexts]),
        "target": np.array([NORM_LEVELS.index(each.level) for each in contexts], dtype=np.int64),
    }


def seat_shape(crop: StraightCrop, shape: NDArray[np.floating]) -> tuple[BodyFrame, tuple[str, ...]]:
    """Where a shape lies on a crop's body, and what limits that; see the module docstring.

    Raises:
        VolumeError: the crop holds no body.
    """
    axes = crop.affine[:3, :3] / np.linalg.norm(crop.affine[:3, :3], axis=0)
    try:
        body = fit_crop(crop)
        own = body.heights_of_thirds_mm()
    except VolumeError:
        centre = crop.affine[:3, :3] @ centre_of(crop.body) + crop.affine[:3, 3]
        return BodyFrame(centre, axes.T), ("the body has no clear endplates: the synthesis stands along the curve",)
    expected = heights_of_shape(shape)
    lost = _wedge_rad(expected, body.depth_mm) - _wedge_rad(own, body.depth_mm)
    # A wedge turns the body's own axis forwards by a part of the angle it lost: turn back about the right axis.
    back = (UPPER_SHARE - 0.5) * lost
    cosine, sine = np.cos(back), np.sin(back)
    right, front, up = body.frame.axes
    turned = np.stack([right, cosine * front + sine * up, cosine * up - sine * front])
    restored = float(np.mean(expected) - np.mean(own))
    rear, ahead = shape_walls(shape)
    their_rear, their_front = body.wall_mm
    forward = (their_rear + their_front) / 2 - (rear + ahead) / 2
    centre = body.frame.centre_mm + forward * turned[1] + (UPPER_SHARE - 0.5) * restored * turned[2]
    flags = () if body.settled else ("the endplates are not flat enough for a stable axis",)
    return BodyFrame(centre, turned), flags


def _wedge_rad(thirds: tuple[float, float, float], depth_mm: float) -> float:
    return float(2 * np.arctan((thirds[0] - thirds[2]) / (2 * depth_mm * 2 / 3)))


def load_completer(folder: Path, card: Card) -> ShapeCompleter:
    """A completer from its folder.

    Raises:
        ModelError: a file is missing or does not fit the config.
    """
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from spinemed.vertebra.synthesis.completer_net import CompleterConfig, CompleterNet

    try:
        config = CompleterConfig.model_validate_json((folder / "config.json").read_bytes())
        share = tuple(float(each) for each in (card.model_extra or {})["height_sd_share"])
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise ModelError("config.json or card.json is damaged", file=folder, cure=CURE) from error
    net = CompleterNet(config)
    try:
        net.load_state_dict(load_file(folder / "completer.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError("is missing or of another config", file=folder / "completer.safetensors", cure=CURE) from error
    return ShapeCompleter(net.eval(), card.name, (share[0], share[1], share[2]))
