"""The same model with and without tools on the same questions, on exact and on faulty masks: what tools add.

Convention::

    RUN/outputs/samples/                 fresh questions of the mix, with a mask for each spine
    RUN/outputs/masks/KIND/              copies of the masks with one fault, and `masks.jsonl`
    RUN/outputs/predictions/NAME/        without tools; NAME-tools-KIND with them; `majority`
    RUN/outputs/scores/                  without tools, with them on the first kind of mask, and `majority`
    RUN/outputs/gain-NAME.json, .png     paired gains: with minus without, and with minus the best constant answer

Differences are paired by question and resample whole spines. p values are corrected by Holm over all gains of the file.
Several models share a run folder.

Trap: what a tool reads from a phantom's exact mask bounds from above what it adds on a patient's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.assisted.masks import KINDS, MaskKind, mean_dice, write_masks
from bench.live.config import LiveConfig, LiveSize
from bench.live.make import make_live
from bench.run import system_name
from bench.runner import MajorityAnswerer, predict_samples
from bench.runner.server import SERVER_BLOCK, ServerAnswerer
from bench.runner.tooled import ToolAnswerer, ToolConfig
from bench.samples import read_samples
from bench.spinebench.pair import compare_pair
from bench.spinebench.score import score_predictions
from spinemed.chat import Decoding, Egress, ServerConfig
from spinemed.chat.egress import LOCAL
from spinemed.config import Config
from spinemed.errors import ConfigError
from spinemed.run import open_run
from spinemed.statistics import holm
from spinemed.tables import write_json

__all__ = ["AssistedConfig", "Gain", "measure_gain"]


class AssistedConfig(Config):
    """Which questions are asked with and without tools, and on which masks."""

    live: LiveConfig = LiveConfig(count=400, undecidable_share=0.0, real=False, mix={"volume": 1.0}, size=LiveSize())
    """The questions; four a spine."""
    masks: tuple[MaskKind, ...] = Field(default=KINDS, min_length=1)
    """Masks that tools are given, an arm each; the first one also stands in the scores folder."""
    mask_seed: int = Field(default=0, ge=0)
    """Of the faults of masks."""
    tools: ToolConfig = ToolConfig()
    """Rounds, deadlines and trained networks; `root` is set by the run."""
    decoding: Decoding = Decoding(max_tokens=512)
    """How the model chooses its words; calls of functions are written in tokens, too."""
    seed: int = Field(default=0, ge=0)
    """Of bootstrap and tests."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap samples."""
    server: ServerConfig | None = Field(default=None, exclude=True)
    """The served model; several share a run folder."""
    egress: Egress = Field(default=LOCAL, exclude=True)
    """Where questions and pictures may go."""


@dataclass(frozen=True)
class Gain:
    """What a run found."""

    facts: dict[str, Any]
    file: Path
    figure: Path


def measure_gain(config: AssistedConfig, out: str | os.PathLike[str], *, name: str | None = None) -> Gain:
    """Ask a served model in all arms and compare them; the same call resumes.

    Args:
        config: The questions, the masks and the server.
        out: Run folder.
        name: The model's name in tables.

    Raises:
        ConfigError: No server is named, or a root of images is.
        RunError, EgressError, BudgetError, ChatError: As :func:`bench.run.run_benchmark`.
    """
    if config.server is None:
        raise ConfigError("no model is named", field="--url", cure="give --url and --served-model")
    if config.tools.root is not None:
        raise ConfigError("is set by the run", field="tools.root", cure="leave it out; name kinds of masks instead")
    system = system_name(None, config.server, name)
    with open_run(out, command="bench tools", config=config) as run:
        samples, replies = run.outputs / "samples", run.outputs / "predictions"
        with run.progress("cases", config.live.count // 4) as advance:
            make_live(config.live, samples, advance=advance)
        listed, _ = read_samples(samples)
        requests = run.scratch / "requests" / system
        predict_samples(samples, MajorityAnswerer(listed), replies / "majority", name="majority")
        with ServerAnswerer(config.server, requests, decoding=config.decoding, egress=config.egress) as plain:
            with run.progress(f"{system} answers", len(listed)) as advance:
                predict_samples(
                    samples, plain, replies / system, name=system, advance=advance, block_size=SERVER_BLOCK,
                    order="picture",
                )  # fmt: skip
            for kind in config.masks:
                home = run.outputs / "masks" / kind
                root = write_masks(samples / "volumes", home, kind, seed=config.mask_seed)
                tools = config.tools.model_copy(update={"root": root})
                log = run.scratch / "requests" / f"{system}-calls-{kind}.jsonl"
                tooled = ToolAnswerer(plain, listed, samples, tools, log=log, remember=True)
                with run.progress(f"{system} with tools, {kind} masks", len(listed)) as advance:
                    predict_samples(
                        samples, tooled, replies / f"{system}-tools-{kind}", name=f"{system}-tools-{kind}",
                        condition="tools", advance=advance, block_size=SERVER_BLOCK, order="picture",
                    )  # fmt: skip
        folders = [replies / system, replies / f"{system}-tools-{config.masks[0]}", replies / "majority"]
        score_predictions(
            samples, folders, run.outputs / "scores", subject=system, seed=config.seed, resamples=config.resamples
        )
        facts = _gains(config, samples, replies, run.outputs / "masks", system)
        file, figure = run.outputs / f"gain-{system}.json", run.outputs / f"gain-{system}.png"
        write_json(file, facts)
        from bench.assisted.figure import draw_gain

        draw_gain([facts], figure)
        return Gain(facts, file, figure)


def _gains(config: AssistedConfig, samples: Path, replies: Path, masks: Path, system: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    calls = {}
    for kind in config.masks:
        arm = replies / f"{system}-tools-{kind}"
        for against, other in (("without tools", system), ("best constant answer", "majority")):
            found = compare_pair(
                samples, arm, replies / other, seed=config.seed, resamples=config.resamples, by="kind"
            )  # fmt: skip
            calls[kind] = found["calls"][0]
            for row in found["rows"]:
                rows.append({"masks": kind, "dice": round(mean_dice(masks / kind), 4), "against": against, **row})
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return {
        "model": system,
        "served": config.server.model if config.server else "",
        "note": "computed phantoms; a tool that reads an exact mask is an upper bound; research use only",
        "seed": config.seed,
        "mask_seed": config.mask_seed,
        "resamples": config.resamples,
        "confidence": 0.95,
        "calls": calls,
        "rows": rows,
    }
