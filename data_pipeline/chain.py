"""From a released row back to bytes, every link checked again: hashes recomputed, files re-read, pictures re-made.

Convention: a chain is a list of links, each OK or BROKEN with what was found. A broken link does not stop the walk, so
one changed byte shows where it lies and what still holds.

Trap: the chain uses today's code; a picture re-rendered by changed code differs, and that is reported as broken, too,
because the bytes can no longer be re-made.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from data_pipeline.corpus import read_corpus
from data_pipeline.credits import terms_of
from data_pipeline.criteria.apply import load_criteria, verify
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.items import Item, read_items, redo_derivation, text_sha256
from data_pipeline.readers import Drop, Reading, read_source
from data_pipeline.records import Derivation, Parts
from data_pipeline.reviews import read_reviews
from data_pipeline.sources import source_path
from data_pipeline.unique.stage import read_verdicts
from data_pipeline.writers.prompts import all_templates
from spinemed.errors import ReadError, RecordError, SpineMedError
from spinemed.records import Document, Evidence, Figure, Instance, ReleaseRow, ReviewVerdict, Span, Study, content_hash
from spinemed.tables import file_sha256, read_jsonl, read_manifest, read_records

__all__ = ["Link", "Tracer", "trace"]

_COPIED = (
    "axis",
    "task",
    "language",
    "answer",
    "answer_kind",
    "options",
    "categories",
    "levels",
    "origin",
    "source_id",
    "group_id",
)
"""What a release row takes over from its instance as it stands."""
_EVIDENCE = {"study": "study", "span": "evidence span", "figure": "figure", "document": "document file"}
"""Name of the link of each kind of evidence."""


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
    row, split = _find_row(row_id.removesuffix("-draft"), outputs)
    revised = _find_item(outputs / "revised", row.id)
    draft = _find_item(outputs / "drafts", revised.instance.parent_id or "")
    return Tracer(run).chain(row, split, revised, draft)


def _find_row(row_id: str, outputs: Path) -> tuple[ReleaseRow, Path]:
    read_manifest(outputs / "release", "release")
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
            f"'{row_id}' was drafted but not released: {gone.reason} ({gone.note})",
            file=outputs / "release",
            field="id",
            cure="see revised/dropped.jsonl",
        )
    verdict = next((each for each in read_verdicts(outputs / "unique") if each.id == row_id), None)
    if verdict is not None:
        because = verdict.reason or f"{verdict.held_out_reason} as a benchmark"
        raise ReadError(
            f"'{row_id}' was revised but not released: {because} ({verdict.copy_of or verdict.held_out})",
            file=outputs / "release",
            field="id",
            cure="see unique/verdicts.parquet",
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


class Tracer:
    """Follows chains of one run; what many rows rest on is checked once and remembered.

    Raises:
        ReadError: A stage of the run is missing.
    """

    def __init__(self, run: Path) -> None:
        self.outputs = run / "outputs"
        try:
            config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        except OSError as error:
            raise ReadError("holds no config.yaml, so it is no run", file=run, cure="give the run folder") from error
        self.sources_file = Path(config["sources"])
        self.release = read_manifest(self.outputs / "release", "release")
        self.reviews = read_reviews(run)
        self.corpus = read_corpus(self.outputs / "corpus")
        self.criteria = load_criteria()
        derivations = read_records(self.outputs / "drafts" / "derivations.parquet", Derivation)
        self.lookup = Lookup(
            corpus=self.corpus,
            templates=all_templates(),
            derivations={row.sha256: row for row in derivations},
            longest_passage=config["revise"]["passage_characters"],
        )
        # Remembered per tracer, not per process: files may change between two tracers.
        self.file_hash = functools.cache(file_sha256)
        self.reread = functools.cache(self._reread)
        self.study_again = functools.cache(self._study_again)
        self.derived_again = functools.cache(self._derived_again)

    def chains(self) -> Iterator[tuple[str, list[Link]]]:
        """The chain of every released row, by id."""
        revised = {item.instance.id: item for item in read_items(self.outputs / "revised")}
        drafts = {item.instance.id: item for item in read_items(self.outputs / "drafts")}
        for file in sorted((self.outputs / "release" / "data").glob("*.parquet")):
            for row in read_records(file, ReleaseRow):
                found = revised.get(row.id)
                draft = None if found is None else drafts.get(found.instance.parent_id or "")
                if found is None or draft is None:
                    yield row.id, [Link("revised instance", False, [("BROKEN", "it or its draft is missing")])]
                else:
                    yield row.id, self.chain(row, file, found, draft)

    def chain(self, row: ReleaseRow, file: Path, revised: Item, draft: Item) -> list[Link]:
        """All links of one row, in the order from release to bytes."""
        verdict = None if self.reviews is None else self.reviews.verdicts.get(content_hash(revised.instance))
        links = [self._release_link(row, file, revised)]
        final = revised
        if verdict is not None:
            final = Item(verdict.instance or revised.instance, revised.parts)
            links.append(_review_link(verdict))
        links += [_revised_link(row, final), _draft_link(revised, draft)]
        gone = {part.id: missing for part in revised.instance.evidence if (missing := self._missing(part))}
        # The criteria look the evidence up; without it they cannot be applied.
        links += [self._criteria_link(revised)] if not gone else []
        links += [self._template_link(revised), *self._picture_links(revised)]
        seen: set[str] = set()
        for part in revised.instance.evidence:
            if part.id in gone:
                links.append(Link(_EVIDENCE[part.kind], False, [("id", part.id), ("BROKEN", gone[part.id])]))
            else:
                links += self._evidence_links(part, seen)
        return links

    def _missing(self, part: Evidence) -> str:
        """What the corpus lacks of a piece of evidence, or an empty text."""
        corpus = self.corpus
        tables: dict[str, Mapping[str, Study | Span | Figure | Document]] = {
            "study": corpus.studies,
            "span": corpus.spans,
            "figure": corpus.figures,
            "document": corpus.documents,
        }
        record = tables[part.kind].get(part.id)
        if record is None:
            return f"the corpus holds no {part.kind} '{part.id}'"
        if isinstance(record, (Span, Figure)):
            document = corpus.documents.get(record.document_id)
            if document is None:
                return f"the corpus holds no document '{record.document_id}'"
            record = document
        return "" if record.source_id in corpus.sources else f"the corpus holds no source '{record.source_id}'"

    # --- what is done again ------------------------------------------------------------------------------------------

    def _reread(self, source_id: str) -> Reading:
        source = self.corpus.sources[source_id]
        return read_source(source, source_path(self.sources_file, source))

    def _study_again(self, study_id: str) -> str:
        """Hash of the study's picture, made again from the volume or the phantom's draw."""
        study = self.corpus.studies[study_id]
        provenance = json.loads(study.provenance)
        if provenance["reader"] == "phantom":
            from data_pipeline.readers.phantom import render_phantom_picture

            return hashlib.sha256(render_phantom_picture(provenance)).hexdigest()
        from data_pipeline.readers.nifti import render_picture

        root = source_path(self.sources_file, self.corpus.sources[study.source_id])
        if provenance["reader"] == "dicom":
            from data_pipeline.readers.dicom import render_dicom_picture

            return hashlib.sha256(render_dicom_picture(root, provenance)).hexdigest()
        return hashlib.sha256(render_picture(root, provenance)).hexdigest()

    def _derived_again(self, digest: str) -> str | None:
        """Hash of a derived picture, made again; None when the original is gone."""
        derivation = self.lookup.derivations[digest]
        original = self.corpus.images.get(derivation.from_sha256)
        return None if original is None else hashlib.sha256(redo_derivation(derivation, original.bytes)).hexdigest()

    # --- the links ---------------------------------------------------------------------------------------------------

    def _release_link(self, row: ReleaseRow, file: Path, revised: Item) -> Link:
        link = Link("release row", facts=[("id", row.id), ("file", f"{file} (split {row.split})")])
        link.facts += [("axis / task", f"{row.axis} / {row.task}"), ("question", row.messages[0].content)]
        link.facts += [("answer", row.answer), ("licence", row.licence)]
        link.facts.append(("credit", row.attribution or "(none required)"))
        documents = [part for part in revised.instance.evidence if part.kind == "document"]
        whole = row.source_id in self.corpus.sources and all(part.id in self.corpus.documents for part in documents)
        stated = terms_of(revised.instance, self.corpus) if whole else None
        link.hold(row.source_id in self.corpus.sources, f"the corpus holds no source '{row.source_id}'")
        link.hold(stated in (None, (row.licence, row.attribution)), f"licence and credit of the source are {stated}")
        listed = self.release["files"][file.relative_to(self.outputs / "release").as_posix()]["sha256"]
        link.hold(self.file_hash(file) == listed, f"the file differs from its manifest ({listed})")
        for image in row.images:
            digest = hashlib.sha256(image.bytes).hexdigest()
            link.facts.append(("picture", image.path))
            link.hold(image.path == f"{digest}.png", f"the picture's bytes have the hash {digest}")
        return link

    def _criteria_link(self, revised: Item) -> Link:
        results = verify(revised, self.lookup, self.criteria)
        link = Link("criteria applied again", facts=[("held", f"{sum(r.passed for r in results)} of {len(results)}")])
        for result in results:
            link.hold(result.passed, f"{result.criterion}: {result.note}")
        link.hold(results == revised.instance.criteria, "the results differ from those recorded")
        return link

    def _template_link(self, revised: Item) -> Link:
        template = self.lookup.templates.get(revised.parts.template)
        link = Link("template", facts=[("name", f"{revised.parts.template}, wording {revised.parts.wording}")])
        found = None if template is None else template.sha256
        link.facts.append(("file sha256", found))
        link.hold(found == revised.instance.writer.prompt_sha256, "the template file has changed since")
        return link

    def _picture_links(self, revised: Item) -> list[Link]:
        links = []
        for digest in revised.instance.image_sha256:
            derivation = self.lookup.derivations.get(digest)
            if derivation is None:
                continue  # the study's own picture: its link stands with the study
            parameters = json.loads(derivation.parameters)
            link = Link(f"picture by {derivation.operation}", facts=[("sha256", digest), ("parameters", parameters)])
            link.facts.append(("made from", f"{derivation.from_sha256} ({derivation.owner_id})"))
            again = self.derived_again(digest)
            link.hold(again is not None, "the original picture is not in the corpus")
            link.hold(again in (digest, None), f"made again, the picture has the hash {again}")
            links.append(link)
        return links

    def _evidence_links(self, part: Evidence, seen: set[str]) -> list[Link]:
        if part.kind == "study":
            return self._study_links(part)
        if part.kind == "span":
            return [self._span_link(part)]
        if part.kind == "figure":
            figure = self.corpus.figures[part.id]
            link = Link("figure", facts=[("id", figure.id), ("label", figure.label), ("picture sha256", part.sha256)])
            link.facts.append(("mentioned by", f"{len(figure.mention_span_ids)} paragraphs"))
            link.hold(figure.image_sha256 == part.sha256, "the corpus holds another picture for it")
            return [link, *self._document_links(self.corpus.documents[figure.document_id], seen, part.sha256)]
        return self._document_links(self.corpus.documents[part.id], seen)

    def _span_link(self, part: Evidence) -> Link:
        span = self.corpus.spans[part.id]
        document = self.corpus.documents[span.document_id]
        start = span.start + span.text.find(part.quote)
        link = Link("evidence span", facts=[("id", span.id), ("address", span.locator), ("section", span.section)])
        link.facts += [("characters", f"{start}:{start + len(part.quote)}"), ("quote", part.quote)]
        link.hold(text_sha256(span.text) == part.sha256, "the span's text differs from its hash")
        held = document.text[start : start + len(part.quote)] == part.quote
        link.hold(held, "the quote does not stand in the document")
        return link

    def _document_links(self, document: Document, seen: set[str], picture: str | None = None) -> list[Link]:
        if document.id in seen and picture is None:
            return []
        seen.add(document.id)
        root = source_path(self.sources_file, self.corpus.sources[document.source_id])
        path = root / document.file if root.is_dir() else root
        link = Link("document file", facts=[("file", path), ("sha256", document.sha256), ("title", document.title)])
        link.facts += [("licence", document.licence), ("credit", document.attribution)]
        try:
            link.hold(self.file_hash(path) == document.sha256, "the file's bytes have changed")
            again = self.reread(document.source_id)
            texts = [other.text for other in again.documents if other.id == document.id]
            link.hold(texts == [document.text], "read again, the file gives another text")
            if picture is not None:
                held = picture in {blob.sha256 for blob in again.images}
                link.hold(held, "the figure's file is missing or has changed")
        except SpineMedError as error:
            link.hold(False, str(error))
        return [link]

    def _study_links(self, part: Evidence) -> list[Link]:
        study = self.corpus.studies[part.id]
        provenance = json.loads(study.provenance)
        record = Link("study", facts=[("id", study.id), ("group", study.group_id), ("truth", study.truth)])
        record.facts.append(("modality / plane", f"{study.modality} / {study.plane}"))
        record.facts.append(("picture sha256", study.image_sha256))
        record.facts += [("caveat", caveat) for caveat in study.caveats]
        record.hold(content_hash(study) == part.sha256, "the study record differs from its hash")
        if provenance["reader"] == "phantom":
            return [record, self._phantom_link(study, provenance["draw"])]
        return [record, self._volume_link(study, provenance)]

    def _phantom_link(self, study: Study, draw: dict[str, Any]) -> Link:
        link = Link("phantom draw", facts=[("seed / index", f"{draw['seed']} / {draw['index']}")])
        link.facts += [("look", draw["look"]["modality"]), ("variant", draw["variant"]), ("note", "not a patient")]
        again = self.study_again(study.id)
        link.hold(again == study.image_sha256, f"rendered again, the picture has the hash {again}")
        return link

    def _volume_link(self, study: Study, provenance: dict[str, Any]) -> Link:
        source = self.corpus.sources[study.source_id]
        root = source_path(self.sources_file, source)
        link = Link("volume", facts=[("file", root / provenance["image"]["file"])])
        link.facts.append(("sha256", provenance["image"]["sha256"]))
        place = provenance.get("choice", provenance)
        link.facts.append(("layer", f"{place.get('plane', 'whole')} {place.get('layer', place.get('index', ''))}"))
        link.facts += [("licence", source.licence), ("credit", source.attribution), ("basis", source.legal_basis)]
        try:
            for name in ("mask", "bodies", "disc_points"):
                if provenance[name] is not None:
                    file, listed = provenance[name]["file"], provenance[name]["sha256"]
                    link.facts.append((name, f"{file} {listed}"))
                    link.hold(self.file_hash(root / file) == listed, f"the bytes of {file} have changed")
            again = self.study_again(study.id)
            link.hold(again == study.image_sha256, f"cut again, the picture has the hash {again}")
        except SpineMedError as error:
            link.hold(False, str(error))
        return link


def _revised_link(row: ReleaseRow, revised: Item) -> Link:
    instance = revised.instance
    digest = content_hash(instance)
    link = Link("revised instance", facts=[("sha256", digest), ("writer", _writer(instance))])
    link.facts += [("change", change) for change in instance.changes] or [("change", "none needed")]
    link.hold(digest == row.instance_sha256, f"the release was made from another version ({row.instance_sha256})")
    link.hold(instance.messages == row.messages, "the messages differ from the release row")
    for name in _COPIED:
        link.hold(getattr(instance, name) == getattr(row, name), f"{name} differs from the release row")
    own, classes = row.tags[: len(instance.tags)], row.tags[len(instance.tags) :]
    link.hold(own == instance.tags, "tags differs from the release row")
    link.facts.append(("classes", ", ".join(classes) or "(none)"))
    strange = [tag for tag in classes if not tag.startswith(("condition:", "subfield:"))]
    link.hold(not strange, f"tags of the release row that are none of its instance and no classes: {strange}")
    evidence = tuple(part.id for part in instance.evidence)
    link.hold(evidence == row.evidence_ids, "evidence_ids differs from the release row")
    pictures = tuple(image.path.removesuffix(".png") for image in row.images)
    link.hold(instance.image_sha256 == pictures, "the pictures differ from the release row")
    return link


def _review_link(verdict: ReviewVerdict) -> Link:
    link = Link("review", facts=[("decision", verdict.decision), ("reviewers", ", ".join(verdict.reviewers))])
    link.facts += [("adjudicator", verdict.adjudicator or "none needed"), ("audit row", verdict.audit_sha256)]
    link.hold(verdict.decision != "rejected", "reviewers rejected it")
    return link


def _draft_link(revised: Item, draft: Item) -> Link:
    instance = draft.instance
    link = Link("draft", facts=[("id", instance.id), ("sha256", content_hash(instance)), ("writer", _writer(instance))])
    failed = [("failed criterion", f"{r.criterion}: {r.note}") for r in instance.criteria if not r.passed]
    link.facts += failed or [("failed criterion", "none")]
    link.hold(revised.instance.parent_id == instance.id, "the revision names another draft")
    # What the reviser was given: it wrote the hash of it down.
    request = {
        "draft": content_hash(instance),
        "changes": list(revised.instance.changes),
        "template": revised.instance.writer.prompt_sha256,
    }
    held = content_hash(request) == revised.instance.writer.request_sha256
    link.hold(held, "the revision was made from another version of the draft, or with other changes")
    return link


def _writer(instance: Instance) -> str:
    writer = instance.writer
    return f"{writer.name} {writer.version}, request {writer.request_sha256[:16]}"
