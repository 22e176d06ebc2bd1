"""The fracture benchmark: forms of read grades, what counts as wrong, scores against scikit-learn, the page."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_fscore_support

from bench.fracture.compare import compare_scores
from bench.fracture.evaluate import evaluate_grades
from bench.fracture.metrics import METRICS
from bench.fracture.published import fracture_tables
from bench.fracture.records import Scores, Settings, read_scores
from bench.fracture.reference import read_reference
from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import ReadError, RecordError
from spinemed.vertebra.grading import GradedVertebra, GradeReport, LossRecord

Rows = list[tuple[str, Level, int, int | None]]
SHEET = [*(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 7))]
LEVELS = (Level.T11, Level.T12, Level.L1, Level.L2, Level.L3)


def write_table(path: Path, heads: str, rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(heads.split())
        writer.writerows(rows)
    return path


def draw(seed: int, patients: int = 12) -> Rows:
    """Case, level, read grade, predicted grade (None: refused) with errors that cluster in patients."""
    rng = np.random.default_rng(seed)
    found: Rows = []
    for patient in range(patients):
        bad = rng.random() < 0.4
        for level in LEVELS:
            grade = int(rng.choice([0, 0, 1, 2, 3]))
            said: int | None = int(np.clip(grade + rng.choice([-1, 0, 1]), 0, 3)) if bad else grade
            found.append((f"case{patient:02d}", level, grade, None if rng.random() < 0.15 else said))
    return found


def record(level: Level, grade: int | None, p: float = 0.7) -> GradedVertebra:
    loss = LossRecord(percent=30.0, low=26.0, high=34.0, height_mm=20.0, reference_mm=28.0)
    shares = [(1 - p) / 3] * 4
    if grade is not None:
        shares[grade] = p
    return GradedVertebra.model_validate(
        {
            "level": level, "label": LABEL_MAPS["verse"].to_label(level), "anterior": loss, "grade": grade,
            "probabilities": tuple(shares) if grade is not None else None,
            "shape": None if grade is None else "wedge" if grade else "none",
            "flags": () if grade is not None else ("resolution too coarse",),
        }
    )  # fmt: skip


def write_prediction(folder: Path, rows: Rows) -> Path:
    for case in sorted({row[0] for row in rows}):
        report = GradeReport(vertebrae=tuple(record(row[1], row[3]) for row in rows if row[0] == case))
        (folder / case).mkdir(parents=True)
        (folder / case / "grades.json").write_text(report.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def drawn() -> Rows:
    return draw(3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, drawn: Rows) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("fracture")
    reference = write_table(
        root / "read.csv", "case level grade shape split loss_percent mimic",
        [
            [case, str(level), grade, "wedge" if grade else "", "train" if case < "case06" else "validation",
             {0: 5, 1: 22, 2: 30, 3: 41}[grade], "short by birth" if not grade and level is Level.L3 else ""]
            for case, level, grade, _ in drawn
        ],
    )  # fmt: skip
    return reference, write_prediction(root / "mine", drawn)


@pytest.fixture(scope="module")
def scores(folders: tuple[Path, Path]) -> Scores:
    return evaluate_grades(*folders, resamples=300)


def test_scores_are_those_of_scikit_learn(scores: Scores, drawn: Rows) -> None:
    read = [grade for _, _, grade, _ in drawn]
    said = [4 if predicted is None else predicted for *_, predicted in drawn]
    p, r, f, _ = precision_recall_fscore_support(read, said, labels=[0, 1, 2, 3], zero_division=0)
    values = {name: one.value for name, one in scores.row().values.items()}
    assert values["macro_precision"] == pytest.approx(p.mean())
    assert values["macro_recall"] == pytest.approx(r.mean())
    assert values["macro_f1"] == pytest.approx(f.mean())
    for grade in range(4):
        assert values[f"f1_{grade}"] == pytest.approx(f[grade])
        assert values[f"recall_{grade}"] == pytest.approx(r[grade])
        assert values[f"precision_{grade}"] == pytest.approx(p[grade])
    pairs = [(a, b) for a, b in zip(read, said, strict=True) if b < 4]
    kappa = cohen_kappa_score(*zip(*pairs, strict=True), weights="quadratic")
    assert values["kappa"] == pytest.approx(kappa)
    assert np.array_equal(scores.row().confusion, confusion_matrix(read, said, labels=range(5))[:4])


def test_what_is_not_graded_is_wrong_and_no_false_positive(scores: Scores) -> None:
    values = scores.row().values
    healthy = [pair for pair in scores.vertebrae if pair.grade == 0]
    refused = [pair for pair in healthy if pair.predicted is None]
    assert refused
    assert refused[0].outcome == "refused"
    assert "too coarse" in refused[0].reason
    assert values["specificity"].value is not None
    assert values["false_positive"].value is not None
    assert values["specificity"].value + values["false_positive"].value == pytest.approx(
        1 - len(refused) / len(healthy)
    )
    assert scores.counts["refused"] == scores.row().not_graded


def test_intervals_resample_patients(scores: Scores) -> None:
    one = scores.row().values["macro_f1"]
    assert (one.clusters, one.method) == (12, "cluster bootstrap")
    assert one.low is not None
    assert one.high is not None
    assert one.value is not None
    assert one.low < one.value < one.high
    assert scores.row("split", "train").values["macro_f1"].clusters == 6


def test_groups_know_mimics_borders_and_neighbours(scores: Scores) -> None:
    mimics = scores.row("mimics", "mimics of a fracture")
    own = [pair for pair in scores.vertebrae if pair.mimic]
    assert mimics.vertebrae == len(own) > 0
    rate = mimics.values["false_positive"].value
    assert rate == pytest.approx(np.mean([(pair.predicted or 0) >= 1 for pair in own]))
    # 22 and 41 lie within two points of 20 and 40; 5 and 30 do not.
    near = scores.row("border", "within 2 points of a border")
    assert near.vertebrae == sum(pair.grade in (1, 3) for pair in scores.vertebrae)
    for pair in scores.vertebrae:
        case = {other.level: other.grade for other in scores.vertebrae if other.case == pair.case}
        i = LEVELS.index(pair.level)
        beside = [case[LEVELS[j]] for j in (i - 1, i + 1) if 0 <= j < len(LEVELS)]
        assert pair.neighbour_broken == any(beside)


def test_calibration_is_the_brier_score(scores: Scores) -> None:
    found = scores.calibration
    assert found is not None
    graded = [pair for pair in scores.vertebrae if pair.probabilities is not None]
    assert (found.n, found.left_out) == (len(graded), len(scores.vertebrae) - len(graded))
    brier = np.mean(
        [sum((p - (g == pair.grade)) ** 2 for g, p in enumerate(pair.probabilities or ())) for pair in graded]
    )
    assert found.brier.value == pytest.approx(brier)
    assert sum(each.n for each in found.bins) == found.n
    sure = next(each for each in found.bins if each.n and each.low >= 0.8)
    inside = [pair for pair in graded if sure.low <= 1 - (pair.probabilities or (1.0,))[0] < sure.high]
    assert sure.found.value == pytest.approx(np.mean([pair.grade >= 1 for pair in inside]))


def test_splits_by_name(folders: tuple[Path, Path]) -> None:
    scores = evaluate_grades(*folders, settings=Settings(split="validation"), resamples=100)
    assert {pair.case for pair in scores.vertebrae} == {f"case{i:02d}" for i in range(6, 12)}
    assert scores.unmatched_predictions == ()
    with pytest.raises(ReadError, match="split test"):
        evaluate_grades(*folders, settings=Settings(split="test"))


def test_missing_and_faulty_files_count_as_wrong(folders: tuple[Path, Path], tmp_path: Path) -> None:
    drawn = draw(3)
    mine = write_prediction(tmp_path / "mine", [row for row in drawn if row[0] != "case03" and row[1] is not Level.T11])
    (mine / "case05" / "grades.json").write_text("{")
    (mine / "case07" / "grades.json").write_text('{"vertebrae": [{"level": "no"}]}')
    (mine / "stranger").mkdir()
    (mine / "stranger" / "grades.json").write_text(GradeReport(vertebrae=(record(Level.L1, 1),)).model_dump_json())
    scores = evaluate_grades(folders[0], mine, resamples=100)
    outcomes = {(pair.case, pair.level): pair.outcome for pair in scores.vertebrae}
    assert outcomes["case03", Level.L1] == "no prediction"
    assert outcomes["case05", Level.L1] == outcomes["case07", Level.L1] == "unusable prediction"
    assert outcomes["case00", Level.T11] == "not listed"
    assert {error.case for error in scores.errors} == {"case05", "case07"}
    assert scores.errors[0].file == "PREDICTION/case05/grades.json"
    assert scores.unmatched_predictions == ("stranger",)
    assert len(scores.vertebrae) == len(drawn)


def test_published_forms_of_grades_are_read(tmp_path: Path) -> None:
    long = write_table(
        tmp_path / "long.csv", "patient_id scan_id vertebra genant_grade split",
        [["sub-verse015", "verse15", "T12", 0, "train"], ["sub-verse015", "verse15", "L1", 2, "train"]],
    )  # fmt: skip
    grades = read_reference(long).grades
    assert [(one.patient, one.level, one.grade, one.split) for one in grades] == [
        ("sub-verse015", Level.T12, 0, "train"), ("sub-verse015", Level.L1, 2, "train"),
    ]  # fmt: skip
    assert [one.neighbour_broken for one in grades] == [True, False]

    names = SHEET
    row = dict.fromkeys(names, "x") | {"T12": "1", "L1": "3"}
    forms = dict.fromkeys(names, "x") | {"T12": "wedge", "L1": "2"}
    wide = tmp_path / "wide.csv"
    with open(wide, "w", newline="") as stream:
        csv.writer(stream).writerows(
            [["verse_ID", "dataset", *names, *names],
             ["verse007", "validation public", *row.values(), *forms.values()]]
        )  # fmt: skip
    sheet = read_reference(wide)
    assert [(one.level, one.grade, one.shape, one.split) for one in sheet.grades] == [
        (Level.T12, 1, "wedge", "validation"), (Level.L1, 3, None, "validation"),
    ]  # fmt: skip
    assert (sheet.not_rated, sheet.shapes_not_read) == (16, 1)

    shipped = tmp_path / "shipped.json"
    shipped.write_text(json.dumps({"val": {"sub-verse414_series1_19": 2}, "test": {"sub-verse012_20": 3}}))
    by_case = {one.case: one for one in read_reference(shipped).grades}
    series = by_case["sub-verse414_series1"]
    assert (series.patient, series.level, series.split) == ("sub-verse414", Level.T12, "validation")


def test_scans_are_found_under_either_release_s_name(tmp_path: Path) -> None:
    reference = write_table(
        tmp_path / "long.csv", "patient_id scan_id vertebra genant_grade split",
        [["sub-verse015", "verse15", "L1", 0, "train"], ["sub-verse409", "verse266", "L1", 1, "train"],
         ["sub-verse266", "verse100", "L1", 2, "train"]],
    )  # fmt: skip
    mine = tmp_path / "mine"
    for name, grade in (("sub-verse015", 0), ("sub-verse409_split-verse266", 1), ("verse100_seg", 2)):
        (mine / name).mkdir(parents=True)
        report = GradeReport(vertebrae=(record(Level.L1, grade),))
        (mine / name / "grades.json").write_text(report.model_dump_json())
    scores = evaluate_grades(reference, mine, resamples=100)
    assert all(pair.predicted == pair.grade for pair in scores.vertebrae)


def test_a_table_of_another_grader(folders: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [[case, str(level), "" if said is None else said, ""] for case, level, _, said in draw(3)]
    table = write_table(tmp_path / "theirs.csv", "case level grade shape", rows)
    mine, theirs = evaluate_grades(*folders, resamples=100), evaluate_grades(folders[0], table, resamples=100)
    assert theirs.row().confusion == mine.row().confusion
    assert theirs.calibration is None
    bad = write_table(tmp_path / "bad.csv", "case level grade shape", [["case00", "L1", 5, ""]])
    with pytest.raises(RecordError, match=r"bad.csv:2: field 'grade': '5'"):
        evaluate_grades(folders[0], bad)
    odd = write_table(tmp_path / "odd.csv", "case level grade p0 p1 p2 p3", [["case00", "L1", 0, "nan", 0, 0, 1]])
    with pytest.raises(RecordError, match="do not sum to 1"):
        evaluate_grades(folders[0], odd)


def test_the_reference_is_no_prediction_of_itself(folders: tuple[Path, Path], tmp_path: Path) -> None:
    beside = tmp_path / "beside"  # read grades kept in the grader's own folder
    shutil.copytree(folders[1], beside)
    shutil.copy(folders[0], beside / "grades.csv")
    with pytest.raises(RecordError, match="is the reference itself"):
        evaluate_grades(beside / "grades.csv", beside)


def test_a_report_with_a_value_that_is_no_number_is_unusable(tmp_path: Path) -> None:
    reference = write_table(tmp_path / "r.csv", "case level grade", [["a", "L1", 1], ["b", "L1", 1]])
    for case, old in (("a", ""), ("b", "0.7")):
        (tmp_path / "mine" / case).mkdir(parents=True)
        text = GradeReport(vertebrae=(record(Level.L1, 1),)).model_dump_json()
        (tmp_path / "mine" / case / "grades.json").write_text(text.replace(old, "NaN", 1) if old else text)
    found = evaluate_grades(reference, tmp_path / "mine", resamples=100)
    assert [pair.outcome for pair in found.vertebrae] == ["graded", "unusable prediction"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,level,grade\na,L9,1\n", "'L9' is no vertebra"),
        ("case,level,grade\na,L1,0.5\n", "'0.5' is no grade"),
        ("case,level,grade\na,L1,1\na,L1,2\n", "stands there twice"),
        ("case,level\na,L1\n", "columns"),
        ("case,level,grade,split\na,L1,1,somewhere\n", "is no split"),
        ("case,level,grade,loss_percent\na,L1,1,nan\n", "'nan' is no number"),
        (",".join(["dataset", *SHEET, "verse_ID"]) + "\nval,1\n", "names no case"),
    ],
)
def test_bad_reference_rows_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "read.csv").write_text(text)
    with pytest.raises(RecordError, match=said):
        read_reference(tmp_path / "read.csv")


def test_comparison_finds_the_better_one_and_no_difference_between_equals(
    folders: tuple[Path, Path], scores: Scores, tmp_path: Path
) -> None:
    perfect = evaluate_grades(
        folders[0], write_prediction(tmp_path / "best", [(a, b, c, c) for a, b, c, _ in draw(3)]), resamples=100
    )
    found = compare_scores({"best": perfect, "mine": scores}, quantities=("macro_f1", "kappa"), resamples=500)
    macro = next(test for test in found.tests if test.quantity == "macro_f1")
    assert macro.winner == "best"
    assert macro.first_value == pytest.approx(1.0)
    assert macro.second_value == pytest.approx(scores.row().values["macro_f1"].value)
    assert macro.low is not None
    assert macro.low > 0
    assert macro.p is not None
    assert 1 / 501 <= macro.p < 0.05
    same = compare_scores({"a": scores, "b": scores}, resamples=200)
    assert all((test.difference, test.p, test.winner) == (0.0, 1.0, None) for test in same.tests)
    turned = scores.model_copy(update={"vertebrae": tuple(reversed(scores.vertebrae))})
    assert compare_scores({"best": turned, "mine": perfect}, quantities=("kappa",), resamples=500).tests[0].p == (
        compare_scores({"best": scores, "mine": perfect}, quantities=("kappa",), resamples=500).tests[0].p
    )
    with pytest.raises(RecordError, match="cannot be tested"):
        compare_scores({"a": scores, "b": scores}, quantities=("look_again",))
    train = evaluate_grades(*folders, settings=Settings(split="train"), resamples=100)
    with pytest.raises(RecordError, match="same vertebrae"):
        compare_scores({"a": scores, "b": train})


def test_commands_pages_and_bytes(
    folders: tuple[Path, Path], tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = spinemed(
        "fracture", "evaluate", "--reference", folders[0], "--prediction", folders[1], "--out", tmp_path / "a",
        "--published", "--resamples", "200",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "macro F1" in done.stdout
    assert "0.723" in done.stdout
    evaluate_grades(*folders, tmp_path / "b", resamples=200, published=True)
    for file in ("scores.json", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    page = (tmp_path / "a" / "report.html").read_text()
    for words in ("Research use only", 'data-grade="3"', "Mimics", "set on phantoms", "HealthiVert-GAN"):
        assert words in page
    assert str(tmp_path) not in page
    assert read_scores(tmp_path / "a").counts["cases"] == 12
    done = spinemed(
        "fracture", "compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c", "--resamples", "100"
    )
    assert done.returncode == 0, done.stderr
    assert 'data-quantity="macro_f1"' in (tmp_path / "c" / "comparison.html").read_text()


def test_published_numbers_are_those_read_in_the_source() -> None:
    table = fracture_tables().tables[0]
    assert table.mark == "a"
    assert table.rows[0].values == {"precision": 0.727, "recall": 0.753, "f1": 0.723}
    known = {each.name for each in METRICS}
    assert all(set(each.own.values()) <= known for each in fracture_tables().tables)
