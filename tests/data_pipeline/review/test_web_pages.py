"""The pages as a browser meets them: log in, the one screen, decisions, conflicts, adjudication, users, record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from data_pipeline.review.protocol import SYSTEM, assign_run
from data_pipeline.review.store import Store
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings


class Browser:
    """A person at a browser: logs in, follows forms as a page offers them."""

    def __init__(self, app: Any) -> None:
        self.http = TestClient(app, follow_redirects=True)
        self.page = ""

    def get(self, path: str, status: int = 200) -> str:
        answer = self.http.get(path)
        assert answer.status_code == status, answer.text
        self.page = answer.text
        return self.page

    def hidden(self, form: str) -> dict[str, str]:
        """The hidden fields of the form whose opening tag holds the text."""
        start = self.page.index(form)
        piece = self.page[start : self.page.index("</form>", start)]
        return dict(re.findall(r'<input type="hidden" name="([^"]+)"(?: id="[^"]+")? value="([^"]*)"', piece))

    def send(self, path: str, status: int = 200, htmx: bool = False, **fields: str) -> str:
        headers = {"HX-Request": "true"} if htmx else {}
        answer = self.http.post(path, data=fields, headers=headers)
        assert answer.status_code == status, answer.text
        self.page = answer.text
        return self.page

    def login(self, name: str, password: str = "a password of the tests", status: int = 200) -> str:
        self.get("/login")
        return self.send("/login", status, name=name, password=password, **self.hidden('action="/login"'))

    def item(self) -> int:
        """Number of the item that the page shows."""
        found = re.search(r'action="/items/(\d+)/', self.page)
        assert found, self.page
        return int(found[1])

    def decide(self, verdict: str, status: int = 200, **fields: str) -> str:
        number = self.item()
        form = {"approved": 'value="approved"', "edited": 'id="edit-form"', "rejected": 'value="rejected"'}[verdict]
        start = self.page.index(form)
        start = self.page.rindex("<form", 0, start + len(form)) if verdict != "edited" else start
        piece = self.page[start : self.page.index("</form>", start)]
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)"(?: id="[^"]+")? value="([^"]*)"', piece))
        return self.send(f"/items/{number}/decide", status, **(hidden | fields))


@pytest.fixture
def web(
    sqlite_store: Store, add_people: Callable, add_run: Callable, tmp_path: Any
) -> Iterator[Callable[[str], Browser]]:
    """Opens a logged-in browser for a user of a small assigned run."""
    add_people(sqlite_store)
    run = add_run(sqlite_store)
    with sqlite_store.writing() as session:
        assign_run(session, SYSTEM, run.run_id, seed=1)
    settings = Settings(database_url="sqlite:///none", data_folder=tmp_path, secure_cookies=False)
    app = create_app(settings, sqlite_store)

    def open_for(name: str) -> Browser:
        browser = Browser(app)
        if name:
            browser.login(name)
        return browser

    return open_for


def test_a_reviewer_sees_the_queue_and_the_screen_without_the_model(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    assert "My queue" in a1.page
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    for words in (
        "Which disc",
        "Disc herniation at L4/5 is common.",
        "Draft → revision",
        "Approve",
        "not a diagnostic",
    ):
        assert words in a1.page
    assert "secret-model-7b" not in a1.page
    assert "model-writer" not in a1.page
    assert "<del>What</del>" in a1.page
    assert "<ins>Which</ins>" in a1.page


def test_approve_edit_reject_and_undo(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    first = a1.item()
    a1.decide("approved")
    assert "Stored." in a1.page
    second = a1.item()
    assert second != first
    a1.decide("rejected", status=422)  # no reason
    assert "needs a reason" in a1.page
    a1.decide("rejected", cause="wrong_level", reason="L4/5 is not shown")
    third = a1.item()
    a1.decide("edited", answer="A", turn_0="Which disc is it?", reason="the other disc")
    a1.get(f"/items/{third}")
    assert "edited" in a1.page
    assert "the other disc" in a1.page
    undo = a1.hidden('action="/undo"')
    a1.send("/undo", **undo)
    assert "taken back" in a1.page
    assert a1.item() == third


def test_an_edit_that_is_no_item_comes_back_with_what_was_typed(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    a1.decide("edited", status=422, levels="L9", reason="typed with care")
    assert "typed with care" in a1.page
    assert "L9" in a1.page


def test_autosave_keeps_and_a_second_tab_is_told(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    address = re.search(r"/items/\d+", a1.page)[0]
    a1.get(address)
    fields = a1.hidden('id="edit-form"')
    text = a1.send(f"{address}/autosave", htmx=True, **(fields | {"turn_0": "Which disc <b>hurts</b>?"}))
    assert "Saved" in text
    assert "&lt;b&gt;" in text
    assert "<b>hurts" not in text
    late = a1.send(f"{address}/autosave", 409, htmx=True, **(fields | {"turn_0": "Another tab"}))
    assert "Another tab or device saved a later version" in late
    assert "hurts" in a1.get(address)


def test_an_older_page_is_refused_and_nothing_is_stored_twice(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    address = re.search(r"/items/\d+", a1.page)[0]
    old = a1.get(address)
    number = a1.item()
    a1.decide("approved")
    a1.page = old
    again = a1.decide("approved")  # the same token: the same decision, told again
    assert "Stored." in again
    a1.page = old
    a1.decide("rejected", status=409, reason="too late", cause="other")
    assert "1 of" in a1.get("/queue")
    assert number


def test_flags_point_into_the_stored_text(web: Callable[[str], Browser], sqlite_store: Store) -> None:
    a1 = web("a1")
    address = re.search(r"/items/\d+", a1.page)[0]
    a1.get(address)
    place = re.findall(r'data-place="([^"]+)"', a1.page)[0]
    token = re.search(r'name="token" value="([^"]+)" form="flag-form"', a1.page)[1]
    text = a1.send(f"{address}/flags", htmx=True, place=place, kind="invented", note="who says so?", token=token,
                   **{"csrf_token": a1.hidden('id="flag-form"')["csrf_token"]})  # fmt: skip
    assert "who says so?" in text
    assert "Which disc, case" in text
    a1.get(address)
    withdraw = re.search(r"/items/\d+/flags/\d+/withdraw", a1.page)[0]
    a1.send(withdraw, htmx=True, **a1.hidden(f'action="{withdraw}"'))
    assert "who says so?" not in a1.get(address)


def _disagree(web: Callable[[str], Browser], store: Store, items: tuple[int, ...]) -> int:
    from sqlalchemy import text

    item = items[0]
    with store.reading() as session:
        names = list(session.scalars(text(
            f"SELECT pseudonym FROM users JOIN assignments ON users.id = user_id WHERE item_id = {item} ORDER BY 1"
        )))  # fmt: skip
    assert len(names) == 2
    one, other = web(names[0]), web(names[1])
    one.get(f"/items/{item}")
    one.decide("approved")
    other.get(f"/items/{item}")
    other.decide("edited", answer="A", reason="the level is wrong")
    return item


def test_an_adjudicator_sees_a_and_b_without_names(web: Callable[[str], Browser], sqlite_store: Store) -> None:
    item = _disagree(web, sqlite_store, (1,))
    judge = web("judge")
    judge.get("/adjudicate")
    judge.get(f"/adjudicate/{item}")
    assert "the level is wrong" in judge.page
    body = judge.page[judge.page.index("<main") :]
    for name in ("a1", "a2", "b1", "b2", "c1", "c2", "secret-model"):
        assert not re.search(rf"\b{name}\b", body), name
    hidden = dict(re.findall(r'name="(version|csrf_token)" value="([^"]+)"', judge.page))
    fields = hidden | {"verdict": "edited", "token": "settle-once-0"}
    letter = re.search(r'name="take" value="([AB])"', judge.page)[1]
    judge.send(f"/adjudicate/{item}", 422, take=letter, **fields)
    judge.send(f"/adjudicate/{item}", take=letter, reason="seen on the image", **fields)
    assert "Settled" in judge.page


def test_a_reviewer_signs_with_the_password_and_the_auditor_finds_it(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    a1.decide("approved")
    a1.get("/sign")
    fields = a1.hidden('action="/sign"')
    a1.send("/sign", 403, password="not the password", **fields)
    a1.send("/sign", password="a password of the tests", **fields)
    assert "Signed." in a1.page
    auditor = web("auditor")
    assert "stand by my decisions" in auditor.get("/audit")
    auditor.send("/audit/verify", **auditor.hidden('action="/audit/verify"'))
    assert "The log is whole" in auditor.page


def test_an_administrator_makes_a_user_who_can_log_in(web: Callable[[str], Browser]) -> None:
    root = web("root")
    root.get("/users")
    csrf = root.hidden('action="/users"')
    root.http.post("/users", data={**csrf, "pseudonym": "d1", "password": "long enough for it", "roles": ["reviewer"],
                                   "group": "D", "years": "7"})  # fmt: skip
    assert "d1" in root.get("/users")
    browser = web("")
    browser.login("d1", "long enough for it")
    assert "Nothing is assigned" in browser.page


def test_pages_speak_chinese_when_asked(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    assert "我的任务" in a1.get("/language/zh?back=/queue")
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    assert "通过" in a1.page
    assert 'lang="zh-Hans"' in a1.page
    a1.get("/language/zh?back=//evil.example", 422)


def test_a_data_manager_signs_and_exports_what_was_decided(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    a1.get(re.search(r"/items/\d+", a1.page)[0])
    a1.decide("approved")
    manager = web("manager")
    manager.get("/release")
    fields = manager.hidden('action="/release"')
    manager.send("/release", 403, password="a wrong password", **fields)
    manager.send("/release", password="a password of the tests", **fields)
    assert "Signed and exported" in manager.page
    address = re.search(r"/release/\d+/audit\.jsonl", manager.page)[0]
    assert "I release these items" in manager.get(address)
    assert "I release these items" not in a1.get("/release", 403)
    a1.get(address, 403)
    manager.get(address.replace("audit.jsonl", "..%2f..%2freview.db"), 400)


def test_the_other_decision_is_shown_only_after_both_decided(
    web: Callable[[str], Browser], sqlite_store: Store
) -> None:
    from sqlalchemy import text

    with sqlite_store.reading() as session:
        names = list(session.scalars(text(
            "SELECT pseudonym FROM users JOIN assignments ON users.id = user_id WHERE item_id = 1 ORDER BY 1"
        )))  # fmt: skip
    one, other = web(names[0]), web(names[1])
    one.get("/items/1")
    one.decide("rejected", cause="unsafe", reason="a danger to patients")
    one.get("/items/1")
    csrf = one.hidden('action="/items/1/other"')
    one.send("/items/1/other", 404, **csrf)
    other.get("/items/1")
    assert "a danger to patients" not in other.page
    other.decide("approved")
    other.get("/items/1")
    other.send("/items/1/other", **other.hidden('action="/items/1/other"'))
    assert "a danger to patients" in other.page
    other.get("/items/1")
    other.send("/undo", 422, **other.hidden('action="/undo"'))
    assert "was shown to you" in other.page


def test_a_session_that_is_over_does_not_carry_a_page_away(web: Callable[[str], Browser]) -> None:
    a1 = web("a1")
    address = re.search(r"/items/\d+", a1.page)[0]
    a1.get(address)
    fields = a1.hidden('id="edit-form"')
    a1.http.cookies.clear()
    answer = a1.http.post(f"{address}/autosave", data=fields, headers={"HX-Request": "true"}, follow_redirects=False)
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer.headers
    assert "Log in" in a1.get("/queue")
