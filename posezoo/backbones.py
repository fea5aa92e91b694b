"""Backbones of timm, and weights files of the Hugging Face Hub."""

import copy
import difflib
import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.layers import heatmap_head
from posezoo.weights import Weights, find, read_state_dict

DECONV_STD = 0.001  # of the initial weights of transposed convolutions (Simple Baselines, section 4.1)
# kernel of a transposed convolution -> padding, output padding that double the size
DECONV_PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}


_KEPT: list[torch.library.Library] = []


def import_timm(wanted: str) -> Any:
    """Import timm.

    Raises:
        ImportError: timm cannot be imported; the message names cause and fix.
    """
    try:
        try:
            import timm
        except RuntimeError as error:  # of a torchvision that was built for another torch
            if "torchvision::" not in str(error):
                raise
            _declare_torchvision_operators()
            import timm
    except Exception as error:
        raise ImportError(
            f"{wanted} comes from timm, and importing timm failed: {type(error).__name__}: {error}. This is usually "
            "a torchvision that was built for another torch: reinstall both together from one index (pip install "
            "--force-reinstall torch torchvision). Networks without a timm backbone, such as hrnet_w32, work without it"
        ) from error
    return timm


@functools.cache
def _declare_torchvision_operators() -> None:
    """Declare the operators that torchvision registers meta functions for while it is imported.

    Its extension does not load with another torch than it was built for, as PyPI's with the CPU
    wheels of pytorch.org, and then its import fails for lack of them. timm uses none.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # operators live as long as their library
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]  # half imported


def timm_backbone(
    name: str, *, pretrained: bool = False, reductions: Sequence[int] = ()
) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """Create a timm backbone, and return it with the mean and std that its ImageNet weights expect.

    The backbone returns a list of feature maps, the last one, or those of the strides `reductions`.

    Raises:
        ValueError: an unknown network, one without feature maps or without those strides, or
            weights that are not on the Hub.
        ImportError: timm cannot be imported.
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
        out_indices = strided_maps(name, reductions) if reductions else (-1,)
        backbone = timm.create_model(name, features_only=True, out_indices=out_indices, **weights)
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(f"backbone: timm's {name!r} yields no feature maps ({error}); choose another") from error
    return backbone, tuple(config.mean), tuple(config.std)


def strided_maps(name: str, reductions: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of a timm network's feature maps of the given strides.

    Raises:
        ValueError: the network has no map of one of the strides.
    """
    with torch.device("meta"):
        have = import_timm(name).create_model(name, features_only=True).feature_info.reduction()
    absent = [stride for stride in reductions if stride not in have]
    if absent:
        raise ValueError(
            f"backbone: expected feature maps of the strides {tuple(reductions)}, and timm's {name!r} has those of "
            f"{tuple(have)}; choose another, such as tf_efficientnet_lite2 or resnet50"
        )
    # of several maps of one stride the last, which has the most layers before it
    return tuple(len(have) - 1 - have[::-1].index(stride) for stride in reductions)


def channels_first(features: Tensor, channels: int) -> Tensor:
    """Return a feature map `(B, channels, h, w)`; some timm networks keep channels last."""
    return features if features.shape[1] == channels else features.movedim(-1, 1)


def last_map(backbone: Any, image: Tensor) -> Tensor:
    """Return the last feature map of a timm backbone: `(B, C, h, w)`."""
    return channels_first(backbone(image)[-1], backbone.feature_info.channels()[-1])


def count_cells(backbone: Any, side: int) -> int:
    """Return the number of cells of the last feature map for images of `side` x `side` pixels."""
    return (-(-side // backbone.feature_info.reduction()[-1])) ** 2


class PyramidNeck(nn.Module):
    """Merge a timm backbone's feature maps into one of the first's size, `(B, width, h, w)`."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.channels, self.width = tuple(channels), width
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        maps = [channels_first(x, count) for x, count in zip(maps, self.channels, strict=True)]
        cells = maps[0].shape[-2:]
        first, *others = (layer(x) for layer, x in zip(self.lateral, maps, strict=True))
        for x in others:
            first = first + F.interpolate(x, cells, mode="bilinear", align_corners=False)
        return F.relu(self.smooth(F.relu(first)))

    def heatmap_head(self, num_keypoints: int, *, design: str = "paper") -> nn.Sequential:
        """Create a head for 2D heatmaps, see `PoseTrunk.heatmap_head`."""
        return heatmap_head(self.width, num_keypoints, design)


def deconvolutions(channels: int, width: int, count: int = 3, kernel: int = 4) -> nn.Sequential:
    """Stack `count` times ConvTranspose, BatchNorm, ReLU; each doubles height and width."""
    padding, output_padding = DECONV_PADDING[kernel]
    layers: list[nn.Module] = []
    for _ in range(count):
        deconv = nn.ConvTranspose2d(channels, width, kernel, 2, padding, output_padding, bias=False)
        # PyTorch's default depends on the width; the authors use one deviation for all
        nn.init.normal_(deconv.weight, std=DECONV_STD)
        layers += [deconv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


def backbone_groups(coarse: bool, prefix: str = "") -> dict[str, str]:
    """Return `group_matcher`'s expressions for timm's backbone under `backbone.`: stem, blocks."""
    start = rf"^{prefix}backbone\."
    blocks = start + r"(?:layer|blocks\.|stages[._])(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
    return {"stem": start + r"(?!(?:layer|blocks\.|stages[._])\d)", "blocks": blocks}


class ExtendedConv(nn.Module):
    """A convolution with more input channels behind those of an image: a sum of two convolutions.

    Args:
        conv: the convolution of the image; `image` is the same module.
        channels: number of further inputs. Their filters, `more`, start at 0.
    """

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        self.image = conv
        self.set_channels(channels)

    def set_channels(self, channels: int) -> None:
        """Set the number of further inputs, with new filters."""
        self.more: Any = None
        if channels:
            self.more = copy.deepcopy(self.image)
            self.more.in_channels, self.more.bias = channels, None
            self.more.weight = nn.Parameter(self.image.weight.detach()[:, :1].repeat(1, channels, 1, 1).zero_())

    def forward(self, x: Tensor) -> Tensor:
        channels = self.image.in_channels
        if self.more is None or x.shape[1] == channels:  # an image alone: the further channels are 0
            return self.image(x)
        return self.image(x[:, :channels]) + self.more(x[:, channels:])


def extend_first_conv(backbone: nn.Module, channels: int) -> tuple[str, ExtendedConv]:
    """Replace a backbone's first convolution by an `ExtendedConv`; return its name and it.

    Raises:
        ValueError: the first convolution does not take an RGB image.
    """
    name, conv = next((item for item in backbone.named_modules() if isinstance(item[1], nn.Conv2d)), ("", None))
    if conv is None or conv.in_channels != 3 or conv.groups != 1:
        raise ValueError(f"backbone: expected a first convolution over three channels, got {conv}; choose another")
    parent, _, leaf = name.rpartition(".")
    extended = ExtendedConv(conv, channels)
    setattr(backbone.get_submodule(parent), leaf, extended)
    return name, extended


def set_input_channels(network: nn.Module, channels: int) -> None:
    """Replace the filters over RGB by filters over other channels, as timm does for `in_chans`.

    One channel gets the sum of the three filters, n channels repeat them, scaled by 3 / n. Mean and
    standard deviation of `network.normalize` become their average, or are repeated.

    Args:
        network: takes RGB images `(B, 3, H, W)`; changed in place.
        channels: 1 or more.

    Raises:
        ValueError: no positive number, or a network without convolutions over RGB.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> set_input_channels(network, 1)
        >>> network(torch.rand(2, 1, 9, 9)).shape
        torch.Size([2, 8, 7, 7])
    """
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"in_chans: expected a positive whole number, got {channels!r}")
    first = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels == 3]
    if not first:
        raise ValueError(f"in_chans: {type(network).__name__} has no convolutions over RGB")

    def over_channels(values: Tensor, axis: int, *, total: bool) -> Tensor:
        if channels == 1:
            return values.sum(axis, keepdim=True) / (1 if total else 3)
        repeated = values.index_select(axis, torch.arange(channels, device=values.device) % 3)
        return repeated * (3 / channels) if total else repeated

    for layer in first:
        layer.in_channels = channels
        layer.weight = nn.Parameter(over_channels(layer.weight.detach(), 1, total=True), layer.weight.requires_grad)
    normalize: Any = getattr(network, "normalize", None)
    if normalize is not None:
        normalize.mean, normalize.std = (over_channels(x, 0, total=False) for x in (normalize.mean, normalize.std))
        normalize.before = (0.0,) * channels, (1.0,) * channels


def misfits(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that only one of two state dicts has, or that differ in shape."""
    return [k for k in {**ours, **theirs} if k not in ours or k not in theirs or ours[k].shape != theirs[k].shape]


def load_backbone(backbone: nn.Module, source: nn.Module | Mapping[str, Tensor]) -> None:
    """Copy the tensors of another network's backbone, which it has under `backbone.`.

    Filters of an `ExtendedConv` for further inputs keep their values.

    Args:
        backbone: of `timm_backbone`.
        source: a network with the same backbone, such as `simple_baseline_lite`, or its state dict.

    Raises:
        ValueError: another backbone, or none; `backbone` is unchanged.

    Examples:
        >>> import posezoo
        >>> source = posezoo.create("simple_baseline_resnet18")
        >>> load_backbone(timm_backbone("resnet18")[0], source)
    """
    extended = [name for name, module in backbone.named_modules() if isinstance(module, ExtendedConv)]

    def image_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name the tensors as without an `ExtendedConv`."""
        for name in extended:
            state = {
                key.replace(f"{name}.image.", f"{name}.", 1) if key.startswith(name) else key: value
                for key, value in state.items()
                if not key.startswith(f"{name}.more.")
            }
        return dict(state)

    state = source.state_dict() if isinstance(source, nn.Module) else source
    ours = image_part(backbone.state_dict())
    theirs = image_part({key.removeprefix("backbone."): state[key] for key in state if key.startswith("backbone.")})
    wrong = misfits(ours, theirs)
    if wrong:
        raise ValueError(
            f"source: expected the same backbone under 'backbone.'; {len(wrong)} of its tensors and the network's do "
            f"not fit each other, the first is {wrong[0]}"
        )
    with torch.no_grad():
        for key, value in theirs.items():
            ours[key].copy_(value)


def hub_file(repository: str) -> Path:
    """Return the path of a Hub repository's weights file; fail at once offline, with advice."""
    return find(Weights(sources=(f"hf-hub:{repository}",)))


def hub_state_dict(repository: str) -> dict[str, Tensor]:
    """Read the tensors of a Hub repository's weights file."""
    return read_state_dict(hub_file(repository))


def load_vgg(name: str, layers: Iterable[nn.Module]) -> None:
    """Load timm's ImageNet weights of a VGG into convolutions, and batch norms, in their order.

    Args:
        name: "vgg16", "vgg16_bn" or "vgg19".
        layers: as many as are to be loaded, from the first on; those without tensors are skipped.
    """
    published = hub_state_dict(f"timm/{name}.tv_in1k")
    numbers = sorted({int(key.split(".")[1]) for key in published if key.startswith("features.")})
    filled = [layer for layer in layers if layer.state_dict()]
    for number, layer in zip(numbers, filled, strict=False):
        layer.load_state_dict({leaf: published[f"features.{number}.{leaf}"] for leaf in layer.state_dict()})
