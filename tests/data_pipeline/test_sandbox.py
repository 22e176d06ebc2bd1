"""A hostile or broken file costs itself and nothing else."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_pipeline import sandbox_rules
from data_pipeline.readers import read_source
from data_pipeline.sandbox import Limits, Rejection, run_limited
from spinemed.errors import ReadError, VolumeError
from spinemed.records import Source

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


def test_a_parser_reaches_no_network_and_starts_no_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        assert reason("data_pipeline.readers.trials:reach", host="127.0.0.1", port=server.getsockname()[1])
        with pytest.raises(TimeoutError):
            server.accept()
    assert reason("data_pipeline.readers.trials:launch", program="/bin/true") == "crashed the parser"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's wall is Linux's")
def test_native_code_is_refused_by_the_kernel() -> None:
    answer = run_limited("data_pipeline.readers.trials:reach_natively", {}, SMALL)
    assert answer == ({"socket": -1, "fork": -1}, [])


def test_a_readers_own_error_comes_back_as_it_was(tmp_path: Path) -> None:
    answer = run_limited("data_pipeline.readers.trials:misread", {"path": "/data/a.nii"}, SMALL)
    assert isinstance(answer, Rejection)
    fault = answer.fault(tmp_path)
    assert type(fault) is VolumeError
    assert str(fault) == "/data/a.nii: field 'mask': lies on another grid. Cure: resample it"
    assert isinstance(Rejection("took too much time", "more than 2 s").fault(tmp_path / "x.xml"), ReadError)


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


@pytest.mark.parametrize(
    ("kind", "path", "options"),
    [
        ("cnxml", "text/openstax", {}),
        ("medquad", "text/medquad", {}),
        (
            "nifti",
            "ct/tptbox_L3_crop",
            {
                "studies": [
                    {"image": "sub-ct_label-22_ct.nii.gz", "modality": "CT", "group": "g", "truth": "none"},
                ]
            },
        ),
    ],
)
def test_readers_parse_within_limits(samples: Path, kind: str, path: str, options: dict[str, Any]) -> None:
    source = Source.model_validate(
        {
            "id": "s", "kind": kind, "path": path, "licence": "CC-BY-4.0", "allowed_use": ["train"],
            "attribution": "a", "legal_basis": "published", "options": {**options, "limits": {"wall_s": 0.001}},
        }
    )  # fmt: skip
    with pytest.raises(ReadError, match=r"took too much time \(more than 0.001 s\)"):
        read_source(source, samples / path)


def kernel_says(machine: str, number: int, flags: int = 0) -> int:
    """What the filter returns for a system call: the program run as the kernel runs it."""
    calls = sandbox_rules._CALLS[machine]
    data, rules = {0: number, 4: calls["arch"], 16: flags}, sandbox_rules._rules(calls)
    held = at = 0
    while True:
        code, true, false, value = rules[at]
        at += 1
        if code == 0x20:
            held = data[value]
        elif code == 0x06:
            return value
        else:
            hit = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += true if hit else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_kernels_wall_refuses_by_either_number_and_lets_files_and_threads_through(machine: str) -> None:
    calls, refused, allowed = sandbox_rules._CALLS[machine], 0x00050000 | errno.EPERM, 0x7FFF0000
    for name in ("socket", "connect", "execve", "ptrace"):
        assert kernel_says(machine, calls[name]) == refused, name
        assert kernel_says(machine, calls[name] | 0x40000000) == refused, f"{name} by its x32 number"
    assert kernel_says(machine, calls["clone"]) == refused, "a new process"
    assert kernel_says(machine, calls["clone"], 0x00010000) == allowed, "a thread"
    assert kernel_says(machine, 0 if machine == "x86_64" else 63) == allowed, "read"
