"""Person-relative keypoints and Procrustes alignment of poses.

Arrays may be NumPy or torch: results are of the kind of the first argument. Integers become
float32.
"""

import math

import torch
from torch import Tensor

from posezoo.arrays import Array, ArrayT, as_floats, as_tensor, explained, same_kind
from posezoo.geometry.affine import precise

NEWTON_STEPS = 10  # of `_best_rotation`: nine leave 6e-9 of its trace, ten 5e-15, in the worst case it is used for


@explained
def person_frame(keypoints: ArrayT, visible: Array | None = None, *, root: int = 0) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Normalise keypoints to the person: relative to the root, in units of the person's size.

    The result does not depend on the person's position in the image, on the image's size, nor,
    except for perspective, on distance and focal length. The size is the root mean square distance
    of the visible keypoints from the root, averaged over the frames. There is one size per window,
    so that a person who crouches gets smaller.

    Args:
        keypoints: `(..., T, K, D)` pixels, or millimetres.
        visible: bool `(..., T, K)`. Defaults to all. Keypoints that are not visible may have any
            value and become 0.
        root: index of the root. In a frame where it is not visible, the mean of the visible
            keypoints replaces it.

    Returns:
        relative `(..., T, K, D)`, origin `(..., T, 1, D)` and scale `(..., 1, 1, 1)`: the keypoints
        are `relative * scale + origin`. The scale of a window without two distinct visible points
        is 1.

    Raises:
        ValueError: shapes that do not match.

    Examples:
        >>> keypoints = torch.tensor([[[100.0, 50.0], [103.0, 54.0]]])                # one frame: root, and 5 px away
        >>> relative, origin, scale = person_frame(keypoints)
        >>> (relative * scale + origin).tolist() == keypoints.tolist(), round(float(scale), 4)      # sqrt(25 / 2)
        (True, 3.5355)
    """
    points = as_floats(keypoints, "keypoints")
    if points.ndim < 3:
        raise ValueError(f"keypoints: expected (..., T, K, D), got {tuple(points.shape)}; add a time axis of 1")
    if visible is None:
        mask = torch.ones_like(points[..., :1], dtype=torch.bool)
    else:
        flags = as_tensor(visible, points)
        if flags.shape != points.shape[:-1]:
            raise ValueError(f"visible: expected {tuple(points.shape[:-1])}, got {tuple(flags.shape)}")
        mask = flags[..., None] > 0
        points = torch.where(mask, points, 0.0)
    count = mask.sum(dim=-2, keepdim=True)
    middle = points.sum(dim=-2, keepdim=True) / count.clamp_min(1)
    origin = torch.where(mask[..., root, None, :], points[..., root, None, :], middle)
    relative = torch.where(mask, points - origin, 0.0)
    square = relative.square().sum(dim=-1, keepdim=True).sum(dim=-2, keepdim=True) / count.clamp_min(1)
    positive = torch.where(square > 0, square, 1.0)  # the gradient of sqrt at 0 is infinite
    size = torch.where(square > 0, positive.sqrt(), 0.0)
    frames = (count > 0).sum(dim=-3, keepdim=True).clamp_min(1)
    scale = size.sum(dim=-3, keepdim=True) / frames
    scale = torch.where(scale > 0, scale, 1.0)
    return same_kind(keypoints, relative / scale), same_kind(keypoints, origin), same_kind(keypoints, scale)


@explained
def procrustes(
    source: ArrayT, target: Array, *, scale: bool = True, weights: Array | None = None
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Estimate the similarity or rigid transform between two sets of points by least squares.

    The rotation is a closed form (Markley, "Attitude Determination Using Vector Observations: A
    Fast Optimal Matrix Algorithm", Journal of the Astronautical Sciences 1993), many times faster
    than a batch of small singular value decompositions. Poses whose rotation is ill-conditioned or
    not unique use the decomposition (Umeyama, TPAMI 1991). The result is always a proper rotation,
    never a reflection, even where that would fit better.

    Args:
        source: `(..., K, 3)` points to move.
        target: `(..., K, 3)` points to move them to, in the same order.
        scale: estimate a similarity. False: a rigid transform, and the scale is 1.
        weights: `(..., K)` non-negative, or a bool mask of the points to use. Defaults to equal
            weights. Points of weight 0 may have any value, including NaN.

    Returns:
        scale `(...)`, rotation `(..., 3, 3)` and translation `(..., 3)`, in double precision where
        the device has it: `scale * rotation @ source + translation` is close to `target`. `align`
        applies them.

        Degenerate poses: for points on one line the rotation about that line is arbitrary, and one
        of the optimal rotations is returned. A source in one point (or with fewer than two points
        of positive weight) is only
        translated: identity rotation, scale 1. For a target in one point the least-squares scale is
        0. Without any point of positive weight the result is the identity. NaN or infinity in
        points of positive weight gives NaN.

    Raises:
        ValueError: shapes that do not match.

    Examples:
        >>> source = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        >>> factor, rotation, translation = procrustes(source, 2 * source @ quarter.T + 5)
        >>> round(float(factor), 6), rotation.round().int().tolist()
        (2.0, [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    """
    _, _, from_middle, to_middle, factor, rotation = _fit(*_poses(source, target, weights), scale)
    translation = to_middle - factor * (rotation * from_middle).sum(dim=1)
    rotation, translation = rotation.movedim((0, 1), (-2, -1)).contiguous(), translation.movedim(0, -1).contiguous()
    return same_kind(source, factor), same_kind(source, rotation), same_kind(source, translation)


@explained
def align(source: ArrayT, target: Array, *, scale: bool = True, weights: Array | None = None) -> ArrayT:
    """Align `source` to `target` by a similarity transform; without `scale`, by a rigid one.

    Arguments, errors and degenerate poses as for `procrustes`; `(..., K, 3) -> (..., K, 3)`.

    Examples:
        >>> pose = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
        >>> align(7 * pose - 1, pose).round(decimals=4).tolist() == pose.tolist()
        True
    """
    poses, goals, shares = _poses(source, target, weights)
    moved, _, to_middle = aligned(poses, goals, scale, shares)
    moved = (moved + to_middle).movedim((0, 1), (-2, -1))
    return same_kind(source, moved.to(torch.promote_types(poses.dtype, goals.dtype)))


def _poses(source: Array, target: Array, weights: Array | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Poses and weights as tensors on one device."""
    poses = as_floats(source, "source")
    return poses, as_floats(target, "target", poses), None if weights is None else as_tensor(weights, poses)


# Below, the axes of points are (K, 3, ...) and those of matrices (3, 3, ...), with the batch last and contiguous:
# each operation is a few long loops instead of a long loop over small matrices. This is several times faster.


@explained
def aligned(source: Tensor, target: Tensor, scale: bool, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Align tensors like `align`; return centred points with the batch last, the fastest layout.

    Args:
        source: `(..., K, 3)`, see `procrustes`.
        target: `(..., K, 3)`.
        scale: see `procrustes`.
        weights: see `procrustes`.

    Returns:
        the aligned source and the target, both `(K, 3, ...)` and relative to the target's mean, and
        that mean `(3, ...)`, in double precision where the device has it. All are new tensors.

    Examples:
        >>> pose = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
        >>> moved, goals, mean = aligned(pose[None] + 5, pose[None], scale=True, weights=None)
        >>> moved.shape, bool((moved - goals).abs().max() < 1e-6)
        (torch.Size([4, 3, 1]), True)
    """
    centred, goals, _, to_middle, factor, rotation = _fit(source, target, weights, scale)
    turn = factor * rotation
    x, y, z = centred[:, :, None].unbind(dim=1)
    return (turn[:, 0] * x).addcmul_(turn[:, 1], y).addcmul_(turn[:, 2], z), goals, to_middle


def _fit(
    source: Tensor, target: Tensor, weights: Tensor | None, scale: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centred points `(K, 3, ...)`, means `(3, ...)`, scale `(...)`, rotation `(3, 3, ...)`."""
    if source.shape != target.shape or source.ndim < 2 or source.shape[-1] != 3:
        raise ValueError(
            f"source and target: expected one shape (..., K, 3), got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    *batch, count, _ = source.shape
    points, goals = (  # new tensors; transposing a plain matrix is the fast way to this layout
        precise(some).reshape(math.prod(batch), count * 3).t().clone(memory_format=torch.contiguous_format)
        for some in (source, target)
    )
    points, goals = points.view(count, 3, *batch), goals.view(count, 3, *batch)
    if weights is None:
        from_middle, to_middle = points.mean(dim=0), goals.mean(dim=0)
        counted, aims = centred, goals = points.sub_(from_middle), goals.sub_(to_middle)
    else:
        if weights.shape != source.shape[:-1]:
            raise ValueError(f"weights: expected {tuple(source.shape[:-1])}, got {tuple(weights.shape)}")
        share = precise(weights).movedim(-1, 0)[:, None]
        share = share / share.sum(dim=0).clamp_min(torch.finfo(share.dtype).tiny)
        known, aims = torch.where(share > 0, points, 0.0), torch.where(share > 0, goals, 0.0)
        from_middle, to_middle = (share * known).sum(dim=0), (share * aims).sum(dim=0)
        centred, goals = points - from_middle, goals - to_middle
        counted, aims = share.sqrt() * (known - from_middle), share.sqrt() * (aims - to_middle)
    spread = counted.square().sum(dim=(0, 1))
    # points that differ by rounding errors only have no shape: a scale would fit the rounding errors to the target
    noise = (64 * torch.finfo(spread.dtype).eps) ** 2 * count
    still = spread <= noise * from_middle.square().sum(dim=0)
    attitude = torch.stack([(aims[:, axis, None] * counted).sum(dim=0) for axis in range(3)])
    rotation, trace = _best_rotation(torch.where(still, 0.0, attitude))
    factor = torch.where(still, 1.0, trace / spread) if scale else torch.ones_like(trace)
    return centred, goals, from_middle, to_middle, factor, rotation


def _best_rotation(attitude: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation R that maximises trace(R^T B), and trace: `(3, 3, ...) -> (3, 3, ...), (...)`.

    With singular values s1 >= s2 >= s3 >= 0 of B and d the sign of its determinant, the trace is s1
    + s2 + d s3, the largest root of (x^2 - |B|^2)^2 - 8 x det B - 4 |adj B|^2, and R a polynomial
    of it and B (Markley's equations).
    """
    # 1. The coefficients of the quartic. B is divided by its norm, so that tolerances do not depend on the unit.
    size = attitude.square().sum(dim=(0, 1)).sqrt()
    unit = attitude / torch.where(size > 0, size, 1.0)
    cofactors = torch.stack([torch.linalg.cross(unit[i - 2], unit[i - 1], dim=0) for i in range(3)])
    determinant = (unit[0] * cofactors[0]).sum(dim=0)
    slope, constant = -8 * determinant, -4 * cofactors.square().sum(dim=(0, 1))

    # 2. Newton's method for the largest root. With |B| = 1 the root is at most sqrt(3) (three equal singular values).
    # Beyond its largest root a quartic with four real roots is convex and increasing, so that the steps descend
    # monotonically from this bound. A fixed number of steps needs no test for convergence, which would wait for the
    # device.
    trace = torch.full_like(determinant, 3**0.5)
    one = torch.ones((), dtype=trace.dtype, device=trace.device)
    for _ in range(NEWTON_STEPS):
        excess = torch.addcmul(-one, trace, trace)
        value = torch.addcmul(torch.addcmul(constant, excess, excess), slope, trace)
        trace = torch.addcdiv(trace, value, torch.addcmul(slope, trace, excess, value=4), value=-1)

    # 3. Markley's closed form of the rotation.
    half = (trace * trace - 1) / 2
    gap = half * trace - determinant  # (s1 + s2) (s2 + d s3) (s1 + d s3): 0 where the rotation is not unique
    cubed = ((unit[:, None] * unit).sum(dim=2)[:, :, None] * unit).sum(dim=1)  # B B^T B
    rotation = ((half + 1) * unit + trace * cofactors - cubed) / gap

    # 4. Division by a small gap loses digits: there, and for B = 0, use the decomposition. Comparisons with NaN are
    # false, so that NaN stays NaN instead of stopping the decomposition.
    unsure = (gap < 0.02) | (size == 0)
    if unsure.any():
        left, values, right = torch.linalg.svd(unit[:, :, unsure].movedim((0, 1), (-2, -1)))
        sign = torch.linalg.det(left @ right).sign()
        left = torch.cat([left[..., :2], left[..., 2:] * sign[..., None, None]], dim=-1)
        rotation[:, :, unsure] = (left @ right).movedim((-2, -1), (0, 1))
        trace = trace.masked_scatter(unsure, values[..., 0] + values[..., 1] + sign * values[..., 2])
    return rotation, trace * size
