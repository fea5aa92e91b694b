"""DeepPose: Human Pose Estimation via Deep Neural Networks (Toshev, Szegedy; CVPR 2014).

arXiv 1312.4659. A network of seven layers regresses all keypoints from the image of a person. Each
further stage has a network of the same kind: it crops a square around each predicted keypoint,
proportional to the size of the predicted pose, and regresses the displacement of the keypoint from
the middle of its square.

    In   image      (B, 3, H, W)     RGB in [0, 1]; H and W multiples of 220, the input size of every stage
    Out  keypoints  (B, K, 2)        pixels of the image, of the last stage; of every stage with `all_stages`

`predict_from_image` crops the squares of later stages from the full-resolution photograph, as in
the paper. The authors released no weights; mmpose's regression of the same name is in
`deeppose_resnet.py`.

Training, stage by stage (`examples/train_deeppose.py`); N is `geometry.normalize_points`:

    1        `keypoint_mse(model(image, stage=1), N(keypoints; whole_image(image)), visible)`
    s >= 2   `model.measure(s, ...)` once, with predictions on the training images; then simulated
             predictions, `boxes, target, weights = model.simulate(s, keypoints, visible)`, and
             `keypoint_mse(model(image, stage=s, boxes=boxes).flatten(0, 1), ...)`

AdaGrad with a learning rate of 0.0005, batches of 128, mirrored and shifted crops.

Departures
    - 220 pixels cannot become 55 after an 11x11 convolution of stride 4 without padding, which the
      paper leaves out; here it is 4. So are the constants of the normalisation layers (AlexNet's;
      `lrn="caffe"`), groups (none; `groups=2` for AlexNet's) and the initialisation (AlexNet's).
    - The paper counts about 40 million parameters. The widths in its text make 58.4; `widths=(48,
      128, 192, 192, 192, 4096, 4096)`, half of AlexNet's towers, 46.3.
    - Equation 6, read literally, counts the old location twice. Here it is added once.
    - The default crop has a `padding` of 1.5 for tight boxes, as in a reimplementation. The paper's
      are `data.CROPS`: "deeppose-lsp", the whole image, and "deeppose-flic", a detector's box
      times a constant that `data.detector_boxes.fit_padding` fits. `deeppose_flic` has 9 keypoints,
      those of FLIC's points that others use; the paper counts 10.
    - Squares have equal sides in pixels of the input, of the photograph only if it was not
      stretched. In `forward` stage 1 averages blocks of pixels of an input larger than 220.
    - Displacements are drawn in diameters, each coordinate by itself; the paper does not say.
    - Parts of a square outside the image have the mean colour; the paper does not say.
      `standardize=True` brings each crop to mean 0 and variance 1, as reimplementations do.
    - Simulated predictions get squares by the true diameter, predictions by the predicted one, as
      in the paper; it is one pixel at least. "Dropout set to 0.6" is the probability of dropping.
    - `backbone=` replaces the five convolutions of every stage by a timm backbone, of which the
      last feature map (7 x 7 for 220 pixels), and the two dense layers by a small neck: a 1x1
      convolution with batch norm and ReLU, flattened, and one dense layer (`neck_widths`). With
      `share_backbone=True` all stages have one backbone, which is meant to be trained before and
      frozen, and a neck and a head of their own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.backbones import backbone_groups, count_cells, last_map, timm_backbone
from posezoo.contract import PoseModel, check_image, predict_keypoints, require_flip_index
from posezoo.geometry import compose, crop, crop_boxes, denormalize_points, flip_keypoints, normalize_points
from posezoo.layers import ConvBNReLU, Normalize, check_choices, local_response_norm
from posezoo.refinement import (
    DRAWS,
    MIN_DIAMETER,
    TORSO,
    box_matrix,
    diameter_keypoints,
    displacement_statistics,
    pose_diameter,
    simulated_predictions,
    square_boxes,
    whole_image,
)
from posezoo.registry import register_model

INPUT = 220  # pixels (section 3.1)
WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)  # channels of the seven layers (section 3.1)
NECK_WIDTHS = (64, 512)  # of a timm backbone: channels of the 1x1 convolution, units of the dense layer
DROPOUT = 0.6  # of the fully connected layers (section 3.1)
SIGMA_LSP, SIGMA_FLIC = 2.0, 1.0  # side of a keypoint's square in diameters of the pose (section 4.1)
PEOPLE_TOGETHER = 8  # of whom `predict_from_image` holds the squares of all keypoints in memory
SKELETONS = {14: "lsp14", 9: "flic9"}  # the paper's data sets; FLIC's order with hips, which the diameter needs
LRN = {"alexnet": (2.0, 1e-4), "caffe": (1.0, 1e-4 / 5)}  # k, alpha; both sum 5 channels and raise to -0.75
CONV_STD, DENSE_STD, OUTPUT_STD = 0.01, 0.005, 0.01


class DeepPose(PoseModel):
    """The cascade (Figure 2).

    Args:
        num_keypoints: 0 removes the heads and all stages but the first, and `forward` returns its
            seventh layer.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is LSP's when
            there are 14, FLIC's when there are 9, COCO's when there are 17.
        num_stages: networks of the cascade (section 4.1: 3).
        sigma: side of a keypoint's square, in diameters of the pose.
        diameter: the two keypoints whose distance is the diameter; where one of them is not
            visible, their left-right counterparts. Without a torso it is the diagonal of the box
            around the keypoints.
        widths: channels of the seven layers.
        groups: of the second, fourth and fifth convolution; 2 as in AlexNet.
        lrn: constants of the normalisation layers, "alexnet" or "caffe".
        dropout: probability of dropping a unit of the fully connected layers.
        standardize: bring every crop to mean 0 and variance 1, per channel.
        backbone: any timm network, by name, in place of the convolutions, which `widths`, `groups`
            and `lrn` are for.
        share_backbone: one timm backbone for all stages.
        neck_widths: channels of the 1x1 convolution and units of the dense layer after a timm
            backbone.
        pretrained_backbone: start the timm backbone from ImageNet's weights, downloaded.

    Examples:
        >>> model = DeepPose(num_stages=2, widths=(8, 8, 8, 8, 8, 16, 16)).eval()
        >>> keypoints, scores = model.predict(torch.rand(5, 3, 440, 440))
        >>> keypoints.shape
        torch.Size([5, 14, 2])
    """

    head_keys = ("heads",)
    input_size: tuple[int, int] = (INPUT, INPUT)
    keep_aspect = False
    padding = 1.5

    def __init__(
        self,
        *,
        num_keypoints: int = 14,
        skeleton: str | Sequence[str] | None = None,
        num_stages: int = 3,
        sigma: float = SIGMA_LSP,
        diameter: Sequence[str] = TORSO,
        widths: Sequence[int] = WIDTHS,
        groups: int = 1,
        lrn: str = "alexnet",
        dropout: float = DROPOUT,
        standardize: bool = False,
        backbone: str | None = None,
        share_backbone: bool = False,
        neck_widths: Sequence[int] = NECK_WIDTHS,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        if num_stages < 1:
            raise ValueError(f"num_stages: expected 1 or more, got {num_stages}")
        if not sigma > 0:
            raise ValueError(f"sigma: expected the side of a square in diameters of the pose, above 0, got {sigma}")
        for name, given, layers in (("widths", widths, len(WIDTHS)), ("neck_widths", neck_widths, len(NECK_WIDTHS))):
            if len(given) != layers:
                raise ValueError(f"{name}: expected the channels of {layers} layers, got {tuple(given)}")
        check_choices(lrn=(lrn, LRN))
        self.num_stages, self.sigma, self.diameter = num_stages, sigma, tuple(diameter)
        if backbone is None and (share_backbone or pretrained_backbone):
            raise ValueError("share_backbone and pretrained_backbone are for timm's; name one with backbone=")
        self.standardize = standardize
        self.backbone: Any = None  # of all stages
        self.normalize = Normalize()
        if backbone is None:
            self.make_trunk: Any = partial(Trunk, widths=tuple(widths), groups=groups, lrn=lrn, dropout=dropout)
            self.num_features = widths[-1]
        else:
            shared, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
            self.normalize, self.num_features = Normalize(mean, std), neck_widths[-1]
            channels, cells = shared.feature_info.channels()[-1], count_cells(shared, INPUT)
            make = partial(Neck, channels, cells=cells, widths=tuple(neck_widths), dropout=dropout)
            if share_backbone:
                self.backbone, self.make_trunk = shared, make
            else:
                self.make_trunk = partial(BackboneTrunk, backbone, make, pretrained=pretrained_backbone)
        self.trunks, self.heads = nn.ModuleList(), nn.ModuleList()
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self,
        image: Tensor | None,
        all_stages: bool = False,
        stage: int | None = None,
        boxes: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Run the cascade: `(B, 3, H, W)` in [0, 1] to `(B, K, 2)` pixels, or those of every stage.

        No gradient goes through the squares of a stage to the stage before.

        Args:
            image: a person, H and W multiples of 220.
            all_stages: return the keypoints after each stage.
            stage: run only this one, counted from 1, for its training. Outputs are in units of its
                boxes; that of stage 1 is the whole image.
            boxes: of a later stage, `(B, ..., K, 4)` as (x1, y1, x2, y2) pixels, one around each
                keypoint, for outputs `(B, ..., K, 2)` of each crop's own keypoint.
            features: of `backbone_features`, flattened to `(N, C, h, w)`, in place of the image,
                for training on a frozen shared backbone; outputs `(N, K, 2)`, of every keypoint.

        Raises:
            ValueError: an image of another size, an unknown stage, or boxes that do not fit it.
        """
        if features is not None:
            index = self.checked(stage) - 1
            return self.heads[index](self.trunks[index](features))
        image = self.prepared(cast(Tensor, image))
        if not self.num_keypoints:
            features = self.run(1, self.crops(image))
            return (features,) if all_stages else features
        if stage is not None:
            return self.regress(image, stage, boxes)
        if boxes is not None:
            raise ValueError("boxes: the cascade finds its own; say which stage they are for, stage=2 or later")
        poses = [denormalize_points(self.regress(image, 1), whole_image(image))]  # Equation 5
        for later in range(2, self.num_stages + 1):
            boxes = self.joint_boxes(poses[-1].detach())  # Equation 7
            poses.append(denormalize_points(self.regress(image, later, boxes), boxes))  # Equation 6
        return tuple(poses) if all_stages else poses[-1]

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the seventh layer of the first stage's network: `(B, 4096)`."""
        return self.run(1, self.crops(self.prepared(image)))

    def prepared(self, image: Tensor) -> Tensor:
        check_image(image, INPUT, self.in_chans)
        return self.normalize(image)

    def regress(self, image: Tensor, stage: int, boxes: Tensor | None = None) -> Tensor:
        """psi(N(x; b); theta_s), in units of boxes: the whole image, or one per keypoint."""
        crops = self.crops(image, self.checked(stage), boxes)
        if stage == 1:
            return self.heads[0](self.run(1, crops))
        return self.own_keypoints(stage, crops.flatten(0, -4)).view(*crops.shape[:-3], 2)

    def checked(self, stage: int | None, first: int = 1) -> int:
        if stage is None or not first <= stage <= self.num_stages:
            raise ValueError(f"stage: expected {first} to {self.num_stages}, got {stage}")
        return stage

    def crops(self, image: Tensor, stage: int = 1, boxes: Tensor | None = None) -> Tensor:
        """Cut a stage's inputs from a prepared image: the whole image reduced, or its boxes."""
        if stage == 1:
            if boxes is not None:
                raise ValueError("boxes: stage 1 takes the whole image; leave boxes out")
            return F.adaptive_avg_pool2d(image, INPUT)
        if boxes is None or boxes.ndim < 3 or boxes.shape[-2:] != (self.num_keypoints, 4):
            raise ValueError(
                f"boxes: stage {stage} needs (B, ..., {self.num_keypoints}, 4), one box around each keypoint, got "
                f"{None if boxes is None else tuple(boxes.shape)}; model.simulate() or model.joint_boxes() makes them"
            )
        return crop_boxes(image, boxes, (INPUT, INPUT))

    def backbone_features(self, image: Tensor, stage: int = 1, boxes: Tensor | None = None) -> Tensor:
        """Return the shared backbone's maps of a stage's inputs, for `forward(features=...)`.

        Arguments are those of `forward`. Maps are `(B, C, h, w)`, later `(B, ..., K, C, h, w)`.

        Raises:
            ValueError: the stages have no shared backbone, or what `forward` raises.
        """
        if self.backbone is None:
            raise ValueError("the stages share no backbone; create the model with backbone=NAME, share_backbone=True")
        crops = self.crops(self.prepared(image), self.checked(stage), boxes)
        return self.convolve(crops.flatten(0, -4)).unflatten(0, crops.shape[:-3])

    def own_keypoints(self, stage: int, crops: Tensor) -> Tensor:
        """Regress keypoint i from crop i: `(N K, 3, 220, 220)` to `(N K, 2)`, in units of crops."""
        every = self.heads[stage - 1](self.run(stage, crops)).unflatten(0, (-1, self.num_keypoints))
        return torch.einsum("niic->nic", every).flatten(0, 1)

    def run(self, stage: int, crops: Tensor) -> Tensor:
        """Run a stage's network up to its seventh layer: `(N, 3, 220, 220) -> (N, 4096)`."""
        trunk, x = self.trunks[stage - 1], self.convolve(crops)
        if self.grad_checkpointing and self.training:
            return checkpoint(trunk, x, use_reentrant=False)
        return trunk(x)

    def convolve(self, crops: Tensor) -> Tensor:
        """Run what comes before a stage's own layers: standardisation and the shared backbone."""
        if self.standardize:
            variance, mean = torch.var_mean(crops, dim=(-2, -1), correction=0, keepdim=True)
            crops = (crops - mean) / (variance.sqrt() + 1e-5)
        return crops if self.backbone is None else last_map(self.backbone, crops)

    def joint_boxes(self, keypoints: Tensor) -> Tensor:
        """Return squares around predictions (Equation 7): `(..., K, 2) -> (..., K, 4)` pixels."""
        return square_boxes(keypoints, self.sigma * self.pose_diameter(keypoints)[..., None])

    def pose_diameter(self, keypoints: Tensor, visible: Tensor | None = None) -> Tensor:
        """Diameters of poses, `(..., K, 2), (..., K) -> (...)`: at least 1 pixel; NaN if hidden."""
        return pose_diameter(keypoints, visible, self.diagonals)

    @torch.no_grad()
    def measure(self, stage: int, pred: Tensor, target: Tensor, visible: Tensor) -> None:
        """Estimate mean and variance of the previous stage's errors, from which `simulate` draws.

        Predictions and ground truth of the training images are `(N, K, 2)` pixels. People without a
        visible diameter are left out. Errors are those of `refinement.displacement_statistics`.
        """
        head = cast(Head, self.heads[self.checked(stage, 2) - 1])
        visible = visible.bool()
        mean, variance = displacement_statistics(pred, target, visible, self.pose_diameter(target, visible))
        head.displacement_mean.copy_(mean)
        head.displacement_variance.copy_(variance)

    @torch.no_grad()
    def simulate(
        self,
        stage: int,
        keypoints: Tensor,
        visible: Tensor,
        *,
        draws: int = DRAWS,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return training samples of a later stage, around simulated predictions (section 3.2).

        Args:
            stage: 2 or later.
            keypoints: `(B, K, 2)` pixels, ground truth; any value where not visible.
            visible: `(B, K)` bool.
            draws: simulated predictions of each keypoint.

        Returns:
            boxes `(B, draws, K, 4)` for `forward`, targets `(B, draws, K, 2)` in units of the
            boxes, and a mask `(B, draws, K)` of the visible keypoints of people with a diameter.

        Examples:
            >>> model = DeepPose(num_stages=2, widths=(8, 8, 8, 8, 8, 16, 16))
            >>> truth, visible = 220 * torch.rand(6, 14, 2), torch.ones(6, 14, dtype=torch.bool)
            >>> model.measure(2, truth + torch.randn(6, 14, 2), truth, visible)
            >>> boxes, target, weights = model.simulate(2, truth, visible, draws=3)
            >>> model(model.example_input(6), stage=2, boxes=boxes).shape == target.shape
            True
        """
        head = cast(Head, self.heads[self.checked(stage, 2) - 1])
        if not head.displacement_variance.any():
            raise ValueError(
                f"stage {stage}: how far the stage before errs is not known; call model.measure({stage}, predictions, "
                "keypoints, visible) with its predictions on the training images"
            )
        visible = visible.bool()
        diameter = self.pose_diameter(keypoints, visible)
        known = visible & ~diameter.isnan()[:, None]
        diameter = diameter.nan_to_num(MIN_DIAMETER)
        keypoints = keypoints.masked_fill(~known[..., None], 0)
        errors = head.displacement_mean, head.displacement_variance
        pred = simulated_predictions(keypoints, diameter, *errors, draws=draws, generator=generator)
        boxes = square_boxes(pred, self.sigma * diameter[:, None, None])
        return boxes, normalize_points(keypoints[:, None], boxes), known[:, None].expand(-1, draws, -1)

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)` in pixels, scores `(B, K)` of 1; the paper has no scores."""
        return output, torch.ones_like(output[..., 0])

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_keypoints(self, image, flip=flip)

    @torch.no_grad()
    def predict_from_image(self, image: Tensor, matrices: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Run the cascade on people of a photo; later stages crop at full resolution (section 3.1).

        Args:
            image: `(3, H, W)` in [0, 1], the whole photograph.
            matrices: `(N, 2, 3)`, maps from its pixels to the crop of each person, `input_size`
                large (`geometry.crop_matrix`).
            flip: average with the mirror image.

        Returns:
            keypoints `(N, K, 2)` in pixels of the crops, and scores `(N, K)` of 1.
        """
        check_image(image[None])
        width = self.input_size[1]
        weight = next(self.parameters())
        image, matrices = image.to(weight), matrices.to(weight.device)
        keypoints = self.cascade(image, matrices)
        if flip:
            mirror_crop, mirror_image = (mirror(size, matrices) for size in (width, image.shape[-1]))
            mirrored = self.cascade(image.flip(-1), compose(compose(mirror_crop, matrices), mirror_image))
            keypoints = (keypoints + flip_keypoints(mirrored, width, require_flip_index(self))) / 2
        return self.decode(keypoints)

    def cascade(self, image: Tensor, matrices: Tensor) -> Tensor:
        """Return keypoints `(N, K, 2)` in pixels of the crops that `matrices` cut from `image`."""
        whole = self.normalize(crop(image, matrices, self.input_size).clamp(0, 1))
        photograph = self.normalize(image)
        poses = denormalize_points(self.regress(whole, 1), whole_image(whole))
        for stage in range(2, self.num_stages + 1):
            refined = []
            for pose, to_crop in zip(poses.split(PEOPLE_TOGETHER), matrices.split(PEOPLE_TOGETHER), strict=True):
                boxes = self.joint_boxes(pose)
                to_squares = compose(box_matrix(boxes, INPUT), to_crop[:, None].to(boxes))
                squares = crop(photograph, to_squares.flatten(0, 1).to(photograph), (INPUT, INPUT))
                refined.append(denormalize_points(self.own_keypoints(stage, squares).view_as(pose), boxes))
            poses = torch.cat(refined)
        return poses

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layers for other keypoints; 0 removes them and the later stages."""
        self.set_keypoints(num_keypoints, SKELETONS.get(num_keypoints) if skeleton is None else skeleton)
        self.diagonals = diameter_keypoints(self.skeleton, self.diameter)
        stages = self.num_stages if num_keypoints else 1
        self.trunks = self.trunks[:stages]
        self.trunks.extend(self.make_trunk() for _ in range(stages - len(self.trunks)))
        self.heads = nn.ModuleList(Head(self.num_features, num_keypoints) for _ in range(stages) if num_keypoints)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: the seven layers of every stage."""
        if not isinstance(self.trunks[0], Trunk):
            groups = backbone_groups(coarse, prefix=r"(?:trunks\.\d+\.)?")
            return {**groups, "neck": r"^trunks\.\d+\.(?:neck\.)?(?:conv|fc)", "head": r"^heads"}
        return {"layers": r"^trunks\.\d+\.(?:conv|fc)(\d+)", "head": r"^heads"}


class Trunk(nn.Module):
    """The seven layers of a stage (section 3.1): `(N, 3, 220, 220)` to `(N, widths[6])`."""

    def __init__(self, *, widths: Sequence[int], groups: int, lrn: str, dropout: float) -> None:
        super().__init__()
        w1, w2, w3, w4, w5, w6, w7 = widths
        k, alpha = LRN[lrn]
        self.norm = partial(local_response_norm, k=k, alpha=alpha)
        self.conv1 = nn.Conv2d(3, w1, 11, 4, padding=4)
        self.conv2 = nn.Conv2d(w1, w2, 5, 1, 2, groups=groups)
        self.conv3 = nn.Conv2d(w2, w3, 3, 1, 1)
        self.conv4 = nn.Conv2d(w3, w4, 3, 1, 1, groups=groups)
        self.conv5 = nn.Conv2d(w4, w5, 3, 1, 1, groups=groups)
        self.fc6 = nn.Linear(w5 * 6 * 6, w6)
        self.fc7 = nn.Linear(w6, w7)
        self.dropout = nn.Dropout(dropout)
        for name, layer in self.named_children():  # as AlexNet
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=CONV_STD if isinstance(layer, nn.Conv2d) else DENSE_STD)
                nn.init.constant_(layer.bias, 0.0 if name in ("conv1", "conv3") else 0.1)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.relu(self.conv1(x)))  # 55 x 55
        x = self.norm(F.relu(self.conv2(F.max_pool2d(x, 3, 2))))  # 27 x 27
        x = F.relu(self.conv3(F.max_pool2d(x, 3, 2)))  # 13 x 13
        x = F.relu(self.conv4(x))
        x = F.relu(self.conv5(x))
        x = F.max_pool2d(x, 3, 2).flatten(1)  # 6 x 6
        x = self.dropout(F.relu(self.fc6(x)))
        return self.dropout(F.relu(self.fc7(x)))


class Neck(nn.Module):
    """The layers after a timm backbone: `(N, channels, h, w)` to `(N, widths[1])`."""

    def __init__(self, channels: int, *, cells: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.conv = ConvBNReLU(channels, widths[0], 1, bias=False)
        self.fc = nn.Linear(widths[0] * cells, widths[1])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(F.relu(self.fc(self.conv(x).flatten(1))))


class BackboneTrunk(nn.Module):
    """A stage's own timm backbone and neck: `(N, 3, 220, 220)` to `(N, units)`."""

    def __init__(self, name: str, make_neck: Any, *, pretrained: bool) -> None:
        super().__init__()
        self.backbone = timm_backbone(name, pretrained=pretrained)[0]
        self.neck = make_neck()

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(last_map(self.backbone, x))


class Head(nn.Module):
    """The last layer of a stage, with mean and variance of the previous stage's errors."""

    displacement_mean: Tensor
    displacement_variance: Tensor

    def __init__(self, channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, 2 * num_keypoints)
        nn.init.normal_(self.fc.weight, std=OUTPUT_STD)
        nn.init.zeros_(self.fc.bias)
        self.register_buffer("displacement_mean", torch.zeros(num_keypoints, 2))
        self.register_buffer("displacement_variance", torch.zeros(num_keypoints, 2))

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(features).unflatten(-1, (-1, 2))


def mirror(width: int, like: Tensor) -> Tensor:
    """Return the affine map `(1, 2, 3)` that mirrors an image of this width."""
    return like.new_tensor([[[-1, 0, width - 1], [0, 1, 0]]])


@register_model
def deeppose(**kwargs: Any) -> DeepPose:
    """DeepPose for LSP: three stages of 58.4 million parameters, squares of two diameters."""
    return DeepPose(**{"sigma": SIGMA_LSP, **kwargs})


@register_model
def deeppose_flic(**kwargs: Any) -> DeepPose:
    """DeepPose for FLIC: three stages, nine upper body keypoints, squares of one diameter."""
    return DeepPose(**{"sigma": SIGMA_FLIC, "num_keypoints": 9, **kwargs})
