"""Let LLaMA-Factory import beside a CPU torch: torchvision's and torchaudio's wheels are linked to CUDA.

Copied into the peer environment's site-packages by `make peer NAME=llamafactory` and imported at start from a .pth
file: declares the two operators that torchvision looks up, just before it is imported, and stands in for torchaudio,
which LLaMA-Factory imports for sound. Nothing calls either.
"""

import importlib.abc
import importlib.machinery
import sys
import types

kept = []


class DeclareFirst(importlib.abc.MetaPathFinder):
    """Finds nothing; declares the operators when torchvision is first asked for."""

    def find_spec(self, name, path=None, target=None):  # noqa: D102
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            kept.append(library)


sys.meta_path.insert(0, DeclareFirst())
sound = types.ModuleType("torchaudio")
sound.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = sound
