"""Every route against every role, another person's objects, missing tokens, blinded words, and hostile source text.

The routes are read from the application: a route that joins it without a rule here fails the first test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text
from starlette.testclient import TestClient

from data_pipeline.review.audit.chain import head
from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import (
    SYSTEM,
    Actor,
    Choice,
    assign_run,
    decide,
    draw_plan,
    open_item,
    open_session,
)
from data_pipeline.review.readers.service import create_study, next_reading
from data_pipeline.review.readers.study import StudyCase, StudyOutput
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import (
    Assignment,
    DeidItem,
    EvidenceRow,
    FigureReview,
    Flag,
    Picture,
    ReviewRun,
    StudyVolume,
    Volume,
    now,
)
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.cookies import session_cookie
from data_pipeline.review.web.settings import Settings
from spinemed.records import DIMENSIONS, Message
from spinemed.tables import file_sha256

EVERYBODY = frozenset({"reviewer", "adjudicator", "data_manager", "admin", "auditor"})
OWN_TOKEN = {"token": "token-of-the-matrix"}
GRADES = dict.fromkeys(DIMENSIONS, "3") | {"would_sign": "yes", "version": "1"} | OWN_TOKEN
PROFILE = {"version": "999", "roles": "reviewer", "group": "Z"}


@dataclass(frozen=True)
class Rule:
    """Who gets through a route, with what, and which refusals still mean that the role was let in."""

    roles: frozenset[str]
    values: dict[str, str] = field(default_factory=dict)
    """Path parameters, as names of the world's objects or plain values."""
    form: dict[str, str] | None = None
    body: dict[str, Any] | None = None
    also: frozenset[int] = frozenset()


def only(
    *roles: str,
    form: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
    also: tuple[int, ...] = (),
    **values: str,
) -> Rule:
    return Rule(frozenset(roles), values, form, body, frozenset(also))


SEES_ITEM = ("reviewer", "adjudicator", "data_manager", "auditor")
RULES: dict[str, Rule | str] = {
    "GET /openapi.json": "public",
    "GET /login": "public",
    "POST /login": "its own token: test_security_sessions.py",
    "GET /language/{code}": "public",
    "GET /static/{name:path}": "public",
    "GET /robots.txt": "public",
    "POST /logout": only(*EVERYBODY, form={}),
    "GET /": only(*EVERYBODY),
    "GET /help": only(*EVERYBODY),
    "POST /language": only(*EVERYBODY, form={"language": "en"}),
    "GET /queue": only("reviewer"),
    "GET /items/{number}": only("reviewer", number="item"),
    "GET /items/{number}/pictures/{sha256}": only(*SEES_ITEM, number="item", sha256="picture"),
    "GET /items/{number}/documents/{place}": only("reviewer", number="item", place="1"),
    "POST /items/{number}/decide": only(
        "reviewer", number="item", form={"verdict": "approved", "version": "77", **OWN_TOKEN}, also=(409,)
    ),
    "POST /undo": only("reviewer", form={"number": "{item}", "version": "77", **OWN_TOKEN}, also=(409, 422)),
    "POST /items/{number}/other": only("reviewer", number="item", form={}, also=(404,)),
    "POST /items/{number}/autosave": only("reviewer", number="item", form={"reason": "words"}),
    "POST /items/{number}/flags": only(
        "reviewer", number="item", form={"place": "0-0-5", "kind": "missed", **OWN_TOKEN}
    ),
    "POST /items/{number}/flags/{flag_id}/withdraw": only(
        "reviewer", number="item", flag_id="flag", form={"token": "another-token"}
    ),
    "GET /adjudicate": only("adjudicator"),
    "GET /adjudicate/{number}": only("adjudicator", number="disputed"),
    "POST /adjudicate/{number}": only(
        "adjudicator", number="disputed", form={"verdict": "approved", "version": "77", "reason": "r", **OWN_TOKEN},
        also=(409,),
    ),
    "GET /sign": only("reviewer", "adjudicator"),
    "POST /sign": only(
        "reviewer", "adjudicator", form={"password": "{password}", "meaning": "{meaning}", "seen": "0" * 64},
        also=(409, 422),
    ),
    "GET /audit": only("auditor"),
    "POST /audit/verify": only("auditor", form={}),
    "GET /users": only("admin", "auditor", "data_manager"),
    "GET /users/{number}": only("admin", "auditor", "data_manager", number="user"),
    "POST /users": only(
        "admin", form={"pseudonym": "new-one", "password": "long enough", "roles": "reviewer", "group": "D"}
    ),
    "POST /users/{number}": only("admin", number="user", form=PROFILE, also=(409,)),
    "POST /users/{number}/password": only("admin", number="user", form={"password": "long enough, too"}),
    "GET /agreement": only(*EVERYBODY),
    "GET /agreement/figure.png": only(*EVERYBODY),
    "GET /agreement/gold.png": only("data_manager", "auditor"),
    "GET /agreement/times.png": only(*EVERYBODY),
    "GET /agreement/table.csv": only(*EVERYBODY),
    "GET /readers": only("reviewer", "data_manager", "auditor"),
    "GET /readers/{study}/next": only("reviewer", study="study"),
    "GET /readers/outputs/{number}": only("reviewer", number="reading"),
    "GET /readers/outputs/{number}/pictures/{place}": only("reviewer", number="reading", place="0"),
    "POST /readers/outputs/{number}": only("reviewer", number="reading", form=GRADES),
    "GET /readers/{study}/summary": only("data_manager", "auditor", study="study"),
    "GET /readers/{study}/reader_scores.jsonl": only("data_manager", "auditor", study="study"),
    "GET /viewer/items/{number}": only(*SEES_ITEM, number="item"),
    "POST /viewer/items/{number}/annotations": only("reviewer", "adjudicator", number="item", body={"marks": []}),
    "GET /viewer/volumes/{handle}/layers/{plane}/{layer}": only(*SEES_ITEM, handle="volume", plane="axial", layer="0"),
    "GET /viewer/volumes/{handle}/volume.nii.gz": only(*SEES_ITEM, handle="volume"),
    "POST /viewer/volumes/{handle}/levels/preview": only(
        *SEES_ITEM, handle="volume", body={"base": 9, "operations": []}, also=(409, 422)
    ),
    "POST /viewer/volumes/{handle}/levels": only(
        "reviewer", "adjudicator", "data_manager", handle="volume", body={"base": 9, "operations": []}, also=(409, 422)
    ),
    "GET /figures": only("data_manager", "auditor"),
    "GET /figures/{number}": only("data_manager", "auditor", number="figure"),
    "GET /figures/{number}/picture": only("data_manager", "auditor", number="figure"),
    "POST /figures/{number}": only("data_manager", number="figure", form={"choice": "none", "versions": "1:77"},
                                   also=(409, 422)),
    "GET /deid": only("data_manager"),
    "GET /deid/{number}": only("data_manager", number="held"),
    "POST /deid/{number}/reveal": only("data_manager", number="held", form={}),
    "GET /deid/{number}/picture/{which}": only("data_manager", number="held", which="after", also=(404, 400)),
    "POST /deid/{number}": only(
        "data_manager", number="held",
        form={"decision": "rejected", "version": "77", "password": "{password}", "reason": "r"}, also=(409, 422),
    ),
    "GET /release": only("data_manager", "auditor"),
    "POST /release": only("data_manager", form={"password": "{password}"}),
    "GET /release/{number}/{name}": only("data_manager", "auditor", number="1", name="audit.jsonl", also=(404,)),
    "POST /runs/{number}/draw": only("data_manager", number="run", form={"share": "50"}),
    "POST /runs/{number}/assign": only("data_manager", number="run", form={}),
}  # fmt: skip


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Method and path of every route, however it was included."""

    def walk(routes: Any) -> Iterator[Any]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is None:
                yield route
            else:
                yield from walk(inner.routes)

    return sorted({(method, route.path) for route in walk(app.routes) for method in route.methods - {"HEAD"}})


@dataclass
class World:
    """A served review with one of each object, and who may touch it."""

    app: Any
    store: Store
    people: Any
    settings: Settings
    names: dict[str, str]
    """Objects by name, as they stand in a path."""
    owner: Actor
    stranger: Actor
    """A reviewer to whom none of the objects belongs."""
    browsers: dict[int, Any] = field(default_factory=dict)

    def actor(self, role: str) -> Actor:
        return {
            "reviewer": self.owner, "adjudicator": self.people["judge"], "data_manager": self.people["manager"],
            "admin": self.people["root"], "auditor": self.people["auditor"],
        }[role]  # fmt: skip

    def client(self, actor: Actor | None) -> TestClient:
        """A browser of somebody who is logged in, always the same one; its CSRF token is `client.csrf`."""
        key = 0 if actor is None else actor.id
        if key not in self.browsers:
            self.browsers[key] = self.open_browser(actor)
        return self.browsers[key]

    def open_browser(self, actor: Actor | None) -> TestClient:
        client = TestClient(self.app, follow_redirects=False, raise_server_exceptions=False)
        client.csrf = ""
        if actor is not None:
            with self.store.writing() as session:
                token, client.csrf = open_session(session, actor.id)
            client.cookies.set(session_cookie(self.settings), token)
        return client

    def call(self, client: TestClient, method: str, path: str, rule: Rule, *, csrf: str | None = None) -> Any:
        names = self.names | {"meaning": "reviewed"}
        if client is self.browsers.get(self.people["judge"].id):  # sees what is disputed and nothing else
            names |= {"item": names["disputed"], "meaning": "adjudicated"}
        address = self.address(path, rule, names)
        if method == "GET":
            return client.get(address)
        headers = {"X-CSRF-Token": client.csrf if csrf is None else csrf}
        if rule.body is not None:
            return client.post(address, json=rule.body, headers=headers)
        form = {name: value.format(**names) for name, value in (rule.form or {}).items()}
        return client.post(address, data=form, headers=headers)

    @staticmethod
    def address(path: str, rule: Rule, names: dict[str, str]) -> str:
        return re.sub(r"\{(\w+)(?::path)?\}", lambda found: names.get(v := rule.values[found[1]], v), path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, add_people: Callable, make_instance: Callable) -> Iterator[World]:
    """One review for all tests of this file; those that change it stand at its end."""
    tmp_path = tmp_path_factory.mktemp("world")
    store = open_store(f"sqlite:///{tmp_path / 'review.db'}", tmp_path / "data")
    people = add_people(store)
    digest = picture(store, tmp_path)
    handle = "7" * 64
    volume = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((6, 6, 6), np.int16), np.diag([1.0, 1.0, 1.0, 1.0])), volume)
    question = Message(role="user", content="<image>\nWhich disc?\nA. L3/4\nB. L4/5")
    with store.writing() as session:
        run = ReviewRun(name="one", folder="/runs/one", revised_sha256="9" * 64, imported_at=now(), account={})
        session.add(run)
        session.flush()
        kept = '{"title": "Discs", "file": "book.xml"}'
        rows = [
            EvidenceRow(run_id=run.id, kind="study", ref_id="study-1", record=kept, picture_sha256=digest),
            EvidenceRow(run_id=run.id, kind="document", ref_id="doc-1", record=kept, title="Discs",
                        text_sha256=store.blobs.put(b"Disc herniation at L4/5 is common.")),
        ]  # fmt: skip
        session.add_all(rows)
        session.add(
            Volume(handle=handle, run_id=run.id, kind="image", path=str(volume), name="scan.nii.gz", source_id="book",
                   group_id="book:1", modality="CT", sha256=file_sha256(volume))
        )  # fmt: skip
        session.flush()
        session.add(StudyVolume(run_id=run.id, study_id="study-1", kind="image", handle=handle))
        items = [
            NewItem(
                make_instance(n, image_sha256=(digest,), messages=(question, Message(role="assistant", content="B"))),
                None, "benchmark", evidence=tuple(row.id for row in rows),
            )
            for n in (500, 501)
        ]  # fmt: skip
        load_items(session, run.id, items)
        draw_plan(session, SYSTEM, run.id, training_share=1.0, seed=1)
        assign_run(session, SYSTEM, run.id, seed=1)
        item, disputed = session.scalars(text("SELECT id FROM items ORDER BY id"))
        doubted = {"score": 0.5, "place": "below", "page": 1, "reason": ""}
        figure = FigureReview(
            run_id=run.id, source_id="book", figure_id="f1", caption_span_id="s1", picture_sha256=digest,
            caption="Disc", mentions=[], pair=doubted,
        )  # fmt: skip
        (tmp_path / "held").mkdir()
        (tmp_path / "held" / "note.txt").write_text("nothing")
        held = DeidItem(folder=str(tmp_path), record_id="r1", kind="text", held_name="note.txt", result_sha256="0" * 64,
                        method="rules", open_points=[], counts={})  # fmt: skip
        session.add_all([figure, held])
        session.flush()
        names = {"run": str(run.id), "item": str(item), "disputed": str(disputed), "picture": digest, "volume": handle,
                 "figure": str(figure.id), "held": str(held.id), "password": people.password}  # fmt: skip
    by_id = {actor.id: actor for actor in people.by_name.values()}
    with store.reading() as session:
        holders = {
            number: [by_id[user] for user in session.scalars(
                text(f"SELECT user_id FROM assignments WHERE item_id = {number} ORDER BY user_id"))]
            for number in (item, disputed)
        }  # fmt: skip
    owner = holders[item][0]
    strangers = [one for one in by_id.values() if "reviewer" in one.roles and one not in holders[item] and
                 one not in holders[disputed]]  # fmt: skip
    for actor, verdict in zip(holders[disputed], ("approved", "rejected"), strict=True):
        with store.writing() as session:
            view = open_item(session, actor, disputed)
            decide(session, actor, disputed, Choice(verdict=verdict, reason="REASON-OF-ANOTHER"), version=view.version,
                   token=f"token-{actor.pseudonym}")  # fmt: skip
    with store.writing() as session:
        flag = Flag(item_id=item, user_id=owner.id, version_id=1, message=0, start=0, end=3, quote="abc", kind="missed",
                    token="a-first-flag", made_at=now(), withdraws_id=None)  # fmt: skip
        session.add(flag)
        session.flush()
        cases = [
            StudyCase(case_id="c1", question="What is it?", images=("one.png",), outputs=(
                StudyOutput(text="A fracture.", system="SECRET-SYSTEM"),
                StudyOutput(text="No fracture.", system="SECRET-REFERENCE", arm="reference"),
            ))
        ]  # fmt: skip
        other = next(one for one in by_id.values() if "reviewer" in one.roles and one not in (owner, strangers[0]))
        study = create_study(session, people["manager"], "first look", cases, [owner.pseudonym, other.pseudonym],
                             folder=tmp_path)  # fmt: skip
        names |= {"flag": str(flag.id), "study": str(study), "user": str(strangers[1].id)}
    with store.reading() as session:
        names["reading"] = str(next_reading(session, owner, study))
    settings = Settings(database_url="sqlite:///none", data_folder=tmp_path, secure_cookies=False, openapi=True)
    yield World(create_app(settings, store), store, people, settings, names, owner, strangers[0])
    store.close()


def picture(store: Store, folder: Path) -> str:
    Image.new("L", (8, 6), 99).save(folder / "one.png")
    digest = store.blobs.put((folder / "one.png").read_bytes())
    with store.writing() as session:
        session.add(Picture(sha256=digest, format="png", width_px=8, height_px=6, bits=8))
    return digest


def log_length(store: Store) -> int:
    with store.reading() as session:
        return head(session).seq


def test_every_route_has_a_rule(world: World) -> None:
    found = {f"{method} {path}" for method, path in routes_of(world.app)}
    assert found == set(RULES), "write down who may use the new route"


def test_what_belongs_to_others_is_what_does_not_exist(world: World) -> None:
    """A reviewer to whom nothing was given asks for every object by its id, and for ids that nobody has."""
    client, wrong = world.client(world.stranger), []
    nowhere = dict.fromkeys(world.names, "4000") | {"picture": "4" * 64, "volume": "4" * 64}
    for method, path in routes_of(world.app):
        rule = RULES[f"{method} {path}"]
        if isinstance(rule, str) or "reviewer" not in rule.roles or not rule.values:
            continue
        said = []
        for names in (world.names, nowhere):
            kept, world.names = world.names, names
            answer = world.call(client, method, path, rule)
            world.names = kept
            words = answer.text
            for value in sorted((names.get(value, value) for value in rule.values.values()), key=len, reverse=True):
                words = words.replace(f"/{value}", "/?").replace(f"%2F{value}", "%2F?")
            said.append((answer.status_code, words))
        if said[0] != said[1] or said[0][0] not in (404, 422):
            wrong.append((method, path, said[0][0], said[1][0]))
    assert not wrong, "\n".join(map(str, wrong))


def test_no_id_of_another_reviewer_opens_anything(world: World) -> None:
    """Every small number in every address: what is answered is the reviewer's own or nothing."""
    client = world.client(world.stranger)
    with world.store.reading() as session:
        own = set(session.scalars(text(f"SELECT item_id FROM assignments WHERE user_id = {world.stranger.id}")))
    for number in range(1, 12):
        for part in ("items", "viewer/items", "readers/outputs", "adjudicate", "users", "deid", "figures"):
            allowed = part in ("items", "viewer/items") and number in own
            assert (client.get(f"/{part}/{number}").status_code < 400) == allowed, (part, number)


def test_no_write_without_the_token_of_this_very_session(world: World) -> None:
    wrong = []
    stranger = world.client(world.stranger)
    for method, path in routes_of(world.app):
        rule = RULES[f"{method} {path}"]
        if method == "GET" or isinstance(rule, str):
            continue
        client = world.client(world.actor(sorted(rule.roles)[0]))
        before = log_length(world.store)
        attempts = {
            "none": lambda c=client, p=path, r=rule: world.call(c, "POST", p, r, csrf=""),
            "made up": lambda c=client, p=path, r=rule: world.call(c, "POST", p, r, csrf="a" * 43),
            "of another session": lambda c=client, p=path, r=rule: world.call(c, "POST", p, r, csrf=stranger.csrf),
        }
        for name, attempt in attempts.items():
            answer = attempt()
            if answer.status_code != 403:
                wrong.append((path, name, answer.status_code))
        for header in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"},
                       {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):  # fmt: skip
            client.headers.update(header)
            answer = world.call(client, "POST", path, rule)
            for name in header:
                del client.headers[name]
            if answer.status_code != 403:
                wrong.append((path, header, answer.status_code))
        if log_length(world.store) != before:
            wrong.append((path, "was stored"))
    assert not wrong, "\n".join(map(str, wrong))


def test_no_page_changes_anything_by_being_read(world: World) -> None:
    before = log_length(world.store)
    for method, path in routes_of(world.app):
        rule = RULES[f"{method} {path}"]
        if method == "GET" and not isinstance(rule, str):
            for role in rule.roles:
                world.call(world.client(world.actor(role)), method, path, rule)
    assert log_length(world.store) == before


def crawl(client: TestClient, starts: list[str], most: int = 150) -> dict[str, tuple[bytes, Any]]:
    """Every page that links lead to, with its headers, in the order in which they were met."""
    seen: dict[str, tuple[bytes, Any]] = {}
    waiting = list(starts)
    while waiting and len(seen) < most:
        address = waiting.pop(0)
        if address in seen or address.startswith(("/static", "/language")):
            continue
        answer = client.get(address)
        assert answer.status_code < 500, address
        seen[address] = (answer.content, answer.headers)
        if location := answer.headers.get("location"):
            waiting.append(location)
        if answer.headers.get("content-type", "").startswith("text/html"):
            waiting += [found.replace("&amp;", "&") for found in re.findall(r'(?:href|src)="(/[^"]*)"', answer.text)]
    return seen


def test_what_is_blinded_is_in_no_byte_that_a_reviewer_is_sent(world: World) -> None:
    """Model, prompt, gold, the other reviewers' names, reasons and decisions; in a study, who wrote what."""
    with world.store.writing() as session:
        session.add_all(
            Assignment(
                item_id=int(world.names[name]), user_id=world.stranger.id, place=0.1 + 0.1 * n, assigned_at=now()
            )
            for n, name in enumerate(("item", "disputed"))
        )
    for reader, secrets in (
        (world.stranger, ("secret-model-7b", "3" * 64, "4" * 64, "model-writer", "REASON-OF-ANOTHER")),
        (world.owner, ("secret-model-7b", "SECRET-SYSTEM", "SECRET-REFERENCE", "3" * 64, "4" * 64)),
        (world.people["judge"], ("secret-model-7b", "SECRET-SYSTEM", "3" * 64, "4" * 64)),
    ):
        starts = ["/", "/queue", "/adjudicate", "/agreement", "/readers", "/sign",
                  *(f"/items/{world.names[name]}" for name in ("item", "disputed")),
                  *(f"/viewer/items/{world.names[name]}" for name in ("item", "disputed")),
                  f"/readers/outputs/{world.names['reading']}", f"/adjudicate/{world.names['disputed']}"]  # fmt: skip
        pages = crawl(world.client(reader), starts)
        assert len(pages) > 12
        others = [f">{name}<".encode() for name in world.people.by_name if name != reader.pseudonym]
        for address, (body, headers) in pages.items():
            content = body + repr(headers.raw).encode()
            for secret in (*map(str.encode, secrets), *others):
                assert secret not in content, (reader.pseudonym, address, secret)


def test_a_token_that_was_used_for_another_act_is_refused_and_not_an_error(world: World) -> None:
    client, item = world.client(world.owner), world.names["item"]
    headers = {"X-CSRF-Token": client.csrf}
    answer = client.post(f"/items/{item}/flags/{world.names['flag']}/withdraw", data={"token": "a-first-flag"},
                         headers=headers)  # fmt: skip
    assert answer.status_code == 422
    assert "used for another flag" in answer.text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE items; --",
    "{{ 7 * 191 }}{% raw %}${7*191}",
    "</textarea></title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\u202e\u200bhidden",
)


def test_hostile_source_text_stays_text(world: World, make_instance: Callable) -> None:
    """A document, a question, a reason and a comment that try to be markup, a template or a statement."""
    bad = " ".join(HOSTILE)
    with world.store.writing() as session:
        run = ReviewRun(name=bad, folder="/runs/bad", revised_sha256="8" * 64, imported_at=now(), account={})
        session.add(run)
        session.flush()
        row = EvidenceRow(
            run_id=run.id, kind="document", ref_id="doc-1", record='{"title": "t", "file": "f"}', title=bad,
            text_sha256=world.store.blobs.put(bad.encode()),
        )  # fmt: skip
        session.add(row)
        session.flush()
        turns = (Message(role="user", content=f"{bad}\nA. L3/4\nB. L4/5"), Message(role="assistant", content="B"))
        load_items(
            session, run.id,
            [NewItem(make_instance(900, messages=turns, source_id="bad", changes=(bad,)),
                     make_instance(901, messages=turns, stage="draft", parent_id=None, source_id="bad"),
                     "benchmark", evidence=(row.id,))],
        )  # fmt: skip
        draw_plan(session, SYSTEM, run.id, training_share=1.0, seed=1)
        assign_run(session, SYSTEM, run.id, seed=1)
        number = session.scalar(text("SELECT max(id) FROM items"))
        holders = list(session.scalars(text(f"SELECT user_id FROM assignments WHERE item_id = {number}")))
        case = StudyCase(case_id=bad[:100], question=bad, outputs=(StudyOutput(text=bad, system="m"),))
        create_study(session, world.people["manager"], bad[:120], [case], ["a1", "a2", "b1", "b2", "c1", "c2"],
                     readers_per_output=6)  # fmt: skip
    actors = {actor.id: actor for actor in world.people.by_name.values()}
    for user, verdict in zip(holders, ("approved", "rejected"), strict=True):
        client = world.client(actors[user])
        answer = client.post(
            f"/items/{number}/decide",
            data={"verdict": verdict, "version": "1", "token": f"token-of-{user}", "reason": bad},
            headers={"X-CSRF-Token": client.csrf},
        )
        assert answer.status_code == 303, answer.text
        pages = crawl(client, [f"/items/{number}", "/queue", "/readers", "/sign"])
        check_harmless(pages)
        assert any(b"&lt;script&gt;alert(1)" in content for content, _ in pages.values())
    for name in ("judge", "manager", "auditor"):
        starts = ["/", f"/adjudicate/{number}", "/agreement", "/readers", "/audit", "/agreement?by=pair", "/release"]
        check_harmless(crawl(world.client(world.people[name]), starts))
    for attempt in ("/queue?after=0'%20OR%201=1", "/agreement?by=task'--", "/agreement?aspect=%3Cscript%3E",
                    "/audit?before=1;DROP TABLE audit", "/items/1%20OR%201=1", "/items/1'"):  # fmt: skip
        answer = world.client(world.people["auditor"]).get(attempt)
        assert 400 <= answer.status_code < 500
        assert "<script>" not in re.sub(r"<script src=[^>]*></script>", "", answer.text).lower()
    with world.store.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM items")) == 3


class Elements(HTMLParser):
    """What a browser makes of a page: elements with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check_harmless(pages: dict[str, tuple[bytes, Any]]) -> None:
    assert len(pages) > 4
    for address, (content, headers) in pages.items():
        if not headers.get("content-type", "").startswith("text/html"):
            continue
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'"), address
        said = content.decode()
        assert "1337" not in said, address
        for tag, attributes in Elements(said).found:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (address, attributes)
            assert tag != "svg", address
            for name in ("src", "href", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#", "data:image/")), (address, attributes)
            assert tag != "script" or attributes["src"].startswith("/static/"), address


def test_every_route_lets_in_its_roles_and_nobody_else(world: World) -> None:
    wrong = []
    for method, path in routes_of(world.app):
        rule = RULES[f"{method} {path}"]
        if isinstance(rule, str):
            continue
        answer = world.call(world.client(None), method, path, rule)
        if (answer.status_code, answer.headers.get("location")) not in ((303, "/login"), (401, None)):
            wrong.append((method, path, "nobody", answer.status_code))
        for role in sorted(EVERYBODY - rule.roles):
            before = log_length(world.store)
            answer = world.call(world.client(world.actor(role)), method, path, rule)
            if answer.status_code not in (403, 404) or log_length(world.store) != before:
                wrong.append((method, path, role, answer.status_code))
        for role in sorted(rule.roles):
            client = world.open_browser(world.actor(role)) if path == "/logout" else world.client(world.actor(role))
            answer = world.call(client, method, path, rule)
            if not (answer.status_code < 400 or answer.status_code in rule.also):
                said = re.findall(r'role="alert">([^<]*)', answer.text)
                wrong.append((method, path, role, answer.status_code, said))
    assert not wrong, "\n".join(map(str, wrong))
