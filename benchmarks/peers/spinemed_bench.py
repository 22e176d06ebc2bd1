"""SpineMed's reading and judging of given replies, with a clustered interval.

python spinemed_bench.py ITEMS.json RESULT.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from spinemed import __version__


def main(items: str, result: str) -> None:  # noqa: D103
    from bench.extract import extract_answer
    from bench.spinebench.score import judge
    from spinemed.records import Message, Option, Prediction, Sample
    from spinemed.statistics import Clusters, generator_for, proportion_interval

    asked = json.loads(Path(items).read_text(encoding="utf-8"))
    warm = None
    start = time.perf_counter()
    verdicts, right = {}, []
    for item in asked:
        sample = Sample(
            id=item["id"], axis="pathology", task="multiple_choice",
            messages=(Message(role="user", content=f"Question {item['id']}?"),), images=(), answer=item["target"],
            answer_kind="option", cluster=item["id"], origin="real", source_id="bench",
            options=tuple(Option(key=key, text=text) for key, text in zip("ABCD", item["options"], strict=True)),
        )  # fmt: skip
        warm = warm or extract_answer("A", sample)
        score = judge(
            sample,
            Prediction(
                sample_id=sample.id, model="m", condition="full", outcome="answered", text=item["reply"],
                request_sha256="0" * 64,
            ),
        )  # fmt: skip
        right.append(float(score.correct))
        verdicts[sample.id] = {"correct": score.correct, "answer": score.parsed or "", "outcome": score.outcome}
    clusters = Clusters.of([item["id"] for item in asked])
    proportion_interval(right, clusters, generator_for(0, "inspect"))
    seconds = time.perf_counter() - start
    Path(result).write_text(
        json.dumps({"version": __version__, "seconds": seconds, "verdicts": verdicts}), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
