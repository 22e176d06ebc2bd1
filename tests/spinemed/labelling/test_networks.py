"""The labeller's networks as files: what is written is read back, what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spinemed.errors import ModelError
from spinemed.labelling.networks import (
    KINDS,
    LabellerConfig,
    Networks,
    build_locator,
    build_namer,
    build_segmenter,
    load_networks,
    normalise,
    save_networks,
)

SMALL = LabellerConfig.model_validate(
    {
        "locator": {"channels": [4, 8, 8], "window_vox": [8, 8, 8]},
        "namer": {"channels": [4, 8, 8], "window_vox": [12, 8, 8]},
        "segmenter": {"channels": [4, 8, 8], "window_vox": [8, 8, 8]},
    }
)


def built() -> Networks:
    return Networks(build_locator(SMALL.locator), build_namer(SMALL.namer), build_segmenter(SMALL.segmenter))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_networks(tmp_path, SMALL, built(), {"origin": "none"})
    return tmp_path


def test_a_model_read_back_answers_alike(model: Path) -> None:
    torch.manual_seed(0)
    first = built()
    config, second, about = load_networks(model)
    assert config == SMALL
    assert about == {"origin": "none"}
    shapes = {"locator": (1, 1, 8, 8, 8), "namer": (2, 1, 12, 8, 8), "segmenter": (1, 2, 8, 8, 8)}
    answers = {}
    with torch.no_grad():
        for name, shape in shapes.items():
            pixels = torch.randn(*shape)
            answers[name] = getattr(second, name)(pixels)
            assert torch.equal(answers[name], getattr(first, name).eval()(pixels)), name
    assert answers["locator"].shape == (1, 2, 8, 8, 8)
    assert answers["namer"].shape == (2, 1 + len(KINDS) + 3)
    assert answers["segmenter"].shape == (1, 1, 8, 8, 8)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("config.json", None, "is no labeller"),
        ("config.json", b"{", "damaged"),
        ("about.json", None, "is no labeller"),
        ("locator.safetensors", None, "missing, damaged or of another config"),
        ("namer.safetensors", None, "missing, damaged or of another config"),
        ("segmenter.safetensors", b"short", "missing, damaged or of another config"),
    ],
)
def test_a_broken_model_folder_is_named(model: Path, name: str, spoil: bytes | None, told: str) -> None:
    if spoil is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(spoil)
    with pytest.raises(ModelError, match=told):
        load_networks(model)


def test_weights_of_another_config_are_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_bytes())
    config["segmenter"]["channels"] = [8, 16, 16]
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="segmenter"):
        load_networks(model)


def test_neither_air_nor_metal_decides() -> None:
    values = normalise(np.array([-3000.0, -200.0, 400.0, 1000.0, 30000.0]))
    assert values.tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert values.dtype == np.float32
