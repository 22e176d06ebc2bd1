"""Speed of fine-tuning, packed against padded, TRL and LLaMA-Factory, by `benchmarks/train.py`; on a GPU by its twin.

Ratios are of answer tokens per second of wall clock in one run, in which the contestants take turns; per second of
processor time, which other jobs stretch less, they stand beside. About eight minutes on two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.acceptance

ISSUE = "Training"
COMMAND = "make peer NAME=trl; pytest -m acceptance tests/acceptance/test_train_packing.py"
Record = Callable[..., None]


def measure(root: Path, out: Path, script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / script), "--out", str(out), *arguments],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


@pytest.fixture(scope="module")
def measured(root: Path, work: Path) -> dict[str, Any]:
    """The whole comparison, run now."""
    if not (root / "benchmarks" / "peers" / ".env-trl").is_dir():
        pytest.skip("no environment for trl: run `make peer NAME=trl`")
    return measure(root, work / "train_speed.json", "train.py")


def note_of(found: dict[str, Any], about: str) -> str:
    before, after = found["load"]
    made = found["material"]
    sizes = made["parameters"]
    quantiles = made["length_quantiles"]
    return (
        f"load average {before:.1f} to {after:.1f} on {found['cores']} cores; {found['threads']} threads, medians of "
        f"{found['repeats']} repeats in turns; LoRA of rank 16 on a Qwen3-VL of {sizes['all'] / 1e6:.1f} M weights "
        f"(vision {sizes['vision'] / 1e6:.2f} M, language layers {sizes['language_layers'] / 1e6:.2f} M), float32, "
        f"tower frozen; {made['rows']} computed rows in SpineMed-450k's shares of kinds, {made['tokens']:,} tokens, "
        f"{made['answer_tokens']:,} of them answers, {made['picture_tokens']:,} of pictures; lengths at 5, 50, 95 and "
        f"100 %: {quantiles['5']:.0f}, {quantiles['50']:.0f}, {quantiles['95']:.0f}, {quantiles['100']:.0f}; {about}"
    )


def rate(row: dict[str, Any]) -> str:
    return f"{row['answers_per_second']:,.0f} ({row['answers_per_cpu_second']:,.0f} per CPU second)"


def test_packed_against_padded(measured: dict[str, Any], record: Record) -> None:
    rows = measured["rows"]
    packed, padded, grouped, full = (rows[mode] for mode in ("packed", "padded", "grouped", "packed_all_logits"))
    assert packed["answer_tokens"] == padded["answer_tokens"] == measured["material"]["answer_tokens"]
    met = packed["ratio_padded"] >= 2
    record(
        ISSUE, 30, "packed against padded batches, answer tokens per second", asked="≥ 2× padded (dynamic padding, "
        "shuffled batches of 16)",
        measured=f"{packed['ratio_padded']:.2f}× ({packed['ratio_padded_cpu']:.2f}× by processor time): packed "
        f"{rate(packed)}, padded {rate(padded)}; batches of like length {grouped['ratio_padded']:.2f}×, packed with "
        f"all positions through the output layer {full['ratio_padded']:.2f}×. Padding {padded['padding_percent']:.0f} "
        f"% padded, {grouped['padding_percent']:.0f} % grouped, 0 packed; bins {100 * packed['fill']:.1f} % full",
        met=met, command=COMMAND,
        note=note_of(measured, f"{packed['steps']} steps packed, {padded['steps']} padded; {packed['isolation']}"),
    )  # fmt: skip
    assert met


def test_packed_against_trl(measured: dict[str, Any], record: Record) -> None:
    packed, trl = measured["rows"]["packed"], measured["rows"]["trl"]
    assert trl["trainable"] == packed["trainable"]
    met = packed["ratio_trl"] >= 1.3
    versions = ", ".join(f"{name} {version}" for name, version in trl["versions"].items())
    record(
        ISSUE, 31, "packed against TRL's SFTTrainer, answer tokens per second", asked="≥ 1.3× TRL",
        measured=f"{packed['ratio_trl']:.2f}× ({packed['ratio_trl_cpu']:.2f}× by processor time): packed "
        f"{rate(packed)}, TRL {rate(trl)}; ours padded {measured['rows']['padded']['ratio_trl']:.2f}×. First loss "
        f"{packed['first_loss']:.3f} and {trl['first_loss']:.3f}, last {packed['last_loss']:.3f} and "
        f"{trl['last_loss']:.3f}",
        met=met, command=COMMAND,
        note=note_of(
            measured,
            f"{versions}; TRL scores {trl['answer_tokens']:,} tokens, with what the template writes behind the answer, "
            f"and is credited with all; it refuses packing on rows with images; padding {trl['padding_percent']:.0f} %",
        ),
    )  # fmt: skip
    assert met


def test_feature_cache(measured: dict[str, Any], record: Record) -> None:
    rows = measured["rows"]
    packed, filled, kept = rows["packed"], rows["packed_cache"], rows["packed_cached"]
    close = max(abs(a - b) for a, b in zip(packed["losses"], kept["losses"], strict=True))
    size = kept["features"]["bytes"]
    made = measured["material"]
    met = close <= 1e-5
    record(
        ISSUE, 32, "frozen-tower features kept on disk, against packed without",
        asked="same loss to 1e-5; report the gain",
        measured=f"{kept['answers_per_second'] / packed['answers_per_second']:.2f}× from the second pass on, "
        f"{filled['answers_per_second'] / packed['answers_per_second']:.2f}× in the pass that fills the store (by "
        f"processor time {kept['answers_per_cpu_second'] / packed['answers_per_cpu_second']:.2f}× and "
        f"{filled['answers_per_cpu_second'] / packed['answers_per_cpu_second']:.2f}×); losses of {kept['steps']} steps "
        f"equal to {close:.1e}; {kept['ratio_padded']:.2f}× padded, {kept['ratio_trl']:.2f}× TRL; "
        f"{size / 1e6:.1f} MB for {made['pictures']} pictures",
        met=met, command=COMMAND,
        note=note_of(measured, f"{made['rows_with_pictures']} rows share {made['pictures']} pictures"),
    )  # fmt: skip
    assert met


def test_packed_against_llamafactory(measured: dict[str, Any], record: Record) -> None:
    rows = measured["rows"]
    if "llamafactory" not in rows:
        pytest.skip("no environment for llamafactory: run `make peer NAME=llamafactory`")
    packed, padded = rows["packed"], rows["llamafactory"]
    versions = ", ".join(f"{name} {version}" for name, version in padded["versions"].items())
    if "llamafactory_packed" in rows:
        neat = rows["llamafactory_packed"]
        beside = (
            f"{packed['answers_per_second'] / neat['answers_per_second']:.2f}× its neat_packing "
            f"({packed['answers_per_cpu_second'] / neat['answers_per_cpu_second']:.2f}×), which gives {rate(neat)}"
        )
    else:
        beside = f"its neat_packing failed on these rows: {measured['failed']['llamafactory_packed']}"
    record(
        ISSUE, 33, "packed against LLaMA-Factory, answer tokens per second", asked="in the same run, if it imports",
        measured=f"{packed['answers_per_second'] / padded['answers_per_second']:.2f}× its padded batches of 16 "
        f"({packed['answers_per_cpu_second'] / padded['answers_per_cpu_second']:.2f}× by processor time): packed "
        f"{rate(packed)}, padded {rate(padded)}; {beside}",
        met=None, command="make peer NAME=llamafactory; " + COMMAND,
        note=note_of(
            measured,
            f"{versions}; one run each; its tokenizing is not timed; its packing is built for FlashAttention, here it "
            "pads each row to 4,096 tokens and masks a square; whether its samples stay apart was not checked",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "order"), [("3B", 35), ("7B", 36)])
def test_on_a_gpu(root: Path, work: Path, record: Record, shape: str, order: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = measure(root, work / f"train_gpu_{shape}.json", "train_gpu.py", "--shape", shape)
    rows = {row["mode"]: row for row in found["table"]}
    packed, text = rows["packed"], rows["packed_text"]
    known, nothing = "mfu_percent" in packed, float("nan")
    met = None if not known else packed["mfu_percent"] >= 30 and text["mfu_percent"] >= 40
    record(
        ISSUE, order, f"Qwen2.5-VL-{shape}-shaped model, random weights, bfloat16, LoRA, one GPU",
        asked="MFU ≥ 30 % on packed image rows, ≥ 40 % on text rows, attention kernel named",
        measured="; ".join(
            f"{mode} {row['answers_per_second']:,.0f} answer tokens/s, {row['tokens_per_second']:,.0f} tokens/s, "
            f"{row.get('ratio_padded', 1):.2f}× padded, MFU {row.get('mfu_percent', nothing):.1f} % (language "
            f"{row.get('mfu_language_percent', nothing):.1f}, vision {row.get('mfu_vision_percent', nothing):.1f}), "
            f"{row['peak_memory_gib']:.0f} GiB"
            for mode, row in rows.items() if "failed" not in row
        ),
        met=met, command="python benchmarks/train_gpu.py --shape " + shape,
        note=f"{found['device']}, dense bfloat16 peak {packed.get('peak_tflops')} TFLOP/s; attention of the language "
        f"part {found['kernel']}; {found['versions']}; {found['isolation']}; recomputation {found['checkpointing']}",
    )  # fmt: skip
    if known:
        assert met
