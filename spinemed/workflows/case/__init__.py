"""The whole chain on one patient: CT → labels → twins → losses → grades → numbers → findings → report → answers → page.

Open `plan.py` first. Applications are only met through their commands and files.
"""

from spinemed.workflows.case.config import CaseConfig, CaseRun
from spinemed.workflows.case.inputs import CaseInputs
from spinemed.workflows.case.places import Places
from spinemed.workflows.case.plan import plan_case

__all__ = ["CaseConfig", "CaseInputs", "CaseRun", "Places", "plan_case"]
