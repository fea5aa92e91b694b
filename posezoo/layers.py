"""What two or more networks share, nothing else."""

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from posezoo import heatmaps
from posezoo.geometry import flip_keypoints, person_frame
from posezoo.skeletons import Skeleton, get_skeleton

if TYPE_CHECKING:
    from posezoo.weights import Weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FRAMES = ("pixels", "person")  # of the keypoints that lifters see
CONSTANT = 1e-3  # a coordinate that varies less than this (pixels, millimetres, sizes of a person) is not scaled


class PoseModel(nn.Module):
    """What every network of the zoo owes its user and no paper describes: a name, and a way to disk and back.

    Attributes:
        architecture: the name it was created under, "" when it was built by hand.
        kwargs: the constructor's arguments, as `config.json` keeps them.
        weights: the record of the weights it carries, or None.
        head_keys: names of the submodules that depend on the number of keypoints.
        keep_aspect: whether people are cropped with the input's aspect ratio; False: their boxes are stretched to it.
        input_kind: what `forward` takes: "image" `(B, 3, H, W)`, "keypoints" `(B, T, K, 2)`, "clip" `(B, T, 3, H, W)`.
        default_skeleton: that of a head with as many keypoints when none is given.
    """

    architecture: str = ""
    kwargs: dict[str, Any]
    weights: "Weights | None" = None
    head_keys: tuple[str, ...] = ()
    keep_aspect: bool = True
    input_kind: str = "image"
    default_skeleton: str = "coco17"
    num_keypoints: int
    skeleton: Skeleton | None
    padding: float = 1.25
    example_input: Callable[..., Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.kwargs = {}

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the images that the network was trained with."""
        if self.weights is not None and self.weights.input_size:
            return self.weights.input_size
        height, width = self.example_input().shape[-2:]
        return height, width

    @property
    def corner_aligned(self) -> bool:
        """Whether crops are measured between the centres of the corner pixels, as by UDP."""
        return "udp" in (getattr(self, "decoding", ""), getattr(self.weights, "codec", ""))

    @functools.cached_property  # which networks may set
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return 1 if self.input_kind == "image" else self.example_input().shape[1]

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Write weights, config and model card; see `posezoo.save_pretrained`."""
        from posezoo.weights import save_pretrained

        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Publish to the Hugging Face Hub; see `posezoo.push_to_hub`."""
        from posezoo.weights import push_to_hub

        return push_to_hub(self, repo_id, **kwargs)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay should spare beside biases and norms, for timm's optimisers."""
        return set()

    def set_keypoints(self, num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None) -> None:
        """Record what the head's channels mean, in the constructor and in `reset_head`."""
        self.num_keypoints = num_keypoints
        self.skeleton = keypoint_skeleton(num_keypoints, skeleton, self.default_skeleton)
        named = skeleton if skeleton is None or isinstance(skeleton, str) else list(get_skeleton(skeleton).keypoints)
        self.kwargs = {**self.kwargs, "num_keypoints": num_keypoints, "skeleton": named}


class Normalize(nn.Module):
    """`(image - mean) / std` per channel, with mean and std as buffers: what the weights assume travels with them."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.get_default_dtype()))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()))

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def disable(self) -> None:
        """Turn into the identity, for pipelines that normalise already."""
        self.mean.zero_()
        self.std.fill_(1)


class ZScore(nn.Module):
    """`(points - mean) / std` for points `(..., K, D)`, with mean and std as buffers of shape `(K, D)`."""

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
        """Mean and standard deviation of the points; a coordinate that never varies, a root's, is divided by `unit`."""
        variance, mean = torch.var_mean(points.flatten(0, -3), dim=0, correction=0)
        std = variance.sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < CONSTANT, self.unit, std))

    def reset(self) -> None:
        """Back to mean 0 and one unit."""
        self.mean.zero_()
        self.std.fill_(self.unit)


class PoseNormalize(nn.Module):
    """A lifter's units: what its network sees of 2D keypoints, and the millimetres that its answers mean.

    The statistics are buffers and travel with the weights. Until `fit` has set them keypoints stay as they are and
    answers count in metres.

    Args:
        num_inputs: 2D keypoints.
        num_keypoints: 3D keypoints, those of the head.
        frame: "pixels" takes the z-score of the pixels, as the papers do, and so is bound to the cameras of the
            training data. "person" first measures the keypoints from the root, in units of the person's size in the
            window (`geometry.person_frame`): any camera, image size and distance will do.
        framewise: for "person": measure the size in every frame by itself, not over the window (the axis `T`).
        root: of the 2D keypoints; where a skeleton has none its first keypoint serves.

    Example:
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
        """`(..., T, K, 2)` pixels to the network's units."""
        return self.keypoints(self._framed(keypoints))

    def inverse(self, pose: Tensor) -> Tensor:
        """The network's answer `(..., K, 3)` in millimetres."""
        return self.pose3d.inverse(pose)

    def fit(self, keypoints: Tensor, pose3d: Tensor) -> None:
        """Set the statistics from training data.

        Args:
            keypoints: `(..., T, K, 2)` pixels, in windows as long as the network will see where frame is "person".
            pose3d: `(..., T, K, 3)` mm, relative to the root.

        Raises:
            ValueError: other shapes, no poses, values that are not finite, or poses that are not relative to the root.
        """
        for name, points, statistics in (("keypoints", keypoints, self.keypoints), ("pose3d", pose3d, self.pose3d)):
            if points.ndim < 3 or points.shape[-2:] != statistics.mean.shape or not points.numel():
                wanted = ", ".join(map(str, statistics.mean.shape))
                raise ValueError(f"{name}: expected poses (..., T, {wanted}), got shape {tuple(points.shape)}")
            if not points.isfinite().all():
                raise ValueError(f"{name}: some are not finite; leave the frames with missing keypoints out of the fit")
        if self.answer_root is not None and pose3d[..., self.answer_root, :].any():
            root = self.answer_root
            raise ValueError(
                f"pose3d: expected millimetres from the root, keypoint {root}, which is not at 0 here; "
                f"take it off with pose3d - pose3d[..., {root}:{root + 1}, :]"
            )
        self.keypoints.fit(self._framed(keypoints))
        self.pose3d.fit(pose3d)

    def fit_image(self, size: tuple[int, int]) -> None:
        """Set the 2D statistics so that x runs from -1 to 1 over an image of `size` (H, W), y in the same units.

        VideoPose3D's screen coordinates: its published weights expect them.
        """
        height, width = size
        self.keypoints.mean.copy_(torch.tensor([width / 2, height / 2]))
        self.keypoints.std.fill_(width / 2)

    def reset_head(self, num_keypoints: int, root: int | None = None) -> None:
        """Fresh 3D statistics, metres, for other keypoints; `root` is the one among them that is always at 0."""
        self.answer_root = root
        self.pose3d = ZScore(num_keypoints, 3, unit=1000.0)

    def disable(self) -> None:
        """Take keypoints as they come, for pipelines that normalise already; answers stay in millimetres."""
        self.frame = "pixels"
        self.keypoints.reset()

    def mirror(self, keypoints: Tensor, flip_index: Sequence[int]) -> Tensor:
        """The keypoints of the mirror image, as a camera like those of the training data would see them."""
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
    """Convolutions in a row, each with its ReLU, whose parameters are called as in the authors' Caffe file.

    Args:
        channels: of the input.
        layers: (name, kernel, width) of a convolution; a module for what lies between two of them.
        batch_norm: normalise before each ReLU; the convolutions then have no bias.
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
    """VGG-19 up to conv4_2, for `named_convolutions`; 128 is its own width."""
    w = width
    return [
        *(("conv1_1", 3, w // 2), ("conv1_2", 3, w // 2), nn.MaxPool2d(2)),
        *(("conv2_1", 3, w), ("conv2_2", 3, w), nn.MaxPool2d(2)),
        *((f"conv3_{i}", 3, 2 * w) for i in (1, 2, 3, 4)),
        nn.MaxPool2d(2),
        *(("conv4_1", 3, 4 * w), ("conv4_2", 3, 4 * w)),
    ]


def cpm_trunk(width: int = 128) -> nn.Sequential:
    """What RPSM starts from: the image features of the Convolutional Pose Machine that its authors released.

    VGG-19 up to conv4_2 and five more convolutions, `(B, 3, H, W) -> (B, width, H/8, W/8)`, a ReLU behind the last one
    too. The names are the same in every network that has it: weights move by `load_state_dict`.
    """
    more = [("conv4_3_CPM", 3, 2 * width), ("conv4_4_CPM", 3, 2 * width), ("conv4_5_CPM", 3, 2 * width)]
    return named_convolutions(3, [*vgg_layers(width), *more, ("conv4_6_CPM", 3, 2 * width), ("conv4_7_CPM", 3, width)])


def keypoint_skeleton(
    num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None, default: str = "coco17"
) -> Skeleton | None:
    """The skeleton of a head with `num_keypoints`; None: `default` where that has as many, unnamed keypoints else."""
    if not isinstance(num_keypoints, int) or isinstance(num_keypoints, bool) or num_keypoints < 0:
        raise ValueError(f"num_keypoints: expected a whole number, 0 (no head) or more, got {num_keypoints!r}")
    if skeleton is None:
        return get_skeleton(default) if num_keypoints == len(get_skeleton(default)) else None
    named = get_skeleton(skeleton)
    if num_keypoints not in (0, len(named)):
        raise ValueError(
            f"skeleton {named.name!r} has {len(named)} keypoints, but num_keypoints is {num_keypoints}; "
            f"pass num_keypoints={len(named)}, or the names of your keypoints as skeleton=[...]"
        )
    return named


def check_image(image: Tensor, multiple: int = 1) -> None:
    """Refuse what no network here takes, naming the fix.

    Raises:
        ValueError: not a float tensor `(B, 3, H, W)`, or H or W not a multiple of `multiple`.
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"image: expected a tensor (B, 3, H, W), got {type(image).__name__}; see posezoo.predict")
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"image: expected (B, 3, H, W), RGB, got shape {tuple(image.shape)}; add the batch axis with image[None], "
            "move channels first with image.movedim(-1, -3), repeat grey with image.repeat(1, 3, 1, 1)"
        )
    if not image.is_floating_point():
        raise ValueError(f"image: expected floats in [0, 1], got {image.dtype}; use image.float() / 255")
    height, width = image.shape[-2:]
    if height == 0 or width == 0 or height % multiple or width % multiple:
        up = [max(multiple, -(-side // multiple) * multiple) for side in (height, width)]
        raise ValueError(
            f"image: expected H and W to be multiples of {multiple}, got ({height}, {width}); "
            f"resize or pad, for instance to ({up[0]}, {up[1]})"
        )


def input_skeleton(input_keypoints: int | str | Sequence[str]) -> tuple[int, Skeleton | None]:
    """How many 2D keypoints a lifter sees, and their skeleton: None when only their number is given."""
    if isinstance(input_keypoints, int):
        if isinstance(input_keypoints, bool) or input_keypoints < 1:
            raise ValueError(f"input_keypoints: expected a skeleton, names or their number, got {input_keypoints!r}")
        return input_keypoints, None
    skeleton = get_skeleton(input_keypoints)
    return len(skeleton), skeleton


def root_of(skeleton: Skeleton | None) -> int | None:
    """Index of the keypoint that 3D poses are relative to, the pelvis; None where a skeleton has none."""
    return skeleton.keypoints.index("pelvis") if skeleton and "pelvis" in skeleton.keypoints else None


def check_keypoints(keypoints: Tensor, num_inputs: int) -> None:
    """Refuse what no lifter here takes, naming the fix.

    Raises:
        ValueError: not a float tensor `(B, T, num_inputs, 2)` of at least one frame, or keypoints that are not finite.
    """
    if not isinstance(keypoints, Tensor):
        raise ValueError(
            f"keypoints: expected a tensor (B, T, {num_inputs}, 2), got {type(keypoints).__name__}; "
            "use torch.as_tensor(keypoints), or posezoo.lift"
        )
    shape = tuple(keypoints.shape)
    if keypoints.ndim != 4:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), got shape {shape}; add the batch axis to one video "
            "with keypoints[None], the time axis to single frames with keypoints[:, None]"
        )
    if shape[3] != 2:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), x and y in pixels, got shape {shape}; "
            "leave scores out with keypoints[..., :2]"
        )
    if shape[2] != num_inputs:
        raise ValueError(
            f"keypoints: expected (B, T, {num_inputs}, 2), got {shape[2]} keypoints; posezoo.skeletons.convert turns "
            "one skeleton into another, create(..., input_keypoints=...) makes a network for yours"
        )
    if shape[1] == 0:
        raise ValueError(f"keypoints: expected at least one frame, got shape {shape}; leave empty videos out")
    if not keypoints.is_floating_point():
        raise ValueError(f"keypoints: expected floats, got {keypoints.dtype}; use keypoints.float()")
    if not torch.compiler.is_compiling() and not keypoints.is_meta and not keypoints.isfinite().all():
        raise ValueError("keypoints: some are not finite, which is how gaps are marked; posezoo.lift fills gaps")


def check_batch_norm(model: nn.Module, count: int) -> None:
    """Refuse to train on a batch that batch normalisation learns nothing from.

    Raises:
        ValueError: in training mode, one frame where at least two are needed.
    """
    if model.training and count == 1:
        raise ValueError(
            "batch normalisation needs at least two frames in training, got one; add to the batch, or use model.eval()"
        )


def require_flip_index(model: PoseModel) -> tuple[int, ...]:
    """Which keypoint is whose mirror image, or an error that says how to name them."""
    if model.skeleton is None:
        raise ValueError(
            f"flip: the {model.num_keypoints} keypoints of this model have no names, so left and right are unknown; "
            "create it with skeleton=[...names with left_ and right_...], or predict with flip=False"
        )
    return model.skeleton.flip_index


def predict_heatmaps(model: Any, image: Tensor, *, flip: bool, shift: bool) -> tuple[Tensor, Tensor]:
    """`model.decode(model(image))`, the heatmaps averaged with those of the mirrored image when `flip`."""
    flip_index = require_flip_index(model) if flip else ()
    output = model(image)
    if flip:
        output = heatmaps.flip_average(output, model(image.flip(-1)), flip_index, shift=shift)
    return model.decode(output)


def xavier_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A fully connected layer that starts with Xavier's uniform weights and no bias.

    Example:
        >>> bool(xavier_linear(4, 3).bias.any())
        False
    """
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def predict_keypoints(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """As `predict_heatmaps` for a network that answers with coordinates: the keypoints themselves are averaged."""
    flip_index = require_flip_index(model) if flip else ()
    keypoints, scores = model.decode(model(image))
    if flip:
        mirrored, mirrored_scores = model.decode(model(image.flip(-1)))
        keypoints = (keypoints + flip_keypoints(mirrored, image.shape[-1], flip_index)) / 2
        scores = (scores + mirrored_scores[:, list(flip_index)]) / 2
    return keypoints, scores


def insert_root(pose3d: Tensor, root: int | None) -> Tensor:
    """Poses `(..., K - 1, 3)` of a network that leaves the root out as `(..., K, 3)`, with zeros for it."""
    if root is None:
        return pose3d
    before, after = pose3d[..., :root, :], pose3d[..., root:, :]
    return torch.cat([before, torch.zeros_like(pose3d[..., :1, :]), after], dim=-2)


def decode_pose3d(pose3d: Tensor, root: int | None) -> tuple[Tensor, Tensor]:
    """Poses `(B, T, K, 3)` in float32 with their root at 0, and scores `(B, T, K)` of one: lifters give none."""
    pose3d = pose3d.float()
    if root is not None:
        pose3d = pose3d.index_fill(-2, torch.tensor([root], device=pose3d.device), 0.0)
    return pose3d, torch.ones_like(pose3d[..., 0])


def predict_pose3d(
    model: Any, keypoints: Tensor, lift: Callable[[Tensor], Tensor], *, flip: bool
) -> tuple[Tensor, Tensor]:
    """`model.decode(lift(keypoints))`, averaged with the pose of the mirrored keypoints when `flip`."""
    flip_index = require_flip_index(model) if flip else ()
    pose3d, scores = model.decode(lift(keypoints))
    if flip:
        if model.input_skeleton is None:
            raise ValueError(
                "flip: the 2D keypoints of this model have no names, so left and right are unknown; "
                "create it with input_keypoints=[...names with left_ and right_...], or predict with flip=False"
            )
        check_keypoints(keypoints, model.num_inputs)
        mirrored = model.normalize.mirror(keypoints, model.input_skeleton.flip_index)
        turned, _ = model.decode(lift(mirrored))
        turned = turned[..., list(flip_index), :] * turned.new_tensor([-1.0, 1.0, 1.0])
        pose3d = (pose3d + turned) / 2
    return pose3d, scores


def import_timm(wanted: str) -> Any:
    """The timm package, or an error that says why it cannot be imported and what to install."""
    try:
        import timm
    except Exception as error:  # a torchvision built for another torch raises RuntimeError while timm imports it
        raise ImportError(
            f"{wanted} comes from timm, and importing timm failed: {type(error).__name__}: {error}. This is usually "
            "a torchvision that was built for another torch: reinstall both together from one index (pip install "
            "--force-reinstall torch torchvision). Networks without a timm backbone, such as hrnet_w32, work without it"
        ) from error
    return timm


def timm_trunk(name: str, *, pretrained: bool = False) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A timm network without its classifier, and the mean and std its ImageNet weights expect.

    The module returns a list with one tensor, the last feature map.

    Raises:
        ValueError: timm has no such network, or none that yields feature maps; no way to its weights.
        ImportError: timm cannot be imported here; says why and what to install.
    """
    timm = import_timm(f"the backbone {name!r}")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "."
        raise ValueError(f"backbone: timm {timm.__version__} has no network {name!r}{hint} See timm.list_models()")
    config = timm.get_pretrained_cfg(name)
    weights = {}
    if pretrained:
        if not config.hf_hub_id:
            raise ValueError(f"pretrained_backbone: timm has no ImageNet weights of {name!r} on the Hub")
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(hub_file(config.hf_hub_id))}}
    try:
        trunk = timm.create_model(name, features_only=True, out_indices=(-1,), **weights)
    except (AttributeError, NotImplementedError) as error:
        raise ValueError(f"backbone: timm's {name!r} yields no feature maps ({error}); choose another") from error
    return trunk, tuple(config.mean), tuple(config.std)


def hub_file(repository: str) -> Path:
    """The weights file of a Hub repository, through our own loader: offline it fails at once, with advice."""
    from posezoo.weights import Weights, find

    return find(Weights(sources=(f"hf-hub:{repository}",)))


def hub_state_dict(repository: str) -> dict[str, Tensor]:
    """The tensors of a Hub repository's weights file."""
    from posezoo.weights import read_state_dict

    return read_state_dict(hub_file(repository))
