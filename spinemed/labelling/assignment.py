"""Name a row of detected vertebrae: dynamic programming over every column that occurs, with a probability per naming.

Convention: detections run from head to foot. Each brings a log-likelihood over :data:`CLASSES` (what was seen, given
that it is C1 … L6 or S1); the column (11-13 thoracic, 4-6 lumbar vertebrae, named from the last rib) is unknown and
has a prior. Between two detections vertebrae may have been missed, a detection may be false, and both ends of the
column may lie outside the field. Sums run over all of that (forward-backward in log space), so a probability here is a
posterior of the stated model, not a softmax of one network.

The trap: likelihoods that are sharper than the evidence. A network that saw only one generator tells T6 from T7 by
size; on another it cannot. :func:`likelihood_of_kinds` spreads what was seen evenly over all levels of a kind
(rib-bearing, lumbar …), and then only anchors (C1, C2, the last rib, the sacrum) decide: a crop without one comes out
as "not determinable" because several namings keep their weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from spinemed.anatomy import Level, Region, Spine
from spinemed.errors import LevelError

__all__ = [
    "CLASSES",
    "KIND_OF",
    "AssignmentModel",
    "Assignments",
    "Kind",
    "Naming",
    "assign_levels",
    "likelihood_of_kinds",
]

CLASSES: tuple[Level, ...] = (
    *(level for level in Region.CERVICAL.levels if level is not Level.C0),
    *Region.THORACIC.levels,
    *Region.LUMBAR.levels,
    Level.S1,
)
"""Every level a detection can be, head to foot: C1-C7, T1-T13, L1-L6 and S1 for the sacrum."""


class Kind(StrEnum):
    """What can be seen of a vertebra without counting."""

    C1 = "C1"
    C2 = "C2"
    CERVICAL = "cervical"
    RIBS = "rib-bearing"
    LUMBAR = "lumbar"
    SACRUM = "sacrum"


def _kind_of(level: Level) -> Kind:
    if level in (Level.C1, Level.C2):
        return Kind(level.value)
    return {
        Region.CERVICAL: Kind.CERVICAL,
        Region.THORACIC: Kind.RIBS,
        Region.LUMBAR: Kind.LUMBAR,
        Region.SACRAL: Kind.SACRUM,
    }[level.region]


KIND_OF: dict[Level, Kind] = {level: _kind_of(level) for level in CLASSES}
_INDEX = {level: at for at, level in enumerate(CLASSES)}


def _default_columns() -> dict[tuple[int, int], float]:
    # Presacral anomalies are rare, and two at once rarer: independent shares per region, about what general
    # populations are reported with (some 2 % other than twelve thoracic, some 6 % other than five lumbar vertebrae).
    thoracic = {11: 0.01, 12: 0.98, 13: 0.01}
    lumbar = {4: 0.03, 5: 0.94, 6: 0.03}
    return {(t, n): pt * pn for t, pt in thoracic.items() for n, pn in lumbar.items()}


@dataclass(frozen=True)
class AssignmentModel:
    """What is believed before looking.

    Attributes:
        columns: Prior over (thoracic, lumbar) counts; need not be normalised.
        missed: Probability that a vertebra inside the row was not detected.
        false: Probability that a detection is no vertebra.
        determinable_at: Posterior that the best naming must reach to be given as an answer.

    Raises:
        LevelError: for a probability outside (0, 1) or no column with weight.
    """

    columns: Mapping[tuple[int, int], float] = field(default_factory=_default_columns)
    missed: float = 1e-4
    false: float = 1e-4
    determinable_at: float = 0.8

    def __post_init__(self) -> None:
        for name in ("missed", "false", "determinable_at"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise LevelError(f"{value} is no probability inside (0, 1)", field=name, cure="give e.g. 0.01")
        if not any(weight > 0 for weight in self.columns.values()) or any(w < 0 for w in self.columns.values()):
            raise LevelError("weights must be >= 0, one of them > 0", field="columns", cure="give e.g. {(12, 5): 1.0}")


@dataclass(frozen=True)
class Naming:
    """One way to name the row.

    Attributes:
        levels: One per detection; None for a detection taken as false.
        spine: The column it belongs to.
        probability: Posterior of these names, summed over the columns that agree with them.
    """

    levels: tuple[Level | None, ...]
    spine: Spine
    probability: float

    @property
    def missed(self) -> tuple[Level, ...]:
        """Levels between the first and the last named one that no detection bears."""
        named = [level for level in self.levels if level is not None]
        if not named:
            return ()
        return tuple(
            level for level in self.spine.between(named[0], named[-1]) if level in _INDEX and level not in named
        )


@dataclass(frozen=True)
class Assignments:
    """The posterior over namings.

    Attributes:
        namings: The likeliest namings, best first.
        marginals: (n, len(CLASSES)) posterior per detection and level; a row sums to 1 less the posterior that the
            detection is false.
        columns: Posterior over (thoracic, lumbar).
        determinable: Whether the best naming reaches the model's bound.
    """

    namings: tuple[Naming, ...]
    marginals: np.ndarray
    columns: dict[tuple[int, int], float]
    determinable: bool

    @property
    def best(self) -> Naming:
        """The likeliest naming."""
        return self.namings[0]

    @property
    def spurious(self) -> np.ndarray:
        """(n,) posterior that each detection is false."""
        return 1.0 - self.marginals.sum(axis=1)


def likelihood_of_kinds(probabilities: Sequence[Mapping[Kind, float]], floor: float = 1e-4) -> np.ndarray:
    """Log-likelihoods from what was seen of each vertebra, spread evenly over all levels of a kind.

    Args:
        probabilities: Per detection, the probability of each kind (missing kinds count as `floor`).
        floor: Smallest probability believed in, so that one confident mistake cannot veto a naming.

    Returns:
        (n, len(CLASSES)) float64.
    """
    out = np.empty((len(probabilities), len(CLASSES)))
    for row, seen in enumerate(probabilities):
        out[row] = [np.log(max(float(seen.get(KIND_OF[level], 0.0)), floor)) for level in CLASSES]
    return out


def assign_levels(
    log_likelihood: np.ndarray, model: AssignmentModel | None = None, *, keep: int = 5, skip: np.ndarray | None = None
) -> Assignments:
    """The posterior over namings of a row of detections.

    For one column with names l_0 … l_m and detections 1 … n the joint weight of positions p_1 < … < p_n is
    Π exp(LL[i, l_{p_i}]) · (1 - false) · missed^(gaps), with `false` · mean likelihood for a detection left out; the
    first position is uniform over the column and nothing is charged beyond the last (ends outside the field).

    Args:
        log_likelihood: (n, len(CLASSES)), n >= 1, finite.
        model: Priors; :class:`AssignmentModel` when None.
        keep: How many namings to return at most.
        skip: Optional (n - 1, 4) log-weights for 0, 1, 2, 3+ vertebrae missed between neighbouring detections (from
            their distance); replaces missed^gaps between two detections that are both taken as vertebrae and are
            neighbours in the row.

    Raises:
        LevelError: for a wrong shape or values that are not finite.
    """
    model = model or AssignmentModel()
    scores = np.asarray(log_likelihood, dtype=np.float64)
    _check(scores, skip)
    total = sum(model.columns.values())
    pieces = []
    for (thoracic, lumbar), weight in sorted(model.columns.items()):
        if weight > 0:
            pieces.append(_Column(Spine(thoracic, lumbar), np.log(weight / total), scores, model, skip))
    evidence = np.logaddexp.reduce([piece.evidence for piece in pieces])

    marginals = np.zeros_like(scores)
    columns: dict[tuple[int, int], float] = {}
    found: dict[tuple[Level | None, ...], tuple[float, Spine]] = {}
    for piece in pieces:
        columns[(piece.spine.thoracic, piece.spine.lumbar)] = float(np.exp(piece.evidence - evidence))
        marginals[:, piece.classes] += np.exp(piece.posterior() - evidence)
        for levels, log_weight in piece.likeliest(keep):
            before = found.get(levels)
            # The first column to give these names is kept only while no likelier column gives them.
            if before is None:
                found[levels] = (log_weight, piece.spine)
            else:
                spine = piece.spine if log_weight > before[0] else before[1]
                found[levels] = (float(np.logaddexp(before[0], log_weight)), spine)
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], tuple(str(level) for level in item[0])))[:keep]
    namings = tuple(Naming(levels, spine, float(np.exp(weight - evidence))) for levels, (weight, spine) in ranked)
    named_any = any(level is not None for level in namings[0].levels)
    return Assignments(namings, marginals, columns, named_any and namings[0].probability >= model.determinable_at)


class _Column:
    """Forward and backward sums over one column. State p: the last position named so far; m stands for "none yet"."""

    def __init__(
        self, spine: Spine, log_prior: float, scores: np.ndarray, model: AssignmentModel, skip: np.ndarray | None
    ) -> None:
        self.spine = spine
        names = (*spine.presacral, Level.S1)
        self.classes = np.array([_INDEX[level] for level in names])
        self.names = names
        self.emission = scores[:, self.classes] + np.log1p(-model.false)
        # A false detection looks like nothing in particular: the mean likelihood over all classes.
        self.left_out = np.logaddexp.reduce(scores, axis=1) - np.log(scores.shape[1]) + np.log(model.false)
        self.log_prior = log_prior
        m, n = len(names), len(scores)
        gap = np.arange(m)[None, :] - np.arange(m)[:, None]
        plain = np.where(gap >= 1, (gap - 1) * np.log(model.missed) + np.log1p(-model.missed), -np.inf)
        self.steps = [plain] * max(n - 1, 0)
        if skip is not None:
            steps = []
            for row in np.asarray(skip, dtype=np.float64):
                by_gap = row[np.clip(gap - 1, 0, 3)] + np.where(gap > 4, (gap - 4) * np.log(model.missed), 0.0)
                steps.append(np.where(gap >= 1, by_gap, -np.inf))
            self.steps = steps
        self.plain = plain
        self.m, self.n = m, n
        # fresh[i, p]: the i-th detection is position p. idle[i, p]: it is false and the last named one is p (m: none).
        self._forward()
        self._backward()

    def _forward(self) -> None:
        m, n = self.m, self.n
        self.fresh = np.full((n, m), -np.inf)
        self.idle = np.full((n, m + 1), -np.inf)
        start = np.full(m, self.log_prior - np.log(m))
        for i in range(n):
            if i == 0:
                arrive, stay = start, np.append(np.full(m, -np.inf), self.log_prior)
            else:
                before = self.idle[i - 1]
                arrive = np.logaddexp(
                    _sum_over(self.fresh[i - 1][:, None] + self.steps[i - 1]),
                    np.logaddexp(_sum_over(before[:m, None] + self.plain), before[m] - np.log(m)),
                )
                stay = np.append(np.logaddexp(self.fresh[i - 1], before[:m]), before[m])
            self.fresh[i] = arrive + self.emission[i]
            self.idle[i] = stay + self.left_out[i]
        self.evidence = float(np.logaddexp.reduce(np.concatenate([self.fresh[-1], self.idle[-1]])))

    def _backward(self) -> None:
        m, n = self.m, self.n
        self.after_fresh = np.zeros((n, m))
        self.after_idle = np.zeros((n, m + 1))
        for i in range(n - 2, -1, -1):
            ahead = self.emission[i + 1] + self.after_fresh[i + 1]
            rest = self.left_out[i + 1] + self.after_idle[i + 1]
            self.after_fresh[i] = np.logaddexp(_sum_over((self.steps[i] + ahead[None, :]).T), rest[:m])
            self.after_idle[i, :m] = np.logaddexp(_sum_over((self.plain + ahead[None, :]).T), rest[:m])
            self.after_idle[i, m] = np.logaddexp(np.logaddexp.reduce(ahead) - np.log(m), rest[m])

    def posterior(self) -> np.ndarray:
        """(n, m) log joint weight of each detection being each position."""
        return self.fresh + self.after_fresh

    def likeliest(self, keep: int) -> list[tuple[tuple[Level | None, ...], float]]:
        """The `keep` likeliest namings in this column, with their log joint weights (k-best Viterbi)."""
        m, n = self.m, self.n
        # Beams: row p < m "this detection is position p", rows m … 2m "it is false, the last named is p" (2m: none).
        weights = np.full((2 * m + 1, keep), -np.inf)
        weights[:m, 0] = self.log_prior - np.log(m) + self.emission[0]
        weights[2 * m, 0] = self.log_prior + self.left_out[0]
        origins: list[np.ndarray] = []
        for i in range(1, n):
            move = np.vstack([self.steps[i - 1], self.plain, np.full((1, m), -np.log(m))])
            arrive = (weights[:, :, None] + move[:, None, :]).reshape(-1, m) + self.emission[i]
            best = np.argsort(-arrive, axis=0, kind="stable")[:keep]
            fresh, fresh_from = np.take_along_axis(arrive, best, axis=0).T, best.T
            stay = np.hstack([np.vstack([weights[:m], np.full((1, keep), -np.inf)]), weights[m:]]) + self.left_out[i]
            rows = np.append(np.arange(m), 2 * m)[:, None] * keep + np.arange(keep)
            came = np.hstack([rows, np.arange(m, 2 * m + 1)[:, None] * keep + np.arange(keep)])
            best = np.argsort(-stay, axis=1, kind="stable")[:, :keep]
            origins.append(np.vstack([fresh_from, np.take_along_axis(came, best, axis=1)]))
            weights = np.vstack([fresh, np.take_along_axis(stay, best, axis=1)])
        found = []
        for end in np.argsort(-weights, axis=None, kind="stable")[:keep]:
            weight, at, path = float(weights.flat[end]), int(end), []
            for origin in (*reversed(origins), None):
                state = at // keep
                path.append(self.names[state] if state < m else None)
                at = int(origin.flat[at]) if origin is not None else at
            if np.isfinite(weight):
                found.append((tuple(reversed(path)), weight))
        return found


def _sum_over(table: np.ndarray) -> np.ndarray:
    """log-sum-exp over the first axis, with -inf columns kept."""
    top = table.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(top), safe + np.log(np.exp(table - safe).sum(axis=0)), -np.inf)


def _check(scores: np.ndarray, skip: np.ndarray | None) -> None:
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] != len(CLASSES):
        raise LevelError(
            f"shape {scores.shape} instead of (n >= 1, {len(CLASSES)})",
            field="log_likelihood",
            cure="give one row per detection and one column per entry of CLASSES",
        )
    if not np.isfinite(scores).all():
        raise LevelError("values that are not finite", field="log_likelihood", cure="put a floor under probabilities")
    if skip is not None and np.shape(skip) != (len(scores) - 1, 4):
        raise LevelError(
            f"shape {np.shape(skip)} instead of {(len(scores) - 1, 4)}",
            field="skip",
            cure="give four log-weights between each two neighbouring detections",
        )
