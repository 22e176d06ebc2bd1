"""A run goes into a review and its verdicts come back: into the release, its datasheet, its trace, and Label Studio."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from data_pipeline.chain import Tracer
from data_pipeline.config import BuildConfig
from data_pipeline.records import FigureDecision
from data_pipeline.review.audit import AuditLine, Head, verify_exported
from data_pipeline.review.exchange.label_studio import export_tasks, import_annotations
from data_pipeline.review.exchange.runs import import_run
from data_pipeline.review.exchange.verdicts import export_review
from data_pipeline.review.protocol import (
    SYSTEM,
    Choice,
    Edit,
    assign_run,
    correct_levels,
    decide,
    decide_figure,
    dependent_items,
    draw_plan,
    next_item,
    open_item,
)
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    Assignment,
    EvidenceRow,
    FigureReview,
    Item,
    ItemEvidence,
    StudyVolume,
    User,
    Volume,
)
from data_pipeline.reviews import HeldItem, Reviews, keep_reviews
from data_pipeline.run import run_pipeline
from spinemed.config import load_config
from spinemed.errors import ReadError, RecordError
from spinemed.records import ReviewVerdict
from spinemed.run import open_run
from spinemed.tables import read_jsonl, read_manifest

pytestmark = pytest.mark.filterwarnings("error")


def _index(run: Path) -> dict[str, dict[str, Any]]:
    lines = (run / "outputs" / "release" / "index.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def _again(run: Path) -> None:
    config = load_config(run / "config.yaml", BuildConfig)
    with open_run(run, command="data run", config=config) as opened:
        run_pipeline(opened, config)


@pytest.fixture
def reviewed(
    built: Path, tmp_path: Path, sqlite_store: Store, add_people: Callable[[Store], Any]
) -> tuple[Path, Store, Any]:
    """A copy of a finished run whose items are imported, drawn (all of them) and assigned."""
    run = tmp_path / "run"
    shutil.copytree(built, run)
    people = add_people(sqlite_store)
    account = import_run(sqlite_store, run)
    with sqlite_store.writing() as session:
        draw_plan(session, SYSTEM, account["run"], training_share=0.0)
        assign_run(session, SYSTEM, account["run"])
    return run, sqlite_store, people


def test_a_run_is_taken_in_whole_and_once(reviewed: Any) -> None:
    run, store, people = reviewed
    released = _index(run)
    with store.reading() as session:
        items = session.execute(select(Item.instance_id, Item.instance_sha256, Item.purpose)).all()
        assert {row.instance_id: row.instance_sha256 for row in items} == {
            name: row["instance_sha256"] for name, row in released.items()
        }
        benchmark = {row.instance_id for row in items if row.purpose == "benchmark"}
        assert benchmark == {name for name, row in released.items() if row["split"] == "test"} != set()
        volumes = session.execute(select(Volume.kind, Volume.scheme, Volume.path)).all()
        assert {(row.kind, row.scheme) for row in volumes} == {("image", ""), ("mask", "tptbox")}
        assert session.scalar(select(StudyVolume.handle).limit(1)) is not None
        view = open_item(session, people["a1"], next_item(session, people["a1"]))
    assert view.evidence
    assert view.draft is not None
    assert "rule-writer" not in repr(view)
    assert "prompt_sha256" not in repr(view)
    for digest in view.revision["image_sha256"]:
        assert store.blobs.get(digest)[:4] == b"\x89PNG"
    again = import_run(store, run)
    assert again["already"]
    assert again["imported"] == len(released)


def test_verdicts_decide_what_is_released(reviewed: Any, tmp_path: Path) -> None:
    run, store, people = reviewed
    before = _index(run)
    said: dict[str, str] = {}
    with store.reading() as session:
        given = session.execute(
            select(Assignment.item_id, User.pseudonym)
            .join(User, User.id == Assignment.user_id)
            .join(Item, Item.id == Assignment.item_id)
            .where(Item.answer_kind == "option")
            .order_by(Assignment.item_id)
            .limit(16)
        ).all()
    for number, name in given:
        with store.reading() as session:
            view = open_item(session, people[name], number)
        said.setdefault(view.revision["id"], _choose(view, said))
        choice = _choice(said[view.revision["id"]], view)
        with store.writing() as session:
            decide(session, people[name], number, choice, version=view.version, token=f"token-{name}-{number}")
    assert {"edited", "rejected", "approved"} == set(said.values())
    counts = export_review(store, tmp_path / "out")
    assert sum(number for name, number in counts.items() if name.startswith("benchmark: ")) == len(said)
    verdicts = {verdict.instance_id: verdict for verdict in read_jsonl(tmp_path / "out/verdicts.jsonl", ReviewVerdict)}
    assert {name: verdict.decision for name, verdict in verdicts.items()} == said
    log = list(read_jsonl(tmp_path / "out/audit.jsonl", AuditLine))
    assert {verdict.audit_sha256 for verdict in verdicts.values()} <= {line.sha256 for line in log}
    head = json.loads((tmp_path / "out/head.json").read_text())
    assert verify_exported(log, Head(**head)) == []

    keep_reviews(tmp_path / "out", run)
    _again(run)
    after = _index(run)
    rejected = {name for name, word in said.items() if word == "rejected"}
    unseen = {name for name, row in before.items() if row["split"] == "test"} - set(said)
    assert set(after) == set(before) - rejected - unseen
    for name, row in after.items():
        changed = said.get(name) == "edited"
        assert (row["instance_sha256"] != before[name]["instance_sha256"]) is changed
        assert row["split"] == before[name]["split"]
    manifest = read_manifest(run / "outputs" / "release", "release")
    assert manifest["left_out"]["rejected by reviewers"] == len(rejected)
    assert manifest["reviews"]["released"]["edited"] == sum(word == "edited" for word in said.values())
    sheet = (run / "outputs/release/DATASHEET.md").read_text()
    assert "a1, spine surgery, 10 years of practice, group A" in sheet
    assert "None recorded" not in sheet
    one = next(name for name, word in said.items() if word == "edited")
    chain = next(links for name, links in Tracer(run).chains() if name == one)
    assert all(link.ok for link in chain), [link for link in chain if not link.ok]
    assert any(link.name == "review" for link in chain)


def _choose(view: Any, said: dict[str, str]) -> str:
    if "rejected" not in said.values():
        return "rejected"
    return "edited" if "edited" not in said.values() and view.revision["options"] else "approved"


def _choice(verdict: str, view: Any) -> Choice:
    if verdict == "rejected":
        return Choice(verdict="rejected", reason="ambiguous")
    if verdict == "edited":
        option = view.revision["options"][0]
        return Choice(verdict="edited", edit=Edit(options={option["key"]: option["text"] + " (checked)"}))
    return Choice(verdict="approved")


def test_what_rests_on_corrected_levels_is_released_when_somebody_has_decided(reviewed: Any, tmp_path: Path) -> None:
    """Also a training item that was never drawn: it is held back, drawn for certain, and free once it is approved."""
    run, store, people = reviewed
    before = _index(run)
    with store.writing() as session:  # a training item that was not drawn cites a study of the run
        number = session.scalars(select(Item.id).where(Item.status == "unsampled").order_by(Item.id).limit(1)).one()
        study, handle = session.execute(
            select(EvidenceRow.id, StudyVolume.handle)
            .join(StudyVolume, StudyVolume.study_id == EvidenceRow.ref_id)
            .where(StudyVolume.kind == "image")
            .order_by(EvidenceRow.id)
            .limit(1)
        ).one()
        session.add(ItemEvidence(item_id=number, place=90, evidence_id=study))
    with store.reading() as session:
        resting = dependent_items(session, handle)
        names = dict(session.execute(select(Item.id, Item.instance_id).where(Item.id.in_(resting))).all())
    with store.writing() as session:
        done = correct_levels(
            session, people["manager"], handle, operations=[], levels=[], centroids=b"[]", labels={}, base=0,
            token="correct-1", reason="counted from the sacrum",
        )  # fmt: skip
    assert (done.marked, done.reopened) == (1, len(resting) - 1)

    counts = export_review(store, tmp_path / "out")
    held = {row.instance_id: row for row in read_jsonl(tmp_path / "out/held.jsonl", HeldItem)}
    assert set(held) == set(names.values())
    assert counts["held back"] == len(held)
    assert held[names[number]].instance_sha256 == before[names[number]]["instance_sha256"]
    assert "sacrum" not in held[names[number]].why
    keep_reviews(tmp_path / "out", run)
    _again(run)
    assert not set(held) & set(_index(run))
    left = read_manifest(run / "outputs" / "release", "release")["left_out"]
    assert left["opened again or on corrected levels, and nobody has decided on it since"] == len(held)

    with store.writing() as session:
        draw_plan(session, SYSTEM, 1, training_share=0.0)
        assign_run(session, SYSTEM, 1)
    with store.reading() as session:
        user = session.scalars(select(User.pseudonym).join(Assignment).where(Assignment.item_id == number)).one()
        version = open_item(session, people[user], number).version
    with store.writing() as session:
        decide(session, people[user], number, Choice(verdict="approved"), version=version, token="decide-1")
    export_review(store, tmp_path / "out")
    keep_reviews(tmp_path / "out", run)
    _again(run)
    assert set(held) & set(_index(run)) == {names[number]}


def test_without_a_verdict_nothing_reaches_the_test_split(reviewed: Any, tmp_path: Path) -> None:
    run, store, _ = reviewed
    before = _index(run)
    export_review(store, tmp_path / "out")
    keep_reviews(tmp_path / "out", run)
    _again(run)
    assert set(_index(run)) == {name for name, row in before.items() if row["split"] != "test"}
    left = read_manifest(run / "outputs" / "release", "release")["left_out"]
    assert left["no reviewer has approved it for the test split"] == len(before) - len(_index(run))


def test_a_run_without_reviews_says_nothing_of_them(built: Path) -> None:
    manifest = read_manifest(built / "outputs" / "release", "release")
    assert "reviews" not in manifest
    assert "reviews" not in (built / "config.yaml").read_text()


def test_damaged_reviews_are_refused_before_the_run(reviewed: Any, tmp_path: Path) -> None:
    run, store, _ = reviewed
    with pytest.raises(ReadError, match="verdicts.jsonl"):
        keep_reviews(tmp_path / "nothing", run)
    export_review(store, tmp_path / "out")
    (tmp_path / "out" / "verdicts.jsonl").write_text("{}\n")
    with pytest.raises(ReadError, match="differs from its manifest"):
        keep_reviews(tmp_path / "out", run)
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(RecordError, match="verdicts.jsonl:1"):
        keep_reviews(tmp_path / "out", run)
    assert not (run / "reviews").exists()


def test_figures_are_exported_as_a_source_reads_them(store: Store, users: Any, small_run: Any, tmp_path: Path) -> None:
    with store.writing() as session:
        row = FigureReview(
            run_id=small_run.run_id, source_id="pdf", figure_id="fig-1", caption_span_id="span-1",
            picture_sha256="5" * 64, caption="A disc.", mentions=[], pair={},
        )  # fmt: skip
        session.add(row)
        session.flush()
        number = row.id
    with store.writing() as session:
        decide_figure(session, users["manager"], number, "approve", version=1, reason="fits")
    export_review(store, tmp_path / "out", users["manager"])
    lines = list(read_jsonl(tmp_path / "out/figures/pdf.jsonl", FigureDecision))
    assert [(line.figure_id, line.decision, line.reviewer) for line in lines] == [("fig-1", "approve", "manager")]


def test_label_studio_both_ways(store: Store, users: Any, small_run: Any, tmp_path: Path) -> None:
    export_tasks(store, tmp_path / "ls")
    tasks = json.loads((tmp_path / "ls/tasks.json").read_text())
    assert len(tasks) == 12
    assert "secret-model" not in json.dumps(tasks)
    with store.reading() as session:
        mine = next_item(session, users["a1"])
    task = next(task for task in tasks if task["id"] == mine)
    task["annotations"] = [
        {"id": 7, "completed_by": {"email": "a1"}, "lead_time": 12.5, "result": [
            {"from_name": "verdict", "to_name": "question", "type": "choices", "value": {"choices": ["edit"]}},
            {"from_name": "answer", "to_name": "question", "type": "textarea", "value": {"text": ["A"]}},
        ]},
        {"id": 8, "completed_by": {"email": "nobody"}, "result": []},
    ]  # fmt: skip
    (tmp_path / "back.json").write_text(json.dumps(tasks))
    counts = import_annotations(store, tmp_path / "back.json")
    assert counts == {
        "decisions": 1, "left out: not assigned to this person, or another version of the item": 1
    }  # fmt: skip
    with store.reading() as session:
        view = open_item(session, users["a1"], mine)
    assert view.decision is not None
    assert (view.decision.verdict, view.decision.answer_key) == ("edited", "A")
    assert import_annotations(store, tmp_path / "back.json")["left out: decided already"] == 1
    export_tasks(store, tmp_path / "ls")
    told = next(task for task in json.loads((tmp_path / "ls/tasks.json").read_text()) if task["id"] == mine)
    assert told["annotations"][0]["completed_by"] == {"email": "a1"}


def test_a_file_that_is_no_export_of_label_studio_is_refused(sqlite_store: Store, tmp_path: Path) -> None:
    for content in ("{}", "[{}]", "[", '[{"meta": 3}]', "[" * 100_000):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ReadError, match="bad.json"):
            import_annotations(sqlite_store, tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("changes", "split", "why"),
    [
        ({}, "test", ""),
        ({}, "train", ""),
        ({"reviewers": ("a1",)}, "test", "one reviewer and no adjudicator"),
        ({"reviewers": ("a1",), "adjudicator": "judge"}, "test", ""),
        ({"reviewers": ("a1",), "purpose": "training"}, "train", ""),
        ({"purpose": "training"}, "test", "reviewed for training alone"),
        ({"decision": "rejected"}, "train", "rejected by reviewers"),
        ({"instance_sha256": "9" * 64}, "train", ""),
        ({"instance_sha256": "9" * 64}, "test", "no reviewer has approved it"),
    ],
)
def test_what_a_verdict_lets_through(changes: dict[str, Any], split: Any, why: str) -> None:
    plain: dict[str, Any] = {
        "instance_id": "x", "instance_sha256": "1" * 64, "decision": "approved", "purpose": "benchmark",
        "reviewers": ("a1", "b1"), "audit_sha256": "2" * 64,
    }  # fmt: skip
    verdict = ReviewVerdict.model_validate({**plain, **changes})
    said = Reviews({verdict.instance_sha256: verdict}).why_not("1" * 64, split)
    assert said.startswith(why)
    assert bool(said) is bool(why)
    known = verdict.instance_sha256 == "1" * 64
    of_patient = Reviews({verdict.instance_sha256: verdict}).why_not("1" * 64, split, patient=True)
    assert of_patient == (said if known or split == "test" else "no reviewer has approved this patient's case")
