"""What runs a training step: one process, DDP, or DeepSpeed's ZeRO, chosen by the launcher and the stage's JSON file.

Convention: the launcher (torchrun, accelerate, deepspeed, Slurm) says how many processes there are, the stage's
`deepspeed` file whether ZeRO shards optimiser, gradients and weights among them. What a stage's schedule says is said
there alone: batch sizes, rates and clipping stand as "auto" in the JSON file.

Trap: without a GPU, accelerate takes no notice of a DeepSpeed config and trains with DDP, or each process by itself,
without a word. Here the process group is made first and named, and :func:`check_engine` looks at what came up in the
first step.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from spinemed.errors import ConfigError, MissingPartError, RunError
from spinemed.tables import parse_json

__all__ = [
    "check_engine",
    "engine_arguments",
    "forget_engine",
    "one_gpu",
    "process_count",
    "process_rank",
    "read_deepspeed",
]

BATCHES = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
OWN = ("optimizer", "scheduler", "gradient_clipping", *BATCHES)


def process_count() -> int:
    """Processes that share the training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return int(torch.distributed.get_rank()) if process_count() > 1 else 0


def read_deepspeed(file: Path) -> dict[str, Any]:
    """A DeepSpeed config, checked for what a stage's schedule says already.

    Raises:
        ConfigError: It is no JSON object, names no ZeRO stage of 1 to 3, or fixes what the schedule says.
    """
    try:
        values = parse_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", file=file, cure="check the path") from error
    except ValueError as error:
        raise ConfigError(f"is not JSON ({error})", file=file, cure="mend the file") from error
    zero = values.get("zero_optimization") if isinstance(values, dict) else None
    if not isinstance(zero, dict) or zero.get("stage") not in (1, 2, 3):
        raise ConfigError(
            "names no ZeRO stage of 1, 2 or 3", file=file, field="zero_optimization.stage", cure="write one of them"
        )
    for name in OWN:
        if values.get(name, "auto") != "auto":
            raise ConfigError(
                "is said by the stage's schedule", file=file, field=name, cure='remove it, or write "auto"'
            )
    return dict(values)


def engine_arguments(deepspeed: Path | None) -> tuple[dict[str, Any], int]:
    """Arguments of `TrainingArguments` that choose the engine, and the ZeRO stage (0 without).

    Raises:
        ConfigError: The file is wrong, one process alone was started, or it offloads to a CPU where nothing else is.
        MissingPartError: DeepSpeed is not installed.
    """
    # A stage before this one, or `accelerate launch`, leaves settings here that would bring up an engine of their own,
    # or a number format that `autocast` does not name.
    strange = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_", "ACCELERATE_MIXED_PRECISION")
    for name in [name for name in os.environ if name.startswith(strange)]:
        del os.environ[name]
    gpu = torch.cuda.is_available()
    if deepspeed is None:
        return {"use_cpu": not gpu}, 0
    values = read_deepspeed(deepspeed)
    zero = values["zero_optimization"]
    # What the file leaves out would be DeepSpeed's own default: no clipping, and batch sizes that do not add up.
    values.update(dict.fromkeys(("gradient_clipping", *BATCHES), "auto"))
    try:
        import deepspeed as engine
    except ImportError as error:
        raise MissingPartError("training with ZeRO", "deepspeed", "deepspeed", file=str(deepspeed)) from error
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError(
            "ZeRO shares work among processes, and one was started alone",
            file=deepspeed,
            cure="start with `torchrun --nproc-per-node N -m spinemed train run ...`, or leave deepspeed out",
        )
    if zero["stage"] == 3:
        # Without it a checkpoint would hold shards that only the same number of processes can join.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if gpu:
        return {"deepspeed": values}, int(zero["stage"])
    for name in ("offload_optimizer", "offload_param"):
        if (zero.get(name) or {}).get("device", "none") != "none":
            raise ConfigError(
                "moves weights off the accelerator, and there is none: on a CPU such a run does not end",
                file=deepspeed,
                field=f"zero_optimization.{name}",
                cure="use it on GPUs; `spinemed train verify --dry-run` checks it anywhere",
            )
    zero["overlap_comm"] = False
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    AcceleratorState._reset_state(reset_partial_state=True)
    state = PartialState(cpu=True)
    state.distributed_type = DistributedType.DEEPSPEED
    engine.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    return {"deepspeed": values, "accelerator_config": {"use_configured_state": True}}, int(zero["stage"])


def one_gpu(arguments: Any) -> int:
    """Use one GPU in a process that was started alone on a machine of several.

    transformers would spread each batch over all of them (`torch.nn.DataParallel`), draw so many times as many rows for
    a step, and so go through another plan than was made and stored.

    Args:
        arguments: `TrainingArguments`; changed in place.

    Returns:
        GPUs that are left unused.
    """
    unused = max(0, int(arguments.n_gpu) - 1)
    if unused:
        arguments._n_gpu = 1
    return unused


def forget_engine() -> None:
    """Before the next model is loaded: transformers must not shard it for a stage that is over."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def check_engine(model: Any, zero: int) -> dict[str, Any]:
    """Refuse another engine than was asked for.

    Args:
        model: As the trainer wrapped it.
        zero: ZeRO stage that the config asks for; 0 without.

    Returns:
        `engine`, the class that wraps the model, `zero` and `processes`, as found.

    Raises:
        RunError: The model is wrapped otherwise.
    """
    name = type(model).__name__
    found = int(model.zero_optimization_stage()) if name == "DeepSpeedEngine" else 0
    if zero:
        right = name == "DeepSpeedEngine" and found == zero
        asked = f"DeepSpeed with ZeRO-{zero}"
    elif process_count() > 1:
        right, asked = name == "DistributedDataParallel", "DistributedDataParallel"
    else:
        wrappers = ("DeepSpeedEngine", "DistributedDataParallel", "DataParallel")
        right, asked = name not in wrappers, "no wrapper for one process"
    if not right:
        raise RunError(
            f"{asked} was asked for, and {name}{f' with ZeRO-{found}' if found else ''} came up",
            cure="check the launcher, and that accelerate and DeepSpeed are the versions of pyproject.toml",
        )
    return {"engine": name, "zero": found, "processes": process_count()}
