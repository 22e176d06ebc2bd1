"""Submissions to the board: what a system must declare, whether its files are whole, and live rounds.

Convention: a submission is a folder with `submission.yaml` and predictions; a round is a folder with a commitment that
is published before and a reveal that is published after.
"""

from bench.submission.declare import SUBMISSION_FILE, Declaration, read_submission, same_generator, validate_submission
from bench.submission.questions import collect_answers, publish_questions
from bench.submission.rounds import open_round, reveal_round, verify_round

__all__ = [
    "SUBMISSION_FILE",
    "Declaration",
    "collect_answers",
    "open_round",
    "publish_questions",
    "read_submission",
    "reveal_round",
    "same_generator",
    "validate_submission",
    "verify_round",
]
