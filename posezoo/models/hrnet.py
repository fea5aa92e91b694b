"""Deep High-Resolution Representation Learning for Human Pose Estimation (Sun, Xiao, Liu, Wang; CVPR 2019).

arXiv 1902.09212.

A high-resolution branch is kept from start to end. Each stage adds a branch of half the resolution and twice the width,
and after every few blocks each branch receives the sum of all branches, resampled to its resolution.

    In   image     (B, 3, H, W)        RGB in [0, 1], H and W multiples of 32
    Out  heatmaps  (B, K, H/4, W/4)    from the high-resolution branch

Departures
    - None from the authors' pose network, whose keys these are. timm's network of the same name goes on to lower
      resolutions after stage 4, for classification; `pretrained_backbone=True` takes the part that both share.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo import heatmaps
from posezoo.backbones import hub_state_dict
from posezoo.contract import PoseModel, check_image, predict_heatmaps
from posezoo.layers import Normalize
from posezoo.registry import Weights, openmmlab, register_model

MODULES_PER_STAGE = (1, 4, 3)  # stages 2, 3, 4 (section 3)
BLOCKS_PER_MODULE = 4  # residual blocks per branch between two exchanges (section 3)
STEM_WIDTH, STEM_OUT = 64, 256
INIT_STD = 0.001
MMPOSE_0 = "top_down/hrnet/hrnet"
MMPOSE_1 = "v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet"
DRIVE = "https://drive.google.com"


class HRNet(PoseModel):
    """Parallel branches, repeatedly fused (Figure 1).

    Args:
        width: channels of the high-resolution branch; the others have 2, 4 and 8 times as many.
        num_keypoints: channels of the heatmaps. 0 removes the heatmap layer, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        decoding: how `decode` refines the highest cell: "argmax", "quarter", "dark", "soft" or "udp".
        flip_shift: shift mirrored heatmaps by one cell before averaging, as the authors do.
        pretrained_backbone: start from timm's ImageNet weights for this width, downloaded.

    Example:
        >>> model = HRNet(width=8)
        >>> model(model.example_input()).shape
        torch.Size([1, 17, 64, 48])
    """

    head_keys = ("final_layer",)
    input_size = (256, 192)
    stride = 4.0

    def __init__(
        self,
        *,
        width: int = 32,
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        decoding: str = "quarter",
        flip_shift: bool = True,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.num_features, self.decoding, self.flip_shift = width, decoding, flip_shift

        self.normalize = Normalize()
        self.conv1, self.bn1 = nn.Conv2d(3, STEM_WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv2, self.bn2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.layer1 = nn.Sequential(Bottleneck(STEM_WIDTH), *(Bottleneck(STEM_OUT) for _ in range(3)))
        self.transition1, self.stage2 = transition([STEM_OUT], widths[:2]), stage(widths[:2], MODULES_PER_STAGE[0])
        self.transition2, self.stage3 = transition(widths[:2], widths[:3]), stage(widths[:3], MODULES_PER_STAGE[1])
        self.transition3 = transition(widths[:3], widths)
        self.stage4 = stage(widths, MODULES_PER_STAGE[2], last_outputs=1)
        self.final_layer: nn.Module

        initialize(self)
        if pretrained_backbone:
            published = hub_state_dict(f"timm/hrnet_w{width}.ms_in1k")
            own = self.state_dict()
            self.load_state_dict(
                {key: value if key.startswith("normalize.") else published[key] for key, value in own.items()}
            )
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to heatmaps `(B, K, H/4, W/4)`; a 1-tuple of them with `all_stages`."""
        output = self.final_layer(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the high-resolution branch after stage 4: `(B, width, H/4, W/4)`."""
        check_image(image, 32)
        x = F.relu(self.bn1(self.conv1(self.normalize(image))))
        x = F.relu(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        branches = self.run(self.stage2, branch_off(self.transition1, branches))
        branches = self.run(self.stage3, branch_off(self.transition2, branches))
        branches = self.run(self.stage4, branch_off(self.transition3, branches))
        return branches[0]

    def run(self, modules: nn.Sequential, branches: list[Tensor]) -> list[Tensor]:
        for module in modules:
            if self.grad_checkpointing and self.training:
                branches = checkpoint(module, branches, use_reentrant=False)
            else:
                branches = module(branches)
        return branches

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
        self.final_layer = nn.Conv2d(self.num_features, num_keypoints, 1) if num_keypoints else nn.Identity()
        initialize(self.final_layer)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: stem, stages (or their modules), head."""
        block = r"^(?:layer|transition|stage)(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {"stem": r"^(?:conv|bn)[12]", "blocks": block, "head": r"^final_layer"}


class HighResolutionModule(nn.Module):
    """Residual blocks on every branch, then the exchange between them (Figure 3).

    `(B, width_i, H/2^i, W/2^i)` for each branch i, in and out; only the first `outputs` branches come out.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS_PER_MODULE))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(resample(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        return [fuse(layers, branches) for layers in self.fuse_layers]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, 64 wide, and a shortcut, to 256 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, STEM_WIDTH, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv2, self.bn2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(STEM_WIDTH)
        self.conv3, self.bn3 = nn.Conv2d(STEM_WIDTH, STEM_OUT, 1, bias=False), nn.BatchNorm2d(STEM_OUT)
        self.downsample = nn.Identity() if channels == STEM_OUT else conv_bn(channels, STEM_OUT, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


def fuse(layers: Any, branches: list[Tensor]) -> Tensor:
    """Sum all branches after resampling them to one resolution (Equation 1)."""
    first, *others = (layer(x) for layer, x in zip(layers, branches, strict=True))
    return F.relu(sum(others, first))


def conv_bn(channels: int, width: int, kernel: int, stride: int = 1, *, relu: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), *([nn.ReLU(inplace=True)] if relu else []))


def stage(widths: Sequence[int], modules: int, *, last_outputs: int | None = None) -> nn.Sequential:
    """Build a stage of high-resolution modules; the last one may return fewer branches."""
    outputs = [len(widths)] * (modules - 1) + [last_outputs or len(widths)]
    return nn.Sequential(*(HighResolutionModule(widths, count) for count in outputs))


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Build transition layers: adapt the existing branches and add one at half the resolution."""
    layers: list[nn.Module] = []
    for index, width in enumerate(after):
        if index >= len(before):  # the new branch starts from the last one
            layers.append(nn.Sequential(conv_bn(before[-1], width, 3, stride=2, relu=True)))
        elif before[index] != width:
            layers.append(conv_bn(before[index], width, 3, relu=True))
        else:
            layers.append(nn.Identity())
    return nn.ModuleList(layers)


def branch_off(layers: nn.ModuleList, branches: list[Tensor]) -> list[Tensor]:
    """Apply a `transition`; the last branch is also the input of the new one."""
    return [layer(branches[min(index, len(branches) - 1)]) for index, layer in enumerate(layers)]


def resample(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """Resample a branch to another's width and resolution: 1x1 convolution and upsampling, or strided 3x3."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*conv_bn(widths[source], widths[target], 1), up)
    steps = target - source
    return nn.Sequential(
        *(conv_bn(widths[source], widths[source], 3, stride=2, relu=True) for _ in range(steps - 1)),
        conv_bn(widths[source], widths[target], 3, stride=2),
    )


def initialize(module: nn.Module) -> None:
    """Normal convolutions of standard deviation 0.001, as the authors' pose network."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def authors(skeleton: str, metrics: dict[str, dict[str, float]], input_size: tuple[int, int], **place: Any) -> Weights:
    """The record of a file of the HRNet authors; without sources, to be downloaded by hand."""
    coco = skeleton == "coco17"
    boxes = "detections of person AP 56.4" if coco else "annotated boxes"
    return Weights(
        kwargs={"num_keypoints": 17 if coco else 16, "skeleton": skeleton},
        input_size=input_size,
        skeleton=skeleton,
        codec="msra",
        channel_order="RGB",
        flip_shift=True,
        metrics=metrics,
        metrics_by="authors",
        protocol=f"{boxes}; averaged with the mirror image",
        data="COCO train2017" if coco else "MPII",
        data_license="COCO terms of use" if coco else "MPII: non-commercial research",
        license="none stated; published in an MIT repository",
        paper="https://arxiv.org/abs/1902.09212",
        converter="hrnet",
        **{"origin": f"{DRIVE}/drive/folders/1hOTihvbyIxsm5ygDpbUuJ7O_tzv4oXjC", **place},
    )


def coco(ap: float) -> dict[str, dict[str, float]]:
    return {"COCO val2017": {"AP": ap}}


SMALL, LARGE, SQUARE = (256, 192), (384, 288), (256, 256)


# mmpose's are Apache-2.0, those of its version 0 end in "_v0"; "authors" are the authors' own files
@register_model(
    weights={
        "coco_256x192": openmmlab(
            f"{MMPOSE_1}-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", SMALL, coco_ap=0.749
        ),
        "coco_384x288": openmmlab(
            f"{MMPOSE_1}-w32_8xb64-210e_coco-384x288-ca5956af_20220909.pth", LARGE, coco_ap=0.761
        ),
        "mpii_256x256": openmmlab(f"{MMPOSE_0}_w32_mpii_256x256-6c4f923f_20200812.pth", SQUARE, mpii_pckh=0.900),
        "coco_256x192_v0": openmmlab(f"{MMPOSE_0}_w32_coco_256x192-c78dce93_20200708.pth", SMALL, coco_ap=0.746),
        "coco_384x288_v0": openmmlab(f"{MMPOSE_0}_w32_coco_384x288-d9f0d786_20200708.pth", LARGE, coco_ap=0.760),
        "coco_256x192_dark": openmmlab(
            f"{MMPOSE_1}-w32_dark-8xb64-210e_coco-256x192-0e00bf12_20220914.pth", SMALL, coco_ap=0.757, codec="dark"
        ),
        "coco_384x288_dark": openmmlab(
            f"{MMPOSE_1}-w32_dark-8xb64-210e_coco-384x288-9bab4c9b_20220917.pth", LARGE, coco_ap=0.766, codec="dark"
        ),
        "mpii_256x256_dark": openmmlab(
            f"{MMPOSE_0}_w32_mpii_256x256_dark-f1601c5b_20200927.pth", SQUARE, mpii_pckh=0.904, codec="dark"
        ),
        "coco_256x192_dark_v0": openmmlab(
            f"{MMPOSE_0}_w32_coco_256x192_dark-07f147eb_20200812.pth", SMALL, coco_ap=0.757, codec="dark"
        ),
        "coco_384x288_dark_v0": openmmlab(
            f"{MMPOSE_0}_w32_coco_384x288_dark-307dafc2_20210203.pth", LARGE, coco_ap=0.766, codec="dark"
        ),
        "coco_256x192_udp": openmmlab(
            f"{MMPOSE_1}-w32_udp-8xb64-210e_coco-256x192-73ede547_20220914.pth", SMALL, coco_ap=0.762, codec="udp"
        ),
        "coco_384x288_udp": openmmlab(
            f"{MMPOSE_1}-w32_udp-8xb64-210e_coco-384x288-9a3f7c85_20220914.pth", LARGE, coco_ap=0.768, codec="udp"
        ),
        "coco_256x192_udp_v0": openmmlab(
            "top_down/udp/hrnet_w32_coco_256x192_udp-aba0be42_20210220.pth", SMALL, coco_ap=0.760, codec="udp"
        ),
        "coco_384x288_udp_v0": openmmlab(
            "top_down/udp/hrnet_w32_coco_384x288_udp-e97c1a0f_20210223.pth", LARGE, coco_ap=0.769, codec="udp"
        ),
        "coco_256x192_fp16": openmmlab(
            f"{MMPOSE_1}-w32_fp16-8xb64-210e_coco-256x192-f1e84e3b_20220914.pth", SMALL, coco_ap=0.749
        ),
        "coco_256x192_coarsedropout": openmmlab(
            "top_down/augmentation/hrnet_w32_coco_256x192_coarsedropout-0f16a0ce_20210320.pth", SMALL, coco_ap=0.753
        ),
        "coco_256x192_gridmask": openmmlab(
            "top_down/augmentation/hrnet_w32_coco_256x192_gridmask-868180df_20210320.pth", SMALL, coco_ap=0.752
        ),
        "coco_256x192_photometric": openmmlab(
            "top_down/augmentation/hrnet_w32_coco_256x192_photometric-308cf591_20210320.pth", SMALL, coco_ap=0.754
        ),
        "coco_aic_256x192": openmmlab(
            f"{MMPOSE_1}-w32_8xb64-210e_coco-aic-256x192-merge-a9ea6d77_20230818.pth", SMALL, coco_aic_ap=0.756
        ),
        "coco_aic19_256x192": openmmlab(
            f"{MMPOSE_1}-w32_8xb64-210e_coco-aic-256x192-combine-458125cc_20230818.pth", SMALL, coco_aic19_ap=0.755
        ),
        "aic_256x192": openmmlab(f"{MMPOSE_0}_w32_aic_256x192-30a4e465_20200826.pth", SMALL, aic_ap=0.323),
        "crowdpose_256x192": openmmlab(
            f"{MMPOSE_0}_w32_crowdpose_256x192-960be101_20201227.pth", SMALL, crowdpose_ap=0.675
        ),
        "posetrack18_256x192": openmmlab(
            f"{MMPOSE_0}_w32_posetrack18_256x192-1ee951c4_20201028.pth", SMALL, posetrack18_map=0.834
        ),
        "posetrack18_384x288": openmmlab(
            f"{MMPOSE_0}_w32_posetrack18_384x288-806f00a3_20211130.pth", LARGE, posetrack18_map=0.837
        ),
        "coco_256x192_authors": authors(
            "coco17",
            coco(0.744),
            SMALL,
            sources=("hf-hub:Prophetetc/cocopose/pose_hrnet_w32_256x192.pth",),
            sha256="19bc083708bb8d873211e50d85d56344c10290c6e8b564c813fdde09645c4c1c",
            size=114_721_619,
            origin=f"{DRIVE}/file/d/1zYC7go9EV0XaSlSBjMaiyE_4TcHc_S38/view",
        ),
        "coco_256x192_authors_wrapped": authors(
            "coco17",
            coco(0.744),
            SMALL,
            sources=("hf-hub:LibreYOLO/LibreHRNetw32-pose/LibreHRNetw32-pose.pt",),
            sha256="c9d8eb383e63ce795f87a3ee2f2b0c8aa0df9bae981573ec4b3909d63815a825",
        ),
        "coco_384x288_authors": authors("coco17", coco(0.758), LARGE),
        "mpii_256x256_authors": authors(
            "mpii16",
            {"MPII val": {"PCKh@0.5": 0.903}},
            SQUARE,
            origin=f"{DRIVE}/file/d/1_wn2ifmoQprBrFvUCDedjPON4Y6jsN-v/view",
        ),
    }
)
def hrnet_w32(**kwargs: Any) -> HRNet:
    """HRNet-W32, 28.5 million parameters."""
    return HRNet(**{"width": 32, **kwargs})


@register_model(
    weights={
        "coco_256x192": openmmlab(
            f"{MMPOSE_1}-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth", SMALL, coco_ap=0.756
        ),
        "coco_384x288": openmmlab(
            f"{MMPOSE_1}-w48_8xb32-210e_coco-384x288-c161b7de_20220915.pth", LARGE, coco_ap=0.767
        ),
        "mpii_256x256": openmmlab(f"{MMPOSE_0}_w48_mpii_256x256-92cab7bd_20200812.pth", SQUARE, mpii_pckh=0.901),
        "coco_256x192_v0": openmmlab(f"{MMPOSE_0}_w48_coco_256x192-b9e0b3ab_20200708.pth", SMALL, coco_ap=0.756),
        "coco_384x288_v0": openmmlab(f"{MMPOSE_0}_w48_coco_384x288-314c8528_20200708.pth", LARGE, coco_ap=0.767),
        "coco_256x192_dark": openmmlab(
            f"{MMPOSE_1}-w48_dark-8xb32-210e_coco-256x192-e1ebdd6f_20220913.pth", SMALL, coco_ap=0.764, codec="dark"
        ),
        "coco_384x288_dark": openmmlab(
            f"{MMPOSE_1}-w48_dark-8xb32-210e_coco-384x288-39c3c381_20220916.pth", LARGE, coco_ap=0.772, codec="dark"
        ),
        "mpii_256x256_dark": openmmlab(
            f"{MMPOSE_0}_w48_mpii_256x256_dark-0decd39f_20200927.pth", SQUARE, mpii_pckh=0.905, codec="dark"
        ),
        "coco_256x192_dark_v0": openmmlab(
            f"{MMPOSE_0}_w48_coco_256x192_dark-8cba3197_20200812.pth", SMALL, coco_ap=0.764, codec="dark"
        ),
        "coco_384x288_dark_v0": openmmlab(
            f"{MMPOSE_0}_w48_coco_384x288_dark-e881a4b6_20210203.pth", LARGE, coco_ap=0.772, codec="dark"
        ),
        "coco_256x192_udp": openmmlab(
            f"{MMPOSE_1}-w48_udp-8xb32-210e_coco-256x192-3feaef8f_20220913.pth", SMALL, coco_ap=0.768, codec="udp"
        ),
        "coco_384x288_udp": openmmlab(
            f"{MMPOSE_1}-w48_udp-8xb32-210e_coco-384x288-70d7ab01_20220913.pth", LARGE, coco_ap=0.773, codec="udp"
        ),
        "coco_256x192_udp_v0": openmmlab(
            "top_down/udp/hrnet_w48_coco_256x192_udp-2554c524_20210223.pth", SMALL, coco_ap=0.767, codec="udp"
        ),
        "coco_384x288_udp_v0": openmmlab(
            "top_down/udp/hrnet_w48_coco_384x288_udp-0f89c63e_20210223.pth", LARGE, coco_ap=0.772, codec="udp"
        ),
        "posetrack18_256x192": openmmlab(
            f"{MMPOSE_0}_w48_posetrack18_256x192-b5d9b3f1_20211130.pth", SMALL, posetrack18_map=0.846
        ),
        "posetrack18_384x288": openmmlab(
            f"{MMPOSE_0}_w48_posetrack18_384x288-5fd6d3ff_20211130.pth", LARGE, posetrack18_map=0.846
        ),
        "coco_256x192_authors": authors("coco17", coco(0.751), SMALL),
        "coco_384x288_authors": authors(
            "coco17",
            coco(0.763),
            LARGE,
            sources=("hf-hub:Prophetetc/cocopose/pose_hrnet_w48_384x288.pth",),
            sha256="95e0fec3194826d5e3f806ea89be68bbb84517b114c3a32b3058c56610b5ef61",
            size=255_061_287,
            origin=f"{DRIVE}/file/d/1UoJhTtjHNByZSm96W3yFTfU5upJnsKiS/view",
        ),
        "coco_384x288_authors_wrapped": authors(
            "coco17",
            coco(0.763),
            LARGE,
            sources=("hf-hub:LibreYOLO/LibreHRNetw48-pose/LibreHRNetw48-pose.pt",),
            sha256="ab85504f323c43babdcbed6550f759d323efd0ffc284a0593043e108cd3c4df5",
        ),
    }
)
def hrnet_w48(**kwargs: Any) -> HRNet:
    """HRNet-W48, 63.6 million parameters."""
    return HRNet(**{"width": 48, **kwargs})
