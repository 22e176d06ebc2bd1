"""A part of a samples folder, to try things out: marked so in its manifest, and ranked nowhere.

Convention: the questions are drawn by the hash of their ids, so the same limit takes the same questions and a larger
one keeps those of a smaller. `limited` in the manifest says how many of how many.

Trap: a part has its own hash; predictions on it are not predictions on the whole, and scoring refuses to mix them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from bench.folders import whole_folder
from bench.samples import SAMPLES_FILE, modality_of, read_samples
from spinemed.errors import ConfigError, ReadError
from spinemed.tables import MANIFEST, read_manifest, write_jsonl, write_manifest

__all__ = ["limit_samples"]


def limit_samples(samples: str | os.PathLike[str], out: str | os.PathLike[str], *, limit: int) -> dict[str, Any]:
    """Write a samples folder of at most `limit` questions; one that is there already stays.

    Returns:
        Its manifest. With a limit at or above the number of questions it is marked all the same.

    Raises:
        ConfigError: The limit is below 1.
        ReadError: The folder is damaged, or `out` holds another part.
    """
    if limit < 1:
        raise ConfigError("asks for no question", field="--limit", cure="give 1 or more")
    listed, about = read_samples(samples)
    source, target = Path(samples), Path(out)
    mark = {"questions": min(limit, len(listed)), "of": len(listed), "of_sha256": about["sha256"]}
    if (target / MANIFEST).is_file():
        known = read_manifest(target, "samples")
        if known.get("limited") == mark:
            return known
        raise ReadError("holds other samples", file=target, cure="give another --out")
    kept = sorted(listed, key=lambda sample: hashlib.sha256(sample.id.encode()).hexdigest())[:limit]
    kept.sort(key=lambda sample: sample.id)
    counts = Counter(f"{sample.axis}/{modality_of(sample)}/{sample.origin}" for sample in kept)
    own = ("kind", "files", "sha256", "samples", "clusters", "counts", "limited")
    facts = {name: value for name, value in about.items() if name not in own}
    with whole_folder(target, "samples") as partial:
        write_jsonl(partial / SAMPLES_FILE, kept)
        for path in sorted({path for sample in kept for path in sample.images}):
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, partial / path)
        return write_manifest(
            partial, "samples", **facts, samples=len(kept), clusters=len({sample.cluster for sample in kept}),
            counts=dict(sorted(counts.items())), limited=mark,
        )  # fmt: skip
