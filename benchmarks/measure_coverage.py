"""How much of each package the tests run, against the bounds that are promised, and the row of it on the page.

    python benchmarks/measure_coverage.py                 # the tests of `make test`
    python benchmarks/measure_coverage.py --acceptance    # both tiers together; hours
    python benchmarks/measure_coverage.py --report        # only read again what was measured last

Convention: lines, child processes included. Left out are compiled functions, which no tracer sees (each is compared
with a plain twin in its test), and type-only imports; `[tool.coverage]` in `pyproject.toml` says which.

Trap: a child of the sandbox may write nothing, so what it runs is not counted; `tests/data_pipeline/
test_sandbox_same.py` reads the same files without it. Tracing makes the tests about half as long again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from results import FIGURES, PAGE, ROOT, record, render

# What each package owes, in per cent of its lines.
BOUNDS = {"spinemed": 90.0, "bench": 90.0, "data_pipeline": 90.0, "train": 80.0}


def run_tests(*options: str) -> int:
    """One tier of the tests with tracing; its exit status."""
    line = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "--cov", "--cov-report=", *options]
    quiet = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    settings = {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml")}
    return subprocess.run(line, cwd=ROOT, env={**os.environ, **quiet, **settings}, check=False).returncode


def read_shares() -> dict[str, float]:
    """Per cent of lines run, by package, as `coverage report` gives them."""
    shares = {}
    for package in BOUNDS:
        said = subprocess.run(
            [sys.executable, "-m", "coverage", "report", f"--include={package}/*", "--format=total", "--precision=1"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise SystemExit(f"nothing measured: {said.stdout.strip() or said.stderr.strip()}")
        shares[package] = float(said.stdout)
    return shares


def main() -> int:
    """Measure, record, and tell what is below its bound; exit status 1 where something is, or a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acceptance", action="store_true", help="run the acceptance tier as well")
    parser.add_argument("--report", action="store_true", help="run nothing; read the last measurement")
    asked = parser.parse_args()
    failed = 0
    if not asked.report:
        failed = run_tests()
        if asked.acceptance:
            failed |= run_tests("-m", "acceptance", "--cov-append")
    shares = read_shares()
    tiers = "both tiers" if asked.acceptance else "`make test` alone"
    for package, share in shares.items():
        print(f"{package:14} {share:5.1f} %  (bound {BOUNDS[package]:.0f} %)")
    if not asked.report:
        record(
            "One product",
            60,
            "lines that the tests run",
            asked="≥ 90 % of spinemed, bench and data_pipeline, ≥ 80 % of train",
            measured=", ".join(f"{package} {share:.1f} %" for package, share in shares.items()),
            met=all(share >= BOUNDS[package] for package, share in shares.items()),
            command="make coverage",
            note=f"{tiers}; compiled functions, which no tracer sees, left out",
        )
        PAGE.write_text(render(), encoding="utf-8")
        print(f"recorded under {FIGURES.relative_to(ROOT)}")
    return 1 if failed or any(share < BOUNDS[package] for package, share in shares.items()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
