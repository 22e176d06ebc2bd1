"""Corrected levels out of a review: masks and centroids as VerSe lays them out, for the next run.

Convention: `levels/sub-HANDLE/` holds the latest version of one series: `_seg-vert_msk.nii.gz`, `_seg-subreg_ctd.json`
and `correction.json` (scan, its hash, version, steps, who by pseudonym, why). With the scan beside them under the name
that `correction.json` gives as `put_scan_as`, `levels/` is a source of kind `verse`.

Trap: a folder of a version without a row is none (its transaction failed): the centroids' hash in the row tells.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.store.tables import LevelCorrection, User, Volume
from spinemed.tables import file_sha256, parse_json, write_bytes, write_json

__all__ = ["write_levels"]


def write_levels(session: Session, data: Path, out: Path, counts: Counter[str]) -> None:
    """Write the latest version of every corrected series into `out`, one folder each.

    Args:
        session: A reading session.
        data: The review's data folder, where the viewer keeps versions.
        out: A folder; made when there is a correction.
        counts: Series written, and those whose files are gone or are not what was stored.
    """
    rows = session.execute(
        select(LevelCorrection, Volume, User.pseudonym)
        .join(Volume, Volume.handle == LevelCorrection.handle)
        .join(User, User.id == LevelCorrection.made_by)
        .order_by(LevelCorrection.handle, LevelCorrection.number)
    ).all()
    for row, volume, name in {row.handle: (row, volume, name) for row, volume, name in rows}.values():
        case = f"sub-{row.handle[:16]}"
        mask, centroids = f"{case}_seg-vert_msk.nii.gz", f"{case}_seg-subreg_ctd.json"
        found = [
            folder
            for folder in sorted((data / "levels" / row.handle).glob(f"v{row.number:04d}-*"))
            if all((folder / part).is_file() for part in (mask, centroids, "correction.json"))
            and file_sha256(folder / centroids) == row.centroids_sha256
        ]
        if not found:
            counts["levels left out: no files of the stored version"] += 1
            continue
        for part in (mask, centroids):
            write_bytes(out / case / part, (found[0] / part).read_bytes())
        told = parse_json((found[0] / "correction.json").read_bytes())
        ending = ".nii.gz" if volume.name.endswith(".gz") else ".nii"
        facts = {
            "source_id": volume.source_id, "scan": volume.name, "scan_sha256": volume.sha256,
            "put_scan_as": f"{case}_ct{ending}", "by": name, "at": row.made_at, "why": row.reason,
        }  # fmt: skip
        write_json(out / case / "correction.json", {**told, **facts})
        counts["levels corrected"] += 1
