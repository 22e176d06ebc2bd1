"""Scoring of SpineBench: samples and predictions in, scores and a summary out; no model, no network, no clock.

Convention: one metric per file, each a pure function over items or scores; `score.py` joins them.
"""

from bench.spinebench.score import SCORES_FILE, SUMMARY_FILE, judge, score_predictions

__all__ = ["SCORES_FILE", "SUMMARY_FILE", "judge", "score_predictions"]
