"""Codecs of keypoints that are not regressed as heatmaps: SimCC and integral regression.

SimCC (Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation",
ECCV 2022) classifies x and y of each keypoint separately, into bins narrower than a pixel.

Integral regression (Sun et al., "Integral Human Pose Regression", ECCV 2018) trains the expected
position under the softmax of a heatmap with a loss on coordinates; it needs no target heatmaps.

Frames: keypoints are (x, y) pixels of the network's input; bin i of SimCC lies at pixel `i /
split`. Arrays may be NumPy or torch: results are of the kind of the first argument. Integers become
float32.
"""

import math

import torch

from posezoo.arrays import Array, ArrayT, as_floats, explained, same_kind
from posezoo.heatmaps import pair_of, soft_argmax, visible_keypoints

DECODINGS = ("argmax", "expectation")


@explained
def encode_simcc(
    keypoints: ArrayT,
    visible: Array | None = None,
    *,
    size: tuple[int, int],
    split: float = 2.0,
    sigma: float | tuple[float, float] = 6.0,
    rounded: bool = True,
    normalize: bool = True,
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Encode keypoints as a Gaussian along x and one along y each (SimCC with label smoothing).

    Args:
        keypoints: `(B, K, 2)` pixels (x, y) of the input; the values of invisible keypoints are
            ignored.
        visible: `(B, K)` bool or weights. Defaults to all visible.
        size: (H, W) of the input.
        split: bins per pixel, the splitting factor k of the paper. There are `round(W * split)` and
            `round(H * split)` bins.
        sigma: standard deviation in bins, or (sigma_y, sigma_x).
        rounded: centre the Gaussian on the nearest bin, as the paper does, or, if False, on the
            real-valued position.
        normalize: divide by `sigma * sqrt(2 pi)`, so that the values sum to 1, as for the paper's
            Kullback-Leibler loss. False: a peak of 1 (RTMPose).

    Returns:
        x `(B, K, W * split)`, y `(B, K, H * split)` and weights `(B, K)`: `visible`, with 0 for
        keypoints that lie more than 3 sigma outside the input. Values of weight 0 are 0.

    Raises:
        ValueError: wrong shapes, a visible keypoint that is not finite, or a split or sigma that is
            not positive.

    Examples:
        >>> x, y, weights = encode_simcc(torch.tensor([[[90.0, 120.25]]]), size=(256, 192))
        >>> x.shape, int(x.argmax()), int(y.argmax())
        (torch.Size([1, 1, 384]), 180, 241)
    """
    sigmas = pair_of(sigma)
    if not split > 0 or not min(sigmas) > 0:
        raise ValueError(f"split and sigma: expected positive numbers, got {split!r} and {sigma!r}")
    points, weights = visible_keypoints(keypoints, visible)
    center = points * split
    if rounded:
        center = (center + 0.5).floor()

    targets = []
    for axis, (length, spread) in enumerate(zip((size[1], size[0]), sigmas[::-1], strict=True)):
        count, middle = round(length * split), center[..., axis]
        weights = weights * ((middle + 3 * spread >= 0) & (middle - 3 * spread < count))
        at = torch.arange(count, device=points.device, dtype=points.dtype)
        target = torch.exp(-((at - middle[..., None]) ** 2) / (2 * spread**2))
        targets.append(target / (spread * math.sqrt(2 * math.pi)) if normalize else target)
    x, y = (target * (weights > 0)[..., None] for target in targets)
    return same_kind(keypoints, x), same_kind(keypoints, y), same_kind(keypoints, weights)


@explained
def decode_simcc(
    x: ArrayT, y: Array, *, split: float = 2.0, method: str = "argmax", logits: bool = False
) -> tuple[ArrayT, ArrayT]:
    """Decode the bins of SimCC to keypoints and scores.

    Args:
        x: `(B, K, bins)` along x: probabilities, or any values with a maximum.
        y: `(B, K, bins)` along y.
        split: bins per pixel.
        method: "argmax", the highest bin (the paper); "expectation", the mean bin, differentiable.
        logits: apply a softmax first: `x` and `y` are a network's output.

    Returns:
        keypoints `(B, K, 2)` in input pixels, and scores `(B, K)`, the lower one of the two maxima.
        A keypoint without a positive value along x or y is at (0, 0), with a score of 0 or less.

    Raises:
        ValueError: wrong shapes, or an unknown method.

    Examples:
        >>> x, y, _ = encode_simcc(torch.tensor([[[90.0, 120.25]]]), size=(256, 192))
        >>> decode_simcc(x, y)[0].tolist()
        [[[90.0, 120.5]]]
    """
    if method not in DECODINGS:
        raise ValueError(f"method: expected one of {DECODINGS}, got {method!r}")
    columns = as_floats(x, "x")
    rows = as_floats(y, "y", columns)
    if columns.ndim != 3 or rows.ndim != 3 or columns.shape[:2] != rows.shape[:2]:
        raise ValueError(
            f"x and y: expected (B, K, bins) of the same people and keypoints, got {tuple(columns.shape)} and "
            f"{tuple(rows.shape)}"
        )
    places, maxima = [], []
    for values in (columns, rows):
        values = values if values.dtype == torch.float64 else values.float()
        values = values.softmax(dim=-1) if logits else values
        highest, index = values.max(dim=-1)
        if method == "expectation":
            at = torch.arange(values.shape[-1], device=values.device, dtype=values.dtype)
            total = values.sum(dim=-1)
            places.append((values * at).sum(dim=-1) / torch.where(total == 0, 1.0, total))
        else:
            places.append(index.to(values))
        maxima.append(highest)
    scores = torch.minimum(*maxima)
    keypoints = torch.where((scores > 0)[..., None], torch.stack(places, dim=-1) / split, 0.0)
    return same_kind(x, keypoints), same_kind(x, scores)


@explained
def encode_integral(keypoints: ArrayT, visible: Array | None = None, *, size: tuple[int, int]) -> tuple[ArrayT, ArrayT]:
    """Encode keypoints as coordinates of integral regression, from -0.5 to 0.5 in the input.

    The loss compares them with the prediction in the same units,
    `encode_integral(decode_integral(heatmaps)[0], size=size)[0]`, which is differentiable.

    Args:
        keypoints: `(B, K, 2)` pixels (x, y) of the input; the values of invisible keypoints are
            ignored.
        visible: `(B, K)` bool or weights. Defaults to all visible.
        size: (H, W) of the input.

    Returns:
        coordinates `(B, K, 2)`, `x / W - 0.5` and `y / H - 0.5`, and weights `(B, K)`: `visible`.

    Raises:
        ValueError: wrong shapes, or a visible keypoint that is not finite.

    Examples:
        >>> encode_integral(torch.tensor([[[48.0, 128.0]]]), size=(256, 192))[0].tolist()
        [[[-0.25, 0.0]]]
    """
    points, weights = visible_keypoints(keypoints, visible)
    coordinates = points / points.new_tensor([size[1], size[0]]) - 0.5
    return same_kind(keypoints, coordinates), same_kind(keypoints, weights)


@explained
def decode_integral(
    heatmaps: ArrayT, *, stride: float | tuple[float, float] = 4.0, offset: float = 0.0, sharpness: float = 1.0
) -> tuple[ArrayT, ArrayT]:
    """Decode heatmaps of logits to expected positions under a softmax (Equation 2 of Sun et al.).

    Args:
        heatmaps: `(B, K, h, w)` logits, of any sign: a network's output.
        stride: input pixels per cell, or (stride_y, stride_x).
        offset: input pixel of cell 0, along x and y.
        sharpness: factor of the logits.

    Returns:
        keypoints `(B, K, 2)` in input pixels, differentiable, and scores `(B, K)`, the probability
        of the most probable cell.

    Raises:
        ValueError: wrong shapes.

    Examples:
        >>> logits = torch.zeros(1, 1, 64, 48)
        >>> logits[0, 0, 30, 20:22] = 50.0
        >>> decode_integral(logits)[0].round(decimals=3).tolist()
        [[[82.0, 120.0]]]
    """
    maps = as_floats(heatmaps, "heatmaps")
    if maps.ndim != 4:
        raise ValueError(f"heatmaps: expected (B, K, h, w), got shape {tuple(maps.shape)}")
    maps = maps if maps.dtype == torch.float64 else maps.float()
    stride_y, stride_x = pair_of(stride)
    keypoints = soft_argmax(maps, sharpness) * maps.new_tensor([stride_x, stride_y]) + offset
    scores = (maps.flatten(2) * sharpness).softmax(dim=-1).amax(dim=-1)
    return same_kind(heatmaps, keypoints), same_kind(heatmaps, scores)
