"""A small build over the bundled samples and a few phantoms, made once for all tests of this folder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_pipeline.build import build
from data_pipeline.config import BuildConfig
from spinemed.config import load_config
from spinemed.resources import samples_dir
from spinemed.run import open_run

OPENSTAX = {
    "id": "openstax",
    "kind": "cnxml",
    "path": "text/openstax",
    "licence": "CC-BY-4.0",
    "allowed_use": ["train", "evaluate", "redistribute"],
    "attribution": "OpenStax",
}
MEDQUAD = {**OPENSTAX, "id": "medquad", "kind": "medquad", "path": "text/medquad", "attribution": "MedQuAD"}
CT = {
    **OPENSTAX,
    "id": "ct",
    "kind": "nifti",
    "path": "ct/tptbox_L3_crop",
    "licence": "Apache-2.0",
    "legal_basis": "published test data",
    "split": "test",
    "options": {
        "studies": [
            {
                "image": "sub-ct_label-22_ct.nii.gz",
                "mask": "sub-ct_seg-vert_label-22_msk.nii.gz",
                "bodies": "sub-ct_seg-subreg_label-22_msk.nii.gz",
                "label_map": "tptbox",
                "modality": "CT",
                "group": "sub-ct",
                "truth": "expert_mask",
                "layers": 2,
            }
        ]
    },
}
PHANTOM = {
    "id": "phantom-train",
    "kind": "phantom",
    "licence": "Apache-2.0",
    "allowed_use": ["train", "evaluate", "redistribute"],
    "origin": "phantom",
    "split": "train",
    "options": {"count": 6, "seed": 1, "phantom": {"size_px": [64, 64], "fracture_share": 0.8}},
}
PHANTOM_TEST = {**PHANTOM, "id": "phantom-test", "split": "test", "options": {**PHANTOM["options"], "seed": 2}}
CONFIG = {
    "sources": "sources.yaml",
    "seed": 0,
    "draft": {
        "text": {"figure_edge_px": 64},
        "images": {
            "default": {"vertebra": 1, "disc": 1, "edge": 1, "fracture": 0, "pfirrmann": 1, "modic": 1, "fixation": 1},
            "phantom-train": {"vertebra": 2, "disc": 0.5, "fracture": 1, "fixation": 1},
            "phantom-test": {"vertebra": 1, "fracture": 1, "fixation": 1},
        },
    },
    "release": {"fractions": {"train": 0.5, "validation": 0.1, "test": 0.4}},
}

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def write_config() -> Write:
    """Write `sources.yaml` and `build.yaml` into a folder; paths of sources lead to the bundled samples."""

    def write(folder: Path, sources: list[dict[str, Any]], **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        entries = copy.deepcopy(sources)
        for entry in entries:
            if "path" in entry and not Path(entry["path"]).is_absolute():
                entry["path"] = str(samples_dir() / entry["path"])
        (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": entries}, sort_keys=False))
        (folder / "build.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False))
        return folder / "build.yaml"

    return write


@pytest.fixture(scope="session")
def entries() -> dict[str, dict[str, Any]]:
    """The source entries that tests change, by name."""
    named = {"openstax": OPENSTAX, "medquad": MEDQUAD, "ct": CT, "phantom": PHANTOM, "phantom-test": PHANTOM_TEST}
    return copy.deepcopy(named)


@pytest.fixture(scope="session")
def run_build() -> Callable[[Path, Path], Path]:
    """Build a config into a run folder and return the run folder."""

    def run(config: Path, out: Path) -> Path:
        loaded = load_config(config, BuildConfig)
        with open_run(out, command="data build", config=loaded) as opened:
            build(opened, loaded)
        return out

    return run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, write_config: Write, run_build: Callable[..., Path]) -> Path:
    """A finished run over text, a real CT crop and twelve phantoms. Read only."""
    folder = tmp_path_factory.mktemp("built")
    return run_build(write_config(folder, [OPENSTAX, MEDQUAD, CT, PHANTOM, PHANTOM_TEST]), folder / "run")
