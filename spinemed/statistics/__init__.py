"""Intervals and paired tests for scores whose questions share spines.

Convention: a score is one number per question (0 or 1, or any mean-able value); a cluster is the patient, phantom or
document group that several questions share. Clusters are derived once (:class:`Clusters`) and handed to every
function, so that an interval and a test can never disagree about them. Randomness comes from one generator that the
caller passes in.

Trap: a bootstrap over questions instead of clusters gives intervals that are too narrow, and nothing warns of it.
"""

from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import (
    Interval,
    bootstrap_means,
    macro_interval,
    mean_interval,
    proportion_interval,
    wilson_interval,
)
from spinemed.statistics.paired import (
    PairedResult,
    holm,
    mcnemar_exact,
    paired_difference,
    sign_flip_p_value,
)
from spinemed.statistics.streams import generator_for

__all__ = [
    "Clusters",
    "Interval",
    "PairedResult",
    "bootstrap_means",
    "generator_for",
    "holm",
    "macro_interval",
    "mcnemar_exact",
    "mean_interval",
    "paired_difference",
    "proportion_interval",
    "sign_flip_p_value",
    "wilson_interval",
]
