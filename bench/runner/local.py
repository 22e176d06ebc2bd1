"""A local checkpoint as an answerer: greedy decoding through the same layout that training used.

Convention: the model's name is its folder's name and the first 12 digits of the hash of its files, so two checkpoints
that happen to share a folder name are two models.

Trap: everything heavy is imported when the first answer is asked for, so that listing commands stays fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.runner.answerers import Reply, Request
from spinemed.errors import ModelError
from spinemed.records import content_hash
from spinemed.tables import MANIFEST, file_sha256

__all__ = ["LocalAnswerer", "checkpoint_sha256"]


def checkpoint_sha256(folder: str | os.PathLike[str]) -> str:
    """Hash of all files of a checkpoint folder by name, and of the base's where the folder is an adapter.

    Manifests, pages for people (`*.md`) and hidden files are left out: no reply depends on them.

    Raises:
        ModelError: No such folder, or no `config.json` or `adapter_config.json` in it.
    """
    root = Path(folder)
    if not any((root / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(
            "is no checkpoint folder: it holds neither config.json nor adapter_config.json",
            file=root,
            cure="give the folder that training wrote, or 'majority' or 'random'",
        )
    hashes = {
        path.name: file_sha256(path)
        for path in sorted(root.iterdir())
        if path.is_file() and path.name != MANIFEST and path.suffix != ".md" and not path.name.startswith(".")
    }
    if (root / "adapter_config.json").is_file():
        from spinemed.vlm.load import base_of

        hashes["base of the adapter"] = checkpoint_sha256(base_of(root))
    return content_hash(hashes)


class LocalAnswerer:
    """Answers from a checkpoint folder on this machine.

    Args:
        folder: What training wrote, or any folder that transformers loads for images and text.
        batch_size: Requests generated together.
        max_new_tokens: Longest reply.
        cut_is_answer: Whether a reply that reached the limit is read like any other; False calls it `truncated`, as a
            server's is.

    Raises:
        ModelError: No checkpoint there.
    """

    kind = "local"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int = 16,
        max_new_tokens: int = 32,
        cut_is_answer: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.sha256 = checkpoint_sha256(folder)
        self.batch_size, self.max_new_tokens, self.cut_is_answer = batch_size, max_new_tokens, cut_is_answer
        self._loaded: Any = None

    @property
    def model(self) -> str:
        """Folder name and hash."""
        return f"{self.folder.resolve().name}@{self.sha256[:12]}"

    @property
    def identity(self) -> dict[str, Any]:
        """Weights by hash and everything that decoding depends on."""
        own = {
            "checkpoint_sha256": self.sha256,
            "decoding": "greedy",
            "batch_size": self.batch_size,
            "max_new_tokens": self.max_new_tokens,
        }
        return own if self.cut_is_answer else {**own, "cut_is_answer": False}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Greedy replies, in order.

        Raises:
            ModelError: The checkpoint cannot be loaded.
        """
        from spinemed import vlm

        if self._loaded is None:
            from transformers.utils import logging

            logging.disable_progress_bar()  # the runner's own bar is already on the screen
            self._loaded = vlm.VlmAnswerer(self.folder, batch_size=self.batch_size, max_new_tokens=self.max_new_tokens)
        made = self._loaded.answer([vlm.Request(request.messages, request.images) for request in requests])
        replies = []
        for reply in made:
            if reply.outcome == "failed":
                replies.append(Reply("", "failed", reply.detail))
            elif not reply.finished and not self.cut_is_answer:
                replies.append(Reply("", "truncated", f"length: reached the limit of {self.max_new_tokens} tokens"))
            else:
                replies.append(Reply(reply.text, "answered", "" if reply.finished else "stopped at the token limit"))
        return replies
