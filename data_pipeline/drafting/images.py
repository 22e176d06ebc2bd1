"""Questions about studies: marked vertebrae and discs, fracture shapes, grades that a picture cannot show, constructs.

Convention: the mark is drawn on the study's picture and kept with its derivation. Only bodies that are wholly in the
picture are asked about.

Trap: marks without a level are asked about too; the answer there is "not determinable".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from data_pipeline.config import ImageItems
from data_pipeline.items import Desk
from data_pipeline.readers.phantom import phantom_focus
from spinemed.anatomy import REGULAR, Level, Spine
from spinemed.questions import (
    QuestionDraft,
    column_question,
    count_question,
    disc_question,
    edge_question,
    fracture_question,
    marked_construct_question,
    modic_question,
    pfirrmann_question,
    vertebra_question,
)
from spinemed.records import Study

__all__ = ["column_tags", "draft_study", "spine_of"]


def spine_of(study: Study) -> Spine:
    """The column of the studied spine: known for a phantom, the nearest that explains the marks otherwise."""
    known = _phantom_spine(study.provenance)
    return known or Spine.of(mark.level for mark in study.marks if mark.level is not None)


def column_tags(study: Study) -> tuple[str, ...]:
    """A tag for an unusual column: whoever counts how many levels an answer is off needs it."""
    spine = _phantom_spine(study.provenance)
    unusual = spine is not None and (spine.thoracic, spine.lumbar) != (REGULAR.thoracic, REGULAR.lumbar)
    return (f"spine:{spine.thoracic}T{spine.lumbar}L",) if spine is not None and unusual else ()


@lru_cache(maxsize=256)
def _phantom_spine(provenance: str) -> Spine | None:
    """The column that a phantom's draw lists; None for other readers. A draw is asked for once per question."""
    facts = json.loads(provenance)
    return Spine.of(Level(name) for name in facts["draw"]["levels"]) if facts["reader"] == "phantom" else None


def draft_study(desk: Desk, study: Study, wanted: ImageItems) -> None:
    """Write all questions wanted about one study."""
    sheet = _Sheet(desk, study)
    visible = [place for place, mark in enumerate(study.marks) if mark.fully_visible]
    focus = _focus(study, visible)
    sheet.vertebrae(visible, focus, wanted.vertebra)
    sheet.discs(visible, wanted.disc)
    sheet.edges(wanted.edge)
    sheet.counts(wanted.count)
    sheet.columns(wanted.column)
    sheet.fractures(visible, wanted.fracture, wanted.healthy_share)
    sheet.ungradable(visible, wanted.pfirrmann, wanted.modic)
    sheet.constructs(visible, focus, wanted.fixation)


def _focus(study: Study, visible: Sequence[int]) -> int | None:
    """The mark that a phantom's draw chose, which spreads answers evenly over levels."""
    provenance = json.loads(study.provenance)
    if provenance["reader"] != "phantom":
        return None
    level = phantom_focus(provenance)
    return next((place for place in visible if study.marks[place].level is level), None)


def _times(number: float, rng: np.random.Generator) -> int:
    whole = int(number)
    return whole + int(rng.random() < number - whole)


class _Sheet:
    """The questions of one study."""

    def __init__(self, desk: Desk, study: Study) -> None:
        self.desk, self.study = desk, study
        self.source = desk.corpus.sources[study.source_id]
        self.evidence = (desk.study_evidence(study),)
        self.column = column_tags(study)
        self.fractures_at = {
            finding.level: finding for finding in study.findings if finding.kind == "fracture" and finding.level
        }

    def rng(self, kind: str) -> np.random.Generator:
        return self.desk.rng(self.study.id, kind)

    def at(self, place: int) -> str:
        mark = self.study.marks[place]
        return self.desk.marked(self.study, mark.x_px, mark.y_px)

    def write(self, question: QuestionDraft | None, kind: str, image: str) -> None:
        self.desk.write(
            question,
            self.source,
            self.study.group_id,
            self.evidence,
            about=f"{self.study.id}: {kind}",
            images=(image,),
            tags=(self.study.modality, self.study.plane, f"truth:{self.study.truth}", *self.column),
        )

    def vertebrae(self, visible: list[int], focus: int | None, number: float) -> None:
        rng = self.rng("vertebra")
        order = [place for place in rng.permutation(visible).tolist() if place != focus]
        if focus is not None:
            order.insert(0, focus)
        wanted = _times(number, rng)
        if wanted and not order:
            self.skip("vertebra", "no vertebra is wholly in the picture")
        for place in order[:wanted]:
            question = vertebra_question(self.study, place, self.desk.templates, rng)
            self.write(question, "vertebra", self.at(place))

    def discs(self, visible: list[int], number: float) -> None:
        rng = self.rng("disc")
        pairs = [place for place in visible if place + 1 in visible]
        for upper in rng.permutation(pairs).tolist()[: _times(number, rng)]:
            question = disc_question(self.study, upper, self.desk.templates, rng)
            if question is None:
                self.skip("disc", "no disc between these two marks")
                continue
            self.write(question, "disc", self.between(upper))

    def between(self, upper: int) -> str:
        above, below = self.study.marks[upper], self.study.marks[upper + 1]
        return self.desk.marked(self.study, (above.x_px + below.x_px) / 2, (above.y_px + below.y_px) / 2)

    def edges(self, number: float) -> None:
        rng = self.rng("edge")
        names = ("lowest", "highest")
        if number and self.study.numbering_determinable and json.loads(self.study.provenance).get("disc_points"):
            # Bodies placed between discs have a centre but no outline, and the atlas has no disc at all.
            self.skip("edge", "disc points do not say which bodies are wholly in the picture")
            return
        for place in rng.permutation(2).tolist()[: _times(number, rng)]:
            question = edge_question(self.study, names[place], self.desk.templates, rng)  # type: ignore[arg-type]
            self.write(question, "edge", self.study.image_sha256)

    def counts(self, number: float) -> None:
        rng = self.rng("count")
        wanted = _times(number, rng)
        found = [finding.value for finding in self.study.findings if finding.kind == "level_count"]
        if wanted and not found:
            self.skip("count", "the source reads no mask_facts")
        for place in rng.permutation(len(found)).tolist()[:wanted]:
            question = count_question(self.study, found[place], self.desk.templates, rng)
            self.write(question, f"count {found[place]}", self.study.image_sha256)

    def columns(self, number: float) -> None:
        rng = self.rng("column")
        if not _times(number, rng):
            return
        question = column_question(self.study, self.desk.templates, rng)
        if question is None:
            self.skip("column", "the source reads no mask_facts")
            return
        self.write(question, "column", self.study.image_sha256)

    def fractures(self, visible: list[int], number: float, healthy_share: float) -> None:
        rng = self.rng("fracture")
        known = [place for place in visible if self.study.marks[place].level in self.fractures_at]
        broken = [place for place in known if self._shape(place) != "none"]
        healthy = [place for place in known if self._shape(place) == "none"]
        for _ in range(_times(number, rng) if known else 0):
            pool = broken if broken and (not healthy or rng.random() >= healthy_share) else healthy
            place = pool.pop(int(rng.integers(len(pool))))
            question = fracture_question(self.study, place, self._shape(place), self.desk.templates, rng)
            self.write(question, "fracture", self.at(place))
            if not broken and not healthy:
                break

    def _shape(self, place: int) -> str:
        level = self.study.marks[place].level
        return self.fractures_at[level].value if level is not None else "none"

    def ungradable(self, visible: list[int], pfirrmann: float, modic: float) -> None:
        rng = self.rng("grade")
        pairs = [place for place in visible if place + 1 in visible]
        if self.study.modality != "MR":
            for upper in rng.permutation(pairs).tolist()[: _times(pfirrmann, rng)]:
                question = pfirrmann_question(self.study, upper, self.desk.templates, rng)
                self.write(question, "pfirrmann", self.between(upper))
        if _times(modic, rng):
            self.write(modic_question(self.desk.templates, rng), "modic", self.study.image_sha256)

    def constructs(self, visible: list[int], focus: int | None, number: float) -> None:
        rng = self.rng("construct")
        broken = [
            place
            for place in visible
            if self.study.marks[place].level in self.fractures_at and self._shape(place) != "none"
        ]
        order = [place for place in rng.permutation(visible).tolist() if place not in broken and place != focus]
        order = [*broken, *([focus] if focus is not None and focus not in broken else []), *order]
        for place in order[: _times(number, rng)]:
            question = marked_construct_question(
                self.study,
                place,
                spine_of(self.study),
                fractured=place in broken,
                templates=self.desk.templates,
                rng=rng,
            )
            self.write(question, "construct", self.at(place))

    def skip(self, kind: str, reason: str) -> None:
        self.desk.drop(self.source.id, "question", f"{self.study.id}: {kind}", reason)
