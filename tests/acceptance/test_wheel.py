"""The wheel in an environment that held nothing but pip: installation, every extra, and each room's commands.

Convention: the environment is made new for each run and removed after it; SpineMed is built from a clone of the commit,
so that files which are not committed cannot help. `torch` is installed first, as the README tells users of a machine
without a GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ISSUE = "One product"
COMMAND = "pytest -m acceptance tests/acceptance/test_wheel.py"
TORCH = "torch==2.13.0"
EXTRAS = {
    "review": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg", "argon2", "data_pipeline.review.web.app"),
    "tools": ("mcp", "spinemed.tools.cli"),
    "ray": ("ray", "data_pipeline.cli"),
    "deepspeed": ("deepspeed", "train.cli"),
    "engines": ("inspect_ai", "openpyxl", "bench.cli"),
    "docs": ("mkdocs", "material", "mkdocstrings"),
}
"""What must import after each extra; the last where SpineMed has a module that needs it."""
Record = Callable[..., None]


def outside() -> dict[str, str]:
    """Our environment without what leads to the checkout or to another environment."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def empty(place: Path) -> Path:
    """A new environment with pip alone; its Python."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    subprocess.run([str(base), "-m", "venv", str(place)], check=True, cwd=place.parent, env=outside())
    python = place / "bin" / "python"
    held = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"],
        capture_output=True, check=True, cwd=place.parent, env=outside(),
    )  # fmt: skip
    assert {one["name"] for one in json.loads(held.stdout)} <= {"pip", "setuptools"}
    return python


def pip(python: Path, *arguments: str) -> tuple[float, str]:
    """Seconds that pip took, and its last words; AssertionError where it fails."""
    start = time.monotonic()
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, check=False, cwd=python.parent.parent.parent, env=outside(),
    )  # fmt: skip
    assert done.returncode == 0, f"pip install {arguments}: {done.stderr[-3000:]}"
    return time.monotonic() - start, (done.stdout.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def walks(root: Path, load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(root / "tests" / "from_wheel.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder far from the checkout, removed at the end: it grows to several GiB."""
    folder = tmp_path_factory.mktemp("outside")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def wheel(root: Path, place: Path, walks: ModuleType) -> Path:
    clone = place / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(root), str(clone)], check=True)
    made = Path(walks.build_wheel(clone, place))
    lost, _ = walks.files_lost(clone, made)
    assert lost == []
    shutil.rmtree(clone)
    return made


@pytest.fixture(scope="module")
def installed(place: Path, wheel: Path, walks: ModuleType, record: Record) -> Any:
    """The wheel and its dependencies by pip alone."""
    python = empty(place / "env")
    torch_s, _ = pip(python, TORCH)
    wheel_s, _ = pip(python, str(wheel))
    (place / "work").mkdir()
    found = walks.Installed(python, place / "work")
    where = Path(found.run("-c", "import spinemed; print(spinemed.__file__)").stdout.strip())
    assert where.is_relative_to(place / "env")
    size = sum(path.stat().st_size for path in (place / "env").rglob("*") if path.is_file() and not path.is_symlink())
    record(
        ISSUE, 30, "the wheel installed into an empty environment", asked="installs",
        measured=f"{TORCH} {torch_s:.0f} s, then the wheel of {wheel.stat().st_size / 1024**2:.1f} MiB and its "
        f"dependencies {wheel_s:.0f} s; {size / 1024**3:.1f} GiB on disk",
        met=True, command=COMMAND, note="seconds are those of pip with this machine's network and load",
    )  # fmt: skip
    return found


def test_rooms_run_from_the_base_alone(installed: Any, walks: ModuleType, record: Record) -> None:
    """Everything but review, which is an extra: it says so in one line, with what to install."""
    took = {}
    for name, walk in walks.WALKS.items():
        if name != "review":
            start = time.monotonic()
            walk(installed)
            took[name] = time.monotonic() - start
    said = installed.spinemed("review", "serve", "quick/data", expect=2).stderr.strip()
    record(
        ISSUE, 31, "rooms run from the wheel without any extra, no checkout in reach",
        asked="quickstart, verse, vertebra, motion, doctor",
        measured=", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items()),
        met=True, command=COMMAND,
        note=f"kernels are compiled in these times; `spinemed review` without its extra says: {said}",
    )  # fmt: skip
    assert "spinemed[review]" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_and_imports(extra: str, installed: Any, wheel: Path, place: Path) -> None:
    took, _ = pip(installed.python, f"spinemed[{extra}] @ {wheel.as_uri()}")
    for module in EXTRAS[extra]:
        installed.run("-c", f"import {module}")
    facts = json.loads(installed.spinemed("doctor", "--json").stdout)
    assert next(one for one in facts["extras"] if one["name"] == extra)["complete"]
    (place / f"extra-{extra}.json").write_text(json.dumps({"seconds": took}))


def test_all_extras_together_leave_the_base_whole(installed: Any, place: Path, record: Record) -> None:
    took = {extra: json.loads((place / f"extra-{extra}.json").read_bytes())["seconds"] for extra in EXTRAS}
    done = subprocess.run(
        [str(installed.python), "-m", "pip", "check"], capture_output=True, text=True, check=False, env=outside(),
        cwd=place,
    )  # fmt: skip
    broken = [line for line in done.stdout.splitlines() if "No broken requirements" not in line]
    record(
        ISSUE, 32, "extras installed one after the other and imported", asked="every extra installs",
        measured=", ".join(f"{extra} {seconds:.0f} s" for extra, seconds in took.items()) + "; `pip check`: "
        + ("; ".join(broken) or "no broken requirements"),
        met=not broken, command=COMMAND, note="vllm is asked for in an environment of its own, in the next row but one",
    )  # fmt: skip
    assert broken == []


def test_review_runs_once_its_extra_is_there(installed: Any, walks: ModuleType, record: Record) -> None:
    start = time.monotonic()
    came = walks.walk_review(installed)
    record(
        ISSUE, 33, "review from the wheel with its extra: a user added, the server asked, told to stop",
        asked="runs", measured=f"{came}, {time.monotonic() - start:.0f} s", met=True, command=COMMAND,
    )  # fmt: skip


def test_vllm_resolves_in_an_environment_of_its_own(wheel: Path, place: Path, record: Record) -> None:
    """Resolved, not installed: 10 GiB for a GPU. Its ranges against ours are what can break."""
    python = empty(place / "vllm")
    start = time.monotonic()
    done = subprocess.run(
        [
            str(python), "-m", "pip", "install", "--disable-pip-version-check", "--dry-run", "--quiet", "--report",
            str(place / "vllm.json"), f"spinemed[vllm] @ {wheel.as_uri()}",
        ],
        capture_output=True, text=True, check=False, cwd=place, env=outside(), timeout=1800,
    )  # fmt: skip
    if done.returncode == 0:
        chosen = {one["metadata"]["name"].lower(): one["metadata"]["version"]
                  for one in json.loads((place / "vllm.json").read_bytes())["install"]}  # fmt: skip
        said = ", ".join(f"{name} {chosen[name]}" for name in ("vllm", "torch", "transformers", "numpy"))
        said = f"resolves: {said}; {len(chosen)} packages"
    else:
        said = "does not resolve: " + " ".join(done.stderr.split())[-400:]
    record(
        ISSUE, 34, "the vllm extra resolved by pip in an environment of its own, nothing installed",
        asked="resolves", measured=f"{said}; {time.monotonic() - start:.0f} s", met=done.returncode == 0,
        command=COMMAND,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
