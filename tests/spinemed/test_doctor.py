"""`spinemed doctor`: what is there, what is absent with the line that installs it, and what to mend."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from spinemed.doctor import examine
from spinemed.doctor import parts as parts_module
from spinemed.doctor.problems import of_extensions


def run_doctor(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spinemed", "doctor", *options],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **settings},
    )  # fmt: skip


def test_a_whole_installation_works_and_says_what_it_is_made_of(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["works"] is True
    required = {each["name"]: each for each in told["required"]}
    assert {"torch", "transformers", "numpy", "nibabel"} <= set(required)
    assert all(each["fits"] for each in required.values())
    assert {each["name"] for each in told["resources"]} == {"configs", "samples"}
    assert all(each["sha256"] and not each["faults"] for each in told["resources"])
    assert told["machine"]["cores"] >= 1
    for extra in told["extras"]:
        assert extra["complete"] or f"[{extra['name']}]" in extra["install"], "an absent part names the line to type"


def test_plain_lines_in_a_pipe_hold_no_secret_and_no_host(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, OPENAI_API_KEY="sk-planted-7731", HF_TOKEN="hf_planted-7731")
    assert done.returncode == 0, done.stderr
    assert "The base works" in done.stdout
    assert "planted" not in done.stdout + done.stderr
    assert len(socket.gethostname()) < 4 or socket.gethostname() not in done.stdout


def test_a_file_that_hides_an_application_is_named_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('not ours')\n")
    done = run_doctor(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "train.py" in done.stdout
    assert "not ours" not in done.stdout


def test_a_missing_package_and_a_changed_sample_are_broken(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = metadata.version

    def without_nibabel(name: str) -> str:
        if name.lower() == "nibabel":
            raise metadata.PackageNotFoundError(name)
        return plain(name)

    shutil.copytree(samples, tmp_path / "samples")
    sample = tmp_path / "samples" / "text" / "medquad" / "2_GARD_QA_0000161.xml"
    sample.write_bytes(sample.read_bytes() + b" ")
    monkeypatch.setattr(metadata, "version", without_nibabel)
    monkeypatch.setattr(parts_module, "samples_dir", lambda: tmp_path / "samples")
    report = examine(tmp_path)
    assert not report.works
    errors = " ".join(problem.what for problem in report.problems if problem.weight == "error")
    assert "nibabel" in errors
    assert sample.name in errors
    assert all(problem.cure for problem in report.problems)


def test_a_lock_that_a_killed_compilation_left_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    now = lock.stat().st_mtime
    assert list(of_extensions(tmp_path, now + 30)) == [], "somebody may be compiling"
    (problem,) = of_extensions(tmp_path, now + 3600)
    assert problem.weight == "warning"
    assert "deepspeed_shm_comm" in problem.what
    assert problem.cure == f"rm -r {lock.parent}"
