"""Every bash block of every README, run from a folder that holds nothing but samples and configs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spinemed.documentation import bash_blocks

pytestmark = pytest.mark.acceptance

ROOMS = ("", "spinemed", "data_pipeline", "train", "bench", "samples", "configs", "examples")
STANDING = "tests/acceptance/test_standing_house.py"


def readmes(root: Path) -> list[Path]:
    found = [root / "README.md"]
    for room in ROOMS[1:]:
        found += sorted((root / room).rglob("README.md"))
    return found


def _trained_by_another(block: str, others: str) -> bool:
    """Whether every config of a long block is run by another acceptance test, as a name or as `lifter_{kind}`."""
    configs = re.findall(r"configs/([\w/]+)\.yaml", block)
    made = [re.sub(r"\{\w+\}", r"\\w+", name) for name in re.findall(r"configs/([\w/{}]+)\.yaml", others)]
    return bool(configs) and all(name in others or any(re.fullmatch(one, name) for one in made) for name in configs)


def test_every_readme_command_runs(root: Path, work: Path, record: Callable[..., None]) -> None:
    done = work / "readme_commands.json"
    seconds: dict[str, float] = json.loads(done.read_bytes()) if done.is_file() else {}
    standing = (root / STANDING).read_text(encoding="utf-8")
    own = Path(__file__).name
    others = "".join(
        file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("*.py") if file.name != own
    )
    commands, elsewhere, failed = 0, 0, []
    for page in readmes(root):
        for block in bash_blocks(page.read_text(encoding="utf-8")):
            place = f"{page.relative_to(root)}:{block.line}"
            if block.installs:  # these make the environment that we run in; a bare clone runs them
                made = [line.split()[1] for line in block.commands if line.startswith("make ")]
                assert all(f"make {target}" in standing for target in made), f"{place}: {STANDING} does not run it"
                elsewhere += len(block.commands)
                continue
            if block.takes_minutes and _trained_by_another(block.text, others):
                elsewhere += len(block.commands)
                continue
            commands += len(block.commands)
            key = f"{place} {block.text}"
            if key in seconds:
                continue
            folder = work / "readme" / place.replace("/", "-").replace(":", "-")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in ("samples", "configs", "examples"):
                (folder / name).symlink_to(root / name)
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            start = time.monotonic()
            ended = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path}, check=False,
            )  # fmt: skip
            if ended.returncode:
                failed.append(f"{place}: {ended.stderr.strip().splitlines()[-1:]}")
                continue
            seconds[key] = round(time.monotonic() - start, 1)
            done.write_text(json.dumps(seconds))
    assert commands >= 15
    slowest = max(seconds.items(), key=lambda item: item[1])
    record(
        "One product", 40, "commands in bash blocks of READMEs, run from a folder with samples and configs alone",
        asked="all run", measured=f"{commands} commands, {len(failed)} blocks failed", met=not failed,
        command="pytest -m acceptance tests/acceptance/test_documentation.py",
        note=f"{elsewhere} more that install or train for long, which other acceptance tests run; slowest block "
        f"{slowest[0].split()[0]}, {slowest[1] / 60:.1f} min",
    )  # fmt: skip
    assert failed == []
