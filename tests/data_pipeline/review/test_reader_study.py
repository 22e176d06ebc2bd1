"""A reader study: what readers see and do not see, what is stored, and what comes out of it."""

import json

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from data_pipeline.review.audit.chain import verify_log
from data_pipeline.review.errors import AbsentError, AccessError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.readers import service
from data_pipeline.review.readers.study import StudyCase, StudyOutput, doctor_text, plan_cases, read_cases
from data_pipeline.review.readers.summary import summarise
from data_pipeline.review.store import open_store
from data_pipeline.review.store.tables import ReaderKey, ReaderVote, User, now
from spinemed.errors import ReadError, RecordError
from spinemed.records import DIMENSIONS, Message, Prediction, ReaderScore, Sample

MANAGER = Actor(90, "manager", frozenset({"data_manager"}))
READERS = ("anna", "bert", "cora")
REFERENCE = "Wedge fracture of L1. The left L4 root is compressed."


def actor(name):
    return Actor(1 + READERS.index(name), name, frozenset({"reviewer"}), name[0].upper())


def cases(count=8, pictures=()):
    return [
        StudyCase(
            case_id=f"case{number}",
            question=f"Describe picture {number}.",
            images=pictures,
            outputs=(
                StudyOutput(text=f"{REFERENCE} ({number})", system="reference", arm="reference"),
                StudyOutput(text=f"Wedge fracture of L2. ({number})", system="doctored reference", arm="doctored",
                            planted=("wrong_level",)),
                StudyOutput(text=f"All is well. ({number})", system="secret-model-7b"),
            ),
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'review.db'}")
    with opened.writing() as session:
        for number, name in enumerate(READERS, start=1):
            session.add(
                User(id=number, pseudonym=name, roles=["reviewer"], password_hash="x", group_name=name[0].upper(),
                     conflicts=[], created_at=now())
            )  # fmt: skip
        session.add(User(id=90, pseudonym="manager", roles=["data_manager"], password_hash="x", conflicts=[],
                         created_at=now()))  # fmt: skip
    yield opened
    opened.close()


def judged(grade=4, **other):
    return service.Judged(dimensions=dict.fromkeys(DIMENSIONS, grade), would_sign=grade > 3, **other)


def read_all(store, study, judge):
    """Every reader reads everything; returns each reader's texts in their order."""
    orders = {}
    for name in READERS:
        texts = orders.setdefault(name, [])
        while True:
            with store.reading() as session:
                number = service.next_reading(session, actor(name), study)
                view = None if number is None else service.show_output(session, actor(name), number)
            if view is None:
                break
            texts.append(view.text)
            with store.writing() as session:
                service.vote(session, actor(name), number, judge(name, view), version=view.version,
                             token=f"token-{name}-{number}")  # fmt: skip
    return orders


def make(store, **other):
    with store.writing() as session:
        return service.create_study(session, MANAGER, "study", cases(), READERS, **{"readers_per_output": 2} | other)


def test_each_reader_reads_in_an_order_of_the_own_and_each_output_has_its_readers(store):
    study = make(store, readers_per_output=3)
    orders = read_all(store, study, lambda name, view: judged())
    assert all(sorted(texts) == sorted(orders["anna"]) and len(texts) == 24 for texts in orders.values())
    assert len({tuple(texts) for texts in orders.values()}) == 3
    kinds = ["".join("rdm"[("doc" in text or "L2" in text) + 2 * ("well" in text)] for text in orders["anna"])]
    assert len({kinds[0][n : n + 3] for n in range(0, 24, 3)}) > 1  # no fixed place for a control


def test_the_number_in_an_address_tells_no_arm(store):
    """Rows are numbered as they are written: written as the file has them, each third would be the control."""
    make(store)
    with store.reading() as session:
        arms = session.scalars(select(ReaderKey.arm).order_by(ReaderKey.output_pk)).all()
    assert len({tuple(arms[place : place + 3]) for place in range(0, 24, 3)}) > 1


def test_readers_are_loaded_alike(store):
    make(store)
    with store.reading() as session:
        totals = [service.list_studies(session, actor(name))[0].total for name in READERS]
    assert sum(totals) == 8 * 3 * 2
    assert max(totals) - min(totals) <= 3


def test_nothing_that_a_reader_is_shown_tells_who_wrote_it(store):
    study = make(store)
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), study)
        view = service.show_output(session, actor("anna"), number)
    told = repr(view)
    for secret in ("secret-model", "reference", "doctored", "planted", "wrong_level"):
        assert secret not in told
    with store.reading() as session:
        for refused in (
            lambda: list(service.reader_scores(session, actor("anna"), study)),
            lambda: service.planted_of(session, actor("anna"), study),
        ):
            with pytest.raises(AccessError):
                refused()


def test_another_readers_output_is_no_output(store):
    study = make(store, readers_per_output=3)
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), study)
        for reach in (service.show_output, lambda s, a, n: service.picture_of(s, a, n, 0)):
            with pytest.raises(AbsentError):
                reach(session, actor("bert"), number)
        with pytest.raises(AbsentError):
            service.next_reading(session, actor("anna"), study + 1)
    with pytest.raises(AbsentError), store.writing() as session:
        service.vote(session, actor("bert"), number, judged(), version=1, token="token-bert")


def test_a_judgement_sent_twice_is_one_and_a_later_one_replaces_it(store):
    study = make(store)
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), study)
    with store.writing() as session:
        first = service.vote(session, actor("anna"), number, judged(4), version=1, token="token-one")
        again = service.vote(session, actor("anna"), number, judged(4), version=1, token="token-one")
        assert (again.vote_id, again.repeated) == (first.vote_id, True)
        with pytest.raises(RefusedError):
            service.vote(session, actor("anna"), number, judged(5), version=2, token="token-one")
        with pytest.raises(StaleError):
            service.vote(session, actor("anna"), number, judged(5), version=1, token="token-two")
        service.vote(session, actor("anna"), number, judged(2), version=first.version, token="token-two")
    with store.reading() as session:
        assert service.show_output(session, actor("anna"), number).judged.dimensions["coverage"] == 2
        (score,) = service.reader_scores(session, MANAGER, study)
        assert score.dimensions["coverage"] == 2
        assert len(session.query(ReaderVote).all()) == 2  # nothing is overwritten
        assert verify_log(session) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": dict.fromkeys(DIMENSIONS, 6)},
        {"dimensions": dict.fromkeys(DIMENSIONS[1:], 3)},
        {"dimensions": dict.fromkeys((*DIMENSIONS, "beauty"), 3)},
        {"errors": {"wrong_colour": 1}},
        {"errors": {"missed": -1}},
        {"comment": "x" * 5000},
        {"comment": "\x00"},
    ],
)
def test_a_judgement_that_is_not_whole_is_refused(store, wrong):
    study = make(store)
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), study)
    bad = judged().model_copy(update=wrong)
    with pytest.raises(RefusedError), store.writing() as session:
        service.vote(session, actor("anna"), number, bad, version=1, token="token-one")
    with store.reading() as session:
        assert session.query(ReaderVote).all() == []


def test_the_export_is_what_the_judges_are_measured_against(store, tmp_path):
    study = make(store, readers_per_output=3)
    read_all(store, study, lambda name, view: judged(2 if "well" in view.text else 4, comment=f"says {name}"))
    with store.reading() as session:
        scores = list(service.reader_scores(session, MANAGER, study))
    assert len(scores) == 72
    assert {(one.system, one.arm) for one in scores} == {
        ("secret-model-7b", "model"), ("reference", "reference"), ("doctored reference", "doctored")
    }  # fmt: skip
    assert len({one.output_id for one in scores}) == 24
    assert {one.group for one in scores} == {"A", "B", "C"}
    assert [ReaderScore.model_validate_json(one.model_dump_json()) for one in scores] == scores


def test_the_summary_finds_the_ceiling_and_who_missed_the_control(store):
    study = make(store, readers_per_output=3)

    def judge(name, view):
        if "L2" in view.text and name != "cora":  # cora misses every control
            return judged(2, errors={"wrong_level": 1} if name == "anna" else {"unsafe": 2})
        return judged(5 if name == "cora" else 4)

    read_all(store, study, judge)
    with store.reading() as session:
        found = summarise(
            service.reader_scores(session, MANAGER, study), service.planted_of(session, MANAGER, study), resamples=100
        )
    assert (found.cases, found.outputs, found.readers, found.readings) == (8, 24, 3, 72)
    assert found.controls.by_reader == {"anna": (8, 8), "bert": (0, 8), "cora": (0, 8)}
    assert (found.controls.found.value, found.controls.another, found.controls.missed) == (pytest.approx(1 / 3), 8, 8)
    by_reader = {one.reader: one for one in found.against}
    assert by_reader["cora"].difference.value > 0 > by_reader["anna"].difference.value
    assert by_reader["cora"].reason == "no variance"  # one grade for everything
    assert all(row.raw.value == pytest.approx(1 / 3) for row in found.ceiling)
    model = found.systems[0]
    assert (model.system, model.readings, model.mean.value) == ("secret-model-7b", 24, pytest.approx(13 / 3))
    json.dumps(found.as_dict())


def test_a_summary_of_nothing_says_so():
    found = summarise([], {})
    assert (found.readings, found.controls, found.systems) == (0, None, ())
    assert {row.alpha.reason for row in found.ceiling} == {"no unit"}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"readers": ("anna", "nobody")}, "no active reviewer"),
        ({"readers": ("anna", "manager")}, "no active reviewer"),
        ({"readers_per_output": 1}, "at least 2"),
        ({"readers_per_output": 4}, "at least 2"),
        ({"cases": []}, "no case"),
        ({"name": "  "}, "empty"),
    ],
)
def test_a_study_that_cannot_be_is_refused_whole(store, other, says):
    facts = {"name": "study", "cases": cases(), "readers": READERS} | other
    with pytest.raises(RefusedError, match=says), store.writing() as session:
        service.create_study(session, MANAGER, **facts)
    with store.reading() as session:
        assert service.list_studies(session, MANAGER) == []


def test_only_a_data_manager_makes_a_study_and_no_name_is_used_twice(store):
    with pytest.raises(AccessError), store.writing() as session:
        service.create_study(session, actor("anna"), "study", cases(), READERS)
    make(store)
    with pytest.raises(RefusedError, match="taken"):
        make(store)


def test_pictures_come_from_beside_the_file_and_from_nowhere_else(store, tmp_path):
    Image.new("L", (8, 6), 99).save(tmp_path / "one.png")
    (tmp_path / "study").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    with store.writing() as session:
        study = service.create_study(session, MANAGER, "study", cases(2, ("one.png",)), READERS, folder=tmp_path)
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), study)
        content, kind = service.picture_of(session, actor("anna"), number, 0)
        assert (content, kind) == ((tmp_path / "one.png").read_bytes(), "image/png")
        with pytest.raises(AbsentError):
            service.picture_of(session, actor("anna"), number, 1)
    for folder, name in (
        (tmp_path / "study", "../one.png"),
        (None, "one.png"),
        (tmp_path, "text.png"),
        (tmp_path, "no"),
    ):
        with pytest.raises(ReadError), store.writing() as session:
            service.create_study(session, MANAGER, "other", cases(1, (name,)), READERS, folder=folder)


def test_a_file_of_cases_is_checked_on_the_line(tmp_path):
    file = tmp_path / "study.jsonl"
    lines = [case.model_dump_json() for case in cases(2)]
    file.write_text("\n".join([*lines, lines[0]]) + "\n")
    with pytest.raises(RecordError, match=r"study.jsonl:3: field 'case_id': 'case0' stands twice"):
        read_cases(file)
    file.write_text("\n".join(lines) + "\n")
    assert read_cases(file) == cases(2)
    file.write_text("")
    with pytest.raises(RecordError, match="no case"):
        read_cases(file)
    with pytest.raises(ValueError, match="planted"):
        StudyOutput(text="x", system="y", arm="doctored")


def test_a_doctored_text_is_wrong_in_one_thing():
    seen = set()
    for seed in range(20):
        text, kind = doctor_text("L1 fracture, L1 wedge, disc L4/5, left root.", np.random.default_rng(seed))
        seen.add((text, kind))
    assert seen == {
        ("T12 fracture, T12 wedge, disc L4/5, left root.", "wrong_level"),
        ("L2 fracture, L2 wedge, disc L4/5, left root.", "wrong_level"),
        ("L1 fracture, L1 wedge, disc L4/5, right root.", "wrong_side"),
    }
    assert doctor_text("Disc L4/5 bulges left and right.", np.random.default_rng(0)) is None
    assert doctor_text("Nothing to see.", np.random.default_rng(0)) is None


def test_cases_are_planned_from_samples_and_what_systems_said():
    def sample(number, answer, kind="text"):
        return Sample(
            id=f"s{number}", axis="pathology", task="report" if kind == "text" else "level", answer=answer,
            messages=(Message(role="user", content="Report, please."),), images=(), answer_kind=kind,
            cluster=f"c{number}", origin="real", source_id="src",
        )  # fmt: skip

    def said(number, text, model="m", condition="full"):
        return Prediction(sample_id=f"s{number}", model=model, condition=condition, outcome="answered", text=text,
                          request_sha256="0" * 64)  # fmt: skip

    samples = [sample(0, REFERENCE), sample(1, "L3", "level"), sample(2, "Nothing."), sample(3, REFERENCE)]
    predictions = [said(0, "A."), said(0, "B.", "n"), said(0, "C.", "o", "blind"), said(2, "D."), said(1, "L3")]
    made, left_out = plan_cases(samples, predictions, seed=1)
    assert left_out == {"closed question": 1, "no prediction": 1, "nothing to doctor": 1}
    (case,) = made
    assert [(one.arm, one.system) for one in case.outputs] == [
        ("reference", "reference"), ("doctored", "reference, doctored"), ("model", "m"), ("model", "n")
    ]  # fmt: skip
    assert case.outputs[1].planted in (("wrong_side",), ("wrong_level",))
    assert plan_cases(samples, predictions, seed=1)[0] == made


def test_the_key_of_a_study_stands_in_a_table_of_its_own(store):
    study = make(store)
    with store.reading() as session:
        assert session.query(ReaderKey).count() == 24
        assert study == 1


def test_the_commands_make_a_study_and_write_its_judgements(store, tmp_path):
    from typer.testing import CliRunner

    from data_pipeline.review.cli import app

    file, out, database = tmp_path / "study.jsonl", tmp_path / "reader_scores.jsonl", str(tmp_path / "review.db")
    file.write_text("".join(case.model_dump_json() + "\n" for case in cases(2)))
    run = CliRunner()
    made = run.invoke(
        app,
        [
            "study",
            "--name",
            "one",
            "--cases",
            str(file),
            "--reader",
            "anna",
            "--reader",
            "bert",
            "--database",
            database,
        ],
    )
    assert made.exit_code == 0, made.output
    assert "study: one; 2 cases, 6 outputs" in made.output
    with store.reading() as session:
        number = service.next_reading(session, actor("anna"), 1)
    with store.writing() as session:
        service.vote(session, actor("anna"), number, judged(), version=1, token="token-one")
    written = run.invoke(app, ["reader-scores", "--name", "one", "--out", str(out), "--database", database])
    assert written.exit_code == 0, written.output
    assert ReaderScore.model_validate_json(out.read_text()).reader == "anna"
    unknown = run.invoke(app, ["reader-scores", "--name", "two", "--out", str(out), "--database", database])
    assert isinstance(unknown.exception, AbsentError)
