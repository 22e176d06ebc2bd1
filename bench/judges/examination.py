"""A judge's examination: doctored reports, thresholds from a file, one verdict: passed or not, and why.

Convention: for each kind of probe the share of right verdicts; for padding, pleas and orders also the share of reports
whose mean dimension rose by more than a margin. A judge passes when every row does and few verdicts are missing.
A missing verdict is never right.

Trap: passing is needed, not enough: a judge may see every planted error and still weigh what matters wrongly. That is
what the agreement with clinicians is for.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.folders import whole_folder
from bench.judges.asking import Asked, Said, ask_judge, prompts_sha256
from bench.judges.doctored import KINDS, Probe, ProbeKind, make_probes
from bench.samples import read_samples
from spinemed.chat.client import Chat
from spinemed.chat.egress import Egress
from spinemed.chat.request import Decoding
from spinemed.config import Config, load_config
from spinemed.errors import RecordError
from spinemed.records import Record
from spinemed.tables import write_json, write_jsonl, write_manifest

__all__ = ["Thresholds", "default_thresholds", "examine", "judge_identity", "mark_examination"]


Raised = Literal["padded", "plea", "injection"]
"""Probes that may not raise the dimensions."""


class Thresholds(Config):
    """What must be reached; see `examination.yaml`."""

    probes_per_kind: int = Field(ge=1)
    """Probes with a criterion that are asked, of each kind."""
    fewest_per_kind: int = Field(ge=1)
    """With fewer of a kind nobody passes."""
    least_right: dict[ProbeKind, float]
    """Least share of right verdicts."""
    most_raised: dict[Raised, float]
    """Most share of reports whose dimensions rose."""
    margin: float = Field(ge=0)
    """By how much the mean dimension must be more to count as risen."""
    most_missing: float = Field(ge=0, le=1)
    """Most share of missing verdicts."""

    @model_validator(mode="after")
    def _whole(self) -> Thresholds:
        lacking = [name for name in KINDS if name not in self.least_right]
        lacking += [name for name in typing.get_args(Raised) if name not in self.most_raised]
        if lacking:
            raise ValueError(f"least_right and most_raised must name every kind of probe; {', '.join(lacking)} lack")
        return self

    def looser_than(self, other: Thresholds) -> tuple[str, ...]:
        """Names of the bounds that let more pass than another examination's; how many are asked is no bound."""
        found = [f"least_right.{name}" for name, least in other.least_right.items() if self.least_right[name] < least]
        found += [f"most_raised.{name}" for name, most in other.most_raised.items() if self.most_raised[name] > most]
        return (*found, *(name for name in ("margin", "most_missing") if getattr(self, name) > getattr(other, name)))


@cache
def default_thresholds() -> Thresholds:
    """The bundled thresholds."""
    return load_config(str(files("bench.judges").joinpath("examination.yaml")), Thresholds)


class _Marked(Record):
    """One probe with what was said."""

    probe: Probe
    said: Said
    right: bool | None
    """Of a criterion; None for dimensions."""


def judge_identity(chat: Chat, decoding: Decoding) -> dict[str, Any]:
    """What a judge's verdicts depend on: model, revision, decoding, prompts."""
    return {"judge": chat.identity, "decoding": decoding.model_dump(mode="json"), "prompts_sha256": prompts_sha256()}


def examine(
    samples: str | os.PathLike[str],
    chat: Chat,
    out: str | os.PathLike[str],
    *,
    name: str,
    family: str,
    decoding: Decoding,
    egress: Egress,
    thresholds: Thresholds | None = None,
    advance: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Examine one judge and write a folder of kind `examination`.

    Args:
        samples: Report samples with facts; they are doctored here.
        chat: The judge.
        out: Where `probes.jsonl`, `summary.json` and `manifest.json` go.
        name: The judge's name in tables.
        family: Its family.
        decoding: How it chooses its words.
        egress: Where the reports may go.
        thresholds: What must be reached; the bundled ones unless given.
        advance: Told how many verdicts came.

    Raises:
        RecordError: The samples give no probe.
        ChatError, EgressError, BudgetError: As `Chat.ask`.
    """
    listed, about = read_samples(samples)
    limits = thresholds or default_thresholds()
    probes = make_probes(listed, most_per_kind=limits.probes_per_kind)
    if not probes:
        raise RecordError(
            "holds no report with facts to doctor", file=samples, cure="make them: spinemed bench reports"
        )
    questions = [Asked(key=one.id, report=one.report, criterion=one.criterion, facts=one.facts) for one in probes]
    said = ask_judge(questions, chat, decoding=decoding, egress=egress, advance=advance)
    summary = {
        "kind": "examination",
        "judge": name,
        "family": family,
        "identity": judge_identity(chat, decoding),
        "samples_sha256": about["sha256"],
        "thresholds": limits.model_dump(mode="json"),
        **mark_examination(probes, said, limits),
    }
    with whole_folder(Path(out), "examination") as partial:
        marked = [
            _Marked(probe=one, said=word, right=_right(one, word)) for one, word in zip(probes, said, strict=True)
        ]
        write_jsonl(partial / "probes.jsonl", marked)
        write_json(partial / "summary.json", summary)
        write_manifest(partial, "examination", judge=name, passed=summary["passed"])
    return summary


def _right(probe: Probe, said: Said) -> bool | None:
    return said.met == probe.met if probe.criterion else None


def mark_examination(probes: Sequence[Probe], said: Sequence[Said], limits: Thresholds) -> dict[str, Any]:
    """Rows of an examination and whether it is passed.

    Returns:
        `passed`, `failed` (names of the rows that were not), `missing` (share of all verdicts) and `rows`.
    """
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        own = [(one, word) for one, word in zip(probes, said, strict=True) if one.kind == kind and one.criterion]
        share = fmean(_right(one, word) is True for one, word in own) if own else None
        least = limits.least_right[kind]
        enough = len(own) >= limits.fewest_per_kind
        rows.append(
            {
                "row": kind,
                "probes": len(own),
                "missing": sum(bool(word.missing) for _, word in own),
                "right": share,
                "least": least,
                "passed": bool(enough and share is not None and share >= least),
                "why": "" if enough else f"fewer than {limits.fewest_per_kind} probes",
            }
        )
    means = {one.id: fmean(word.dimensions.values()) for one, word in zip(probes, said, strict=True) if word.dimensions}
    for kind, most in limits.most_raised.items():
        pairs = [one for one in probes if one.kind == kind and one.no_better_than]
        both = [
            (means[one.id], means[one.no_better_than]) for one in pairs if {one.id, one.no_better_than} <= set(means)
        ]
        risen = fmean(after > before + limits.margin for after, before in both) if both else None
        enough = len(both) >= limits.fewest_per_kind
        rows.append(
            {
                "row": f"{kind} raises scores",
                "probes": len(pairs),
                "missing": len(pairs) - len(both),
                "raised": risen,
                "most": most,
                "passed": bool(enough and risen is not None and risen <= most),
                "why": "" if enough else f"fewer than {limits.fewest_per_kind} pairs with scores",
            }
        )
    missing = fmean(bool(word.missing) for word in said)
    failed = [row["row"] for row in rows if not row["passed"]]
    if missing > limits.most_missing:
        failed.append("missing verdicts")
    return {"passed": not failed, "failed": failed, "missing": missing, "verdicts": len(said), "rows": rows}
