"""Answers with tools when no served model is at hand: the caller by rule, served here and asked like a model.

Convention: `spinemed bench caller` is started on a free port, asked by `spinemed bench run`, and ended.

Trap: it is no model. It reads a question's words and the tools' replies, and shows that the road works.
"""

from __future__ import annotations

import subprocess
import sys

from spinemed.errors import RunError
from spinemed.workflows.case.config import CaseConfig
from spinemed.workflows.case.places import Places

__all__ = ["NAME", "answer_by_rule", "answers_only"]

NAME = "caller-by-rule"
"""How the stand-in is called in tables and on the page."""


def answers_only(places: Places) -> tuple[str, ...]:
    """The option that keeps answers from being scored, wherever nobody knows the truth."""
    return () if places.truth.is_file() else ("--answers-only",)


def answer_by_rule(places: Places, config: CaseConfig) -> None:
    """Ask the stand-in the questions on named vertebrae.

    Raises:
        RunError: It did not start, or the run failed; its own message stands above.
    """
    spinemed = [sys.executable, "-P", "-m", "spinemed"]
    with subprocess.Popen([*spinemed, "bench", "caller"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            _, told, url = said.strip().partition("listening: ")
            if not told:
                raise RunError(
                    "the caller by rule did not start", file=places.named, cure="run `spinemed bench caller` by hand"
                )
            asked = [
                *("bench", "run", str(places.named.parent / "named.yaml"), "--url", url, "--served-model", NAME),
                *("--out", str(places.served), *answers_only(places)),
            ]
            code = subprocess.run([*spinemed, *asked], check=False, stdout=sys.stderr).returncode
        finally:
            server.terminate()
    if code:
        raise RunError(
            f"the caller by rule was not asked to the end (exit code {code})", file=places.served,
            cure="mend what the message above names and start the same command again",
        )  # fmt: skip
