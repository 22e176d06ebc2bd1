"""Methods against each other, and published numbers beside them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.motion.compare import DEFAULT_QUANTITIES, compare_scores, read_entries
from bench.motion.evaluate import evaluate_folder
from bench.motion.metrics import METRICS
from bench.motion.published import motion_tables, own_values
from bench.motion.records import Scores, Settings
from bench.published import row_cells
from spinemed.errors import RecordError
from spinemed.statistics import holm


@pytest.fixture(scope="module")
def evaluated(motion_folder: Path, noisy: Path, perfect: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    for name, folder in (("noisy", noisy), ("perfect", perfect)):
        evaluate_folder(motion_folder, folder, out / name, name=name, resamples=200, page=False)
    return out


@pytest.fixture(scope="module")
def entries(evaluated: Path) -> dict[str, Scores]:
    return read_entries([evaluated / "noisy", evaluated / "perfect" / "scores.json"])


def test_the_better_method_wins_after_correction(entries: dict[str, Scores]) -> None:
    asked = ["spine/p_mpjpe_mm", "spine/oks", "all/angle_mae_deg"]
    # Seven subjects allow no p below 2 / 2^7, three times that after Holm.
    found = compare_scores(entries, quantities=asked, alpha=0.1, resamples=500)
    assert [test.winner for test in found.tests] == ["perfect"] * 3
    assert [test.n for test in found.tests] == [14] * 3
    assert found.tests[0].difference == pytest.approx(
        (found.tests[0].first_mean or 0) - (found.tests[0].second_mean or 0)
    )
    assert found.tests[1].difference is not None
    assert found.tests[1].difference < 0  # OKS: higher is better
    assert [test.corrected_p for test in found.tests] == holm([test.p for test in found.tests])
    assert found.tests[0].subjects == 7
    assert compare_scores(entries, quantities=asked, alpha=0.1, resamples=500) == found
    assert not any(test.winner for test in compare_scores(entries, quantities=asked, alpha=0.001).tests)


def test_a_method_does_not_beat_itself(entries: dict[str, Scores]) -> None:
    same = {"one": entries["noisy"], "two": entries["noisy"]}
    found = compare_scores(same, resamples=200)
    assert {test.quantity for test in found.tests} <= set(DEFAULT_QUANTITIES)
    assert all(test.difference == 0.0 and test.winner is None and test.p == 1.0 for test in found.tests)


def test_clips_of_one_side_are_counted_not_used(entries: dict[str, Scores]) -> None:
    noisy = entries["noisy"]
    first = noisy.clips[0]
    fewer = first.model_copy(update={"values": {k: v for k, v in first.values.items() if k != "spine/p_mpjpe_mm"}})
    lacking = noisy.model_copy(update={"clips": (fewer, *noisy.clips[1:])})
    found = compare_scores({"noisy": lacking, "perfect": entries["perfect"]}, quantities=["spine/p_mpjpe_mm"])
    assert (found.tests[0].n, found.tests[0].unpaired) == (13, 1)


def test_what_cannot_be_compared_is_refused(entries: dict[str, Scores], evaluated: Path) -> None:
    noisy = entries["noisy"]
    with pytest.raises(RecordError, match="two or more"):
        compare_scores({"noisy": noisy})
    other = noisy.model_copy(update={"settings": Settings(norm_mm=100.0)})
    with pytest.raises(RecordError, match="other settings"):
        compare_scores({"noisy": noisy, "other": other})
    fewer = noisy.model_copy(update={"clips": noisy.clips[1:]})
    with pytest.raises(RecordError, match="same clips"):
        compare_scores({"noisy": noisy, "fewer": fewer})
    with pytest.raises(RecordError, match="no value in"):
        compare_scores(entries, quantities=["spine/beauty"])
    with pytest.raises(RecordError, match="twice"):
        read_entries([evaluated / "noisy"] * 3)


def test_the_command_writes_a_table_and_a_page(
    spinemed: Callable[..., subprocess.CompletedProcess[str]], evaluated: Path, tmp_path: Path
) -> None:
    done = spinemed(
        "motion", "compare", evaluated / "noisy", evaluated / "perfect", "--out", tmp_path, "--resamples", 200
    )
    assert done.returncode == 0, done.stderr
    assert "spine/p_mpjpe_mm" in done.stdout
    assert len(json.loads((tmp_path / "comparison.json").read_bytes())["tests"]) > 5
    page = (tmp_path / "comparison.html").read_text()
    assert "Simulated data" in page
    assert 'data-quantity="spine/p_mpjpe_mm"' in page


def test_published_numbers_stand_beside_own_ones(entries: dict[str, Scores]) -> None:
    known, found = motion_tables(), own_values(entries["noisy"])
    tables = {table.title: table for table in known.tables}
    lifting = tables["3D from one camera: SIMSPINE, spine joints, mm"]
    best = next(row for row in lifting.rows if row.name == "full body, true 2D")
    assert row_cells(lifting, best.values) == ["13.48", "25.94"]
    detectors = tables["2D keypoints: SIMSPINE, detectors"]
    assert max(row.values["ap_spine"] for row in detectors.rows) == 0.928
    names = {each.name for each in METRICS}
    for table in known.tables:
        assert table.mark == "a"
        assert table.source
        for key in table.own.values():
            assert key.startswith("pictures/") or key.rpartition("/")[2] in names
        # A method that predicts all has a value in every column.
        assert {name for name, key in table.own.items() if found.get(key) is not None} == set(table.columns)
    own = found[detectors.own["ap_spine"]]
    assert own is not None
    assert own < 1.0
