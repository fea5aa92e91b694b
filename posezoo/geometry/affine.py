"""Boxes, affine crops and mirrors: 2D coordinate frames in pixels.

Points are (x, y) in pixels, the centre of the top-left pixel is (0, 0), sizes are (H, W). An affine
map is a `(..., 2, 3)` matrix that takes points of one frame to another; `crop_matrix` builds the
one from the image to a crop, `warp` resamples pixels with it and `transform_points` transforms
keypoints, so that both always agree.

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
    check_count,
    check_number,
    check_permutation,
    check_size,
    explained,
    large_empty,
    same_kind,
)

CROPS_TOGETHER = 8  # crops whose coordinates fit into a processor's cache


@explained
def tight_box(keypoints: ArrayT, visible: Array) -> ArrayT:
    """Return the smallest box around the visible keypoints: `(K, 2), (K,) -> (4,)`.

    The box is (x1, y1, x2, y2) in pixels, at least one pixel wide and high.

    Raises:
        ValueError: no keypoint is visible.

    Examples:
        >>> tight_box(torch.tensor([[1.0, 2.0], [3.0, 9.0], [7.0, 7.0]]), torch.tensor([True, True, False])).tolist()
        [1.0, 2.0, 3.0, 9.0]
    """
    points = as_floats(keypoints, "keypoints")
    points = points[as_tensor(visible, points) > 0]
    if not points.isfinite().all():
        raise ValueError("tight_box: a visible keypoint is NaN or infinite; mark it as not visible")
    if not len(points):
        raise ValueError("tight_box: no keypoint is visible, so there is no box; leave this person out")
    low, high = points.amin(dim=0), points.amax(dim=0)
    return same_kind(keypoints, torch.cat([low, torch.maximum(high, low + 1)]))


@explained
def box_to_crop(
    boxes: ArrayT, size: tuple[int, int], *, padding: float = 1.25, keep_aspect: bool = True
) -> tuple[ArrayT, ArrayT]:
    """Return centre and extent, in pixels of the image, of the crop for each box.

    The short side of a box is extended to the aspect ratio of `size`, then both sides are
    multiplied by `padding`, as in Simple Baselines and HRNet (`scale` in their annotations is this
    extent divided by 200).

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels.
        size: (H, W) of the network's input.
        padding: factor on both sides of the box, for context.
        keep_aspect: False keeps the aspect ratio of the box, which is then stretched to `size`
            (DeepPose, PoseRNN).

    Returns:
        center `(N, 2)` and extent `(N, 2)` as (w, h), both in pixels of the image.

    Raises:
        ValueError: a box is not finite or has no area.

    Examples:
        >>> center, extent = box_to_crop(torch.tensor([[100.0, 50.0, 180.0, 250.0]]), (256, 192))
        >>> center.tolist(), (extent / 200).tolist()
        ([[140.0, 150.0]], [[0.9375, 1.25]])
    """
    check_number(padding, "padding", open=True)
    check_size(size)
    corners = as_floats(boxes, "boxes")
    if corners.ndim != 2 or corners.shape[-1] != 4:
        raise ValueError(f"boxes: expected (N, 4) as (x1, y1, x2, y2) pixels, got shape {tuple(corners.shape)}")
    extent = corners[:, 2:] - corners[:, :2]
    bad = ~(torch.isfinite(corners).all(dim=1) & (extent > 0).all(dim=1))
    if bad.any():
        index = int(bad.nonzero()[0])
        raise ValueError(
            f"boxes: box {index} is {corners[index].tolist()}; expected finite (x1, y1, x2, y2) pixels with x2 > x1 "
            "and y2 > y1. Boxes given as (x, y, w, h) need x2 = x + w, y2 = y + h"
        )
    center = corners[:, :2] + extent / 2
    if keep_aspect:
        aspect = size[1] / size[0]
        width = torch.maximum(extent[:, 0], extent[:, 1] * aspect)
        extent = torch.stack([width, width / aspect], dim=1)
    return same_kind(boxes, center), same_kind(boxes, extent * padding)


@explained
def crop_matrix(
    center: ArrayT,
    extent: Array,
    size: tuple[int, int],
    *,
    rotation: Array | float = 0.0,
    flip: Array | bool = False,
    corner_aligned: bool = False,
    keep_aspect: bool = True,
) -> ArrayT:
    """Return the affine map from image pixels to pixels of a crop of `size`.

    Args:
        center: `(N, 2)` image point that is mapped to the middle of the crop.
        extent: `(N, 2)` (w, h) image pixels that the crop covers. Its aspect is that of `size`; as
            in the authors' code only w is used, unless `corner_aligned` or not `keep_aspect`.
        size: (H, W) of the crop.
        rotation: degrees, `(N,)` or one number; positive rotates the image counter-clockwise on the
            screen.
        flip: `(N,)` bool or one: mirror the image about `center` first, then rotate.
        corner_aligned: False, Simple Baselines, HRNet and mmpose: the image's `extent` maps to W
            pixels, and `center` to (W/2, H/2). True, unbiased data processing (UDP): `extent` maps
            to W - 1, `center` to the exact middle ((W-1)/2, (H-1)/2), so that mirroring needs no
            shift.
        keep_aspect: False stretches the extent to `size`, after the rotation.

    Returns:
        `(N, 2, 3)`.

    Examples:
        >>> center, extent = torch.tensor([[320.5, 240.25]]), torch.tensor([[240.0, 320.0]])
        >>> transform_points(center, crop_matrix(center, extent, (256, 192))).round(decimals=3).tolist()
        [[[96.0, 128.0]]]
    """
    check_size(size)
    middle = as_floats(center, "center")
    dtype, middle, covered = middle.dtype, precise(middle), precise(as_floats(extent, "extent", middle))
    height, width = (size[0] - 1, size[1] - 1) if corner_aligned else size
    # the authors scale both axes by the ratio of the widths
    scale_x = width / covered[:, 0]
    scale_y = height / covered[:, 1] if corner_aligned or not keep_aspect else scale_x
    angle = _each(rotation, middle).to(middle) * (math.pi / 180)
    mirrored = _each(flip, middle).bool()
    mirror = torch.where(mirrored, -1.0, 1.0).to(middle)
    cos, sin = angle.cos(), angle.sin()
    # scale @ rotation @ mirror; y points down, so a positive angle turns counter-clockwise on the screen
    linear = torch.stack(
        [
            torch.stack([scale_x * cos * mirror, scale_x * sin], dim=-1),
            torch.stack([-scale_y * sin * mirror, scale_y * cos], dim=-1),
        ],
        dim=-2,
    )
    target = middle.new_tensor([width / 2, height / 2])
    matrix = torch.cat([linear, target[:, None] - linear @ middle[..., None]], dim=-1)
    return same_kind(center, matrix.to(dtype))


@explained
def invert(matrix: ArrayT) -> ArrayT:
    """Invert affine maps, `(..., 2, 3) -> (..., 2, 3)`.

    Examples:
        >>> invert(torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 6.0]])).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, -3.0]]
    """
    given = as_floats(matrix, "matrix")
    exact = precise(given)
    linear = torch.linalg.inv(exact[..., :2])
    return same_kind(matrix, torch.cat([linear, -linear @ exact[..., 2:]], dim=-1).to(given.dtype))


@explained
def compose(second: ArrayT, first: Array) -> ArrayT:
    """Return the affine map that applies `first`, then `second`; both `(..., 2, 3)`.

    Examples:
        >>> shift, double = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([[2.0, 0, 0], [0, 2, 0]])
        >>> transform_points(torch.zeros(1, 2), compose(double, shift)).tolist()
        [[2.0, 0.0]]
    """
    outer = as_floats(second, "second")
    inner = as_floats(first, "first", outer)
    dtype = torch.promote_types(outer.dtype, inner.dtype)
    outer, inner = precise(outer), precise(inner)
    linear = outer[..., :2] @ inner[..., :2]
    moved = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return same_kind(second, torch.cat([linear, moved], dim=-1).to(dtype))


@explained
def transform_points(points: ArrayT, matrix: Array) -> ArrayT:
    """Transform points to another frame.

    Args:
        points: `(..., K, 2)` pixels (x, y).
        matrix: `(..., 2, 3)`, leading axes broadcast against those of `points`.

    Returns:
        `(..., K, 2)`.

    Examples:
        >>> transform_points(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0, 10], [0, 1, 20]])).tolist()
        [[11.0, 22.0]]
    """
    given = as_floats(points, "points")
    affine = as_floats(matrix, "matrix", given)
    dtype = torch.promote_types(given.dtype, affine.dtype)
    exact, affine = precise(given), precise(affine)
    return same_kind(points, (exact @ affine[..., :2].mT + affine[..., 2][..., None, :]).to(dtype))


@explained
def warp(images: ArrayT, matrix: Array, size: tuple[int, int], *, mode: str = "bilinear") -> ArrayT:
    """Resample images into another frame; pixels outside an image are 0.

    Args:
        images: `(N, C, H, W)` float, or `(1, C, H, W)` for several crops of one image.
        matrix: `(N, 2, 3)` from image pixels to output pixels (`crop_matrix`).
        size: (H, W) of the output.
        mode: "bilinear", "nearest" or "bicubic".

    Returns:
        `(N, C, *size)`. A point `p` of the image is at `transform_points(p, matrix)`.

    Raises:
        ValueError: images of integers.

    Examples:
        >>> dot = torch.zeros(1, 1, 5, 5); dot[0, 0, 2, 3] = 1
        >>> warp(dot, torch.tensor([[[1.0, 0, -1], [0, 1, 0]]]), (5, 5))[0, 0, 2].tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    check_size(size)
    pixels = _floating(images, "images")
    height, width = size
    inverse = invert(precise(as_floats(matrix, "matrix", pixels)))
    x = torch.arange(width, device=pixels.device, dtype=inverse.dtype)
    y = torch.arange(height, device=pixels.device, dtype=inverse.dtype)
    # grid_sample without align_corners puts pixel i of n at (2 i + 1) / n - 1; this also holds for a single pixel
    extent = inverse.new_tensor([pixels.shape[-1], pixels.shape[-2]])
    step_x, step_y, origin = (2 * inverse / extent[:, None])[:, None].unbind(dim=-1)  # (N, 1, 2)
    columns = step_x * x[:, None]
    lines = step_y * y[:, None] + origin + 1 / extent - 1
    grid = columns[:, None] + lines[:, :, None]
    dtype = torch.promote_types(pixels.dtype, torch.float32)  # half precision would miss by whole pixels
    wide = pixels.to(dtype).expand(len(inverse), -1, -1, -1)
    sampled = F.grid_sample(wide, grid.to(dtype), mode=mode, padding_mode="zeros", align_corners=False)
    return same_kind(images, sampled.to(pixels.dtype))


@explained
def shrink(image: ArrayT, factor: int) -> tuple[ArrayT, ArrayT]:
    """Average an image over `factor x factor` blocks; also return the affine map to the new frame.

    Bilinear interpolation with a large reduction skips most pixels and aliases; averaging first
    avoids this. Incomplete blocks at the right and bottom edge are averages of the pixels they
    have.

    Args:
        image: `(N, C, H, W)` float.
        factor: whole number, 1 or more.

    Returns:
        `(N, C, ceil(H / factor), ceil(W / factor))` and `(2, 3)`.

    Examples:
        >>> small, matrix = shrink(torch.ones(1, 3, 5, 4), 2)
        >>> tuple(small.shape), transform_points(torch.tensor([[0.5, 0.5]]), matrix).tolist()
        ((1, 3, 3, 2), [[0.0, 0.0]])
    """
    check_count(factor, "factor")
    pixels = _floating(image, "image")
    # channel by channel, because pooling copies images with interleaved channels, and photographs are large
    channels = pixels.split(1, dim=1)
    pooled = [F.avg_pool2d(channel, factor, ceil_mode=True, count_include_pad=False) for channel in channels]
    small = torch.cat(pooled, dim=1)
    offset = (1 - factor) / 2 / factor  # the first block's centre lies (factor - 1) / 2 pixels in
    matrix = torch.tensor([[1 / factor, 0, offset], [0, 1 / factor, offset]], device=pixels.device)
    return same_kind(image, small), same_kind(image, matrix)


@explained
def crop(image: ArrayT, matrix: Array, size: tuple[int, int]) -> ArrayT:
    """Crop one image without aliasing.

    Where a crop reduces the image twofold or more, blocks of pixels are averaged first (`shrink`).

    Args:
        image: `(C, H, W)` float.
        matrix: `(N, 2, 3)` from image pixels to crop pixels (`crop_matrix`).
        size: (H, W) of the crops.

    Returns:
        `(N, C, *size)`.

    Examples:
        >>> matrix = crop_matrix(torch.tensor([[50.0, 50.0]]), torch.tensor([[100.0, 100.0]]), (20, 20))
        >>> crop(torch.ones(3, 100, 100), matrix, (20, 20)).shape
        torch.Size([1, 3, 20, 20])
    """
    pixels = _floating(image, "image")
    matrices = as_floats(matrix, "matrix", pixels)
    # pixels of the image per pixel of the crop: the determinant is the ratio of the areas, the other way round
    shrinkage = torch.linalg.det(matrices[:, :, :2]).abs().rsqrt()
    # powers of two, so that many crops of one image share few reduced images
    factors = shrinkage.clamp(1, min(pixels.shape[-2:])).log2().floor().exp2().long()
    shape = (len(matrices), pixels.shape[0], *size)
    room = large_empty(shape, pixels)
    crops = pixels.new_zeros(shape) if room is None else room
    for factor in factors.unique().tolist():
        small, to_small = shrink(pixels[None], factor)
        moved = compose(matrices, invert(to_small).to(matrices))
        for few in (factors == factor).nonzero()[:, 0].split(CROPS_TOGETHER):
            crops[few] = warp(small, moved[few], size)
    return same_kind(image, crops)


@explained
def letterbox(
    image: ArrayT, size: tuple[int, int], *, align: str = "center", fill: float = 0.0
) -> tuple[ArrayT, ArrayT]:
    """Resize an image to fit into `size` and pad it; also return the affine map to the new frame.

    Pixels are interpolated, not averaged, as in OpenCV's default, which most detectors were trained
    with.

    Args:
        image: `(C, H, W)` float.
        size: (H, W) of the result.
        align: position of the image: "center", "corner" (top left), or "stretch", which fills the
            whole result and does not keep the aspect ratio.
        fill: value of the padding.

    Returns:
        `(C, *size)` and `(2, 3)`.

    Raises:
        ValueError: another `align`.

    Examples:
        >>> boxed, matrix = letterbox(torch.ones(3, 10, 30), (60, 60))
        >>> boxed[0, :, 30].nonzero()[[0, -1]].flatten().tolist()             # between two bands of 20 pixels
        [20, 39]
        >>> transform_points(torch.tensor([[-0.5, -0.5]]), matrix).tolist()   # the image's top left corner
        [[-0.5, 19.5]]
    """
    if align not in ("center", "corner", "stretch"):
        raise ValueError(f"align: expected center, corner or stretch, got {align!r}")
    check_size(size)
    check_number(fill, "fill", low=-math.inf)
    pixels = _floating(image, "image")
    height, width = pixels.shape[-2:]
    ratio = min(size[0] / height, size[1] / width)
    inner = size if align == "stretch" else (max(1, round(height * ratio)), max(1, round(width * ratio)))
    bottom, right = size[0] - inner[0], size[1] - inner[1]
    top, left = (bottom // 2, right // 2) if align == "center" else (0, 0)
    resized = F.interpolate(pixels[None], inner, mode="bilinear", align_corners=False)[0]
    boxed = F.pad(resized, (left, right - left, top, bottom - top), value=fill)
    x, y = inner[1] / width, inner[0] / height
    rows = [[x, 0, (x - 1) / 2 + left], [0, y, (y - 1) / 2 + top]]  # pixel i reaches from i - 0.5 to i + 0.5
    matrix = torch.tensor(rows, dtype=torch.promote_types(pixels.dtype, torch.float32), device=pixels.device)
    return same_kind(image, boxed), same_kind(image, matrix)


@explained
def box_iou(boxes: ArrayT, others: Array) -> ArrayT:
    """Return the intersection over union of boxes: `(..., 4), (..., 4) -> (...)`.

    Boxes are (x1, y1, x2, y2); leading axes broadcast. The result is in double
    precision, NaN for two boxes without area.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
        >>> box_iou(boxes[:, None], boxes).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    first = precise(as_floats(boxes, "boxes"))
    second = precise(as_floats(others, "others", first))
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    common = sides.clamp(min=0).prod(dim=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(dim=-1) + (second[..., 2:] - second[..., :2]).prod(dim=-1)
    return same_kind(boxes, common / (areas - common))


@explained
def normalize_points(points: ArrayT, boxes: Array) -> ArrayT:
    """Normalise points to a box, with centre (0, 0) and corners (-0.5, -0.5) and (0.5, 0.5).

    N(y; b) of DeepPose (Equation 1).

    Args:
        points: `(..., 2)` pixels.
        boxes: `(..., 4)` as (x1, y1, x2, y2) pixels; leading axes broadcast.

    Returns:
        `(..., 2)`, `(y - centre) / (w, h)`; `denormalize_points` is the inverse.

    Examples:
        >>> normalize_points(torch.tensor([126.0, 77.0]), torch.tensor([90.0, 50.0, 150.0, 110.0])).tolist()
        [0.10000000149011612, -0.05000000074505806]
    """
    given = as_floats(points, "points")
    low, high = as_floats(boxes, "boxes", given).split(2, dim=-1)
    return same_kind(points, (given - (low + high) / 2) / (high - low))


@explained
def denormalize_points(points: ArrayT, boxes: Array) -> ArrayT:
    """Convert normalised points to pixels, the inverse of `normalize_points`.

    Examples:
        >>> denormalize_points(torch.tensor([0.5, -0.25]), torch.tensor([90.0, 50.0, 150.0, 110.0])).tolist()
        [150.0, 65.0]
    """
    given = as_floats(points, "points")
    low, high = as_floats(boxes, "boxes", given).split(2, dim=-1)
    return same_kind(points, given * (high - low) + (low + high) / 2)


@explained
def crop_boxes(images: ArrayT, boxes: Array, size: tuple[int, int]) -> ArrayT:
    """Crop boxes from each image and stretch them to `size`; pixels outside an image are 0.

    Interpolation is bilinear where a box is magnified; where it is reduced, a pixel of the crop is
    the mean of the area it covers. The edges of a box are the outer edges of the crop's pixels: a
    point `p` is at `(n + 0.5) * (w, h) - 0.5`, with `n = normalize_points(p, box)`, and the box of
    a whole image is (-0.5, -0.5, W - 0.5, H - 0.5).

    Args:
        images: `(B, C, H, W)` float.
        boxes: `(B, ..., 4)` as (x1, y1, x2, y2) pixels, any number of boxes in each image.
        size: (h, w) of the crops.

    Returns:
        `(B, ..., C, h, w)`.

    Raises:
        ValueError: boxes of another shape.

    Examples:
        >>> image, box = torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([[[-0.5, -0.5, 3.5, 0.5]]])
        >>> crop_boxes(image, box, (1, 2)).tolist()
        [[[[[0.5, 2.5]]]]]
    """
    source = _floating(images, "images")
    corners = as_floats(boxes, "boxes", source)
    if corners.ndim < 2 or corners.shape[0] != source.shape[0] or corners.shape[-1] != 4:
        raise ValueError(
            f"boxes: expected (B, ..., 4) as (x1, y1, x2, y2) pixels, for {source.shape[0]} images, got "
            f"{tuple(corners.shape)}"
        )
    flat = precise(corners.flatten(1, -2) if corners.ndim > 2 else corners[:, None])

    def coverage(axis: int, count: int) -> Tensor:
        """Weights of image pixels in crop pixels along one axis: `(B, M, count, H or W)`."""
        low, extent = flat[..., axis, None], (flat[..., axis + 2] - flat[..., axis])[..., None] / count
        middles = low + extent * (torch.arange(count, device=flat.device, dtype=flat.dtype) + 0.5)
        width = extent.clamp(min=1)[..., None]  # at least one image pixel: bilinear
        pixels = torch.arange(source.shape[3 - axis], device=flat.device, dtype=flat.dtype)
        # two intervals, 1 and `width` long, overlap by what is left of the mean length after their distance
        overlap = ((1 + width) / 2 - (middles[..., None] - pixels).abs()).clamp(0, 1)
        return (overlap / width).to(source.dtype)

    rows, columns = coverage(1, size[0]), coverage(0, size[1])
    crops = torch.einsum("bmyh,bchw,bmxw->bmcyx", rows, source, columns)
    return same_kind(images, crops.reshape(*corners.shape[:-1], *crops.shape[2:]))


@explained
def flip_keypoints(keypoints: ArrayT, width: int, flip_index: Sequence[int]) -> ArrayT:
    """Mirror keypoints horizontally: x becomes `width - 1 - x`, left and right are exchanged.

    Args:
        keypoints: `(..., K, 2)` pixels of an image that is `width` pixels wide.
        flip_index: `Skeleton.flip_index`, the index of each keypoint's mirror image.

    Examples:
        >>> flip_keypoints(torch.tensor([[0.0, 5.0], [3.0, 7.0]]), 10, (1, 0)).tolist()
        [[6.0, 7.0], [9.0, 5.0]]
    """
    points = as_floats(keypoints, "keypoints")
    check_permutation(flip_index, points.shape[-2])
    x, y = points[..., list(flip_index), :].unbind(-1)
    return same_kind(keypoints, torch.stack([width - 1 - x, y], dim=-1))


def _each(value: Array | float, like: Tensor) -> Tensor:
    """One value per row of `like`: `(N,)`, on its device."""
    number = isinstance(value, float | int)  # kept apart, so that tracing and fake tensors need no NumPy
    values = torch.as_tensor(value, device=like.device) if number else as_tensor(value, like)
    return values.expand(len(like))


def _floating(images: Array, name: str) -> Tensor:
    """Tensor of the images; integers are refused, because their range is not [0, 1]."""
    pixels = as_tensor(images)
    if not pixels.is_floating_point():
        raise ValueError(f"{name}: expected floats, got {pixels.dtype}; convert uint8 with `image / 255`")
    return pixels


def precise(tensor: Tensor) -> Tensor:
    """Convert a tensor to double precision; to float32 on devices without it (MPS).

    In float32 a crop of an image 4,000 px wide is off by more than 1e-3 px. Autocast, which would
    round matrix products to 8 bits, does not change doubles.

    Examples:
        >>> precise(torch.tensor([1, 2])).dtype
        torch.float64
    """
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def zoom(image: Tensor, scale: float, center: Tensor, *, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Resize the image about a point; return it and the affine map `(B, 2, 3)` of its pixels.

    `center` stays in place, up to rounding to whole pixels.

    Args:
        image: `(B, C, H, W)`.
        scale: factor of lengths.
        center: `(B, 2)`, (x, y) pixels.
        fill: `(C,)`, the pixels from beyond the border.

    Examples:
        >>> image = torch.zeros(1, 3, 8, 8)
        >>> zoomed, matrix = zoom(image, 2.0, torch.tensor([[3.0, 4.0]]), fill=torch.ones(3))
        >>> zoomed.shape, transform_points(torch.tensor([[3.0, 4.0]]), matrix[0])
        (torch.Size([1, 3, 8, 8]), tensor([[2.5000, 4.5000]]))
    """
    height, width = image.shape[-2:]
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    wide = image.to(center.dtype) - fill.to(center.dtype)[:, None, None]
    resized = F.interpolate(wide, size=size, mode="bicubic", antialias=True)
    ratio = center.new_tensor([size[1] / width, size[0] / height])
    corner = (ratio - 1) / 2  # where pixel 0 goes
    shift = (center - (center * ratio + corner)).round()
    still = torch.eye(2, device=center.device, dtype=center.dtype).expand(len(center), 2, 2)
    placed = warp(resized, torch.cat([still, shift[..., None]], dim=-1), (height, width), mode="nearest")
    matrix = torch.cat([still * ratio, (corner + shift)[..., None]], dim=-1)
    return (placed + fill.to(center.dtype)[:, None, None]).to(image.dtype), matrix
