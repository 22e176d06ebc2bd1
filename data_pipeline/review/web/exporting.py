"""Exports from the page of data managers: signed, into the server's own folder, each under the number of its log row.

Convention: `DATA/exports/review-NNNNNN/` is what :func:`data_pipeline.review.exchange.verdicts.export_review` writes;
the number is that of the signature in the log, so the export holds the signature it was released under.

Trap: no name comes from the browser. A download names an export by its number and a file by one of a closed list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from data_pipeline.review.audit import head
from data_pipeline.review.errors import AbsentError
from data_pipeline.review.exchange.verdicts import export_review
from data_pipeline.review.protocol.access import Actor, require
from data_pipeline.review.protocol.signatures import Proof, sign
from data_pipeline.review.store import Store
from spinemed.tables import read_manifest

__all__ = ["FILES", "Exported", "FileName", "export_file", "list_exports", "sign_and_export"]

FileName = Literal[
    "verdicts.jsonl", "held.jsonl", "reviewers.jsonl", "sign_offs.jsonl", "guidance.yaml", "audit.jsonl", "head.json"
]  # fmt: skip
FILES: tuple[str, ...] = get_args(FileName)
_NAME = re.compile(r"review-([0-9]{6,10})")


@dataclass(frozen=True)
class Exported:
    """One export on disk."""

    number: int
    folder: Path
    counts: dict[str, Any]
    files: tuple[str, ...]


def _home(store: Store) -> Path:
    return store.data / "exports"


def list_exports(store: Store, actor: Actor) -> list[Exported]:
    """Exports on disk, newest first.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    out = []
    for folder in sorted(_home(store).glob("review-*"), reverse=True):
        found = _NAME.fullmatch(folder.name)
        if found and (folder / "manifest.json").is_file():
            files = tuple(name for name in FILES if (folder / name).is_file())
            counts = dict(read_manifest(folder, "reviews").get("counts") or {})
            out.append(Exported(int(found[1]), folder, counts, files))
    return out


def sign_and_export(store: Store, actor: Actor, proof: Proof, *, why: str = "") -> int:
    """Sign the state of the review as released and write it out; returns the export's number.

    Raises:
        AccessError: The actor is no data manager, or the proof is another's.
        ReviewError: The log was tampered with.
    """
    require(actor, "data_manager")
    with store.writing() as session:
        state = head(session)
        sign(
            session, actor, proof, "released", object_kind="review", object_id="export",
            new={"log": state.seq, "sha256": state.sha256}, why=why,
        )  # fmt: skip
        number = head(session).seq
    export_review(store, _home(store) / f"review-{number:06d}", actor)
    return number


def export_file(store: Store, actor: Actor, number: int, name: FileName) -> Path:
    """The path of one file of an export.

    Raises:
        AbsentError: There is no such export or file.
        AccessError: The actor is no data manager and no auditor.
    """
    for one in list_exports(store, actor):
        if one.number == number and name in one.files:
            return one.folder / name
    raise AbsentError("there is no such export")
