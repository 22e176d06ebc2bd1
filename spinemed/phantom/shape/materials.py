"""`Tissue`: what a voxel is made of. The number is the row of the palette an image is painted with.

The trap: a tissue is no intensity. A modality brings its own palette (`spinemed.phantom.imaging.ct` has the one for
Hounsfield units); partial volume is mixed from palette values while painting.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["TISSUES", "Tissue"]


class Tissue(IntEnum):
    """Tissue classes of a phantom."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    VISCERA = 3
    LUNG = 4
    VESSEL = 5
    EPIDURAL_FAT = 6
    CSF = 7
    CORD = 8
    ANNULUS = 9
    NUCLEUS = 10
    LIGAMENT = 11
    CORTICAL = 12
    TRABECULAR = 13
    METAL = 14
    PEEK = 15
    KIDNEY = 16
    LIVER = 17
    PARASPINAL = 18
    VACUUM = 19
    DISPLACED_DISC = 20
    LYTIC = 21
    BLASTIC = 22
    MODIC_1 = 23
    MODIC_2 = 24
    MODIC_3 = 25
    LOOSE_BONE = 26
    MARROW_VEIN = 27


TISSUES = 32
"""Rows of a palette."""
