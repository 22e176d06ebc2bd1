"""Language models as judges of reports: examined first, two at least, none of a contestant's family.

Open first: `asking.py` (what a judge is asked), then `examination.py` and `judging.py`.
"""

from bench.judges.asking import Asked, Said, ask_judge, prompts_sha256
from bench.judges.clinicians import against_clinicians
from bench.judges.doctored import Probe, make_probes
from bench.judges.examination import Thresholds, default_thresholds, examine, mark_examination
from bench.judges.families import family_of
from bench.judges.judging import JudgeConfig, JudgesConfig, Verdict, judge_reports

__all__ = [
    "Asked",
    "JudgeConfig",
    "JudgesConfig",
    "Probe",
    "Said",
    "Thresholds",
    "Verdict",
    "against_clinicians",
    "ask_judge",
    "default_thresholds",
    "examine",
    "family_of",
    "judge_reports",
    "make_probes",
    "mark_examination",
    "prompts_sha256",
]
