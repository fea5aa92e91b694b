"""Boxes, affine crops and mirrors: 2D coordinate frames in pixels.

Points are (x, y) in pixels, the centre of the top-left pixel is (0, 0), sizes are (H, W). An affine
map is a `(..., 2, 3)` matrix that takes points of one frame to another; `crop_matrix` builds the
one from the image to a crop, `warp` resamples pixels with it and `transform_points` transforms
keypoints, so that both always agree.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def tight_box(keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return the smallest box around the visible keypoints: `(K, 2), (K,) -> (4,)`.

    The box is (x1, y1, x2, y2) in pixels, at least one pixel wide and high.

    Raises:
        ValueError: no keypoint is visible.

    Example:
        >>> tight_box(torch.tensor([[1.0, 2.0], [3.0, 9.0], [7.0, 7.0]]), torch.tensor([True, True, False])).tolist()
        [1.0, 2.0, 3.0, 9.0]
    """
    points = keypoints[visible]
    if not len(points):
        raise ValueError("tight_box: no keypoint is visible, so there is no box; leave this person out")
    low, high = points.amin(dim=0), points.amax(dim=0)
    return torch.cat([low, torch.maximum(high, low + 1)])


def box_to_crop(
    boxes: Tensor, size: tuple[int, int], *, padding: float = 1.25, keep_aspect: bool = True
) -> tuple[Tensor, Tensor]:
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

    Example:
        >>> center, extent = box_to_crop(torch.tensor([[100.0, 50.0, 180.0, 250.0]]), (256, 192))
        >>> center.tolist(), (extent / 200).tolist()
        ([[140.0, 150.0]], [[0.9375, 1.25]])
    """
    if boxes.ndim != 2 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes: expected (N, 4) as (x1, y1, x2, y2) pixels, got shape {tuple(boxes.shape)}")
    boxes = boxes if boxes.is_floating_point() else boxes.float()
    extent = boxes[:, 2:] - boxes[:, :2]
    bad = ~(torch.isfinite(boxes).all(dim=1) & (extent > 0).all(dim=1))
    if bad.any():
        index = int(bad.nonzero()[0])
        raise ValueError(
            f"boxes: box {index} is {boxes[index].tolist()}; expected finite (x1, y1, x2, y2) pixels with x2 > x1 and "
            "y2 > y1. Boxes given as (x, y, w, h) need x2 = x + w, y2 = y + h"
        )
    if not keep_aspect:
        return boxes[:, :2] + extent / 2, extent * padding
    aspect = size[1] / size[0]
    width = torch.maximum(extent[:, 0], extent[:, 1] * aspect)
    return boxes[:, :2] + extent / 2, torch.stack([width, width / aspect], dim=1) * padding


def crop_matrix(
    center: Tensor,
    extent: Tensor,
    size: tuple[int, int],
    *,
    rotation: Tensor | float = 0.0,
    flip: Tensor | bool = False,
    corner_aligned: bool = False,
    keep_aspect: bool = True,
) -> Tensor:
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

    Example:
        >>> center, extent = torch.tensor([[320.5, 240.25]]), torch.tensor([[240.0, 320.0]])
        >>> transform_points(center, crop_matrix(center, extent, (256, 192))).round(decimals=3).tolist()
        [[[96.0, 128.0]]]
    """
    dtype = center.dtype if center.is_floating_point() else torch.float32
    center, extent = precise(center), precise(extent)
    height, width = (size[0] - 1, size[1] - 1) if corner_aligned else size
    scale_x = width / extent[:, 0]
    scale_y = height / extent[:, 1] if corner_aligned or not keep_aspect else scale_x
    angle = torch.as_tensor(rotation, dtype=center.dtype, device=center.device).expand(len(center)) * (math.pi / 180)
    mirror = torch.where(torch.as_tensor(flip, device=center.device).expand(len(center)), -1.0, 1.0).to(center)
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack(
        [
            torch.stack([scale_x * cos * mirror, scale_x * sin], dim=-1),
            torch.stack([-scale_y * sin * mirror, scale_y * cos], dim=-1),
        ],
        dim=-2,
    )
    middle = center.new_tensor([width / 2, height / 2])
    return torch.cat([linear, middle[:, None] - linear @ center[..., None]], dim=-1).to(dtype)


def invert(matrix: Tensor) -> Tensor:
    """Invert affine maps, `(..., 2, 3) -> (..., 2, 3)`.

    Example:
        >>> invert(torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 6.0]])).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, -3.0]]
    """
    exact = precise(matrix)
    linear = torch.linalg.inv(exact[..., :2])
    return torch.cat([linear, -linear @ exact[..., 2:]], dim=-1).to(matrix.dtype)


def compose(second: Tensor, first: Tensor) -> Tensor:
    """Return the affine map that applies `first`, then `second`; both `(..., 2, 3)`.

    Example:
        >>> shift, double = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([[2.0, 0, 0], [0, 2, 0]])
        >>> transform_points(torch.zeros(1, 2), compose(double, shift)).tolist()
        [[2.0, 0.0]]
    """
    dtype = torch.promote_types(second.dtype, first.dtype)
    second, first = precise(second), precise(first)
    linear = second[..., :2] @ first[..., :2]
    return torch.cat([linear, second[..., :2] @ first[..., 2:] + second[..., 2:]], dim=-1).to(dtype)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Transform points to another frame.

    Args:
        points: `(..., K, 2)` pixels (x, y).
        matrix: `(..., 2, 3)`, leading axes broadcast against those of `points`.

    Returns:
        `(..., K, 2)`.

    Example:
        >>> transform_points(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0, 10], [0, 1, 20]])).tolist()
        [[11.0, 22.0]]
    """
    dtype = torch.promote_types(points.dtype, matrix.dtype)
    points, matrix = precise(points), precise(matrix)
    return (points @ matrix[..., :2].mT + matrix[..., 2][..., None, :]).to(dtype)


def warp(images: Tensor, matrix: Tensor, size: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
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

    Example:
        >>> dot = torch.zeros(1, 1, 5, 5); dot[0, 0, 2, 3] = 1
        >>> warp(dot, torch.tensor([[[1.0, 0, -1], [0, 1, 0]]]), (5, 5))[0, 0, 2].tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    if not images.is_floating_point():
        raise ValueError(f"images: expected floats, got {images.dtype}; convert uint8 with `images.float() / 255`")
    height, width = size
    inverse = invert(precise(matrix))
    x = torch.arange(width, device=images.device, dtype=inverse.dtype)
    y = torch.arange(height, device=images.device, dtype=inverse.dtype)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(1, height * width, 2)
    source = transform_points(points, inverse)
    # grid_sample without align_corners puts pixel i of n at (2 i + 1) / n - 1; this also holds for a single pixel
    extent = source.new_tensor([images.shape[-1], images.shape[-2]])
    grid = ((2 * source + 1) / extent - 1).view(-1, height, width, 2)
    dtype = torch.promote_types(images.dtype, torch.float32)  # half precision would miss by whole pixels
    wide = images.to(dtype).expand(len(matrix), -1, -1, -1)
    sampled = F.grid_sample(wide, grid.to(dtype), mode=mode, padding_mode="zeros", align_corners=False)
    return sampled.to(images.dtype)


def shrink(image: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Average an image over `factor x factor` blocks; also return the affine map to the new frame.

    Bilinear interpolation with a large reduction skips most pixels and aliases; averaging first
    avoids this. Incomplete blocks at the right and bottom edge are averages of the pixels they
    have.

    Args:
        image: `(N, C, H, W)` float.
        factor: whole number, 1 or more.

    Returns:
        `(N, C, ceil(H / factor), ceil(W / factor))` and `(2, 3)`.

    Example:
        >>> small, matrix = shrink(torch.ones(1, 3, 5, 4), 2)
        >>> tuple(small.shape), transform_points(torch.tensor([[0.5, 0.5]]), matrix).tolist()
        ((1, 3, 3, 2), [[0.0, 0.0]])
    """
    small = F.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False)
    offset = (1 - factor) / 2 / factor  # the first block's centre lies (factor - 1) / 2 pixels in
    return small, torch.tensor([[1 / factor, 0, offset], [0, 1 / factor, offset]], device=image.device)


def crop(image: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop one image without aliasing.

    Where a crop reduces the image twofold or more, blocks of pixels are averaged first (`shrink`).

    Args:
        image: `(C, H, W)` float.
        matrix: `(N, 2, 3)` from image pixels to crop pixels (`crop_matrix`).
        size: (H, W) of the crops.

    Returns:
        `(N, C, *size)`.

    Example:
        >>> matrix = crop_matrix(torch.tensor([[50.0, 50.0]]), torch.tensor([[100.0, 100.0]]), (20, 20))
        >>> crop(torch.ones(3, 100, 100), matrix, (20, 20)).shape
        torch.Size([1, 3, 20, 20])
    """
    shrinkage = torch.linalg.det(matrix[:, :, :2]).abs().rsqrt()
    factors = shrinkage.clamp(1, min(image.shape[-2:])).log2().floor().exp2().long()
    crops = image.new_zeros(len(matrix), image.shape[0], *size)
    for factor in factors.unique().tolist():
        chosen = factors == factor
        small, to_small = shrink(image[None], factor)
        crops[chosen] = warp(small, compose(matrix[chosen], invert(to_small).to(matrix)), size)
    return crops


def letterbox(
    image: Tensor, size: tuple[int, int], *, align: str = "center", fill: float = 0.0
) -> tuple[Tensor, Tensor]:
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

    Example:
        >>> boxed, matrix = letterbox(torch.ones(3, 10, 30), (60, 60))
        >>> boxed[0, :, 30].nonzero()[[0, -1]].flatten().tolist()             # between two bands of 20 pixels
        [20, 39]
        >>> transform_points(torch.tensor([[-0.5, -0.5]]), matrix).tolist()   # the image's top left corner
        [[-0.5, 19.5]]
    """
    if align not in ("center", "corner", "stretch"):
        raise ValueError(f"align: expected center, corner or stretch, got {align!r}")
    height, width = image.shape[-2:]
    ratio = min(size[0] / height, size[1] / width)
    inner = size if align == "stretch" else (max(1, round(height * ratio)), max(1, round(width * ratio)))
    bottom, right = size[0] - inner[0], size[1] - inner[1]
    top, left = (bottom // 2, right // 2) if align == "center" else (0, 0)
    resized = F.interpolate(image[None], inner, mode="bilinear", align_corners=False)[0]
    boxed = F.pad(resized, (left, right - left, top, bottom - top), value=fill)
    x, y = inner[1] / width, inner[0] / height
    matrix = [[x, 0, (x - 1) / 2 + left], [0, y, (y - 1) / 2 + top]]  # pixel i reaches from i - 0.5 to i + 0.5
    return boxed, torch.tensor(matrix, dtype=torch.promote_types(image.dtype, torch.float32), device=image.device)


def normalize_points(points: Tensor, boxes: Tensor) -> Tensor:
    """Normalise points to a box, with centre (0, 0) and corners (-0.5, -0.5) and (0.5, 0.5).

    N(y; b) of DeepPose (Equation 1).

    Args:
        points: `(..., 2)` pixels.
        boxes: `(..., 4)` as (x1, y1, x2, y2) pixels; leading axes broadcast.

    Returns:
        `(..., 2)`, `(y - centre) / (w, h)`; `denormalize_points` is the inverse.

    Example:
        >>> normalize_points(torch.tensor([126.0, 77.0]), torch.tensor([90.0, 50.0, 150.0, 110.0])).tolist()
        [0.10000000149011612, -0.05000000074505806]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return (points - (low + high) / 2) / (high - low)


def denormalize_points(points: Tensor, boxes: Tensor) -> Tensor:
    """Convert normalised points to pixels, the inverse of `normalize_points`.

    Example:
        >>> denormalize_points(torch.tensor([0.5, -0.25]), torch.tensor([90.0, 50.0, 150.0, 110.0])).tolist()
        [150.0, 65.0]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return points * (high - low) + (low + high) / 2


def crop_boxes(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
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

    Example:
        >>> image, box = torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([[[-0.5, -0.5, 3.5, 0.5]]])
        >>> crop_boxes(image, box, (1, 2)).tolist()
        [[[[[0.5, 2.5]]]]]
    """
    if boxes.ndim < 2 or boxes.shape[0] != images.shape[0] or boxes.shape[-1] != 4:
        raise ValueError(
            f"boxes: expected (B, ..., 4) as (x1, y1, x2, y2) pixels, for {images.shape[0]} images, got "
            f"{tuple(boxes.shape)}"
        )
    flat = precise(boxes.flatten(1, -2) if boxes.ndim > 2 else boxes[:, None])

    def coverage(axis: int, count: int) -> Tensor:
        """Weights of image pixels in crop pixels along one axis: `(B, M, count, H or W)`."""
        low, extent = flat[..., axis, None], (flat[..., axis + 2] - flat[..., axis])[..., None] / count
        middles = low + extent * (torch.arange(count, device=flat.device, dtype=flat.dtype) + 0.5)
        width = extent.clamp(min=1)[..., None]  # at least one image pixel: bilinear
        pixels = torch.arange(images.shape[3 - axis], device=flat.device, dtype=flat.dtype)
        # two intervals, 1 and `width` long, overlap by what is left of the mean length after their distance
        overlap = ((1 + width) / 2 - (middles[..., None] - pixels).abs()).clamp(0, 1)
        return (overlap / width).to(images.dtype)

    rows, columns = coverage(1, size[0]), coverage(0, size[1])
    crops = torch.einsum("bmyh,bchw,bmxw->bmcyx", rows, images, columns)
    return crops.reshape(*boxes.shape[:-1], *crops.shape[2:])


def flip_keypoints(keypoints: Tensor, width: int, flip_index: Sequence[int]) -> Tensor:
    """Mirror keypoints horizontally: x becomes `width - 1 - x`, left and right are exchanged.

    Args:
        keypoints: `(..., K, 2)` pixels of an image that is `width` pixels wide.
        flip_index: `Skeleton.flip_index`, the index of each keypoint's mirror image.

    Example:
        >>> flip_keypoints(torch.tensor([[0.0, 5.0], [3.0, 7.0]]), 10, (1, 0)).tolist()
        [[6.0, 7.0], [9.0, 5.0]]
    """
    x, y = keypoints[..., list(flip_index), :].unbind(-1)
    return torch.stack([width - 1 - x, y], dim=-1)


def precise(tensor: Tensor) -> Tensor:
    """Convert to double precision; to float32 on devices without it (MPS).

    In float32 a crop of an image 4,000 px wide is off by more than 1e-3 px. Autocast, which would
    round matrix products to 8 bits, does not change doubles.

    Example:
        >>> precise(torch.tensor([1, 2])).dtype
        torch.float64
    """
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
