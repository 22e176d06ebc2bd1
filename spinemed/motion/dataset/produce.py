"""`simulate`: produce a data set shard by shard on many processes, and go on after a kill.

Convention: a shard is the atomic unit; the folder's bytes depend on the config alone, not on the number of workers or
on interruptions. `config.yaml` is written first and guards the folder; `dataset.json` is written last and says that
the data set is whole.

The trap: on a Ray cluster all machines must see the output folder under the same path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from spinemed.config import dump_config
from spinemed.errors import MissingPartError, ReadError, RunError
from spinemed.motion.cameras import Camera, write_calibration
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset.config import PlannedClip, SimulateConfig, plan_clips
from spinemed.motion.dataset.read import CLIPS, INFO
from spinemed.motion.dataset.records import LEVELS, SCHEMA, SEGMENTS, ClipRow, SimulatedClip
from spinemed.motion.dataset.shards import open_shard, shard_path, shard_rows, write_shard
from spinemed.motion.generate.clips import generate_clip
from spinemed.motion.generate.subjects import draw_subject
from spinemed.motion.generate.views import draw_camera, studio
from spinemed.motion.keypoints import OKS_SIGMAS, SKELETON, SPINETRACK_37
from spinemed.records import content_hash
from spinemed.run import LOCK, alone_in, make_folder
from spinemed.tables import write_json, write_records, write_text
from spinemed.workers import worked_off

__all__ = ["CONFIG", "generate_planned", "simulate"]

CONFIG = "config.yaml"
_CAMERA_STREAM = 4


def generate_planned(config: SimulateConfig, planned: PlannedClip) -> SimulatedClip:
    """One clip of a data set."""
    subject = draw_subject(
        config.seed, planned.subject, rhythms=config.rhythms, coupling=config.coupling,
        deviation_sd=config.deviation_sd, wobble_factor=config.wobble_factor,
    )  # fmt: skip
    return generate_clip(
        planned.motion, seed=config.seed, subject=subject, seconds=config.seconds, rate_hz=config.rate_hz,
        cameras=_cameras(config, planned), noise=config.detector, split=planned.split, number=planned.number,
    )  # fmt: skip


def _cameras(config: SimulateConfig, planned: PlannedClip) -> tuple[Camera, ...]:
    kind, count = config.cameras.kind, config.cameras.count
    if kind == "none":
        return ()
    if kind == "ring":
        return studio(count)
    own = [_CAMERA_STREAM, config.seed, planned.subject]
    if kind == "jittered":
        return studio(count, np.random.default_rng(own))
    rng = np.random.default_rng([*own, config.motions.index(planned.motion), planned.number])
    return tuple(draw_camera(f"cam_{v + 1:02d}", rng) for v in range(count))


def simulate(
    config: SimulateConfig, out: str | os.PathLike[str], *, workers: int = 1, ray_address: str | None = None
) -> dict[str, int]:
    """Produce a data set, or go on with one.

    Args:
        config: The data set.
        out: Its folder.
        workers: Processes.
        ray_address: Of a Ray cluster ("auto", "local" or an address), instead of processes here.

    Returns:
        Counts: clips, frames, and how many shards were there already.

    Raises:
        RunError: the folder holds another data set or is in use, or no worker is asked for.
        MissingPartError: Ray is asked for and not installed.
    """
    if workers < 1:
        raise RunError(f"{workers} workers make nothing", field="--workers", cure="give 1 or more")
    if ray_address is not None:
        _import_ray()
    root = make_folder(out)
    _refuse_others(root, config)  # before a lock file could be left in a folder that is not ours
    with alone_in(root, "simulating"):
        _refuse_others(root, config)
        if not (root / CONFIG).is_file():
            write_text(root / CONFIG, dump_config(config))
        (root / "shards").mkdir(exist_ok=True)
        for torn in (root / "shards").glob(".*.tmp"):
            torn.unlink()
        key = _key(config)
        missing = [k for k in range(config.shards) if not _whole(shard_path(root, k), key)]
        kept = config.shards - len(missing)
        if missing or not (root / INFO).is_file():
            with _progress(config, kept) as advance:
                jobs = ((config.model_dump_json(), str(root), k) for k in missing)
                for _ in (
                    _by_ray(jobs, ray_address) if ray_address is not None else worked_off(_make_shard, jobs, workers)
                ):
                    advance()
            _conclude(root, config)
    return {"clips": config.clips, "frames": config.clips * config.frames, "shards": config.shards, "kept": kept}


def _key(config: SimulateConfig) -> str:
    return content_hash({"schema": SCHEMA, "config": config.model_dump(mode="json")})


def _refuse_others(root: Path, config: SimulateConfig) -> None:
    path = root / CONFIG
    if path.is_file():
        if path.read_text(encoding="utf-8") != dump_config(config):
            raise RunError("belongs to another config", file=path, cure="give another --out, or remove this folder")
    elif any(entry.name not in (LOCK, "shards") for entry in root.iterdir()):
        raise RunError("is not empty and no data set of motion", file=root, cure="give a new folder as --out")


def _whole(path: Path, key: str) -> bool:
    try:
        with open_shard(path) as file:
            return bool(file.attrs.get("key") == key)
    except ReadError:
        return False


def _make_shard(job: tuple[str, str, int]) -> int:
    text, folder, number = job
    config = SimulateConfig.model_validate_json(text)
    planned = plan_clips(config, number)
    views = config.cameras.views
    write_shard(
        shard_path(folder, number), number, (generate_planned(config, one) for one in planned),
        frames=len(planned) * config.frames, views=views, detected=bool(views) and config.detector is not None,
        key=_key(config), compression=config.compression,
    )  # fmt: skip
    return number


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingPartError(
            "Ray is not installed", field="--ray", cure="pip install 'spinemed[ray]', or use --workers on this machine"
        ) from error
    return ray


def _by_ray(jobs: Iterator[tuple[str, str, int]], address: str) -> Iterator[int]:
    ray = _import_ray()
    ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    try:
        remote = ray.remote(num_cpus=1)(_make_shard)
        room = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
        waiting = [remote.remote(job) for job in islice(jobs, room)]
        while waiting:
            ended, waiting = ray.wait(waiting, num_returns=1)
            waiting += [remote.remote(job) for job in islice(jobs, 1)]
            yield int(ray.get(ended[0]))
    finally:
        ray.shutdown()


class _progress:
    """A bar on standard error that counts frames."""

    def __init__(self, config: SimulateConfig, kept: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"),
            TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._bar.add_task("simulating motion", total=config.shards, completed=kept)

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _conclude(root: Path, config: SimulateConfig) -> None:
    """Table, cameras and description of the whole set; the description is written last."""

    def rows() -> Iterator[ClipRow]:
        for k in range(config.shards):
            with open_shard(shard_path(root, k)) as file:
                yield from shard_rows(file)

    written = write_records(root / CLIPS, ClipRow, rows())
    if written != config.clips:
        raise RunError(f"holds {written} clips, expected {config.clips}", file=root, cure="simulate into a new folder")
    if config.cameras.kind == "ring":
        write_calibration(root / "cameras.toml", studio(config.cameras.count))
    planned = plan_clips(config)
    write_json(
        root / INFO,
        {
            "schema": SCHEMA,
            "note": "simulated motion of drawn bodies, nobody was measured; research use only",
            "config": config.model_dump(mode="json"),
            "counts": {
                "clips": written, "frames": written * config.frames, "subjects": config.subjects,
                "shards": config.shards,
                "clips_by_split": _count(one.split for one in planned),
                "clips_by_motion": _count(one.motion for one in planned),
            },
            "keypoints": list(SPINETRACK_37), "oks_sigmas": list(OKS_SIGMAS), "skeleton": [list(e) for e in SKELETON],
            "segments": list(SEGMENTS), "directions": list(DIRECTIONS), "levels": [str(level) for level in LEVELS],
            "units": {
                "q": "mm and rad, order of BodyModel.freedoms", "angles_deg": "deg", "keypoints_mm": "mm",
                "centroids_mm": "mm", "pixels": "px", "detected": "px", "confidence": "0 to 1",
            },
            "axes": "x right, y anterior, z up; ground at z = 0",
        },
    )  # fmt: skip


def _count(names: Iterator[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found
