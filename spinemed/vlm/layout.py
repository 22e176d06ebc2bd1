"""From messages and pictures to model inputs: one road for training and for answering.

Convention: a conversation's last assistant turn is the answer. For training, labels are -100 everywhere except on the
answer's tokens and the end-of-turn token that closes it. For answering, the same conversation without its last turn
ends in the generation prompt, and its token ids are those that training put before the answer.

The answer's span is exact by construction: prompt and answer are tokenised separately and joined as ids. Nothing is
ever cut: what is too long, or holds a control token of the model, comes back as :class:`Refused` with a reason. Where a
floor is given, pictures of a conversation that is too long are made smaller first, all alike, down to that floor.

:meth:`Layout.measure` says from picture headers alone what :meth:`Layout.encode` will make, so that a run over many
pictures can be planned without decoding one.

Trap: `<|im_end|>` inside a source text would end a turn. Text that contains any special token of the tokenizer is
refused here rather than encoded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from PIL import Image

from spinemed.errors import ModelError, ReadError
from spinemed.records import IMAGE_PLACEHOLDER, Message

__all__ = ["IGNORE", "Encoded", "Layout", "Measured", "Refused", "bring_to", "open_picture", "picture_size"]

IGNORE = -100
"""Label of a token that carries no loss."""

LOWERING = 0.5**0.25
"""Factor on the pictures' area from one try to the next, where they must be lowered."""

RefusalReason = Literal["too_long", "control_token", "unreadable_picture"]


@dataclass(frozen=True)
class Encoded:
    """One conversation as tensors, unpadded.

    Attributes:
        input_ids: (length,) int64.
        labels: (length,) int64 with `IGNORE` off the answer; None for answering.
        sequence: Further per-token tensors of the processor, each (length,), e.g. `mm_token_type_ids`.
        vision: Picture tensors, batched by concatenation along the first axis, e.g. `pixel_values`.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor | None
    sequence: dict[str, torch.Tensor] = field(default_factory=dict)
    vision: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return int(self.input_ids.shape[0])

    @property
    def answer_tokens(self) -> int:
        """Number of tokens that carry loss."""
        return 0 if self.labels is None else int((self.labels != IGNORE).sum())


@dataclass(frozen=True)
class Measured:
    """What a conversation will come to, known without its pixels.

    Attributes:
        length: Tokens, answer included.
        answer: Tokens of the answer.
        sizes: Width and height to which each picture is brought before the processor sees it.
        tokens: Tokens of each picture.
        lowered: Whether a picture had to be made smaller for the conversation to fit.
    """

    length: int
    answer: int
    sizes: tuple[tuple[int, int], ...] = ()
    tokens: tuple[int, ...] = ()
    lowered: bool = False


@dataclass(frozen=True)
class Refused:
    """A conversation that was not encoded, and why."""

    reason: RefusalReason
    detail: str


def open_picture(data: bytes | Image.Image, name: str = "picture") -> Image.Image:
    """A picture as RGB.

    Raises:
        ReadError: The bytes are no complete picture.
    """
    if isinstance(data, Image.Image):
        return data.convert("RGB")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReadError(f"is no readable picture ({error})", file=name, cure="make the picture again") from error


def picture_size(data: bytes | Image.Image, name: str = "picture") -> tuple[int, int]:
    """Width and height from a picture's header; its pixels are not decoded.

    Raises:
        ReadError: The bytes do not begin like a picture.
    """
    if isinstance(data, Image.Image):
        return data.size
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReadError(f"is no readable picture ({error})", file=name, cure="make the picture again") from error


class Layout:
    """How one model's processor lays out conversations.

    Args:
        processor: From :func:`spinemed.vlm.load_processor`.
        max_tokens: Longest conversation in tokens, answer included; longer ones are refused.
        min_pixels: Floor to which the pictures of a conversation that is too long may be lowered, in pixels each; they
            are left as they are unless given.
        max_pixels: Largest picture, in pixels; the processor's own limit unless given.

    Raises:
        ModelError: The tokenizer has no end-of-turn or padding token, or `min_pixels` is given and the processor cannot
            say how many tokens a picture makes.
    """

    def __init__(
        self, processor: Any, *, max_tokens: int, min_pixels: int | None = None, max_pixels: int | None = None
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.max_tokens = max_tokens
        self.min_pixels = min_pixels
        self.max_pixels = max_pixels
        self._counted: dict[tuple[int, int], int] = {}
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-turn token", cure="set eos_token in tokenizer_config.json")
        self.end_id = int(self.tokenizer.eos_token_id)
        pad = self.tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)
        self._control = sorted(
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special and token.content
        )

    def encode(
        self, messages: Sequence[Message], images: Sequence[bytes | Image.Image], *, training: bool
    ) -> Encoded | Refused:
        """Encode one conversation.

        Args:
            messages: For training, ends with the assistant's answer. For answering, ends with a user turn.
            images: Pictures in the order of the `<image>` placeholders of the user turns.
            training: Whether the answer is part of the input and labelled.

        Raises:
            ValueError: The last turn has the wrong role, or placeholders and pictures differ in number.
            ModelError: The chat template does not put the generation prompt before the answer.
        """
        if refused := self._check(messages, len(images), training):
            return refused
        try:
            pictures = [open_picture(data) for data in images]
        except ReadError as error:
            return Refused("unreadable_picture", str(error))
        if pictures and (self.min_pixels is not None or self.max_pixels is not None):
            planned = self.measure(messages, [picture.size for picture in pictures], training=training)
            if isinstance(planned, Refused):
                return planned
            pictures = [bring_to(picture, size) for picture, size in zip(pictures, planned.sizes, strict=True)]

        prompt = self._render(messages[:-1] if training else messages, generation=True)
        made = self.processor(text=[prompt], images=pictures or None, return_tensors="pt")
        ids = made.pop("input_ids")[0]
        answer = self._answer_ids(messages, prompt) if training else ids.new_empty(0)
        total = len(ids) + len(answer)
        if total > self.max_tokens:
            return Refused("too_long", f"{total} tokens, more than {self.max_tokens}")

        sequence, vision = {}, {}
        for name, value in made.items():
            if name == "attention_mask":
                continue
            if value.shape[:2] == (1, len(ids)):
                sequence[name] = torch.cat([value[0], value.new_zeros(len(answer))])
            else:
                vision[name] = value
        labels = torch.cat([torch.full_like(ids, IGNORE), answer]) if training else None
        return Encoded(torch.cat([ids, answer]), labels, sequence, vision)

    def measure(
        self, messages: Sequence[Message], sizes: Sequence[tuple[int, int]], *, training: bool = True
    ) -> Measured | Refused:
        """What :meth:`encode` will make of a conversation whose pictures have these widths and heights.

        Raises:
            ValueError: As :meth:`encode`.
            ModelError: The processor cannot say how many tokens a picture makes.
        """
        if refused := self._check(messages, len(sizes), training):
            return refused
        prompt = self._render(messages[:-1] if training else messages, generation=True)
        # One token stands for each picture in the prompt; the processor puts the picture's tokens in its place.
        text = len(self.tokenizer(prompt)["input_ids"]) - len(sizes)
        answer = len(self._answer_ids(messages, prompt)) if training else 0
        brought = tuple(_capped(size, self.max_pixels) for size in sizes)
        tokens = self.picture_tokens(brought)
        total, lowered = text + answer + sum(tokens), False
        if total > self.max_tokens and self.min_pixels is not None and brought:
            largest = max(wide * high for wide, high in brought)
            area = float(largest)
            while total > self.max_tokens and area > self.min_pixels:
                area = max(area * LOWERING, float(self.min_pixels))
                smaller = tuple(_capped(size, int(area)) for size in brought)
                tokens = self.picture_tokens(smaller)
                total = text + answer + sum(tokens)
                lowered = True
            brought = smaller if lowered else brought
        if total > self.max_tokens:
            floor = f" with pictures of {self.min_pixels} pixels" if self.min_pixels is not None and sizes else ""
            return Refused("too_long", f"{total} tokens{floor}, more than {self.max_tokens}")
        return Measured(total, answer, brought, tokens, lowered)

    def dummy(self) -> Encoded:
        """A row of one small picture, without a label: for batches without pictures, where every process of a sharded
        run has to call the vision tower in every step (ZeRO-3 waits for the one that does not). It may be longer than
        `max_tokens`, because it stands beside what a batch holds.

        Raises:
            ModelError: The processor cannot lay it out.
        """
        turns = (Message(role="user", content=IMAGE_PLACEHOLDER), Message(role="assistant", content="."))
        free = Layout(self.processor, max_tokens=1 << 30)
        made = free.encode(turns, [Image.new("RGB", (32, 32))], training=True)
        if isinstance(made, Refused):
            raise ModelError(
                f"the processor cannot lay out a small picture ({made.detail})", cure="train in one process"
            )
        return Encoded(made.input_ids, torch.full_like(made.input_ids, IGNORE), made.sequence, made.vision)

    def encode_text(self, messages: Sequence[Message], tokens: Sequence[int]) -> Encoded:
        """What :meth:`encode` makes of a conversation for training, without its picture tensors and without pictures.

        Args:
            messages: Ends with the assistant's answer; checked by :meth:`measure` before.
            tokens: Tokens of each picture.

        Raises:
            ModelError: The processor puts more than one kind of token in a picture's place.
        """
        picture = getattr(self.processor, "image_token_id", None)
        prompt = self._render(messages[:-1], generation=True)
        ids = torch.tensor(self.tokenizer(prompt)["input_ids"], dtype=torch.long)
        stands = torch.zeros(0, dtype=torch.long) if picture is None else torch.nonzero(ids == picture).flatten()
        if len(stands) != len(tokens):
            raise ModelError(
                f"{type(self.processor).__name__} writes {len(stands)} picture tokens for {len(tokens)} pictures",
                field="processor_class",
                cure="train without a feature cache and without a picture cache (cache_mb: 0)",
            )
        repeats = torch.ones_like(ids)
        repeats[stands] = torch.tensor(list(tokens), dtype=torch.long)
        answer = self._answer_ids(messages, prompt)
        joined = torch.cat([ids.repeat_interleave(repeats), answer])
        labels = torch.full_like(joined, IGNORE)
        labels[len(joined) - len(answer) :] = answer
        kinds = {"mm_token_type_ids": torch.eq(joined, int(picture or -1)).long()} if self.rotary else {}
        return Encoded(joined, labels, kinds)

    @property
    def rotary(self) -> bool:
        """Whether the processor marks picture tokens, as models with multimodal rotary positions need."""
        return "mm_token_type_ids" in getattr(self.processor, "model_input_names", ())

    def picture_tokens(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Tokens that pictures of these widths and heights make.

        Raises:
            ModelError: The processor cannot say.
        """
        if not sizes:
            return ()
        count = getattr(self.processor, "_get_num_multimodal_tokens", None)
        if count is None:
            raise ModelError(
                f"{type(self.processor).__name__} cannot say how many tokens a picture makes",
                field="processor_class",
                cure="leave min_pixels and packing out, or use a model whose processor can",
            )
        new = [size for size in dict.fromkeys(sizes) if size not in self._counted]
        if new:  # the processor checks its settings anew with each call, which takes longer than counting
            made = count(image_sizes=[[high, wide] for wide, high in new])
            self._counted.update(zip(new, map(int, made["num_image_tokens"]), strict=True))
        return tuple(self._counted[size] for size in sizes)

    def _check(self, messages: Sequence[Message], pictures: int, training: bool) -> Refused | None:
        if not messages or (messages[-1].role == "assistant") is not training:
            raise ValueError("training needs a last assistant turn, answering a last user turn")
        found = sum(message.content.count(IMAGE_PLACEHOLDER) for message in messages if message.role == "user")
        if found != pictures:
            raise ValueError(f"{found} {IMAGE_PLACEHOLDER} placeholders for {pictures} pictures")
        for message in messages:
            if stray := next((token for token in self._control if token in message.content), None):
                return Refused("control_token", f"a {message.role} turn contains {stray}")
        return None

    def _render(self, messages: Sequence[Message], *, generation: bool) -> str:
        turns = [{"role": message.role, "content": _parts(message)} for message in messages]
        return str(self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation))

    def _answer_ids(self, messages: Sequence[Message], prompt: str) -> torch.Tensor:
        whole = self._render(messages, generation=False)
        if not whole.startswith(prompt):
            raise ModelError(
                "the chat template does not continue its generation prompt with the answer",
                field="chat_template",
                cure="use a template whose assistant turn starts with the generation prompt",
            )
        ids = self.tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        if self.end_id not in ids:
            raise ModelError(
                "the chat template does not close the assistant turn with the end-of-turn token",
                field="chat_template",
                cure="make eos_token the token that ends a turn",
            )
        # What the template writes after the end of the turn (a newline) is no part of the answer.
        return torch.tensor(ids[: ids.index(self.end_id) + 1], dtype=torch.long)

    def collate(self, items: Sequence[Encoded], *, training: bool) -> dict[str, torch.Tensor]:
        """Pad and join: right padding for training, left padding for answering.

        Returns:
            `input_ids`, `attention_mask`, further per-token tensors and, for training, `labels`, each
            (batch, longest); picture tensors joined along their first axis, absent when no item has a picture.
        """
        longest = max(item.length for item in items)

        def padded(values: torch.Tensor, fill: int) -> torch.Tensor:
            gap = longest - len(values)
            return torch.nn.functional.pad(values, (0, gap) if training else (gap, 0), value=fill)

        batch = {
            "input_ids": torch.stack([padded(item.input_ids, self.pad_id) for item in items]),
            "attention_mask": torch.stack([padded(torch.ones_like(item.input_ids), 0) for item in items]),
        }
        for name in sorted({name for item in items for name in item.sequence}):
            batch[name] = torch.stack(
                [padded(item.sequence.get(name, torch.zeros_like(item.input_ids)), 0) for item in items]
            )
        if training:
            batch["labels"] = torch.stack([padded(item.labels, IGNORE) for item in items if item.labels is not None])
        for name in sorted({name for item in items for name in item.vision}):
            batch[name] = torch.cat([item.vision[name] for item in items if name in item.vision])
        return batch


def _capped(size: tuple[int, int], pixels: int | None) -> tuple[int, int]:
    """A size of at most so many pixels and of the same shape, as nearly as whole pixels allow."""
    wide, high = size
    if pixels is None or wide * high <= pixels:
        return size
    scale = (pixels / (wide * high)) ** 0.5
    return max(1, int(wide * scale)), max(1, int(high * scale))


def bring_to(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture at a width and height, as :meth:`Layout.encode` brings it there."""
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _parts(message: Message) -> list[dict[str, str]]:
    """A turn as template parts; only user turns may hold pictures."""
    if message.role != "user":
        return [{"type": "text", "text": message.content}]
    parts: list[dict[str, str]] = []
    for number, text in enumerate(message.content.split(IMAGE_PLACEHOLDER)):
        if number:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    return parts
