"""PCK, PCKh, PDJ: against plain loops over the definitions, and on predictions whose scores were published."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from reference import pck as reference

from posezoo.metrics import labelled_mean, pck, pckh, pdj, torso_diameter
from posezoo.skeletons import get_skeleton

LEFT_SHOULDER, RIGHT_HIP = 9, 2  # of LSP-14
PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "published_predictions"

published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published predictions may not be redistributed; expected in " + str(PUBLISHED)
)


def people(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random LSP-14 people: predictions, some far off or not finite, annotations, and which of them exist."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 200, (count, 14, 2))
    pred = target + rng.normal(0, 1, target.shape) * rng.uniform(1, 40, (count, 14, 1))
    pred[rng.random((count, 14)) < 0.05] = np.nan
    pred[rng.random((count, 14)) < 0.02] = np.inf
    visible = rng.random((count, 14)) < 0.8
    visible[:, 5] = False  # a keypoint that nobody has
    target[3, LEFT_SHOULDER] = target[3, RIGHT_HIP]
    return pred, target, visible


def ratio(counts: tuple[list[int], list[int]]) -> list[float]:
    return [hit / all_ if all_ else math.nan for hit, all_ in zip(*counts, strict=True)]


# ------------------------------------------------------------------------------------------------ against the loops


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pck_against_loops(seed, strict, threshold):
    pred, target, visible = people(seed)
    lengths = np.random.default_rng(seed).uniform(20, 100, len(pred))
    lengths[::7] = np.nan
    known = [None if math.isnan(length) else length for length in lengths.tolist()]
    counts = reference.pck(pred.tolist(), target.tolist(), known, visible.tolist(), threshold, strict)
    result = pck(pred, target, lengths, visible=visible, threshold=threshold, strict=strict)
    assert_allclose(result, ratio(counts), rtol=1e-15)
    assert math.isnan(result[5])
    measured = visible & ~np.isnan(lengths)[:, None]
    assert labelled_mean(result, measured) == pytest.approx(sum(counts[0]) / sum(counts[1]), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pdj_against_loops(seed):
    pred, target, visible = people(seed)
    lengths = reference.torso(target.tolist(), visible.tolist(), LEFT_SHOULDER, RIGHT_HIP)
    assert 10 < sum(length is None for length in lengths) < 50
    measured = torso_diameter(target, "lsp14", visible=visible)
    assert_allclose(measured, [math.nan if length is None else length for length in lengths], rtol=1e-12)
    for threshold in (0.1, 0.2):
        counts = reference.pck(pred.tolist(), target.tolist(), lengths, visible.tolist(), threshold)
        assert_allclose(pdj(pred, target, "lsp14", visible=visible, threshold=threshold), ratio(counts), rtol=1e-12)


def test_pckh_against_loops():
    pred, target, visible = people(5)
    corners = np.random.default_rng(5).uniform(0, 60, (len(pred), 2, 2))
    sizes = [reference.head_size(*two) for two in corners.tolist()]
    counts = reference.pck(pred.tolist(), target.tolist(), sizes, visible.tolist(), 0.5)
    ours = 0.6 * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    assert_allclose(pckh(pred, target, ours, visible=visible), ratio(counts), rtol=1e-12)


# --------------------------------------------------------------------------------------------------------- the rules


def test_the_boundary_counts_unless_strict():
    target = np.zeros((1, 3, 2))
    pred = np.array([[[3.0, 4.0], [0.0, 4.999], [0.0, 5.001]]])
    assert pck(pred, target, np.array([10.0]), threshold=0.5).tolist() == [1, 1, 0]
    assert pck(pred, target, np.array([10.0]), threshold=0.5, strict=True).tolist() == [0, 1, 0]
    assert pckh(pred, target, np.array([10.0])).tolist() == [1, 1, 0]
    assert pckh(pred, target, np.array([10.0]), strict=True).tolist() == [0, 1, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_misses(value):
    pred = np.zeros((2, 2, 2))
    pred[0, 0, 0] = value
    assert pck(pred, np.zeros((2, 2, 2)), np.ones(2)).tolist() == [0.5, 1]


def test_people_without_a_torso_do_not_count():
    target = np.zeros((3, 14, 2))
    target[:, RIGHT_HIP] = (0, 100)
    visible = np.ones((3, 14), bool)
    visible[1, LEFT_SHOULDER] = False
    target[2, RIGHT_HIP] = 0
    pred = target + np.array([0, 500, 500])[:, None, None]  # the two without a torso are wrong
    assert_allclose(torso_diameter(target, "lsp14", visible=visible), [100, math.nan, math.nan])
    assert pdj(pred, target, "lsp14", visible=visible).tolist() == [1] * 14
    nobody = pdj(pred[1:], target[1:], "lsp14", visible=visible[1:])
    assert np.isnan(nobody).all()


def test_what_is_not_annotated_may_hold_anything():
    target = np.zeros((2, 2, 2))
    target[0, 1] = np.nan
    visible = np.array([[True, False], [True, True]])
    assert pck(np.zeros((2, 2, 2)), target, np.ones(2), visible=visible).tolist() == [1, 1]
    with pytest.raises(ValueError, match="keypoint 1 of person 0 is NaN; mark missing ones in `visible`"):
        pck(np.zeros((2, 2, 2)), target, np.ones(2))


def test_labelled_mean_weighs_by_annotations():
    visible = np.array([[True, True, False], [True, False, False], [True, False, False]])
    assert labelled_mean(np.array([1.0, 0.0, np.nan]), visible) == 0.75
    assert labelled_mean(torch.tensor([1.0, 0.0, torch.nan]), torch.from_numpy(visible)) == 0.75


# ------------------------------------------------------------------------------------------------------------- kinds


def test_numpy_and_torch_give_the_same():
    pred, target, visible = people(1)
    numpy_result = pdj(pred, target, "lsp14", visible=visible)
    torch_result = pdj(*map(torch.from_numpy, (pred, target)), get_skeleton("lsp14"), visible=torch.from_numpy(visible))
    assert isinstance(numpy_result, np.ndarray)
    assert isinstance(torch_result, torch.Tensor)
    assert_allclose(torch_result.numpy(), numpy_result, rtol=0)
    single = pdj(*(torch.from_numpy(a).float() for a in (pred, target)), "lsp14", visible=torch.from_numpy(visible))
    assert_allclose(single.numpy(), numpy_result, atol=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32])
def test_whole_pixels_of_any_type(dtype):  # as released prediction files have them; unsigned ones must not wrap around
    rng = np.random.default_rng(0)
    target, pred = rng.integers(0, 255, (2, 20, 14, 2))
    expected = pdj(pred.astype(float), target.astype(float), "lsp14", threshold=0.5)
    assert 0.05 < expected.mean() < 0.95
    assert_allclose(pdj(pred.astype(dtype), target.astype(dtype), "lsp14", threshold=0.5), expected)


def test_views_of_arrays_that_torch_would_refuse():
    pred, target, _ = people(2)
    reordered = [np.ascontiguousarray(array[:, ::-1]) for array in (pred, target)]
    lengths = np.broadcast_to(np.float64(50), len(pred))  # read-only
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pck(pred[:, ::-1], target[:, ::-1], lengths)
    assert_allclose(result, pck(*reordered, np.full(len(pred), 50.0)))


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pred": np.zeros((2, 3, 2))}, r"one shape \(N, K, 2\), got \(2, 3, 2\) and \(2, 4, 2\)"),
        ({"pred": np.zeros((4, 2)), "target": np.zeros((4, 2))}, r"got \(4, 2\) and \(4, 2\)"),
        ({"normalizer": np.ones(3)}, r"one length per person, \(2,\), got \(3,\)"),
        ({"normalizer": np.ones((2, 1))}, r"got \(2, 1\)"),
        ({"normalizer": np.array([3.0, 0.0])}, "person 1 has length 0.0; expected pixels above 0, or NaN"),
        ({"normalizer": np.array([-3.0, 1.0])}, "person 0 has length -3.0"),
        ({"visible": np.ones((2, 3), bool)}, r"visible: expected \(N, K\) = \(2, 4\), got \(2, 3\)"),
    ],
)
def test_errors_say_what_came(arguments, message):
    given = {"pred": np.zeros((2, 4, 2)), "target": np.zeros((2, 4, 2)), "normalizer": np.ones(2)} | arguments
    with pytest.raises(ValueError, match=message):
        pck(**given)


def test_a_skeleton_without_a_torso_is_an_error():
    with pytest.raises(ValueError, match="left_shoulder"):
        pdj(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), get_skeleton(["nose", "chin"]))


# --------------------------------------------------------------------------------------------- published predictions

MPII_GROUPS = {
    "head": (9,), "shoulder": (12, 13), "elbow": (11, 14), "wrist": (10, 15), "hip": (2, 3), "knee": (1, 4),
    "ankle": (0, 5),
}  # fmt: skip
LSP_GROUPS = {
    "head": (12, 13), "shoulder": (8, 9), "elbow": (7, 10), "wrist": (6, 11), "hip": (2, 3), "knee": (1, 4),
    "ankle": (0, 5),
}  # fmt: skip
HITS = [1648, 2007, 2500, 2482, 2007, 1631, 2602, 2867, 2864, 2809, 2448, 2588, 2780, 2788, 2582, 2415]
ANNOTATED = [2115, 2485, 2889, 2888, 2478, 2119, 2878, 2932, 2932, 2932, 2928, 2935, 2944, 2944, 2932, 2909]


def load(path: str, key: str) -> np.ndarray:
    scipy_io = pytest.importorskip("scipy.io")
    return scipy_io.loadmat(PUBLISHED / path)[key]


@published
def test_hourglass_has_its_published_pckh():  # bearpaw's two stacks on MPII's validation people
    truth = "mpii/detections_our_format.mat"
    target, missing = load(truth, "pos_gt_src").transpose(2, 0, 1), load(truth, "jnt_missing").T
    boxes, pred = load(truth, "headboxes_src"), load("mpii/bearpaw-hg_s2_b1.mat", "preds")
    head = 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    visible = missing == 0
    values = pckh(pred, target, head, visible=visible)
    assert visible.sum(axis=0).tolist() == ANNOTATED
    assert (values * visible.sum(axis=0)).round(6).tolist() == HITS
    groups = [round(100 * float(values[list(group)].mean()), 2) for group in MPII_GROUPS.values()]
    assert groups == [95.80, 94.57, 88.12, 83.31, 86.24, 80.88, 77.44]
    scored = [i for i in range(16) if i not in (6, 7)]
    assert round(100 * float(values[scored].mean()), 2) == 86.76
    assert round(100 * labelled_mean(values[scored], visible[:, scored]), 2) == 87.30


@published
@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("TompsonNIPS14", [90.6, 79.2, 67.9, 63.4, 69.5, 71.0, 64.2, 72.3]),
        ("ChenYuilleNIPS14", [91.8, 78.2, 71.8, 65.5, 73.3, 70.2, 63.4, 73.4]),
        ("YangCVPR16", [90.6, 78.1, 73.8, 68.8, 74.8, 69.9, 58.9, 73.6]),
        ("BelagiannisZissermanARXIV16", [95.2, 89.0, 81.5, 77.0, 83.7, 87.0, 82.8, 85.2]),
        ("PishchulinCVPR16", [97.0, 91.0, 83.8, 78.1, 91.0, 86.7, 82.0, 87.1]),
    ],
)
def test_lsp_has_its_published_pck(method, row):  # the second thousand, person-centric, PCK@0.2
    target = load("lsp/LSP-joints-PC.mat", "joints")[:2, :, 1000:].transpose(2, 1, 0)
    pred = load(f"lsp/{method}/pred_keypoints_lsp_pc.mat", "pred").transpose(2, 1, 0)
    values = pdj(pred, target, "lsp14", threshold=0.2)
    groups = [100 * float(values[list(group)].mean()) for group in LSP_GROUPS.values()]
    # printed with one digit, from fractions of 2,000: halves were rounded either way
    assert [*groups, 100 * labelled_mean(values, np.ones((1000, 14)))] == pytest.approx(row, abs=0.0501)
