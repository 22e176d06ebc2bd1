"""How the walks run a command: it is printed as you would type it, then run as a child process.

Convention: `spinemed ...` is printed, and `python -m spinemed ...` with the Python of the walk is run, so that a walk
also works where the command is not on the path. A command that fails ends the walk, and its line is said again.

Trap: a printed line quotes what a shell would take apart; copy it whole, with its backslashes.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["child", "heading", "printed", "spinemed"]


def heading(text: str) -> None:
    """Say what the next commands are for."""
    print(f"\n# {text}", flush=True)


def printed(*words: str | Path) -> str:
    """The line as one types it, one `--set` a line where there are many."""
    line = shlex.join(["spinemed", *map(str, words)])
    return line.replace(" --set ", " \\\n    --set ") if line.count(" --set ") > 1 else line


def child(*words: str | Path, stdin: int | None = None, stdout: int | None = None) -> subprocess.Popen[str]:
    """Print the line and start it; the caller waits for it."""
    print(f"$ {printed(*words)}", flush=True)
    line = [sys.executable, "-m", "spinemed", *map(str, words)]
    return subprocess.Popen(line, stdin=stdin, stdout=stdout, text=True)


def spinemed(*words: str | Path) -> None:
    """Print the line, run it and wait; whatever fails ends the walk with that line."""
    began = time.monotonic()
    code = child(*words).wait()
    if code:
        raise SystemExit(f"\nended with exit code {code}:\n$ {printed(*words)}")
    print(f"({time.monotonic() - began:.1f} s)", flush=True)
