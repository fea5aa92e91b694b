"""Stacked Hourglass Networks for Human Pose Estimation (Newell, Yang, Deng; ECCV 2016; arXiv 1603.06937).

An hourglass halves the resolution until a whole person fits under one filter, then doubles it again, adding at each
scale what was there on the way down. Hourglasses follow one another: each makes heatmaps, is supervised on them, and
hands them on to the next together with its features.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 64 (hourglass52: 128)
    Out  heatmaps  (B, K, H/4, W/4)    of the last stack; with `all_stages` of each of them

Departures
    - Targets. The paper's Gaussians have 1 cell. The authors' first code (Torch7) draws 1.75, cut off at 3 cells, for
      its library measures them by the patch; their second (PyTorch), whose weights they publish, draws 1, as bearpaw's
      does. Here 1: `encode(sigma=1.0, offset=1.5)`; `sigma=1.75` is the first code's, but for the cut.
    - Cells. The authors put a keypoint into the block of 4 x 4 pixels it falls in, and answer half a cell beyond the
      cell's index, counted from the edge of the first pixel. Counted from its centre, as everywhere here, that is
      pixel 4 i + 1.5: `offset=1.5` in `encode` and `decode`, and mirrored maps need no shift. Their code truncates the
      answer to whole pixels of the photograph, within half a pixel of ours; anibali's predictor leaves out the
      truncation, and its answers are half a pixel larger.
    - Crops. Theirs have corners on whole pixels, cut from a shrunken photograph where they shrink twofold or more.
      `posezoo.geometry.crop` does not round; the two are at most a pixel apart.
    - Decoding. A quarter of a cell towards the higher neighbour, except at the border, which at the left and top is two
      cells here (as in HRNet) and one in the first code. `decoding="princeton"` is the second code's, which has no
      border and cuts maps off at 1.
    - Loss. Keypoints without annotation have empty targets and count: `losses.heatmap_mse` without weights. Weights
      start as PyTorch's do, as in the second code.
    - `stem="bearpaw"` is the network of bearpaw and anibali, which widens one block earlier and takes a mean off the
      image (`hourglass_*_bearpaw`). `num_modules` is the first code's nModules, bearpaw's num_blocks.
    - hourglass52 is not the paper's network: mmpose gave that name to the backbone of CornerNet (Law, Deng; ECCV 2018),
      with one hourglass, strides in place of pooling, and more channels at lower resolutions. `CornerNetHourglass`
      follows mmpose: cells at pixel 4 i, mirrored maps shifted by one cell.

The authors' weights lie on a server without checksums or encryption: the records name them, `create` does not fetch
them. `posezoo.load_checkpoint(None, "checkpoint.pt")` reads the file. Their Torch7 file needs Torch7.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo import heatmaps
from posezoo.layers import Normalize, PoseModel, check_image, predict_heatmaps
from posezoo.registry import Weights, openmmlab, register_model

DEPTH = 4  # halvings in an hourglass: 64 to 4 cells (section 3.1)
STRIDE = 4  # pixels per cell (section 3.2)
OFFSET = (STRIDE - 1) / 2  # the pixel in the middle of the first cell
STEM_OUT = {"newell": 128, "bearpaw": 256}  # channels after the residual that follows the pooling
MEAN = {"newell": (0.0, 0.0, 0.0), "bearpaw": (0.4404, 0.4440, 0.4327)}
BEARPAW = "https://github.com/anibali/pytorch-stacked-hourglass/releases/download/v0.0.0/bearpaw_"

CORNERNET_WIDTHS = (1, 1, 1.5, 1.5, 1.5, 2)  # from 64 to 2 cells, in multiples of the first
CORNERNET_BLOCKS = (2, 2, 2, 2, 2, 4)
CORNERNET_INIT_STD = 0.001


class StackedHourglass(PoseModel):
    """Hourglasses one after the other, each with heatmaps of its own (section 3.3).

    Args:
        num_stacks: hourglasses (section 3.3: 8).
        num_modules: residual modules at each place of an hourglass.
        width: channels of everything after the stem (section 3.2: 256).
        stem: "newell", the authors', or "bearpaw".
        num_keypoints: channels of the heatmaps; 0 leaves them and all stacks but the first out, `forward` then returns
            what the first stack's heatmaps would be made of.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or "princeton".

    Example:
        >>> model = StackedHourglass(num_stacks=2, width=16, num_keypoints=16, skeleton="mpii16")
        >>> [tuple(stage.shape) for stage in model(torch.rand(2, 3, 128, 64), all_stages=True)]
        [(2, 16, 32, 16), (2, 16, 32, 16)]
    """

    head_keys = ("outs", "merge_preds")

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
        self.grad_checkpointing = False

        self.normalize = Normalize(MEAN[stem], (1.0, 1.0, 1.0))
        self.pre = nn.Sequential(
            ConvBNReLU(3, 64, 7, stride=2),
            Residual(64, 128),
            MaxPool(),
            Residual(128, STEM_OUT[stem]),
            Residual(STEM_OUT[stem], width),
        )
        self.hgs, self.features, self.merge_features = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.outs: nn.ModuleList
        self.merge_preds: nn.ModuleList
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; with `all_stages` a tuple of each stack's."""
        x = self.stem(image)
        stages = []
        for stack, out in enumerate(self.outs):
            features = self.run(stack, x)
            stages.append(out(features))
            if stack + 1 < len(self.outs):
                x = x + self.merge_features[stack](features) + self.merge_preds[stack](stages[-1])
        return tuple(stages) if all_stages else stages[-1]

    def forward_features(self, image: Tensor) -> Tensor:
        """What the first stack's heatmaps are made of: `(B, width, H/4, W/4)`."""
        return self.run(0, self.stem(image))

    def stem(self, image: Tensor) -> Tensor:
        check_image(image, STRIDE * 2**DEPTH)
        return self.pre(self.normalize(image))

    def run(self, stack: int, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            x = checkpoint(self.hgs[stack], x, use_reentrant=False)
            return checkpoint(self.features[stack], x, use_reentrant=False)
        return self.features[stack](self.hgs[stack](x))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`."""
        if self.decoding == "princeton":
            return decode_princeton(output)
        return heatmaps.decode(output, stride=STRIDE, offset=OFFSET, method=self.decoding)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image."""
        return predict_heatmaps(self, image, flip=flip, shift=False)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of the paper's size, `(batch, 3, 256, 256)`."""
        return torch.rand(batch, 3, 256, 256)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh heatmap layers for other keypoints; 0 takes them away, and the stacks that look at them."""
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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each hourglass for its activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: stem, stacks, heatmap layers."""
        blocks = r"^(?:hgs|features|merge_features)\.(\d+)"
        return {"stem": r"^pre", "blocks": blocks, "head": r"^(?:outs|merge_preds)"}


class Hourglass(nn.Module):
    """Down to the lowest resolution and up again, a detour at every scale on the way (Figure 3).

    `(B, width, h, w)` in and out; `low2` is the hourglass of the next scale, and residuals at the last.
    """

    def __init__(self, depth: int, width: int, num_modules: int) -> None:
        super().__init__()
        self.up1 = residuals(width, num_modules)
        self.pool1 = MaxPool()
        self.low1 = residuals(width, num_modules)
        self.low2 = Hourglass(depth - 1, width, num_modules) if depth > 1 else residuals(width, num_modules)
        self.low3 = residuals(width, num_modules)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(self.pool1(x))))
        return self.up1(x).add_(F.interpolate(low, scale_factor=2.0, mode="nearest"))


class Residual(nn.Module):
    """1x1, 3x3 and 1x1 convolution, half as wide in between, each after normalisation and ReLU (Figure 4, left)."""

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


class ConvBNReLU(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class MaxPool(nn.Module):
    """Max pooling, 2 x 2; where no gradient is wanted in a twentieth of the time that PyTorch's takes on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return F.max_pool2d(x, 2)
        rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def residuals(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width, width) for _ in range(count)))


def decode_princeton(output: Tensor) -> tuple[Tensor, Tensor]:
    """The authors' second decoder: maps cut off at 1, a quarter of a cell either way, back between equal neighbours."""
    maps = output.float().clamp(max=1)
    scores, index = maps.flatten(2).max(dim=-1)
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")  # beyond the border lies the border
    right = padded[..., 1:-1, 2:] > padded[..., 1:-1, :-2]
    below = padded[..., 2:, 1:-1] > padded[..., :-2, 1:-1]
    steps = torch.stack([right, below], dim=-1).flatten(2, 3).to(maps) / 2 - 0.25
    step = steps.gather(2, index[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]
    cell = torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)
    return torch.where((scores > 0)[..., None], (cell + step) * STRIDE + OFFSET, 0.0), scores


class CornerNetHourglass(PoseModel):
    """The backbone of CornerNet with one hourglass, as mmpose trained it under the name hourglass52.

    Args:
        width: channels at the highest resolution; the lower ones have up to twice as many.
        num_keypoints: channels of the heatmaps; 0 leaves the head out, `forward` then returns its input features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark" or "soft".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as mmpose does.

    Example:
        >>> model = CornerNetHourglass(width=16)
        >>> model(torch.rand(2, 3, 256, 128)).shape
        torch.Size([2, 17, 64, 32])
    """

    head_keys = ("final_layer",)

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
        widths = [int(width * factor) for factor in CORNERNET_WIDTHS]
        self.num_features, self.decoding, self.flip_shift = width, decoding, flip_shift

        self.normalize = Normalize()
        self.stem = nn.Sequential(
            ConvBNReLU(3, width // 2, 7, stride=2, bias=False), Blocks(BasicBlock(width // 2, width, stride=2))
        )
        self.hourglass = StridedHourglass(widths, CORNERNET_BLOCKS)
        self.out_conv = ConvBNReLU(width, width, 3, bias=False)
        self.final_layer: nn.Module

        initialize(self)
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple of them with `all_stages`."""
        output = self.final_layer(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """What the head sees: `(B, width, H/4, W/4)`."""
        check_image(image, STRIDE * 2 ** (len(CORNERNET_WIDTHS) - 1))
        return self.out_conv(self.hourglass(self.stem(self.normalize(image))))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`."""
        return heatmaps.decode(output, stride=STRIDE, method=self.decoding)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image."""
        return predict_heatmaps(self, image, flip=flip, shift=self.flip_shift)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of mmpose's smaller size, `(batch, 3, 256, 256)`."""
        return torch.rand(batch, 3, 256, 256)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """A fresh last layer for other keypoints; 0 takes it away."""
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = nn.Conv2d(self.num_features, num_keypoints, 1) if num_keypoints else nn.Identity()
        initialize(self.final_layer)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each row of blocks for its activations' memory."""
        for module in self.modules():
            if isinstance(module, Blocks):
                module.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: stem, hourglass, what follows it, head."""
        return {"stem": r"^stem", "blocks": r"^hourglass", "neck": r"^out_conv", "head": r"^final_layer"}


class StridedHourglass(nn.Module):
    """An hourglass that strides where the paper's pools, and has a width for every resolution.

    `(B, widths[0], h, w)` in and out; `low2` is the hourglass of the next scale, and blocks at the last.
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
    """Blocks in a row, which can forget their activations and compute them twice."""

    grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(super().forward, x, use_reentrant=False)
        return super().forward(x)


def initialize(module: nn.Module) -> None:
    """Normal convolutions of standard deviation 0.001, as in mmpose."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=CORNERNET_INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def bearpaw(file: str, pckh: float, metrics_by: str) -> Weights:
    """The record of a checkpoint in the releases of anibali's repository, whose file name ends in its sha256."""
    return Weights(
        sources=(f"{BEARPAW}{file}",),
        sha256=file.rpartition("-")[2].removesuffix(".pth"),
        kwargs={"num_keypoints": 16, "skeleton": "mpii16"},
        input_size=(256, 256),
        skeleton="mpii16",
        codec="msra",
        channel_order="RGB",
        flip_shift=False,
        metrics={"MPII val": {"PCKh@0.5, mean of 14 joints": pckh}},
        metrics_by=metrics_by,
        protocol="annotated centre and size" + ("; no mirror image" if metrics_by == "anibali" else ""),
        data="MPII",
        data_license="MPII: non-commercial research",
        license="none stated; published in a GPL-3.0 repository",
        paper="https://arxiv.org/abs/1603.06937",
        origin="https://github.com/anibali/pytorch-stacked-hourglass",
        converter="bearpaw",
    )


def princeton(stacks: int, pckh: float) -> Weights:
    """The record of a checkpoint of the authors' PyTorch code, to be downloaded by hand."""
    return Weights(
        kwargs={"num_keypoints": 16, "skeleton": "mpii16"},
        input_size=(256, 256),
        skeleton="mpii16",
        codec="msra",
        channel_order="RGB",
        flip_shift=False,
        metrics={"MPII val": {"PCKh@0.5, pooled over 16 joints": pckh}},
        metrics_by="authors",
        protocol="annotated centre and size; averaged with the mirror image",
        data="MPII",
        data_license="MPII: non-commercial research",
        license="BSD-3-Clause",
        paper="https://arxiv.org/abs/1603.06937",
        origin=f"http://www-personal.umich.edu/~cnris/original_{stacks}hg/checkpoint.pt",
        converter="princeton",
    )


@register_model
def hourglass_1(**kwargs: Any) -> StackedHourglass:
    """One hourglass, 3.4 million parameters."""
    return StackedHourglass(**{"num_stacks": 1, **kwargs})


@register_model(weights={"mpii_256x256": princeton(2, 0.883)})
def hourglass_2(**kwargs: Any) -> StackedHourglass:
    """Two hourglasses, 6.6 million parameters."""
    return StackedHourglass(**{"num_stacks": 2, **kwargs})


@register_model
def hourglass_4(**kwargs: Any) -> StackedHourglass:
    """Four hourglasses, 12.9 million parameters."""
    return StackedHourglass(**{"num_stacks": 4, **kwargs})


@register_model(
    weights={
        "mpii_256x256": princeton(8, 0.902),
        "mpii_256x256_torch7": replace(
            princeton(8, 0),
            metrics={"MPII val": {"PCKh@0.5": 0.8843}},  # of the predictions that the authors published
            license="BSD, University of Michigan",
            origin="http://www-personal.umich.edu/~alnewell/pose/",
            converter="torch7_hourglass",
        ),
    }
)
def hourglass_8(**kwargs: Any) -> StackedHourglass:
    """Eight hourglasses, 25.4 million parameters."""
    return StackedHourglass(**{"num_stacks": 8, **kwargs})


# PCKh of the first and last: of the predictions bearpaw published; of the second: anibali's, without flip averaging
@register_model(weights={"mpii_256x256": bearpaw("hg1-ce125879.pth", 0.8446, "bearpaw")})
def hourglass_1_bearpaw(**kwargs: Any) -> StackedHourglass:
    """One hourglass with bearpaw's stem, 3.6 million parameters."""
    return StackedHourglass(**{"num_stacks": 1, "stem": "bearpaw", **kwargs})


@register_model(weights={"mpii_256x256": bearpaw("hg2-15e342d9.pth", 0.8733, "anibali")})
def hourglass_2_bearpaw(**kwargs: Any) -> StackedHourglass:
    """Two hourglasses with bearpaw's stem, 6.7 million parameters."""
    return StackedHourglass(**{"num_stacks": 2, "stem": "bearpaw", **kwargs})


@register_model(weights={"mpii_256x256": bearpaw("hg8-90e5d470.pth", 0.8864, "bearpaw")})
def hourglass_8_bearpaw(**kwargs: Any) -> StackedHourglass:
    """Eight hourglasses with bearpaw's stem, 25.6 million parameters."""
    return StackedHourglass(**{"num_stacks": 8, "stem": "bearpaw", **kwargs})


@register_model(
    weights={
        "coco_256x256": openmmlab(
            "top_down/hourglass/hourglass52_coco_256x256-4ec713ba_20200709.pth",
            (256, 256),
            coco_ap=0.726,
            converter="mmpose_hourglass",
        ),
        "coco_384x384": openmmlab(
            "top_down/hourglass/hourglass52_coco_384x384-be91ba2b_20200812.pth",
            (384, 384),
            coco_ap=0.746,
            converter="mmpose_hourglass",
        ),
        "mpii_256x256": openmmlab(
            "top_down/hourglass/hourglass52_mpii_256x256-ae358435_20200812.pth",
            (256, 256),
            mpii_pckh=0.889,
            converter="mmpose_hourglass",
        ),
        "mpii_384x384": openmmlab(
            "top_down/hourglass/hourglass52_mpii_384x384-04090bc3_20200812.pth",
            (384, 384),
            mpii_pckh=0.894,
            converter="mmpose_hourglass",
        ),
    }
)
def hourglass52(**kwargs: Any) -> CornerNetHourglass:
    """mmpose's hourglass52: CornerNet's backbone with one hourglass, 93.7 million parameters. Not the paper's."""
    return CornerNetHourglass(**kwargs)
