"""`spinemed review study` and `spinemed review reader-scores`: a reader study from files, and its judgements as a file.

Convention: a study comes from a file of cases (`--cases study.jsonl`), or from a benchmark's samples folder and the
predictions of any systems, each case then with its reference and a control that was doctored with one error.

Trap: the file of cases names the systems. It stays with the data manager; readers see the pages and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["reader_scores", "study"]

Database = Annotated[str | None, typer.Option(help="A SQLite file or a PostgreSQL URL, instead of the run's own.")]
Data = Annotated[Path | None, typer.Option(help="Folder of pictures and documents; needed with PostgreSQL.")]
Run = Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder of `spinemed data run`.")]


def study(
    name: Annotated[str, typer.Option(help="Name of the study, as readers see it.")],
    reader: Annotated[list[str], typer.Option(help="Pseudonym of a reviewer who reads; repeatable.")],
    run: Run = None,
    cases: Annotated[Path | None, typer.Option(help="Cases with their outputs, one JSON object a line.")] = None,
    samples: Annotated[Path | None, typer.Option(help="A samples folder, instead of --cases.")] = None,
    predictions: Annotated[
        list[Path] | None, typer.Option(help="A predictions.jsonl for these samples; repeatable.")
    ] = None,
    readers_per_output: Annotated[int, typer.Option(min=2, help="How many readers judge each case.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of readers, orders and doctored errors.")] = 0,
    database: Database = None,
    data: Data = None,
) -> None:
    """Make a reader study: outputs of systems, reference and doctored control, in an order of each reader's own."""
    from data_pipeline.review.cli import open_review
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.readers.service import create_study
    from data_pipeline.review.readers.study import plan_cases, read_cases
    from spinemed.errors import ConfigError
    from spinemed.records import Prediction, Sample
    from spinemed.tables import read_jsonl

    if (cases is None) == (samples is None):
        raise ConfigError("needs one of --cases and --samples", field="--cases", cure="give a file of cases")
    left_out: dict[str, int] = {}
    if cases is not None:
        found, folder = read_cases(cases), cases.parent
    else:
        assert samples is not None
        folder = samples
        told = [one for file in predictions or () for one in read_jsonl(file, Prediction)]
        found, left_out = plan_cases(read_jsonl(samples / "samples.jsonl", Sample), told, seed=seed)
    store = open_review(run, database, data)
    with store.writing() as session:
        create_study(
            session, SYSTEM, name, found, reader, readers_per_output=readers_per_output, seed=seed, folder=folder
        )
    store.close()
    for why, number in left_out.items():
        typer.echo(f"{number:6d}  left out: {why}")
    typer.echo(f"study: {name}; {len(found)} cases, {sum(len(case.outputs) for case in found)} outputs")


def reader_scores(
    name: Annotated[str, typer.Option(help="Name of the study.")],
    out: Annotated[Path, typer.Option(help="The file to write, e.g. reader_scores.jsonl.")],
    run: Run = None,
    database: Database = None,
    data: Data = None,
) -> None:
    """Write a study's judgements as ReaderScore records: what judges of reports are measured against."""
    from data_pipeline.review.cli import open_review
    from data_pipeline.review.errors import AbsentError
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.readers import service
    from spinemed.tables import write_jsonl

    store = open_review(run, database, data)
    with store.reading() as session:
        number = next((one.id for one in service.list_studies(session, SYSTEM) if one.name == name), None)
        if number is None:
            raise AbsentError(f"there is no study '{name}'", field="--name", cure="see the page of reader studies")
        written = write_jsonl(out, service.reader_scores(session, SYSTEM, number))
    store.close()
    typer.echo(f"judgements: {written} ({out})")
