"""What two or more networks share, nothing else."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from posezoo import heatmaps
from posezoo.geometry import flip_keypoints
from posezoo.skeletons import Skeleton, get_skeleton

if TYPE_CHECKING:
    from posezoo.weights import Weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PoseModel(nn.Module):
    """What every network of the zoo owes its user and no paper describes: a name, and a way to disk and back.

    Attributes:
        architecture: the name it was created under, "" when it was built by hand.
        kwargs: the constructor's arguments, as `config.json` keeps them.
        weights: the record of the weights it carries, or None.
        head_keys: names of the submodules that depend on the number of keypoints.
        keep_aspect: whether people are cropped with the input's aspect ratio; False: their boxes are stretched to it.
    """

    architecture: str = ""
    kwargs: dict[str, Any]
    weights: "Weights | None" = None
    head_keys: tuple[str, ...] = ()
    keep_aspect: bool = True
    num_keypoints: int
    skeleton: Skeleton | None

    def __init__(self) -> None:
        super().__init__()
        self.kwargs = {}

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Write weights, config and model card; see `posezoo.save_pretrained`."""
        from posezoo.weights import save_pretrained

        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Publish to the Hugging Face Hub; see `posezoo.push_to_hub`."""
        from posezoo.weights import push_to_hub

        return push_to_hub(self, repo_id, **kwargs)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay should spare beside biases and norms, for timm's optimisers."""
        return set()

    def set_keypoints(self, num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None) -> None:
        """Record what the head's channels mean, in the constructor and in `reset_head`."""
        self.num_keypoints = num_keypoints
        self.skeleton = keypoint_skeleton(num_keypoints, skeleton)
        named = skeleton if skeleton is None or isinstance(skeleton, str) else list(get_skeleton(skeleton).keypoints)
        self.kwargs = {**self.kwargs, "num_keypoints": num_keypoints, "skeleton": named}


class Normalize(nn.Module):
    """`(image - mean) / std` per channel, with mean and std as buffers: what the weights assume travels with them."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()))

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def disable(self) -> None:
        """Turn into the identity, for pipelines that normalise already."""
        self.mean.zero_()
        self.std.fill_(1)


def named_convolutions(
    channels: int, layers: Iterable[tuple[str, int, int] | nn.Module], *, batch_norm: bool = False
) -> nn.Sequential:
    """Convolutions in a row, each with its ReLU, whose parameters are called as in the authors' Caffe file.

    Args:
        channels: of the input.
        layers: (name, kernel, width) of a convolution; a module for what lies between two of them.
        batch_norm: normalise before each ReLU; the convolutions then have no bias.
    """
    stack = nn.Sequential()
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.Module):
            stack.add_module(f"{type(layer).__name__.lower()}_{position}", layer)
            continue
        name, kernel, width = layer
        stack.add_module(name, nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=not batch_norm))
        if batch_norm:
            stack.add_module(name.replace("conv", "bn"), nn.BatchNorm2d(width))
        stack.add_module(name.replace("conv", "relu"), nn.ReLU(inplace=True))
        channels = width
    return stack


def vgg_layers(width: int = 128) -> list[tuple[str, int, int] | nn.Module]:
    """VGG-19 up to conv4_2, for `named_convolutions`; 128 is its own width."""
    w = width
    return [
        *(("conv1_1", 3, w // 2), ("conv1_2", 3, w // 2), nn.MaxPool2d(2)),
        *(("conv2_1", 3, w), ("conv2_2", 3, w), nn.MaxPool2d(2)),
        *((f"conv3_{i}", 3, 2 * w) for i in (1, 2, 3, 4)),
        nn.MaxPool2d(2),
        *(("conv4_1", 3, 4 * w), ("conv4_2", 3, 4 * w)),
    ]


def cpm_trunk(width: int = 128) -> nn.Sequential:
    """What RPSM starts from: the image features of the Convolutional Pose Machine that its authors released.

    VGG-19 up to conv4_2 and five more convolutions, `(B, 3, H, W) -> (B, width, H/8, W/8)`, a ReLU behind the last one
    too. The names are the same in every network that has it: weights move by `load_state_dict`.
    """
    more = [("conv4_3_CPM", 3, 2 * width), ("conv4_4_CPM", 3, 2 * width), ("conv4_5_CPM", 3, 2 * width)]
    return named_convolutions(3, [*vgg_layers(width), *more, ("conv4_6_CPM", 3, 2 * width), ("conv4_7_CPM", 3, width)])


def keypoint_skeleton(num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None) -> Skeleton | None:
    """The skeleton of a head with `num_keypoints`; None stands for COCO's when there are 17, for unnamed ones else."""
    if not isinstance(num_keypoints, int) or isinstance(num_keypoints, bool) or num_keypoints < 0:
        raise ValueError(f"num_keypoints: expected a whole number, 0 (no head) or more, got {num_keypoints!r}")
    if skeleton is None:
        return get_skeleton("coco17") if num_keypoints == 17 else None
    named = get_skeleton(skeleton)
    if num_keypoints not in (0, len(named)):
        raise ValueError(
            f"skeleton {named.name!r} has {len(named)} keypoints, but num_keypoints is {num_keypoints}; "
            f"pass num_keypoints={len(named)}, or the names of your keypoints as skeleton=[...]"
        )
    return named


def check_image(image: Tensor, multiple: int = 1) -> None:
    """Refuse what no network here takes, naming the fix.

    Raises:
        ValueError: not a float tensor `(B, 3, H, W)`, or H or W not a multiple of `multiple`.
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"image: expected a tensor (B, 3, H, W), got {type(image).__name__}; see posezoo.predict")
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"image: expected (B, 3, H, W), RGB, got shape {tuple(image.shape)}; add the batch axis with image[None], "
            "move channels first with image.movedim(-1, -3), repeat grey with image.repeat(1, 3, 1, 1)"
        )
    if not image.is_floating_point():
        raise ValueError(f"image: expected floats in [0, 1], got {image.dtype}; use image.float() / 255")
    height, width = image.shape[-2:]
    if height == 0 or width == 0 or height % multiple or width % multiple:
        up = [max(multiple, -(-side // multiple) * multiple) for side in (height, width)]
        raise ValueError(
            f"image: expected H and W to be multiples of {multiple}, got ({height}, {width}); "
            f"resize or pad, for instance to ({up[0]}, {up[1]})"
        )


def require_flip_index(model: PoseModel) -> tuple[int, ...]:
    """Which keypoint is whose mirror image, or an error that says how to name them."""
    if model.skeleton is None:
        raise ValueError(
            f"flip: the {model.num_keypoints} keypoints of this model have no names, so left and right are unknown; "
            "create it with skeleton=[...names with left_ and right_...], or predict with flip=False"
        )
    return model.skeleton.flip_index


def predict_heatmaps(model: Any, image: Tensor, *, flip: bool, shift: bool) -> tuple[Tensor, Tensor]:
    """`model.decode(model(image))`, the heatmaps averaged with those of the mirrored image when `flip`."""
    flip_index = require_flip_index(model) if flip else ()
    output = model(image)
    if flip:
        output = heatmaps.flip_average(output, model(image.flip(-1)), flip_index, shift=shift)
    return model.decode(output)


def predict_keypoints(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """As `predict_heatmaps` for a network that answers with coordinates: the keypoints themselves are averaged."""
    flip_index = require_flip_index(model) if flip else ()
    keypoints, scores = model.decode(model(image))
    if flip:
        mirrored, mirrored_scores = model.decode(model(image.flip(-1)))
        keypoints = (keypoints + flip_keypoints(mirrored, image.shape[-1], flip_index)) / 2
        scores = (scores + mirrored_scores[:, list(flip_index)]) / 2
    return keypoints, scores


def import_timm(wanted: str) -> Any:
    """The timm package, or an error that says why it cannot be imported and what to install."""
    try:
        import timm
    except Exception as error:  # a torchvision built for another torch raises RuntimeError while timm imports it
        raise ImportError(
            f"{wanted} comes from timm, and importing timm failed: {type(error).__name__}: {error}. This is usually "
            "a torchvision that was built for another torch: reinstall both together from one index (pip install "
            "--force-reinstall torch torchvision). Networks without a timm backbone, such as hrnet_w32, work without it"
        ) from error
    return timm


def timm_trunk(name: str, *, pretrained: bool = False) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A timm network without its classifier, and the mean and std its ImageNet weights expect.

    The module returns a list with one tensor, the last feature map.

    Raises:
        ValueError: timm has no such network, or none that yields feature maps; no way to its weights.
        ImportError: timm cannot be imported here; says why and what to install.
    """
    timm = import_timm(f"the backbone {name!r}")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "."
        raise ValueError(f"backbone: timm {timm.__version__} has no network {name!r}{hint} See timm.list_models()")
    config = timm.get_pretrained_cfg(name)
    weights = {}
    if pretrained:
        if not config.hf_hub_id:
            raise ValueError(f"pretrained_backbone: timm has no ImageNet weights of {name!r} on the Hub")
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(hub_file(config.hf_hub_id))}}
    try:
        trunk = timm.create_model(name, features_only=True, out_indices=(-1,), **weights)
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(f"backbone: timm's {name!r} yields no feature maps ({error}); choose another") from error
    return trunk, tuple(config.mean), tuple(config.std)


def hub_file(repository: str) -> Path:
    """The weights file of a Hub repository, through our own loader: offline it fails at once, with advice."""
    from posezoo.weights import Weights, find

    return find(Weights(sources=(f"hf-hub:{repository}",)))


def hub_state_dict(repository: str) -> dict[str, Tensor]:
    """The tensors of a Hub repository's weights file."""
    from posezoo.weights import read_state_dict

    return read_state_dict(hub_file(repository))
