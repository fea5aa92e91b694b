"""Published checkpoints in our keys: which flavour a file is, what its network is, and how its tensors are called here.

A flavour is recognised by its keys, never by a file's name. Converters rename, complete and fold, so that the result
loads strictly: what our models hold beside the published tensors is their image normalisation.

    posezoo          what `save_pretrained` writes
    pose_resnet      Microsoft's Simple Baselines and the pose_resnet files of the HRNet authors; fed BGR
    hrnet            the HRNet authors' pose network
    mmpose           mmpose 0.x and 1.x, PoseResNet or HRNet under `backbone.` and `head.` or `keypoint_head.`
    mmpose_lifter    mmpose's VideoPose3D, and its SimpleBaseline3D with the statistics of that one's configuration
    videopose3d      the authors' VideoPose3D, alone or as "model_pos"; has no statistics
    martinez         PyTorch ports of Martinez' baseline; has no statistics
    seq2seq3d        Hossain and Little's TensorFlow variables under their names; has no statistics
    imagenet_hrnet   timm's or the authors' classifier: a trunk, no heatmaps
    imagenet_resnet  timm's or torchvision's classifier: a trunk, no heatmaps
"""

import logging
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.registry import create
from posezoo.weights import CONFIG_FILE, WEIGHTS_FILE, fit, read_record, read_state_dict

State = dict[str, Tensor]
Rows = Sequence[Sequence[float]]

logger = logging.getLogger("posezoo")

MMPOSE_HEADS = ("keypoint_head.final_layer.", "head.final_layer.")  # 0.x, 1.x
WRAPPERS = ("module.", "model.module.", "_orig_mod.")  # what DataParallel, training scripts and compile put in front
LOW_RESOLUTION_FUSIONS = ("stage4.2.fuse_layers.1.", "stage4.2.fuse_layers.2.", "stage4.2.fuse_layers.3.")
RESNET_DEPTHS = {  # (blocks of layer3, bottleneck?) -> depth
    (2, False): 18,
    (6, False): 34,
    (6, True): 50,
    (23, True): 101,
    (36, True): 152,
}
LIFTED = {17: "h36m17", 15: "humaneva15"}  # the same of files from 2D to 3D
WITHOUT_STATISTICS = ("videopose3d", "martinez", "seq2seq3d")  # flavours that hold the network alone
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
LSTM_GATES = ("input", "transform", "forget", "output")  # TensorFlow's names, in the order of its matrix
SKELETONS = {17: "coco17", 16: "mpii16"}  # every published file of these flavours with so many keypoints is this one


def load_checkpoint(model: nn.Module | None, path: str | Path) -> Any:
    """Load a published checkpoint, or one of ours, whatever its flavour.

    Args:
        model: loaded in place; a head for other keypoints is left out with a warning, and so is the head of any model
            when the file is an ImageNet trunk. A lifter keeps its statistics, with a warning, when the file has none.
            None: the architecture is read from the file's keys, that of a folder `save_pretrained` wrote from its
            config.json. Keys tell neither Caffe-style strides, UDP and DARK, nor causal convolutions: create the model
            with `caffe_style=`, `decoding=` or `causal=` and pass it.
        path: .safetensors, or a PyTorch file, which is read without running code from it.

    Returns:
        `model`, or a new one in eval mode.

    Raises:
        ValueError: not a checkpoint, an unknown flavour (names the nearest one and what it lacks), or tensors that do
            not fit; the model is unchanged.

    Example:
        >>> import tempfile, posezoo
        >>> folder = posezoo.create("hrnet_w32").save_pretrained(tempfile.mkdtemp())
        >>> posezoo.load_checkpoint(None, folder / "model.safetensors").architecture
        'hrnet_w32'
    """
    published = unwrap(read_state_dict(path))
    try:
        flavour = detect(published)
        state = convert(published, flavour)
        if model is None:
            settings = _read_config(Path(path)) if flavour == "posezoo" else None
            if flavour == "posezoo" and settings is None and "normalize.keypoints.mean" in state:
                raise ValueError(
                    "tensors do not tell in which frame a lifter sees keypoints; keep the config.json beside its file, "
                    "or give the model that they belong in as the first argument"
                )
            architecture, kwargs = settings or infer(state)
            model = create(architecture, **kwargs).eval()
        kept: dict[str, Tensor] = {}
        if flavour in WITHOUT_STATISTICS:
            kept = {key: value for key, value in model.state_dict().items() if key.startswith("normalize.")}
        elif flavour.startswith("imagenet"):
            own_head = tuple(f"{name}." for name in (*getattr(model, "head_keys", ()), "deconv_layers", "normalize"))
            kept = {key: value for key, value in model.state_dict().items() if key.startswith(own_head)}
        fit(model, {**state, **kept})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if kept and flavour in WITHOUT_STATISTICS:
        advice = "model.normalize.fit takes them from training data, model.normalize.fit_image is VideoPose3D's way"
        logger.warning("%s has no statistics of keypoints and poses, the model keeps its own: %s", path, advice)
    elif kept:
        logger.warning("%s holds a trunk; these keep their values: %s", path, ", ".join(kept))
    return model


def _read_config(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Architecture and arguments of a file of ours, when it still lies where `save_pretrained` put it."""
    if path.name != WEIGHTS_FILE or not path.with_name(CONFIG_FILE).is_file():
        return None
    architecture, record = read_record(f"local-dir:{path.parent}")
    return architecture, record.kwargs


def unwrap(state: State) -> State:
    """Without the prefixes that training scripts put in front of every key."""
    for wrapper in WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            return unwrap({key.removeprefix(wrapper): value for key, value in state.items()})
    return state


def detect(state: State) -> str:
    """The flavour of a published state dict.

    Raises:
        ValueError: none fits; names the nearest one and what it would need.

    Example:
        >>> detect(dict.fromkeys(["conv1.weight", "transition1.0.0.weight", "stage4.0.x", "final_layer.weight"]))
        'hrnet'
    """
    lacking = {flavour: [need for need in needs if not _any(state, need)] for flavour, (needs, _) in FLAVOURS.items()}
    for flavour, absent in lacking.items():
        if not absent:
            return flavour
    nearest = min(lacking, key=lambda flavour: len(lacking[flavour]) / len(FLAVOURS[flavour][0]))
    wanted = ", ".join(f"{need if isinstance(need, str) else ' or '.join(need)}*" for need in lacking[nearest])
    raise ValueError(
        f"unknown flavour of checkpoint; its first keys are {', '.join(list(state)[:3]) or 'none'}. The nearest is "
        f"{nearest!r}, which would have {wanted} too. Known are {', '.join(FLAVOURS)}"
    )


def convert(state: State, flavour: str) -> State:
    """A published state dict under our keys.

    Args:
        state: as read from the file.
        flavour: one of the module's table.

    Raises:
        ValueError: an unknown flavour.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"converter: expected one of {', '.join(FLAVOURS)}, got {flavour!r}")
    return FLAVOURS[flavour][1](unwrap(state))


def infer(state: State) -> tuple[str, dict[str, Any]]:
    """Architecture and constructor arguments of a network in our keys.

    Raises:
        ValueError: the tensors belong to no network known here, or to a trunk without a head.

    Example:
        >>> infer({"transition1.0.0.weight": torch.ones(48, 1), "final_layer.weight": torch.ones(16, 48, 1, 1)})
        ('hrnet_w48', {'num_keypoints': 16, 'skeleton': 'mpii16'})
    """
    if "expand_conv.weight" in state:
        return _infer_temporal_conv(state)
    if "linear_stages.0.w1.weight" in state:
        return _infer_martinez(state)
    if "encoder.gates.weight" in state:
        return _infer_seq2seq3d(state)
    if "final_layer.weight" not in state:
        raise ValueError(
            "these are weights of a trunk, without heatmaps; give the model that they belong in as the first argument"
        )
    num_keypoints = len(state["final_layer.weight"])
    head = {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    if "transition1.0.0.weight" in state:
        width = len(state["transition1.0.0.weight"])
        return (f"hrnet_w{width}", head) if width in (32, 48) else ("hrnet_w32", {"width": width, **head})
    if "backbone.layer3.0.conv1.weight" in state:
        blocks = sum(key.startswith("backbone.layer3.") and key.endswith(".conv1.weight") for key in state)
        depth = RESNET_DEPTHS.get((blocks, "backbone.layer3.0.conv3.weight" in state))
        if depth:
            return f"simple_baseline_resnet{depth}", head
    if "backbone.conv_stem.weight" in state and len(state["deconv_layers.0.weight"][0]) == 128:
        return "simple_baseline_lite", head
    raise ValueError(
        "the keys are posezoo's, but they do not tell the architecture; give the model that they belong in as the "
        "first argument, or load the folder with its config.json: posezoo.from_pretrained(folder)"
    )


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


# ---------------------------------------------------------------------------------------------------------------------
# One converter per flavour


def _posezoo(state: State) -> State:
    return state


def _hrnet(state: State) -> State:
    return _complete(state, IMAGENET_MEAN, IMAGENET_STD)


def _pose_resnet(state: State) -> State:
    """BGR folded into RGB: the first convolution's channels turned round, and with them mean and std, which the
    authors apply in RGB order to BGR images."""
    state = {
        key if key.startswith(("deconv_layers.", "final_layer.")) else f"backbone.{key}": value
        for key, value in state.items()
    }
    state["backbone.conv1.weight"] = state["backbone.conv1.weight"].flip(1)
    return _complete(state, IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])


def _mmpose(state: State) -> State:
    resnet = _any(state, "backbone.layer4.")
    renamed = {}
    for key, value in state.items():
        if key.startswith("data_preprocessor."):
            continue  # mean and std in 0 to 255: the ImageNet ones, as all of mmpose's files
        key = key.removeprefix("keypoint_head.").removeprefix("head.")
        renamed[key if resnet else key.removeprefix("backbone.")] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _mmpose_lifter(state: State) -> State:
    """VideoPose3D's names; or Martinez', for the network whose filters see one frame and whose root is left out."""
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
            "mmpose's published lifters see Human3.6M's 17 keypoints and answer with 17, or 16 without the pelvis; "
            f"this one sees {inputs // 2} and answers with {outputs}, and its file does not hold their statistics"
        )
    if width == 1 and outputs == 16:
        return _complete(_as_martinez(renamed) | _statistics(*HUMAN36M))
    # halves of an image of 1000 x 1000 from its middle, and metres
    statistics = _statistics([(500, 500)] * 17, [(500, 500)] * 17, [(0, 0, 0)] * 17, [(1000, 1000, 1000)] * 17)
    return _complete(renamed | statistics)


def _as_martinez(state: State) -> State:
    """Convolutions over one frame as the fully connected layers that they are; they have no bias."""
    renamed = {}
    for key, value in state.items():
        layer = re.fullmatch(r"layers_(conv|bn)\.(\d+)\.(\w+)", key)
        if layer:
            name = f"{'w' if layer[1] == 'conv' else 'batch_norm'}{int(layer[2]) % 2 + 1}"
            key = f"linear_stages.{int(layer[2]) // 2}.{name}.{layer[3]}"
        key = key.replace("expand_conv.", "w1.").replace("expand_bn.", "batch_norm1.").replace("shrink.", "w2.")
        renamed[key] = value.squeeze(-1) if value.ndim == 3 else value
        if value.ndim == 3 and not key.startswith("w2."):
            renamed[key.replace("weight", "bias")] = value.new_zeros(len(value))
    return renamed


def _seq2seq3d(state: State) -> State:
    """TensorFlow's matrices transposed; without its optimiser's, and the encoder's output layer that nothing uses."""
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


def _statistics(mean_2d: Rows, std_2d: Rows, mean_3d: Rows, std_3d: Rows) -> State:
    """What `PoseNormalize` holds."""
    names = ("keypoints.mean", "keypoints.std", "pose3d.mean", "pose3d.std")
    values = (mean_2d, std_2d, mean_3d, std_3d)
    return {
        f"normalize.{name}": torch.tensor(rows, dtype=torch.float32) for name, rows in zip(names, values, strict=True)
    }


def _imagenet_hrnet(state: State) -> State:
    drop = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", *LOW_RESOLUTION_FUSIONS)
    return _complete({key: value for key, value in state.items() if not key.startswith(drop)})


def _imagenet_resnet(state: State) -> State:
    return _complete({f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")})


def _complete(state: State, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> State:
    """With the normalisation, and with the batch counters that files older than PyTorch 0.4.1 lack."""
    counters = {
        key.removesuffix("running_var") + "num_batches_tracked": torch.tensor(0)
        for key in state
        if key.endswith("running_var")
    }
    normalization = {}
    if mean is not None and std is not None:
        normalization = {"normalize.mean": torch.tensor(mean), "normalize.std": torch.tensor(std)}
    return {**counters, **state, **normalization}


def _any(state: State, prefix: str | tuple[str, ...]) -> bool:
    return any(key.startswith(prefix) for key in state)


# flavour -> the prefixes its keys must have (a tuple: one of them), and its converter; the first that fits is taken
FLAVOURS: dict[str, tuple[tuple[str | tuple[str, ...], ...], Callable[[State], State]]] = {
    "posezoo": ((("normalize.mean", "normalize.keypoints.mean"), ("normalize.std", "normalize.pose3d.std")), _posezoo),
    "mmpose": (("backbone.conv1.", ("backbone.layer4.", "backbone.stage4."), MMPOSE_HEADS), _mmpose),
    "pose_resnet": (("conv1.", "layer4.", "deconv_layers.", "final_layer."), _pose_resnet),
    "hrnet": (("conv1.", "transition1.", "stage4.", "final_layer.weight"), _hrnet),
    "mmpose_lifter": (("backbone.expand_conv.conv.", ("keypoint_head.conv.", "head.conv.")), _mmpose_lifter),
    "videopose3d": (("expand_conv.", "layers_conv.", "shrink."), _complete),
    "martinez": (("w1.", "linear_stages.0.w1.", "w2."), _complete),
    "seq2seq3d": (tuple(f"{wrapper}/input_projection_wrapper/" for wrapper in LSTM_WRAPPERS.values()), _seq2seq3d),
    "imagenet_hrnet": (("conv1.", "transition1.", "stage4."), _imagenet_hrnet),
    "imagenet_resnet": (("conv1.", "layer4.", "fc."), _imagenet_resnet),
}
