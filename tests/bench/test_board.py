"""The page: the numbers of the summary, nothing from outside, nothing alive in it, the same bytes every time."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from rich.console import Console

from bench.board import write_board
from bench.board.plots import accuracy_plot
from bench.board.terminal import print_summary
from bench.board.wording import p_text, percent, percent_interval, points
from bench.runner import MajorityAnswerer, RandomAnswerer, Reply, ScriptedAnswerer, predict_samples
from bench.samples import read_samples, write_samples
from bench.spinebench import score_predictions
from spinemed.errors import ReadError
from spinemed.tables import write_manifest

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)>"\'>&{{ 7*7 }}</td></style>'


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, make_rows: Callable[..., Any], write_release: Any) -> Path:
    """Scores of five systems, one of which replies with markup and has a name full of it."""
    folder = tmp_path_factory.mktemp("scores")
    rows = make_rows("test", 24)
    rows[0] = rows[0].model_copy(
        update={
            "messages": (rows[0].messages[0].model_copy(update={"content": f"<image>{HOSTILE}"}), rows[0].messages[1])
        }
    )
    write_samples(write_release(folder / "release", test=rows), folder / "samples")
    samples, _ = read_samples(folder / "samples")
    after = {sample.id: sample.answer if n % 3 else "L1" for n, sample in enumerate(samples)}
    for number in (1, 3, 5):
        after[samples[number].id] = HOSTILE + "x" * 5_000
    after[samples[2].id] = Reply(outcome="failed", detail=HOSTILE)
    asked = folder / "samples"
    made = [folder / name for name in ("before", "after", "blind", "majority", "random")]
    predict_samples(asked, ScriptedAnswerer({}, default="A spine.", name="base"), made[0], name=f"$before$ {HOSTILE}")
    predict_samples(asked, ScriptedAnswerer(after, name="tuned"), made[1], name="after")
    predict_samples(asked, ScriptedAnswerer({}, default="L1", name="tuned"), made[2], name="盲", condition="blind")
    predict_samples(asked, MajorityAnswerer(samples), made[3], name="majority")
    predict_samples(asked, RandomAnswerer(samples, seed=0), made[4], name="random")
    score_predictions(asked, made, folder / "scores", resamples=300)
    return folder / "scores"


@pytest.fixture(scope="module")
def page(scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_board([scores], folder)
    return folder


def parsed(page: Path) -> Any:
    return html.fromstring((page / "board.html").read_bytes())


def summary_of(scores: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((scores / "summary.json").read_bytes())
    return found


def test_the_final_table_says_what_the_summary_says(scores: Path, page: Path) -> None:
    tree, checked = parsed(page), 0
    for row in summary_of(scores)["rows"]:
        (line,) = tree.xpath(f'//tr[@data-row="{row["key"]}" and td[@data-system]]')
        assert [cell.text_content() for cell in line.xpath("./td[not(@data-system)]")] == [
            str(row["n"]),
            str(row["clusters"]),
        ]
        cells = {cell.get("data-system"): cell for cell in line.xpath("./td[@data-system]")}
        assert set(cells) == set(row["systems"])
        for name, own in row["systems"].items():
            (value,) = cells[name].find_class("v")
            assert value.text_content() == percent(own["value"]) == f"{100 * own['correct'] / row['n']:.1f}"
            (interval,) = cells[name].find_class("i")
            assert interval.text_content() == percent_interval(own)
            lost = " ".join(part.text_content() for part in cells[name].find_class("u"))
            assert (f"{percent(own['unparsed_share'])} % unparsed" in lost) == bool(own["unparsed"])
            assert (f"{own['failed']} failed" in lost) == bool(own["failed"])
            checked += 1
    assert checked == 5 * len(summary_of(scores)["rows"])


def test_the_paired_table_says_what_the_summary_says(scores: Path, page: Path) -> None:
    tree = parsed(page)
    lines = {(line.get("data-row"), line.get("data-reference")): line for line in tree.xpath("//tr[@data-reference]")}
    comparisons = summary_of(scores)["comparisons"]
    assert len(lines) == len(comparisons)
    for found in comparisons:
        cells = [cell.text_content().strip() for cell in lines[found["row"], found["reference"]].xpath("./td")]
        assert cells[0].split()[0] == points(found["difference"])
        assert ("▲" in cells[0]) == (found["low"] is not None and found["low"] > 0)
        assert cells[2] == p_text(found["p_holm"])
        assert cells[3] == f"{found['first_only']} / {found['second_only']}"


def test_hostile_text_is_shown_and_does_nothing(page: Path) -> None:
    tree = parsed(page)
    assert not tree.xpath("//script")
    assert not tree.xpath("//iframe | //object | //embed | //form | //link[@rel='stylesheet']")
    assert not [name for element in tree.iter() for name in element.attrib if name.lower().startswith("on")]
    assert all(source.startswith("data:image/") for source in tree.xpath("//img/@src"))
    text = tree.text_content()
    assert '<script>document.title="owned"</script>' in text
    assert "{{ 7*7 }}" in text
    assert tree.findtext(".//title") == "SpineBench board"


def test_nothing_is_loaded_from_anywhere(page: Path) -> None:
    source = (page / "board.html").read_text()
    tree = parsed(page)
    for attribute in ("src", "href", "{http://www.w3.org/1999/xlink}href", "xlink:href"):
        for value in tree.xpath(f"//@*[name()='{attribute}']"):
            assert value.startswith(("data:", "#")), value
    assert not re.findall(r"url\((?!#)", source)
    assert "@import" not in source
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'")


def test_every_id_is_unique_and_every_reference_has_its_target(page: Path) -> None:
    tree = parsed(page)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    targets = {value[1:] for value in tree.xpath("//@href | //@*[name()='xlink:href']") if value.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", (page / "board.html").read_text()))
    assert targets <= set(ids)


def test_tables_can_be_read_aloud(page: Path) -> None:
    tree = parsed(page)
    assert tree.get("lang") == "en"
    for table in tree.xpath("//table"):
        assert table.xpath("./caption")
        assert table.xpath(".//th[@scope]")
    assert all(image.get("alt") for image in tree.xpath("//img"))
    assert all(figure.get("aria-label") for figure in tree.xpath("//figure"))
    headings = [int(element.tag[1]) for element in tree.xpath("//h1 | //h2")]
    assert headings[0] == 1
    assert headings.count(1) == 1


def test_the_page_says_what_it_is_not(page: Path) -> None:
    text = parsed(page).text_content()
    for sentence in ("Research use only.", "not patients", "know the scored answers", "Nothing here was validated"):
        assert sentence in text


def test_long_replies_are_cut_in_sight(page: Path) -> None:
    assert re.search(r"… and [45]\d\d\d more characters", parsed(page).text_content())


def test_the_same_scores_give_the_same_bytes(scores: Path, page: Path, tmp_path: Path) -> None:
    write_board([scores], tmp_path / "deep" / "again")
    again = {path.relative_to(tmp_path / "deep" / "again"): path for path in (tmp_path / "deep" / "again").rglob("*.*")}
    first = {path.relative_to(page): path for path in page.rglob("*.*")}
    assert set(first) == set(again)
    assert len(first) == 6
    for name, path in first.items():
        assert path.read_bytes() == again[name].read_bytes(), name
    assert str(tmp_path.parent).encode() not in (page / "board.html").read_bytes()


def test_two_runs_stand_on_one_page(scores: Path, tmp_path: Path) -> None:
    summaries = write_board([scores, scores], tmp_path, title="Two seeds")
    tree = parsed(tmp_path)
    assert len(summaries) == 2
    assert tree.findtext(".//h1") == "Two seeds"
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_the_printed_commands_can_be_pasted_and_ask_the_same_way(scores: Path, tmp_path: Path) -> None:
    summary = summary_of(scores)
    summary["systems"][1] |= {
        "answerer": "local",
        "model": "my model; rm -r .@0123",
        "identity": {"batch_size": 3, "max_new_tokens": 7},
    }
    shutil.copytree(scores, tmp_path / "scores")
    (tmp_path / "scores" / "summary.json").write_text(json.dumps(summary))
    write_manifest(tmp_path / "scores", "scores")
    write_board([tmp_path / "scores"], tmp_path / "page")
    lines = parsed(tmp_path / "page").xpath("string(//pre)").splitlines()
    words = next(shlex.split(line) for line in lines if "rm -r" in line)
    assert words[words.index("--model") + 1] == "my model; rm -r .@0123"
    assert words[words.index("--batch-size") + 1] == "3"
    assert words[words.index("--max-new-tokens") + 1] == "7"


def test_changed_scores_are_refused_and_the_old_page_stays(scores: Path, tmp_path: Path) -> None:
    shutil.copytree(scores, tmp_path / "scores")
    write_board([tmp_path / "scores"], tmp_path / "page")
    before = (tmp_path / "page" / "board.html").read_bytes()
    file = tmp_path / "scores" / "summary.json"
    file.write_text(file.read_text().replace('"correct": 1', '"correct": 9', 1))
    with pytest.raises(ReadError, match=r"summary\.json: differs from its manifest"):
        write_board([tmp_path / "scores"], tmp_path / "page")
    assert (tmp_path / "page" / "board.html").read_bytes() == before


def test_a_table_without_intervals_or_subject_can_be_drawn(tmp_path: Path, make_row: Any, write_release: Any) -> None:
    rows = [make_row(f"r{n}", f"<image>{n}?", "L3", "level", origin="real", group_id="patient") for n in range(3)]
    write_samples(write_release(tmp_path / "release", test=rows), tmp_path / "samples")
    samples, _ = read_samples(tmp_path / "samples")
    predict_samples(tmp_path / "samples", MajorityAnswerer(samples), tmp_path / "p", name="majority")
    score_predictions(tmp_path / "samples", [tmp_path / "p"], tmp_path / "scores")
    (summary,) = write_board([tmp_path / "scores"], tmp_path / "page")
    assert summary["subject"] is None
    text = parsed(tmp_path / "page").text_content()
    assert "no interval" in text
    assert "None" not in text
    assert "nan" not in text.split()


def test_the_terminal_shows_the_same_numbers(scores: Path) -> None:
    stream = io.StringIO()
    summary = summary_of(scores)
    print_summary(summary, Console(file=stream, width=240, color_system=None))
    shown = stream.getvalue()
    for row in summary["rows"]:
        for own in row["systems"].values():
            assert percent(own["value"]) in shown
    assert "Research use only" in shown


def test_a_name_with_dollars_or_markup_is_no_mathematics(scores: Path) -> None:
    svg = accuracy_plot(summary_of(scores), "x").svg
    assert "<script" not in svg
    assert "$before$" in svg
    assert svg.startswith("<svg")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "< 0.0001"), (0.00012, "0.00012"), (0.0312, "0.031"), (0.999, "1.0")]
)
def test_p_values_are_never_written_as_zero(value: float | None, text: str) -> None:
    assert p_text(value) == text


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    assert (points(0.0001), points(-0.0001), points(-0.1), points(0.1)) == ("0.0", "0.0", "−10.0", "+10.0")
