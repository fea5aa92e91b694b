"""Losses: the authors' numbers, and that missing keypoints teach nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from posezoo.losses import heatmap_mse, ohkm


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
