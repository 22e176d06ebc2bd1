"""Fracture grading: score predicted Genant grades against read ones, and compare graders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAILED = 1
"""Exit code where all was written but the prediction of a case is missing or unusable."""


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Option(help="File of read grades: CSV (long or VerSe's sheet) or JSON.")],
    prediction: Annotated[Path, typer.Option(help="Folder of grades.json, or a CSV: case, level, grade, shape.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    split: Annotated[str, typer.Option(help="Vertebrae to score: all, train, validation or test.")] = "all",
    published: Annotated[bool, typer.Option("--published", help="Print the published tables beside.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the grader; the folder's name unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score a grader. Exit code 0: all cases; 1: some lack a usable prediction (all is written); 2: nothing ran."""
    from rich.console import Console

    from bench.fracture.evaluate import REPORT_FILE, evaluate_grades
    from bench.fracture.records import SCORES_FILE, Settings
    from bench.fracture.reference import SPLITS
    from bench.fracture.terminal import print_scores
    from spinemed.errors import ConfigError

    if split not in SPLITS:
        raise ConfigError(f"{split!r} is none of them", field="--split", cure=f"use {' or '.join(SPLITS)}")
    scores = evaluate_grades(
        reference,
        prediction,
        out,
        settings=Settings.model_validate({"split": split}),
        name=name,
        seed=seed,
        resamples=resamples,
        published=published,
    )
    console = Console(highlight=False)
    print_scores(scores, console, published=published)
    console.print(f"written: {out / SCORES_FILE} and {out / REPORT_FILE}", markup=False, soft_wrap=True)
    if scores.errors or scores.counts["cases_without_prediction"]:
        raise typer.Exit(FAILED)


@app.command()
def compare(
    scores: Annotated[list[Path], typer.Argument(help="scores.json of two or more graders on the same vertebrae.")],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.html.")] = None,
    quantities: Annotated[str | None, typer.Option(help="What to test, e.g. 'macro_f1,kappa'.")] = None,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="A win needs a corrected p below this.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap and test.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples and exchanges.")] = 10_000,
) -> None:
    """Test graders against each other on the same vertebrae: paired differences by patient, Holm over all tests."""
    from rich.console import Console

    from bench.fracture.compare import COMPARISON_FILE, compare_scores, read_entries, write_comparison
    from bench.fracture.terminal import print_comparison

    wanted = None if quantities is None else tuple(part.strip() for part in quantities.split(",") if part.strip())
    found = compare_scores(read_entries(scores), quantities=wanted, alpha=alpha, seed=seed, resamples=resamples)
    console = Console(highlight=False)
    print_comparison(found, console)
    if out is not None:
        write_comparison(out, found)
        console.print(f"written: {out / COMPARISON_FILE}", markup=False, soft_wrap=True)
