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

from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.readers.safe_xml import local_name, parse_xml, plain_text
from spinemed.errors import ReadError
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
    trees: list[tuple[Path, Any]] = []
    for file in files:
        try:
            tree = parse_xml(file.read_bytes(), file)
            if local_name(tree) != "Document":
                raise ReadError(
                    f"is XML but no MedQuAD document (root <{local_name(tree)}>)", file=file, cure="check `pattern`"
                )
        except ReadError as error:
            if options.on_broken_file == "stop":
                raise
            reading.drop("document", file.name, "cannot be read", str(error.problem), failed=True)
            continue
        trees.append((file, tree))
    groups = _groups(source.id, [tree for _, tree in trees])
    for (file, tree), group in zip(trees, groups):
        _read_document(source, folder, file, tree, group, reading)
    return reading


def _focus(tree: Any) -> str:
    return plain_text(next((part.text or "" for part in tree.iter("Focus")), ""))


def _groups(source_id: str, trees: list[Any]) -> list[str]:
    """One group for all documents that share a concept or a name, over any number of steps."""
    keys = [
        {f"cui:{plain_text(cui.text or '')}" for cui in tree.iter("CUI")} | {f"name:{_focus(tree).casefold()}"}
        for tree in trees
    ]
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


def _read_document(source: Source, folder: Path, file: Path, tree: Any, group: str, reading: Reading) -> None:
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
            group_id=group,
        )
    )
    reading.spans += blocks.spans
    reading.keep("document")
