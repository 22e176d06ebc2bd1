"""Damaged files for every reader: `python tests/hardening/fuzz READER ... [--count N] [--seed S] [--out DIR]`.

One input again, in this process and with its traceback: `python tests/hardening/fuzz READER --only N`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import engine

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = ("imaging", "documents", "clips", "contracts", "settings")


def targets() -> dict[str, engine.Target]:
    """All readers by name."""
    return {one.name: one for family in FAMILIES for one in importlib.import_module(family).TARGETS}


def main() -> int:
    """Run and report as one JSON line per reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="+", help="names, or `all`; `list` prints them")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--only", type=int, default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    known = targets()
    if given.readers == ["list"]:
        print("\n".join(known))
        return 0
    out = given.out or Path(tempfile.mkdtemp(prefix="fuzz-"))
    names = list(known) if given.readers == ["all"] else given.readers
    if given.only is not None:
        return again(known[names[0]], out, given.seed, given.only)
    faults = 0
    for name in names:
        report = engine.run(known[name], ROOT / "samples", out, seed=given.seed, first=given.first, count=given.count)
        faults += len(report.faults)
        print(json.dumps(engine.describe(report)), flush=True)
    return 1 if faults else 0


def again(target: engine.Target, out: Path, seed: int, number: int) -> int:
    """One input, unprotected."""
    one = engine.make(target, target.seeds(ROOT / "samples"), seed, number)
    box = out / target.name / "box"
    box.mkdir(parents=True, exist_ok=True)
    file = box / one.seed.name
    file.write_bytes(one.data)
    print(f"{file}: {one.how}", flush=True)
    print(target.read(file, one))
    return 0


if __name__ == "__main__":
    sys.exit(main())
