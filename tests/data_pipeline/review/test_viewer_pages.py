"""The viewer behind the web application: who gets which bytes, corrections stored and items opened again, figures."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from data_pipeline.review.audit import verify_log
from data_pipeline.review.exchange.loading import NewItem, load_items
from data_pipeline.review.protocol import SYSTEM, assign_run, draw_plan
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    Annotation,
    Assignment,
    AuditRow,
    EvidenceRow,
    FigureReview,
    Item,
    LevelCorrection,
    Picture,
    ReviewRun,
    StudyVolume,
    Volume,
    now,
)
from data_pipeline.review.web.app import create_app
from data_pipeline.review.web.settings import Settings
from spinemed.geometry import reorient
from spinemed.labelling import read_label_mask, read_verse_folder
from spinemed.marks import png_bytes
from spinemed.records import Evidence, Study
from spinemed.resources import samples_dir
from spinemed.tables import file_sha256
from spinemed.volume import Volume as SpatialVolume
from spinemed.volume import write_nifti

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
    return owner(site, 0)


def owner(site: Site, number: int) -> str:
    from data_pipeline.review.store.tables import User

    with site.store.reading() as session:
        found = session.scalar(
            select(User.pseudonym)
            .join(Assignment, Assignment.user_id == User.id)
            .where(Assignment.item_id == site.items[number])
        )
    assert found
    return str(found)


def stranger(site: Site, number: int) -> str:
    return next(name for name in ("a1", "b1", "c1", "a2") if name != owner(site, number))


def test_the_page_of_an_item_brings_the_viewer_and_its_levels(site: Site, reader: str) -> None:
    page = site.get(reader, f"/items/{site.items[0]}").text
    assert f'data-viewer="/viewer/items/{site.items[0]}"' in page
    told = site.get(reader, f"/viewer/items/{site.items[0]}").json()
    (series,) = told["series"]
    assert [row["level"] for row in series["levels"]] == ["T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert [row["cut"] for row in series["levels"]][:1] == [True]
    assert series["sha256"] == file_sha256(samples_dir() / CT)
    assert series["planes"]["axial"]["letters"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert told["can_correct"]
    words = site.get(reader, "/language/zh")
    assert words.status_code == 303
    assert site.get(reader, f"/viewer/items/{site.items[0]}").json()["words"]["bone"] == "骨窗"


def test_no_answer_tells_a_path_or_a_file_name(site: Site, reader: str) -> None:
    handle = site.handles["image CT"]
    answers = [
        site.get(reader, f"/viewer/items/{site.items[0]}"),
        site.get(reader, f"/viewer/volumes/{handle}/layers/axial/5"),
        site.get(reader, f"/viewer/volumes/{handle}/layers/axial/50000"),
        site.get(reader, f"/viewer/volumes/{'0' * 64}/layers/axial/5"),
        site.post(reader, f"/viewer/volumes/{handle}/levels/preview", {"base": 0, "operations": []}),
    ]
    for answer in answers:
        everything = answer.content + str(answer.headers).encode()
        for word in (b"totalsegmentator", b"example_ct", str(samples_dir()).encode(), b".nii.gz\\"):
            assert word not in everything
    assert [answer.status_code for answer in answers] == [200, 200, 422, 404, 422]


def test_nobody_gets_a_series_without_its_item(site: Site) -> None:
    handle = site.handles["image CT"]
    body = {"operations": [{"kind": "shift", "steps": 1}], "base": 0, "reason": "r", "token": "t" * 12}
    for path in ("items", "layers/axial/5", "volume.nii.gz", "levels/preview", "levels"):
        address = f"/viewer/items/{site.items[0]}" if path == "items" else f"/viewer/volumes/{handle}/{path}"

        def ask(name: str, path: str = path, address: str = address) -> int:
            asked = site.post(name, address, body) if path.startswith("levels") else site.get(name, address)
            return int(asked.status_code)

        assert ask("") in (303, 401)
        assert ask(stranger(site, 0)) == 404
        assert ask("judge") == 404  # nothing is disputed
        assert ask("root") in (403, 404)
        assert ask("auditor") == (403 if path == "levels" else 200)
        if path != "levels":
            assert ask("manager") == 200


def test_bytes_are_asked_for_again_and_sent_once(site: Site, reader: str) -> None:
    address = f"/viewer/volumes/{site.handles['image CT']}/layers/sagittal/60"
    first = site.get(reader, address)
    assert first.headers["cache-control"] == "private, no-cache"
    values = np.frombuffer(first.content, "<i2")
    assert values.size == 112 * 101
    again = site.get(reader, address, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # the hash opens nothing to somebody without the right
    assert site.get(stranger(site, 0), address, **{"If-None-Match": first.headers["etag"]}).status_code == 404


def test_what_lies_in_quarantine_is_never_served(site: Site, reader: str, tmp_path: Path) -> None:
    held = tmp_path / "held" / "x-image-00001.nii.gz"
    held.parent.mkdir()
    held.write_bytes((samples_dir() / CT).read_bytes())
    with site.store.writing() as session:
        row = session.get(Volume, site.handles["image CT"])
        assert row is not None
        row.path = str(held)
    address = f"/viewer/volumes/{site.handles['image CT']}/layers/sagittal/60"
    assert site.get(reader, address).status_code == 404
    assert site.get("manager", address).status_code == 404


def test_a_correction_is_tried_stored_and_opens_the_item_again(stored: Site) -> None:
    site, reader = stored, owner(stored, 0)
    item, handle = site.items[0], site.handles["image CT"]
    address = f"/viewer/volumes/{handle}/levels"
    page = site.get(reader, f"/items/{item}").text
    start = page.index('value="approved"')
    form = page[page.rindex("<form", 0, start) : page.index("</form>", start)]
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)"(?: id="[^"]+")? value="([^"]*)"', form))
    http, _ = site.client(reader)
    assert http.post(f"/items/{item}/decide", data=hidden).status_code == 303
    steps = [{"kind": "shift", "steps": 1}]
    tried = site.post(reader, f"{address}/preview", {"operations": steps, "base": 0}).json()
    assert [row["level"] for row in tried["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5", "L6"]
    assert tried["steps"] == ["all names shifted by one down"]
    with site.store.reading() as session:
        assert session.scalar(select(LevelCorrection.id)) is None
    body = {"operations": steps, "base": 0, "reason": "six lumbar vertebrae", "token": "token-number-1"}
    assert site.post(reader, address, body, token="0" * 64).status_code == 403
    assert site.post(reader, address, {**body, "reason": " "}).status_code == 422
    kept = site.post(reader, address, body).json()
    assert (kept["version"], kept["reopened"]) == (1, 1)
    assert site.post(reader, address, body).json()["version"] == 1  # sent again: the same version
    with site.store.reading() as session:
        row = session.get(Item, item)
        assert row is not None
        assert (row.status, row.round) == ("open", 2)
        assert "version 1" in row.reopened_why
        (correction,) = session.scalars(select(LevelCorrection))
        assert correction.labels["24"] == 25  # L5 became L6
        assert verify_log(session) == []
    (folder,) = (site.store.data / "levels" / handle).iterdir()
    (case,) = read_verse_folder(folder)
    assert case.mask is not None
    assert set(read_label_mask(case.mask).counts) == {19, 20, 21, 22, 23, 24, 25, 26}
    assert json.loads((folder / "correction.json").read_text())["version"] == 1
    seen = site.get(reader, f"/viewer/items/{item}").json()["series"][0]
    assert [row["level"] for row in seen["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5", "L6"]
    assert seen["version"] == 1
    # whoever starts from the imported version now is told so, and nothing is stored
    late = site.post("manager", address, {**body, "token": "token-number-2"})
    assert late.status_code == 409
    back = {"operations": [{"kind": "shift", "steps": -1}], "base": 1, "reason": "no", "token": "token-number-3"}
    assert site.post("manager", address, back).json()["version"] == 2
    assert len(list((site.store.data / "levels" / handle).iterdir())) == 2


def test_a_step_that_no_spine_allows_is_told_in_one_line(site: Site, reader: str) -> None:
    address = f"/viewer/volumes/{site.handles['image CT']}/levels/preview"
    answer = site.post(reader, address, {"operations": [{"kind": "rename", "old": "L3", "new": "L4"}], "base": 0})
    assert answer.status_code == 422
    assert answer.json()["problem"] == "L4 is the name of another vertebra of this scan."
    for body in ({}, {"operations": "x", "base": 0}, [1], {"operations": [], "base": "0"}):
        assert site.post(reader, address, body).status_code in (409, 422)


def test_measurements_are_kept_with_the_item_and_seen_by_their_reader_alone(stored: Site) -> None:
    site, reader = stored, owner(stored, 0)
    item = site.items[0]
    mark = {
        "kind": "distance", "handle": site.handles["image CT"], "image_sha256": "1" * 64, "plane": "sagittal",
        "layer": 60, "points_mm": [[0, 1, 2], [0, 11, 2]], "values": {"distance_mm": 10.0},
    }  # fmt: skip
    address = f"/viewer/items/{item}/annotations"
    assert site.post(reader, address, {"marks": [mark]}).json() == {"marks": 1}
    assert site.post(reader, address, {"marks": [mark]}).json() == {"marks": 1}
    with site.store.reading() as session:
        (row,) = session.scalars(select(Annotation))  # the same marks are one row
        assert row.marks[0]["values"] == {"distance_mm": 10.0}
        assert session.scalar(select(AuditRow.seq).where(AuditRow.action == "measure"))
    assert site.get(reader, f"/viewer/items/{item}").json()["marks"][0]["kind"] == "distance"
    assert site.get("manager", f"/viewer/items/{item}").json()["marks"] == []
    assert site.post(stranger(site, 0), address, {"marks": [mark]}).status_code == 404
    assert site.post("manager", address, {"marks": [mark]}).status_code == 403
    for bad in ({**mark, "kind": "area"}, {**mark, "points_mm": [[0, 0, 0]]}, {**mark, "more": 1}, "x"):
        assert site.post(reader, address, {"marks": [bad]}).status_code == 422


# --- figures ---------------------------------------------------------------------------------------------------------


def add_pairs(site: Site) -> list[int]:
    """Two captions for one picture, and one for another."""
    with site.store.writing() as session:
        run = session.scalars(select(ReviewRun.id)).first()
        pictures = [site.store.blobs.put(png_bytes(np.full((9, 9), grey, np.uint8))) for grey in (50, 90)]
        rows = [
            FigureReview(
                run_id=run, source_id="book", figure_id=f"fig-{place}", caption_span_id=f"span-{number}",
                picture_sha256=pictures[place], caption=f"Figure {number}. <b>A</b> caption.", mentions=["see there"],
                pair={"score": score, "page": 3, "place": "below", "reason": "a rival caption"},
            )
            for number, (place, score) in enumerate(((0, 0.2), (0, 0.3), (1, 0.1)), 1)
        ]  # fmt: skip
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def test_one_caption_of_a_picture_is_approved_and_the_others_are_not(stored: Site) -> None:
    site, pairs = stored, add_pairs(stored)
    page = site.get("manager", "/figures").text
    assert page.index("Figure 2.") < page.index("Figure 1.")  # the likelier one first
    assert "Figure 3." not in page
    assert "<b>A</b>" not in page
    assert site.get("manager", f"/figures/{pairs[0]}/picture").content[:4] == b"\x89PNG"
    http, token = site.client("manager")
    versions = ",".join(f"{number}:1" for number in pairs[:2])
    form = {"csrf_token": token, "choice": str(pairs[0]), "versions": versions}
    assert http.post(f"/figures/{pairs[0]}", data={**form, "csrf_token": "x"}).status_code == 403
    assert http.post(f"/figures/{pairs[0]}", data={**form, "choice": str(pairs[2])}).status_code == 404
    assert http.post(f"/figures/{pairs[0]}", data=form).status_code == 303
    assert http.post(f"/figures/{pairs[0]}", data=form).status_code == 409
    with site.store.reading() as session:
        found = {row.id: row.status for row in session.scalars(select(FigureReview))}
    assert found == {pairs[0]: "approve", pairs[1]: "reject", pairs[2]: "waiting"}
    none = {"csrf_token": token, "choice": "none", "versions": f"{pairs[2]}:1"}
    assert http.post(f"/figures/{pairs[2]}", data=none).status_code == 303
    assert "No pair waits" in site.get("manager", "/figures").text


def test_figures_are_for_the_data_manager(site: Site) -> None:
    pairs = add_pairs(site)
    for name in ("a1", "judge", "root"):
        assert site.get(name, "/figures").status_code == 403
        assert site.get(name, f"/figures/{pairs[0]}/picture").status_code == 403
    page = site.get("auditor", f"/figures/{pairs[0]}").text
    assert 'name="choice"' not in page
    http, token = site.client("auditor")
    form = {"csrf_token": token, "choice": str(pairs[0]), "versions": f"{pairs[0]}:1,{pairs[1]}:1"}
    assert http.post(f"/figures/{pairs[0]}", data=form).status_code == 403


# --- a real browser --------------------------------------------------------------------------------------------------

SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture
def address(site: Site) -> Iterator[str]:
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
    site: Site, reader: str, visit: Callable[..., Any]
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
    site: Site, visit: Callable[..., Any], tmp_path: Path
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
    page = visit(owner(site, 1), site.items[1])
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


def test_without_webgl_the_layers_are_all_there(site: Site, address: str, browser: Any) -> None:
    opened = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
    )
    page = opened.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(f"{address}/login")
    page.fill("input[name=name]", owner(site, 1))
    page.fill("input[name=password]", "a password of the tests")
    page.click('form[action="/login"] button')
    page.goto(f"{address}/items/{site.items[1]}")
    page.wait_for_selector("[data-viewer][data-ready]", timeout=20_000)
    settled(page)
    assert page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
    assert page.locator('[data-act="volume"]').is_disabled()
    assert pane(page, 0, "pane.values.length") == 201 * 257
    opened.close()
