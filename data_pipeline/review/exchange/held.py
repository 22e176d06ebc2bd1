"""What waits in quarantine into the de-identification queue: records of `spinemed data deidentify` that are not clean.

Trap: the words and pictures stay in `held/`, readable by their owner only; the database gets record, hash and name.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import select

from data_pipeline.deidentify.status import DeidRecord
from data_pipeline.review.audit.chain import append
from data_pipeline.review.protocol.access import SYSTEM, Actor, require
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import DeidItem
from spinemed.tables import read_jsonl, read_manifest

__all__ = ["held_name", "import_held"]

_ID = re.compile(r"(case-[0-9a-f]+)/(notes|images)/(\d+)(?:#\d+)?")
_NAMES = {"notes": "{0}-note-{2}.txt", "images": "{0}-image-{2}.dcm"}


def held_name(record_id: str) -> str:
    """The file within `held/` that a record is about; empty where the id is of no such file."""
    match = _ID.fullmatch(record_id)
    return "" if match is None else _NAMES[match[2]].format(*match.groups())


def import_held(store: Store, folder: Path, actor: Actor = SYSTEM) -> int:
    """Queue every record of a de-identified export that is not clean; those queued before stay as they are.

    Returns:
        How many were new.

    Raises:
        AccessError: The actor is no data manager.
        ReadError: The folder is not what `spinemed data deidentify` wrote.
    """
    require(actor, "data_manager")
    read_manifest(folder, "deidentified")
    home = str(folder.resolve())
    new = 0
    with store.writing() as session:
        known = {
            (row.record_id, row.kind, row.result_sha256)
            for row in session.execute(
                select(DeidItem.record_id, DeidItem.kind, DeidItem.result_sha256).where(DeidItem.folder == home)
            )
        }
        for record in read_jsonl(folder / "deid.jsonl", DeidRecord):
            key = (record.id, record.kind, record.result_sha256)
            if record.status == "clean" or key in known:
                continue
            known.add(key)
            name = held_name(record.id)
            session.add(
                DeidItem(
                    folder=home, record_id=record.id, kind=record.kind, result_sha256=record.result_sha256,
                    held_name=name if name and (folder / "held" / name).is_file() else "", method=record.method,
                    open_points=list(record.open_points), counts=dict(record.counts),
                )
            )  # fmt: skip
            new += 1
        append(session, actor.pseudonym, "import held", "quarantine", folder.resolve().name, new={"queued": new})
    return new
