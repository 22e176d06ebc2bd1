"""`python -m spinemed.workflows.case.page RUN`: write the page of a run folder again.

Convention: one argument, the run folder; the page's path is printed.

Trap: it reads what lies there and runs no step.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spinemed.errors import EXIT_CODE, SpineMedError
from spinemed.workflows.case.page import write_page
from spinemed.workflows.case.places import Places


def main(arguments: list[str]) -> int:
    """Write the page of the folder that is named."""
    if len(arguments) != 1:
        print("usage: python -m spinemed.workflows.case.page RUN", file=sys.stderr)
        return EXIT_CODE
    try:
        print(write_page(Places(Path(arguments[0]).resolve())))
    except SpineMedError as error:
        print(f"spinemed: {error}", file=sys.stderr)
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
