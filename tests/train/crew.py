"""Runs jobs of several processes for the tests: imports once, forks for each job.

A line of JSON in, `{"config", "out", "world", "overrides", "log", "seconds", "kill_at"}`; a line of JSON out, the exit
codes. A job that is not done in time is killed: -9 stands in its codes. With `kill_at`, the first process is killed in
the middle of writing the checkpoint of that step.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

import torch

import train.run
import train.trainer
from spinemed.config import load_config
from spinemed.errors import SpineMedError
from train.config import TrainConfig

# What a job would import, so that a fork has it already.
PRELOADED = (
    "accelerate.utils.deepspeed", "deepspeed", "matplotlib.backends.backend_agg", "matplotlib.figure", "peft",
    "train.features", "train.metrics", "train.packing", "train.report", "train.stages", "train.verify.job",
    "transformers.integrations.deepspeed", "transformers.models.qwen3_vl.modeling_qwen3_vl",
    "transformers.models.qwen3_vl.processing_qwen3_vl",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(job: dict[str, Any], rank: int, port: int) -> int:
    log = os.open(f"{job['log']}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if job["world"] > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job["world"]), LOCAL_WORLD_SIZE=str(job["world"]),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo",
        )  # fmt: skip
    if job.get("kill_at") is not None and rank == 0:
        stock = train.trainer.SpineTrainer._save_optimizer_and_scheduler

        def die(self: Any, folder: str) -> None:
            if self.state.global_step == job["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            stock(self, folder)

        train.trainer.SpineTrainer._save_optimizer_and_scheduler = die
    try:
        train.run.run_training(load_config(job["config"], TrainConfig, job["overrides"]), job["out"])
    except SpineMedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run(job: dict[str, Any]) -> list[int | None]:
    port, children = free_port(), {}
    for rank in range(job["world"]):
        child = os.fork()
        if child == 0:
            code = work(job, rank, port)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        children[child] = rank
    codes: list[int | None] = [None] * job["world"]
    until = time.monotonic() + job["seconds"]
    while None in codes:
        for child, rank in children.items():
            if codes[rank] is None:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    codes[rank] = os.waitstatus_to_exitcode(status)
        if any(codes[rank] for rank in children.values()) or time.monotonic() > until:
            for child, rank in children.items():
                if codes[rank] is None:
                    os.kill(child, signal.SIGKILL)
                    codes[rank] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.01)
    return codes


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.set_num_threads(1)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()
