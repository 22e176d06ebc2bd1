"""Folders that appear whole: a kill while an old one is replaced can be resumed, and a bad --out is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.folders import whole_folder
from bench.runner import ScriptedAnswerer, predict_samples
from spinemed.errors import ReadError, RunError
from spinemed.tables import read_manifest, write_manifest


def write(target: Path, text: str) -> None:
    with whole_folder(target, "scores") as partial:
        for name in "abc":
            (partial / name).write_text(text)
        write_manifest(partial, "scores")


@pytest.mark.parametrize("gone", ["b", "manifest.json"])
def test_a_kill_while_the_old_folder_is_replaced_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    def killed(path: Path, ignore_errors: bool = False) -> None:
        if (Path(path) / "manifest.json").is_file():
            (Path(path) / gone).unlink()
            raise KeyboardInterrupt
        remove(path, ignore_errors=ignore_errors)

    write(tmp_path / "scores", "old")
    remove = shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "scores", "new")
    write(tmp_path / "scores", "newest")
    read_manifest(tmp_path / "scores", "scores", verify=True)
    assert (tmp_path / "scores" / "a").read_text() == "newest"
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


def test_the_working_folder_can_be_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("."), "text")
    assert (tmp_path / "here" / "a").read_text() == "text"


def test_a_file_in_the_way_is_named(samples_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReadError, match="is a file, expected a folder"):
        write(tmp_path / "file", "x")
    with pytest.raises(RunError, match="give another --out"):
        write(tmp_path / "file" / "scores", "x")
    with pytest.raises(RunError, match="give another --out"):
        predict_samples(samples_folder, ScriptedAnswerer({}), tmp_path / "file", name="x")
