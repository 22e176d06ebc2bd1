"""A model of a few thousand weights and a release of a few rows, made once for the trainer tests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from spinemed.marks import png_bytes
from spinemed.records import Message, PackedImage, ReleaseRow
from spinemed.tables import write_manifest, write_records

LEVELS = ("T11", "T12", "L1", "L2", "L3")


@pytest.fixture(scope="session")
def micro_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved checkpoint with random weights, pictures of 32 px."""
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor
    from train.merge import save_checkpoint

    config = NanoConfig(
        seed=3,
        vision=NanoVision(
            patch_px=8, hidden=16, depth=1, heads=1, mlp=32, deepstack=(0,), image_px=32, min_px=32, max_px=32
        ),
        text=NanoText(hidden=32, layers=1, heads=1, kv_heads=1, mlp=32, max_tokens=256, vocabulary=400),
    )
    processor = build_processor(config, ["Which vertebra is marked? Answer with the level."])
    folder = tmp_path_factory.mktemp("base") / "micro"
    save_checkpoint(build_model(config, processor), processor, folder, precision="float32", about="A test base.")
    return folder


def release_rows(count: int) -> Iterable[ReleaseRow]:
    """Pictures with one question each; every third row is text only; answers differ in length."""
    rng = np.random.default_rng(5)
    for number in range(count):
        level = LEVELS[number % len(LEVELS)]
        if number % 3 == 2:
            images: tuple[PackedImage, ...] = ()
            content, answer = f"What follows {level}?", "the next one" * (1 + number % 4)
        else:
            data = png_bytes(rng.integers(0, 256, (32, 32), dtype=np.uint8))
            images = (PackedImage(bytes=data, path=hashlib.sha256(data).hexdigest() + ".png"),)
            content, answer = "<image>\nWhich vertebra is marked?", level
        yield ReleaseRow(
            id=f"row-{number}",
            split="train",
            messages=(Message(role="user", content=content), Message(role="assistant", content=answer)),
            images=images,
            axis="level_identification",
            task="open",
            language="en",
            answer=answer,
            answer_kind="text",
            options=(),
            categories=(),
            levels=(),
            origin="phantom",
            source_id="test",
            group_id=f"spine-{number}",
            licence="CC0-1.0",
            attribution="",
            evidence_ids=(),
            instance_sha256="0" * 64,
            tags=(),
        )


@pytest.fixture(scope="session")
def micro_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 24 training rows."""
    folder = tmp_path_factory.mktemp("release") / "release"
    (folder / "data").mkdir(parents=True)
    write_records(folder / "data" / "train.parquet", ReleaseRow, release_rows(24))
    write_manifest(folder, "release")
    return folder


@pytest.fixture(scope="session")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[int]]]:
    """Run training jobs of several processes; exit codes come back. A job past its deadline is killed: -9."""
    logs = tmp_path_factory.mktemp("crew")
    errors = open(logs / "crew.log", "wb")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crew.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    count = 0

    def run(
        config: Path,
        out: Path,
        *,
        world: int = 2,
        overrides: Sequence[str] = (),
        seconds: float = 300,
        kill_at: int | None = None,
        fails: bool = False,
    ) -> list[int]:
        nonlocal count
        count += 1
        log = logs / f"job-{count}"
        job = {
            "config": str(config), "out": str(out), "world": world, "overrides": list(overrides),
            "log": str(log), "seconds": seconds, "kill_at": kill_at,
        }  # fmt: skip
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        text = "\n".join(file.read_text(errors="replace")[-4000:] for file in sorted(logs.glob(f"job-{count}.*")))
        assert answer, (logs / "crew.log").read_text()[-4000:]
        codes: list[int] = json.loads(answer)
        assert fails or kill_at is not None or not any(codes), f"{codes}\n{text}"
        if fails:
            assert any(codes)
            (out.parent / f"{out.name}.log").write_text(text)
        return codes

    yield run
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    errors.close()
