"""Predictions in a file against annotations in a file: what `posezoo evaluate` does.

Reads COCO json, NumPy's .npy and .npz, and MATLAB files, those of MPII, LSP, LSPET and FLIC as they are distributed.
"""

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posezoo import metrics
from posezoo.skeletons import Skeleton, get_skeleton

METRICS_2D = ("pck", "pckh", "pdj", "pcp", "pcp-loose", "rmse", "mean-pixel-error")
METRICS_3D = (
    "mpjpe", "pa-mpjpe", "pa-mpjpe-rigid", "n-mpjpe", "mpjve", "acceleration-error", "pck3d", "auc3d",
)  # fmt: skip
METRICS = ("coco-ap", *METRICS_2D, *METRICS_3D)


@dataclass(frozen=True)
class Score:
    """What came out.

    Attributes:
        values: by keypoint, limb or row of a data set's table, and their total.
        title: the measure in words.
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
        predictions: .json for "coco-ap", else .npy, .npz or .mat; `posezoo evaluate --help` lists the arrays.
        ground_truth: likewise.
        metric: one of `METRICS`.
        skeleton: names the keypoints, and says the OKS sigmas.
        sigmas: of "coco-ap", one per keypoint.
        threshold: of pck, pckh, pdj, pcp and pck3d, instead of their own.
        convention: of pckh on mpii16: "weighted", "unweighted" or "all16".

    Raises:
        ValueError: an unknown metric, a file that is missing, damaged or lacks an array, shapes that do not match.

    Example:
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
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file")
    if metric == "coco-ap":
        return _coco(predictions, ground_truth, sigmas or skeleton)
    named = get_skeleton(skeleton) if skeleton else None
    return _arrays(predictions, ground_truth, metric, named, threshold, convention)


def _coco(predictions: Path, ground_truth: Path, sigmas: str | Skeleton | Sequence[float] | None) -> Score:
    for path in (ground_truth, predictions):
        if path.suffix != ".json":
            raise ValueError(f"{path}: coco-ap reads COCO json; for arrays call posezoo.metrics.coco_ap")
    return Score(
        dict(metrics.coco_ap(ground_truth, predictions, sigmas=sigmas or "coco17")), "COCO keypoints, OKS", False
    )


def _arrays(
    predictions: Path,
    ground_truth: Path,
    metric: str,
    skeleton: Skeleton | None,
    threshold: float | None,
    convention: str,
) -> Score:
    truth, pred = _read_arrays(ground_truth, truth=True), _read_arrays(predictions, truth=False)
    target, points = truth["keypoints"], pred["keypoints"]
    if truth.get("of") == "lsp" and len(target) == 2000 and len(points) == 1000:
        target = target[1000:]  # LSP's test images
    visible = truth.get("visible")
    sticks = points.ndim == 4 and points.shape[1:] == (10, 2, 2) and metric.startswith("pcp")
    if not sticks and points.shape != target.shape:
        raise ValueError(
            f"{predictions} holds keypoints of shape {points.shape}, {ground_truth} of {target.shape}; expected the "
            "same"
        )
    dimensions = 3 if metric in METRICS_3D else 2
    if target.shape[-1] != dimensions:
        raise ValueError(f"{metric} is for keypoints in {dimensions}D; {ground_truth} holds shape {target.shape}")
    if skeleton is not None and target.shape[-2] != len(skeleton):
        raise ValueError(
            f"the skeleton {skeleton.name!r} has {len(skeleton)} keypoints, {ground_truth} has {target.shape[-2]}"
        )
    names = list(skeleton.keypoints) if skeleton else [f"keypoint {number}" for number in range(target.shape[-2])]
    chosen: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    called = skeleton.name if skeleton else ""

    if metric in METRICS_3D:
        functions: dict[str, Callable[..., Any]] = {
            "mpjpe": metrics.mpjpe, "pa-mpjpe": metrics.pa_mpjpe, "n-mpjpe": metrics.n_mpjpe, "mpjve": metrics.mpjve,
            "acceleration-error": metrics.acceleration_error, "pck3d": metrics.pck3d, "auc3d": metrics.auc3d,
            "pa-mpjpe-rigid": lambda *poses, visible: metrics.pa_mpjpe(*poses, scale=False, visible=visible),
        }  # fmt: skip
        arguments = chosen if metric == "pck3d" else {}
        result = functions[metric](points, target, visible=visible, **arguments)
        percent = metric in ("pck3d", "auc3d")
        unit = "per cent" if percent else "in the units of the poses"
        title = f"{metric}, {unit}" + ("" if metric.startswith("pa-") else ", relative to joint 0")
        flat = result.reshape(-1, result.shape[-1])
        there = ~np.isnan(flat)
        means = np.where(there, flat, 0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        if percent and visible is not None:  # results are per joint; each weighs as often as it is annotated
            mean = metrics.labelled_mean(result, visible.reshape(-1, visible.shape[-1]))
        else:
            mean = float(flat[there].mean()) if there.any() else math.nan
        return Score({**dict(zip(names, means.tolist(), strict=True)), "mean": mean}, title, percent)

    if metric in ("rmse", "mean-pixel-error"):
        function = metrics.rmse if metric == "rmse" else metrics.mean_pixel_error
        result = function(points, target, visible=visible)
        mean = float(np.nanmean(result)) if (~np.isnan(result)).any() else math.nan
        return Score({**dict(zip(names, result.tolist(), strict=True)), "mean": mean}, f"{metric}, pixels", False)
    if metric in ("pcp", "pcp-loose"):
        loose = metric == "pcp-loose"
        title = f"PCP@{chosen.get('threshold', 0.5):g} {'loose' if loose else 'strict'}, per cent"
        if called == "lsp14":
            return Score(metrics.lsp_pcp(points, target, visible=visible, loose=loose, **chosen), title, True)
        if skeleton is None:
            raise ValueError(f"{metric} needs --skeleton, whose bones are the limbs (lsp14: the ten limbs of LSP)")
        result = metrics.pcp(points, target, skeleton, visible=visible, loose=loose, **chosen)
        limbs = [f"{skeleton.keypoints[first]} - {skeleton.keypoints[second]}" for first, second in skeleton.bones]
        return Score({**dict(zip(limbs, result.tolist(), strict=True)), "mean": float(np.nanmean(result))}, title, True)
    if metric == "pckh":
        title = f"PCKh@{chosen.get('threshold', 0.5):g}, per cent of the annotated keypoints"
        head_size = truth.get("head_size")
        if head_size is None:
            raise ValueError(
                f"{ground_truth}: pckh needs head_size (N,) or headboxes (N, 2, 2); found {truth['found']}"
            )
        if called == "mpii16":
            table = metrics.mpii_pckh(points, target, head_size, visible=visible, convention=convention, **chosen)
            return Score(table, f"{title}, {convention}", True)
        result, length = metrics.pckh(points, target, head_size, visible=visible, **chosen), head_size
    elif metric == "pdj":
        title = f"PDJ@{chosen.get('threshold', 0.2):g}, per cent of the annotated keypoints"
        if skeleton is None:
            raise ValueError("pdj needs --skeleton, which says where the left shoulder and the right hip are")
        if called == "lsp14":
            return Score(metrics.lsp_pck(points, target, visible=visible, **chosen), title, True)
        result = metrics.pdj(points, target, skeleton, visible=visible, **chosen)
        length = metrics.torso_diameter(target, skeleton, visible=visible)
    else:
        title = f"PCK@{chosen.get('threshold', 0.2):g}, per cent of the annotated keypoints"
        length = truth.get("normalizer")
        if length is None:
            raise ValueError(
                f"{ground_truth}: pck needs normalizer (N,), in pixels; found {truth['found']}. pdj and pckh have "
                "their own"
            )
        result = metrics.pck(points, target, length, visible=visible, **chosen)
    counted = np.ones(target.shape[:2], dtype=bool) if visible is None else visible
    pooled = metrics.labelled_mean(result, counted & np.isfinite(length)[:, None])
    mean = float(np.nanmean(result)) if (~np.isnan(result)).any() else math.nan
    return Score({**dict(zip(names, result.tolist(), strict=True)), "mean": mean, "labelled mean": pooled}, title, True)


def _read_arrays(path: Path, *, truth: bool) -> dict[str, Any]:
    """keypoints, and what else of visible, normalizer, head_size there is; `of` is the data set, where it shows."""
    if path.suffix == ".json":
        raise ValueError(f"{path}: JSON is for coco-ap; the other metrics read .npy, .npz and .mat")
    stored = _load(path)
    found: dict[str, Any] = {"found": ", ".join(sorted(stored)) or "nothing"}
    ours = "pos_gt_src" if truth else "pos_pred_src"
    if "keypoints" in stored or "preds" in stored:
        found["keypoints"] = stored["keypoints"] if "keypoints" in stored else stored["preds"]
    elif ours in stored:  # MPII: (16, 2, N)
        found["keypoints"] = np.moveaxis(stored[ours], -1, 0)
    elif "joints" in stored or "pred" in stored:
        found.update(_leeds_or_flic(stored["joints"] if "joints" in stored else stored["pred"], path))
    else:
        raise ValueError(f"{path}: expected an array called keypoints, found {found['found']}")
    if found["keypoints"].ndim < 3 or found["keypoints"].dtype.kind not in "fiu":
        raise ValueError(f"{path}: keypoints: expected numbers (N, K, 2) or (N, K, 3), got {found['keypoints'].shape}")
    if truth:
        if "visible" in stored:
            found["visible"] = stored["visible"] > 0
        elif "jnt_missing" in stored:
            found["visible"] = stored["jnt_missing"].T == 0
        if "headboxes_src" in stored:
            found["head_size"] = metrics.mpii_head_size(np.moveaxis(stored["headboxes_src"], -1, 0))
        elif "headboxes" in stored:
            found["head_size"] = metrics.mpii_head_size(stored["headboxes"])
        for name in ("head_size", "normalizer"):
            if name in stored:
                found[name] = stored[name].reshape(-1)  # MATLAB has no vectors
    return found


def _leeds_or_flic(array: np.ndarray, path: Path) -> dict[str, Any]:
    """LSP (3, 14, N), whose third row means occluded; LSPET (14, 3, N), where it means visible; FLIC (2, 12, N)."""
    if array.ndim == 3 and array.shape[:2] == (14, 3):
        return {"keypoints": array[:, :2].transpose(2, 0, 1), "visible": array[:, 2].T > 0, "of": "lspet"}
    if array.ndim == 3 and array.shape[:2] == (3, 14):
        return {"keypoints": array[:2].transpose(2, 1, 0), "of": "lsp"}
    if array.ndim == 3 and array.shape[0] == 2:
        points = array.transpose(2, 1, 0)
        if array.shape[1] == 12:  # the last column is the torso box
            return {"keypoints": points[:, :11], "normalizer": np.linalg.norm(points[:, 11], axis=1), "of": "flic"}
        if array.shape[1] == 20:  # ten limbs by their ends
            return {"keypoints": points.reshape(-1, 10, 2, 2)}
        return {"keypoints": points}
    raise ValueError(
        f"{path}: expected joints or pred as LSP (3, 14, N), LSPET (14, 3, N) or FLIC (2, K, N) have them, got "
        f"{array.shape}; call an array (N, K, 2) keypoints"
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".npy":
            return {"keypoints": np.load(path, allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: is damaged, or holds objects instead of numbers: {error}") from None
    if path.suffix == ".mat":
        try:
            import scipy.io
        except ImportError:
            raise ImportError(f"{path}: MATLAB files need scipy: pip install scipy") from None
        try:
            return {name: array for name, array in scipy.io.loadmat(path).items() if not name.startswith("__")}
        except (ValueError, TypeError, NotImplementedError) as error:  # 7.3 files are HDF5, which scipy does not read
            raise ValueError(f"{path}: cannot be read as a MATLAB file up to version 7: {error}") from None
    raise ValueError(f"{path}: expected .json, .npy, .npz or .mat")
