"""Samples in, predictions out: asks any answerer, survives a kill, and stops at the predictions file.

Convention: nothing here knows a correct answer except the two baselines, which are told it openly; nothing here judges.
"""

from bench.runner.answerers import Answerer, Reply, Request
from bench.runner.baselines import MajorityAnswerer, RandomAnswerer
from bench.runner.local import LocalAnswerer
from bench.runner.lock import LOCK_FILE
from bench.runner.predict import (
    PREDICTIONS_FILE,
    Predictions,
    predict_samples,
    read_predictions,
    read_systems,
    refuse_gaps,
)
from bench.runner.scripted import ScriptedAnswerer
from bench.runner.withhold import grey_picture

__all__ = [
    "LOCK_FILE",
    "PREDICTIONS_FILE",
    "Answerer",
    "LocalAnswerer",
    "MajorityAnswerer",
    "Predictions",
    "RandomAnswerer",
    "Reply",
    "Request",
    "ScriptedAnswerer",
    "grey_picture",
    "predict_samples",
    "read_predictions",
    "read_systems",
    "refuse_gaps",
]
