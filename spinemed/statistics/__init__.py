"""Intervals and paired tests for scores whose questions share spines.

Convention: a score is one number per question (0 or 1, or any mean-able value); a cluster is the patient, phantom or
document group that several questions share. Clusters are derived once (:class:`Clusters`) and handed to every
function, so that an interval and a test can never disagree about them. Randomness comes from one generator that the
caller passes in.

Trap: a bootstrap over questions instead of clusters gives intervals that are too narrow, and nothing warns of it.
"""

from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import (
    FEWEST_RANKED,
    Interval,
    bootstrap_means,
    macro_interval,
    mean_interval,
    proportion_interval,
    wilson_interval,
    wilson_of,
)
from spinemed.statistics.many import (
    ManyEstimates,
    Ranks,
    bootstrap_macro,
    bootstrap_many,
    proportion_bounds,
    rank_systems,
    sign_flip_many,
)
from spinemed.statistics.paired import (
    PairedResult,
    holm,
    mcnemar_exact,
    paired_difference,
    sign_flip_p_value,
)
from spinemed.statistics.power import (
    PowerRow,
    design_effect,
    kish_design_effect,
    paired_gap,
    power_table,
    unpaired_gap,
)
from spinemed.statistics.streams import generator_for

__all__ = [
    "FEWEST_RANKED",
    "Clusters",
    "Interval",
    "ManyEstimates",
    "PairedResult",
    "PowerRow",
    "Ranks",
    "bootstrap_macro",
    "bootstrap_many",
    "bootstrap_means",
    "design_effect",
    "generator_for",
    "holm",
    "kish_design_effect",
    "macro_interval",
    "mcnemar_exact",
    "mean_interval",
    "paired_difference",
    "paired_gap",
    "power_table",
    "proportion_bounds",
    "proportion_interval",
    "rank_systems",
    "sign_flip_many",
    "sign_flip_p_value",
    "unpaired_gap",
    "wilson_interval",
    "wilson_of",
]
