"""The viewer behind the web application: who gets which bytes, corrections stored and items opened again, figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from data_pipeline.review.audit import verify_log
from data_pipeline.review.exchange.verdicts import export_review
from data_pipeline.review.store.tables import (
    Annotation,
    AuditRow,
    FigureReview,
    Item,
    LevelCorrection,
    ReviewRun,
    Volume,
)
from spinemed.labelling import read_label_mask, read_verse_folder
from spinemed.marks import png_bytes
from spinemed.resources import samples_dir
from spinemed.tables import file_sha256, read_manifest

CT = "ct/totalsegmentator_lumbar/example_ct.nii.gz"


def test_the_page_of_an_item_brings_the_viewer_and_its_levels(site: Any, reader: str) -> None:
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


def test_no_answer_tells_a_path_or_a_file_name(site: Any, reader: str) -> None:
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


def test_nobody_gets_a_series_without_its_item(site: Any) -> None:
    handle = site.handles["image CT"]
    body = {"operations": [{"kind": "shift", "steps": 1}], "base": 0, "reason": "r", "token": "t" * 12}
    for path in ("items", "layers/axial/5", "volume.nii.gz", "levels/preview", "levels"):
        address = f"/viewer/items/{site.items[0]}" if path == "items" else f"/viewer/volumes/{handle}/{path}"

        def ask(name: str, path: str = path, address: str = address) -> int:
            asked = site.post(name, address, body) if path.startswith("levels") else site.get(name, address)
            return int(asked.status_code)

        assert ask("") in (303, 401)
        assert ask(site.stranger(0)) == 404
        assert ask("judge") == 404  # nothing is disputed
        assert ask("root") in (403, 404)
        assert ask("auditor") == (403 if path == "levels" else 200)
        if path != "levels":
            assert ask("manager") == 200


def test_bytes_are_asked_for_again_and_sent_once(site: Any, reader: str) -> None:
    address = f"/viewer/volumes/{site.handles['image CT']}/layers/sagittal/60"
    first = site.get(reader, address)
    assert first.headers["cache-control"] == "private, no-cache"
    values = np.frombuffer(first.content, "<i2")
    assert values.size == 112 * 101
    again = site.get(reader, address, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # the hash opens nothing to somebody without the right
    assert site.get(site.stranger(0), address, **{"If-None-Match": first.headers["etag"]}).status_code == 404


def test_what_lies_in_quarantine_is_never_served(site: Any, reader: str, tmp_path: Path) -> None:
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


def test_a_correction_is_tried_stored_and_opens_the_item_again(stored: Any, tmp_path: Path) -> None:
    site, reader = stored, stored.owner(0)
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
    # an export brings it to the next run, as a folder of VerSe's layout once the scan is beside it
    counts = export_review(site.store, tmp_path / "out")
    assert counts["levels corrected"] == 1
    assert any(name.startswith("levels/") for name in read_manifest(tmp_path / "out", "reviews", verify=True)["files"])
    (told,) = (tmp_path / "out" / "levels").rglob("correction.json")
    facts = json.loads(told.read_text())
    assert (facts["by"], facts["why"], facts["version"]) == (reader, "six lumbar vertebrae", 1)
    with site.store.reading() as session:
        scan = session.execute(select(Volume.path, Volume.sha256).where(Volume.handle == handle)).one()
    assert facts["scan_sha256"] == scan.sha256
    shutil.copy(scan.path, told.parent / facts["put_scan_as"])
    (case,) = read_verse_folder(tmp_path / "out" / "levels")
    assert (case.image is not None, case.mask is not None, case.centroids is not None) == (True, True, True)
    assert case.mask is not None
    assert set(read_label_mask(case.mask).counts) == {19, 20, 21, 22, 23, 24, 25, 26}
    seen = site.get(reader, f"/viewer/items/{item}").json()["series"][0]
    assert [row["level"] for row in seen["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5", "L6"]
    assert seen["version"] == 1
    # whoever starts from the imported version now is told so, and nothing is stored
    late = site.post("manager", address, {**body, "token": "token-number-2"})
    assert late.status_code == 409
    back = {"operations": [{"kind": "shift", "steps": -1}], "base": 1, "reason": "no", "token": "token-number-3"}
    assert site.post("manager", address, back).json()["version"] == 2
    assert len(list((site.store.data / "levels" / handle).iterdir())) == 2


def test_a_step_that_no_spine_allows_is_told_in_one_line(site: Any, reader: str) -> None:
    address = f"/viewer/volumes/{site.handles['image CT']}/levels/preview"
    answer = site.post(reader, address, {"operations": [{"kind": "rename", "old": "L3", "new": "L4"}], "base": 0})
    assert answer.status_code == 422
    assert answer.json()["problem"] == "L4 is the name of another vertebra of this scan."
    for body in ({}, {"operations": "x", "base": 0}, [1], {"operations": [], "base": "0"}):
        assert site.post(reader, address, body).status_code in (409, 422)


def test_measurements_are_kept_with_the_item_and_seen_by_their_reader_alone(stored: Any) -> None:
    site, reader = stored, stored.owner(0)
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
    assert site.post(site.stranger(0), address, {"marks": [mark]}).status_code == 404
    assert site.post("manager", address, {"marks": [mark]}).status_code == 403
    for bad in ({**mark, "kind": "area"}, {**mark, "points_mm": [[0, 0, 0]]}, {**mark, "more": 1}, "x"):
        assert site.post(reader, address, {"marks": [bad]}).status_code == 422


# --- figures ---------------------------------------------------------------------------------------------------------


def add_pairs(site: Any) -> list[int]:
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


def test_one_caption_of_a_picture_is_approved_and_the_others_are_not(stored: Any) -> None:
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


def test_figures_are_for_the_data_manager(site: Any) -> None:
    pairs = add_pairs(site)
    for name in ("a1", "judge", "root"):
        assert site.get(name, "/figures").status_code == 403
        assert site.get(name, f"/figures/{pairs[0]}/picture").status_code == 403
    page = site.get("auditor", f"/figures/{pairs[0]}").text
    assert 'name="choice"' not in page
    http, token = site.client("auditor")
    form = {"csrf_token": token, "choice": str(pairs[0]), "versions": f"{pairs[0]}:1,{pairs[1]}:1"}
    assert http.post(f"/figures/{pairs[0]}", data=form).status_code == 403
