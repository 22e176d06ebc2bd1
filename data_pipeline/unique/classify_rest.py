"""The run's model asked about items that the rules file under no condition, where a config sets `classify_rest`.

Convention: a text that speaks to a model is not shown to it, and each request carries its source's egress rule. The
exchanges are in the run's request log, so a run taken up again asks nothing twice.

Trap: what the model files is a claim in a closed vocabulary, not a reading of the item; the counts of the manifest
keep it apart (`asked`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.config import ModelConfig
from data_pipeline.figures.second_look import open_model, require_model
from data_pipeline.unique.classify import CLASSIFY_PROMPT, Classes, Vocabulary, ask_model
from data_pipeline.unique.stage import Ask
from data_pipeline.writers.evidence import egress_of, speaks_to_model
from spinemed.errors import ReadError
from spinemed.records import Source

__all__ = ["asking", "rest_key"]

_SPOKEN = "reads like an instruction to a model"
_LOST = ("failed", "api_error", "timed_out")


def rest_key(config: ModelConfig) -> dict[str, object]:
    """What the classes depend on besides rules and vocabulary: the model and the prompt.

    Raises:
        ConfigError: No model is named.
    """
    require_model(config, "classify_rest")
    return {**config.key(), "prompt": hashlib.sha256(CLASSIFY_PROMPT.read_bytes()).hexdigest()}


@contextmanager
def asking(
    config: ModelConfig, requests: Path, started: float, sources: Mapping[str, Source], vocabulary: Vocabulary
) -> Iterator[Ask]:
    """The run's model, ready to be asked shard by shard.

    Args:
        config: Which model.
        requests: Where the run's request logs lie.
        started: When the run was opened, in seconds since the epoch.
        sources: By id; they say where an item's text may be sent.
        vocabulary: The closed lists.

    Raises:
        EgressError: A source's content may not go to this server; nothing of it was sent.
        ReadError: More items than `lost_share` allows got no reply; the run can be taken up again.
    """
    with open_model(config, requests / "classes", requests, started) as chat:

        def ask(items: Sequence[tuple[str, Sequence[str], str]]) -> Iterator[tuple[str, Classes, str]]:
            spoken = {name for name, texts, _ in items if speaks_to_model("\n".join(texts))}
            rows = [(name, texts, egress_of(sources[source])) for name, texts, source in items if name not in spoken]
            told = {
                name: (classes, why)
                for name, classes, why in ask_model(chat, rows, vocabulary, seed=config.decoding.seed)
            }
            lost = sum(why.partition(":")[0] in _LOST for _, why in told.values())
            if lost > config.lost_share * len(rows):
                raise ReadError(
                    f"{lost} of {len(rows)} items got no reply about their conditions", file=requests / "classes",
                    cure="run the same command again: what was answered is kept",
                )  # fmt: skip
            for name, _, _ in items:
                yield (name, *told.get(name, (Classes(), _SPOKEN)))

        yield ask
