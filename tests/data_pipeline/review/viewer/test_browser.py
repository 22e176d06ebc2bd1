"""The viewer in a real browser: scroll, window, measure, rename, a mirrored file, no WebGL."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from data_pipeline.review.store.tables import (
    Annotation,
    LevelCorrection,
    Volume,
)
from spinemed.geometry import reorient
from spinemed.tables import file_sha256
from spinemed.volume import Volume as SpatialVolume
from spinemed.volume import write_nifti

SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture
def address(site: Any) -> Iterator[str]:
    """The application on a port of this machine."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(site.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(200):
        if server.started:
            break
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def drawn(browser: Any) -> Iterator[Any]:
    """A Chromium whose WebGL2 is computed by the processor."""
    opened = browser.browser_type.launch(executable_path=shutil.which("chromium"), args=SOFTWARE_GL)
    yield opened
    opened.close()


@pytest.fixture
def visit(drawn: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the viewer of an item for a reviewer; a page that reports an error in its scripts fails the test."""
    pages: list[Any] = []
    faults: list[str] = []

    def open_for(name: str, item: int) -> Any:
        context = drawn.new_context(viewport={"width": 1440, "height": 900})
        pages.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/login")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", "a password of the tests")
        page.click('form[action="/login"] button')
        page.goto(f"{address}/items/{item}")
        page.wait_for_selector("[data-viewer][data-ready]", timeout=20_000)
        settled(page)
        return page

    yield open_for
    for context in pages:
        context.close()
    assert faults == []


def until(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Wait for an expression; Playwright's own waiting evaluates text in the page, which the policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def settled(page: Any) -> None:
    """Wait until both panes have drawn the layer that they were asked for."""
    until(page, "document.querySelector('[data-viewer]').viewer.panes.every((pane) => pane.values !== null)")
    page.wait_for_timeout(150)


def pane(page: Any, number: int, expression: str) -> Any:
    """What an expression over a pane of the viewer gives."""
    return page.evaluate(f"((pane) => {expression})(document.querySelector('[data-viewer]').viewer.panes[{number}])")


def test_a_reviewer_scrolls_windows_measures_and_renames_in_a_browser(
    site: Any, reader: str, visit: Callable[..., Any]
) -> None:
    page = visit(reader, site.items[0])
    canvas = page.locator(".viewer-canvas").first
    canvas.focus()
    layer = pane(page, 0, "pane.layer")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.mouse.move(*(canvas.bounding_box()[key] + 60 for key in ("x", "y")))
    page.mouse.wheel(0, -100)
    settled(page)
    assert pane(page, 0, "pane.layer") == layer + 3
    page.keyboard.press("s")
    assert pane(page, 0, "pane.window") == [50, 400]
    page.click('[data-preset="bone"]')
    assert pane(page, 0, "pane.window") == [400, 1800]
    assert page.locator('[data-preset="t2"]').is_disabled()
    assert pane(page, 0, "pane.geometry.letters") == {"left": "A", "right": "P", "top": "H", "bottom": "F"}
    # both pictures show where the other one cuts them
    assert pane(page, 0, "pane.references.length") == 1
    assert pane(page, 1, "pane.references.length") == 1
    # a distance between two named bodies is the one between their centroids in the layer
    page.click('[data-tool="distance"]')
    box = canvas.bounding_box()
    points = []
    for name in ("L2", "L4"):
        entry = pane(page, 0, f"pane.names().find((each) => each.level === '{name}')")
        x, y = pane(page, 0, f"pane.place({entry['at'][0]}, {entry['at'][1]})")
        ratio = box["width"] / pane(page, 0, "pane.canvas.width")
        page.mouse.click(box["x"] + x * ratio, box["y"] + y * ratio)
        points.append(np.array(entry["point_mm"])[1:])
    expected = float(np.linalg.norm(points[0] - points[1]))
    measured = pane(page, 0, "pane.marks[0].values.distance_mm")
    assert measured == pytest.approx(expected, abs=1.0)  # a click is a whole pixel of the screen
    page.wait_for_selector('[data-viewer][data-kept="1"]', timeout=10_000)
    # the lowest vertebra is L6: tried, then stored
    page.click('[data-tool="window"]')
    page.select_option('[data-level="old"]', "L5")
    page.click('[data-level-act="L6"]')
    page.wait_for_selector(".viewer-steps li")
    assert "L6" in pane(page, 0, "pane.series.levels.map((entry) => entry.level)")
    page.fill('[data-level="reason"]', "six lumbar vertebrae")
    page.click('[data-level-act="save"]')
    until(page, "document.querySelector('.viewer-status').textContent.includes('version 1')")
    with site.store.reading() as session:
        assert session.scalars(select(LevelCorrection.reason)).all() == ["six lumbar vertebrae"]
        assert len(session.scalars(select(Annotation)).all()) == 1
    # the whole volume in NiiVue, under the page's policy
    page.click('[data-act="volume"]')
    page.wait_for_selector(".viewer-volume[data-ready]", timeout=60_000)
    assert page.evaluate("document.querySelector('.viewer-volume').view.volumes[0].dims.slice(1, 4)") == [122, 101, 112]


def test_a_volume_stored_mirrored_is_hung_and_lettered_the_same(
    site: Any, visit: Callable[..., Any], tmp_path: Path
) -> None:
    """A bright corner at the patient's right, front and head, in a file whose axes run the other way round."""
    data = np.zeros((30, 32, 34), np.int16)
    data[24:28, 25:29, 27:31] = 1000
    turned, affine = reorient(data, np.diag([2.0, 2.0, 2.0, 1.0]), "LPI")
    path = tmp_path / "mirrored.nii.gz"
    write_nifti(SpatialVolume(np.ascontiguousarray(turned), affine), path)
    with site.store.writing() as session:
        row = session.get(Volume, site.handles["image MR"])
        assert row is not None
        row.path, row.sha256 = str(path), file_sha256(path)
    page = visit(site.owner(1), site.items[1])
    assert pane(page, 1, "pane.geometry.letters") == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert pane(page, 0, "pane.geometry.letters") == {"left": "A", "right": "P", "top": "H", "bottom": "F"}
    bright = (
        "(() => { const c = pane.canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0, x = 0, y = 0; for (let i = 0; i < d.length; i += 4) {"
        " if (Math.min(d[i], d[i + 1], d[i + 2]) > 250) { n += 1; x += (i / 4) % c.width; y += (i / 4) / c.width; }"
        " } return [n, x / n / c.width, y / n / c.height]; })()"
    )
    for number, layer in ((0, 26), (1, 29)):
        pane(page, number, f"pane.scrollTo({layer})")
        settled(page)
        pane(page, number, "pane.preset('full')")
        count, x, y = pane(page, number, bright)
        assert count > 500
        assert x < 0.5
        assert y < 0.5


def test_without_webgl_the_layers_are_all_there(site: Any, address: str, browser: Any) -> None:
    opened = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
    )
    page = opened.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{address}/login")
    page.fill("input[name=name]", site.owner(1))
    page.fill("input[name=password]", "a password of the tests")
    page.click('form[action="/login"] button')
    page.goto(f"{address}/items/{site.items[1]}")
    page.wait_for_selector("[data-viewer][data-ready]", timeout=20_000)
    settled(page)
    assert page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
    assert page.locator('[data-act="volume"]').is_disabled()
    assert pane(page, 0, "pane.values.length") == 201 * 257
    opened.close()
