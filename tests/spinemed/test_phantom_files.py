"""The phantom commands: whole folders or none, draws that can be read back, errors with their place."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from spinemed.errors import ConfigError, ReadError, RecordError, RunError
from spinemed.phantom import PhantomDraw, draw_phantom, read_draws, render_phantom, write_phantoms
from spinemed.phantom.cli import app

Spinemed = Callable[..., subprocess.CompletedProcess[str]]


def _run(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, [str(x) for x in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_draw_writes_what_a_draw_line_rebuilds(tmp_path: Path) -> None:
    _run("draw", "--count", "3", "--seed", "4", "--out", tmp_path / "set")
    draws = list(read_draws(tmp_path / "set" / "draws.jsonl"))
    truths = [json.loads(x) for x in (tmp_path / "set" / "truths.jsonl").read_text().splitlines()]
    assert draws == [draw_phantom(4, k) for k in range(3)]
    for draw, truth in zip(draws, truths):
        rendered = render_phantom(draw)
        assert truth["id"] == draw.phantom_id
        assert len(truth["vertebrae"]) == len(rendered.vertebrae)
        for folder, expected in (("images", rendered.image), ("masks", rendered.levels)):
            with Image.open(tmp_path / "set" / folder / f"{draw.phantom_id}.png") as picture:
                assert np.array_equal(np.asarray(picture), expected)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _run("draw", "--count", "2", "--out", tmp_path / name)
    files = sorted(x.relative_to(tmp_path / "one") for x in (tmp_path / "one").rglob("*") if x.is_file())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_show_writes_a_sheet_of_the_asked_size(tmp_path: Path) -> None:
    _run("draw", "--count", "3", "--out", tmp_path / "set")
    _run("show", tmp_path / "set/draws.jsonl", "--out", tmp_path / "sheet.png", "--columns", "2", "--enlarge", "2")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (512, 512)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def stopping() -> Iterator[PhantomDraw]:
        yield draw_phantom(0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(stopping(), tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(RunError, match="exists already. Cure:"):
        write_phantoms([], tmp_path / "set")
    with pytest.raises(ReadError, match="Cure: make it first"):
        write_phantoms([], tmp_path / "nowhere" / "set")


def test_a_misspelt_field_is_one_line_and_exit_code_2(spinemed: Spinemed, tmp_path: Path) -> None:
    config = tmp_path / "phantom.yaml"
    config.write_text("family: a\nlateral_shar: 0.5\n")
    done = spinemed("phantom", "draw", "--config", config, "--out", tmp_path / "set")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "phantom.yaml:2" in done.stderr
    assert "did you mean 'lateral_share'?" in done.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("field_mm: [400, 300]\n", "field_mm"),
        ("height_loss: [0.2, 0.95]\n", "height_loss"),
        ("focus_levels: [S3]\n", "focus_levels"),
        ("focus_levels: [L1, L1]\n", "focus_levels"),
        ("variant_shares: {L6: 0.7, T13: 0.7}\n", "variant_shares"),
        ("lateral_share: 1.5\n", "lateral_share"),
        ("size_px: [128, 4000]\n", "size_px"),
    ],
)
def test_an_impossible_value_names_its_field(tmp_path: Path, text: str, field: str) -> None:
    config = tmp_path / "phantom.yaml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=rf"phantom.yaml:1: field '{field}"):
        _run("draw", "--config", config, "--out", tmp_path / "set")


def test_a_broken_draw_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "draws.jsonl"
    file.write_text(draw_phantom(0, 0).model_dump_json() + "\n" + '{"seed": 1}\n')
    with pytest.raises(RecordError, match=r"draws.jsonl:2: field 'index'.*Cure:"):
        list(read_draws(file))
    file.write_text(draw_phantom(0, 0).model_dump_json()[:500])
    with pytest.raises(RecordError, match=r"draws.jsonl:1"):
        list(read_draws(file))
    with pytest.raises(ReadError, match="Cure: name a draws.jsonl"):
        list(read_draws(tmp_path / "none.jsonl"))
    file.write_text(draw_phantom(0, 0).model_dump_json() + "\n")
    with pytest.raises(ReadError, match="holds no draw number 5"):
        _run("show", file, "--out", tmp_path / "sheet.png", "--first", "5")
