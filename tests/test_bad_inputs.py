"""A battery of mistakes and of hostile files: each has the right result or an error that explains.

Outcomes are counted and printed. A battery passes if nothing is silently wrong, no error comes from
a library without advice, and nothing crashes, hangs or fills the memory:

    right      the expected result, or one that may be
    explained  a ValueError of posezoo's own
    silent     a result where there is none
    traceback  another error, or one that NumPy, torch or Python wrote
    crash      no memory, an exit, or seconds of work
"""

import contextlib
import io
import json
import struct
import time
import traceback
import warnings
import zlib
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from json_places import changed, places
from PIL import Image

import posezoo
import posezoo.export
from posezoo import Weights, codecs, detectors, geometry, heatmaps, losses, metrics, tracking, video, viz
from posezoo.__main__ import main
from posezoo.arguments import arguments_of
from posezoo.arrays import check_number
from posezoo.catalogue import facts
from posezoo.contract import PoseModel
from posezoo.data import PersonCrop, Windows, add_noise, filters, transforms, virtual_cameras
from posezoo.data.bvh import bvh_text
from posezoo.data.detections import read_keypoints
from posezoo.data.windows import valid_chunks
from posezoo.evaluate import evaluate_files
from posezoo.images import load_image, load_image_uint8
from posezoo.layers import Normalize
from posezoo.mirror import download, fetchable
from posezoo.skeletons import Skeleton, convert, get_skeleton
from posezoo.weights import find, load_state_dict, read_config, read_state_dict

PACKAGE = str(Path(posezoo.__file__).parent)
SECONDS = 5  # of work that a mistake may cost
RNG = np.random.default_rng(0)


def outcome(call, accept=lambda value: True):
    """Classify one call; return the outcome and a line about it."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = call()
        kind, line = ("right", "") if accept(value) else ("silent", f"{value!r:.200}")
    except ValueError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error)
        plain = text.replace("\n", "").isprintable() and 15 <= len(text) <= 3000
        own = last.filename.startswith(PACKAGE)
        kind, line = ("explained" if own and plain else "traceback"), f"{last.filename}:{last.lineno} {text[:300]!r}"
    except (MemoryError, SystemExit, RecursionError) as error:
        kind, line = "crash", repr(error)[:300]
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind, line = "traceback", f"{last.filename}:{last.lineno} {error!r:.300}"
    if time.process_time() - start > SECONDS:
        kind = "crash"
    return kind, line


def report(name, outcomes):
    """Print the counts; fail if one of the last three is not 0."""
    counts = Counter(kind for _, kind, _ in outcomes)
    kinds = ("right", "explained", "silent", "traceback", "crash")
    print(f"{name}: {len(outcomes)} inputs, " + ", ".join(f"{counts[kind]} {kind}" for kind in kinds))  # noqa: T201
    bad = [f"{kind}: {label}: {line}" for label, kind, line in outcomes if kind not in ("right", "explained")]
    assert not bad, f"{len(bad)} of {len(outcomes)}\n" + "\n".join(bad[:60])


def check(name, table):
    """Run a table of label -> call, or (call, accepted results); a call alone has to be explained."""
    never = lambda value: False  # noqa: E731
    cases = {label: case if isinstance(case, tuple) else (case, never) for label, case in table.items()}
    report(name, [(label, *outcome(*case)) for label, case in cases.items()])


# ------------------------------------------------------------------------------------------ wrong values of arguments

N, K = 4, 17
POINTS = RNG.uniform(0, 200, (N, K, 2))
POSES = RNG.uniform(-500, 500, (N, K, 3))
LENGTHS = np.full(N, 50.0)
MAPS = RNG.random((2, 3, 16, 12), dtype=np.float32)
IMAGE = RNG.random((3, 40, 30), dtype=np.float32)
BOXES = np.array([[2.0, 3, 20, 30], [5, 5, 15, 25]])
MATRIX = np.array([[[0.5, 0, 1], [0, 0.5, 2]]])
BONES = [(0, 1), (1, 2)]


PHOTO = np.zeros((64, 48, 3), np.uint8)


def _update(**arguments):
    return tracking.Tracker().update(**arguments)


def tensors(**arrays):
    return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}


FUNCTIONS = {
    metrics.pck: {"pred": POINTS + 1, "target": POINTS, "normalizer": LENGTHS, "threshold": 0.2},
    metrics.pckh: {"pred": POINTS + 1, "target": POINTS, "head_size": LENGTHS, "threshold": 0.5},
    metrics.pdj: {"pred": POINTS + 1, "target": POINTS, "skeleton": "coco17", "threshold": 0.2},
    metrics.torso_diameter: {"target": POINTS, "skeleton": "coco17"},
    metrics.pck_curve: {"pred": POINTS, "target": POINTS, "normalizer": LENGTHS, "thresholds": [0.1, 0.2]},
    metrics.auc: {"curve": np.ones((3, K)), "thresholds": [0.0, 0.1, 0.2]},
    metrics.rmse: {"pred": POINTS, "target": POINTS, "visible": POINTS[..., 0] > 20},
    metrics.mean_pixel_error: {"pred": POINTS, "target": POINTS},
    metrics.pcp: {"pred": POINTS, "target": POINTS, "limbs": BONES, "threshold": 0.5},
    metrics.heatmap_accuracy: {"pred": MAPS, "target": MAPS, "threshold": 0.5},
    metrics.mpjpe: {"pred": POSES, "target": POSES, "alignment": "root", "root": 0},
    metrics.pa_mpjpe: {"pred": POSES, "target": POSES + RNG.random(POSES.shape)},
    metrics.n_mpjpe: {"pred": POSES, "target": POSES, "root": 0},
    metrics.mpjve: {"pred": POSES, "target": POSES, "root": 0},
    metrics.acceleration_error: {"pred": POSES, "target": POSES},
    metrics.pck3d: {"pred": POSES, "target": POSES, "threshold": 150.0},
    metrics.auc3d: {"pred": POSES, "target": POSES},
    metrics.bone_length_error: {"pred": POSES, "target": POSES, "bones": BONES},
    metrics.limb_angle_error: {"pred": POSES, "target": POSES, "bones": BONES},
    metrics.average_by_action: {"errors": np.ones((N, K)), "actions": ["Eating", "Eating", "Walking", "Walking"]},
    metrics.oks: {"pred": POINTS, "target": POINTS, "areas": LENGTHS**2, "sigmas": "coco17"},
    metrics.oks_matrix: {"pred": POINTS, "target": POINTS, "areas": LENGTHS**2, "sigmas": "coco17"},
    metrics.oks_nms: {"keypoints": POINTS, "scores": LENGTHS, "areas": LENGTHS**2, "sigmas": "coco17"},
    geometry.tight_box: {"keypoints": POINTS[0], "visible": np.ones(K, bool)},
    geometry.box_to_crop: {"boxes": BOXES, "size": (64, 48), "padding": 1.25},
    geometry.crop_matrix: {"center": BOXES[:, :2], "extent": BOXES[:, 2:], "size": (64, 48), "rotation": 10.0},
    geometry.invert: {"matrix": MATRIX},
    geometry.compose: {"second": MATRIX, "first": MATRIX},
    geometry.transform_points: {"points": POINTS, "matrix": MATRIX},
    geometry.warp: {"images": IMAGE[None], "matrix": MATRIX, "size": (20, 15), "mode": "bilinear"},
    geometry.shrink: {"image": IMAGE[None], "factor": 2},
    geometry.crop: {"image": IMAGE, "matrix": MATRIX, "size": (20, 15)},
    geometry.letterbox: {"image": IMAGE, "size": (64, 64), "align": "center", "fill": 0.5},
    geometry.normalize_points: {"points": POINTS[0, :2], "boxes": BOXES},
    geometry.denormalize_points: {"points": POINTS[0, :2] / 200, "boxes": BOXES},
    geometry.flip_keypoints: {"keypoints": POINTS, "width": 200, "flip_index": get_skeleton("coco17").flip_index},
    geometry.procrustes: {"source": POSES, "target": POSES[::-1].copy()},
    geometry.align: {"source": POSES, "target": POSES[::-1].copy()},
    geometry.person_frame: {"keypoints": POINTS, "visible": np.ones((N, K), bool), "root": 0},
    heatmaps.encode: {"keypoints": POINTS, "size": (64, 48), "stride": 4.0, "sigma": 2.0, "method": "msra"},
    heatmaps.decode: {"heatmaps": MAPS, "stride": 4.0, "method": "quarter"},
    heatmaps.merge_people: {"heatmaps": MAPS[None]},
    heatmaps.with_background: {"heatmaps": MAPS},
    heatmaps.flip_average: {"heatmaps": MAPS, "mirrored": MAPS, "flip_index": (0, 2, 1)},
    losses.heatmap_mse: tensors(pred=MAPS, target=MAPS, weights=np.ones((2, 3))),
    losses.heatmap_sse: tensors(pred=MAPS, target=MAPS),
    losses.heatmap_cross_entropy: tensors(logits=MAPS, target=MAPS),
    losses.ohkm: {**tensors(pred=MAPS, target=MAPS), "top_k": 2},
    losses.keypoint_l2: tensors(pred=POINTS, target=POINTS + 1),
    losses.keypoint_mse: tensors(pred=POINTS, target=POINTS + 1),
    losses.keypoint_smooth_l1: {**tensors(pred=POINTS, target=POINTS + 1), "beta": 1.0},
    losses.pose_mse: tensors(pred=POSES, target=POSES),
    losses.pose_distance: tensors(pred=POSES, target=POSES + 1),
    losses.smooth_pose_mse: tensors(pred=POSES[None], target=POSES[None] + 1),
    filters.mean_filter: {"points": POINTS, "width": 3},
    filters.median_filter: {"points": POINTS, "width": 3},
    filters.gaussian_filter: {"points": POINTS, "sigma": 1.0},
    filters.one_euro_filter: {"points": POINTS, "fps": 25.0, "min_cutoff": 1.0},
    detectors.box_nms: {"boxes": BOXES, "scores": np.ones(2), "threshold": 0.5},
    convert: {"keypoints": POINTS, "source": "coco17", "target": "lsp14"},
    transforms.jitter_colour: {**tensors(images=IMAGE[None]), "strength": 0.2},
    transforms.cutout: {**tensors(images=IMAGE[None]), "count": 1, "size": 0.25},
    get_skeleton: {"skeleton": "coco17"},
    partial(Skeleton, "a", ("a", "b")): {"bones": ((0, 1),), "sigmas": (0.1, 0.1), "pairs": ((0, 1),)},
    PersonCrop: {"size": (64, 48), "padding": 1.25},
    load_image: {"image": IMAGE.transpose(1, 2, 0)},
    Weights: {"sources": ("package:a",), "sha256": "0" * 64, "size": 3, "input_size": (64, 48),
              "metrics": {}, "keypoints": (), "flip_shift": True},
    losses.euclidean: tensors(pred=MAPS, target=MAPS + 1),
    losses.bounded_correction: {**tensors(pred=POINTS, start=POINTS + 1, target=POINTS + 9), "max_step": 20.0},
    losses.pose_sequence_mse: {"stages": [torch.zeros(1, 5, 17, 3)], "target": torch.zeros(1, 5, 17, 3),
                               "stage_weights": [1.0]},
    losses.belief_loss: {"stages": [torch.zeros(1, 3, 8, 8)] * 2, "first": torch.zeros(1, 3, 8, 8),
                         "later": torch.zeros(1, 3, 8, 8)},
    losses.coarse_to_fine_sse: {"coarse": (torch.zeros(1, 3, 8, 8),) * 2, "fine": (torch.zeros(1, 3, 8, 8),) * 2},
    losses.simcc_cross_entropy: {**tensors(pred=MAPS[0], target=MAPS[0]), "columns": 5},
    codecs.encode_simcc: {"keypoints": POINTS, "size": (64, 48), "split": 2.0, "sigma": 6.0},
    codecs.decode_simcc: {"x": MAPS[0], "y": MAPS[0], "split": 2.0, "method": "argmax"},
    codecs.encode_integral: {"keypoints": POINTS, "size": (64, 48)},
    codecs.decode_integral: {"heatmaps": MAPS, "stride": 4.0, "sharpness": 1.0},
    metrics.mpii_head_size: {"headboxes": MAPS[:1, :3, :2, :2].swapaxes(0, 1)[:, 0]},
    metrics.mpii_pckh: {"pred": POINTS[:, :16], "target": POINTS[:, :16], "head_size": LENGTHS,
                        "convention": "weighted"},
    metrics.lsp_pck: {"pred": POINTS[:, :14], "target": POINTS[:, :14], "threshold": 0.2},
    metrics.lsp_pcp: {"pred": POINTS[:, :14], "target": POINTS[:, :14], "threshold": 0.5},
    metrics.flic_pck: {"pred": POINTS[:, :11], "target": POINTS[:, :11], "skeleton": "flic11"},
    metrics.labelled_mean: {"values": np.ones((N, K)), "visible": np.ones((N, K), bool)},
    metrics.counted_keypoints: {"target": POINTS, "normalizer": LENGTHS},
    metrics.oks_sigmas: {"sigmas": "coco17"},
    metrics.human36m: {"pred": POSES, "target": POSES, "protocol": "martinez-1", "actions": ["Eating"] * N,
                       "subjects": ["S9"] * N},
    metrics.rmse_total: {"pred": POINTS, "target": POINTS},
    metrics.coco_ap: {"ground_truth": {"image_id": [7], "keypoints": POINTS[:1], "area": [5000]},
                      "predictions": {"image_id": [7], "keypoints": POINTS[:1], "score": [0.9]}, "sigmas": "coco17"},
    partial(metrics.Running, threshold=0.2): {"function": metrics.pck},
    geometry.crop_boxes: {"images": IMAGE[None], "boxes": BOXES[:1], "size": (9, 9)},
    virtual_cameras: {**tensors(pose3d=POSES), "count": 2},
    add_noise: {**tensors(keypoints=POINTS), "sigma": 1.0},
    valid_chunks: {"valid": torch.ones(4, dtype=torch.bool)},
    Windows: {"videos": [{"keypoints": torch.zeros(5, 17, 2)}], "length": 3, "stride": 1, "tail": "drop"},
    tracking.Tracker: {"fps": 25.0, "max_gap": 1.0, "min_similarity": 0.3, "min_score": 0.3},
    _update: {"keypoints": POINTS[:2], "scores": np.ones((2, K)), "boxes": BOXES, "time": None},
    filters.OneEuroStream: {"fps": 25.0, "min_cutoff": 1.0, "beta": 0.1},
    bvh_text: {"pose3d": POSES, "skeleton": get_skeleton("h36m17"), "fps": 25.0},
    viz.draw_keypoints: {"image": PHOTO, "keypoints": POINTS, "skeleton": "coco17"},
    viz.draw_heatmaps: {"image": PHOTO, "heatmaps": MAPS[0], "alpha": 0.7},
    viz.heatmap_grid: {"image": PHOTO, "heatmaps": MAPS[0]},
    viz.contact_sheet: {"pictures": [PHOTO] * 2, "columns": 2},
    viz.draw_pose3d: {"pose3d": POSES[0], "skeleton": "h36m17"},
    viz.pose3d_bounds: {"poses": POSES},
    posezoo.create_transform: {"model": posezoo.create("simple_baseline_lite")},
    fetchable: {"names": ["martinez"]},
    download: {"name": "martinez.cmu"},
    facts: {"name": "martinez"},
    posezoo.model_entrypoint: {"model_name": "martinez"},
    posezoo.create: {"model_name": "martinez", "num_blocks": 1, "linear_size": 8, "dropout": 0.5},
}  # fmt: skip

JUNK = {  # never an argument
    "text": "no such thing",
    "object": object(),
    "dictionary of junk": {"x": object()},
    "complex": np.ones((4, 17, 2), complex),
    "texts": np.array(["a", "b"]),
    "objects": np.array([None, object()], object),
}
ODD = {  # perhaps an argument
    "None": None,
    "empty": np.zeros((0, 17, 2)),
    "no axis": np.float64(3),
    "five axes": np.zeros((1, 1, 1, 1, 1)),
    "other shape": RNG.random((3, 5)),
    "NaN": np.full((4, 17, 2), np.nan),
    "negative": -1,
    "huge": 10**30,
    "nan": float("nan"),
    "list": [1, "a", None],
}


def name_of(function):
    return getattr(function, "__name__", "create")


@pytest.mark.parametrize("function", FUNCTIONS, ids=name_of)
def test_wrong_arguments(function):
    valid = FUNCTIONS[function]
    function(**valid)
    outcomes = []
    for name in valid:
        for values, junk in ((JUNK, True), (ODD, False)):
            for label, value in values.items():
                kind, line = outcome(partial(function, **{**valid, name: value}), lambda _, junk=junk: not junk)
                outcomes.append((f"{name}={label}", kind, line))
    report(name_of(function), outcomes)


# --------------------------------------------------------------------------------------- mistakes that look plausible

SCORED = np.concatenate([POINTS, np.full((N, K, 1), 0.9)], axis=-1)
NAN_POINTS = np.full((1, 17, 2), np.nan)


def headless():
    model = posezoo.create("simple_baseline_lite")
    model.reset_head(0)
    return model.eval()


def quantised(model):
    return {key: (value * 10).to(torch.int8) for key, value in model.state_dict().items()}


def close(expected):
    return lambda value: np.allclose(np.asarray(value), expected)


def test_silent_numbers():
    lifter = posezoo.create("martinez", linear_size=64).eval()
    photo = np.zeros((120, 90, 3), np.uint8)
    zeros = np.zeros((5, 17, 2))
    body = np.stack([POINTS[0] * 4] * 5)
    pose = partial(posezoo.lift, model=lifter, skeleton="coco17")
    see = partial(posezoo.predict, photo, posezoo.create("simple_baseline_lite").eval())
    maps = torch.zeros(1, 17, 64, 48)
    check("silent numbers", {
        "pck of scores": lambda: metrics.pck(SCORED, SCORED, LENGTHS),
        "pdj of scores": lambda: metrics.pdj(SCORED, SCORED, "coco17"),
        "rmse of scores": lambda: metrics.rmse(SCORED, SCORED),
        "mean error of scores": lambda: metrics.mean_pixel_error(SCORED, SCORED),
        "oks of scores": lambda: metrics.oks(SCORED, SCORED, LENGTHS**2, "coco17"),
        "pdj of another skeleton": lambda: metrics.pdj(POINTS, POINTS, "lsp14"),
        "torso of another skeleton": lambda: metrics.torso_diameter(POINTS, "lsp14"),
        "pcp of another skeleton": lambda: metrics.pcp(POINTS, POINTS, "lsp14"),
        "oks of another skeleton": lambda: metrics.oks(POINTS, POINTS, LENGTHS**2, "mpii16"),
        "threshold NaN": lambda: metrics.pck(POINTS, POINTS, LENGTHS, threshold=float("nan")),
        "threshold below 0": lambda: metrics.pck(POINTS, POINTS, LENGTHS, threshold=-0.1),
        "threshold in per cent": (lambda: metrics.pck(POINTS, POINTS, LENGTHS, threshold=50), close(1)),
        "threshold of pcp": lambda: metrics.pcp(POINTS, POINTS, BONES, threshold=float("nan")),
        "threshold of pck3d": lambda: metrics.pck3d(POSES, POSES, threshold=-1),
        "thresholds of a curve": lambda: metrics.pck_curve(POINTS, POINTS, LENGTHS, [0.1, float("nan")]),
        "threshold of oks_nms": lambda: metrics.oks_nms(POINTS, LENGTHS, LENGTHS, "coco17", threshold=float("nan")),
        "no sigma": lambda: metrics.oks(POINTS, POINTS, LENGTHS, [0.0] * 17),
        "mask of another shape": lambda: metrics.rmse(POINTS, POINTS, visible=np.ones((N, 1), bool)),
        "mask of NaN": lambda: metrics.rmse(POINTS, POINTS, visible=np.full((N, K), np.nan)),
        "one person too many": lambda: metrics.rmse(POINTS, POINTS[:3]),
        "a gradient": (lambda: metrics.pck(torch.tensor(POINTS, requires_grad=True), POINTS, LENGTHS), lambda v: True),
        "3D of 2D": lambda: metrics.mpjpe(POINTS, POINTS),
        "tight box with ints": (
            lambda: geometry.tight_box(np.array([[1.0, 2], [9, 9], [50, 50]]), np.array([1, 1, 0])), close([1, 2, 9, 9])
        ),
        "tight box with flags": (
            lambda: geometry.tight_box(np.array([[1.0, 2], [9, 9], [50, 50]]), np.array([2, 1, 0])), close([1, 2, 9, 9])
        ),
        "tight box of NaN": lambda: geometry.tight_box(NAN_POINTS[0], np.ones(17, bool)),
        "box of w and h": lambda: geometry.box_to_crop(np.array([[90.0, 90, 20, 30]]), (64, 48)),
        "padding 0": lambda: geometry.box_to_crop(BOXES, (64, 48), padding=0),
        "padding NaN": lambda: geometry.box_to_crop(BOXES, (64, 48), padding=float("nan")),
        "size 0": lambda: geometry.crop_matrix(BOXES[:, :2], BOXES[:, 2:], (0, 48)),
        "extent 0": (
            lambda: geometry.crop_matrix(BOXES[:, :2], BOXES[:, 2:] * 0, (64, 48)), lambda v: not np.isfinite(v).any(),
        ),
        "matrix without inverse": lambda: geometry.invert(np.zeros((1, 2, 3))),
        "uint8 warp": lambda: geometry.warp(np.zeros((1, 3, 9, 9), np.uint8), MATRIX, (5, 5)),
        "shrink by 0": lambda: geometry.shrink(IMAGE[None], 0),
        "shrink by 1.5": lambda: geometry.shrink(IMAGE[None], 1.5),
        "letterbox of nothing": lambda: geometry.letterbox(IMAGE, (0, 10)),
        "mirror with another index": lambda: geometry.flip_keypoints(POINTS, 200, (0, 2, 1)),
        "mirror with a repeated index": lambda: geometry.flip_keypoints(POINTS, 200, [0] * 17),
        "box without area": (
            lambda: geometry.normalize_points(POINTS[0], np.zeros((K, 4))), lambda v: not np.isfinite(v).any()
        ),
        "encode sigma 0": lambda: heatmaps.encode(POINTS, size=(64, 48), sigma=0),
        "encode sigma NaN": lambda: heatmaps.encode(POINTS, size=(64, 48), sigma=float("nan")),
        "encode stride 0": lambda: heatmaps.encode(POINTS, size=(64, 48), stride=0),
        "encode stride below 0": lambda: heatmaps.encode(POINTS, size=(64, 48), stride=-4),
        "encode size of floats": lambda: heatmaps.encode(POINTS, size=(64.5, 48)),
        "encode size below 0": lambda: heatmaps.encode(POINTS, size=(-1, 48)),
        "decode stride 0": lambda: heatmaps.decode(maps, stride=0),
        "decode stride NaN": lambda: heatmaps.decode(maps, stride=float("nan")),
        "decode another method": lambda: heatmaps.decode(maps, method="argmin"),
        "decode 3 axes": lambda: heatmaps.decode(maps[0]),
        "decode nothing": lambda: heatmaps.decode(maps[..., :0]),
        "flip average of other maps": lambda: heatmaps.flip_average(MAPS, MAPS[:1], (0, 2, 1)),
        "flip average repeats": lambda: heatmaps.flip_average(MAPS, MAPS, (0, 0, 1)),
        "heatmap loss broadcasts": lambda: losses.heatmap_mse(maps, maps[:, :1]),
        "weights broadcast": lambda: losses.heatmap_mse(maps, maps, torch.ones(17)),
        "keypoint loss broadcasts": lambda: losses.keypoint_mse(torch.zeros(2, 17, 2), torch.zeros(1, 17, 2)),
        "pose loss broadcasts": lambda: losses.pose_mse(torch.zeros(2, 17, 3), torch.zeros(2, 1, 3)),
        "missing poses": (
            lambda: losses.pose_mse(torch.zeros(2, 17, 3), torch.zeros(2, 17, 3) / 0, weights=torch.zeros(2, 17)),
            lambda v: bool(v.isfinite()),
        ),
        "missing keypoints": (
            lambda: losses.keypoint_mse(torch.zeros(2, 17, 2), torch.zeros(2, 17, 2) / 0, torch.zeros(2, 17)),
            lambda v: bool(v.isfinite()),
        ),
        "top_k 0": lambda: losses.ohkm(maps, maps, top_k=0),
        "beta below 0": lambda: losses.keypoint_smooth_l1(torch.zeros(2, 17, 2), torch.ones(2, 17, 2), beta=-1),
        "filter width 0": lambda: filters.mean_filter(POINTS, 0),
        "filter width even": (lambda: filters.median_filter(POINTS, 4), lambda v: False),
        "sigma below 0": lambda: filters.gaussian_filter(POINTS, -1),
        "fps 0": lambda: filters.one_euro_filter(POINTS, 0),
        "fps NaN": lambda: filters.one_euro_filter(POINTS, float("nan")),
        "NMS above 1": (lambda: detectors.box_nms(BOXES, np.ones(2), threshold=float("nan")), lambda v: False),
        "colour strength below 0": lambda: transforms.jitter_colour(torch.zeros(1, 3, 8, 8), strength=-1),
        "cutout larger than 1": lambda: transforms.cutout(torch.zeros(1, 3, 8, 8), size=2.0),
        "crop padding 0": lambda: PersonCrop(size=(64, 48), padding=0),
        "crop size 0": lambda: PersonCrop(size=(0, 48)),
        "zeros lifted": lambda: pose(zeros),
        "one point lifted": lambda: pose(zeros + 100),
        "zeros for most of them": lambda: pose(np.where(np.arange(17)[:, None] < 3, body, 0)),
        "fractions lifted": lambda: pose(body / 2000),
        "scores in the array": lambda: pose(np.concatenate([body, body[..., :1]], axis=-1)),
        "two people": lambda: pose(np.stack([body, body])),
        "infinity lifted": lambda: pose(body * np.inf),
        "nothing above min_score": lambda: pose(body, scores=np.zeros((5, 17))),
        "min_score NaN": lambda: pose(body, scores=np.ones((5, 17)), min_score=float("nan")),
        "another skeleton": lambda: pose(body, skeleton="mpii16"),
        "images lifted": lambda: pose(photo),
        "batch of 0": lambda: pose(body, batch_size=0),
        "no head": lambda: posezoo.predict(photo, headless()),
        "no head, model.predict": lambda: headless().predict(torch.zeros(1, 3, 192, 192)),
        "no head, decode": lambda: headless().decode(torch.zeros(1, 0, 48, 48)),
        "features": lambda: posezoo.predict(photo, posezoo.create("simple_baseline_lite", features_only=True).eval()),
        "a lifter for images": lambda: posezoo.predict(photo, lifter),
        "boxes of fractions": lambda: see(boxes=[[0.1, 0.1, 0.9, 0.9]]),
        "boxes outside": lambda: see(boxes=[[900, 900, 950, 950]]),
        "boxes of NaN": lambda: see(boxes=[[float("nan"), 0, 9, 9]]),
        "boxes of w and h": lambda: see(boxes=[[60, 60, 20, 50]]),
        "one flat box": lambda: see(boxes=[0, 0, 50, 50]),
        "box of a lake": lambda: see(boxes=[[0, 0, 1e30, 1e30]]),
        "boxes of texts": lambda: see(boxes=[["a", "b", "c", "d"]]),
        "boxes and detector": lambda: see(boxes=[[0, 0, 50, 50]], detector=lambda images: []),
        "detector of too few": lambda: see(detector=lambda images: []),
        "detector of None": lambda: see(detector=lambda images: None),
        "detector of numbers": lambda: see(detector=lambda images: [1 for _ in images]),
        "detector that fails": lambda: see(detector=3),
        "detector of dictionaries": lambda: see(detector=lambda images: [{"boxes": 1, "scores": 2} for _ in images]),
        "batch_size 0": lambda: see(batch_size=0),
        "batch_size text": lambda: see(batch_size="many"),
        "precision": lambda: see(precision="fp8"),
        "device": lambda: see(device="toaster"),
        "integer weights": lambda: load_state_dict(lifter, quantised(lifter)),
        "NaN weights": lambda: load_state_dict(lifter, {k: v / 0 for k, v in lifter.state_dict().items()}),
        "weights of texts": lambda: load_state_dict(lifter, {"a": "b"}),
        "meta device": lambda: load_state_dict(
            posezoo.create("martinez", linear_size=64).to("meta"), lifter.state_dict()
        ),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------------- networks by names


@pytest.mark.slow
def test_constructors():
    """Arguments that cannot be meant, as a config.json or a typing mistake has them."""
    wrong = [-1, 0, "x", None, 1.5, [], True, float("nan"), {"a": 1}, 10**12]
    names = (
        "martinez",
        "seq2seq3d",
        "temporal_conv_27",
        "simple_baseline_lite",
        "hourglass_1",
        "deeppose",
        "posernn_cnn",
    )
    outcomes = []
    for name in names:
        function = posezoo.model_entrypoint(name)
        kinds = {"num_keypoints", "linear_size", "hidden_size", "channels", "filter_widths", "width", "num_stages",
                 "num_stacks", "dropout", "decoding", "skeleton", "input_keypoints", "num_blocks"}  # fmt: skip
        for argument in sorted(kinds & set(arguments_of(function) or ())):
            for value in wrong:
                # on the meta device, since this is about errors, not about values
                with torch.device("meta"):
                    kind, line = outcome(partial(posezoo.create, name, **{argument: value}))
                outcomes.append((f"{name}({argument}={value!r})", kind, line))
    report("constructors", outcomes)


def test_numbers_that_would_fill_the_memory():
    for arguments in ({"num_blocks": 10**30}, {"num_blocks": 10**9}, {"linear_size": 10**6}):
        with pytest.raises(ValueError, match="expected numbers up to 100,000"):
            posezoo.create("martinez", **arguments)
    with pytest.raises(ValueError, match=r"filter_widths: expected numbers up to"):
        posezoo.create("temporal_conv_27", filter_widths=(3, 10**12, 3))


def test_names():
    names = [
        *("", " ", "hrnet", "hrnet_w32.", ".x", "hrnet_w32.nothing", "../hrnet_w32", "os.system", "a" * 5000, "\0"),
        *("hf-hub:", "hf-hub:a", "hf-hub:a/b@", "local-dir:", "local-dir:/no/such", "http://x.org/a", "日本", "*"),
        *("\x1b[2J", "C:\\models", "hrnet_w32:coco"),
    ]
    table = {f"create({name!r:.30})": partial(posezoo.create, name, pretrained=True) for name in names}
    table |= {f"create({value!r})": partial(posezoo.create, value) for value in (None, 3, [], {}, b"x", Path("a"))}
    table |= {f"from_pretrained({name!r:.30})": partial(posezoo.from_pretrained, name) for name in names}
    table |= {f"load_detector({name!r:.30})": partial(detectors.load_detector, name) for name in names}
    check("names", table)


# -------------------------------------------------------------------------------------------------------------- images


def image_files(folder):
    image = Image.fromarray(RNG.integers(0, 255, (20, 30, 3), np.uint8))
    image.save(folder / "whole.png")
    image.save(folder / "whole.jpg")
    whole = (folder / "whole.png").read_bytes()
    chunk = b"IHDR" + struct.pack(">II", 60000, 60000) + whole[24:29]  # width and height
    content = {
        "empty.png": b"",
        "text.jpg": b"this is no image" * 9,
        "page.jpg": b"<!DOCTYPE html><html>Log in</html>",
        "lfs.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "half.png": whole[: len(whole) // 2],
        "half.jpg": (folder / "whole.jpg").read_bytes()[:300],
        "bomb.png": whole[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:],
        "huge.bmp": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
        "zero.gif": b"GIF89a" + bytes(7) + b";",
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    Image.fromarray(np.full((9, 9), 70000, np.int32)).save(folder / "wide.tif")
    Image.fromarray(np.full((9, 9), 200.0, np.float32)).save(folder / "floats.tif")
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(folder / "nan.tif")
    return [*content, "wide.tif", "floats.tif", "nan.tif", "missing.png", "."]


def test_images(tmp_path):
    table = {}
    for name in image_files(tmp_path):
        table |= {
            f"{load.__name__}({name!r})": partial(load, tmp_path / name) for load in (load_image, load_image_uint8)
        }
    table["address"] = partial(load_image, "https://example.org/photo.jpg")
    arrays = {
        "0 to 255": np.full((9, 9, 3), 200.0),
        "normalised": RNG.normal(size=(9, 9, 3)),
        "NaN": np.full((9, 9, 3), np.nan),
        "int64": np.zeros((9, 9, 3), np.int64),
        "bool": np.zeros((9, 9, 3), bool),
        "complex": np.zeros((9, 9, 3), complex),
        "texts": np.full((9, 9, 3), "a"),
        "channels first": np.zeros((3, 9, 9)),
        "two channels": np.zeros((9, 9, 2)),
        "a batch": np.zeros((1, 9, 9, 3)),
        "no rows": np.zeros((0, 9, 3)),
        "a tensor with channels last": torch.zeros(9, 9, 3),
        "an int tensor": torch.zeros(3, 9, 9, dtype=torch.int32),
        "a list": [[1, 2], [3, 4]],
        "bytes": b"abc",
        "None": None,
        "a dictionary": {},
    }
    table |= {label: partial(load_image, array) for label, array in arrays.items()}
    table["16 bits"] = (partial(load_image, np.full((9, 9), 65535, np.uint16)), lambda image: bool((image == 1).all()))
    check("images", table)
    for name, advice in {"page.jpg": "web page", "lfs.jpg": "git lfs pull", "bomb.png": "MAX_IMAGE_PIXELS",
                         "wide.tif": "32-bit", "floats.tif": "32-bit"}.items():  # fmt: skip
        with pytest.raises(ValueError, match=advice):
            load_image(tmp_path / name)
    with pytest.raises(ValueError, match="not downloaded"):
        load_image("https://example.org/photo.jpg")


# ------------------------------------------------------------------------------------------------- weights and configs


class TinyNet(PoseModel):
    """A network whose size is its arguments'."""

    head_keys = ("final_layer",)
    stride = 1.0
    decoding = "quarter"

    def __init__(self, *, width=4, depth=1, num_keypoints=3, skeleton=None):
        super().__init__()
        self.normalize = Normalize()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(depth)))
        self.final_layer = torch.nn.Linear(width, num_keypoints)
        self.set_keypoints(num_keypoints, skeleton)
        self.input_size = (64, 48)


@pytest.fixture
def tiny_folder(tmp_path):
    def tiny_net_of_bad_inputs(**kwargs) -> TinyNet:
        return TinyNet(**kwargs)

    posezoo.list_models()  # registers ours
    before = dict(posezoo.registry._REGISTRY)
    posezoo.register_model(tiny_net_of_bad_inputs)
    yield posezoo.create("tiny_net_of_bad_inputs").save_pretrained(tmp_path / "saved")
    posezoo.registry._REGISTRY.clear()
    posezoo.registry._REGISTRY.update(before)


WRONG = (None, "x", -1, 1e400, float("nan"), [], {}, [[]], True, 10**30, "\x1b[2J", [1, 2, 3], {"x": 1}, 200_000)


@pytest.mark.slow
def test_configs(tiny_folder):
    """Every value of config.json is replaced by three wrong ones."""
    file = tiny_folder / "config.json"
    config = json.loads(file.read_text())
    config["kwargs"] |= {"width": 4, "depth": 1}
    random = Random(0)
    outcomes = []
    for path in places(config):
        for value in random.sample(WRONG, 3):
            file.write_text(json.dumps(changed(config, path, value)))
            outcomes.append((f"{path} = {value!r}", *outcome(partial(posezoo.from_pretrained, tiny_folder))))
    for text in ("", "{", "[" * 100_000, '{"format": ' + "9" * 6000 + "}", "\x1b[2J", "null", "[]", "\ufeff{}"):
        file.write_text(text)
        outcomes.append((f"{text!r:.20}", *outcome(partial(read_config, tiny_folder), lambda value: False)))
    report("configs", outcomes)


def test_a_config_cannot_ask_for_more_than_the_weights_hold(tiny_folder):
    file = tiny_folder / "config.json"
    config = json.loads(file.read_text())
    for kwargs in ({"width": 20_000}, {"width": 300_000}, {"depth": 10**9}, {"num_keypoints": 10**9}):
        file.write_text(json.dumps(config | {"kwargs": kwargs}))
        with pytest.raises(ValueError, match=r"the two do not belong together|expected numbers up to"):
            posezoo.from_pretrained(tiny_folder)


def checkpoint_files(folder, state):
    def save(name, content):
        torch.save(content, folder / name)

    big = {"a": torch.zeros(1).expand(10**9)}
    save("numbers.pth", {"a": 1, "b": [2]})
    save("list.pth", [torch.zeros(2)])
    save("nothing.pth", {})
    save("keys.pth", {1: torch.zeros(2)})
    save("optimizer.pth", {"state": {0: {"exp_avg": torch.zeros(2)}}})
    save("two.pth", {"generator": {"a": torch.zeros(2)}, "critic": {"a": torch.zeros(2)}})
    save("others.pth", {"conv.weight": torch.zeros(2)})
    save("escape.pth", {"\x1b[2J" * 500: torch.zeros(2)})
    save("expanded.pth", {"state_dict": big})
    save("deep.pth", {"a": {"a": {"a": {"a": {"a": {"a": {"b": 1}}}}}}})
    save("nan.pth", {key: value * float("nan") for key, value in state.items()})
    save("int8.pth", {key: value.to(torch.int8) for key, value in state.items()})
    torch.save(torch.nn.Linear(2, 2), folder / "module.pth")
    whole = (folder / "others.pth").read_bytes()
    content = {
        "empty.pth": b"",
        "page.pth": b"<!doctype html><title>Sign in</title>",
        "lfs.safetensors": b"version https://git-lfs.github.com/spec/v1",
        "page.caffemodel": b"\n <html></html>",
        "lfs.t7": b"version https://git-lfs.github.com/spec/v1",
        "text.pth": b"hello" * 10,
        "half.pth": whole[: len(whole) // 2],
        "half.safetensors": struct.pack("<Q", 500) + b'{"a":',
        "header.safetensors": struct.pack("<Q", 2**62) + b"{}",
        "claims.safetensors": struct.pack("<Q", 70)
        + b'{"a":{"dtype":"F32","shape":[1000000000,1000],"data_offsets":[0,4]}}  ',
        "dimensions.caffemodel": caffe_with_dimensions(200_000),
        "loop.t7": struct.pack("<ii", 3, 1) + struct.pack("<i", 2**31 - 1),
        "numbers.t7": struct.pack("<id", 1, 2.0),
        "a.index": b"nothing of TensorFlow" * 9,
        "pickle.pth": b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00echoq\x01\x85q\x02Rq\x03.",
        "a.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return [*content, *(path.name for path in folder.glob("*.pth")), "missing.pth", "."]


def caffe_with_dimensions(count):
    def field(number, content):
        size, length = b"", len(content)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + content

    shape = field(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * count)
    layer = field(1, b"conv") + field(7, field(7, shape))
    size, length = b"", len(layer)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return b"\xa2\x06" + size + bytes([length]) + layer


def test_checkpoints(tmp_path):
    model = posezoo.create("martinez", linear_size=64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = {}
    for name in dict.fromkeys(checkpoint_files(tmp_path, model.state_dict())):
        path = tmp_path / name
        table[f"into a model {name}"] = partial(posezoo.load_checkpoint, model, path)
        table[f"alone {name}"] = partial(posezoo.load_checkpoint, None, path)
        if path.suffix in (".pth", ".safetensors") and name not in ("others.pth", "escape.pth", "nan.pth", "int8.pth"):
            accept = (lambda value: True,) if name == "expanded.pth" else ()
            table[f"read {name}"] = (
                (partial(read_state_dict, path), *accept) if accept else partial(read_state_dict, path)
            )
        table[f"convert {name}"] = partial(posezoo.convert.convert_file, path, tmp_path / "out")
    check("checkpoints", table)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not (tmp_path / "out").exists()
    for name, advice in {
        "page.pth": "web page",
        "lfs.safetensors": "git lfs pull",
        "page.caffemodel": "web page",
    }.items():
        with pytest.raises(ValueError, match=advice):
            posezoo.load_checkpoint(None, tmp_path / name)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_single_bytes_of_weights(tmp_path, kind):
    """Sixty damaged files: none is half loaded, and no other numbers are read where there are checksums."""
    from safetensors.torch import save_file

    layer = torch.nn.Linear(3, 2)
    own, path = layer.state_dict(), tmp_path / f"a.{kind}"

    def loaded(state):
        load_state_dict(torch.nn.Linear(3, 2), state)
        return state

    torch.save(layer.state_dict(), path) if kind == "pth" else save_file(layer.state_dict(), path)
    whole = path.read_bytes()
    outcomes = []
    for at in np.linspace(0, len(whole) - 1, 60).astype(int).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        same = lambda state: kind != "pth" or all(torch.equal(state[key], value) for key, value in own.items())  # noqa: E731
        outcomes.append((f"byte {at}", *outcome(lambda: loaded(read_state_dict(path)), same)))
    report(f"bytes of .{kind}", outcomes)


def test_sources(tmp_path):
    sources = (
        *("package:../../etc", "package:no", "local-dir:" + "a" * 200, "local-dir:/no/such", "hf-hub:../x"),
        *("hf-hub:a/b/../c", "https://", "https://[", "file:///etc/passwd", "ftp://a/b", "https://127.0.0.1:1/a"),
        "https://a:99999/b",
    )
    table = {
        source[:40]: lambda source=source: find(Weights(sources=(source,), sha256="0" * 64), tmp_path)
        for source in sources
    }
    check("sources", table)


# ------------------------------------------------------------------------------------ files and commands of three users

PARTS = ("snout", "leftear", "rightear", "tail")


def deeplabcut(path, parts, points, separator=","):
    columns = [(part, coordinate) for part in parts for coordinate in "xy"]
    rows = [["scorer", *["DLC"] * len(columns)], ["bodyparts", *(c[0] for c in columns)],
            ["coords", *(c[1] for c in columns)]]  # fmt: skip
    rows += [[str(frame), *map(str, values.ravel())] for frame, values in enumerate(points)]
    path.write_text("\n".join(separator.join(row) for row in rows))
    return path


def openpose(folder, names):
    folder.mkdir(parents=True)
    for frame, name in enumerate(names):
        person = np.c_[POINTS[0, :17] + frame, np.ones(17)][[*range(17), 0]]
        (folder / name).write_text(json.dumps({"people": [{"pose_keypoints_2d": person.ravel().tolist()}]}))
    return folder


def command(*arguments):
    """Run the command line: its message is an error of ours, anything else its exit status."""

    def run():
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as error:  # argparse's
                code = error.code
        text = err.getvalue()
        if code == 2 and ("posezoo: " in text or "error: " in text) and "Traceback" not in text:
            check_number("its message", text)  # a ValueError of ours
        return code

    return run


def test_a_biologist(tmp_path):
    points = RNG.uniform(50, 300, (9, 4, 2))
    right = deeplabcut(tmp_path / "right.csv", PARTS, points)
    order = [3, 1, 0, 2]
    turned = deeplabcut(tmp_path / "turned.csv", [PARTS[i] for i in order], points[:, order] + 3)
    renamed = deeplabcut(tmp_path / "renamed.csv", ("nose", "left_ear", "right_ear", "tail"), points)
    few = deeplabcut(tmp_path / "few.csv", PARTS, points[:3])
    excel = deeplabcut(tmp_path / "excel.csv", PARTS, points, ";")
    (tmp_path / "plain.csv").write_text("frame,x,y\n1,2,3\n")
    (tmp_path / "empty.csv").write_text("")
    score = partial(evaluate_files, ground_truth=right, metric="rmse")
    check("a biologist", {
        "another order": (lambda: score(turned).values["total"], close(18**0.5)),
        "other names": lambda: score(renamed),
        "fewer frames": lambda: score(few),
        "semicolons": lambda: score(excel),
        "no DeepLabCut": lambda: score(tmp_path / "plain.csv"),
        "nothing": lambda: score(tmp_path / "empty.csv"),
        "a folder": lambda: score(tmp_path),
        "a threshold of rmse": lambda: score(turned, threshold=0.5),
        "sigmas of rmse": lambda: score(turned, sigmas=[0.1] * 4),
        "another skeleton": lambda: score(turned, skeleton="coco17"),
        "pck without a length": lambda: score(turned, metric="pck"),
        "a table": lambda: score(turned, metric="coco-ap"),
        "in 3D": lambda: score(turned, metric="mpjpe"),
        "protocol": command("evaluate", turned, "--gt", right, "--protocol", "martinez-1"),
        "protocol and skeleton": command("evaluate", turned, "--gt", right, "--protocol", "martinez-1",
                                         "--threshold", "1"),
        "lift a mouse": command("lift", right, "--json", tmp_path / "a.json"),
        "no such skeleton": lambda: posezoo.create("simple_baseline_lite", skeleton="mouse4"),
        "skeleton of numbers": lambda: posezoo.create("simple_baseline_lite", skeleton=[1, 2]),
        "one side": lambda: posezoo.register_skeleton("one side", ["snout", "leftear"]),
        "a registered name": lambda: posezoo.register_skeleton("coco17", ["snout"]),
        "no name": lambda: posezoo.register_skeleton("", ["snout"]),
        "repeated names": lambda: posezoo.register_skeleton("twice", ["snout", "snout"]),
        "bones of names": lambda: posezoo.register_skeleton("names", ["a", "b"], bones=[("a", "b")]),
        "bones outside": lambda: posezoo.register_skeleton("outside", ["a", "b"], bones=[(0, 2)]),
        "sigmas of text": lambda: posezoo.register_skeleton("text", ["a", "b"], sigmas=["x", "y"]),
        "pairs of one": lambda: posezoo.register_skeleton("pairs", ["a", "b"], pairs=[(0,)]),
    })  # fmt: skip
    with pytest.raises(ValueError, match="separated by semicolons"):
        score(excel)


def test_a_sports_lab(tmp_path):
    two = openpose(tmp_path / "two", [f"cam{c}_{t:012d}_keypoints.json" for c in (1, 2) for t in range(5)])
    one = openpose(tmp_path / "one" / "cam1", [f"cam1_{t:012d}_keypoints.json" for t in range(5)])
    nobody = tmp_path / "nobody"
    nobody.mkdir()
    (nobody / "a_000_keypoints.json").write_text('{"people": []}')
    (tmp_path / "a.c3d").write_bytes(b"\x02P")
    with pytest.warns(UserWarning, match="count more than once, as those of several cameras"):
        read_keypoints(two)
    inside = {"people": [{"pose_keypoints_2d": [1.0, 2.0]}]}
    (tmp_path / "short.json").write_text(json.dumps(inside))
    out = ("--json", tmp_path / "out.json")
    check("a sports lab", {
        "folders of cameras": command("lift", tmp_path / "one", *out),
        "nobody": command("lift", nobody, *out),
        "markers": command("lift", tmp_path / "a.c3d", *out),
        "too few numbers": command("lift", tmp_path / "short.json", *out),
        "another skeleton": command("lift", one, "--skeleton", "coco17", *out),
        "no such skeleton": command("lift", one, "--skeleton", "body", *out),
        "fps": command("lift", one, "--fps", "0", *out),
        "fps NaN": command("lift", one, "--fps", "nan", *out),
        "score": command("lift", one, "--min-score", "nan", *out),
        "nothing above the score": command("lift", one, "--min-score", "2", *out),
        "a box for keypoints": command("lift", one, "--box", "0", "0", "9", "9", *out),
        "a detector for keypoints": command("lift", one, "--detector", "a.onnx", *out),
        "an image network": command("lift", one, "--model", "hrnet_w32", *out),
        "no such network": command("lift", one, "--model", "martinez_x", *out),
        "size": command("lift", one, "--size", "0", "0", *out),
        "batches": command("lift", one, "--batch-size", "0", *out),
        "device": command("lift", one, "--device", "toaster", *out),
        "its own input": command("lift", one, "--json", next(one.iterdir())),
        "into a file": command("lift", one, "--out", tmp_path / "a.c3d"),
        "no formats": command("lift", one, "--out", tmp_path / "new", "--formats", "c3d"),
        "missing": command("lift", tmp_path / "missing", *out),
        "frames missing": command("lift", tmp_path / "*.png", *out),
        "several videos": lambda: posezoo.lift(np.zeros((2, 5, 17, 2)), skeleton="coco17"),
        "bvh without a tree": lambda: bvh_text(POSES[:, :2], Skeleton("two", ("a", "b")), fps=25),
        "bvh of NaN": lambda: bvh_text(POSES * np.nan, get_skeleton("h36m17"), fps=25),
        "bvh at 0 fps": lambda: bvh_text(POSES, get_skeleton("h36m17"), fps=0),
        "a tracker back in time": lambda: [t.update(POINTS[:2], np.ones((2, K)), BOXES, time=s)
                                           for t in [tracking.Tracker()] for s in (1, 0)],
        "a tracker of NaN": lambda: tracking.Tracker(min_score=float("nan")),
        "boxes without area": lambda: tracking.Tracker().update(POINTS[:1], np.ones((1, K)), [[5, 5, 5, 5]]),
        "no video": lambda: video.read_video(tmp_path / "missing.mp4"),
        "no video inside": lambda: video.read_video(tmp_path / "short.json"),
        "video of nothing": lambda: video.write_video(tmp_path / "a.mp4", [], 25),
        "video of two sizes": lambda: video.write_video(tmp_path / "a.mp4", [PHOTO, PHOTO[:32]], 25),
        "video at 0 fps": lambda: video.write_video(tmp_path / "a.mp4", [PHOTO], 0),
        "a text of a video": lambda: video.write_video(tmp_path / "a.txt", [PHOTO], 25),
        "frames that are none": lambda: video.write_video(tmp_path / "a.mp4", ["a"], 25),
        "a picture as pictures": lambda: viz.save_gif(tmp_path / "a.gif", 3),
        "pictures of two sizes": lambda: viz.save_gif(tmp_path / "a.gif", [PHOTO, PHOTO[:32]]),
        "cameras": lambda: virtual_cameras(torch.zeros(0, 17, 3), 2),
        "no camera": lambda: virtual_cameras(torch.from_numpy(POSES), 0),
    })  # fmt: skip
    assert not (tmp_path / "out.json").exists()


def test_an_engineer(tmp_path):
    model = posezoo.create("simple_baseline_lite").eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}

    def loads(content, into=None):
        torch.save(content, tmp_path / "a.ckpt")
        return posezoo.load_checkpoint(into, tmp_path / "a.ckpt")

    def equal(other):
        return all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())

    twice = {**state, **{key.replace("model", "teacher", 1): value for key, value in state.items()}}
    small, meta = posezoo.create("martinez", linear_size=8), posezoo.create("martinez", linear_size=8).to("meta")
    (tmp_path / "photo.png").write_bytes(b"none")
    see = partial(posezoo.predict, PHOTO, model)

    def writes(images):
        images[0].zero_().add_(0.5)
        return [([[0, 0, 40, 50]], [1.0])]

    check("an engineer", {
        "a loss beside the network": (lambda: loads({"state_dict": state | {"loss.weight": torch.ones(17)}}), equal),
        "a metric in a model": (lambda: loads({"state_dict": state | {"total": torch.ones(())}}, model), equal),
        "two networks": lambda: loads({"state_dict": twice}),
        "half of a network": lambda: loads({"state_dict": dict(list(state.items())[:9])}),
        "an optimiser": lambda: loads({"optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}]}),
        "a network and another": lambda: loads({"state_dict": state | {"critic.weight": torch.ones(10**6)}}),
        "convert": command("convert", tmp_path / "a.ckpt", "--out", tmp_path / "out"),
        "convert a folder": command("convert", tmp_path),
        "convert nothing": command("convert", tmp_path / "missing.ckpt"),
        "convert into a full folder": command("convert", tmp_path / "a.ckpt", "--out", tmp_path),
        "a video among images": lambda: posezoo.predict([PHOTO, "clip.mp4"], model),
        "a number of images": lambda: list(posezoo.prediction.predict_stream(3, model)),
        "a network without memory": lambda: posezoo.predict(PHOTO, posezoo.create("simple_baseline_lite").to("meta")),
        "the meta device": lambda: see(device="meta"),
        "lifting without memory": lambda: posezoo.lift(POINTS, meta, skeleton="coco17"),
        "saving without memory": lambda: posezoo.save_pretrained(meta, tmp_path / "meta"),
        "export without memory": lambda: posezoo.export.to_pt2(meta, tmp_path / "a.pt2"),
        "export of none": lambda: posezoo.export.to_pt2(small, tmp_path / "a.pt2", batch=0),
        "export of no frames": lambda: posezoo.export.to_pt2(small, tmp_path / "a.pt2", frames=1.5),
        "a detector that writes": lambda: see(detector=writes),
        "a detector's device": lambda: detectors.TransformersDetector(model, device="toaster"),
        "head of too many": lambda: small.reset_head(10**9),
        "head of none": lambda: small.reset_head(-1),
        "head of other names": lambda: small.reset_head(3, "coco17"),
        "network of nothing": lambda: posezoo.create("martinez", linear_size=0),
        "blocks below 0": lambda: posezoo.create("martinez", num_blocks=-1),
        "dropout NaN": lambda: posezoo.create("martinez", dropout=float("nan")),
        "a text for a flag": lambda: posezoo.create("martinez", max_norm="no"),
        "width 0": lambda: posezoo.create("hrnet_w18", width=0),
        "no function": lambda: posezoo.register_model(3),
        "no name": lambda: posezoo.register_model(partial(print)),
        "no weights": lambda: posezoo.register_model(weights=[1])(_update),
        "no record": lambda: posezoo.register_model(weights={"a": 3})(_update),
        "a transform of a lifter": lambda: posezoo.create_transform(small),
        "windows of 2.5": lambda: Windows([{"keypoints": torch.zeros(5, 17, 2)}], length=2.5),
        "windows of arrays": lambda: Windows([{"keypoints": np.zeros((5, 17, 2))}], length=2),
        "no weights to mirror": command("mirror", tmp_path / "mirror", "nobody"),
        "a wildcard of nothing": command("download", "hrnet*.nothing"),
        "info": command("info", "martinez.nobody"),
        "list": command("list", "["),
        "no metric": command("evaluate", "a", "--gt", "b", "--metric", "nothing"),
        "no protocol": command("evaluate", "a", "--gt", "b", "--protocol", "nothing"),
        "no command": command("frobnicate"),
        "no image": command("predict", tmp_path / "photo.png", "--json", tmp_path / "a.json"),
        "scales": command("predict", tmp_path / "photo.png", "--scales", "0", "--json", tmp_path / "a.json"),
        "an export without a format": command("export", "martinez", "--out", tmp_path / "a.txt"),
        "shell": command("completion", "tcsh"),
    })  # fmt: skip
    assert small.num_keypoints == 17
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.json", "photo.png"]
