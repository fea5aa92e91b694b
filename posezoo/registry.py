"""The registry: every architecture is a function, registered under its own name.

A model's name is `arch` or `arch.tag`. The tag picks one set of weights and defaults to the first.
`hf-hub:org/name[@revision]` and `local-dir:/path` name a model saved by `posezoo.save_pretrained`.
The functions follow timm's, so that `posezoo.create` replaces `timm.create_model`.
"""

import copy
import difflib
import fnmatch
import functools
import importlib
import inspect
import os
import re
import threading
import typing
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch.overrides import TorchFunctionMode

from posezoo.checkpoints.loading import Checkpoint, load_weights, read_checkpoint
from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton
from posezoo.weights.folder import read_record
from posezoo.weights.published import PUBLISHED, publish, published_record
from posezoo.weights.record import HUB_SOURCE, Weights
from posezoo.weights.sources import find

__all__ = [
    "Weights",
    "create",
    "create_for_checkpoint",
    "create_model",
    "from_pretrained",
    "get_pretrained_cfg",
    "is_model",
    "list_models",
    "list_pretrained",
    "load_checkpoint",
    "model_entrypoint",
    "register_model",
]

Function = TypeVar("Function", bound=Callable[..., Any])

PLUGINS = "posezoo.models"  # the entry-point group by which other packages add their models
MOST_PARAMETERS = 2**30  # of a foreign network without its weights
FEW_PARAMETERS = 2**20  # need no comparison: 4 MB
MOST_MODULES = 100_000
LONGEST = 4096  # characters of a path
PREFIXES = {"hf-hub": "hf-hub", "hf_hub": "hf-hub", "local-dir": "local-dir"}


_REGISTRY: dict[str, Callable[..., Any]] = {}


@overload
def register_model(function: Function) -> Function: ...
@overload
def register_model(*, weights: dict[str, Weights] | None = None) -> Callable[[Function], Function]: ...
def register_model(
    function: Callable[..., Any] | None = None, *, weights: dict[str, Weights] | None = None
) -> Callable[..., Any]:
    """Register a function that builds a model; the function's name becomes the model's.

    Args:
        function: takes the constructor's keyword arguments and returns the model. With `**kwargs`
            the arguments of the class named as its return type are valid, too.
        weights: of a plug-in, by tag, the default first. Defaults to the records under the
            function's name in the table of published weights. Records without sources have to
            be downloaded by hand from their `origin`.

    Raises:
        ValueError: another function has the name already, or a tag is not a word.

    Examples:
        >>> import torch, posezoo
        >>> @posezoo.register_model
        ... def one_layer(width: int = 8) -> torch.nn.Linear:
        ...     return torch.nn.Linear(width, 2)
        >>> posezoo.create("one_layer", width=4)
        Linear(in_features=4, out_features=2, bias=True)
    """
    if function is None:
        return functools.partial(_register, weights=weights)
    return _register(function, weights=weights)


def _register(function: Callable[..., Any], *, weights: dict[str, Weights] | None) -> Callable[..., Any]:
    name, module = function.__name__, function.__module__
    if not name.isidentifier():
        raise ValueError(f"a model's name is its function's: expected a named function, got {name!r} in {module}")
    if not module.startswith(PLUGINS):
        importlib.import_module(PLUGINS)  # ours come first, so that a plug-in that takes one of their names fails
    other = _REGISTRY.get(name)
    # the same function again is importlib.reload, or a notebook cell that is run twice
    if other is not None and (other.__module__, other.__qualname__) != (module, function.__qualname__):
        raise ValueError(
            f"two models are called {name!r}, in {other.__module__} and in {module}; rename one of the functions"
        )
    if weights is not None:
        publish(name, weights)
    _REGISTRY[name] = function
    return function


def create(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg: str | dict[str, Any] | Weights | None = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    checkpoint_path: str | Path | None = None,
    cache_dir: str | Path | None = None,
    *,
    normalize: bool = True,
    features_only: bool = False,
    **kwargs: Any,
) -> Any:
    """Build a model by name, with or without weights.

    `kwargs` overrule the arguments of the weights' record, which overrule the architecture's
    defaults. The record counts only where it is asked for: by `pretrained=True`, a tag or a record.
    A head for other keypoints than the weights' is not loaded, unless the weights name theirs and
    have all of `skeleton`'s. `skeleton` alone sets `num_keypoints`, too.

    Args:
        model_name: `arch`, `arch.tag`, `hf-hub:org/name[@revision]` or `local-dir:/path`.
        pretrained: load the weights. It is an error if none are published.
        pretrained_cfg: another record than the name's: a tag, a record, or its dictionary.
        pretrained_cfg_overlay: fields that replace the record's.
        checkpoint_path: a file to load instead, of any format of `posezoo.load_checkpoint`.
        cache_dir: folder for downloads. Defaults to the Hub's cache and `~/.cache/posezoo`.
        normalize: False disables the model's image normalisation, for images normalised already.
        features_only: remove the head; the model returns the features before it.
        **kwargs: the constructor's arguments. None counts as not given.

    Returns:
        The `nn.Module`, in eval mode when pretrained, else in train mode, with the attributes
        `architecture`, `kwargs`, and `weights`, the record of the loaded weights or None.

    Raises:
        ValueError: an unknown name, tag or argument (the message names the nearest valid ones), or
            weights that do not fit.
        WeightsNotFoundError: (a ValueError) no source of the weights could be read; the message
            says how to get them.

    Examples:
        >>> import posezoo
        >>> model = posezoo.create("hrnet_w32", num_keypoints=21)
        >>> model.architecture, model.num_keypoints
        ('hrnet_w32', 21)
    """
    # which architecture, and which record of weights
    source, name = _parse_name(model_name)
    if source:
        if pretrained_cfg is not None:
            raise ValueError(f"{model_name} brings its own record; change it with pretrained_cfg_overlay=")
        record: Weights | None
        arch, record = read_record(f"{source}:{name}", cache_dir=cache_dir)
        if not is_model(arch):
            raise ValueError(f"{model_name} is a {arch!r}, which is not registered here; is its package installed?")
    else:
        arch, _, tag = name.partition(".")
        record = _find_record(arch, tag if pretrained_cfg is None else pretrained_cfg)
    if pretrained_cfg_overlay:
        base = record or Weights(architecture=arch)
        record = Weights.from_dict({**base.to_dict(), **pretrained_cfg_overlay})
    if pretrained and (record is None or not record.sources):
        _raise_missing_weights(arch, record)

    # the network
    function = model_entrypoint(arch)
    given = {key: value for key, value in kwargs.items() if value is not None}
    asked_for = pretrained or source or "." in name or pretrained_cfg is not None or pretrained_cfg_overlay
    arguments = _resolve_arguments(arch, function, record if asked_for else None, given)
    if source and record is not None:
        _check_promise(arch, record, find(record, cache_dir).stat().st_size if pretrained else MOST_PARAMETERS)
    model = _build(arch, arguments)

    model.architecture = arch
    # `reset_head` keeps model.kwargs up to date; how a model was initialised is not needed to build it again
    final = {**arguments, **getattr(model, "kwargs", {})}
    model.kwargs = {key: value for key, value in final.items() if not key.startswith("pretrained")}
    if record and asked_for and hasattr(model, "apply_input_settings"):
        size = record.input_size or record.input.get("input_size")  # the record's own comes from the caller's overlay
        model.apply_input_settings({**record.input, "input_size": size})

    # its weights
    model.weights = None
    if pretrained and record is not None:
        load_weights(model, record, cache_dir=cache_dir)
        model.weights = record
        model.eval()
    if checkpoint_path is not None:
        load_checkpoint(model, checkpoint_path)
    if not normalize and hasattr(model, "normalize"):
        model.normalize.disable()  # after loading, because the file brings its own mean and std
    if features_only:
        if not hasattr(model, "reset_head"):
            raise ValueError(f"{arch} has no head to remove: it lacks reset_head(); leave features_only out")
        model.reset_head(0)
    return model


create_model = create


def _build(arch: str, arguments: dict[str, Any]) -> Any:
    """Call an entry point; wrong arguments are ValueErrors, whatever the network makes of them."""
    function = model_entrypoint(arch)
    try:
        return function(**arguments)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        given = ", ".join(f"{key}={printable(repr(value), 40)}" for key, value in arguments.items())
        raise ValueError(
            f"{arch}: these arguments make no network: {given or 'none'} ({type(error).__name__}: "
            f"{printable(str(error))}); posezoo.model_entrypoint({arch!r}) documents them"
        ) from error


class _TooLargeError(Exception): ...


class _NoValues(TorchFunctionMode):
    """Leave out initialisations, which take long on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fills = getattr(func, "__name__", "").rstrip("_") in ("normal", "uniform", "trunc_normal", "fill", "erfinv")
        return args[0] if fills and args else func(*args, **(kwargs or {}))


def _check_promise(arch: str, record: Weights, size: int) -> None:
    """Raise if a foreign record asks for a network with more parameters than its file has bytes.

    The network is built without memory, on the meta device, up to the first layer that is too much.
    """
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
            _build(arch, record.arguments)
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


def load_checkpoint(model: Any, path: str | Path) -> Any:
    """Load a published checkpoint of any known format, or one of posezoo's.

    Args:
        model: loaded in place. A head for other keypoints is left out with a warning; tensors that
            the file lacks keep their values with a warning: the head beside an ImageNet trunk,
            the statistics of a lifter, and so on. None: create the network of the file. A
            published file is recognised by its sha256, a folder of `save_pretrained` has a
            config.json; otherwise the architecture is read from the keys. Keys tell neither
            Caffe-style strides, UDP and DARK, nor causal convolutions: create the model with
            `caffe_style=`, `decoding=` or `causal=` and pass it.
        path: .safetensors; a PyTorch file, which is read without running code from it; Torch7's
            .t7; Caffe's .caffemodel; or a TensorFlow checkpoint, by its .index file or by its name
            without an ending.

    Returns:
        `model`, or a new one in eval mode, whose `weights` is the record of a published file.

    Raises:
        ValueError: not a checkpoint, an unknown format (the message names the nearest one), or
            tensors that do not fit; the model is unchanged.

    Examples:
        >>> import tempfile, posezoo
        >>> folder = posezoo.create("hrnet_w32").save_pretrained(tempfile.mkdtemp())
        >>> posezoo.load_checkpoint(None, folder / "model.safetensors").architecture
        'hrnet_w32'
    """
    checkpoint = read_checkpoint(path)
    model = create_for_checkpoint(checkpoint) if model is None else model
    checkpoint.load_into(model)
    return model


def create_for_checkpoint(checkpoint: Checkpoint) -> Any:
    """Create the network of a checkpoint, in eval mode, without loading the checkpoint's tensors.

    Raises:
        ValueError: the checkpoint does not tell its network.
    """
    network = checkpoint.network()
    model = create(network.architecture, pretrained_cfg=network).eval()
    model.weights = checkpoint.record
    return model


def from_pretrained(name_or_path: str | Path, **kwargs: Any) -> Any:
    """Load a pretrained model from a folder, the Hub, or the zoo.

    Args:
        name_or_path: a folder of `save_pretrained`, `org/name` of the Hub, either with its prefix
            (`local-dir:`, `hf-hub:`), or a registered name. A folder precedes a repository of the
            same name.
        **kwargs: as for `posezoo.create`.

    Raises:
        ValueError: as `create`.

    Examples:
        >>> import posezoo, tempfile
        >>> folder = posezoo.save_pretrained(posezoo.create("hrnet_w32", num_keypoints=2), tempfile.mkdtemp())
        >>> posezoo.from_pretrained(folder).num_keypoints
        2
    """
    name = str(name_or_path)
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return create(name, pretrained=True, **kwargs)
    if isinstance(name_or_path, Path) or (len(name) < LONGEST and Path(name).expanduser().is_dir()):
        return create(f"local-dir:{name}", pretrained=True, **kwargs)
    if HUB_SOURCE.fullmatch(name):
        return create(f"hf-hub:{name}", pretrained=True, **kwargs)
    if "/" in name or os.sep in name:
        raise ValueError(f"there is no folder {printable(name)}, and a repository of the Hub is written org/name")
    return create(name, pretrained=True, **kwargs)


def list_models(
    filter: str | Iterable[str] = "",
    module: str | Iterable[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
    include_tags: bool | None = None,
) -> list[str]:
    """List the names of the registered models, in natural order.

    Args:
        filter: wildcards as in file names. Of several, a name has to match one.
        module: only models of these files, for instance "hrnet".
        pretrained: only models with published weights.
        exclude_filters: wildcards of names to leave out.
        include_tags: list `arch.tag` instead of `arch`. Defaults to `pretrained`.

    Examples:
        >>> import posezoo
        >>> posezoo.list_models("hrnet_w*")
        ['hrnet_w18', 'hrnet_w32', 'hrnet_w48']
    """
    _import_models()
    include_tags = pretrained if include_tags is None else include_tags
    modules = _as_list(module)
    names: list[str] = []
    for arch, function in _REGISTRY.items():
        records = PUBLISHED.get(arch, {})
        tags = [tag for tag, record in records.items() if record.sources or not pretrained]
        if (modules and function.__module__.rpartition(".")[2] not in modules) or (pretrained and not tags):
            continue
        names += [f"{arch}.{tag}" for tag in tags if include_tags] or [arch]

    def matches(name: str, patterns: list[str]) -> bool:
        # a pattern without a tag means every tag
        every = [*patterns, *(f"{pattern}.*" for pattern in patterns if "." not in pattern)]
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in every)

    wanted, unwanted = _as_list(filter), _as_list(exclude_filters)
    listed = (name for name in names if (not wanted or matches(name, wanted)) and not matches(name, unwanted))
    return sorted(listed, key=_natural_order)


def list_pretrained(filter: str | Iterable[str] = "", exclude_filters: str | Iterable[str] = "") -> list[str]:
    """List the names, with tags, of all weights that `create(name, pretrained=True)` can load.

    Examples:
        >>> import posezoo
        >>> all("." in name for name in posezoo.list_pretrained())
        True
    """
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters, include_tags=True)


def is_model(model_name: str) -> bool:
    """Return whether an architecture is registered. A tag is ignored, as in timm.

    Examples:
        >>> import posezoo
        >>> posezoo.is_model("hrnet_w32"), posezoo.is_model("hrnet_w33")
        (True, False)
    """
    _import_models()
    return model_name.partition(".")[0] in _REGISTRY


def model_entrypoint(model_name: str) -> Callable[..., Any]:
    """Return the function registered under a name, with or without a tag.

    Raises:
        ValueError: no such architecture; the message names the nearest ones.

    Examples:
        >>> import posezoo
        >>> posezoo.model_entrypoint("hrnet_w32").__name__
        'hrnet_w32'
    """
    _import_models()
    arch = model_name.partition(".")[0]
    if arch not in _REGISTRY:
        raise ValueError(
            f"unknown model {printable(repr(arch))}.{_nearest(arch[:200], _REGISTRY)} posezoo.list_models() names "
            f"all {len(_REGISTRY)}"
        )
    return _REGISTRY[arch]


def get_pretrained_cfg(model_name: str, allow_unregistered: bool = True) -> Weights | None:
    """Return a copy of the record of `arch.tag`, or of the default weights of `arch`.

    Args:
        model_name: `arch` or `arch.tag`.
        allow_unregistered: return None instead of an error when the architecture is unknown or has
            no records.

    Raises:
        ValueError: an unknown tag; the message lists the valid ones.

    Examples:
        >>> import posezoo
        >>> posezoo.get_pretrained_cfg("nobody_knows_it") is None
        True
    """
    arch, _, tag = model_name.partition(".")
    if not is_model(arch) or not PUBLISHED.get(arch):
        if allow_unregistered:
            return None
        model_entrypoint(arch)
        _raise_missing_weights(arch)
    return copy.deepcopy(_find_record(arch, tag))


def _import_models() -> None:
    """Register the models of `posezoo.models` and of plug-ins; both only the first time."""
    importlib.import_module(PLUGINS)
    pending = _pending_plugins()
    while pending:  # popped before it is imported, since its import may call this function
        plugin = pending.pop(0)
        try:
            loaded = plugin.load()
            if not inspect.ismodule(loaded):
                loaded()
        except (Exception, SystemExit) as error:  # a broken plug-in must not break the zoo
            warnings.warn(
                f"posezoo plug-in {plugin.name} = {plugin.value} was left out: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=3,
            )


@functools.cache
def _pending_plugins() -> list[EntryPoint]:
    return sorted(entry_points(group=PLUGINS))


def _parse_name(model_name: str) -> tuple[str, str]:
    """Split `prefix:rest` into `(prefix, rest)`, and a registered name into `("", name)`."""
    if not isinstance(model_name, str) or not model_name.strip():
        raise ValueError(f"expected a model's name, got {model_name!r}; posezoo.list_models() has them")
    prefix, colon, rest = model_name.partition(":")
    # one letter before a colon is a drive of Windows
    if colon and len(prefix) > 1 and re.fullmatch(r"[\w.+-]+", prefix):
        if prefix.lower() not in PREFIXES:
            raise ValueError(
                f"{model_name!r}: unknown prefix {prefix!r}, expected one of hf-hub, local-dir; "
                "a file goes to create(arch, checkpoint_path=...)"
            )
        if not rest.strip():
            raise ValueError(f"{model_name!r}: nothing follows {prefix}:, expected hf-hub:org/name or local-dir:/path")
        return PREFIXES[prefix.lower()], rest
    if any(mark in model_name for mark in "/\\:") or model_name in (".", ".."):
        raise ValueError(
            f"{model_name!r} is not a registered name. For a repository of the Hub write "
            f"create('hf-hub:{model_name}'), for a folder create('local-dir:{model_name}')"
        )
    return "", model_name


def _find_record(arch: str, chosen: str | dict[str, Any] | Weights) -> Weights | None:
    """Return the record of a tag ("" is the default), or the given one."""
    if isinstance(chosen, dict):
        chosen = Weights.from_dict(chosen)
    if isinstance(chosen, Weights):
        return replace(chosen, architecture=arch)
    if not isinstance(chosen, str):
        raise ValueError(f"pretrained_cfg: expected a tag, a dictionary or a Weights, got {type(chosen).__name__}")
    model_entrypoint(arch)
    records = PUBLISHED.get(arch, {})
    if not chosen:
        return next(iter(records.values()), None)
    if chosen not in records:
        known = (
            f"its tags are {', '.join(records)}" if records else "it has no tags: nobody has published weights for it"
        )
        raise ValueError(f"{arch} has no tag {chosen!r}.{_nearest(chosen, records)} {known[0].upper()}{known[1:]}")
    return records[chosen]


def _raise_missing_weights(arch: str, record: Weights | None = None) -> typing.NoReturn:
    model_entrypoint(arch)
    have = list_models(pretrained=True, include_tags=False)
    # cutoff 0: three names even where none is similar
    near = [f"{name}.{_first_tag(name)}" for name in difflib.get_close_matches(arch, have, n=3, cutoff=0)]
    listed = f"The nearest that posezoo can fetch: {', '.join(near)}; posezoo.list_pretrained() lists all"
    if record is not None and record.origin:
        raise ValueError(
            f"{arch}.{record.tag}: posezoo does not fetch these weights ({record.license}), since nobody has published "
            f"a checksum of them. Download {record.origin} yourself and write create({arch!r}, checkpoint_path=...). "
            f"{listed}"
        )
    raise ValueError(
        f"nobody has published weights for {arch}. {listed}. For a random network write create({arch!r}), "
        f"for a file of your own create({arch!r}, checkpoint_path=...)"
    )


def _first_tag(arch: str) -> str:
    return next(tag for tag, record in PUBLISHED[arch].items() if record.sources)


def _resolve_arguments(
    arch: str, function: Callable[..., Any], record: Weights | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Choose each argument of a model's function from the first place that has it.

    | place                                    | counts                                         |
    |------------------------------------------|------------------------------------------------|
    | keyword arguments of `create`            | always; None counts as not given               |
    | the record: `kwargs`, then its codec's   | where weights are asked for, by `pretrained`,  |
    | decoding                                 | a tag, a record, a folder or a repository      |
    | defaults of the function and its class   | always                                         |

    With another `num_keypoints` than the record's, or than the default, the record's `skeleton`
    does not count: it has other keypoints.

    Raises:
        ValueError: an argument that the function does not take; the message names the nearest ones.
    """
    valid = _arguments(function)
    if valid is not None:
        _check_arguments(arch, given, valid)
    if "skeleton" in given and "num_keypoints" not in given and (valid is None or "num_keypoints" in valid):
        given = {**given, "num_keypoints": len(get_skeleton(given["skeleton"]))}
    record = record or Weights()
    # the codec's decoding is only for functions that take one; a wrong name in `kwargs` is an error
    known = {*record.kwargs, *(record.arguments if valid is None else valid)}
    recorded = {key: value for key, value in record.arguments.items() if key in known}
    default = valid["num_keypoints"].default if valid and "num_keypoints" in valid else None
    if "num_keypoints" in given and given["num_keypoints"] != recorded.get("num_keypoints", default):
        recorded.pop("skeleton", None)
    return {**recorded, **given}


def _arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the keyword arguments of an entry point and its class; None when unknown."""
    arguments: dict[str, inspect.Parameter] = {}
    while True:
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                arguments.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return arguments
        if inspect.isclass(function):
            return None
        try:
            result = typing.get_type_hints(function).get("return")
        except NameError:  # a type that is only imported for the type checker
            return None
        if not inspect.isclass(result):
            return None
        function = result


def _check_arguments(arch: str, given: dict[str, Any], arguments: Iterable[str]) -> None:
    for key in given:
        if key not in arguments:
            raise ValueError(
                f"{arch} takes no argument {key!r}.{_nearest(key, arguments)} It takes {', '.join(sorted(arguments))}"
            )


def _nearest(word: str, options: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(options), n=3)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _as_list(value: str | Iterable[str]) -> list[str]:
    return ([value] if value else []) if isinstance(value, str) else list(value or ())


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]
