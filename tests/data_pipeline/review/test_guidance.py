"""What reviewers want told reaches the model that revises, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.config import BuildConfig
from data_pipeline.criteria.apply import load_criteria
from data_pipeline.guidance import read_guidance
from data_pipeline.records import Exchange
from data_pipeline.writers.prompts import load_prompts
from spinemed.config import ConfigFaults, load_config
from spinemed.errors import ConfigError, ReadError
from spinemed.tables import read_jsonl, read_manifest

GUIDANCE = "criteria:\n  question_mark: Ask as a ward round would.\nprompts:\n  revise_open.en: Revise as a surgeon.\n"


def test_sentences_and_system_parts_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "guidance.yaml").write_text(GUIDANCE)
    found = read_guidance(tmp_path / "guidance.yaml")
    mark, other = load_criteria()["question_mark"], load_criteria()["plain_language"]
    assert found.criterion(mark).sentence == "Ask as a ward round would."
    assert (found.criterion(mark).check, found.criterion(other)) == (mark.check, other)
    prompt = load_prompts()["revise", "open", "en"]
    changed = found.prompt(prompt)
    assert (changed.system, changed.user, changed.name) == ("Revise as a surgeon.", prompt.user, prompt.name)
    assert changed.sha256 != prompt.sha256
    assert found.prompt(load_prompts()["revise", "open", "zh"]) == load_prompts()["revise", "open", "zh"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criteria: {no_such: x}\n", "'no_such' does not exist"),
        ("prompts: {draft_open.en: x}\n", "'draft_open.en' does not exist"),
        ("sentences: {}\n", "is no known field"),
        ("[", "YAML"),
    ],
)
def test_guidance_that_names_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "guidance.yaml").write_text(text)
    with pytest.raises((ConfigError, ReadError), match=said):
        read_guidance(tmp_path / "guidance.yaml")


def test_the_rules_refuse_what_they_would_ignore(tmp_path: Path, write_config: Any, entries: Any) -> None:
    config = write_config(tmp_path, [entries["openstax"]], guidance="guidance.yaml")
    with pytest.raises((ConfigError, ConfigFaults), match="reads no sentences"):
        load_config(config, BuildConfig)


def test_the_model_is_told_and_the_run_says_so(
    tmp_path: Path, root: Path, write_config: Any, entries: Any, run_build: Callable[[Path, Path], Path]
) -> None:
    (tmp_path / "guidance.yaml").write_text(GUIDANCE)
    script = root / "tests" / "data_pipeline" / "writing_server.py"
    server = subprocess.Popen(
        [sys.executable, str(script), str(root), "--latency", "0"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().split()[1])
        settings = {"url": f"http://127.0.0.1:{port}/v1", "model": "by-content", "max_in_flight": 4}
        model = {
            "documents": {"open": 0.2}, "figures": {"open": 0}, "studies": {"open": 0}, "languages": ["en"],
            "forms": ["text"], "server": settings,
        }  # fmt: skip
        config = write_config(tmp_path, [entries["openstax"]], writer="openai", model=model, guidance="guidance.yaml")
        run = run_build(config, tmp_path / "run")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    guidance = read_guidance(tmp_path / "guidance.yaml")
    assert read_manifest(run / "outputs" / "revised", "revised")["guidance"] == guidance.told()
    exchanges = list(read_jsonl(run / "outputs" / "revised" / "exchanges.jsonl", Exchange))
    wanted = guidance.prompt(load_prompts()["revise", "open", "en"]).sha256
    assert {row.prompt_sha256 for row in exchanges} == {wanted}
    logs = "".join(file.read_text() for file in sorted((run / "scratch" / "requests").rglob("*.jsonl")))
    assert json.dumps("Ask as a ward round would.")[1:-1] in logs
    assert "Revise as a surgeon." in logs
