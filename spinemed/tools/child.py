"""One call in a process of its own: a job on standard input, the reply in a file of the private work folder.

Convention: the job is one line of JSON; the process lives no longer than its standard input stays open, so that it ends
when the server ends, however that happens. Run by `toolbox.py`, not by hand.

Trap: a fault of ours keeps its traceback (standard error, which the operator's log gets); the model never sees it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

__all__ = ["main"]


def _end_with_input(work: Path) -> None:
    sys.stdin.read()
    shutil.rmtree(work, ignore_errors=True)  # it holds copies of patients' images
    os._exit(1)


def _answer(job: dict[str, Any], work: Path) -> str:
    from spinemed.errors import SpineMedError
    from spinemed.tools.desk import Desk, Limits, Models
    from spinemed.tools.folder import ImageFolder
    from spinemed.tools.registry import tools_with
    from spinemed.tools.reply import Fault, Reply, fault_of

    limits, models = Limits(**job["limits"]), Models(**job["models"])
    tool = tools_with(models)[job["tool"]]
    desk = Desk(None, work, limits, job["names"], models=models)
    try:
        if job["root"] is not None:
            desk.folder = ImageFolder(job["root"], most=limits.files)
        answer = tool.run(tool.arguments.model_validate(job["arguments"]), desk)
    except SpineMedError as error:
        return Reply(tool=tool.name, inputs=tuple(desk.inputs), error=fault_of(error)).text
    except MemoryError:
        fault = Fault(
            kind="limit", field="memory", problem=f"needs more than {limits.memory_bytes >> 20} MiB",
            cure="take a smaller image",
        )  # fmt: skip
        return Reply(tool=tool.name, inputs=tuple(desk.inputs), error=fault).text
    return Reply(tool=tool.name, flags=answer.flags, inputs=tuple(desk.inputs), result=answer.result).text


def main() -> None:
    """Do one job."""
    job, work = json.loads(sys.stdin.readline()), Path()  # relative: errors name files as tools know them
    limits = job["limits"]
    threading.Thread(target=_end_with_input, args=(Path.cwd(),), daemon=True).start()
    for kind, most in ((resource.RLIMIT_AS, limits["memory_bytes"]), (resource.RLIMIT_CPU, int(limits["seconds"]) + 5)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    reply = _answer(job, work)
    for copy in work.glob("*.nii*"):
        copy.unlink()  # before the answer is there, so that none stays if the server is killed right after it
    (work / "reply.part").write_text(reply, encoding="utf-8")
    (work / "reply.part").rename(work / "reply.json")
    sys.stdout.flush()
    os._exit(0)  # the thread above still waits for input


if __name__ == "__main__":
    main()
