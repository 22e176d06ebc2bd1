"""The viewer: layers and volumes by handle, level correction in VerSe layout, figure approval.

Purpose: everything a reviewer sees of an image. Open `layers.py` (what a layer is, and its letters), then
`corrections.py` (how levels are put right), then `routes.py`.
"""
