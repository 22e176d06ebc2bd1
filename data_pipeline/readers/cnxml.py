"""OpenStax modules (CNXML): paragraphs, definitions, captions, exercises, and figures with who mentions them.

Convention: the document's text is its blocks in reading order, white space collapsed, joined by blank lines; each block
is one span with exact character offsets. A link to a figure is written as `[its-id]` in the text, because the printed
number is not in the file; that is also how mentions are found.

Trap: the same figure id may be mentioned before the figure stands; mentions are resolved after the whole module is
read. A figure whose picture is not there is dropped with a reason, never replaced.
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from data_pipeline.figures.labels import Mentioned, link_mentions
from data_pipeline.readers.files import pack, parse
from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.readers.safe_xml import local_name, parse_xml, plain_text
from data_pipeline.sandbox import Answer, Limits
from spinemed.errors import ReadError, SpineMedError
from spinemed.records import Document, Figure, ImageBlob, Source
from spinemed.tables import file_sha256

__all__ = ["CnxmlOptions", "read_cnxml"]


class CnxmlOptions(BaseModel):
    """Options of a `cnxml` source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = "*.cnxml"
    """Which files of the folder are modules."""
    media: str = "media"
    """Folder of the pictures, relative to the source's path; they are matched by file name."""
    on_broken_file: Literal["stop", "count"] = "stop"
    """Whether an unreadable module stops the build or is counted as failed."""
    limits: Limits = Limits()
    """What the parser of one module and its pictures may use."""


def read_cnxml(source: Source, root: Path) -> Reading:
    """Read all modules of a source, in the order of their names.

    Raises:
        ReadError: No module is found, or one cannot be parsed (unless `on_broken_file: count`).
    """
    options = read_options(source, CnxmlOptions)
    files = sorted(root.glob(options.pattern)) if root.is_dir() else [root]
    folder = root if root.is_dir() else root.parent
    if not files:
        raise ReadError(f"holds no file like '{options.pattern}'", file=root, cure="check `path` and `pattern`")
    reading = Reading(source.id)
    for file in files:
        values = {"folder": str(folder), "path": str(file), "media": options.media}
        try:
            module = parse(
                source, "data_pipeline.readers.cnxml:parse_module", values, options.limits.for_file(file), file
            )
        except SpineMedError as error:
            if options.on_broken_file == "stop":
                raise
            reading.drop("document", file.name, "cannot be read", str(error.problem), failed=True)
            continue
        reading.add(module)
    return reading


def parse_module(source: dict[str, Any], folder: str, path: str, media: str) -> Answer:
    """One module with its pictures: what the sandbox runs."""
    home = Path(folder)
    return pack(_read_module(Source.model_validate(source), home, Path(path), _pictures(home / media)))


def _pictures(folder: Path) -> dict[str, Path]:
    """Picture files by a name without the characters in which copies differ (blanks, brackets)."""
    if not folder.is_dir():
        return {}
    return {_loose(path.name): path for path in sorted(folder.iterdir()) if path.is_file()}


def _loose(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum() or character == ".")


def _read_module(source: Source, folder: Path, file: Path, pictures: dict[str, Path]) -> Reading:
    data = file.read_bytes()
    tree = parse_xml(data, file)
    if local_name(tree) != "document":
        raise ReadError(f"is XML but no CNXML module (root <{local_name(tree)}>)", file=file, cure="check `pattern`")
    name = file.relative_to(folder).as_posix()
    document_id = short_id("doc", source.id, name, file_sha256(file))
    blocks = Blocks(document_id)
    reading = Reading(source.id)
    title = next((plain_text(_words(child)) for child in tree if local_name(child) == "title"), file.stem)
    walker = _Walker(blocks, reading, name)
    blocks.add("heading", title, "", "title")
    for child in tree:
        if local_name(child) in ("content", "glossary"):
            walker.walk(child, title)
    reading.documents.append(
        Document(
            id=document_id,
            source_id=source.id,
            title=title,
            language="en",
            file=name,
            sha256=file_sha256(file),
            text=blocks.text,
            licence=source.licence,
            attribution=source.attribution,
            group_id=f"{source.id}:{file.stem}",
        )
    )
    reading.spans = blocks.spans
    reading.keep("document")
    for figure in walker.figures:
        _add_figure(reading, blocks, figure, pictures, name)
    return reading


def _words(element: Any) -> str:
    """Text of an element; links to figures as `[id]`, other markup dropped, nested blocks left out."""
    pieces = [element.text or ""]
    for child in element:
        tag = local_name(child)
        if tag == "link" and child.get("target-id"):
            pieces.append(f"[{child.get('target-id')}]")
        elif tag not in ("list", "figure", "table", "note", "exercise", "media", ""):
            pieces.append(_words(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


class _Walker:
    """Walks the content in reading order."""

    def __init__(self, blocks: Blocks, reading: Reading, name: str) -> None:
        self.blocks, self.reading, self.name = blocks, reading, name
        self.figures: list[dict[str, Any]] = []

    def walk(self, element: Any, section: str) -> None:
        for child in element:
            tag = local_name(child)
            if tag == "section":
                heading = next((plain_text(_words(part)) for part in child if local_name(part) == "title"), section)
                self.blocks.add("heading", heading, section, child.get("id", ""))
                self.walk(child, heading or section)
            elif tag == "para":
                self.blocks.add("paragraph", _words(child), section, child.get("id", ""))
                self.walk(child, section)  # lists and figures inside a paragraph
            elif tag == "item":
                self.blocks.add("list_item", _words(child), section, child.get("id", ""))
                self.walk(child, section)
            elif tag == "definition":
                self._definition(child)
            elif tag == "figure":
                self._figure(child, section)
            elif tag == "exercise":
                self._exercise(child, section)
            elif tag == "entry":
                self.blocks.add("list_item", _words(child), section, child.get("id", ""))
            elif tag not in ("title", "label", "term", "link", "emphasis", "meaning", "caption", "media", ""):
                self.walk(child, section)

    def _definition(self, element: Any) -> None:
        parts = {local_name(child): plain_text(_words(child)) for child in element}
        term, meaning = parts.get("term", ""), parts.get("meaning", "")
        if not term or not meaning:
            self.reading.drop("definition", f"{self.name}#{element.get('id', '')}", "term or meaning is empty")
            return
        self.blocks.add("definition", f"{term}: {meaning}", "glossary", element.get("id", ""))
        self.reading.keep("definition")

    def _figure(self, element: Any, section: str) -> None:
        title = next((plain_text(_words(part)) for part in element if local_name(part) == "title"), "")
        caption = next((_words(part) for part in element if local_name(part) == "caption"), "")
        image = next((part.get("src", "") for part in element.iter() if local_name(part) == "image"), "")
        span_id = self.blocks.add("caption", caption, title or section, element.get("id", ""))
        self.figures.append({"id": element.get("id", ""), "title": title, "caption": span_id, "src": image})

    def _exercise(self, element: Any, section: str) -> None:
        """A printed exercise: question, choices and solution share the address of the exercise."""
        address = element.get("id", "")
        problem = next((part for part in element if local_name(part) == "problem"), None)
        solution = next((part for part in element if local_name(part) == "solution"), None)
        question = "" if problem is None else " ".join(_words(p) for p in problem if local_name(p) == "para")
        answer = "" if solution is None else " ".join(_words(p) for p in solution if local_name(p) == "para")
        if not plain_text(question) or not plain_text(answer):
            self.reading.drop("exercise", f"{self.name}#{address}", "question or solution is empty")
            return
        assert problem is not None
        self.blocks.add("question", question, section, address)
        for item in problem.iter():
            if local_name(item) == "item":
                self.blocks.add("list_item", _words(item), section, address)
        self.blocks.add("answer", answer, section, address)
        self.reading.keep("exercise")


def _add_figure(reading: Reading, blocks: Blocks, figure: dict[str, Any], pictures: dict[str, Path], name: str) -> None:
    item = f"{name}#{figure['id']}"
    if figure["caption"] is None:
        reading.drop("figure", item, "has no caption")
        return
    path = pictures.get(_loose(PurePosixPath(figure["src"]).name))
    if path is None:
        reading.drop("figure", item, "picture is not among the files", figure["src"])
        return
    blob = read_picture(path)
    mentioned = Mentioned("it", (), (figure["id"],))
    mentions = link_mentions([mentioned], [(span.id, span.text) for span in blocks.spans])["it"]
    reading.images.append(blob)
    reading.figures.append(
        Figure(
            id=short_id("fig", blocks.document_id, figure["id"], blob.sha256),
            document_id=blocks.document_id,
            image_sha256=blob.sha256,
            caption_span_id=figure["caption"],
            mention_span_ids=mentions,
            label=figure["id"],
        )
    )
    reading.keep("figure")


def read_picture(path: Path) -> ImageBlob:
    """The bytes of a PNG or JPEG file, checked to decode.

    Raises:
        ReadError: It is neither, or it is damaged.
    """
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            kind, size = picture.format, picture.size
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ReadError(f"is no readable picture ({error})", file=path, cure="fetch the file again") from error
    if kind not in ("PNG", "JPEG"):
        raise ReadError(f"is a {kind} picture, expected PNG or JPEG", file=path, cure="convert it")
    return ImageBlob(
        sha256=file_sha256(path),
        bytes=data,
        format="png" if kind == "PNG" else "jpeg",
        width_px=size[0],
        height_px=size[1],
    )
