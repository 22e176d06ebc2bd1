"""Looks at an installation without loading it: versions, devices, absent parts, samples, and what to mend.

Convention: nothing here imports torch or another heavy package; versions come from package metadata, GPUs from the
driver's own `nvidia-smi`, torch's CUDA build from its version file. A report holds no host name, no user name and no
value of an environment variable but those of thread settings.

Trap: a part counts as there when its distribution is installed in the wanted range. That it also imports, only using
it proves.
"""

from spinemed.doctor.examine import Report, examine
from spinemed.doctor.machine import Gpu, Machine, look_at_machine
from spinemed.doctor.parts import Distribution, Extra, Program, Resource
from spinemed.doctor.problems import Problem

__all__ = [
    "Distribution",
    "Extra",
    "Gpu",
    "Machine",
    "Problem",
    "Program",
    "Report",
    "Resource",
    "examine",
    "look_at_machine",
]
