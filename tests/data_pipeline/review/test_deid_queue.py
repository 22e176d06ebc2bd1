"""The de-identification queue: what a data manager sees, and that nothing leaves quarantine without a sign-off."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from starlette.testclient import TestClient

from data_pipeline.deidentify import deidentify_export, write_key
from data_pipeline.deidentify.keys import read_key
from data_pipeline.deidentify.status import DeidRecord, SignOff
from data_pipeline.review.audit import verify_log
from data_pipeline.review.deid import views
from data_pipeline.review.deid.originals import find_original, name_originals
from data_pipeline.review.errors import AccessError, LoginError
from data_pipeline.review.protocol.queues import open_held, sign_off_held
from data_pipeline.review.protocol.signatures import prove
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import AuditRow, DeidItem
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings
from spinemed.errors import ReadError
from spinemed.resources import samples_dir
from spinemed.tables import read_jsonl

EXPORT = samples_dir() / "hospital" / "export"
PASSWORD = "a password of the tests"


class Boxes:
    """A text finder that sees one box on every picture until it is blanked."""

    name = "test finder"

    def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
        return [(2, 8, 2, 20)] if pixels[2:8, 2:20].any() else []


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundled export de-identified without a text finder, so that all its pictures are held; and the key."""
    home = tmp_path_factory.mktemp("quarantine")
    key = home / "project.key"
    write_key(key)
    deidentify_export(EXPORT, home / "clean", read_key(key), site="site-01", finder=None)
    return home / "clean", key


@pytest.fixture
def queue(sqlite_store: Store, add_people: Callable, clean: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """A site whose data manager sees the queue of that folder, on SQLite."""
    return build(sqlite_store, add_people, clean, tmp_path)


@pytest.fixture
def stored(store: Store, add_people: Callable, clean: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """The same in each database."""
    return build(store, add_people, clean, tmp_path)


def build(store: Store, add_people: Callable, clean: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    add_people(store)
    folder, key = clean
    records = [record for record in read_jsonl(folder / "deid.jsonl", DeidRecord) if record.status != "clean"]
    held = {file.name for file in (folder / "held").iterdir()}
    with store.writing() as session:
        for record in records:
            case, kind, number = record.id.split("/")
            name = f"{case}-{'note' if kind == 'notes' else 'image'}-{number}.{'txt' if kind == 'notes' else 'dcm'}"
            assert name in held
            session.add(
                DeidItem(
                    folder=str(folder), record_id=record.id, kind=record.kind, held_name=name,
                    result_sha256=record.result_sha256, method=record.method, open_points=list(record.open_points),
                    counts=dict(record.counts),
                )
            )  # fmt: skip
    with store.reading() as session:
        ids = {kind: session.scalar(select(DeidItem.id).where(DeidItem.kind == kind)) for kind in ("text", "pixels")}
    app = create_app(Settings(database_url="sqlite:///none", data_folder=tmp_path, secure_cookies=False), store)
    return {"store": store, "app": app, "folder": folder, "key": key, "ids": ids, "records": records}


def log_in(app: Any, name: str) -> tuple[TestClient, str]:
    http = TestClient(app, follow_redirects=False)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', http.get("/login").text))
    assert http.post("/login", data={**hidden, "name": name, "password": PASSWORD}).status_code == 303
    found = re.search(r'csrf_token" value="([^"]+)"', http.get("/help").text)
    assert found
    return http, found[1]


def test_the_queue_lists_what_was_held_and_why(queue: dict[str, Any]) -> None:
    http, _ = log_in(queue["app"], "manager")
    page = http.get("/deid").text
    assert "no text finder" in page
    assert f"{len(queue['records'])} waiting" in page
    for name in ("a1", "judge", "root", "auditor"):
        other, token = log_in(queue["app"], name)
        assert other.get("/deid").status_code == 403
        for address in (f"/deid/{queue['ids']['pixels']}", f"/deid/{queue['ids']['pixels']}/picture/after"):
            assert other.get(address).status_code == 403
        form = {"csrf_token": token, "decision": "clean", "version": 1, "password": PASSWORD, "reason": "looked"}
        assert other.post(f"/deid/{queue['ids']['pixels']}", data=form).status_code == 403
        assert other.post(f"/deid/{queue['ids']['pixels']}/reveal", data={"csrf_token": token}).status_code == 403


def test_nothing_leaves_without_the_password(queue: dict[str, Any], tmp_path: Path) -> None:
    http, token = log_in(queue["app"], "manager")
    number = queue["ids"]["pixels"]
    good = {"csrf_token": token, "decision": "clean", "version": "1", "password": PASSWORD, "reason": "no text left"}
    for changed, status in (
        ({"password": "guess"}, 401),
        ({"password": ""}, 422),
        ({"csrf_token": "x"}, 403),
        ({"reason": "  "}, 422),
        ({"decision": "leave"}, 422),
        ({"version": "7"}, 409),
    ):
        assert http.post(f"/deid/{number}", data={**good, **changed}).status_code in (status, 422), changed
    store: Store = queue["store"]
    with store.reading() as session:
        row = session.get(DeidItem, number)
        assert row is not None
        assert row.status == "waiting"
        assert session.scalar(select(AuditRow.seq).where(AuditRow.action == "sign")) is None
    # round the service: another person's proof, and none
    from data_pipeline.review.protocol import actor_of
    from data_pipeline.review.store.tables import User

    with store.reading() as session:
        actors = {
            name: actor_of(session, session.scalars(select(User.id).where(User.pseudonym == name)).one())
            for name in ("manager", "root")
        }
    proof = prove(store, actors["root"], PASSWORD)
    for actor, given in ((actors["manager"], proof), (actors["root"], proof)):
        with pytest.raises(AccessError), store.writing() as session:
            sign_off_held(session, actor, number, "clean", proof=given, version=1, reason="r")
    with pytest.raises(LoginError):
        prove(store, actors["manager"], "guess")


def test_a_sign_off_lets_exactly_these_bytes_through(stored: dict[str, Any], tmp_path: Path) -> None:
    queue = stored
    http, token = log_in(queue["app"], "manager")
    store: Store = queue["store"]
    with store.reading() as session:
        rows = session.scalars(select(DeidItem).where(DeidItem.kind.in_(("pixels", "face")))).all()
        session.expunge_all()
    first = rows[0]
    mine = [row for row in rows if row.record_id == first.record_id]
    for row in mine:
        form = {"csrf_token": token, "decision": "clean", "version": "1", "password": PASSWORD, "reason": "looked"}
        assert http.post(f"/deid/{row.id}", data=form).status_code == 303
        assert http.post(f"/deid/{row.id}", data=form).status_code == 409
    with store.reading() as session:
        decided = session.scalars(select(DeidItem).where(DeidItem.status == "clean")).all()
        signed = session.scalars(select(AuditRow).where(AuditRow.action == "sign")).all()
        assert len(signed) == len(mine)
        assert all("identifies nobody" in row.meaning for row in signed)
        assert verify_log(session) == []
        session.expunge_all()
    decisions = [
        SignOff(result_sha256=row.result_sha256, decision="clean", role=row.role, date=row.decided_at[:10], reason="r")
        for row in decided
        if row.decided_at
    ]
    again = tmp_path / "again"
    deidentify_export(EXPORT, again, read_key(queue["key"]), site="site-01", finder=None, decisions=decisions)
    case, _, number = first.record_id.split("/")
    out = sorted(path.relative_to(again / "cases").as_posix() for path in (again / "cases").rglob("*.dcm"))
    assert out == [f"{case}/images/{number}.dcm"]
    assert not list((queue["folder"] / "cases").rglob("*.dcm"))  # nothing was moved behind the engine's back


def test_a_rejection_stays_and_is_told(queue: dict[str, Any]) -> None:
    http, token = log_in(queue["app"], "manager")
    number = queue["ids"]["pixels"]
    form = {"csrf_token": token, "decision": "rejected", "version": "1", "password": PASSWORD, "reason": "a name"}
    assert http.post(f"/deid/{number}", data=form).status_code == 303
    page = http.get(f"/deid/{number}").text
    assert "Decided: rejected" in page
    assert 'name="password"' not in page


def test_a_file_that_is_not_the_recorded_one_cannot_be_signed(queue: dict[str, Any], tmp_path: Path) -> None:
    http, token = log_in(queue["app"], "manager")
    store: Store = queue["store"]
    held = tmp_path / "other" / "held"
    held.mkdir(parents=True)
    (held / "p-note-000.txt").write_text("Another text.")
    with store.writing() as session:
        row = DeidItem(
            folder=str(held.parent), record_id="p/notes/000", kind="text", held_name="p-note-000.txt",
            result_sha256="1" * 64, method="rules 3", open_points=["1 words that look like names"], counts={},
        )  # fmt: skip
        session.add(row)
        session.flush()
        number = row.id
    assert "not the one that the record names" in http.get(f"/deid/{number}").text
    form = {"csrf_token": token, "decision": "clean", "version": "1", "password": PASSWORD, "reason": "looked"}
    assert http.post(f"/deid/{number}", data=form).status_code == 422
    with store.reading() as session:
        assert open_held_status(session, number) == "waiting"


def open_held_status(session: Any, number: int) -> str:
    from data_pipeline.review.protocol import SYSTEM

    return open_held(session, SYSTEM, number).status


def test_the_original_is_found_by_the_key_shown_on_request_and_logged(queue: dict[str, Any]) -> None:
    http, token = log_in(queue["app"], "manager")
    store: Store = queue["store"]
    number = queue["ids"]["pixels"]
    assert "original is not known" in http.get(f"/deid/{number}").text
    name_originals(store.data, queue["folder"], EXPORT, queue["key"])
    with store.reading() as session:
        row = session.get(DeidItem, number)
        assert row is not None
        session.expunge(row)
    sealed = find_original(store.data, row.folder, row.record_id)
    assert sealed is not None
    original = sealed.open_for_deidentification()
    secret = str(original.PatientName)
    assert secret
    hidden = http.get(f"/deid/{number}").text
    assert secret not in hidden
    assert str(original.PatientID) not in hidden
    assert "removed" in hidden
    assert "•" in hidden
    with store.reading() as session:
        assert session.scalar(select(AuditRow.seq).where(AuditRow.action == "see original")) is None
    assert http.post(f"/deid/{number}/reveal", data={"csrf_token": "x"}).status_code == 403
    shown = http.post(f"/deid/{number}/reveal", data={"csrf_token": token}).text
    assert secret in shown
    picture = http.get(f"/deid/{number}/picture/before")
    assert picture.content[:4] == b"\x89PNG"
    assert picture.headers["cache-control"] == "no-store"
    with store.reading() as session:
        assert len(session.scalars(select(AuditRow).where(AuditRow.action == "see original")).all()) == 2


def test_masked_and_doubtful_words_are_told_apart() -> None:
    text = "[NAME-1] was seen on 2021-03-04. The patient met Zbigniew Kowalczyk outside. L4/5 narrow, aged 90+."
    pieces = views.stretches(text)
    assert "".join(piece.text for piece in pieces) == text
    kinds = {piece.text: piece.kind for piece in pieces}
    assert kinds["[NAME-1]"] == "masked"
    assert kinds["90+"] == "masked"
    assert kinds["Zbigniew Kowalczyk"] == "doubtful"


def test_blanked_places_are_found_by_comparison() -> None:
    rng = np.random.default_rng(1)
    before = rng.integers(1, 4000, (60, 80))
    after = before.copy()
    after[5:12, 3:40] = 0
    after[50:55, 60:75] = 0
    assert views.changed_boxes(before, after) == [(5, 12, 3, 40), (50, 55, 60, 75)]
    assert views.changed_boxes(before, before) == []
    assert views.grey_picture(before, [(5, 12, 3, 40)])[:4] == b"\x89PNG"


def test_a_held_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "held" / "link.txt").symlink_to(tmp_path / "secret.txt")
    for name in ("../secret.txt", "", "link.txt", "absent.txt", "/etc/passwd"):
        with pytest.raises(ReadError):
            views.held_file(str(tmp_path), name)


def test_a_stack_shows_its_surfaces_from_every_side_that_a_face_can_look_to() -> None:
    """A nose on one side of a head: the views of the stack with and without it differ."""
    stack = np.zeros((20, 24, 16), np.int16)
    stack[4:16, 8:20, 3:13] = 900
    nose = stack.copy()
    nose[9:11, 5:8, 7:9] = 900
    for turned in (np.swapaxes, lambda array, *_: array, lambda array, *_: array[:, ::-1, :]):
        bare, full = (turned(array, 1, 2) for array in (stack, nose))
        pictures = [np.array(Image.open(io.BytesIO(views.stack_views(array)))) for array in (bare, full)]
        assert pictures[0].shape == pictures[1].shape
        lower = pictures[0].shape[0] // 2
        assert (pictures[0][lower:] != pictures[1][lower:]).any()


def test_the_command_names_originals_only_together_with_their_key(clean: tuple[Path, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from data_pipeline.review.cli import app

    folder, key = clean
    base = ["import", "--database", str(tmp_path / "r.db"), "--data", str(tmp_path / "data"), "--held", str(folder)]
    done = CliRunner().invoke(app, [*base, "--originals", str(EXPORT), "--key", str(key)])
    assert done.exit_code == 0, done.output
    assert "waiting in quarantine: " in done.output
    known = (tmp_path / "data" / "quarantine.json").read_text()
    assert str(key) in known
    assert key.read_text().strip() not in known
    refused = CliRunner().invoke(app, [*base, "--originals", str(EXPORT)])
    assert "belong together" in str(refused.exception)
