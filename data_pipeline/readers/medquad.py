"""MedQuAD XML: questions and answers about a condition, with its synonyms.

Convention: the document's text is focus, synonyms, then each question and its answer split into paragraphs; every piece
is a span. A span's `section` is the question type (`symptoms`, `treatment`, ...) or `focus` / `synonym`, its `locator`
names the pair. Documents on the same condition (a shared UMLS concept or the same name) share a `group_id`, because the
NIH pages behind them repeat each other.

Trap: three of MedQuAD's twelve collections were published with their answers removed; an empty answer is counted as
dropped and is never asked about.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from data_pipeline.readers.files import pack, unpack
from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.readers.safe_xml import local_name, parse_xml, plain_text
from data_pipeline.sandbox import Answer, Limits, Rejection, run_limited
from spinemed.errors import ReadError, SpineMedError
from spinemed.records import Document, Source
from spinemed.tables import file_sha256

__all__ = ["MedquadOptions", "read_medquad"]


class MedquadOptions(BaseModel):
    """Options of a `medquad` source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = "*.xml"
    """Which files of the folder are documents."""
    on_broken_file: Literal["stop", "count"] = "stop"
    """Whether an unreadable file stops the build or is counted as failed."""
    limits: Limits = Limits()
    """What the parser of one file may use."""


def read_medquad(source: Source, root: Path) -> Reading:
    """Read all documents of a source, in the order of their names.

    Raises:
        ReadError: No document is found, or one cannot be parsed (unless `on_broken_file: count`).
    """
    options = read_options(source, MedquadOptions)
    files = sorted(root.glob(options.pattern)) if root.is_dir() else [root]
    folder = root if root.is_dir() else root.parent
    if not files:
        raise ReadError(f"holds no file like '{options.pattern}'", file=root, cure="check `path` and `pattern`")
    reading = Reading(source.id)
    parsed: list[tuple[set[str], Reading]] = []
    for file in files:
        try:
            parsed.append(_parse(source, folder, file, options.limits))
        except SpineMedError as error:
            if options.on_broken_file == "stop":
                raise
            reading.drop("document", file.name, "cannot be read", str(error.problem), failed=True)
    groups = _groups(source.id, [keys for keys, _ in parsed])
    for (_, document), group in zip(parsed, groups):
        document.documents = [record.model_copy(update={"group_id": group}) for record in document.documents]
        reading.add(document)
    return reading


def _parse(source: Source, folder: Path, file: Path, limits: Limits) -> tuple[set[str], Reading]:
    """The names of a document's condition, and its records without their group, which depends on all documents."""
    values = {"source": source.model_dump(mode="json"), "folder": str(folder), "path": str(file)}
    answer = run_limited("data_pipeline.readers.medquad:parse_document", values, limits.for_file(file))
    if isinstance(answer, Rejection):
        raise answer.fault(file)
    told, parts = answer
    try:
        keys, packed = {str(key) for key in told["keys"]}, told["reading"]
    except (TypeError, KeyError) as error:
        raise ReadError("the parser answered what is no reading", file=file, cure="report this file") from error
    return keys, unpack(source.id, (packed, parts))


def parse_document(source: dict[str, Any], folder: str, path: str) -> Answer:
    """One document and the names of its condition: what the sandbox runs."""
    file = Path(path)
    tree = parse_xml(file.read_bytes(), file)
    if local_name(tree) != "Document":
        raise ReadError(
            f"is XML but no MedQuAD document (root <{local_name(tree)}>)", file=file, cure="check `pattern`"
        )
    entry = Source.model_validate(source)
    reading = Reading(entry.id)
    _read_document(entry, Path(folder), file, tree, reading)
    packed, parts = pack(reading)
    return {"keys": sorted(_keys(tree)), "reading": packed}, parts


def _focus(tree: Any) -> str:
    return plain_text(next((part.text or "" for part in tree.iter("Focus")), ""))


def _keys(tree: Any) -> set[str]:
    """Concepts and name of a document's condition."""
    return {f"cui:{plain_text(cui.text or '')}" for cui in tree.iter("CUI")} | {f"name:{_focus(tree).casefold()}"}


def _groups(source_id: str, keys: list[set[str]]) -> list[str]:
    """One group for all documents that share a concept or a name, over any number of steps."""
    merged: list[set[str]] = []
    for key in keys:
        joined = set(key)
        apart = []
        for group in merged:
            if group & joined:
                joined |= group
            else:
                apart.append(group)
        merged = [*apart, joined]
    names = []
    for key in keys:
        group = next(group for group in merged if group & key)
        names.append(f"{source_id}:{min(group)}")
    return names


def _read_document(source: Source, folder: Path, file: Path, tree: Any, reading: Reading) -> None:
    name = file.relative_to(folder).as_posix()
    focus = _focus(tree)
    if not focus:
        reading.drop("document", name, "names no condition")
        return
    digest = file_sha256(file)
    document_id = short_id("doc", source.id, name, digest)
    blocks = Blocks(document_id)
    blocks.add("heading", focus, "focus", "Focus")
    for synonym in tree.iter("Synonym"):
        blocks.add("list_item", synonym.text or "", "synonym", "Synonyms")
    kept = 0
    for pair in tree.iter("QAPair"):
        address = f"QAPair[{pair.get('pid', '')}]"
        question = next(iter(pair.iter("Question")), None)
        answer = next(iter(pair.iter("Answer")), None)
        if question is None or not plain_text(question.text or ""):
            reading.drop("pair", f"{name}#{address}", "question is empty")
            continue
        if answer is None or not plain_text(answer.text or ""):
            reading.drop("pair", f"{name}#{address}", "answer is empty")
            continue
        kind = question.get("qtype", "")
        blocks.add("question", question.text or "", kind, address)
        # MedQuAD keeps the paragraphs of a web page apart by runs of blanks, and list items by a dash.
        for paragraph in re.split(r" {2,}|\n\s*\n", answer.text or ""):
            item = paragraph.lstrip().startswith("- ")
            blocks.add("list_item" if item else "answer", paragraph.lstrip(" -"), kind, address)
        reading.keep("pair")
        kept += 1
    if not kept:
        reading.drop("document", name, "holds no answered question")
        return
    reading.documents.append(
        Document(
            id=document_id,
            source_id=source.id,
            title=focus,
            language="en",
            file=name,
            sha256=digest,
            text=blocks.text,
            licence=source.licence,
            attribution=source.attribution,
            group_id=source.id,
        )
    )
    reading.spans += blocks.spans
    reading.keep("document")
