"""Pictures of PDF pages find their captions and mentions; what is doubtful waits for a person and becomes no item."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from data_pipeline.chain import trace
from data_pipeline.config import ModelConfig
from data_pipeline.figures import second_look as figures_check
from data_pipeline.figures.labels import Label, Mentioned, caption_head, link_mentions, named_in, without_label
from data_pipeline.figures.matching import QUEUE_BELOW, Match, match_figures
from data_pipeline.figures.second_look import PairVerdict, check_corpus, check_figures, check_key
from data_pipeline.readers import read_source
from data_pipeline.readers.pdf import APPROVALS
from data_pipeline.readers.pdf_layout import read_pages
from data_pipeline.readers.reading import Reading
from spinemed.chat import ChatRequest, EgressError, Reply
from spinemed.errors import ConfigError, RecordError
from spinemed.records import Source


@pytest.fixture(scope="session")
def benchmark(root: Path) -> Callable[[str], ModuleType]:
    """A module of `benchmarks/`, which is no package."""

    def load(name: str) -> ModuleType:
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return load


def matched(path: Path) -> Match:
    return match_figures(read_pages(str(path)))


def entry(folder: Path, kind: str = "pdf") -> dict[str, Any]:
    return {
        "id": "s", "kind": kind, "path": str(folder), "licence": "CC-BY-4.0", "allowed_use": ["train"],
        "attribution": "x",
    }  # fmt: skip


def read(folder: Path, kind: str = "pdf") -> Reading:
    return read_source(Source.model_validate(entry(folder, kind)), folder)


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers", "words"),
    [
        ("Figure 3. Lateral view", ["3"], "Lateral view"),
        ("Fig. 2-4a: Lateral view", ["2-4"], "Lateral view"),
        ("FIGURE 7.28 Vertebra", ["7.28"], "Vertebra"),
        ("Figures 4 and 5. Before, after", ["4", "5"], "Before, after"),
        ("Figs. 1-3 | Before, after", ["1", "2", "3"], "Before, after"),
        ("Figs. 2-5 and 2-6 Before", ["2-5", "2-6"], "Before"),
        ("Figure 7.2 (a) Kyphosis (b) Lordosis", ["7.2"], "(a) Kyphosis (b) Lordosis"),
        ("Supplementary Figure S2. More", ["S2"], "More"),
        ("图3-1 腰椎侧位片", ["3-1"], "腰椎侧位片"),
        ("图2、3。术前与术后", ["2", "3"], "术前与术后"),
    ],
)
def test_a_caption_begins_with_its_numbers(text: str, numbers: list[str], words: str) -> None:
    head = caption_head(text)
    assert head is not None
    assert [label.number for label in head.labels] == numbers
    assert not head.sentence
    assert without_label(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "Figure 3 shows a slip",
        "Figure 3A, B demonstrates it",
        "Fig. 2 and Table 1 list them",
        "Figure 3 (left) is old",
        "图3显示腰椎",
        "图3所示为腰椎",
    ],
)
def test_a_sentence_about_a_figure_is_no_caption(text: str) -> None:
    head = caption_head(text)
    assert head is not None
    assert head.sentence
    assert without_label(text) == text


@pytest.mark.parametrize("text", ["Figured bass", "Image quality was poor", "图像质量", "Table tops", "3. Methods"])
def test_other_words_are_no_number(text: str) -> None:
    assert caption_head(text) is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("as before (Figs. 1A, 1B and 3)", {"1", "3"}),
        ("Figures 2–4 show", {"2", "3", "4"}),
        ("see Fig. 2-4", {"2", "3", "4"}),
        ("如图3、4所示", {"3", "4"}),
        ("Fig. 3 of Smith et al. shows", set()),
        ("Table 1 and stage 3", set()),
        ("figure 12", set()),
    ],
)
def test_mentions_name_the_figures_that_the_document_prints(text: str, numbers: set[str]) -> None:
    known = [Label("figure", number) for number in "1234"]
    assert {label.number for label in named_in(text, known)} == numbers


def test_a_number_with_a_dash_is_one_figure_where_the_document_prints_it() -> None:
    known = [Label("figure", number) for number in ("2-3", "2-4", "2", "3", "4")]
    assert [label.number for label in named_in("see Fig. 2-4", known)] == ["2-4"]


def test_links_and_numbers_count_alike_and_a_caption_never_mentions_itself() -> None:
    figures = [
        Mentioned("f", (Label("figure", "1"),), ("fig-a",), "c1"),
        Mentioned("g", (Label("figure", "2"),), (), "c2"),
    ]
    texts = [
        ("c1", "Figure 1. A."),
        ("p1", "see [fig-a]"),
        ("p2", "see Fig. 1"),
        ("p3", "linked"),
        ("c2", "As Figure 1."),
    ]
    found = link_mentions(figures, texts, {"p3": ["fig-a"]})
    assert found == {"f": ("p1", "p2", "p3", "c2"), "g": ()}


def test_readers_of_markup_use_the_same_numbers(tmp_path: Path) -> None:
    (tmp_path / "jats").mkdir()
    (tmp_path / "html").mkdir()
    for name in ("jats/f1.png", "html/f1.png"):
        Image.new("L", (30, 20), 90).save(tmp_path / name)
    (tmp_path / "jats" / "a.xml").write_text(
        "<article><body><p id='p1'>By link <xref ref-type='fig' rid='f1'>here</xref>.</p>"
        "<p id='p2'>By number, Fig. 1A.</p>"
        "<p id='p3'>Neither.</p><fig id='f1'><label>Figure 1</label><caption><p>A slip.</p></caption>"
        "<graphic href='f1'/></fig></body></article>"
    )
    (tmp_path / "html" / "a.html").write_text(
        "<p>By link <a href='#f1'>here</a>.</p><p>By number, Fig. 1A.</p><p>Neither.</p>"
        "<figure id='f1'><img src='f1.png'><figcaption>Figure 1. A slip.</figcaption></figure>"
    )
    for kind in ("jats", "html"):
        reading = read(tmp_path / kind, kind)
        (figure,) = reading.figures
        mentions = [span.text for span in reading.spans if span.id in figure.mention_span_ids]
        assert mentions == ["By link here.", "By number, Fig. 1A."], kind


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bound"), [("single", 0.95), ("two", 0.93), ("shared", 0.93)])
def test_known_pairs_of_made_documents_are_found(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, kind: str, bound: float
) -> None:
    gold, scores = benchmark("figure_gold"), benchmark("figure_scores")
    right = given = found = figures = 0
    failures: list[str] = []
    for seed in range(1000, 1003):
        truth = gold.make_document(tmp_path / f"{seed}.pdf", seed, kind)
        match = matched(tmp_path / f"{seed}.pdf")
        pairs = {
            waits: [scores.Given(f.page, f.box, f.caption.text) for f in match.figures if f.queued == waits]
            for waits in (False, True)
        }
        truths = [scores.Truth(f.label, f.caption, tuple(f.panels), f.what) for f in truth.figures]
        verdict = scores.judge(truths, pairs[False], pairs[True])
        right, given = right + verdict.right, given + verdict.given
        found, figures = found + verdict.found, figures + verdict.figures
        failures += verdict.failures
    assert figures >= 15
    assert right >= bound * given, failures
    assert found >= bound * figures, failures


def test_the_scorer_calls_swapped_captions_wrong(benchmark: Callable[[str], ModuleType]) -> None:
    scores = benchmark("figure_scores")
    one, two = (0.0, 0.0, 100.0, 100.0), (200.0, 0.0, 300.0, 100.0)
    truths = [scores.Truth("1", "Figure 1. A disc.", ((1, one),)), scores.Truth("2", "Figure 2. A rod.", ((1, two),))]
    right = [scores.Given(1, one, "Figure 1. A disc."), scores.Given(1, two, "Figure 2. A rod.")]
    assert (scores.judge(truths, right).right, scores.judge(truths, right).found) == (2, 2)
    swapped = [scores.Given(1, one, "Figure 2. A rod."), scores.Given(1, two, "Figure 1. A disc.")]
    assert (scores.judge(truths, swapped).right, scores.judge(truths, swapped).found) == (0, 0)
    both = [scores.Given(1, (0.0, 0.0, 300.0, 100.0), "Figure 1. A disc.")]
    assert scores.judge(truths, both).right == 0


def test_the_matcher_knows_nothing_of_the_gold_sets(root: Path) -> None:
    for path in (root / "data_pipeline").rglob("*.py"):
        assert "figure_gold" not in path.read_text(), path


def photograph(seed: int = 0) -> ImageReader:
    stream = io.BytesIO()
    picture = (
        Image.effect_noise((60, 50), 40 + seed).convert("RGB")
        if seed < 0
        else Image.linear_gradient("L").resize((60, 50))
    )
    picture.point(lambda value: (value + 20 * seed) % 256).save(stream, "PNG")
    return ImageReader(stream)


def text(page: Canvas, y: float, lines: int, x: float = 60, start: str = "The lumbar spine carries the trunk") -> None:
    page.setFont("Helvetica", 10)
    for row in range(lines):
        words = start if row == 0 else "and its discs bear most of what a person lifts in a day"
        page.drawString(x, y - 12 * row, f"{words}, as row {row} of the text says at length.")


def sheet(path: Path, pages: Callable[[Canvas], None]) -> None:
    page = Canvas(str(path), pagesize=(595, 842), invariant=1)
    pages(page)
    page.save()


def test_a_logo_a_table_and_a_shaded_text_are_no_figures(tmp_path: Path) -> None:
    def pages(page: Canvas) -> None:
        for number in range(3):
            page.drawImage(photograph(1), 480, 790, 60, 30)
            text(page, 760, 8)
            page.setFont("Helvetica", 8)
            if number == 1:
                page.drawString(60, 640, "Table 1. Slips by level.")
                for row in range(5):
                    page.line(60, 630 - 14 * row, 360, 630 - 14 * row)
                    for cell in range(3):
                        page.drawString(64 + 100 * cell, 620 - 14 * row, f"{row}.{cell}") if row < 4 else None
                for cell in range(4):
                    page.line(60 + 100 * cell, 630, 60 + 100 * cell, 574)
            if number == 2:
                page.setFillGray(0.9)
                page.rect(60, 540, 430, 90, fill=1, stroke=0)
                page.setFillGray(0)
                text(page, 610, 5, 70)
            page.showPage()

    sheet(tmp_path / "a.pdf", pages)
    match = matched(tmp_path / "a.pdf")
    assert match.figures == []
    reading = read(tmp_path)
    assert reading.figures == []
    assert sum(drop.reason == "stands on several pages: a logo, no figure" for drop in reading.drops) == 3
    assert "as row 4 of the text says" in reading.documents[0].text.split("Slips by level")[1]  # the shaded words stay


def test_one_caption_over_two_pictures_makes_one_figure_or_two_as_it_says(tmp_path: Path) -> None:
    def pages(page: Canvas) -> None:
        for head in ("Figure 1. Before (left) and after.", "Figures 2 and 3. Before, and after."):
            text(page, 760, 6)
            page.drawImage(photograph(0), 60, 500, 180, 140)
            page.drawImage(photograph(3), 260, 500, 180, 140)
            page.setFont("Helvetica-Oblique", 8)
            page.drawString(60, 486, head)
            text(page, 440, 6)
            page.showPage()

    sheet(tmp_path / "a.pdf", pages)
    reading = read(tmp_path)
    assert [figure.label for figure in reading.figures] == ["Figure 1", "Figure 2", "Figure 3"]
    one, two, three = reading.figures
    assert two.caption_span_id == three.caption_span_id != one.caption_span_id
    assert two.image_sha256 != three.image_sha256
    assert [pair.shared for pair in reading.figure_pairs] == [False, True, True]


def doubtful(path: Path) -> None:
    """A caption set as the text is, far from a small drawing."""

    def pages(page: Canvas) -> None:
        text(page, 760, 6)
        page.drawString(60, 660, "Figure 1. A lumbar vertebra of an adult man, seen from above.")
        page.setFillGray(0.5)
        page.circle(200, 585, 22, fill=1)
        page.line(222, 585, 260, 600)
        page.setFillGray(0)
        text(page, 480, 8)
        page.showPage()

    sheet(path, pages)


def test_a_doubtful_pair_waits_and_one_line_of_a_person_settles_it(tmp_path: Path) -> None:
    doubtful(tmp_path / "a.pdf")
    waiting = read(tmp_path)
    (pair,) = waiting.figure_pairs
    assert pair.score < QUEUE_BELOW
    assert pair.queue
    assert pair.reason
    assert waiting.figures == []
    assert any(drop.reason == "waits for a person" for drop in waiting.drops)
    assert {blob.sha256 for blob in waiting.images} == {pair.image_sha256}  # the reviewer sees it
    said = {
        "figure_id": pair.figure_id,
        "caption_span_id": pair.caption_span_id,
        "decision": "approve",
        "reviewer": "r1",
    }
    (tmp_path / APPROVALS).write_text(json.dumps(said) + "\n")
    approved = read(tmp_path)
    assert [figure.id for figure in approved.figures] == [pair.figure_id]
    assert approved.documents[0].text == waiting.documents[0].text
    (tmp_path / APPROVALS).write_text(json.dumps({**said, "decision": "reject"}) + "\n")
    rejected = read(tmp_path)
    assert rejected.figures == []
    assert not rejected.figure_pairs[0].queue
    (tmp_path / APPROVALS).write_text(json.dumps({**said, "figure_id": "fig-other"}) + "\n")
    void = read(tmp_path)
    assert void.figures == []
    assert any(drop.unit == "decision" for drop in void.drops)
    (tmp_path / APPROVALS).write_text(json.dumps({**said, "decision": "perhaps"}) + "\n")
    with pytest.raises(RecordError, match="decision"):
        read(tmp_path)


@pytest.fixture(scope="module")
def pdf_run(
    benchmark: Callable[[str], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
    write_config: Any,
    run_build: Callable[[Path, Path], Path],
) -> tuple[Path, Any]:
    """A run over the printed module and a document with a doubtful pair, and the truth about the module."""
    folder = tmp_path_factory.mktemp("pdf_run")
    (folder / "pdf").mkdir()
    truth = benchmark("pictures_figures").print_module(folder / "pdf" / "column.pdf", edge_px=160)
    doubtful(folder / "pdf" / "doubtful.pdf")
    return run_build(write_config(folder / "config", [entry(folder / "pdf")]), folder / "run"), truth


def test_a_pdf_becomes_figure_items_and_a_waiting_pair_becomes_none(pdf_run: tuple[Path, Any]) -> None:
    run, truth = pdf_run
    corpus = run / "outputs" / "corpus"
    pairs = pq.read_table(corpus / "figure_pairs.parquet").to_pylist()
    captions = {row["id"]: row["text"] for row in pq.read_table(corpus / "spans.parquet").to_pylist()}
    sure = {pair["figure_id"]: pair for pair in pairs if not pair["queue"]}
    assert len(sure) == len(truth.captions) == 12
    for pair in sure.values():
        number = pair["label"].removeprefix("Figure ")
        assert captions[pair["caption_span_id"]] == truth.captions[number]
        assert len(pair["mention_span_ids"]) == len(truth.mentions[number])
    (waits,) = [pair["figure_id"] for pair in pairs if pair["queue"]]
    rows = [row for file in (run / "outputs/release/data").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    cited = {name for row in rows for name in row["evidence_ids"]}
    assert len(rows) >= 8
    assert cited & set(sure)
    assert waits not in cited
    assert not any("Figure 7." in row["messages"][0]["content"] for row in rows)
    shown = next(row for row in rows if set(row["evidence_ids"]) & set(sure))
    links = trace(shown["id"], run)  # the page is rendered again, and gives the same bytes
    assert "figure" in {link.name for link in links}
    assert [link for link in links if not link.ok] == []


class Eye:
    """A model that contradicts captions on the coccyx."""

    model = "eye"

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    def ask(self, requests: Iterable[ChatRequest], advance: Callable[[int], None] = lambda n: None) -> Iterator[Reply]:
        for request in requests:
            self.asked.append(request)
            wrong = "coccyx is formed" in request.messages[-1].content
            verdict = PairVerdict(verdict="contradicts" if wrong else "consistent", reason="a drawing of a skull")
            yield Reply(str(len(self.asked)), "answered", value=verdict)


def test_a_model_may_hold_a_sure_pair_and_never_lets_a_waiting_one_pass(
    pdf_run: tuple[Path, Any], tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(pdf_run[0] / "outputs" / "corpus", corpus)
    before = {row["id"] for row in pq.read_table(corpus / "figures.parquet").to_pylist()}
    eye = Eye()
    found = check_figures(corpus, eye, edge_px=64)
    assert len(eye.asked) == 12
    assert all(request.egress.allow == "local" for request in eye.asked)
    assert found == {"verdicts": {"consistent": 11, "contradicts": 1}, "held": {"s": 1}}
    after = {row["id"] for row in pq.read_table(corpus / "figures.parquet").to_pylist()}
    (held,) = before - after
    pair = next(row for row in pq.read_table(corpus / "figure_pairs.parquet").to_pylist() if row["figure_id"] == held)
    assert pair["queue"]
    assert pair["reason"].startswith("a model: a drawing of a skull")
    assert held in (corpus / "dropped.jsonl").read_text()


def test_a_caption_that_speaks_to_a_model_is_shown_to_none(
    pdf_run: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(pdf_run[0] / "outputs" / "corpus", corpus)
    monkeypatch.setattr(figures_check, "speaks_to_model", lambda text: "coccyx is formed" in text)
    eye = Eye()
    found = check_figures(corpus, eye, edge_px=64)
    assert len(eye.asked) == 11
    assert found["verdicts"] == {"consistent": 11, "not asked: the caption reads like an instruction to a model": 1}


def test_a_host_that_a_source_does_not_name_sees_no_picture(pdf_run: tuple[Path, Any], tmp_path: Path) -> None:
    far = ModelConfig.model_validate({"server": {"url": "http://192.0.2.1:9/v1", "model": "m"}})
    assert check_key(far)["prompt"]
    with pytest.raises(EgressError):
        check_corpus(pdf_run[0] / "outputs" / "corpus", far, tmp_path / "requests", time.time(), {"sources": []})
    with pytest.raises(ConfigError, match="check_figures"):
        check_key(ModelConfig())
