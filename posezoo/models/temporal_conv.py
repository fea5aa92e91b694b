"""3D Human Pose Estimation in Video with Temporal Convolutions (Pavllo, Feichtenhofer, Grangier, Auli; CVPR 2019).

arXiv 1811.11742, known as VideoPose3D. Dilated convolutions along time, each block three times as wide as the one
before, predict the 3D pose of a frame from the 2D keypoints of the 27, 81 or 243 frames around it.

    In   keypoints  (B, T, K, 2)             pixels, T at least the receptive field R
    Out  pose3d     (B, T - R + 1, K, 3)     mm in the camera's frame, relative to the pelvis

Frame t of the output belongs to frame t + (R - 1) / 2 of the input, with `causal=True` to frame t + R - 1, the last of
its receptive field. `predict` pads a video with copies of its first and last frame, and returns poses of all T frames.

The authors train on windows of R frames with a second network, strided where this one is dilated, which computes only
the one pose. Here it is the same network with the same weights: given exactly R frames it strides.

Departures
    - The authors' inputs are x from -1 to 1 over the image's width, their outputs metres. Here both are statistics. A
      new model has metres; `model.normalize.fit_image((H, W))` sets the rest. `normalize.fit` sets z-scores instead,
      and `frame="person"` makes inputs independent of camera and image (`layers.PoseNormalize`).
    - The network predicts the pelvis too, whose target is 0, and the paper's error counts it. `forward` is the paper's;
      `decode` and `predict` put the pelvis to 0, where it is by definition.
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
    check_batch_norm,
    check_keypoints,
    decode_pose3d,
    input_skeleton,
    predict_pose3d,
    root_of,
)
from posezoo.layers import PoseNormalize
from posezoo.registry import Weights, cmu_lifter, register_model


class TemporalConv(PoseModel):
    """2D keypoints of a video to 3D poses, by convolutions along time (figure 2).

    Args:
        num_keypoints: 3D keypoints. 0 removes the head, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is `h36m17` when there are 17.
        input_keypoints: 2D keypoints: a skeleton's name, the keypoints' names, or their number.
        filter_widths: of the first convolution and of each block, odd; their product is the receptive field.
        channels: of every convolution (section 5.2: 1024).
        dropout: section 5.2: 0.25.
        causal: use past frames only.
        frame: "pixels" or "person", the frame of the input (`layers.PoseNormalize`).

    Example:
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
        """`(B, T, K, 2)` pixels to `(B, T - R + 1, K, 3)` mm from the root; a 1-tuple of it with `all_stages`."""
        output = self.forward_features(keypoints)
        if self.num_keypoints:
            pose = self.shrink(rearrange(output, "b t c -> b c t"))
            output = self.normalize.inverse(rearrange(pose, "b (k d) t -> b t k d", d=3))
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

    def block(self, x: Tensor, block: int, stride: int, dilation: int) -> Tensor:
        """Apply a convolution over time and one over channels, with a shortcut from the frames of the output."""
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
        """Poses `(B, T, K, 3)` in mm and scores `(B, T, K)` of a video of any length, which is padded.

        `flip` averages with the mirrored pose, as the authors do.
        """
        return predict_pose3d(self, keypoints, lambda video: self(self.pad(video)), flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layer and reset the 3D statistics for other keypoints; 0 removes the layer."""
        self.set_keypoints(num_keypoints, skeleton)
        self.root = root_of(self.skeleton)
        self.normalize.reset_head(num_keypoints, self.root)
        self.shrink = nn.Conv1d(self.num_features, 3 * num_keypoints, 1) if num_keypoints else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: first convolution, convolutions, head."""
        return {"stem": r"^expand_", "blocks": r"^layers_(?:conv|bn)\.(\d+)", "head": r"^shrink\."}


class Filter(nn.Conv1d):
    """A convolution along time whose stride and dilation are arguments of the call."""

    def forward(self, input: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        return F.conv1d(input, self.weight, self.bias, stride=stride, dilation=dilation)


MPJPE = "MPJPE from the pelvis, PA-MPJPE after Procrustes with scale"
TRUE, DETECTED = "true 2D keypoints", "detections of CPN fine-tuned on it"


def human36m(file: str, keypoints: str, mpjpe: float, pa_mpjpe: float, **kwargs: Any) -> Weights:
    """The record of a checkpoint of mmpose's model zoo, tested on the `keypoints` that it was trained on."""
    return Weights(
        sources=(f"https://download.openmmlab.com/mmpose/body3d/videopose/videopose_h36m_{file}.pth",),
        sha256=file.rpartition("-")[2].partition("_")[0],
        kwargs={"num_keypoints": 17, "skeleton": "h36m17", **kwargs},
        skeleton="h36m17",
        metrics={f"Human3.6M S9 and S11, {keypoints}": {"MPJPE": mpjpe, "PA-MPJPE": pa_mpjpe}},
        metrics_by="mmpose",
        protocol=f"{MPJPE}; no mirror image",
        data="Human3.6M" + (", of which S1 with 3D poses" if "semi" in file else ""),
        data_license="Human3.6M: academic use",
        license="Apache-2.0",
        origin="https://github.com/open-mmlab/mmpose",
        converter="mmpose_lifter",
    )


def authors(
    file: str, skeleton: str, metrics: dict[str, dict[str, float]], input_keypoints: str, protocol: str
) -> Weights:
    """The record of a checkpoint of the VideoPose3D authors, to be downloaded by hand; it holds no statistics."""
    human_eva = skeleton == "humaneva15"
    return Weights(
        kwargs={"num_keypoints": int(skeleton[-2:]), "skeleton": skeleton, "input_keypoints": input_keypoints},
        skeleton=skeleton,
        metrics=metrics,
        metrics_by="authors",
        protocol=protocol,
        data="HumanEva-I" if human_eva else "Human3.6M",
        data_license="HumanEva: research" if human_eva else "Human3.6M: academic use",
        license="CC-BY-NC-4.0",
        paper="https://arxiv.org/abs/1811.11742",
        origin=f"https://dl.fbaipublicfiles.com/video-pose-3d/{file}",
        converter="videopose3d",
    )


@register_model(
    weights={
        "cmu": cmu_lifter(
            "temporal_conv_27",
            "9535544872a509bc0eed16d63cd52b924b3e1d8ff0159278742b844b82e5c8d3",
            4_375_026,
            clean=(61.4, 42.6, 5.8),
            noisy=(64.3, 45.2, 17.4),
            paper="https://arxiv.org/abs/1811.11742",
            channels=512,
        ),
        "h36m_gt2d": human36m("27frames_fullconv_supervised-fe8fbba9_20210527", TRUE, 40.0, 30.1),
        "h36m_cpn_1frame": human36m(
            "1frame_fullconv_supervised_cpn_ft-5c3afaed_20210527", DETECTED, 52.9, 41.3, filter_widths=[1] * 5
        ),
        "h36m_gt2d_semi": human36m("27frames_fullconv_semi-supervised-54aef83b_20210527", TRUE, 58.1, 42.8),
        "h36m_cpn_semi": human36m("27frames_fullconv_semi-supervised_cpn_ft-71be9cde_20210527", DETECTED, 67.4, 50.1),
        "humaneva_detectron": authors(
            "pretrained_humaneva15_detectron.bin",
            "humaneva15",
            {"HumanEva-I validation, detections of Mask R-CNN": {"MPJPE": 33.0}},
            "humaneva15",
            "MPJPE from the pelvis; one network for walking, jogging and boxing; averaged with the mirror image",
        ),
    },
)
def temporal_conv_27(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 27 frames, 8.6 million parameters.

    The weights `cmu` are of half the width, and take any camera's keypoints. The others expect pixels of images of
    1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3), **kwargs})


@register_model(
    weights={"h36m_gt2d": human36m("81frames_fullconv_supervised-1f2d1104_20210527", TRUE, 38.9, 29.2)},
)
def temporal_conv_81(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 81 frames, 12.8 million parameters.

    The weights expect pixels of images of 1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3, 3), **kwargs})


@register_model(
    weights={
        "h36m_cpn": human36m("243frames_fullconv_supervised_cpn_ft-88f5abbb_20210527", DETECTED, 47.9, 38.0),
        "h36m_gt2d": human36m("243frames_fullconv_supervised-880bea25_20210527", TRUE, 37.6, 28.3),
        "h36m_cpn_authors": authors(
            "pretrained_h36m_cpn.bin",
            "h36m17",
            {f"Human3.6M S9 and S11, {DETECTED}": {"MPJPE": 46.8, "PA-MPJPE": 36.5}},
            "h36m17",
            f"{MPJPE}; averaged with the mirror image",
        ),
        "h36m_detectron_coco": authors("pretrained_h36m_detectron_coco.bin", "h36m17", {}, "coco17", ""),
    },
)
def temporal_conv_243(**kwargs: Any) -> TemporalConv:
    """VideoPose3D that sees 243 frames, 17.0 million parameters.

    The weights expect pixels of images of 1000 x 1000, as Human3.6M's are.
    """
    return TemporalConv(**{"filter_widths": (3, 3, 3, 3, 3), **kwargs})
