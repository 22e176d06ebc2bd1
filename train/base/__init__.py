"""A small base model from nothing: nano weights, dense targets from masks, then captions.

Purpose: `warmup.py` is the recipe of `spinemed train warmup`.
"""
