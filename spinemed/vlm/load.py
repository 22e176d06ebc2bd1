"""Open a checkpoint folder as a model: full weights, or a LoRA adapter on its base.

Convention: folders only, nothing is fetched. An adapter folder is one that holds `adapter_config.json`; its base is
the path written there, taken relative to the adapter folder when it is relative.

Code that a checkpoint brings along and pickled weights run whatever their author wrote into them: both are refused
unless the caller names the revision, and the folder is that revision.

Trap: a missing weight is not an error for transformers, which fills it at random with a warning; here it is refused.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from spinemed.errors import ModelError
from spinemed.records import content_hash
from spinemed.tables import MANIFEST, file_sha256, parse_json

__all__ = ["base_of", "check_revision", "checkpoint_hash", "is_adapter", "load_model", "load_pair", "peft_calls"]

Precision = Literal["float64", "float32", "bfloat16", "float16", "auto"]

PICKLED = (".bin", ".pt", ".pth")
HASHED = (".json", ".jinja", ".safetensors", ".txt", ".model", ".py", *PICKLED)


@contextmanager
def peft_calls() -> Iterator[None]:
    """Leave out one notice: PEFT 0.21 asks transformers 5 for a property by its old name. Nothing to mend here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def is_adapter(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a LoRA adapter rather than full weights."""
    return (Path(path) / "adapter_config.json").is_file()


def base_of(path: str | os.PathLike[str]) -> Path:
    """The folder of the base model that an adapter was trained on.

    Raises:
        ModelError: The adapter's config is damaged or its base is gone.
    """
    file = Path(path) / "adapter_config.json"
    try:
        name = parse_json(file.read_bytes())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("names no base model", file=file, cure="train the adapter again") from error
    base = Path(name) if Path(name).is_absolute() else (Path(path) / name)
    if not base.is_dir():
        raise ModelError(
            f"its base model '{name}' is not there",
            file=file,
            field="base_model_name_or_path",
            cure="put the base back, or use a merged folder (`spinemed train merge`)",
        )
    return base.resolve()


def checkpoint_hash(folder: Path) -> str:
    """Hash over the files that make up a checkpoint: configs, tokenizer, template, weights, code. Not its manifest."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in HASHED and path.name != MANIFEST]
    return content_hash({path.name: file_sha256(path) for path in files if path.is_file()})


def check_revision(folder: Path, revision: str | None) -> bool:
    """Whether a checkpoint may run code of its own and unpickle weights: only where it is the revision that was named.

    Raises:
        ModelError: Its weights are pickled and no revision is named, or the folder is another one than was named.
    """
    if revision is not None:
        if revision not in (folder.name, checkpoint_hash(folder)):
            raise ModelError(
                f"is not revision {revision[:40]}",
                file=folder,
                field="base_revision",
                cure="give the content hash of this folder, or the snapshot folder named after the commit",
            )
        return True
    names = {path.suffix for path in folder.iterdir()}
    if ".safetensors" not in names and names & set(PICKLED):
        raise ModelError(
            "its weights are pickled, and unpickling runs whatever they hold",
            file=folder,
            cure="convert them to safetensors, or name the revision that you trust (base_revision)",
        )
    return False


def load_model(
    path: str | os.PathLike[str],
    *,
    precision: Precision = "float32",
    merge: bool = True,
    attention: str | None = None,
    quantization: Any = None,
    revision: str | None = None,
) -> Any:
    """A model ready to answer or to train.

    Args:
        path: A full checkpoint folder or a LoRA adapter folder.
        precision: The number format of the weights in memory; `auto` keeps the file's. Half-precision files are
            widened to float32 by default, which is what CPUs are fast at.
        merge: Fold an adapter into its base (one plain model) instead of keeping it on top.
        attention: Name of the attention kernel; transformers' choice unless given.
        quantization: A quantisation config of transformers, for weights in fewer bits.
        revision: See :func:`check_revision`.

    Raises:
        ModelError: The folder is missing, no vision-language model, damaged, lacks weights, or may not be trusted.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    folder = Path(path)
    if not folder.is_dir():
        raise ModelError("no such checkpoint folder", file=folder, cure="check the path; hub names are not fetched")
    if is_adapter(folder):
        return _load_adapter(folder, precision, merge, revision)
    if not (folder / "config.json").is_file():
        raise ModelError(
            "holds neither config.json nor adapter_config.json", file=folder, cure="give a finished checkpoint folder"
        )
    trusted = check_revision(folder, revision)
    more = {"attn_implementation": attention, "quantization_config": quantization}
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype="auto" if precision == "auto" else getattr(torch, precision),
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=trusted,
            use_safetensors=None if trusted else True,
            **{name: value for name, value in more.items() if value is not None},
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise ModelError(
            f"cannot be loaded as a vision-language model ({type(error).__name__}: {_first_line(error)})",
            file=folder,
            cure="copy or make the checkpoint again",
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"lacks {len(missing)} weights, e.g. {missing[0]}", file=folder, cure="copy or make the checkpoint again"
        )
    return model.eval()


def _load_adapter(folder: Path, precision: Precision, merge: bool, revision: str | None) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    check_revision(folder, None)
    model = load_model(base_of(folder), precision=precision, revision=revision)
    try:
        with peft_calls():
            model = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the adapter does not fit its base ({_first_line(error)})", file=folder, cure="train the adapter again"
        ) from error
    return model.merge_and_unload().eval() if merge else model.eval()


def load_pair(path: str | os.PathLike[str], *, precision: Precision = "float32") -> tuple[Any, Any]:
    """Model and processor of one folder; an adapter without a processor of its own uses its base's.

    Raises:
        ModelError: As :func:`load_model` and :func:`~spinemed.vlm.processor.load_processor`.
    """
    model = load_model(path, precision=precision)
    folder = Path(path)
    if is_adapter(folder) and not (folder / "processor_config.json").is_file():
        folder = base_of(folder)
    # Here, not above: transformers takes seconds to import, and most of this module only looks at files.
    from spinemed.vlm.processor import load_processor

    return model, load_processor(folder)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
