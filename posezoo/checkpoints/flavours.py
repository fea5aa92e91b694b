"""The layouts of published checkpoints: the keys that tell them, and their tensors under our keys."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD

State = dict[str, Tensor]
Rows = Sequence[Sequence[float]]

logger = logging.getLogger("posezoo")

MMPOSE_HEADS = (  # 0.x, 1.x; heatmaps, coordinates
    *("keypoint_head.final_layer.", "head.final_layer."),
    *("keypoint_head.fc.", "head.fc.", "head.pose_head.final_layer."),
)
LOW_RESOLUTION_FUSIONS = ("stage4.2.fuse_layers.1.", "stage4.2.fuse_layers.2.", "stage4.2.fuse_layers.3.")
BEARPAW_MEAN = (0.4404, 0.4440, 0.4327)  # taken off RGB images; there is no division
BEARPAW_PARTS = ("up1", "low1", "low3", "low2")  # of an hourglass, as they are numbered
CPM_STEM = (0, 2, 4, 6, 7, 8, 9)  # where mmpose's stage 1 has its convolutions, between poolings
CPM_MEAN, CPM_STD = (128 / 255,) * 3, (256 / 255,) * 3
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
INCEPTION = {  # the layers of a block, by Caffe's names
    **{"1x1": "conv1", "3x3_reduce": "conv3_reduce", "3x3": "conv3"},
    **{"5x5_reduce": "conv5_reduce", "5x5": "conv5", "pool_proj": "pool_project"},
}
RPSM_STAGE = (  # its layers, as Torch7's code uses them
    *("specialised.{stage}.conv1", "specialised.{stage}.conv2"),
    *("adaption.{stage}.conv1", "adaption.{stage}.conv2", "adaption.{stage}.fc"),
    *("recurrent.{stage}.adapted", "recurrent.{stage}.recurrent", "recurrent.{stage}.pose"),
)
CPM_TRUNK = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1", "conv4_2"),
    *(f"conv4_{layer}_CPM" for layer in range(3, 8)),
)
LSTM_WRAPPERS = {"encoder": "output_projection_wrapper", "decoder": "rnn_decoder/output_projection_wrapper"}
LSTM_GATES = ("input", "transform", "forget", "output")  # TensorFlow's names, in the order of its matrix


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
    resnet = has(state, "backbone.layer4.")
    renamed = {}
    state = _without(state, ("head.vis_head.",), "it answers whether a keypoint is visible, beside the heatmaps")
    for key, value in _preprocessed(state).items():
        key = key.removeprefix("keypoint_head.").removeprefix("head.").removeprefix("pose_head.")
        renamed[key if resnet else key.removeprefix("backbone.")] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _pytorchcv(state: State) -> State:
    """ResNet's usual names in place of stages, units and blocks, by name or, from newer PyTorch, by number."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^backbone\.(?:init_block|0)\.conv\.(conv|bn)\.", r"backbone.\g<1>1.", key)
        unit = re.match(r"backbone\.(?:stage)?(\d)\.unit(\d+)\.(?:body\.(conv)(\d)|identity_conv)\.(conv|bn)\.", key)
        if unit:
            place = f"{unit[5]}{unit[4]}" if unit[3] else f"downsample.{int(unit[5] == 'bn')}"
            key = f"backbone.layer{unit[1]}.{int(unit[2]) - 1}.{place}.{key[unit.end() :]}"
        deconv = re.match(r"decoder\.unit(\d)\.(conv|bn)\.", key)
        if deconv:
            key = f"deconv_layers.{3 * int(deconv[1]) - 3 + (deconv[2] == 'bn')}.{key[deconv.end() :]}"
        renamed[key.replace("decoder.final_block.", "final_layer.")] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _princeton(state: State) -> State:
    """Our names: no wrapper around a convolution, a number for each residual of an hourglass."""

    def unused(key: str) -> bool:
        residual, found, _ = key.partition(".skip_layer.")
        start, end = (state.get(f"{residual}.{name}.bias") for name in ("bn1", "conv3.conv"))
        return bool(found) and start is not None and end is not None and start.shape == end.shape

    renamed = {}
    state = _without(state, unused, "no output depends on it: a residual that ends as wide as it starts adds its input")
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
        for key, value in _preprocessed(state).items()
    }
    if has(state, "hourglass_modules.1."):
        raise ValueError("expected the network with one hourglass that mmpose published, got one with more")
    state = _without(state, ("inters.",), "no output depends on it: it leads to a second hourglass, and there is none")
    parts = {"hourglass_modules.0.": "hourglass.", "out_convs.0.": "out_conv.", "multi_final_layers.0.": "final_layer."}
    renamed = {}
    for key, value in state.items():
        part = next((part for part in parts if key.startswith(part)), "")
        renamed[parts.get(part, "") + key.removeprefix(part)] = value
    return _complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def _mmpose_cpm(state: State) -> State:
    """The layer's Caffe name in place of its position."""
    renamed = {}
    for key, value in _preprocessed(state).items():
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
    first = r"conv6_\d_CPM\." if has(state, "conv6_1_CPM.") else r"conv5_\d_CPM\."

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


def _caffe_ief(state: State) -> State:
    """GoogLeNet's layers; the one over 3 + K + 1 channels is split into what depends on the keypoints and the rest.

    Its last channel is the marking point's. The image is RGB already.
    """
    auxiliary = ("loss1/", "loss2/", "cls1_", "cls2_")
    state = _without(state, auxiliary, "an auxiliary classifier, which only training needs")
    first = next((key for key, value in state.items() if value.shape[:1] == (64,) and value.shape[2:] == (7, 7)), "")
    if not first or state[first].shape[1] != 4 + len(state["cls3_fc.weight"]) // 2:
        seen, keypoints = state[first].shape[1] if first else 0, len(state["cls3_fc.weight"]) // 2
        raise ValueError(
            f"expected a first layer of 7 x 7 over {4 + keypoints} channels, image, {keypoints} keypoints and a mark, "
            f"got {seen}"
        )
    kernel, first = state[first], first.removesuffix(".weight")
    renamed = {
        "conv1.weight": kernel[:, [0, 1, 2, -1]],
        "conv1.bias": state[f"{first}.bias"],
        "feedback.conv1.weight": kernel[:, 3:-1],
    }
    names = {"conv2/3x3_reduce.": "conv2_reduce.", "conv2/3x3.": "conv2.", "cls3_fc.": "feedback.fc."}
    for key, value in state.items():
        block = re.match(r"inception_([345])([a-e])/(\w+)\.", key)
        if block and block[3] in INCEPTION:
            name = f"inception{block[1]}.{'abcde'.index(block[2])}.{INCEPTION[block[3]]}."
            renamed[name + key[block.end() :]] = value
        elif not key.startswith(f"{first}."):
            theirs = next((name for name in names if key.startswith(name)), "")
            renamed[names.get(theirs, "") + key.removeprefix(theirs)] = value
    return renamed


def _torch7_rpsm(state: State) -> State:
    """Eight layers a stage, in the order in which it uses them; the trunk is another file."""
    renamed = {}
    for key, value in state.items():
        number, _, leaf = key.split(".")
        stage, layer = divmod(int(number), len(RPSM_STAGE))
        name = RPSM_STAGE[layer].format(stage=stage)
        if name.endswith("adapted") and leaf == "weight" and stage:  # one matrix for features and the stage before
            hidden = len(value) // 4
            renamed[name.replace("adapted", "previous.weight")] = value[:, hidden:]
            value = value[:, :hidden]
        renamed[f"{name}.{leaf}"] = value
    return renamed


def _torch7_trunk(state: State) -> State:
    """The Convolutional Pose Machine's trunk, in the order of its layers, as RPSM's code feeds it: RGB."""
    behind = tuple(f"{number}." for number in range(len(CPM_TRUNK), len(state)))
    state = _without(state, behind, "it is behind the trunk")
    return {f"trunk.{CPM_TRUNK[int(key.split('.')[0])]}.{key.rpartition('.')[2]}": v for key, v in state.items()}


def _torch7_hourglass(state: State) -> State:
    """Torch7's graph in the order in which the authors' code connects it, with one residual in each place."""

    def residual(place: str, skip: bool = False) -> list[str]:
        return [f"{place}.{kind}{n}" for n in (1, 2, 3) for kind in ("bn", "conv")] + [f"{place}.skip_layer"] * skip

    def hourglass(place: str, depth: int) -> list[str]:
        inner = residual(f"{place}.low2.0") if depth == 1 else hourglass(f"{place}.low2", depth - 1)
        return [*residual(f"{place}.up1.0"), *residual(f"{place}.low1.0"), *inner, *residual(f"{place}.low3.0")]

    count = 1 + max(int(key.split(".")[0]) for key in state)
    stacks, rest = divmod(count - 20, 89)  # 22 before the first one, 87 in each, 2 between
    if rest or stacks < 1:
        raise ValueError(f"expected the hourglass authors' network, with 20 + 89 n layers, got {count}")
    names = ["pre.0.conv", "pre.0.bn", *residual("pre.1", True), *residual("pre.3"), *residual("pre.4", True)]
    for stack in range(stacks):
        names += [*hourglass(f"hgs.{stack}", 4), *residual(f"features.{stack}.0.0")]
        names += [f"features.{stack}.1.conv", f"features.{stack}.1.bn", f"outs.{stack}"]
        names += [f"merge_features.{stack}", f"merge_preds.{stack}"] * (stack < stacks - 1)
    renamed = {f"{names[int(key.split('.')[0])]}.{key.rpartition('.')[2]}": value for key, value in state.items()}
    return _complete(renamed, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _without(state: State, unused: Callable[[str], bool] | tuple[str, ...], reason: str) -> State:
    """Without some tensors, by the beginnings of their keys or by a function of the key; says which, and why."""
    leave = unused if callable(unused) else (lambda key: key.startswith(unused))
    dropped = [key for key in state if leave(key)]
    if dropped:
        more = f" and {len(dropped) - 1} more" if dropped[1:] else ""
        logger.info("left out: %s %s%s (%s)", dropped[0], tuple(state[dropped[0]].shape), more, reason)
    return {key: value for key, value in state.items() if key not in set(dropped)}


def _mmpose_lifter(state: State) -> State:
    """VideoPose3D's names; or Martinez', for the network whose filters see one frame and whose root is left out."""
    renamed = {}
    trajectory = ("traj_backbone.", "traj_head.")
    state = _without(state, trajectory, "it answers where the pelvis is, which only semi-supervised training needs")
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
    training = ("beta1_power", "beta2_power", "global_step", "learning_rate")
    state = _without(state, lambda key: "/Adam" in key or key.split("/")[-1] in training, "it belongs to the optimiser")
    dead = tuple(f"{LSTM_WRAPPERS['encoder']}/{leaf}" for leaf in ("kernel", "bias"))
    state = _without(state, dead, "no output depends on it: the encoder answers with its state alone")
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
    return _complete(_without(state, drop, "it belongs to the classifier"))


def _imagenet_resnet(state: State) -> State:
    state = _without(state, ("fc.",), "it belongs to the classifier")
    return _complete({f"backbone.{key}": value for key, value in state.items()})


def _preprocessed(state: State) -> State:
    """Without mmpose's mean and std of 0 to 255, which are ImageNet's in all of its files."""
    return _without(state, ("data_preprocessor.",), "the model has the same mean and std as its own buffers")


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


class Kept(NamedTuple):
    """What a file of some flavour lacks, so that a model keeps its own."""

    prefixes: tuple[str, ...] | Callable[[Any], tuple[str, ...]]  # of the keys, or a function of the model
    says: str


def _head_and_normalization(model: Any) -> tuple[str, ...]:
    return tuple(f"{name}." for name in (*getattr(model, "head_keys", ()), "deconv_layers", "normalize"))


TRUNK = Kept(_head_and_normalization, "holds a trunk")
STATISTICS = Kept(
    ("normalize.",),
    "has no statistics of keypoints and poses (model.normalize.fit takes them from training data, "
    "model.normalize.fit_image is VideoPose3D's way)",
)
KEPT = {
    "videopose3d": STATISTICS,
    "martinez": STATISTICS,
    "seq2seq3d": STATISTICS,
    "imagenet_hrnet": TRUNK,
    "imagenet_resnet": TRUNK,
    "caffe_ief": Kept(
        ("normalize.", "feedback.initial_pose"),
        "has no initial pose, which is in its -meta.pkl (model.set_initial_pose takes one from training data)",
    ),
    "torch7_rpsm": Kept(
        ("normalize.", "trunk.", "codec."),
        "holds RPSM's stages, without the trunk, which is another file, and without the extremes of the training poses "
        "(model.codec.fit takes them from training data)",
    ),
    "torch7_trunk": Kept(
        lambda model: tuple(key for key in model.state_dict() if not key.startswith("trunk.")), "holds RPSM's trunk"
    ),
}


def has(state: State, prefix: str | tuple[str, ...]) -> bool:
    """Whether any key begins with the prefix, or with one of them."""
    return any(key.startswith(prefix) for key in state)


# flavour -> the prefixes its keys must have (a tuple: one of them), and its converter; the first that fits is taken
FLAVOURS: dict[str, tuple[tuple[str | tuple[str, ...], ...], Callable[[State], State]]] = {
    "posezoo": ((("normalize.mean", "normalize.keypoints.mean"), ("normalize.std", "normalize.pose3d.std")), _posezoo),
    "mmpose": (("backbone.conv1.", ("backbone.layer4.", "backbone.stage4."), MMPOSE_HEADS), _mmpose),
    "pose_resnet": (("conv1.", "layer4.", "deconv_layers.", "final_layer."), _pose_resnet),
    "hrnet": (("conv1.", "transition1.", "stage4.", "final_layer.weight"), _hrnet),
    "pytorchcv": (
        (("backbone.init_block.conv.", "backbone.0.conv."), "decoder.unit1.conv.", "decoder.final_block."),
        _pytorchcv,
    ),
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
    "caffe_ief": (("inception_3a/1x1.", "inception_5b/pool_proj.", "cls3_fc."), _caffe_ief),
    "torch7_rpsm": (
        ("0.SpatialConvolution.", "5.Linear.", ("6.LinearNoBias.", "6.Linear."), "7.Linear."),
        _torch7_rpsm,
    ),
    "torch7_trunk": (("0.SpatialConvolution.", "1.SpatialConvolution.", "14.SpatialConvolution."), _torch7_trunk),
    "torch7_hourglass": (
        ("0.SpatialConvolution.", "1.SpatialBatchNormalization.", "2.SpatialBatchNormalization.", "106."),
        _torch7_hourglass,
    ),
    "caffe_cpm": ((("conv1_stage1.", "conv1_1."), "Mconv1_stage2.", "Mconv5_stage2."), _caffe_cpm),
}
