"""A run is a folder: config as resolved, versions, journal, outputs. The same command resumes it.

Convention::

    RUN/config.yaml      the config as resolved; another config in the same folder is refused
    RUN/run.json         command, versions, commit, platform, config hash
    RUN/journal.jsonl    append-only, one event a line, flushed to disk: what happened and when
    RUN/outputs/NAME/    what a step made; its `manifest.json` is written last, so presence means complete

Clock times stand in the journal and nowhere else, so `outputs/` of two equal runs are equal byte for byte.

Trap: a step is skipped when its folder is complete *and* its key (hashes of what goes in) is the same; put every input
into the key.
"""

from __future__ import annotations

import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spinemed import __version__
from spinemed.config import dump_config
from spinemed.errors import RunError, SpineMedError
from spinemed.records import content_hash
from spinemed.tables import MANIFEST, atomic_folder, parse_json, read_manifest, write_json, write_manifest, write_text

__all__ = ["LOCK", "Run", "alone_in", "make_folder", "open_run", "versions"]

LOCK = ".lock"

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "numpy", "pyarrow", "pillow")


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder a user named with `--out`, made when absent.

    Raises:
        RunError: A file stands there, or it may not be made.
    """
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot be made a folder ({error.strerror})", file=root, cure="give another --out") from error
    return root


def versions() -> dict[str, str]:
    """Versions of Python, SpineMed and the packages that shape results; absent ones are left out."""
    found = {"python": platform.python_version(), "spinemed": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


class Run:
    """An open run folder. Use :func:`open_run`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs = folder / "outputs"
        self.scratch = folder / "scratch"
        """For checkpoints and journals of running steps: kept between resumes, no part of the outputs."""

    def journal(self, event: str, **facts: Any) -> None:
        """Append one event and force it to disk."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **facts}, ensure_ascii=False, allow_nan=False)
        with open(self.folder / "journal.jsonl", "a+b") as stream:
            # A kill can leave a torn last line: close it, so that this event stands on a line of its own.
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(end - 1)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def step(
        self, name: str, *, key: dict[str, Any], work: Callable[[Path], dict[str, Any] | None], kind: str | None = None
    ) -> Path:
        """Make `outputs/NAME/` once.

        Args:
            name: Folder name under `outputs/`.
            key: Hashes and settings of everything that goes in. The step runs again when it differs.
            work: Fills the (empty, temporary) folder it is given and returns facts for the manifest.
            kind: The manifest's kind; the name unless given.

        Returns:
            The finished folder.
        """
        folder, kind, digest = self.outputs / name, kind or name, content_hash(key)
        if (folder / MANIFEST).is_file():
            if read_manifest(folder, kind).get("key") == digest:
                self.journal("step kept", step=name)
                return folder
            self.journal("step outdated", step=name)
        self.journal("step started", step=name)
        start = time.monotonic()
        with atomic_folder(folder) as partial:
            facts = work(partial) or {}
            write_manifest(partial, kind, key=digest, **facts)
        self.journal("step finished", step=name, seconds=round(time.monotonic() - start, 3), facts=facts)
        return folder

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A progress bar on standard error; the value is a function that advances it by n."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        label_column = TextColumn("{task.description}", markup=False)
        columns = (label_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=total)

            def advance(count: int = 1) -> None:
                bar.advance(task, count)

            yield advance


@contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Hold `FOLDER/.lock` during the block; the system lets go of it when the process dies, however it dies.

    Raises:
        RunError: Another process holds it; `doing` says what it does there.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"another process is {doing}", file=folder, cure="wait for it to end, or give another --out"
            ) from error
        yield
    finally:
        os.close(lock)


@contextmanager
def open_run(
    folder: str | os.PathLike[str], *, command: str, config: BaseModel, argv: Sequence[str] | None = None
) -> Iterator[Run]:
    """Open or resume a run folder, alone.

    Args:
        folder: The run folder; made when absent.
        command: What runs, e.g. `data run`.
        config: The resolved config.
        argv: The command line for the journal; this process's unless given. A file's name may be a patient's.

    Raises:
        RunError: Another process holds the folder; it belongs to another command or config; it is no run folder.
    """
    root = make_folder(folder)
    with alone_in(root, "working in this run folder"):
        run = Run(root)
        _claim(root, command, config)
        run.outputs.mkdir(exist_ok=True)
        run.journal("opened", command=command, argv=sys.argv[1:] if argv is None else list(argv), versions=versions())
        try:
            yield run
        except KeyboardInterrupt:
            run.journal("interrupted")
            raise
        except SpineMedError as error:
            run.journal("failed", error=str(error))
            raise
        except Exception:
            run.journal("failed", traceback=traceback.format_exc())
            raise
        run.journal("finished")


def _claim(root: Path, command: str, config: BaseModel) -> None:
    """Write `config.yaml` and `run.json`, or check that they are ours."""
    about, digest = root / "run.json", content_hash(config)
    if about.is_file():
        try:
            known = parse_json(about.read_bytes())
        except ValueError as error:
            raise RunError("is damaged", file=about, cure="give another --out") from error
        if not isinstance(known, dict):
            raise RunError("is damaged: it holds no fields", file=about, cure="give another --out")
        if known.get("command") != command:
            raise RunError(
                f"belongs to `spinemed {known.get('command')}`, not `spinemed {command}`",
                file=root,
                cure="give another --out",
            )
        if known.get("config_sha256") != digest:
            raise RunError(
                "holds a run of another config",
                file=root / "config.yaml",
                cure="give another --out, or delete this run folder to start again",
            )
        return
    strangers = [path.name for path in root.iterdir() if path.name != LOCK and not path.name.endswith(".tmp")]
    if set(strangers) - {"config.yaml"}:
        raise RunError(
            f"holds files but no run ({', '.join(sorted(strangers)[:3])})", file=root, cure="give an empty --out"
        )
    write_text(root / "config.yaml", dump_config(config))
    write_json(
        about,
        {
            "command": command,
            "config_sha256": digest,
            "versions": versions(),
            "commit": _commit(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
        },
    )
