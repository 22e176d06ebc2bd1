"""Who writes drafts and revisions: rules, a language model on a server, or one in this process; one interface for all.

Purpose: `writer.py` holds the interface and the rule writer, `model.py` the model; the rest is what a model is shown,
the form it answers in, and how its answer becomes items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.writers.choice import open_writer
    from data_pipeline.writers.evidence import egress_of, speaks_to_model
    from data_pipeline.writers.model import ModelWriter
    from data_pipeline.writers.prompts import all_templates, load_prompts, prompts_sha256
    from data_pipeline.writers.schemas import TaskName, schema_of
    from data_pipeline.writers.writer import DraftPart, Requests, RuleWriter, Writer

__all__ = [
    "DraftPart",
    "ModelWriter",
    "Requests",
    "RuleWriter",
    "TaskName",
    "Writer",
    "all_templates",
    "egress_of",
    "load_prompts",
    "open_writer",
    "prompts_sha256",
    "schema_of",
    "speaks_to_model",
]

__getattr__ = lazy_names(
    __name__,
    {
        "choice": "open_writer",
        "evidence": "egress_of speaks_to_model",
        "model": "ModelWriter",
        "prompts": "all_templates load_prompts prompts_sha256",
        "schemas": "TaskName schema_of",
        "writer": "DraftPart Requests RuleWriter Writer",
    },
)
