"""Consultations with a patient by rule, scored without a judge.

Open first: `patient.py` (what is told when), then `score.py` (what counts).
"""

from bench.consultation.answerers import SCRIPTS, MajorityPhysician, ScriptedPhysician
from bench.consultation.cases import consultation_samples, write_consultations
from bench.consultation.dialogue import hold_consultations
from bench.consultation.patient import Patient
from bench.consultation.rules import URGENCIES, Rules, load_rules
from bench.consultation.score import Consulted, score_consultation
from bench.consultation.summary import score_consultations

__all__ = [
    "SCRIPTS",
    "URGENCIES",
    "Consulted",
    "MajorityPhysician",
    "Patient",
    "Rules",
    "ScriptedPhysician",
    "consultation_samples",
    "hold_consultations",
    "load_rules",
    "score_consultation",
    "score_consultations",
    "write_consultations",
]
