"""Users, passwords, web sessions, and the queues that need a password or a data manager."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

import data_pipeline.review.protocol.users as users_module
from data_pipeline.deidentify import SignOff
from data_pipeline.deidentify.status import DeidRecord
from data_pipeline.review.audit import read_log, verify_log
from data_pipeline.review.cli import app
from data_pipeline.review.errors import AbsentError, AccessError, LoginError, RefusedError, ReviewError, StaleError
from data_pipeline.review.exchange.held import import_held
from data_pipeline.review.exchange.verdicts import export_review
from data_pipeline.review.protocol import (
    SYSTEM,
    Choice,
    add_gold,
    add_user,
    assign_run,
    change_user,
    check_password,
    close_session,
    correct_levels,
    decide,
    find_session,
    gold_scores,
    held_queue,
    list_users,
    list_wordings,
    open_item,
    open_session,
    propose_wording,
    set_password,
    sign_off_held,
    stale_gold,
)
from data_pipeline.review.protocol.passwords import MOST_BY_ADDRESS, MOST_BY_NAME
from data_pipeline.review.protocol.signatures import prove
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    Assignment,
    Decision,
    EvidenceRow,
    Item,
    ItemEvidence,
    LevelCorrection,
    StudyVolume,
    User,
    Volume,
    WebSession,
)
from data_pipeline.withdraw import find_others
from spinemed.tables import read_jsonl, write_jsonl, write_manifest

_tokens = (f"people-token-{number:06d}" for number in itertools.count())


# --- passwords and sessions ------------------------------------------------------------------------------------------


def test_passwords_are_argon2id_and_in_no_row_of_the_log(store: Store, users: Any) -> None:
    with store.reading() as session:
        hashes = session.scalars(select(User.password_hash)).all()
        told = repr(list(read_log(session)))
    assert all(value.startswith("$argon2id$") for value in hashes)
    assert len(set(hashes)) == len(hashes)
    assert users.password not in told
    assert "argon2" not in told


def test_attempts_are_throttled_by_name_and_by_address(store: Store, users: Any) -> None:
    assert check_password(store, "a1", users.password, address="10.0.0.1") == users["a1"].id
    for _ in range(MOST_BY_NAME):
        with pytest.raises(LoginError, match="do not match") as error:
            check_password(store, "a1", "wrong", address="10.0.0.1")
        assert error.value.status == 401
    with pytest.raises(LoginError, match="too many") as error:
        check_password(store, "a1", users.password, address="10.0.0.2")
    assert (error.value.status, error.value.retry_after_s > 0) == (429, True)
    for number in range(MOST_BY_ADDRESS - MOST_BY_NAME):
        with pytest.raises(LoginError):
            check_password(store, f"nobody-{number}", "wrong", address="10.0.0.1")
    with pytest.raises(LoginError, match="too many"):
        check_password(store, "b1", users.password, address="10.0.0.1")
    assert check_password(store, "b1", users.password, address="10.0.0.3") == users["b1"].id


@pytest.mark.parametrize("name", ["", "nobody", "a1\x00", "\ud800", "a1' OR '1'='1", "x" * 100_000])
def test_a_name_of_nobody_is_refused_as_a_wrong_password_is(sqlite_store: Store, name: str) -> None:
    with pytest.raises(LoginError, match="name and password do not match"):
        check_password(sqlite_store, name, "whatever it is")


def test_a_session_is_found_by_its_token_alone_and_ends(
    store: Store, users: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writing() as session:
        token, csrf = open_session(session, users["a1"].id)
    with store.reading() as session:
        login = find_session(session, token)
        kept = session.scalars(select(WebSession.token_sha256)).one()
        assert find_session(session, kept) is None
        assert find_session(session, "\ud800") is None
    assert login is not None
    assert (login.actor, login.csrf, token in kept) == (users["a1"], csrf, False)
    with store.writing() as session:
        fresh, _ = open_session(session, users["a1"].id, old_token=token)
    with store.reading() as session:
        assert find_session(session, token) is None
        assert find_session(session, fresh) is not None
        monkeypatch.setattr(users_module, "IDLE_MIN", -1)
        assert find_session(session, fresh) is None
        monkeypatch.setattr(users_module, "IDLE_MIN", 60)
    with store.writing() as session:
        close_session(session, fresh)
    with store.reading() as session:
        assert find_session(session, fresh) is None


def test_a_new_password_and_a_locked_user_end_all_sessions(store: Store, users: Any) -> None:
    for act in ("password", "lock"):
        with store.writing() as session:
            token, _ = open_session(session, users["a1"].id)
        with store.writing() as session:
            if act == "password":
                set_password(session, users["a1"], users["a1"].id, "another long password")
            else:
                change_user(
                    session, users["root"], users["a1"].id, version=1, roles=["reviewer"], group="A", active=False
                )
        with store.reading() as session:
            assert find_session(session, token) is None
    with pytest.raises(LoginError, match="do not match"):
        check_password(store, "a1", "another long password")


def test_only_administrators_change_others(store: Store, users: Any) -> None:
    for name in ("a1", "judge", "manager", "auditor"):
        with pytest.raises(AccessError), store.writing() as session:
            add_user(session, users[name], "x-1", "a long password", ["admin"])
        with pytest.raises(AccessError), store.writing() as session:
            set_password(session, users[name], users["root"].id, "a long password")
        with pytest.raises(AccessError), store.writing() as session:
            change_user(session, users[name], users[name].id, version=1, roles=["admin"])
    with pytest.raises(AccessError), store.reading() as session:
        list_users(session, users["a1"])
    with pytest.raises(StaleError), store.writing() as session:
        change_user(session, users["root"], users["a1"].id, version=7, roles=["reviewer"], group="A")
    with pytest.raises(RefusedError, match="lock out yourself"), store.writing() as session:
        change_user(session, users["root"], users["root"].id, version=1, roles=["auditor"])
    with pytest.raises(RefusedError, match="is taken"), store.writing() as session:
        add_user(session, users["root"], "a1", "a long password", ["reviewer"], group="A")
    with pytest.raises(RefusedError, match="needs a group"), store.writing() as session:
        add_user(session, users["root"], "d1", "a long password", ["reviewer"])


def test_a_user_is_added_from_the_command_line(sqlite_store: Store) -> None:
    place = ["--database", str(sqlite_store.engine.url.database)]
    done = CliRunner().invoke(
        app, ["user", "add", "r-01", "--role", "reviewer", "--group", "A", *place], input="a long password\n"
    )
    assert (done.exit_code, done.output.strip()) == (0, "user: r-01")
    assert check_password(sqlite_store, "r-01", "a long password") == 1


# --- quarantine ------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """What `spinemed data deidentify` leaves: a clean note, one that waits, an image whose face nobody judged."""
    folder = tmp_path / "clean"
    (folder / "held").mkdir(parents=True)
    (folder / "held" / "case-00aa-note-001.txt").write_text("Dr Smith said")
    records = [
        DeidRecord(id="case-00aa/notes/000", kind="text", status="clean", method="rules", result_sha256="1" * 64),
        DeidRecord(id="case-00aa/notes/001", kind="text", status="review", method="rules", result_sha256="2" * 64,
                   open_points=("a name",), counts={"name": 1}),
        DeidRecord(id="case-00aa/images/00000", kind="face", status="unknown", method="nobody looked",
                   result_sha256="3" * 64),
    ]  # fmt: skip
    write_jsonl(folder / "deid.jsonl", records)
    write_manifest(folder, "deidentified")
    return folder


def test_nothing_leaves_quarantine_without_a_signature(store: Store, users: Any, held: Path, tmp_path: Path) -> None:
    assert import_held(store, held) == 2
    assert import_held(store, held) == 0
    manager = users["manager"]
    with store.reading() as session:
        rows = held_queue(session, manager)
        assert [(row.kind, row.held_name) for row in rows] == [("text", "case-00aa-note-001.txt"), ("face", "")]
    for name in ("a1", "judge", "root", "auditor"):
        with pytest.raises(AccessError), store.reading() as session:
            held_queue(session, users[name])
    stranger = prove(store, users["a1"], users.password)
    with pytest.raises(AccessError), store.writing() as session:
        sign_off_held(session, manager, rows[0].id, "clean", proof=stranger, version=1, reason="seen")
    proof = prove(store, manager, users.password)
    with store.writing() as session:
        sign_off_held(session, manager, rows[0].id, "clean", proof=proof, version=1, reason="a street, no person")
        sign_off_held(session, manager, rows[1].id, "rejected", proof=proof, version=1, reason="a face")
    with pytest.raises(StaleError), store.writing() as session:
        sign_off_held(session, manager, rows[0].id, "rejected", proof=proof, version=1, reason="second thought")
    export_review(store, tmp_path / "out", manager)
    found = {line.result_sha256: line for line in read_jsonl(tmp_path / "out" / "sign_offs.jsonl", SignOff)}
    assert {key: line.decision for key, line in found.items()} == {"2" * 64: "clean", "3" * 64: "rejected"}
    assert found["2" * 64].role == "data manager"
    with store.reading() as session:
        signed = [line for line in read_log(session) if line.action == "sign"]
        assert "Smith" not in repr(list(read_log(session)))
    assert len(signed) == 1
    assert signed[0].meaning


def test_a_withdrawn_case_is_found_in_a_review(
    sqlite_store: Store, add_people: Any, add_run: Any, tmp_path: Path
) -> None:
    add_people(sqlite_store)
    add_run(sqlite_store, items=2)
    (tmp_path / "no_review.db").write_bytes(b"something else")
    home = str(Path(str(sqlite_store.engine.url.database)).parent)
    assert find_others("1", [tmp_path], []) == (home,)
    assert find_others("case-00aa", [tmp_path], []) == ()


# --- corrected levels ------------------------------------------------------------------------------------------------


@pytest.fixture
def scanned(store: Store, small_run: Any) -> str:
    """Handle of a volume that the first two benchmark items rest on."""
    handle = "7" * 64
    with store.writing() as session:
        session.add(
            Volume(handle=handle, run_id=small_run.run_id, kind="image", path="/nowhere.nii.gz", name="x.nii.gz",
                   source_id="book", group_id="book:1", modality="CT", sha256="8" * 64)
        )  # fmt: skip
        row = EvidenceRow(run_id=small_run.run_id, kind="study", ref_id="study-1", record="{}")
        session.add(row)
        session.flush()
        session.add(StudyVolume(run_id=small_run.run_id, study_id="study-1", kind="image", handle=handle))
        session.add_all(ItemEvidence(item_id=item, place=2, evidence_id=row.id) for item in small_run.benchmark[:2])
    return handle


def _correct(store: Store, actor: Any, handle: str, base: int, token: str) -> Any:
    with store.writing() as session:
        return correct_levels(
            session, actor, handle, operations=[{"shift": 1}], levels=[["L4", 0.0, 1.0, 2.0]], centroids=b"[]",
            labels={"24": 23}, base=base, token=token, reason="counted from the sacrum",
        )  # fmt: skip


def test_a_corrected_level_opens_what_rests_on_it_again(store: Store, users: Any, small_run: Any, scanned: str) -> None:
    first, second, other = small_run.benchmark[:3]
    with store.reading() as session:
        pairs = session.execute(select(Assignment.item_id, Assignment.user_id)).all()
    by_id = {actor.id: actor for actor in users.by_name.values()}
    for row in pairs:
        if row.item_id in (first, other):
            with store.writing() as session:
                decide(
                    session, by_id[row.user_id], row.item_id, Choice(verdict="approved"), version=1,
                    token=next(_tokens),
                )  # fmt: skip
    reviewer = by_id[next(row.user_id for row in pairs if row.item_id == second)]
    stranger = next(
        actor
        for actor in by_id.values()
        if "reviewer" in actor.roles and not {row.item_id for row in pairs if row.user_id == actor.id} & {first, second}
    )
    for actor in (stranger, users["judge"]):
        with pytest.raises(AbsentError):
            _correct(store, actor, scanned, 0, next(_tokens))
    with pytest.raises(AccessError):
        _correct(store, users["auditor"], scanned, 0, next(_tokens))
    token = next(_tokens)
    done = _correct(store, reviewer, scanned, 0, token)
    assert (done.number, done.reopened, done.marked) == (1, 2, 0)
    assert _correct(store, reviewer, scanned, 0, token).repeated
    with pytest.raises(StaleError, match="version 1, yours starts from 0"):
        _correct(store, reviewer, scanned, 0, next(_tokens))
    assert _correct(store, users["manager"], scanned, 1, next(_tokens)).number == 2
    with store.reading() as session:
        found = dict(session.execute(select(Item.id, Item.status)).all())
        assert (found[first], found[second], found[other]) == ("open", "open", "approved")
        assert session.scalar(select(Item.round).where(Item.id == first)) == 3
        told = str(session.scalar(select(Item.reopened_why).where(Item.id == first)))
        assert "version 2" in told
        assert "sacrum" not in told  # the other reviewer does not read what was argued
        view = open_item(session, by_id[next(row.user_id for row in pairs if row.item_id == first)], first)
        assert view.decision is None
        assert (view.status, view.round) == ("open", 3)
        assert session.scalar(select(LevelCorrection.centroids_sha256)) is not None
        assert session.scalars(select(Decision.verdict).where(Decision.item_id == first)).all() == ["approved"] * 2
    assert store.blobs.get("4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945") == b"[]"


def test_a_gold_item_on_corrected_levels_opens_like_any_other_and_counts_for_nobody_until_stated_again(
    store: Store, users: Any, small_run: Any, scanned: str
) -> None:
    gold = small_run.benchmark[0]
    with store.writing() as session:
        add_gold(session, users["manager"], gold, verdict="approved")
        assign_run(session, SYSTEM, small_run.run_id)
    for name in ("a1", "b1"):
        with store.writing() as session:
            decide(session, users[name], gold, Choice(verdict="approved"), version=1, token=next(_tokens))
    with store.reading() as session:
        assert [one.right for one in gold_scores(session, users["manager"])] == [1, 1]
    done = _correct(store, users["manager"], scanned, 0, next(_tokens))
    assert (done.reopened, done.marked) == (2, 0)
    with store.reading() as session:
        views = [open_item(session, users["a1"], gold)]
        assert [(view.status, view.round, view.decision) for view in views] == [("open", 2, None)]
        assert stale_gold(session) == [gold]
    with store.writing() as session:
        decide(session, users["a1"], gold, Choice(verdict="approved"), version=views[0].version, token=next(_tokens))
        assert gold_scores(session, users["manager"]) == []
    with store.writing() as session:
        add_gold(session, users["manager"], gold, verdict="rejected", note="of the new levels")
        assert stale_gold(session) == []
        assert [(one.seen, one.right) for one in gold_scores(session, users["manager"])] == [(1, 0)]
        with pytest.raises(RefusedError, match="gold item already"):
            add_gold(session, users["manager"], gold, verdict="approved")
        assert verify_log(session) == []


# --- criteria and prompts --------------------------------------------------------------------------------------------


def test_edited_criteria_and_prompts_are_exported_for_the_next_revision(
    store: Store, users: Any, tmp_path: Path
) -> None:
    judge = users["judge"]
    with store.writing() as session:
        propose_wording(session, judge, "criterion", "options_alike", "First.", why="too loose")
        propose_wording(session, judge, "criterion", "options_alike", "Options have one length.", why="looser still")
        propose_wording(session, judge, "prompt", "revise_open.en", "You revise. 脊柱", why="shorter")
    for kind, name in (("criterion", "no_such"), ("prompt", "draft_open.en"), ("table", "users")):
        with pytest.raises(RefusedError), store.writing() as session:
            propose_wording(session, judge, kind, name, "x", why="y")  # type: ignore[arg-type]
    with pytest.raises(AccessError), store.writing() as session:
        propose_wording(session, users["a1"], "criterion", "options_alike", "x", why="y")
    with store.reading() as session:
        assert [row.by for row in list_wordings(session, judge)] == ["judge"] * 3
        assert session.scalar(text("SELECT count(*) FROM wordings")) == 3
    export_review(store, tmp_path / "out", users["manager"])
    assert (tmp_path / "out" / "guidance.yaml").read_text() == (
        "criteria:\n  options_alike: Options have one length.\nprompts:\n  revise_open.en: You revise. 脊柱\n"
    )


def test_items_people_and_prompts_are_managed_by_command(
    store: Store, users: Any, small_run: Any, database_url: str, tmp_path: Path
) -> None:
    first, second = small_run.benchmark[:2]
    words = tmp_path / "words.txt"
    words.write_text("Options have one length.", encoding="utf-8")
    there = ["--database", database_url, "--data", str(tmp_path / "data")]
    with store.reading() as session:
        name = session.scalar(select(Item.instance_id).where(Item.id == first))
    for line, said in (
        (["gold", name, "--verdict", "rejected"], f"gold item: {first}"),
        (["reword", "criterion", "options_alike", "--file", str(words), "--why", "shorter"], "options_alike"),
        (["reopen", str(second), "--why", "seen too early"], f"open again: {second}"),
        (["hand-on", "a1", "--why", "on leave"], "handed on: "),
    ):
        done = CliRunner().invoke(app, [*line, *there])
        assert done.exit_code == 0, done.output
        assert said in done.output
    with store.reading() as session:
        actions = [line.action for line in read_log(session)][-5:]
        assert actions[:3] == ["add gold", "propose wording", "re-open"]
        assert "hand on" in actions
        assert session.scalar(select(Item.round).where(Item.id == second)) == 2
        late = select(Assignment.round).where(Assignment.item_id == second, Assignment.status == "open")
        assert set(session.scalars(late)) == {2}  # also of who came later: rounds that differ would not be counted
    with pytest.raises(AbsentError, match="no user"):
        CliRunner().invoke(app, ["hand-on", "nobody", "--why", "x", *there], catch_exceptions=False)


@pytest.mark.parametrize("change", ["status = 'approved'", "instance_sha256 = 'b' || substr(instance_sha256, 2)"])
def test_a_state_that_was_changed_behind_the_log_is_found_and_not_exported(
    store: Store, users: Any, small_run: Any, database_url: str, tmp_path: Path, change: str
) -> None:
    item = small_run.items[-1]
    with store.reading() as session:
        owner = session.scalar(select(Assignment.user_id).where(Assignment.item_id == item))
    reviewer = next(actor for actor in users.by_name.values() if actor.id == owner)
    with store.writing() as session:
        choice = Choice(verdict="rejected", reason="unsafe")
        decide(session, reviewer, item, choice, version=1, token=next(_tokens))
    there = ["verify-log", "--database", database_url, "--data", str(tmp_path / "data")]
    assert CliRunner().invoke(app, there).exit_code == 0
    with store.writing() as session:
        session.execute(text(f"UPDATE items SET {change} WHERE id = {item}"))
    done = CliRunner().invoke(app, there)
    assert done.exit_code == 1
    assert "the log says otherwise" in done.output
    with pytest.raises(ReviewError, match="the log says otherwise"):
        export_review(store, tmp_path / "out")
