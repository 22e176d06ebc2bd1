"""The vLLM back-end as far as it goes without vLLM: how it is started, what it is sent, how outputs are read."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.runner import predict_samples
from bench.runner.vllm_offline import VllmAnswerer, VllmConfig, engine_options
from bench.samples import read_samples
from spinemed.chat import Decoding
from spinemed.errors import MissingPartError


@dataclass
class Completion:
    text: str
    finish_reason: str | None = "stop"


@dataclass
class Output:
    outputs: list[Completion]


@dataclass
class Engine:
    """Stands in for `vllm.LLM`: keeps what it was sent and says what it is told to."""

    talks: list[Any] = field(default_factory=list)

    def chat(self, messages: list[Any], sampling_params: Any, use_tqdm: bool) -> list[Output]:
        self.talks += messages
        replies = [Completion(_words(talk)[-6:]) for talk in messages]
        replies[-1] = Completion("L", "length")
        return [Output([reply]) for reply in replies]


def _words(talk: Any) -> str:
    content = talk[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_questions_of_one_picture_stand_together_and_replies_return_to_their_order(
    checkpoint: Path, samples_folder: Path, tmp_path: Path
) -> None:
    engine = Engine()
    answerer = VllmAnswerer(checkpoint, engine=engine)
    done = predict_samples(samples_folder, answerer, tmp_path / "p", name="v", block_size=999, order="picture")
    samples, _ = read_samples(samples_folder)
    assert len(engine.talks) == len(samples)
    urls = [part["image_url"]["url"] for talk in engine.talks for part in _parts(talk) if part["type"] == "image_url"]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    assert sum(one != two for one, two in pairwise(urls)) == len(set(urls)) - 1
    firsts = [_parts(talk)[0]["type"] for talk in engine.talks if len(_parts(talk)) > 1]
    assert set(firsts) == {"image_url"}
    cut = [name for name, one in done.by_sample.items() if one.outcome == "truncated"]
    assert len(cut) == 1
    for sample in samples:
        if sample.id not in cut:
            assert done.by_sample[sample.id].text == sample.messages[-1].content[-6:]
    assert done.manifest["answerer"] == "vllm"


def _parts(talk: Any) -> list[dict[str, Any]]:
    content = talk[-1]["content"]
    return content if isinstance(content, list) else []


def test_what_the_engine_is_started_with(checkpoint: Path) -> None:
    options = engine_options(checkpoint, VllmConfig(tensor_parallel=2), Decoding(seed=7))
    assert options["tensor_parallel_size"] == 2
    assert options["mm_encoder_tp_mode"] == "data"
    assert options["enable_prefix_caching"] is True
    assert options["seed"] == 7
    assert "mm_encoder_tp_mode" not in engine_options(checkpoint, VllmConfig(), Decoding())
    one, two = (VllmAnswerer(checkpoint, config=VllmConfig(dtype=kind)).identity for kind in ("bfloat16", "float32"))
    assert one != two


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_installing_line_is_told(checkpoint: Path, samples_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match=r'pip install "spinemed\[vllm\]"'):
        predict_samples(samples_folder, VllmAnswerer(checkpoint), tmp_path / "p", name="v")
