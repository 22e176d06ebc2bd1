"""Who this is for, what for, and what not: the words that stand on every model card and every datasheet.

Convention: each tuple is a list of whole points, ready to be printed; nothing here depends on a run.

Trap: these are statements of intent, not of fitness. What was measured stands beside them, from the run's own files.
"""

from __future__ import annotations

__all__ = ["INTENDED_USE", "INTENDED_USERS", "NOT_A_DEVICE", "OUT_OF_SCOPE", "PHANTOM_STATEMENT"]

NOT_A_DEVICE = "Research use only: not a medical device, not for diagnosis or treatment, and no advice for a patient."

INTENDED_USERS = (
    "Engineers and researchers who train or compare vision-language models on images and texts of the spine.",
    "Clinicians who review the questions and answers, or who read a model's output in a study.",
)

INTENDED_USE = (
    "Training and comparing models in research, and tests of whether a model names spinal levels rightly.",
    "Adult spines in the modalities that are named among the data, asked in the way of the training questions.",
)

OUT_OF_SCOPE = (
    "Decisions about a patient: diagnosis, treatment, triage, planning of an operation, advice.",
    "Children and adolescents: growing vertebrae have shapes that would be fractures in adults.",
    "Spines after surgery: implants, fusions and resections change what can be counted, measured and seen.",
    "Known or suspected malignancy: metastases, myeloma, pathological fractures.",
    "Emergencies: acute trauma, cauda equina syndrome, infection, an unstable spine.",
    "Any claim about patients that rests on computed phantoms.",
)

PHANTOM_STATEMENT = (
    "Phantoms are computed spines and no patients. What is learned or measured on them is no evidence about people."
)
