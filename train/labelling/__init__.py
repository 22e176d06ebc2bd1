"""The trainer of the vertebra labeller; its networks and inference live in `spinemed.labelling`.

Purpose: `labeller.py` is the job of `spinemed train labelling`.
"""
