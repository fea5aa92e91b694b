"""Stacked Hourglass Networks for Human Pose Estimation (Newell, Yang, Deng; ECCV 2016).

arXiv 1603.06937. An hourglass pools features down to 4 x 4 cells and upsamples them again, with a
skip connection at every scale. Hourglasses are stacked: each predicts heatmaps, is supervised on
them, and passes them on together with its features.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 64
    Out  heatmaps  (B, K, H/4, W/4)    of the last stack; with `all_stages` of each of them

Departures
    - Targets. The paper's Gaussians have 1 cell, as in the authors' second code (PyTorch), whose
      weights they publish, and in bearpaw's. Their first code (Torch7) has 1.75 cells, cut off at
      3. Here: `encode_targets(sigma=1.0)`.
    - Cells. The authors decode a cell to the middle of its block of 4 x 4 pixels, which is pixel 4
      i + 1.5 when the centre of the first pixel is 0, as everywhere here. Mirrored maps need no
      shift. Their code truncates predictions to whole pixels of the photograph; anibali's does not,
      and its predictions are half a pixel larger.
    - Crops. Theirs have corners on whole pixels. `posezoo.geometry.crop` does not round: at most a
      pixel apart.
    - Decoding. A quarter of a cell towards the higher neighbour, except at the border, which at the
      left and top is two cells wide here (as in HRNet) and one in the first code.
      `decoding="princeton"` is the second code's, which has no border and clamps maps at 1.
    - Loss. Keypoints without annotation have empty targets and weight 1. Initial weights are
      PyTorch's, as in the second code.
    - `stem="bearpaw"` is the network of bearpaw and anibali, which widens one block earlier and
      subtracts a mean from the image (`hourglass_*_bearpaw`). `num_modules` is the first code's
      nModules, bearpaw's num_blocks.
    - mmpose's hourglass52 is another network, the backbone of CornerNet: see `hourglass52.py`.

The authors' weights lie on a server without checksums or encryption: the records name them,
`create` does not fetch them. `posezoo.load_checkpoint(None, "checkpoint.pt")` reads the file. Their
Torch7 file needs Torch7.
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

DEPTH = 4  # halvings in an hourglass: 64 to 4 cells (section 3.1)
STRIDE = 4  # pixels per cell (section 3.2)
STEM_OUT = {"newell": 128, "bearpaw": 256}  # channels after the residual that follows the pooling
MEAN = {"newell": (0.0, 0.0, 0.0), "bearpaw": (0.4404, 0.4440, 0.4327)}


class StackedHourglass(PoseModel):
    """Stacked hourglasses with intermediate supervision (section 3.3).

    Args:
        num_stacks: number of hourglasses (section 3.3: 8).
        num_modules: residual modules per position of an hourglass.
        width: channels after the stem (section 3.2: 256).
        stem: "newell", the authors', or "bearpaw".
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layers and all stacks but the
            first, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or
            "princeton".

    Examples:
        >>> model = StackedHourglass(num_stacks=2, width=16, num_keypoints=16, skeleton="mpii16")
        >>> [tuple(stage.shape) for stage in model(torch.rand(2, 3, 128, 64), all_stages=True)]
        [(2, 16, 32, 16), (2, 16, 32, 16)]
    """

    head_keys: tuple[str, ...] = ("outs", "merge_preds")
    input_size = (256, 256)
    padding = 1.25  # of the person's height (the authors multiply MPII's scale by it)
    stride = STRIDE
    offset = (STRIDE - 1) / 2  # a cell lies in the middle of its block of pixels

    def __init__(
        self,
        *,
        num_stacks: int = 8,
        num_modules: int = 1,
        width: int = 256,
        stem: str = "newell",
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        decoding: str = "quarter",
    ) -> None:
        super().__init__()
        if stem not in STEM_OUT:
            raise ValueError(f"stem: expected one of {sorted(STEM_OUT)}, got {stem!r}")
        for name, value in (("num_stacks", num_stacks), ("num_modules", num_modules)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number, 1 or more, got {value!r}")
        self.num_stacks, self.num_modules, self.num_features, self.decoding = num_stacks, num_modules, width, decoding

        self.normalize = Normalize(MEAN[stem], (1.0, 1.0, 1.0))
        self.pre = nn.Sequential(
            ConvBNReLU(3, 64, 7, stride=2),
            Residual(64, 128),
            nn.MaxPool2d(2),
            Residual(128, STEM_OUT[stem]),
            Residual(STEM_OUT[stem], width),
        )
        self.hgs, self.features, self.merge_features = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.outs: nn.ModuleList
        self.merge_preds: nn.ModuleList
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)` of the last stack, or all."""
        x = self.stem(image)
        stages = []
        for stack, out in enumerate(self.outs):
            features = self.run(stack, x)
            stages.append(out(features))
            if stack + 1 < len(self.outs):
                x = x + self.merge_features[stack](features) + self.merge_preds[stack](stages[-1])
        return tuple(stages) if all_stages else stages[-1]

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the features of the first stack: `(B, width, H/4, W/4)`."""
        return self.run(0, self.stem(image))

    def stem(self, image: Tensor) -> Tensor:
        check_image(image, STRIDE * 2**DEPTH, self.in_chans)
        return self.pre(self.normalize(image))

    def run(self, stack: int, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            x = checkpoint(self.hgs[stack], x, use_reentrant=False)
            return checkpoint(self.features[stack], x, use_reentrant=False)
        return self.features[stack](self.hgs[stack](x))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Decode heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`."""
        if self.decoding == "princeton":
            return decode_princeton(output)
        return heatmaps.decode(output, stride=self.stride, offset=self.offset, method=self.decoding)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_heatmaps(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the heatmap layers for other keypoints; 0 removes them and the later stacks."""
        self.set_keypoints(num_keypoints, skeleton)
        width, stacks = self.num_features, self.num_stacks if num_keypoints else 1
        del self.hgs[stacks:], self.features[stacks:], self.merge_features[stacks - 1 :]
        for _ in range(len(self.hgs), stacks):
            self.hgs.append(Hourglass(DEPTH, width, self.num_modules))
            self.features.append(nn.Sequential(residuals(width, self.num_modules), ConvBNReLU(width, width, 1)))
        for _ in range(len(self.merge_features), stacks - 1):
            self.merge_features.append(nn.Conv2d(width, width, 1))
        self.outs = nn.ModuleList(
            nn.Conv2d(width, num_keypoints, 1) if num_keypoints else nn.Identity() for _ in range(stacks)
        )
        self.merge_preds = nn.ModuleList(nn.Conv2d(num_keypoints, width, 1) for _ in range(stacks - 1))
        # weights of all stacks fit a model of one: what it lacks goes with the head
        later = [f"{name}.{stack}" for name in ("hgs", "features") for stack in range(stacks, self.num_stacks)]
        self.head_keys = (*type(self).head_keys, *later, *(() if num_keypoints else ("merge_features",)))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: stem, stacks, heatmap layers."""
        blocks = r"^(?:hgs|features|merge_features)\.(\d+)"
        return {"stem": r"^pre", "blocks": blocks, "head": r"^(?:outs|merge_preds)"}


class Hourglass(nn.Module):
    """One hourglass: pooling, recursion, upsampling, and a skip branch (Figure 3).

    `(B, width, h, w)` in and out; `low2` is the hourglass of the next scale, or residual modules at
    the lowest.
    """

    def __init__(self, depth: int, width: int, num_modules: int) -> None:
        super().__init__()
        self.up1 = residuals(width, num_modules)
        self.pool1 = nn.MaxPool2d(2)
        self.low1 = residuals(width, num_modules)
        self.low2 = Hourglass(depth - 1, width, num_modules) if depth > 1 else residuals(width, num_modules)
        self.low3 = residuals(width, num_modules)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(self.pool1(x))))
        return self.up1(x).add_(F.interpolate(low, scale_factor=2.0, mode="nearest"))


class Residual(nn.Module):
    """Pre-activation bottleneck, half as wide in between (Figure 4, left)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, width // 2, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width // 2), nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(width // 2), nn.Conv2d(width // 2, width, 1)
        self.skip_layer = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x), inplace=True))
        out = self.conv2(F.relu(self.bn2(out), inplace=True))
        out = self.conv3(F.relu(self.bn3(out), inplace=True))
        return out.add_(self.skip_layer(x))


def residuals(width: int, count: int) -> nn.Sequential:
    """Create `count` residual blocks of `width` channels."""
    return nn.Sequential(*(Residual(width, width) for _ in range(count)))


def decode_princeton(output: Tensor) -> tuple[Tensor, Tensor]:
    """Decode as the authors' second code: maps clamped at 1, a quarter of a cell on each axis."""
    maps = output.float().clamp(max=1)
    scores, index = maps.flatten(2).max(dim=-1)
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")  # beyond the border lies the border
    right = padded[..., 1:-1, 2:] > padded[..., 1:-1, :-2]
    below = padded[..., 2:, 1:-1] > padded[..., :-2, 1:-1]
    steps = torch.stack([right, below], dim=-1).flatten(2, 3).to(maps) / 2 - 0.25
    step = steps.gather(2, index[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    cell = torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)
    return torch.where((scores > 0)[..., None], (cell + step) * STRIDE + StackedHourglass.offset, 0.0), scores


def mpii(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add MPII's 16 keypoints (section 4), unless others are asked for."""
    return kwargs if "num_keypoints" in kwargs else {"num_keypoints": 16, "skeleton": "mpii16", **kwargs}


@register_model
def hourglass_1(**kwargs: Any) -> StackedHourglass:
    """One hourglass, 3.4 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 1, **kwargs}))


@register_model
def hourglass_2(**kwargs: Any) -> StackedHourglass:
    """Two hourglasses, 6.6 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 2, **kwargs}))


@register_model
def hourglass_4(**kwargs: Any) -> StackedHourglass:
    """Four hourglasses, 12.9 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 4, **kwargs}))


@register_model
def hourglass_8(**kwargs: Any) -> StackedHourglass:
    """Eight hourglasses, 25.4 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 8, **kwargs}))


@register_model
def hourglass_1_bearpaw(**kwargs: Any) -> StackedHourglass:
    """One hourglass with bearpaw's stem, 3.6 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 1, "stem": "bearpaw", **kwargs}))


@register_model
def hourglass_2_bearpaw(**kwargs: Any) -> StackedHourglass:
    """Two hourglasses with bearpaw's stem, 6.7 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 2, "stem": "bearpaw", **kwargs}))


@register_model
def hourglass_8_bearpaw(**kwargs: Any) -> StackedHourglass:
    """Eight hourglasses with bearpaw's stem, 25.6 million parameters."""
    return StackedHourglass(**mpii({"num_stacks": 8, "stem": "bearpaw", **kwargs}))
