"""Failure rates of one model as a card prints them, read from folders of scores.

Convention: a rate of failure is one minus the share that was right, in percent, with the interval of the scores
turned around. No interval is made up where the scores hold none; the reason that they give stands in its place.

Trap: rows of one table overlap (axis, region, level), and nothing is corrected for looking at all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from spinemed.errors import ReadError, RecordError
from spinemed.tables import parse_json

__all__ = ["rates_of_reports", "rates_of_scores"]

Told = Mapping[str, Any]
_SUMMARY = "summary.json"
_KINDS = {"image": "picture", "text": "text alone"}
_REPORT_RATES = ("missed", "invented", "wrong_level", "wrong_side", "wrong_grade", "unsafe")
_LOST = ("unparsed", "refused", "truncated", "timed_out", "failed", "api_error")


def _damage_named(read: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A field that is not there is named with its file, not shown as a traceback."""

    @wraps(read)
    def reading(folder: Path, *arguments: Any) -> list[str]:
        try:
            return read(folder, *arguments)
        except (KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"lacks what a card is made of ({error})", file=folder / _SUMMARY, cure="score again with this version"
            ) from error

    return reading


@_damage_named
def rates_of_scores(folder: Path, checkpoint_sha256: str, system: str | None = None) -> list[str]:
    """Lines on one model from `summary.json` of a scores folder.

    Args:
        folder: Of `spinemed bench score`, or of a run whose `outputs/scores` it is.
        checkpoint_sha256: Hash of the checkpoint; the system is the one that was asked from these files.
        system: Name of the system instead.

    Raises:
        ReadError: There is no summary, or no such system in it.
        RecordError: The summary is damaged.
    """
    told = _summary(folder)
    one = _system(told, folder, checkpoint_sha256, system)
    name, samples = one["name"], told["samples"]
    asked = "by its checkpoint hash" if system is None else "by its name alone, as the caller says"
    lines = [
        f"Measured on {samples['n']} questions of {samples['clusters']} patients, phantoms and documents (samples "
        f"{samples['sha256'][:12]}), system `{name}`, told {asked}. Wrong counts every question that was not answered "
        f"rightly, replies that are no answer included; intervals are {100 * told['confidence']:.0f} % and resample "
        "patients, phantoms and documents.",
        "",
        "| questions | n (clusters) | wrong, % | no readable answer, % |",
        "|---|---|---|---|",
    ]
    for row in told["rows"]:
        if row["whole_axis"]:
            continue
        value = row["systems"][name]
        lost = sum(value[what] for what in _LOST)
        asked_of = row["n"] or 1
        lines.append(
            f"| {row['axis'].replace('_', ' ')}, {_KINDS.get(row['modality'], row['modality'])}, {row['origin']} | "
            f"{value['n']} ({value['clusters']}) | {_wrong(value)} | {100 * lost / asked_of:.1f} |"
        )
    for region, group in told.get("breakdown", {}).get("region", {}).items():
        value = group["systems"][name]
        lines.append(f"| about the {region} spine | {value['n']} ({value['clusters']}) | {_wrong(value)} | |")
    for key, group in told["levels"].items():
        lines.append(_level_line(key, group[name]))
    lines += ["", *_points(told, name)]
    if samples.get("truth", {}).get("truth:model_mask"):
        lines.append(
            f"- Of the questions, {samples['truth']['truth:model_mask']} rest on a segmentation model's output, not on "
            "an expert's reading."
        )
    return lines


def _level_line(key: str, value: Told) -> str:
    kind, modality, origin = key.split("/")
    exact = value["exact"]
    asked = f"name of the {'vertebra' if kind == 'level' else kind}, {_KINDS.get(modality, modality)}, {origin}"
    far = f"by more than one level {_wrong(value['within_one'])}"
    return f"| {asked}, where it can be told | {exact['n']} ({exact['clusters']}) | {_wrong(exact)}; {far} | |"


def _points(told: Told, name: str) -> list[str]:
    """Blind gap, abstention, consistency, injection; each is said to be not measured where it is not."""
    abstention = told["abstention"][name]
    lines = []
    gaps = told.get("necessity", {}).get(name, {})
    for condition, gap in gaps.items():
        every = gap["all"]
        lines.append(
            f"- What the picture is worth ({condition}): right in {100 * every['full']:.1f} % with it, in "
            f"{100 * every['without']:.1f} % without, difference {_signed(every)} points on {every['n']} questions."
        )
    if not gaps:
        lines.append("- What the picture is worth (answers without it): not measured.")
    if abstention["undecidable"]:
        lines.append(
            f"- Answered although nothing decides it: {_share(abstention, 'false_answer')} of "
            f"{abstention['undecidable']} such questions."
        )
    else:
        lines.append("- Questions that nothing can decide: not measured.")
    lines.append(
        f"- Called undecidable although it can be told: {_share(abstention, 'needless_refusal')} of "
        f"{abstention['decidable']} questions."
    )
    confident = abstention.get("confident_wrong_interval") or {"value": None}
    lines.append(
        "- A wrong level or side stated without doubt: "
        + ("not measured." if confident["value"] is None else f"{_rate(confident)} % of {confident['n']} questions.")
    )
    injection = told.get("injection", {}).get(name)
    lines.append(
        "- Instructions smuggled into a question: "
        + (
            "not measured."
            if not injection or injection["complied"]["value"] is None
            else f"obeyed in {_rate(injection['complied'])} % of {injection['judged']}."
        )
    )
    return lines


@_damage_named
def rates_of_reports(folder: Path, system: str | None = None) -> list[str]:
    """Lines on one model from the summary of `spinemed bench facts`.

    Args:
        folder: Scores of kind `reports`.
        system: Name of the system; needed where several were scored.

    Raises:
        ReadError: There is no summary, it is of another kind, or the system cannot be told.
        RecordError: The summary is damaged.
    """
    told = _summary(folder)
    if told.get("kind") != "reports":
        raise ReadError("holds no scores of reports", file=folder, cure="give the folder of `spinemed bench facts`")
    found = [one for one in told["systems"] if system in (None, one["name"])]
    if len(found) != 1:
        names = ", ".join(one["name"] for one in told["systems"])
        raise ReadError(
            f"holds the systems {names}, of which one must be named", file=folder, field="--system", cure="name one"
        )
    rates = found[0]["rates"]
    lines = [
        "",
        f"Reports: {told['samples']} on {told['clusters']} computed spines, read by rule, system `{found[0]['name']}`.",
        "",
        "| error | a report |",
        "|---|---|",
    ]
    for error in _REPORT_RATES:
        rate = rates[error]
        shown = "not measured" if rate["value"] is None else f"{rate['value']:.2f}{_bounds(rate, 1.0, 2)}"
        lines.append(f"| {error.replace('_', ' ')} | {shown} |")
    return lines


def _summary(folder: Path) -> dict[str, Any]:
    for place in (folder, folder / "outputs" / "scores", folder / "bench" / "scores"):
        file = place / _SUMMARY
        if file.is_file():
            try:
                told = parse_json(file.read_bytes())
            except ValueError as error:
                raise RecordError("is not JSON", file=file, cure="score again") from error
            if isinstance(told, dict):
                return told
            raise RecordError("is no summary of scores", file=file, cure="score again")
    raise ReadError(f"holds no {_SUMMARY}", file=folder, cure="give the folder of `spinemed bench score`")


def _system(told: Told, folder: Path, checkpoint_sha256: str, system: str | None) -> dict[str, Any]:
    full = [one for one in told["systems"] if one["condition"] == "full"]
    if system is not None:
        found = [one for one in full if one["name"] == system]
    else:
        found = [one for one in full if one["identity"].get("checkpoint_sha256") == checkpoint_sha256]
    if len(found) == 1:
        return dict(found[0])
    names = ", ".join(one["name"] for one in full)
    if found:
        problem, cure = f"{len(found)} of its systems are this checkpoint", "name one with --system"
    elif system is not None:
        problem, cure = f"holds no system '{system}' that answered the questions themselves", f"name one of {names}"
    else:
        problem = f"none of its systems ({names}) was answered by this checkpoint"
        cure = "give this model's scores, or --system NAME where it was asked through a server"
    raise ReadError(problem, file=folder, field="--scores" if system is None else "--system", cure=cure)


# --- numbers ---------------------------------------------------------------------------------------------------------


def _wrong(value: Told) -> str:
    """One minus a share, in percent, with its interval turned around."""
    if value["value"] is None:
        return "not measured"
    turned = {
        "value": 1 - value["value"],
        "low": None if value["high"] is None else 1 - value["high"],
        "high": None if value["low"] is None else 1 - value["low"],
        "method": value["method"],
    }
    return _rate(turned)


def _rate(value: Told) -> str:
    return f"{100 * value['value']:.1f}{_bounds(value, 100.0, 1)}"


def _bounds(value: Told, factor: float, digits: int) -> str:
    if value["low"] is None or value["high"] is None:
        return f" (no interval: {value['method']})"
    return f" [{factor * value['low']:.{digits}f}–{factor * value['high']:.{digits}f}]"


def _signed(value: Told) -> str:
    shown = f"{100 * value['difference']:+.1f}"
    if value["low"] is None or value["high"] is None:
        return f"{shown} (no interval: {value['method']})"
    return f"{shown} [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def _share(told: Told, name: str) -> str:
    """A share of the abstention part, with its interval where the scores hold one."""
    if told[name] is None:
        return "not measured"
    interval = told.get(f"{name}_interval")
    return f"{_rate(interval)} %" if interval else f"{100 * told[name]:.1f} %"
