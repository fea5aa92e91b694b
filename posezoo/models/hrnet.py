"""Deep High-Resolution Representation Learning for Human Pose Estimation (Sun et al.; CVPR 2019).

arXiv 1902.09212.

A high-resolution branch is kept from start to end. Each stage adds a branch of half the resolution
and twice the width, and after every few blocks each branch receives the sum of all branches,
resampled to its resolution.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 32
    Out  heatmaps  (B, K, H/4, W/4)    from the high-resolution branch

Departures
    - `hrnet_w18` has the width 18 of the authors' networks for classification and faces (arXiv
      1908.07919). The pose networks of the paper are 32 and 48 wide.
    - Target Gaussians have a sigma of 2 cells (3 for inputs of 384 pixels), as in the authors'
      code; the paper's text says 1 pixel.
    - None else from the authors' pose network, whose keys these are. timm's network of the same
      name goes on to lower resolutions after stage 4, for classification;
      `pretrained_backbone=True` takes the part that both share.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.backbones import hub_state_dict
from posezoo.contract import PoseModel, check_image, predict_output
from posezoo.heads import SPLIT, build_head, decode_output, set_head_kind
from posezoo.layers import Normalize
from posezoo.registry import register_model

MODULES_PER_STAGE = (1, 4, 3)  # stages 2, 3, 4 (section 3)
BLOCKS_PER_MODULE = 4  # residual blocks per branch between two exchanges (section 3)
STEM_WIDTH, STEM_OUT = 64, 256
INIT_STD = 0.001


class HRNet(PoseModel):
    """Parallel branches, repeatedly fused (Figure 1).

    Args:
        width: channels of the high-resolution branch; the others have 2, 4 and 8 times as many.
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layer, and `forward` returns
            features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or
            "udp".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as the authors do.
        head: "heatmaps", or of `posezoo.heads`: "integral" or "simcc". Not in the paper.
        size: (H, W) of the images of a SimCC head. Defaults to (256, 192).
        split: bins per pixel of a SimCC head.
        pretrained_backbone: start from timm's ImageNet weights for this width, downloaded.

    Examples:
        >>> model = HRNet(width=8)
        >>> model(model.example_input()).shape
        torch.Size([1, 17, 64, 48])
    """

    head_keys = ("final_layer",)
    input_size = (256, 192)
    stride = 4.0
    feature_modules = tuple(f"stage4.{MODULES_PER_STAGE[2] - 1}.branches.{branch}" for branch in range(4))

    def __init__(
        self,
        *,
        width: int = 32,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        decoding: str = "quarter",
        flip_shift: bool = True,
        head: str = "heatmaps",
        size: Sequence[int] | None = None,
        split: float = SPLIT,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.num_features, self.decoding, self.flip_shift = width, decoding, flip_shift
        set_head_kind(self, head, size, split)

        self.normalize = Normalize()
        self.conv1, self.bn1 = nn.Conv2d(3, STEM_WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv2, self.bn2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.layer1 = nn.Sequential(Bottleneck(STEM_WIDTH), *(Bottleneck(STEM_OUT) for _ in range(3)))
        self.transition1, self.stage2 = transition([STEM_OUT], widths[:2]), stage(widths[:2], MODULES_PER_STAGE[0])
        self.transition2, self.stage3 = transition(widths[:2], widths[:3]), stage(widths[:3], MODULES_PER_STAGE[1])
        self.transition3 = transition(widths[:3], widths)
        self.stage4 = stage(widths, MODULES_PER_STAGE[2], last_outputs=1)
        self.final_layer: nn.Module

        initialize(self)
        if pretrained_backbone:
            # timm has the authors' names, and more tensors: those of its classification head are not read
            published = hub_state_dict(f"timm/hrnet_w{width}.ms_in1k")
            own = self.state_dict()
            self.load_state_dict(
                {key: value if key.startswith("normalize.") else published[key] for key, value in own.items()}
            )
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple with `all_stages`."""
        output = self.forward_head(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the high-resolution branch after stage 4: `(B, width, H/4, W/4)`."""
        check_image(image, 32, self.in_chans)
        x = F.relu(self.bn1(self.conv1(self.normalize(image))))
        x = F.relu(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        branches = self.run(self.stage2, branch_off(self.transition1, branches))
        branches = self.run(self.stage3, branch_off(self.transition2, branches))
        branches = self.run(self.stage4, branch_off(self.transition3, branches))
        return branches[0]

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the output for that of `forward_features`."""
        return self.final_layer(features)

    def run(self, modules: nn.Sequential, branches: list[Tensor]) -> list[Tensor]:
        for module in modules:
            if self.grad_checkpointing and self.training:
                branches = checkpoint(module, branches, use_reentrant=False)
            else:
                branches = module(branches)
        return branches

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the head to keypoints `(B, K, 2)` in pixels and scores `(B, K)`."""
        return decode_output(self, output)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_output(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the head for other keypoints; 0 removes it."""
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = build_head(self, self.num_features)
        initialize(self.final_layer)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: stem, stages (or modules), head."""
        block = r"^(?:layer|transition|stage)(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {"stem": r"^(?:conv|bn)[12]", "blocks": block, "head": r"^final_layer"}


class HighResolutionModule(nn.Module):
    """Residual blocks on every branch, then the exchange between them (Figure 3).

    `(B, width_i, H/2^i, W/2^i)` for each branch i, in and out; only the first `outputs` branches
    come out.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS_PER_MODULE))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(resample(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        return [fuse(layers, branches) for layers in self.fuse_layers]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, 64 wide, and a shortcut, to 256 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, STEM_WIDTH, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv2, self.bn2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv3, self.bn3 = nn.Conv2d(STEM_WIDTH, STEM_OUT, 1, bias=False), nn.BatchNorm2d(STEM_OUT)
        self.downsample = nn.Identity() if channels == STEM_OUT else conv_bn(channels, STEM_OUT, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


def fuse(layers: Any, branches: list[Tensor]) -> Tensor:
    """Sum all branches after resampling them to one resolution (Equation 1)."""
    # summed from branch 0 on, as the authors do: floating-point sums depend on the order
    first, *others = (layer(x) for layer, x in zip(layers, branches, strict=True))
    return F.relu(sum(others, first))


def conv_bn(channels: int, width: int, kernel: int, stride: int = 1, *, relu: bool = False) -> nn.Sequential:
    """Create a convolution and its batch norm, with or without ReLU."""
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), *([nn.ReLU(inplace=True)] if relu else []))


def stage(widths: Sequence[int], modules: int, *, last_outputs: int | None = None) -> nn.Sequential:
    """Build a stage of high-resolution modules; the last one may return fewer branches."""
    outputs = [len(widths)] * (modules - 1) + [last_outputs or len(widths)]
    return nn.Sequential(*(HighResolutionModule(widths, count) for count in outputs))


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Build transition layers: adapt the existing branches and add one at half the resolution."""
    layers: list[nn.Module] = []
    for index, width in enumerate(after):
        if index >= len(before):  # the new branch starts from the last one
            layers.append(nn.Sequential(conv_bn(before[-1], width, 3, stride=2, relu=True)))
        elif before[index] != width:
            layers.append(conv_bn(before[index], width, 3, relu=True))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)


def branch_off(layers: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    """Apply a `transition`; the last branch is also the input of the new one."""
    return [layer(branches[min(index, len(branches) - 1)]) for index, layer in enumerate(layers)]


def resample(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """Resample a branch to another's width and size: 1x1 convolution and upsampling, or 3x3s."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*conv_bn(widths[source], widths[target], 1), up)
    steps = target - source
    return nn.Sequential(
        *(conv_bn(widths[source], widths[source], 3, stride=2, relu=True) for _ in range(steps - 1)),
        conv_bn(widths[source], widths[target], 3, stride=2),
    )


def initialize(module: nn.Module) -> None:
    """Normal convolutions of standard deviation 0.001, as the authors' pose network."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@register_model
def hrnet_w18(**kwargs: Any) -> HRNet:
    """HRNet-W18, 9.3 million parameters: the smallest width of the authors' later networks."""
    return HRNet(**{"width": 18, **kwargs})


@register_model
def hrnet_w32(**kwargs: Any) -> HRNet:
    """HRNet-W32, 28.5 million parameters."""
    return HRNet(**{"width": 32, **kwargs})


@register_model
def hrnet_w48(**kwargs: Any) -> HRNet:
    """HRNet-W48, 63.6 million parameters."""
    return HRNet(**{"width": 48, **kwargs})
