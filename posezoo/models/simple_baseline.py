"""Simple Baselines for Human Pose Estimation and Tracking (Xiao, Wu, Wei; ECCV 2018).

arXiv 1804.06208. A classification backbone, three transposed convolutions up to a quarter of the
input's size, and a 1x1 convolution with one heatmap per keypoint.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 32
    Out  heatmaps  (B, K, H/4, W/4)

Departures
    - The authors feed BGR images normalised with RGB constants. Here images are RGB; the converter
      of their checkpoints (`posezoo.checkpoints`) folds the swap into the first convolution and the
      normalisation buffers.
    - The backbone is timm's, so that any timm backbone can take the ResNet's place; keys are the
      authors' with `backbone.` in front, as in mmpose. Backbones of stride 16 (vision transformers)
      need `num_deconvs=2` for heatmaps of a quarter of the input's size.
    - Target Gaussians have a sigma of 2 cells (3 for inputs of 384 pixels), as in the authors'
      code; reviews say 1 pixel.
    - `caffe_style=True` selects the authors' second ResNet, whose stride sits on the first 1x1 of a
      block.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from posezoo.backbones import DECONV_PADDING, deconvolutions, timm_backbone
from posezoo.contract import PoseModel, check_image, predict_output
from posezoo.heads import SPLIT, build_head, decode_output, set_head_kind
from posezoo.layers import Normalize
from posezoo.registry import register_model

INIT_STD = 0.001  # of the head's convolutions (section 4.1)


class SimpleBaseline(PoseModel):
    """Backbone, deconvolutions, heatmaps (section 2).

    Args:
        backbone: any timm network, by name.
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layer, and `forward` returns
            features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when
            there are 17.
        num_deconvs: number of transposed convolutions, each doubling the resolution (section 4.1:
            3).
        deconv_width: channels of each (section 4.1: 256).
        deconv_kernel: 4, 3 or 2 (Table 3: 4 is best).
        caffe_style: put the ResNet's strides on the first 1x1 convolutions.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or
            "udp".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as the authors do.
        head: "heatmaps", or of `posezoo.heads`: "integral" or "simcc". Not in the paper.
        size: (H, W) of the images of a SimCC head. Defaults to (256, 192).
        split: bins per pixel of a SimCC head.
        pretrained_backbone: start from timm's ImageNet weights, downloaded.

    Examples:
        >>> model = SimpleBaseline(backbone="resnet18", num_keypoints=16, skeleton="mpii16")
        >>> model(model.example_input()).shape
        torch.Size([1, 16, 64, 48])
    """

    head_keys = ("final_layer",)
    input_size = (256, 192)
    stride: float

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        num_deconvs: int = 3,
        deconv_width: int = 256,
        deconv_kernel: int = 4,
        caffe_style: bool = False,
        decoding: str = "quarter",
        flip_shift: bool = True,
        head: str = "heatmaps",
        size: Sequence[int] | None = None,
        split: float = SPLIT,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        if deconv_kernel not in DECONV_PADDING:
            raise ValueError(f"deconv_kernel: expected one of {sorted(DECONV_PADDING)}, got {deconv_kernel!r}")
        self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
        self.normalize = Normalize(mean, std)
        if caffe_style:
            stride_on_first_conv(self.backbone)
        channels, reduction = self.backbone.feature_info.channels()[-1], self.backbone.feature_info.reduction()[-1]
        self.input_multiple = max(32, reduction)
        self.stride = reduction / 2**num_deconvs
        self.backbone_channels, self.num_features = channels, deconv_width if num_deconvs else channels
        self.decoding, self.flip_shift = decoding, flip_shift
        set_head_kind(self, head, size, split)

        self.deconv_layers = deconvolutions(channels, deconv_width, num_deconvs, deconv_kernel)
        self.final_layer: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple with `all_stages`."""
        output = self.forward_head(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the input of the heatmap layer: `(B, deconv_width, H/4, W/4)`."""
        check_image(image, self.input_multiple, self.in_chans)
        features = self.backbone(self.normalize(image))[-1]
        if features.shape[1] != self.backbone_channels:  # some timm networks keep channels last
            features = features.movedim(-1, 1)
        return self.deconv_layers(features)

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the output for that of `forward_features`."""
        return self.final_layer(features)

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the head to keypoints `(B, K, 2)` in pixels and scores `(B, K)`."""
        return decode_output(self, output)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_output(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the head for other keypoints; 0 removes it."""
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = build_head(self, self.num_features)
        for layer in self.final_layer.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=INIT_STD)
                nn.init.zeros_(cast(Tensor, layer.bias))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: backbone, deconvolutions, head."""
        block = r"^backbone\.(?:layer|blocks\.|stages[._])(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {
            "stem": r"^backbone\.(?!(?:layer|blocks\.|stages[._])\d)",
            "blocks": block,
            "deconvolutions": r"^deconv_layers",
            "head": r"^final_layer",
        }


def stride_on_first_conv(resnet: nn.Module) -> None:
    """Move the bottlenecks' strides from the 3x3 to the first 1x1 convolutions, as in Caffe."""
    for block in resnet.modules():
        conv1, conv2 = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(conv2, nn.Conv2d) and isinstance(conv1, nn.Conv2d) and hasattr(block, "conv3"):
            conv1.stride, conv2.stride = conv2.stride, conv1.stride


@register_model
def simple_baseline_resnet18(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-18, 15.4 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet18", **kwargs})


@register_model
def simple_baseline_resnet34(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-34, 25.5 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet34", **kwargs})


@register_model
def simple_baseline_resnet50(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-50, 34.0 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet50", **kwargs})


@register_model
def simple_baseline_resnet101(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-101, 53.0 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet101", **kwargs})


@register_model
def simple_baseline_resnet152(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-152, 68.6 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet152", **kwargs})


@register_model
def simple_baseline_lite(**kwargs: Any) -> SimpleBaseline:
    """For CPUs, not in the paper: EfficientNet-Lite2, deconvolutions 128 wide, 5.6 M parameters."""
    return SimpleBaseline(**{"backbone": "tf_efficientnet_lite2", "deconv_width": 128, **kwargs})
