"""Figures of documents: which caption belongs to which picture, and where texts mention it.

Purpose: `matching.py` assigns captions to regions of PDF pages; `labels.py` is one grammar of numbers for every reader.
"""
