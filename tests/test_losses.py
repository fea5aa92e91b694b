"""Losses: the authors' numbers, and that missing keypoints teach nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from posezoo.losses import (
    belief_loss,
    bounded_correction,
    coarse_to_fine_sse,
    euclidean,
    heatmap_cross_entropy,
    heatmap_mse,
    heatmap_sse,
    keypoint_l2,
    keypoint_mse,
    keypoint_smooth_l1,
    ohkm,
    pose_distance,
    pose_mse,
    pose_sequence_mse,
    smooth_pose_mse,
)
from posezoo.skeletons import get_skeleton


def golden() -> tuple[Tensor, Tensor, Tensor]:  # specs/models2d_b.md 1.7
    pred = np.random.RandomState(2).standard_normal((2, 17, 64, 48))
    target = np.random.RandomState(3).uniform(0, 1, (2, 17, 64, 48))
    weights = (np.random.RandomState(4).uniform(0, 1, (2, 17, 1)) > 0.3)[..., 0]
    return torch.from_numpy(pred), torch.from_numpy(target), torch.from_numpy(weights)


def test_losses_are_the_authors():
    pred, target, weights = golden()
    assert heatmap_mse(pred, target, weights, half=True).item() == pytest.approx(0.4525374729, rel=1e-9)
    assert heatmap_mse(pred, target, half=True).item() == pytest.approx(0.6728246635, rel=1e-9)
    assert heatmap_mse(pred, target, weights).item() == pytest.approx(0.9050749458, rel=1e-9)
    assert ohkm(pred, target, weights).item() == pytest.approx(0.6766870665, rel=1e-9)


def test_squared_weights_are_simple_baselines_own():  # they weight before squaring
    pred, target, _ = golden()
    weights = torch.rand(2, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = ((pred - target) * weights[..., None, None]).square().mean()
    torch.testing.assert_close(heatmap_mse(pred, target, weights**2), theirs)


@pytest.mark.parametrize("loss", [heatmap_mse, ohkm])
def test_missing_keypoints_get_no_gradient(loss):
    pred, target, _ = golden()
    weights = torch.ones(2, 17)
    weights[0, 3] = weights[1, 7] = weights[1, 8] = 0
    pred = pred[..., :8, :6].clone().requires_grad_()
    options = {"top_k": 17} if loss is ohkm else {}
    loss(pred, target[..., :8, :6], weights, **options).backward()
    assert pred.grad is not None
    reached = pred.grad.abs().sum(dim=(-1, -2)) > 0
    assert torch.equal(reached, weights > 0)


def test_ohkm_learns_from_each_persons_hardest_keypoints():
    pred, target, weights = (tensor[..., :8, :6] if tensor.ndim == 4 else tensor for tensor in golden())
    pred = pred.clone().requires_grad_()
    ohkm(pred, target, weights, top_k=5).backward()
    errors = ((pred - target).square().mean(dim=(-1, -2)) * weights).detach()
    assert pred.grad is not None
    for person in range(2):
        reached = pred.grad[person].abs().sum(dim=(-1, -2)) > 0
        assert sorted(reached.nonzero().flatten().tolist()) == sorted(errors[person].argsort()[-5:].tolist())


def test_ohkm_of_all_keypoints_is_the_mean():
    pred, target, weights = golden()
    torch.testing.assert_close(ohkm(pred, target, weights, top_k=17), heatmap_mse(pred, target, weights, half=True))
    torch.testing.assert_close(ohkm(pred, target, half=False, top_k=17), heatmap_mse(pred, target))


@pytest.mark.parametrize("loss", [heatmap_mse, ohkm])
def test_perfect_predictions_cost_nothing(loss):
    _, target, weights = golden()
    assert loss(target, target, weights).item() == 0


@pytest.mark.parametrize("top_k", [0, 18, -1])
def test_ohkm_error_contains_the_number_of_keypoints(top_k):
    with pytest.raises(ValueError, match=f"expected 1 to 17, the number of keypoints, got {top_k}"):
        ohkm(*golden(), top_k=top_k)


@pytest.mark.parametrize("loss", [heatmap_mse, ohkm])
def test_shapes_must_match(loss):
    pred, target, weights = golden()
    with pytest.raises(ValueError, match=r"one shape \(B, K, h, w\), got \(2, 17, 64, 48\) and \(2, 16, 64, 48\)"):
        loss(pred, target[:, 1:])
    with pytest.raises(ValueError, match=r"got \(17, 64, 48\) and \(17, 64, 48\)"):
        loss(pred[0], target[0])
    with pytest.raises(ValueError, match=r"weights: expected \(B, K\) = \(2, 17\), got \(2, 17, 1\)"):
        loss(pred, target, weights[..., None])


def test_summed_error_is_the_mean_over_joints_of_the_sum_over_pixels():  # E1 and E3, specs/models2d_a.md 2.3 and 2.4
    pred, target, weights = golden()
    expected = sum(((pred[b, j] - target[b, j]) ** 2).sum() * weights[b, j] for b in range(2) for j in range(17)) / 34
    assert heatmap_sse(pred, target, weights).item() == pytest.approx(expected.item(), rel=1e-9)
    fine = pred[..., :9, :9], target[..., :9, :9]
    together = coarse_to_fine_sse((pred, target), fine, weights).item()
    assert together == pytest.approx(expected.item() + 0.1 * heatmap_sse(*fine, weights).item(), rel=1e-9)
    only_coarse = coarse_to_fine_sse((pred, target), fine, weights, fine_weight=0.0)
    assert only_coarse.item() == pytest.approx(expected.item(), rel=1e-9)


def test_cross_entropy_is_that_of_one_long_softmax():
    pred, target, weights = golden()
    flat = target.flatten(2) / target.flatten(2).sum(dim=-1, keepdim=True)
    each = torch.nn.functional.cross_entropy(pred.flatten(2).mT, flat.mT, reduction="none")
    assert heatmap_cross_entropy(pred, target).item() == pytest.approx(each.mean().item(), rel=1e-9)
    assert heatmap_cross_entropy(pred, target, weights).item() == pytest.approx(
        (each * weights).mean().item(), rel=1e-9
    )
    assert heatmap_cross_entropy(pred + 100, 3 * target).item() == pytest.approx(each.mean().item(), rel=1e-9)


def test_cross_entropy_ignores_missing_and_empty_maps():
    pred, target, _ = (tensor[..., :8, :6] if tensor.ndim == 4 else tensor for tensor in golden())
    pred, target = pred.clone().requires_grad_(), target.clone()
    target[0, 3] = 0
    weights = torch.ones(2, 17)
    weights[1, 7] = 0
    heatmap_cross_entropy(pred, target, weights).backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()
    reached = pred.grad.abs().sum(dim=(-1, -2)) > 0
    expected = weights > 0
    expected[0, 3] = False
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("loss", [heatmap_sse, heatmap_cross_entropy])
def test_tompsons_losses_require_matching_shapes(loss):
    pred, target, weights = golden()
    with pytest.raises(ValueError, match=r"one shape \(B, K, h, w\), got"):
        loss(pred, target[:, 1:])
    with pytest.raises(ValueError, match=r"weights: expected \(B, K\) = \(2, 17\)"):
        loss(pred, target, weights[..., None])


def test_euclidean_is_caffes():
    pred, target, weights = golden()
    assert euclidean(pred, target).item() == pytest.approx(
        ((pred - target) ** 2).sum().item() / (2 * len(pred)), rel=1e-9
    )
    weighted = ((pred - target) ** 2 * weights[..., None, None]).sum().item() / (2 * len(pred))
    assert euclidean(pred, target, weights).item() == pytest.approx(weighted, rel=1e-9)
    assert euclidean(pred, target).item() == pytest.approx(heatmap_mse(pred, target).item() * pred[0].numel() / 2)
    with pytest.raises(ValueError, match=r"one shape \(B, K, h, w\), got"):
        euclidean(pred, target[:, 1:])


def test_the_first_stage_has_a_target_of_its_own():
    pred, target, _ = golden()
    stages = [(factor * pred).requires_grad_() for factor in (1, 2, 3)]
    loss = belief_loss(stages, 2 * target, target)
    loss.backward()
    each = [euclidean(stage, goal).item() for stage, goal in zip(stages, (2 * target, target, target), strict=True)]
    assert loss.item() == pytest.approx(sum(each), rel=1e-9)
    for stage, goal in zip(stages, (2 * target, target, target), strict=True):
        torch.testing.assert_close(stage.grad, (stage.detach() - goal) / 2)
    with pytest.raises(ValueError, match=r"at least one, got none; .*all_stages=True"):
        belief_loss([], target, target)


def poses() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred, target = (224 * torch.rand(3, 16, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    return pred, target, torch.rand(3, 16, generator=generator) > 0.3


def test_keypoint_l2_is_half_the_sum_over_seen_coordinates():  # specs/models2d_b.md 5.6, in plain loops
    pred, target, seen = poses()
    expected = 0.0
    for person in range(3):
        for k in range(16):
            for axis in range(2):
                if seen[person, k]:
                    expected += 0.5 * (float(pred[person, k, axis]) - float(target[person, k, axis])) ** 2
    assert keypoint_l2(pred, target, seen, half=True).item() == pytest.approx(expected, rel=1e-12)
    assert keypoint_l2(pred, target, seen).item() == pytest.approx(2 * expected, rel=1e-12)
    assert keypoint_l2(pred, target, seen, per_person=True).item() == pytest.approx(2 * expected / 3, rel=1e-12)
    assert keypoint_l2(pred, target).item() == pytest.approx((pred - target).square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("missing", range(16))
def test_keypoint_l2_has_no_gradient_for_a_missing_keypoint(missing):
    pred, target, _ = poses()
    pred.requires_grad_()
    seen = torch.ones(3, 16, dtype=torch.bool)
    seen[1, missing] = False
    losses = []
    for nonsense in (0.0, 1e6, torch.nan):
        spoiled = target.clone()
        spoiled[1, missing] = nonsense
        losses.append(keypoint_l2(pred, spoiled, seen))
    assert len({loss.item() for loss in losses}) == 1
    losses[-1].backward()
    assert pred.grad is not None
    assert torch.equal((pred.grad != 0).all(dim=-1), seen)
    assert torch.isfinite(pred.grad).all()


def test_keypoint_l2_weighs_the_squared_error():
    pred, target, _ = poses()
    doubled = keypoint_l2(pred, target, torch.full((3, 16), 2.0))
    torch.testing.assert_close(doubled, 2 * keypoint_l2(pred, target))
    assert keypoint_l2(pred, target, torch.zeros(3, 16)).item() == 0
    assert keypoint_l2(pred[:0], target[:0], per_person=True).item() == 0


def test_keypoint_l2_refuses_other_shapes():
    pred, target, seen = poses()
    with pytest.raises(ValueError, match=r"one shape \(B, K, D\), got \(3, 16, 2\) and \(3, 15, 2\)"):
        keypoint_l2(pred, target[:, 1:])
    with pytest.raises(ValueError, match=r"got \(3, 32\) and \(3, 32\)"):
        keypoint_l2(pred.flatten(1), target.flatten(1))
    with pytest.raises(ValueError, match=r"weights: expected \(B, K\) = \(3, 16\), got \(3, 16, 2\)"):
        keypoint_l2(pred, target, seen[..., None].expand(3, 16, 2))


def test_keypoint_mse_is_the_mean_over_people_of_their_seen_keypoints():  # specs/models2d_a.md 1.2, in plain loops
    pred, target, seen = poses()
    means = []
    for person in range(3):
        errors = [
            sum((float(pred[person, k, axis]) - float(target[person, k, axis])) ** 2 for axis in range(2))
            for k in range(16)
            if seen[person, k]
        ]
        means.append(sum(errors) / len(errors))
    assert keypoint_mse(pred, target, seen).item() == pytest.approx(sum(means) / 3, rel=1e-12)
    everything = (pred - target).square().sum(dim=-1).mean()
    torch.testing.assert_close(keypoint_mse(pred, target), everything)


def test_keypoint_mse_leaves_out_people_without_labels():
    pred, target, seen = poses()
    seen[1] = False
    torch.testing.assert_close(keypoint_mse(pred, target, seen), keypoint_mse(pred[::2], target[::2], seen[::2]))
    assert keypoint_mse(pred, target, torch.zeros(3, 16)).item() == 0
    assert keypoint_mse(pred[:0], target[:0], seen[:0]).item() == 0


def test_keypoint_smooth_l1_is_mmposes():  # its RegressionLabel and SmoothL1Loss, run on the same numbers
    pred = torch.from_numpy(np.random.RandomState(5).uniform(-0.5, 2.5, (3, 17, 2)))
    target = torch.from_numpy(np.random.RandomState(6).uniform(-20, 240, (3, 17, 2)) / (192, 256))
    labelled = torch.from_numpy(np.random.RandomState(7).uniform(0, 1, (3, 17)) > 0.3)
    weights = labelled & ((target >= 0) & (target <= torch.tensor([191 / 192, 255 / 256]))).all(dim=-1)
    assert weights.sum() == 26
    assert keypoint_smooth_l1(pred, target, weights).item() == pytest.approx(0.2135207166433611, rel=1e-12)
    assert keypoint_smooth_l1(pred, target).item() == pytest.approx(0.4860320265067423, rel=1e-12)


@pytest.mark.parametrize("loss", [keypoint_mse, keypoint_smooth_l1])
@pytest.mark.parametrize("missing", range(16))
def test_regression_has_no_gradient_for_a_missing_keypoint(loss, missing):
    pred, target, _ = poses()
    seen = torch.ones(3, 16, dtype=torch.bool)
    seen[1, missing] = False
    target[1, missing] = torch.nan
    pred.requires_grad_()
    loss(pred, target, seen).backward()
    assert pred.grad is not None
    assert torch.equal((pred.grad != 0).all(dim=-1), seen)
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("loss", [keypoint_mse, keypoint_smooth_l1])
def test_regression_losses_refuse_other_shapes(loss):
    pred, target, seen = poses()
    with pytest.raises(ValueError, match=r"one shape \(B, K, D\), got \(3, 16, 2\) and \(3, 15, 2\)"):
        loss(pred, target[:, 1:])
    with pytest.raises(ValueError, match=r"weights: expected \(B, K\) = \(3, 16\), got \(3, 16, 2\)"):
        loss(pred, target, seen[..., None].expand(3, 16, 2))


def test_bounded_correction_is_the_error_of_one_step():  # specs/models2d_a.md 4.1, in plain loops
    random = np.random.RandomState(8)
    pred, start, target = (torch.from_numpy(random.uniform(0, 224, (3, 5, 2))) for _ in range(3))
    target[0, 1] = start[0, 1] + torch.tensor([3.0, -4.0])  # nearer than a step
    target[2, 4] = start[2, 4]  # there already
    expected = 0.0
    for person in range(3):
        for k in range(5):
            way = [float(target[person, k, axis] - start[person, k, axis]) for axis in range(2)]
            length = (way[0] ** 2 + way[1] ** 2) ** 0.5
            for axis in range(2):
                step = min(20, length) * way[axis] / length if length else 0.0
                moved = float(pred[person, k, axis] - start[person, k, axis])
                expected += (moved / 20 - step / 20) ** 2 / 3
    assert bounded_correction(pred, start, target).item() == pytest.approx(expected, rel=1e-12)
    perfect = start + torch.tensor([17.3649, -9.9228])  # the worked example: a step towards (170, 60) from (100, 100)
    assert bounded_correction(perfect, start, start + torch.tensor([70.0, -40.0])).item() < 1e-9
    assert bounded_correction(start, start, start).item() == 0


@pytest.mark.parametrize("missing", range(5))
def test_bounded_correction_has_no_gradient_for_a_missing_keypoint(missing):
    random = np.random.RandomState(9)
    pred, start, target = (torch.from_numpy(random.uniform(0, 224, (3, 5, 2))) for _ in range(3))
    target[1, missing] = torch.nan
    seen = torch.ones(3, 5, dtype=torch.bool)
    seen[1, missing] = False
    pred.requires_grad_()
    bounded_correction(pred, start, target, seen).backward()
    assert pred.grad is not None
    assert torch.equal((pred.grad != 0).all(dim=-1), seen)
    assert torch.isfinite(pred.grad).all()


def test_bounded_correction_refuses_other_shapes():
    pose = torch.zeros(3, 5, 2)
    for odd in range(3):
        poses = [pose[:, 1:] if index == odd else pose for index in range(3)]
        with pytest.raises(ValueError, match=r"one shape \(B, K, 2\), got .*\(3, 4, 2\)"):
            bounded_correction(*poses)
    with pytest.raises(ValueError, match=r"weights: expected \(B, K\) = \(3, 5\)"):
        bounded_correction(pose, pose, pose, torch.ones(3, 4))


def poses3d() -> tuple[Tensor, Tensor]:  # specs/models3d.md 11.3 D
    t, j, c = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (4, 17, 3)), indexing="ij")
    angle = 1.7 * j + 2.3 * c + 0.9 * j * c + 0.05 * t
    target = 300 * torch.sin(angle)
    pred = 330 * torch.sin(angle + 0.2) + 20 * torch.cos(0.9 * j + 1.1 * c + 0.3 * t)
    return pred - pred[:, :1], target - target[:, :1]


def test_pose_distance_is_videopose3ds():
    pred, target = poses3d()
    assert pose_distance(pred, target).item() == pytest.approx(118.713520, rel=1e-8)
    weights = torch.ones(4, 17, dtype=torch.float64)
    weights[:, 0] = 0  # the root, whose error is 0: their mean is over all the same
    assert pose_distance(pred, target, weights).item() == pytest.approx(118.713520, rel=1e-8)
    assert pose_distance(pred[:, 1:], target[:, 1:]).item() == pytest.approx(126.133114, rel=1e-8)
    pred.requires_grad_()
    pose_distance(pred, target).backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()  # where pred and target are equal, the root, the norm has no slope


def test_pose_mse_is_in_z_scores():  # Martinez et al. compare (pose - mean) / std
    pred, target = poses3d()
    mean, std = target.mean(dim=0), target.std(dim=0) + 1
    expected = torch.nn.functional.mse_loss((pred - mean) / std, (target - mean) / std)
    torch.testing.assert_close(pose_mse(pred, target, std), expected)
    torch.testing.assert_close(pose_mse(pred, target), torch.nn.functional.mse_loss(pred, target))


@pytest.mark.parametrize(
    "loss", [pose_distance, lambda pred, target, weights=None: pose_mse(pred, target, None, weights)]
)
def test_pose_losses_skip_missing_keypoints_and_check_shapes(loss):
    pred, target = poses3d()
    weights = torch.ones(4, 17, dtype=torch.float64)
    weights[1, 3] = 0
    pred.requires_grad_()
    loss(pred, target, weights).backward()
    assert pred.grad is not None
    assert not pred.grad[1, 3].any()
    assert pred.grad[:, 1:].any(dim=-1).sum() == 4 * 16 - 1
    with pytest.raises(ValueError, match=r"one shape \(\.\.\., K, D\), got \(4, 17, 3\) and \(4, 16, 3\)"):
        loss(pred, target[:, 1:])
    with pytest.raises(ValueError, match=r"weights: expected \(4, 17\), got \(4, 16\)"):
        loss(pred, target, weights[:, 1:])


def test_pose_sequence_mse_is_rpsms():
    """Equation 2 written out; the authors' code has the mean over coordinates where it has their
    sum.
    """
    generator = torch.Generator().manual_seed(0)
    stages = [torch.randn(2, 5, 17, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    target = torch.randn(2, 5, 17, 3, generator=generator, dtype=torch.float64)
    alphas = (1.0, 0.5, 2.0)
    equation = sum(
        alpha * sum((stage[b, t] - target[b, t]).square().sum() for t in range(5))
        for alpha, stage in zip(alphas, stages, strict=True)
        for b in range(2)
    )
    loss = pose_sequence_mse(stages, target, stage_weights=alphas)
    torch.testing.assert_close(loss, equation / 2 / 51)  # two clips, 51 coordinates
    torch.testing.assert_close(
        pose_sequence_mse(stages, target), pose_sequence_mse(stages, target, stage_weights=(1.0, 1.0, 1.0))
    )
    scale = torch.full((17, 3), 4.0, dtype=torch.float64)
    torch.testing.assert_close(pose_sequence_mse(stages, target, scale, stage_weights=alphas), loss / 16)


def test_pose_sequence_mse_leaves_out_missing_keypoints():
    """A clip that ends early costs what the shorter clip would; a missing keypoint gets no
    gradient.
    """
    stage = torch.randn(1, 5, 17, 3, requires_grad=True)
    weights = torch.ones(1, 5, 17)
    weights[:, 3:] = 0
    shorter = pose_sequence_mse([stage[:, :3]], torch.zeros(1, 3, 17, 3))
    torch.testing.assert_close(pose_sequence_mse([stage], torch.zeros(1, 5, 17, 3), weights=weights), shorter)
    weights[0, 1, 4] = 0
    pose_sequence_mse([stage], torch.zeros(1, 5, 17, 3), weights=weights).backward()
    assert stage.grad is not None
    assert torch.equal(stage.grad.any(dim=-1), weights > 0)


def test_pose_sequence_mse_checks_stages():
    poses = torch.zeros(1, 5, 17, 3)
    with pytest.raises(ValueError, match="got 0 stages"):
        pose_sequence_mse([], poses)
    with pytest.raises(ValueError, match=r"got 2 stages, 3 weights.*all_stages=True"):
        pose_sequence_mse([poses, poses], poses, stage_weights=[1, 1, 1])
    with pytest.raises(ValueError, match=r"target \(B, T, K, D\).*target \(5, 17, 3\)"):
        pose_sequence_mse([poses[0]], poses[0])


LIMBS = {  # Hossain and Little's weights of what moves: the paper's section 3 and 4, and the authors' code
    "paper": {"knee": 2.5, "elbow": 2.5, "ankle": 4.0, "wrist": 4.0},
    "code": {"knee": 2.5, "ankle": 2.5, "elbow": 4.0, "wrist": 4.0},
    "uniform": {},
}


@pytest.mark.parametrize("joint_weights", list(LIMBS))
def test_smooth_pose_mse_weighs_the_motion_of_limbs(joint_weights):
    pred, target = poses3d()
    names = get_skeleton("h36m17").keypoints
    each = [LIMBS[joint_weights].get(name.rpartition("_")[2], 1.0) for name in names]
    squares = [((pred[t, k] - target[t, k]) ** 2).mean() for t in range(4) for k in range(17)]
    changes = [each[k] * ((pred[t, k] - pred[t - 1, k]) ** 2).mean() for t in (1, 2, 3) for k in range(17)]
    expected = torch.stack(squares).mean() + 5 * torch.stack(changes).mean()
    torch.testing.assert_close(smooth_pose_mse(pred, target, joint_weights=joint_weights), expected)
    torch.testing.assert_close(smooth_pose_mse(pred, target, joint_weights=each), expected)
    without = smooth_pose_mse(pred[:, 1:], target[:, 1:], joint_weights=joint_weights)  # the authors' 48 coordinates
    torch.testing.assert_close(without, expected * 17 / 16)  # the pelvis has neither error nor motion
    batch = torch.stack([pred, 2 * pred]), torch.stack([target, 2 * target])
    torch.testing.assert_close(smooth_pose_mse(*batch, joint_weights=joint_weights), expected * (1 + 4) / 2)


def test_smooth_pose_mse_has_two_terms():
    pred, target = poses3d()
    torch.testing.assert_close(smooth_pose_mse(pred, target, temporal_weight=0), pose_mse(pred, target))
    torch.testing.assert_close(smooth_pose_mse(pred[:1], target[:1]), pose_mse(pred[:1], target[:1]))  # nothing moves
    still = pred[:1].expand(4, -1, -1)
    assert smooth_pose_mse(still, still).item() == 0
    assert smooth_pose_mse(target, target).item() > 1  # motion costs, even the right one
    one, two = (smooth_pose_mse(pred, target, temporal_weight=weight) for weight in (1.0, 2.0))
    torch.testing.assert_close(two - one, one - pose_mse(pred, target))


def test_smooth_pose_mse_skips_missing_keypoints():
    pred, target = poses3d()
    weights = torch.ones(4, 17, dtype=torch.float64)
    weights[2, 5] = 0
    pred.requires_grad_()
    smooth_pose_mse(pred, target, weights).backward()
    assert pred.grad is not None
    assert not pred.grad[2, 5].any()
    assert pred.grad[:, 1:].any(dim=-1).sum() == 4 * 16 - 1
    moved = pred.detach().clone()
    moved[2, 5] += 100
    torch.testing.assert_close(smooth_pose_mse(moved, target, weights), smooth_pose_mse(pred, target, weights))
    torch.testing.assert_close(smooth_pose_mse(pred, target, weights > 0), smooth_pose_mse(pred, target, weights))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"joint_weights": "thesis"}, "expected one of uniform, code, paper or a number for each, got 'thesis'"),
        ({"joint_weights": [1.0, 2.0]}, "joint_weights: expected 17 numbers, got 2"),
        ({"keypoints": 14}, "'code' is for the 17 keypoints of h36m17 or the 16 without the pelvis, got 14.*uniform"),
        ({"frames": 0}, r"expected \(\.\.\., T, K, D\), got \(17, 3\)"),
    ],
)
def test_smooth_pose_mse_refuses_other_shapes(arguments, says):
    pred, target = poses3d()
    frames, keypoints = arguments.pop("frames", slice(None)), arguments.pop("keypoints", 17)
    with pytest.raises(ValueError, match=says):
        smooth_pose_mse(pred[frames, :keypoints], target[frames, :keypoints], **arguments)
