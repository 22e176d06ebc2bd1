"""distilabel's own pipeline on the benchmark's prompts: load, ask an OpenAI-compatible server, collect.

    python distilabel_chat.py URL PROMPTS.json RESULT.json BATCH

The batch is what it sends at once; without it a pipeline sends 50. Its cache is off, so that it does no more than ask.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ["OPENAI_API_KEY"] = "none"


def main(url: str, prompts: str, result: str, batch: int) -> None:  # noqa: D103
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [{"instruction": text} for text in json.loads(Path(prompts).read_text())]
    with Pipeline(name="ask") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=batch)
        llm = OpenAILLM(model="by-content", base_url=url, generation_kwargs={"max_new_tokens": 64, "temperature": 0.0})
        load >> TextGeneration(llm=llm, input_batch_size=batch)
    start = time.perf_counter()
    made = pipeline.run(use_cache=False)
    wall = time.perf_counter() - start
    answers = [row["generation"] for split in made.values() for row in split["train"]]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {
        "name": "distilabel",
        "version": version("distilabel"),
        "answered": sum(bool(answer) for answer in answers),
        "wall_seconds": wall,
        "cpu_seconds": sum(each.ru_utime + each.ru_stime for each in used),
    }
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
