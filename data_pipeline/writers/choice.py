"""The writer that a config asks for: rules, a server, or a checkpoint in this process.

Convention: everything else of a run speaks to :class:`~data_pipeline.writers.writer.Writer` alone.

Trap: a model's key holds the hash of all prompts, so a changed prompt drafts anew.
"""

from __future__ import annotations

from data_pipeline.config import BuildConfig
from data_pipeline.writers.model import ModelWriter
from data_pipeline.writers.prompts import prompts_sha256
from data_pipeline.writers.writer import Requests, RuleWriter, Writer
from spinemed.errors import ConfigError

__all__ = ["open_writer"]


def open_writer(config: BuildConfig, requests: Requests) -> Writer:
    """The writer that a config asks for.

    Args:
        config: The run's.
        requests: Where a model's requests are logged.

    Raises:
        ConfigError: The writer has no settings.
    """
    if config.writer == "rules":
        return RuleWriter(config)
    wanted = "server" if config.writer == "openai" else "checkpoint"
    if getattr(config.model, wanted) is None:
        raise ConfigError(
            f"is '{config.writer}', and nothing says which model to ask", field="writer",
            cure=f"give `model.{wanted}`, or write `writer: rules`",
        )  # fmt: skip
    return ModelWriter(config, requests, {"writer": config.writer, "prompts": prompts_sha256()})
