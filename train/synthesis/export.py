"""Write a trained synthesiser into a folder: config, weights, and ONNX files for programs without torch.

Convention: ONNX inputs bear the names of the networks' arguments; the first axis (bodies, or slices) is free.

Trap: the generator's ONNX takes the attention map as an input. Grad-CAM++ needs gradients of the classifier, which ONNX
does not run; a map of ones everywhere is "attend to all".
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spinemed.tables import write_json
from spinemed.vertebra.norms import NORM_LEVELS
from spinemed.vertebra.synthesis.completer_net import CompleterConfig, CompleterNet
from spinemed.vertebra.synthesis.shape import LENGTH
from spinemed.vertebra.synthesis.spine_shapes import SLOTS

if TYPE_CHECKING:
    from spinemed.vertebra.synthesis.generator_net import GeneratorConfig, GeneratorNets

__all__ = ["export_onnx", "write_completer", "write_generator"]

_OPSET = 17


def export_onnx(net: torch.nn.Module, inputs: dict[str, torch.Tensor], outputs: tuple[str, ...], path: Path) -> None:
    """Write a network as ONNX, its first axis free."""
    import contextlib
    import io

    axes = {name: {0: "count"} for name in (*inputs, *outputs)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is old
        torch.onnx.export(
            net.eval(), tuple(inputs.values()), str(path), input_names=list(inputs), output_names=list(outputs),
            dynamic_axes=axes, opset_version=_OPSET, dynamo=False,
        )  # fmt: skip


def _save(folder: Path, name: str, net: torch.nn.Module) -> None:
    from safetensors.torch import save_file

    weights = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    save_file(weights, folder / f"{name}.safetensors")


def write_completer(folder: Path, config: CompleterConfig, net: CompleterNet) -> None:
    """Config, weights and ONNX of a completer, into an existing folder."""
    write_json(folder / "config.json", config.model_dump(mode="json"))
    _save(folder, "completer", net)
    slots = len(SLOTS)
    inputs = {
        "shapes": torch.zeros(2, slots, LENGTH),
        "thirds": torch.full((2, slots, 3), 20.0),
        "levels": torch.zeros(2, slots, dtype=torch.int64),
        "course": torch.tensor([[20.0, 20.0, 20.0, 1.0, 1.0, 1.0]]).repeat(2, 1),
        "target": torch.full((2,), len(NORM_LEVELS) // 2, dtype=torch.int64),
    }
    export_onnx(net, inputs, ("shape", "heights"), folder / "completer.onnx")


def write_generator(folder: Path, config: GeneratorConfig, nets: GeneratorNets) -> None:
    """Config, weights and ONNX of a generator and of the classifier that guides it, into an existing folder."""
    write_json(folder / "config.json", config.model_dump(mode="json"))
    _save(folder, "generator", nets.generator)
    _save(folder, "classifier", nets.classifier)
    across, along = config.slice_vox
    inputs: dict[str, Any] = {
        "masked": torch.zeros(2, 1, across, along),
        "ratio": torch.zeros(2),
        "plane": torch.zeros(2),
        "attention": torch.ones(2, 1, across, along),
    }
    names = ("coarse_image", "coarse_near", "image", "body", "coarse_height", "height")
    export_onnx(nets.generator, inputs, names, folder / "generator.onnx")
