"""Layers that two or more networks share: normalisation, convolutions named as in Caffe files."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.geometry import person_frame

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FRAMES = ("pixels", "person")  # of the keypoints that lifters take
REACH = 1000.0  # mm; extent of a body around its root, before `PoseCodec.fit`
STILL = 1e-4  # mm; range of a coordinate that never varies, the root's (RPSM's authors' code)
VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # a pooling after each
CONSTANT = 1e-3  # a coordinate that varies less than this (pixels, millimetres, sizes of a person) is not scaled


def check_choices(**choices: tuple[str, Iterable[str]]) -> None:
    """Check that each argument of a constructor is one of its allowed values.

    Raises:
        ValueError: another value.

    Examples:
        >>> check_choices(init=("xavier", ("xavier", "torch7")))
    """
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


class Normalize(nn.Module):
    """Normalise images per channel, `(image - mean) / std`; both are saved with the weights.

    Attributes:
        before: mean and std of the normalisation that the input needs: none, or after `disable`
            that of the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()))
        self.before = (0.0,) * len(mean), (1.0,) * len(std)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def disable(self) -> None:
        """Turn into the identity, for pipelines that normalise already."""
        self.before = tuple(self.mean.tolist()), tuple(self.std.tolist())
        self.mean.zero_()
        self.std.fill_(1)


class ZScore(nn.Module):
    """Standardise points `(..., K, D)`, `(points - mean) / std`; both are buffers `(K, D)`."""

    mean: Tensor
    std: Tensor

    def __init__(self, num_keypoints: int, dims: int, *, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("mean", torch.zeros(num_keypoints, dims))
        self.register_buffer("std", torch.full((num_keypoints, dims), unit))

    def forward(self, points: Tensor) -> Tensor:
        return ((points - self.mean) / self.std).to(self.mean.dtype)

    def inverse(self, scores: Tensor) -> Tensor:
        return scores * self.std + self.mean

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Set mean and deviation from data; divide constant coordinates (the root) by `unit`."""
        variance, mean = torch.var_mean(points.flatten(0, -3), dim=0, correction=0)
        std = variance.sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < CONSTANT, self.unit, std))

    def reset(self) -> None:
        """Reset the mean to 0 and the standard deviation to one unit."""
        self.mean.zero_()
        self.std.fill_(self.unit)


class PoseNormalize(nn.Module):
    """Normalise the 2D input of a lifter and de-normalise its 3D output.

    The statistics are buffers, saved with the weights. Before `fit` keypoints are passed through
    and outputs are metres.

    Args:
        num_inputs: number of 2D keypoints.
        num_keypoints: number of 3D keypoints.
        frame: "pixels" standardises pixel coordinates, as in the papers, which ties the weights to
            the cameras of the training data. "person" first makes keypoints relative to the root,
            in units of the person's size in the window (`geometry.person_frame`), independent of
            camera, image size and distance.
        framewise: with frame "person", measure the size per frame instead of per window (the axis
            `T`).
        root: index of the root among the 2D keypoints. Defaults to the first.

    Examples:
        >>> normalize = PoseNormalize(17, 17)
        >>> keypoints, pose3d = 500 + 90 * torch.randn(400, 1, 17, 2), 300 * torch.randn(400, 1, 17, 3)
        >>> normalize.fit(keypoints, pose3d)
        >>> units = normalize(keypoints)                              # (B, T, K, 2), about -2 to 2
        >>> bool(units.mean().abs() < 1e-3), round(float(units.std()), 2)
        (True, 1.0)
        >>> normalize.inverse(torch.zeros(1, 1, 17, 3)).shape         # (B, T, K, 3), the mean pose in millimetres
        torch.Size([1, 1, 17, 3])
    """

    def __init__(
        self, num_inputs: int, num_keypoints: int = 0, *, frame: str = "pixels", framewise: bool = False, root: int = 0
    ) -> None:
        super().__init__()
        if frame not in FRAMES:
            raise ValueError(f"frame: expected one of {', '.join(FRAMES)}, got {frame!r}")
        self.frame, self.framewise, self.root = frame, framewise, root
        self.keypoints = ZScore(num_inputs, 2)
        self.pose3d: ZScore
        self.reset_head(num_keypoints)

    def forward(self, keypoints: Tensor) -> Tensor:
        """Normalise keypoints `(..., T, K, 2)` in pixels."""
        return self.keypoints(self._framed(keypoints))

    def inverse(self, pose: Tensor) -> Tensor:
        """De-normalise an output `(..., K, 3)` to millimetres."""
        return self.pose3d.inverse(pose)

    def fit(self, keypoints: Tensor, pose3d: Tensor) -> None:
        """Set the statistics from training data.

        Args:
            keypoints: `(..., T, K, 2)` pixels; for frame "person" in windows of the network's
                length.
            pose3d: `(..., T, K, 3)` mm, relative to the root.

        Raises:
            ValueError: wrong shapes, no poses, values that are not finite, or poses that are not
                root-relative.
        """
        for name, points, statistics in (("keypoints", keypoints, self.keypoints), ("pose3d", pose3d, self.pose3d)):
            if points.ndim < 3 or points.shape[-2:] != statistics.mean.shape or not points.numel():
                wanted = ", ".join(map(str, statistics.mean.shape))
                raise ValueError(f"{name}: expected poses (..., T, {wanted}), got shape {tuple(points.shape)}")
            if not points.isfinite().all():
                raise ValueError(f"{name}: some are not finite; leave the frames with missing keypoints out of the fit")
        if self.pose_root is not None and pose3d[..., self.pose_root, :].any():
            root = self.pose_root
            raise ValueError(
                f"pose3d: expected millimetres from the root, keypoint {root}, which is not at 0 here; "
                f"take it off with pose3d - pose3d[..., {root}:{root + 1}, :]"
            )
        self.keypoints.fit(self._framed(keypoints))
        self.pose3d.fit(pose3d)

    def fit_image(self, size: tuple[int, int]) -> None:
        """Set VideoPose3D's screen coordinates for images of `size` (H, W): x from -1 to 1.

        The published weights of VideoPose3D expect them.
        """
        height, width = size
        # VideoPose3D: x / w * 2 - 1 and y / w * 2 - h / w; both axes have the unit w / 2
        self.keypoints.mean.copy_(torch.tensor([width / 2, height / 2]))
        self.keypoints.std.fill_(width / 2)

    def reset_head(self, num_keypoints: int, root: int | None = None) -> None:
        """Reset the 3D statistics to metres for other keypoints; keypoint `root` is always 0."""
        self.pose_root = root
        self.pose3d = ZScore(num_keypoints, 3, unit=1000.0)

    def disable(self) -> None:
        """Set the 2D normalisation to the identity, for normalised inputs; outputs stay in mm."""
        self.frame = "pixels"
        self.keypoints.reset()

    def mirror(self, keypoints: Tensor, flip_index: Sequence[int]) -> Tensor:
        """Mirror keypoints about the training data's mean x; about the root in frame "person"."""
        # the camera's optical axis is not an input; the mean x of the training data stands for it
        axis = self.keypoints.mean[:, 0].mean() if self.frame == "pixels" else 0.0
        x, y = keypoints[..., list(flip_index), :].unbind(-1)
        return torch.stack([2 * axis - x, y], dim=-1)

    def _framed(self, keypoints: Tensor) -> Tensor:
        if self.frame == "pixels":
            return keypoints
        windows = keypoints[..., None, :, :] if self.framewise else keypoints
        relative, _, _ = person_frame(windows, root=self.root)
        return relative.reshape(keypoints.shape)


def named_convolutions(
    channels: int, layers: Iterable[tuple[str, int, int] | nn.Module], *, batch_norm: bool = False
) -> nn.Sequential:
    """Stack convolutions with ReLUs under the names of the authors' Caffe file.

    Args:
        channels: input channels.
        layers: (name, kernel, width) of a convolution, or a module such as a pooling.
        batch_norm: batch normalisation before each ReLU; the convolutions then have no bias.
    """
    stack = nn.Sequential()
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.Module):
            stack.add_module(f"{type(layer).__name__.lower()}_{position}", layer)
            continue
        name, kernel, width = layer
        stack.add_module(name, nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=not batch_norm))
        if batch_norm:
            stack.add_module(name.replace("conv", "bn"), nn.BatchNorm2d(width))
        stack.add_module(name.replace("conv", "relu"), nn.ReLU(inplace=True))
        channels = width
    return stack


def vgg_layers(width: int = 128) -> list[tuple[str, int, int] | nn.Module]:
    """Return the layers of VGG-19 up to conv4_2 for `named_convolutions`; its own width is 128."""
    w = width
    return [
        *(("conv1_1", 3, w // 2), ("conv1_2", 3, w // 2), nn.MaxPool2d(2)),
        *(("conv2_1", 3, w), ("conv2_2", 3, w), nn.MaxPool2d(2)),
        *((f"conv3_{i}", 3, 2 * w) for i in (1, 2, 3, 4)),
        nn.MaxPool2d(2),
        *(("conv4_1", 3, 4 * w), ("conv4_2", 3, 4 * w)),
    ]


def vgg16(
    pools: int = 5, *, batch_norm: bool = True, eps: float = 1e-5, affine: bool = True, bn_order: str = "conv_bn_relu"
) -> nn.Sequential:
    """Build VGG16's convolutions, numbered as in torchvision, with the first `pools` poolings.

    Args:
        pools: number of poolings.
        batch_norm: batch normalisation after each convolution.
        eps: of the batch normalisation.
        affine: batch normalisation has a scale and a shift.
        bn_order: "conv_bn_relu", or "conv_relu_bn" for batch normalisation after the ReLU.
    """
    layers: list[nn.Module] = []
    channels = 3
    for number, widths in enumerate(VGG16_WIDTHS):
        for width in widths:
            conv = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            norm: list[nn.Module] = [nn.BatchNorm2d(width, eps, affine=affine)] if batch_norm else []
            relu = nn.ReLU(inplace=True)
            layers += [conv, *norm, relu] if bn_order == "conv_bn_relu" else [conv, relu, *norm]
            channels = width
        if number < pools:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def checkpoint_blocks(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Run convolutions with gradient checkpointing, in blocks that end with a pooling."""
    blocks: list[list[nn.Module]] = [[]]
    for layer in layers:
        blocks[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):  # never before a ReLU, which overwrites its input
            blocks.append([])
    for block in blocks:
        if block:
            x = checkpoint(nn.Sequential(*block), x, use_reentrant=False)
    return x


def cpm_trunk(width: int = 128) -> nn.Sequential:
    """Build the image features of the released Convolutional Pose Machine, which RPSM starts from.

    VGG-19 up to conv4_2 and five more convolutions, each with a ReLU: `(B, 3, H, W) -> (B, width,
    H/8, W/8)`. Parameter names are equal in both networks, so `load_state_dict` transfers weights.
    """
    more = [("conv4_3_CPM", 3, 2 * width), ("conv4_4_CPM", 3, 2 * width), ("conv4_5_CPM", 3, 2 * width)]
    return named_convolutions(3, [*vgg_layers(width), *more, ("conv4_6_CPM", 3, 2 * width), ("conv4_7_CPM", 3, width)])


class PoseTrunk(nn.Sequential):
    """The convolutions of all stages of RPSM (Table 1): `(B, 3, H, W) -> (B, width, H/8, W/8)`.

    They have the names of the released Convolutional Pose Machine. The paper pre-trains them for 2D
    heatmaps, with a layer that is then removed:

    Examples:
        >>> import posezoo
        >>> from posezoo.heatmaps import encode
        >>> from posezoo.losses import heatmap_mse
        >>> model, keypoints = posezoo.create("rpsm", size=[64, 64], width=16, hidden=32), 64 * torch.rand(2, 14, 2)
        >>> network = nn.Sequential(model.normalize, model.trunk, model.trunk.heatmap_head(14))
        >>> target, weights = encode(keypoints, size=(8, 8), stride=8, offset=3.5, sigma=1)
        >>> heatmap_mse(network(torch.rand(2, 3, 64, 64)), target, weights).backward()
        >>> model.freeze_trunk()
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__(OrderedDict(cpm_trunk(width).named_children()))
        self.width = width

    def heatmap_head(self, num_keypoints: int, *, design: str = "paper") -> nn.Sequential:
        """Create a head for 2D heatmaps `(B, num_keypoints, H/8, W/8)`, for pre-training.

        Args:
            num_keypoints: number of maps, the background included.
            design: "paper", one convolution (section 4); "cpm", two, as in a Convolutional Pose
                Machine.
        """
        return heatmap_head(self.width, num_keypoints, design)


def heatmap_head(width: int, num_keypoints: int, design: str) -> nn.Sequential:
    """Create a head for 2D heatmaps `(B, num_keypoints, h, w)`, see `PoseTrunk.heatmap_head`."""
    check_choices(design=(design, ("paper", "cpm")))
    if design == "paper":
        return nn.Sequential(nn.Conv2d(width, num_keypoints, 1))
    hidden = 4 * width
    return nn.Sequential(nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, num_keypoints, 1))


def xavier_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Create a fully connected layer with Xavier's uniform initialisation and zero bias.

    Examples:
        >>> bool(xavier_linear(4, 3).bias.any())
        False
    """
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class ConvBNReLU(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=bias)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class DenseBNReLU(nn.Module):
    """Linear layer, batch norm and ReLU, in the order of `bn_order`."""

    def __init__(self, inputs: int, width: int, *, bn_order: str, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.linear = xavier_linear(inputs, width)
        self.norm = nn.BatchNorm1d(width, eps, affine=affine)
        self.norm_first = bn_order == "conv_bn_relu"

    def forward(self, x: Tensor) -> Tensor:
        check_batch_norm(self, x.shape[0])
        x = self.linear(x)
        return F.relu(self.norm(x)) if self.norm_first else self.norm(F.relu(x))


def blur(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Filter rows and columns `(..., h, w)` with a kernel, without padding."""
    # products and sums, not a convolution: autocast would round that to 8 bits, and the small differences with it
    for axis in (-2, -1):
        x = (x.unfold(axis, len(kernel), stride) * kernel).sum(dim=-1)
    return x


def local_response_norm(x: Tensor, *, k: float, alpha: float) -> Tensor:
    """Divide by `(k + alpha * sum of squares over 5 neighbouring channels) ** 0.75`, as in AlexNet.

    Equals `torch.nn.LocalResponseNorm(5, 5 * alpha, 0.75, k)`, in two thirds of the time: the sum
    is a convolution.
    """
    channels = x.shape[1]
    band = alpha * torch.ones(channels, channels, device=x.device, dtype=x.dtype).triu(-2).tril(2)
    return x * F.conv2d(x.square(), band[..., None, None], x.new_full((channels,), k)) ** -0.75


class PoseCodec(nn.Module):
    """Min-max normalisation of RPSM's 3D poses (section 5.1), with mean bone lengths of targets.

    The statistics are buffers, saved with the weights. Before `fit`, 0 to 1 is from -1 to 1 m.

    Args:
        num_keypoints: keypoints of a pose.
        root: the keypoint that poses are relative to. Defaults to the mean of all keypoints.
        bones: pairs of keypoints. If they form a tree, bones of targets are rescaled to their mean
            lengths.

    Examples:
        >>> import posezoo
        >>> codec = posezoo.create("rpsm", size=[64, 64], width=16, hidden=32).codec
        >>> training = 300 * torch.randn(1000, 5, 17, 3)             # mm, from the pelvis or not
        >>> codec.fit(training)
        >>> units = codec.encode(training)                           # (..., 3 K)
        >>> units.shape, units.min().item(), units.max().item()
        (torch.Size([1000, 5, 51]), 0.0, 1.0)
        >>> target = codec.target(training)                          # mm from the pelvis, bones of mean length
        >>> torch.allclose(codec.decode(units), target, atol=1e-2)
        True
    """

    minimum: Tensor
    maximum: Tensor
    bone_lengths: Tensor
    parents: Tensor
    chains: Tensor

    def __init__(self, num_keypoints: int, *, root: int | None = None, bones: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        parents = parents_of(bones, num_keypoints, root or 0) if bones else None
        self.root, self.rescale_bones = root, parents is not None
        self.register_buffer("minimum", torch.full((num_keypoints, 3), -REACH))
        self.register_buffer("maximum", torch.full((num_keypoints, 3), REACH))
        if root is not None and num_keypoints:
            self.minimum[root], self.maximum[root] = 0.0, STILL
        self.register_buffer("bone_lengths", torch.zeros(num_keypoints))  # from the parent, mm
        parents = parents or tuple(range(num_keypoints))
        self.register_buffer("parents", torch.tensor(parents, dtype=torch.long), persistent=False)
        self.register_buffer("chains", chains_of(parents), persistent=False)

    @property
    def scale(self) -> Tensor:
        """Millimetres per unit, `(K, 3)`, the divisor of errors in the loss."""
        return self.maximum - self.minimum

    def decode(self, units: Tensor) -> Tensor:
        """De-normalise outputs `(..., 3 K)` to millimetres `(..., K, 3)`."""
        return rearrange(units, "... (k d) -> ... k d", d=3) * self.scale + self.minimum

    def encode(self, pose3d: Tensor) -> Tensor:
        """Normalise poses `(..., K, 3)` in mm, relative to any point, to targets `(..., 3 K)`."""
        return rearrange((self.target(pose3d) - self.minimum) / self.scale, "... k d -> ... (k d)")

    def target(self, pose3d: Tensor) -> Tensor:
        """Return training targets `(..., K, 3)` in mm: root-relative, with bones of mean length.

        Evaluation uses the poses as they are, `pose3d` minus its root.

        Raises:
            ValueError: a wrong shape, or a call before `fit`.
        """
        self.check(pose3d)
        if self.rescale_bones:
            if not self.bone_lengths.any():
                raise ValueError(
                    "mean lengths of bones are not known yet: call model.codec.fit(poses of the training data) first, "
                    "or create the model with rescale_bones=False"
                )
            pose3d = self.rescaled(pose3d)
        return self.relative(pose3d)

    @torch.no_grad()
    def fit(self, pose3d: Tensor) -> None:
        """Set the statistics from training data, poses `(..., K, 3)` in mm relative to any point.

        Raises:
            ValueError: a wrong shape, no poses, or values that are not finite.
        """
        self.check(pose3d)
        if not pose3d.numel():
            raise ValueError(f"pose3d: expected poses (..., K, 3), got none: shape {tuple(pose3d.shape)}")
        if not pose3d.isfinite().all():
            raise ValueError("pose3d: some are not finite; leave the frames with missing keypoints out of the fit")
        if self.rescale_bones:
            self.bone_lengths.copy_(self.bones(pose3d).norm(dim=-1).flatten(0, -2).mean(dim=0))
        poses = self.target(pose3d).flatten(0, -3)
        self.minimum.copy_(poses.amin(dim=0))
        self.maximum.copy_(torch.maximum(poses.amax(dim=0), self.minimum + STILL))

    def relative(self, pose3d: Tensor) -> Tensor:
        """Make poses `(..., K, 3)` relative to their root, or to their mean if there is none."""
        if self.root is None:
            return pose3d - pose3d.mean(dim=-2, keepdim=True)
        return pose3d - pose3d[..., self.root : self.root + 1, :]

    def bones(self, pose3d: Tensor) -> Tensor:
        """Return the vectors to each keypoint from its parent, `(..., K, 3)`; 0 for the root."""
        return pose3d - pose3d[..., self.parents, :]

    def rescaled(self, pose3d: Tensor) -> Tensor:
        """Rescale bones to their mean lengths, with the root of the tree at 0."""
        bones = self.bones(pose3d)
        tiny = torch.finfo(bones.dtype).tiny  # a bone of length 0 has no direction, and stays 0
        lengths = bones.norm(dim=-1, keepdim=True).clamp_min(tiny)
        return self.chains.to(bones.dtype) @ (bones / lengths * self.bone_lengths[:, None].to(bones.dtype))

    def check(self, pose3d: Tensor) -> None:
        if pose3d.ndim < 3 or pose3d.shape[-2:] != self.minimum.shape:
            raise ValueError(f"pose3d: expected (..., {len(self.minimum)}, 3) in mm, got shape {tuple(pose3d.shape)}")


def parents_of(bones: Sequence[tuple[int, int]], num_keypoints: int, root: int) -> tuple[int, ...] | None:
    """Return each keypoint's parent, the root for the root; None if the bones form no tree."""
    parents, reached = {root: root}, [root]
    for keypoint in reached:  # grows while it is walked along
        for bone in bones:
            other = bone[1 - bone.index(keypoint)] if keypoint in bone else root
            if other not in parents:
                parents[other] = keypoint
                reached.append(other)
    if len(bones) != num_keypoints - 1 or len(reached) != num_keypoints:
        return None
    return tuple(parents[keypoint] for keypoint in range(num_keypoints))


def chains_of(parents: Sequence[int]) -> Tensor:
    """Return `(K, K)`, 1 where the column's keypoint is the row's or an ancestor of it."""
    chains = []
    for keypoint in range(len(parents)):
        chain = {keypoint}
        while parents[keypoint] not in chain:
            keypoint = parents[keypoint]
            chain.add(keypoint)
        chains.append([float(other in chain) for other in range(len(parents))])
    return torch.tensor(chains).view(len(parents), len(parents))


def check_batch_norm(module: nn.Module, count: int) -> None:
    """Check that a training batch has the two values that batch norm needs for a variance.

    Raises:
        ValueError: one value, and a batch norm in train mode.
    """
    norms = (part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d))
    if module.training and count == 1 and any(norm.training for norm in norms):
        raise ValueError(
            "batch norm needs at least two people or frames in training, got one; add to the batch (in a loader, "
            "drop_last=True), or use model.eval()"
        )
