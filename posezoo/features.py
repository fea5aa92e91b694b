"""Feature maps of any network, found while it runs: the last one of each falling resolution.

They follow timm's conventions for backbones: `PoseModel.feature_info`,
`PoseModel.forward_intermediates` and `posezoo.create(name, features_only=True, out_indices=...)`.
"""

import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.backbones import import_timm


@dataclass(frozen=True)
class FeatureMap:
    """A feature map of a network.

    Attributes:
        module: name of the submodule whose output it is.
        reduction: its stride in pixels of the input, a power of two.
        value: `(B, C, h, w)`.
    """

    module: str
    reduction: int
    value: Tensor


@contextmanager
def record_maps(
    network: nn.Module, height: int, *, modules: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> Iterator[list[FeatureMap]]:
    """Record the feature maps of the forward pass in a `with` block; the list is filled at its end.

    Args:
        network: run once in the block.
        height: H of its input.
        modules: names of the submodules whose outputs are recorded. Defaults to the last submodule
            of each stride, up to the first output of a smaller stride than before.
        leave_out: names of submodules that yield no feature maps, such as the head's.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        >>> with record_maps(network, 32) as maps:
        ...     output = network(torch.rand(1, 3, 32, 32))
        >>> [(found.module, found.reduction) for found in maps]
        [('1', 2), ('2', 4)]
    """
    found: dict[Any, FeatureMap] = {}
    deepest, climbing = 1, False

    def keep(name: str, output: Any) -> None:
        nonlocal deepest, climbing
        # squeezed maps of one cell are gates
        if climbing or not isinstance(output, Tensor) or output.ndim != 4 or min(output.shape[-2:]) < 2:
            return
        reduction = 2 ** round(math.log2(max(height / output.shape[-2], 1)))
        if modules:
            found.setdefault(name, FeatureMap(name, reduction, output))  # of a shared module the first output
        elif reduction < deepest:
            climbing = True
        elif reduction > 1:
            deepest = reduction
            found[reduction] = FeatureMap(name, reduction, output)

    outside = tuple(f"{name}." for name in leave_out)
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in network.named_modules()
        if (name in modules if modules else name and not f"{name}.".startswith(outside))
    ]
    maps: list[FeatureMap] = []
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
    maps += found.values()


def map_modules(network: Any) -> Sequence[str]:
    """Return the names of `feature_modules`, or of timm's for a backbone; () if unknown."""
    info = getattr(getattr(network, "backbone", None), "feature_info", None)
    if network.feature_modules or info is None:
        return network.feature_modules
    names = [f"backbone.{entry['module'].replace('.', mark)}" for mark in "._" for entry in info.info]
    known = {name for name, _ in network.named_modules()}
    return next((half for half in (names[: len(info)], names[len(info) :]) if known.issuperset(half)), ())


class FeatureMaps(nn.Module):
    """A network that returns some of its feature maps, as timm's backbones with `out_indices` do.

    Args:
        network: a `PoseModel` with feature maps, without its head.
        out_indices: indices into `network.feature_info`; negative ones count from its end.

    Attributes:
        feature_info: timm's, with `channels()`, `reduction()` and `module_name()` of the maps.

    Raises:
        ValueError: an index without a map.

    Examples:
        >>> import posezoo
        >>> backbone = posezoo.create("hrnet_w18", features_only=True, out_indices=(0, 2))
        >>> backbone.feature_info.channels(), backbone.feature_info.reduction()
        ([18, 72], [4, 16])
        >>> [tuple(feature.shape) for feature in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 18, 16, 16), (1, 72, 4, 4)]
    """

    def __init__(self, network: Any, out_indices: Sequence[int]) -> None:
        super().__init__()
        info = network.feature_info
        self.out_indices = check_indices(out_indices, len(info))
        self.network = network
        import_timm("feature_info")
        from timm.models import FeatureInfo

        self.feature_info = FeatureInfo(info, self.out_indices)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps of `out_indices`, `(B, C, h, w)` each."""
        return list(self.network.forward_intermediates(image, self.out_indices, intermediates_only=True))


def check_indices(indices: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return indices of feature maps, all not negative; a number n means the last n, None all.

    Raises:
        ValueError: an index without a map.

    Examples:
        >>> check_indices(2, 5), check_indices([0, -1], 5), check_indices(None, 2)
        ((3, 4), (0, 4), (0, 1))
    """
    if indices is None:
        return tuple(range(count))
    if isinstance(indices, int):
        indices = range(count - indices, count)
    wrong = [index for index in indices if not -count <= index < count]
    if wrong:
        raise ValueError(f"out_indices: expected indices of the network's {count} feature maps, got {wrong[0]}")
    return tuple(index % count for index in indices)


_EVAL_LOCK = threading.Lock()
# model -> the number of `with` blocks it is in, and the modules that were in training mode before the first
_EVAL_USERS: "weakref.WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]]" = weakref.WeakKeyDictionary()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch to eval mode for a `with` block, then restore the mode of every module.

    Module by module, because parts of a model in training mode may be frozen in eval mode. Where
    several threads use the model, the last to leave its block restores the modes.
    """
    with _EVAL_LOCK:
        users, training = _EVAL_USERS.get(model) or (0, [module for module in model.modules() if module.training])
        _EVAL_USERS[model] = users + 1, training
        model.eval()
    try:
        yield
    finally:
        with _EVAL_LOCK:
            users, training = _EVAL_USERS.pop(model)
            if users > 1:
                _EVAL_USERS[model] = users - 1, training
            else:
                for module in training:
                    module.training = True


def without_data(run: Callable[..., Any], network: nn.Module, example: Tensor) -> Any:
    """Return `run(example)` with tensors that have shapes and devices, but no values.

    The network is in eval mode meanwhile; its tensors are neither copied nor changed.

    Examples:
        >>> without_data(lambda x: x.repeat(2, 1), nn.Identity(), torch.zeros(2, 3)).shape
        torch.Size([4, 3])
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with eval_mode(network), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        return run(mode.from_tensor(example))
