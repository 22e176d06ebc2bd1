"""Native code in a child process: an answer belongs to its job, whatever came between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spinemed.native import _Child


@pytest.mark.parametrize("what", [KeyboardInterrupt, MemoryError])
def test_a_job_that_was_interrupted_leaves_no_answer_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: type[BaseException]
) -> None:
    (tmp_path / "echo_job.py").write_text("def echo(content):\n    return {'said': content.decode()}, []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    child = _Child()
    try:
        assert child.ask("echo_job:echo", b"first")[0] == {"said": "first"}

        def interrupted(size: int, until: float) -> Any:
            raise what

        monkeypatch.setattr(child, "_read", interrupted)
        with pytest.raises(what):
            child.ask("echo_job:echo", b"of one patient")
        assert not child.alive, "its answer would be taken for the next job's"
    finally:
        child.close()
