"""One valid record of each kind, made up: the examples of the file format pages.

Convention: the examples belong together (one CT slice becomes a study, an instance, a released row, a sample, a
prediction, a score), so ids and hashes can be followed from page to page. Nobody was imaged; all of it is made up.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel

from spinemed.anatomy import Disc, Level
from spinemed.records import (
    DIMENSIONS,
    Case,
    CaseEvent,
    CaseFact,
    CriterionResult,
    Document,
    Evidence,
    Figure,
    Finding,
    ImageBlob,
    Instance,
    LevelMark,
    Message,
    Option,
    PackedImage,
    PatientBasis,
    Prediction,
    Question,
    ReaderScore,
    ReleaseRow,
    ReviewVerdict,
    RubricItem,
    Sample,
    Score,
    Source,
    Span,
    Study,
    ToolCall,
    Writer,
    content_hash,
)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


PICTURE = b"(the bytes of a PNG)"
IMAGE = hashlib.sha256(PICTURE).hexdigest()
ASK = Message(role="user", content="<image>\nWhich vertebra is marked?")
REPLY = Message(role="assistant", content="L3")


def _corpus() -> list[BaseModel]:
    basis = PatientBasis(approval="EC 2026-014", agreement="dua-7", retention_until="2031-12-31")
    text = "The L3 body is wedge-shaped. The canal is not narrowed."
    finding = Finding(kind="fracture", level=Level.L3, value="wedge", amount=32.0, unit="percent")
    mark = LevelMark(level=Level.L3, x_px=61.5, y_px=74.0)
    event = CaseEvent(day=0, kind="imaging_report", span_ids=("note-1.s1",), study_ids=("ct-7.sagittal",))
    return [
        basis,
        Source(
            id="clinic-a", kind="hospital", path="clinic-a/clean", licence="LicenseRef-agreement-7",
            allowed_use=("train", "evaluate"), legal_basis="ethics approval EC 2026-014", patients=basis,
            sha256={"records.jsonl": _hash("records")},
        ),
        Document(
            id="note-1", source_id="clinic-a", title="CT report", file="notes/note-1.txt", sha256=_hash(text),
            text=text, licence="LicenseRef-agreement-7", attribution="Clinic A", group_id="case-0042",
        ),
        Span(
            id="note-1.s1", document_id="note-1", kind="paragraph", start=0, end=28, text=text[:28],
            section="CT report",
        ),
        Figure(
            id="book-3.fig-2", document_id="book-3", image_sha256=IMAGE, caption_span_id="book-3.s9",
            mention_span_ids=("book-3.s4",), label="Figure 2",
        ),
        event,
        Case(
            id="case-0042", source_id="clinic-a", group_id="case-0042", document_id="note-1", site="A", sex="F",
            age_band="70-79", language="en", events=(event,), cleared=(_hash("note-1"), IMAGE),
        ),
        finding,
        mark,
        Study(
            id="ct-7.sagittal", source_id="clinic-a", group_id="case-0042", origin="real", modality="CT",
            plane="sagittal", image_sha256=IMAGE, width_px=128, height_px=160, spacing_mm=3.0, marks=(mark,),
            numbering_determinable=True, findings=(finding,), truth="expert_mask",
            provenance='{"file": "ct-7.nii.gz", "slice": 88}', caveats=("3 mm slices",),
        ),
        ImageBlob(sha256=IMAGE, bytes=PICTURE, format="png", width_px=128, height_px=160),
    ]  # fmt: skip


def _instances() -> list[BaseModel]:
    writer = Writer(name="level", version="1", prompt_sha256=_hash("template"), request_sha256=_hash("request"))
    evidence = Evidence(kind="study", id="ct-7.sagittal", sha256=_hash("study"))
    passed = CriterionResult(criterion="one-level", passed=True)
    instance = Instance(
        id="ct-7.level.r", stage="revised", parent_id="ct-7.level.d", source_id="clinic-a", group_id="case-0042",
        origin="real", axis="level_identification", task="level", messages=(ASK, REPLY), image_sha256=(IMAGE,),
        answer="L3", answer_kind="level", levels=(Level.L3,), evidence=(evidence,), writer=writer, criteria=(passed,),
        changes=("one-level: asks for one vertebra only",),
    )  # fmt: skip
    picture = PackedImage(bytes=PICTURE, path=f"{IMAGE}.png")
    row = ReleaseRow(
        id=instance.id, split="test", messages=instance.messages, images=(picture,), axis=instance.axis,
        task=instance.task, language="en", answer="L3", answer_kind="level", options=(), categories=(),
        levels=(Level.L3,), origin="real", source_id="clinic-a", group_id="case-0042",
        licence="LicenseRef-agreement-7", attribution="Clinic A", evidence_ids=("ct-7.sagittal",),
        instance_sha256=content_hash(instance), tags=(),
    )  # fmt: skip
    verdict = ReviewVerdict(
        instance_id=instance.id, instance_sha256=content_hash(instance), decision="approved", purpose="benchmark",
        reviewers=("r-01", "r-02"), audit_sha256=_hash("audit row"),
    )  # fmt: skip
    reader = ReaderScore(
        case_id="ct-7.report", output_id="out-3", system="after", arm="model", reader="s-04", group="A",
        dimensions=dict.fromkeys(DIMENSIONS, 4), errors={"missed": 1}, would_sign=False, comment="L1 not mentioned",
    )  # fmt: skip
    return [writer, evidence, passed, instance, picture, row, verdict, reader, ASK, Option(key="B", text="L3")]


def _bench() -> list[BaseModel]:
    fact = CaseFact(id="f1", kind="imaging", text="L3 has a wedge fracture.", level=Level.L3, grade="2", needed=True)
    item = RubricItem(id="r1", points=5, criterion="The report names a wedge fracture of L3.", fact_ids=("f1",))
    sample = Sample(
        id="ct-7.level.r", axis="level_identification", task="level", messages=(ASK,), images=(f"images/{IMAGE}.png",),
        answer="L3", answer_kind="level", levels=(Level.L3,), cluster="case-0042", origin="real", source_id="clinic-a",
        evidence=("ct-7.sagittal",), difficulty="easy", image_need="needed",
    )  # fmt: skip
    call = ToolCall(name="label", arguments='{"image": "img_1"}', result_sha256=_hash("tool reply"), ok=True)
    prediction = Prediction(
        sample_id=sample.id,
        model="after",
        condition="full",
        outcome="answered",
        text="L4",
        request_sha256=_hash("sent"),
    )
    score = Score(
        sample_id=sample.id, model="after", condition="full", outcome="parsed", parsed="L4", correct=False,
        within_one=True, region_correct=True, offset_levels=1,
    )  # fmt: skip
    question = Question(
        id="q-0001", axis=sample.axis, task=sample.task, messages=(ASK,), images=sample.images, answer_kind="level"
    )
    return [fact, item, sample, call, prediction, score, question]


def examples() -> dict[str, dict[str, Any]]:
    """Each record class's name with a valid record as JSON; bytes are told by their number."""
    assert str(Disc.from_text("L4/5")) == "L4/5"
    found = {}
    for record in (*_corpus(), *_instances(), *_bench()):
        plain = record.model_dump(mode="json")
        found[type(record).__name__] = plain
    return found
