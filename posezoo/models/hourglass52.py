"""hourglass52: CornerNet's backbone (Law, Deng; ECCV 2018; arXiv 1808.01244) with one hourglass.

mmpose published it under the hourglass's name, but it is not the network of Newell et al.
(`hourglass.py`): it has one hourglass, strided convolutions instead of poolings, and more channels
at lower resolutions.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 128
    Out  heatmaps  (B, K, H/4, W/4)

Departures
    - Everything follows mmpose: cells at pixel 4 i, quarter offsets, mirrored maps shifted by one
      cell. Of CornerNet's second hourglass, corner pooling and heads nothing is left.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo import heatmaps
from posezoo.contract import PoseModel, check_image, predict_heatmaps
from posezoo.layers import ConvBNReLU, Normalize
from posezoo.registry import register_model

WIDTHS = (1, 1, 1.5, 1.5, 1.5, 2)  # channels from 64 to 2 cells, in multiples of the first
BLOCKS = (2, 2, 2, 2, 2, 4)
STRIDE = 4  # pixels per cell
INIT_STD = 0.001


class CornerNetHourglass(PoseModel):
    """CornerNet's backbone with one hourglass, and a heatmap layer.

    Args:
        width: channels at the highest resolution; the lower ones have up to twice as many.
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layer, and `forward` returns
            features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark" or "soft".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as mmpose does.

    Examples:
        >>> model = CornerNetHourglass(width=16)
        >>> model(torch.rand(2, 3, 256, 128)).shape
        torch.Size([2, 17, 64, 32])
    """

    head_keys = ("final_layer",)
    input_size = (256, 256)
    stride = STRIDE

    def __init__(
        self,
        *,
        width: int = 256,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        decoding: str = "quarter",
        flip_shift: bool = True,
    ) -> None:
        super().__init__()
        widths = [int(width * factor) for factor in WIDTHS]
        self.num_features, self.decoding, self.flip_shift = width, decoding, flip_shift

        self.normalize = Normalize()
        self.stem = nn.Sequential(
            ConvBNReLU(3, width // 2, 7, stride=2, bias=False), Blocks(BasicBlock(width // 2, width, stride=2))
        )
        self.hourglass = StridedHourglass(widths, BLOCKS)
        self.out_conv = ConvBNReLU(width, width, 3, bias=False)
        self.final_layer: nn.Module

        initialize(self)
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple with `all_stages`."""
        output = self.forward_head(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the input of the heatmap layer: `(B, width, H/4, W/4)`."""
        check_image(image, STRIDE * 2 ** (len(WIDTHS) - 1), self.in_chans)
        return self.out_conv(self.hourglass(self.stem(self.normalize(image))))

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the heatmaps for the output of `forward_features`."""
        return self.final_layer(features)

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`."""
        return heatmaps.decode(output, stride=self.stride, method=self.decoding)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_heatmaps(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the heatmap layer for other keypoints; 0 removes it."""
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = nn.Conv2d(self.num_features, num_keypoints, 1) if num_keypoints else nn.Identity()
        initialize(self.final_layer)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable gradient checkpointing of each sequence of blocks."""
        for module in self.modules():
            if isinstance(module, Blocks):
                module.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: stem, hourglass, last layers, head."""
        return {"stem": r"^stem", "blocks": r"^hourglass", "neck": r"^out_conv", "head": r"^final_layer"}


class StridedHourglass(nn.Module):
    """An hourglass with strided convolutions instead of poolings, and a width per resolution.

    `(B, widths[0], h, w)` in and out; `low2` is the hourglass of the next scale, or blocks at the
    lowest.
    """

    def __init__(self, widths: Sequence[int], counts: Sequence[int]) -> None:
        super().__init__()
        (width, lower, *_), (count, lower_count, *_) = widths, counts
        self.up1 = Blocks(*(BasicBlock(width, width) for _ in range(count)))
        self.low1 = Blocks(BasicBlock(width, lower, stride=2), *(BasicBlock(lower, lower) for _ in range(count - 1)))
        self.low2 = (
            StridedHourglass(widths[1:], counts[1:])
            if len(widths) > 2
            else Blocks(*(BasicBlock(lower, lower) for _ in range(lower_count)))
        )
        self.low3 = Blocks(*(BasicBlock(lower, lower) for _ in range(count - 1)), BasicBlock(lower, width))

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(x)))
        return self.up1(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)).add_(self.downsample(x)), inplace=True)


class Blocks(nn.Sequential):
    """A sequence of blocks with gradient checkpointing."""

    grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(super().forward, x, use_reentrant=False)
        return super().forward(x)  # type: ignore[no-untyped-call]


def initialize(module: nn.Module) -> None:
    """Initialise convolutions from N(0, 0.001), as in mmpose."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@register_model
def hourglass52(**kwargs: Any) -> CornerNetHourglass:
    """mmpose's hourglass52: CornerNet's backbone with one hourglass, 93.7 million parameters."""
    return CornerNetHourglass(**kwargs)
