"""Pictures of the board in a real browser, for `bench/README.md`: desktop and phone.

    python -m bench.board.screenshots [--work DIR] [--out bench/docs]

Convention: needs Playwright and a Chromium (`chromium` on the path, or `--chromium FILE`). The page is made of
SpineBench-Live questions and of answerers that are made up here: they draw right or wrong from a seed and look at no
picture. The page says so, and no figure on it says anything about a model.

Checked in passing: no part of the page is wider than the window, no message in the browser's console, filters change
the table, the browser of questions turns pages. The script fails where one of these does.

Trap: a Chromium of another version draws letters a little otherwise, so the pictures are not byte for byte the same.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TITLE = "SpineBench board: made-up answerers, to show the page"
SYSTEMS: dict[str, tuple[float, float, bool]] = {
    # Share right, share right without the picture, whether it overstates its confidence.
    "careful": (0.78, 0.34, False),
    "bold": (0.71, 0.45, True),
    "generator-trained": (0.86, 0.31, False),
}
CONDITIONS = ("full", "withheld", "blind", "options_only", "rotated_1", "rotated_2", "rotated_3")
DECLARED = """\
name: generator-trained
model: generator-trained
revision: made up
organisation: nobody
contact: nobody@example.org
licence: Apache-2.0
training_data: [{name: phantoms, kind: phantom, licence: Apache-2.0}]
phantoms: {used: true, families: [any]}
seen_questions: false
predictions: [full]
"""


def said_to(sample: Any, right: bool, rng: np.random.Generator) -> str:
    """A right answer, or a wrong one of the same kind."""
    if right:
        return str(sample.answer)
    if sample.options:
        return str(rng.choice([option.key for option in sample.options if option.key != sample.answer]))
    if sample.categories:
        return str(rng.choice([one for one in sample.categories if one != sample.answer]))
    if sample.answer_kind == "number" and sample.answer != "not determinable":
        return f"{float(sample.answer) + rng.choice((-1, 1)) * (2 + rng.gamma(2, 3)):.1f}"
    levels = [f"T{n}" for n in range(9, 13)] + [f"L{n}" for n in range(1, 6)]
    if sample.answer in levels:
        place = levels.index(sample.answer) + int(rng.choice((-1, 1)))
        return levels[min(max(place, 0), len(levels) - 1)] if 0 <= place < len(levels) else "T7"
    return "L4/5" if sample.answer_kind == "disc" else "not determinable"


def make_page(work: Path) -> Path:
    """Questions, made-up replies, scores and the page."""
    from bench.board import write_board
    from bench.runner import MajorityAnswerer, RandomAnswerer, ScriptedAnswerer, predict_samples
    from bench.runner.conditions import Questions
    from bench.samples import read_samples
    from bench.spinebench import score_predictions

    samples = work / "samples"
    live = ["bench", "live", "configs/bench/live.yaml", "--set", "count=160", "--seed", "7", "--out", str(samples)]
    subprocess.run([sys.executable, "-m", "spinemed", *live], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    listed, _ = read_samples(samples)
    asked, made = Questions(listed, samples), []
    for number, (name, (skill, blind, overstates)) in enumerate(SYSTEMS.items()):
        for at, condition in enumerate(CONDITIONS):
            rng = np.random.default_rng([7, number, at])
            share = skill if condition == "full" or condition.startswith("rotated") else blind
            script = {}
            for sample in asked.under(condition).samples:  # type: ignore[arg-type]
                right = bool(rng.random() < share)
                sure = 0.93 if overstates else (rng.beta(8, 2) if right else rng.beta(4, 4))
                script[sample.id] = f"Answer: {said_to(sample, right, rng)}\nConfidence: {100 * sure:.0f}%"
            folder = work / "predictions" / (name if condition == "full" else f"{name}-{condition}")
            shutil.rmtree(folder, ignore_errors=True)
            answerer = ScriptedAnswerer(script, name=name)
            predict_samples(samples, answerer, folder, name=folder.name, condition=condition)  # type: ignore[arg-type]
            made.append(folder)
    for name in ("majority", "random"):
        one: Any = MajorityAnswerer(listed) if name == "majority" else RandomAnswerer(listed, seed=0)
        shutil.rmtree(work / "predictions" / name, ignore_errors=True)
        predict_samples(samples, one, work / "predictions" / name, name=name)
        made.append(work / "predictions" / name)
    score_predictions(samples, made, work / "scores", subject="careful", resamples=2000)
    submission = work / "submission"
    shutil.rmtree(submission, ignore_errors=True)
    shutil.copytree(work / "predictions" / "generator-trained", submission / "full")
    (submission / "submission.yaml").write_text(DECLARED)
    page = work / "page"
    write_board(
        [work / "scores"], page, title=TITLE, samples=[samples], predictions=made, submissions=[submission], items=60
    )
    return page / "board.html"


def small(png: bytes, width: int, colours: int = 48) -> bytes:
    """A picture of that width with so many colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def check(page: Any, width: int, messages: list[str]) -> None:
    """No part is wider than the window, and the browser said nothing."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        raise SystemExit(f"the page is {wide} pixels wide in a window of {width}")
    if messages:
        raise SystemExit(f"the browser said: {messages[0]}")


def _hear(held: list[str], said: Any) -> None:
    held.append(getattr(said, "text", None) or str(said))


def take(html: Path, out: Path, chromium: str) -> None:
    """Look at the page, use it, and keep what is seen."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, width, height, scale in (("desktop", 1300, 950, 1), ("phone", 390, 844, 2)):
            messages: list[str] = []
            page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            page.on("console", partial(_hear, messages))
            page.on("pageerror", partial(_hear, messages))
            page.goto(html.as_uri())
            check(page, width, messages)
            shots = {"ranks": "#board-ranks", "safety": "#board-safety", "controls": "#board-controls", "item": ".pick"}
            for part, anchor in shots.items():
                if part == "item":
                    before = page.locator(".filtered tbody").inner_text()
                    page.select_option("select[data-facet=axis]", label="level identification")
                    page.select_option("select[data-facet=verdict]", label="wrong")
                    if page.locator(".filtered tbody").inner_text() == before:
                        raise SystemExit("a filter changed nothing")
                    first = page.locator(".pane .id").first.inner_text()
                    page.get_by_role("button", name="next").click()
                    if page.locator(".pane .id").first.inner_text() == first:
                        raise SystemExit("the browser of questions does not turn")
                if name == "phone" and part in ("controls", "safety"):
                    continue
                page.locator(anchor).evaluate(
                    "element => element.scrollIntoView({block: 'start', behavior: 'instant'})"
                )
                page.wait_for_timeout(150)
                check(page, width, messages)
                data = page.screenshot()
                colours = 160 if part == "item" else 48  # a picture of a spine needs its greys
                wide = 1000 if name == "desktop" else 390
                (out / f"board-{name}-{part}.png").write_bytes(small(data, wide, colours))
            page.close()
        browser.close()


def main() -> None:
    """Make the page and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=None, help="kept between runs, so that questions are made once")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "docs")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    options = parser.parse_args()
    if not options.chromium:
        raise SystemExit("no Chromium was found; give --chromium FILE")
    with tempfile.TemporaryDirectory() as scratch:
        html = make_page(options.work or Path(scratch))
        take(html, options.out, options.chromium)
    for path in sorted(options.out.glob("board-*.png")):
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path, path.stat().st_size)


if __name__ == "__main__":
    main()
