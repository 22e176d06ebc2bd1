"""A run of the data pipeline into a review: revised items with drafts, evidence, pictures, series, waiting figures.

Convention: an item that would be released in the test split is for a benchmark, any other for training; what would not
be released (copies, overlaps) is left out and counted. One import is one transaction: all of it or nothing.

Trap: pictures and documents are copied by hash; volumes stay where the sources lie and are found by a handle, so the
sources must stay readable for whoever serves the review.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from data_pipeline.config import BuildConfig
from data_pipeline.corpus import Corpus
from data_pipeline.records import FigurePair
from data_pipeline.release import place_items
from data_pipeline.review.audit.chain import append
from data_pipeline.review.exchange.loading import NewItem, load_items, risk_of
from data_pipeline.review.protocol.access import SYSTEM, Actor, require
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import (
    EvidenceRow,
    FigureReview,
    Picture,
    ReviewRun,
    StudyVolume,
    Volume,
    now,
)
from data_pipeline.shards.store import CorpusStore, TableStore, group_sizes, open_corpus, read_item_shard
from data_pipeline.sources import source_path
from spinemed.config import load_config
from spinemed.errors import ReadError, RecordError
from spinemed.records import ImageBlob, Instance, Record, Source, Study, content_hash
from spinemed.tables import read_manifest, read_records

__all__ = ["import_run"]


def import_run(store: Store, folder: Path, actor: Actor = SYSTEM) -> dict[str, Any]:
    """Import a finished run.

    Args:
        store: The review.
        folder: The run folder of `spinemed data run`.
        actor: A data manager.

    Returns:
        The account: found = imported + left out, by reason; pictures, series, waiting figures. With `already` where
        this very run was imported before.

    Raises:
        AccessError: The actor is no data manager.
        ReadError, RecordError: The run is not finished or damaged.
    """
    require(actor, "data_manager")
    outputs = folder / "outputs"
    digest = str(read_manifest(outputs / "revised", "revised")["sha256"])
    for name in ("corpus", "drafts", "unique"):
        read_manifest(outputs / name, name)
    if not (folder / "config.yaml").is_file():
        raise ReadError("is no run folder: it holds no config.yaml", file=folder, cure="give the --out of a data run")
    config = load_config(folder / "config.yaml", BuildConfig)
    with store.writing() as session:
        known = session.scalars(select(ReviewRun).where(ReviewRun.revised_sha256 == digest)).one_or_none()
        if known is not None:
            return {**known.account, "run": known.id, "already": True}
        run = ReviewRun(
            name=folder.resolve().name, folder=str(folder.resolve()), revised_sha256=digest, imported_at=now(),
            account={},
        )  # fmt: skip
        session.add(run)
        session.flush()
        account = _Import(store, session, run, outputs, config).all()
        run.account = account
        append(session, actor.pseudonym, "import run", "run", run.id, new={"revised_sha256": digest, **account})
        return {**account, "run": run.id, "already": False}


class _Import:
    """The work of one import."""

    def __init__(self, store: Store, session: Session, run: ReviewRun, outputs: Path, config: BuildConfig) -> None:
        self.store, self.session, self.run, self.outputs, self.config = store, session, run, outputs, config
        self.corpus: CorpusStore = open_corpus(outputs / "corpus")
        self.evidence: dict[tuple[str, str], int] = {}
        self.pictures: set[str] = set(session.scalars(select(Picture.sha256)))
        self.handles: set[str] = set()
        self.counts: Counter[str] = Counter()

    def all(self) -> dict[str, Any]:
        """Items, then waiting figures."""
        items = self.outputs / "revised"
        sources = self.corpus.sources
        left_out: Counter[str] = Counter()
        places = place_items(items, self.outputs / "unique", sources, self.config.release, self.config.seed)
        drafts = TableStore(self.outputs / "drafts" / "instances.parquet", Instance, "id")
        made = TableStore(self.outputs / "drafts" / "images.parquet", ImageBlob, "sha256")
        found = loaded = 0
        for number in range(len(group_sizes(items / "instances.parquet"))):
            shard = read_item_shard(items, number)
            found += len(shard)
            kept: list[tuple[Instance, bool]] = []
            for item, (verdict, place, why) in zip(shard, places):
                if verdict.id != item.instance.id:
                    raise RecordError(
                        f"the verdict of {verdict.id} stands in the place of {item.instance.id}",
                        file=self.outputs / "unique", cure="run the stage again",
                    )  # fmt: skip
                if place is None:
                    left_out[why] += 1
                else:
                    kept.append((item.instance, place.split == "test"))
            part = self.corpus.of_items([item for item in shard if item.instance.id in {one.id for one, _ in kept}])
            self._keep_pictures(made, [one for one, _ in kept], part)
            parents = {one.parent_id for one, _ in kept if one.parent_id}
            draft_of = {draft.id: draft for draft in drafts.take(drafts.find(parents))}
            news = [
                NewItem(
                    one, draft_of.get(one.parent_id or ""), "benchmark" if test else "training",
                    risk_of(one, hospital=sources[one.source_id].kind == "hospital"), self._evidence(one, part),
                )
                for one, test in kept
            ]  # fmt: skip
            written = load_items(self.session, self.run.id, news)
            loaded += written
            if len(news) - written:
                left_out["the same instance is in review already"] += len(news) - written
        self._figures()
        return {
            "found": found, "imported": loaded, "left_out": dict(sorted(left_out.items())),
            **dict(sorted(self.counts.items())),
        }  # fmt: skip

    # --- evidence ----------------------------------------------------------------------------------------------------

    def _evidence(self, instance: Instance, part: Corpus) -> tuple[int, ...]:
        """Ids of the rows that an instance rests on; new ones are written."""
        fresh = [(e.kind, e.id) for e in instance.evidence if (e.kind, e.id) not in self.evidence]
        if fresh:
            unique = list(dict.fromkeys(fresh))
            rows = [self._evidence_row(kind, name, instance, part) for kind, name in unique]
            ids = self.session.scalars(
                insert(EvidenceRow).returning(EvidenceRow.id, sort_by_parameter_order=True), rows
            )
            self.evidence.update(zip(unique, ids, strict=True))
            for kind, name in unique:
                if kind == "study":
                    self._series(part.studies[name])
        return tuple(self.evidence[e.kind, e.id] for e in instance.evidence)

    def _evidence_row(self, kind: str, name: str, instance: Instance, part: Corpus) -> dict[str, Any]:
        tables: dict[str, Mapping[str, Record]] = {
            "span": part.spans, "figure": part.figures, "study": part.studies, "document": part.documents,
        }  # fmt: skip
        record = tables[kind].get(name)
        if record is None:
            raise RecordError(
                f"the {kind} {name} that {instance.id} rests on is not in the corpus",
                file=self.outputs / "corpus", field="evidence", cure="run the pipeline again",
            )  # fmt: skip
        row: dict[str, Any] = {
            "run_id": self.run.id, "kind": kind, "ref_id": name, "text_sha256": "",
            "document_id": getattr(record, "document_id", ""), "picture_sha256": getattr(record, "image_sha256", ""),
            "title": getattr(record, "title", ""), "record": record.model_dump_json(exclude={"text"})
            if kind == "document" else record.model_dump_json(),
        }  # fmt: skip
        if kind == "document":
            row["text_sha256"] = self.store.blobs.put(part.documents[name].text.encode())
        if kind == "figure":
            figure = part.figures[name]
            caption = self.corpus.spans.take(self.corpus.spans.find([figure.caption_span_id or ""]))
            row["title"] = caption[0].text if caption else figure.label
        return row

    # --- pictures and series -----------------------------------------------------------------------------------------

    def _keep_pictures(self, made: TableStore[ImageBlob], instances: Iterable[Instance], part: Corpus) -> None:
        """Pictures that items show, and those of the figures and studies that they rest on."""
        wanted = {digest for one in instances for digest in one.image_sha256}
        wanted |= {figure.image_sha256 for figure in part.figures.values()}
        wanted |= {study.image_sha256 for study in part.studies.values()}
        self.keep(made, wanted)

    def keep(self, made: TableStore[ImageBlob] | None, wanted: set[str]) -> None:
        """Copy pictures that are not there yet."""
        wanted = wanted - self.pictures
        tables = [self.corpus.images] if made is None else [made, self.corpus.images]
        for table in tables:
            for blob in table.take(table.find(wanted)):
                if blob.sha256 in self.pictures:
                    continue
                self.store.blobs.put(blob.bytes)
                self.session.add(
                    Picture(
                        sha256=blob.sha256, format=blob.format, width_px=blob.width_px, height_px=blob.height_px,
                        bits=_bits(blob),
                    )
                )  # fmt: skip
                self.pictures.add(blob.sha256)
                self.counts["pictures"] += 1
        missing = wanted - self.pictures
        if missing:
            raise RecordError(
                f"the picture {min(missing)} is in no table of the run", file=self.outputs / "corpus",
                field="image_sha256", cure="run the pipeline again",
            )  # fmt: skip

    def _series(self, study: Study) -> None:
        """The files that a study was cut from, where they can be read."""
        source = self.corpus.sources[study.source_id]
        facts = json.loads(study.provenance)
        root = source_path(self.config.sources, source)
        stated = {key: facts[key] for key in ("image", "mask") if isinstance(facts.get(key), dict)}
        image = _file_of(root, stated.get("image"))
        if image is None:
            self.counts["studies without a file that can be shown" if stated else "computed studies"] += 1
            return
        for kind, told in stated.items():
            file = _file_of(root, told)
            if file is None:
                self.counts[f"{kind} files that are missing"] += 1
                continue
            handle = content_hash([self.run.revised_sha256, source.id, kind, str(told["file"]), told["sha256"]])
            if handle not in self.handles:
                self.handles.add(handle)
                self.session.add(
                    Volume(
                        handle=handle, run_id=self.run.id, kind=kind, path=str(file), name=str(told["file"]),
                        source_id=source.id, group_id=study.group_id, modality=study.modality,
                        scheme=_scheme(source, str(stated["image"]["file"])) if kind == "mask" else "",
                        sha256=told["sha256"],
                    )
                )  # fmt: skip
                self.counts[f"series ({kind})"] += 1
                self.session.flush()
            self.session.add(StudyVolume(run_id=self.run.id, study_id=study.id, kind=kind, handle=handle))

    # --- figures -----------------------------------------------------------------------------------------------------

    def _figures(self) -> None:
        """Pairs that wait for a person."""
        waiting = [
            pair
            for pair in read_records(self.outputs / "corpus" / "figure_pairs.parquet", FigurePair)
            if pair.queue and not pair.decision
        ]
        if not waiting:
            return
        self.keep(None, {pair.image_sha256 for pair in waiting} & self._held())
        names = {name for pair in waiting for name in (pair.caption_span_id, *pair.mention_span_ids)}
        words = {span.id: span.text for span in self.corpus.spans.take(self.corpus.spans.find(names))}
        documents = self.corpus.documents.take(self.corpus.documents.find({pair.document_id for pair in waiting}))
        source_of = {document.id: document.source_id for document in documents}
        for pair in waiting:
            self.session.add(
                FigureReview(
                    run_id=self.run.id, source_id=source_of[pair.document_id], figure_id=pair.figure_id,
                    caption_span_id=pair.caption_span_id, picture_sha256=pair.image_sha256,
                    caption=words.get(pair.caption_span_id, ""),
                    mentions=[words[name] for name in pair.mention_span_ids if name in words],
                    pair=pair.model_dump(mode="json"),
                )
            )  # fmt: skip
            self.counts["waiting figures"] += 1

    def _held(self) -> set[str]:
        """Hashes of all pictures of the corpus."""
        return {
            row.sha256 for row in read_records(self.outputs / "corpus" / "images.parquet", _Hash, columns=["sha256"])
        }


class _Hash(Record):
    sha256: str


def _file_of(root: Path, told: Any) -> Path | None:
    """The file that a study's provenance names, if it is one and lies in its source."""
    if not isinstance(told, dict) or not isinstance(told.get("file"), str):
        return None
    file = root / told["file"] / told["name"] if told.get("name") else root / told["file"]
    home = root.resolve()
    found = file.resolve()
    return found if found.is_file() and found.is_relative_to(home if home.is_dir() else home.parent) else None


def _scheme(source: Source, image: str) -> str:
    """Whose numbers the mask of a volume carries."""
    if source.kind == "verse":
        return "verse"
    for study in source.options.get("studies", ()):
        if isinstance(study, dict) and study.get("image") == image:
            return str(study.get("label_map") or "")
    return ""


def _bits(blob: ImageBlob) -> int:
    """Depth of a sample: byte 24 of a PNG states it, a JPEG has eight."""
    return blob.bytes[24] if blob.format == "png" and len(blob.bytes) > 24 else 8
