"""Score a file of predictions against a file of annotations, as `posezoo evaluate` does.

Reads COCO json, NumPy's .npy and .npz, MATLAB files, among them those of MPII, LSP, LSPET and FLIC
as they are distributed, and the 2D keypoints of a video of one person in the formats of
`posezoo.data.detections`. `ARRAY_METRICS` is the table of all metrics but COCO's AP, one row
each.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from posezoo import metrics
from posezoo.data.detections import read_keypoints
from posezoo.data.files import load_arrays, load_mat
from posezoo.data.flic import read_flic_evaluation
from posezoo.data.lsp import read_lsp_evaluation
from posezoo.data.mpii import read_mpii_evaluation
from posezoo.foreign import printable
from posezoo.skeletons import Skeleton, get_skeleton


@dataclass(frozen=True)
class Metric:
    """A row of the table of metrics.

    Args:
        function: metric of `(pred, target, *inputs, visible=..., **options)`. Its result is
            `(..., K)`, one value per keypoint or bone, or the dict of a data set's table.
        title: printed above the values; `{threshold}` and `{convention}` are filled in.
        percent: whether the values are fractions, printed as percentages.
        inputs: further arguments: "normalizer" and "head_size" of the annotations, "torso"
            (measured between their keypoints), or "skeleton".
        options: keyword arguments that the caller may set, with their defaults.
        dimensions: of the keypoints, 2 or 3.
        rows: names of the values, "keypoints" or "bones".
        means: means to add to the values, by name: "plain" over all values; "labelled", in which
            each keypoint weighs as often as it counts; or a function of `(pred, target,
            visible=...)`.
    """

    function: Callable[..., Any]
    title: str
    percent: bool = True
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    dimensions: int = 2
    rows: str = "keypoints"
    means: Mapping[str, str | Callable[..., float]] = field(default_factory=lambda: {"mean": "plain"})


_PCK_MEANS = {"mean": "plain", "labelled mean": "labelled"}
_OF_ANNOTATED = "per cent of the annotated keypoints"
_IN_UNITS, _FROM_ROOT = "in the units of the poses", "relative to joint 0"


def _distance(function: Callable[..., Any], title: str) -> Metric:
    return Metric(function, title, percent=False, dimensions=3)


def _fraction_3d(function: Callable[..., Any], title: str, **options: float) -> Metric:
    return Metric(function, title, options=options, dimensions=3, means={"mean": "labelled"})


ARRAY_METRICS: dict[str, Metric] = {
    "pck": Metric(
        metrics.pck, f"PCK@{{threshold:g}}, {_OF_ANNOTATED}", inputs=("normalizer",), options={"threshold": 0.2},
        means=_PCK_MEANS,
    ),
    "pckh": Metric(
        metrics.pckh, f"PCKh@{{threshold:g}}, {_OF_ANNOTATED}", inputs=("head_size",), options={"threshold": 0.5},
        means=_PCK_MEANS,
    ),
    "pdj": Metric(  # PCK with the torso as its normalizer
        metrics.pck, f"PDJ@{{threshold:g}}, {_OF_ANNOTATED}", inputs=("torso",), options={"threshold": 0.2},
        means=_PCK_MEANS,
    ),
    "pcp": Metric(
        metrics.pcp, "PCP@{threshold:g} strict, per cent", inputs=("skeleton",), options={"threshold": 0.5},
        rows="bones",
    ),
    "pcp-loose": Metric(
        partial(metrics.pcp, loose=True), "PCP@{threshold:g} loose, per cent", inputs=("skeleton",),
        options={"threshold": 0.5}, rows="bones",
    ),
    # both totals are over all visible keypoints of all people, not over the keypoints' values
    "rmse": Metric(metrics.rmse, "rmse, pixels", percent=False, means={"total": metrics.rmse_total}),
    "mean-pixel-error": Metric(
        metrics.mean_pixel_error, "mean-pixel-error, pixels", percent=False, means={"mean": "labelled"}
    ),
    "mpjpe": _distance(metrics.mpjpe, f"mpjpe, {_IN_UNITS}, {_FROM_ROOT}"),
    "pa-mpjpe": _distance(metrics.pa_mpjpe, f"pa-mpjpe, {_IN_UNITS}"),
    "pa-mpjpe-rigid": _distance(partial(metrics.pa_mpjpe, scale=False), f"pa-mpjpe-rigid, {_IN_UNITS}"),
    "n-mpjpe": _distance(metrics.n_mpjpe, f"n-mpjpe, {_IN_UNITS}, {_FROM_ROOT}"),
    "mpjve": _distance(metrics.mpjve, f"mpjve, {_IN_UNITS}, {_FROM_ROOT}"),
    "acceleration-error": _distance(
        metrics.acceleration_error, f"acceleration-error, {_IN_UNITS}, {_FROM_ROOT}"
    ),
    "pck3d": _fraction_3d(metrics.pck3d, f"pck3d, per cent, {_FROM_ROOT}", threshold=150.0),
    "auc3d": _fraction_3d(metrics.auc3d, f"auc3d, per cent, {_FROM_ROOT}"),
}  # fmt: skip

# the tables of the data sets, which replace the rows above for their skeletons
TABLES: dict[tuple[str, str], Metric] = {
    ("pckh", "mpii16"): Metric(
        metrics.mpii_pckh, f"PCKh@{{threshold:g}}, {_OF_ANNOTATED}, {{convention}}", inputs=("head_size",),
        options={"threshold": 0.5, "convention": "weighted"},
    ),
    ("pdj", "lsp14"): Metric(
        metrics.lsp_pck, f"PDJ@{{threshold:g}}, {_OF_ANNOTATED}", options={"threshold": 0.2}
    ),
    ("pcp", "lsp14"): Metric(
        metrics.lsp_pcp, "PCP@{threshold:g} strict, per cent", options={"threshold": 0.5}, rows="bones"
    ),
    ("pcp-loose", "lsp14"): Metric(
        partial(metrics.lsp_pcp, loose=True), "PCP@{threshold:g} loose, per cent", options={"threshold": 0.5},
        rows="bones",
    ),
}  # fmt: skip

GROUPS = ("actions", "subjects", "videos")  # of poses, in a file for `evaluate_protocol`
METRICS_2D = tuple(name for name, row in ARRAY_METRICS.items() if row.dimensions == 2)
METRICS_3D = tuple(name for name, row in ARRAY_METRICS.items() if row.dimensions == 3)
METRICS = ("coco-ap", *ARRAY_METRICS)


@dataclass(frozen=True)
class Score:
    """Result of an evaluation.

    Attributes:
        values: by keypoint, limb or row of a data set's table, and their means or total.
        title: name of the metric, with its threshold and unit.
        percent: whether the values are fractions, usually printed as percentages.
    """

    values: dict[str, float]
    title: str
    percent: bool


def evaluate_files(
    predictions: str | Path,
    ground_truth: str | Path,
    metric: str,
    *,
    skeleton: str | Skeleton | None = None,
    sigmas: Sequence[float] | None = None,
    threshold: float | None = None,
    convention: str = "weighted",
) -> Score:
    """Score the predictions of one file against the annotations of another.

    Args:
        predictions: .json for "coco-ap", else .npy, .npz or .mat; `posezoo evaluate --help` lists
            the arrays. Metrics in 2D also take what `read_keypoints` takes: OpenPose's, mmpose's,
            DeepLabCut's files and others, with one person per frame.
        ground_truth: a file of the same kinds.
        metric: one of `METRICS`.
        skeleton: names the keypoints and gives the OKS sigmas.
        sigmas: for "coco-ap", one per keypoint. Defaults to the skeleton's.
        threshold: for pck, pckh, pdj, pcp and pck3d. Defaults to the metric's own.
        convention: for pckh on mpii16: "weighted", "unweighted" or "all16".

    Raises:
        ValueError: an unknown metric, a file that is missing, damaged or lacks an array, shapes
            that do not match.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "poses.npy")
        >>> np.save(file, np.zeros((2, 3, 3)))
        >>> evaluate_files(file, file, "mpjpe").values["mean"]
        0.0
    """
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    for path in (predictions, ground_truth):
        if not path.is_file() and not (path.is_dir() and metric in METRICS_2D):
            raise ValueError(f"{path}: there is no such file")
    if threshold is not None and "threshold" not in getattr(ARRAY_METRICS.get(metric), "options", ()):
        raise ValueError(f"threshold: {metric} has none; it is for pck, pckh, pdj, pcp and pck3d")
    if sigmas is not None and metric != "coco-ap":
        raise ValueError(f"sigmas: {metric} has none; they are for coco-ap")
    if metric == "coco-ap":
        return _coco(predictions, ground_truth, sigmas or skeleton)
    named = get_skeleton(skeleton) if skeleton else None
    return _arrays(predictions, ground_truth, metric, named, {"threshold": threshold, "convention": convention})


def evaluate_protocol(predictions: str | Path, ground_truth: str | Path, protocol: str) -> Score:
    """Score 3D poses by a published protocol of Human3.6M or HumanEva, one row per action.

    Args:
        predictions: .npy or .npz with `keypoints` `(N, K, 3)` millimetres in the camera's frame.
        ground_truth: .npz with the same, and for each pose `actions` and `subjects`, texts, and for
            protocols that average by video `videos`.
        protocol: a key of `posezoo.metrics.PROTOCOLS`.

    Raises:
        ValueError: an unknown protocol, a file that is missing, damaged or lacks an array, shapes
            that do not match, what `metrics.by_protocol` raises.

    Examples:
        >>> import tempfile
        >>> file, poses = Path(tempfile.mkdtemp(), "poses.npz"), np.zeros((2, 17, 3))
        >>> np.savez(file, keypoints=poses, actions=["Eating", "Photo"], subjects=["S9", "S11"])
        >>> evaluate_protocol(file, file, "martinez-1").values
        {'Eating': 0.0, 'Photo': 0.0, 'Average': 0.0}
    """
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    if protocol not in metrics.PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; expected one of {', '.join(metrics.PROTOCOLS)}")
    for path in (predictions, ground_truth):
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file")
    truth, pred = _read(ground_truth, predictions=False), _read(predictions, predictions=True)["keypoints"]
    target, stored = truth["keypoints"], _load(ground_truth)
    if pred.shape != target.shape or target.ndim != 3 or target.shape[-1] != 3:
        raise ValueError(
            f"{predictions} holds keypoints of shape {pred.shape}, {ground_truth} of {target.shape}; expected (N, K, 3)"
        )
    texts = {name: [str(text) for text in stored[name].reshape(-1)] for name in GROUPS if name in stored}
    wanted = GROUPS[: 3 if metrics.PROTOCOLS[protocol].averaging == "per-video" else 2]
    for name in wanted:
        if len(texts.get(name, ())) != len(target):
            raise ValueError(f"{ground_truth}: {protocol} needs {name} ({len(target)},), found {truth['found']}")
    values = metrics.by_protocol(pred, target, protocol, visible=truth.get("visible"), **texts)
    return Score(values, f"{protocol}, mm: {metrics.PROTOCOLS[protocol].source}", False)


def _coco(predictions: Path, ground_truth: Path, sigmas: str | Skeleton | Sequence[float] | None) -> Score:
    for path in (ground_truth, predictions):
        if path.suffix != ".json":
            raise ValueError(f"{path}: coco-ap reads COCO json; for arrays call posezoo.metrics.coco_ap")
    return Score(
        dict(metrics.coco_ap(ground_truth, predictions, sigmas=sigmas or "coco17")), "COCO keypoints, OKS", False
    )


def _arrays(
    predictions: Path, ground_truth: Path, metric: str, skeleton: Skeleton | None, chosen: Mapping[str, Any]
) -> Score:
    row = ARRAY_METRICS[metric] if skeleton is None else TABLES.get((metric, skeleton.name), ARRAY_METRICS[metric])
    truth, pred = _read(ground_truth, predictions=False), _read(predictions, predictions=True)
    wanted = skeleton.keypoints if skeleton else truth.get("names")
    truth, pred = _in_order(truth, wanted, ground_truth), _in_order(pred, wanted, predictions)
    target, points, visible = truth["keypoints"], pred["keypoints"], truth.get("visible")
    if "test" in truth and len(points) == len(target[truth["test"]]) != len(target):
        target = target[truth["test"]]  # predictions for the test images of a file that holds all images

    limbs_for_keypoints = row.rows == "bones" and points.ndim == 4
    if not limbs_for_keypoints and points.shape != target.shape:
        raise ValueError(
            f"{predictions} holds keypoints of shape {points.shape}, {ground_truth} of {target.shape}; expected the "
            "same"
        )
    if target.shape[-1] != row.dimensions:
        raise ValueError(f"{metric} is for keypoints in {row.dimensions}D; {ground_truth} holds shape {target.shape}")
    if skeleton is not None and target.shape[-2] != len(skeleton):
        raise ValueError(
            f"the skeleton {skeleton.name!r} has {len(skeleton)} keypoints, {ground_truth} has {target.shape[-2]}"
        )

    inputs = [_input(name, metric, ground_truth, truth, skeleton) for name in row.inputs]
    options = {name: default if chosen[name] is None else chosen[name] for name, default in row.options.items()}
    result = row.function(points, target, *inputs, visible=visible, **options)
    title = row.title.format(**options)
    if isinstance(result, dict):  # a data set's table, with its total
        return Score(result, title, row.percent)

    values = result.reshape(-1, result.shape[-1])  # distances come per pose, fractions once for all
    counts = (~np.isnan(values)).sum(axis=0)
    per_row = np.where(counts > 0, np.nansum(values, axis=0), np.nan) / np.maximum(counts, 1)
    means = {}
    for name, kind in row.means.items():
        if callable(kind):
            means[name] = kind(points, target, visible=visible)
        elif kind == "plain":
            means[name] = _plain_mean(values)
        else:
            means[name] = _labelled_mean(result, target, inputs, visible)
    return Score(dict(zip(_names(row, skeleton, target), per_row.tolist(), strict=True)) | means, title, row.percent)


def _in_order(arrays: dict[str, Any], wanted: Sequence[str] | None, path: Path) -> dict[str, Any]:
    """Return the arrays of a file that names its keypoints in the order `wanted`."""
    names = arrays.get("names")
    if not wanted or not names or tuple(names) == tuple(wanted):
        return arrays
    if sorted(names) != sorted(wanted):
        raise ValueError(f"{path}: expected the keypoints {', '.join(wanted)}, got {printable(', '.join(names), 500)}")
    order = [names.index(name) for name in wanted]
    visible = {"visible": arrays["visible"][..., order]} if "visible" in arrays else {}
    return {**arrays, "keypoints": arrays["keypoints"][..., order, :], **visible}


def _input(name: str, metric: str, path: Path, truth: Mapping[str, Any], skeleton: Skeleton | None) -> Any:
    """Return one of the further arguments of a metric; raise an error if it is missing."""
    if name in ("skeleton", "torso"):
        if skeleton is None:
            use = {
                "skeleton": "whose bones are the limbs (lsp14: the ten limbs of LSP)",
                "torso": "which names the left shoulder and the right hip",
            }[name]
            raise ValueError(f"{metric} needs --skeleton, {use}")
        if name == "skeleton":
            return skeleton
        return metrics.torso_diameter(truth["keypoints"], skeleton, visible=truth.get("visible"))
    if name not in truth:
        wanted = {
            "head_size": "head_size (N,) or headboxes (N, 2, 2); found {}",
            "normalizer": "normalizer (N,), in pixels; found {}. pdj and pckh have their own",
        }[name].format(truth["found"])
        raise ValueError(f"{path}: {metric} needs {wanted}")
    return truth[name]


def _names(row: Metric, skeleton: Skeleton | None, target: np.ndarray) -> list[str]:
    if skeleton is None:
        return [f"keypoint {number}" for number in range(target.shape[-2])]
    if row.rows == "bones":
        return [f"{skeleton.keypoints[first]} - {skeleton.keypoints[second]}" for first, second in skeleton.bones]
    return list(skeleton.keypoints)


def _plain_mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _labelled_mean(result: np.ndarray, target: np.ndarray, lengths: Sequence[Any], visible: np.ndarray | None) -> float:
    """Mean over all keypoints that count: visible, of a person with a length."""
    counted = np.ones(target.shape[:-1], dtype=bool) if visible is None else visible
    counted = counted.reshape(-1, counted.shape[-1])
    for length in lengths:
        counted = counted & np.isfinite(length)[:, None]
    return metrics.labelled_mean(result, counted)


def _read(path: Path, *, predictions: bool) -> dict[str, Any]:
    """Read the arrays of a file by our names.

    These are `keypoints` and, of annotations, those of `visible`, `normalizer`, `head_size` and
    `test` that the file has. `found` lists the arrays of the file, for messages.
    """
    if path.is_dir() or path.suffix.lower() in (".json", ".csv", ".h5"):
        return _read_video(path, predictions=predictions)
    stored = _load(path)
    arrays: dict[str, Any] = {
        name: stored[name] for name in ("visible", "headboxes", "head_size", "normalizer") if name in stored
    }
    if "keypoints" in stored or "preds" in stored:
        arrays["keypoints"] = stored["keypoints"] if "keypoints" in stored else stored["preds"]
    else:
        # the files of the data sets, told apart by the names and shapes of their arrays
        published = (
            read_mpii_evaluation(stored, predictions=predictions)
            or read_lsp_evaluation(stored)
            or read_flic_evaluation(stored)
        )
        arrays = published | arrays

    listed = printable(", ".join(sorted(stored))) or "nothing"
    if "keypoints" not in arrays:
        if "joints" in stored or "pred" in stored:
            shape = stored["joints" if "joints" in stored else "pred"].shape
            raise ValueError(
                f"{path}: expected joints or pred as LSP (3, 14, N), LSPET (14, 3, N) or FLIC (2, K, N) have them, "
                f"got {shape}; call an array (N, K, 2) keypoints"
            )
        raise ValueError(f"{path}: expected an array called keypoints, found {listed}")
    keypoints = arrays["keypoints"]
    if keypoints.ndim < 3 or keypoints.dtype.kind not in "fiu":
        raise ValueError(f"{path}: keypoints: expected numbers (N, K, 2) or (N, K, 3), got {keypoints.shape}")
    if predictions:
        return {"keypoints": keypoints}

    if "visible" in arrays:
        arrays["visible"] = arrays["visible"] > 0
    if "headboxes" in arrays and "head_size" not in arrays:
        arrays["head_size"] = metrics.mpii_head_size(arrays["headboxes"])
    for name in ("head_size", "normalizer"):
        if name in arrays:
            arrays[name] = arrays[name].reshape(-1)  # MATLAB has no vectors
    return arrays | {"found": listed}


def _read_video(path: Path, *, predictions: bool) -> dict[str, Any]:
    """Read the keypoints of a person in a video; missing ones are not visible."""
    try:
        video = read_keypoints(path, several=False)
    except ValueError as error:
        raise ValueError(f"{error}. COCO json of several people is for coco-ap; other metrics read arrays") from None
    names = None if video["skeleton"] is None else get_skeleton(video["skeleton"]).keypoints
    keypoints = np.asarray(video["keypoints"], float)
    visible = np.isfinite(keypoints).all(axis=-1) & (np.asarray(video.get("scores", 1.0)) > 0)
    if predictions:
        return {"keypoints": np.where(visible[..., None], keypoints, np.nan), "names": names}
    found = {"visible": visible, "found": "keypoints, visible", "names": names}
    return {"keypoints": np.where(visible[..., None], keypoints, 0), **found}


def _load(path: Path) -> dict[str, Any]:
    """Read the arrays of a .npy, .npz or .mat file by name."""
    if path.suffix in (".npy", ".npz"):
        return load_arrays(path)
    if path.suffix == ".mat":
        variables = load_mat(path, "", squeeze=False)
        return {
            name: array
            for name, array in variables.items()
            if not name.startswith("__") and isinstance(array, np.ndarray)
        }
    raise ValueError(f"{path}: expected .json, .npy, .npz or .mat, or keypoints of a video in .json, .csv or .h5")
