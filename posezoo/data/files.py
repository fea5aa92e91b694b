"""What several readers do with the files of a data set: open them, and say which one is missing or damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posezoo.images import load_image_uint8


def read_image(path: Path) -> Tensor:
    """Load an image as uint8 RGB `(3, H, W)`, with the pixels that `posezoo.predict` uses."""
    try:
        return load_image_uint8(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); unpack or download it again") from error


def load_mat(path: Path, hint: str, *, squeeze: bool = True) -> dict[str, Any]:
    """The variables of a MATLAB file: structs are objects, and with `squeeze` arrays of one element that element.

    Raises:
        ValueError: the file is missing, when `hint` says what to do, or damaged.
    """
    try:
        import scipy.io
    except ImportError as error:
        raise ImportError("reading MATLAB files needs SciPy: pip install 'posezoo[data]'") from error
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    try:
        variables: dict[str, Any] = scipy.io.loadmat(path, squeeze_me=squeeze, struct_as_record=False)
    except Exception as error:  # SciPy raises what its parser happened to stumble over
        raise ValueError(f"{path} cannot be read as a MATLAB file ({error}); download it again") from error
    return variables


def load_json(path: Path, hint: str) -> Any:
    """What a json file holds; errors as those of `load_mat`."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as json ({error}); download it again") from error


def field(struct: Any, name: str) -> Any:
    """A field of a struct or a variable of a file; None where it is absent or empty, as many are in MPII."""
    value = struct.get(name) if isinstance(struct, dict) else getattr(struct, name, None)
    return None if isinstance(value, np.ndarray) and not value.size else value


def numeric(struct: Any, name: str) -> float:
    """A field as a number, NaN where there is none. A float because MATLAB's are as small as fits, uint8 among them."""
    value = field(struct, name)
    return float("nan") if value is None else float(value)


def file_names(folder: Path) -> set[str]:
    """Names of what lies in a folder of photographs."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing; it must hold the photographs, unpacked")
    return {path.name for path in folder.iterdir()}


def neighbours(names: list[str], rows: np.ndarray) -> list[Tensor]:
    """For each of the rows, those of the other people in its photograph."""
    together: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        together.setdefault(name, []).append(row)
    return [torch.tensor([n for n in together[names[row]] if n != row], dtype=torch.long) for row in rows.tolist()]
