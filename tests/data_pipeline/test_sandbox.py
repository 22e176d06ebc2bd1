"""A hostile or broken file costs itself and nothing else."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from data_pipeline.sandbox import Limits, Rejection, run_limited

# The jobs of these tests: standard functions that do to the parser what a hostile file would.
SMALL = Limits(cpu_s=1, wall_s=2, memory_mib=64, answer_mib=1)


def reason(job: str, **arguments: Any) -> str:
    answer = run_limited(job, arguments, SMALL)
    assert isinstance(answer, Rejection), answer
    return answer.reason


def test_a_hang_ends_at_the_wall_limit() -> None:
    start = time.monotonic()
    assert reason("data_pipeline.readers.trials:sleep", seconds=60) == "took too much time"
    assert time.monotonic() - start < 15


def test_half_a_message_is_not_waited_for() -> None:
    start = time.monotonic()
    assert reason("data_pipeline.readers.trials:stall", seconds=20) == "took too much time"
    assert time.monotonic() - start < 15


def test_an_endless_loop_ends_at_the_processor_limit() -> None:
    assert reason("data_pipeline.readers.trials:spin") == "took too much time"


def test_memory_is_bounded() -> None:
    assert reason("data_pipeline.readers.trials:grow") == "took too much memory"


def test_a_crash_of_the_process_is_a_rejection() -> None:
    assert reason("data_pipeline.readers.trials:crash") == "crashed the parser"


def test_answers_are_bounded_and_nothing_is_written(tmp_path: Any) -> None:
    assert reason("data_pipeline.readers.trials:flood") in ("answers too much", "crashed the parser")
    assert reason("data_pipeline.readers.trials:write", path=str(tmp_path / "x")) == "crashed the parser"
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size == 0


def test_what_a_parser_says_about_a_file_is_not_quoted() -> None:
    answer = run_limited("data_pipeline.readers.trials:complain", {}, SMALL)
    assert isinstance(answer, Rejection)
    assert "Weatherby" not in answer.note


def test_no_process_is_left_behind() -> None:
    import psutil

    def alive() -> set[int]:
        return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}

    run_limited("data_pipeline.readers.trials:count", {"number": 0})  # the server that forks stays
    before = alive()
    run_limited("data_pipeline.readers.trials:sleep", {"seconds": 60}, Limits(cpu_s=1, wall_s=1, memory_mib=64))
    assert alive() <= before


@pytest.mark.parametrize("number", [0, 3])
def test_a_good_job_answers_json_and_bytes(number: int) -> None:
    answer = run_limited("data_pipeline.readers.trials:count", {"number": number}, SMALL)
    assert answer == ({"number": number}, [b"x" * k for k in range(number)])
