"""Weights that share submodules: a file without them, and the record whose file has them.

Networks trained on one frozen backbone are published as files without it. Their records name the
record with the backbone, `base`, and the submodules, `shared`.
"""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from posezoo.weights.published import published_record
from posezoo.weights.record import Weights
from posezoo.weights.sources import find
from posezoo.weights.state_dict import read_state_dict


def read_shared(base: str, shared: Iterable[str], cache_dir: str | Path | None = None) -> dict[str, Tensor]:
    """Find, verify and read the base's file; return the tensors of the submodules `shared`.

    Args:
        base: `arch.tag` of published weights.
        shared: names of submodules.
        cache_dir: folder for downloads; see `find`.

    Raises:
        WeightsNotFoundError: (a ValueError) no source provides the base's file.
        ValueError: an unknown record, one in another format or without a file of its own, or
            submodules that the file lacks.
    """
    record = published_record(base)
    if record.base or record.format:
        fault = f"shares its own with {record.base}" if record.base else f"has the format {record.format}"
        raise ValueError(f"base: expected weights in posezoo's format, complete in one file, and {base} {fault}")
    path = find(record, cache_dir)
    tensors = {}
    state = read_state_dict(path)
    for name in shared:
        found = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
        if not found:
            raise ValueError(f"shared: {path}, the file of {base}, has no tensors of {name!r}")
        tensors.update(found)
    return tensors


def complete(state: dict[str, Tensor], record: Weights, cache_dir: str | Path | None = None) -> dict[str, Tensor]:
    """Add the tensors that a record shares with its base to those of its own file.

    Raises:
        ValueError: the file has some of them itself, or what `read_shared` raises.
    """
    if not record.base:
        return state
    shared = read_shared(record.base, record.shared, cache_dir)
    twice = [key for key in state if key.startswith(tuple(f"{name}." for name in record.shared))]
    if twice:
        raise ValueError(
            f"the file has {twice[0]}, which is {record.base}'s; leave {', '.join(record.shared)} out of it"
        )
    return {**state, **shared}
