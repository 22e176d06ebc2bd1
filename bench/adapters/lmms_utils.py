"""What `spinebench.yaml` calls inside lmms-eval. Self-contained: this file is copied beside the exported task.

Convention: `doc` is one line of `questions.jsonl`. The value of the metric `spinebench` is a small dict, which the
engine writes into its sample log; its `correct` is None where this project is not importable there, and scoring waits
for `spinemed bench replies --format lmms-eval`.

Trap: pictures are opened here and nowhere before, so a moved folder fails at the first question.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["aggregate", "doc_to_messages", "doc_to_text", "doc_to_visual", "process_results"]


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The pictures, in order."""
    from PIL import Image

    return [Image.open(path).convert("RGB") for path in doc["images"]]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """The question as it stands; the engine's own prompts are not added, so that all models read the same."""
    return str(doc["text"])


def doc_to_messages(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> list[Any]:
    """One user turn with the pictures at their places."""
    content: list[dict[str, Any]] = []
    pictures = doc_to_visual(doc)
    for number, piece in enumerate(str(doc["interleaved"]).split("<image>")):
        if number:
            content.append({"type": "image", "url": pictures.pop(0)})
        if piece.strip():
            content.append({"type": "text", "text": piece.strip("\n")})
    return [{"role": "user", "content": content}]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """The reply under its sample id, and the verdict where this project can give it."""
    return {"spinebench": {"sample_id": doc["id"], "reply": results[0], "correct": _verdict(doc, results[0])}}


def _verdict(doc: dict[str, Any], reply: str) -> bool | None:
    try:
        from bench.spinebench import judge
        from spinemed.records import Prediction
    except ImportError:
        return None
    prediction = Prediction(
        sample_id=doc["id"], model="lmms-eval", condition="full", outcome="answered", text=reply,
        request_sha256="0" * 64,
    )  # fmt: skip
    return judge(_samples()[doc["id"]], prediction).correct


@cache
def _samples() -> dict[str, Any]:
    from spinemed.records import Sample

    lines = Path(__file__).with_name("samples.jsonl").read_text(encoding="utf-8").splitlines()
    return {sample.id: sample for sample in map(Sample.model_validate_json, lines)}


def aggregate(results: list[dict[str, Any]]) -> float:
    """Share right of what could be judged here; NaN where nothing could."""
    judged = [one["correct"] for one in results if one["correct"] is not None]
    return sum(judged) / len(judged) if judged else float("nan")
