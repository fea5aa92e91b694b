"""Refinement of keypoints in squares around them: diameters, squares, simulated predictions.

From DeepPose, section 3.2 (Toshev, Szegedy; CVPR 2014). Its later stages are trained on simulated
predictions: ground truth displaced as the stage before errs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from posezoo.skeletons import Skeleton

TORSO = ("left_shoulder", "right_hip")  # whose distance is the pose's diameter
MIN_DIAMETER = 1.0  # pixels
DRAWS = 40  # simulated predictions of each keypoint (section 4.1)


def diameter_keypoints(skeleton: Skeleton | None, diameter: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of keypoints whose distance is the diameter; none without a torso.

    Examples:
        >>> skeleton = Skeleton("torso", ("left_hip", "right_hip", "left_shoulder", "right_shoulder"))
        >>> diameter_keypoints(skeleton, ("left_shoulder", "right_hip"))
        [(2, 1), (3, 0)]
    """
    if len(diameter) != 2:
        raise ValueError(f"diameter: expected the names of two keypoints, got {tuple(diameter)}")
    names = skeleton.keypoints if skeleton else ()
    if skeleton and all(name in names for name in diameter):
        first, second = (names.index(name) for name in diameter)
        mirror = skeleton.flip_index
        return list(dict.fromkeys([(first, second), (mirror[first], mirror[second])]))
    if names and tuple(diameter) != TORSO:
        raise ValueError(f"diameter: expected two of the keypoints {', '.join(names)}, got {tuple(diameter)}")
    return []


def pose_diameter(keypoints: Tensor, visible: Tensor | None, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return diameters of poses in pixels, at least 1; NaN where not visible.

    Args:
        keypoints: `(..., K, 2)` pixels.
        visible: `(..., K)` bool; None: all visible.
        pairs: of `diameter_keypoints`, the preferred one first. Without any the diameter is the
            diagonal of the box around the keypoints.

    Returns:
        `(...)` pixels.

    Examples:
        >>> pose_diameter(torch.tensor([[0.0, 0.0], [30.0, 40.0], [9.0, 9.0]]), None, [(0, 1)]).item()
        50.0
    """
    if visible is None:
        visible = keypoints.new_ones(keypoints.shape[:-1], dtype=torch.bool)
    length = keypoints.new_full(keypoints.shape[:-2], torch.nan)
    if not pairs:
        low = keypoints.masked_fill(~visible[..., None], torch.inf).amin(dim=-2)
        high = keypoints.masked_fill(~visible[..., None], -torch.inf).amax(dim=-2)
        length = torch.where(visible.any(dim=-1), (high - low).norm(dim=-1), length)
    for first, second in reversed(pairs):  # the preferred one comes last, and stays
        known = visible[..., first] & visible[..., second]
        length = torch.where(known, (keypoints[..., first, :] - keypoints[..., second, :]).norm(dim=-1), length)
    return length.clamp(min=MIN_DIAMETER)


def square_boxes(middle: Tensor, side: Tensor) -> Tensor:
    """Return square boxes (x1, y1, x2, y2) around points: `(..., 2), (...) -> (..., 4)`.

    Examples:
        >>> square_boxes(torch.tensor([[50.0, 40.0]]), torch.tensor([20.0])).tolist()
        [[40.0, 30.0, 60.0, 50.0]]
    """
    half = side[..., None] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def whole_image(image: Tensor) -> Tensor:
    """Return an image's box b0, to the outer edges of its pixels: `(4,)` as (x1, y1, x2, y2).

    Examples:
        >>> whole_image(torch.zeros(3, 220, 440)).tolist()
        [-0.5, -0.5, 439.5, 219.5]
    """
    height, width = image.shape[-2:]
    dtype = torch.promote_types(image.dtype, torch.float32)
    return torch.tensor([-0.5, -0.5, width - 0.5, height - 0.5], dtype=dtype, device=image.device)


def box_matrix(boxes: Tensor, side: int) -> Tensor:
    """Return affine maps `(..., 2, 3)` from boxes, of outer edges, to `side` x `side` pixels.

    Examples:
        >>> box_matrix(torch.tensor([[-0.5, -0.5, 9.5, 9.5]]), 20).tolist()
        [[[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]]]
    """
    low, high = boxes.split(2, dim=-1)
    scale = side / (high - low)
    return torch.cat([torch.diag_embed(scale), (-0.5 - low * scale)[..., None]], dim=-1)


def displacement_statistics(pred: Tensor, target: Tensor, visible: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of keypoints' displacements, in diameters (section 3.2).

    Args:
        pred: `(N, K, 2)` pixels.
        target: `(N, K, 2)` pixels.
        visible: `(N, K)` bool.
        diameter: `(N,)` pixels; people with NaN are left out.

    Returns:
        Mean and variance, `(K, 2)` each.

    Raises:
        ValueError: a keypoint has fewer than two examples.

    Examples:
        >>> pred, target = torch.tensor([[[11.0, 0.0]], [[13.0, 0.0]]]), torch.tensor([[[10.0, 0.0]], [[10.0, 0.0]]])
        >>> mean, variance = displacement_statistics(pred, target, torch.ones(2, 1).bool(), torch.tensor([2.0, 2.0]))
        >>> mean.tolist(), variance.tolist()
        ([[1.0, 0.0]], [[0.25, 0.0]])
    """
    known = visible & ~diameter.isnan()[:, None]
    count = known.sum(dim=0)
    if len(count) and int(count.min()) < 2:
        raise ValueError(
            f"keypoint {int(count.argmin())} is labelled {int(count.min())} times, on people with a diameter; expected "
            "2 or more, to measure how its predictions scatter"
        )
    displacement = torch.where(known[..., None], (pred - target) / diameter[:, None, None], 0.0)
    mean = displacement.sum(dim=0) / count[:, None]
    variance = torch.where(known[..., None], displacement - mean, 0.0).square().sum(dim=0) / count[:, None]
    return mean, variance


def simulated_predictions(
    keypoints: Tensor,
    diameter: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    draws: int = DRAWS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add Gaussian displacements, with a stage's error statistics, to the truth (section 3.2).

    Args:
        keypoints: `(B, K, 2)` pixels, ground truth.
        diameter: `(B,)` pixels.
        mean: `(K, 2)` in diameters, see `displacement_statistics`.
        variance: `(K, 2)` in squared diameters.
        draws: simulated predictions of each keypoint.

    Returns:
        `(B, draws, K, 2)` pixels.

    Examples:
        >>> truth, nothing = torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 2)
        >>> simulated_predictions(truth, torch.tensor([2.0]), nothing + 0.5, nothing, draws=2).tolist()
        [[[[4.0, 5.0]], [[4.0, 5.0]]]]
    """
    shape = (len(keypoints), draws, *keypoints.shape[1:])
    noise = torch.randn(shape, dtype=keypoints.dtype, device=keypoints.device, generator=generator)
    return keypoints[:, None] + diameter[:, None, None, None] * (mean + variance.sqrt() * noise)
