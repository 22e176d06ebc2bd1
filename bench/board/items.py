"""The data inside the page: which question is of what kind, who had it right, and a number of questions to look at.

Convention: facets are axis, task, modality, region, language, origin, difficulty and family; a facet with one value is
left out. Marks are one letter a question: `1` right, `0` wrong, `u` unread, `r` refused, `t` truncated, `o` timed out,
`f` failed, `e` a request that the provider failed (in no share). The filtered share has Wilson's interval at the
effective number of questions, n over the design effect of the clusters (at least 1), and none below 20 clusters; the
script of the page computes the same, and a test holds them equal.

Pictures of the questions to look at are inside the page as JPEG of at most `SIDE` pixels, so that it stays one file.

Trap: everything here is untrusted text of models and data sets. It reaches the page as JSON in which `<`, `>` and `&`
are escaped, and the script writes it as text nodes only.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.runner.predict import Predictions
from bench.samples import modality_of
from bench.spinebench.breakdown import region_of
from bench.spinebench.rows import table_rows
from spinemed.records import IMAGE_PLACEHOLDER, Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, design_effect, generator_for
from spinemed.statistics.intervals import wilson_interval

__all__ = ["FACETS", "SIDE", "as_json", "embed", "facets_of", "quick_interval", "shown_items"]

FACETS = ("axis", "task", "modality", "region", "language", "origin", "difficulty", "family")
MARKS = {"unparsed": "u", "refused": "r", "truncated": "t", "timed_out": "o", "failed": "f", "api_error": "e"}
SIDE = 320
LONGEST = {"question": 1500, "reply": 500}


def facets_of(sample: Sample) -> dict[str, str]:
    """What a question can be filtered by."""
    tags = dict(tag.split(":", 1) for tag in reversed(sample.tags) if ":" in tag)
    return {
        "axis": sample.axis,
        "task": sample.task,
        "modality": tags.get("modality") or modality_of(sample),
        "region": region_of(sample) or "none or several",
        "language": sample.language or "not stated",
        "origin": sample.origin,
        "difficulty": sample.difficulty or "not stated",
        "family": tags.get("family", "none"),
    }


def mark_of(score: Score) -> str:
    """One letter for a score."""
    return MARKS.get(score.outcome) or ("1" if score.correct else "0")


def quick_interval(correct: Sequence[bool], clusters: Sequence[str]) -> tuple[float | None, float | None]:
    """Bounds of a filtered share; the formula stands in the module's docstring."""
    if len(set(clusters)) < FEWEST_RANKED:
        return None, None
    effect = max(1.0, design_effect([float(one) for one in correct], Clusters.of(list(clusters))) or 1.0)
    n = len(correct) / effect
    return wilson_interval(sum(correct) / effect, n)


def shown_items(samples: Sequence[Sample], cap: int, seed: int) -> list[int]:
    """Places of the questions to look at: drawn by the seed, the rows of the table taking turns."""
    order = generator_for(seed, "board items").permutation(len(samples))
    rank = {int(place): number for number, place in enumerate(order)}
    queues = [sorted(row.members, key=rank.__getitem__) for row in table_rows(samples) if not row.whole_axis]
    chosen: list[int] = []
    for turn in range(max(map(len, queues), default=0)):
        chosen += [queue[turn] for queue in queues if turn < len(queue)]
    return sorted(chosen[:cap])


def embed(
    samples: Sequence[Sample],
    scores: Mapping[str, Sequence[Score]],
    replies: Mapping[str, Predictions],
    folder: Path,
    *,
    cap: int,
    seed: int,
) -> dict[str, Any]:
    """The data of one run for the page's script.

    Args:
        samples: All questions, by id.
        scores: By system, in the order of the samples.
        replies: By system; a system without is shown with what was read of its replies.
        folder: Samples folder, for pictures.
        cap: Questions to look at, at most.
        seed: Of the draw.
    """
    facets = [facets_of(sample) for sample in samples]
    values = {facet: sorted({own[facet] for own in facets}) for facet in FACETS}
    kept = [facet for facet in FACETS if len(values[facet]) > 1]
    clusters = sorted({sample.cluster for sample in samples})
    number = {name: at for at, name in enumerate(clusters)}
    pictures: dict[str, int] = {}
    items = [_item(samples[place], place, scores, replies, pictures) for place in shown_items(samples, cap, seed)]
    return {
        "facets": [[facet, values[facet]] for facet in kept],
        "rows": [
            [*(values[facet].index(own[facet]) for facet in kept), number[sample.cluster]]
            for own, sample in zip(facets, samples, strict=True)
        ],
        "systems": list(scores),
        "marks": ["".join(mark_of(score) for score in own) for own in scores.values()],
        "items": items,
        "pictures": [_thumbnail(folder / path) for path in pictures],
        "fewest": FEWEST_RANKED,
    }


def _item(
    sample: Sample,
    place: int,
    scores: Mapping[str, Sequence[Score]],
    replies: Mapping[str, Predictions],
    pictures: dict[str, int],
) -> dict[str, Any]:
    text = "\n\n".join(
        ("Earlier answer: " if turn.role == "assistant" else "") + turn.content.replace(IMAGE_PLACEHOLDER, "").strip()
        for turn in sample.messages
        if turn.role != "system"
    )
    said = []
    for name, own in scores.items():
        score = own[place]
        reply = replies[name].by_sample[sample.id] if name in replies else None
        words = "" if reply is None else reply.text or reply.detail
        said.append([score.outcome, score.parsed, int(score.correct), *_cut(words, "reply")])
    truth = sample.answer
    for option in sample.options:
        if option.key == truth:
            truth = f"{truth}. {option.text}"
    unit = f" {sample.unit}" if sample.unit else ""
    within = "" if sample.tolerance is None else f" (within {sample.tolerance:g}{unit})"
    return {
        "p": place, "id": sample.id, "q": _cut(text, "question"), "truth": truth + unit * bool(sample.unit) + within,
        "pics": [pictures.setdefault(path, len(pictures)) for path in sample.images], "tags": list(sample.tags),
        "about": f"{sample.licence or 'licence not stated'}; cluster {sample.cluster}", "said": said,
    }  # fmt: skip


def _cut(text: str, kind: str) -> list[Any]:
    """Text up to the longest shown, and how many characters more there are."""
    return [text[: LONGEST[kind]], max(0, len(text) - LONGEST[kind])]


def _thumbnail(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("L" if picture.mode in ("L", "1", "I", "I;16") else "RGB")
        small.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=72, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def as_json(data: Any) -> str:
    """JSON that may stand inside a script element whatever its texts say."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, escaped in (
        ("&", "\\u0026"),
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, escaped)
    return text
