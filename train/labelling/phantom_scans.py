"""Phantom CTs as a folder in VerSe's layout, to train and try the vertebra labeller on: fields and anomalies varied.

Convention: scan k of a set is drawn from (seed, k) alone, first its numbers, then the picture; a killed run goes on
with the scans that are missing. Masks keep the sacrum (26), which VerSe leaves out and the labeller learns its lower
anchor from. Anomalies are drawn far more often than people have them.

Trap: these are phantoms. What is learned or measured on them is no evidence about patients.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from spinemed.anatomy import Level, Region
from spinemed.config import Config

if TYPE_CHECKING:
    from spinemed.phantom.imaging.grid import VoxelGrid
    from spinemed.phantom.shape.scene import Scene
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = ["PhantomScans", "View", "draw_scan", "make_phantom_scans", "scan_grid"]

View = Literal["full", "lower", "upper", "lumbar", "crop", "blind"]
Anomaly = Literal["T13", "eleven_thoracic", "L6", "four_lumbar"]
_ANOMALIES: dict[Anomaly, float] = dict.fromkeys(("T13", "eleven_thoracic", "L6", "four_lumbar"), 0.1)
_VIEWS: dict[View, float] = {"full": 0.3, "lower": 0.25, "upper": 0.15, "lumbar": 0.15, "crop": 0.15}
_TOPIC = 4409  # keeps these draws apart from those of the spines, which share the seed


class PhantomScans(Config):
    """A set of phantom CTs."""

    count: int = Field(ge=1)
    """How many scans."""
    seed: int = Field(default=0, ge=0)
    """With the number of a scan, all that decides it."""
    family: Literal["a", "b"] = "a"
    """Generator family."""
    spacing_mm: float = Field(default=1.25, ge=0.5, le=4)
    """Voxel size. Up to 1.25 mm nothing is averaged, so that 1.25 mm is the fastest."""
    anomalies: dict[Anomaly, float] = Field(default_factory=lambda: dict(_ANOMALIES))
    """Share of spines with T13, eleven thoracic, L6 or four lumbar vertebrae; the others are regular."""
    rib_stubs: float = Field(default=0.05, ge=0, le=1)
    """Share of spines whose first lumbar vertebra bears rib remnants below 40 mm, VerSe's bound of a rib."""
    views: dict[View, float] = Field(default_factory=lambda: dict(_VIEWS))
    """Shares of the fields of view: full, the whole spine; lower, from T4-T9 to the sacrum; upper, from the skull base
    to T4-T10; lumbar, from T9-T11 to the sacrum; crop, any piece of 110 to 240 mm; blind, a thoracic or lumbar piece
    without anything to count from."""
    orientation: str = "RAS"
    """Axis codes of the arrays."""

    @model_validator(mode="after")
    def _some_view(self) -> PhantomScans:
        if any(share < 0 for share in self.views.values()) or not sum(self.views.values()) > 0:
            raise ValueError("the shares of the views must not be negative, and one of them not 0")
        if any(share < 0 for share in self.anomalies.values()) or sum(self.anomalies.values()) > 1:
            raise ValueError("the shares of the anomalies must not be negative, and add up to 1 at most")
        return self


def draw_scan(config: PhantomScans, index: int) -> tuple[SpinePhantom, View, np.random.Generator]:
    """Spine and field of view of one scan, and the generator that goes on to draw its grid."""
    from spinemed.phantom.spine import SpineConfig, draw_spine

    random = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(index, _TOPIC)))
    kind = {
        "family": config.family,
        "variant_shares": dict(config.anomalies),
        "transition_share": 0.06,
        "rib_stub_share": config.rib_stubs,
    }
    spine = draw_spine(config.seed, index, SpineConfig.model_validate(kind))
    names = sorted(config.views)
    weights = np.array([config.views[name] for name in names])
    return spine, names[int(random.choice(len(names), p=weights / weights.sum()))], random


def scan_grid(
    scene: Scene,
    view: View,
    random: np.random.Generator,
    *,
    spacing_mm: float,
    orientation: str = "RAS",
) -> VoxelGrid:
    """Voxels of one scan: where it ends above and below, how wide and how deep it is.

    Args:
        scene: The posed spine.
        view: Which part.
        random: Draws ends and margins.
        spacing_mm: Edge of the voxels.
        orientation: Axis codes.
    """
    from spinemed.geometry import reorient
    from spinemed.phantom.imaging.grid import VoxelGrid

    stations = scene.stations
    height = np.array([station.origin[2] for station in stations])
    level = [station.level for station in stations]
    top, bottom = height[0] + 24.0, height[-1] - random.uniform(35.0, 75.0)

    def near(ordinals: tuple[int, int]) -> float:
        """Between two neighbours somewhere in a range of thoracic vertebrae, counted from T1."""
        at = level.index(Level.T1) + int(random.integers(ordinals[0] - 1, ordinals[1]))
        return float(height[at] + random.uniform(-0.5, 0.5) * (height[at - 1] - height[at]))

    if view == "blind":
        # Six or seven thoracic vertebrae away from both ends of the ribs, or the middle lumbar ones.
        last_rib = max(at for at, one in enumerate(level) if one.region is Region.THORACIC)
        if random.random() < 0.6:
            first = level.index(Level.T1) + int(random.integers(2, 4))
            last = min(first + int(random.integers(5, 7)), last_rib - 2)
        else:
            first, last = last_rib + 2, len(level) - 3
        top = height[first] + 0.62 * (height[first - 1] - height[first])
        bottom = height[last] - 0.62 * (height[last] - height[last + 1])
    elif view == "lower":
        top = near((4, 9))
    elif view == "upper":
        bottom = near((4, 10))
    elif view == "lumbar":
        top = near((9, 11))
    elif view == "crop":
        length = random.uniform(110.0, 240.0)
        bottom = random.uniform(height[-1] - 40.0, height[0] - length + 20.0)
        top = bottom + length
    inside = [station for station in stations if bottom - 20 < station.origin[2] < top + 20]
    points = np.array([s.at(0.0, s.half_depth) for s in inside] + [s.at(*s.spinous_tip) for s in inside])
    middle = np.mean([s.origin[0] for s in inside]) + random.normal(0, 5.0)
    wide = random.uniform(120.0, 190.0)
    low = np.array([middle - wide / 2, points[:, 1].min() - random.uniform(12.0, 35.0), bottom])
    high = np.array([middle + wide / 2, points[:, 1].max() + random.uniform(10.0, 50.0), top])
    shape = np.maximum(np.round((high - low) / spacing_mm).astype(int), 8)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing_mm * (shape - 1) / 2
    turned, affine = reorient(np.broadcast_to(np.uint8(0), tuple(shape)), affine, orientation)
    return VoxelGrid((turned.shape[0], turned.shape[1], turned.shape[2]), affine)


def make_phantom_scans(
    config: PhantomScans,
    out: str | os.PathLike[str],
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Path:
    """Render the scans of a set that `out` does not hold yet.

    Returns:
        The folder, in VerSe's layout.
    """
    from spinemed.phantom.imaging.ct import render_ct
    from spinemed.phantom.imaging.verse_folder import write_verse_case
    from spinemed.phantom.shape.scene import build_scene
    from spinemed.tables import write_text

    root = Path(out)
    for index in range(config.count):
        name = f"{config.family}{config.seed}n{index:04d}"
        done = root / ".made" / f"{name}.json"  # written last: a case without it is made again
        wanted = json.dumps(config.model_dump(mode="json", exclude={"count"}), sort_keys=True)
        if not done.is_file() or done.read_text(encoding="utf-8") != wanted:
            spine, view, random = draw_scan(config, index)
            scene = build_scene(spine)
            grid = scan_grid(scene, view, random, spacing_mm=config.spacing_mm, orientation=config.orientation)
            write_verse_case(render_ct(scene, grid=grid), root, name, sacrum=True)
            write_text(done, wanted)
        advance(1)
    return root
