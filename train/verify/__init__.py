"""A training job looked through before its first step, so that it does not fail in its tenth hour.

Purpose: `verify.py` is the whole look; `rows.py` names faults by file and line.
"""
