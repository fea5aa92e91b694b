"""Encode keypoints as Gaussian target heatmaps, and decode heatmaps to keypoints.

Frames: keypoints are (x, y) pixels of the network's input; cell i of a heatmap lies at input pixel
`i * stride + offset`. Simple Baselines, HRNet and mmpose have no offset. Where a cell represents
the block of pixels pooled into it (Stacked Hourglass, Convolutional Pose Machines, Tompson's
networks), it lies in the middle of its block, at `offset = (stride - 1) / 2`, and a mirrored map
needs no shift. Unbiased data processing (UDP) uses the same functions with
`stride = ((H - 1) / (h - 1), (W - 1) / (w - 1))`.

Arrays may be NumPy or torch: results are of the kind of the first argument. Integers become
float32.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from posezoo.arrays import (
    Array,
    ArrayT,
    as_floats,
    as_tensor,
    check_number,
    check_permutation,
    check_size,
    explained,
    is_array,
    large_empty,
    same_kind,
)

ENCODINGS = ("msra", "truncated", "gaussian")
DECODINGS = ("argmax", "quarter", "dark", "soft")
DARK_KERNEL = 11  # cells; width of the smoothing that DARK applies before its Taylor step
DARK_SIGMA = 2.0  # OpenCV's default for a kernel of 11: 0.3 * ((11 - 1) / 2 - 1) + 0.8


@explained
def encode(
    keypoints: ArrayT,
    visible: Array | None = None,
    *,
    size: tuple[int, int],
    stride: float | tuple[float, float] = 4.0,
    offset: float = 0.0,
    sigma: float = 2.0,
    method: str = "msra",
    floor: float = 0.0,
) -> tuple[ArrayT, ArrayT]:
    """Encode keypoints as heatmaps with one Gaussian of peak 1 each.

    Args:
        keypoints: `(B, K, 2)` pixels (x, y) of the input; the values of invisible keypoints are
            ignored.
        visible: `(B, K)` bool or weights. Defaults to all visible.
        size: (h, w) of the heatmaps.
        stride: input pixels per cell, or (stride_y, stride_x).
        offset: input pixel of cell 0, along x and y.
        sigma: standard deviation in cells.
        method: "msra", centre rounded to a cell, cut off at 3 sigma (Simple Baselines, HRNet);
            "truncated", the real-valued centre, cut off at 3 sigma around the nearest cell (UDP);
            "gaussian", the real-valued centre and no cut-off (DARK).
        floor: set smaller values to 0, which leaves a disc (Convolutional Pose Machines: 0.01).
            Defaults to no floor.

    Returns:
        heatmaps `(B, K, h, w)`, 0 for a keypoint that is invisible or too far outside, and weights
        `(B, K)`: `visible`, with 0 for keypoints whose Gaussian lies entirely outside the map. (A
        Gaussian that ends one cell before the map's left or top edge counts as inside, as in the
        authors' code: weight 1 and an empty map.)

    Raises:
        ValueError: wrong shapes, a visible keypoint that is not finite, or an unknown method.

    Examples:
        >>> heatmaps, weights = encode(torch.tensor([[[90.0, 120.0]]]), size=(64, 48))
        >>> int(heatmaps.argmax()) == 30 * 48 + 23, weights.tolist()
        (True, [[1.0]])
    """
    if method not in ENCODINGS:
        raise ValueError(f"method: expected one of {ENCODINGS}, got {method!r}")
    check_size(size)
    check_number(sigma, "sigma", open=True)
    for step in pair_of(stride):
        check_number(step, "stride", open=True)
    points, given = visible_keypoints(keypoints, visible)

    stride_y, stride_x = pair_of(stride)
    center = (points - offset) / points.new_tensor([stride_x, stride_y])
    # truncated towards 0 like the authors' int(), so that -0.7 falls into cell 0, where rounding gives -1
    cell = (center + 0.5).trunc()
    reach = 3 * sigma
    middle = cell if method == "msra" else center
    edge = center if method == "gaussian" else cell
    lengths = points.new_tensor([size[1], size[0]])
    # + 1: their test lets a Gaussian pass that ends one cell before the left or top edge
    inside = ((edge - reach < lengths) & (edge + reach + 1 >= 0)).all(dim=-1)
    weights: Tensor = given * inside

    profiles = []  # the Gaussian is the product of a profile along x and one along y
    for axis, length in enumerate((size[1], size[0])):
        at = torch.arange(length, device=points.device, dtype=points.dtype)
        profile = torch.exp(-((at - middle[..., axis, None]) ** 2) / (2 * sigma**2))
        if method != "gaussian":
            profile = profile * ((at - cell[..., axis, None]).abs() <= reach)
        profiles.append(profile)
    rows = profiles[1] * (weights > 0)[..., None]  # here, because a factor of the maps costs as much as the maps
    room = large_empty(weights.shape + torch.Size(size), rows)
    heatmaps = torch.mul(rows[..., :, None], profiles[0][..., None, :], out=room)
    if floor:
        heatmaps = heatmaps * (heatmaps >= floor)
    return same_kind(keypoints, heatmaps), same_kind(keypoints, weights)


def visible_keypoints(keypoints: Array, visible: Array | None) -> tuple[Tensor, Tensor]:
    """Return keypoints to encode, 0 where invisible, and their weights, both as tensors.

    Args:
        keypoints: `(B, K, 2)` pixels (x, y), an array or a tensor.
        visible: `(B, K)` bool or weights. Defaults to all visible.

    Raises:
        ValueError: wrong shapes, or a visible keypoint that is not finite.

    Examples:
        >>> visible_keypoints(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([[True, False]]))[0].tolist()
        [[[1.0, 2.0], [0.0, 0.0]]]
    """
    points = as_floats(keypoints, "keypoints")
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"keypoints: expected (B, K, 2) pixels, got shape {tuple(points.shape)}")
    weights = points.new_ones(points.shape[:2]) if visible is None else as_tensor(visible).to(points)
    if weights.shape != points.shape[:2]:
        raise ValueError(f"visible: expected {tuple(points.shape[:2])} like keypoints, got {tuple(weights.shape)}")
    # on a GPU the check would wait for it
    if points.is_cpu and not torch.isfinite(points[weights > 0]).all():
        raise ValueError("keypoints: a visible keypoint is NaN or infinite; mark missing ones in `visible`")
    return torch.where(weights[..., None] > 0, points, 0.0), weights


@explained
def merge_people(heatmaps: ArrayT) -> ArrayT:
    """Merge the heatmaps of people: their sum, at most 1 (Convolutional Pose Machines).

    Args:
        heatmaps: `(B, P, K, h, w)`, each of the P people encoded separately; an invisible keypoint
            has an empty map.

    Returns:
        `(B, K, h, w)`.

    Examples:
        >>> merge_people(torch.tensor([0.75, 0.125, 0.5, 0.25]).view(1, 2, 2, 1, 1)).flatten().tolist()
        [1.0, 0.375]
    """
    maps = as_floats(heatmaps, "heatmaps")
    if maps.ndim != 5:
        raise ValueError(f"heatmaps: expected (B, P, K, h, w), got shape {tuple(maps.shape)}")
    return same_kind(heatmaps, maps.sum(dim=1).clamp(max=1))


@explained
def with_background(heatmaps: ArrayT) -> ArrayT:
    """Append a background map: 1 minus the maximum over keypoints, at least 0.

    Args:
        heatmaps: `(B, K, h, w)`.

    Returns:
        `(B, K + 1, h, w)`.

    Examples:
        >>> with_background(torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)).flatten().tolist()
        [0.75, 0.25, 0.25]
    """
    maps = as_floats(heatmaps, "heatmaps")
    return same_kind(heatmaps, torch.cat([maps, (1 - maps.amax(dim=1, keepdim=True)).clamp(min=0)], dim=1))


@explained
def decode(
    heatmaps: ArrayT,
    *,
    stride: float | tuple[float, float] = 4.0,
    offset: float = 0.0,
    method: str = "quarter",
    sharpness: float = 20.0,
) -> tuple[ArrayT, ArrayT]:
    """Decode heatmaps to keypoints and scores.

    Args:
        heatmaps: `(B, K, h, w)`.
        stride: input pixels per cell, or (stride_y, stride_x).
        offset: input pixel of cell 0, along x and y.
        method: "argmax", the highest cell; "quarter", a quarter of a cell from there towards the
            higher neighbour (Stacked Hourglass, Simple Baselines, HRNet); "dark", a Taylor step on
            the logarithm of the smoothed map (DARK, section 3.2), of two cells at most; "soft", the
            expectation under `softmax(sharpness * heatmap)`, differentiable; "udp", for networks
            trained with unbiased data processing: the last cell lies on the input's last pixel,
            `n * stride - 1`, and the Taylor step is that of mmpose for these networks.
        sharpness: factor of the softmax, for "soft".

    Returns:
        keypoints `(B, K, 2)` in input pixels, and scores `(B, K)`, the value of the highest cell. A
        map without a positive value has its keypoint at (0, 0), as in the authors' code, and a
        score of 0 or less.

    Examples:
        >>> heatmaps, _ = encode(torch.tensor([[[90.0, 120.0]]]), size=(64, 48), method="gaussian")
        >>> decode(heatmaps, method="dark")[0].round(decimals=1).tolist()
        [[[90.0, 120.0]]]
    """
    maps = as_floats(heatmaps, "heatmaps")
    if maps.ndim != 4:
        raise ValueError(f"heatmaps: expected (B, K, h, w), got shape {tuple(maps.shape)}")
    if method not in (*DECODINGS, "udp"):
        raise ValueError(f"method: expected one of {(*DECODINGS, 'udp')}, got {method!r}")
    if 0 in maps.shape[1:]:
        raise ValueError(f"heatmaps: expected (B, K, h, w), got shape {tuple(maps.shape)}; a network without a head?")
    for step in pair_of(stride):
        check_number(step, "stride", open=True)
    # half precision has 8 or 11 bits, too few for coordinates and for differences of neighbouring cells
    maps = maps if maps.dtype == torch.float64 else maps.float()
    height, width = maps.shape[-2:]
    cell, scores = _peaks(maps)
    if method == "quarter":
        at = cell + _quarter(maps, cell)
    elif method == "dark":
        at = cell + _dark(maps, cell, scores)
    elif method == "udp":
        at = cell + _udp(maps, cell, scores)
    elif method == "soft":
        at = soft_argmax(maps, sharpness)
    else:
        at = cell.to(maps)
    stride_y, stride_x = pair_of(stride)
    if method == "udp":
        # n cells, the first on the first pixel and the last on the last one: n - 1 steps over n * s - 1 pixels
        stride_y, stride_x = ((n * s - 1) / max(n - 1, 1) for n, s in ((height, stride_y), (width, stride_x)))
    at = at * at.new_tensor([stride_x, stride_y]) + offset
    return same_kind(heatmaps, torch.where((scores > 0)[..., None], at, 0.0)), same_kind(heatmaps, scores)


@explained
def flip_average(heatmaps: ArrayT, mirrored: Array, flip_index: Sequence[int], *, shift: bool = False) -> ArrayT:
    """Average the heatmaps of an image with those of its mirror image, mirrored back.

    Args:
        heatmaps: `(B, K, h, w)` of the image.
        mirrored: `(B, K, h, w)` of `image.flip(-1)`.
        flip_index: `Skeleton.flip_index`.
        shift: move the mirrored-back maps one cell to the right. With cell i at pixel `i * stride`
            they are almost one cell too far left. Simple Baselines and HRNet shift, the hourglass
            papers do not.

    Returns:
        `(B, K, h, w)`.

    Examples:
        >>> flip_average(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4), (1, 0)).mean().item()
        1.0
    """
    maps = as_floats(heatmaps, "heatmaps")
    back = as_floats(mirrored, "mirrored", maps)
    if maps.ndim != 4 or maps.shape != back.shape:
        raise ValueError(
            f"expected heatmaps and mirrored of one shape (B, K, h, w), got {tuple(maps.shape)}, {tuple(back.shape)}"
        )
    check_permutation(flip_index, maps.shape[1])
    back = back.flip(-1)[:, list(flip_index)]
    if shift:
        back = torch.cat([back[..., :1], back[..., :-1]], dim=-1)
    return same_kind(heatmaps, (maps + back) / 2)


def pair_of(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return a number for both axes as (y, x), and a pair unchanged.

    Examples:
        >>> pair_of(4.0)
        (4.0, 4.0)
    """
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


def _peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Cell (x, y) of the first highest value of each map, `(B, K, 2)`, and the value, `(B, K)`."""
    flat, width = heatmaps.flatten(2), heatmaps.shape[-1]
    # NumPy's search is vectorised, torch's on a CPU is not
    index = torch.from_numpy(flat.detach().numpy().argmax(axis=2)) if is_array(flat) else flat.argmax(dim=2)
    return torch.stack([index % width, index // width], dim=-1), flat.gather(2, index[..., None])[..., 0]


def _quarter(heatmaps: Tensor, cell: Tensor) -> Tensor:
    """Quarter of a cell towards the higher neighbour in x and y, 0 near the border: `(B, K, 2)`."""
    height, width = heatmaps.shape[-2:]
    x, y = cell.unbind(-1)
    # the authors' bounds: a step is also possible at cell 1, but they take none there
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    neighbours = (y * width + x)[..., None] + x.new_tensor([1, width, -1, -width])
    right, left = heatmaps.flatten(2).gather(2, neighbours.clamp(0, height * width - 1)).chunk(2, dim=-1)
    return (right - left).sign() * inside[..., None] / 4


def _dark(heatmaps: Tensor, cell: Tensor, peak: Tensor) -> Tensor:
    """Newton step on the log of the smoothed maps (DARK), 0 near the border: `(B, K, 2)`."""
    height, width = heatmaps.shape[-2:]
    # the logarithm of a Gaussian is a parabola, whose top one Newton step finds from anywhere
    at = _around(_log_smooth(heatmaps, cell, peak, 1e-10, math.inf))
    dx, dy = (at[1, 0] - at[-1, 0]) / 2, (at[0, 1] - at[0, -1]) / 2
    dxx = (at[2, 0] - 2 * at[0, 0] + at[-2, 0]) / 4  # two cells apart, as the authors take them
    dyy = (at[0, 2] - 2 * at[0, 0] + at[0, -2]) / 4
    dxy = (at[1, 1] - at[-1, 1] - at[1, -1] + at[-1, -1]) / 4
    determinant = dxx * dyy - dxy**2
    x, y = cell.unbind(-1)
    usable = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2) & (determinant != 0)
    determinant = torch.where(usable, determinant, 1.0)
    offset = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1) / determinant[..., None]
    # bounded by the reach of the differences, because on a nearly flat map the step could be thousands of cells
    return torch.where(usable[..., None], offset.clamp(-2, 2), 0.0)


def _udp(heatmaps: Tensor, cell: Tensor, peak: Tensor) -> Tensor:
    """Newton step of DARK from adjacent cells; border cells are repeated outside the map."""
    at = _around(_log_smooth(heatmaps, cell, peak, 1e-3, 50))  # mmpose's bounds
    dx, dy = (at[1, 0] - at[-1, 0]) / 2, (at[0, 1] - at[0, -1]) / 2
    tiny = torch.finfo(torch.float32).eps  # keeps a flat map's matrix invertible
    dxx = at[1, 0] - 2 * at[0, 0] + at[-1, 0] + tiny
    dyy = at[0, 1] - 2 * at[0, 0] + at[0, -1] + tiny
    dxy = (at[1, 1] - at[1, 0] - at[0, 1] + 2 * at[0, 0] - at[-1, 0] - at[0, -1] + at[-1, -1]) / 2
    offset = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1) / (dxx * dyy - dxy**2)[..., None]
    return offset.nan_to_num(0.0).clamp(-2, 2)


def _around(window: Tensor) -> dict[tuple[int, int], Tensor]:
    """Values of windows `(B, K, 5, 5)` by their distance (dx, dy) from the centre."""
    return {(dx, dy): window[..., 2 + dy, 2 + dx] for dx in range(-2, 3) for dy in range(-2, 3)}


def _log_smooth(heatmaps: Tensor, cell: Tensor, peak: Tensor, low: float, high: float) -> Tensor:
    """Logarithm of the blurred maps, within bounds, at the cells around `cell`: `(B, K, 5, 5)`.

    The blurred maps are rescaled to their previous maximum, `peak`. Their border cells are repeated
    outside.
    """
    height, width = heatmaps.shape[-2:]
    kernel = _kernel(heatmaps)
    reach = DARK_KERNEL // 2
    steps = torch.arange(-2 - reach, 3 + reach, device=cell.device)
    x, y = (cell[..., axis, None] + steps for axis in (0, 1))
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    index = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
    values = torch.where(inside, heatmaps.flatten(2).gather(-1, index.flatten(2)).view_as(index), 0.0)
    band = torch.stack([F.pad(kernel, (i, 4 - i)) for i in range(5)], dim=1)
    # autocast would round the products to 8 bits, and the Taylor step with them
    with torch.autocast(heatmaps.device.type, enabled=False):
        blurred = ((values @ band).mT @ band).mT
    columns = x[..., reach:-reach].clamp(0, width - 1) - x[..., reach, None]
    lines = y[..., reach:-reach].clamp(0, height - 1) - y[..., reach, None]
    blurred = blurred.gather(-1, columns[..., None, :].expand_as(blurred))
    blurred = blurred.gather(-2, lines[..., :, None].expand_as(blurred))

    # the scale matters to a Newton step only where a bound cuts values off, which is known on a CPU without waiting
    if is_array(heatmaps):
        cut = (blurred.amin(dim=(-2, -1)) < low) | (peak > high)
        highest = peak.index_put((cut,), _blur(heatmaps[cut], kernel).amax(dim=(-2, -1)))
    else:
        highest = _blur(heatmaps, kernel).amax(dim=(-2, -1))
    return (blurred * (peak / highest.clamp(min=1e-10))[..., None, None]).clamp(low, high).log()


def _blur(heatmaps: Tensor, kernel: Tensor) -> Tensor:
    """Convolve whole maps with the Gaussian of DARK, zeros outside."""
    height, width = heatmaps.shape[-2:]
    reach = DARK_KERNEL // 2
    padded = F.pad(heatmaps, (reach, reach, reach, reach))
    # sums of shifted maps, not a convolution, which autocast would round
    rows = sum(weight * padded[..., i : i + width] for i, weight in enumerate(kernel))
    return sum(weight * rows[..., i : i + height, :] for i, weight in enumerate(kernel))


def _kernel(heatmaps: Tensor) -> Tensor:
    at = torch.arange(DARK_KERNEL, device=heatmaps.device, dtype=heatmaps.dtype) - DARK_KERNEL // 2
    kernel = torch.exp(-(at**2) / (2 * DARK_SIGMA**2))
    return kernel / kernel.sum()


def soft_argmax(heatmaps: Tensor, sharpness: float) -> Tensor:
    """Return the expected cell (x, y) under the softmax of each map: `(B, K, h, w) -> (B, K, 2)`.

    Examples:
        >>> soft_argmax(torch.tensor([[[[0.0, 9.0, 0.0]]]]), sharpness=2.0).tolist()
        [[[1.0, 0.0]]]
    """
    height, width = heatmaps.shape[-2:]
    chance = (heatmaps.flatten(2) * sharpness).softmax(dim=-1).view_as(heatmaps)
    x = torch.arange(width, device=heatmaps.device, dtype=heatmaps.dtype)
    y = torch.arange(height, device=heatmaps.device, dtype=heatmaps.dtype)
    return torch.stack([(chance.sum(dim=-2) * x).sum(dim=-1), (chance.sum(dim=-1) * y).sum(dim=-1)], dim=-1)
