"""Vertebrae in CT: score labels and masks against a reference, compare algorithms, cross data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.verse.ranking import Comparison
    from bench.verse.records import Scores

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAILED = 1
"""Exit code where all was written but a case was not scored from both of its files as they are."""


def _one_of(value: str, option: str, *allowed: str) -> None:
    from spinemed.errors import ConfigError

    if value not in allowed:
        raise ConfigError(f"{value!r} is none of them", field=option, cure=f"use {' or '.join(allowed)}")


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Option(help="Folder of the reference: a VerSe release, or masks.")],
    prediction: Annotated[Path, typer.Option(help="Folder of the predictions, named after the cases.")],
    out: Annotated[Path, typer.Option(help="Folder to write; the same command resumes it.")],
    mode: Annotated[str, typer.Option(help="strict, or compat: labels by the published code's rule.")] = "strict",
    task: Annotated[str, typer.Option(help="both, labelling or segmentation.")] = "both",
    published: Annotated[bool, typer.Option("--published", help="Print the published VerSe'19 table beside.")] = False,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Tolerance of the surface Dice.")] = 1.0,
    resample: Annotated[bool, typer.Option("--resample", help="Resample predictions on another grid.")] = False,
    centroids: Annotated[str, typer.Option(help="Reference centres: file, or mask to estimate them.")] = "file",
    labels: Annotated[str, typer.Option(help="Label scheme of the predictions.")] = "verse",
    reference_labels: Annotated[str, typer.Option(help="Label scheme of the reference masks.")] = "verse",
    name: Annotated[str | None, typer.Option(help="Name of the algorithm; the folder's name unless given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score every case. Exit code 0: all scored from both files; 1: some were not (all is written); 2: nothing ran."""
    from rich.console import Console

    from bench.progress import progress
    from bench.verse.evaluate import REPORT_FILE, evaluate_folder
    from bench.verse.records import SCORES_FILE, Settings
    from bench.verse.terminal import print_scores
    from spinemed.labelling import SCHEMES

    _one_of(mode, "--mode", "strict", "compat")
    _one_of(task, "--task", "both", "labelling", "segmentation")
    _one_of(centroids, "--centroids", "file", "mask")
    _one_of(labels, "--labels", *SCHEMES, "nnunet")
    _one_of(reference_labels, "--reference-labels", *SCHEMES)
    settings = Settings.model_validate(
        {
            "mode": mode,
            "task": task,
            "tolerance_mm": tolerance_mm,
            "resample": resample,
            "centroids": centroids,
            "labels": labels,
            "reference_labels": reference_labels,
        }
    )
    with progress("cases") as advance:
        scores = evaluate_folder(
            reference,
            prediction,
            out,
            settings=settings,
            name=name,
            workers=workers,
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
    scores: Annotated[list[Path], typer.Argument(help="scores.json of two or more algorithms on the same scans.")],
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.html.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of the ranking, e.g. 'identified=1,dice=2'. Others count for nothing.")
    ] = None,
    test: Annotated[str, typer.Option(help="Test that decides a win: wilcoxon or sign-flip.")] = "wilcoxon",
    alpha: Annotated[float, typer.Option(min=0, max=1, help="A win needs a corrected p below this.")] = 0.05,
    unit: Annotated[str, typer.Option(help="What is paired: scan, or patient (mean of its scans).")] = "scan",
    correction: Annotated[str, typer.Option(help="holm or none.")] = "holm",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sign-flip test.")] = 0,
) -> None:
    """Test all pairs of algorithms on the same scans and rank them by points."""
    from rich.console import Console

    from bench.verse.ranking import RankingRules, compare_scores
    from bench.verse.records import read_scores
    from bench.verse.report import comparison_page
    from bench.verse.terminal import print_comparison
    from spinemed.errors import RecordError
    from spinemed.tables import write_json, write_text

    _one_of(test, "--test", "wilcoxon", "sign-flip")
    _one_of(unit, "--unit", "scan", "patient")
    _one_of(correction, "--correction", "holm", "none")
    values: dict[str, object] = {"test": test, "alpha": alpha, "unit": unit, "correction": correction}
    if weights is not None:
        values["weights"] = _weights(weights)
    entries: dict[str, Scores] = {}
    for path in scores:
        one = read_scores(path)
        if one.name in entries:
            raise RecordError(
                f"'{one.name}' is the name of another one too", file=path, cure="evaluate it again with --name"
            )
        entries[one.name] = one
    found: Comparison = compare_scores(entries, RankingRules.model_validate(values), seed=seed)
    console = Console(highlight=False)
    print_comparison(found, console)
    if out is not None:
        write_json(out / "comparison.json", found.model_dump(mode="json"))
        write_text(out / "comparison.html", comparison_page(found))
        console.print(f"written: {out / 'comparison.json'} and comparison.html", markup=False, soft_wrap=True)


def _weights(text: str) -> dict[str, float]:
    from spinemed.errors import ConfigError

    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise ConfigError(
                f"'{part}' is no weight", field="--weights", cure="write them as identified=1,dice=2"
            ) from error
    return found


@app.command()
def matrix(
    config: Annotated[Path, typer.Argument(help="YAML: data sets, and for each algorithm its scores.json on each.")],
    out: Annotated[Path, typer.Option(help="Folder for matrix.json, matrix.png and matrix.html.")],
    assign: Annotated[list[str] | None, typer.Option("--set", help="Override a field: seed=3.")] = None,
) -> None:
    """Algorithms x data sets: what is lost away from the training data, with intervals and a heat map."""
    from rich.console import Console

    from bench.verse.matrix import MATRIX_FILE, write_matrix
    from bench.verse.terminal import print_matrix

    found = write_matrix(config, out, assign or ())
    console = Console(highlight=False)
    print_matrix(found, console)
    console.print(f"written: {out / MATRIX_FILE}, matrix.png and matrix.html", markup=False, soft_wrap=True)
