"""The rule writer's four tasks: multiple choice, open questions, consultations and six-part reports from records.

Purpose: a study's record (levels in view, fractures, grades) is put into the forms in which a model answers, in English
and Chinese, with the picture or with the record in words; texts give open questions in their own words. Answers come
from labels and source sentences, never from a model. Wordings are files in `templates/`, hashed into every item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.drafting.tasks.draft import draft_study_tasks, draft_text_tasks
    from data_pipeline.drafting.tasks.facts import Facts, Fracture, facts_of
    from data_pipeline.drafting.tasks.words import TEMPLATES, load_words, ruled_templates, template_of

__all__ = [
    "TEMPLATES",
    "Facts",
    "Fracture",
    "draft_study_tasks",
    "draft_text_tasks",
    "facts_of",
    "load_words",
    "ruled_templates",
    "template_of",
]

__getattr__ = lazy_names(
    __name__,
    {
        "draft": "draft_study_tasks draft_text_tasks",
        "facts": "Facts Fracture facts_of",
        "words": "TEMPLATES load_words ruled_templates template_of",
    },
)
