"""A live round from its opening to a stranger's check, with the real generator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.acceptance


def test_a_stranger_makes_the_questions_again(root: Path, tmp_path: Path, spinemed: Callable[..., Any]) -> None:
    config = yaml.safe_load((root / "configs" / "bench" / "live.yaml").read_text()) | {"count": 20}
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(config))

    def run(*words: str | Path) -> str:
        done = spinemed("bench", *words, cwd=root)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    run("round", "open", tmp_path / "live.yaml", "--out", tmp_path / "round")
    seed = json.loads((tmp_path / "round" / "secret.json").read_text())["seed"]
    run("live", tmp_path / "live.yaml", "--set", f"seed={seed}", "--out", tmp_path / "samples")
    run("round", "reveal", tmp_path / "round", "--samples", tmp_path / "samples")
    public = tmp_path / "public"
    public.mkdir()
    for name in ("commitment.json", "reveal.json"):
        shutil.copyfile(tmp_path / "round" / name, public / name)
    assert "20 questions made again, same hash" in run("round", "verify", public, "--config", tmp_path / "live.yaml")
