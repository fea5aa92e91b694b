"""Boxes, affine crops and mirrors: the only file that changes coordinate frames.

Frames: points are (x, y) in pixels, the centre of the top-left pixel is (0, 0), sizes are (H, W). An affine map is a
`(..., 2, 3)` matrix that takes points of one frame to another; `crop_matrix` builds the one from the image to a crop,
`warp` moves pixels with it and `transform_points` moves keypoints, so that both always agree.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def tight_box(keypoints: Tensor, visible: Tensor) -> Tensor:
    """The smallest box around the visible keypoints, at least one pixel wide and high: `(K, 2), (K,) -> (4,)`.

    Example:
        >>> tight_box(torch.tensor([[1.0, 2.0], [3.0, 9.0], [7.0, 7.0]]), torch.tensor([True, True, False])).tolist()
        [1.0, 2.0, 3.0, 9.0]
    """
    points = keypoints[visible]
    if not len(points):
        raise ValueError("tight_box: no keypoint is visible, so there is no box; leave this person out")
    low, high = points.amin(dim=0), points.amax(dim=0)
    return torch.cat([low, torch.maximum(high, low + 1)])


def box_to_crop(boxes: Tensor, size: tuple[int, int], *, padding: float = 1.25) -> tuple[Tensor, Tensor]:
    """Centre and extent, in pixels of the image, of the crop that shows each box in an input of `size`.

    The box grows on its short side to the aspect ratio of `size`, then on both by `padding`, as in Simple Baselines
    and HRNet (`scale` in their annotations is this extent divided by 200).

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels.
        size: (H, W) of the network's input.
        padding: context around the box.

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
) -> Tensor:
    """The affine map from image pixels to pixels of a crop of `size`.

    Args:
        center: `(N, 2)` image point that lands in the middle of the crop.
        extent: `(N, 2)` (w, h) image pixels that the crop covers. Its aspect is that of `size`; as in the authors'
            code only w counts, unless `corner_aligned`.
        size: (H, W) of the crop.
        rotation: degrees, `(N,)` or one number; positive turns the picture counter-clockwise on the screen.
        flip: `(N,)` bool or one: mirror the image about `center` first, then rotate.
        corner_aligned: False, Simple Baselines, HRNet and mmpose: the image's `extent` maps to W pixels, and `center`
            to (W/2, H/2). True, unbiased data processing (UDP): `extent` maps to W - 1, `center` to the exact middle
            ((W-1)/2, (H-1)/2), so that mirroring needs no shift.

    Returns:
        `(N, 2, 3)`.

    Example:
        >>> center, extent = torch.tensor([[320.5, 240.25]]), torch.tensor([[240.0, 320.0]])
        >>> transform_points(center, crop_matrix(center, extent, (256, 192))).round(decimals=3).tolist()
        [[[96.0, 128.0]]]
    """
    dtype = center.dtype if center.is_floating_point() else torch.float32
    center, extent = _precise(center), _precise(extent)
    height, width = (size[0] - 1, size[1] - 1) if corner_aligned else size
    scale_x = width / extent[:, 0]
    scale_y = height / extent[:, 1] if corner_aligned else scale_x
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
    """The inverse of affine maps, `(..., 2, 3) -> (..., 2, 3)`.

    Example:
        >>> invert(torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 6.0]])).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, -3.0]]
    """
    exact = _precise(matrix)
    linear = torch.linalg.inv(exact[..., :2])
    return torch.cat([linear, -linear @ exact[..., 2:]], dim=-1).to(matrix.dtype)


def compose(second: Tensor, first: Tensor) -> Tensor:
    """The affine map that applies `first`, then `second`; both `(..., 2, 3)`.

    Example:
        >>> shift, double = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([[2.0, 0, 0], [0, 2, 0]])
        >>> transform_points(torch.zeros(1, 2), compose(double, shift)).tolist()
        [[2.0, 0.0]]
    """
    dtype = torch.promote_types(second.dtype, first.dtype)
    second, first = _precise(second), _precise(first)
    linear = second[..., :2] @ first[..., :2]
    return torch.cat([linear, second[..., :2] @ first[..., 2:] + second[..., 2:]], dim=-1).to(dtype)


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Points moved to another frame.

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
    points, matrix = _precise(points), _precise(matrix)
    return (points @ matrix[..., :2].mT + matrix[..., 2][..., None, :]).to(dtype)


def warp(images: Tensor, matrix: Tensor, size: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
    """Images resampled once into another frame; what lies outside an image is 0.

    Args:
        images: `(N, C, H, W)` float, or `(1, C, H, W)` for several crops of one image.
        matrix: `(N, 2, 3)` from image pixels to output pixels (`crop_matrix`).
        size: (H, W) of the output.
        mode: "bilinear", "nearest" or "bicubic".

    Returns:
        `(N, C, *size)`. A point `p` of the image is found at `transform_points(p, matrix)`.

    Example:
        >>> dot = torch.zeros(1, 1, 5, 5); dot[0, 0, 2, 3] = 1
        >>> warp(dot, torch.tensor([[[1.0, 0, -1], [0, 1, 0]]]), (5, 5))[0, 0, 2].tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    if not images.is_floating_point():
        raise ValueError(f"images: expected floats, got {images.dtype}; convert uint8 with `images.float() / 255`")
    height, width = size
    inverse = invert(_precise(matrix))
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
    """The image averaged over `factor x factor` blocks, and the affine map from the old frame to the new one.

    A bilinear crop that shrinks a photograph several times skips most of its pixels; shrinking first keeps them.
    Incomplete blocks at the right and bottom edge average the pixels they have.

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
    """Crops of one image without aliasing: where a crop shrinks twofold or more, blocks of pixels are averaged first.

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


def flip_keypoints(keypoints: Tensor, width: int, flip_index: Sequence[int]) -> Tensor:
    """Keypoints of the mirrored image: x becomes `width - 1 - x`, left and right change names.

    Args:
        keypoints: `(..., K, 2)` pixels of an image that is `width` pixels wide.
        flip_index: `Skeleton.flip_index`, which keypoint becomes which.

    Example:
        >>> flip_keypoints(torch.tensor([[0.0, 5.0], [3.0, 7.0]]), 10, (1, 0)).tolist()
        [[6.0, 7.0], [9.0, 5.0]]
    """
    x, y = keypoints[..., list(flip_index), :].unbind(-1)
    return torch.stack([width - 1 - x, y], dim=-1)


def _precise(tensor: Tensor) -> Tensor:
    """In double precision, where the device has it.

    In float32 a crop of a photograph that is 4,000 px wide is off by more than 1e-3 px; and autocast, which would round
    matrix products to 8 bits, leaves doubles alone.
    """
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
