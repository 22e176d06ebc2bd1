"""A review of two image items, one on a CT with levels and one on an MR, and who reviews which."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import SYSTEM, assign_run, draw_plan
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    Assignment,
    EvidenceRow,
    Item,
    Picture,
    ReviewRun,
    StudyVolume,
    User,
    Volume,
    now,
)
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings
from spinemed.marks import png_bytes
from spinemed.records import Evidence, Study
from spinemed.resources import samples_dir
from spinemed.tables import file_sha256

CT = "ct/totalsegmentator_lumbar/example_ct.nii.gz"
MASK = "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz"
MR = "mr/sct_t2_lumbar/t2_lumbar.nii.gz"


@dataclass
class Site:
    """An application with two image items: item 0 on a CT with levels, item 1 on an MR; and who reviews which."""

    app: Any
    store: Store
    items: list[int]
    handles: dict[str, str]
    clients: dict[str, tuple[TestClient, str]] = field(default_factory=dict)

    def client(self, name: str) -> tuple[TestClient, str]:
        """A logged-in browser and its CSRF token; "" is nobody."""
        if name in self.clients:
            return self.clients[name]
        http = TestClient(self.app, follow_redirects=False)
        token = ""
        if name:
            login = http.get("/login").text
            hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', login))
            answer = http.post("/login", data={**hidden, "name": name, "password": "a password of the tests"})
            assert answer.status_code == 303, answer.text
            found = re.search(r'csrf_token" value="([^"]+)"', http.get("/help").text)
            assert found
            token = found[1]
        self.clients[name] = (http, token)
        return self.clients[name]

    def owner(self, number: int) -> str:
        """Who reviews an item."""
        with self.store.reading() as session:
            found = session.scalar(
                select(User.pseudonym)
                .join(Assignment, Assignment.user_id == User.id)
                .where(Assignment.item_id == self.items[number])
            )
        assert found
        return str(found)

    def stranger(self, number: int) -> str:
        """A reviewer who does not."""
        return next(name for name in ("a1", "b1", "c1", "a2") if name != self.owner(number))

    def get(self, name: str, path: str, **headers: str) -> Any:
        return self.client(name)[0].get(path, headers=headers)

    def post(self, name: str, path: str, body: Any, *, token: str | None = None) -> Any:
        http, own = self.client(name)
        return http.post(path, json=body, headers={"X-CSRF-Token": own if token is None else token})


@pytest.fixture
def site(sqlite_store: Store, add_people: Callable, make_instance: Callable, tmp_path: Path) -> Site:
    """A site on SQLite, for what a database cannot change."""
    return build(sqlite_store, add_people, make_instance, tmp_path)


@pytest.fixture
def stored(store: Store, add_people: Callable, make_instance: Callable, tmp_path: Path) -> Site:
    """The same in each database, for what is stored."""
    return build(store, add_people, make_instance, tmp_path)


def build(store: Store, add_people: Callable, make_instance: Callable, tmp_path: Path) -> Site:
    add_people(store)
    samples = samples_dir()
    picture = png_bytes(np.arange(64, dtype=np.uint8).reshape(8, 8))
    handles: dict[str, str] = {}
    with store.writing() as session:
        run = ReviewRun(name="pictures", folder="/runs/p", revised_sha256="7" * 64, imported_at=now(), account={})
        session.add(run)
        session.flush()
        digest = store.blobs.put(picture)
        session.add(Picture(sha256=digest, format="png", width_px=8, height_px=8, bits=8))
        rows = []
        for number, (study_id, modality, files) in enumerate(
            (("study-ct", "CT", {"image": CT, "mask": MASK}), ("study-mr", "MR", {"image": MR}))
        ):
            study = Study(
                id=study_id, source_id="samples", group_id=f"samples:{number}", origin="real", modality=modality,
                plane="sagittal", image_sha256=digest, width_px=8, height_px=8, spacing_mm=3.0, marks=(),
                numbering_determinable=True, truth="model_mask", provenance="{}",
            )  # fmt: skip
            row = EvidenceRow(
                run_id=run.id, kind="study", ref_id=study_id, record=study.model_dump_json(), picture_sha256=digest
            )
            session.add(row)
            rows.append(row)
            for kind, name in files.items():
                handle = hashlib.sha256(name.encode()).hexdigest()
                handles[f"{kind} {modality}"] = handle
                session.add(
                    Volume(
                        handle=handle, run_id=run.id, kind=kind, path=str(samples / name), name=name,
                        source_id="samples", group_id=f"samples:{number}", modality=modality,
                        scheme="totalsegmentator" if kind == "mask" else "", sha256=file_sha256(samples / name),
                    )
                )  # fmt: skip
                session.flush()
                session.add(StudyVolume(run_id=run.id, study_id=study_id, kind=kind, handle=handle))
        session.flush()
        found = [
            NewItem(
                make_instance(
                    number, source_id="samples", group_id=f"samples:{number}",
                    evidence=(Evidence(kind="study", id=row.ref_id, sha256="5" * 64),),
                ),
                None, "training", evidence=(row.id,),
            )
            for number, row in enumerate(rows)
        ]  # fmt: skip
        load_items(session, run.id, found)
        draw_plan(session, SYSTEM, run.id, training_share=1.0, seed=1)
        assign_run(session, SYSTEM, run.id, seed=1)
        items = list(session.scalars(select(Item.id).where(Item.run_id == run.id).order_by(Item.id)))
    app = create_app(Settings(database_url="sqlite:///none", data_folder=tmp_path, secure_cookies=False), store)
    return Site(app, store, items, handles)


@pytest.fixture
def reader(site: Site) -> str:
    """Who reviews the CT item."""
    return site.owner(0)
