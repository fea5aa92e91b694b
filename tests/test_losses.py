"""Losses: the authors' numbers, and that missing keypoints teach nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from posezoo.losses import (
    belief_loss,
    coarse_to_fine_sse,
    euclidean,
    heatmap_cross_entropy,
    heatmap_mse,
    heatmap_sse,
    ohkm,
    stage_sum,
)


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
def test_ohkm_says_how_many_there_are(top_k):
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


def test_every_stage_is_supervised():
    pred, target, weights = golden()
    stages = [(factor * pred).requires_grad_() for factor in (1, 2, 3)]
    loss = stage_sum(stages, target, weights, half=True)
    loss.backward()
    # bearpaw's: the sum over stacks of half the mean squared error, specs/models2d_b.md 1.7
    assert stage_sum(stages[:1], target, weights, half=True).item() == pytest.approx(0.4525374729, rel=1e-9)
    assert loss.item() == pytest.approx(sum(heatmap_mse(s, target, weights, half=True).item() for s in stages))
    assert all(stage.grad is not None and stage.grad.any() for stage in stages)


def test_no_stages_are_an_error():
    _, target, _ = golden()
    with pytest.raises(ValueError, match=r"at least one, got none; .*all_stages=True"):
        stage_sum([], target)


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
def test_tompsons_losses_want_matching_shapes(loss):
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
