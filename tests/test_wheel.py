"""The wheel carries what the checkout holds, and its rooms run where no checkout can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spinemed.errors import MissingPartError


@pytest.fixture(scope="module")
def walks(root: Path, load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """`from_wheel.py` beside this file."""
    return load_script(root / "tests" / "from_wheel.py")


@pytest.fixture(scope="module")
def wheel(root: Path, walks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(walks.build_wheel(root, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def installed(wheel: Path, walks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SpineMed only from the wheel; its dependencies come from the environment of the tests."""
    place = tmp_path_factory.mktemp("outside")
    venv.create(place / "env", with_pip=False)
    site = next((place / "env" / "lib").glob("python*/site-packages"))
    here = {Path(entry) for entry in sys.path if entry.endswith("site-packages")}
    (site / "dependencies.pth").write_text("\n".join(str(path) for path in here) + "\n")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site),
            str(wheel),
        ],
        check=True,
    )  # fmt: skip
    (place / "work").mkdir()
    return walks.Installed(place / "env" / "bin" / "python", place / "work", compiled=False)


def test_every_file_of_the_packages_travels(root: Path, wheel: Path, walks: ModuleType) -> None:
    """Templates, styles, migrations, prompts, YAML, configs and samples: without one of them a command fails later."""
    lost, compared = walks.files_lost(root, wheel)
    assert lost == []
    assert {".py", ".j2", ".css", ".js", ".yaml", ".csv", ".mako", ".md", ".gz", ".safetensors"} <= set(compared)
    assert sum(compared.values()) > 700


def test_a_file_that_does_not_travel_is_noticed(root: Path, wheel: Path, walks: ModuleType, tmp_path: Path) -> None:
    for name in (*walks.PACKAGES, *walks.RESOURCES):
        (tmp_path / name).mkdir()
    (tmp_path / "train" / "forgotten.yaml").write_text("a: 1\n")
    (tmp_path / "train" / "cli.py").write_text("# other bytes\n")
    lost, _ = walks.files_lost(tmp_path, wheel)
    assert lost == ["train/cli.py has other bytes in the wheel", "train/forgotten.yaml is not in the wheel"]


def test_wheel_runs_outside_the_checkout(root: Path, installed: Any, walks: ModuleType) -> None:
    """From sources to a scored page, a login page, scores of masks, grades, simulated motion, the doctor's word."""
    where = installed.run("-c", "import spinemed, train; print(spinemed.__file__, train.__file__, sep='\\n')").stdout
    site = str(installed.python.parent.parent)
    assert [line.startswith(site + os.sep) for line in where.splitlines()] == [True, True]
    for name, walk in walks.WALKS.items():
        walk(replace(installed, compiled=True) if name == "quickstart" else installed)


@pytest.mark.parametrize(("module", "package"), [("uvicorn", "uvicorn"), ("argon2", "argon2-cffi")])
def test_review_without_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    from typer.testing import CliRunner

    from data_pipeline.review import cli

    def absent(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(cli, "_open", absent)
    done = CliRunner().invoke(cli.app, ["serve", "--database", "sqlite:///none.db"])
    assert isinstance(done.exception, MissingPartError)
    assert package in str(done.exception)
    assert done.exception.cure == 'pip install "spinemed[review]"'
    assert CliRunner().invoke(cli.app, ["serve", "--help"]).exit_code == 0
