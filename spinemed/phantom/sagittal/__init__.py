"""Two-dimensional phantoms: midsagittal slices and lateral projections drawn in a few milliseconds each.

Convention: `draw` gives a record, `render` the image and its truth; the public names stand in `spinemed.phantom`.
The trap: these have no third dimension, so no side, no width and no scoliosis; `spinemed.phantom.spine` has.
"""
