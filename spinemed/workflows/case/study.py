"""One patient as a source of the data pipeline: what `spinemed data run` needs to draft questions and a report.

Convention: the study is in the held-out split; the pipeline reads copies that lie beside its configs.

Trap: findings that were measured are said to be so (`truth: model_mask`), and a phantom's are told apart by its origin.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from spinemed.tables import parse_json, write_text
from spinemed.workflows.case.config import CaseConfig
from spinemed.workflows.case.places import Places

__all__ = ["write_study"]

_MASK = "case_mask.nii.gz"


def write_study(places: Places, config: CaseConfig, folder: Path, *, true: bool) -> None:
    """Write CT, mask, `sources.yaml` and `build.yaml` beside `findings.jsonl`; `true` for a phantom's truth."""
    about = parse_json(places.about.read_text(encoding="utf-8"))
    phantom = about["origin"] == "phantom"
    shutil.copyfile(places.ct, folder / places.ct.name)
    shutil.copyfile(places.mask, folder / _MASK)
    source: dict[str, Any] = {
        "id": "case",
        "kind": "nifti",
        "path": ".",
        "licence": "Apache-2.0" if phantom else config.licence,
        "allowed_use": ["evaluate"],
        "egress": "local",
        "attribution": "computed by `spinemed phantom make`" if phantom else "the patient's own CT",
        "origin": "phantom" if phantom else "real",
        "split": "test",
        "options": {
            "studies": [
                {
                    "image": places.ct.name,
                    "mask": _MASK,
                    "label_map": "verse",
                    "modality": "CT",
                    "group": "case",
                    "truth": "phantom" if true else "model_mask",
                    "mask_facts": True,
                    "findings": "findings.jsonl",
                    "canvas_px": config.canvas_px,
                }
            ]
        },
    }
    if not phantom:
        source["legal_basis"] = config.legal_basis
    build = {
        "sources": "sources.yaml",
        "seed": config.seed,
        "draft": {
            "text": {"passages": False, "definitions": False, "exercises": False, "figures": False, "rules": False},
            "images": {"default": config.asked.model_dump()},
            "tasks": {"default": {**config.written.model_dump(), "report": 1, "languages": list(config.languages)}},
        },
        "release": {"fractions": {"train": 0.0, "validation": 0.0, "test": 1.0}},
    }
    write_text(folder / "sources.yaml", yaml.safe_dump({"sources": [source]}, sort_keys=False))
    write_text(folder / "build.yaml", yaml.safe_dump(build, sort_keys=False))
