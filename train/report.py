"""The end of a training in one page: `report.md` and `loss.png`, drawn from the run's journal alone.

Convention: both lie beside `journal.jsonl`, not in `outputs/`, because they hold times. A step that was done twice,
after a kill, is shown once, as it was done last.

Trap: the loss of a stage is the mean over answer tokens of its own mixture; two stages' losses are not comparable.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinemed.errors import ReadError
from spinemed.tables import atomic_write, write_text

__all__ = ["StageRecord", "read_journal", "write_report"]

_FIGURES = (
    ("tokens_per_second", "tokens/s", "{:.0f}"),
    ("answer_tokens_per_second", "answer tokens/s", "{:.0f}"),
    ("images_per_second", "images/s", "{:.1f}"),
    ("fill_percent", "fill", "{:.1f} %"),
    ("padding_percent", "padding", "{:.1f} %"),
    ("data_wait_percent", "data wait", "{:.1f} %"),
    ("mfu_language_percent", "MFU language", "{:.1f} %"),
    ("mfu_vision_percent", "MFU vision", "{:.1f} %"),
    ("peak_memory_gib", "peak memory", "{:.2f} GiB"),
)


@dataclass
class StageRecord:
    """What the journal says of one stage."""

    name: str
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Loss, gradient norm and learning rate by step."""
    speed: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Figures of :class:`train.metrics.TrainingMeter` by step."""
    about: dict[str, Any] = field(default_factory=dict)
    """Device, peak and recompute."""
    resumed: int = 0
    """How often it went on from a checkpoint."""


def read_journal(run: str | os.PathLike[str]) -> tuple[list[StageRecord], list[dict[str, Any]]]:
    """The stages of a run in the order in which they began, and every event.

    Raises:
        ReadError: There is no journal.
    """
    file = Path(run) / "journal.jsonl"
    if not file.is_file():
        raise ReadError("no such file", file=file, cure="give the folder of a training run")
    stages: dict[str, StageRecord] = {}
    events = []
    for line in file.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        events.append(event)
        kind, name = event.get("event"), event.get("stage")
        if kind not in ("metrics", "speed", "metering", "resumed") or name is None:
            continue
        stage = stages.setdefault(name, StageRecord(name))
        if kind == "metering":
            stage.about = event
        elif kind == "resumed":
            stage.resumed += 1
        elif kind == "speed":
            stage.speed[event["step"]] = event
        elif "loss" in event:
            stage.metrics[event["step"]] = event
    return list(stages.values()), events


def write_report(run: str | os.PathLike[str]) -> Path:
    """Write `loss.png` and `report.md` into a run folder; returns the page.

    Raises:
        ReadError: There is no journal.
    """
    folder = Path(run)
    stages, events = read_journal(folder)
    _draw(stages, folder / "loss.png")
    write_text(folder / "report.md", "\n".join(_page(folder, stages, events)) + "\n")
    return folder / "report.md"


def _page(folder: Path, stages: Sequence[StageRecord], events: Sequence[dict[str, Any]]) -> Iterable[str]:
    yield f"# Training `{folder.resolve().name}`\n"
    opened = next((event for event in events if event.get("event") == "opened"), {})
    versions = opened.get("versions", {})
    yield "For research use only: not a medical device, not for diagnosis or treatment.\n"
    yield ", ".join(f"{name} {version}" for name, version in versions.items()) + ".\n"
    if not any(stage.metrics for stage in stages):
        yield "No step was logged."
        return
    yield "![Loss by step](loss.png)\n"
    yield from _losses(stages)
    yield from _speeds(stages)
    yield from _rows(events)
    absent = {
        (event["package"], event.get("effect", ""))
        for event in events
        if event.get("event") == "absent" and "package" in event
    }
    if absent:
        yield "\n## Not installed\n"
        yield from (f"- `{package}`: {effect}" for package, effect in sorted(absent))
    yield "\nThe journal (`journal.jsonl`) holds every figure with its step; the config as resolved is `config.yaml`."


def _losses(stages: Sequence[StageRecord]) -> Iterable[str]:
    yield "| stage | steps | first loss | last loss | lowest | last gradient norm | resumed |"
    yield "|---|---|---|---|---|---|---|"
    for stage in stages:
        if not stage.metrics:
            continue
        steps = sorted(stage.metrics)
        losses = [stage.metrics[step]["loss"] for step in steps]
        numbers = [value for value in losses if isinstance(value, int | float)]
        lowest = f"{min(numbers):.4f}" if numbers else "none is finite"
        norm = stage.metrics[steps[-1]].get("grad_norm")
        yield (
            f"| {stage.name} | {steps[-1]} | {_number(losses[0])} | {_number(losses[-1])} | {lowest} | "
            f"{_number(norm)} | {stage.resumed} |"
        )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else str(value or "")


def _speeds(stages: Sequence[StageRecord]) -> Iterable[str]:
    metered = [stage for stage in stages if stage.speed]
    if not metered:
        return
    yield "\n## Speed\n"
    yield "Medians over the logged stretches; memory is the largest. All processes together.\n"
    shown = [
        column for column in _FIGURES if any(column[0] in event for stage in metered for event in stage.speed.values())
    ]
    yield "| stage | " + " | ".join(title for _, title, _ in shown) + " |"
    yield "|---" * (len(shown) + 1) + "|"
    for stage in metered:
        cells = []
        for name, _, form in shown:
            values = [event[name] for event in stage.speed.values() if name in event]
            middle = max(values, default=None) if name == "peak_memory_gib" else _median(values)
            cells.append("" if middle is None else form.format(middle))
        yield f"| {stage.name} | " + " | ".join(cells) + " |"
    yield ""
    for stage in metered:
        device, peak = stage.about.get("device", "cpu"), stage.about.get("dense_peak_tflops")
        said = f"- {stage.name}: on {device}"
        if peak:
            again = "is computed again and not counted" if stage.about.get("recompute") else "is not computed again"
            said += f"; MFU against {peak:g} TFLOP/s (dense, bfloat16); the forward pass {again} in the backward pass"
        else:
            said += "; no MFU, because the peak of this device is not known" if device != "cpu" else "; no MFU on a CPU"
        yield said + "."


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _rows(events: Sequence[dict[str, Any]]) -> Iterable[str]:
    last = {str(event.get("stage", "")): event for event in events if event.get("event") == "rows"}
    if not last:
        return
    yield "\n## Rows\n"
    yield "| stage | read | kept | left out |"
    yield "|---|---|---|---|"
    for name, event in last.items():
        dropped = ", ".join(f"{reason}: {count}" for reason, count in sorted(dict(event.get("dropped", {})).items()))
        yield f"| {name} | {event.get('read', '')} | {event.get('kept', '')} | {dropped or 'none'} |"


def _draw(stages: Sequence[StageRecord], file: Path) -> None:
    """Loss by step, one panel a stage. The same losses give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [stage for stage in stages if stage.metrics]
    count = max(1, len(drawn))
    figure = Figure(figsize=(4.2 * count + 0.8, 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for panel, stage in zip(panels, drawn):
        points = [(step, event["loss"]) for step, event in sorted(stage.metrics.items())]
        finite = [(step, loss) for step, loss in points if isinstance(loss, int | float)]
        marker = "o" if len(finite) < 40 else None
        panel.plot(
            [step for step, _ in finite], [loss for _, loss in finite], lw=1.4, marker=marker, ms=3, color="#1f5f8b"
        )
        panel.set_title(stage.name, fontsize=10)
        panel.set_xlabel("step")
        panel.grid(alpha=0.25)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        if len(finite) < len(points):
            panel.text(0.5, 0.95, f"{len(points) - len(finite)} losses are not finite", transform=panel.transAxes,
                       ha="center", va="top", color="#a02020", fontsize=8)  # fmt: skip
    panels[0].set_ylabel("loss per answer token (nats)")
    with atomic_write(file) as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})
