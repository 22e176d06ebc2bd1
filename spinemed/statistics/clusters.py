"""`Clusters`: which questions share a spine, worked out once and used by every interval and test.

Convention: cluster ids are texts; their order is alphabetical, so the numbering does not depend on the order of rows.

Trap: ids must be derived from the patient or phantom, never from the picture: two slices of one spine are one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Clusters"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """The grouping of `n` questions into `count` clusters.

    Attributes:
        ids: The distinct cluster ids, sorted.
        index: For each question the position of its cluster in `ids`, shape (n,).
    """

    ids: tuple[str, ...]
    index: NDArray[np.int64]

    @classmethod
    def of(cls, cluster_ids: Sequence[str]) -> Clusters:
        """Derive the grouping from one cluster id per question. An empty sequence gives no clusters."""
        ids = tuple(sorted(set(cluster_ids)))
        position = {name: number for number, name in enumerate(ids)}
        return cls(ids, np.array([position[name] for name in cluster_ids], dtype=np.int64))

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.ids)

    @property
    def size(self) -> int:
        """Number of questions."""
        return int(self.index.shape[0])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Questions in each cluster, shape (count,)."""
        return np.bincount(self.index, minlength=self.count)

    @property
    def single(self) -> bool:
        """True when every cluster holds exactly one question, so that clustering changes nothing."""
        return self.count == self.size

    def sums(self, values: ArrayLike) -> NDArray[np.float64]:
        """Sum of the values in each cluster, shape (count,).

        Raises:
            ValueError: Not one value per question.
        """
        array = self.checked(values)
        return np.bincount(self.index, weights=array, minlength=self.count).astype(np.float64)

    def checked(self, values: ArrayLike) -> NDArray[np.float64]:
        """The values as floats, one per question.

        Raises:
            ValueError: Another shape, or a value that is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (self.size,):
            raise ValueError(f"{self.size} questions need values of shape ({self.size},), found {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError("values must be finite; leave a question out and count it instead")
        return array
