"""DeepPose as mmpose publishes it: all keypoints regressed by one ResNet (arXiv 1312.4659).

It has the name of the cascade of Toshev and Szegedy (`deeppose.py`), but one stage, and published
weights.

    In   image      (B, 3, H, W)     RGB in [0, 1], H and W multiples of 32
    Out  keypoints  (B, K, 2)        pixels of the image

Training: `losses.keypoint_smooth_l1` on keypoints divided by (W, H), with `inside` as weights;
Adam, 5e-4 for 512 images, 210 epochs.

Departures
    - The backbone is timm's, so that any timm network can take the ResNet's place.
    - mmpose's `alexnet_coco_256x192`, at times taken for DeepPose, predicts heatmaps and is not
      here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.backbones import timm_backbone
from posezoo.contract import PoseModel, check_image, predict_keypoints
from posezoo.layers import Normalize
from posezoo.registry import register_model

OUTPUT_STD = 0.01  # of the initial weights of the last layer


class DeepPoseRegression(PoseModel):
    """A classifier whose last layer regresses coordinates.

    Args:
        backbone: any timm network, by name.
        num_keypoints: 0 removes the last layer, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        pretrained_backbone: start from timm's ImageNet weights, downloaded.

    Examples:
        >>> model = DeepPoseRegression(backbone="resnet18", num_keypoints=16, skeleton="mpii16")
        >>> model(model.example_input()).shape
        torch.Size([1, 16, 2])
    """

    head_keys = ("fc",)
    input_size = (256, 192)

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
        self.normalize = Normalize(mean, std)
        self.num_features = self.backbone.feature_info.channels()[-1]
        self.input_multiple = max(32, self.backbone.feature_info.reduction()[-1])
        self.fc: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to `(B, K, 2)` pixels; a 1-tuple of it with `all_stages`."""
        height, width = image.shape[-2:]
        output = self.forward_head(self.forward_features(image), (height, width))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the average of the backbone's last map: `(B, num_features)`."""
        check_image(image, self.input_multiple, self.in_chans)
        features = self.backbone(self.normalize(image))[-1]
        # some timm networks keep channels last
        return features.mean(dim=(2, 3) if features.shape[1] == self.num_features else (1, 2))

    def forward_head(self, features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return keypoints for features, in pixels of images of `size`, or `input_size`."""
        output = self.fc(features)
        if not self.num_keypoints:
            return output
        height, width = size or self.input_size
        sides = torch.tensor([width, height], device=output.device)
        return output.unflatten(-1, (-1, 2)) * sides.to(torch.promote_types(output.dtype, torch.float32))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)` in pixels and scores `(B, K)` of 1, as mmpose."""
        return output, torch.ones_like(output[..., 0])

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_keypoints(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layer for other keypoints; 0 removes it."""
        self.set_keypoints(num_keypoints, skeleton)
        self.fc = nn.Linear(self.num_features, 2 * num_keypoints) if num_keypoints else nn.Identity()
        if isinstance(self.fc, nn.Linear):
            nn.init.normal_(self.fc.weight, std=OUTPUT_STD)
            nn.init.zeros_(self.fc.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: backbone, last layer."""
        block = r"^backbone\.(?:layer|blocks\.|stages[._])(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {"stem": r"^backbone\.(?!(?:layer|blocks\.|stages[._])\d)", "blocks": block, "head": r"^fc"}


def inside(keypoints: Tensor, visible: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask visible keypoints inside the image, as mmpose's loss: `(B, K, 2), (B, K) -> (B, K)`.

    Examples:
        >>> inside(torch.tensor([[[0.0, 63.0], [47.5, 0.0]]]), torch.ones(1, 2), (64, 48)).tolist()
        [[True, False]]
    """
    last = torch.tensor([size[1] - 1, size[0] - 1], dtype=keypoints.dtype, device=keypoints.device)
    return ((keypoints >= 0) & (keypoints <= last)).all(dim=-1) & (visible > 0)


@register_model
def deeppose_resnet50(**kwargs: Any) -> DeepPoseRegression:
    """mmpose's DeepPose with ResNet-50, 23.6 million parameters."""
    return DeepPoseRegression(**{"backbone": "resnet50", **kwargs})


@register_model
def deeppose_resnet101(**kwargs: Any) -> DeepPoseRegression:
    """mmpose's DeepPose with ResNet-101, 42.6 million parameters."""
    return DeepPoseRegression(**{"backbone": "resnet101", **kwargs})


@register_model
def deeppose_resnet152(**kwargs: Any) -> DeepPoseRegression:
    """mmpose's DeepPose with ResNet-152, 58.2 million parameters."""
    return DeepPoseRegression(**{"backbone": "resnet152", **kwargs})
