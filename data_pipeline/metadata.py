"""What is written beside a release for people and machines: Croissant, PROV, a datasheet; all from what the run knows.

Convention: :class:`Lineage` is gathered once from corpus and instances; each page is a function of it and of the files
of the release. Nothing here holds a time or a machine, so the same release gives the same bytes.

Trap: these pages state what was done, not that it was done well: that nobody has reviewed a row is said as plainly as
the number of rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.corpus import Corpus
from data_pipeline.metadata_croissant import croissant
from data_pipeline.metadata_prov import provenance
from data_pipeline.metadata_sheet import datasheet
from data_pipeline.writers.prompts import all_templates, load_prompts
from spinemed.records import Instance, Source
from spinemed.tables import file_sha256, write_json, write_text

__all__ = [
    "CROISSANT",
    "DATASHEET",
    "PROVENANCE",
    "Author",
    "Lineage",
    "author_of",
    "gather",
    "lineage_of",
    "plain_lineage",
    "write_metadata",
]

_COUNTED = ("task", "form", "language", "axis", "origin", "source", "truth", "level")
CROISSANT, DATASHEET, PROVENANCE = "croissant.json", "DATASHEET.md", "prov.jsonld"


@dataclass(frozen=True, order=True)
class Author:
    """Who wrote versions of rows: a rule set or a model, with the hash of its template or prompt."""

    name: str
    version: str
    model: str
    prompt_sha256: str
    """Of the draft; where rules wrote, of the template, which their reviser fills again."""
    revised_by_sha256: str = ""
    """Of the prompt of a model's revision; of rules the same as the draft's."""


@dataclass
class Lineage:
    """What a release rests on."""

    sources: list[Source]
    """Those that a released row comes from."""
    files: dict[str, dict[str, str]]
    """Hash of each file that rows rest on, by source and path."""
    stages: dict[str, str]
    """Hash of each folder on the road, by name: corpus, drafts, revised, and what else a run has."""
    authors: dict[Author, int]
    """Released rows by who wrote their last version."""
    prompts: dict[str, str]
    """Name of each template or prompt by its hash."""
    counts: dict[str, dict[str, int]]
    """Released rows by task, form, language, axis, origin, source, truth of the study, and vertebra they are about."""
    cases: int = 0
    """Patients of hospital sources."""
    caveats: list[str] = field(default_factory=list)
    """Of the studies that rows rest on."""


def gather(corpus: Corpus, instances: Iterable[Instance], stages: Mapping[str, str]) -> Lineage:
    """Collect what is told, in one pass over the released instances.

    Args:
        corpus: What the readers made.
        instances: The released ones.
        stages: Hash of each folder on the road, by name.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    authors: Counter[Author] = Counter()
    files: dict[str, dict[str, str]] = {}
    caveats: dict[str, None] = {}
    groups: set[str] = set()
    for instance in instances:
        authors[author_of(instance)] += 1
        values = {
            "task": instance.task,
            "form": "image" if instance.image_sha256 else "text",
            "language": instance.language,
            "axis": instance.axis,
            "origin": instance.origin,
            "source": instance.source_id,
        }
        for name, value in values.items():
            counts[name][value] += 1
        counts["level"].update({level.value for level in instance.levels})
        groups.add(instance.group_id)
        for part in instance.evidence:
            if part.kind == "document":
                document = corpus.documents[part.id]
                files.setdefault(document.source_id, {})[document.file] = document.sha256
            elif part.kind == "study":
                study = corpus.studies[part.id]
                counts["truth"][study.truth] += 1
                files.setdefault(study.source_id, {}).update(_volume_files(study.provenance))
                caveats.update(dict.fromkeys(study.caveats))
    used = [source for source in corpus.sources.values() if counts["source"][source.id]]
    return Lineage(
        sources=used,
        files={name: dict(sorted(held.items())) for name, held in sorted(files.items()) if held},
        stages=dict(stages),
        authors=dict(sorted(authors.items())),
        prompts=_prompt_names(),
        counts={name: dict(sorted(numbers.items())) for name, numbers in counts.items()},
        cases=sum(case.group_id in groups for case in corpus.cases.values()),
        caveats=list(caveats),
    )


def author_of(instance: Instance) -> Author:
    """Who wrote the last version of an instance.

    A model's revision is composed in the frame of its draft's prompt, whose hash it carries; what the reviser was told
    stands in the prompt of its task and language, which the key of the run holds.
    """
    writer = instance.writer
    revised_by = writer.prompt_sha256
    if writer.name == "model-reviser":
        revised_by = load_prompts()["revise", instance.task, instance.language].sha256  # type: ignore[index]
    return Author(writer.name, writer.version, writer.model, writer.prompt_sha256, revised_by)


def plain_lineage(lineage: Lineage) -> dict[str, Any]:
    """What one shard adds to the lineage, as plain JSON."""
    return {
        "authors": [
            [a.name, a.version, a.model, a.prompt_sha256, a.revised_by_sha256, number]
            for a, number in lineage.authors.items()
        ],
        "files": lineage.files,
        "counts": lineage.counts,
        "caveats": lineage.caveats,
    }


def lineage_of(
    shards: Iterable[Mapping[str, Any]], sources: Mapping[str, Source], cases: int, stages: Mapping[str, str]
) -> Lineage:
    """The lineage of a release from those of its shards.

    Args:
        shards: From :func:`plain_lineage`.
        sources: All of the run, by id.
        cases: Patients with a released row.
        stages: Hash of each folder on the road, by name.
    """
    authors: Counter[Author] = Counter()
    files: dict[str, dict[str, str]] = {}
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}  # a release may be empty
    caveats: dict[str, None] = {}
    for shard in shards:
        for *author, number in shard["authors"]:
            authors[Author(*author)] += number
        for source_id, held in shard["files"].items():
            files.setdefault(source_id, {}).update(held)
        for name, numbers in shard["counts"].items():
            counts[name].update(numbers)
        caveats.update(dict.fromkeys(shard["caveats"]))
    return Lineage(
        sources=[source for source in sources.values() if counts["source"][source.id]],
        files={name: dict(sorted(held.items())) for name, held in sorted(files.items())},
        stages=dict(stages),
        authors=dict(sorted(authors.items())),
        prompts=_prompt_names(),
        counts={name: dict(sorted(numbers.items())) for name, numbers in counts.items()},
        cases=cases,
        caveats=list(caveats),
    )


def _volume_files(provenance: str) -> dict[str, str]:
    """Files and hashes that a picture was cut from; none for a phantom, which is drawn."""
    found: dict[str, str] = {}
    for value in json.loads(provenance).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and isinstance(part.get("file"), str) and isinstance(part.get("sha256"), str):
                found[part["file"]] = part["sha256"]
    return found


def _prompt_names() -> dict[str, str]:
    """Templates and prompts by hash; templates of one file share it, and are named by the first."""
    found: dict[str, str] = {}
    for template in all_templates().values():
        found.setdefault(template.sha256, f"template {template.name}")
    for prompt in load_prompts().values():
        found[prompt.sha256] = f"prompt {prompt.name}"
    return found


def write_metadata(
    release: Path, lineage: Lineage, facts: Mapping[str, Any], account: Mapping[str, Any] | None = None
) -> None:
    """Write `croissant.json`, `prov.jsonld` and `DATASHEET.md` into a release whose data files are there.

    Args:
        release: The folder.
        lineage: What it rests on.
        facts: What its manifest will say: counts, components, licences, whether it may be handed on.
        account: Counts of the stages before, from :func:`~data_pipeline.metadata_gaps.read_account`.
    """
    data = {
        path.relative_to(release).as_posix(): (file_sha256(path), path.stat().st_size)
        for path in sorted((release / "data").glob("*.parquet"))
    }
    write_json(release / CROISSANT, croissant(data, lineage, facts))
    write_json(release / PROVENANCE, provenance(data, lineage))
    write_text(release / DATASHEET, datasheet(lineage, facts, account))
