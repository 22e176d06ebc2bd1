"""Take most pictures of the pages again: a real server on a run, a real Chromium, pictures cut to 40 colours.

    python data_pipeline/review/docs/screenshots.py RUN --out data_pipeline/review/docs

Convention: RUN is a run folder of `spinemed data run` without a review yet (a small one: CT sample, text); the script
makes users and a few decisions, so that no page is empty. Needs `chromium`, Playwright and Pillow.

Trap: pictures are documentation. Look at each one before it is committed; the script cannot see that a page is ugly.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PASSWORD = "a password for pictures"
USERS = {
    "surgeon-01": ["--role", "reviewer", "--group", "A", "--specialty", "spine surgery", "--years", "14"],
    "radiologist-02": ["--role", "reviewer", "--group", "B", "--specialty", "radiology", "--years", "9"],
    "surgeon-03": ["--role", "adjudicator", "--specialty", "spine surgery", "--years", "21"],
    "manager-01": ["--role", "data_manager"],
    "admin-01": ["--role", "admin"],
    "auditor-01": ["--role", "auditor"],
}
COLOURS = 40


def spinemed(*words: str, typed: str = "") -> str:
    """Run one command of the command line; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", "review", *words], input=typed, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"spinemed review {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def server(run: Path) -> Iterator[str]:
    """The address of a server on a free port, as long as the block lasts."""
    child = subprocess.Popen(
        [sys.executable, "-m", "spinemed", "review", "serve", str(run), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        yield next(line.strip().rstrip("/") for line in child.stdout if line.startswith("http"))
    finally:
        child.terminate()
        child.wait(20)


class Camera:
    """One Chromium; a fresh context for each person."""

    def __init__(self, chromium: Any, url: str, out: Path) -> None:
        self.chromium = chromium
        self.url = url
        self.out = out

    def person(self, name: str, *, width: int = 1280, height: int = 720, language: str = "en") -> Any:
        """A page on which the person is logged in."""
        page = self.chromium.new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(f"{self.url}/language/{language}?back=/login")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.click("button.main")
        page.wait_for_selector("header form[action='/logout']")
        return page

    def take(self, page: Any, name: str, path: str = "") -> None:
        """Save what the page shows, after going to a path."""
        from PIL import Image

        if path:
            page.goto(self.url + path)
        page.wait_for_load_state("networkidle")
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(self.out / f"{name}.png", optimize=True)


def press(page: Any, *keys: str) -> None:
    """Press keys and wait for the page that follows."""
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_load_state("networkidle")


def to_picture(page: Any, what: str = "figure img", *, most: int = 80) -> None:
    """Go on to the next item that has a picture, or the element of another selector."""
    for _ in range(most):
        if page.locator(what).count() and page.locator("article.source").count():
            return
        with page.expect_navigation():
            page.keyboard.press("j")


def disagree(camera: Camera) -> str:
    """Two reviewers decide one item differently; returns its address for the adjudicator."""
    one = camera.person("surgeon-01")
    page = camera.person("radiologist-02")
    page.goto(f"{camera.url}/queue")
    number = page.locator("a[data-key=j]").get_attribute("href")
    for who, key in ((page, "r"), (one, "a")):
        who.goto(camera.url + number)
        press(who, key)
        if key == "r":
            who.select_option("#reject select[name=cause]", "wrong_level")
            who.fill("#reject textarea", "The marked body lies one level higher.")
            press(who, "Control+Enter")
    return number.replace("/items/", "/adjudicate/")


def pictures(camera: Camera) -> None:
    """Every page, in the order in which people meet them."""
    page = camera.chromium.new_context(viewport={"width": 1366, "height": 420}).new_page()
    camera.take(page, "login", "/login")
    dispute = disagree(camera)
    page = camera.person("surgeon-01")
    camera.take(page, "queue", "/queue")
    with page.expect_navigation():
        page.keyboard.press("j")
    to_picture(page, "[data-viewer]")
    press(page, "]", "1")
    camera.take(page, "item")
    press(page, "e")
    box = page.locator("#edit textarea").first
    box.fill(box.input_value() + " Name the level from the sacrum upwards.")
    page.wait_for_selector("#mine ins")
    page.locator("#mine").scroll_into_view_if_needed()
    camera.take(page, "item_edit")
    press(page, "Escape")
    tablet = camera.person("surgeon-01", width=834, height=1112, language="zh")
    with tablet.expect_navigation():
        tablet.keyboard.press("j")
    to_picture(tablet, "[data-viewer]")
    camera.take(tablet, "item_tablet_zh")
    press(page, "j")
    to_picture(page, "a[href*='/documents/']")
    camera.take(page, "document", page.locator("a[href*='/documents/']").first.get_attribute("href"))
    page.goto(camera.url + dispute.replace("/adjudicate/", "/items/"))
    page.click("form[action$='/other'] button")
    camera.take(page, "other")
    camera.take(page, "studies", "/readers")
    camera.take(page, "sign", "/sign")
    camera.take(page, "help", "/help")
    judge = camera.person("surgeon-03")
    camera.take(judge, "disputes", "/adjudicate")
    camera.take(judge, "adjudicate", dispute)
    manager = camera.person("manager-01")
    manager.goto(f"{camera.url}/release")
    manager.fill("form[action='/release'] input[name=password]", PASSWORD)
    manager.click("form[action='/release'] button.main")
    camera.take(manager, "release")
    camera.take(manager, "quarantine_list", "/deid")
    auditor = camera.person("auditor-01")
    auditor.goto(f"{camera.url}/audit")
    auditor.click("form[action='/audit/verify'] button")
    camera.take(auditor, "audit")
    camera.take(camera.person("admin-01"), "users", "/users")


def main() -> None:
    """Make the users, serve the run, take the pictures."""
    from playwright.sync_api import sync_playwright

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("run", type=Path)
    asked.add_argument("--out", type=Path, required=True)
    given = asked.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed")
    for name, options in USERS.items():
        spinemed("user", "add", name, *options, "--run", str(given.run), typed=f"{PASSWORD}\n")
    spinemed("import", str(given.run), "--training-share", "0.2")
    given.out.mkdir(parents=True, exist_ok=True)
    with server(given.run) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pictures(Camera(browser, url, given.out))
        browser.close()


if __name__ == "__main__":
    main()
