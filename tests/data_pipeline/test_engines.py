"""Whoever makes the shards, and whoever is killed while they are made: the same bytes, and nothing done twice."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_pipeline.records import Ties
from data_pipeline.shards.engines import Crew
from data_pipeline.shards.fingerprint import code_files, shaping_versions
from data_pipeline.shards.shard import facts_of, job, join_tables
from data_pipeline.shards.store import TableStore, group_sizes
from spinemed import cluster
from spinemed.chat import Budget, BudgetError, Usage, open_ledger, start_ledger
from spinemed.errors import ConfigError, RunError, SourceError
from spinemed.tables import read_records, write_records

SMALL = {"shard_items": 40}


def digests(run: Path) -> dict[str, str]:
    outputs = run / "outputs"
    return {
        path.relative_to(outputs).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(outputs.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, write_config: Callable[..., Path], entries: Any) -> Path:
    """Some text and enough phantoms for several shards."""
    sources = [entries["medquad"], {**entries["phantom"], "options": {**entries["phantom"]["options"], "count": 30}}]
    return write_config(tmp_path_factory.mktemp("engines"), sources, **SMALL)


@pytest.fixture(scope="module")
def alone(config: Path, run_build: Callable[[Path, Path], Path]) -> Path:
    """The same by one process that nobody disturbs."""
    return run_build(config, config.parent / "alone")


def command(config: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "spinemed", "data", "run", str(config), "--out", str(out), *options]


def test_two_ray_workers_give_the_same_bytes(root: Path, config: Path, alone: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(config, tmp_path / "run", "--engine", "ray", "--workers", "2"),
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert digests(tmp_path / "run") == digests(alone)
    assert not list((tmp_path / "run" / "scratch" / "shards").iterdir()), "shards of finished stages are removed"


def test_a_cluster_that_nobody_answers_for_is_an_error_in_good_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself tries for two minutes and then ends the process."""
    monkeypatch.setattr(cluster, "_ANSWER_S", 2.0)
    jobs = [job(tmp_path / "home", 0, 1, no_work, 0, 0)]
    with Crew("ray", 1, "127.0.0.1:9") as crew, pytest.raises(RunError, match="no Ray cluster answers") as caught:
        crew.make(jobs)
    assert caught.value.field == "--address"
    with pytest.raises(ConfigError, match="is for Ray clusters"):
        Crew("local", 2, "auto")


def no_work(payload: int, folder: Path) -> dict[str, Any]:
    return {}


def test_a_killed_worker_is_replaced_and_a_killed_run_resumed(
    root: Path, config: Path, alone: Path, tmp_path: Path
) -> None:
    program = command(config, tmp_path / "run", "--workers", "2")
    shards = tmp_path / "run" / "scratch" / "shards"
    child = subprocess.Popen(program, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = _a_worker(child, shards / "drafts")
    worker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 120
    while not (shards / "revised").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.poll() is None, "the run goes on without the worker that was killed"
    child.send_signal(signal.SIGKILL)
    child.wait()
    again = subprocess.run(program, cwd=root, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    assert digests(tmp_path / "run") == digests(alone)


def _a_worker(child: subprocess.Popen[bytes], stage: Path) -> psutil.Process:
    """One of the processes that work on a stage."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if stage.exists():
            for process in psutil.Process(child.pid).children(recursive=True):
                if "spawn_main" in " ".join(process.cmdline()):
                    return process
        time.sleep(0.01)
    raise AssertionError("no worker was started")


def test_a_finished_shard_is_never_made_again_and_an_error_leaves_none(tmp_path: Path) -> None:
    made: list[int] = []

    def work(payload: int, folder: Path) -> dict[str, Any]:
        if payload == 2 and len(made) < 3:
            raise SourceError("is not ready", field="payload", cure="try again")
        made.append(payload)
        (folder / "value").write_text(str(payload))
        return {"payload": payload}

    jobs = [job(tmp_path / "home", number, 1, work, number, number) for number in range(4)]
    with pytest.raises(SourceError, match="is not ready"):
        Crew().make(jobs)
    (tmp_path / "home" / ".00002-torn").mkdir()  # as a killed worker leaves it
    made.append(-1)
    folders = Crew().make(jobs)
    assert made == [0, 1, -1, 2, 3]
    assert [facts_of(folder)["payload"] for folder in folders] == [0, 1, 2, 3]
    assert len(list((tmp_path / "home").iterdir())) == 4
    other = [job(tmp_path / "home", 0, 1, work, 9, 9)]
    Crew().make(other)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [other[0].name], "shards of other contents go"


def test_joined_tables_keep_order_masks_and_row_groups(tmp_path: Path) -> None:
    rows = [Ties(id=f"i{n}", source_id="s", keys=(f"k{n % 7}",)) for n in range(50)]
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_records(files[0], Ties, rows[:30])
    write_records(files[1], Ties, rows[30:])
    assert join_tables(tmp_path / "all.parquet", Ties, files, rows=20) == 50
    assert group_sizes(tmp_path / "all.parquet") == [20, 20, 10]
    assert list(read_records(tmp_path / "all.parquet", Ties)) == rows
    assert join_tables(tmp_path / "few.parquet", Ties, files, rows=20, once="source_id") == 1
    store = TableStore(tmp_path / "all.parquet", Ties, "id", ("source_id",))
    assert [row.id for row in store.take(store.find(["i44", "i3", "absent"]))] == ["i3", "i44"]
    assert len(store.where("source_id", ["s"])) == 50


def test_one_budget_holds_for_all_clients_and_the_dead_count_as_spent(tmp_path: Path) -> None:
    start_ledger(tmp_path)
    budget = Budget(tokens=100)
    one, other = (open_ledger(budget, tmp_path, time.time()) for _ in range(2))
    assert one is not None
    assert other is not None
    asyncio.run(one.reserve(Usage(60, 0, 0.0)))
    with pytest.raises(TimeoutError):  # it waits, for the first may settle for less
        asyncio.run(asyncio.wait_for(other.reserve(Usage(60, 0, 0.0)), 0.3))
    asyncio.run(one.settle(Usage(60, 0, 0.0), Usage(10, 0, 0.0)))
    asyncio.run(other.reserve(Usage(60, 0, 0.0)))
    other.abandon()  # type: ignore[attr-defined]
    with pytest.raises(BudgetError, match="70 tokens are spent"):
        asyncio.run(one.reserve(Usage(31, 0, 0.0)))
    asyncio.run(one.reserve(Usage(30, 0, 0.0)))
    one.close()
    assert open_ledger(Budget(), tmp_path, 0.0) is None, "nothing is limited, so nothing is counted"


def test_the_slurm_file_is_a_script_that_bash_reads(root: Path) -> None:
    file = root / "configs" / "launch" / "data_run.slurm"
    subprocess.run(["bash", "-n", str(file)], check=True)
    assert "spinemed data run" in file.read_text()
    assert "--engine ray" in file.read_text()


def test_another_list_or_another_library_is_another_key(root: Path) -> None:
    """A run that was made with a shorter list of injections is not taken for finished."""
    named = {file.name for file in code_files()}
    assert {"injections.txt", "unsafe.txt", "licences.yaml", "morphometry.csv", "run.py", "facts.py"} <= named
    assert all(file.is_file() for file in code_files())
    assert "README.md" not in named
    pages = root / "data_pipeline" / "review"
    assert not [file for file in code_files() if file.is_relative_to(pages)], "a page shapes no row"
    assert not [
        file
        for file in (root / "data_pipeline").rglob("*.py")
        if not file.is_relative_to(pages) and "data_pipeline.review." in file.read_text()
    ], "so that no stage may use one"
    assert {"pypdfium2", "pydicom", "nibabel", "lxml", "numpy", "pyarrow", "pillow"} <= shaping_versions().keys()


def test_a_budget_of_time_alone_needs_no_sums(tmp_path: Path) -> None:
    one = open_ledger(Budget(seconds=60), tmp_path, time.time())
    assert one is not None
    asyncio.run(one.reserve(Usage(60, 0, 0.0)))
    one.close()
    late = open_ledger(Budget(seconds=60), tmp_path, time.time() - 61)
    assert late is not None
    with pytest.raises(BudgetError, match="time budget"):
        asyncio.run(late.reserve(Usage(1, 0, 0.0)))
    late.close()
