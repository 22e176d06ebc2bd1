"""Config of `spinemed data run`: sources, what to draft, what to hold it against, how to split.

Convention: one file drives the whole run; the split fractions and the seed are in it, the sources in their own file.

Trap: a number of items such as 0.5 means "for half of the studies", drawn by seed.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from data_pipeline.config_tasks import StudyTasks, TextTasks
from data_pipeline.unique.stage import UniqueConfig
from data_pipeline.writers.schemas import TaskName
from spinemed.chat import Decoding, LocalConfig, ServerConfig
from spinemed.config import Config, ConfigPath
from spinemed.records import Split

__all__ = ["BuildConfig", "DraftConfig", "ImageItems", "ModelConfig", "ReleaseConfig", "ReviseConfig", "TextItems"]


class ImageItems(Config):
    """How many questions of each kind one study gives; a fraction is drawn by seed."""

    vertebra: float = Field(default=1, ge=0)
    """Which vertebra is marked? The first is the phantom's focus level."""
    disc: float = Field(default=0, ge=0)
    """Which disc is marked?"""
    edge: float = Field(default=0, ge=0, le=2)
    """Which is the lowest, which the highest vertebra in view?"""
    count: float = Field(default=0, ge=0, le=4)
    """How many vertebrae, of which region, are wholly in the picture? Only where a source reads `mask_facts`."""
    column: float = Field(default=0, ge=0, le=1)
    """How many presacral vertebrae does this column have? Only where a source reads `mask_facts`."""
    fracture: float = Field(default=1, ge=0)
    """Which fracture shape does the marked vertebra show? Only where findings say so."""
    healthy_share: float = Field(default=0.2, ge=0, le=1)
    """Share of fracture questions in a fractured spine that ask about a healthy vertebra instead."""
    pfirrmann: float = Field(default=0, ge=0)
    """Which Pfirrmann grade? Only for pictures that cannot show one."""
    modic: float = Field(default=0, ge=0, le=1)
    """Which Modic type? A single picture cannot show one."""
    fixation: float = Field(default=1, ge=0)
    """Which levels does a short-segment fixation span?"""


class TextItems(Config):
    """What is asked about documents."""

    passages: bool = True
    """Which condition does this passage describe?"""
    definitions: bool = True
    """Which term has this definition?"""
    exercises: bool = True
    """Printed multiple-choice exercises."""
    figures: bool = True
    """Which caption, which title belongs to this figure?"""
    rules: bool = True
    """Neighbours and constructs for a stated level, resting on a sentence that gives the numbering."""
    figure_edge_px: int = Field(default=256, ge=64, le=2048)
    """Longest edge of a figure in the release."""
    distractors: int = Field(default=3, ge=2, le=7)
    """Wrong options for each question."""


class DraftConfig(Config):
    """What to draft from which source."""

    text: TextItems = TextItems()
    """Questions on documents."""
    images: dict[str, ImageItems] = Field(default_factory=dict)
    """Questions on studies, by source id; `default` stands for the sources not named."""
    tasks: dict[str, StudyTasks] = Field(default_factory=dict)
    """The four tasks of studies, by source id; `default` stands for the sources not named. Empty: none."""
    texts: TextTasks = TextTasks()
    """Open questions on texts and figures, and questions on captions."""
    mark_style: Literal["ring", "arrow"] = "ring"
    """How a vertebra is pointed out."""


class ReviseConfig(Config):
    """What the reviser may do."""

    passage_characters: int = Field(default=420, ge=120)
    """Longest quoted passage; longer ones are cut to whole sentences."""
    rounds: int = Field(default=3, ge=1, le=10)
    """How often a draft is mended and checked again before it is dropped."""


class ReleaseConfig(Config):
    """How the release is split."""

    fractions: dict[Split, float] = Field(default={"train": 0.8, "validation": 0.1, "test": 0.1})
    """Share of each split among the connected components that no source pins."""

    @model_validator(mode="after")
    def _whole(self) -> ReleaseConfig:
        if abs(sum(self.fractions.values()) - 1) > 1e-9 or any(value < 0 for value in self.fractions.values()):
            raise ValueError("the fractions must be non-negative and add up to 1")
        return self


class ModelConfig(Config):
    """What a language model is asked for, and which one. Used by the writers `openai` and `transformers`."""

    server: ServerConfig | None = None
    """For `writer: openai`: any server that speaks chat completions. Draft and revision share it."""
    checkpoint: LocalConfig | None = None
    """For `writer: transformers`: a checkpoint in this process."""
    documents: dict[TaskName, float] = Field(default={"multiple_choice": 1, "open": 1})
    """Items of each task from one stretch of a document; a fraction is drawn by seed."""
    figures: dict[TaskName, float] = Field(default={"multiple_choice": 1, "open": 1})
    """From one figure with its caption and mentions."""
    studies: dict[TaskName, float] = Field(default={"consultation": 1, "report": 1})
    """From one study and what its record states."""
    languages: tuple[Literal["en", "zh"], ...] = Field(default=("en", "zh"), min_length=1)
    """Each item is asked for in each of these."""
    forms: tuple[Literal["text", "image"], ...] = Field(default=("text", "image"), min_length=1)
    """Without and with the picture; documents have none."""
    span_characters: int = Field(default=4000, ge=200)
    """Most characters of one stretch of a document."""
    figure_edge_px: int = Field(default=512, ge=64, le=2048)
    """Longest edge of a figure as shown to the model and released."""
    decoding: Decoding = Decoding(max_tokens=2048)
    """How the model chooses its words."""
    lost_share: float = Field(default=0.0, ge=0, le=1)
    """Share of requests that may stay without a reply; above it the stage ends with an error and can be resumed."""
    prompt_tokens_per_gpu_second: float = Field(default=5000.0, gt=0)
    """For the plan: how fast one GPU of the server reads."""
    completion_tokens_per_gpu_second: float = Field(default=1000.0, gt=0)
    """For the plan: how fast one GPU of the server writes, all requests together."""

    def key(self) -> dict[str, object]:
        """What the words depend on: everything but how the server is reached, paced and paid."""
        plain = self.model_dump(mode="json", exclude={"server", "checkpoint", "lost_share"})
        if self.server is not None:
            plain["server"] = self.server.identity
        if self.checkpoint is not None:
            plain["checkpoint"] = self.checkpoint.model_dump(mode="json")
        return {name: value for name, value in plain.items() if not name.endswith("_per_gpu_second")}


class BuildConfig(Config):
    """`spinemed data run`."""

    sources: ConfigPath
    """The `sources.yaml` to read, relative to this file."""
    seed: int = Field(default=0, ge=0)
    """Seed of every draw: wordings, distractors, marks, splits. Other seeds draw other phantoms, too."""
    counts: dict[str, int] = Field(default_factory=dict)
    """How many phantoms a source gives, by its id, over the count in the sources: for a first look at a small size."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes of this machine, unless `--workers` says otherwise; the result does not depend on it."""
    shard_items: int = Field(default=2000, ge=10, le=5000)
    """Items of a shard: what one worker has in memory, and what a kill repeats at most."""
    writer: Literal["rules", "openai", "transformers"] = "rules"
    """Who drafts and revises: rules (answers from labels and source sentences), a model behind an OpenAI-compatible
    server, or a checkpoint in this process."""
    model: ModelConfig = ModelConfig()
    """For the other two writers: which model, and what it is asked for."""
    check_figures: bool = False
    """Show pictures and captions that a PDF's layout paired to the model of `model`, whoever writes; what it
    contradicts waits for a person."""
    classify_rest: bool = False
    """Ask the model of `model` about items that the rules file under no condition, whoever writes."""
    draft: DraftConfig = DraftConfig()
    """What the rule writer drafts."""
    revise: ReviseConfig = ReviseConfig()
    """How drafts are mended."""
    unique: UniqueConfig = UniqueConfig()
    """How copies are found, and which benchmarks stay out of training."""
    release: ReleaseConfig = ReleaseConfig()
    """How the release is split."""
    reviews: ConfigPath | None = None
    """What `spinemed review export` wrote: rejected items are released nowhere, edited ones as reviewers worded them,
    and the test split takes only what two reviewers or an adjudicator let in. Copied into the run folder."""
    guidance: ConfigPath | None = None
    """The `guidance.yaml` of the same export: sentences of criteria and words of prompts as clinicians want them told
    to the model that revises."""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The reviews of a run lie in its folder; its config stays what it was before anybody looked at it.
        plain: dict[str, Any] = handler(self)
        plain.pop("reviews", None)
        return {name: value for name, value in plain.items() if name != "guidance" or value is not None}

    @model_validator(mode="after")
    def _guided(self) -> BuildConfig:
        if self.guidance is not None and self.writer == "rules":
            raise ValueError("guidance is for a model: the rule reviser reads no sentences")
        return self
