"""The stage between revision and release: copies found, conditions filed, benchmarks kept apart; one verdict an item.

Purpose: `stage.py` is the stage; every other file decides one of its questions.
"""
