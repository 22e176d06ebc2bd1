"""Sessions: none can be planted, none outlives its end, and cookies tell nothing to scripts or to other sites."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from data_pipeline.review.audit.chain import head, read_log, verify_log
from data_pipeline.review.protocol import open_session
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import User, WebSession
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PLANTED = "a-token-that-an-attacker-knows-by-heart-000"


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One review for all tests of this file; the test that damages it stands last."""
    folder = tmp_path_factory.mktemp("sessions")
    store = open_store(f"sqlite:///{folder / 'review.db'}", folder / "data")
    yield store
    store.close()


@pytest.fixture(scope="module")
def people(review: Store, add_people: Callable) -> Any:
    return add_people(review)


@pytest.fixture(scope="module")
def apps(review: Store, people: Any) -> dict[bool, Any]:
    """The application with and without secure cookies."""
    return {
        secure: create_app(
            Settings(database_url="sqlite:///none", data_folder=review.data, secure_cookies=secure), review
        )
        for secure in (False, True)
    }


@pytest.fixture
def browser(apps: dict[bool, Any]) -> Callable[..., TestClient]:
    def make(secure: bool = False) -> TestClient:
        base = "https://testserver" if secure else "http://testserver"
        return TestClient(apps[secure], base_url=base, follow_redirects=False, raise_server_exceptions=False)

    return make


def log_in(client: TestClient, name: str, password: str, **extra: str) -> Any:
    page = client.get("/login").text
    token = re.search(r'name="login_token"[^>]* value="([^"]+)"', page)
    fields = {"name": name, "password": password, "login_token": token[1] if token else ""} | extra
    return client.post("/login", data=fields)


def test_a_planted_session_is_not_taken_over_by_a_login(browser: Callable, people: Any) -> None:
    client = browser()
    client.cookies.set("review_session", PLANTED)
    answer = log_in(client, "a1", people.password)
    assert answer.status_code == 303
    fresh = answer.cookies["review_session"]
    assert fresh != PLANTED
    thief = browser()
    thief.cookies.set("review_session", PLANTED)
    assert thief.get("/queue").headers["location"] == "/login"


def test_logins_failures_and_log_outs_leave_rows_without_what_was_typed(
    browser: Callable, people: Any, review: Store
) -> None:
    with review.reading() as session:
        before = head(session).seq
    client = browser()
    assert log_in(client, "c2", "a wrong password of c2").status_code == 401
    assert log_in(client, "nobody-typed-this", people.password).status_code == 401
    assert log_in(client, "c2", people.password).status_code == 303
    queue = client.get("/queue")
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', queue.text)
    assert csrf is not None
    assert client.get("/help").status_code == 200
    assert client.post("/logout", data={"csrf_token": csrf[1]}).status_code == 303
    with review.reading() as session:
        rows = [line for line in read_log(session) if line.seq > before]
        assert verify_log(session) == []
    assert [(row.actor, row.action) for row in rows] == [("c2", "log in failed"), ("c2", "log in"), ("c2", "log out")]
    told = " ".join(row.model_dump_json() for row in rows)
    assert "wrong password" not in told
    assert "testclient" not in told  # the address


def test_a_login_ends_the_browsers_older_session(browser: Callable, people: Any, review: Store) -> None:
    with review.writing() as session:
        old, _ = open_session(session, people["b1"].id)
    client = browser()
    client.cookies.set("review_session", old)
    assert client.get("/queue").status_code == 200
    assert log_in(client, "a1", people.password).status_code == 303
    thief = browser()
    thief.cookies.set("review_session", old)
    assert thief.get("/queue").headers["location"] == "/login"


def test_a_logout_ends_the_session_on_the_server_too(browser: Callable, people: Any) -> None:
    client = browser()
    token = log_in(client, "a1", people.password).cookies["review_session"]
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/queue").text)
    assert client.post("/logout", data={"csrf_token": csrf[1]}).status_code == 303
    thief = browser()
    thief.cookies.set("review_session", token)
    assert thief.get("/queue").headers["location"] == "/login"


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": "2020-01-01T00:00:00.000000Z"},
        {"seen_at": "2020-01-01T00:00:00.000000Z"},
    ],
)
def test_a_session_that_is_over_opens_nothing(
    browser: Callable, people: Any, review: Store, change: dict[str, str]
) -> None:
    client = browser()
    log_in(client, "a1", people.password)
    assert client.get("/queue").status_code == 200
    with review.writing() as session:
        session.execute(update(WebSession).values(**change))
    assert client.get("/queue").headers["location"] == "/login"


def test_who_is_no_longer_active_or_lost_a_role_is_out_at_once(browser: Callable, people: Any, review: Store) -> None:
    client = browser()
    log_in(client, "c1", people.password)
    with review.writing() as session:
        session.execute(update(User).where(User.pseudonym == "c1").values(roles=["auditor"]))
    assert client.get("/queue").status_code == 403
    with review.writing() as session:
        session.execute(update(User).where(User.pseudonym == "c1").values(active=False))
    assert client.get("/queue").headers["location"] == "/login"
    assert log_in(browser(), "c1", people.password).status_code == 401


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(browser: Callable, people: Any) -> None:
    for secure in (False, True):
        answer = log_in(browser(secure), "a1", people.password)
        session = next(line for line in answer.headers.get_list("set-cookie") if "review_session=" in line)
        assert "httponly" in session.lower()
        assert "samesite=strict" in session.lower()
        assert ("secure" in session.lower()) == secure
        assert session.startswith("__Host-") == secure


def test_a_login_form_of_another_site_logs_nobody_in(browser: Callable, people: Any) -> None:
    client = browser()
    client.get("/login")
    for fields in ({}, {"login_token": "a" * 43}):
        answer = client.post("/login", data={"name": "a1", "password": people.password, **fields})
        assert answer.status_code == 403
        assert "review_session" not in answer.cookies
    assert log_in(browser(), "a1", people.password, login_token="a" * 43).status_code == 403


def test_guessing_is_slowed_down_and_tells_no_names(browser: Callable, people: Any) -> None:
    client = browser()
    known = log_in(client, "c2", "a wrong password")
    unknown = log_in(client, "nobody-here", "a wrong password")
    assert (known.status_code, unknown.status_code) == (401, 401)
    strip = re.compile(r'value="[^"]*"')
    assert strip.sub("", known.text) == strip.sub("", unknown.text)
    for _ in range(9):
        last = log_in(client, "c2", "a wrong password")
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) > 0
    assert log_in(client, "c2", people.password).status_code == 429  # the right one is not heard either


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        (lambda c: c.get("/login", headers={"Host": "evil.example"}), 400),
        (lambda c: c.get("/static/..%2f..%2fsettings.py"), 400),
        (lambda c: c.get("/static/%2e%2e/web/app.py"), 400),
        (lambda c: c.get("/static/../app.py"), 404),
        (lambda c: c.get("/static/nothing.css"), 404),
        (lambda c: c.post("/login", content=b"x" * 2_000_000), 413),
        (lambda c: c.post("/login", content=(b"x" * 65536 for _ in range(40)), headers=FORM), 400),  # cut off
        (lambda c: c.post("/login", content=b"<a/>", headers={"Content-Type": "application/xml"}), 415),
        (lambda c: c.post("/queue"), 405),
    ],
)
def test_the_guard_refuses_in_few_words(
    browser: Callable, request_of: Callable[[TestClient], Any], status: int
) -> None:
    answer = request_of(browser())
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_an_altered_row_of_the_log_is_found_by_whoever_checks(browser: Callable, people: Any, review: Store) -> None:
    client = browser()
    log_in(client, "auditor", people.password)
    page = client.get("/audit").text
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', page)
    whole = client.post("/audit/verify", data={"csrf_token": csrf[1]})
    assert "The log is whole" in whole.text
    with review.engine.connect() as connection:  # somebody with the file and a tool that drops the triggers
        for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
            connection.execute(text(f'DROP TRIGGER "{name}"'))
        connection.execute(text("UPDATE audit SET new = replace(new, '\"A\"', '\"B\"') WHERE seq = 2"))
        connection.execute(text("COMMIT"))
    broken = client.post("/audit/verify", data={"csrf_token": csrf[1]})
    assert "row 2 was altered" in broken.text
    with review.reading() as session:
        assert len(verify_log(session)) == 1
