"""Pseudo-healthy vertebrae: score synthetic bodies and pictures against healthy ones, and compare synthesisers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAILED = 1
"""Exit code where all was written but a vertebra was not scored from both of its files."""


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Option(help="Folder of healthy bodies: CASE_LABEL_vb.nii.gz, with _ct, _now.")],
    prediction: Annotated[Path, typer.Option(help="Folder of syntheses: CASE_LABEL_body.nii.gz, with _synthetic-ct.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    grades: Annotated[Path | None, typer.Option(help="File of grades; REFERENCE/grades.csv unless given.")] = None,
    published: Annotated[bool, typer.Option("--published", help="Print the published tables beside.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the method; the folder's name unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score a synthesiser. Exit code 0: all vertebrae; 1: some were not (all is written); 2: nothing ran."""
    from rich.console import Console

    from bench.progress import progress
    from bench.synthesis.evaluate import REPORT_FILE, evaluate_folder
    from bench.synthesis.records import SCORES_FILE
    from bench.synthesis.terminal import print_scores

    with progress("vertebrae") as advance:
        scores = evaluate_folder(
            reference,
            prediction,
            out,
            grades=grades,
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


@app.command()
def compare(
    scores: Annotated[list[Path], typer.Argument(help="scores.json of two or more methods on the same vertebrae.")],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.html.")] = None,
    by: Annotated[str, typer.Option(help="Groups tested apart: all, neighbourhood, grade, shape, region, ...")] = "all",
    quantities: Annotated[str | None, typer.Option(help="What to test, e.g. 'loss_mae_capped,dice'.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="A win needs a corrected p below this.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap and test.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples and sign patterns.")] = 10_000,
) -> None:
    """Test synthesisers against each other: paired differences over the same vertebrae, Holm over all tests."""
    from rich.console import Console

    from bench.synthesis.compare import COMPARISON_FILE, compare_scores, read_entries, write_comparison
    from bench.synthesis.terminal import print_comparison

    wanted = None if quantities is None else tuple(part.strip() for part in quantities.split(",") if part.strip())
    found = compare_scores(
        read_entries(scores), quantities=wanted, by=by, alpha=alpha, seed=seed, resamples=resamples
    )  # fmt: skip
    console = Console(highlight=False)
    print_comparison(found, console)
    if out is not None:
        write_comparison(out, found)
        console.print(f"written: {out / COMPARISON_FILE}", markup=False, soft_wrap=True)
