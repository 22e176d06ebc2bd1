"""Questions that name a vertebra, with the patient's mask at hand for tools: what a model with tools is asked.

Convention: an ordinary samples folder; `tools/case/` beside it holds the mask under the cluster's name, as `tools.root`
of a bench run wants it. Every broken vertebra is asked for shape and Genant grade, and one healthy one.

Trap: an answer is the phantom's truth. Of a person's CT only what the chain measured is known, which is no truth:
such a folder is answered and never scored.
"""

from __future__ import annotations

import shutil
from typing import Any

from spinemed.anatomy import Level
from spinemed.questions.pathology import FRACTURE_SHAPES
from spinemed.records import IMAGE_PLACEHOLDER, NOT_DETERMINABLE, Message, Sample
from spinemed.run import content_hash
from spinemed.tables import atomic_folder, parse_json, read_jsonl, write_jsonl, write_manifest, write_text
from spinemed.workflows.case.config import CaseConfig
from spinemed.workflows.case.places import Places

__all__ = ["write_named"]

_SHARED = ("train_rows", "same_picture", "same_question", "same_question_and_answer")
_UNMARKED = {"edge_vertebra", "vertebra_count"}
"""Questions whose picture bears no mark: a mark on another vertebra would mislead."""
_GRADES = ("0", "1", "2", "3", NOT_DETERMINABLE)


def write_named(places: Places, config: CaseConfig) -> None:
    """Write the samples folder `named/`, the folder of masks for tools, and `named.yaml` for `spinemed bench run`."""
    origin = parse_json(places.about.read_text(encoding="utf-8"))["origin"]
    asked = list(read_jsonl(places.samples / "samples.jsonl", Sample))
    pictured = next(
        (each for each in asked if each.images and _UNMARKED & set(each.tags)),
        asked[0].model_copy(update={"images": ()}),
    )
    known = _known(places, phantom=origin == "phantom")
    broken = [each for each in known if each["shape"] != "none"]
    healthy = [each for each in known if each["shape"] == "none"]
    samples = []
    for each in [*broken, *healthy[len(healthy) // 2 :][:1]]:
        level = str(each["level"])
        for name, words, categories, answer in (
            ("shape", f"Which fracture shape does {level} show?", FRACTURE_SHAPES, each["shape"]),
            ("genant", f"What is the Genant grade of {level}?", _GRADES, each["grade"]),
        ):
            samples.append(_sample(f"case-{name}-{level}", words, categories, answer, level, pictured, origin))
    with atomic_folder(places.named) as partial:
        (partial / "images").mkdir()
        for image in sorted({image for sample in samples for image in sample.images}):
            (partial / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(places.samples / image, partial / image)
        write_jsonl(partial / "samples.jsonl", samples)
        made_from = content_hash([sample.model_dump(mode="json") for sample in samples])
        write_manifest(
            partial, "samples", release_sha256=made_from, split="test", samples=len(samples), clusters=1, left_out={},
            counts={"pathology": len(samples)}, contamination=dict.fromkeys(_SHARED, 0),
        )  # fmt: skip
    root = places.tools / "case"
    root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(places.mask, root / "mask.nii.gz")
    write_text(places.named.parent / "named.yaml", _bench_config(config))


def _known(places: Places, *, phantom: bool) -> list[dict[str, Any]]:
    """Shape and grade by level: the truth of a phantom, else what was measured."""
    if phantom:
        listed: list[dict[str, Any]] = parse_json(places.truth.read_text(encoding="utf-8"))["vertebrae"]
        return listed
    graded = parse_json(places.grades.read_text(encoding="utf-8"))["vertebrae"]
    return [
        {"level": each["level"], "shape": each["shape"] if each["grade"] else "none", "grade": str(each["grade"])}
        for each in graded
        if each["grade"] is not None
    ]


def _sample(
    name: str, words: str, categories: tuple[str, ...], answer: str, level: str, pictured: Sample, origin: str
) -> Sample:
    picture = f"{IMAGE_PLACEHOLDER}\n" if pictured.images else ""
    text = f"{picture}A sagittal slice of a CT.\n{words}\nAnswer with one of: {', '.join(categories)}."
    return Sample.model_validate(
        {
            "id": name, "axis": "pathology", "task": "category",
            "messages": [Message(role="user", content=text).model_dump()], "images": pictured.images[:1],
            "answer": answer, "answer_kind": "category", "categories": categories, "levels": [Level(level)],
            "cluster": "case", "origin": origin, "source_id": "case", "tags": ["finding:fracture", "named"],
            "licence": pictured.licence, "language": "en",
        }
    )  # fmt: skip


def _bench_config(config: CaseConfig) -> str:
    return (
        "# Questions on named vertebrae, with tools.\n"
        "samples: named\n"
        "conditions: [tools]\n"
        "baselines: []\n"
        f"decoding: {{temperature: 0, max_tokens: {config.server_tokens}, seed: {config.seed}}}\n"
        f"seed: {config.seed}\n"
        f"resamples: {config.resamples}\n"
        f"tools: {{root: tools, rounds: {config.tool_rounds}}}\n"
    )
