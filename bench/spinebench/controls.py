"""Controls beside the score: what is left of it when something is taken away, and what the picture was worth.

Convention, layout::

    controls   {system: {condition: {name: of the control, n, clusters, left_out: {reason: questions},
                                     value, low, high, method, full: the same of the system itself,
                                     chance: expected share of a uniform guess, or null,
                                     difference: paired, full minus control}}}
    necessity  {system: {condition: {all: paired, rows: {row key: paired}, by_need: {mark: paired}}}}
    rotations  {system: see rotations.py}

where `system` answered the questions themselves (`full`) and a control is the same model under another condition.
`value` and `full` are over the questions of the control on which neither request failed (`api_error`); all intervals
and tests are clustered. `necessity` is full minus without the picture (`withheld`, `blind`, `other_patient`), over the
questions with a picture; `by_need` splits it by the sample's own mark. A paired result has difference, low, high,
p_value, p_holm, n, clusters, first_only, second_only, method, full, without; Holm counts the `all` of one system.

Trap: full minus `other_patient` is more than what the picture adds: a wrong picture also misleads. `withheld` and
`blind` say what the words alone earn; a score that the words earn is no reading of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.runner.conditions import rotation_of
from bench.spinebench.rotations import summarise_rotations
from bench.spinebench.rows import table_rows
from spinemed.records import Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, holm, paired_difference, proportion_interval

__all__ = ["WITHOUT_PICTURE", "Control", "control_lines", "summarise_controls"]

WITHOUT_PICTURE = ("withheld", "blind", "other_patient")


@dataclass(frozen=True)
class Control:
    """One model's replies under a condition other than the questions themselves."""

    name: str
    model: str
    condition: str
    asked: Mapping[str, tuple[Sample, Score]]
    """The question as it was asked, and its score, by sample."""
    left_out: Mapping[str, int]


def summarise_controls(
    samples: Sequence[Sample],
    systems: Mapping[str, tuple[str, Sequence[Score]]],
    controls: Sequence[Control],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """`controls`, `necessity` and `rotations`; the layout stands in the module's docstring.

    Args:
        samples: All samples, as they stand.
        systems: Model and scores, in the order of the samples, of each system that answered the questions themselves.
        controls: All controls.
        seed: Seed of bootstrap and tests.
        resamples: Bootstrap samples.
    """
    found: dict[str, dict[str, Any]] = {"controls": {}, "necessity": {}, "rotations": {}}
    rows = {row.key: [samples[place].id for place in row.members] for row in table_rows(samples) if not row.whole_axis}
    for name, (model, scores) in systems.items():
        own = [control for control in controls if control.model == model]
        if not own:
            continue
        full = {sample.id: score for sample, score in zip(samples, scores, strict=True)}
        task = _Paired(full, seed, resamples)
        found["controls"][name] = {one.condition: task.control(name, one) for one in own}
        pictures = {sample.id for sample in samples if sample.images}
        without = [one for one in own if one.condition in WITHOUT_PICTURE and pictures & set(one.asked)]
        if without:
            found["necessity"][name] = {
                one.condition: task.necessity(name, one, samples, pictures, rows) for one in without
            }
            whole = [found["necessity"][name][one.condition]["all"] for one in without]
            for paired, corrected in zip(whole, holm([one["p_value"] for one in whole]), strict=True):
                paired["p_holm"] = corrected
        turned = {one.condition: one.asked for one in own if rotation_of(one.condition)}
        turns = summarise_rotations(
            samples, full, turned, seed=seed, key=("rotations", name), resamples=resamples
        )  # fmt: skip
        if turns is not None:
            found["rotations"][name] = turns
    return found


@dataclass(frozen=True)
class _Paired:
    """One system against its controls."""

    full: Mapping[str, Score]
    seed: int
    resamples: int

    def control(self, name: str, control: Control) -> dict[str, Any]:
        """The entry of one control."""
        kept = self._kept(control, set(control.asked))
        clusters = Clusters.of([control.asked[one][0].cluster for one in kept])

        def interval(what: str, right: Callable[[str], bool]) -> dict[str, Any]:
            rng = generator_for(self.seed, "controls", name, control.condition, what)
            values = [float(right(one)) for one in kept]
            return proportion_interval(
                values, clusters, rng, resamples=self.resamples, fewest=FEWEST_RANKED
            ).as_dict()  # fmt: skip

        guesses = [_guess(control.asked[one][0]) for one in kept]
        own = interval("own", lambda one: control.asked[one][1].correct)
        return {
            "name": control.name,
            "left_out": dict(control.left_out),
            **own,
            "full": interval("full", lambda one: self.full[one].correct),
            "chance": None if not guesses or None in guesses else float(np.mean([one or 0.0 for one in guesses])),
            "difference": self._paired(name, control, kept, "all"),
        }

    def necessity(
        self,
        name: str,
        control: Control,
        samples: Sequence[Sample],
        pictures: set[str],
        rows: Mapping[str, Sequence[str]],
    ) -> dict[str, Any]:
        """Full minus without, over all questions with a picture, by row and by mark."""
        needs: dict[str, set[str]] = {}
        for sample in samples:
            if sample.image_need:
                needs.setdefault(sample.image_need, set()).add(sample.id)

        def part(key: str, members: set[str]) -> dict[str, Any] | None:
            kept = self._kept(control, members & pictures & set(control.asked))
            return self._paired(name, control, kept, key) if kept else None

        by_row = {row: part(row, set(members)) for row, members in rows.items()}
        by_need = {need: part(f"need {need}", members) for need, members in sorted(needs.items())}
        return {
            "all": self._paired(name, control, self._kept(control, pictures & set(control.asked)), "pictures"),
            "rows": {key: value for key, value in by_row.items() if value is not None},
            "by_need": {key: value for key, value in by_need.items() if value is not None},
        }

    def _kept(self, control: Control, members: set[str]) -> list[str]:
        return [
            one for one in sorted(members)
            if control.asked[one][1].outcome != "api_error" and self.full[one].outcome != "api_error"
        ]  # fmt: skip

    def _paired(self, name: str, control: Control, kept: Sequence[str], part: str) -> dict[str, Any]:
        left = [float(self.full[one].correct) for one in kept]
        right = [float(control.asked[one][1].correct) for one in kept]
        clusters = Clusters.of([control.asked[one][0].cluster for one in kept])
        rng = generator_for(self.seed, "necessity", name, control.condition, part)
        result = paired_difference(left, right, clusters, rng, resamples=self.resamples, fewest=FEWEST_RANKED)
        return {
            **result.as_dict(),
            "p_holm": None,
            "full": float(np.mean(left)) if left else None,
            "without": float(np.mean(right)) if right else None,
        }


def control_lines(summary: Mapping[str, Any]) -> list[str]:
    """A line for each control of a summary: what it leaves of the score, in percent, with the difference in points."""
    lines = []
    for name, conditions in summary.get("controls", {}).items():
        for condition, one in conditions.items():
            if one["value"] is None:
                continue
            lost = one["difference"]
            span = "no interval" if lost["low"] is None else f"{100 * lost['low']:+.1f} to {100 * lost['high']:+.1f}"
            lines.append(
                f"{name}, {condition}: {100 * one['value']:.1f} % of {one['n']} questions, where the questions "
                f"themselves have {100 * one['full']['value']:.1f} %; "
                f"difference {100 * lost['difference']:+.1f} points ({span})"
            )
    for name, turns in summary.get("rotations", {}).items():
        if turns["n"]:
            lines.append(
                f"{name}, options moved: right in all turns {100 * turns['strict']['value']:.1f} %, on average "
                f"{100 * turns['mean']['value']:.1f} % of {turns['n']} questions"
            )
    return lines


def _guess(sample: Sample) -> float | None:
    """What a uniform guess among the legal answers earns; None where they are not listed."""
    count = len(sample.options) or len(sample.categories)
    return 1 / count if count else None
