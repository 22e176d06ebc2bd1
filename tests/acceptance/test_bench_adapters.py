"""The exported task run by inspect_ai itself, in its own environment, and the Hub's files read by its own models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.adapters import export_samples, import_replies
from bench.runner import ScriptedAnswerer, predict_samples
from bench.runner.predict import read_predictions
from bench.samples import read_samples
from bench.spinebench import judge

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "benchmarks" / "peers" / ".env-inspect" / "bin" / "python"
ISSUE = "SpineBench"
COMMAND = "pytest tests/acceptance/test_bench_adapters.py"
LIVE = ("bench", "live", "configs/bench/live.yaml", "--set", "count=60", "--seed", "11")
SAID = ("Answer: {0}", "<think>L1? no.</think>\n{0}", "I cannot help with that.", "L3", "{0}, confidence 70%", "")

ASK = """
import json, sys
sys.path.insert(0, ".")
from inspect_ai import eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model
import spinebench_task
said = json.loads(open(sys.argv[1], encoding="utf-8").read())
task = spinebench_task.spinebench(".")
by_text = {}
for sample in task.dataset:
    key = "\\n".join(turn.text for turn in sample.input)
    by_text.setdefault((key, sum(p.type == "image" for turn in sample.input if isinstance(turn.content, list)
                                 for p in turn.content)), []).append(said[sample.id])
def answer(messages, tools, choice, config):
    key = "\\n".join(turn.text for turn in messages)
    count = sum(p.type == "image" for turn in messages if isinstance(turn.content, list) for p in turn.content)
    output = ModelOutput.from_content("mockllm/model", by_text[key, count].pop(0))
    output.usage = ModelUsage()  # without it a tokenizer is fetched
    return output
log = eval(task, model=get_model("mockllm/model", custom_outputs=answer), log_dir="logs", log_format=sys.argv[2],
           display="none", max_connections=1, max_samples=1)[0]
assert log.status == "success", log.error
print(log.location)
"""
HUB = """
import json, sys, yaml
from inspect_ai._eval.task.hf import HFTask, _record_to_sample_hf
about = yaml.safe_load(open("eval.yaml", encoding="utf-8"))
count = 0
for values in about["tasks"]:
    task = HFTask.model_validate(values)
    for line in open(f"data/{task.config}/{task.split}.jsonl", encoding="utf-8"):
        sample = _record_to_sample_hf(json.loads(line), task.field_spec)
        assert sample.target and sample.metadata["sample_id"]
        count += 1
print(count)
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, spinemed: Callable[..., Any]) -> Path:
    """Live questions."""
    if not PYTHON.is_file():
        pytest.skip("inspect_ai is not there: make peer NAME=inspect")
    out: Path = tmp_path_factory.mktemp("adapters") / "samples"
    done = spinemed(*LIVE, "--out", out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.acceptance
@pytest.mark.parametrize("form", ["json", "eval"])
def test_inspect_asks_our_questions_and_its_log_gives_our_scores(
    form: str, asked: Path, tmp_path: Path, record: Callable[..., None]
) -> None:
    samples, _ = read_samples(asked)
    made = export_samples(asked, tmp_path / "task", form="inspect")
    said = {sample.id: SAID[n % len(SAID)].format(sample.answer) for n, sample in enumerate(samples)}
    (tmp_path / "said.json").write_text(json.dumps(said), encoding="utf-8")
    (tmp_path / "ask.py").write_text(ASK, encoding="utf-8")
    done = subprocess.run(
        [PYTHON, tmp_path / "ask.py", tmp_path / "said.json", form], cwd=tmp_path / "task", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    import_replies([done.stdout.strip().splitlines()[-1]], asked, tmp_path / "there", form="inspect", name="m")
    predict_samples(asked, ScriptedAnswerer(said, name="mockllm/model"), tmp_path / "here", name="m")
    here, there = (read_predictions(tmp_path / name).by_sample for name in ("here", "there"))
    differ = [one.id for one in samples if judge(one, here[one.id]) != judge(one, there[one.id])]
    assert made["exported"] == len(samples)
    record(
        ISSUE, 60 if form == "json" else 61, f"live questions asked by inspect_ai 0.3.285, read from its .{form} log",
        asked="the very same scores", measured=f"{len(differ)} of {len(samples)} scores differ", met=not differ,
        command=COMMAND, note="its mock model with given replies, one request at a time",
    )  # fmt: skip
    assert differ == []


@pytest.mark.acceptance
def test_the_hubs_files_are_what_inspect_expects(asked: Path, tmp_path: Path) -> None:
    made = export_samples(asked, tmp_path / "hub", form="hub")
    done = subprocess.run(
        [PYTHON, "-c", HUB], cwd=tmp_path / "hub", capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == made["exported"]
