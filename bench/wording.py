"""How values and their intervals are written, once for all benchmarks, pages and terminals.

Convention: a unit decides the digits: shares ("%") in percent with one decimal, coefficients ("") with three, all else
with two; what does not exist is a dash, never a zero.

Trap: a unit of "%" means a share that is shown times 100; a quantity that already is in percent has another unit text.
"""

from __future__ import annotations

from bench.estimates import Estimate

__all__ = ["DASH", "cell", "interval_text", "value_text", "with_interval_text"]

DASH = "-"


def value_text(found: float | None, unit: str) -> str:
    """A value in its unit's digits."""
    if found is None:
        return DASH
    return f"{100 * found:.1f}" if unit == "%" else f"{found:.3f}" if not unit else f"{found:.2f}"


def interval_text(one: Estimate, unit: str) -> str:
    """The interval, or why there is none."""
    if one.low is None or one.high is None:
        return f"no interval: {one.method}" if one.n else "no value"
    return f"{value_text(one.low, unit)} to {value_text(one.high, unit)}"


def with_interval_text(one: Estimate | None, unit: str) -> str:
    """A mean with its interval, if it has one."""
    if one is None or one.value is None:
        return DASH
    bounded = one.low is not None and one.high is not None
    bounds = f" ({value_text(one.low, unit)} to {value_text(one.high, unit)})" if bounded else ""
    return f"{value_text(one.value, unit)}{bounds}"


def cell(one: Estimate | None, unit: str) -> dict[str, str]:
    """A mean and its bounds for a table of a page; no bounds where there is no interval."""
    if one is None or one.value is None:
        return {"value": DASH, "bounds": ""}
    return {"value": value_text(one.value, unit), "bounds": "" if one.low is None else interval_text(one, unit)}
