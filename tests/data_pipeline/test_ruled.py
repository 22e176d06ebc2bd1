"""The rule writer's four tasks: what is said is what the record states, in both languages, with and without picture."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data_pipeline.chain import Tracer
from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus, read_corpus
from data_pipeline.criteria.checks_written import levels_in, written_value
from data_pipeline.drafting.tasks import TEMPLATES, Fracture, facts_of, load_words
from data_pipeline.drafting.tasks.texts import Unworded, record_line, write_task
from data_pipeline.items import Item, read_items
from data_pipeline.readers import read_source
from data_pipeline.run import resolve_sources
from data_pipeline.show import _question, sample_rows
from data_pipeline.writers.schemas import REPORT_PARTS, Report, schema_of
from spinemed.anatomy import Level, parse_disc
from spinemed.config import load_config
from spinemed.errors import ConfigError, SourceError
from spinemed.records import Finding, ReleaseRow, Source, Study
from spinemed.tables import read_manifest, read_records

TASKS = ("multiple_choice", "open", "consultation", "report")


@pytest.fixture(scope="module")
def corpus(tasked: Path) -> Corpus:
    return read_corpus(tasked / "outputs" / "corpus")


@pytest.fixture(scope="module")
def items(tasked: Path) -> list[Item]:
    return [i for i in read_items(tasked / "outputs" / "revised") if i.parts.template.startswith("ruled_")]


def study_of(item: Item, corpus: Corpus) -> Study | None:
    return next((corpus.studies[part.id] for part in item.instance.evidence if part.kind == "study"), None)


def test_all_four_tasks_come_in_both_languages_and_forms(items: list[Item]) -> None:
    found = {(i.instance.task, i.instance.language, bool(i.instance.image_sha256)) for i in items}
    assert found == {(task, language, form) for task in TASKS for language in ("en", "zh") for form in (True, False)}
    assert all(item.instance.writer.model == "rules" for item in items)
    assert all(result.passed for item in items for result in item.instance.criteria)


def test_the_layout_is_that_of_what_a_model_writes(items: list[Item]) -> None:
    for item in items:
        value, instance = written_value(item), item.instance
        assert value is not None
        schema_of(instance.task).model.model_validate(value)  # type: ignore[arg-type]
        roles = [message.role for message in instance.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert instance.messages[-1].content == instance.answer
        if instance.task == "report":
            place = 1 if instance.language == "en" else 2
            headings = [f"{number}. {names[place]}" for number, names in REPORT_PARTS.items()]
            assert [line for line in instance.answer.splitlines() if re.match(r"[1-6]\. ", line)] == headings
        if instance.task == "consultation":
            assert len(roles) == len(value["turns"]) == 6
            assert instance.messages[1].content == value["turns"][1]["text"]


def test_a_report_names_every_fracture_with_its_loss_and_no_other(items: list[Item], corpus: Corpus) -> None:
    broken = 0
    for item in items:
        study = study_of(item, corpus)
        if item.instance.task != "report" or study is None or study.truth != "phantom":
            continue
        value = written_value(item)
        assert value is not None
        true = {f.level: f for f in study.findings if f.kind == "fracture" and f.value != "none"}
        assert levels_in(value["diagnosis"]) == set(true)
        for level, finding in true.items():
            broken += 1
            assert level is not None
            assert finding.amount is not None
            assert re.search(rf"{level.value}.{{0,60}}?{round(finding.amount)} ?%", value["findings"])
        assert "not assessable" in value["findings"].casefold() or "无法评估" in value["findings"]
        assert "phantom, not a patient" in value["basis"] or "模体，不是病人" in value["basis"]
    assert broken >= 8


def test_no_level_is_named_where_the_picture_decides_none(items: list[Item], corpus: Corpus) -> None:
    crops = [item for item in items if (study := study_of(item, corpus)) and not study.numbering_determinable]
    assert {item.instance.task for item in crops} == set(TASKS)
    for item in crops:
        value = written_value(item)
        assert value is not None
        assert not levels_in(" ".join(str(part) for name, part in value.items() if name not in ("options", "cited")))
        assert not levels_in(item.parts.note), "the record in words names a level that the picture does not decide"


def test_the_text_form_carries_the_record_and_the_picture_form_the_picture(items: list[Item]) -> None:
    heads = {"en": "Record of the study:", "zh": "检查记录："}
    for item in items:
        if item.instance.tags[2] != "study":
            continue
        told = heads[item.instance.language] in item.instance.messages[0].content
        assert told != bool(item.instance.image_sha256)


def test_chinese_comes_from_structured_facts_alone(items: list[Item]) -> None:
    chinese = [item.instance for item in items if item.instance.language == "zh"]
    assert chinese
    assert all({part.kind for part in instance.evidence} == {"study"} for instance in chinese)


def test_a_conversation_asks_for_warning_signs_before_it_advises_and_makes_up_no_history(items: list[Item]) -> None:
    for item in items:
        if item.instance.task != "consultation":
            continue
        turns = [message.content for message in item.instance.messages]
        assert re.search(r"bladder or bowel|urine or stool|大小便", turns[1])
        assert re.search(r"emergency department|急诊", turns[1])
        for said in turns[0::2]:
            assert not re.search(r"\bI have (?:had|pain|a)\b|\bmy (?:leg|back)|我(?:腰|背|腿)|疼", said), said
        assert not any(re.search(r"\d+ ?mg|毫克", turn) for turn in turns)


def test_open_answers_of_texts_are_their_own_words(items: list[Item], corpus: Corpus) -> None:
    texts = [item for item in items if item.instance.tags[2] in ("text", "figure")]
    assert {item.instance.tags[2] for item in texts} == {"text", "figure"}
    for item in texts:
        document = next(part.id for part in item.instance.evidence if part.kind == "document")
        assert item.instance.answer in corpus.documents[document].text
        assert not item.instance.answer.endswith("?")


def test_rows_of_all_tasks_are_traced_to_bytes(tasked: Path, items: list[Item]) -> None:
    chains = dict(Tracer(tasked).chains())
    assert {item.instance.task for item in items if item.instance.id in chains} == set(TASKS)
    assert [(name, link) for name, links in chains.items() for link in links if not link.ok] == []


def test_the_samples_config_asks_for_all_tasks_of_every_bundled_kind(root: Path) -> None:
    config = load_config(root / "configs" / "data" / "samples.yaml", BuildConfig, ["counts.phantom-train=2"])
    sources = {source.id: source for source in resolve_sources(config)}
    assert {source.kind for source in sources.values()} == {"cnxml", "medquad", "bank", "nifti", "phantom"}
    assert sources["phantom-train"].options["count"] == 2
    assert config.writer == "rules"
    wanted = config.draft.tasks["default"]
    assert min(wanted.multiple_choice, wanted.open, wanted.consultation, wanted.report) > 0
    assert (wanted.languages, wanted.forms) == (("en", "zh"), ("text", "image"))


def test_the_run_says_of_every_rule_how_often_it_was_applied(tasked: Path) -> None:
    drafts = read_manifest(tasked / "outputs" / "drafts", "drafts")
    applied = drafts["criteria_applied"]
    for name in ("evidence_exists", "language_as_asked", "no_unsafe_advice", "picture_need_marked"):
        assert applied[name] == sum(count["kept"] for count in drafts["counts"].values()), name
    assert min(applied[name] for name in ("fractures_as_recorded", "red_flags_before_advice", "limits_said")) > 10


# --- captions --------------------------------------------------------------------------------------------------------


def test_captions_keep_licence_and_credit_of_their_row(tasked: Path) -> None:
    rows = [
        row
        for split in ("train", "validation", "test")
        for row in read_records(tasked / "outputs" / "release" / "data" / f"{split}.parquet", ReleaseRow)
        if row.source_id == "roco"
    ]
    assert {row.tags[0] for row in rows} == {"caption_level", "caption_region", "caption_technique"}
    assert {row.licence for row in rows} == {"LicenseRef-CC-BY"}
    assert all(re.search(r"in PMC\d+, CC BY; by way of ROCO", row.attribution) for row in rows)
    split_of: dict[str, set[str]] = {}
    for row in rows:
        split_of.setdefault(row.group_id, set()).add(row.split)
    assert len(split_of) > 50
    assert all(len(splits) == 1 for splits in split_of.values())


def test_a_caption_under_a_licence_that_nobody_explained_is_left_out(tmp_path: Path, entries: dict[str, Any]) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(
        "pmc_file,licence,caption\nPMC1_a.jpg,CC BY,Fracture of L1.\nPMC2_a.jpg,CC BY-NC,Fracture of L2.\n"
        "PMC3_a.jpg,CC BY,\nPMC4_b.jpg,NC,Fracture of L4.\n",
        encoding="utf-8",
    )
    entry = {**copy.deepcopy(entries["roco"]), "path": str(table)}
    entry["options"]["licences"]["NC"] = "CC-BY-NC-4.0"
    reading = read_source(Source.model_validate(entry), table)
    assert [document.text for document in reading.documents] == ["Fracture of L1."]
    reasons = sorted((drop.reason, drop.note) for drop in reading.drops)
    refused = "its licence does not allow the uses of the source"
    assert reasons == [("caption or article is empty", ""), (refused, "CC BY-NC"), (refused, "NC")]
    entry["options"]["licences"]["CC BY"] = "MIT-ish"
    with pytest.raises(SourceError, match="not in the table of known licences"):
        read_source(Source.model_validate(entry), table)


# --- facts and words -------------------------------------------------------------------------------------------------


def test_genant_grades_stay_off_borders_and_inside_their_levels() -> None:
    assert Fracture(Level.L1, "wedge", 33.0).grade == 2
    assert Fracture(Level.L1, "wedge", 46.0).grade == 3
    assert Fracture(Level.L1, "wedge", 38.0).grade is None, "at the border of 40 %, within what readers differ by"
    assert Fracture(Level.T3, "wedge", 33.0).grade is None
    assert Fracture(None, "wedge", 33.0).grade is None
    assert Fracture(Level.L1, "wedge", None).grade is None


def graded(corpus: Corpus, **finding: Any) -> Study:
    """A study of a phantom with one more finding."""
    study = next(s for s in corpus.studies.values() if s.numbering_determinable and len(facts_of(s).whole) > 2)
    return study.model_copy(update={"findings": (*study.findings, Finding(**finding))})


def test_a_graded_finding_is_reported_with_place_side_and_scheme(corpus: Corpus) -> None:
    study = graded(
        corpus,
        kind="foraminal_stenosis",
        disc=parse_disc("L4/5"),
        side="left",
        value="severe",
        grade="3",
        scheme="Lee 2010",
    )
    rng = np.random.default_rng(0)
    english = write_task(facts_of(study), load_words("report", "en"), "image", rng, rng)
    assert isinstance(english, Report)
    assert "L4/5: narrowing of the neural foramen, severe on the left, grade 3 (Lee 2010)." in english.findings
    chinese = record_line(facts_of(study), load_words("report", "zh"), rng)
    assert "L4/5：椎间孔狭窄，重度，左侧，3级（Lee 2010）" in chinese


def test_a_finding_without_words_stops_the_item_instead_of_leaving_it_out(corpus: Corpus) -> None:
    study = graded(corpus, kind="lesion", level=Level.L1, value="of a kind nobody has named")
    rng = np.random.default_rng(0)
    with pytest.raises(Unworded, match="has no word in zh"):
        write_task(facts_of(study), load_words("report", "zh"), "image", rng, rng)


def test_a_finding_without_words_is_a_counted_drop(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_pipeline.config_tasks import StudyTasks
    from data_pipeline.drafting.tasks import draft_study_tasks
    from data_pipeline.items import Desk
    from data_pipeline.writers.prompts import all_templates

    study = graded(corpus, kind="lesion", level=Level.L1, value="of a kind nobody has named")
    desk = Desk(corpus=corpus, templates=all_templates(), seed=0)
    draft_study_tasks(desk, study, StudyTasks(report=1, languages=("zh",), forms=("text", "image")))
    assert [drop.reason for drop in desk.drops] == ["a finding has no words in this language"] * 2
    assert desk.tried[study.source_id] == 2


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda values: values["phrases"].pop("basis"), "has no phrase 'basis'"),
        (lambda values: values["phrases"].update(basis=["It rests on $nothing."]), "which it is not given"),
        (lambda values: values["phrases"].update(technique=["again"]), "says again"),
        (lambda values: values["phrases"].update(basis=[7]), "no text"),
    ],
    ids=["absent", "unknown value", "twice", "no text"],
)
def test_a_spoiled_wording_file_is_refused(
    tmp_path: Path, corpus: Corpus, spoil: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    for file in TEMPLATES.glob("*.en.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    values = yaml.safe_load((tmp_path / "report.en.yaml").read_text(encoding="utf-8"))
    spoil(values)
    (tmp_path / "report.en.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=complaint):
        write_task(
            facts_of(next(iter(corpus.studies.values()))), load_words("report", "en", tmp_path), "image", rng, rng
        )


def test_phrases_exist_in_both_languages_under_the_same_names() -> None:
    for task in TASKS:
        english, chinese = load_words(task, "en"), load_words(task, "zh")  # type: ignore[arg-type]
        assert set(english.phrases) == set(chinese.phrases), task
        assert set(english.terms) == set(chinese.terms), task
        fields = {name: set(re.findall(r"\$([a-z_]+)", " ".join(texts))) for name, texts in english.phrases.items()}
        for name, texts in chinese.phrases.items():
            assert set(re.findall(r"\$([a-z_]+)", " ".join(texts))) == fields[name], f"{task}: {name}"


def test_a_study_is_filed_under_what_its_record_states_and_not_under_advice_and_limits(
    tasked: Path, corpus: Corpus, items: list[Item]
) -> None:
    rows = {
        row.id: row
        for split in ("train", "validation", "test")
        for row in read_records(tasked / "outputs" / "release" / "data" / f"{split}.parquet", ReleaseRow)
    }
    filed: dict[bool, set[str]] = {True: set(), False: set()}
    for item in items:
        study = study_of(item, corpus)
        if study is not None and item.instance.task in ("report", "consultation") and item.instance.id in rows:
            found = {tag for tag in rows[item.instance.id].tags if tag.startswith("condition:")}
            filed[bool(facts_of(study).fractures)] |= found
    assert filed == {True: {"condition:VERT_FX"}, False: {"condition:unclassified"}}


def test_the_page_of_items_shows_conversations_turn_by_turn_and_chinese_in_html_alone(tasked: Path) -> None:
    rows = sample_rows(tasked, 60)
    talk = next(row for row in rows if row.task == "consultation")
    shown = _question(talk)
    assert [line.split(":")[0] for line in shown.splitlines() if line.startswith(("Patient:", "Physician:"))] == [
        "Patient", "Physician", "Patient", "Physician", "Patient",
    ]  # fmt: skip
    assert {row.language for row in rows} == {"en", "zh"}
    assert {row.language for row in sample_rows(tasked, 60, ("en",))} == {"en"}
