"""The labelling figures of the VerSe evaluation: the published rule, the shifted pair, the body estimate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.verse.evaluate import evaluate_case
from bench.verse.records import Settings
from spinemed.labelling import body_centroids, read_label_mask, whole_centroids
from spinemed.volume import read_mask

pytestmark = pytest.mark.acceptance

ISSUE = "VerSe: labelling"
COMMAND = "pytest -m acceptance tests/acceptance/test_verse_labelling.py"
PAIR = "masks/panoptica_spine/unmatched_instance"
Record = Callable[..., None]


def test_compat_is_the_published_rule(root: Path, record: Record, load_script: Callable[..., Any]) -> None:
    rule = load_script(root / "tests/bench/verse/published_rule.py")
    with_hits = rule.compare(10_000, seed=5)  # raises on the first difference
    record(
        ISSUE, 1, "compat against the published rule as plain loops", asked="equal on 10,000 random centroid sets",
        measured="10,000 of 10,000 equal, hit lists included", met=True, command=COMMAND,
        note=f"ties, distances of exactly 20, NaN rows and empty tables among them; {with_hits} sets had hits",
    )  # fmt: skip


def test_the_pair_with_every_label_one_level_off(samples: Path, record: Record) -> None:
    settings = Settings(labels="tptbox", reference_labels="tptbox")
    result = evaluate_case(samples / PAIR / "ref.nii.gz", samples / PAIR / "pred.nii.gz", settings=settings)
    met = result.case.recall == 0 and result.case.shift == 1
    record(
        ISSUE, 2, "bundled mask pair, all labels shifted by one", asked="identification rate 0 and shift +1",
        measured=f"identification rate {result.case.recall:g}, shift {result.case.shift:+d}", met=met, command=COMMAND,
        note=f"Dice by name {result.case.means['dice']:.4f}, by outline {result.case.means['dice_any_name']:.3f}: "
        "real lumbar MR, 7 vertebrae",
    )  # fmt: skip
    assert met


def test_the_body_estimate(samples: Path, record: Record) -> None:
    """Against the bodies in the subregion masks that lie beside three bundled vertebra masks."""
    pairs = (
        ("ct/tptbox_L3_crop/sub-ct_seg-vert_label-22_msk.nii.gz",
         "ct/tptbox_L3_crop/sub-ct_seg-subreg_label-22_msk.nii.gz"),
        ("mr/tptbox_crop/sub-mri_seg-vert_label-6_msk.nii.gz",
         "mr/tptbox_crop/sub-mri_seg-subreg_label-6_msk.nii.gz"),
        (f"{PAIR}/ref.nii.gz", "masks/panoptica_spine/semantic/ref.nii.gz"),
    )  # fmt: skip
    body, whole = [], []
    for vertebrae, parts in pairs:
        mask = read_label_mask(samples / vertebrae, scheme="spineps")
        truth = body_centroids(mask, read_mask(samples / parts))
        estimate, centre = body_centroids(mask), whole_centroids(mask)
        body += [float(np.linalg.norm(estimate[level] - point)) for level, point in truth.items()]
        whole += [float(np.linalg.norm(centre[level] - point)) for level, point in truth.items()]
    record(
        ISSUE, 3, "body-centre estimate on masks without subregions", asked="reported",
        measured=f"mean {np.mean(body):.2f} mm, worst {max(body):.2f} mm, {len(body)} vertebrae", met=None,
        command=COMMAND,
        note=f"centre of mass of the whole vertebra: mean {np.mean(whole):.1f} mm, worst {max(whole):.1f} mm; one CT "
        "and two MR masks, model output, some vertebrae cut by the crop",
    )  # fmt: skip
    assert max(body) < 2 < min(whole)
