"""Vertebrae one by one: lay them straight, make healthy twins, measure lost height, and grade it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from spinemed.vertebra.files import Scan
    from spinemed.vertebra.grading import GradeReport
    from spinemed.vertebra.jobs import Summary, Work
    from spinemed.vertebra.norms import Sex
    from spinemed.vertebra.records import LossFile, Mode

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAILED = 1
"""Exit code where some scans were done and others could not be."""

_Mask = Annotated[Path, typer.Option(help="Vertebra mask (NIfTI, or a folder of one mask a structure), or a folder.")]
_Image = Annotated[
    Path | None, typer.Option(help="CT or MR on the same grid; a folder where --mask is a folder of scans.")
]
_Scheme = Annotated[str, typer.Option(help="Numbering of the mask: verse, totalsegmentator, tptbox, ...")]
_Labels = Annotated[str | None, typer.Option(help="Only these: VerSe's numbers or names, as 18,19 or T11,L2.")]
_Out = Annotated[Path, typer.Option(help="Folder to write; the same command goes on where it stopped.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one line a scan, instead of words.")]


def _one_of(value: str, option: str, allowed: tuple[str, ...]) -> None:
    from spinemed.errors import ConfigError

    if value not in allowed:
        raise ConfigError(f"{value!r} is none of them", field=option, cure=f"use {', '.join(allowed)}")


def _check_scheme(scheme: str) -> None:
    from spinemed.labelling import SCHEMES

    _one_of(scheme, "--scheme", SCHEMES)


def _run(scans: tuple[Scan, ...], many: bool, out: Path, command: str, settings: dict[str, Any], work: Work) -> Summary:
    """All scans; a single one that fails is the command's own error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spinemed.vertebra.jobs import run_scans

    if not many:
        found = run_scans(scans, out, command, settings, work)
        for _, error in found.failed:
            raise error
        return found
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task(command, total=len(scans))
        return run_scans(
            scans, out, command, settings, work,
            advance=lambda count: bar.advance(shown, count),
            say=lambda line: console.print(f"spinemed: {line}", markup=False, soft_wrap=True),
        )  # fmt: skip


def _finish(found: Summary, out: Path, as_json: bool) -> None:
    """Say what became of the scans, and choose the exit code."""
    from spinemed.errors import EXIT_CODE

    good = len(found.done) + len(found.kept)
    if not as_json:
        typer.echo(
            f"{len(found.done)} done, {len(found.kept)} kept, {len(found.failed)} failed. Research use only. "
            f"Written: {out}"
        )
    if found.failed:
        raise typer.Exit(FAILED if good else EXIT_CODE)


@app.command()
def straighten(
    mask: _Mask,
    out: _Out,
    image: _Image = None,
    labels: _Labels = None,
    mode: Annotated[str, typer.Option(help="robust: in mm along a smooth curve; paper: as published.")] = "robust",
    spacing: Annotated[float, typer.Option(help="Edge of the crops' voxels in mm (robust mode).")] = 1.0,
    scheme: _Scheme = "verse",
    as_json: _Json = False,
) -> None:
    """Cut out each vertebra upright, with the way back. Exit code 0: all; 1: some scans failed; 2: none was done."""
    from math import isfinite

    from spinemed.errors import ConfigError
    from spinemed.vertebra.files import find_scans, wanted_levels
    from spinemed.vertebra.verbs import straighten_scan

    _one_of(mode, "--mode", ("robust", "paper"))
    _check_scheme(scheme)
    if not isfinite(spacing):
        raise ConfigError(f"{spacing} is no length", field="--spacing", cure="give millimetres, as 0.5")
    if mode == "paper" and spacing != 1.0:
        raise ConfigError(f"paper mode has voxels of 1 mm, not {spacing:g}", field="--spacing", cure="leave it out")
    levels = wanted_levels(labels)
    scans, many = find_scans(mask, image)
    settings = {
        "mode": mode,
        "levels": levels and [str(level) for level in levels],
        "spacing": spacing,
        "scheme": scheme,
    }

    def work(scan: Scan, inputs: Any, folder: Path) -> None:
        straighten_scan(
            scan, inputs, folder,
            mode="paper" if mode == "paper" else "robust", levels=levels, scheme=scheme, spacing_mm=spacing,
        )  # fmt: skip

    found = _run(scans, many, out, "straighten", settings, work)
    if as_json:
        _print_files(found, out, "{name}_straight.json")
    _finish(found, out, as_json)


@app.command()
def synthesise(
    mask: _Mask,
    model: Annotated[str, typer.Option(help="Model folder; or neighbours (their mean), or upper (a copy of it).")],
    out: _Out,
    image: _Image = None,
    labels: _Labels = None,
    scheme: _Scheme = "verse",
    as_json: _Json = False,
) -> None:
    """Make the body that each vertebra should have, as a layer of its own. Exit code as for straighten."""
    from spinemed.vertebra.files import find_scans, wanted_levels
    from spinemed.vertebra.verbs import read_model, synthesise_scan

    _check_scheme(scheme)
    levels = wanted_levels(labels)
    scans, many = find_scans(mask, image)
    synthesiser, identity = read_model(model)
    settings = {"model": identity, "levels": levels and [str(level) for level in levels], "scheme": scheme}

    def work(scan: Scan, inputs: Any, folder: Path) -> None:
        synthesise_scan(scan, inputs, folder, synthesiser, levels=levels, scheme=scheme)

    found = _run(scans, many, out, "synthesise", settings, work)
    if as_json:
        _print_files(found, out, "{name}_synthesis.json")
    _finish(found, out, as_json)


@app.command()
def rhlv(
    mask: Annotated[Path, typer.Option(help="The vertebra as it is: a crop, or a mask in the patient's grid.")],
    synthetic: Annotated[Path, typer.Option(help="Its synthetic twin on the same grid.")],
    label: Annotated[
        int | None, typer.Option(min=1, max=255, help="Its number; read from a crop's file name if not given.")
    ] = None,
    mode: Annotated[str, typer.Option(help="robust: percent with intervals; paper: the published formula.")] = "robust",
    picture: Annotated[
        Path | None, typer.Option("--map", help="Write the height-loss map of one pair here, as PNG (robust mode).")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Relative height loss of vertebrae: of one pair of masks, or of all pairs of crops in two folders."""
    from spinemed.errors import EXIT_CODE, ConfigError, SpineMedError
    from spinemed.vertebra.verbs import label_of_file, measure_pair, measure_pairs

    _one_of(mode, "--mode", ("robust", "paper"))
    wanted: Mode = "paper" if mode == "paper" else "robust"
    if picture is not None and (wanted == "paper" or mask.is_dir() or picture.suffix != ".png"):
        raise ConfigError(
            "a map is a PNG of one pair in robust mode", field="--map", cure="give one pair, --mode robust and a .png"
        )
    if not mask.is_dir():
        number = label if label is not None else label_of_file(mask)
        if number is None:
            raise ConfigError("no vertebra is named", field="--label", cure="give --label, e.g. --label 20 for L1")
        _print_loss(measure_pair(mask, synthetic, number, mode=wanted, picture=picture), as_json)
        return
    failed = done = 0
    for found in measure_pairs(mask, synthetic, label, mode=wanted):
        if isinstance(found, SpineMedError):
            typer.echo(f"spinemed: {found}", err=True)
            failed += 1
        else:
            _print_loss(found, as_json)
            done += 1
    if failed:
        raise typer.Exit(FAILED if done else EXIT_CODE)


@app.command()
def grade(
    mask: _Mask,
    out: _Out,
    image: _Image = None,
    subregions: Annotated[
        Path | None, typer.Option(help="Bodies alone, or SPINEPS' and TPTBox's subregions; better than the mask alone.")
    ] = None,
    sex: Annotated[str | None, typer.Option(help="female or male, if known.")] = None,
    scheme: _Scheme = "verse",
    as_json: _Json = False,
) -> None:
    """Grade every vertebra against its own spine: grades.json and report.html. Exit code as for straighten."""
    from spinemed.vertebra.case import GRADES_FILE, REPORT_FILE, grade_case, write_case
    from spinemed.vertebra.files import find_scans

    _check_scheme(scheme)
    if sex is not None:
        _one_of(sex, "--sex", ("female", "male"))
    known: Sex | None = "female" if sex == "female" else "male" if sex == "male" else None
    scans, many = find_scans(mask, image, subregions)

    def work(scan: Scan, inputs: Any, folder: Path) -> None:
        place = folder / scan.name if many else folder
        write_case(grade_case(scan, inputs, scheme=scheme, sex=known), place)

    found = _run(scans, many, out, "grade", {"sex": sex, "scheme": scheme, "many": many}, work)
    for name in sorted([*found.done, *found.kept]):
        place = out / name if many else out
        _print_grades(name, place / GRADES_FILE, as_json, whole=not many)
        if not many and not as_json:
            typer.echo(f"written: {place / GRADES_FILE} and {REPORT_FILE}")
    _finish(found, out, as_json)


# --- what is printed -------------------------------------------------------------------------------------------------


def _print_files(found: Summary, out: Path, pattern: str) -> None:
    import json

    for name in sorted([*found.done, *found.kept]):
        typer.echo(json.dumps(json.loads((out / pattern.format(name=name)).read_bytes()), ensure_ascii=False))


def _print_loss(loss: LossFile, as_json: bool) -> None:
    if as_json:
        typer.echo(loss.model_dump_json())
        return
    name = f"{loss.case} {loss.level or ''} (label {loss.label})"
    if loss.paper is not None:
        values = loss.paper
        typer.echo(
            f"{name}: RHLV as published: whole {values.whole:.4f}, anterior {values.anterior:.4f}, "
            f"middle {values.middle:.4f}, posterior {values.posterior:.4f}"
        )
    elif loss.robust is not None:
        parts = [
            f"{word} {third.percent:.1f} % ({third.low:.1f} to {third.high:.1f})"
            for word, third in zip(
                ("anterior", "middle", "posterior"),
                (loss.robust.anterior, loss.robust.middle, loss.robust.posterior),
                strict=True,
            )
        ]
        typer.echo(f"{name}: lost {', '.join(parts)}" + ("" if loss.robust.gradable else "; not to be graded"))
    for flag in loss.flags:
        typer.echo(f"  {flag}")


def _print_grades(name: str, path: Path, as_json: bool, *, whole: bool) -> None:
    import json

    from spinemed.vertebra.grading import GradeReport

    values = json.loads(path.read_bytes())
    if as_json:
        typer.echo(json.dumps({"case": name, **values}, ensure_ascii=False))
        return
    report = GradeReport.model_validate(values)
    if whole:
        _print_table(report)
    else:
        graded = [each for each in report.vertebrae if each.grade is not None]
        high = ", ".join(f"{each.level} grade {each.grade}" for each in graded if each.grade)
        typer.echo(f"{name}: {len(graded)} of {len(report.vertebrae)} vertebrae graded" + (f"; {high}" if high else ""))


def _print_table(report: GradeReport) -> None:
    from rich.console import Console
    from rich.table import Table

    from spinemed.vertebra.notes import Notes

    notes = Notes(report.vertebrae)
    table = Table(title=None)
    for column in ("level", "doubts", "grade", "shape", "anterior loss", "middle loss", "posterior loss"):
        table.add_column(column, overflow="fold")
    for each in report.vertebrae:
        thirds = [
            "–" if third is None else f"{round(third.percent)} % ({round(third.low)} to {round(third.high)})"
            for third in (each.anterior, each.middle, each.posterior)
        ]
        grade = "–" if each.grade is None else str(each.grade)
        doubts = ", ".join(f"{doubt['short']} {doubt['letter']}".rstrip() for doubt in notes.of(each))
        table.add_row(str(each.level), doubts, grade, each.shape or "–", *thirds)
    console = Console(highlight=False)
    for flag in report.flags:
        console.print(flag, markup=False, soft_wrap=True)
    for flag in notes.common:
        console.print(f"all measured vertebrae: {flag}", markup=False, soft_wrap=True)
    console.print(table, markup=False)
    for note in notes.rows:
        console.print(f"{note['letter']}  {note['text']} ({', '.join(note['levels'])})", markup=False, soft_wrap=True)
    console.print(f"{report.note}; {report.use}", markup=False)
