"""Each bad input gives one line with file, field and cure, exit code 2, and leaves nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spinemed.cli import main

Change = Callable[[dict[str, dict[str, Any]], Path, Path], list[dict[str, Any]]]


def unknown_licence(entries, folder, samples):
    return [{**entries["medquad"], "licence": "CC-BY-4"}]


def no_licence(entries, folder, samples):
    entry = dict(entries["medquad"])
    del entry["licence"]
    return [entry]


def proprietary(entries, folder, samples):
    return [{**entries["medquad"], "licence": "proprietary"}]


def use_beyond_licence(entries, folder, samples):
    return [{**entries["medquad"], "licence": "CC-BY-NC-4.0"}]


def no_use(entries, folder, samples):
    return [{**entries["medquad"], "allowed_use": []}]


def no_credit(entries, folder, samples):
    return [{**entries["medquad"], "attribution": ""}]


def no_legal_basis(entries, folder, samples):
    return [{**entries["ct"], "legal_basis": None}]


def phantom_from_files(entries, folder, samples):
    return [{**entries["medquad"], "origin": "phantom"}]


def wrong_hash(entries, folder, samples):
    return [{**entries["medquad"], "sha256": {"4_MPlus_Health_Topics_QA_0000078.xml": "0" * 64}}]


def missing_path(entries, folder, samples):
    return [{**entries["medquad"], "path": "nowhere"}]


def twice(entries, folder, samples):
    return [entries["medquad"], entries["medquad"]]


def misspelt_source_field(entries, folder, samples):
    return [{**entries["medquad"], "licnce": "MIT"}]


def misspelt_option(entries, folder, samples):
    return [{**entries["phantom"], "options": {"count": 2, "seed": 1, "phantom": {"fracture_shar": 0.5}}}]


def unknown_level(entries, folder, samples):
    return [{**entries["phantom"], "options": {"count": 2, "seed": 1, "phantom": {"focus_levels": ["Q9"]}}}]


def broken_xml(entries, folder, samples):
    shutil.copytree(samples / "text" / "medquad", folder / "medquad")
    file = folder / "medquad" / "4_MPlus_Health_Topics_QA_0000078.xml"
    file.write_bytes(file.read_bytes()[:900])
    return [{**entries["medquad"], "path": str(folder / "medquad")}]


def entity_bomb(entries, folder, samples):
    (folder / "medquad").mkdir()
    text = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><Document><Focus>&b;</Focus></Document>'
    (folder / "medquad" / "bomb.xml").write_text(text)
    return [{**entries["medquad"], "path": str(folder / "medquad")}]


def mask_on_other_grid(entries, folder, samples):
    shutil.copytree(samples / "ct" / "tptbox_L3_crop", folder / "ct")
    name = folder / "ct" / "sub-ct_seg-vert_label-22_msk.nii.gz"
    mask = nib.load(name)
    affine = mask.affine.copy()
    affine[0, 3] += 10
    nib.save(nib.Nifti1Image(np.asanyarray(mask.dataobj), affine), name)
    return [{**entries["ct"], "path": str(folder / "ct")}]


def missing_image(entries, folder, samples):
    shutil.copytree(samples / "ct" / "tptbox_L3_crop", folder / "ct")
    (folder / "ct" / "sub-ct_label-22_ct.nii.gz").unlink()
    return [{**entries["ct"], "path": str(folder / "ct")}]


def truncated_volume(entries, folder, samples):
    shutil.copytree(samples / "ct" / "tptbox_L3_crop", folder / "ct")
    name = folder / "ct" / "sub-ct_label-22_ct.nii.gz"
    name.write_bytes(name.read_bytes()[:50_000])
    return [{**entries["ct"], "path": str(folder / "ct")}]


def damaged_figure(entries, folder, samples):
    shutil.copytree(samples / "text" / "openstax", folder / "openstax")
    name = folder / "openstax" / "media" / "718_Vertebra.jpg"
    name.write_bytes(name.read_bytes()[:5000])
    return [{**entries["openstax"], "path": str(folder / "openstax")}]


def contradicting_pins(entries, folder, samples):
    one = {**entries["phantom"], "id": "one", "split": "train"}
    return [one, {**one, "id": "two", "split": "test"}]


def split_beyond_use(entries, folder, samples):
    return [{**entries["phantom"], "allowed_use": ["evaluate"]}]


CASES: list[tuple[Change, str, str, str]] = [
    (unknown_licence, "sources.yaml:5", "sources.0.licence", "did you mean 'CC-BY-4.0'"),
    (no_licence, "sources.yaml:2", "sources.0.licence", "add its SPDX identifier"),
    (proprietary, "sources.yaml:5", "sources.0.licence", "find out the licence"),
    (use_beyond_licence, "sources.yaml:6", "sources.0.allowed_use", "remove that use"),
    (no_use, "sources.yaml:6", "sources.0.allowed_use", "add a list"),
    (no_credit, "sources.yaml", "sources.0.attribution", "add the credit line"),
    (no_legal_basis, "sources.yaml", "sources.0.legal_basis", "public release"),
    (phantom_from_files, "sources.yaml", "sources.0.origin", "write `origin: real`"),
    (wrong_hash, "sources.yaml", "sha256", "fetch the file again"),
    (missing_path, "sources.yaml:4", "sources.0.path", "check the path"),
    (twice, "sources.yaml", "sources.1.id", "rename one"),
    (misspelt_source_field, "sources.yaml", "sources.0.licnce", "did you mean 'licence'"),
    (misspelt_option, "sources.yaml", "options.phantom.fracture_shar", "did you mean 'fracture_share'"),
    (unknown_level, "sources.yaml", "options.phantom.focus_levels", "phantom.py"),
    (broken_xml, "4_MPlus_Health_Topics_QA_0000078.xml:", "", "mend the XML"),
    (entity_bomb, "bomb.xml", "", "without a DOCTYPE"),
    (mask_on_other_grid, "sub-ct_seg-vert_label-22_msk.nii.gz", "affine", "resample"),
    (missing_image, "sub-ct_label-22_ct.nii.gz", "", ""),
    (truncated_volume, "sub-ct_label-22_ct.nii.gz", "", "export the file again"),
    (damaged_figure, "718_Vertebra.jpg", "", "fetch the file again"),
    (contradicting_pins, "", "split", "pin them to one split"),
    (split_beyond_use, "", "split", "add 'train' to allowed_use"),
]


@pytest.mark.parametrize(("change", "where", "field", "cure"), CASES, ids=[case[0].__name__ for case in CASES])
def test_bad_source_is_refused_in_one_line(
    change: Change,
    where: str,
    field: str,
    cure: str,
    tmp_path: Path,
    samples: Path,
    entries,
    write_config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(tmp_path, change(entries, tmp_path, samples))
    line = refused(["data", "run", str(config), "--out", str(tmp_path / "run")], capsys)
    assert where in line
    assert not field or f"{field}'" in line or f".{field}" in line or f"'{field}" in line
    assert "Cure: " in line
    assert cure in line
    assert not (tmp_path / "run" / "outputs" / "release").exists()
    finished = list((tmp_path / "run").rglob("*.parquet"))
    assert all(".partial" not in str(path) for path in finished)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused and return its one line."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("spinemed: ")]
    assert len(lines) == 1
    return lines[0]


def test_misspelt_config_field_is_refused_before_a_run_starts(
    tmp_path: Path, entries, write_config, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, [entries["phantom"]], sed=3)
    line = refused(["data", "run", str(config), "--out", str(tmp_path / "run")], capsys)
    assert "build.yaml" in line
    assert "'sed'" in line
    assert "did you mean 'seed'" in line
    assert not (tmp_path / "run").exists()


def test_truncated_table_of_an_earlier_step_is_named(
    tmp_path: Path, entries, write_config, run_build, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, [entries["phantom"]])
    run = run_build(config, tmp_path / "run")
    table = run / "outputs" / "corpus" / "studies.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    line = refused(["data", "run", str(config), "--out", str(run)], capsys)
    assert "studies.parquet" in line
    assert "write the corpus again" in line


def test_check_accepts_good_sources_and_refuses_bad_ones(
    tmp_path: Path, entries, write_config, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, [entries["medquad"], entries["phantom"]])
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", str(tmp_path / "sources.yaml")])
    assert not stop.value.code
    assert "2 sources may be used" in capsys.readouterr().out
    write_config(tmp_path, [{**entries["medquad"], "licence": "other"}])
    assert "licence" in refused(["data", "check", str(tmp_path / "sources.yaml")], capsys)


def test_broken_file_is_counted_as_failed_when_asked(tmp_path: Path, samples: Path, entries, write_config, run_build):
    sources = broken_xml(entries, tmp_path, samples)
    sources[0]["options"] = {"on_broken_file": "count"}
    run = run_build(write_config(tmp_path, sources), tmp_path / "run")
    dropped = (run / "outputs" / "corpus" / "dropped.jsonl").read_text()
    assert '"outcome":"failed"' in dropped
    assert "4_MPlus_Health_Topics_QA_0000078.xml" in dropped
