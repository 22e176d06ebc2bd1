"""The commands as a user types them: one road from a release to a page, and one clear line for each mistake."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Spinemed = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, make_rows: Callable[..., Any], write_release: Any) -> Path:
    folder: Path = write_release(
        tmp_path_factory.mktemp("cli") / "release", train=make_rows("train", 3), test=make_rows("test", 12)
    )
    return folder


def test_from_a_release_to_a_page(release: Path, tmp_path: Path, spinemed: Spinemed) -> None:
    samples = tmp_path / "samples"
    done = spinemed("bench", "samples", "--release", release, "--out", samples)
    assert done.returncode == 0, done.stderr
    assert "36 samples of 12 spines" in done.stdout
    for model in ("majority", "random"):
        name = f"[/{model}]"  # no markup of ours
        done = spinemed(
            *("bench", "predict", "--samples", samples, "--model", model, "--name", name, "--out", tmp_path / model)
        )
        assert done.returncode == 0, done.stderr
    scores = tmp_path / "scores"
    done = spinemed(
        *("bench", "score", "--samples", samples, "--predictions", tmp_path / "majority"),
        *("--predictions", tmp_path / "random", "--subject", "[/majority]", "--resamples", "200", "--out", scores),
    )
    assert done.returncode == 0, done.stderr
    assert "Level identification" in done.stdout
    page = tmp_path / "page"
    done = spinemed("bench", "board", "--scores", scores, "--out", page)
    assert done.returncode == 0, done.stderr
    assert "majority" in done.stdout
    assert str(page / "board.html") in done.stdout
    assert (page / "board.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("samples", "--release", "{release}", "--out", "{out}", "--split", "exam"), "'exam' is no split"),
        (("samples", "--release", "{out}", "--out", "{out}"), "holds no manifest.json"),
        (("predict", "--samples", "{release}", "--model", "random", "--out", "{out}"), "is a 'release', expected a"),
        (("board", "--scores", "{release}", "--out", "{out}"), "is a 'release', expected a 'scores'"),
        (("score", "--samples", "{release}", "--predictions", "{out}", "--out", "{out}"), "is a 'release', expected"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    release: Path, tmp_path: Path, spinemed: Spinemed, arguments: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out"
    done = spinemed("bench", *(text.format(release=release, out=out) for text in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Cure: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()
