"""From a released row back to bytes, every link checked again: hashes recomputed, files re-read, pictures re-made.

Convention: a chain is a list of links, each OK or BROKEN with what was found. A broken link does not stop the walk, so
one changed byte shows where it lies and what still holds.

Trap: the chain uses today's code; a picture re-rendered by changed code differs, and that is reported as broken, too,
because the bytes can no longer be re-made.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from data_pipeline.corpus import Corpus, read_corpus
from data_pipeline.items import Item, redo_derivation, text_sha256
from data_pipeline.readers import Drop, read_source
from data_pipeline.records import Derivation, Parts
from data_pipeline.sources import source_path
from data_pipeline.verify import Lookup, load_criteria, verify
from spinemed.errors import ReadError, RecordError, SpineMedError
from spinemed.questions import load_templates
from spinemed.records import Document, Evidence, ImageBlob, Instance, ReleaseRow, Study, content_hash
from spinemed.tables import file_sha256, read_jsonl, read_manifest, read_records

__all__ = ["Link", "trace"]


@dataclass
class Link:
    """One step of the chain."""

    name: str
    ok: bool = True
    facts: list[tuple[str, Any]] = field(default_factory=list)

    def hold(self, condition: bool, problem: str) -> None:
        """Break the link when the condition does not hold."""
        if not condition:
            self.ok = False
            self.facts.append(("BROKEN", problem))


def trace(row_id: str, run: Path) -> list[Link]:
    """The chain of one released row.

    Raises:
        ReadError: No such id (the nearest are named), or a stage of the run is missing.
    """
    outputs = run / "outputs"
    release = outputs / "release"
    read_manifest(release, "release")
    row, file = _find_row(row_id.removesuffix("-draft"), outputs)
    corpus = read_corpus(outputs / "corpus")
    revised = _find_item(outputs / "revised", row.id)
    draft = _find_item(outputs / "drafts", revised.instance.parent_id or "")
    lookup = Lookup(
        corpus=corpus,
        templates=load_templates(),
        derivations={d.sha256: d for d in read_records(outputs / "drafts" / "derivations.parquet", Derivation)},
        longest_passage=_config(run)["revise"]["passage_characters"],
    )
    links = [_release_link(row, file, release), _revised_link(row, revised), _draft_link(revised, draft)]
    links += [_criteria_link(revised, lookup), _template_link(revised, lookup)]
    links += _picture_links(row, revised, lookup, outputs)
    sources_file = Path(_config(run)["sources"])
    seen: set[str] = set()
    for part in revised.instance.evidence:
        links += _evidence_links(part, corpus, sources_file, seen)
    return links


def _config(run: Path) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
    except OSError as error:
        raise ReadError("holds no config.yaml, so it is no run", file=run, cure="give the run folder") from error


def _find_row(row_id: str, outputs: Path) -> tuple[ReleaseRow, Path]:
    known: list[str] = []
    for file in sorted((outputs / "release" / "data").glob("*.parquet")):
        ids = pq.read_table(file, columns=["id"]).column("id").to_pylist()
        known += ids
        if row_id in ids:
            values = pq.read_table(file, filters=[("id", "==", row_id)]).to_pylist()[0]
            return ReleaseRow.model_validate(values), file
    dropped = {drop.item: drop for drop in read_jsonl(outputs / "revised" / "dropped.jsonl", Drop)}
    gone = dropped.get(f"{row_id}-draft")
    if gone is not None:
        raise ReadError(
            f"'{row_id}' was drafted but not released: it {gone.reason} ({gone.note})",
            file=outputs / "release",
            field="id",
            cure="see revised/dropped.jsonl",
        )
    near = difflib.get_close_matches(row_id, known, n=3, cutoff=0.0)
    raise ReadError(
        f"holds no row '{row_id}'", file=outputs / "release", field="id", cure=f"the nearest ids are {', '.join(near)}"
    )


def _find_item(folder: Path, instance_id: str) -> Item:
    rows = pq.read_table(folder / "instances.parquet", filters=[("id", "==", instance_id)]).to_pylist()
    parts = pq.read_table(folder / "parts.parquet", filters=[("instance_id", "==", instance_id)]).to_pylist()
    if not rows or not parts:
        raise RecordError(
            f"the instance '{instance_id}' is missing", file=folder / "instances.parquet", cure="build the run again"
        )
    return Item(Instance.model_validate(rows[0]), Parts.model_validate(parts[0]))


# --- the links -------------------------------------------------------------------------------------------------------


def _release_link(row: ReleaseRow, file: Path, release: Path) -> Link:
    link = Link("release row", facts=[("id", row.id), ("file", f"{file} (split {row.split})")])
    link.facts += [("axis / task", f"{row.axis} / {row.task}"), ("question", row.messages[0].content)]
    link.facts += [("answer", row.answer), ("licence", row.licence), ("credit", row.attribution or "(none required)")]
    manifest = read_manifest(release, "release")
    listed = manifest["files"][file.relative_to(release).as_posix()]["sha256"]
    link.hold(file_sha256(file) == listed, f"the file differs from its manifest ({listed})")
    for image in row.images:
        digest = hashlib.sha256(image.bytes).hexdigest()
        link.facts.append(("picture", image.path))
        link.hold(image.path == f"{digest}.png", f"the picture's bytes have the hash {digest}")
    return link


def _revised_link(row: ReleaseRow, revised: Item) -> Link:
    instance = revised.instance
    digest = content_hash(instance)
    link = Link("revised instance", facts=[("sha256", digest), ("writer", _writer(instance))])
    link.facts += [("change", change) for change in instance.changes] or [("change", "none needed")]
    link.hold(digest == row.instance_sha256, f"the release was made from another version ({row.instance_sha256})")
    link.hold(instance.messages == row.messages, "the messages differ from the release row")
    return link


def _draft_link(revised: Item, draft: Item) -> Link:
    instance = draft.instance
    link = Link("draft", facts=[("id", instance.id), ("sha256", content_hash(instance)), ("writer", _writer(instance))])
    link.facts += [("failed criterion", f"{r.criterion}: {r.note}") for r in instance.criteria if not r.passed] or [
        ("failed criterion", "none")
    ]
    link.hold(revised.instance.parent_id == instance.id, "the revision names another draft")
    return link


def _writer(instance: Instance) -> str:
    writer = instance.writer
    return f"{writer.name} {writer.version}, request {writer.request_sha256[:16]}"


def _criteria_link(revised: Item, lookup: Lookup) -> Link:
    results = verify(revised, lookup, load_criteria())
    link = Link("criteria applied again", facts=[("held", f"{sum(r.passed for r in results)} of {len(results)}")])
    for result in results:
        link.hold(result.passed, f"{result.criterion}: {result.note}")
    link.hold(results == revised.instance.criteria, "the results differ from those recorded")
    return link


def _template_link(revised: Item, lookup: Lookup) -> Link:
    template = lookup.templates.get(revised.parts.template)
    link = Link("template", facts=[("name", f"{revised.parts.template}, wording {revised.parts.wording}")])
    found = None if template is None else template.sha256
    link.facts.append(("file sha256", found))
    link.hold(found == revised.instance.writer.prompt_sha256, "the template file has changed since")
    return link


def _picture_links(row: ReleaseRow, revised: Item, lookup: Lookup, outputs: Path) -> list[Link]:
    links = []
    for digest in revised.instance.image_sha256:
        derivation = lookup.derivations.get(digest)
        if derivation is None:
            continue
        parameters = json.loads(derivation.parameters)
        link = Link(f"picture by {derivation.operation}", facts=[("sha256", digest), ("parameters", parameters)])
        link.facts.append(("made from", f"{derivation.from_sha256} ({derivation.owner_id})"))
        original = _corpus_picture(outputs / "corpus", derivation.from_sha256)
        if original is None:
            link.hold(False, "the original picture is not in the corpus")
        else:
            again = hashlib.sha256(redo_derivation(derivation, original)).hexdigest()
            link.hold(again == digest, f"made again, the picture has the hash {again}")
        links.append(link)
    return links


def _corpus_picture(corpus: Path, digest: str) -> bytes | None:
    found = pq.read_table(corpus / "images.parquet", filters=[("sha256", "==", digest)]).to_pylist()
    return ImageBlob.model_validate(found[0]).bytes if found else None


def _evidence_links(part: Evidence, corpus: Corpus, sources_file: Path, seen: set[str]) -> list[Link]:
    if part.kind == "study":
        return _study_links(part, corpus, sources_file)
    if part.kind == "span":
        return [_span_link(part, corpus)]
    if part.kind == "figure":
        figure = corpus.figures[part.id]
        link = Link("figure", facts=[("id", figure.id), ("label", figure.label), ("picture sha256", part.sha256)])
        link.facts.append(("mentioned by", f"{len(figure.mention_span_ids)} paragraphs"))
        link.hold(figure.image_sha256 == part.sha256, "the corpus holds another picture for it")
        return [link, *_document_links(corpus.documents[figure.document_id], corpus, sources_file, seen, part.sha256)]
    return _document_links(corpus.documents[part.id], corpus, sources_file, seen)


def _span_link(part: Evidence, corpus: Corpus) -> Link:
    span = corpus.spans[part.id]
    document = corpus.documents[span.document_id]
    start = span.start + span.text.find(part.quote)
    link = Link("evidence span", facts=[("id", span.id), ("address", span.locator), ("section", span.section)])
    link.facts += [("characters", f"{start}:{start + len(part.quote)}"), ("quote", part.quote)]
    link.hold(text_sha256(span.text) == part.sha256, "the span's text differs from its hash")
    link.hold(document.text[start : start + len(part.quote)] == part.quote, "the quote does not stand in the document")
    return link


def _document_links(
    document: Document, corpus: Corpus, sources_file: Path, seen: set[str], picture: str | None = None
) -> list[Link]:
    if document.id in seen and picture is None:
        return []
    seen.add(document.id)
    source = corpus.sources[document.source_id]
    root = source_path(sources_file, source)
    path = root / document.file if root.is_dir() else root
    link = Link("document file", facts=[("file", path), ("sha256", document.sha256), ("title", document.title)])
    link.facts += [("licence", document.licence), ("credit", document.attribution)]
    try:
        link.hold(file_sha256(path) == document.sha256, "the file's bytes have changed")
        again = read_source(source, root)
        texts = [other.text for other in again.documents if other.file == document.file]
        link.hold(texts == [document.text], "read again, the file gives another text")
        if picture is not None:
            link.hold(picture in {blob.sha256 for blob in again.images}, "the figure's file is missing or has changed")
    except SpineMedError as error:
        link.hold(False, str(error))
    return [link]


def _study_links(part: Evidence, corpus: Corpus, sources_file: Path) -> list[Link]:
    study = corpus.studies[part.id]
    provenance = json.loads(study.provenance)
    record = Link("study", facts=[("id", study.id), ("group", study.group_id), ("truth", study.truth)])
    record.facts += [("modality / plane", f"{study.modality} / {study.plane}"), ("picture sha256", study.image_sha256)]
    record.facts += [("caveat", caveat) for caveat in study.caveats]
    record.hold(content_hash(study) == part.sha256, "the study record differs from its hash")
    if provenance["reader"] == "phantom":
        return [record, _phantom_link(study, provenance)]
    return [record, _volume_link(study, provenance, corpus, sources_file)]


def _phantom_link(study: Study, provenance: dict[str, Any]) -> Link:
    from data_pipeline.readers.phantom import render_phantom_picture

    draw = provenance["draw"]
    link = Link("phantom draw", facts=[("seed / index", f"{draw['seed']} / {draw['index']}")])
    link.facts += [("look", draw["look"]["modality"]), ("variant", draw["variant"]), ("note", "not a patient")]
    again = hashlib.sha256(render_phantom_picture(provenance)).hexdigest()
    link.hold(again == study.image_sha256, f"rendered again, the picture has the hash {again}")
    return link


def _volume_link(study: Study, provenance: dict[str, Any], corpus: Corpus, sources_file: Path) -> Link:
    from data_pipeline.readers.nifti import render_picture

    source = corpus.sources[study.source_id]
    root = source_path(sources_file, source)
    link = Link("volume", facts=[("file", root / provenance["image"]["file"])])
    link.facts += [("sha256", provenance["image"]["sha256"]), ("layer", f"{provenance['plane']} {provenance['layer']}")]
    link.facts += [("licence", source.licence), ("credit", source.attribution), ("basis", source.legal_basis)]
    try:
        for name in ("mask", "bodies", "disc_points"):
            if provenance[name] is not None:
                link.facts.append((name, f"{provenance[name]['file']} {provenance[name]['sha256']}"))
                found = file_sha256(root / provenance[name]["file"])
                link.hold(found == provenance[name]["sha256"], f"the bytes of {provenance[name]['file']} have changed")
        again = hashlib.sha256(render_picture(root, provenance)).hexdigest()
        link.hold(again == study.image_sha256, f"cut again, the picture has the hash {again}")
    except SpineMedError as error:
        link.hold(False, str(error))
    return link
