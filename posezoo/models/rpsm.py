"""Recurrent 3D Pose Sequence Machines (Lin, Lin, Liang, Wang, Cheng; CVPR 2017; arXiv 1707.09695).

15 convolutions extract features of every frame of a clip. Then each of three stages predicts the 3D
pose of every frame from these features, the 2D features and 3D poses of the stage before, and the
state of an LSTM along time. Every stage is supervised.

    In   clip    (B, T, 3, H, W)   RGB in [0, 1], square crops around one person, (368, 368) in the paper; any T
    Out  pose3d  (B, T, K, 3)      mm in the camera's frame, relative to the pelvis

`model(clip)` and `predict` take a whole clip, `stream` frame by frame; the poses are equal.
Training compares millimetres with `model.codec.target(pose3d)` in units of `model.codec.scale`;
`posezoo.losses.pose_sequence_mse` is Equation 2. Two readings are registered:

    rpsm         the paper's: Equation 1 has one adaption and one recurrent module for all stages, and zeros as the
                 inputs of stage 1 from a stage before; only the last two 2D convolutions are each
                 stage's own
    rpsm_torch7  the authors' released code: all three modules are each stage's own, stage 1 has fewer inputs instead
                 of zeros, and the adaption module is another one

Departures
    - The text counts four poolings; the paper's Table 1, the stated 46 x 46 features and the code
      have three.
    - Adaption: the paper has two 5x5 convolutions of stride 2, padding unsaid (here 2), and one
      pooling; in the code the second is 3x3 of stride 1. `adapt="paper"` or `"code"`. Poolings
      round up, so that small inputs work.
    - The paper initialises with Xavier's method; in the code that call reaches no layer, and
      Torch7's own is used. `init="xavier"` or `"torch7"`. Xavier's bound treats the four gates of
      the LSTM as one matrix.
    - The LSTM is Torch7's FastLSTM: no peepholes, one bias vector, gates in the order input,
      candidate, forget, output. Its matrices for image features, previous pose and own state are
      separate here, so that other keypoints change only the second and the last layer.
    - The code rescales every bone of the targets to its mean length, which the paper does not
      mention: so does `codec.target`, unless `rescale_bones=False`.
    - The authors' code resets the LSTM states every 5 frames; the paper speaks of the whole
      sequence. The latter is the default, `predict(clip, clip_length=5)` and
      `stream(clip_length=5)` are the former.
    - seq_1 of Table 4, a fully connected layer in place of the LSTM, has no code and no stated
      activation: ReLU.
    - `backbone=` replaces the trunk by a timm backbone and a neck: the feature maps of strides 8,
      16 and 32, each brought to `width` channels by a 1x1 convolution, are resized to the cells of
      the first one, added, and filtered by a 3x3 convolution. `normalize` has the backbone's mean
      and standard deviation.
    - `heatmaps=` replaces trunk and neck by a whole network of Simple Baselines for 2D keypoints.
      The features of the stages are its heatmaps, averaged over 2x2 cells and scaled to unit size:
      photographs and renders have them in common. The default weights are of this kind.
    - HumanEva's 14 keypoints have no pelvis: their poses are relative to their mean. So are those
      of unnamed ones.

The authors' weights are two Torch7 files without licence, to be downloaded by hand:
`posezoo.load_checkpoint` reads both into one `rpsm_torch7`. It is untested on the originals, which
were not at hand. The trunk is that of `cpm_vgg_6s`: `load_trunk` copies it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.backbones import (
    PyramidNeck,
    backbone_groups,
    deconvolutions,
    last_map,
    load_backbone,
    misfits,
    timm_backbone,
)
from posezoo.contract import PoseModel, check_clip, decode_pose3d, require_flip_index, root_of
from posezoo.layers import Normalize, PoseCodec, PoseTrunk, check_choices, checkpoint_blocks
from posezoo.recurrent_pose import (
    ADAPTIONS,
    INITS,
    TEMPORAL,
    FeatureAdaption,
    RecurrentPose,
    SpecialisedConvs,
    State,
    initialize,
)
from posezoo.registry import register_model

STRIDE = 8  # of the trunk
REDUCTIONS = (8, 16, 32)  # strides of a timm backbone's feature maps that the neck merges
HEATMAPS_STRIDE, HEATMAPS_MULTIPLE = 4, 32  # of Simple Baselines' heatmaps; of its input's sides
HEATMAPS_SCALE = 20.0  # Gaussians have a root mean square of about 0.05 over 24 x 24 cells; the stages expect 1
GREY = 0.5  # subtracted from images (the authors' code)
FRAMES_TOGETHER = 8  # in the trunk, by `predict`


class RPSM(PoseModel):
    """3D poses of a clip, refined from stage to stage (Figures 2 and 3).

    Args:
        num_keypoints: 3D keypoints. 0 removes all stages, and `forward` returns the trunk's
            features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17`
            when there are 17.
        size: (H, W) of frames, multiples of 8, fixed by the fully connected layer of the adaption
            module.
        num_stages: number of stages (Table 4: 1, 2 and 3).
        clip_length: frames of a training clip and of `example_input` (Table 4: 1, 5, 10).
        temporal: "lstm", or "fc" for independent frames (seq_1 of Table 4).
        share_stages: one adaption and one recurrent module for all stages, and zeros for stage 1
            (Equation 1). False: each stage has its own, and stage 1 fewer inputs (the code).
        share_specialised: share the last 2D convolutions too ("sharing" of Table 4).
        adapt: "paper" or "code", see the top of the module.
        rescale_bones: whether training targets have bones of mean length.
        init: "xavier" or "torch7".
        width: channels of the stages' 2D features, and of the trunk, whose other layers are
            proportional to it.
        hidden: units of the adaption module and of the LSTM.
        backbone: any timm network with feature maps of strides 8, 16 and 32, by name, in place of
            the trunk.
        pretrained_backbone: start the timm backbone from ImageNet's weights, downloaded.
        heatmaps: keypoints of the network of Simple Baselines on `backbone` whose heatmaps are the
            features; `load_trunk` copies it. 0: a neck, and features of `width` channels.
        deconv_width: channels of that network's transposed convolutions.

    Examples:
        >>> model = RPSM(size=(64, 64), width=16, hidden=32)
        >>> clip = torch.rand(1, 5, 3, 64, 64)
        >>> model(clip).shape, len(model(clip, all_stages=True))
        (torch.Size([1, 5, 17, 3]), 3)
        >>> stream = model.stream()
        >>> pose3d = torch.stack([stream(frame) for frame in clip.unbind(dim=1)], dim=1)
        >>> torch.allclose(pose3d, model.predict(clip)[0], atol=1e-2)  # mm
        True
    """

    input_kind = "clip"
    default_skeleton = "h36m17"
    input_size: tuple[int, int]

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        size: Sequence[int] = (368, 368),
        num_stages: int = 3,
        clip_length: int = 5,
        temporal: str = "lstm",
        share_stages: bool = True,
        share_specialised: bool = False,
        adapt: str = "paper",
        rescale_bones: bool = True,
        init: str = "xavier",
        width: int = 128,
        hidden: int = 1024,
        backbone: str | None = None,
        pretrained_backbone: bool = False,
        heatmaps: int = 0,
        deconv_width: int = 128,
    ) -> None:
        super().__init__()
        check_choices(temporal=(temporal, TEMPORAL), adapt=(adapt, ADAPTIONS), init=(init, INITS))
        if len(size) != 2 or any(side < STRIDE or side % STRIDE for side in size):
            raise ValueError(f"size: expected (H, W), multiples of {STRIDE}, such as (368, 368), got {tuple(size)}")
        for name, number in (("num_stages", num_stages), ("clip_length", clip_length), ("hidden", hidden)):
            if number < 1:
                raise ValueError(f"{name}: expected 1 or more, got {number}")
        if width < 2 or width % 2:
            raise ValueError(f"width: expected an even number, got {width}")
        self.input_size, self.num_stages, self.receptive_field = (size[0], size[1]), num_stages, clip_length
        self.share_stages, self.share_specialised = share_stages, share_specialised
        self.temporal, self.adapt, self.init, self.rescale_bones = temporal, adapt, init, rescale_bones
        self.num_features, self.width, self.hidden, self.heatmaps = heatmaps or width, width, hidden, heatmaps
        if heatmaps and (backbone is None or any(side % HEATMAPS_MULTIPLE for side in size)):
            raise ValueError(
                f"heatmaps: expected a backbone such as 'tf_efficientnet_lite2', and a size of multiples of "
                f"{HEATMAPS_MULTIPLE}, got backbone={backbone!r} and size={tuple(size)}"
            )

        self.backbone: Any = None
        if backbone is None:
            self.normalize = Normalize([GREY] * 3, [1.0] * 3)
            self.trunk = PoseTrunk(width)
            initialize(self.trunk, init)
        elif heatmaps:  # the modules are named as in Simple Baselines, so that files of weights can share them
            self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
            self.normalize = Normalize(mean, std)
            self.deconv_layers = deconvolutions(self.backbone.feature_info.channels()[-1], deconv_width)
            self.final_layer = nn.Conv2d(deconv_width, heatmaps, 1)
        else:
            self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone, reductions=REDUCTIONS)
            self.normalize = Normalize(mean, std)
            self.neck = PyramidNeck(self.backbone.feature_info.channels(), width)
            initialize(self.neck, init)
        self.specialised, self.adaption, self.recurrent = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.codec: PoseCodec
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self, clip: Tensor, all_stages: bool = False, states: Sequence[State | None] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the last stage's poses `(B, T, K, 3)` in mm from the root, or every stage's.

        The root is predicted too, within a micrometre of 0; `decode` sets it to 0.

        Args:
            clip: `(B, T, 3, H, W)` in [0, 1].
            all_stages: return the poses of every stage.
            states: LSTM state of each stage after the frames before the clip. Defaults to zeros.

        Returns:
            poses `(B, T, K, 3)` in millimetres, in the camera's frame (x right, y down, z forward),
            relative to the root; with `all_stages` one such tensor for each stage.
        """
        features = self.forward_features(clip)
        if not self.num_keypoints:
            return (features,) if all_stages else features
        return self.forward_head(features, all_stages, states)

    def forward_features(self, clip: Tensor) -> Tensor:
        """Return the features that all stages share: `(B, T, num_features, H/8, W/8)`."""
        check_clip(clip, self.input_size, self.in_chans)
        frames = self.normalize(clip).flatten(0, 1)
        if self.heatmaps:
            maps = self.final_layer(self.deconv_layers(last_map(self.backbone, frames)))
            features = HEATMAPS_SCALE * F.avg_pool2d(maps, STRIDE // HEATMAPS_STRIDE)
        elif self.backbone is not None:
            features = self.neck(self.backbone(frames))
        else:
            saving = self.grad_checkpointing and self.training
            features = checkpoint_blocks(self.trunk, frames) if saving else self.trunk(frames)
        return features.unflatten(0, clip.shape[:2])

    def forward_head(
        self, features: Tensor, all_stages: bool = False, states: Sequence[State | None] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Run `forward` from the features on; those of a frozen trunk can be cached in training."""
        poses, _ = self.run_stages(features, states)
        return tuple(poses) if all_stages else poses[-1]

    def run_stages(
        self, features: Tensor, states: Sequence[State | None] | None = None
    ) -> tuple[list[Tensor], list[State | None]]:
        """Return the poses of every stage, and the LSTM states after the last frame."""
        batch, frames = features.shape[:2]
        shared = features.flatten(0, 1)  # frames are one batch, except for the LSTM
        f2d = shared.new_zeros(shared.shape[0], self.width, *shared.shape[2:])  # f_2D and S of stage 0 (section 3.1)
        pose = shared.new_zeros(batch, frames, 3 * self.num_keypoints)
        poses, after = [], []
        before = states or [None] * self.num_stages
        for (specialised, adaption, recurrent), state in zip(self.stages(), before, strict=True):
            f2d = specialised(shared, f2d)  # (B T, 128, 46, 46)
            f3d = adaption(f2d).unflatten(0, (batch, frames))  # (B, T, 1024)
            pose, state = recurrent(f3d, pose, state)  # (B, T, 51) in the codec's units
            poses.append(self.codec.decode(pose))
            after.append(state)
        return poses, after

    def stages(self) -> list[tuple[nn.Module, ...]]:
        """Return the three modules of each stage; shared modules are repeated."""
        modules = (self.specialised, self.adaption, self.recurrent)
        return [tuple(part[k % len(part)] for part in modules) for k in range(self.num_stages)]

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, clip: Tensor, *, flip: bool = False, clip_length: int | None = None) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, scores `(B, T, K)` of a clip of any length, in short pieces.

        Args:
            clip: `(B, T, 3, H, W)` in [0, 1].
            flip: average with the mirror image of the clip, which the paper does not.
            clip_length: reset the LSTM state every `clip_length` frames (5 in the authors'
                evaluation). Defaults to no reset.
        """
        check_clip(clip, self.input_size, self.in_chans)
        flip_index = require_flip_index(self) if flip else ()
        stream, mirrored = self.stream(clip_length=clip_length), self.stream(clip_length=clip_length)
        poses = []
        for part in clip.split(max(1, FRAMES_TOGETHER // max(1, len(clip))), dim=1):
            pose = stream.clip(part)
            if flip:
                turned = mirrored.clip(part.flip(-1))[..., list(flip_index), :]
                pose = (pose + turned * turned.new_tensor([-1.0, 1.0, 1.0])) / 2
            poses.append(pose)
        return self.decode(torch.cat(poses, dim=1))

    def stream(self, *, clip_length: int | None = None) -> "Stream":
        """Return a function from next frame `(B, 3, H, W)` to poses `(B, K, 3)`; see `Stream`."""
        return Stream(self, clip_length=clip_length)

    def apply_input_settings(self, settings: Mapping[str, Any]) -> None:
        """Set what the constructor's `size` leaves free."""
        super().apply_input_settings({**settings, "input_size": None})

    def load_trunk(self, source: nn.Module | Mapping[str, Tensor]) -> None:
        """Copy a trunk trained for 2D poses, with its image normalisation.

        With a timm backbone, copy that, and the neck if the source is another RPSM with a neck.
        With `heatmaps`, copy the whole network that makes them.

        Args:
            source: with a timm backbone a network with the same one, such as
                `simple_baseline_lite`. Otherwise a `cpm_vgg_6s`, another RPSM or a `PoseTrunk`, or
                its state dict. Read published files of Convolutional Pose Machines with
                `posezoo.load_checkpoint(None, path)`, which folds BGR into RGB.

        Raises:
            ValueError: another trunk, or none; the model is unchanged.
        """
        state = source.state_dict() if isinstance(source, nn.Module) else source
        if self.backbone is not None:
            if self.heatmaps:
                self.load_heatmap_layers(state)
            load_backbone(self.backbone, state)
            neck = {key.removeprefix("neck."): value for key, value in state.items() if key.startswith("neck.")}
            if not self.heatmaps and neck.keys() == self.neck.state_dict().keys():
                self.neck.load_state_dict(neck)
            self.copy_normalization(state)
            return
        prefix = "trunk." if any(key.startswith("trunk.") for key in state) else ""
        theirs = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        wrong = misfits(self.trunk.state_dict(), theirs)
        if wrong:
            raise ValueError(
                f"source: expected the trunk of a cpm_vgg_6s or an RPSM of width {self.num_features}; of its tensors "
                f"and the model's {len(wrong)} do not fit each other, the first is {wrong[0]}"
            )
        self.trunk.load_state_dict(theirs)
        self.copy_normalization(state)

    def load_heatmap_layers(self, state: Mapping[str, Tensor]) -> None:
        prefixes = ("deconv_layers.", "final_layer.")
        ours, theirs = (
            {key: value for key, value in tensors.items() if key.startswith(prefixes)}
            for tensors in (self.state_dict(), state)
        )
        wrong = misfits(ours, theirs)
        if wrong:
            raise ValueError(
                f"source: expected a network of Simple Baselines with {self.heatmaps} keypoints and the same "
                f"deconvolutions; {len(wrong)} tensors do not fit, the first is {wrong[0]}"
            )
        for key, value in theirs.items():
            ours[key].copy_(value)

    def copy_normalization(self, state: Mapping[str, Tensor]) -> None:
        for name in ("mean", "std"):
            if f"normalize.{name}" in state:
                self.normalize.get_buffer(name).copy_(state[f"normalize.{name}"])

    def freeze_trunk(self, freeze: bool = True) -> None:
        """Exclude the pre-trained trunk, or all in its place, from training, as the authors.

        Batch norms keep updating their statistics in train mode; put `trunk_modules()` into eval
        mode.
        """
        for part in self.trunk_modules():
            part.requires_grad_(not freeze)

    def trunk_modules(self) -> list[nn.Module]:
        """Return the modules in front of the stages."""
        names = ("trunk", "backbone", "neck", "deconv_layers", "final_layer")
        return [part for name, part in self.named_children() if name in names]

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the layers of poses and the codec for other keypoints; 0 removes all stages."""
        self.set_keypoints(num_keypoints, skeleton)
        self.root = root_of(self.skeleton)
        bones = self.skeleton.bones if self.skeleton and num_keypoints and self.rescale_bones else ()
        self.codec = PoseCodec(num_keypoints, root=self.root, bones=bones)
        if not num_keypoints:
            self.specialised, self.adaption, self.recurrent = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            self.head_keys = ("specialised", "adaption", "recurrent", "codec")
            return
        if self.recurrent:
            for module in self.recurrent:
                cast(RecurrentPose, module).reset_head(num_keypoints, self.init)
        else:
            self.build_stages(num_keypoints)
        layers = [f"recurrent.{k}.{name}" for k in range(len(self.recurrent)) for name in ("previous", "pose")]
        self.head_keys = (*layers, "codec")

    def build_stages(self, num_keypoints: int) -> None:
        """Build each stage's modules, or shared ones; with shared modules stage 1 takes zeros."""
        width, hidden, cells = self.width, self.hidden, [side // STRIDE for side in self.input_size]
        own = range(1 if self.share_stages else self.num_stages)
        zeros = self.share_stages
        options: dict[str, Any] = {"temporal": self.temporal, "init": self.init}
        self.recurrent.extend(RecurrentPose(num_keypoints, hidden, refines=k > 0 or zeros, **options) for k in own)
        self.adaption.extend(FeatureAdaption(cells, width, hidden, design=self.adapt) for _ in own)
        own = range(1 if self.share_specialised else self.num_stages)
        zeros = self.share_stages or self.share_specialised
        self.specialised.extend(SpecialisedConvs(width, refines=k > 0 or zeros, inputs=self.num_features) for k in own)
        initialize(self.adaption, self.init)
        initialize(self.specialised, self.init)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: the trunk's layers, then the rest."""
        if self.backbone is not None:
            return backbone_groups(coarse)
        return {"trunk": r"^trunk\.conv(\d)_" + ("" if coarse else r"(\d)")}


class Stream:
    """Run RPSM on a video frame by frame, in constant time and memory, with poses as of `predict`.

    The LSTM state is reset every `clip_length` frames (5 in the authors' evaluation). Defaults to
    no reset.

    Examples:
        >>> stream = RPSM(size=(64, 64), width=16, hidden=32).stream()
        >>> pose3d = stream(torch.rand(1, 3, 64, 64))                # (B, K, 3) mm from the root
        >>> stream.seen, pose3d.shape
        (1, torch.Size([1, 17, 3]))
        >>> stream.reset()                                           # another video
    """

    def __init__(self, model: RPSM, *, clip_length: int | None = None) -> None:
        if not model.num_keypoints:
            raise ValueError("this model has no head and returns features; model.reset_head(17) gives it one")
        if clip_length is not None and clip_length < 1:
            raise ValueError(f"clip_length: expected 1 or more, or None for no reset, got {clip_length}")
        self.model, self.clip_length = model, clip_length
        self.reset()

    def reset(self) -> None:
        """Reset the LSTM states, for the next video."""
        self.seen = 0
        self.states: list[State | None] | None = None

    def __call__(self, frame: Tensor) -> Tensor:
        """Return poses `(B, K, 3)` in mm from the root, of B videos' next frame `(B, 3, H, W)`."""
        if not isinstance(frame, Tensor) or frame.ndim != 4:
            given = tuple(frame.shape) if isinstance(frame, Tensor) else type(frame).__name__
            raise ValueError(f"frame: expected (B, 3, H, W), got {given}; add the batch axis with frame[None]")
        return self.clip(frame[:, None])[:, 0]

    @torch.no_grad()
    def clip(self, clip: Tensor) -> Tensor:
        """Return poses `(B, T, K, 3)` of the next frames `(B, T, 3, H, W)`."""
        check_clip(clip, self.model.input_size, self.model.in_chans)
        known = next((len(state[0]) for state in self.states or () if state is not None), len(clip))
        if known != len(clip):
            raise ValueError(f"this stream began with {known} videos, got {len(clip)}; stream.reset() starts anew")
        poses = []
        while clip.shape[1]:
            if self.clip_length and self.seen % self.clip_length == 0:
                self.states = None
            count = self.clip_length - self.seen % self.clip_length if self.clip_length else clip.shape[1]
            now, clip = clip[:, :count], clip[:, count:]
            stages, self.states = self.model.run_stages(self.model.forward_features(now), self.states)
            poses.append(self.model.decode(stages[-1])[0])
            self.seen += now.shape[1]
        return torch.cat(poses, dim=1)


@register_model
def rpsm(**kwargs: Any) -> RPSM:
    """The paper's network: 3 stages, adaption and recurrence shared, 24.6 million parameters."""
    return RPSM(**kwargs)


@register_model
def rpsm_torch7(**kwargs: Any) -> RPSM:
    """The authors' network as released: 3 stages, nothing shared, 94.3 million parameters."""
    return RPSM(**{"share_stages": False, "adapt": "code", "init": "torch7", **kwargs})
