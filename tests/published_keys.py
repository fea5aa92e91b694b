"""State dicts under the keys of published files, made from posezoo's networks."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import posezoo

State = dict[str, Tensor]
MMPOSE_META = {"epoch": 210, "config": "model = dict()", "CLASSES": None, "hook_msgs": {"best": "x"}}


def trunk_and_head(model: torch.nn.Module) -> State:
    """Everything a published file could hold: ours without the normalisation."""
    return {key: value for key, value in model.state_dict().items() if not key.startswith("normalize.")}


def old(state: State) -> State:
    """As PyTorch before 0.4.1 wrote it: without batch counters."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def authors(model: torch.nn.Module) -> State:
    """The authors' names: the ResNet has no prefix."""
    return {key.removeprefix("backbone."): value for key, value in trunk_and_head(model).items()}


def mmpose(model: torch.nn.Module, head: str) -> State:
    """mmpose's names: everything under `backbone.` but the head, which is under `head.` or
    `keypoint_head.`
    """
    return {
        (f"{head}.{key}" if key.startswith(("final_layer.", "deconv_layers.")) else f"backbone.{key}"): value
        for key, value in authors(model).items()
    }


def imagenet_hrnet(model: torch.nn.Module) -> State:
    """timm's and the authors' classifier: the trunk, its unused fusions, and a classifier with its
    own final_layer.
    """
    state = {key: value for key, value in trunk_and_head(model).items() if not key.startswith("final_layer.")}
    for target in (1, 2, 3):
        state |= {f"stage4.2.fuse_layers.{target}.0.0.0.weight": torch.zeros(2, 2, 3, 3)}
        state |= {f"stage4.2.fuse_layers.{target}.0.0.1.running_var": torch.ones(2)}
    state |= {"incre_modules.0.0.conv1.weight": torch.zeros(2, 2, 1, 1), "downsamp_modules.0.0.bias": torch.zeros(2)}
    state |= {"final_layer.0.weight": torch.zeros(4, 2, 1, 1), "final_layer.1.running_var": torch.ones(4)}
    return state | {"classifier.weight": torch.zeros(10, 4), "classifier.bias": torch.zeros(10)}


def write(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def settings(model: Any) -> tuple[str, int, str | None]:
    return model.architecture, model.num_keypoints, model.skeleton.name if model.skeleton else None


def meta(name: str, **kwargs: Any) -> Any:
    with torch.device("meta"):
        return posezoo.create(name, **kwargs)


def without_counters(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
