"""One stage of a workflow, as `python -m spinemed.workflows.child ARGUMENTS`: the command line, ending with its parent.

Convention: the parent holds the other end of standard input, a pipe that it never writes to. When the parent is gone,
however it ended, the pipe closes, and this process ends as if it had been killed; what it had finished is kept.

Trap: without this a killed quickstart leaves its stage at work, which holds the run folder against the next start.
"""

from __future__ import annotations

import os
import threading

__all__ = ["end_with_parent"]

_STDIN = 0


def end_with_parent() -> None:
    """Watch standard input, and end this process when it closes."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(_STDIN, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    from spinemed.cli import main

    end_with_parent()
    main()
