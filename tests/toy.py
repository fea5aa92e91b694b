"""A network small enough for tests of the registry and of weights, and the way such a test cleans
up.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from posezoo import registry
from posezoo.contract import PoseModel
from posezoo.layers import Normalize
from posezoo.weights.published import PUBLISHED


class Toy(PoseModel):
    """A trunk, a batch norm (for its buffers) and a head."""

    head_keys = ("final_layer",)

    def __init__(
        self, *, width: int = 4, num_keypoints: int = 17, skeleton: str | None = None, pretrained_backbone: bool = False
    ) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.width, self.pretrained_backbone = width, pretrained_backbone
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.reset_head(num_keypoints, skeleton)

    def reset_head(self, num_keypoints: int, skeleton: str | None = None) -> None:
        self.set_keypoints(num_keypoints, skeleton)
        self.final_layer: nn.Module = nn.Conv2d(self.width, num_keypoints, 1) if num_keypoints else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return self.final_layer(self.bn(self.conv(self.normalize(image))))


def toy(**kwargs: Any) -> Toy:
    """The entry point: all arguments go on to the class."""
    return Toy(**kwargs)


def toy_wide(**kwargs: Any) -> Toy:
    """An entry point that fixes one argument."""
    return Toy(width=8, **kwargs)


@contextlib.contextmanager
def scratch_registry() -> Iterator[None]:
    """What is registered inside is forgotten afterwards."""
    registry.list_models()  # the zoo's own models must be in before, or they would be forgotten too
    before = [(table, dict(table)) for table in (registry._REGISTRY, PUBLISHED)]
    try:
        yield
    finally:
        for table, content in before:
            table.clear()
            table.update(content)


def randomize(model: nn.Module) -> nn.Module:
    """Other values in every parameter and floating buffer, so that equality means something."""
    generator = torch.Generator().manual_seed(len(list(model.parameters())))
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every tensor."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two snapshots agree in every bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
