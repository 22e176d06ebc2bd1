"""The two pictures of the front page, made from a quickstart run. Look at them before committing.

    python benchmarks/pictures.py runs/quickstart        # needs Chromium, e.g. Debian's package `chromium`

Writes `benchmarks/pictures/board.png` (the top of the board in a real browser) and `items.png` (`spinemed data show`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent / "pictures"
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


def main() -> None:
    """Take both pictures of the run named on the command line."""
    run = Path(sys.argv[1]).resolve()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium on the PATH: install Debian's package chromium")
    HERE.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1240, "height": 1180}, color_scheme="light")
        page.goto((run / "board.html").as_uri())
        page.screenshot(path=str(HERE / "board.png"))
        browser.close()
    show = ("data", "show", str(run / "data"), "--out", str(HERE / "items.png"), "--number", "9")
    subprocess.run([sys.executable, "-P", "-m", "spinemed", *show], check=True)


if __name__ == "__main__":
    main()
