"""HTML and Markdown pages: headings, paragraphs, list items, table rows, figures with captions.

Convention: blocks in reading order, each an exact span. HTML is parsed by lxml and nothing in it is loaded or run;
Markdown is read line by line, raw HTML inside it is taken off. A picture counts only when it lies beside the page.

Trap: what a reader cannot see must not become text. Comments, scripts, hidden elements and zero-size letters are left
out and counted, because that is where instructions for a language model hide.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from data_pipeline.figures.labels import Mentioned, caption_head, link_mentions
from data_pipeline.readers.documents import add_document, add_figure, check_picture, file_beside
from data_pipeline.readers.files import FileOptions, pack, read_files, utf8_text
from data_pipeline.readers.reading import Blocks, Reading, SpanKind, read_options, short_id
from data_pipeline.readers.safe_xml import plain_text
from data_pipeline.sandbox import Answer
from spinemed.errors import ReadError
from spinemed.records import Source

__all__ = ["PageOptions", "parse_html", "parse_markdown", "read_html", "read_markdown"]

_HIDDEN_TAGS = frozenset(
    {"script", "style", "noscript", "template", "iframe", "object", "embed", "svg", "nav", "form", "head"}
)
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.\d]*[1-9])|left\s*:\s*-\d{3,}",
    re.I,
)
_BLOCKS: dict[str, SpanKind] = {
    **{f"h{n}": "heading" for n in range(1, 7)}, "p": "paragraph", "li": "list_item", "dt": "list_item",
    "dd": "paragraph", "blockquote": "paragraph", "pre": "paragraph", "tr": "list_item", "figcaption": "caption",
}  # fmt: skip


class PageOptions(FileOptions):
    """Options of an `html` or `markdown` source."""

    pattern: str = "*"
    """Which files of the folder are read."""


def read_html(source: Source, root: Path) -> Reading:
    """Read all pages of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    options = read_options(source, PageOptions)
    options = options.model_copy(update={"pattern": "*.htm*"}) if options.pattern == "*" else options
    return read_files(source, root, "data_pipeline.readers.pages:parse_html", options)


def read_markdown(source: Source, root: Path) -> Reading:
    """Read all Markdown files of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    options = read_options(source, PageOptions)
    options = options.model_copy(update={"pattern": "*.md"}) if options.pattern == "*" else options
    return read_files(source, root, "data_pipeline.readers.pages:parse_markdown", options)


def parse_html(path: str, name: str, source: dict[str, Any]) -> Answer:
    """Parse one page; runs in the sandbox.

    Raises:
        ReadError: It holds no element.
    """
    from lxml import etree

    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    parser = etree.HTMLParser(no_network=True, huge_tree=False, encoding="utf-8" if _is_utf8(data) else None)
    try:
        tree = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ReadError("holds no HTML", file=name, cure="check `pattern`") from error
    if tree is None:
        raise ReadError("holds no HTML", file=name, cure="check `pattern`")
    reading = Reading(entry.id)
    blocks = Blocks(short_id("doc", entry.id, name, data.hex()[:64], len(data)))
    title = plain_text(" ".join(tree.xpath("//title//text()")))[:300] or file.stem
    page = _Page(blocks, reading, name, file.parent)
    page.walk(tree, title)
    add_document(reading, entry, blocks, name, data, title)
    page.add_figures()
    return pack(reading)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Page:
    """Walks a page in reading order, without recursion: depth is the writer's to choose."""

    def __init__(self, blocks: Blocks, reading: Reading, name: str, folder: Path) -> None:
        self.blocks, self.reading, self.name, self.folder = blocks, reading, name, folder
        self.figures: list[tuple[str, str | None, str]] = []
        self.links: dict[str, list[str]] = {}
        self.section = ""

    def walk(self, tree: Any, title: str) -> None:
        self.section = title
        stack = [tree]
        number = 0
        while stack:
            element = stack.pop()
            tag = element.tag.lower() if isinstance(element.tag, str) else ""
            if self._hidden(element, tag):
                continue
            number += 1
            address = element.get("id") or f"{tag}[{number}]"
            if tag == "figure":
                self._figure(element, address)
            elif tag in _BLOCKS:
                text = self._visible(element)
                span = self.blocks.add(_BLOCKS[tag], text, self.section, address)
                if span is not None:
                    self.links[span] = [
                        link.removeprefix("#")
                        for each in element.iter("a")
                        if (link := each.get("href") or "")[:1] == "#"
                    ]
                if tag.startswith("h") and text:
                    self.section = text[:200]
                stack += [child for child in reversed(element) if self._holds_blocks(child)]
            else:
                own = plain_text(element.text or "")
                if own and tag in ("div", "section", "article", "body", "td", "span"):
                    self.blocks.add("paragraph", own, self.section, address)
                stack += list(reversed(element))

    def _hidden(self, element: Any, tag: str) -> bool:
        if not tag:
            self.reading.drop("block", f"{self.name}:comment", "is a comment or an instruction")
            return True
        style = element.get("style") or ""
        hidden = (
            element.get("hidden") is not None or element.get("aria-hidden") == "true" or _HIDDEN_STYLE.search(style)
        )
        if tag in _HIDDEN_TAGS or hidden:
            self.reading.drop("block", f"{self.name}:{tag}", "cannot be seen on the page")
            return True
        return False

    def _holds_blocks(self, element: Any) -> bool:
        return isinstance(element.tag, str) and element.tag.lower() in ("ul", "ol", "dl", "figure", "table")

    def _visible(self, element: Any) -> str:
        """Text of an element without what is hidden and without nested lists and figures."""
        pieces: list[str] = []
        stack: list[Any] = [element]
        while stack:
            each = stack.pop()
            if isinstance(each, str):
                pieces.append(each)
                continue
            tag = each.tag.lower() if isinstance(each.tag, str) else ""
            inner = each is element or (
                tag and tag not in (*_HIDDEN_TAGS, "ul", "ol", "dl", "figure", "table")
                and not _HIDDEN_STYLE.search(each.get("style") or "") and each.get("hidden") is None
            )  # fmt: skip
            if each is not element:
                stack.append(each.tail or "")
            if inner:
                stack += list(reversed(each))
                stack.append(each.text or "")
                if tag in ("td", "th", "br"):
                    pieces.append(" ")
        return "".join(pieces)

    def _figure(self, element: Any, address: str) -> None:
        caption = next((self._visible(part) for part in element.iter("figcaption")), "")
        span = self.blocks.add("caption", caption, self.section, address)
        for image in element.iter("img"):
            self.figures.append((image.get("src") or "", span, address))

    def add_figures(self) -> None:
        """Tie pictures that lie beside the page to their captions."""
        mentions = _mentions(self.blocks, self.figures, self.links)
        for (link, caption, address), mentioned in zip(self.figures, mentions):
            _add_local(
                self.reading, self.blocks, self.folder, link, caption, mentioned, f"{self.name}#{address}", address
            )


def _mentions(
    blocks: Blocks, figures: list[tuple[str, str | None, str]], links: dict[str, list[str]]
) -> list[tuple[str, ...]]:
    """Which paragraphs mention each figure: by a link to it, or by the number its caption begins with."""
    texts = {span.id: span.text for span in blocks.spans}
    mentioned = []
    for place, (_, caption, address) in enumerate(figures):
        head = caption_head(texts.get(caption or "", ""))
        mentioned.append(Mentioned(str(place), head.labels if head else (), (address,), caption))
    shown = [(span.id, span.text) for span in blocks.spans if span.kind != "heading"]
    found = link_mentions(mentioned, shown, links)
    return [found[str(place)] for place in range(len(figures))]


def _add_local(
    reading: Reading,
    blocks: Blocks,
    folder: Path,
    link: str,
    caption: str | None,
    mentions: tuple[str, ...],
    item: str,
    label: str,
) -> None:
    if caption is None:
        reading.drop("figure", item, "has no caption")
        return
    local = link and "://" not in link and not link.startswith(("data:", "/", "\\"))
    path = file_beside(folder, unquote(link).split("?")[0]) if local else None
    if path is None:
        reading.drop("figure", item, "picture is not among the files")
        return
    try:
        blob = check_picture(path.read_bytes(), path.name)
    except ReadError as error:
        reading.drop("figure", item, "picture cannot be read", error.problem, failed=True)
        return
    add_figure(reading, blocks, blob, caption, mentions, label)


_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$")
_ITEM = re.compile(r"^\s{0,12}(?:[-*+]|\d{1,3}[.)])[ \t]+(.*)$")
_IMAGE = re.compile(r"^\s{0,3}!\[([^\]]{0,2000})\]\(\s*([^)\s]{1,500})(?:\s+[\"']([^\"']{0,2000})[\"'])?\s*\)\s*$")
_MARKS = re.compile(
    r"(\*{1,3}|_{2}|`{1,3}|~~)(?=\S)|(?<=\S)(\*{1,3}|_{2}|`{1,3}|~~)|(?<!!)\[([^\]]{0,500})\]\([^)\s]{0,500}\)"
)


def parse_markdown(path: str, name: str, source: dict[str, Any]) -> Answer:
    """Parse one Markdown file; runs in the sandbox.

    Raises:
        ReadError: It is no UTF-8.
    """
    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    text = utf8_text(data, name)
    reading = Reading(entry.id)
    text, hidden = _without_tags(text)
    for number in range(hidden):
        reading.drop("block", f"{name}:comment {number}", "is a comment or a script")
    text = re.sub(r"\A---\n.{0,20000}?\n---\n", "", text, count=1, flags=re.S)  # front matter
    blocks = Blocks(short_id("doc", entry.id, name, data.hex()[:64], len(data)))
    title, section, start = file.stem, "", 1
    pending: list[str] = []
    figures: list[tuple[str, str | None, str]] = []

    def flush(line: int) -> None:
        if pending:
            blocks.add("paragraph", _plain(" ".join(pending)), section, f"line {line}")
            pending.clear()

    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if heading := _HEADING.match(line):
            flush(start)
            section = _plain(heading[2])
            title = section if len(heading[1]) == 1 and title == file.stem else title
            blocks.add("heading", section, title, f"line {number}")
        elif image := _IMAGE.match(line):
            flush(start)
            caption = blocks.add("caption", _plain(image[3] or image[1]), section, f"line {number}")
            figures.append((image[2], caption, f"line {number}"))
        elif item := _ITEM.match(line):
            flush(start)
            blocks.add("list_item", _plain(item[1]), section, f"line {number}")
        elif line.startswith("|"):
            flush(start)
            if not re.fullmatch(r"[|\s:\-]+", line):
                blocks.add(
                    "list_item",
                    _plain(" | ".join(c.strip() for c in line.strip("| ").split("|"))),
                    section,
                    f"line {number}",
                )
        elif not line.strip() or line.startswith(("```", "~~~")):
            flush(start)
        else:
            if not pending:
                start = number
            pending.append(line.strip())
    add_document(reading, entry, blocks, name, data, title)
    for (link, span, label), mentioned in zip(figures, _mentions(blocks, figures, {})):
        _add_local(reading, blocks, file.parent, link, span, mentioned, f"{name}#{label}", label)
    return pack(reading)


def _without_tags(text: str) -> tuple[str, int]:
    """Raw HTML taken off in one pass, comments, scripts and styles with their content; and how many of those."""
    pieces: list[str] = []
    at = hidden = 0
    lower = text.lower()
    while (start := text.find("<", at)) >= 0:
        pieces.append(text[at:start])
        if lower.startswith("<!--", start):
            end, hidden = text.find("-->", start), hidden + 1
            at = len(text) if end < 0 else end + 3
        elif lower.startswith(("<script", "<style"), start):
            end, hidden = lower.find("</s", start), hidden + 1
            close = text.find(">", end) if end >= 0 else -1
            at = len(text) if close < 0 else close + 1
        else:
            end = text.find(">", start, start + 2000)
            tag = end > 0 and (text[start + 1 : start + 2].isalpha() or text[start + 1 : start + 2] in ("/", "!", "?"))
            pieces.append(" " if tag else "<")
            at = end + 1 if tag else start + 1
    pieces.append(text[at:])
    return "".join(pieces), hidden


def _plain(text: str) -> str:
    return plain_text(_MARKS.sub(lambda m: m[3] or "", text))
