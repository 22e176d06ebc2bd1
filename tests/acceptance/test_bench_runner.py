"""A checkpoint asked in this process and through `transformers serve`; how busy the runner keeps a server."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bench.runner import predict_samples
from bench.runner.server import SERVER_BLOCK, ServerAnswerer
from bench.samples import read_samples
from spinemed.chat import Decoding, ServerConfig
from spinemed.records import Message, Option, Prediction, Sample, Score
from spinemed.tables import read_jsonl, write_jsonl, write_manifest

pytestmark = pytest.mark.acceptance

ISSUE = "SpineBench"
STEPS = 1200
Record = Callable[..., None]


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """`transformers serve` on loopback, in float32 and without batching across requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu",
        "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            program, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 300
        while True:
            try:
                with opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert child.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        child.kill()
        child.wait()


def teach(model: Path, folder: Path) -> None:
    """Teach a model of a few thousand weights to answer and to stop; one that never stops is only ever truncated."""
    import torch

    from spinemed.vlm import Encoded, VlmAnswerer

    template = model / "chat_template.jinja"  # answers continue the prompt that generation ends with
    template.write_text(template.read_text().replace("<start_of_turn>model", "<start_of_turn>assistant"))
    answerer = VlmAnswerer(model)
    layout, network = answerer.layout, answerer.model.train()
    answers: dict[str, list[Sample]] = {}
    for sample in read_samples(folder)[0]:
        answers.setdefault(sample.answer, []).append(sample)
    chosen = [sample for group in answers.values() for sample in group[:2]][:32]
    lessons = []
    for sample in chosen:
        turns = (*sample.messages, Message(role="assistant", content=sample.answer))
        made = layout.encode(turns, [(folder / path).read_bytes() for path in sample.images], training=True)
        assert isinstance(made, Encoded), made
        lessons.append(layout.collate([made], training=True))
    steps = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(STEPS):
        network(**lessons[step % len(lessons)]).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if step % 4 == 3:
            steps.step()
            steps.zero_grad()
    network.save_pretrained(model)


def test_a_checkpoint_and_its_server_give_the_same_extracted_answers(
    root: Path,
    work: Path,
    quickstart: Callable[[int, str], Path],
    spinemed: Callable[..., subprocess.CompletedProcess[str]],
    record: Record,
) -> None:
    if importlib.util.find_spec("openai") is None:
        pytest.skip("`transformers serve` needs its extra: pip install 'transformers[serving]'")
    made = quickstart(0, "seed0")
    questions = made / "bench" / "samples"
    place = work / "bench_runner"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    model = place / "gemma3"
    script = root / "tests" / "spinemed" / "chat" / "tiny_gemma3.py"
    subprocess.run([sys.executable, str(script), str(model)], check=True)
    teach(model, questions)
    settings = {"samples": str(questions), "batch_size": 1, "conditions": ["full"], "resamples": 100}
    (place / "bench.yaml").write_text(yaml.safe_dump(settings))
    run = ("bench", "run", place / "bench.yaml", "--out", place / "run")
    start = time.monotonic()
    done = spinemed(*run, "--model", model, "--name", "here", timeout=3600)
    assert done.returncode == 0, done.stderr
    with served(model, place / "serve.log") as url:
        asked = ("--url", url, "--served-model", str(model), "--revision", "1", "--max-in-flight", "1")
        done = spinemed(*run, *asked, "--name", "served", timeout=3600)
        assert done.returncode == 0, done.stderr
    outputs = place / "run" / "outputs"
    here, there = (
        {one.sample_id: one for one in read_jsonl(outputs / "predictions" / name / "predictions.jsonl", Prediction)}
        for name in ("here", "served")
    )
    names = [system["name"] for system in json.loads((outputs / "scores" / "summary.json").read_bytes())["systems"]]
    scores = list(read_jsonl(outputs / "scores" / "scores.jsonl", Score))
    total = len(read_samples(questions)[0])
    own = {
        name: [(one.sample_id, one.outcome, one.parsed) for one in scores[at * total : (at + 1) * total]]
        for at, name in enumerate(names)
    }
    other_words = sum((here[name].outcome, here[name].text) != (there[name].outcome, there[name].text) for name in here)
    other = sum(one != two for one, two in zip(own["here"], own["served"], strict=True))
    parsed = sum(outcome == "parsed" for _, outcome, _ in own["here"])
    record(
        ISSUE, 40, "A tiny Gemma 3 in process and through `transformers serve`: extracted answers that differ",
        asked="0", measured=f"{other} of {total}", met=other == 0,
        command="pytest -m acceptance tests/acceptance/test_bench_runner.py",
        note=f"greedy, float32, unbatched; {other_words} replies differ in words; {parsed} answers could be read; "
        f"both runs {(time.monotonic() - start) / 60:.1f} min",
    )  # fmt: skip
    assert other == 0
    ended = sum(one.outcome == "answered" for one in here.values())
    assert ended >= total / 2, "replies that were cut are equal for no good reason"
    assert parsed > 0


def test_the_runner_keeps_a_server_busy(root: Path, work: Path, record: Record) -> None:
    questions, slots, latency_s = 4096, 32, 0.2
    place = work / "bench_runner_busy"
    shutil.rmtree(place, ignore_errors=True)
    samples = [
        Sample(
            id=f"q{number:05d}", axis="pathology", task="multiple_choice",
            messages=(Message(role="user", content=f"Question {number}: this or that?\nA. this\nB. that"),), images=(),
            answer="A", answer_kind="option", options=(Option(key="A", text="this"), Option(key="B", text="that")),
            cluster=f"c{number}", origin="phantom", source_id="made",
        )
        for number in range(questions)
    ]  # fmt: skip
    (place / "samples").mkdir(parents=True)
    write_jsonl(place / "samples" / "samples.jsonl", samples)
    write_manifest(place / "samples", "samples", release_sha256="0" * 64, split="test")
    command = [sys.executable, str(root / "benchmarks" / "chat_server.py"), "--latency", str(latency_s)]
    server = subprocess.Popen([*command, "--slots", str(slots)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline().split()[1])}/v1"
        # A few more than the slots, so that the next request waits at the server and not on its way.
        config = ServerConfig(url=url, model="loopback", max_in_flight=slots + 8, start_in_flight=slots + 8)
        with ServerAnswerer(config, place / "requests", decoding=Decoding(max_tokens=32)) as answerer:
            start = time.monotonic()
            predict_samples(
                place / "samples", answerer, place / "predictions", name="loopback", block_size=SERVER_BLOCK,
                order="picture",
            )  # fmt: skip
            seconds = time.monotonic() - start
    finally:
        server.kill()
        server.communicate()
    busy = questions * latency_s / slots / seconds
    record(
        ISSUE, 41, f"the runner against a loopback server of {slots} slots, {questions:,} questions from start to file",
        asked="≥ 90 % of its slots", measured=f"{busy:.0%}", met=busy >= 0.9,
        command="pytest -m acceptance tests/acceptance/test_bench_runner.py",
        note=f"{latency_s} s a reply, {seconds:.1f} s in all, load average {os.getloadavg()[0]:.1f}",
    )  # fmt: skip
    assert busy >= 0.9
