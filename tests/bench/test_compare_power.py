"""`bench compare`, `bench rank` and `bench power`, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.runner import MajorityAnswerer, ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench import score_predictions
from bench.spinebench.leaderboard import rank_predictions
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


def test_a_leaderboard_says_what_the_scores_say(samples_folder: Path, two: Path, tmp_path: Path) -> None:
    folders = [two / "good", two / "poor"]
    summary = score_predictions(samples_folder, folders, tmp_path / "s", subject="good", resamples=2_000)
    board = rank_predictions(samples_folder, folders, tmp_path / "b", resamples=2_000)
    for row, many in zip(summary["rows"], board["rows"], strict=True):
        assert (many["key"], many["n"], many["clusters"]) == (row["key"], row["n"], row["clusters"])
        for at, name in enumerate(("good", "poor")):
            own = row["systems"][name]
            assert many["value"][at] == pytest.approx(own["value"])
            assert many["method"][at] == own["method"]
            assert many["low"][at] == pytest.approx(own["low"], abs=0.02)
            assert many["high"][at] == pytest.approx(own["high"], abs=0.02)
            assert many["rank"][at] == row["ranks"][name]["rank"] == at + 1
        assert many["leader"] == 0
        assert many["difference"][0] is None
        assert many["p_value"][1] < 0.01
    for group, systems in summary["levels"].items():
        many = board["levels"][group]
        for at, name in enumerate(("good", "poor")):
            for measure in ("exact", "within_one", "region", "macro"):
                assert many[measure]["value"][at] == pytest.approx(systems[name][measure]["value"])
            assert many["mean_distance_levels"][at] == systems[name]["distance"]["mean_levels"]
    for at, name in enumerate(("good", "poor")):
        assert board["total"]["value"][at] == pytest.approx(summary["total"][name]["value"])
        for key, value in board["abstention"][at].items():
            assert value == pytest.approx(summary["abstention"][name][key])
        headline = summary["abstention"][name]
        assert headline["confident_wrong_interval"]["value"] == pytest.approx(headline["confident_wrong"])
        assert headline["confident_wrong_interval"]["low"] <= headline["confident_wrong"]
        assert headline["confident_wrong_interval"]["n"] == headline["level_or_side_questions"]
        assert board["systems"][at]["outcomes"] == summary["systems"][at]["outcomes"]
    again = rank_predictions(samples_folder, folders, tmp_path / "b", resamples=2_000, workers=2)
    assert again == board


def test_references_have_values_and_no_rank(samples_folder: Path, two: Path, tmp_path: Path) -> None:
    listed, _ = read_samples(samples_folder)
    knows_all = ScriptedAnswerer({one.id: one.answer for one in listed}, name="good")
    predict_samples(samples_folder, knows_all, tmp_path / "blind", name="blind", condition="blind")
    predict_samples(samples_folder, MajorityAnswerer(listed), tmp_path / "majority", name="majority")
    folders = [tmp_path / "blind", two / "poor", tmp_path / "majority", two / "good"]
    summary = score_predictions(samples_folder, folders, tmp_path / "s", subject="good", resamples=200)
    board = rank_predictions(samples_folder, folders, tmp_path / "b", resamples=200)
    assert [one["reference"] for one in board["systems"]] == [True, False, True, False]
    for row, many in zip(summary["rows"], board["rows"], strict=True):
        assert {name: own["rank"] for name, own in row["ranks"].items()} == {"good": 1, "poor": 2}
        assert many["rank"] == [None, 2, None, 1], "blind is right on all, and takes no place"
        assert many["leader"] == 3
        assert many["value"] == [pytest.approx(row["systems"][name]["value"]) for name in BOARD]
        assert many["value"][0] == 1
        assert None not in many["low"]
        assert row["power"]
        assert many["power"]
    alone = rank_predictions(samples_folder, folders[::2], tmp_path / "c", resamples=200)
    assert all(row["leader"] is None and row["power"] and row["rank"] == [None, None] for row in alone["rows"])


BOARD = ("blind", "poor", "majority", "good")


def test_an_incomplete_system_is_named_in_a_leaderboard(samples_folder: Path, two: Path, tmp_path: Path) -> None:
    lines = (two / "good" / "predictions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(RecordError, match="1 samples have no prediction"):
        rank_predictions(samples_folder, [tmp_path / "cut.jsonl"], tmp_path / "b")
    assert not (tmp_path / "b").exists()
    (tmp_path / "twice.jsonl").write_text("".join([*lines, lines[0]]))
    with pytest.raises(RecordError, match="answered twice"):
        rank_predictions(samples_folder, [tmp_path / "twice.jsonl"], tmp_path / "b")
