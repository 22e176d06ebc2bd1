"""vLLM in this process: many questions at once, tensor parallel over GPUs, questions of one picture side by side.

Convention: one engine is one data-parallel part; more of them are workers of `crew.py`, each with GPUs of its own,
which share the blocks of one predictions folder (`--workers N`). Within a block the requests are put in the order of
their pictures and begin with them, so that the engine's prefix cache holds the tokens and its encoder cache (by content
hash) the features of a picture for all its questions. Prompts are the chat's own (`LLM.chat` applies the checkpoint's
template), pictures are data URLs, decoding is greedy with the seed unless told otherwise.

vLLM is heavy and lives in an environment of its own (`pip install 'spinemed[vllm]'`); it is imported when the first
question is asked, and what builds requests and reads outputs needs it not.

Trap: replies of a batched engine may differ in their last words from those of an unbatched one (kernels add in another
order). The version, dtype and parallel sizes are part of the identity, so such runs are told apart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from bench.runner.answerers import Reply, Request
from bench.runner.local import checkpoint_sha256
from bench.runner.server import chat_request
from spinemed.chat import LOCAL, Decoding
from spinemed.config import Config
from spinemed.errors import MissingPartError

__all__ = ["Engine", "VllmAnswerer", "VllmConfig", "engine_options", "in_order_of_pictures", "reply_of"]


class VllmConfig(Config):
    """How the engine runs."""

    tensor_parallel: int = 1
    """GPUs that share the weights. Weights that fit one GPU are asked faster by more workers than by more GPUs each."""
    dtype: str = "bfloat16"
    """Number format of the weights."""
    max_model_len: int = 16_384
    """Longest prompt and reply together, in tokens."""
    gpu_memory: float = 0.9
    """Share of a GPU's memory that the engine takes."""
    pictures_per_prompt: int = 25
    """At most; a question with more is refused by the engine and counted as failed."""
    encoder_data_parallel: bool = True
    """Whether each GPU encodes pictures of its own instead of a part of each, where weights are shared."""


class Engine(Protocol):
    """What is used of `vllm.LLM`."""

    def chat(self, messages: list[Any], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """One output for each conversation, in order."""


def engine_options(folder: Path, config: VllmConfig, decoding: Decoding) -> dict[str, Any]:
    """What the engine is started with."""
    options = {
        "model": str(folder),
        "dtype": config.dtype,
        "seed": decoding.seed or 0,
        "max_model_len": config.max_model_len,
        "gpu_memory_utilization": config.gpu_memory,
        "tensor_parallel_size": config.tensor_parallel,
        "limit_mm_per_prompt": {"image": config.pictures_per_prompt},
        "enable_prefix_caching": True,
    }
    if config.tensor_parallel > 1 and config.encoder_data_parallel:
        options["mm_encoder_tp_mode"] = "data"
    return options


def in_order_of_pictures(requests: Sequence[Request]) -> list[int]:
    """Places of the requests so that those of one set of pictures stand together, longest shared beginnings first."""
    return sorted(range(len(requests)), key=lambda place: (requests[place].images, requests[place].sample_id))


def reply_of(output: Any) -> Reply:
    """What became of a request: the engine's first completion, by its finish reason."""
    (first, *_) = output.outputs
    if first.finish_reason == "length":
        return Reply("", "truncated", "length: reached the token limit")
    if first.finish_reason not in ("stop", None):
        return Reply("", "failed", f"the engine ended with {first.finish_reason}")
    return Reply(first.text) if first.text.strip() else Reply("", "answered", "no words")


class VllmAnswerer:
    """Answers from a checkpoint folder by vLLM.

    Args:
        folder: Checkpoint, merged: an adapter's folder is refused.
        config: The engine.
        decoding: How words are chosen.
        engine: A started engine; one is started when the first question is asked unless given.

    Raises:
        ModelError: No checkpoint there.
    """

    kind = "vllm"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        config: VllmConfig | None = None,
        decoding: Decoding | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.folder, self.config = Path(folder), config or VllmConfig()
        self.decoding = decoding or Decoding(max_tokens=32)
        self.sha256 = checkpoint_sha256(folder)
        self._engine = engine
        self._sampling: Any = None

    @property
    def model(self) -> str:
        """Folder name and hash."""
        return f"{self.folder.resolve().name}@{self.sha256[:12]}"

    @property
    def identity(self) -> dict[str, Any]:
        """Weights by hash, engine settings and version, decoding."""
        return {
            "checkpoint_sha256": self.sha256,
            "engine": {"vllm": _version(), **self.config.model_dump(mode="json")},
            "decoding": self.decoding.model_dump(mode="json"),
        }

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies, in order.

        Raises:
            MissingPartError: vLLM is not installed.
        """
        engine = self._started()
        order = in_order_of_pictures(requests)
        talks = [chat_request(requests[place], self.decoding, LOCAL).content(with_images=True) for place in order]
        outputs = engine.chat(talks, sampling_params=self._sampling, use_tqdm=False)
        replies: dict[int, Reply] = {}
        for place, output in zip(order, outputs, strict=True):
            replies[place] = reply_of(output)
        return [replies[place] for place in range(len(requests))]

    def _started(self) -> Engine:
        if self._engine is None:
            try:
                vllm = import_module("vllm")
            except ImportError as error:
                raise MissingPartError("vLLM", "vllm", "vllm") from error
            own = self.decoding
            self._sampling = vllm.SamplingParams(
                temperature=own.temperature, top_p=own.top_p, max_tokens=own.max_tokens, seed=own.seed
            )
            self._engine = vllm.LLM(**engine_options(self.folder, self.config, own))
        assert self._engine is not None
        return self._engine


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vllm")
    except PackageNotFoundError:
        return "not installed"
