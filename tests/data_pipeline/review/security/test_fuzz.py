"""Malformed requests, made by schemathesis from the application's own schema: refused or answered, never an error.

Two hundred in the daily tests, ten thousand in the acceptance run; every operation gets its share, each request in the
role of somebody who is logged in and holds the right token, because most of the code lies behind both.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from sqlalchemy import update

from data_pipeline.review.audit.chain import verify_log
from data_pipeline.review.protocol import SYSTEM, assign_run, open_session
from data_pipeline.review.readers.service import create_study
from data_pipeline.review.readers.study import StudyCase, StudyOutput
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import User
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.cookies import session_cookie
from data_pipeline.review.web.settings import Settings

NAMES = ("a1", "b1", "judge", "manager", "root", "auditor")


class People:
    """Sessions of six people; one that a request ended is opened again."""

    def __init__(self, store: Store, people: Any, settings: Settings) -> None:
        self.store, self.people, self.settings = store, people, settings
        self.open: dict[str, tuple[str, str]] = {}

    def sending(self, name: str) -> dict[str, Any]:
        if name not in self.open:
            with self.store.writing() as session:
                roles = sorted(self.people[name].roles)
                session.execute(update(User).where(User.id == self.people[name].id).values(active=True, roles=roles))
                self.open[name] = open_session(session, self.people[name].id)
        token, csrf = self.open[name]
        return {"headers": {"X-CSRF-Token": csrf}, "cookies": {session_cookie(self.settings): token}}


def fuzz(requests: int, folder: Path, add_people: Callable, add_run: Callable) -> tuple[int, list[str]]:
    """Send that many requests; returns how many went out and what failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis

    store = open_store(f"sqlite:///{folder / 'review.db'}", folder / "data")
    people = add_people(store)
    run = add_run(store)
    with store.writing() as session:
        assign_run(session, SYSTEM, run.run_id, seed=1)
        outputs = (StudyOutput(text="One.", system="x"), StudyOutput(text="Two.", system="y"))
        create_study(session, people["manager"], "s", [StudyCase(case_id="c", question="q", outputs=outputs)],
                     ["a1", "b1"])  # fmt: skip
    settings = Settings(database_url="sqlite:///none", data_folder=folder, secure_cookies=False, openapi=True)
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(settings, store))
    senders = People(store, people, settings)
    operations = [found.ok() for found in schema.get_all_operations()]
    sent, failed = 0, []
    rounds = itertools.count()

    def share(operation: Any, each: int, seed: int) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=each,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(), name=st.sampled_from(NAMES))
        def send(case: Any, name: str) -> None:
            nonlocal sent
            label = case.operation.label
            answer = case.call(**senders.sending(name))
            sent += 1
            if answer.status_code >= 500:
                failed.append(f"{label} as {name}: {answer.status_code} {case.as_curl_command()[:600]}")
            if answer.status_code == 401 or answer.headers.get("location") in (["/login"], "/login"):
                senders.open.pop(name, None)
            if "/password" in label or label.startswith("POST /users"):
                senders.open.clear()

        send()

    while sent < requests:  # an operation that has few different requests gives less than its share
        each, seed = -(-(requests - sent) // len(operations)), next(rounds)
        for operation in operations:
            share(operation, each, seed)
    with store.reading() as session:
        failed += verify_log(session)
    store.close()
    return sent, failed


@pytest.mark.filterwarnings("ignore")
def test_two_hundred_malformed_requests_are_no_error(tmp_path: Path, add_people: Callable, add_run: Callable) -> None:
    sent, failed = fuzz(200, tmp_path, add_people, add_run)
    assert sent >= 200
    assert not failed, "\n".join(failed)


@pytest.mark.acceptance
@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_malformed_requests_are_no_error(
    tmp_path: Path, add_people: Callable, add_run: Callable, results: ModuleType
) -> None:
    sent, failed = fuzz(10_000, tmp_path, add_people, add_run)
    results.record(
        "Clinician review", 5, "malformed requests from the OpenAPI schema (schemathesis), in all roles",
        asked="10,000 without a 5xx", measured=f"{sent:,} sent, {len(failed)} with a 5xx",
        met=sent >= 10_000 and not failed,
        command="pytest -m acceptance tests/data_pipeline/review/security/test_fuzz.py",
    )  # fmt: skip
    results.PAGE.write_text(results.render(), encoding="utf-8")
    assert not failed, "\n".join(failed[:20])
