"""Boxes, affine crops, mirrors, cameras and Procrustes alignment: the only file that changes coordinate frames.

Frames: points are (x, y) in pixels, the centre of the top-left pixel is (0, 0), sizes are (H, W). An affine map is a
`(..., 2, 3)` matrix that takes points of one frame to another; `crop_matrix` builds the one from the image to a crop,
`warp` moves pixels with it and `transform_points` moves keypoints, so that both always agree. In three dimensions a
world is in millimetres, and a `Camera` says where it is seen from: in its frame x points right, y down, z forward.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NEWTON_STEPS = 10  # of `_best_rotation`: nine leave 6e-9 of its trace, ten 5e-15, in the worst case it is used for


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


def box_to_crop(
    boxes: Tensor, size: tuple[int, int], *, padding: float = 1.25, keep_aspect: bool = True
) -> tuple[Tensor, Tensor]:
    """Centre and extent, in pixels of the image, of the crop that shows each box in an input of `size`.

    The box grows on its short side to the aspect ratio of `size`, then on both by `padding`, as in Simple Baselines
    and HRNet (`scale` in their annotations is this extent divided by 200).

    Args:
        boxes: `(N, 4)` as (x1, y1, x2, y2) pixels.
        size: (H, W) of the network's input.
        padding: context around the box.
        keep_aspect: False leaves the box its aspect ratio, to be stretched to `size` (DeepPose, PoseRNN).

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
    """The affine map from image pixels to pixels of a crop of `size`.

    Args:
        center: `(N, 2)` image point that lands in the middle of the crop.
        extent: `(N, 2)` (w, h) image pixels that the crop covers. Its aspect is that of `size`; as in the authors'
            code only w counts, unless `corner_aligned` or not `keep_aspect`.
        size: (H, W) of the crop.
        rotation: degrees, `(N,)` or one number; positive turns the picture counter-clockwise on the screen.
        flip: `(N,)` bool or one: mirror the image about `center` first, then rotate.
        corner_aligned: False, Simple Baselines, HRNet and mmpose: the image's `extent` maps to W pixels, and `center`
            to (W/2, H/2). True, unbiased data processing (UDP): `extent` maps to W - 1, `center` to the exact middle
            ((W-1)/2, (H-1)/2), so that mirroring needs no shift.
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
    """The inverse of affine maps, `(..., 2, 3) -> (..., 2, 3)`.

    Example:
        >>> invert(torch.tensor([[2.0, 0.0, 4.0], [0.0, 2.0, 6.0]])).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, -3.0]]
    """
    exact = precise(matrix)
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
    second, first = precise(second), precise(first)
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
    points, matrix = precise(points), precise(matrix)
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


def letterbox(
    image: Tensor, size: tuple[int, int], *, align: str = "center", fill: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The whole image resized to fit into `size`, what is left over filled, and the affine map to the new frame.

    Pixels are interpolated, not averaged, as by OpenCV's default, which most detectors were trained with.

    Args:
        image: `(C, H, W)` float.
        size: (H, W) of the result.
        align: where the image lies in it: "center", "corner" (at the top left), or "stretch", which fills all of it and
            does not keep the aspect ratio.
        fill: value of the pixels beside the image.

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
    """Points in units of a box, its middle (0, 0), its corners (-0.5, -0.5) and (0.5, 0.5): DeepPose's N(y; b).

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
    """The inverse of `normalize_points`: from units of a box to pixels.

    Example:
        >>> denormalize_points(torch.tensor([0.5, -0.25]), torch.tensor([90.0, 50.0, 150.0, 110.0])).tolist()
        [150.0, 65.0]
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return points * (high - low) + (low + high) / 2


def crop_boxes(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut out of each image and stretched to `size`; what lies outside an image is 0.

    Bilinear where a box is magnified; where it shrinks, a pixel of the crop is the mean of all that it covers. The
    edges of a box are the outer edges of the crop's pixels: a point `p` is found at `(n + 0.5) * (w, h) - 0.5`, with
    `n = normalize_points(p, box)`, and the box of a whole image is (-0.5, -0.5, W - 0.5, H - 0.5).

    Args:
        images: `(B, C, H, W)` float.
        boxes: `(B, ..., 4)` as (x1, y1, x2, y2) pixels, any number of boxes in each image.
        size: (h, w) of the crops.

    Returns:
        `(B, ..., C, h, w)`.

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
        """What share of each crop pixel is made of each image pixel: `(B, M, count, H or W)`."""
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """One camera, or a batch of them: where it stands, which way it looks, what its lens does.

    A point X of the world is at `rotation @ (X - translation)` in the camera's frame (x right, y down, z forward).
    There x / z and y / z are bent by the lens, multiplied by `focal` and moved by `center`. Of the two, called x and y,
    with r2 = x^2 + y^2, `radial` (k1, k2, k3) and `tangential` (p1, p2), the lens makes

        x (1 + k1 r2 + k2 r2^2 + k3 r2^3 + t) + p2 r2        t = w (p1 y + p2 x)
        y (1 + k1 r2 + k2 r2^2 + k3 r2^3 + t) + p1 r2

    | `lens` | w | order of `tangential` | used by |
    |---|---|---|---|
    | `"opencv"` | 2 | (p1, p2) | OpenCV, MATLAB's toolboxes, HumanEva |
    | `"human36m"` | 1 | (p1, p2) | Human3.6M's metadata.xml and its toolbox, Martinez et al. |
    | `"videopose3d"` | 1 | (p2, p1) | the constants in VideoPose3D's code: the same map, coefficients swapped |

    Args:
        rotation: `(..., 3, 3)` world to camera; its rows are the camera's axes in the world.
        translation: `(..., 3)`, where the camera is in the world, mm. Of OpenCV's `t` it is `-rotation.T @ t`.
        focal: `(..., 2)` pixels.
        center: `(..., 2)` the principal point, pixels.
        radial: `(..., 3)`; None: zeros.
        tangential: `(..., 2)`; None: zeros.
        lens: how the coefficients are meant, as in the table.
        size: (H, W) of the image; nothing here depends on it.

    Leading axes of the tensors broadcast to one batch of cameras. In the methods those axes are the leading ones of the
    points: cameras `(B,)` take points `(B, ..., 3)`, a single camera takes any `(..., 3)`. `len` and indexing work on
    a batch.

    Raises:
        ValueError: shapes that do not fit, or an unknown lens.

    Example:
        >>> camera = Camera(rotation=torch.eye(3), translation=torch.tensor([0.0, 0.0, -4000.0]),
        ...                 focal=torch.tensor([1000.0, 1000.0]), center=torch.tensor([500.0, 500.0]))
        >>> camera.project(camera.world_to_camera(torch.tensor([[400.0, 0.0, 0.0]]))).tolist()
        [[600.0, 500.0]]
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    center: Tensor
    radial: Tensor | None = None
    tangential: Tensor | None = None
    lens: str = "opencv"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.lens not in LENSES:
            raise ValueError(f"lens: expected one of {', '.join(map(repr, LENSES))}, got {self.lens!r}")
        like = self.focal
        for name, length in (("radial", 3), ("tangential", 2)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, torch.zeros(length, dtype=like.dtype, device=like.device))
        parts = {name: getattr(self, name) for name in _CAMERA_SHAPES}
        for name, shape in _CAMERA_SHAPES.items():
            if parts[name].shape[-len(shape) :] != shape:
                raise ValueError(f"Camera: {name} is {tuple(parts[name].shape)}, expected {_dotted(shape)}")
        batches = [parts[name].shape[: -len(shape)] for name, shape in _CAMERA_SHAPES.items()]
        try:
            batch = torch.broadcast_shapes(*batches)
        except RuntimeError:
            shown = ", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items())
            raise ValueError(f"Camera: the leading axes must broadcast to one batch of cameras, got {shown}") from None
        for name, shape in _CAMERA_SHAPES.items():
            object.__setattr__(self, name, parts[name].expand(*batch, *shape))

    def __len__(self) -> int:
        if not self.rotation.ndim > 2:
            raise TypeError("this is a single camera, not a batch of them")
        return len(self.rotation)

    def __getitem__(self, index: "int | slice | Tensor") -> "Camera":
        len(self)
        return self._each(lambda part: part[index])

    def to(self, device: torch.device | str) -> "Camera":
        """The same cameras on another device. (Points on any device are welcome; this saves copying each time.)"""
        return self._each(lambda part: part.to(device))

    def world_to_camera(self, points: Tensor) -> Tensor:
        """Points of the world, mm, in the camera's frame, mm: `(..., 3) -> (..., 3)`.

        Example:
            >>> camera = look_at(torch.tensor([0.0, 1500.0, 4000.0]), torch.tensor([0.0, 1000.0, 0.0]),
            ...                  focal=1000.0, size=(1000, 1000))
            >>> camera.world_to_camera(torch.tensor([0.0, 1500.0, 4000.0])).tolist()
            [0.0, 0.0, 0.0]
        """
        rotation, translation = self._lead(points, "rotation", "translation")
        moved = (rotation @ (precise(points) - translation)[..., None])[..., 0]
        return moved.to(_float_of(points))

    def camera_to_world(self, points: Tensor) -> Tensor:
        """The inverse of `world_to_camera`."""
        rotation, translation = self._lead(points, "rotation", "translation")
        moved = (rotation.mT @ precise(points)[..., None])[..., 0] + translation
        return moved.to(_float_of(points))

    def project(self, points: Tensor) -> Tensor:
        """Pixels (x, y) of points in the camera's frame, in any unit: `(..., 3) -> (..., 2)`.

        A point in the camera's plane or behind it has no image and becomes NaN. Far outside the image, where the
        lens was never measured, the polynomial may lead anywhere (VideoPose3D clamps x / z and y / z to [-1, 1]).

        Example:
            >>> lens = {"radial": torch.tensor([-0.2, 0.2, 0.0]), "tangential": torch.tensor([-0.001, 0.002])}
            >>> camera = Camera(rotation=torch.eye(3), translation=torch.zeros(3), focal=torch.tensor([1000.0, 1000.0]),
            ...                 center=torch.tensor([500.0, 500.0]), lens="human36m", **lens)
            >>> camera.project(torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, -2.0]])).round(decimals=2).tolist()
            [[982.25, 499.75], [nan, nan]]
        """
        focal, center, radial, tangential = self._lead(points, "focal", "center", "radial", "tangential")
        points_ = precise(points)
        depth = points_[..., 2:]
        seen = depth > 0
        flat = points_[..., :2] / torch.where(seen, depth, 1.0)
        if self.lens == "videopose3d":
            tangential = tangential.flip(-1)
        square = flat.square().sum(dim=-1, keepdim=True)
        stretch = 1 + square * (radial[..., :1] + square * (radial[..., 1:2] + square * radial[..., 2:]))
        stretch = stretch + LENSES[self.lens] * (tangential.flip(-1) * flat).sum(dim=-1, keepdim=True)
        pixels = focal * (flat * stretch + tangential.flip(-1) * square) + center
        return torch.where(seen, pixels, torch.nan).to(_float_of(points))

    def _lead(self, points: Tensor, *names: str) -> list[Tensor]:
        """The camera's tensors, with axes for those that the points `(..., 3)` have beyond the batch of cameras."""
        batch = self.translation.shape[:-1]
        if points.shape[-1:] != (3,) or points.ndim - 1 < len(batch):
            raise ValueError(f"points: expected {_dotted((3,), batch)}, got {tuple(points.shape)}")
        if any(ours not in (1, theirs) and theirs != 1 for ours, theirs in zip(batch, points.shape, strict=False)):
            raise ValueError(
                f"points: {tuple(points.shape)} do not fit {tuple(batch)} cameras, whose axes come first; "
                "`points[None]` shows the same points to each camera"
            )
        gap = (1,) * (points.ndim - 1 - len(batch))
        return [precise(getattr(self, n)).reshape(*batch, *gap, *_CAMERA_SHAPES[n]).to(points.device) for n in names]

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Camera":
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in _CAMERA_SHAPES}
        return replace(self, **changed)


LENSES = {"opencv": 2, "human36m": 1, "videopose3d": 1}  # the factor w of the table in `Camera`
_CAMERA_SHAPES: dict[str, tuple[int, ...]] = {
    "rotation": (3, 3),
    "translation": (3,),
    "focal": (2,),
    "center": (2,),
    "radial": (3,),
    "tangential": (2,),
}


def look_at(
    position: Tensor,
    target: Tensor,
    *,
    focal: Tensor | float,
    size: tuple[int, int],
    up: Sequence[float] = (0.0, 1.0, 0.0),
) -> Camera:
    """A camera without distortion at `position` that sees `target` in the middle of its image, the horizon level.

    Args:
        position: `(..., 3)` in the world, mm.
        target: `(..., 3)` in the world, mm.
        focal: pixels, one number or `(...)`.
        size: (H, W) of the image.
        up: which way is up in the world: y for CMU (the default), `(0, 0, 1)` for Human3.6M.

    Raises:
        ValueError: the camera is where it looks at, or looks straight up or down.

    Example:
        >>> camera = look_at(torch.tensor([0.0, 0.0, 4000.0]), torch.zeros(3), focal=1000.0, size=(1000, 800))
        >>> above_and_left = torch.tensor([-100.0, 100.0, 0.0])      # the camera looks along -z: its right is +x
        >>> camera.project(camera.world_to_camera(above_and_left)).tolist()
        [374.5, 474.5]
    """
    position, target = precise(position), precise(target)
    upward = torch.as_tensor(up, dtype=position.dtype, device=position.device)
    forward = target - position
    distance = forward.norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(forward / distance, upward.expand(forward.shape), dim=-1)
    level = right.norm(dim=-1, keepdim=True)
    if not bool((distance > 0).all()) or not bool((level > 1e-6 * upward.norm()).all()):
        raise ValueError(
            "look_at: a camera is at its target, or looks straight up or down, so that nothing says which way its "
            "image is turned; move it sideways or give another `up`"
        )
    forward, right = forward / distance, right / level
    rotation = torch.stack([right, torch.linalg.cross(forward, right, dim=-1), forward], dim=-2)
    lengths = torch.as_tensor(focal, dtype=position.dtype, device=position.device)
    return Camera(
        rotation=rotation,
        translation=position,
        focal=torch.stack([lengths, lengths], dim=-1),
        center=position.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2]),
        size=size,
    )


def person_frame(keypoints: Tensor, visible: Tensor | None = None, *, root: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Keypoints relative to the person: from the root, in units of the person's size in the window.

    What is left does not depend on where in the image the person is, on the image's size, nor, but for perspective, on
    the distance and the lens. The size is one per window, so that a person who crouches still gets smaller: the root
    mean square over the visible keypoints of their distance from the root, averaged over the frames.

    Args:
        keypoints: `(..., T, K, D)` pixels, or millimetres.
        visible: bool `(..., T, K)`; None: all. What is not visible may hold anything and becomes 0.
        root: index of the root. In a frame where it is not visible the middle of the visible keypoints takes its place.

    Returns:
        relative `(..., T, K, D)`, origin `(..., T, 1, D)` and scale `(..., 1, 1, 1)`: the keypoints are
        `relative * scale + origin`. A window without two distinct visible points has the scale 1.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> keypoints = torch.tensor([[[100.0, 50.0], [103.0, 54.0]]])                # one frame: root, and 5 px away
        >>> relative, origin, scale = person_frame(keypoints)
        >>> (relative * scale + origin).tolist() == keypoints.tolist(), round(float(scale), 4)      # sqrt(25 / 2)
        (True, 3.5355)
    """
    if keypoints.ndim < 3:
        raise ValueError(f"keypoints: expected (..., T, K, D), got {tuple(keypoints.shape)}; add a time axis of 1")
    if visible is None:
        points, seen = keypoints, torch.ones_like(keypoints[..., :1], dtype=torch.bool)
    else:
        if visible.shape != keypoints.shape[:-1]:
            raise ValueError(f"visible: expected {tuple(keypoints.shape[:-1])}, got {tuple(visible.shape)}")
        seen = visible[..., None] > 0
        points = torch.where(seen, keypoints, 0.0)
    count = seen.sum(dim=-2, keepdim=True)
    middle = points.sum(dim=-2, keepdim=True) / count.clamp_min(1)
    origin = torch.where(seen[..., root, None, :], points[..., root, None, :], middle)
    relative = torch.where(seen, points - origin, 0.0)
    square = relative.square().sum(dim=-1, keepdim=True).sum(dim=-2, keepdim=True) / count.clamp_min(1)
    size = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)  # the root has no slope at 0
    frames = (count > 0).sum(dim=-3, keepdim=True).clamp_min(1)
    scale = size.sum(dim=-3, keepdim=True) / frames
    scale = torch.where(scale > 0, scale, 1.0)
    return relative / scale, origin, scale


def procrustes(
    source: Tensor, target: Tensor, *, scale: bool = True, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity or rigid motion that brings each set of points closest to another, in least squares.

    The rotation is a closed form (Markley, "Attitude Determination Using Vector Observations: A Fast Optimal Matrix
    Algorithm", Journal of the Astronautical Sciences 1993), many times faster than a batch of small singular value
    decompositions; the few poses whose rotation is badly determined, or not at all, go through the decomposition
    (Umeyama, TPAMI 1991). Rotations only: a reflection is never returned, even where it would fit better.

    Args:
        source: `(..., K, 3)` points to move.
        target: `(..., K, 3)`, where they should go, in the same order.
        scale: a similarity; False: rigid, and the scale is 1.
        weights: `(..., K)` non-negative, or a bool mask of the points that count; None: all alike. Points of weight 0
            may hold anything, NaN too.

    Returns:
        scale `(...)`, rotation `(..., 3, 3)` and translation `(..., 3)`, in double precision where the device has it:
        `scale * rotation @ source + translation` is close to `target`. `align` applies them.

        Degenerate poses: points on one line leave the turn about that line open, and one of the best rotations is
        returned. A source in one point (or with fewer than two points that count) is only translated: rotation by
        nothing, scale 1. A target in one point has the scale 0, which is the least-squares answer. Without any point
        that counts the result is no motion at all. NaN or infinity in points that count gives NaN.

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> source = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        >>> factor, rotation, translation = procrustes(source, 2 * source @ quarter.T + 5)
        >>> round(float(factor), 6), rotation.round().int().tolist()
        (2.0, [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    """
    _, _, from_middle, to_middle, factor, rotation = _fit(source, target, scale, weights)
    translation = to_middle - factor * (rotation * from_middle).sum(dim=1)
    return factor, rotation.movedim((0, 1), (-2, -1)).contiguous(), translation.movedim(0, -1).contiguous()


def align(source: Tensor, target: Tensor, *, scale: bool = True, weights: Tensor | None = None) -> Tensor:
    """`source` after the similarity (or, without `scale`, the rigid motion) that brings it closest to `target`.

    Arguments, errors and degenerate poses as for `procrustes`; `(..., K, 3) -> (..., K, 3)`.

    Example:
        >>> pose = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
        >>> align(7 * pose - 1, pose).round(decimals=4).tolist() == pose.tolist()
        True
    """
    dtype = torch.promote_types(source.dtype, target.dtype)
    moved, _, to_middle = aligned(source, target, scale, weights)
    moved = (moved + to_middle).movedim((0, 1), (-2, -1))
    return moved.to(dtype if dtype.is_floating_point else torch.float32)


# Below, the axes of points are (K, 3, ...) and those of matrices (3, 3, ...): the poses of a batch lie side by side,
# and each line is a few long loops instead of a long loop over small matrices. This is several times faster.


def aligned(source: Tensor, target: Tensor, scale: bool, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Aligned source and target around the target's middle, `(K, 3, ...)`, and that middle `(3, ...)`."""
    centred, goals, _, to_middle, factor, rotation = _fit(source, target, scale, weights)
    turn = factor * rotation
    x, y, z = centred[:, :, None].unbind(dim=1)
    return (turn[:, 0] * x).addcmul_(turn[:, 1], y).addcmul_(turn[:, 2], z), goals, to_middle


def _fit(
    source: Tensor, target: Tensor, scale: bool, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Points around their middles `(K, 3, ...)`, the middles `(3, ...)`, scale `(...)`, rotation `(3, 3, ...)`."""
    if source.shape != target.shape or source.ndim < 2 or source.shape[-1] != 3:
        raise ValueError(
            f"source and target: expected one shape (..., K, 3), got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    *batch, count, _ = source.shape
    points, goals = (  # copies, through the transposition of a plain matrix, which is the fast one
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
    # points that differ by rounding alone have no shape; scaled up, the rounding would fit anything
    noise = (64 * torch.finfo(spread.dtype).eps) ** 2 * count
    still = spread <= noise * from_middle.square().sum(dim=0)
    attitude = torch.stack([(aims[:, axis, None] * counted).sum(dim=0) for axis in range(3)])
    rotation, trace = _best_rotation(torch.where(still, 0.0, attitude))
    factor = torch.where(still, 1.0, trace / spread) if scale else torch.ones_like(trace)
    return centred, goals, from_middle, to_middle, factor, rotation


def _best_rotation(attitude: Tensor) -> tuple[Tensor, Tensor]:
    """The rotation R that maximises trace(R^T B), and that trace: `(3, 3, ...) -> (3, 3, ...), (...)`.

    With singular values s1 >= s2 >= s3 >= 0 of B and d the sign of its determinant, the trace is s1 + s2 + d s3, the
    largest root of (x^2 - |B|^2)^2 - 8 x det B - 4 |adj B|^2, and R a polynomial of it and B (Markley's equations).
    """
    size = attitude.square().sum(dim=(0, 1)).sqrt()
    unit = attitude / torch.where(size > 0, size, 1.0)
    cofactors = torch.stack([torch.linalg.cross(unit[i - 2], unit[i - 1], dim=0) for i in range(3)])
    determinant = (unit[0] * cofactors[0]).sum(dim=0)
    slope, constant = -8 * determinant, -4 * cofactors.square().sum(dim=(0, 1))
    trace = torch.full_like(determinant, 3**0.5)  # an upper bound, from where Newton's steps only descend
    one = torch.ones((), dtype=trace.dtype, device=trace.device)
    for _ in range(NEWTON_STEPS):
        excess = torch.addcmul(-one, trace, trace)
        value = torch.addcmul(torch.addcmul(constant, excess, excess), slope, trace)
        trace = torch.addcdiv(trace, value, torch.addcmul(slope, trace, excess, value=4), value=-1)
    half = (trace * trace - 1) / 2
    gap = half * trace - determinant  # (s1 + s2) (s2 + d s3) (s1 + d s3): nothing where the rotation is not unique
    cubed = ((unit[:, None] * unit).sum(dim=2)[:, :, None] * unit).sum(dim=1)  # B B^T B
    rotation = ((half + 1) * unit + trace * cofactors - cubed) / gap
    # where the closed form would lose digits to a small gap; NaN compares false and stays NaN
    unsure = (gap < 0.02) | (size == 0)
    if unsure.any():
        left, values, right = torch.linalg.svd(unit[:, :, unsure].movedim((0, 1), (-2, -1)))
        sign = torch.linalg.det(left @ right).sign()
        left = torch.cat([left[..., :2], left[..., 2:] * sign[..., None, None]], dim=-1)
        rotation[:, :, unsure] = (left @ right).movedim((-2, -1), (0, 1))
        trace = trace.masked_scatter(unsure, values[..., 0] + values[..., 1] + sign * values[..., 2])
    return rotation, trace * size


def _float_of(tensor: Tensor) -> torch.dtype:
    return tensor.dtype if tensor.is_floating_point() else torch.float32


def _dotted(shape: tuple[int, ...], lead: Sequence[int] = ()) -> str:
    return f"({', '.join([*map(str, lead), '...', *map(str, shape)])})"


def precise(tensor: Tensor) -> Tensor:
    """In double precision, where the device has it.

    In float32 a crop of a photograph that is 4,000 px wide is off by more than 1e-3 px; and autocast, which would round
    matrix products to 8 bits, leaves doubles alone.
    """
    return tensor.float() if tensor.device.type == "mps" else tensor.double()
