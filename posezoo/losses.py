"""Training losses: plain functions that return a scalar."""

from collections.abc import Sequence

import torch
from torch import Tensor


def heatmap_mse(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, half: bool = False) -> Tensor:
    """Mean squared error of heatmaps over batch, keypoints and cells; missing keypoints count as 0.

    The mean is over all keypoints, labelled or not, as in Simple Baselines, HRNet and mmpose.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints. The authors of Simple Baselines weight before squaring: pass
            `weights**2` for that where they are not 0 or 1.
        half: multiply by 1/2, the authors' convention; mmpose and the default do not.

    Example:
        >>> import torch
        >>> heatmap_mse(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.tensor([[1.0, 0.0]])).item()
        0.5
    """
    return _squared_error(pred, target, weights).mean() * (0.5 if half else 1.0)


def stage_sum(stages: Sequence[Tensor], target: Tensor, weights: Tensor | None = None, *, half: bool = False) -> Tensor:
    """Sum of `heatmap_mse` over a network's supervised stages, with one target for all (Stacked Hourglass, 3.3).

    The authors' first code and bearpaw's sum, the latter with `half`; the authors' second code takes the mean.

    Args:
        stages: each `(B, K, h, w)`, as `model(image, all_stages=True)` returns them.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints.
        half: multiply by 1/2.

    Example:
        >>> import torch
        >>> stage_sum([torch.zeros(1, 2, 4, 4)] * 3, torch.ones(1, 2, 4, 4)).item()
        3.0
    """
    if not stages:
        raise ValueError("stages: expected at least one, got none; model(image, all_stages=True) returns them")
    first, *others = (heatmap_mse(stage, target, weights, half=half) for stage in stages)
    return sum(others, first)


def heatmap_sse(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared error summed over each map, mean over keypoints and batch (E1 and E2 of Tompson et al. 2015).

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints, which count in the mean as 0.

    Example:
        >>> import torch
        >>> heatmap_sse(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.tensor([[1.0, 0.0]])).item()
        8.0
    """
    return _squared_error(pred, target, weights).sum(dim=(-2, -1)).mean()


def euclidean(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Caffe's Euclidean loss: half the squared error, summed over keypoints and cells, mean over the batch.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints.

    Example:
        >>> import torch
        >>> euclidean(torch.zeros(3, 2, 4, 4), torch.ones(3, 2, 4, 4)).item()
        16.0
    """
    return _squared_error(pred, target, weights).sum(dim=(1, 2, 3)).mean() / 2


def belief_loss(stages: Sequence[Tensor], first: Tensor, later: Tensor) -> Tensor:
    """Sum of `euclidean` over the stages (Convolutional Pose Machines, Equation 5), the first with a target of its own.

    Args:
        stages: each `(B, K + 1, h, w)`, as `model(image, all_stages=True)` returns them.
        first: target of the first stage, with everybody in the image; `posezoo.models.cpm.cpm_targets` makes both.
        later: target of the others, with one person.

    Example:
        >>> import torch
        >>> stages, later = [torch.zeros(1, 2, 4, 4)] * 3, torch.ones(1, 2, 4, 4)
        >>> belief_loss(stages, 2 * later, later).item()
        96.0
    """
    if not stages:
        raise ValueError("stages: expected at least one, got none; model(image, all_stages=True) returns them")
    return sum((euclidean(stage, later) for stage in stages[1:]), euclidean(stages[0], first))


def coarse_to_fine_sse(
    coarse: tuple[Tensor, Tensor],
    fine: tuple[Tensor, Tensor],
    weights: Tensor | None = None,
    *,
    fine_weight: float = 0.1,
) -> Tensor:
    """E3 of Tompson et al. 2015: E1 of the coarse heatmaps and `fine_weight` times E2 of the fine ones.

    Args:
        coarse: prediction and target, `(B, K, h, w)` each.
        fine: prediction and target, `(B, K, H, W)` each.
        weights: `(B, K)`, 0 for missing keypoints.
        fine_weight: lambda in the paper.

    Example:
        >>> import torch
        >>> coarse = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
        >>> round(coarse_to_fine_sse(coarse, (torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8))).item(), 4)
        22.4
    """
    return heatmap_sse(*coarse, weights) + fine_weight * heatmap_sse(*fine, weights)


def heatmap_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy between the softmax over each map and the target map divided by its sum.

    For maps of log energies, which is what the spatial model of Tompson et al. (2014) gives. Mean over batch and
    keypoints; missing keypoints, and those whose target map is empty, count as 0.

    Args:
        logits: `(B, K, h, w)`.
        target: `(B, K, h, w)`, not negative.
        weights: `(B, K)`, 0 for missing keypoints.

    Example:
        >>> import torch
        >>> round(heatmap_cross_entropy(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)).item(), 4)   # log(16)
        2.7726
    """
    _check_heatmaps(logits, target, weights)
    mass = target.sum(dim=(-2, -1), keepdim=True)
    # an empty map divides by the smallest number, not by 0
    chance = target / mass.clamp(min=torch.finfo(target.dtype).tiny)
    entropy = -(chance.flatten(2) * logits.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
    return (entropy if weights is None else entropy * weights.to(entropy)).mean()


def ohkm(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, top_k: int = 8, half: bool = True) -> Tensor:
    """Online hard keypoint mining (CPN, section 3.2; HRNet's option): each person's `top_k` largest errors.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints.
        top_k: keypoints per person that count, at most K.
        half: multiply by 1/2, as HRNet does.

    Example:
        >>> import torch
        >>> ohkm(torch.zeros(1, 2, 4, 4), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4), top_k=1).item()
        4.5
    """
    errors = _squared_error(pred, target, weights).mean(dim=(-2, -1))
    if not 1 <= top_k <= errors.shape[1]:
        raise ValueError(f"top_k: expected 1 to {errors.shape[1]}, the number of keypoints, got {top_k}")
    return errors.topk(top_k, dim=1).values.mean() * (0.5 if half else 1.0)


def _squared_error(pred: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    _check_heatmaps(pred, target, weights)
    error = (pred - target) ** 2
    return error if weights is None else error * weights[..., None, None].to(error)


def _check_heatmaps(pred: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if pred.shape != target.shape or pred.ndim != 4:
        raise ValueError(
            f"expected pred and target of one shape (B, K, h, w), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if weights is not None and weights.shape != pred.shape[:2]:
        raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
