"""Trainers of the synthesisers of healthy vertebrae; the networks themselves live in `spinemed.vertebra.synthesis`.

Purpose: `synthesiser.py` is the job of `spinemed train synthesis`.
"""
