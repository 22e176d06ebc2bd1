"""The page: everything it must say, nothing it must load, and pictures that show what they claim."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.verse.evaluate import evaluate_folder
from bench.verse.pictures import case_picture
from bench.verse.plots import colour_of
from bench.verse.records import Scores, Settings
from bench.verse.wording import value
from spinemed.anatomy import LEVELS, Level
from spinemed.cli import main
from spinemed.labelling import LabelMask
from spinemed.volume import Volume


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, case: Any, save: Any, spine: Any) -> tuple[Scores, str, Path]:
    """Twelve good scans, one shifted, one missing, one cut short, one with a hostile name; with the published table."""
    root = tmp_path_factory.mktemp("page")
    reference, prediction = root / "reference", root / "prediction"
    prediction.mkdir()
    levels = (Level.T12, Level.L1, Level.L2, Level.L3)
    for number in range(14):
        name = f"sub-{number:02d}"
        case(reference, name, levels, image=number % 2 == 0)
        if number == 13:
            continue
        calls = {one: LEVELS[LEVELS.index(one) + 2 if one is Level.T12 else LEVELS.index(one) + 1] for one in levels}
        path = save(
            prediction / f"{name}.nii.gz", spine(levels, calls=calls if number == 3 else None, shift=number % 3)
        )
        if number == 12:
            path.write_bytes(path.read_bytes()[:60])
    save(prediction / "<img src=x onerror=alert(1)>.nii.gz", spine(levels))
    scores = evaluate_folder(reference, prediction, root / "out", published=True, resamples=100, name="<b>mine</b> $x$")
    return scores, (root / "out" / "report.html").read_text(), root


def test_the_page_says_what_it_must(evaluated: tuple[Scores, str, Path]) -> None:
    scores, page, _ = evaluated
    row = scores.row("vertebra")
    assert f"{value('dice', row.values['dice'].value)}" in page
    for words in (
        "Research use only",
        "shift +1",
        "L1 called L2 (+1)",
        "truncated or damaged gzip",
        "no file of this name in the prediction folder",
        "2 of 14 scans were not scored from both files as they are",
        "Other data, other implementation.",
        "10.5220/0008975201240133",
        "Payer C.",
        "Dice whatever the name",
        "Definitions",
        "Limits",
        "not the bone",
    ):
        assert words in page, words
    assert page.count('data-team="') == 1 + 11 + 8  # own; public; the teams that took part in the hidden set
    assert page.index('data-team="own"') < page.index('data-team="Payer C."')


def test_the_page_loads_nothing_and_runs_nothing(evaluated: tuple[Scores, str, Path]) -> None:
    _, page, root = evaluated
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert str(root) not in page
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "<b>mine" not in page
    assert "<img src=x" not in page


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_the_ten_worst_cases_are_shown_worst_first(evaluated: tuple[Scores, str, Path]) -> None:
    scores, page, _ = evaluated
    section = page[page.index('<div class="worst">') :]
    shown = re.findall(r"Reference and prediction of (sub-\d\d)", section)
    assert len(shown) == 10
    assert shown[0] == "sub-03"
    assert not {"sub-12", "sub-13"} & set(shown)
    dice = {case.case: case.means["dice"] for case in scores.cases if case.means}
    assert [dice[name] for name in shown] == sorted(dice[name] for name in shown)
    for picture in pictures(section)[:10]:
        assert picture.width > 300


def test_a_report_without_masks_or_centres_leaves_their_parts_out(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    reference, prediction = folders({"sub-a": {"shift": 1}})
    evaluate_folder(reference, prediction, tmp_path / "out", settings=Settings(task="segmentation"), resamples=100)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "were identified" not in page
    assert "No vertebra was called or outlined as another." in page
    assert "localisation" not in page
    assert "No CT was found" in page
    assert "Published results" not in page


def test_a_folder_whose_every_reference_is_broken_still_gets_a_page(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    reference, prediction = folders({"sub-a": {}})
    mask = next(reference.rglob("*_msk.nii.gz"))
    mask.write_bytes(mask.read_bytes()[:50])
    scores = evaluate_folder(reference, prediction, tmp_path / "out", published=True, resamples=100)
    assert scores.summary == ()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 with a reference that cannot be used" in page


def colours_in(picture: bytes, left: float, right: float) -> set[str]:
    """Level colours between two shares of the width."""
    with Image.open(io.BytesIO(picture)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    part = pixels[:, int(left * pixels.shape[1]) : int(right * pixels.shape[1])].reshape(-1, 3)
    seen = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(part, axis=0)}
    return {level.value for level in Level if colour_of(level) in seen}


def test_pictures_show_reference_and_prediction_in_the_colours_of_their_levels(spine: Any, affine: np.ndarray) -> None:
    reference = LabelMask(spine((Level.L1, Level.L2)), affine)
    prediction = LabelMask(spine((Level.L1, Level.L2), calls={Level.L1: Level.L3, Level.L2: None}), affine)
    drawn = case_picture(reference, prediction)
    with Image.open(io.BytesIO(drawn)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    hexes = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(pixels.reshape(-1, 3), axis=0)}
    assert {colour_of(Level.L1), colour_of(Level.L2), colour_of(Level.L3)} <= hexes
    assert colour_of(Level.L4) not in hexes
    assert "L1" in colours_in(drawn, 0, 0.25)
    assert "L3" not in colours_in(drawn, 0, 0.25)
    assert case_picture(reference, prediction) == drawn


def test_pictures_hang_head_up_anterior_left_and_right_side_left(affine: np.ndarray) -> None:
    mask = np.zeros((20, 28, 60), dtype=np.uint8)  # array axes grow to L, P and S
    mask[12:16, 4:8, 40:44] = Level.L1.verse_label  # high, in front, on the patient's left
    mask[4:8, 20:24, 10:14] = Level.L2.verse_label  # low, behind, on the patient's right
    picture = case_picture(LabelMask(mask, affine), None, Volume(np.zeros(mask.shape, np.int16), affine, "HU"))
    with Image.open(io.BytesIO(picture)) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)

    def centre(level: Level, left: float, right: float) -> np.ndarray:
        colour = [int(colour_of(level)[at : at + 2], 16) for at in (1, 3, 5)]
        part = pixels[:, int(left * pixels.shape[1]) : int(right * pixels.shape[1])]
        return np.argwhere(np.abs(part - colour).sum(axis=2) < 6).mean(axis=0)

    high, low = centre(Level.L1, 0.5, 0.75), centre(Level.L2, 0.5, 0.75)  # the coronal reference
    assert high[0] < low[0]
    assert high[1] > low[1]


def test_the_coronal_panel_shows_what_most_of_the_ray_meets(affine: np.ndarray) -> None:
    mask = np.zeros((20, 28, 40), dtype=np.uint8)
    mask[4:16, 2:4, 10:30] = Level.L1.verse_label  # thin, in front
    mask[4:16, 8:20, 10:30] = Level.L2.verse_label  # deep, behind
    drawn = case_picture(LabelMask(mask, affine), None)
    assert "L2" in colours_in(drawn, 0.5, 0.75)
    assert "L1" not in colours_in(drawn, 0.5, 0.75)
    assert "L1" in colours_in(drawn, 0, 0.25)


def test_image_on_another_grid_is_left_out_of_the_picture(spine: Any, affine: np.ndarray) -> None:
    reference = LabelMask(spine(), affine)
    grey = Volume(np.full((5, 5, 5), 300, np.int16), affine, "HU")
    assert case_picture(reference, reference, grey) == case_picture(reference, reference)


def test_compare_prints_and_writes_the_ranking(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path, save: Any, spine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, prediction = folders({f"sub-{n}": {} for n in range(8)})
    worse = tmp_path / "worse"
    for n in range(8):
        save(worse / f"sub-{n}.nii.gz", spine(shift=1 + n % 2))
    for folder in (prediction, worse):
        evaluate_folder(reference, folder, tmp_path / f"out-{folder.name}", resamples=100, page=False)
    arguments = ["verse", "compare", str(tmp_path / "out-prediction"), str(tmp_path / "out-worse")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--out", str(tmp_path / "cmp"), "--weights", "dice=1,hd_penalised_mm=1"])
    assert not stopped.value.code
    shown = capsys.readouterr().out
    assert "prediction - worse" in shown
    page = (tmp_path / "cmp" / "comparison.html").read_text()
    assert "does not claim to reproduce it" in page
    assert page.index('data-algorithm="prediction"') < page.index('data-algorithm="worse"')
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--weights", "dice"])
    assert stopped.value.code == 2
    assert "is no weight" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([*arguments[:3], arguments[2]])
    assert stopped.value.code == 2
    assert "evaluate it again with --name" in capsys.readouterr().err
