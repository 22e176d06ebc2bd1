"""The picture of what tools add, from runs of `spinemed bench tools`. Look at it before committing.

    python -P benchmarks/pictures_tools.py runs/acceptance/bench_tools/outputs/gain-rules.json

Writes `benchmarks/pictures/tools.png`; several files stand side by side. Without -P, `bench.py` of this folder would be
found instead of the package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.assisted.figure import draw_gain

HERE = Path(__file__).resolve().parent / "pictures"


def main() -> None:
    """Draw the gains of the files named on the command line."""
    if len(sys.argv) < 2:
        sys.exit("name one or more gain-NAME.json")
    HERE.mkdir(exist_ok=True)
    draw_gain([json.loads(Path(name).read_bytes()) for name in sys.argv[1:]], HERE / "tools.png")


if __name__ == "__main__":
    main()
