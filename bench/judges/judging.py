"""Reports of several systems before several judges: verdicts, points, agreement, and which judges count.

Convention: a judges' folder (kind `judges`) holds `verdicts.jsonl` (one :class:`Verdict` a line), `summary.json`
(layout in :mod:`bench.judges.summary`) and `manifest.json`. A judge asks each rubric item by itself and the ten
dimensions together. A report whose items are not all answered has no points from that judge: a missing verdict is a
missing value. A judge counts when it passed its examination with the same identity and prompts, its family is that of
no contestant, draft writer or reviser, and it gave at least 98 % of its verdicts on every system.

Trap: with fewer than two counting judges nobody has a rank from judges. The fact-level score needs none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.folders import whole_folder
from bench.judges.asking import Asked, ask_judge
from bench.judges.examination import Thresholds, default_thresholds, judge_identity
from bench.judges.families import family_of
from bench.reports.scoring import derive_rubric
from bench.runner import Predictions, read_systems
from bench.samples import read_samples
from spinemed.chat.client import Chat
from spinemed.chat.egress import LOCAL, Egress
from spinemed.chat.request import Decoding
from spinemed.chat.server import ServerConfig
from spinemed.config import Config
from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.records import DIMENSIONS, ReaderScore, Record, Sample
from spinemed.tables import parse_json, read_jsonl, read_manifest, write_json, write_jsonl, write_manifest

__all__ = ["FEWEST_JUDGES", "LEAST_COVERAGE", "Bench", "JudgeConfig", "JudgesConfig", "Verdict", "judge_reports"]

FEWEST_JUDGES = 2
LEAST_COVERAGE = 0.98
_NO_MODEL = frozenset({"scripted", "majority", "random"})


class JudgeConfig(Config):
    """One judge."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}$")
    """In tables and folders."""
    server: ServerConfig
    """Where it is served."""
    family: str = ""
    """Its family; read from the model's name unless given."""


class JudgesConfig(Config):
    """Who judges whom, and how."""

    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    """At least two have to count for a rank."""
    decoding: Decoding = Decoding(max_tokens=512)
    """How judges choose their words."""
    egress: Egress = LOCAL
    """Where reports may go."""
    writers: tuple[str, ...] = ()
    """Models that drafted or revised the cases; judges of their families do not count."""
    families: dict[str, str] = Field(default_factory=dict)
    """Families of models whose names do not tell."""
    dimensions: bool = True
    """Whether the ten dimensions are asked, besides the rubric."""
    seed: int = Field(default=0, ge=0)
    """Of bootstrap and tests."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap samples."""


class Verdict(Record):
    """What one judge said to one question about one report."""

    judge: str
    """Name of the judge."""
    system: str
    """System whose report was judged."""
    sample_id: str
    """The case."""
    item: str
    """Id of a rubric item, or a dimension."""
    value: int | None
    """1 or 0 for an item, 1 to 5 for a dimension; None where the verdict is missing."""
    missing: str = ""
    """Why there is no verdict; empty where there is one."""


class Bench(Record):
    """One judge and whether it counts."""

    name: str
    """Name of the judge."""
    model: str
    """The judge's model."""
    family: str
    """Family of that model."""
    identity: dict[str, Any]
    """What its replies depend on besides the request."""
    examined: bool
    """An examination of this very judge was given."""
    passed: bool
    """Whether it passed the examination."""
    loose: tuple[str, ...] = ()
    """Bounds of its examination that are looser than the bundled ones."""
    kin: tuple[str, ...]
    """Contestants and writers of its family."""
    coverage: dict[str, float]
    """Share of verdicts given, by system."""

    @property
    def why_not(self) -> str:
        """Why it does not count; empty where it does."""
        if self.kin:
            return f"of the family of {', '.join(self.kin)}"
        if not self.examined:
            return "not examined"
        if not self.passed:
            return "failed its examination"
        if self.loose:
            return f"its examination was easier than the bundled one ({', '.join(self.loose)})"
        short = sorted(name for name, share in self.coverage.items() if share < LEAST_COVERAGE)
        return f"gave fewer than {LEAST_COVERAGE:.0%} of its verdicts on {', '.join(short)}" if short else ""


def judge_reports(
    config: JudgesConfig,
    samples: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    chats: Mapping[str, Chat],
    examinations: Sequence[str | os.PathLike[str]] = (),
    readers: str | os.PathLike[str] | None = None,
    advance: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Let all judges judge all reports and write a folder of kind `judges`.

    Args:
        config: Judges and settings.
        samples: Reports.
        predictions: A folder or file for each system.
        out: The folder.
        chats: An open client for each judge, by name.
        examinations: Finished examinations.
        readers: `reader_scores.jsonl` of a reader study on the same samples.
        advance: Told how many verdicts came.

    Raises:
        ConfigError: Two judges share a name, or a model's family is not known and not declared.
        RecordError: A sample is no report or was not answered, a system answered another samples folder, or
            under another condition than `full`.
        ChatError, EgressError, BudgetError: As `Chat.ask`.
    """
    from bench.judges.summary import summarise_judges

    names = [judge.name for judge in config.judges]
    if len(set(names)) != len(names):
        raise ConfigError(f"two judges are called {max(names, key=names.count)}", field="judges", cure="rename one")
    listed, about = read_samples(samples)
    strange = next((sample for sample in listed if sample.task != "report"), None)
    if strange is not None:
        raise RecordError(f"sample {strange.id} is a {strange.task}", field="task", cure="give reports alone")
    systems = read_systems(predictions, about["sha256"], condition="full")
    families = _families(config, systems)
    passed = _examinations(examinations)
    verdicts: list[Verdict] = []
    benches: list[Bench] = []
    for judge in config.judges:
        chat = chats[judge.name]
        given = _ask(judge.name, chat, listed, systems, config, advance)
        verdicts += given
        identity = judge_identity(chat, config.decoding)
        family = judge.family or family_of(judge.server.model, config.families)
        key = json.dumps(identity, sort_keys=True)
        benches.append(
            Bench(
                name=judge.name,
                model=judge.server.model,
                family=family,
                identity=identity,
                examined=key in passed,
                passed=key in passed and passed[key][0],
                loose=passed[key][1] if key in passed else (),
                kin=tuple(sorted(name for name, other in families.items() if other == family)),
                coverage={
                    system.name: _coverage([one for one in given if one.system == system.name]) for system in systems
                },
            )
        )
    scores = list(read_jsonl(readers, ReaderScore)) if readers is not None else []
    summary = summarise_judges(config, listed, systems, verdicts, benches, scores)
    summary["samples_sha256"] = about["sha256"]
    with whole_folder(Path(out), "judges") as partial:
        write_jsonl(partial / "verdicts.jsonl", verdicts)
        write_json(partial / "summary.json", summary)
        write_manifest(partial, "judges", samples_sha256=about["sha256"], judges=names)
    return summary


def _families(config: JudgesConfig, systems: Sequence[Predictions]) -> dict[str, str]:
    """Families of contestants and writers, by name; scripts and baselines are no models."""
    found = {name: family_of(name, config.families) for name in config.writers}
    for system in systems:
        if system.manifest["answerer"] not in _NO_MODEL:
            found[system.name] = family_of(str(system.manifest["model"]), config.families)
    return found


def _examinations(folders: Sequence[str | os.PathLike[str]]) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """By identity: passed or not, and the bounds that were looser than the bundled ones."""
    found = {}
    for folder in folders:
        read_manifest(folder, "examination", verify=True)
        file = Path(folder) / "summary.json"
        try:
            summary = parse_json(file.read_bytes())
            loose = Thresholds.model_validate(summary["thresholds"]).looser_than(default_thresholds())
            found[json.dumps(summary["identity"], sort_keys=True)] = bool(summary["passed"]), loose
        except (ValueError, KeyError) as error:
            raise ReadError(f"is no examination ({error})", file=file, cure="examine the judge again") from error
    return found


def _ask(
    name: str,
    chat: Chat,
    samples: Sequence[Sample],
    systems: Sequence[Predictions],
    config: JudgesConfig,
    advance: Callable[[int], None],
) -> list[Verdict]:
    """All verdicts of one judge; reports that are no reply are not asked."""
    questions: list[Asked] = []
    places: list[tuple[str, str, str]] = []
    for system in systems:
        for sample in samples:
            if sample.id not in system.by_sample:
                raise RecordError(
                    f"{system.name} lacks report {sample.id}", file=system.folder, cure="answer all samples"
                )
            prediction = system.by_sample[sample.id]
            if prediction.outcome != "answered":
                continue
            for item in sample.rubric or derive_rubric(sample.facts):
                key = f"{system.name}/{sample.id}/{item.id}"
                facts = sample.facts if item.error else ()
                questions.append(Asked(key=key, report=prediction.text, criterion=item.criterion, facts=facts))
                places.append((system.name, sample.id, item.id))
            if config.dimensions:
                needed = tuple(fact for fact in sample.facts if fact.needed)
                questions.append(Asked(key=f"{system.name}/{sample.id}", report=prediction.text, facts=needed))
                places.append((system.name, sample.id, ""))
    said = ask_judge(questions, chat, decoding=config.decoding, egress=config.egress, advance=advance)
    verdicts = []
    for (system_name, sample_id, item_id), word in zip(places, said, strict=True):
        common: dict[str, Any] = {"judge": name, "system": system_name, "sample_id": sample_id}
        if item_id:
            value = None if word.met is None else int(word.met)
            verdicts.append(Verdict(**common, item=item_id, value=value, missing=word.missing))
        else:
            verdicts += [
                Verdict(**common, item=dimension, value=word.dimensions.get(dimension), missing=word.missing)
                for dimension in DIMENSIONS
            ]
    return verdicts


def _coverage(verdicts: Sequence[Verdict]) -> float:
    """Share of verdicts that were given; 1 where nothing was asked."""
    return sum(one.value is not None for one in verdicts) / len(verdicts) if verdicts else 1.0
