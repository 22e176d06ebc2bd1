"""The whole build as four resumable steps: corpus, drafts, revised, release.

Convention: each step reads folders and writes one; its key holds the hashes of everything that goes in, so a resumed
build repeats only what is missing or outdated, and its bytes equal those of an uninterrupted one.

Trap: `workers` is no part of a key: it must never change a byte.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import spinemed
from data_pipeline.config import BuildConfig
from data_pipeline.corpus import read_corpus, shard_count, write_corpus
from data_pipeline.draft import write_drafts
from data_pipeline.items import read_items
from data_pipeline.readers import check_options
from data_pipeline.release import write_release
from data_pipeline.revise import read_lookup, write_revised
from data_pipeline.ruled import TEMPLATES
from data_pipeline.sources import read_sources, source_path
from data_pipeline.verify import criteria_sha256
from data_pipeline.writers import open_writer
from spinemed.errors import ConfigError
from spinemed.records import Source
from spinemed.run import Run, versions
from spinemed.tables import file_sha256, read_manifest

__all__ = ["build", "code_sha256", "fingerprint", "resolve_sources"]

_SEED_STRIDE = 1000
"""Between the phantom seeds of two build seeds; a sources file has fewer phantom sources than that."""


def build(run: Run, config: BuildConfig) -> Path:
    """Run all steps that are not done yet.

    Returns:
        The release folder.

    Raises:
        SpineMedError: A source, a file or a setting is wrong; finished steps stay.
    """
    sources = resolve_sources(config)
    base = {
        "code": code_sha256(),
        "versions": {k: v for k, v in versions().items() if k in ("numpy", "pyarrow", "pillow")},
    }

    def make_corpus(folder: Path) -> dict[str, Any]:
        with run.progress("reading", shard_count(sources)) as advance:
            return write_corpus(folder, config.sources, sources, workers=config.workers, advance=advance)

    corpus_folder = run.step("corpus", key={**base, "sources": _source_keys(config.sources, sources)}, work=make_corpus)
    corpus = read_corpus(corpus_folder)
    writer = open_writer(config, run.scratch)

    def make_drafts(folder: Path) -> dict[str, Any]:
        with run.progress("drafting", writer.size(corpus)) as advance:
            desk = writer.draft(corpus, advance)
        return {**write_drafts(folder, desk), **writer.account(folder)}

    key = {
        **base,
        **writer.key,
        "corpus": corpus.manifest["sha256"],
        "draft": config.draft.model_dump(mode="json"),
        "seed": config.seed,
        "templates": _folder_sha256(Path(spinemed.__file__).parent / "questions" / "templates"),
        "ruled": _folder_sha256(TEMPLATES),
        "criteria": criteria_sha256(),
    }
    drafts_folder = run.step("drafts", key=key, work=make_drafts)
    drafts_sha = read_manifest(drafts_folder, "drafts")["sha256"]

    def make_revised(folder: Path) -> dict[str, Any]:
        drafts, lookup = read_lookup(corpus, drafts_folder, config.revise.passage_characters)
        with run.progress("revising", len(drafts)) as advance:
            revision = writer.revise(drafts, lookup, advance)
        return {**write_revised(folder, revision, len(drafts)), **writer.account(folder)}

    key = {**key, "drafts": drafts_sha, "revise": config.revise.model_dump(mode="json")}
    revised_folder = run.step("revised", key=key, work=make_revised)

    def make_release(folder: Path) -> dict[str, Any]:
        items = read_items(revised_folder)
        return write_release(folder, items, corpus, drafts_folder, config.release, config.seed)

    key = {
        **key,
        "revised": read_manifest(revised_folder, "revised")["sha256"],
        "release": config.release.model_dump(mode="json"),
    }
    return run.step("release", key=key, work=make_release)


def resolve_sources(config: BuildConfig) -> list[Source]:
    """The sources of a build, its counts and its seed applied to the phantoms.

    Raises:
        SourceError: A source may not be used.
        ConfigError: `counts` names a source that is no phantom source.
    """
    sources = read_sources(config.sources)
    check_options(sources, config.sources)
    phantoms = [source.id for source in sources if source.kind == "phantom"]
    for name in config.counts:
        if name not in phantoms:
            raise ConfigError(
                f"'{name}' is no phantom source", field="counts", cure=f"the phantom sources are {', '.join(phantoms)}"
            )
    return [_resolve(source, config) if source.kind == "phantom" else source for source in sources]


def _resolve(source: Source, config: BuildConfig) -> Source:
    options = {**source.options, "count": config.counts.get(source.id, source.options["count"])}
    options["seed"] = source.options["seed"] + _SEED_STRIDE * config.seed
    return source.model_copy(update={"options": options})


def fingerprint(root: Path) -> dict[str, str]:
    """Hash of every file of a source, by path relative to it."""
    files = [root] if root.is_file() else [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix() if path != root else path.name: file_sha256(path) for path in files}


def _source_keys(sources_file: Path, sources: list[Source]) -> list[dict[str, Any]]:
    return [
        {
            "source": source.model_dump(mode="json"),
            "files": {} if source.kind == "phantom" else fingerprint(source_path(sources_file, source)),
        }
        for source in sources
    ]


def _folder_sha256(folder: Path, pattern: str = "*.yaml") -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob(pattern)):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def code_sha256() -> str:
    """Hash of the code that shapes the data, so that a build made by other code is never taken for finished."""
    home = Path(spinemed.__file__).parent
    parts = [_folder_sha256(Path(__file__).parent, "*.py")]
    rooms = ("anatomy", "chat", "geometry", "phantom", "questions", "volume")
    parts += [_folder_sha256(home / name, "*.py") for name in rooms]
    parts += [file_sha256(home / name) for name in ("marks.py", "records.py", "tables.py")]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
