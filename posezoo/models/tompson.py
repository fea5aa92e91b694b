"""Efficient Object Localization Using Convolutional Networks (Tompson et al.; CVPR 2015).

arXiv 1411.4280. A fully convolutional network with three scales of the image predicts coarse
heatmaps. Around each joint's peak a second network, shared by all joints, takes the features of the
first two layers, which pooling has not blurred yet, and localises the joint to the pixel. A spatial
model (`posezoo.spatial_model`) may choose the peaks.

    In   image   (B, 3, H, W)         RGB in [0, 1], H and W multiples of 8 (of 4 or 16 with that pooling)
    Out  fine    (B, K, H, W)         each joint's window of 36 x 36 pixels at its place, 0 elsewhere; stride 1
         coarse  (B, K, H/8, W/8)     the first of `all_stages`; with `fine=False` the only one

`tompson_nips14` is the part detector of the spatial model's paper. Code and weights were never
published.

Departures
    - Output: the paper adds the fine window's peak to the coarse one's; here windows are pasted
      into maps of the image's size. E2's targets are then Gaussians, `encode_targets(sigma=1.5,
      method="gaussian")`. Outside of its window a map is constant, so the squared error has the
      window's gradient. A joint outside of its window has a target of zeros in it, except for the
      Gaussian's tail. `predict` takes the highest cell inside of the window, even if no value is
      positive, as in the paper.
    - Places: coarse cell u covers pixels `8 u` to `8 u + 7`, its middle is `8 u + 3.5`, and the
      window is the 36 pixels around that, `8 u - 14` to `8 u + 21`. On features of stride s it
      starts at that pixel divided by s, rounded up: at stride 4 half a cell off, always the same
      way. `crop=40` has no such rest.
    - The fine model has two scales, as drawn; of a third, the smallest window would be 4.5 cells
      wide (`fine_banks=3` needs `crop=40`). Its kernels (5, 5, 1, 1) and widths are not legible in
      the paper.
    - Local contrast normalisation is Torch7's SpatialContrastiveNormalization (9 x 9 Gaussian of
      2.25 pixels, floor 1e-4), at the border too, where it divides the deviation by the kernel's
      mass inside the image, not by its root.
    - Pyramid: Burt and Adelson's five taps, edge pixels repeated. Sides that do not halve evenly
      end in partial pools.
    - SpatialDropout is `Dropout2d`, which rescales in training and not in testing as Torch7's did;
      its rate and the widths of the 1x1 layers are those of others' replicas. Initial weights are
      PyTorch's default, as Torch7's.
    - `pooling=4` leaves the third pool out, 16 makes it 4 x 4.
    - `layout="nips14"` has padding everywhere, so that 240 x 360 gives 60 x 90. Its last two
      layers, labelled 9 x 9, are 1x1. It has no ReLU at the end and predicts both arms, where the
      paper has four joints of one side.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo import heatmaps
from posezoo.contract import PoseModel, check_image, require_flip_index
from posezoo.layers import Normalize, blur
from posezoo.registry import register_model
from posezoo.spatial_model import SpatialModel

POOLINGS = (4, 8, 16)  # section 5, Table 1
LCN_SIZE, LCN_SIGMA = 9, 0.25 * 9  # pixels; the width is that of Torch7's image.gaussian
LCN_FLOOR = 1e-4  # Torch7's threshold on the deviation
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # Burt and Adelson, 1983
TORSO_SIGMA = 1.5  # cells, as the targets of the joints


class Layout(NamedTuple):
    """Differences between the networks for the data sets."""

    convs: int  # 5x5 convolutions between the second pool and the third
    fc_per_bank: bool  # the 9x9 convolution before the banks are added, or after
    hidden: int  # 1x1 convolutions before the last
    skeleton: str
    num_keypoints: int
    size: tuple[int, int]
    padding: float  # of the crop around the person


LAYOUTS = {
    "mpii": Layout(2, False, 1, "mpii14", 14, (256, 256), 1.28),  # CVPR 2015, Figure 4: 11 layers
    "flic": Layout(1, True, 2, "flic7", 7, (240, 320), 1.25),  # CVPR 2015, section 3: 7 layers
    "nips14": Layout(1, True, 1, "flic7", 7, (240, 360), 1.25),  # NIPS 2014, Figure 2
}


class Tompson(PoseModel):
    """Coarse heatmaps, then a fine model around each peak.

    Args:
        layout: "mpii", "flic" or "nips14": depth, input size and keypoints of the network for that
            data set.
        num_keypoints: channels of the heatmaps. Defaults to the layout's, with their names. 0
            removes the heads, and `forward` returns the features of the coarse one.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        pooling: 4, 8 or 16 pixels of the image per cell of the coarse heatmaps (section 5).
        banks: scales of the image.
        width: channels of the convolutions 1 to 4 and of the fine model.
        fc_width: channels of the 9x9 convolution; the 1x1 ones after it have half as many.
        dropout: probability of dropping a feature map (SpatialDropout).
        fine: False: the coarse model alone.
        fine_banks: scales whose features the fine model takes.
        crop: pixels on a side of the fine model's windows.
        spatial_model: place the windows at the peaks of `self.spatial_model`, a `SpatialModel` of
            the coarse heatmaps and the torso's. It is initialised and trained by itself, because
            the places of windows pass no gradient.
        decoding: how `decode` refines the highest cell: "argmax" as in the paper, "quarter", "dark"
            or "soft".

    Examples:
        >>> model = Tompson(layout="mpii", width=8, fc_width=16)
        >>> coarse, fine = model(model.example_input(), all_stages=True)
        >>> coarse.shape, fine.shape
        (torch.Size([1, 14, 32, 32]), torch.Size([1, 14, 256, 256]))
    """

    head_keys: tuple[str, ...] = ("final_layer", "fine.final_layer", "spatial_model")

    def __init__(
        self,
        *,
        layout: str = "mpii",
        num_keypoints: int | None = None,
        skeleton: str | Sequence[str] | None = None,
        pooling: int = 8,
        banks: int = 3,
        width: int = 128,
        fc_width: int = 512,
        dropout: float = 0.5,
        fine: bool = True,
        fine_banks: int = 2,
        crop: int = 36,
        spatial_model: bool = False,
        decoding: str = "argmax",
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {tuple(LAYOUTS)}, got {layout!r}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling: expected one of {POOLINGS}, got {pooling!r}")
        if not 1 <= banks <= 4:
            raise ValueError(f"banks: expected 1 to 4 scales, got {banks!r}")
        if fine and not 1 <= fine_banks <= banks:
            raise ValueError(f"fine_banks: expected 1 to {banks}, the number of banks, got {fine_banks!r}")
        if fine and (crop <= 0 or crop % 2**fine_banks):
            raise ValueError(
                f"crop: expected a multiple of {2**fine_banks}, so that the windows of {fine_banks} banks are whole "
                f"cells, got {crop!r}"
            )
        if spatial_model and not fine:
            raise ValueError(
                "spatial_model chooses the place of the fine model's windows, and fine=False has none; apply a "
                "SpatialModel to the coarse heatmaps instead: SpatialModel(...)(model(image))"
            )
        self.layout, self.pooling, self.fine_banks, self.crop = layout, pooling, fine_banks, crop
        self.width, self.fine_model, self.with_spatial_model, self.decoding = width, fine, spatial_model, decoding
        convs, fc_per_bank, hidden, named, count, self.input_size, self.padding = LAYOUTS[layout]
        self.stride, self.offset = self.heatmap_frame()

        self.normalize = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # local contrast normalisation does the work
        self.banks = nn.ModuleList(
            Bank(width, convs, pooling, fc_width=fc_width if fc_per_bank else 0) for _ in range(banks)
        )
        self.num_features = fc_width // 2
        widths = [fc_width] + [self.num_features] * hidden
        self.fc = nn.Identity() if fc_per_bank else conv_relu(width, fc_width, 9)
        self.dropout = nn.Dropout2d(dropout)
        self.hidden = nn.Sequential(*(conv_relu(i, o, 1) for i, o in itertools.pairwise(widths)))
        self.final_layer: nn.Module
        self.fine: nn.Module | None = None
        self.spatial_model: SpatialModel | None
        if num_keypoints is None:
            num_keypoints, skeleton = count, named if skeleton is None else skeleton
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self, image: Tensor, all_stages: bool = False, torso: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to fine heatmaps `(B, K, H, W)`; `all_stages`: coarse and fine.

        Args:
            image: H and W multiples of `pooling`.
            all_stages: return (coarse, fine), the coarse ones `(B, K, H/pooling, W/pooling)`.
            torso: `(B, 2)` pixels of the image, a point on the target person, for the spatial
                model.
        """
        *stages, _ = self.stages(image, torso)
        return tuple(stages) if all_stages else stages[-1]

    def stages(self, image: Tensor, torso: Tensor | None) -> tuple[Tensor, ...]:
        """Return coarse and fine heatmaps, and the coarse cells of the windows `(B, K, 2)`."""
        features, early = self.trunk(image)
        coarse = self.final_layer(features)
        if torso is not None and self.spatial_model is None:
            raise ValueError("torso: it is an input of the spatial model; create the model with spatial_model=True")
        if self.fine is None:
            return coarse, highest_cell(coarse)
        # detached: the detector is trained by its own loss, and the choice of a cell has no gradient anyway
        cells = highest_cell(
            coarse if self.spatial_model is None else self.spatial_model_energies(coarse.detach(), torso)
        )
        return coarse, self.refine(early, cells, (image.shape[-2], image.shape[-1])), cells

    def trunk(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features for the coarse head, and the first two layers' for the fine model."""
        check_image(image, max(self.pooling, 2 ** (len(self.banks) - 1)), self.in_chans)
        early: list[Tensor] = []
        summed: Tensor | None = None
        scaled = pyramid(self.normalize(image), len(self.banks))
        for level, bank in enumerate(self.banks):
            normalised = local_contrast(scaled[level])
            if self.grad_checkpointing and self.training:
                x, first, second = checkpoint(bank, normalised, use_reentrant=False)
            else:
                x, first, second = bank(normalised)
            if level < self.fine_banks:
                early += [first, second]
            summed = x if summed is None else summed + upscale(x, 2**level, summed)
        return self.hidden(self.dropout(self.fc(summed))), early

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the features of the coarse head: `(B, fc_width / 2, H/pooling, W/pooling)`."""
        return self.trunk(image)[0]

    def spatial_model_energies(self, coarse: Tensor, torso: Tensor | None) -> Tensor:
        """Return the spatial model's energies `(B, K, h, w)`; without torsos the map is uniform."""
        assert self.spatial_model is not None
        size = (coarse.shape[-2], coarse.shape[-1])
        if torso is None:
            context = coarse.new_full((coarse.shape[0], 1, *size), 1 / math.prod(size))
        elif torso.shape != (coarse.shape[0], 2):
            raise ValueError(f"torso: expected ({coarse.shape[0]}, 2), pixels (x, y), got {tuple(torso.shape)}")
        else:
            stride, offset = self.heatmap_frame(0)
            context, _ = heatmaps.encode(
                torso[:, None], size=size, stride=stride, offset=offset, sigma=TORSO_SIGMA, method="gaussian"
            )
        return self.spatial_model(coarse, context.to(coarse))

    def refine(self, early: Sequence[Tensor], cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Run the fine model around cells `(B, K, 2)`; paste its windows into maps of `size`.

        Gradients reach the features inside of the windows; the places of the windows have none.
        """
        assert self.fine is not None
        corner = self.corners(cells)
        # each bank has half the resolution of the one before, its second layer half that of its first
        strides = [2 ** (bank + layer) for bank in range(self.fine_banks) for layer in (0, 1)]
        crops = [
            windows(features, -(-corner // stride), self.crop // stride)
            for features, stride in zip(early, strides, strict=True)
        ]
        return paste(self.fine(crops), corner, size)

    def corners(self, cells: Tensor) -> Tensor:
        """Return the first pixel of the window around each coarse cell, `(B, K, 2)`."""
        return cells * self.pooling + self.pooling // 2 - self.crop // 2

    def heatmap_frame(self, stage: int = -1) -> tuple[float, float]:
        """Return stride and offset of a stage's heatmaps; stage 0 are the coarse ones."""
        return (1.0, 0.0) if self.fine_model and stage in (-1, 1) else (self.pooling, (self.pooling - 1) / 2)

    def decode(self, output: Tensor, *, stage: int = -1, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`.

        Args:
            output: heatmaps of one stage.
            stage: its index in `all_stages`; 0 are the coarse ones.
            mask: bool like `output`, True inside of the windows. In a map without positive values
                the highest cell of the window is taken. Without a mask such a keypoint lies at (0,
                0).
        """
        stride, offset = self.heatmap_frame(stage)
        keypoints, scores = heatmaps.decode(output, stride=stride, offset=offset, method=self.decoding)
        if mask is None:
            return keypoints, scores
        best, index = output.to(scores).masked_fill(~mask, -torch.inf).flatten(2).max(dim=-1)
        low = (scores <= 0) & best.isfinite()
        pixel = torch.stack([index % output.shape[-1], index // output.shape[-1]], dim=-1).to(keypoints)
        return torch.where(low[..., None], pixel, keypoints), torch.where(low, best, scores)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False, torso: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`.

        Args:
            image: `(B, 3, H, W)` in [0, 1]. For MPII the paper crops `256 * scale` pixels around
                `objpos`.
            flip: not in the paper.
            torso: `(B, 2)` pixels (x, y), a point on the torso of the target person
                (`spatial_model=True`).

        Raises:
            ValueError: a torso that lies outside the image, or for a model without spatial model.
        """
        flip_index = require_flip_index(self) if flip else ()
        if torso is not None and isinstance(image, Tensor):
            inside = (torso >= 0) & (torso <= torso.new_tensor([image.shape[-1] - 1, image.shape[-2] - 1]))
            if not inside.all():
                raise ValueError(
                    f"torso: expected pixels (x, y) inside the image, {image.shape[-1]} wide and {image.shape[-2]} "
                    f"high, got {torso[~inside.all(dim=-1)][0].tolist()}; leave it out where it is not known"
                )
        output, mask = self.masked_heatmaps(image, torso)
        if flip:
            mirrored_torso = None
            if torso is not None:
                mirrored_torso = torch.stack([image.shape[-1] - 1 - torso[:, 0], torso[:, 1]], dim=1)
            mirrored, mirrored_mask = self.masked_heatmaps(image.flip(-1), mirrored_torso)
            output = heatmaps.flip_average(output, mirrored, flip_index)
            mask = None if mask is None else mask | mirrored_mask.flip(-1)[:, list(flip_index)]
        return self.decode(output, mask=mask)

    def masked_heatmaps(self, image: Tensor, torso: Tensor | None) -> tuple[Tensor, Any]:
        """Return the heatmaps of the last stage, and with a fine model a mask of its windows."""
        *_, output, cells = self.stages(image, torso)
        if self.fine is None:
            return output, None
        window = torch.ones((*cells.shape[:2], self.crop, self.crop), dtype=torch.bool, device=output.device)
        return output, paste(window, self.corners(cells), (image.shape[-2], image.shape[-1]))

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layers for other keypoints; 0 removes them and the fine model.

        Layers of the fine model that joints share stay. A spatial model is initialised anew.
        """
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = nn.Conv2d(self.num_features, num_keypoints, 1) if num_keypoints else nn.Identity()
        if not num_keypoints or not self.fine_model:
            self.fine = None
        elif self.fine is None:
            self.fine = FineModel(self.width, num_keypoints, inputs=2 * self.fine_banks)
        else:
            self.fine.final_layer = layer_per_joint(self.width, num_keypoints)
        # without keypoints all of the fine model is head: a file's tensors of it are left out when loading
        self.head_keys = type(self).head_keys if num_keypoints else (*type(self).head_keys, "fine")
        self.spatial_model = None
        if self.with_spatial_model and num_keypoints:
            height, width = LAYOUTS[self.layout].size
            radius = (-(-height // self.pooling) - 1, -(-width // self.pooling) - 1)
            self.spatial_model = SpatialModel(num_keypoints=num_keypoints, radius=radius, context=1)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: first layers, banks, 1x1s, heads."""
        return {
            "stem": r"^banks\.\d+\.conv[12]",
            "banks": r"^banks",
            "shared": r"^(?:fc|hidden|fine\.(?:branches|fuse))",
            "head": r"^(?:final_layer|fine\.final_layer|spatial_model)",
        }


class Bank(nn.Module):
    """One scale of the image: `(B, 3, h, w)` to its features, and those of its first two layers."""

    def __init__(self, width: int, convs: int, pooling: int, *, fc_width: int) -> None:
        super().__init__()
        self.last_pool = pooling // 4
        self.conv1, self.conv2 = nn.Conv2d(3, width, 5, padding=2), nn.Conv2d(width, width, 5, padding=2)
        self.convs = nn.Sequential(*(conv_relu(width, width, 5) for _ in range(convs)))
        self.fc = conv_relu(width, fc_width, 9) if fc_width else nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = F.relu(self.conv1(image), inplace=True)
        second = F.relu(self.conv2(pool(first, 2)), inplace=True)
        x = self.convs(pool(second, 2))
        return self.fc(pool(x, self.last_pool)), first, second


class FineModel(nn.Module):
    """The fine model (Figure 7): joints share all layers but the last.

    Crops `(B, K, width, s, s)`, the first the largest, to heatmaps `(B, K, s, s)` of its size.
    """

    def __init__(self, width: int, num_keypoints: int, *, inputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(conv_relu(width, width, 5), conv_relu(width, width, 5)) for _ in range(inputs)
        )
        self.fuse = conv_relu(width, width, 1)
        self.final_layer = layer_per_joint(width, num_keypoints)

    def forward(self, crops: Sequence[Tensor]) -> Tensor:
        batch, joints, _, size, _ = crops[0].shape
        first, *others = (branch(crop.flatten(0, 1)) for branch, crop in zip(self.branches, crops, strict=True))
        x = self.fuse(sum((F.interpolate(other, size=(size, size), mode="nearest") for other in others), first))
        return self.final_layer(x.reshape(batch, joints * x.shape[1], size, size))


def conv_relu(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Create a convolution that keeps the resolution, and its ReLU."""
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def layer_per_joint(width: int, num_keypoints: int) -> nn.Conv2d:
    """Create a 1x1 convolution per joint: `(B, K * width, s, s)` to `(B, K, s, s)`."""
    return nn.Conv2d(num_keypoints * width, num_keypoints, 1, groups=num_keypoints)


def pool(x: Tensor, size: int) -> Tensor:
    """Max pooling; incomplete blocks at the right and bottom edge count."""
    return F.max_pool2d(x, size, ceil_mode=True)


def upscale(x: Tensor, factor: int, like: Tensor) -> Tensor:
    """Repeat each cell, and crop to the size of `like`, from which a coarser pooling rounded up."""
    return F.interpolate(x, scale_factor=float(factor), mode="nearest")[..., : like.shape[-2], : like.shape[-1]]


def pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """Build an image pyramid; pixel i of a level lies at pixel 2 i of the one before."""
    scaled = [image if image.dtype == torch.float64 else image.float()]
    for _ in range(levels - 1):
        padded = F.pad(scaled[-1], (2, 2, 2, 2), mode="replicate")
        scaled.append(blur(padded, padded.new_tensor(BINOMIAL), stride=2))
    return [level.to(image.dtype) for level in scaled]


def local_contrast(image: Tensor) -> Tensor:
    """Subtract the local mean of `(B, 3, H, W)`, divide by the local deviation; over all channels.

    Weights are a Gaussian, cut off at the image's border. Deviations are at least the floor.
    """
    wide = image if image.dtype == torch.float64 else image.float()
    reach = LCN_SIZE // 2
    at = torch.arange(-reach, reach + 1, device=wide.device, dtype=wide.dtype)
    kernel = torch.exp(-(at**2) / (2 * LCN_SIGMA**2))
    kernel = kernel / kernel.sum()

    def local(x: Tensor) -> Tensor:
        return blur(F.pad(x, [reach] * 4), kernel)

    # the share of the Gaussian inside the image, by which Torch7 corrects means and deviations at the border
    inside = local(wide.new_ones(1, 1, *wide.shape[-2:]))
    centred = wide - local(wide.mean(dim=1, keepdim=True)) / inside
    variance = local(centred.square().mean(dim=1, keepdim=True))
    deviation = variance.clamp(min=1e-20).sqrt() / inside  # the root has no gradient at 0
    return (centred / deviation.clamp(min=LCN_FLOOR)).to(image.dtype)


def highest_cell(maps: Tensor) -> Tensor:
    """Return (column, row) of each map's first maximum: `(B, K, h, w)` to `(B, K, 2)`."""
    index = maps.flatten(2).argmax(dim=-1)
    return torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)


def windows(features: Tensor, corner: Tensor, size: int) -> Tensor:
    """Crop `(B, K, C, size, size)` from `(B, C, h, w)` at `corner` `(B, K, 2)`, 0 outside."""
    batch, channels, height, width = features.shape
    reach = torch.arange(size, device=corner.device)
    x, y = corner[..., :1] + reach, corner[..., 1:] + reach
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    # outside the map any cell is read, and then set to 0: indices stay valid and shapes fixed
    index = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
    picked = features.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
    picked *= inside.flatten(1)[:, None]
    return picked.view(batch, channels, corner.shape[1], size, size).transpose(1, 2)


def paste(squares: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste squares `(B, K, s, s)` at `corner` `(B, K, 2)` into maps of zeros: `(B, K, *size)`."""
    side = squares.shape[-1]
    margin = side // 2  # a corner lies at most half a square outside of the map
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    reach = torch.arange(side, device=corner.device) + margin
    x, y = corner[..., :1] + reach, corner[..., 1:] + reach
    index = (y[..., :, None] * width + x[..., None, :]).flatten(2)
    canvas = squares.new_zeros(*squares.shape[:2], height * width).scatter(2, index, squares.flatten(2))
    return canvas.view(*squares.shape[:2], height, width)[..., margin : margin + size[0], margin : margin + size[1]]


@register_model
def tompson_mpii(**kwargs: Any) -> Tompson:
    """Tompson et al. 2015 for MPII: 14 keypoints, 256 x 256, 8x pooling, 12.5 M parameters."""
    return Tompson(**{"layout": "mpii", **kwargs})


@register_model
def tompson_flic(**kwargs: Any) -> Tompson:
    """Tompson et al. 2015 for FLIC: 7 keypoints, 240 x 320, 8x pooling, 21.9 million parameters."""
    return Tompson(**{"layout": "flic", **kwargs})


@register_model
def tompson_nips14(**kwargs: Any) -> Tompson:
    """The part detector of Tompson et al. 2014, for a `SpatialModel`: two scales, 60 x 90 maps."""
    settings = {"layout": "nips14", "pooling": 4, "banks": 2, "dropout": 0.0, "fine": False}
    return Tompson(**{**settings, **kwargs})
