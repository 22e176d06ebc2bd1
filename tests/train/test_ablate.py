"""What an ablation takes away and how it is told: pure transforms, equal budgets, a paired table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from spinemed.config import load_config
from spinemed.errors import ConfigError, RunError
from spinemed.records import Evidence, Instance, Message, Prediction, ReleaseRow, Sample, Score, Writer
from spinemed.run import Run
from spinemed.tables import read_jsonl, read_records, write_jsonl, write_manifest, write_records
from train.ablation import ablate
from train.ablation.ablate import AblateConfig, run_ablation
from train.ablation.arms import MASK, change, mask_levels, read_drafts, shuffle_levels, use_draft, withhold_pictures
from train.ablation.table import make_table, table_text
from train.config import TrainConfig


@pytest.fixture
def rows(micro_release: Path) -> list[ReleaseRow]:
    return list(read_records(micro_release / "data" / "train.parquet", ReleaseRow))


def _text(row: ReleaseRow, question: str, answer: str) -> ReleaseRow:
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return row.model_copy(update={"messages": turns, "images": (), "answer": answer})


def _said(row: ReleaseRow) -> list[str]:
    return [turn.content for turn in row.messages]


def test_masking_leaves_no_level_and_touches_nothing_else(rows: list[ReleaseRow]) -> None:
    row = _text(
        rows[0], "On the T2-weighted image, is L4/5 narrower than L5/S1?", "Yes; T12-L2 is fused, the L5 root free."
    )
    masked = mask_levels(row)
    assert _said(masked) == [
        f"On the T2-weighted image, is {MASK} narrower than {MASK}?", f"Yes; {MASK} is fused, the {MASK} root free.",
    ]  # fmt: skip
    assert masked.answer == masked.messages[-1].content
    plain = _text(rows[0], "Is the marked vertebra fractured?", "wedge")
    assert mask_levels(plain) == plain
    assert ReleaseRow.model_validate(masked.model_dump()) == masked


def test_shuffling_renames_every_level_alike_and_repeats(rows: list[ReleaseRow]) -> None:
    row = _text(rows[0], "Is L3 higher? Disc: L4/5.", "L3 is higher. Fused: T10-T12. The L5 root is free.")
    one, again, other = shuffle_levels(row, 0), shuffle_levels(row, 0), shuffle_levels(row, 1)
    assert one == again != other
    question, answer = _said(one)
    found = re.fullmatch(r"Is (\w+) higher\? Disc: (\w+/\w+)\.", question)
    told = re.fullmatch(r"(\w+) is higher\. Fused: (\w+-\w+|\w+)\. The (\w+) root is free\.", answer)
    assert found is not None
    assert told is not None
    assert found[1] == told[1] != "L3"
    assert found[2] != "L4/5"
    assert told[2] != "T10-T12"
    assert told[3] != "L5"
    elsewhere = shuffle_levels(row.model_copy(update={"id": "another"}), 0)
    assert _said(elsewhere) != _said(one)
    assert ReleaseRow.model_validate(one.model_dump()) == one


def test_pictures_are_withheld_with_their_places(rows: list[ReleaseRow]) -> None:
    bare = withhold_pictures(rows[0])
    assert bare.images == ()
    assert _said(bare)[0] == "Which vertebra is marked?"
    assert bare.answer == rows[0].answer
    assert withhold_pictures(rows[2]) == rows[2]
    assert ReleaseRow.model_validate(bare.model_dump()) == bare


def _instance(row: ReleaseRow, *, draft: bool) -> Instance:
    question = "Draft: which vertebra?" if draft else row.messages[0].content.replace("<image>\n", "")
    turns = (Message(role="user", content=question), row.messages[-1])
    return Instance(
        id=f"{row.id}-draft" if draft else row.id, stage="draft" if draft else "revised",
        parent_id=None if draft else f"{row.id}-draft", source_id="test", group_id=row.group_id, origin="phantom",
        axis="level_identification", task="open", messages=turns, answer=row.answer, answer_kind="text",
        evidence=(Evidence(kind="study", id="s", sha256="0" * 64),),
        writer=Writer(name="rules", version="1", prompt_sha256="0" * 64, request_sha256="0" * 64),
    )  # fmt: skip


def _data_run(folder: Path, rows: list[ReleaseRow]) -> Path:
    for name, draft in (("drafts", True), ("revised", False)):
        (folder / name).mkdir(parents=True)
        write_records(folder / name / "instances.parquet", Instance, [_instance(row, draft=draft) for row in rows])
    return folder


def test_drafts_bring_back_the_words_before_revision(rows: list[ReleaseRow], tmp_path: Path) -> None:
    drafts = read_drafts(_data_run(tmp_path / "outputs", rows[:3]))
    drafted = use_draft(rows[0], drafts)
    assert drafted is not None
    assert drafted.messages[0].content == "Draft: which vertebra?"
    assert use_draft(rows[5], drafts) is None
    assert [row.id for row in change(rows, "drafts", seed=0, drafts=drafts)] == ["row-0", "row-1", "row-2"]
    assert change(rows, "none", seed=0) == rows


def _sample(number: int) -> Sample:
    return Sample(
        id=f"s-{number:02}", axis="level_identification", task="level",
        messages=(Message(role="user", content="Which?"),), images=(), answer="L1", answer_kind="level",
        cluster=f"spine-{number // 2}", origin="phantom", source_id="test",
    )  # fmt: skip


def _score(sample: Sample, right: bool) -> Score:
    return Score(sample_id=sample.id, model="m", condition="full", outcome="parsed", parsed="L1", correct=right)


def test_the_table_averages_seeds_and_pairs_questions() -> None:
    samples = [_sample(number) for number in range(20)]
    truth = {"full": [16, 18], "masked": [4, 6], "base": [10]}
    systems = {
        arm: [{one.id: _score(one, place < right) for place, one in enumerate(samples)} for right in counts]
        for arm, counts in truth.items()
    }
    facts = {arm: {"rows": 1, "rows_changed": 0, "passes": 1, "steps": 1, "tokens": 1} for arm in truth}
    table = make_table(samples, systems, reference="full", seed=0, resamples=100, facts=facts)
    full, masked, base = table["rows"]
    assert full["correct"] == pytest.approx(0.85)
    assert (full["lowest_seed"], full["highest_seed"]) == pytest.approx((0.8, 0.9))
    assert "difference" not in full
    assert masked["difference"] == pytest.approx(-0.6)
    assert masked["low"] < -0.6 < masked["high"] < 0
    assert masked["p_holm"] >= masked["p_value"]
    assert base["seeds"] == 1
    text = table_text(table | {"tokens": 1000, "seeds": [0, 1]})
    assert "| masked | 1 | 0 | 1 | 1 | 25.0% | 20.0% to 30.0% | 0.0% | -60.0 |" in text
    assert "phantoms only" in text
    del systems["base"][0]["s-03"]
    with pytest.raises(Exception, match="no score for s-03"):
        make_table(samples, systems, reference="full", seed=0, resamples=100, facts=facts)


def _job(base: Path, release: Path, samples: Path, folder: Path) -> Path:
    stage = {
        "name": "one", "mixture": [{"release": "main"}], "max_tokens": 120,
        "schedule": {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "log_every": 1},
    }  # fmt: skip
    template = {"base": str(base), "releases": {"main": str(release)}, "stages": [stage], "threads": 1}
    (folder / "template.yaml").write_text(yaml.safe_dump(template))
    job = {
        "template": "template.yaml", "parts": {"all": {"release": str(release), "rows": 12}}, "samples": str(samples),
        "seeds": [0], "tokens": 1500, "questions": 6, "resamples": 100, "drafts": "data",
        "arms": [{"name": "base"}, {"name": "full", "parts": ["all"]},
                 {"name": "blind", "parts": ["all"], "transform": "text_only"}],
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder / "job.yaml"


def test_an_ablation_trains_asks_and_goes_on_where_it_was(
    micro_base: Path, micro_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    write_jsonl(samples / "samples.jsonl", [_sample(number) for number in range(20)])
    write_manifest(samples, "samples")
    asked: list[list[str]] = []

    def bench(run: Run, arguments: list[str], what: str, launch: Any = ()) -> None:
        """What `spinemed bench` would leave: every model right on all but its own number of questions."""
        asked.append(arguments)
        options = {arguments[n]: arguments[n + 1] for n in range(2, len(arguments) - 1, 2)}
        out, listed = Path(options["--out"]), list(read_jsonl(Path(options["--samples"]) / "samples.jsonl", Sample))
        out.mkdir(parents=True, exist_ok=True)
        if arguments[1] == "predict":
            name = options["--name"]
            write_jsonl(out / "predictions.jsonl", [
                Prediction(
                    sample_id=one.id, model=name, condition="full", outcome="answered", text=name,
                    request_sha256="0" * 64,
                ) for one in listed
            ])  # fmt: skip
            write_manifest(out, "predictions", model=name)
            return
        folders = [Path(arguments[n + 1]) for n, word in enumerate(arguments) if word == "--predictions"]
        write_jsonl(out / "scores.jsonl", [
            _score(one, place >= number).model_copy(update={"model": folder.name})
            for number, folder in enumerate(folders) for place, one in enumerate(listed)
        ])  # fmt: skip
        write_manifest(out, "scores")

    monkeypatch.setattr(ablate, "_command", bench)
    config = load_config(_job(micro_base, micro_release, samples, tmp_path), AblateConfig)
    table = json.loads((run_ablation(config, tmp_path / "run") / "table.json").read_text())
    assert [row["arm"] for row in table["rows"]] == ["base", "full", "blind"]
    assert table["questions"] == 6  # three spines of two questions each
    assert table["clusters"] == 3
    base, full, blind = table["rows"]
    assert (base["seeds"], full["seeds"], blind["seeds"]) == (1, 1, 1)
    assert full["rows"] == blind["rows"] == 12
    assert blind["rows_changed"] > 4
    # Equal budgets: both end with the step that reaches 1,500 tokens, so the arm of shorter rows takes more of them.
    for row in (full, blind):
        assert 1500 <= row["tokens"] < 1500 + 4 * 120
    assert blind["steps"] > full["steps"]
    text = (tmp_path / "run" / "outputs" / "table" / "table.md").read_bytes()
    before = len(asked)
    assert before == 4  # three answerers and the scores
    run_ablation(config, tmp_path / "run")
    assert len(asked) == before
    assert (tmp_path / "run" / "outputs" / "table" / "table.md").read_bytes() == text


def test_another_base_at_the_same_place_is_trained_again(
    micro_base: Path, micro_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Path] = []

    def train(config: Any, out: Path) -> None:
        trained.append(out)
        (out / "outputs" / "model").mkdir(parents=True, exist_ok=True)
        write_manifest(out / "outputs" / "model", "checkpoint")

    monkeypatch.setattr("train.run.run_training", train)
    config = load_config(_job(micro_base, micro_release, tmp_path, tmp_path), AblateConfig)
    template = load_config(config.template, TrainConfig)
    (tmp_path / "run").mkdir()
    for base in ("one", "one", "other"):
        ablate._train(config, template, base, config.arms[1], 0, micro_release, Run(tmp_path / "run"))
    assert len(trained) == 2


def test_a_failed_command_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"answers ended with exit code 2.*\.log|\.log.*exit code 2"):
        ablate._command(run, ["bench", "no_such_command"], "answers")


@pytest.mark.parametrize("name", ["ablate_nano", "ablate_7b"])
def test_shipped_ablations_name_the_nine_arms(name: str, root: Path) -> None:
    config = load_config(root / "configs" / f"{name}.yaml", AblateConfig)
    assert len(config.arms) == 9
    assert {arm.transform for arm in config.arms} == {"none", "masked", "shuffled", "drafts", "text_only"}
    template = load_config(config.template, TrainConfig)
    job = ablate._job(config, template, root / "release", 3)
    made = TrainConfig.model_validate(job)
    assert made.seed == 3
    assert made.stages[0].schedule.tokens == config.tokens


def test_a_launcher_stands_before_the_trainings_not_before_the_ablation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="launch"):
        run_ablation(load_config(root / "configs" / "ablate_nano.yaml", AblateConfig), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arms_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    job: dict[str, Any] = {
        "template": "t.yaml", "parts": {"all": {"release": "r"}}, "samples": "s", "tokens": 1,
        "arms": [{"name": "full", "parts": ["all"]}, {"name": "bare"}],
    }  # fmt: skip
    AblateConfig.model_validate(job)
    for change_, said in (
        ({"reference": "none"}, "no arm is called 'none'"),
        ({"arms": [{"name": "full", "parts": ["other"]}, {"name": "bare"}]}, "names the part 'other'"),
        ({"arms": [{"name": "full", "parts": ["all"], "transform": "drafts"}, {"name": "bare"}]}, "needs `drafts`"),
        ({"arms": [{"name": "full", "transform": "masked"}, {"name": "bare"}]}, "no parts"),
        ({"seeds": [1, 1]}, "a seed stands twice"),
    ):
        with pytest.raises(ValidationError, match=said):
            AblateConfig.model_validate({**job, **change_})
