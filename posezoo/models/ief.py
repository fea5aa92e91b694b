"""Human Pose Estimation with Iterative Error Feedback (Carreira et al.; CVPR 2016).

arXiv 1507.06550. Starting from the median pose, render the current keypoints as heatmaps,
concatenate them with the image, and predict a bounded correction of each keypoint; repeat four
times.

    In   image      (B, 3, 224, 224)   RGB in [0, 1], a point on the torso in the middle, at (112, 112)
    Out  keypoints  (B, K, 2)          pixels of the image; with `all_stages` after each of the four corrections

The crop: a square of `200 * scale` pixels around MPII's `objpos` (`person_box`), as high as the
person, is resized to 256 x 256, of which the middle 224 x 224 are used: `padding` is 224/256.

Training (fixed path consolidation): the poses to be corrected are not predictions but lie on the
straight path from the initial pose to the ground truth (`fixed_path`). The loss is
`losses.bounded_correction`; `examples/train_ief.py` has the curriculum.

Departures
    - The paper's first convolution over 20 channels is the sum of two: `conv1` over image and
      marking point, `feedback.conv1` over the K rendered keypoints. It is the same function. The
      first is computed once, and all layers that depend on the number of keypoints are in
      `feedback`.
    - `forward_features` takes image and marking point without keypoints (maps of 0, the mean grey),
      so that features do not depend on the number of keypoints.
    - The rendering g is fixed, as in the authors' code; the text allows for a learnt one.
    - The scale is an input. The authors' second network, which chooses among crops of ten sizes, is
      left out, because its training is not published.
    - The authors' code draws a Gaussian around `round(coordinate + 1)`, a leftover of MATLAB; here
      it lies at the coordinate itself. `legacy_offset=True` selects theirs.
    - The standard deviation of the Gaussians, 22.4 pixels, is that of the authors' layer.
    - GoogLeNet's auxiliary classifiers are left out. Its filters are initialised as Caffe's
      (Xavier, biases 0.2); the authors start from ImageNet.
    - `backbone=` replaces GoogLeNet by a timm backbone. Its first convolution takes 3 + K channels,
      the image and the K rendered keypoints divided by 50. It keeps its filters of the image, and
      those of the keypoints start at 0. There is no marking point. The last feature map goes
      through a 1x1 convolution of `neck_width` channels with batch norm and ReLU and is flattened,
      in place of the global average, which `neck_width=0` selects.
    - Dropout before the last layer is GoogLeNet's; whether the authors kept it is not known.
    - The authors' archive has neither checksum nor terms. Its Caffe file loads; the initial pose is
      in a pickle beside it: `model.feedback.initial_pose.copy_(...)`, less 16 pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.backbones import backbone_groups, count_cells, extend_first_conv, last_map, timm_backbone
from posezoo.contract import PoseModel, check_image, predict_keypoints
from posezoo.layers import ConvBNReLU, Normalize, local_response_norm
from posezoo.registry import register_model

SIZE = 224  # pixels, height and width of the input
MARK = (112.0, 112.0)  # the marking point, where every crop has the person's torso
NUM_STEPS = 4  # T, corrections
MAX_STEP = 20.0  # L, pixels
PEAK, FLOOR = 100.0, -50.0  # a drawn keypoint's height over the floor: together in the range of the image's pixels
SIGMA = (2 * 0.001) ** -0.5  # pixels; the authors write exp(-0.001 d^2)
RENDER_UNIT = 50.0  # by which rendered keypoints are divided for a timm backbone, whose images have variance 1
NECK_WIDTH = 64  # channels after a timm backbone
MEAN_PIXEL = (117.3785, 117.6438, 110.1771)  # RGB, 0 to 255
CROP_PADDING = 224 / 256  # of a crop of 256 pixels the middle 224 are used
DROPOUT = 0.4  # GoogLeNet's
LRN = {"k": 1.0, "alpha": 1e-4 / 5}  # Caffe's constants
FILTER_STD = 0.1**0.5  # of the filters of drawn points before training: noise of variance 0.1
# GoogLeNet's Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
INCEPTION_3 = ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64))
INCEPTION_4 = (
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
)
INCEPTION_5 = ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))


class IEF(PoseModel):
    """Render the pose, predict a correction, repeat (Figure 1).

    Args:
        num_keypoints: K. 0 removes the layers that depend on it, and `forward` returns
            `forward_features`.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        num_steps: T, number of corrections.
        max_step: L in pixels, the unit of predicted corrections and the bound of their targets.
        sigma: standard deviation of a rendered keypoint in pixels.
        legacy_offset: render keypoints at `round(coordinate + 1)`, as the authors' code.
        backbone: any timm network, by name, in place of GoogLeNet. Defaults to GoogLeNet.
        neck_width: channels of the 1x1 convolution after a timm backbone; 0 for a global average.
        size: of the input; others than 224 need a timm backbone, and `max_step` to match.
        pretrained_backbone: start the timm backbone from ImageNet's weights, downloaded.

    The initial pose is a buffer. In a new network, or after `reset_head`, all keypoints lie on the
    marking point; `set_initial_pose` sets it to the median of a training set, as in the paper.

    Examples:
        >>> model = IEF(num_keypoints=16, skeleton="mpii16").eval()
        >>> image = model.example_input()
        >>> model(image).shape, len(model(image, all_stages=True))
        (torch.Size([1, 16, 2]), 4)
        >>> once = model(image, keypoints=torch.full((1, 16, 2), 100.0))  # one correction, from this pose
    """

    head_keys: tuple[str, ...] = ("feedback",)
    input_size = (SIZE, SIZE)
    padding = CROP_PADDING

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        num_steps: int = NUM_STEPS,
        max_step: float = MAX_STEP,
        sigma: float = SIGMA,
        legacy_offset: bool = False,
        backbone: str | None = None,
        neck_width: int = NECK_WIDTH,
        size: int = SIZE,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        if size != SIZE and backbone is None:
            raise ValueError(f"size: expected {SIZE}, GoogLeNet's, or a timm network as backbone; got {size!r}")
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f"num_steps: expected a whole number, 1 or more, got {num_steps!r}")
        for name, value in {"max_step": max_step, "sigma": sigma}.items():
            if not value > 0:
                raise ValueError(f"{name}: expected pixels, more than 0, got {value!r}")
        self.num_steps, self.max_step, self.size, self.input_size = num_steps, max_step, size, (size, size)
        self.sigma, self.legacy_offset = sigma, legacy_offset

        self.dropout = nn.Dropout(DROPOUT)
        self.feedback: Any  # of class Feedback; without keypoints nothing
        self.backbone: Any = None
        if backbone is None:
            self.build_googlenet()
        else:
            self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
            self.normalize = Normalize(mean, std)
            channels = self.backbone.feature_info.channels()[-1]
            self.first_conv, _ = extend_first_conv(self.backbone, 0)
            self.head_keys = ("feedback", f"backbone.{self.first_conv}.more")
            self.neck = ConvBNReLU(channels, neck_width, 1, bias=False) if neck_width else None
            self.num_features = neck_width * count_cells(self.backbone, size) if neck_width else channels
        self.reset_head(num_keypoints, skeleton)

    def build_googlenet(self) -> None:
        self.normalize = Normalize([value / 255 for value in MEAN_PIXEL], [1 / 255] * 3)  # to pixels around 0
        self.conv1 = nn.Conv2d(4, 64, 7, 2, 3)
        self.conv2_reduce = nn.Conv2d(64, 64, 1)
        self.conv2 = nn.Conv2d(64, 192, 3, padding=1)
        self.inception3 = inceptions(192, INCEPTION_3)
        self.inception4 = inceptions(480, INCEPTION_4)
        self.inception5 = inceptions(832, INCEPTION_5)
        self.num_features = 1024
        initialize(self)
        nn.init.kaiming_uniform_(self.conv1.weight[:, :3], nonlinearity="linear")
        nn.init.normal_(self.conv1.weight[:, 3:], std=FILTER_STD)  # the marking point's

    def forward(
        self, image: Tensor, all_stages: bool = False, keypoints: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Correct the initial pose T times, or another pose once.

        Args:
            image: `(B, 3, 224, 224)` in [0, 1].
            all_stages: return the poses after each correction.
            keypoints: `(B, K, 2)` pixels, a pose to correct once, the step that is trained.

        Returns:
            `(B, K, 2)` pixels. Gradients pass through the corrections, not the rendered poses.
        """
        if not self.num_keypoints:
            features = self.forward_features(image)
            return (features,) if all_stages else features
        shared = self.first_layer(image)
        if keypoints is None:
            pose, num_steps = in_float32(self.initial_pose).expand(image.shape[0], -1, -1), self.num_steps
        else:
            pose, num_steps = check_pose(keypoints, image.shape[0], self.num_keypoints), 1
        stages = []
        for _ in range(num_steps):
            pose = pose + self.max_step * self.correction(shared, pose)
            stages.append(pose)
        return tuple(stages) if all_stages else pose

    def forward_features(self, image: Tensor) -> Tensor:
        """Return GoogLeNet's features `(B, 1024)` of image and marking point, without keypoints."""
        return self.trunk(self.first_layer(image))

    def first_layer(self, image: Tensor) -> Tensor:
        """Convolve image and marking point with the first layer: `(B, 64, 112, 112)`, no ReLU.

        With a timm backbone it only normalises the image.
        """
        check_image(image, channels=self.in_chans)
        if image.shape[-2:] != (size := (self.size, self.size)):
            given = tuple(image.shape[-2:])
            raise ValueError(f"image: expected {size}, got {given}; resize or pad to {size}, no other size works")
        if self.backbone is not None:
            return self.normalize(image)
        mark = self.render(torch.tensor([[MARK]], device=image.device)).to(image.dtype)
        return self.conv1(torch.cat([self.normalize(image), mark.expand(image.shape[0], -1, -1, -1)], dim=1))

    def correction(self, shared: Tensor, pose: Tensor) -> Tensor:
        """Predict f, the correction of a pose `(B, K, 2)` in units of `max_step`: `(B, K, 2)`."""
        maps = self.render(pose.detach()).to(shared.dtype)
        if self.backbone is None:
            x = shared + self.feedback.conv1(maps)
        else:
            x = torch.cat([shared, maps / RENDER_UNIT], dim=1)
        output = self.feedback.fc(self.dropout(self.trunk(x)))
        return rearrange(output, "b (xy k) -> b k xy", xy=2)  # all dx, then all dy

    def render(self, pose: Tensor) -> Tensor:
        """Render g, a map per keypoint: `(B, K, 2)` pixels to `(B, K, 224, 224)`."""
        size = (self.size, self.size)
        return draw(round_half_away(pose + 1) if self.legacy_offset else pose, size, sigma=self.sigma)

    def trunk(self, x: Tensor) -> Tensor:
        """Run GoogLeNet after its first convolution: `(B, 64, 112, 112)` to `(B, 1024)`."""
        if self.backbone is not None:
            return self.run_backbone(x)
        x = x.contiguous(memory_format=torch.channels_last)  # on the CPU pooling is many times faster so
        x = local_response_norm(shrink(F.relu(x)), **LRN)  # 56 x 56
        x = F.relu(self.conv2(F.relu(self.conv2_reduce(x))))
        x = shrink(local_response_norm(x, **LRN))  # 28 x 28
        x = shrink(self.run(self.inception3, x))  # 14 x 14
        x = shrink(self.run(self.inception4, x))  # 7 x 7
        return self.run(self.inception5, x).mean(dim=(-2, -1))

    def run_backbone(self, x: Tensor) -> Tensor:
        """Run a timm backbone on the image `(B, 3, 224, 224)`, or with K rendered keypoints."""
        features = last_map(self.backbone, x)
        return features.mean(dim=(-2, -1)) if self.neck is None else self.neck(features).flatten(1)

    def run(self, blocks: nn.Sequential, x: Tensor) -> Tensor:
        for block in blocks:
            recompute = self.grad_checkpointing and self.training
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        return x

    @property
    def initial_pose(self) -> Tensor:
        """y_0, the pose before the first correction: `(K, 2)` pixels."""
        if not self.num_keypoints:
            raise ValueError("initial_pose: this model has no keypoints; give it some with reset_head(num_keypoints)")
        return self.feedback.initial_pose

    @torch.no_grad()
    def set_initial_pose(self, keypoints: Tensor, visible: Tensor | None = None) -> None:
        """Set the initial pose to the median of visible keypoints, per coordinate.

        Args:
            keypoints: `(N, K, 2)` pixels of the crops; any value where not visible.
            visible: `(N, K)` bool; None: all visible.

        Raises:
            ValueError: wrong shapes, a keypoint that is never visible, or a visible one that is not
                finite.

        Examples:
            >>> model = IEF(num_keypoints=2)
            >>> model.set_initial_pose(torch.tensor([[[10.0, 20], [0, 9]], [[30, 40], [8, 7]], [[32, 90], [1, 8]]]))
            >>> model.initial_pose.tolist()
            [[30.0, 40.0], [1.0, 8.0]]
        """
        if keypoints.ndim != 3 or keypoints.shape[1:] != self.initial_pose.shape:
            raise ValueError(f"keypoints: expected (N, {self.num_keypoints}, 2), got shape {tuple(keypoints.shape)}")
        mask = check_visible(keypoints, visible)
        if not mask.any(dim=0).all():
            index = int((~mask.any(dim=0)).nonzero()[0])
            raise ValueError(f"set_initial_pose: keypoint {index} is not labelled in any of the {len(keypoints)} poses")
        known = in_float32(keypoints).masked_fill(~mask[..., None], torch.nan)
        self.initial_pose.copy_(known.nanquantile(0.5, dim=0))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)` in pixels, scores `(B, K)` of 1; the paper has no scores."""
        keypoints = in_float32(output)
        return keypoints, torch.ones_like(keypoints[..., 0])

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)` in pixels and scores `(B, K)` of 1, after T corrections.

        `flip` averages with the mirror image, which the authors do not do.
        """
        return predict_keypoints(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace rendering, last layer and initial pose for other keypoints; 0 removes them."""
        self.set_keypoints(num_keypoints, skeleton)
        self.feedback = nn.Identity()
        if num_keypoints:
            self.feedback = Feedback(num_keypoints, self.num_features, filters=self.backbone is None)
            self.feedback.initial_pose.mul_(self.size / SIZE)
        if self.backbone is not None:
            self.backbone.get_submodule(self.first_conv).set_channels(num_keypoints)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: stem, Inception blocks, feedback."""
        if self.backbone is not None:
            return {**backbone_groups(coarse), "neck": r"^neck", "head": r"^feedback"}
        block = r"^inception(\d)" + ("" if coarse else r"\.(\d+)")
        return {"stem": r"^conv[12]", "blocks": block, "head": r"^feedback"}


class Feedback(nn.Module):
    """Layers that depend on the number of keypoints: rendering, regression head, initial pose."""

    initial_pose: Tensor

    def __init__(self, num_keypoints: int, channels: int, *, filters: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_keypoints, 64, 7, 2, 3, bias=False) if filters else None
        self.fc = nn.Linear(channels, 2 * num_keypoints)
        self.register_buffer("initial_pose", torch.tensor(MARK).repeat(num_keypoints, 1))
        initialize(self)
        if self.conv1 is not None:
            nn.init.normal_(self.conv1.weight, std=FILTER_STD)


class Inception(nn.Module):
    """Inception block with four branches (GoogLeNet, Figure 2b); widths as in its Table 1."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, pooled = widths
        self.conv1 = nn.Conv2d(channels, one, 1)
        self.conv3_reduce = nn.Conv2d(channels, three_reduce, 1)
        self.conv3 = nn.Conv2d(three_reduce, three, 3, padding=1)
        self.conv5_reduce = nn.Conv2d(channels, five_reduce, 1)
        self.conv5 = nn.Conv2d(five_reduce, five, 5, padding=2)
        self.pool_project = nn.Conv2d(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.conv1(x),
            self.conv3(F.relu(self.conv3_reduce(x))),
            self.conv5(F.relu(self.conv5_reduce(x))),
            self.pool_project(F.max_pool2d(x, 3, 1, 1)),
        ]
        return F.relu(torch.cat(branches, dim=1))


def inceptions(channels: int, table: Sequence[tuple[int, int, int, int, int, int]]) -> nn.Sequential:
    """Stack Inception blocks."""
    blocks = []
    for widths in table:
        blocks.append(Inception(channels, widths))
        channels = widths[0] + widths[2] + widths[4] + widths[5]
    return nn.Sequential(*blocks)


def shrink(x: Tensor) -> Tensor:
    """Pool to half the size, rounded up, as GoogLeNet."""
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def draw(pose: Tensor, size: tuple[int, int] = (SIZE, SIZE), *, sigma: float = SIGMA) -> Tensor:
    """Render g: a Gaussian for each keypoint, from -50 in the distance to 50 at the keypoint.

    Args:
        pose: `(B, K, 2)` pixels; of a keypoint outside the frame only the tail shows.
        size: (H, W) of the maps.
        sigma: standard deviation in pixels.

    Returns:
        `(B, K, H, W)`.

    Examples:
        >>> maps = draw(torch.tensor([[[100.0, 50.0]]]))
        >>> maps.shape, float(maps[0, 0, 50, 100]), round(float(maps[0, 0, 60, 100]), 3)
        (torch.Size([1, 1, 224, 224]), 50.0, 40.484)
    """
    profiles = []  # the Gaussian is the product of a profile along x and one along y
    for axis, length in enumerate((size[1], size[0])):
        at = torch.arange(length, device=pose.device, dtype=pose.dtype)
        profiles.append(torch.exp(-((at - pose[..., axis, None]) ** 2) / (2 * sigma**2)))
    return PEAK * profiles[1][..., :, None] * profiles[0][..., None, :] + FLOOR


def bounded(displacement: Tensor, max_step: float = MAX_STEP) -> Tensor:
    """Bound displacements e `(..., 2)` to a length of `max_step` pixels.

    Examples:
        >>> bounded(torch.tensor([[3.0, 4.0], [-60.0, 0.0], [0.0, 0.0]])).tolist()
        [[3.0, 4.0], [-20.0, 0.0], [0.0, 0.0]]
    """
    return displacement * (max_step / displacement.norm(dim=-1, keepdim=True).clamp(min=max_step))


def fixed_path(
    initial_pose: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    *,
    num_steps: int = NUM_STEPS,
    max_step: float = MAX_STEP,
) -> Tensor:
    """Return training poses: straight to the ground truth, in steps of `max_step` at most.

    Args:
        initial_pose: `(K, 2)` pixels.
        target: `(..., K, 2)` pixels, ground truth; any value where not visible.
        visible: `(..., K)` bool; invisible keypoints stay at the initial pose. None: all visible.
        num_steps: T.
        max_step: L, pixels.

    Returns:
        `(T + 1, ..., K, 2)`: y_0 to y_T. Training corrects the first T, one at a time.

    Raises:
        ValueError: wrong shapes, or a visible keypoint that is not finite.

    Examples:
        >>> path = fixed_path(torch.tensor([[100.0, 100.0]]), torch.tensor([[130.0, 100.0]]), num_steps=3)
        >>> path[:, 0, 0].tolist()
        [100.0, 120.0, 130.0, 130.0]
    """
    if target.shape[-2:] != initial_pose.shape:
        raise ValueError(
            f"target: expected (..., {initial_pose.shape[0]}, 2) as the initial pose, got shape {tuple(target.shape)}"
        )
    mask = check_visible(target, visible)
    poses = [initial_pose.expand_as(target)]
    for _ in range(num_steps):
        step = bounded(target - poses[-1], max_step)
        poses.append(torch.where(mask[..., None], poses[-1] + step, poses[-1]))
    return torch.stack(poses)


def person_box(point: Tensor, scale: Tensor) -> Tensor:
    """Return the authors' square around a person, for a crop with `padding=CROP_PADDING`.

    Args:
        point: `(N, 2)` pixels of the image, on the torso; MPII's `objpos`.
        scale: `(N,)`, the person's height in units of 200 pixels; MPII's `scale`.

    Returns:
        `(N, 4)` as (x1, y1, x2, y2) pixels.

    Examples:
        >>> person_box(torch.tensor([[300.0, 200.0]]), torch.tensor([1.5])).tolist()
        [[150.0, 50.0, 450.0, 350.0]]
    """
    half = 100 * scale[:, None]
    return torch.cat([point - half, point + half], dim=1)


def check_pose(keypoints: Tensor, batch: int, num_keypoints: int) -> Tensor:
    """Return the pose in float32 at least; check its shape."""
    if keypoints.shape != (batch, num_keypoints, 2):
        raise ValueError(
            f"keypoints: expected a pose for each image, ({batch}, {num_keypoints}, 2) pixels, got shape "
            f"{tuple(keypoints.shape)}"
        )
    return in_float32(keypoints)


def check_visible(keypoints: Tensor, visible: Tensor | None) -> Tensor:
    """Return a bool mask of the visible keypoints; check shapes and values."""
    mask = torch.ones_like(keypoints[..., 0], dtype=torch.bool) if visible is None else visible > 0
    if mask.shape != keypoints.shape[:-1]:
        raise ValueError(f"visible: expected {tuple(keypoints.shape[:-1])} like keypoints, got {tuple(mask.shape)}")
    if not torch.isfinite(keypoints[mask]).all():
        raise ValueError("keypoints: a labelled keypoint is NaN or infinite; mark missing ones in `visible`")
    return mask


def in_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 at least, because 224 pixels do not fit into bfloat16's 8 bits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def round_half_away(x: Tensor) -> Tensor:
    """Round halves away from 0, as the authors' Python 2."""
    return (x + 0.5 * x.sign()).trunc()


def initialize(module: nn.Module) -> None:
    """Initialise as Caffe's GoogLeNet: uniform of variance 1 / fan-in, biases 0.2, last layer 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(part.weight, nonlinearity="linear")
            if part.bias is not None:
                nn.init.constant_(part.bias, 0.2 if isinstance(part, nn.Conv2d) else 0.0)


@register_model
def ief(**kwargs: Any) -> IEF:
    """IEF for MPII's 16 keypoints, 6.1 million parameters."""
    mpii = {"skeleton": "mpii16"} if kwargs.get("num_keypoints", 16) == 16 else {}
    return IEF(**{**mpii, **kwargs})
