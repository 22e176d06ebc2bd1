"""`spinemed bench examine` and `spinemed bench judge`: judges before their scores count, and their scores.

Convention: a run folder holds `requests/NAME/` (the log of each judge; it holds content) and the result beside it:
`examination/NAME/` or `judged/`. The same command resumes: what a log holds is not asked again.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from bench.served import AllowHost, InFlight, KeyFile, Revision, Served, Url, egress_of, server_of

__all__ = ["examine", "judge"]


def examine(
    samples: Annotated[Path, typer.Option(help="Samples folder of reports; they are doctored here.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes it.")],
    url: Url = None,
    served_model: Served = None,
    revision: Revision = None,
    key_file: KeyFile = None,
    max_in_flight: InFlight = None,
    allow_host: AllowHost = None,
    name: Annotated[str | None, typer.Option(help="The judge's name in tables.")] = None,
    family: Annotated[str | None, typer.Option(help="Its family, where its name does not tell.")] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest verdict in tokens.")] = 512,
    thresholds: Annotated[Path | None, typer.Option(help="What must be reached (YAML).")] = None,
) -> None:
    """Examine a judge with doctored reports: negated, wrong side, wrong level, padded, pleading, injected."""
    from rich.console import Console
    from rich.table import Table

    from bench.judges.examination import Thresholds, default_thresholds
    from bench.judges.examination import examine as examine_judge
    from bench.judges.families import family_of
    from bench.run import system_name
    from spinemed.chat import ChatClient, RequestLog
    from spinemed.chat.request import Decoding
    from spinemed.config import load_config
    from spinemed.errors import ConfigError

    server = server_of(url, served_model, revision=revision, key_file=key_file, max_in_flight=max_in_flight)
    if server is None:
        raise ConfigError("is absent", field="--url", cure="give the address of the judge's server")
    title = system_name(None, server, name)
    limits = load_config(thresholds, Thresholds) if thresholds is not None else default_thresholds()
    with ExitStack() as stack:
        log = stack.enter_context(RequestLog(out / "requests" / title, wait_s=10.0))
        chat = stack.enter_context(ChatClient(server, log))
        done = examine_judge(
            samples,
            chat,
            out / "examination" / title,
            name=title,
            family=family or family_of(server.model),
            decoding=Decoding(max_tokens=max_tokens),
            egress=egress_of(allow_host),
            thresholds=limits,
        )
    table = Table(title=f"{title}: {'passed' if done['passed'] else 'not passed'}")
    for head in ("row", "probes", "missing", "share", "needed", ""):
        table.add_column(head, justify="left" if head in ("row", "") else "right")
    for row in done["rows"]:
        share = row.get("right", row.get("raised"))
        needed = f"≥ {row['least']:.2f}" if "least" in row else f"≤ {row['most']:.2f}"
        verdict = "" if row["passed"] else row["why"] or "not reached"
        told = "-" if share is None else f"{share:.2f}"
        table.add_row(row["row"], str(row["probes"]), str(row["missing"]), told, needed, verdict)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"written: {out / 'examination' / title}", markup=False, soft_wrap=True)


def judge(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Judges and settings (YAML).")],
    samples: Annotated[Path, typer.Option(help="Samples folder of reports.")],
    predictions: Annotated[list[Path], typer.Option(help="Predictions folder or file; repeat for each system.")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes it.")],
    examination: Annotated[
        list[Path] | None, typer.Option(help="Finished examination of a judge; repeat for each.")
    ] = None,
    readers: Annotated[Path | None, typer.Option(help="reader_scores.jsonl of a reader study.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")] = None,
) -> None:
    """Let two judges or more judge reports: rubric and ten dimensions, agreement, and which judges count."""
    from rich.console import Console
    from rich.table import Table

    from bench.judges.judging import JudgesConfig, judge_reports
    from spinemed.chat import ChatClient, RequestLog
    from spinemed.config import load_config

    settings = load_config(config, JudgesConfig, set_ or ())
    with ExitStack() as stack:
        chats = {}
        for one in settings.judges:
            log = stack.enter_context(RequestLog(out / "requests" / one.name, wait_s=10.0))
            chats[one.name] = stack.enter_context(ChatClient(one.server, log))
        summary = judge_reports(
            settings,
            samples,
            predictions,
            out / "judged",
            chats=chats,
            examinations=examination or (),
            readers=readers,
        )
    console = Console(highlight=False)
    for one in summary["judges"]:
        state = "counts" if one["counts"] else f"does not count: {one['why_not']}"
        console.print(f"{one['name']} ({one['family']}): {state}", markup=False, soft_wrap=True)
    alpha = summary["agreement"]["rubric"]
    told = "none, " + alpha["reason"] if alpha["value"] is None else f"{alpha['value']:.2f}"
    console.print(f"Krippendorff's alpha over the rubric: {told}", markup=False)
    table = Table(title="by judges" if summary["rankable"] else f"no ranks: {summary['why_not']}")
    for head in ("system", "judged", "points", "of 100 by dimensions"):
        table.add_column(head, justify="left" if head == "system" else "right")
    for row in summary["systems"]:
        values = [row[name]["value"] for name in ("points", "dimension_total")]
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        table.add_row(row["name"], str(row["judged"]), *cells)
    console.print(table)
    console.print(f"written: {out / 'judged'}", markup=False, soft_wrap=True)
