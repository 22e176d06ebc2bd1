"""What starts a training: shell files that parse, DeepSpeed files that DeepSpeed takes, an image of this project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "configs" / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
ZERO = {"zero2.json": 2, "zero3.json": 3, "zero3_offload.json": 3}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_files_parse_and_name_commands_and_configs_that_exist(script: Path, root: Path) -> None:
    from typer.main import get_command

    from train.cli import app

    assert len(SCRIPTS) == 4
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"spinemed train (\w+)", text))
    assert named
    assert named <= known
    for file in re.findall(r"configs/\S+\.yaml", text):
        assert (root / file).is_file(), file


def test_deepspeed_takes_its_files_as_the_trainer_fills_them(tmp_path: Path) -> None:
    from train.engines import read_deepspeed
    from train.estimate import deepspeed_facts

    for name, stage in ZERO.items():
        facts = deepspeed_facts(LAUNCH / name)
        assert facts.stage == stage
        assert facts.offload_optimizer == facts.offload_weights == ("offload" in name)
        # "auto" stands where transformers writes what the stage's schedule says.
        filled = json.loads(json.dumps(read_deepspeed(LAUNCH / name)).replace('"auto"', "1"))
        (tmp_path / name).write_text(json.dumps({**filled, "bf16": {"enabled": True}}))
    code = (
        "import json, sys\n"
        "from deepspeed.runtime.config import DeepSpeedConfig\n"
        "for file in sys.argv[1:]:\n"
        "    made = DeepSpeedConfig(json.load(open(file)))\n"
        "    zero = made.zero_config\n"
        "    print('made', int(zero.stage), zero.offload_optimizer is not None, made.bfloat16_config.enabled)\n"
    )
    files = [tmp_path / name for name in ZERO]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made = [line for line in done.stdout.splitlines() if line.startswith("made")]
    assert made == ["made 2 False True", "made 3 False True", "made 3 True True"]


def test_accelerate_file_is_read_by_accelerate() -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    file = LAUNCH / "accelerate_ddp.yaml"
    assert file.read_text().startswith("# ")
    made = ClusterConfig.from_yaml_file(str(file))
    assert made.distributed_type == "MULTI_GPU"
    assert made.num_processes == 8
    assert set(yaml.safe_load(file.read_text())) <= set(vars(made))


def test_the_image_installs_extras_and_bounds_of_the_project(root: Path) -> None:
    text = (LAUNCH / "Containerfile").read_text()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"/opt/source\[([a-z,]+)\]", text)
    assert extras == ["deepspeed"]
    assert set(extras[0].split(",")) <= set(project["optional-dependencies"])
    asked = re.findall(r'pip install --no-cache-dir "([a-z]+[^"/]*)"', text)
    assert asked
    assert set(asked) <= set(project["dependencies"])
    assert "COPY . /opt/source" in text


def test_air_gapped_recipe_names_files_that_exist(root: Path) -> None:
    page = (LAUNCH / "README.md").read_text()
    for name in re.findall(r"`([\w.]+\.(?:sh|yaml|sbatch|json))`", page):
        assert (LAUNCH / name).is_file(), name
    for file in re.findall(r"configs/train/\S+\.yaml", page):
        assert (root / file).is_file(), file
