"""The solids of a spine: bodies, arches, sacrum, ribs, discs and soft tissue, each in the frame it is attached to."""
