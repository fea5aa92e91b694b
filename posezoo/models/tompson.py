"""Efficient Object Localization Using Convolutional Networks (Tompson, Goroshin, Jain, LeCun, Bregler; CVPR 2015).

arXiv 1411.4280, with the spatial model of "Joint Training of a Convolutional Network and a Graphical Model for Human
Pose Estimation" (Tompson, Jain, LeCun, Bregler; NIPS 2014; arXiv 1406.2984).

A fully convolutional network looks at three scales of the image and answers with coarse heatmaps. Around each joint's
peak a second network, shared by all joints, looks again at the features of the first two layers, which the pooling had
not blurred yet, and places the joint to the pixel. A Markov random field may first choose peaks that agree.

    In   image   (B, 3, H, W)         RGB in [0, 1], H and W multiples of 8 (of 4 or 16 with that pooling)
    Out  fine    (B, K, H, W)         each joint's window of 36 x 36 pixels at its place, 0 elsewhere; stride 1
         coarse  (B, K, H/8, W/8)     the first of `all_stages`; with `fine=False` the only one

    SpatialModel: maps (B, K, h, w), and context (B, C, h, w) such as the torso's map, to log energies (B, K, h, w)

Nobody published code or weights, so there are none to load. What the papers leave open is listed with what they say.

Departures
    - Output: the paper adds the fine window's peak to the coarse one's. Windows pasted into maps of the image's size
      say the same in one tensor. E2's targets are then plain Gaussians, `heatmaps.encode(size=(H, W), stride=1,
      sigma=1.5, method="gaussian")`: outside of its window a map is constant, so the gradient of the squared error is
      the window's alone, and only the error's value has a part that nothing can change. A joint outside of its window
      has a target of zeros in it, but for the Gaussian's tail. A window without a positive value
      answers with its highest one, as in the paper; what is exactly 0 counts as outside.
    - Places: coarse cell u covers pixels `8 u` to `8 u + 7`, its middle is `8 u + 3.5`, and the window is the 36 pixels
      around that, `8 u - 14` to `8 u + 21`. On features of stride s it starts at that pixel divided by s, rounded up:
      at stride 4 half a cell off, always the same way. `crop=40` has no such rest.
    - The fine model sees two scales, as drawn; of a third, the smallest window would be 4.5 cells wide (`fine_banks=3`
      wants `crop=40`). Its kernels (5, 5, 1, 1) and widths are not legible in the paper.
    - Local contrast normalisation is Torch7's SpatialContrastiveNormalization (9 x 9 Gaussian of 2.25 pixels, floor
      1e-4), at the border too, where it divides the deviation by the kernel's mass inside the image, not by its root.
    - Pyramid: Burt and Adelson's five taps, edge pixels repeated. Sides that do not halve evenly end in partial pools.
    - SpatialDropout is `Dropout2d`, which rescales in training and not in testing as Torch7's did; its rate and the
      widths of the 1x1 layers are those of others' replicas. Weights start as Torch7's did, PyTorch's default.
    - `pooling=4` leaves the third pool out, 16 makes it 4 x 4.
    - `layout="nips14"` is the part detector of 2014 with padding everywhere, so that 240 x 360 gives 60 x 90; its last
      two layers, labelled 9 x 9, are 1x1; there is no ReLU at the end, the spatial model has its own; it finds both
      arms, where the paper has four joints of one side.
    - Spatial model: odd kernels instead of 128 x 128; fully connected for both papers; a scalar bias for each pair
      (`bias="map"`: a map of them). SoftPlus applies to kernels and biases, so the initial histogram and bias are what
      comes *out* of it: put in, SoftPlus would lift every empty cell to log(2) / beta and drown the histogram. Energies
      stay logarithms, without the final exp.
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
from posezoo.layers import Normalize, PoseModel, check_image, require_flip_index
from posezoo.registry import register_model

POOLINGS = (4, 8, 16)  # section 5, Table 1
LCN_SIZE, LCN_SIGMA = 9, 0.25 * 9  # pixels; the width is that of Torch7's image.gaussian
LCN_FLOOR = 1e-4  # Torch7's threshold on the deviation
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # Burt and Adelson, 1983
TORSO_SIGMA = 1.5  # cells, as the targets of the joints
UNSEEN = 1e-3  # of an initial kernel's mass, spread evenly, so that no displacement has a probability of zero
INITIAL_BIAS = 1e-5  # what comes out of the SoftPlus of the spatial model's bias


class Layout(NamedTuple):
    """What differs between the networks for the data sets."""

    convs: int  # 5x5 convolutions between the second pool and the third
    fc_per_bank: bool  # the 9x9 convolution before the banks are added, or after
    hidden: int  # 1x1 convolutions before the last
    skeleton: str
    num_keypoints: int
    size: tuple[int, int]


LAYOUTS = {
    "mpii": Layout(2, False, 1, "mpii14", 14, (256, 256)),  # CVPR 2015, Figure 4: 11 layers
    "flic": Layout(1, True, 2, "flic7", 7, (240, 320)),  # CVPR 2015, section 3: 7 layers
    "nips14": Layout(1, True, 1, "flic7", 7, (240, 360)),  # NIPS 2014, Figure 2
}


class Tompson(PoseModel):
    """Coarse heatmaps, then a second look around each peak.

    Args:
        layout: "mpii", "flic" or "nips14": depth, input size and keypoints of the network for that data set.
        num_keypoints: channels of the heatmaps; None: the layout's, with their names; 0 leaves the heads out, `forward`
            then returns the input features of the coarse one.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        pooling: 4, 8 or 16 pixels of the image per cell of the coarse heatmaps (section 5).
        banks: scales of the image.
        width: channels of the convolutions 1 to 4 and of the fine model.
        fc_width: channels of the 9x9 convolution; the 1x1 ones after it have half as many.
        dropout: how often SpatialDropout takes out a whole map.
        fine: False: the coarse model alone.
        fine_banks: scales whose features the fine model sees.
        crop: pixels on a side of the fine model's windows.
        spatial_model: place the windows at the peaks of a `SpatialModel` of the coarse heatmaps and the torso's. It is
            `self.spatial_model`; initialise and train it as described there: a choice of place passes no gradient.
        decoding: how `decode` refines the highest cell: "argmax" as in the paper, "quarter", "dark" or "soft".

    Example:
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
        self.grad_checkpointing = False
        convs, fc_per_bank, hidden, named, count, _ = LAYOUTS[layout]

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
        self, image: Tensor, *, all_stages: bool = False, torso: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to fine heatmaps `(B, K, H, W)`; with `all_stages` the coarse ones before them.

        Args:
            image: H and W multiples of `pooling`.
            all_stages: return (coarse, fine), the coarse ones `(B, K, H/pooling, W/pooling)`.
            torso: `(B, 2)` pixels of the image, a point on the person who is meant, for the spatial model.
        """
        features, early = self.trunk(image)
        coarse = self.final_layer(features)
        if torso is not None and self.spatial_model is None:
            raise ValueError("torso: only a spatial model looks at it; create the model with spatial_model=True")
        if self.fine is None:
            return (coarse,) if all_stages else coarse

        cells = highest_cell(coarse if self.spatial_model is None else self.agreeing(coarse.detach(), torso))
        fine = self.look_again(early, cells, (image.shape[-2], image.shape[-1]))
        return (coarse, fine) if all_stages else fine

    def trunk(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the coarse head sees, and the features of the first two layers that the fine model looks at again."""
        check_image(image, max(self.pooling, 2 ** (len(self.banks) - 1)))
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
        """What the coarse head sees: `(B, fc_width / 2, H/pooling, W/pooling)`."""
        return self.trunk(image)[0]

    def agreeing(self, coarse: Tensor, torso: Tensor | None) -> Tensor:
        """Energies of the spatial model `(B, K, h, w)`; without a torso the person may be anywhere."""
        assert self.spatial_model is not None
        size = (coarse.shape[-2], coarse.shape[-1])
        if torso is None:
            context = coarse.new_full((coarse.shape[0], 1, *size), 1 / math.prod(size))
        elif torso.shape != (coarse.shape[0], 2):
            raise ValueError(f"torso: expected ({coarse.shape[0]}, 2), pixels (x, y), got {tuple(torso.shape)}")
        else:
            stride, offset = self.frame(0)
            context, _ = heatmaps.encode(
                torso[:, None], size=size, stride=stride, offset=offset, sigma=TORSO_SIGMA, method="gaussian"
            )
        return self.spatial_model(coarse, context.to(coarse))

    def look_again(self, early: Sequence[Tensor], cells: Tensor, size: tuple[int, int]) -> Tensor:
        """The fine model around the cells `(B, K, 2)`, pasted into heatmaps of the image's `size`.

        Gradients reach the features at the places where they were taken; the places themselves have none.
        """
        assert self.fine is not None
        corner = cells * self.pooling + self.pooling // 2 - self.crop // 2
        strides = [2 ** (bank + layer) for bank in range(self.fine_banks) for layer in (0, 1)]
        crops = [
            windows(features, -(-corner // stride), self.crop // stride)
            for features, stride in zip(early, strides, strict=True)
        ]
        return paste(self.fine(crops), corner, size)

    def frame(self, stage: int) -> tuple[float, float]:
        """Where the cells of a stage's heatmaps lie: stride and offset, for `heatmaps.encode` and `decode`."""
        return (1.0, 0.0) if self.fine_model and stage in (-1, 1) else (self.pooling, (self.pooling - 1) / 2)

    def decode(self, output: Tensor, *, stage: int = -1) -> tuple[Tensor, Tensor]:
        """Heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`.

        Args:
            output: heatmaps of one stage.
            stage: which of `all_stages` they are; 0: the coarse ones.
        """
        stride, offset = self.frame(stage)
        keypoints, scores = heatmaps.decode(output, stride=stride, offset=offset, method=self.decoding)
        if stride > 1:
            return keypoints, scores
        # the highest pixel of a window counts even if it is not positive; what is 0 lies outside of the window
        inside = output.to(scores).masked_fill(output == 0, -torch.inf).flatten(2)
        best, index = inside.max(dim=-1)
        low = (scores <= 0) & best.isfinite()
        pixel = torch.stack([index % output.shape[-1], index // output.shape[-1]], dim=-1).to(keypoints)
        return torch.where(low[..., None], pixel, keypoints), torch.where(low, best, scores)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False, torso: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image.

        Args:
            image: `(B, 3, H, W)` in [0, 1]. For MPII the paper cuts out `256 * scale` pixels around `objpos`.
            flip: not in the paper.
            torso: `(B, 2)` pixels (x, y), a point on the torso of the person who is meant (`spatial_model=True`).

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
        output = self(image, torso=torso)
        if flip:
            mirrored = None if torso is None else torch.stack([image.shape[-1] - 1 - torso[:, 0], torso[:, 1]], dim=1)
            output = heatmaps.flip_average(output, self(image.flip(-1), torso=mirrored), flip_index)
        return self.decode(output)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of the paper's size, `(batch, 3, 256, 256)` for MPII."""
        return torch.rand(batch, 3, *LAYOUTS[self.layout].size)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh last layers for other keypoints; 0 takes them away, and with them the fine model.

        What the fine model shares over all joints stays; a spatial model starts anew.
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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each bank for its activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: convolutions 1 and 2, banks, 1x1s, heads."""
        return {
            "stem": r"^banks\.\d+\.conv[12]",
            "banks": r"^banks",
            "shared": r"^(?:fc|hidden|fine\.(?:branches|fuse))",
            "head": r"^(?:final_layer|fine\.final_layer|spatial_model)",
        }


class Bank(nn.Module):
    """One scale of the image: `(B, 3, h, w)` to the features that are added up, and those of its first two layers."""

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
    """The same network around every joint, but for the last layer, of which each joint has its own (Figure 7).

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


class SpatialModel(nn.Module):
    """The Markov random field of NIPS 2014: what every joint's heatmap says about where each joint is.

    Joint A is where all joints v, itself included, expect it: the log energy of A is the sum over v of
    `log(SoftPlus(kernel[A, v]) * max(map[v], epsilon) + SoftPlus(bias[A, v]))`, where `*` is a convolution and
    `kernel[A, v]` the learned energy of the displacement from v to A (section 3.2). It sits on any network's heatmaps.

    Several people in an image: give the map of a point on the one who is meant, his torso's for instance, as `context`.

    Args:
        num_keypoints: maps that go in and come out, K.
        radius: largest displacement in cells, one number or (y, x); kernels are `2 * radius + 1` on a side. `(h - 1,
            w - 1)` covers maps of `(h, w)` exactly. The paper's 128 x 128 is nearly 63.
        context: maps that only go in.
        bias: "scalar", one per pair of maps, or "map", one per pair and cell, which can learn where in the image people
            usually are.
        size: (h, w) of the maps, for `bias="map"`.
        beta: sharpness of SoftPlus, 1/2 to 2 in the paper.
        epsilon: what a map has at least, above 0 to 0.01 in the paper. Over thousands of cells 0.01 adds up to more
            than a joint's peak does.

    Fresh kernels expect every joint where its own map is, and know nothing of the others; `init_from_displacements`
    makes them the statistics of a training set.

    Example:
        >>> import posezoo
        >>> from posezoo.losses import heatmap_cross_entropy
        >>> detector, torso = posezoo.create("tompson_nips14", width=4, fc_width=8), torch.rand(2, 1, 60, 90)
        >>> spatial = SpatialModel(num_keypoints=7, radius=(59, 89), context=1)
        >>> training_poses = torch.rand(20, 8, 2) * 200                    # seven joints and the torso
        >>> _ = spatial.init_from_displacements(training_poses, stride=4)
        >>> energies = spatial(detector(detector.example_input(2)), torso)
        >>> target, visible = heatmaps.encode(training_poses[:2, :7], size=(60, 90), stride=4, offset=1.5, sigma=1.5)
        >>> heatmap_cross_entropy(energies, target, visible).backward()    # trains both
        >>> keypoints, chances = heatmaps.decode(spatial.softmax(energies), stride=4, offset=1.5, method="argmax")
    """

    def __init__(
        self,
        *,
        num_keypoints: int,
        radius: int | tuple[int, int] = 63,
        context: int = 0,
        bias: str = "scalar",
        size: tuple[int, int] | None = None,
        beta: float = 1.0,
        epsilon: float = 1e-4,
    ) -> None:
        super().__init__()
        radius = (radius, radius) if isinstance(radius, int) else (radius[0], radius[1])
        if num_keypoints < 1 or context < 0 or min(radius) < 0:
            raise ValueError(
                f"expected num_keypoints of 1 or more, context and radius of 0 or more, got {num_keypoints}, {context} "
                f"and {radius}"
            )
        if bias not in ("scalar", "map"):
            raise ValueError(f'bias: expected "scalar" or "map", got {bias!r}')
        if (bias == "map") != (size is not None):
            raise ValueError(f'size: expected (h, w) of the maps with bias="map" and only then, got {size!r}')
        if not (beta > 0 and epsilon > 0):
            raise ValueError(f"beta and epsilon: expected positive numbers, got {beta} and {epsilon}")
        self.num_keypoints, self.num_maps, self.radius = num_keypoints, num_keypoints + context, radius
        self.size, self.beta, self.epsilon = size, beta, epsilon
        pairs = (num_keypoints, self.num_maps)
        self.weight = nn.Parameter(torch.empty(*pairs, 2 * radius[0] + 1, 2 * radius[1] + 1))
        self.bias = nn.Parameter(torch.empty(*pairs, *(size or (1, 1))))
        self.set_kernels(self.knows_nothing())

    def forward(self, maps: Tensor, context: Tensor | None = None) -> Tensor:
        """Heatmaps `(B, K, h, w)` and context `(B, C, h, w)` to log energies `(B, K, h, w)`, never in half precision.

        Raises:
            ValueError: another number of maps, or with `bias="map"` maps of another size.
        """
        shapes = [tuple(given.shape) for given in (maps, context) if given is not None]
        counts = [count for count in (self.num_keypoints, self.num_maps - self.num_keypoints) if count]
        if maps.ndim != 4 or shapes != [(maps.shape[0], count, *maps.shape[2:]) for count in counts]:
            raise ValueError(
                f"expected heatmaps (B, {self.num_keypoints}, h, w) and {self.num_maps - self.num_keypoints} maps of "
                f"context of the same size, got {' and '.join(map(str, shapes))}"
            )
        everything = maps if context is None else torch.cat([maps, context.to(maps)], dim=1)
        if self.size is not None and everything.shape[-2:] != self.size:
            raise ValueError(
                f'maps: expected {self.size}, for which the model has biases (bias="map"), got '
                f'{tuple(everything.shape[-2:])}; bias="scalar" takes any size'
            )
        everything = everything if everything.dtype == torch.float64 else everything.float()
        kernels = F.softplus(self.weight.to(everything), self.beta)
        expected = convolve(everything.clamp(min=self.epsilon), kernels).clamp(min=0)  # Fourier sums miss 0 by a little
        return (expected + F.softplus(self.bias.to(everything), self.beta)).log().sum(dim=2)

    @staticmethod
    def softmax(energies: Tensor) -> Tensor:
        """Log energies to the chance of each cell, which sums to 1 over each map: `(B, K, h, w)`."""
        return energies.flatten(2).softmax(dim=-1).view_as(energies)

    @torch.no_grad()
    def init_from_displacements(
        self, keypoints: Tensor, visible: Tensor | None = None, *, stride: float, taps: int = 9
    ) -> Tensor:
        """Make each kernel the histogram of where joint A was seen from v in the training set, normalised to 1.

        Pairs that were never seen together, or never within the radius, know nothing of each other. Biases start over.

        Args:
            keypoints: `(N, K + C, 2)` pixels (x, y): the keypoints, then the points of the context maps.
            visible: `(N, K + C)` bool; None: all.
            stride: pixels per cell of the maps.
            taps: odd width of the binomial that smooths the histogram; 1: none.

        Returns:
            `(K, K + C)`, how many displacements each kernel rests on.

        Raises:
            ValueError: wrong shapes, no visible keypoint at all, or one that is not finite.
        """
        if keypoints.ndim != 3 or keypoints.shape[1:] != (self.num_maps, 2):
            raise ValueError(f"keypoints: expected (N, {self.num_maps}, 2) pixels, got {tuple(keypoints.shape)}")
        visible = torch.ones(keypoints.shape[:2], dtype=torch.bool) if visible is None else visible > 0
        if visible.shape != keypoints.shape[:2]:
            raise ValueError(f"visible: expected {tuple(keypoints.shape[:2])}, got {tuple(visible.shape)}")
        if taps < 1 or taps % 2 == 0:
            raise ValueError(f"taps: expected an odd number, 1 or more, got {taps}")
        visible = visible.to(keypoints.device)
        if not visible.any() or not torch.isfinite(keypoints[visible]).all():
            raise ValueError("keypoints: expected visible ones, all of them finite; mark missing ones in `visible`")

        points = torch.where(visible[..., None], keypoints, 0.0).double()
        cells = ((points[:, : self.num_keypoints, None] - points[:, None]) / stride).round().long().flip(-1)  # (y, x)
        radius = cells.new_tensor(self.radius)
        seen = visible[:, : self.num_keypoints, None] & visible[:, None] & (cells.abs() <= radius).all(dim=-1)
        kept_n, kept_a, kept_v = seen.nonzero(as_tuple=True)
        y, x = (cells[kept_n, kept_a, kept_v] + radius).unbind(-1)
        counts = torch.zeros(self.weight.shape, dtype=torch.float64, device=keypoints.device)
        counts.index_put_((kept_a, kept_v, y, x), counts.new_ones(()), accumulate=True)

        binomial = counts.new_tensor([math.comb(taps - 1, tap) for tap in range(taps)]) / 2 ** (taps - 1)
        histogram = blur(F.pad(counts, [taps // 2] * 4), binomial)
        mass = histogram.sum(dim=(-2, -1), keepdim=True)
        kernels = torch.where(mass > 0, histogram / mass.clamp(min=1e-12), self.knows_nothing().to(counts))
        self.set_kernels(kernels)
        return counts.sum(dim=(-2, -1)).long()

    def knows_nothing(self) -> Tensor:
        """Kernels by which each joint is where its own map is, and may be anywhere seen from the others."""
        kernels = torch.full(self.weight.shape, 1 / math.prod(self.weight.shape[-2:]), dtype=torch.float64)
        joint = torch.arange(self.num_keypoints)
        kernels[joint, joint] = 0
        kernels[joint, joint, self.radius[0], self.radius[1]] = 1
        return kernels

    @torch.no_grad()
    def set_kernels(self, kernels: Tensor) -> None:
        """Parameters whose SoftPlus is `kernels`, of mass 1, with a little everywhere, and the initial bias."""
        spread = (1 - UNSEEN) * kernels + UNSEEN / math.prod(kernels.shape[-2:])
        self.weight.copy_(inverse_softplus(spread, self.beta))
        self.bias.copy_(inverse_softplus(torch.full((), INITIAL_BIAS, dtype=torch.float64), self.beta))


def conv_relu(channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


def layer_per_joint(width: int, num_keypoints: int) -> nn.Conv2d:
    """1x1 convolutions, one for each joint: `(B, K * width, s, s)` to `(B, K, s, s)`."""
    return nn.Conv2d(num_keypoints * width, num_keypoints, 1, groups=num_keypoints)


def pool(x: Tensor, size: int) -> Tensor:
    """Maxima of blocks; a rest at the right and bottom edge is a block too."""
    return F.max_pool2d(x, size, ceil_mode=True)


def upscale(x: Tensor, factor: int, like: Tensor) -> Tensor:
    """Each cell repeated, cut to the size of `like`, which a coarser pooling rounded up to more."""
    return F.interpolate(x, scale_factor=float(factor), mode="nearest")[..., : like.shape[-2], : like.shape[-1]]


def blur(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Rows and columns weighted with a kernel; the result is smaller by the kernel's reach.

    Products and sums, not a convolution: autocast would round that to 8 bits, and the small differences with it.
    """
    for axis in (-2, -1):
        x = (x.unfold(axis, len(kernel), stride) * kernel).sum(dim=-1)
    return x


def pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """The image, smoothed and halved again and again; pixel i of a level lies at pixel 2 i of the one before."""
    scaled = [image if image.dtype == torch.float64 else image.float()]
    for _ in range(levels - 1):
        padded = F.pad(scaled[-1], (2, 2, 2, 2), mode="replicate")
        scaled.append(blur(padded, padded.new_tensor(BINOMIAL), stride=2))
    return [level.to(image.dtype) for level in scaled]


def local_contrast(image: Tensor) -> Tensor:
    """Minus the local mean, by the local deviation, both over all channels: `(B, 3, H, W)` to the same.

    Weighted with a Gaussian, as far as it lies inside the image. Deviations below the floor count as the floor.
    """
    wide = image if image.dtype == torch.float64 else image.float()
    reach = LCN_SIZE // 2
    at = torch.arange(-reach, reach + 1, device=wide.device, dtype=wide.dtype)
    kernel = torch.exp(-(at**2) / (2 * LCN_SIGMA**2))
    kernel = kernel / kernel.sum()

    def local(x: Tensor) -> Tensor:
        return blur(F.pad(x, [reach] * 4), kernel)

    inside = local(wide.new_ones(1, 1, *wide.shape[-2:]))
    centred = wide - local(wide.mean(dim=1, keepdim=True)) / inside
    variance = local(centred.square().mean(dim=1, keepdim=True))
    deviation = variance.clamp(min=1e-20).sqrt() / inside  # the root has no gradient at 0
    return (centred / deviation.clamp(min=LCN_FLOOR)).to(image.dtype)


def highest_cell(maps: Tensor) -> Tensor:
    """Column and row of each map's highest cell, the first of several: `(B, K, h, w)` to `(B, K, 2)`."""
    index = maps.flatten(2).argmax(dim=-1)
    return torch.stack([index % maps.shape[-1], index // maps.shape[-1]], dim=-1)


def windows(features: Tensor, corner: Tensor, size: int) -> Tensor:
    """Cut squares out of `(B, C, h, w)`, at `corner` `(B, K, 2)`, 0 outside: `(B, K, C, size, size)`."""
    batch, channels, height, width = features.shape
    reach = torch.arange(size, device=corner.device)
    x, y = corner[..., :1] + reach, corner[..., 1:] + reach
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    index = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
    picked = features.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, channels, -1))
    picked *= inside.flatten(1)[:, None]
    return picked.view(batch, channels, corner.shape[1], size, size).transpose(1, 2)


def paste(squares: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
    """Put squares `(B, K, s, s)` at `corner` `(B, K, 2)` of maps that are 0 elsewhere: `(B, K, *size)`.

    A corner lies at most half a square outside of the map, so a margin of that width takes what hangs over.
    """
    side = squares.shape[-1]
    margin = side // 2
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    reach = torch.arange(side, device=corner.device) + margin
    x, y = corner[..., :1] + reach, corner[..., 1:] + reach
    index = (y[..., :, None] * width + x[..., None, :]).flatten(2)
    canvas = squares.new_zeros(*squares.shape[:2], height * width).scatter(2, index, squares.flatten(2))
    return canvas.view(*squares.shape[:2], height, width)[..., margin : margin + size[0], margin : margin + size[1]]


def convolve(maps: Tensor, kernels: Tensor) -> Tensor:
    """Every map with every joint's kernel for it, 0 outside.

    `(B, V, h, w), (K, V, 2 ry + 1, 2 rx + 1) -> (B, K, V, h, w)`. By Fourier transforms, which at the size of these
    kernels take a tenth of the time of sums. Periods are as short as they can be without what wraps around reaching
    the part that is kept.
    """
    sizes = (maps.shape[-2], maps.shape[-1])
    reach = [min(kernels.shape[axis] // 2, size - 1) for axis, size in zip((-2, -1), sizes, strict=True)]
    middle = [kernels.shape[axis] // 2 for axis in (-2, -1)]
    y, x = (slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))  # no map has longer displacements
    period = [fast_length(size + r) for size, r in zip(sizes, reach, strict=True)]
    spectrum = torch.fft.rfft2(maps, s=period)[:, None] * torch.fft.rfft2(kernels[..., y, x], s=period)
    wrapped = torch.fft.irfft2(spectrum, s=period)
    return wrapped[..., reach[0] : reach[0] + sizes[0], reach[1] : reach[1] + sizes[1]]


def fast_length(length: int) -> int:
    """The next length without prime factors above 5."""
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return length if rest == 1 else fast_length(length + 1)


def inverse_softplus(x: Tensor, beta: float) -> Tensor:
    """What SoftPlus makes `x`, a positive number, of."""
    return x + torch.log(-torch.expm1(-beta * x)) / beta


@register_model
def tompson_mpii(**kwargs: Any) -> Tompson:
    """Tompson et al. 2015 for MPII: 14 keypoints, 256 x 256, 8x pooling, 12.5 million parameters."""
    return Tompson(**{"layout": "mpii", **kwargs})


@register_model
def tompson_flic(**kwargs: Any) -> Tompson:
    """Tompson et al. 2015 for FLIC: 7 keypoints, 240 x 320, 8x pooling, 21.9 million parameters."""
    return Tompson(**{"layout": "flic", **kwargs})


@register_model
def tompson_nips14(**kwargs: Any) -> Tompson:
    """The part detector of Tompson et al. 2014: two scales, 4x pooling, heatmaps 60 x 90; for a `SpatialModel`."""
    settings = {"layout": "nips14", "pooling": 4, "banks": 2, "dropout": 0.0, "fine": False}
    return Tompson(**{**settings, **kwargs})
