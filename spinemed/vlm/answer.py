"""Greedy answers from a local checkpoint, in batches.

Convention: replies come back in the order of the requests, decoded without special tokens, verbatim otherwise. A
request that does not fit is answered with `outcome="failed"` and the reason; nothing is cut to make it fit.

Trap: a reply that hit `max_new_tokens` is whole as far as it goes but unfinished; `finished` says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from spinemed.records import Message
from spinemed.vlm.layout import Encoded, Layout, Refused
from spinemed.vlm.load import load_pair
from spinemed.vlm.series import captioned

__all__ = ["Reply", "Request", "VlmAnswerer"]


@dataclass(frozen=True)
class Request:
    """A conversation that waits for an answer; pictures as PNG or JPEG bytes, in placeholder order."""

    messages: tuple[Message, ...]
    images: tuple[bytes | Image.Image, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What came back."""

    text: str
    outcome: Literal["answered", "failed"] = "answered"
    detail: str = ""
    finished: bool = True
    """False where the reply ran into `max_new_tokens`."""


class VlmAnswerer:
    """Answers requests with one local model.

    Args:
        model: A checkpoint or adapter folder, or a loaded model.
        processor: Needed with a loaded model; read from the folder otherwise.
        batch_size: Requests answered together.
        max_new_tokens: Longest reply.
        max_tokens: Longest prompt plus reply; the model's own limit unless given.

    Raises:
        ModelError: The folder cannot be loaded.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Any,
        processor: Any = None,
        *,
        batch_size: int = 16,
        max_new_tokens: int = 24,
        max_tokens: int | None = None,
    ) -> None:
        if isinstance(model, str | os.PathLike):
            self.model, loaded = load_pair(model)
            processor = loaded if processor is None else processor
        else:
            self.model = model
        if processor is None:
            raise ValueError("a loaded model needs its processor")
        text_config = self.model.config.get_text_config()
        limit = max_tokens or int(text_config.max_position_embeddings)
        self.layout = Layout(processor, max_tokens=limit - max_new_tokens)
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens

    def answer(self, requests: Sequence[Request], advance: Callable[[int], Any] | None = None) -> list[Reply]:
        """Answer all requests greedily.

        Requests are sorted by length within windows of 16 batches, so that padding stays small.

        Args:
            requests: Conversations that end with a user turn.
            advance: Called with the number of requests answered since the last call.
        """
        replies: list[Reply] = []
        # Windows bound the memory: picture tensors of thousands of requests do not fit at once.
        window = 16 * self.batch_size
        for start in range(0, len(requests), window):
            replies += self._answer_window(requests[start : start + window], advance or (lambda _: None))
        return replies

    def _answer_window(self, requests: Sequence[Request], advance: Callable[[int], Any]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        waiting: list[tuple[int, Encoded]] = []
        for number, request in enumerate(requests):
            made = self.layout.encode(captioned(request.messages, request.images), request.images, training=False)
            if isinstance(made, Refused):
                replies[number] = Reply("", "failed", f"{made.reason}: {made.detail}")
                advance(1)
            else:
                waiting.append((number, made))
        waiting.sort(key=lambda item: item[1].length)
        for start in range(0, len(waiting), self.batch_size):
            batch = waiting[start : start + self.batch_size]
            for (number, _), reply in zip(batch, self._generate([made for _, made in batch])):
                replies[number] = reply
            advance(len(batch))
        return [replies[number] for number in range(len(requests))]

    def _generate(self, items: list[Encoded]) -> list[Reply]:
        batch = self.layout.collate(items, training=False)
        batch = {name: value.to(self.model.device) for name, value in batch.items()}
        with torch.inference_mode():
            made = self.model.generate(
                **batch,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=self.layout.end_id,
                pad_token_id=self.layout.pad_id,
            )
        new = made[:, batch["input_ids"].shape[1] :].tolist()
        replies = []
        for ids in new:
            finished = self.layout.end_id in ids
            kept = ids[: ids.index(self.layout.end_id)] if finished else ids
            text = self.layout.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            replies.append(Reply(text, finished=finished))
        return replies
