"""The board: one static HTML file that needs nothing but a browser, and the plots beside it as PNG.

Convention: every number on the page is read from `summary.json` and only formatted here; the page holds no clock time
and no path, so the same scores give the same bytes. It loads nothing from anywhere: pictures and plots are inside it,
and its content policy forbids scripts and foreign origins.

Trap: replies, questions and system names are untrusted text. They reach the page through the template's escaping only;
the one thing inserted as markup is a plot, whose texts matplotlib has escaped.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.board import wording
from bench.board.plots import Plot, accuracy_plot, confusion_plot, offset_plot, per_level_plot, role_class
from spinemed.errors import ReadError
from spinemed.records import IMAGE_PLACEHOLDER
from spinemed.run import make_folder
from spinemed.statistics.intervals import FEWEST_CLUSTERS
from spinemed.tables import read_manifest, write_bytes, write_text

__all__ = ["BOARD_FILE", "write_board"]

BOARD_FILE = "board.html"
PLOTS_FOLDER = "plots"
_SHOWN = {"question": 1200, "reply": 160}
"""Characters of a question or reply shown; how many more there are stands behind it."""


def write_board(
    scores: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, title: str = "SpineBench board"
) -> list[dict[str, Any]]:
    """Write `board.html` and `plots/*.png`.

    Args:
        scores: Scores folders; each becomes a part of the page.
        out: Where the page goes. Other files there are left alone.
        title: Heading of the page.

    Returns:
        The summaries that were shown.

    Raises:
        ReadError: A scores folder is missing, unfinished or changed.
    """
    if not scores:
        raise ReadError("no scores are given", field="--scores", cure="name at least one scores folder")
    target = Path(out)
    runs, plots, summaries = [], [], []
    for number, folder in enumerate(scores, 1):
        root = Path(folder)
        manifest = read_manifest(root, "scores", verify=True)
        summary = json.loads((root / "summary.json").read_bytes())
        examples = json.loads((root / "examples.json").read_bytes())
        view, own = _view(summary, examples, root, f"run{number}" if len(scores) > 1 else "board")
        runs.append(
            {
                **view,
                "scores_sha256": manifest["sha256"],
                "title": f"Run {number}: release {summary['samples']['release_sha256'][:12]}"
                if len(scores) > 1
                else None,
            }
        )
        plots += own
        summaries.append(summary)
    html = _environment().get_template("board.html.j2").render(title=title, runs=runs)
    make_folder(target / PLOTS_FOLDER)
    for plot in plots:
        write_bytes(target / PLOTS_FOLDER / f"{plot.name}.png", plot.png)
    write_text(target / BOARD_FILE, html)
    return summaries


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=wording.percent,
        interval=wording.percent_interval,
        points=wording.points,
        points_interval=wording.points_interval,
        p=wording.p_text,
        words=wording.words,
        row_title=wording.row_title,
        role_title=wording.role_title,
        shown=lambda text, kind: text[: _SHOWN[kind]],
        more=lambda text, kind: max(0, len(text) - _SHOWN[kind]),
    )
    return environment


def _view(
    summary: dict[str, Any], examples: list[dict[str, Any]], folder: Path, prefix: str
) -> tuple[dict[str, Any], list[Plot]]:
    """What the template shows of one run: the summary as it is, plots, and examples with their pictures inside."""
    accuracy = accuracy_plot(summary, f"{prefix}-accuracy")
    plots, levels = [accuracy], []
    roles = {system["name"]: system["role"] for system in summary["systems"]}
    subject = summary["subject"]
    # The best supported group first.
    groups = sorted(summary["levels"], key=lambda group: (-_support(summary["levels"][group]), group))
    for group in groups:
        systems = summary["levels"][group]
        entry = {
            "title": wording.level_group_title(group),
            "systems": {name: systems[name] for name in roles},
            "plots": None,
        }
        if subject is not None and systems[subject]["clusters"] >= FEWEST_CLUSTERS:
            own = systems[subject]
            name = f"{prefix}-{group.replace('/', '-')}"
            shown = [(other, roles[other], systems[other]["offsets"]) for other in roles if roles[other] == "base"]
            drawn = {
                "confusion": confusion_plot(own["confusion"], f"{name}-confusion"),
                "per_level": per_level_plot(own["per_level"], f"{name}-per-level"),
                "offsets": offset_plot([(subject, "subject", own["offsets"]), *shown], f"{name}-offsets"),
            }
            plots += drawn.values()
            entry["plots"] = {key: Markup(plot.svg) for key, plot in drawn.items()}
        levels.append(entry)
    view = {
        "prefix": prefix,
        "summary": summary,
        "paired": [
            {"row": row, "comparisons": [one for one in summary["comparisons"] if one["row"] == row["key"]]}
            for row in summary["rows"]
        ],
        "colours": {system["name"]: role_class(system["role"]) for system in summary["systems"]},
        "headlines": _headlines(summary),
        "accuracy": Markup(accuracy.svg),
        "levels": levels,
        "examples": [_example(example, folder) for example in examples],
        "commands": _commands(summary),
        "has_phantoms": any("phantom" in row["origin"] for row in summary["rows"]),
        "has_real": any("real" in row["origin"] for row in summary["rows"]),
    }
    return view, plots


def _support(systems: dict[str, Any]) -> int:
    return max(int(own["clusters"]) for own in systems.values())


def _headlines(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One card per finest row: the subject's value and its difference to what matters for this kind of row."""
    subject = summary["subject"]
    if subject is None:
        return []
    roles = {system["name"]: system["role"] for system in summary["systems"]}
    cards = []
    for row in summary["rows"]:
        if row["whole_axis"]:
            continue
        against = [
            comparison
            for role in ("base", "blind", "majority", "random")
            for comparison in summary["comparisons"]
            if comparison["row"] == row["key"] and roles[comparison["reference"]] == role
        ]
        cards.append({"row": row, "own": row["systems"][subject], "against": against})
    return cards


def _example(example: dict[str, Any], folder: Path) -> dict[str, Any]:
    pictures = []
    for path in example["images"]:
        kind = "jpeg" if path.endswith((".jpg", ".jpeg")) else "png"
        data = base64.b64encode((folder / path).read_bytes()).decode()
        pictures.append(f"data:image/{kind};base64,{data}")
    turns = [
        {"role": turn["role"], "text": turn["content"].replace(IMAGE_PLACEHOLDER, "").strip()}
        for turn in example["question"]
        if turn["role"] != "system"
    ]
    return {**example, "pictures": pictures, "turns": turns}


def _commands(summary: dict[str, Any]) -> list[str]:
    """The commands that make these numbers again; folders stand by the hash of what they hold."""
    samples = f"SAMPLES-{summary['samples']['sha256'][:12]}"
    lines = [
        f"spinemed bench samples --release RELEASE-{summary['samples']['release_sha256'][:12]} "
        f"--split {summary['samples']['split']} --out {samples}"
    ]
    for system in summary["systems"]:
        known = {"majority": "majority", "random": f"random --seed {system['identity'].get('seed', 0)}"}
        if system["answerer"] in ("local", *known):
            model = known.get(system["answerer"], shlex.quote(system["model"]))
            # Batches decide the padding, and the token limit where a reply ends: both belong to the numbers.
            sizes = "".join(
                f" --{name.replace('_', '-')} {system['identity'][name]}"
                for name in ("batch_size", "max_new_tokens")
                if name in system["identity"]
            )
            sizes += "" if system["identity"].get("cut_is_answer", True) else " --cut-apart"
            lines.append(
                f"spinemed bench predict --samples {samples} --model {model}{sizes} --condition {system['condition']} "
                f"--name {shlex.quote(system['name'])} --out PREDICTIONS-{system['predictions_sha256'][:12]}"
            )
        elif system["answerer"] == "server" and system["condition"] == "full":
            # One call asks every condition; the address is no part of the numbers.
            model, decoding = system["identity"]["server"], system["identity"]["decoding"]
            lines.append(
                f"spinemed bench run configs/bench/samples.yaml --set release=null --set samples={samples} --url URL "
                f"--served-model {shlex.quote(model['name'])} --revision {shlex.quote(model['revision'])} "
                f"--set {shlex.quote(f'decoding={json.dumps(decoding)}')} --name {shlex.quote(system['name'])} "
                "--out RUN"
            )
    each = " ".join(f"--predictions PREDICTIONS-{system['predictions_sha256'][:12]}" for system in summary["systems"])
    subject = f" --subject {shlex.quote(summary['subject'])}" if summary["subject"] else ""
    lines.append(
        f"spinemed bench score --samples {samples} {each}{subject} --seed {summary['seed']} "
        f"--resamples {summary['resamples']} --out SCORES"
    )
    return lines
