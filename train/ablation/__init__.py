"""What each part of the training data is worth: arms with equal budgets, one paired table.

Purpose: `ablate.py` is the job of `spinemed train ablate`.
"""
