"""Recurrent Human Pose Estimation, "PoseRNN" (Chen, Low; Stanford CS231A project, 2016).

Three networks on VGG16's convolutions: a baseline regresses all joints at once, an LSTM predicts
one joint per step, and another LSTM attends to another part of the image at every step.

    In   image      (B, 3, 224, 224)      RGB in [0, 1]; `posernn_attention`: multiples of 16, or of its backbone's
    Out  keypoints  (B, K, 2)             pixels of the image, in the skeleton's order whatever the order of the steps
         attention  (B, K, H/16, W/16)    attention map of each keypoint: `PoseAttentionLSTM.attend`

The crop is the tight box of the joints and 20 pixels of the photograph on each side (`margin`),
stretched to 224 x 224.

Training (`examples/train_posernn.py`): `losses.keypoint_l2` halved, Adam at 1e-3, halved every
1,000 of 10,000 iterations, 25 people each. The paper's LSTM scores below its baseline, PCKh 21.5
and 32.8 on MPII, and attention did not help. On our frozen backbone both do (`docs/results.md`).

The paper and its code (github.com/styanddty/posernn, a copy, without weights) differ. The paper is
the default, and the code where the paper is silent.

Departures
    - Batch norm has running statistics; the code uses the batch's, in tests too. `affine=True` adds
      scale and shift.
    - Batch norm follows the ReLU, as the paper says; the code has `bn_order="conv_bn_relu"`.
      `batch_norm=False` is for ImageNet's VGG16, as in the code's `_pt` networks.
    - Two LSTM layers 128 wide are the paper's. The code has `layers=1, hidden=256, head="mlp",
      init="slice"`, with attention `layers=1, hidden=512` and the mean annotation as first state.
    - The LSTM's initial state comes from the CNN in the paper: `init="learned"`, a linear map of
      pool5. The code passes pool5, of which TensorFlow takes the first numbers: `init="slice"`.
    - `head="step"`: a projection per step after a batch norm of the LSTM's whole output, as in the
      code. `head="shared"`: one projection, no norm, the paper's minimum.
    - Forget gates start with a bias of 1, as TensorFlow's, convolutions with 0.
    - The code's attention does not run. Here, as in Xu et al. (ICML 2015), one network scores every
      location from its annotation and the LSTM's output, without batch norm, whose running
      statistics would mix the steps.
    - The steps' order on MPII is the code's (`SEQUENCE`), else the skeleton's; `sequence` sets any.
    - Joints are missing by the data's flags; in the code, coordinates of 0 or less are.
    - `backbone=` replaces VGG16's convolutions: a timm backbone's last map (7 x 7) and a 1x1
      convolution to `neck_width` channels, with batch norm and ReLU, stand for pool5 and conv5_3.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.backbones import backbone_groups, count_cells, last_map, load_vgg, timm_backbone
from posezoo.contract import PoseModel, check_image, predict_keypoints
from posezoo.layers import (
    ConvBNReLU,
    DenseBNReLU,
    Normalize,
    check_batch_norm,
    check_choices,
    checkpoint_blocks,
    vgg16,
    xavier_linear,
)  # fmt: skip
from posezoo.registry import register_model

SIZE = 224  # pixels, height and width of the input
CHANNELS, CELLS = 512, (SIZE // 32) ** 2  # of pool5
STRIDE = 16  # of the annotations, conv5_3
NECK_WIDTH = 256  # channels after the last map of a timm backbone
ATTENTION_WIDTH = 128  # of the two hidden layers that score a location (code)
HIDDEN, LAYERS = 128, 2  # of the LSTMs (section 4.2)
BN_EPS = 1e-6  # code
# MPII indices, step by step (code): head and right arm, shoulders, trunk, legs, and the rest of the arms
SEQUENCE = (9, 8, 10, 14, 12, 13, 7, 6, 0, 1, 2, 3, 4, 5, 11, 15)


class VGG16Pose(PoseModel):
    """VGG16's convolutions (Table 1), decoding and prediction of the three networks."""

    head_keys = ("head",)
    input_size = (SIZE, SIZE)
    keep_aspect = False
    region, margin, padding = "joints", 20.0, 1.0
    num_features: int
    head: nn.Module
    build_head: Any  # method of a network: create the layers that depend on the number of keypoints

    def __init__(
        self, pools: int, batch_norm: bool, bn_order: str, affine: bool, backbone: str | None, neck_width: int,
        pretrained_backbone: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        check_choices(bn_order=(bn_order, ("conv_bn_relu", "conv_relu_bn")))
        self.backbone: Any = None
        if backbone:
            self.backbone, mean, std = timm_backbone(backbone, pretrained=pretrained_backbone)
            self.normalize = Normalize(mean, std)
            self.map_stride = self.backbone.feature_info.reduction()[-1]
            self.neck = ConvBNReLU(self.backbone.feature_info.channels()[-1], neck_width, 1, bias=False)
            self.channels, self.cells = neck_width, count_cells(self.backbone, SIZE)
            return
        self.map_stride, self.channels, self.cells = STRIDE, CHANNELS, CELLS
        self.normalize = Normalize(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # the code's raw 0 to 255
        self.features = vgg16(pools, batch_norm=batch_norm, eps=BN_EPS, affine=affine, bn_order=bn_order)
        if pretrained_backbone:
            if batch_norm and not (affine and bn_order == "conv_bn_relu"):
                raise ValueError(
                    "pretrained_backbone: ImageNet's VGG16 has no batch norm, or one with scale and shift before the "
                    'ReLU; pass batch_norm=False, or affine=True and bn_order="conv_bn_relu"'
                )
            load_vgg("vgg16_bn" if batch_norm else "vgg16", self.features)
            self.normalize = Normalize()

    def forward(
        self, image: Tensor | None, all_stages: bool = False, features: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """`(B, 3, H, W)` in [0, 1] to `(B, K, 2)` pixels; a 1-tuple of it with `all_stages`.

        `features`, of `backbone_features`, take the image's place in the training on a frozen timm
        backbone.
        """
        output = self.forward_features(image, features)
        if self.num_keypoints:
            output = self.forward_head(output)
        return (output,) if all_stages else output

    def forward_features(self, image: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Return the last feature map `(B, C, h, w)`: pool5, conv5_3, or the neck's (timm)."""
        if features is None:
            self.check_size(cast(Tensor, image))
            return self.convolve(cast(Tensor, image))
        if self.backbone is None:
            raise ValueError("features: expected None, because this network has no timm backbone; pass the image")
        return self.neck(features)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)

    def check_size(self, image: Tensor) -> None:
        check_image(image, channels=self.in_chans)
        height, width = image.shape[-2:]
        if (height, width) != (SIZE, SIZE):
            raise ValueError(
                f"image: expected ({SIZE}, {SIZE}), got ({height}, {width}); sizes that work: only this one, to which "
                "the person's box is stretched"
            )

    def convolve(self, image: Tensor) -> Tensor:
        if self.backbone is not None:
            return self.neck(self.backbone_features(image))
        x = self.normalize(image)
        return checkpoint_blocks(self.features, x) if self.grad_checkpointing and self.training else self.features(x)

    def backbone_features(self, image: Tensor) -> Tensor:
        """Return the timm backbone's last map `(B, C, h, w)`, for `forward(features=...)`."""
        check_image(image, self.map_stride, self.in_chans)
        return last_map(self.backbone, self.normalize(image))

    def decode(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints `(B, K, 2)`, float32, and scores `(B, K)` of 1; the paper has none."""
        return output.float(), torch.ones_like(output[..., 0], dtype=torch.float32)

    @torch.no_grad()
    def predict(self, image: Tensor, *, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Keypoints `(B, K, 2)` in pixels and scores `(B, K)`, with flip averaging if `flip`."""
        return predict_keypoints(self, image, flip=flip)

    def reset_head(self, num_keypoints: int, skeleton: str | Sequence[str] | None = None) -> None:
        """Replace the last layers for other keypoints, in the default order; 0 removes them."""
        self.set_keypoints(num_keypoints, "mpii16" if skeleton is None and num_keypoints == 16 else skeleton)
        self.build_head()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Depth of each parameter, for timm's layer decay: convolutions, layers after, head."""
        vgg16 = {"stem": r"^features\.0\.", "blocks": r"^features\.(\d+)"}
        convolutions = vgg16 if self.backbone is None else backbone_groups(coarse)
        return {**convolutions, "decoder": r"^(?!features|backbone|head)", "head": r"^head"}


class PoseCNN(VGG16Pose):
    """Regression of all keypoints at once by three layers after VGG16's convolutions (section 4.1).

    Args:
        num_keypoints: K. 0 removes the last layer, and `forward` returns features.
        skeleton: a name of `posezoo.list_skeletons()` or the keypoints' names; None is MPII's when
            there are 16 and COCO's when there are 17.
        fc_width: units of the two dense layers; 256 is the code's `base_small`.
        batch_norm: False leaves it out of the convolutions.
        bn_order: "conv_relu_bn" (paper) or "conv_bn_relu" (code).
        affine: batch norms have a scale and a shift.
        backbone: any timm network, by name, in place of VGG16's convolutions. Defaults to those.
        neck_width: channels of the 1x1 convolution after a timm backbone.
        pretrained_backbone: start the convolutions from ImageNet's, downloaded.

    Examples:
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
        bn_order: str = "conv_relu_bn",
        affine: bool = False,
        backbone: str | None = None,
        neck_width: int = NECK_WIDTH,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(5, batch_norm, bn_order, affine, backbone, neck_width, pretrained_backbone)
        self.num_features = fc_width
        self.fc6 = DenseBNReLU(self.cells * self.channels, fc_width, bn_order=bn_order, affine=affine, eps=BN_EPS)
        self.fc7 = DenseBNReLU(fc_width, fc_width, bn_order=bn_order, affine=affine, eps=BN_EPS)
        self.reset_head(num_keypoints, skeleton)

    def forward_features(self, image: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Return the second dense layer: `(B, fc_width)`."""
        return self.fc7(self.fc6(flatten(super().forward_features(image, features))))

    def build_head(self) -> None:
        self.head = nn.Identity()
        if self.num_keypoints:
            last = xavier_linear(self.num_features, 2 * self.num_keypoints)
            self.head = nn.Sequential(last, nn.Unflatten(1, (self.num_keypoints, 2)))


class PoseLSTM(VGG16Pose):
    """One keypoint per step of an LSTM with pool5 as input (section 4.2, Figure 1).

    Arguments that are not listed are those of `PoseCNN`.

    Args:
        num_keypoints: number of steps. 0 removes the projections, and `forward` returns pool5.
        hidden: width of an LSTM layer (section 4.2: 128; code: 256).
        layers: number of LSTM layers (section 4.2: 2; code: 1).
        init: initial state: "learned", linear in pool5; "zeros"; "slice", pool5's first (code).
        head: projection of a step's output: "step", batch norm and a linear layer per step; "mlp",
            with a dense layer in between (code); "shared", one linear layer for all steps.
        sequence: keypoint index of each step. Defaults to `SEQUENCE` for MPII, else the skeleton's.

    Examples:
        >>> model = PoseLSTM(hidden=8, num_keypoints=14, skeleton="lsp14", sequence=[13, 12, *range(12)]).eval()
        >>> model(model.example_input()).shape
        torch.Size([1, 14, 2])
    """

    sequence: tuple[int, ...]
    head: nn.ModuleList

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        hidden: int = HIDDEN,
        layers: int = LAYERS,
        init: str = "learned",
        head: str = "step",
        sequence: Sequence[int] | None = None,
        batch_norm: bool = True,
        bn_order: str = "conv_relu_bn",
        affine: bool = False,
        backbone: str | None = None,
        neck_width: int = NECK_WIDTH,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(5, batch_norm, bn_order, affine, backbone, neck_width, pretrained_backbone)
        check_choices(init=(init, ("learned", "zeros", "slice")), head=(head, ("step", "mlp", "shared")))
        if layers < 1 or hidden < 1:
            raise ValueError(f"layers and hidden: expected 1 or more, got {layers} and {hidden}")
        self.hidden, self.init, self.head_kind, self.bn_order, self.affine = hidden, init, head, bn_order, affine
        self.num_features = self.channels
        inputs = self.cells * self.channels
        self.lstm = nn.ModuleList(LSTMCell(inputs if layer == 0 else hidden, hidden) for layer in range(layers))
        state = 2 * layers * hidden
        if init == "slice" and state > inputs:
            raise ValueError(f'init: "slice" has {inputs} numbers, and the layers\' state {state}; make them smaller')
        self.first_state = xavier_linear(inputs, state) if init == "learned" else None
        self.reset_head(num_keypoints, skeleton)
        order_steps(self, sequence)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.run_steps(flatten(features))

    def run_steps(self, pool5: Tensor) -> Tensor:
        """Map pool5 `(B, 25088)` to keypoints `(B, K, 2)`, one per step."""
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
        """Return (c, h) of each layer, `(B, hidden)` each."""
        size = 2 * len(self.lstm) * self.hidden
        if self.first_state is not None:
            state = self.first_state(pool5)
        else:
            state = pool5[:, :size] if self.init == "slice" else pool5.new_zeros(pool5.shape[0], size)
        parts = state.split(self.hidden, dim=1)  # c, h of the first layer, c, h of the second, as TensorFlow packs them
        return list(zip(parts[::2], parts[1::2], strict=True))

    def build_head(self) -> None:
        order_steps(self, None)
        heads = min(self.num_keypoints, 1) if self.head_kind == "shared" else self.num_keypoints
        self.head = nn.ModuleList(self.projection() for _ in range(heads))

    def projection(self) -> nn.Module:
        """Create the projection of the LSTM's output to (x, y)."""
        if self.head_kind == "shared":
            return xavier_linear(self.hidden, 2)
        # one mean and one variance for all numbers of the batch
        norm = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.BatchNorm1d(1, BN_EPS, affine=self.affine), nn.Flatten(1))
        order: dict[str, Any] = {"bn_order": self.bn_order, "affine": self.affine, "eps": BN_EPS}
        dense = [DenseBNReLU(self.hidden, self.hidden, **order)] if self.head_kind == "mlp" else []
        return nn.Sequential(norm, *dense, xavier_linear(self.hidden, 2))


class PoseAttentionLSTM(VGG16Pose):
    """One keypoint per step of an LSTM with attention to the image (section 4.3).

    Arguments that are not listed are those of `PoseCNN`. Without keypoints `forward` returns the
    annotations.

    Args:
        hidden: width of an LSTM layer (section 4.2: 128; code: 512, the width of an annotation).
            Defaults to 128, or to `neck_width` after a timm backbone.
        layers: number of LSTM layers (section 4.2: 2; code: 1). Defaults to 2, or to 1 after a timm
            backbone.
        sequence: as in `PoseLSTM`.

    Examples:
        >>> model = PoseAttentionLSTM(num_keypoints=14, skeleton="lsp14").eval()
        >>> keypoints, attention = model.attend(torch.rand(1, 3, 64, 96))
        >>> keypoints.shape, attention.shape
        (torch.Size([1, 14, 2]), torch.Size([1, 14, 4, 6]))
    """

    sequence: tuple[int, ...]
    head: nn.ModuleList

    def __init__(
        self,
        *,
        num_keypoints: int = 16,
        skeleton: str | Sequence[str] | None = None,
        hidden: int | None = None,
        layers: int | None = None,
        sequence: Sequence[int] | None = None,
        batch_norm: bool = True,
        bn_order: str = "conv_relu_bn",
        affine: bool = False,
        backbone: str | None = None,
        neck_width: int = NECK_WIDTH,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__(4, batch_norm, bn_order, affine, backbone, neck_width, pretrained_backbone)
        self.num_features = self.channels
        self.hidden = hidden or (neck_width if backbone else HIDDEN)
        self.layers = layers or (1 if backbone else LAYERS)
        self.attention = Attention(self.channels, self.hidden, ATTENTION_WIDTH)
        self.lstm = LSTMCell(self.channels, self.hidden)
        self.higher = nn.ModuleList(LSTMCell(self.hidden, self.hidden) for _ in range(self.layers - 1))
        # an annotation is a state if it is as wide, as in the code
        as_wide = self.layers == 1 and self.hidden == self.channels
        self.first_state = None if as_wide else xavier_linear(self.channels, 2 * self.layers * self.hidden)
        self.reset_head(num_keypoints, skeleton)
        order_steps(self, sequence)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.run_steps(features)[0]

    def check_size(self, image: Tensor) -> None:
        check_image(image, self.map_stride, self.in_chans)
        check_batch_norm(self, image[:, 0].numel() // self.map_stride**2)

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return keypoints and the attention map of each.

        Args:
            image: `(B, 3, H, W)` in [0, 1].

        Returns:
            keypoints: `(B, K, 2)`, those of `forward`.
            attention: `(B, K, H/16, W/16)`, or of a timm backbone's stride, `map_stride`; each map
                sums to 1. Draw them with `posezoo.viz.draw_attention`.
        """
        if not self.num_keypoints:
            raise ValueError("attend: this network has no head; model.reset_head(16) gives it one")
        return self.run_steps(self.forward_features(image))

    def run_steps(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Annotations `(B, 512, h, w)` to keypoints `(B, K, 2)` and attention `(B, K, h, w)`."""
        annotations = features.flatten(2).mT  # (B, locations, 512)
        projected = self.attention.annotation(annotations)  # the same at every step
        states = self.initial_states(annotations.mean(dim=1))
        keypoints: dict[int, Tensor] = {}
        attention: dict[int, Tensor] = {}
        for keypoint in self.sequence:
            attention[keypoint] = self.attention(projected, states[-1][1])
            context = (attention[keypoint][:, None] @ annotations)[:, 0]
            for layer, cell in enumerate((self.lstm, *self.higher)):
                states[layer] = cell(cell.input(states[layer - 1][1] if layer else context), states[layer])
            keypoints[keypoint] = self.head[keypoint](states[-1][1])
        order = range(self.num_keypoints)
        maps = torch.stack([attention[keypoint] for keypoint in order], dim=1)
        return torch.stack([keypoints[keypoint] for keypoint in order], dim=1), maps.unflatten(2, features.shape[2:])

    def initial_states(self, mean: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (c, h) of each layer, `(B, hidden)` each, from the mean annotation `(B, C)`."""
        if self.first_state is None:
            return [(mean, mean)]
        parts = self.first_state(mean).split(self.hidden, dim=1)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def build_head(self) -> None:
        order_steps(self, None)
        self.head = nn.ModuleList(xavier_linear(self.hidden, 2) for _ in range(self.num_keypoints))


class LSTMCell(nn.Module):
    """One LSTM step (section 4.2), with PyTorch's gates i, f, g, o (TensorFlow: i, g, f, o)."""

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
        """Map `(B, 4 hidden)` and (c, h), `(B, hidden)` each, to the next (c, h)."""
        c, h = state
        i, f, g, o = (drive + self.recurrent(h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return c, o.sigmoid() * c.tanh()


class Attention(nn.Module):
    """Attention over locations: an MLP, whose first layer adds `annotation` and `state`."""

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.annotation = xavier_linear(channels, width)
        self.state = xavier_linear(hidden, width, bias=False)
        self.middle = xavier_linear(width, width)
        self.score = xavier_linear(width, 1)

    def forward(self, projected: Tensor, h: Tensor) -> Tensor:
        """`annotation(...)` `(B, locations, width)` and state `(B, hidden)` to `(B, locations)`."""
        x = F.relu(projected + self.state(h)[:, None])
        x = F.relu(self.middle(x))
        return self.score(x)[..., 0].softmax(dim=1)


def flatten(features: Tensor) -> Tensor:
    """Flatten `(B, C, h, w)` to `(B, h w C)`, location by location, as TensorFlow."""
    return features.movedim(1, -1).flatten(1)


def order_steps(model: PoseLSTM | PoseAttentionLSTM, sequence: Sequence[int] | None) -> None:
    """Set the keypoint of each step; None is the code's order for MPII, else the skeleton's."""
    count = model.num_keypoints
    if sequence is not None and sorted(sequence) != list(range(count)):
        raise ValueError(
            f"sequence: expected the index of each of the {count} keypoints once, got {list(sequence)}; leave it out "
            "for the default order"
        )
    mpii = model.skeleton is not None and model.skeleton.name == "mpii16" and count == len(SEQUENCE)
    model.sequence = tuple(sequence or (SEQUENCE if mpii else range(count)))
    model.kwargs = {**model.kwargs, "sequence": None if sequence is None else list(sequence)}


@register_model
def posernn_cnn(**kwargs: Any) -> PoseCNN:
    """The paper's baseline: VGG16 with batch norm, keypoints at once, 134.4 million parameters."""
    return PoseCNN(**kwargs)


@register_model
def posernn_lstm(**kwargs: Any) -> PoseLSTM:
    """One keypoint per step of a two-layer LSTM 128 wide, 40.6 million parameters."""
    return PoseLSTM(**kwargs)


@register_model
def posernn_attention(**kwargs: Any) -> PoseAttentionLSTM:
    """A keypoint per step of a two-layer LSTM of 128 units, attention; 15.5 million parameters."""
    return PoseAttentionLSTM(**kwargs)
