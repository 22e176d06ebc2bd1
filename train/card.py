"""The model card of a checkpoint: what it is made of, what it is for and not for, and how often it was wrong.

Convention: `README.md` of a checkpoint folder carries its facts in the YAML header under `spinemed`, so that they
travel with the weights; the page below is written from them. Failure rates are read from a folder of scores, and only
for the system whose checkpoint hash is this folder's; without one the page says "not measured".

Trap: a card inside `outputs/` holds no times and no hardware, as nothing there does. `spinemed train card` reads both
from the run folder around the checkpoint, where it still stands there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.intended import INTENDED_USE, INTENDED_USERS, NOT_A_DEVICE, OUT_OF_SCOPE, PHANTOM_STATEMENT
from spinemed.records import Record
from spinemed.tables import MANIFEST, parse_json, read_manifest, write_text
from train.card_rates import rates_of_reports, rates_of_scores
from train.report import read_journal

__all__ = [
    "CARD",
    "CardFacts",
    "ReleaseFacts",
    "StageFacts",
    "card_facts",
    "facts_after",
    "facts_before",
    "licence_of",
    "model_card",
    "release_facts",
    "write_card",
    "writers",
]

CARD = "README.md"
UNKNOWN = "not recorded in this folder"
_LONGEST = 1 << 20
_WRITERS = ("spinemed", "torch", "transformers", "peft")


class ReleaseFacts(Record):
    """A release that a model was trained on, from its manifest."""

    name: str
    """As the training config calls it."""
    sha256: str
    """Hash of all its files."""
    splits: dict[str, int] = {}
    """Rows by split, of which only `train` was trained on; empty where its manifest does not tell."""
    train: dict[str, int] = {}
    """Training rows by axis and origin."""
    licences: dict[str, int] = {}
    """Rows by licence (SPDX)."""
    redistributable: bool | None = None
    """Whether every source may be handed on; None where its manifest does not tell."""


class StageFacts(Record):
    """One stage of the training."""

    name: str
    """As the training config calls it."""
    method: str
    """Adapters (lora, dora, rslora, qlora) or full."""
    steps: int
    """Optimiser steps."""
    rows_per_step: int
    """Rows, or packed bins, of one step over all processes."""
    rows_read: int
    """Training rows that were looked at."""
    rows_left_out: dict[str, int]
    """Rows left out, by reason."""
    seed: int
    """Of adapter weights, mixtures, row order and dropout."""
    settings_sha256: str
    """Hash of everything that shapes the weights, paths and number of processes left out."""


class CardFacts(Record):
    """What a card says of a model's making; travels in the header of the card."""

    made: str
    """One sentence."""
    licence: str = "other"
    """Of the weights, by SPDX; `other` where the base does not say."""
    base: str | None = None
    """Name of the folder that the first stage started from."""
    base_sha256: str | None = None
    """Its hash."""
    stages: tuple[StageFacts, ...] = ()
    """In order."""
    releases: tuple[ReleaseFacts, ...] = ()
    """What its rows come from."""
    versions: dict[str, str] = {}
    """Of the packages that wrote the weights."""


def release_facts(name: str, folder: str | os.PathLike[str]) -> ReleaseFacts:
    """The facts of a release, from its manifest.

    Raises:
        ReadError: It is no finished release.
    """
    told = read_manifest(folder, "release")
    counts = told.get("counts", {})
    return ReleaseFacts(
        name=name,
        sha256=told["sha256"],
        splits=counts.get("split", {}),
        train={
            key.removeprefix("train / "): count
            for key, count in counts.get("split_axis_origin", {}).items()
            if key.startswith("train / ")
        },
        licences=told.get("licences", {}),
        redistributable=told.get("redistributable"),
    )


def facts_before(base: Path, base_sha256: str, releases: Mapping[str, Path]) -> CardFacts:
    """What is known before a stage begins; a base that SpineMed trained brings its own stages along.

    Args:
        base: The folder that the stage starts from.
        base_sha256: Hash of its files.
        releases: Folders of the stage's mixture, by name.
    """
    try:
        told = card_facts(base)
    except RecordError:
        told = None  # another version's facts, or a stranger's: they are left out and stop no training
    made_of = tuple(release_facts(name, folder) for name, folder in sorted(releases.items()))
    if told is None or not told.stages:
        return CardFacts(made="", licence=licence_of(base), base=base.name, base_sha256=base_sha256, releases=made_of)
    known = {release.sha256 for release in told.releases}
    new = tuple(release for release in made_of if release.sha256 not in known)
    return told.model_copy(update={"made": "", "releases": (*told.releases, *new)})


def facts_after(before: CardFacts, made: str, stage: StageFacts) -> CardFacts:
    """The facts with one more stage, and the sentence that says what was made."""
    return before.model_copy(update={"made": made, "stages": (*before.stages, stage)})


def card_facts(folder: str | os.PathLike[str]) -> CardFacts | None:
    """The facts that a checkpoint's card carries; None where it has no card, or one that holds none.

    Raises:
        RecordError: The header is damaged.
    """
    file = Path(folder) / CARD
    header = _header(file)
    if "spinemed" not in header:
        return None
    try:
        return CardFacts.model_validate(header["spinemed"])
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RecordError(
            f"holds no facts of a model: {error.errors()[0]['msg']}", file=file, field=f"spinemed.{place}",
            cure="write the checkpoint again",
        ) from error  # fmt: skip


def licence_of(folder: str | os.PathLike[str]) -> str:
    """The licence that a checkpoint's card states; `other` where it states none."""
    stated = _header(Path(folder) / CARD).get("license")
    return stated if isinstance(stated, str) else "other"


def writers() -> dict[str, str]:
    """Versions of the packages that shape a saved model."""
    from spinemed.run import versions

    return {name: number for name, number in versions().items() if name in _WRITERS}


def _header(file: Path) -> dict[str, Any]:
    """The YAML header of a card; empty where there is none, or none that can be read: a base's page is anybody's."""
    if not file.is_file():
        return {}
    with open(file, encoding="utf-8", errors="replace") as stream:
        text = stream.read(_LONGEST)
    if not text.startswith("---\n") or "\n---\n" not in text[4:]:
        return {}
    try:
        header = yaml.safe_load(text[4:].split("\n---\n")[0])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def model_card(
    facts: CardFacts,
    *,
    adapter: bool = False,
    rates: Iterable[str] = (),
    hardware: Iterable[str] = (),
) -> str:
    """The page in Markdown, with a header that the Hugging Face Hub reads.

    Args:
        facts: What the model is made of.
        adapter: Whether the folder holds an adapter, not whole weights.
        rates: Lines of the failure rates; "not measured" where there are none.
        hardware: Lines on machine and time; a pointer to the run folder where there are none.
    """
    header: dict[str, Any] = {"license": facts.licence}
    if facts.licence == "other":
        header["license_name"] = "as-the-base-and-the-data"
    header |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["spine", "radiology", "research-use-only"],
        "spinemed": facts.model_dump(mode="json"),
    }
    versions = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip("\n"),
        "---",
        "",
        "# Model card",
        "",
        facts.made,
        "",
        NOT_A_DEVICE,
        "",
        "## Base",
        "",
        f"- Base: {f'`{facts.base}`' if facts.base else UNKNOWN}; hash {facts.base_sha256 or UNKNOWN}.",
        f"- Licence of the weights: {facts.licence}.",
        "",
        "## Training data",
        "",
        *_data(facts),
        "",
        "## Training",
        "",
        *_training(facts),
        *(hardware or ["- Hardware and time: `run.json` and `ledger.jsonl` of the training run."]),
        f"- Software: {versions or UNKNOWN}.",
        "",
        "## Intended users and use",
        "",
        *(f"- {point}" for point in (*INTENDED_USERS, *INTENDED_USE)),
        "",
        "## Out of scope",
        "",
        *(f"- {point}" for point in OUT_OF_SCOPE),
        "",
        "## Known failure rates",
        "",
        *(list(rates) or _UNMEASURED),
    ]
    return "\n".join(lines) + "\n"


_UNMEASURED = [
    "Not measured: no scores were given to this card. Answer and score a benchmark, then write the card again with",
    "`spinemed train card --checkpoint FOLDER --scores SCORES --out README.md`.",
]


def _data(facts: CardFacts) -> list[str]:
    if not facts.releases:
        return [f"- Releases: {UNKNOWN}."]
    lines = []
    for release in facts.releases:
        phantoms = sum(count for key, count in release.train.items() if key.endswith("/ phantom"))
        total = sum(release.train.values())
        lines += [
            f"- Release `{release.name}`: sha256 {release.sha256}; by split: {_listed(release.splits) or UNKNOWN}.",
            "- Its datasheet (`DATASHEET.md`) names sources, checks and gaps, and its `index.jsonl` every row by id.",
            f"- Its training rows by axis and origin: {_listed(release.train) or UNKNOWN}"
            + (f". Computed phantoms: {phantoms} of {total} ({100 * phantoms / total:.1f} %)." if total else "."),
            f"- Its licences by row: {_listed(release.licences) or UNKNOWN}"
            + ("; not to be handed on as a whole." if release.redistributable is False else "."),
        ]
    return [*lines, f"- {PHANTOM_STATEMENT}"]


def _training(facts: CardFacts) -> list[str]:
    lines = []
    for stage in facts.stages:
        left = _listed(stage.rows_left_out) or "none"
        lines.append(
            f"- Stage `{stage.name}`: {stage.method}, {stage.steps} steps of {stage.rows_per_step}, seed {stage.seed}. "
            f"Rows read: {stage.rows_read}, left out: {left}. Settings: {stage.settings_sha256}."
        )
    return lines or [f"- Stages: {UNKNOWN}."]


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def write_card(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    scores: str | os.PathLike[str] | None = None,
    reports: str | os.PathLike[str] | None = None,
    system: str | None = None,
) -> Path:
    """Write the card of a checkpoint, with failure rates where scores are given.

    Args:
        checkpoint: Model or adapter folder.
        out: The page to write; it may be the checkpoint's own `README.md` where no manifest lists that.
        scores: Folder of `spinemed bench score` or `spinemed bench run`.
        reports: Folder of `spinemed bench facts`.
        system: Name in the scores, for a model that was asked through a server and has no checkpoint hash there.

    Raises:
        ReadError, RecordError: A folder is not what it should be, or the scores are another model's.
        ConfigError: `out` would change a finished folder of a run.
    """
    from spinemed.vlm.load import checkpoint_hash, is_adapter

    folder, target = Path(checkpoint), Path(out)
    if not ((folder / "config.json").is_file() or is_adapter(folder)):
        raise ReadError("holds no checkpoint", file=folder, cure="give a model folder or an adapter folder")
    if target.resolve().parent == folder.resolve() and (folder / MANIFEST).is_file():
        raise ConfigError(
            "would change a folder whose manifest lists every file", field="--out",
            cure="write the card elsewhere, or export the model first (`spinemed train export`)",
        )  # fmt: skip
    facts = card_facts(folder) or CardFacts(made=f"The model in `{folder.resolve().name}`.", licence=licence_of(folder))
    digest = checkpoint_hash(folder)
    rates = [
        *(rates_of_scores(Path(scores), digest, system) if scores is not None else ()),
        *(rates_of_reports(Path(reports), system) if reports is not None else ()),
    ]
    hardware = _hardware(folder)
    write_text(target, model_card(facts, adapter=is_adapter(folder), rates=rates, hardware=hardware))
    return target


def _hardware(folder: Path) -> list[str]:
    """Machine and time of the run that a checkpoint stands in; nothing where it stands alone."""
    run = folder.resolve().parent.parent
    about, ledger = run / "run.json", run / "ledger.jsonl"
    if folder.resolve().parent.name != "outputs" or not about.is_file():
        return []
    try:
        told = parse_json(about.read_bytes())
        done = [parse_json(line) for line in ledger.read_bytes().splitlines()] if ledger.is_file() else []
        devices = {stage.name: stage.about.get("device", "cpu") for stage in read_journal(run)[0]}
        kind = re.match(r"([A-Za-z]+).*?(x86_64|aarch64|arm64|AMD64)", told["platform"])
        machine = f"{kind[1]} {kind[2]}" if kind else told["platform"]
        lines = [f"- Machine: {machine}, {told['cpu_count']} processors; config {told['config_sha256']}."]
        for line in done:
            since = f" from step {line['from_step']}" if line["from_step"] else ""
            device, many = devices.get(line["stage"], "cpu"), "es" if line["processes"] > 1 else ""
            lines.append(
                f"- Stage `{line['stage']}` ran on {device}: {line['seconds']:.0f} s{since}, "
                f"{line['processes']} process{many}, {line['tokens']} tokens."
            )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            "is not the record of a run", file=about, cure="move the checkpoint out of the run"
        ) from error
    return lines
