"""Convolutional Pose Machines (Wei, Ramakrishna, Kanade, Sheikh; CVPR 2016; arXiv 1602.00134).

The first stage predicts one belief map per part from image features. Each later stage takes image
features and all belief maps of the stage before, with receptive fields wide enough for parts to
correct each other. Every stage is supervised.

    In   image    (B, 3, H, W)          RGB in [0, 1], H and W multiples of 8; (368, 368) in the paper
         center   (B, 2)                the person's middle, (x, y) pixels. Defaults to the middle of the image
    Out  beliefs  (B, K + 1, H/8, W/8)  a map per part and, last, the background; "bn" and "person" have no background

A centre map, a Gaussian around `center`, selects one person of several in the later stages. Cell i
of a map lies at pixel 8 i + 3.5. The person fills 234 of 368 pixels (`PADDING`);
`predict_at_scales` is the paper's test. The four designs:

    9x9     the paper's network, 6 stages for MPII and LSP, 4 for FLIC; stage 1 has a trunk of its own (Figure 2)
    vgg     the authors' later and better one: a VGG-19 trunk that all stages share, 7x7 kernels
    person  the authors' detector: one map, high in the middle of every person; a deeper trunk, no `center`
    bn      mmpose's reimplementation, whose weights can be had: batch normalisation, no `center`, no background

Departures
    - The paper draws 2x pooling; the authors' files pool 3x3 with stride 2 from the first pixel, as
      here. PyTorch reimplementations, and `bn`, pad by one pixel, which shifts all features.
    - The authors feed (v - 128) / 256 of BGR. Here images are RGB in [0, 1], `normalize` does the
      same, and the converter of their files (`posezoo.checkpoints`) reverses the first kernels.
    - A later stage concatenates its inputs as the authors' files do: features, beliefs, centre in
      9x9; beliefs, features, centre in vgg; beliefs, features in person and bn.
    - Belief maps are enlarged by the bicubic kernel of the authors' Python code (a = -3/4), whose
      peaks lie 0.5 pixels from a Gaussian's. Their MATLAB code has a = -1/2 and 1.0 pixels.
    - Targets of stage 1 contain all people in the crop, those of later stages the central person.
      `cpm_targets` with one person per image is mmpose's reading, one person in all stages.
    - Dropout (stage 1, ratio 1/2) is only in 9x9. `pretrained_backbone=True` starts vgg and person
      from torchvision's VGG-19, as RGB with ImageNet's mean and std.
    - bn follows mmpose: cells at pixel 8 i, quarter offsets, mirrored maps shifted by one cell.

`posezoo.load_checkpoint` takes the authors' tensors as a PyTorch state dict under Caffe's names.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo import heatmaps
from posezoo.backbones import load_vgg
from posezoo.contract import PoseModel, check_image, require_flip_index
from posezoo.geometry import compose, crop, invert, warp, zoom
from posezoo.layers import Normalize, cpm_trunk, named_convolutions, vgg_layers
from posezoo.registry import register_model

Module = TypeVar("Module", bound=nn.Module)

STRIDE = 8
PADDING = 368 / (200 * 41 / 35)  # a person of 200 annotated pixels is shown 41/35 times as large (the data layer)
SIGMA = 7.0  # pixels; of the target Gaussians (the authors' data layer, as the next three)
FLOOR = exp(-4.6052)  # one per cent: smaller target values are 0
CENTER_SIGMA = 21.0  # pixels; of the centre map
GREY, RANGE = 128 / 255, 256 / 255  # mean and scale of the authors' normalisation
CENTER_KERNEL = 9  # of the average pooling that brings the centre map to the beliefs' size
CPM_SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)  # at which the authors test
VGG_KERNELS = (7, 7, 7, 7, 7, 1)


def person_trunk(width: int) -> nn.Sequential:
    """VGG-19 up to conv5_1 and one more convolution: `(B, 3, H, W) -> (B, width, H/8, W/8)`."""
    deeper = [(name, 3, 4 * width) for name in ("conv4_3", "conv4_4", "conv5_1")]
    return named_convolutions(3, [*vgg_layers(width), *deeper, ("conv5_2_CPM", 3, width)])


@dataclass(frozen=True, kw_only=True)
class Design:
    """Differences between the published networks. Defaults to the paper's."""

    trunk: Callable[[int], nn.Sequential] | None = None  # shared by all stages; None: 9x9, another for stage 1
    first: tuple[str, str] = ("", "")  # names of the convolutions of stage 1 on a shared trunk
    kernels: tuple[int, ...] = (11, 11, 11, 1)  # of a later stage, before its last convolution
    belief_first: bool = False  # beliefs before features in a later stage's input
    center_map: bool = True
    background: bool = True
    batch_norm: bool = False
    dropout: float = 0.0
    init_std: float = 0.01
    offset: float = (STRIDE - 1) / 2  # pixel of the image at which cell 0 lies
    padding: float = PADDING


DESIGNS = {
    "9x9": Design(dropout=0.5),
    "vgg": Design(trunk=cpm_trunk, first=("conv5_1_CPM", "conv5_2_CPM"), kernels=VGG_KERNELS, belief_first=True),
    "person": Design(
        trunk=person_trunk, first=("conv6_1_CPM", "conv6_2_CPM"), kernels=VGG_KERNELS, belief_first=True,
        center_map=False, background=False,
    ),
    "bn": Design(
        belief_first=True, center_map=False, background=False, batch_norm=True, init_std=0.001, offset=0.0, padding=1.25
    ),
}  # fmt: skip


class CPM(PoseModel):
    """A sequence of predictors, each refining the beliefs of the one before (Figure 2).

    Args:
        design: "9x9", "vgg", "person" or "bn"; see the top of the module.
        num_stages: 2 or more (the paper: 6, for FLIC 4).
        width: channels of the shared features; all other widths are proportional to it.
        num_keypoints: number of parts. 0 removes all stages; `forward` returns shared features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None: COCO's for 17.
        decoding: "bicubic", the highest pixel of the map resized to the image (the authors; not the
            default of bn); or "argmax", "quarter" (bn), "dark" or "soft", of the cells.
        pretrained_backbone: start the trunk of vgg or person from ImageNet weights, downloaded.

    Examples:
        >>> model = CPM(width=16, num_stages=2, num_keypoints=14, skeleton="cpm14")
        >>> model(torch.rand(1, 3, 96, 96)).shape, model.predict(torch.rand(1, 3, 96, 96))[0].shape
        (torch.Size([1, 15, 12, 12]), torch.Size([1, 14, 2]))
    """

    input_size = (368, 368)
    stride = STRIDE

    def __init__(
        self,
        *,
        design: str = "9x9",
        num_stages: int = 6,
        width: int = 128,
        num_keypoints: int = 14,
        skeleton: str | Sequence[str] | None = None,
        decoding: str | None = None,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        if design not in DESIGNS:
            raise ValueError(f"design: expected one of {', '.join(DESIGNS)}, got {design!r}")
        self.design, self.num_stages, self.num_features = DESIGNS[design], num_stages, width
        self.offset, self.padding, self.background = self.design.offset, self.design.padding, self.design.background
        self.fill = 0.0 if self.design.batch_norm else GREY
        self.flip_shift = self.design.offset == 0  # cells in the middle of their block mirror onto cells
        self.decoding = decoding or ("quarter" if design == "bn" else "bicubic")
        decodings = heatmaps.DECODINGS if design == "bn" else ("bicubic", *heatmaps.DECODINGS)
        if self.decoding not in decodings:
            raise ValueError(f"decoding: expected one of {decodings} for the design {design!r}, got {decoding!r}")
        if num_stages < 2:
            raise ValueError(f"num_stages: expected 2 or more, got {num_stages}; one stage has nothing to refine")
        if width < 4 or width % 4:
            raise ValueError(f"width: expected a multiple of 4, got {width}")

        self.normalize = Normalize() if self.design.batch_norm else Normalize([GREY] * 3, [RANGE] * 3)
        self.trunk = self.design.trunk(width) if self.design.trunk else paper_trunk(2, width, self.design)
        initialize(self.trunk, self.design.init_std)
        if pretrained_backbone:
            if not self.design.trunk or width != 128:
                raise ValueError("pretrained_backbone: only the trunks of vgg and person, 128 wide, are VGG-19's")
            self.normalize = Normalize()
            start_from_vgg(self.trunk)
        self.stage1: nn.Module = nn.Identity()
        self.stages = nn.ModuleList()
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self, image: Tensor, all_stages: bool = False, center: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return belief maps of the last stage, `(B, K + 1, H/8, W/8)` with the background last.

        Args:
            image: `(B, 3, H, W)` in [0, 1].
            all_stages: return the maps of every stage.
            center: `(B, 2)`, (x, y) pixels, the middle of the target person. Defaults to (W/2,
                H/2). Not for the designs person and bn.

        Raises:
            ValueError: a wrong shape, or a center outside the image (not checked in exported
                graphs).
        """
        features = self.forward_features(image)
        if not self.num_keypoints:
            return (features,) if all_stages else features
        middle = self.check_center(image, center)
        maps = [center_map(middle, image.shape[-2:]).to(features)] if self.design.center_map else []
        beliefs = [self.run(self.stage1, features if self.design.trunk else self.normalize(image))]
        for stage in self.stages:
            beliefs.append(self.run(stage, features, beliefs[-1], *maps))
        return tuple(beliefs) if all_stages else beliefs[-1]

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the features that all later stages share: `(B, width, H/8, W/8)`."""
        check_image(image, STRIDE, self.in_chans)
        return self.run(self.trunk, self.normalize(image))

    def run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        if self.grad_checkpointing and self.training:
            return checkpoint(module, *inputs, use_reentrant=False)
        return module(*inputs)

    def check_center(self, image: Tensor, center: Tensor | None) -> Tensor:
        """Check `center`; return it in float32 at least, the middle of the image for None."""
        check_image(image, STRIDE, self.in_chans)
        height, width = image.shape[-2:]
        dtype = torch.promote_types(image.dtype, torch.float32)
        if center is None:
            return torch.tensor([width / 2, height / 2], dtype=dtype, device=image.device).expand(image.shape[0], 2)
        if not self.design.center_map:
            raise ValueError("center: this design has no centre map and takes no center; 9x9 and vgg do")
        if center.shape != (image.shape[0], 2):
            raise ValueError(f"center: expected (B, 2) = ({image.shape[0]}, 2) pixels, got shape {tuple(center.shape)}")
        center = center.detach().to(image.device, dtype)
        if center.is_cpu and not torch.compiler.is_compiling():  # on a GPU the check would wait for it
            outside = ~((center >= 0) & (center <= center.new_tensor([width - 1, height - 1]))).all(dim=1)
            if outside.any():
                index = int(outside.nonzero()[0])
                raise ValueError(
                    f"center: expected (x, y) in the image, 0 to {width - 1} and 0 to {height - 1}, got "
                    f"{center[index].tolist()} for image {index}; crop the image around the person, or leave center out"
                )
        return center

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Decode maps, with or without background, to `(B, K, 2)` pixels and scores `(B, K)`."""
        parts = output[:, : self.num_keypoints]
        if self.decoding == "bicubic":
            return heatmaps.decode(enlarge(parts), stride=1, method="argmax")
        return heatmaps.decode(parts, stride=self.stride, offset=self.offset, method=self.decoding)

    @torch.no_grad()
    def predict(
        self, image: Tensor, *, flip: bool = False, center: Tensor | None = None, scales: Sequence[float] = (1.0,)
    ) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)` in pixels of `image`, and scores `(B, K)`.

        Args:
            image: `(B, 3, H, W)` in [0, 1].
            flip: average with the mirror image, which the paper does not.
            center: `(B, 2)`, the middle of the target person, as for `forward`.
            scales: factors by which the image is resized about `center`, filled with grey; the
                resulting maps are averaged. The paper's test is `CPM_SCALES`.

        Raises:
            ValueError: a center outside the image, or scales that are not positive.

        Examples:
            >>> model = CPM(width=4, num_stages=2).eval()
            >>> image, center = torch.rand(2, 3, 64, 64), torch.tensor([[20.0, 32.0], [40.0, 30.0]])
            >>> model.predict(image, center=center, scales=CPM_SCALES)[0].shape
            torch.Size([2, 14, 2])
        """
        if not scales or not all(0 < scale < float("inf") for scale in scales):
            raise ValueError(f"scales: expected one or more positive numbers, got {scales!r}")
        flip_index = require_flip_index(self) if flip else ()
        middle = self.check_center(image, center)
        if tuple(scales) == (1.0,):
            return self.decode(self.beliefs(image, middle, flip_index))
        if self.decoding != "bicubic":
            raise ValueError(
                'scales: maps are averaged at the size of the image; create the model with decoding="bicubic", '
                f"not {self.decoding!r}"
            )
        height, width = image.shape[-2:]
        total = torch.zeros((), device=image.device)
        for scale in scales:
            zoomed, matrix = zoom(image, scale, middle, fill=self.normalize.mean)
            parts = self.beliefs(zoomed, middle, flip_index)[:, : self.num_keypoints]
            total = total + warp(enlarge(parts), invert(matrix), (height, width), mode="bicubic")
        return heatmaps.decode(total / len(scales), stride=1, method="argmax")

    @torch.no_grad()
    def predict_at_scales(
        self, image: Tensor, matrices: Tensor, *, scales: Sequence[float] = CPM_SCALES, flip: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Average the maps of crops of a photograph at several scales, the paper's test.

        Args:
            image: `(3, H, W)` in [0, 1], the whole photograph.
            matrices: `(N, 2, 3)`, maps from its pixels to the crop of each person at scale 1.
            scales: factors by which the person is enlarged about the middle of the crop.
            flip: average with the mirror images.

        Returns:
            keypoints `(N, K, 2)` in pixels of the crop at scale 1, and scores `(N, K)`.
        """
        flip_index = require_flip_index(self) if flip else ()
        height, width = self.input_size
        middle, total = matrices.new_tensor([width / 2, height / 2]), torch.zeros((), device=image.device)
        for scale in scales:
            zoomed = torch.cat([scale * torch.eye(2).to(middle), ((1 - scale) * middle)[:, None]], dim=1)[None]
            crops = crop(image - self.fill, compose(zoomed, matrices), self.input_size) + self.fill
            parts = self.beliefs(crops, middle.expand(len(crops), 2), flip_index)[:, : self.num_keypoints]
            total = total + warp(enlarge(parts), invert(zoomed).to(parts), (height, width), mode="bicubic")
        return heatmaps.decode(total / len(scales), stride=1, method="argmax")

    def beliefs(self, image: Tensor, middle: Tensor, flip_index: Sequence[int] = ()) -> Tensor:
        """Return the last stage's maps, with a `flip_index` averaged with the mirror image's."""
        center, mirrored_center = None, None
        if self.design.center_map:
            center = middle
            mirrored_center = torch.stack([image.shape[-1] - 1 - middle[:, 0], middle[:, 1]], dim=1)
        output = self(image, center=center)
        if not flip_index:
            return output
        index = (*flip_index, *range(len(flip_index), output.shape[1]))  # the background stays where it is
        mirrored = self(image.flip(-1), center=mirrored_center)
        # cells in the middle of their block of pixels mirror onto cells, others are a cell minus a pixel off
        return heatmaps.flip_average(output, mirrored, index, shift=self.flip_shift)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the layers that depend on the number of parts; 0 removes the stages."""
        self.set_keypoints(num_keypoints, skeleton)
        if not num_keypoints:
            self.stage1, self.stages, self.head_keys = nn.Identity(), nn.ModuleList(), ("stage1", "stages")
            return
        outputs, std = num_keypoints + self.design.background, self.design.init_std
        if self.stages:
            before = cast(nn.Conv2d, self.get_submodule(self.head_keys[0])).out_channels
            for key in self.head_keys:
                parent, _, name = key.rpartition(".")
                old = cast(nn.Conv2d, self.get_submodule(key))
                if name.startswith("Mconv1_"):
                    fresh = like(old, old.in_channels - before + outputs, old.out_channels)
                else:
                    fresh = like(old, old.in_channels, outputs)
                setattr(self.get_submodule(parent), name, initialize(fresh, std))
            return
        self.stage1 = initialize(first_stage(self.design, self.num_features, outputs), std)
        stages = [Stage(t, self.design, self.num_features, outputs) for t in range(2, self.num_stages + 1)]
        self.stages = nn.ModuleList(initialize(stage, std) for stage in stages)
        later = [f"stages.{i}.beliefs.{end}" for i, stage in enumerate(stages) for end in ends(stage.beliefs)]
        self.head_keys = (f"stage1.{ends(self.stage1)[1]}", *later)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: the trunks' layers, then the rest."""
        vgg = r"^trunk\.conv(\d)_" + ("" if coarse else r"(\d)")
        return {"trunks": [(r"^(?:trunk|stage1)\.(?:conv|bn)([1-6])_stage", None), (vgg, None)]}


class Stage(nn.Module):
    """A later stage (Figure 2d): belief maps from features, belief maps and the centre map."""

    def __init__(self, number: int, design: Design, width: int, outputs: int) -> None:
        super().__init__()
        name = f"conv{4 if number == 2 else 1}_stage{number}"
        own = [] if design.trunk else [(name, 5, width // 4)]
        hidden = [(f"Mconv{i}_stage{number}", kernel, width) for i, kernel in enumerate(design.kernels, start=1)]
        channels = (width if design.trunk else width // 4) + outputs + design.center_map
        self.belief_first = design.belief_first
        self.features = named_convolutions(width, own, batch_norm=design.batch_norm)
        self.beliefs = named_convolutions(channels, hidden, batch_norm=design.batch_norm)
        self.beliefs.add_module(f"Mconv{len(hidden) + 1}_stage{number}", nn.Conv2d(width, outputs, 1))

    def forward(self, features: Tensor, beliefs: Tensor, *center_map: Tensor) -> Tensor:
        features = self.features(features)
        inputs = (beliefs, features) if self.belief_first else (features, beliefs)
        return self.beliefs(torch.cat([*inputs, *center_map], dim=1))


def first_stage(design: Design, width: int, outputs: int) -> nn.Sequential:
    """Build stage 1: belief maps from the shared features, or in 9x9 and bn from the image."""
    if design.trunk:
        hidden, last = design.first
        stage = named_convolutions(width, [(hidden, 1, 4 * width)])
    else:
        drop = [nn.Dropout(design.dropout)] if design.dropout else []
        wide = [("conv5_stage1", 9, 4 * width), *drop, ("conv6_stage1", 1, 4 * width), *drop]
        stage = paper_trunk(1, width, design, [("conv4_stage1", 5, width // 4), *wide])
        last = "conv7_stage1"
    stage.add_module(last, nn.Conv2d(4 * width, outputs, 1))
    return stage


def paper_trunk(number: int, width: int, design: Design, more: Iterable[Any] = ()) -> nn.Sequential:
    """Build three 9x9 convolutions and poolings, to `(B, width, H/8, W/8)`, and then `more`."""
    pool = nn.MaxPool2d(3, 2, padding=1) if design.batch_norm else nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = [layer for i in (1, 2, 3) for layer in ((f"conv{i}_stage{number}", 9, width), pool)]
    return named_convolutions(3, [*layers, *more], batch_norm=design.batch_norm)


def center_map(center: Tensor, size: Sequence[int]) -> Tensor:
    """Draw Gaussians of 21 pixels, averaged over 9x9 windows: `(B, 2) -> (B, 1, H/8, W/8)`."""
    profiles = []  # Gaussian and windows are products of a part along x and one along y
    for axis, length in enumerate((size[1], size[0])):
        at = torch.arange(length, device=center.device, dtype=center.dtype)
        profile = torch.exp(-((at - center[:, axis, None]) ** 2) / (2 * CENTER_SIGMA**2))
        profiles.append(F.avg_pool1d(profile[:, None], CENTER_KERNEL, STRIDE, ceil_mode=True))
    return profiles[1][..., :, None] * profiles[0][..., None, :]


def enlarge(maps: Tensor) -> Tensor:
    """Resize belief maps to the image: `(B, K, h, w) -> (B, K, 8 h, 8 w)`."""
    return F.interpolate(maps.to(torch.promote_types(maps.dtype, torch.float32)), scale_factor=STRIDE, mode="bicubic")


def cpm_targets(
    keypoints: Tensor, visible: Tensor | None = None, *, size: tuple[int, int], background: bool = True
) -> tuple[Tensor, Tensor]:
    """Encode the targets: all people for the first stage, the first person for the later ones.

    A missing keypoint has an empty target map.

    Args:
        keypoints: `(B, P, K, 2)` pixels of the input, of P people, the central one first.
        visible: `(B, P, K)`, 0 for missing keypoints and absent people; None: all visible.
        size: (h, w) of the maps.
        background: add a last map, 1 minus the highest of the others.

    Returns:
        targets of stage 1 and of every later stage, `(B, K + 1, h, w)` each.

    Raises:
        ValueError: a wrong shape, or a visible keypoint that is not finite.

    Examples:
        >>> first, later = cpm_targets(torch.tensor([[[[83.5, 83.5]], [[19.5, 19.5]]]]), size=(12, 12))
        >>> first[0, 0, 2, 2].item(), later[0, 0, 2, 2].item(), first[0, 1, 2, 2].item()
        (1.0, 0.0, 0.0)
    """
    if keypoints.ndim != 4 or keypoints.shape[1] == 0 or keypoints.shape[-1] != 2:
        raise ValueError(f"keypoints: expected (B, P, K, 2) with one person or more, got {tuple(keypoints.shape)}")
    if visible is not None and visible.shape != keypoints.shape[:3]:
        raise ValueError(f"visible: expected {tuple(keypoints.shape[:3])} like keypoints, got {tuple(visible.shape)}")
    people, _ = heatmaps.encode(
        keypoints.flatten(0, 1),
        None if visible is None else visible.flatten(0, 1),
        size=size,
        stride=STRIDE,
        offset=(STRIDE - 1) / 2,
        sigma=SIGMA / STRIDE,
        method="gaussian",
        floor=FLOOR,
    )
    people = people.unflatten(0, keypoints.shape[:2])
    maps = (heatmaps.merge_people(people), people[:, 0])
    return (heatmaps.with_background(maps[0]), heatmaps.with_background(maps[1])) if background else maps


def start_from_vgg(trunk: nn.Sequential) -> None:
    """Load timm's ImageNet weights into the convolutions of VGG-19; the trunk's own stay random."""
    load_vgg("vgg19", (layer for name, layer in trunk.named_children() if not name.endswith("_CPM")))


def initialize(module: Module, std: float) -> Module:
    """Initialise from N(0, std) with zero biases; the authors' std is 0.01, mmpose's 0.001."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


def like(layer: nn.Conv2d, channels: int, width: int) -> nn.Conv2d:
    """Create a convolution as `layer` with other channels."""
    kernel = layer.kernel_size[0]
    return nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=layer.bias is not None)


def ends(stack: nn.Module) -> tuple[str, str]:
    """Return the names of the first and the last layer."""
    names = [name for name, _ in stack.named_children()]
    return names[0], names[-1]


def paper_cpm(kwargs: dict[str, Any], design: str, stages: int, skeleton: str | Sequence[str], parts: int) -> CPM:
    """Create a network with the paper's parts unless `num_keypoints` is given."""
    paper = {} if "num_keypoints" in kwargs else {"num_keypoints": parts, "skeleton": skeleton}
    return CPM(**{"design": design, "num_stages": stages, **paper, **kwargs})


@register_model
def cpm_9x9_6s(**kwargs: Any) -> CPM:
    """The paper's network for MPII and LSP: 6 stages, 31.2 million parameters."""
    return paper_cpm(kwargs, "9x9", 6, "cpm14", 14)


@register_model
def cpm_9x9_4s(**kwargs: Any) -> CPM:
    """The paper's network for FLIC: 4 stages and 9 parts, 21.3 million parameters."""
    return paper_cpm(kwargs, "9x9", 4, "flic9", 9)


@register_model
def cpm_vgg_6s(**kwargs: Any) -> CPM:
    """The authors' later network, better on MPII: VGG-19 trunk, 6 stages, 29.9 M parameters."""
    return paper_cpm(kwargs, "vgg", 6, "cpm14", 14)


@register_model
def cpm_person_4s(**kwargs: Any) -> CPM:
    """The authors' person detector: one map with a peak on each person, 25.7 million parameters."""
    return paper_cpm(kwargs, "person", 4, ["person"], 1)


@register_model
def cpm_bn_6s(**kwargs: Any) -> CPM:
    """mmpose's variant with batch normalisation, 6 stages, 31.3 million parameters."""
    return CPM(**{"design": "bn", "num_stages": 6, "num_keypoints": 17, **kwargs})
