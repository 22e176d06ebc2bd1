"""`bench compare` and `bench power`, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.runner import ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench import score_predictions
from bench.spinebench.pair import ALL, compare_pair, power_of_scores
from spinemed.errors import RecordError


@pytest.fixture(scope="module")
def two(samples_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good` is right on three of four spines, `poor` on one of four; `poor` is a subset of `good`."""
    folder = tmp_path_factory.mktemp("two")
    samples, _ = read_samples(samples_folder)
    for name, keep in (("good", (0, 1, 2)), ("poor", (0,))):
        script = {sample.id: sample.answer for sample in samples if int(sample.cluster[-3:]) % 4 in keep}
        predict_samples(samples_folder, ScriptedAnswerer(script, default="?", name=name), folder / name, name=name)
    return folder


def test_a_comparison_is_paired_clustered_and_corrected(samples_folder: Path, two: Path) -> None:
    found = compare_pair(samples_folder, two / "good", two / "poor", resamples=300)
    rows = {row["row"]: row for row in found["rows"]}
    level = rows["level_identification/image/phantom"]
    assert (level["first_accuracy"], level["second_accuracy"], level["difference"]) == (0.75, 0.25, 0.5)
    assert (level["first_only"], level["second_only"]) == (20, 0)
    assert level["p_value"] == pytest.approx(level["mcnemar_p"])  # one question a spine: the same test
    assert level["p_holm"] >= level["p_value"]
    assert level["low"] > 0
    whole = rows[ALL]
    assert whole["mcnemar_p"] is None  # several questions a spine
    assert whole["p_holm"] is None  # it repeats the rows above and spends no test
    assert 0 < level["gap"] < 0.5
    back = compare_pair(samples_folder, two / "poor", two / "good", resamples=300)
    assert back["rows"][0]["difference"] == -found["rows"][0]["difference"]


def test_one_system_is_not_compared_with_itself(samples_folder: Path, two: Path) -> None:
    with pytest.raises(RecordError, match="same name"):
        compare_pair(samples_folder, two / "good", two / "good")


def test_the_commands_print_their_tables_and_write_json(samples_folder: Path, two: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        app,
        [
            "compare", str(two / "good"), str(two / "poor"), "--samples", str(samples_folder), "--resamples", "200",
            "--out", str(tmp_path / "pair.json"),
        ],
        env={"COLUMNS": "200"},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "good minus poor" in done.output
    assert "+50.0" in done.output
    assert json.loads((tmp_path / "pair.json").read_text())["first"] == "good"
    done = runner.invoke(app, ["power", "--samples", str(samples_folder), "--icc", "0.2"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "level_identification/image/phantom" in done.output
    assert runner.invoke(app, ["power"]).exit_code != 0


def test_power_is_read_from_scores(samples_folder: Path, two: Path, tmp_path: Path) -> None:
    score_predictions(samples_folder, [two / "good", two / "poor"], tmp_path / "s", subject="good", resamples=200)
    rows = power_of_scores(tmp_path / "s")
    stricter = power_of_scores(tmp_path / "s", power=0.95)
    assert {key for key, _ in rows} >= {"level_identification/image/phantom", "pathology"}
    for (_, one), (_, other) in zip(rows, stricter, strict=True):
        if one["paired_gap"] is not None and other["paired_gap"] is not None:
            assert other["paired_gap"] > one["paired_gap"]
