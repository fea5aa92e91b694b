"""Exploiting Temporal Information for 3D Human Pose Estimation (Hossain, Little; ECCV 2018).

arXiv 1711.08585. A sequence-to-sequence network: an encoder takes the 2D keypoints of five frames,
last frame first, and a decoder, which starts from the encoder's final state, predicts five 3D
poses, each as a change of the pose before. Both are LSTM cells with layer normalisation and
dropout.

    In   keypoints  (B, T, K, 2)    pixels, a window of T consecutive frames
    Out  pose3d     (B, T, K, 3)    mm in the camera's frame, relative to the pelvis, which is 0

T is free, but weights are trained with one `window`. `predict` slides it over a video of any length
and `stream` takes a video frame by frame.

Departures
    - The paper's 2D keypoints are 16, Human3.6M's without Neck/Nose. Inputs here are the 17 of
      `h36m17`, of which that one is ignored; `neck=True` uses it. The network does not predict the
      pelvis, which is inserted.
    - For "recurrent dropout" the paper cites dropout of non-recurrent connections (Zaremba et al.).
      The authors' code has that, on input and output of a cell, and dropout of the candidate memory
      (Semeniuta et al.), with one probability. Here are two: `dropout` and `recurrent_dropout`. The
      row of Table 4 without it has 0 for both.
    - The weights of keypoints in the smoothness term differ between paper and code: `joint_weights`
      of `losses.smooth_pose_mse`, which has the other two options of Table 4 as well.
    - The unused output layer of the authors' encoder is left out.
    - Their evaluation leaves out the last frames of most videos; here every frame gets a pose. A
      video shorter than the window is preceded by copies of its first frame.
    - 2D statistics are those of raw pixels, as in the paper, which ties weights to the cameras of
      the training data. `frame="person"` makes inputs independent of the camera
      (`layers.PoseNormalize`).

The authors' checkpoint is no longer available.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.contract import (
    PoseModel,
    check_keypoints,
    decode_pose3d,
    input_skeleton,
    insert_root,
    predict_pose3d,
    root_of,
)
from posezoo.layers import PoseNormalize, xavier_linear
from posezoo.registry import register_model

FORGET_BIAS = 1.0
EPSILON = 1e-12  # of the layer normalisation
WINDOWS_TOGETHER = 256  # of a long video in one batch: bounds the memory, and fits the processor's caches

State = tuple[Tensor, Tensor]  # memory and output of a cell, both (B, hidden_size)


class Seq2Seq3D(PoseModel):
    """2D keypoints of a window of frames to 3D poses (figure 2).

    A new network does not standardise its input, and returns metres; `model.normalize.fit` sets the
    statistics of a training set.

    Args:
        num_keypoints: 3D keypoints. 0 removes the decoder, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17`
            when there are 17. A skeleton's pelvis is the root, which is not predicted.
        input_keypoints: 2D keypoints: a skeleton's name, the keypoints' names, or their number.
        neck: use Human3.6M's Neck/Nose too.
        window: frames of a prediction by `predict` and `stream` (section 4.1: 2 to 10, 4 to 6 are
            best).
        hidden_size: units of both cells, 1024 in the authors' code.
        dropout: of the input and the output of a cell.
        recurrent_dropout: of the candidate memory of a cell.
        layer_norm: normalise the four gates and the memory of a cell. Without it the gates have a
            bias.
        residual: predict the change since the frame before instead of the pose.
        frame: "pixels" or "person", the frame of the input (`layers.PoseNormalize`).

    Examples:
        >>> model = Seq2Seq3D(hidden_size=64).eval()
        >>> video = 1000 * torch.rand(1, 30, 17, 2)
        >>> model(video[:, :5]).shape, model.predict(video)[0].shape
        (torch.Size([1, 5, 17, 3]), torch.Size([1, 30, 17, 3]))
    """

    input_kind = "keypoints"
    default_skeleton = "h36m17"

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        input_keypoints: int | str | Sequence[str] = "h36m17",
        neck: bool = False,
        window: int = 5,
        hidden_size: int = 1024,
        dropout: float = 0.5,
        recurrent_dropout: float = 0.5,
        layer_norm: bool = True,
        residual: bool = True,
        frame: str = "pixels",
    ) -> None:
        super().__init__()
        for name, count, least in (("window", window, 1), ("hidden_size", hidden_size, 2)):
            if not isinstance(count, int) or count < least:
                raise ValueError(f"{name}: expected a whole number, {least} or more, got {count!r}")
        self.num_inputs, self.input_skeleton = input_skeleton(input_keypoints)
        names = self.input_skeleton.keypoints if self.input_skeleton else ("",) * self.num_inputs
        self.used = [index for index, name in enumerate(names) if neck or name != "neck_nose"]
        self.window = self.receptive_field = window
        self.residual = residual
        self.hidden_size, self.num_features = hidden_size, 2 * hidden_size

        root = root_of(self.input_skeleton) or 0
        self.normalize = PoseNormalize(self.num_inputs, frame=frame, root=root)
        self.cell = partial(
            Cell, size=hidden_size, dropout=dropout, recurrent_dropout=recurrent_dropout, layer_norm=layer_norm
        )
        self.encoder = self.cell(2 * len(self.used))
        self.decoder: Cell | None = None
        self.dropout = nn.Dropout(dropout)
        self.output: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, keypoints: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, T, K, 2)` pixels to `(B, T, K, 3)` mm from the root; a 1-tuple with `all_stages`."""
        state = self.encode(keypoints)
        output = self.write(state, keypoints.shape[1]) if self.num_keypoints else torch.cat(state, dim=1)
        return (output,) if all_stages else output

    def forward_features(self, keypoints: Tensor) -> Tensor:
        """Return the encoder's last memory and output, for the decoder: `(B, 2 * hidden_size)`."""
        return torch.cat(self.encode(keypoints), dim=1)

    def encode(self, keypoints: Tensor) -> State:
        """Run the encoder from the last frame to the first."""
        check_keypoints(keypoints, self.num_inputs)
        units = rearrange(self.normalize(keypoints)[:, :, self.used], "b t k d -> b t (k d)")
        memory = units.new_zeros(units.shape[0], self.hidden_size)
        state = memory, memory
        # last frame first, because the decoder begins with the first frame
        for x in reversed(units.unbind(1)):
            state = self.step(self.encoder, x, state)
        return state

    def write(self, state: State, frames: int) -> Tensor:
        """Run the decoder: poses `(B, T, K, 3)`, first to last, each the input of the next step."""
        if self.decoder is None:
            raise ValueError("there is no decoder without keypoints; model.reset_head(num_keypoints) makes one")
        predicted = self.num_keypoints - (self.root is not None)
        pose = state[0].new_ones(state[0].shape[0], 3 * predicted)  # START
        poses = []
        for _ in range(frames):
            state = self.step(self.decoder, pose, state)
            change = self.output(self.dropout(state[1]))
            pose = pose + change if self.residual else change
            poses.append(rearrange(pose, "b (k d) -> b k d", d=3))
        return self.normalize.inverse(insert_root(torch.stack(poses, dim=1), self.root))

    def step(self, cell: "Cell", x: Tensor, state: State) -> State:
        if self.grad_checkpointing and self.training:
            return checkpoint(cell, x, state, use_reentrant=False)
        return cell(x, state)

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, keypoints: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm and scores `(B, T, K)` of a video of any length (section 4).

        All poses of the first window are used, and the last one of each later window: it depends on
        its frame and the `window - 1` frames before. `flip` averages with the mirrored pose.
        """
        return predict_pose3d(self, keypoints, self.slide, flip=flip)

    def slide(self, video: Tensor) -> Tensor:
        """Predict poses of all frames of `(B, T, K, 2)` from windows that end at each of them."""
        check_keypoints(video, self.num_inputs)
        missing = max(0, self.window - video.shape[1])
        video = torch.cat([video[:, :1].expand(-1, missing, -1, -1), video], dim=1)
        # unfold appends the axis of the window at the end
        windows = rearrange(video.unfold(1, self.window, 1), "b n k d t -> b n t k d")
        parts = windows.flatten(0, 1).split(WINDOWS_TOGETHER)
        poses = torch.cat([self(part) for part in parts]).unflatten(0, windows.shape[:2])
        return torch.cat([poses[:, 0], poses[:, 1:, -1]], dim=1)[:, missing:]

    def stream(self, *, flip: bool = False) -> "Stream":
        """Return a function of the keypoints of one frame after the other; see `Stream`."""
        return Stream(self, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the decoder's first and last layer and the 3D statistics for other keypoints.

        The decoder's recurrent weights stay. 0 removes the decoder.
        """
        self.set_keypoints(num_keypoints, skeleton)
        self.root = root_of(self.skeleton)
        self.normalize.reset_head(num_keypoints, self.root)
        self.head_keys = ("decoder.project" if num_keypoints else "decoder", "output", "normalize.pose3d")
        if not num_keypoints:
            self.decoder, self.output = None, nn.Identity()
            return
        outputs = 3 * (num_keypoints - (self.root is not None))
        self.output = xavier_linear(self.hidden_size, outputs)
        if self.decoder is None:
            self.decoder = self.cell(outputs)
        else:
            self.decoder.project = xavier_linear(outputs, self.hidden_size)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: encoder, decoder, head."""
        head = r"^(?:decoder\.project|output)\."
        return {"encoder": r"^encoder\.", "decoder": r"^decoder\.(?!project\.)", "head": head}


class Stream:
    """Predict frame by frame: `(B, K, 2)` pixels to `(B, K, 3)` mm, in constant time and memory.

    The pose of a frame is that of `predict` for the last frame of the video so far. From frame
    `window` on, counted from 1, it equals that of `predict` for the whole video; before, the first
    frame is repeated.

    Examples:
        >>> model = Seq2Seq3D(hidden_size=64).eval()
        >>> video = 1000 * torch.rand(1, 30, 17, 2)
        >>> stream = model.stream()
        >>> poses = torch.stack([stream(keypoints) for keypoints in video.unbind(1)], dim=1)
        >>> torch.allclose(poses[:, 4:], model.predict(video)[0][:, 4:], atol=0.1)
        True
        >>> stream.reset()                                           # another video
    """

    def __init__(self, model: Seq2Seq3D, *, flip: bool = False) -> None:
        self.model, self.flip = model, flip
        if not model.num_keypoints:
            raise ValueError("there is no decoder without keypoints; model.reset_head(num_keypoints) makes one")
        self.reset()

    def reset(self) -> None:
        """Forget the frames so far, for the next video."""
        self.seen: Tensor | None = None  # (B, window, K, 2)

    @torch.no_grad()
    def __call__(self, keypoints: Tensor) -> Tensor:
        """Return the pose `(B, K, 3)` of the next frame.

        Raises:
            ValueError: not a float tensor `(B, K, 2)` without gaps, or another batch than before.
        """
        if isinstance(keypoints, Tensor) and keypoints.ndim != 3:
            raise ValueError(
                f"keypoints: expected one frame (B, {self.model.num_inputs}, 2), got shape {tuple(keypoints.shape)}; "
                "add the batch axis with keypoints[None], take a whole video with model.predict"
            )
        frame = keypoints[:, None] if isinstance(keypoints, Tensor) else keypoints
        check_keypoints(frame, self.model.num_inputs)
        if self.seen is None:
            self.seen = frame.repeat(1, self.model.window, 1, 1)
        if len(frame) != len(self.seen):
            raise ValueError(
                f"keypoints: expected {len(self.seen)} videos as in the frame before, got {len(frame)}; "
                "stream.reset() starts anew"
            )
        self.seen = torch.cat([self.seen[:, 1:], frame], dim=1)
        pose3d, _ = predict_pose3d(self.model, self.seen, self.model, flip=self.flip)
        return pose3d[:, -1]


class Cell(nn.Module):
    """One LSTM step with projected input, dropout, and normalised gates and memory (section 3)."""

    def __init__(self, inputs: int, *, size: int, dropout: float, recurrent_dropout: float, layer_norm: bool) -> None:
        super().__init__()
        self.project = xavier_linear(inputs, size)
        self.dropout = nn.Dropout(dropout)
        self.gates = xavier_linear(2 * size, 4 * size, bias=not layer_norm)
        self.gate_norm = GateNorm(size) if layer_norm else nn.Identity()
        self.recurrent_dropout = nn.Dropout(recurrent_dropout)
        self.memory_norm = nn.LayerNorm(size, EPSILON) if layer_norm else nn.Identity()

    def forward(self, x: Tensor, state: State) -> State:
        memory, hidden = state
        u = self.dropout(self.project(x))
        gates = self.gate_norm(self.gates(torch.cat([u, hidden], dim=1)))
        write, candidate, keep, leave = gates.chunk(4, dim=1)
        candidate = self.recurrent_dropout(candidate.tanh())
        memory = memory * (keep + FORGET_BIAS).sigmoid() + write.sigmoid() * candidate
        memory = self.memory_norm(memory)  # the normalised memory is kept
        return memory, memory.tanh() * leave.sigmoid()


class GateNorm(nn.Module):
    """Layer normalisation per gate, `(B, 4 * size)`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.ones(4 * size))
        self.bias = nn.Parameter(torch.zeros(4 * size))

    def forward(self, gates: Tensor) -> Tensor:
        normal = F.layer_norm(gates.unflatten(1, (4, self.size)), (self.size,), eps=EPSILON)
        return normal.flatten(1) * self.weight + self.bias


@register_model
def seq2seq3d(**kwargs: Any) -> Seq2Seq3D:
    """Hossain and Little's sequence to sequence network, 16.9 million parameters.

    The weights are of half the width, and take any camera's keypoints.
    """
    return Seq2Seq3D(**kwargs)
