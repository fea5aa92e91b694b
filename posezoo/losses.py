"""Training losses: plain functions that return a scalar."""

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
