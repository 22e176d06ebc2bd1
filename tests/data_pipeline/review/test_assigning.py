"""Who is asked about which item: two of two groups, shared fairly, conflicts honoured, the same draw from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select, text

from data_pipeline.review.exchange.loading import risk_of
from data_pipeline.review.protocol import SYSTEM, actor_of, assign_run, draw_plan, hand_on, my_progress
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import Assignment, Item


def test_every_benchmark_item_gets_two_reviewers_of_two_groups_and_work_is_shared(
    store: Store, users: Any, add_run: Callable[..., Any]
) -> None:
    run = add_run(store, items=60)
    with store.writing() as session:
        done = assign_run(session, SYSTEM, run.run_id, seed=3)
    assert (done.assignments, done.short) == (30 * 2 + 30, {})
    with store.reading() as session:
        rows = session.execute(
            select(Assignment.item_id, Assignment.user_id, Assignment.place).order_by(Assignment.id)
        ).all()
    groups: dict[int, set[str]] = {}
    by_id = {actor.id: actor for actor in users.by_name.values()}
    for row in rows:
        groups.setdefault(row.item_id, set()).add(by_id[row.user_id].group)
    assert all(len(groups[item]) == 2 for item in run.benchmark)
    load = Counter(row.user_id for row in rows)
    assert max(load.values()) - min(load.values()) <= 1
    # Everybody meets the items in an order of their own, and the same seed draws the same again.
    orders = [[row.item_id for row in sorted(rows, key=lambda row: row.place) if row.user_id == user] for user in load]
    assert all(order != sorted(order) for order in orders)


def test_the_same_seed_assigns_alike_and_another_one_otherwise(
    store: Store, users: Any, add_run: Callable[..., Any]
) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        run = add_run(store, items=20, name=f"run{number}")
        with store.writing() as session:
            session.execute(text("DELETE FROM assignments"))
            names = {"run0": "same", "run1": "same", "run2": "same"}
            for name, shared in names.items():  # ids that the draw hashes must be alike for the comparison
                session.execute(text(f"UPDATE items SET source_id = '{shared}' WHERE source_id = '{name}'"))
            assign_run(session, SYSTEM, run.run_id, seed=seed)
        with store.reading() as session:
            rows = session.execute(
                select(Item.instance_id, Assignment.user_id, Assignment.place)
                .join(Item, Item.id == Assignment.item_id)
                .order_by(Item.instance_id, Assignment.user_id)
            ).all()
        found.append([tuple(row) for row in rows])
    assert found[0] == found[1] != found[2]


def test_a_conflict_is_honoured_and_an_item_that_too_few_may_judge_is_counted(
    store: Store, users: Any, add_run: Callable[..., Any]
) -> None:
    with store.writing() as session:
        session.execute(text("UPDATE users SET conflicts = '[\"book\"]' WHERE pseudonym <> 'a2'"))
    run = add_run(store, items=8)
    with store.writing() as session:
        done = assign_run(session, SYSTEM, run.run_id)
    assert done.short == {"too few reviewers without a conflict, or too few groups": 4}
    with store.reading() as session:
        names = {actor_of(session, number).pseudonym for number in session.scalars(select(Assignment.user_id))}
    assert names == {"a2"}


def test_the_sample_is_all_of_the_benchmark_and_of_training_by_risk(
    store: Store, users: Any, add_run: Callable[..., Any]
) -> None:
    run = add_run(store, items=400, training_share=0.0)
    with store.writing() as session:
        session.execute(text("UPDATE items SET risk = 3 WHERE purpose = 'training' AND id % 2 = 0"))
        counts = draw_plan(session, SYSTEM, run.run_id, training_share=0.3, seed=5)
        again = draw_plan(session, SYSTEM, run.run_id, training_share=0.0, seed=6)
    assert counts["benchmark"] == {"items": 0, "drawn": 0}  # drawn by the fixture already, all 200
    assert 40 <= counts["training"]["drawn"] <= 80
    assert again["training"]["drawn"] == 0
    with store.reading() as session:
        drawn = Counter(session.scalars(select(Item.risk).where(Item.purpose == "training", Item.sampled)))
        assert session.scalar(select(func.count()).where(Item.purpose == "benchmark", Item.status == "open")) == 200
    assert drawn[3.0] > 1.8 * drawn[1.0]


def test_no_patients_case_is_left_to_chance(
    store: Store, users: Any, add_run: Callable[..., Any], make_instance: Callable[..., Any]
) -> None:
    run = add_run(store, items=8, training_share=0.0)
    risk = risk_of(make_instance(1), hospital=True)
    with store.writing() as session:
        session.execute(text(f"UPDATE items SET risk = {risk} WHERE id = {run.items[-1]}"))
        counts = draw_plan(session, SYSTEM, run.run_id, training_share=0.0, seed=5)
        drawn = session.scalars(select(Item.id).where(Item.purpose == "training", Item.sampled)).all()
    assert counts["training"] == {"items": 4, "drawn": 1}
    assert drawn == [run.items[-1]]


def test_work_that_is_handed_on_goes_to_others(store: Store, users: Any, small_run: Any) -> None:
    with store.reading() as session:
        had = my_progress(session, users["a1"]).open
    with store.writing() as session:
        assert hand_on(session, users["manager"], users["a1"].id, why="left") == had > 0
    with store.reading() as session:
        assert my_progress(session, users["a1"]).open == 0
        assert session.scalar(select(func.count()).where(Assignment.status == "open")) == 18
        assert actor_of(session, users["a1"].id).pseudonym == "a1"  # still a user
