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
import logging
import os
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from torch import nn

from posezoo.arguments import nearest, resolve_arguments
from posezoo.arrays import explained
from posezoo.backbones import set_input_channels
from posezoo.building import build, check_promise
from posezoo.checkpoints.loading import Checkpoint, load_weights, read_checkpoint
from posezoo.contract import PoseModel
from posezoo.features import FeatureMaps, without_data
from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton
from posezoo.weights.folder import mirrored, read_record
from posezoo.weights.published import PUBLISHED, publish
from posezoo.weights.record import HUB_SOURCE, Weights
from posezoo.weights.sources import find

__all__ = [
    "Weights",
    "create",
    "create_for_checkpoint",
    "create_model",
    "from_pretrained",
    "get_pretrained_cfg",
    "get_pretrained_cfg_value",
    "is_model",
    "is_model_pretrained",
    "list_models",
    "list_modules",
    "list_pretrained",
    "load_checkpoint",
    "model_entrypoint",
    "register_model",
    "register_model_deprecations",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Module = TypeVar("Module", bound=nn.Module)

PLUGINS = "posezoo.models"  # the entry-point group by which other packages add their models
LONGEST = 4096  # characters of a path
PREFIXES = {"hf-hub": "hf-hub", "hf_hub": "hf-hub", "local-dir": "local-dir"}


TASKS = {"2d": "image", "lifting": "keypoints", "video-3d": "clip"}  # of list_models -> PoseModel.input_kind
_REGISTRY: dict[str, Callable[..., Any]] = {}
_DEPRECATED: dict[str, str | None] = {}

logger = logging.getLogger("posezoo")


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
    name, module = getattr(function, "__name__", ""), getattr(function, "__module__", None) or ""
    if not callable(function) or not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"a model's name is its function's: expected a named function, got {function!r:.100}")
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


@overload
def create(
    model_name: str,
    pretrained: bool = ...,
    pretrained_cfg: str | dict[str, Any] | Weights | None = ...,
    pretrained_cfg_overlay: dict[str, Any] | None = ...,
    checkpoint_path: str | Path | None = ...,
    cache_dir: str | Path | None = ...,
    *,
    normalize: bool = ...,
    features_only: Literal[True],
    out_indices: Sequence[int],
    **kwargs: Any,
) -> FeatureMaps: ...
@overload
def create(
    model_name: str,
    pretrained: bool = ...,
    pretrained_cfg: str | dict[str, Any] | Weights | None = ...,
    pretrained_cfg_overlay: dict[str, Any] | None = ...,
    checkpoint_path: str | Path | None = ...,
    cache_dir: str | Path | None = ...,
    *,
    normalize: bool = ...,
    features_only: bool = ...,
    out_indices: None = ...,
    **kwargs: Any,
) -> PoseModel: ...
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
    out_indices: Sequence[int] | None = None,
    **kwargs: Any,
) -> PoseModel | FeatureMaps:
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
        out_indices: with `features_only`, return a list of these feature maps of
            `model.feature_info` instead, as timm does.
        **kwargs: the constructor's arguments. None counts as not given. `in_chans` is one of every
            network of images: the filters over RGB are adapted as timm does.

    Returns:
        The model with the attributes `architecture`, `kwargs`, and `weights`, the record of the
        loaded weights or None. It is in eval mode if weights were loaded completely. It is in train
        mode if there are none, or if its head starts untrained, which the logger "posezoo" says.
        `torch.jit.script` is not supported; `torch.compile` and `torch.export` are.

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
    name = name if source else _current_name(name)
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
        record = mirrored(record) if pretrained and record is not None else record
    if pretrained_cfg_overlay:
        base = record or Weights(architecture=arch)
        record = Weights.from_dict({**base.to_dict(), **pretrained_cfg_overlay})
    if pretrained and (record is None or not record.sources):
        _raise_missing_weights(arch, record)

    # the network
    function = model_entrypoint(arch)
    given = {key: value for key, value in kwargs.items() if value is not None}
    in_chans = given.pop("in_chans", None)
    asked_for = pretrained or source or "." in name or pretrained_cfg is not None or pretrained_cfg_overlay
    arguments = resolve_arguments(arch, function, record if asked_for else None, given)
    if source and record is not None:
        check_promise(arch, function, record, find(record, cache_dir).stat().st_size if pretrained else None)
    recorded_chans = arguments.pop("in_chans", 3)
    model = build(arch, function, arguments)
    if recorded_chans != 3:
        _adapt_input(model, arch, recorded_chans)

    model.architecture = arch
    # `reset_head` keeps model.kwargs up to date; how a model was initialised is not needed to build it again
    final = {**arguments, **getattr(model, "kwargs", {})}
    model.kwargs = {key: value for key, value in final.items() if not key.startswith("pretrained")}
    if record and asked_for and hasattr(model, "apply_input_settings"):
        size = record.input_size or record.input.get("input_size")  # the record's own comes from the caller's overlay
        model.apply_input_settings({**record.input, "input_size": size})

    # its weights
    model.weights = None
    fresh: tuple[str, ...] = ()  # why the weights are not complete
    if pretrained and record is not None:
        fresh = load_weights(model, record, cache_dir=cache_dir)
        model.weights = record
    if checkpoint_path is not None:
        checkpoint = read_checkpoint(checkpoint_path)
        fresh = checkpoint.load_into(model)[len(checkpoint.notes) :]  # the first notes are of the file
    headless = features_only or getattr(model, "num_keypoints", None) == 0  # nothing is left to train anew
    if fresh and not headless:
        logger.warning(
            "%s is in train mode, because not all of its tensors were loaded; call model.eval() to predict", arch
        )
    elif pretrained or checkpoint_path is not None:
        model.eval()
    if in_chans not in (None, recorded_chans):
        _adapt_input(model, arch, in_chans)
    if not normalize and hasattr(model, "normalize"):
        model.normalize.disable()  # after loading, because the file brings its own mean and std
    if features_only:
        if not hasattr(model, "reset_head"):
            raise ValueError(f"{arch} has no head to remove: it lacks reset_head(); leave features_only out")
        if out_indices is not None:
            return FeatureMaps(model, out_indices)
        model.reset_head(0)
    elif out_indices is not None:
        raise ValueError("out_indices: expected features_only=True with it")
    return model


create_model = create


@overload
def load_checkpoint(model: None, path: str | Path) -> PoseModel: ...
@overload
def load_checkpoint(model: Module, path: str | Path) -> Module: ...
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


def create_for_checkpoint(checkpoint: Checkpoint) -> PoseModel:
    """Create the network of a checkpoint, in eval mode, without loading the checkpoint's tensors.

    Raises:
        ValueError: the checkpoint does not tell its network.
    """
    network = checkpoint.network()
    model = create(network.architecture, pretrained_cfg=network).eval()
    model.weights = checkpoint.record
    return model


def from_pretrained(name_or_path: str | Path, **kwargs: Any) -> PoseModel:
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


@explained
def list_models(
    filter: str | Iterable[str] = "",
    module: str | Iterable[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
    include_tags: bool | None = None,
    *,
    task: str | None = None,
    skeleton: str | None = None,
) -> list[str]:
    """List the names of the registered models, in natural order.

    Args:
        filter: wildcards as in file names. Of several, a name has to match one.
        module: only models of these files, for instance "hrnet".
        pretrained: only models with published weights.
        exclude_filters: wildcards of names to leave out.
        include_tags: list `arch.tag` instead of `arch`. Defaults to `pretrained`.
        task: only models that predict "2d" keypoints in images, that are for "lifting" of 2D
            keypoints to 3D, or that predict 3D poses from image sequences, "video-3d".
        skeleton: only weights, or architectures with weights, whose keypoints are those of this
            name of `posezoo.list_skeletons()`.

    Raises:
        ValueError: an unknown task or skeleton.

    Examples:
        >>> import posezoo
        >>> posezoo.list_models("hrnet_w*")
        ['hrnet_w18', 'hrnet_w32', 'hrnet_w48']
        >>> posezoo.list_models(task="video-3d")
        ['rpsm', 'rpsm_torch7']
        >>> "martinez" in posezoo.list_models(task="lifting", skeleton="h36m17")
        True
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {task!r}")
    keypoints = None if skeleton is None else get_skeleton(skeleton).name
    _import_models()
    include_tags = pretrained if include_tags is None else include_tags
    modules = _as_list(module)
    names: list[str] = []
    for arch, function in _REGISTRY.items():
        records = PUBLISHED.get(arch, {})
        tags = [
            tag
            for tag, record in records.items()
            if (record.sources or not pretrained) and keypoints in (None, record.skeleton)
        ]
        if (keypoints and not tags) or (task and _input_kind(function) != TASKS[task]):
            continue
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


@explained
def list_pretrained(filter: str | Iterable[str] = "", exclude_filters: str | Iterable[str] = "") -> list[str]:
    """List the names, with tags, of all weights that `create(name, pretrained=True)` can load.

    Examples:
        >>> import posezoo
        >>> all("." in name for name in posezoo.list_pretrained())
        True
    """
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters, include_tags=True)


def list_modules() -> list[str]:
    """List the files that register models, for `list_models(module=...)`.

    Examples:
        >>> import posezoo
        >>> posezoo.list_modules()[:3]
        ['cpm', 'deeppose', 'deeppose_resnet']
    """
    _import_models()
    return sorted({function.__module__.rpartition(".")[2] for function in _REGISTRY.values()})


@explained
def is_model_pretrained(model_name: str) -> bool:
    """Return whether posezoo can fetch weights of `arch`, or of `arch.tag`.

    Examples:
        >>> import posezoo
        >>> posezoo.is_model_pretrained("martinez"), posezoo.is_model_pretrained("martinez.nobody")
        (True, False)
    """
    _import_models()
    arch, _, tag = model_name.partition(".")
    return any(record.sources for name, record in PUBLISHED.get(arch, {}).items() if tag in ("", name))


def register_model_deprecations(module_name: str, deprecation_map: dict[str, str | None]) -> None:
    """Register former names of models: creating one warns and builds the current model, as in timm.

    Args:
        module_name: `__name__` of the calling module, for the warning.
        deprecation_map: former name -> current `arch` or `arch.tag`, or None for a model that was
            removed, which is an error.

    Raises:
        ValueError: a former name that is registered, or a current one that is not.

    Examples:
        >>> import posezoo, warnings
        >>> posezoo.register_model_deprecations(__name__, {"hrnet32": "hrnet_w32"})
        >>> with warnings.catch_warnings(record=True) as noted:
        ...     warnings.simplefilter("always")
        ...     posezoo.create("hrnet32").architecture, str(noted[0].message)
        ('hrnet_w32', "the model 'hrnet32' is now called 'hrnet_w32'")
    """
    for former, current in deprecation_map.items():
        if former in _REGISTRY:
            raise ValueError(f"{module_name}: {former!r} is the name of a model, and cannot be a former one")
        if current is not None:
            model_entrypoint(current)
        _DEPRECATED[former] = current


def _current_name(name: str) -> str:
    """Return the name that replaced a former one, with a warning; other names unchanged."""
    arch, _, tag = name.partition(".")
    if arch not in _DEPRECATED:
        return name
    current = _DEPRECATED[arch]
    if current is None:
        raise ValueError(f"the model {arch!r} was removed; posezoo.list_models() names those that exist")
    warnings.warn(f"the model {arch!r} is now called {current!r}", DeprecationWarning, stacklevel=3)
    return f"{current.partition('.')[0]}.{tag}" if tag else current


def _input_kind(function: Callable[..., Any]) -> str:
    """Return the `input_kind` of the class that a model's function returns; "" when unknown."""
    try:
        result = function if inspect.isclass(function) else typing.get_type_hints(function).get("return")
    except NameError:  # a type that is only imported for the type checker
        return ""
    return getattr(result, "input_kind", "")


def _adapt_input(model: Any, arch: str, in_chans: int) -> None:
    """Make a network of images take other channels than RGB."""
    if getattr(model, "input_kind", "") not in ("image", "clip"):
        raise ValueError(f"in_chans: {arch} takes no images")
    set_input_channels(model, in_chans)
    model.in_chans, model.kwargs = in_chans, {**model.kwargs, "in_chans": in_chans}
    try:
        without_data(model, model, model.example_input())
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"in_chans: {arch} takes RGB only; repeat grey with image.repeat(1, 3, 1, 1)") from error


@explained
def is_model(model_name: str) -> bool:
    """Return whether an architecture is registered. A tag is ignored, as in timm.

    Examples:
        >>> import posezoo
        >>> posezoo.is_model("hrnet_w32"), posezoo.is_model("hrnet_w33")
        (True, False)
    """
    _import_models()
    return model_name.partition(".")[0] in _REGISTRY


@explained
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
            f"unknown model {printable(repr(arch))}.{nearest(arch[:200], _REGISTRY)} posezoo.list_models() names "
            f"all {len(_REGISTRY)}"
        )
    return _REGISTRY[arch]


@explained
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


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """Return one field of the record of weights, None for a field that it lacks.

    Raises:
        ValueError: no such architecture, tag or records.

    Examples:
        >>> import posezoo
        >>> posezoo.get_pretrained_cfg_value("martinez", "license")
        'Apache-2.0'
    """
    return getattr(get_pretrained_cfg(model_name, allow_unregistered=False), cfg_key, None)


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
        raise ValueError(f"{arch} has no tag {chosen!r}.{nearest(chosen, records)} {known[0].upper()}{known[1:]}")
    return records[chosen]


def _raise_missing_weights(arch: str, record: Weights | None = None) -> typing.NoReturn:
    module = model_entrypoint(arch).__module__
    have = list_models(pretrained=True, include_tags=False)
    # cutoff 0: three names even where none is similar
    similar = difflib.get_close_matches(arch, have, n=len(have) or 1, cutoff=0)
    siblings_first = sorted(similar, key=lambda name: model_entrypoint(name).__module__ != module)
    near = [f"{name}.{_first_tag(name)}" for name in siblings_first[:3]]
    listed = f"The nearest that posezoo can fetch: {', '.join(near)}; posezoo.list_pretrained() lists all"
    if record is not None and record.origin:
        raise ValueError(
            f"{arch}.{record.tag}: posezoo does not fetch these weights ({record.license}), since nobody has published "
            f"a checksum of them. Download {record.origin} yourself and write create({arch!r}, checkpoint_path=...). "
            f"{listed}"
        )
    raise ValueError(
        f"nobody has published weights for {arch}. {listed}. For a random network write create({arch!r}), for a file "
        f"of your own create({arch!r}, checkpoint_path=...); examples/train_*.py in posezoo's repository train it"
    )


def _first_tag(arch: str) -> str:
    return next(tag for tag, record in PUBLISHED[arch].items() if record.sources)


def _as_list(value: str | Iterable[str]) -> list[str]:
    return ([value] if value else []) if isinstance(value, str) else list(value or ())


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]
