"""The model card: what it says of data and training, and failure rates that are read, never typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.tables import read_manifest
from spinemed.vlm.load import checkpoint_hash
from train.card import card_facts, facts_before, write_card
from train.config import TrainConfig
from train.export import export_model
from train.merge import merge_adapter
from train.run import run_training

QUICK = {"steps": 2, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "save_every": 2, "log_every": 1}


@pytest.fixture(scope="module")
def trained(micro_base: Path, micro_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two stages of two steps."""
    stages = [{"name": name, "mixture": [{"release": "main"}], "schedule": QUICK, "max_tokens": 96} for name in "ab"]
    config = {"base": micro_base, "releases": {"main": micro_release}, "stages": stages, "threads": 1, "seed": 7}
    out = tmp_path_factory.mktemp("run") / "run"
    run_training(TrainConfig.model_validate(config), out)
    return out


def header(page: Path) -> dict[str, Any]:
    """The YAML header, as the Hub would read it."""
    told = yaml.safe_load(page.read_text(encoding="utf-8").split("---\n")[1])
    assert isinstance(told, dict)
    return told


def interval(value: float | None, n: int = 40, clusters: int = 30, bounds: bool = True) -> dict[str, Any]:
    low = high = None
    if bounds and value is not None:
        low, high = value - 0.125, value + 0.0625
    method = "cluster bootstrap" if bounds else "fewer than 20 clusters"
    return {"value": value, "low": low, "high": high, "n": n, "clusters": clusters, "method": method}


def scores(folder: Path, digest: str, **changes: Any) -> Path:
    """Scores of one checkpoint and of the majority's answers, in the layout of `summary.json`."""
    lost = dict.fromkeys(("unparsed", "refused", "truncated", "timed_out", "failed", "api_error"), 0)

    def row(key: str, value: dict[str, Any], unparsed: int, whole: bool) -> dict[str, Any]:
        axis, modality, origin = (*key.split("/"), "image", "phantom")[:3]
        systems = {"tuned": {**value, **lost, "unparsed": unparsed}, "majority": {**interval(0.25), **lost}}
        return {"key": key, "axis": axis, "modality": modality, "origin": origin, "whole_axis": whole, "n": 40,
                "clusters": 30, "systems": systems}  # fmt: skip

    told = {
        "confidence": 0.95,
        "samples": {"n": 80, "clusters": 31, "sha256": "ab" * 32, "truth": {"truth:model_mask": 11}},
        "systems": [
            {"name": "tuned", "condition": "full", "identity": {"checkpoint_sha256": digest}},
            {"name": "blind", "condition": "blind", "identity": {"checkpoint_sha256": digest}},
            {"name": "majority", "condition": "full", "identity": {"answers": []}},
        ],
        "rows": [
            row("level_identification/image/phantom", interval(0.875), 2, False),
            row("pathology/image/real", interval(0.5, clusters=3, bounds=False), 10, False),
            row("pathology", interval(0.5), 10, True),
        ],
        "levels": {
            "level/image/phantom": {
                "tuned": {"exact": interval(0.75), "within_one": interval(0.9375)},
                "majority": {"exact": interval(0.1), "within_one": interval(0.3)},
            }
        },
        "breakdown": {"region": {"lumbar": {"n": 40, "clusters": 30, "systems": {"tuned": interval(0.625)}}}},
        "abstention": {
            "tuned": {
                "undecidable": 8, "decidable": 72, "false_answer": 0.375, "needless_refusal": 0.0,
                "confident_wrong_interval": interval(0.25),
            }
        },
        "necessity": {
            "tuned": {"blind": {"all": {"difference": 0.5, "low": 0.25, "high": 0.75, "n": 60, "full": 0.75,
                                        "without": 0.25, "method": "cluster bootstrap"}}}
        },
        "injection": {},
        **changes,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(told))
    return folder


def test_a_trained_folder_says_what_it_is_made_of(trained: Path, micro_base: Path, micro_release: Path) -> None:
    page = trained / "outputs" / "model" / "README.md"
    told = header(page)
    assert told["library_name"] == "transformers"
    assert told["license"] == "apache-2.0"
    facts = card_facts(page.parent)
    assert facts is not None
    assert (facts.base, facts.base_sha256) == (micro_base.name, checkpoint_hash(micro_base))
    assert [(stage.name, stage.steps, stage.seed, stage.rows_read) for stage in facts.stages] == [
        ("a", 2, 7, 24), ("b", 2, 7, 24),
    ]  # fmt: skip
    assert [release.sha256 for release in facts.releases] == [read_manifest(micro_release, "release")["sha256"]]
    text = page.read_text()
    for said in ("not a medical device", "Children and adolescents", "Emergencies", "Phantoms are computed",
                 "Not measured: no scores", facts.stages[1].settings_sha256, facts.releases[0].sha256):  # fmt: skip
        assert said in text, said
    assert header(trained / "outputs" / "adapter" / "README.md")["library_name"] == "peft"


def test_the_hub_library_reads_the_card(trained: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(trained / "outputs" / "model" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-text-to-text"
    assert card.data.to_dict()["spinemed"]["stages"][0]["name"] == "a"
    assert card.text.lstrip().startswith("# Model card")


def test_facts_travel_with_merging_and_export(trained: Path, tmp_path: Path) -> None:
    merged = merge_adapter(trained / "outputs" / "adapter", tmp_path / "merged", precision="float32")
    export_model(trained / "outputs" / "model", tmp_path / "exported")
    first = card_facts(trained / "outputs" / "model")
    assert first is not None
    for folder in (merged, tmp_path / "exported"):
        facts = card_facts(folder)
        assert facts is not None
        assert (facts.stages, facts.releases, facts.base) == (first.stages, first.releases, first.base)


def test_failure_rates_come_from_the_scores_of_this_checkpoint(trained: Path, tmp_path: Path) -> None:
    model = trained / "outputs" / "model"
    given = scores(tmp_path / "scores", checkpoint_hash(model))
    text = write_card(model, tmp_path / "CARD.md", scores=given).read_text()
    for said in (
        "system `tuned`, told by its checkpoint hash",
        "| level identification, picture, phantom | 40 (30) | 12.5 [6.2–25.0] | 5.0 |",
        "| pathology, picture, real | 40 (3) | 50.0 (no interval: fewer than 20 clusters) | 25.0 |",
        "| about the lumbar spine | 40 (30) | 37.5 [31.2–50.0] | |",
        "25.0 [18.8–37.5]; by more than one level 6.2 [0.0–18.8]",
        "right in 75.0 % with it, in 25.0 % without, difference +50.0 [+25.0, +75.0] points on 60 questions",
        "Answered although nothing decides it: 37.5 % of 8 such questions",
        "stated without doubt: 25.0 [12.5–31.2] % of 40 questions",
        "Instructions smuggled into a question: not measured.",
        "11 rest on a segmentation model's output",
        "Stage `b` ran on cpu: ",
    ):
        assert said in text, said
    assert "1 process, " in text, "machine and time come from the run around the checkpoint"
    again = write_card(model, tmp_path / "again.md", scores=given)
    assert again.read_text() == text


def test_scores_of_another_model_are_refused(trained: Path, tmp_path: Path) -> None:
    model = trained / "outputs" / "model"
    given = scores(tmp_path / "scores", "0" * 64)
    with pytest.raises(ReadError, match="none of its systems"):
        write_card(model, tmp_path / "CARD.md", scores=given)
    assert not (tmp_path / "CARD.md").exists()
    text = write_card(model, tmp_path / "CARD.md", scores=given, system="tuned").read_text()
    assert "told by its name alone, as the caller says" in text
    with pytest.raises(ReadError, match="holds no system 'blind'"):
        write_card(model, tmp_path / "CARD.md", scores=given, system="blind")


def test_damaged_scores_and_wrong_folders_are_named(trained: Path, tmp_path: Path) -> None:
    model = trained / "outputs" / "model"
    broken = scores(tmp_path / "broken", checkpoint_hash(model), rows=[{"key": "level"}])
    with pytest.raises(RecordError, match=r"summary\.json.*lacks what a card is made of"):
        write_card(model, tmp_path / "CARD.md", scores=broken)
    with pytest.raises(ReadError, match="holds no checkpoint"):
        write_card(tmp_path, tmp_path / "CARD.md")
    with pytest.raises(ReadError, match=r"holds no summary\.json"):
        write_card(model, tmp_path / "CARD.md", scores=tmp_path)
    with pytest.raises(ReadError, match="holds no scores of reports"):
        write_card(model, tmp_path / "CARD.md", reports=tmp_path / "broken")
    with pytest.raises(ConfigError, match="manifest lists every file"):
        write_card(model, model / "README.md")


def test_rates_of_reports_stand_beside_those_of_questions(trained: Path, tmp_path: Path) -> None:
    rates = {name: interval(0.5) for name in ("missed", "invented", "wrong_level", "wrong_side", "wrong_grade")}
    told = {"kind": "reports", "samples": 12, "clusters": 6,
            "systems": [{"name": "tuned", "rates": {**rates, "unsafe": interval(None)}}]}  # fmt: skip
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(told))
    text = write_card(trained / "outputs" / "model", tmp_path / "CARD.md", reports=folder).read_text()
    assert "Reports: 12 on 6 computed spines" in text
    assert "| wrong level | 0.50 [0.38–0.56] |" in text
    assert "| unsafe | not measured |" in text


def test_a_folder_without_facts_says_so(micro_base: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(micro_base, bare)
    (bare / "README.md").unlink()
    text = write_card(bare, bare / "README.md").read_text()
    assert "Base: not recorded in this folder" in text
    assert header(bare / "README.md")["license"] == "other"
    for strange in ("---\n[a: b\n---\n", "---\n" + "[" * 5000 + "\n---\n", "no header", "---\n- a list\n---\n"):
        (bare / "README.md").write_text(strange)
        assert card_facts(bare) is None, "a base's page is anybody's and stops no training"
    (bare / "README.md").write_text("---\nspinemed: {stages: 3}\n---\n")
    with pytest.raises(RecordError, match="holds no facts of a model"):
        write_card(bare, tmp_path / "CARD.md")
    assert facts_before(bare, "0" * 64, {}).base == "bare"


def test_the_command_writes_the_page_and_names_a_fault_in_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from spinemed.cli import main

    model = str(trained / "outputs" / "model")
    page = tmp_path / "CARD.md"
    with pytest.raises(SystemExit) as ended:
        main(["train", "card", "--checkpoint", model, "--out", str(page)])
    assert not ended.value.code
    assert header(page)["pipeline_tag"] == "image-text-to-text"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["train", "card", "--checkpoint", model, "--scores", str(tmp_path), "--out", str(tmp_path / "other.md")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "other.md").exists()
