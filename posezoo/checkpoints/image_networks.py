"""Formats of image networks: conversion to posezoo's keys, and the networks of the result."""

import re
from collections.abc import Callable
from typing import Any

from posezoo.checkpoints.state import State, complete, has
from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD

BEARPAW_MEAN = (0.4404, 0.4440, 0.4327)  # subtracted from RGB images; the std is 1
BEARPAW_PARTS = ("up1", "low1", "low3", "low2")  # of an hourglass, in their order
CPM_STEM = (0, 2, 4, 6, 7, 8, 9)  # positions of the convolutions in mmpose's stage 1, between poolings
CPM_MEAN, CPM_STD = (128 / 255,) * 3, (256 / 255,) * 3
INCEPTION = {  # the layers of a block, by Caffe's names
    **{"1x1": "conv1", "3x3_reduce": "conv3_reduce", "3x3": "conv3"},
    **{"5x5_reduce": "conv5_reduce", "5x5": "conv5", "pool_proj": "pool_project"},
}
RPSM_STAGE = (  # layers of a stage, in the order of use
    *("specialised.{stage}.conv1", "specialised.{stage}.conv2"),
    *("adaption.{stage}.conv1", "adaption.{stage}.conv2", "adaption.{stage}.fc"),
    *("recurrent.{stage}.adapted", "recurrent.{stage}.recurrent", "recurrent.{stage}.pose"),
)
CPM_TRUNK = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1", "conv4_2"),
    *(f"conv4_{layer}_CPM" for layer in range(3, 8)),
)
RESNET_DEPTHS = {  # (blocks of layer3, bottleneck?) -> depth
    (2, False): 18,
    (6, False): 34,
    (6, True): 50,
    (23, True): 101,
    (36, True): 152,
}
CPM_SKELETONS = {14: "cpm14", 9: "flic9"}  # of the files with a background: MPII and LSP, FLIC
SKELETONS = {17: "coco17", 16: "mpii16"}  # every published file of these flavours with so many keypoints is this one

# ---------------------------------------------------------------------------------------------------------------------
# Conversions


def hrnet(state: State) -> State:
    """Add the normalisation."""
    return complete(state, IMAGENET_MEAN, IMAGENET_STD)


def pose_resnet(state: State) -> State:
    """Fold BGR into RGB: reverse the first convolution's input channels, mean and std.

    The authors apply mean and std in RGB order to BGR images.
    """
    state = {
        key if key.startswith(("deconv_layers.", "final_layer.")) else f"backbone.{key}": value
        for key, value in state.items()
    }
    state["backbone.conv1.weight"] = state["backbone.conv1.weight"].flip(1)
    return complete(state, IMAGENET_MEAN[::-1], IMAGENET_STD[::-1])


def mmpose(state: State) -> State:
    """Remove the prefixes of backbone and head; a ResNet keeps `backbone.`"""
    resnet = has(state, "backbone.layer4.")
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("keypoint_head.").removeprefix("head.").removeprefix("pose_head.")
        renamed[key if resnet else key.removeprefix("backbone.")] = value
    return complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def pytorchcv(state: State) -> State:
    """Rename to torchvision's names; the stages have a name or, in newer files, a number."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^backbone\.(?:init_block|0)\.conv\.(conv|bn)\.", r"backbone.\g<1>1.", key)
        unit = re.match(r"backbone\.(?:stage)?(\d)\.unit(\d+)\.(?:body\.(conv)(\d)|identity_conv)\.(conv|bn)\.", key)
        if unit:
            place = f"{unit[5]}{unit[4]}" if unit[3] else f"downsample.{int(unit[5] == 'bn')}"
            key = f"backbone.layer{unit[1]}.{int(unit[2]) - 1}.{place}.{key[unit.end() :]}"
        deconv = re.match(r"decoder\.unit(\d)\.(conv|bn)\.", key)
        if deconv:
            # a deconvolution, its norm and its ReLU take three numbers of the Sequential
            key = f"deconv_layers.{3 * int(deconv[1]) - 3 + (deconv[2] == 'bn')}.{key[deconv.end() :]}"
        renamed[key.replace("decoder.final_block.", "final_layer.")] = value
    return complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def skip_without_effect(key: str, state: State) -> bool:
    """Return whether a skip convolution is unused: residuals of equal widths add their input."""
    residual, found, _ = key.partition(".skip_layer.")
    start, end = (state.get(f"{residual}.{name}.bias") for name in ("bn1", "conv3.conv"))
    return bool(found) and start is not None and end is not None and start.shape == end.shape


def princeton(state: State) -> State:
    """Remove the wrappers around convolutions, and number the residuals of an hourglass."""
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"^hgs\.(\d+)\.0\.", r"hgs.\1.", key)
        name = re.sub(r"^((?:hgs|features)\..*)\.(bn\d|conv\d|skip_layer)\.", r"\1.0.\2.", name)
        name = re.sub(r"(conv\d|skip_layer)\.conv\.", r"\1.", name)
        renamed[re.sub(r"^((?:outs|merge_\w+)\.\d+)(?:\.conv)+\.", r"\1.", name)] = value
    # the authors feed RGB in [0, 1] without normalisation
    return complete(renamed, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def bearpaw(state: State) -> State:
    """Rename to the authors' names. Bearpaw numbers the levels from the innermost."""

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
    return complete(renamed, BEARPAW_MEAN, (1.0, 1.0, 1.0))


def mmpose_hourglass(state: State) -> State:
    """Remove the prefixes and the numbers of the only hourglass."""
    state = {
        key.removeprefix("backbone.").removeprefix("keypoint_head.").removeprefix("head."): value
        for key, value in state.items()
    }
    if has(state, "hourglass_modules.1."):
        raise ValueError("expected the network with one hourglass that mmpose published, got one with more")
    parts = {"hourglass_modules.0.": "hourglass.", "out_convs.0.": "out_conv.", "multi_final_layers.0.": "final_layer."}
    renamed = {}
    for key, value in state.items():
        part = next((part for part in parts if key.startswith(part)), "")
        renamed[parts.get(part, "") + key.removeprefix(part)] = value
    return complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def mmpose_cpm(state: State) -> State:
    """Rename layers from their position to their Caffe name."""
    renamed = {}
    for key, value in state.items():
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
    return complete(renamed, IMAGENET_MEAN, IMAGENET_STD)


def caffe_cpm(state: State) -> State:
    """Move each layer below its stage; fold BGR into RGB in the kernels applied to the image."""
    first = r"conv6_\d_CPM\." if has(state, "conv6_1_CPM.") else r"conv5_\d_CPM\."

    def place(key: str) -> str:
        later = re.match(r"(M?)conv\d_stage(\d+)\.", key)
        if re.match(rf"conv\d_stage1\.|{first}", key):
            return f"stage1.{key}"
        if re.match(r"conv\d_\d|conv[123]_stage2\.", key):
            return f"trunk.{key}"
        return f"stages.{int(later[2]) - 2}.{'beliefs' if later[1] else 'features'}.{key}" if later else key

    # 9x9 and vgg have other layers on the image: one trunk, or one of stage 1 and one of the later stages
    on_the_image = ("conv1_1.weight", "conv1_stage1.weight", "conv1_stage2.weight")
    renamed = {place(key): value.flip(1) if key in on_the_image else value for key, value in state.items()}
    return complete(renamed, CPM_MEAN, CPM_STD)


def caffe_ief(state: State) -> State:
    """Rename GoogLeNet's layers, and split the first one by its input channels.

    Its 3 + K + 1 input channels are the RGB image, the drawn keypoints and the marking point.
    """
    first = next((key for key, value in state.items() if value.shape[:1] == (64,) and value.shape[2:] == (7, 7)), "")
    if not first or state[first].shape[1] != 4 + len(state["cls3_fc.weight"]) // 2:
        channels, keypoints = state[first].shape[1] if first else 0, len(state["cls3_fc.weight"]) // 2
        raise ValueError(
            f"expected a first layer of 7 x 7 over {4 + keypoints} channels, image, {keypoints} keypoints and a mark, "
            f"got {channels}"
        )
    kernel, first = state[first], first.removesuffix(".weight")
    # a convolution of concatenated channels is the sum of convolutions of its parts
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


def torch7_rpsm(state: State) -> State:
    """Name the eight layers of each stage, numbered in the order of use."""
    renamed = {}
    for key, value in state.items():
        number, _, leaf = key.split(".")
        stage, layer = divmod(int(number), len(RPSM_STAGE))
        name = RPSM_STAGE[layer].format(stage=stage)
        if name.endswith("adapted") and leaf == "weight" and stage:  # one matrix for features and the stage before
            # an LSTM's matrix has four gates in its rows, and `hidden` features in its first columns
            hidden = len(value) // 4
            renamed[name.replace("adapted", "previous.weight")] = value[:, hidden:]
            value = value[:, :hidden]
        renamed[f"{name}.{leaf}"] = value
    return renamed


def is_behind_trunk(key: str, state: State) -> bool:
    """Return whether a layer of RPSM's Torch7 file comes after the trunk."""
    return int(key.split(".")[0]) >= len(CPM_TRUNK)


def torch7_trunk(state: State) -> State:
    """Name the layers of the trunk, numbered in the order of use; its input is RGB."""
    return {f"trunk.{CPM_TRUNK[int(key.split('.')[0])]}.{key.rpartition('.')[2]}": v for key, v in state.items()}


def torch7_hourglass(state: State) -> State:
    """Name the layers of the authors' graph, numbered in the order of use, one residual a place."""

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
    return complete(renamed, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def imagenet_resnet(state: State) -> State:
    """Move the classifier's layers below `backbone.`"""
    return complete({f"backbone.{key}": value for key, value in state.items()})


# ---------------------------------------------------------------------------------------------------------------------
# Networks: architecture and constructor arguments of a state dict under posezoo's keys


def head_arguments(num_keypoints: int) -> dict[str, Any]:
    """Return the arguments of a head, with the skeleton of the published files of that size."""
    return {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}


def find_heatmaps(state: State) -> tuple[str, dict[str, Any]]:
    """Find an HRNet, an hourglass52 or a Simple Baseline by its backbone."""
    head = head_arguments(len(state["final_layer.weight"]))
    if "transition1.0.0.weight" in state:
        width = len(state["transition1.0.0.weight"])
        return (f"hrnet_w{width}", head) if width in (32, 48) else ("hrnet_w32", {"width": width, **head})
    if "hourglass.up1.0.conv1.weight" in state:
        width = len(state["hourglass.up1.0.conv1.weight"])
        return "hourglass52", head if width == 256 else {"width": width, **head}
    depth = resnet_depth(state)
    if depth:
        return f"simple_baseline_resnet{depth}", head
    if "backbone.conv_stem.weight" in state and len(state["deconv_layers.0.weight"][0]) == 128:
        return "simple_baseline_lite", head
    raise ValueError(
        "the keys are posezoo's, but they do not tell the architecture; give the model that they belong in as the "
        "first argument, or load the folder with its config.json: posezoo.from_pretrained(folder)"
    )


def find_mmpose(state: State) -> tuple[str, dict[str, Any]]:
    """Find the network of mmpose's file by its head: heatmaps or coordinates."""
    return find_heatmaps(state) if "final_layer.weight" in state else find_regression(state)


def find_ief(state: State) -> tuple[str, dict[str, Any]]:
    """Find the number of keypoints of an IEF network."""
    return "ief", head_arguments(len(state["feedback.fc.weight"]) // 2)


def refuse_trunk(state: State) -> tuple[str, dict[str, Any]]:
    """Refuse a trunk, which belongs to many networks."""
    raise ValueError(
        "these are weights of a trunk, without heatmaps; give the model that they belong in as the first argument"
    )


def refuse_rpsm(state: State) -> tuple[str, dict[str, Any]]:
    """Refuse RPSM's stages, whose trunk is another file."""
    raise ValueError(
        "these are RPSM's stages without its trunk: model = posezoo.create('rpsm_torch7'), load the trunk's file "
        "with posezoo.load_checkpoint(model, TRUNK), then this one into the same model"
    )


def find_cpm(state: State) -> tuple[str, dict[str, Any]]:
    """Find the design, the stages and the parts of a Convolutional Pose Machine."""
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


def find_hourglass(state: State) -> tuple[str, dict[str, Any]]:
    """Count the stacks and modules of a stacked hourglass."""
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
    head = head_arguments(num_keypoints)
    return f"hourglass_{stacks if named else 8}", {**kwargs, **head}


def find_regression(state: State) -> tuple[str, dict[str, Any]]:
    """Find the backbone of a ResNet that regresses coordinates."""
    num_outputs, depth = len(state["fc.weight"]), resnet_depth(state)
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
    head = head_arguments(num_keypoints)
    if depth in (50, 101, 152):
        return f"deeppose_resnet{depth}", head
    return "deeppose_resnet50", {"backbone": f"resnet{depth}", **head}


def resnet_depth(state: State) -> int | None:
    """Return the depth of the ResNet in `backbone.`, or None."""
    blocks = sum(key.startswith("backbone.layer3.") and key.endswith(".conv1.weight") for key in state)
    return RESNET_DEPTHS.get((blocks, "backbone.layer3.0.conv3.weight" in state))
