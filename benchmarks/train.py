"""Speed of fine-tuning on short items against padded batches and against TRL, in one run on the same rows and base.

    make peer NAME=trl
    make peer NAME=llamafactory
    python benchmarks/train.py [--out FILE.json] [--rows 96] [--repeats 3] [--threads 2] [--mixture paper|long]

Every contestant trains LoRA adapters of rank 16 on the language part of one base with the vision tower frozen, in
float32, once over all rows; padded contestants in shuffled batches of 16 padded to the longest, ours packed in bins of
4,096 tokens, which is about as much per optimiser step. Answer tokens per second of wall clock are compared, medians
over repeats in which the contestants take turns, each in a process of its own (those without a bound run once).
Imports, loading and a warm-up are not timed; measuring, planning, decoding, the processor and (where said) filling the
feature store are. LLaMA-Factory tokenizes before its trainer starts, which is not timed, and runs without a warm-up.

The base is small, with about the weights of vision to language that Qwen2.5-VL-3B has (1 : 4). The rows are computed.
The mixture of lengths is printed, and the ratios rest on it. `paper` takes the kinds of rows in the shares that
SpineMed-450k has them (multiple choice 249 k, open questions 197 k, consultations 1.1 k, reports 0.8 k); their lengths
and pictures are ours. `long` gives consultations 8 % and reports 4 %, as a last stage of training would.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
# This file is named like the package that it measures: the package comes first.
sys.path = [str(ROOT), *(path for path in sys.path if path != str(ROOT / "benchmarks")), str(ROOT / "benchmarks")]
PEERS = ROOT / "benchmarks" / "peers"
PEER = {"trl": "trl", "llamafactory": "llamafactory", "llamafactory_packed": "llamafactory"}
"""Modes of other trainers, and the environment and script of each."""
OURS = ("padded", "grouped", "packed_all_logits", "packed", "packed_cache", "packed_cached")
ONCE = ("grouped", "packed_all_logits", "llamafactory", "llamafactory_packed")
"""Run once: no bound hangs on them."""
TITLES = {
    "padded": "ours, padded, shuffled batches of 16",
    "grouped": "ours, padded, batches of like length",
    "packed_all_logits": "ours, packed, all positions through the output layer",
    "packed": "ours, packed",
    "packed_cache": "ours, packed, feature cache filled on the way",
    "packed_cached": "ours, packed, features from an earlier pass",
    "trl": "TRL SFTTrainer, shuffled batches of 16",
    "llamafactory": "LLaMA-Factory, shuffled batches of 16",
    "llamafactory_packed": "LLaMA-Factory, neat_packing",
}


def write_rows(folder: Path, count: int, mixture: str, words: list[str]) -> list[dict[str, Any]]:
    """Rows and pictures as files; the rows are returned."""
    from train_mixture import draw_rows

    from spinemed.marks import png_bytes

    drawn, sizes = draw_rows(count, mixture, 0)
    rng = np.random.default_rng(1)
    names = []
    (folder / "pictures").mkdir()
    for high, wide in sizes:
        coarse = rng.integers(0, 256, (high // 28, wide // 28), dtype=np.uint8)
        data = png_bytes(np.kron(coarse, np.ones((28, 28), np.uint8)))
        names.append(f"pictures/{hashlib.sha256(data).hexdigest()}.png")
        (folder / names[-1]).write_bytes(data)

    def text(length: int) -> str:
        return " ".join(words[int(i)] for i in rng.integers(0, len(words), length))

    rows = []
    for number, row in enumerate(drawn):
        question = "<image>\n" * len(row.pictures) + text(row.question)
        rows.append({
            "id": f"row-{number}", "kind": row.kind, "pictures": [names[picture] for picture in row.pictures],
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": text(row.answer)}],
        })  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def prepare(folder: Path, count: int, mixture: str) -> dict[str, Any]:
    """Write base, rows and pictures; what they come to."""
    from train_mixture import KINDS

    from spinemed.records import Message, PackedImage
    from spinemed.vlm.layout import Layout
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor
    from train.merge import save_checkpoint
    from train.packing import MeasuredRows
    from train.plan import plan_order

    words = sorted({word for line in (ROOT / "README.md").read_text().split() for word in [line.strip(".,;:()`*|#")]})
    words = [word for word in words if word.isalpha()][:600]
    config = NanoConfig(
        seed=0,
        vision=NanoVision(
            patch_px=14, hidden=96, depth=3, heads=4, mlp=256, deepstack=(1,), image_px=448, min_px=56, max_px=560
        ),
        text=NanoText(hidden=192, layers=6, heads=6, kv_heads=2, mlp=896, max_tokens=4096, vocabulary=1536),
    )
    processor = build_processor(config, [" ".join(words)] * 3)
    model = build_model(config, processor)
    save_checkpoint(model, processor, folder / "base", precision="float32", about="A base for timing.")
    rows = write_rows(folder, count, mixture, words)

    class Row:
        def __init__(self, row: dict[str, Any]) -> None:
            self.id = row["id"]
            self.messages = tuple(Message(**message) for message in row["messages"])
            self.images = tuple(PackedImage(bytes=(folder / name).read_bytes(), path=name) for name in row["pictures"])

    measured = MeasuredRows([Row(row) for row in rows], Layout(processor, max_tokens=4096))
    assert not measured.dropped, measured.dropped
    size = np.array(measured.lengths)
    order = plan_order(measured.lengths, batch_size=16, batches=-(-count // 16), seed=0, window=1)[:count]
    places = sum(len(part) * size[part].max() for part in np.split(order, range(16, count, 16)))
    vision = sum(value.numel() for name, value in model.named_parameters() if ".visual." in name)
    blocks = sum(value.numel() for name, value in model.named_parameters() if ".layers." in name)
    return {
        "rows": count, "mixture": mixture, "seed": 0,
        "shares": {
            kind: {
                "rows": int(sum(row["kind"] == kind for row in rows)),
                "median_tokens": float(np.median(at)) if len(at := size[[r["kind"] == kind for r in rows]]) else None,
            }
            for kind in KINDS
        },
        "pictures": len(list((folder / "pictures").iterdir())),
        "rows_with_pictures": sum(bool(row["pictures"]) for row in rows),
        "length_quantiles": {str(q): float(np.quantile(size, q / 100)) for q in (5, 25, 50, 75, 95, 100)},
        "tokens": int(size.sum()), "answer_tokens": int(sum(measured.answers)),
        "picture_tokens": int(sum(measured.patches)),
        "padding_percent_shuffled_16": float(100 * (1 - size.sum() / places)),
        "parameters": {"vision": vision, "language_layers": blocks, "all": sum(v.numel() for v in model.parameters())},
    }  # fmt: skip


def contest(folder: Path, mode: str, threads: int, number: int) -> dict[str, Any]:
    """One contestant, once, in a process of its own."""
    result = folder / f"{mode}-{number}.json"
    peer = PEER.get(mode)
    python = str(PEERS / f".env-{peer}" / "bin" / "python") if peer else sys.executable
    script = PEERS / f"{peer or 'spinemed'}_train.py"
    environment = dict(
        os.environ, OMP_NUM_THREADS=str(threads), GOMP_SPINCOUNT="0", OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error",
    )  # fmt: skip
    environment.pop("PYTHONPATH", None)
    if peer is None:
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, str(script), str(folder), str(result), mode, str(threads)],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        if mode in ONCE and peer is not None:  # another's fault is a result; our own, or a missing bound, is none
            return {
                "failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
            }
        raise SystemExit(f"{mode} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(result.read_bytes())
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of one contestant's repeats."""
    wall = statistics.median(run["wall_seconds"] for run in runs)
    cpu = statistics.median(run["cpu_seconds"] for run in runs)
    last = runs[-1]
    return {
        **{key: last[key] for key in last if key not in ("wall_seconds", "cpu_seconds")},
        "wall_seconds": [run["wall_seconds"] for run in runs], "cpu_seconds": [run["cpu_seconds"] for run in runs],
        "repeats": len(runs),
        "answers_per_second": last["answer_tokens"] / wall, "answers_per_cpu_second": last["answer_tokens"] / cpu,
        "padding_percent": 100 * (1 - last["tokens"] / last["places"]),
    }  # fmt: skip


def main() -> None:
    """Prepare, let the contestants take turns, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mixture", choices=("paper", "long"), default="paper")
    parser.add_argument("--only", nargs="*", choices=[*OURS, *PEER], help="contestants; all that can run unless given")
    options = parser.parse_args()
    modes = list(options.only or [*OURS, *(mode for mode, name in PEER.items() if (PEERS / f".env-{name}").is_dir())])
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="train-speed-") as name:
        folder = Path(name)
        material = prepare(folder, options.rows, options.mixture)
        print(json.dumps(material, indent=1), flush=True)
        runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
        for number in range(options.repeats):
            turn = modes[number % len(modes) :] + modes[: number % len(modes)]
            for mode in turn if number == 0 else [mode for mode in turn if mode not in ONCE]:
                runs[mode].append(contest(folder, mode, options.threads, number))
                told = runs[mode][-1]
                print(mode, told.get("failed") or f"{told['wall_seconds']:.1f} s", flush=True)
    load.append(os.getloadavg()[0])
    failed = {mode: found[0]["failed"] for mode, found in runs.items() if "failed" in found[0]}
    rows = {mode: summary(found) for mode, found in runs.items() if mode not in failed}
    for mode, row in rows.items():
        for other in ("padded", "trl"):
            if other in rows:
                row[f"ratio_{other}"] = row["answers_per_second"] / rows[other]["answers_per_second"]
                row[f"ratio_{other}_cpu"] = row["answers_per_cpu_second"] / rows[other]["answers_per_cpu_second"]
        nothing = float("nan")
        print(
            f"{TITLES[mode]:56} {row['answers_per_second']:6.0f} answer tokens/s ({row['answers_per_cpu_second']:6.0f} "
            f"per CPU second)  {row.get('ratio_padded', nothing):5.2f}x padded  {row.get('ratio_trl', nothing):5.2f}x "
            f"TRL  padding {row['padding_percent']:4.1f} %  {row['steps']} steps  loss {row['first_loss']:.3f} to "
            f"{row['last_loss']:.3f}"
        )
    facts = {
        "material": material, "rows": rows, "failed": failed, "titles": TITLES, "load": load,
        "cores": len(os.sched_getaffinity(0)), "threads": options.threads, "repeats": options.repeats,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
