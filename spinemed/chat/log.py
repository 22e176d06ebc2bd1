"""The request log: every exchange as it was, appended and never changed; a reply that stands here is final.

Convention: a folder of JSON-lines files, one for each process that writes (`NAME.jsonl`), all of them read. Three kinds
of line, each with the request's `key`::

    sent    before a byte leaves: the request (pictures as their hash, a schema as its hash), attempt, tokens reserved
    reply   status and body as received, seconds, tokens, money: final, answers this key for ever
    failed  no usable reply: the reason; the key may be tried again

and `schema` lines that hold each schema once. A line is written by one call, so a killed process leaves at most a torn
last line, which is cut off when the file is opened for writing and left out when another process reads it. The file is
flushed to disk about once a second: a kill loses nothing that was written, a power failure at most that second.

Trap: the log holds content. It falls under the egress rule of its sources: keep it on the machine it was written on.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spinemed.chat.errors import ChatError
from spinemed.chat.reply import Usage

__all__ = ["RequestLog"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


class RequestLog:
    """An open log. Use it as a context manager.

    Args:
        folder: Where the files stand; made when absent.
        name: This process's own file, without suffix; two processes never share one.
        wait_s: How long to wait for another process that writes this file, such as the dying worker of a killed run.

    Raises:
        ChatError: Another process writes this file, or a line that is not the last one is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str = "log", *, wait_s: float = 0.0) -> None:
        if not _NAME.fullmatch(name):
            raise ChatError(f"'{name}' is no file name", field="name", cure="use letters, digits, dots and dashes")
        self.folder = Path(folder)
        self.path = self.folder / f"{name}.jsonl"
        self.spent = Usage()
        """Of all replies logged here, by any process."""
        self.lost_tokens = 0
        """Reserved by requests of which no outcome is known: a process died while they were under way, or they were
        given up without an answer. They may have been charged."""
        self.lost_money = 0.0
        self._places: dict[bytes, tuple[int, int, int]] = {}
        self._readers: list[int] = []
        self._others: dict[Path, tuple[int, int]] = {}
        self._schemas: set[str] = set()
        self._writer = -1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _lock(self._writer, wait_s)
            self._end = _cut_torn_line(self._writer)
            for file in sorted(self.folder.glob("*.jsonl")):
                self._read(file)
        except BlockingIOError as error:
            self.close()
            raise ChatError("another process writes this log", file=self.path, cure="give it another name") from error
        except OSError as error:
            self.close()
            raise ChatError(
                f"cannot be opened ({error.strerror})", file=self.path, cure="check the folder and its permissions"
            ) from error
        except ChatError:
            self.close()
            raise
        self._dirty = False

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def reply(self, key: str) -> dict[str, Any] | None:
        """The logged reply of a request: `status`, `reply` and usage as written, or None."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        reader, start, length = place
        line: dict[str, Any] = json.loads(os.pread(self._readers[reader], length, start))
        return line

    def refresh(self) -> None:
        """Find replies that other processes logged meanwhile; what they spent is counted by a shared ledger alone."""
        for file in sorted(self.folder.glob("*.jsonl")):
            if file == self.path:
                continue
            if file not in self._others:
                self._readers.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
                self._others[file] = len(self._readers) - 1, 0
            number, place = self._others[file]
            with open(file, "rb") as stream:
                stream.seek(place)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    found = json.loads(line.decode("utf-8", "surrogatepass"))
                    if found["kind"] == "reply":
                        self._places.setdefault(bytes.fromhex(found["key"]), (number, place, len(line) - 1))
                    place += len(line)
            self._others[file] = number, place

    def replies(self) -> Iterator[dict[str, Any]]:
        """All logged replies, in the order of their keys."""
        for key in sorted(self._places):
            found = self.reply(key.hex())
            assert found is not None
            yield found

    # --- writing -----------------------------------------------------------------------------------------------------

    def sent(
        self, key: str, *, attempt: int, tokens: int, money: float, request: dict[str, Any] | None, tag: str, host: str
    ) -> None:
        """Note that a request is about to leave, with what it may cost at most."""
        line = {"key": key, "kind": "sent", "time": _now(), "attempt": attempt, "host": host, "tag": tag}
        line |= {"tokens": tokens, "money": money}
        if request is not None:
            line["request"] = request
        self._append(line)

    def schema(self, sha256: str, schema: dict[str, Any]) -> None:
        """Keep a schema, once."""
        if sha256 not in self._schemas:
            self._schemas.add(sha256)
            self._append({"key": sha256, "kind": "schema", "schema": schema})

    def failed(self, key: str, *, attempt: int, reason: str, detail: str, charged: bool, reserved: Usage) -> None:
        """Note an attempt without a usable reply; `charged` if it may have cost what was reserved."""
        if charged:
            self.lost_tokens += reserved.tokens
            self.lost_money += reserved.money
        line = {"key": key, "kind": "failed", "time": _now(), "attempt": attempt, "reason": reason}
        self._append({**line, "detail": detail, "charged": charged})

    def answered(self, key: str, *, attempt: int, status: int, reply: str, seconds: float, usage: Usage) -> None:
        """Keep a reply for ever."""
        line = {
            "key": key,
            "kind": "reply",
            "time": _now(),
            "attempt": attempt,
            "status": status,
            "seconds": round(seconds, 4),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "money": usage.money,
            "reply": reply,
        }
        start, length = self._append(line)
        self._places[bytes.fromhex(key)] = (self._own, start, length)
        self.spent += usage

    def sync(self) -> None:
        """Force what was written to disk."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._writer)

    def close(self) -> None:
        """Sync and let go of the files."""
        if self._writer >= 0:
            os.fsync(self._writer)
            os.close(self._writer)
            self._writer = -1
        for reader in self._readers:
            os.close(reader)
        self._readers = []

    def _append(self, line: dict[str, Any]) -> tuple[int, int]:
        # surrogatepass: a reply may hold what is no character; the log keeps it as it came.
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        start, written = self._end, 0
        while written < len(data):
            try:
                written += os.write(self._writer, data[written:])
            except OSError as error:
                os.ftruncate(self._writer, start)  # half a line must not stand in front of the next one
                raise ChatError(
                    f"cannot be written ({error.strerror})", file=self.path, cure="make room and run the command again"
                ) from error
        self._end, self._dirty = start + len(data), True
        return start, len(data) - 1

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, file: Path) -> None:
        """Index one file; requests without an outcome count as lost."""
        reader = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        number, place = len(self._readers), 0
        self._readers.append(reader)
        if file == self.path:
            self._own = number
        waiting: dict[bytes, tuple[int, float]] = {}
        with open(file, "rb") as stream:
            for count, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    break  # another process is writing this line, or died while it did
                try:
                    found = json.loads(line.decode("utf-8", "surrogatepass"))
                    self._take(found, (number, place, len(line) - 1), waiting)
                except (ValueError, LookupError, TypeError) as error:
                    raise ChatError(
                        "is no line of a request log",
                        file=file,
                        line=count,
                        cure="restore the file, or remove this line",
                    ) from error
                place += len(line)
        if file != self.path:
            self._others[file] = number, place
        for tokens, money in waiting.values():
            self.lost_tokens += tokens
            self.lost_money += money

    def _take(self, line: dict[str, Any], place: tuple[int, int, int], waiting: dict[bytes, tuple[int, float]]) -> None:
        key, kind = bytes.fromhex(line["key"]), line["kind"]
        if kind == "sent":
            if key in waiting:  # the process died in between and asked again
                self.lost_tokens += waiting[key][0]
                self.lost_money += waiting[key][1]
            waiting[key] = (int(line["tokens"]), float(line["money"]))
        elif kind == "reply":
            waiting.pop(key, None)
            self._places[key] = place
            self.spent += Usage(int(line["prompt_tokens"]), int(line["completion_tokens"]), float(line["money"]))
        elif kind == "failed":
            tokens, money = waiting.pop(key, (0, 0.0))
            if line["charged"]:
                self.lost_tokens += tokens
                self.lost_money += money
        elif kind == "schema":
            self._schemas.add(line["key"])
        else:
            raise ValueError(kind)


def _lock(file: int, wait_s: float) -> None:
    """Lock a file, waiting a while for whoever holds it; raises BlockingIOError after that."""
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def _cut_torn_line(file: int) -> int:
    """Remove what stands after the last newline. Returns the size."""
    size = os.fstat(file).st_size
    end = size
    while end:
        start = max(0, end - 65536)
        block = os.pread(file, end - start, start)
        found = block.rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)
    return end


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
