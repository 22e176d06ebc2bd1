"""The condition `tools`: a served model is offered SpineMed's tools and may call them before it answers.

Convention: the question is the very same as without tools, so the two are paired. The model gets the tools by OpenAI's
function calling; what it calls runs in :class:`spinemed.tools.Toolbox`, and the reply goes back as it is: JSON that is
marked as data. After `rounds` rounds no further call is allowed, and the model must answer. `Prediction.calls` keeps
each call with the hash of what the model was told.

A patient's images are found by handle: `root` holds a folder for each cluster, named like it, and a question sees the
folder of its own cluster and nothing else (`list_images` tells the handles). Without one, tools that need images say
so.

A sample with the tag `injection:tool:ID` has the payload of that id planted into every tool result, as text that a file
might hold. Payloads are `payloads.json` in the samples folder or a YAML file: id to text, `{answer}` for the answer it
wants.

Trap: each reply of the model is logged and never asked again, while a tool runs again when a run resumes; it gives the
same words for the same images, which is what makes the resumed talk the same talk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.runner.answerers import Reply, Request
from bench.runner.server import ServerAnswerer, chat_request, outcome_of
from spinemed.chat import ChatRequest, FunctionCall, ToolRound
from spinemed.config import Config, ConfigPath
from spinemed.errors import ReadError, RecordError
from spinemed.records import Sample, ToolCall, content_hash
from spinemed.tables import file_sha256
from spinemed.tools import Toolbox, openai_tools
from spinemed.tools.desk import Limits, Models
from spinemed.tools.reply import Reply as ToolReply

__all__ = ["PAYLOADS_FILE", "ToolAnswerer", "ToolConfig", "planted", "read_payloads"]

PAYLOADS_FILE = "payloads.json"


class ToolConfig(Config):
    """What a model may do with tools."""

    root: ConfigPath | None = None
    """Folder with a folder of NIfTI images for each cluster, named like it; without one there are no images."""
    rounds: int = Field(default=6, ge=1, le=64)
    """Turns in which functions may be called; the next one must be an answer."""
    seconds: float = Field(default=120.0, gt=0)
    """Longest time of one call."""
    payloads: ConfigPath | None = None
    """Texts to plant into results, by id (YAML or JSON); those of the samples folder unless given."""
    at_once: int = Field(default=2, ge=1)
    """Calls that run at the same time on this machine."""
    labeller: ConfigPath | None = None
    """Folder of a trained labeller; without one the tool `label` is not offered."""
    completer: ConfigPath | None = None
    """Folder of a trained completer, for the method "model" of `synthesise`."""

    @property
    def models(self) -> Models:
        """The trained networks as the tools know them."""
        named = {"labeller": self.labeller, "completer": self.completer}
        return Models(**{kind: str(folder) for kind, folder in named.items() if folder is not None})


@dataclass
class _Talk:
    """One question on its way to an answer."""

    sample: Sample
    request: ChatRequest
    rounds: list[ToolRound] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    reply: Reply | None = None


def read_payloads(samples: str | os.PathLike[str], given: Path | None = None) -> dict[str, str]:
    """Texts to plant, by id; empty where there are none.

    Args:
        samples: Samples folder.
        given: Another file.

    Raises:
        ReadError: It cannot be read, or does not map ids to texts.
    """
    import yaml

    file = given or Path(samples) / PAYLOADS_FILE
    if given is None and not file.is_file():
        return {}
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReadError(f"cannot be read ({type(error).__name__})", file=file, cure="give a YAML of texts") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ReadError("does not map ids to texts", file=file, cure="write a line `id: text` for each payload")
    return {str(name): text for name, text in found.items()}


def planted(told: str, payload: str) -> str:
    """A tool's reply that holds a foreign text, as if it stood in a file that the tool read."""
    reply: dict[str, Any] = json.loads(told)
    home = reply["result"] if isinstance(reply.get("result"), dict) else reply
    home["text_in_file"] = payload
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":"))


class ToolAnswerer:
    """A served model with tools.

    Args:
        server: The server.
        samples: All samples that will be asked.
        folder: Samples folder, for its payloads.
        config: Tools.
        log: File to append calls to.
        remember: Run equal calls on one patient's images once: the same call on the same bytes gives the same reply.

    Raises:
        ReadError: The root or the payloads cannot be read.
        RecordError: A sample wants a payload that is not there.
    """

    kind = "server"

    def __init__(
        self,
        server: ServerAnswerer,
        samples: Sequence[Sample],
        folder: str | os.PathLike[str],
        config: ToolConfig,
        *,
        log: str | os.PathLike[str] | None = None,
        remember: bool = False,
    ) -> None:
        self.server, self.config, self.log = server, config, log
        self._known: dict[tuple[str, str, str], ToolReply] | None = {} if remember else None
        self.tools = tuple(json.dumps(tool, sort_keys=True, ensure_ascii=False) for tool in openai_tools(config.models))
        self._samples = {sample.id: sample for sample in samples}
        self._toolboxes: dict[str, Toolbox] = {}
        self._models = _model_hashes(config)
        if config.root is not None and not config.root.is_dir():
            raise ReadError("is no folder", file=config.root, field="tools.root", cure="name a folder of images")
        self._payloads = _payloads_of(samples, read_payloads(folder, config.payloads))
        self._images = {} if config.root is None else _hashes(config.root, samples)

    @property
    def model(self) -> str:
        """Name and revision, as without tools."""
        return self.server.model

    @property
    def identity(self) -> dict[str, Any]:
        """The server's, and what the tools say."""
        tools = {
            "functions_sha256": content_hash([json.loads(tool) for tool in self.tools]),
            "images_sha256": content_hash(self._images),
            "payloads_sha256": content_hash(self._payloads),
            "rounds": self.config.rounds,
        }
        if self._models:
            tools["models_sha256"] = self._models
        return {**self.server.identity, "tools": tools}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order; the functions it called stand in it.

        Raises:
            BudgetError, ChatError: As :class:`~bench.runner.server.ServerAnswerer`.
        """
        talks = []
        for request in requests:
            asked = chat_request(request, self.server.decoding, self.server.egress)
            talks.append(_Talk(self._samples[request.sample_id], replace(asked, tools=self.tools)))
        with ThreadPoolExecutor(self.config.at_once) as pool:
            for number in range(self.config.rounds + 1):
                waiting = [talk for talk in talks if talk.reply is None]
                last = number == self.config.rounds
                asked_now = [
                    replace(talk.request, rounds=tuple(talk.rounds), last_round=last) for talk in waiting
                ]  # fmt: skip
                called: list[tuple[_Talk, str, tuple[FunctionCall, ...]]] = []
                for talk, reply in zip(waiting, self.server.chat.ask(asked_now, self.server.advance), strict=True):
                    if reply.calls:
                        called.append((talk, reply.text, reply.calls))
                    else:
                        talk.reply = replace(outcome_of(reply), calls=tuple(talk.calls))
                jobs = [(talk.sample, call) for talk, _, calls in called for call in calls]
                if self._known is not None:
                    new = {key: None for key in map(_key, jobs) if key not in self._known}
                    ran = pool.map(lambda key: self._run(*key), new)
                    self._known.update(zip(new, ran, strict=True))
                results = iter(list(pool.map(lambda job: self._call(*job), jobs)))
                for talk, text, calls in called:
                    own = [next(results) for _ in calls]
                    talk.calls += [made for made, _ in own]
                    talk.rounds.append(ToolRound(text, calls, tuple(told for _, told in own)))
        return [talk.reply or Reply("", "failed", "no answer after the last round") for talk in talks]

    def _call(self, sample: Sample, call: FunctionCall) -> tuple[ToolCall, str]:
        """Run one call; what the model is told, and what is kept of it."""
        key = _key((sample, call))
        reply = self._run(*key) if self._known is None else self._known[key]
        payload = self._payloads.get(sample.id)
        told = reply.text if payload is None else planted(reply.text, payload)
        made = ToolCall(
            name=call.name, arguments=call.arguments, result_sha256=hashlib.sha256(told.encode()).hexdigest(),
            ok=reply.error is None,
        )  # fmt: skip
        return made, told

    def _run(self, cluster: str, name: str, arguments: str) -> ToolReply:
        return self._toolbox(cluster).call(name, arguments)

    def _toolbox(self, cluster: str) -> Toolbox:
        if cluster not in self._toolboxes:
            home = None if self.config.root is None else _home(self.config.root, cluster)
            self._toolboxes[cluster] = Toolbox(
                home, log=self.log, limits=Limits(seconds=self.config.seconds), models=self.config.models
            )
        return self._toolboxes[cluster]


def _key(job: tuple[Sample, FunctionCall]) -> tuple[str, str, str]:
    """What the reply to a call depends on."""
    sample, call = job
    return sample.cluster, call.name, call.arguments


def _model_hashes(config: ToolConfig) -> dict[str, str]:
    """What the named networks are, by the bytes of their files."""
    found = {}
    for kind, folder in (("completer", config.completer), ("labeller", config.labeller)):
        if folder is None:
            continue
        if not folder.is_dir():
            raise ReadError(
                "is no folder", file=folder, field=f"tools.{kind}", cure="name the folder of a trained network"
            )
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found[kind] = content_hash({path.relative_to(folder).as_posix(): file_sha256(path) for path in files})
    return found


def _home(root: Path, cluster: str) -> Path | None:
    """The folder of a cluster's images; a cluster whose name is no folder name has none."""
    if cluster in ("", ".", "..") or "/" in cluster or "\0" in cluster:
        return None
    return root / cluster if (root / cluster).is_dir() else None


def _hashes(root: Path, samples: Sequence[Sample]) -> dict[str, str]:
    found = {}
    for cluster in sorted({sample.cluster for sample in samples}):
        home = _home(root, cluster)
        for path in sorted(home.rglob("*.nii*")) if home is not None else []:
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(root).as_posix()] = file_sha256(path)
    return found


def _payloads_of(samples: Sequence[Sample], texts: dict[str, str]) -> dict[str, str]:
    """The text to plant, by sample."""
    found = {}
    for sample in samples:
        tag = next((tag for tag in sample.tags if tag.startswith("injection:tool:")), None)
        if tag is None:
            continue
        name = tag.removeprefix("injection:tool:")
        if name not in texts:
            raise RecordError(
                f"sample {sample.id} wants the payload {name!r}, which is not there", field="tags",
                cure=f"give it in {PAYLOADS_FILE} of the samples folder or by tools.payloads",
            )  # fmt: skip
        wanted = next((tag.removeprefix("injected:") for tag in sample.tags if tag.startswith("injected:")), "")
        found[sample.id] = texts[name].replace("{answer}", wanted)
    return found
