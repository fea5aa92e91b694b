"""Simple Baselines for Human Pose Estimation and Tracking (Xiao, Wu, Wei; ECCV 2018; arXiv 1804.06208).

A classification backbone, three transposed convolutions up to a quarter of the input's size, and a 1x1 convolution with
one heatmap per keypoint.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 32
    Out  heatmaps  (B, K, H/4, W/4)

Departures
    - The authors feed BGR images normalised with RGB constants. Here images are RGB; the converter of their checkpoints
      (`posezoo.checkpoints`) folds the swap into the first convolution and the normalisation buffers.
    - The backbone is timm's, so that any timm backbone can take the ResNet's place; keys are the authors' with
      `backbone.` in front, as in mmpose. Backbones of stride 16 (vision transformers) need `num_deconvs=2` for heatmaps
      of a quarter of the input's size.
    - `caffe_style=True` selects the authors' second ResNet, whose stride sits on the first 1x1 of a block.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from posezoo import heatmaps
from posezoo.backbones import timm_backbone
from posezoo.contract import PoseModel, check_image, predict_heatmaps
from posezoo.layers import Normalize
from posezoo.registry import Weights, openmmlab, register_model

INIT_STD = 0.001  # of the head's convolutions (section 4.1)
MMPOSE_0 = "top_down/resnet/res"
MMPOSE_1 = "v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_res"
PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}  # deconvolution kernel -> padding, output padding that double the size


class SimpleBaseline(PoseModel):
    """Backbone, deconvolutions, heatmaps (section 2).

    Args:
        backbone: any timm network, by name.
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layer, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        num_deconvs: number of transposed convolutions, each doubling the resolution (section 4.1: 3).
        deconv_width: channels of each (section 4.1: 256).
        deconv_kernel: 4, 3 or 2 (Table 3: 4 is best).
        caffe_style: put the ResNet's strides on the first 1x1 convolutions.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or "udp".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as the authors do.
        pretrained_backbone: start from timm's ImageNet weights, downloaded.

    Example:
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
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        if deconv_kernel not in PADDING:
            raise ValueError(f"deconv_kernel: expected one of {sorted(PADDING)}, got {deconv_kernel!r}")
        self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
        self.normalize = Normalize(mean, std)
        if caffe_style:
            stride_on_first_conv(self.backbone)
        channels, reduction = self.backbone.feature_info.channels()[-1], self.backbone.feature_info.reduction()[-1]
        self.input_multiple = max(32, reduction)
        self.stride = reduction / 2**num_deconvs
        self.backbone_channels, self.num_features = channels, deconv_width if num_deconvs else channels
        self.decoding, self.flip_shift = decoding, flip_shift

        self.deconv_layers = deconvolutions(channels, deconv_width, num_deconvs, deconv_kernel)
        self.final_layer: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple of them with `all_stages`."""
        features = self.forward_features(image)
        output = self.final_layer(features)
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the input of the heatmap layer: `(B, deconv_width, H/4, W/4)`."""
        check_image(image, self.input_multiple)
        features = self.backbone(self.normalize(image))[-1]
        if features.shape[1] != self.backbone_channels:  # some timm networks keep channels last
            features = features.movedim(-1, 1)
        return self.deconv_layers(features)

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps to keypoints `(B, K, 2)` in pixels of the input, and scores `(B, K)`."""
        return heatmaps.decode(output, stride=self.stride, method=self.decoding)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image."""
        return predict_heatmaps(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the heatmap layer for other keypoints; 0 removes it."""
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer = final_layer(self.num_features, num_keypoints)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable gradient checkpointing of the backbone."""
        self.backbone.set_grad_checkpointing(enable)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: backbone, deconvolutions, head."""
        block = r"^backbone\.(?:layer|blocks\.|stages[._])(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {
            "stem": r"^backbone\.(?!(?:layer|blocks\.|stages[._])\d)",
            "blocks": block,
            "deconvolutions": r"^deconv_layers",
            "head": r"^final_layer",
        }


def deconvolutions(channels: int, width: int, count: int, kernel: int) -> nn.Sequential:
    """Stack `count` times ConvTranspose, BatchNorm, ReLU; each doubles height and width."""
    padding, output_padding = PADDING[kernel]
    layers: list[nn.Module] = []
    for _ in range(count):
        deconv = nn.ConvTranspose2d(channels, width, kernel, 2, padding, output_padding, bias=False)
        nn.init.normal_(deconv.weight, std=INIT_STD)
        layers += [deconv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


def final_layer(channels: int, num_keypoints: int) -> nn.Module:
    """Build the 1x1 convolution to heatmaps, or the identity for 0 keypoints."""
    if not num_keypoints:
        return nn.Identity()
    head = nn.Conv2d(channels, num_keypoints, 1)
    nn.init.normal_(head.weight, std=INIT_STD)
    nn.init.zeros_(cast(Tensor, head.bias))
    return head


def stride_on_first_conv(resnet: nn.Module) -> None:
    """Move each strided bottleneck's stride from its 3x3 to its first 1x1 convolution, as in Caffe's ResNets."""
    for block in resnet.modules():
        conv1, conv2 = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(conv2, nn.Conv2d) and isinstance(conv1, nn.Conv2d) and hasattr(block, "conv3"):
            conv1.stride, conv2.stride = conv2.stride, conv1.stride


def authors(skeleton: str, score: float, input_size: tuple[int, int]) -> Weights:
    """The record of a file of the authors, to be downloaded by hand from their folder."""
    coco = skeleton == "coco17"
    boxes = "detections of person AP 56.4" if coco else "annotated boxes"
    return Weights(
        kwargs={"num_keypoints": 17 if coco else 16, "skeleton": skeleton},
        input_size=input_size,
        skeleton=skeleton,
        codec="msra",
        channel_order="BGR",
        flip_shift=True,
        metrics={"COCO val2017": {"AP": score}} if coco else {"MPII val": {"PCKh@0.5": score}},
        metrics_by="authors",
        protocol=f"{boxes}; averaged with the mirror image",
        data="COCO train2017" if coco else "MPII",
        data_license="COCO terms of use" if coco else "MPII: non-commercial research",
        license="none stated; published in an MIT repository, for research",
        paper="https://arxiv.org/abs/1804.06208",
        origin="https://drive.google.com/drive/folders/13_wJ6nC7my1KKouMkQMqyr9r1ZnLnukP",
        converter="pose_resnet",
    )


def pytorchcv(name: str, digest: str, ap: float) -> Weights:
    """The record of a file of pytorchcv, to be downloaded by hand and unpacked; it has a sha1, and no sha256."""
    file = f"simplepose_{name}_coco-{round(1e4 * ap)}-{digest}.pth.zip"
    return replace(
        authors("coco17", ap, (256, 192)),
        channel_order="RGB",
        metrics_by="pytorchcv",
        protocol="person boxes not stated",
        license="none stated; published in an MIT repository",
        origin=f"https://github.com/osmr/imgclsmob/releases/download/v0.0.455/{file}",
        converter="pytorchcv",
    )


SMALL, LARGE, SQUARE = (256, 192), (384, 288), (256, 256)


@register_model(weights={"coco_256x192_pytorchcv": pytorchcv("resnet18", "7c3656b3", 0.6631)})
def simple_baseline_resnet18(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-18, 15.4 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet18", **kwargs})


@register_model
def simple_baseline_resnet34(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-34, 25.5 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet34", **kwargs})


VISIBILITY = "v1/body_2d_keypoint/topdown_heatmap/coco/td-hm-vis_res"  # has a head for visibility too, left out


# mmpose's are Apache-2.0, those of its version 0 end in "_v0"; "authors" are the authors' own files
@register_model(
    weights={
        "coco_256x192": openmmlab(f"{MMPOSE_1}50_8xb64-210e_coco-256x192-04af38ce_20220923.pth", SMALL, coco_ap=0.718),
        "coco_384x288": openmmlab(f"{MMPOSE_1}50_8xb64-210e_coco-384x288-7b8db90e_20220923.pth", LARGE, coco_ap=0.731),
        "mpii_256x256": openmmlab(f"{MMPOSE_0}50_mpii_256x256-418ffc88_20200812.pth", SQUARE, mpii_pckh=0.882),
        "coco_256x192_v0": openmmlab(f"{MMPOSE_0}50_coco_256x192-ec54d7f3_20200709.pth", SMALL, coco_ap=0.718),
        "coco_384x288_v0": openmmlab(f"{MMPOSE_0}50_coco_384x288-e6f795e9_20200709.pth", LARGE, coco_ap=0.731),
        "coco_256x192_dark": openmmlab(
            f"{MMPOSE_1}50_dark-8xb64-210e_coco-256x192-c129dcb6_20220926.pth", SMALL, coco_ap=0.724, codec="dark"
        ),
        "coco_384x288_dark": openmmlab(
            f"{MMPOSE_1}50_dark-8xb64-210e_coco-384x288-8b90b538_20220926.pth", LARGE, coco_ap=0.735, codec="dark"
        ),
        "coco_256x192_dark_v0": openmmlab(
            f"{MMPOSE_0}50_coco_256x192_dark-43379d20_20200709.pth", SMALL, coco_ap=0.724, codec="dark"
        ),
        "coco_384x288_dark_v0": openmmlab(
            f"{MMPOSE_0}50_coco_384x288_dark-33d3e5e5_20210203.pth", LARGE, coco_ap=0.735, codec="dark"
        ),
        "coco_256x192_fp16": openmmlab(
            f"{MMPOSE_1}50_fp16-8xb64-210e_coco-256x192-463da051_20220927.pth", SMALL, coco_ap=0.716
        ),
        "coco_aic_256x192": openmmlab(
            f"{VISIBILITY}50_8xb64-210e_coco-aic-256x192-merge-21815b2c_20230726.pth", SMALL, coco_aic_ap=0.729
        ),
        "crowdpose_256x192": openmmlab(
            f"{MMPOSE_0}50_crowdpose_256x192-c6a526b6_20201227.pth", SMALL, crowdpose_ap=0.637
        ),
        "posetrack18_256x192": openmmlab(
            f"{MMPOSE_0}50_posetrack18_256x192-a62807c7_20201028.pth", SMALL, posetrack18_map=0.812
        ),
        "jhmdb1_256x256": openmmlab(f"{MMPOSE_0}50_jhmdb_sub1_256x256-932cb3b4_20201122.pth", SQUARE, jhmdb_pck=0.961),
        "jhmdb2_256x256": openmmlab(f"{MMPOSE_0}50_jhmdb_sub2_256x256-83d606f7_20201122.pth", SQUARE, jhmdb_pck=0.950),
        "jhmdb3_256x256": openmmlab(f"{MMPOSE_0}50_jhmdb_sub3_256x256-c4ec1a0b_20201122.pth", SQUARE, jhmdb_pck=0.967),
        "coco_256x192_authors": authors("coco17", 0.704, SMALL),
        "coco_384x288_authors": authors("coco17", 0.722, LARGE),
        "mpii_256x256_authors": authors("mpii16", 0.88532, SQUARE),
        "mpii_384x384_authors": authors("mpii16", 0.89066, (384, 384)),
        "coco_256x192_pytorchcv": pytorchcv("resnet50b", "621d2545", 0.7102),
    }
)
def simple_baseline_resnet50(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-50, 34.0 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet50", **kwargs})


@register_model(
    weights={
        "coco_256x192": openmmlab(f"{MMPOSE_1}101_8xb64-210e_coco-256x192-065d3625_20220926.pth", SMALL, coco_ap=0.728),
        "coco_384x288": openmmlab(f"{MMPOSE_0}101_coco_384x288-8c71bdc9_20200709.pth", LARGE, coco_ap=0.748),
        "mpii_256x256": openmmlab(f"{MMPOSE_0}101_mpii_256x256-416f5d71_20200812.pth", SQUARE, mpii_pckh=0.888),
        "coco_256x192_v0": openmmlab(f"{MMPOSE_0}101_coco_256x192-6e6babf0_20200708.pth", SMALL, coco_ap=0.726),
        "coco_256x192_dark": openmmlab(
            f"{MMPOSE_1}101_dark-8xb64-210e_coco-256x192-528ec248_20220926.pth", SMALL, coco_ap=0.733, codec="dark"
        ),
        "coco_384x288_dark": openmmlab(
            f"{MMPOSE_1}101_dark-8xb64-210e_coco-384x288-487d40a4_20220926.pth", LARGE, coco_ap=0.749, codec="dark"
        ),
        "coco_256x192_dark_v0": openmmlab(
            f"{MMPOSE_0}101_coco_256x192_dark-64d433e6_20200812.pth", SMALL, coco_ap=0.732, codec="dark"
        ),
        "coco_384x288_dark_v0": openmmlab(
            f"{MMPOSE_0}101_coco_384x288_dark-cb45c88d_20210203.pth", LARGE, coco_ap=0.749, codec="dark"
        ),
        "aic_256x192": openmmlab(f"{MMPOSE_0}101_aic_256x192-79b35445_20200826.pth", SMALL, aic_ap=0.294),
        "crowdpose_256x192": openmmlab(
            f"{MMPOSE_0}101_crowdpose_256x192-8f5870f4_20201227.pth", SMALL, crowdpose_ap=0.647
        ),
        "crowdpose_320x256": openmmlab(
            f"{MMPOSE_0}101_crowdpose_320x256-c88c512a_20201227.pth", (320, 256), crowdpose_ap=0.661
        ),
        "coco_256x192_authors": authors("coco17", 0.714, SMALL),
        "coco_384x288_authors": authors("coco17", 0.736, LARGE),
        "mpii_256x256_authors": authors("mpii16", 0.89131, SQUARE),
        "mpii_384x384_authors": authors("mpii16", 0.90003, (384, 384)),
        "coco_256x192_pytorchcv": pytorchcv("resnet101b", "540c29ec", 0.7244),
    }
)
def simple_baseline_resnet101(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-101, 53.0 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet101", **kwargs})


@register_model(
    weights={
        "coco_256x192": openmmlab(f"{MMPOSE_1}152_8xb32-210e_coco-256x192-0345f330_20220928.pth", SMALL, coco_ap=0.736),
        "coco_384x288": openmmlab(f"{MMPOSE_1}152_8xb32-210e_coco-384x288-7fbb906f_20220927.pth", LARGE, coco_ap=0.750),
        "mpii_256x256": openmmlab(f"{MMPOSE_0}152_mpii_256x256-3ecba29d_20200812.pth", SQUARE, mpii_pckh=0.889),
        "coco_256x192_v0": openmmlab(f"{MMPOSE_0}152_coco_256x192-f6e307c2_20200709.pth", SMALL, coco_ap=0.735),
        "coco_384x288_v0": openmmlab(f"{MMPOSE_0}152_coco_384x288-3860d4c9_20200709.pth", LARGE, coco_ap=0.750),
        "coco_256x192_dark": openmmlab(
            f"{MMPOSE_1}152_dark-8xb32-210e_coco-256x192-f754df5f_20221031.pth", SMALL, coco_ap=0.743, codec="dark"
        ),
        "coco_384x288_dark": openmmlab(
            f"{MMPOSE_1}152_dark-8xb32-210e_coco-384x288-329f8454_20221031.pth", LARGE, coco_ap=0.757, codec="dark"
        ),
        "coco_256x192_dark_v0": openmmlab(
            f"{MMPOSE_0}152_coco_256x192_dark-ab4840d5_20200812.pth", SMALL, coco_ap=0.745, codec="dark"
        ),
        "coco_384x288_dark_v0": openmmlab(
            f"{MMPOSE_0}152_coco_384x288_dark-d3b8ebd7_20210203.pth", LARGE, coco_ap=0.757, codec="dark"
        ),
        "crowdpose_256x192": openmmlab(
            f"{MMPOSE_0}152_crowdpose_256x192-dbd49aba_20201227.pth", SMALL, crowdpose_ap=0.656
        ),
        "coco_256x192_authors": authors("coco17", 0.72, SMALL),
        "coco_384x288_authors": authors("coco17", 0.743, LARGE),
        "mpii_256x256_authors": authors("mpii16", 0.8962, SQUARE),
        "mpii_384x384_authors": authors("mpii16", 0.902, (384, 384)),
        "coco_256x192_pytorchcv": pytorchcv("resnet152b", "3a358d7d", 0.7253),
    }
)
def simple_baseline_resnet152(**kwargs: Any) -> SimpleBaseline:
    """Simple Baselines with ResNet-152, 68.6 million parameters."""
    return SimpleBaseline(**{"backbone": "resnet152", **kwargs})


@register_model(
    weights={
        "lspet_192x192": Weights(
            sources=("package:simple_baseline_lite.lspet_192x192",),
            sha256="99c5e813b09fe37468f0397fd48322da7c851013497a950c211ef8414b75867f",
            size=11_363_624,
            kwargs={"num_keypoints": 14, "skeleton": "lsp14"},
            input_size=(192, 192),
            skeleton="lsp14",
            codec="msra",
            channel_order="RGB",
            flip_shift=True,
            metrics={"LSPET 7001-7500": {"PCK@0.2": 0.647}},
            metrics_by="posezoo",
            protocol="boxes around the annotated keypoints",
            data="Leeds Sports Pose Extended (images 1 to 7000)",
            data_license="none stated; research use",
            license="research-only",
            paper="https://arxiv.org/abs/1804.06208",
        )
    }
)
def simple_baseline_lite(**kwargs: Any) -> SimpleBaseline:
    """EfficientNet-Lite2 trunk and deconvolutions 128 wide, 5.6 million parameters: for CPUs. Not in the paper."""
    return SimpleBaseline(**{"backbone": "tf_efficientnet_lite2", "deconv_width": 128, **kwargs})
