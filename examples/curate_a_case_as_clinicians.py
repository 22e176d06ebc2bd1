"""For clinicians and whoever works with them: one CT case, read by two, settled by a third, released as they decided.

Shows: questions are drafted from a bundled CT; two reviewers decide each of them by keyboard in a real browser; they
disagree once, and an adjudicator who reviewed neither settles it; everybody signs; the release takes exactly what was
approved; the audit log is checked. Keys are pressed by this script where people would press them.
Needs: the extra `review` (pip install "spinemed[review]"), Playwright (pip install playwright) and the program
`chromium`. SQLite is enough; no GPU, no network.
Takes: about half a minute on one CPU core.

    python examples/curate_a_case_as_clinicians.py --out runs/curated

Research use only. The decisions are set by this script: they say nothing about the questions' quality.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steps import child

from spinemed.resources import samples_dir

PASSWORD = "a password for this walk"
PEOPLE = {
    "surgeon-01": ["--role", "reviewer", "--group", "A", "--specialty", "spine surgery", "--years", "14"],
    "radiologist-02": ["--role", "reviewer", "--group", "B", "--specialty", "radiology", "--years", "9"],
    "surgeon-03": ["--role", "adjudicator", "--specialty", "spine surgery", "--years", "21"],
    "manager-01": ["--role", "data_manager"],
}
# What the script lets the reviewers think, by item number.
BOTH_REJECT = 2
THEY_DISAGREE_ON = 1

# A case in the test split: a benchmark's item needs two reviewers of different groups. Real paths are filled in below.
SOURCES = """\
sources:
  - id: ct
    kind: nifti
    path: {ct}
    licence: Apache-2.0
    allowed_use: [train, evaluate, redistribute]
    attribution: "TPTBox test samples, (c) R. Graf, H. Moeller and contributors, Apache-2.0"
    legal_basis: published test data
    split: test
    options:
      studies:
        - image: sub-ct_label-22_ct.nii.gz
          mask: sub-ct_seg-vert_label-22_msk.nii.gz
          bodies: sub-ct_seg-subreg_label-22_msk.nii.gz
          label_map: tptbox
          modality: CT
          group: sub-ct
          truth: expert_mask
          layers: 2
"""
CONFIG = """\
sources: sources.yaml
seed: 0
draft:
  images:
    default: {vertebra: 1, disc: 0, edge: 0, fracture: 0, pfirrmann: 0, modic: 0, fixation: 0}
  tasks:
    default: {multiple_choice: 1, open: 1, languages: [en], forms: [image]}
"""


def check_what_is_needed() -> str:
    """The path of chromium; ends with a plain message where something is missing."""
    missing = [
        f"{what}: {cure}"
        for what, there, cure in (
            ("the extra review", importlib.util.find_spec("sqlalchemy"), 'pip install "spinemed[review]"'),
            ("Playwright", importlib.util.find_spec("playwright"), "pip install playwright"),
            ("the program chromium", shutil.which("chromium"), "apt-get install chromium, or your system's way"),
        )
        if not there
    ]
    if missing:
        raise SystemExit("This walk needs what is not here:\n  " + "\n  ".join(missing))
    return str(shutil.which("chromium"))


def spinemed(*words: str | Path, typed: str = "") -> None:
    """Print one command of the command line, then run it as you would."""
    print()
    running = child(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lines = running.communicate(typed)[0].strip().splitlines()
    # A data run prints its tables of sources and criteria first; here the last one, what was released, is enough.
    first = next((number for number, text in enumerate(lines) if text.strip().startswith("release:")), 0)
    print("\n".join([f"[{first} lines before]", *lines[first:]] if first else lines), flush=True)
    if running.returncode:
        raise SystemExit(running.returncode)


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of the application, as long as the block lasts."""
    print()
    server = child("review", "serve", run, "--port", "0", stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        url = next((line.strip().rstrip("/") for line in server.stdout if line.startswith("http")), "")
        if not url:
            raise SystemExit("the server did not start")
        print(url, flush=True)
        yield url
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


class Desk:
    """A browser in which each person has a page of their own."""

    def __init__(self, browser: Any, url: str, out: Path) -> None:
        self.browser = browser
        self.url = url
        self.out = out

    def log_in(self, name: str) -> Any:
        """The page of a person."""
        page = self.browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        page.goto(f"{self.url}/login")
        page.keyboard.type(name)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        press(page, "Enter")
        page.wait_for_selector("form[action='/logout']")
        return page

    def picture(self, page: Any, name: str) -> None:
        """Keep what a page shows."""
        page.wait_for_load_state("networkidle")
        page.screenshot(path=self.out / f"{name}.png")


def press(page: Any, key: str) -> None:
    """Press a key that leads to another page."""
    with page.expect_navigation():
        page.keyboard.press(key)


def review(desk: Desk, name: str, rejects: dict[int, str]) -> int:
    """Decide everything in a person's queue, then sign it; gives how many items that were."""
    page = desk.log_in(name)
    press(page, "j")  # the first open item; after a decision the next one comes by itself
    decided = 0
    while page.locator("button[data-key=a]").count():  # nothing left to approve: all is decided
        number = int(page.url.rsplit("/", 1)[1].split("?")[0])
        if number == THEY_DISAGREE_ON:
            desk.picture(page, f"item_of_{name}")
        if number in rejects:
            page.keyboard.press("r")
            page.keyboard.press("Tab")
            page.keyboard.type(rejects[number])
            press(page, "Control+Enter")
        else:
            press(page, "a")
        decided += 1
    sign(desk, page, "/sign")
    print(f"{name}: {decided} items decided and signed, {len(rejects)} of them rejected", flush=True)
    return decided


def settle(desk: Desk, name: str) -> None:
    """The adjudicator sees both decisions as A and B, without names, and says why one holds."""
    page = desk.log_in(name)
    page.goto(f"{desk.url}/adjudicate")
    press(page, "j")
    page.keyboard.press("w")
    page.keyboard.type("No rib, sacrum or C2 in view: the level cannot be told from this picture.")
    page.keyboard.press("Escape")
    desk.picture(page, "disagreement")
    press(page, "a")
    sign(desk, page, "/sign")
    print(f"{name}: the disagreement is settled (approved) and signed", flush=True)


def sign(desk: Desk, page: Any, where: str) -> None:
    """Sign by password."""
    page.goto(desk.url + where)
    page.focus("input[name=password]")
    page.keyboard.type(PASSWORD)
    press(page, "Enter")
    page.wait_for_selector(".notice[role=status]")  # the page says that it is signed


def export(desk: Desk, run: Path, name: str) -> Path:
    """The data manager looks at the agreement, signs the export, and gets its folder."""
    page = desk.log_in(name)
    page.goto(f"{desk.url}/agreement")
    desk.picture(page, "agreement")
    sign(desk, page, "/release")
    folder = max((run / "review" / "exports").iterdir())
    print(f"{name}: signed and exported to {folder}", flush=True)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """The walk from a CT to a release that clinicians decided."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/curated"), help="folder of all that is made")
    out: Path = parser.parse_args().out
    chromium = check_what_is_needed()
    from playwright.sync_api import sync_playwright

    run, config = out / "run", out / "config.yaml"
    if run.exists():  # decisions are never overwritten: a second walk begins anew, in a folder that was a walk's
        if not (run / "run.json").is_file() or not config.is_file() or config.read_text(encoding="utf-8") != CONFIG:
            raise SystemExit(f"{run} is not of this walk: give another --out")
        shutil.rmtree(run)
    out.mkdir(parents=True, exist_ok=True)
    ct = (samples_dir() / "ct" / "tptbox_L3_crop").as_posix()
    (out / "sources.yaml").write_text(SOURCES.format(ct=json.dumps(ct)), encoding="utf-8")
    config.write_text(CONFIG, encoding="utf-8")

    spinemed("data", "run", config, "--out", run)
    for name, words in PEOPLE.items():  # a password is never an option: it is asked for, or read from standard input
        spinemed("review", "user", "add", name, *words, "--run", run, typed=PASSWORD + "\n")
    spinemed("review", "import", run, "--training-share", "0")

    with served(run) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        desk = Desk(browser, url, out)
        doubts = {BOTH_REJECT: "Nobody would ask this at a bedside.", THEY_DISAGREE_ON: "I would call it L3."}
        items = review(desk, "surgeon-01", {BOTH_REJECT: doubts[BOTH_REJECT]})
        review(desk, "radiologist-02", doubts)
        settle(desk, "surgeon-03")
        reviews = export(desk, run, "manager-01")
        browser.close()

    spinemed("data", "run", config, "--out", run, "--reviews", reviews)
    spinemed("review", "verify-log", run, "--head", reviews / "head.json")

    approved = {one["instance_id"] for one in rows(reviews / "verdicts.jsonl") if one["decision"] == "approved"}
    released = {one["id"] for one in rows(run / "outputs" / "release" / "index.jsonl")}
    if released != approved:
        raise SystemExit(f"released and approved differ: {sorted(released ^ approved)}")
    left_out = json.loads((run / "outputs" / "release" / "manifest.json").read_bytes())["left_out"]
    print(f"\n{items} items reviewed twice, {len(approved)} approved, and the release holds exactly those.")
    print(f"Left out of it: {left_out}")
    print(f"Pictures: {', '.join(sorted(path.name for path in out.glob('*.png')))} in {out}")


if __name__ == "__main__":
    main()
