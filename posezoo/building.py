"""Build networks from arguments that may be wrong, and compare foreign ones with their weights."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from posezoo.foreign import printable
from posezoo.weights.published import published_record
from posezoo.weights.record import Weights

MOST_PARAMETERS = 2**30  # of a foreign network without its weights
FEW_PARAMETERS = 2**20  # need no comparison: 4 MB
MOST_MODULES = 20_000
LARGEST = 100_000  # number among a network's arguments; more layers or units would fill the memory, or take hours


def build(arch: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call an entry point; wrong arguments are ValueErrors, whatever the network makes of them.

    Raises:
        ValueError: arguments that make no network, or one of layers without units; numbers above
            100,000 among them.
    """
    for key, value in arguments.items():
        _check_numbers(f"{arch}: {key}", value)
    try:
        model = function(**arguments)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and not _is_torchs(error):
            raise
        given = ", ".join(f"{key}={printable(repr(value), 40)}" for key, value in arguments.items())
        raise ValueError(
            f"{arch}: these arguments make no network: {given or 'none'} ({type(error).__name__}: "
            f"{printable(str(error))}); posezoo.model_entrypoint({arch!r}) documents them"
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"{arch}: its function returned {printable(repr(model), 40)}, expected a torch.nn.Module")
    if getattr(model, "num_keypoints", 0) and not all(map(torch.numel, model.parameters())):
        raise ValueError(f"{arch}: these arguments make layers without units: {printable(repr(arguments))}")
    return model


def _is_torchs(error: ValueError) -> bool:
    """Whether torch raised it, which does not name the argument."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_globals.get("__name__", "").startswith("torch.")


def _check_numbers(name: str, value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_numbers(name, item)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{name}: expected numbers up to {LARGEST:,}, got {printable(repr(value), 40)}")


class _TooLargeError(Exception): ...


class _NoValues(TorchFunctionMode):
    """Leave out initialisations, which take long on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fills = getattr(func, "__name__", "").rstrip("_") in ("normal", "uniform", "trunc_normal", "fill", "erfinv")
        return args[0] if fills and args else func(*args, **(kwargs or {}))


def check_promise(arch: str, function: Callable[..., Any], record: Weights, size: int | None) -> None:
    """Raise if a foreign record asks for a network with more parameters than its file has bytes.

    The network is built without memory, on the meta device, up to the first layer that is too much.

    Args:
        arch: for messages.
        function: its entry point.
        record: of a folder or a repository.
        size: of the file, bytes. None allows 2**30 parameters.

    Raises:
        ValueError: a network that the weights cannot fill.
    """
    size = MOST_PARAMETERS if size is None else size
    if record.base:
        size += published_record(record.base).size or MOST_PARAMETERS
    thread, count = threading.get_ident(), [0, 0]

    def add(module: Any, name: str, value: Any) -> None:
        if threading.get_ident() == thread and value is not None:
            count[0] += value.numel() if isinstance(value, torch.Tensor) else 0
            count[1] += 1
            if count[0] > max(size, FEW_PARAMETERS) or count[1] > MOST_MODULES:
                raise _TooLargeError

    hooks = torch.nn.modules.module
    handles = [
        hooks.register_module_parameter_registration_hook(add),
        hooks.register_module_buffer_registration_hook(add),
        hooks.register_module_module_registration_hook(add),
    ]
    try:
        with torch.device("meta"), _NoValues():
            build(arch, function, {key: value for key, value in record.arguments.items() if key != "in_chans"})
    except _TooLargeError:
        raise ValueError(
            f"{record.sources[0]}: its config.json asks for a network of more than {count[0]:,} parameters and "
            f"{count[1]:,} layers, and its weights have {size:,} bytes; the two do not belong together"
        ) from None
    except ValueError:
        pass  # of a network that cannot be built without memory, or cannot be built: building it tells
    finally:
        for handle in handles:
            handle.remove()
