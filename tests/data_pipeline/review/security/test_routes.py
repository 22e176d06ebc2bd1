"""Every route against every role, another person's objects, and missing tokens.

The routes are read from the application: a route that joins it without a rule here fails the first test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from data_pipeline.review.audit.chain import head
from data_pipeline.review.store import Store
from spinemed.records import DIMENSIONS

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
    "POST /login": "its own token: test_sessions.py",
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


def log_length(store: Store) -> int:
    with store.reading() as session:
        return head(session).seq


def test_every_route_has_a_rule(world: Any) -> None:
    found = {f"{method} {path}" for method, path in routes_of(world.app)}
    assert found == set(RULES), "write down who may use the new route"


def test_what_belongs_to_others_is_what_does_not_exist(world: Any) -> None:
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


def test_no_id_of_another_reviewer_opens_anything(world: Any) -> None:
    """Every small number in every address: what is answered is the reviewer's own or nothing."""
    client = world.client(world.stranger)
    with world.store.reading() as session:
        own = set(session.scalars(text(f"SELECT item_id FROM assignments WHERE user_id = {world.stranger.id}")))
    for number in range(1, 12):
        for part in ("items", "viewer/items", "readers/outputs", "adjudicate", "users", "deid", "figures"):
            allowed = part in ("items", "viewer/items") and number in own
            assert (client.get(f"/{part}/{number}").status_code < 400) == allowed, (part, number)


def test_no_write_without_the_token_of_this_very_session(world: Any) -> None:
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


def test_no_page_changes_anything_by_being_read(world: Any) -> None:
    before = log_length(world.store)
    for method, path in routes_of(world.app):
        rule = RULES[f"{method} {path}"]
        if method == "GET" and not isinstance(rule, str):
            for role in rule.roles:
                world.call(world.client(world.actor(role)), method, path, rule)
    assert log_length(world.store) == before


def test_a_token_that_was_used_for_another_act_is_refused_and_not_an_error(world: Any) -> None:
    client, item = world.client(world.owner), world.names["item"]
    headers = {"X-CSRF-Token": client.csrf}
    answer = client.post(f"/items/{item}/flags/{world.names['flag']}/withdraw", data={"token": "a-first-flag"},
                         headers=headers)  # fmt: skip
    assert answer.status_code == 422
    assert "used for another flag" in answer.text


def test_every_route_lets_in_its_roles_and_nobody_else(world: Any) -> None:
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
