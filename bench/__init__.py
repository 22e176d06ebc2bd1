"""Samples and predictions to scores: SpineBench items, runner, scoring, board."""
