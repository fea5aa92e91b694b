"""A copy of a network for inference: batch norms folded into convolutions, channels last.

On a CPU the weights of its convolutions are in oneDNN's own order. `predict` of image networks
makes the copy after a few runs with the same weights, compares its output with the network's, and
uses it from then on. It costs the memory of the weights once more.
"""

import contextlib
import contextvars
import copy
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

EAGER_CALLS = 4  # runs before the copy is made: one image, in two passes with their mirror images, is not worth it
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # of the largest output
LOOKS = ("__get__", "dim", "size", "numel", "is_floating_point")  # functions that read no values
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

logger = logging.getLogger("posezoo")


@dataclass(eq=False)
class Copy:
    """A prepared network.

    Attributes:
        weights: identity and version of each tensor of the network that it is a copy of.
        network: None before it is made, and if its output differs from the network's.
        calls: number of calls with these weights.
    """

    weights: tuple[tuple[int, int], ...]
    network: nn.Module | None = None
    calls: int = 0


_COPIES: "weakref.WeakKeyDictionary[nn.Module, dict[torch.dtype, Copy]]" = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()
_ALLOWED = contextvars.ContextVar("_ALLOWED", default=True)


@contextlib.contextmanager
def unprepared() -> Iterator[None]:
    """Run networks as they are inside a `with` block, without a prepared copy.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("simple_baseline_resnet18").eval()
        >>> with unprepared():
        ...     keypoints, scores = model.predict(torch.rand(1, 3, 64, 64))
    """
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def run_prepared(model: Any, image: Tensor) -> Tensor:
    """Return `model(image)`, by its prepared copy where there is one.

    There is none in training mode, with gradients, in a graph that is being captured, with
    hooks on the network, in `unprepared()`, with `model.prepare = False`, or of weights made in
    `torch.inference_mode`, whose changes are not counted. Changed weights make a new one.

    Examples:
        >>> import posezoo
        >>> model, image = posezoo.create("simple_baseline_resnet18").eval(), torch.rand(1, 3, 64, 64)
        >>> with torch.no_grad():
        ...     outputs = [run_prepared(model, image) for _ in range(6)]
        >>> torch.allclose(outputs[0], outputs[-1], atol=1e-5)
        True
    """
    dtype = _precision(model, image)
    if dtype is None:
        return model(image)
    values = (*model.parameters(), *model.buffers())
    if any(value.is_inference() for value in values):
        return model(image)
    weights = tuple((value.data_ptr(), value._version) for value in values)
    with _LOCK:
        copies = _COPIES.setdefault(model, {})
        if dtype not in copies or copies[dtype].weights != weights:
            copies[dtype] = Copy(weights)
        known = copies[dtype]
        known.calls += 1
        due = known.calls == EAGER_CALLS + 1
    if known.network is not None:
        return _run(known.network, image, dtype)
    expected = model(image)
    if due:
        network = prepare(model, image, dtype)
        apart = (_run(network, image, dtype) - expected).abs().amax()
        if bool(apart <= TOLERANCE[dtype] * expected.abs().amax()):
            known.network = network
        else:
            logger.debug("%s is used as it is: its prepared copy differs by %g", type(model).__name__, float(apart))
    return expected


def prepare(model: nn.Module, image: Tensor, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Copy a network in eval mode, with its batch normalisation in its convolutions.

    Args:
        model: unchanged.
        image: an input, to find which normalisation follows which convolution.
        dtype: of the copy.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> [type(layer).__name__ for layer in prepare(network, torch.rand(1, 3, 9, 9))][1:]
        ['Identity', 'ReLU']
    """
    network = copy.deepcopy(model).requires_grad_(False)
    pairs, sizes, last = _look(network, image)
    for conv_name, norm_name in pairs:
        conv: Any = network.get_submodule(conv_name)
        norm: Any = network.get_submodule(norm_name)
        transposed = isinstance(conv, nn.ConvTranspose2d)
        _replace(network, conv_name, fuse_conv_bn_eval(conv, norm, transpose=transposed))
        # timm's normalisation has its activation inside
        rest = [norm.drop, norm.act] if hasattr(norm, "act") and hasattr(norm, "drop") else []
        kept = [layer for layer in rest if not isinstance(layer, nn.Identity)]
        _replace(network, norm_name, kept[0] if len(kept) == 1 else nn.Sequential(*kept) if kept else nn.Identity())
    network = network.to(dtype).to(memory_format=torch.channels_last)
    if last:
        network.get_submodule(last).float()
    if _can_pack(image.device, dtype):
        for name, size in sizes.items():
            layer = network.get_submodule(name)
            # a subclass may pad in its own way
            if type(layer) in CONVOLUTIONS and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple):
                _replace(network, name, PackedConvolution(layer, size))
    if last and dtype != torch.float32:
        # rounded to 8 bits, neighbours of a peak are often equal, and the decoded keypoint is half a cell off
        network.get_submodule(last).register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return network


class PackedConvolution(nn.Module):
    """A convolution on a CPU with its weight in the order in which oneDNN computes.

    An ordinary convolution brings its weight into this order in every call, which takes up to half
    of its time for one image.

    Args:
        conv: `nn.Conv2d` or `nn.ConvTranspose2d`.
        size: of its input, for which the order is chosen. Other sizes work as well.
    """

    def __init__(self, conv: Any, size: list[int]) -> None:
        super().__init__()
        onednn = torch.ops.mkldnn
        reorder, self.run = onednn._reorder_convolution_weight, onednn._convolution_pointwise
        self.geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if isinstance(conv, nn.ConvTranspose2d):
            reorder, self.run = onednn._reorder_convolution_transpose_weight, onednn._convolution_transpose_pointwise
            self.geometry = (conv.padding, conv.output_padding, conv.stride, conv.dilation, conv.groups)
        self.weight, self.bias = reorder(conv.weight, *self.geometry, size), conv.bias

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.run(x, self.weight, self.bias, *self.geometry, "none", [], "")
        return output


def _can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _run(network: Callable[..., Tensor], image: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast(image.device.type, enabled=False):
        output = network(image.to(dtype).contiguous(memory_format=torch.channels_last))
    return output.contiguous().float()


def _precision(model: Any, image: Tensor) -> torch.dtype | None:
    """Return the precision of a copy; None where the network has to run itself."""
    plain = type(image) is Tensor and image.dtype == torch.float32 and image.device.type in ("cpu", "cuda")
    wanted = getattr(model, "prepare", False) and _ALLOWED.get()
    if not plain or model.training or not wanted or torch.is_grad_enabled():
        return None
    if not image.numel() or torch.compiler.is_compiling() or torch.utils._python_dispatch._get_current_dispatch_mode():
        return None
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    parameters = next(model.parameters(), image)
    if dtype not in TOLERANCE or parameters.dtype != torch.float32 or parameters.device != image.device:
        return None
    if any(module._forward_hooks or module._forward_pre_hooks or module.training for module in model.modules()):
        return None
    return dtype


class Uses(TorchFunctionMode):
    """Count the functions that read each of some tensors, inside a `with` block."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[int, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in LOOKS:
            for value in tree_leaves((args, kwargs)):
                if id(value) in self.counts:
                    self.counts[id(value)] += 1
        return func(*args, **(kwargs or {}))


def _look(network: nn.Module, image: Tensor) -> tuple[list[tuple[str, str]], dict[str, list[int]], str]:
    """Run a network once, to find pairs to fold, sizes of inputs, and the last convolution.

    Pairs are a convolution and the batch normalisation that alone reads its output, both run once.
    The last convolution is that whose output is the network's, "" if there is none.
    """
    producers: dict[int, tuple[str, Tensor]] = {}
    pairs: list[tuple[str, str, int]] = []
    runs: dict[str, int] = {}
    sizes: dict[str, list[int]] = {}
    uses = Uses()

    def watch(name: str) -> Callable[..., None]:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(module, CONVOLUTIONS):
                producers[id(output)] = name, output  # held, so that no other tensor gets its id
                uses.counts[id(output)] = 0
                sizes[name] = [len(image) * inputs[0].shape[0], *inputs[0].shape[1:]]  # of `image[:1]`
            elif inputs and id(inputs[0]) in producers:
                pairs.append((producers[id(inputs[0])][0], name, id(inputs[0])))

        return after

    kinds = (*CONVOLUTIONS, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(watch(name)) for name, m in network.named_modules() if isinstance(m, kinds)]
    with torch.no_grad(), uses:
        output = network(image[:1])
    last = producers[id(output)][0] if uses.counts.get(id(output)) == 0 else ""
    for hook in hooks:
        hook.remove()
    once = [(conv, norm) for conv, norm, tensor in pairs if runs[conv] == runs[norm] == uses.counts[tensor] == 1]
    return once, sizes, last if runs.get(last) == 1 else ""


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)
