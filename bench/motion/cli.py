"""The verbs that the motion benchmark adds to `spinemed motion`: evaluate and compare.

Convention: functions with typer's annotations; `spinemed motion` finds them through the entry-point group
`spinemed.motion.commands`, because the library never imports its applications.

Trap: nothing heavy is imported before a verb runs; listing the commands must stay quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["FAILED", "compare", "evaluate"]

FAILED = 1
"""Exit code where all was written but a clip was not scored from both of its files."""


def evaluate(
    reference: Annotated[Path, typer.Option(help="Folder of the data set, from `spinemed motion simulate`.")],
    prediction: Annotated[Path, typer.Option(help="Folder of the predictions: one NPZ per clip, named after it.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    published: Annotated[bool, typer.Option("--published", help="Print the published tables beside.")] = False,
    split: Annotated[str, typer.Option(help="Clips to score: all, train, val or test.")] = "all",
    norm_px: Annotated[float, typer.Option(min=0.001, help="Norm factor of the AUC in pictures, in pixels.")] = 30.0,
    norm_mm: Annotated[float, typer.Option(min=0.001, help="Norm factor of the AUC in space, in mm.")] = 150.0,
    name: Annotated[str | None, typer.Option(help="Name of the method; the folder's name unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score predicted motion against simulated truth. Exit code 0: all clips; 1: some were not; 2: nothing ran."""
    from rich.console import Console

    from bench.motion.evaluate import REPORT_FILE, evaluate_folder
    from bench.motion.records import SCORES_FILE, Settings
    from bench.motion.terminal import print_scores
    from bench.progress import progress
    from spinemed.errors import ConfigError

    if split not in ("all", "train", "val", "test"):
        raise ConfigError(f"{split!r} is none of them", field="--split", cure="use all, train, val or test")
    settings = Settings.model_validate({"split": split, "norm_px": norm_px, "norm_mm": norm_mm})
    with progress("clips") as advance:
        scores = evaluate_folder(
            reference,
            prediction,
            out,
            settings=settings,
            name=name,
            seed=seed,
            resamples=resamples,
            published=published,
            advance=advance,
        )
    console = Console(highlight=False)
    print_scores(scores, console, published=published)
    console.print(f"written: {out / SCORES_FILE} and {out / REPORT_FILE}", markup=False, soft_wrap=True)
    if scores.failed:
        raise typer.Exit(FAILED)


def compare(
    scores: Annotated[list[Path], typer.Argument(help="scores.json of two or more methods on the same clips.")],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.html.")] = None,
    quantities: Annotated[
        str | None, typer.Option(help="What to test, e.g. 'spine/p_mpjpe_mm,lumbar/flexion_mae_deg'.")
    ] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="A win needs a corrected p below this.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap and test.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples and sign patterns.")] = 10_000,
) -> None:
    """Test methods against each other on the same clips: paired differences by subject, Holm over all tests."""
    from rich.console import Console

    from bench.motion.compare import COMPARISON_FILE, compare_scores, read_entries, write_comparison
    from bench.motion.terminal import print_comparison

    wanted = None if quantities is None else tuple(part.strip() for part in quantities.split(",") if part.strip())
    found = compare_scores(read_entries(scores), quantities=wanted, alpha=alpha, seed=seed, resamples=resamples)
    console = Console(highlight=False)
    print_comparison(found, console)
    if out is not None:
        write_comparison(out, found)
        console.print(f"written: {out / COMPARISON_FILE}", markup=False, soft_wrap=True)
