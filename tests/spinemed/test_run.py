"""Run folders: one owner, one config, nothing finished is done twice, a kill loses nothing finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from spinemed.config import Config
from spinemed.errors import RunError, SourceError
from spinemed.run import open_run


class Job(Config):
    seed: int = 0
    """Seed."""


def events(folder: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_a_step_is_done_once_and_again_when_its_inputs_change(tmp_path: Path) -> None:
    made = []

    def work(folder: Path) -> dict[str, int]:
        made.append(1)
        (folder / "x.txt").write_text("x")
        return {"rows": len(made)}

    for key in ({"in": "a"}, {"in": "a"}, {"in": "b"}):
        with open_run(tmp_path / "run", command="data run", config=Job()) as run:
            folder = run.step("drafts", key=key, work=work)
    assert len(made) == 2
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["kind"], manifest["rows"], list(manifest["files"])) == ("drafts", 2, ["x.txt"])
    assert events(tmp_path / "run").count("step kept") == 1


def test_a_failed_step_leaves_nothing_half_written(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "x.txt").write_text("half")
        raise SourceError("no licence", file="a")

    with pytest.raises(SourceError), open_run(tmp_path / "run", command="c", config=Job()) as run:
        run.step("drafts", key={}, work=work)
    assert not (tmp_path / "run" / "outputs" / "drafts").exists()
    assert events(tmp_path / "run")[-1] == "failed"


def test_a_kill_while_an_outdated_step_is_replaced_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(folder: Path) -> None:
        for name in "abc":
            (folder / name).write_text(name)

    def job(key: str) -> Path:
        with open_run(tmp_path / "run", command="c", config=Job()) as run:
            return run.step("drafts", key={"in": key}, work=work)

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if (Path(path) / "manifest.json").is_file():
            (Path(path) / "b").unlink()
            raise KeyboardInterrupt
        remove(path, ignore_errors=ignore_errors)

    job("old")
    remove = shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            job("new")
    folder = job("new")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c", "manifest.json"]


@pytest.mark.parametrize("torn", ["{", '{"time": "20'])
def test_a_line_torn_by_a_kill_spoils_no_other(tmp_path: Path, torn: str) -> None:
    with open_run(tmp_path, command="c", config=Job()):
        pass
    (tmp_path / "journal.jsonl").write_text(torn)
    with open_run(tmp_path, command="c", config=Job()):
        pass
    first, *rest = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert first == torn
    assert [json.loads(line)["event"] for line in rest] == ["opened", "finished"]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_run_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json: is damaged"), open_run(tmp_path, command="c", config=Job()):
        pass


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_file_where_the_run_folder_should_be_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="give another --out"), open_run(tmp_path / name, command="c", config=Job()):
        pass


def test_another_config_or_command_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path, command="train sft", config=Job()):
        pass
    with pytest.raises(RunError, match="another config"), open_run(tmp_path, command="train sft", config=Job(seed=1)):
        pass
    with (
        pytest.raises(RunError, match="belongs to `spinemed train sft`"),
        open_run(tmp_path, command="x", config=Job()),
    ):
        pass


def test_a_folder_with_other_files_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(RunError, match=r"thesis.docx"), open_run(tmp_path, command="c", config=Job()):
        pass
    assert not (tmp_path / "config.yaml").exists()


CHILD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from spinemed.config import Config
    from spinemed.run import open_run

    class Job(Config):
        seed: int = 0

    def slow(folder):
        (folder / "half").write_text("half")
        print("working", flush=True)
        time.sleep(60)

    with open_run(sys.argv[1], command="c", config=Job()) as run:
        run.step("first", key={}, work=lambda folder: (folder / "x").write_text("x") and None)
        run.step("second", key={}, work=slow)
    """
)


def test_a_second_process_is_refused_and_a_killed_run_resumes(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        with pytest.raises(RunError, match="another process"), open_run(tmp_path / "run", command="c", config=Job()):
            pass
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    with open(tmp_path / "run" / "journal.jsonl", "ab") as stream:
        stream.write(b'{"torn')
    done = []
    with open_run(tmp_path / "run", command="c", config=Job()) as run:
        run.step("first", key={}, work=lambda folder: done.append("first"))
        second = run.step("second", key={}, work=lambda folder: done.append("second"))
    assert done == ["second"]
    assert sorted(path.name for path in second.iterdir()) == ["manifest.json"]
    lines = (tmp_path / "run" / "journal.jsonl").read_bytes().splitlines()
    assert sum(line.startswith(b'{"time"') and line.endswith(b"}") for line in lines) == len(lines) - 1


def test_outputs_hold_no_clock_time(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        with open_run(tmp_path / name, command="c", config=Job()) as run:
            run.step("s", key={"k": 1}, work=lambda folder: {"n": (folder / "x").write_text("x")})
        digests.append((tmp_path / name / "outputs" / "s" / "manifest.json").read_bytes())
    assert digests[0] == digests[1]
