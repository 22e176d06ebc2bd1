"""How far raters agree: coefficients with intervals clustered by case, and named reasons where there is none.

Convention: a table has one row per unit and one column per rater, None where a rater did not rate; `Clusters` says
which units belong to one case. Each coefficient is checked against scikit-learn, statsmodels or its published example.

Trap: no coefficient replaces the others. Kappa falls with prevalence, AC1 rises with the number of categories, alpha
asks another question for each metric: show raw agreement and prevalence beside whichever you print.
"""

from spinemed.statistics.agreement.estimate import Agreement
from spinemed.statistics.agreement.gwet import gwet_ac
from spinemed.statistics.agreement.kappa import cohen_kappa, fleiss_kappa, weight_matrix
from spinemed.statistics.agreement.krippendorff import krippendorff_alpha
from spinemed.statistics.agreement.measurements import BlandAltman, bland_altman, icc
from spinemed.statistics.agreement.ratings import Ratings
from spinemed.statistics.agreement.raw import prevalence, raw_agreement

__all__ = [
    "Agreement",
    "BlandAltman",
    "Ratings",
    "bland_altman",
    "cohen_kappa",
    "fleiss_kappa",
    "gwet_ac",
    "icc",
    "krippendorff_alpha",
    "prevalence",
    "raw_agreement",
    "weight_matrix",
]
