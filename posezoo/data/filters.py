"""Temporal filters: what a single-frame network needs to be compared with one that sees time.

Hossain and Little (ECCV 2018, Table 1) filter the answers of Martinez' baseline, each coordinate by itself, over five
frames. They say neither where the window lies nor what happens at the ends: here it is centred, and the first and the
last frame are repeated.
"""

import torch
from torch import Tensor

WIDTH = 5  # frames (section 4.2 of Hossain and Little)


def mean_filter(points: Tensor, width: int = WIDTH) -> Tensor:
    """The mean of `width` frames around each.

    Args:
        points: `(..., T, K, D)`, keypoints or poses in any unit, one video each; poses relative to their root.
        width: an odd number of frames.

    Raises:
        ValueError: an even width, no frame, or points that are not finite.

    Example:
        >>> mean_filter(torch.tensor([0.0, 0.0, 10.0, 0.0, 0.0, 0.0]).view(6, 1, 1)).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0, 0.0]
    """
    return _windows(points, width).mean(dim=-1)


def median_filter(points: Tensor, width: int = WIDTH) -> Tensor:
    """The median of `width` frames around each, coordinate by coordinate; as `mean_filter`.

    Example:
        >>> median_filter(torch.tensor([0.0, 0.0, 10.0, 0.0, 1.0, 1.0]).view(6, 1, 1)).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    return _windows(points, width).median(dim=-1).values


def _windows(points: Tensor, width: int) -> Tensor:
    """`(..., T, K, D)` to `(..., T, K, D, width)`."""
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width: expected an odd number of frames, which has a middle, got {width}")
    if points.ndim < 3 or points.shape[-3] == 0:
        raise ValueError(f"points: expected (..., T, K, D) with at least one frame, got shape {tuple(points.shape)}")
    if not points.is_floating_point() or not points.isfinite().all():
        raise ValueError(
            "points: expected finite floats; a gap would spread over its neighbours, posezoo.lift fills it"
        )
    frames, half = points.shape[-3], width // 2
    index = torch.arange(-half, frames + half, device=points.device).clamp(0, frames - 1)
    return points.index_select(-3, index).unfold(-3, width, 1)
