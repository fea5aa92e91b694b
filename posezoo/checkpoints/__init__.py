"""Published checkpoints in our keys: which flavour a file is, what its network is, and how its tensors are called here.

A flavour is recognised by its keys, never by a file's name. Converters rename, complete and fold, so that the result
loads strictly: what our models hold beside the published tensors is their image normalisation.

    posezoo          what `save_pretrained` writes
    pose_resnet      Microsoft's Simple Baselines and the pose_resnet files of the HRNet authors; fed BGR
    hrnet            the HRNet authors' pose network
    mmpose           mmpose 0.x and 1.x, PoseResNet, HRNet or a ResNet that regresses coordinates (DeepPose), under
                     `backbone.` and `head.` or `keypoint_head.`; a head for visibility is left out
    pytorchcv        its SimplePose with a ResNet-18, 50b, 101b or 152b
    princeton        the hourglass authors' PyTorch files; residuals hold convolutions that are never run
    bearpaw          hourglasses of bearpaw/pytorch-pose and anibali/pytorch-stacked-hourglass
    mmpose_hourglass mmpose's hourglass52; holds a block that is never run
    mmpose_cpm       mmpose's Convolutional Pose Machine with batch normalisation
    caffe_cpm        the authors' Convolutional Pose Machines, each tensor under its Caffe layer's name; fed BGR, the
                     background last (other people's training code may have it first: keys do not tell)
    caffe_ief        the authors' Iterative Error Feedback; has no initial pose
    torch7_hourglass the authors' stacked hourglass of Torch7, a graph
    torch7_rpsm      the stages of the authors' RPSM; has neither trunk nor extremes of poses
    torch7_trunk     the trunk of the authors' RPSM; fed RGB, as their code does
    mmpose_lifter    mmpose's VideoPose3D, and its SimpleBaseline3D with the statistics of that one's configuration
    videopose3d      the authors' VideoPose3D, alone or as "model_pos"; has no statistics
    martinez         PyTorch ports of Martinez' baseline; has no statistics
    seq2seq3d        Hossain and Little's TensorFlow variables under their names; has no statistics
    imagenet_hrnet   timm's or the authors' classifier: a trunk, no heatmaps
    imagenet_resnet  timm's or torchvision's classifier: a trunk, no heatmaps
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posezoo.checkpoints import caffe, tensorflow, torch7
from posezoo.checkpoints.architectures import infer
from posezoo.checkpoints.flavours import BEARPAW_MEAN, FLAVOURS, KEPT, has
from posezoo.registry import create, get_pretrained_cfg, list_models
from posezoo.weights import CONFIG_FILE, WEIGHTS_FILE, Weights, file_sha256, fit, read_record, read_state_dict
from posezoo.weights import save_pretrained as write_folder

__all__ = ["BEARPAW_MEAN", "FLAVOURS", "Conversion", "convert", "convert_file", "detect", "infer", "known_file"]
__all__ += ["load_checkpoint", "unwrap"]

State = dict[str, Tensor]

logger = logging.getLogger("posezoo")

WRAPPERS = ("module.", "model.module.", "_orig_mod.")  # what DataParallel, training scripts and compile put in front


@dataclass(frozen=True)
class Conversion:
    """What `convert_file` read and wrote.

    Attributes:
        model: with the file's weights, in eval mode.
        flavour: the layout of the file.
        record: of the published file that this is, found by its sha256; None: nobody here knows the file.
        notes: what was left out or added, and why.
        folder: what was written, for `posezoo.create(f"local-dir:{folder}", pretrained=True)`.
    """

    model: Any
    flavour: str
    record: Weights | None
    notes: tuple[str, ...]
    folder: Path


def load_checkpoint(model: nn.Module | None, path: str | Path) -> Any:
    """Load a published checkpoint, or one of ours, whatever its flavour.

    Args:
        model: loaded in place; a head for other keypoints is left out with a warning. What a file does not hold stays
            as it is, with a warning: the head beside an ImageNet trunk, the statistics of a lifter, and so on.
            None: a published file is recognised by its sha256, and the network is the one of its record; otherwise the
            architecture is read from the file's keys, that of a folder `save_pretrained` wrote from its config.json.
            Keys tell neither Caffe-style strides, UDP and DARK, nor causal convolutions: create the model with
            `caffe_style=`, `decoding=` or `causal=` and pass it.
        path: .safetensors; a PyTorch file, which is read without running code from it; Torch7's .t7, Caffe's
            .caffemodel; or a TensorFlow checkpoint, by its .index file or by its name without an ending.

    Returns:
        `model`, or a new one in eval mode, whose `weights` is the record of a file that is known.

    Raises:
        ValueError: not a checkpoint, an unknown flavour (names the nearest one and what does not fit it), or tensors
            that do not fit; the model is unchanged.

    Example:
        >>> import tempfile, posezoo
        >>> folder = posezoo.create("hrnet_w32").save_pretrained(tempfile.mkdtemp())
        >>> posezoo.load_checkpoint(None, folder / "model.safetensors").architecture
        'hrnet_w32'
    """
    return _load(model, path)[0]


def convert_file(path: str | Path, directory: str | Path, model: nn.Module | None = None) -> Conversion:
    """Write a published checkpoint as safetensors, config and model card: all of them or, on any error, nothing.

    Args:
        path: as for `load_checkpoint`.
        directory: made; it must not exist, or be empty.
        model: to load the file into, where its keys do not tell the network; see `load_checkpoint`.

    Raises:
        ValueError: as `load_checkpoint`; a directory with something in it.

    Example:
        >>> import tempfile, pathlib, posezoo
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> torch.save(posezoo.create("hrnet_w32", num_keypoints=16).state_dict(), folder / "mine.pth")
        >>> done = convert_file(folder / "mine.pth", folder / "mine")
        >>> done.model.architecture, sorted(file.name for file in done.folder.iterdir())
        ('hrnet_w32', ['README.md', 'config.json', 'model.safetensors'])
    """
    directory = Path(directory).expanduser()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} is there already, and not empty; choose another directory, or delete it")
    with _notes() as notes:
        model, flavour, record = _load(model, path)
    known = record or Weights()
    about = {name: getattr(known, name) for name in ("metrics", "metrics_by", "protocol")}
    try:
        write_folder(model, directory, **about)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Conversion(model, flavour, record, tuple(notes), directory)


def known_file(path: str | Path) -> Weights | None:
    """The record of the published checkpoint that this file is, by its sha256; None for a file that nobody published.

    Example:
        >>> known_file(__file__) is None
        True
    """
    if not Path(path).is_file():  # a TensorFlow checkpoint's name stands for several files
        return None
    digest = file_sha256(Path(path))
    for name in list_models(include_tags=True):
        record = get_pretrained_cfg(name) if "." in name else None
        if record and record.sha256 and digest.startswith(record.sha256):
            return record
    return None


def _load(model: Any, path: str | Path) -> tuple[Any, str, Weights | None]:
    """Model, flavour, and the record of a file that is known."""
    published = unwrap(_read(Path(path)))
    try:
        flavour = detect(published)
        state, record = convert(published, flavour), known_file(path)
        kept = KEPT.get(flavour)
        if model is None:
            architecture, kwargs = _network(Path(path), flavour, state, record)
            fresh = create(architecture, **kwargs).eval()
            fresh.weights = record
        else:
            fresh = model
        own: State = {}
        if kept:
            theirs = kept.prefixes(fresh) if callable(kept.prefixes) else kept.prefixes
            own = {key: value for key, value in fresh.state_dict().items() if key.startswith(theirs)}
        fit(fresh, {**state, **own})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if kept and own:
        logger.warning("%s %s; these keep their values: %s", path, kept.says, _several(list(own)))
    return fresh, flavour, record


def _read(path: Path) -> State:
    """The tensors of a file of PyTorch, safetensors, Torch7, Caffe or TensorFlow, by the ending of its name."""
    if path.suffix == ".t7" and path.is_file():
        return torch7.read_tensors(path)
    if path.suffix == ".caffemodel" and path.is_file():
        return caffe.read_tensors(path)
    if tensorflow.name_of(path) != path or (not path.exists() and path.with_name(f"{path.name}.index").is_file()):
        return tensorflow.read_tensors(path)
    return read_state_dict(path)


def _network(path: Path, flavour: str, state: State, record: Weights | None) -> tuple[str, dict[str, Any]]:
    """Architecture and constructor arguments of the network that a file belongs to."""
    settings = _read_config(path) if flavour == "posezoo" else None
    if settings:
        return settings
    if record:
        return record.architecture, record.kwargs
    if flavour == "posezoo" and "normalize.keypoints.mean" in state:
        raise ValueError(
            "tensors do not tell in which frame a lifter sees keypoints; keep the config.json beside its file, "
            "or give the model that they belong in as the first argument"
        )
    try:
        return infer(state)
    except (LookupError, TypeError) as error:
        raise ValueError(f"the tensors do not tell a network of the layout {flavour!r} ({error})") from error


def _read_config(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Architecture and arguments of a file of ours, when it still lies where `save_pretrained` put it."""
    if path.name != WEIGHTS_FILE or not path.with_name(CONFIG_FILE).is_file():
        return None
    architecture, record = read_record(f"local-dir:{path.parent}")
    return architecture, record.kwargs


@contextlib.contextmanager
def _notes() -> Iterator[list[str]]:
    """What the logger says meanwhile."""
    notes: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def unwrap(state: State) -> State:
    """Without the prefixes that training scripts put in front of every key."""
    for wrapper in WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            return unwrap({key.removeprefix(wrapper): value for key, value in state.items()})
    return state


def detect(state: State) -> str:
    """The flavour of a published state dict.

    Raises:
        ValueError: none fits; names the nearest one, what it would need, and the first keys that are not its.

    Example:
        >>> detect(dict.fromkeys(["conv1.weight", "transition1.0.0.weight", "stage4.0.x", "final_layer.weight"]))
        'hrnet'
    """
    lacking = {flavour: [need for need in needs if not has(state, need)] for flavour, (needs, _) in FLAVOURS.items()}
    for flavour, absent in lacking.items():
        if not absent:
            return flavour
    nearest = min(lacking, key=lambda flavour: len(lacking[flavour]) / len(FLAVOURS[flavour][0]))
    wanted = ", ".join(f"{need if isinstance(need, str) else ' or '.join(need)}*" for need in lacking[nearest])
    raise ValueError(
        f"unknown flavour of checkpoint; its first keys are {', '.join(list(state)[:3]) or 'none'}. The nearest is "
        f"{nearest!r}, which would have {wanted} too{_strangers(state, nearest)}. Known are {', '.join(FLAVOURS)}"
    )


def _strangers(state: State, flavour: str) -> str:
    """The first keys that a network of the flavour would not have, as far as it can be told which network that is."""
    try:
        converted = convert(state, flavour)
        architecture, kwargs = infer(converted)
        with torch.device("meta"):
            expected = create(architecture, **kwargs).state_dict()
    except Exception:  # it is a stranger's file, and anything may be missing
        return ""
    strangers = [key for key in converted if key not in expected and not key.endswith("num_batches_tracked")]
    return f", and in {architecture!r} there is no {_several(strangers)}" if strangers else ""


def _several(items: list[str], count: int = 3) -> str:
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")


def convert(state: State, flavour: str) -> State:
    """A published state dict under our keys.

    Args:
        state: as read from the file.
        flavour: one of the module's table.

    Raises:
        ValueError: an unknown flavour, or tensors that are not the flavour's.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"converter: expected one of {', '.join(FLAVOURS)}, got {flavour!r}")
    try:
        return FLAVOURS[flavour][1](unwrap(state))
    except (LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"the keys are those of {flavour!r}, but the tensors are not ({error})") from error
