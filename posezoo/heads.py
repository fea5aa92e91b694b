"""Heads that several networks share: from a feature map to the input of `PoseModel.decode`.

heatmaps   (B, K, h, w)               a 1x1 convolution, one heatmap per keypoint
integral   (B, K, h, w)               the same; the heatmaps are logits, of which the expected position counts
                                      (Sun et al., "Integral Human Pose Regression", ECCV 2018)
simcc      (B, K, columns + rows)     one classifier along x and one along y (Li et al., "SimCC", ECCV 2022)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from posezoo import codecs, heatmaps
from posezoo.layers import check_choices

HEADS = ("heatmaps", "integral", "simcc")
SPLIT = 2.0  # bins per pixel (SimCC, section 4.1)


class SimCCHead(nn.Module):
    """Classify x and y of each keypoint into bins (SimCC, Figure 2).

    `(B, channels, h, w)` to logits `(B, K, columns + rows)`: a 1x1 convolution to one map per
    keypoint, and of the flattened map one linear layer for each axis.

    Args:
        channels: of the feature map.
        num_keypoints: K.
        cells: (h, w) of the feature map, which is fixed.
        bins: (rows, columns).

    Raises:
        ValueError: a feature map of another size.

    Examples:
        >>> head = SimCCHead(8, 17, cells=(16, 12), bins=(128, 96))
        >>> head(torch.rand(2, 8, 16, 12)).shape
        torch.Size([2, 17, 224])
    """

    def __init__(self, channels: int, num_keypoints: int, *, cells: tuple[int, int], bins: tuple[int, int]) -> None:
        super().__init__()
        self.cells = cells
        self.maps = nn.Conv2d(channels, num_keypoints, 1)
        rows, columns = bins
        self.x, self.y = nn.Linear(cells[0] * cells[1], columns), nn.Linear(cells[0] * cells[1], rows)

    def forward(self, features: Tensor) -> Tensor:
        if tuple(features.shape[-2:]) != self.cells:
            raise ValueError(
                f"image: this SimCC head is for feature maps of {self.cells}, got {tuple(features.shape[-2:])}; create "
                "the network with size=(H, W) of the images"
            )
        maps = self.maps(features).flatten(2)
        return torch.cat([self.x(maps), self.y(maps)], dim=-1)


def simcc_bins(size: tuple[int, int], split: float) -> tuple[int, int]:
    """Return the number of bins (rows, columns) for images of `size` (H, W).

    Examples:
        >>> simcc_bins((256, 192), 2.0)
        (512, 384)
    """
    return round(size[0] * split), round(size[1] * split)


def set_head_kind(model: Any, kind: str, size: Sequence[int] | None, split: float) -> None:
    """Set kind of head, size of images and bins per pixel; in the constructor, after the stride.

    Raises:
        ValueError: an unknown kind, or a size without SimCC.
    """
    check_choices(head=(kind, HEADS))
    if size is not None and kind != "simcc":
        raise ValueError(f"size: only a SimCC head is for images of one size; leave it out for head={kind!r}")
    model.head_kind, model.split = kind, split
    if size is not None:
        model.apply_input_settings({"input_size": list(size)})


def build_head(model: Any, channels: int) -> nn.Module:
    """Build the head of `model.head_kind` for maps of `model.stride`; without keypoints none."""
    if not model.num_keypoints:
        return nn.Identity()
    if model.head_kind != "simcc":
        return nn.Conv2d(channels, model.num_keypoints, 1)
    height, width = model.input_size
    cells = round(height / model.stride), round(width / model.stride)
    return SimCCHead(channels, model.num_keypoints, cells=cells, bins=simcc_bins(model.input_size, model.split))


def decode_output(model: Any, output: Tensor) -> tuple[Tensor, Tensor]:
    """Decode the output of any kind of head to `(B, K, 2)` pixels and scores `(B, K)`."""
    if model.head_kind == "simcc":
        columns = simcc_bins(model.input_size, model.split)[1]
        return codecs.decode_simcc(output[..., :columns], output[..., columns:], split=model.split, logits=True)
    if model.head_kind == "integral":
        return codecs.decode_integral(output, stride=model.stride, offset=model.offset)
    return heatmaps.decode(output, stride=model.stride, offset=model.offset, method=model.decoding)
