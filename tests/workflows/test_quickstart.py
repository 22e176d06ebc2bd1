"""The quickstart's plan: every path explicit, nothing of an application imported, failure keeps what is finished."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from spinemed.config import load_config
from spinemed.errors import ConfigError, RunError
from spinemed.resources import configs_dir
from spinemed.run import open_run
from spinemed.workflows.quickstart import QuickstartConfig, Stage, plan_quickstart, run_stages

Spinemed = Callable[..., subprocess.CompletedProcess[str]]


def job(name: str = "quickstart.yaml") -> QuickstartConfig:
    return load_config(configs_dir() / name, QuickstartConfig)


def test_every_stage_reads_what_an_earlier_one_wrote_or_what_is_bundled(tmp_path: Path) -> None:
    stages = plan_quickstart(job(), tmp_path / "run")
    made: list[Path] = []
    for stage in stages:
        for argument in stage.arguments:
            path = Path(argument.partition("=")[2] if "=" in argument else argument)
            if path.is_absolute() and path.is_relative_to(tmp_path):
                own = path == stage.made or stage.made.is_relative_to(path)
                assert own or path in made, f"{stage.title} names {path}, which nothing before it makes"
            elif path.is_absolute():
                assert path.exists(), f"{stage.title} names {path}, which is not bundled"
        made.append(stage.made)
    assert made[-1] == tmp_path / "run" / "board.html"


def test_the_seed_reaches_data_training_and_scoring(tmp_path: Path) -> None:
    lines = [" ".join(stage.arguments) for stage in plan_quickstart(job().model_copy(update={"seed": 71}), tmp_path)]
    for verb in ("data run", "train run", "bench score"):
        line = next(line for line in lines if line.startswith(verb))
        assert "seed=71" in line or "--seed 71" in line


def test_smoke_and_full_take_the_same_steps(tmp_path: Path) -> None:
    full, smoke = (plan_quickstart(job(name), tmp_path) for name in ("quickstart.yaml", "quickstart_smoke.yaml"))
    assert [stage.title for stage in full] == [stage.title for stage in smoke]


def test_the_tuned_model_is_compared_even_when_nothing_answers_blind(tmp_path: Path) -> None:
    whole = job()
    some = whole.model_copy(update={"systems": [one for one in whole.systems if one.condition == "full"]})
    arguments = next(s.arguments for s in plan_quickstart(some, tmp_path) if s.arguments[:2] == ("bench", "score"))
    assert arguments[arguments.index("--subject") + 1] == "after"


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ("[{name: a, model: tunned}]", "'base', 'tuned', 'majority' or 'random'"),
        ("[{name: a, model: tuned, condition: blnd}]", "'full' or 'blind'"),
        ("[{name: ../a, model: tuned}]", "should match pattern"),
        ("[{name: a, model: tuned}, {name: a, model: base}]", r"same name \(a\)"),
        ("[{name: a, model: tuned}, {name: b, model: tuned}]", r"same model and condition \(tuned, full\)"),
        ("[]", "at least 1 item"),
    ],
)
def test_systems_that_scoring_would_refuse_stop_before_anything_starts(systems: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(configs_dir() / "quickstart.yaml", QuickstartConfig, [f"systems={systems}"])


def test_a_printed_command_can_be_pasted(spinemed: Spinemed, tmp_path: Path) -> None:
    done = spinemed("quickstart", "--dry-run", "--out", tmp_path / "my runs" / "q")
    words = shlex.split(done.stdout.splitlines()[0])
    assert words[words.index("--out") + 1] == str(tmp_path / "my runs" / "q" / "data")


def test_dry_run_prints_commands_and_runs_none(spinemed: Spinemed, tmp_path: Path) -> None:
    done = spinemed("quickstart", "--dry-run", "--out", tmp_path / "q")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("spinemed data run ")
    assert not (tmp_path / "q").exists()


def test_a_failing_stage_stops_the_job_and_is_named(tmp_path: Path) -> None:
    stages = [
        Stage("Says its version", ("--version",), tmp_path),
        Stage("Fails", ("data", "run", str(tmp_path / "absent.yaml"), "--out", str(tmp_path / "d")), tmp_path),
        Stage("Never runs", ("--version",), tmp_path),
    ]
    said: list[str] = []
    with (
        pytest.raises(RunError, match=r"'Fails' ended with exit code 2.*finished stages are kept"),
        open_run(tmp_path / "run", command="quickstart", config=job()) as run,
    ):
        run_stages(run, stages, said.append)
    assert said == ["[1/3] Says its version", "[2/3] Fails"]
    events = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert [event["exit_code"] for event in events if event["event"] == "stage ended"] == [0, 2]


def test_no_stage_outlives_a_killed_quickstart(tmp_path: Path) -> None:
    def at_work() -> list[int]:
        lines = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
        return [pid for pid, line in lines.items() if any(str(tmp_path) in word for word in line)]

    def until(holds: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.1)

    out = tmp_path / "q"
    with subprocess.Popen(
        [sys.executable, "-m", "spinemed", "quickstart", "--smoke", "--out", str(out)], stderr=subprocess.DEVNULL
    ) as started:
        until((out / "data" / "journal.jsonl").is_file)
        assert len(at_work()) >= 2  # the quickstart and its first stage
        started.kill()
    until(lambda: not at_work())
    journal = (out / "data" / "journal.jsonl").read_text()
    assert '"event": "opened"' in journal
    assert '"event": "finished"' not in journal  # it was stopped, and did not just come to its end


def test_a_misspelt_field_stops_before_anything_starts(spinemed: Spinemed, tmp_path: Path) -> None:
    done = spinemed("quickstart", "--set", "sead=3", "--out", tmp_path / "q")
    assert done.returncode == 2
    assert "did you mean 'seed'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "q").exists()
