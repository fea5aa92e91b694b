"""The network behind `posezoo.detectors.PersonDetector`: boxes around people, of any number.

NanoDet-g (https://github.com/RangiLyu/nanodet) with one class: a trunk of plain 3 x 3 convolutions
with partial connections across stages, the maps of its last three stages merged upwards and
downwards, and at each of the strides 8, 16 and 32 a head: the score of a person, and the
distributions of the distances to the four sides of the box (Li et al., "Generalized Focal Loss",
NeurIPS 2020). It is fully convolutional.

| | shape | |
|---|---|---|
| image | `(B, 3, H, W)` | RGB in [0, 1], H and W multiples of 32 |
| scores | `(B, A)` | logits of the A cells: those of stride 8 by rows, then of 16 and of 32 |
| boxes | `(B, A, 4)` | (x1, y1, x2, y2) pixels at edges, may reach out of the image |

Departures from NanoDet-g: one class in place of 80; each convolution of the last stage may be one
of fewer channels, followed by a 1 x 1 convolution.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.layers import Normalize
from posezoo.weights import Weights, find, load_state_dict, read_record, read_state_dict

STRIDES = (8, 16, 32)  # pixels per cell of the heads' maps
COARSEST = STRIDES[-1]  # images are padded to its multiples
BINS = 11  # of the distance to a side: 0, 1, ... 10 cells
PRIOR = 0.01  # initial probability of a person in a cell (RetinaNet, section 4.1)
SLOPE = 0.1  # of the leaky ReLU
MOST_PEOPLE = 300  # cells of an image that are returned

WEIGHTS = Weights(
    architecture="person_detector",
    tag="people",
    sources=("package:person_detector.people",),
    sha256="4114fa3f9e2ee121cdf81ed35f5999a3d14ac1608d0d37e34e8d9dcd5b7d16bf",
    size=5_241_746,
    kwargs={"rank": 0.5},
    metrics={"LSPET 7001-7500": {"recall": 0.949}, "COCO, 7 photographs": {"AP50": 0.813}},
    metrics_by="posezoo",
    data="COCO 2017 (the start), Leeds Sports Pose Extended (images 1 to 7000 and 7501 to 9300), rendered people",
    data_license="COCO: CC BY 4.0 and the terms of Flickr; LSPET: none stated, research use; renders: free",
    license="research-only",
)


class PersonNetwork(nn.Module):
    """Find the boxes of people in images; see the documentation of this module.

    Args:
        width: channels of the first convolution. The four stages have 2, 4, 8 and 16 times as many.
        depths: blocks of the stages.
        neck: channels of the merged maps and of the heads.
        rank: channels of the last stage's convolutions before their 1 x 1 convolutions, in units of
            those after them. Defaults to convolutions as they are.

    Examples:
        >>> network = PersonNetwork(width=4, neck=8).eval()
        >>> scores, boxes = network(torch.rand(1, 3, 64, 96))
        >>> scores.shape, boxes.shape
        (torch.Size([1, 126]), torch.Size([1, 126, 4]))
    """

    architecture = "person_detector"

    def __init__(
        self, *, width: int = 32, depths: Sequence[int] = (1, 2, 2, 3), neck: int = 128, rank: float | None = None
    ) -> None:
        super().__init__()
        self.kwargs = {"width": width, "depths": list(depths), "neck": neck, "rank": rank}
        channels = [width * 2**stage for stage in range(len(depths) + 1)]
        self.normalize = Normalize()
        self.stem = convolution(3, width, stride=2)
        last = len(depths) - 1
        self.stages = nn.ModuleList(
            Stage(channels[stage], depth, stride=2 if stage else 1, rank=rank if stage == last else None)
            for stage, depth in enumerate(depths)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(count, neck, 1) for count in channels[-len(STRIDES) :])
        self.heads = nn.ModuleList(_head(neck) for _ in STRIDES)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores `(B, A)`, logits, and boxes `(B, A, 4)`, pixels."""
        x = F.max_pool2d(self.stem(self.normalize(image)), 3, stride=2, padding=1)
        maps = [x := stage(x) for stage in self.stages][-len(STRIDES) :]
        maps = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for fine in (1, 0):
            maps[fine] = maps[fine] + F.interpolate(
                maps[fine + 1], scale_factor=2, mode="bilinear", align_corners=False
            )
        for coarse in (1, 2):
            maps[coarse] = maps[coarse] + F.avg_pool2d(maps[coarse - 1], 2)
        outputs = [head(x).flatten(2).float() for head, x in zip(self.heads, maps, strict=True)]
        scores = torch.cat([output[:, 0] for output in outputs], dim=1)
        sides = torch.cat([output[:, 1:] for output in outputs], dim=2).unflatten(1, (4, BINS)).softmax(dim=2)
        middles, strides = cells(*image.shape[-2:])
        bins = torch.arange(BINS, dtype=sides.dtype, device=sides.device)
        distances = torch.einsum("bdna,n->bad", sides, bins) * strides.to(sides)[:, None]
        middles = middles.to(sides)
        return scores, torch.cat([middles - distances[..., :2], middles + distances[..., 2:]], dim=-1)

    @torch.no_grad()
    def decode(self, scores: Tensor, boxes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return boxes `(N, 4)` and scores `(N,)` of each image, the highest first, N up to 300.

        Boxes are in pixels at edges. They may reach out of the image. Each person has several.

        Args:
            scores: as returned by `forward`.
            boxes: as returned by `forward`.
        """
        found = []
        for score, corners in zip(scores.sigmoid(), boxes, strict=True):
            value, index = score.topk(min(MOST_PEOPLE, len(score)))
            found.append((corners[index], value))
        return found


class Stage(nn.Module):
    """Blocks beside a connection around them, which doubles the channels."""

    def __init__(self, channels: int, depth: int, *, stride: int, rank: float | None) -> None:
        super().__init__()
        self.reduce = convolution(channels, channels, stride=stride, rank=rank)
        self.blocks = nn.Sequential(*(Block(channels, rank=rank) for _ in range(depth)))
        self.merge = convolution(channels, channels, rank=rank)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return torch.cat([self.merge(self.blocks(x)), x], dim=1)


class Block(nn.Module):
    """Two convolutions of half the channels, one after the other; both are kept."""

    def __init__(self, channels: int, *, rank: float | None) -> None:
        super().__init__()
        self.first = convolution(channels, channels // 2, rank=rank)
        self.second = convolution(channels // 2, channels // 2, rank=rank)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat([self.second(first), first], dim=1)


def convolution(channels: int, width: int, *, stride: int = 1, rank: float | None = None) -> nn.Sequential:
    """Convolution of 3 x 3, and leaky ReLU; with `rank`, one of fewer channels and one of 1 x 1."""
    if rank is None:
        return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1), nn.LeakyReLU(SLOPE, inplace=True))
    fewer = max(1, round(rank * width))
    return nn.Sequential(
        nn.Conv2d(channels, fewer, 3, stride, 1, bias=False),
        nn.Conv2d(fewer, width, 1),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _head(width: int) -> Any:
    last = nn.Conv2d(width, 1 + 4 * BINS, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias[:1], -math.log((1 - PRIOR) / PRIOR))
    return nn.Sequential(convolution(width, width), last)


def load_network(folder: str | Path | None = None) -> PersonNetwork:
    """Load the network of a folder, by default the one of the package, in eval mode.

    Raises:
        ValueError: a folder without weights, or with those of another network.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(PersonNetwork(width=4), tempfile.mkdtemp())
        >>> load_network(folder).kwargs["width"]
        4
    """
    record = WEIGHTS
    if folder is not None:
        architecture, record = read_record(f"local-dir:{folder}")
        if architecture != WEIGHTS.architecture:
            raise ValueError(f"{folder}: expected weights of a {WEIGHTS.architecture}, got {architecture}")
    network = PersonNetwork(**record.kwargs)
    load_state_dict(network, read_state_dict(find(record)))
    return network.eval()


def cells(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the middles `(A, 2)` of the cells, and their strides `(A,)`, pixels of the image.

    Examples:
        >>> middles, strides = cells(32, 32)
        >>> middles[0].tolist(), middles[-1].tolist(), strides.tolist()[-6:]
        ([4.0, 4.0], [16.0, 16.0], [8.0, 16.0, 16.0, 16.0, 16.0, 32.0])
    """
    middles, strides = [], []
    for stride in STRIDES:
        rows, columns = (stride * (torch.arange(length // stride) + 0.5) for length in (height, width))
        middles.append(torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1))
        strides.append(torch.full((len(middles[-1]),), float(stride)))
    return torch.cat(middles), torch.cat(strides)
