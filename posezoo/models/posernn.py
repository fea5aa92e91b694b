"""Recurrent Human Pose Estimation, "PoseRNN" (Chen, Low; Stanford CS231A project, 2016).

Say where the joints are one after the other, so that each answer may depend on the ones before it. Three networks share
VGG16's convolutions: one regresses all joints at once, the baseline; one reads the image into an LSTM that names a
joint per step; one lets its LSTM look at another part of the image before every step.

    In   image      (B, 3, 224, 224)      RGB in [0, 1]; `posernn_attention` takes any multiples of 16
    Out  keypoints  (B, K, 2)             pixels of the image, in the skeleton's order whatever the order of the steps
         weights    (B, K, H/16, W/16)    where the LSTM looked for each keypoint: `PoseAttentionLSTM.attend`

The crop is the tight box of the joints and 20 pixels around it, stretched to 224 x 224 (`keep_aspect = False`).
Training: half the sum of squared pixel errors over steps and batch (`losses.keypoint_l2`), Adam at 1e-3, halved every
1,000 of 10,000 iterations, 25 people each, no augmentation (`examples/train_posernn.py`). The paper's LSTM came out
behind its baseline, close to the mean pose: PCKh 21.5 and 32.8 on MPII; attention did not change that.

The paper and its code (github.com/electric26/posernn, of which the copy styanddty/posernn is left) describe different
networks. What the paper says is the default, and the code where it says nothing.

Departures
    - The code normalises with the statistics of the batch at hand, in tests too; here batch norm keeps running ones, so
      that people do not depend on who else is in the batch. `affine=True` adds the scale and shift that it lacks.
    - Convolution, batch norm, ReLU is the order of the code that trained the published numbers;
      `bn_order="conv_relu_bn"` is the paper's. `batch_norm=False` leaves it out of the convolutions, for ImageNet's
      VGG16 (`pretrained_backbone=True`), as the code's `_pt` networks do.
    - Two LSTM layers 128 wide are the paper's. The code's network is `layers=1, hidden=256, head="mlp", init="slice"`.
    - The LSTM's first state comes from the CNN, says the paper: `init="learned"` is a linear map of pool5. The code
      means all of pool5, of which TensorFlow takes the first numbers, a corner of the image: `init="slice"`.
    - `head="step"`: each step projects on its own, after a batch norm with one mean and variance for all of the LSTM's
      output, as in the code. `head="shared"`: one projection and no norm, the least that the paper says.
    - Forget gates start with a bias of 1, which TensorFlow adds at every step. Biases of convolutions start at 0.
    - The code's attention does not run, and would let location t alone decide where step t looks. Here, as in Xu et al.
      (ICML 2015), one network scores every location from its annotation and the LSTM's output. Its widths are the
      code's, 128 and 128; it has no batch norm, whose running statistics would be those of no step.
    - The steps' order on MPII is the code's (`SEQUENCE`), although a comment there has the right elbow where index 10,
      the right wrist, is. Other skeletons are told in their own order; `sequence` sets any.
    - A joint is missing if the data say so; in the code a coordinate is if it is not above 0.
    - No weights: the authors published none.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posezoo.layers import Normalize, PoseModel, check_image, hub_state_dict, predict_keypoints, xavier_linear
from posezoo.registry import register_model

SIZE = 224  # pixels, height and width of the input
WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # VGG16, a pooling after each
CHANNELS, CELLS = 512, (SIZE // 32) ** 2  # of pool5
STRIDE = 16  # of the annotations, conv5_3
ATTENTION_WIDTH = 128  # of the two hidden layers that score a location (code)
BN_EPS = 1e-6  # code
# MPII indices, step by step (code): head and right arm, shoulders, trunk, legs, and the rest of the arms
SEQUENCE = (9, 8, 10, 14, 12, 13, 7, 6, 0, 1, 2, 3, 4, 5, 11, 15)


class VGG16Pose(PoseModel):
    """VGG16's convolutions (Table 1) and what else the three networks have in common."""

    head_keys = ("head",)
    keep_aspect = False
    num_features: int
    head: nn.Module

    def __init__(self, *, pools: int, batch_norm: bool, bn_order: str, affine: bool, pretrained_backbone: bool) -> None:
        super().__init__()
        if bn_order not in ("conv_bn_relu", "conv_relu_bn"):
            raise ValueError(f'bn_order: expected "conv_bn_relu" or "conv_relu_bn", got {bn_order!r}')
        self.grad_checkpointing = False
        self.normalize = Normalize(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # the code's raw 0 to 255
        self.features = vgg16(pools, batch_norm, bn_order, affine)
        if pretrained_backbone:
            if batch_norm and not (affine and bn_order == "conv_bn_relu"):
                raise ValueError(
                    "pretrained_backbone: ImageNet's VGG16 has no batch norm, or one with scale and shift before the "
                    'ReLU; pass batch_norm=False, or affine=True and bn_order="conv_bn_relu"'
                )
            published = hub_state_dict(f"timm/vgg16{'_bn' if batch_norm else ''}.tv_in1k")
            self.features.load_state_dict({key: published[f"features.{key}"] for key in self.features.state_dict()})
            self.normalize = Normalize()

    def convolve(self, image: Tensor) -> Tensor:
        """The last feature map: pool5 or conv5_3."""
        x = self.normalize(image)
        if not (self.grad_checkpointing and self.training):
            return self.features(x)
        pools = (index + 1 for index, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d))
        # cut behind a pooling, never before a ReLU, which overwrites what it is given
        for start, end in pairwise(sorted({0, *pools, len(self.features)})):
            x = checkpoint(self.features[start:end], x, use_reentrant=False)
        return x

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)`, the output itself in float32, and scores `(B, K)`, all 1: the paper has none."""
        return output.float(), torch.ones_like(output[..., 0], dtype=torch.float32)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels of `image` and scores `(B, K)`; `flip` averages with the mirror image."""
        return predict_keypoints(self, image, flip=flip)

    def example_input(self, batch: int = 1) -> Tensor:
        """A random image of the paper's size, `(batch, 3, 224, 224)`."""
        return torch.rand(batch, 3, SIZE, SIZE)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of the convolutions for their activations' memory."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer-wise learning rates: convolutions, what follows them, head."""
        return {
            "stem": r"^features\.0\.",
            "blocks": r"^features\.(\d+)",
            "decoder": r"^(?!features|head)",
            "head": r"^head",
        }


class PoseCNN(VGG16Pose):
    """All keypoints at once: two dense layers and a linear one after VGG16's convolutions (section 4.1).

    Args:
        num_keypoints: K; 0 leaves the last layer out, `forward` then returns its input.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is MPII's when there are 16 and
            COCO's when there are 17.
        fc_width: of the two dense layers; 256 is the code's `base_small`.
        batch_norm: False leaves it out of the convolutions.
        bn_order: "conv_bn_relu" (code) or "conv_relu_bn" (paper).
        affine: batch norms have a scale and a shift.
        pretrained_backbone: start the convolutions from ImageNet's, downloaded.

    Example:
        >>> model = PoseCNN(fc_width=256).eval()
        >>> model(model.example_input()).shape, model.num_features
        (torch.Size([1, 16, 2]), 256)
    """

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        fc_width: int = 4096,
        batch_norm: bool = True,
        bn_order: str = "conv_bn_relu",
        affine: bool = False,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(
            pools=5,
            batch_norm=batch_norm,
            bn_order=bn_order,
            affine=affine,
            pretrained_backbone=pretrained_backbone,
        )
        self.num_features = fc_width
        self.fc6 = Dense(CELLS * CHANNELS, fc_width, bn_order, affine)
        self.fc7 = Dense(fc_width, fc_width, bn_order, affine)
        self.reset_head(num_keypoints, skeleton)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, 224, 224)` in [0, 1] to keypoints `(B, K, 2)` in its pixels; a 1-tuple of them with `all_stages`."""
        output = self.head(self.forward_features(image))
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """What the head sees: the second dense layer, `(B, fc_width)`."""
        check_size(image)
        pool5 = flatten(self.convolve(image))
        return self.fc7(self.fc6(pool5))

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """A fresh last layer for other keypoints; 0 takes it away."""
        self.set_keypoints(num_keypoints, mpii_of_16(num_keypoints, skeleton))
        self.head = nn.Identity()
        if num_keypoints:
            self.head = nn.Sequential(
                xavier_linear(self.num_features, 2 * num_keypoints), nn.Unflatten(1, (num_keypoints, 2))
            )


class PoseLSTM(VGG16Pose):
    """One keypoint per step of an LSTM that sees all of pool5 at every step (section 4.2, Figure 1).

    Args:
        num_keypoints: K, the number of steps; 0 leaves the projections out, `forward` then returns pool5.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is MPII's when there are 16 and
            COCO's when there are 17.
        hidden: width of an LSTM layer (section 4.2: 128; code: 256).
        layers: how many (section 4.2: 2; code: 1).
        init: where the first state comes from: "learned", a linear map of pool5; "zeros"; "slice", the first numbers
            of pool5 (code).
        head: what turns a step's output into a point: "step", batch norm and a linear layer per step; "mlp", with a
            dense layer in between (code); "shared", one linear layer for all steps.
        sequence: the order in which the keypoints are said, as their indices; None is `SEQUENCE` for MPII's skeleton
            and the natural order for others. `reset_head` goes back to None.
        batch_norm: False leaves it out of the convolutions.
        bn_order: "conv_bn_relu" (code) or "conv_relu_bn" (paper).
        affine: batch norms have a scale and a shift.
        pretrained_backbone: start the convolutions from ImageNet's, downloaded.

    Example:
        >>> model = PoseLSTM(hidden=8, num_keypoints=14, skeleton="lsp14", sequence=[13, 12, *range(12)]).eval()
        >>> model(model.example_input()).shape
        torch.Size([1, 14, 2])
    """

    num_features = CHANNELS
    sequence: tuple[int, ...]
    head: nn.ModuleList

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        hidden: int = 128,
        layers: int = 2,
        init: str = "learned",
        head: str = "step",
        sequence: Sequence[int] | None = None,
        batch_norm: bool = True,
        bn_order: str = "conv_bn_relu",
        affine: bool = False,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(
            pools=5,
            batch_norm=batch_norm,
            bn_order=bn_order,
            affine=affine,
            pretrained_backbone=pretrained_backbone,
        )
        for name, value, known in (
            ("init", init, ("learned", "zeros", "slice")),
            ("head", head, ("step", "mlp", "shared")),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if layers < 1 or hidden < 1:
            raise ValueError(f"layers and hidden: expected 1 or more, got {layers} and {hidden}")
        self.hidden, self.init, self.head_kind, self.bn_order, self.affine = hidden, init, head, bn_order, affine
        inputs = CELLS * CHANNELS
        self.lstm = nn.ModuleList(LSTMCell(inputs if layer == 0 else hidden, hidden) for layer in range(layers))
        state = 2 * layers * hidden
        if init == "slice" and state > inputs:
            raise ValueError(f'init: "slice" has {inputs} numbers, and the layers\' state {state}; make them smaller')
        self.first_state = xavier_linear(inputs, state) if init == "learned" else None
        self.reset_head(num_keypoints, skeleton)
        order_steps(self, sequence)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, 224, 224)` in [0, 1] to keypoints `(B, K, 2)` in its pixels; a 1-tuple of them with `all_stages`."""
        features = self.forward_features(image)
        output = self.tell(flatten(features)) if self.num_keypoints else features
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """What the LSTM sees: pool5, `(B, 512, 7, 7)`."""
        check_size(image)
        return self.convolve(image)

    def tell(self, pool5: Tensor) -> Tensor:
        """`(B, 25088)` to keypoints `(B, K, 2)`, one per step."""
        states = self.initial_states(pool5)
        first, *others = cast(Iterable[LSTMCell], self.lstm)
        drive = first.input(pool5)  # the same at every step
        keypoints: dict[int, Tensor] = {}
        for keypoint in self.sequence:
            states[0] = first(drive, states[0])
            for layer, cell in enumerate(others, start=1):
                states[layer] = cell(cell.input(states[layer - 1][1]), states[layer])
            project = self.head[0 if self.head_kind == "shared" else keypoint]
            keypoints[keypoint] = project(states[-1][1])
        return torch.stack([keypoints[keypoint] for keypoint in range(self.num_keypoints)], dim=1)

    def initial_states(self, pool5: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each layer (c, h), `(B, hidden)` each."""
        size = 2 * len(self.lstm) * self.hidden
        if self.first_state is not None:
            state = self.first_state(pool5)
        else:
            state = pool5[:, :size] if self.init == "slice" else pool5.new_zeros(pool5.shape[0], size)
        parts = state.split(self.hidden, dim=1)  # c, h of the first layer, c, h of the second, as TensorFlow packs them
        return list(zip(parts[::2], parts[1::2], strict=True))

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh projections for other keypoints, said in the default order; 0 takes them away."""
        self.set_keypoints(num_keypoints, mpii_of_16(num_keypoints, skeleton))
        order_steps(self, None)
        heads = min(num_keypoints, 1) if self.head_kind == "shared" else num_keypoints
        self.head = nn.ModuleList(self.projection() for _ in range(heads))

    def projection(self) -> nn.Module:
        """From the LSTM's output to (x, y)."""
        if self.head_kind == "shared":
            return xavier_linear(self.hidden, 2)
        # one mean and one variance for all numbers of the batch
        norm = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.BatchNorm1d(1, BN_EPS, affine=self.affine), nn.Flatten(1))
        dense = [Dense(self.hidden, self.hidden, self.bn_order, self.affine)] if self.head_kind == "mlp" else []
        return nn.Sequential(norm, *dense, xavier_linear(self.hidden, 2))


class PoseAttentionLSTM(VGG16Pose):
    """One keypoint per step of an LSTM that chooses what it sees of the image (section 4.3).

    Args:
        num_keypoints: K, the number of steps; 0 leaves the projections out, `forward` then returns the annotations.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is MPII's when there are 16 and
            COCO's when there are 17.
        sequence: the order in which the keypoints are said, as their indices; None is `SEQUENCE` for MPII's skeleton
            and the natural order for others. `reset_head` goes back to None.
        batch_norm: False leaves it out of the convolutions.
        bn_order: "conv_bn_relu" (code) or "conv_relu_bn" (paper).
        affine: batch norms have a scale and a shift.
        pretrained_backbone: start the convolutions from ImageNet's, downloaded.

    Example:
        >>> model = PoseAttentionLSTM(num_keypoints=14, skeleton="lsp14").eval()
        >>> keypoints, weights = model.attend(torch.rand(1, 3, 64, 96))
        >>> keypoints.shape, weights.shape
        (torch.Size([1, 14, 2]), torch.Size([1, 14, 4, 6]))
    """

    num_features = CHANNELS
    sequence: tuple[int, ...]
    head: nn.ModuleList

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        sequence: Sequence[int] | None = None,
        batch_norm: bool = True,
        bn_order: str = "conv_bn_relu",
        affine: bool = False,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(
            pools=4,
            batch_norm=batch_norm,
            bn_order=bn_order,
            affine=affine,
            pretrained_backbone=pretrained_backbone,
        )
        self.attention = Attention(CHANNELS, CHANNELS, ATTENTION_WIDTH)
        self.lstm = LSTMCell(CHANNELS, CHANNELS)  # as wide as an annotation, whose mean is its first state
        self.reset_head(num_keypoints, skeleton)
        order_steps(self, sequence)

    def forward(self, image: Tensor, *, all_stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to keypoints `(B, K, 2)` in its pixels; a 1-tuple of them with `all_stages`."""
        features = self.forward_features(image)
        output = self.tell(features)[0] if self.num_keypoints else features
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor) -> Tensor:
        """What the LSTM looks at: the annotations, conv5_3, `(B, 512, H/16, W/16)`."""
        check_image(image, STRIDE)
        check_batch(self, image[:, 0].numel() // STRIDE**2)
        return self.convolve(image)

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and where the network looked for each.

        Args:
            image: `(B, 3, H, W)` in [0, 1].

        Returns:
            keypoints: as of `forward`, `(B, K, 2)`.
            weights: `(B, K, H/16, W/16)`, each map sums to 1; cell (i, j) stands for the 16 x 16 pixels from
                (16 i, 16 j). `posezoo.viz.draw_attention` draws them.

        Raises:
            ValueError: the network has no keypoints, or what `forward` raises.
        """
        if not self.num_keypoints:
            raise ValueError("attend: this network has no head, so it looks for nothing; reset_head(16) gives it one")
        return self.tell(self.forward_features(image))

    def tell(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 512, h, w)` to keypoints `(B, K, 2)` and attention weights `(B, K, h, w)`."""
        annotations = features.flatten(2).mT  # (B, locations, 512)
        seen = self.attention.annotation(annotations)  # the same at every step
        c = h = annotations.mean(dim=1)
        keypoints: dict[int, Tensor] = {}
        looks: dict[int, Tensor] = {}
        for keypoint in self.sequence:
            weights = self.attention(seen, h)
            context = (weights[:, None] @ annotations)[:, 0]
            c, h = self.lstm(self.lstm.input(context), (c, h))
            keypoints[keypoint], looks[keypoint] = self.head[keypoint](h), weights
        order = range(self.num_keypoints)
        maps = torch.stack([looks[keypoint] for keypoint in order], dim=1)
        return torch.stack([keypoints[keypoint] for keypoint in order], dim=1), maps.unflatten(2, features.shape[2:])

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Fresh projections for other keypoints, said in the default order; 0 takes them away."""
        self.set_keypoints(num_keypoints, mpii_of_16(num_keypoints, skeleton))
        order_steps(self, None)
        self.head = nn.ModuleList(xavier_linear(CHANNELS, 2) for _ in range(num_keypoints))


class LSTMCell(nn.Module):
    """One step of a long short-term memory (section 4.2), from what `input` makes of x and the state before.

    The 4 gates lie as in PyTorch: i, f, g, o (TensorFlow: i, g, f, o).
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        bound = (3 / (inputs + hidden)) ** 0.5  # TensorFlow's default for a kernel over both
        nn.init.uniform_(self.input.weight, -bound, bound)
        nn.init.uniform_(self.recurrent.weight, -bound, bound)
        nn.init.zeros_(self.input.bias)
        nn.init.ones_(self.input.bias[hidden : 2 * hidden])

    def forward(self, drive: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """`(B, 4 hidden)` and (c, h), `(B, hidden)` each, to the next (c, h)."""
        c, h = state
        i, f, g, o = (drive + self.recurrent(h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return c, h


class Attention(nn.Module):
    """How much of each location to look at, from its annotation and the LSTM's output: an MLP and a softmax.

    The first layer sees the two side by side; `annotation`, its part for the one, is the same at every step.
    """

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.annotation = xavier_linear(channels, width)
        self.state = xavier_linear(hidden, width, bias=False)
        self.middle = xavier_linear(width, width)
        self.score = xavier_linear(width, 1)

    def forward(self, seen: Tensor, h: Tensor) -> Tensor:
        """`annotation(...)`, `(B, locations, width)`, and h, `(B, hidden)`, to weights `(B, locations)`."""
        x = F.relu(seen + self.state(h)[:, None])
        x = F.relu(self.middle(x))
        return self.score(x)[..., 0].softmax(dim=1)


class Dense(nn.Module):
    """Linear layer, batch norm and ReLU, or ReLU before the batch norm."""

    def __init__(self, inputs: int, width: int, bn_order: str, affine: bool) -> None:
        super().__init__()
        self.linear = xavier_linear(inputs, width)
        self.norm = nn.BatchNorm1d(width, BN_EPS, affine=affine)
        self.norm_first = bn_order == "conv_bn_relu"

    def forward(self, x: Tensor) -> Tensor:
        check_batch(self, x.shape[0])
        x = self.linear(x)
        return F.relu(self.norm(x)) if self.norm_first else self.norm(F.relu(x))


def vgg16(pools: int, batch_norm: bool, bn_order: str, affine: bool) -> nn.Sequential:
    """VGG16's convolutions, numbered as torchvision's and timm's, with the first `pools` of the five poolings."""
    layers: list[nn.Module] = []
    channels = 3
    for number, widths in enumerate(WIDTHS):
        for width in widths:
            conv = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(cast(Tensor, conv.bias))
            norm: list[nn.Module] = [nn.BatchNorm2d(width, BN_EPS, affine=affine)] if batch_norm else []
            relu = nn.ReLU(inplace=True)
            layers += [conv, *norm, relu] if bn_order == "conv_bn_relu" else [conv, relu, *norm]
            channels = width
        if number < pools:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def flatten(features: Tensor) -> Tensor:
    """`(B, C, h, w)` to `(B, h w C)`, location by location, as TensorFlow has them."""
    return features.movedim(1, -1).flatten(1)


def mpii_of_16(num_keypoints: int, skeleton: str | Sequence[str] | None) -> str | Sequence[str] | None:
    """The skeleton asked for; for 16 keypoints without names MPII's, which the paper's are."""
    return "mpii16" if skeleton is None and num_keypoints == 16 else skeleton


def order_steps(model: PoseLSTM | PoseAttentionLSTM, sequence: Sequence[int] | None) -> None:
    """Set which keypoint each step says; None is the code's order for MPII's skeleton, for others the natural one."""
    count = model.num_keypoints
    if sequence is not None and sorted(sequence) != list(range(count)):
        raise ValueError(
            f"sequence: expected the index of each of the {count} keypoints once, got {list(sequence)}; leave it out "
            "for the default order"
        )
    mpii = model.skeleton is not None and model.skeleton.name == "mpii16" and count == len(SEQUENCE)
    model.sequence = tuple(sequence or (SEQUENCE if mpii else range(count)))
    model.kwargs = {**model.kwargs, "sequence": None if sequence is None else list(sequence)}


def check_size(image: Tensor) -> None:
    check_image(image)
    height, width = image.shape[-2:]
    if (height, width) != (SIZE, SIZE):
        raise ValueError(
            f"image: expected ({SIZE}, {SIZE}), got ({height}, {width}); sizes that work: only this one, because what "
            "follows the convolutions is as large as their output. Stretch the person's box to it"
        )


def check_batch(module: nn.Module, values: int) -> None:
    """Refuse to train on a batch of which a batch norm would see one value per channel: it has no variance."""
    norms = (part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d))
    if module.training and values == 1 and any(norm.training for norm in norms):
        raise ValueError(
            "image: batch norm cannot be trained on one person, who is his own mean; pass batches of 2 or more (in a "
            "loader, drop_last=True), or call model.eval()"
        )


@register_model
def posernn_cnn(**kwargs: Any) -> PoseCNN:
    """The paper's baseline: VGG16 with batch norm, all keypoints at once, 134.4 million parameters."""
    return PoseCNN(**kwargs)


@register_model
def posernn_lstm(**kwargs: Any) -> PoseLSTM:
    """One keypoint per step of a two-layer LSTM 128 wide, 40.6 million parameters."""
    return PoseLSTM(**kwargs)


@register_model
def posernn_attention(**kwargs: Any) -> PoseAttentionLSTM:
    """One keypoint per step of an LSTM 512 wide that looks around between the steps, 17.0 million parameters."""
    return PoseAttentionLSTM(**kwargs)
