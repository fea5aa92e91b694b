"""State dicts of published files, and steps of the conversion that several formats share."""

from collections.abc import Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]


def has(state: State, prefix: str | tuple[str, ...]) -> bool:
    """Return whether any key begins with the prefix, or with one of several."""
    return any(key.startswith(prefix) for key in state)


def complete(state: State, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> State:
    """Add the image normalisation, and the batch counters that files older than PyTorch 0.4.1 lack.

    Args:
        state: under posezoo's keys.
        mean: of RGB in [0, 1]; None: no normalisation.
        std: of RGB in [0, 1]; None: no normalisation.
    """
    counters = {
        key.removesuffix("running_var") + "num_batches_tracked": torch.tensor(0)
        for key in state
        if key.endswith("running_var")
    }
    normalization = {}
    if mean is not None and std is not None:
        normalization = {"normalize.mean": torch.tensor(mean), "normalize.std": torch.tensor(std)}
    return {**counters, **state, **normalization}
