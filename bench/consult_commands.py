"""`spinemed bench consult`: consultations of one physician in a run folder, and the scores of all that are in it.

Convention::

    RUN/cases/               the cases, where no folder was given
    RUN/predictions/NAME/    the transcripts of one system
    RUN/requests/NAME/       the request log of a served model
    RUN/scores/              of all systems that consulted so far

Trap: the request log holds content; it stays where the cases may be.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.served import AllowHost, InFlight, KeyFile, Revision, Served, Url, egress_of, server_of

if TYPE_CHECKING:
    from bench.consultation.settings import ConsultConfig
    from bench.runner.answerers import Answerer
    from spinemed.chat.egress import Egress
    from spinemed.chat.server import ServerConfig

__all__ = ["consult"]


def consult(
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes it, other systems join it.")],
    cases: Annotated[Path | None, typer.Option(help="Samples folder of consultations; made unless given.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder, or 'ideal', 'careless', 'anxious' or 'majority'.")
    ] = None,
    url: Url = None,
    served_model: Served = None,
    revision: Revision = None,
    key_file: KeyFile = None,
    max_in_flight: InFlight = None,
    allow_host: AllowHost = None,
    name: Annotated[str | None, typer.Option(help="The system's name in tables.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings (YAML).")] = None,
) -> None:
    """Let a model consult with patients by rule, and score what it asked, advised and missed. Needs no judge."""
    from rich.console import Console
    from rich.table import Table

    from bench.consultation.cases import write_consultations
    from bench.consultation.dialogue import hold_consultations
    from bench.consultation.settings import ConsultConfig
    from bench.consultation.summary import score_consultations
    from spinemed.config import load_config
    from spinemed.errors import ConfigError, RunError
    from spinemed.tables import MANIFEST, read_manifest

    if (model is None) == (url is None):
        raise ConfigError("names no single physician", field="--model", cure="give --model or --url, one of the two")
    settings = load_config(config, ConsultConfig) if config is not None else ConsultConfig()
    server = server_of(url, served_model, revision=revision, key_file=key_file, max_in_flight=max_in_flight)
    asked = cases or out / "cases"
    if cases is None and not (asked / MANIFEST).is_file():
        write_consultations(asked, seed=settings.seed, draws=settings.draws)
    elif cases is None:
        known = read_manifest(asked, "samples")
        if (known.get("seed"), known.get("draws")) != (settings.seed, settings.draws):
            raise RunError(
                f"holds the cases of seed {known.get('seed')}, draws {known.get('draws')}", file=asked, field="seed",
                cure="give these settings, or another --out",
            )  # fmt: skip
    title = _title(model, server, name)
    with ExitStack() as stack:
        answerer = _answerer(model, server, asked, out / "requests" / title, settings, egress_of(allow_host), stack)
        hold_consultations(
            asked,
            answerer,
            out / "predictions" / title,
            name=title,
            turns=settings.turns,
            block_size=settings.block_size,
        )
    finished = sorted(path.parent for path in (out / "predictions").glob(f"*/{MANIFEST}"))
    summary = score_consultations(asked, finished, out / "scores", seed=settings.seed, resamples=settings.resamples)
    console = Console(highlight=False)
    table = Table(title=f"{summary['samples']} consultations, {summary['clusters']} made-up cases")
    heads = {"points": "points", "elicited": "elicited", "flags_before_advice": "flags", "urgency_right": "urgency",
             "under_triaged": "under", "over_triaged": "over", "turns": "turns"}  # fmt: skip
    table.add_column("physician")
    for head in heads.values():
        table.add_column(head, justify="right")
    for system in summary["systems"]:
        rates = [system["rates"][head]["value"] for head in heads]
        table.add_row(system["name"], *("-" if value is None else f"{value:.2f}" for value in rates))
    console.print(table)
    console.print(f"written: {out / 'scores'}", markup=False, soft_wrap=True)


def _title(model: str | None, server: ServerConfig | None, name: str | None) -> str:
    from bench.consultation.answerers import SCRIPTS
    from bench.run import system_name

    if server is None and model is not None and model in (*SCRIPTS, "majority"):
        return name or model
    return system_name(None if model is None else Path(model), server, name)


def _answerer(
    model: str | None,
    server: ServerConfig | None,
    cases: Path,
    requests: Path,
    settings: ConsultConfig,
    egress: Egress,
    stack: ExitStack,
) -> Answerer:
    from bench.consultation.answerers import SCRIPTS, MajorityPhysician, ScriptedPhysician
    from bench.samples import read_samples

    if server is not None:
        from bench.runner.server import ServerAnswerer

        return stack.enter_context(ServerAnswerer(server, requests, decoding=settings.decoding, egress=egress))
    assert model is not None
    for script in SCRIPTS:
        if model == script:
            return ScriptedPhysician(script)
    if model == "majority":
        return MajorityPhysician(read_samples(cases)[0])
    from bench.runner import LocalAnswerer

    return LocalAnswerer(model, batch_size=settings.block_size, max_new_tokens=settings.decoding.max_tokens)
