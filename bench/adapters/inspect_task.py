"""SpineBench as a task of inspect_ai: one file that needs inspect_ai and a samples folder, and nothing else.

    inspect eval inspect_task.py -T samples=SAMPLES --model PROVIDER/MODEL

Convention: a sample's id, turns and pictures are those of `samples.jsonl`, pictures at their places in the text. Where
this project is importable the scorer is its own extractor, so the log shows the same verdicts; where it is not, replies
are recorded unscored and `spinemed bench replies --format inspect` scores them.

Trap: this module imports inspect_ai and is therefore imported by inspect_ai alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inspect_ai import Task, task  # type: ignore[import-not-found, unused-ignore]
from inspect_ai.dataset import MemoryDataset, Sample  # type: ignore[import-not-found, unused-ignore]
from inspect_ai.model import (  # type: ignore[import-not-found, unused-ignore]
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
)
from inspect_ai.scorer import (  # type: ignore[import-not-found, unused-ignore]
    CORRECT,
    INCORRECT,
    Score,
    accuracy,
    scorer,
    stderr,
)
from inspect_ai.solver import generate  # type: ignore[import-not-found, unused-ignore]

PLACEHOLDER = "<image>"
TURNS = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


def _turn(message: dict[str, str], pictures: list[str]) -> Any:
    """One turn, with the next pictures at the places of their placeholders; `pictures` shrinks by those."""
    pieces = message["content"].split(PLACEHOLDER)
    content: list[Any] = []
    for number, piece in enumerate(pieces):
        if number:
            content.append(ContentImage(image=pictures.pop(0)))
        if piece.strip():
            content.append(ContentText(text=piece.strip("\n") if len(pieces) > 1 else piece))
    plain = len(pieces) == 1
    return TURNS[message["role"]](content=message["content"] if plain else content)


def _sample(row: dict[str, Any], folder: Path) -> Any:
    pictures = [str(folder / path) for path in row["images"]]
    return Sample(
        id=row["id"],
        input=[_turn(message, pictures) for message in row["messages"]],
        target=row["answer"],
        metadata={"cluster": row["cluster"], "axis": row["axis"], "task": row["task"], "origin": row["origin"]},
    )


@scorer(metrics=[accuracy(), stderr(cluster="cluster")])  # type: ignore[untyped-decorator, unused-ignore]
def spinebench_verdict(folder: str) -> Any:
    """The verdict of this project on the reply; `answer` is what its extractor read."""
    from bench.samples import read_samples
    from bench.spinebench import judge
    from spinemed.records import Prediction

    known = {sample.id: sample for sample in read_samples(folder)[0]}

    async def score(state: Any, target: Any) -> Any:
        prediction = Prediction(
            sample_id=str(state.sample_id), model=str(state.model), condition="full", outcome="answered",
            text=state.output.completion, request_sha256="0" * 64,
        )  # fmt: skip
        found = judge(known[prediction.sample_id], prediction)
        return Score(
            value=CORRECT if found.correct else INCORRECT, answer=found.parsed or "", explanation=found.outcome,
            metadata={"cluster": known[prediction.sample_id].cluster},
        )  # fmt: skip

    return score


@task  # type: ignore[untyped-decorator, unused-ignore]
def spinebench(samples: str = "") -> Any:
    """All questions of a samples folder that a rule can score.

    Args:
        samples: The folder; the one this file lies in unless given.
    """
    folder = Path(samples).resolve() if samples else Path(__file__).resolve().parent
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["answer_kind"] != "text"]
    try:
        own = spinebench_verdict(str(folder))
    except ImportError:
        own = None
    return Task(dataset=MemoryDataset([_sample(row, folder) for row in rows]), solver=generate(), scorer=own)
