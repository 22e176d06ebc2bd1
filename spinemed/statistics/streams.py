"""One seed, many independent streams: each table row draws its own numbers.

Convention: the seed comes from a config; the key names what is computed. Equal seed and key give equal numbers on every
machine, and adding a row to a table changes no other row.

Trap: `hash()` of a string differs between processes, so keys go through SHA-256.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator_for"]


def generator_for(seed: int, *key: str) -> np.random.Generator:
    """A generator that depends on the seed and on every part of the key, and on nothing else.

    Args:
        seed: The seed of the run, 0 or more.
        key: Names of what is drawn, e.g. row, system, quantity.
    """
    digest = hashlib.sha256("\x1f".join(key).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])
