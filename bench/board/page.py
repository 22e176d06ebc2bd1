"""The board: one static HTML file that needs nothing but a browser, and the plots beside it as PNG.

Convention: every number on the page is read from `summary.json` and only formatted here; what else it shows (ranks by
group, filters, the questions one by one) is made from the samples and predictions that the scores name by hash. The
page holds no clock time and no path, so the same files give the same bytes. It loads nothing from anywhere: pictures,
plots and data are inside it, and its content policy permits one script, its own by hash, and no foreign origin.

Trap: replies, questions and system names are untrusted text. They reach the page through the template's escaping or as
JSON with `<` escaped; what is inserted as markup is plots, whose texts matplotlib has escaped, and that JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.board import wording
from bench.board.curves import calibration_plot, control_plot, position_plot, risk_plot
from bench.board.extras import KINDS, part_of
from bench.board.items import SIDE, as_json, embed
from bench.board.plots import Plot, accuracy_plot, confusion_plot, offset_plot, per_level_plot, role_class
from bench.board.sources import Known, Sources, read_sources
from bench.board.standing import REFERENCES, stand
from spinemed.errors import ReadError
from spinemed.records import IMAGE_PLACEHOLDER
from spinemed.run import make_folder
from spinemed.statistics.intervals import FEWEST_CLUSTERS
from spinemed.tables import MANIFEST, read_manifest, write_bytes, write_text

__all__ = ["BOARD_FILE", "write_board"]

BOARD_FILE = "board.html"
"""Name of the page in the folder of a board."""
PLOTS_FOLDER = "plots"
_SHOWN = {"question": 1200, "reply": 160}
"""Characters of a question or reply shown; how many more there are stands behind it."""


def write_board(
    scores: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    title: str = "SpineBench board",
    samples: Sequence[str | os.PathLike[str]] = (),
    predictions: Sequence[str | os.PathLike[str]] = (),
    submissions: Sequence[str | os.PathLike[str]] = (),
    items: int = 200,
) -> list[dict[str, Any]]:
    """Write `board.html` and `plots/*.png`.

    Args:
        scores: Scores folders; each becomes a part of the page. Folders of consultations, reports and judges may stand
            among them.
        out: Where the page goes. Other files there are left alone.
        title: Heading of the page.
        samples: Samples folders that were scored: filters, ranks by group and the browser of questions need them.
        predictions: Predictions folders that were scored, for the replies in the browser.
        submissions: Submission folders, for their declarations (and predictions).
        items: Questions to look at, at most, for each scores folder.

    Returns:
        The summaries of questions that were shown.

    Raises:
        ReadError: A folder is missing, unfinished, changed, or belongs to none of the scores.
        ConfigError, RecordError: A submission is wrong.
    """
    if not scores:
        raise ReadError("no scores are given", field="--scores", cure="name at least one scores folder")
    target = Path(out)
    folders = [Path(folder) for folder in scores]
    kinds = [_kind(folder) for folder in folders]
    sources = read_sources(samples, predictions, submissions)
    asked = [folder for folder, kind in zip(folders, kinds, strict=True) if kind not in KINDS]
    manifests = [read_manifest(root, "scores", verify=True) for root in asked]
    summaries = [json.loads((root / "summary.json").read_bytes()) for root in asked]
    sources.refuse_strangers(summaries)
    runs, plots = [], []
    for number, (root, manifest, summary) in enumerate(zip(asked, manifests, summaries, strict=True), 1):
        examples = json.loads((root / "examples.json").read_bytes())
        prefix = f"run{number}" if len(asked) > 1 else "board"
        view, own = _view(summary, examples, root, prefix, sources, items)
        heading = f"Run {number}: release {summary['samples']['release_sha256'][:12]}" if len(asked) > 1 else None
        runs.append({**view, "scores_sha256": manifest["sha256"], "title": heading})
        plots += own
    extras = []
    for root, kind in zip(folders, kinds, strict=True):
        if kind in KINDS:
            manifest = read_manifest(root, kind, verify=True)
            extras.append(part_of(kind, json.loads((root / "summary.json").read_bytes()), manifest["sha256"]))
    script = _script() if any(run["explore"] for run in runs) else ""
    html = (
        _environment()
        .get_template("board.html.j2")
        .render(title=title, runs=runs, extras=extras, script=Markup(script), script_hash=_policy_hash(script))
    )
    make_folder(target / PLOTS_FOLDER)
    for plot in plots:
        write_bytes(target / PLOTS_FOLDER / f"{plot.name}.png", plot.png)
    write_text(target / BOARD_FILE, html)
    return summaries


def _kind(folder: Path) -> str:
    """The kind in a folder's manifest; `scores` where there is none that can be read, whose reader then says why."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return "scores"
    return str(found.get("kind")) if isinstance(found, dict) else "scores"


def _script() -> str:
    return (Path(__file__).parent / "templates" / "board.js").read_text(encoding="utf-8")


def _policy_hash(script: str) -> str | None:
    """What the content policy names to permit this very script; None without one."""
    if not script:
        return None
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


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
        number=wording.number,
        number_interval=wording.number_interval,
        condition_title=wording.condition_title,
        decimal=lambda value: "-" if value is None else f"{value:.2f}",
        gap=lambda value: "none" if value is None else f"{100 * value:.1f}",
        percent_round=lambda value: f"{100 * value:.0f}",
        words=wording.words,
        row_title=wording.row_title,
        role_title=wording.role_title,
        shown=lambda text, kind: text[: _SHOWN[kind]],
        more=lambda text, kind: max(0, len(text) - _SHOWN[kind]),
    )
    return environment


def _view(
    summary: dict[str, Any], examples: list[dict[str, Any]], folder: Path, prefix: str, sources: Sources, items: int
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
    more, drawn_more = _measures(summary, roles, prefix)
    plots += drawn_more
    known = sources.of(summary, folder)
    view = {
        **more,
        **_explored(summary, known, items),
        "standing": stand(summary, sources.declared, known.samples if known else None, known.scores if known else {}),
        "side": SIDE,
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
        "commands": _commands(summary, known.about if known else {}),
        "has_phantoms": any("phantom" in row["origin"] for row in summary["rows"]),
        "has_real": any("real" in row["origin"] for row in summary["rows"]),
    }
    return view, plots


def _explored(summary: dict[str, Any], known: Known | None, items: int) -> dict[str, Any]:
    """The breakdown, and the data of the script; none of the latter without the samples."""
    parts = [
        {"facet": by, "lines": [{"value": group, **own} for group, own in groups.items()]}
        for by, groups in summary.get("breakdown", {}).items()
    ]
    if known is None:
        return {"breakdown": parts, "explore": None, "explored": 0}
    data = embed(known.samples, known.scores, known.replies, known.folder, cap=items, seed=summary["seed"])
    return {"breakdown": parts, "explore": Markup(as_json(data)), "explored": len(data["items"])}


def _measures(summary: dict[str, Any], roles: dict[str, str], prefix: str) -> tuple[dict[str, Any], list[Plot]]:
    """Safety, certainty, controls, views and power, with their plots. Parts that a summary lacks are left out."""
    for name in ("controls", "necessity", "rotations", "consistency", "injection", "measurement"):
        summary.setdefault(name, {})
    abstention = [(name, own) for name, own in summary["abstention"].items()]
    asked = {one["name"] for one in summary["systems"] if one["condition"] in ("full", "tools")}
    contestants = [(name, own) for name, own in abstention if name in asked and roles[name] not in REFERENCES]
    plots, curves = [], []
    stated = [(name, roles[name], own) for name, own in contestants if own["stated"] and own["calibration"]]
    if stated:
        risk, sure = risk_plot(stated, f"{prefix}-risk-coverage"), calibration_plot(stated, f"{prefix}-calibration")
        plots += [risk, sure]
        curves = [
            (Markup(risk.svg), "Risk and coverage", "Answers by falling stated confidence: the share wrong among those "
             "kept. Lower is better; the dotted line is 90 % coverage."),
            (Markup(sure.svg), "Calibration", "Share right against stated confidence, bins of like numbers, dots as "
             "large as their bins. On the line a model is as sure as it should be."),
        ]  # fmt: skip
    found: dict[str, Any] = {
        "abstention": abstention,
        "safety": [(name, own) for name, own in contestants if own["confident_wrong"] is not None],
        "curves": curves,
        "control_plot": None,
        "position_plot": None,
        "variants": sorted({one for own in summary["consistency"].values() for one in own["by_variant"]},
                           key=lambda one: (one != "base", one)),
        "places": sorted({one for own in summary["injection"].values() for one in own["by_place"]}),
        "power": [(row, row["power"]) for row in summary["rows"] if row.get("power")],
    }  # fmt: skip
    found["discordant"] = [one["discordant"] for one in found["power"][0][1]] if found["power"] else []
    totals: dict[str, Any] = next(iter(summary.get("total", {}).values()), {"items": {}})
    found["sections"], found["section_items"] = list(totals["items"]), totals["items"]
    drawable = any(
        not condition.startswith("rotated_") and own["value"] is not None
        for held in summary["controls"].values()
        for condition, own in held.items()
    )
    if drawable:
        plots.append(control_plot(summary["controls"], f"{prefix}-controls"))
        found["control_plot"] = Markup(plots[-1].svg)
    turned = {name: own for name, own in summary["rotations"].items() if own["positions"]}
    if turned:
        plots.append(position_plot(turned, f"{prefix}-positions"))
        found["position_plot"] = Markup(plots[-1].svg)
    return found, plots


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


def _commands(summary: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """The commands that make these numbers again; folders stand by the hash of what they hold."""
    samples = f"SAMPLES-{summary['samples']['sha256'][:12]}"
    source = summary["samples"]["release_sha256"][:12]
    if "live_config" in about:
        made = f"live CONFIG-{source} --set seed={about['live_config']['seed']}"
    elif "imported" in about:
        made = f"import --kind {about['imported']['kind']} --path FILES-{source}"
    else:
        made = f"samples --release RELEASE-{source} --split {summary['samples']['split']}"
        made += f" --limit {about['limited']['questions']}" if about.get("limited") else ""
    lines = [f"spinemed bench {made} --out {samples}"]
    asked = [*summary["systems"], *summary.get("control_systems", [])]
    for system in asked:
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
    each = " ".join(f"--predictions PREDICTIONS-{system['predictions_sha256'][:12]}" for system in asked)
    subject = f" --subject {shlex.quote(summary['subject'])}" if summary["subject"] else ""
    lines.append(
        f"spinemed bench score --samples {samples} {each}{subject} --seed {summary['seed']} "
        f"--resamples {summary['resamples']} --out SCORES"
    )
    return lines
