"""Names: every architecture is a function, registered under its own name, with its weights by tag.

A model's name is `arch` or `arch.tag`; the tag picks one set of weights, and without a tag the first one counts.
Instead of a name, `hf-hub:org/name[@revision]` and `local-dir:/path` stand for what `posezoo.save_pretrained` wrote.
The functions follow timm's, so that `timm.create_model` turns into `posezoo.create` without a second look.
"""

import copy
import difflib
import fnmatch
import functools
import importlib
import inspect
import re
import typing
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, overload

from posezoo import weights as weights_io
from posezoo.weights import Weights, cmu_lifter, openmmlab

__all__ = [
    "Weights",
    "cmu_lifter",
    "create",
    "create_model",
    "get_pretrained_cfg",
    "is_model",
    "list_models",
    "list_pretrained",
    "model_entrypoint",
    "openmmlab",
    "register_model",
]

Function = TypeVar("Function", bound=Callable[..., Any])

PLUGINS = "posezoo.models"  # the entry-point group by which other packages add their models
KEYPOINTS = ("num_keypoints", "skeleton")  # arguments of the data set's, not the network's
PREFIXES = {"hf-hub": "hf-hub", "hf_hub": "hf-hub", "local-dir": "local-dir"}


@dataclass(frozen=True)
class Entry:
    """A registered function and its weights by tag, the default first."""

    function: Callable[..., Any]
    weights: dict[str, Weights]

    @property
    def tags(self) -> list[str]:
        """Tags of the records that say where their file is."""
        return [tag for tag, record in self.weights.items() if record.sources]


_REGISTRY: dict[str, Entry] = {}


@overload
def register_model(function: Function) -> Function: ...
@overload
def register_model(*, weights: dict[str, Weights] | None = None) -> Callable[[Function], Function]: ...
def register_model(
    function: Callable[..., Any] | None = None, *, weights: dict[str, Weights] | None = None
) -> Callable[..., Any]:
    """Give a function that builds a model its place in the zoo; the function's name becomes the model's.

    Args:
        function: takes the constructor's keyword arguments (or passes `**kwargs` on to the class named as its return
            type, whose arguments are then the valid ones) and returns the model.
        weights: published weights by tag; the first is the default. A record without sources names weights that have
            to be downloaded by hand, from its `origin`.

    Raises:
        ValueError: another function has the name already, or a tag is not a word.

    Example:
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
        importlib.import_module(PLUGINS)  # ours come first: whoever takes one of their names is told, not they
    known = _REGISTRY.get(name)
    if known is not None:
        other = known.function
        # the same function again is importlib.reload, or a notebook cell that is run twice
        if (other.__module__, other.__qualname__) != (module, function.__qualname__):
            raise ValueError(
                f"two models are called {name!r}, in {other.__module__} and in {module}; rename one of the functions"
            )
    records = {}
    for tag, record in (weights or {}).items():
        if not re.fullmatch(r"\w[\w.-]*", tag):
            raise ValueError(f"{name}: expected a tag of letters, digits, '_', '-' and '.', got {tag!r}")
        records[tag] = replace(record, architecture=name, tag=tag)
    _REGISTRY[name] = Entry(function, records)
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

    The arguments that weights were made with hold where they are asked for, by `pretrained=True`, a tag or a record;
    without, their keypoints still do, but the network is the architecture's own, even where the default weights are of
    a smaller one. `kwargs` overrule both. Another `num_keypoints` than the weights' leaves the head out of what is
    loaded.

    Args:
        model_name: `arch`, `arch.tag`, `hf-hub:org/name[@revision]` or `local-dir:/path`.
        pretrained: load the weights; without published ones this is an error, never a random network.
        pretrained_cfg: another record than the name's: a tag, a record, or its dictionary.
        pretrained_cfg_overlay: fields that replace the record's.
        checkpoint_path: a file to load instead: ours, the authors', mmpose's (see `posezoo.load_checkpoint`).
        cache_dir: where downloads are kept, instead of the Hub's cache and `~/.cache/posezoo`.
        normalize: False turns the model's image normalisation into the identity, for images normalised already.
        features_only: take the head away; the model returns what its head would see.
        **kwargs: the constructor's arguments; a value of None counts as not given.

    Returns:
        The `nn.Module`: in eval mode when pretrained, else in train mode. It knows its `architecture`, its `kwargs`,
        and in `weights` the record of the weights that were loaded, or None.

    Raises:
        ValueError: an unknown name, tag or argument, with the nearest valid ones; weights that do not fit.
        WeightsNotFoundError: (a ValueError) no source of the weights could be read; says what would provide them.

    Example:
        >>> import posezoo
        >>> model = posezoo.create("hrnet_w32", num_keypoints=21)
        >>> model.architecture, model.num_keypoints
        ('hrnet_w32', 21)
    """
    source, name = _parse_name(model_name)
    given = {key: value for key, value in kwargs.items() if value is not None}
    if source:
        if pretrained_cfg is not None:
            raise ValueError(f"{model_name} brings its own record; change it with pretrained_cfg_overlay=")
        record: Weights | None
        arch, record = weights_io.read_record(f"{source}:{name}", cache_dir=cache_dir)
        if not is_model(arch):
            raise ValueError(f"{model_name} is a {arch!r}, which is not registered here; is its package installed?")
    else:
        arch, _, tag = name.partition(".")
        record = _find_record(arch, tag if pretrained_cfg is None else pretrained_cfg)
    if pretrained_cfg_overlay:
        base = record or Weights(architecture=arch)
        record = Weights.from_dict({**base.to_dict(), **pretrained_cfg_overlay})
    if pretrained and (record is None or not record.sources):
        _complain_about_missing_weights(arch, record)

    function = model_entrypoint(arch)
    asked_for = pretrained or source or "." in name or pretrained_cfg is not None or pretrained_cfg_overlay
    recorded = {key: value for key, value in (record.kwargs if record else {}).items() if asked_for or key in KEYPOINTS}
    arguments = _arguments(function)
    if arguments is not None:
        _check_arguments(arch, given, arguments)
    default = arguments["num_keypoints"].default if arguments and "num_keypoints" in arguments else None
    if "num_keypoints" in given and given["num_keypoints"] != recorded.get("num_keypoints", default):
        recorded.pop("skeleton", None)  # it names other keypoints
    model = _build(arch, function, {**recorded, **given})

    model.architecture = arch
    # a model keeps what `reset_head` changes up to date itself; how it was initialised is no part of what it is
    final = {**recorded, **given, **getattr(model, "kwargs", {})}
    model.kwargs = {key: value for key, value in final.items() if not key.startswith("pretrained")}
    if record and asked_for and hasattr(model, "apply_input_settings"):
        size = record.input_size or record.input.get("input_size")  # the record's own comes from the caller's overlay
        model.apply_input_settings({**record.input, "input_size": size})
    model.weights = None
    if pretrained and record is not None:
        weights_io.load(model, record, cache_dir=cache_dir)
        model.weights = record
        model.eval()
    if checkpoint_path is not None:
        from posezoo.checkpoints import load_checkpoint

        load_checkpoint(model, checkpoint_path)
    if not normalize and hasattr(model, "normalize"):
        model.normalize.disable()  # after loading, because the file brings its own mean and std
    if features_only:
        if not hasattr(model, "reset_head"):
            raise ValueError(f"{arch} has no head to take away: it lacks reset_head(); leave features_only out")
        model.reset_head(0)
    return model


create_model = create


def list_models(
    filter: str | Iterable[str] = "",
    module: str | Iterable[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
    include_tags: bool | None = None,
) -> list[str]:
    """Names of the registered models, in natural order.

    Args:
        filter: wildcards as in file names; a name that matches any of several is listed.
        module: only models of these files, for instance "hrnet".
        pretrained: only models somebody has published weights for.
        exclude_filters: wildcards of names to leave out.
        include_tags: list `arch.tag` instead of `arch`; None does so with `pretrained`.

    Example:
        >>> import posezoo
        >>> posezoo.list_models("hrnet_w*")
        ['hrnet_w32', 'hrnet_w48']
    """
    _import_models()
    include_tags = pretrained if include_tags is None else include_tags
    modules = _as_list(module)
    names: list[str] = []
    for arch, entry in _REGISTRY.items():
        if (modules and entry.function.__module__.rpartition(".")[2] not in modules) or (pretrained and not entry.tags):
            continue
        tags = (entry.tags if pretrained else list(entry.weights)) if include_tags else []
        names += [f"{arch}.{tag}" for tag in tags] or [arch]

    def matches(name: str, patterns: list[str]) -> bool:
        # a pattern without a tag means every tag
        every = [*patterns, *(f"{pattern}.*" for pattern in patterns if "." not in pattern)]
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in every)

    wanted, unwanted = _as_list(filter), _as_list(exclude_filters)
    listed = (name for name in names if (not wanted or matches(name, wanted)) and not matches(name, unwanted))
    return sorted(listed, key=_natural_order)


def list_pretrained(filter: str | Iterable[str] = "", exclude_filters: str | Iterable[str] = "") -> list[str]:
    """Names, with tags, of everything `create(name, pretrained=True)` can load.

    Example:
        >>> import posezoo
        >>> all("." in name for name in posezoo.list_pretrained())
        True
    """
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters, include_tags=True)


def is_model(model_name: str) -> bool:
    """Whether the architecture is registered; a tag behind it is not looked at, as in timm.

    Example:
        >>> import posezoo
        >>> posezoo.is_model("hrnet_w32"), posezoo.is_model("hrnet_w33")
        (True, False)
    """
    _import_models()
    return model_name.partition(".")[0] in _REGISTRY


def model_entrypoint(model_name: str) -> Callable[..., Any]:
    """The function registered under a name, with or without a tag.

    Raises:
        ValueError: no such architecture; names the nearest ones.

    Example:
        >>> import posezoo
        >>> posezoo.model_entrypoint("hrnet_w32").__name__
        'hrnet_w32'
    """
    _import_models()
    arch = model_name.partition(".")[0]
    if arch not in _REGISTRY:
        raise ValueError(
            f"unknown model {arch!r}.{_nearest(arch, _REGISTRY)} posezoo.list_models() names all {len(_REGISTRY)}"
        )
    return _REGISTRY[arch].function


def get_pretrained_cfg(model_name: str, allow_unregistered: bool = True) -> Weights | None:
    """The weights record behind `arch` (its default) or `arch.tag`.

    Args:
        model_name: `arch` or `arch.tag`.
        allow_unregistered: None instead of an error when the architecture is unknown or has no records.

    Raises:
        ValueError: an unknown tag, with the valid ones.

    Example:
        >>> import posezoo
        >>> posezoo.get_pretrained_cfg("nobody_knows_it") is None
        True
    """
    arch, _, tag = model_name.partition(".")
    if not is_model(arch) or not _REGISTRY[arch].weights:
        if allow_unregistered:
            return None
        model_entrypoint(arch)
        _complain_about_missing_weights(arch)
    return copy.deepcopy(_find_record(arch, tag))


def _import_models() -> None:
    """Register what is in `posezoo.models` and what other packages add to it; both only the first time."""
    importlib.import_module(PLUGINS)
    pending = _pending_plugins()
    while pending:  # popped before it is imported, since an import may come back here
        plugin = pending.pop(0)
        try:
            loaded = plugin.load()
            if not inspect.ismodule(loaded):
                loaded()
        except Exception as error:  # whatever is wrong with it, the rest of the zoo works
            warnings.warn(
                f"posezoo plug-in {plugin.name} = {plugin.value} was left out: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=3,
            )


@functools.cache
def _pending_plugins() -> list[EntryPoint]:
    return sorted(entry_points(group=PLUGINS))


def _parse_name(model_name: str) -> tuple[str, str]:
    """`prefix:rest` to `(prefix, rest)`, a registered name to `("", name)`."""
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
    """The record an architecture's tag names ("" is the default), or the one given."""
    if isinstance(chosen, dict):
        chosen = Weights.from_dict(chosen)
    if isinstance(chosen, Weights):
        return replace(chosen, architecture=arch)
    if not isinstance(chosen, str):
        raise ValueError(f"pretrained_cfg: expected a tag, a dictionary or a Weights, got {type(chosen).__name__}")
    model_entrypoint(arch)
    records = _REGISTRY[arch].weights
    if not chosen:
        return next(iter(records.values()), None)
    if chosen not in records:
        known = (
            f"its tags are {', '.join(records)}" if records else "it has no tags: nobody has published weights for it"
        )
        raise ValueError(f"{arch} has no tag {chosen!r}.{_nearest(chosen, records)} {known[0].upper()}{known[1:]}")
    return records[chosen]


def _complain_about_missing_weights(arch: str, record: Weights | None = None) -> typing.NoReturn:
    model_entrypoint(arch)
    if record is not None and record.origin:
        family = list_pretrained(f"{arch}*")
        fetched = f". These are fetched: {', '.join(family)}" if family else ""
        raise ValueError(
            f"{arch}.{record.tag}: posezoo does not fetch these weights ({record.license}), since nobody has published "
            f"a checksum of them. Download {record.origin} yourself and write create({arch!r}, checkpoint_path=...)"
            f"{fetched}"
        )
    have = list_pretrained()
    listed = f"these have them: {', '.join(have)}" if have else "no model has any yet"
    raise ValueError(
        f"nobody has published weights for {arch}; {listed}. For a random network write create({arch!r}), "
        f"for a file of your own create({arch!r}, checkpoint_path=...)"
    )


def _arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Keyword arguments an entry point takes, its class's included; None when that cannot be known."""
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


def _build(arch: str, function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    try:
        return function(**kwargs)
    except TypeError as error:
        fixed = re.search(r"multiple values for (?:keyword )?argument '(\w+)'", str(error))
        if fixed is None:
            raise
        raise ValueError(
            f"{arch}: {fixed[1]} is what makes it a {arch} and cannot be changed; build the class by hand, "
            "or choose another name of posezoo.list_models()"
        ) from error


def _nearest(word: str, options: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(options), n=3)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _as_list(value: str | Iterable[str]) -> list[str]:
    return ([value] if value else []) if isinstance(value, str) else list(value or ())


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]
