"""Recurrent 3D Pose Sequence Machines (Lin, Lin, Liang, Wang, Cheng; CVPR 2017; arXiv 1707.09695).

Every frame of a clip goes through the same 15 convolutions. Then three stages, one after the other, each look at those
features, at the 2D features and the 3D poses of the stage before, and, with an LSTM, at the frames before, and answer
with the 3D pose of every frame again. Every stage is supervised.

    In   clip    (B, T, 3, H, W)   RGB in [0, 1], square crops around one person, (368, 368) in the paper; T as it comes
    Out  pose3d  (B, T, K, 3)      mm in the camera's frame, relative to the pelvis

`model(clip)` and `predict` answer a whole clip at once, `stream` frame by frame as a video comes in; they are the same
numbers. Training compares millimetres with `model.codec.target(pose3d)` in units of `model.codec.scale`, the loss of
Equation 2 is `posezoo.losses.pose_sequence_mse`. Two readings are registered:

    rpsm         the paper's: Equation 1 has one adaption and one recurrent module for all stages, and zeros where
                 stage 1 has no stage before it; only the last two 2D convolutions are each stage's own
    rpsm_torch7  the authors' released code: all three modules are each stage's own, stage 1 has fewer inputs in place
                 of zeros, and the adaption module is another one

Departures
    - The text counts four poolings, the paper's Table 1, the stated 46 x 46 features and the code three: three.
    - Adaption: the paper has two 5x5 convolutions of stride 2, padding unsaid (here 2), and one pooling; in the code
      the second is 3x3 of stride 1. `adapt="paper"` or `"code"`. Poolings round up, so that small inputs work.
    - The paper initialises with Xavier's method; in the code that call reaches no layer, and Torch7's own is what ran.
      `init="xavier"` or `"torch7"`. Xavier's bound takes the four gates of the LSTM for one matrix.
    - The LSTM is Torch7's FastLSTM: no peepholes, one bias vector, gates in the order input, candidate, forget, output.
      What it does with image features, with the previous pose and with its own state are three matrices here, so
      that other keypoints change only the second and the last layer.
    - The code rescales every bone of the targets to its mean length, which the paper does not say: it is done, and
      `rescale_bones=False` leaves it out. Targets lie between 0 and 1 by the training data's minima and maxima.
    - The authors' code forgets the LSTMs' states every 5 frames; the paper speaks of the whole sequence. The latter is
      the default, `predict(clip, clip_length=5)` and `stream(clip_length=5)` are the former.
    - seq_1 of Table 4, a fully connected layer in place of the LSTM, has no code and no stated activation: ReLU.
    - HumanEva's 14 keypoints have no pelvis: their poses are relative to their mean. So are those of unnamed ones.

The authors' weights are two Torch7 files without licence, to be downloaded by hand: `posezoo.load_checkpoint` reads the
stages' and the trunk's into one `rpsm_torch7`. Nothing that runs today can be compared with, and no file was at hand.
The trunk is that of `cpm_vgg_6s`: `load_trunk` takes it over.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.layers import Normalize, PoseModel, cpm_trunk, decode_pose3d, require_flip_index, root_of
from posezoo.registry import register_model

State = tuple[Tensor, Tensor]  # hidden and cell of an LSTM, (B, hidden) each

STRIDE = 8  # of the trunk
GREY = 0.5  # is taken off images (the authors' code)
GATES = 4  # input, candidate, forget, output: FastLSTM's order
ADAPTIONS = {"paper": (5, 2), "code": (3, 1)}  # kernel and stride of the second convolution (section 3.3)
TEMPORAL = ("lstm", "fc")
INITS = ("xavier", "torch7")
HEADS = ("paper", "cpm")  # for pre-training the trunk
REACH = 1000.0  # mm; a body's extent around its root, until `PoseCodec.fit` knows better
STILL = 1e-4  # mm; range of a coordinate that never varies, the root's (the authors' code)
FRAMES_AT_ONCE = 8  # that `predict` holds in the trunk


class RPSM(PoseModel):
    """A clip to the 3D pose of each frame, refined from stage to stage (Figures 2 and 3).

    Args:
        num_keypoints: 3D keypoints; 0 leaves all stages out, `forward` then returns the trunk's features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17` when there are 17.
        size: (H, W) of frames, multiples of 8; the fully connected layer of the adaption module fixes it.
        num_stages: Table 4 has 1, 2 and 3.
        clip_length: frames of a clip in training, and of `example_input` (Table 4: 1, 5, 10); any number will do.
        temporal: "lstm", or "fc": every frame by itself (seq_1 of Table 4).
        share_stages: one adaption and one recurrent module for all stages, and zeros for stage 1 (Equation 1); False:
            each stage has its own, and stage 1 fewer inputs (the code).
        share_specialised: one pair of last 2D convolutions for all stages too ("sharing" of Table 4).
        adapt: "paper" or "code", see the top of the module.
        rescale_bones: whether training targets have bones of mean length.
        init: "xavier" or "torch7".
        width: channels of the 2D features; the trunk's other layers keep their proportion to it.
        hidden: units of the adaption module and of the LSTM.

    Example:
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
        self.size, self.num_stages, self.clip_length = (size[0], size[1]), num_stages, clip_length
        self.share_stages, self.share_specialised = share_stages, share_specialised
        self.temporal, self.adapt, self.init, self.rescale_bones = temporal, adapt, init, rescale_bones
        self.num_features, self.hidden = width, hidden
        self.grad_checkpointing = False

        self.normalize = Normalize([GREY] * 3, [1.0] * 3)
        self.trunk = PoseTrunk(width)
        initialize(self.trunk, init)
        self.specialised, self.adaption, self.recurrent = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.codec: PoseCodec
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self, clip: Tensor, *, all_stages: bool = False, states: list[State | None] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Poses `(B, T, K, 3)` of the last stage in mm from the root; of every stage with `all_stages`.

        The root is predicted like the rest, by numbers that mean less than a micrometre; `decode` puts it to 0.

        Args:
            clip: `(B, T, 3, H, W)` in [0, 1].
            all_stages: return the poses of every stage.
            states: the LSTMs' after the frames before, one per stage; the list is updated. None: there are none before.
        """
        features = self.forward_features(clip)
        if not self.num_keypoints:
            return (features,) if all_stages else features
        return self.forward_head(features, all_stages=all_stages, states=states)

    def forward_features(self, clip: Tensor) -> Tensor:
        """What all stages see of each frame: `(B, T, width, H/8, W/8)`."""
        check_clip(clip, self.size)
        frames = self.normalize(clip).flatten(0, 1)
        features = self.trunk(frames, save_memory=self.grad_checkpointing and self.training)
        return features.unflatten(0, clip.shape[:2])

    def forward_head(
        self, features: Tensor, *, all_stages: bool = False, states: list[State | None] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """`forward` from the features on: a frozen trunk's can be kept, and then the stages alone run in training."""
        batch, frames = features.shape[:2]
        states = [None] * self.num_stages if states is None else states

        shared = features.flatten(0, 1)  # frames are one batch, but for the LSTM
        f2d = torch.zeros_like(shared)  # f_2D and S of stage 0 (section 3.1)
        pose = shared.new_zeros(batch, frames, 3 * self.num_keypoints)
        poses = []
        for k, (specialised, adaption, recurrent) in enumerate(self.stages()):
            f2d = specialised(shared, f2d)  # (B T, 128, 46, 46)
            f3d = adaption(f2d).unflatten(0, (batch, frames))  # (B, T, 1024)
            pose, states[k] = recurrent(f3d, pose, states[k])  # (B, T, 51) in the codec's units
            poses.append(self.codec.decode(pose))
        return tuple(poses) if all_stages else poses[-1]

    def stages(self) -> list[tuple[nn.Module, ...]]:
        """The three modules of each stage; those that stages share come again."""
        modules = (self.specialised, self.adaption, self.recurrent)
        return [tuple(part[k % len(part)] for part in modules) for k in range(self.num_stages)]

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, clip: Tensor, *, flip: bool = False, clip_length: int | None = None) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm and scores `(B, T, K)` of a clip of any length, a few frames at a time.

        Args:
            clip: `(B, T, 3, H, W)` in [0, 1].
            flip: average with the mirror image of the clip, which the paper does not.
            clip_length: forget all frames before after each so many; 5 is the authors' evaluation. None: never.
        """
        check_clip(clip, self.size)
        flip_index = require_flip_index(self) if flip else ()
        stream, mirrored = self.stream(clip_length=clip_length), self.stream(clip_length=clip_length)
        poses = []
        for part in clip.split(max(1, FRAMES_AT_ONCE // max(1, len(clip))), dim=1):
            pose = stream.clip(part)
            if flip:
                turned = mirrored.clip(part.flip(-1))[..., list(flip_index), :]
                pose = (pose + turned * turned.new_tensor([-1.0, 1.0, 1.0])) / 2
            poses.append(pose)
        return self.decode(torch.cat(poses, dim=1))

    def stream(self, *, clip_length: int | None = None) -> "Stream":
        """A function from one frame `(B, 3, H, W)` after the other to its poses `(B, K, 3)`; see `Stream`."""
        return Stream(self, clip_length=clip_length)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random clip `(batch, T, 3, H, W)` of the length and size that the model is for."""
        return torch.rand(batch, self.clip_length, 3, *self.size)

    def load_trunk(self, source: nn.Module | Mapping[str, Tensor]) -> None:
        """Take over a trunk trained for 2D poses, with the normalisation of images that it knows.

        Args:
            source: a `cpm_vgg_6s`, another RPSM or a `PoseTrunk`, or the state dict of one. Published files of
                Convolutional Pose Machines become one by `posezoo.load_checkpoint(None, path)`, which also turns their
                BGR round.

        Raises:
            ValueError: it has another trunk or none; the model is unchanged.
        """
        state = source.state_dict() if isinstance(source, nn.Module) else source
        prefix = "trunk." if any(key.startswith("trunk.") for key in state) else ""
        theirs = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        ours = self.trunk.state_dict()
        alike = {key for key in ours if key in theirs and ours[key].shape == theirs[key].shape}
        wrong = [key for key in {**ours, **theirs} if key not in alike]
        if wrong:
            raise ValueError(
                f"source: expected the trunk of a cpm_vgg_6s or an RPSM of width {self.num_features}; of its tensors "
                f"and the model's {len(wrong)} do not fit each other, the first is {wrong[0]}"
            )
        self.trunk.load_state_dict(theirs)
        for name in ("mean", "std"):
            if prefix and f"normalize.{name}" in state:
                self.normalize.get_buffer(name).copy_(state[f"normalize.{name}"])

    def freeze_trunk(self, freeze: bool = True) -> None:
        """Keep the pre-trained trunk as it is while the rest learns, as the authors do, and save its memory."""
        self.trunk.requires_grad_(not freeze)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh layers where poses come out and go into the next stage, and a fresh codec; 0 takes all stages away."""
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
        """Each stage's modules, or one for all; a stage 1 that sees zeros has the same inputs as the others."""
        width, hidden, cells = self.num_features, self.hidden, [side // STRIDE for side in self.size]
        own = range(1 if self.share_stages else self.num_stages)
        zeros = self.share_stages
        options: dict[str, Any] = {"temporal": self.temporal, "init": self.init}
        self.recurrent.extend(RecurrentPose(num_keypoints, hidden, refines=k > 0 or zeros, **options) for k in own)
        self.adaption.extend(FeatureAdaption(cells, width, hidden, design=self.adapt) for _ in own)
        own = range(1 if self.share_specialised else self.num_stages)
        zeros = self.share_stages or self.share_specialised
        self.specialised.extend(SpecialisedConvs(width, refines=k > 0 or zeros) for k in own)
        initialize(self.adaption, self.init)
        initialize(self.specialised, self.init)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of the trunk, of what lies between two poolings, for its activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: the trunk's layers, then the rest."""
        return {"trunk": r"^trunk\.conv(\d)_" + ("" if coarse else r"(\d)")}


class PoseTrunk(nn.Sequential):
    """The convolutions that all stages share (Table 1): `(B, 3, H, W) -> (B, width, H/8, W/8)`.

    They are those of the Convolutional Pose Machine that its authors released, under the same names. The paper first
    trains them for 2D heatmaps, under a layer that is then thrown away:

    Example:
        >>> from posezoo.heatmaps import encode
        >>> from posezoo.losses import heatmap_mse
        >>> model, keypoints = RPSM(size=(64, 64), width=16, hidden=32), 64 * torch.rand(2, 14, 2)
        >>> network = nn.Sequential(model.normalize, model.trunk, model.trunk.heatmap_head(14))
        >>> target, weights = encode(keypoints, size=(8, 8), stride=8, offset=3.5, sigma=1)
        >>> heatmap_mse(network(torch.rand(2, 3, 64, 64)), target, weights).backward()
        >>> model.freeze_trunk()
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__(OrderedDict(cpm_trunk(width).named_children()))
        self.width = width

    def forward(self, image: Tensor, *, save_memory: bool = False) -> Tensor:
        if not save_memory:
            return super().forward(image)
        for block in self.blocks():
            image = checkpoint(run, block, image, use_reentrant=False)
        return image

    def blocks(self) -> list[list[nn.Module]]:
        """The layers up to each pooling, it included, and those behind the last."""
        blocks: list[list[nn.Module]] = [[]]
        for layer in self:
            blocks[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append([])
        return blocks

    def heatmap_head(self, num_keypoints: int, *, design: str = "paper") -> nn.Sequential:
        """A new head from the trunk's features to 2D heatmaps `(B, num_keypoints, H/8, W/8)`, for pre-training.

        Args:
            num_keypoints: maps; count the background where there shall be one.
            design: "paper", one convolution (section 4); "cpm", two, as a Convolutional Pose Machine has.
        """
        check_choices(design=(design, HEADS))
        if design == "paper":
            return nn.Sequential(nn.Conv2d(self.width, num_keypoints, 1))
        hidden = 4 * self.width
        return nn.Sequential(nn.Conv2d(self.width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, num_keypoints, 1))


class SpecialisedConvs(nn.Module):
    """The last two convolutions of the 2D pose module, Psi_p, which know their stage (section 3.2).

    Args:
        width: channels.
        refines: look at the features of the stage before; a stage 1 without is as one that sees zeros.
    """

    def __init__(self, width: int = 128, *, refines: bool = True) -> None:
        super().__init__()
        self.refines = refines
        self.conv1 = nn.Conv2d(2 * width if refines else width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, shared: Tensor, previous: Tensor) -> Tensor:
        """Features of the trunk and of the stage before, `(B, width, h, w)` each, to this stage's."""
        x = torch.cat([shared, previous], dim=1) if self.refines else shared
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class FeatureAdaption(nn.Module):
    """Psi_a, the bridge from 2D to 3D: feature maps to a vector (section 3.3).

    Args:
        cells: (h, w) of the feature maps.
        width: their channels.
        hidden: units of the vector.
        design: "paper" or "code".
    """

    def __init__(
        self, cells: Sequence[int] = (46, 46), width: int = 128, hidden: int = 1024, *, design: str = "paper"
    ) -> None:
        super().__init__()
        check_choices(design=(design, ADAPTIONS))
        kernel, stride = ADAPTIONS[design]
        self.conv1 = nn.Conv2d(width, width, 5, 2, padding=2)
        self.conv2 = nn.Conv2d(width, width, kernel, stride, padding=kernel // 2)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        height, breadth = (-(-side // (4 * stride)) for side in cells)
        self.fc = nn.Linear(width * height * breadth, hidden)

    def forward(self, f2d: Tensor) -> Tensor:
        """`(B, width, h, w) -> (B, hidden)`."""
        x = F.relu(self.conv1(f2d))
        x = self.pool(F.relu(self.conv2(x)))
        return F.relu(self.fc(x.flatten(1)))


class RecurrentPose(nn.Module):
    """Psi_r, the 3D pose recurrent module: an LSTM along time and a linear layer (section 3.4).

    Args:
        num_keypoints: of poses.
        hidden: units of its input and of the LSTM.
        refines: look at the pose of the stage before; a stage 1 without is as one that sees zeros.
        temporal: "lstm", or "fc" for a layer with as many units that sees one frame.
        init: "xavier" or "torch7".
    """

    def __init__(
        self,
        num_keypoints: int = 17,
        hidden: int = 1024,
        *,
        refines: bool = True,
        temporal: str = "lstm",
        init: str = "xavier",
    ) -> None:
        super().__init__()
        check_choices(temporal=(temporal, TEMPORAL), init=(init, INITS))
        self.units, self.refines = hidden, refines
        gates = (GATES if temporal == "lstm" else 1) * hidden
        self.adapted = start(nn.Linear(hidden, gates), init, inputs=hidden + 3 * num_keypoints * refines)
        self.recurrent = start(nn.Linear(hidden, gates, bias=False), init) if temporal == "lstm" else None
        self.previous: nn.Linear | None = None
        self.pose: nn.Linear
        self.reset_head(num_keypoints, init)

    def reset_head(self, num_keypoints: int, init: str = "xavier") -> None:
        """Fresh layers for other keypoints."""
        outputs, gates = 3 * num_keypoints, self.adapted.out_features
        self.pose = start(nn.Linear(self.units, outputs), init)
        if self.refines:  # with `adapted` it is one matrix, whose size its first values follow
            self.previous = start(nn.Linear(outputs, gates, bias=False), init, inputs=self.units + outputs)

    def forward(self, f3d: Tensor, previous: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        """Poses in the codec's units, and the state after the last frame.

        Args:
            f3d: adapted features `(B, T, hidden)`.
            previous: poses of the stage before `(B, T, 3 K)`.
            state: after the frame before the first, None for zeros.
        """
        x = self.adapted(f3d)  # of all frames at once
        if self.previous is not None:
            x = x + self.previous(previous)
        if self.recurrent is None:
            return self.pose(F.relu(x)), None
        zeros = x.new_zeros(x.shape[0], self.units)
        hidden, cell = (zeros, zeros) if state is None else state
        outputs = []
        for frame in x.unbind(dim=1):
            enter, candidate, keep, leave = (frame + self.recurrent(hidden)).chunk(GATES, dim=1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return self.pose(torch.stack(outputs, dim=1)), (hidden, cell)


class PoseCodec(nn.Module):
    """The units that RPSM answers in (section 5.1): each coordinate from 0 to 1, by its extremes in the training data.

    The statistics are buffers and travel with the weights. Until `fit` has set them, 0 to 1 is from -1 to 1 m.

    Args:
        num_keypoints: of poses.
        root: the keypoint that poses are measured from; None: the mean of all.
        bones: pairs of keypoints. Where they make a tree, each gets its mean length in a target, from the root, or else
            the first keypoint, outwards; none, or bones that make no tree, keep the lengths that they have.

    Example:
        >>> codec = RPSM(size=(64, 64), width=16, hidden=32).codec
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
        """Millimetres of one unit, `(K, 3)`: what the loss divides errors by."""
        return self.maximum - self.minimum

    def decode(self, units: Tensor) -> Tensor:
        """The network's numbers `(..., 3 K)` in millimetres, `(..., K, 3)`."""
        return rearrange(units, "... (k d) -> ... k d", d=3) * self.scale + self.minimum

    def encode(self, pose3d: Tensor) -> Tensor:
        """What the network should answer, `(..., 3 K)`, for poses `(..., K, 3)` in mm from anywhere."""
        return rearrange((self.target(pose3d) - self.minimum) / self.scale, "... k d -> ... (k d)")

    def target(self, pose3d: Tensor) -> Tensor:
        """Poses `(..., K, 3)` in mm as training wants them: from the root, with bones of mean length.

        Errors are measured against the poses as they are: `pose3d` less its root.

        Raises:
            ValueError: a wrong shape, or no mean lengths yet.
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
        """Set the statistics from training data, poses `(..., K, 3)` in mm from anywhere.

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
        """Poses `(..., K, 3)` from their root, or from their mean where there is none."""
        if self.root is None:
            return pose3d - pose3d.mean(dim=-2, keepdim=True)
        return pose3d - pose3d[..., self.root : self.root + 1, :]

    def bones(self, pose3d: Tensor) -> Tensor:
        """From each keypoint's parent to it, `(..., K, 3)`; 0 for the tree's root."""
        return pose3d - pose3d[..., self.parents, :]

    def rescaled(self, pose3d: Tensor) -> Tensor:
        """Poses of the same directions with bones of mean length, their tree's root at 0."""
        bones = self.bones(pose3d)
        tiny = torch.finfo(bones.dtype).tiny  # a bone without length has no direction, and stays one
        lengths = bones.norm(dim=-1, keepdim=True).clamp_min(tiny)
        return self.chains.to(bones.dtype) @ (bones / lengths * self.bone_lengths[:, None].to(bones.dtype))

    def check(self, pose3d: Tensor) -> None:
        if pose3d.ndim < 3 or pose3d.shape[-2:] != self.minimum.shape:
            raise ValueError(f"pose3d: expected (..., {len(self.minimum)}, 3) in mm, got shape {tuple(pose3d.shape)}")


class Stream:
    """RPSM on a video as it comes in: what every stage's LSTM knows is kept, and nothing else.

    Each frame costs the same, however long the video is, and the trunk sees it once. The poses are those of
    `model(clip)` and `model.predict(clip)`.

    Args:
        model: whose `stream()` this is.
        clip_length: forget all frames before after each so many, as the authors' evaluation does after 5; None: never.

    Example:
        >>> model = RPSM(size=(64, 64), width=16, hidden=32)
        >>> stream = model.stream()
        >>> for _ in range(3):
        ...     pose3d = stream(torch.rand(1, 3, 64, 64))            # (B, K, 3) mm from the root
        >>> stream.seen, pose3d.shape
        (3, torch.Size([1, 17, 3]))
        >>> stream.reset()                                           # another video
    """

    def __init__(self, model: RPSM, *, clip_length: int | None = None) -> None:
        if not model.num_keypoints:
            raise ValueError("this model has no head and answers with features; model.reset_head(17) gives it one")
        if clip_length is not None and clip_length < 1:
            raise ValueError(f"clip_length: expected 1 or more, or None to keep all frames in mind, got {clip_length}")
        self.model, self.clip_length = model, clip_length
        self.reset()

    def reset(self) -> None:
        """Forget all frames, for the next video."""
        self.seen = 0
        self.states: list[State | None] = [None] * self.model.num_stages

    def __call__(self, frame: Tensor) -> Tensor:
        """The next frame of B videos `(B, 3, H, W)` to poses `(B, K, 3)` in mm from the root."""
        if not isinstance(frame, Tensor) or frame.ndim != 4:
            given = tuple(frame.shape) if isinstance(frame, Tensor) else type(frame).__name__
            raise ValueError(
                f"frame: expected (B, 3, H, W), got {given}; add the batch axis with frame[None], "
                "several frames go to stream.clip"
            )
        return self.clip(frame[:, None])[:, 0]

    @torch.no_grad()
    def clip(self, clip: Tensor) -> Tensor:
        """The next frames `(B, T, 3, H, W)` at once, to `(B, T, K, 3)`."""
        check_clip(clip, self.model.size)
        known = next((len(state[0]) for state in self.states if state is not None), len(clip))
        if known != len(clip):
            raise ValueError(
                f"clip: this stream began with {known} videos, got {len(clip)}; stream.reset() starts anew"
            )
        poses = []
        while clip.shape[1]:
            if self.clip_length and self.seen % self.clip_length == 0:
                self.states = [None] * self.model.num_stages
            count = self.clip_length - self.seen % self.clip_length if self.clip_length else clip.shape[1]
            now, clip = clip[:, :count], clip[:, count:]
            poses.append(self.model.decode(cast(Tensor, self.model(now, states=self.states)))[0])
            self.seen += now.shape[1]
        return torch.cat(poses, dim=1)


def check_choices(**choices: tuple[str, Iterable[str]]) -> None:
    """Refuse an argument that is none of the words it may be."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def check_clip(clip: Tensor, size: tuple[int, int]) -> None:
    """Refuse what RPSM does not take, naming the fix.

    Raises:
        ValueError: not a float tensor `(B, T, 3, H, W)` of at least one frame, or frames of another size.
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
            f"size=(H, W): all sizes that work are multiples of {STRIDE}, as (64, 64), (256, 256) or (368, 368)"
        )


def parents_of(bones: Sequence[tuple[int, int]], num_keypoints: int, root: int) -> tuple[int, ...] | None:
    """Each keypoint's neighbour on the way to the root, whose own is itself; None if the bones are no tree."""
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
    """`(K, K)`, 1 where the keypoint of the column is that of the row, or lies before it on the way from the root."""
    chains = []
    for keypoint in range(len(parents)):
        chain = {keypoint}
        while parents[keypoint] not in chain:
            keypoint = parents[keypoint]
            chain.add(keypoint)
        chains.append([float(other in chain) for other in range(len(parents))])
    return torch.tensor(chains).view(len(parents), len(parents))


def run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def initialize(module: nn.Module, init: str) -> None:
    """Fresh values for all convolutions and linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            start(layer, init)


def start(layer: Any, init: str, inputs: int | None = None) -> Any:
    """Xavier's uniform weights and no biases, or Torch7's uniform weights and biases.

    Args:
        layer: a convolution or a linear layer, changed in place.
        init: "xavier" or "torch7".
        inputs: of the matrix that the layer's is a part of; None: it is all.
    """
    field = layer.weight[0, 0].numel() if layer.weight.ndim > 2 else 1
    inputs = inputs or layer.weight.shape[1] * field
    outputs = layer.weight.shape[0] * field
    bound = (6 / (inputs + outputs)) ** 0.5 if init == "xavier" else inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound) if init == "torch7" else nn.init.zeros_(layer.bias)
    return layer


@register_model
def rpsm(**kwargs: Any) -> RPSM:
    """The paper's network: 3 stages that share the adaption and the recurrent module, 24.6 million parameters."""
    return RPSM(**kwargs)


@register_model
def rpsm_torch7(**kwargs: Any) -> RPSM:
    """The authors' released network: 3 stages with modules of their own, 94.3 million parameters."""
    return RPSM(**{"share_stages": False, "adapt": "code", "init": "torch7", **kwargs})
