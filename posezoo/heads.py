"""Heads that several networks share: how a feature map becomes the output that `PoseModel.decode` reads.

heatmaps   (B, K, h, w)               a 1x1 convolution, one heatmap per keypoint
integral   (B, K, h, w)               the same; the heatmaps are logits, of which the expected position counts
                                      (Sun et al., "Integral Human Pose Regression", ECCV 2018)
simcc      (B, K, columns + rows)     one classifier along x and one along y (Li et al., "SimCC", ECCV 2022)
"""

import torch
from torch import Tensor, nn

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
