"""A correction stored: the VerSe files of the new version, the row, and the items opened again.

Convention: the new version lies in `levels/<handle>/v<number>-<hash>/` of the data folder: mask and centroids in
VerSe's subject layout and `correction.json`. Its name carries the hash of what is in it, so a version whose
transaction failed is never mistaken for another one.

Trap: the files are written before the row, outside the database's write lock; a folder without a row is no version.
"""

from __future__ import annotations

from typing import Any

from data_pipeline.review.errors import RefusedError
from data_pipeline.review.protocol.access import Actor, clean_text, require
from data_pipeline.review.protocol.studies import correct_levels
from data_pipeline.review.store import Store
from data_pipeline.review.viewer import service
from data_pipeline.review.viewer.corrections import Labelling, write_version
from data_pipeline.review.viewer.operations import apply_operations, describe, parse_operations
from data_pipeline.review.viewer.shelf import Shelf
from spinemed.records import content_hash

__all__ = ["save_levels"]


def save_levels(store: Store, actor: Actor, handle: str, body: dict[str, Any], shelf: Shelf) -> dict[str, Any]:
    """Work out, write and store a correction.

    Args:
        store: The review.
        actor: Who corrects.
        handle: Of the image.
        body: `operations`, `base` (version they start from), `reason`, `token`.
        shelf: Where the mask is held.

    Returns:
        Levels, version and how many items were opened again, for the browser.

    Raises:
        AbsentError: no such series, or none that the actor may see.
        AccessError: an auditor, who changes nothing.
        StaleError: somebody else corrected it meanwhile.
        RefusedError: no reason, or steps that are none.
        LevelError, VolumeError: a step breaks a rule of the spine.
    """
    require(actor, "reviewer", "adjudicator", "data_manager")
    reason = clean_text(body.get("reason"), "reason", most=500, needed=True).strip()
    base, token = body.get("base"), body.get("token")
    if not isinstance(base, int) or isinstance(base, bool) or not isinstance(token, str):
        raise RefusedError("the version or the token is missing", field="base", cure="reload the page")
    steps = parse_operations(body.get("operations"))
    with store.reading() as session:
        series = service.find_series(session, actor, handle)
    plain = [step.model_dump(mode="json") for step in steps]
    if base == series.version:
        before = service.current_labelling(series, shelf)
        after = apply_operations(before, steps)
        imported = service.imported_labelling(series, shelf)
        labels = {str(old.verse_label): new.verse_label for old, new in zip(imported.levels, after.levels, strict=True)}
        levels = [[str(level), *(round(float(v), 3) for v in point)] for level, point in after.centroids.items()]
        facts = {"steps": [describe(step) for step in steps], "operations": plain, "starts_from": base}
        centroids = _write(store, series, after, base + 1, facts)
    else:  # told again after it was stored, or stale: the service knows which
        labels, levels, centroids, after = {}, [], b"", None
    with store.writing() as session:
        done = correct_levels(
            session, actor, handle, operations=plain, levels=levels, centroids=centroids, labels=labels, base=base,
            token=token, reason=reason,
        )  # fmt: skip
    if after is None:
        with store.reading() as session:
            after = service.current_labelling(service.find_series(session, actor, handle), shelf)
    return {**service.labelling_told(after, done.number), "reopened": done.reopened}


def _write(store: Store, series: service.Series, after: Labelling, number: int, facts: dict[str, Any]) -> bytes:
    """The files of a version; returns the centroid file."""
    case = f"sub-{series.handle[:16]}"
    what = content_hash(
        {**facts, "levels": [[str(level), *map(float, point)] for level, point in after.centroids.items()]}
    )
    folder = store.data / "levels" / series.handle / f"v{number:04d}-{what[:12]}"
    if not folder.is_dir():
        told = {**facts, "version": number, "image_sha256": series.sha256}
        if series.mask is not None:
            told["mask_sha256"] = series.mask[1]
        write_version(after, folder, case, told)
    return (folder / f"{case}_seg-subreg_ctd.json").read_bytes()
