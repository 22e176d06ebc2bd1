"""Who sees what, what is decided, and what becomes of it; the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import importlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from data_pipeline.review.errors import AbsentError, AccessError, RefusedError, StaleError
from data_pipeline.review.protocol import (
    SYSTEM,
    Actor,
    Choice,
    Edit,
    actor_of,
    add_gold,
    add_user,
    adjudicate,
    assign_run,
    count_disputes,
    decide,
    dispute_queue,
    document_text,
    flag_claim,
    gold_scores,
    hand_on,
    history_of,
    list_items,
    my_progress,
    my_queue,
    next_item,
    open_dispute,
    open_item,
    other_decision,
    save_draft,
    undo,
    withdraw_flag,
)
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import Assignment, Decision, Item, Version

APPROVE = Choice(verdict="approved")
REJECT = Choice(verdict="rejected", reason="the picture shows no disc")
EDIT = Choice(verdict="edited", edit=Edit(answer="A"), reason="one level too low")
_tokens = (f"token-{number:06d}" for number in itertools.count())


def pair_of(store: Store, item_id: int) -> list[Actor]:
    """The reviewers of an item."""
    with store.reading() as session:
        ids = session.scalars(
            select(Assignment.user_id)
            .where(Assignment.item_id == item_id, Assignment.status != "void")
            .order_by(Assignment.id)
        ).all()
        return [actor_of(session, user_id) for user_id in ids]


def say(store: Store, actor: Actor, item_id: int, choice: Choice, token: str = "") -> Any:
    """Open an item and decide it."""
    with store.reading() as session:
        version = open_item(session, actor, item_id).version
    with store.writing() as session:
        return decide(session, actor, item_id, choice, version=version, token=token or next(_tokens))


def status_of(store: Store, item_id: int) -> str:
    with store.reading() as session:
        return str(session.scalar(select(Item.status).where(Item.id == item_id)))


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What is asked of the database within the block."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    event.remove(store.engine, "before_cursor_execute", note)


# --- blinding --------------------------------------------------------------------------------------------------------


def test_the_second_reviewer_is_of_another_group_also_where_the_first_one_left(
    store: Store, users: Any, small_run: Any
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    say(store, first, item, APPROVE)
    with store.writing() as session:
        session.execute(text(f"UPDATE users SET active = {'FALSE' if store.dialect == 'postgresql' else 0} "
                             f"WHERE id = {first.id}"))  # fmt: skip
        hand_on(session, users["manager"], second.id, why="ill")
    with store.reading() as session:
        late = session.scalars(
            select(Assignment.user_id).where(Assignment.item_id == item, Assignment.status == "open")
        ).all()
        assert len(late) == 1
        assert actor_of(session, late[0]).group != first.group


def test_nothing_a_reviewer_can_ask_for_tells_the_model_or_the_other_decision(
    store: Store, users: Any, small_run: Any
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    secret = Choice(
        verdict="edited", edit=Edit(answer="A", messages={0: "Which zebra?\nA. L3/4\nB. L4/5"}), reason="xyzzy"
    )
    say(store, first, item, secret)
    with store.writing() as session:
        flag_claim(session, first, item, message=0, start=0, end=5, kind="invented", note="plugh", token=next(_tokens))
        save_draft(session, first, item, {"reason": "plover"}, version=0)
    with statements(store) as asked, store.reading() as session:
        told = [
            open_item(session, second, item), my_queue(session, second), my_progress(session, second),
            next_item(session, second), document_text(session, second, item, "doc-1"),
        ]  # fmt: skip
    for word in (
        "secret-model",
        "model-writer",
        "xyzzy",
        "plugh",
        "plover",
        "zebra",
        first.pseudonym,
        "3" * 64,
        "4" * 64,
    ):
        assert word not in repr(told), word
    for statement in asked:
        for column in ("versions.instance", "gold_items", "users.pseudonym", "adjudications", "audit"):
            assert column not in statement, statement
    for attempt in (
        lambda session: other_decision(session, second, item),
        lambda session: open_dispute(session, second, item),
        lambda session: history_of(session, second, item),
        lambda session: list_items(session, second),
        lambda session: gold_scores(session, second),
        lambda session: open_item(session, users["judge"], item),
        lambda session: open_dispute(session, users["judge"], item),
    ):
        with pytest.raises((AbsentError, AccessError)), store.writing() as session:
            attempt(session)


def test_items_of_others_do_not_exist(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    pair = {actor.id for actor in pair_of(store, item)}
    stranger = next(users[name] for name in ("a1", "b1", "c1", "a2", "b2", "c2") if users[name].id not in pair)
    said = []
    for number in (item, 999_999, -1, 2**40, True, "1; DROP TABLE items"):
        with pytest.raises(AbsentError) as error, store.reading() as session:
            open_item(session, stranger, number)  # type: ignore[arg-type]
        said.append(str(error.value))
        with pytest.raises(AbsentError), store.writing() as session:
            decide(session, stranger, number, APPROVE, version=1, token=next(_tokens))  # type: ignore[arg-type]
    assert said[0] == said[1]
    with pytest.raises(AbsentError), store.reading() as session:
        document_text(session, stranger, item, "doc-1")


def test_who_judges_cannot_be_who_sees_everything(store: Store, users: Any) -> None:
    for roles in (["reviewer", "auditor"], ["adjudicator", "data_manager"]):
        with pytest.raises(RefusedError, match="behind the blinding"), store.writing() as session:
            add_user(session, SYSTEM, "both", "a long password", roles, group="A")


def test_the_other_decision_is_shown_when_both_decided_and_then_the_own_one_stands(
    store: Store, users: Any, small_run: Any
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    mine = say(store, first, item, APPROVE)
    with pytest.raises(AbsentError), store.writing() as session:
        other_decision(session, first, item)
    say(store, second, item, REJECT)
    with store.writing() as session:
        assert [one.verdict for one in other_decision(session, first, item)] == ["rejected"]
    with pytest.raises(RefusedError, match="was shown to you"), store.writing() as session:
        undo(session, first, item, version=mine.version, token=next(_tokens))


# --- deciding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "becomes"),
    [
        (APPROVE, APPROVE, "approved"),
        (REJECT, Choice(verdict="rejected", reason="another reason"), "rejected"),
        (EDIT, Choice(verdict="edited", edit=Edit(answer="A"), reason="worded otherwise"), "edited"),
        (APPROVE, REJECT, "disputed"),
        (APPROVE, EDIT, "disputed"),
        (EDIT, Choice(verdict="edited", edit=Edit(levels=("L3", "L4"))), "disputed"),
        (EDIT, Choice(verdict="edited", edit=Edit(answer="A", side="right")), "disputed"),
        (EDIT, Choice(verdict="edited", edit=Edit(answer="A", urgency="urgent")), "disputed"),
    ],
)
def test_two_decisions_make_a_state(
    store: Store, users: Any, small_run: Any, one: Choice, other: Choice, becomes: str
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    say(store, first, item, one)
    assert status_of(store, item) == "open"
    say(store, second, item, other)
    assert status_of(store, item) == becomes


def test_one_decision_is_enough_for_training(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.items[-1]
    (only,) = pair_of(store, item)
    say(store, only, item, APPROVE)
    assert status_of(store, item) == "approved"


def test_a_request_that_is_sent_twice_is_one_decision(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    first = pair_of(store, item)[0]
    once = say(store, first, item, EDIT, token="the-same-token")
    with store.writing() as session:
        twice = decide(session, first, item, EDIT, version=1, token="the-same-token")
    assert twice.repeated
    assert (twice.decision_id, twice.version) == (once.decision_id, once.version)
    with pytest.raises(RefusedError, match="another decision"), store.writing() as session:
        decide(session, first, item, APPROVE, version=2, token="the-same-token")
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Decision)) == 1
        assert session.scalar(select(func.count()).where(Version.item_id == item, Version.kind == "edit")) == 1


def test_an_older_page_is_refused_and_nothing_is_lost(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    first = pair_of(store, item)[0]
    done = say(store, first, item, APPROVE)
    with store.writing() as session:
        undo(session, first, item, version=done.version, token=next(_tokens))
    with pytest.raises(StaleError), store.writing() as session:
        decide(session, first, item, REJECT, version=1, token=next(_tokens))
    with pytest.raises(StaleError), store.writing() as session:
        undo(session, first, item, version=1, token=next(_tokens))
    with store.reading() as session:
        rows = session.execute(select(Decision.verdict, Decision.undoes_id).order_by(Decision.id)).all()
        assert [tuple(row) for row in rows] == [("approved", None), ("undone", done.decision_id)]
        assert open_item(session, first, item).decision is None


def test_taking_back_the_last_decision_opens_what_it_settled(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    say(store, first, item, APPROVE)
    done = say(store, second, item, REJECT)
    assert status_of(store, item) == "disputed"
    with store.writing() as session:
        undo(session, second, item, version=done.version, token=next(_tokens), why="wrong key")
    assert status_of(store, item) == "open"
    say(store, second, item, APPROVE)
    assert status_of(store, item) == "approved"


def test_what_all_decided_on_an_earlier_day_is_not_taken_back(
    store: Store, users: Any, small_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    module = importlib.import_module("data_pipeline.review.protocol.decide")  # the package's name is the function
    monkeypatch.setattr(module, "now", lambda: "2026-01-02T03:04:05.000000Z")
    alone = say(store, first, item, APPROVE)
    monkeypatch.undo()
    with store.writing() as session:  # nobody else decided: no figure can tell anything
        undo(session, first, item, version=alone.version, token=next(_tokens))
    monkeypatch.setattr(module, "now", lambda: "2026-01-02T03:04:05.000000Z")
    say(store, first, item, APPROVE)
    done = say(store, second, item, REJECT)
    monkeypatch.undo()
    with store.writing() as session, pytest.raises(RefusedError, match="figures of an earlier day"):
        undo(session, second, item, version=done.version, token=next(_tokens))


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (Choice(verdict="rejected"), "needs a reason"),
        (Choice(verdict="edited"), "belongs to the verdict"),
        (Choice(verdict="approved", edit=Edit(answer="A")), "belongs to the verdict"),
        (Choice(verdict="edited", edit=Edit(answer="B")), "changes nothing"),
        (Choice(verdict="edited", edit=Edit(answer="Z")), "not among the option keys"),
        (Choice(verdict="edited", edit=Edit(levels=("L9",))), "levels"),
        (Choice(verdict="edited", edit=Edit(side="up")), "is none of"),
        (Choice(verdict="edited", edit=Edit(messages={7: "x"})), "no message 7"),
        (Choice(verdict="edited", edit=Edit(messages={0: "a\x00b"})), "control characters"),
        (Choice(verdict="edited", edit=Edit(messages={0: "<image> more"})), "placeholders"),
        (Choice(verdict="rejected", reason="\ud800"), "control characters"),
    ],
)
def test_a_choice_that_makes_no_item_is_refused_and_nothing_is_stored(
    sqlite_store: Store, add_people: Callable[..., Any], add_run: Callable[..., Any], choice: Choice, why: str
) -> None:
    add_people(sqlite_store)
    run = add_run(sqlite_store, items=2)
    with sqlite_store.writing() as session:
        assign_run(session, SYSTEM, run.run_id)
    actor = pair_of(sqlite_store, run.items[0])[0]
    with pytest.raises(RefusedError, match=why), sqlite_store.writing() as session:
        decide(session, actor, run.items[0], choice, version=1, token=next(_tokens))
    with sqlite_store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Decision)) == 0
        assert session.scalar(select(func.count()).where(Version.kind == "edit")) == 0


def test_an_edited_option_changes_where_it_is_printed_and_where_it_is_kept(
    store: Store, users: Any, small_run: Any
) -> None:
    item = small_run.benchmark[0]
    first = pair_of(store, item)[0]
    say(store, first, item, Choice(verdict="edited", edit=Edit(options={"A": "L5/S1"}), reason="too easy"))
    with store.reading() as session:
        edit = open_item(session, first, item).edit
    assert edit is not None
    assert edit["options"][0] == {"key": "A", "text": "L5/S1"}
    assert edit["messages"][0]["content"].endswith("A. L5/S1\nB. L4/5")
    assert edit["changes"][-1] == "edited by a reviewer: too easy"


def test_flags_and_autosave_are_ones_own_and_can_be_taken_back(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    token = next(_tokens)
    with store.writing() as session:
        flag = flag_claim(session, first, item, message=0, start=0, end=5, kind="invented", token=token)
        assert flag == flag_claim(session, first, item, message=0, start=0, end=5, kind="invented", token=token)
        assert save_draft(session, first, item, {"answer": "A"}, version=0) == 1
    with pytest.raises(StaleError), store.writing() as session:
        save_draft(session, first, item, {"answer": "old tab"}, version=0)
    with store.reading() as session:
        view = open_item(session, first, item)
        assert ([one.quote for one in view.flags], view.autosave) == (["Which"], {"answer": "A"})
    with pytest.raises(AbsentError), store.writing() as session:
        withdraw_flag(session, second, flag, token=next(_tokens))
    with store.writing() as session:
        withdraw_flag(session, first, flag, token=next(_tokens))
    with store.reading() as session:
        assert open_item(session, first, item).flags == ()


def test_one_token_for_two_items_at_once_is_one_decision_and_no_crash(store: Store, users: Any, small_run: Any) -> None:
    with store.reading() as session:
        mine = session.scalars(select(Assignment.item_id).where(Assignment.user_id == users["a1"].id)).all()

    def attempt(item: int) -> str:
        try:
            with store.writing() as session:
                decide(session, users["a1"], item, APPROVE, version=1, token="one-token-for-all")
        except (StaleError, RefusedError):
            return "refused"
        return "stored"

    with ThreadPoolExecutor(len(mine)) as pool:
        outcome = Counter(pool.map(attempt, mine))
    assert outcome == {"stored": 1, "refused": len(mine) - 1}


def test_two_tabs_at_once_make_one_decision(store: Store, users: Any, small_run: Any) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)

    def attempt(number: int) -> str:
        actor = (first, second)[number % 2]
        try:
            with store.writing() as session:
                decide(session, actor, item, APPROVE, version=1, token=f"tab-token-{number}")
        except StaleError:
            return "stale"
        return "stored"

    with ThreadPoolExecutor(8) as pool:
        outcome = Counter(pool.map(attempt, range(8)))
    assert outcome == {"stored": 2, "stale": 6}
    assert status_of(store, item) == "approved"


# --- adjudication ----------------------------------------------------------------------------------------------------


def test_a_disagreement_is_settled_once_by_somebody_who_did_not_review_it(
    store: Store, users: Any, small_run: Any
) -> None:
    item = small_run.benchmark[0]
    first, second = pair_of(store, item)
    say(store, first, item, APPROVE)
    say(store, second, item, EDIT)
    with store.writing() as session:
        both = add_user(session, SYSTEM, "both", "a long password", ["reviewer", "adjudicator"], group="D")
        session.execute(text(f'UPDATE users SET roles = \'["reviewer", "adjudicator"]\' WHERE id = {first.id}'))
    with store.reading() as session:
        reviewer = actor_of(session, first.id)
        judge = actor_of(session, both)
        assert dispute_queue(session, reviewer) == []
        assert count_disputes(session, judge) == 1
        dispute = open_dispute(session, judge, item)
    assert set(dispute.disagreed) == {"decision", "key"}
    assert [one.letter for one in dispute.opinions] == ["A", "B"]
    told = repr(dispute)
    assert "secret-model" not in told
    assert repr(first.pseudonym) not in told
    assert repr(second.pseudonym) not in told
    with pytest.raises(AbsentError), store.writing() as session:
        adjudicate(session, reviewer, item, Choice(verdict="approved", reason="mine"), version=dispute.version,
                   token=next(_tokens))  # fmt: skip
    with pytest.raises(RefusedError, match="made no edit"), store.writing() as session:
        adjudicate(session, judge, item, Choice(verdict="edited", reason="x"), version=dispute.version,
                   token=next(_tokens), take="A")  # fmt: skip
    choice, token = Choice(verdict="edited", reason="B is right"), next(_tokens)
    with store.writing() as session:
        done = adjudicate(session, judge, item, choice, version=dispute.version, token=token, take="B")
    with store.writing() as session:
        again = adjudicate(session, judge, item, choice, version=dispute.version, token=token, take="B")
    assert again.repeated
    assert again.decision_id == done.decision_id
    with pytest.raises(StaleError), store.writing() as session:
        adjudicate(session, users["judge"], item, choice, version=dispute.version, token=next(_tokens), take="B")
    assert status_of(store, item) == "edited"
    with store.reading() as session:
        history = history_of(session, users["manager"], item)
    assert (history.model, history.adjudications[0]["by"]) == ("secret-model-7b", "both")
    assert [one["by"] for one in history.decisions] == [first.pseudonym, second.pseudonym]


# --- gold items and size ---------------------------------------------------------------------------------------------


def test_gold_items_are_met_by_everybody_and_settle_nothing(
    store: Store, users: Any, add_run: Callable[..., Any]
) -> None:
    run = add_run(store, items=6)
    gold = run.items[0]
    with store.writing() as session:
        add_gold(session, users["manager"], gold, verdict="approved")
        assign_run(session, SYSTEM, run.run_id)
    everybody = pair_of(store, gold)
    assert len(everybody) == 6
    plain = run.items[1]
    with store.reading() as session:
        marked = open_item(session, everybody[0], gold)
        actor = pair_of(store, plain)[0]
        other = open_item(session, actor, plain)
    assert set(vars(marked)) == set(vars(other))
    assert (marked.purpose, marked.task, marked.status) == (other.purpose, other.task, other.status)
    say(store, everybody[0], gold, APPROVE)
    say(store, everybody[1], gold, EDIT)
    say(store, everybody[2], gold, REJECT)
    assert status_of(store, gold) == "open"
    with store.reading() as session:
        scores = {
            score.pseudonym: (score.seen, score.right, score.wrong_in)
            for score in gold_scores(session, users["auditor"])
        }
    assert scores[everybody[0].pseudonym] == (1, 1, {})
    assert scores[everybody[1].pseudonym] == (1, 0, {"decision": 1, "key": 1})
    assert scores[everybody[2].pseudonym] == (1, 0, {"decision": 1})
    for actor in everybody[:3]:  # how many opinions there are would tell that it is gold
        with store.writing() as session, pytest.raises(AbsentError):
            other_decision(session, actor, gold)


def test_the_next_item_is_one_step_in_an_index_and_a_page_a_fixed_number_of_queries(
    store: Store, users: Any, small_run: Any
) -> None:
    actor = pair_of(store, small_run.benchmark[0])[0]
    with statements(store) as asked, store.reading() as session:
        next_item(session, actor)
        open_item(session, actor, small_run.benchmark[0])
    selects = [statement for statement in asked if statement.startswith("SELECT")]
    assert len(selects) <= 7
    plan = "EXPLAIN " if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
    with store.engine.connect() as connection:
        if store.dialect == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
        rows = connection.execute(
            text(
                f"{plan} SELECT item_id FROM assignments WHERE user_id = 1 AND status = 'open' AND place > 0.5 "
                "ORDER BY place LIMIT 1"
            )
        ).all()
    told = " ".join(str(row) for row in rows)
    assert "ix_assignments_user_id_status_place" in told
    assert "Sort" not in told
    assert "TEMP B-TREE" not in told
