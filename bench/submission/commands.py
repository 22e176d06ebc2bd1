"""`validate` and `round`: submissions checked; live rounds opened, handed out, collected, revealed and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["rounds", "validate"]

rounds = typer.Typer(no_args_is_help=True, add_completion=False, help="Live rounds whose seed is committed to.")


def validate(
    submission: Annotated[Path, typer.Argument(help="Submission folder with submission.yaml.")],
    samples: Annotated[Path, typer.Option(help="Samples folder that it answers.")],
) -> None:
    """Check a submission: declaration, and one prediction for every sample."""
    from rich.console import Console

    from bench.submission import validate_submission

    found = validate_submission(submission, samples)
    console = Console(highlight=False)
    console.print(
        f"{found['system']}: {found['questions']} questions under {', '.join(found['conditions'])}", markup=False
    )
    if found["apart"]:
        console.print(f"ranked apart: trained on the generator of these questions ({', '.join(found['apart'])})")
    for reason in found["unrankable"]:
        console.print(f"not ranked: {reason}", markup=False)


@rounds.command("open")
def open_command(
    config: Annotated[Path, typer.Argument(help="Config of `spinemed bench live`.")],
    out: Annotated[Path, typer.Option(help="Round folder to write.")],
    day: Annotated[str | None, typer.Option("--date", help="Of the round, YYYY-MM-DD; today unless given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Unless given, 63 random bits.")] = None,
) -> None:
    """Draw a seed and write the commitment to publish and the secret to keep."""
    from rich.console import Console

    from bench.submission.rounds import COMMITMENT, SECRET, open_round

    made = open_round(config, out, day=day, seed=seed)
    console = Console(highlight=False)
    console.print(f"publish {out / COMMITMENT}: {made['commitment']}", markup=False, soft_wrap=True)
    console.print(f"keep {out / SECRET} to yourself until the round ends", markup=False, soft_wrap=True)


@rounds.command("publish")
def publish_command(
    samples: Annotated[Path, typer.Argument(help="Samples folder; it stays with the operator.")],
    out: Annotated[Path, typer.Option(help="Folder of questions without truth to write.")],
    key: Annotated[Path | None, typer.Option(help="Key to keep; key.jsonl beside the samples unless given.")] = None,
) -> None:
    """Write the questions without their truth for contestants, and the key that maps their ids back."""
    from rich.console import Console

    from bench.submission.questions import publish_questions

    made = publish_questions(samples, out, key=key)
    console = Console(highlight=False)
    console.print(f"publish {out}: {made['questions']} questions", markup=False, soft_wrap=True)
    kept = key if key is not None else "key.jsonl beside the samples"
    console.print(f"keep {kept} and {samples} to yourself until the round ends", markup=False, soft_wrap=True)


@rounds.command("collect")
def collect_command(
    predictions: Annotated[Path, typer.Option(help="A contestant's predictions.jsonl on the ids of the questions.")],
    samples: Annotated[Path, typer.Option(help="Samples folder that the questions were published from.")],
    out: Annotated[Path, typer.Option(help="Predictions folder to write.")],
    key: Annotated[Path | None, typer.Option(help="The key; key.jsonl beside the samples unless given.")] = None,
) -> None:
    """Turn a contestant's answers into a predictions folder on the samples, to be scored like any other."""
    from rich.console import Console

    from bench.submission.questions import collect_answers

    made = collect_answers(predictions, samples, out, key=key)
    told = f"{made['name']}: {made['predictions']} answers under {made['condition']}, written to {out}"
    Console(highlight=False).print(told, markup=False, soft_wrap=True)


@rounds.command("reveal")
def reveal_command(
    folder: Annotated[Path, typer.Argument(help="Round folder with its secret.")],
    samples: Annotated[Path, typer.Option(help="Samples folder that was asked.")],
) -> None:
    """Write what is published when the round ends: seed, salt and the hash of the questions."""
    from rich.console import Console

    from bench.submission.rounds import REVEAL, reveal_round

    reveal_round(folder, samples)
    Console(highlight=False).print(f"publish {folder / REVEAL}", markup=False, soft_wrap=True)


@rounds.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder with commitment.json and reveal.json.")],
    config: Annotated[Path, typer.Option(help="The config that the round named.")],
    samples: Annotated[Path | None, typer.Option(help="Samples that are said to be the round's.")] = None,
    remake: Annotated[bool, typer.Option(help="Make the questions again and compare their hash.")] = True,
) -> None:
    """Check a revealed round: commitment, config and questions."""
    from rich.console import Console

    from bench.submission.rounds import verify_round

    found = verify_round(folder, config, samples=samples, remake=remake)
    made = f"{found['questions']} questions made again, same hash" if found["remade"] else "questions not made again"
    Console(highlight=False).print(f"commitment holds; {made}", markup=False)
