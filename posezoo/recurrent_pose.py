"""Modules of a stage of RPSM (`posezoo.models.rpsm`): convolutions, adaption, recurrent pose."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posezoo.layers import check_choices

State = tuple[Tensor, Tensor]  # hidden and cell of an LSTM, (B, hidden) each

GATES = 4  # input, candidate, forget, output: FastLSTM's order
ADAPTIONS = {"paper": (5, 2), "code": (3, 1)}  # kernel and stride of the second convolution (section 3.3)
TEMPORAL = ("lstm", "fc")
INITS = ("xavier", "torch7")


class SpecialisedConvs(nn.Module):
    """The last two convolutions of the 2D pose module, Psi_p; if `refines`, all of them (3.2)."""

    def __init__(self, width: int = 128, *, refines: bool = True, inputs: int | None = None) -> None:
        super().__init__()
        self.refines = refines
        self.conv1 = nn.Conv2d((width if inputs is None else inputs) + width * refines, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, shared: Tensor, previous: Tensor) -> Tensor:
        """Features of trunk and previous stage, `(B, width, h, w)` each, to this stage's."""
        x = torch.cat([shared, previous], dim=1) if self.refines else shared
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class FeatureAdaption(nn.Module):
    """Psi_a, the feature adaption module: maps of `cells` (h, w) to a vector (section 3.3)."""

    def __init__(
        self, cells: Sequence[int] = (46, 46), width: int = 128, hidden: int = 1024, *, design: str = "paper"
    ) -> None:
        super().__init__()
        check_choices(design=(design, ADAPTIONS))
        kernel, stride = ADAPTIONS[design]
        self.conv1 = nn.Conv2d(width, width, 5, 2, padding=2)
        self.conv2 = nn.Conv2d(width, width, kernel, stride, padding=kernel // 2)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        height, breadth = (-(-side // (4 * stride)) for side in cells)
        self.fc = nn.Linear(width * height * breadth, hidden)

    def forward(self, f2d: Tensor) -> Tensor:
        """`(B, width, h, w) -> (B, hidden)`."""
        x = F.relu(self.conv1(f2d))
        x = self.pool(F.relu(self.conv2(x)))
        return F.relu(self.fc(x.flatten(1)))


class RecurrentPose(nn.Module):
    """Psi_r, the 3D pose recurrent module: an LSTM along time and a linear layer (section 3.4).

    A stage that `refines` takes the pose of the stage before as input. Without it a stage 1 equals
    one with zeros.
    """

    def __init__(
        self,
        num_keypoints: int = 17,
        hidden: int = 1024,
        *,
        refines: bool = True,
        temporal: str = "lstm",
        init: str = "xavier",
    ) -> None:
        super().__init__()
        check_choices(temporal=(temporal, TEMPORAL), init=(init, INITS))
        self.units, self.refines = hidden, refines
        gates = (GATES if temporal == "lstm" else 1) * hidden
        self.adapted = initialize_layer(nn.Linear(hidden, gates), init, inputs=hidden + 3 * num_keypoints * refines)
        self.recurrent = initialize_layer(nn.Linear(hidden, gates, bias=False), init) if temporal == "lstm" else None
        self.previous: nn.Linear | None = None
        self.pose: nn.Linear
        self.reset_head(num_keypoints, init)

    def reset_head(self, num_keypoints: int, init: str = "xavier") -> None:
        """Replace the layers that depend on the keypoints."""
        outputs, gates = 3 * num_keypoints, self.adapted.out_features
        self.pose = initialize_layer(nn.Linear(self.units, outputs), init)
        if self.refines:  # with `adapted` it is one matrix, whose size its first values follow
            self.previous = initialize_layer(nn.Linear(outputs, gates, bias=False), init, inputs=self.units + outputs)

    def forward(self, f3d: Tensor, previous: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        """Return poses in the codec's units, and the state after the last frame.

        Inputs are adapted features `(B, T, hidden)`, poses of the stage before `(B, T, 3 K)`, and
        the LSTM state before the first frame, which defaults to zeros.
        """
        x = self.adapted(f3d)  # of all frames at once
        if self.previous is not None:
            x = x + self.previous(previous)
        if self.recurrent is None:
            return self.pose(F.relu(x)), None
        zeros = x.new_zeros(x.shape[0], self.units)
        hidden, cell = (zeros, zeros) if state is None else state
        outputs = []
        for frame in x.unbind(dim=1):
            enter, candidate, keep, leave = (frame + self.recurrent(hidden)).chunk(GATES, dim=1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return self.pose(torch.stack(outputs, dim=1)), (hidden, cell)


def initialize(module: nn.Module, init: str) -> None:
    """Initialise all convolutions and linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            initialize_layer(layer, init)


def initialize_layer(layer: Any, init: str, inputs: int | None = None) -> Any:
    """Initialise a layer in place: Xavier's uniform and biases 0, or Torch7's uniform for both.

    `inputs` are those of the matrix that the layer's is a part of. Defaults to the layer's own.
    """
    field = layer.weight[0, 0].numel() if layer.weight.ndim > 2 else 1
    inputs = inputs or layer.weight.shape[1] * field
    outputs = layer.weight.shape[0] * field
    bound = (6 / (inputs + outputs)) ** 0.5 if init == "xavier" else inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -bound, bound) if init == "torch7" else nn.init.zeros_(layer.bias)
    return layer
