"""Sources and corpus: what was read, traceable to files, before anything is asked about it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from spinemed.anatomy import Disc, Level
from spinemed.records.base import Origin, Record, Sha256, Sparse, Split

__all__ = [
    "Case",
    "CaseEvent",
    "Document",
    "Figure",
    "Finding",
    "ImageBlob",
    "LevelMark",
    "PatientBasis",
    "Source",
    "Span",
    "Study",
]

SourceKind = Literal[
    "cnxml", "medquad", "nifti", "phantom", "pdf", "jats", "html", "markdown", "bank", "dicom", "verse", "grades",
    "hospital",
]  # fmt: skip
EventKind = Literal[
    "history", "examination", "imaging_report", "operation_note", "follow_up", "laboratory", "discharge", "imaging",
]  # fmt: skip

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
    """Unique in the corpus."""
    source_id: str
    """Source that it came from, as named in the sources file."""
    title: str
    """As printed; empty where none was found."""
    language: Literal["en", "zh"] = "en"
    """Of the text."""
    file: str
    """Path relative to the source's path."""
    sha256: Sha256
    """Hash of the file's bytes."""
    text: str
    """The extracted text; spans index into it."""
    licence: str
    """SPDX identifier of the text."""
    attribution: str
    """Credit line that travels with everything made of it."""
    group_id: str
    """Documents that share content share a group; a group never crosses splits."""


class Span(Record):
    """A stretch of a document's text: `document.text[start:end] == text`."""

    id: str
    """Unique in the corpus; evidence points to it."""
    document_id: str
    """The document that it is cut from."""
    kind: Literal["paragraph", "heading", "caption", "question", "answer", "definition", "list_item"]
    """What part of the page it is."""
    start: int = Field(ge=0)
    """First character in the document's text, from 0."""
    end: int = Field(ge=0)
    """One past the last character."""
    text: str
    """The words, equal to that stretch of the document."""
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
    """Unique in the corpus."""
    document_id: str
    """The document that shows it."""
    image_sha256: Sha256
    """Hash of its picture in the corpus image table."""
    caption_span_id: str | None
    """The span that is its caption; None where none was found."""
    mention_span_ids: tuple[str, ...] = ()
    """Spans of the text that refer to it."""
    label: str = ""
    """As printed, e.g. `Figure 7.28`, or the XML id where no number is printed."""


class CaseEvent(Record):
    """What happened to a patient on one day."""

    day: int | None = None
    """Days from the first note; None where the images' day is not told."""
    kind: EventKind
    """What kind of event it was, such as a visit, imaging or an operation."""
    span_ids: tuple[str, ...] = ()
    """The note's sentences."""
    study_ids: tuple[str, ...] = ()
    """The pictures."""


class Case(Record):
    """One patient's timeline, de-identified: sentences and pictures in the order in which they came."""

    id: str
    """Pseudonym."""
    source_id: str
    """Source that it came from, as named in the sources file."""
    group_id: str
    """Shared by the case's document and studies: never split."""
    document_id: str
    """The document that holds its notes."""
    site: str
    """Code of the hospital."""
    sex: Literal["F", "M", "O"]
    """As recorded."""
    age_band: str
    """Ten years wide, `90+`, or `unknown`."""
    language: Literal["en", "zh"]
    """Of the notes."""
    events: tuple[CaseEvent, ...]
    """What happened, in the order of its days."""
    cleared: tuple[Sha256, ...]
    """Hashes of the notes and images whose de-identification records say `clean`; without one nothing is a case."""


class Finding(Sparse):
    """A typed statement about a study that is true by construction or by expert reading."""

    LATER: ClassVar[tuple[str, ...]] = ("disc", "side", "grade", "scheme")

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
    """Of `amount`; empty where there is none."""


class LevelMark(Record):
    """Where a vertebral body lies in the picture."""

    level: Level | None
    """None where the truth about the numbering is not determinable."""
    x_px: float
    """Column of the body's centre; pixel centres lie at integers."""
    y_px: float
    """Row of the body's centre, downwards."""
    fully_visible: bool = True
    """False where the border of the picture cuts the body."""


class Study(Record):
    """One two-dimensional picture with what is known about it."""

    id: str
    """Unique in the corpus."""
    source_id: str
    """Source that it came from, as named in the sources file."""
    group_id: str
    """Patient, template or phantom spine: the cluster of every interval, and never split."""
    origin: Origin
    """Whether a patient (`real`) or a computed spine (`phantom`) is shown."""
    modality: Literal["CT", "MR", "XR"]
    """How the picture was made."""
    plane: Literal["sagittal", "coronal", "axial", "lateral"]
    """Plane of the slice, or projection of the radiograph."""
    image_sha256: Sha256
    """Hash of the PNG in the corpus image table."""
    width_px: int = Field(gt=0)
    """Columns of the picture."""
    height_px: int = Field(gt=0)
    """Rows of the picture."""
    spacing_mm: float = Field(gt=0)
    """Edge of one square pixel."""
    marks: tuple[LevelMark, ...]
    """Vertebral bodies, cranial to caudal."""
    numbering_determinable: bool
    """False where no anchor (C2, last rib, sacrum) is in the field of view."""
    findings: tuple[Finding, ...] = ()
    """What is true of the picture."""
    truth: Literal["phantom", "expert_mask", "model_mask", "template", "none"]
    """Where marks come from. `model_mask` is a pseudo-label and is said to be one wherever it is scored."""
    provenance: str
    """JSON: files with their hashes and the slice taken, or the phantom draw that rebuilds the picture."""
    caveats: tuple[str, ...] = ()
    """Limits of the truth, in words; they are carried into the datasheet."""


class ImageBlob(Record):
    """The bytes of one picture."""

    sha256: Sha256
    """Hash of `bytes`; every other record names the picture by it."""
    bytes: bytes
    """The file, as stored."""
    format: Literal["png", "jpeg"]
    """File format of `bytes`."""
    width_px: int = Field(gt=0)
    """Columns of the picture."""
    height_px: int = Field(gt=0)
    """Rows of the picture."""
