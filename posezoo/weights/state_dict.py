"""Read state dicts without running code, and copy them into models, completely or not at all."""

import functools
import logging
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.foreign import check_content, printable
from posezoo.weights.sources import one_line

INERT = (  # classes that training scripts save beside the tensors; replaced by `Inert`
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *("numpy.dtype", "numpy.ndarray", "numpy.dtypes.Float64DType", "numpy.dtypes.Int64DType"),
    *("numpy.random.__RandomState_ctor", "numpy.random._mt19937.MT19937"),
    *(f"numpy.random._pickle.__{kind}_ctor" for kind in ("randomstate", "bit_generator")),
    *("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath"),
    *("mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr"),
)

# names of the weights in a checkpoint, the preferred first: timm keeps the average beside the weights, mmengine
# exchanges the two and keeps the weights that were not averaged as "ema_state_dict"
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "model_pos")
DEPTH = 4  # of nested checkpoints

logger = logging.getLogger("posezoo")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file or a PyTorch checkpoint onto the CPU, without running code from it.

    Weights inside of a checkpoint are found by their names ("state_dict", "model_state_dict",
    "model" and others; an average of timm's comes first), or as the only tensors with names. A
    warning of the logger "posezoo" names other weights that are there.

    Raises:
        ValueError: no such file, a damaged file, values other than tensors, or a pickle that needs
            code to be run.

    Examples:
        >>> import torch, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save({"state_dict": {"bias": torch.ones(2)}}, path)
        >>> read_state_dict(path)
        {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    check_content(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path, device="cpu")
        except Exception as error:
            raise ValueError(f"{path} is not a whole safetensors file ({one_line(error)}); get it again") from error
    try:
        _check_sums(path)
        # safe from PyTorch 2.10 on: 2.5 ran code (CVE-2025-32434), 2.9 overwrote memory (CVE-2026-24747)
        with torch.serialization.safe_globals([_inert(name) for name in INERT]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        with path.open("rb") as file:
            pickled = file.read(2) == b"PK"  # otherwise bytes that happen to look like a pickle's
        wanted = re.search(rf"GLOBAL ([\w.]+){'|(Unsupported operand .+?) ' * pickled}", one_line(error))
        if wanted is None:
            # PyTorch puts a page of general advice before the reason
            reason = one_line(error).rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
            raise ValueError(
                f"{path} is not a whole PyTorch checkpoint, or no checkpoint at all ({reason[:200]}); get it again"
            ) from error
        asked = wanted[1] or f"more than a plain pickle ({wanted[2]})"
        raise ValueError(
            f"{path} was refused and nothing in it was run: besides tensors it asks for {asked}, and loading that "
            "could run any code. If you trust its author, load it with torch.load(path, weights_only=False) where it "
            "can do no harm, and save its state_dict alone"
        ) from error
    return _weights_in(content, path)


def _check_sums(path: Path) -> None:
    """Compare the checksums of a checkpoint's tensors, which torch.load does not."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                # 0: saved with torch.serialization.set_crc32_options(False)
                if record.CRC and record.compress_type == zipfile.ZIP_STORED:
                    with archive.open(record) as file:
                        while file.read(2**20):
                            pass


def _weights_in(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in a checkpoint."""
    while not _is_state(content):
        entries = content if isinstance(content, dict) else {}
        inside = [key for key, value in entries.items() if _holds(value)]
        named = [key for key in WRAPPERS if isinstance(entries.get(key), dict)]
        chosen = next((key for key in named if key in inside), inside[0] if len(inside) == 1 else None)
        if chosen is None and named:
            chosen = named[0]  # which explains better than the whole file
        if chosen is None:
            wrong = [str(key) for key, value in entries.items() if not isinstance(value, Tensor)]
            found = f"the entries {printable(', '.join(wrong[:5]))}" if wrong else f"a {type(content).__name__}"
            raise ValueError(f"{path}: expected a dictionary of tensors, alone or under 'state_dict', found {found}")
        others = [key for key in inside if key != chosen]
        if others:
            shown = printable(", ".join(others))
            logger.warning("%s: the weights under %r are read, not those under %s", path, chosen, shown)
        content = content[chosen]
    return dict(content)


def _is_state(content: Any) -> bool:
    tensors = isinstance(content, dict) and bool(content)
    return tensors and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _holds(content: Any, depth: int = DEPTH) -> bool:
    """Return whether an entry of a checkpoint has a state dict; an optimiser's keys are numbers."""
    if _is_state(content):
        return True
    texts = isinstance(content, dict) and all(isinstance(key, str) for key in content)
    return texts and depth > 0 and any(_holds(value, depth - 1) for value in content.values())


class Inert:
    """A stand-in for a checkpoint's objects that are no tensors: accepts calls, does nothing."""

    def __init__(self, *_: Any) -> None: ...
    def __setstate__(self, _: Any) -> None: ...
    def __setitem__(self, *_: Any) -> None: ...
    def append(self, _: Any) -> None: ...
    def extend(self, _: Any) -> None: ...


@functools.cache
def _inert(name: str) -> type[Inert]:
    """Make a stand-in class with a qualified name; the class of that name is not imported."""
    module, _, leaf = name.rpartition(".")
    return type(leaf, (Inert,), {"__module__": module, "__qualname__": leaf})


def check_memory(model: nn.Module) -> None:
    """Check that a model has memory.

    Raises:
        ValueError: some of its tensors are on the meta device.
    """
    if any(value.is_meta for value in (*model.parameters(), *model.buffers())):
        raise ValueError(
            f"the {type(model).__name__} is on the meta device, without memory: call model.to_empty(device='cpu') and "
            "load weights first"
        )


def load_state_dict(model: nn.Module, state_dict: dict[str, Tensor], *, drop_prefixes: Iterable[str] = ()) -> list[str]:
    """Copy a state dict into a model: all of it or, on any error, nothing.

    Args:
        model: its tensors keep their dtype and device.
        state_dict: all tensors of the model, with its names and shapes, finite.
        drop_prefixes: submodules that keep their values.

    Returns:
        Names of the tensors that were left out.

    Raises:
        ValueError: missing, unexpected, misshapen or non-finite tensors; the model is unchanged.

    Examples:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> load_state_dict(layer, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)})
        []
        >>> load_state_dict(layer, {"weight": torch.ones(1, 3), "bias": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: the weights do not fit a Linear, which is unchanged; another shape: weight (1, 3) instead of (1, 2)
    """
    prefixes = tuple(f"{prefix}." for prefix in drop_prefixes)
    dropped = [key for key in state_dict if key.startswith(prefixes)] if prefixes else []
    targets = {k: v for k, v in model.state_dict().items() if not (prefixes and k.startswith(prefixes))}
    values = {key: value for key, value in state_dict.items() if key not in dropped}
    others = [key for key, value in values.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"the state dict has other values than tensors: {_first(list(map(str, others)))}")

    problems = []
    kinds = [
        f"{key} {value.dtype} instead of {targets[key].dtype}"
        for key, value in values.items()
        if key in targets and targets[key].is_floating_point() and not value.is_floating_point()
    ]
    missing = [f"{key} {tuple(value.shape)}" for key, value in targets.items() if key not in values]
    unexpected = [f"{key} {tuple(value.shape)}" for key, value in values.items() if key not in targets]
    shapes = [
        f"{key} {tuple(value.shape)} instead of {tuple(targets[key].shape)}"
        for key, value in values.items()
        if key in targets and value.shape != targets[key].shape
    ]
    problems += [f"missing: {_first(missing)}"] if missing else []
    problems += [f"not in the model: {_first(unexpected)}"] if unexpected else []
    problems += [f"another shape: {_first(shapes)}"] if shapes else []
    problems += [f"whole numbers, perhaps of a quantised network: {_first(kinds)}"] if kinds else []
    hint = ""
    if shapes and not missing and not unexpected and _heads(model) and all(s.startswith(_heads(model)) for s in shapes):
        hint = "; only the head differs: give the model the num_keypoints of the weights, or leave the head out"
    elif missing and unexpected and all(key.startswith("module.") for key in values):
        hint = "; the names begin with 'module.', from DataParallel: posezoo.load_checkpoint takes that off"
    elif missing and unexpected:
        hint = "; if this is a checkpoint of the authors or of mmpose, posezoo.load_checkpoint translates its names"
    if not problems:
        check_memory(model)
        # cast first: a value that is finite in the file may overflow in the model's dtype
        values = {key: value.to(targets[key].dtype) for key, value in values.items()}
        broken = [key for key, value in values.items() if value.is_floating_point() and not value.isfinite().all()]
        if broken:
            problems.append(f"NaN or infinite values: {_first(broken)}")
    if problems:
        raise ValueError(
            f"the weights do not fit a {type(model).__name__}, which is unchanged; {'; '.join(problems)}{hint}"
        )
    with torch.no_grad():
        for key, value in values.items():
            targets[key].copy_(value)
    return dropped


def select_keypoints(
    state_dict: dict[str, Tensor], heads: Iterable[str], have: Sequence[str], want: Sequence[str]
) -> dict[str, Tensor]:
    """Select the rows of the head's tensors by the keypoints' names.

    Args:
        state_dict: of a network with a head for `have`.
        heads: names of the head's submodules, whose tensors have one row per keypoint.
        have: the keypoints' names, in the order of the rows.
        want: names of the rows of the result.

    Returns:
        A state dict with new tensors for the head and the same ones for the rest.

    Raises:
        ValueError: names that are not in `have`, or a tensor of the head with another number of
            rows.

    Examples:
        >>> import torch
        >>> state = {"conv.weight": torch.ones(3), "head.bias": torch.tensor([0.0, 1.0, 2.0])}
        >>> select_keypoints(state, ["head"], ["nose", "neck", "pelvis"], ["pelvis", "nose"])["head.bias"]
        tensor([2., 0.])
    """
    absent = [name for name in want if name not in have]
    if absent:
        raise ValueError(f"the weights have no keypoints {', '.join(absent)}; they have {', '.join(have)}")
    rows = [list(have).index(name) for name in want]
    prefixes = tuple(f"{head}." for head in heads)
    head = {key: value for key, value in state_dict.items() if prefixes and key.startswith(prefixes)}
    odd = [f"{key} {tuple(value.shape)}" for key, value in head.items() if value.shape[:1] != (len(have),)]
    if odd or not head:
        raise ValueError(
            f"rows can be selected by name where the head's tensors have one row for each of the {len(have)} "
            f"keypoints; {f'others are {_first(odd)}' if odd else 'the weights have no head'}"
        )
    return {**state_dict, **{key: value[rows] for key, value in head.items()}}


def fit(
    model: nn.Module,
    state_dict: dict[str, Tensor],
    *,
    num_keypoints: int | None = None,
    keypoints: Sequence[str] = (),
) -> tuple[str, ...]:
    """Copy a state dict into a model, without the head where its keypoints differ.

    A warning of the logger "posezoo" names the tensors left out.

    Args:
        model: its `head_keys` name the submodules of the head.
        state_dict: with the model's names; see `load_state_dict`.
        num_keypoints: of the state dict. Defaults to a comparison of the heads' shapes.
        keypoints: names of the state dict's keypoints. Where they include all names of the model's,
            the head gets their rows.

    Returns:
        The warnings.

    Raises:
        ValueError: as `load_state_dict`; the model is unchanged.
    """
    heads, own = _heads(model), model.state_dict()
    theirs, ours = num_keypoints, getattr(model, "num_keypoints", None)
    names = getattr(getattr(model, "skeleton", None), "keypoints", ())
    if keypoints:
        theirs = len(keypoints)
        if names and set(names) <= set(keypoints):
            state_dict = select_keypoints(state_dict, model.head_keys, keypoints, names)  # type: ignore[arg-type]
            theirs = ours
    in_head = [key for key in state_dict if heads and key.startswith(heads)]
    if theirs is not None:
        # named keypoints of which the weights lack some need a new head even if their number is equal
        renamed = bool(keypoints and names) and not set(names) <= set(keypoints)
        replaced = ours is not None and (ours != theirs or renamed)
    else:
        replaced = any(key not in own or own[key].shape != state_dict[key].shape for key in in_head)
    dropped = load_state_dict(model, state_dict, drop_prefixes=[head[:-1] for head in heads] if replaced else ())
    if not dropped:
        return ()
    note = (
        f"left out of the weights: {_first([f'{key} {tuple(state_dict[key].shape)}' for key in dropped])}. They are "
        f"for {'other' if theirs in (None, ours) else theirs} keypoints, the model has {ours}: its head starts "
        "untrained."
    )
    logger.warning(note)
    return (note,)


def _heads(model: nn.Module) -> tuple[str, ...]:
    return tuple(f"{name}." for name in getattr(model, "head_keys", ()))


def _first(items: list[str], count: int = 5) -> str:
    return ", ".join(printable(item) for item in items[:count]) + (
        f" and {len(items) - count} more" if len(items) > count else ""
    )
