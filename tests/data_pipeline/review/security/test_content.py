"""What pages hold: nothing that is blinded, and nothing hostile that is more than text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from sqlalchemy import text
from starlette.testclient import TestClient

from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import (
    SYSTEM,
    assign_run,
    draw_plan,
)
from data_pipeline.review.readers.service import create_study
from data_pipeline.review.readers.study import StudyCase, StudyOutput
from data_pipeline.review.store.tables import (
    Assignment,
    EvidenceRow,
    ReviewRun,
    now,
)
from spinemed.records import Message


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


def test_what_is_blinded_is_in_no_byte_that_a_reviewer_is_sent(world: Any) -> None:
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


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE items; --",
    "{{ 7 * 191 }}{% raw %}${7*191}",
    "</textarea></title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\u202e\u200bhidden",
)


def test_hostile_source_text_stays_text(world: Any, make_instance: Callable) -> None:
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
