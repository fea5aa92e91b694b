"""Convert a published checkpoint into a folder of safetensors, config and model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from posezoo.checkpoints.loading import read_checkpoint
from posezoo.registry import create_for_checkpoint
from posezoo.weights.folder import write_folder
from posezoo.weights.record import Weights
from posezoo.writing import new_folder


@dataclass(frozen=True)
class Conversion:
    """The result of `convert_file`.

    Attributes:
        model: with the weights of the file, in eval mode.
        format: of the file, a name in `posezoo.checkpoints.FORMATS`.
        record: of the published file with the same sha256; None: not a published file.
        notes: the tensors that were left out or added, with the reasons.
        folder: for `posezoo.create(f"local-dir:{folder}", pretrained=True)`.
    """

    model: Any
    format: str
    record: Weights | None
    notes: tuple[str, ...]
    folder: Path


def convert_file(path: str | Path, directory: str | Path, model: nn.Module | None = None) -> Conversion:
    """Convert a published checkpoint to safetensors, config and model card; or write nothing.

    Args:
        path: as for `posezoo.load_checkpoint`.
        directory: created; it must be empty if it exists.
        model: to load the file into, where its keys do not tell the network. Defaults to the
            network of `posezoo.load_checkpoint`.

    Raises:
        ValueError: as `load_checkpoint`, or a directory that is not empty.

    Examples:
        >>> import tempfile, pathlib, posezoo, torch
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> torch.save(posezoo.create("hrnet_w32", num_keypoints=16).state_dict(), folder / "mine.pth")
        >>> done = convert_file(folder / "mine.pth", folder / "mine")
        >>> done.model.architecture, sorted(file.name for file in done.folder.iterdir())
        ('hrnet_w32', ['README.md', 'config.json', 'model.safetensors'])
    """
    directory = Path(directory).expanduser()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} is there already, and not empty; choose another directory, or delete it")
    checkpoint = read_checkpoint(path)
    model = create_for_checkpoint(checkpoint) if model is None else model
    notes = checkpoint.load_into(model)
    known = checkpoint.record or Weights()
    about = {name: getattr(known, name) for name in ("metrics", "metrics_by", "protocol")}
    with new_folder(directory) as whole:
        write_folder(model, whole, name=f"local-dir:{directory}", **about)
    return Conversion(model, checkpoint.format, checkpoint.record, notes, directory)
