"""Published checkpoints in our keys: which flavour a file is, what its network is, and how its tensors are called here.

A flavour is recognised by its keys, never by a file's name. Converters rename, complete and fold, so that the result
loads strictly: what our models hold beside the published tensors is their image normalisation.

    posezoo          what `save_pretrained` writes
    pose_resnet      Microsoft's Simple Baselines and the pose_resnet files of the HRNet authors; fed BGR
    hrnet            the HRNet authors' pose network
    mmpose           mmpose 0.x and 1.x, PoseResNet, HRNet or a ResNet that regresses coordinates (DeepPose), under
                     `backbone.` and `head.` or `keypoint_head.`
    princeton        the hourglass authors' PyTorch files; residuals hold convolutions that are never run
    bearpaw          hourglasses of bearpaw/pytorch-pose and anibali/pytorch-stacked-hourglass
    mmpose_hourglass mmpose's hourglass52; holds a block that is never run
    mmpose_cpm       mmpose's Convolutional Pose Machine with batch normalisation
    caffe_cpm        the authors' Convolutional Pose Machines, each tensor under its Caffe layer's name; fed BGR, the
                     background last (other people's training code may have it first: keys do not tell)
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

MMPOSE_HEADS = (  # 0.x, 1.x; heatmaps, coordinates
    *("keypoint_head.final_layer.", "head.final_layer."),
    *("keypoint_head.fc.", "head.fc."),
)
WRAPPERS = ("module.", "model.module.", "_orig_mod.")  # what DataParallel, training scripts and compile put in front
LOW_RESOLUTION_FUSIONS = ("stage4.2.fuse_layers.1.", "stage4.2.fuse_layers.2.", "stage4.2.fuse_layers.3.")
RESNET_DEPTHS = {  # (blocks of layer3, bottleneck?) -> depth
    (2, False): 18,
    (6, False): 34,
    (6, True): 50,
    (23, True): 101,
    (36, True): 152,
}
BEARPAW_MEAN = (0.4404, 0.4440, 0.4327)  # taken off RGB images; there is no division
BEARPAW_PARTS = ("up1", "low1", "low3", "low2")  # of an hourglass, as they are numbered
CPM_STEM = (0, 2, 4, 6, 7, 8, 9)  # where mmpose's stage 1 has its convolutions, between poolings
CPM_SKELETONS = {14: "cpm14", 9: "flic9"}  # of the files with a background: MPII and LSP, FLIC
CPM_MEAN, CPM_STD = (128 / 255,) * 3, (256 / 255,) * 3
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
    if _any(state, "stages.0.beliefs."):
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


def _princeton(state: State) -> State:
    """Our names: no wrapper around a convolution, a number for each residual of an hourglass."""

    def unused(key: str) -> bool:
        residual, found, _ = key.partition(".skip_layer.")
        start, end = (state.get(f"{residual}.{name}.bias") for name in ("bn1", "conv3.conv"))
        return bool(found) and start is not None and end is not None and start.shape == end.shape

    renamed = {}
    state = _used(state, unused, "residuals that end as wide as they start add their input as it is")
    for key, value in state.items():
        name = re.sub(r"^hgs\.(\d+)\.0\.", r"hgs.\1.", key)
        name = re.sub(r"^((?:hgs|features)\..*)\.(bn\d|conv\d|skip_layer)\.", r"\1.0.\2.", name)
        name = re.sub(r"(conv\d|skip_layer)\.conv\.", r"\1.", name)
        renamed[re.sub(r"^((?:outs|merge_\w+)\.\d+)(?:\.conv)+\.", r"\1.", name)] = value
    return _complete(renamed, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _bearpaw(state: State) -> State:
    """The authors' names in place of bearpaw's, whose hourglasses number their levels from the innermost."""

    def place(match: re.Match[str]) -> str:
        stack, level, part = match[1], int(match[2]), int(match[3])
        return f"hgs.{stack}." + "low2." * (3 - level) + f"{BEARPAW_PARTS[part]}."

    names: dict[str, str | Callable[[re.Match[str]], str]] = {
        r"^conv1\.": "pre.0.conv.",
        r"^bn1\.": "pre.0.bn.",
        r"^layer1\.0\.": "pre.1.",
        r"^layer2\.0\.": "pre.3.",
        r"^layer3\.0\.": "pre.4.",
        r"\.downsample\.0\.": ".skip_layer.",
        r"^hg\.(\d+)\.hg\.([0-3])\.([0-3])\.": place,
        r"^res\.(\d+)\.": r"features.\1.0.",
        r"^fc\.(\d+)\.0\.": r"features.\1.1.conv.",
        r"^fc\.(\d+)\.1\.": r"features.\1.1.bn.",
        r"^score\.": "outs.",
        r"^fc_\.": "merge_features.",
        r"^score_\.": "merge_preds.",
    }
    renamed = {}
    for key, value in state.items():
        for pattern, name in names.items():
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return _complete(renamed, BEARPAW_MEAN, (1.0, 1.0, 1.0))


def _mmpose_hourglass(state: State) -> State:
    state = {
        key.removeprefix("backbone.").removeprefix("keypoint_head.").removeprefix("head."): value
        for key, value in state.items()
        if not key.startswith("data_preprocessor.")
    }
    if _any(state, "hourglass_modules.1."):
        raise ValueError("expected the network with one hourglass that mmpose published, got one with more")
    state = _used(state, lambda key: key.startswith("inters."), "it leads to a second hourglass, and there is none")
    parts = {"hourglass_modules.0.": "hourglass.", "out_convs.0.": "out_conv.", "multi_final_layers.0.": "final_layer."}
    renamed = {}
    for key, value in state.items():
        part = next((part for part in parts if key.startswith(part)), "")
        renamed[parts.get(part, "") + key.removeprefix(part)] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _mmpose_cpm(state: State) -> State:
    """The layer's Caffe name in place of its position."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("data_preprocessor."):
            continue
        match = re.fullmatch(r"backbone\.(\w+)\.(\d+)\.(?:(?:model\.)?(\d+)\.)?(conv|bn)\.(\w+)", key)
        if match:
            part, index, layer = match[1], int(match[2]), int(match[3] or 0)
            name = {
                "stem": f"stage1.conv{CPM_STEM.index(index) + 1 if index in CPM_STEM else index}_stage1",
                "middle": f"trunk.conv{index // 2 + 1}_stage2",
                "middle_conv": f"stages.{index}.features.conv{1 if index else 4}_stage{index + 2}",
                "cpm_stages": f"stages.{index}.beliefs.Mconv{layer + 1}_stage{index + 2}",
                "out_convs": f"stages.{index}.beliefs.Mconv{layer + 4}_stage{index + 2}",
            }.get(part, key)
            key = f"{name.replace('conv', match[4])}.{match[5]}"
        renamed[key] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _caffe_cpm(state: State) -> State:
    """Each layer under its stage, and BGR folded into RGB: the kernels that see the image turned round."""
    first = r"conv6_\d_CPM\." if _any(state, "conv6_1_CPM.") else r"conv5_\d_CPM\."

    def place(key: str) -> str:
        later = re.match(r"(M?)conv\d_stage(\d+)\.", key)
        if re.match(rf"conv\d_stage1\.|{first}", key):
            return f"stage1.{key}"
        if re.match(r"conv\d_\d|conv[123]_stage2\.", key):
            return f"trunk.{key}"
        return f"stages.{int(later[2]) - 2}.{'beliefs' if later[1] else 'features'}.{key}" if later else key

    see_the_image = ("conv1_1.weight", "conv1_stage1.weight", "conv1_stage2.weight")
    renamed = {place(key): value.flip(1) if key in see_the_image else value for key, value in state.items()}
    return _complete(renamed, CPM_MEAN, CPM_STD)


def _used(state: State, unused: Callable[[str], bool], reason: str) -> State:
    """Without the tensors that no output depends on."""
    dropped = [key for key in state if unused(key)]
    if dropped:
        more = f" and {len(dropped) - 1} more" if dropped[1:] else ""
        shape = tuple(state[dropped[0]].shape)
        logger.info("left out, for no output depends on it: %s %s%s (%s)", dropped[0], shape, more, reason)
    return {key: value for key, value in state.items() if key not in dropped}


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
    "princeton": (("pre.0.conv.", "hgs.0.0.", "outs.0.conv."), _princeton),
    "bearpaw": (("conv1.", "layer3.", "hg.0.hg.", "score.0."), _bearpaw),
    "mmpose_hourglass": (
        ("backbone.hourglass_modules.", ("keypoint_head.multi_final_layers.", "head.multi_final_layers.")),
        _mmpose_hourglass,
    ),
    "mmpose_lifter": (("backbone.expand_conv.conv.", ("keypoint_head.conv.", "head.conv.")), _mmpose_lifter),
    "videopose3d": (("expand_conv.", "layers_conv.", "shrink."), _complete),
    "martinez": (("w1.", "linear_stages.0.w1.", "w2."), _complete),
    "seq2seq3d": (tuple(f"{wrapper}/input_projection_wrapper/" for wrapper in LSTM_WRAPPERS.values()), _seq2seq3d),
    "imagenet_hrnet": (("conv1.", "transition1.", "stage4."), _imagenet_hrnet),
    "imagenet_resnet": (("conv1.", "layer4.", "fc."), _imagenet_resnet),
    "mmpose_cpm": (("backbone.stem.0.conv.", "backbone.cpm_stages.", "backbone.out_convs."), _mmpose_cpm),
    "caffe_cpm": ((("conv1_stage1.", "conv1_1."), "Mconv1_stage2.", "Mconv5_stage2."), _caffe_cpm),
}
