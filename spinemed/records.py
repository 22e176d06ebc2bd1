"""The contracts: every noun that crosses a package boundary, as a pydantic model.

Convention: a record is frozen, refuses unknown fields, and carries content hashes (lower-case SHA-256 hex) rather than
paths, so that any row can be traced to bytes. Lengths are millimetres, angles degrees, pixel positions (x to the right,
y down) counted from the centre of the top-left pixel.

Trap: text inside `messages` is untrusted. `<image>` in a message stands for the next picture in `images`, in order;
a release is refused when the counts differ, so a source text that happens to contain `<image>` must be escaped first
(:func:`escape_placeholder`).

The road: Source → (Document, Span, Figure, Study, ImageBlob) → Instance (draft, revised) → ReleaseRow → Sample →
Prediction → Score. How these become Parquet and JSONL is in :mod:`spinemed.tables`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from spinemed.anatomy import Disc, Level, LevelRange
from spinemed.errors import LevelError

__all__ = [
    "IMAGE_PLACEHOLDER",
    "NOT_DETERMINABLE",
    "AnswerKind",
    "Axis",
    "Case",
    "CaseEvent",
    "Condition",
    "CriterionResult",
    "Document",
    "Evidence",
    "Figure",
    "Finding",
    "ImageBlob",
    "Instance",
    "LevelMark",
    "Message",
    "Option",
    "Origin",
    "Outcome",
    "PackedImage",
    "PatientBasis",
    "Prediction",
    "Record",
    "ReleaseRow",
    "Sample",
    "Score",
    "Sha256",
    "Source",
    "Span",
    "Split",
    "Study",
    "Task",
    "Writer",
    "content_hash",
    "escape_placeholder",
]

IMAGE_PLACEHOLDER = "<image>"
NOT_DETERMINABLE = "not determinable"
"""Canonical answer where the field of view cannot decide the numbering."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
SourceKind = Literal[
    "cnxml", "medquad", "nifti", "phantom", "pdf", "jats", "html", "markdown", "bank", "dicom", "verse", "grades",
    "hospital",
]  # fmt: skip
EventKind = Literal[
    "history", "examination", "imaging_report", "operation_note", "follow_up", "laboratory", "discharge", "imaging",
]  # fmt: skip
Axis = Literal["level_identification", "pathology", "surgical_planning"]
Task = Literal["multiple_choice", "open", "level", "category", "construct", "consultation", "report"]
AnswerKind = Literal["level", "disc", "levels", "category", "option", "text"]
Origin = Literal["real", "phantom"]
Split = Literal["train", "validation", "test"]
Condition = Literal["full", "blind"]
Outcome = Literal["answered", "refused", "truncated", "timed_out", "failed", "api_error"]
ScoreOutcome = Literal["parsed", "unparsed", "refused", "truncated", "timed_out", "failed", "api_error"]


class Record(BaseModel):
    """Base of all contracts: frozen, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON of a record, dict or list (sorted keys, no spaces, UTF-8)."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def escape_placeholder(text: str) -> str:
    """Make a source text harmless inside a message: `<image>` loses its meaning but stays readable."""
    return text.replace(IMAGE_PLACEHOLDER, "< image >")


# --- sources ---------------------------------------------------------------------------------------------------------


class PatientBasis(Record):
    """What allows the use of patients' data. One of `approval` and `waiver` is needed."""

    approval: str = ""
    """The ethics committee's approval, by its number."""
    waiver: str = ""
    """The committee's waiver of consent, by its number."""
    agreement: Annotated[str, StringConstraints(min_length=1)]
    """Id of the data use agreement."""
    retention_until: Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
    """ISO date by which everything must be removed."""

    @model_validator(mode="after")
    def _one_of_both(self) -> PatientBasis:
        if not (self.approval or self.waiver):
            raise ValueError("neither an approval nor a waiver is stated")
        return self


class Source(Record):
    """One entry of `sources.yaml`: where bytes come from and what may be done with them."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    """Short name, unique in the file."""
    kind: SourceKind
    """Which reader opens it."""
    path: str | None = None
    """File or folder, relative to `sources.yaml`; empty for phantoms."""
    licence: str
    """SPDX identifier. A licence that is not known to allow the use is refused."""
    allowed_use: tuple[Literal["train", "evaluate", "redistribute"], ...]
    """What the licence and the agreement allow."""
    egress: Literal["local", "listed", "any"] = "local"
    """Where the content may be sent: this machine only, the listed hosts, any host."""
    egress_hosts: tuple[str, ...] = ()
    """Host names for `egress: listed`."""
    legal_basis: str | None = None
    """For patient data: approval, waiver or public release it rests on."""
    patients: PatientBasis | None = None
    """For hospital cases: what allows their use, and until when."""
    attribution: str = ""
    """The credit line that the licence asks for."""
    origin: Origin = "real"
    """Whether a person was ever imaged or a text written (`real`), or the content was computed (`phantom`)."""
    sha256: dict[str, Sha256] = Field(default_factory=dict)
    """Expected hash of each file, by path relative to `path`; a listed file that differs is refused."""
    split: Split | None = None
    """Pins everything from this source to one split; otherwise the connected component decides."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the reader of this kind needs besides; validated by the reader."""


# --- corpus ----------------------------------------------------------------------------------------------------------


class Document(Record):
    """One text as published."""

    id: str
    source_id: str
    title: str
    language: Literal["en", "zh"] = "en"
    file: str
    """Path relative to the source's path."""
    sha256: Sha256
    """Hash of the file's bytes."""
    text: str
    """The extracted text; spans index into it."""
    licence: str
    attribution: str
    group_id: str
    """Documents that share content share a group; a group never crosses splits."""


class Span(Record):
    """A stretch of a document's text: `document.text[start:end] == text`."""

    id: str
    document_id: str
    kind: Literal["paragraph", "heading", "caption", "question", "answer", "definition", "list_item"]
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: str
    section: str = ""
    """Title of the innermost section that holds it."""
    locator: str = ""
    """Address inside the source file: XML id or XPath, page and box."""
    strength: Literal["", "strong", "weak"] = ""
    """Of a guideline's recommendation, as its sentence states it."""
    evidence_grade: str = ""
    """Of the same: `A`, `high`, `2b`, in the guideline's own scheme."""


class Figure(Record):
    """A picture in a document, its caption and the spans that mention it."""

    id: str
    document_id: str
    image_sha256: Sha256
    caption_span_id: str | None
    mention_span_ids: tuple[str, ...] = ()
    label: str = ""
    """As printed, e.g. `Figure 7.28`, or the XML id where no number is printed."""


class CaseEvent(Record):
    """What happened to a patient on one day."""

    day: int | None = None
    """Days from the first note; None where the images' day is not told."""
    kind: EventKind
    span_ids: tuple[str, ...] = ()
    """The note's sentences."""
    study_ids: tuple[str, ...] = ()
    """The pictures."""


class Case(Record):
    """One patient's timeline, de-identified: sentences and pictures in the order in which they came."""

    id: str
    """Pseudonym."""
    source_id: str
    group_id: str
    """Shared by the case's document and studies: never split."""
    document_id: str
    site: str
    """Code of the hospital."""
    sex: Literal["F", "M", "O"]
    age_band: str
    """Ten years wide, `90+`, or `unknown`."""
    language: Literal["en", "zh"]
    events: tuple[CaseEvent, ...]
    cleared: tuple[Sha256, ...]
    """Hashes of the notes and images whose de-identification records say `clean`; without one nothing is a case."""


class Finding(Record):
    """A typed statement about a study that is true by construction or by expert reading."""

    kind: Literal[
        "fracture",
        "level_count",
        "modality",
        "plane",
        "vertebra",
        "thoracic_count",
        "lumbar_count",
        "presacral_count",
        "schmorl",
        "osteophyte",
        "lesion",
        "mimic",
        "slip",
        "disc_degeneration",
        "disc_height",
        "herniation",
        "canal_stenosis",
        "foraminal_stenosis",
        "modic",
    ]
    """`vertebra` and the counts of the parts of a column are what :mod:`spinemed.labelling.facts` reads off a mask."""
    level: Level | None = None
    """Of what concerns one vertebra; None where its name is not determinable."""
    disc: Disc | None = None
    """Of what concerns a disc and its two vertebrae; None where their names are not determinable."""
    side: Literal["left", "right"] | None = None
    """The patient's, of what lies on one side."""
    value: str
    """Category, e.g. `wedge`, `none`, `MR`."""
    grade: str | None = None
    """In the words of `scheme`, e.g. `IV`; None where none applies or the image cannot show it."""
    scheme: str | None = None
    """Whose grades these are, e.g. `Pfirrmann 2001`."""
    amount: float | None = None
    """The measured size in `unit`, e.g. a height loss of 32.0 percent."""
    unit: str = ""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the fields that came later where they are empty, so that hashes of earlier records still hold."""
        plain: dict[str, Any] = handler(self)
        return {name: value for name, value in plain.items() if value is not None or name not in _LATER}


_LATER = ("disc", "side", "grade", "scheme")


class LevelMark(Record):
    """Where a vertebral body lies in the picture."""

    level: Level | None
    """None where the truth about the numbering is not determinable."""
    x_px: float
    y_px: float
    fully_visible: bool = True


class Study(Record):
    """One two-dimensional picture with what is known about it."""

    id: str
    source_id: str
    group_id: str
    """Patient, template or phantom spine: the cluster of every interval, and never split."""
    origin: Origin
    modality: Literal["CT", "MR", "XR"]
    plane: Literal["sagittal", "coronal", "axial", "lateral"]
    image_sha256: Sha256
    """Hash of the PNG in the corpus image table."""
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
    spacing_mm: float = Field(gt=0)
    """Edge of one square pixel."""
    marks: tuple[LevelMark, ...]
    """Vertebral bodies, cranial to caudal."""
    numbering_determinable: bool
    """False where no anchor (C2, last rib, sacrum) is in the field of view."""
    findings: tuple[Finding, ...] = ()
    truth: Literal["phantom", "expert_mask", "model_mask", "template", "none"]
    """Where marks come from. `model_mask` is a pseudo-label and is said to be one wherever it is scored."""
    provenance: str
    """JSON: files with their hashes and the slice taken, or the phantom draw that rebuilds the picture."""
    caveats: tuple[str, ...] = ()


class ImageBlob(Record):
    """The bytes of one picture."""

    sha256: Sha256
    bytes: bytes
    format: Literal["png", "jpeg"]
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)


# --- instances -------------------------------------------------------------------------------------------------------


class Message(Record):
    """One turn. `content` may hold `<image>` placeholders in user turns."""

    role: Literal["system", "user", "assistant"]
    content: str


class Option(Record):
    """One choice of a multiple-choice item."""

    key: Annotated[str, StringConstraints(pattern=r"^[A-H]$")]
    text: str


class Evidence(Record):
    """What an answer rests on. Following `id` and `sha256` leads to bytes."""

    kind: Literal["span", "figure", "study", "document"]
    id: str
    sha256: Sha256
    """Hash of the span text, the picture, the study record or the document file."""
    quote: str = ""
    """The words relied on, verbatim, for spans."""


class Writer(Record):
    """Who wrote a version: a rule set or a language model, to the byte."""

    name: str
    version: str
    prompt_sha256: Sha256
    """Hash of the template or prompt file."""
    request_sha256: Sha256
    """Hash of everything that went in: template, evidence, parameters."""
    model: str = "rules"


class CriterionResult(Record):
    """One written criterion applied to one version."""

    criterion: str
    passed: bool
    note: str = ""


class Instance(Record):
    """One question with its answer and evidence. A revised instance names the draft it came from."""

    id: str
    stage: Literal["draft", "revised"]
    parent_id: str | None = None
    """The draft's id, for a revised version."""
    source_id: str
    group_id: str
    origin: Origin
    axis: Axis
    task: Task
    language: Literal["en", "zh"] = "en"
    messages: tuple[Message, ...]
    """System and user turns, then the assistant's answer as the last turn."""
    image_sha256: tuple[Sha256, ...] = ()
    """Pictures in the order of their placeholders."""
    answer: str
    """Canonical: `L3`, `L4/5`, `T12-L2`, `wedge`, `B`, or the text itself. Equals the last turn."""
    answer_kind: AnswerKind
    options: tuple[Option, ...] = ()
    categories: tuple[str, ...] = ()
    """The closed set for `answer_kind: category`."""
    levels: tuple[Level, ...] = ()
    """Levels that the question or answer is about."""
    evidence: tuple[Evidence, ...]
    writer: Writer
    criteria: tuple[CriterionResult, ...] = ()
    """Result of each written criterion on this version."""
    changes: tuple[str, ...] = ()
    """For a revised version: what was changed and which criterion asked for it."""
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Instance:
        _check_placeholders(self.messages, len(self.image_sha256))
        if self.stage == "revised" and self.parent_id is None:
            raise ValueError("a revised instance needs parent_id")
        _check_answer(self.answer_kind, self.answer, self.options, self.categories)
        _check_last_turn(self.messages, self.answer)
        return self


# --- release, samples, predictions, scores ---------------------------------------------------------------------------


class PackedImage(Record):
    """A picture in a release row, in the layout that `datasets` decodes as an Image."""

    bytes: bytes
    path: str
    """File name made of the hash: `<sha256>.png`."""


class ReleaseRow(Record):
    """One released instance: what trainers read."""

    id: str
    split: Split
    messages: tuple[Message, ...]
    images: tuple[PackedImage, ...]
    axis: Axis
    task: Task
    language: Literal["en", "zh"]
    answer: str
    answer_kind: AnswerKind
    options: tuple[Option, ...]
    categories: tuple[str, ...]
    levels: tuple[Level, ...]
    origin: Origin
    source_id: str
    group_id: str
    licence: str
    attribution: str
    evidence_ids: tuple[str, ...]
    instance_sha256: Sha256
    """Hash of the revised instance record."""
    tags: tuple[str, ...]

    @model_validator(mode="after")
    def _coherent(self) -> ReleaseRow:
        _check_placeholders(self.messages, len(self.images))
        _check_answer(self.answer_kind, self.answer, self.options, self.categories)
        _check_last_turn(self.messages, self.answer)
        return self


class Sample(Record):
    """One benchmark question, complete: nothing else is needed to answer or to score it."""

    id: str
    axis: Axis
    task: Task
    messages: tuple[Message, ...]
    """Everything before the answer."""
    images: tuple[str, ...]
    """Paths relative to the folder of `samples.jsonl`, named by hash."""
    answer: str
    answer_kind: AnswerKind
    options: tuple[Option, ...] = ()
    categories: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    cluster: str
    """Patient, phantom or document group: intervals and tests resample these."""
    origin: Origin
    source_id: str
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Sample:
        _check_placeholders(self.messages, len(self.images))
        _check_answer(self.answer_kind, self.answer, self.options, self.categories)
        return self


class Prediction(Record):
    """What a model said to one sample. No clock time here: the same model gives the same bytes."""

    sample_id: str
    model: str
    condition: Condition
    outcome: Outcome
    text: str
    """Verbatim reply; empty unless `outcome` is `answered`."""
    detail: str = ""
    """Why, for the other outcomes."""
    request_sha256: Sha256
    """Hash of what was sent: messages, picture hashes, generation settings, model."""


class Score(Record):
    """One prediction judged."""

    sample_id: str
    model: str
    condition: Condition
    outcome: ScoreOutcome
    parsed: str | None
    """Canonical answer read from the reply; None unless `outcome` is `parsed`."""
    correct: bool
    within_one: bool | None = None
    """Level items: within one level by anatomical order. None where no distance is defined."""
    region_correct: bool | None = None
    """Level items: right region. None where no region is defined."""
    offset_levels: int | None = None
    """Level items: predicted minus true, caudal positive."""
    confidence: float | None = None
    """From 0 to 1, where the reply states a number for it."""


def _check_placeholders(messages: tuple[Message, ...], images: int) -> None:
    if not messages:
        raise ValueError("messages is empty")
    for message in messages:
        if message.role != "user" and IMAGE_PLACEHOLDER in message.content:
            raise ValueError(f"{IMAGE_PLACEHOLDER} may only stand in user turns")
    found = sum(message.content.count(IMAGE_PLACEHOLDER) for message in messages)
    if found != images:
        raise ValueError(f"{found} {IMAGE_PLACEHOLDER} placeholders for {images} images")


def _check_last_turn(messages: tuple[Message, ...], answer: str) -> None:
    # Training reads the turn and scoring reads the field: where they differ, a model is taught one and asked the other.
    if messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's answer")
    if messages[-1].content != answer:
        raise ValueError(f"the last message says {messages[-1].content!r} and the answer is {answer!r}")


_LEVEL_EXAMPLES = {"level": "a vertebra like L3", "disc": "a disc like L4/5", "levels": "a range like T12-L2"}


def _is_level_text(kind: str, text: str) -> bool:
    """Whether a text is the canonical one of a vertebra, disc or range; scoring compares texts and measures levels."""
    try:
        if kind == "level":
            return Level(text).value == text
        if kind == "disc":
            return str(Disc.from_text(text)) == text
        first, _, last = text.partition("-")
        return str(LevelRange(Level(first), Level(last))) == text
    except (LevelError, ValueError):
        return False


def _check_answer(kind: AnswerKind, answer: str, options: tuple[Option, ...], categories: tuple[str, ...]) -> None:
    if not answer:
        raise ValueError("answer is empty")
    if kind == "option":
        keys = [option.key for option in options]
        if answer not in keys:
            raise ValueError(f"answer '{answer}' is not among the option keys {keys}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"option keys repeat: {keys}")
        texts = [option.text for option in options]
        if len(set(texts)) != len(texts):
            raise ValueError("two options have the same text")
    if kind in _LEVEL_EXAMPLES and answer != NOT_DETERMINABLE and not _is_level_text(kind, answer):
        raise ValueError(f"answer '{answer}' is neither {_LEVEL_EXAMPLES[kind]} nor '{NOT_DETERMINABLE}'")
    if kind == "category" and answer not in categories:
        raise ValueError(f"answer '{answer}' is not among the categories {list(categories)}")
