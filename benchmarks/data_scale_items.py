"""A synthetic corpus of any size for the scale benchmark: items of realistic length with duplicates planted in them.

    from benchmarks.data_scale_items import ScalePlan, scale_shards, write_scale

Item `n` is a pure function of seed, size of the corpus and `n`, so any shard can be made alone, in any order, by any
number of processes. Words are made-up syllables and some terms of the field: two items that are no copies share next
to no run of three words, as two passages of different books. 70 in 100 items are English, the rest Chinese.

Planted, each in a stated share: exact copies (spacing, case and punctuation changed), near copies (some words
replaced), and look-alikes, of which the second half is new: these must *not* be found. A copy stands in the document
of its original, or in another document of the same family (later editions of one book), so that the components that
copies make stay small, as a release with splits needs. An item drawn as a copy where there is nothing to copy stays an
original, so somewhat fewer are planted than the shares say; the counts say how many.

Traps: the texts mean nothing; what is measured on them is speed, memory and the recall of planted copies, no quality.
Run what imports this from the project's folder with `python -m benchmarks.NAME`: started by its path, a script finds
`benchmarks/data_pipeline.py` in the place of the package.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_pipeline.items import Item, compose_turn, text_sha256
from data_pipeline.records import Parts
from data_pipeline.writers.prompts import all_templates
from spinemed import __version__
from spinemed.questions import Template, as_options
from spinemed.questions.draft import KEYS
from spinemed.records import Case, Document, Evidence, Figure, ImageBlob, Instance, Record, Source, Span, Study, Writer
from spinemed.tables import write_jsonl, write_manifest, write_records

__all__ = ["Planted", "ScalePlan", "Shard", "scale_shard", "scale_shards", "scale_source", "write_scale"]

Kind = Literal["original", "exact", "near", "lookalike"]
_TERMS = (  # noqa: SIM905
    "vertebra disc pedicle lamina facet endplate canal foramen ligament kyphosis lordosis scoliosis stenosis fracture "
    "fusion screw rod cage oedema marrow cord root conus sacrum lumbar thoracic cervical axial sagittal coronal"
).split()
_HAN = "椎体骨盘节突韧带管孔根髓颈胸腰骶弯曲裂压缩滑脱退变信号高低侧面位像片见示伴度术融合钉棒减压置换复查随访"


class Planted(Record):
    """What item `id` is to another item."""

    id: str
    original: str
    kind: Literal["exact", "near", "lookalike"]
    same_group: bool


@dataclass(frozen=True)
class ScalePlan:
    """Size and make of the corpus."""

    items: int
    seed: int = 0
    exact_share: float = 0.03
    near_share: float = 0.05
    lookalike_share: float = 0.02
    across_share: float = 0.25
    """Of the copies: those whose original stands in another document."""
    chinese_share: float = 0.3
    items_per_document: int = 20
    documents_per_family: int = 6
    shard_items: int = 2000

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return -(-self.items // self.items_per_document)

    @property
    def families(self) -> int:
        """How many families the documents make: document `d` belongs to family `d % families`."""
        return max(1, -(-self.documents // self.documents_per_family))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.items // self.shard_items)


@dataclass(frozen=True)
class Shard:
    """Items `first` to `first + len(items)`, the documents that begin among them, and what was planted."""

    first: int
    items: list[Item]
    documents: list[Document]
    spans: list[Span]
    planted: list[Planted]


@functools.cache
def scale_source() -> Source:
    """The one source that all documents belong to."""
    return Source.model_validate(
        {
            "id": "synthetic-books", "kind": "markdown", "path": "books", "licence": "CC0-1.0",
            "allowed_use": ["train", "evaluate", "redistribute"], "attribution": "computed, no author",
        }
    )  # fmt: skip


@functools.cache
def _words() -> tuple[str, ...]:
    rng = np.random.default_rng(20)
    starts = "b br c cl d dr f g gr h l m n p pl r s st t tr v".split()  # noqa: SIM905
    middles, ends = ["a", "e", "i", "o", "u", "ai", "ea", "ou"], ["", "n", "r", "s", "l", "m", "nd", "st"]
    made = {
        "".join(
            starts[rng.integers(len(starts))] + middles[rng.integers(len(middles))] + ends[rng.integers(len(ends))]
            for _ in range(2)
        )
        for _ in range(6000)
    }
    return tuple(_TERMS) + tuple(sorted(made)[:3000])


def _rng(plan: ScalePlan, purpose: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[(plan.seed << 8) | purpose, number]))


@dataclass(frozen=True)
class _Text:
    """The words of one item: indices into the vocabulary, with where each part ends."""

    chinese: bool
    choice: bool
    words: np.ndarray
    cuts: tuple[int, ...]
    """Ends of stem, answer or four options, span."""


def _own(plan: ScalePlan, number: int) -> _Text:
    rng = _rng(plan, 0, number)
    chinese, choice = rng.random() < plan.chinese_share, rng.random() < 0.55
    size = len(_HAN) if chinese else len(_words())
    stem = int(rng.integers(20, 50))
    parts = [int(n) for n in rng.integers(8, 40, 4)] if choice else [int(rng.integers(60, 220))]
    cuts = np.cumsum([stem, *parts, int(rng.integers(40, 120))])
    # Common words are common: a squared draw leans towards the head of the list.
    words = (rng.random(int(cuts[-1])) ** (1.0 if chinese else 1.6) * size).astype(np.int32)
    return _Text(bool(chinese), bool(choice), words, tuple(int(cut) for cut in cuts))


def _kind(plan: ScalePlan, number: int) -> tuple[Kind, int]:
    """What an item is, and of which item it is a copy."""
    rng = _rng(plan, 1, number)
    draw = rng.random()
    kind: Kind = "original"
    for name, share in (("exact", plan.exact_share), ("near", plan.near_share), ("lookalike", plan.lookalike_share)):
        if draw < share:
            kind = name  # type: ignore[assignment]
            break
        draw -= share
    if kind == "original":
        return kind, number
    document, place = divmod(number, plan.items_per_document)
    if rng.random() < plan.across_share and document >= plan.families:
        earlier = document - plan.families * int(rng.integers(1, document // plan.families + 1))
        of = earlier * plan.items_per_document + int(rng.integers(plan.items_per_document))
    elif place:
        of = number - int(rng.integers(1, place + 1))
    else:
        return "original", number
    # Only originals are copied, so that what is planted is a pair and never a chain.
    return (kind, of) if _kind(plan, of)[0] == "original" else ("original", number)


def _text(plan: ScalePlan, number: int, kind: Kind, of: int) -> _Text:
    text = _own(plan, of)
    if kind in ("original", "exact"):
        return text
    rng = _rng(plan, 2, number)
    words, size = text.words.copy(), len(_HAN) if text.chinese else len(_words())
    said = text.cuts[-2]
    if kind == "near":
        places = rng.choice(said, max(1, round(said * rng.uniform(0.002, 0.02))), replace=False)
    else:
        places = np.arange(said // 2, said)
    words[places] = (words[places] + rng.integers(1, size, len(places))) % size
    return _Text(text.chinese, text.choice, words, text.cuts)


def _prose(text: _Text, start: int, end: int, stop: str) -> str:
    if text.chinese:
        return "".join(_HAN[word] for word in text.words[start:end]) + stop
    vocabulary = _words()
    joined = " ".join([vocabulary[word] for word in text.words[start:end].tolist()])
    return joined[:1].upper() + joined[1:] + stop


def _name(plan: ScalePlan, number: int) -> str:
    return "path-" + hashlib.sha256(f"{plan.seed}\x1f{number}".encode()).hexdigest()[:12]


def _document_id(plan: ScalePlan, document: int) -> str:
    return "doc-" + hashlib.sha256(f"{plan.seed}\x1fdocument\x1f{document}".encode()).hexdigest()[:16]


@functools.cache
def _templates() -> dict[str, Template]:
    return all_templates()


def _item(plan: ScalePlan, number: int, of: int, text: _Text, kind: Kind, span: Span) -> Item:
    """A revised item in the form of the model writer's, resting on one span."""
    language: Literal["en", "zh"] = "zh" if text.chinese else "en"
    stem = _prose(text, 0, text.cuts[0], "？" if text.chinese else "?")
    if kind == "exact":  # the same letters, written otherwise
        stem = stem.replace("？", " ?") if text.chinese else stem.upper().replace(" ", "  ", 3)
    ends = text.cuts[:-1]
    said = [_prose(text, a, b, "。" if text.chinese else ".") for a, b in itertools.pairwise(ends)]
    cited = [{"id": span.id, "quote": span.text}]
    task: Literal["multiple_choice", "open"] = "multiple_choice" if text.choice else "open"
    written: dict[str, Any] = {"axis": "pathology", "question": stem, "cited": cited}
    right = of % 4
    written |= {"options": said, "right": said[right]} if text.choice else {"answer": said[0]}
    options = as_options(said) if text.choice else ()
    answer = KEYS[right] if text.choice else said[0]
    template = _templates()[f"written_{task}_{language}"]
    values = {"question": stem, "pack": span.id, "written": json.dumps(written, ensure_ascii=False, sort_keys=True)}
    name = _name(plan, number)
    parts = Parts(
        instance_id=name,
        template=template.name,
        wording=0,
        values=json.dumps(values, ensure_ascii=False, sort_keys=True),
    )
    source = scale_source()
    instance = Instance(
        id=name,
        stage="revised",
        parent_id=f"{name}-draft",
        source_id=source.id,
        group_id=span.document_id,
        origin="real",
        axis="pathology",
        task=task,
        language=language,
        messages=compose_turn(parts, template, options, answer, images=0),
        answer=answer,
        answer_kind="option" if options else "text",
        options=options,
        evidence=(Evidence(kind="span", id=span.id, sha256=text_sha256(span.text), quote=span.text),),
        writer=Writer(
            name="scale", version=__version__, prompt_sha256=template.sha256, request_sha256=text_sha256(name)
        ),
        tags=("written", "text"),
    )
    return Item(instance, parts)


def scale_shard(plan: ScalePlan, number: int) -> Shard:
    """One shard. Documents are written with the shard that holds their first item, spans with their document.

    Raises:
        ValueError: A shard does not hold whole documents.
    """
    if plan.shard_items % plan.items_per_document:
        raise ValueError(f"a shard of {plan.shard_items} items does not hold whole documents")
    shard = Shard(number * plan.shard_items, [], [], [], [])
    last = min(shard.first + plan.shard_items, plan.items)
    for start in range(shard.first, last, plan.items_per_document):
        _add_document(plan, shard, start, min(start + plan.items_per_document, last))
    return shard


def _add_document(plan: ScalePlan, shard: Shard, start: int, end: int) -> None:
    document_id = _document_id(plan, start // plan.items_per_document)
    blocks: list[str] = []
    at = 0
    for number in range(start, end):
        kind, of = _kind(plan, number)
        text = _text(plan, number, kind, of)
        said = _prose(text, text.cuts[-2], text.cuts[-1], "。" if text.chinese else ".")
        span = Span(
            id=f"span-{_name(plan, number)[5:]}",
            document_id=document_id,
            kind="paragraph",
            start=at,
            end=at + len(said),
            text=said,
        )
        at += len(said) + 2
        blocks.append(said)
        shard.spans.append(span)
        shard.items.append(_item(plan, number, of, text, kind, span))
        if kind != "original":
            same = of // plan.items_per_document == number // plan.items_per_document
            shard.planted.append(Planted(id=_name(plan, number), original=_name(plan, of), kind=kind, same_group=same))
    whole = "\n\n".join(blocks)
    source = scale_source()
    shard.documents.append(
        Document(
            id=document_id,
            source_id=source.id,
            title=f"Book {start // plan.items_per_document}",
            file=f"{document_id}.md",
            sha256=text_sha256(whole),
            text=whole,
            licence=source.licence,
            attribution=source.attribution or "",
            group_id=document_id,
        )
    )


def scale_shards(plan: ScalePlan) -> Iterator[Shard]:
    """All shards, one at a time."""
    return (scale_shard(plan, number) for number in range(plan.shards))


def write_scale(folder: Path, plan: ScalePlan) -> dict[str, Any]:
    """Write the corpus in shards, holding one shard in memory.

    `corpus/` is a finished corpus folder, its documents and spans in files of a shard each; `revised/NNNNN/` holds
    `instances.parquet` and `parts.parquet` of a shard; `planted/NNNNN.parquet` the truth.

    Returns:
        Counts of what was written.
    """
    counts = dict.fromkeys(("items", "documents", "spans", "exact", "near", "lookalike", "across_groups"), 0)
    corpus = folder / "corpus"
    for number, shard in enumerate(scale_shards(plan)):
        name = f"{number:05d}"
        write_records(corpus / "documents" / f"{name}.parquet", Document, shard.documents)
        write_records(corpus / "spans" / f"{name}.parquet", Span, shard.spans)
        write_records(folder / "revised" / name / "instances.parquet", Instance, (i.instance for i in shard.items))
        write_records(folder / "revised" / name / "parts.parquet", Parts, (item.parts for item in shard.items))
        write_records(folder / "planted" / f"{name}.parquet", Planted, shard.planted)
        counts["items"] += len(shard.items)
        counts["documents"] += len(shard.documents)
        counts["spans"] += len(shard.spans)
        for row in shard.planted:
            counts[row.kind] += 1
            counts["across_groups"] += not row.same_group
    for file, model in (("figures", Figure), ("studies", Study), ("cases", Case), ("images", ImageBlob)):
        write_records(corpus / f"{file}.parquet", model, [])
    write_jsonl(corpus / "sources.jsonl", [scale_source()])
    write_jsonl(corpus / "dropped.jsonl", [])
    write_manifest(corpus, "corpus", sources=[], images=0)
    return counts
