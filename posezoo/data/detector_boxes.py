"""Boxes of detectors as crops: the factor between a detected face and the box of a person."""

import torch
from torch import Tensor


def fit_padding(boxes: Tensor, keypoints: Tensor, visible: Tensor, *, coverage: float = 1.0) -> float:
    """Fit the factor by which detected boxes, about their centres, contain the keypoints.

    DeepPose's initial box on FLIC is a detected face enlarged by such a constant, fitted on the
    training data to contain all annotated joints (section 4.1). The result is the `padding` of
    `PersonCrop(keep_aspect=False)`, in training and in test.

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels, of any detector of faces, torsos or people. A
            box that is not finite, where nothing was detected, does not count.
        keypoints: `(N, K, 2)` pixels of the images.
        visible: `(N, K)` bool.
        coverage: fraction of the people whose visible keypoints must all be contained. Defaults to
            1, as in the paper; a single false detection can then determine the result.

    Raises:
        ValueError: shapes that do not match, a box without area, no box with a visible keypoint, or
            a coverage outside (0, 1].

    Examples:
        >>> face = torch.tensor([[40.0, 10.0, 60.0, 30.0]])
        >>> pose = torch.tensor([[[20.0, 40.0], [70.0, 70.0]]])    # 50 below the centre; side 20
        >>> fit_padding(face, pose, torch.ones(1, 2))
        5.0
    """
    if boxes.shape != (len(keypoints), 4) or keypoints.shape != (*visible.shape, 2) or keypoints.ndim != 3:
        raise ValueError(
            f"expected boxes (N, 4), keypoints (N, K, 2) and visible (N, K), got {tuple(boxes.shape)}, "
            f"{tuple(keypoints.shape)} and {tuple(visible.shape)}"
        )
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage: expected a fraction of the people, above 0 and up to 1, got {coverage}")
    boxes, keypoints = boxes.double(), keypoints.double()
    extent = boxes[:, 2:] - boxes[:, :2]
    found = torch.isfinite(boxes).all(dim=1)
    flat = found & ~(extent > 0).all(dim=1)
    if flat.any():
        number = int(flat.nonzero()[0])
        raise ValueError(
            f"boxes: box {number} is {boxes[number].tolist()}; expected (x1, y1, x2, y2) with x2 > x1 and y2 > y1, or "
            "NaN where nothing was detected"
        )
    center = boxes[:, :2] + extent / 2
    factors = ((keypoints - center[:, None]).abs() / (extent[:, None] / 2)).amax(dim=-1)  # of each keypoint
    needed = factors.masked_fill(~visible.bool(), 0).amax(dim=1)[found & visible.bool().any(dim=1)]
    if not len(needed):
        raise ValueError("there is no box of a person with a visible keypoint, so there is nothing to fit")
    rank = max(1, int(-(-coverage * len(needed) // 1)))  # rounded up: at least that many people
    return float(needed.kthvalue(rank).values)
