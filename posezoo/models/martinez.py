"""A Simple Yet Effective Baseline for 3D Human Pose Estimation (Martinez et al.; ICCV 2017).

arXiv 1705.03098. Fully connected layers of 1024 units, with shortcuts around two pairs of them,
regress the 3D pose of a frame from its 2D keypoints. No image, no camera, no time.

    In   keypoints  (B, T, K, 2)    pixels; frames are independent, (B, 1, K, 2) is a batch of single frames
    Out  pose3d     (B, T, K, 3)    mm in the camera's frame, relative to the pelvis, which is 0

Departures
    - The paper's 2D keypoints are 16, Human3.6M's without Neck/Nose. Inputs here are the 17 of
      `h36m17`, of which that one is ignored; `neck=True` uses it, as in mmpose. The network does
      not predict the pelvis, which is inserted.
    - The 14 keypoints of the option `predict_14` are `num_keypoints=14, skeleton=FOURTEEN`.
    - Max-norm is the authors' code: each layer's weights are divided by the norm of the whole
      matrix where that is above 1, in training and testing, and the gradient passes through the
      division. PyTorch ports clip the gradient instead or have none: `max_norm=False`.
    - Batch normalisation has PyTorch's constants; `batch_norm="tensorflow"` those of the authors'
      code.
    - 2D statistics are those of raw pixels, as in the paper, which ties weights to the cameras of
      the training data. `frame="person"` makes inputs independent of the camera
      (`layers.PoseNormalize`).
"""

from collections.abc import Sequence
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
from posezoo.layers import PoseNormalize, check_batch_norm
from posezoo.registry import register_model

BATCH_NORMS = {"torch": (1e-5, 0.1), "tensorflow": (1e-3, 0.01)}  # epsilon and momentum
MAX_NORM = 1.0  # section 3.2
FOURTEEN = (  # of Human3.6M's 17, by the authors' option predict_14
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "thorax", "head"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
)


class Martinez(PoseModel):
    """2D keypoints of a frame to its 3D pose (figure 1).

    A new network does not standardise its input, and returns metres; `model.normalize.fit` sets the
    statistics of a training set.

    Args:
        num_keypoints: 3D keypoints. 0 removes the head, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17`
            when there are 17. A skeleton's pelvis is the root, which is not predicted.
        input_keypoints: 2D keypoints: a skeleton's name, the keypoints' names, or their number.
        neck: use Human3.6M's Neck/Nose too.
        linear_size: units of each layer (section 3.2: 1024).
        num_blocks: pairs of layers with a shortcut (section 3.2: 2).
        dropout: section 3.2: 0.5.
        max_norm: keep the norm of each layer's weights below 1.
        batch_norm: "torch" or "tensorflow", whose epsilon and momentum to use.
        frame: "pixels" or "person", the frame of the input (`layers.PoseNormalize`).

    Examples:
        >>> model = Martinez(linear_size=64).eval()
        >>> model(model.example_input(2)).shape
        torch.Size([2, 1, 17, 3])
        >>> Martinez(num_keypoints=14, skeleton=FOURTEEN, linear_size=64).w2.out_features
        42
    """

    head_keys = ("w2", "normalize.pose3d")
    input_kind = "keypoints"
    default_skeleton = "h36m17"

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        input_keypoints: int | str | Sequence[str] = "h36m17",
        neck: bool = False,
        linear_size: int = 1024,
        num_blocks: int = 2,
        dropout: float = 0.5,
        max_norm: bool = True,
        batch_norm: str = "torch",
        frame: str = "pixels",
    ) -> None:
        super().__init__()
        if batch_norm not in BATCH_NORMS:
            raise ValueError(f"batch_norm: expected one of {', '.join(BATCH_NORMS)}, got {batch_norm!r}")
        self.num_inputs, self.input_skeleton = input_skeleton(input_keypoints)
        names = self.input_skeleton.keypoints if self.input_skeleton else ("",) * self.num_inputs
        self.used = [index for index, name in enumerate(names) if neck or name != "neck_nose"]
        self.num_features, self.max_norm = linear_size, max_norm

        root = root_of(self.input_skeleton) or 0
        self.normalize = PoseNormalize(self.num_inputs, frame=frame, framewise=True, root=root)
        epsilon, momentum = BATCH_NORMS[batch_norm]
        self.w1 = Linear(2 * len(self.used), linear_size, max_norm)
        self.batch_norm1 = nn.BatchNorm1d(linear_size, epsilon, momentum)
        self.dropout = nn.Dropout(dropout)
        self.linear_stages = nn.ModuleList(
            [Block(linear_size, dropout, max_norm, epsilon, momentum) for _ in range(num_blocks)]
        )
        self.w2: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, keypoints: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, T, K, 2)` pixels to `(B, T, K, 3)` mm from the root; a 1-tuple with `all_stages`."""
        output = self.forward_head(self.forward_features(keypoints))
        return (output,) if all_stages else output

    def forward_features(self, keypoints: Tensor) -> Tensor:
        """Return the input of the head: `(B, T, linear_size)`."""
        check_keypoints(keypoints, self.num_inputs)
        batch, frames = keypoints.shape[:2]
        check_batch_norm(self, batch * frames)
        units = self.normalize(keypoints)[:, :, self.used]
        x = self.w1(rearrange(units, "b t k d -> (b t) (k d)"))
        x = self.dropout(F.relu(self.batch_norm1(x)))
        saving = self.grad_checkpointing and self.training
        for block in self.linear_stages:
            x = checkpoint(block, x, use_reentrant=False) if saving else block(x)
        return x.unflatten(0, (batch, frames))

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the poses for the output of `forward_features`."""
        output = self.w2(features)
        if not self.num_keypoints:
            return output
        return self.normalize.inverse(insert_root(rearrange(output, "b t (k d) -> b t k d", d=3), self.root))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, keypoints: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm and scores `(B, T, K)`, with flip averaging if `flip`."""
        return predict_pose3d(self, keypoints, self, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layer and the 3D statistics for other keypoints; 0 removes the layer."""
        self.set_keypoints(num_keypoints, skeleton)
        self.root = root_of(self.skeleton)
        self.normalize.reset_head(num_keypoints, self.root)
        predicted = num_keypoints - (self.root is not None)
        self.w2 = Linear(self.num_features, 3 * predicted, self.max_norm) if num_keypoints else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: first layer, blocks, head."""
        return {"stem": r"^(?:w1|batch_norm1)\.", "blocks": r"^linear_stages\.(\d+)", "head": r"^w2\."}


class Block(nn.Module):
    """Residual block: twice linear, batch normalisation, ReLU, dropout; nothing follows the sum."""

    def __init__(self, size: int, dropout: float, max_norm: bool, epsilon: float, momentum: float) -> None:
        super().__init__()
        self.w1, self.batch_norm1 = Linear(size, size, max_norm), nn.BatchNorm1d(size, epsilon, momentum)
        self.w2, self.batch_norm2 = Linear(size, size, max_norm), nn.BatchNorm1d(size, epsilon, momentum)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(F.relu(self.batch_norm1(self.w1(x))))
        return x + self.dropout(F.relu(self.batch_norm2(self.w2(y))))


class Linear(nn.Linear):
    """A fully connected layer with max-norm and the authors' initialisation."""

    def __init__(self, inputs: int, outputs: int, max_norm: bool) -> None:
        super().__init__(inputs, outputs)
        self.max_norm = max_norm
        for tensor, count in ((self.weight, inputs), (self.bias, outputs)):  # the authors' formula, for biases too
            std = (2 / count) ** 0.5
            nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (MAX_NORM / self.weight.norm().clamp_min(MAX_NORM)) if self.max_norm else self.weight
        return F.linear(x, weight, self.bias)


@register_model
def martinez(**kwargs: Any) -> Martinez:
    """Martinez' baseline, one frame to 3D, 4.3 million parameters.

    The weights take any camera's keypoints.
    """
    return Martinez(**kwargs)


@register_model
def martinez_mmpose(**kwargs: Any) -> Martinez:
    """Martinez' baseline as mmpose trained it: 17 keypoints, no max-norm, 4.3 million parameters.

    The weights expect pixels of Human3.6M's cameras: images of 1000 x 1000, focal lengths of about
    1145 pixels.
    """
    return Martinez(**{"neck": True, "max_norm": False, **kwargs})
