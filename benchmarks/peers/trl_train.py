"""TRL's SFTTrainer on the benchmark's rows: its own collator, its own loss, PEFT adapters on the language part.

Convention: rows go in as prompt, completion and images, the form in which TRL counts the loss on answers only;
`max_length=None`, because otherwise it cuts rows. Packing and padding-free are refused by TRL for rows with images.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import torch
from child_train import BATCH, FOLDER, LORA, SETTINGS, THREADS, Counts, rows, serve
from datasets import Dataset, Features, List, Value
from datasets import Image as ImageColumn
from peft import LoraConfig
from transformers import AutoModelForImageTextToText
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from trl import SFTConfig, SFTTrainer


class ImageOnly(Qwen3VLProcessor):  # type: ignore[misc,unused-ignore]
    """Without the video half, which needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **kwargs: Any):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)

    def validate_inputs(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> None:
        """As the stock class, without videos."""
        super().validate_inputs(images=images, text=text, videos=None, **kwargs)


def main() -> None:
    """Build everything, warm up, train under the clock."""
    torch.set_num_threads(THREADS)
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    base = FOLDER / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    template = (base / "chat_template.jinja").read_text()
    processor = ImageOnly(Qwen2VLImageProcessorPil.from_pretrained(base), tokenizer, chat_template=template)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    turn = List({"role": Value("string"), "content": Value("string")})
    data = Dataset.from_list(
        [
            {
                "prompt": [{**m, "content": m["content"].replace("<image>\n", "")} for m in row["messages"][:-1]],
                "completion": row["messages"][-1:],
                "images": [str(FOLDER / name) for name in row["pictures"]],
            }
            for row in rows()
        ],
        features=Features({"prompt": turn, "completion": turn, "images": List(ImageColumn())}),
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(FOLDER / "trl"), per_device_train_batch_size=BATCH, max_length=None,
            gradient_checkpointing=False, completion_only_loss=True, **SETTINGS,
        ),
        train_dataset=data, processing_class=processor, peft_config=LoraConfig(**LORA),
    )  # fmt: skip
    collate, counts = trainer.data_collator, Counts()
    warm = collate([data[number] for number in range(2)])
    trainer.model(**warm).loss.backward()
    trainer.model.zero_grad()
    trainer.data_collator = lambda items: counts.see(collate(items))

    def work() -> tuple[Counts, list[float], dict[str, Any]]:
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        trains = sum(value.numel() for value in trainer.model.parameters() if value.requires_grad)
        return counts, losses, {"trainable": trains}

    serve("TRL", {name: importlib.metadata.version(name) for name in ("trl", "transformers", "torch")}, work)


if __name__ == "__main__":
    main()
