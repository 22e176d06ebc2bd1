"""The two baselines that no model needs: the strongest constant answer, and a uniformly random one.

Convention: both know the scored samples. A group is (axis, picture or not, origin, task, answer kind, number of options
or categories; of numbers the measure and its unit), so that it never reaches beyond one row of the table. `majority`
gives every question of a group the answer that is right most often in that very group, of numbers the one that most
tolerances take in: no constant answer can score higher, so the baseline is favoured over anything that had to learn its
prior from training data. `random` draws uniformly from the legal answers: the
options, the categories, or for levels the answers that occur in the group, which again favours it over a guess among
all levels of a spine.

Trap: because the prior is taken from the scored samples, these are upper bounds of what guessing earns, not systems
that could be deployed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.runner.answerers import Reply, Request
from spinemed.records import NOT_DETERMINABLE, Sample
from spinemed.statistics import generator_for

__all__ = ["MajorityAnswerer", "RandomAnswerer"]

Group = tuple[str, bool, str, str, str, int]


def _group(sample: Sample) -> Group:
    choices = len(sample.options) or len(sample.categories)
    kind: str = sample.answer_kind
    if kind == "number":
        from bench.spinebench.numbers import measure_of

        kind = f"number of {measure_of(sample)} in {sample.unit or 'counts'}"
    return sample.axis, bool(sample.images), sample.origin, sample.task, kind, choices


def _best_of(members: Sequence[Sample]) -> str:
    """The constant answer that is right for most members; of several the one that sorts first.

    Where intervals of tolerance overlap most, one of them begins, so these beginnings are tried beside the answers.
    """
    counts = Counter(sample.answer for sample in members)
    numbers = [sample for sample in members if sample.answer_kind == "number" and sample.answer != NOT_DETERMINABLE]
    if numbers:
        truth = np.array([float(sample.answer) for sample in numbers])
        room = np.array([sample.tolerance or 0.0 for sample in numbers])
        for tried in sorted({*truth.tolist(), *(truth - room).tolist()}):
            text = f"{round(tried, 9):.12g}"
            counts[text] = int((np.abs(float(text) - truth) <= room + 1e-9).sum())
    return min(counts, key=lambda answer: (-counts[answer], answer))


class MajorityAnswerer:
    """The best constant answer of each group. Ties go to the answer that sorts first."""

    kind = "majority"
    model = "majority"

    def __init__(self, samples: Iterable[Sample]) -> None:
        members: dict[Group, list[Sample]] = {}
        self._group_of: dict[str, Group] = {}
        for sample in samples:
            self._group_of[sample.id] = _group(sample)
            members.setdefault(_group(sample), []).append(sample)
        self._best = {group: _best_of(own) for group, own in members.items()}

    @property
    def identity(self) -> dict[str, Any]:
        """The constant answer of each group."""
        return {
            "rule": "majority",
            "answers": sorted(["/".join(map(str, key)), value] for key, value in self._best.items()),
        }

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The group's constant answer for each request."""
        return [Reply(self._best[self._group_of[request.sample_id]]) for request in requests]


class RandomAnswerer:
    """A uniform draw from the legal answers; each sample has its own stream, so order and resuming change nothing."""

    kind = "random"
    model = "random"

    def __init__(self, samples: Iterable[Sample], *, seed: int) -> None:
        self.seed = seed
        listed = list(samples)
        seen: dict[Group, set[str]] = {}
        for sample in listed:
            seen.setdefault(_group(sample), set()).add(sample.answer)
        self._legal = {
            sample.id: [option.key for option in sample.options]
            or list(sample.categories)
            or sorted(seen[_group(sample)])
            for sample in listed
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Rule and seed."""
        return {"rule": "random", "seed": self.seed}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One legal answer for each request."""
        replies = []
        for request in requests:
            legal = self._legal[request.sample_id]
            draw = generator_for(self.seed, "random answer", request.sample_id)
            replies.append(Reply(legal[int(draw.integers(len(legal)))]))
        return replies
