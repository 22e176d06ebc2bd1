"""A whole benchmark in one folder: any model, killed and resumed, planned before it is paid for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from spinemed.errors import SpineMedError

MODEL = ("--served-model", "org/tiny", "--revision", "1")
TWO = ("--condition", "full", "--condition", "blind")
Serve = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path, root: Path, write_release: Callable[..., Path], make_rows: Callable[..., Any]) -> Path:
    """The shipped config on a small release beside it, with fewer bootstrap samples."""
    write_release(tmp_path / "release", train=make_rows("train", 3), test=make_rows("test", 21))
    text = (root / "configs" / "bench" / "samples.yaml").read_text()
    text = text.replace("../../runs/data/outputs/release", "release").replace("resamples: 10000", "resamples: 100")
    (tmp_path / "bench.yaml").write_text(text)
    return tmp_path / "bench.yaml"


def bench(*arguments: str | Path) -> str:
    """The output of `spinemed bench ...` in this process; its errors are raised."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def outputs(run: Path) -> dict[str, bytes]:
    root = run / "outputs"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock" and path.name != ".journal.jsonl"
    }


def test_from_a_config_to_a_page_killed_and_resumed(config: Path, serve: Serve, tmp_path: Path) -> None:
    slow, out = serve(latency=0.05), tmp_path / "killed"
    arguments = ["bench", "run", str(config), "--url", slow.url, *MODEL, *TWO, "--max-in-flight", "4"]
    arguments += ["--out", str(out)]
    child = subprocess.Popen([sys.executable, "-m", "spinemed", *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while slow.stats()["requests"] < 20:
        assert time.monotonic() < deadline
        assert child.poll() is None, "the child ended before it could be killed"
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "outputs" / "scores").exists()
    shown = bench(*arguments[1:])
    assert "org-tiny: answered 64" in shown
    seen = slow.stats()["seen"]
    assert sum(seen.values()) - len(seen) <= 4

    fast = serve()
    bench("run", config, "--url", fast.url, *MODEL, *TWO, "--max-in-flight", "32", "--out", tmp_path / "whole")
    killed, whole = outputs(out), outputs(tmp_path / "whole")
    assert killed == whole
    assert "--served-model org/tiny --revision 1 --set" in killed["board/board.html"].decode()
    assert {"scores/summary.json", "board/board.html", "predictions/org-tiny-blind/lock.json"} <= set(killed)
    bench("run", config, "--url", fast.url, "--served-model", "second", *TWO, "--out", tmp_path / "whole")
    summary = json.loads((tmp_path / "whole" / "outputs" / "scores" / "summary.json").read_bytes())
    names = [system["name"] for system in summary["systems"]]
    assert names == ["majority", "org-tiny", "org-tiny-blind", "random", "second", "second-blind"]


def test_the_plan_counts_what_the_run_then_asks(config: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    price = ("--set", "server.prices.prompt_per_million=10", "--set", "server.prices.image_tokens=100")
    asked = (config, "--url", server.url, *MODEL, *price)
    two = bench("plan", *asked, *TWO)
    # 42 pictures with a question and 22 questions in words; blind, the pictures are all alike and the words are known.
    assert int(re.findall(r"calls to make: (\d+)", two)[0]) == 42 + 22 + 2
    shown = bench("plan", *asked, "--seconds-per-call", "3", "--max-in-flight", "8")
    planned = int(re.findall(r"calls to make: (\d+)", shown)[0])
    assert planned > 66
    called = bench("plan", *asked, "--condition", "tools", "--set", "tools.rounds=3")
    assert "calls to make: 256" in called
    assert f"time: about {planned * 3 / 8 / 60:.1f} min" in shown
    assert server.stats()["requests"] == 0
    told = bench("run", *asked, "--out", tmp_path / "run")
    assert re.search(r"org-tiny, withheld: [\d.]+ % of 42 questions, where the questions themselves have", told)
    assert server.stats()["requests"] == planned
    summary = json.loads((tmp_path / "run" / "outputs" / "scores" / "summary.json").read_bytes())
    assert set(summary["controls"]["org-tiny"]) > {"withheld", "blind", "other_patient", "options_only", "rotated_2"}
    assert set(summary["necessity"]["org-tiny"]) == {"withheld", "blind", "other_patient"}
    assert "calls to make: 0" in bench("plan", *asked, "--run", tmp_path / "run")
    assert "money: about 0.00 USD" in bench("plan", *asked, "--run", tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model is named"),
        (("--model", "a", "--url", "http://127.0.0.1:1/v1"), "names a second model"),
        (("--url", "http://127.0.0.1:1/v1"), "--served-model': is absent"),
        (("--url", "ftp://x", "--served-model", "m"), "url must start with http"),
        (("--url", "https://models.example/v1", "--served-model", "m"), "may not be sent to 'models.example'"),
        (("--url", "http://127.0.0.1:1/v1", "--served-model", "m", "--name", "../x"), "cannot name a system"),
        (("--model", "nowhere"), "is no checkpoint folder"),
        (("--model", "nowhere", "--set", "decoding.temperature=1"), "is above 0"),
        (("--model", "nowhere", "--condition", "tools"), "need a server"),
        (("--model", "nowhere", "--condition", "half"), "conditions"),
        (("--model", "nowhere", "--engine", "slurm"), "is no engine"),
        (("--model", "nowhere", "--address", "auto"), "is for Ray clusters"),
        (("--model", "nowhere", "--backend", "onnx"), "is no backend"),
    ],
)
def test_a_mistake_is_named(config: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpineMedError, match=message):
        bench("run", config, *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "outputs" / "predictions").exists()


def test_workers_share_a_server_and_one_goes_on_where_two_stopped(config: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    asked = (config, "--url", server.url, *MODEL, "--set", "server_block=8", "--budget-tokens", "10000000")
    few = ("--condition", "full", "--condition", "tools", "--condition", "rotated_3")
    shown = bench("run", *asked, *few, "--workers", "2", "--out", tmp_path / "two")
    assert "rotated_3: leaves no question (11 fewer options, 53 no options)" in shown
    bench("run", *asked, *few, "--out", tmp_path / "one")
    two, one = outputs(tmp_path / "two"), outputs(tmp_path / "one")
    for name in ("predictions.jsonl", "lock.json", "manifest.json"):
        for folder in ("org-tiny", "org-tiny-tools"):
            assert two[f"predictions/{folder}/{name}"] == one[f"predictions/{folder}/{name}"]
    assert two["scores/summary.json"] == one["scores/summary.json"]
    assert {path.name for path in (tmp_path / "two" / "scratch" / "requests" / "org-tiny").glob("w*.jsonl")}


def test_a_matcher_reads_what_the_rules_left_and_changes_no_score(config: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    asked = (config, "--url", server.url, *MODEL, "--condition", "full", "--out", tmp_path / "run")
    bench("run", *asked)
    scores = tmp_path / "run" / "outputs" / "scores"
    before = json.loads((scores / "summary.json").read_bytes())
    shown = bench("run", *asked, "--matcher-url", server.url, "--matcher-model", "judge")
    assert "org-tiny: the matcher judge read" in shown
    after = json.loads((scores / "summary.json").read_bytes())
    matched = after.pop("matched")
    assert before == after
    assert matched["matcher"]["model"] == "judge"
    own = matched["systems"]["org-tiny"]
    assert own["unparsed"] > 0
    assert own["value"] <= own["value_with_matched"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--condition", "tools"), "is no condition here.*bench run"),
        (("--condition", "half"), "use one of full, blind, withheld"),
        (("--condition", "rotated_5"), "leaves no question"),
        (("--worker", "../x"), "cannot name a worker"),
        (("--backend", "onnx"), "is no backend"),
    ],
)
def test_a_mistake_in_asking_alone_is_named(
    samples_folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpineMedError, match=message):
        bench("predict", "--samples", samples_folder, "--model", "random", *arguments, "--out", tmp_path / "p")
    assert not (tmp_path / "p").exists()
