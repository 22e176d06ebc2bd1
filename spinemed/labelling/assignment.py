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
    # Counts as they occur in VerSe's scans rather than in people at large (some 2 % and 6 %): of 374 scans it labels a
    # sixth lumbar vertebra in 47 and a thirteenth thoracic one in 6. Independent shares per region, rounded, the sixth
    # lumbar vertebra between the two populations; the default of our phantoms' generator is the same.
    thoracic = {11: 0.02, 12: 0.964, 13: 0.016}
    lumbar = {4: 0.04, 5: 0.88, 6: 0.08}
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
        unnamed: np.ndarray = 1.0 - self.marginals.sum(axis=1)
        return unnamed


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
    log_likelihood: np.ndarray,
    model: AssignmentModel | None = None,
    *,
    keep: int = 5,
    skip: np.ndarray | None = None,
    nothing: np.ndarray | None = None,
) -> Assignments:
    """The posterior over namings of a row of detections.

    For one column with names l_0 … l_m and detections 1 … n the joint weight of positions p_1 < … < p_n is
    Π exp(LL[i, l_{p_i}]) · (1 - false) · missed^(gaps), with `false` · (likelihood of no vertebra) for a detection left
    out; the first position is uniform over the column and nothing is charged beyond the last (ends outside the field).

    Args:
        log_likelihood: (n, len(CLASSES)), n >= 1, finite.
        model: Priors; :class:`AssignmentModel` when None.
        keep: How many namings to return at most.
        skip: Optional (n, n, 4); [i, j] for i < j holds the log-weights for 0, 1, 2, 3+ vertebrae missed between
            detections i and j (from their distance) where those between them are false. Replaces missed^gaps.
        nothing: Optional (n,) log-likelihood of what was seen if there is no vertebra; the mean likelihood over all
            classes when None, for then it looks like nothing in particular.

    Raises:
        LevelError: for a wrong shape or values that are not finite.
    """
    model = model or AssignmentModel()
    scores = np.asarray(log_likelihood, dtype=np.float64)
    _check(scores, skip, nothing)
    if nothing is None:
        nothing = np.logaddexp.reduce(scores, axis=1) - np.log(scores.shape[1])
    total = sum(model.columns.values())
    pieces = []
    for (thoracic, lumbar), weight in sorted(model.columns.items()):
        if weight > 0:
            pieces.append(_Column(Spine(thoracic, lumbar), np.log(weight / total), scores, model, skip, nothing))
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
    """Forward and backward sums over one column. The state after detection i is its position, if it is a vertebra."""

    def __init__(
        self,
        spine: Spine,
        log_prior: float,
        scores: np.ndarray,
        model: AssignmentModel,
        skip: np.ndarray | None,
        nothing: np.ndarray,
    ) -> None:
        self.spine = spine
        names = (*spine.presacral, Level.S1)
        self.classes = np.array([_INDEX[level] for level in names])
        self.names = names
        self.emission = scores[:, self.classes] + np.log1p(-model.false)
        # left[i]: detections 0 … i - 1 are all false.
        self.left = np.concatenate([[0.0], np.cumsum(nothing + np.log(model.false))])
        self.m, self.n = len(names), len(scores)
        self.start = log_prior - np.log(self.m)
        gap = np.arange(self.m)[None, :] - np.arange(self.m)[:, None]
        log_missed = np.log(model.missed)
        if skip is None:
            plain = np.where(gap >= 1, (gap - 1) * log_missed + np.log1p(-model.missed), -np.inf)
            table = np.broadcast_to(plain, (self.n, self.n, self.m, self.m))
        else:
            far = np.where(gap > 4, (gap - 4) * log_missed, 0.0)
            table = np.asarray(skip, dtype=np.float64)[:, :, np.clip(gap - 1, 0, 3)] + far
            table = np.where(gap >= 1, table, -np.inf)
        # steps[i, j, p, q]: from detection i at position p to detection j at q, those between them false.
        between = self.left[None, :-1] - self.left[1:, None]
        self.steps = table + between[:, :, None, None]
        self._forward()
        self._backward()
        ends = self.fresh + (self.left[-1] - self.left[1:])[:, None]
        self.evidence = float(np.logaddexp(np.logaddexp.reduce(ends, axis=None), log_prior + self.left[-1]))
        self.nobody = log_prior + self.left[-1]

    def _forward(self) -> None:
        self.fresh = np.empty((self.n, self.m))
        for j in range(self.n):
            arrive = np.full(self.m, self.start + self.left[j])
            if j:
                came = self.fresh[:j, :, None] + self.steps[:j, j]
                arrive = np.logaddexp(arrive, _sum_over(came.reshape(-1, self.m)))
            self.fresh[j] = arrive + self.emission[j]

    def _backward(self) -> None:
        self.after = np.empty((self.n, self.m))
        for i in range(self.n - 1, -1, -1):
            end = np.full(self.m, self.left[-1] - self.left[i + 1])
            if i < self.n - 1:
                ahead = (self.emission[i + 1 :] + self.after[i + 1 :])[:, None, :] + self.steps[i, i + 1 :]
                end = np.logaddexp(end, _sum_over(ahead.transpose(0, 2, 1).reshape(-1, self.m)))
            self.after[i] = end

    def posterior(self) -> np.ndarray:
        """(n, m) log joint weight of each detection being each position."""
        return self.fresh + self.after

    def likeliest(self, keep: int) -> list[tuple[tuple[Level | None, ...], float]]:
        """The `keep` likeliest namings in this column, with their log joint weights (k-best Viterbi)."""
        m, n = self.m, self.n
        weights = np.full((n, m, keep), -np.inf)
        origins = np.full((n, m, keep), -1)  # flat place in `weights` of what came before; -1: nothing did
        for j in range(n):
            came = np.full((1, m), self.start + self.left[j])
            if j:
                steps = (weights[:j, :, :, None] + self.steps[:j, j, :, None, :]).reshape(-1, m)
                came = np.vstack([steps, came])
            best = _largest(came.T, keep)
            kept = np.take_along_axis(came.T, best, axis=1) + self.emission[j][:, None]
            weights[j, :, : kept.shape[1]] = kept
            origins[j, :, : kept.shape[1]] = np.where(best == len(came) - 1, -1, best)
        ends = (weights + (self.left[-1] - self.left[1:])[:, None, None]).ravel()
        ends = np.append(ends, self.nobody)
        found = []
        for end in _largest(ends[None], keep)[0]:
            path: list[Level | None] = [None] * n
            at = int(end) if end < n * m * keep else -1
            while at >= 0:
                path[at // (m * keep)] = self.names[at // keep % m]
                at = int(origins.flat[at])
            if np.isfinite(ends[end]):
                found.append((tuple(path), float(ends[end])))
        return found


def _largest(rows: np.ndarray, keep: int) -> np.ndarray:
    """Indices of the `keep` largest of each row, largest first; the earlier one first among equals that are kept."""
    if rows.shape[1] > keep:
        some = np.sort(np.argpartition(-rows, keep - 1, axis=1)[:, :keep], axis=1)
    else:
        some = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
    order = np.argsort(-np.take_along_axis(rows, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _sum_over(table: np.ndarray) -> np.ndarray:
    """log-sum-exp over the first axis, with -inf columns kept."""
    top = table.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(np.isfinite(top), safe + np.log(np.exp(table - safe).sum(axis=0)), -np.inf)


def _check(scores: np.ndarray, skip: np.ndarray | None, nothing: np.ndarray | None) -> None:
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] != len(CLASSES):
        raise LevelError(
            f"shape {scores.shape} instead of (n >= 1, {len(CLASSES)})",
            field="log_likelihood",
            cure="give one row per detection and one column per entry of CLASSES",
        )
    if not np.isfinite(scores).all():
        raise LevelError("values that are not finite", field="log_likelihood", cure="put a floor under probabilities")
    n = len(scores)
    if skip is not None and np.shape(skip) != (n, n, 4):
        raise LevelError(
            f"shape {np.shape(skip)} instead of {(n, n, 4)}",
            field="skip",
            cure="give four log-weights between each two detections",
        )
    if nothing is not None and (np.shape(nothing) != (n,) or not np.isfinite(nothing).all()):
        raise LevelError(
            f"shape {np.shape(nothing)} instead of {(n,)}, or values that are not finite",
            field="nothing",
            cure="give one finite log-likelihood per detection",
        )
