"""Training losses: plain functions that return a scalar."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from posezoo.arrays import explained

SMOOTHNESS = {  # weights of the keypoints of `h36m17` in the temporal term of `smooth_pose_mse`
    "code": (1.0, 1.0, 2.5, 2.5, 1.0, 2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 1.0, 4.0, 4.0),
    "paper": (1.0, 1.0, 2.5, 4.0, 1.0, 2.5, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.5, 4.0, 1.0, 2.5, 4.0),
}


@explained
def heatmap_mse(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, half: bool = False) -> Tensor:
    """Mean squared error of heatmaps over batch, keypoints and cells; missing keypoints count as 0.

    The mean is over all keypoints, annotated or not, as in Simple Baselines, HRNet and mmpose.
    Intermediate supervision is the sum over the stages of a network,
    `sum(heatmap_mse(stage, target, weights) for stage in stages)`.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints. Defaults to 1. The authors of Simple Baselines
            weight before squaring: pass `weights**2` for that where they are not 0 or 1.
        half: multiply by 1/2, the authors' convention. Defaults to mmpose's, no factor.

    Examples:
        >>> import torch
        >>> heatmap_mse(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.tensor([[1.0, 0.0]])).item()
        0.5
    """
    return _squared_error(pred, target, weights).mean() * (0.5 if half else 1.0)


@explained
def heatmap_sse(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared error summed over each map, mean over keypoints and batch (Tompson et al. 2015).

    The losses E1 and E2 of the paper.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints, which count as 0 in the mean.

    Examples:
        >>> import torch
        >>> heatmap_sse(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.tensor([[1.0, 0.0]])).item()
        8.0
    """
    return _squared_error(pred, target, weights).sum(dim=(-2, -1)).mean()


@explained
def euclidean(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Euclidean loss of Caffe: half the squared error summed per image, mean over the batch.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints.

    Examples:
        >>> import torch
        >>> euclidean(torch.zeros(3, 2, 4, 4), torch.ones(3, 2, 4, 4)).item()
        16.0
    """
    return _squared_error(pred, target, weights).sum(dim=(1, 2, 3)).mean() / 2


@explained
def belief_loss(stages: Sequence[Tensor], first: Tensor, later: Tensor) -> Tensor:
    """Sum of `euclidean` over the stages (Convolutional Pose Machines, Equation 5).

    Args:
        stages: each `(B, K + 1, h, w)`, as `model(image, all_stages=True)` returns them.
        first: target of the first stage, with all people in the image.
            `posezoo.models.cpm.cpm_targets` returns both targets.
        later: target of the other stages, with one person.

    Examples:
        >>> import torch
        >>> stages, later = [torch.zeros(1, 2, 4, 4)] * 3, torch.ones(1, 2, 4, 4)
        >>> belief_loss(stages, 2 * later, later).item()
        96.0
    """
    if not stages:
        raise ValueError("stages: expected at least one, got none; model(image, all_stages=True) returns them")
    return sum((euclidean(stage, later) for stage in stages[1:]), euclidean(stages[0], first))


@explained
def coarse_to_fine_sse(
    coarse: tuple[Tensor, Tensor],
    fine: tuple[Tensor, Tensor],
    weights: Tensor | None = None,
    *,
    fine_weight: float = 0.1,
) -> Tensor:
    """Loss E3 of Tompson et al. 2015: coarse heatmaps (E1) plus `fine_weight` times fine ones (E2).

    Args:
        coarse: prediction and target, `(B, K, h, w)` each.
        fine: prediction and target, `(B, K, H, W)` each.
        weights: `(B, K)`, 0 for missing keypoints.
        fine_weight: lambda in the paper.

    Examples:
        >>> import torch
        >>> coarse = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
        >>> round(coarse_to_fine_sse(coarse, (torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8))).item(), 4)
        22.4
    """
    return heatmap_sse(*coarse, weights) + fine_weight * heatmap_sse(*fine, weights)


@explained
def heatmap_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy between the softmax over each map and the target map divided by its sum.

    For maps of log energies, the output of the spatial model of Tompson et al. (2014). Mean over
    batch and keypoints; missing keypoints, and those whose target map is empty, count as 0.

    Args:
        logits: `(B, K, h, w)`.
        target: `(B, K, h, w)`, not negative.
        weights: `(B, K)`, 0 for missing keypoints.

    Examples:
        >>> import torch
        >>> round(heatmap_cross_entropy(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)).item(), 4)   # log(16)
        2.7726
    """
    _check_heatmaps(logits, target, weights)
    mass = target.sum(dim=(-2, -1), keepdim=True)
    # an empty map is divided by the smallest number, because 0 / 0 is NaN
    chance = target / mass.clamp(min=torch.finfo(target.dtype).tiny)
    entropy = -(chance.flatten(2) * logits.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
    return (entropy if weights is None else entropy * weights.to(entropy)).mean()


@explained
def simcc_cross_entropy(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, columns: int) -> Tensor:
    """Cross-entropy of SimCC's bins, a softmax over x and one over y (ECCV 2022, section 3.2).

    Its gradient is that of the Kullback-Leibler divergence of the published code.

    Args:
        pred: `(B, K, columns + rows)` logits.
        target: `(B, K, columns + rows)`, the bins of each axis sum to 1 (`codecs.encode_simcc`).
        weights: `(B, K)`; keypoints of weight 0 do not count. Defaults to 1.
        columns: number of bins along x.

    Returns:
        The mean over keypoints with weights, a scalar.

    Raises:
        ValueError: different shapes.

    Examples:
        >>> pred, target = torch.zeros(1, 2, 8), torch.full((1, 2, 8), 0.25)
        >>> round(float(simcc_cross_entropy(pred, target, columns=4)), 4)      # log 4, of x and of y
        2.7726
    """
    if pred.shape != target.shape or pred.ndim != 3:
        raise ValueError(f"expected pred and target (B, K, bins), got {tuple(pred.shape)} and {tuple(target.shape)}")
    known = torch.ones_like(pred[..., 0]) if weights is None else weights
    error = sum(
        -(target[..., axis] * pred[..., axis].log_softmax(dim=-1)).sum(dim=-1)
        for axis in (slice(None, columns), slice(columns, None))
    )
    return (error * known).sum() / known.sum().clamp(min=1)


@explained
def ohkm(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, top_k: int = 8, half: bool = True) -> Tensor:
    """Online hard keypoint mining (CPN, section 3.2): mean of each person's `top_k` largest errors.

    Args:
        pred: `(B, K, h, w)`.
        target: `(B, K, h, w)`.
        weights: `(B, K)`, 0 for missing keypoints.
        top_k: number of keypoints per person that count, at most K.
        half: multiply by 1/2, as HRNet does.

    Examples:
        >>> import torch
        >>> ohkm(torch.zeros(1, 2, 4, 4), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4), top_k=1).item()
        4.5
    """
    errors = _squared_error(pred, target, weights).mean(dim=(-2, -1))
    if not 1 <= top_k <= errors.shape[1]:
        raise ValueError(f"top_k: expected 1 to {errors.shape[1]}, the number of keypoints, got {top_k}")
    return errors.topk(top_k, dim=1).values.mean() * (0.5 if half else 1.0)


@explained
def keypoint_l2(
    pred: Tensor, target: Tensor, weights: Tensor | None = None, *, half: bool = False, per_person: bool = False
) -> Tensor:
    """Sum of squared errors over people, keypoints and coordinates, in squared units of `target`.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; the values of missing keypoints are ignored, NaN included.
        weights: `(B, K)` numbers or bool, 0 for missing keypoints.
        half: multiply by 1/2, TensorFlow's `l2_loss` (PoseRNN, section 4.4).
        per_person: divide by the number of people B, so that the size of the batch does not change
            the step.

    Examples:
        >>> import torch
        >>> pred, target = torch.zeros(2, 3, 2), torch.full((2, 3, 2), 2.0)
        >>> seen = torch.tensor([[True, True, False], [True, False, False]])
        >>> keypoint_l2(pred, target, seen, half=True).item(), keypoint_l2(pred, target, seen, per_person=True).item()
        (12.0, 12.0)
    """
    error = _known_error(pred, target, weights)
    squared = error.square() if weights is None else error.square() * weights[..., None].to(error)
    return squared.sum() * (0.5 if half else 1.0) / (max(1, len(pred)) if per_person else 1)


@explained
def bounded_correction(
    pred: Tensor, start: Tensor, target: Tensor, weights: Tensor | None = None, *, max_step: float = 20.0
) -> Tensor:
    """Squared error of a correction against a bounded step (Iterative Error Feedback).

    The distance is in units of `max_step`, those of the network's last layer. It is summed over a
    person's keypoints and averaged over people. The target of a keypoint that lies on its ground
    truth is no correction.

    Args:
        pred: `(B, K, 2)` pixels, `start` after one correction: `model(image, keypoints=start)`.
        start: `(B, K, 2)` pixels.
        target: `(B, K, 2)` pixels, the ground truth; the values of missing keypoints are ignored,
            NaN included.
        weights: `(B, K)` numbers or bool, 0 for missing keypoints.
        max_step: longest step in pixels, L in the paper.

    Examples:
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
    # shorter steps stay: their norm is clamped to max_step, and the factor is 1
    step = step * (max_step / step.norm(dim=-1, keepdim=True).clamp(min=max_step))
    return keypoint_l2((pred - start) / max_step, step / max_step, weights, per_person=True)


@explained
def keypoint_mse(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared distance of annotated keypoints, mean over a person's keypoints, then over people.

    Equation 4 of DeepPose, which sums over people and annotated keypoints, with the reduction of
    its reimplementation in TensorFlow: each person has the same weight, however many keypoints are
    annotated. People without any are left out.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; the values of missing keypoints are ignored, NaN included.
        weights: `(B, K)` numbers or bool, 0 for missing keypoints.

    Examples:
        >>> import torch
        >>> pred, target = torch.zeros(2, 3, 2), torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, 3, 2)
        >>> keypoint_mse(pred, target, torch.tensor([[True, True, False], [True, False, False]])).item()
        5.0
    """
    if weights is None:
        weights = pred.new_ones(pred.shape[:2])
    total = weights.to(pred).sum(dim=1, keepdim=True)
    people = (total > 0).sum().clamp(min=1)
    # a person's weights sum to 1, whatever the number of annotated keypoints
    return keypoint_l2(pred, target, weights.to(pred) / torch.where(total > 0, total, 1.0)) / people


@explained
def keypoint_smooth_l1(pred: Tensor, target: Tensor, weights: Tensor | None = None, *, beta: float = 1.0) -> Tensor:
    """Smooth L1 error, mean over people, keypoints and coordinates; missing keypoints count as 0.

    Equal to mmpose's, which multiplies `pred` and `target` by the weights. With mmpose's
    coordinates, fractions of the image, and beta 1 it is half the squared error wherever the
    prediction is less than an image away.

    Args:
        pred: `(B, K, D)`.
        target: `(B, K, D)`; the values of missing keypoints are ignored, NaN included.
        weights: `(B, K)` numbers or bool, 0 for missing keypoints.
        beta: error above which the loss is linear.

    Examples:
        >>> import torch
        >>> keypoint_smooth_l1(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 3.0), torch.tensor([[1.0, 0.0]])).item()
        1.25
    """
    error = _known_error(pred, target, weights)
    if weights is not None:
        error = error * weights[..., None].to(error)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


@explained
def pose_mse(pred: Tensor, target: Tensor, scale: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of poses over batch, frames, keypoints and coordinates.

    Args:
        pred: `(..., K, D)`.
        target: `(..., K, D)`.
        scale: `(K, D)` units to divide the error by. With the standard deviations of the training
            data, `model.normalize.pose3d.std`, this is the loss of Martinez et al. (ICCV 2017),
            which is in z-scores. Defaults to 1.
        weights: `(..., K)` of the squares, 0 for missing keypoints, which count as 0 in the mean.

    Examples:
        >>> import torch
        >>> pose_mse(torch.full((1, 2, 3), 20.0), torch.zeros(1, 2, 3), scale=torch.full((2, 3), 10.0)).item()
        4.0
    """
    _check_poses(pred, target, weights)
    error = pred - target if scale is None else (pred - target) / scale
    square = error.square()
    if weights is not None:
        square = square.masked_fill(weights[..., None] == 0, 0) * weights[..., None]  # 0 times NaN is NaN
    return square.mean()


@explained
def pose_sequence_mse(
    stages: Sequence[Tensor],
    target: Tensor,
    scale: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    stage_weights: Sequence[float] | None = None,
) -> Tensor:
    """Squared errors of poses, summed over the frames of a clip and over stages (RPSM, Equation 2).

    The error of a frame is the mean over keypoints and coordinates, as in the authors' code; the
    equation's sum is K D times as large. The authors train on one clip at a time; here the loss is
    the mean over the clips of a batch.

    Args:
        stages: poses of each stage, `(B, T, K, D)`: `model(clip, all_stages=True)`.
        target: `(B, T, K, D)`: `model.codec.target(pose3d)`.
        scale: `(K, D)` units to divide the error by; the authors': `model.codec.scale`. Defaults to
            1.
        weights: `(B, T, K)` of the squares, 0 for missing keypoints and for padding after the end
            of a shorter clip, which count as 0 in the mean and in the sum.
        stage_weights: alpha of each stage. Defaults to 1 (section 5.1).

    Examples:
        >>> import torch
        >>> stages = [torch.full((1, 5, 17, 3), 20.0), torch.full((1, 5, 17, 3), 10.0)]
        >>> target, scale = torch.zeros(1, 5, 17, 3), torch.full((17, 3), 10.0)
        >>> pose_sequence_mse(stages, target, scale).item()              # 5 frames, 2^2 + 1^2
        25.0
        >>> pose_sequence_mse(stages, target, scale, stage_weights=[0.5, 1]).item()
        15.0
    """
    alphas = [1.0] * len(stages) if stage_weights is None else stage_weights
    if not stages or len(alphas) != len(stages) or target.ndim != 4:
        raise ValueError(
            f"expected stages, a weight for each, and target (B, T, K, D); got {len(stages)} stages, {len(alphas)} "
            f"weights, target {tuple(target.shape)}; stages come from model(clip, all_stages=True)"
        )
    frames = target.shape[1]
    losses = [pose_mse(stage, target, scale, weights) for stage in stages]
    # `pose_mse` is a mean over frames, Equation 2 a sum
    return frames * torch.stack([alpha * loss for alpha, loss in zip(alphas, losses, strict=True)]).sum()


@explained
def smooth_pose_mse(
    pred: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    joint_weights: str | Sequence[float] = "code",
    temporal_weight: float = 5.0,
) -> Tensor:
    """Squared errors of poses in mm plus a smoothness term (Hossain & Little, Equation 3).

    "Exploiting temporal information for 3D human pose estimation", ECCV 2018. The loss is the mean
    squared error, plus `temporal_weight` times the mean squared change from each frame to the next,
    in which the keypoints of limbs weigh more. Both are means over the batch, frames, keypoints and
    coordinates, as in the authors' code. Its poses have no pelvis: `pred[..., 1:, :]` gives the
    authors' value, and the loss with the pelvis is 16/17 of it. The change is that of the
    prediction alone, so that the term penalises all motion, the target's included.

    Args:
        pred: `(..., T, K, D)` mm, consecutive frames.
        target: `(..., T, K, D)` mm.
        weights: `(..., T, K)` of the squares, 0 for missing keypoints, which count as 0 in the
            means. A change has the product of its two frames' weights.
        joint_weights: weights of the changes. "code" and "paper" are for the keypoints of `h36m17`,
            with or without the pelvis. The authors' code weighs legs 2.5 and arms 4 below hip and
            shoulder; the paper weighs knees and elbows 2.5, ankles and wrists 4 (section 3).
            "uniform" weighs all 1. Or K numbers.
        temporal_weight: beta of the equation (section 4). 0 leaves the term out, as does a single
            frame.

    Raises:
        ValueError: shapes that do not match, or unknown `joint_weights`.

    Examples:
        >>> import torch
        >>> pred, target = torch.zeros(1, 2, 16, 3), torch.zeros(1, 2, 16, 3)
        >>> pred[:, 1, 12] = 10.0                                       # a wrist jumps by 10 mm in each coordinate
        >>> smooth_pose_mse(pred, target, temporal_weight=0).item()     # 100, of one keypoint in 16 and one frame in 2
        3.125
        >>> smooth_pose_mse(pred, target).item()                        # plus 5 x 4 x 100, of one keypoint in 16
        128.125
    """
    if pred.ndim < 3:
        raise ValueError(f"pred: expected (..., T, K, D), got {tuple(pred.shape)}; add a time axis to single frames")
    position = pose_mse(pred, target, weights=weights)
    each = pred.new_tensor(_smoothness(joint_weights, pred.shape[-2]))
    if not temporal_weight or pred.shape[-3] == 1:
        return position
    both = each if weights is None else each * weights[..., 1:, :] * weights[..., :-1, :]
    before, after = pred[..., :-1, :, :], pred[..., 1:, :, :]
    return position + temporal_weight * pose_mse(after, before, weights=both.expand(after.shape[:-1]))


def _smoothness(joint_weights: str | Sequence[float], num_keypoints: int) -> Sequence[float]:
    if joint_weights == "uniform":
        return (1.0,) * num_keypoints
    if isinstance(joint_weights, str):
        if joint_weights not in SMOOTHNESS:
            known = ", ".join(("uniform", *SMOOTHNESS))
            raise ValueError(f"joint_weights: expected one of {known} or a number for each, got {joint_weights!r}")
        if num_keypoints not in (16, 17):
            raise ValueError(
                f"joint_weights: {joint_weights!r} is for the 17 keypoints of h36m17 or the 16 without the pelvis, got "
                f'{num_keypoints}; pass a number for each, or "uniform"'
            )
        return SMOOTHNESS[joint_weights][-num_keypoints:]
    if len(joint_weights) != num_keypoints:
        raise ValueError(f"joint_weights: expected {num_keypoints} numbers, got {len(joint_weights)}")
    return tuple(float(weight) for weight in joint_weights)


@explained
def pose_distance(pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """MPJPE as a loss (VideoPose3D): mean distance over batch, frames and keypoints.

    Args:
        pred: `(..., K, D)`.
        target: `(..., K, D)` in the same unit.
        weights: `(..., K)`, 0 for missing keypoints, which count as 0 in the mean.

    Examples:
        >>> import torch
        >>> pose_distance(torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]]), torch.zeros(1, 2, 3)).item()
        3.0
    """
    _check_poses(pred, target, weights)
    error = pred - target
    if weights is not None:
        error = error.masked_fill(weights[..., None] == 0, 0)  # 0 times NaN is NaN
    distance = error.norm(dim=-1)
    return (distance if weights is None else distance * weights).mean()


def _check_poses(pred: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if pred.shape != target.shape or pred.ndim < 2:
        raise ValueError(
            f"pred and target: expected one shape (..., K, D), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if weights is not None and weights.shape != pred.shape[:-1]:
        raise ValueError(f"weights: expected {tuple(pred.shape[:-1])}, got {tuple(weights.shape)}")


def _known_error(pred: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Keypoint errors `(B, K, D)`, 0 where missing."""
    if pred.shape != target.shape or pred.ndim != 3:
        raise ValueError(
            f"expected pred and target of one shape (B, K, D), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if pred.is_complex() or target.is_complex():
        raise ValueError(f"expected real numbers, got {pred.dtype} and {target.dtype}")
    error = pred - target
    if weights is None:
        return error
    if weights.shape != pred.shape[:2]:
        raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
    return error.masked_fill(weights[..., None] == 0, 0)  # not by a product: 0 times NaN is NaN


def _squared_error(pred: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    _check_heatmaps(pred, target, weights)
    error = (pred - target) ** 2
    if weights is None:
        return error
    # not only by a product: 0 times NaN is NaN
    return error.masked_fill(weights[..., None, None] == 0, 0) * weights[..., None, None].to(error)


def _check_heatmaps(pred: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if pred.shape != target.shape or pred.ndim != 4:
        raise ValueError(
            f"expected pred and target of one shape (B, K, h, w), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if weights is not None and weights.shape != pred.shape[:2]:
        raise ValueError(f"weights: expected (B, K) = {tuple(pred.shape[:2])}, got {tuple(weights.shape)}")
