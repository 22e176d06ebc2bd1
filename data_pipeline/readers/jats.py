"""JATS articles (journals, Europe PMC): title, abstract, sections, tables' cells, figures with captions and mentions.

Convention: blocks in reading order, each an exact span; references, formulas and supplements are left out. A figure is
tied to the paragraphs whose `xref` leads to it or whose words name its number (:mod:`data_pipeline.figures.labels`). A
picture is looked for beside the article by the stem of its `href`.

Trap: an article states its own licence. Where that grants less than the source's entry claims (NC, ND), the article is
dropped: an entry for a whole collection must not widen it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_pipeline.figures.labels import Mentioned, caption_head, link_mentions
from data_pipeline.readers.documents import add_document, add_figure, check_picture, file_beside
from data_pipeline.readers.files import FileOptions, pack, read_files
from data_pipeline.readers.reading import Blocks, Reading, SpanKind, read_options, short_id
from data_pipeline.readers.safe_xml import local_name, parse_xml, plain_text
from data_pipeline.sandbox import Answer
from spinemed.errors import ReadError
from spinemed.records import Source

__all__ = ["JatsOptions", "parse_jats", "read_jats"]

_SKIPPED = frozenset(
    {
        "ref-list",
        "back",
        "front-stub",
        "disp-formula",
        "tex-math",
        "math",
        "supplementary-material",
        "object-id",
        "fn-group",
    }
)
_PICTURES = (".png", ".jpg", ".jpeg")


class JatsOptions(FileOptions):
    """Options of a `jats` source."""

    pattern: str = "*.xml"
    """Which files of the folder are read."""


def read_jats(source: Source, root: Path) -> Reading:
    """Read all articles of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    options = read_options(source, JatsOptions)
    return read_files(source, root, "data_pipeline.readers.jats:parse_jats", options)


def parse_jats(path: str, name: str, source: dict[str, Any]) -> Answer:
    """Parse one article; runs in the sandbox.

    Raises:
        ReadError: It is no JATS article.
    """
    entry = Source.model_validate(source)
    file = Path(path)
    data = file.read_bytes()
    tree = parse_xml(data, name)
    article = (
        tree if local_name(tree) == "article" else next((e for e in tree.iter() if local_name(e) == "article"), None)
    )
    if article is None:
        raise ReadError(f"is XML but no JATS article (root <{local_name(tree)}>)", file=name, cure="check `pattern`")
    reading = Reading(entry.id)
    narrower = _narrower(article, entry.licence)
    if narrower:
        reading.drop("document", name, "its own licence grants less than the entry of the source", narrower)
        return pack(reading)
    blocks = Blocks(short_id("doc", entry.id, name, data.hex()[:64], len(data)))
    title = next((plain_text(_words(e)) for e in article.iter() if local_name(e) == "article-title"), file.stem)
    walker = _Walker(blocks, reading, name)
    blocks.add("heading", title, "", "article-title")
    for part in article.iter():
        if local_name(part) == "abstract":
            walker.walk(part, "Abstract")
    body = next((child for child in article if local_name(child) == "body"), None)
    if body is not None:
        walker.walk(body, title)
    add_document(reading, entry, blocks, name, data, title)
    figures = [
        Mentioned(
            str(place),
            head.labels if (head := caption_head(figure["label"])) else (),
            (figure["id"],),
            figure["caption"],
        )
        for place, figure in enumerate(walker.figures)
    ]
    texts = [(span.id, span.text) for span in blocks.spans if span.kind != "heading"]
    mentions = link_mentions(figures, texts, dict(walker.mentions))
    for place, figure in enumerate(walker.figures):
        _add(reading, blocks, figure, file.parent, mentions[str(place)], name)
    return pack(reading)


def _narrower(article: Any, licence: str) -> str:
    """The part of the article's licence that the entry leaves out, or an empty text."""
    for element in article.iter():
        if local_name(element) == "license":
            text = " ".join([*element.attrib.values(), plain_text("".join(element.itertext()))]).lower()
            for part, signs in (
                ("NC", ("by-nc", "noncommercial", "non-commercial")),
                ("ND", ("-nd", "noderiv", "no-deriv")),
            ):
                if any(sign in text for sign in signs) and part not in licence:
                    return part
    return ""


def _words(element: Any) -> str:
    pieces = [element.text or ""]
    for child in element:
        if local_name(child) not in ("fig", "table-wrap", "fn", "list", "disp-formula", "inline-formula", ""):
            pieces.append(_words(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


class _Walker:
    """Walks sections in reading order. Depth is bounded by the XML parser (256 levels)."""

    def __init__(self, blocks: Blocks, reading: Reading, name: str) -> None:
        self.blocks, self.reading, self.name = blocks, reading, name
        self.figures: list[dict[str, Any]] = []
        self.mentions: list[tuple[str, list[str]]] = []

    def walk(self, element: Any, section: str) -> None:
        for child in element:
            tag = local_name(child)
            if tag == "sec":
                heading = next((plain_text(_words(part)) for part in child if local_name(part) == "title"), section)
                self._add("heading", heading, section, child)
                self.walk(child, heading or section)
            elif tag == "p":
                self._add("paragraph", _words(child), section, child)
                self.walk(child, section)
            elif tag == "list-item":
                self._add("list_item", plain_text("".join(child.itertext())), section, child)
            elif tag in ("fig", "fig-group"):
                self._figure(child, section)
            elif tag == "table-wrap":
                self._table(child, section)
            elif tag not in _SKIPPED and tag not in ("title", "label", "caption", ""):
                self.walk(child, section)

    def _add(self, kind: SpanKind, text: str, section: str, element: Any) -> str | None:
        span = self.blocks.add(kind, text, section, element.get("id", ""))
        whole = [] if kind == "heading" else element.iter()  # a heading's element is its section
        targets = [t for e in whole if local_name(e) == "xref" for t in (e.get("rid") or "").split()]
        if span is not None and targets:
            self.mentions.append((span, targets))
        return span

    def _figure(self, element: Any, section: str) -> None:
        if local_name(element) == "fig-group":
            for child in element:
                if local_name(child) == "fig":
                    self._figure(child, section)
            return
        label = next((plain_text(_words(part)) for part in element if local_name(part) == "label"), "")
        caption = next((plain_text(" ".join(part.itertext())) for part in element if local_name(part) == "caption"), "")
        span = self.blocks.add("caption", caption, section, element.get("id", ""))
        hrefs = [
            value
            for part in element.iter()
            if local_name(part) == "graphic"
            for key, value in part.attrib.items()
            if key.endswith("href")
        ]
        self.figures.append(
            {"id": element.get("id", ""), "label": label, "caption": span, "href": hrefs[0] if hrefs else ""}
        )

    def _table(self, element: Any, section: str) -> None:
        label = next((plain_text(_words(part)) for part in element if local_name(part) == "label"), "table")
        caption = next((plain_text(" ".join(part.itertext())) for part in element if local_name(part) == "caption"), "")
        self.blocks.add("caption", f"{label} {caption}", section, element.get("id", ""))
        for row in element.iter():
            if local_name(row) == "tr":
                cells = [plain_text("".join(cell.itertext())) for cell in row if local_name(cell) in ("td", "th")]
                self.blocks.add("list_item", " | ".join(cells), label, element.get("id", ""))


def _add(
    reading: Reading, blocks: Blocks, figure: dict[str, Any], folder: Path, mentions: tuple[str, ...], name: str
) -> None:
    item = f"{name}#{figure['id']}"
    if figure["caption"] is None:
        reading.drop("figure", item, "has no caption")
        return
    # Only the last part of the link counts: it names a file beside the article and leads nowhere else.
    stem = Path(figure["href"].replace("\\", "/")).name
    wanted = [stem, *(Path(stem).stem + end for end in _PICTURES)] if stem else []
    path = next((found for each in wanted if (found := file_beside(folder, each)) is not None), None)
    if path is None:
        reading.drop("figure", item, "picture is not among the files", stem[:80])
        return
    try:
        blob = check_picture(path.read_bytes(), path.name)
    except ReadError as error:
        reading.drop("figure", item, "picture cannot be read", error.problem, failed=True)
        return
    add_figure(reading, blocks, blob, figure["caption"], mentions, figure["label"] or figure["id"])
