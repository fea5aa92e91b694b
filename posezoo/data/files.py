"""Read files of datasets; errors name a missing or damaged file and the fix."""

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
    """Load the variables of a MATLAB file.

    Structs become objects. With `squeeze`, arrays of one element become that element.

    Raises:
        ValueError: the file is missing, with `hint` for the fix, or damaged.
    """
    try:
        import scipy.io
    except ImportError as error:
        raise ImportError("reading MATLAB files needs SciPy: pip install 'posezoo[data]'") from error
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    try:
        variables: dict[str, Any] = scipy.io.loadmat(path, squeeze_me=squeeze, struct_as_record=False)
    except Exception as error:  # SciPy's parser raises various exceptions for damaged files
        raise ValueError(f"{path} cannot be read as a MATLAB file ({error}); download it again") from error
    return variables


def load_json(path: Path, hint: str) -> Any:
    """Load a json file; errors as in `load_mat`."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as json ({error}); download it again") from error


def field(struct: Any, name: str) -> Any:
    """Get a field of a struct, or a variable of a file; None where it is missing or empty."""
    value = struct.get(name) if isinstance(struct, dict) else getattr(struct, name, None)
    return None if isinstance(value, np.ndarray) and not value.size else value


def numeric(struct: Any, name: str) -> float:
    """Get a field as a number, NaN where it is missing.

    A float, since MATLAB stores numbers in the smallest type that fits, such as uint8.
    """
    value = field(struct, name)
    return float("nan") if value is None else float(value)


def file_names(folder: Path) -> set[str]:
    """Names of the files in a folder of images."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing; it must hold the photographs, unpacked")
    return {path.name for path in folder.iterdir()}


def neighbours(names: list[str], rows: np.ndarray) -> list[Tensor]:
    """For each of the rows, the rows of the other people in the same image."""
    together: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        together.setdefault(name, []).append(row)
    return [torch.tensor([n for n in together[names[row]] if n != row], dtype=torch.long) for row in rows.tolist()]
