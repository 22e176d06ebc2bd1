"""The dashboard: what is counted, for whom, and that its figures are those of the judgements."""

import csv
import datetime
import io
import json

import pytest

from data_pipeline.review.agreement import service
from data_pipeline.review.agreement.figures import Judgement, agreement_rows, ordered_scale
from data_pipeline.review.agreement.pictures import draw_agreement, draw_gold, draw_times
from data_pipeline.review.errors import AccessError, RefusedError
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.store import open_store
from data_pipeline.review.store.tables import Assignment, Decision, GoldItem, Item, ReviewRun, User, Version, now

PEOPLE = {"anna": "A", "bert": "B", "cora": "C"}
MANAGER = Actor(90, "manager", frozenset({"data_manager"}))
AUDITOR = Actor(91, "auditor", frozenset({"auditor"}))
REVIEWER = Actor(1, "anna", frozenset({"reviewer"}), "A")
ADMIN = Actor(92, "boss", frozenset({"admin"}))
FEW = 100


def judgement(item, reviewer, verdict="approved", **other):
    facts = {
        "item": item, "case": f"case{item // 2}", "task": "category", "answer_kind": "category", "scale": (),
        "reviewer": reviewer, "group": PEOPLE.get(reviewer, "A"), "week": "2026-W47", "verdict": verdict,
        "answer_key": "wedge", "levels": "L1", "side": "", "urgency": "", "seconds": 20.0,
    }  # fmt: skip
    return Judgement(**facts | other)


def coefficient(row, name):
    return next(one for one in row.coefficients if one.name.startswith(name))


def test_raw_agreement_is_the_share_of_items_on_which_two_people_decided_alike():
    rows = agreement_rows(
        [judgement(n, "anna") for n in range(20)]
        + [judgement(n, "bert", "rejected" if n < 5 else "approved") for n in range(20)],
        by="all",
        aspect="decision",
        resamples=FEW,
    )
    (row,) = rows
    assert row.units == 20
    assert coefficient(row, "raw").value == 0.75
    assert list(row.prevalence) == ["approved", "rejected"]
    assert row.prevalence["approved"] == 35 / 40


def test_who_rejects_an_item_gives_no_answer_to_compare():
    rows = agreement_rows(
        [judgement(n, "anna") for n in range(12)]
        + [judgement(n, "bert", "rejected" if n < 2 else "edited", answer_key="crush") for n in range(12)],
        by="all",
        aspect="key",
        resamples=FEW,
    )
    assert rows[0].units == 10
    assert coefficient(rows[0], "raw").value == 0.0


def test_pairs_have_two_columns_and_tasks_have_not():
    ratings = [judgement(n, who, "approved" if (n + k) % 3 else "rejected") for n in range(30)
               for k, who in enumerate(("anna", "bert") if n % 2 else ("bert", "cora"))]  # fmt: skip
    pairs = agreement_rows(ratings, by="pair", aspect="decision", resamples=FEW)
    assert [row.part for row in pairs] == ["anna / bert", "bert / cora"]
    assert all(coefficient(row, "Cohen's kappa").raters == 2 for row in pairs)
    tasks = agreement_rows(ratings, by="task", aspect="decision", resamples=FEW)
    assert not any(one.name.startswith("Cohen") for row in tasks for one in row.coefficients)
    assert coefficient(tasks[0], "Fleiss").n == 30


def test_grades_are_weighted_and_an_ungradable_image_is_no_grade():
    scale = ("1", "2", "3", "4", "5", "not assessable")
    ratings = [
        judgement(n, who, scale=scale, answer_key="not assessable" if n == 0 else str(min(5, 1 + n % 5 + k * (n > 20))))
        for n in range(30)
        for k, who in enumerate(("anna", "bert"))
    ]
    (row,) = agreement_rows(ratings, by="pair", aspect="grade", resamples=FEW)
    assert row.part == "anna / bert (1 to 5)"
    assert row.units == 29
    assert coefficient(row, "Cohen's kappa, quadratic").value > coefficient(row, "Cohen's kappa").value
    assert coefficient(row, "Gwet's AC2").value > coefficient(row, "Gwet's AC1").value


@pytest.mark.parametrize(
    ("categories", "order"),
    [
        (("1", "2", "3", "4", "5", "not assessable"), ("1", "2", "3", "4", "5")),
        (("I", "II", "III", "IV", "V"), ("I", "II", "III", "IV", "V")),
        (("none", "1", "2", "3", "not assessable"), ()),  # Modic types are no grades
        (("none", "wedge", "crush"), ()),
        (("2", "1"), ()),
        ((), ()),
    ],
)
def test_only_ascending_grades_are_an_ordered_scale(categories, order):
    assert ordered_scale(categories) == order


def test_measurements_have_limits_in_their_unit():
    ratings = [
        judgement(n, who, answer_kind="number", answer_key=f"{20 + n + k * (1.0 + 0.1 * (n % 3)):.1f} mm")
        for n in range(20)
        for k, who in enumerate(("anna", "bert"))
    ]
    (row,) = agreement_rows(ratings, by="pair", aspect="measurement", resamples=FEW)
    assert row.limits["bias"]["value"] == pytest.approx(1.095)
    assert coefficient(row, "ICC").value > 0.95
    (whole,) = agreement_rows(ratings, by="all", aspect="measurement", resamples=FEW)
    assert [one.name for one in whole.coefficients] == ["Krippendorff's alpha, interval"]


# --- the services ----------------------------------------------------------------------------------------------------


LATER = datetime.date(2026, 11, 27)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Twenty-five benchmark items judged by anna and bert, five of them unsettled; two are gold."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('agreement') / 'review.db'}")
    with store.writing() as session:
        for number, (name, group) in enumerate(PEOPLE.items(), start=1):
            session.add(
                User(id=number, pseudonym=name, roles=["reviewer"], password_hash="x", group_name=group, conflicts=[],
                     created_at=now())
            )  # fmt: skip
        session.add(User(id=90, pseudonym="manager", roles=["data_manager"], password_hash="x", conflicts=[],
                         created_at=now()))  # fmt: skip
        session.add(ReviewRun(id=1, name="run", folder="/x", revised_sha256="0" * 64, imported_at=now(), account={}))
        session.flush()
        for number in range(1, 26):
            add_item(session, number)
        for item, key in ((3, "4"), (4, "5")):  # bert rejects the second
            session.add(
                GoldItem(item_id=item, verdict="approved", answer_key=key, levels=["L1"], made_by=90, made_at=now())
            )
        session.flush()
    yield store
    store.close()


def add_item(session, number):
    settled = number <= 20
    session.add(
        Item(
            id=number, run_id=1, instance_id=f"i{number}", instance_sha256=f"{number:064x}", task="category",
            axis="pathology", language="en", origin="real", source_id="s", group_id=f"patient{number % 12}",
            answer_kind="category", answer_key="3", levels=["L1"], purpose="benchmark", risk=1.0, sampled=True,
            reviews_needed=2, status="approved" if settled else "open",
        )
    )  # fmt: skip
    session.flush()
    shown = {"categories": ["1", "2", "3", "4", "5"], "messages": []}
    session.add(
        Version(
            id=number, item_id=number, number=1, kind="revision", shown=json.dumps(shown), instance="{}",
            sha256=f"{number:064x}", made_at=now(),
        )
    )  # fmt: skip
    session.flush()
    for user in (1, 2):
        done = user == 1 or settled
        assignment = Assignment(item_id=number, user_id=user, place=number / 30, assigned_at=now(),
                                status="done" if done else "open")  # fmt: skip
        session.add(assignment)
        session.flush()
        if not done:
            continue
        day = datetime.date(2026, 11, 2) + datetime.timedelta(days=number)
        decision = Decision(
            assignment_id=assignment.id, item_id=number, user_id=user, group_name="AB"[user - 1], round=1,
            verdict="rejected" if (user == 2 and number % 4 == 0) else "approved", shown_version_id=number,
            answer_key=str(1 + (number + user * (number % 7 == 0)) % 5), levels=["L1"], side="", urgency="", reason="",
            seconds=10.0 * user + number, token=f"token-{number}-{user}", payload_sha256="0" * 64,
            made_at=f"{day.isoformat()}T10:00:00.000000Z",
        )  # fmt: skip
        session.add(decision)
        session.flush()
        assignment.decision_id = decision.id
    session.flush()


def test_unsettled_items_are_counted_for_nobody(filled):
    with filled.reading() as session:
        for actor in (MANAGER, AUDITOR, REVIEWER):
            (row,) = service.agreement(session, actor, by="all", resamples=FEW, today=LATER)
            assert row.units == 20
            assert coefficient(row, "raw").value == 15 / 20
            assert coefficient(row, "raw").clusters == 12


def test_who_judges_sees_no_pair_no_group_and_no_small_row(filled):
    with filled.reading() as session:
        for by in ("pair", "group"):
            assert service.agreement(session, MANAGER, by=by, resamples=FEW)
            for actor in (REVIEWER, ADMIN):
                with pytest.raises(AccessError):
                    service.agreement(session, actor, by=by)
        assert len(service.agreement(session, MANAGER, by="week", resamples=FEW)) > 2
        assert service.agreement(session, REVIEWER, by="week", resamples=FEW, today=LATER) == []
        for actor in (REVIEWER, ADMIN):
            with pytest.raises(AccessError):
                service.gold_drift(session, actor)


def test_a_dispute_that_waits_counts_like_one_that_was_settled(filled):
    with filled.writing() as session:
        for number in (4, 8, 12):
            session.get(Item, number).status = "disputed"
        session.flush()
        (row,) = service.agreement(session, MANAGER, by="all", resamples=FEW)
        assert (row.units, coefficient(row, "raw").value) == (20, 15 / 20)
        session.rollback()


def test_no_figure_of_who_judges_moves_with_the_decision_just_made(filled):
    """Who sees whether a decision was agreed to can still take it back."""
    day = datetime.date(2026, 11, 14)  # of the twelfth item
    with filled.reading() as session:
        (row,) = service.agreement(session, REVIEWER, by="all", resamples=FEW, today=day)
        assert row.units == 11
        (row,) = service.agreement(session, MANAGER, by="all", resamples=FEW, today=day)
        assert row.units == 20
        assert service.progress(session, REVIEWER).items == {"benchmark": {"decided": 20, "open": 5}}


def test_progress_and_time_are_ones_own_for_who_judges(filled):
    with filled.reading() as session:
        own = service.progress(session, REVIEWER)
        assert [one.reviewer for one in own.people] == ["anna"]
        everybody = service.progress(session, MANAGER, today=datetime.date(2026, 11, 27))
        assert [one.reviewer for one in everybody.people] == ["anna", "bert"]
        assert [one.done for one in everybody.people] == [25, 20]
        assert [one.assigned for one in everybody.people] == [25, 25]
        assert everybody.people[0].last_week == 7
        assert everybody.people[0].median_seconds == 23.0
        assert everybody.items == {"benchmark": {"approved": 20, "open": 5}}
        assert len(service.times(session, REVIEWER)["category"]) == 25
        assert len(service.times(session, MANAGER)["category"]) == 45


def test_gold_items_are_marked_by_week(filled):
    with filled.reading() as session:
        weeks = service.gold_drift(session, MANAGER)
    assert [(one.reviewer, one.week, one.right, one.judged) for one in weeks] == [
        ("anna", "2026-W45", 2, 2),
        ("bert", "2026-W45", 1, 2),
    ]


def test_a_word_that_is_none_is_refused(filled):
    with filled.reading() as session:
        for wrong in ({"by": "reviewer"}, {"aspect": "mood"}):
            with pytest.raises(RefusedError):
                service.agreement(session, MANAGER, **wrong)


def test_a_new_decision_changes_the_stamp_that_kept_figures_hang_on(filled):
    with filled.writing() as session:
        before = service.stamp(session)
        session.get(Item, 25).status = "rejected"
        session.flush()
        assert service.stamp(session) != before
        session.rollback()


def test_the_csv_holds_every_coefficient_with_its_reason_and_no_formula(filled):
    with filled.reading() as session:
        rows = service.agreement(session, MANAGER, by="pair", aspect="grade", resamples=FEW)
    stream = io.StringIO()
    hostile = agreement_rows(
        [judgement(n, who, task="=cmd()") for n in range(3) for who in ("anna", "bert")], by="task", aspect="decision"
    )
    csv.writer(stream).writerows(service.csv_lines([*rows, *hostile]))
    table = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert {line["coefficient"] for line in table} >= {"raw agreement", "Cohen's kappa, quadratic weights"}
    assert any(line["reason"] == "one category" and line["value"] == "" for line in table)
    assert {line["part"] for line in table if "cmd" in line["part"]} == {"'=cmd()"}


def test_pictures_are_the_same_bytes_again_and_hold_hostile_names(filled):
    with filled.reading() as session:
        rows = service.agreement(session, MANAGER, by="pair", aspect="grade", resamples=FEW)
        weeks, times = service.gold_drift(session, MANAGER), service.times(session, MANAGER)
    hostile = agreement_rows(
        [judgement(n, who, task="$\\frac{1}$") for n in range(3) for who in ("anna", "bert")],
        by="task", aspect="decision", resamples=FEW,
    )  # fmt: skip
    for draw in (
        lambda: draw_agreement([*rows, *hostile], x_label="agreement", units="items"),
        lambda: draw_gold(weeks, y_label="right"),
        lambda: draw_times(times, x_label="seconds"),
        lambda: draw_times({}, x_label="seconds"),
    ):
        first = draw()
        assert first == draw()
        assert first.startswith(b"\x89PNG")
