"""The ablation of the training data at nano size: nine arms, three seeds, equal token budgets, one paired table."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ISSUE = "Training"
Record = Callable[..., None]
LIMIT_S = 6 * 60


def test_nine_arms_at_nano_size(
    root: Path,
    work: Path,
    quickstart: Callable[[int, str], Path],
    record: Record,
    measured_run: Callable[..., dict[str, Any]],
) -> None:
    made = quickstart(0, "seed0")
    release, out = made / "data" / "outputs" / "release", work / "ablate_nano"
    shutil.rmtree(out, ignore_errors=True)
    settings = [
        *(f"parts.{part}.release={release}" for part in ("general", "non_spine", "spine")),
        f"drafts={made / 'data' / 'outputs'}",
        f"samples={made / 'bench' / 'samples'}",
    ]
    config = root / "configs" / "ablate_nano.yaml"
    arguments = ["-m", "spinemed", "train", "ablate", str(config), "--out", str(out)]
    overrides = [part for setting in settings for part in ("--set", setting)]
    done = measured_run([sys.executable, *arguments, *overrides], root, work / "ablate_nano.log")
    assert done["exit_code"] == 0, (work / "ablate_nano.log").read_text()[-3000:]
    table = json.loads((out / "outputs" / "table" / "table.json").read_bytes())
    rows = {row["arm"]: row for row in table["rows"]}
    assert len(rows) == 9
    trained = [row for row in rows.values() if row["rows"]]
    # Equal budgets: the last step ends a stage, and a step of 16 rows is at most 16 x 512 tokens.
    assert all(table["tokens"] <= row["tokens"] < table["tokens"] + 16 * 512 for row in trained)
    assert all(row["seeds"] == 3 for row in trained)
    told = "; ".join(
        f"{name} {row['correct']:.1%}"
        + (f" ({100 * row['difference']:+.1f}, p {row['p_holm']:.3f})" if row.get("p_holm") is not None else "")
        for name, row in rows.items()
    )
    record(
        ISSUE, 60, "`spinemed train ablate` at nano size: nine arms, three seeds, equal token budgets",
        asked=f"≤ {LIMIT_S // 60} min", measured=f"{done['seconds'] / 60:.1f} min, {done['peak_gib']:.1f} GiB",
        met=done["seconds"] <= LIMIT_S,
        command="spinemed quickstart; spinemed train ablate configs/ablate_nano.yaml --out runs/ablate_nano",
        note=f"{table['tokens']:,} input tokens a training, {table['questions']} questions on {table['clusters']} "
        f"phantoms, patients and documents; load average {os.getloadavg()[2]:.1f}; right: {told}; differences to the "
        "full data in points, p by Holm; learned on phantoms, mostly measured on phantoms",
    )  # fmt: skip
    # What was shuffled or hidden cannot teach levels: those arms must not beat the full data.
    for arm in ("levels_masked", "levels_shuffled", "text_only"):
        assert rows[arm]["correct"] <= rows["full"]["correct"] or rows[arm]["p_holm"] > 0.05, arm
