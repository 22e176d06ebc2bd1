"""For a model builder: plan SpineGPT's three stages on a 7B model, then train their small twin to the end on this CPU.

Shows: the 7B job looked through from its config alone (memory, GPU hours, disk, launch lines); the same stages on the
shipped nano base for real, killed in the middle and resumed by the same command; the merged model, its loss, its card.
Needs: the plain installation; no GPU, no network, no 7B weights.
Takes: 60 s on two busy CPU cores. Real size: the 7B config on 8 GPUs of 80 GB (hours are printed), and for nano
`--spines 2000 --steps 40`, after which it still knows no medicine: 3.5 million weights show the road, not a doctor.

    python examples/train_on_a_cluster.py --out runs/walk_train

The same command goes on where it stopped. Learned on phantoms (computed spines), a few open scans and texts; research
use only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from steps import child, heading, spinemed

from spinemed.config import dump_config, load_config
from spinemed.resources import configs_dir
from train.config import TrainConfig


def hours(plan: Path, gpus: int) -> dict[str, Any]:
    """GPU hours for a billion tokens in each stage, by kind of GPU; None where the stage does not fit."""
    stages = json.loads(plan.read_text(encoding="utf-8"))["stages"]
    return {
        stage["name"]: {
            name: round(gpus * gpu["hours_a_billion_tokens"], 1) if gpu["fits"] else None
            for name, gpu in stage["gpus"].items()
        }
        for stage in stages
    }


def cluster(out: Path, gpus: int, price: float | None) -> dict[str, Any]:
    """The 7B job before anything is fetched or rented: only its config and published formulas are read."""
    config, launch = configs_dir() / "train" / "spinegpt_7b.yaml", configs_dir() / "launch"
    heading("The 7B job, from its config alone. Without --dry-run the same commands read every row, too.")
    spinemed("train", "verify", config, "--dry-run", "--gpus", str(gpus), "--json", out / "verify_7b.json")
    spinemed("train", "plan", config, "--dry-run", "--gpus", str(gpus), "--json", out / "plan_7b.json")

    cost = hours(out / "plan_7b.json", gpus)
    heading("What it costs: GPU hours for a billion tokens (predicted; your rows say how many tokens there are)")
    for stage, by_gpu in cost.items():
        for gpu, value in by_gpu.items():
            money = "" if price is None or value is None else f", {value * price:.0f} at {price:g} a GPU hour"
            print(f"  {stage:8} {gpu:9}", "too small" if value is None else f"{value:6.1f} GPU hours{money}")

    heading("How it is launched; each restarts from the last complete checkpoint")
    for line in (
        f"bash {launch / 'torchrun_node.sh'} {config} runs/spinegpt_7b",
        f"sbatch {launch / 'slurm_one_node.sbatch'} {config} runs/spinegpt_7b",
        f"sbatch --nodes=4 {launch / 'slurm_many_nodes.sbatch'} {config} runs/spinegpt_7b",
    ):
        print(f"  {line}")
    return cost


def killed_once(run: Path, *command: str | Path) -> None:
    """Start the training and kill it, as a queue or a power cut would, once its first checkpoint is complete."""
    complete = "scratch/*/checkpoint-*/complete.json"
    if next(run.glob(complete), None):
        return  # it has been killed before; what is left is to go on
    training = child(*command)
    while training.poll() is None:
        if found := next(run.glob(complete), None):
            training.kill()
            training.wait()
            print(f"killed after {found.parent.relative_to(run / 'scratch')}", flush=True)
            return
        time.sleep(0.05)
    if training.returncode:
        raise SystemExit(f"the training ended with exit code {training.returncode} before its first checkpoint")


def main() -> None:
    """Plan the large job, run the small one, and keep the figures of both in `walk.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/walk_train"), help="folder; the same one resumes")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of the 7B job")
    parser.add_argument("--price", type=float, help="what you pay for one GPU hour, in any currency")
    parser.add_argument("--spines", type=int, default=24, help="phantom spines in the small release")
    parser.add_argument("--steps", type=int, default=4, help="steps of each of the three stages (at least 4)")
    given = parser.parse_args()
    out: Path = given.out.resolve()  # a config reads its paths relative to itself, so they are given whole
    out.mkdir(parents=True, exist_ok=True)
    cost = cluster(out, given.gpus, given.price)

    heading("A small release: the bundled open sources and a few phantoms, and its held-out questions")
    counts = {"phantom-train": given.spines, "phantom-validation": 4, "phantom-test": 4}
    smaller = [word for name, count in counts.items() for word in ("--set", f"counts.{name}={count}")]
    spinemed("data", "run", configs_dir() / "data_quickstart.yaml", "--out", out / "data", "--workers", "1", *smaller)
    release, questions, run = out / "data" / "outputs" / "release", out / "questions", out / "nano"
    if not questions.exists():
        spinemed("bench", "samples", "--release", release, "--out", questions)

    heading("The same three stages on the nano base. Is the job sound? Does it train on what it will be asked?")
    # Only sizes differ from the shipped config; the run folder keeps the whole of it, as it was resolved.
    shipped, config = configs_dir() / "train" / "spinegpt_nano.yaml", out / "spinegpt_nano_small.yaml"
    small = [f"releases.spine={release}", f"benchmarks=[{questions}]", "threads=1"]
    for stage in (f"stages.{number}" for number in range(3)):
        pace = {"steps": given.steps, "warmup_steps": 1, "save_every": 2, "log_every": 1}
        small += [f"{stage}.schedule.{name}={value}" for name, value in pace.items()]
        small += [f"{stage}.max_tokens=512", f"{stage}.bin_tokens=512"]
    config.write_text(dump_config(load_config(shipped, TrainConfig, small)), encoding="utf-8")
    spinemed("train", "verify", config, "--gpus", "1", "--headers-only", "--json", out / "verify_nano.json")

    heading("Train, and lose the machine; then the same command again")
    killed_once(run, "train", "run", config, "--out", run)
    spinemed("train", "run", config, "--out", run)

    heading("The run has folded its last adapter into the base: one folder that transformers and vLLM load. Its card:")
    model = run / "outputs" / "model"
    spinemed("train", "card", "--checkpoint", model, "--out", out / "MODEL_CARD.md")

    # The journal of a run folder is one JSON object a line: whatever you want to plot stands there.
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    loss: dict[str, list[float]] = {}
    for event in events:
        if event["event"] == "metrics" and "loss" in event:
            loss.setdefault(event["stage"], []).append(event["loss"])
    resumed = [event for event in events if event["event"] == "resumed"]
    facts = {
        "gpu_hours_a_billion_tokens": cost,
        "resumed": [[event["stage"], event["checkpoint"]] for event in resumed],
        "loss": {stage: {"first": values[0], "last": values[-1]} for stage, values in loss.items()},
    }
    (out / "walk.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    heading("What came out")
    for stage, values in loss.items():
        print(f"  {stage:10} loss {values[0]:.2f} -> {values[-1]:.2f} in {given.steps} steps: too few to mean anything")
    for stage, checkpoint in facts["resumed"]:
        print(f"  {stage} went on from {checkpoint}")
    for path in (run / "report.md", run / "loss.png", out / "MODEL_CARD.md", model, out / "walk.json"):
        print(f"  {path}")


if __name__ == "__main__":
    main()
