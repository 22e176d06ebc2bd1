"""How an evaluation of motion is put into words and figures, once for the page and the terminal.

Convention: shares in percent with one decimal, millimetres and degrees with two, scores without unit with three; what
does not exist is a dash, never a zero.

Trap: a coverage is neither better high nor low: it is to be its nominal value.
"""

from __future__ import annotations

from bench.estimates import Estimate
from bench.motion.groups import GROUPS, REGION_ROWS
from bench.motion.metrics import Metric, metric, split_key
from bench.motion.records import ClipScore
from bench.wording import DASH, interval_text, value_text, with_interval_text

__all__ = [
    "DASH",
    "clip_words",
    "family_words",
    "group_title",
    "interval",
    "key_title",
    "short_title",
    "titled",
    "value",
    "with_interval",
]

_TITLES = {group.name: group.title for group in GROUPS}


def group_title(name: str, family: str = "points") -> str:
    """A group in words; "all" and regions are segments where angles are meant."""
    if family == "angles":
        return "all 25 segments" if name == "all" else f"{name} segments"
    return _TITLES.get(name, name if name not in REGION_ROWS else f"{name} segments")


def value(name: str, found: float | None) -> str:
    """A value in its unit's digits."""
    return value_text(found, metric(name).unit)


def interval(name: str, one: Estimate) -> str:
    """The interval, or why there is none."""
    return interval_text(one, metric(name).unit)


def with_interval(name: str, one: Estimate | None) -> str:
    """A mean with its interval, if it has one."""
    return with_interval_text(one, metric(name).unit)


def key_title(key: str) -> str:
    """ "spine/p_mpjpe_mm" in words."""
    group, found = split_key(key)
    return f"{group_title(group, found.family)}: {titled(found)}"


def short_title(key: str) -> str:
    """ "spine/p_mpjpe_mm" in the few words that a terminal has room for."""
    group, found = split_key(key)
    return f"{group}: {titled(found)}"


def titled(one: Metric) -> str:
    """A quantity with its unit."""
    return f"{one.title} ({one.unit})" if one.unit else one.title


def family_words(counts: dict[str, int]) -> str:
    """How much of what the reference gives was not predicted."""
    words = {"points": "points", "angles": "angles", "pictures": "points in pictures"}
    parts = [
        f"{counts[f'{name}_missed']:,} of {counts[f'{name}_labelled']:,} {title}"
        for name, title in words.items()
        if f"{name}_labelled" in counts
    ]
    return ", ".join(parts) if parts else "nothing was predicted"


def clip_words(clip: ClipScore) -> str:
    """One line about a clip."""
    shown = (
        ("spine/mpjpe_mm", "spine {} mm"), ("spine/p_mpjpe_mm", "P-MPJPE {} mm"),
        ("vertebrae/mpjpe_mm", "centroids {} mm"), ("all/angle_mae_deg", "angles {}°"), ("all/oks", "OKS {}"),
    )  # fmt: skip
    parts = [text.format(value(split_key(key)[1].name, clip.values[key])) for key, text in shown if key in clip.values]
    lost = clip.missed.get("points", 0)
    if lost:
        parts.append(f"{lost} of {clip.labelled['points']} points missed")
    return " · ".join([f"{clip.motion}, {clip.frames} frames", *parts])
