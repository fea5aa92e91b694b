"""2D metrics: against plain loops over the definitions, their properties, and predictions with
published scores.
"""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from reference import pck as reference

from posezoo.metrics import (
    LSP_LIMBS,
    auc,
    flic_pck,
    heatmap_accuracy,
    labelled_mean,
    lsp_pck,
    lsp_pcp,
    mean_pixel_error,
    mpii_head_size,
    mpii_pckh,
    oks,
    pa_mpjpe,
    pck,
    pck_curve,
    pckh,
    pcp,
    pdj,
    rmse,
    rmse_total,
    torso_diameter,
)
from posezoo.skeletons import Skeleton, get_skeleton

LEFT_SHOULDER, RIGHT_HIP = 9, 2  # of LSP-14
PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "published_predictions"

published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the published predictions may not be redistributed; expected in " + str(PUBLISHED)
)


ignores_lost = pytest.mark.filterwarnings("ignore:.*are not finite and count as misses:UserWarning")


def people(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random LSP-14 people: predictions, some far off or not finite, annotations, and which of them
    exist.
    """
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 200, (count, 14, 2))
    pred = target + rng.normal(0, 1, target.shape) * rng.uniform(1, 40, (count, 14, 1))
    pred[rng.random((count, 14)) < 0.05] = np.nan
    pred[rng.random((count, 14)) < 0.02] = np.inf
    visible = rng.random((count, 14)) < 0.8
    visible[:, 5] = False  # a keypoint that nobody has
    target[3, LEFT_SHOULDER] = target[3, RIGHT_HIP]
    return pred, target, visible


def finite_people(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pred, target, visible = people(seed)
    return np.nan_to_num(pred, nan=0, posinf=0), target, visible


def ratio(counts: tuple[list[int], list[int]]) -> list[float]:
    return [hit / all_ if all_ else math.nan for hit, all_ in zip(*counts, strict=True)]


# ------------------------------------------------------------------------------------------------ against the loops


@ignores_lost
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


@ignores_lost
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


@ignores_lost
def test_pckh_against_loops():
    pred, target, visible = people(5)
    corners = np.random.default_rng(5).uniform(0, 60, (len(pred), 2, 2))
    sizes = [reference.head_size(*two) for two in corners.tolist()]
    counts = reference.pck(pred.tolist(), target.tolist(), sizes, visible.tolist(), 0.5)
    ours = 0.6 * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    assert_allclose(pckh(pred, target, ours, visible=visible), ratio(counts), rtol=1e-12)


LIMBS = [((0,), (1,)), ((1,), (2,)), ((7,), (6,)), ((12,), (13,)), ((2, 3), (8, 9)), ((4,), (5,))]


def indices_of(limbs):
    skeleton = get_skeleton("lsp14")
    return [[[skeleton.index(n) for n in ((end,) if isinstance(end, str) else end)] for end in limb] for limb in limbs]


@ignores_lost
@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pcp_against_loops(seed, loose):
    pred, target, visible = people(seed)
    counts = reference.pcp(pred.tolist(), target.tolist(), LIMBS, visible.tolist(), 0.5, loose)
    result = pcp(pred, target, LIMBS, visible=visible, loose=loose)
    assert_allclose(result, ratio(counts), rtol=1e-15)
    assert 0.2 < np.nanmean(result) < 0.9
    assert math.isnan(result[-1])  # nobody has keypoint 5


def test_pcp_of_the_preset_against_loops():
    pred, target, visible = finite_people(4)
    counts = reference.pcp(pred.tolist(), target.tolist(), indices_of(LSP_LIMBS), (visible | True).tolist(), 0.5)
    assert len(LSP_LIMBS) == 10
    assert_allclose(pcp(pred, target), ratio(counts), rtol=1e-15)


@ignores_lost
def test_distances_against_loops():
    pred, target, visible = people(6)
    finite = np.nan_to_num(pred, nan=0, posinf=0)
    found = reference.pixel_errors(finite.tolist(), target.tolist(), visible.tolist())
    found[5] = (math.nan, math.nan)
    assert_allclose(mean_pixel_error(finite, target, visible=visible), [mean for mean, _ in found], rtol=1e-12)
    assert_allclose(rmse(finite, target, visible=visible), [root for _, root in found], rtol=1e-12)
    # one lost prediction makes the mean infinite; a mean over the others would look better
    lost = ~np.isfinite(pred).all(axis=-1) & visible
    assert np.isinf(rmse(pred, target, visible=visible)).tolist() == lost.any(axis=0).tolist()


@ignores_lost
@pytest.mark.parametrize("strict", [False, True])
def test_curves_against_single_thresholds_and_loops(strict):
    pred, target, visible = people(7)
    lengths, thresholds = np.full(len(pred), 60.0), np.arange(11) / 20
    curve = pck_curve(pred, target, lengths, thresholds, visible=visible, strict=strict)
    for row, threshold in zip(curve, thresholds, strict=True):
        expected = pck(pred, target, lengths, visible=visible, threshold=float(threshold), strict=strict)
        assert_allclose(row, expected, rtol=0)
    areas = [reference.area(column, thresholds.tolist()) for column in curve.T.tolist()]
    assert_allclose(auc(curve, thresholds), areas, rtol=1e-12)


@pytest.mark.parametrize("strict", [False, True])
def test_a_curve_decides_on_the_threshold_itself_as_pck_does(strict):
    """Distances of whole pixels that lie on thresholds, in any order and twice, and people without a length."""
    rng = np.random.default_rng(3)
    target = rng.integers(0, 9, (300, 4, 2)).astype(float)
    pred, lengths = target + rng.integers(-3, 4, target.shape), rng.choice([3.0, 7.0, 10.0, np.nan], 300)
    pred[0, 0] = np.nan
    thresholds = [0.3, 0.0, 1 / 3, 3 / 7, 0.1, 0.3, 5 / 7, 2.0]
    with pytest.warns(UserWarning, match="not finite"):
        curve = pck_curve(pred, target, lengths, thresholds, strict=strict)
    for row, at in zip(curve, thresholds, strict=True):
        with pytest.warns(UserWarning, match="not finite"):
            expected = pck(pred, target, lengths, threshold=at, strict=strict)
        assert_allclose(row, expected, rtol=0)


@pytest.mark.parametrize("strict", [False, True])
def test_a_curve_does_not_depend_on_how_a_quotient_is_rounded(strict):
    lengths = np.random.default_rng(4).uniform(1, 99, 2000)
    limits = 0.1 * lengths
    lengths, limits = lengths[limits / lengths != 0.1], limits[limits / lengths != 0.1]
    assert len(limits) > 50
    pred = limits[:, None, None] * np.array([1.0, 0.0])
    curve = pck_curve(pred, np.zeros_like(pred), lengths, [0.1], strict=strict)
    assert curve.tolist() == [[float(not strict)]]


@pytest.mark.parametrize("shape", [(20, 20), (32, 12)])
def test_heatmap_accuracy_against_loops(shape):
    rng = np.random.default_rng(8)
    target = rng.random((12, 5, *shape))
    pred = np.where(rng.random((12, 5, 1, 1)) < 0.5, np.roll(target, 1, axis=2), rng.random((12, 5, *shape)))
    pred[0, 0] = -1  # nothing positive
    target[:, 4] = 0  # nowhere annotated
    result = heatmap_accuracy(pred, target, threshold=1.0)
    assert_allclose(result, ratio(reference.heatmap_accuracy(pred.tolist(), target.tolist(), 1.0)), rtol=1e-15)
    assert 0.2 < np.nanmean(result) < 0.9
    assert math.isnan(result[4])


def test_heatmap_accuracy_leaves_out_the_border_and_divides_x_by_the_height():
    target = np.zeros((4, 1, 40, 20))
    for person, (x, y) in enumerate([(1, 9), (9, 1), (9, 9), (9, 9)]):
        target[person, 0, y, x] = 1
    pred = np.zeros_like(target)
    pred[2, 0, 9, 10] = pred[3, 0, 10, 9] = 1
    # one pixel to the right is 1 / 4 of a tenth of the height, one down is half a tenth of the width: not below 1 / 2
    assert heatmap_accuracy(pred, target).tolist() == [0.5]
    pred[2, 0, 0, 0] = np.nan
    with pytest.warns(UserWarning, match="1 of the predicted heatmaps are not finite"):
        assert heatmap_accuracy(pred, target).tolist() == [0]


# ---------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("seed", range(3))
def test_invariances_bounds_and_monotonicity(seed):
    rng = np.random.default_rng(seed)
    pred, target, visible = finite_people(seed)
    lengths = rng.uniform(30, 90, len(pred))
    rows = np.delete(pck_curve(pred, target, lengths, np.linspace(0, 2, 41), visible=visible), 5, axis=1)
    assert (np.diff(rows, axis=0) >= 0).all()  # in the threshold
    assert rows.min() >= 0
    assert rows.max() <= 1
    order, keypoints = rng.permutation(len(pred)), rng.permutation(14)
    metrics = {
        "pck": lambda p, t, n, v: pck(p, t, n, visible=v),
        "strict": lambda p, t, n, v: pck(p, t, n, visible=v, strict=True),
        "rmse": lambda p, t, n, v: rmse(p, t, visible=v) / n.mean(),
        "mean": lambda p, t, n, v: mean_pixel_error(p, t, visible=v) / n.mean(),
    }
    same = {
        "symmetric": (target, pred, lengths, visible),
        "shifted": (pred + 64, target + 64, lengths, visible),
        "scaled": (pred * 4, target * 4, lengths * 4, visible),
        "mirrored": (pred * [-1, 1], target * [-1, 1], lengths, visible),
        "people in another order": (pred[order], target[order], lengths[order], visible[order]),
        "everybody twice": tuple(np.concatenate([a, a]) for a in (pred, target, lengths, visible)),
    }
    for name, metric in metrics.items():
        base = metric(pred, target, lengths, visible)
        for change, arguments in same.items():
            assert_allclose(metric(*arguments), base, rtol=1e-9, err_msg=f"{name}, {change}")
        moved = metric(pred[:, keypoints], target[:, keypoints], lengths, visible[:, keypoints])
        assert_allclose(moved, base[keypoints], rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_properties_of_pcp(seed):
    pred, target, visible = finite_people(seed)
    limbs = LIMBS[:-1]
    strict, loose = (pcp(pred, target, limbs, visible=visible, loose=loose) for loose in (False, True))
    assert (strict <= loose).all()  # whoever has both ends has the mean
    assert (strict < loose).any()
    rows = [pcp(pred, target, limbs, visible=visible, threshold=t) for t in np.linspace(0, 1, 11)]
    assert (np.diff(rows, axis=0) >= 0).all()
    turned = [(second, first) for first, second in limbs]
    assert pcp(pred, target, turned, visible=visible).tolist() == strict.tolist()
    for change in (lambda a: a + 32, lambda a: a * 2, lambda a: a[..., ::-1]):
        assert pcp(change(pred), change(target), limbs, visible=visible).tolist() == strict.tolist()


def test_auc_of_known_curves():
    thresholds = [0.0, 0.1, 0.4, 0.5]
    assert float(auc(np.ones(4), thresholds)) == pytest.approx(1)
    assert float(auc(np.array([0.0, 0.1, 0.4, 0.5]) * 2, thresholds)) == pytest.approx(0.5)  # a straight line to 1
    for wrong in ([0.5, 0.4, 0.1, 0.0], [0.0, 0.1, 0.2], [0.0, 0.1, 0.1, 0.2], [0.1]):
        with pytest.raises(ValueError, match="rising thresholds"):
            auc(np.ones(4), wrong)


# --------------------------------------------------------------------------------------------------------- the rules


def test_pcp_by_hand():
    target = np.array([[[0.0, 0.0], [10.0, 0.0]]])
    for shifts, strict, loose in (((5, 5), 1, 1), ((0, 10), 0, 1), ((5.001, 0), 0, 1), ((5, 5.001), 0, 0)):
        pred = target + np.array(shifts)[None, :, None] * np.array([0, 1])
        assert pcp(pred, target, [(0, 1)]).tolist() == [strict]
        assert pcp(pred, target, [(0, 1)], loose=True).tolist() == [loose]


def test_a_limb_of_no_length_is_never_correct():
    """The published evaluations divide 0 by 0; it counts all the same."""
    target = np.full((2, 2, 2), 7.0)
    target[1, 1] = 9
    for loose in (False, True):
        assert pcp(target, target, [(0, 1)], loose=loose).tolist() == [0.5]
        assert pcp(target[:1], target[:1], [(0, 1)], loose=loose, threshold=np.inf).tolist() == [0]


def test_the_total_rmse_is_over_all_visible_keypoints():
    target = np.zeros((4, 2, 2))
    pred = target + np.array([[0.0, 0.0], [6.0, 8.0]])
    assert rmse(pred, target).mean() == 5.0
    assert rmse_total(pred, target) == pytest.approx(50**0.5)  # 7.07
    visible = np.array([[True, False]] * 3 + [[True, True]])
    pred[..., 0] += 1  # errors of 1 four times, and of the root of 113 once
    assert rmse_total(pred, target, visible=visible) == pytest.approx(((4 + 113) / 5) ** 0.5)
    assert labelled_mean(mean_pixel_error(pred, target, visible=visible), visible) == pytest.approx((4 + 113**0.5) / 5)
    assert np.isnan(rmse_total(pred, target, visible=np.zeros((4, 2), bool)))
    pred[0, 0] = np.nan
    with pytest.warns(UserWarning, match="1 of the predicted keypoints are not finite"):
        assert rmse_total(pred, target) == np.inf


def test_limbs_may_be_given_as_their_ends():
    pred, target, _ = finite_people(3)

    def sticks(points):
        limbs = indices_of(LSP_LIMBS)
        return np.stack([np.stack([points[:, end].mean(axis=1) for end in limb], axis=1) for limb in limbs], axis=1)

    expected = pcp(pred, target).tolist()
    assert pcp(sticks(pred), target).tolist() == expected
    assert pcp(pred, sticks(target)).tolist() == expected
    assert pcp(sticks(pred), sticks(target)).tolist() == expected
    assert lsp_pcp(sticks(pred), target) == lsp_pcp(pred, target)
    seen = np.arange(10) % 2 == 0
    some = pcp(sticks(pred), sticks(target), visible=np.broadcast_to(seen, (len(pred), 10)))
    assert np.isnan(some).tolist() == (~seen).tolist()
    with pytest.raises(ValueError, match="as many limbs"):
        pcp(sticks(pred)[:, :9], target)


def test_skeletons_are_lists_of_limbs():
    pred, target, _ = finite_people(3)
    assert pcp(pred, target, "cpm14").tolist() == pcp(pred, target, get_skeleton("cpm14").bones).tolist()
    for limbs, message in (
        ([(0, 14)], r"keypoints in 0..13, got \(0, 14\)"),
        ([(0, 1, 2)], "expected pairs"),
        ([(0, ())], "expected pairs"),
        (get_skeleton("coco17"), "expected pairs of keypoints in 0..13"),
        (Skeleton("bare", ("a", "b")), "has no bones"),
    ):
        with pytest.raises(ValueError, match=message):
            pcp(pred, target, limbs)


@pytest.mark.parametrize(
    "metric",
    [
        lambda p, t: pck(p, t, np.ones(3)), lambda p, t: pckh(p, t, np.ones(3)), lambda p, t: pdj(p, t, "lsp14"),
        lambda p, t: pck_curve(p, t, np.ones(3), [0.1, 0.2]), rmse, mean_pixel_error, lsp_pck,
    ],
)  # fmt: skip
def test_lost_predictions_are_counted_in_one_warning(metric):
    target = np.random.default_rng(0).uniform(0, 99, (3, 14, 2))
    pred = target.copy()
    pred[0, 3, 1], pred[2, 9], pred[1, 1] = np.nan, np.nan, np.inf
    with pytest.warns(UserWarning, match="3 of the predicted keypoints are not finite and count as misses") as noted:
        metric(pred, target)
    assert len(noted) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(target, target)


@pytest.mark.parametrize(
    ("metric", "shape"),
    [
        (lambda p, t: pck(p, t, np.ones(3)), (14, 2)), (lambda p, t: mpii_pckh(p, t, np.ones(3)), (16, 2)),
        (lambda p, t: lsp_pck(p, t), (14, 2)), (lambda p, t: lsp_pcp(p, t), (14, 2)), (lambda p, t: rmse(p, t), (5, 2)),
        (lambda p, t: oks(p, t, np.ones(3), "coco17"), (17, 2)), (lambda p, t: pa_mpjpe(p, t), (17, 3)),
    ],
)  # fmt: skip
def test_warnings_point_at_the_line_that_calls_the_metric(metric, shape):
    target = np.random.default_rng(0).uniform(0, 99, (3, *shape))
    pred = target.copy()
    pred[0, 3] = np.nan
    with pytest.warns(UserWarning, match="not finite and count as misses") as noted:
        metric(pred, target)
    assert [warning.filename for warning in noted] == [__file__]


def test_lost_predictions_that_do_not_count_are_not_warned_of():
    target, visible = np.zeros((1, 2, 2)), np.array([[True, False]])
    pred = np.array([[[0.0, 0.0], [np.nan, 0.0]]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pck(pred, target, np.ones(1), visible=visible)[0] == 1
        assert rmse(pred, target, visible=visible)[0] == 0
    with pytest.warns(UserWarning, match="1 of the predicted ends of limbs"):
        assert pcp(pred, target + np.array([[[0], [9]]]), [(0, 1)]).tolist() == [0]


def test_head_sizes_are_six_tenths_of_the_diagonal():
    boxes = np.array([[[1.0, 2.0], [31.0, 42.0]], [[5.0, 5.0], [8.0, 9.0]]])
    assert_allclose(mpii_head_size(boxes), [30, 3])
    assert_allclose(mpii_head_size(torch.from_numpy(boxes).reshape(2, 4)), [30, 3])
    with pytest.raises(ValueError, match=r"np.moveaxis\(array, -1, 0\)"):
        mpii_head_size(np.zeros((2, 2, 7)))
    boxes[1, 1] = boxes[1, 0]
    with pytest.raises(ValueError, match="person 1 has no extent"):
        mpii_head_size(boxes)


def test_the_conventions_of_mpii():
    target = np.zeros((4, 16, 2))
    visible = np.zeros((4, 16), dtype=bool)
    visible[:, 9], visible[0] = True, True
    pred = target.copy()
    pred[0, 9] = (0, 5)  # exactly on the boundary
    pred[0, 6] = (0, 50)
    tables = {
        convention: mpii_pckh(pred, target, np.full(4, 10.0), visible=visible, convention=convention)
        for convention in ("weighted", "unweighted", "all16")
    }
    assert [table["Head"] for table in tables.values()] == [1, 0.75, 0.75]
    assert tables["weighted"]["Total"] == 1  # the pelvis does not count
    assert tables["unweighted"]["Total"] == pytest.approx((13 + 0.75) / 14)
    assert tables["all16"]["Total"] == pytest.approx(17 / 19)
    assert list(tables["all16"]) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"]
    with pytest.raises(ValueError, match="unknown convention 'official'; expected one of weighted"):
        mpii_pckh(pred, target, np.ones(4), convention="official")
    with pytest.raises(ValueError, match=r"pred: expected \(N, 16, 2\)"):
        mpii_pckh(pred[:, :14], target[:, :14], np.ones(4))


def test_flic_and_people_seen_from_behind():
    skeleton = get_skeleton("flic11")
    shoulders, hips = (
        [skeleton.index(f"{side}_{joint}") for side in ("left", "right")] for joint in ("shoulder", "hip")
    )
    target = np.random.default_rng(0).uniform(0, 50, (3, 11, 2))
    target[:, shoulders, 0] = target[:, hips, 0] = (90, 10)
    target[2, shoulders, 0] = (10, 90)
    pred = target.copy()
    pred[2] = pred[2, list(skeleton.flip_index)]  # predicted as the person's own left and right
    perfect = {"Shoulder": 1.0, "Elbow": 1.0, "Wrist": 1.0}
    boxes = np.full((3, 2), 10.0)
    assert flic_pck(pred, target, torso_box=boxes)["Shoulder"] == pytest.approx(2 / 3)
    assert flic_pck(pred, target, torso_box=boxes, back_facing="shoulders") == perfect
    assert flic_pck(pred, target, torso_box=boxes, back_facing="hips")["Shoulder"] == pytest.approx(2 / 3)
    target[2, hips, 0] = (10, 90)
    assert flic_pck(pred, target, torso_box=boxes, back_facing="hips") == perfect
    with pytest.raises(ValueError, match="unknown back_facing 'back'"):
        flic_pck(pred, target, back_facing="back")
    with pytest.raises(ValueError, match=r"torso_box: expected \(N, 2\) = \(3, 2\)"):
        flic_pck(pred, target, torso_box=np.ones(3))


def test_flic_normalises_by_the_boxs_diagonal():
    target = np.zeros((1, 11, 2))
    pred = target + np.array([6.0, 8.0])
    assert flic_pck(pred, target, torso_box=np.array([[30.0, 40.0]]))["Wrist"] == 1
    assert flic_pck(pred, target, torso_box=np.array([[30.0, 39.9]]))["Wrist"] == 0


def test_the_boundary_counts_unless_strict():
    target = np.zeros((1, 3, 2))
    pred = np.array([[[3.0, 4.0], [0.0, 4.999], [0.0, 5.001]]])
    assert pck(pred, target, np.array([10.0]), threshold=0.5).tolist() == [1, 1, 0]
    assert pck(pred, target, np.array([10.0]), threshold=0.5, strict=True).tolist() == [0, 1, 0]
    assert pckh(pred, target, np.array([10.0])).tolist() == [1, 1, 0]
    assert pckh(pred, target, np.array([10.0]), strict=True).tolist() == [0, 1, 0]


@ignores_lost
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


def test_unannotated_keypoints_may_have_any_value():
    target = np.zeros((2, 2, 2))
    target[0, 1] = np.nan
    visible = np.array([[True, False], [True, True]])
    assert pck(np.zeros((2, 2, 2)), target, np.ones(2), visible=visible).tolist() == [1, 1]
    with pytest.raises(ValueError, match="keypoint 1 of person 0 is NaN or infinite; mark missing ones in `visible`"):
        pck(np.zeros((2, 2, 2)), target, np.ones(2))


def test_labelled_mean_weighs_by_annotations():
    visible = np.array([[True, True, False], [True, False, False], [True, False, False]])
    assert labelled_mean(np.array([1.0, 0.0, np.nan]), visible) == 0.75
    assert labelled_mean(torch.tensor([1.0, 0.0, torch.nan]), torch.from_numpy(visible)) == 0.75


# ------------------------------------------------------------------------------------------------------------- kinds


@ignores_lost
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
    pred = np.nan_to_num(pred, nan=0, posinf=0)  # which would warn, rightly
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
def test_errors_contain_the_shapes(arguments, message):
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


HOURGLASS = [95.80, 94.57, 88.12, 83.31, 86.24, 80.88, 77.44]


def mpii() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Annotations of MPII's validation people, their head sizes, and which are there."""
    truth = "mpii/detections_our_format.mat"
    head = mpii_head_size(np.moveaxis(load(truth, "headboxes_src"), -1, 0))
    return load(truth, "pos_gt_src").transpose(2, 0, 1), head, load(truth, "jnt_missing").T == 0


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
    ("convention", "threshold", "total"),
    [
        ("weighted", 0.5, 87.30), ("unweighted", 0.5, 86.76), ("all16", 0.5, 88.20),
        # the two numbers that are printed as Mean@0.1
        ("weighted", 0.10, 23.91), ("weighted", 0.11, 28.08),
    ],
)  # fmt: skip
def test_hourglass_has_its_published_totals(convention, threshold, total):
    target, head, visible = mpii()
    pred = load("mpii/bearpaw-hg_s2_b1.mat", "preds")
    table = mpii_pckh(pred, target, head, visible=visible, threshold=threshold, convention=convention)
    assert round(100 * table["Total"], 2) == total
    if threshold == 0.5:
        assert [round(100 * value, 2) for value in list(table.values())[:-1]] == HOURGLASS


@published
def test_the_authors_hourglass_has_its_pckh():
    h5py = pytest.importorskip("h5py", reason="the file is HDF5, which h5py reads")
    target, head, visible = mpii()
    with h5py.File(PUBLISHED / "mpii" / "valid-ours.h5") as file:
        pred = file["preds"][()]
    row = mpii_pckh(pred, target, head, visible=visible)
    assert [round(100 * v, 2) for v in row.values()] == [95.94, 94.68, 88.53, 83.38, 87.48, 83.09, 79.05, 88.04]
    assert round(100 * mpii_pckh(pred, target, head, visible=visible, convention="unweighted")["Total"], 2) == 87.56


@published
def test_tompson_has_his_pckh():
    target, head, visible = mpii()
    pred = load("mpii/detections_our_format.mat", "pos_pred_src").transpose(2, 0, 1)
    row = [round(100 * v, 2) for v in mpii_pckh(pred, target, head, visible=visible).values()]
    assert row == [95.60, 92.71, 83.36, 76.74, 81.93, 73.36, 65.45, 82.34]


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
    table = lsp_pck(pred, target)
    assert list(table.values()) == pytest.approx([value / 100 for value in row], abs=0.000501)
    assert list(table) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"]


@published
@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("TompsonNIPS14", [90.3, 70.4, 61.1, 63.0, 51.2, 83.7, 66.6]),
        ("ChenYuilleNIPS14", [96.0, 77.2, 72.2, 69.7, 58.1, 85.6, 73.6]),
        ("YangCVPR16", [95.6, 78.5, 71.8, 72.2, 61.8, 83.9, 74.8]),
        ("BelagiannisZissermanARXIV16", [96.0, 86.7, 82.2, 79.4, 69.4, 89.4, 82.1]),
        ("PishchulinCVPR16", [97.0, 88.8, 82.0, 82.4, 71.8, 95.8, 84.3]),
    ],
)
def test_lsp_has_its_published_pcp(method, row):  # strict, person-centric; from limbs and from keypoints
    target = load("lsp/LSP-joints-PC.mat", "joints")[:2, :, 1000:].transpose(2, 1, 0)
    sticks = load(f"lsp/{method}/pred_sticks_lsp_pc.mat", "pred").transpose(2, 1, 0).reshape(1000, 10, 2, 2)
    keypoints = load(f"lsp/{method}/pred_keypoints_lsp_pc.mat", "pred").transpose(2, 1, 0)
    for pred in (sticks, keypoints):
        table = lsp_pcp(pred, target)
        assert list(table) == ["Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head", "Total"]
        assert list(table.values()) == pytest.approx([value / 100 for value in row], abs=0.000501)


@published
def test_lsp_has_a_limb_of_no_length():
    target = load("lsp/LSP-joints-PC.mat", "joints")[:2].transpose(2, 1, 0)
    ends = np.array(get_skeleton("lsp14").bones)
    assert (target[:, ends[:, 0]] == target[:, ends[:, 1]]).all(axis=-1).any()


@published
@pytest.mark.parametrize(("method", "elbow", "wrist"), [("SappCVPR13", 72.5, 54.5), ("ChenYuilleNIPS14", 89.8, 86.8)])
def test_flic_has_its_published_pck(method, elbow, wrist):  # observer-centric, by the torso box
    truth = load("flic/FLIC-joints-OC.mat", "joints").transpose(2, 1, 0)
    pred = load(f"flic/{method}/pred_keypoints_flic_oc.mat", "pred").transpose(2, 1, 0)
    table = flic_pck(pred, truth[:, :11], torso_box=truth[:, 11])
    assert (round(100 * table["Elbow"], 1), round(100 * table["Wrist"], 1)) == (elbow, wrist)
