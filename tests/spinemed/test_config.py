"""Configs: every fault is named with its line, and nothing misspelt is accepted."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from spinemed.config import Config, ConfigFaults, ConfigPath, dump_config, load_config
from spinemed.errors import ConfigError, ReadError


class Optimizer(Config):
    learning_rate: float = 1e-3
    """Peak learning rate."""


class Job(Config):
    steps: int
    """Optimiser steps."""
    optimizer: Optimizer = Optimizer()
    """The optimiser."""
    data: ConfigPath = Path(".")
    """Folder of the release."""
    parts: list[Optimizer] = []
    """More optimisers."""


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_values_and_paths_are_read(tmp_path: Path) -> None:
    job = load_config(write(tmp_path, "steps: 3\noptimizer: {learning_rate: 2e-4}\ndata: ../x\n"), Job)
    assert (job.steps, job.optimizer.learning_rate) == (3, 2e-4)
    assert job.data == (tmp_path.parent / "x").resolve()


def test_misspelt_field_names_line_and_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "steps: 3\noptimizer:\n  learning_rat: 1.0\n"), Job)
    text = str(caught.value)
    assert "job.yaml:3" in text
    assert "optimizer.learning_rat" in text
    assert "did you mean 'learning_rate'" in text
    assert "\n" not in text


def test_misspelt_field_inside_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:3: field 'parts.0.learning_rte'.*'learning_rate'"):
        load_config(write(tmp_path, "steps: 3\nparts:\n  - learning_rte: 1.0\n"), Job)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_config(write(tmp_path, "stepz: 3\noptimizer:\n  learning_rate: fast\n"), Job)
    fields = {fault.field: fault.line for fault in caught.value.faults}
    assert fields == {"steps": None, "stepz": 1, "optimizer.learning_rate": 3}
    assert len(str(caught.value).splitlines()) == 3


def test_repeated_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands twice, first on line 1"):
        load_config(write(tmp_path, "steps: 3\nsteps: 4\n"), Job)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:[23]: is not YAML"):
        load_config(write(tmp_path, "steps: 3\ndata: [1\n"), Job)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="nowhere.yaml"):
        load_config(tmp_path / "nowhere.yaml", Job)


def test_overrides_win_and_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "steps: 3\n")
    job = load_config(path, Job, ["steps=5", "optimizer.learning_rate=1e-2"])
    assert (job.steps, job.optimizer.learning_rate) == (5, 1e-2)
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        load_config(path, Job, ["step=5"])
    with pytest.raises(ConfigError, match="is no assignment"):
        load_config(path, Job, ["steps"])


def test_a_fault_of_an_override_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "steps: 3\noptimizer:\n  learning_rate: 1.0\n")
    for override in ("steps=many", "optimizer.learning_rate=fast", "optimizer.learning_rat=1.0"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, Job, [override])
        assert str(caught.value).startswith(f"field '--set {override.partition('=')[0]}': ")
        assert "job.yaml" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("steps: 3\n? [a]\n: 1\n", "job.yaml:2: a list or mapping"), ("parts: &x\n  - *x\n", "job.yaml:.*holds itself")],
)
def test_yaml_that_no_config_can_be_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text), Job)


def test_a_dumped_config_loads_as_the_same(tmp_path: Path) -> None:
    job = load_config(write(tmp_path, "steps: 3\nparts: [{learning_rate: 1e-5}]\n"), Job)
    assert load_config(write(tmp_path, dump_config(job)), Job) == job


def test_errors_survive_the_way_back_from_a_worker(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_config(write(tmp_path, "a: 1\nb: 2\nsteps: 1\n"), Job)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
