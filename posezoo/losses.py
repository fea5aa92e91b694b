"""Training losses: plain functions that return a scalar."""

import torch
import torch.nn.functional as F
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


def keypoint_l2(
    pred: Tensor, target: Tensor, weights: Tensor | None = None, *, half: bool = False, per_person: bool = False
) -> Tensor:
    """Sum of squared coordinate errors over people, keypoints and coordinates, in squared units of `target`.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; what it says of a missing keypoint does not matter, not even NaN.
        weights: `(B, K)`, 0 for missing keypoints, or True and False.
        half: multiply by 1/2, TensorFlow's `l2_loss` (PoseRNN, section 4.4).
        per_person: divide by the number of people B, so that the size of the batch does not change the step.

    Example:
        >>> import torch
        >>> pred, target = torch.zeros(2, 3, 2), torch.full((2, 3, 2), 2.0)
        >>> seen = torch.tensor([[True, True, False], [True, False, False]])
        >>> keypoint_l2(pred, target, seen, half=True).item(), keypoint_l2(pred, target, seen, per_person=True).item()
        (12.0, 12.0)
    """
    if pred.shape != target.shape or pred.ndim != 3:
        raise ValueError(
            f"expected pred and target of one shape (B, K, D), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    error = pred - target
    if weights is not None:
        if weights.shape != pred.shape[:2]:
            raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
        error = error.masked_fill(weights[..., None] == 0, 0)  # not by a product: 0 times NaN is NaN
    squared = error.square() if weights is None else error.square() * weights[..., None].to(error)
    return squared.sum() * (0.5 if half else 1.0) / (max(1, len(pred)) if per_person else 1)


def bounded_correction(
    pred: Tensor, start: Tensor, target: Tensor, weights: Tensor | None = None, *, max_step: float = 20.0
) -> Tensor:
    """Iterative Error Feedback: how far one correction is from a step of at most `max_step` towards the truth.

    The squared distance in units of `max_step`, which are those of the network's last layer, summed over a person's
    keypoints and averaged over people. A keypoint that lies on its target should stay there.

    Args:
        pred: `(B, K, 2)` pixels, `start` after one correction: `model(image, keypoints=start)`.
        start: `(B, K, 2)` pixels.
        target: `(B, K, 2)` pixels, the truth; what it says of a missing keypoint does not matter, not even NaN.
        weights: `(B, K)`, 0 for missing keypoints, or True and False.
        max_step: L, pixels.

    Example:
        >>> import torch
        >>> start, target = torch.zeros(1, 1, 2), torch.tensor([[[70.0, 0.0]]])
        >>> bounded_correction(start, start, target).item(), bounded_correction(target, start, target).item()
        (1.0, 6.25)
    """
    if not pred.shape == start.shape == target.shape:
        raise ValueError(
            f"expected pred, start and target of one shape (B, K, 2), got {tuple(pred.shape)}, {tuple(start.shape)} "
            f"and {tuple(target.shape)}"
        )
    step = target - start
    step = step * (max_step / step.norm(dim=-1, keepdim=True).clamp(min=max_step))
    return keypoint_l2((pred - start) / max_step, step / max_step, weights, per_person=True)


def keypoint_mse(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared distance to the labelled keypoints, averaged over each person's keypoints, then over the people.

    DeepPose (Equation 4, whose sum is over people and labelled keypoints) as its reimplementation in TensorFlow reduces
    it: a person with few labels counts as much as any other; people without any are left out.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; what it says of a missing keypoint does not matter, not even NaN.
        weights: `(B, K)`, 0 for missing keypoints, or True and False.

    Example:
        >>> import torch
        >>> pred, target = torch.zeros(2, 3, 2), torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 3, 2)
        >>> keypoint_mse(pred, target, torch.tensor([[True, True, False], [True, False, False]])).item()
        5.0
    """
    if weights is None:
        weights = pred.new_ones(pred.shape[:2])
    total = weights.to(pred).sum(dim=1, keepdim=True)
    people = (total > 0).sum().clamp(min=1)
    return keypoint_l2(pred, target, weights.to(pred) / torch.where(total > 0, total, 1.0)) / people


def keypoint_smooth_l1(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, beta: float = 1.0) -> Tensor:
    """Smooth L1 error of coordinates, averaged over people, keypoints and coordinates; missing keypoints count as 0.

    As mmpose's, which multiplies `pred` and `target` by the weights. With its coordinates, fractions of the image, and
    beta 1 this is half the squared error wherever the prediction is less than an image away.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; what it says of a missing keypoint does not matter, not even NaN.
        weights: `(B, K)`, 0 for missing keypoints, or True and False.
        beta: the error from which on it counts linearly.

    Example:
        >>> import torch
        >>> keypoint_smooth_l1(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 3.0), torch.tensor([[1.0, 0.0]])).item()
        1.25
    """
    if pred.shape != target.shape or pred.ndim != 3:
        raise ValueError(
            f"expected pred and target of one shape (B, K, D), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    error = pred - target
    if weights is not None:
        if weights.shape != pred.shape[:2]:
            raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
        error = error.masked_fill(weights[..., None] == 0, 0) * weights[..., None].to(error)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


def _squared_error(pred: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    if pred.shape != target.shape or pred.ndim != 4:
        raise ValueError(
            f"expected pred and target of one shape (B, K, h, w), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    error = (pred - target) ** 2
    if weights is None:
        return error
    if weights.shape != pred.shape[:2]:
        raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
    return error * weights[..., None, None].to(error)
