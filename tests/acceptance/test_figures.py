# ruff: noqa: E501 -- sentences of the results page
"""The full figures of picture-context matching: pairs and mentions on held-out made documents of two printers, and on a
bundled module printed to PDF."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from data_pipeline.figures.labels import Label, Mentioned, link_mentions
from data_pipeline.figures.matching import QUEUE_BELOW, match_figures
from data_pipeline.readers.pdf_layout import read_pages
from spinemed.statistics import Clusters, proportion_interval

pytestmark = pytest.mark.acceptance

ISSUE = "Data pipeline"
COMMAND = "pytest -m acceptance tests/acceptance/test_figures.py"
DOCUMENTS = 100
HTML_DOCUMENTS = 80
NAMES = {
    "single": "single column", "two": "two columns", "shared": "pages with shared captions, one or two columns",
}  # fmt: skip
BOUNDS = {"single": 0.97, "two": 0.93, "shared": 0.93}
Record = Callable[..., None]


@pytest.fixture(scope="module")
def benchmark(root: Path) -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, root / "benchmarks" / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    return load


@dataclass
class Tally:
    """Verdicts over documents."""

    right: list[tuple[int, int]] = field(default_factory=list)
    """Document and 1 for each right pair given, 0 for each wrong one."""
    found: list[tuple[int, int]] = field(default_factory=list)
    waiting: int = 0
    failures: list[str] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    seconds: float = 0.0

    def add(self, seed: int, verdict: Any, name: str) -> None:
        self.right += [(seed, 1)] * verdict.right + [(seed, 0)] * (verdict.given - verdict.right)
        self.found += [(seed, 1)] * verdict.found + [(seed, 0)] * (verdict.figures - verdict.found)
        self.failures += [f"{name} {seed}: {failure}" for failure in verdict.failures]


def share(values: Iterable[tuple[int, int]]) -> tuple[float, str]:
    pairs = list(values)
    interval = proportion_interval(
        [value for _, value in pairs], Clusters.of([str(seed) for seed, _ in pairs]), np.random.default_rng(0)
    )
    assert interval.value is not None
    bounds = "" if interval.low is None else f", 95 % interval {interval.low:.4f} to {interval.high:.4f} by document"
    return interval.value, f"{interval.value:.4f} ({sum(v for _, v in pairs)}/{len(pairs)}{bounds})"


def match_one(scores: ModuleType, path: Path, truths: list[Any], tally: Tally, seed: int, name: str) -> Any:
    start = time.perf_counter()
    pages = read_pages(str(path))
    match = match_figures(pages)
    tally.seconds += time.perf_counter() - start
    tally.pages += len(pages)
    pairs = {
        waits: [scores.Given(f.page, f.box, f.caption.text) for f in match.figures if f.queued == waits]
        for waits in (False, True)
    }
    tally.waiting += len(pairs[True])
    tally.add(seed, scores.judge(truths, pairs[False], pairs[True]), name)
    return pages, match


def by_kind(failures: list[str]) -> str:
    """The failures, each on the terminal, and how many of which sort for the page."""
    for failure in failures:
        print(failure)
    sorts = Counter(failure.split(": ")[1] for failure in failures)
    return ", ".join(f"{number} {sort}" for sort, number in sorted(sorts.items())) or "none"


@pytest.mark.parametrize(("order", "kind"), [(40, "single"), (41, "two"), (42, "shared")])
def test_pairs_on_made_documents(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, record: Record, order: int, kind: str
) -> None:
    gold, scores = benchmark("figure_gold"), benchmark("figure_scores")
    tally = Tally()
    for seed in range(gold.HELD_OUT, gold.HELD_OUT + DOCUMENTS):
        path = tmp_path / f"{seed}.pdf"
        truth = gold.make_document(path, seed, kind)
        truths = [scores.Truth(f.label, f.caption, tuple(f.panels), f.what) for f in truth.figures]
        match_one(scores, path, truths, tally, seed, kind)
        tally.languages[truth.language] += 1
    precision, said_precision = share(tally.right)
    recall, said_recall = share(tally.found)
    bound = BOUNDS[kind]
    record(
        ISSUE, order, f"pictures and captions paired, {NAMES[kind]}", asked=f"precision and recall ≥ {bound}",
        measured=f"precision {said_precision}; recall {said_recall}; {tally.waiting} pairs wait for a person and count as not given",
        met=precision >= bound and recall >= bound, command=COMMAND,
        note=f"{DOCUMENTS} documents drawn by seeds that nobody looked at before ({dict(tally.languages)}), {tally.pages} pages "
        "printed by reportlab: vector and image figures, panels, captions below, above, beside and on the next page, logos, "
        "tables, shaded boxes, portraits without captions, sentences that begin like captions. A pair is right when box "
        f"(IoU ≥ 0.7) and caption (95 % of letters) are. Failures: {by_kind(tally.failures)}. {1000 * tally.seconds / tally.pages:.0f} ms a page. "
        "Made documents: no claim about journals",
    )  # fmt: skip
    assert precision >= bound
    assert recall >= bound


def test_mentions_on_made_documents(benchmark: Callable[[str], ModuleType], tmp_path: Path, record: Record) -> None:
    gold = benchmark("figure_gold")
    found: list[tuple[int, int]] = []
    right: list[tuple[int, int]] = []
    for kind in gold.KINDS:
        for seed in range(gold.HELD_OUT, gold.HELD_OUT + DOCUMENTS // 2):
            path = tmp_path / f"{kind}{seed}.pdf"
            truth = gold.make_document(path, seed, kind)
            pages = read_pages(str(path))
            captions = {id(block) for figure in match_figures(pages).figures for block in figure.caption.parts}
            blocks = [block for page in pages for block in page.blocks if id(block) not in captions]
            texts = {str(number): block.text for number, block in enumerate(blocks)}
            labels = {figure.label for figure in truth.figures}
            links = link_mentions([Mentioned(label, (Label("figure", label),)) for label in labels], texts.items())
            for label in labels:
                words = [word for known, word in truth.mentions if known == label]
                shown = [texts[name] for name in links[label]]
                found += [(seed, int(any(word in text for text in shown))) for word in words]
                right += [(seed, int(any(word in text for word in words))) for text in shown]
    precision, said_precision = share(right)
    recall, said_recall = share(found)
    record(
        ISSUE, 43, "in-text mentions linked to figures", asked="", measured=f"precision {said_precision}; recall {said_recall}",
        met=None, command=COMMAND,
        note=f"the same documents, {DOCUMENTS // 2} of each sort, English and Chinese; a mention is found when the block that "
        "holds it is linked to its figure",
    )  # fmt: skip
    assert min(precision, recall) >= 0.95


def test_pairs_of_another_printer(benchmark: Callable[[str], ModuleType], tmp_path: Path, record: Record) -> None:
    html, scores = benchmark("figure_gold_html"), benchmark("figure_scores")
    if html.chromium_path() is None:
        pytest.skip("no Chromium on the PATH: install Debian's package chromium")
    tally = Tally()
    looks: list[str] = []
    with html.printer() as page:
        for seed in range(html.HELD_OUT, html.HELD_OUT + HTML_DOCUMENTS):
            path = tmp_path / f"{seed}.pdf"
            figures, look = html.print_document(page, path, seed)
            truths = [scores.Truth(f.name, f.caption, tuple(f.panels), f.what.split(";")[0]) for f in figures]
            before = len(tally.failures)
            match_one(scores, path, truths, tally, seed, "html")
            looks += [look] if len(tally.failures) > before else []
    precision, said_precision = share(tally.right)
    recall, said_recall = share(tally.found)
    for look in looks:
        print(look)
    record(
        ISSUE, 44, "pictures and captions paired, pages that Chromium printed", asked="",
        measured=f"precision {said_precision}; recall {said_recall}; {tally.waiting} pairs wait for a person and count as not given",
        met=None, command=COMMAND,
        note=f"{HTML_DOCUMENTS} HTML documents with figure and figcaption by seeds that the matcher was not built on (a first run gave precision 0.983, recall 0.950; "
        f"a fault then found on other seeds, small drawings left out, was mended), {tally.pages} pages; the "
        "truth comes from link annotations. One in eight prints no numbers at all. Failures: "
        f"{by_kind(tally.failures)}",
    )  # fmt: skip
    assert precision >= 0.93
    assert recall >= 0.90


def test_the_bundled_module(benchmark: Callable[[str], ModuleType], tmp_path: Path, record: Record) -> None:
    pictures = benchmark("pictures_figures")
    pairs = mentions = of_pairs = of_mentions = 0
    lowest = 1.0
    for columns in (1, 2):
        path = tmp_path / f"{columns}.pdf"
        truth = pictures.print_module(path, columns=columns)
        pages = read_pages(str(path))
        match = match_figures(pages)
        texts = [(str(number), block.text) for number, block in enumerate(b for page in pages for b in page.blocks)]
        of_pairs += len(truth.captions)
        for figure in match.figures:
            number = figure.labels[0].number
            pairs += not figure.queued and "".join(figure.caption.text.split()) == "".join(
                truth.captions[number].split()
            )
            lowest = min(lowest, figure.score)
        labels = [Mentioned(number, (Label("figure", number),)) for number in truth.captions]
        linked = link_mentions(labels, [pair for pair in texts if not pair[1].startswith("Figure 7.")])
        shown = dict(texts)
        for number, starts in truth.mentions.items():
            of_mentions += len(starts)
            mentions += len(starts) if len(linked[number]) >= len(starts) > 0 else 0
            assert all(number in shown[name] for name in linked[number])
    record(
        ISSUE, 45, "figures of the bundled module on the vertebral column, printed in one and in two columns", asked="",
        measured=f"{pairs}/{of_pairs} pairs with the whole caption, {mentions}/{of_mentions} mentions; lowest score {lowest:.2f} (bound {QUEUE_BELOW:.2f})",
        met=None, command=COMMAND, note="printed by reportlab from the CNXML; the truth is the module's own figure elements and links",
    )  # fmt: skip
    assert pairs == of_pairs
