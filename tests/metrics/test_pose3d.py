"""3D metrics: against loops and Horn's quaternions, golden numbers of the authors' codes,
properties, and averages.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from reference import pose3d as reference

from posezoo.geometry import align, procrustes
from posezoo.metrics import (
    PROTOCOLS,
    acceleration_error,
    auc3d,
    average_by_action,
    bone_length_error,
    by_protocol,
    human36m,
    humaneva,
    limb_angle_error,
    mpjpe,
    mpjve,
    n_mpjpe,
    pa_mpjpe,
    pck3d,
)
from posezoo.skeletons import get_skeleton

ALIGNMENTS = ("none", "root", "centroid", "rigid", "similarity")


def poses(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses somewhere in a room, predictions turned, scaled, noisy or mirrored, and which joints
    are annotated.
    """
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 1, (count, 17, 3)) * (150, 400, 100) + rng.normal(0, 2000, (count, 1, 3))
    turn, _ = np.linalg.qr(rng.normal(0, 1, (count, 3, 3)))  # half of them mirror
    pred = (target + rng.normal(0, 60, target.shape)) @ turn * rng.uniform(0.7, 1.4, (count, 1, 1)) + 100
    visible = rng.random((count, 17)) < 0.8
    visible[:, 0] = True
    return pred, target, visible


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    turn, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    return turn * np.linalg.det(turn)


def nan(rows):
    return [[math.nan if value is None else value for value in row] for row in rows]


# ------------------------------------------------------------------------------------------------------ golden numbers


def golden() -> tuple[np.ndarray, np.ndarray]:
    """Four frames of 17 joints by formula; the numbers below come from the authors' codes on them."""
    j, c, t = np.arange(17)[None, :, None], np.arange(3), np.arange(4)[:, None, None]
    phase = 1.7 * j + 2.3 * c + 0.9 * j * c + 0.05 * t
    target = 300 * np.sin(phase)
    pred = 330 * np.sin(phase + 0.2) + 20 * np.cos(0.9 * j + 1.1 * c + 0.3 * t)
    return pred - pred[:, :1], target - target[:, :1]


def test_golden_distances():  # Martinez et al., VideoPose3D and mmpose
    pred, target = golden()
    assert mpjpe(pred, target).mean() == pytest.approx(118.713520, abs=5e-7)
    assert mpjpe(pred, target)[:, 1:].mean() == pytest.approx(126.133114, abs=5e-7)
    assert pa_mpjpe(pred, target).mean() == pytest.approx(74.158214, abs=5e-7)
    assert pa_mpjpe(pred, target, scale=False).mean() == pytest.approx(85.130494, abs=5e-7)
    assert n_mpjpe(pred, target).mean() == pytest.approx(105.130270, abs=5e-7)
    assert mpjve(pred, target).mean() == pytest.approx(11.066380, abs=5e-7)


def test_golden_fractions():  # mmpose
    pred, target = golden()
    assert 100 * pck3d(pred, target).mean() == pytest.approx(66.176471, abs=5e-7)
    assert 100 * pck3d(pred, target)[1:].mean() == pytest.approx(64.0625)
    assert 100 * auc3d(pred, target).mean() == pytest.approx(26.043643, abs=5e-7)
    assert 100 * auc3d(pred, target)[1:].mean() == pytest.approx(21.622984, abs=5e-7)


def test_golden_reflection_is_refused():
    _, target = golden()
    mirrored = target * (-1, 1, 1)
    assert pa_mpjpe(mirrored, target).mean() == pytest.approx(203.720633, abs=5e-7)
    assert pa_mpjpe(mirrored, target, scale=False).mean() == pytest.approx(196.049239, abs=5e-7)


# --------------------------------------------------------------------------------------------- against the definitions


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("seed", range(2))
def test_mpjpe_against_loops(seed, alignment, masked):
    pred, target, visible = poses(seed)
    visible = visible if masked else np.ones_like(visible)
    pred[~visible], target[~visible] = 1e6, -1e6  # what is not annotated may hold anything
    expected = nan(reference.errors(pred.tolist(), target.tolist(), alignment, visible.tolist()))
    result = mpjpe(pred, target, alignment=alignment, visible=visible if masked else None)
    assert_allclose(result, expected, rtol=1e-9, atol=1e-9)
    assert np.isnan(result).tolist() == (~visible).tolist()
    pred[~visible] = target[~visible] = np.nan
    assert_allclose(mpjpe(pred, target, alignment=alignment, visible=visible), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("root", [0, 8])
def test_n_mpjpe_against_loops(root):
    pred, target, visible = poses(2)
    visible[:, root] = True
    expected = nan(reference.scaled_errors(pred.tolist(), target.tolist(), visible.tolist(), root))
    assert_allclose(n_mpjpe(pred, target, root=root, visible=visible), expected, rtol=1e-9)


def test_differences_in_time_against_loops():
    pred, target, _ = poses(3, 12)
    expected = reference.velocity_errors(pred.tolist(), target.tolist())
    assert_allclose(mpjve(pred, target, alignment="none"), expected, rtol=1e-9)
    relative = [array - array[:, :1] for array in (pred, target)]
    assert_allclose(
        mpjve(pred, target), reference.velocity_errors(*(a.tolist() for a in relative)), rtol=1e-9, atol=1e-9
    )
    steps = [np.diff(array, axis=0) for array in (pred, target)]
    assert_allclose(acceleration_error(pred, target, alignment="none"),
                    reference.velocity_errors(*(a.tolist() for a in steps)), rtol=1e-9)  # fmt: skip
    clips = [array.reshape(3, 4, 17, 3) for array in (pred, target)]  # no difference reaches across videos
    assert_allclose(mpjve(*clips)[1], mpjve(pred[4:8], target[4:8]), rtol=1e-12)
    assert acceleration_error(*clips).shape == (3, 2, 17)


def test_a_difference_needs_the_joint_in_each_of_its_frames():
    pred, target, visible = poses(3, 5)
    visible[:] = True
    visible[2, 4] = False
    assert np.isnan(mpjve(pred, target, visible=visible)[:, 4]).tolist() == [False, True, True, False]
    assert np.isnan(acceleration_error(pred, target, visible=visible)[:, 4]).all()
    assert np.isfinite(np.delete(acceleration_error(pred, target, visible=visible), 4, axis=1)).all()


def test_bones_against_loops():
    pred, target, visible = poses(4)
    bones = get_skeleton("h36m17").bones
    lengths, angles = bone_length_error(pred, target, visible=visible), limb_angle_error(pred, target, visible=visible)
    for pose in range(len(pred)):
        for number, (a, b) in enumerate(bones):
            if not (visible[pose, a] and visible[pose, b]):
                assert np.isnan([lengths[pose, number], angles[pose, number]]).all()
                continue
            ours, theirs = ((array[pose, b] - array[pose, a]).tolist() for array in (pred, target))
            expected = abs(math.hypot(*ours) - math.hypot(*theirs))
            assert lengths[pose, number] == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert angles[pose, number] == pytest.approx(reference.angle(ours, theirs), rel=1e-6)
    assert_allclose(limb_angle_error(pred, target, bones), limb_angle_error(pred, target, "h36m17"))


def test_angles_by_hand():
    target = np.array([[0.0, 0, 0], [0, 0, 10]])
    ends = [[0, 0, 3], [0, 4, 4], [7, 0, 0], [0, 0, -1], [0, 0, 0], [1e-9, 0, 1]]
    angles = [float(limb_angle_error(np.array([[0, 0, 0], end], float), target, [(0, 1)])[0]) for end in ends]
    assert angles == pytest.approx([0, 45, 90, 180, 180, math.degrees(1e-9)], rel=1e-9)
    assert np.isnan(limb_angle_error(target, np.zeros((2, 3)), [(0, 1)])[0])  # no direction to compare with


def test_fractions_are_strict_and_follow_the_distances():
    target = np.zeros((3, 2, 3))
    pred = np.zeros((3, 2, 3))
    pred[:, 1, 2] = (149.999, 150, 10)
    assert pck3d(pred, target).tolist() == [1, 2 / 3]
    assert pck3d(pred, target, threshold=151).tolist() == [1, 1]
    assert auc3d(pred, target)[1] == pytest.approx((1 + 0 + 28) / 31 / 3)  # 149.999 < 150 only; 10 < 15, 20, ... 150
    pred, target, visible = poses(5)
    error = mpjpe(pred, target, visible=visible)
    for threshold in (100, 300, 1000):
        result = pck3d(pred, target, threshold=threshold, visible=visible)
        assert_allclose(result, (error < threshold).sum(axis=0) / visible.sum(axis=0))


# ---------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("seed", range(3))
def test_each_alignment_removes_its_transforms(seed):
    rng = np.random.default_rng(seed)
    pred, target, _ = poses(seed)
    turn, move = random_rotation(rng), rng.normal(0, 500, 3)
    changed = {"moved": pred + move, "turned": pred @ turn + move, "scaled": 1.7 * (pred @ turn) + move}
    allowed = {"none": [], "root": ["moved"], "centroid": ["moved"], "rigid": ["moved", "turned"],
               "similarity": ["moved", "turned", "scaled"]}  # fmt: skip
    for alignment, same in allowed.items():
        base = mpjpe(pred, target, alignment=alignment)
        for change, poses_changed in changed.items():
            result = mpjpe(poses_changed, target, alignment=alignment)
            assert np.allclose(result, base, rtol=1e-8) == (change in same), (alignment, change)
        together = mpjpe(pred @ turn + move, target @ turn + move, alignment=alignment)
        assert_allclose(together, base, rtol=1e-8, atol=1e-8, err_msg=alignment)  # the room may be turned
        if alignment in ("none", "root", "centroid", "rigid"):
            assert_allclose(mpjpe(target, pred, alignment=alignment).mean(1), base.mean(1), rtol=1e-8)  # symmetric
    assert_allclose(n_mpjpe(3 * pred, target), n_mpjpe(pred, target), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_more_freedom_leaves_less_squared_error(seed):
    pred, target, visible = poses(seed)
    squares = {a: np.nansum(mpjpe(pred, target, alignment=a, visible=visible) ** 2, axis=1) for a in ALIGNMENTS}
    for more, less in (("similarity", "rigid"), ("rigid", "centroid"), ("centroid", "none"), ("centroid", "root")):
        assert (squares[more] <= squares[less] * (1 + 1e-9)).all()
    scaled = np.nansum(n_mpjpe(pred, target, visible=visible) ** 2, axis=1)
    assert (scaled <= squares["root"] * (1 + 1e-9)).all()


def test_no_rotation_near_the_best_is_better():
    rng = np.random.default_rng(0)
    pred, target, _ = poses(0, 6)
    best = (mpjpe(pred, target, alignment="rigid") ** 2).sum(axis=1)
    centred = align(*map(torch.from_numpy, (pred, target)), scale=False).numpy()
    middle = target.mean(axis=1, keepdims=True)
    for _ in range(200):
        nudge = random_rotation(rng) if rng.random() < 0.5 else None
        if nudge is None:  # a small one
            generator = np.cross(np.eye(3), rng.normal(0, 0.02, 3))
            nudge, _ = np.linalg.qr(np.eye(3) + generator)
            nudge = nudge * np.sign(np.diag(nudge))
        other = ((((centred - middle) @ nudge + middle) - target) ** 2).sum(axis=(1, 2))
        assert (other >= best * (1 - 1e-9)).all()


def test_a_similarity_may_have_the_larger_mean_distance():  # it is the least squares that it minimises
    pred, target, _ = poses(1, 400)
    rigid, similar = (mpjpe(pred, target, alignment=a).mean(axis=1) for a in ("rigid", "similarity"))
    assert (similar > rigid).any()
    assert similar.mean() < rigid.mean()


def test_root_convention_of_17_joints():
    pred, target, _ = poses(0)
    errors = mpjpe(pred, target)
    assert (errors[:, 0] == 0).all()
    assert errors[:, 1:].mean() == pytest.approx(errors.mean() * 17 / 16)


# ---------------------------------------------------------------------------------------------------------- procrustes

SHAPES = {
    "solid": (1, 1, 1), "flat": (1, 1, 0), "nearly flat": (1, 1, 1e-6), "thin": (1, 1e-3, 1e-3), "line": (1, 0, 0),
    "nearly a line": (1, 1e-9, 1e-9), "point": (0, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_procrustes_agrees_with_horn_in_every_shape(name, reflected):
    rng = np.random.default_rng(1)
    source = rng.normal(0, 300, (50, 17, 3)) * SHAPES[name] + (10, 2000, -300)
    target = rng.normal(0, 30, source.shape) * (np.array(SHAPES[name]) > 0) + source * (-1 if reflected else 1)
    factor, rotation, translation = procrustes(torch.from_numpy(source), torch.from_numpy(target), scale=False)
    assert (factor == 1).all()
    assert_allclose(rotation @ rotation.mT, np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12)
    assert_allclose(torch.linalg.det(rotation), 1, rtol=1e-12)
    moved = source @ rotation.mT.numpy() + translation[:, None].numpy()
    ours = np.sqrt(((moved - target) ** 2).sum(axis=(1, 2)))
    assert_allclose(align(torch.from_numpy(source), torch.from_numpy(target), scale=False), moved, atol=1e-8)
    visible = [[True] * 17] * 50
    expected = np.array(reference.errors(source.tolist(), target.tolist(), "rigid", visible))
    assert_allclose(ours, np.sqrt((expected**2).sum(axis=1)), rtol=1e-9, atol=1e-7)


def test_procrustes_recovers_a_motion_and_weighs_points():
    rng = np.random.default_rng(2)
    source, turn = rng.normal(0, 300, (5, 17, 3)), random_rotation(rng)
    target = 1.3 * source @ turn.T + (50, 60, 70)
    known = rng.random((5, 17)) < 0.7
    target[~known] += 1000
    result = procrustes(*map(torch.from_numpy, (source, target)), weights=torch.from_numpy(known))
    for found, expected in zip(result, (1.3, turn, (50, 60, 70)), strict=True):
        assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-9, atol=1e-9)
    moved = align(*map(torch.from_numpy, (source, target)), weights=torch.from_numpy(known))
    assert_allclose(moved[~known], target[~known] - 1000, rtol=1e-9)  # points without weight are moved with the others
    twice = procrustes(*map(torch.from_numpy, (source, target)), weights=torch.from_numpy(1.0 + known))
    repeated = [torch.from_numpy(np.concatenate([a[:1], a[:1, known[0]]], axis=1)) for a in (source, target)]
    for weighted, plain in zip(twice, procrustes(*repeated), strict=True):
        assert_allclose(weighted[:1], plain, rtol=1e-9)


def test_degenerate_poses():
    _, target, _ = poses(0, 4)
    middle = target.mean(axis=1, keepdims=True)
    spread = np.linalg.norm(target - middle, axis=-1)
    for value in (0.0, 1.1, -1234.5678):  # 1.1 is not the mean of 17 times 1.1 in floating point
        point = np.full_like(target, value)
        for scale in (True, False):  # translated only, and not blown up
            assert_allclose(pa_mpjpe(point, target, scale=scale), spread, rtol=1e-9)
        assert_allclose(pa_mpjpe(target, point), 0, atol=1e-6)  # shrunk to the point
        assert_allclose(pa_mpjpe(target, point, scale=False), spread, rtol=1e-9)
    line = np.linspace(-1, 1, 17)[:, None] * np.array([[[100.0, 200, -50]], [[1, 1, 1]], [[0, 0, 5]], [[-3, 0, 0]]])
    assert_allclose(pa_mpjpe(line, line[[1, 2, 3, 0]]), 0, atol=1e-8)  # any line onto any other
    collapsed = np.zeros((1, 17, 3))
    assert_allclose(n_mpjpe(collapsed, target[:1]), np.linalg.norm(target[:1] - target[:1, :1], axis=-1))
    visible = np.zeros((4, 17), bool)
    visible[:, 0], visible[1, 1] = True, True
    visible[3] = False
    errors = pa_mpjpe(target + 5, target, visible=visible)
    assert_allclose(errors[:3][visible[:3]], 0, atol=1e-9)
    assert np.isnan(errors[3]).all()


def test_procrustes_errors_contain_the_shapes():
    points = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match=r"one shape \(\.\.\., K, 3\), got \(2, 5, 3\) and \(2, 4, 3\)"):
        procrustes(points, points[:, :4])
    with pytest.raises(ValueError, match=r"got \(2, 5, 2\)"):
        align(points[..., :2], points[..., :2])
    with pytest.raises(ValueError, match=r"weights: expected \(2, 5\), got \(2, 4\)"):
        align(points, points, weights=torch.ones(2, 4))


def test_align_keeps_the_dtype_and_the_precision_of_far_away_poses():
    rng = np.random.default_rng(3)
    target = torch.from_numpy(rng.normal(0, 300, (50, 17, 3)))
    source = (target * 0.9 + 5000).float()
    assert align(source, target.float()).dtype == torch.float32
    assert float((align(source, target.float()) - target.float()).abs().max()) < 2e-2  # float32 holds 5000 to 5e-4
    assert_allclose(align(target + 1e6, target), target, atol=1e-6)


# ---------------------------------------------------------------------------------------------- lost, kinds and errors


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_lost_predictions_are_infinitely_far(value):
    pred, target, _ = poses(0, 4)
    pred[1, 3, 2] = value
    spoiled = {"none": [3], "root": [3], "centroid": range(17), "rigid": range(17), "similarity": range(17)}
    for alignment, joints in spoiled.items():
        with pytest.warns(UserWarning, match="1 of the predicted joints are not finite") as noted:
            errors = mpjpe(pred, target, alignment=alignment)
        assert len(noted) == 1
        assert np.isinf(errors[1]).nonzero()[0].tolist() == list(joints)
        assert np.isfinite(np.delete(errors, 1, axis=0)).all()
        others = [np.delete(array, 1, axis=0) for array in (errors, pred, target)]
        assert_allclose(others[0], mpjpe(*others[1:], alignment=alignment))
    with pytest.warns(UserWarning, match="count as misses"):
        assert pck3d(pred, target, threshold=1e9).tolist() == [1, 1, 1, 0.75] + [1] * 13
    with pytest.warns(UserWarning, match="count as misses"):
        assert np.isinf(mpjve(pred, target)[:, 3]).tolist() == [True, True, False]
    with pytest.warns(UserWarning, match="count as misses"):
        assert limb_angle_error(pred, target, [(3, 4)])[1, 0] == 180
    with pytest.warns(UserWarning, match="count as misses"):
        assert bone_length_error(pred, target, [(3, 4)])[1, 0] == math.inf
    with pytest.warns(UserWarning, match="count as misses"):
        assert np.isinf(n_mpjpe(pred, target)[1]).all()
    visible = np.ones((4, 17), bool)
    visible[1, 3] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for alignment in ALIGNMENTS:
            assert np.isfinite(mpjpe(pred, target, alignment=alignment, visible=visible)[visible]).all()


@pytest.mark.parametrize("function", [
    mpjpe, pa_mpjpe, n_mpjpe, mpjve, acceleration_error, pck3d, auc3d, bone_length_error, limb_angle_error,
])  # fmt: skip
def test_numpy_and_torch_in_single_and_double_precision(function):
    pred, target, visible = poses(1)
    expected = function(pred, target, visible=visible)
    assert isinstance(expected, np.ndarray)
    tensors = [torch.from_numpy(array) for array in (pred, target, visible)]
    result = function(*tensors[:2], visible=tensors[2])
    assert isinstance(result, torch.Tensor)
    assert_allclose(result.numpy(), expected, rtol=0)
    single = function(pred.astype(np.float32), target.astype(np.float32), visible=visible)
    assert_allclose(single, expected, atol=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backwards = function(pred[:, ::-1][:, ::-1], np.broadcast_to(target, target.shape), visible=visible)
    assert_allclose(backwards, expected, rtol=0)


def test_blocks_are_put_together_again(monkeypatch):
    import importlib

    pred, target, visible = poses(2, 25)
    expected = [pa_mpjpe(pred, target), pa_mpjpe(pred, target, visible=visible)]
    monkeypatch.setattr(importlib.import_module("posezoo.metrics.pose3d"), "BLOCK", 7)
    for mask, whole in zip((None, visible), expected, strict=True):
        assert_allclose(pa_mpjpe(pred, target, visible=mask), whole, rtol=1e-9)
    clips = pa_mpjpe(pred.reshape(5, 5, 17, 3), target.reshape(5, 5, 17, 3), visible=visible.reshape(5, 5, 17))
    assert_allclose(clips.reshape(25, 17), expected[1], rtol=1e-9)
    assert pa_mpjpe(pred[:0], target[:0]).shape == (0, 17)
    assert pa_mpjpe(pred[0], target[0]).shape == (17,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: mpjpe(p, t[:1]), r"one shape \(\.\.\., K, 3\), got \(2, 17, 3\) and \(1, 17, 3\)"),
        (lambda p, t: mpjpe(p[..., :2], t[..., :2]), r"got \(2, 17, 2\)"),
        (
            lambda p, t: mpjpe(p, t, alignment="Protocol 1"),
            "unknown alignment 'Protocol 1'; expected one of none, root",
        ),
        (lambda p, t: mpjpe(p, t, root=17), r"root: expected a joint in 0\.\.16, got 17"),
        (lambda p, t: mpjpe(p, t, visible=np.ones((2, 16), bool)), r"visible: expected \(\.\.\., K\) = \(2, 17\)"),
        (lambda p, t: mpjpe(p, t, visible=np.arange(34).reshape(2, 17) > 0), "joint 0 is not visible in every pose"),
        (lambda p, t: n_mpjpe(p, t, visible=np.arange(34).reshape(2, 17) > 0), "joint 0 is not visible"),
        (lambda p, t: mpjpe(p, np.where(np.arange(17)[:, None] == 4, np.nan, t)), r"joint 4 of pose \[0\] is NaN"),
        (lambda p, t: mpjve(p[:1], t[:1]), "T of 2 or more"),
        (lambda p, t: acceleration_error(p, t), "T of 3 or more"),
        (lambda p, t: mpjve(p, t, alignment="rigid"), 'after "none" or "root", got \'rigid\''),
        (lambda p, t: bone_length_error(p, t, [(0, 17)]), r"pairs of joints in 0\.\.16, got \[\(0, 17\)\]"),
        (lambda p, t: limb_angle_error(p, t, []), "expected pairs of joints"),
    ],
)
def test_errors_contain_the_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 17, 3)), np.ones((2, 17, 3)))


# ----------------------------------------------------------------------------------------------------------- averages


def frames() -> tuple[np.ndarray, list[str], list[str], list[int]]:
    """Errors of frames of five videos: of one action a long and a short one."""
    rows = [("Sitting", "S9", 3, 10.0), ("Sitting", "S11", 1, 30.0), ("SittingDown", "S9", 2, 50.0),
            ("WalkingDog", "S9", 1, 70.0), ("WalkDog", "S11", 1, 90.0)]  # fmt: skip
    spread = [(a, s, v, e) for v, (a, s, length, e) in enumerate(rows) for _ in range(length)]
    actions, subjects, videos, errors = zip(*spread, strict=True)
    return np.array(errors), list(actions), list(subjects), list(videos)


def test_both_conventions_of_averaging():
    errors, actions, _, videos = frames()
    weighted = average_by_action(errors, actions)
    assert weighted == {"Sitting": 15, "SittingDown": 50, "WalkDog": 80, "Average": pytest.approx(145 / 3)}
    assert list(weighted) == ["Sitting", "SittingDown", "WalkDog", "Average"]
    per_video = average_by_action(errors, actions, averaging="per-video", videos=videos)
    assert per_video == {"Sitting": 20, "SittingDown": 50, "WalkDog": 80, "Average": 50}
    order = np.random.default_rng(0).permutation(len(errors))
    shuffled = average_by_action(errors[order], [actions[i] for i in order], averaging="per-video",
                                 videos=[videos[i] for i in order])  # fmt: skip
    assert shuffled == pytest.approx(per_video)


def test_averages_leave_out_unannotated_keypoints():
    errors = np.array([[1.0, np.nan], [3.0, 5.0], [7.0, np.nan]])
    assert average_by_action(errors, ["Eating"] * 3)["Eating"] == 4
    assert average_by_action(torch.from_numpy(errors), ["Eating", "Eating", "Photo"])["Eating"] == 3
    assert average_by_action(np.array([[math.inf, 1.0]]), ["Eating"])["Average"] == math.inf
    with pytest.raises(ValueError, match="Photo: no joint of it counts"):
        average_by_action(np.array([[1.0], [np.nan]]), ["Eating", "Photo"])


def test_humaneva_per_subject_and_action():
    errors, actions, subjects, videos = frames()
    table = humaneva(errors, subjects, actions)
    assert table["Sitting"] == {"S9": 10, "S11": 30}
    assert table["Average"] == {"all": pytest.approx((10 + 30 + 50 + 70 + 90) / 5)}
    assert humaneva(errors, subjects, actions, averaging="per-video", videos=videos) == table
    with pytest.raises(ValueError, match="one each per pose, got 3 and 8"):
        humaneva(errors, subjects[:3], actions)


def test_rpsm_and_hossain_on_humaneva():
    """RPSM's error is up to translation, of 14 joints without a root; Hossain & Little's after
    rigid alignment.
    """
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (9, 14, 3))
    pred = target + rng.normal(0, 30, target.shape) + rng.normal(0, 500, (9, 1, 3))
    actions = ["Jog"] * 3 + ["Walking"] * 6
    subjects = ["S2", "S1", "S1", "S1", "S1", "S2", "S2", "S2", "S3"]
    for name, alignment in (("rpsm-humaneva", "centroid"), ("hossain-humaneva", "rigid")):
        row = by_protocol(pred, target, name, actions=actions, subjects=subjects)
        pose = mpjpe(pred, target, alignment=alignment).mean(axis=1)
        cells = {"Walking S1": pose[3:5], "Walking S2": pose[5:8], "Walking S3": pose[8:], "Jog S1": pose[1:3],
                 "Jog S2": pose[:1]}  # fmt: skip
        means = {cell: values.mean() for cell, values in cells.items()}
        expected = {
            **dict(list(means.items())[:3]), "Walking": np.mean(list(means.values())[:3]),
            **dict(list(means.items())[3:]), "Jog": np.mean(list(means.values())[3:]),
            "Average": np.mean(list(means.values())),
        }  # fmt: skip
        assert list(row) == list(expected)
        assert row == pytest.approx(expected)
    assert by_protocol(pred, target, "hossain-humaneva", actions=actions, subjects=subjects)["Average"] < 100
    arguments = {"subjects": ["S1"] * 9}
    with pytest.raises(ValueError, match="hossain-humaneva tests on Walking, Jog; these are others: Box"):
        by_protocol(pred, target, "hossain-humaneva", actions=["Box"] * 9, **arguments)
    assert by_protocol(pred, target, "rpsm-humaneva", actions=["Box"] * 9, **arguments)["Box S1"] > 0
    with pytest.raises(ValueError, match="rpsm-humaneva tests on S1, S2, S3; these are others: S9"):
        by_protocol(pred, target, "rpsm-humaneva", actions=["Box"] * 9, subjects=["S9"] * 9)
    with pytest.raises(ValueError, match="rpsm-humaneva is a protocol of HumanEva; call by_protocol"):
        human36m(pred, target, "rpsm-humaneva", actions=["Box"] * 9, **arguments)


def test_rpsm_on_human36m_is_martinez_1_at_two_frames_a_second():
    pred, target, _ = poses(0, 8)
    _, actions, subjects, videos = frames()
    arguments = {"actions": actions, "subjects": subjects, "videos": videos}
    assert PROTOCOLS["rpsm-h36m"].stride == 50 / 2
    row = by_protocol(pred, target, "rpsm-h36m", **arguments)
    assert row == human36m(pred, target, "martinez-1", **arguments)


def test_protocols_have_names():
    pred, target, _ = poses(0, 8)
    _, actions, subjects, videos = frames()
    rows = {
        name: human36m(pred, target, name, actions=actions, subjects=subjects, videos=videos)["Average"]
        for name, protocol in PROTOCOLS.items() if "S9" in protocol.test
    }  # fmt: skip
    errors = {
        "martinez-1": mpjpe(pred, target),
        "martinez-2": pa_mpjpe(pred, target),
        "martinez-2-rigid": pa_mpjpe(pred, target, scale=False),
        "videopose3d-3": n_mpjpe(pred, target),
    }
    for name, values in errors.items():
        assert rows[name] == pytest.approx(average_by_action(values, actions)["Average"])
    for name, like in (("hossain-1", "martinez-1"), ("hossain-2", "martinez-2")):
        per_video = average_by_action(errors[like], actions, averaging="per-video", videos=videos)["Average"]
        assert rows[name] == pytest.approx(per_video)
        assert rows[name] != pytest.approx(rows[like])
    arguments = {"actions": actions, "subjects": subjects}
    with pytest.raises(ValueError, match="unknown protocol '1'; numbers alone are ambiguous"):
        human36m(pred, target, "1", **arguments)
    with pytest.raises(ValueError, match="s11-rigid-64 tests on S11; these are others: S9"):
        human36m(pred, target, "s11-rigid-64", **arguments)
    with pytest.raises(ValueError, match="needs `videos`"):
        human36m(pred, target, "hossain-1", **arguments)
    with pytest.raises(ValueError, match="subjects: expected one per pose, 8, got 7"):
        human36m(pred, target, "martinez-1", actions=actions, subjects=subjects[:7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actions": ["Eating 1", "Eating"]}, "unknown actions 'Eating 1'; expected Human3.6M's Directions"),
        ({"actions": ["Eating"]}, "expected one action"),
        ({"averaging": "video"}, "unknown averaging 'video'; expected one of frame-weighted, per-video"),
        ({"averaging": "per-video"}, "needs `videos`"),
        ({"averaging": "per-video", "videos": [1]}, "videos: expected one per pose, 2, got 1"),
        ({"errors": np.zeros((0, 17)), "actions": []}, "more than 0"),
    ],
)
def test_averages_errors_contain_the_shapes(arguments, message):
    given = {"errors": np.ones(2), "actions": ["Eating", "Photo"], **arguments}
    with pytest.raises(ValueError, match=message):
        average_by_action(given.pop("errors"), given.pop("actions"), **given)
