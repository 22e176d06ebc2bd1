"""The rule writer: a corpus to draft items on three axes and in four tasks, answered from labels and source sentences.

Purpose: `rules.py` walks a corpus and calls the rest; nothing here asks a model (`data_pipeline.writers` does).
"""
