"""Which network a state dict in our keys belongs to: its name and the arguments of its constructor."""

import math
import re
from typing import Any

from torch import Tensor

State = dict[str, Tensor]

RESNET_DEPTHS = {  # (blocks of layer3, bottleneck?) -> depth
    (2, False): 18,
    (6, False): 34,
    (6, True): 50,
    (23, True): 101,
    (36, True): 152,
}
CPM_SKELETONS = {14: "cpm14", 9: "flic9"}  # of the files with a background: MPII and LSP, FLIC
LIFTED = {17: "h36m17", 15: "humaneva15"}  # the same of files from 2D to 3D
SKELETONS = {17: "coco17", 16: "mpii16"}  # every published file of these flavours with so many keypoints is this one


def infer(state: State) -> tuple[str, dict[str, Any]]:
    """Architecture and constructor arguments of a network in our keys.

    Raises:
        ValueError: the tensors belong to no network known here, or to a trunk without a head.

    Example:
        >>> import torch
        >>> infer({"transition1.0.0.weight": torch.ones(48, 1), "final_layer.weight": torch.ones(16, 48, 1, 1)})
        ('hrnet_w48', {'num_keypoints': 16, 'skeleton': 'mpii16'})
    """
    if any(key.startswith("stages.0.beliefs.") for key in state):
        return _infer_cpm(state)
    if "outs.0.weight" in state and "pre.3.conv1.weight" in state:
        return _infer_hourglass(state)
    if "fc.weight" in state and "final_layer.weight" not in state:
        return _infer_regression(state)
    if "expand_conv.weight" in state:
        return _infer_temporal_conv(state)
    if "linear_stages.0.w1.weight" in state:
        return _infer_martinez(state)
    if "encoder.gates.weight" in state:
        return _infer_seq2seq3d(state)
    if "feedback.fc.weight" in state:
        num_keypoints = len(state["feedback.fc.weight"]) // 2
        return "ief", {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    if "recurrent.0.pose.weight" in state and "trunk.conv1_1.weight" not in state:
        raise ValueError(
            "these are RPSM's stages without its trunk: model = posezoo.create('rpsm_torch7'), load the trunk's file "
            "with posezoo.load_checkpoint(model, TRUNK), then this one into the same model"
        )
    if "final_layer.weight" not in state:
        raise ValueError(
            "these are weights of a trunk, without heatmaps; give the model that they belong in as the first argument"
        )
    num_keypoints = len(state["final_layer.weight"])
    head = {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    if "transition1.0.0.weight" in state:
        width = len(state["transition1.0.0.weight"])
        return (f"hrnet_w{width}", head) if width in (32, 48) else ("hrnet_w32", {"width": width, **head})
    if "hourglass.up1.0.conv1.weight" in state:
        width = len(state["hourglass.up1.0.conv1.weight"])
        return "hourglass52", head if width == 256 else {"width": width, **head}
    depth = _resnet_depth(state)
    if depth:
        return f"simple_baseline_resnet{depth}", head
    if "backbone.conv_stem.weight" in state and len(state["deconv_layers.0.weight"][0]) == 128:
        return "simple_baseline_lite", head
    raise ValueError(
        "the keys are posezoo's, but they do not tell the architecture; give the model that they belong in as the "
        "first argument, or load the folder with its config.json: posezoo.from_pretrained(folder)"
    )


def _infer_cpm(state: State) -> tuple[str, dict[str, Any]]:
    stages = 1 + sum(re.fullmatch(r"stages\.\d+\.beliefs\.Mconv1_stage\d+\.weight", key) is not None for key in state)
    last = max(key for key in state if re.fullmatch(r"stages\.0\.beliefs\.Mconv\d_stage2\.weight", key))
    outputs, width = state[last].shape[:2]
    if "trunk.bn1_stage2.weight" in state:
        name, usual, num_keypoints, skeleton = "cpm_bn_6s", 6, outputs, SKELETONS.get(outputs)
    elif "trunk.conv5_1.weight" in state:
        name, usual, num_keypoints, skeleton = "cpm_person_4s", 4, outputs, None
    else:
        name, usual = "cpm_vgg_6s" if "trunk.conv1_1.weight" in state else "cpm_9x9_6s", 6
        if (name, stages) == ("cpm_9x9_6s", 4):
            name, usual = "cpm_9x9_4s", 4
        num_keypoints, skeleton = outputs - 1, CPM_SKELETONS.get(outputs - 1)
    kwargs = {**({} if stages == usual else {"num_stages": stages}), **({} if width == 128 else {"width": width})}
    return name, {**kwargs, "num_keypoints": num_keypoints, "skeleton": skeleton}


def _infer_hourglass(state: State) -> tuple[str, dict[str, Any]]:
    stacks = sum(re.fullmatch(r"outs\.\d+\.weight", key) is not None for key in state)
    modules = sum(re.fullmatch(r"hgs\.0\.up1\.\d+\.bn1\.weight", key) is not None for key in state)
    num_keypoints, width = state["outs.0.weight"].shape[:2]
    named = stacks in (1, 2, 4, 8)
    kwargs = {
        **({} if named else {"num_stacks": stacks}),
        **({} if modules == 1 else {"num_modules": modules}),
        **({} if width == 256 else {"width": width}),
        **({"stem": "bearpaw"} if len(state["pre.3.conv1.weight"]) == 128 else {}),  # the authors' has 64
    }
    head = {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    return f"hourglass_{stacks if named else 8}", {**kwargs, **head}


def _infer_regression(state: State) -> tuple[str, dict[str, Any]]:
    num_outputs, depth = len(state["fc.weight"]), _resnet_depth(state)
    if num_outputs == 1000 or num_outputs % 2:
        raise ValueError(
            f"a head of {num_outputs} outputs is a classifier's, not two coordinates for each keypoint; give the model "
            "that its trunk belongs in as the first argument"
        )
    if not depth:
        raise ValueError(
            "these weights regress coordinates, but their keys do not tell the backbone; give the model that they "
            "belong in as the first argument"
        )
    num_keypoints = num_outputs // 2
    head = {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    if depth in (50, 101, 152):
        return f"deeppose_resnet{depth}", head
    return "deeppose_resnet50", {"backbone": f"resnet{depth}", **head}


def _resnet_depth(state: State) -> int | None:
    blocks = sum(key.startswith("backbone.layer3.") and key.endswith(".conv1.weight") for key in state)
    return RESNET_DEPTHS.get((blocks, "backbone.layer3.0.conv3.weight" in state))


def _infer_temporal_conv(state: State) -> tuple[str, dict[str, Any]]:
    channels, inputs, first = state["expand_conv.weight"].shape
    layers = sum(key.startswith("layers_conv.") for key in state)
    widths = [first, *(state[f"layers_conv.{layer}.weight"].shape[2] for layer in range(0, layers, 2))]
    named = 3 <= len(widths) <= 5 and set(widths) == {3}
    num_keypoints = len(state["shrink.weight"]) // 3
    kwargs = {
        **({} if named else {"filter_widths": widths}),
        **({} if channels == 1024 else {"channels": channels}),
        **({} if inputs == 34 else {"input_keypoints": LIFTED.get(inputs // 2, inputs // 2)}),
    }
    head = {"num_keypoints": num_keypoints, "skeleton": LIFTED.get(num_keypoints)}
    return f"temporal_conv_{math.prod(widths) if named else 27}", {**kwargs, **head}


def _infer_martinez(state: State) -> tuple[str, dict[str, Any]]:
    size, inputs = state["w1.weight"].shape
    if inputs not in (32, 34) or len(state["w2.weight"]) != 48:
        raise ValueError(
            f"{inputs // 2} keypoints in and {len(state['w2.weight']) // 3} out are not those of the paper; "
            "give the model that they belong in as the first argument"
        )
    blocks = sum(re.fullmatch(r"linear_stages\.\d+\.w1\.weight", key) is not None for key in state)
    kwargs = {**({} if size == 1024 else {"linear_size": size}), **({} if blocks == 2 else {"num_blocks": blocks})}
    head = {"num_keypoints": 17, "skeleton": "h36m17"}
    return ("martinez_mmpose", kwargs | head) if inputs == 34 else ("martinez", {"max_norm": False} | kwargs | head)


def _infer_seq2seq3d(state: State) -> tuple[str, dict[str, Any]]:
    size, inputs = state["encoder.project.weight"].shape
    outputs = len(state["output.weight"])
    if inputs not in (32, 34) or outputs != 48:
        raise ValueError(
            f"{inputs // 2} keypoints in and {outputs // 3} out are not those of the paper; "
            "give the model that they belong in as the first argument"
        )
    kwargs = {
        **({} if size == 1024 else {"hidden_size": size}),
        **({} if inputs == 32 else {"neck": True}),
        **({} if "encoder.gate_norm.weight" in state else {"layer_norm": False}),
    }
    return "seq2seq3d", {**kwargs, "num_keypoints": 17, "skeleton": "h36m17"}
