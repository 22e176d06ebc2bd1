"""Bins are planned from lengths alone: each row once an epoch, nothing over the edge, the same from the same seed."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from train.packing import Bins, plan_bins, plan_run

LENGTHS = np.random.default_rng(4).integers(20, 900, 700)


@pytest.mark.parametrize("window", [16, 4096])
def test_every_row_stands_in_one_bin_and_no_bin_overflows(window: int) -> None:
    made = plan_bins(LENGTHS, capacity=1024, seed=3, window=window)
    assert Counter(row for bin in made.rows for row in bin) == Counter(range(len(LENGTHS)))
    assert [int(LENGTHS[list(bin)].sum()) for bin in made.rows] == list(made.tokens)
    assert max(made.tokens) <= 1024
    assert made.fill == pytest.approx(LENGTHS.sum() / (1024 * len(made)))


def test_large_windows_leave_hardly_a_place_empty() -> None:
    short = np.random.default_rng(1).integers(20, 400, 4000)
    assert plan_bins(short, capacity=4096, seed=0).fill > 0.98


def test_seed_and_epoch_decide_the_order_and_nothing_else() -> None:
    made = plan_bins(LENGTHS, capacity=1024, seed=3, epoch=1)
    assert made == plan_bins(list(LENGTHS), capacity=1024, seed=3, epoch=1)
    assert made.sha256 == plan_bins(LENGTHS, capacity=1024, seed=3, epoch=1).sha256
    assert made.rows != plan_bins(LENGTHS, capacity=1024, seed=3, epoch=0).rows
    assert made.rows != plan_bins(LENGTHS, capacity=1024, seed=4, epoch=1).rows


def test_fullness_is_no_curriculum() -> None:
    """Bins come in random order, not the full ones first: both halves of an epoch are mixed alike."""
    made = plan_bins(LENGTHS, capacity=1024, seed=3)
    segments = np.array([len(bin) for bin in made.rows])
    first, second = np.array_split(segments, 2)
    assert abs(first.mean() - second.mean()) < 0.5 * segments.std()


def test_patches_bound_a_bin_too() -> None:
    patches = np.where(np.arange(700) % 3 == 0, 300, 0)
    made = plan_bins(LENGTHS, capacity=2048, seed=3, patches=patches, patch_capacity=300)
    assert max(int(patches[list(bin)].sum()) for bin in made.rows) == 300
    assert Counter(row for bin in made.rows for row in bin) == Counter(range(700))


def test_a_run_goes_through_epochs_and_ends_where_it_is_told() -> None:
    whole = plan_bins(LENGTHS, capacity=1024, seed=3)
    run = plan_run(LENGTHS, capacity=1024, seed=3, bins=2 * len(whole))
    assert run.rows[: len(whole)] == whole.rows
    assert run.rows[len(whole) : len(whole) + 5] == plan_bins(LENGTHS, capacity=1024, seed=3, epoch=1).rows[:5]
    assert len(run) == 2 * len(whole)
    short = plan_run(LENGTHS, capacity=1024, seed=3, bins=5)
    assert short.rows == whole.rows[:5]
    assert short.epochs == 1


def test_bins_come_back_from_the_run_folder_as_they_were() -> None:
    made = plan_bins(LENGTHS, capacity=1024, seed=3)
    assert Bins.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([], "no rows"), ([5, 0, 7], "row 1 has no tokens"), ([5, 90], "row 1 has 90 tokens, a bin")],
)
def test_what_cannot_be_packed_is_refused(lengths: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_bins(lengths, capacity=64, seed=0)


def test_a_row_of_too_many_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 80 patches"):
        plan_bins([5, 6], capacity=64, seed=0, patches=[0, 80], patch_capacity=64)
