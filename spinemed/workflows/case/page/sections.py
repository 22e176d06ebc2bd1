"""What each section of a case's page shows, read from the files of the steps; a step without files has no section.

Convention: `read_case` gives plain values; None stands for a step that is not there. Flags are lists of
sentences, and stand before the values they doubt.

Trap: a body cut by the edge of the scan has heights in a crop, which say nothing; they are left out with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinemed.errors import ReadError
from spinemed.tables import parse_json
from spinemed.workflows.case.page.pictures import crop_picture, data_uri, layers, loss_map
from spinemed.workflows.case.places import Places

__all__ = ["read_case"]

PARTS = ("anterior", "middle", "posterior")
_NAMES = {0: "none", 1: "mild", 2: "moderate", 3: "severe"}
_LEVEL = re.compile(r"\b(?:C[1-7]|T(?:1[0-3]|[1-9])|L[1-6])\b")
_SHORT = 600
_ANSWERERS = {
    "nano_base": "nano_base is the bundled tiny base model: it shows the road, and its answers are worth nothing.",
    "caller-by-rule": "caller-by-rule is no model: it reads the question's words and the tools' replies, and "
    "guesses where no tool settles a question.",
}
"""What to know of those who answer when nobody else was named."""


def read_case(places: Places) -> dict[str, Any]:
    """Everything that the template shows.

    Raises:
        ReadError: a file of a step that is there cannot be read, or lacks what the step writes.
    """
    found: dict[str, Any] = {"absent": []}
    for name, what, file, read in _SECTIONS:
        path = getattr(places, file)
        if not path.exists():
            found[name] = None
            found["absent"].append(what)
            continue
        try:
            found[name] = read(places)
        except (KeyError, TypeError, IndexError, AttributeError, StopIteration) as error:
            raise ReadError(
                f"does not hold what its step writes ({type(error).__name__}: {error})", file=path,
                cure="remove it and start `spinemed case report` again",
            ) from error  # fmt: skip
        if found[name] is None:
            found["absent"].append(what)
    found["summary"] = _summary(found)
    return found


def _json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReadError(
            f"is no JSON ({error})", file=path, cure="remove it and start `spinemed case report` again"
        ) from error


def _lines(path: Path) -> list[Any]:
    try:
        return [parse_json(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ReadError(
            f"is no JSON a line ({error})", file=path, cure="remove it and start `spinemed case report` again"
        ) from error


def _about(places: Places) -> dict[str, Any]:
    told = _json(places.about)
    hashes = [
        (what, told[key])
        for what, key in (("CT", "image_sha256"), ("mask", "mask_sha256"))
        if told.get(key) is not None
    ]
    hashes += sorted((told.get("sha256") or {}).items())
    return {
        "phantom": told["origin"] == "phantom", "seed": told.get("seed"), "mask": told.get("mask"),
        "hashes": hashes, "versions": sorted((told.get("versions") or {}).items()),
    }  # fmt: skip


def _levels(places: Places) -> dict[str, Any]:
    told = _json(places.levels)
    return {
        "levels": told["levels"], "cut": told["cut"], "numbering": told["numbering"], "limits": told["limits"],
        "spacing": " × ".join(f"{edge:g}" for edge in told["spacing_mm"]),
    }  # fmt: skip


def _layers(places: Places) -> list[dict[str, Any]] | None:
    if not places.mask.is_file():
        return None
    grades = (
        {each["level"]: each.get("grade") for each in _json(places.grades)["vertebrae"]} if _has(places.grades) else {}
    )
    return layers(places.ct, places.mask, grades)


def _has(path: Path) -> bool:
    return path.is_file()


def _straight_file(places: Places) -> dict[str, Any]:
    told: dict[str, Any] = _json(next(iter(sorted(places.straight.glob("*_straight.json")))))
    return told


def _shared(rows: list[dict[str, Any]], name: str) -> list[str]:
    """Flags of more than half the rows: taken out of them and said once, with the names they are about."""
    counted: dict[str, list[str]] = {}
    for row in rows:
        for flag in dict.fromkeys(row["flags"]):
            counted.setdefault(flag, []).append(str(row[name]))
    common = {flag: named for flag, named in counted.items() if len(named) > max(1, len(rows) / 2)}
    for row in rows:
        row["flags"] = [flag for flag in row["flags"] if flag not in common]
    return [f"{', '.join(named)}: {flag}" for flag, named in common.items()]


def _crop_files(places: Places, crop: dict[str, Any]) -> tuple[Path | None, Path]:
    files = crop["files"]
    image = files.get("ct") or files.get("image")
    return None if image is None else places.straight / image, places.straight / files["vb"]


def _straight(places: Places) -> dict[str, Any]:
    told = _straight_file(places)
    crops = [
        {"level": crop["level"], "flags": crop["flags"], "src": crop_picture(*_crop_files(places, crop))}
        for crop in told["crops"]
    ]
    return {
        "spacing": f"{told['spacing_mm']:g}",
        "crops": crops,
        "flags": [*told.get("flags", []), *_shared(crops, "level")],
    }


def _twin_files(places: Places) -> dict[str, Any]:
    told: dict[str, Any] = _json(next(iter(sorted(places.twins.glob("*_synthesis.json")))))
    return told


def _twins(places: Places) -> dict[str, Any]:
    told = _twin_files(places)
    crops = {crop["level"]: crop for crop in _straight_file(places)["crops"]} if places.straight.is_dir() else {}
    bodies = []
    for body in told["bodies"]:
        crop = crops.get(body["level"])
        src = None
        if crop is not None:
            src = crop_picture(*_crop_files(places, crop), places.twins / body["files"]["body"])
        bodies.append({"level": body["level"], "flags": body["flags"], "src": src})
    return {"made_by": told["made_by"], "bodies": bodies, "flags": [*told.get("flags", []), *_shared(bodies, "level")]}


def _losses(places: Places) -> dict[str, Any]:
    cut = set(_json(places.levels)["cut"]) if _has(places.levels) else set()
    own, twins = {}, {}
    if places.straight.is_dir() and places.twins.is_dir():
        own = {crop["level"]: _crop_files(places, crop)[1] for crop in _straight_file(places)["crops"]}
        twins = {body["level"]: places.twins / body["files"]["body"] for body in _twin_files(places)["bodies"]}
    rows = []
    for each in _lines(places.losses):
        level = each["level"]
        row = {"level": level, "flags": list(each["flags"]), "thirds": None, "src": None}
        if level in cut:
            row["flags"] = ["cut by the edge of the scan: what stands in the crop is no height"]
        elif each.get("robust") is not None:
            row["thirds"] = [_third(each["robust"][part]) for part in PARTS]
            if not each["robust"]["gradable"]:
                row["flags"].append("not to be graded")
            if level in own and level in twins:
                row["src"], why = loss_map(own[level], twins[level])
                row["flags"] += [f"no map: {why}"] if why else []
        rows.append(row)
    return {"rows": rows, "flags": _shared(rows, "level")}


def _third(value: dict[str, Any]) -> dict[str, str]:
    return {
        "value": _percent(value["percent"]),
        "interval": f"{_whole(value['low'])} to {_whole(value['high'])}\u00a0%",
    }


def _whole(value: float) -> str:
    return f"{round(value)}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{_whole(value)} %"


def _grades(places: Places) -> dict[str, Any]:
    told = _json(places.grades)
    truth = {each["level"]: each for each in _json(places.truth)["vertebrae"]} if _has(places.truth) else {}
    rows = []
    for each in told["vertebrae"]:
        thirds = [None if each[part] is None else _third(each[part]) for part in PARTS]
        chances = each["probabilities"]
        true = truth.get(each["level"])
        rows.append({
            "level": each["level"], "flags": each["flags"], "again": each["look_again"], "grade": each["grade"],
            "name": None if each["grade"] is None else _NAMES[each["grade"]], "shape": each["shape"], "thirds": thirds,
            "chances": None if chances is None else " · ".join(f"{i}: {100 * p:.0f} %" for i, p in enumerate(chances)
                                                               if p >= 0.005),
            "beside": [_number(each[key], unit) for key, unit in
                       (("wedge_deg", "°"), ("local_kyphosis_deg", "°"), ("retropulsion_mm", " mm"))],
            "truth": None if true is None else f"{true['grade'] if true['grade'] is not None else 'no grade'} "
                                               f"({true['shape']}, {_percent(true['loss_percent'])})",
        })  # fmt: skip
    return {
        "rows": rows,
        "flags": [*told["flags"], *_shared(rows, "level")],
        "rule": told["rule"],
        "note": told["note"],
        "scored": bool(truth),
    }


def _number(value: float | None, unit: str = "", digits: int = 1) -> str:
    return "–" if value is None else f"{value + 0.0:.{digits}f}{unit}".replace("-", "−")


def _measures(places: Places) -> dict[str, Any]:
    told = _json(places.measures)
    result = told["result"]

    def thirds(each: dict[str, Any]) -> list[str]:
        return [_number((each["heights_mm"] or {}).get(part)) for part in PARTS]

    vertebrae = [
        {"level": each["level"], "flags": [_plain_flag(flag) for flag in each["flags"]], "heights": thirds(each),
         "wedge": _number(each["wedge_deg"], "°"),
         "canal": _number((each["canal"] or {}).get("ap_mm"))}
        for each in result["vertebrae"]
    ]  # fmt: skip
    discs = [
        {"disc": each["disc"], "flags": [_plain_flag(flag) for flag in each["flags"]], "heights": thirds(each),
         "wedge": _number(each["wedge_deg"], "°"),
         "slip": "–" if not each["slip"] else f"{_number(each['slip']['slip_mm'], ' mm')} "
                                              f"({each['slip']['direction']})"}
        for each in result["discs"]
    ]  # fmt: skip
    flags = [_plain_flag(flag) for flag in told["flags"]]
    flags += [*_shared(vertebrae, "level"), *_shared(discs, "disc")]
    return {"flags": flags, "vertebrae": vertebrae, "discs": discs}


def _plain_flag(flag: str) -> str:
    """A flag's sentence without its key."""
    key, colon, rest = flag.partition(": ")
    return rest if colon and " " not in key else flag


def _findings(places: Places) -> list[dict[str, Any]] | None:
    file = places.findings / "findings.jsonl"
    if not file.is_file():
        return None
    stems_file = places.findings / "stems.json"
    stems = _json(stems_file) if stems_file.is_file() else []
    rows = []
    for number, each in enumerate(_lines(file), start=1):
        where = str(each.get("level") or each.get("disc"))
        words = [where, each["kind"], "none" if each["value"] == "none" else each["value"]]
        if each.get("grade"):
            words.append(f"{each.get('scheme') or ''} grade {each['grade']}".strip())
        if each.get("amount") is not None:
            words.append(f"{each['amount']:g} {each.get('unit', '').replace('percent', '%')}".strip())
        stem = stems[number - 1] if number <= len(stems) else None
        rows.append({
            "id": f"F{number}", "where": where, "text": ": ".join([words[0], ", ".join(words[1:])]),
            "flags": [] if stem is None else stem["flags"], "by": None if stem is None else stem["by"],
            "file": None if stem is None else stem["file"],
        })  # fmt: skip
    return rows


def _asked(places: Places) -> dict[str, Any]:
    """Questions on the picture with what the checkpoint answered, then those on named vertebrae with tools."""
    truth = _has(places.truth)
    asked = _questions(places.samples, _predictions(places.answers), _scored(places.scores / "scores.jsonl"), truth)
    if (places.named / "samples.jsonl").is_file():
        answers = _predictions(places.served / "outputs" / "predictions")
        asked += _questions(
            places.named, answers, _scored(places.served / "outputs" / "scores" / "scores.jsonl"), truth
        )
    names = {each["model"].partition("@")[0] for row in asked for each in row["answers"]}
    return {"rows": asked, "notes": [note for name, note in _ANSWERERS.items() if name in names]}


def _predictions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("*/predictions.jsonl")):
        for line in _lines(file):
            found.setdefault(line["sample_id"], []).append(line)
    return found


def _scored(file: Path) -> dict[tuple[str, str], bool | None]:
    if not file.is_file():
        return {}
    return {(line["sample_id"], line["model"]): line["correct"] for line in _lines(file)}


def _questions(
    folder: Path, answers: dict[str, list[dict[str, Any]]], scored: dict[tuple[str, str], bool | None], truth: bool
) -> list[dict[str, Any]]:
    rows = []
    for sample in _lines(folder / "samples.jsonl"):
        text = next(turn["content"] for turn in sample["messages"] if turn["role"] == "user")
        image = folder / sample["images"][0] if sample["images"] else None
        rows.append({
            "text": text.replace("<image>", "").strip(),
            "src": None if image is None or not image.is_file() else data_uri(image.read_bytes()),
            "known": sample["answer"], "kind": "truth" if truth else "as measured, no truth",
            "answers": [
                {"model": each["model"], "text": _cut(each["text"]), "outcome": each["outcome"],
                 "correct": scored.get((sample["id"], each["model"])) if truth else None,
                 "calls": [f"{call['name']}({call['arguments']})" + ("" if call["ok"] else " – refused")
                           for call in each.get("calls") or ()]}
                for each in answers.get(sample["id"], [])
            ],
        })  # fmt: skip
    return rows


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} … ({len(text) - _SHORT} more characters)"


def _report(places: Places) -> dict[str, Any] | None:
    """The report in six parts, with every level in it tied to the findings about that level."""
    from spinemed.records import ReleaseRow
    from spinemed.tables import read_records

    data = places.drafted / "outputs" / "release" / "data"
    rows = [row for file in sorted(data.glob("*.parquet")) for row in read_records(file, ReleaseRow)]
    row = next((each for each in sorted(rows, key=lambda each: each.id) if each.task == "report"), None)
    if row is None:
        return None
    known = {each["where"] for each in _findings(places) or []}
    parts: list[dict[str, Any]] = []
    for line in row.answer.splitlines():
        head = re.match(r"\d\. (.+)", line)
        if head is not None:
            parts.append({"head": line, "pieces": []})
        elif line.strip():
            if not parts:
                parts.append({"head": "", "pieces": []})
            parts[-1]["pieces"].append(_tied(line, known))
    return {"id": row.id, "parts": parts, "evidence": list(row.evidence_ids), "sha256": row.instance_sha256}


def _tied(line: str, known: set[str]) -> list[tuple[str, str | None]]:
    """A line in pieces: its text, and the level that a piece leads to."""
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for match in _LEVEL.finditer(line):
        if match[0] in known:
            pieces += [(line[at : match.start()], None), (match[0], match[0])]
            at = match.end()
    return [*pieces, (line[at:], None)]


def _score(places: Places) -> dict[str, Any]:
    told = _json(places.score)
    answered: dict[str, list[bool]] = {}
    for file in (places.scores / "scores.jsonl", places.served / "outputs" / "scores" / "scores.jsonl"):
        for (_, model), correct in _scored(file).items():
            if correct is not None:
                answered.setdefault(model, []).append(correct)
    levels = told["levels"]
    rows = [
        ("Levels", f"{levels['right']} of {len(levels['named'])} named right" if levels["scored"]
         else f"not scored: {levels['why']}"),
        ("Grades", f"{told['grades_right']} of {told['grades_given']} right"),
        ("Height loss", f"{_number(told['loss_error_points'])} points off in the mean; {told['losses_in_interval']} of "
         f"{len(told['losses'])} true values inside their 95 % interval"),
        ("Heights", f"{_number(told['height_error_mm'], ' mm', 2)} off in the mean, {len(told['heights'])} heights"),
        *((f"Answers of {model}", f"{sum(right)} of {len(right)} right") for model, right in sorted(answered.items())),
    ]  # fmt: skip
    return {"rows": rows}


def _summary(found: dict[str, Any]) -> str:
    """One line: what it is of, what was found, what is doubtful."""
    about, levels, grades = found["about"], found["levels"], found["grades"]
    parts = []
    if about is not None:
        parts.append("A computed spine (phantom)" if about["phantom"] else "A CT of a person")
    if levels is not None:
        names = levels["levels"]
        parts.append(f"{len(names)} vertebrae named" + (f" ({names[0]} to {names[-1]})" if names else ""))
    if grades is not None:
        broken = [f"{row['level']} grade {row['grade']} ({row['name']})" for row in grades["rows"] if row["grade"]]
        lacking = [row["level"] for row in grades["rows"] if row["grade"] is None]
        given = len(grades["rows"]) - len(lacking)
        parts.append(f"{given} of {len(grades['rows'])} graded" if given else "no grade could be given")
        if given:
            parts.append(", ".join(broken) if broken else "none of them of grade 1 or more")
        if given and lacking:
            parts.append(f"not graded: {', '.join(lacking)}")
    parts.append("scored against the truth" if found["score"] is not None else "no reference, nothing scored")
    return "; ".join(parts) + "."


_SECTIONS: tuple[tuple[str, str, str, Callable[[Places], Any]], ...] = (
    ("about", "what the case is", "about", _about),
    ("levels", "levels", "levels", _levels),
    ("layers", "pictures of the CT", "ct", _layers),
    ("straight", "straightening", "straight", _straight),
    ("twins", "healthy twins", "twins", _twins),
    ("losses", "height loss against the twin", "losses", _losses),
    ("grades", "grades", "grades", _grades),
    ("measures", "measurements", "measures", _measures),
    ("findings", "findings", "findings", _findings),
    ("asked", "questions and answers", "samples", _asked),
    ("report", "the report in six parts", "drafted", _report),
    ("score", "a score, as there is no reference", "score", _score),
)
"""Name in the template, in words, the place it is read from, and how."""
