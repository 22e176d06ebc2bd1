"""The whole way in a real browser against the real server: ten items by keyboard, a CT, an edit, a dispute, a release.

One test, a chain of small steps: each takes the :class:`Story` and leaves it further on. Add a step to `STEPS`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from data_pipeline.review.exchange.runs import import_run
from data_pipeline.review.protocol import SYSTEM, add_user, assign_run, draw_plan
from data_pipeline.review.store import Store, open_store
from data_pipeline.review.store.tables import (
    Assignment,
    Decision,
    EvidenceRow,
    Item,
    ItemEvidence,
    StudyVolume,
    User,
    Volume,
)

PASSWORD = "a password of the tests"


@dataclass
class Story:
    """What the steps share."""

    url: str
    browser: Any
    run: Path
    store: Store
    pages: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    settled: int = 0
    """The item that was adjudicated."""

    def as_(self, name: str) -> Any:
        """The page of a person, logged in by keyboard at the first call."""
        if name not in self.pages:
            page = self.browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
            page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: self.errors.append(str(error)))
            page.goto(f"{self.url}/login")
            page.keyboard.type(name)
            page.keyboard.press("Tab")
            page.keyboard.type(PASSWORD)
            with page.expect_navigation():
                page.keyboard.press("Enter")
            page.wait_for_selector("form[action='/logout']")
            self.pages[name] = page
        return self.pages[name]

    def press(self, page: Any, key: str) -> None:
        """Press a key that leads to another page."""
        with page.expect_navigation():
            page.keyboard.press(key)

    def decisions(self) -> list[str]:
        """Verdicts on disk, in their order."""
        with self.store.reading() as session:
            return list(session.scalars(select(Decision.verdict).order_by(Decision.id)))


def number_of(page: Any) -> int:
    """Number of the item that a page shows."""
    return int(re.search(r"/items/(\d+)", page.url)[1])


def review_ten_items_by_keyboard(story: Story) -> None:
    page = story.as_("a1")
    story.press(page, "j")
    seen = [number_of(page)]
    for turn in range(9):
        if turn % 3 == 2:
            page.keyboard.press("r")
            page.keyboard.press("Tab")
            page.keyboard.type("the picture does not show it")
            story.press(page, "Control+Enter")
        else:
            story.press(page, "a")
        seen.append(number_of(page))
    page.keyboard.press("]")  # the first sentence
    assert page.locator(".sentence.chosen").count() == 1
    page.keyboard.press("f")
    page.keyboard.press("Tab")
    page.keyboard.type("which study says so?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#flags q")
    story.press(page, "a")
    assert len(set(seen)) == 10
    assert story.decisions() == ["approved", "approved", "rejected"] * 3 + ["approved"]


def take_the_last_one_back(story: Story) -> None:
    page = story.as_("a1")
    story.press(page, "u")
    assert "Your last decision is taken back" in page.inner_text("main")
    assert page.locator("#flags q").count() == 1
    story.press(page, "a")
    assert story.decisions()[-2:] == ["undone", "approved"]


def light_the_source_of_a_sentence(story: Story) -> None:
    page = story.as_("a1")
    for _ in range(60):
        if page.locator(".sentence:not([data-ties=''])").count():
            break
        story.press(page, "j")
    for _ in range(9):
        page.keyboard.press("]")
        if page.locator("[data-source].lit").count():
            break
    assert page.locator("article.lit, figure.lit").count() >= 1
    page.keyboard.press("Escape")
    assert page.locator(".lit").count() == 0


def scroll_a_ct(story: Story) -> None:
    with story.store.reading() as session:
        number, name = session.execute(
            select(Assignment.item_id, User.pseudonym)
            .join(User, User.id == Assignment.user_id)
            .join(ItemEvidence, ItemEvidence.item_id == Assignment.item_id)
            .join(EvidenceRow, (EvidenceRow.id == ItemEvidence.evidence_id) & (EvidenceRow.kind == "study"))
            .join(StudyVolume, (StudyVolume.study_id == EvidenceRow.ref_id) & (StudyVolume.kind == "image"))
            .join(Volume, Volume.handle == StudyVolume.handle)
            .where(Volume.modality == "CT")
            .order_by(User.pseudonym, Assignment.item_id)
            .limit(1)
        ).one()  # fmt: skip
    page = story.as_(name)
    page.goto(f"{story.url}/items/{number}")
    page.wait_for_selector("[data-viewer][data-ready]")
    canvas = page.locator(".viewer-canvas").first

    def shown(value: str) -> Any:
        return page.evaluate(f"document.querySelector('[data-viewer]').viewer.panes[0].{value}")

    def drawn() -> bytes:
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(150)
        return canvas.screenshot()

    canvas.focus()
    layer, first = shown("layer"), drawn()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(150)
    assert shown("layer") == layer + 3
    scrolled = drawn()
    assert scrolled != first
    page.keyboard.press("s")
    assert shown("window") == [50, 400]
    soft = drawn()
    page.keyboard.press("b")
    assert shown("window") == [400, 1800]
    assert drawn() != soft
    assert number_of(page) == number  # the keys of the viewer decide nothing
    # the next step goes on from an item that is open
    story.as_("a1").goto(f"{story.url}/queue")
    story.press(story.as_("a1"), "j")


def edit_with_the_difference_in_view(story: Story) -> None:
    page = story.as_("a1")
    number = number_of(page)
    # What saving says belongs into its own place: a stranger with a word of the same name keeps what it holds.
    page.evaluate(
        "document.querySelector('.pane.picture').insertAdjacentHTML('beforeend', '<p id=kept data-failed=x>kept</p>')"
    )
    page.keyboard.press("e")
    box = page.locator("#edit textarea").first
    box.focus()
    page.keyboard.press("Control+End")
    page.keyboard.type(" Count from the sacrum.")
    page.wait_for_selector("#mine ins")
    assert "Count from the sacrum." in page.inner_text("#mine ins")
    assert page.inner_text("#kept") == "kept"
    page.reload()  # what was typed is still there
    assert "Count from the sacrum." in page.locator("#edit textarea").first.input_value()
    page.locator("#edit textarea").first.focus()
    story.press(page, "Control+Enter")
    assert story.decisions()[-1] == "edited"
    page.goto(f"{story.url}/items/{number}")
    assert "Count from the sacrum." in page.inner_text("#mine ins")


def disagree_and_settle(story: Story) -> None:
    with story.store.reading() as session:
        number = session.scalar(
            select(Decision.item_id).join(Item, Item.id == Decision.item_id)
            .where(Item.purpose == "benchmark", Item.status == "open", Decision.verdict == "approved").limit(1)
        )  # fmt: skip
    other = story.as_("b1")
    other.goto(f"{story.url}/items/{number}")
    other.keyboard.press("r")
    other.keyboard.press("Tab")
    other.keyboard.type("the level cannot be told")
    story.press(other, "Control+Enter")
    judge = story.as_("judge")
    judge.goto(f"{story.url}/adjudicate")
    story.press(judge, "j")
    text = judge.inner_text("main")
    assert "the level cannot be told" in text
    assert not re.search(r"\b(a1|b1)\b", text)
    judge.keyboard.press("w")
    judge.keyboard.type("The sacrum is in view: the level can be told.")
    judge.keyboard.press("Escape")
    story.press(judge, "a")
    assert "Settled" in judge.inner_text("main")
    story.settled = number


def see_agreement(story: Story) -> None:
    page = story.as_("manager")
    answer = page.goto(f"{story.url}/agreement")
    assert answer.status == 200
    assert re.search(r"\d", page.inner_text("main"))


def sign_the_own_decisions(story: Story) -> None:
    page = story.as_("a1")
    page.goto(f"{story.url}/sign")
    page.focus("input[name=password]")
    page.keyboard.type(PASSWORD)
    story.press(page, "Enter")
    assert "Signed." in page.inner_text("main")


def export_and_release(story: Story) -> None:
    page = story.as_("manager")
    page.goto(f"{story.url}/release")
    page.focus("form[action='/release'] input[name=password]")
    page.keyboard.type(PASSWORD)
    story.press(page, "Enter")
    assert "Signed and exported" in page.inner_text("main")
    folder = max((story.run / "review" / "exports").iterdir())
    verdicts = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    with story.store.reading() as session:
        instance = session.scalar(select(Item.instance_id).where(Item.id == story.settled))
    assert {one["instance_id"]: one["decision"] for one in verdicts}[instance] == "approved"
    words = ["data", "run", story.run / "config.yaml", "--out", story.run, "--reviews", folder]
    done = subprocess.run([sys.executable, "-m", "spinemed", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "release:" in done.stdout
    rows = (story.run / "outputs" / "release" / "index.jsonl").read_text().splitlines()
    tested = [row["id"] for row in map(json.loads, rows) if row["split"] == "test"]
    assert tested == [instance]


STEPS: tuple[Callable[[Story], None], ...] = (
    review_ten_items_by_keyboard,
    take_the_last_one_back,
    light_the_source_of_a_sentence,
    scroll_a_ct,
    edit_with_the_difference_in_view,
    disagree_and_settle,
    see_agreement,
    sign_the_own_decisions,
    export_and_release,
)


def test_from_login_to_release(browser: Any, serve_review: Callable[..., str], built: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(built, run)
    store = open_store(f"sqlite:///{run / 'review' / 'review.db'}", run / "review")
    with store.writing() as session:
        for name, group in (("a1", "A"), ("b1", "B")):
            add_user(session, SYSTEM, name, PASSWORD, ["reviewer"], specialty="spine surgery", group=group)
        for name, role in (("judge", "adjudicator"), ("manager", "data_manager")):
            add_user(session, SYSTEM, name, PASSWORD, [role])
    account = import_run(store, run)
    with store.writing() as session:
        draw_plan(session, SYSTEM, account["run"], training_share=0.2)
        assign_run(session, SYSTEM, account["run"])
    story = Story(serve_review(str(run)), browser, run, store)
    for step in STEPS:
        step(story)
    assert story.errors == []
    store.close()
