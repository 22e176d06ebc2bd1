"""Written criteria: sentences in YAML, each beside the deterministic check that holds it.

Purpose: `verify.py` reads the sentences and applies them; a sentence without a check of its name is an error.
"""
