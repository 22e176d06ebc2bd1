"""Damage that fits any file: bits, lengths, pieces; and damage to text, JSON values and XML trees.

Convention: every function takes the generator first and returns the new content with a phrase that says what was done.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from engine import Input, Seed

Generator = np.random.Generator

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "0",
    "-0.0",
    "9" * 400,
    "9" * 5000,
    "1e400",
    "1e-400",
    "4294967296",
    "2147483648",
    "18446744073709551616",
    "0x10",
    "²",
    "٣",
    "1_000",
    "+5",
    "1e5",
    ".5",
    "",
    " ",
    "true",
    "null",
)
"""What stands where a number belongs."""
STRINGS = (
    "",
    " ",
    "\x00",
    "\x1b[31m",
    "é" * 300,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "../../x",
    "/etc/passwd",
    "a" * 70000,
    "L5",
    "C1",
    "²",
    "{{7*7}}",
    "%s%n",
    "\u202e",
    "NaN",
    "__class__",
    "\ufeff",
    "<b>",
    "=1+1",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    10**30,
    1e308,
    -1e308,
    0.5,
    [],
    {},
    [[]],
    [None],
    {"": None},
    float("nan"),
    float("inf"),
    [0] * 300,
    {"a": {"b": [1]}},
    *STRINGS,
)


def pick(rng: Generator, items: Any) -> Any:
    """One of some items."""
    return items[int(rng.integers(len(items)))]


# --- bytes -----------------------------------------------------------------------------------------------------------


def _flip(rng: Generator, data: bytes) -> tuple[bytes, str]:
    changed, number = bytearray(data), int(2 ** rng.integers(0, 7))
    for place in rng.integers(0, max(1, len(data)), size=number):
        if changed:
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed), f"{number} bits flipped"


def _cut(rng: Generator, data: bytes) -> tuple[bytes, str]:
    end = int(rng.integers(0, len(data) + 1))
    return data[:end], f"cut at {end}"


def _remove(rng: Generator, data: bytes) -> tuple[bytes, str]:
    start, size = int(rng.integers(0, len(data) + 1)), int(2 ** rng.integers(0, 12))
    return data[:start] + data[start + size :], f"{size} bytes removed at {start}"


def _repeat(rng: Generator, data: bytes) -> tuple[bytes, str]:
    start, size = int(rng.integers(0, len(data) + 1)), int(2 ** rng.integers(0, 12))
    times = int(rng.integers(1, 9))
    return data[:start] + data[start : start + size] * times + data[start:], f"{size} bytes at {start} {times} times"


def _fill(rng: Generator, data: bytes) -> tuple[bytes, str]:
    start, size, value = (
        int(rng.integers(0, len(data) + 1)),
        int(2 ** rng.integers(0, 10)),
        int(pick(rng, (0, 255, 65))),
    )
    size = min(size, len(data) - start)
    return data[:start] + bytes([value]) * size + data[start + size :], f"{size} bytes at {start} set to {value}"


_LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def _length(rng: Generator, data: bytes) -> tuple[bytes, str]:
    size, order = int(pick(rng, (1, 2, 4, 8))), str(pick(rng, ("<", ">")))
    if len(data) < size:
        return data, "nothing"
    # Lengths stand mostly in the first kilobytes or in the last.
    near = int(pick(rng, (64, 512, 4096, len(data))))
    start = int(rng.integers(0, min(near, len(data) - size) + 1))
    if rng.random() < 0.3:
        start = len(data) - size - start
    value = int(pick(rng, _LENGTHS)) & (256**size - 1)
    number = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], value)
    return data[:start] + number + data[start + size :], f"{value:#x} in {size} bytes at {start}"


def _swap(rng: Generator, data: bytes) -> tuple[bytes, str]:
    size = int(2 ** rng.integers(2, 10))
    one, other = sorted(int(p) for p in rng.integers(0, len(data) + 1, size=2))
    if other - one < size:
        return data, "nothing"
    moved = data[:one] + data[other : other + size] + data[one + size : other] + data[one : one + size]
    return moved + data[other + size :], f"{size} bytes at {one} and {other} swapped"


def _noise(rng: Generator, data: bytes) -> tuple[bytes, str]:
    start, size = int(rng.integers(0, len(data) + 1)), int(2 ** rng.integers(0, 9))
    return data[:start] + rng.bytes(size) + data[start + size :], f"{size} bytes of noise at {start}"


BYTES: tuple[Callable[[Generator, bytes], tuple[bytes, str]], ...] = (
    _flip,
    _flip,
    _cut,
    _remove,
    _repeat,
    _fill,
    _length,
    _length,
    _swap,
    _noise,
)


def damage_bytes(rng: Generator, data: bytes, *others: bytes) -> tuple[bytes, str]:
    """One to three kinds of damage; sometimes spliced with another file first."""
    told = []
    if others and rng.random() < 0.1:
        other, at = pick(rng, others), float(rng.random())
        data, done = data[: int(at * len(data))] + other[int(at * len(other)) :], "spliced with another file"
        told.append(done)
    for _ in range(int(rng.integers(1, 4))):
        data, done = pick(rng, BYTES)(rng, data)
        told.append(done)
    return data, "; ".join(told)


def any_bytes(rng: Generator, seeds: list[Seed]) -> Input:
    """An input from any seed with damaged bytes."""
    seed = pick(rng, seeds)
    data, how = damage_bytes(rng, seed.data, *(other.data for other in seeds))
    return Input(seed, data, how)


# --- text ------------------------------------------------------------------------------------------------------------


def damage_text(rng: Generator, data: bytes) -> tuple[bytes, str]:
    """Numbers, lines, cells, encodings."""
    text = data.decode("utf-8", "replace")
    kind = int(rng.integers(12))
    lines = text.split("\n")
    place = int(rng.integers(len(lines)))
    line = lines[place]
    if kind <= 3:  # a number becomes another
        words = _words(line)
        numbers = [i for i, word in enumerate(words) if word[:1].isdigit()]
        if numbers:
            words[pick(rng, numbers)] = value = str(pick(rng, NUMBERS))
            lines[place], how = "".join(words), f"line {place + 1}: a number becomes {value[:20]!r}"
        else:
            lines[place], how = line + str(pick(rng, STRINGS)), f"line {place + 1}: text added"
    elif kind == 4:
        lines.pop(place)
        how = f"line {place + 1} removed"
    elif kind == 5:
        lines[place:place] = [line] * int(pick(rng, (1, 2, 100)))
        how = f"line {place + 1} repeated"
    elif kind == 6:
        other = int(rng.integers(len(lines)))
        lines[place], lines[other] = lines[other], lines[place]
        how = f"lines {place + 1} and {other + 1} swapped"
    elif kind == 7:
        signs = str(pick(rng, ("\t", ",", ";", '"', "'", "\r", "\x00", "\u2028", "{", "[", "&", "*", ":", "<", "\x85")))
        at = int(rng.integers(len(line) + 1))
        lines[place], how = line[:at] + signs + line[at:], f"line {place + 1}: {signs!r} put in"
    elif kind == 8:
        words = _words(line)
        words.pop(int(rng.integers(len(words)))) if words else None
        lines[place], how = "".join(words), f"line {place + 1}: a word removed"
    elif kind == 9:
        words = _words(line)
        if words:
            words[int(rng.integers(len(words)))] = str(pick(rng, STRINGS))
        lines[place], how = "".join(words), f"line {place + 1}: a word replaced"
    elif kind == 10:
        code = str(pick(rng, ("utf-16", "utf-8-sig", "utf-32", "cp037")))
        return text.encode(code, "replace"), f"written as {code}"
    else:
        return damage_bytes(rng, data)
    return "\n".join(lines).encode("utf-8", "replace"), how


def _words(line: str) -> list[str]:
    """Runs of letters, digits, others; joined they give the line."""
    words: list[str] = []
    before = ""
    for sign in line:
        kind = "n" if sign.isdigit() or sign in ".-+" else "w" if sign.isalpha() or sign == "_" else sign
        if words and kind == before:
            words[-1] += sign
        else:
            words.append(sign)
        before = kind
    return words


def any_text(rng: Generator, seeds: list[Seed]) -> Input:
    """An input from any seed with damaged text, once to three times."""
    seed = pick(rng, seeds)
    data, told = seed.data, []
    for _ in range(int(rng.integers(1, 4))):
        data, how = damage_text(rng, data)
        told.append(how)
    return Input(seed, data, "; ".join(told))


# --- values ----------------------------------------------------------------------------------------------------------


def damage_value(rng: Generator, value: Any) -> tuple[Any, str]:
    """A copy of a JSON value in which one place holds what it should not."""
    value = copy.deepcopy(value)
    parents: list[tuple[Any, Any]] = []

    def walk(one: Any) -> None:
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, inner in items:
            parents.append((one, key))
            walk(inner)

    walk(value)
    if not parents:
        return pick(rng, VALUES), "another value"
    parent, key = pick(rng, parents)
    kind = int(rng.integers(6))
    if kind <= 2:
        parent[key] = new = copy.deepcopy(pick(rng, VALUES))
        return value, f"{key!r} becomes {str(new)[:20]!r}"
    if kind == 3:
        parent.pop(key)
        return value, f"{key!r} removed"
    if kind == 4:
        if isinstance(parent, dict):
            parent[str(pick(rng, STRINGS))] = parent.pop(key)
            return value, f"{key!r} renamed"
        parent.extend([parent[key]] * int(pick(rng, (1, 2, 50))))
        return value, f"item {key} repeated"
    other_parent, other_key = pick(rng, parents)
    parent[key] = copy.deepcopy(other_parent[other_key]) if other_key in _keys(other_parent) else None
    return value, f"{key!r} takes the value of {other_key!r}"


def _keys(parent: Any) -> Any:
    return parent if isinstance(parent, dict) else range(len(parent))


def deep(rng: Generator, data: bytes) -> tuple[bytes, str]:
    """JSON or YAML that nests deeply."""
    depth = int(pick(rng, (200, 900, 5000, 100_000)))
    opening, closing = pick(rng, (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    middle = str(pick(rng, ("1", "", "null")))
    end = closing * depth if rng.random() < 0.7 else ""
    return (opening * depth + middle + end).encode(), f"nested {depth} times by {opening}"


def any_json(rng: Generator, seeds: list[Seed]) -> Input:
    """A JSON file (or one of JSON lines) with a damaged value, damaged text, or deep nesting."""
    seed = pick(rng, seeds)
    way = rng.random()
    if way < 0.1:
        data, how = deep(rng, seed.data)
        if seed.name.endswith(".jsonl"):
            lines = seed.data.splitlines()
            lines[int(rng.integers(len(lines)))] = data
            data = b"\n".join(lines) + b"\n"
        return Input(seed, data, how)
    if way < 0.35:
        return any_text(rng, [seed])
    told, lined = [], seed.name.endswith(".jsonl")
    values = [json.loads(line) for line in seed.data.splitlines()] if lined else [json.loads(seed.data)]
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(values)))
        values[place], how = damage_value(rng, values[place])
        told.append(how)
    if lined:
        return Input(seed, b"".join(json.dumps(v).encode() + b"\n" for v in values), "; ".join(told))
    return Input(seed, json.dumps(values[0]).encode(), "; ".join(told))
