"""Keyword arguments of functions that build models: the valid ones, and their values."""

import difflib
import inspect
import math
import typing
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

from posezoo.foreign import printable
from posezoo.skeletons import get_skeleton
from posezoo.weights.record import Weights


def resolve_arguments(
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
    valid = arguments_of(function)
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
    arguments = {**recorded, **given}
    for key, value in arguments.items():
        if valid and key in valid:
            _check_kind(f"{arch}: {key}", value, valid[key].annotation)
    return arguments


def arguments_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
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
                f"{arch} takes no argument {key!r}.{nearest(key, arguments)} It takes {', '.join(sorted(arguments))}"
            )


def _check_kind(name: str, value: Any, kind: Any) -> None:
    """Check a value of an argument that is annotated as a bool, an int or a float."""
    whole = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0
    right, expected = {
        bool: (isinstance(value, bool), "True or False"),
        int: (whole, "a whole number, 0 or more"),
        float: (whole or (isinstance(value, float) and math.isfinite(value)), "a finite number"),
    }.get(kind, (True, ""))
    if not right:
        raise ValueError(f"{name}: expected {expected}, got {printable(repr(value), 40)}")


def nearest(word: str, options: Iterable[str]) -> str:
    """Return the end of a message that suggests similar options, "" if there are none.

    Examples:
        >>> nearest("coco18", ["coco17", "lsp14"])
        " Did you mean 'coco17'?"
    """
    near = difflib.get_close_matches(word, list(options), n=3)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
