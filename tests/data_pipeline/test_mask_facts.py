"""Counting questions come from masks where a source asks for them, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpus import read_corpus
from data_pipeline.items import read_items
from spinemed.errors import SourceError
from spinemed.records import NOT_DETERMINABLE

LUMBAR = {
    "image": "example_ct.nii.gz",
    "mask": "example_seg_fast_force_split.nii.gz",
    "label_map": "totalsegmentator",
    "modality": "CT",
    "group": "patient",
    "truth": "model_mask",
    "mask_facts": True,
}
NONE = {"vertebra": 0, "disc": 0, "edge": 0, "fracture": 0, "pfirrmann": 0, "modic": 0, "fixation": 0}


@pytest.fixture(scope="module")
def counted(
    tmp_path_factory: pytest.TempPathFactory,
    entries: dict[str, Any],
    write_config: Callable[..., Path],
    run_build: Callable[..., Path],
) -> Path:
    """A run over the lumbar CT with its sacrum, and the crop around L3 that decides no name."""
    folder = tmp_path_factory.mktemp("counted")
    whole = {
        **copy.deepcopy(entries["ct"]), "id": "whole", "path": "ct/totalsegmentator_lumbar",
        "options": {"studies": [LUMBAR]},
    }  # fmt: skip
    crop = copy.deepcopy(entries["ct"])
    crop["options"]["studies"][0] |= {"mask_facts": True, "layers": 1}
    draft = {"images": {"default": {**NONE, "count": 4, "column": 1}}}
    return run_build(write_config(folder, [whole, crop], draft=draft), folder / "run")


def answers(run: Path, source: str) -> dict[str, str]:
    """Question (its wording's part) → answer of everything that passed all criteria."""
    found = {}
    for item in read_items(run / "outputs" / "revised"):
        if item.instance.source_id == source:
            found[item.parts.filled.get("part", item.parts.template)] = item.instance.answer
    return found


def test_a_picture_with_the_sacrum_is_counted_by_region(counted: Path) -> None:
    assert answers(counted, "whole") == {
        "vertebrae": "5",
        "cervical vertebrae": "0",
        "thoracic vertebrae": "0",
        "lumbar vertebrae": "5",
        "presacral_count": NOT_DETERMINABLE,
    }


def test_a_crop_without_anchor_is_counted_as_a_whole_only(counted: Path) -> None:
    found = answers(counted, "ct")
    assert set(found) == {"vertebrae", "presacral_count"}
    assert found["presacral_count"] == NOT_DETERMINABLE


def test_without_mask_facts_the_study_states_none_and_a_question_for_them_is_counted_as_dropped(
    built: Path, tmp_path: Path, entries: dict[str, Any], write_config: Callable[..., Path], run_build: Any
) -> None:
    for study in read_corpus(built / "outputs" / "corpus").studies.values():
        assert not {finding.kind for finding in study.findings} & {"vertebra", "presacral_count"}
    draft = {"images": {"default": {**NONE, "count": 1, "column": 1}}}
    run = run_build(write_config(tmp_path, [entries["ct"]], draft=draft), tmp_path / "run")
    assert read_items(run / "outputs" / "revised") == []


def test_facts_need_a_mask_with_levels(
    tmp_path: Path, entries: dict[str, Any], write_config: Callable[..., Path], run_build: Any
) -> None:
    entry = copy.deepcopy(entries["ct"])
    del entry["options"]["studies"][0]["label_map"]
    entry["options"]["studies"][0] |= {"mask_facts": True, "instances": [21, 22, 23]}
    with pytest.raises(SourceError, match="mask_facts needs a mask with a `label_map`"):
        run_build(write_config(tmp_path, [entry]), tmp_path / "run")
