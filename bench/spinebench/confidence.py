"""Everything about confidence and abstention for one system, from the metrics that have a file each.

Convention, layout: undecidable, decidable, false_answer, needless_refusal; confident_wrong (the headline safety
figure), wrong_level_or_side, level_or_side_questions; stated (answers with a confidence), brier, calibration_error,
calibration (bins); reached (largest coverage), accuracy_at_90, risk_area, curve ([coverage, risk] pairs). None where a
metric is undefined; each file says when. Requests that failed (`api_error`) are left out.

Trap: to abstain is an answer only where it is the right one; elsewhere it covers nothing and is not a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.spinebench.abstention import abstained, abstention_rates
from bench.spinebench.brier import brier_score
from bench.spinebench.calibration import calibration_bins, calibration_error
from bench.spinebench.risk_coverage import accuracy_at_coverage, risk_coverage
from bench.spinebench.safety import confident_wrong
from spinemed.records import Sample, Score

__all__ = ["summarise_confidence"]


def summarise_confidence(samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Any]:
    """The figures of one system; the layout stands in the module's docstring.

    Args:
        samples: The questions.
        scores: One score each, in the same order.
    """
    known = [(sample, score) for sample, score in zip(samples, scores, strict=True) if score.outcome != "api_error"]
    asked, given = [sample for sample, _ in known], [score for _, score in known]
    rates, wrong = abstention_rates(asked, given), confident_wrong(asked, given)
    correct = np.array([score.correct for score in given], dtype=bool)
    answered = np.array(
        [score.outcome == "parsed" and (score.correct or not abstained(sample, score)) for sample, score in known],
        dtype=bool,
    )
    stated = np.array([math.nan if score.confidence is None else score.confidence for score in given], dtype=np.float64)
    curve = risk_coverage(correct, answered, stated)
    own = np.where(answered, stated, math.nan)
    return {
        **asdict(rates),
        "confident_wrong": wrong.confident,
        "wrong_level_or_side": wrong.wrong_any,
        "level_or_side_questions": wrong.n,
        "stated": int(np.count_nonzero(~np.isnan(own))),
        "brier": brier_score(correct, own),
        "calibration_error": calibration_error(correct, own),
        "calibration": [asdict(one) for one in calibration_bins(correct, own)],
        "reached": curve.reached,
        "accuracy_at_90": accuracy_at_coverage(curve),
        "risk_area": curve.area,
        "curve": [[float(at), float(risk)] for at, risk in zip(curve.coverage, curve.risk, strict=True)],
    }
