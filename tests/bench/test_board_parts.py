"""The parts of the page that need samples: ranks by group, filters, the questions one by one; and that it runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import html

from bench.board import write_board
from bench.board.extras import part_of
from bench.board.items import as_json, facets_of, quick_interval
from bench.board.page import _commands
from bench.board.wording import number, percent
from bench.runner import MajorityAnswerer, ScriptedAnswerer, predict_samples
from bench.samples import read_samples
from bench.spinebench import score_predictions
from bench.spinebench.leaderboard import rank_predictions
from bench.submission.limit import limit_samples
from spinemed.errors import ReadError, RecordError
from spinemed.records import Sample
from spinemed.tables import write_jsonl, write_manifest

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&amp;\u2028"


def family(samples: Path, out: Path) -> Path:
    """The same questions, as if a generator family had made them, one of them hostile."""
    listed, about = read_samples(samples)
    shutil.copytree(samples, out)
    changed = [sample.model_copy(update={"tags": ("family:b",), "language": "en"}) for sample in listed]
    first = changed[0].messages[0]
    bad = first.model_copy(update={"content": first.content + HOSTILE})
    changed[0] = changed[0].model_copy(update={"messages": (bad,)})
    write_jsonl(out / "samples.jsonl", changed)
    facts = {name: value for name, value in about.items() if name not in ("kind", "files", "sha256")}
    write_manifest(out, "samples", **facts)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, samples_folder: Path) -> dict[str, Any]:
    """Samples, five systems (one declared to be trained on the generator) and their scores."""
    folder = tmp_path_factory.mktemp("parts")
    samples = family(samples_folder, folder / "samples")
    listed, _ = read_samples(samples)
    systems = []
    for name, every in (("good", 10), ("middling", 3), ("trained", 20)):
        said = {
            sample.id: f"{sample.answer if n % every else 'L1'}. Confidence: {50 + n % 50}%"
            for n, sample in enumerate(listed)
        }
        said[listed[0].id] = HOSTILE
        predict_samples(samples, ScriptedAnswerer(said, name=name), folder / name, name=name)
        systems.append(folder / name)
    blind = ScriptedAnswerer({}, default="L2", name="good")
    predict_samples(samples, blind, folder / "good-withheld", name="good-withheld", condition="withheld")
    predict_samples(samples, MajorityAnswerer(listed), folder / "majority", name="majority")
    systems += [folder / "good-withheld", folder / "majority"]
    score_predictions(samples, systems, folder / "scores", subject="good", resamples=300)
    declared = {
        "name": "trained", "model": "trained", "revision": "1", "organisation": "nobody", "contact": "a@example.org",
        "licence": "MIT", "training_data": [{"name": "phantoms", "kind": "phantom"}],
        "phantoms": {"used": True, "families": ["b"]}, "seen_questions": False, "predictions": ["full"],
    }  # fmt: skip
    shutil.copytree(folder / "trained", folder / "submission" / "full")
    (folder / "submission" / "submission.yaml").write_text(yaml.safe_dump(declared))
    return {"folder": folder, "samples": samples, "systems": systems, "listed": listed}


@pytest.fixture(scope="module")
def page(made: dict[str, Any]) -> Path:
    folder: Path = made["folder"]
    write_board(
        [folder / "scores"], folder / "page", samples=[made["samples"]], predictions=made["systems"],
        submissions=[folder / "submission"], items=12,
    )  # fmt: skip
    return folder / "page" / "board.html"


def groups(tree: Any) -> dict[str, list[str]]:
    found = {}
    for body in tree.xpath("//table[contains(@class, 'ranks')]/tbody"):
        title = body.xpath("string(./tr[1])").strip()
        found[title] = body.xpath("./tr/@data-standing")
    return found


def test_who_learned_from_the_generator_is_ranked_apart(page: Path) -> None:
    tree = html.fromstring(page.read_bytes())
    assert groups(tree) == {
        "Ranked": ["good", "middling"], "Ranked apart: trained on the generator of these questions (b)": ["trained"],
        "References, not ranked": ["majority"],
    }  # fmt: skip
    for name, place in (("good", "1"), ("middling", "2"), ("trained", "1")):
        (row,) = tree.xpath(f"//tr[@data-standing='{name}']")
        assert re.match(rf"{place}\b", row.xpath("string((./td)[1])").strip())


def test_a_part_of_the_questions_ranks_nobody(made: dict[str, Any], tmp_path: Path) -> None:
    limit_samples(made["samples"], tmp_path / "part", limit=30)
    for name in ("one", "two"):
        answerer = ScriptedAnswerer({}, default="L1", name=name)
        predict_samples(tmp_path / "part", answerer, tmp_path / name, name=name)
    found = [tmp_path / "one", tmp_path / "two"]
    summary = score_predictions(tmp_path / "part", found, tmp_path / "scores", subject="one", resamples=200)
    assert all(row["ranks"] == {} for row in summary["rows"])
    board = rank_predictions(tmp_path / "part", found, tmp_path / "leaders", resamples=200)
    assert {place for row in board["rows"] for place in row["rank"]} == {None}
    write_board([tmp_path / "scores"], tmp_path / "page")
    tree = html.fromstring((tmp_path / "page" / "board.html").read_bytes())
    assert list(groups(tree)) == ["Not ranked"]
    assert f"A part of the benchmark: 30 of {len(made['listed'])} questions" in tree.text_content()


def test_the_data_of_the_script_is_whole_and_harmless(page: Path, made: dict[str, Any]) -> None:
    tree = html.fromstring(page.read_bytes())
    scripts = tree.xpath("//script")
    assert [script.get("type") for script in scripts] == ["application/json", None]
    data = json.loads(scripts[0].text)
    assert len(data["rows"]) == len(made["listed"]) == len(data["marks"][0])
    assert len(data["items"]) == 12
    (bad,) = [item for item in data["items"] if item["p"] == 0] or [None]
    if bad is not None:
        assert HOSTILE in bad["q"][0]
    assert "</script><script>document.title" not in page.read_text()
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_the_page_says_where_its_questions_come_from() -> None:
    summary = {
        "samples": {"sha256": "a" * 64, "release_sha256": "b" * 64, "split": "test"}, "systems": [], "subject": None,
        "seed": 0, "resamples": 100,
    }  # fmt: skip
    for about, command in (
        ({}, "spinemed bench samples --release RELEASE-bbbbbbbbbbbb"),
        (
            {"live_config": {"seed": 7}},
            "spinemed bench live CONFIG-bbbbbbbbbbbb --set seed=7 --out SAMPLES-a",
        ),
        ({"imported": {"kind": "spider"}}, "spinemed bench import --kind spider --path FILES-bbbbbbbbbbbb"),
    ):
        assert _commands(summary, about)[0].startswith(command)


def test_json_in_a_page_cannot_end_its_element() -> None:
    text = as_json({"x": HOSTILE})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"x": HOSTILE}


def test_safety_controls_and_power_say_what_the_summary_says(page: Path, made: dict[str, Any]) -> None:
    tree = html.fromstring(page.read_bytes())
    summary = json.loads((made["folder"] / "scores" / "summary.json").read_bytes())
    assert set(tree.xpath("//article/@data-safety")) == {"good", "middling", "trained"}
    for name in ("good", "middling", "trained"):
        (card,) = tree.xpath(f"//article[@data-safety='{name}']")
        assert f"{percent(summary['abstention'][name]['confident_wrong'])} %" in card.text_content()
    (row,) = tree.xpath("//tr[@data-control='good/withheld']")
    own = summary["controls"]["good"]["withheld"]
    assert percent(own["value"]) in row.text_content()
    assert percent(own["full"]["value"]) in row.text_content()
    assert len(tree.xpath("//tr[@data-power]")) == sum(bool(row["power"]) for row in summary["rows"])
    assert {"Risk and coverage", "Calibration"} <= set(tree.xpath("//figure/@aria-label"))


def test_folders_that_do_not_belong_are_refused(made: dict[str, Any], samples_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="belongs to none of the scores"):
        write_board([made["folder"] / "scores"], tmp_path / "page", samples=[samples_folder])
    assert not (tmp_path / "page").exists()


def test_two_declarations_of_one_model_are_refused(made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["folder"]
    shutil.copytree(folder / "submission", tmp_path / "again")
    with pytest.raises(RecordError, match="two submissions declare the model 'trained'"):
        write_board(
            [folder / "scores"], tmp_path / "page", samples=[made["samples"]],
            submissions=[folder / "submission", tmp_path / "again"],
        )  # fmt: skip


def test_the_same_files_give_the_same_page(page: Path, made: dict[str, Any], tmp_path: Path) -> None:
    folder = made["folder"]
    write_board(
        [folder / "scores"], tmp_path, samples=[made["samples"]], predictions=made["systems"],
        submissions=[folder / "submission"], items=12,
    )  # fmt: skip
    assert (tmp_path / "board.html").read_bytes() == page.read_bytes()


def test_consultations_and_reports_stand_on_the_page_as_tables() -> None:
    rate = {"value": 0.5, "low": 0.25, "high": None, "n": 4, "clusters": 4, "method": "x"}
    summary = {
        "clusters": 4,
        "systems": [
            {
                "name": "<b>", "rates": {"points": rate, "turns": {**rate, "value": 7.25, "high": 9.0}},
                "flags": {"fever": {"cases": 3, "points": 0.75}}, "outcomes": {"answered": 4}, "confusion": {},
            }
        ],
    }  # fmt: skip
    part = part_of("consultation", summary, "0" * 64)
    first, second = part["tables"]
    assert first["columns"] == ["system", "points", "turns"]
    assert first["lines"][0][1:] == [
        {"value": "50.0", "bounds": "no interval"}, {"value": "7.25", "bounds": "0.25 to 9.00"},
    ]  # fmt: skip
    assert second["lines"] == [["<b>: fever", "3", "75.0"]]


def test_judges_say_whose_word_counts() -> None:
    judge = {
        "name": "strict",
        "family": "x",
        "passed": False,
        "counts": False,
        "why_not": "failed padding",
        "rules": None,
    }
    part = part_of("judges", {"judges": [judge], "systems": [], "rankable": False, "why_not": "one judge"}, "0" * 64)
    assert part["tables"][0]["lines"] == [["strict", "-", "x", "no", "no", "failed padding", "-"]]
    assert "rank nobody: one judge" in part["lead"]


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (-0.001, "0.00"), (-1.5, "−1.50"), (12.34, "12.3")])
def test_numbers_keep_their_sign_and_lose_it_at_zero(value: float | None, text: str) -> None:
    assert number(value) == text


# --- in a real browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser, offline."""
    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if where is None:
        pytest.skip("no Chromium on the path")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1300, 390])
def test_the_page_works_from_a_file(width: int, page: Path, made: dict[str, Any], chromium: Any) -> None:
    said: list[str] = []
    window = chromium.new_page(viewport={"width": width, "height": 900})
    window.on("console", lambda message: said.append(message.text))
    window.on("pageerror", lambda error: said.append(str(error)))
    window.goto(page.as_uri())
    assert window.title() == "SpineBench board"
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    # A filter gives the same share and interval as Python.
    window.select_option("select[data-facet=axis]", label="pathology")
    scores = _scores(made)
    places = [n for n, sample in enumerate(made["listed"]) if facets_of(sample)["axis"] == "pathology"]
    for name, own in scores.items():
        cells = window.locator(f"tr[data-filtered='{name}'] td").all_inner_texts()
        right = [own[place] for place in places]
        low, high = quick_interval(right, [made["listed"][place].cluster for place in places])
        assert cells[0] == str(len(places))
        assert cells[2].split() == [percent(sum(right) / len(right)), f"{percent(low)}–{percent(high)}"]
    # The browser of questions turns, filters by verdict and empties without a word.
    window.select_option("select[data-facet=axis]", label="all")
    first = window.locator(".pane .id").first.inner_text()
    window.get_by_role("button", name="next").click()
    assert window.locator(".pane .id").first.inner_text() != first
    window.select_option("select[data-facet=who]", label="middling")
    window.select_option("select[data-facet=verdict]", label="wrong")
    for one in window.locator(".pane tr", has=window.get_by_text("middling", exact=True)).all_inner_texts():
        assert "✗" in one
    window.fill("input[data-facet=search]", "no such word")
    assert "No question" in window.locator(".pane").inner_text()
    window.get_by_role("button", name="clear all").click()
    assert window.locator(".list button").count() == 12
    assert said == []
    window.close()


def _scores(made: dict[str, Any]) -> dict[str, list[bool]]:
    rows = [json.loads(line) for line in (made["folder"] / "scores" / "scores.jsonl").read_text().splitlines()]
    by_key = {(row["model"], row["condition"], row["sample_id"]): row["correct"] for row in rows}
    return {
        name: [by_key[name, "full", sample.id] for sample in made["listed"]] for name in ("good", "middling", "trained")
    }


def test_facets_read_the_region_of_the_truth() -> None:
    base = {
        "id": "x", "axis": "level_identification", "task": "level", "messages": ({"role": "user", "content": "?"},),
        "images": (), "cluster": "c", "origin": "phantom", "source_id": "s",
    }  # fmt: skip
    level = Sample.model_validate(base | {"answer": "T12", "answer_kind": "level"})
    disc = Sample.model_validate(base | {"answer": "L5/S1", "answer_kind": "disc", "tags": ("modality:mr",)})
    none = Sample.model_validate(base | {"answer": "not determinable", "answer_kind": "level"})
    assert [facets_of(one)["region"] for one in (level, disc, none)] == ["thoracic", "lumbar", "none or several"]
    assert [facets_of(one)["modality"] for one in (level, disc)] == ["text", "mr"]
