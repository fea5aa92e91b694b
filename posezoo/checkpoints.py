"""Published checkpoints in our keys: which flavour a file is, what its network is, and how its tensors are called here.

A flavour is recognised by its keys, never by a file's name. Converters rename, complete and fold, so that the result
loads strictly: what our models hold beside the published tensors is their image normalisation.

    posezoo          what `save_pretrained` writes
    pose_resnet      Microsoft's Simple Baselines and the pose_resnet files of the HRNet authors; fed BGR
    hrnet            the HRNet authors' pose network
    mmpose           mmpose 0.x and 1.x, PoseResNet, HRNet or a ResNet that regresses coordinates (DeepPose), under
                     `backbone.` and `head.` or `keypoint_head.`
    imagenet_hrnet   timm's or the authors' classifier: a trunk, no heatmaps
    imagenet_resnet  timm's or torchvision's classifier: a trunk, no heatmaps
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.layers import IMAGENET_MEAN, IMAGENET_STD
from posezoo.registry import create
from posezoo.weights import CONFIG_FILE, WEIGHTS_FILE, fit, read_record, read_state_dict

State = dict[str, Tensor]

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
SKELETONS = {17: "coco17", 16: "mpii16"}  # every published file of these flavours with so many keypoints is this one


def load_checkpoint(model: nn.Module | None, path: str | Path) -> Any:
    """Load a published checkpoint, or one of ours, whatever its flavour.

    Args:
        model: loaded in place; a head for other keypoints is left out with a warning, and so is the head of any model
            when the file is an ImageNet trunk. None: the architecture is read from the file's keys, that of a folder
            `save_pretrained` wrote from its config.json. Keys tell neither Caffe-style strides nor UDP or DARK: create
            the model with `caffe_style=` or `decoding=` and pass it.
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
            architecture, kwargs = (_read_config(Path(path)) if flavour == "posezoo" else None) or infer(state)
            model = create(architecture, **kwargs).eval()
        kept: dict[str, Tensor] = {}
        if flavour.startswith("imagenet"):
            own_head = tuple(f"{name}." for name in (*getattr(model, "head_keys", ()), "deconv_layers", "normalize"))
            kept = {key: value for key, value in model.state_dict().items() if key.startswith(own_head)}
        fit(model, {**state, **kept})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if kept:
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
    if "fc.weight" in state and "final_layer.weight" not in state:
        return _infer_regression(state)
    if "final_layer.weight" not in state:
        raise ValueError(
            "these are weights of a trunk, without heatmaps; give the model that they belong in as the first argument"
        )
    num_keypoints = len(state["final_layer.weight"])
    head = {"num_keypoints": num_keypoints, "skeleton": SKELETONS.get(num_keypoints)}
    if "transition1.0.0.weight" in state:
        width = len(state["transition1.0.0.weight"])
        return (f"hrnet_w{width}", head) if width in (32, 48) else ("hrnet_w32", {"width": width, **head})
    depth = _resnet_depth(state)
    if depth:
        return f"simple_baseline_resnet{depth}", head
    if "backbone.conv_stem.weight" in state and len(state["deconv_layers.0.weight"][0]) == 128:
        return "simple_baseline_lite", head
    raise ValueError(
        "the keys are posezoo's, but they do not tell the architecture; give the model that they belong in as the "
        "first argument, or load the folder with its config.json: posezoo.from_pretrained(folder)"
    )


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
    "posezoo": (("normalize.mean", "normalize.std"), _posezoo),
    "mmpose": (("backbone.conv1.", ("backbone.layer4.", "backbone.stage4."), MMPOSE_HEADS), _mmpose),
    "pose_resnet": (("conv1.", "layer4.", "deconv_layers.", "final_layer."), _pose_resnet),
    "hrnet": (("conv1.", "transition1.", "stage4.", "final_layer.weight"), _hrnet),
    "imagenet_hrnet": (("conv1.", "transition1.", "stage4."), _imagenet_hrnet),
    "imagenet_resnet": (("conv1.", "layer4.", "fc."), _imagenet_resnet),
}
