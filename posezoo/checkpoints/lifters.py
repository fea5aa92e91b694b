"""Formats of lifters: conversion to posezoo's keys, and the networks of the result."""

import math
import re
from collections.abc import Sequence
from typing import Any

import torch

from posezoo.checkpoints.state import State, complete

Rows = Sequence[Sequence[float]]

HUMAN36M = (  # statistics of its training set, from mmpose's configuration of SimpleBaseline3D
    (  # mean of the 2D keypoints in pixels
        *((532.08, 419.74), (531.81, 418.26), (530.68, 493.54), (529.37, 575.96), (532.30, 421.28), (531.94, 494.72)),
        *((529.72, 578.96), (532.94, 370.65), (534.11, 317.90), (534.55, 304.24), (534.87, 282.31), (534.11, 330.11)),
        *((533.54, 376.27), (533.49, 391.72), (533.53, 330.09), (532.51, 374.19), (532.73, 380.62)),
    ),
    (  # their standard deviation
        *((107.74, 63.36), (119.01, 64.12), (119.12, 50.54), (120.62, 56.38), (101.96, 62.90), (106.25, 48.41)),
        *((108.47, 54.58), (109.07, 68.70), (111.20, 74.87), (111.63, 77.81), (113.22, 79.91), (105.71, 73.27)),
        *((107.06, 73.93), (107.97, 83.30), (121.61, 74.26), (134.34, 77.48), (131.80, 89.87)),
    ),
    (  # mean of the 3D keypoints in millimetres from the pelvis, which has none
        *((0.0, 0.0, 0.0), (-0.3, -7.1, -1.0), (-5.7, 319.6, 71.9), (-10.2, 691.1, 155.4)),
        *((0.3, 7.1, 1.0), (-5.1, 327.0, 72.2), (-10.0, 708.3, 158.0), (2.9, -211.4, -47.4)),
        *((5.7, -435.1, -97.7), (5.9, -491.9, -110.7), (7.4, -583.9, -131.2), (5.4, -383.9, -86.8)),
        *((3.0, -187.6, -43.5), (1.3, -120.2, -28.3), (4.7, -383.6, -85.5), (1.7, -197.0, -43.1)),
        (0.9, -168.7, -37.4),
    ),
    (  # their standard deviation
        *((1000.0, 1000.0, 1000.0), (110.7, 22.4, 72.5), (158.6, 189.3, 208.8), (191.8, 243.2, 247.6)),
        *((110.7, 22.4, 72.5), (158.8, 199.8, 214.7), (180.0, 250.5, 248.5), (52.1, 52.1, 69.1)),
        *((95.2, 101.3, 129.0), (117.4, 126.5, 164.7), (123.6, 130.9, 164.3), (146.0, 97.1, 139.5)),
        *((243.5, 129.8, 202.3), (244.7, 215.0, 239.4), (138.8, 100.9, 142.4), (236.9, 144.9, 209.8)),
        (244.0, 239.8, 255.2),
    ),
)
LSTM_WRAPPERS = {"encoder": "output_projection_wrapper", "decoder": "rnn_decoder/output_projection_wrapper"}
BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
LSTM_GATES = ("input", "transform", "forget", "output")  # TensorFlow's names, in the order of its matrices
LIFTED = {17: "h36m17", 15: "humaneva15"}  # the same of files from 2D to 3D


def mmpose_lifter(state: State) -> State:
    """Rename to VideoPose3D's names, or to Martinez' for filters of one frame without the root."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("backbone.").removeprefix("keypoint_head.").removeprefix("head.")
        layer = re.fullmatch(r"tcn_blocks\.(\d+)\.conv([12])\.0\.(conv|bn)\.(\w+)", key)
        if layer:
            key = f"layers_{layer[3]}.{2 * int(layer[1]) + int(layer[2]) - 1}.{layer[4]}"
        key = re.sub(r"^expand_conv\.(conv|bn)\.", r"expand_\1.", key)
        renamed[re.sub(r"^conv\.", "shrink.", key)] = value
    _, inputs, width = renamed["expand_conv.weight"].shape
    outputs = len(renamed["shrink.weight"]) // 3
    if inputs != 34 or outputs not in (16, 17):
        raise ValueError(
            "mmpose's published lifters take Human3.6M's 17 keypoints and predict 17, or 16 without the pelvis; "
            f"this one takes {inputs // 2} and predicts {outputs}, and its file does not hold their statistics"
        )
    # the root is not predicted, and each filter has one frame: mmpose's Martinez, whose statistics are Human3.6M's
    if width == 1 and outputs == 16:
        return complete(_as_martinez(renamed) | _statistics(*HUMAN36M))
    # 2D: pixels of an image of 1000 x 1000 to [-1, 1]; 3D: metres
    statistics = _statistics([(500, 500)] * 17, [(500, 500)] * 17, [(0, 0, 0)] * 17, [(1000, 1000, 1000)] * 17)
    return complete(renamed | statistics)


def _as_martinez(state: State) -> State:
    """Turn convolutions over one frame into fully connected layers; their bias becomes 0."""
    renamed = {}
    for key, value in state.items():
        layer = re.fullmatch(r"layers_(conv|bn)\.(\d+)\.(\w+)", key)
        if layer:
            name = f"{'w' if layer[1] == 'conv' else 'batch_norm'}{int(layer[2]) % 2 + 1}"
            key = f"linear_stages.{int(layer[2]) // 2}.{name}.{layer[3]}"
        key = key.replace("expand_conv.", "w1.").replace("expand_bn.", "batch_norm1.").replace("shrink.", "w2.")
        renamed[key] = value.squeeze(-1) if value.ndim == 3 else value
        # convolutions before a batch norm have no bias, Martinez' linear layers do
        if value.ndim == 3 and not key.startswith("w2."):
            renamed[key.replace("weight", "bias")] = value.new_zeros(len(value))
    return renamed


def is_training_state(key: str, state: State) -> bool:
    """Return whether a TensorFlow variable belongs to the optimiser."""
    return "/Adam" in key or key.split("/")[-1] in ("beta1_power", "beta2_power", "global_step", "learning_rate")


def seq2seq3d(state: State) -> State:
    """Transpose TensorFlow's matrices, and join the four gates of each cell."""
    last = LSTM_WRAPPERS["decoder"]
    names = {"output.weight": [f"{last}/kernel"], "output.bias": [f"{last}/bias"]}
    for ours, wrapper in LSTM_WRAPPERS.items():
        project = f"{wrapper}/input_projection_wrapper"
        cell = f"{project}/layer_norm_basic_lstm_cell"
        for kind, scale, matrix in (("weight", "gamma", "kernel"), ("bias", "beta", "bias")):
            names[f"{ours}.project.{kind}"] = [f"{project}/{matrix}"]
            names[f"{ours}.gates.{kind}"] = [f"{cell}/{matrix}"]
            names[f"{ours}.gate_norm.{kind}"] = [f"{cell}/{gate}/{scale}" for gate in LSTM_GATES]
            names[f"{ours}.memory_norm.{kind}"] = [f"{cell}/state/{scale}"]
    found = {ours: [state[name] for name in theirs if name in state] for ours, theirs in names.items()}
    return {
        ours: torch.cat([value.T if value.ndim == 2 else value for value in values])
        for ours, values in found.items()
        if values
    }


def martinez_tensorflow(state: State) -> State:
    """Rename the variables of Martinez' code, and transpose its matrices.

    Its layers are "w1", then "w2" and "w3" in each block, and "w4". A variable with an unknown name
    keeps it, so that the strict copy into a model refuses it.
    """
    layers = [("w1", "b1", "batch_normalization", "", 1), ("w4", "b4", "", "", 2)]
    for block in {key.split("/")[1].removeprefix("two_linear_") for key in state if "/two_linear_" in key}:
        scope, ours = f"two_linear_{block}/", f"linear_stages.{block}."
        for layer in (1, 2):
            theirs = f"{scope}w{layer + 1}_{block}", f"{scope}b{layer + 1}_{block}"
            layers.append((*theirs, f"{scope}batch_normalization{layer}{block}", ours, layer))
    names: dict[str, str] = {}
    for weight, bias, norm, ours, layer in layers:
        names |= {weight: f"{ours}w{layer}.weight", bias: f"{ours}w{layer}.bias"}
        names |= {f"{norm}/{leaf}": f"{ours}batch_norm{layer}.{name}" for leaf, name in BATCH_NORM.items()}
    return complete(
        {
            names.get(key.removeprefix("linear_model/"), key): value.T if value.ndim == 2 else value
            for key, value in state.items()
        }
    )


def _statistics(mean_2d: Rows, std_2d: Rows, mean_3d: Rows, std_3d: Rows) -> State:
    """Return the buffers of `PoseNormalize`."""
    names = ("keypoints.mean", "keypoints.std", "pose3d.mean", "pose3d.std")
    values = (mean_2d, std_2d, mean_3d, std_3d)
    return {
        f"normalize.{name}": torch.tensor(rows, dtype=torch.float32) for name, rows in zip(names, values, strict=True)
    }


def find_temporal_conv(state: State) -> tuple[str, dict[str, Any]]:
    """Find the filter widths, channels and keypoints of a VideoPose3D network."""
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


def find_martinez(state: State) -> tuple[str, dict[str, Any]]:
    """Find the width and blocks of a PyTorch port of Martinez' baseline, without max-norm."""
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


def find_seq2seq3d(state: State) -> tuple[str, dict[str, Any]]:
    """Find the width and the layer norm of a sequence to sequence network."""
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


def find_martinez_tensorflow(state: State) -> tuple[str, dict[str, Any]]:
    """Find the width and blocks of Martinez' baseline, with the authors' max-norm and epsilon.

    Variables hold the weights before the max-norm, so that it belongs to the network.
    """
    _, kwargs = find_martinez(state)
    return "martinez", {**kwargs, "max_norm": True, "batch_norm": "tensorflow"}
