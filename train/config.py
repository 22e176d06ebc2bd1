"""The schema of a training job: what is trained, on which mixture of releases, in which stages.

Convention: a job is a list of stages. Each stage starts from the model that the one before it ended with, adapters
folded in, and trains adapters of its own. The config says what is learned; how many processes share the work is said
by the launcher alone, so that a job begun on two processes can go on in one.

Trap: `global_batch_size` counts the rows of one optimiser step over all processes and accumulated passes. Accumulation
follows from it and is written nowhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from spinemed.config import Config, ConfigPath

__all__ = [
    "PARTS",
    "FeatureCache",
    "Logs",
    "LoraSettings",
    "Method",
    "Pace",
    "Packing",
    "Part",
    "PartRates",
    "Precision",
    "Rate",
    "Schedule",
    "Share",
    "Stage",
    "StageSchedule",
    "TrainConfig",
]

Precision = Literal["float32", "bfloat16", "float16"]
Method = Literal["lora", "dora", "rslora", "qlora", "full"]
Packing = Literal["padded", "grouped", "packed"]
Part = Literal["vision", "projector", "language"]
Rate = Annotated[float, Field(gt=0)] | Literal["train", "frozen"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$")]

PARTS: tuple[Part, ...] = ("vision", "projector", "language")


class Pace(Config):
    """How fast a stage trains, whatever its length."""

    batch_size: int = Field(default=16, ge=1)
    """Rows per device and forward pass."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(default=20, ge=0)
    """Steps over which the learning rate rises from 0."""
    decay: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """How the learning rate falls afterwards."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW weight decay."""
    beta2: float = Field(default=0.98, gt=0, lt=1)
    """AdamW second-moment decay; short runs need a shorter memory than the usual 0.999."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    autocast: Literal["none", "bfloat16", "auto"] = "none"
    """Compute in bfloat16 while weights, gradients and updates stay in float32. `auto`: where the hardware multiplies
    bfloat16 itself; elsewhere it would be many times slower than float32. Results repeat on the same machine only."""
    save_every: int = Field(default=200, ge=1)
    """Steps between checkpoints."""
    log_every: int = Field(default=20, ge=1)
    """Steps between journalled metrics."""


class Schedule(Pace):
    """How long and how fast one network trains. Counted in steps, never in seconds, so that a run can be repeated."""

    steps: int = Field(ge=1)
    """Optimiser steps."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes per optimiser step."""


class StageSchedule(Pace):
    """How long and how fast a stage of a training job trains: exactly one of `steps`, `epochs` and `tokens`."""

    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the mixture; the last step is filled up from the next pass."""
    tokens: int | None = Field(default=None, ge=1)
    """Input tokens: the stage ends with the step that reaches them. Equal budgets make mixtures comparable."""
    global_batch_size: int | None = Field(default=None, ge=1)
    """Rows (packed: bins) of one optimiser step, over all processes and accumulated passes; `batch_size` unless given.
    A multiple of `batch_size` times the number of processes."""
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    """Instead of `warmup_steps`: part of all steps."""

    @model_validator(mode="after")
    def _one_length(self) -> StageSchedule:
        if sum(value is not None for value in (self.steps, self.epochs, self.tokens)) != 1:
            raise ValueError("needs exactly one of steps, epochs and tokens")
        if self.per_step % self.batch_size:
            raise ValueError(f"global_batch_size is no multiple of batch_size ({self.batch_size})")
        return self

    @property
    def per_step(self) -> int:
        """Rows (packed: bins) of one optimiser step."""
        return self.global_batch_size or self.batch_size


class Share(Config):
    """One release in a stage's mixture, or a part of it."""

    release: str
    """A name from `releases`."""
    weight: float = Field(default=1.0, gt=0)
    """How often its rows are drawn in one pass: 1 each once, 0.5 every second one, 2 each twice. Drawn before the
    start, by the seed."""
    axes: tuple[str, ...] = ()
    """Keep rows of these axes only; all when empty."""
    tasks: tuple[str, ...] = ()
    """Keep rows of these tasks only; all when empty."""
    languages: tuple[str, ...] = ()
    """Keep rows in these languages only; all when empty."""
    tags: tuple[str, ...] = ()
    """Keep rows with one of these tags only; all when empty."""
    without_tags: tuple[str, ...] = ()
    """Leave out rows with one of these tags."""


class PartRates(Config):
    """What trains: a learning rate, `train` (at the schedule's rate) or `frozen`, for each part of the model. With
    adapters, a part that trains gets adapters on its linear layers."""

    vision: Rate = "frozen"
    """The image encoder."""
    projector: Rate = "frozen"
    """What maps image features to the language model."""
    language: Rate = "train"
    """The language model."""

    @model_validator(mode="after")
    def _something(self) -> PartRates:
        if all(getattr(self, part) == "frozen" for part in PARTS):
            raise ValueError("every part is frozen")
        return self

    @property
    def language_only(self) -> bool:
        """Whether vision and projector stay as they are."""
        return self.vision == self.projector == "frozen"

    def rate(self, part: Part, otherwise: float) -> float | None:
        """The learning rate of a part; None when it is frozen."""
        value = getattr(self, part)
        if value == "frozen":
            return None
        return otherwise if value == "train" else float(value)


class LoraSettings(Config):
    """Low-rank adapters (Hu et al. 2021); weight-decomposed with `method: dora` (Liu et al. 2024), scaled by the
    square root of the rank with `method: rslora` (Kalajdzievski 2023)."""

    rank: int = Field(default=16, ge=1)
    """Rank of each update."""
    alpha: int = Field(default=32, ge=1)
    """Updates are scaled by alpha / rank (rslora: alpha / sqrt(rank))."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""
    targets: str | None = None
    """Regular expression on module names. Unless given: every linear layer of the parts that train."""
    modules_to_save: tuple[str, ...] = ()
    """Modules trained whole beside the adapters, by the end of their names, e.g. `lm_head`."""


class FeatureCache(Config):
    """Image features of a frozen tower, computed once and kept on disk under a hash of content and settings."""

    limit_gb: float = Field(default=50.0, gt=0)
    """Disk for features; the job is refused when its pictures need more."""
    folder: ConfigPath | None = None
    """Where they lie; `scratch/features` of the run unless given. Several runs may share a folder."""


class Stage(Config):
    """One stage: a mixture, a schedule, and what trains."""

    name: Name
    """Names its checkpoints, its folders and its lines in the ledger."""
    mixture: tuple[Share, ...] = Field(min_length=1)
    """Where its rows come from."""
    schedule: StageSchedule
    """Its length and rates."""
    method: Method = "lora"
    """Adapters (lora, dora, rslora, or qlora on a 4-bit base, CUDA only), or all weights of the parts that train."""
    lora: LoraSettings = LoraSettings()
    """Settings of the adapters."""
    parts: PartRates = PartRates()
    """What trains, and how fast."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longer rows have their pictures lowered to `min_pixels`; those that still do not fit are left out and counted."""
    min_pixels: int | None = Field(default=None, ge=1)
    """The floor to which a picture may be lowered; pictures are left as they are unless given."""
    max_pixels: int | None = Field(default=None, ge=1)
    """Largest picture, in pixels; the processor's own limit unless given."""
    packing: Packing = "grouped"
    """`padded`: rows in drawn order. `grouped`: rows of like length share a batch. `packed`: several rows in one
    sequence that do not see each other, where the model family allows it; `grouped` with a journalled reason else."""
    bin_tokens: int | None = Field(default=None, ge=16)
    """With `packed`: tokens of one bin; `max_tokens` unless given."""
    curriculum: Literal["none", "length", "difficulty"] = "none"
    """Order of the rows within a pass: drawn, short ones first, or by their `difficulty:N` tag, lowest first."""
    deepspeed: ConfigPath | None = None
    """DeepSpeed's JSON (ZeRO-2 or ZeRO-3) for this stage; DDP where several processes run without one."""
    feature_cache: FeatureCache | None = None
    """Keep image features of a frozen vision tower and projector; none unless given."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""

    @model_validator(mode="after")
    def _fits(self) -> Stage:
        if self.feature_cache is not None and not self.parts.language_only:
            raise ValueError("feature_cache needs vision and projector frozen")
        if self.bin_tokens is not None and (self.packing != "packed" or self.bin_tokens < self.max_tokens):
            raise ValueError("bin_tokens belongs to packing: packed, and is at least max_tokens")
        if self.packing == "packed" and self.schedule.batch_size != 1:
            raise ValueError("packing: packed needs schedule.batch_size: 1 (one bin per device and forward pass)")
        if self.packing == "packed" and self.curriculum != "none":
            raise ValueError("packing: packed mixes rows of all lengths; curriculum belongs to padded and grouped")
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError("min_pixels is above max_pixels")
        if self.method == "full" and self.lora != LoraSettings():
            raise ValueError("lora belongs to the methods with adapters")
        return self


class Logs(Config):
    """Where metrics go beside the run's journal."""

    tensorboard: bool = True
    """TensorBoard files in `logs/`, where TensorBoard is installed; its absence is journalled."""
    wandb_project: str | None = None
    """Weights & Biases project; nothing is sent unless given."""


class TrainConfig(Config):
    """`spinemed train run`."""

    base: ConfigPath
    """Checkpoint folder to start from."""
    base_revision: str | None = None
    """Needed for a base that brings code of its own or pickled weights, which are refused otherwise: its content hash,
    or the commit that its snapshot folder is named after."""
    releases: dict[Name, ConfigPath] = Field(min_length=1)
    """Release folders by name."""
    split: Literal["train"] = "train"
    """Which rows to train on. The other splits are held out, and may hold what may only be evaluated on."""
    benchmarks: tuple[ConfigPath, ...] = ()
    """Samples folders of `spinemed bench samples` that the model will be asked; `spinemed train verify` refuses a
    training row that shares a picture, a whole text question or a patient with them."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """In order; each starts from the merged model of the one before."""
    seed: int = 0
    """Of adapter weights, mixtures, row order and dropout."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch in each process. Results repeat for the same number only."""
    workers: int = Field(default=0, ge=0)
    """Processes that lay rows out beside each training process; 0: the training process itself."""
    cache_mb: int = Field(default=1200, ge=0)
    """Picture tensors kept in memory, in MB, by each process."""
    weights: Literal["float64", "float32", "bfloat16"] = "float32"
    """Number format of the weights while they train. Small updates vanish in bfloat16; float64 is for proofs."""
    precision: Precision = "float32"
    """Number format of the saved whole models."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """`auto`: FlashAttention 2 where it is installed and the weights are in half precision, else sdpa."""
    liger: Literal["auto", "off"] = "auto"
    """Liger kernels on a GPU where they are installed. Their absence is journalled."""
    logs: Logs = Logs()
    """Where metrics go."""

    @model_validator(mode="after")
    def _names_fit(self) -> TrainConfig:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have one name")
        for stage in self.stages:
            for share in stage.mixture:
                if share.release not in self.releases:
                    raise ValueError(f"stage {stage.name} names the release '{share.release}', which `releases` lacks")
        return self
