"""The phantom-trained labeller: how long it trains, and what it reaches on phantoms it never saw and on one real CT.

Everything runs as commands, as a user would: train, label, evaluate. The held-out scans are drawn from other seeds than
the training's, at 1 mm, in another orientation.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train.labelling.phantom_scans import PhantomScans, make_phantom_scans

pytestmark = pytest.mark.acceptance

GROUP = "VerSe"
COMMAND = "pytest -m acceptance tests/acceptance/test_verse_baseline.py"
FAMILIES = ("a", "b")
Record = Callable[..., None]
Run = Callable[..., subprocess.CompletedProcess[str]]

# Seeds 9001 to 9006, 9101 to 9106 and so on to 9401 to 9406 are spent (benchmarks/LOG.md): the labeller was changed
# after their results were seen, so that these, which nobody has looked at, judge it from then on.
# Seed, number of scans, anomaly, views. The view decides the numbering: C2, or the sacrum with the last rib; a spine
# with eleven or thirteen ribs is decided by its whole length only.
HELD_OUT: tuple[tuple[int, int, str | None, dict[str, float]], ...] = (
    (9501, 12, None, {"full": 0.4, "upper": 0.3, "lower": 0.3}),
    (9502, 2, "T13", {"full": 1.0}),
    (9503, 2, "eleven_thoracic", {"full": 1.0}),
    (9504, 2, "L6", {"full": 0.5, "lower": 0.5}),
    (9505, 2, "four_lumbar", {"full": 0.5, "lower": 0.5}),
)
BLIND = (9506, 10)


def spinemed_command(*arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode in codes, f"{arguments}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def labeller(root: Path, work: Path) -> Path:
    """The run folder of the shipped config; a finished one is kept."""
    out = work / "labelling_phantom"
    log = work / "labelling_phantom_load.json"
    if not log.is_file():
        start = os.getloadavg()[1]
        spinemed_command("train", "labelling", root / "configs" / "labelling_phantom.yaml", "--out", out)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        log.write_text(
            json.dumps({"load": [start, os.getloadavg()[1]], "cpu_s": round(spent.ru_utime + spent.ru_stime)})
        )
    return out


@pytest.fixture(scope="session")
def held_out(work: Path) -> Path:
    """Phantom scans of both families; rendered once."""
    place = work / "labelling_held_out"
    for family in FAMILIES:
        for seed, count, anomaly, views in HELD_OUT:
            anomalies = {anomaly: 1.0} if anomaly else {}
            told = {"count": count, "seed": seed, "family": family, "spacing_mm": 1.0, "orientation": "PIR"}
            make_phantom_scans(
                PhantomScans.model_validate({**told, "anomalies": anomalies, "views": views}), place / family
            )
        seed, count = BLIND
        told = {"count": count, "seed": seed, "family": family, "spacing_mm": 1.0, "orientation": "PIR"}
        make_phantom_scans(
            PhantomScans.model_validate({**told, "anomalies": {}, "views": {"blind": 1.0}}), place / f"blind_{family}"
        )
    return place


def test_training_time(labeller: Path, work: Path, record: Record) -> None:
    events = [json.loads(line) for line in (labeller / "journal.jsonl").read_text().splitlines()]
    assert not [event for event in events if event["event"] == "resumed"], "the times of a resumed run say nothing"
    rendering = sum(event["seconds"] for event in events if event["event"] == "phantoms")
    steps = {event["step"]: event["seconds"] for event in events if event["event"] == "step finished"}
    training = steps["prepared"] + steps["model"]
    told = json.loads((work / "labelling_phantom_load.json").read_bytes())
    record(
        GROUP, 20, "training the baseline on phantoms, two threads, without rendering", asked="≤ 15 min on two cores",
        measured=f"{training / 60:.1f} min", met=training <= 15 * 60,
        command="spinemed train labelling configs/labelling_phantom.yaml --out RUN",
        note=f"of which {steps['prepared']:.0f} s bringing the scans to the networks' grids; rendering the phantoms "
        f"took {rendering / 60:.1f} min on one core; {told['cpu_s'] / 60:.1f} CPU minutes from the last start on; load "
        f"average over 5 min {told['load'][0]:.1f} before and {told['load'][1]:.1f} after",
    )  # fmt: skip
    assert training <= 15 * 60


def _labelled(labeller: Path, scans: Path, out: Path, *more: str) -> float:
    start = time.monotonic()
    spinemed_command("label", "run", scans, "--model", labeller / "outputs" / "model", "--out", out, *more)
    return time.monotonic() - start


def _scores(reference: Path, prediction: Path, out: Path, *more: str) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    # Exit code 1: some scans were left unnamed, and count as missed.
    spinemed_command(
        "verse", "evaluate", "--reference", reference, "--prediction", prediction, "--out", out, *more, codes=(0, 1)
    )
    return dict(json.loads((out / "scores.json").read_bytes()))


def _share(rows: list[dict[str, Any]]) -> float:
    return sum(bool(row["identified"]) for row in rows) / len(rows)


def _irregular(case: str) -> bool:
    return not any(f"{family}{HELD_OUT[0][0]}n" in case for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_phantoms(family: str, labeller: Path, held_out: Path, work: Path, record: Record) -> None:
    out = work / "labelling_predictions" / family
    seconds = _labelled(labeller, held_out / family, out)
    scores = _scores(held_out / family, out, work / "labelling_scores" / family)
    rows = scores["vertebrae"]
    irregular = [row for row in rows if _irregular(row["case"])]
    regular = [row for row in rows if not _irregular(row["case"])]
    cases = {row["case"] for row in rows}
    assert len(cases) == sum(count for _, count, _, _ in HELD_OUT)
    undecided = [
        path.name for path in sorted(out.glob("*_labels.json")) if not json.loads(path.read_bytes())["determinable"]
    ]
    dice = sum(row["dice"] or 0.0 for row in rows) / len(rows)
    outline = sum(row["dice_any_name"] or 0.0 for row in rows) / len(rows)
    home = family == "a"
    order = 21 if home else 24
    seen = "the family it was trained on" if home else "the family it never saw"
    where = f"20 held-out phantom CTs of family {family}, {seen}"
    note = (
        f"strict rule, 1 mm; left unnamed: {len(undecided)} of {len(cases)}, counted as missed; "
        f"{seconds / len(cases):.1f} s a scan on two cores with loading; phantoms, no patients"
    )
    figures = (
        ("identification rate, regular anatomy", 0.95, _share(regular), len(regular)),
        ("identification rate, anomalies (T13, eleven thoracic, L6, four lumbar)", 0.80, _share(irregular),
         len(irregular)),
        ("Dice by name, misses as 0", 0.85, dice, len(rows)),
    )  # fmt: skip
    for step, (name, bound, value, count) in enumerate(figures):
        extra = f"; by outline, whatever the name, {outline:.3f}" if step == 2 else ""
        record(
            GROUP, order + step, f"{name}: {where}", asked=f"≥ {bound:g}" if home else "reported",
            measured=f"{value:.3f} of {count} vertebrae" if step < 2 else f"{value:.3f} over {count} vertebrae",
            met=value >= bound if home else None, command=COMMAND, note=note + extra,
        )  # fmt: skip
    if home:
        assert all(value >= bound for _, bound, value, _ in figures), figures


def test_views_that_do_not_decide(labeller: Path, held_out: Path, work: Path, record: Record) -> None:
    told = {}
    for family in FAMILIES:
        out = work / "labelling_predictions" / f"blind_{family}"
        _labelled(labeller, held_out / f"blind_{family}", out)
        reports = [json.loads(path.read_bytes()) for path in sorted(out.glob("*_labels.json"))]
        assert len(reports) == BLIND[1]
        told[family] = sum(not report["determinable"] for report in reports)
    record(
        GROUP, 27, "“not determinable” on crops with nothing to count from (mid-thoracic or mid-lumbar)",
        asked="all of 10 of family a; b reported", measured=f"{told['a']} of 10 (a), {told['b']} of 10 (b)",
        met=told["a"] == BLIND[1], command=COMMAND,
        note="six or seven thoracic vertebrae away from both ends of the ribs, or the middle lumbar ones; phantoms",
    )  # fmt: skip
    assert told["a"] == BLIND[1]


def test_real_lumbar_ct(labeller: Path, samples: Path, work: Path, record: Record) -> None:
    place = work / "labelling_real"
    shutil.rmtree(place, ignore_errors=True)
    for part in ("images", "reference"):
        (place / part).mkdir(parents=True)
    source = samples / "ct" / "totalsegmentator_lumbar"
    shutil.copy(source / "example_ct.nii.gz", place / "images" / "example_ct.nii.gz")
    shutil.copy(source / "example_seg_fast_force_split.nii.gz", place / "reference" / "example.nii.gz")
    _labelled(labeller, place / "images", place / "out", "--likeliest")
    report = json.loads((place / "out" / "example_labels.json").read_bytes())
    schemes = ("--reference-labels", "totalsegmentator", "--centroids", "mask")
    scores = _scores(place / "reference", place / "out", place / "scores", *schemes)
    rows = scores["vertebrae"]
    identified = sum(bool(row["identified"]) for row in rows)
    outline = sum(row["dice_any_name"] or 0.0 for row in rows) / len(rows)
    dice = sum(row["dice"] or 0.0 for row in rows) / len(rows)
    decided = "decided" if report["determinable"] else "not determinable"
    named = ", ".join(f"{one['likeliest'] or 'false'} {one['probability']:.2f}" for one in report["vertebrae"])
    record(
        GROUP, 28, "the bundled real lumbar CT (3 mm), by the model that saw phantoms only", asked="reported",
        measured=f"identified {identified} of {len(rows)}; Dice by name {dice:.3f}, by outline {outline:.3f}; "
        f"numbering {decided}",
        met=None, command=COMMAND,
        note=f"one scan; its reference is another model's output at 3 mm; names found: {named or 'none'}",
    )  # fmt: skip
    assert rows
