"""A data set folder for the Hugging Face Hub with `eval.yaml`, so that `inspect eval hf/ORG/NAME` asks it.

Convention: `data/options/test.jsonl` and `data/open/test.jsonl`, one row a question: `id`, `question`, `choices`,
`target`, `image` (a data URI or empty), `cluster`; `eval.yaml` names one task for each, with `evaluation_framework:
inspect-ai`. The open one is scored there by inspect's `match` only, a rough sight; the scores that count come from the
log, by `spinemed bench replies --format inspect`. The row's id is the log's `metadata.sample_id`.

Trap: such a task holds one picture a question; questions with several are left out and counted. A benchmark on the Hub
must be let in by the Hub's staff before its results are shown there.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from bench.adapters.questions import data_uri, flat_text, stem, without_placeholders
from spinemed.records import Sample
from spinemed.tables import write_text

__all__ = ["write_hub"]

SEVERAL = "several pictures, and such a task holds one"
_FIELDS = {"input": "question", "target": "target", "input_image": "image", "metadata": ["sample_id", "cluster"]}


def write_hub(folder: Path, samples: list[Sample], target: Path, reasons: Counter[str]) -> None:
    """Write `eval.yaml`, the data files and a card; what a task cannot hold is counted in `reasons`."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        if len(sample.images) > 1:
            reasons[SEVERAL] += 1
            continue
        groups.setdefault("options" if sample.answer_kind == "option" else "open", []).append(_row(folder, sample))
    tasks = []
    for name, rows in sorted(groups.items(), reverse=True):
        write_text(
            target / "data" / name / "test.jsonl",
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        )
        fields: dict[str, Any] = dict(_FIELDS)
        solver, scorer = "generate", "match"
        if name == "options":
            fields["choices"], solver, scorer = "choices", "multiple_choice", "choice"
        tasks.append(
            {
                "id": f"spinebench_{name}", "config": name, "split": "test", "field_spec": fields,
                "solvers": [{"name": solver}], "scorers": [{"name": scorer}],
            }
        )  # fmt: skip
    about = {
        "name": "SpineBench (SpineMed)",
        "description": "Does a model read a spine, level by level? Research use only.",
        "evaluation_framework": "inspect-ai",
        "tasks": tasks,
    }
    write_text(target / "eval.yaml", yaml.safe_dump(about, sort_keys=False))
    configs = [
        {"config_name": name, "data_files": [{"split": "test", "path": f"data/{name}/test.jsonl"}]}
        for name in sorted(groups)
    ]
    licences = sorted({sample.licence or "not stated" for sample in samples})
    write_text(
        target / "README.md",
        f"---\n{yaml.safe_dump({'configs': configs, 'tags': ['benchmark', 'medical']}, sort_keys=False)}---\n\n"
        "# SpineBench (SpineMed)\n\nQuestions on spines with typed levels, exported from a samples folder. Research "
        f"use only; phantoms are not patients.\n\nLicences of the questions: {', '.join(licences)}.\n",
    )


def _row(folder: Path, sample: Sample) -> dict[str, Any]:
    text = stem(sample) if sample.answer_kind == "option" else flat_text(sample)
    return {
        "sample_id": sample.id,
        "question": without_placeholders(text),
        "choices": [option.text for option in sample.options],
        "target": sample.answer,
        "image": data_uri(folder, sample.images[0]) if sample.images else "",
        "cluster": sample.cluster,
    }
