"""`lock.json` beside each result: everything that must be the same for the same replies.

Convention: prompts and pictures by hash, the sizes of the pictures (they are sent as they are), decoding, the model's
identity and the versions of the packages. Two results with equal locks were asked the same thing in the same way.

Trap: a model's own processor may resize a picture again. For a checkpoint that is fixed by its hash; for a server it is
fixed by its `revision` alone, which the caller states.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinemed.errors import ReadError
from spinemed.records import IMAGE_PLACEHOLDER, Condition, Sample, content_hash
from spinemed.run import versions

__all__ = ["LOCK_FILE", "lock_of"]

LOCK_FILE = "lock.json"
"""Name of the file in a run folder that says what was measured, to the hash."""


def lock_of(
    samples: Sequence[Sample],
    folder: str | os.PathLike[str],
    *,
    kind: str,
    model: str,
    identity: dict[str, Any],
    condition: Condition,
) -> dict[str, Any]:
    """The lock of one system's replies to these samples.

    Args:
        samples: What is asked, by id.
        folder: Samples folder with the pictures.
        kind: The answerer's kind.
        model: The answerer's model.
        identity: The answerer's identity.
        condition: `blind` sends grey pictures of the same sizes.

    Raises:
        ReadError: A picture is missing or unreadable.
    """
    prompts = [[sample.id, *([turn.role, turn.content] for turn in sample.messages)] for sample in samples]
    pictures = sorted({path for sample in samples for path in sample.images})
    sizes = {path: _size(Path(folder) / path) for path in pictures}
    with_picture = [sample for sample in samples if sample.images]
    return {
        "prompts": len(samples),
        "prompts_sha256": content_hash(prompts),
        "prompts_with_pictures": len(with_picture),
        "prompts_that_begin_with_theirs": sum(_picture_first(sample) for sample in with_picture),
        "pictures_sha256": content_hash([[sample.id, *sample.images] for sample in with_picture]),
        "picture_sizes_px": dict(sorted(Counter(sizes.values()).items())),
        "condition": condition,
        "answerer": kind,
        "model": model,
        "identity": identity,
        "decoding": identity.get("decoding"),
        "versions": versions(),
    }


def _picture_first(sample: Sample) -> bool:
    first = next(turn for turn in sample.messages if IMAGE_PLACEHOLDER in turn.content)
    return first.content.lstrip().startswith(IMAGE_PLACEHOLDER)


def _size(file: Path) -> str:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return f"{picture.width}x{picture.height}"
    except (OSError, ValueError) as error:
        raise ReadError(
            f"is no readable picture ({type(error).__name__})", file=file, cure="write the samples again"
        ) from error
