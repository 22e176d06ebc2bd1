"""A served review with one of each object, and browsers of everybody who may or may not touch it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text
from starlette.testclient import TestClient

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
from spinemed.records import Message
from spinemed.tables import file_sha256


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

    def call(self, client: TestClient, method: str, path: str, rule: Any, *, csrf: str | None = None) -> Any:
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
    def address(path: str, rule: Any, names: dict[str, str]) -> str:
        return re.sub(r"\{(\w+)(?::path)?\}", lambda found: names.get(v := rule.values[found[1]], v), path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, add_people: Callable, make_instance: Callable) -> Iterator[World]:
    """One review for all tests of a file; those that change it stand at its end."""
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
