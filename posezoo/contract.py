"""The contract of a network: `PoseModel`, checks of inputs, skeletons of heads, and prediction with flip averaging.

`posezoo.predict`, `posezoo.lift`, export and the training scripts read what they need to know off a
`PoseModel`, never off an example input or a constant. `docs/add_a_model.md` shows the methods that
a network adds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo import heatmaps
from posezoo.geometry import flip_keypoints
from posezoo.skeletons import Skeleton, get_skeleton
from posezoo.weights import Weights, push_to_hub, save_pretrained

MOST_PIXELS = 2**13  # height and width of an input
TARGETS = {"udp": "truncated", "dark": "gaussian"}  # how targets are drawn for a decoding; "msra" for the others


class PoseModel(nn.Module):
    """Base class of all models: constructor arguments, weights record, input settings, saving and Hub upload.

    Attributes:
        architecture: registered name, "" for a model that was built by hand.
        kwargs: constructor arguments, as `config.json` stores them.
        weights: record of the loaded weights, or None.
        head_keys: names of the submodules that depend on the number of keypoints.
        default_skeleton: skeleton of a head without names that has as many keypoints.
        input_kind: input of `forward`: "image" `(B, 3, H, W)`, "keypoints" `(B, T, K, 2)`, "clip"
            `(B, T, 3, H, W)`.
        input_size: (H, W) of the crops that the weights were trained on; None for keypoints. Can be
            set.
        padding: side of the crop in units of the person's tight box. Can be set.
        keep_aspect: whether crops keep the image's aspect ratio. False: boxes are stretched to
            `input_size`.
        receptive_field: frames of a video that a prediction depends on; 1 for images.
        stride: input pixels per heatmap cell; None for networks that regress coordinates.
        offset: input pixel at which cell 0 lies; cell i lies at `i * stride + offset`.
        decoding: method of `heatmaps.decode`; "" for networks that regress coordinates.
        flip_shift: whether mirrored heatmaps are shifted by one cell before averaging.
        background: whether the heatmaps have a last channel for the background.
        grad_checkpointing: whether training recomputes activations in the backward pass.
    """

    architecture: str = ""
    kwargs: dict[str, Any]
    weights: Weights | None = None
    head_keys: tuple[str, ...] = ()
    default_skeleton: str = "coco17"
    input_kind: str = "image"
    input_size: tuple[int, int] | None = None
    padding: float = 1.25
    keep_aspect: bool = True
    receptive_field: int = 1
    stride: float | None = None
    offset: float = 0.0
    decoding: str = ""
    flip_shift: bool = False
    background: bool = False
    grad_checkpointing: bool = False
    num_keypoints: int
    num_inputs: int  # 2D keypoints of a lifter
    skeleton: Skeleton | None

    def __init__(self) -> None:
        super().__init__()
        self.kwargs = {}

    @property
    def corner_aligned(self) -> bool:
        """Whether the first and last cell lie on the first and last pixel, as in unbiased data processing (UDP)."""
        return self.decoding == "udp"

    def input_settings(self) -> dict[str, Any]:
        """Return the attributes that prepare an input and read an output, as `config.json` stores them.

        Examples:
            >>> import posezoo
            >>> settings = posezoo.create("hrnet_w32").input_settings()
            >>> settings["input_size"], settings["padding"], settings["stride"]
            ([256, 192], 1.25, 4.0)
        """
        if self.input_kind == "keypoints":
            return {"receptive_field": self.receptive_field}
        settings: dict[str, Any] = {
            "input_size": None if self.input_size is None else list(self.input_size),
            "padding": self.padding,
            "keep_aspect": self.keep_aspect,
            "receptive_field": self.receptive_field,
        }
        if self.stride is not None:
            for name in ("stride", "offset", "decoding", "flip_shift", "corner_aligned"):
                settings[name] = getattr(self, name)
        return settings

    def apply_input_settings(self, settings: Mapping[str, Any]) -> None:
        """Set `input_size`, `padding` and `keep_aspect` where given; the constructor's arguments fix the others.

        Raises:
            ValueError: a size that is not two positive whole numbers, or a padding that is not
                positive.

        Examples:
            >>> import posezoo
            >>> model = posezoo.create("hrnet_w32")
            >>> model.apply_input_settings({"input_size": [384, 288]})
            >>> model.example_input().shape
            torch.Size([1, 3, 384, 288])
        """
        size, padding = settings.get("input_size"), settings.get("padding")
        if size is not None:
            sides = list(size) if isinstance(size, Sequence) else []
            if len(sides) != 2 or not all(type(side) is int and 0 < side <= MOST_PIXELS for side in sides):
                raise ValueError(f"input_size: expected (H, W), whole numbers from 1 to {MOST_PIXELS}, got {size!r}")
            self.input_size = (size[0], size[1])
        if padding is not None:
            if isinstance(padding, bool) or not isinstance(padding, int | float) or not 0 < padding < math.inf:
                raise ValueError(f"padding: expected a positive factor such as 1.25, got {padding!r}")
            self.padding = float(padding)
        if settings.get("keep_aspect") is not None:
            self.keep_aspect = bool(settings["keep_aspect"])

    def example_input(self, batch: int = 1) -> Tensor:
        """Return a random input of `input_size` and `receptive_field`; keypoints are pixels of a 1000 x 1000 image."""
        if self.input_kind == "keypoints":
            return 1000 * torch.rand(batch, self.receptive_field, self.num_inputs, 2)
        if self.input_size is None:
            raise ValueError(f"{type(self).__name__} has no input_size; set model.input_size = (H, W)")
        frames = (self.receptive_field,) if self.input_kind == "clip" else ()
        return torch.rand(batch, *frames, 3, *self.input_size)

    def heatmap_frame(self, stage: int = -1) -> tuple[float, float]:
        """Return stride and offset of the heatmaps of a stage, an index of `all_stages`.

        Raises:
            ValueError: the network regresses coordinates.
        """
        if self.stride is None:
            raise ValueError(f"{self.architecture or type(self).__name__} regresses coordinates and has no heatmaps")
        return self.stride, self.offset

    def encode_targets(
        self,
        keypoints: Tensor,
        visible: Tensor | None,
        stages: Sequence[Tensor],
        *,
        sigma: float = 2.0,
        method: str | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Encode the target heatmaps of every supervised stage, in the frame that `decode` reads.

        Args:
            keypoints: `(B, K, 2)` pixels of the input.
            visible: `(B, K)` bool or weights; None: all visible.
            stages: `model(image, all_stages=True)`, heatmaps `(B, C, h, w)` each.
            sigma: standard deviation of the Gaussians in cells.
            method: of `heatmaps.encode`. Defaults to "truncated" for UDP, "gaussian" for DARK, else
                "msra".

        Returns:
            For each stage target heatmaps `(B, C, h, w)` and weights `(B, C)`. A background channel
            has weight 1.

        Raises:
            ValueError: a network that regresses coordinates, or what `heatmaps.encode` raises.

        Examples:
            >>> import posezoo
            >>> from posezoo.losses import heatmap_mse
            >>> model, keypoints = posezoo.create("hourglass_1", width=16), 128 * torch.rand(2, 16, 2)
            >>> stages = model(torch.rand(2, 3, 128, 128), all_stages=True)
            >>> pairs = zip(stages, model.encode_targets(keypoints, None, stages), strict=True)
            >>> sum(heatmap_mse(stage, *target) for stage, target in pairs).backward()
        """
        encoded: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}  # stages of one size and frame share their targets
        targets = []
        for index, stage in enumerate(stages):
            h, w = stage.shape[-2:]
            stride, offset = self.heatmap_frame(index)
            key = (h, w, stride, offset)
            if key not in encoded:
                step = tuple((n * stride - 1) / max(n - 1, 1) for n in (h, w)) if self.corner_aligned else stride
                target, weights = heatmaps.encode(
                    keypoints,
                    visible,
                    size=(h, w),
                    stride=step,  # type: ignore[arg-type]
                    offset=offset,
                    sigma=sigma,
                    method=method or TARGETS.get(self.decoding, "msra"),
                )
                if self.background:
                    target = heatmaps.with_background(target)
                    weights = torch.cat([weights, torch.ones_like(weights[:, :1])], dim=1)
                encoded[key] = target, weights
            targets.append(encoded[key])
        return targets

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable gradient checkpointing: training recomputes activations in the backward pass and stores fewer.

        A timm backbone, `backbone`, is included.
        """
        self.grad_checkpointing = enable
        backbone: Any = getattr(self, "backbone", None)
        if backbone is not None:
            backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Return parameters that timm's optimisers exempt from weight decay in addition to biases and norms."""
        return set()

    def set_keypoints(self, num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None) -> None:
        """Set number and skeleton of the head's keypoints; for the constructor and `reset_head`."""
        self.num_keypoints = num_keypoints
        self.skeleton = keypoint_skeleton(num_keypoints, skeleton, self.default_skeleton)
        named = skeleton if skeleton is None or isinstance(skeleton, str) else get_skeleton(skeleton).to_json()
        self.kwargs = {**self.kwargs, "num_keypoints": num_keypoints, "skeleton": named}

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Write weights, config and model card; see `posezoo.save_pretrained`."""
        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Publish to the Hugging Face Hub; see `posezoo.push_to_hub`."""
        return push_to_hub(self, repo_id, **kwargs)


def keypoint_skeleton(
    num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None, default: str = "coco17"
) -> Skeleton | None:
    """Return the skeleton of a head; without one `default`, if it has `num_keypoints`, else None (no names)."""
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
    """Check an image batch.

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


def check_clip(clip: Tensor, size: tuple[int, int]) -> None:
    """Check a batch of clips.

    Raises:
        ValueError: not a float tensor `(B, T, 3, H, W)` of at least one frame, or frames of another
            size.
    """
    if not isinstance(clip, Tensor):
        raise ValueError(
            f"clip: expected a tensor (B, T, 3, H, W), got {type(clip).__name__}; use torch.as_tensor(clip)"
        )
    shape = tuple(clip.shape)
    if clip.ndim != 5 or shape[2] != 3:
        raise ValueError(
            f"clip: expected (B, T, 3, H, W), RGB, got shape {shape}; add the batch axis to one clip with clip[None], "
            "the time axis to single frames with image[:, None], move channels first with clip.movedim(-1, -3), "
            "repeat grey with clip.repeat(1, 1, 3, 1, 1)"
        )
    if not clip.is_floating_point():
        raise ValueError(f"clip: expected floats in [0, 1], got {clip.dtype}; use clip.float() / 255")
    if shape[1] == 0:
        raise ValueError(f"clip: expected at least one frame, got shape {shape}; leave empty videos out")
    if shape[3:] != size:
        raise ValueError(
            f"clip: expected frames of {size}, got {shape[3:]}; resize or pad them, or create the model with "
            "size=(H, W): all sizes that work are multiples of 8, as (64, 64), (256, 256) or (368, 368)"
        )


def input_skeleton(input_keypoints: int | str | Sequence[str]) -> tuple[int, Skeleton | None]:
    """Return number and skeleton of a lifter's 2D keypoints; the skeleton is None if only the number is given."""
    if isinstance(input_keypoints, int):
        if isinstance(input_keypoints, bool) or input_keypoints < 1:
            raise ValueError(f"input_keypoints: expected a skeleton, names or their number, got {input_keypoints!r}")
        return input_keypoints, None
    skeleton = get_skeleton(input_keypoints)
    return len(skeleton), skeleton


def root_of(skeleton: Skeleton | None) -> int | None:
    """Return the index of the root, the pelvis, or None if the skeleton has no pelvis."""
    return skeleton.keypoints.index("pelvis") if skeleton and "pelvis" in skeleton.keypoints else None


def check_keypoints(keypoints: Tensor, num_inputs: int) -> None:
    """Check a batch of 2D keypoint sequences.

    Raises:
        ValueError: not a float tensor `(B, T, num_inputs, 2)` of at least one frame, or keypoints
            that are not finite.
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
    """Check that a training batch has the two frames that batch normalisation needs for a variance.

    Raises:
        ValueError: one frame in training mode.
    """
    if model.training and count == 1:
        raise ValueError(
            "batch normalisation needs at least two frames in training, got one; add to the batch, or use model.eval()"
        )


def require_flip_index(model: PoseModel) -> tuple[int, ...]:
    """Return the index of each keypoint's left-right counterpart.

    Raises:
        ValueError: the keypoints have no names.
    """
    if model.skeleton is None:
        raise ValueError(
            f"flip: the {model.num_keypoints} keypoints of this model have no names, so left and right are unknown; "
            "create it with skeleton=[...names with left_ and right_...], or predict with flip=False"
        )
    return model.skeleton.flip_index


def predict_heatmaps(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """Decode the heatmaps of an image; `flip` averages them with those of the mirrored image."""
    flip_index = require_flip_index(model) if flip else ()
    output = model(image)
    if flip:
        output = heatmaps.flip_average(output, model(image.flip(-1)), flip_index, shift=model.flip_shift)
    return model.decode(output)


def predict_keypoints(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """Decode regressed coordinates; `flip` averages the keypoints with those of the mirrored image."""
    flip_index = require_flip_index(model) if flip else ()
    keypoints, scores = model.decode(model(image))
    if flip:
        mirrored, mirrored_scores = model.decode(model(image.flip(-1)))
        keypoints = (keypoints + flip_keypoints(mirrored, image.shape[-1], flip_index)) / 2
        scores = (scores + mirrored_scores[:, list(flip_index)]) / 2
    return keypoints, scores


def insert_root(pose3d: Tensor, root: int | None) -> Tensor:
    """Insert a root of zeros into poses without one: `(..., K - 1, 3)` to `(..., K, 3)`."""
    if root is None:
        return pose3d
    before, after = pose3d[..., :root, :], pose3d[..., root:, :]
    return torch.cat([before, torch.zeros_like(pose3d[..., :1, :]), after], dim=-2)


def decode_pose3d(pose3d: Tensor, root: int | None) -> tuple[Tensor, Tensor]:
    """Return poses `(B, T, K, 3)` in float32 with the root at 0, and scores `(B, T, K)` of 1."""
    pose3d = pose3d.float()
    if root is not None:
        pose3d = pose3d.index_fill(-2, torch.tensor([root], device=pose3d.device), 0.0)
    return pose3d, torch.ones_like(pose3d[..., 0])


def predict_pose3d(
    model: Any, keypoints: Tensor, lift: Callable[[Tensor], Tensor], *, flip: bool
) -> tuple[Tensor, Tensor]:
    """Decode `lift(keypoints)`; `flip` averages with the pose of the mirrored keypoints."""
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
