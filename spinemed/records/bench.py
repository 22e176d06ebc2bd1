"""The benchmark: questions complete in themselves, replies, judgements.

Convention: fields that joined later stay out of the JSON while they are empty, so earlier files and hashes hold.

Trap: `answer`, `facts`, `rubric` and `tolerance` are the truth. A runner sends `messages` and pictures and
nothing else; in a consultation the patient's words come from `facts`, when they are asked for.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from spinemed.anatomy import Disc, Level
from spinemed.records.answers import Message, Option, check_answer, check_placeholders
from spinemed.records.base import AnswerKind, Axis, Origin, Record, Sha256, Sparse, Task

__all__ = [
    "CaseFact",
    "Condition",
    "Outcome",
    "Prediction",
    "Question",
    "RubricItem",
    "Sample",
    "Score",
    "ScoreOutcome",
    "ToolCall",
]

Condition = Literal[
    "full", "blind", "withheld", "other_patient", "shuffled_labels", "options_only", "tools",
    "rotated_1", "rotated_2", "rotated_3", "rotated_4", "rotated_5", "rotated_6", "rotated_7",
]  # fmt: skip
"""`full` is the question itself. `blind`: grey pictures. `withheld`: no picture at all. `other_patient`: the picture of
somebody else. `shuffled_labels`: the names of levels in the question permuted. `options_only`: no question.
`rotated_N`: options moved on by N. `tools`: the question itself, and functions may be called."""
Outcome = Literal["answered", "refused", "truncated", "timed_out", "failed", "api_error"]
"""What became of a request: an answer, or which kind of failure."""
ScoreOutcome = Literal["parsed", "unparsed", "refused", "truncated", "timed_out", "failed", "api_error"]
"""The same after reading: an answer was read (`parsed`), or none could be (`unparsed`)."""


class CaseFact(Sparse):
    """One thing that is true of a case: what a report must hold, or what a patient tells when asked."""

    LATER: ClassVar[tuple[str, ...]] = ("level", "disc", "side", "grade", "topic", "needed", "hidden", "text_zh")

    id: str
    """Unique in its sample."""
    kind: Literal[
        "complaint", "history", "examination", "imaging", "red_flag", "diagnosis", "urgency", "plan", "risk",
        "follow_up",
    ]  # fmt: skip
    """What sort of thing it is; decides where a report or a dialogue must bring it up."""
    text: str
    """In English, one sentence."""
    text_zh: str = ""
    """The same in Chinese."""
    topic: str = ""
    """What asks for it, e.g. `bladder`, `fever`: a topic of the patient's rules."""
    level: Level | None = None
    """Of what concerns one vertebra."""
    disc: Disc | None = None
    """Of what concerns a disc and its two vertebrae."""
    side: Literal["left", "right"] | None = None
    """The patient's, of what lies on one side."""
    grade: str | None = None
    """A grade or a size with its unit, as it must be stated."""
    needed: bool | None = None
    """Whether an answer without it is incomplete."""
    hidden: bool | None = None
    """Whether a patient keeps it until asked for it directly."""


class RubricItem(Sparse):
    """A yes/no criterion with signed points: points are earned where it is met, so harm has negative ones."""

    LATER: ClassVar[tuple[str, ...]] = ("fact_ids", "error")

    id: str
    """Unique in its sample."""
    points: int = Field(ge=-10, le=10)
    """Earned where the criterion is met; negative ones mark harm."""
    criterion: str
    """Read alone it can be answered with yes or no."""
    fact_ids: tuple[str, ...] = ()
    """Facts of the sample that it was derived from."""
    error: Literal["", "wrong_level", "wrong_side", "wrong_grade", "missed", "invented", "unsafe"] = ""
    """The spine error that a criterion with negative points describes."""


class Sample(Sparse):
    """One benchmark question, complete: nothing else is needed to answer or to score it."""

    LATER: ClassVar[tuple[str, ...]] = (
        "unit", "tolerance", "licence", "evidence", "difficulty", "image_need", "fact", "variant", "language", "facts",
        "rubric",
    )  # fmt: skip

    id: str
    """Unique in its set; scoring joins replies to it."""
    axis: Axis
    """What the question is about: level identification, pathology or surgical planning."""
    task: Task
    """Form in which it is asked."""
    messages: tuple[Message, ...]
    """Everything before the answer."""
    images: tuple[str, ...]
    """Paths relative to the folder of `samples.jsonl`, named by hash."""
    answer: str
    """Canonical truth, such as `L3`, `L4/5`, `wedge`, `B`, a number, or the text itself."""
    answer_kind: AnswerKind
    """How the reply is read and compared."""
    options: tuple[Option, ...] = ()
    """Choices of a multiple-choice item, in the order shown."""
    categories: tuple[str, ...] = ()
    """The closed set of answers for `answer_kind: category`."""
    levels: tuple[Level, ...] = ()
    """Vertebrae that the question or its answer is about."""
    cluster: str
    """Patient, phantom or document group: intervals and tests resample these."""
    origin: Origin
    """Whether its picture or text is a patient's (`real`) or computed (`phantom`)."""
    source_id: str
    """Source that it came from, as named in the sources file."""
    tags: tuple[str, ...] = ()
    """Free marks, such as `solvable:text`; scores can be grouped by them."""
    unit: Literal["", "deg", "mm", "percent"] = ""
    """Of a `number`; empty for a plain count."""
    tolerance: float | None = Field(default=None, ge=0)
    """A `number` is right within it, in its unit. The error in units is the main figure all the same."""
    licence: str = ""
    """SPDX identifier of the picture and text."""
    evidence: tuple[str, ...] = ()
    """Ids or hashes that the truth rests on."""
    difficulty: Literal["", "easy", "medium", "hard"] = ""
    """By rule, from size and contrast of what is asked; empty where no rule applies."""
    image_need: Literal["", "needed", "helpful", "unneeded"] = ""
    """Whether the question can be answered without its picture."""
    fact: str = ""
    """Samples that ask for one fact in several ways share it."""
    variant: str = ""
    """How this one asks: `base`, `reworded`, `zh`, `lateral`, `t2`, `cropped`, `marker`, `hint`, `from_sacrum`, ..."""
    language: Literal["", "en", "zh"] = ""
    """Of question and answer; empty in sets written before it was recorded."""
    facts: tuple[CaseFact, ...] = ()
    """Truth of a report or a consultation."""
    rubric: tuple[RubricItem, ...] = ()
    """Criteria by which a report or a consultation earns its points."""

    @model_validator(mode="after")
    def _coherent(self) -> Sample:
        check_placeholders(self.messages, len(self.images))
        check_answer(self.answer_kind, self.answer, self.options, self.categories)
        if (self.tolerance is not None or self.unit) and self.answer_kind != "number":
            raise ValueError(f"unit and tolerance belong to a number, not to a {self.answer_kind}")
        return self


class Question(Record):
    """A sample as a contestant gets it: what is asked and the form of the answer, no truth and no origin."""

    id: str
    """Stands for a sample; only who holds the key knows for which."""
    axis: Axis
    """What the question is about."""
    task: Task
    """Form in which it is asked."""
    messages: tuple[Message, ...]
    """Everything before the answer."""
    images: tuple[str, ...]
    """Paths relative to the folder of `questions.jsonl`, named by hash."""
    answer_kind: AnswerKind
    """Form in which the answer must be given."""
    options: tuple[Option, ...] = ()
    """Choices of a multiple-choice item, in the order shown."""
    categories: tuple[str, ...] = ()
    """The closed set of answers for `answer_kind: category`."""
    unit: Literal["", "deg", "mm", "percent"] = ""
    """Of a `number`; empty for a plain count."""
    language: Literal["", "en", "zh"] = ""
    """Of the question; empty where it was not recorded."""

    @model_validator(mode="after")
    def _coherent(self) -> Question:
        check_placeholders(self.messages, len(self.images))
        return self


class ToolCall(Sparse):
    """One call of a function that a model made while it answered."""

    name: str
    """The function that was called."""
    arguments: str
    """JSON as the model wrote it."""
    result_sha256: Sha256
    """Hash of what it answered, byte for byte."""
    ok: bool
    """False where the call was refused or failed; the model was told why."""


class Prediction(Sparse):
    """What a model said to one sample. No clock time here: the same model gives the same bytes."""

    LATER: ClassVar[tuple[str, ...]] = ("turns", "calls")

    sample_id: str
    """The sample that was asked."""
    model: str
    """Name under which the answering system is scored."""
    condition: Condition
    """What the model was shown, such as `full`, or `blind` with the picture replaced by grey."""
    outcome: Outcome
    """Whether it answered, and if not, in which way it failed; failures stay in every denominator."""
    text: str
    """Verbatim reply; empty unless `outcome` is `answered`."""
    detail: str = ""
    """Why, for the other outcomes."""
    request_sha256: Sha256
    """Hash of what was sent: messages, picture hashes, generation settings, model."""
    turns: tuple[Message, ...] = ()
    """A consultation, from the first reply of the model on; `text` is its last."""
    calls: tuple[ToolCall, ...] = ()
    """In the order in which they were made."""


class Score(Sparse):
    """One prediction judged."""

    LATER: ClassVar[tuple[str, ...]] = ("error", "points")

    sample_id: str
    """The sample that was asked."""
    model: str
    """Name of the answering system."""
    condition: Condition
    """What the model was shown."""
    outcome: ScoreOutcome
    """What became of the reply: parsed, refused, not readable as an answer, or not obtained."""
    parsed: str | None
    """Canonical answer read from the reply; None unless `outcome` is `parsed`."""
    correct: bool
    """Whether the parsed answer is the truth; False for everything that could not be parsed."""
    within_one: bool | None = None
    """Level items: within one level by anatomical order. None where no distance is defined."""
    region_correct: bool | None = None
    """Level items: right region. None where no region is defined."""
    offset_levels: int | None = None
    """Level items: predicted minus true, caudal positive."""
    confidence: float | None = None
    """From 0 to 1, where the reply states a number for it."""
    error: float | None = None
    """Numbers: answered minus true, in the unit of the sample."""
    points: float | None = None
    """Reports and consultations: earned share of the points, from 0 to 1."""
