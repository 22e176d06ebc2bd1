"""The chain's own small steps, between the commands of the rooms: each reads and writes files of the run.

Convention: a step writes its files anew from what lies there; the same inputs give the same bytes. `STEPS` names them
as `spinemed case step` takes them.

Trap: what is measured here is a claim of the chain, never the truth of a patient; findings say from which file they
stem.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinemed.anatomy import Disc, Level
from spinemed.errors import ReadError, RunError, SpineMedError
from spinemed.labelling import labels_at_border, read_label_mask
from spinemed.labelling.facts import decided_levels
from spinemed.labelling.masks import vertebra_of_label
from spinemed.records import Finding
from spinemed.tables import file_sha256, parse_json, write_json, write_jsonl
from spinemed.workflows.case.config import CaseConfig
from spinemed.workflows.case.places import Places

__all__ = ["STEPS", "find_levels", "measure_levels", "write_findings"]

_COARSE_MM = 1.5
_FEWEST = 2
_DEADLINE_S = 1800.0
_GENANT = "Genant 1993"
_SLIP = "Meyerding 1932"


def find_levels(places: Places, config: CaseConfig) -> None:
    """Which vertebrae are in view, which are cut, whether their names are decided, and what that forbids.

    Raises:
        ReadError: Too few whole vertebrae for anything that follows.
    """
    mask = read_label_mask(places.mask)
    faces = labels_at_border(mask)
    touching = {vertebra_of_label(label) for label, side in faces.items() if side in "IS"}
    cut = [level for level in mask.levels if level in touching]
    whole = [level for level in mask.levels if level not in touching and Level.T1 <= level <= Level.L6]
    if len(whole) < _FEWEST:
        raise ReadError(
            f"holds {len(whole)} whole vertebrae between T1 and L6, and the chain needs {_FEWEST}: heights are read "
            "against the neighbours",
            file=places.mask, field="--mask", cure="give a CT that shows more of the thoracic or lumbar spine",
        )  # fmt: skip
    decided = decided_levels(mask.levels, sacrum_in_view=mask.has_sacrum, ribs_visible=True)
    unsure = [level for level in mask.levels if level not in decided]
    spacing = [round(edge, 4) for edge in mask.volume.spacing_mm]
    limits = []
    if cut:
        limits.append(f"{_names(cut)} {'is' if len(cut) == 1 else 'are'} cut by the edge of the scan and not graded.")
    if unsure:
        limits.append(
            f"The field of view does not decide the names of {_names(unsure)}: neither the second cervical vertebra, "
            "the last rib nor the sacrum leads to them. Names are those of the mask."
        )
    if max(spacing) > _COARSE_MM:
        limits.append(
            f"Voxels of up to {max(spacing):g} mm: heights have intervals, and no grade is given above {_COARSE_MM} mm "
            "between layers along the body."
        )
    if not cut and not unsure and max(spacing) <= _COARSE_MM:
        limits.append("All vertebrae named are whole in view, and the voxels are fine enough for grades.")
    write_json(
        places.levels,
        {
            "levels": [str(level) for level in mask.levels], "cut": [str(level) for level in cut],
            "undecided": [str(level) for level in unsure],
            "numbering": "decided" if not unsure else "not determinable for some" if decided else "not determinable",
            "spacing_mm": spacing, "limits": limits, "mask_sha256": file_sha256(places.mask),
        },
    )  # fmt: skip


def _names(levels: list[Level]) -> str:
    return ", ".join(str(level) for level in levels)


def take_labels(places: Places, config: CaseConfig) -> None:
    """Take over what a labeller or another tool wrote.

    Raises:
        ReadError: It named no vertebra.
    """
    from spinemed.workflows.case.inputs import prepare_mask

    found = sorted(places.labels.rglob("*_seg-vert_msk.nii.gz"))
    if not found:
        raise ReadError(
            "the labeller named no vertebra: the numbering is not decided, or none was found", file=places.labels,
            cure="read its report there; give a mask of your own by --mask",
        )  # fmt: skip
    prepare_mask(places, found[0], "verse")


def take_phantom(places: Places, config: CaseConfig) -> None:
    """Take over CT and exact mask of the computed spine, and what is true of it."""
    from spinemed.workflows.case.inputs import prepare_mask, prepare_phantom
    from spinemed.workflows.case.truth import write_truth

    seed = parse_json((places.phantom / "outputs" / "spines.jsonl").read_text(encoding="utf-8").splitlines()[0])["seed"]
    exact = prepare_phantom(places, int(seed))
    if not places.labels.is_dir():
        prepare_mask(places, exact, "verse")
    write_truth(places)


def measure_levels(places: Places, config: CaseConfig) -> None:
    """Heights, wedges, discs, slips and canal of the whole vertebrae, by the tool `measure` in its own process.

    Raises:
        RunError: The tool found a fault.
    """
    from spinemed.tools import Limits, Toolbox

    levels = parse_json(places.levels.read_text(encoding="utf-8"))
    whole = [level for level in levels["levels"] if level not in levels["cut"]]
    # A tool's usual deadline is made for a model that waits; a whole spine on a slow machine takes longer.
    toolbox = Toolbox(places.mask.parent, limits=Limits(seconds=_DEADLINE_S))
    listed = toolbox.call("list_images", {})
    (image,) = (listed.result or {})["images"]
    reply = toolbox.call("measure", {"mask": image["handle"], "levels": whole, "posture": "supine"})
    if reply.error is not None:
        raise RunError(f"the tool 'measure' answers: {reply.error.problem}", file=places.mask, cure=reply.error.cure)
    places.measures.parent.mkdir(parents=True, exist_ok=True)
    write_json(places.measures, parse_json(reply.text))


def graded(places: Places) -> list[dict[str, Any]]:
    """The vertebrae of `grades.json`."""
    listed: list[dict[str, Any]] = parse_json(places.grades.read_text(encoding="utf-8"))["vertebrae"]
    return listed


def write_findings(places: Places, config: CaseConfig) -> None:
    """Findings with where each stems from, and the configs of the data pipeline for this one study."""
    findings, stems = _findings(places)
    _study(places, config, places.findings, findings, true=False)
    write_json(places.findings / "stems.json", stems)


def _findings(places: Places) -> tuple[list[Finding], list[dict[str, Any]]]:
    findings, stems = [], []
    for each in graded(places):
        if each["grade"] is None or each["shape"] is None:
            continue
        losses = [each[part]["percent"] for part in ("anterior", "middle", "posterior") if each[part] is not None]
        broken = each["grade"] > 0
        findings.append(
            Finding(
                kind="fracture", level=Level(each["level"]), value=each["shape"] if broken else "none",
                grade=str(each["grade"]) if broken else None, scheme=_GENANT if broken else None,
                amount=round(max(losses), 1) if broken else None, unit="percent" if broken else "",
            )
        )  # fmt: skip
        stems.append(
            {"finding": f"{each['level']}: fracture {findings[-1].value}", "file": "grades/grades.json",
             "by": "spinemed vertebra grade", "flags": each["flags"]}
        )  # fmt: skip
    measured = parse_json(places.measures.read_text(encoding="utf-8"))["result"]
    for disc in measured["discs"]:
        slip = disc.get("slip") or {}
        if slip.get("grade") in (None, "0"):
            continue
        findings.append(
            Finding(
                kind="slip", disc=Disc.from_text(disc["disc"]), value=slip["direction"], grade=slip["grade"],
                scheme=_SLIP, amount=round(slip["percent"], 1), unit="percent",
            )
        )  # fmt: skip
        stems.append(
            {"finding": f"{disc['disc']}: slip", "file": "measure/measure.json", "by": "tool measure",
             "flags": disc["flags"]}
        )  # fmt: skip
    return findings, stems


def _study(places: Places, config: CaseConfig, folder: Path, findings: list[Finding], *, true: bool) -> None:
    """A folder that `spinemed data run` reads: CT, mask, findings, `sources.yaml`, `build.yaml`."""
    from spinemed.workflows.case.study import write_study

    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "findings.jsonl", findings)
    write_study(places, config, folder, true=true)


def write_reference(places: Places, config: CaseConfig) -> None:
    """The same study with what is true of the phantom, from which questions are drafted that can be scored."""
    truth = parse_json(places.truth.read_text(encoding="utf-8"))
    findings = [
        Finding(
            kind="fracture", level=Level(each["level"]), value=each["shape"],
            **(_sized(each) if each["shape"] != "none" else {}),
        )
        for each in truth["vertebrae"]
    ]  # fmt: skip
    _study(places, config, places.truth_study, findings, true=True)


def _sized(fracture: dict[str, Any]) -> dict[str, Any]:
    return {
        "grade": fracture["grade"], "scheme": _GENANT, "amount": fracture["loss_percent"], "unit": "percent"
    }  # fmt: skip


def write_losses(places: Places, config: CaseConfig) -> None:
    """Height loss of every straightened body against its twin, a line of JSON each."""
    import sys

    from spinemed.vertebra.verbs import measure_pairs

    measured = []
    for found in measure_pairs(places.straight, places.twins):
        if isinstance(found, SpineMedError):
            sys.stderr.write(f"spinemed: {found}\n")  # the other vertebrae go on; this one has no line
        else:
            measured.append(found.model_dump(mode="json"))
    if not measured:
        raise RunError(
            "no body has a twin to be compared with", file=places.twins, cure="look at twins/case_synthesis.json"
        )
    places.losses.parent.mkdir(parents=True, exist_ok=True)
    places.losses.write_text("".join(json.dumps(each, sort_keys=True) + "\n" for each in measured))


def score_chain(places: Places, config: CaseConfig) -> None:
    """The chain against the truth of a phantom."""
    from spinemed.workflows.case.truth import score_case

    score_case(places)


def write_report(places: Places, config: CaseConfig) -> None:
    """The page."""
    from spinemed.workflows.case.page import write_page

    write_page(places)


def ask_by_rule(places: Places, config: CaseConfig) -> None:
    """Questions on named vertebrae, for a model with tools."""
    from spinemed.workflows.case.named import write_named

    write_named(places, config)


def answer_with_tools(places: Places, config: CaseConfig) -> None:
    """Answers with tools by the stand-in."""
    from spinemed.workflows.case.stand_in import answer_by_rule

    answer_by_rule(places, config)


STEPS: dict[str, Callable[[Places, CaseConfig], None]] = {
    "phantom": take_phantom,
    "labels": take_labels,
    "levels": find_levels,
    "losses": write_losses,
    "measure": measure_levels,
    "findings": write_findings,
    "reference": write_reference,
    "named": ask_by_rule,
    "stand_in": answer_with_tools,
    "score": score_chain,
    "page": write_report,
}
"""Own steps by name."""
