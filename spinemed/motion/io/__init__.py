"""Recorded motion, one module per file format, each to one of the clips of `clips`.

Convention: places are millimetres; what the file said of units, axes and gaps is kept; doubts are flags on the clip.
The trap: several formats name no unit. What makes a person of the size of a person is taken, and flagged.
"""
