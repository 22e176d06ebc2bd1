"""Marked phantoms as training material: pictures, exact masks and captions, drawn from seeds.

Convention: scene `i` of a set is phantom `i` with its truth; example `k` is one scene with one mark, everything about
it drawn from (seed, k). The same numbers give the same bytes, so nothing needs to be stored.

Trap: where no anchor is in the field of view, the mask still carries labels. Targets and captions made here say
"unnumbered" and "unknown" there instead.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import yaml

from spinemed.anatomy import Level
from spinemed.marks import COLOURS, apply_mark, make_mark
from spinemed.phantom import PhantomConfig, VertebraTruth, draw_phantom, render_phantom
from spinemed.records import Message

__all__ = ["SHAPES", "UNNUMBERED", "Example", "Examples", "Scene", "make_scenes", "read_captions"]

SHAPES = ("none", "wedge", "crush", "biconcave")
UNNUMBERED = 29
"""Class of a body whose number the picture cannot settle; 0 is background, 1 to 28 are VerSe labels."""


@dataclass(frozen=True)
class Scene:
    """A rendered phantom: grey picture (H, W) uint8, label mask (H, W) uint8, bodies, levels from top to bottom."""

    image: np.ndarray
    labels: np.ndarray
    bodies: tuple[VertebraTruth, ...]
    levels: tuple[Level, ...]
    numbered: bool


@dataclass(frozen=True)
class Example:
    """A marked picture with its targets.

    Attributes:
        picture: (H, W, 3) uint8.
        labels: (H, W) uint8: 0, VerSe labels, or `UNNUMBERED`.
        shapes: (H, W) uint8: index into `SHAPES` of the body at each pixel; 0 off bodies too.
        centre: (x, y) of the mark in pixels.
        label: Class of the marked body.
        shape: Index into `SHAPES`.
        losses: Relative height loss at front, middle and back of the marked body.
        messages: Prompt and caption.
    """

    picture: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray
    centre: tuple[float, float]
    label: int
    shape: int
    losses: tuple[float, float, float]
    messages: tuple[Message, ...]


def _scene(index: int, *, seed: int, config: PhantomConfig) -> Scene:
    draw = draw_phantom(seed, index, config)
    made = render_phantom(draw)
    # The sacrum is the anchor, not a body to ask about.
    bodies = tuple(body for body in made.vertebrae if body.fully_visible and body.level in draw.levels[:-1])
    return Scene(made.image, made.levels, bodies, draw.levels, made.numbering_determinable)


def _shape_map(scene: Scene) -> np.ndarray:
    shapes = np.zeros_like(scene.labels)
    for body in scene.bodies:
        if body.fracture:
            x, y = (round(value) for value in body.centre_px)
            shapes[scene.labels == scene.labels[y, x]] = SHAPES.index(body.fracture)
    return shapes


def make_scenes(
    count: int, *, seed: int, config: PhantomConfig, processes: int = 1, advance: Callable[[int], Any] | None = None
) -> list[Scene]:
    """Render `count` phantoms of one seed, in order."""
    work = partial(_scene, seed=seed, config=config)
    scenes = []
    if processes == 1:
        for index in range(count):
            scenes.append(work(index))
            if advance:
                advance(1)
        return scenes
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for scene in pool.imap(work, range(count), chunksize=64):
            scenes.append(scene)
            if advance:
                advance(1)
    return scenes


def read_captions() -> dict[str, dict[str, Any]]:
    """The caption wordings that ship with the package."""
    text = files("train").joinpath("templates/captions.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


class Examples:
    """Examples over a set of scenes, drawn on demand.

    Args:
        scenes: From :func:`make_scenes`.
        seed: Of marks and wordings.
        fractured_share: Share of examples whose mark goes to a fractured body, where the scene has one.
    """

    def __init__(self, scenes: list[Scene], *, seed: int, fractured_share: float = 0.5) -> None:
        self.scenes, self.seed, self.fractured_share = scenes, seed, fractured_share
        self.captions = read_captions()

    def __getitem__(self, number: int) -> Example:
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        bodies = scene.bodies
        broken = [body for body in bodies if body.fracture]
        if broken and rng.random() < self.fractured_share:
            bodies = tuple(broken)
        body = bodies[int(rng.integers(len(bodies)))]
        style = ("ring", "arrow")[int(rng.random() < 0.3)]
        colour = sorted(COLOURS)[int(rng.integers(len(COLOURS)))] if rng.random() < 0.5 else "red"
        angle = float(rng.choice((0.0, 180.0))) if rng.random() < 0.7 else float(rng.uniform(0.0, 360.0))
        mark = make_mark(scene.image.shape, body.centre_px, style=style, colour=colour, angle_deg=angle)  # type: ignore[arg-type]
        labels = scene.labels if scene.numbered else np.where(scene.labels > 0, UNNUMBERED, 0).astype(np.uint8)
        x, y = (round(value) for value in body.centre_px)
        return Example(
            picture=apply_mark(scene.image, mark),
            labels=labels,
            shapes=_shape_map(scene),
            centre=body.centre_px,
            label=int(labels[y, x]),
            shape=SHAPES.index(body.fracture or "none"),
            losses=tuple(  # type: ignore[arg-type]
                1.0 - now / before for now, before in zip(body.heights_mm, body.healthy_heights_mm)
            ),
            messages=self._caption(scene, body, rng),
        )

    def _caption(self, scene: Scene, body: VertebraTruth, rng: np.random.Generator) -> tuple[Message, ...]:
        kind = self.captions[sorted(self.captions)[int(rng.integers(len(self.captions)))]]
        prompt = kind["prompts"][int(rng.integers(len(kind["prompts"])))]
        place = scene.levels.index(body.level)
        names = {"above": "unknown", "at": "unknown", "below": "unknown"}
        if scene.numbered:
            around = {"above": place - 1, "at": place, "below": place + 1}
            for name, at in around.items():
                if 0 <= at < len(scene.levels):
                    names[name] = scene.levels[at].value
        tenths = [str(round(10.0 * now / before)) for now, before in zip(body.heights_mm, body.healthy_heights_mm)]
        text = Template(kind["caption"]).substitute(names, front=tenths[0], middle=tenths[1], back=tenths[2])
        return (Message(role="user", content=prompt), Message(role="assistant", content=text))
