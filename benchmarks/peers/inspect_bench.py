"""inspect_ai's multiple_choice solver and choice scorer on given replies.

python inspect_bench.py ITEMS.json RESULT.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


def main(items: str, result: str) -> None:  # noqa: D103
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import choice
    from inspect_ai.solver import multiple_choice

    asked = json.loads(Path(items).read_text(encoding="utf-8"))
    replies = {f"Question {item['id']}?": item["reply"] for item in asked}

    def answer(messages: list, tools: object, tool_choice: object, config: object) -> ModelOutput:
        text = messages[-1].text
        question = text[text.rindex("Question ") :].split("?")[0] + "?"
        output = ModelOutput.from_content("mockllm/model", replies[question])
        output.usage = ModelUsage()  # without it a tokenizer is fetched
        return output

    samples = [
        Sample(input=f"Question {item['id']}?", choices=item["options"], target=item["target"], id=item["id"])
        for item in asked
    ]
    task = Task(dataset=samples, solver=multiple_choice(), scorer=choice())
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        log = eval(
            task, model=get_model("mockllm/model", custom_outputs=answer), log_dir=folder, display="none",
            max_connections=64,
        )[0]  # fmt: skip
        seconds = time.perf_counter() - start
        # Samples are read back from the log when asked for, so inside its folder.
        if log.status != "success" or log.samples is None:
            raise SystemExit(f"inspect ended with {log.status}: {log.error}")
        verdicts = {
            str(sample.id): {"correct": score.value == "C", "answer": score.answer or ""}
            for sample in log.samples
            for score in (sample.scores or {}).values()
        }
    Path(result).write_text(
        json.dumps({"version": version("inspect_ai"), "seconds": seconds, "verdicts": verdicts}), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
