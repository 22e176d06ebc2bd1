"""Processors for Qwen-VL checkpoints that read pictures without torchvision.

Convention: :func:`load_processor` gives the stock processor where torchvision works and an image-only twin where it
does not; both turn the same picture and text into the same tensors. A saved folder names only stock classes, so that
transformers and vLLM elsewhere load it as any other checkpoint.

Trap: transformers finds a processor's parts by the parameter *names* of `__init__`. The twins below therefore spell
their signature out; a forged `__signature__` would silently lose the chat template.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from spinemed.errors import ModelError
from spinemed.tables import write_json

__all__ = [
    "ImageOnlyQwen3VLProcessor",
    "ImageOnlyQwen25VLProcessor",
    "build_image_processor",
    "load_processor",
    "save_processor",
    "torchvision_works",
]

_VIDEO_BLOCKS = {
    "Qwen3VLProcessor": {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "fps": 2,
        "min_frames": 4,
        "max_frames": 768,
        "do_sample_frames": True,
    },
    "Qwen2_5_VLProcessor": {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "min_frames": 4,
        "max_frames": 768,
        "do_sample_frames": False,
    },
}


class ImageOnlyQwen3VLProcessor(Qwen3VLProcessor):  # type: ignore[misc]
    """Qwen3-VL's processor without its video half."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)

    def validate_inputs(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> None:
        """Refuse videos, then check as the stock class does."""
        _refuse_videos(videos)
        super().validate_inputs(images=images, text=text, videos=None, **kwargs)


class ImageOnlyQwen25VLProcessor(Qwen2_5_VLProcessor):  # type: ignore[misc]
    """Qwen2.5-VL's processor without its video half."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)

    def validate_inputs(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> None:
        """Refuse videos, then check as the stock class does."""
        _refuse_videos(videos)
        super().validate_inputs(images=images, text=text, videos=None, **kwargs)


_TWINS: dict[str, type[Any]] = {
    "Qwen3VLProcessor": ImageOnlyQwen3VLProcessor,
    "Qwen2_5_VLProcessor": ImageOnlyQwen25VLProcessor,
}


def _refuse_videos(videos: Any) -> None:
    if videos is not None:
        raise ModelError(
            "a video was given, but video needs a working torchvision", cure="give pictures, or install torchvision"
        )


@functools.cache
def torchvision_works() -> bool:
    """Whether torchvision can be imported. One that is installed but broken counts as absent."""
    try:
        import torchvision  # type: ignore[import-not-found,unused-ignore] # noqa: F401
    except (ImportError, RuntimeError, OSError):  # a CUDA-linked wheel on a CPU torch fails with RuntimeError
        return False
    return True


def build_image_processor(
    *, patch_size: int, merge_size: int, temporal_patch_size: int, min_pixels: int, max_pixels: int
) -> Any:
    """A Qwen image processor on Pillow: grey level 0 to 255 becomes -1 to 1, size kept within the pixel limits."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=patch_size,
        merge_size=merge_size,
        temporal_patch_size=temporal_patch_size,
        size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def load_processor(path: str | os.PathLike[str]) -> Any:
    """The processor of a checkpoint folder.

    AutoProcessor where torchvision imports or the model does not need it; the image-only twin for Qwen-VL otherwise.
    A LoRA adapter folder holds a processor of its own, written by training.

    Raises:
        ModelError: The folder is missing or its processor files are missing, damaged or of an unknown class.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError("no such checkpoint folder", file=folder, cure="check the path; hub names are not fetched")
    name = _processor_class(folder)
    twin = _TWINS.get(name or "")
    try:
        if twin is not None and not torchvision_works():
            return _load_twin(twin, folder)
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            f"its processor cannot be loaded ({_first_line(error)})",
            file=folder,
            cure="save the processor beside the weights (tokenizer.json, processor_config.json, chat_template.jinja)",
        ) from error


def _processor_class(folder: Path) -> str | None:
    """The class named in `processor_config.json`, `preprocessor_config.json` or `tokenizer_config.json`."""
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        path = folder / file
        if not path.is_file():
            continue
        try:
            name = json.loads(path.read_bytes()).get("processor_class")
        except (ValueError, AttributeError) as error:
            raise ModelError("is not JSON", file=path, cure="copy the checkpoint again") from error
        if name:
            return str(name)
    return None


def _load_twin(twin: type[Any], folder: Path) -> Any:
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    # Hub checkpoints keep the picture settings in preprocessor_config.json, newer saves in processor_config.json.
    settings: dict[str, Any] = {}
    for file in ("preprocessor_config.json", "processor_config.json"):
        path = folder / file
        if path.is_file():
            found = json.loads(path.read_bytes())
            settings = found.get("image_processor", found if "patch_size" in found else settings)
    if not settings:
        raise OSError("no picture settings in processor_config.json or preprocessor_config.json")
    settings = {key: value for key, value in settings.items() if key not in ("image_processor_type", "processor_class")}
    images = Qwen2VLImageProcessorPil(**settings)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.is_file() else tokenizer.chat_template
    if not text:
        raise OSError("no chat template")
    return twin(images, tokenizer, chat_template=text)


def save_processor(processor: Any, path: str | os.PathLike[str]) -> None:
    """Save a processor so that stock loaders read it: stock class names, a video block, no `Pil` suffix.

    The same processor gives the same bytes.
    """
    folder = Path(path)
    processor.save_pretrained(folder)
    file = folder / "processor_config.json"
    values = json.loads(file.read_bytes())
    for stock, twin in _TWINS.items():
        if isinstance(processor, twin):
            values["processor_class"] = stock
            values.setdefault("video_processor", _video_block(stock, values["image_processor"]))
            _clean_tokenizer_config(folder / "tokenizer_config.json", stock)
    images = values.get("image_processor", {})
    if "image_processor_type" in images:
        images["image_processor_type"] = images["image_processor_type"].removesuffix("Pil")
    write_json(file, values)


def _video_block(stock: str, images: dict[str, Any]) -> dict[str, Any]:
    shared = ("patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std", "size", "rescale_factor")
    return {**_VIDEO_BLOCKS[stock], **{key: images[key] for key in shared if key in images}}


def _clean_tokenizer_config(path: Path, stock: str) -> None:
    """Name the stock class and drop what only tells how this process loaded the tokenizer."""
    values = json.loads(path.read_bytes())
    for name in ("is_local", "local_files_only"):
        values.pop(name, None)
    write_json(path, {**values, "processor_class": stock})


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
