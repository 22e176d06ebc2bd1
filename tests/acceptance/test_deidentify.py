# ruff: noqa: E501 -- sentences of the results page
"""The full figures of de-identification: recall on planted identifiers by category, and what happens to spine terms."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from data_pipeline.deidentify import CaseIdentity, DeidKey, Sealed, Tags, deidentify_text
from data_pipeline.deidentify.pixels import TesseractFinder, clean_pixels
from data_pipeline.deidentify.planted import Recall, planted_cases, score_texts
from data_pipeline.deidentify.planted_headers import planted_headers, score_headers
from data_pipeline.deidentify.text import find_protected
from data_pipeline.readers import read_source
from spinemed.records import Source
from spinemed.statistics import wilson_interval

pytestmark = pytest.mark.acceptance

ISSUE = "Data pipeline"
COMMAND = "pytest -m acceptance tests/acceptance/test_deidentify.py"
Record = Callable[..., None]


def line(found: int, of: int) -> str:
    low, high = wilson_interval(found, of)
    return f"{found}/{of} ({100 * found / of:.2f} %, 95 % interval {100 * low:.2f} to {100 * high:.2f})"


def by_category(recall: Recall, group: str) -> str:
    kinds = sorted(category for who, category in recall.planted if who == group)
    parts = []
    for kind in kinds:
        found, of, low, high = recall.share(group, kind)
        parts.append(f"{kind} {found}/{of} ({100 * low:.1f} to {100 * high:.1f})")
    return "; ".join(parts)


@pytest.fixture(scope="module")
def planted(root: Path) -> Path:
    return root / "tests" / "data_pipeline" / "planted"


def test_headers(planted: Path, record: Record) -> None:
    recall = score_headers(
        planted_headers(planted / "headers.yaml", planted / "values.yaml", number=60, seed=11), DeidKey(b"k" * 32)
    )
    found, of, _, _ = recall.share("known")
    record(
        ISSUE, 20, "planted identifiers removed from DICOM headers", asked="recall ≥ 0.99", measured=line(found, of),
        met=found / of >= 0.99, command=COMMAND,
        note="80 places a file: nested four deep, private groups, overlays, file meta, preamble, and attributes that the "
        f"table does not name; looked for in the written bytes. By category: {by_category(recall, 'known')}",
    )  # fmt: skip
    assert found / of >= 0.99, recall.missed[:5]


def test_texts(planted: Path, record: Record) -> None:
    recall = score_texts(planted_cases(planted / "held_out.yaml", planted / "values.yaml", number=200, seed=31))
    names = {
        "known": (21, "values of the case's header, found in free text"),
        "form": (22, "patterned identifiers, found in free text"),
    }
    for group, (order, name) in names.items():
        found, of, _, _ = recall.share(group)
        record(
            ISSUE, order, name, asked="recall ≥ 0.97", measured=line(found, of), met=found / of >= 0.97, command=COMMAND,
            note="200 made-up cases, half English, half Chinese, on 37 sentences written after the rules. The first look "
            "at these sentences gave 375/380 for known values and 834/840 for patterned ones (40 cases); the causes were "
            f"mended, so today's figure is no longer blind. By category: {by_category(recall, group)}",
        )  # fmt: skip
    found, of, _, _ = recall.share("stranger")
    missed = of - found
    record(
        ISSUE, 23, "names that stand in no header, found in free text", asked="reported apart, the rest to a person",
        measured=f"{line(found, of)}; of {missed} missed, {recall.queued} lie in texts that wait for a person",
        met=None, command=COMMAND, note="titles, roles and kinship words find them; nothing else does",
    )  # fmt: skip
    record(
        ISSUE, 24, "terms of the spine masked by mistake", asked="0", measured=f"{recall.kept_of - recall.kept} of {recall.kept_of}",
        met=recall.kept == recall.kept_of, command=COMMAND,
        note="levels, grades, scores and eponyms inside the planted sentences; a case's own names are counted as names",
    )  # fmt: skip
    assert recall.share("known")[0] / recall.share("known")[1] >= 0.97
    assert recall.share("form")[0] / recall.share("form")[1] >= 0.97
    assert recall.kept == recall.kept_of


def test_public_text(samples: Path, record: Record) -> None:
    """OpenStax and MedQuAD pages on the spine: they name no patient, so whatever is masked there is masked in vain."""
    masked: list[str] = []
    signs = terms = lost = 0
    for kind, folder in (("cnxml", "openstax"), ("medquad", "medquad")):
        entry = {
            "id": "x",
            "kind": kind,
            "path": ".",
            "licence": "CC-BY-4.0",
            "allowed_use": ["train"],
            "attribution": "x",
        }
        for document in read_source(Source.model_validate(entry), samples / "text" / folder).documents:
            tags = Tags(datetime.timedelta(weeks=-9))
            result = deidentify_text(Sealed(document.text), CaseIdentity(), tags, id_="x")
            masked += [place.category for place in result.masked]
            signs += len(document.text)
            kept = find_protected(document.text)
            terms += len(kept)
            lost += sum(any(m.start < stop and begin < m.end for m in result.masked) for begin, stop in kept)
    counts = ", ".join(f"{kind} {masked.count(kind)}" for kind in sorted(set(masked)))
    record(
        ISSUE, 26, "places masked in public text that names no patient", asked="terms of the spine: 0",
        measured=f"{len(masked)} in {signs} signs ({counts}); {lost} of {terms} levels, grades and eponyms", met=lost == 0,
        command=COMMAND, note="the institutions are real ones (national institutes), which would rightly be masked in a case",
    )  # fmt: skip
    assert lost == 0


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
def test_pixels(planted: Path, record: Record) -> None:
    """Text drawn on noisy pictures in three sizes: gone when the drawn signs are no longer brighter than the picture."""
    import yaml

    lists = yaml.safe_load((planted / "values.yaml").read_text(encoding="utf-8"))
    finder, rng = TesseractFinder(), np.random.default_rng(61)
    found = of = passed_with_text = 0
    for number in range(24):
        words = f"{rng.choice(lists['names_en']).upper()} {rng.integers(10**6, 10**7)}"
        y, x = np.mgrid[:320, :320]
        plain = 90 + rng.normal(0, 6, (320, 320)) + 70 * np.exp(-((y - 160) ** 2 + (x - 160) ** 2) / 5000)
        picture = Image.fromarray(np.clip(plain, 0, 250).astype(np.uint8))
        before = np.asarray(picture).copy()
        place = (int(rng.integers(4, 40)), int(rng.choice([6, 150, 290])))
        ImageDraw.Draw(picture).text(place, words, fill=255, font=ImageFont.load_default(int((12, 16, 22)[number % 3])))
        drawn = (np.asarray(picture) != before) & (np.asarray(picture) > 235)
        result = clean_pixels(Sealed(np.asarray(picture)), finder, id_=str(number))
        left = result.pixels.open_for_deidentification()[drawn] > 235
        gone = left.mean() < 0.1
        found, of = found + gone, of + 1
        passed_with_text += not gone and result.record.status == "clean"
    record(
        ISSUE, 25, "burned-in text blanked", asked="none leaves as clean with text left", measured=f"{line(found, of)}; {passed_with_text} passed as clean with text left",
        met=passed_with_text == 0, command=COMMAND,
        note=f"{finder.name}, and a second look for strokes like letters that holds a picture back (tuned on pictures of another seed); Latin names and numbers of 12, 16 and 22 pixels on computed pictures with noise. Without a "
        "text finder every picture stays held back",
    )  # fmt: skip
    assert passed_with_text == 0
    assert found / of > 0.7
