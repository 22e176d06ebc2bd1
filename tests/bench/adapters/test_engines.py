"""Questions leave in each engine's layout, and replies come back to the very same scores."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pytest
import yaml

from bench.adapters import export_samples, import_replies
from bench.adapters.lmms_eval import read_task
from bench.adapters.lmms_utils import doc_to_messages, doc_to_text, process_results
from bench.runner import ScriptedAnswerer, predict_samples
from bench.runner.predict import read_predictions
from bench.samples import read_samples, write_samples
from bench.spinebench import judge
from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.records import Option, Sample
from spinemed.tables import read_jsonl

SAID = (
    "Answer: {right}", "<think>A or B? L1?</think>\nB", "I cannot help with that.", "L3", "**Answer:** {right}",
    "A, and B as well.", "The answer is {right}. Confidence: 70%", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, make_rows: Any, make_row: Any, write_release: Any) -> Path:
    """Samples of every kind: pictures, options with a picture, two pictures, words alone."""
    folder = tmp_path_factory.mktemp("adapters")
    options = tuple(
        Option(key=key, text=text) for key, text in zip("ABC", ("crush\tfracture", "wedge", "无"), strict=True)
    )
    rows = [
        *make_rows("test", 4),
        make_row("two", "<image>first, <image>second: which level is marked in both?", "L3", "level", group_id="g2"),
        make_row(
            "mcq", "<image>What is seen?\nA. crush\tfracture\nB. wedge\nC. 无", "A", "option", options=options,
            axis="pathology", task="multiple_choice", group_id="g3",
        ),
    ]  # fmt: skip
    write_samples(write_release(folder / "release", test=rows), folder / "samples")
    return folder / "samples"


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def said_to(samples: list[Sample]) -> dict[str, str]:
    return {sample.id: SAID[n % len(SAID)].format(right=sample.answer) for n, sample in enumerate(samples)}


def verdicts(samples: list[Sample], predictions: Path) -> dict[str, dict[str, Any]]:
    """Score rows without the name of the model."""
    found = read_predictions(predictions).by_sample
    return {s.id: judge(s, found[s.id]).model_dump(exclude={"model"}) for s in samples if s.id in found}


@pytest.fixture(scope="module")
def direct(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Scores of the same replies when the runner of this project records them."""
    samples, _ = read_samples(asked)
    out = tmp_path_factory.mktemp("direct") / "p"
    predict_samples(asked, ScriptedAnswerer(said_to(samples), name="m"), out, name="m")
    return verdicts(samples, out)


def test_a_log_that_inspect_wrote_is_read(tmp_path: Path, make_rows: Any, write_release: Any) -> None:
    rows = [row for row in make_rows("test", 6) if not row.images]
    write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    log = Path(__file__).with_name("recorded.eval")
    made = import_replies([log], tmp_path / "samples", tmp_path / "p", form="inspect")
    assert made["model"] == "mockllm/model"
    assert made["identity"]["engine"] == "inspect_ai 0.3.285"
    samples, _ = read_samples(tmp_path / "samples")
    found = [(one["outcome"], one["parsed"]) for one in verdicts(samples, tmp_path / "p").values()]
    assert found == [
        ("parsed", "T12-L2"), ("parsed", "B"), ("refused", None), ("unparsed", None), ("unparsed", None),
        ("truncated", None),
    ]  # fmt: skip


def inspect_log(samples: list[Sample], said: dict[str, str]) -> dict[str, Any]:
    """A log in that engine's layout."""
    return {
        "eval": {"model": "m", "task": "spinebench", "packages": {"inspect_ai": "0.3.285"}},
        "samples": [
            {
                "id": sample.id, "epoch": 1,
                "output": {"choices": [{"message": {"content": said[sample.id]}, "stop_reason": "stop"}]},
            }
            for sample in samples
        ],
    }  # fmt: skip


def test_inspect_replies_score_as_if_given_here(asked: Path, direct: dict[str, Any], tmp_path: Path) -> None:
    samples, _ = read_samples(asked)
    made = export_samples(asked, tmp_path / "task", form="inspect")
    assert made["exported"] == len(samples)
    assert (tmp_path / "task" / "spinebench_task.py").is_file()
    assert list(read_jsonl(tmp_path / "task" / "samples.jsonl", Sample)) == samples
    (tmp_path / "log.json").write_text(json.dumps(inspect_log(samples, said_to(samples))))
    with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        log = inspect_log(samples, said_to(samples))
        for row in log.pop("samples"):
            archive.writestr(f"samples/{row['id']}_epoch_1.json", json.dumps(row))
        archive.writestr("header.json", json.dumps(log))
    for name in ("log.json", "log.eval"):
        import_replies([tmp_path / name], asked, tmp_path / "p", form="inspect", name="m")
        assert verdicts(samples, tmp_path / "p") == direct


def test_lmms_eval_replies_score_as_if_given_here(asked: Path, direct: dict[str, Any], tmp_path: Path) -> None:
    samples, _ = read_samples(asked)
    export_samples(asked, tmp_path / "task", form="lmms-eval")
    task = read_task(tmp_path / "task" / "spinebench.yaml")
    own = (tmp_path / "task" / "utils.py").read_text()
    for value in (*(str(v) for v in task.values()), task["metric_list"][0]["aggregation"]):
        if value.startswith("utils."):
            assert f"def {value.removeprefix('utils.')}(" in own
    docs = rows_of(Path(task["dataset_kwargs"]["data_files"]["test"]))
    assert task["output_type"] == "generate_until"
    assert [doc["id"] for doc in docs] == [sample.id for sample in samples]
    said, lines = said_to(samples), []
    for number, doc in enumerate(docs):
        assert "<image>" not in doc_to_text(doc)
        (turn,) = doc_to_messages(doc)
        assert sum(part["type"] == "image" for part in turn["content"]) == len(doc["images"])
        # That engine strips reasoning before it scores, and keeps the raw reply only where the two differ.
        clean = said[doc["id"]].split("</think>")[-1].strip()
        row: dict[str, Any] = {"doc_id": number, "filtered_resps": [clean], "doc_hash": "x", "target": doc["answer"]}
        if clean != said[doc["id"]]:
            row["resps"] = [[said[doc["id"]]]]
        results = process_results(doc, [clean]) if number else {"spinebench": {"sample_id": doc["id"], "correct": None}}
        lines.append(json.dumps(row | results))
    log = tmp_path / "20260101_000000_samples_spinebench.jsonl"
    log.write_text("\n".join(lines))
    (tmp_path / "20260101_000000_results.json").write_text(json.dumps({"model_name": "m"}))
    import_replies([log], asked, tmp_path / "p", form="lmms-eval")
    assert verdicts(samples, tmp_path / "p") == direct


@pytest.fixture(autouse=True)
def _beside(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`utils.py` finds its samples beside itself; here they lie elsewhere."""
    import bench.adapters.lmms_utils as utils

    known = {sample.id: sample for sample in read_samples(asked)[0]}
    monkeypatch.setattr(utils, "_samples", lambda: known)


@pytest.mark.parametrize("form", ["tsv", "csv", "json", "xlsx"])
def test_vlmevalkit_replies_score_as_if_given_here(
    form: str, asked: Path, direct: dict[str, Any], tmp_path: Path
) -> None:
    samples, _ = read_samples(asked)
    said = said_to(samples)
    made = export_samples(asked, tmp_path / "tsv", form="vlmevalkit")
    assert made["left_out"] == {"words alone without options, which that engine has no class for": 2}
    files, seen = [], set()
    for file in sorted((tmp_path / "tsv").glob("*.tsv")):
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        for row in rows:
            seen.add(row["sample_id"])
            (sample,) = [one for one in samples if one.id == row["sample_id"]]
            shown = json.loads(row["image"]) if row.get("image", "").startswith("[") else [row.get("image")]
            if sample.images:
                assert [base64.b64decode(one) for one in shown] == [(asked / p).read_bytes() for p in sample.images]
            assert [row[option.key] for option in sample.options] == [option.text for option in sample.options]
            assert not any(option.text in row["question"] for option in sample.options)
            row["prediction"] = said[sample.id]
            row.pop("image", None)
        target = tmp_path / f"m_{file.stem}.{form}"
        files.append(target)
        if form == "json":
            target.write_text(json.dumps(rows, ensure_ascii=False))
            continue
        if form == "xlsx":
            book = openpyxl.Workbook()
            for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
                book.active.append(cells)
            book.save(target)
            continue
        with target.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if form == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    assert len(files) == 3
    import_replies(files, asked, tmp_path / "p", form="vlmevalkit", model="m")
    found = verdicts(samples, tmp_path / "p")
    assert {name: row for name, row in found.items() if name in seen} == {name: direct[name] for name in seen}
    assert {row["outcome"] for name, row in found.items() if name not in seen} == {"failed"}


def test_hub_files_name_their_columns_and_replies_come_back(asked: Path, direct: Any, tmp_path: Path) -> None:
    samples, _ = read_samples(asked)
    made = export_samples(asked, tmp_path / "hub", form="hub")
    assert made["left_out"] == {"several pictures, and such a task holds one": 1}
    about = yaml.safe_load((tmp_path / "hub" / "eval.yaml").read_text())
    assert about["evaluation_framework"] == "inspect-ai"
    logs, seen = [], {}
    for task in about["tasks"]:
        rows = rows_of(tmp_path / "hub" / "data" / task["config"] / "test.jsonl")
        fields = task["field_spec"]
        for row in rows:
            assert {fields["input"], fields["target"], fields["input_image"], *fields["metadata"]} <= set(row)
        said = said_to(samples)
        log = inspect_log([one for one in samples if one.id in {row["sample_id"] for row in rows}], said)
        for number, row in enumerate(log["samples"], 1):
            row["metadata"] = {"sample_id": row["id"]}
            row["id"] = number  # that engine numbers the rows of such a task itself
            seen[row["metadata"]["sample_id"]] = True
        logs.append(tmp_path / f"{task['id']}.json")
        logs[-1].write_text(json.dumps(log))
    import_replies(logs, asked, tmp_path / "p", form="hub")
    found = verdicts(samples, tmp_path / "p")
    assert {name: found[name] for name in seen} == {name: direct[name] for name in seen}
    assert found["two"]["outcome"] == "failed"


def test_a_missing_reply_is_named_and_nothing_is_written(asked: Path, tmp_path: Path) -> None:
    samples, _ = read_samples(asked)
    (tmp_path / "log.json").write_text(json.dumps(inspect_log(samples[1:], said_to(samples))))
    with pytest.raises(RecordError, match=f"1 samples have no reply: {samples[0].id}"):
        import_replies([tmp_path / "log.json"], asked, tmp_path / "p", form="inspect")
    assert not (tmp_path / "p").exists()


def _edit(log: dict[str, Any], what: str) -> dict[str, Any]:
    if what == "twice":
        log["samples"].append(log["samples"][0])
    elif what == "no model":
        del log["eval"]["model"]
    elif what == "empty":
        log["samples"] = []
    else:
        log["samples"][0]["output"] = {}
    return log


@pytest.mark.parametrize(
    ("what", "error"), [("twice", RecordError), ("no model", ReadError), ("empty", ReadError), ("torn", ReadError)]
)
def test_logs_that_are_none_are_refused(what: str, error: type[Exception], asked: Path, tmp_path: Path) -> None:
    samples, _ = read_samples(asked)
    (tmp_path / "log.json").write_text(json.dumps(_edit(inspect_log(samples, said_to(samples)), what)))
    with pytest.raises(error, match=r"log\.json"):
        import_replies([tmp_path / "log.json"], asked, tmp_path / "p", form="inspect")


def test_a_cut_zip_and_an_unknown_format_are_refused(asked: Path, tmp_path: Path) -> None:
    whole = Path(__file__).with_name("recorded.eval").read_bytes()
    (tmp_path / "cut.eval").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadError, match=r"cut\.eval"):
        import_replies([tmp_path / "cut.eval"], asked, tmp_path / "p", form="inspect")
    with pytest.raises(ConfigError, match="--format"):
        export_samples(asked, tmp_path / "x", form="helm")
    assert not (tmp_path / "x").exists()


def test_export_again_gives_the_same_bytes(asked: Path, tmp_path: Path, spinemed: Callable[..., Any]) -> None:
    first = export_samples(asked, tmp_path / "x", form="hub")
    shutil.rmtree(tmp_path / "x")
    done = spinemed("bench", "export", "--samples", asked, "--format", "hub", "--out", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x" / "manifest.json").read_text()) == first
