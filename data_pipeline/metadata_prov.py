"""PROV: where a release came from, as JSON-LD in the W3C vocabulary (https://www.w3.org/TR/prov-o/).

Convention: entities are source files, sources without files (phantoms), the folders of each stage, prompts and
templates, and the release's data files, all by hash; activities are the stages; agents are this software and each
writer. A file is named by `urn:sha256:` and its hash, so that anybody who holds the file finds it here.

Trap: it says what followed from what, stage by stage. What one row rests on is told by `spinemed data trace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spinemed import __version__

if TYPE_CHECKING:
    from data_pipeline.metadata import Author, Lineage

__all__ = ["provenance"]

_CONTEXT: dict[str, Any] = {
    "prov": "http://www.w3.org/ns/prov#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "dct": "http://purl.org/dc/terms/",
    "schema": "https://schema.org/",
    "label": "rdfs:label",
    "sha256": "schema:sha256",
    "licence": "dct:license",
    "rows": {"@id": "schema:numberOfItems", "@type": "http://www.w3.org/2001/XMLSchema#integer"},
    **{
        name: {"@id": f"prov:{name}", "@type": "@id"}
        for name in (
            "used", "wasGeneratedBy", "wasDerivedFrom", "wasRevisionOf", "wasAssociatedWith", "wasAttributedTo",
            "hadPlan", "agent", "hadMember",
        )
    },
    "qualifiedAssociation": "prov:qualifiedAssociation",
}  # fmt: skip
_ORDER = ("corpus", "drafts", "revised", "unique", "release")
_ACTIVITY = {"corpus": "read", "drafts": "draft", "revised": "revise", "unique": "deduplicate", "release": "release"}


def provenance(data: Mapping[str, tuple[str, int]], lineage: Lineage) -> dict[str, Any]:
    """The graph of a release.

    Args:
        data: Hash and bytes of each data file, by path.
        lineage: What it rests on.
    """
    software = f"urn:spinemed:software:{__version__}"
    graph: list[dict[str, Any]] = [
        {"@id": software, "@type": ["prov:Agent", "prov:SoftwareAgent"], "label": f"spinemed {__version__}"}
    ]
    inputs = _inputs(graph, lineage)
    _authors(graph, lineage)
    stages = [name for name in _ORDER if name in lineage.stages]
    stages += [name for name in lineage.stages if name not in stages]
    before = inputs
    for number, name in enumerate(stages):
        entity = f"urn:sha256:{lineage.stages[name]}"
        activity = _activity(name)
        graph.append(_step(activity, before, software, lineage if name in ("drafts", "revised") else None, name))
        stage: dict[str, Any] = {"@id": entity, "@type": "prov:Entity", "label": name, "sha256": lineage.stages[name]}
        stage |= {"wasGeneratedBy": activity, "wasDerivedFrom": before}
        if name == "revised":
            stage["wasRevisionOf"] = f"urn:sha256:{lineage.stages[stages[number - 1]]}"
        graph.append(stage)
        before = [entity]
    activity = _activity("release")
    graph.append(_step(activity, before, software, None, "release"))
    for path, (digest, size) in data.items():
        graph.append(
            {
                "@id": f"urn:sha256:{digest}", "@type": "prov:Entity", "label": path, "sha256": digest,
                "schema:contentSize": f"{size} B", "wasGeneratedBy": activity, "wasDerivedFrom": before,
                "wasAttributedTo": software,
            }
        )  # fmt: skip
    return {"@context": _CONTEXT, "@graph": graph}


def _activity(stage: str) -> str:
    return f"urn:spinemed:activity:{_ACTIVITY.get(stage, stage)}"


def _inputs(graph: list[dict[str, Any]], lineage: Lineage) -> list[str]:
    """Sources and their files as entities; the ids of what the first stage used."""
    used: list[str] = []
    for source in lineage.sources:
        home = f"urn:spinemed:source:{quote(source.id)}"
        files = lineage.files.get(source.id, {})
        entity: dict[str, Any] = {
            "@id": home, "@type": ["prov:Entity", "prov:Collection"], "label": source.id, "licence": source.licence,
            "dct:rights": source.attribution, "dct:type": source.origin,
            "hadMember": [f"urn:sha256:{digest}" for digest in files.values()],
        }  # fmt: skip
        graph.append(entity)
        used.append(home)
        for path, digest in files.items():
            name = f"urn:sha256:{digest}"
            graph.append({"@id": name, "@type": "prov:Entity", "label": f"{source.id}/{path}", "sha256": digest})
            used.append(name)
    return list(dict.fromkeys(used))


def _drafter(name: str) -> str:
    """Who wrote the draft of what somebody revised: each reviser mends the drafts of one writer."""
    return name.replace("-reviser", "-writer")


def _plan_of(author: Author, stage: str) -> str:
    """Hash of the prompt or template by which a stage's version was written."""
    return author.revised_by_sha256 if stage == "revised" and author.revised_by_sha256 else author.prompt_sha256


def _author_id(model: str, name: str, version: str) -> str:
    return f"urn:spinemed:writer:{quote(name)}:{quote(version)}:{quote(model, safe='')}"


def _authors(graph: list[dict[str, Any]], lineage: Lineage) -> None:
    """Writers and revisers as agents, their prompts and templates as plans."""
    agents: dict[str, str] = {}
    for author in lineage.authors:
        for name in (_drafter(author.name), author.name):
            label = f"{name} {author.version}" + ("" if author.model == "rules" else f", model {author.model}")
            agents[_author_id(author.model, name, author.version)] = label
    graph += [
        {"@id": name, "@type": ["prov:Agent", "prov:SoftwareAgent"], "label": label} for name, label in agents.items()
    ]
    plans = dict.fromkeys(_plan_of(author, stage) for author in lineage.authors for stage in ("drafts", "revised"))
    for digest in plans:
        label = lineage.prompts.get(digest, "prompt or template of another version")
        plan = {"@id": f"urn:sha256:{digest}", "@type": ["prov:Entity", "prov:Plan"], "label": label, "sha256": digest}
        graph.append(plan)


def _step(activity: str, used: list[str], software: str, lineage: Lineage | None, name: str) -> dict[str, Any]:
    """One stage; drafting and revising name who wrote, with what."""
    step: dict[str, Any] = {
        "@id": activity, "@type": "prov:Activity", "label": _ACTIVITY.get(name, name), "used": used,
        "wasAssociatedWith": [software],
    }  # fmt: skip
    if lineage is None:
        return step
    named = {
        author: _author_id(author.model, _drafter(author.name) if name == "drafts" else author.name, author.version)
        for author in lineage.authors
    }
    step["wasAssociatedWith"] += sorted(set(named.values()))
    step["qualifiedAssociation"] = [
        {
            "@type": "prov:Association",
            "agent": named[author],
            "hadPlan": f"urn:sha256:{_plan_of(author, name)}",
            "rows": number,
        }
        for author, number in lineage.authors.items()
    ]
    return step
