"""The contract of a network: `PoseModel`, input checks, skeletons of heads, flip averaging.

`posezoo.predict`, `posezoo.lift`, export and the training scripts read what they need to know off a
`PoseModel`, never off an example input or a constant. `docs/add_a_model.md` shows the methods that
a network adds.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from posezoo import codecs, heatmaps
from posezoo.features import check_indices, map_modules, record_maps, without_data
from posezoo.geometry import flip_keypoints
from posezoo.heads import SPLIT, decode_output
from posezoo.prepared import run_prepared
from posezoo.skeletons import Skeleton, get_skeleton
from posezoo.weights import Weights, push_to_hub, save_pretrained

MOST_PIXELS = 2**13  # height and width of an input
MOST_KEYPOINTS = 10_000  # SMPL's mesh has 6,890 vertices; a head for more would fill the memory
Model = TypeVar("Model", bound="PoseModel")

TARGETS = {"udp": "truncated", "dark": "gaussian"}  # how targets are drawn for a decoding; "msra" for the others
REGIONS = ("person", "joints", "image")
CROP_SETTINGS: dict[str, tuple[type, Callable[[Any], bool], str]] = {  # of a crop: type, condition, what is expected
    "padding": (float, lambda value: 0 < value < math.inf, "a positive factor such as 1.25"),
    "margin": (float, lambda value: 0 <= value < math.inf, "pixels, 0 or more"),
    "region": (str, lambda value: value in REGIONS, f"one of {', '.join(REGIONS)}"),
    "fill": (float, lambda value: 0 <= value <= 1, "a value from 0 to 1"),
    "keep_aspect": (bool, lambda value: True, ""),
}


class PoseModel(nn.Module):
    """Base class of all models: constructor arguments, weights record, input settings, saving.

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
        margin: pixels of the image added to each side of the box, before `padding`. Can be set.
        region: what is cropped: "person", the box; "joints", the same, but the tight box of the
            joints in training; "image", the whole image whatever the box. Can be set.
        fill: value in [0, 1] of a crop's pixels outside of the image. Can be set.
        keep_aspect: whether crops keep the image's aspect ratio. False: boxes are stretched to
            `input_size`.
        receptive_field: frames of a video that a prediction depends on; 1 for images.
        stride: input pixels per heatmap cell; None for networks that regress coordinates.
        offset: input pixel at which cell 0 lies; cell i lies at `i * stride + offset`.
        decoding: method of `heatmaps.decode`; "" for networks that regress coordinates.
        flip_shift: whether mirrored heatmaps are shifted by one cell before averaging.
        background: whether the heatmaps have a last channel for the background.
        grad_checkpointing: whether training recomputes activations in the backward pass.
        in_chans: channels of the images.
        prepare: whether `predict` of images runs a copy for inference, see `posezoo.prepared`. Can
            be set.
        head_kind: "heatmaps", "integral" or "simcc", see `posezoo.heads`. The last two need other
            targets and losses.
        split: bins per pixel of a SimCC head.
        feature_modules: names of the submodules whose outputs are the feature maps of
            `feature_info`. (): found by a run.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("hrnet_w18", decoding="udp")
        >>> model.example_input(batch=2).shape, model.heatmap_frame(), model.corner_aligned
        (torch.Size([2, 3, 256, 192]), (4.0, 0.0), True)
        >>> model.set_grad_checkpointing(), model.no_weight_decay()
        (None, set())
    """

    architecture: str = ""
    kwargs: dict[str, Any]
    weights: Weights | None = None
    head_keys: tuple[str, ...] = ()
    default_skeleton: str = "coco17"
    input_kind: str = "image"
    input_size: tuple[int, int] | None = None
    padding: float = 1.25
    margin: float = 0.0
    region: str = "person"
    fill: float = 0.0
    keep_aspect: bool = True
    receptive_field: int = 1
    stride: float | None = None
    offset: float = 0.0
    decoding: str = ""
    flip_shift: bool = False
    background: bool = False
    grad_checkpointing: bool = False
    in_chans: int = 3
    prepare: bool = True
    head_kind: str = "heatmaps"
    split: float = SPLIT
    feature_modules: tuple[str, ...] = ()
    num_keypoints: int
    num_features: int
    num_inputs: int  # 2D keypoints of a lifter
    skeleton: Skeleton | None
    normalize: Any

    # the methods of each network, of which some take further arguments
    decode: Callable[..., tuple[Tensor, Tensor]]
    predict: Callable[..., tuple[Tensor, Tensor]]
    forward_features: Callable[..., Tensor]
    reset_head: Callable[..., None]

    def __init__(self) -> None:
        super().__init__()
        self.kwargs = {}

    @property
    def corner_aligned(self) -> bool:
        """Whether first and last cell lie on first and last pixel (unbiased data processing)."""
        return self.decoding == "udp"

    def input_settings(self) -> dict[str, Any]:
        """Return the settings of inputs and outputs, as `config.json` stores them.

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
            **{name: getattr(self, name) for name in CROP_SETTINGS},
            "receptive_field": self.receptive_field,
        }
        if self.stride is not None:
            for name in ("stride", "offset", "decoding", "flip_shift", "corner_aligned"):
                settings[name] = getattr(self, name)
        return settings

    def apply_input_settings(self, settings: Mapping[str, Any]) -> None:
        """Set what crops depend on, where given: `input_size`, `CROP_SETTINGS`; see `data.CROPS`.

        A padding without a margin or a region is that of the person's box, without a margin.

        Raises:
            ValueError: a size that is not two positive whole numbers, or an impossible setting.

        Examples:
            >>> import posezoo
            >>> model = posezoo.create("hrnet_w32")
            >>> model.apply_input_settings({"input_size": [384, 288]})
            >>> model.example_input().shape
            torch.Size([1, 3, 384, 288])
        """
        size = settings.get("input_size")
        if settings.get("padding") is not None:
            settings = {"margin": 0.0, "region": "person", **settings}
        if size is not None:
            sides = list(size) if isinstance(size, Sequence) else []
            if len(sides) != 2 or not all(type(side) is int and 0 < side <= MOST_PIXELS for side in sides):
                raise ValueError(f"input_size: expected (H, W), whole numbers from 1 to {MOST_PIXELS}, got {size!r}")
            self.input_size = (size[0], size[1])
        for name, (kind, valid, expected) in CROP_SETTINGS.items():
            if (value := settings.get(name)) is not None:
                right = isinstance(value, bool) == (kind is bool) and isinstance(value, int if kind is float else kind)
                if not (right or (kind is float and isinstance(value, float))) or not valid(value):
                    raise ValueError(f"{name}: expected {expected}, got {value!r}")
                setattr(self, name, kind(value))

    def example_input(self, batch: int = 1) -> Tensor:
        """Return a random input of `input_size` or `receptive_field`.

        Keypoints are pixels of a 1000 x 1000 image.
        """
        if self.input_kind == "keypoints":
            return 1000 * torch.rand(batch, self.receptive_field, self.num_inputs, 2)
        if self.input_size is None:
            raise ValueError(f"{type(self).__name__} has no input_size; set model.input_size = (H, W)")
        frames = (self.receptive_field,) if self.input_kind == "clip" else ()
        return torch.rand(batch, *frames, self.in_chans, *self.input_size)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Describe input and weights in timm's form, as for `timm.data.resolve_data_config`.

        `mean` and `std` are the normalisation that images need before the network, which is none
        unless the model was created with `normalize=False`.

        Examples:
            >>> import posezoo
            >>> from timm.data import resolve_data_config
            >>> config = resolve_data_config(model=posezoo.create("hrnet_w32"))
            >>> config["input_size"], config["mean"], config["std"]
            ((3, 256, 192), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        """
        record = self.weights or Weights()
        config: dict[str, Any] = {
            "architecture": self.architecture,
            "tag": record.tag,
            "num_classes": self.num_keypoints,
        }
        if self.input_kind != "keypoints":
            before = getattr(getattr(self, "normalize", None), "before", None)
            config["mean"], config["std"] = before or ((0.0,) * self.in_chans, (1.0,) * self.in_chans)
            config.update(interpolation="bilinear", crop_pct=1.0, crop_mode="border" if self.keep_aspect else "squash")
            if self.input_size is not None:
                config["input_size"] = (self.in_chans, *self.input_size)
        config["classifier"] = self.head_keys
        config.update({"license": record.license, "origin_url": record.origin, "paper_ids": record.paper})
        return {name: value for name, value in config.items() if value not in ("", (), None)}

    default_cfg = pretrained_cfg  # timm's older name, which its own functions read

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """List the feature maps of `forward_intermediates`, in timm's form; lifters have none.

        Each has `num_chs`, `reduction`, its stride, and `module`, the submodule it is the output
        of. They are found by a run without data at `input_size`.

        Examples:
            >>> import posezoo
            >>> [(m["num_chs"], m["reduction"]) for m in posezoo.create("simple_baseline_resnet18").feature_info]
            [(64, 2), (64, 4), (128, 8), (256, 16), (512, 32)]
        """
        if self.input_kind == "keypoints":
            return []
        example = self.example_input().to(next(self.parameters()))
        height = example.shape[-2]

        def run(image: Tensor) -> list[dict[str, Any]]:
            with record_maps(self, height, modules=map_modules(self), leave_out=self.head_keys) as maps:
                self.forward_features(image)
            return [
                {"num_chs": found.value.shape[1], "reduction": found.reduction, "module": found.module, "index": index}
                for index, found in enumerate(maps)
            ]

        return without_data(run, self, example)

    @overload
    def forward_intermediates(
        self, image: Tensor, indices: int | Sequence[int] | None = ..., *, intermediates_only: Literal[True]
    ) -> list[Tensor]: ...
    @overload
    def forward_intermediates(
        self, image: Tensor, indices: int | Sequence[int] | None = ..., *, intermediates_only: Literal[False] = ...
    ) -> tuple[Tensor, list[Tensor]]: ...
    def forward_intermediates(
        self, image: Tensor, indices: int | Sequence[int] | None = None, *, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the output of `forward_features` and maps of smaller strides, as timm's networks.

        Args:
            image: input of `forward`, `(B, 3, H, W)` or `(B, T, 3, H, W)`.
            indices: into `feature_info`, or the number of the last maps. Defaults to all.
            intermediates_only: return the list of feature maps alone.

        Returns:
            The features and a list of maps `(B, C, h, w)`; of clips `(B, T, C, h, w)`.

        Raises:
            ValueError: an index without a map, or what `forward` raises.

        Examples:
            >>> import posezoo
            >>> model = posezoo.create("simple_baseline_resnet18")
            >>> features, maps = model.forward_intermediates(torch.rand(1, 3, 64, 64), 2)
            >>> features.shape, [tuple(m.shape) for m in maps]
            (torch.Size([1, 256, 16, 16]), [(1, 256, 4, 4), (1, 512, 2, 2)])
        """
        with record_maps(self, image.shape[-2], modules=map_modules(self), leave_out=self.head_keys) as maps:
            features = self.forward_features(image)
        values = [maps[index].value for index in check_indices(indices, len(maps))]
        if self.input_kind == "clip":
            values = [value.unflatten(0, image.shape[:2]) for value in values]
        return values if intermediates_only else (features, values)

    def forward_head(self, features: Tensor) -> Any:
        """Return the output of the network for the output of `forward_features`.

        Raises:
            ValueError: a network whose head needs more than these features, as where later stages
                are given the outputs of earlier ones.
        """
        raise ValueError(
            f"forward_head: the output of {self.architecture or type(self).__name__} depends on more than "
            "forward_features(image); call model(image)"
        )

    def get_head(self) -> nn.ModuleList:
        """Return the submodules that depend on the number of keypoints, as for training them alone.

        Examples:
            >>> import posezoo
            >>> [type(layer).__name__ for layer in posezoo.create("hrnet_w32").get_head()]
            ['Conv2d']
        """
        return nn.ModuleList(self.get_submodule(name) for name in self.head_keys)

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
        sigma: float | None = None,
        method: str | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Encode the targets of every supervised stage, in the frame that `decode` reads.

        Args:
            keypoints: `(B, K, 2)` pixels of the input.
            visible: `(B, K)` bool or weights; None: all visible.
            stages: `model(image, all_stages=True)`.
            sigma: standard deviation of the Gaussians. Defaults to 2 cells, or 6 bins of SimCC.
            method: of `heatmaps.encode`. Defaults to "truncated" for UDP, "gaussian" for DARK, else
                "msra".

        Returns:
            For each stage target and weights: heatmaps `(B, C, h, w)` and `(B, C)`, where a
            background channel has weight 1; for a SimCC head `(B, K, columns + rows)` and `(B, K)`,
            for `losses.simcc_cross_entropy`; for an integral head the keypoints in fractions of the
            input, `(B, K, 2)` and `(B, K)`, to be compared with `model.expectation(stage)`.

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
        if self.head_kind == "simcc" and self.input_size is not None:
            options: dict[str, Any] = {} if sigma is None else {"sigma": sigma}
            x, y, weights = codecs.encode_simcc(keypoints, visible, size=self.input_size, split=self.split, **options)
            return [(torch.cat([x, y], dim=-1), weights)] * len(stages)
        if self.head_kind == "integral":
            return [codecs.encode_integral(keypoints, visible, size=self._extent(stage)) for stage in stages]
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
                    sigma=2.0 if sigma is None else sigma,
                    method=method or TARGETS.get(self.decoding, "msra"),
                )
                if self.background:
                    target = heatmaps.with_background(target)
                    weights = torch.cat([weights, torch.ones_like(weights[:, :1])], dim=1)
                encoded[key] = target, weights
            targets.append(encoded[key])
        return targets

    def expectation(self, stage: Tensor) -> Tensor:
        """Return the expected keypoints of an integral head, in fractions of the input.

        Args:
            stage: logits `(B, K, h, w)`.

        Returns:
            `(B, K, 2)` from -0.5 to 0.5, as the targets of `encode_targets`.

        Examples:
            >>> import posezoo
            >>> from posezoo.losses import keypoint_smooth_l1
            >>> model, keypoints = posezoo.create("hrnet_w18", head="integral"), 64 * torch.rand(2, 17, 2)
            >>> output = model(torch.rand(2, 3, 64, 64))
            >>> ((target, weights),) = model.encode_targets(keypoints, None, [output])
            >>> keypoint_smooth_l1(model.expectation(output), target, weights).backward()
        """
        keypoints, _ = decode_output(self, stage)
        return codecs.encode_integral(keypoints, size=self._extent(stage))[0]

    def _extent(self, stage: Tensor) -> tuple[int, int]:
        """Return (H, W) of the input of heatmaps."""
        stride, _ = self.heatmap_frame()
        return round(stage.shape[-2] * stride), round(stage.shape[-1] * stride)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable gradient checkpointing: the backward pass recomputes activations.

        A timm backbone, `backbone`, is included.
        """
        self.grad_checkpointing = enable
        backbone: Any = getattr(self, "backbone", None)
        if backbone is not None:
            backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Return parameters without weight decay in timm's optimisers, beside biases and norms."""
        return set()

    def set_keypoints(self, num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None) -> None:
        """Set number and skeleton of the head's keypoints; for the constructor and `reset_head`."""
        self.skeleton = keypoint_skeleton(num_keypoints, skeleton, self.default_skeleton)  # first: it may refuse them
        self.num_keypoints = num_keypoints
        named = skeleton if skeleton is None or isinstance(skeleton, str) else get_skeleton(skeleton).to_json()
        self.kwargs = {**self.kwargs, "num_keypoints": num_keypoints, "skeleton": named}

    @classmethod
    def from_pretrained(cls: type[Model], name_or_path: str | Path, **kwargs: Any) -> Model:
        """Load a model of this class; see `posezoo.from_pretrained`.

        Raises:
            ValueError: a model of another class, or what `posezoo.from_pretrained` raises.

        Examples:
            >>> from posezoo.models.martinez import Martinez
            >>> Martinez.from_pretrained("martinez").weights.tag
            'cmu'
        """
        registry = importlib.import_module("posezoo.registry")  # which imports this file
        model = registry.from_pretrained(name_or_path, **kwargs)
        if not isinstance(model, cls):
            raise ValueError(
                f"{cls.__name__}.from_pretrained: {name_or_path} is a {type(model).__name__}; use its class, or "
                "posezoo.from_pretrained, which loads any"
            )
        return model

    def save_pretrained(self, directory: str | Path, **kwargs: Any) -> Path:
        """Write weights, config and model card; see `posezoo.save_pretrained`."""
        return save_pretrained(self, directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Publish to the Hugging Face Hub; see `posezoo.push_to_hub`."""
        return push_to_hub(self, repo_id, **kwargs)


def keypoint_skeleton(
    num_keypoints: int, skeleton: str | Skeleton | Sequence[str] | None, default: str = "coco17"
) -> Skeleton | None:
    """Return the skeleton of a head; by default `default` if `num_keypoints` fits, else None."""
    if type(num_keypoints) is not int or not 0 <= num_keypoints <= MOST_KEYPOINTS:
        raise ValueError(
            f"num_keypoints: expected a whole number from 0 (no head) to {MOST_KEYPOINTS:,}, got {num_keypoints!r}"
        )
    if skeleton is None:
        return get_skeleton(default) if num_keypoints == len(get_skeleton(default)) else None
    named = get_skeleton(skeleton)
    if num_keypoints not in (0, len(named)):
        raise ValueError(
            f"skeleton {named.name!r} has {len(named)} keypoints, but num_keypoints is {num_keypoints}; "
            f"pass num_keypoints={len(named)}, or the names of your keypoints as skeleton=[...]"
        )
    return named


def check_image(image: Tensor, multiple: int = 1, channels: int = 3) -> None:
    """Check an image batch.

    Raises:
        ValueError: not a float tensor `(B, channels, H, W)`, or sides not multiples of `multiple`.
    """
    if not isinstance(image, Tensor):
        raise ValueError(f"image: expected a tensor (B, 3, H, W), got {type(image).__name__}; see posezoo.predict")
    if image.ndim != 4 or image.shape[1] != channels:
        hint = ", RGB," if channels == 3 else " of in_chans channels,"
        raise ValueError(
            f"image: expected (B, {channels}, H, W){hint} got shape {tuple(image.shape)}; add the batch axis with "
            "image[None], move channels first with image.movedim(-1, -3), repeat grey with image.repeat(1, 3, 1, 1)"
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


def check_clip(clip: Tensor, size: tuple[int, int], channels: int = 3) -> None:
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
    if clip.ndim != 5 or shape[2] != channels:
        raise ValueError(
            f"clip: expected (B, T, {channels}, H, W), RGB, got shape {shape}; add the batch axis to one clip with "
            "clip[None], the time axis to single frames with image[:, None], move channels first with "
            "clip.movedim(-1, -3), repeat grey with clip.repeat(1, 1, 3, 1, 1)"
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
    """Return number and skeleton of a lifter's 2D keypoints; None if only the number is given."""
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
    # on a GPU the check would wait for it; posezoo.lift checks
    if keypoints.is_cpu and not torch.compiler.is_compiling() and not keypoints.isfinite().all():
        raise ValueError("keypoints: some are not finite, which is how gaps are marked; posezoo.lift fills gaps")


def predict_output(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """Decode `model(image)`; `flip` averages with the mirror image: heatmaps, else keypoints."""
    predict = predict_heatmaps if model.head_kind == "heatmaps" else predict_keypoints
    return predict(model, image, flip=flip)


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
    if not model.num_keypoints:
        raise ValueError("this network has no head and no keypoints; model.reset_head(num_keypoints) makes one")
    flip_index = require_flip_index(model) if flip else ()
    output = run_prepared(model, image)
    if flip:
        output = heatmaps.flip_average(output, run_prepared(model, image.flip(-1)), flip_index, shift=model.flip_shift)
    return model.decode(output)


def predict_keypoints(model: Any, image: Tensor, *, flip: bool) -> tuple[Tensor, Tensor]:
    """Decode regressed coordinates; `flip` averages with the keypoints of the mirrored image."""
    flip_index = require_flip_index(model) if flip else ()
    keypoints, scores = model.decode(run_prepared(model, image))
    if flip:
        mirrored, mirrored_scores = model.decode(run_prepared(model, image.flip(-1)))
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
