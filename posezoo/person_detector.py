"""The network behind `posezoo.detectors.PersonDetector`: boxes around people, of any number.

An EfficientNet-Lite2 up to stride 16, a pyramid of the strides 8, 16 and 32 merged at stride 8, and
two small heads: a map of the middles of people, and the distances from each cell to the four sides
of its person. It is fully convolutional and follows TTFNet (Liu et al., "Training-Time-Friendly
Network for Real-Time Object Detection", AAAI 2020) in the targets of both heads.

| | shape | |
|---|---|---|
| image | `(B, 3, H, W)` | RGB in [0, 1], H and W multiples of 32 |
| middles | `(B, 1, H/8, W/8)` | logits |
| sides | `(B, 4, H/8, W/8)` | pixels from the middle of the cell to left, top, right and bottom |

Departures from TTFNet: another trunk, stride 8 in place of 4, one class.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.backbones import PyramidNeck, timm_backbone
from posezoo.layers import ConvBNReLU, Normalize
from posezoo.weights import Weights, find, load_state_dict, read_record, read_state_dict

STRIDE = 8  # pixels per cell of the outputs
COARSEST = 32  # stride of the pyramid's last level; images are padded to its multiples
PRIOR = 0.01  # initial probability of a person in a cell (RetinaNet, section 4.1)
USUAL_SIDE = 32.0  # pixels, initial distance to the sides
MOST_PEOPLE = 300  # peaks of an image

WEIGHTS = Weights(
    architecture="person_detector",
    tag="people",
    sources=("package:person_detector.people",),
    sha256="3931f6402f4e438817c867f2b4988f9076a5d5563e40c37718c5badc27d8b24d",
    size=3_161_166,
    metrics={"LSPET 7001-7500": {"recall": 0.848}, "COCO, 7 photographs": {"AP50": 0.364}},
    metrics_by="posezoo",
    data="Leeds Sports Pose Extended (images 1 to 7000 and 7501 to 9300), rendered people",
    data_license="LSPET: none stated, research use; renders: free",
    license="research-only",
)


class PersonNetwork(nn.Module):
    """Find the boxes of people in images; see the documentation of this module.

    Args:
        backbone: name of a timm network with feature maps of the strides 8 and 16.
        width: channels of the merged map and of the heads.

    Examples:
        >>> network = PersonNetwork(width=16).eval()
        >>> middles, sides = network(torch.rand(1, 3, 64, 96))
        >>> middles.shape, sides.shape
        (torch.Size([1, 1, 8, 12]), torch.Size([1, 4, 8, 12]))
    """

    architecture = "person_detector"

    def __init__(self, *, backbone: str = "tf_efficientnet_lite2", width: int = 96) -> None:
        super().__init__()
        self.kwargs = {"backbone": backbone, "width": width}
        self.backbone, mean, std = timm_backbone(backbone, reductions=(8, 16))
        stages = getattr(self.backbone, "blocks", None)
        if stages is not None:  # timm's EfficientNets keep the stages behind the last map
            del stages[self.backbone.feature_info.get_dicts()[-1]["stage"] :]
        channels = self.backbone.feature_info.channels()
        self.normalize = Normalize(mean, std)
        self.coarse = ConvBNReLU(channels[-1], width, 3, stride=2)
        self.neck = PyramidNeck((*channels, width), width)
        self.middles, self.sides = _head(width, 1), _head(width, 4)
        nn.init.constant_(self.middles[-1].bias, -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(self.sides[-1].bias, math.log(USUAL_SIDE / STRIDE))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the middles `(B, 1, H/8, W/8)`, and sides `(B, 4, H/8, W/8)`, pixels."""
        maps = list(self.backbone(self.normalize(image)))
        features = self.neck([*maps, self.coarse(maps[-1])])
        return self.middles(features), STRIDE * self.sides(features).float().clamp(max=6).exp()

    @torch.no_grad()
    def decode(self, middles: Tensor, sides: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return boxes `(N, 4)` and scores `(N,)` of each image, at the peaks of the middles.

        Boxes are in pixels at edges. They may reach out of the image, and overlap.

        Args:
            middles: as returned by `forward`.
            sides: as returned by `forward`.
        """
        scores = middles.float().sigmoid()
        scores = scores * (scores == F.max_pool2d(scores, 3, stride=1, padding=1))
        boxes = boxes_of(sides)
        found = []
        for score, corners in zip(scores.flatten(1), boxes.flatten(1, 2), strict=True):
            value, index = score.topk(min(MOST_PEOPLE, len(score)))
            found.append((corners[index], value))
        return found


def load_network(folder: str | Path | None = None) -> PersonNetwork:
    """Load the network of a folder, by default the one of the package, in eval mode.

    Raises:
        ValueError: a folder without weights, or with those of another network.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(PersonNetwork(width=8), tempfile.mkdtemp())
        >>> load_network(folder).kwargs["width"]
        8
    """
    record = WEIGHTS
    if folder is not None:
        architecture, record = read_record(f"local-dir:{folder}")
        if architecture != WEIGHTS.architecture:
            raise ValueError(f"{folder}: expected weights of a {WEIGHTS.architecture}, got {architecture}")
    network = PersonNetwork(**record.kwargs)
    load_state_dict(network, read_state_dict(find(record)))
    return network.eval()


def boxes_of(sides: Tensor) -> Tensor:
    """Return the box of each cell `(B, h, w, 4)` as (x1, y1, x2, y2), from sides `(B, 4, h, w)`.

    Examples:
        >>> boxes_of(torch.full((1, 4, 1, 2), 4.0)).tolist()
        [[[[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]]]]
    """
    middles = cell_middles(*sides.shape[-2:]).to(sides)
    distances = sides.movedim(1, -1)
    return torch.cat([middles - distances[..., :2], middles + distances[..., 2:]], dim=-1)


def cell_middles(height: int, width: int) -> Tensor:
    """Return the middles of the cells of a map, `(height, width, 2)`, in pixels of the image.

    Examples:
        >>> cell_middles(1, 2).tolist()
        [[[4.0, 4.0], [12.0, 4.0]]]
    """
    rows, columns = (STRIDE * (torch.arange(count) + 0.5) for count in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def _head(width: int, outputs: int) -> Any:
    layers: Sequence[nn.Module] = (nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, 1))
    return nn.Sequential(*layers)
