"""The command line: fast help, no imports before they are needed, one-line errors, nobody's train.py run by mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spinemed.errors import ConfigError, MissingPartError, SpineMedError

Spinemed = Callable[..., subprocess.CompletedProcess[str]]


def test_help_lists_every_application_with_its_sentence(spinemed: Spinemed) -> None:
    page = spinemed("--help")
    assert page.returncode == 0
    for name in ("bench", "data", "phantom", "quickstart", "train"):
        line = next(line for line in page.stdout.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 4, f"no sentence for {name}"
    assert "Research use only" in page.stdout


def test_help_imports_no_application_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spinemed.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'pandas', 'pyarrow', 'data_pipeline.cli', "
        "'train.cli', 'bench.cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_file_that_shadows_an_application_is_named_and_not_run(tmp_path: Path, root: Path) -> None:
    (tmp_path / "train.py").write_text("print('the wrong train')\n")
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", "train", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / "train.py") in done.stderr
    assert "Cure: rename or move" in done.stderr
    assert "the wrong train" not in done.stdout


def test_help_runs_no_file_that_shadows_an_application(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('the wrong train')\n")
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "the wrong train" not in done.stdout
    assert "hidden by" in done.stdout


def test_unknown_command_exits_2(spinemed: Spinemed) -> None:
    assert spinemed("trian").returncode == 2


def test_level_reads_what_people_write(spinemed: Spinemed) -> None:
    done = spinemed("level", "第五腰椎", "Th7 und L4/5 und S1 root", "T2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "第五腰椎\tvertebra L5",
        "Th7\tvertebra T7",
        "L4/5\tdisc L4/5",
        "S1\tnerve root S1",
        "T2\tvertebra T2 (in doubt: T1 and T2 without a word beside them may be MR weightings)",
    ]


def test_a_text_without_a_level_is_said_in_one_line_and_loses_nothing(spinemed: Spinemed) -> None:
    done = spinemed("level", "L9", "L3")
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["L9\tno level", "L3\tvertebra L3"]
    assert done.stderr.startswith("spinemed: field 'TEXTS': no level of the spine in 'L9'. Cure: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SpineMedError("is empty", file="a.yaml"), "a.yaml: is empty"),
        (
            ConfigError("is absent", file="a.yaml", line=3, field="x", cure="add it"),
            "a.yaml:3: field 'x': is absent. Cure: add it",
        ),
        (SpineMedError("two\nlines", field="x"), "field 'x': two lines"),
        (SpineMedError("腰4\x1b[2J", file="a\u202eb", cure="\x07do"), "a\\u202eb: 腰4\\x1b[2J. Cure: \\x07do"),
        (
            MissingPartError("the review app", "fastapi", "review"),
            "the review app needs the package 'fastapi', which is not installed. "
            'Cure: pip install "spinemed[review]"',
        ),
    ],
)
def test_errors_say_where_what_and_cure_in_one_line(error: SpineMedError, line: str) -> None:
    assert str(error) == line
