"""Read files of datasets; errors name a missing or damaged file and the fix.

Files are foreign. Sizes that a file claims are compared with its bytes before memory is allocated,
pickles may hold arrays only, and MATLAB files are parsed in a child process, because SciPy's parser
can crash the process on a damaged file.
"""

import math
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from posezoo.foreign import check_content, printable
from posezoo.images import load_image_uint8

INFLATION = 1100  # bytes of content per byte of a compressed file; DEFLATE reaches 1032
MAT_SECONDS, MAT_BYTES = 120, 4 << 30  # limits of the child process; MPII's annotations take 10 s and 1 GB


def read_image(path: Path) -> Tensor:
    """Load an image as uint8 RGB `(3, H, W)`, with the pixels that `posezoo.predict` uses."""
    try:
        return load_image_uint8(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); unpack or download it again") from error


def load_mat(path: Path, hint: str, *, squeeze: bool = True) -> dict[str, Any]:
    """Load the variables of a MATLAB file up to version 7, in a child process.

    Structs become objects. With `squeeze`, arrays of one element become that element.

    Raises:
        ValueError: the file is missing, with `hint` for the fix, is damaged, or exceeds the limits
            of time (`MAT_SECONDS`) or memory (`MAT_BYTES`).
    """
    try:
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise ImportError("reading MATLAB files needs SciPy: pip install 'posezoo[data]'") from error
    if not path.is_file():
        raise ValueError(f"{path} is missing; {hint}")
    check_content(path)
    with path.open("rb") as file:
        if file.read(10) == b"MATLAB 7.3":
            raise ValueError(f"{path} cannot be read as a MATLAB file of version 7.3, which is HDF5; save it with -v7")
    command = [sys.executable, "-c", _READ_MAT, str(path.resolve()), "squeeze" if squeeze else "", str(MAT_BYTES)]
    # one thread, because the buffers of a linear algebra library count as memory
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | threads | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    failed = f"{path} cannot be read as a MATLAB file"
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAT_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{failed} within {MAT_SECONDS} seconds; download it again") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = printable(last) if done.returncode == 1 and last else "the parser crashed"
        raise ValueError(f"{failed} ({reason}); download it again")
    try:
        variables: dict[str, Any] = _Arrays(BytesIO(done.stdout)).load()
    except Exception as error:  # pickle raises various exceptions
        raise ValueError(f"{failed} ({error}); download it again") from error
    return variables


_READ_MAT = """
import pickle, sys
try:
    import resource
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = int(sys.argv[3]) if hard == resource.RLIM_INFINITY else min(int(sys.argv[3]), hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
except (ImportError, ValueError, OSError):
    pass  # Windows has no such limit
import scipy.io
try:
    content = scipy.io.loadmat(sys.argv[1], squeeze_me=bool(sys.argv[2]), struct_as_record=False)
    pickle.dump(content, sys.stdout.buffer, protocol=5)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def load_arrays(
    source: Path | bytes, name: str | None = None, *, key: str | None = None, objects: bool = False
) -> dict[str, Any]:
    """Load the arrays of an .npz file by name; the array of an .npy file is called `keypoints`.

    Args:
        source: the file, or its content.
        name: for error messages. Defaults to the path.
        key: the only array to load. Defaults to all.
        objects: also read pickled arrays, dictionaries and lists of arrays, numbers and texts.
            Defaults to an error.

    Raises:
        ValueError: the file is damaged, holds other objects, or claims more bytes than it has.

    Examples:
        >>> stream = BytesIO()
        >>> np.savez(stream, keypoints=np.zeros((5, 17, 2)), fps=25)
        >>> {key: array.shape for key, array in load_arrays(stream.getvalue(), "video.npz").items()}
        {'keypoints': (5, 17, 2), 'fps': ()}
    """
    try:
        with source.open("rb") if isinstance(source, Path) else BytesIO(source) as stream:
            if not zipfile.is_zipfile(stream):
                size = stream.seek(0, os.SEEK_END)
                stream.seek(0)
                return {"keypoints": _read_array(stream, size, objects)}
            arrays = {}
            with zipfile.ZipFile(stream) as archive:
                for member in archive.infolist():
                    label = member.filename.removesuffix(".npy")
                    if key in (None, label):
                        with archive.open(member) as file:
                            claimed = min(member.file_size, INFLATION * member.compress_size)
                            arrays[label] = _read_array(file, claimed, objects)
            return arrays
    except Exception as error:  # the parsers of zip files, headers and pickles raise various exceptions
        where = source if isinstance(source, Path) else "the file"
        raise ValueError(f"{name or where}: is damaged, or holds objects instead of numbers: {error}") from None


def _read_array(stream: IO[bytes], size: int, objects: bool) -> Any:
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        if not objects:
            raise ValueError("it holds pickled objects")
        content = _Arrays(stream, encoding="latin1").load()
        return content.item() if shape == () else content
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its header claims an array {shape} of {dtype}, which is larger than the file")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def unpickle_arrays(content: bytes) -> Any:
    """Unpickle arrays, numbers, texts, and lists, tuples and dictionaries of them.

    Raises:
        pickle.UnpicklingError: for any other object; no code of the pickle is run.

    Examples:
        >>> unpickle_arrays(pickle.dumps([(1, "nose")]))
        [(1, 'nose')]
    """
    return _Arrays(BytesIO(content), encoding="latin1").load()


class _Arrays(pickle.Unpickler):
    """Unpickler of arrays in dictionaries and lists that refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        array, number = np.zeros(1), np.float32(0)
        allowed = {
            "_reconstruct": array.__reduce__()[0],
            "_frombuffer": array.__reduce_ex__(5)[0],
            "scalar": number.__reduce__()[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        if module.startswith("scipy.io.matlab") and name in ("mat_struct", "MatlabFunction", "MatlabOpaque"):
            from scipy.io import matlab

            return getattr(matlab, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are expected")


def field(struct: Any, name: str) -> Any:
    """Get a field of a struct, or a variable of a file; None where it is missing or empty."""
    value = struct.get(name) if isinstance(struct, Mapping) else getattr(struct, name, None)
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
