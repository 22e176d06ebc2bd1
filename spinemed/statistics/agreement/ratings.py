"""`Ratings`: who rated what as what, the common input of the categorical coefficients.

Convention: one row per unit (item, vertebra, report), one column per rater, a value or None (or NaN) where a rater did
not rate. Categories have an order; it matters only to weights and to the ordinal metric.

Trap: the scale is not what was seen. On a scale of five of which two grades were used, AC1 and every weight differ from
those on a scale of two; hand over `categories` wherever the scale is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.clusters import Clusters

__all__ = ["Ratings", "Table", "flaw_of", "numbers_of", "subset"]

Table = Sequence[Sequence[Any]]
"""Units x raters; None or NaN where there is no rating."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings as positions in a scale.

    Attributes:
        codes: Position of each rating in `categories`, -1 where there is none, shape (units, raters).
        categories: The scale, in order.
    """

    codes: NDArray[np.int64]
    categories: tuple[Any, ...]

    @classmethod
    def of(cls, table: Table, categories: Sequence[Any] | None = None) -> Ratings:
        """Read a table of ratings.

        Args:
            table: Units x raters; None or NaN where there is no rating.
            categories: The scale in its order; without it the values seen, sorted.

        Raises:
            ValueError: Rows of unequal length, a value outside the scale, a scale that names a category twice, or no
                scale for values that cannot be sorted.
        """
        rows = [tuple(None if _absent(value) else value for value in row) for row in table]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("every unit needs one column per rater; write None where a rater did not rate")
        if categories is None:
            try:
                scale = tuple(sorted({value for row in rows for value in row if value is not None}))
            except TypeError:
                raise ValueError("values of several types have no order; hand over `categories`") from None
        else:
            scale = tuple(categories)
        position = {value: number for number, value in enumerate(scale)}
        if len(position) != len(scale):
            raise ValueError(f"the scale {list(scale)} names a category twice")
        unknown = {repr(value) for row in rows for value in row if value is not None and value not in position}
        if unknown:
            raise ValueError(f"ratings {sorted(unknown)} are not of the scale {list(scale)}")
        codes = np.array([[-1 if value is None else position[value] for value in row] for row in rows], dtype=np.int64)
        return cls(codes.reshape(len(rows), len(rows[0]) if rows else 0), scale)

    @property
    def raters(self) -> int:
        """Raters who rated at least one unit."""
        return int((self.codes >= 0).any(axis=0).sum())

    @property
    def counts(self) -> NDArray[np.float64]:
        """How many raters chose each category of each unit, shape (units, categories)."""
        return (
            np.stack([(self.codes == number).sum(axis=1) for number in range(len(self.categories))], axis=1).astype(
                np.float64
            )
            if self.categories
            else np.zeros((len(self.codes), 0))
        )

    def flaw(self, fewest_raters: int = 2) -> str:
        """Why no coefficient exists (`no unit`, `one rater`, `no overlap`), or an empty text."""
        return _flaw((self.codes >= 0), fewest_raters)


def numbers_of(table: Table) -> NDArray[np.float64]:
    """Measurements as an array, NaN where there is none, shape (units, raters).

    Raises:
        ValueError: Rows of unequal length, or a value that is no finite number.
    """
    rows = [[np.nan if _absent(value) else float(value) for value in row] for row in table]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("every unit needs one column per rater; write None where a rater did not measure")
    array = np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    if np.isinf(array).any():
        raise ValueError("a measurement must be finite; write None where a rater did not measure")
    return array


def flaw_of(values: NDArray[np.float64]) -> str:
    """Why no coefficient exists for these measurements, or an empty text."""
    return _flaw(np.isfinite(values), 2)


def subset(clusters: Clusters, keep: NDArray[np.bool_]) -> Clusters:
    """The grouping of the units that are kept.

    Raises:
        ValueError: Not one flag per unit.
    """
    if keep.shape != (clusters.size,):
        raise ValueError(f"{keep.shape[0]} units need one cluster id each, found {clusters.size}")
    return Clusters.of([clusters.ids[number] for number in clusters.index[keep]])


def _flaw(rated: NDArray[np.bool_], fewest_raters: int) -> str:
    if not rated.any():
        return "no unit"
    if int(rated.any(axis=0).sum()) < fewest_raters:
        return "one rater"
    if int(rated.sum(axis=1).max()) < 2:
        return "no overlap"
    return ""


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
