"""Calling a tool: arguments checked, work done in a process with a deadline, every call logged.

Convention: whatever comes in, a :class:`Reply` comes out; a fault names the field and the cure. The log holds a line of
JSON a call; its `call` part (tool, arguments, outcome, hash of the reply) has the hash `sha256`, and the clock stands
outside of it.

Trap: a log line holds what the model wrote. It may name a patient; keep the log where the images are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spinemed.errors import ConfigError, SpineMedError
from spinemed.tools.desk import Limits, Models, Tool
from spinemed.tools.folder import ImageFolder
from spinemed.tools.registry import tools_with
from spinemed.tools.reply import Fault, Reply

__all__ = ["Toolbox"]

_SHOWN = 40
_TOLD = 2000
_PACKAGES = Path(__file__).resolve().parents[2]


def _short(text: str) -> str:
    """A text of a model's, short, and with escapes for what cannot be shown."""
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in shown)


class Toolbox:
    """Tools over one read-only folder.

    Args:
        root: Folder of images; without one, tools that need images say so.
        log: File to append calls to; it must lie outside the root.
        limits: What a call may use.
        names: Whether file names may be told to the model.
        models: Folders of trained models, outside of what the language model can name.

    Raises:
        ReadError: The root is no folder.
        ConfigError: The log lies inside the root or cannot be written, or a model's folder is none.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        log: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        names: bool = False,
        models: Models | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.models = _resolved(models or Models())
        self.tools = tools_with(self.models)
        self.root = None if root is None else ImageFolder(root).root
        self.names = names
        self.log = None if log is None else Path(log).resolve()
        self._lock = threading.Lock()
        if self.log is not None:
            if self.root is not None and self.log.is_relative_to(self.root):
                raise ConfigError("the log lies inside the root", field="--log", cure="name a file outside --root")
            try:
                with self.log.open("ab"):
                    pass
            except OSError as error:
                raise ConfigError(
                    f"cannot be written ({error.strerror})", file=self.log, field="--log", cure="name another file"
                ) from error

    def call(self, name: str, arguments: dict[str, Any] | str | None = None) -> Reply:
        """Call a tool.

        Args:
            name: One of the registry.
            arguments: An object, or its JSON as OpenAI's function calls carry it.
        """
        started, clock = datetime.now(UTC), time.monotonic()
        reply, detail = self._reply(name, arguments)
        self._write(name, arguments, reply, detail, started, time.monotonic() - clock)
        return reply

    def answer(self, tool_call: dict[str, Any]) -> dict[str, str]:
        """The message of role `tool` that answers one of OpenAI's `tool_calls`."""
        function = tool_call["function"]
        reply = self.call(function["name"], function["arguments"])
        return {"role": "tool", "tool_call_id": tool_call["id"], "content": reply.text}

    def _reply(self, name: str, arguments: dict[str, Any] | str | None) -> tuple[Reply, str]:
        tool = self.tools.get(name)
        if tool is None:
            return _fault(
                _short(name), "arguments", "tool", "there is no such tool", f"use {', '.join(self.tools)}"
            ), ""
        size = len(arguments if isinstance(arguments, str) else json.dumps(arguments, default=repr))
        if size > self.limits.argument_bytes:
            problem = f"{size} characters, more than {self.limits.argument_bytes}"
            return _fault(name, "limit", "arguments", problem, "shorten them"), ""
        try:
            told = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments or {}
        except (ValueError, RecursionError):
            return _fault(name, "arguments", "arguments", "they are not JSON", "write one JSON object"), ""
        try:
            checked = tool.arguments.model_validate(told)
        except ValidationError as error:
            return _bad_arguments(tool, error), ""
        return self._done(tool, checked.model_dump(mode="json"))

    def _done(self, tool: Tool, arguments: dict[str, Any]) -> tuple[Reply, str]:
        job = {
            "tool": tool.name,
            "arguments": arguments,
            "root": None if self.root is None else str(self.root),
            "limits": asdict(self.limits),
            "names": self.names,
            "models": asdict(self.models),
        }
        with tempfile.TemporaryDirectory(prefix="spinemed-tool-", ignore_cleanup_errors=True) as folder:
            with open(Path(folder) / "stderr", "xb") as told:
                code = self._run(json.dumps(job).encode() + b"\n", folder, told)
            detail = (Path(folder) / "stderr").read_text(errors="replace")[-_TOLD:]
            written = Path(folder) / "reply.json"
            if code is None:
                problem = f"not done within {self.limits.seconds:g} s"
                return _fault(tool.name, "time", "tool", problem, "ask for less, or of a smaller image"), detail
            if not written.is_file():
                problem = f"the tool failed (exit code {code}); this is a fault of the program or of its machine"
                return _fault(tool.name, "internal", "tool", problem, "go on without it, and tell the operator"), detail
            size = written.stat().st_size
            if size > self.limits.reply_bytes:
                problem = f"the reply has {size} bytes, more than {self.limits.reply_bytes}"
                return _fault(tool.name, "limit", "arguments", problem, "ask for fewer things at once"), detail
            return Reply.model_validate_json(written.read_bytes()), ""

    def _run(self, job: bytes, folder: str, told: Any) -> int | None:
        """Exit code of the process that did the job; None where the deadline ended it."""
        paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            # -P: a module in the current folder is never taken for ours.
            [sys.executable, "-P", "-m", "spinemed.tools.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=told,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(job)
            process.stdin.flush()  # kept open: the process ends with it
            return process.wait(self.limits.seconds)
        except subprocess.TimeoutExpired:
            return None
        except BrokenPipeError:
            return process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdin.close()

    def _write(self, name: str, arguments: Any, reply: Reply, detail: str, started: datetime, took: float) -> None:
        if self.log is None:
            return
        told = arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True, default=repr)
        if len(told) > self.limits.argument_bytes:
            told = f"{len(told)} characters, sha256 {hashlib.sha256(told.encode(errors='replace')).hexdigest()}"
        call = {
            "tool": name[:200],
            "arguments": told,
            "outcome": "done" if reply.error is None else reply.error.kind,
            "error": None if reply.error is None else reply.error.model_dump(),
            "inputs": [each.model_dump() for each in reply.inputs],
            "reply_sha256": reply.sha256,
        }
        held = json.dumps(call, sort_keys=True)
        line = {
            "call": call,
            "sha256": hashlib.sha256(held.encode()).hexdigest(),
            "time": started.isoformat(timespec="milliseconds"),
            "took_s": round(took, 3),
            **({"detail": detail} if detail else {}),
        }
        with self._lock, self.log.open("ab") as stream:
            stream.write(json.dumps(line, sort_keys=True).encode() + b"\n")


def _resolved(models: Models) -> Models:
    """The folders as absolute paths: a call works in another folder."""
    found: dict[str, str] = {}
    for kind, folder in asdict(models).items():
        if folder is None:
            continue
        if not Path(folder).is_dir():
            raise ConfigError("is no folder", file=folder, field=f"--{kind}", cure="name the folder of a trained model")
        found[kind] = str(Path(folder).resolve())
    return Models(**found)


def _fault(name: str, kind: Any, field: str, problem: str, cure: str) -> Reply:
    return Reply(tool=name, error=Fault(kind=kind, field=field, problem=problem, cure=cure))


def _bad_arguments(tool: Tool, error: ValidationError) -> Reply:
    """The first fault of arguments, with what the field may be."""
    found = error.errors(include_url=False)
    first = found[0]
    field = ".".join(_short(str(part)) for part in first["loc"]) or "arguments"
    problem = SpineMedError(first["msg"].removeprefix("Value error, ")).args[0]  # shown with escapes
    if "input" in first and first["type"] != "missing":
        problem += f" (got {_short(repr(first['input']))})"
    if len(found) > 1:
        problem += f"; and {len(found) - 1} more"
    if first["type"] == "extra_forbidden":
        cure = f"leave it out; {tool.name} has {', '.join(tool.arguments.model_fields)}"
    elif first["type"] == "missing":
        cure = "give this field"
    else:
        cure = "write it as the tool's schema says"
    return _fault(tool.name, "arguments", field, problem, cure)
