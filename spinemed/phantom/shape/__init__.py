"""The solids of a spine: bodies, arches, sacrum, ribs, discs and soft tissue, each in the frame it is attached to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.shape.body import true_body_measurements
    from spinemed.phantom.shape.materials import TISSUES, Tissue
    from spinemed.phantom.shape.scene import SACRUM_LABEL, Scene, build_scene

__all__ = ["SACRUM_LABEL", "TISSUES", "Scene", "Tissue", "build_scene", "true_body_measurements"]

__getattr__ = lazy_names(
    __name__,
    {
        "body": "true_body_measurements",
        "materials": "TISSUES Tissue",
        "scene": "SACRUM_LABEL Scene build_scene",
    },
)
