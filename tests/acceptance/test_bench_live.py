"""2,000 live questions: how fast they are made, what they hold, and that known answerers score what theory says."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.extract.options import says_undecided
from bench.live import LiveConfig, make_live
from bench.samples import modality_of, read_samples
from bench.spinebench import score_predictions
from bench.spinebench.abstention import is_undecidable
from bench.spinebench.score import SCORES_FILE
from spinemed.records import NOT_DETERMINABLE, Prediction, Sample, Score
from spinemed.tables import read_jsonl, write_jsonl

pytestmark = pytest.mark.acceptance

ISSUE = "SpineBench"
COUNT = 2000
COMMAND = "make acceptance ONLY=tests/acceptance/test_bench_live.py"
Record = Callable[..., None]
Answer = Callable[[Sample], str]


@pytest.fixture(scope="module")
def made(work: Path) -> tuple[list[Sample], dict[str, Any], float, Path]:
    """A fresh set made by one process, and the seconds it took."""
    folder = work / "live" / "samples"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.parent.mkdir(parents=True)
    start = time.monotonic()
    manifest = make_live(LiveConfig(count=COUNT, seed=2026), folder)
    return read_samples(folder)[0], manifest, time.monotonic() - start, folder


def tag(sample: Sample, name: str) -> str:
    return next((one.partition(":")[2] for one in sample.tags if one.startswith(f"{name}:")), "")


def obedient(sample: Sample) -> str:
    """Knows the answer, and obeys whoever gives an order or a hint."""
    told = tag(sample, "injected") if tag(sample, "injection")[:4] != "tool" else ""
    return told or tag(sample, "hinted") or sample.answer


def way_out(sample: Sample) -> str:
    """What "not determinable" is taken for: the first option that says so, where there are options."""
    return next((option.key for option in sample.options if says_undecided(option.text)), NOT_DETERMINABLE)


ANSWERERS: dict[str, Answer] = {
    "perfect": lambda sample: f"The answer is {sample.answer}",
    "always-B": lambda sample: "B",
    "always-abstains": lambda sample: "not determinable",
    "obedient": obedient,
}


def test_what_a_set_costs_and_holds(made: tuple[list[Sample], dict[str, Any], float, Path], record: Record) -> None:
    samples, manifest, seconds, _ = made
    undecidable = sum(is_undecidable(sample) for sample in samples)
    tasks = Counter(f"{sample.axis}, {sample.task}" for sample in samples)
    record(
        ISSUE, 70, f"SpineBench-Live: {COUNT:,} questions made by one process",
        asked="500 in a few minutes on one core", measured=f"{COUNT / seconds:.1f} questions/s ({seconds:.0f} s)",
        met=COUNT / seconds >= 500 / 300, command=COMMAND, note="phantoms of family b, pictures written as PNG",
    )  # fmt: skip
    record(
        ISSUE, 71, "undecidable by construction", asked="15 %",
        measured=f"{undecidable} of {len(samples)} ({undecidable / len(samples):.2%})",
        met=undecidable == int(0.15 * COUNT + 0.5), command=COMMAND,
        note=", ".join(f"{name} {n}" for name, n in sorted(Counter(tag(s, "why") for s in samples).items()) if name),
    )  # fmt: skip
    record(
        ISSUE, 72, "questions by axis and task", asked="every task", met=len(tasks) >= 8,
        measured="; ".join(f"{name} {n}" for name, n in sorted(tasks.items())), command=COMMAND,
        note=f"{manifest['clusters']} spines, images and vignettes; "
        f"{sum(modality_of(sample) == 'image' for sample in samples)} with a picture",
    )  # fmt: skip
    assert undecidable == int(0.15 * COUNT + 0.5)
    assert manifest["clusters"] >= COUNT * 150 / 500


def test_known_answerers_score_what_theory_says(
    made: tuple[list[Sample], dict[str, Any], float, Path], record: Record, tmp_path: Path
) -> None:
    samples, _, _, folder = made
    files = []
    for name, answer in ANSWERERS.items():
        file = tmp_path / f"{name}.jsonl"
        write_jsonl(
            file,
            [
                Prediction(
                    sample_id=sample.id, model=name, condition="full", outcome="answered", text=answer(sample),
                    request_sha256="0" * 64,
                )
                for sample in samples
            ],
        )  # fmt: skip
        files.append(file)
    summary = score_predictions(folder, files, tmp_path / "scores", subject="perfect", resamples=1000)
    right = {name: Counter[str]() for name in ANSWERERS}
    for score in read_jsonl(tmp_path / "scores" / SCORES_FILE, Score):
        right[score.model]["right" if score.correct else "wrong"] += 1
    share = {name: count["right"] / count.total() for name, count in right.items()}
    letters = sum(sample.answer == "B" for sample in samples if sample.answer_kind == "option") / len(samples)
    open_ = sum(sample.answer == way_out(sample) for sample in samples) / len(samples)
    fallen = sum(obedient(sample) != sample.answer for sample in samples) / len(samples)
    expected = {"perfect": 1.0, "always-B": letters, "always-abstains": open_, "obedient": 1.0 - fallen}
    obeyed = summary["injection"]["obedient"]["complied"]["value"]
    followed = summary["consistency"]["obedient"]["hint"]["followed"]
    record(
        ISSUE, 73, "known answerers on a live set", asked="perfect 100 %; the others as theory says",
        measured="; ".join(f"{name} {value:.2%} (theory {expected[name]:.2%})" for name, value in share.items()),
        met=all(abs(share[name] - expected[name]) < 5e-3 for name in share), command=COMMAND,
        note=f"the obedient one complied with {obeyed:.0%} of the orders and followed {followed:.0%} of the hints; "
        "where several options say that something must be asked first, an abstention counts as the first of them",
    )  # fmt: skip
    assert share["perfect"] == 1.0
    assert summary["injection"]["perfect"]["complied"]["value"] == 0.0
    assert obeyed == 1.0
    assert followed == 1.0
    assert share["always-B"] == pytest.approx(letters)
    assert share["obedient"] == pytest.approx(1.0 - fallen)
