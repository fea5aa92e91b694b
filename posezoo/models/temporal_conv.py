"""3D Human Pose Estimation in Video with Temporal Convolutions (Pavllo et al.; CVPR 2019).

arXiv 1811.11742, known as VideoPose3D. Dilated convolutions along time, each block three times as
wide as the one before, predict the 3D pose of a frame from the 2D keypoints of the 27, 81 or 243
frames around it.

    In   keypoints  (B, T, K, 2)             pixels, T at least the receptive field R
    Out  pose3d     (B, T - R + 1, K, 3)     mm in the camera's frame, relative to the pelvis

Frame t of the output belongs to frame t + (R - 1) / 2 of the input, with `causal=True` to frame t +
R - 1, the last of its receptive field. `predict` pads a video with copies of its first and last
frame, and returns poses of all T frames.

The authors train on windows of R frames with a second network, strided where this one is dilated,
which computes only the one pose. Here it is the same network with the same weights: given exactly R
frames it strides.

Departures
    - The authors' inputs are x from -1 to 1 over the image's width, their outputs metres. Here both
      are statistics. A new model has metres; `model.normalize.fit_image((H, W))` sets the rest.
      `normalize.fit` sets z-scores instead, and `frame="person"` makes inputs independent of camera
      and image (`layers.PoseNormalize`).
    - The network predicts the pelvis too, whose target is 0, and the paper's error counts it.
      `forward` is the paper's; `decode` and `predict` put the pelvis to 0, where it is by
      definition.
    - The second network, for the position of the root in semi-supervised training, is left out.
"""

import math
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
    predict_pose3d,
    root_of,
)
from posezoo.layers import PoseNormalize, check_batch_norm
from posezoo.registry import register_model


class TemporalConv(PoseModel):
    """2D keypoints of a video to 3D poses, by convolutions along time (figure 2).

    Args:
        num_keypoints: 3D keypoints. 0 removes the head, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17`
            when there are 17.
        input_keypoints: 2D keypoints: a skeleton's name, the keypoints' names, or their number.
        filter_widths: of the first convolution and of each block, odd; their product is the
            receptive field.
        channels: of every convolution (section 5.2: 1024).
        dropout: section 5.2: 0.25.
        causal: use past frames only.
        frame: "pixels" or "person", the frame of the input (`layers.PoseNormalize`).

    Examples:
        >>> model = TemporalConv(channels=64).eval()
        >>> keypoints = 1000 * torch.rand(1, 100, 17, 2)
        >>> model(keypoints).shape, model.predict(keypoints)[0].shape
        (torch.Size([1, 74, 17, 3]), torch.Size([1, 100, 17, 3]))
    """

    head_keys = ("shrink", "normalize.pose3d")
    input_kind = "keypoints"
    default_skeleton = "h36m17"

    def __init__(
        self,
        *,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        input_keypoints: int | str | Sequence[str] = "h36m17",
        filter_widths: Sequence[int] = (3, 3, 3),
        channels: int = 1024,
        dropout: float = 0.25,
        causal: bool = False,
        frame: str = "pixels",
    ) -> None:
        super().__init__()
        if not filter_widths or any(width < 1 or width % 2 == 0 for width in filter_widths):
            raise ValueError(f"filter_widths: expected odd numbers, the middle of a filter, got {list(filter_widths)}")
        self.num_inputs, self.input_skeleton = input_skeleton(input_keypoints)
        self.filter_widths, self.causal = tuple(filter_widths), causal
        self.receptive_field = math.prod(filter_widths)
        self.num_features = channels

        root = root_of(self.input_skeleton) or 0
        self.normalize = PoseNormalize(self.num_inputs, frame=frame, framewise=True, root=root)
        self.expand_conv = Filter(2 * self.num_inputs, channels, filter_widths[0], bias=False)
        self.expand_bn = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)
        kernels = [kernel for width in filter_widths[1:] for kernel in (width, 1)]  # two convolutions a block
        self.layers_conv = nn.ModuleList([Filter(channels, channels, kernel, bias=False) for kernel in kernels])
        self.layers_bn = nn.ModuleList([nn.BatchNorm1d(channels) for _ in kernels])
        self.shrink: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, keypoints: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, T, K, 2)` pixels to `(B, T - R + 1, K, 3)` mm; a 1-tuple with `all_stages`."""
        output = self.forward_head(self.forward_features(keypoints))
        return (output,) if all_stages else output

    def forward_features(self, keypoints: Tensor) -> Tensor:
        """Return the input of the head: `(B, T - R + 1, channels)`."""
        check_keypoints(keypoints, self.num_inputs)
        batch, frames = keypoints.shape[:2]
        if frames < self.receptive_field:
            raise ValueError(
                f"keypoints: expected at least {self.receptive_field} frames, the receptive field, got {frames}; "
                "model.predict fills up shorter videos, model.pad(keypoints) does before model(keypoints)"
            )
        check_batch_norm(self, batch * (frames - self.receptive_field + 1))
        strided, saving = frames == self.receptive_field, self.grad_checkpointing and self.training

        first, *others = self.filter_widths
        x = rearrange(self.normalize(keypoints), "b t k d -> b (k d) t")
        x = self.dropout(F.relu(self.expand_bn(self.expand_conv(x, stride=first if strided else 1)), inplace=True))
        dilation = first
        for block, width in enumerate(others):
            steps = (block, width, 1) if strided else (block, 1, dilation)
            x = checkpoint(self.block, x, *steps, use_reentrant=False) if saving else self.block(x, *steps)
            dilation *= width
        return rearrange(x, "b c t -> b t c")

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the poses for the output of `forward_features`."""
        if not self.num_keypoints:
            return features
        pose = self.shrink(rearrange(features, "b t c -> b c t"))
        return self.normalize.inverse(rearrange(pose, "b (k d) t -> b t k d", d=3))

    def block(self, x: Tensor, block: int, stride: int, dilation: int) -> Tensor:
        """Convolve over time and over channels, with a shortcut from the frames of the output."""
        over_time, over_channels = 2 * block, 2 * block + 1
        y = self.layers_conv[over_time](x, stride=stride, dilation=dilation)
        y = self.dropout(F.relu(self.layers_bn[over_time](y), inplace=True))
        y = self.layers_bn[over_channels](self.layers_conv[over_channels](y))
        y = self.dropout(F.relu(y, inplace=True))
        last = (self.filter_widths[block + 1] - 1) * dilation  # of the frames under the first output's filter
        own = last if self.causal else last // 2
        return y + x[:, :, own::stride][:, :, : y.shape[2]]

    def pad(self, keypoints: Tensor) -> Tensor:
        """Repeat the first and last frame of a video, so that every frame gets a pose."""
        check_keypoints(keypoints, self.num_inputs)
        frames, missing = keypoints.shape[1], self.receptive_field - 1
        before = missing if self.causal else missing // 2
        index = torch.arange(-before, frames + missing - before, device=keypoints.device)
        return keypoints[:, index.clamp(0, frames - 1)]

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, their root at 0, and scores `(B, T, K)` of one."""
        return decode_pose3d(output, self.root)

    @torch.no_grad()
    def predict(self, keypoints: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Poses `(B, T, K, 3)` in mm, scores `(B, T, K)` of a video of any length, which is padded.

        `flip` averages with the mirrored pose, as the authors do.
        """
        return predict_pose3d(self, keypoints, lambda video: self(self.pad(video)), flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layer and the 3D statistics for other keypoints; 0 removes the layer."""
        self.set_keypoints(num_keypoints, skeleton)
        self.root = root_of(self.skeleton)
        self.normalize.reset_head(num_keypoints, self.root)
        self.shrink = nn.Conv1d(self.num_features, 3 * num_keypoints, 1) if num_keypoints else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: first layer, convolutions, head."""
        return {"stem": r"^expand_", "blocks": r"^layers_(?:conv|bn)\.(\d+)", "head": r"^shrink\."}


class Filter(nn.Conv1d):
    """A convolution along time whose stride and dilation are arguments of the call."""

    def forward(self, input: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        return F.conv1d(input, self.weight, self.bias, stride=stride, dilation=dilation)


@register_model
def temporal_conv_27(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 27 frames, 8.6 million parameters.

    The weights `cmu` are of half the width, and take any camera's keypoints. The others expect
    pixels of images of 1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3), **kwargs})


@register_model
def temporal_conv_81(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 81 frames, 12.8 million parameters.

    The weights expect pixels of images of 1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3, 3), **kwargs})


@register_model
def temporal_conv_243(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 243 frames, 17.0 million parameters.

    The weights expect pixels of images of 1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3, 3, 3), **kwargs})
