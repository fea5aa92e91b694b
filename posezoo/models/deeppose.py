"""DeepPose: Human Pose Estimation via Deep Neural Networks (Toshev, Szegedy; CVPR 2014; arXiv 1312.4659).

A classifier of seven layers regresses all keypoints at once from the whole picture of a person. Further networks of
the same kind, one per stage, look closer: around each keypoint they cut a square out of the image, as large as the
pose predicted so far, and regress how far the keypoint lies from its middle.

    In   image      (B, 3, H, W)     RGB in [0, 1]; H and W multiples of 220, at which the first stage looks
    Out  keypoints  (B, K, 2)        pixels of the image, of the last stage; all of them with `all_stages`

`DeepPose` is the paper's cascade. `DeepPoseRegression` is what mmpose publishes under the same name, one regression on
top of a ResNet, H and W multiples of 32; the only one with published weights, the authors released none.

Training, stage by stage (`examples/train_deeppose.py`), with boxes b, N = `geometry.normalize_points`:
    1        `keypoint_mse(model(image, stage=1), N(keypoints; whole_image(image)), visible)`
    s >= 2   `model.measure(s, ...)` once, with what the stages before predict on the training images; then
             `boxes, target, weights = model.simulate(s, keypoints, visible)` in place of predictions (section 3.2), and
             `keypoint_mse(model(image, stage=s, boxes=boxes).flatten(0, 1), ...)`.
AdaGrad with a learning rate of 0.0005, batches of 128, mirrored and shifted crops. mmpose trains its regression with
`keypoint_smooth_l1` on keypoints divided by (W, H) and `inside` as weights: Adam, 5e-4 for 512 images, 210 epochs.

Departures
    - 220 pixels cannot become 55 after an 11x11 convolution of stride 4 without padding, which the paper leaves out;
      here it is 4. It also leaves out the constants of the normalisation layers: AlexNet's, `lrn="caffe"` for
      Caffe's; groups: none, `groups=2` for AlexNet's; and the initialisation: AlexNet's.
    - The paper counts about 40 million parameters. The widths in its text make 58.4; `widths=(48, 128, 192, 192, 192,
      4096, 4096)`, half of AlexNet's towers, 46.3.
    - Equation 6, read literally, counts the old location twice. Here it is added once.
    - The people of a batch share one size. Stage 1 averages blocks of an image of several times 220 pixels, and later
      stages cut their squares out of the whole resolution; squares in pixels of the input, which the photograph's
      are only when it was cropped without stretching.
    - Displacements are drawn in units of the pose's diameter (the paper does not say), each coordinate by itself.
    - Parts of a square outside the image are 0 after the ImageNet normalisation, that is of mean colour; the paper
      does not say. `standardize=True` brings each crop to mean 0 and variance 1 on top, as reimplementations do.
    - Simulated predictions get squares by the true diameter, predictions by the predicted one, as in the paper; a
      diameter is one pixel at least. "Dropout set to 0.6" is read as the probability of dropping.
    - mmpose's `alexnet_coco_256x192`, at times taken for DeepPose, gives heatmaps and is not here.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.geometry import crop_boxes, denormalize_points, normalize_points
from posezoo.layers import Normalize, PoseModel, check_image, predict_keypoints, timm_trunk
from posezoo.registry import register_model

INPUT = 220  # pixels (section 3.1)
WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)  # channels of the seven layers (section 3.1)
PADDING = 4  # of the first convolution
DROPOUT = 0.6  # of the fully connected layers (section 3.1)
STAGES = 3  # (section 4.1)
SIGMA_LSP, SIGMA_FLIC = 2.0, 1.0  # side of a keypoint's square in diameters of the pose (section 4.1)
DRAWS = 40  # simulated predictions of each keypoint (section 4.1)
MIN_DIAMETER = 1.0  # pixels
TORSO = ("left_shoulder", "right_hip")  # the pose's diameter (section 3.2)
SKELETONS = {14: "lsp14", 9: "flic9"}  # the paper's data sets; FLIC's order with hips, which the diameter needs
LRN = {"alexnet": (2.0, 1e-4), "caffe": (1.0, 1e-4 / 5)}  # k, alpha; both sum 5 channels and raise to -0.75
CONV_STD, DENSE_STD, OUTPUT_STD = 0.01, 0.005, 0.01


class DeepPose(PoseModel):
    """The cascade (Figure 2).

    Args:
        num_keypoints: 0 leaves the heads out, and with them all stages but the first; `forward` then returns the
            seventh layer of the first network.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is LSP's when there are 14,
            FLIC's when there are 9, COCO's when there are 17.
        num_stages: networks of the cascade.
        sigma: side of a keypoint's square, in diameters of the pose.
        diameter: the two keypoints whose distance is the diameter; where one of them is not labelled, that of their
            mirror images counts. Keypoints without a torso have the diagonal of the box around them for a diameter.
        widths: channels of the seven layers.
        groups: of the second, fourth and fifth convolution; 2 as in AlexNet.
        lrn: constants of the normalisation layers, "alexnet" or "caffe".
        dropout: probability that a unit of the fully connected layers is dropped.
        standardize: bring every crop to mean 0 and variance 1, per channel.

    Example:
        >>> model = DeepPose(num_stages=2, widths=(8, 8, 8, 8, 8, 16, 16)).eval()
        >>> keypoints, scores = model.predict(torch.rand(5, 3, 440, 440))
        >>> keypoints.shape
        torch.Size([5, 14, 2])
    """

    head_keys = ("heads",)
    keep_aspect = False

    def __init__(
        self,
        *,
        num_keypoints: int = 14,
        skeleton: str | Sequence[str] | None = None,
        num_stages: int = STAGES,
        sigma: float = SIGMA_LSP,
        diameter: Sequence[str] = TORSO,
        widths: Sequence[int] = WIDTHS,
        groups: int = 1,
        lrn: str = "alexnet",
        dropout: float = DROPOUT,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        if num_stages < 1:
            raise ValueError(f"num_stages: expected 1 or more, got {num_stages}")
        if not sigma > 0:
            raise ValueError(f"sigma: expected the side of a square in diameters of the pose, above 0, got {sigma}")
        if len(widths) != len(WIDTHS):
            raise ValueError(f"widths: expected the channels of {len(WIDTHS)} layers, got {tuple(widths)}")
        if lrn not in LRN:
            raise ValueError(f"lrn: expected one of {', '.join(LRN)}, got {lrn!r}")
        self.num_stages, self.sigma, self.diameter = num_stages, sigma, tuple(diameter)
        self.make_trunk = partial(Trunk, widths=tuple(widths), groups=groups, lrn=lrn, dropout=dropout)
        self.standardize, self.num_features, self.grad_checkpointing = standardize, widths[-1], False

        self.normalize = Normalize()
        self.trunks = nn.ModuleList()
        self.heads = nn.ModuleList()
        self.reset_head(num_keypoints, skeleton)

    def forward(
        self, image: Tensor, *, all_stages: bool = False, stage: int | None = None, boxes: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """The cascade: `(B, 3, H, W)` in [0, 1] to keypoints `(B, K, 2)` in pixels, or those of every stage.

        No gradient goes through the squares of a stage to the stage before.

        Args:
            image: a person, H and W multiples of 220.
            all_stages: the keypoints after each stage.
            stage: only this one, counted from 1, for its training; the answer is in units of its boxes. Stage 1 looks
                at the whole image, `(B, K, 2)`.
            boxes: of the later stages, `(B, ..., K, 4)` as (x1, y1, x2, y2) pixels, each around its keypoint; the
                answer is `(B, ..., K, 2)`. Of the K keypoints that the network regresses in a crop one counts.

        Raises:
            ValueError: an image of another size, a stage that there is not, or boxes that do not fit it.
        """
        image = self.prepare(image)
        if not self.num_keypoints:
            features = self.see(1, self.shrink(image))
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
        """The seventh layer of the first stage's network: `(B, 4096)`."""
        return self.see(1, self.shrink(self.prepare(image)))

    def prepare(self, image: Tensor) -> Tensor:
        check_image(image, INPUT)
        return self.normalize(image)

    def shrink(self, image: Tensor) -> Tensor:
        """The whole image at the network's size; exact, because it is a multiple."""
        return F.adaptive_avg_pool2d(image, INPUT)

    def regress(self, image: Tensor, stage: int, boxes: Tensor | None = None) -> Tensor:
        """psi(N(x; b); theta_s), in units of the boxes: of a whole prepared image, or of one box per keypoint."""
        if not 1 <= stage <= self.num_stages:
            raise ValueError(f"stage: expected 1 to {self.num_stages}, got {stage}")
        if stage == 1:
            if boxes is not None:
                raise ValueError("boxes: stage 1 looks at the whole image; leave boxes out")
            return self.heads[0](self.see(1, self.shrink(image)))
        if boxes is None or boxes.ndim < 3 or boxes.shape[-2:] != (self.num_keypoints, 4):
            raise ValueError(
                f"boxes: stage {stage} needs (B, ..., {self.num_keypoints}, 4), one box around each keypoint, got "
                f"{None if boxes is None else tuple(boxes.shape)}; model.simulate() or model.joint_boxes() makes them"
            )
        crops = crop_boxes(image, boxes, (INPUT, INPUT))
        every = self.heads[stage - 1](self.see(stage, crops.flatten(0, -4)))
        return torch.einsum("...iic->...ic", every.reshape(*boxes.shape[:-1], self.num_keypoints, 2))

    def see(self, stage: int, crops: Tensor) -> Tensor:
        """The seventh layer of a stage's network, `(N, 3, 220, 220) -> (N, 4096)`."""
        if self.standardize:
            variance, mean = torch.var_mean(crops, dim=(-2, -1), correction=0, keepdim=True)
            crops = (crops - mean) / (variance.sqrt() + 1e-5)
        trunk = self.trunks[stage - 1]
        if self.grad_checkpointing and self.training:
            return checkpoint(trunk, crops, use_reentrant=False)
        return trunk(crops)

    def joint_boxes(self, keypoints: Tensor) -> Tensor:
        """The square around each keypoint of predicted poses (Equation 7): `(..., K, 2) -> (..., K, 4)` pixels."""
        return square_boxes(keypoints, self.sigma * self.pose_diameter(keypoints)[..., None])

    def pose_diameter(self, keypoints: Tensor, visible: Tensor | None = None) -> Tensor:
        """Diameters of poses in pixels, at least 1: `(..., K, 2), (..., K) -> (...)`; NaN where it is not labelled."""
        if visible is None:
            visible = keypoints.new_ones(keypoints.shape[:-1], dtype=torch.bool)
        if not self.diagonals:
            low = keypoints.masked_fill(~visible[..., None], torch.inf).amin(dim=-2)
            high = keypoints.masked_fill(~visible[..., None], -torch.inf).amax(dim=-2)
            length = torch.where(visible.any(dim=-1), (high - low).norm(dim=-1), torch.nan)
            return length.clamp(min=MIN_DIAMETER)
        length = keypoints.new_full(keypoints.shape[:-2], torch.nan)
        for first, second in reversed(self.diagonals):  # the preferred one comes last, and stays
            seen = visible[..., first] & visible[..., second]
            length = torch.where(seen, (keypoints[..., first, :] - keypoints[..., second, :]).norm(dim=-1), length)
        return length.clamp(min=MIN_DIAMETER)

    @torch.no_grad()
    def measure(self, stage: int, pred: Tensor, target: Tensor, visible: Tensor) -> None:
        """Keep the mean and variance of the displacements that a stage will have to undo; `simulate` draws from them.

        Args:
            stage: 2 or later.
            pred: `(N, K, 2)` pixels, what the stage before answers on the training images.
            target: `(N, K, 2)` pixels, the truth.
            visible: `(N, K)` bool, what is labelled. People without a labelled diameter are left out.

        Raises:
            ValueError: a keypoint with fewer than two labelled people, of whom there is no variance.
        """
        head = self.later_head(stage)
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
        """Training samples of a later stage: boxes around simulated predictions (section 3.2).

        Args:
            stage: 2 or later, after `measure`.
            keypoints: `(B, K, 2)` pixels, the truth; anything where not visible.
            visible: `(B, K)` bool.
            draws: simulated predictions of each keypoint.

        Returns:
            boxes `(B, draws, K, 4)` for `forward`; target `(B, draws, K, 2)`, what it should answer, in units of the
            boxes; and which of them count, `(B, draws, K)` bool: the labelled keypoints of people with a diameter.

        Raises:
            ValueError: the stage was not measured.

        Example:
            >>> model = DeepPose(num_stages=2, widths=(8, 8, 8, 8, 8, 16, 16))
            >>> truth, visible = 220 * torch.rand(6, 14, 2), torch.ones(6, 14, dtype=torch.bool)
            >>> model.measure(2, truth + torch.randn(6, 14, 2), truth, visible)
            >>> boxes, target, weights = model.simulate(2, truth, visible, draws=3)
            >>> model(model.example_input(6), stage=2, boxes=boxes).shape == target.shape
            True
        """
        head = self.later_head(stage)
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
        pred = simulated_predictions(
            keypoints, diameter, head.displacement_mean, head.displacement_variance, draws=draws, generator=generator
        )
        boxes = square_boxes(pred, self.sigma * diameter[:, None, None])
        return boxes, normalize_points(keypoints[:, None], boxes), known[:, None].expand(-1, draws, -1)

    def later_head(self, stage: int) -> "Head":
        if not 2 <= stage <= self.num_stages:
            raise ValueError(f"stage: expected 2 to {self.num_stages}, those that refine, got {stage}")
        return cast("Head", self.heads[stage - 1])

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` as they are, in pixels, and scores `(B, K)` of 1: the paper has none."""
        return output, torch.ones_like(output[..., 0])

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores, by the whole cascade; `flip` averages with the mirror image."""
        return predict_keypoints(self, image, flip=flip)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of the paper's size, `(batch, 3, 220, 220)`."""
        return torch.rand(batch, 3, INPUT, INPUT)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh last layers for other keypoints; 0 takes them away, and the networks of all stages but the first."""
        self.set_keypoints(num_keypoints, SKELETONS.get(num_keypoints) if skeleton is None else skeleton)
        self.diagonals = diagonals(self.skeleton.keypoints if self.skeleton else (), self.diameter)
        stages = self.num_stages if num_keypoints else 1
        kept = list(self.trunks)[:stages]
        self.trunks = nn.ModuleList([*kept, *(self.make_trunk() for _ in range(stages - len(kept)))])
        self.heads = nn.ModuleList(Head(self.num_features, num_keypoints) for _ in range(stages) if num_keypoints)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of the networks for their activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: the seven layers, alike in all stages."""
        return {"layers": r"^trunks\.\d+\.(?:conv|fc)(\d+)", "head": r"^heads"}


class Trunk(nn.Module):
    """The seven layers that all stages have (section 3.1): `(N, 3, 220, 220)` to `(N, widths[6])`."""

    def __init__(self, *, widths: Sequence[int], groups: int, lrn: str, dropout: float) -> None:
        super().__init__()
        w1, w2, w3, w4, w5, w6, w7 = widths
        self.k, self.alpha = LRN[lrn]
        self.conv1 = nn.Conv2d(3, w1, 11, 4, PADDING)
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

    def norm(self, x: Tensor) -> Tensor:
        return local_response_norm(x, k=self.k, alpha=self.alpha)


class Head(nn.Module):
    """The last layer, `(N, channels)` to `(N, K, 2)`; and of later stages, how far the predictions before it err.

    Mean and variance `(K, 2)` of the displacements, in diameters of the pose; all 0 until they were measured.
    """

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


class DeepPoseRegression(PoseModel):
    """mmpose's DeepPose: a classifier whose last layer gives coordinates.

    Args:
        backbone: any timm network, by name.
        num_keypoints: 0 leaves the last layer out, `forward` then returns its input.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is COCO's when there are 17.
        pretrained_backbone: start from timm's ImageNet weights, downloaded.

    Example:
        >>> model = DeepPoseRegression(backbone="resnet18", num_keypoints=16, skeleton="mpii16")
        >>> model(model.example_input()).shape
        torch.Size([1, 16, 2])
    """

    head_keys = ("fc",)

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        num_keypoints: int = 17,
        skeleton: str | Sequence[str] | None = None,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, mean, std = timm_trunk(backbone, pretrained=pretrained_backbone)
        self.normalize = Normalize(mean, std)
        self.num_features = self.backbone.feature_info.channels()[-1]
        self.input_multiple = max(32, self.backbone.feature_info.reduction()[-1])
        self.fc: nn.Module
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to keypoints `(B, K, 2)` in pixels; a 1-tuple of them with `all_stages`."""
        output = self.fc(self.forward_features(image))
        if self.num_keypoints:
            size = torch.tensor([image.shape[-1], image.shape[-2]], device=output.device)
            output = output.unflatten(-1, (-1, 2)) * size.to(torch.promote_types(output.dtype, torch.float32))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """The backbone's last map, averaged: `(B, num_features)`."""
        check_image(image, self.input_multiple)
        features = self.backbone(self.normalize(image))[-1]
        # some timm networks keep channels last
        return features.mean(dim=(2, 3) if features.shape[1] == self.num_features else (1, 2))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` as they are, in pixels, and scores `(B, K)` of 1, as mmpose's."""
        return output, torch.ones_like(output[..., 0])

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image."""
        return predict_keypoints(self, image, flip=flip)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of mmpose's size for COCO, `(batch, 3, 256, 192)`."""
        return torch.rand(batch, 3, 256, 192)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """A fresh last layer for other keypoints; 0 takes it away."""
        self.set_keypoints(num_keypoints, skeleton)
        self.fc = nn.Linear(self.num_features, 2 * num_keypoints) if num_keypoints else nn.Identity()
        if isinstance(self.fc, nn.Linear):
            nn.init.normal_(self.fc.weight, std=OUTPUT_STD)
            nn.init.zeros_(self.fc.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of the backbone for its activations' memory."""
        self.backbone.set_grad_checkpointing(enable)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: backbone, last layer."""
        block = r"^backbone\.(?:layer|blocks\.|stages[._])(\d+)" + ("" if coarse else r"(?:\.(\d+))?")
        return {"stem": r"^backbone\.(?!(?:layer|blocks\.|stages[._])\d)", "blocks": block, "head": r"^fc"}


def local_response_norm(x: Tensor, *, k: float, alpha: float) -> Tensor:
    """Each value divided by `(k + alpha * sum of squares over 5 neighbouring channels) ** 0.75`, as in AlexNet.

    The same as `torch.nn.LocalResponseNorm(5, 5 * alpha, 0.75, k)`, which divides its alpha by 5, in two thirds of the
    time: the sum over neighbours is a convolution.
    """
    channels = x.shape[1]
    band = alpha * torch.ones(channels, channels, device=x.device, dtype=x.dtype).triu(-2).tril(2)
    return x * F.conv2d(x.square(), band[..., None, None], x.new_full((channels,), k)) ** -0.75


def whole_image(image: Tensor) -> Tensor:
    """The box b0 of an image `(..., H, W)`, to the outer edges of its pixels: `(4,)` as (x1, y1, x2, y2).

    Example:
        >>> whole_image(torch.zeros(3, 220, 440)).tolist()
        [-0.5, -0.5, 439.5, 219.5]
    """
    height, width = image.shape[-2:]
    dtype = torch.promote_types(image.dtype, torch.float32)
    return torch.tensor([-0.5, -0.5, width - 0.5, height - 0.5], dtype=dtype, device=image.device)


def square_boxes(middle: Tensor, side: Tensor) -> Tensor:
    """Boxes (x1, y1, x2, y2) around points: `(..., 2), (...) -> (..., 4)`."""
    half = side[..., None] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def displacement_statistics(pred: Tensor, target: Tensor, visible: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each keypoint's displacement, in diameters of the pose (section 3.2).

    Args:
        pred: `(N, K, 2)` pixels.
        target: `(N, K, 2)` pixels.
        visible: `(N, K)` bool; the others are not looked at.
        diameter: `(N,)` pixels; people for whom it is NaN are left out.

    Returns:
        Mean and variance, `(K, 2)` each.

    Raises:
        ValueError: a keypoint has fewer than two examples.

    Example:
        >>> pred, target = torch.tensor([[[11.0, 0.0]], [[13.0, 0.0]]]), torch.tensor([[[10.0, 0.0]], [[10.0, 0.0]]])
        >>> mean, variance = displacement_statistics(pred, target, torch.ones(2, 1).bool(), torch.tensor([2.0, 2.0]))
        >>> mean.tolist(), variance.tolist()
        ([[1.0, 0.0]], [[0.25, 0.0]])
    """
    known = visible & ~diameter.isnan()[:, None]
    count = known.sum(dim=0)
    if len(count) and int(count.min()) < 2:
        raise ValueError(
            f"keypoint {int(count.argmin())} is labelled {int(count.min())} times, on people with a diameter; expected "
            "2 or more, to measure how its predictions scatter"
        )
    displacement = torch.where(known[..., None], (pred - target) / diameter[:, None, None], 0.0)
    mean = displacement.sum(dim=0) / count[:, None]
    variance = torch.where(known[..., None], displacement - mean, 0.0).square().sum(dim=0) / count[:, None]
    return mean, variance


def simulated_predictions(
    keypoints: Tensor,
    diameter: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    draws: int = DRAWS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What a stage might predict: the truth displaced at random, as much as the stage was seen to err (section 3.2).

    Args:
        keypoints: `(B, K, 2)` pixels, the truth.
        diameter: `(B,)` pixels.
        mean: `(K, 2)` in diameters, of `displacement_statistics`.
        variance: `(K, 2)`, likewise.
        draws: of each keypoint.

    Returns:
        `(B, draws, K, 2)` pixels.

    Example:
        >>> truth, nothing = torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 2)
        >>> simulated_predictions(truth, torch.tensor([2.0]), nothing + 0.5, nothing, draws=2).tolist()
        [[[[4.0, 5.0]], [[4.0, 5.0]]]]
    """
    shape = (len(keypoints), draws, *keypoints.shape[1:])
    noise = torch.randn(shape, dtype=keypoints.dtype, device=keypoints.device, generator=generator)
    return keypoints[:, None] + diameter[:, None, None, None] * (mean + variance.sqrt() * noise)


def inside(keypoints: Tensor, visible: Tensor, size: tuple[int, int]) -> Tensor:
    """Which keypoints mmpose's loss counts, those that are visible and in the image: `(B, K, 2), (B, K) -> (B, K)`.

    Example:
        >>> inside(torch.tensor([[[0.0, 63.0], [47.5, 0.0]]]), torch.ones(1, 2), (64, 48)).tolist()
        [[True, False]]
    """
    last = torch.tensor([size[1] - 1, size[0] - 1], dtype=keypoints.dtype, device=keypoints.device)
    return ((keypoints >= 0) & (keypoints <= last)).all(dim=-1) & (visible > 0)


def diagonals(names: Sequence[str], diameter: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of the two keypoints that span the diameter, then of their mirror images; none without a torso.

    Example:
        >>> diagonals(("left_hip", "right_hip", "left_shoulder", "right_shoulder"), ("left_shoulder", "right_hip"))
        [(2, 1), (3, 0)]
    """
    if len(diameter) != 2:
        raise ValueError(f"diameter: expected the names of two keypoints, got {tuple(diameter)}")
    sides = {"left_": "right_", "right_": "left_"}
    mirrored = [re.sub("^(left_|right_)", lambda side: sides[side[0]], name) for name in diameter]
    found = [(names.index(a), names.index(b)) for a, b in (diameter, mirrored) if a in names and b in names]
    if names and not found and tuple(diameter) != TORSO:
        raise ValueError(f"diameter: expected two of the keypoints {', '.join(names)}, got {tuple(diameter)}")
    return found


@register_model
def deeppose(**kwargs: Any) -> DeepPose:
    """DeepPose for LSP: three stages of 58.4 million parameters, squares of twice the pose's diameter."""
    return DeepPose(**{"sigma": SIGMA_LSP, **kwargs})


@register_model
def deeppose_flic(**kwargs: Any) -> DeepPose:
    """DeepPose for FLIC: three stages, nine keypoints of the upper body, squares of the pose's diameter."""
    return DeepPose(**{"sigma": SIGMA_FLIC, "num_keypoints": 9, **kwargs})


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
