"""SpineMed's chat client on the benchmark's prompts, with its request log and egress rule, as a run uses it.

python spinemed_chat.py URL PROMPTS.json RESULT.json IN_FLIGHT
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from spinemed import __version__
from spinemed.chat import ChatClient, ChatRequest, Decoding, RequestLog, ServerConfig
from spinemed.records import Message


def main(url: str, prompts: str, result: str, in_flight: int) -> None:  # noqa: D103
    texts = json.loads(Path(prompts).read_text())
    config = ServerConfig(url=url, model="by-content", max_in_flight=in_flight)
    decoding = Decoding(max_tokens=64)
    requests = (ChatRequest((Message(role="user", content=text),), decoding=decoding) for text in texts)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, RequestLog(folder) as log, ChatClient(config, log) as chat:
        answered = sum(reply.outcome == "answered" for reply in chat.ask(requests))
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "name": "spinemed",
        "version": __version__,
        "answered": answered,
        "wall_seconds": wall,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "cpu_wait_seconds": int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9,
    }
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
