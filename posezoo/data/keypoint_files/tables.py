"""Detected keypoints of animal trackers: DeepLabCut's .csv and .h5, SLEAP's analysis .h5."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posezoo.data.files import INFLATION, unpickle_arrays
from posezoo.data.keypoint_files.frames import Frames, by_frame, name_of
from posezoo.foreign import printable

LEVELS = ("scorer", "individuals", "bodyparts", "coords")  # of DeepLabCut's columns
COORDS = ("x", "y", "likelihood")


def read_csv_frames(path: Path) -> Frames:
    """Read DeepLabCut's .csv: three or four rows of names, then one row per frame.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    levels: dict[str, list[str]] = {}
    ids: list[str] = []
    values: list[list[float]] = []
    first = 1  # column of the first number; labelled frames have up to three columns of names before
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file):
                if row and row[0] in LEVELS and not values:
                    levels[row[0]] = row
                    first = row.index("x") if row[0] == "coords" else first
                elif row:
                    ids.append("/".join(row[:first]))
                    values.append([float(cell or "nan") for cell in row[first:]])
        columns = list(zip(*(levels[level][first:] for level in LEVELS if level in levels), strict=True))
        if not columns and ids and ";" in ids[0]:
            raise ValueError("its columns are separated by semicolons; save it with commas, and points in numbers")
        if not {"bodyparts", "coords"} <= set(levels):
            raise ValueError(f"there are no rows bodyparts and coords, but {', '.join(levels) or 'neither'}")
        return _deeplabcut(columns, ids, np.array(values, float), path)
    except (csv.Error, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected DeepLabCut's .csv ({printable(str(error))})") from None


def read_h5_frames(path: Path) -> Frames:
    """Read DeepLabCut's .h5, a table of pandas, or SLEAP's analysis .h5.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(f"{path}: .h5 files need h5py: pip install h5py") from error
    try:
        with h5py.File(path) as file:
            if "tracks" in file and "node_names" in file:
                return _sleap(file, path)
            table = next((group for group in file.values() if "pandas_type" in group.attrs), None)
            if table is None:
                raise ValueError(f"it has {', '.join(file) or 'nothing'}")
            return _pandas(table, path)
    except Exception as error:  # the parsers of HDF5 and of pickles raise various exceptions
        raise ValueError(
            f"{path}: expected DeepLabCut's .h5 or SLEAP's analysis .h5 ({printable(str(error))}); export it again"
        ) from None


def _pandas(table: Any, path: Path) -> Frames:
    """Columns and values of a table that pandas wrote, with or without format="table"."""
    if "table" in table:
        [(_, columns)] = unpickle_arrays(bytes(table.attrs["non_index_axes"]))
        rows = _dataset(table["table"], path)
        ids, values = rows["index"].tolist(), rows["values_block_0"]
    else:
        columns = list(zip(*_levels(table, "axis0", path), strict=True))
        values = _dataset(table["block0_values"], path)
        if "axis1" in table:
            ids = _dataset(table["axis1"], path).tolist()
        else:
            ids = ["/".join(row) for row in zip(*_levels(table, "axis1", path), strict=True)]
    ids = [identity.decode() if isinstance(identity, bytes) else identity for identity in ids]
    return _deeplabcut(columns, ids, np.asarray(values, float), path)


def _levels(table: Any, axis: str, path: Path) -> list[list[str]]:
    levels = []
    for level in range(int(table.attrs[f"{axis}_nlevels"])):
        names = [name.decode() for name in _dataset(table[f"{axis}_level{level}"], path).tolist()]
        levels.append([names[at] for at in _dataset(table[f"{axis}_label{level}"], path).tolist()])
    return levels


def _deeplabcut(columns: Sequence[Sequence[str]], ids: Sequence[Any], values: np.ndarray, path: Path) -> Frames:
    """People of each frame from columns (scorer, individual, body part, coordinate)."""
    individuals = {name: at for at, name in enumerate(dict.fromkeys(column[-3] for column in columns))}
    parts = {name: at for at, name in enumerate(dict.fromkeys(column[-2] for column in columns))}
    if values.ndim != 2 or values.shape[1] != len(columns) or not {"x", "y"} <= {column[-1] for column in columns}:
        raise ValueError(f"expected x and y of {len(parts)} body parts in {len(columns)} columns, got {values.shape}")
    scored = any(column[-1] == "likelihood" for column in columns)
    people = np.full((len(values), len(individuals), len(parts), 3), np.nan)
    if not scored:
        people[..., 2] = 1
    for column, numbers in zip(columns, values.T, strict=True):
        people[:, individuals[column[-3]], parts[column[-2]], COORDS.index(column[-1])] = numbers
    frames = by_frame(ids, [list(frame) for frame in people], path)
    return Frames(frames, name_of(list(parts)), scored)


def _sleap(file: Any, path: Path) -> Frames:
    """Tracks `(tracks, 2, K, T)`, MATLAB's order, or `(T, tracks, K, 2)`."""
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in _dataset(file["node_names"], path)]
    tracks = _dataset(file["tracks"], path)
    transposed = tracks.ndim == 4 and tracks.shape[1:3] == (2, len(names))
    if not transposed and (tracks.ndim != 4 or tracks.shape[2:] != (len(names), 2)):
        raise ValueError(f"expected tracks (tracks, 2, {len(names)}, T), got {tracks.shape}")
    points = tracks.transpose(3, 0, 2, 1) if transposed else tracks
    scores = np.ones(points.shape[:3])
    if "point_scores" in file:
        scores = _dataset(file["point_scores"], path)
        scores = scores.transpose(2, 0, 1) if transposed else scores
    people = np.concatenate([points, scores[..., None]], axis=-1).astype(float)
    return Frames([list(frame) for frame in people], name_of(names), "point_scores" in file)


def _dataset(dataset: Any, path: Path) -> np.ndarray:
    """All of a dataset, unless it claims more bytes than the file can hold."""
    if math.prod(dataset.shape) * dataset.dtype.itemsize > INFLATION * path.stat().st_size:
        raise ValueError(f"{dataset.name} claims {dataset.shape} numbers, more than the file can hold")
    return np.asarray(dataset[()])
