"""Exploiting Temporal Information for 3D Human Pose Estimation (Hossain, Little; ECCV 2018; arXiv 1711.08585).

A sequence is translated into another, as a sentence into another language: one recurrent cell reads the 2D keypoints of
five frames, last frame first, and a second one, which begins where the first one ends, writes five 3D poses, each as a
change of the pose before. Both are LSTMs with layer normalisation and dropout.

    In   keypoints  (B, T, K, 2)    pixels, a window of T consecutive frames
    Out  pose3d     (B, T, K, 3)    mm in the camera's frame, relative to the pelvis, which is 0

Any T will do, but weights know the `window` that they were trained with. `predict` slides it over a video of any length
and `stream` takes a video frame by frame.

Departures
    - The paper's 2D keypoints are 16, Human3.6M's without Neck/Nose. Ours are the 17 of `h36m17`, of which the network
      does not look at that one; `neck=True` lets it. Its answers leave out the pelvis, which is put back.
    - For "recurrent dropout" the paper cites dropout on what is not recurrent (Zaremba et al.). The authors' code has
      that, on the input and the output of a cell, and dropout on what the cell adds to its memory (Semeniuta et al.),
      with one probability. Here are two: `dropout` and `recurrent_dropout`. Both are 0 without it in Table 4.
    - Which keypoints the smoothness term weighs how much differs between paper and code: `joint_weights` of
      `losses.smooth_pose_mse`, which has the other two options of Table 4 as well.
    - The encoder of the authors' code has an output layer that nothing uses. There is none here.
    - Their evaluation leaves out the last frames of most videos, here every frame gets an answer. A video shorter than
      the window is preceded by copies of its first frame.
    - 2D statistics are those of raw pixels, as in the paper, which binds weights to the cameras that they were trained
      with. `frame="person"` makes the network see the pose alone (`layers.PoseNormalize`).

The authors' checkpoint is no longer available.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.layers import (
    PoseModel,
    PoseNormalize,
    check_keypoints,
    decode_pose3d,
    input_skeleton,
    insert_root,
    predict_pose3d,
    root_of,
    xavier_linear,
)
from posezoo.registry import register_model

FORGET_BIAS = 1.0
EPSILON = 1e-12  # of the layer normalisation
AT_A_TIME = 256  # windows of a long video in one batch: bounds the memory, and the processor's caches like it

State = tuple[Tensor, Tensor]  # memory and answer of a cell, both (B, hidden_size)
Step = Callable[[Tensor, State], State]


class Seq2Seq3D(PoseModel):
    """Keypoints of a window of frames to 3D (figure 2).

    Args:
        num_keypoints: 3D keypoints that it answers with; 0 leaves the decoder out, `forward` then returns its input.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17` when there are 17. A
            skeleton's pelvis is the root: the network does not predict it.
        input_keypoints: 2D keypoints that it sees: a skeleton's name, the keypoints' names, or just their number.
        neck: look at Human3.6M's Neck/Nose too.
        window: frames that `predict` and `stream` look at for an answer (section 4.1: 2 to 10, 4 to 6 are best).
        hidden_size: units of both cells, 1024 in the authors' code.
        dropout: of what goes into a cell and of what the head sees of it.
        recurrent_dropout: of what a cell adds to its memory.
        layer_norm: normalise the four gates and the memory of a cell; without, the gates have a bias.
        residual: the head answers with the change since the frame before, not with the pose.
        frame: "pixels" or "person", in which frame the network sees keypoints.

    Example:
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
        self.seen = [index for index, name in enumerate(names) if neck or name != "neck_nose"]
        self.window, self.residual = window, residual
        self.hidden_size, self.num_features = hidden_size, 2 * hidden_size
        self.grad_checkpointing = False

        root = root_of(self.input_skeleton) or 0
        self.normalize = PoseNormalize(self.num_inputs, frame=frame, root=root)
        self.cell = partial(
            Cell, size=hidden_size, dropout=dropout, recurrent_dropout=recurrent_dropout, layer_norm=layer_norm
        )
        self.encoder = self.cell(2 * len(self.seen))
        self.decoder: Cell | None = None
        self.dropout = nn.Dropout(dropout)
        self.output: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, keypoints: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, T, K, 2)` pixels to `(B, T, K, 3)` mm relative to the root; a 1-tuple of it with `all_stages`."""
        output = self.lift(keypoints, *self.steps()) if self.num_keypoints else self.forward_features(keypoints)
        return (output,) if all_stages else output

    def forward_features(self, keypoints: Tensor) -> Tensor:
        """What the decoder begins with: memory and answer of the encoder, `(B, 2 * hidden_size)`."""
        return torch.cat(self.encode(keypoints, self.step(self.encoder)), dim=1)

    def lift(self, keypoints: Tensor, encoder: Step, decoder: Step) -> Tensor:
        """`forward` with what `steps` returns, for many windows at the cost of one preparation."""
        return self.write(self.encode(keypoints, encoder), keypoints.shape[1], decoder)

    def encode(self, keypoints: Tensor, step: Step) -> State:
        """Read the frames from the last one to the first."""
        check_keypoints(keypoints, self.num_inputs)
        units = rearrange(self.normalize(keypoints)[:, :, self.seen], "b t k d -> b t (k d)")
        memory = units.new_zeros(units.shape[0], self.hidden_size)
        state = memory, memory
        for x in reversed(units.unbind(1)):
            state = step(x, state)
        return state

    def write(self, state: State, frames: int, step: Step) -> Tensor:
        """Poses `(B, T, K, 3)` of all frames, first to last; each is what the decoder sees next."""
        predicted = self.num_keypoints - (self.root is not None)
        pose = state[0].new_ones(state[0].shape[0], 3 * predicted)  # START
        poses = []
        for _ in range(frames):
            state = step(pose, state)
            change = self.output(self.dropout(state[1]))
            pose = pose + change if self.residual else change
            poses.append(rearrange(pose, "b (k d) -> b k d", d=3))
        return self.normalize.inverse(insert_root(torch.stack(poses, dim=1), self.root))

    def steps(self) -> tuple[Step, Step]:
        """The cells as functions of input and state, with the weights as they are now."""
        if self.decoder is None:
            raise ValueError("there is no decoder without keypoints; model.reset_head(num_keypoints) makes one")
        return self.step(self.encoder), self.step(self.decoder)

    def step(self, cell: "Cell") -> Step:
        """A cell as it is in training, and with its matrices multiplied out when nothing drops out."""
        if not self.training:
            return cell.folded()
        return partial(checkpoint, cell, use_reentrant=False) if self.grad_checkpointing else cell

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, keypoints: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm and scores `(B, T, K)` of a video of any length (section 4).

        Of the first window all answers are taken, then, frame by frame, the last one: from there on the answer for a
        frame depends on it and the `window - 1` frames before it alone. `flip` averages with the mirrored pose.
        """
        steps = self.steps()
        return predict_pose3d(self, keypoints, lambda video: self.slide(video, steps), flip=flip)

    def slide(self, video: Tensor, steps: tuple[Step, Step]) -> Tensor:
        """Poses of all frames of `(B, T, K, 2)`, from windows that end at each of them."""
        check_keypoints(video, self.num_inputs)
        missing = max(0, self.window - video.shape[1])
        video = torch.cat([video[:, :1].expand(-1, missing, -1, -1), video], dim=1)
        windows = rearrange(video.unfold(1, self.window, 1), "b n k d t -> b n t k d")
        parts = windows.flatten(0, 1).split(AT_A_TIME)
        poses = torch.cat([self.lift(part, *steps) for part in parts]).unflatten(0, windows.shape[:2])
        return torch.cat([poses[:, 0], poses[:, 1:, -1]], dim=1)[:, missing:]

    def stream(self, *, flip: bool = False) -> "Stream":
        """For a video that comes frame by frame: a function of each frame's keypoints; see `Stream`."""
        return Stream(self, flip=flip)

    def example_input(self, batch: int = 1) -> Tensor:
        """Random keypoints `(batch, window, K, 2)` in an image of 1000 x 1000 pixels."""
        return 1000 * torch.rand(batch, self.window, self.num_inputs, 2)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh layers into and out of the decoder, and fresh 3D statistics, for other keypoints.

        The decoder's recurrent weights stay. 0 takes all of it away.
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

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of each step for its activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: encoder, decoder, head."""
        head = r"^(?:decoder\.project|output)\."
        return {"encoder": r"^encoder\.", "decoder": r"^decoder\.(?!project\.)", "head": head}


class Stream:
    """A video frame by frame: `(B, K, 2)` pixels to `(B, K, 3)` mm, in constant time and memory.

    The answer is that of `predict` for the last frame of the video so far. From frame `window` on, the first one being
    1, `predict` gives the same for the whole video. Of the frames before it knows what follows, which a stream cannot:
    there it repeats the first frame.

    It keeps the model's weights as they are when it is made. A new video wants a new stream.

    Example:
        >>> model = Seq2Seq3D(hidden_size=64).eval()
        >>> video = 1000 * torch.rand(1, 30, 17, 2)
        >>> stream = model.stream()
        >>> poses = torch.stack([stream(keypoints) for keypoints in video.unbind(1)], dim=1)
        >>> torch.allclose(poses[:, 4:], model.predict(video)[0][:, 4:], atol=0.1)
        True
    """

    def __init__(self, model: Seq2Seq3D, *, flip: bool = False) -> None:
        self.model, self.flip = model, flip
        self.steps = model.steps()
        self.seen: Tensor | None = None  # the last frames, (B, window, K, 2)

    @torch.no_grad()
    def __call__(self, keypoints: Tensor) -> Tensor:
        """The pose `(B, K, 3)` of the next frame.

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
                "model.stream() begins new ones"
            )
        self.seen = torch.cat([self.seen[:, 1:], frame], dim=1)
        lift = partial(self.model.lift, encoder=self.steps[0], decoder=self.steps[1])
        pose3d, _ = predict_pose3d(self.model, self.seen, lift, flip=self.flip)
        return pose3d[:, -1]


class Cell(nn.Module):
    """One step: a projection of the input, dropout, and the LSTM whose gates and memory are normalised (section 3)."""

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
        return self.update(self.gates(torch.cat([u, hidden], dim=1)), memory)

    def folded(self) -> Step:
        """`forward` without dropout, the projection multiplied into the gates: half the work of a step."""
        if type(self.project) is not nn.Linear or type(self.gates) is not nn.Linear:
            return self  # there is more to an adapter, LoRA's for instance, than the weights it was put around
        of_input, of_hidden = self.gates.weight.chunk(2, dim=1)
        weight = torch.cat([of_input @ self.project.weight, of_hidden], dim=1)
        bias = F.linear(self.project.bias, of_input, self.gates.bias)
        return lambda x, state: self.update(F.linear(torch.cat([x, state[1]], dim=1), weight, bias), state[0])

    def update(self, gates: Tensor, memory: Tensor) -> State:
        """Forget, add, and answer; it is the normalised memory that is kept."""
        write, candidate, keep, answer = self.gate_norm(gates).chunk(4, dim=1)
        candidate = self.recurrent_dropout(candidate.tanh())
        memory = memory * (keep + FORGET_BIAS).sigmoid() + write.sigmoid() * candidate
        memory = self.memory_norm(memory)
        return memory, memory.tanh() * answer.sigmoid()


class GateNorm(nn.Module):
    """Layer normalisation of each of the four gates by itself, `(B, 4 * size)`."""

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
